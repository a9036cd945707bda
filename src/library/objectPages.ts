/**
 * Objects with their context, read in pages of ids: never more than a page is in memory. Times are microseconds, uids
 * have hyphens, whatever is a reference in the database is a name here.
 */
import { type Kysely, type RawBuilder, sql } from 'kysely'
import { liveSql, seenSql } from './changes.ts'
import { TLP_NAMES, type TlpName, tlpRank } from './dictionaries.ts'
import { isReference, isUidColumn, uidText } from './identity.ts'
import { type Column, TABLE_BY_NAME, type Table } from './model.ts'
import type { LibraryTables } from './schema.ts'

export interface SourceOf {
  readonly type: string
  readonly name: string
  /** Its own, else the source's default. */
  readonly tlp: TlpName | null
  readonly publishedAt: number | null
  readonly createdChange: number
}

export interface AttributeOf {
  readonly uid: string
  readonly name: string
  readonly value: string | null
  readonly sources: readonly SourceOf[]
  readonly createdChange: number
}

export interface LibraryObject {
  readonly table: string
  /** Local: never shown, never exported. */
  readonly id: number
  readonly uid: string
  /** Object code; of a custom object its own. */
  readonly object: string
  readonly type: string | null
  readonly status: string | null
  /** What it is called: value, name or title. */
  readonly value: string
  readonly description: string | null
  /** Of indicators: network or host. */
  readonly class: string | null
  /** Of indicators: the higher of the manual score and its type's. */
  readonly score: number | null
  /** The widest of its sources' TLPs; null when one of them has none, or there is none. */
  readonly tlp: TlpName | null
  /** `expires_at` has passed, and the status is not protected. */
  readonly expired: boolean
  readonly createdAt: number
  readonly updatedAt: number
  readonly publishedAt: number | null
  readonly expiresAt: number | null
  readonly deletedAt: number | null
  readonly unpublishedAt: number | null
  readonly stixId: string | null
  /** Its other columns that have a value: texts, numbers, times, digests in hex; of references the name. */
  readonly fields: Readonly<Record<string, string | number>>
  readonly sources: readonly SourceOf[]
  readonly attributes: readonly AttributeOf[]
  readonly tags: readonly string[]
  readonly createdChange: number
  readonly change: number
}

export type ContextWanted = { readonly sources: boolean; readonly attributes: boolean; readonly tags: boolean }

export interface PageOptions {
  readonly deleted?: boolean
  readonly unpublished?: boolean
  /** Codes of `objects`: of custom objects only these. */
  readonly codes?: readonly string[]
  /** Only these ids. */
  readonly ids?: readonly number[]
  /** Microseconds, what expiry is measured by. */
  readonly now: number
}

type Db = Kysely<LibraryTables>
// biome-ignore lint/suspicious/noExplicitAny: rows of generated statements
type Row = Record<string, any>

/** The next page of a table's objects behind the id `after`, without context; empty at the end. */
export async function objectPage(
  db: Db,
  table: Table,
  after: number,
  size: number,
  options: PageOptions,
): Promise<LibraryObject[]> {
  const { deleted = false, unpublished = false, codes, ids, now } = options
  const shape = shapeOf(table)
  const conditions = [seenSql('t')]
  if (!deleted) conditions.push('t.deleted_at is null')
  if (!unpublished) conditions.push('t.unpublished_at is null')
  const among =
    codes !== undefined && shape.codeSql !== undefined
      ? sql` and ${sql.raw(shape.codeSql)} in (${sql.join(codes)})`
      : sql``
  const only = ids !== undefined ? sql` and t.id in (${sql.join(ids)})` : sql``
  const { rows } = await sql<Row>`${sql.raw(`${shape.select} where ${conditions.join(' and ')}`)}${among}${only}
    and t.id > ${after} order by t.id limit ${size}`.execute(db)
  return rows.map((row) => objectOf(table, shape, row, now))
}

/** Adds what is wanted and not there yet. `objects` are of one table, in the order of their ids. */
export async function withContext(
  db: Db,
  table: Table,
  objects: readonly LibraryObject[],
  { sources, attributes, tags }: ContextWanted,
): Promise<LibraryObject[]> {
  if (objects.length === 0) return []
  const code = table.objectCode!
  const owners: Owners = { between: [objects[0]!.id, objects.at(-1)!.id] }
  const bySource = sources ? await sourcesOf(db, code, owners) : undefined
  const byAttribute = attributes ? await attributesOf(db, code, owners) : undefined
  const byTag = tags ? await tagsOf(db, code, owners) : undefined
  return objects.map((object) => ({
    ...object,
    ...(bySource && { sources: bySource.get(object.id) ?? [], tlp: widest(bySource.get(object.id) ?? []) }),
    ...(byAttribute && { attributes: byAttribute.get(object.id) ?? [] }),
    ...(byTag && { tags: byTag.get(object.id) ?? [] }),
  }))
}

