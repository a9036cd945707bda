/** One object with everything that is known of it: context, links, and where each field came from. */
import { type Kysely, sql } from 'kysely'
import { liveSql } from './changes.ts'
import { naturalKey, parseUid, uidText } from './identity.ts'
import type { Library } from './library.ts'
import { columnsOf, OBJECT_TABLE_BY_CODE, OBJECT_TABLES, type Table } from './model.ts'
import {
  type AttributeOf,
  attributesOf,
  grouped,
  type LibraryObject,
  type Owners,
  objectPage,
  order,
  ownedBy,
  type SourceOf,
  sourcesOf,
  valueColumn,
  withContext,
} from './objectPages.ts'
import { normalizeIndicator } from './observables.ts'
import type { LibraryTables } from './schema.ts'

export interface ChangeInfo {
  readonly kind: string
  /** Place in commit order. */
  readonly seq: number | null
  readonly at: number
  readonly run: string | null
  /** Site that it came from; null: made here. */
  readonly site: string | null
  /** File, feed or bundle. */
  readonly source: string | null
  readonly note: string | null
}

export interface CommentOf {
  readonly uid: string
  readonly value: string
  readonly by: string | null
  readonly createdAt: number
  readonly createdChange: number
}

export interface LinkOf {
  readonly uid: string
  /** `out`: the object is its source. */
  readonly direction: 'out' | 'in'
  readonly relationship: string | null
  readonly other: { readonly object: string; readonly uid: string; readonly value: string }
  readonly description: string | null
  readonly stixId: string | null
  readonly sources: readonly SourceOf[]
  readonly attributes: readonly AttributeOf[]
  readonly comments: readonly CommentOf[]
  readonly createdChange: number
}

export interface ObjectDetails extends LibraryObject {
  readonly comments: readonly CommentOf[]
  /** At most LINKS_SHOWN; `linkCount` is all. */
  readonly links: readonly LinkOf[]
  readonly linkCount: number
  /** Of adversaries: their sourced descriptions. */
  readonly descriptions: readonly { readonly value: string; readonly source: string | null }[]
  /** The number of the change that each field's value came with. */
  readonly provenance: Readonly<Record<string, number>>
  /** Every change that is named here, by its number. */
  readonly changes: Readonly<Record<string, ChangeInfo>>
}

export const LINKS_SHOWN = 1000

/**
 * Objects, deleted and unpublished ones too, that have this uid (of another site as well), STIX id or value, in whatever
 * notation an indicator is written. At most 100.
 */
export async function showObject(library: Library, uidOrValue: string): Promise<ObjectDetails[]> {
  return await library.database.read(async (db) => {
    const found: ObjectDetails[] = []
    for (const [table, ids] of await idsOf(db, uidOrValue)) {
      const options = { ids, deleted: true, unpublished: true, now: Date.now() * 1000 }
      for (const object of await objectPage(db, table, 0, MAX_FOUND, options))
        found.push(await details(db, table, object))
      if (found.length >= MAX_FOUND) break
    }
    return found.slice(0, MAX_FOUND)
  })
}

// --- internal ---

type Db = Kysely<LibraryTables>
// biome-ignore lint/suspicious/noExplicitAny: rows of generated statements
type Row = Record<string, any>

const MAX_FOUND = 100

async function idsOf(db: Db, given: string): Promise<Map<Table, number[]>> {
  const found = new Map<Table, number[]>()
  const uid = parseUid(given.trim())
  const add = (table: Table, rows: readonly Row[]) => {
    if (rows.length > 0)
      found.set(table, [...new Set([...(found.get(table) ?? []), ...rows.map(({ id }) => id as number)])])
  }
  for (const table of OBJECT_TABLES) {
    const query = db.selectFrom(table.name).select('id').orderBy('id').limit(MAX_FOUND)
    if (uid) {
      const alias = await db
        .selectFrom('uid_aliases')
        .select('local')
        .where('table_name', '=', table.name)
        .where('remote', '=', uid)
        .executeTakeFirst()
      add(table, await query.where('uid', 'in', alias ? [uid, alias.local] : [uid]).execute())
    } else if (STIX_ID.test(given)) add(table, await query.where('stix_id', '=', given).execute())
    else if (table.objectCode === 'indicator') {
      // By natural key: the index knows it, whatever notation the value has.
      const types = await db.selectFrom('indicator_types').select(['name', 'nk']).execute()
      const keys = types.map(({ name, nk }) => naturalKey(table.name, [nk, normalizeIndicator(name, given)]))
      add(table, await query.where('nk', 'in', keys).execute())
    } else {
      const names = new Set([
        valueColumn(table),
        ...table.columns.flatMap(({ name }) => (NAMES.has(name) ? [name] : [])),
      ])
      for (const name of names) add(table, await query.where(name, '=', given).execute())
    }
  }
  return found
}

const STIX_ID = /^[a-z0-9-]{1,250}--[0-9a-f-]{36}$/
const NAMES = new Set(['name', 'title'])

async function details(db: Db, table: Table, object: LibraryObject): Promise<ObjectDetails> {
  const code = table.objectCode!
  const [whole] = await withContext(db, table, [object], { sources: true, attributes: true, tags: true })
  const comments = (await commentsOf(db, code, { among: [object.id] })).get(object.id) ?? []
  const { links, linkCount } = await linksOf(db, code, object.id)
  const descriptions = code === 'adversary' ? await descriptionsOf(db, object.id) : []
  const provenance = await provenanceOf(db, table, whole!)
  const numbers = new Set([object.createdChange, object.change, ...Object.values(provenance)])
  for (const row of [...whole!.sources, ...whole!.attributes, ...comments, ...links]) numbers.add(row.createdChange)
  for (const { sources } of [...whole!.attributes, ...links]) for (const row of sources) numbers.add(row.createdChange)
  for (const { attributes, comments } of links)
    for (const row of [...attributes, ...comments]) numbers.add(row.createdChange)
  return { ...whole!, comments, links, linkCount, descriptions, provenance, changes: await changesOf(db, [...numbers]) }
}

