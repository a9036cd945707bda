/**
 * The events of one open segment, column by column. Text values are interned by bytes and become dictionary ids; `data`
 * and native event ids go straight into pages. A full row group is written to the file, so memory stays bounded by one
 * row group and the distinct values of indexed columns.
 */

import { stringGeneration } from '../core/byteModule.ts'
import { COLUMN_INDEX, EVENT_COLUMNS, type EventColumn } from '../core/columns.ts'
import type { EventSink, Fact, Phrase } from '../core/eventSink.ts'
import { Interner } from '../core/interner.ts'
import { ipKey } from '../core/ipAddress.ts'
import type { ObservableExtractor } from '../core/observableExtractor.ts'
import { type EventTimes, TimeSample } from './eventTimes.ts'
import { ByteWriter } from './parquet/byteWriter.ts'
import {
  BytesPageBuilder,
  type ParquetColumn,
  type ParquetFileWriter,
  type RowGroupDictionary,
} from './parquet/fileWriter.ts'

export const META_COLUMNS: readonly ParquetColumn[] = EVENT_COLUMNS.map(({ name, fieldId, type, nullable }) => ({
  name,
  fieldId,
  type: type === 'ip' ? 'text' : type,
  nullable,
}))

const ROW_GROUP_ROWS = 32_768
/** Page size of a column whose values hardly repeat. */
const VALUE_PAGE_BYTES = 131_072
/** Distinct values of one indexed column that a segment counts; beyond, `values` of that column comes from the rows. */
const COUNTED_VALUES = 262_144
/** And their bytes together. */
const COUNTED_BYTES = 32 * 1024 * 1024

/** Where observables and exact column values of the events go: the keyset of the segment, or nowhere. */
export interface ValueObserver {
  readonly extractor: ObservableExtractor
  /** A string of a record; `isUser`: its key ends in userName. */
  observe(bytes: Buffer, start: number, end: number, isUser: boolean): void
  /** A new distinct value of an indexed column. */
  columnValue(column: EventColumn, bytes: Buffer, start: number, end: number): void
}

/** The distinct values of a column: rows of values.parquet. */
export interface CountedValues {
  readonly column: string
  readonly values: Interner
  /** Ids of the values that occur, by their bytes. */
  readonly order: Int32Array
  /** Three numbers an id: events, first and last time in microseconds; the first later than the last when no event has one. */
  readonly tallies: Float64Array
}

export interface ColumnSummary {
  readonly nulls: number
  readonly min?: string | number
  readonly max?: string | number
  readonly ndv?: number
}

export class EventBuilder implements EventSink {
  rows = 0
  /** Uncommitted memory, roughly: what `flush` would free. */
  get bufferedBytes(): number {
    let texts = 0
    for (const column of this.texts) if (!column.kept) texts += column.interner.valueBytes
    return this.dataPages.buffered + this.metadataUid.buffered + this.row * 300 + texts
  }
  /** Bounds of events that have a time; null before the first. */
  time1: number | null = null
  time2: number | null = null
  /** Bounds and counts of the session in progress. */
  session = emptyTally()

  readonly observables: ObservableExtractor | undefined

  private readonly file: ParquetFileWriter
  private readonly observer: ValueObserver | undefined
  private readonly onReject: (bytes: Buffer, start: number, end: number, offset: number, reason: string) => void
  private readonly onLabel: (event: number, label: string) => void
  private readonly onFact: (fact: Fact) => void
  private readonly firstEventId: number
  private readonly columns: readonly (IntColumn | TextColumn | undefined)[]
  private readonly texts: readonly TextColumn[]
  private readonly message: TextColumn
  private readonly dataPages = new BytesPageBuilder(false)
  private readonly metadataUid = new BytesPageBuilder(true)
  private readonly phrases = new TupleTable()
  private readonly times = new TimeSample()
  private sessionId = 0
  private row = 0
  private rowTime = Number.NaN
  private record: Buffer = EMPTY
  private recordStart = 0
  private recordEnd = 0
  private uid: Buffer = EMPTY
  private uidStart = -1
  private uidEnd = -1
  /** Columns set in the row in progress. */
  private readonly touched = new Int32Array(EVENT_COLUMNS.length)
  private touchedCount = 0
  /** 1: the column has a value in the row group. */
  private readonly used = new Uint8Array(EVENT_COLUMNS.length)
  private generation = -1

