/** Events to a receiver that takes POST requests with JSON: a webhook, a collector, another pipeline. */
import { resolve } from 'node:path'
import { z } from 'zod'
import { createHttpClient, type HttpClient, isLoopback } from '../../platform/httpClient.ts'
import type { DestinationComponent, DestinationContext } from '../component.ts'
import {
  type Destination,
  type DestinationCheck,
  findingFeed,
  type Outcome,
  type OutgoingBatch,
} from '../destination.ts'
import { DATA_FIELD, ELEMENT_COLUMNS, eventElements } from '../rows/eventElement.ts'
import { type Asking, faultOutcome, hiding, refusalOutcome } from './http/answers.ts'
import { filledHeaders, isTemplate, signature, TEMPLATE_NAMES } from './http/batchHeaders.ts'
import { addressCheck, clockCheck, faultCheck, refusalCheck } from './http/checks.ts'

const MIB = 1024 * 1024
const secret = { secret: true } as const
const headerName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, 'it is no name of a header')

/** Written by the program; a second one would contradict it. */
const OWN_HEADERS = new Set(['connection', 'content-encoding', 'content-length', 'host', 'transfer-encoding'])

const config = z
  .strictObject({
    url: z
      .url({ protocol: /^https?$/, message: 'it must be an http or https URL' })
      .refine((url) => !URL.canParse(url) || new URL(url).username + new URL(url).password === '', {
        message: 'a URL has no user and password here; give an Authorization header',
      })
      .describe('Where batches are posted. Only its host is ever shown.')
      .meta(secret),
    framing: z
      .enum(['ndjson', 'json_array'])
      .default('ndjson')
      .describe('ndjson: a line of JSON per event; json_array: one array.'),
    // No zstd: a batch is then several frames, and many decoders stop after the first one without a word.
    compression: z.enum(['none', 'gzip']).default('none').describe('Of the body, as Content-Encoding says.'),
    headers: z
      .record(
        headerName.refine((name) => !OWN_HEADERS.has(name.toLowerCase()), {
          message: 'the program writes this header',
        }),
        z
          .string()
          .regex(/^[\t\x20-\x7e\x80-\xff]*$/, 'a header has no line breaks and no control characters')
          .refine(isTemplate, { message: `{{…}} knows only ${TEMPLATE_NAMES.join(', ')}` }),
      )
      .default({})
      .describe(
        'Headers of every request. {{destination}}, {{batch}} (the same when a batch is repeated), {{records}} and ' +
          '{{request_id}} are filled in; secrets come as ${NAME}.',
      )
      .meta(secret),
    hmac: z
      .strictObject({
        secret: z.string().min(1).describe('Key that both sides know.').meta(secret),
        header: headerName.default('X-Coldtrail-Signature').describe('Gets sha256= and the HMAC in hex.'),
        timestamp_header: headerName
          .default('X-Coldtrail-Timestamp')
          .describe('Gets the POSIX seconds that are signed.'),
      })
      .optional()
      .describe(
        'Signs every request: HMAC-SHA256 over the timestamp, a dot, and the body as it goes over the wire. ' +
          'docs/how-to/receive-a-webhook.md shows how to verify it.',
      ),
    max_bytes: z
      .int()
      .min(1024)
      .max(256 * MIB)
      .default(MIB)
      .describe('Of a body on the wire, after compression.'),
    max_decoded_bytes: z
      .int()
      .min(1024)
      .max(1024 * MIB)
      .default(16 * MIB)
      .describe('Of a body before compression.'),
    max_records: z.int().min(1).max(1_000_000).default(10_000).describe('Events of a request.'),
    max_in_flight: z.int().min(1).max(64).default(4).describe('Requests at a time.'),
    success: z
      .array(z.int().min(200).max(299))
      .min(1)
      .optional()
      .describe('Statuses that mean that the batch was taken; by default 200 to 299.'),
    ca_file: z.string().min(1).optional().describe('PEM file of authorities to trust besides those of the system.'),
    allow_plain_http: z.boolean().default(false).describe('Allow http:// to other machines; anybody between can read.'),
    connect_timeout_secs: z.number().positive().default(10).describe('Time to establish a connection.'),
    request_timeout_secs: z.number().positive().default(60).describe('Time from the request to the end of its answer.'),
    data: DATA_FIELD,
  })
  .refine(({ url, allow_plain_http }) => allow_plain_http || isConfidential(url), {
    message: 'plain http shows every event to whoever is between; use https, or set allow_plain_http: true',
    path: ['url'],
  })

type HttpConfig = z.output<typeof config>

export const http: DestinationComponent<typeof config> = {
  kind: 'destination',
  name: 'http',
  summary: 'POST requests of JSON to a webhook or any other receiver.',
  config,
  create: async (options, context) => httpDestination(options, context),
}

// --- internal ---

/** A clock further off than this makes receivers refuse signed requests. */
const SKEW_MS = 5 * 60_000

