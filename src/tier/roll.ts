/**
 * Does what is planned: copies each file, verified at its destination, commits moves with their link some files at a
 * time, then deletions, and removes what nobody needs any more. It can be killed at every step; the next run goes on.
 */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { asColdtrailError, ColdtrailError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { faultPoint } from '../platform/faults.ts'
import { attempt, makeDirectory, writeDurably } from '../platform/files.ts'
import type { Catalog, LeftFile, Owner } from '../store/catalog.ts'
import { sha256 } from '../store/chain.ts'
import { throwIfAborted } from '../store/duckdb.ts'
import { isLocal, PLACE_MARK, placedPath } from '../store/heldFile.ts'
import { directoryDigest, serializeManifest } from '../store/manifest.ts'
import { KEYSET_FILE, VALUES_FILE } from './broughtBack.ts'
import { directoryIn, type TierPlace } from './places.ts'
import type { Alarm, PlannedDeletion, PlannedMove } from './plan.ts'
import { type Digest, digestOf, type Storage, type Storages } from './storage.ts'

export interface RollOptions {
  readonly catalog: Catalog
  readonly owner: Owner
  readonly storages: Storages
  readonly places: readonly TierPlace[]
  readonly log: Log
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: RollProgress) => void
  /** Before files that moves left are removed, for readers that could not register. */
  readonly graceMs?: number
}

export interface RollProgress {
  readonly step: 'moving' | 'deleting'
  readonly files: number
  readonly totalFiles: number
  readonly bytes: number
  readonly totalBytes: number
}

export interface RollFault {
  readonly collection: string
  readonly segment: number
  readonly name: string
  readonly code: string
  readonly reason: string
}

export interface RollSummary {
  readonly moved: { readonly files: number; readonly bytes: number }
  readonly relabelled: number
  readonly deleted: { readonly files: number; readonly bytes: number }
  /** Copies of earlier moves and deletions that are removed now. */
  readonly removed: number
  readonly faults: readonly RollFault[]
  readonly alarms: readonly Alarm[]
}

export async function roll(
  plan: { readonly moves: readonly PlannedMove[]; readonly deletions: readonly PlannedDeletion[] },
  options: RollOptions,
): Promise<RollSummary> {
  return new Roll(options).run(plan)
}

// --- internal ---

/** Files of one link: so much is copied again after a kill at worst. */
const BATCH_FILES = 256
const BATCH_BYTES = 2 ** 30

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

class Roll {
  private readonly options: RollOptions
  private readonly summary = {
    moved: { files: 0, bytes: 0 } as Mutable<RollSummary['moved']>,
    relabelled: 0,
    deleted: { files: 0, bytes: 0 } as Mutable<RollSummary['deleted']>,
    removed: 0,
    faults: [] as RollFault[],
    alarms: [] as Alarm[],
  }
  /** Places that took no more, or went away, in this run. */
  private readonly closed = new Set<TierPlace>()

  constructor(options: RollOptions) {
    this.options = options
  }

  async run({
    moves,
    deletions,
  }: {
    readonly moves: readonly PlannedMove[]
    readonly deletions: readonly PlannedDeletion[]
  }): Promise<RollSummary> {
    const { catalog, graceMs } = this.options
    const totals = { files: 0, bytes: 0, totalFiles: moves.length, totalBytes: sum(moves) }
    for (const batch of batchesOf(moves)) {
      await this.moveBatch(batch)
      totals.files += batch.length
      totals.bytes += sum(batch)
      this.options.onProgress?.({ step: 'moving', ...totals })
    }
    await this.delete(deletions)
    this.summary.removed = await catalog.removeLeft({ graceMs, announced: true })
    await this.removeRemote()
    return this.summary
  }

  private async moveBatch(batch: readonly PlannedMove[]): Promise<void> {
    const { catalog, owner } = this.options
    const { collection } = batch[0]!
    const isRelabel = ({ file, to }: PlannedMove): boolean => file.directory === directoryIn(to, collection)
    const copies = []
    for (const { file, to } of batch.filter((move) => !isRelabel(move) && this.isThere(move.to))) {
      const copy = { directory: directoryIn(to, collection), name: file.name }
      if (!(await this.isForeign(copy))) copies.push(copy)
    }
    if (copies.length > 0) await catalog.announceCopies(copies)
    faultPoint('move.announced')
    const done: PlannedMove[] = []
    for (const move of batch) {
      throwIfAborted(this.options.signal)
      if (isRelabel(move)) done.push(move)
      else {
        const to = await this.copy(move)
        if (to) done.push({ ...move, to })
      }
    }
    // What lies in a place that went away meanwhile is not there.
    const there = done.filter((move) => isRelabel(move) || this.isThere(move.to))
    if (there.length === 0) return
    faultPoint('move.files-durable')
    await this.commit(there, async (moves) => {
      await catalog.commitMove(
        owner,
        collection,
        moves.map(({ segment, file, to, label }) => ({
          ...{ segment, kind: file.kind, from: { directory: file.directory } },
          to: { tier: to.tier, directory: directoryIn(to, collection), ...(label === undefined ? {} : { label }) },
        })),
      )
      for (const move of moves)
        if (isRelabel(move)) this.summary.relabelled += 1
        else {
          this.summary.moved.files += 1
          this.summary.moved.bytes += move.file.size
        }
    })
  }

