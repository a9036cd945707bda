/**
 * ThreatQ's API as JSON: pages of its collections, one file each, as `{total, data: […]}`. Ids of types and statuses
 * differ from one installation to the next, so a row is taken by names only: its own, or those of a dictionary page.
 */
import { TLP_NAMES, type TlpName, tlpNamed } from '../dictionaries.ts'
import type { Library } from '../library.ts'
import { GENERIC_OBJECTS } from '../model.ts'
import {
  type AttributeClaim,
  type CommentClaim,
  derivedUid,
  type ObjectClaim,
  type ObjectRef,
  type SourceClaim,
  tableOfCode,
} from '../stagedObjects.ts'
import { claimOf, readVocabulary, time, type Vocabulary } from './fields.ts'
import type { Intake } from './intake.ts'
import {
  ExactNumber,
  isObject,
  type Json,
  type JsonFile,
  type JsonObject,
  listOf,
  property,
  textOf,
} from './jsonFile.ts'
import { storable } from './stixObject.ts'
import type { FileContents } from './threatqFiles.ts'

/** Rows of a page, of several in a list, or of one object's answer; undefined when it is no answer of the API. */
export function threatqRows(value: Json): readonly Json[] | undefined {
  if (Array.isArray(value)) {
    const pages = (value as readonly Json[]).map(threatqRows)
    return pages.length > 0 && pages.every((page) => page !== undefined) ? pages.flat() : undefined
  }
  if (!isObject(value)) return undefined
  const data = property(value, 'data')
  return Array.isArray(data) ? (data as readonly Json[]) : isObject(data) ? [data] : undefined
}

/** Whether JSON is such an answer without being told: others have a `data` too. */
export const isThreatq = (value: Json): boolean => {
  const pages = Array.isArray(value) ? (value as readonly Json[]) : [value]
  return (
    pages.length > 0 &&
    pages.every((page) => isObject(page) && property(page, 'total') !== undefined && threatqRows(page) !== undefined)
  )
}

/** Dictionary pages are read before those that need them. */
export const isDictionaryName = (name: string): boolean => DICTIONARIES.has(collectionOf(name) ?? '')

/** A refused row as quarantine keeps it; a record of ThreatQ's CSV has texts only. */
export const heldPage = (record: Json): { readonly row: Json; readonly code?: string } | undefined => {
  const row = isObject(record) ? property(record, 'row') : undefined
  return row === undefined || typeof row !== 'object' ? undefined : { row, code: codeIn(record as JsonObject) }
}

export class ThreatqPages {
  readonly #intake: Intake
  readonly #vocabulary: Vocabulary
  readonly #contents: FileContents | undefined
  /** Dictionary and id to name. */
  readonly #names = new Map<string, string>()
  readonly #refs = new Map<string, ObjectRef>()
  readonly #related: Related[] = []
  readonly #linked = new Set<string>()

  static async open(library: Library, intake: Intake, contents?: FileContents): Promise<ThreatqPages> {
    return new ThreatqPages(intake, { ...(await readVocabulary(library)), open: true }, contents)
  }

  private constructor(intake: Intake, vocabulary: Vocabulary, contents: FileContents | undefined) {
    this.#intake = intake
    this.#vocabulary = vocabulary
    this.#contents = contents
  }

  /** `name`: of the file, which tells the collection where the rows do not. */
  async page(file: JsonFile, name: string): Promise<void> {
    const collection = collectionOf(name)
    const rows = threatqRows(file.value)!
    const dictionary = DICTIONARIES.get(collection ?? '')
    for (const row of rows) {
      const place = `${name} line ${file.lineOf(row)}`
      const fault = file.faultOf(row)
      if (fault !== undefined) this.#intake.refuse(place, 'form', fault, heldRow(row))
      else if (dictionary !== undefined) this.#entry(dictionary, row, place)
      else await this.row(row, place, collection)
      await this.#intake.breathe()
    }
  }

