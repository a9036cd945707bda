/**
 * Receivers on loopback for the demo, the tests and the benchmarks, over real HTTP or HTTPS: the Logs Ingestion API
 * with its token services, the retired Data Collector API and plain webhooks, each with the documented limits of the
 * real one, storing as the real one stores, and with faults on request. Nothing is kept on disk.
 */
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { FaultPlan } from './faultPlan.ts'
import { collectedRow, takeCollected } from './ingestion/dataCollector.ts'
import {
  type IngestionSurroundings,
  ingestionRequest,
  type StreamOptions,
  standardRefusal,
  takeBatch,
} from './ingestion/logsIngestion.ts'
import { decodeBody, type Refusal, readWire } from './ingestion/receivedBody.ts'
import { type StoredRow, storedRow } from './ingestion/storedRows.ts'
import { type ServerClient, TokenIssuer } from './ingestion/tokens.ts'

export type Operation = 'ingest' | 'token' | 'metadata' | 'identity' | 'collector' | 'hook' | 'other'

export interface IngestionFaultRule {
  /** Any when absent. */
  readonly operation?: Operation
  /** Stream, Log-Type or path of a webhook. */
  readonly stream?: string
  readonly from?: number
  readonly times?: number
  readonly action: IngestionFault
}

export type IngestionFault =
  /** Answers so instead of serving; code and message are the service's own unless given. */
  | {
      readonly kind: 'status'
      readonly status: number
      readonly code?: string
      readonly message?: string
      readonly headers?: Readonly<Record<string, string>>
    }
  /** Answers so, with whatever body and headers. */
  | {
      readonly kind: 'garbage'
      readonly status: number
      readonly body: string | Buffer
      readonly headers?: Readonly<Record<string, string>>
    }
  /** Destroys the socket before the body is read, or after so many bytes of it. */
  | { readonly kind: 'reset'; readonly after?: number }
  /** Reads nothing and answers nothing. */
  | { readonly kind: 'stall' }
  /** Serves it all, stores the records, and destroys the socket instead of answering. */
  | { readonly kind: 'drop' }
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** Does something first, then the request goes on. */
  | { readonly kind: 'run'; run(): void }

export interface IngestionServerOptions {
  /** Serves HTTPS with these. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Milliseconds. */
  readonly now?: () => number
  /** Streams by the immutable id of their rule. */
  readonly rules?: Readonly<Record<string, Readonly<Record<string, StreamOptions>>>>
  readonly clients?: readonly ServerClient[]
  /** What a caller of the managed-identity endpoint presents as X-IDENTITY-HEADER. */
  readonly identityHeader?: string
  /** The audience that tokens must be for. */
  readonly audience?: string
  /** Any bearer is let in. */
  readonly open?: boolean
  readonly tokenSecs?: number
  /** Shared keys (base64) by workspace id, for the Data Collector API. */
  readonly workspaces?: Readonly<Record<string, string>>
  /** Column whose distinct values are counted; without it none are kept. */
  readonly idColumn?: string
  /** Rows that are kept of each stream, the first ones. Default 1,000. */
  readonly keepRows?: number
  readonly onRow?: (stream: string, row: StoredRow) => void
  /** False: requests and bytes are counted, and nothing is inflated or parsed. Default true. */
  readonly parse?: boolean
}

/** What has been accepted of a stream, Log-Type (`Name_CL`) or path of a webhook. */
export interface ReceivedStream {
  requests: number
  wireBytes: number
  decodedBytes: number
  records: number
  largestWire: number
  readonly ids: Set<string>
  readonly rows: StoredRow[]
}

export interface SeenRequest {
  readonly operation: Operation
  readonly path: string
  readonly headers: IncomingMessage['headers']
  /** Of the latest webhooks: as it came. */
  readonly body?: Buffer | undefined
}