function httpDestination(options: HttpConfig, context: DestinationContext): Destination {
  const url = new URL(options.url)
  const client = createHttpClient({
    environment: context.environment,
    ...(options.ca_file !== undefined && { caFile: resolve(context.base, options.ca_file) }),
    connectMs: options.connect_timeout_secs * 1000,
    idleMs: options.request_timeout_secs * 1000,
    wholeMs: options.request_timeout_secs * 1000,
  })
  const secrets = [...urlSecrets(url), ...Object.values(options.headers).flatMap(headerSecrets), options.hmac?.secret]
  const asking: Asking = { destination: context.name, host: url.host, hide: hiding(secrets), now: context.now }
  return {
    feeds: ['events', findingFeed('events')].map((name) => ({
      name,
      columns: ELEMENT_COLUMNS,
      limits: {
        framing: options.framing === 'ndjson' ? 'lines' : 'array',
        compression: { kind: options.compression },
        wireBytes: options.max_bytes,
        decodedBytes: options.max_decoded_bytes,
        records: options.max_records,
        inFlight: options.max_in_flight,
      },
      encode: eventElements({ data: options.data }),
      send: (batch, signal) => post(batch, signal, { url, options, client, asking }),
    })),
    notices:
      url.protocol === 'http:' && !isLoopback(url.hostname)
        ? [`Destination ${context.name} sends to ${url.host} by plain http: whoever is between can read every event.`]
        : [],
    check: (signal) => checks({ url, options, client, asking }, signal),
    close: async () => client.close(),
  }
}

interface Receiver {
  readonly url: URL
  readonly options: HttpConfig
  readonly client: HttpClient
  readonly asking: Asking
}

async function post(batch: OutgoingBatch, signal: AbortSignal, receiver: Receiver): Promise<Outcome> {
  const { url, options, client, asking } = receiver
  try {
    const headers = headersOf(batch, receiver)
    const response = await client.request(url, { method: 'POST', headers, body: batch.body, signal })
    const { status } = response
    const { success } = options
    if (success ? success.includes(status) : status >= 200 && status <= 299) return { kind: 'accepted' }
    return refusalOutcome(response, asking)
  } catch (error) {
    return faultOutcome(error, asking)
  }
}

function headersOf(batch: OutgoingBatch, { options, asking }: Receiver): Record<string, string> {
  const { framing, compression, hmac } = options
  const given = filledHeaders(options.headers, asking.destination, batch)
  const has = (name: string): boolean => Object.keys(given).some((known) => known.toLowerCase() === name)
  const timestamp = String(Math.floor(asking.now() / 1e6))
  return {
    ...given,
    ...(!has('content-type') && { 'Content-Type': framing === 'ndjson' ? 'application/x-ndjson' : 'application/json' }),
    ...(!has('user-agent') && { 'User-Agent': 'coldtrail' }),
    ...(compression !== 'none' && { 'Content-Encoding': compression }),
    ...(hmac && {
      [hmac.timestamp_header]: timestamp,
      [hmac.header]: signature(hmac.secret, timestamp, batch.body),
    }),
  }
}

/** One HEAD request: it carries the credentials and no event. */
async function* checks(receiver: Receiver, signal?: AbortSignal): AsyncGenerator<DestinationCheck> {
  const { url, client, asking, options } = receiver
  const nothing: OutgoingBatch = { body: Buffer.alloc(0), records: 0, decodedBytes: 0, requestId: 'check' }
  const headers = headersOf(nothing, receiver)
  delete headers['Content-Encoding']
  try {
    const response = await client.request(url, { method: 'HEAD', headers, ...(signal && { signal }) })
    yield addressCheck(url)
    const { status } = response
    const isRefusal = status === 401 || status === 403 || status >= 500 || (status >= 300 && status < 400)
    // Receivers that take only POST answer 404 or 405 to HEAD.
    if (isRefusal) yield refusalCheck('credentials', refusalOutcome(response, asking))
    else yield { name: 'credentials', ok: true, detail: `HEAD was answered with ${status}; only a batch proves more` }
    const clock = options.hmac && clockCheck(response, asking, SKEW_MS)
    if (clock) yield clock
  } catch (error) {
    yield faultCheck(error, asking)
  }
}

/** Webhooks carry their secret in the path or the query. */
function urlSecrets(url: URL): string[] {
  const segments = url.pathname.split('/').filter((segment) => segment.length >= 16)
  return [url.href, `${url.pathname}${url.search}`, url.search.slice(1), ...segments, ...url.searchParams.values()]
}

/** Of `Bearer abc` also the token alone. */
function headerSecrets(value: string): string[] {
  return [value, ...value.split(/[\s,;=]+/).filter((word) => word.length >= 8)]
}

/** Encrypted, or never on a wire. */
function isConfidential(url: string): boolean {
  if (!URL.canParse(url)) return true
  const { protocol, hostname } = new URL(url)
  return protocol === 'https:' || isLoopback(hostname)
}
