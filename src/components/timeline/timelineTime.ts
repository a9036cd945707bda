/** The time of a timeline's event. */
import { parseIsoTime } from '../../core/isoTime.ts'

/**
 * Whole microseconds since 1970 UTC as plaso writes them; NaN for anything else. Before 1684 and after 2255 a number may
 * not hold them, and whole seconds are kept then; undefined beyond the years 1 to 9999, which no calendar has. 0 is a
 * time here: whether it stands for none, the date says (`NO_DATE`).
 */
export function plasoTimestamp(text: string): number | undefined {
  if (!/^-?(?:0|[1-9]\d{0,18})$/.test(text)) return Number.NaN
  const value = Number(text)
  if (value < FIRST || value >= END) return undefined
  if (Number.isSafeInteger(value) || BigInt(value) === BigInt(text)) return value
  const exact = BigInt(text)
  const second = exact / MICROSECONDS - (exact < 0n && exact % MICROSECONDS !== 0n ? 1n : 0n)
  return Number(second * MICROSECONDS)
}

/** The same of a number's text in bytes. */
export function plasoTimestampOf(bytes: Uint8Array, start: number, end: number): number | undefined {
  const first = bytes[start]!
  // Up to 15 digits are exact in a number, and no sum of them on the way is more.
  if (end - start <= 16 && end > start && first >= ONE && first <= NINE) {
    let value = first - ZERO
    let p = start + 1
    for (; p < end && bytes[p]! >= ZERO && bytes[p]! <= NINE; p++) value = value * 10 + bytes[p]! - ZERO
    if (p === end && value <= Number.MAX_SAFE_INTEGER) return value < END ? value : undefined
  }
  return plasoTimestamp(Buffer.from(bytes.subarray(start, end)).toString('utf8'))
}

/**
 * Microseconds UTC of `2015-11-18T01:15:43`, as clocks of that zone (`UTC`, `Europe/Oslo`, `EST5EDT`) showed it; an hour that
 * they showed twice is the first. NaN when it is no time, undefined when the zone is none that is known.
 */
export function zonedTime(text: string, zone: string): number | undefined {
  const bytes = Buffer.from(text)
  const utc = parseIsoTime(bytes, 0, bytes.length)
  if (Number.isNaN(utc) || zone === 'UTC' || zone === 'Z') return utc
  const clock = clockOf(zone)
  if (clock === undefined) return undefined
  const guess = utc - offsetAt(clock, utc)
  return utc - Math.max(offsetAt(clock, guess), offsetAt(clock, guess - HOUR))
}

// --- internal ---

const ZERO = 0x30
const ONE = 0x31
const NINE = 0x39
const MICROSECONDS = 1_000_000n
const FIRST = -62_135_596_800e6
const END = 253_402_300_800e6
const HOUR = 3600e6
/** Zones come from records: names without end must not fill the memory. */
const MAX_CLOCKS = 100
const clocks = new Map<string, Intl.DateTimeFormat | undefined>()

function clockOf(zone: string): Intl.DateTimeFormat | undefined {
  if (clocks.has(zone)) return clocks.get(zone)
  if (clocks.size >= MAX_CLOCKS) clocks.clear()
  let clock: Intl.DateTimeFormat | undefined
  try {
    clock = /^[A-Za-z][A-Za-z0-9_+/-]{1,40}$/.test(zone)
      ? new Intl.DateTimeFormat('en-US', { ...PARTS, timeZone: zone })
      : undefined
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
  clocks.set(zone, clock)
  return clock
}

const PARTS = {
  calendar: 'iso8601',
  hourCycle: 'h23',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
} as const

/** What the clock shows then, less UTC; microseconds. */
function offsetAt(clock: Intl.DateTimeFormat, time: number): number {
  const second = Math.floor(time / 1e6)
  const parts: Record<string, number> = {}
  for (const { type, value } of clock.formatToParts(second * 1000)) parts[type] = Number(value)
  const {
    year,
    month,
    day,
    hour,
    minute,
    second: shown,
  } = parts as Record<'year' | 'month' | 'day' | 'hour' | 'minute' | 'second', number>
  return (Date.UTC(year, month - 1, day, hour, minute, shown) / 1000 - second) * 1e6
}
