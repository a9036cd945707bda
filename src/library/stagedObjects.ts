/**
 * Objects with their context and links as a format gives them, turned into rows of every table for the merge: numbers
 * within the run, dictionary rows once each, uids. Every format and `library add` write to the library through it.
 */
import { naturalKey, parseUid, uidOfNaturalKey, uidRange, uidText } from './identity.ts'
import type { StagedRow, Staging } from './merge/staging.ts'
import { dumpColumns, GENERIC_OBJECTS, OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, TABLES, type Table } from './model.ts'

export interface SourceClaim {
  readonly name: string
  /** Of `sources`: other_sources unless said otherwise. */
  readonly type?: string
  readonly tlp?: string
  /** Microseconds. */
  readonly publishedAt?: string
}

export interface AttributeClaim {
  readonly name: string
  readonly value: string | null
  readonly sources?: readonly SourceClaim[]
}

export interface CommentClaim {
  readonly value: string
  readonly sourceName?: string
  /** With hyphens, where the comment has one of its own. */
  readonly uid?: string
}

export interface ContextClaim {
  readonly sources?: readonly SourceClaim[]
  readonly attributes?: readonly AttributeClaim[]
  readonly comments?: readonly CommentClaim[]
}

export interface ObjectClaim extends ContextClaim {
  /** A code of the registry, or that of a custom type. */
  readonly code: string
  /** Own columns in dump form, by name; references by what they refer to are the fields below. */
  readonly columns: Readonly<Record<string, string | null>>
  /** With hyphens; without it the natural key alone tells whether the object is known. */
  readonly uid?: string
  /** Names in the dictionaries of the object's type. */
  readonly type?: string
  readonly status?: string
  readonly contentType?: string
  readonly tags?: readonly string[]
  readonly manualScore?: number
  readonly deleted?: boolean
}

export interface LinkClaim extends ContextClaim {
  readonly from: ObjectRef
  readonly to: ObjectRef
  readonly relationship: string | null
  readonly columns?: Readonly<Record<string, string | null>>
  readonly uid?: string
}

/** An object of the run, or one of the library that the run refers to. */
export interface ObjectRef {
  readonly table: Table
  readonly id: string
}

/** A uid that is the same for the same parts, so that a second import of a thing meets the first. */
export const derivedUid = (...parts: readonly string[]): string => uidText(uidOfNaturalKey(naturalKey('uid', parts)))

/** The uid of whatever bears this STIX id: what is renamed is still found. */
export const stixUid = (stixId: string): string => derivedUid('stix', stixId)

/** The table of an object code; custom types share one. */
export const tableOfCode = (code: string): Table =>
  OBJECT_TABLE_BY_CODE.get(code) ?? TABLE_BY_NAME.get('custom_objects')!

export class StagedObjects {
  /** Objects staged so far, without those that are only referred to. */
  objects = 0
  links = 0
  readonly #now: string
  readonly #rows = new Map<Table, StagedRow[]>()
  readonly #known = new Map<Table, StagedRow[]>()
  readonly #numbers = new Map<Table, number>()
  readonly #dictionary = new Map<string, string>()
  readonly #references = new Map<string, ObjectRef>()
  #uids = uidRange(0)
  #usedUids = UIDS
  #shard = 0

  /** `now`: microseconds; when the run's rows were made and changed here. */
  constructor({ now }: { readonly now: number }) {
    this.#now = String(now)
  }

