/** SQL of the live rows of a table: visible ones, neither deleted nor unpublished, of live owners. */
import type { Kysely } from 'kysely'
import { OBJECT_TABLES, TABLE_BY_NAME, type Table } from './model.ts'
import type { LibraryTables } from './schema.ts'

/** Changes without a sequence number: their rows are not there yet. Few, or none. */
export async function unseenChanges(db: Kysely<LibraryTables>): Promise<number[]> {
  const rows = await db.selectFrom('changes').select('id').where('seq', 'is', null).orderBy('id').execute()
  return rows.map(({ id }) => id)
}

/**
 * FROM and WHERE of a table's live rows as `t`; owners are joined in the order written, which SQLite keeps to. `unseen`
 * must be of the same snapshot.
 */
export function liveRowsSql(
  table: Table,
  unseen: readonly number[],
): { readonly from: string; readonly where: string } {
  const tables = [`${table.name} t`]
  const conditions = [liveSqlOf('t', unseen)]
  let alias = 't'
  for (let at = table; ; ) {
    if (at.kind === 'link') {
      conditions.push(liveEndSql(`${alias}.src_type`, `${alias}.src_object_id`, unseen))
      conditions.push(liveEndSql(`${alias}.dest_type`, `${alias}.dest_object_id`, unseen))
    }
    const parent = at.columns.find(({ name }) => name === at.parent)
    if (parent === undefined) break
    if (parent.type === 'anyReference') {
      conditions.push(liveEndSql(`${alias}.${parent.typeColumn}`, `${alias}.${parent.name}`, unseen))
      break
    }
    const owner = `o${tables.length}`
    tables.push(`${parent.references} ${owner}`)
    conditions.push(`${owner}.id = ${alias}.${parent.name}`, liveSqlOf(owner, unseen))
    alias = owner
    at = TABLE_BY_NAME.get(parent.references!)!
  }
  return { from: tables.join(' cross join '), where: conditions.join(' and ') }
}

/** `liveSql` with the unseen changes given, which no row then has to be looked up for. */
export const liveSqlOf = (alias: string, unseen: readonly number[]): string =>
  `${alias}.deleted_at is null and ${alias}.unpublished_at is null` +
  (unseen.length > 0 ? ` and ${alias}.created_change not in (${unseen.join(', ')})` : '')

// --- internal ---

/** Whether the object that a pair of columns names is live. */
function liveEndSql(type: string, id: string, unseen: readonly number[]): string {
  const cases = OBJECT_TABLES.map(
    ({ name, objectCode }) =>
      `when '${objectCode}' then exists (select 1 from ${name} e where e.id = ${id} and ${liveSqlOf('e', unseen)})`,
  )
  return `case ${type} ${cases.join(' ')} else 1 = 0 end`
}
