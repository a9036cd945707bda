/** The connections behind an HTTP client (httpClient.ts), and one exchange over them. */
import { type IncomingHttpHeaders, Agent as PlainAgent, request as plainRequest, type RequestOptions } from 'node:http'
import { request as secureRequest, Agent as TlsAgent } from 'node:https'
import type { Socket } from 'node:net'
import { createSecureContext, getCACertificates, type SecureContextOptions } from 'node:tls'
import {
  type HttpClientOptions,
  HttpFault,
  type HttpFaultKind,
  type HttpRequest,
  type HttpResponse,
  isLoopback,
} from './httpClient.ts'

/** `ca`: certificates (PEM) of authorities to trust besides those of the system. */
export function openConnections(options: HttpClientOptions, ca: string | undefined) {
  const agents = new Agents(options, ca)
  return {
    request: (url: URL, request: HttpRequest): Promise<HttpResponse> => send(url, request, agents, options),
    close: (): void => agents.close(),
  }
}

// --- internal ---

const MAX_BODY_BYTES = 64 * 1024
/** A kept connection is given up before the front ends of cloud services give it up, about 4 minutes. */
const KEEP_MS = 60_000

/** Metadata services of clouds have link-local addresses; a proxy would answer for its own machine. */
const isDirect = (hostname: string): boolean =>
  isLoopback(hostname) || /^(?:169\.254(?:\.\d{1,3}){2}|\[fe[89ab].*)$/.test(hostname)

type AnyAgent = PlainAgent | TlsAgent

class Agents {
  readonly #options: HttpClientOptions
  readonly #made = new Map<string, AnyAgent>()
  readonly #ca: string | undefined

  constructor(options: HttpClientOptions, ca: string | undefined) {
    this.#options = options
    this.#ca = ca
  }

  of(url: URL): AnyAgent {
    const direct = isDirect(url.hostname)
    const name = `${url.protocol}${direct ? 'direct' : ''}`
    let agent = this.#made.get(name)
    if (!agent) {
      agent = this.#make(url.protocol === 'https:', direct)
      this.#made.set(name, agent)
    }
    return agent
  }

  close(): void {
    for (const agent of this.#made.values()) agent.destroy()
    this.#made.clear()
  }

  #make(secure: boolean, direct: boolean): AnyAgent {
    const common = {
      keepAlive: true,
      scheduling: 'lifo',
      timeout: KEEP_MS,
      ...(!direct && { proxyEnv: this.#options.environment as NodeJS.ProcessEnv }),
    } as const
    if (!secure) return new PlainAgent(common)
    const own: SecureContextOptions = this.#ca === undefined ? {} : { ca: [...getCACertificates('default'), this.#ca] }
    // One context for all connections: the certificates of the authorities are parsed once.
    return new TlsAgent({ ...common, secureContext: createSecureContext({ minVersion: 'TLSv1.2', ...own }) })
  }
}

function send(url: URL, given: HttpRequest, agents: Agents, options: HttpClientOptions): Promise<HttpResponse> {
  const { connectMs, idleMs, wholeMs, maxBodyBytes = MAX_BODY_BYTES } = options
  const body = typeof given.body === 'string' ? Buffer.from(given.body) : given.body
  return new Promise((resolve, reject) => {
    let sent = false
    let settled = false
    let answer: { readonly status: number; readonly headers: IncomingHttpHeaders } | undefined
    const chunks: Buffer[] = []
    let received = 0
    const timers: NodeJS.Timeout[] = []

    const settle = (act: () => void): void => {
      if (settled) return
      settled = true
      for (const timer of timers) clearTimeout(timer)
      given.signal?.removeEventListener('abort', abort)
      act()
    }
    const finish = (cut: boolean): void =>
      settle(() => resolve({ ...answer!, body: Buffer.concat(chunks, received), cut }))
    const fail = (fault: HttpFault): void => settle(() => reject(fault))
    /** Breaks off; an answer whose status has come counts, whatever became of the rest of its body. */
    const breakOff = (kind: HttpFaultKind, message: string): void => {
      if (answer && kind !== 'aborted') finish(true)
      else fail(new HttpFault(kind, message, sent))
      outgoing?.destroy()
    }
    const late = (what: string, ms: number) => () => breakOff('timeout', `${url.host}: ${what} for ${ms / 1000} s`)
    const abort = (): void => breakOff('aborted', `${url.host}: the request was aborted`)

    const outgoing = open()
    if (!outgoing) return
    outgoing.on('error', (error) => {
      if (answer) finish(true)
      else fail(faultOf(error, url, sent))
    })
    if (given.signal?.aborted) return abort()
    given.signal?.addEventListener('abort', abort, { once: true })
    const connecting = setTimeout(late('no connection', connectMs), connectMs)
    timers.push(connecting, setTimeout(late('no whole answer', wholeMs), wholeMs))
    outgoing.setTimeout(idleMs, late('nothing moved', idleMs))
    outgoing.on('socket', (socket: Socket & { secureConnecting?: boolean }) => {
      const done = (): void => clearTimeout(connecting)
      if (socket.secureConnecting) socket.once('secureConnect', done)
      else if (socket.connecting) socket.once('connect', done)
      else done()
    })
    outgoing.on('finish', () => {
      sent = true
    })
    outgoing.on('response', (response) => {
      answer = { status: response.statusCode!, headers: response.headers }
      response.on('data', (chunk: Buffer) => {
        const room = maxBodyBytes - received
        chunks.push(chunk.length > room ? chunk.subarray(0, room) : chunk)
        received += Math.min(chunk.length, room)
        if (chunk.length > room) {
          finish(true)
          outgoing.destroy()
        }
      })
      response.on('end', () => finish(false))
      response.on('error', () => finish(true))
      response.on('close', () => finish(true))
    })
    outgoing.end(body)

    function open() {
      try {
        const parameters: RequestOptions = {
          method: given.method ?? 'GET',
          headers: { ...given.headers, ...(body && { 'Content-Length': String(body.byteLength) }) },
          agent: agents.of(url),
        }
        return (url.protocol === 'https:' ? secureRequest : plainRequest)(url, parameters)
      } catch (error) {
        fail(faultOf(error as Error, url, false))
        return undefined
      }
    }
  })
}

const RESET = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE'])
const UNREACHABLE = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'EHOSTDOWN', 'ENETDOWN'])

/** What Node and OpenSSL call the faults of certificates, in words that say what to look at. */
const CERTIFICATE_FAULTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; is the clock of this machine right?',
  CERT_REVOKED: 'its certificate was revoked',
  CERT_SIGNATURE_FAILURE: 'the signature of its certificate is wrong',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself and not trusted',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  HOSTNAME_MISMATCH: 'its certificate is for another name',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate comes from an authority that is not trusted (a proxy that inspects TLS?)',
  UNABLE_TO_GET_ISSUER_CERT: 'the authority of its certificate is not known',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the authority of its certificate is not known',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the authority of its certificate is not known',
}

