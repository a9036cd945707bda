/**
 * Rows of a table from the slots of the record that was scanned last: what components/rows/rowEncoder.ts does for every
 * table and value, for columns of common forms whose values need no change. Anything else is left to it: -1.
 */
import { allocate } from './memory'

// A plan: of each column 32-bit words.
/** One of the forms below. */
const FORM: usize = 0
/** Where what comes before the value is, and how long it is. */
const PREFIX: usize = 4
const PREFIX_BYTES: usize = 8
/** Slots in order of preference; or the number of the given value. */
const SLOTS: usize = 12
const FIRST_SLOT: usize = 16

/** A string, or a container as text. */
const TEXT: i32 = 1
const BOOLEAN: i32 = 2
const TIME: i32 = 3
/** What the caller has put into `given`. */
const GIVEN: i32 = 4
/** The prefix has it. */
const CONSTANT: i32 = 5

const STRING: u8 = 1
const ESCAPED: u8 = 2
const NUMBER: u8 = 3
const TRUE: u8 = 4
const FALSE: u8 = 5
const OTHER: u8 = 6

const MOST_VALUE_BYTES: i32 = 65536
const ROW_BYTES: i32 = 256 << 10
const GIVEN_BYTES: i32 = 64
const LEFT: i32 = -1

/** Given values: of each its length, then its text. */
let given: i32 = 0
let row: i32 = 0
/** Slots of the record at hand: starts, ends, kinds; and what to take off a place to have the one in memory. */
let starts: i32 = 0
let ends: i32 = 0
let kinds: i32 = 0
let bias: i32 = 0

/** Zeroed bytes for a plan; what is in the input is lost. */
export function reservePlan(bytes: i32): i32 {
  if (row == 0) {
    given = allocate(GIVEN_BYTES * 2)
    row = allocate(ROW_BYTES + 64)
  }
  return allocate(bytes)
}

export function givenAt(): i32 {
  return given
}

export function rowAt(): i32 {
  return row
}

/** The row of the record that `table` has been filled with; its length, or -1 when it is to be made the other way. */
export function writeRow(plan: i32, columns: i32, table: i32, slots: i32, toCaller: i32): i32 {
  starts = table + 8
  ends = starts + (slots << 2)
  kinds = ends + (slots << 3)
  bias = toCaller
  const limit = row + ROW_BYTES
  let at = row
  store<u8>(at++, 0x7b)
  let p = plan
  for (let i = 0; i < columns; i++) {
    const form = load<i32>(p, FORM)
    const count = load<i32>(p, SLOTS)
    const prefix = load<i32>(p, PREFIX)
    const prefixBytes = load<i32>(p, PREFIX_BYTES)
    const first = p + <i32>FIRST_SLOT
    p = first + (count << 2)
    if (at + prefixBytes + 128 > limit) return LEFT
    if (form <= TIME) {
      const slot = present(first, count)
      if (slot < 0) continue
      const start = load<i32>(starts + (slot << 2)) - bias
      const length = load<i32>(ends + (slot << 2)) - bias - start
      const kind = load<u8>(kinds + slot)
      copy(at, prefix, prefixBytes)
      at += prefixBytes
      if (form == TEXT) {
        if (kind == OTHER) at = container(at, start, limit)
        else {
          if (length > MOST_VALUE_BYTES || at + length + 64 > limit) return LEFT
          if (kind == ESCAPED && mayBeHalf(start, start + length)) return LEFT
          copy(at, start, length)
          at += length
        }
        if (at < 0) return LEFT
        store<u16>(at, 0x2c22)
        at += 2
        continue
      }
      if (form == BOOLEAN) {
        const isTrue = kind == TRUE || (kind == STRING && length == 4 && load<u32>(start) == 0x65757274)
        if (!isTrue) {
          const isFalse = length == 5 && load<u32>(start) == 0x736c6166 && load<u8>(start + 4) == 0x65
          if (kind != FALSE && !(kind == STRING && isFalse)) return LEFT
        }
        store<u64>(at, isTrue ? 0x2c65757274 : 0x2c65736c6166)
        at += isTrue ? 5 : 6
        continue
      }
      if (kind != STRING || !isTime(start, length)) return LEFT
      store<u8>(at++, 0x22)
      copy(at, start, length)
      at += length
      store<u16>(at, 0x2c22)
      at += 2
      continue
    }
    copy(at, prefix, prefixBytes)
    at += prefixBytes
    if (form == GIVEN) {
      const value = given + load<i32>(first) * GIVEN_BYTES
      const length = load<i32>(value)
      store<u8>(at++, 0x22)
      copy(at, value + 4, length)
      at += length
      store<u8>(at++, 0x22)
    }
    store<u8>(at++, 0x2c)
  }
  if (at > row + 1) at--
  store<u8>(at++, 0x7d)
  return at - row
}

