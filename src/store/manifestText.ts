/**
 * Manifests as the original prints them: `[ k=v k=v … ]`, with the keys of each kind in the original's order. Strings
 * and integers stand bare, simple times (`2014-Apr-20 11:06:34`) in double quotes; a value with a space, a quote or a
 * bracket is quoted, with backslash escapes; control characters are `\u001b`, for a name must not end a line or reach a
 * terminal. A key without a value is left out.
 */
import { ColdtrailError, printable } from '../core/errors.ts'

export type ManifestTimeFormat = 'posix' | 'simple'

/** What a printed manifest tells; times in POSIX seconds. Imported manifests have no more than this. */
export interface ManifestFacts {
  readonly filename: string
  readonly kind?: string
  readonly size?: number
  readonly fileTime?: number
  readonly id1?: number
  readonly id2?: number
  readonly session1?: number
  readonly session2?: number
  readonly metaId1?: number
  readonly metaId2?: number
  readonly packetId1?: number
  readonly packetId2?: number
  readonly time1?: number
  readonly time2?: number
  readonly compression?: string
}

export function printManifest(
  manifest: ManifestFacts,
  options: { timeFormat: ManifestTimeFormat; by?: 'time' | 'meta' | 'fileTime' | 'unknown' },
): string {
  const kind = manifest.kind ?? /^[a-z]+/.exec(manifest.filename)?.[0]
  const pairs: string[] = []
  for (const key of kind === 'session' ? SESSION_KEYS : OTHER_KEYS) {
    const value = manifest[key]
    if (value === undefined) continue
    if (typeof value === 'string') pairs.push(`${key}=${quotedIfNeeded(value)}`)
    else if (TIME_KEYS.has(key) && options.timeFormat === 'simple') pairs.push(`${key}="${simpleTime(value)}"`)
    else pairs.push(`${key}=${value}`)
  }
  if (options.by !== undefined && options.by !== 'time') pairs.push(`by=${options.by}`)
  return `[ ${pairs.join(' ')} ]`
}

/** `2014-Apr-20 11:06:34`, English whatever the locale; years of five and more digits keep them all. */
export function simpleTime(seconds: number): string {
  const date = new Date(seconds * 1000)
  if (Number.isNaN(date.getTime())) return String(seconds)
  const [day, time] = [String(date.getUTCDate()).padStart(2, '0'), date.toISOString().slice(-13, -5)]
  return `${String(date.getUTCFullYear()).padStart(4, '0')}-${MONTHS[date.getUTCMonth()]}-${day} ${time}`
}

/**
 * Records from text in the printed form, of one line or many. Hostile input: anything else is E_MANIFEST_FORMAT, and
 * an integer beyond 2^53 - 1 is refused, never rounded. Keys that this program does not know are passed over.
 */
export function parseManifestText(text: string, where = 'manifest text'): ManifestFacts[] {
  const bad = (reason: string): ColdtrailError => new ColdtrailError('E_MANIFEST_FORMAT', { where, reason })
  const records: ManifestFacts[] = []
  let fields: Record<string, string | number> | undefined
  let at = 0
  const token = /\s*(?:(\[)(?=\s)|(\])(?=\s|$)|([A-Za-z_][A-Za-z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|([^\s"[\]]*))(?=\s|$))/y
  while (text.slice(at).trim() !== '') {
    token.lastIndex = at
    const match = token.exec(text)
    if (!match) throw bad(`unexpected text at ${at}: ${text.slice(at, at + 40).trim()}`)
    at = token.lastIndex
    const [, open, close, key, quoted, bare] = match
    if (open) {
      if (fields) throw bad(`"[" inside a record at ${at}`)
      fields = Object.create(null) as Record<string, string | number>
    } else if (!fields) throw bad(`text outside of a record at ${at}`)
    else if (close) {
      if (typeof fields.filename !== 'string') throw bad(`a record without filename before ${at}`)
      records.push({ ...fields } as unknown as ManifestFacts)
      fields = undefined
    } else if (key !== undefined) {
      const value = quoted === undefined ? bare! : quoted.replace(/\\(?:u([0-9a-f]{4})|(.))/gs, unescaped)
      if (TEXT_KEYS.has(key)) fields[key] = value
      else if (TIME_KEYS.has(key)) fields[key] = timeValue(value) ?? fail(bad(`${key}: "${value}" is no time`))
      else if (INTEGER_KEYS.has(key)) fields[key] = integer(value) ?? fail(bad(`${key}: "${value}" is no integer`))
    }
  }
  if (fields) throw bad('the last record does not end')
  return records
}

// --- internal ---

const OTHER_KEYS = [
  'filename',
  'size',
  'fileTime',
  'id1',
  'id2',
  'session1',
  'session2',
  'time1',
  'time2',
  'compression',
] as const
/** The original's session manifests have no times; ours come after what it has. */
const SESSION_KEYS = [
  'filename',
  'size',
  'fileTime',
  'id1',
  'id2',
  'metaId1',
  'metaId2',
  'packetId1',
  'packetId2',
  'time1',
  'time2',
  'compression',
] as const
const TIME_KEYS: ReadonlySet<string> = new Set(['fileTime', 'time1', 'time2'])
const TEXT_KEYS: ReadonlySet<string> = new Set(['filename', 'compression'])
const INTEGER_KEYS: ReadonlySet<string> = new Set(
  [...OTHER_KEYS, ...SESSION_KEYS].filter((key) => !TIME_KEYS.has(key) && !TEXT_KEYS.has(key)),
)
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

function quotedIfNeeded(value: string): string {
  const escaped = printable(value.replace(/["\\]/g, '\\$&'), Number.POSITIVE_INFINITY)
  return value === '' || escaped !== value || /[\s[\]]/.test(value) ? `"${escaped}"` : value
}

const unescaped = (_: string, code: string | undefined, character: string): string =>
  code === undefined ? character : String.fromCharCode(Number.parseInt(code, 16))

function fail(error: Error): never {
  throw error
}

function integer(text: string): number | undefined {
  const value = Number(text)
  return /^-?\d+$/.test(text) && Number.isSafeInteger(value) ? value : undefined
}

function timeValue(text: string): number | undefined {
  const match = /^(\d{4,6})-([A-Z][a-z]{2}|\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)$/.exec(text)
  if (!match) return integer(text)
  const month = /\d/.test(match[2]!) ? Number(match[2]) : MONTHS.indexOf(match[2]!) + 1
  const [year, day, hour, minute, second] = [match[1], match[3], match[4], match[5], match[6]].map(Number)
  const date = new Date(0)
  date.setUTCFullYear(year!, month - 1, day!)
  date.setUTCHours(hour!, minute!, second!)
  const seconds = date.getTime() / 1000
  const real =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour! < 24 && minute! < 60 && second! < 60
  return real ? seconds : undefined
}
