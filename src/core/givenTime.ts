/** Times as people and programs write them on a command line, in a configuration or in an expression. */
import { ColdtrailError } from './errors.ts'
import { daysInMonth, parseIsoTime } from './isoTime.ts'

export interface GivenTime {
  /** Microseconds since 1970, UTC. */
  readonly time: number
  /** A date with a time of day and no zone was taken as UTC. */
  readonly zoneAssumed: boolean
}

export interface TimeContext {
  /** Where the time was given, for the message: `--from`, `time1`. */
  readonly where: string
  /** Microseconds since 1970. */
  readonly now: number
  /** The end of a range: a date without a time means its last microsecond. */
  readonly end?: boolean
}

/**
 * `2023-07-10`, `2023-07-10 11:00[:00]`, `2023-07-10T11:00:00.5Z`, `2014-Apr-20 11:06:34`, POSIX seconds, `-24h` and
 * other spans (s, m, h, d, w), `now`, `today`, `yesterday`. E_TIME_FORMAT for anything else.
 */
export function parseGivenTime(given: string, { where, now, end = false }: TimeContext): GivenTime {
  const text = given.trim()
  const day = (start: number): number => (end ? start + DAY - 1 : start)
  const exact = (time: number): GivenTime => ({ time, zoneAssumed: false })
  const today = Math.floor(now / DAY) * DAY
  const refuse = () => new ColdtrailError('E_TIME_FORMAT', { where, value: given })

  if (text === 'now') return exact(now)
  if (text === 'today') return exact(day(today))
  if (text === 'yesterday') return exact(day(today - DAY))
  const span = /^-(\d{1,7})([smhdw])$/.exec(text)
  if (span) return exact(now - Number(span[1]) * SPANS[span[2] as keyof typeof SPANS])
  // As seconds it would be in the first hour of 1970, which nobody means.
  if (/^(19|20)\d\d$/.test(text)) throw refuse()
  if (/^-?\d{1,12}(\.\d{1,6})?$/.test(text)) return exact(Math.round(Number(text) * 1e6))

  const numeric = text.replace(/^(\d{4})-([A-Za-z]{3})-(\d\d)/, (whole, year: string, name: string, date: string) => {
    const month = MONTHS.indexOf(name.toLowerCase()) + 1
    return month === 0 ? whole : `${year}-${String(month).padStart(2, '0')}-${date}`
  })
  const date = /^(\d{4})-(\d\d)-(\d\d)$/.exec(numeric)
  if (date) {
    const [year, month, dayOfMonth] = [Number(date[1]), Number(date[2]), Number(date[3])]
    if (!(month >= 1 && month <= 12 && dayOfMonth >= 1 && dayOfMonth <= daysInMonth(year, month))) throw refuse()
    return exact(day(iso(`${numeric}T00:00:00Z`)))
  }
  const padded = numeric.replace(/^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d)(?=$|Z|[+-])/, '$1:00')
  const time = iso(padded)
  if (Number.isNaN(time)) throw refuse()
  return { time, zoneAssumed: !/(Z|z|[+-]\d\d:?(\d\d)?)$/.test(padded.slice(19)) }
}

/** Both ends of a range; an absent end stays open. E_TIME_ORDER when they are inverted. */
export function parseGivenRange(
  from: string | undefined,
  to: string | undefined,
  now: number,
  names: { readonly from: string; readonly to: string } = { from: '--from', to: '--to' },
): { readonly from?: number; readonly to?: number; readonly zoneAssumed: boolean } {
  const first = from === undefined ? undefined : parseGivenTime(from, { where: names.from, now })
  const last = to === undefined ? undefined : parseGivenTime(to, { where: names.to, now, end: true })
  if (first && last && first.time > last.time) throw new ColdtrailError('E_TIME_ORDER', { from, to })
  return {
    ...(first && { from: first.time }),
    ...(last && { to: last.time }),
    zoneAssumed: first?.zoneAssumed === true || last?.zoneAssumed === true,
  }
}

// --- internal ---

const SECOND = 1_000_000
const DAY = 86_400 * SECOND
const SPANS = { s: SECOND, m: 60 * SECOND, h: 3_600 * SECOND, d: DAY, w: 7 * DAY } as const
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

function iso(text: string): number {
  const bytes = new TextEncoder().encode(text)
  return parseIsoTime(bytes, 0, bytes.length)
}
