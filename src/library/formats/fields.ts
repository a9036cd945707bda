/** An object from plain fields, as CSV and a command line give them: names are looked up, and misspelt ones are told. */
import { sql } from 'kysely'
import { parseIsoTime } from '../../core/isoTime.ts'
import { nearest } from '../../core/nearest.ts'
import { TLP_NAMES, tlpNamed } from '../dictionaries.ts'
import type { Library } from '../library.ts'
import { OBJECT_TABLE_BY_CODE } from '../model.ts'
import { indicatorTypeOf, normalizeIndicator } from '../observables.ts'
import type { AttributeClaim, CommentClaim, ObjectClaim, SourceClaim } from '../stagedObjects.ts'
import { stixUid, tableOfCode } from '../stagedObjects.ts'
import type { Json } from './jsonFile.ts'
import { isStixId } from './stixObject.ts'

export interface ObjectFields {
  /** Code or name of an object type; an indicator without it. */
  readonly object?: string
  readonly value?: string
  readonly type?: string
  readonly status?: string
  readonly description?: string
  readonly tlp?: string
  readonly score?: string
  readonly published_at?: string
  readonly expires_at?: string
  readonly happened_at?: string
  readonly stix_id?: string
  readonly tags?: readonly string[]
  readonly sources?: readonly SourceClaim[]
  readonly attributes?: readonly AttributeClaim[]
  readonly comments?: readonly CommentClaim[]
}

/** Names that the library has. */
export interface Vocabulary {
  /** Types and statuses that are not among them are taken as they are, as a system that defines its own gives them. */
  readonly open?: boolean
  readonly codes: readonly (readonly [code: string, ...names: string[]])[]
  readonly indicatorTypes: readonly string[]
  readonly eventTypes: readonly string[]
  readonly signatureTypes: readonly string[]
  readonly indicatorStatuses: readonly string[]
  readonly signatureStatuses: readonly string[]
  readonly taskStatuses: readonly string[]
}

export async function readVocabulary({ database: { db } }: Library): Promise<Vocabulary> {
  const names = async (table: string): Promise<string[]> => {
    const { rows } = await sql<{ name: string }>`select name from ${sql.table(table)} where deleted_at is null`.execute(
      db,
    )
    return rows.map(({ name }) => name)
  }
  const { rows } = await sql<{ code: string; name: string; name_plural: string | null }>`
    select code, name, name_plural from objects where deleted_at is null`.execute(db)
  return {
    codes: rows.map(({ code, name, name_plural }) => [code, name, name_plural ?? name]),
    indicatorTypes: await names('indicator_types'),
    eventTypes: await names('event_types'),
    signatureTypes: await names('signature_types'),
    indicatorStatuses: await names('indicator_statuses'),
    signatureStatuses: await names('signature_statuses'),
    taskStatuses: await names('task_statuses'),
  }
}