  /** One object, of a page or out of quarantine. */
  async row(row: Json, place: string, collection?: string): Promise<void> {
    if (!isObject(row)) {
      this.#intake.refuse(place, 'form', 'it is no object', heldRow(row))
      return
    }
    let code: string | undefined
    try {
      code = this.#codeOf(row, collection)
      const ref = await this.#stage(code, row)
      for (const related of relatedOf(row)) this.#related.push({ ...related, from: ref, place })
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      const isUnknownId = error instanceof UnknownId
      this.#intake.refuse(place, isUnknownId ? 'reference' : 'form', error.message, heldRow(row, code))
    }
  }

  /** Links, when every page was read: what is related is named with few of its fields, and a page may have them all. */
  async finish(): Promise<void> {
    for (const { from, code, row, place } of this.#related) {
      try {
        const to = this.#refs.get(this.#keyOf(code, row)) ?? (await this.#stage(code, row))
        const ends = [`${from.table.name} ${from.id}`, `${to.table.name} ${to.id}`].sort()
        if (this.#linked.has(ends.join())) continue
        this.#linked.add(ends.join())
        this.#intake.staged.link({ from, to, relationship: null, sources: [this.#intake.claim()] })
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        this.#intake.refuse(place, 'reference', `related ${code}: ${error.message}`, heldRow(row, code))
      }
      await this.#intake.breathe()
    }
    this.#related.length = 0
  }

  #entry(dictionary: string, row: Json, place: string): void {
    const id = isObject(row) ? scalar(property(row, 'id')) : undefined
    const name = isObject(row) ? nameIn(property(row, 'name')) : undefined
    if (id === undefined || name === undefined)
      this.#intake.refuse(place, 'form', 'it has no id and name', heldRow(row))
    else this.#names.set(`${dictionary} ${id}`, name)
  }

