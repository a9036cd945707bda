/** A hunt in one collection, and what it says of each indicator and segment. */
import type { Log } from '../core/log.ts'
import type { Catalog, SegmentRow } from '../store/catalog.ts'
import { closureOf, segmentsInRange } from '../store/closure.ts'
import type { Engines } from '../store/engines.ts'
import { isHeldHere } from '../store/heldFile.ts'
import type { KeysetKey } from '../store/keysetKeys.ts'
import { type Confirmation, confirmIn, isSearchable } from './confirm.ts'
import {
  type HuntedSegment,
  type HuntProgress,
  type HuntVerdict,
  huntedSegments,
  huntKeysets,
  type KeysetAnswer,
  mendRollups,
  rollupsFor,
  type UnknownCause,
} from './hunt.ts'
import type { GivenIndicator, IndicatorSet } from './indicators.ts'

export interface CollectionHuntOptions {
  readonly catalog: Catalog
  readonly collection: string
  readonly set: IndicatorSet
  readonly keys: readonly KeysetKey[]
  /** Microseconds, both included. */
  readonly time1?: number
  readonly time2?: number
  /** Its segments; default all. Given where several collections are asked, so that each segment is hunted in once. */
  readonly rows?: readonly SegmentRow[]
  /** Only these segments. */
  readonly among?: (row: SegmentRow) => boolean
  /** Search what is here for what keysets call possible. */
  readonly confirm?: boolean
  /** Roll-ups and hashes may be written. */
  readonly mayWrite: boolean
  readonly hashDirectory?: string
  readonly engines: Engines
  readonly log: Log
  readonly onProgress?: (progress: HuntProgress) => void
  readonly signal?: AbortSignal
}

export interface IndicatorVerdict extends GivenIndicator {
  readonly collection: string
  readonly verdict: HuntVerdict
  /** That may hold it, and, once confirmed, do; ascending. */
  readonly segments: readonly number[]
  /** Of them those in whose data it was found, with ids of the first events; events and refused records are counted. */
  readonly found: readonly Omit<Confirmation, 'indicator'>[]
  /** Of them those that were searched without finding it: it came up by chance, or is written in a way that nothing reads. */
  readonly searched: readonly number[]
  /** Why it is not known of further segments. */
  readonly unknown: readonly UnknownCause[]
  /** Segments that chance alone would name. */
  readonly expectedFalse: number
  /** False when keysets know only a wider block of addresses. */
  readonly isExact: boolean
}

export interface HitSegment {
  readonly collection: string
  readonly segment: number
  /** Indicators that it may hold. */
  readonly indicators: number
  /** Microseconds; null when no event has a time. */
  readonly time1: number | null
  readonly time2: number | null
  readonly events: number
  /** Its events can be read here. */
  readonly isHere: boolean
  readonly tiers: readonly string[]
  readonly labels: readonly string[]
}

/** What a restore of the segments takes. */
export interface RestoreNeed {
  readonly bytes: number
  /** Of them not here. */
  readonly bytesAway: number
  /** Files that somebody must bring, or that are no more. */
  readonly offline: number
  readonly deleted: number
  /** Needed, and not known to the catalog. */
  readonly gaps: number
}

export class CollectionHunt {
  readonly collection: string
  /** In range. */
  readonly segments: number
  readonly answer: KeysetAnswer
  private readonly set: IndicatorSet
  private readonly hunted: ReadonlyMap<number, HuntedSegment & { readonly row: SegmentRow }>
  private readonly rows: readonly SegmentRow[]
  private readonly confirmed = new Map<number, Confirmation[]>()
  private readonly searched = new Set<number>()

  private constructor(
    options: CollectionHuntOptions,
    rows: readonly SegmentRow[],
    hunted: CollectionHunt['hunted'],
    answer: KeysetAnswer,
  ) {
    this.collection = options.collection
    this.set = options.set
    this.rows = rows
    this.hunted = hunted
    this.segments = hunted.size
    this.answer = answer
  }

