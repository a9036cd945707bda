/**
 * Cuts a decoded object into JSON records and runs a table over each: `{"Records": […]}` and other arrays, NDJSON,
 * concatenated and pretty-printed JSON. A record that is refused by the scanner goes through `JSON.parse`; one that is
 * no JSON object becomes a reject, and its neighbours stay.
 */
import { isUtf8 } from 'node:buffer'
import type { EventSink } from '../../core/eventSink.ts'
import { isIpText } from '../../core/ipText.ts'
import { parseEpoch, parseIsoTime } from '../../core/isoTime.ts'
import type { ObjectParser } from '../component.ts'
import { INCOMPLETE, JsonScanner, plainInteger, REFUSED, unescapeString } from './jsonScanner.ts'
import { type CompiledTable, KIND, type Transform } from './jsonTable.ts'

/** A longer record is a reject, whatever it holds. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024

export class JsonObjectParser implements ObjectParser {
  private readonly table: CompiledTable
  private readonly sink: EventSink
  private readonly scanner: JsonScanner
  /** values: a sequence of top-level values; array: inside an array of records; tail: after the records of a wrapper. */
  private mode: 'values' | 'array' | 'tail' = 'values'
  private wrapped = false
  private records = 0
  private carry: Buffer = EMPTY
  /** Place of carry[0] in the decoded object. */
  private base = 0
  /** Do not look again at an unfinished record before this many bytes are there. */
  private enough = 0
  private skipping: BraceMatcher | 'line' | undefined

  /** Records that took the slow way, for the metrics. */
  slowRecords = 0

  constructor(table: CompiledTable, sink: EventSink, options: { readonly observe: boolean }) {
    this.table = table
    this.sink = sink
    this.scanner = new JsonScanner(table, sink, options.observe)
  }

  push(bytes: Buffer): void {
    const joined = this.carry.length > 0 ? Buffer.concat([this.carry, bytes]) : bytes
    if (joined.length < this.enough) {
      this.carry = joined
      return
    }
    const consumed = this.run(joined, false)
    this.base += consumed
    this.carry = Buffer.from(joined.subarray(consumed))
    this.enough = this.carry.length * 2
  }

  end(): { records: number } {
    const consumed = this.run(this.carry, true)
    this.base += consumed
    if (this.mode !== 'values') this.reject(EMPTY, 0, 0, 'the document ends before it is closed')
    return { records: this.records }
  }

  /** Handles what is whole in `bytes`; how much that was. With `last` it is all. */
  private run(bytes: Buffer, last: boolean): number {
    const valid = isUtf8(bytes)
    const length = bytes.length
    let at = 0
    if (this.base === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) at = 3
    if (this.skipping) {
      at = this.skipOn(bytes, at)
      if (this.skipping) return length
    }
    for (;;) {
      at = skipSpace(bytes, at)
      if (at >= length) return length
      const c = bytes[at]!
      let next: number
      if (this.mode === 'tail') next = this.tail(bytes, at)
      else if (this.mode === 'array' && c === COMMA) next = at + 1
      else if (this.mode === 'array' && c === CLOSE_BRACKET) {
        this.mode = this.wrapped ? 'tail' : 'values'
        next = at + 1
      } else if (this.mode === 'values' && c === OPEN_BRACKET) {
        this.mode = 'array'
        this.wrapped = false
        next = at + 1
      } else if (this.mode === 'values' && c === OPEN_BRACE && this.table.declaration.recordsKey) {
        next = this.wrapper(bytes, at)
        if (next === REFUSED || (next === INCOMPLETE && last)) next = this.record(bytes, at, valid)
      } else next = this.record(bytes, at, valid)
      if (next === INCOMPLETE) {
        if (!last && length - at <= MAX_RECORD_BYTES) return at
        next = this.abandon(bytes, at, last)
      }
      at = next
    }
  }

  /** `{ … "Records": [` -> after the bracket; REFUSED when this object is itself the record. */
  private wrapper(bytes: Buffer, at: number): number {
    const key = this.table.declaration.recordsKey!
    let p = skipSpace(bytes, at + 1)
    for (;;) {
      if (bytes[p] !== QUOTE) return bytes[p] === undefined ? INCOMPLETE : REFUSED
      const keyStart = p + 1
      p = this.quiet(bytes, p)
      if (p < 0) return p
      const found = p - 1 - keyStart === key.length && bytes.toString('latin1', keyStart, p - 1) === key
      p = skipSpace(bytes, p)
      if (bytes[p] !== COLON) return bytes[p] === undefined ? INCOMPLETE : REFUSED
      p = skipSpace(bytes, p + 1)
      if (found && bytes[p] === OPEN_BRACKET) {
        this.mode = 'array'
        this.wrapped = true
        return p + 1
      }
      p = this.quiet(bytes, p)
      if (p < 0) return p
      p = skipSpace(bytes, p)
      if (bytes[p] === COMMA) p = skipSpace(bytes, p + 1)
      else return bytes[p] === undefined ? INCOMPLETE : REFUSED
    }
  }

  /** After the array of a wrapper: more keys, or its end. */
  private tail(bytes: Buffer, at: number): number {
    const c = bytes[at]!
    if (c === CLOSE_BRACE) {
      this.mode = 'values'
      return at + 1
    }
    if (c === COMMA || c === COLON) return at + 1
    const next = this.quiet(bytes, at)
    if (next !== REFUSED) return next
    this.mode = 'values'
    return this.rejectLine(bytes, at, 'text after the records is not JSON')
  }

  /** One value that should be a record. */
  private record(bytes: Buffer, at: number, valid: boolean): number {
    if (bytes[at] !== OPEN_BRACE) {
      const end = this.quiet(bytes, at)
      if (end === INCOMPLETE) return end
      if (end === REFUSED) return this.malformed(bytes, at, 'not JSON')
      this.reject(bytes, at, end, 'not a JSON object')
      return end
    }
    const end = this.scanner.scan(bytes, at)
    if (end === INCOMPLETE) return end
    if (end === REFUSED) return this.slowRecord(bytes, at)
    if (!valid && !isUtf8(bytes.subarray(at, end))) {
      this.reject(bytes, at, end, 'not UTF-8')
      return end
    }
    this.emit(bytes, at, end)
    return end
  }

  private slowRecord(bytes: Buffer, at: number): number {
    const end = new BraceMatcher().find(bytes, at)
    if (end < 0) return INCOMPLETE
    this.slowRecords++
    const slice = bytes.subarray(at, end)
    if (!isUtf8(slice)) return this.malformed(bytes, at, 'not UTF-8', end)
    let value: unknown
    try {
      value = JSON.parse(slice.toString())
    } catch (error) {
      return this.malformed(bytes, at, `not JSON: ${(error as Error).message}`, end)
    }
    // Covers every string, those of repeated keys too, and finds what is nested too deeply.
    if (this.scanner.skip(bytes, at) < 0) {
      this.reject(bytes, at, end, 'nested too deeply')
      return end
    }
    this.fillFrom(value as Record<string, unknown>)
    this.emit(bytes, at, end)
    return end
  }

  /** The oracle: the table over an object made by JSON.parse. */
  private fillFrom(value: Record<string, unknown>): void {
    const { record, paths } = this.table
    record.clear()
    paths.forEach((path, slot) => {
      let found: unknown = value
      for (const key of path) {
        if (key === 0) found = Array.isArray(found) ? found[0] : undefined
        else if (typeof found === 'object' && found !== null && !Array.isArray(found) && Object.hasOwn(found, key)) {
          found = (found as Record<string, unknown>)[key]
        } else found = undefined
      }
      if (found === undefined || found === null) return
      if (typeof found === 'object') {
        record.kinds[slot] = KIND.other
        return
      }
      if (
        typeof found === 'number' &&
        !(Number.isSafeInteger(found) && Math.abs(found) < 1e15 && !Object.is(found, -0))
      )
        return
      const kind =
        typeof found === 'string'
          ? KIND.string
          : typeof found === 'number'
            ? KIND.number
            : found
              ? KIND.true
              : KIND.false
      const text = Buffer.from(String(found))
      record.kinds[slot] = kind
      record.buffers[slot] = text
      record.starts[slot] = 0
      record.ends[slot] = text.length
    })
  }

  private emit(bytes: Buffer, at: number, end: number): void {
    const { sink, table } = this
    const { record, program } = table
    this.records++
    const { kinds, buffers, starts, ends } = record
    for (let slot = 0; slot < kinds.length; slot++) {
      if (kinds[slot] !== KIND.escaped) continue
      const text = unescapeString(bytes, starts[slot]!, ends[slot]!)
      kinds[slot] = KIND.string
      buffers[slot] = text
      starts[slot] = 0
      ends[slot] = text.length
    }
    sink.begin(bytes, at, end, this.base + at)
    for (let i = 0; i < program.length; i++) {
      const { column, slots, as } = program[i]!
      for (let j = 0; j < slots.length; j++) {
        const slot = slots[j]!
        const kind = kinds[slot]!
        if (
          kind !== KIND.absent &&
          kind !== KIND.other &&
          put(sink, column, as, buffers[slot]!, starts[slot]!, ends[slot]!)
        )
          break
      }
    }
    const refused = table.declaration.finish(record, sink)
    if (refused === undefined) sink.commit()
    else {
      sink.cancel()
      this.sink.reject(bytes, at, end, this.base + at, refused)
    }
  }

  /** In a sequence of lines the damage ends with the line; in an array with the matching brace, if there is one. */
  private malformed(bytes: Buffer, at: number, reason: string, end?: number): number {
    if (this.mode === 'values') return this.rejectLine(bytes, at, reason)
    const to = end ?? nextRecord(bytes, at)
    this.reject(bytes, at, to, reason)
    return to
  }

  private rejectLine(bytes: Buffer, at: number, reason: string): number {
    const newline = bytes.indexOf(NEWLINE, at)
    if (newline < 0) return INCOMPLETE
    this.reject(bytes, at, newline, reason)
    return newline + 1
  }

  /** A record without end: at the end of the object, or longer than allowed. */
  private abandon(bytes: Buffer, at: number, last: boolean): number {
    const newline = this.mode === 'values' ? bytes.indexOf(NEWLINE, at) : -1
    if (newline >= 0) {
      this.reject(bytes, at, newline, 'not JSON')
      return newline + 1
    }
    if (last) {
      this.reject(bytes, at, bytes.length, 'the record ends before it is complete')
      return bytes.length
    }
    this.reject(bytes, at, bytes.length, `longer than ${MAX_RECORD_BYTES} bytes`)
    this.skipping = this.mode === 'values' ? 'line' : new BraceMatcher()
    return this.skipOn(bytes, at)
  }

  /** Passes over the rest of a record that was rejected for its length. */
  private skipOn(bytes: Buffer, at: number): number {
    const { skipping } = this
    const end = skipping === 'line' ? bytes.indexOf(NEWLINE, at) : (skipping as BraceMatcher).find(bytes, at)
    if (end < 0) return bytes.length
    this.skipping = undefined
    return end
  }

  private reject(bytes: Buffer, start: number, end: number, reason: string): void {
    this.records++
    this.sink.reject(bytes, start, end, this.base + start, reason)
  }

  /** A value around the records, which no event holds. */
  private quiet(bytes: Buffer, at: number): number {
    return this.scanner.skip(bytes, at)
  }
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const NEWLINE = 0x0a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

