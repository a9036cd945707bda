/**
 * Cuts a decoded object into CSV records (RFC 4180: comma, LF or CRLF, quotes where a field needs them, which may then hold
 * line ends) and hands the fields of each to a format; the first record is the header. A record that is not as it should be
 * is a reject of its first line: what stands on the next one is read as a record again, so that a lone quote cannot hide
 * what follows it.
 */
import { isUtf8 } from 'node:buffer'
import type { EventSink } from '../../core/eventSink.ts'
import type { ObjectParser } from '../component.ts'
import { MAX_LINE_BYTES } from './lineObjectParser.ts'

/** A record may be so long; of a longer one its first line is a reject. */
export const MAX_CSV_RECORD_BYTES = 1024 * 1024

export interface CsvFormat {
  /**
   * Takes the names of the fields. Whether the file's lines are plain: split at each comma, quotes being text like any
   * other. undefined: this is no header.
   */
  header(names: readonly string[]): { readonly plain: boolean } | undefined
  /** The events of a record, of which only the first may be refused; the reason to refuse it is what it returns. */
  record(fields: readonly string[]): Iterable<(sink: EventSink) => string | undefined>
}

export class CsvObjectParser implements ObjectParser {
  private readonly format: CsvFormat
  private readonly sink: EventSink
  private readonly observe: boolean
  private records = 0
  private carry: Buffer = EMPTY
  private base = 0
  private width = 0
  private plain = false
  private names: string | undefined
  /** Inside a line that was rejected for its length. */
  private skipping = false
  /** Place of the first quote from the record at hand on. */
  private nextQuote = -1
  /** Bytes that were read as part of a refused record and then again. */
  private readAgain = 0

  constructor(format: CsvFormat, sink: EventSink, { observe }: { readonly observe: boolean }) {
    this.format = format
    this.sink = sink
    this.observe = observe
  }

  push(bytes: Buffer): void {
    const joined = this.carry.length > 0 ? Buffer.concat([this.carry, bytes]) : bytes
    const consumed = this.run(joined, false)
    this.base += consumed
    this.carry = Buffer.from(joined.subarray(consumed))
  }

  end(): { records: number } {
    this.run(this.carry, true)
    return { records: this.records }
  }

  // --- internal ---

  /** Handles what is whole; how much that was. */
  private run(bytes: Buffer, last: boolean): number {
    this.nextQuote = -1
    let at = this.base === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0
    while (at < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, at)
      if (newline < 0 && !last) {
        if (this.skipping) return bytes.length
        if (bytes.length - at <= MAX_LINE_BYTES) return at
        this.reject(bytes, at, at + MAX_LINE_BYTES, `longer than ${MAX_LINE_BYTES} bytes`)
        this.skipping = true
        return bytes.length
      }
      const lineEnd = newline < 0 ? bytes.length : newline
      if (this.skipping) this.skipping = false
      else {
        const end = this.recordEnd(bytes, at, lineEnd, last)
        if (end === INCOMPLETE) return at
        at = this.one(bytes, at, end < 0 ? lineEnd : end, lineEnd, end < 0)
        continue
      }
      at = lineEnd + 1
    }
    return bytes.length
  }

  private recordEnd(bytes: Buffer, at: number, lineEnd: number, last: boolean): number {
    if (this.plain) return lineEnd
    if (this.nextQuote < at) {
      const found = bytes.indexOf(QUOTE, at)
      this.nextQuote = found < 0 ? bytes.length : found
    }
    return this.nextQuote >= lineEnd ? lineEnd : quotedEnd(bytes, at, lineEnd, last, this.limit(at))
  }

  /** Hostile text could have the same bytes read again for each of its lines: then records are lines. */
  private limit(at: number): number {
    return this.readAgain < FREE_BYTES + 4 * (this.base + at) ? MAX_CSV_RECORD_BYTES : 0
  }

  /** The record `bytes[at, end)`; where the next one begins. */
  private one(bytes: Buffer, at: number, end: number, lineEnd: number, isOpen: boolean): number {
    const to = end > at && bytes[end - 1] === RETURN ? end - 1 : end
    if (to === at) return end + 1
    const fields = isOpen ? QUOTES : this.fields(bytes, at, to)
    if (typeof fields !== 'string') {
      const refused = this.emit(fields, bytes, at, to)
      if (refused !== undefined) this.reject(bytes, at, to, refused)
      return end + 1
    }
    // Of several lines it is the quotes that made one record.
    const reason = end > lineEnd ? QUOTES : fields
    this.readAgain += isOpen ? MAX_CSV_RECORD_BYTES : end - lineEnd
    const cut = lineEnd > at && bytes[lineEnd - 1] === RETURN ? lineEnd - 1 : lineEnd
    const first = Math.min(cut, at + MAX_LINE_BYTES)
    this.reject(bytes, at, first, reason)
    return lineEnd + 1
  }

  /** The fields of a record, or why they cannot be told apart. */
  private fields(bytes: Buffer, start: number, end: number): readonly string[] | string {
    if (end - start > MAX_LINE_BYTES) return `longer than ${MAX_LINE_BYTES} bytes`
    const record = bytes.subarray(start, end)
    if (!isUtf8(record)) return 'not UTF-8'
    if (record.includes(0)) return 'holds a NUL byte'
    const text = record.toString()
    const fields = this.plain ? text.split(',') : fieldsOf(text)
    if (fields === undefined) return QUOTES
    if (this.width > 0) {
      return fields.length === this.width ? fields : `has ${fields.length} fields, its header names ${this.width}`
    }
    const found = this.format.header(fields)
    if (found === undefined) return 'no header of this format'
    this.width = fields.length
    this.plain = found.plain
    this.names = fields.join()
    return fields
  }

  private emit(fields: readonly string[], bytes: Buffer, start: number, end: number): string | undefined {
    // Joined files bring their headers along.
    if (fields.join() === this.names) return undefined
    const { sink } = this
    for (const put of this.format.record(fields)) {
      sink.begin(bytes, start, end, this.base + start)
      const refused = put(sink)
      if (refused !== undefined) {
        sink.cancel()
        return refused
      }
      if (this.observe) sink.observe(bytes, start, end, false)
      sink.commit()
    }
    this.records++
    return undefined
  }

  private reject(bytes: Buffer, start: number, end: number, reason: string): void {
    this.records++
    this.sink.reject(bytes, start, end, this.base + start, reason)
  }
}

