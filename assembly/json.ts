/**
 * The JSON scanner: checks the whole grammar of a record, fills the slots of a table with places of its bytes and reports
 * its strings. components/json/jsonScanner.ts is its door. Results below 0 say why there is no end.
 */
import { allocate, REFUSED_AT, state } from './memory'
import { observe } from './observables'
import { idOf, intern, LONGEST, makeRoom } from './strings'

/** Whether a key with escapes in it ends in userName. */
@external('env', 'endsAsUser')
declare function endsAsUserEscaped(start: i32, end: i32): bool

const INCOMPLETE: i32 = -1
const REFUSED: i32 = -2
const TOO_DEEP: i32 = -3
export const MAX_DEPTH: i32 = 500

/** A table's slots: of each its start, then of each its end, its id, and in one byte each its kind. */
let slotStarts: i32 = 0
let slotEnds: i32 = 0
let slotIds: i32 = 0
let slotKinds: i32 = 0

const STRING: i32 = 1
const ESCAPED: i32 = 2
const NUMBER: i32 = 3
const TRUE: i32 = 4
const FALSE: i32 = 5
const OTHER: i32 = 6

/** Behind the last byte of the input; SLACK zeros follow. */
let limit: i32 = 0
let observing: bool = false
/** What to add to a place in memory to have the caller's. */
let bias: i32 = 0
let stamp: i32 = 0
/** Of the string last read. */
let escaped: bool = false
let marked: bool = false

/** `table`: of `newTable`, with this many slots; `toCaller`: what to add to a place for the slots. */
export function scanRecord(at: i32, end: i32, table: i32, slots: i32, toCaller: i32, isObserving: bool): i32 {
  makeRoom()
  limit = end
  bias = toCaller
  observing = isObserving
  stamp++
  slotStarts = table + 8
  slotEnds = slotStarts + (slots << 2)
  slotIds = slotEnds + (slots << 2)
  slotKinds = slotIds + (slots << 2)
  memory.fill(slotKinds, 0, slots)
  return object(at + 1, load<i32>(table), 1)
}

export function skipValue(at: i32, end: i32, isObserving: bool): i32 {
  makeRoom()
  limit = end
  observing = isObserving
  return value(at, 0, false, 1)
}

// --- nodes: the known keys of an object; entries: one such key ---

const BUCKETS: i32 = 64
const LONGEST_KEY: i32 = 128
/** Keys that a node remembers beside those of its table. */
const MOST_REMEMBERED: i32 = 64
const QUOTE: u32 = 0x22
const POOL_BYTES: i32 = 1 << 20
/** What a table and the keys that it remembers may take, with nobody else's keys. */
const POOL_LEAST: i32 = 256 << 10
let pooled: i32 = 0
let poolEnd: i32 = 0

function take(bytes: i32): i32 {
  if (pooled + bytes > poolEnd) return 0
  const at = pooled
  pooled += (bytes + 7) & ~7
  return at
}

/** Before a table is made. What is in the input is lost. */
export function reservePool(): void {
  if (poolEnd - pooled >= POOL_LEAST) return
  pooled = allocate(POOL_BYTES)
  poolEnd = pooled + POOL_BYTES
}

/** Of a root node and so many slots; node and slots follow one another. */
export function newTable(node: i32, slots: i32): i32 {
  const table = take(8 + slots * 13)
  if (table != 0) store<i32>(table, node)
  return table
}

// A node: 0 the entry that came first last time, 4 keys remembered, 8 the buckets.
// An entry:
/** The entry that followed last time. */
const NEXT: usize = 0
const CHAIN: usize = 4
/** Slot to fill, or -1. */
const SLOT: usize = 8
/** Known keys inside, when the value is an object. */
const NODE: usize = 12
/** The entry of the first element, when the value is an array. */
const FIRST: usize = 16
const STAMP: usize = 20
const IS_USER: usize = 24
/** The id of the slot's text is wanted. */
const WANTS_ID: usize = 28
const LENGTH: usize = 32
/** The key and a quote, in whole words. */
const TEXT: usize = 40

export function newNode(): i32 {
  return take(8 + BUCKETS * 4)
}