  static async run(options: CollectionHuntOptions): Promise<CollectionHunt> {
    const { catalog, collection, mayWrite, among = () => true, time1, time2, onProgress, signal } = options
    // While it searches data, what it reads is not removed.
    const lock = mayWrite && options.confirm ? await catalog.registerReader() : undefined
    try {
      const rows = options.rows ?? (await catalog.segments({ collection }))
      const live = huntedSegments(
        catalog,
        rows.filter(({ state }) => state === 'live'),
      )
      const inRange = new Set(
        segmentsInRange(rows, {
          ...(time1 === undefined ? {} : { time1 }),
          ...(time2 === undefined ? {} : { time2 }),
        }),
      )
      const hunted = new Map([...live].filter(([segment, { row }]) => inRange.has(segment) && among(row)))
      // A workbench has no history of its own.
      const isHome = (await catalog.collections()).includes(collection)
      const list = await rollupsFor(catalog, collection, [...live.values()], {
        ...{ mayWrite: mayWrite && isHome, log: options.log },
        ...(onProgress && { onProgress }),
        ...(signal && { signal }),
      })
      const answer = await huntKeysets({
        ...{ set: options.set, segments: [...hunted.values()], list, keys: options.keys },
        manifestDirectory: catalog.manifestDirectory(collection),
        ...(mayWrite && options.hashDirectory !== undefined && { hashDirectory: options.hashDirectory }),
        ...(onProgress && { onProgress }),
        ...(signal && { signal }),
      })
      if (answer.damagedRollups.length > 0) {
        options.log('warn', 'damaged roll-ups of keysets were passed over', { files: answer.damagedRollups.join(', ') })
        if (mayWrite) await mendRollups(catalog, collection, answer.damagedRollups)
      }
      const hunt = new CollectionHunt(options, rows, hunted, answer)
      if (options.confirm) await hunt.confirm(options)
      return hunt
    } finally {
      await lock?.release()
    }
  }

  verdict(indicator: number): IndicatorVerdict {
    const { set, answer, collection } = this
    const found = this.confirmed.get(indicator) ?? []
    const segments = answer.hitsOf(indicator)
    const has = new Set(found.map(({ segment }) => segment))
    return {
      ...set.indicator(indicator),
      ...{ collection, segments, unknown: answer.unknownOf(indicator) },
      verdict: found.length > 0 ? 'confirmed' : answer.verdictOf(indicator),
      found: found.map(({ indicator: _, ...rest }) => rest),
      searched: segments.filter((segment) => this.searched.has(segment) && !has.has(segment)),
      expectedFalse: answer.expectedFalseOf(indicator),
      isExact: set.coverages[set.coverageOf(indicator)]!.isExact,
    }
  }

  verdictOf(indicator: number): HuntVerdict {
    return this.confirmed.has(indicator) ? 'confirmed' : this.answer.verdictOf(indicator)
  }

  /** Segments with hits, ascending. */
  hitSegments(): HitSegment[] {
    const counts = new Map<number, number>()
    for (const indicator of this.answer.possible)
      for (const segment of this.answer.hitsOf(indicator)) counts.set(segment, (counts.get(segment) ?? 0) + 1)
    return [...counts]
      .sort(([a], [b]) => a - b)
      .map(([segment, indicators]) => hitSegment(this.hunted.get(segment)!.row, indicators))
  }

  /** Pairs of indicator and segment in whose data it was found. */
  get confirmations(): number {
    return [...this.confirmed.values()].reduce((sum, { length }) => sum + length, 0)
  }

  has(segment: number): boolean {
    return this.hunted.has(segment)
  }

  segmentRow(segment: number): SegmentRow {
    return this.hunted.get(segment)!.row
  }

  restoreNeed(segments: readonly number[]): RestoreNeed {
    const { bytes, bytesAway, files, gaps } = closureOf(this.rows, segments)
    const count = (state: string): number => files.filter((file) => file.state === state).length
    return { bytes, bytesAway, offline: count('offline'), deleted: count('deleted'), gaps: gaps.length }
  }

  // --- internal ---

  private async confirm({ engines, onProgress, signal }: CollectionHuntOptions): Promise<void> {
    const bySegment = new Map<number, number[]>()
    for (const indicator of this.answer.possible)
      for (const segment of this.answer.hitsOf(indicator)) {
        const list = bySegment.get(segment)
        if (list) list.push(indicator)
        else bySegment.set(segment, [indicator])
      }
    const here = [...bySegment].filter(([segment]) => isSearchable(this.segmentRow(segment)))
    const { duckdb } = await engines.for(here.map(([segment]) => this.segmentRow(segment)))
    let done = 0
    for (const [segment, indicators] of here.sort(([a], [b]) => a - b)) {
      onProgress?.({ step: 'confirming', done: done++, total: here.length })
      for (const found of await confirmIn(duckdb, this.segmentRow(segment), this.set, indicators, signal)) {
        const list = this.confirmed.get(found.indicator)
        if (list) list.push(found)
        else this.confirmed.set(found.indicator, [found])
      }
      this.searched.add(segment)
    }
  }
}

// --- internal ---

function hitSegment(row: SegmentRow, indicators: number): HitSegment {
  const { collection, segment, time1, time2, rows, files } = row
  const unique = (values: readonly (string | undefined)[]): string[] => [
    ...new Set(values.filter((value) => value !== undefined)),
  ]
  const wanted = files.filter(({ kind }) => kind !== 'index')
  return {
    ...{ collection, segment, indicators, time1, time2, events: rows, isHere: isHeldHere(row, 'meta') },
    tiers: unique(wanted.map(({ tier, deleted }) => (deleted ? 'deleted' : tier))),
    labels: unique(wanted.map(({ label }) => label)),
  }
}