function skipSpace(bytes: Buffer, at: number): number {
  let p = at
  while (bytes[p] === 32 || bytes[p] === 10 || bytes[p] === 13 || bytes[p] === 9) p++
  return p
}

/** After text that is no value inside an array: the next comma, bracket or brace. */
function nextRecord(bytes: Buffer, at: number): number {
  let p = at + 1
  while (p < bytes.length && bytes[p] !== COMMA && bytes[p] !== CLOSE_BRACKET && bytes[p] !== OPEN_BRACE) p++
  return p
}

/** Finds the brace that closes the first one opened, string-aware but otherwise lenient; goes on over buffers. */
class BraceMatcher {
  private depth = 0
  private inString = false
  private escaped = false

  /** After the closing brace, or -1. */
  find(bytes: Buffer, at: number): number {
    for (let p = at; p < bytes.length; p++) {
      const c = bytes[p]!
      if (this.escaped) this.escaped = false
      else if (this.inString) {
        if (c === BACKSLASH) this.escaped = true
        else if (c === QUOTE) this.inString = false
      } else if (c === QUOTE) this.inString = true
      else if (c === OPEN_BRACE) this.depth++
      else if (c === CLOSE_BRACE && --this.depth === 0) return p + 1
    }
    return -1
  }
}

/** Gives a slot's text to its column; false when it does not fit, so that the next slot is tried. */
function put(sink: EventSink, column: number, as: Transform, bytes: Buffer, start: number, end: number): boolean {
  if (start === end) return false
  switch (as) {
    case 'text':
      sink.slice(column, bytes, start, end)
      return true
    case 'ip':
      if (!isIpText(bytes, start, end)) return false
      sink.slice(column, bytes, start, end)
      return true
    case 'time': {
      const iso = parseIsoTime(bytes, start, end)
      const time = Number.isNaN(iso) && end - start <= 29 ? parseEpoch(bytes.toString('latin1', start, end)) : iso
      if (Number.isNaN(time)) return false
      sink.time(time)
      return true
    }
    default: {
      if (end - start > 15 || !plainInteger(bytes, start, end)) return false
      const value = Number(bytes.toString('latin1', start, end))
      if (as === 'port' && (value < 0 || value > 65_535)) return false
      sink.int(column, value)
      return true
    }
  }
}