export interface IngestionServer {
  /** http://127.0.0.1:port, or https. */
  readonly endpoint: string
  readonly tokens: TokenIssuer
  /** What the environment of a process holds where App Service gives it a managed identity. */
  readonly identityEnvironment: { readonly IDENTITY_ENDPOINT: string; readonly IDENTITY_HEADER: string }
  readonly received: ReadonlyMap<string, ReceivedStream>
  /** Requests received, whatever became of them. */
  readonly requests: ReadonlyMap<Operation, number>
  /** Answers by status. */
  readonly statuses: ReadonlyMap<number, number>
  /** The latest 100 requests. */
  readonly seen: readonly SeenRequest[]
  fail(rule: IngestionFaultRule): void
  clearFaults(): void
  /** The stream's account, begun when there is none. */
  stream(name: string): ReceivedStream
  close(): Promise<void>
}

export async function startIngestionServer(options: IngestionServerOptions = {}): Promise<IngestionServer> {
  const now = options.now ?? Date.now
  const state: State = {
    options,
    now,
    rules: new Map(Object.entries(options.rules ?? {}).map(([id, streams]) => [id, new Map(Object.entries(streams))])),
    tokens: new TokenIssuer(options.clients ?? [], now, options.tokenSecs ?? 3600),
    faults: new FaultPlan<IngestionFaultRule, FaultTarget>(
      (rule, { operation, stream }) =>
        (rule.operation === undefined || rule.operation === operation) &&
        (rule.stream === undefined || rule.stream === stream),
    ),
    received: new Map(),
    requests: new Map(),
    statuses: new Map(),
    seen: [],
  }
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    serve(state, request, response).catch((error: unknown) => {
      // A client that went away while its body was read is no fault of ours.
      if (request.destroyed || response.headersSent) response.destroy()
      else refuse(state, response, { status: 500, code: 'InternalServerError', message: String(error) })
    })
  }
  const server = options.tls ? createTlsServer(options.tls, listener) : createPlainServer(listener)
  server.keepAliveTimeout = 60_000
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const endpoint = `${options.tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    endpoint,
    tokens: state.tokens,
    identityEnvironment: {
      IDENTITY_ENDPOINT: `${endpoint}/msi/token`,
      IDENTITY_HEADER: options.identityHeader ?? DEFAULT_IDENTITY_HEADER,
    },
    received: state.received,
    requests: state.requests,
    statuses: state.statuses,
    seen: state.seen,
    fail: (rule) => state.faults.add(rule),
    clearFaults: () => state.faults.clear(),
    stream: (name) => account(state, name),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

// --- internal ---

const DEFAULT_IDENTITY_HEADER = 'loopback-identity'
const HOOK_LIMIT = 64 * 1024 * 1024
const KEEP_SEEN = 100
const KEEP_BODIES = 10

interface FaultTarget {
  readonly operation: Operation
  readonly stream: string
}

interface State {
  readonly options: IngestionServerOptions
  readonly now: () => number
  readonly rules: ReadonlyMap<string, ReadonlyMap<string, StreamOptions>>
  readonly tokens: TokenIssuer
  readonly faults: FaultPlan<IngestionFaultRule, FaultTarget>
  readonly received: Map<string, ReceivedStream>
  readonly requests: Map<Operation, number>
  readonly statuses: Map<number, number>
  readonly seen: SeenRequest[]
}

async function serve(state: State, request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  const url = new URL(request.url ?? '/', 'http://loopback')
  const operation = operationOf(url.pathname)
  const ingest = operation === 'ingest' ? ingestionRequest(url) : undefined
  const stream = ingest?.stream ?? (operation === 'collector' ? String(request.headers['log-type']) : url.pathname)
  state.requests.set(operation, (state.requests.get(operation) ?? 0) + 1)
  note(state, { operation, path: url.pathname, headers: request.headers })
  response.setHeader('x-ms-client-request-id', request.headers['x-ms-client-request-id'] ?? '')

  const fault = state.faults.take({ operation, stream })
  if (fault?.kind === 'run') fault.run()
  if (fault?.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.milliseconds))
  if (fault?.kind === 'stall') return request.pause()
  if (fault?.kind === 'reset') return reset(request, fault.after)
  if (fault?.kind === 'garbage') return answer(state, response, fault.status, fault.headers ?? {}, fault.body)
  if (fault?.kind === 'status') {
    return refuse(state, response, { ...standardRefusal(fault.status, ingest?.rule ?? 'none'), ...fault })
  }
  const serves = request.method === 'POST' || ['metadata', 'identity', 'other'].includes(operation)
  if (!serves) return refuse(state, response, { status: 405, code: 'MethodNotAllowed', message: 'Use POST.' })
  const done = await HANDLERS[operation](state, request, url)
  if (fault?.kind === 'drop') return destroy(request.socket)
  if ('code' in done) return refuse(state, response, done)
  return answer(state, response, done.status, { 'Content-Type': 'application/json' }, done.text ?? '')
}

interface Served {
  readonly status: number
  readonly text?: string
}

const json = (status: number, body: unknown): Served => ({ status, text: JSON.stringify(body) })

const HANDLERS: Readonly<
  Record<Operation, (state: State, request: IncomingMessage, url: URL) => Promise<Served | Refusal>>
> = {
  async ingest(state, request, url) {
    const target = ingestionRequest(url)!
    const { audience = 'https://monitor.azure.com', open = false, parse = true } = state.options
    const surroundings: IngestionSurroundings = {
      rules: state.rules,
      parse,
      isAuthorized(authorization) {
        const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1]
        return token !== undefined && (open || state.tokens.accepts(token, audience))
      },
    }
    const taken = await takeBatch(request, target, surroundings)
    if ('code' in taken) return taken
    const { columns } = state.rules.get(target.rule)!.get(target.stream)!
    const receivedAt = state.now()
    const into = account(state, target.stream)
    count(into, taken.wireBytes, taken.decodedBytes)
    for (const record of taken.records) {
      keep(state, target.stream, into, () => storedRow(record, columns, receivedAt), record)
    }
    return { status: 204 }
  },

  async token(state, request, url) {
    const wire = await readWire(request, 65_536)
    const tenant = url.pathname.split('/')[1]!
    const { status, body } = state.tokens.clientCredentials(tenant, new URLSearchParams(String(wire ?? '')))
    return json(status, body)
  },

  async metadata(state, request, url) {
    const origin = `${state.options.tls ? 'https' : 'http'}://${request.headers.host}`
    if (url.pathname === '/common/discovery/instance') {
      const tenant = url.searchParams.get('authorization_endpoint')?.split('/')[3] ?? 'common'
      return json(200, {
        tenant_discovery_endpoint: `${origin}/${tenant}/v2.0/.well-known/openid-configuration`,
        'api-version': '1.1',
        metadata: [],
      })
    }
    return json(200, state.tokens.metadata(url.pathname.split('/')[1]!, origin))
  },

  async identity(state, request, url) {
    const presented = request.headers['x-identity-header']
    const expected = state.options.identityHeader ?? DEFAULT_IDENTITY_HEADER
    const { status, body } = state.tokens.managedIdentity(url.searchParams, String(presented), expected)
    return json(status, body)
  },

  async collector(state, request, url) {
    const taken = await takeCollected(request, url, state.options.workspaces ?? {}, state.now())
    if ('code' in taken) return taken
    const name = `${taken.logType}_CL`
    const into = account(state, name)
    count(into, taken.wireBytes, taken.wireBytes)
    for (const record of taken.records) {
      keep(state, name, into, () => collectedRow(record, taken.timeField, state.now()), record)
    }
    return { status: 200 }
  },

  async hook(state, request, url) {
    const wire = await readWire(request, HOOK_LIMIT)
    const decoded = wire && (await decodeBody(wire, request.headers['content-encoding'] ?? '', HOOK_LIMIT))
    if (!wire || !Buffer.isBuffer(decoded)) {
      return { status: wire ? 400 : 413, code: 'BadBody', message: 'The body cannot be decoded, or is too large.' }
    }
    const records = hookRecords(decoded)
    if (!records)
      return { status: 400, code: 'BadBody', message: 'The body is neither a JSON array nor lines of JSON.' }
    note(state, { operation: 'hook', path: url.pathname, headers: request.headers, body: wire })
    const into = account(state, url.pathname)
    count(into, wire.length, decoded.length)
    for (const record of records) keep(state, url.pathname, into, () => record, record)
    return { status: 200 }
  },

  async other() {
    return { status: 404, code: 'NotFound', message: 'There is nothing here.' }
  },
}

