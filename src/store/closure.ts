/**
 * Closure: every file that it takes to ask segments again as if they had never left. A segment needs its session, meta,
 * index and reject files, the tag files of its events, and the packs that its sessions point to, which after a compaction
 * bear the numbers of segments that are no more. Files do not refer to each other by time: a session file found by time
 * alone may belong to no meta file of the answer, which then cannot be joined.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { MICROSECONDS_PER_DAY } from '../core/keyDay.ts'
import type { SegmentRow } from './catalog.ts'
import { type FileKind, type SegmentFile, segmentFileName } from './segment.ts'

/**
 * `here`: can be read at its place. `remote`: in a bucket; nobody looked. `offline`: not at the place that the catalog
 * knows, so a person must bring it. `deleted`: a link says that it is no more; a backup may have it.
 */
export type ClosureState = 'here' | 'remote' | 'offline' | 'deleted'

export interface ClosureFile {
  readonly kind: FileKind
  readonly name: string
  readonly size: number
  /** Lower-case hex; of a directory: over its sorted list of files (manifest.ts). */
  readonly sha256: string
  /** The number in its name: of a pack that of the segment it was sealed with, of a tag file that which was analysed. */
  readonly segment: number
  /** Segments of the closure that need it, ascending. */
  readonly neededBy: readonly number[]
  readonly tier: string
  /** Where it lies, or lay last; absolute or `s3://…`. */
  readonly directory: string
  readonly label?: string
  readonly state: ClosureState
}

/** Something needed that the catalog knows no file of. */
export interface ClosureGap {
  readonly segment: number
  readonly needs: string
  readonly reason: string
}

export interface Closure {
  /** Ascending. */
  readonly segments: readonly number[]
  /** By segment, then name; each once. */
  readonly files: readonly ClosureFile[]
  readonly gaps: readonly ClosureGap[]
  /** Sum of the sizes of all files, and of those that are not here. */
  readonly bytes: number
  readonly bytesAway: number
  /** Every file is here or in a bucket, and nothing is unknown. */
  readonly isComplete: boolean
}

/** Microseconds UTC, both included; open where undefined. */
export interface ClosureRange {
  readonly time1?: number
  readonly time2?: number
}

export interface ClosureOptions {
  /** Only these databases; all by default. Packs may be left out where nobody wants the raw records. */
  readonly kinds?: ReadonlySet<FileKind>
  /** Whether there is something at a path. */
  readonly isThere?: (path: string) => boolean
}

/**
 * Closure of segments of one collection. `rows`: all of it, retired ones too, as `catalog.segments({ collection })` answers
 * them; `wanted`: numbers of live segments among them.
 */
export function closureOf(
  rows: readonly SegmentRow[],
  wanted: Iterable<number>,
  { kinds, isThere = existsSync }: ClosureOptions = {},
): Closure {
  const bySegment = new Map(rows.map((row) => [row.segment, row]))
  const files = new Map<string, { file: Omit<ClosureFile, 'neededBy'>; neededBy: number[] }>()
  const gaps: ClosureGap[] = []
  const isWanted = (kind: FileKind): boolean => kinds?.has(kind) ?? true
  const need = (by: number, named: number, file: SegmentFile, place: Place): void => {
    const known = files.get(file.name)
    if (known) known.neededBy.push(by)
    else files.set(file.name, { file: placed(file, named, place, isThere), neededBy: [by] })
  }
  const segments = [...new Set(wanted)].sort((a, b) => a - b)
  for (const segment of segments) {
    const row = bySegment.get(segment)
    if (row?.state !== 'live') {
      const reason = row ? 'it was replaced by another one' : 'the catalog does not know it'
      gaps.push({ segment, needs: 'segment', reason })
      continue
    }
    for (const kind of ['session', 'meta', 'index'] as const)
      if (isWanted(kind) && !row.files.some((file) => file.kind === kind))
        gaps.push({ segment, needs: segmentFileName(kind, segment), reason: 'the catalog knows no such file' })
    for (const file of row.files)
      if (file.kind !== 'log' && isWanted(file.kind)) need(segment, segment, file, placeOf(row, file))
    if (isWanted('tag')) for (const tag of row.tags) need(segment, tag.segment, tag, placeOf(tag, tag))
    if (!isWanted('log')) continue
    for (const number of row.packs) {
      const holder = bySegment.get(number)
      const pack = holder?.files.find(({ kind }) => kind === 'log')
      if (holder && pack) need(segment, number, pack, placeOf(holder, pack))
      else gaps.push({ segment, needs: segmentFileName('log', number), reason: 'the catalog knows no such file' })
    }
  }
  const list = [...files.values()]
    .map(({ file, neededBy }): ClosureFile => ({ ...file, neededBy }))
    .sort((a, b) => a.segment - b.segment || (a.name < b.name ? -1 : 1))
  const sum = (some: readonly ClosureFile[]): number => some.reduce((total, { size }) => total + size, 0)
  return {
    ...{ segments, files: list, gaps },
    bytes: sum(list),
    bytesAway: sum(list.filter(({ state }) => state !== 'here')),
    isComplete: gaps.length === 0 && list.every(({ state }) => state === 'here' || state === 'remote'),
  }
}

/**
 * Live segments that may hold something of a time range. One whose events have no time at all is taken by its day, and
 * one without a day always: what is not known to lie outside is never left out.
 */
export function segmentsInRange(
  rows: readonly SegmentRow[],
  { time1: from = Number.NEGATIVE_INFINITY, time2: to = Number.POSITIVE_INFINITY }: ClosureRange,
): number[] {
  return rows
    .filter(({ state, day, time1, time2 }) => {
      if (state !== 'live') return false
      if (time1 !== null && time2 !== null) return time1 <= to && time2 >= from
      const start = Date.parse(`${day}T00:00:00Z`) * 1000
      return !(start > to || start + MICROSECONDS_PER_DAY <= from)
    })
    .map(({ segment }) => segment)
}

// --- internal ---

type Place = Pick<ClosureFile, 'tier' | 'directory' | 'label'> & { readonly deleted: boolean }

function placeOf(holder: { readonly directory: string }, file: object): Place {
  const { tier = 'hot', directory = holder.directory, deleted = false, label } = file as Partial<Place>
  return { tier, directory, deleted, ...(label === undefined ? {} : { label }) }
}

function placed(
  { kind, name, size, sha256 }: SegmentFile,
  segment: number,
  { deleted, ...place }: Place,
  isThere: (path: string) => boolean,
): Omit<ClosureFile, 'neededBy'> {
  const isRemote = place.directory.startsWith('s3://')
  const state = deleted ? 'deleted' : isRemote ? 'remote' : isThere(join(place.directory, name)) ? 'here' : 'offline'
  return { kind, name, size, sha256, segment, ...place, state }
}