  constructor(options: {
    file: ParquetFileWriter
    firstEventId: number
    day: string
    observer: ValueObserver | undefined
    onReject: EventBuilder['onReject']
    onLabel: EventBuilder['onLabel']
    onFact: EventBuilder['onFact']
  }) {
    this.file = options.file
    this.firstEventId = options.firstEventId
    this.observer = options.observer
    this.observables = options.observer?.extractor
    this.onReject = options.onReject
    this.onLabel = options.onLabel
    this.onFact = options.onFact
    this.columns = EVENT_COLUMNS.map((column: EventColumn) => {
      if (column.name === 'data' || column.name === 'metadata_uid' || column.name.endsWith('_ip_key')) return undefined
      return column.encoding === 'delta' ? new IntColumn(column) : new TextColumn(column)
    })
    this.texts = this.columns.filter((column) => column instanceof TextColumn)
    this.message = this.columns[MESSAGE] as TextColumn
    const day = Buffer.from(options.day)
    const days = this.columns[SEGMENT_DAY] as TextColumn
    days.interner.intern(day, 0, day.length)
    days.ids.fill(0)
  }

  beginSession(sessionId: number): void {
    this.sessionId = sessionId
    this.session = emptyTally()
  }

  begin(bytes: Buffer, start: number, end: number, offset: number): void {
    const { row, columns, session } = this
    this.record = bytes
    this.recordStart = start
    this.recordEnd = end
    this.rowTime = Number.NaN
    this.uidStart = -1
    this.touchedCount = 0
    if (this.generation !== stringGeneration()) {
      this.generation = stringGeneration()
      for (const column of this.texts) column.forgetIds()
    }
    ;(columns[0] as IntColumn).values[row] = this.firstEventId + this.rows
    ;(columns[1] as IntColumn).values[row] = this.sessionId
    ;(columns[2] as IntColumn).values[row] = session.events
    ;(columns[3] as IntColumn).values[row] = offset
    ;(columns[4] as IntColumn).values[row] = end - start
  }

  data(bytes: Buffer, start: number, end: number): void {
    this.record = bytes
    this.recordStart = start
    this.recordEnd = end
  }

  slice(column: number, bytes: Buffer, start: number, end: number, id = 0): void {
    if (column === METADATA_UID) {
      this.uid = bytes
      this.uidStart = start
      this.uidEnd = end
      return
    }
    const into = this.columns[column] as TextColumn
    const { interner } = into
    const before = interner.count
    const value = interner.intern(bytes, start, end)
    if (value === before && into.column.indexed) this.observer?.columnValue(into.column, bytes, start, end)
    if (id !== 0) into.learn(id, value)
    into.ids[this.row] = value
    this.touch(column)
  }

  known(column: number, id: number): boolean {
    if (column === METADATA_UID) return false
    const into = this.columns[column] as TextColumn
    const value = into.known[id]
    if (!value) return false
    into.ids[this.row] = value - 1
    this.touch(column)
    return true
  }

  text(column: number, value: string): void {
    const bytes = Buffer.from(value)
    this.slice(column, bytes, 0, bytes.length)
  }

  constant(column: number, value: Buffer): void {
    const into = this.columns[column] as TextColumn
    if (value !== into.lastConstant) {
      const id = into.constants.get(value)
      if (id === undefined) {
        this.slice(column, value, 0, value.length)
        into.constants.set(value, into.ids[this.row]!)
        return
      }
      into.lastConstant = value
      into.lastConstantId = id
    }
    into.ids[this.row] = into.lastConstantId
    this.touch(column)
  }

  int(column: number, value: number): void {
    ;(this.columns[column] as IntColumn).values[this.row] = value
    this.touch(column)
  }

  time(microseconds: number): void {
    this.rowTime = microseconds
  }

  observe(bytes: Buffer, start: number, end: number, isUser: boolean): void {
    this.observer?.observe(bytes, start, end, isUser)
  }