/** The key's text is at `at`; node 0: the entry of a first element. */
export function newEntry(node: i32, at: i32, length: i32, slot: i32, isUser: bool, wantsId: bool): i32 {
  const entry = take(<i32>TEXT + length + 16)
  if (entry == 0) return 0
  store<i32>(entry, slot, SLOT)
  store<i32>(entry, isUser ? 1 : 0, IS_USER)
  store<i32>(entry, wantsId ? 1 : 0, WANTS_ID)
  store<i32>(entry, length, LENGTH)
  memory.copy(entry + <i32>TEXT, at, length)
  store<u8>(entry + <i32>TEXT + length, QUOTE)
  if (node != 0) {
    const head = node + 8 + (bucket(at, length) << 2)
    store<i32>(entry, load<i32>(head), CHAIN)
    store<i32>(head, entry)
  }
  return entry
}
export function linkEntry(entry: i32, node: i32, first: i32): void {
  store<i32>(entry, node, NODE)
  store<i32>(entry, first, FIRST)
}

reservePool()
/** Stand for keys that are not remembered. */
const forgotten = newEntry(0, 0, 0, -1, false, false)
const forgottenUser = newEntry(0, 0, 0, -1, true, false)

function bucket(at: i32, length: i32): i32 {
  return length == 0 ? 0 : (length * 11 + load<u8>(at) * 3 + load<u8>(at + length - 1)) & (BUCKETS - 1)
}

/** Whether the key and its closing quote stand at `at`. */
@inline
function matches(at: i32, entry: i32): bool {
  const length = load<i32>(entry, LENGTH) + 1
  let i = 0
  for (; i + 8 <= length; i += 8) if (load<u64>(at + i) != load<u64>(entry + i, TEXT)) return false
  const rest = length & 7
  return rest == 0 || (load<u64>(at + i) ^ load<u64>(entry + i, TEXT)) << (64 - (rest << 3)) == 0
}

function find(node: i32, start: i32, end: i32): i32 {
  const length = end - start
  const head = node + 8 + (bucket(start, length) << 2)
  for (let entry = load<i32>(head); entry != 0; entry = load<i32>(entry, CHAIN))
    if (load<i32>(entry, LENGTH) == length && matches(start, entry)) return entry
  const isUser = endsAsUser(start, end)
  // Bounded, since the keys may be hostile.
  let entry = 0
  if (load<i32>(node, 4) < MOST_REMEMBERED && length <= LONGEST_KEY) {
    entry = newEntry(node, start, length, -1, isUser, false)
    store<i32>(node, load<i32>(node, 4) + 1, 4)
  }
  if (entry == 0) return isUser ? forgottenUser : forgotten
  return entry
}

/** Whether a key without escapes ends in `userName`. */
function endsAsUser(start: i32, end: i32): bool {
  return end - start >= 8 && load<u64>(end - 8) == 0x656d614e72657375
}

// --- the grammar ---

const BACKSLASH: u32 = 0x5c
const COLON: u32 = 0x3a
const COMMA: u32 = 0x2c
const OPEN_BRACE: u32 = 0x7b
const CLOSE_BRACE: u32 = 0x7d
const OPEN_BRACKET: u32 = 0x5b
const CLOSE_BRACKET: u32 = 0x5d
const LETTER_T: u32 = 0x74
const LETTER_F: u32 = 0x66
const LETTER_N: u32 = 0x6e
const LETTER_U: u32 = 0x75

function refuse(at: i32): i32 {
  if (at >= limit) return INCOMPLETE
  store<i32>(state, at, REFUSED_AT)
  return REFUSED
}
function tooDeep(at: i32): i32 {
  store<i32>(state, at, REFUSED_AT)
  return TOO_DEEP
}

@inline
function space(at: i32): i32 {
  let p = at
  if (load<u8>(p) <= 32) p = spaces(p)
  return p
}
function spaces(at: i32): i32 {
  let p = at
  while (load<u8>(p) == 32 || load<u8>(p) == 10 || load<u8>(p) == 13 || load<u8>(p) == 9) p++
  return p
}

function object(at: i32, node: i32, depth: i32): i32 {
  if (depth > MAX_DEPTH) return tooDeep(at)
  let predicted = load<i32>(node)
  let previous = 0
  let p = space(at)
  if (load<u8>(p) == CLOSE_BRACE) return p + 1
  while (true) {
    if (load<u8>(p) != QUOTE) return refuse(p)
    p++
    let entry = predicted
    if (predicted != 0 && matches(p, predicted)) p += load<i32>(predicted, LENGTH) + 1
    else {
      const start = p
      p = string(p)
      if (p < 0) return p
      if (escaped) return REFUSED
      entry = find(node, start, p - 1)
      if (entry != forgotten && entry != forgottenUser) {
        if (previous == 0) store<i32>(node, entry)
        else if (previous != forgotten && previous != forgottenUser) store<i32>(previous, entry, NEXT)
      }
    }
    previous = entry
    predicted = load<i32>(entry, NEXT)
    p = space(p)
    if (load<u8>(p) != COLON) return refuse(p)
    p = space(p + 1)
    const slot = load<i32>(entry, SLOT)
    if (slot < 0 && load<i32>(entry, NODE) == 0 && load<i32>(entry, FIRST) == 0)
      p = value(p, 0, load<i32>(entry, IS_USER) != 0, depth + 1)
    else p = wanted(p, entry, depth + 1)
    if (p < 0) return p
    p = space(p)
    const c = load<u8>(p)
    if (c == COMMA) p = space(p + 1)
    else return c == CLOSE_BRACE ? p + 1 : refuse(p)
  }
}

