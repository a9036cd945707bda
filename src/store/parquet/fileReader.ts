/**
 * Reads the files that fileWriter.ts writes, column by column of a row group, with dictionaries kept: a text that repeats
 * is looked at once, and no string is made of what nobody asks for. Reads what it is asked for only. Every fault of a
 * file is E_SEGMENT_READ, a missing one E_SEGMENT_GONE.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { zstdDecompressSync } from 'node:zlib'
import { asColdtrailError, ColdtrailError } from '../../core/errors.ts'
import { readDelta, readHybrid, readPlainIntegers, readPlainTexts } from './decodings.ts'
import { type Struct, ThriftReader, type ThriftValue } from './thriftReader.ts'

/** A text column of a row group: values, and of each row the number of its value, -1 for NULL. */
export interface CodedTexts {
  readonly values: TextValues
  readonly codes: Int32Array
}

/** Bytes of the values: `bytes[starts[i], ends[i])`. A dictionary's are distinct; others may repeat. */
export interface TextValues {
  readonly count: number
  readonly bytes: Buffer
  readonly starts: Int32Array
  readonly ends: Int32Array
}

/** Rows that lie together in a column whose values do not repeat; decompressed when `values` is asked for. */
export interface TextPage {
  /** Within the row group. */
  readonly first: number
  readonly rows: number
  /** Of each row the number of its value, -1 for NULL. */
  read(): { readonly values: TextValues; readonly codes: Int32Array }
}

export interface RowGroupPlace {
  /** Within the file. */
  readonly first: number
  readonly rows: number
}

export class ParquetFileReader {
  readonly path: string
  readonly rows: number
  readonly groups: readonly RowGroupPlace[]
  readonly columns: readonly { readonly name: string; readonly isNumber: boolean }[]
  private readonly file: number
  private readonly size: number
  private readonly chunks: readonly ReadonlyMap<string, ChunkPlace>[]

  constructor(path: string) {
    this.path = path
    try {
      this.file = openSync(path, 'r')
    } catch (error) {
      throw this.fault(error)
    }
    try {
      this.size = fstatSync(this.file).size
      const { columns, rows, groups, chunks } = readFooter(this.tail())
      this.columns = columns
      this.rows = rows
      this.groups = groups
      this.chunks = chunks
    } catch (error) {
      this.close()
      throw this.fault(error)
    }
  }

  close(): void {
    closeSync(this.file)
  }

  /** Of integers and times; NaN for NULL. Undefined: the file has no such column. */
  numbers(group: number, name: string): Float64Array | undefined {
    return this.read(group, name, (chunk, rows) => {
      const whole = new Float64Array(rows)
      let at = 0
      for (const page of pagesOf(this.bytesOf(chunk), chunk)) {
        const { body, levels, from, present } = opened(page, chunk)
        const values =
          page.encoding === DELTA_BINARY_PACKED
            ? readDelta(body, from, body.length, present).values
            : page.encoding === PLAIN
              ? readPlainIntegers(body, from, body.length, present)
              : refuse(`encoding ${page.encoding}`)
        if (at + page.rows > rows) refuse('more values than rows')
        if (!levels) whole.set(values, at)
        else for (let i = 0, k = 0; i < page.rows; i++) whole[at + i] = levels[i] === 1 ? values[k++]! : Number.NaN
        at += page.rows
      }
      if (at !== rows) refuse('fewer values than rows')
      return whole
    })
  }

  /** Of texts. Undefined: the file has no such column. */
  texts(group: number, name: string): CodedTexts | undefined {
    return this.read(group, name, (chunk, rows) => {
      const parts: TextValues[] = []
      const codes: Int32Array[] = []
      let [at, values] = [0, 0]
      for (const page of pagesOf(this.bytesOf(chunk), chunk)) {
        if (page.isDictionary) {
          parts.push(dictionaryOf(page))
          values += page.rows
          continue
        }
        at += page.rows
        if (at > rows) refuse('more values than rows')
        if (page.encoding === RLE_DICTIONARY || page.encoding === PLAIN_DICTIONARY) {
          codes.push(codesOf(page, chunk, values))
          continue
        }
        const read = textsOf(page, chunk)
        if (values > 0) for (let i = 0; i < page.rows; i++) if (read.codes[i]! >= 0) read.codes[i]! += values
        codes.push(read.codes)
        parts.push(read.values)
        values += read.values.count
      }
      if (at !== rows) refuse('fewer values than rows')
      return { codes: codes.length === 1 ? codes[0]! : joinedCodes(codes, rows), values: joined(parts) }
    })
  }

