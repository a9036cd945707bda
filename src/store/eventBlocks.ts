/**
 * A segment's events as blocks: its row groups, read column by column when a column is asked for. Rows are counted from 0
 * in the order of the file. Labels of earlier runs come from tag files, by block.
 */
import { COLUMN_BY_NAME } from '../core/columns.ts'
import type { BlockRecord, BlockTexts, EventBlock } from '../core/eventBlock.ts'
import { textAt } from '../query/jsonText.ts'
import { recordGate } from '../query/recordGate.ts'
import { type RowSet, rowsOf } from '../query/rowSet.ts'
import { type CodedTexts, ParquetFileReader, type TextPage, type TextValues } from './parquet/fileReader.ts'
import { type HeldTagFile, tagPath } from './tags.ts'

export interface BlockPlace {
  /** Of its first row, within the segment. */
  readonly first: number
  readonly rows: number
  open(): SegmentBlock
}

export class SegmentEvents {
  private readonly file: ParquetFileReader
  private readonly tags: readonly HeldTagFile[]
  private tagFiles: ParquetFileReader[] | undefined

  /**
   * `path`: the file of the events; `tags`: whose labels `tag` gives. E_SEGMENT_READ, E_SEGMENT_GONE, here and of
   * everything that is read.
   */
  constructor(path: string, tags: readonly HeldTagFile[] = []) {
    this.file = new ParquetFileReader(path)
    this.tags = tags
  }

  /** Blocks with a row of [first, first + rows), in order. What a block has read, it keeps: each is made when opened. */
  blocks(first: number, rows: number): BlockPlace[] {
    return this.file.groups.flatMap((group, number) => {
      const isWanted = group.first < first + rows && first < group.first + group.rows
      const open = () => new SegmentBlock(this.file, number, () => this.tagReaders())
      return isWanted ? [{ ...group, open }] : []
    })
  }

  close(): void {
    this.file.close()
    for (const file of this.tagFiles ?? []) file.close()
  }

  private tagReaders(): readonly ParquetFileReader[] {
    this.tagFiles ??= []
    for (const tag of this.tags.slice(this.tagFiles.length)) this.tagFiles.push(new ParquetFileReader(tagPath(tag)))
    return this.tagFiles
  }
}

export class SegmentBlock implements EventBlock {
  /** Of its first row, within the segment. */
  readonly first: number
  readonly rows: number
  private readonly file: ParquetFileReader
  private readonly group: number
  private readonly tagReaders: () => readonly ParquetFileReader[]
  private readonly coded = new Map<string, Texts | undefined>()
  private readonly numeric = new Map<string, Float64Array | undefined>()
  private records: Records | undefined
  private labels: ReadonlyMap<number, readonly string[]> | undefined

  constructor(file: ParquetFileReader, group: number, tagReaders: () => readonly ParquetFileReader[]) {
    this.file = file
    this.group = group
    this.tagReaders = tagReaders
    const { first, rows } = file.groups[group]!
    this.first = first
    this.rows = rows
  }

  get ids(): Float64Array {
    return this.numbers('id')!
  }

  texts(column: string): Texts | undefined {
    let found = this.coded.get(column)
    if (found || this.coded.has(column)) return found
    if (this.file.weight(this.group, column) > 0) found = new Texts(this.file.texts(this.group, column)!)
    this.coded.set(column, found)
    return found
  }

  numbers(column: string): Float64Array | undefined {
    let found = this.numeric.get(column)
    if (found || this.numeric.has(column)) return found
    if (this.file.weight(this.group, column) > 0) found = this.file.numbers(this.group, column)
    this.numeric.set(column, found)
    return found
  }

  bounds(column: string): { readonly least: number; readonly most: number } | undefined {
    return this.file.bounds(this.group, column)
  }

  weight(column: string): number {
    return this.file.weight(this.group, column)
  }

  record(row: number): BlockRecord {
    this.records ??= new Records(this.file.pages(this.group, 'data') ?? [])
    return this.records.record(row)
  }

