/**
 * Cuts a decoded object into text lines (LF or CRLF) and hands each to a line format. Empty lines are no records; a line
 * that is not UTF-8, holds a NUL or is longer than MAX_LINE_BYTES is a reject.
 */
import { isUtf8 } from 'node:buffer'
import type { EventSink } from '../../core/eventSink.ts'
import type { ObjectParser, ParseOptions } from '../component.ts'

/** Of a longer line this much is reported. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024

export interface LineFormat {
  /**
   * One line without its end; `offset`: its place in the object. Sets columns between begin and commit; the reason to refuse
   * it, or `header` when it is no record. A line of several events commits all but the last, and begins the next.
   */
  line(bytes: Buffer, start: number, end: number, sink: EventSink, offset: number): string | undefined | typeof HEADER
  /** The one header of all records so far, at most MAX_HEADER bytes; null when they have several. */
  header?(): string | null
}

/** A line that describes the lines after it: no record. */
export const HEADER = Symbol('header')

export class LineObjectParser implements ObjectParser {
  private readonly format: LineFormat
  private readonly sink: EventSink
  private readonly observe: boolean
  private records = 0
  private carry: Buffer = EMPTY
  private base = 0
  private skipping = false

  constructor(format: LineFormat, sink: EventSink, { observe }: ParseOptions) {
    this.format = format
    this.sink = sink
    this.observe = observe
  }

  push(bytes: Buffer): void {
    const joined = this.carry.length > 0 ? Buffer.concat([this.carry, bytes]) : bytes
    const consumed = this.run(joined)
    this.base += consumed
    this.carry = Buffer.from(joined.subarray(consumed))
    if (this.carry.length > MAX_LINE_BYTES + UNCOUNTED_BYTES) {
      this.one(this.carry, 0, this.carry.length, true)
      this.base += this.carry.length
      this.carry = EMPTY
      this.skipping = true
    }
  }

  end(): { records: number; header: string | null } {
    if (this.carry.length > 0 && !this.skipping) this.one(this.carry, 0, this.carry.length, isPlain(this.carry))
    return { records: this.records, header: this.format.header?.() ?? null }
  }

  private run(bytes: Buffer): number {
    // Up to the last whole line: a character may be cut at the end of the buffer.
    const plain = isPlain(bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1))
    let at = 0
    for (;;) {
      const newline = bytes.indexOf(NEWLINE, at)
      if (newline < 0) return this.skipping ? bytes.length : at
      if (!this.skipping) this.one(bytes, at, newline, plain)
      this.skipping = false
      at = newline + 1
    }
  }

  private one(bytes: Buffer, lineStart: number, lineEnd: number, plain: boolean): void {
    let start = lineStart
    let end = lineEnd
    if (end > start && bytes[end - 1] === RETURN) end--
    if (this.base + start === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) start = 3
    if (end <= start) return
    if (end - start > MAX_LINE_BYTES) {
      this.reject(bytes, start, start + MAX_LINE_BYTES, `longer than ${MAX_LINE_BYTES} bytes`)
      return
    }
    if (!plain) {
      const line = bytes.subarray(start, end)
      const fault = !isUtf8(line) ? 'not UTF-8' : line.includes(0) ? 'holds a NUL byte' : undefined
      if (fault) {
        this.reject(bytes, start, end, fault)
        return
      }
    }
    const { sink } = this
    sink.begin(bytes, start, end, this.base + start)
    const verdict = this.format.line(bytes, start, end, sink, this.base + start)
    if (verdict === undefined) {
      if (this.observe) sink.observe(bytes, start, end, false)
      sink.commit()
      this.records++
      return
    }
    sink.cancel()
    if (verdict !== HEADER) this.reject(bytes, start, end, verdict)
  }

  private reject(bytes: Buffer, start: number, end: number, reason: string): void {
    this.records++
    this.sink.reject(bytes, start, end, this.base + start, reason)
  }
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const NEWLINE = 0x0a
const RETURN = 0x0d
/** A byte order mark and a carriage return may stand around a line. */
const UNCOUNTED_BYTES = 4

/** Well-formed UTF-8 without NUL: then no line needs to be looked at by itself. */
function isPlain(bytes: Buffer): boolean {
  return isUtf8(bytes) && !bytes.includes(0)
}
