/**
 * Cuts a decoded object into JSON records and runs a table over each: `{"Records": […]}` and other arrays, NDJSON,
 * concatenated and pretty-printed JSON. A record that is refused by the scanner goes through `JSON.parse`; one that is
 * no JSON object becomes a reject, and its neighbours stay.
 */
import { isUtf8 } from 'node:buffer'
import type { EventSink } from '../../core/eventSink.ts'
import { isIpText } from '../../core/ipText.ts'
import { parseEpoch, parseEpochSeconds, parseIsoTime } from '../../core/isoTime.ts'
import type { ObjectParser, ParseOptions } from '../component.ts'
import { INCOMPLETE, JsonScanner, plainInteger, REFUSED, TOO_DEEP, unescapeString } from './jsonScanner.ts'
import { type CompiledTable, KIND, NO_RECORD, type Transform } from './jsonTable.ts'
import { RecordEnd } from './recordEnd.ts'

/** A longer record is a reject, whatever it holds, of which this much is reported. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024

export class JsonObjectParser implements ObjectParser {
  private readonly table: CompiledTable
  private readonly sink: EventSink
  private readonly scanner: JsonScanner
  private readonly options: Pick<ParseOptions, 'formatters'>
  /** values: a sequence of top-level values; array: inside an array of records; tail: after the records of a wrapper. */
  private mode: 'values' | 'array' | 'tail' = 'values'
  private wrapped = false
  private records = 0
  /** What is left of earlier buffers: an unfinished record, in pieces. */
  private carry: Buffer[] = []
  private carried = 0
  /** Place of the first carried byte in the decoded object. */
  private base = 0
  /** Do not look again at an unfinished record before this many bytes are there. */
  private enough = 0
  /** Finds the end of a record that was rejected for its length; -1 when it lies beyond the buffer. */
  private skipping: ((bytes: Buffer, at: number) => number) | undefined
  /** Bytes that were read as part of a damaged record and then again. */
  private readAgain = 0
  /** The object ended inside a record, which is its reject already. */
  private cut = false

  /** Records that took the slow way, for the metrics. */
  slowRecords = 0

  constructor(table: CompiledTable, sink: EventSink, options: Pick<ParseOptions, 'observe' | 'formatters'>) {
    this.options = options
    this.table = table
    this.sink = sink
    this.scanner = new JsonScanner(table, options.observe ? sink.observables : undefined)
  }

  push(bytes: Buffer): void {
    if (this.carried + bytes.length < this.enough) {
      this.keep(bytes)
      return
    }
    const joined = this.carried > 0 ? Buffer.concat([...this.carry, bytes]) : bytes
    const consumed = this.run(joined, false)
    this.carry = []
    this.carried = 0
    this.base += consumed
    if (consumed < joined.length) this.keep(joined.subarray(consumed))
    this.enough = this.carried * 2
  }

  end(): { records: number } {
    this.base += this.run(Buffer.concat(this.carry), true)
    if (this.mode !== 'values' && !this.cut) this.reject(EMPTY, 0, 0, 'the document ends before it is closed')
    return { records: this.records }
  }

  /** The caller may use its buffer again, so the bytes are copied. */
  private keep(bytes: Buffer): void {
    this.carry.push(Buffer.from(bytes))
    this.carried += bytes.length
  }

  /** Handles what is whole in `bytes`; how much that was. With `last` it is all. */
  private run(bytes: Buffer, last: boolean): number {
    const valid = isUtf8(bytes)
    this.scanner.look(bytes)
    const length = bytes.length
    let at = 0
    if (this.base === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) at = 3
    if (this.skipping) {
      at = this.skipping(bytes, at)
      if (at < 0) return length
      this.skipping = undefined
    }
    for (;;) {
      at = skipSpace(bytes, at)
      if (at >= length) return length
      const c = bytes[at]!
      let next: number
      if (this.mode === 'tail') next = this.tail(bytes, at, last)
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
        if (next !== INCOMPLETE ? next < 0 : last) next = this.record(bytes, at, valid, last)
      } else next = this.record(bytes, at, valid, last)
      if (next === INCOMPLETE) {
        if (!last && length - at <= MAX_RECORD_BYTES) return at
        next = last ? this.cutOff(bytes, at) : this.tooLong(bytes, at)
        if (next < 0) return length
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
      p = this.quiet(p)
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
      p = this.quiet(p)
      if (p < 0) return p
      p = skipSpace(bytes, p)
      if (bytes[p] === COMMA) p = skipSpace(bytes, p + 1)
      else return bytes[p] === undefined ? INCOMPLETE : REFUSED
    }
  }

  /** After the array of a wrapper: more keys, or its end. */
  private tail(bytes: Buffer, at: number, last: boolean): number {
    const c = bytes[at]!
    if (c === CLOSE_BRACE) {
      this.mode = 'values'
      return at + 1
    }
    if (c === COMMA || c === COLON) return at + 1
    const next = this.quiet(at)
    if (next >= 0 || next === INCOMPLETE) return next
    const end = restOfLine(bytes, at + 1, last)
    if (end === INCOMPLETE) return end
    this.mode = 'values'
    this.rejectTrimmed(bytes, at, end, 'text after the records is not JSON')
    return end
  }

  /** One value that should be a record. */
  private record(bytes: Buffer, at: number, valid: boolean, last: boolean): number {
    if (bytes[at] !== OPEN_BRACE) return this.noObject(bytes, at, last)
    const end = this.scanner.scan(at)
    if (end === INCOMPLETE) return end
    if (end < 0) return this.slowRecord(bytes, at, last)
    if (!valid && !isUtf8(bytes.subarray(at, end))) this.reject(bytes, at, end, 'not UTF-8')
    else if (end - at > MAX_RECORD_BYTES) this.reject(bytes, at, end, '')
    else this.emit(bytes, at, end)
    return end
  }

  private noObject(bytes: Buffer, at: number, last: boolean): number {
    const end = this.quiet(at)
    // A number may go on in the next buffer.
    if (end === INCOMPLETE || (end === bytes.length && !last)) return INCOMPLETE
    if (end < 0) return this.malformed(bytes, at, end, last)
    const to = this.mode === 'values' ? restOfLine(bytes, end, last) : end
    if (to === INCOMPLETE) return to
    this.rejectTrimmed(bytes, at, to, to === end ? 'not a JSON object' : 'not JSON')
    return to
  }

  private slowRecord(bytes: Buffer, at: number, last: boolean): number {
    // Covers every string, those of repeated keys too, and finds the end.
    const end = this.scanner.skip(at)
    if (end === INCOMPLETE) return end
    if (end < 0) return this.malformed(bytes, at, end, last)
    this.slowRecords++
    const slice = bytes.subarray(at, end)
    if (!isUtf8(slice)) this.reject(bytes, at, end, 'not UTF-8')
    else if (slice.length > MAX_RECORD_BYTES) this.reject(bytes, at, end, '')
    else {
      const value = parseKeepingNumbers(slice.toString())
      if (value === undefined) this.reject(bytes, at, end, 'not JSON')
      else {
        fillSlots(this.table, value)
        this.emit(bytes, at, end)
      }
    }
    return end
  }

  private emit(bytes: Buffer, at: number, end: number): void {
    const { sink, table } = this
    this.records++
    sink.begin(bytes, at, end, this.base + at)
    table.record.isAt(bytes, at, end)
    const refused = putColumns(table, sink, bytes, this.options)
    if (refused === undefined) sink.commit()
    else if (refused === NO_RECORD) {
      sink.cancel()
      this.records--
    } else {
      sink.cancel()
      this.sink.reject(bytes, at, end, this.base + at, refused)
    }
  }

  /** Text that is no JSON value, or one nested too deeply: a reject up to where a neighbour may begin. */
  private malformed(bytes: Buffer, at: number, fault: number, last: boolean): number {
    let end: number
    if (isOpening(bytes[at]!)) {
      end = this.recordEnd(bytes, at, this.scanner.refusedAt)
      if (end < 0 && last) end = bytes.length
    } else end = this.mode === 'values' ? at + 1 : nextInArray(bytes, at, last)
    if (end >= 0 && this.mode === 'values') end = restOfLine(bytes, end, last)
    if (end === INCOMPLETE) return end
    this.rejectTrimmed(bytes, at, end, fault === TOO_DEEP ? 'nested too deeply' : 'not JSON')
    return end
  }

  /** The object ends inside a record, unless the record's damage ends before. */
  private cutOff(bytes: Buffer, at: number): number {
    const end = isOpening(bytes[at]!) ? this.recordEnd(bytes, at, bytes.length) : -1
    this.cut = end < 0
    const to = end < 0 ? bytes.length : end
    this.rejectTrimmed(bytes, at, to, 'the record ends before it is complete')
    return to
  }

  /**
   * Where the damage ends that was noticed at `noticed` only. A neighbour that begins before is read again; hostile text
   * could have the same bytes read again for each of its lines, so there is a limit to that, in proportion.
   */
  private recordEnd(bytes: Buffer, at: number, noticed: number): number {
    const mayReadAgain = this.readAgain < FREE_BYTES + 4 * (this.base + at)
    const end = new RecordEnd(mayReadAgain ? 0 : noticed - at).find(bytes, at)
    if (end >= 0 && end < noticed) this.readAgain += noticed - end
    return end
  }

  /** A record longer than allowed is passed over; its end, or -1 when that lies beyond the buffer. */
  private tooLong(bytes: Buffer, at: number): number {
    this.reject(bytes, at, bytes.length, '')
    const recordEnd = new RecordEnd()
    if (isOpening(bytes[at]!)) this.skipping = (more, from) => recordEnd.find(more, from)
    else if (this.mode === 'array') this.skipping = (more, from) => nextInArray(more, from, false)
    else this.skipping = (more, from) => restOfLine(more, from, false)
    const end = this.skipping(bytes, at)
    if (end >= 0) this.skipping = undefined
    return end
  }

  private rejectTrimmed(bytes: Buffer, start: number, end: number, reason: string): void {
    let to = end
    while (to > start && isSpace(bytes[to - 1])) to--
    this.reject(bytes, start, to, reason)
  }

  private reject(bytes: Buffer, start: number, end: number, reason: string): void {
    this.records++
    if (end - start <= MAX_RECORD_BYTES) this.sink.reject(bytes, start, end, this.base + start, reason)
    else {
      const bound = `longer than ${MAX_RECORD_BYTES} bytes`
      this.sink.reject(bytes, start, start + MAX_RECORD_BYTES, this.base + start, bound)
    }
  }

  /** A value around the records, which no event holds. */
  private quiet(at: number): number {
    return this.scanner.skip(at)
  }
}