  #codeOf(row: JsonObject, collection: string | undefined): string {
    const said = textOf(property(row, 'object_code'))
    const code = said ?? decisiveShape(row) ?? collection ?? this.#weakShape(row)
    if (code === undefined)
      throw new RangeError('nothing says what kind of object it is; name the file for its collection: campaigns.json')
    const plain = CODES.get(wordOf(code)) ?? wordOf(code)
    if (!/^[a-z][a-z0-9_-]{0,99}$/.test(plain)) throw new RangeError(`"${code.slice(0, 60)}" is no kind of object`)
    return plain
  }

  #weakShape(row: JsonObject): string | undefined {
    const has = (name: string): boolean => property(row, name) !== undefined
    if (has('name') && !has('value') && !has('title')) return 'adversary'
    const type = has('value') ? this.#nameOf(row, 'type', 'indicator_types') : undefined
    return type !== undefined && this.#vocabulary.indicatorTypes.includes(type) ? 'indicator' : undefined
  }

  async #stage(code: string, row: JsonObject): Promise<ObjectRef> {
    if (scalar(property(row, 'deleted_at')) !== undefined) throw new RangeError('it is deleted in ThreatQ')
    const claim = code === 'attachment' ? await this.#file(row) : this.#claim(code, row)
    const ref = this.#intake.staged.add({
      ...claim,
      sources: this.#sources(row),
      attributes: this.#attributes(row),
      tags: tagsOf(row),
      comments: commentsOf(row, code),
    })
    const key = this.#keyOf(code, row)
    if (!this.#refs.has(key)) this.#refs.set(key, ref)
    return ref
  }

  #claim(code: string, row: JsonObject): ObjectClaim {
    const value = nameOfRow(row)
    const type = this.#named(row, 'type', `${code}_types`)
    if (code === 'indicator' && type === undefined) throw new RangeError('the indicator has no type')
    const score = property(row, 'score')
    const moment = (name: string): string | undefined => scalar(property(row, name))
    const [first, ...others] = descriptionsOf(row)
    const claim = claimOf(
      {
        object: code,
        value,
        type,
        status: this.#named(row, 'status', `${code}_statuses`),
        description: first,
        score: isObject(score) ? wholeScore(property(score, 'manual_score')) : undefined,
        published_at: moment('published_at') ?? moment('created_at'),
        ...(code === 'indicator' ? { expires_at: moment('expires_at') } : {}),
        ...(code === 'event' ? { happened_at: moment('happened_at') } : {}),
      },
      this.#vocabulary,
    )
    const columns: Record<string, string | null> = { ...claim.columns }
    for (const { name, type: kind } of tableOfCode(code).columns) {
      if (!MORE_COLUMNS.has(name)) continue
      const given = scalar(property(row, name))
      columns[name] = kind === 'time' ? time(name, given) : (storable(given, 65_500) ?? null)
    }
    if (code === 'signature') columns.name = storable(scalar(property(row, 'name')), 65_500) ?? null
    if (code === 'task')
      // Nothing else tells two tasks apart.
      return { ...claim, columns, uid: derivedUid('threatq task', this.#intake.source, moment('id') ?? '', value) }
    if (others.length > 0) columns.description = [first, ...others].join('\n\n')
    return { ...claim, columns }
  }

  /** A file is known by its content's SHA-256, which ThreatQ's API does not tell: its content tells it. */
  async #file(row: JsonObject): Promise<ObjectClaim> {
    const name = storable(scalar(property(row, 'name')) ?? scalar(property(row, 'title')), 65_500)
    if (name === undefined) throw new RangeError('the file has no name')
    const md5 = textOf(property(row, 'hash'))?.toLowerCase()
    const said = textOf(property(row, 'sha256'))?.toLowerCase()
    const found = md5 === undefined ? undefined : await this.#contents?.find(md5)
    const sha256 = found?.sha256 ?? (said !== undefined && /^[0-9a-f]{64}$/.test(said) ? said : undefined)
    if (sha256 === undefined)
      throw new RangeError('its content is not in the folder "files" beside the page: a file is known by its SHA-256')
    const flag = scalar(property(row, 'malware_locked'))
    return {
      code: 'attachment',
      type: this.#named(row, 'type', 'attachment_types'),
      contentType: nameIn(property(row, 'content_type')),
      columns: {
        name,
        title: storable(scalar(property(row, 'title')), 65_500) ?? null,
        description: descriptionsOf(row)[0] ?? null,
        sha256,
        hash: md5 !== undefined && /^[0-9a-f]{32}$/.test(md5) ? md5 : null,
        file_size: found ? String(found.size) : (wholeNumber(property(row, 'file_size')) ?? null),
        malware_locked: flag === '1' || flag === 'true' ? '1' : flag === undefined ? null : '0',
        published_at: time(
          'published_at',
          scalar(property(row, 'published_at')) ?? scalar(property(row, 'created_at')),
        ),
      },
    }
  }

  /** Name of a type or status: its own, or that of its id. Throws an UnknownId where there is only an unknown id. */
  #named(row: JsonObject, what: 'type' | 'status', dictionary: string): string | undefined {
    const name = this.#nameOf(row, what, dictionary)
    const id = scalar(property(row, `${what}_id`))
    if (name !== undefined || id === undefined) return name
    throw new UnknownId(
      `${what}_id ${id.slice(0, 20)} has no name here, and ids differ between installations; ` +
        `export with=${what}, or give ${dictionary}.json too`,
    )
  }

  #nameOf(row: JsonObject, what: 'type' | 'status', dictionary: string): string | undefined {
    const given = property(row, what)
    const name = nameIn(given) ?? nameIn(property(row, `${what}_name`))
    const id = scalar(property(row, `${what}_id`)) ?? (isObject(given) ? scalar(property(given, 'id')) : undefined)
    if (name !== undefined && id !== undefined) this.#names.set(`${dictionary} ${id}`, name)
    return name ?? (id === undefined ? undefined : this.#names.get(`${dictionary} ${id}`))
  }

  #sources(row: JsonObject): SourceClaim[] {
    const claims = this.#claimed(property(row, 'sources'))
    return claims.length > 0 ? claims : [this.#intake.claim()]
  }

  #claimed(list: Json | undefined): SourceClaim[] {
    return listOf(list).flatMap((source) => {
      const name = nameIn(source)
      if (name === undefined) return []
      const row = isObject(source) ? source : {}
      const type = textOf(property(row, 'type')) ?? textOf(property(row, 'source_type')) ?? ''
      const pivot = property(row, 'pivot')
      const tlp = tlpOf(row) ?? (isObject(pivot) ? tlpOf(pivot) : undefined) ?? this.#intake.tlp
      const publishedAt = time('published_at', scalar(property(row, 'published_at'))) ?? undefined
      return [{ name, type: SOURCE_TYPES.has(type) ? type : undefined, tlp, publishedAt }]
    })
  }

  #attributes(row: JsonObject): AttributeClaim[] {
    return listOf(property(row, 'attributes')).map((attribute) => {
      const inner = isObject(attribute) ? property(attribute, 'attribute') : undefined
      const name = isObject(attribute) ? (nameIn(property(attribute, 'name')) ?? nameIn(inner)) : undefined
      if (!isObject(attribute) || name === undefined) throw new RangeError('an attribute has no name')
      const value = storable(scalar(property(attribute, 'value')), 65_500) ?? null
      const sources = this.#claimed(property(attribute, 'sources'))
      return { name, value, ...(sources.length > 0 ? { sources } : {}) }
    })
  }

  #keyOf(code: string, row: JsonObject): string {
    const type = code === 'indicator' || code === 'signature' ? this.#nameOf(row, 'type', `${code}_types`) : ''
    return [code, type ?? '', nameOfRow(row), scalar(property(row, 'happened_at')) ?? ''].join('\0')
  }
}

