/** The destination `sentinel`: one feed for each table, one HTTP client and one token for all. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { ColdtrailError } from '../../../core/errors.ts'
import { nearest } from '../../../core/nearest.ts'
import { createHttpClient, type HttpClient, HttpFault, type HttpResponse } from '../../../platform/httpClient.ts'
import type { DestinationContext } from '../../component.ts'
import {
  type BatchLimits,
  type Destination,
  type DestinationCheck,
  type Feed,
  findingFeed,
  type Outcome,
  type OutgoingBatch,
} from '../../destination.ts'
import { compileRow, type RowEncoder, type RowOptions } from '../../rows/rowEncoder.ts'
import type { ColumnSource, Table } from '../../rows/table.ts'
import { declaredColumns } from '../../rows/tableText.ts'
import { TABLES } from '../../tables/all.ts'
import { type Asking, faultOutcome } from '../http/answers.ts'
import { clockCheck, faultCheck, refusalCheck } from '../http/checks.ts'
import type { SentinelConfig } from '../sentinel.ts'
import { outcomeOf } from './outcomes.ts'
import { createTokens, type Tokens, TransientTokenFault } from './tokens.ts'

export async function createSentinelDestination(
  config: SentinelConfig,
  context: DestinationContext,
): Promise<Destination> {
  const atBase = (path: string): string => resolve(context.base, path)
  const rule = config.dcr_file === undefined ? undefined : await readText(atBase(config.dcr_file))
  const tables = config.tables.map((entry) => {
    const table = tableOf(entry, context.name)
    const stream = entry.stream ?? `Custom-${table.name}`
    const options: RowOptions = {
      tooLong: config.too_long,
      wrongType: config.wrong_type,
      undeclared: config.undeclared,
      ...(rule !== undefined && { declared: declaredColumns(rule, stream) }),
    }
    return { entry, table, stream, encoder: compileRow(table, options) }
  })
  const http = createHttpClient({
    environment: context.environment,
    connectMs: config.connect_timeout_secs * 1000,
    idleMs: config.idle_timeout_secs * 1000,
    wholeMs: config.request_timeout_secs * 1000,
    ...(config.ca_file !== undefined && { caFile: atBase(config.ca_file) }),
  })
  const cloud = CLOUDS[config.cloud]
  const scope = config.scope ?? cloud.scope
  const tokens = createTokens({
    destination: context.name,
    form: config.credential,
    authorityHost: config.authority_host ?? cloud.authority,
    knownAuthority: config.authority_host === undefined,
    scope,
    http,
    environment: context.environment,
    base: context.base,
  })
  const asking: Asking = {
    destination: context.name,
    host: new URL(config.endpoint).host,
    hide: (text) => tokens.hide(text),
    now: () => context.now(),
  }
  const service: Service = { config, context, http, tokens, scope, asking }
  return {
    feeds: tables.flatMap((one) => {
      const feed = sentinelFeed(service, one)
      const { takes } = one.entry
      const hasFindings = takes !== 'events' && one.table.columns.some(({ from }) => from.some(isOfFinding))
      return [
        ...(takes === 'findings' ? [] : [feed]),
        ...(hasFindings ? [{ ...feed, name: findingFeed(feed.name) }] : []),
      ]
    }),
    notices: tables.flatMap(({ table, encoder }) => droppedNotice(table, encoder)),
    tables: tables.map(({ table }) => table),
    check: (signal) => check(service, tables, rule !== undefined, signal),
    close: async () => http.close(),
  }
}

// --- internal ---

/** The login hosts are those of the identity library for each cloud. */
const CLOUDS = {
  public: { authority: 'https://login.microsoftonline.com', scope: 'https://monitor.azure.com//.default' },
  china: { authority: 'https://login.chinacloudapi.cn', scope: 'https://monitor.azure.cn//.default' },
  government: { authority: 'https://login.microsoftonline.us', scope: 'https://monitor.azure.us//.default' },
} as const

/** The service counts 1,048,576 bytes of what is on the wire, and 50 MiB of what is in it. */
const WIRE_BYTES = 1_044_480
const DECODED_BYTES = 50 * 1024 * 1024
/** More rows than 50 MiB hold in practice. */
const RECORDS = 500_000
/** Just under 30 minutes, microseconds. */
const AUXILIARY_SPAN = (30 * 60 - 1) * 1_000_000
/** Older times are replaced by that of receipt, microseconds. */
const LATE_AFTER = 2 * 24 * 3600 * 1_000_000
const CLOCK_TOLERANCE_MS = 5 * 60_000

