/**
 * Times as they stand in records, from byte slices to microseconds since 1970 UTC. NaN for anything that is not exactly
 * such a time: a wrong clock is evidence, a guessed one is not. Before 1684 and after 2255 a number cannot hold the
 * microseconds, and whole seconds are kept.
 */

/** RFC 3339 with `T` or a space, up to nine fraction digits (cut to microseconds), `Z`, an offset, or no zone (UTC). */
export function parseIsoTime(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 19) return Number.NaN
  const year = digits(bytes, start, 4)
  const month = digits(bytes, start + 5, 2)
  const day = digits(bytes, start + 8, 2)
  const hour = digits(bytes, start + 11, 2)
  const minute = digits(bytes, start + 14, 2)
  const second = digits(bytes, start + 17, 2)
  const separator = bytes[start + 10]
  if (bytes[start + 4] !== DASH || bytes[start + 7] !== DASH) return Number.NaN
  if ((separator !== LETTER_T && separator !== SPACE) || bytes[start + 13] !== COLON || bytes[start + 16] !== COLON)
    return Number.NaN
  if (!(year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth(year, month))) return Number.NaN
  // A leap second is counted as the last microsecond-aligned second before it.
  if (!(hour <= 23 && minute <= 59 && second <= 60)) return Number.NaN
  let at = start + 19
  let micros = 0
  if (bytes[at] === DOT || bytes[at] === COMMA) {
    at++
    let scale = 100_000
    const from = at
    for (; at < end && isDigit(bytes[at]!); at++) {
      micros += (bytes[at]! - 48) * scale
      scale = Math.floor(scale / 10)
    }
    if (at === from || at - from > 9) return Number.NaN
  }
  const offset = parseOffset(bytes, at, end)
  const days = daysSince1970(year, month, day)
  const whole = (days * 86_400 + hour * 3600 + minute * 60 + Math.min(second, 59) - offset) * 1e6
  return Math.abs(whole) < SAFE_WHOLE_SECONDS ? whole + micros : whole
}

/** Decimal seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by magnitude (1973 to 5138). */
export function parseEpoch(text: string): number {
  const parts = /^(\d{9,19})(?:\.(\d{1,9}))?$/.exec(text)
  if (!parts) return Number.NaN
  const [, whole, fraction = ''] = parts
  const value = Number(whole)
  if (value >= 1e17) return Number(whole!.slice(0, -3))
  const places = value < 1e11 ? 6 : value < 1e14 ? 3 : 0
  // By digits: a product of doubles is off by a microsecond beyond the year 2100.
  return Number(whole + fraction.slice(0, places).padEnd(places, '0'))
}

/** `parseEpoch` of ten digits, the commonest form, without making a string; NaN for any other text. */
export function parseEpochSeconds(bytes: Uint8Array, start: number, end: number): number {
  return end - start === 10 ? digits(bytes, start, 10) * 1e6 : Number.NaN
}

/** Days from 1970-01-01 of a date of the Gregorian calendar, extended to year 1. Source: H. Hinnant, chrono-compatible date algorithms. */
export function daysSince1970(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

export function daysInMonth(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

/**
 * Microseconds UTC as `2023-07-10T11:42:36.000001Z`, without a fraction that is zero. Outside the years 0 to 9999, which
 * RFC 3339 has no form for, the number itself.
 */
export function isoTimeText(microseconds: number): string {
  const second = Math.floor(microseconds / 1e6)
  if (second !== lastSecond) {
    if (!(second >= YEAR_0 && second < YEAR_10000)) return String(microseconds)
    lastSecond = second
    lastSecondText = new Date(second * 1000).toISOString().slice(0, 19)
  }
  const fraction = microseconds - second * 1e6
  return fraction === 0 ? `${lastSecondText}Z` : `${lastSecondText}.${String(fraction).padStart(6, '0')}Z`
}

// --- internal ---

/** Times come in runs of one second. */
let lastSecond = Number.NaN
let lastSecondText = ''
const YEAR_0 = -62_167_219_200
const YEAR_10000 = 253_402_300_800
const SAFE_WHOLE_SECONDS = Number.MAX_SAFE_INTEGER - 1e6
const DASH = 0x2d
const COLON = 0x3a
const DOT = 0x2e
const COMMA = 0x2c
const SPACE = 0x20
const LETTER_T = 0x54

function isDigit(c: number): boolean {
  return c >= 48 && c <= 57
}

function digits(bytes: Uint8Array, at: number, count: number): number {
  let value = 0
  for (let i = at; i < at + count; i++) {
    const c = bytes[i]!
    if (c < 48 || c > 57) return Number.NaN
    value = value * 10 + (c - 48)
  }
  return value
}

/** Seconds east of UTC; NaN when the rest of the text is no zone. */
function parseOffset(bytes: Uint8Array, at: number, end: number): number {
  const left = end - at
  if (left === 0) return 0
  const c = bytes[at]
  if (c === 0x5a || c === 0x7a) return left === 1 ? 0 : Number.NaN
  if ((c !== 0x2b && c !== DASH) || (left !== 6 && left !== 5 && left !== 3)) return Number.NaN
  const hours = digits(bytes, at + 1, 2)
  const minutes = left === 3 ? 0 : digits(bytes, end - 2, 2)
  if (left === 6 && bytes[at + 3] !== COLON) return Number.NaN
  if (!(hours <= 23 && minutes <= 59)) return Number.NaN
  return (c === DASH ? -1 : 1) * (hours * 3600 + minutes * 60)
}
