/** The fields that psort's outputs are made of, by name, and what each says of an event. */
import { printable } from '../../core/errors.ts'
import { MACB } from './eventGroups.ts'
import { EVENT_ATTRIBUTES, isDate, type OutputEvent } from './outputEvent.ts'
import { compareTexts, NumberText, pythonText } from './pythonText.ts'
import { sourceOf } from './sourceNames.ts'

/** What psort writes where it has nothing. */
export const NOTHING = '-'

/** Text of a log, which may be anything, or of our own. */
export interface Field {
  readonly text: string
  readonly isOwn: boolean
}

/** The field of this name; that of an attribute or a column where psort has none. */
export function dynamicField(event: OutputEvent, name: string): Field {
  const own = Object.hasOwn(OWN, name) ? OWN[name] : undefined
  if (own) return { text: own(event), isOwn: true }
  const known = Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined
  return { text: (known ? known(event) : attribute(event, name)) || NOTHING, isOwn: false }
}

/** `MACB` of a group of times that are the same. */
export function macbOf(descriptions: readonly string[]): string {
  return MACB.map(([letter, ...names]) => (names.some((name) => descriptions.includes(name)) ? letter : '.')).join('')
}

export function displayName({ attributes, columns, isTimeline }: OutputEvent): string {
  const given = attributes.display_name
  if (typeof given === 'string' && given !== '') return given
  if (!isTimeline) return String(columns['session.key'] ?? NOTHING)
  return pathName(attributes.path_spec ?? attributes.pathspec) ?? NOTHING
}

export function fileName({ attributes, columns }: OutputEvent): string {
  return text(attributes.filename) || text(columns.file_path) || NOTHING
}

/** The attributes that stand in no field of their own, as `name: value; …`. */
export function extraText({ attributes }: OutputEvent): string {
  const parts: string[] = []
  for (const [name, value] of Object.entries(attributes)) {
    if (EVENT_ATTRIBUTES.has(name) || SHOWN.has(name) || value === null || isDate(value)) continue
    // psort's own name for the short one.
    if (name === 'source' && attributes.source_long !== undefined) continue
    // What log2timeline had written without names.
    parts.push(name === 'extra' ? text(value) : `${name}: ${pythonText(value)}`)
  }
  return parts.sort(compareTexts).join('; ').replaceAll('\n', '-').replaceAll('\r', '')
}

/** No character of a field ends its line, moves a terminal's cursor, or begins the next field. */
export function sanitized(field: string, delimiter = ','): string {
  return printable(field, Number.MAX_SAFE_INTEGER).replaceAll(delimiter, ' ')
}

export const timeFields = {
  date: (time: number | null) => isoDate(time).replace(/^(\d{4})-(\d\d)-(\d\d)$/, '$2/$3/$1'),
  isoDate,
  time: (time: number | null) => (isSet(time) ? iso(time).slice(11, 19) : '--:--:--'),
  zone: (time: number | null) => (isSet(time) ? 'UTC' : NOTHING),
  dateTime: (time: number | null) => (isSet(time) ? iso(time) : '0000-00-00T00:00:00.000000+00:00'),
}

// --- internal ---

const SHORT = 80

const OWN: Readonly<Record<string, (event: OutputEvent) => string>> = {
  date: ({ time }) => isoDate(time),
  datetime: ({ time }) => timeFields.dateTime(time),
  time: ({ time }) => timeFields.time(time),
  timezone: ({ time }) => timeFields.zone(time),
  zone: ({ time }) => timeFields.zone(time),
  macb: macbOfOne,
}

const KNOWN: Readonly<Record<string, (event: OutputEvent) => string>> = {
  description: message,
  description_short: shortMessage,
  display_name: displayName,
  filename: fileName,
  host: hostName,
  hostname: hostName,
  inode: ({ attributes }) => text(attributes.inode),
  message,
  message_short: shortMessage,
  parser,
  source: (event) => sourceOf(event).short,
  source_long: (event) => sourceOf(event).long,
  sourcetype: (event) => sourceOf(event).long,
  tag: ({ labels, attributes }) => labels.join(' ') || text(attributes.notes),
  timestamp_desc: ({ description }) => description,
  type: ({ description }) => description,
  user: userName,
  username: userName,
  yara_match: ({ attributes }) =>
    Array.isArray(attributes.yara_match) ? attributes.yara_match.map(text).join('; ') : '',
}

