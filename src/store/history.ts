/**
 * The history of a collection: what stays searchable when the data have gone. `<manifest_dir>/` holds
 *
 *     manifests.ndjson       live log: one manifest a line (its canonical bytes), and `{"replaced":[…],"by":N}`, `{"removedRun":N}` marks
 *     keyset-<segment>.ks    copies of keysets
 *     session-<segment>.ledger   which object each session is (sessionLedger.ts; written before the commit)
 *     finding-<run>.ndjson, run-<run>.json   what a run found, and its report (written before the commit)
 *     quarantine.ndjson      why objects were refused whole (quarantine.ts)
 *     chain/<number>.link    chain.ts
 *
 * The log is append-only; repeated lines count once, and a line cut off by a crash is passed over.
 */
import { readFileSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import { appendDurably, makeDirectory, namesIfThere, readIfThere, writeDurably } from '../platform/files.ts'
import { type LinkAction, replacedOf, segmentOf, sha256 } from './chain.ts'
import { type Manifest, parseManifest, serializeManifest } from './manifest.ts'
import { segmentNumber } from './segment.ts'
import { sessionLedgerName } from './sessionLedger.ts'

export interface HistoryFilter {
  readonly collection?: string
  /** Manifests of replaced segments too; they stay in the history but are no answer. */
  readonly replaced?: boolean
}

export interface HistoryManifest {
  readonly manifest: Manifest
  readonly replaced: boolean
}

/** One committed segment, as the history takes it in. */
export interface HistoryEntry {
  readonly segment: number
  readonly manifests: readonly Manifest[]
  /** Path of its `keyset.ks`; copied when it exists. */
  readonly keyset: string
  /** Segments that it replaces. */
  readonly replaced: readonly number[]
}

export const keysetCopyName = (segment: number): string => `keyset-${segmentNumber(segment)}.ks`

/** Takes the tag files of a run into the history, durably, or marks them as removed. May be repeated. */
export function appendRun(
  manifestDirectory: string,
  run: number,
  { manifests, isRemoved }: { readonly manifests: readonly Manifest[]; readonly isRemoved: boolean },
): void {
  const lines = manifests.map(serializeManifest)
  if (isRemoved) lines.push(removedMark(run))
  if (lines.length === 0) return
  makeDirectory(manifestDirectory)
  appendDurably(join(manifestDirectory, LIVE_LOG), Buffer.concat(lines))
}

/** Makes segments part of the history, durably. May be repeated. */
export function appendHistory(manifestDirectory: string, entries: readonly HistoryEntry[]): void {
  makeDirectory(manifestDirectory)
  const lines: Buffer[] = []
  for (const { segment, manifests, keyset, replaced } of entries) {
    const bytes = readIfThere(keyset)
    if (bytes) writeDurably(join(manifestDirectory, keysetCopyName(segment)), bytes)
    for (const manifest of manifests) lines.push(serializeManifest(manifest))
    if (replaced.length) lines.push(replacedMark(segment, replaced))
  }
  appendDurably(join(manifestDirectory, LIVE_LOG), Buffer.concat(lines))
}

/**
 * Manifests of the history, collection by collection, in the order of their commits. The one way to read them, wherever
 * they are kept. A damaged line is E_MANIFEST_FORMAT with file and line.
 */
export function* manifests(historyDirectory: string, filter: HistoryFilter = {}): Generator<HistoryManifest> {
  for (const collection of historyCollections(historyDirectory)) {
    if (filter.collection !== undefined && filter.collection !== collection) continue
    const { list, replaced, removed } = readLiveLog(join(historyDirectory, collection, LIVE_LOG))
    for (const manifest of list) {
      // A tag file stays when the segment that it is named for is replaced, and goes with its run.
      const isReplaced = manifest.kind === 'tag' ? removed.has(manifest.run!) : replaced.has(manifest.segment)
      if (!isReplaced || filter.replaced) yield { manifest, replaced: isReplaced }
    }
  }
}

/** Collections that have a history, sorted. */
export function historyCollections(historyDirectory: string): string[] {
  return namesIfThere(historyDirectory)
    .filter((name) => isDirectory(join(historyDirectory, name)))
    .sort()
}

export interface HistoryFault {
  readonly collection: string
  /** Undefined for files of a run. */
  readonly segment?: number
  readonly file: string
  readonly fault: 'missing' | 'damaged'
}

/** Checks what the history holds of segments against what their links say of them. */
export function* verifyHistory(
  historyDirectory: string,
  collection: string,
  actions: Iterable<LinkAction>,
): Generator<HistoryFault> {
  const directory = join(historyDirectory, collection)
  const log = join(directory, LIVE_LOG)
  const lines = isFile(log) ? readFileSync(log, 'utf8').split('\n') : []
  // What is behind the last end of line is no line yet, for its readers neither.
  lines.pop()
  const held = new Set(lines.map((line) => sha256(`${line}\n`)))
  const copy = (file: string, digest: string): HistoryFault[] => {
    const path = join(directory, file)
    const found = kindOf(path)
    if (found === undefined) return [{ collection, file, fault: 'missing' }]
    const isWhole = found.isFile() && sha256(readFileSync(path)) === digest
    return isWhole ? [] : [{ collection, file, fault: 'damaged' }]
  }
  for (const action of actions) {
    if (action.action === 'finding') yield* copy(action.findings.name, action.findings.sha256)
    else if (action.action === 'tag') {
      for (const { name, manifest } of action.files)
        if (!held.has(manifest)) yield { collection, file: `${LIVE_LOG}: ${name}.manifest`, fault: 'missing' }
      yield* copy(action.report.name, action.report.sha256)
    } else if (action.action === 'remove-run') {
      const { run } = action
      if (!held.has(sha256(removedMark(run))))
        yield { collection, file: `${LIVE_LOG}: the removal of run ${run}`, fault: 'missing' }
    } else if (segmentOf(action)) {
      const { segment, files, ledger, keyset } = segmentOf(action)!
      const replaced = replacedOf(action)
      if (replaced.length > 0 && !held.has(sha256(replacedMark(segment, replaced))))
        yield { collection, segment, file: `${LIVE_LOG}: what ${segment} replaces`, fault: 'missing' }
      for (const { name, manifest } of files)
        if (!held.has(manifest)) yield { collection, segment, file: `${LIVE_LOG}: ${name}.manifest`, fault: 'missing' }
      for (const fault of copy(sessionLedgerName(segment), ledger)) yield { ...fault, segment }
      if (keyset !== null) for (const fault of copy(keysetCopyName(segment), keyset)) yield { ...fault, segment }
    }
  }
}

/** A closed range in POSIX seconds; either end may be open. */
export interface TimeRange {
  readonly time1?: number
  readonly time2?: number
}

export interface ManifestMatch<M> {
  readonly manifest: M
  /** `fileTime` when the manifest has no times of its own and its creation time had to stand in. */
  readonly by: 'time' | 'fileTime'
}

/** Manifests that overlap a time range, both ends included. An inverted range is E_TIME_ORDER, never an empty answer. */
export function* overlapping<M extends { fileTime?: number; time1?: number; time2?: number }>(
  list: Iterable<M>,
  range: TimeRange,
): Generator<ManifestMatch<M>> {
  const from = range.time1 ?? Number.NEGATIVE_INFINITY
  const to = range.time2 ?? Number.POSITIVE_INFINITY
  if (from > to) throw new ColdtrailError('E_TIME_ORDER', { from: simple(from), to: simple(to) })
  for (const manifest of list) {
    const { time1, time2, fileTime } = manifest
    if (time1 !== undefined && time2 !== undefined) {
      // Imported manifests may give first and last instead of minimum and maximum.
      if (Math.min(time1, time2) <= to && Math.max(time1, time2) >= from) yield { manifest, by: 'time' }
    } else if (fileTime !== undefined && fileTime >= from && fileTime <= to) yield { manifest, by: 'fileTime' }
  }
}

/** Overlap search over the whole history, wherever the data are. Replaced manifests are not answered. */
export function manifestQuery(
  historyDirectory: string,
  query: TimeRange & Pick<HistoryFilter, 'collection'> = {},
): ManifestMatch<Manifest>[] {
  const filter = query.collection === undefined ? {} : { collection: query.collection }
  const held = manifests(historyDirectory, filter).map(({ manifest }) => manifest)
  return [...overlapping(held, query)]
}

// --- internal ---

/** A link that leads nowhere or in a circle is neither. */
function kindOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

const isFile = (path: string): boolean => kindOf(path)?.isFile() === true
const isDirectory = (path: string): boolean => kindOf(path)?.isDirectory() === true

const LIVE_LOG = 'manifests.ndjson'

const replacedMark = (by: number, replaced: readonly number[]): Buffer =>
  Buffer.from(`${canonicalize({ by, replaced })}\n`)

const simple = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')

const removedMark = (run: number): Buffer => Buffer.from(`${canonicalize({ removedRun: run })}\n`)

function readLiveLog(path: string): { list: Manifest[]; replaced: Set<number>; removed: Set<number> } {
  const list: Manifest[] = []
  const replaced = new Set<number>()
  const removed = new Set<number>()
  const lines = (readIfThere(path)?.toString() ?? '').split('\n')
  const unfinished = lines.pop()
  const seen = new Set<string>()
  lines.forEach((line, i) => {
    if (line === '' || seen.has(line)) return
    seen.add(line)
    const mark = /^\{"by":\d+,"replaced":\[([\d,]+)\]\}$/.exec(line)
    if (mark) {
      for (const segment of mark[1]!.split(',')) replaced.add(Number(segment))
      return
    }
    const removal = /^\{"removedRun":(\d+)\}$/.exec(line)
    if (removal) {
      removed.add(Number(removal[1]))
      return
    }
    try {
      list.push(parseManifest(line, `${path} line ${i + 1}`))
    } catch (error) {
      // In older logs a line that a crash cut off stands there, and again whole; any other damage is told.
      const again = [...lines.slice(i + 1), unfinished].some((later) => later?.startsWith(line))
      if (!again) throw error
    }
  })
  return { list, replaced, removed }
}