  /** Of texts that do not repeat. */
  pages(group: number, name: string): readonly TextPage[] | undefined {
    return this.read(group, name, (chunk, rows) => {
      let first = 0
      const pages = [...pagesOf(this.bytesOf(chunk), chunk)].map((page) => {
        if (page.isDictionary) refuse('a dictionary')
        const place = { first, rows: page.rows }
        first += page.rows
        return { ...place, read: () => this.guarded(() => textsOf(page, chunk)) }
      })
      if (first !== rows) refuse('other values than rows')
      return pages
    })
  }

  /** Least and greatest of a column of integers; undefined when not stated, or all is NULL. */
  bounds(group: number, name: string): { readonly least: number; readonly most: number } | undefined {
    const { least, most } = this.chunks[group]!.get(name) ?? {}
    if (least?.length !== 8 || most?.length !== 8) return undefined
    return { least: readPlainIntegers(least, 0, 8, 1)[0]!, most: readPlainIntegers(most, 0, 8, 1)[0]! }
  }

  /** Bytes of a column without their compression; 0 where every row is NULL, or the file has no such column. */
  weight(group: number, name: string): number {
    const chunk = this.chunks[group]!.get(name)
    return chunk === undefined || chunk.nulls === this.groups[group]!.rows ? 0 : chunk.weight
  }

  // --- internal ---

  private read<T>(group: number, name: string, action: (chunk: ChunkPlace, rows: number) => T): T | undefined {
    const chunk = this.chunks[group]!.get(name)
    return chunk && this.guarded(() => action(chunk, this.groups[group]!.rows))
  }

  private guarded<T>(action: () => T): T {
    try {
      return action()
    } catch (error) {
      throw this.fault(error)
    }
  }

  private bytesOf({ at, size }: ChunkPlace): Buffer {
    return this.slice(at, size)
  }

  private slice(at: number, size: number): Buffer {
    if (at + size > this.size) refuse('it ends too soon')
    const bytes = Buffer.allocUnsafeSlow(size)
    for (let read = 0; read < size; ) {
      const found = readSync(this.file, bytes, read, size - read, at + read)
      if (found === 0) refuse('it ends too soon')
      read += found
    }
    return bytes
  }

  /** The footer. */
  private tail(): Buffer {
    const { size } = this
    if (size < MAGIC.length + TAIL) refuse('it is no Parquet file')
    const end = this.slice(size - TAIL, TAIL)
    const length = end.readUInt32LE(0)
    if (!end.subarray(4).equals(MAGIC) || length > size - TAIL - MAGIC.length) refuse('it is no Parquet file')
    return this.slice(size - TAIL - length, length)
  }

  private fault(thrown: unknown): unknown {
    if (thrown instanceof ColdtrailError) return thrown
    const { code } = thrown as NodeJS.ErrnoException
    if (code === 'ENOENT') return new ColdtrailError('E_SEGMENT_GONE', { path: this.path }, { cause: thrown })
    // What the system refuses is no fault of the file.
    if (code === 'ERR_MEMORY_ALLOCATION_FAILED' || code === 'EMFILE' || code === 'ENOMEM') return thrown
    const cause = asColdtrailError(thrown).values.message ?? (thrown as Error).message
    return new ColdtrailError('E_SEGMENT_READ', { path: this.path, cause: String(cause) }, { cause: thrown })
  }
}

// --- internal ---

