/**
 * Strings met before. A cache, bounded in entries and bytes: who meets a string finds its entry again, until `makeRoom`.
 * An entry is a place in memory, 0 for none; it has an id for the caller, and says what has been done about the string,
 * and for which reader.
 */
import { allocate, GENERATION, SLACK, state } from './memory'

export const LONGEST: i32 = 4096
const ENTRIES: i32 = 1 << 16
/** Of each: its hash and its entry. */
const TABLE: i32 = 1 << 17
const ENTRY_BYTES: i32 = 6 << 20
/** Beyond, a string is not kept: text made to collide must not take forever. */
const MOST_PROBES: i32 = 128

const table = allocate(TABLE * 8)
const entries = allocate(ENTRY_BYTES + SLACK)
let count: i32 = 0
let used: i32 = 0
let seed: u64 = 0

export function seedStrings(low: i32, high: i32): void {
  seed = (u64(u32(high)) << 32) | u64(u32(low))
}

/** Called between records, so that the ids of one record hold together: for that a quarter is kept free. */
export function makeRoom(): void {
  if (count <= (ENTRIES >> 2) * 3 && used <= (ENTRY_BYTES >> 2) * 3) return
  count = 0
  used = 0
  memory.fill(table, 0, TABLE * 8)
  store<i32>(state, load<i32>(state, GENERATION) + 1, GENERATION)
}

// An entry: the id, the length, then
/** what may be done about a string, once for each reader, */
export const OBSERVED: i32 = 8
export const USER: i32 = 12
export const WORD: i32 = 16
export const SUFFIX: i32 = 20
const VERDICT: i32 = 24
/** and the string, in whole words. */
const TEXT: i32 = 32

/** The entry of `length` bytes at `at`, at most LONGEST; 0 when there is no room. */
export function intern(at: i32, length: i32): i32 {
  const hash = hashOf(at, length)
  let slot = <i32>hash & (TABLE - 1)
  for (let probes = 0; true; probes++) {
    const entry = load<i32>(table + (slot << 3), 4)
    if (entry == 0) break
    if (load<u32>(table + (slot << 3)) == hash && load<i32>(entry, 4) == length && same(entry + TEXT, at, length))
      return entry
    if (probes == MOST_PROBES) return 0
    slot = (slot + 1) & (TABLE - 1)
  }
  const size = (TEXT + length + 7) & ~7
  if (count == ENTRIES - 1 || used + size > ENTRY_BYTES) return 0
  const entry = entries + used
  used += size
  store<i32>(entry, ++count)
  store<i32>(entry, length, 4)
  for (let what = OBSERVED; what < TEXT; what += 4) store<i32>(entry + what, 0)
  memory.copy(entry + TEXT, at, length)
  store<u32>(table + (slot << 3), hash)
  store<i32>(table + (slot << 3), entry, 4)
  return entry
}

/** 1 and more, below ENTRIES; 0 for no entry. */
@inline
export function idOf(entry: i32): i32 {
  return entry == 0 ? 0 : load<i32>(entry)
}

/** True the first time for this reader; always without an entry. */
@inline
export function isFirst(entry: i32, what: i32, reader: i32): bool {
  if (entry == 0) return true
  if (load<i32>(entry + what) == reader) return false
  store<i32>(entry + what, reader)
  return true
}

/** Something known of the string itself; 0 at first. */
export function verdictOf(entry: i32): i32 {
  return entry == 0 ? 0 : load<i32>(entry + VERDICT)
}
export function setVerdict(entry: i32, verdict: i32): void {
  if (entry != 0) store<i32>(entry + VERDICT, verdict)
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

@inline
function same(a: i32, b: i32, length: i32): bool {
  let p = 0
  for (; p + 8 <= length; p += 8) if (load<u64>(a + p) != load<u64>(b + p)) return false
  const rest = length & 7
  return rest == 0 || (load<u64>(a + p) ^ load<u64>(b + p)) << (64 - (rest << 3)) == 0
}
