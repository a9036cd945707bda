/** psort's outputs `dynamic`, `l2tcsv` and `json_line`: lines of the events of one time. */
import type { EventGroup } from './eventGroups.ts'
import { EVENT_ATTRIBUTES, isDate, type OutputEvent } from './outputEvent.ts'
import {
  displayName,
  dynamicField,
  extraText,
  fileName,
  macbOf,
  NOTHING,
  sanitized,
  timeFields,
} from './outputFields.ts'
import { compareTexts, NumberText, pythonJson } from './pythonText.ts'

export const OUTPUT_FORMATS = ['dynamic', 'l2tcsv', 'json_line'] as const
export type OutputFormat = (typeof OUTPUT_FORMATS)[number]

export interface OutputForm {
  /** The first line. */
  readonly header: string | undefined
  /** Lines of the groups of one time, in the order of the original. */
  lines(groups: readonly EventGroup[]): string[]
}

export interface OutputFormOptions {
  /** Of `dynamic`: names of the fields, and of those behind them. */
  readonly fields?: readonly string[]
  readonly additionalFields?: readonly string[]
  /** What becomes of a field that holds what a log said. */
  readonly asText: (text: string) => string
}

export const DYNAMIC_FIELDS = [
  ...['datetime', 'timestamp_desc', 'source', 'source_long', 'message', 'parser', 'display_name', 'tag'],
] as const

export function outputForm(format: OutputFormat, options: OutputFormOptions): OutputForm {
  if (format === 'json_line') return { header: undefined, lines: (groups) => everyEvent(groups).map(jsonLine) }
  return format === 'l2tcsv' ? l2tcsv(options) : dynamic(options)
}

// --- internal ---

interface SortedLine {
  readonly key: string
  readonly line: string
}

function dynamic({ fields = DYNAMIC_FIELDS, additionalFields = [], asText }: OutputFormOptions): OutputForm {
  const names = [...fields, ...additionalFields]
  const keys = ['datetime', 'display_name', 'message'].map((name) => names.indexOf(name))
  const line = (event: OutputEvent): SortedLine => {
    const values = names.map((name) => {
      const { text, isOwn } = dynamicField(event, name)
      return isOwn || text === NOTHING ? text : sanitized(asText(text))
    })
    return { key: keys.map((at) => values[at] ?? '').join(' '), line: values.join(',') }
  }
  return {
    header: names.map((name) => sanitized(name)).join(','),
    lines: (groups) => sorted(everyEvent(groups).map(line)),
  }
}

const L2T_FIELDS = [
  ...['date', 'time', 'timezone', 'MACB', 'source', 'sourcetype', 'type', 'user', 'host', 'short', 'desc', 'version'],
  ...['filename', 'inode', 'notes', 'format', 'extra'],
]

function l2tcsv({ asText }: OutputFormOptions): OutputForm {
  const line = ({ events, isGroup }: EventGroup): SortedLine => {
    const [event] = events
    const { time } = event
    const descriptions = events.map(({ description }) => description)
    const field = (name: string) => hostile(dynamicField(event, name).text)
    const hostile = (text: string) => (text === NOTHING || text === '' ? text : sanitized(asText(text)))
    const clock = timeFields.time(time)
    const file = hostile(displayName(event))
    const inode = field('inode')
    const values = [
      ...[timeFields.date(time).replace(/^0000-00-00$/, '00/00/0000'), clock, timeFields.zone(time)],
      ...[isGroup ? macbOf(descriptions) : dynamicField(event, 'macb').text, field('source'), field('source_long')],
      ...[
        hostile(descriptions.join('; ')),
        field('username'),
        field('hostname'),
        field('message_short'),
        field('message'),
      ],
      ...['2', file, inode, field('tag'), field('parser'), hostile(extraText(event))],
    ]
    return { key: `${clock} ${file} ${inode}`, line: values.join(',') }
  }
  return {
    header: L2T_FIELDS.join(','),
    // Groups come first, as they are; single events are sorted.
    lines: (groups) => [
      ...groups.filter(({ isGroup }) => isGroup).map((group) => line(group).line),
      ...sorted(groups.filter(({ isGroup }) => !isGroup).map(line)),
    ],
  }
}

function everyEvent(groups: readonly EventGroup[]): OutputEvent[] {
  return groups.flatMap(({ events }) => events)
}

function sorted(lines: SortedLine[]): string[] {
  return lines.sort((a, b) => compareTexts(a.key, b.key) || compareTexts(a.line, b.line)).map(({ line }) => line)
}

function jsonLine(event: OutputEvent): string {
  const { attributes, columns, time, labels } = event
  // Without a prototype: names come from records.
  const values: Record<string, unknown> = Object.create(null)
  Object.assign(values, { __container_type__: 'event', __type__: 'AttributeContainer' })
  for (const [name, value] of Object.entries(attributes)) {
    // Dates of the event data are events of their own; private names stay inside, but for the digest.
    if (value === null || isDate(value) || (EVENT_ATTRIBUTES.has(name) && name.startsWith('_'))) continue
    if (name !== 'datetime' && name !== 'tag' && name !== 'macb') values[name] = value
  }
  if (attributes._event_values_hash) values._event_values_hash = attributes._event_values_hash
  const parser = dynamicField(event, 'parser').text
  if (parser !== NOTHING) values.parser = parser
  if (values.path_spec !== undefined) {
    values.pathspec = values.path_spec
    delete values.path_spec
  }
  if (isDate(attributes.date_time)) values.date_time = attributes.date_time
  values.data_type = columns.data_type
  values.timestamp = time ?? (attributes.timestamp instanceof NumberText ? attributes.timestamp : 0)
  if (columns.timestamp_desc !== null) values.timestamp_desc = columns.timestamp_desc
  values.display_name ??= displayName(event)
  values.filename ??= fileName(event)
  values.inode ??= NOTHING
  values.message = columns.message ?? ''
  if (labels.length > 0) values.tag = { __container_type__: 'event_tag', __type__: 'AttributeContainer', labels }
  return pythonJson(values)
}