const MAGIC = Buffer.from('PAR1')
/** Length of the footer and the mark. */
const TAIL = 8
/** More is no file of ours, and would be taken before it is read. */
const MAX_ROWS = 2 ** 24
const MAX_BYTES = 2 ** 31 - 1
/** The longest record, and a page of others with it. */
const MAX_PAGE = 2 ** 27
const DATA_PAGE = 0
const DICTIONARY_PAGE = 2
const PLAIN = 0
const PLAIN_DICTIONARY = 2
const DELTA_BINARY_PACKED = 5
const DELTA_LENGTH_BYTE_ARRAY = 6
const RLE_DICTIONARY = 8
const UNCOMPRESSED = 0
const ZSTD = 6
const INT64 = 2

interface ChunkPlace {
  readonly at: number
  readonly size: number
  readonly weight: number
  readonly isCompressed: boolean
  readonly nullable: boolean
  readonly nulls: number | undefined
  readonly least: Buffer | undefined
  readonly most: Buffer | undefined
}

interface Page {
  readonly isDictionary: boolean
  readonly rows: number
  readonly encoding: number
  readonly size: number
  readonly isCompressed: boolean
  readonly body: Buffer
}

function refuse(reason: string): never {
  throw new RangeError(reason)
}

function count(value: ThriftValue | undefined, most = Number.MAX_SAFE_INTEGER): number {
  return typeof value === 'number' && value >= 0 && value <= most ? value : refuse('its metadata are damaged')
}

function list(value: ThriftValue | undefined): readonly ThriftValue[] {
  return Array.isArray(value) ? (value as readonly ThriftValue[]) : refuse('its metadata are damaged')
}

function struct(value: ThriftValue | undefined): Struct {
  return value instanceof Map ? (value as Struct) : refuse('its metadata are damaged')
}

const bytesIn = (value: ThriftValue | undefined): Buffer | undefined => (Buffer.isBuffer(value) ? value : undefined)

function readFooter(bytes: Buffer) {
  const footer = new ThriftReader(bytes).struct()
  const columns: { name: string; isNumber: boolean }[] = []
  const nullable = new Map<string, boolean>()
  for (const element of list(footer.get(2)).slice(1).map(struct)) {
    const name = String(bytesIn(element.get(4)))
    columns.push({ name, isNumber: element.get(1) === INT64 })
    nullable.set(name, element.get(3) === 1)
  }
  let rows = 0
  const groups: RowGroupPlace[] = []
  const chunks: ReadonlyMap<string, ChunkPlace>[] = []
  for (const group of list(footer.get(4)).map(struct)) {
    const size = count(group.get(3), MAX_ROWS)
    groups.push({ first: rows, rows: size })
    rows += size
    chunks.push(new Map(list(group.get(1)).map((chunk) => chunkOf(struct(struct(chunk).get(3)), nullable))))
  }
  if (rows !== count(footer.get(3))) refuse('its row groups have other rows than it says')
  return { columns, rows, groups, chunks }
}

function chunkOf(meta: Struct, nullable: ReadonlyMap<string, boolean>): [string, ChunkPlace] {
  const name = String(list(meta.get(3))[0])
  const codec = meta.get(4)
  if (codec !== UNCOMPRESSED && codec !== ZSTD) refuse(`compression ${String(codec)}`)
  const data = count(meta.get(9))
  const statistics = meta.get(12) instanceof Map ? struct(meta.get(12)) : undefined
  const nulls = statistics?.get(3)
  const place = {
    at: meta.has(11) ? Math.min(count(meta.get(11)), data) : data,
    size: count(meta.get(7), MAX_BYTES),
    weight: count(meta.get(6)),
    isCompressed: codec === ZSTD,
    nullable: nullable.get(name) ?? refuse('a column that its schema does not name'),
    nulls: typeof nulls === 'number' ? nulls : undefined,
    least: bytesIn(statistics?.get(6)),
    most: bytesIn(statistics?.get(5)),
  }
  return [name, place]
}