  /**
   * All at once or, where a compaction, an erasure or a hold came in between for one of the segments, each segment by itself:
   * what cannot be done is planned anew by the next run.
   */
  private async commit<T extends PlannedMove | PlannedDeletion>(
    list: readonly T[],
    action: (list: readonly T[]) => Promise<void>,
  ): Promise<void> {
    try {
      await action(list)
    } catch (thrown) {
      const error = asColdtrailError(thrown)
      if (error.code !== 'E_HELD' && error.code !== 'E_CLAIM_LOST') throw error
      const bySegment = [...Map.groupBy(list, ({ segment }) => segment).values()]
      if (bySegment.length > 1) for (const own of bySegment) await this.commit(own, action)
      else for (const one of list) this.fault(one, error)
    }
  }

  /** Answers where it was put; undefined when it stays where it is. */
  private async copy(move: PlannedMove): Promise<TierPlace | undefined> {
    const { places } = this.options
    const candidates = [
      move.to,
      ...places.filter(({ tier, directory }) => tier === move.to.tier && directory !== move.to.directory),
    ]
    // What is configured twice for one tier spills over; where the file lies already is no move.
    for (const to of candidates.filter(
      (place) => place === move.to || !move.file.directory.startsWith(place.directory),
    )) {
      if (this.closed.has(to)) continue
      try {
        this.open(to)
        await this.copyTo(move, to)
        if (!this.isThere(to)) throw gone(to)
        return to
      } catch (thrown) {
        throwIfAborted(this.options.signal)
        const error = asColdtrailError(thrown)
        if (error.code === 'E_INTERNAL') throw thrown
        // What somebody else put there is not ours to remove.
        if (error.code === 'E_TIER_COLLISION')
          await this.options.catalog.forgetLeft([{ directory: directoryIn(to, move.collection), name: move.file.name }])
        const isLost = error.code === 'E_TIER_MISSING' || !this.isThere(to)
        if (isLost || error.code === 'E_DISK_FULL') {
          this.closed.add(to)
          this.summary.alarms.push({
            ...{ alarm: isLost ? 'missing' : 'full', tier: to.tier, place: to.directory, detail: error.message },
          })
          if (to !== move.to || candidates.some((other) => !this.closed.has(other))) continue
        }
        this.fault(move, error)
        return undefined
      }
    }
    const error = new ColdtrailError('E_TIER_FULL', { tier: move.to.tier })
    this.fault(move, error)
    return undefined
  }

  /** Something lies there that no move of ours announced: `put` compares it, and a sweep must not take it for a copy. */
  private async isForeign({ directory, name }: LeftFile): Promise<boolean> {
    this.announced ??= new Set(
      (await this.options.catalog.leftFiles()).map((left) => placedPath(left.directory, left.name)),
    )
    if (this.announced.has(placedPath(directory, name))) return false
    const storage = await this.options.storages.of(directory)
    return (await storage.has(name)) || (await storage.has(`${name}.manifest`))
  }

  private announced: Set<string> | undefined

  private async copyTo({ collection, file }: PlannedMove, to: TierPlace): Promise<void> {
    const { storages } = this.options
    const from = await storages.of(file.directory)
    const target = await storages.of(directoryIn(to, collection))
    for (const [name, digest] of await partsOf(file, from))
      await target.put(name, () => reading(from, name, file.directory), digest)
    const manifest = serializeManifest(file.manifest)
    await target.put(`${file.name}.manifest`, async () => once(manifest), {
      size: manifest.length,
      sha256: sha256(manifest),
    })
  }