/** A value that a slot, or a slot inside it, wants. */
function wanted(at: i32, key: i32, depth: i32): i32 {
  if (load<i32>(key, STAMP) == stamp) return REFUSED
  store<i32>(key, stamp, STAMP)
  const slot = load<i32>(key, SLOT)
  const isUser = load<i32>(key, IS_USER) != 0
  const c = load<u8>(at)
  if (c == QUOTE && slot >= 0) {
    const start = at + 1
    const end = observing ? markedString(start) : string(start)
    if (end < 0) return end
    fill(slot, escaped ? ESCAPED : STRING, start, end - 1)
    const wantsId = load<i32>(key, WANTS_ID) != 0
    let entry = 0
    if (observing) entry = observe(start, end - 1, isUser, escaped, marked, wantsId)
    else if (wantsId && !escaped && end - 1 - start <= LONGEST) entry = intern(start, end - 1 - start)
    store<i32>(slotIds + (slot << 2), idOf(entry))
    return end
  }
  if (c == OPEN_BRACE && load<i32>(key, NODE) != 0) {
    if (slot >= 0) fill(slot, OTHER, at, at)
    return object(at + 1, load<i32>(key, NODE), depth)
  }
  if (c == OPEN_BRACKET && load<i32>(key, FIRST) != 0) return array(at + 1, load<i32>(key, FIRST), isUser, depth)
  const end = value(at, 0, isUser, depth)
  if (end < 0 || slot < 0) return end
  if (c == LETTER_T) fill(slot, TRUE, at, end)
  else if (c == LETTER_F) fill(slot, FALSE, at, end)
  else if (c == OPEN_BRACE || c == OPEN_BRACKET) fill(slot, OTHER, at, at)
  else if (c != LETTER_N) fill(slot, NUMBER, at, end)
  return end
}

function fill(slot: i32, kind: i32, start: i32, end: i32): void {
  store<u8>(slotKinds + slot, kind)
  store<i32>(slotStarts + (slot << 2), start + bias)
  store<i32>(slotEnds + (slot << 2), end + bias)
  store<i32>(slotIds + (slot << 2), 0)
}

/** Any value; the first element of an array goes to `first`. */
function value(at: i32, first: i32, isUser: bool, depth: i32): i32 {
  const c = load<u8>(at)
  if (c == QUOTE) {
    const start = at + 1
    if (!observing) return string(start)
    const end = markedString(start)
    if (end > 0) observe(start, end - 1, isUser, escaped, marked, false)
    return end
  }
  if (c == OPEN_BRACE) return unknownObject(at + 1, depth)
  if (c == OPEN_BRACKET) return array(at + 1, first, isUser, depth)
  if (c == LETTER_T) return literal(at, 0x65757274)
  if (c == LETTER_F) return load<u8>(at, 1) == 0x61 ? literal(at + 1, 0x65736c61) : refuse(at + 1)
  if (c == LETTER_N) return literal(at, 0x6c6c756e)
  return number(at)
}

function unknownObject(at: i32, depth: i32): i32 {
  if (depth > MAX_DEPTH) return tooDeep(at)
  let p = space(at)
  if (load<u8>(p) == CLOSE_BRACE) return p + 1
  while (true) {
    if (load<u8>(p) != QUOTE) return refuse(p)
    const start = p + 1
    p = string(start)
    if (p < 0) return p
    const isUser = observing && (escaped ? endsAsUserEscaped(start, p - 1) : endsAsUser(start, p - 1))
    p = space(p)
    if (load<u8>(p) != COLON) return refuse(p)
    p = value(space(p + 1), 0, isUser, depth + 1)
    if (p < 0) return p
    p = space(p)
    const c = load<u8>(p)
    if (c == COMMA) p = space(p + 1)
    else return c == CLOSE_BRACE ? p + 1 : refuse(p)
  }
}

