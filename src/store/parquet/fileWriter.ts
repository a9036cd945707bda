/**
 * A columnar Parquet writer: one page of each column per row group (several of byte columns), dictionary, delta and
 * zstd where they help, exact or absent statistics, field ids. Read back by DuckDB and hyparquet in the tests.
 * Source: parquet-format (parquet.thrift, Encodings.md).
 */
import { constants, zstdCompressSync } from 'node:zlib'
import type { DurableFile } from '../../platform/files.ts'
import { ByteWriter } from './byteWriter.ts'
import { bitWidth, DELTA_SPREAD_LIMIT, writeDelta, writeHybrid } from './encodings.ts'
import { ThriftWriter } from './thrift.ts'

export interface ParquetColumn {
  readonly name: string
  readonly fieldId: number
  /** `time`: microseconds UTC. `int`: 64 bits. `text`: UTF-8. `binary`: any bytes. */
  readonly type: 'int' | 'time' | 'text' | 'binary'
  readonly nullable: boolean
}

/** Distinct values of a dictionary column in one row group: PLAIN-encoded bytes, count, exact bounds. */
export interface RowGroupDictionary {
  readonly plain: Buffer
  readonly count: number
  readonly least: Uint8Array
  readonly most: Uint8Array
}

/** A compressed data page of a byte column, made while the row group fills. */
export interface BytePage {
  readonly rows: number
  readonly uncompressedSize: number
  readonly compressed: Buffer
}

export class ParquetFileWriter {
  private readonly file: DurableFile
  private readonly columns: readonly ParquetColumn[]
  private readonly metadata: Readonly<Record<string, string>>
  private readonly rowGroups: RowGroupMeta[] = []
  private chunks: ChunkMeta[] = []
  private lastChunk: EncodedChunk | undefined
  rows = 0

  constructor(file: DurableFile, columns: readonly ParquetColumn[], metadata: Readonly<Record<string, string>>) {
    this.file = file
    this.columns = columns
    this.metadata = metadata
    file.write(MAGIC)
  }

  /** Integers or times; NaN is null. The next column of the row group. Its bounds and nulls. */
  ints(values: Float64Array, count: number): NumberBounds {
    const { nullable } = this.next
    const found = boundsOf(values, count)
    const { least, most, nulls } = found
    if (nulls > 0 && !nullable) throw new Error('null in a required column')
    const page = pageStart()
    const size = count - nulls
    const kept = nulls === 0 ? values : new Float64Array(size)
    if (nullable) {
      if (nulls === 0) writeNoNulls(page, count)
      else writeLevels(page, levelsOfNumbers(values, count, kept), count)
    }
    const delta = size === 0 || (most - least < DELTA_SPREAD_LIMIT && least >= -ZIGZAG_LIMIT)
    if (delta) writeDelta(page, kept, size)
    else for (let i = 0; i < size; i++) page.int64(kept[i]!)
    const bounds = size > 0 ? { least: int64Bytes(least), most: int64Bytes(most) } : undefined
    this.chunk([dataPage(page.view(), count, delta ? DELTA_BINARY_PACKED : PLAIN)], count, nulls, bounds)
    return found
  }

  /** Indices into `dictionary`, -1 is null. */
  dictionary(ids: Int32Array, count: number, dictionary: RowGroupDictionary): void {
    const { nullable } = this.next
    const nulls = negatives(ids, count)
    if (nulls > 0 && !nullable) throw new Error('null in a required column')
    const page = pageStart()
    const kept = nulls === 0 ? ids : new Int32Array(count - nulls)
    if (nullable) {
      if (nulls === 0) writeNoNulls(page, count)
      else writeLevels(page, levelsOfIds(ids, count, kept), count)
    }
    const width = dictionary.count > 1 ? bitWidth(dictionary.count - 1) : 0
    page.byte(width)
    writeHybrid(page, kept, count - nulls, width)
    const pages = [dataPage(page.view(), count, RLE_DICTIONARY)]
    const head = compressPage(dictionary.plain, (compressedSize) =>
      pageHeader(DICTIONARY_PAGE, dictionary.plain.length, compressedSize, dictionary.count, PLAIN),
    )
    const bounds = dictionary.count > 0 ? bytesBounds(dictionary.least, dictionary.most) : undefined
    this.chunk(pages, count, nulls, bounds, head)
  }

