/**
 * The history of a collection: what stays searchable when the data have gone. `<manifest_dir>/` holds
 *
 *     manifests.ndjson       live log: one manifest a line (its canonical bytes), and `{"replaced":[…],"by":N}`, `{"removedRun":N}` marks
 *     archive/               the lines of earlier live logs, searched without unpacking (manifestGenerations.ts)
 *     keyset-<segment>.ks    copies of keysets
 *     session-<segment>.ledger   which object each session is (sessionLedger.ts; written before the commit)
 *     finding-<run>.ndjson, run-<run>.json   what a run found, and its report (written before the commit)
 *     quarantine.ndjson      why objects were refused whole (quarantine.ts)
 *     chain/<number>.link    chain.ts
 *
 * The log is append-only; repeated lines count once, and a line cut off by a crash is passed over.
 */
import { existsSync, readFileSync, rmSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import { makeDirectory, namesIfThere, readIfThere, syncDirectory, writeDurably } from '../platform/files.ts'
import { type ErasedByLinks, erasedBy, type LinkAction, replacedOf, segmentOf, sha256 } from './chain.ts'
import { type Manifest, serializeManifest } from './manifest.ts'
import {
  ARCHIVE_DIRECTORY,
  appendToLog,
  forgetManifests,
  LIVE_LOG,
  manifestSnapshot,
  rawLines,
} from './manifestGenerations.ts'
import { type Interval, intervalsOf, isByFileTime, type TimedManifest } from './manifestTimes.ts'
import { QUARANTINE_LOG } from './quarantine.ts'
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
  if (lines.length > 0) appendToLog(manifestDirectory, Buffer.concat(lines))
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
  appendToLog(manifestDirectory, Buffer.concat(lines))
}

/**
 * Takes out of a collection's history what erasures took away: manifests of events, whose bounds are values, those of tag
 * files, and keysets. Their digests stay in the links. May be repeated.
 */
export function forgetHistory(manifestDirectory: string, { segments, tags }: ErasedByLinks): void {
  const copies = [...segments].map((segment) => join(manifestDirectory, keysetCopyName(segment)))
  const left = copies.filter((path) => existsSync(path))
  for (const path of left) rmSync(path)
  if (left.length > 0) syncDirectory(manifestDirectory)
  forgetManifests(manifestDirectory, ({ kind, filename, segment }) =>
    kind === 'tag' ? tags.has(filename) : kind === 'meta' && segments.has(segment),
  )
}

/**
 * Manifests of the history, collection by collection, in the order of their commits. The one way to read them, wherever
 * they are kept. A damaged line is E_MANIFEST_FORMAT with file and line.
 */
export function* manifests(historyDirectory: string, filter: HistoryFilter = {}): Generator<HistoryManifest> {
  for (const collection of historyCollections(historyDirectory)) {
    if (filter.collection !== undefined && filter.collection !== collection) continue
    const snapshot = manifestSnapshot(join(historyDirectory, collection))
    for (const { manifest } of snapshot.lines()) {
      if (!manifest) continue
      const replaced = snapshot.isReplaced(manifest)
      if (!replaced || filter.replaced) yield { manifest, replaced }
    }
  }
}

/** Collections that have a history, sorted. Folders of others, with manifests that somebody put there, are none. */
export function historyCollections(historyDirectory: string): string[] {
  return namesIfThere(historyDirectory)
    .filter((name) => isDirectory(join(historyDirectory, name)) && isHistory(join(historyDirectory, name)))
    .sort()
}

/** Whether the name of a file is one that may hold manifests of other stores (importedManifests.ts). */
export const isImportable = (name: string): boolean => /\.(manifest|tar|tgz|gz|zip)$/i.test(name)