/** Sources, the same of links: owners by their ids. */
export async function sourcesOf(db: Db, prefix: string, owners: Owners): Promise<Map<number, SourceOf[]>> {
  const { rows } = await sql<Row>`${sql.raw(`select c.${prefix}_id as owner, ${SOURCE_COLUMNS}
    from ${prefix}_sources c ${SOURCE_JOINS} where ${liveSql('c')} and `)}${ownedBy(`c.${prefix}_id`, owners)}`.execute(
    db,
  )
  return grouped(rows, sourceOf, (a, b) => order(a.name, b.name) || order(a.type, b.type))
}

export async function attributesOf(db: Db, prefix: string, owners: Owners): Promise<Map<number, AttributeOf[]>> {
  const owner = `${prefix}_attribute_id`
  const { rows } =
    await sql<Row>`${sql.raw(`select a.id, a.uid, a.${prefix}_id as owner, n.name, a.value, a.created_change
    from ${prefix}_attributes a join attributes n on n.id = a.attribute_id
    where ${liveSql('a')} and `)}${ownedBy(`a.${prefix}_id`, owners)}`.execute(db)
  if (rows.length === 0) return new Map()
  const found = await sql<Row>`${sql.raw(`select c.${owner} as owner, ${SOURCE_COLUMNS}
    from ${prefix}_attributes a join ${prefix}_attribute_sources c on c.${owner} = a.id ${SOURCE_JOINS}
    where ${liveSql('c')} and `)}${ownedBy(`a.${prefix}_id`, owners)}`.execute(db)
  const sources = grouped(found.rows, sourceOf, (a, b) => order(a.name, b.name) || order(a.type, b.type))
  return grouped(
    rows,
    (row) => ({
      uid: uidText(row.uid),
      name: row.name as string,
      value: row.value as string | null,
      sources: sources.get(row.id) ?? [],
      createdChange: row.created_change as number,
    }),
    (a, b) => order(a.name, b.name) || order(a.value ?? '', b.value ?? ''),
  )
}

/** The widest of several: what decides how far the object may go. */
export function widest(sources: readonly Pick<SourceOf, 'tlp'>[]): TlpName | null {
  let least: number | undefined
  for (const { tlp } of sources) {
    if (tlp === null) return null
    least = Math.min(least ?? TLP_NAMES.length, tlpRank(tlp))
  }
  return least === undefined ? null : TLP_NAMES[least]!
}

/** The column by which people know an object. */
export function valueColumn(table: Table): string {
  const names = table.columns.map(({ name }) => name)
  return ['value', 'title', 'name'].find(
    (name) => names.includes(name) && !(name === 'title' && names.includes('name')),
  )!
}

/** Texts by code unit: the same in every database and language. */
export const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Whose context is wanted: all from the first id to the last, or only those named. */
export type Owners =
  | { readonly between: readonly [first: number, last: number] }
  | { readonly among: readonly number[] }

export const ownedBy = (column: string, owners: Owners): RawBuilder<unknown> =>
  'between' in owners
    ? sql`${sql.raw(column)} between ${owners.between[0]} and ${owners.between[1]}`
    : sql`${sql.raw(column)} in (${sql.join(owners.among)})`

export function grouped<T>(
  rows: readonly Row[],
  make: (row: Row) => T,
  compare: (a: T, b: T) => number,
): Map<number, T[]> {
  const groups = new Map<number, T[]>()
  for (const row of rows) {
    const group = groups.get(row.owner)
    if (group) group.push(make(row))
    else groups.set(row.owner, [make(row)])
  }
  for (const group of groups.values()) group.sort(compare)
  return groups
}

// --- internal ---

const SOURCE_COLUMNS = 's.type, s.name, tl.name as tlp, c.published_at, c.created_change'
const SOURCE_JOINS = 'join sources s on s.id = c.source_id left join tlp tl on tl.id = coalesce(c.tlp_id, s.tlp_id)'

const sourceOf = (row: Row): SourceOf => ({
  type: row.type,
  name: row.name,
  tlp: row.tlp,
  publishedAt: row.published_at,
  createdChange: row.created_change,
})

async function tagsOf(db: Db, code: string, owners: Owners): Promise<Map<number, string[]>> {
  const { rows } = await sql<Row>`${sql.raw(`select c.object_id as owner, g.name
    from tagged_objects c join tags g on g.id = c.tag_id where ${liveSql('c')}`)}
    and c.object_type = ${code} and ${ownedBy('c.object_id', owners)}`.execute(db)
  return grouped(rows, ({ name }) => name as string, order)
}

