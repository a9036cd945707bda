/**
 * Removal: files that were never committed, of owners whose lock is free, and files of retired segments that no living
 * reader can still need.
 */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { faultPoint } from '../../platform/faults.ts'
import { namesIfThere, syncDirectory } from '../../platform/files.ts'
import { historyCollections } from '../history.ts'
import { batches, type CatalogContext, now } from './context.ts'
import { takeOver } from './owners.ts'
import { leave, removeLeft, SWEEP_LOCK } from './places.ts'
import { removeRunFiles } from './runs.ts'
import type { Tx } from './schema.ts'
import { sweepWorkbenches } from './workbenches.ts'

export interface SweepReport {
  /** Names of files that were never committed and are now removed. */
  readonly orphans: readonly string[]
  /** Segments whose files were unlinked. */
  readonly unlinked: readonly number[]
}

export async function sweep(context: CatalogContext, graceMs: number): Promise<SweepReport> {
  const lock = await context.locks.acquire(SWEEP_LOCK)
  if (!lock) return { orphans: [], unlinked: [] }
  try {
    const orphans = await removeOrphans(context)
    const unlinked = await unlinkRetired(context, graceMs)
    await unlinkRemovedRuns(context, graceMs)
    await removeLeft(context, { graceMs })
    await sweepWorkbenches(context, graceMs)
    return { orphans, unlinked }
  } finally {
    await lock.release()
  }
}

// --- internal ---

async function removeOrphans(context: CatalogContext): Promise<string[]> {
  const owners = await context.db.selectFrom('owners').select('id').execute()
  const removed: string[] = []
  for (const { id } of owners)
    await takeOver(context, id, async (tx) => {
      const numbers = await uncommittedNumbers(tx, id)
      if (numbers.size)
        for (const directory of fileDirectories(context)) removed.push(...removeFiles(directory, numbers))
      const begun = await tx
        .selectFrom('runs')
        .select(['run', 'collection'])
        .where('owner', '=', id)
        .where('sequence', 'is', null)
        .execute()
      for (const { run, collection } of begun) removed.push(...removeRunFiles(context, collection, run))
      // What a rebuild found of runs that no link names.
      await tx
        .deleteFrom('runs')
        .where('owner', '=', id)
        .where('sequence', 'is', null)
        .where('state', '=', 'removed')
        .execute()
      await tx.deleteFrom('ranges').where('owner', '=', id).execute()
      await tx.deleteFrom('owners').where('id', '=', id).execute()
    })
  return removed
}

async function uncommittedNumbers(tx: Tx, owner: string): Promise<Set<number>> {
  const ranges = await tx
    .selectFrom('ranges')
    .selectAll()
    .where('owner', '=', owner)
    .where('what', '=', 'segment')
    .execute()
  const numbers = new Set(ranges.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)))
  for (const batch of batches([...numbers])) {
    // By the links: a segment that was compacted away has no row any more, but its session ledger stays in the history.
    const committed = await tx.selectFrom('links').select('segment').where('segment', 'in', batch).execute()
    for (const { segment } of committed) numbers.delete(segment)
  }
  return numbers
}

function fileDirectories(context: CatalogContext): string[] {
  const root = join(context.dataDir, 'collections')
  const data = namesIfThere(root).map((name) => join(root, name))
  return [...data, ...historyCollections(context.historyDir).map((name) => join(context.historyDir, name))]
}

/** Removes what bears one of the numbers: database files, manifests, session ledgers, and their temporary forms. */
function removeFiles(directory: string, numbers: ReadonlySet<number>): string[] {
  const orphans = namesIfThere(directory).filter((name) => {
    const match =
      /^(?:session|meta|reject|log|index|tag)-(\d{9,})(?!\d)/.exec(name) ??
      /^finding-\d{9,}\.(\d{9,})\.ndjson/.exec(name)
    return match !== null && numbers.has(Number(match[1]))
  })
  for (const name of orphans) rmSync(join(directory, name), { recursive: true, force: true })
  if (orphans.length) syncDirectory(directory)
  return orphans
}

/** Packs of a retired segment stay, and with them its row, while sessions of a live segment lie in them. */
async function unlinkRetired(context: CatalogContext, graceMs: number): Promise<number[]> {
  await context.readers.letGo()
  const oldest = await context.locks.oldestReader()
  const rows = await context.read((tx) => tx.selectFrom('segments').selectAll().execute())
  const packsInUse = new Set<number>(rows.flatMap((row) => (row.state === 'live' ? JSON.parse(row.packs) : [])))
  const unlinked: number[] = []
  for (const { segment, state, directory, retirement, retired_at, in_history } of rows) {
    // Manifests and keyset must be in the history before the files go.
    if (state !== 'retired' || retirement === null || !in_history) continue
    if (now() < retired_at! + graceMs * 1000 || (oldest !== undefined && oldest <= retirement)) continue
    const files = await context.db
      .selectFrom('files')
      .select(['kind', 'name', 'directory', 'deleted'])
      .where('segment', '=', segment)
      .execute()
    const going = files.filter(({ kind }) => kind !== 'log' || !packsInUse.has(segment))
    if (going.length === 0) continue
    const path = context.resolvedDirectory(directory)
    // What a tier has taken elsewhere is removed there, as what a move leaves.
    const isAtHome = (file: (typeof files)[number]): boolean => file.directory === null || file.directory === directory
    for (const { name } of going.filter(isAtHome))
      for (const file of [name, `${name}.manifest`]) rmSync(join(path, file), { recursive: true, force: true })
    const moved = going.filter((file) => !isAtHome(file) && file.deleted === 0)
    if (existsSync(path)) syncDirectory(path)
    faultPoint('retire.unlinked')
    await context.write(async (tx) => {
      const kinds = going.map(({ kind }) => kind)
      await leave(
        tx,
        moved.map((file) => ({ directory: file.directory!, name: file.name, retired_at: retired_at!, retirement })),
      )
      await tx.deleteFrom('files').where('segment', '=', segment).where('kind', 'in', kinds).execute()
      if (going.length === files.length) await tx.deleteFrom('segments').where('segment', '=', segment).execute()
    })
    unlinked.push(segment)
  }
  return unlinked
}

/** Tag files of removed runs; findings and report stay in the history. */
async function unlinkRemovedRuns(context: CatalogContext, graceMs: number): Promise<void> {
  const oldest = await context.locks.oldestReader()
  const runs = await context.db
    .selectFrom('runs')
    .select('run')
    .where('state', '=', 'removed')
    .where('in_history', '=', 1)
    .where('sequence', 'is not', null)
    .execute()
  for (const { run } of runs) {
    const files = await context.db.selectFrom('tag_files').selectAll().where('run', '=', run).execute()
    const isNeeded = ({ retirement, retired_at }: (typeof files)[number]): boolean =>
      now() < retired_at! + graceMs * 1000 || (oldest !== undefined && oldest <= retirement!)
    if (files.some(isNeeded)) continue
    for (const [directory, list] of Map.groupBy(files, ({ directory }) => directory)) {
      const path = context.resolvedDirectory(directory)
      for (const { name } of list)
        for (const file of [name, `${name}.manifest`]) rmSync(join(path, file), { force: true })
      if (existsSync(path)) syncDirectory(path)
    }
    faultPoint('retire.unlinked')
    await context.write(async (tx) => {
      await tx.deleteFrom('tag_files').where('run', '=', run).execute()
      await tx.deleteFrom('runs').where('run', '=', run).execute()
    })
  }
}
