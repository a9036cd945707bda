/** Log Analytics by the HTTP Data Collector API, for installations that still have it. `sentinel` replaces it. */
import { createHmac } from 'node:crypto'
import { resolve } from 'node:path'
import { z } from 'zod'
import { isoTimeText } from '../../core/isoTime.ts'
import type { OutgoingEvent } from '../../core/outgoingEvent.ts'
import { createHttpClient, type HttpClient, type HttpResponse, isLoopback } from '../../platform/httpClient.ts'
import type { DestinationComponent, DestinationContext } from '../component.ts'
import {
  type Destination,
  type DestinationCheck,
  type ElementWriter,
  type Encoded,
  findingFeed,
  type Outcome,
} from '../destination.ts'
import { ELEMENT_COLUMNS, isJsonNumber, wellFormedRecord, wellFormedText } from '../rows/eventElement.ts'
import { RowWriter } from '../rows/rowWriter.ts'
import { trimText } from '../rows/trimming.ts'
import { type Asking, deniedError, faultOutcome, hiding, refusalOutcome } from './http/answers.ts'
import { addressCheck, clockCheck, faultCheck, refusalCheck } from './http/checks.ts'

const CLOUDS = {
  public: 'ods.opinsights.azure.com',
  government: 'ods.opinsights.azure.us',
  china: 'ods.opinsights.azure.cn',
} as const

const config = z.strictObject({
  workspace_id: z
    .string()
    .regex(/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i, 'it is the id of a workspace, a GUID')
    .describe('Id of the Log Analytics workspace.'),
  shared_key: z
    .base64('it is the base64 of a key')
    .min(4)
    .describe('Primary or secondary key of the workspace.')
    .meta({ secret: true }),
  log_type: z
    .string()
    .regex(/^[A-Za-z0-9_]{1,100}$/, 'letters, digits and _, at most 100')
    .describe('Name of the table; the service appends _CL.'),
  resource_id: z
    .string()
    .regex(/^\/subscriptions\/[\x21-\x7e]+$/, 'it begins with /subscriptions/')
    .optional()
    .describe('Azure resource that the rows belong to, as x-ms-AzureResourceId.'),
  cloud: z.enum(['public', 'government', 'china']).default('public').describe('Azure cloud of the workspace.'),
  endpoint: z
    .url({ protocol: /^https?$/, message: 'it must be an https URL' })
    .refine((url) => !URL.canParse(url) || isSafe(new URL(url)), {
      message: 'it must be https (http only on this machine), without user, path and query',
    })
    .optional()
    .describe('Instead of that of the cloud, such as a private link.'),
  data: z.enum(['text', 'none']).default('text').describe('Whether the record itself is sent, in the column data.'),
  too_long: z
    .enum(['refuse', 'trim'])
    .default('refuse')
    .describe('A value over 32 KiB: the event becomes a dead letter, or the value is trimmed and marked.'),
  ca_file: z.string().min(1).optional().describe('PEM file of authorities to trust besides those of the system.'),
  request_timeout_secs: z.number().positive().default(100).describe('Time from the request to the end of its answer.'),
})

type LegacyConfig = z.output<typeof config>

export const sentinel_legacy: DestinationComponent<typeof config> = {
  kind: 'destination',
  name: 'sentinel_legacy',
  summary: 'Log Analytics by the HTTP Data Collector API, which Microsoft retired on 2026-09-14; use sentinel instead.',
  config,
  create: async (options, context) => legacyDestination(options, context),
}

/** The value of the Authorization header. `length`: of the body in bytes; `date`: as x-ms-date says it. */
export function sharedKey(workspaceId: string, key: string, length: number, date: string): string {
  const text = `POST\n${length}\n${CONTENT_TYPE}\nx-ms-date:${date}\n${PATH}`
  const mac = createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64')
  return `SharedKey ${workspaceId}:${mac}`
}

/** Names of the fields of a row; none that the service reserves, and none beyond its 45 characters. */
export const ROW_FIELDS: readonly string[] = ['EventTime', 'uid', 'id', 'data_type', ...ELEMENT_COLUMNS, 'data']

// --- internal ---

