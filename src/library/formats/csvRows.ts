/** CSV for people and spreadsheets, in and out: RFC 4180 with a header of known names, in any order. */
import { createCsvReader, csvLine } from '../../core/csv.ts'
import { isoTimeText } from '../../core/isoTime.ts'
import type { Library } from '../library.ts'
import type { AttributeClaim } from '../stagedObjects.ts'
import { claimOf, type ObjectFields, readVocabulary, type Vocabulary } from './fields.ts'
import type { Intake } from './intake.ts'
import { fileFault, isObject, type Json, listOf, parseJson, property, textOf } from './jsonFile.ts'
import type { StoredObject } from './libraryRows.ts'

/** Header names with what they are; the reference page is made from it. */
export const CSV_COLUMNS = {
  object: 'Type of the object: indicator (default), adversary, event, signature, malware, …',
  type: 'Type within it: IP Address, FQDN, …; of an indicator without one, its value tells it',
  value: 'Value, name or title; required',
  status: 'Active, Expired, Review, …',
  description: 'Text',
  score: 'Manual score of an indicator, 0 to 10',
  tlp: 'white (clear), green, amber, amber+strict or red',
  sources: 'Names, separated by |; the default is --source',
  tags: 'Names, separated by |',
  attributes: 'JSON object: {"Name": ["value", …]}',
  published_at: 'Time of the source: 2024-05-31 or 2024-05-31T12:00:00Z',
  expires_at: 'Of an indicator',
  happened_at: 'Of an event; required there',
  stix_id: 'Id of the object in STIX',
} as const

export type CsvColumn = keyof typeof CSV_COLUMNS

/** Whether a first line is a header of this format. */
export function isCsvHeader(line: string): boolean {
  const names = line.split(',').map((name) => columnNamed(name.replace(/^"|"$/g, '')))
  return names.length > 1 ? names.includes('value') : names[0] === 'value'
}

/** `threatq`: with the headers of ThreatQ's exports; every other column is an attribute, and its own types are taken. */
export type CsvDialect = 'own' | 'threatq'

export async function stageCsv(
  bytes: Buffer,
  name: string,
  library: Library,
  intake: Intake,
  dialect: CsvDialect = 'own',
): Promise<void> {
  const vocabulary = { ...(await readVocabulary(library)), open: dialect === 'threatq' }
  const reader = createCsvReader({ name, loose: true, maxFieldBytes: MAX_FIELD })
  reader.feed(bytes, true)
  let columns: (string | undefined)[] | undefined
  for (;;) {
    const { line } = reader
    const record = reader.read()
    if (!record) break
    columns ??= headerOf(reader.header!, name, dialect)
    if (record.length === 1 && record[0] === null) continue
    const given = Object.fromEntries(reader.header!.map((column, i) => [column, record[i] ?? null]))
    stageRecord(columns, record, given, `${name} line ${line}`, vocabulary, intake)
    await intake.breathe()
  }
  if (reader.header) headerOf(reader.header, name, dialect)
}

/** A record that was in quarantine: an object of header names and texts. */
export function stageCsvRecord(
  given: Json,
  place: string,
  vocabulary: Vocabulary,
  intake: Intake,
  dialect: CsvDialect = 'own',
): void {
  if (!isObject(given)) {
    intake.refuse(place, 'form', 'it is no record', given)
    return
  }
  const names = Object.keys(given)
  const columns = headerOf(names, place, dialect)
  stageRecord(
    columns,
    names.map((column) => textOf(given[column]) ?? null),
    given as never,
    place,
    { ...vocabulary, open: dialect === 'threatq' },
    intake,
  )
}

export const CSV_HEADER = csvLine(Object.keys(CSV_COLUMNS))

/** `asText` makes a formula of a spreadsheet a text again. */
export function csvRecordOf(object: StoredObject, asText: (text: string) => string): string {
  const { columns, code, type, status, tags, sources, manualScore } = object
  const attributes = new Map<string, (string | null)[]>()
  for (const { name, value } of object.attributes) attributes.set(name, [...(attributes.get(name) ?? []), value])
  const moment = (time: string | null | undefined): string | null =>
    time === null || time === undefined ? null : isoTimeText(Number(time))
  const fields: Record<CsvColumn, string | null | undefined> = {
    object: code,
    type,
    value: columns.value ?? columns.name ?? columns.title,
    status,
    description: columns.description,
    score: manualScore === undefined ? null : String(manualScore),
    tlp: sources.find(({ tlp }) => tlp !== null)?.tlp,
    sources: joined(sources.map(({ name }) => name)),
    tags: joined(tags),
    attributes: attributes.size === 0 ? null : JSON.stringify(Object.fromEntries(attributes)),
    published_at: moment(columns.published_at),
    expires_at: moment(columns.expires_at),
    happened_at: moment(columns.happened_at),
    stix_id: columns.stix_id,
  }
  return csvLine(
    Object.keys(CSV_COLUMNS).map((name) => {
      const text = fields[name as CsvColumn]
      return text === null || text === undefined ? null : asText(text)
    }),
  )
}

// --- internal ---

const MAX_FIELD = 8 * 1024 * 1024
/** Told by the library itself, and of no use in another. */
const PASSED_OVER = new Set(['id', 'uid', 'created_at', 'updated_at', 'touched_at'])
const SYNONYMS: Readonly<Record<string, CsvColumn>> = {
  source: 'sources',
  tag: 'tags',
  indicator: 'value',
  indicator_type: 'type',
  name: 'value',
  title: 'value',
  object_type: 'object',
  manual_score: 'score',
}