// --- internal ---

@inline
function present(first: i32, count: i32): i32 {
  for (let i = 0; i < count; i++) {
    const slot = load<i32>(first + (i << 2))
    if (load<u8>(kinds + slot) != 0) return slot
  }
  return -1
}

/** Up to 15 bytes more than these are written. */
@inline
function copy(to: i32, from: i32, length: i32): void {
  for (let i = 0; i < length; i += 16) v128.store(to + i, v128.load(from + i))
}

/** Whether the content of a JSON string may escape half of a surrogate pair. */
function mayBeHalf(start: i32, end: i32): bool {
  for (let p = start; p < end - 2; p++) {
    if (load<u8>(p) != 0x5c) continue
    p++
    if (load<u8>(p) == 0x75 && (load<u8>(p + 1) | 0x20) == 0x64) return true
  }
  return false
}

/**
 * The object or array at `start`, which the scanner has found well-formed, as the content of a JSON string, without the
 * space between tokens; the end of what is written, or -1.
 */
function container(to: i32, start: i32, limit: i32): i32 {
  const quotes = v128.splat<u8>(0x22)
  const slashes = v128.splat<u8>(0x5c)
  let at = to
  let p = start
  let depth = 0
  let dropped = 0
  for (;;) {
    if (at + 64 > limit) return LEFT
    const c = load<u8>(p++)
    if (c == 0x22) {
      store<u16>(at, 0x225c)
      at += 2
      for (;;) {
        if (at + 64 > limit) return LEFT
        const bytes = v128.load(p)
        const found = v128.bitmask<u8>(v128.or(v128.eq<u8>(bytes, quotes), v128.eq<u8>(bytes, slashes)))
        v128.store(at, bytes)
        if (found == 0) {
          at += 16
          p += 16
          continue
        }
        const plain = i32(ctz(found))
        at += plain
        p += plain
        store<u8>(at++, 0x5c)
        const s = load<u8>(p++)
        store<u8>(at++, s)
        if (s == 0x22) break
        const escaped = load<u8>(p++)
        if (escaped == 0x22 || escaped == 0x5c) store<u8>(at++, 0x5c)
        store<u8>(at++, escaped)
      }
    } else if (c <= 0x20) dropped++
    else {
      store<u8>(at++, c)
      if (c == 0x7b || c == 0x5b) depth++
      else if (c == 0x7d || c == 0x5d) {
        if (--depth == 0) break
      }
    }
  }
  return p - start - dropped > MOST_VALUE_BYTES ? LEFT : at
}

/** `2023-07-10T11:42:31Z`, with up to seven digits of a second: a day that every month has, surely a time. */
function isTime(start: i32, length: i32): bool {
  if (length < 20 || length == 21 || length > 28 || load<u8>(start + length - 1) != 0x5a) return false
  if (load<u8>(start + 4) != 0x2d || load<u8>(start + 7) != 0x2d || load<u8>(start + 10) != 0x54) return false
  if (load<u8>(start + 13) != 0x3a || load<u8>(start + 16) != 0x3a) return false
  if (length > 20 && load<u8>(start + 19) != 0x2e) return false
  for (let p = 20; p < length - 1; p++) if (!isDigit(load<u8>(start + p))) return false
  if (load<u8>(start) == 0x30 || pair(start) < 0 || pair(start + 2) < 0) return false
  const month = pair(start + 5)
  const day = pair(start + 8)
  const isDay = day >= 1 && (day <= 28 || (month != 2 && (day <= 30 || (day == 31 && isLong(month)))))
  if (!(month >= 1 && month <= 12 && isDay)) return false
  const hour = pair(start + 11)
  const minute = pair(start + 14)
  const second = pair(start + 17)
  return hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && second <= 59
}

@inline
function isLong(month: i32): bool {
  return ((month + (month >> 3)) & 1) == 1
}

@inline
function isDigit(c: u8): bool {
  return c >= 0x30 && c <= 0x39
}

/** The number that two digits make; negative for others. */
@inline
function pair(at: i32): i32 {
  const tens = load<u8>(at)
  const ones = load<u8>(at + 1)
  return isDigit(tens) && isDigit(ones) ? (i32(tens) - 48) * 10 + i32(ones) - 48 : -1
}