const CONTENT_TYPE = 'application/json'
const PATH = '/api/logs'
const API_VERSION = '2016-04-01'
/** 30 MB a post, and 32 KB a field. */
const POST_BYTES = 30_000_000
const FIELD_BYTES = 32 * 1024
/** The service accepts signatures of this age. */
const SKEW_MS = 15 * 60_000
const TWO_DAYS = 2 * 86_400 * 1e6
/** A post that is smaller was not refused for its size. */
const SURELY_SMALL = 1024 * 1024

interface Workspace {
  readonly url: URL
  readonly options: LegacyConfig
  readonly client: HttpClient
  readonly asking: Asking
}

function legacyDestination(options: LegacyConfig, context: DestinationContext): Destination {
  const origin = options.endpoint ?? `https://${options.workspace_id}.${CLOUDS[options.cloud]}`
  const url = new URL(`${PATH}?api-version=${API_VERSION}`, origin)
  const client = createHttpClient({
    environment: context.environment,
    ...(options.ca_file !== undefined && { caFile: resolve(context.base, options.ca_file) }),
    connectMs: 30_000,
    idleMs: options.request_timeout_secs * 1000,
    wholeMs: options.request_timeout_secs * 1000,
  })
  const asking: Asking = {
    destination: context.name,
    host: url.host,
    hide: hiding([options.shared_key]),
    now: context.now,
  }
  const workspace: Workspace = { url, options, client, asking }
  return {
    feeds: ['events', findingFeed('events')].map((name) => ({
      name,
      columns: ELEMENT_COLUMNS,
      // Fixed: the service documents no size that it likes better.
      limits: {
        framing: 'array',
        compression: { kind: 'none' },
        wireBytes: POST_BYTES,
        decodedBytes: POST_BYTES,
        records: 10_000,
        inFlight: 2,
      },
      lateAfter: {
        microseconds: TWO_DAYS,
        notice: 'events older than two days are filed under the time of their arrival; their own is in EventTime',
      },
      encode: rows(options),
      send: ({ body, records }, signal) => post(workspace, body, records, signal),
    })),
    notices: [
      `Destination ${context.name} uses the HTTP Data Collector API, which Microsoft retired on 2026-09-14: requests may ` +
        'be refused at any time. Use a destination of type sentinel instead.',
    ],
    check: (signal) => checks(workspace, signal),
    close: async () => client.close(),
  }
}

/** Flat rows of texts and numbers; the service gives each column a suffix for its type. */
function rows({ data: sent, too_long }: LegacyConfig): (event: OutgoingEvent, out: ElementWriter) => Encoded {
  const writer = new RowWriter()
  return (event, out) => {
    const notes: string[] = []
    let tooLong: string | undefined
    const text = (name: string, value: string): void => field(name, Buffer.from(wellFormedText(value, name, notes)))
    const field = (name: string, given: Buffer): void => {
      let value = given
      if (given.length > FIELD_BYTES) {
        tooLong ??= name
        value = trimText(given, 0, given.length, FIELD_BYTES)
        notes.push(`${name}: cut to the 32 KiB of a field`)
      }
      writer.ascii(`,"${name}":`)
      writer.text(value, 0, value.length)
    }
    writer.at = 0
    const time = event.time === null ? '' : `"EventTime":"${isoTimeText(event.time)}",`
    writer.ascii(`{${time}"uid":${JSON.stringify(event.uid)},"id":${event.finding?.event ?? event.id}`)
    const { finding } = event
    if (finding) {
      for (const name of ['title', 'severity', 'label', 'rule', 'plugin'] as const)
        text(`finding_${name}`, finding[name])
      if (finding.event_uid !== null) text('event_uid', finding.event_uid)
    }
    text('data_type', event.dataType)
    for (const name of ELEMENT_COLUMNS) {
      const value = event.column(name)
      if (typeof value === 'string') text(name, value)
      else if (value !== null && isJsonNumber(value, name, notes)) writer.ascii(`,"${name}":${value}`)
    }
    if (sent === 'text') field('data', wellFormedRecord(event.data, notes))
    writer.ascii('}')
    if (tooLong !== undefined && too_long === 'refuse') {
      return { refused: `${tooLong} is longer than the 32 KiB of a field; too_long: trim cuts it` }
    }
    out.bytes(writer.buffer, 0, writer.at)
    return notes.length > 0 ? { notes } : undefined
  }
}

