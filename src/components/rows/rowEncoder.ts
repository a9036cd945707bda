/**
 * Encodes events as rows of a table, JSON objects with typed columns. Values are copied as the bytes they are in the
 * record: a JSON string is a JSON string already, and nothing is parsed into objects and printed again. Every value is
 * checked first for what a receiver would do silently: null a wrong type, cut a long text, drop an unknown column.
 */
import type { EventColumnName } from '../../core/columns.ts'
import { COLUMN_BY_NAME } from '../../core/columns.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { parseEpoch, parseIsoTime } from '../../core/isoTime.ts'
import type { OutgoingEvent } from '../../core/outgoingEvent.ts'
import type { ElementWriter, Encoded } from '../destination.ts'
import type { JsonRecord } from '../json/jsonTable.ts'
import { checkTable } from './columnRules.ts'
import { type CommonColumn, CommonRows, FORM, GIVEN } from './commonRows.ts'
import { RecordValues, VALUE } from './recordValues.ts'
import { type Constant, constantOf, hasLoneSurrogate, RowWriter } from './rowWriter.ts'
import type { ColumnSource, ColumnType, Table, TableColumn } from './table.ts'
import { trimJson, trimText } from './trimming.ts'

/** A receiver cuts a longer value; in bytes of UTF-8. */
export const MAX_VALUE_BYTES = 65_536

/** A column as the receiver has it. */
export interface DeclaredColumn {
  readonly name: string
  readonly type: string
}

export interface RowOptions {
  /** A value over 64 KiB: its event is refused, or the value is trimmed and marked. */
  readonly tooLong?: 'refuse' | 'trim'
  /** A value that its column cannot hold: its event is refused, or the column is left out. */
  readonly wrongType?: 'refuse' | 'null'
  /** A column that the receiver does not declare, or declares with another type: E_TABLE_UNDECLARED, or it is left out. */
  readonly undeclared?: 'refuse' | 'drop'
  /** What the receiver declares (tableText.ts reads it from a rule); without it nothing is compared. */
  readonly declared?: { readonly stream: string; readonly columns: readonly DeclaredColumn[] }
  /** `parse`: every record goes through JSON.parse: the oracle of tests. */
  readonly way?: 'scan' | 'parse'
}

export interface RowEncoder {
  /** What `encode` reads of an event besides id, uid, time, dataType, data and session. */
  readonly columns: readonly EventColumnName[]
  /** The columns that rows have, in their order. */
  readonly written: readonly TableColumn[]
  /** Columns of the table that are left out, each with the reason. */
  readonly dropped: readonly { readonly name: string; readonly reason: string }[]
  /** Appends the event's row; refused, nothing was appended. Values that are absent are left out of the row. */
  encode(event: OutgoingEvent, out: ElementWriter): Encoded
}

/** Throws E_TABLE_COLUMN for a table that breaks a rule, E_TABLE_UNDECLARED for one that the receiver does not take. */
export function compileRow(table: Table, options: RowOptions = {}): RowEncoder {
  checkTable(table)
  const dropped = undeclaredColumns(table, options.declared?.columns)
  if (dropped.length > 0 && options.undeclared !== 'drop') {
    const problems = dropped.map(({ name, reason }) => `${name} (${reason})`).join(', ')
    throw new ColdtrailError('E_TABLE_UNDECLARED', { stream: options.declared!.stream, table: table.name, problems })
  }
  const written = table.columns.filter(({ name }) => !dropped.some((column) => column.name === name))
  return new TableRows({ ...table, columns: written }, options, dropped)
}

/** What of the table a receiver does not take. */
export function undeclaredColumns(
  table: Table,
  declared: readonly DeclaredColumn[] | undefined,
): { readonly name: string; readonly reason: string }[] {
  if (declared === undefined) return []
  const types = new Map(declared.map(({ name, type }) => [name, type.toLowerCase()]))
  return table.columns.flatMap(({ name, type }) => {
    const found = types.get(name)
    if (found === type) return []
    return [{ name, reason: found === undefined ? 'not declared' : `declared as ${found}, written as ${type}` }]
  })
}