/** What lies in a history beside the collections: manifests of other stores, loose, packed or in folders. */
export function foreignManifests(historyDirectory: string): string[] {
  return namesIfThere(historyDirectory)
    .map((name) => join(historyDirectory, name))
    .filter((path) => (isDirectory(path) ? !isHistory(path) : isImportable(path)))
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
  const { held, damaged } = heldDigests(directory)
  for (const file of damaged) yield { collection, file, fault: 'damaged' }
  const copy = (file: string, digest: string): HistoryFault[] => {
    const path = join(directory, file)
    const found = kindOf(path)
    if (found === undefined) return [{ collection, file, fault: 'missing' }]
    const isWhole = found.isFile() && sha256(readFileSync(path)) === digest
    return isWhole ? [] : [{ collection, file, fault: 'damaged' }]
  }
  const all = [...actions]
  const erased = erasedBy(all)
  for (const action of all) {
    if (action.action === 'finding') {
      const { name, sha256 } = erased.findings.get(action.run) ?? action.findings
      yield* copy(name, sha256)
    } else if (action.action === 'tag') {
      for (const { name, manifest } of action.files.filter(({ name }) => !erased.tags.has(name)))
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
      const tags = action.action === 'erase' ? action.tags.filter(({ name }) => !erased.tags.has(name)) : []
      // Of what was erased later only digests are left.
      const kept = erased.segments.has(segment) ? files.filter(({ kind }) => kind !== 'meta') : files
      for (const { name, manifest } of [...kept, ...tags])
        if (!held.has(manifest)) yield { collection, segment, file: `${LIVE_LOG}: ${name}.manifest`, fault: 'missing' }
      for (const fault of copy(sessionLedgerName(segment), ledger)) yield { ...fault, segment }
      if (keyset !== null && !erased.segments.has(segment))
        for (const fault of copy(keysetCopyName(segment), keyset)) yield { ...fault, segment }
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
export function* overlapping<M extends TimedManifest>(
  list: Iterable<M>,
  range: TimeRange,
): Generator<ManifestMatch<M>> {
  const { from, to } = boundsOf(range)
  for (const manifest of list)
    if (intervalsOf(manifest).some(([start, end]) => start <= to && end >= from)) yield matchOf(manifest)
}

/** Whether intervals overlap a range. E_TIME_ORDER when it is inverted. */
export function intervalMatches(range: TimeRange): (interval: Interval) => boolean {
  const { from, to } = boundsOf(range)
  return ([start, end]) => start <= to && end >= from
}

/**
 * Overlap search over the whole history, wherever the data are, collection by collection in the order of commits.
 * Replaced manifests are not answered.
 */
export function* manifestMatches(
  historyDirectory: string,
  query: TimeRange & Pick<HistoryFilter, 'collection'> = {},
): Generator<ManifestMatch<Manifest>> {
  const { from, to } = boundsOf(query)
  const collections = query.collection === undefined ? historyCollections(historyDirectory) : [query.collection]
  for (const collection of collections) {
    const snapshot = manifestSnapshot(join(historyDirectory, collection))
    for (const manifest of snapshot.overlapping(from, to)) if (!snapshot.isReplaced(manifest)) yield matchOf(manifest)
  }
}

/** All of `manifestMatches` at once. */
export const manifestQuery = (...query: Parameters<typeof manifestMatches>): ManifestMatch<Manifest>[] => [
  ...manifestMatches(...query),
]

// --- internal ---

/** A link that leads nowhere or in a circle is neither. */
function kindOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

/** A commit makes the chain first, a refused object the list of quarantine. */
const isHistory = (directory: string): boolean =>
  ['chain', QUARANTINE_LOG, LIVE_LOG, ARCHIVE_DIRECTORY].some((name) => kindOf(join(directory, name)) !== undefined)

const isDirectory = (path: string): boolean => kindOf(path)?.isDirectory() === true

const replacedMark = (by: number, replaced: readonly number[]): Buffer =>
  Buffer.from(`${canonicalize({ by, replaced })}\n`)

const simple = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')

const removedMark = (run: number): Buffer => Buffer.from(`${canonicalize({ removedRun: run })}\n`)

const matchOf = <M extends TimedManifest>(manifest: M): ManifestMatch<M> => ({
  manifest,
  by: isByFileTime(manifest) ? 'fileTime' : 'time',
})

function boundsOf({ time1, time2 }: TimeRange): { from: number; to: number } {
  const [from, to] = [time1 ?? Number.NEGATIVE_INFINITY, time2 ?? Number.POSITIVE_INFINITY]
  if (from > to) throw new ColdtrailError('E_TIME_ORDER', { from: simple(from), to: simple(to) })
  return { from, to }
}

/** Digests of all lines, damaged ones of the logs too; and the parts of the archive that cannot be read. */
function heldDigests(directory: string): { held: ReadonlySet<string>; damaged: readonly string[] } {
  const held = new Set<string>()
  const damaged: string[] = []
  for (const line of rawLines(directory, (file) => damaged.push(file))) held.add(sha256(`${line}\n`))
  return { held, damaged }
}