  phrase(phrase: Phrase): void {
    const { row, columns, phrases } = this
    phrases.start(phrase.length)
    for (let i = 0; i < phrase.length; i++) {
      const column = columns[phrase[i]!.column]!
      phrases.push(column instanceof TextColumn ? column.ids[row]! : column.values[row]!)
    }
    let id = phrases.find()
    if (id < 0) {
      let text = ''
      for (const { before, column: index } of phrase) {
        const column = columns[index]!
        const value = column.textAt(row)
        if (value !== undefined) text += text === '' ? value : before + value
      }
      if (text === '') return
      const bytes = Buffer.from(text)
      id = this.message.interner.intern(bytes, 0, bytes.length)
      phrases.insert(id)
    }
    this.message.ids[row] = id
    this.touch(MESSAGE)
  }

  label(label: string): void {
    this.onLabel(this.firstEventId + this.rows, label)
  }

  fact(fact: Fact): void {
    this.onFact(fact)
  }

  commit(): void {
    const { row, rowTime, columns, session } = this
    ;(columns[TIME] as IntColumn).values[row] = rowTime
    if (!Number.isNaN(rowTime)) {
      this.times.add(rowTime)
      if (this.time1 === null || rowTime < this.time1) this.time1 = rowTime
      if (this.time2 === null || rowTime > this.time2) this.time2 = rowTime
      if (session.time1 === null || rowTime < session.time1) session.time1 = rowTime
      if (session.time2 === null || rowTime > session.time2) session.time2 = rowTime
    }
    if (this.uidStart < 0) this.metadataUid.addNull()
    else this.metadataUid.add(this.uid, this.uidStart, this.uidEnd)
    this.dataPages.add(this.record, this.recordStart, this.recordEnd)
    session.events++
    this.rows++
    this.row = row + 1
    if (this.row === ROW_GROUP_ROWS) this.flush()
  }

  cancel(): void {
    for (let i = 0; i < this.touchedCount; i++) this.columns[this.touched[i]!]!.clearRow(this.row)
  }

  reject(bytes: Buffer, start: number, end: number, offset: number, reason: string): void {
    this.session.rejects++
    this.onReject(bytes, start, end, offset, reason)
  }

  private touch(column: number): void {
    this.touched[this.touchedCount++] = column
    this.used[column] = 1
  }

  /** Writes the rows held as one row group. */
  flush(): void {
    const { row, file, used } = this
    if (row === 0) return
    const times = (this.columns[TIME] as IntColumn).values
    for (let i = 0; i < EVENT_COLUMNS.length; i++) {
      const column = this.columns[i]
      if (column && used[i] === 0 && !ALWAYS.has(i)) column.skip(file, row)
      else if (column instanceof IntColumn) column.write(file, row)
      else if (column instanceof TextColumn) {
        if (column.counted) column.count(times, row)
        column.write(file, row)
      } else if (i === DATA || i === METADATA_UID) {
        const { pages, nulls } = (i === DATA ? this.dataPages : this.metadataUid).take()
        file.bytes(pages, row, nulls)
      } else {
        const addresses = COLUMN_INDEX.get(EVENT_COLUMNS[i]!.name.slice(0, -4))!
        if (used[addresses] === 0) file.nulls(row)
        else (this.columns[addresses] as TextColumn).writeKeys(file, row)
      }
    }
    file.endRowGroup(row)
    if (!this.message.kept) this.phrases.clear()
    this.columns.forEach((column, i) => {
      if (i !== SEGMENT_DAY && (used[i] === 1 || ALWAYS.has(i))) column?.reset(row)
    })
    used.fill(0)
    this.row = 0
  }

  /** Distinct values of the indexed columns, by column; columns with too many are left out. */
  columnValues(): { columns: CountedValues[]; incomplete: string[] } {
    const indexed = this.texts
      .filter(({ column }) => column.indexed)
      .sort((a, b) => (a.column.name < b.column.name ? -1 : 1))
    return {
      columns: indexed.filter(({ counted }) => counted).map((column) => column.values()),
      incomplete: indexed.filter(({ counted }) => !counted).map(({ column }) => column.name),
    }
  }

  columnSummaries(): Record<string, ColumnSummary> {
    const summaries: Record<string, ColumnSummary> = {}
    for (const column of this.columns) if (column) summaries[column.column.name] = column.summary()
    return summaries
  }

