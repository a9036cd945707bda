/**
 * Where files lie: moves, deletions and holds, each one transaction with its link. What a move or a deletion leaves
 * behind are rows of `left_files`, which the sweep removes once nobody reads them any more; a copy that is being made is
 * such a row too (`retirement` ANNOUNCED), so that one that was cut off is never forgotten.
 */
import { existsSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { syncDirectory } from '../../platform/files.ts'
import { type FileOfSegment, type Link, type Place, segmentOf } from '../chain.ts'
import { isLocal, PLACE_MARK, type Tier } from '../heldFile.ts'
import { heldTimes, holdsOver, type LegalHold } from '../holds.ts'
import { parseManifest } from '../manifest.ts'
import { type Committer, commitLinks, prepareChain, retirement } from './commit.ts'
import { batches, type CatalogContext, now } from './context.ts'
import type { Tx } from './schema.ts'

/** A file of a segment, which lies in `from` and of which a verified copy is durable in `to`. Directories as in HeldFile. */
export interface FileMove {
  readonly segment: number
  readonly kind: string
  readonly from: { readonly directory: string }
  readonly to: { readonly tier: Tier; readonly directory: string; readonly label?: string }
}

export interface FileId {
  readonly segment: number
  readonly kind: string
}

/** A copy that is no file of a segment any more, or not yet. */
export interface LeftFile {
  readonly directory: string
  readonly name: string
}

/** E_CLAIM_LOST when a file does not lie where it is said to, or is no more: nothing is moved then. */
export async function commitMove(
  context: CatalogContext,
  owner: Committer,
  collection: string,
  moves: readonly FileMove[],
): Promise<{ sequence: number }> {
  const rows = await filesOf(context, collection, moves)
  prepareChain(context, collection)
  const body = {
    action: 'move',
    files: moves.map(({ to }, i) => ({
      ...rows[i]!.file,
      from: placeOf(rows[i]!),
      to: { tier: to.tier, directory: context.storedDirectory(to.directory), ...(to.label ? { label: to.label } : {}) },
    })),
  } as const
  const [sequence] = await commitLinks(context, owner, collection, [body], async (tx) => {
    const { retired_at, retirement: number } = await retirement(tx)
    for (const { file, home, current } of rows.values()) {
      const { to, from } = body.files.find((one) => one.segment === file.segment && one.kind === file.kind)!
      const { numUpdatedRows } = await tx
        .updateTable('files')
        .set({ tier: to.tier, directory: to.directory === home ? null : to.directory, label: to.label ?? null })
        .where('segment', '=', file.segment)
        .where('kind', '=', file.kind)
        .where('deleted', '=', 0)
        .where((term) =>
          current === home
            ? term.or([term('directory', 'is', null), term('directory', '=', home)])
            : term('directory', '=', current),
        )
        .executeTakeFirst()
      if (Number(numUpdatedRows) !== 1) throw elsewhere(file)
      await forget(tx, to.directory, file.name)
      if (from.directory !== to.directory)
        await leave(tx, [{ directory: from.directory, name: file.name, retired_at, retirement: number }])
    }
  })
  return { sequence }
}

/**
 * Says that files are no more; the sweep removes them. Their rows stay. E_HELD when a hold covers one, looked up in the
 * same transaction. With a segment's events its labels go: tag files of theirs are in the link too.
 */
export async function commitDelete(
  context: CatalogContext,
  owner: Committer,
  collection: string,
  ids: readonly FileId[],
  reason: string,
): Promise<{ sequence: number }> {
  const rows = await filesOf(context, collection, ids)
  const emptied = rows.filter(({ file }) => file.kind === 'meta').map(({ file }) => file.segment)
  const tags = await tagFilesOf(context, emptied)
  prepareChain(context, collection)
  const files: FileOfSegment[] = [
    ...rows.map(({ file }) => file),
    ...tags.map(({ segment, name, size, sha256 }) => ({ segment, kind: 'tag', name, size, sha256 })),
  ]
  const [sequence] = await commitLinks(
    context,
    owner,
    collection,
    [{ action: 'delete', files, reason }],
    async (tx) => {
      await refuseHeld(tx, collection, ids)
      const { retired_at, retirement: number } = await retirement(tx)
      for (const { file, current } of rows) {
        const { numUpdatedRows } = await tx
          .updateTable('files')
          .set({ deleted: 1 })
          .where('segment', '=', file.segment)
          .where('kind', '=', file.kind)
          .where('deleted', '=', 0)
          .executeTakeFirst()
        if (Number(numUpdatedRows) !== 1) throw elsewhere(file)
        await leave(tx, [{ directory: current, name: file.name, retired_at, retirement: number }])
      }
      for (const { name, directory } of tags) {
        await tx.deleteFrom('tag_files').where('name', '=', name).execute()
        await leave(tx, [{ directory, name, retired_at, retirement: number }])
      }
    },
  )
  return { sequence }
}

/** Puts a hold on, or takes it off. E_HOLD_EXISTS, E_HOLD_UNKNOWN. */
export async function commitHold(
  context: CatalogContext,
  owner: Committer,
  collection: string,
  hold: Pick<LegalHold, 'name' | 'reason' | 'time1' | 'time2'> & { readonly isOn: boolean },
): Promise<{ sequence: number }> {
  const { name, reason, isOn, time1, time2 } = hold
  prepareChain(context, collection)
  const body = { action: 'hold', name, isOn, reason, time1, time2 } as const
  const [sequence] = await commitLinks(context, owner, collection, [body], async (tx, [number]) => {
    const row = await tx
      .selectFrom('holds')
      .select('sequence')
      .where('collection', '=', collection)
      .where('name', '=', name)
      .executeTakeFirst()
    if (isOn && row) throw new ColdtrailError('E_HOLD_EXISTS', { name, collection })
    if (!isOn && !row) throw new ColdtrailError('E_HOLD_UNKNOWN', { name, collection })
    await setHold(tx, collection, body, now(), number)
  })
  return { sequence }
}

export async function setHold(
  tx: Tx,
  collection: string,
  { name, isOn, reason, time1, time2 }: Pick<LegalHold, 'name' | 'reason' | 'time1' | 'time2'> & { isOn: boolean },
  since: number,
  sequence: number,
): Promise<void> {
  await tx.deleteFrom('holds').where('collection', '=', collection).where('name', '=', name).execute()
  if (isOn) await tx.insertInto('holds').values({ collection, name, reason, time1, time2, since, sequence }).execute()
}

export async function holds(context: CatalogContext, collection?: string): Promise<LegalHold[]> {
  return context.db
    .selectFrom('holds')
    .selectAll()
    .$if(collection !== undefined, (query) => query.where('collection', '=', collection!))
    .orderBy('collection')
    .orderBy('name')
    .execute()
}

/**
 * Says that copies will be made, before the first byte: what a crash leaves of them is then known. What the sweep was to
 * remove there stays. E_CATALOG_BUSY while another process sweeps and does not end.
 */
export async function announceCopies(context: CatalogContext, copies: readonly LeftFile[]): Promise<void> {
  const lock = await sweepLock(context)
  try {
    await context.write(async (tx) => {
      for (const { directory, name } of copies) {
        const stored = context.storedDirectory(directory)
        await forget(tx, stored, name)
        await leave(tx, [{ directory: stored, name, retired_at: now(), retirement: ANNOUNCED }])
      }
    })
  } finally {
    await lock.release()
  }
}

/**
 * What nobody needs any more: what was left before the grace time and has no earlier reader. `announced`: copies that were
 * announced and never committed too, which only who holds the lock of the tiers may ask for.
 */
export async function leftFiles(
  context: CatalogContext,
  options: { readonly graceMs: number; readonly announced?: boolean },
): Promise<LeftFile[]> {
  const oldest = await context.locks.oldestReader()
  const rows = await context.db.selectFrom('left_files').selectAll().orderBy('directory').orderBy('name').execute()
  return rows
    .filter(({ retired_at, retirement }) => {
      if (retirement === ANNOUNCED) return options.announced === true
      return now() >= retired_at + options.graceMs * 1000 && (oldest === undefined || oldest > retirement)
    })
    .map(({ directory, name }) => ({ directory: context.resolvedDirectory(directory), name }))
}

/** Every copy that is still to be removed, whoever may need it. */
export async function allLeftFiles(context: CatalogContext): Promise<LeftFile[]> {
  const rows = await context.db.selectFrom('left_files').select(['directory', 'name']).execute()
  return rows.map(({ directory, name }) => ({ directory: context.resolvedDirectory(directory), name }))
}

export async function forgetLeft(context: CatalogContext, files: readonly LeftFile[]): Promise<void> {
  if (files.length === 0) return
  await context.write(async (tx) => {
    for (const { directory, name } of files) await forget(tx, context.storedDirectory(directory), name)
  })
}

/** Removes what was left in directories of this host; whose volume is not mounted stays, to be removed later. */
export async function removeLeft(
  context: CatalogContext,
  options: { readonly graceMs: number; readonly announced?: boolean },
): Promise<number> {
  await context.readers.letGo()
  const due = (await leftFiles(context, options)).filter(
    ({ directory }) => isLocal(directory) && isThere(context, directory),
  )
  for (const batch of batches(due, 200)) {
    for (const { directory, name } of batch)
      for (const file of [name, `${name}.manifest`, `${name}.tmp`, `${name}.manifest.tmp`])
        rmSync(join(directory, file), { recursive: true, force: true })
    for (const directory of new Set(batch.map(({ directory }) => directory)))
      if (existsSync(directory)) syncDirectory(directory)
    faultPoint('left.unlinked')
    await forgetLeft(context, batch)
  }
  return due.length
}

/** Rows of `left_files`, of which one may be there already. */
export async function leave(
  tx: Tx,
  files: readonly (LeftFile & { readonly retired_at: number; readonly retirement: number })[],
): Promise<void> {
  for (const { directory, name } of files) await forget(tx, directory, name)
  if (files.length > 0)
    await tx
      .insertInto('left_files')
      .values([...files])
      .execute()
}

export const fileKey = (segment: number, kind: string): string => `${segment} ${kind}`

/** By file (fileKey): the directory, as stored, that the last `move` link of it names. */
export function directoriesByFile(links: readonly Pick<Link, 'body'>[]): Map<string, string> {
  const found = new Map<string, string>()
  for (const { body } of links)
    if (body.action === 'move')
      for (const { segment, kind, to } of body.files) found.set(fileKey(segment, kind), to.directory)
  return found
}

/** Places, deletions and holds as the links of a collection have them, into a catalog that has its segments and tag files. */
export async function replayPlaces(tx: Tx, context: CatalogContext, links: readonly Link[]): Promise<void> {
  // A rebuilt catalog has no reader that is older than it.
  const since = { retired_at: now(), retirement: 0 }
  const leaveIfThere = async (directory: string, name: string): Promise<void> => {
    const path = context.resolvedDirectory(directory)
    if (isLocal(path) && existsSync(join(path, name))) await leave(tx, [{ directory, name, ...since }])
  }
  const homes = new Map<number, string>()
  for (const { body, collection, number, time } of links) {
    const made = segmentOf(body)
    if (made) homes.set(made.segment, made.directory)
    if (body.action === 'hold') await setHold(tx, collection, body, time, number)
    else if (body.action === 'move')
      for (const { segment, kind, name, from, to } of body.files) {
        await tx
          .updateTable('files')
          .set({
            ...{ tier: to.tier, label: to.label ?? null },
            directory: to.directory === homes.get(segment) ? null : to.directory,
          })
          .where('segment', '=', segment)
          .where('kind', '=', kind)
          .execute()
        await forget(tx, to.directory, name)
        if (from.directory !== to.directory) await leaveIfThere(from.directory, name)
      }
    else if (body.action === 'delete' && body.workbench === undefined) {
      const files = body.files.filter(({ kind }) => kind !== 'tag')
      for (const { segment, kind, name } of files) {
        const row = await tx
          .updateTable('files')
          .set({ deleted: 1 })
          .where('segment', '=', segment)
          .where('kind', '=', kind)
          .returning('directory')
          .executeTakeFirst()
        if (row) await leaveIfThere(row.directory ?? homes.get(segment)!, name)
      }
      for (const { name } of body.files.filter(({ kind }) => kind === 'tag')) {
        const row = await tx.deleteFrom('tag_files').where('name', '=', name).returning('directory').executeTakeFirst()
        if (row) await leaveIfThere(row.directory, name)
      }
    }
  }
}

export const SWEEP_LOCK = 'hold-sweep'

// --- internal ---

/** In `left_files.retirement`: a copy that is being made. */
const ANNOUNCED = -1
const SWEEP_WAIT_MS = 30_000

interface FoundFile {
  readonly file: FileOfSegment
  /** Of the segment, and where the file lies; as stored. */
  readonly home: string
  readonly current: string
  readonly tier: string
  readonly label: string | null
}

const placeOf = ({ tier, current, label }: FoundFile): Place => ({
  tier,
  directory: current,
  ...(label === null ? {} : { label }),
})

const elsewhere = ({ name }: FileOfSegment): ColdtrailError =>
  new ColdtrailError('E_CLAIM_LOST', { reason: `${name} was moved or removed by another process` })

async function filesOf(context: CatalogContext, collection: string, ids: readonly FileId[]): Promise<FoundFile[]> {
  const found = new Map<string, FoundFile>()
  for (const batch of batches([...new Set(ids.map(({ segment }) => segment))])) {
    const rows = await context.db
      .selectFrom('files')
      .innerJoin('segments', 'segments.segment', 'files.segment')
      .select([
        'files.segment',
        'kind',
        'name',
        'size',
        'sha256',
        'tier',
        'label',
        'files.directory',
        'deleted',
        'in_history',
      ])
      .select('segments.directory as home')
      .where('files.segment', 'in', batch)
      .where('collection', '=', collection)
      .execute()
    // The history is made from the files: until it has them they stay.
    for (const { segment, kind, name, size, sha256, tier, label, directory, deleted, home, in_history } of rows)
      if (deleted === 0 && in_history === 1)
        found.set(fileKey(segment, kind), {
          file: { segment, kind, name, size, sha256 },
          ...{ home, current: directory ?? home, tier, label },
        })
  }
  return ids.map(({ segment, kind }) => {
    const one = found.get(fileKey(segment, kind))
    if (!one)
      throw new ColdtrailError('E_CLAIM_LOST', {
        reason: `${kind} of segment ${segment} is no more, or not in the history yet`,
      })
    return one
  })
}

async function tagFilesOf(context: CatalogContext, segments: readonly number[]) {
  const found = []
  for (const batch of batches(segments))
    found.push(
      ...(await context.db
        .selectFrom('tag_files')
        .select(['named as segment', 'name', 'size', 'sha256', 'directory'])
        .where('segment', 'in', batch)
        .where('state', '=', 'live')
        .execute()),
    )
  return found
}

/** A pack is held as the segments are whose sessions lie in it. */
async function refuseHeld(tx: Tx, collection: string, ids: readonly FileId[]): Promise<void> {
  const on = await tx.selectFrom('holds').selectAll().where('collection', '=', collection).execute()
  if (on.length === 0) return
  const numbers = new Set(ids.map(({ segment }) => segment))
  const rows = await tx.selectFrom('segments').selectAll().where('collection', '=', collection).execute()
  const meant = rows.filter(
    ({ segment, state, packs }) =>
      numbers.has(segment) || (state === 'live' && (JSON.parse(packs) as number[]).some((pack) => numbers.has(pack))),
  )
  for (const row of meant) {
    const meta = await tx
      .selectFrom('files')
      .select(['name', 'manifest'])
      .where('segment', '=', row.segment)
      .where('kind', '=', 'meta')
      .executeTakeFirst()
    const files = meta ? [{ kind: 'meta', manifest: parseManifest(meta.manifest, meta.name) }] : []
    const [name] = holdsOver(on, heldTimes({ ...row, rows: row.row_count, files }))
    if (name !== undefined) throw new ColdtrailError('E_HELD', { segment: row.segment, name, collection })
  }
}

async function forget(tx: Tx, directory: string, name: string): Promise<void> {
  await tx.deleteFrom('left_files').where('directory', '=', directory).where('name', '=', name).execute()
}

/** A place of a tier bears a mark: without it, what is at its path is the empty directory below an absent mount. */
function isThere({ dataDir }: CatalogContext, directory: string): boolean {
  const isOwn = directory === dataDir || directory.startsWith(`${dataDir}/`)
  return isOwn ? existsSync(directory) : existsSync(join(dirname(directory), PLACE_MARK))
}

async function sweepLock(context: CatalogContext) {
  for (const start = Date.now(); ; ) {
    const lock = await context.locks.acquire(SWEEP_LOCK)
    if (lock) return lock
    if (Date.now() - start > SWEEP_WAIT_MS)
      throw new ColdtrailError('E_CATALOG_BUSY', { cause: 'another process removes files that nobody needs' })
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
