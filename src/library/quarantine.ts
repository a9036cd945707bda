/** Rows that could not be taken in, each with its reason and its whole content, until somebody settles them. */
import { drawIds } from './changes.ts'
import type { Library } from './library.ts'
import type { LibraryTx } from './schema.ts'

export interface QuarantineRow {
  /** What brought it: a file's name, a site. */
  readonly origin: string
  readonly run?: string
  readonly table: string
  /** Where it stood: `line 12`, an entry of a bundle. */
  readonly place?: string
  readonly code: QuarantineCode
  /** For people; bounded, and to be escaped where it is shown. */
  readonly reason: string
  /** JSON from which the row can be taken in again. */
  readonly payload: string
}

/** Fixed words, for programs. */
export type QuarantineCode = 'form' | 'required' | 'reference' | 'owner' | 'type' | 'duplicate' | 'bounds'

export interface HeldRow extends QuarantineRow {
  readonly id: number
  /** Microseconds. */
  readonly at: number
  readonly settledAt?: number
  readonly settlement?: Settlement
}

export type Settlement = 'applied' | 'dismissed'

/** Holds rows, in the transaction that passes over them. Answers how many. */
export async function quarantine(tx: LibraryTx, rows: readonly QuarantineRow[]): Promise<number> {
  const at = Date.now() * 1000
  for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
    const batch = rows.slice(start, start + ROWS_AT_ONCE)
    const first = await drawIds(tx, 'quarantine', batch.length)
    const values = batch.map(({ table, reason, ...row }, i) => ({
      ...row,
      id: first + i,
      at,
      table_name: table,
      reason: reason.length > MAX_REASON ? `${reason.slice(0, MAX_REASON)}…` : reason,
    }))
    // All rows of one statement have the same columns.
    await tx
      .insertInto('quarantine')
      .values(values.map((row) => ({ ...row, run: row.run ?? null, place: row.place ?? null })))
      .execute()
  }
  return rows.length
}

export interface QuarantineFilter {
  readonly origin?: string
  readonly table?: string
  readonly ids?: readonly number[]
  /** Settled ones as well. */
  readonly settled?: boolean
}

/** The rows that are held, the oldest first; read in pages. */
export async function* listQuarantine(library: Library, filter: QuarantineFilter = {}): AsyncGenerator<HeldRow> {
  const { origin, table, ids, settled = false } = filter
  for (let after = 0; ; ) {
    let query = library.database.db.selectFrom('quarantine').selectAll().where('id', '>', after)
    if (!settled) query = query.where('settled_at', 'is', null)
    if (origin !== undefined) query = query.where('origin', '=', origin)
    if (table !== undefined) query = query.where('table_name', '=', table)
    if (ids !== undefined) query = query.where('id', 'in', ids)
    const rows = await query.orderBy('id').limit(PAGE).execute()
    for (const row of rows) yield heldRow(row)
    if (rows.length < PAGE) return
    after = rows.at(-1)!.id
  }
}

/** Marks held rows as settled; answers how many were not yet. */
export async function settle(tx: LibraryTx, ids: readonly number[], settlement: Settlement): Promise<number> {
  let settled = 0
  for (let start = 0; start < ids.length; start += ROWS_AT_ONCE) {
    const result = await tx
      .updateTable('quarantine')
      .set({ settled_at: Date.now() * 1000, settlement })
      .where('id', 'in', ids.slice(start, start + ROWS_AT_ONCE))
      .where('settled_at', 'is', null)
      .executeTakeFirst()
    settled += Number(result.numUpdatedRows)
  }
  return settled
}

// --- internal ---

const ROWS_AT_ONCE = 500
const PAGE = 500
const MAX_REASON = 500

function heldRow(row: Record<string, unknown>): HeldRow {
  const { id, at, origin, run, table_name, place, code, reason, payload, settled_at, settlement } = row
  return {
    id: id as number,
    at: at as number,
    origin: origin as string,
    ...(run !== null && { run: run as string }),
    table: table_name as string,
    ...(place !== null && { place: place as string }),
    code: code as QuarantineCode,
    reason: reason as string,
    payload: payload as string,
    ...(settled_at !== null && { settledAt: settled_at as number, settlement: settlement as Settlement }),
  }
}
