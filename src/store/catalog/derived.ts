/** What follows a commit and can be done again from the catalog: the history of what it made. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { faultPoint } from '../../platform/faults.ts'
import { writeDurably } from '../../platform/files.ts'
import { linkFileName, parseLink } from '../chain.ts'
import { appendHistory } from '../history.ts'
import { parseManifest } from '../manifest.ts'
import { segmentFileName } from '../segment.ts'
import type { CatalogContext } from './context.ts'

/** Takes committed segments into the history. */
export async function takeIntoHistory(context: CatalogContext, segments: readonly number[]): Promise<void> {
  for (const segment of segments) {
    const [row] = await context.db.selectFrom('segments').selectAll().where('segment', '=', segment).execute()
    if (!row || row.in_history) continue
    const files = await context.db
      .selectFrom('files')
      .selectAll()
      .where('segment', '=', segment)
      .orderBy('name')
      .execute()
    const [link] = await context.db
      .selectFrom('links')
      .select('bytes')
      .where('collection', '=', row.collection)
      .where('number', '=', row.sequence)
      .execute()
    const { body } = parseLink(link!.bytes, linkFileName(row.sequence))
    appendHistory(context.manifestDirectory(row.collection), [
      {
        segment,
        manifests: files.map(({ manifest, name }) => parseManifest(manifest, name)),
        keyset: join(context.resolvedDirectory(row.directory), segmentFileName('index', segment), 'keyset.ks'),
        replaced: body.action === 'replace' ? body.replaced : [],
      },
    ])
    faultPoint('history.appended')
    await context.db.updateTable('segments').set({ in_history: 1 }).where('segment', '=', segment).execute()
  }
}

/**
 * Does again what a crash left undone: the history of segments whose writer is dead (a living one does its own), and the
 * link file of the head when a commit that failed has overwritten it. Answers how many segments it took in.
 */
export async function repairDerived(context: CatalogContext): Promise<number> {
  const lock = await context.locks.acquire('hold-history')
  if (!lock) return 0
  try {
    await restoreHeadLinks(context)
    const rows = await context.db
      .selectFrom('segments')
      .select(['segment', 'owner'])
      .where('in_history', '=', 0)
      .orderBy('segment')
      .execute()
    const dead: number[] = []
    for (const [owner, segments] of Map.groupBy(rows, (row) => row.owner)) {
      const mine = context.owners.has(owner)
      const ownerLock = mine ? undefined : await context.locks.acquire(owner)
      if (mine || ownerLock) dead.push(...segments.map(({ segment }) => segment))
      await ownerLock?.release()
    }
    await takeIntoHistory(context, dead)
    return dead.length
  } finally {
    await lock.release()
  }
}

// --- internal ---

/**
 * Puts a committed link back where a commit that failed later (a host cut off from its server) left its own. Only a
 * link with another uuid is such a one; a missing or damaged file is for `verify` to name.
 */
async function restoreHeadLinks(context: CatalogContext): Promise<void> {
  const heads = await context.db
    .selectFrom('collections')
    .innerJoin('links', (join) =>
      join.onRef('links.collection', '=', 'collections.name').onRef('links.number', '=', 'collections.head'),
    )
    .select(['links.collection', 'links.number', 'links.uuid', 'links.bytes'])
    .execute()
  for (const { collection, number, uuid, bytes } of heads) {
    const path = join(context.chainDirectory(collection), linkFileName(number))
    const other = linkUuid(path)
    if (other !== undefined && other !== uuid) writeDurably(path, bytes)
  }
}

function linkUuid(path: string): string | undefined {
  try {
    return parseLink(readFileSync(path), 'head').uuid
  } catch {
    return undefined
  }
}
