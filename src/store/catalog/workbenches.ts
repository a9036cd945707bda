/**
 * Workbenches in the catalog: the commits that make, keep and remove them, their segments, and what is left of removed
 * ones. Every commit is a link of the home collection and names a line of its custody log, which is durable before it.
 */
import { existsSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { namesIfThere, syncDirectory } from '../../platform/files.ts'
import type { Owner, SegmentRow } from '../catalog.ts'
import { type FileOfSegment, type Link, linkFileName, type PlaceAction, parseLink } from '../chain.ts'
import { type CustodyAction, type CustodyEntry, custodyOf, readCustody, recordCustody } from '../custody.ts'
import type { Restored, Workbench, WorkbenchChange, WorkbenchFile } from '../workbench.ts'
import { WORKBENCH_MARK } from '../workbench.ts'
import { type Committer, commitLinks, prepareChain, retirement } from './commit.ts'
import { batches, type CatalogContext, checkedCollection, now } from './context.ts'
import { createOwner } from './owners.ts'
import type { Tables, Tx } from './schema.ts'

type Stored = Tables['workbenches']
type Restoring = Extract<PlaceAction, { action: 'restore' }>

/** By name; `name`: only this one. */
export async function workbenches(context: CatalogContext, name?: string): Promise<Workbench[]> {
  const rows = await context.db
    .selectFrom('workbenches as w')
    .leftJoin('workbench_files as f', 'f.directory', 'w.directory')
    .select(['w.name', 'w.home', 'w.directory', 'w.reason', 'w.created', 'w.expires', 'w.held'])
    .select([
      sql<number>`count(f.name)`.as('copies'),
      sql<number>`count(case when f.kind = 'meta' then 1 end)`.as('segments'),
      sql<number>`coalesce(sum(f.size), 0)`.as('bytes'),
    ])
    .where('w.state', '=', 'live')
    .$if(name !== undefined, (query) => query.where('w.name', '=', name!))
    .groupBy(['w.name', 'w.home', 'w.directory', 'w.reason', 'w.created', 'w.expires', 'w.held'])
    .orderBy('w.name')
    .execute()
  return rows.map(({ held, directory, copies, segments, bytes, ...row }) => ({
    ...row,
    ...{ directory: context.resolvedDirectory(directory), isHeld: held === 1 },
    ...{ copies: Number(copies), segments: Number(segments), bytes: Number(bytes) },
  }))
}

/** In order of their links, then segment and name. E_WORKBENCH_UNKNOWN. */
export async function workbenchFiles(context: CatalogContext, name: string): Promise<WorkbenchFile[]> {
  const { directory } = await storedWorkbench(context, name)
  return context.db
    .selectFrom('workbench_files')
    .select(['segment', 'kind', 'name', 'size', 'sequence'])
    .where('directory', '=', directory)
    .orderBy('sequence')
    .orderBy('segment')
    .orderBy('name')
    .execute()
}

/** A folder of its own below `parent`, with a name that no removed workbench still has. */
export async function workbenchDirectory(context: CatalogContext, name: string, parent?: string): Promise<string> {
  const held = await liveWorkbench(context.db, checkedCollection(name))
  if (held) return context.resolvedDirectory(held.directory)
  const rows = await context.db.selectFrom('workbenches').select('directory').execute()
  const taken = new Set(rows.map(({ directory }) => directory))
  const base = join(parent ?? join(context.dataDir, 'workbenches'), name)
  for (let count = 1; ; count++) {
    const directory = count === 1 ? base : `${base}-${count}`
    if (!taken.has(context.storedDirectory(directory))) return directory
  }
}

/** Which files are copied where, of a live workbench; undefined where the name is of none. */
export async function copiesOf(
  context: CatalogContext,
  name: string,
): Promise<{ readonly home: string; readonly directory: string; readonly names: ReadonlySet<string> } | undefined> {
  const row = await context.db
    .selectFrom('workbenches')
    .select(['home', 'directory'])
    .where('name', '=', name)
    .where('state', '=', 'live')
    .executeTakeFirst()
  if (!row) return undefined
  const files = await context.db
    .selectFrom('workbench_files')
    .select('name')
    .where('directory', '=', row.directory)
    .execute()
  const directory = context.resolvedDirectory(row.directory)
  return { home: row.home, directory, names: new Set(files.map(({ name }) => name)) }
}

/** Rows of the home as the workbench has them: those of which it has a file, at the places of the copies. */
export function workbenchRows(
  name: string,
  rows: readonly SegmentRow[],
  {
    home,
    directory,
    names,
  }: { readonly home: string; readonly directory: string; readonly names: ReadonlySet<string> },
): SegmentRow[] {
  return rows.flatMap((row): SegmentRow[] => {
    if (!row.files.some((file) => names.has(file.name))) return []
    const files = row.files.map((file) => {
      if (!names.has(file.name)) return file
      const { label: _, ...rest } = file
      return { ...rest, tier: 'hot' as const, directory, deleted: false }
    })
    const tags = row.tags.map((tag) => (names.has(tag.name) ? { ...tag, directory } : tag))
    return [{ ...row, collection: name, home, directory, files, tags }]
  })
}

/** Segments that workbenches have copies of: they stay as they are at home. */
export async function segmentsInWorkbenches(
  db: Pick<CatalogContext['db'], 'selectFrom'>,
  segments?: readonly number[],
): Promise<Set<number>> {
  const found = new Set<number>()
  for (const batch of segments ? batches(segments) : [undefined]) {
    const rows = await db
      .selectFrom('workbench_files')
      .innerJoin('workbenches', 'workbenches.directory', 'workbench_files.directory')
      .select('workbench_files.segment')
      .distinct()
      .where('workbenches.state', '=', 'live')
      .where('workbench_files.kind', '!=', 'log')
      .$if(batch !== undefined, (query) => query.where('workbench_files.segment', 'in', batch!))
      .execute()
    for (const { segment } of rows) found.add(segment)
  }
  return found
}

/**
 * Makes copies part of a workbench, and it where it is not there yet. E_WORKBENCH_NAME when the name is another's,
 * E_WORKBENCH_STALE when a segment was replaced meanwhile.
 */
export async function commitRestore(
  context: CatalogContext,
  owner: Owner,
  restored: Restored,
): Promise<{ sequence: number }> {
  const { workbench, home, reason } = restored
  checkedCollection(workbench)
  checkedCollection(home)
  const directory = context.storedDirectory(restored.directory)
  prepareChain(context, home)
  const before = await liveWorkbench(context.db, workbench)
  const expires = Math.max(restored.expires, before?.expires ?? 0)
  const history = context.manifestDirectory(home)
  const files = restored.files.map(({ segment, kind, name, size, sha256 }) => ({ segment, kind, name, size, sha256 }))
  const custody = recordCustody(history, { action: 'restore', workbench, reason, expires, files: restored.files })
  faultPoint('custody.written')
  const body = { action: 'restore', workbench, directory, reason, expires, files, custody } as const
  const [sequence] = await commitLinks(context, owner, home, [body], async (tx, [number]) => {
    const wanted = [
      ...new Set(files.filter(({ kind }) => kind !== 'log' && kind !== 'tag').map((file) => file.segment)),
    ]
    for (const batch of batches(wanted)) {
      const live = await tx
        .selectFrom('segments')
        .select('segment')
        .where('segment', 'in', batch)
        .where('collection', '=', home)
        .where('state', '=', 'live')
        .execute()
      if (live.length !== batch.length) throw new ColdtrailError('E_WORKBENCH_STALE', { workbench })
    }
    await insertRestore(tx, home, body, number, now())
  })
  return { sequence }
}

/** Keeps a workbench longer, or for as long as it is held. E_WORKBENCH_UNKNOWN. */
export async function changeWorkbench(
  context: CatalogContext,
  owner: Owner,
  name: string,
  { action, reason, expires: until }: WorkbenchChange,
): Promise<{ sequence: number }> {
  const row = await storedWorkbench(context, name)
  const expires = until ?? row.expires
  const isHeld = action === 'hold' || (action === 'extend' && row.held === 1)
  return committed(context, owner, row, { action, reason, expires }, (custody) => ({
    body: { action: 'workbench', workbench: name, expires, isHeld, reason, custody },
    async write(tx) {
      const { numUpdatedRows } = await tx
        .updateTable('workbenches')
        .set({ expires, held: isHeld ? 1 : 0 })
        .where('directory', '=', row.directory)
        .where('state', '=', 'live')
        .executeTakeFirst()
      if (Number(numUpdatedRows) !== 1) throw unknownWorkbench(name)
    },
  }))
}

/** Takes a workbench away at once; its files are unlinked by a later sweep. E_WORKBENCH_UNKNOWN, E_WORKBENCH_HELD. */
export async function removeWorkbench(
  context: CatalogContext,
  owner: Committer,
  name: string,
  { reason, action = 'remove' }: { readonly reason: string; readonly action?: 'remove' | 'expire' },
): Promise<{ sequence: number }> {
  const row = await storedWorkbench(context, name)
  if (row.held === 1) throw new ColdtrailError('E_WORKBENCH_HELD', { name })
  return committed(context, owner, row, { action, reason, expires: null }, (custody) => ({
    body: { action: 'delete', files: [], reason, workbench: name, custody },
    async write(tx) {
      const { numUpdatedRows } = await tx
        .updateTable('workbenches')
        .set({ ...(await retirement(tx)), state: 'removed' })
        .where('directory', '=', row.directory)
        .where('state', '=', 'live')
        .where('held', '=', 0)
        // One that was extended meanwhile does not expire.
        .where('expires', '=', row.expires)
        .executeTakeFirst()
      if (Number(numUpdatedRows) !== 1) throw unknownWorkbench(name)
    },
  }))
}

/** The custody log of a collection, with the links that vouch for its lines. */
export async function custodyLog(context: CatalogContext, collection: string): Promise<CustodyEntry[]> {
  const links = await context.db
    .selectFrom('links')
    .select(['number', 'bytes'])
    .where('collection', '=', collection)
    .where('segment', '=', 0)
    .orderBy('number')
    .execute()
  const digests = new Map<string, number>()
  for (const { number, bytes } of links) {
    const digest = custodyOf(parseLink(bytes, linkFileName(number)).body)
    if (digest !== undefined) digests.set(digest, number)
  }
  return readCustody(context.manifestDirectory(collection), digests)
}

/** Removes what has expired, and unlinks what was removed once no earlier reader is left. Answers names removed. */
export async function sweepWorkbenches(context: CatalogContext, graceMs: number): Promise<string[]> {
  const due = await context.db
    .selectFrom('workbenches')
    .select('name')
    .where('state', '=', 'live')
    .where('held', '=', 0)
    .where('expires', '<', now())
    .orderBy('name')
    .execute()
  const removed: string[] = []
  if (due.length > 0) {
    const owner = await createOwner(context, 'sweep')
    try {
      for (const { name } of due) {
        await removeWorkbench(context, owner, name, { reason: 'its time is over', action: 'expire' })
        removed.push(name)
      }
    } finally {
      await owner.release()
    }
  }
  await unlinkRemoved(context, graceMs)
  await removeAbandoned(context)
  return removed
}

// --- what a rebuild does too ---

/** Rows of a `restore` link. */
export async function insertRestore(
  tx: Tx,
  home: string,
  { workbench, directory, reason, expires, files }: Restoring,
  sequence: number,
  time: number,
): Promise<void> {
  const taken = await tx.selectFrom('collections').select('name').where('name', '=', workbench).executeTakeFirst()
  if (taken) throw new ColdtrailError('E_WORKBENCH_NAME', { name: workbench, taken: 'a collection' })
  const held = await liveWorkbench(tx, workbench)
  if (held && (held.home !== home || held.directory !== directory)) {
    const taken = `a workbench of ${held.home} in ${held.directory}`
    throw new ColdtrailError('E_WORKBENCH_NAME', { name: workbench, taken })
  }
  if (held)
    await tx
      .updateTable('workbenches')
      .set({ expires: Math.max(held.expires, expires) })
      .where('directory', '=', directory)
      .execute()
  else {
    // One that was removed, and whose files were not unlinked yet, keeps its directory.
    const old = await tx.selectFrom('workbenches').select('name').where('directory', '=', directory).executeTakeFirst()
    if (old) throw new ColdtrailError('E_WORKBENCH_NAME', { name: workbench, taken: 'one that is being removed' })
    const row = { directory, name: workbench, home, reason, created: time, expires, held: 0, state: 'live' as const }
    await tx
      .insertInto('workbenches')
      .values({ ...row, retired_at: null, retirement: null })
      .execute()
  }
  const rows = files.map(({ segment, kind, name, size }) => ({ directory, segment, kind, name, size, sequence }))
  for (const batch of batches(rows))
    await tx
      .insertInto('workbench_files')
      .values(batch)
      // Of a restore that is repeated.
      .onConflict((conflict) => conflict.doNothing())
      .execute()
}

/** Does the links of workbenches again, in their order. */
export async function replayWorkbenches(
  tx: Tx,
  links: readonly Pick<Link, 'body' | 'collection' | 'number' | 'time'>[],
) {
  for (const { body, collection, number, time } of links) {
    if (body.action === 'restore') {
      const { directory } = body
      const where = { directory, state: 'removed' as const }
      const old = await tx
        .selectFrom('workbenches')
        .select('name')
        .where((term) => term.and(where))
        .executeTakeFirst()
      if (old)
        for (const table of ['workbench_files', 'workbenches'] as const)
          await tx.deleteFrom(table).where('directory', '=', directory).execute()
      await insertRestore(tx, collection, body, number, time)
    } else if (body.action === 'workbench')
      await tx
        .updateTable('workbenches')
        .set({ expires: body.expires, held: body.isHeld ? 1 : 0 })
        .where('name', '=', body.workbench)
        .where('state', '=', 'live')
        .execute()
    else if (body.action === 'delete' && body.workbench !== undefined)
      await tx
        .updateTable('workbenches')
        .set({ state: 'removed', retired_at: now(), retirement: 0 })
        .where('name', '=', body.workbench)
        .where('state', '=', 'live')
        .execute()
  }
}

/** Refuses to put anything but copies into a workbench. E_WORKBENCH_READ_ONLY. */
export async function refuseWorkbench(tx: Tx, collection: string): Promise<void> {
  if (await liveWorkbench(tx, collection)) throw new ColdtrailError('E_WORKBENCH_READ_ONLY', { name: collection })
}

// --- internal ---

const unknownWorkbench = (name: string): ColdtrailError => new ColdtrailError('E_WORKBENCH_UNKNOWN', { name })

async function liveWorkbench(db: Pick<Tx, 'selectFrom'>, name: string): Promise<Stored | undefined> {
  return db
    .selectFrom('workbenches')
    .selectAll()
    .where('name', '=', name)
    .where('state', '=', 'live')
    .executeTakeFirst()
}

async function storedWorkbench({ db }: CatalogContext, name: string): Promise<Stored> {
  const row = await liveWorkbench(db, name)
  if (!row) throw unknownWorkbench(name)
  return row
}

async function committed(
  context: CatalogContext,
  owner: Committer,
  { name, home }: Stored,
  record: { readonly action: CustodyAction; readonly reason: string; readonly expires: number | null },
  doing: (custody: string) => { readonly body: PlaceAction; write(tx: Tx): Promise<void> },
): Promise<{ sequence: number }> {
  prepareChain(context, home)
  const files: FileOfSegment[] = []
  const custody = recordCustody(context.manifestDirectory(home), { ...record, workbench: name, files })
  faultPoint('custody.written')
  const { body, write } = doing(custody)
  const [sequence] = await commitLinks(context, owner, home, [body], (tx) => write(tx))
  return { sequence }
}

/** Only what was copied there goes, and the directory when nothing else is in it. */
async function unlinkRemoved(context: CatalogContext, graceMs: number): Promise<void> {
  const rows = await context.db.selectFrom('workbenches').selectAll().where('state', '=', 'removed').execute()
  if (rows.length === 0) return
  await context.readers.letGo()
  const oldest = await context.locks.oldestReader()
  for (const { directory, retired_at, retirement } of rows) {
    if (now() < retired_at! + graceMs * 1000 || (oldest !== undefined && oldest <= retirement!)) continue
    removeCopies(context.resolvedDirectory(directory))
    faultPoint('workbench.unlinked')
    await context.write(async (tx) => {
      await tx.deleteFrom('workbench_files').where('directory', '=', directory).execute()
      await tx.deleteFrom('workbenches').where('directory', '=', directory).execute()
    })
  }
}

/** Copies of restores that were cut off and never went on, in the data directory. */
async function removeAbandoned(context: CatalogContext): Promise<void> {
  const root = join(context.dataDir, 'workbenches')
  const names = namesIfThere(root)
  if (names.length === 0) return
  const rows = await context.db.selectFrom('workbenches').select('directory').execute()
  const known = new Set(rows.map(({ directory }) => context.resolvedDirectory(directory)))
  for (const name of names) {
    const directory = join(root, name)
    // Written anew by each run that goes on.
    const mark = statSync(join(directory, WORKBENCH_MARK), { throwIfNoEntry: false })
    if (known.has(directory) || !mark?.isFile() || Date.now() - mark.mtimeMs < ABANDONED_MS) continue
    const [, workbench] =
      /"workbench":"([a-z0-9_-]{1,63})"/.exec(readFileSync(join(directory, WORKBENCH_MARK), 'utf8')) ?? []
    const lock = workbench === undefined ? undefined : await context.locks.acquire(`hold-restore-${workbench}`)
    if (!lock) continue
    removeCopies(directory)
    await lock.release()
  }
}

/** So long a restore may wait to be gone on with. */
const ABANDONED_MS = 7 * 86_400_000

const COPY = /^(?:session|meta|reject|log|index|tag)-\d{9,}/

/** The mark last: a directory without it is nobody's to remove. */
export function removeCopies(directory: string): void {
  const names = namesIfThere(directory)
  if (!names.includes(WORKBENCH_MARK)) return
  for (const name of names.filter((name) => COPY.test(name)))
    rmSync(join(directory, name), { recursive: true, force: true })
  rmSync(join(directory, WORKBENCH_MARK), { force: true })
  if (namesIfThere(directory).length === 0) rmdirSync(directory)
  else if (existsSync(directory)) syncDirectory(directory)
}