  /** Rows that wait for `flush`. */
  get waiting(): number {
    let count = 0
    for (const rows of this.#rows.values()) count += rows.length
    return count
  }

  add(claim: ObjectClaim): ObjectRef {
    const { code, columns, type, status, contentType, tags = [], manualScore, uid } = claim
    const table = tableOfCode(code)
    const values: Record<string, string | null> = { ...columns }
    if (table.name === 'custom_objects') values.object_id = this.#objectKind(code)
    if (type !== undefined) values.type_id = this.#typeOrStatus(table, code, 'type_id', type)
    if (status !== undefined) values.status_id = this.#typeOrStatus(table, code, 'status_id', status)
    if (contentType !== undefined) values.content_type_id = this.#named('content_types', contentType)
    const row = { table, id: this.#row(table, values, uid, claim.deleted) }
    this.objects += 1
    this.#context(row, table.objectCode!, claim, uid)
    for (const tag of new Set(tags))
      this.#row(TABLE_BY_NAME.get('tagged_objects')!, {
        tag_id: this.#named('tags', tag),
        object_type: table.objectCode!,
        object_id: row.id,
      })
    if (manualScore !== undefined)
      this.#row(TABLE_BY_NAME.get('indicator_scores')!, { indicator_id: row.id, manual_score: String(manualScore) })
    return row
  }

  link({ from, to, relationship, columns = {}, uid, ...context }: LinkClaim): void {
    const table = TABLE_BY_NAME.get('object_links')!
    const id = this.#row(
      table,
      {
        ...columns,
        src_type: from.table.objectCode!,
        src_object_id: from.id,
        dest_type: to.table.objectCode!,
        dest_object_id: to.id,
        relationship,
      },
      uid,
    )
    this.links += 1
    this.#context({ table, id }, 'object_link', context, uid)
  }

  /** An object of the library that is not part of the run, by its uid with hyphens. */
  existing(table: Table, uid: string): ObjectRef {
    const key = `${table.name}\0${uid}`
    let found = this.#references.get(key)
    if (!found) {
      found = { table, id: this.#number(table) }
      this.#references.set(key, found)
      put(
        this.#known,
        table,
        dumpColumns(table).map(({ name }) => (name === 'id' ? found!.id : name === 'uid' ? uid : null)),
      )
    }
    return found
  }

  /** Loads what waits, parents first, and forgets it: what comes later may still refer to it. */
  async flush(staging: Staging): Promise<void> {
    this.#shard += 1
    for (const table of TABLES) {
      const known = this.#known.get(table)
      if (known) await staging.load(table, known, { shard: `${table.name}-known-${this.#shard}`, referenceOnly: true })
      const rows = this.#rows.get(table)
      if (rows) await staging.load(table, rows, { shard: `${table.name}-${this.#shard}` })
    }
    this.#known.clear()
    this.#rows.clear()
  }

  /** Rows that wait, by table: what tests of formats look at. */
  rows(): ReadonlyMap<Table, readonly StagedRow[]> {
    return this.#rows
  }

  #context(owner: ObjectRef, prefix: string, claim: ContextClaim, uid: string | undefined): void {
    const { sources = [], attributes = [], comments = [] } = claim
    const ownerColumn = `${prefix}_id`
    const tables = (suffix: string): Table => TABLE_BY_NAME.get(`${prefix}_${suffix}`)!
    for (const source of distinct(sources, ({ type, name }) => `${type}\0${name}`))
      this.#row(tables('sources'), { [ownerColumn]: owner.id, ...this.#sourceColumns(source) })
    for (const attribute of joined(attributes)) {
      const id = this.#row(tables('attributes'), {
        [ownerColumn]: owner.id,
        attribute_id: this.#named('attributes', attribute.name),
        value: attribute.value,
      })
      for (const source of distinct(attribute.sources ?? sources, ({ type, name }) => `${type}\0${name}`))
        this.#row(tables('attribute_sources'), { [`${prefix}_attribute_id`]: id, ...this.#sourceColumns(source) })
    }
    for (const comment of comments)
      this.#row(
        tables('comments'),
        { [ownerColumn]: owner.id, value: comment.value, source_name: comment.sourceName ?? null },
        // Nothing else tells two comments apart: a second import must meet those of the first.
        comment.uid ?? (uid === undefined ? undefined : derivedUid('comment', uid, comment.value)),
      )
  }

  #sourceColumns({ name, type = 'other_sources', tlp, publishedAt }: SourceClaim): Record<string, string | null> {
    const source = this.#once('sources', `${type}\0${name}`, () => ({ type, name }))
    return {
      source_id: source,
      tlp_id: tlp === undefined ? null : this.#named('tlp', tlp),
      published_at: publishedAt ?? null,
    }
  }

  #typeOrStatus(table: Table, code: string, column: 'type_id' | 'status_id', name: string): string {
    const { references } = table.columns.find((found) => found.name === column)!
    if (references !== 'object_types' && references !== 'object_statuses') return this.#named(references!, name)
    const objectId = this.#objectKind(code)
    return this.#once(references, `${code}\0${name}`, () => ({ object_id: objectId, name }))
  }

  #objectKind(code: string): string {
    return this.#once('objects', code, () => {
      const [, name, plural] = GENERIC_OBJECTS.find(([known]) => known === code) ?? []
      if (name !== undefined) return { code, name, name_plural: plural!, is_custom: 'N' }
      return { code, name: code, name_plural: code, is_custom: 'Y' }
    })
  }

  #named(table: string, name: string): string {
    return this.#once(table, name, () => ({ name }))
  }

  #once(tableName: string, key: string, make: () => Readonly<Record<string, string | null>>): string {
    const whole = `${tableName}\0${key}`
    let id = this.#dictionary.get(whole)
    if (id === undefined) {
      id = this.#row(TABLE_BY_NAME.get(tableName)!, make())
      this.#dictionary.set(whole, id)
    }
    return id
  }

  #row(table: Table, values: Readonly<Record<string, string | null>>, uid?: string, deleted = false): string {
    const columns = indexOf(table)
    const row: (string | null)[] = new Array(columns.size).fill(null)
    for (const [name, value] of Object.entries(values)) {
      const at = columns.get(name)
      if (at === undefined) throw new TypeError(`${table.name} has no column ${name} that travels`)
      row[at] = value
    }
    const id = this.#number(table)
    row[columns.get('id')!] = id
    row[columns.get('uid')!] = uid ?? this.#uid()
    row[columns.get('created_at')!] = this.#now
    row[columns.get('updated_at')!] = this.#now
    if (deleted) row[columns.get('deleted_at')!] = this.#now
    put(this.#rows, table, row)
    return id
  }

  #number(table: Table): string {
    const number = (this.#numbers.get(table) ?? 0) + 1
    this.#numbers.set(table, number)
    return String(number)
  }

  #uid(): string {
    if (this.#usedUids === UIDS) {
      this.#uids = uidRange(UIDS)
      this.#usedUids = 0
    }
    return uidText(this.#uids.at(this.#usedUids++))
  }
}

