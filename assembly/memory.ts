/** The module's memory: tables of fixed size one after another, then the input, which alone grows. */

/** Reading on by a vector behind anything must stay inside the memory. */
export const SLACK: i32 = 64

/** The input lies behind everything else. */
let free: i32 = 0
let inputBytes: i32 = 0

/** Zeroed bytes that are never given back. What is in the input is lost. */
export function allocate(bytes: i32): i32 {
  if (free == 0) free = (i32(__heap_base) + 63) & ~63
  const at = free
  free = (free + bytes + 63) & ~63
  need(free)
  if (inputBytes > 0) memory.fill(at, 0, min(bytes, inputBytes + SLACK))
  inputBytes = 0
  return at
}

/** Room for `bytes` of input and SLACK behind; where it is. */
export function reserveInput(bytes: i32): i32 {
  if (bytes > inputBytes) {
    need(free + bytes + SLACK)
    inputBytes = bytes
  }
  return free
}

function need(end: i32): void {
  const pages = ((end + 0xffff) >>> 16) - memory.size()
  if (pages > 0 && memory.grow(pages) < 0) unreachable()
}

/** What the caller reads after each call, as 32-bit numbers. */
export const state = allocate(64)
export const HASHES: usize = 0
export const HANDED: usize = 4
/** Changes when string ids are given anew. */
export const GENERATION: usize = 8
export const REFUSED_AT: usize = 12