/** Attributes that l2tcsv has in other fields, or never had in `extra`. */
const SHOWN: ReadonlySet<string> = new Set([
  ...['body', 'display_name', 'filename', 'hostname', 'http_headers', 'inode', 'mapped_files', 'metadata', 'offset'],
  ...['path_spec', 'pathspec', 'query', 'source_long', 'source_short', 'timezone', 'username'],
  ...['message', 'message_short', 'notes'],
])

function message({ columns }: OutputEvent): string {
  // As the formatters of the original do it.
  return text(columns.message).replace(/[\r\n]/g, '')
}

function shortMessage(event: OutputEvent): string {
  const whole = text(event.attributes.message_short) || message(event)
  return whole.length > SHORT ? `${whole.slice(0, SHORT - 3).toWellFormed()}...` : whole
}

function parser({ attributes, columns, isTimeline }: OutputEvent): string {
  return (
    text(attributes._parser_chain) || text(attributes.parser) || (isTimeline ? '' : text(columns['session.format']))
  )
}

function hostName({ attributes, columns }: OutputEvent): string {
  return text(attributes.hostname) || text(columns.device_hostname)
}

function userName({ attributes, columns }: OutputEvent): string {
  return text(attributes.username) || text(columns.actor_user_name)
}

function attribute({ attributes, columns }: OutputEvent, name: string): string {
  const value = Object.hasOwn(attributes, name) ? attributes[name] : undefined
  if (value !== undefined && value !== null) return pythonText(value)
  return Object.hasOwn(columns, name) ? text(columns[name]) : ''
}

function text(value: unknown): string {
  return value === null || value === undefined ? '' : pythonText(value)
}

const isSet = (time: number | null): time is number => time !== null && time !== 0 && time >= FIRST && time < BEHIND
/** The years 1 to 9999. */
const FIRST = -62_135_596_800e6
const BEHIND = 253_402_300_800e6

function isoDate(time: number | null): string {
  return isSet(time) ? iso(time).slice(0, 10) : '0000-00-00'
}

function iso(time: number): string {
  const second = Math.floor(time / 1e6)
  const micros = String(time - second * 1e6).padStart(6, '0')
  return `${new Date(second * 1000).toISOString().slice(0, 19)}.${micros}+00:00`
}

/** One of the four letters, by data type and description. */
function macbOfOne({ description, columns }: OutputEvent): string {
  if (columns.data_type === 'fs:stat') return macbOf(description.split(';'))
  const index = LETTERS.findIndex((descriptions) => descriptions.has(description))
  return '....'.replace(/./g, (dot, at: number) => (at === index ? 'MACB'[at]! : dot))
}

/** In the order of the letters. */
const LETTERS: readonly ReadonlySet<string>[] = [
  new Set(['Content Modification Time', 'Content Deletion Time']),
  new Set([
    ...[
      'Last Access Time',
      'Account Created',
      'Last Visited Time',
      'Start Time',
      'Last Shutdown Time',
      'Last Login Time',
    ],
    ...['Last Password Reset', 'Last Connection Time', 'Last Time Executed', 'Last Printed Time'],
  ]),
  new Set(['Metadata Modification Time']),
  new Set(['Creation Time', 'Added Time', 'File Downloaded', 'First Connection Time']),
]

interface PathSpec {
  readonly type_indicator?: unknown
  readonly location?: unknown
  readonly store_index?: unknown
  readonly parent?: unknown
}

/** `TSK:/tmp/a`, `VSS1:NTFS:\a`: a path specification as plaso names it. */
function pathName(value: unknown): string | undefined {
  const spec = asSpec(value)
  if (typeof spec?.type_indicator !== 'string') return undefined
  const isPacked = spec.type_indicator === 'BZIP2' || spec.type_indicator === 'GZIP'
  const parent = asSpec(spec.parent)
  const location = text(spec.location) || (isPacked ? text(parent?.location) : '')
  if (location === '') return spec.type_indicator
  const store = isPacked ? asSpec(parent?.parent) : parent
  const index = store?.type_indicator === 'VSHADOW' ? storeIndex(store) : undefined
  return `${index === undefined ? '' : `VSS${index + 1}:`}${spec.type_indicator}:${location}`
}

function storeIndex({ store_index: index }: PathSpec): number | undefined {
  return index instanceof NumberText ? Number(index.text) : undefined
}

function asSpec(value: unknown): PathSpec | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as PathSpec) : undefined
}