  /** A column of integers or of a dictionary in which every row is null. */
  nulls(count: number): void {
    const { type } = this.next
    const isNumber = type === 'int' || type === 'time'
    const key = isNumber ? count : -count
    const made = nullChunks.get(key)
    if (made) {
      this.chunk(made.pages, count, count, undefined, made.dictionary)
      return
    }
    if (isNumber) this.ints(new Float64Array(count).fill(Number.NaN), count)
    else this.dictionary(new Int32Array(count).fill(-1), count, NO_VALUES)
    if (nullChunks.size >= 64) nullChunks.clear()
    nullChunks.set(key, this.lastChunk!)
  }

  /** Pages of `BytesPageBuilder`, which hold their levels already. Bounds are left out: absent is never wrong. */
  bytes(pages: readonly BytePage[], count: number, nulls: number): void {
    this.chunk(
      pages.map((page) => ({
        header: pageHeader(
          DATA_PAGE,
          page.uncompressedSize,
          page.compressed.length,
          page.rows,
          DELTA_LENGTH_BYTE_ARRAY,
        ),
        body: page.compressed,
        uncompressedSize: page.uncompressedSize,
        encoding: DELTA_LENGTH_BYTE_ARRAY,
        zstd: true,
      })),
      count,
      nulls,
    )
  }

  endRowGroup(rows: number): void {
    const { chunks } = this
    if (chunks.length !== this.columns.length) throw new Error(`row group has ${chunks.length} columns`)
    this.rowGroups.push({ chunks, rows })
    this.rows += rows
    this.chunks = []
  }

  /** Writes the footer; the file is complete but not yet durable. */
  finish(): void {
    const footer = encodeFooter(this.columns, this.rowGroups, this.rows, this.metadata)
    this.file.write(footer)
    const tail = Buffer.alloc(8)
    tail.writeUInt32LE(footer.length, 0)
    MAGIC.copy(tail, 4)
    this.file.write(tail)
  }

  private get next(): ParquetColumn {
    return this.columns[this.chunks.length]!
  }

  private chunk(
    pages: readonly EncodedPage[],
    values: number,
    nulls: number,
    bounds?: { least: Buffer; most: Buffer },
    dictionary?: EncodedPage,
  ): void {
    this.lastChunk = { pages, dictionary }
    const all = dictionary ? [dictionary, ...pages] : pages
    let uncompressed = 0
    let compressed = 0
    let dataOffset = 0
    let dictionaryOffset: number | undefined
    for (const page of all) {
      if (page === dictionary) dictionaryOffset = this.file.size
      else if (dataOffset === 0) dataOffset = this.file.size
      this.file.write(page.header)
      this.file.write(page.body)
      uncompressed += page.header.length + page.uncompressedSize
      compressed += page.header.length + page.body.length
    }
    const encodings = [...new Set([RLE, ...all.map((page) => page.encoding)])]
    const column = this.next
    this.chunks.push({
      column,
      encodings,
      values,
      nulls,
      uncompressed,
      compressed,
      dataOffset,
      dictionaryOffset,
      bounds,
    })
  }
}

/** Collects the values of a byte column and closes a page whenever it is full, so that a row group is never held whole. */
export class BytesPageBuilder {
  private readonly nullable: boolean
  private readonly pageBytes: number
  /** The values, after a gap into which levels and lengths are put when the page closes. */
  private readonly text: ByteWriter
  private lengths = new Int32Array(4096)
  private levels = new Uint8Array(4096)
  private rows = 0
  private present = 0
  private pages: BytePage[] = []
  nulls = 0
  /** Uncompressed bytes waiting plus compressed pages held. */
  buffered = 0

