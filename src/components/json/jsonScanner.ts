/**
 * Runs a table over the bytes of one JSON record: checks the whole grammar, fills the table's slots with byte slices and
 * reports strings for the keyset, without making an object. What it cannot take exactly as `JSON.parse` would (duplicate
 * or escaped keys, malformed text) it refuses, and the caller goes the slow way.
 */
import type { EventSink } from '../../core/eventSink.ts'
import {
  type CompiledTable,
  isUserKey,
  type JsonRecord,
  type KeyEntry,
  KIND,
  keyBucket,
  type ObjectNode,
} from './jsonTable.ts'

/** The record goes on beyond the buffer. */
export const INCOMPLETE = -1
/** The record is for the slow way. */
export const REFUSED = -2
/** Nested more deeply than MAX_DEPTH. */
export const TOO_DEEP = -3
export const MAX_DEPTH = 500

export class JsonScanner {
  private readonly table: CompiledTable
  private readonly record: JsonRecord
  private readonly sink: EventSink
  private readonly observing: boolean
  private bytes: Buffer = EMPTY
  private view: DataView = new DataView(EMPTY.buffer)
  private wordsEnd = 0
  private stamp = 0
  /** Whether the string last read has escapes. */
  private escaped = false
  /** Where `skip` found what it refused. */
  refusedAt = 0

  constructor(table: CompiledTable, sink: EventSink, observing: boolean) {
    this.table = table
    this.record = table.record
    this.sink = sink
    this.observing = observing
  }

  /** Scans the object at `bytes[at]`; its end, INCOMPLETE, REFUSED or TOO_DEEP. Slots are set only on success. */
  scan(bytes: Buffer, at: number): number {
    this.look(bytes)
    this.stamp = ++this.table.scans
    this.record.clear()
    return this.object(at + 1, this.table.root, 1)
  }

  /** Checks any value and reports its strings; for records that take the slow way, and for what surrounds records. */
  skip(bytes: Buffer, at: number): number {
    this.look(bytes)
    return this.value(at, undefined, false, 1)
  }

  private refuse(at: number, fault = REFUSED): number {
    this.refusedAt = at
    return fault
  }

  private look(bytes: Buffer): void {
    if (bytes === this.bytes) return
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.wordsEnd = bytes.length - 3
  }

