/**
 * Strings met before. A cache, bounded in entries and bytes: an id says that the bytes are equal to those that got it,
 * until `forget`. Per entry it is also kept what has been done about the string, and for which reader.
 */
import { allocate, GENERATION, SLACK, state } from './memory'

export const LONGEST: i32 = 4096
const ENTRIES: i32 = 1 << 16
const TABLE: i32 = 1 << 17
const TEXT_BYTES: i32 = 4 << 20
/** Beyond, a string is not kept: text made to collide must not take forever. */
const MOST_PROBES: i32 = 128
const ENTRY: i32 = 32

const table = allocate(TABLE * 4)
const entries = allocate((ENTRIES + 1) * ENTRY)
const texts = allocate(TEXT_BYTES + LONGEST + SLACK)
/** Id 0 is none. */
let count: i32 = 0
let used: i32 = 0
let seed: u64 = 0

export function seedStrings(low: i32, high: i32): void {
  seed = (u64(u32(high)) << 32) | u64(u32(low))
}

/** Called between records, so that the ids of one record hold together: for that a quarter is kept free. */
export function makeRoom(): void {
  if (count <= (ENTRIES >> 2) * 3 && used <= (TEXT_BYTES >> 2) * 3) return
  count = 0
  used = 0
  memory.fill(table, 0, TABLE * 4)
  store<i32>(state, load<i32>(state, GENERATION) + 1, GENERATION)
}

/** The id of `length` bytes at `at`, at most LONGEST; 0 when there is no room. */
export function intern(at: i32, length: i32): i32 {
  const hash = hashOf(at, length)
  let slot = <i32>hash & (TABLE - 1)
  for (let probes = 0; true; probes++) {
    const id = load<i32>(table + (slot << 2))
    if (id == 0) break
    const entry = entries + id * ENTRY
    if (load<u32>(entry) == hash && load<i32>(entry, 4) == length && same(load<i32>(entry, 8), at, length)) return id
    if (probes == MOST_PROBES) return 0
    slot = (slot + 1) & (TABLE - 1)
  }
  if (count == ENTRIES - 1 || used + length > TEXT_BYTES) return 0
  const id = ++count
  const entry = entries + id * ENTRY
  const text = texts + used
  memory.copy(text, at, length)
  used += length
  store<u32>(entry, hash)
  store<i32>(entry, length, 4)
  store<i32>(entry, text, 8)
  for (let what = 12; what < ENTRY; what += 4) store<i32>(entry + what, 0)
  store<i32>(table + (slot << 2), id)
  return id
}

/** What may be done about a string, once for each reader. */
export const OBSERVED: i32 = 12
export const USER: i32 = 16
export const WORD: i32 = 20
export const SUFFIX: i32 = 24
const VERDICT: i32 = 28

/** True the first time for this reader; always for a string without an id. */
// @ts-ignore: decorator
@inline
export function isFirst(id: i32, what: i32, reader: i32): bool {
  if (id == 0) return true
  const at = entries + id * ENTRY + what
  if (load<i32>(at) == reader) return false
  store<i32>(at, reader)
  return true
}

/** Something known of the string itself; 0 at first. */
export function verdictOf(id: i32): i32 {
  return id == 0 ? 0 : load<i32>(entries + id * ENTRY, VERDICT)
}
export function setVerdict(id: i32, verdict: i32): void {
  if (id != 0) store<i32>(entries + id * ENTRY, verdict, VERDICT)
}

// --- internal ---

function hashOf(at: i32, length: i32): u32 {
  let h = seed ^ u64(length)
  let p = at
  const wordsEnd = at + (length & ~7)
  for (; p < wordsEnd; p += 8) {
    h = (h ^ load<u64>(p)) * 0x9e3779b97f4a7c15
    h ^= h >> 29
  }
  const rest = length & 7
  if (rest != 0) {
    h = (h ^ (load<u64>(p) & ((u64(1) << (rest << 3)) - 1))) * 0xbf58476d1ce4e5b9
    h ^= h >> 29
  }
  h *= 0x94d049bb133111eb
  return u32(h >> 32)
}

// @ts-ignore: decorator
@inline
function same(a: i32, b: i32, length: i32): bool {
  let p = 0
  for (; p + 8 <= length; p += 8) if (load<u64>(a + p) != load<u64>(b + p)) return false
  const rest = length & 7
  return rest == 0 || (load<u64>(a + p) ^ load<u64>(b + p)) << (64 - (rest << 3)) == 0
}
