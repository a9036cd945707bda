/** Live objects of the library with their context, a page at a time: what an export writes. */
import { sql } from 'kysely'
import { liveSql } from '../changes.ts'
import { isReference, uidText } from '../identity.ts'
import type { Library } from '../library.ts'
import { dumpColumns, OBJECT_TABLES, type Table } from '../model.ts'

export interface StoredSource {
  readonly name: string
  readonly type: string
  readonly tlp: string | null
}

export interface StoredAttribute {
  readonly id: number
  readonly name: string
  readonly value: string | null
  readonly sources: StoredSource[]
}

export interface StoredObject {
  readonly table: Table
  readonly id: number
  readonly uid: string
  /** The table's own object code, or that of the custom type. */
  readonly code: string
  /** Own columns, times and integers as decimal text; references left out. */
  readonly columns: Record<string, string | null>
  readonly createdAt: string
  readonly updatedAt: string
  readonly type?: string
  readonly status?: string
  readonly contentType?: string
  readonly sources: StoredSource[]
  readonly attributes: StoredAttribute[]
  readonly comments: { readonly uid: string; readonly value: string; readonly source_name: string | null }[]
  readonly tags: string[]
  readonly manualScore?: number
}

export interface StoredLink {
  readonly id: number
  readonly uid: string
  readonly from: { readonly code: string; readonly id: number }
  readonly to: { readonly code: string; readonly id: number }
  readonly columns: Record<string, string | null>
  readonly createdAt: string
  readonly updatedAt: string
  readonly sources: StoredSource[]
  readonly attributes: StoredAttribute[]
  readonly comments: StoredObject['comments']
}

type Row = Record<string, unknown>

/** Names of dictionary rows by id. */
export interface Names {
  of(table: string, id: unknown): string | undefined
  source(id: unknown): { readonly name: string; readonly type: string } | undefined
}

export async function readNames(library: Library): Promise<Names> {
  const tables = new Map<string, Map<string, string>>()
  const { db } = library.database
  for (const table of NAMED) {
    const { rows } = await sql<{ id: unknown; name: string }>`select id, name from ${sql.table(table)}`.execute(db)
    tables.set(table, new Map(rows.map(({ id, name }) => [String(id), name])))
  }
  const { rows: kinds } = await sql<{ id: unknown; code: string }>`select id, code from objects`.execute(db)
  tables.set('objects', new Map(kinds.map(({ id, code }) => [String(id), code])))
  const { rows: sources } = await sql<{
    id: unknown
    name: string
    type: string
  }>`select id, name, type from sources`.execute(db)
  const bySource = new Map(sources.map(({ id, name, type }) => [String(id), { name, type }]))
  return {
    of: (table, id) => (id === null || id === undefined ? undefined : tables.get(table)?.get(String(id))),
    source: (id) => bySource.get(String(id)),
  }
}

/** Indicators come last, so that what they were made from is known by then. */
export const EXPORT_ORDER: readonly Table[] = [
  ...OBJECT_TABLES.filter(({ name }) => name !== 'indicators'),
  ...OBJECT_TABLES.filter(({ name }) => name === 'indicators'),
]

