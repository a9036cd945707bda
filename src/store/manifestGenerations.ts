/**
 * The manifests of one collection, wherever its history keeps them, and how they get there:
 *
 *     manifests.ndjson             live log: what commits append
 *     archive/<n>.ndjson           a live log put aside, to become generation n
 *     archive/<a>-<b>.ctm          generation of the logs a to b (manifestArchive.ts)
 *
 * Names alone say what counts: a generation that lies inside another one's numbers, and a log whose number a generation
 * has, are left over from a crash and no answer. So every swap is one rename, and nothing counts twice or not at all.
 * One process at a time archives a collection; who appends and who reads wait for nobody.
 */
import { existsSync, renameSync, rmSync, type Stats, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { faultPoint } from '../platform/faults.ts'
import { appendDurably, attempt, makeDirectory, namesIfThere, readIfThere, syncDirectory } from '../platform/files.ts'
import { type Manifest, parseManifest } from './manifest.ts'
import { type ArchiveRecord, Generation, mergeGenerations, writeGeneration } from './manifestArchive.ts'
import { intervalsOf } from './manifestTimes.ts'

export const LIVE_LOG = 'manifests.ndjson'
export const ARCHIVE_DIRECTORY = 'archive'
/** Name of the lock of who archives. */
export const ARCHIVE_LOCK = 'archive'
/** So many lines of the live log are archived by who appends the next one. */
export const LOOSE_MANIFESTS = 1_000

/** A line of the history. */
export interface HistoryLine {
  readonly line: string
  /** Undefined for a mark. */
  readonly manifest?: Manifest
}

export interface ArchiveSummary {
  /** Lines of the live log, and of logs put aside, that are in a generation now. */
  readonly archived: number
  readonly generations: number
  /** Manifests and marks in them. */
  readonly records: number
  readonly bytes: number
}

/** Appends whole lines to the live log, durably. A log that is put aside meanwhile may have been read: they go into the next too. */
export function appendToLog(directory: string, lines: Buffer): void {
  makeDirectory(directory)
  while (!appendDurably(join(directory, LIVE_LOG), lines)) {}
}

/** Whether the live log has grown so long that it should be archived. Looks only at what was appended since it looked last. */
export function isArchiveDue(directory: string): boolean {
  const path = join(directory, LIVE_LOG)
  const found = statOf(path)
  if (!found?.isFile() || found.size < LOOSE_MANIFESTS * LEAST_LINE) return false
  const before = counted.get(path)
  const isSame = before !== undefined && before.ino === found.ino && before.size <= found.size
  const bytes = readIfThere(path)?.subarray(isSame ? before.size : 0) ?? Buffer.alloc(0)
  let lines = isSame ? before.lines : 0
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines++
  if (counted.size >= MOST_KEPT) counted.clear()
  counted.set(path, { ino: found.ino, size: (isSame ? before.size : 0) + bytes.length, lines })
  return lines >= LOOSE_MANIFESTS
}

/**
 * Takes the live log into a generation, and joins generations where many of one size have come together, so that a
 * manifest is copied a few times at most however many follow; `whole` joins them all. Idempotent. The caller holds the
 * collection's lock. A damaged line is E_MANIFEST_FORMAT; its log then stays as it is, and goes on being read.
 */
export function archiveManifests(directory: string, { whole = false } = {}): ArchiveSummary {
  const archive = join(directory, ARCHIVE_DIRECTORY)
  if (statOf(join(directory, LIVE_LOG))?.size || existsSync(archive)) makeDirectory(archive)
  removeLeftovers(archive)
  putLogAside(directory, archive)
  let archived = 0
  for (const number of placesIn(archive).logs) archived += archiveLog(directory, archive, number)
  for (;;) {
    const generations = placesIn(archive).generations.map((place) => ({ place, generation: openIn(archive, place) }))
    const group = whole ? generations : groupToMerge(generations)
    if (group.length < 2) {
      const counts = generations.map(({ generation }) => generation.counts.records)
      const bytes = generations.reduce((sum, { place }) => sum + (statOf(pathOf(archive, place))?.size ?? 0), 0)
      return { archived, generations: counts.length, records: counts.reduce((a, b) => a + b, 0), bytes }
    }
    merge(archive, group)
  }
}

/**
 * Takes manifests out of the history for good, wherever they are kept; marks stay. What a crash leaves undone is done by
 * calling it again. The caller holds the lock of who archives.
 */
export function forgetManifests(directory: string, isGone: (manifest: Manifest) => boolean): void {
  const isKept = ({ manifest }: HistoryLine): boolean => manifest === undefined || !isGone(manifest)
  if (manifestSnapshot(directory).lines().every(isKept)) return
  // No log is being appended to then.
  archiveManifests(directory)
  const archive = join(directory, ARCHIVE_DIRECTORY)
  for (const place of placesIn(archive).generations) {
    const path = pathOf(archive, place)
    const all = [...openIn(archive, place).lines()].map((line) => parseRecord(line, path))
    const kept = all.filter(isKept)
    if (kept.length === all.length) continue
    if (kept.length > 0)
      writeGeneration(
        path,
        kept.map(({ line, intervals, mark }) => ({ line, intervals, ...mark })),
      )
    else rmSync(path)
    syncDirectory(archive)
    faultPoint('archive.cut')
  }
}

/** The manifests of a collection at one moment. */
export class ManifestSnapshot {
  /** In the order of their logs. */
  readonly generations: readonly Generation[]
  /** Lines of the logs, each once. */
  private readonly loose: readonly LooseLine[]
  private readonly replaced = new Set<number>()
  private readonly removed = new Set<number>()

  constructor(generations: readonly Generation[], loose: readonly LooseLine[]) {
    this.generations = generations
    this.loose = loose
    for (const { mark } of loose) {
      for (const segment of mark?.replaced ?? []) this.replaced.add(segment)
      if (mark?.removed !== undefined) this.removed.add(mark.removed)
    }
  }

  /** Every line, each once, in the order of commits. */
  *lines(): Generator<HistoryLine> {
    const twice = new Set<string>()
    const loose = new Set(this.loose.map(({ line }) => line))
    for (const generation of this.generations)
      for (const line of generation.lines()) {
        if (loose.has(line)) twice.add(line)
        yield parseRecord(line, generation.path)
      }
    for (const { line, manifest } of this.loose) if (!twice.has(line)) yield { line, manifest }
  }

  /** Manifests with an interval that overlaps the range, both ends included; each once, in the order of commits. */
  *overlapping(from: number, to: number): Generator<Manifest> {
    const seen = new Set<string>()
    for (const generation of this.generations)
      for (const { line } of generation.overlapping(from, to)) {
        seen.add(line)
        yield parseManifest(line, generation.path)
      }
    for (const { line, manifest, intervals } of this.loose)
      if (manifest && intervals.some(([start, end]) => start <= to && end >= from) && !seen.has(line)) yield manifest
  }

  /** Whether it is no answer any more. A tag file stays when the segment that it is named for is replaced, and goes with its run. */
  isReplaced({ kind, run, segment }: Manifest): boolean {
    const [what, number] = kind === 'tag' ? (['removed', run!] as const) : (['replaced', segment] as const)
    return this[what].has(number) || this.generations.some((generation) => generation.marks(what, number))
  }
}

/**
 * What the history of a collection holds now. Kept in this process while it does not change. What is damaged is
 * E_MANIFEST_FORMAT, with file and line.
 */
export function manifestSnapshot(directory: string): ManifestSnapshot {
  const before = kept.get(directory)
  const state = stateOf(directory)
  if (before && state === before.state && before.isSettled) return before.snapshot
  const snapshot = readSnapshot(directory, before?.snapshot.generations ?? [])
  if (kept.size >= MOST_KEPT) kept.clear()
  // A folder that changed a moment ago may change again within the same tick of its clock.
  kept.set(directory, { state, snapshot, isSettled: state === stateOf(directory) && !isFresh(directory) })
  return snapshot
}

/**
 * Every line as it stands, whatever it is: for who knows what must be there. `onDamage` is told which generations, by
 * their names below the collection's directory, cannot be read to their end.
 */
export function* rawLines(directory: string, onDamage: (name: string) => void): Generator<string> {
  const archive = join(directory, ARCHIVE_DIRECTORY)
  const { generations, logs } = placesIn(archive)
  for (const place of generations) {
    try {
      yield* openIn(archive, place).lines()
    } catch (error) {
      if (!(error instanceof ColdtrailError)) throw error
      onDamage(relative(directory, pathOf(archive, place)))
    }
  }
  for (const path of [...logs.map((number) => logPath(archive, number)), join(directory, LIVE_LOG)]) {
    if (!statOf(path)?.isFile()) continue
    const lines = readIfThere(path)!.toString().split('\n')
    // What is behind the last end of line is no line yet, for its readers neither.
    yield* lines.slice(0, -1)
  }
}

// --- internal ---

/** A line with its intervals; `mark` instead of a manifest. */
interface LooseLine extends HistoryLine {
  readonly mark?: Pick<ArchiveRecord, 'replaced' | 'removed'>
  readonly intervals: ArchiveRecord['intervals']
}

/** First and last log that a generation has. */
type Place = readonly [first: number, last: number]

const NEWLINE = 0x0a
/** No manifest and no mark that matters for their number is shorter. */
const LEAST_LINE = 16
const MOST_KEPT = 16
/** Generations of one size that are joined: each manifest is copied log8 of the whole. */
const FAN = 8
const FRESH_MS = 2_000

const counted = new Map<string, { readonly ino: number; readonly size: number; readonly lines: number }>()
const kept = new Map<
  string,
  { readonly state: string; readonly snapshot: ManifestSnapshot; readonly isSettled: boolean }
>()

const digits = (number: number): string => String(number).padStart(9, '0')
const logPath = (archive: string, number: number): string => join(archive, `${digits(number)}.ndjson`)
const pathOf = (archive: string, [first, last]: Place): string => join(archive, `${digits(first)}-${digits(last)}.ctm`)
const openIn = (archive: string, place: Place): Generation => new Generation(pathOf(archive, place))

/** A link that leads nowhere or in a circle is neither file nor folder. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

function stateOf(directory: string): string {
  const [log, archive] = [statOf(join(directory, LIVE_LOG)), statOf(join(directory, ARCHIVE_DIRECTORY))]
  return [log?.ino, log?.size, log?.mtimeMs, archive?.ino, archive?.mtimeMs].join(' ')
}

function isFresh(directory: string): boolean {
  const changed = statOf(join(directory, ARCHIVE_DIRECTORY))?.mtimeMs
  return changed !== undefined && Math.abs(Date.now() - changed) < FRESH_MS
}

/** What counts in the archive, in order; `left`: what a crash left over. */
function placesIn(archive: string): {
  readonly generations: Place[]
  readonly logs: number[]
  readonly left: string[]
} {
  const names = namesIfThere(archive)
  const all = names.flatMap((name): Place[] => {
    const match = /^(\d{9,15})-(\d{9,15})\.ctm$/.exec(name)
    return match ? [[Number(match[1]), Number(match[2])]] : []
  })
  // The widest first among those that begin alike; what ends before its forerunner lies inside of it.
  all.sort(([a, aLast], [b, bLast]) => a - b || bLast - aLast)
  const generations: Place[] = []
  const left = names.filter((name) => name.endsWith('.tmp')).map((name) => join(archive, name))
  for (const place of all) {
    if (place[1] <= (generations.at(-1)?.[1] ?? 0)) left.push(pathOf(archive, place))
    else generations.push(place)
  }
  const logs: number[] = []
  for (const name of names) {
    const number = /^\d{9,15}\.ndjson$/.test(name) ? Number.parseInt(name, 10) : undefined
    if (number === undefined) continue
    if (generations.some(([first, last]) => first <= number && number <= last)) left.push(logPath(archive, number))
    else logs.push(number)
  }
  return { generations, logs: logs.sort((a, b) => a - b), left }
}

function removeLeftovers(archive: string): void {
  const { left } = placesIn(archive)
  for (const path of left) rmSync(path, { force: true })
  if (left.length > 0) syncDirectory(archive)
}

function putLogAside(directory: string, archive: string): void {
  const path = join(directory, LIVE_LOG)
  if (!statOf(path)?.size) return
  const { generations, logs } = placesIn(archive)
  const number = 1 + Math.max(0, ...logs, ...generations.map(([, last]) => last))
  attempt(path, () => {
    renameSync(path, logPath(archive, number))
    syncDirectory(archive)
    syncDirectory(directory)
  })
  faultPoint('archive.rotated')
}

/** Makes a generation of a log that was put aside; answers how many lines it brought. */
function archiveLog(directory: string, archive: string, number: number): number {
  const path = logPath(archive, number)
  const older = placesIn(archive).generations.map((place) => openIn(archive, place))
  const later = [
    ...placesIn(archive)
      .logs.filter((log) => log > number)
      .map((log) => logPath(archive, log)),
  ]
  const texts = [path, ...later, join(directory, LIVE_LOG)].map((from) => ({ path: from, bytes: readIfThere(from) }))
  const lines = looseLines(texts, 1)
  const fresh = lines.filter(({ line }) => !older.some((generation) => generation.has(line)))
  if (fresh.length > 0) {
    const target = pathOf(archive, [number, number])
    writeGeneration(
      target,
      fresh.map(({ line, intervals, mark }) => ({ line, intervals, ...mark })),
    )
    // The log goes only when every line was read back.
    const written = new Generation(target)
    written.verify()
    let at = 0
    for (const line of written.lines()) if (line !== fresh[at++]?.line) throw notAsWritten(target)
    if (at !== fresh.length) throw notAsWritten(target)
    faultPoint('archive.written')
  }
  rmSync(path, { force: true })
  syncDirectory(archive)
  faultPoint('archive.log-removed')
  return fresh.length
}

const notAsWritten = (where: string): ColdtrailError =>
  new ColdtrailError('E_MANIFEST_FORMAT', { where, reason: 'it does not read as it was written' })

type OpenGeneration = { readonly place: Place; readonly generation: Generation }

/** The oldest neighbours of one size, when there are enough of them. */
function groupToMerge(generations: readonly OpenGeneration[]): readonly OpenGeneration[] {
  const size = ({ generation }: OpenGeneration): number =>
    Math.max(0, Math.floor(Math.log(generation.counts.records / LOOSE_MANIFESTS) / Math.log(FAN)))
  for (let start = 0; start + FAN <= generations.length; start++) {
    const group = generations.slice(start, start + FAN)
    // A small one between larger ones would stay alone for ever.
    if (group.every((one) => size(one) <= size(group[0]!))) return group
  }
  return []
}

function merge(archive: string, group: readonly OpenGeneration[]): void {
  const target = pathOf(archive, [group[0]!.place[0], group.at(-1)!.place[1]])
  mergeGenerations(
    target,
    group.map(({ generation }) => generation),
  )
  const written = new Generation(target)
  written.verify()
  if (written.counts.records !== group.reduce((sum, { generation }) => sum + generation.counts.records, 0))
    throw notAsWritten(target)
  faultPoint('archive.merged')
  for (const { place } of group) rmSync(pathOf(archive, place), { force: true })
  syncDirectory(archive)
}

function readSnapshot(directory: string, open: readonly Generation[]): ManifestSnapshot {
  const archive = join(directory, ARCHIVE_DIRECTORY)
  const opened = new Map(open.map((generation) => [generation.path, generation]))
  for (let attempts = 0; ; attempts++) {
    // The live log first: what is put aside after this is read twice, and counts once.
    const live = { path: join(directory, LIVE_LOG), bytes: readIfThere(join(directory, LIVE_LOG)) }
    const { generations, logs } = placesIn(archive)
    try {
      const list = generations.map((place) => {
        const before = opened.get(pathOf(archive, place))
        const isSame = before !== undefined && before.inode === statOf(before.path)?.ino
        return isSame ? before : openIn(archive, place)
      })
      const aside = logs.map((number) => {
        const bytes = readIfThere(logPath(archive, number))
        if (bytes === undefined) throw Object.assign(new Error(), { code: 'ENOENT' })
        return { path: logPath(archive, number), bytes }
      })
      return new ManifestSnapshot(list, looseLines([...aside, live]))
    } catch (error) {
      // It became part of another one since it was listed.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempts === 100) throw error
    }
  }
}

/** Lines of logs, each once; of the first `count` logs only, while the others tell what a cut-off line was to be. */
function looseLines(
  logs: readonly { readonly path: string; readonly bytes: Buffer | undefined }[],
  count = logs.length,
): LooseLine[] {
  const found: LooseLine[] = []
  const seen = new Set<string>()
  const texts = logs.map(({ path, bytes }) => {
    const lines = (bytes?.toString() ?? '').split('\n')
    return { path, unfinished: lines.pop()!, lines }
  })
  texts.slice(0, count).forEach(({ path, lines }, log) => {
    lines.forEach((line, i) => {
      if (line === '' || seen.has(line)) return
      seen.add(line)
      try {
        found.push(parseRecord(line, `${path} line ${i + 1}`))
      } catch (error) {
        // A line that a crash cut off stands there, and again whole; any other damage is told.
        const later = texts
          .slice(log)
          .flatMap((text, at) => [...(at === 0 ? text.lines.slice(i + 1) : text.lines), text.unfinished])
        if (!later.some((whole) => whole.startsWith(line))) throw error
      }
    })
  })
  return found
}

function parseRecord(line: string, where: string): LooseLine {
  const mark = /^\{"by":\d+,"replaced":\[([\d,]+)\]\}$/.exec(line)
  if (mark) return { line, mark: { replaced: mark[1]!.split(',').map(Number) }, intervals: [] }
  const removal = /^\{"removedRun":(\d+)\}$/.exec(line)
  if (removal) return { line, mark: { removed: Number(removal[1]) }, intervals: [] }
  const manifest = parseManifest(line, where)
  return { line, manifest, intervals: intervalsOf(manifest) }
}
