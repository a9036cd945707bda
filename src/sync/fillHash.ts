/**
 * ThreatQ's `sync_hash` where it is NULL (P30, P40): rows get it whenever they are written, so NULLs come only from
 * outside, such as a restored copy. In short transactions: the library stays in use.
 */
import { sql } from 'kysely'
import { ColdtrailError } from '../core/errors.ts'
import { syncHashSql } from '../library/identity.ts'
import type { Library } from '../library/library.ts'
import { beginRun } from './synchronizations.ts'

/** The tables that the original looks at before an import. */
export const HASHED_TABLES = ['events', 'indicators', 'object_links'] as const

export interface FillSummary {
  readonly run: string
  /** Rows filled by table. */
  readonly filled: Readonly<Record<string, number>>
  readonly seconds: number
}

export interface FillRequest {
  readonly signal?: AbortSignal
  readonly onProgress?: (table: string, rows: number) => void
}

/** E_SYNC_HASH when a row of one of the tables has none. */
export async function requireHashes({ database: { db } }: Library): Promise<void> {
  for (const table of HASHED_TABLES) {
    const one = await db.selectFrom(table).select('id').where('sync_hash', 'is', null).limit(1).executeTakeFirst()
    if (!one) continue
    const { rows } = await db
      .selectFrom(table)
      .select((select) => select.fn.countAll<number>().as('rows'))
      .where('sync_hash', 'is', null)
      .executeTakeFirstOrThrow()
    throw new ColdtrailError('E_SYNC_HASH', { table, rows: Number(rows) })
  }
}

/** May be run at any time and again; a second run fills nothing. */
export async function fillHash(library: Library, { signal, onProgress }: FillRequest = {}): Promise<FillSummary> {
  const started = performance.now()
  const run = await beginRun(library, { type: 'fill-hash', config: {}, options: {} })
  const filled: Record<string, number> = {}
  try {
    for (const table of HASHED_TABLES) {
      filled[table] = 0
      for (let after = -1; ; ) {
        signal?.throwIfAborted()
        const batch = await fillBatch(library, table, after)
        if (batch === undefined) break
        filled[table] += batch.rows
        after = batch.last
        onProgress?.(table, filled[table])
      }
    }
    await run.finish({ filled })
  } catch (error) {
    await run.fail(error, { filled })
    throw error
  }
  return { run: run.run, filled, seconds: (performance.now() - started) / 1_000 }
}

// --- internal ---

const BATCH = 10_000

async function fillBatch({ database }: Library, table: string, after: number) {
  const hash = sql.raw(syncHashSql(database.dialect, table, (name) => `"${name}"`)!)
  return database.write(async (tx) => {
    const found = await tx
      .selectFrom(table)
      .select('id')
      .where('sync_hash', 'is', null)
      .where('id', '>', after)
      .orderBy('id')
      .limit(BATCH)
      .execute()
    if (found.length === 0) return undefined
    const [first, last] = [found[0]!.id as number, found.at(-1)!.id as number]
    const of = sql.table(table)
    await sql`update ${of} set sync_hash = ${hash} where sync_hash is null and id between ${first} and ${last}`.execute(
      tx,
    )
    return { rows: found.length, last }
  })
}
