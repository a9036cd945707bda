/**
 * Changes, their order, and what a reader sees (docs/design.md §11): a row is seen when the change that made it has a
 * sequence number, and a change gets it at the end of its last transaction, under the lock on `counters`.
 */
import { type Kysely, sql } from 'kysely'
import type { LibraryTables, LibraryTx } from './schema.ts'

export interface NewChange {
  readonly kind: 'seed' | 'local' | 'import' | 'sync' | 'undo'
  readonly run?: string
  readonly site?: string
  /** What the rows came from: file or feed. */
  readonly source?: string
  readonly note?: string
}

/** Makes a change that nobody sees yet; answers its number. */
export async function newChange(tx: LibraryTx, { kind, run, site, source, note }: NewChange): Promise<number> {
  const id = await drawIds(tx, 'changes', 1)
  const at = Date.now() * 1000
  await tx.insertInto('changes').values({ id, kind, at, run, site, source, note }).execute()
  return id
}

/** Makes the change visible and answers its sequence number. The transaction's last statement, since others wait for it. */
export async function publish(tx: LibraryTx, change: number): Promise<number> {
  const seq = await drawIds(tx, 'seq', 1)
  await tx.updateTable('changes').set({ seq }).where('id', '=', change).execute()
  return seq
}

/** Draws `count` ids of a table (from 1, never drawn again) and answers the first. */
export async function drawIds(tx: LibraryTx, table: string, count: number): Promise<number> {
  const { rows } = await sql<{ first: number }>`
    insert into counters (name, next) values (${table}, ${1 + count})
    on conflict (name) do update set next = counters.next + ${count}
    returning next - ${count} as first`.execute(tx)
  return rows[0]!.first
}

/** The sequence number of the last visible change: all up to it are visible. 0 without any. */
export async function headSequence(db: Kysely<LibraryTables>): Promise<number> {
  const row = await db.selectFrom('counters').select('next').where('name', '=', 'seq').executeTakeFirst()
  return row === undefined ? 0 : row.next - 1
}

/**
 * SQL: the row is visible, deleted or not. Few changes are without a number at a time (they are found by the index on
 * it), and whoever removes such a change removes its rows before.
 */
export const seenSql = (alias: string): string =>
  `${alias}.created_change not in (select id from changes where seq is null)`

/** SQL: the row is visible, neither deleted nor unpublished. */
export const liveSql = (alias: string): string =>
  `(${alias}.deleted_at is null and ${alias}.unpublished_at is null and ${seenSql(alias)})`