  /** Undefined when no event has a time. `now`: microseconds. */
  eventTimes(now: number): EventTimes | undefined {
    const { time1, time2 } = this
    return time1 === null || time2 === null ? undefined : this.times.summary(this.rows, { time1, time2, now })
  }
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const METADATA_UID = COLUMN_INDEX.get('metadata_uid')!
const TIME = COLUMN_INDEX.get('time')!
const MESSAGE = COLUMN_INDEX.get('message')!
const DATA = COLUMN_INDEX.get('data')!
const SEGMENT_DAY = COLUMN_INDEX.get('segment_day')!

/** Columns that every row has, or may have without `touch`. */
const ALWAYS: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, TIME, SEGMENT_DAY])

const emptyTally = () => ({ events: 0, rejects: 0, time1: null as number | null, time2: null as number | null })

class IntColumn {
  readonly values = new Float64Array(ROW_GROUP_ROWS).fill(Number.NaN)
  readonly column: EventColumn
  private nulls = 0
  private least = Number.POSITIVE_INFINITY
  private most = Number.NEGATIVE_INFINITY

  constructor(column: EventColumn) {
    this.column = column
  }
  textAt(row: number): string | undefined {
    const value = this.values[row]!
    return Number.isNaN(value) ? undefined : String(value)
  }
  clearRow(row: number): void {
    this.values[row] = Number.NaN
  }
  /** No row has a value. */
  skip(file: ParquetFileWriter, rows: number): void {
    this.nulls += rows
    file.nulls(rows)
  }
  write(file: ParquetFileWriter, rows: number): void {
    const { least, most, nulls } = file.ints(this.values, rows)
    if (least < this.least) this.least = least
    if (most > this.most) this.most = most
    this.nulls += nulls
  }
  reset(rows: number): void {
    this.values.fill(Number.NaN, 0, rows)
  }
  summary(): ColumnSummary {
    return this.least <= this.most ? { nulls: this.nulls, min: this.least, max: this.most } : { nulls: this.nulls }
  }
}

class TextColumn {
  readonly ids = new Int32Array(ROW_GROUP_ROWS).fill(-1)
  readonly interner = new Interner()
  /** By the byte module's id: the value's number + 1, 0 for none. */
  known = new Int32Array(1024)
  /** Ids of values known by identity. */
  readonly constants = new Map<Buffer, number>()
  /** The one looked up last, which is mostly the next one too. */
  lastConstant: Buffer | undefined
  lastConstantId = 0
  readonly column: EventColumn
  /** Whether tallies (per id: events, first and last time) are kept: for indexed columns while their values are not too many. */
  counted: boolean
  private tallies = emptyTallies(256)
  private nulls = 0
  private least: Buffer | undefined
  private most: Buffer | undefined
  /** Per interned id: its place in the dictionary of the row group being written. */
  private local = new Int32Array(256)

  constructor(column: EventColumn) {
    this.column = column
    this.counted = column.indexed
  }

  textAt(row: number): string | undefined {
    const id = this.ids[row]!
    return id < 0 ? undefined : this.interner.bytes(id).toString()
  }
  clearRow(row: number): void {
    this.ids[row] = -1
  }

  /** Adds the rows held to the tallies. */
  count(times: Float64Array, rows: number): void {
    const { ids } = this
    const { count } = this.interner
    if (count * 3 > this.tallies.length) this.tallies = copyInto(this.tallies, emptyTallies(count * 2))
    const { tallies } = this
    for (let row = 0; row < rows; row++) {
      const at = ids[row]! * 3
      if (at < 0) continue
      const time = times[row]!
      tallies[at]!++
      if (time < tallies[at + 1]!) tallies[at + 1] = time
      if (time > tallies[at + 2]!) tallies[at + 2] = time
    }
  }

  /** The value `value` has this id in the byte module. */
  learn(id: number, value: number): void {
    if (id >= this.known.length)
      this.known = copyInto(this.known, new Int32Array(Math.max(id + 1, this.known.length * 2)))
    this.known[id] = value + 1
  }
  forgetIds(): void {
    this.known.fill(0)
  }

  /** No row has a value. */
  skip(file: ParquetFileWriter, rows: number): void {
    this.nulls += rows
    file.nulls(rows)
  }