  private object(at: number, node: ObjectNode, depth: number): number {
    if (depth > MAX_DEPTH) return this.refuse(at, TOO_DEEP)
    const { bytes } = this
    let predicted = node.first
    let previous: KeyEntry | undefined
    let p = at
    let c = bytes[p]
    if (c! <= 32) {
      p = this.space(p)
      c = bytes[p]
    }
    if (c === CLOSE_BRACE) return p + 1
    for (;;) {
      if (c !== QUOTE) return c === undefined ? INCOMPLETE : this.refuse(p)
      p++
      let entry: KeyEntry
      if (predicted !== undefined && matches(bytes, p, predicted.bytes)) {
        entry = predicted
        p += entry.bytes.length + 1
      } else {
        const start = p
        p = this.string(p)
        if (p < 0) return p
        if (this.escaped) return REFUSED
        entry = find(node, bytes, start, p - 1)
        if (entry.slot !== FORGOTTEN) {
          if (previous === undefined) node.first = entry
          else if (previous.slot !== FORGOTTEN) previous.next = entry
        }
      }
      previous = entry
      predicted = entry.next
      c = bytes[p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      if (c !== COLON) return c === undefined ? INCOMPLETE : this.refuse(p)
      c = bytes[++p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      if (entry.slot < 0 && entry.node === undefined && entry.first === undefined) {
        if (c === QUOTE) {
          // The commonest case, kept here: a string that no slot wants.
          const start = p + 1
          p = this.string(start)
          if (p < 0) return p
          if (this.observing) this.observe(start, p - 1, entry.isUser)
        } else {
          p = this.value(p, undefined, entry.isUser, depth + 1)
          if (p < 0) return p
        }
      } else {
        p = this.wanted(p, entry, depth + 1)
        if (p < 0) return p
      }
      c = bytes[p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      if (c === COMMA) {
        c = bytes[++p]
        if (c! <= 32) {
          p = this.space(p)
          c = bytes[p]
        }
      } else if (c === CLOSE_BRACE) return p + 1
      else return c === undefined ? INCOMPLETE : this.refuse(p)
    }
  }

  /** A value that a slot, or a slot inside it, wants. */
  private wanted(at: number, entry: KeyEntry, depth: number): number {
    if (entry.stamp === this.stamp) return REFUSED
    entry.stamp = this.stamp
    const { bytes } = this
    const c = bytes[at]
    if (c === QUOTE && entry.slot >= 0) {
      const end = this.string(at + 1)
      if (end < 0) return end
      this.fill(entry.slot, this.escaped ? KIND.escaped : KIND.string, at + 1, end - 1)
      if (this.observing) this.observe(at + 1, end - 1, entry.isUser)
      return end
    }
    if (c === OPEN_BRACE && entry.node) {
      if (entry.slot >= 0) this.fill(entry.slot, KIND.other, at, at)
      return this.object(at + 1, entry.node, depth)
    }
    if (c === OPEN_BRACKET && entry.first) return this.array(at + 1, entry.first, entry.isUser, depth)
    const end = this.value(at, undefined, entry.isUser, depth)
    if (end < 0 || entry.slot < 0) return end
    if (c === LETTER_T) this.fill(entry.slot, KIND.true, at, end)
    else if (c === LETTER_F) this.fill(entry.slot, KIND.false, at, end)
    else if (c === OPEN_BRACE || c === OPEN_BRACKET) this.fill(entry.slot, KIND.other, at, at)
    else if (c !== LETTER_N) this.fill(entry.slot, KIND.number, at, end)
    return end
  }

  private fill(slot: number, kind: number, start: number, end: number): void {
    const { record } = this
    record.kinds[slot] = kind
    record.starts[slot] = start
    record.ends[slot] = end
    record.buffers[slot] = this.bytes
  }

  /** Any value; elements of `first` go to its slots. */
  private value(at: number, first: KeyEntry | undefined, isUser: boolean, depth: number): number {
    const { bytes } = this
    const c = bytes[at]
    if (c === QUOTE) {
      const end = this.string(at + 1)
      if (end > 0 && this.observing) {
        const escaped = this.escaped
        this.observe(at + 1, end - 1, isUser)
        this.escaped = escaped
      }
      return end
    }
    if (c === OPEN_BRACE) return this.unknownObject(at + 1, depth)
    if (c === OPEN_BRACKET) return this.array(at + 1, first, isUser, depth)
    if (c === LETTER_T) return this.literal(at, TRUE)
    if (c === LETTER_F) return this.literal(at, FALSE)
    if (c === LETTER_N) return this.literal(at, NULL)
    return c === undefined ? INCOMPLETE : this.number(at)
  }

  private unknownObject(at: number, depth: number): number {
    if (depth > MAX_DEPTH) return this.refuse(at, TOO_DEEP)
    const { bytes, observing } = this
    let p = at
    let c = bytes[p]
    if (c! <= 32) {
      p = this.space(p)
      c = bytes[p]
    }
    if (c === CLOSE_BRACE) return p + 1
    for (;;) {
      if (c !== QUOTE) return c === undefined ? INCOMPLETE : this.refuse(p)
      const keyStart = p + 1
      p = this.string(keyStart)
      if (p < 0) return p
      const isUser = observing && endsAsUser(bytes, keyStart, p - 1, this.escaped)
      c = bytes[p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      if (c !== COLON) return c === undefined ? INCOMPLETE : this.refuse(p)
      c = bytes[++p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      p = this.value(p, undefined, isUser, depth + 1)
      if (p < 0) return p
      c = bytes[p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      if (c === COMMA) {
        c = bytes[++p]
        if (c! <= 32) {
          p = this.space(p)
          c = bytes[p]
        }
      } else if (c === CLOSE_BRACE) return p + 1
      else return c === undefined ? INCOMPLETE : this.refuse(p)
    }
  }

  private array(at: number, first: KeyEntry | undefined, isUser: boolean, depth: number): number {
    if (depth > MAX_DEPTH) return this.refuse(at, TOO_DEEP)
    const { bytes } = this
    let entry = first
    let p = at
    let c = bytes[p]
    if (c! <= 32) {
      p = this.space(p)
      c = bytes[p]
    }
    if (c === CLOSE_BRACKET) return p + 1
    for (;;) {
      p = entry ? this.wanted(p, entry, depth + 1) : this.value(p, undefined, isUser, depth + 1)
      if (p < 0) return p
      entry = undefined
      c = bytes[p]
      if (c! <= 32) {
        p = this.space(p)
        c = bytes[p]
      }
      if (c === COMMA) {
        c = bytes[++p]
        if (c! <= 32) p = this.space(p)
      } else if (c === CLOSE_BRACKET) return p + 1
      else return c === undefined ? INCOMPLETE : this.refuse(p)
    }
  }

  /** From after the opening quote to after the closing one. */
  private string(at: number): number {
    const { bytes, view, wordsEnd } = this
    let p = at
    this.escaped = false
    for (;;) {
      // Four bytes a step while none of them is a quote, a backslash or a control character.
      while (p < wordsEnd) {
        const word = view.getInt32(p, true)
        const quote = word ^ 0x22222222
        const slash = word ^ 0x5c5c5c5c
        const found = ((quote - 0x01010101) & ~quote) | ((slash - 0x01010101) & ~slash) | ((word - 0x20202020) & ~word)
        if ((found & 0x80808080) !== 0) break
        p += 4
      }
      while (STRING_CLASS[bytes[p]!] === 0) p++
      const c = bytes[p]
      if (c === QUOTE) return p + 1
      if (c !== BACKSLASH) return c === undefined ? INCOMPLETE : this.refuse(p)
      this.escaped = true
      const kind = bytes[p + 1]
      if (kind === LETTER_U) {
        for (let i = 2; i < 6; i++) {
          const digit = bytes[p + i]
          if (digit === undefined) return INCOMPLETE
          if (!isHex(digit)) return this.refuse(p)
        }
        p += 6
      } else if (kind === undefined) return INCOMPLETE
      else if (ESCAPES.includes(kind)) p += 2
      else return this.refuse(p)
    }
  }

  private number(at: number): number {
    const { bytes } = this
    let p = at
    if (bytes[p] === MINUS) p++
    if (bytes[p] === ZERO) p++
    else if (isDigit(bytes[p])) while (isDigit(bytes[p])) p++
    else return bytes[p] === undefined ? INCOMPLETE : this.refuse(p)
    if (bytes[p] === DOT) {
      p++
      if (!isDigit(bytes[p])) return bytes[p] === undefined ? INCOMPLETE : this.refuse(p)
      while (isDigit(bytes[p])) p++
    }
    if (bytes[p] === LETTER_E || bytes[p] === LETTER_BIG_E) {
      p++
      if (bytes[p] === PLUS || bytes[p] === MINUS) p++
      if (!isDigit(bytes[p])) return bytes[p] === undefined ? INCOMPLETE : this.refuse(p)
      while (isDigit(bytes[p])) p++
    }
    return p
  }

  private literal(at: number, literal: Buffer): number {
    const { bytes } = this
    for (let i = 1; i < literal.length; i++) {
      const c = bytes[at + i]
      if (c !== literal[i]) return c === undefined ? INCOMPLETE : this.refuse(at + i)
    }
    return at + literal.length
  }

  private space(at: number): number {
    const { bytes } = this
    let p = at
    for (;;) {
      const c = bytes[p]
      if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return p
      p++
    }
  }

  private observe(start: number, end: number, isUser: boolean): void {
    if (!this.escaped) this.sink.observe(this.bytes, start, end, isUser)
    else {
      const text = unescapeString(this.bytes, start, end)
      this.sink.observe(text, 0, text.length, isUser)
    }
  }
}

/** The UTF-8 bytes of a JSON string's content; a lone surrogate becomes U+FFFD, as everywhere in UTF-8. */
export function unescapeString(bytes: Buffer, start: number, end: number): Buffer {
  return Buffer.from(JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string)
}

/** Decimal digits without leading zero, at most 15, with an optional minus: text and number are interchangeable. */
export function plainInteger(bytes: Buffer, start: number, end: number): boolean {
  if (end - start > 15) return false
  let p = start
  if (bytes[p] === MINUS) p++
  if (p === end) return false
  if (bytes[p] === ZERO) return end - start === 1
  for (; p < end; p++) if (!isDigit(bytes[p])) return false
  return true
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const MINUS = 0x2d
const PLUS = 0x2b
const DOT = 0x2e
const ZERO = 0x30
const LETTER_E = 0x65
const LETTER_BIG_E = 0x45
const LETTER_T = 0x74
const LETTER_F = 0x66
const LETTER_N = 0x6e
const LETTER_U = 0x75
const TRUE = Buffer.from('true')
const FALSE = Buffer.from('false')
const NULL = Buffer.from('null')
const ESCAPES = Buffer.from('"\\/bfnrt')
const USER_NAME = Buffer.from('userName')
/** Keys that a known object remembers for prediction; more are looked up and forgotten. */
const REMEMBERED_KEYS = 64
const REMEMBERED_KEY_BYTES = 128
const FORGOTTEN = -2
const newKey = (bytes: Buffer, slot: number, isUser: boolean): KeyEntry => ({
  bytes,
  slot,
  node: undefined,
  first: undefined,
  isUser,
  next: undefined,
  stamp: -1,
})
const FORGOTTEN_KEY = newKey(EMPTY, FORGOTTEN, false)
const FORGOTTEN_USER_KEY = newKey(EMPTY, FORGOTTEN, true)

/** 0: an ordinary byte of a string; 1: quote, backslash or control character. */
const STRING_CLASS = new Uint8Array(256)
STRING_CLASS.fill(1, 0, 32)
STRING_CLASS[QUOTE] = 1
STRING_CLASS[BACKSLASH] = 1

function isDigit(c: number | undefined): boolean {
  return c !== undefined && c >= 48 && c <= 57
}

function isHex(c: number): boolean {
  return (c >= 48 && c <= 57) || (c >= 97 && c <= 102) || (c >= 65 && c <= 70)
}

function matches(bytes: Buffer, at: number, key: Buffer): boolean {
  const { length } = key
  if (bytes[at + length] !== QUOTE) return false
  for (let i = 0; i < length; i++) if (bytes[at + i] !== key[i]) return false
  return true
}

function find(node: ObjectNode, bytes: Buffer, start: number, end: number): KeyEntry {
  const length = end - start
  const bucket = node.buckets[length === 0 ? 0 : keyBucket(bytes, start, end)]!
  for (const entry of bucket) if (entry.bytes.length === length && matches(bytes, start, entry.bytes)) return entry
  // Bounded, since the keys may be hostile.
  if (node.remembered >= REMEMBERED_KEYS || length > REMEMBERED_KEY_BYTES)
    return endsAsUser(bytes, start, end, false) ? FORGOTTEN_USER_KEY : FORGOTTEN_KEY
  const key = Buffer.from(bytes.subarray(start, end))
  const entry = newKey(key, -1, isUserKey(key.toString()))
  node.remembered++
  bucket.push(entry)
  return entry
}

function endsAsUser(bytes: Buffer, start: number, end: number, escaped: boolean): boolean {
  if (escaped) return isUserKey(unescapeString(bytes, start, end).toString())
  if (end - start < USER_NAME.length || bytes[end - 1] !== USER_NAME[7]) return false
  for (let i = 1; i < USER_NAME.length; i++) if (bytes[end - 1 - i] !== USER_NAME[7 - i]) return false
  return true
}