  /** Large pages compress best; small ones let a search for few rows decompress little. */
  constructor(nullable: boolean, pageBytes = PAGE_BYTES) {
    this.nullable = nullable
    this.pageBytes = pageBytes
    this.text = new ByteWriter(GAP + pageBytes + 65_536)
    this.text.length = GAP
  }

  add(bytes: Buffer, start: number, end: number): void {
    this.row(1)
    this.lengths[this.present++] = end - start
    this.text.slice(bytes, start, end)
    this.buffered += end - start
    if (this.text.length >= GAP + this.pageBytes) this.closePage()
  }

  addNull(): void {
    this.row(0)
    this.nulls++
    if (this.rows >= PAGE_ROWS) this.closePage()
  }

  /** The pages of the row group; starts the next one. */
  take(): { pages: BytePage[]; nulls: number } {
    this.closePage()
    const taken = { pages: this.pages, nulls: this.nulls }
    this.pages = []
    this.nulls = 0
    this.buffered = 0
    return taken
  }

  private row(level: number): void {
    if (this.rows === this.levels.length) {
      const levels = new Uint8Array(this.rows * 2)
      levels.set(this.levels)
      this.levels = levels
      const lengths = new Int32Array(this.rows * 2)
      lengths.set(this.lengths)
      this.lengths = lengths
    }
    this.levels[this.rows++] = level
  }

  private closePage(): void {
    if (this.rows === 0) return
    const { text } = this
    const head = new ByteWriter(this.present * 3 + 1024)
    if (this.nullable) writeLevels(head, this.levels, this.rows)
    writeDelta(head, this.lengths, this.present)
    const raw = joined(head.view(), text)
    this.buffered -= text.length - GAP
    const compressed = compress(raw)
    this.buffered += compressed.length
    this.pages.push({ rows: this.rows, uncompressedSize: raw.length, compressed })
    text.length = GAP
    // A page may have grown for one huge record; do not keep that much.
    if (text.buffer.length > 8 * PAGE_BYTES) text.buffer = Buffer.allocUnsafeSlow(GAP + this.pageBytes + 65_536)
    this.rows = 0
    this.present = 0
  }
}

// --- internal ---

const MAGIC = Buffer.from('PAR1')
/** A smaller value (a clock before 1828) has no exact zigzag form in doubles. */
const ZIGZAG_LIMIT = 2 ** 52
const PAGE_BYTES = 1 << 20
const GAP = 65_536
const PAGE_ROWS = 65_536
const DATA_PAGE = 0
const DICTIONARY_PAGE = 2
const PLAIN = 0
const RLE = 3
const DELTA_BINARY_PACKED = 5
const DELTA_LENGTH_BYTE_ARRAY = 6
const RLE_DICTIONARY = 8
const ZSTD = 6
/** Longer bounds are left out: they cost space and prune little. */
const BOUND_BYTES = 64

/** Levels and lengths, then the values: in place when they fit the gap before the values. */
function joined(head: Buffer, text: ByteWriter): Buffer {
  if (head.length > GAP) return Buffer.concat([head, text.buffer.subarray(GAP, text.length)])
  head.copy(text.buffer, GAP - head.length)
  return text.buffer.subarray(GAP - head.length, text.length)
}

interface EncodedPage {
  readonly header: Buffer
  readonly body: Buffer
  readonly uncompressedSize: number
  readonly encoding: number
}

interface EncodedChunk {
  readonly pages: readonly EncodedPage[]
  readonly dictionary: EncodedPage | undefined
}

/** By rows, negative for dictionaries: most columns of most formats are empty. */
const nullChunks = new Map<number, EncodedChunk>()
const NO_VALUES: RowGroupDictionary = {
  plain: Buffer.alloc(0),
  count: 0,
  least: Buffer.alloc(0),
  most: Buffer.alloc(0),
}

interface ChunkMeta {
  readonly column: ParquetColumn
  readonly encodings: readonly number[]
  readonly values: number
  readonly nulls: number
  readonly uncompressed: number
  readonly compressed: number
  readonly dataOffset: number
  readonly dictionaryOffset: number | undefined
  readonly bounds: { least: Buffer; most: Buffer } | undefined
}