function faultOf(error: Error & { code?: unknown }, url: URL, sent: boolean): HttpFault {
  const code = typeof error.code === 'string' ? error.code : ''
  const as = (kind: HttpFaultKind, what: string): HttpFault =>
    new HttpFault(kind, `${url.host}: ${what}`, sent, { cause: error })
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return as('dns', `the name cannot be resolved (${code})`)
  if (code.startsWith('ERR_PROXY')) return as('proxy', `the proxy of the environment failed (${code})`)
  if (code === 'ECONNREFUSED') return as('refused', 'nobody accepts connections there (ECONNREFUSED)')
  if (RESET.has(code)) return as('reset', `the connection was closed without an answer (${code})`)
  if (code === 'ETIMEDOUT') return as('timeout', 'the connection timed out (ETIMEDOUT)')
  if (UNREACHABLE.has(code)) return as('unreachable', `there is no way to it (${code})`)
  const certificate = CERTIFICATE_FAULTS[code]
  if (certificate !== undefined) return as('tls', `${certificate} (${code})`)
  if (/^(?:ERR_SSL|ERR_TLS|CERT_|EPROTO|ERR_OSSL)/.test(code))
    return as('tls', `the TLS handshake failed, perhaps since it speaks no TLS (${code})`)
  return as('protocol', `the answer is no HTTP, or none that is accepted (${code || error.name})`)
}
