/** The bytes of one row while it grows. Loops over bytes: these are the hot path of forwarding. */

/** A text that is written often, as words of eight bytes. */
export interface Constant {
  readonly words: Float64Array
  readonly bytes: number
}

export function constantOf(text: string): Constant {
  const bytes = Buffer.from(text)
  const padded = Buffer.alloc(Math.ceil(bytes.length / 8) * 8)
  bytes.copy(padded)
  const words = Float64Array.from({ length: padded.length / 8 }, (_, i) => padded.readDoubleLE(i * 8))
  return { words, bytes: bytes.length }
}

const EMPTY = Buffer.alloc(0)
const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
/** Longer records are read where they are. */
const STAGED_BYTES = 1 << 16
/** A copy of the bytes that slices are taken from, always in one place, since a view of each record costs more. */
const STAGE = Buffer.alloc(STAGED_BYTES + 8)
const STAGE_VIEW = viewOf(STAGE)
let staged: Buffer = EMPTY

/**
 * Bytes are moved eight at a time as 64-bit floating-point numbers, which keeps every bit but those of a NaN; that has a
 * byte 0xff, or 0x7f behind one of 0xf0 and more, and so no well-formed UTF-8 holds it. All sources are well-formed.
 */
export class RowWriter {
  buffer: Buffer = Buffer.allocUnsafeSlow(1 << 16)
  at = 0
  private view = viewOf(this.buffer)
  private source: Buffer = EMPTY
  private sourceView = STAGE_VIEW
  /** Where the slices at hand are from: the copy, or a long source itself. */
  private from: Buffer = STAGE
  private fromView = STAGE_VIEW

  /** A new row. Only now may the owner of a slice have changed its bytes. */
  begin(): void {
    this.at = 0
    this.source = EMPTY
    staged = EMPTY
  }

  /** Makes sure that `bytes` more can be written, and the word that the last of them is in. */
  room(bytes: number): void {
    const { buffer, at } = this
    if (at + bytes + 8 <= buffer.length) return
    this.buffer = Buffer.allocUnsafeSlow(Math.max(buffer.length * 2, at + bytes + 8))
    buffer.copy(this.buffer, 0, 0, at)
    this.view = viewOf(this.buffer)
  }

  byte(value: number): void {
    this.room(1)
    this.buffer[this.at++] = value
  }

  constant({ words, bytes }: Constant): void {
    this.room(bytes)
    const { view, at } = this
    for (let i = 0; i < words.length; i++) view.setFloat64(at + i * 8, words[i]!, true)
    this.at = at + bytes
  }

  /** As it is. */
  copy(bytes: Buffer, start: number, end: number): void {
    this.room(end - start)
    this.words(bytes, start, end)
  }

  quoted(bytes: Buffer, start: number, end: number): void {
    this.room(end - start + 2)
    this.buffer[this.at++] = QUOTE
    this.words(bytes, start, end)
    this.buffer[this.at++] = QUOTE
  }

  /** A constant, then a slice, then a quote and a comma: a column of text. */
  member(before: Constant, bytes: Buffer, start: number, end: number): void {
    this.constant(before)
    this.room(end - start + 2)
    this.words(bytes, start, end)
    const { buffer, at } = this
    buffer[at] = QUOTE
    buffer[at + 1] = COMMA
    this.at = at + 2
  }

  /** What is written beyond the end is written over next. */
  private words(bytes: Buffer, start: number, end: number): void {
    const { at } = this
    if (end - start > LONG) {
      bytes.copy(this.buffer, at, start, end)
      this.at = at + end - start
      return
    }
    this.look(bytes)
    const { fromView, view, from } = this
    const safe = Math.min(end, from.length - 7)
    const shift = at - start
    let p = start
    for (; p < safe; p += 8) view.setFloat64(p + shift, fromView.getFloat64(p, true), true)
    for (; p < end; p++) this.buffer[p + shift] = from[p]!
    this.at = end + shift
  }

  private look(bytes: Buffer): void {
    if (bytes.length <= STAGED_BYTES) {
      if (bytes !== staged) STAGE.set(bytes)
      staged = bytes
      this.from = STAGE
      this.fromView = STAGE_VIEW
    } else {
      if (bytes !== this.source) this.sourceView = viewOf(bytes)
      this.source = bytes
      this.from = bytes
      this.fromView = this.sourceView
    }
  }

  /** Of few bytes: not worth a look at them as words. */
  short(bytes: Buffer): void {
    const { length } = bytes
    this.room(length)
    const { buffer, at } = this
    for (let i = 0; i < length; i++) buffer[at + i] = bytes[i]!
    this.at = at + length
  }

  ascii(text: string): void {
    this.room(text.length)
    const { buffer } = this
    let at = this.at
    for (let i = 0; i < text.length; i++) buffer[at++] = text.charCodeAt(i)
    this.at = at
  }

  /** A text as a JSON string. */
  text(bytes: Buffer, start: number, end: number): void {
    this.room((end - start) * 6 + 2)
    const { buffer, view } = this
    const isShort = end - start < SHORT
    if (!isShort) this.look(bytes)
    const { fromView } = this
    const safe = isShort ? start : end - 3
    let at = this.at
    buffer[at++] = QUOTE
    let p = start
    while (p < end) {
      while (p < safe) {
        const word = fromView.getInt32(p, true)
        if (isSpecial(word)) break
        view.setInt32(at, word, true)
        p += 4
        at += 4
      }
      while (p < end && PLAIN[bytes[p]!] === 1) buffer[at++] = bytes[p++]!
      if (p < end) at = escaped(buffer, at, bytes[p++]!)
    }
    buffer[at++] = QUOTE
    this.at = at
  }

