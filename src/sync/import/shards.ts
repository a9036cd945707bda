/**
 * Dump files that need not be read again: this stream brought the same bytes before, they are in the base tables as they
 * were, and nobody changed the table since (docs/design.md §12). A file that others refer to gives its ids only.
 */
import type { Kysely } from 'kysely'
import type { Library } from '../../library/library.ts'
import { OBJECT_TABLES, TABLE_BY_NAME, TABLES } from '../../library/model.ts'
import type { LibraryTables, LibraryTx } from '../../library/schema.ts'
import type { BundleEntry } from '../bundle/manifest.ts'
import type { Stream } from './admission.ts'

/** `skip`: not even opened again; `ids`: only `id` and `uid` are loaded. */
export type ShardWork = 'load' | 'ids' | 'skip'

/** What to do with each entry of op `rows` and `deleted`. */
export async function planShards(
  library: Library,
  stream: Stream,
  entries: readonly BundleEntry[],
): Promise<ReadonlyMap<BundleEntry, ShardWork>> {
  const known = await unchangedDigests(library, stream)
  const isKnown = ({ table, sha256 }: BundleEntry): boolean => known.get(table!)?.has(sha256) ?? false
  const shards = entries.filter(({ op }) => op === 'rows' || op === 'deleted')
  const loaded = new Set(shards.filter((entry) => entry.op === 'rows' && !isKnown(entry)).map(({ table }) => table!))
  const needed = new Set([...loaded].flatMap(referredTables))
  return new Map(
    shards.map((entry) => {
      if (!isKnown(entry)) return [entry, 'load']
      return [entry, entry.op === 'rows' && needed.has(entry.table!) ? 'ids' : 'skip']
    }),
  )
}

export interface Brought {
  readonly entries: readonly BundleEntry[]
  /** Tables of whose rows nothing was kept, refused or in conflict: only these are as their files have them. */
  readonly settled: ReadonlySet<string>
  /** Number of the run's change, when it has one, and the sequence number of the library when the run began. */
  readonly change: number | undefined
  readonly since: number
}

/** Part of the transaction that makes the run visible, after all other writes of it. */
export async function rememberShards(
  tx: LibraryTx,
  stream: Stream,
  { entries, settled, change, since }: Brought,
): Promise<void> {
  const own = change ?? (await changeAt(tx, since))
  if (own === undefined) return
  const shards = entries.filter(({ op }) => op === 'rows' || op === 'deleted')
  const tables = [...new Set(shards.map(({ table }) => table!))]
  for (const table of tables) {
    await tx
      .deleteFrom('sync_shards')
      .where('site', '=', stream.site)
      .where('audience', '=', stream.audience)
      .where('config_hash', '=', stream.config_hash)
      .where('table_name', '=', table)
      .execute()
    if (!settled.has(table) || (await wasTouched(tx, table, since, change))) continue
    const digests = [...new Set(shards.filter((entry) => entry.table === table).map(({ sha256 }) => sha256))]
    for (let at = 0; at < digests.length; at += ROWS_A_STATEMENT) {
      const values = digests
        .slice(at, at + ROWS_A_STATEMENT)
        .map((sha256) => ({ ...stream, table_name: table, sha256, change: own }))
      await tx.insertInto('sync_shards').values(values).execute()
    }
  }
}

// --- internal ---

const ROWS_A_STATEMENT = 1_000

/** Tables that rows of a table may refer to. */
function referredTables(name: string): string[] {
  return (TABLE_BY_NAME.get(name)?.columns ?? []).flatMap(({ type, references }) =>
    type === 'anyReference' ? OBJECT_TABLES.map(({ name }) => name) : references === undefined ? [] : [references],
  )
}

/** Digests by table, of tables that no change since has touched. */
async function unchangedDigests(library: Library, stream: Stream): Promise<Map<string, Set<string>>> {
  const { db } = library.database
  const shards = await db
    .selectFrom('sync_shards')
    .innerJoin('changes', 'changes.id', 'sync_shards.change')
    .select(['table_name', 'sha256', 'changes.seq as seq'])
    .where('sync_shards.site', '=', stream.site)
    .where('audience', '=', stream.audience)
    .where('config_hash', '=', stream.config_hash)
    .where('changes.seq', 'is not', null)
    .execute()
  const byTable = Map.groupBy(shards, ({ table_name }) => table_name as string)
  const known = new Map<string, Set<string>>()
  for (const { name } of TABLES) {
    const ofTable = byTable.get(name)
    if (ofTable === undefined) continue
    const seq = ofTable[0]!.seq as number
    if (!(await wasTouched(db, name, seq))) known.set(name, new Set(ofTable.map(({ sha256 }) => sha256 as string)))
  }
  return known
}

/** By the index on `change`: changes since are few, rows are many. */
async function wasTouched(db: Kysely<LibraryTables>, table: string, since: number, except = -1): Promise<boolean> {
  const changes = db.selectFrom('changes').select('id').where('seq', '>', since).where('id', '!=', except)
  return (
    (await db.selectFrom(table).select('id').where('change', 'in', changes).limit(1).executeTakeFirst()) !== undefined
  )
}

async function changeAt(tx: LibraryTx, seq: number): Promise<number | undefined> {
  const row = await tx.selectFrom('changes').select('id').where('seq', '=', seq).executeTakeFirst()
  return row?.id as number | undefined
}