// --- internal ---

/** From where, as a number for the hot path; then a slot, an index, or bytes. */
const FROM = { slot: 0, field: 8, time: 1, uid: 2, raw: 3, text: 4, column: 5, columnTime: 6, constant: 7 } as const

interface ValueSource {
  readonly from: number
  readonly slot: number
  readonly column: EventColumnName
  readonly constant: Constant
  /** What an event says of itself by text. */
  readonly read: (event: OutgoingEvent) => string
  /** The text last read, as bytes: such texts repeat. */
  text: string
  bytes: Buffer
}

interface Column {
  readonly name: string
  readonly type: ColumnType
  readonly isTimeGenerated: boolean
  readonly clamps: boolean
  /** `"Name":` */
  readonly prefix: Constant
  /** `"Name":"` */
  readonly textPrefix: Constant
  /** The slots of a text column that has only these sources and no other texts for its values. */
  readonly textSlots: Int32Array | undefined
  readonly sources: readonly ValueSource[]
  readonly values: ReadonlyMap<string, Constant> | undefined
  readonly otherwise: Constant | undefined
}

class TableRows implements RowEncoder {
  readonly columns: readonly EventColumnName[]
  readonly written: readonly TableColumn[]
  readonly dropped: RowEncoder['dropped']
  private readonly plan: readonly Column[]
  private readonly trims: boolean
  private readonly nulls: boolean
  private readonly values: RecordValues
  private readonly writer = new RowWriter()
  /** Undefined when the table has other columns than those of common forms. */
  private readonly rows: CommonRows | undefined
  private notes: string[] = []
  // The value at hand.
  private kind = 0
  private bytes: Buffer = EMPTY
  private start = 0
  private end = 0
  private time = 0
  private constant = NOTHING
  /** Digits alone are seconds since 1970, not told apart by magnitude. */
  private isField = false

  constructor(table: Table, options: RowOptions, dropped: RowEncoder['dropped']) {
    const sources = table.columns.flatMap(({ from }) => from)
    const paths = unique(sources.flatMap((source) => ('data' in source ? [source.data] : [])))
    const fields = unique(sources.flatMap((source) => ('field' in source ? [source.field] : [])))
    this.columns = unique(sources.flatMap((source) => ('column' in source ? [source.column] : [])))
    this.written = table.columns
    this.dropped = dropped
    this.trims = options.tooLong === 'trim'
    this.nulls = options.wrongType === 'null'
    this.values = new RecordValues(paths, fields, options.way !== 'parse')
    this.plan = table.columns.map((column) => compileColumn(table.name, column, paths, fields))
    if (options.way !== 'parse') this.rows = commonRows(this.plan, paths.length)
  }

  encode(event: OutgoingEvent, out: ElementWriter): Encoded {
    const { writer, plan } = this
    const unreadable = this.values.read(event)
    if (unreadable !== undefined) return { refused: unreadable }
    if (this.rows !== undefined && this.values.isScanned && isTime(event.time)) {
      setTimeText(event.time)
      if (this.rows.write(this.values.scanner, timeText.subarray(1, -1), event.uid, out)) return undefined
    }
    if (this.notes.length > 0) this.notes = []
    const { record } = this.values
    const { kinds, starts, ends, buffers } = record
    writer.begin()
    writer.byte(OPEN_BRACE)
    for (let i = 0; i < plan.length; i++) {
      const column = plan[i]!
      const { textSlots } = column
      if (textSlots !== undefined) {
        // The commonest case: a text that is copied as it is.
        let slot = textSlots[0]!
        for (let j = 1; kinds[slot] === VALUE.absent && j < textSlots.length; j++) slot = textSlots[j]!
        const kind = kinds[slot]!
        if (kind === VALUE.absent) continue
        const start = starts[slot]!
        const end = ends[slot]!
        if (kind === VALUE.string && end - start <= MAX_VALUE_BYTES) {
          writer.member(column.textPrefix, buffers[slot]!, start, end)
          continue
        }
      }
      if (!this.find(column, event)) {
        if (column.isTimeGenerated) this.notes.push(`${column.name} left out: the event has no time`)
        continue
      }
      const mark = writer.at
      writer.constant(column.prefix)
      const problem = this.put(column)
      if (problem === undefined) writer.byte(COMMA)
      else {
        writer.at = mark
        if (!this.nulls || problem.endsWith(TOO_LONG)) return { refused: `${column.name}: ${problem}` }
        this.notes.push(`${column.name} left out: ${problem}`)
      }
    }
    if (writer.at > 1) writer.at--
    writer.byte(CLOSE_BRACE)
    out.bytes(writer.buffer, 0, writer.at)
    return this.notes.length > 0 ? { notes: this.notes } : undefined
  }