/** A uid that a file gives, in its one form. */
export const uidOf = (text: string): string | undefined => {
  const bytes = parseUid(text)
  return bytes && uidText(bytes)
}

// --- internal ---

const UIDS = 4_096
const indexes = new WeakMap<Table, ReadonlyMap<string, number>>()

function indexOf(table: Table): ReadonlyMap<string, number> {
  let found = indexes.get(table)
  if (!found) {
    found = new Map(dumpColumns(table).map(({ name }, i) => [name, i]))
    indexes.set(table, found)
  }
  return found
}

function put(rows: Map<Table, StagedRow[]>, table: Table, row: StagedRow): void {
  const list = rows.get(table)
  if (list) list.push(row)
  else rows.set(table, [row])
}

const distinct = <T>(list: readonly T[], keyOf: (of: T) => string): T[] => [
  ...new Map(list.map((one) => [keyOf(one), one])).values(),
]

/** An attribute that is given twice is one, with the sources of both. */
function joined(attributes: readonly AttributeClaim[]): AttributeClaim[] {
  const found = new Map<string, AttributeClaim>()
  for (const attribute of attributes) {
    const key = `${attribute.name}\0${attribute.value}`
    const before = found.get(key)
    const sources = [...(before?.sources ?? []), ...(attribute.sources ?? [])]
    found.set(key, sources.length > 0 ? { ...attribute, sources } : attribute)
  }
  return [...found.values()]
}