function* pagesOf(bytes: Buffer, { isCompressed }: ChunkPlace): Generator<Page> {
  for (let at = 0; at < bytes.length; ) {
    const reader = new ThriftReader(bytes, at)
    const header = reader.struct()
    const type = header.get(1)
    const isDictionary = type === DICTIONARY_PAGE
    if (!isDictionary && type !== DATA_PAGE) refuse(`a page of type ${String(type)}`)
    const own = struct(header.get(isDictionary ? 7 : 5))
    const end = reader.at + count(header.get(3))
    if (end > bytes.length) refuse('it ends too soon')
    const body = bytes.subarray(reader.at, end)
    const place = { isDictionary, isCompressed, rows: count(own.get(1), MAX_ROWS), encoding: count(own.get(2)) }
    yield { ...place, size: count(header.get(2), MAX_PAGE), body }
    at = end
  }
}

function bodyOf({ body, size, isCompressed }: Page): Buffer {
  if (!isCompressed) return body
  const raw = zstdDecompressSync(body, { chunkSize: Math.max(64, size + 1), maxOutputLength: Math.max(1, size) })
  return raw.length === size ? raw : refuse('a page of another size than it says')
}

/** A data page without its compression: which rows have a value (undefined: all), and where values begin. */
function opened(page: Page, { nullable }: ChunkPlace) {
  const body = bodyOf(page)
  if (!nullable) return { body, levels: undefined, from: 0, present: page.rows }
  if (body.length < 4) refuse('it ends too soon')
  const from = 4 + body.readUInt32LE(0)
  if (from > body.length) refuse('it ends too soon')
  const levels = readHybrid(body, 4, from, 1, page.rows)
  let present = 0
  for (let i = 0; i < levels.length; i++) present += levels[i]!
  return { body, levels: present === page.rows ? undefined : levels, from, present }
}

function dictionaryOf(page: Page): TextValues {
  const bytes = bodyOf(page)
  return { count: page.rows, bytes, ...readPlainTexts(bytes, page.rows) }
}

function textsOf(page: Page, chunk: ChunkPlace): CodedTexts {
  const { body, levels, from, present } = opened(page, chunk)
  if (page.encoding !== DELTA_LENGTH_BYTE_ARRAY) refuse(`encoding ${page.encoding}`)
  const { values: lengths, end } = readDelta(body, from, body.length, present)
  const [starts, ends] = [new Int32Array(present), new Int32Array(present)]
  let at = end
  for (let i = 0; i < present; i++) {
    const length = lengths[i]!
    if (!(length >= 0 && length <= body.length - at)) refuse('a text that lies outside')
    starts[i] = at
    at += length
    ends[i] = at
  }
  const codes = new Int32Array(page.rows)
  for (let i = 0, k = 0; i < page.rows; i++) codes[i] = !levels || levels[i] === 1 ? k++ : -1
  return { values: { count: present, bytes: body, starts, ends }, codes }
}

/** Numbers of values of the dictionary, which has so many. */
function codesOf(page: Page, chunk: ChunkPlace, values: number): Int32Array {
  const { body, levels, from, present } = opened(page, chunk)
  const ids = readHybrid(body, from + 1, body.length, body[from] ?? refuse('it ends too soon'), present)
  // Checked here, so that nobody has to look again.
  for (let i = 0; i < present; i++) if (ids[i]! >= values) refuse('a value of no dictionary')
  if (!levels) return ids
  const codes = new Int32Array(page.rows)
  for (let i = 0, k = 0; i < page.rows; i++) codes[i] = levels[i] === 1 ? ids[k++]! : -1
  return codes
}

function joinedCodes(parts: readonly Int32Array[], rows: number): Int32Array {
  const whole = new Int32Array(rows)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function joined(parts: readonly TextValues[]): TextValues {
  if (parts.length === 1) return parts[0]!
  const total = parts.reduce((sum, part) => sum + part.count, 0)
  const [starts, ends] = [new Int32Array(total), new Int32Array(total)]
  let [at, base] = [0, 0]
  for (const part of parts) {
    for (let i = 0; i < part.count; i++) {
      starts[at + i] = part.starts[i]! + base
      ends[at + i] = part.ends[i]! + base
    }
    at += part.count
    base += part.bytes.length
  }
  if (base > MAX_BYTES) refuse('more text than a row group may have')
  return { count: total, bytes: Buffer.concat(parts.map(({ bytes }) => bytes)), starts, ends }
}
