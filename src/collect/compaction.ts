/**
 * Compaction beside collecting: chooses runs of small segments, has a helper process merge them one after another, and
 * commits each. It never fails a run: what cannot be merged stays as it is, and the log says why.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { asColdtrailError, ColdtrailError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { Foreman } from '../engine/foreman.ts'
import type { Catalog, Owner, SegmentRow } from '../store/catalog.ts'
import type { MergeTask } from '../store/compact.ts'
import { type CompactionLimits, chooseRun } from '../store/compactionPlan.ts'
import { heldTimes, holdsOver } from '../store/holds.ts'
import type { SealedSegment } from '../store/segment.ts'
import { readSessionLedger, sessionLedgerName } from '../store/sessionLedger.ts'

export interface CompactionOptions {
  readonly catalog: Catalog
  readonly owner: Owner
  readonly collection: string
  readonly producer: string
  readonly limits: CompactionLimits
  readonly log: Log
  /** Ends it soon; what is not committed is dropped. */
  readonly signal: AbortSignal
  /** Resident bytes of the helper above which it is killed; 0 = no limit. */
  readonly memoryBytes: number
}

export class Compaction {
  private readonly options: CompactionOptions
  /** Segments that could not be merged; not tried again by this run. */
  private readonly spoilt = new Set<number>()

  constructor(options: CompactionOptions) {
    this.options = options
  }

  /**
   * Merges until nothing is worth it, or for about CALL_BYTES: `isDone` is false when there may be more. `replaced`
   * counts segments; it is 0 while another process compacts the collection.
   */
  async call(): Promise<{ replaced: number; isDone: boolean }> {
    const { catalog, collection, signal, log } = this.options
    let replaced = 0
    try {
      const hold = await catalog.hold(`compact-${collection}`)
      if (!hold) return { replaced, isDone: true }
      try {
        for (let bytes = 0; !signal.aborted; ) {
          if (bytes >= CALL_BYTES) return { replaced, isDone: false }
          const run = await this.choose()
          if (!run) break
          if (await this.replace(run)) replaced += run.length
          bytes += run.reduce((sum, { raw_bytes }) => sum + raw_bytes, 0)
        }
      } finally {
        await hold.release()
      }
    } catch (error) {
      log('warn', 'compaction gave up', { reason: asColdtrailError(error).message })
    }
    return { replaced, isDone: true }
  }

  // --- internal ---

  private async choose(): Promise<SegmentRow[] | undefined> {
    const { catalog, collection, limits } = this.options
    const live = await catalog.segments({ collection, state: 'live' })
    // A workbench's copies are of these files, and would be of nothing any more.
    const copied = await catalog.segmentsInWorkbenches()
    const isHere = ({ files }: SegmentRow): boolean =>
      files.every(
        ({ kind, tier, deleted, directory, name }) =>
          kind === 'log' || (tier === 'hot' && !deleted && existsSync(join(directory, name))),
      )
    const history = catalog.manifestDirectory(collection)
    const holds = await catalog.holds(collection)
    return chooseRun(live, limits, {
      classOf: (segment) => holdsOver(holds, heldTimes(segment)).join(),
      mayTake: (segment) => !this.spoilt.has(segment.segment) && !copied.has(segment.segment) && isHere(segment),
      sessionsOf: ({ segment }) => readSessionLedger(join(history, sessionLedgerName(segment))).length,
    })
  }

  /** False when it could not be done. */
  private async replace(run: readonly SegmentRow[]): Promise<boolean> {
    const { catalog, owner, collection, producer, log, signal } = this.options
    const numbers = run.map(({ segment }) => segment)
    try {
      const segment = await catalog.draw(owner, 'segment', 1)
      const { format, day } = run[0]!
      const directory = catalog.collectionDirectory(collection)
      const sealed = await this.merge({ inputs: run, collection, directory, segment, format, day, producer })
      const { historyError } = await catalog.commitReplace(owner, sealed, numbers)
      if (historyError) log('warn', 'the history will be written by the next run', { reason: historyError.message })
      log('debug', 'segments compacted', { segment, replaced: numbers, events: sealed.rows })
      return true
    } catch (error) {
      for (const number of numbers) this.spoilt.add(number)
      const reason = asColdtrailError(error).message
      if (!signal.aborted) log('warn', 'segments could not be compacted', { segments: numbers, reason })
      return false
    }
  }

  /** In a process of its own, which ends with the task. */
  private async merge(task: MergeTask): Promise<SealedSegment> {
    const { signal, memoryBytes } = this.options
    const { promise, resolve, reject } = Promise.withResolvers<SealedSegment>()
    const tasks = [task]
    const file = import.meta.url.endsWith('.ts') ? './compactWorker.ts' : './compactWorker.js'
    const helper = new Foreman<MergeTask>(
      { module: new URL(file, import.meta.url), init: null, workers: 1, memoryBytes, timeoutMilliseconds: TIMEOUT },
      {
        next: () => tasks.pop(),
        done: (_worker, _task, sealed) => resolve(sealed as SealedSegment),
        failed: (_worker, _task, error) => reject(error),
        died: ({ reason }) => reject(new ColdtrailError('E_WORKER_START', { reason })),
        hopeless: reject,
      },
    )
    const interrupt = (): void => reject(new ColdtrailError('E_INTERRUPTED', { signal: 'the end of the run' }))
    signal.addEventListener('abort', interrupt)
    if (signal.aborted) interrupt()
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', interrupt)
      await helper.stop()
    }
  }
}

// --- internal ---

/** Decoded bytes of the segments that one call replaces, about. */
const CALL_BYTES = 512 * 2 ** 20
const TIMEOUT = 15 * 60_000
