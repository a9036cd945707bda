/** Events of timelines that are text: a table over their attributes, for records that are JSON and for those that are not. */
import { stringGeneration } from '../../core/byteModule.ts'
import { COLUMN_INDEX } from '../../core/columns.ts'
import type { EventSink } from '../../core/eventSink.ts'
import { parseIsoTime } from '../../core/isoTime.ts'
import type { ParseOptions } from '../component.ts'
import { fillSlots, putColumns } from '../json/jsonObjectParser.ts'
import { type CompiledTable, compileTable, type JsonRecord } from '../json/jsonTable.ts'
import { ATTRIBUTE_COLUMNS, NO_DATE } from './attributes.ts'
import { formattedMessage } from './formatters.ts'
import { MESSAGE_BYTES, ownMessage } from './ownMessage.ts'
import { parseExactly } from './pythonText.ts'
import { plasoTimestampOf } from './timelineTime.ts'

/** An event's attributes; the names of plaso where it has one. */
export type Attributes = Readonly<Record<string, string | number | readonly string[] | undefined>>

export interface TimelineTableOptions {
  /** Of events that do not say theirs. */
  readonly dataType: string
  /** The attribute that says the time; the other one is asked where it is absent. */
  readonly time: 'timestamp' | 'datetime'
  /** Attributes without which a record is refused. */
  readonly required: readonly ('message' | 'timestamp_desc' | 'time' | 'data_type')[]
  /** Others that the format looks at itself. */
  readonly slots?: Readonly<Record<string, string>>
}

export function timelineTable({ dataType, time, required, slots: more }: TimelineTableOptions): CompiledTable {
  const defaultType = Buffer.from(dataType)
  const own = Buffer.alloc(MESSAGE_BYTES)
  const order = time === 'timestamp' ? (['timestamp', 'datetime'] as const) : (['datetime', 'timestamp'] as const)
  const dataTypes = new RepeatedText()
  const dateClasses = new RepeatedText()
  const finish = (
    record: JsonRecord,
    sink: EventSink,
    options?: Pick<ParseOptions, 'formatters'>,
  ): string | undefined => {
    const given = dataTypes.text(record, slots.data_type)
    if (!given) sink.constant(DATA_TYPE, defaultType)
    const found = timeOf(record)
    if (typeof found === 'string') return found
    if (found !== undefined) sink.time(found)
    const hasMessage = record.hasText(slots.message)
    for (const name of required) {
      if (name === 'time') {
        if (!record.has(slots.timestamp) && !record.has(slots.datetime)) return 'no timestamp and no datetime'
      } else if (name === 'data_type' ? !given : !record.hasText(slots[name])) return `no ${name}`
    }
    const formatter = !hasMessage ? options?.formatters?.[given || dataType] : undefined
    const message = formatter && formattedMessage(formatter, attributesOf(record))
    if (message !== undefined) sink.text(MESSAGE, message)
    else if (!hasMessage) {
      const length = ownMessage(given || dataType, record.whole, record.from, record.to, own)
      sink.slice(MESSAGE, own, 0, length)
    }
    return undefined
  }
  const timeOf = (record: JsonRecord): number | string | undefined => {
    for (const name of order) {
      const slot = slots[name]
      if (!record.hasText(slot)) continue
      if (name === 'datetime') return isoTime(record.text(slot)!)
      // What is not set is 0 too.
      if (NO_DATE.has(dateClasses.text(record, slots.dateClass) ?? '')) return undefined
      const value = plasoTimestampOf(record.buffers[slot]!, record.starts[slot]!, record.ends[slot]!)
      return value !== undefined && Number.isNaN(value) ? 'timestamp is no number of microseconds' : value
    }
    return undefined
  }
  const table = compileTable({
    slots: { ...SLOTS, ...more },
    columns: [
      { column: 'data_type', from: ['data_type'], as: 'text' },
      { column: 'timestamp_desc', from: ['timestamp_desc'], as: 'text' },
      { column: 'message', from: ['message'], as: 'text' },
      ...ATTRIBUTE_COLUMNS,
    ],
    finish,
  })
  const names = ['data_type', 'timestamp_desc', 'message', 'timestamp', 'datetime', 'dateClass'] as const
  const slots = Object.fromEntries(names.map((name) => [name, table.record.slot(name)])) as Record<
    (typeof names)[number],
    number
  >
  return table
}

/** Sets the event at hand, whose record is no JSON, from its attributes; the reason to refuse the record, or undefined. */
export function putAttributes(table: CompiledTable, sink: EventSink, attributes: Attributes): string | undefined {
  const text = Buffer.from(JSON.stringify(attributes))
  sink.data(text, 0, text.length)
  fillSlots(table, attributes)
  table.record.isAt(text, 0, text.length)
  return putColumns(table, sink, text) as string | undefined
}

// --- internal ---

const DATA_TYPE = COLUMN_INDEX.get('data_type')!
const MESSAGE = COLUMN_INDEX.get('message')!

const SLOTS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
      ...ATTRIBUTE_COLUMNS.flatMap(({ from }) => from),
      'data_type',
      'timestamp_desc',
      'message',
      'timestamp',
      'datetime',
    ].map((name) => [name, name]),
  ),
  dateClass: 'date_time.__class_name__',
}

const attributesOf = ({ whole, from, to }: JsonRecord): Readonly<Record<string, unknown>> =>
  parseExactly(whole.toString('utf8', from, to)) as Readonly<Record<string, unknown>>

/** A text that is the same for event after event, made once for all of them. */
class RepeatedText {
  private id = 0
  private generation = -1
  private last: string | undefined

  text(record: JsonRecord, slot: number): string | undefined {
    const id = record.id(slot)
    if (id === 0) return record.text(slot)
    const generation = stringGeneration()
    if (id !== this.id || generation !== this.generation) {
      this.id = id
      this.generation = generation
      this.last = record.text(slot)
    }
    return this.last
  }
}

/** psort writes zeros where there is no time. */
function isoTime(text: string): number | string | undefined {
  if (text.startsWith('0000-00-00')) return undefined
  const bytes = Buffer.from(text)
  const time = parseIsoTime(bytes, 0, bytes.length)
  return Number.isNaN(time) ? 'datetime is no time' : time
}