async function post(workspace: Workspace, body: Buffer, records: number, signal: AbortSignal): Promise<Outcome> {
  try {
    const response = await request(workspace, body, signal)
    return outcomeOf(response, { records, bytes: body.length }, workspace.asking)
  } catch (error) {
    return faultOutcome(error, workspace.asking)
  }
}

function request(
  { url, options, client, asking }: Workspace,
  body: Buffer,
  signal?: AbortSignal,
): Promise<HttpResponse> {
  const date = new Date(asking.now() / 1000).toUTCString()
  const headers = {
    Authorization: sharedKey(options.workspace_id, options.shared_key, body.length, date),
    'Content-Type': CONTENT_TYPE,
    'Log-Type': options.log_type,
    'time-generated-field': 'EventTime',
    'x-ms-date': date,
    ...(options.resource_id !== undefined && { 'x-ms-AzureResourceId': options.resource_id }),
  }
  return client.request(url, { method: 'POST', headers, body, ...(signal && { signal }) })
}

/** As the service documents its answers. */
function outcomeOf(response: HttpResponse, sent: { records: number; bytes: number }, asking: Asking): Outcome {
  const { status } = response
  if (status === 200) return { kind: 'accepted' }
  if (status === 404 && sent.records > 1 && sent.bytes > SURELY_SMALL) {
    // The service says 404 of what is too large, too.
    return { kind: 'too_large', reason: `${asking.host} answered 404, as it does to posts that are too large` }
  }
  const advice = ADVICE[status === 400 ? errorCode(response) : String(status)]
  return advice === undefined
    ? refusalOutcome(response, asking)
    : { kind: 'denied', error: deniedError(response, asking, advice) }
}

/** By code of a 400, or by status. What is not here is of the batch's content, or passes. */
const ADVICE: Readonly<Record<string, string>> = {
  InactiveCustomer: 'The workspace is closed: open it again, or send to another one by a destination of type sentinel.',
  InvalidApiVersion: 'The service does not know this version of its API any more: use a destination of type sentinel.',
  InvalidCustomerId: 'There is no workspace of that id: check workspace_id and cloud.',
  InvalidLogType: 'Check log_type: letters, digits and _, at most 100, and no digits at its end.',
  MissingApiVersion: 'A proxy has changed the request: send past it (NO_PROXY).',
  MissingContentType: 'A proxy has changed the request: send past it (NO_PROXY).',
  MissingLogType: 'A proxy has changed the request: send past it (NO_PROXY).',
  UnsupportedContentType: 'A proxy has changed the request: send past it (NO_PROXY).',
  403: 'The signature was refused: check shared_key (it may have been regenerated), workspace_id, and the clock of this machine.',
  404: 'Nobody answers there for this workspace: check workspace_id, cloud and endpoint; the API may be switched off.',
}

function errorCode({ body }: HttpResponse): string {
  try {
    const { Error: code } = JSON.parse(body.toString()) as { readonly Error?: unknown }
    return typeof code === 'string' ? code : ''
  } catch {
    return ''
  }
}

/** A signed post of no rows proves address, id, key and clock. */
async function* checks(workspace: Workspace, signal?: AbortSignal): AsyncGenerator<DestinationCheck> {
  const { asking, options } = workspace
  try {
    const response = await request(workspace, Buffer.from('[]'), signal)
    yield addressCheck(workspace.url)
    const clock = clockCheck(response, asking, SKEW_MS)
    if (clock) yield clock
    const outcome = outcomeOf(response, { records: 0, bytes: 2 }, asking)
    if (outcome.kind === 'accepted' || errorCode(response) === 'InvalidDataFormat') {
      yield { name: 'credentials', ok: true, detail: `workspace ${options.workspace_id} takes signed posts` }
    } else yield refusalCheck('credentials', outcome)
  } catch (error) {
    yield faultCheck(error, asking)
  }
}

/** Not on a wire in the clear, and nothing in it that errors would show. */
function isSafe({ protocol, hostname, username, password, pathname, search }: URL): boolean {
  return (protocol === 'https:' || isLoopback(hostname)) && username + password + search === '' && pathname === '/'
}
