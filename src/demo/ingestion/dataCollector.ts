/** The rules of the HTTP Data Collector API, which Microsoft retired in September 2026. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { type Refusal, readWire } from './receivedBody.ts'
import type { StoredRow } from './storedRows.ts'

export const POST_LIMIT = 30 * 1024 * 1024
const FIELD_LIMIT = 32 * 1024
const COLUMN_LIMIT = 500
const NAME_LIMIT = 45

export interface CollectedBatch {
  readonly logType: string
  readonly wireBytes: number
  readonly records: readonly Readonly<Record<string, unknown>>[]
  readonly timeField: string | undefined
}

/** `workspaces`: shared key (base64) by workspace id. `now` in milliseconds. */
export async function takeCollected(
  request: IncomingMessage,
  url: URL,
  workspaces: Readonly<Record<string, string>>,
  now: number,
): Promise<CollectedBatch | Refusal> {
  const { headers } = request
  const text = (name: string): string => String(headers[name] ?? '')
  if (url.searchParams.get('api-version') === null)
    return refusal(400, 'MissingApiVersion', 'No API version was given.')
  if (url.searchParams.get('api-version') !== '2016-04-01') {
    return refusal(400, 'InvalidApiVersion', 'The specified API version was not recognized by the service.')
  }
  if (text('content-type') === '') return refusal(400, 'MissingContentType', 'The content type was not specified.')
  if (text('content-type') !== 'application/json') {
    return refusal(400, 'UnsupportedContentType', 'The content type was not set to application/json.')
  }
  const logType = text('log-type')
  if (logType === '') return refusal(400, 'MissingLogType', 'The value required for the custom log type is missing.')
  if (!/^[A-Za-z0-9_]{1,100}$/.test(logType)) {
    return refusal(400, 'InvalidLogType', 'The custom log type contained special characters or trailing numerics.')
  }
  const wire = await readWire(request, POST_LIMIT)
  if (!wire) return refusal(404, 'NotFound', 'Either the URL is incorrect or the request is too large.')
  const authorized = isSigned(text('authorization'), text('x-ms-date'), wire.length, workspaces, now)
  if (authorized === 'customer') return refusal(400, 'InvalidCustomerId', 'The specified workspace ID is invalid.')
  if (!authorized) {
    return refusal(403, 'InvalidAuthorization', 'The service failed to authenticate the request.')
  }
  const records = jsonObjects(wire)
  if (!records || records.some((record) => Object.keys(record).length > COLUMN_LIMIT)) {
    return refusal(400, 'InvalidDataFormat', 'Invalid JSON was submitted, or a record with too many fields.')
  }
  return { logType, wireBytes: wire.length, records, timeField: text('time-generated-field') || undefined }
}

/** As the service stores it: suffixes for types, texts cut, an old or missing time replaced by that of receipt. */
export function collectedRow(
  record: Readonly<Record<string, unknown>>,
  timeField: string | undefined,
  receivedAt: number,
): StoredRow {
  const row: StoredRow = {}
  for (const [name, value] of Object.entries(record)) {
    if (value === null || name.length > NAME_LIMIT || !/^[A-Za-z]\w*$/.test(name)) continue
    if (RESERVED.has(name.toLowerCase())) continue
    if (typeof value === 'number') row[`${name}_d`] = value
    else if (typeof value === 'boolean') row[`${name}_b`] = value
    else row[`${name}_${suffix(value)}`] = cut(typeof value === 'string' ? value : JSON.stringify(value))
  }
  const time = timeField === undefined ? Number.NaN : Date.parse(String(record[timeField]))
  const kept = time >= receivedAt - 2 * DAY_MS && time <= receivedAt + DAY_MS
  row.TimeGenerated = new Date(kept ? time : receivedAt).toISOString()
  return row
}

// --- internal ---

const DAY_MS = 24 * 3600 * 1000
const SKEW_MS = 15 * 60_000
const RESERVED = new Set(['tenant', 'timegenerated', 'rawdata'])
const GUID = /^\{?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\}?$/i
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/

const refusal = (status: number, code: string, message: string): Refusal => ({ status, code, message })

function suffix(value: unknown): string {
  if (typeof value !== 'string') return 's'
  return GUID.test(value) ? 'g' : TIME.test(value) ? 't' : 's'
}

function cut(text: string): string {
  const bytes = Buffer.from(text)
  return bytes.length <= FIELD_LIMIT ? text : bytes.subarray(0, FIELD_LIMIT).toString()
}

function isSigned(
  authorization: string,
  date: string,
  length: number,
  workspaces: Readonly<Record<string, string>>,
  now: number,
): boolean | 'customer' {
  const parts = /^SharedKey ([^:]+):(\S+)$/.exec(authorization)
  if (!parts) return false
  const key = workspaces[parts[1]!]
  if (key === undefined) return 'customer'
  if (!(Math.abs(Date.parse(date) - now) <= SKEW_MS)) return false
  const text = `POST\n${length}\napplication/json\nx-ms-date:${date}\n/api/logs`
  const expected = createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest()
  const given = Buffer.from(parts[2]!, 'base64')
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** One object or an array of them. */
function jsonObjects(wire: Buffer): Readonly<Record<string, unknown>>[] | undefined {
  try {
    const parsed: unknown = JSON.parse(wire.toString())
    const records = Array.isArray(parsed) ? parsed : [parsed]
    return records.every((one) => typeof one === 'object' && one !== null) ? records : undefined
  } catch {
    return undefined
  }
}