// --- internal ---

/** An id whose name is not known. */
class UnknownId extends RangeError {}

const heldRow = (row: Json, code?: string): JsonObject => ({ row, ...(code === undefined ? {} : { code }) })
const codeIn = (record: JsonObject): string | undefined => textOf(property(record, 'code'))

interface Related {
  readonly from: ObjectRef
  readonly code: string
  readonly row: JsonObject
  readonly place: string
}

const MAX_NAME = 500

/** Collections as the API and its files name them, to object codes. */
const CODES: ReadonlyMap<string, string> = new Map(
  [
    ['indicator', 'indicators'],
    ['adversary', 'adversaries'],
    ['event', 'events'],
    ['attachment', 'attachments', 'file', 'files'],
    ['signature', 'signatures'],
    ['task', 'tasks'],
    ...GENERIC_OBJECTS.map(([code, singular, plural]) => [code, wordOf(singular), wordOf(plural)]),
  ].flatMap(([code, ...others]) => [code!, ...others].map((name) => [name, code!] as const)),
)

const DICTIONARIES: ReadonlyMap<string, string> = new Map(
  ['indicator', 'event', 'attachment', 'signature', 'task', ...GENERIC_OBJECTS.map(([code]) => code)].flatMap((code) =>
    ['types', 'statuses'].map((what) => [`${code}_${what}`, `${code}_${what}`] as const),
  ),
)

const SOURCE_TYPES: ReadonlySet<string> = new Set(['plugins', 'connectors', 'users', 'other_sources'])

/** Columns that a row gives under their own names. */
const MORE_COLUMNS: ReadonlySet<string> = new Set(
  (
    'class,last_detected_at,started_at,ended_at,first_seen,last_seen,point_of_contact,priority,due_at,assigned_at,' +
    'completed_at'
  ).split(','),
)

/** Names of these four do not differ between installations. */
const TLP_IDS: ReadonlyMap<string, TlpName> = new Map([
  ['1', 'red'],
  ['2', 'amber'],
  ['3', 'green'],
  ['4', 'white'],
])

function wordOf(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_')
}

/** `indicators-12.json` and `indicator_types.json` tell what is in them. */
function collectionOf(fileName: string): string | undefined {
  const stem = wordOf(fileName.replace(/\.json$/i, '')).replace(/[._]*\d*$/, '')
  return DICTIONARIES.has(stem) ? stem : CODES.get(stem)
}