interface RowGroupMeta {
  readonly chunks: readonly ChunkMeta[]
  readonly rows: number
}

/**
 * Level 1 with a table that stays in the processor's cache: a tenth faster on logs, and no larger. With a window as large as
 * a page, zstd looks back in one stretch of memory, which takes a fifth less again; smaller pages get a smaller one.
 */
const ZSTD_LEVEL_1 = {
  params: {
    [constants.ZSTD_c_compressionLevel]: 1,
    [constants.ZSTD_c_hashLog]: 14,
    [constants.ZSTD_c_windowLog]: 21,
  },
}

function compress(raw: Buffer): Buffer {
  // Logs shrink to less than a quarter: one piece of output, mostly.
  return zstdCompressSync(raw, {
    ...ZSTD_LEVEL_1,
    pledgedSrcSize: raw.length,
    chunkSize: Math.max(16_384, raw.length >>> 2),
  })
}

function compressPage(raw: Buffer, header: (compressedSize: number) => Buffer): EncodedPage {
  const body = compress(raw)
  return { header: header(body.length), body, uncompressedSize: raw.length, encoding: PLAIN }
}

function dataPage(raw: Buffer, rows: number, encoding: number): EncodedPage {
  const page = compressPage(raw, (size) => pageHeader(DATA_PAGE, raw.length, size, rows, encoding))
  return { ...page, encoding }
}

function pageHeader(type: number, uncompressed: number, compressed: number, values: number, encoding: number): Buffer {
  const thrift = new ThriftWriter()
  thrift.bareStruct(() => {
    thrift.i32(1, type)
    thrift.i32(2, uncompressed)
    thrift.i32(3, compressed)
    thrift.struct(type === DICTIONARY_PAGE ? 7 : 5, () => {
      thrift.i32(1, values)
      thrift.i32(2, encoding)
      if (type === DATA_PAGE) {
        thrift.i32(3, RLE)
        thrift.i32(4, RLE)
      }
    })
  })
  return thrift.out.view()
}

// Each of these loops has a function of its own, for one kind of array: V8 compiles it once, and keeps what it has compiled.

/** What is not NaN: its bounds, infinite when there is nothing; how many are NaN. */
export interface NumberBounds {
  readonly least: number
  readonly most: number
  readonly nulls: number
}

function boundsOf(values: Float64Array, count: number): NumberBounds {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  let nulls = 0
  for (let i = 0; i < count; i++) {
    const value = values[i]!
    if (value < least) least = value
    if (value > most) most = value
    if (Number.isNaN(value)) nulls++
  }
  return { least, most, nulls }
}

/** 1 where there is a value; the values go to `kept`. */
function levelsOfNumbers(values: Float64Array, count: number, kept: Float64Array): Uint8Array {
  const levels = new Uint8Array(count)
  let at = 0
  for (let i = 0; i < count; i++) {
    const value = values[i]!
    if (Number.isNaN(value)) continue
    levels[i] = 1
    kept[at++] = value
  }
  return levels
}

function negatives(ids: Int32Array, count: number): number {
  let found = 0
  for (let i = 0; i < count; i++) found += ids[i]! < 0 ? 1 : 0
  return found
}

/** 1 where the id is not negative; those go to `kept`. */
function levelsOfIds(ids: Int32Array, count: number, kept: Int32Array): Uint8Array {
  const levels = new Uint8Array(count)
  let at = 0
  for (let i = 0; i < count; i++) {
    const id = ids[i]!
    if (id < 0) continue
    levels[i] = 1
    kept[at++] = id
  }
  return levels
}

const page = new ByteWriter(1 << 20)

function pageStart(): ByteWriter {
  page.clear()
  return page
}

/** One RLE run of ones. */
function writeNoNulls(out: ByteWriter, count: number): void {
  const start = out.length
  out.uint32(0)
  if (count > 0) {
    out.varint(count * 2)
    out.byte(1)
  }
  out.buffer.writeUInt32LE(out.length - start - 4, start)
}