/** Fills a table's slots from an object that JSON.parse, or anybody else, made. The oracle of the scanner. */
export function fillSlots({ record, paths }: CompiledTable, value: Readonly<Record<string, unknown>>): void {
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
    const kind = kindOf(found)
    record.put(slot, kind, kind === KIND.other ? EMPTY : Buffer.from(String(found)))
  })
}

/**
 * Gives the columns of the record in the slots to the sink, between `begin` and `commit`; `bytes` are those that the slots
 * were scanned from. The reason to refuse the record, or undefined.
 */
export function putColumns(
  { record, program, paths, declaration }: CompiledTable,
  sink: EventSink,
  bytes: Buffer,
  options?: Pick<ParseOptions, 'formatters'>,
) {
  const { kinds, buffers, starts, ends, ids } = record
  for (let slot = 0; slot < paths.length; slot++) {
    if (kinds[slot] === KIND.escaped) record.put(slot, KIND.string, unescapeString(bytes, starts[slot]!, ends[slot]!))
  }
  for (let i = 0; i < program.length; i++) {
    const { column, slots, as } = program[i]!
    for (let j = 0; j < slots.length; j++) {
      const slot = slots[j]!
      const kind = kinds[slot]!
      if (kind === KIND.absent || kind === KIND.other) continue
      const id = kind === KIND.string ? ids[slot]! : 0
      if (id !== 0 && sink.known(column, id)) break
      if (put(sink, column, as, buffers[slot]!, starts[slot]!, ends[slot]!, id)) break
    }
  }
  return declaration.finish(record, sink, options)
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const FREE_BYTES = 1 << 20
const QUOTE = 0x22
const COLON = 0x3a
const COMMA = 0x2c
const NEWLINE = 0x0a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

function isSpace(c: number | undefined): boolean {
  return c === 32 || c === 10 || c === 13 || c === 9
}

function isOpening(c: number): boolean {
  return c === OPEN_BRACE || c === OPEN_BRACKET || c === QUOTE
}

function skipSpace(bytes: Buffer, at: number): number {
  let p = at
  while (isSpace(bytes[p])) p++
  return p
}

/** `at` when the line ends there or another object follows on it; else where the line ends. */
function restOfLine(bytes: Buffer, at: number, last: boolean): number {
  let p = at
  while (isSpace(bytes[p]) && bytes[p] !== NEWLINE) p++
  if (bytes[p] === NEWLINE || bytes[p] === OPEN_BRACE) return at
  const newline = bytes.indexOf(NEWLINE, p)
  if (newline >= 0) return newline
  return last ? bytes.length : INCOMPLETE
}

/** After text that is no value inside an array: the next comma, bracket or brace. */
function nextInArray(bytes: Buffer, at: number, last: boolean): number {
  for (let p = at + 1; p < bytes.length; p++) {
    const c = bytes[p]
    if (c === COMMA || c === CLOSE_BRACKET || c === OPEN_BRACE) return p
  }
  return last ? bytes.length : INCOMPLETE
}

/** A number as it is written: JSON.parse alone would round it. */
class NumberText {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  toString(): string {
    return this.text
  }
}

function kindOf(value: unknown): number {
  if (typeof value === 'string') return KIND.string
  if (typeof value === 'boolean') return value ? KIND.true : KIND.false
  return value instanceof NumberText || typeof value === 'number' ? KIND.number : KIND.other
}

type Reviver = (key: string, value: unknown, context: { readonly source: string }) => unknown
const parseJson = JSON.parse as (text: string, reviver: Reviver) => unknown

/** An object as JSON.parse makes it, but for its numbers; undefined when the text is no JSON. */
function parseKeepingNumbers(text: string): Record<string, unknown> | undefined {
  try {
    const value = parseJson(text, (_, value, { source }) =>
      typeof value === 'number' ? new NumberText(source) : value,
    )
    return value as Record<string, unknown>
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Gives a slot's text to its column; false when it does not fit, so that the next slot is tried. */
function put(
  sink: EventSink,
  column: number,
  as: Transform,
  bytes: Buffer,
  start: number,
  end: number,
  id: number,
): boolean {
  if (start === end) return false
  switch (as) {
    case 'text':
      sink.slice(column, bytes, start, end, id)
      return true
    case 'ip':
      if (!isIpText(bytes, start, end)) return false
      sink.slice(column, bytes, start, end, id)
      return true
    case 'time': {
      let time = parseIsoTime(bytes, start, end)
      if (Number.isNaN(time)) time = parseEpochSeconds(bytes, start, end)
      if (Number.isNaN(time) && end - start <= 29) time = parseEpoch(bytes.toString('latin1', start, end))
      if (Number.isNaN(time)) return false
      sink.time(time)
      return true
    }
    default: {
      if (!plainInteger(bytes, start, end)) return false
      const value = Number(bytes.toString('latin1', start, end))
      if (as === 'port' && (value < 0 || value > 65_535)) return false
      sink.int(column, value)
      return true
    }
  }
}