  write(file: ParquetFileWriter, rows: number): void {
    const { ids, interner } = this
    const { dictionary, used } = this.localise(ids, rows, interner)
    if (dictionary.count > 0) {
      if (!this.least || Buffer.compare(dictionary.least, this.least) < 0) this.least = Buffer.from(dictionary.least)
      if (!this.most || Buffer.compare(dictionary.most, this.most) > 0) this.most = Buffer.from(dictionary.most)
    }
    // A dictionary of nearly as many values as rows only costs: write the values themselves.
    if (dictionary.count > 1000 && dictionary.count > used * 0.6) {
      const pages = new BytesPageBuilder(this.column.nullable, VALUE_PAGE_BYTES)
      for (let i = 0; i < rows; i++) {
        if (ids[i]! < 0) pages.addNull()
        else pages.add(interner.values, interner.start(ids[i]!), interner.end(ids[i]!))
      }
      const taken = pages.take()
      this.nulls += taken.nulls
      file.bytes(taken.pages, rows, taken.nulls)
      return
    }
    this.nulls += rows - used
    file.dictionary(localIds, rows, dictionary)
  }

  /** The sortable form of an address column: the same ids, other dictionary. */
  writeKeys(file: ParquetFileWriter, rows: number): void {
    const { interner } = this
    const { fresh, distinct } = this.renumbered(this.ids, rows, interner)
    const keys = new Interner()
    const keyOf = new Int32Array(distinct)
    for (let at = 0; at < distinct; at++) {
      const key = ipKey(interner.bytes(fresh[at]!).toString('latin1'))
      const bytes = Buffer.from(key ?? '')
      keyOf[at] = key === undefined ? -1 : keys.intern(bytes, 0, bytes.length)
    }
    const ids = translated(localIds, rows, keyOf)
    const { dictionary } = this.localise(ids, rows, keys)
    file.dictionary(localIds, rows, dictionary)
  }

  /** Whether the values are kept over row groups: to be counted, or while they are few. */
  get kept(): boolean {
    const { count, valueBytes } = this.interner
    if (this.counted) return count <= COUNTED_VALUES && valueBytes <= COUNTED_BYTES
    return count <= ROW_GROUP_ROWS * 2 && valueBytes <= COUNTED_BYTES / 8
  }

  reset(rows: number): void {
    this.ids.fill(-1, 0, rows)
    if (this.kept) return
    this.counted = false
    this.interner.clear()
    this.constants.clear()
    this.lastConstant = undefined
    this.forgetIds()
  }

  values(): CountedValues {
    const { interner, tallies, column } = this
    const order = new Int32Array(interner.count)
    let count = 0
    for (let id = 0; id < interner.count; id++) if (tallies[id * 3]! > 0) order[count++] = id
    interner.sort(order.subarray(0, count))
    return { column: column.name, values: interner, order: order.subarray(0, count), tallies }
  }

  private distinct(): number {
    let distinct = 0
    for (let at = 0; at < this.tallies.length; at += 3) distinct += this.tallies[at]! > 0 ? 1 : 0
    return distinct
  }

  summary(): ColumnSummary {
    const { nulls, least, most } = this
    const bounds = least && most && least.length <= 64 && most.length <= 64
    return {
      nulls,
      ...(bounds ? { min: least.toString(), max: most.toString() } : {}),
      ...(this.counted ? { ndv: this.distinct() } : {}),
    }
  }

  /** Renumbers `ids` of `values` densely into `localIds` and collects the values as a Parquet dictionary. */
  private localise(ids: Int32Array, rows: number, values: Interner): { dictionary: RowGroupDictionary; used: number } {
    const { fresh, distinct, used } = this.renumbered(ids, rows, values)
    plain.clear()
    let least = 0
    let most = 0
    for (let at = 0; at < distinct; at++) {
      const id = fresh[at]!
      const start = values.start(id)
      const end = values.end(id)
      plain.uint32(end - start)
      plain.slice(values.values, start, end)
      if (at === 0) {
        least = id
        most = id
      } else if (values.compare(id, least) < 0) least = id
      else if (values.compare(id, most) > 0) most = id
    }
    const bound = (id: number) => (distinct === 0 ? EMPTY : values.bytes(id))
    return { dictionary: { plain: plain.view(), count: distinct, least: bound(least), most: bound(most) }, used }
  }

  /** The same without the dictionary. `fresh`: the ids in order of first sight, `distinct` of them. */
  private renumbered(ids: Int32Array, rows: number, values: Interner) {
    if (this.local.length < values.count) this.local = new Int32Array(values.count * 2)
    else this.local.fill(0)
    const distinct = renumber(ids, rows, this.local)
    return { fresh: freshIds, distinct, used: rows - absent(localIds, rows) }
  }
}