function operationOf(path: string): Operation {
  if (/^\/dataCollectionRules\/[^/]+\/streams\/[^/]+$/.test(path)) return 'ingest'
  if (/^\/[^/]+\/oauth2\/v2\.0\/token$/.test(path)) return 'token'
  if (/\/\.well-known\/openid-configuration$/.test(path) || path === '/common/discovery/instance') return 'metadata'
  if (path === '/msi/token') return 'identity'
  if (path === '/api/logs') return 'collector'
  return path.startsWith('/hook') ? 'hook' : 'other'
}

function account(state: State, name: string): ReceivedStream {
  let found = state.received.get(name)
  if (!found) {
    found = { requests: 0, wireBytes: 0, decodedBytes: 0, records: 0, largestWire: 0, ids: new Set(), rows: [] }
    state.received.set(name, found)
  }
  return found
}

function count(into: ReceivedStream, wireBytes: number, decodedBytes: number): void {
  into.requests += 1
  into.wireBytes += wireBytes
  into.decodedBytes += decodedBytes
  into.largestWire = Math.max(into.largestWire, wireBytes)
}

function keep(
  { options }: State,
  stream: string,
  into: ReceivedStream,
  stored: () => StoredRow,
  record: Readonly<Record<string, unknown>>,
): void {
  into.records += 1
  if (options.idColumn !== undefined) into.ids.add(String(record[options.idColumn]))
  const kept = into.rows.length < (options.keepRows ?? 1000)
  if (!kept && !options.onRow) return
  const row = stored()
  if (kept) into.rows.push(row)
  options.onRow?.(stream, row)
}

