/** Values that are longer than a column takes, cut where a reader can still read them, and marked as cut. */

/** At most `limit` bytes of UTF-8 that end with a whole character and the mark. */
export function trimText(bytes: Uint8Array, start: number, end: number, limit: number): Buffer {
  if (end - start <= limit) return Buffer.from(bytes.subarray(start, end))
  let cut = start + limit - TEXT_MARK.length
  while (cut > start && (bytes[cut]! & 0xc0) === 0x80) cut--
  return Buffer.concat([bytes.subarray(start, cut), TEXT_MARK])
}

/**
 * A well-formed JSON object or array without white space between its tokens, cut to `limit` bytes (17 or more) after a
 * whole member or element at any depth, and closed again. Its outermost level ends with the mark: `"_trimmed":true`, or
 * `"_trimmed"` in an array.
 */
export function trimJson(bytes: Uint8Array, limit: number): Buffer {
  if (bytes.length <= limit) return Buffer.from(bytes)
  const isObject = bytes[0] === OPEN_BRACE
  const mark = isObject ? '"_trimmed":true}' : '"_trimmed"]'
  const room = limit - mark.length - 1
  const open: number[] = []
  let safe = 1
  let closers = ''
  for (let p = 0; p < bytes.length; p++) {
    const c = bytes[p]!
    if (c === QUOTE) {
      for (p++; bytes[p] !== QUOTE; p++) if (bytes[p] === BACKSLASH) p++
      continue
    }
    if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      open.push(c === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET)
      continue
    }
    if (c === CLOSE_BRACE || c === CLOSE_BRACKET) open.pop()
    else if (c !== COMMA) continue
    // Behind a member what is there can be closed; the outermost bracket belongs to the mark.
    const at = c === COMMA ? p : p + 1
    if (open.length === 0) break
    if (at + open.length - 1 > room) break
    safe = at
    closers = String.fromCharCode(...open.slice(1).reverse())
  }
  const separator = safe > 1 ? ',' : ''
  return Buffer.concat([bytes.subarray(0, safe), Buffer.from(closers + separator + mark)])
}

// --- internal ---

const TEXT_MARK = Buffer.from('…[trimmed]')
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
