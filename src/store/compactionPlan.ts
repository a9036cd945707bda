/**
 * Which segments compaction merges. Apart from the merging, so that a collector that has nothing to merge does not load
 * what merging needs.
 */
import type { SegmentRow } from './catalog.ts'
import type { SegmentFile } from './segment.ts'

export interface CompactionLimits {
  /** Events and decoded bytes at which a collector seals a segment; a compacted one does not exceed them. */
  readonly maxRows: number
  readonly maxBytes: number
  readonly maxSessions: number
}

/** What the choice looks at. */
export type Candidate = Pick<
  SegmentRow,
  'segment' | 'collection' | 'format' | 'day' | 'id1' | 'id2' | 'session1' | 'rows' | 'raw_bytes'
> & { readonly files: readonly Pick<SegmentFile, 'kind' | 'manifest'>[] }

/**
 * The oldest run of live segments worth merging, in session order; undefined when there is none. A run is of one
 * partition and one keyset key, and no other live segment of the partition lies between its segments, neither by event
 * ids nor by session ids. Each is small: below a quarter of the limit of rows or of bytes. There are at least
 * RUN_SEGMENTS of them, and none is larger than all others together: so an event is rewritten about log2(n) times while
 * a partition grows by n segments, and not n times.
 *
 * `mayTake`: false for a segment that must stay as it is (its files are elsewhere or damaged). `sessionsOf`: how many
 * sessions a segment has. `classOf`: segments of different classes (those of a legal hold and others) are never merged.
 */
export function chooseRun<S extends Candidate>(
  live: readonly S[],
  limits: CompactionLimits,
  given: { mayTake(segment: S): boolean; sessionsOf(segment: S): number; classOf?(segment: S): string },
): S[] | undefined {
  const partitions = Map.groupBy(live, ({ collection, format, day }) => JSON.stringify([collection, format, day]))
  let oldest: S[] | undefined
  for (const partition of partitions.values()) {
    if (partition.length < RUN_SEGMENTS) continue
    const run = runOf(partition, limits, given)
    if (run && (!oldest || run[0]!.session1 < oldest[0]!.session1)) oldest = run
  }
  return oldest
}

// --- internal ---

/** Fewer are not worth a link, a keyset and manifests more in the history. */
const RUN_SEGMENTS = 4
const MAX_RUN_SEGMENTS = 64
/** Below this all segments count as equally small. */
const LEAST_BYTES = 2 ** 20

/** The first run of a partition that meets the rules; of those that begin at one segment the longest. */
function runOf<S extends Candidate>(
  partition: readonly S[],
  { maxRows, maxBytes, maxSessions }: CompactionLimits,
  {
    mayTake,
    sessionsOf,
    classOf = () => '',
  }: { mayTake(segment: S): boolean; sessionsOf(segment: S): number; classOf?(segment: S): string },
): S[] | undefined {
  const segments = [...partition].sort((a, b) => a.session1 - b.session1)
  const byEvents = segments.filter(({ id1 }) => id1 !== null).sort((a, b) => a.id1! - b.id1!)
  const ranks = new Map(byEvents.map((segment, rank) => [segment, rank]))
  const isSmall = ({ rows, raw_bytes }: S): boolean => rows < maxRows / 4 || raw_bytes < maxBytes / 4
  const takes = segments.map((segment) => isSmall(segment) && mayTake(segment))
  const sessions = segments.map((segment, i) => (takes[i] ? sessionsOf(segment) : 0))
  for (let first = 0; first + RUN_SEGMENTS <= segments.length; first++) {
    const total = { rows: 0, bytes: 0, sessions: 0, weight: 0 }
    let heaviest = 0
    const ranked = { least: Number.POSITIVE_INFINITY, most: Number.NEGATIVE_INFINITY, count: 0 }
    let end = first
    for (let i = first; i < segments.length && i - first < MAX_RUN_SEGMENTS; i++) {
      const segment = segments[i]!
      total.rows += segment.rows
      total.bytes += segment.raw_bytes
      total.sessions += sessions[i]!
      const fits = total.rows <= maxRows && total.bytes <= maxBytes && total.sessions <= maxSessions
      if (!takes[i] || !fits || keysetOf(segment) !== keysetOf(segments[first]!)) break
      if (classOf(segment) !== classOf(segments[first]!)) break
      const weight = Math.max(segment.raw_bytes, LEAST_BYTES)
      total.weight += weight
      heaviest = Math.max(heaviest, weight)
      const rank = ranks.get(segment)
      if (rank !== undefined) {
        ranked.least = Math.min(ranked.least, rank)
        ranked.most = Math.max(ranked.most, rank)
        ranked.count += 1
      }
      const isUnbroken = ranked.count === 0 || ranked.most - ranked.least + 1 === ranked.count
      if (i - first + 1 >= RUN_SEGMENTS && 2 * heaviest <= total.weight && isUnbroken) end = i + 1
    }
    if (end > first) return segments.slice(first, end)
  }
  return undefined
}

/** Keysets of different keys have no union. */
function keysetOf({ files }: Candidate): string {
  const keyset = files.find(({ kind }) => kind === 'index')?.manifest.keyset
  return keyset ? `${keyset.extractor} ${keyset.epoch} ${keyset.key}` : ''
}