/** How a table's objects are read. */
interface Shape {
  readonly select: string
  /** SQL of the object's code, where rows differ in it. */
  readonly codeSql: string | undefined
  /** Columns of `fields`, by the name that they have there. */
  readonly fields: readonly (readonly [name: string, column: Column])[]
  readonly hasProtection: boolean
}

/** Columns of an object that have a place of their own in LibraryObject. */
const PLACED = new Set([
  'type_id',
  'status_id',
  'description',
  'class',
  'published_at',
  'expires_at',
  'stix_id',
  'object_id',
])

const shapes = new WeakMap<Table, Shape>()

function shapeOf(table: Table): Shape {
  const known = shapes.get(table)
  if (known) return known
  const has = (name: string) => table.columns.some((column) => column.name === name)
  const referenced = (name: string) => table.columns.find((column) => column.name === name)?.references
  const columns = [
    'id',
    'uid',
    'created_at',
    'updated_at',
    'deleted_at',
    'unpublished_at',
    'created_change',
    '"change"',
  ]
  const selected = columns.map((name) => `t.${name}`)
  const joins: string[] = []
  selected.push(`t.${valueColumn(table)} as object_value`)
  for (const name of ['description', 'class', 'published_at', 'expires_at', 'stix_id'])
    if (has(name)) selected.push(`t.${name}`)
  const types = referenced('type_id')
  if (types !== undefined) {
    joins.push(`left join ${types} ty on ty.id = t.type_id`)
    selected.push('ty.name as type')
  }
  const statuses = referenced('status_id')
  const hasProtection =
    statuses !== undefined && TABLE_BY_NAME.get(statuses)!.columns.some(({ name }) => name === 'protected')
  if (statuses !== undefined) {
    joins.push(`left join ${statuses} st on st.id = t.status_id`)
    selected.push('st.name as status')
    if (hasProtection) selected.push('st.protected')
  }
  if (table.objectCode === 'indicator') {
    joins.push(`left join indicator_scores sc on sc.indicator_id = t.id and ${liveSql('sc')}`)
    selected.push('ty.score as type_score', 'sc.manual_score')
  }
  const isCustom = has('object_id')
  if (isCustom) {
    joins.push('join objects ob on ob.id = t.object_id')
    selected.push('ob.code')
  }
  const fields: [string, Column][] = []
  for (const column of table.columns) {
    const { name, travels } = column
    if (!travels || PLACED.has(name) || name === 'touched_at' || name === valueColumn(table)) continue
    if (isReference(column)) {
      const alias = `f${fields.length}`
      joins.push(`left join ${column.references} ${alias} on ${alias}.id = t.${name}`)
      selected.push(`${alias}.name as field_${name}`)
      fields.push([name.replace(/_id$/, ''), column])
    } else {
      selected.push(`t.${name} as field_${name}`)
      fields.push([name, column])
    }
  }
  const shape: Shape = {
    select: `select ${selected.join(', ')} from ${table.name} t ${joins.join(' ')}`,
    codeSql: isCustom ? 'ob.code' : undefined,
    fields,
    hasProtection,
  }
  shapes.set(table, shape)
  return shape
}

function objectOf(table: Table, shape: Shape, row: Row, now: number): LibraryObject {
  const fields: Record<string, string | number> = {}
  for (const [name, column] of shape.fields) {
    const value = row[`field_${column.name}`]
    if (value === null) continue
    fields[name] =
      column.type !== 'hex' ? value : isUidColumn(column.name) ? uidText(value) : Buffer.from(value).toString('hex')
  }
  const scores = [row.type_score, row.manual_score].filter((score): score is number => typeof score === 'number')
  const expiresAt: number | null = row.expires_at ?? null
  return {
    table: table.name,
    id: row.id,
    uid: uidText(row.uid),
    object: row.code ?? table.objectCode,
    type: row.type ?? null,
    status: row.status ?? null,
    value: row.object_value,
    description: row.description,
    class: row.class ?? null,
    score: scores.length > 0 ? Math.max(...scores) : null,
    tlp: null,
    expired: expiresAt !== null && expiresAt <= now && row.protected !== 'Y',
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    publishedAt: row.published_at,
    expiresAt,
    deletedAt: row.deleted_at,
    unpublishedAt: row.unpublished_at,
    stixId: row.stix_id,
    fields,
    sources: [],
    attributes: [],
    tags: [],
    createdChange: row.created_change,
    change: row.change,
  }
}
