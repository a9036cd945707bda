/** A small VirusTotal (API v3) on loopback: reports by hash, a key, and failures as it is told. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

export interface VirusTotalServer {
  readonly url: string
  /** Hashes asked for, in order. */
  readonly asked: readonly string[]
  readonly connections: number
  /** What the next requests get instead of their answer, one after another. */
  fail(...faults: readonly VirusTotalFault[]): void
  close(): Promise<void>
}

export interface VirusTotalFault {
  readonly status?: number
  readonly code?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Ends the connection without an answer. */
  readonly reset?: boolean
}

export const KEY = 'k-0123456789abcdef-secret'

/** Statistics of engines by hash; `null`: known and not analysed yet. */
export async function startVirusTotal(
  reports: Readonly<Record<string, Readonly<Record<string, number>> | null>>,
  tls?: { readonly key: string; readonly cert: string },
): Promise<VirusTotalServer> {
  const asked: string[] = []
  const faults: VirusTotalFault[] = []
  let connections = 0
  const error = (code: string) => ({ error: { code, message: `${code} of the test` } })
  const answer = (request: IncomingMessage): Answer => {
    const hash = /^\/api\/v3\/files\/([0-9a-f]+)$/.exec(request.url ?? '')?.[1]
    if (hash === undefined || request.method !== 'GET') return { status: 404, body: 'no such page' }
    asked.push(hash)
    const fault = faults.shift()
    if (fault?.reset) return 'reset'
    if (fault) {
      const { status = 500, body, code = 'TransientError', headers } = fault
      return { status, body: body ?? error(code), headers }
    }
    if (request.headers['x-apikey'] !== KEY) return { status: 401, body: error('WrongCredentialsError') }
    if (hash === EICAR) return { status: 200, body: report({ malicious: 60, suspicious: 1, undetected: 3 }) }
    if (!Object.hasOwn(reports, hash)) return { status: 404, body: error('NotFoundError') }
    return { status: 200, body: report(reports[hash]!) }
  }
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const given = answer(request)
    if (given === 'reset') request.socket.resetAndDestroy()
    else {
      response.writeHead(given.status, { 'Content-Type': 'application/json', ...given.headers })
      response.end(typeof given.body === 'string' ? given.body : JSON.stringify(given.body))
    }
  }
  const server = tls ? createTlsServer(tls, handle) : createServer(handle)
  server.on('connection', () => {
    connections += 1
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}/api/v3`,
    asked,
    get connections() {
      return connections
    },
    fail(...given) {
      faults.push(...given)
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

// --- internal ---

type Answer =
  | 'reset'
  | {
      readonly status: number
      readonly body: unknown
      readonly headers?: Readonly<Record<string, string>> | undefined
    }

const EICAR = '275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f'

const report = (stats: Readonly<Record<string, number>> | null) => ({
  data: { type: 'file', attributes: stats === null ? {} : { last_analysis_stats: stats } },
})
