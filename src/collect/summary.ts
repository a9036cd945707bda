/** What a run of `collect` came to, and how far it is. */
import type { ListStatistics } from '../components/source.ts'
import type { ColdtrailError } from '../core/errors.ts'
import { addCounts, emptyCounts, type SourceCounts, type TaskCounts } from './tasks.ts'

/**
 * All numbers are of this run. The law: listed = objects + known + skipped + failed + busy + quarantined + left
 * (`left` is 0 unless the run was interrupted or failed). Sizes in bytes.
 */
export interface CollectSummary {
  readonly type: 'summary'
  /** Objects that the sources listed, those passed over included. */
  readonly listed: number
  /** Collected and committed. */
  readonly objects: number
  readonly known: number
  readonly events: number
  readonly rejects: number
  /** Not collected: pending for the next run, or quarantined now. */
  readonly failed: number
  /** Quarantined by an earlier run, and not tried again. */
  readonly quarantined: number
  /** Claimed by another collector. */
  readonly busy: number
  /** Listed, but not dealt with before the end. */
  readonly left: number
  readonly skipped: Readonly<Record<string, number>>
  /** Of `objects`: new versions of objects collected before. */
  readonly replaced: number
  readonly bytes: number
  readonly decoded_bytes: number
  readonly segments: number
  /** Small segments that were merged into larger ones. */
  readonly compacted: number
  readonly seconds: number
  /** Failed objects by error code. */
  readonly errors: Readonly<Record<string, number>>
  /** Requests to the sources, and errors of single attempts, by name. */
  readonly requests: Readonly<Record<string, number>>
  readonly request_errors: Readonly<Record<string, number>>
  readonly retries: number
  readonly throttles: number
  readonly list_requests: number
  readonly list_ms: number
  /** Fetching and parsing, summed over workers and objects. */
  readonly fetch_ms: number
  readonly parse_ms: number
  readonly ms_per_object: number
  readonly ms_per_mb: number
  readonly decompression_errors: number
  /** Objects whose bytes are not what their name's ending promises. */
  readonly mislabelled: number
  readonly worker_deaths: number
  readonly dry_run: boolean
  readonly interrupted: boolean
  /** Requests that a dry run expects: GETs of objects not yet known. */
  readonly get_requests?: number
  /** Bytes that these GETs would fetch. */
  readonly get_bytes?: number
  /** Why the run as a whole failed; what was committed before is counted above and stays. */
  readonly error?: ColdtrailError
}

export interface CollectProgress {
  /** Dealt with, and claimed so far. */
  readonly objects: number
  readonly total: number
  /** The total may still grow. */
  readonly listing: boolean
  readonly events: number
  readonly rejects: number
  readonly failed: number
  readonly known: number
  readonly bytes: number
  readonly totalBytes: number
  readonly decodedBytes: number
  /** Decoded, over the last few seconds. */
  readonly mbPerSecond: number
  /** Undefined as long as it cannot be told. */
  readonly secondsLeft: number | undefined
}

/** The counters of a run. */
export class Tally {
  readonly started = performance.now()
  readonly listing: ListStatistics = { requests: 0, objects: 0, bytes: 0, milliseconds: 0, skipped: new Map() }
  readonly skipped = new Map<string, number>()
  readonly errors = new Map<string, number>()
  /** Of objects done by workers, committed or not; what a dead worker had not committed is taken off again. */
  readonly done = emptyCounts()
  /** Waited for pages of the listing. */
  listMilliseconds = 0
  claimed = 0
  claimedBytes = 0
  settled = 0
  objects = 0
  known = 0
  events = 0
  rejects = 0
  failed = 0
  quarantined = 0
  busy = 0
  left = 0
  replaced = 0
  bytes = 0
  decodedBytes = 0
  segments = 0
  compacted = 0
  deaths = 0
  private readonly sources = new Map<string, SourceCounts>()
  private readonly rates: { at: number; decoded: number }[] = []

  add(counts: Readonly<TaskCounts>, sign = 1): void {
    addCounts(this.done, counts, sign)
  }

  /** The counters so far of one incarnation of a source. */
  noteSource(incarnation: string, counts: SourceCounts): void {
    this.sources.set(incarnation, counts)
  }

  progress(listing: boolean): CollectProgress {
    const { done } = this
    const seconds = (performance.now() - this.started) / 1000
    this.rates.push({ at: seconds, decoded: done.decoded })
    if (this.rates.length > RATE_SAMPLES) this.rates.shift()
    const first = this.rates[0]!
    const mbPerSecond = Math.max(0, (done.decoded - first.decoded) / 1e6 / Math.max(seconds - first.at, 0.001))
    const share = this.claimedBytes > 0 ? done.received / this.claimedBytes : 0
    return {
      objects: Math.min(this.settled + Math.max(done.objects - this.objects, 0), this.claimed),
      total: this.claimed,
      listing,
      events: done.events,
      rejects: done.rejects,
      failed: this.failed,
      known: this.known,
      bytes: done.received,
      totalBytes: this.claimedBytes,
      decodedBytes: done.decoded,
      mbPerSecond,
      secondsLeft: share > 0.01 && !listing ? (seconds / share) * (1 - share) : undefined,
    }
  }

  summary(
    end: Pick<CollectSummary, 'dry_run' | 'interrupted' | 'error' | 'get_requests' | 'get_bytes'>,
  ): CollectSummary {
    const { listing, done } = this
    const skipped = merged([listing.skipped, this.skipped])
    const sources = [...this.sources.values()]
    const milliseconds = done.fetchMilliseconds + done.parseMilliseconds
    return {
      type: 'summary',
      listed: listing.objects + total(listing.skipped),
      objects: this.objects,
      known: this.known,
      events: this.events,
      rejects: this.rejects,
      failed: this.failed,
      quarantined: this.quarantined,
      busy: this.busy,
      left: this.left,
      skipped: Object.fromEntries(skipped),
      replaced: this.replaced,
      bytes: this.bytes,
      decoded_bytes: this.decodedBytes,
      segments: this.segments,
      compacted: this.compacted,
      seconds: round((performance.now() - this.started) / 1000),
      errors: Object.fromEntries(this.errors),
      requests: Object.fromEntries(merged(sources.map(({ requests }) => requests))),
      request_errors: Object.fromEntries(merged(sources.map(({ errors }) => errors))),
      retries: sources.reduce((sum, { retries }) => sum + retries, 0),
      throttles: sources.reduce((sum, { throttles }) => sum + throttles, 0),
      list_requests: listing.requests,
      list_ms: round(this.listMilliseconds),
      fetch_ms: round(done.fetchMilliseconds),
      parse_ms: round(done.parseMilliseconds),
      ms_per_object: done.objects > 0 ? round(milliseconds / done.objects) : 0,
      ms_per_mb: done.decoded > 0 ? round(milliseconds / (done.decoded / 1e6)) : 0,
      decompression_errors: this.errors.get('E_OBJECT_CORRUPT') ?? 0,
      mislabelled: done.mislabelled,
      worker_deaths: this.deaths,
      ...end,
    }
  }
}

export function increment(counts: Map<string, number>, name: string, by = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + by)
}

// --- internal ---

const RATE_SAMPLES = 10
const round = (value: number): number => Math.round(value * 1000) / 1000
const total = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((sum, n) => sum + n, 0)

function merged(maps: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sum = new Map<string, number>()
  for (const map of maps) for (const [name, count] of map) increment(sum, name, count)
  return sum
}
