/**
 * The message of an event that has none: `data_type: key=value key=value`, in the order of its attributes. Attributes
 * whose names begin with `_`, dates and other objects, empty values and those of `UNTOLD` are left out; values and the
 * whole are cut to a length for one line.
 */
import { KeySet } from '../json/keySet.ts'
import { visitMembers } from '../json/members.ts'
import { UNTOLD } from './attributes.ts'

/** Bytes of the whole, and of one value. */
export const MESSAGE_BYTES = 480
const VALUE_BYTES = 160

/** Fills `into` (at least MESSAGE_BYTES) from the JSON object `bytes[start, end)`; its length, in whole characters. */
export function ownMessage(dataType: string, bytes: Buffer, start: number, end: number, into: Buffer): number {
  let length = into.write(dataType.slice(0, VALUE_BYTES), 0, 'utf8')
  let isFirst = true
  visitMembers(bytes, start, end, (keyStart, keyEnd, from, to) => {
    const first = bytes[from]!
    if (length > MESSAGE_BYTES - 8 || bytes[keyStart] === UNDERSCORE || first === OPEN_BRACE) return
    if (keyEnd - keyStart > VALUE_BYTES || UNTOLD_KEYS.has(bytes, keyStart, keyEnd)) return
    if (first === LETTER_N || (first === QUOTE && to - from === 2) || (first === OPEN_BRACKET && to - from === 2))
      return
    const room = MESSAGE_BYTES - length - (keyEnd - keyStart) - 3
    if (room < 8) return
    if (isFirst) into[length++] = COLON
    isFirst = false
    into[length++] = SPACE
    length += copy(bytes, into, length, keyStart, keyEnd)
    into[length++] = EQUALS
    length += writeValue(bytes, from, to, into, length, Math.min(room, VALUE_BYTES))
  })
  return length
}

// --- internal ---

const UNTOLD_KEYS = new KeySet(UNTOLD)
const QUOTE = 0x22
const COLON = 0x3a
const SPACE = 0x20
const EQUALS = 0x3d
const UNDERSCORE = 0x5f
const BACKSLASH = 0x5c
const LETTER_N = 0x6e
const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b

function writeValue(bytes: Buffer, from: number, to: number, into: Buffer, at: number, room: number): number {
  const isText = bytes[from] === QUOTE
  const start = isText ? from + 1 : from
  const end = isText ? to - 1 : to
  const cut = wholeCharacters(bytes, start, Math.min(end, start + room))
  if (!isText || !holds(bytes, BACKSLASH, start, cut)) return copy(bytes, into, at, start, cut)
  // An escape is longer than what it stands for, but for one that makes three bytes of six.
  const text = plainText(bytes.toString('utf8', start, Math.min(end, start + room * 6)))
  return into.write(text, at, room, 'utf8')
}

/** Values are short: a loop has done before a call of the runtime has begun. */
function copy(from: Buffer, into: Buffer, at: number, start: number, end: number): number {
  for (let i = 0; i < end - start; i++) into[at + i] = from[start + i]!
  return end - start
}

function holds(bytes: Buffer, byte: number, start: number, end: number): boolean {
  for (let p = start; p < end; p++) if (bytes[p] === byte) return true
  return false
}

/** What a JSON string's content says, as far as it is whole, on one line. */
function plainText(escaped: string): string {
  const whole = escaped.replace(/\\(?:u[0-9a-fA-F]{0,3}|)$/, '')
  try {
    return (JSON.parse(`"${whole}"`) as string).toWellFormed().replace(/[\x00-\x1f\x7f]+/g, ' ')
  } catch {
    return whole
  }
}

/** The last place up to `end` that cuts no character. */
function wholeCharacters(bytes: Buffer, start: number, end: number): number {
  let p = end
  while (p > start && p < bytes.length && (bytes[p]! & 0xc0) === 0x80) p--
  return p
}