function array(at: i32, first: i32, isUser: bool, depth: i32): i32 {
  if (depth > MAX_DEPTH) return tooDeep(at)
  let entry = first
  let p = space(at)
  if (load<u8>(p) == CLOSE_BRACKET) return p + 1
  while (true) {
    p = entry != 0 ? wanted(p, entry, depth + 1) : value(p, 0, isUser, depth + 1)
    if (p < 0) return p
    entry = 0
    p = space(p)
    const c = load<u8>(p)
    if (c == COMMA) p = space(p + 1)
    else return c == CLOSE_BRACKET ? p + 1 : refuse(p)
  }
}

/** The bytes that a run of plain characters ends at: quote, backslash, control character. */
@inline
function stops(v: v128): v128 {
  return v128.or(
    v128.or(i8x16.eq(v, i8x16.splat(0x22)), i8x16.eq(v, i8x16.splat(0x5c))),
    i8x16.lt_u(v, i8x16.splat(0x20)),
  )
}

/** From after the opening quote to after the closing one. */
function string(at: i32): i32 {
  escaped = false
  let p = at
  while (true) {
    const v = v128.load(p)
    const stop = stops(v)
    const mask = i8x16.bitmask(stop)
    if (mask == 0) {
      p += 16
      continue
    }
    p += ctz(mask)
    const c = load<u8>(p)
    if (c == QUOTE) return p < limit ? p + 1 : INCOMPLETE
    if (c != BACKSLASH) return refuse(p)
    p = escape(p)
    if (p < 0) return p
  }
}

/** The same, and whether `. : @` or a byte beyond ASCII is in it. */
function markedString(at: i32): i32 {
  escaped = false
  let found = 0
  let p = at
  while (true) {
    const v = v128.load(p)
    const stop = stops(v)
    const mark = v128.or(
      v128.or(i8x16.eq(v, i8x16.splat(0x2e)), i8x16.eq(v, i8x16.splat(0x3a))),
      v128.or(i8x16.eq(v, i8x16.splat(0x40)), v),
    )
    const mask = i8x16.bitmask(stop)
    const here = i8x16.bitmask(mark)
    if (mask == 0) {
      found |= here
      p += 16
      continue
    }
    const n = ctz(mask)
    found |= here & ((1 << n) - 1)
    p += n
    const c = load<u8>(p)
    if (c == QUOTE) {
      marked = found != 0
      return p < limit ? p + 1 : INCOMPLETE
    }
    if (c != BACKSLASH) return refuse(p)
    p = escape(p)
    if (p < 0) return p
  }
}

/** Behind the escape at `p`. */
function escape(p: i32): i32 {
  escaped = true
  const kind = load<u8>(p, 1)
  if (kind == LETTER_U) {
    for (let i = 2; i < 6; i++) {
      const c = load<u8>(p + i)
      const isHex = (c >= 48 && c <= 57) || (c >= 97 && c <= 102) || (c >= 65 && c <= 70)
      if (!isHex) return p + i >= limit ? INCOMPLETE : refuse(p)
    }
    return p + 6
  }
  if (
    kind == QUOTE ||
    kind == BACKSLASH ||
    kind == 0x2f ||
    kind == 0x62 ||
    kind == 0x66 ||
    kind == 0x6e ||
    kind == 0x72 ||
    kind == 0x74
  )
    return p + 2
  return p + 1 >= limit ? INCOMPLETE : refuse(p)
}

@inline
function isDigit(at: i32): bool {
  return <u32>load<u8>(at) - 48 < 10
}

function number(at: i32): i32 {
  let p = at
  if (load<u8>(p) == 0x2d) p++
  if (load<u8>(p) == 48) p++
  else if (isDigit(p)) while (isDigit(p)) p++
  else return refuse(p)
  if (load<u8>(p) == 0x2e) {
    p++
    if (!isDigit(p)) return refuse(p)
    while (isDigit(p)) p++
  }
  if ((load<u8>(p) | 0x20) == 0x65) {
    p++
    if (load<u8>(p) == 0x2b || load<u8>(p) == 0x2d) p++
    if (!isDigit(p)) return refuse(p)
    while (isDigit(p)) p++
  }
  return p
}

/** Four letters. */
function literal(at: i32, letters: u32): i32 {
  if (load<u32>(at) == letters) return at + 4
  for (let i = 0; i < 4; i++) if (load<u8>(at + i) != ((letters >>> (i << 3)) & 255)) return refuse(at + i)
  return at + 4
}
