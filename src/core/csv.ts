/**
 * CSV of the dump files: RFC 4180, comma, LF, UTF-8, a header line, as many fields in every record. NULL is an empty
 * unquoted field, the empty text `""`; quoted is what needs it. The writer's bytes are those of PostgreSQL's
 * `COPY … TO … (FORMAT csv, HEADER)`. The reader is strict: everything else is E_CSV with line and column. It looks at
 * bytes, and makes one string a field.
 */
import { isUtf8 } from 'node:buffer'
import { ColdtrailError } from './errors.ts'

export type CsvRecord = (string | null)[]

export interface CsvOptions {
  /** What is read, for errors. */
  readonly name: string
  /** The header must be exactly these. Without them any header is taken, and told in `header`. */
  readonly columns?: readonly string[]
  /** What programs for people write, too: a byte order mark, CRLF, no newline at the end. */
  readonly loose?: boolean
  /** Beside the header. */
  readonly maxRecords?: number
  readonly maxFieldBytes?: number
  readonly maxRecordBytes?: number
}

export const CSV_MAX_COLUMNS = 1_000
export const CSV_MAX_FIELD_BYTES = 16 * 1024 * 1024
export const CSV_MAX_RECORD_BYTES = 32 * 1024 * 1024

/** Tells every record of a whole file, in order, with the line that it begins on; returns how many. E_CSV. */
export function parseCsv(
  bytes: Buffer,
  columns: readonly string[],
  onRecord: (record: CsvRecord, line: number) => void,
  options: Partial<CsvOptions> = {},
): number {
  const reader = createCsvReader({ name: 'CSV', ...options, columns })
  reader.feed(bytes, true)
  for (let line = reader.line, record = reader.read(); record; line = reader.line, record = reader.read())
    onRecord(record, line)
  return reader.records
}

/** The records of a whole file. E_CSV. */
export function* csvRecords(bytes: Buffer, options: CsvOptions): Generator<CsvRecord, void, undefined> {
  const reader = createCsvReader(options)
  reader.feed(bytes, true)
  for (let record = reader.read(); record; record = reader.read()) yield record
}

/** The records of a file that comes in pieces; no more of it is held than a piece and a record. E_CSV. */
export async function* csvRecordsOf(
  pieces: AsyncIterable<Uint8Array>,
  options: CsvOptions,
): AsyncGenerator<CsvRecord, void, undefined> {
  const reader = createCsvReader(options)
  for await (const piece of pieces) {
    reader.feed(piece, false)
    for (let record = reader.read(); record; record = reader.read()) yield record
  }
  reader.feed(EMPTY, true)
  for (let record = reader.read(); record; record = reader.read()) yield record
}

export interface CsvReader {
  /** Of the file, once it was read. */
  readonly header: readonly string[] | undefined
  /** Records read, the header left out. */
  readonly records: number
  /** Where the next record begins, from 1. */
  readonly line: number
  /** More of the file. With `last` there is no more. */
  feed(bytes: Uint8Array, last: boolean): void
  /** The next whole record: undefined when more must be fed, or at the end. */
  read(): CsvRecord | undefined
}