export async function* objectPages(library: Library, table: Table, names: Names): AsyncGenerator<StoredObject[]> {
  const { db } = library.database
  let last = 0
  for (;;) {
    const { rows } = await sql<Row>`
      select o.* from ${sql.table(table.name)} o
      where o.id > ${last} and ${sql.raw(liveSql('o'))} order by o.id limit ${PAGE}`.execute(db)
    if (rows.length === 0) return
    const first = Number(rows[0]!.id)
    last = Number(rows.at(-1)!.id)
    const objects = rows.map((row) => objectOf(table, row, names))
    const byId = new Map(objects.map((object) => [object.id, object]))
    await addContext(library, table.objectCode!, first, last, byId, names)
    const { rows: tags } = await sql<{ object_id: unknown; name: string }>`
      select t.object_id, n.name from tagged_objects t join tags n on n.id = t.tag_id
      where t.object_type = ${table.objectCode!} and t.object_id between ${first} and ${last} and ${sql.raw(liveSql('t'))}
      order by n.name`.execute(db)
    for (const { object_id, name } of tags) byId.get(Number(object_id))?.tags.push(name)
    if (table.name === 'indicators') {
      const { rows: scores } = await sql<{ indicator_id: unknown; manual_score: unknown }>`
        select s.indicator_id, s.manual_score from indicator_scores s
        where s.indicator_id between ${first} and ${last} and ${sql.raw(liveSql('s'))}`.execute(db)
      for (const { indicator_id, manual_score } of scores) {
        const object = byId.get(Number(indicator_id))
        if (object && manual_score !== null) Object.assign(object, { manualScore: Number(manual_score) })
      }
    }
    yield objects
    if (rows.length < PAGE) return
  }
}

export async function* linkPages(library: Library, names: Names): AsyncGenerator<StoredLink[]> {
  const { db } = library.database
  let last = 0
  for (;;) {
    const { rows } = await sql<Row>`
      select l.* from object_links l where l.id > ${last} and ${sql.raw(liveSql('l'))}
      order by l.id limit ${PAGE}`.execute(db)
    if (rows.length === 0) return
    const first = Number(rows[0]!.id)
    last = Number(rows.at(-1)!.id)
    const links = rows.map(linkOf)
    const byId = new Map(links.map((link) => [link.id, link]))
    await addContext(library, 'object_link', first, last, byId, names)
    yield links
    if (rows.length < PAGE) return
  }
}

/** Uids and STIX ids of objects of a table by local id. */
export async function idsOf(
  library: Library,
  table: Table,
  ids: readonly number[],
): Promise<ReadonlyMap<number, { readonly uid: string; readonly stixId: string | null }>> {
  const found = new Map<number, { uid: string; stixId: string | null }>()
  for (let i = 0; i < ids.length; i += PAGE) {
    const { rows } = await sql<{ id: unknown; uid: Uint8Array; stix_id: string | null }>`
      select id, uid, stix_id from ${sql.table(table.name)}
      where id in (${sql.join(ids.slice(i, i + PAGE))})`.execute(library.database.db)
    for (const { id, uid, stix_id } of rows) found.set(Number(id), { uid: uidText(uid), stixId: stix_id })
  }
  return found
}

// --- internal ---

const PAGE = 1_000

const NAMED = [
  'tlp',
  'indicator_types',
  'indicator_statuses',
  'event_types',
  'attachment_types',
  'content_types',
  'signature_types',
  'signature_statuses',
  'task_statuses',
  'object_types',
  'object_statuses',
  'attributes',
]

const ownColumns = new WeakMap<Table, readonly string[]>()

/** Columns that travel as they are; of digests the hex. */
function textColumns(table: Table, row: Row): Record<string, string | null> {
  let columns = ownColumns.get(table)
  if (!columns) {
    columns = dumpColumns(table)
      .filter((column) => !isReference(column) && !COMMON.has(column.name))
      .map(({ name }) => name)
    ownColumns.set(table, columns)
  }
  return Object.fromEntries(columns.map((name) => [name, textForm(row[name])]))
}

const COMMON = new Set(['id', 'uid', 'created_at', 'updated_at', 'deleted_at'])

function textForm(value: unknown): string | null {
  if (value === null || value === undefined) return null
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value)
}

function objectOf(table: Table, row: Row, names: Names): StoredObject {
  const dictionary = (column: string): string | undefined => {
    const references = table.columns.find(({ name }) => name === column)?.references
    return references && names.of(references, row[column])
  }
  return {
    table,
    id: Number(row.id),
    uid: uidText(row.uid as Uint8Array),
    code: table.name === 'custom_objects' ? (names.of('objects', row.object_id) ?? 'custom_object') : table.objectCode!,
    columns: textColumns(table, row),
    createdAt: String(row.created_at),
    updatedAt: String(row.updated_at),
    type: dictionary('type_id'),
    status: dictionary('status_id'),
    contentType: dictionary('content_type_id'),
    sources: [],
    attributes: [],
    comments: [],
    tags: [],
  }
}