interface Service {
  readonly config: SentinelConfig
  readonly context: DestinationContext
  readonly http: HttpClient
  readonly tokens: Tokens
  readonly scope: string
  readonly asking: Asking
}

interface SentinelTable {
  readonly entry: SentinelConfig['tables'][number]
  readonly table: Table
  readonly stream: string
  readonly encoder: RowEncoder
}

const isOfFinding = (source: ColumnSource): boolean => 'finding' in source

function sentinelFeed(service: Service, target: SentinelTable): Feed {
  const { config } = service
  const { entry, table, encoder } = target
  const where = entry.where ?? table.where
  const limits: BatchLimits = {
    framing: 'array',
    compression: { kind: 'gzip', level: config.compression_level },
    wireBytes: WIRE_BYTES,
    decodedBytes: DECODED_BYTES,
    records: RECORDS,
    inFlight: config.max_in_flight,
    ...(entry.plan === 'auxiliary' && { timeSpan: AUXILIARY_SPAN }),
  }
  /** Sizes of batches whose connection was closed while they were being sent. */
  const cutOff = new Set<number>()
  return {
    name: table.name,
    ...(where !== '' && { where }),
    columns: encoder.columns,
    limits,
    lateAfter: { microseconds: LATE_AFTER, notice: lateNotice(encoder, entry.plan) },
    encode: (event, out) => encoder.encode(event, out),
    async send(batch, signal) {
      const outcome = await post(service, target, batch, signal)
      if ('kind' in outcome) {
        cutOff.delete(batch.body.length)
        return outcome
      }
      const { fault } = outcome
      // The service may close the connection of a request that is too large while it is still being sent.
      if (fault.kind === 'reset' && !fault.sent) {
        if (cutOff.delete(batch.body.length)) {
          return { kind: 'too_large', reason: `${fault.message}, twice while ${batch.body.length} bytes were sent` }
        }
        if (cutOff.size >= 64) cutOff.clear()
        cutOff.add(batch.body.length)
      }
      return faultOutcome(fault, service.asking)
    },
  }
}

/** One request; after 401 one more with a fresh token. */
async function post(
  service: Service,
  target: SentinelTable,
  { body, requestId }: Pick<OutgoingBatch, 'body' | 'requestId'>,
  signal?: AbortSignal,
): Promise<Outcome | { readonly fault: HttpFault }> {
  const { config, context, tokens } = service
  try {
    const first = await abortable(tokens.get(), signal)
    let response = await request(service, target.stream, first, body, requestId, signal)
    if (response.status === 401) {
      tokens.renew(first)
      const second = await abortable(tokens.get(), signal)
      if (second !== first) response = await request(service, target.stream, second, body, requestId, signal)
    }
    const values = {
      destination: context.name,
      endpoint: config.endpoint,
      rule: config.rule,
      stream: target.stream,
      table: target.table.name,
      tried: tokens.tried,
      scope: service.scope,
      request: requestId,
    }
    return outcomeOf(response, service.asking, values)
  } catch (thrown) {
    if (thrown instanceof HttpFault) return { fault: thrown }
    if (thrown instanceof TransientTokenFault) return { kind: 'failed', reason: `no token: ${thrown.message}` }
    if (thrown instanceof ColdtrailError) return { kind: 'denied', error: thrown }
    throw thrown
  }
}

function request(
  { http, config }: Service,
  stream: string,
  token: string,
  body: Uint8Array,
  requestId: string,
  signal?: AbortSignal,
): Promise<HttpResponse> {
  const path = `/dataCollectionRules/${config.rule}/streams/${encodeURIComponent(stream)}?api-version=2023-01-01`
  return http.request(config.endpoint + path, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
      'Content-Encoding': 'gzip',
      'x-ms-client-request-id': requestId,
    },
    body,
    ...(signal && { signal }),
  })
}

