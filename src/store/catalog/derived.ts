/** What follows a commit and can be done again from the catalog: the history of what it made. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { writeDurably } from '../../platform/files.ts'
import { linkFileName, parseLink, replacedOf } from '../chain.ts'
import { appendHistory, appendRun } from '../history.ts'
import { parseManifest } from '../manifest.ts'
import { ARCHIVE_LOCK, archiveManifests, isArchiveDue } from '../manifestGenerations.ts'
import { segmentFileName } from '../segment.ts'
import { patiently, writeAnchor } from './anchor.ts'
import type { CatalogContext } from './context.ts'
import { cutHistory } from './erase.ts'

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
        manifests: [...files, ...(body.action === 'erase' ? await tagFilesNamed(context, segment) : [])].map(
          ({ manifest, name }) => parseManifest(manifest, name),
        ),
        keyset: join(context.resolvedDirectory(row.directory), segmentFileName('index', segment), 'keyset.ks'),
        replaced: replacedOf(body),
      },
    ])
    faultPoint('history.appended')
    // One that was replaced before its history was written may have been erased since.
    if (body.action === 'erase' || row.state === 'retired') await cutErased(context, row.collection)
    await context.db.updateTable('segments').set({ in_history: 1 }).where('segment', '=', segment).execute()
    await archiveWhenDue(context, row.collection)
  }
}

/** Takes committed runs, and removals of runs, into the history. */
export async function takeRunsIntoHistory(context: CatalogContext, runs: readonly number[]): Promise<void> {
  for (const run of runs) {
    const row = await context.db.selectFrom('runs').selectAll().where('run', '=', run).executeTakeFirst()
    if (!row || row.sequence === null || row.in_history) continue
    const files = await context.db
      .selectFrom('tag_files')
      .select(['name', 'manifest'])
      .where('run', '=', run)
      .orderBy('named')
      .execute()
    appendRun(context.manifestDirectory(row.collection), run, {
      manifests: files.map(({ name, manifest }) => parseManifest(manifest, name)),
      isRemoved: row.state === 'removed',
    })
    faultPoint('history.appended')
    await context.db
      .updateTable('runs')
      .set({ in_history: 1 })
      .where('run', '=', run)
      .where('state', '=', row.state)
      .execute()
    await archiveWhenDue(context, row.collection)
  }
}

/**
 * Does again what a crash left undone: the history of segments and runs whose writer is dead (a living one does its own), and the
 * link files at the head when a commit that failed has overwritten them. Answers how many segments and
 * runs it took in.
 */
export async function repairDerived(context: CatalogContext): Promise<number> {
  const lock = await context.locks.acquire('hold-history')
  if (!lock) return 0
  try {
    await restoreHeadLinks(context)
    const segments = await context.db
      .selectFrom('segments')
      .select(['segment as number', 'owner'])
      .where('in_history', '=', 0)
      .orderBy('segment')
      .execute()
    const runs = await context.db
      .selectFrom('runs')
      .select(['run as number', 'owner'])
      .where('in_history', '=', 0)
      .where('sequence', 'is not', null)
      .orderBy('run')
      .execute()
    const deadSegments = await ofTheDead(context, segments)
    await takeIntoHistory(context, deadSegments)
    const deadRuns = await ofTheDead(context, runs)
    await takeRunsIntoHistory(context, deadRuns)
    // A second place that is away must not keep anybody from collecting; the next commit tells.
    if (context.anchorPath !== undefined && context.key)
      await writeAnchor(context, context.anchorPath).catch(() => undefined)
    return deadSegments.length + deadRuns.length
  } finally {
    await lock.release()
  }
}

// --- internal ---

async function tagFilesNamed({ db }: CatalogContext, segment: number) {
  return db.selectFrom('tag_files').select(['name', 'manifest']).where('named', '=', segment).orderBy('name').execute()
}

/** Waits for who archives: what was erased must not stay because of him. */
async function cutErased(context: CatalogContext, collection: string): Promise<void> {
  const lock = await patiently(() => context.locks.acquire(`hold-${ARCHIVE_LOCK}`))
  if (!lock) throw new ColdtrailError('E_CATALOG_BUSY', { cause: 'another process archives manifests' })
  try {
    await cutHistory(context, collection)
  } finally {
    await lock.release()
  }
}

/** Packs the live log of manifests, once it is long, unless another process is at it. */
async function archiveWhenDue(context: CatalogContext, collection: string): Promise<void> {
  const directory = context.manifestDirectory(collection)
  if (!isArchiveDue(directory)) return
  const lock = await context.locks.acquire(`hold-${ARCHIVE_LOCK}`)
  if (!lock) return
  try {
    archiveManifests(directory)
  } catch (error) {
    // The history has what was committed, only not packed: the next commit tries again, and `manifest compress` says why not.
    if (!(error instanceof ColdtrailError)) throw error
  } finally {
    await lock.release()
  }
}

/** Numbers of what belongs to nobody who lives, or to this process. */
async function ofTheDead(
  context: CatalogContext,
  rows: readonly { readonly number: number; readonly owner: string }[],
): Promise<number[]> {
  const dead: number[] = []
  for (const [owner, own] of Map.groupBy(rows, (row) => row.owner)) {
    const mine = context.owners.has(owner)
    const ownerLock = mine ? undefined : await context.locks.acquire(owner)
    if (mine || ownerLock) dead.push(...own.map(({ number }) => number))
    await ownerLock?.release()
  }
  return dead
}

/**
 * Puts a committed link back where a commit that failed later (a host cut off from its server) left its own. Only a
 * link with another uuid is such a one; a missing or damaged file is for `verify` to name.
 */
async function restoreHeadLinks(context: CatalogContext): Promise<void> {
  const heads = await context.db
    .selectFrom('collections')
    .innerJoin('links', (join) =>
      join
        .onRef('links.collection', '=', 'collections.name')
        // A commit has two links at most.
        .on('links.number', '>=', ({ ref, eb }) => eb(ref('collections.head'), '-', 1)),
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