  /**
   * The well-formed JSON object or array at `bytes[start]` without the space between its tokens; returns its end.
   * `asText`: as a JSON string that holds it. Its own length is then in `length`, and `lone` says that a string of it
   * has half of a surrogate pair.
   */
  container(bytes: Buffer, start: number, size: number, asText: boolean): number {
    // What is escaped is at most twice as long: a JSON text has no raw control character but white space, which goes.
    this.room(size * 2 + 2)
    return asText ? this.containerText(bytes, start) : this.containerValue(bytes, start)
  }
  length = 0
  lone = false

  private containerText(source: Buffer, start: number): number {
    this.look(source)
    const { buffer, view, from: bytes, fromView } = this
    const safe = source.length - 3
    let at = this.at
    let p = start
    let depth = 0
    let dropped = 0
    buffer[at++] = QUOTE
    for (;;) {
      const c = bytes[p++]!
      if (c === QUOTE) {
        buffer[at++] = BACKSLASH
        buffer[at++] = QUOTE
        for (;;) {
          while (p < safe) {
            const word = fromView.getInt32(p, true)
            if (isSpecial(word)) break
            view.setInt32(at, word, true)
            p += 4
            at += 4
          }
          while (PLAIN[bytes[p]!] === 1) buffer[at++] = bytes[p++]!
          const s = bytes[p++]!
          buffer[at++] = BACKSLASH
          buffer[at++] = s
          if (s === QUOTE) break
          if (s !== BACKSLASH) throw new Error('not the JSON that was scanned')
          const escaped = bytes[p++]!
          if (escaped === QUOTE || escaped === BACKSLASH) buffer[at++] = BACKSLASH
          buffer[at++] = escaped
        }
      } else if (c <= SPACE) dropped++
      else {
        buffer[at++] = c
        if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++
        else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) {
          if (--depth === 0) break
        } else if (c === undefined) throw new Error('not the JSON that was scanned')
      }
    }
    buffer[at++] = QUOTE
    this.at = at
    this.length = p - start - dropped
    return p
  }

  private containerValue(bytes: Buffer, start: number): number {
    const { buffer } = this
    let at = this.at
    let p = start
    let depth = 0
    this.lone = false
    for (;;) {
      const c = bytes[p++]!
      if (c === QUOTE) {
        const from = p
        let escaped = false
        buffer[at++] = QUOTE
        for (;;) {
          const s = bytes[p++]!
          buffer[at++] = s
          if (PLAIN[s] === 1) continue
          if (s === QUOTE) break
          if (s !== BACKSLASH) throw new Error('not the JSON that was scanned')
          escaped = true
          buffer[at++] = bytes[p++]!
        }
        if (escaped && hasLoneSurrogate(bytes, from, p - 1)) this.lone = true
      } else if (c > SPACE) {
        buffer[at++] = c
        if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++
        else if ((c === CLOSE_BRACE || c === CLOSE_BRACKET) && --depth === 0) break
      } else if (c === undefined) throw new Error('not the JSON that was scanned')
    }
    this.length = at - this.at
    this.at = at
    return p
  }
}

/** Whether the content of a JSON string escapes half of a surrogate pair. */
export function hasLoneSurrogate(bytes: Uint8Array, start: number, end: number): boolean {
  let high = false
  for (let p = start; p < end; p++) {
    if (bytes[p] !== BACKSLASH) {
      if (high) return true
      continue
    }
    p++
    const isUnicode = bytes[p] === LETTER_U && (bytes[p + 1] === 0x64 || bytes[p + 1] === 0x44)
    const third = isUnicode ? hex(bytes[p + 2]!) : 0
    if (third >= 12) {
      if (!high) return true
      high = false
    } else {
      if (high) return true
      high = third >= 8
    }
    if (bytes[p] === LETTER_U) p += 4
  }
  return high
}

// --- internal ---

/** A longer slice is cheaper to copy by one call. */
const LONG = 300
/** A shorter text of its own is cheaper by bytes. */
const SHORT = 64
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const SPACE = 0x20
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const LETTER_U = 0x75

/** 1: stands for itself in a JSON string. */
const PLAIN = new Uint8Array(256).fill(1)
PLAIN.fill(0, 0, 32)
PLAIN[QUOTE] = 0
PLAIN[BACKSLASH] = 0

/** Whether one of four bytes is a quote, a backslash or a control character. */
function isSpecial(word: number): boolean {
  const quote = word ^ 0x22222222
  const slash = word ^ 0x5c5c5c5c
  const found = ((quote - 0x01010101) & ~quote) | ((slash - 0x01010101) & ~slash) | ((word - 0x20202020) & ~word)
  return (found & 0x80808080) !== 0
}

/** What follows the backslash; 0: four digits. */
const SHORT_ESCAPES = new Uint8Array(256)
for (const [i, character] of [...'\b\f\n\r\t"\\'].entries())
  SHORT_ESCAPES[character.charCodeAt(0)] = 'bfnrt"\\'.charCodeAt(i)

function escaped(buffer: Buffer, start: number, c: number): number {
  let at = start
  buffer[at++] = BACKSLASH
  const short = SHORT_ESCAPES[c]!
  if (short !== 0) {
    buffer[at++] = short
    return at
  }
  buffer[at++] = LETTER_U
  for (const shift of [12, 8, 4, 0]) buffer[at++] = '0123456789abcdef'.charCodeAt((c >> shift) & 15)
  return at
}

function hex(c: number): number {
  return c <= 0x39 ? c - 0x30 : (c | 0x20) - 0x57
}