  /** Makes a place ready at its first use; E_TIER_MISSING for one that is not mounted. */
  private open(place: TierPlace): void {
    const { directory, mustExist, isData } = place
    if (!isLocal(directory) || isData || existsSync(join(directory, PLACE_MARK))) return
    const isDirectory = statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true
    if (this.opened.has(place) || (mustExist && !isDirectory)) throw gone(place)
    makeDirectory(directory)
    attempt(directory, () => writeDurably(join(directory, PLACE_MARK), `${JSON.stringify({ tier: place.tier })}\n`))
    this.opened.add(place)
  }

  private readonly opened = new Set<TierPlace>()

  private isThere({ directory, isData }: TierPlace): boolean {
    return !isLocal(directory) || isData || existsSync(join(directory, PLACE_MARK))
  }

  private async delete(deletions: readonly PlannedDeletion[]): Promise<void> {
    const { catalog, owner, onProgress } = this.options
    const totals = { files: 0, bytes: 0, totalFiles: deletions.length, totalBytes: sum(deletions) }
    for (const batch of batchesOf(deletions)) {
      throwIfAborted(this.options.signal)
      await this.commit(batch, async (list) => {
        const files = list.map(({ segment, file }) => ({ segment, kind: file.kind }))
        await catalog.commitDelete(owner, batch[0]!.collection, files, 'retention')
        this.summary.deleted.files += list.length
        this.summary.deleted.bytes += sum(list)
      })
      totals.files += batch.length
      totals.bytes += sum(batch)
      onProgress?.({ step: 'deleting', ...totals })
    }
  }

  /** What lies in buckets nobody else sweeps. */
  private async removeRemote(): Promise<void> {
    const { catalog, graceMs, storages, log } = this.options
    const due = (await catalog.leftFiles({ ...(graceMs === undefined ? {} : { graceMs }), announced: true })).filter(
      ({ directory }) => !isLocal(directory),
    )
    for (const left of due) {
      throwIfAborted(this.options.signal)
      try {
        const storage = await storages.of(left.directory)
        for (const name of [left.name, `${left.name}.manifest`]) await storage.remove(name)
        await catalog.forgetLeft([left])
        this.summary.removed += 1
      } catch (thrown) {
        throwIfAborted(this.options.signal)
        log('warn', 'a copy could not be removed; the next roll tries again', {
          path: placedPath(left.directory, left.name),
          reason: asColdtrailError(thrown).message,
        })
      }
    }
  }

  private fault({ collection, segment, file }: PlannedMove | PlannedDeletion, error: ColdtrailError): void {
    this.summary.faults.push({ collection, segment, name: file.name, code: error.code, reason: error.message })
  }
}

const gone = ({ directory: path, tier }: TierPlace): ColdtrailError =>
  new ColdtrailError('E_TIER_MISSING', { path, tier, reason: 'it is not mounted, or was unmounted' })

const sum = (list: readonly { readonly file: { readonly size: number } }[]): number =>
  list.reduce((total, { file }) => total + file.size, 0)

/** By collection, in order. */
function* batchesOf<T extends { readonly collection: string; readonly file: { readonly size: number } }>(
  list: readonly T[],
): Generator<T[]> {
  for (const own of Map.groupBy(list, ({ collection }) => collection).values()) {
    let batch: T[] = []
    let bytes = 0
    for (const one of own) {
      if (batch.length > 0 && (batch.length >= BATCH_FILES || bytes + one.file.size > BATCH_BYTES)) {
        yield batch
        batch = []
        bytes = 0
      }
      batch.push(one)
      bytes += one.file.size
    }
    if (batch.length > 0) yield batch
  }
}

/** Names below the directory with their digests. Those of an index are not in the chain one by one, but their list is. */
async function partsOf(file: PlannedMove['file'], from: Storage): Promise<[string, Digest][]> {
  if (file.kind !== 'index') return [[file.name, { size: file.size, sha256: file.sha256 }]]
  const names = file.manifest.keyset ? [VALUES_FILE, KEYSET_FILE] : [VALUES_FILE]
  const parts: { name: string; size: number; sha256: string }[] = []
  for (const name of names)
    parts.push({ name, ...(await digestOf(await reading(from, `${file.name}/${name}`, file.directory))) })
  if (directoryDigest(parts).sha256 !== file.sha256)
    throw new ColdtrailError('E_SEGMENT_READ', {
      path: placedPath(file.directory, file.name),
      cause: 'it does not have the digest of its seal',
    })
  return parts.map(({ name, size, sha256 }) => [`${file.name}/${name}`, { size, sha256 }])
}

async function reading(from: Storage, name: string, directory: string): Promise<AsyncIterable<Uint8Array>> {
  const bytes = await from.read(name)
  if (bytes === undefined) throw new ColdtrailError('E_SEGMENT_GONE', { path: placedPath(directory, name) })
  return bytes
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