/** Throws a RangeError that says what of the fields cannot be taken. */
export function claimOf(fields: ObjectFields, vocabulary: Vocabulary): ObjectClaim {
  const code = codeNamed(fields.object ?? 'indicator', vocabulary)
  const value = fields.value?.trim() ?? ''
  if (value === '') throw new RangeError('the value is missing')
  if (!value.isWellFormed() || value.includes('\0')) throw new RangeError('the value holds a NUL or half a character')
  if (Buffer.byteLength(value) > MAX_VALUE) throw new RangeError(`the value is longer than ${MAX_VALUE} bytes`)
  const tlp = tlpFrom(fields.tlp)
  const columns: Record<string, string | null> = { description: fields.description ?? null }
  const { stix_id: stixId } = fields
  if (stixId !== undefined && !isStixId(stixId as Json)) throw new RangeError(`"${stixId.slice(0, 80)}" is no STIX id`)
  columns.stix_id = stixId ?? null
  columns.published_at = time('published_at', fields.published_at)
  const base = {
    code,
    columns,
    uid: stixId === undefined ? undefined : stixUid(stixId),
    tags: fields.tags,
    sources: fields.sources?.map((source) => ({ ...source, tlp: tlp ?? source.tlp })),
    attributes: fields.attributes,
    comments: fields.comments,
  }
  const score = scoreFrom(fields.score)
  if (score !== undefined && code !== 'indicator') throw new RangeError('only an indicator has a score')
  if (fields.expires_at !== undefined && code !== 'indicator') throw new RangeError('only an indicator expires')
  if (fields.happened_at !== undefined && code !== 'event') throw new RangeError('only an event has happened_at')
  switch (code) {
    case 'indicator': {
      const known = fields.type === undefined ? indicatorTypeOf(value) : undefined
      if (fields.type === undefined && !known)
        throw new RangeError(`"${value.slice(0, 80)}" has the form of no indicator type; name one`)
      const type = known?.type ?? named('indicator type', fields.type!, vocabulary.indicatorTypes, vocabulary)
      columns.value = known?.value ?? (DEFANGED.test(value) ? normalizeIndicator(type, value) : value)
      columns.expires_at = time('expires_at', fields.expires_at)
      const status = statusOf(fields.status, vocabulary.indicatorStatuses, vocabulary)
      return { ...base, type, status, manualScore: score }
    }
    case 'event': {
      columns.title = value
      columns.happened_at = time('happened_at', fields.happened_at)
      if (columns.happened_at === null) throw new RangeError('an event needs happened_at')
      return {
        ...base,
        type:
          fields.type === undefined ? undefined : named('event type', fields.type, vocabulary.eventTypes, vocabulary),
      }
    }
    case 'signature':
      columns.value = value
      if (fields.type === undefined) throw new RangeError('a signature needs a type')
      return {
        ...base,
        type: named('signature type', fields.type, vocabulary.signatureTypes, vocabulary),
        status: statusOf(fields.status, vocabulary.signatureStatuses, vocabulary),
      }
    case 'task':
      columns.name = value
      return { ...base, status: statusOf(fields.status, vocabulary.taskStatuses, vocabulary) }
    case 'attachment':
      throw new RangeError('a file needs its content')
    case 'adversary':
    case 'investigation':
      columns.name = value
      return base
    default:
      columns.value = value
      return { ...base, type: fields.type, status: fields.status }
  }
}

/** Object code of a code or a name, whatever its case. Throws a RangeError. */
export function codeNamed(given: string, { codes, open = false }: Vocabulary): string {
  const wanted = plain(given)
  const found = codes.find((names) => names.some((name) => plain(name) === wanted))
  if (found && (OBJECT_TABLE_BY_CODE.has(found[0]) || tableOfCode(found[0]).name === 'custom_objects')) return found[0]
  if (open && /^[a-z][a-z0-9_]{0,99}$/.test(wanted)) return wanted
  throw new RangeError(
    unknown(
      'object type',
      given,
      codes.map(([code]) => code),
    ),
  )
}

/** Throws a RangeError. */
export function tlpFrom(given: string | undefined): string | undefined {
  if (given === undefined || given.trim() === '') return undefined
  const tlp = tlpNamed(given)
  if (tlp === undefined) throw new RangeError(unknown('TLP', given, TLP_NAMES))
  return tlp
}

/** Microseconds; a date alone is its midnight UTC. Throws a RangeError. */
export function time(name: string, given: string | undefined): string | null {
  if (given === undefined || given.trim() === '') return null
  const text = given.trim()
  const bytes = Buffer.from(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text)
  const found = parseIsoTime(bytes, 0, bytes.length)
  if (Number.isNaN(found)) throw new RangeError(`${name} "${text.slice(0, 40)}" is no time like 2024-05-31T12:00:00Z`)
  return String(found)
}

// --- internal ---

const MAX_VALUE = 65_500
const DEFANGED = /\[[.:@]|[[({](?:dot|at)[\])}]|^hxxp|^fxp/i

const plain = (text: string): string =>
  text
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_')

const statusOf = (given: string | undefined, known: readonly string[], open: Vocabulary): string | undefined =>
  given === undefined ? undefined : named('status', given, known, open)

function named(kind: string, given: string, known: readonly string[], { open = false }: Vocabulary): string {
  const found = known.find((name) => plain(name) === plain(given)) ?? (open ? given.trim() : undefined)
  if (found === undefined) throw new RangeError(unknown(kind, given, known))
  return found
}

function unknown(kind: string, given: string, known: readonly string[]): string {
  const guess = nearest(given, known)
  const some = known.length <= 12 ? `; there are ${known.join(', ')}` : ''
  return `the ${kind} "${given.slice(0, 80)}" is unknown${guess === undefined ? some : `; did you mean ${guess}?`}`
}

function scoreFrom(given: string | undefined): number | undefined {
  if (given === undefined || given.trim() === '') return undefined
  const score = Number(given)
  if (!/^\d{1,2}(?:\.0+)?$/.test(given.trim()) || score > 10)
    throw new RangeError(`the score "${given.slice(0, 20)}" is none of 0 to 10`)
  return score
}