function decisiveShape(row: JsonObject): string | undefined {
  const has = (...names: string[]): boolean => names.some((name) => property(row, name) !== undefined)
  if (has('happened_at')) return 'event'
  if (['network', 'host'].includes(textOf(property(row, 'class')) ?? '')) return 'indicator'
  if (has('file_size', 'content_type_id', 'malware_locked')) return 'attachment'
  if (has('name') && has('value') && has('type', 'type_id')) return 'signature'
  return has('due_at', 'assignee_source_id', 'completed_at', 'assigned_at') ? 'task' : undefined
}

function nameOfRow(row: JsonObject): string {
  for (const name of ['value', 'title', 'name']) {
    const value = scalar(property(row, name))
    if (value !== undefined && value !== '') return value
  }
  throw new RangeError('it has no value, title or name')
}

function descriptionsOf(row: JsonObject): string[] {
  const own = storable(textOf(property(row, 'description')))
  const listed = listOf(property(row, 'descriptions')).flatMap((one) => {
    const text = storable(isObject(one) ? textOf(property(one, 'value')) : textOf(one))
    return text === undefined ? [] : [text]
  })
  return [...new Set([...(own === undefined ? [] : [own]), ...listed])]
}

function tagsOf(row: JsonObject): string[] {
  return listOf(property(row, 'tags')).flatMap((tag) => nameIn(tag) ?? [])
}

function commentsOf(row: JsonObject, code: string): CommentClaim[] {
  return listOf(property(row, 'comments')).flatMap((comment) => {
    const value = isObject(comment) ? storable(textOf(property(comment, 'value')), 65_500) : undefined
    if (!isObject(comment) || value === undefined) return []
    const sourceName =
      nameIn(property(comment, 'source_name')) ??
      nameIn(property(comment, 'creator_source')) ??
      nameIn(listOf(property(comment, 'sources'))[0])
    const at = scalar(property(comment, 'created_at')) ?? ''
    return [{ value, sourceName, uid: derivedUid('threatq comment', code, nameOfRow(row), at, value) }]
  })
}

/** Objects within an object, as `with=adversaries,malware` gives them. */
function* relatedOf(row: JsonObject): Generator<Pick<Related, 'code' | 'row'>> {
  for (const key of Object.keys(row)) {
    const code = CODES.get(wordOf(key))
    if (code !== undefined) for (const one of listOf(row[key])) if (isObject(one)) yield { code, row: one }
  }
}

/** A TLP that cannot be read is refused: to pass over it would widen it. */
function tlpOf(row: JsonObject): TlpName | undefined {
  const given = property(row, 'tlp')
  const text = nameIn(given) ?? nameIn(property(row, 'tlp_name'))
  if (text !== undefined) {
    const tlp = tlpNamed(text)
    if (tlp === undefined) throw new RangeError(`the TLP "${text.slice(0, 40)}" is none of ${TLP_NAMES.join(', ')}`)
    return tlp
  }
  const id = scalar(property(row, 'tlp_id')) ?? (isObject(given) ? scalar(property(given, 'id')) : undefined)
  if (id === undefined) return undefined
  const tlp = TLP_IDS.get(id)
  if (tlp === undefined) throw new UnknownId(`tlp_id ${id.slice(0, 20)} has no name here; export the name of the TLP`)
  return tlp
}

function nameIn(value: Json | undefined): string | undefined {
  const name = isObject(value) ? (textOf(property(value, 'name')) ?? textOf(property(value, 'value'))) : textOf(value)
  return storable(name?.trim(), MAX_NAME)
}

/** The API writes numbers as texts here and there. */
function scalar(value: Json | undefined): string | undefined {
  if (value instanceof ExactNumber) return value.text
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return textOf(value)
}

function wholeNumber(value: Json | undefined): string | undefined {
  const text = scalar(value)
  return text !== undefined && /^\d{1,15}$/.test(text) ? text : undefined
}

/** `7` and `7.00`; what was never set is null or 0.00. */
function wholeScore(value: Json | undefined): string | undefined {
  const text = scalar(value)
  return text === undefined || Number(text) === 0 ? undefined : text
}