// Each of these loops has a function of its own: V8 compiles it once, and keeps what it has compiled.

/** From `ids` to `localIds`, `freshIds` and, by id, `local` (the number + 1); how many are distinct. */
function renumber(ids: Int32Array, rows: number, local: Int32Array): number {
  let count = 0
  for (let i = 0; i < rows; i++) {
    const id = ids[i]!
    let at = -1
    if (id >= 0) {
      at = local[id]! - 1
      if (at < 0) {
        at = count++
        freshIds[at] = id
        local[id] = count
      }
    }
    localIds[i] = at
  }
  return count
}

function absent(ids: Int32Array, rows: number): number {
  let found = 0
  for (let i = 0; i < rows; i++) found += ids[i]! < 0 ? 1 : 0
  return found
}

function translated(ids: Int32Array, rows: number, into: Int32Array): Int32Array {
  const found = new Int32Array(rows)
  for (let i = 0; i < rows; i++) found[i] = ids[i]! < 0 ? -1 : into[ids[i]!]!
  return found
}

/** Of the column being written. */
const plain = new ByteWriter(65_536)

/** Three numbers an id: events, first time, last time. */
function emptyTallies(ids: number): Float64Array {
  const tallies = new Float64Array(ids * 3)
  for (let at = 0; at < tallies.length; at += 3) {
    tallies[at + 1] = Number.POSITIVE_INFINITY
    tallies[at + 2] = Number.NEGATIVE_INFINITY
  }
  return tallies
}
/** Of the column being written. */
const localIds = new Int32Array(ROW_GROUP_ROWS)
const freshIds = new Int32Array(ROW_GROUP_ROWS)

/** Tuples of small integers to ids that the caller chooses; open addressing over one flat array. */
class TupleTable {
  private table = new Int32Array(4096)
  private entries = new Int32Array(8192)
  private used = 0
  private count = 0
  private readonly tuple = new Int32Array(16)
  private width = 0
  private hash = 0
  private slot = 0

  start(width: number): void {
    this.width = 0
    this.hash = width
  }
  push(value: number): void {
    const int = Number.isNaN(value) ? -1 : value | 0
    this.tuple[this.width++] = int
    this.hash = Math.imul(this.hash ^ int, 0x9e3779b1)
    this.hash ^= this.hash >>> 15
  }
  /** The id of the tuple pushed, -1 when it is new. Entries: width, values…, id. */
  find(): number {
    const { table, entries, tuple, width } = this
    const mask = table.length - 1
    let slot = this.hash & mask
    for (; table[slot] !== 0; slot = (slot + 1) & mask) {
      const at = table[slot]! - 1
      if (entries[at] !== width) continue
      let i = 0
      while (i < width && entries[at + 1 + i] === tuple[i]) i++
      if (i === width) return entries[at + 1 + width]!
    }
    this.slot = slot
    return -1
  }
  insert(id: number): void {
    const needed = this.used + this.width + 2
    if (needed > this.entries.length) this.entries = copyInto(this.entries, new Int32Array(needed * 2))
    this.table[this.slot] = this.used + 1
    this.entries[this.used++] = this.width
    for (let i = 0; i < this.width; i++) this.entries[this.used++] = this.tuple[i]!
    this.entries[this.used++] = id
    if (++this.count * 2 > this.table.length) this.rehash()
  }
  clear(): void {
    this.table.fill(0)
    this.used = 0
    this.count = 0
  }
  private rehash(): void {
    const { entries } = this
    const table = new Int32Array(this.table.length * 4)
    const mask = table.length - 1
    for (let at = 0; at < this.used; at += entries[at]! + 2) {
      const width = entries[at]!
      let hash = width
      for (let i = 0; i < width; i++) {
        hash = Math.imul(hash ^ entries[at + 1 + i]!, 0x9e3779b1)
        hash ^= hash >>> 15
      }
      let slot = hash & mask
      while (table[slot] !== 0) slot = (slot + 1) & mask
      table[slot] = at + 1
    }
    this.table = table
  }
}

/** Every n-th event time, n doubling whenever the sample is full. */
function copyInto<T extends Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from)
  return to
}