  /** Sets the value at hand from the first source that is present. */
  private find({ sources }: Column, event: OutgoingEvent): boolean {
    const { values } = this
    for (let i = 0; i < sources.length; i++) {
      const source = sources[i]!
      switch (source.from) {
        case FROM.slot:
          if (this.take(values.record, source.slot, false)) return true
          continue
        case FROM.field:
          if (this.take(values.fields, source.slot, true)) return true
          continue
        case FROM.time:
          if (event.time === null) continue
          this.kind = VALUE.time
          this.time = event.time
          return true
        case FROM.columnTime: {
          const time = event.column(source.column)
          if (time === null) continue
          this.kind = VALUE.time
          this.time = Number(time)
          return true
        }
        case FROM.constant:
          this.kind = CONSTANT
          this.constant = source.constant
          return true
        case FROM.raw:
          this.kind = VALUE.text
          this.bytes = event.data
          this.start = 0
          this.end = event.data.length
          this.isField = false
          return true
        default: {
          const value = source.from === FROM.column ? event.column(source.column) : source.read(event)
          // An object outside a bucket has an empty one.
          if (value === null || (value === '' && source.from === FROM.text)) continue
          const text = String(value)
          if (text !== source.text) {
            source.text = text
            source.bytes = Buffer.from(text)
          }
          this.kind = typeof value === 'number' ? VALUE.number : VALUE.text
          this.bytes = source.bytes
          this.start = 0
          this.end = source.bytes.length
          this.isField = false
          return true
        }
      }
    }
    return false
  }

  private take({ kinds, buffers, starts, ends }: JsonRecord, slot: number, isField: boolean): boolean {
    const kind = kinds[slot]!
    if (kind === VALUE.absent) return false
    this.kind = kind
    this.bytes = buffers[slot]!
    this.start = starts[slot]!
    this.end = ends[slot]!
    this.isField = isField
    return true
  }

  /** Appends the value at hand as its column's type; else the problem. */
  private put(column: Column): string | undefined {
    const { writer, kind } = this
    if (kind === CONSTANT) {
      writer.constant(this.constant)
      return undefined
    }
    if (kind === VALUE.escaped && hasLoneSurrogate(this.bytes, this.start, this.end)) return LONE
    if (column.values !== undefined) {
      const mapped = this.mapped(column)
      if (mapped !== undefined) {
        writer.constant(mapped)
        return undefined
      }
    }
    switch (column.type) {
      case 'string':
        return this.putString(column)
      case 'datetime':
        return this.putTime()
      case 'boolean':
        return this.putBoolean()
      case 'int':
        return this.putInteger(column, INT_MIN, INT_MAX)
      case 'long':
        return this.putInteger(column, LONG_MIN, LONG_MAX)
      case 'real':
        return this.putReal()
      case 'dynamic':
        return this.putDynamic(column)
    }
  }

  private mapped({ values, otherwise }: Column): Constant | undefined {
    const { kind } = this
    if (kind === VALUE.other || kind === VALUE.time) return otherwise
    this.unescape()
    const { bytes, start, end } = this
    if (end - start > MAX_MAPPED) return otherwise
    return values!.get(bytes.toString('utf8', start, end)) ?? otherwise
  }

