/** The rules of the Logs Ingestion API for one request, in the order in which the service applies them. */
import type { IncomingMessage } from 'node:http'
import { decodeBody, type Refusal, readWire } from './receivedBody.ts'
import type { StreamColumn } from './storedRows.ts'

export const WIRE_LIMIT = 1_048_576
export const DECODED_LIMIT = 50 * 1024 * 1024

export interface StreamOptions {
  /** As the rule declares the stream; without them every column is stored. */
  readonly columns?: readonly StreamColumn[]
  /** Records of one request must lie within 30 minutes. */
  readonly plan?: 'analytics' | 'auxiliary'
  /** A reason to answer 400 for a record: the strict service that a test of bisecting needs. */
  refuse?(record: Readonly<Record<string, unknown>>): string | undefined
}

export interface IngestionRequest {
  readonly rule: string
  readonly stream: string
  readonly version: string | null
}

export interface TakenBatch {
  readonly wireBytes: number
  readonly decodedBytes: number
  readonly records: readonly Readonly<Record<string, unknown>>[]
}

export interface IngestionSurroundings {
  readonly rules: ReadonlyMap<string, ReadonlyMap<string, StreamOptions>>
  isAuthorized(authorization: string | undefined): boolean
  /** False: only sizes are looked at, and nothing is inflated or parsed. */
  readonly parse: boolean
}

/** `/dataCollectionRules/{rule}/streams/{stream}?api-version=…` */
export function ingestionRequest(url: URL): IngestionRequest | undefined {
  const parts = /^\/dataCollectionRules\/([^/]+)\/streams\/([^/]+)$/.exec(url.pathname)
  if (!parts) return undefined
  const [rule, stream] = [decodeURIComponent(parts[1]!), decodeURIComponent(parts[2]!)]
  return { rule, stream, version: url.searchParams.get('api-version') }
}

export async function takeBatch(
  request: IncomingMessage,
  { rule, stream, version }: IngestionRequest,
  { rules, isAuthorized, parse }: IngestionSurroundings,
): Promise<TakenBatch | Refusal> {
  const { headers } = request
  if (version !== '2023-01-01') {
    return { status: 400, code: 'UnsupportedApiVersion', message: `API version ${version} is not supported.` }
  }
  if (!isAuthorized(headers.authorization)) return standardRefusal(401, rule)
  const streams = rules.get(rule)
  if (!streams) return standardRefusal(404, rule)
  const options = streams.get(stream)
  if (!options) {
    const message = `Stream '${stream}' was not found in the data collection rule with immutable Id '${rule}'.`
    return { status: 404, code: 'InvalidStream', message }
  }
  if (!/^application\/json\s*(?:;|$)/i.test(headers['content-type'] ?? '')) {
    return { status: 415, code: 'UnsupportedMediaType', message: 'The content type must be application/json.' }
  }
  const wire = await readWire(request, WIRE_LIMIT)
  if (!wire) return standardRefusal(413, rule)
  const encoding = headers['content-encoding'] ?? ''
  if (!parse) return { wireBytes: wire.length, decodedBytes: decodedSize(wire, encoding), records: [] }
  const decoded = await decodeBody(wire, encoding, DECODED_LIMIT)
  if (decoded === 'large') {
    const message = `The payload is larger than ${DECODED_LIMIT} bytes.`
    return { status: 413, code: 'PayloadSizeLimitExceeded', message }
  }
  const records = decoded === 'corrupt' ? undefined : jsonRecords(decoded)
  if (!records)
    return { status: 400, code: 'InvalidPayload', message: 'The payload is no valid JSON array of objects.' }
  for (const record of records) {
    const reason = options.refuse?.(record)
    if (reason !== undefined) return { status: 400, code: 'InvalidRecord', message: reason }
  }
  if (options.plan === 'auxiliary' && timeSpan(records) >= HALF_HOUR_MS) {
    const message = 'The time range of the records is more than 30 minutes.'
    return { status: 400, code: 'RecordsTimeRangeIsMoreThan30Minutes', message }
  }
  return { wireBytes: wire.length, decodedBytes: (decoded as Buffer).length, records }
}

/** What the service says with a status, where nothing else is given. */
export function standardRefusal(status: number, rule: string): Refusal {
  switch (status) {
    case 401:
      return {
        status,
        code: 'InvalidToken',
        message: 'The authentication token is missing, expired or for another audience.',
        headers: { 'WWW-Authenticate': 'Bearer' },
      }
    case 403: {
      const message = `The authentication token provided does not have access to ingest data for the data collection rule with immutable Id '${rule}'.`
      return { status, code: 'OperationFailed', message }
    }
    case 404: {
      const message = `Data collection rule with immutable Id '${rule}' not found.`
      return { status, code: 'NotFound', message }
    }
    case 413: {
      const message = `Maximum allowed content length: ${WIRE_LIMIT} bytes (1 MB).`
      return { status, code: 'ContentLengthLimitExceeded', message }
    }
    case 429:
      return { status, code: 'RateLimitExceeded', message: 'The rate limit of the data collection rule is exceeded.' }
    default:
      return { status, code: status < 500 ? 'BadRequest' : 'InternalServerError', message: `Status ${status}.` }
  }
}

// --- internal ---

const HALF_HOUR_MS = 30 * 60_000

/** Of a gzip file of one member: its last four bytes. */
function decodedSize(wire: Buffer, encoding: string): number {
  return encoding === 'gzip' && wire.length > 18 ? wire.readUInt32LE(wire.length - 4) : wire.length
}

function jsonRecords(decoded: Buffer): Readonly<Record<string, unknown>>[] | undefined {
  try {
    const parsed: unknown = JSON.parse(decoded.toString())
    const whole = Array.isArray(parsed) && parsed.every((one) => typeof one === 'object' && one !== null)
    return whole ? parsed : undefined
  } catch {
    return undefined
  }
}

function timeSpan(records: readonly Readonly<Record<string, unknown>>[]): number {
  let first = Number.POSITIVE_INFINITY
  let last = Number.NEGATIVE_INFINITY
  for (const { TimeGenerated } of records) {
    const time = Date.parse(String(TimeGenerated))
    if (Number.isNaN(time)) continue
    first = Math.min(first, time)
    last = Math.max(last, time)
  }
  return last - first
}
