/**
 * What is superseded: of the sessions of one source, bucket and key all but the latest by LastModified, then commit
 * sequence, then session id. Rows exist only for keys with several sessions; earlier sessions of a key are found in the
 * session ledgers of the history when its second one comes.
 */
import { join } from 'node:path'
import { type LedgerEntry, readSessionLedger, sessionLedgerName } from '../sessionLedger.ts'
import type { ClosedVerdict } from './closedLedger.ts'
import { batches, type CatalogContext } from './context.ts'
import { hex, openRows } from './ledger.ts'
import { KEY_BYTES } from './objectId.ts'
import type { Tables, Tx } from './schema.ts'

export interface NewSession extends LedgerEntry {
  readonly keyHash: Buffer
  readonly shard: string
}

type VersionRow = Tables['versions']

/** Records the new sessions whose keys have others; answers how many sessions became superseded. */
export async function recordVersions(
  context: CatalogContext,
  tx: Tx,
  segment: number,
  sequence: number,
  sessions: readonly NewSession[],
  lookUp: (shard: string, object: Buffer) => ClosedVerdict,
): Promise<number> {
  const byKey = Map.groupBy(sessions, ({ keyHash }) => hex(keyHash))
  const several = new Set<string>()
  for (const [key, list] of byKey) if (list.length > 1) several.add(key)
  const known = new Map<string, VersionRow[]>()
  const keyHashes = [...byKey.values()].map(([first]) => first!.keyHash)
  for (const batch of batches(keyHashes)) {
    const rows = await tx.selectFrom('versions').selectAll().where('key_hash', 'in', batch).execute()
    for (const row of rows) push(known, hex(row.key_hash), row)
  }
  // Keys met before whose sessions are not recorded yet: look where their ledger rows point, else everywhere.
  const sought = new Set<string>()
  const segments = new Set<number>()
  let everywhere = false
  for (const row of await openRows(tx, keyHashes)) {
    const key = hex(row.key_hash)
    if (row.state !== 'known' || row.segment === null || row.segment === segment || known.has(key)) continue
    sought.add(key)
    segments.add(row.segment)
  }
  for (const { keyHash, shard, object } of sessions) {
    if (known.has(hex(keyHash)) || lookUp(shard, object) === 'new') continue
    sought.add(hex(keyHash))
    everywhere = true
  }
  const added: VersionRow[] = []
  if (sought.size) {
    const rows = await tx
      .selectFrom('segments')
      .select(['segment', 'collection'])
      .where('state', '=', 'live')
      .where('segment', '!=', segment)
      .$if(!everywhere, (query) => query.where('segment', 'in', [...segments]))
      .execute()
    for (const row of rows) {
      const path = join(context.manifestDirectory(row.collection), sessionLedgerName(row.segment))
      for (const entry of readSessionLedger(path)) {
        const keyHash = entry.object.subarray(0, KEY_BYTES)
        const key = hex(keyHash)
        if (!sought.has(key)) continue
        const found = versionRow(entry, keyHash, row.segment, await sealSequence(tx, entry.session))
        added.push(found)
        push(known, key, found)
      }
    }
  }
  for (const [key, list] of byKey) {
    if (!known.has(key) && !several.has(key)) continue
    for (const session of list) {
      const row = versionRow(session, session.keyHash, segment, sequence)
      added.push(row)
      push(known, key, row)
    }
  }
  let superseded = 0
  const changed: number[] = []
  const fresh = new Set(added)
  for (const rows of known.values())
    for (const row of supersededOf(rows)) {
      if (row.superseded) continue
      superseded += 1
      row.superseded = 1
      if (!fresh.has(row)) changed.push(row.session)
    }
  for (const batch of batches(added)) await tx.insertInto('versions').values(batch).execute()
  for (const batch of batches(changed))
    await tx.updateTable('versions').set({ superseded: 1 }).where('session', 'in', batch).execute()
  return superseded
}

/** Number of the link that sealed a session: compaction moves it, and does not make it newer. */
export async function sealSequence(tx: Tx, session: number): Promise<number> {
  const row = await tx
    .selectFrom('links')
    .select('number')
    .where('session1', '<=', session)
    .orderBy('session1', 'desc')
    .limit(1)
    .executeTakeFirstOrThrow()
  return row.number
}

/** All but the latest of one key's sessions. */
export function supersededOf<T extends Pick<VersionRow, 'last_modified' | 'sequence' | 'session'>>(
  rows: readonly T[],
): T[] {
  return [...rows]
    .sort((a, b) => a.last_modified - b.last_modified || a.sequence - b.sequence || a.session - b.session)
    .slice(0, -1)
}

// --- internal ---

const versionRow = (entry: LedgerEntry, keyHash: Buffer, segment: number, sequence: number): VersionRow => ({
  session: entry.session,
  key_hash: keyHash,
  segment,
  last_modified: entry.lastModified,
  sequence,
  superseded: 0,
})

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key)
  if (list) list.push(value)
  else map.set(key, [value])
}