function writeLevels(out: ByteWriter, levels: Uint8Array, count: number): void {
  const start = out.length
  out.uint32(0)
  writeHybrid(out, levels, count, 1)
  out.buffer.writeUInt32LE(out.length - start - 4, start)
}

function int64Bytes(value: number): Buffer {
  const bytes = new ByteWriter(8)
  bytes.int64(value)
  return bytes.view()
}

function bytesBounds(least: Uint8Array, most: Uint8Array): { least: Buffer; most: Buffer } | undefined {
  if (least.length > BOUND_BYTES || most.length > BOUND_BYTES) return undefined
  return { least: Buffer.from(least), most: Buffer.from(most) }
}

function encodeFooter(
  columns: readonly ParquetColumn[],
  rowGroups: readonly RowGroupMeta[],
  rows: number,
  metadata: Readonly<Record<string, string>>,
): Buffer {
  const thrift = new ThriftWriter()
  thrift.bareStruct(() => {
    thrift.i32(1, 2)
    thrift.structs(2, [undefined, ...columns], (column) =>
      column ? schemaElement(thrift, column) : schemaRoot(thrift, columns.length),
    )
    thrift.i64(3, rows)
    thrift.structs(4, rowGroups, (group) => rowGroup(thrift, group))
    thrift.structs(5, Object.entries(metadata), ([key, value]) => {
      thrift.binary(1, key)
      thrift.binary(2, value)
    })
    thrift.binary(6, 'coldtrail')
    // Column orders: TYPE_ORDER for each, without which readers ignore min_value and max_value.
    thrift.structs(7, columns, () => thrift.struct(1, () => undefined))
  })
  return thrift.out.view()
}

function schemaRoot(thrift: ThriftWriter, children: number): void {
  thrift.binary(4, 'coldtrail')
  thrift.i32(5, children)
}

function schemaElement(thrift: ThriftWriter, { name, fieldId, type, nullable }: ParquetColumn): void {
  const isBytes = type === 'text' || type === 'binary'
  thrift.i32(1, isBytes ? 6 : 2)
  thrift.i32(3, nullable ? 1 : 0)
  thrift.binary(4, name)
  if (type === 'text') thrift.i32(6, 0)
  if (type === 'time') thrift.i32(6, 10)
  thrift.i32(9, fieldId)
  if (type === 'text') thrift.struct(10, () => thrift.struct(1, () => undefined))
  if (type === 'time') {
    thrift.struct(10, () =>
      thrift.struct(8, () => {
        thrift.bool(1, true)
        thrift.struct(2, () => thrift.struct(2, () => undefined))
      }),
    )
  }
}

function rowGroup(thrift: ThriftWriter, { chunks, rows }: RowGroupMeta): void {
  thrift.structs(1, chunks, (chunk) => {
    thrift.i64(2, chunk.dictionaryOffset ?? chunk.dataOffset)
    thrift.struct(3, () => {
      thrift.i32(1, chunk.column.type === 'text' || chunk.column.type === 'binary' ? 6 : 2)
      thrift.i32s(2, chunk.encodings)
      thrift.binaries(3, [chunk.column.name])
      thrift.i32(4, ZSTD)
      thrift.i64(5, chunk.values)
      thrift.i64(6, chunk.uncompressed)
      thrift.i64(7, chunk.compressed)
      thrift.i64(9, chunk.dataOffset)
      if (chunk.dictionaryOffset !== undefined) thrift.i64(11, chunk.dictionaryOffset)
      thrift.struct(12, () => {
        thrift.i64(3, chunk.nulls)
        if (chunk.bounds) {
          thrift.binary(5, chunk.bounds.most)
          thrift.binary(6, chunk.bounds.least)
        }
      })
    })
  })
  const sum = (pick: (chunk: ChunkMeta) => number) => chunks.reduce((total, chunk) => total + pick(chunk), 0)
  thrift.i64(
    2,
    sum((chunk) => chunk.uncompressed),
  )
  thrift.i64(3, rows)
  const first = chunks[0]!
  thrift.i64(5, first.dictionaryOffset ?? first.dataOffset)
  thrift.i64(
    6,
    sum((chunk) => chunk.compressed),
  )
}