/** The last change that set a field, else the one that made the row. */
async function provenanceOf(db: Db, table: Table, object: LibraryObject): Promise<Record<string, number>> {
  const rows = await db
    .selectFrom('journal')
    .select(['field', 'change'])
    .where('table_name', '=', table.name)
    .where('row_id', '=', object.id)
    .orderBy('id')
    .execute()
  const set = new Map(rows.map(({ field, change }) => [field as string, change as number]))
  const row = await db.selectFrom(table.name).selectAll().where('id', '=', object.id).executeTakeFirstOrThrow()
  const found: Record<string, number> = {}
  for (const { name, travels } of columnsOf(table)) {
    if (!travels || name === 'id' || (row[name] === null && !set.has(name))) continue
    found[name] = set.get(name) ?? object.createdChange
  }
  return found
}

async function changesOf(db: Db, numbers: readonly number[]): Promise<Record<string, ChangeInfo>> {
  const found: Record<string, ChangeInfo> = {}
  for (let at = 0; at < numbers.length; at += 500) {
    const rows = await db
      .selectFrom('changes')
      .selectAll()
      .where('id', 'in', numbers.slice(at, at + 500))
      .execute()
    for (const { id, kind, seq, at, run, site, source, note } of rows)
      found[String(id)] = { kind, seq, at, run, site, source, note }
  }
  return found
}

async function commentsOf(db: Db, prefix: string, owners: Owners): Promise<Map<number, CommentOf[]>> {
  const { rows } =
    await sql<Row>`${sql.raw(`select c.${prefix}_id as owner, c.uid, c.value, c.created_at, c.created_change,
    coalesce(c.source_name, s.name) as author
    from ${prefix}_comments c left join sources s on s.id = c.creator_source_id
    where ${liveSql('c')} and `)}${ownedBy(`c.${prefix}_id`, owners)}`.execute(db)
  return grouped(
    rows,
    (row): CommentOf => ({
      uid: uidText(row.uid),
      value: row.value,
      by: row.author,
      createdAt: row.created_at,
      createdChange: row.created_change,
    }),
    (a, b) => a.createdAt - b.createdAt || order(a.uid, b.uid),
  )
}

async function descriptionsOf(db: Db, id: number): Promise<{ value: string; source: string | null }[]> {
  const { rows } = await sql<{ value: string; source: string | null }>`
    select d.value, s.name as source from adversary_descriptions d left join sources s on s.id = d.source_id
    where ${sql.raw(liveSql('d'))} and d.adversary_id = ${id}`.execute(db)
  return rows.toSorted((a, b) => order(a.source ?? '', b.source ?? '') || order(a.value, b.value))
}

async function linksOf(db: Db, code: string, id: number): Promise<{ links: LinkOf[]; linkCount: number }> {
  const links: (Row & { direction: 'out' | 'in' })[] = []
  let linkCount = 0
  for (const [direction, own, other] of [
    ['out', 'src', 'dest'],
    ['in', 'dest', 'src'],
  ] as const) {
    const ends = sql.raw(
      `from object_links l where ${liveSql('l')} and l.${own}_object_id = ${id} and l.${own}_type = '${code}'`,
    )
    const counted = await sql<{ n: number }>`select count(*) as n ${ends}`.execute(db)
    linkCount += counted.rows[0]!.n
    const columns = sql.raw(`l.*, l.${other}_type as other_type, l.${other}_object_id as other_id`)
    const room = LINKS_SHOWN - links.length
    const { rows } = await sql<Row>`select ${columns} ${ends} order by l.id limit ${room}`.execute(db)
    for (const row of rows) links.push({ ...row, direction })
  }
  if (links.length === 0) return { links: [], linkCount }
  const others = await othersOf(db, links)
  const owners: Owners = { among: [...new Set(links.map(({ id }) => id as number))] }
  const sources = await sourcesOf(db, 'object_link', owners)
  const attributes = await attributesOf(db, 'object_link', owners)
  const comments = await commentsOf(db, 'object_link', owners)
  const found = links.flatMap((link): LinkOf[] => {
    const other = others.get(`${link.other_type} ${link.other_id}`)
    if (!other) return []
    return [
      {
        uid: uidText(link.uid),
        direction: link.direction,
        relationship: link.relationship,
        other,
        description: link.description,
        stixId: link.stix_id,
        sources: sources.get(link.id) ?? [],
        attributes: attributes.get(link.id) ?? [],
        comments: comments.get(link.id) ?? [],
        createdChange: link.created_change,
      },
    ]
  })
  return { links: found, linkCount }
}

/** The objects at the other ends, by `code id`. */
async function othersOf(db: Db, links: readonly Row[]): Promise<Map<string, LinkOf['other']>> {
  const found = new Map<string, LinkOf['other']>()
  for (const [code, group] of Map.groupBy(links, (link) => link.other_type as string)) {
    const table = OBJECT_TABLE_BY_CODE.get(code)
    if (!table) continue
    const ids = [...new Set(group.map((link) => link.other_id as number))]
    for (let at = 0; at < ids.length; at += 500) {
      const options = { ids: ids.slice(at, at + 500), deleted: true, unpublished: true, now: 0 }
      for (const { id, uid, object, value } of await objectPage(db, table, 0, 500, options))
        found.set(`${code} ${id}`, { object, uid, value })
    }
  }
  return found
}