  /**
   * Of the rows asked for, the text at a place in the record: texts as they are, other values as they are written; none
   * for null, and where there is no such place.
   */
  place(path: readonly string[], rows: RowSet): BlockTexts {
    const codes = new Int32Array(this.rows).fill(-1)
    const values: string[] = []
    const gate = recordGate({ kind: 'json', segments: path })
    for (const row of rowsOf(rows, this.rows)) {
      const record = this.record(row)
      if (gate && !gate(record)) continue
      const text = textAt(record.text, path)
      if (text !== undefined) codes[row] = values.push(text) - 1
    }
    return { codes, count: values.length, text: (code) => values[code]! }
  }

  value(column: string, row: number): string | number | readonly string[] | undefined {
    if (column === 'tag') return this.labelsOf(this.ids[row]!)
    if (column === 'data') return this.record(row).text
    const type = COLUMN_BY_NAME.get(column)?.type
    if (type === undefined) return undefined
    if (type === 'int' || type === 'time') {
      const value = this.numbers(column)?.[row]
      return value === undefined || Number.isNaN(value) ? undefined : value
    }
    const texts = this.texts(column)
    const code = texts ? texts.codes[row]! : -1
    return code < 0 ? undefined : texts!.text(code)
  }

  /** Sorted, each once. */
  private labelsOf(id: number): readonly string[] | undefined {
    this.labels ??= this.readLabels()
    return this.labels.get(id)
  }

  private readLabels(): ReadonlyMap<number, readonly string[]> {
    const own = new Set(this.ids)
    const labels = new Map<number, string[]>()
    const { least, most } = this.bounds('id') ?? { least: -Infinity, most: Infinity }
    for (const file of this.tagReaders())
      for (let group = 0; group < file.groups.length; group++) {
        const bounds = file.bounds(group, 'id')
        if (bounds && (bounds.most < least || bounds.least > most)) continue
        const texts = new Texts(file.texts(group, 'label')!)
        file.numbers(group, 'id')!.forEach((id, row) => {
          if (!own.has(id)) return
          const held = labels.get(id)
          if (held) held.push(texts.text(texts.codes[row]!))
          else labels.set(id, [texts.text(texts.codes[row]!)])
        })
      }
    for (const [id, found] of labels) labels.set(id, [...new Set(found)].sort())
    return labels
  }
}

// --- internal ---

/** Texts as they are asked for, each made once. */
export class Texts implements BlockTexts {
  readonly codes: Int32Array
  readonly values: TextValues
  private readonly made: (string | undefined)[] = []

  constructor({ codes, values }: CodedTexts) {
    this.codes = codes
    this.values = values
  }

  get count(): number {
    return this.values.count
  }

  text(code: number): string {
    const { bytes, starts, ends } = this.values
    const text = this.made[code] ?? bytes.toString('utf8', starts[code], ends[code])
    this.made[code] = text
    return text
  }
}

/** One page is held, that of the row before. */
class Records {
  private readonly pages: readonly TextPage[]
  private page: TextPage | undefined
  private texts: CodedTexts | undefined
  /** In the page: nothing from `from` on before `next` is a backslash. */
  private from = 0
  private next = -1

  constructor(pages: readonly TextPage[]) {
    this.pages = pages
  }

  record(row: number): BlockRecord {
    if (!this.page || row < this.page.first || row >= this.page.first + this.page.rows) this.turnTo(row)
    const { codes, values } = this.texts!
    const { bytes, starts, ends } = values
    const code = codes[row - this.page!.first]!
    const [start, end] = code < 0 ? [0, 0] : [starts[code]!, ends[code]!]
    if (start < this.from || start > this.next) {
      this.from = start
      const found = bytes.indexOf(BACKSLASH, start)
      this.next = found < 0 ? bytes.length : found
    }
    return new Record(bytes, start, end, this.next < end)
  }

  private turnTo(row: number): void {
    let [low, high] = [0, this.pages.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.pages[middle]!.first <= row) low = middle
      else high = middle - 1
    }
    this.page = this.pages[low]!
    this.texts = this.page.read()
    this.from = 0
    this.next = -1
  }
}

class Record implements BlockRecord {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  readonly isEscaped: boolean
  private made: string | undefined

  constructor(bytes: Buffer, start: number, end: number, isEscaped: boolean) {
    this.bytes = bytes
    this.start = start
    this.end = end
    this.isEscaped = isEscaped
  }

  get text(): string {
    this.made ??= this.bytes.toString('utf8', this.start, this.end)
    return this.made
  }
}

const BACKSLASH = 0x5c
