/** What is in the library, for people and programs. Everything is read in pages; nothing is written. */
import { type Kysely, sql } from 'kysely'
import { ColdtrailError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import type { Expression } from '../query/expression.ts'
import { COMPARED_TABLES } from './digest.ts'
import type { Library } from './library.ts'
import { liveRowsSql, unseenChanges } from './liveRows.ts'
import { OBJECT_TABLE_BY_CODE, OBJECT_TABLES, type Table } from './model.ts'
import { contextRead, ObjectAccess } from './objectExpressions.ts'
import { type ContextWanted, type LibraryObject, objectPage, order, withContext } from './objectPages.ts'
import type { LibraryTables } from './schema.ts'

export { type ObjectDetails, showObject } from './objectDetails.ts'
export type { AttributeOf, LibraryObject, SourceOf } from './objectPages.ts'

export interface ListOptions {
  /** Object codes, custom ones too. E_USAGE for one that does not exist. */
  readonly types?: readonly string[]
  readonly where?: Expression
  readonly limit?: number
  /** Deleted ones as well. */
  readonly deleted?: boolean
  readonly unpublished?: boolean
  /** `needed`: only the context that `where` reads; what is not read is empty. Default all. */
  readonly context?: 'all' | 'needed'
  /** Reads in this transaction; default one snapshot per page. */
  readonly tx?: Kysely<LibraryTables>
  /** Microseconds, what expiry is measured by; default the clock. */
  readonly now?: number
}

/** Objects in the order of their tables and ids. */
export async function* listObjects(library: Library, options: ListOptions = {}): AsyncGenerator<LibraryObject> {
  const { types, where, limit = Infinity, deleted, unpublished, context = 'all', now = Date.now() * 1000 } = options
  const db = options.tx ?? library.database.db
  const needed = contextRead(where)
  const rest = context === 'all' ? without(needed) : undefined
  let left = limit
  for (const [table, codes] of await tablesOf(db, types)) {
    for (let after = 0; left > 0; ) {
      const page = await objectPage(db, table, after, PAGE, { deleted, unpublished, codes, now })
      if (page.length === 0) break
      after = page.at(-1)!.id
      const isLast = page.length < PAGE
      let found: readonly LibraryObject[] = page
      if (where) {
        found = hasAny(needed) ? await withContext(db, table, page, needed) : page
        found = found.filter((object) => where.predicate(new ObjectAccess(object)))
      }
      if (found.length > left) found = found.slice(0, left)
      if (rest && hasAny(rest)) found = await withContext(db, table, found, rest)
      left -= found.length
      yield* found
      if (isLast) break
    }
    if (left <= 0) return
  }
}

export interface LibraryStats {
  /** Live rows of each table that has some; `types` of those whose rows have types, by name. */
  readonly tables: Readonly<
    Record<string, { readonly rows: number; readonly types?: Readonly<Record<string, number>> }>
  >
}

/** Nothing local is in it, and its order is fixed: equal libraries give equal texts. */
export async function libraryStats({ database }: Library): Promise<LibraryStats> {
  return await database.read(async (tx) => {
    const unseen = await unseenChanges(tx)
    const tables: Record<string, { rows: number; types?: Record<string, number> }> = {}
    for (const table of COMPARED_TABLES) {
      const { from, where } = liveRowsSql(table, unseen)
      const kind = kindOf(table)
      const query = `select ${kind?.sql ?? 'null'} as type, count(*) as n from ${from} ${kind?.join ?? ''} where ${where}${kind ? ` group by ${kind.sql}` : ''}`
      const counted = (await sql.raw<{ type: string | null; n: number }>(query).execute(tx)).rows
      const rows = counted.reduce((sum, { n }) => sum + n, 0)
      if (rows === 0) continue
      const types = counted.map(({ type, n }) => [type ?? '', n] as const).sort(([a], [b]) => order(a, b))
      tables[table.name] = { rows, ...(kind && { types: Object.fromEntries(types) }) }
    }
    return { tables }
  })
}

// --- internal ---

const PAGE = 500

const without = ({ sources, attributes, tags }: ContextWanted): ContextWanted => ({
  sources: !sources,
  attributes: !attributes,
  tags: !tags,
})
const hasAny = ({ sources, attributes, tags }: ContextWanted): boolean => sources || attributes || tags

/** Tables to read, and of custom objects the codes. */
async function tablesOf(
  db: Kysely<LibraryTables>,
  types: readonly string[] | undefined,
): Promise<readonly (readonly [Table, readonly string[] | undefined])[]> {
  if (types === undefined) return OBJECT_TABLES.map((table) => [table, undefined] as const)
  const custom = types.filter((code) => !OBJECT_TABLE_BY_CODE.has(code))
  if (custom.length > 0) {
    const known = (await db.selectFrom('objects').select('code').execute()).map(({ code }) => code as string)
    const unknown = custom.find((code) => !known.includes(code))
    if (unknown !== undefined) {
      const suggestion = nearest(unknown, known)
      const message = `there is no object type ${unknown}${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`
      throw new ColdtrailError('E_USAGE', { message })
    }
  }
  return OBJECT_TABLES.filter(
    ({ objectCode }) => types.includes(objectCode!) || (objectCode === CUSTOM && custom.length > 0),
  ).map((table) => [table, table.objectCode === CUSTOM && !types.includes(CUSTOM) ? custom : undefined] as const)
}

const CUSTOM = 'custom_object'

/** By what a table's rows are counted: custom objects by their code, others by type where they have one. */
function kindOf(table: Table): { readonly sql: string; readonly join: string } | undefined {
  if (table.objectCode === CUSTOM && table.kind === 'object')
    return { sql: 'k.code', join: 'left join objects k on k.id = t.object_id' }
  const types = table.columns.find(({ name }) => name === 'type_id')?.references
  return types === undefined ? undefined : { sql: 'k.name', join: `left join ${types} k on k.id = t.type_id` }
}