  private putString(column: Column): string | undefined {
    const { writer, kind, bytes, start, end } = this
    switch (kind) {
      case VALUE.string:
        if (end - start > MAX_VALUE_BYTES) return this.tooLong(column, end - start, trimText)
        writer.quoted(bytes, start, end)
        return undefined
      case VALUE.escaped:
        if (end - start > MAX_VALUE_BYTES) {
          this.unescape()
          if (this.end > MAX_VALUE_BYTES) return this.tooLong(column, this.end, trimText)
        }
        writer.quoted(bytes, start, end)
        return undefined
      case VALUE.text:
        if (end - start > MAX_VALUE_BYTES) return this.tooLong(column, end - start, trimRaw)
        writer.text(bytes, start, end)
        return undefined
      case VALUE.other: {
        const mark = writer.at
        writer.container(bytes, start, this.containerSize(), true)
        if (writer.length <= MAX_VALUE_BYTES) return undefined
        writer.at = mark
        return this.tooLong(column, writer.length, this.trimContainer)
      }
      case VALUE.time:
        return this.putTime()
      default:
        if (end - start > MAX_VALUE_BYTES) return this.tooLong(column, end - start, trimText)
        writer.quoted(bytes, start, end)
        return undefined
    }
  }

  private putDynamic(column: Column): string | undefined {
    const { writer, kind, bytes, start, end } = this
    if (kind === VALUE.other) {
      const mark = writer.at
      writer.container(bytes, start, this.containerSize(), false)
      if (writer.lone) return LONE
      if (writer.length <= MAX_VALUE_BYTES) return undefined
      writer.at = mark
      if (!this.trims) return tooLongProblem(writer.length)
      const trimmed = this.trimContainer(bytes, start)
      writer.copy(trimmed, 0, trimmed.length)
      this.notes.push(trimmedNote(column))
      return undefined
    }
    if (kind === VALUE.number || kind === VALUE.true || kind === VALUE.false) {
      if (end - start > MAX_VALUE_BYTES) return tooLongProblem(end - start)
      writer.copy(bytes, start, end)
      return undefined
    }
    return this.putString(column)
  }

