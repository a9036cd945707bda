/** An event as psort would see it: attributes, time, hash of its values, labels. */
import { hash } from 'node:crypto'
import type { Format } from '../component.ts'
import { FORMATS } from '../formats/all.ts'
import { compareTexts, parseExactly, pythonText } from './pythonText.ts'

/** A row of a search over OUTPUT_COLUMNS. */
export type EventColumns = Readonly<Record<string, string | number | null | readonly string[]>>

export interface OutputEvent {
  readonly columns: EventColumns
  readonly attributes: Readonly<Record<string, unknown>>
  /** Microseconds UTC; null: it has none. */
  readonly time: number | null
  readonly description: string
  readonly labels: readonly string[]
  /** Equal for events that say the same of different times. */
  readonly valuesHash: string
  /** Whether its record speaks of itself in attributes of plaso. */
  readonly isTimeline: boolean
}

export function outputEvent(columns: EventColumns): OutputEvent {
  const isTimeline = TIMELINES.has(String(columns['session.format']))
  const record = isTimeline ? parseExactly(String(columns.data)) : undefined
  const isObject = typeof record === 'object' && record !== null && !Array.isArray(record)
  const attributes = isObject ? (record as Record<string, unknown>) : ownAttributes(columns)
  return {
    columns,
    attributes,
    time: columns.time as number | null,
    description: (columns.timestamp_desc as string | null) ?? '-',
    labels: [...new Set([...labelsOf(attributes.tag), ...((columns.tag as readonly string[] | null) ?? [])])],
    valuesHash: isObject ? valuesHash(String(columns.data_type), attributes) : hash('md5', String(columns.data)),
    isTimeline: isObject,
  }
}

/** Of the event, not of what happened: it is the same for no two times. */
export const EVENT_ATTRIBUTES: ReadonlySet<string> = new Set([
  ...['__container_type__', '__type__', '_event_data_stream_identifier', '_event_values_hash', '_parser_chain'],
  ...['data_type', 'date_time', 'datetime', 'macb', 'parser', 'tag', 'timestamp', 'timestamp_desc'],
])

/** A date of dfDateTime, or a list of such. */
export function isDate(value: unknown): boolean {
  const first = Array.isArray(value) ? value[0] : value
  return typeof first === 'object' && first !== null && '__type__' in first && first.__type__ === 'DateTimeValues'
}

// --- internal ---

const TIMELINES: ReadonlySet<string> = new Set(
  (FORMATS as readonly Format[]).filter(({ isTimeline }) => isTimeline).map(({ name }) => name),
)

/** Columns that serve the store, or stand in fields of their own. */
const NO_ATTRIBUTES: ReadonlySet<string> = new Set([
  ...[
    'id',
    'session_id',
    'ordinal',
    'record_offset',
    'record_length',
    'time',
    'timestamp_desc',
    'message',
    'tag',
    'data',
  ],
])

/** A record of another kind: its columns under their names, and the record itself as `data`. */
function ownAttributes(columns: EventColumns): Record<string, unknown> {
  const entries = Object.entries(columns).filter(
    ([name, value]) => value !== null && !NO_ATTRIBUTES.has(name) && !name.startsWith('session.'),
  )
  return { ...Object.fromEntries(entries), data: parseExactly(String(columns.data)) ?? columns.data }
}

/** plaso's own digest where it came along, else what it would have made of these attributes. */
function valuesHash(dataType: string, attributes: Readonly<Record<string, unknown>>): string {
  const given = attributes._event_values_hash
  if (typeof given === 'string' && /^[0-9a-f]{32}$/.test(given)) return given
  const parts = [`data_type: ${dataType}`]
  for (const name of Object.keys(attributes).sort(compareTexts)) {
    const value = attributes[name]
    if (value === null || EVENT_ATTRIBUTES.has(name) || isDate(value)) continue
    parts.push(`${name}: ${pythonText(value)}`)
  }
  return hash('md5', parts.join(', ').toWellFormed())
}

/** An object of plaso, a list, or what psort made of one. */
function labelsOf(tag: unknown): string[] {
  if (typeof tag === 'string') return tag.split(' ').filter((label) => label !== '' && label !== '-')
  const list = typeof tag === 'object' && tag !== null && 'labels' in tag ? tag.labels : tag
  return Array.isArray(list) ? list.filter((label) => typeof label === 'string') : []
}