function linkOf(row: Row): StoredLink {
  return {
    id: Number(row.id),
    uid: uidText(row.uid as Uint8Array),
    from: { code: row.src_type as string, id: Number(row.src_object_id) },
    to: { code: row.dest_type as string, id: Number(row.dest_object_id) },
    columns: {
      relationship: textForm(row.relationship),
      description: textForm(row.description),
      published_at: textForm(row.published_at),
      stix_id: textForm(row.stix_id),
      stix: textForm(row.stix),
    },
    createdAt: String(row.created_at),
    updatedAt: String(row.updated_at),
    sources: [],
    attributes: [],
    comments: [],
  }
}

/** Sources, attributes with their sources, and comments of the rows with ids from `first` to `last`. */
async function addContext(
  library: Library,
  prefix: string,
  first: number,
  last: number,
  byId: ReadonlyMap<number, Pick<StoredObject, 'sources' | 'attributes' | 'comments'>>,
  names: Names,
): Promise<void> {
  const { db } = library.database
  const owner = sql.ref(`x.${prefix}_id`)
  const within = sql`${owner} between ${first} and ${last} and ${sql.raw(liveSql('x'))}`
  const storedSource = (sourceId: unknown, tlpId: unknown): StoredSource | undefined => {
    const source = names.source(sourceId)
    return source && { ...source, tlp: names.of('tlp', tlpId) ?? null }
  }
  const { rows: sources } = await sql<Row>`
    select ${owner} as owner, x.source_id, x.tlp_id from ${sql.table(`${prefix}_sources`)} x
    where ${within} order by x.id`.execute(db)
  for (const row of sources) {
    const source = storedSource(row.source_id, row.tlp_id)
    if (source) byId.get(Number(row.owner))?.sources.push(source)
  }
  const { rows: attributes } = await sql<Row>`
    select ${owner} as owner, x.id, x.attribute_id, x.value from ${sql.table(`${prefix}_attributes`)} x
    where ${within} order by x.id`.execute(db)
  const byAttribute = new Map<number, StoredAttribute>()
  for (const row of attributes) {
    const name = names.of('attributes', row.attribute_id)
    if (name === undefined) continue
    const attribute = { id: Number(row.id), name, value: textForm(row.value), sources: [] }
    byAttribute.set(attribute.id, attribute)
    byId.get(Number(row.owner))?.attributes.push(attribute)
  }
  if (byAttribute.size > 0) {
    const { rows: attributeSources } = await sql<Row>`
      select s.${sql.ref(`${prefix}_attribute_id`)} as attribute, s.source_id, s.tlp_id
      from ${sql.table(`${prefix}_attribute_sources`)} s
      join ${sql.table(`${prefix}_attributes`)} x on x.id = s.${sql.ref(`${prefix}_attribute_id`)}
      where ${within} and ${sql.raw(liveSql('s'))} order by s.id`.execute(db)
    for (const row of attributeSources) {
      const source = storedSource(row.source_id, row.tlp_id)
      if (source) byAttribute.get(Number(row.attribute))?.sources.push(source)
    }
  }
  const { rows: comments } = await sql<Row>`
    select ${owner} as owner, x.uid, x.value, x.source_name from ${sql.table(`${prefix}_comments`)} x
    where ${within} order by x.id`.execute(db)
  for (const row of comments)
    byId.get(Number(row.owner))?.comments.push({
      uid: uidText(row.uid as Uint8Array),
      value: row.value as string,
      source_name: textForm(row.source_name),
    })
}