/** Headings of ThreatQ's tables and of its own CSV parser, besides those above. */
export const THREATQ_HEADINGS: Readonly<Record<string, CsvColumn>> = {
  indicator_value: 'value',
  adversary: 'value',
  type_name: 'type',
  indicator_status: 'status',
  status_name: 'status',
  descriptions: 'description',
  author: 'sources',
  source_name: 'sources',
  tlp_label: 'tlp',
  expiration_date: 'expires_at',
  expires: 'expires_at',
  published: 'published_at',
  published_date: 'published_at',
  date_created: 'published_at',
  created: 'published_at',
  happened_date: 'happened_at',
  date_of_occurrence: 'happened_at',
}
const THREATQ_PASSED_OVER = new Set(['last_modified', 'date_modified', 'modified', 'updated', 'hash', 'sync_hash'])

/** Undefined: passed over. Throws nothing: an unknown name is null. */
function columnNamed(given: string, dialect: CsvDialect = 'own'): string | null | undefined {
  const attribute = /^attribute:\s*(.+)$/i.exec(given.trim())
  if (attribute) return `attribute:${attribute[1]!.trim()}`
  const name = given
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_')
  if (Object.hasOwn(CSV_COLUMNS, name)) return name
  if (PASSED_OVER.has(name)) return undefined
  if (dialect === 'threatq' && !Object.hasOwn(SYNONYMS, name)) {
    if (Object.hasOwn(THREATQ_HEADINGS, name)) return THREATQ_HEADINGS[name]
    if (THREATQ_PASSED_OVER.has(name) || name === '') return undefined
    return `attribute:${given.trim()}`
  }
  return Object.hasOwn(SYNONYMS, name) ? SYNONYMS[name] : null
}

function headerOf(header: readonly string[], file: string, dialect: CsvDialect): (string | undefined)[] {
  const columns = header.map((given, i) => {
    const column = columnNamed(given, dialect)
    if (column !== null) return column
    const known = Object.keys(CSV_COLUMNS).join(', ')
    throw fileFault(
      file,
      1,
      i + 1,
      `the header has "${given.slice(0, 80)}", which is none of ${known} or attribute:NAME (--format threatq takes other columns as attributes)`,
    )
  })
  const twice = columns.find((column, i) => column !== undefined && columns.indexOf(column) !== i)
  if (twice !== undefined) throw fileFault(file, 1, columns.lastIndexOf(twice) + 1, `the header has "${twice}" twice`)
  if (!columns.includes('value')) throw fileFault(file, 1, 1, 'the header has no "value"')
  return columns
}

function stageRecord(
  columns: readonly (string | undefined)[],
  record: readonly (string | null)[],
  given: Readonly<Record<string, string | null>>,
  place: string,
  vocabulary: Vocabulary,
  intake: Intake,
): void {
  const fields: Record<string, string> = {}
  const attributes: AttributeClaim[] = []
  columns.forEach((column, i) => {
    const value = record[i]
    if (column === undefined || value === null || value === undefined || value === '') return
    if (column.startsWith('attribute:')) attributes.push({ name: column.slice(10), value })
    else fields[column] = value
  })
  try {
    for (const text of record)
      if (text !== null && !text.isWellFormed()) throw new RangeError('a field holds half a character')
    const { attributes: json, tags, sources, ...plain } = fields
    const own = list(sources, vocabulary.open)
    intake.staged.add(
      claimOf(
        {
          ...(plain as ObjectFields),
          tags: list(tags, vocabulary.open),
          sources: own.length === 0 ? [intake.claim()] : own.map((name) => ({ ...intake.claim(), name })),
          attributes: [...attributes, ...attributesOf(json)],
        },
        vocabulary,
      ),
    )
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    intake.refuse(place, 'form', error.message, given)
  }
}

/** `loose`: of a file whose separator nobody wrote down. */
function list(text: string | undefined, loose = false): string[] {
  if (text === undefined) return []
  const given = text.trim()
  const parts = given.startsWith('[') ? jsonList(given) : given.split(loose ? /[|;,\n]/ : '|')
  return [...new Set(parts.map((part) => part.trim()).filter((part) => part !== ''))]
}

function jsonList(text: string): string[] {
  const parsed = json(text)
  if (!Array.isArray(parsed) || !parsed.every((one) => typeof one === 'string'))
    throw new RangeError('a list in brackets is no JSON list of texts')
  return parsed as string[]
}

function json(text: string): Json {
  try {
    return parseJson(text, 'field').value
  } catch {
    throw new RangeError(`"${text.slice(0, 60)}" is no JSON`)
  }
}

const joined = (names: readonly string[]): string | null =>
  names.length === 0
    ? null
    : names.some((name) => name.includes('|') || name.startsWith('[') || name.trim() !== name)
      ? JSON.stringify(names)
      : names.join('|')

function attributesOf(text: string | undefined): AttributeClaim[] {
  if (text === undefined) return []
  const given = json(text)
  if (!isObject(given)) throw new RangeError('attributes is no JSON object')
  return Object.keys(given).flatMap((name) => {
    const value = property(given, name)!
    return (Array.isArray(value) ? listOf(value) : [value]).map((one) => {
      if (one !== null && typeof one !== 'string') throw new RangeError(`the attribute ${name.slice(0, 60)} is no text`)
      return { name, value: one }
    })
  })
}