  /** Microseconds are written as ISO 8601, and so are times in any other form that is surely one. */
  private putTime(): string | undefined {
    const { writer, kind } = this
    if (kind === VALUE.time) return this.putMicroseconds(this.time)
    if (kind === VALUE.other || kind === VALUE.true || kind === VALUE.false) return NO_TIME
    this.unescape()
    const { bytes, start, end } = this
    if (end - start > 64) return NO_TIME
    let time = parseIsoTime(bytes, start, end)
    if (!Number.isNaN(time) && isCanonicalTime(bytes, start, end)) {
      writer.quoted(bytes, start, end)
      return undefined
    }
    if (Number.isNaN(time)) {
      const text = bytes.toString('latin1', start, end)
      const basic = BASIC_TIME.exec(text)
      if (this.isField && /^\d{1,11}$/.test(text)) time = Number(text) * 1e6
      else if (basic) {
        const [, year, month, day, hour, minute, second] = basic
        time = parseIsoTime(Buffer.from(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`), 0, 20)
      } else time = parseEpoch(text)
    }
    return Number.isNaN(time) ? NO_TIME : this.putMicroseconds(time)
  }

  private putMicroseconds(time: number): string | undefined {
    if (!isTime(time)) return NO_TIME
    setTimeText(time)
    this.writer.short(timeText)
    return undefined
  }

  private putBoolean(): string | undefined {
    const { writer, kind } = this
    if (kind === VALUE.true) writer.ascii('true')
    else if (kind === VALUE.false) writer.ascii('false')
    else {
      if (kind === VALUE.other || kind === VALUE.time || kind === VALUE.number) return NO_BOOLEAN
      this.unescape()
      const { bytes, start, end } = this
      const text = end - start <= 5 ? bytes.toString('latin1', start, end).toLowerCase() : ''
      if (text !== 'true' && text !== 'false') return NO_BOOLEAN
      writer.ascii(text)
    }
    return undefined
  }

  private putInteger(column: Column, least: bigint, most: bigint): string | undefined {
    const { writer, kind } = this
    if (kind === VALUE.other || kind === VALUE.time || kind === VALUE.true || kind === VALUE.false) return NO_INTEGER
    this.unescape()
    const { bytes, start, end } = this
    if (isShortInteger(bytes, start, end, column.type === 'int' ? 9 : 18)) {
      writer.copy(bytes, start, end)
      return undefined
    }
    if (end - start > MAX_DIGITS) return NO_INTEGER
    const value = integerOf(bytes.toString('latin1', start, end))
    if (value === undefined) return NO_INTEGER
    if (value >= least && value <= most) writer.ascii(String(value))
    else {
      if (!column.clamps) return `beyond the range of ${column.type}`
      writer.ascii(String(value < least ? least : most))
      this.notes.push(`${column.name} set to the bound of ${column.type}: the value lies beyond it`)
    }
    return undefined
  }

  private putReal(): string | undefined {
    const { writer, kind } = this
    if (kind === VALUE.other || kind === VALUE.time || kind === VALUE.true || kind === VALUE.false) return NO_NUMBER
    this.unescape()
    const { bytes, start, end } = this
    if (end - start > MAX_DIGITS) return NO_NUMBER
    const text = bytes.toString('latin1', start, end)
    if (!JSON_NUMBER.test(text)) return NO_NUMBER
    if (!Number.isFinite(Number(text))) return 'beyond the range of real'
    writer.ascii(text)
    return undefined
  }

  /** Makes a value at hand that has escapes plain text. */
  private unescape(): void {
    if (this.kind !== VALUE.escaped) return
    this.bytes = Buffer.from(JSON.parse(`"${this.bytes.toString('utf8', this.start, this.end)}"`) as string)
    this.kind = VALUE.text
    this.start = 0
    this.end = this.bytes.length
  }

  /** No container is longer than the record it is part of. */
  private containerSize(): number {
    return this.values.recordBytes
  }

  private readonly trimContainer = (bytes: Buffer, start: number): Buffer => {
    const whole = new RowWriter()
    whole.container(bytes, start, this.containerSize(), false)
    return trimJson(whole.buffer.subarray(0, whole.at), MAX_VALUE_BYTES)
  }

  private tooLong(
    column: Column,
    length: number,
    trim: (bytes: Buffer, start: number, end: number, limit: number) => Buffer,
  ): string | undefined {
    if (!this.trims) return tooLongProblem(length)
    const trimmed = trim(this.bytes, this.start, this.end, MAX_VALUE_BYTES)
    // A JSON string's own bytes may have escapes; cut, they are text.
    this.writer.text(trimmed, 0, trimmed.length)
    this.notes.push(trimmedNote(column))
    return undefined
  }
}

const EMPTY = Buffer.alloc(0)
const NOTHING = constantOf('')
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const COMMA = 0x2c
/** A value whose bytes are JSON of the column's type already. */
const CONSTANT = 32
/** Longer texts stand for nothing else. */
const MAX_MAPPED = 256
const MAX_DIGITS = 1000
const INT_MIN = -(2n ** 31n)
const INT_MAX = 2n ** 31n - 1n
const LONG_MIN = -(2n ** 63n)
const LONG_MAX = 2n ** 63n - 1n
/** Years 1 to 9999, microseconds. */
const FIRST_TIME = Date.UTC(2000, 0, 1) * 1000 - 63_082_281_600e6
const END_OF_TIME = Date.UTC(10000, 0, 1) * 1000
const LONE = 'half of a surrogate pair'
const NO_TIME = 'no datetime'
const NO_BOOLEAN = 'no boolean'
const NO_INTEGER = 'no integer'
const NO_NUMBER = 'no number'
const TOO_LONG = `more than the ${MAX_VALUE_BYTES} that a column takes`
/** ISO 8601's basic format, which old records of CloudTrail have. */
const BASIC_TIME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/

const tooLongProblem = (length: number): string => `${length} bytes, ${TOO_LONG}`
const trimmedNote = ({ name }: Column): string => `${name} trimmed to 64 KiB`

/** The time last written: an event's is written twice. */
let lastTime = Number.NaN
let lastDay = Number.NaN
const timeText = Buffer.from('"0000-00-00T00:00:00.000000Z"')

const isTime = (time: number | null): time is number => time !== null && time >= FIRST_TIME && time < END_OF_TIME

/** `timeText` becomes a time of those years. */
function setTimeText(time: number): void {
  if (time === lastTime) return
  const seconds = Math.floor(time / 1e6)
  const micros = (time - seconds * 1e6) | 0
  const day = Math.floor(seconds / 86_400)
  if (day !== lastDay) {
    timeText.write(new Date(day * 86_400_000).toISOString().slice(0, 11), 1, 'latin1')
    lastDay = day
  }
  const second = (seconds - day * 86_400) | 0
  twoDigits(12, (second / 3600) | 0)
  twoDigits(15, ((second / 60) | 0) % 60)
  twoDigits(18, second % 60)
  twoDigits(21, (micros / 10_000) | 0)
  twoDigits(23, ((micros / 100) | 0) % 100)
  twoDigits(25, micros % 100)
  lastTime = time
}

function twoDigits(at: number, value: number): void {
  timeText[at] = 48 + ((value / 10) | 0)
  timeText[at + 1] = 48 + (value % 10)
}

const unique = <T>(values: readonly T[]): T[] => [...new Set(values)]

function compileColumn(
  table: string,
  column: TableColumn,
  paths: readonly string[],
  fields: readonly string[],
): Column {
  const { name, type, from, values, overflow } = column
  const constantFor = (value: string | number | boolean): Constant => {
    if (!fits(type, value))
      throw new ColdtrailError('E_TABLE_COLUMN', { table, column: name, problem: `${value} is no ${type}` })
    return constantOf(JSON.stringify(value))
  }
  const slots = from.flatMap((source) => ('data' in source ? [paths.indexOf(source.data)] : []))
  const mapped = values && Object.entries(values).filter(([text]) => text !== '*')
  return {
    name,
    type,
    isTimeGenerated: name === 'TimeGenerated',
    clamps: overflow === 'clamp',
    prefix: constantOf(`"${name}":`),
    textPrefix: constantOf(`"${name}":"`),
    textSlots: type === 'string' && !values && slots.length === from.length ? Int32Array.from(slots) : undefined,
    sources: from.map((source) => compileSource(source, paths, fields, constantFor)),
    values: mapped && new Map(mapped.map(([text, value]) => [text, constantFor(value)])),
    otherwise: values && '*' in values ? constantFor(values['*']!) : undefined,
  }
}

/** Undefined when a column has another form. */
function commonRows(plan: readonly Column[], slots: number): CommonRows | undefined {
  const columns = plan.map(commonColumn)
  return columns.every((column) => column !== undefined) ? new CommonRows(columns, slots) : undefined
}

function commonColumn(column: Column): CommonColumn | undefined {
  const { name, type, sources, textSlots, values } = column
  const prefix = Buffer.from(`"${name}":`)
  if (textSlots !== undefined) return { form: FORM.text, prefix: Buffer.from(`"${name}":"`), slots: [...textSlots] }
  const [first] = sources
  if (first === undefined || values !== undefined) return undefined
  if (sources.length === 1) {
    if (first.from === FROM.time && type === 'datetime') return { form: FORM.given, prefix, slots: [GIVEN.time] }
    if (first.from === FROM.uid && type === 'string') return { form: FORM.given, prefix, slots: [GIVEN.uid] }
    if (first.from === FROM.constant) {
      const value = Buffer.from(first.constant.words.buffer, 0, first.constant.bytes)
      return { form: FORM.constant, prefix: Buffer.concat([prefix, value]), slots: [] }
    }
  }
  // A row without TimeGenerated has a note.
  if (column.isTimeGenerated || sources.some(({ from }) => from !== FROM.slot)) return undefined
  const form = type === 'boolean' ? FORM.boolean : type === 'datetime' ? FORM.time : undefined
  return form && { form, prefix, slots: sources.map(({ slot }) => slot) }
}

function compileSource(
  source: ColumnSource,
  paths: readonly string[],
  fields: readonly string[],
  constantFor: (value: string | number | boolean) => Constant,
): ValueSource {
  const base = {
    slot: -1,
    column: 'id',
    constant: NOTHING,
    read: () => '',
    text: '',
    bytes: EMPTY,
  } as const
  if ('data' in source) return { ...base, from: FROM.slot, slot: paths.indexOf(source.data) }
  if ('field' in source) return { ...base, from: FROM.field, slot: fields.indexOf(source.field) }
  if ('constant' in source) return { ...base, from: FROM.constant, constant: constantFor(source.constant) }
  if ('finding' in source) {
    const part = source.finding
    return { ...base, from: FROM.text, read: ({ finding }) => finding?.[part] ?? '' }
  }
  if ('column' in source) {
    const isTime = COLUMN_BY_NAME.get(source.column)!.type === 'time'
    return { ...base, from: isTime ? FROM.columnTime : FROM.column, column: source.column }
  }
  switch (source.event) {
    case 'time':
      return { ...base, from: FROM.time }
    case 'raw':
      return { ...base, from: FROM.raw }
    case 'uid':
      return { ...base, from: FROM.uid, read: ({ uid }) => uid }
    case 'dataType':
      return { ...base, from: FROM.text, read: ({ dataType }) => dataType }
    default: {
      const part = source.event
      return { ...base, from: FROM.text, read: ({ session }) => session[part] }
    }
  }
}

function fits(type: ColumnType, value: string | number | boolean): boolean {
  switch (type) {
    case 'string':
      return typeof value === 'string'
    case 'boolean':
      return typeof value === 'boolean'
    case 'int':
      return Number.isInteger(value) && BigInt(value) >= INT_MIN && BigInt(value) <= INT_MAX
    case 'long':
      return Number.isSafeInteger(value)
    case 'real':
      return Number.isFinite(value)
    case 'datetime':
      return typeof value === 'string' && !Number.isNaN(parseIsoTime(Buffer.from(value), 0, Buffer.byteLength(value)))
    case 'dynamic':
      return true
  }
}

/** A text that is a JSON record is cut as JSON. */
function trimRaw(bytes: Buffer, start: number, end: number, limit: number): Buffer {
  const whole = new RowWriter()
  try {
    const text = bytes.toString('utf8', start, end)
    if (text.startsWith('{')) {
      JSON.parse(text)
      whole.container(bytes, start, end - start, false)
      return trimJson(whole.buffer.subarray(0, whole.at), limit)
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  return trimText(bytes, start, end, limit)
}

/** `2023-07-10T11:42:31Z`, with up to seven digits of a second: taken as it is. */
function isCanonicalTime(bytes: Buffer, start: number, end: number): boolean {
  return (
    bytes[start + 10] === 0x54 &&
    bytes[end - 1] === 0x5a &&
    end - start <= 28 &&
    bytes[start + 19] !== COMMA &&
    bytes[start + 17] !== 0x36
  )
}

/** An integer as JSON writes it, of so few digits that it cannot be beyond a range. */
function isShortInteger(bytes: Buffer, start: number, end: number, digits: number): boolean {
  let p = start
  if (bytes[p] === 0x2d) p++
  if (end - p > digits || end === p) return false
  if (bytes[p] === 0x30) return end - start === 1
  for (; p < end; p++) {
    const c = bytes[p]!
    if (c < 48 || c > 57) return false
  }
  return true
}

/** An integer in any spelling: `007`, `1.0`, `1e3`. */
function integerOf(text: string): bigint | undefined {
  if (/^-?\d+$/.test(text)) return BigInt(text)
  if (!JSON_NUMBER.test(text)) return undefined
  const value = Number(text)
  return Number.isInteger(value) ? BigInt(value) : undefined
}