function note({ seen }: State, request: SeenRequest): void {
  // A webhook is noted again with its body; only the latest bodies are kept.
  if (request.body !== undefined) {
    const same = seen.findLastIndex(({ headers }) => headers === request.headers)
    if (same >= 0) seen.splice(same, 1)
    const old = seen.findLastIndex(({ body }, i) => body !== undefined && i < seen.length - KEEP_BODIES)
    if (old >= 0) seen[old] = { ...seen[old]!, body: undefined }
  }
  seen.push(request)
  if (seen.length > KEEP_SEEN) seen.shift()
}

function hookRecords(decoded: Buffer): Record<string, unknown>[] | undefined {
  const text = decoded.toString().trim()
  try {
    if (text.startsWith('[')) return JSON.parse(text) as Record<string, unknown>[]
    return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)
  } catch {
    return undefined
  }
}

function reset(request: IncomingMessage, after: number | undefined): void {
  if (after === undefined) {
    destroy(request.socket)
    return
  }
  let read = 0
  request.on('data', (chunk: Buffer) => {
    read += chunk.length
    if (read >= after) destroy(request.socket)
  })
  request.on('error', () => {})
}

/** By a reset where there is no TLS. */
function destroy(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

function refuse(state: State, response: ServerResponse, { status, code, message, headers }: Refusal): unknown {
  const body = JSON.stringify({ error: { code, message }, Error: code, Message: message })
  return answer(state, response, status, { 'Content-Type': 'application/json', ...headers }, body)
}

function answer(
  state: State,
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string | Buffer,
): unknown {
  state.statuses.set(status, (state.statuses.get(status) ?? 0) + 1)
  const length = status === 204 ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
  response.writeHead(status, { ...length, ...headers })
  return response.end(status === 204 ? undefined : body)
}