/** Fetching a token cannot be broken off, but need not be waited for. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise((settle, reject) => {
    const abort = (): void => reject(new HttpFault('aborted', 'the request was aborted', false))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(settle, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

async function* check(
  service: Service,
  tables: readonly SentinelTable[],
  compared: boolean,
  signal?: AbortSignal,
): AsyncGenerator<DestinationCheck> {
  const { tokens, config } = service
  let hasToken = false
  try {
    await abortable(tokens.get(), signal)
    hasToken = true
    yield { name: 'credential', ok: true, detail: `a token with ${tokens.tried}, for ${service.scope}` }
  } catch (thrown) {
    yield thrown instanceof ColdtrailError
      ? { name: 'credential', ok: false, detail: thrown.message, hint: thrown.hint }
      : {
          name: 'credential',
          ok: false,
          detail: (thrown as Error).message,
          hint: 'See network, DNS and proxy of the authority.',
        }
  }
  yield* checkEndpoint(service, signal)
  for (const target of tables) {
    if (hasToken) yield await checkStream(service, target, signal)
    const { dropped, written } = target.encoder
    const left = dropped.map(({ name, reason }) => `${name} (${reason})`).join(', ')
    yield {
      name: `columns of ${target.table.name}`,
      ok: true,
      detail: !compared
        ? `${written.length}, not compared with the rule: give dcr_file, for Azure drops undeclared ones without a word`
        : left === ''
          ? `${written.length}, all declared by ${config.dcr_file}`
          : `${written.length} declared; left out: ${left}`,
    }
  }
}

/** Address, TLS and clock, by a request that any server answers somehow. */
async function* checkEndpoint(
  { http, config, asking }: Service,
  signal?: AbortSignal,
): AsyncGenerator<DestinationCheck> {
  try {
    const response = await http.request(`${config.endpoint}/`, signal ? { signal } : {})
    yield { name: 'endpoint', ok: true, detail: `${asking.host} answers` }
    const clock = clockCheck(response, asking, CLOCK_TOLERANCE_MS)
    if (clock) yield clock
  } catch (error) {
    yield { ...faultCheck(error, asking), name: 'endpoint' }
  }
}

/** An empty array: the service looks at rule, stream and role before it looks at records, and there is none. */
async function checkStream(service: Service, target: SentinelTable, signal?: AbortSignal): Promise<DestinationCheck> {
  const name = `stream ${target.stream}`
  const outcome = await post(service, target, { body: EMPTY_ARRAY, requestId: randomUUID() }, signal)
  if (!('kind' in outcome)) return { ...faultCheck(outcome.fault, service.asking), name }
  if (outcome.kind === 'denied' || outcome.kind === 'failed') return refusalCheck(name, outcome)
  const detail =
    outcome.kind === 'throttled'
      ? `rule, stream and role were not refused; the service throttles now: ${outcome.reason}`
      : `rule ${service.config.rule}, stream and role hold; no record was sent`
  return { name, ok: true, detail }
}

const EMPTY_ARRAY = gzipSync('[]')

function tableOf({ table: name, columns, where }: SentinelConfig['tables'][number], destination: string): Table {
  if (columns) return { kind: 'table', name, summary: '', where: where ?? '', columns }
  const found = TABLES.find((table) => table.name === name)
  if (found) return found
  const known = TABLES.map((table) => table.name)
  const guess = nearest(name, known)
  const suggestion = guess === undefined ? '' : ` Did you mean ${guess}?`
  throw new ColdtrailError('E_SENTINEL_TABLE', { destination, table: name, suggestion, known: known.join(', ') })
}

function droppedNotice({ name }: Table, { dropped }: RowEncoder): string[] {
  if (dropped.length === 0) return []
  const columns = dropped.map(({ name: column, reason }) => `${column} (${reason})`).join(', ')
  return [`${name}: columns that the rule does not take are left out: ${columns}`]
}

function lateNotice({ written }: RowEncoder, plan: 'analytics' | 'auxiliary'): string {
  const kept = written.find(({ name, from }) => name !== 'TimeGenerated' && from.some(isOwnTime))
  const rules = plan === 'auxiliary' ? '' : '; the rules of Sentinel will take them for new'
  return `Azure files events older than two days under the time of receipt (TimeGenerated)${rules}. ${
    kept ? `Their own time is in ${kept.name}.` : 'No other column of the table has their own time.'
  }`
}

/** The time of a flow is its start. */
const isOwnTime = (source: ColumnSource): boolean =>
  ('event' in source && source.event === 'time') || ('field' in source && source.field === 'start')

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}