export function createCsvReader(options: CsvOptions): CsvReader {
  const { name, columns, loose = false } = options
  const maxRecords = options.maxRecords ?? Number.MAX_SAFE_INTEGER
  const maxField = options.maxFieldBytes ?? CSV_MAX_FIELD_BYTES
  const maxRecord = options.maxRecordBytes ?? CSV_MAX_RECORD_BYTES
  let bytes: Buffer = EMPTY
  /** Where the next record begins. */
  let next = 0
  let last = false
  /** First NUL: nothing from there on is read. */
  let nul = -1
  /** Fed, and not yet joined to `bytes`. */
  let waiting: Uint8Array[] = []
  let waitingBytes = 0
  /** Bytes from `next` on without which there is no use in trying again. */
  let wanted = 0
  let line = 1
  let records = 0
  let header: readonly string[] | undefined
  let width = columns?.length ?? CSV_MAX_COLUMNS
  // The bytes from `textStart` to `textEnd` as one string of one byte a character: a slice of it costs least.
  let text = ''
  let textStart = 0
  let textEnd = 0

  const fault = (at: number, reason: string, ofLine = lineAt(at)): never => {
    const column = at - bytes.lastIndexOf(LF, at - 1)
    throw new ColdtrailError('E_CSV', { name, line: ofLine, column: at === 0 ? 1 : column, reason })
  }
  const lineAt = (at: number): number => {
    let found = line
    for (let lf = bytes.indexOf(LF, next); lf >= 0 && lf < at; lf = bytes.indexOf(LF, lf + 1)) found++
    return found
  }
  const field = (index: number): string => {
    const known = (header ?? columns)?.[index]
    return known === undefined ? `field ${index + 1}` : `field ${index + 1} (${known})`
  }

  /** `bits`: of all its bytes, or-ed. */
  const textOf = (start: number, end: number, bits: number, index: number): string => {
    if (end - start > maxField) fault(start, `${field(index)} is longer than ${maxField} bytes`)
    if (bits > 0x7f) {
      if (!isUtf8(bytes.subarray(start, end))) fault(start, `${field(index)} is no UTF-8`)
      return bytes.toString('utf8', start, end)
    }
    if (start < textStart || end > textEnd) {
      textStart = start
      textEnd = Math.min(bytes.length, Math.max(end, start + WINDOW))
      text = bytes.toString('latin1', textStart, textEnd)
    }
    return text.slice(start - textStart, end - textStart)
  }

  /** The file ends inside a record, or more of it must come. */
  const cutOff = (at: number, reason: string): undefined => {
    if (at - next > maxRecord) fault(next, `the record is longer than ${maxRecord} bytes`)
    if (nul >= 0) fault(nul, 'it holds a NUL')
    if (last) fault(at, reason)
    wanted = 2 * (bytes.length - next)
    return undefined
  }

  function record(): CsvRecord | undefined {
    const data = bytes
    const end = data.length
    const found: CsvRecord = []
    let at = next
    let lines = 1
    for (;;) {
      const start = at
      let bits = 0
      let byte = 0
      if (at < end && data[at] === QUOTE) {
        let doubled = false
        for (at++; ; at++) {
          if (at >= end) return cutOff(at, 'the file ends inside quotes')
          byte = data[at]!
          if (byte === QUOTE) {
            if (at + 1 >= end && !last) return cutOff(at, '')
            if (data[at + 1] !== QUOTE) break
            doubled = true
            at++
          } else if (byte === LF) lines++
          bits |= byte
        }
        const value = textOf(start + 1, at, bits, found.length)
        found.push(doubled ? value.replaceAll('""', '"') : value)
        at++
      } else {
        while (at < end) {
          byte = data[at]!
          if (byte === COMMA || byte === LF || byte === QUOTE || byte === CR) break
          bits |= byte
          at++
        }
        if (at >= end && !last) return cutOff(at, '')
        found.push(at === start ? null : textOf(start, at, bits, found.length))
      }
      if (at >= end) {
        if (!loose) return cutOff(at, 'the file ends inside a record: its last line has no newline')
        break
      }
      byte = data[at]!
      if (byte === COMMA) {
        at++
        if (found.length >= width) fault(at - 1, `there are more than ${width} fields`)
        continue
      }
      if (byte === CR && loose) {
        if (at + 1 >= end && !last) return cutOff(at, '')
        if (data[at + 1] === LF) byte = data[++at]!
      }
      if (byte === LF) {
        at++
        break
      }
      if (byte === CR) fault(at, 'a carriage return stands outside quotes')
      fault(
        at,
        byte === QUOTE ? `${field(found.length - 1)} has a quote in it` : 'something stands behind a closing quote',
      )
    }
    if (nul >= 0 && nul < at) fault(nul, 'it holds a NUL')
    if (at - next > maxRecord) fault(next, `the record is longer than ${maxRecord} bytes`)
    if (header && found.length !== width) fault(next, `it has ${found.length} of ${width} fields`)
    next = at
    line += lines
    wanted = 0
    return found
  }

  function join(): void {
    bytes = Buffer.concat([bytes.subarray(next), ...waiting])
    // The window is of the bytes before.
    textStart = textEnd = next = waitingBytes = 0
    waiting = []
    nul = bytes.indexOf(0)
  }

  function takeHeader(): boolean {
    if (loose && bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) next = 3
    if (bytes.length === 0 && last) fault(0, 'it is empty and has no header')
    const found = record()
    if (!found) return false
    if (columns && (found.length !== width || found.some((given, i) => given !== columns[i]))) {
      line = 1
      fault(0, `the header is not ${columns.join(',')}`, 1)
    }
    header = found.map((given) => given ?? '')
    width = header.length
    return true
  }

  return {
    get header() {
      return header
    },
    get records() {
      return records
    },
    get line() {
      return line
    },
    feed(piece, isLast) {
      last = isLast
      if (bytes.length === 0 && waiting.length === 0 && Buffer.isBuffer(piece)) {
        bytes = piece
        next = textStart = textEnd = 0
        nul = bytes.indexOf(0)
        if (last && !header) takeHeader()
        return
      }
      if (piece.length > 0) waiting.push(piece)
      waitingBytes += piece.length
      if (last && !header) {
        join()
        takeHeader()
      }
    },
    read() {
      // A record that is longer than a piece is looked at again when twice as much is there, not at every piece.
      if (waiting.length > 0 && (last || bytes.length - next + waitingBytes >= wanted)) join()
      if (!last && bytes.length - next < wanted) return undefined
      if (!header && !takeHeader()) return undefined
      if (next >= bytes.length) return undefined
      if (records >= maxRecords) fault(next, `there are more than ${maxRecords} records`)
      const found = record()
      if (found) records++
      return found
    },
  }
}

/** A record with its newline. */
export function csvLine(values: readonly (string | null)[]): string {
  // COPY does so too: such a line would end its input.
  if (values.length === 1 && values[0] === '\\.') return '"\\."\n'
  let line = ''
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (i > 0) line += ','
    if (value === null) continue
    line += value === '' || NEEDS_QUOTES.test(value) ? `"${value.replaceAll('"', '""')}"` : value
  }
  return `${line}\n`
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const COMMA = 0x2c
const QUOTE = 0x22
const LF = 0x0a
const CR = 0x0d
const WINDOW = 64 * 1024
const NEEDS_QUOTES = /[",\r\n]/
