/** The members of a JSON object by place, for who copies or prints them and needs no values made of them. */

/** `bytes[keyStart, keyEnd)` is the key as it is written, without quotes; `bytes[start, end)` the value with its quotes. */
export type VisitMember = (keyStart: number, keyEnd: number, start: number, end: number) => void

/**
 * Walks the members of the object `bytes[start, end)`; false when that is no object, or text stands behind it. Strings
 * and brackets are followed; that what stands between them is JSON is for others to check.
 */
export function visitMembers(bytes: Uint8Array, start: number, end: number, visit: VisitMember): boolean {
  let p = skipSpace(bytes, start, end)
  if (bytes[p] !== OPEN_BRACE) return false
  p = skipSpace(bytes, p + 1, end)
  if (bytes[p] === CLOSE_BRACE) return skipSpace(bytes, p + 1, end) === end
  while (p < end) {
    if (bytes[p] !== QUOTE) return false
    const keyStart = p + 1
    p = afterString(bytes, p, end)
    if (p < 0) return false
    const keyEnd = p - 1
    p = skipSpace(bytes, p, end)
    if (bytes[p] !== COLON) return false
    const valueStart = skipSpace(bytes, p + 1, end)
    p = afterValue(bytes, valueStart, end)
    if (p <= valueStart) return false
    visit(keyStart, keyEnd, valueStart, p)
    p = skipSpace(bytes, p, end)
    if (p < end && bytes[p] === CLOSE_BRACE) return skipSpace(bytes, p + 1, end) === end
    if (bytes[p] !== COMMA) return false
    p = skipSpace(bytes, p + 1, end)
  }
  return false
}

// --- internal ---

const QUOTE = 0x22
const COLON = 0x3a
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

function skipSpace(bytes: Uint8Array, at: number, end: number): number {
  let p = at
  // Mostly there is none.
  if (bytes[p]! > 32) return p
  while (p < end && (bytes[p] === 32 || bytes[p] === 10 || bytes[p] === 13 || bytes[p] === 9)) p++
  return p
}

/** Behind the closing quote; -1 when there is none. */
function afterString(bytes: Uint8Array, at: number, end: number): number {
  for (let p = at + 1; p < end; p++) {
    const c = bytes[p]
    if (c === QUOTE) return p + 1
    if (c === BACKSLASH) p++
  }
  return -1
}

/** Behind the value; -1 when it is not closed. */
function afterValue(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at]
  if (first === QUOTE) return afterString(bytes, at, end)
  let depth = 0
  for (let p = at; p < end; p++) {
    const c = bytes[p]!
    if (c === QUOTE) {
      p = afterString(bytes, p, end) - 1
      if (p < 0) return -1
    } else if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++
    else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) {
      if (depth === 0) return p
      if (--depth === 0) return p + 1
    } else if (depth === 0 && (c === COMMA || c <= 32)) return p
  }
  return -1
}
