/**
 * The restore job: `plan -> make room -> copy and verify -> commit`. Files are copied into the folder of a workbench under
 * their own names, hashed while they are copied, and become part of it by a `restore` link, with a line in the custody
 * log. What was cut off goes on where it ended: copies with the right bytes are not made twice. docs/design.md §16.
 */
import { createReadStream, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { asColdtrailError, ColdtrailError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { bytesText } from '../core/terminalText.ts'
import { faultPoint } from '../platform/faults.ts'
import { fileSystemOf } from '../platform/fileSystem.ts'
import { attempt, makeDirectory, namesIfThere, syncDirectory, writeDurably } from '../platform/files.ts'
import type { Catalog, Owner } from '../store/catalog.ts'
import { throwIfAborted } from '../store/duckdb.ts'
import { HashedFile } from '../store/hashedFile.ts'
import { directoryDigest, type Manifest, serializeManifest } from '../store/manifest.ts'
import { WORKBENCH_MARK } from '../store/workbench.ts'
import { type Digest, KEYSET_FILE, type Origin, VALUES_FILE } from './broughtBack.ts'
import { lacking, type PlannedFile, type PlanOptions, planRestore, type RestorePlan, sizeOf } from './restorePlan.ts'

/** What reads from buckets: `s3://bucket/key`. A missing object is undefined. */
export type OpenRemote = (url: string, signal?: AbortSignal) => Promise<AsyncIterable<Uint8Array> | undefined>

export interface RestoreOptions extends PlanOptions {
  readonly reason: string
  /** Until when the workbench is kept, microseconds. */
  readonly expires: number
  readonly openRemote?: OpenRemote
  readonly log?: Log
  readonly onCopy?: (progress: CopyProgress) => void
}

export interface CopyProgress {
  readonly files: number
  readonly totalFiles: number
  readonly bytes: number
  readonly totalBytes: number
}

export interface FileFault {
  readonly name: string
  readonly segments: readonly number[]
  readonly tier: string
  readonly label?: string
  /** Where it should be, or was looked at. */
  readonly path: string
  /** `unreadable`: there, and kept from us; nobody knows whether it is whole. */
  readonly fault: 'missing' | 'damaged' | 'unreadable'
  readonly reason: string
}

export interface RestoreSummary {
  readonly collection: string
  readonly workbench: string
  readonly directory: string
  /** Microseconds. */
  readonly expires: number
  /** That can be asked in the workbench now. */
  readonly segments: readonly number[]
  readonly online: readonly number[]
  readonly unobtainable: readonly number[]
  /** Made by this run, with their bytes; `present`: copies that were there with the right bytes. */
  readonly copied: number
  readonly bytes: number
  readonly present: number
  readonly faults: readonly FileFault[]
  readonly folder?: RestorePlan['folder']
  readonly gaps: RestorePlan['gaps']
  /** Numbers of the `restore` links; none where nothing new was restored. */
  readonly links: readonly number[]
  readonly seconds: number
}

/**
 * Restores what a plan finds. E_RESTORE_BUSY, E_RESTORE_DIRECTORY, E_DISK_FULL before anything is copied, E_WORKBENCH_NAME,
 * E_WORKBENCH_STALE. What is missing or damaged is in the summary, and the rest is restored.
 */
export async function restore(options: RestoreOptions): Promise<RestoreSummary> {
  const { catalog, workbench } = options
  catalog.requireWritable()
  // Also what the name may not be.
  await catalog.workbenchDirectory(workbench)
  const lock = await catalog.hold(`restore-${workbench}`)
  if (!lock) throw new ColdtrailError('E_RESTORE_BUSY', { name: workbench })
  // Until it is released, files that are replaced or moved meanwhile stay.
  const reading = await catalog.registerReader()
  const owner = await catalog.owner('restore')
  try {
    return await new Restore(options, await planRestore(options)).run(owner)
  } finally {
    await owner.release()
    await reading.release()
    await lock.release()
  }
}

/** Where the missing files of a plan should be. */
export function missingFiles(files: readonly PlannedFile[]): FileFault[] {
  return files.filter(({ planned }) => planned === 'missing').map((file) => faultOf(file, 'missing', WHY[file.state]))
}

// --- internal ---

/** Room that a file system needs beside the copies, for its own books and for the catalog. */
const RESERVE_BYTES = 64 * 2 ** 20
const READ_BYTES = 2 ** 20
/** The same command again means the same time: an hour, in microseconds. */
const SAME_TIME = 3_600_000_000
/** Kept back of file lists: a link is one file. */
const FILES_A_LINK = 50_000

const OF_EVERY_FILE =
  /^E_(DISK_FULL|FILE_WRITE|INTERRUPTED|S3_(CREDENTIALS|BAD_KEY_ID|CLOCK_SKEW|EXPIRED_TOKEN|SIGNATURE|NO_BUCKET|UNREACHABLE))$/

const WHY: Readonly<Record<PlannedFile['state'], string>> = {
  here: 'it is gone',
  remote: 'it is gone',
  offline: 'it is not at its place',
  deleted: 'it was deleted; a backup may have it',
}

class Restore {
  private readonly options: RestoreOptions
  private readonly plan: RestorePlan
  private readonly catalog: Catalog
  private readonly started = performance.now()
  private readonly faults: FileFault[] = []
  private readonly bad = new Set<string>()
  /** Segments that cannot be asked with what there is so far. */
  private readonly lost: Set<number>
  private copied = 0
  private bytes = 0

  constructor(options: RestoreOptions, plan: RestorePlan) {
    this.options = options
    this.plan = plan
    this.catalog = options.catalog
    this.lost = new Set([...lacking(plan.segments, plan.files, plan.gaps), ...plan.unobtainable])
  }

  async run(owner: Owner): Promise<RestoreSummary> {
    const { plan } = this
    this.faults.push(...missingFiles(plan.files))
    const wanted = plan.files.filter(({ planned }) => planned !== 'missing')
    const due = wanted.filter(({ planned }) => planned !== 'copied')
    if (wanted.length > 0) this.makeRoom(due)
    await this.copyAll(due)
    for (const file of wanted) if (!this.bad.has(file.name)) this.writeManifest(file)
    if (wanted.length > 0) syncDirectory(plan.directory)
    faultPoint('restore.files-durable')
    const links = await this.commit(owner, wanted)
    const without = this.lost
    let [bench] = await this.catalog.workbenches(plan.workbench)
    // Copies that are there already make no link that could say it.
    if (bench && wanted.length > 0 && this.options.expires - bench.expires > SAME_TIME) {
      const { expires, reason } = this.options
      await this.catalog.changeWorkbench(owner, plan.workbench, { action: 'extend', reason, expires })
      bench = { ...bench, expires }
    }
    return {
      ...{ collection: plan.collection, workbench: plan.workbench, directory: plan.directory, online: plan.online },
      expires: bench?.expires ?? this.options.expires,
      segments: plan.segments.filter((one) => !without.has(one) && !plan.online.includes(one)),
      unobtainable: [...without].sort((a, b) => a - b),
      ...{ copied: this.copied, bytes: this.bytes, present: wanted.length - due.length },
      ...{ faults: this.faults, gaps: plan.gaps, links },
      ...(plan.folder && { folder: plan.folder }),
      seconds: (performance.now() - this.started) / 1_000,
    }
  }

  // --- internal ---

  private makeRoom(due: readonly PlannedFile[]): void {
    const { directory, workbench, collection } = this.plan
    const names = namesIfThereSafely(directory)
    if (names.length > 0 && !isMarked(directory, workbench, collection))
      throw new ColdtrailError('E_RESTORE_DIRECTORY', {
        path: directory,
        reason: 'there is something else in it, which is not touched',
      })
    const needed = sizeOf(due) + RESERVE_BYTES
    const { freeBytes } = fileSystemOf(directory)
    if (due.length > 0 && needed > freeBytes)
      throw new ColdtrailError('E_DISK_FULL', {
        path: `${directory}: ${bytesText(needed)} are needed, and ${bytesText(freeBytes)} are free`,
        ...{ needed, free: freeBytes },
      })
    makeDirectory(directory)
    writeDurably(
      join(directory, WORKBENCH_MARK),
      `${JSON.stringify({ format: 'coldtrail-workbench', v: 1, workbench, collection })}\n`,
    )
  }

  private async copyAll(due: readonly PlannedFile[]): Promise<void> {
    const totalBytes = sizeOf(due)
    const tell = (): void =>
      this.options.onCopy?.({ files: this.copied, totalFiles: due.length, bytes: this.bytes, totalBytes })
    tell()
    for (const file of due) {
      throwIfAborted(this.options.signal)
      // What the others lost is not worth copying what remains of the segment.
      if (file.neededBy.every((segment) => this.lost.has(segment))) continue
      const problem = await this.copy(file)
      if (problem !== undefined) {
        this.bad.add(file.name)
        if (file.kind === 'session' || file.kind === 'meta') for (const one of file.neededBy) this.lost.add(one)
        this.faults.push({ ...faultOf(file, problem.fault, problem.reason), path: pathOf(file.origin!) })
      } else {
        this.copied += 1
        this.bytes += file.size
        faultPoint('restore.copied')
      }
      tell()
    }
  }

  /** Undefined when the copy is durable and has the right bytes; else why there is none. */
  private async copy({
    name,
    size,
    sha256,
    origin,
  }: PlannedFile): Promise<Pick<FileFault, 'fault' | 'reason'> | undefined> {
    const path = join(this.plan.directory, name)
    const isRight = (digest: Digest): boolean => digest.size === size && digest.sha256 === sha256
    try {
      if (name.startsWith('index-')) {
        rmSync(path, { recursive: true, force: true })
        attempt(path, () => mkdirSync(path))
        const parts: (Digest & { name: string })[] = []
        for (const [part, from] of indexFiles(origin!)) {
          const digest = await this.copyBytes(from, join(path, part), size, part === KEYSET_FILE)
          if (digest) parts.push({ name: part, ...digest })
        }
        syncDirectory(this.plan.directory)
        const digest = directoryDigest(parts)
        if (isRight(digest)) return undefined
        rmSync(path, { recursive: true, force: true })
        return { fault: 'damaged', reason: differing(digest, size) }
      }
      const digest = await this.copyBytes(pathOf(origin!), path, size, false, isRight)
      return digest && !isRight(digest) ? { fault: 'damaged', reason: differing(digest, size) } : undefined
    } catch (error) {
      const fault = asColdtrailError(error)
      // It would be wrong with the next file too.
      if (OF_EVERY_FILE.test(fault.code)) throw fault
      if (fault.code === 'E_SEGMENT_GONE') return { fault: 'missing', reason: WHY.here }
      this.options.log?.('warn', 'a file cannot be read', { file: name, reason: fault.message })
      return { fault: 'unreadable', reason: fault.message }
    }
  }

  /** The digest of what came, at most one piece more than `most` bytes; published only when it is right. Undefined where an optional file is not there. */
  private async copyBytes(
    from: string,
    to: string,
    most: number,
    isOptional: boolean,
    isRight: (digest: Digest) => boolean = () => true,
  ): Promise<Digest | undefined> {
    const { signal, openRemote } = this.options
    let source: AsyncIterable<Uint8Array> | undefined
    if (from.startsWith('s3://')) source = await openRemote?.(from, signal)
    else if (existsSync(from)) source = createReadStream(from, { highWaterMark: READ_BYTES })
    if (!source) {
      if (isOptional) return undefined
      throw new ColdtrailError('E_SEGMENT_GONE', { path: from })
    }
    const file = new HashedFile(to)
    try {
      for await (const piece of reading(from, source)) {
        throwIfAborted(signal)
        file.write(piece)
        // A source that does not end is not what was looked for, and would fill the disk.
        if (file.size > most) break
      }
      const digest = { size: file.size, sha256: file.digest() }
      if (isRight(digest)) file.publish()
      else file.discard()
      return digest
    } catch (error) {
      file.discard()
      throw error
    }
  }

  private writeManifest({ name, kind, segment }: PlannedFile): void {
    const path = join(this.plan.directory, `${name}.manifest`)
    const manifest = this.manifestOf(name, kind, segment)
    if (!manifest) return
    const bytes = serializeManifest(manifest)
    if (!existsSync(path) || !readFileSync(path).equals(bytes)) writeDurably(path, bytes)
  }

  private manifestOf(name: string, kind: string, segment: number): Manifest | undefined {
    const { rows } = this.plan
    if (kind !== 'tag') return rows.get(segment)?.files.find((file) => file.name === name)?.manifest
    for (const { tags } of rows.values()) for (const tag of tags) if (tag.name === name) return tag.manifest
    return undefined
  }

  /** One link for segments whose event ids do not enclose each other: what forwards a workbench reads a link by ids. */
  private async commit(owner: Owner, wanted: readonly PlannedFile[]): Promise<number[]> {
    const { catalog, plan, options } = this
    const held = plan.isNew ? [] : await catalog.workbenchFiles(plan.workbench)
    const known = new Set(held.map(({ name }) => name))
    const files = wanted.filter(
      ({ name, neededBy }) =>
        !this.bad.has(name) && !known.has(name) && neededBy.some((segment) => !this.lost.has(segment)),
    )
    const links: number[] = []
    for (const group of apart(files, plan)) {
      const { sequence } = await catalog.commitRestore(owner, {
        ...{ workbench: plan.workbench, home: plan.collection, directory: plan.directory },
        ...{ reason: options.reason, expires: options.expires },
        files: group.map(({ segment, kind, name, size, sha256, origin, tier, label }) => {
          const from = origin === undefined ? undefined : `${pathOf(origin)} (${tier}${label ? `, ${label}` : ''})`
          return { segment, kind, name, size, sha256, ...(from === undefined ? {} : { from }) }
        }),
      })
      links.push(sequence)
    }
    return links
  }
}

const pathOf = (origin: Origin): string => (typeof origin === 'string' ? origin : origin.get(VALUES_FILE)!)

const differing = (digest: Digest, size: number): string => {
  if (digest.size === size) return 'its SHA-256 is not that of its seal'
  // Of a longer one the rest was not read.
  return digest.size > size ? `it has more than ${size} bytes` : `it has ${digest.size} bytes instead of ${size}`
}

/** A place has a folder; what was brought back has files. */
const indexFiles = (origin: Origin): [name: string, path: string][] =>
  typeof origin === 'string'
    ? [VALUES_FILE, KEYSET_FILE].map((name) => [name, `${origin}/${name}`])
    : [...origin.entries()]

function faultOf(file: PlannedFile, fault: FileFault['fault'], reason: string): FileFault {
  const { name, neededBy, tier, label, directory } = file
  const path = `${directory}/${name}`
  return { name, segments: neededBy, tier, ...(label === undefined ? {} : { label }), path, fault, reason }
}

async function* reading(path: string, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* source
  } catch (error) {
    if (error instanceof ColdtrailError) throw error
    throw new ColdtrailError('E_SEGMENT_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}

function namesIfThereSafely(directory: string): string[] {
  const found = statSync(directory, { throwIfNoEntry: false })
  if (found && !found.isDirectory())
    throw new ColdtrailError('E_RESTORE_DIRECTORY', { path: directory, reason: 'it is no folder' })
  return namesIfThere(directory)
}

function isMarked(directory: string, workbench: string, collection: string): boolean {
  try {
    const mark = JSON.parse(readFileSync(join(directory, WORKBENCH_MARK), 'utf8')) as Record<string, unknown>
    return mark.format === 'coldtrail-workbench' && mark.workbench === workbench && mark.collection === collection
  } catch {
    return false
  }
}

/** Files in groups, each of segments with event ids of their own; the files of a segment stay together. */
function apart(files: readonly PlannedFile[], { rows }: RestorePlan): PlannedFile[][] {
  const bySegment = Map.groupBy(files, ({ neededBy }) => neededBy[0]!)
  const groups: { files: PlannedFile[]; ranges: [number, number][] }[] = []
  for (const [segment, own] of [...bySegment].sort(([a], [b]) => a - b)) {
    const { id1, id2 } = rows.get(segment) ?? { id1: null, id2: null }
    const fits = ({ ranges, files: held }: (typeof groups)[number]): boolean =>
      held.length + own.length <= FILES_A_LINK &&
      (id1 === null || ranges.every(([first, last]) => last < id1 || first > id2!))
    let group = groups.find(fits)
    if (!group) {
      group = { files: [], ranges: [] }
      groups.push(group)
    }
    group.files.push(...own)
    if (id1 !== null) group.ranges.push([id1, id2!])
  }
  return groups.map(({ files }) => files)
}