/** The fields of a record; undefined when a quote stands where none may be. */
export function fieldsOf(text: string): string[] | undefined {
  if (!text.includes('"')) return text.split(',')
  const fields: string[] = []
  let at = 0
  for (;;) {
    if (text[at] !== '"') {
      const comma = text.indexOf(',', at)
      fields.push(comma < 0 ? text.slice(at) : text.slice(at, comma))
      if (comma < 0) return fields
      at = comma + 1
      continue
    }
    const close = closingQuote(text, at)
    if (close < 0) return undefined
    fields.push(text.slice(at + 1, close).replaceAll('""', '"'))
    if (close + 1 === text.length) return fields
    if (text[close + 1] !== ',') return undefined
    at = close + 2
  }
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const NEWLINE = 0x0a
const RETURN = 0x0d
const QUOTE = 0x22
const COMMA = 0x2c
const QUOTES = 'its quotes are not those of CSV'
const FREE_BYTES = 16 * MAX_CSV_RECORD_BYTES
/** The record goes on beyond the buffer. */
const INCOMPLETE = -1
/** A quote is not closed within the limit. */
const OPEN = -2

function closingQuote(text: string, open: number): number {
  let at = open
  for (;;) {
    at = text.indexOf('"', at + 1)
    if (at < 0 || text[at + 1] !== '"') return at
    at++
  }
}

/**
 * Where the record ends that begins at `at`, whose first line ends at `lineEnd`: there, or at the end of a later line when
 * quotes hold line ends. OPEN when a quote is not closed within `limit` bytes.
 */
function quotedEnd(bytes: Buffer, at: number, lineEnd: number, last: boolean, limit: number): number {
  const to = Math.min(bytes.length, Math.max(lineEnd, at + limit))
  const isAll = last || to < bytes.length || bytes.length >= at + limit
  let p = at
  let isFieldStart = true
  for (; p < to; p++) {
    const c = bytes[p]!
    if (c === NEWLINE) return p
    if (c !== QUOTE || !isFieldStart) {
      isFieldStart = c === COMMA
      continue
    }
    isFieldStart = false
    do {
      const found = bytes.subarray(p + 1, to).indexOf(QUOTE)
      if (found < 0) return isAll ? OPEN : INCOMPLETE
      p += found + 2
      // Whether it closes, or is the first of two, the next byte says.
    } while (p < to && bytes[p] === QUOTE)
    if (p >= to && !isAll) return INCOMPLETE
    p--
  }
  if (p === lineEnd) return lineEnd
  if (bytes.length >= at + limit) return OPEN
  return last ? p : INCOMPLETE
}
