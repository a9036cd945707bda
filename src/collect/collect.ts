/**
 * The collect job: `list -> claim -> fetch -> decode -> frame -> parse -> segment -> commit`. This process lists, claims
 * and commits; worker processes do the rest, and own the segments they have open. Nothing exists before its commit:
 * what a worker that dies has not committed is done again by another.
 */
import { availableParallelism } from 'node:os'
import type { Source } from '../components/source.ts'
import type { Formatters } from '../components/timeline/formatters.ts'
import { readFormatters } from '../components/timeline/readFormatters.ts'
import { asColdtrailError, ColdtrailError, type ErrorCode } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { SourceObject } from '../core/sourceObject.ts'
import { type Death, Foreman } from '../engine/foreman.ts'
import { unpackError } from '../engine/messages.ts'
import { writeDurably } from '../platform/files.ts'
import type { Catalog, Owner } from '../store/catalog.ts'
import type { KeysetKey } from '../store/keysetKeys.ts'
import { EVENT_IDS_PER_SEGMENT, SESSION_IDS_PER_SEGMENT } from '../store/segment.ts'
import { Compaction } from './compaction.ts'
import type { DecodeLimits } from './decode.ts'
import { BATCH_BYTES, BATCH_OBJECTS, Dispatch } from './dispatch.ts'
import { metricsText } from './metricsText.ts'
import { openSource, type SourceDeclaration } from './openSource.ts'
import { type CollectProgress, type CollectSummary, increment, Tally } from './summary.ts'
import {
  addCounts,
  type CollectTask,
  emptyCounts,
  type Item,
  NO_INPUT,
  type Outcome,
  type Question,
  type SegmentNumbers,
  type TaskCounts,
  type TaskResult,
  type WorkerInit,
} from './tasks.ts'

export interface CollectOptions {
  readonly catalog: Catalog
  readonly sources: readonly SourceDeclaration[]
  readonly collection: string
  /** Microseconds UTC, inclusive. */
  readonly range?: { readonly from?: number; readonly to?: number; readonly lookbackDays?: number }
  /** Microseconds UTC: objects last modified then or before are passed over. */
  readonly lastProcessedTime?: number
  /** Objects fetched at a time. */
  readonly maxWorkers?: number
  /** Worker processes; default: one a core. */
  readonly processes?: number
  readonly dryRun?: boolean
  /** List again after so many seconds, until `signal`. */
  readonly follow?: { readonly pollSeconds: number }
  readonly retryQuarantined?: boolean
  /** Merge small segments at the end, and between two listings of `follow`. */
  readonly compact?: boolean
  readonly keepLog?: boolean
  /** Folder for scratch files, made when one is needed; default: the system's. */
  readonly scratch?: string
  /** Folder of formatters of the user's own plaso: messages of timelines. */
  readonly formattersDirectory?: string
  readonly keyset?: KeysetKey | null
  readonly producer: string
  readonly decodeLimits?: Partial<DecodeLimits>
  readonly segmentLimits?: {
    readonly maxRows?: number
    readonly maxBytes?: number
    readonly maxOpen?: number
    readonly idleSeconds?: number
  }
  /** Resident bytes of a worker above which it is killed; 0 = no limit. */
  readonly workerMemoryBytes?: number
  readonly workerTimeoutMilliseconds?: number
  /** Ends the run soon and cleanly: what is open is sealed and committed. */
  readonly signal?: AbortSignal
  readonly log?: Log
  /** Prometheus text, written every few seconds and at the end. */
  readonly metricsFile?: string
  /** Called twice a second. */
  readonly onProgress?: (progress: CollectProgress) => void
}

/**
 * Collects what is new. A fault of the whole run (a listing that fails, refused credentials, a full disk) is
 * `summary.error`; what was committed before it stays and is counted.
 */
export async function collect(options: CollectOptions): Promise<CollectSummary> {
  const { catalog } = options
  await catalog.repairDerived()
  const owner = await catalog.owner('collect')
  await forgetDeadImports(catalog, owner)
  let summary: CollectSummary
  try {
    summary = await new CollectRun(options, owner).run()
  } catch (error) {
    await tidyUp(catalog, owner)
    throw error
  }
  const error = await tidyUp(catalog, owner)
  return error && !summary.error ? { ...summary, error } : summary
}

/** Decoded size and ratio above which an object is quarantined. */
export const DECODE_LIMITS: DecodeLimits = { maxBytes: 16 * 2 ** 30, maxRatio: 200 }

// --- internal ---

/** Runs of timelines whose collector died before their commit: nothing of them exists, and their objects are collected again. */
async function forgetDeadImports(catalog: Catalog, owner: Owner): Promise<void> {
  for (const { run, kind, sequence, isLiving } of await catalog.runs())
    if (kind === 'imported' && sequence === null && isLiving === false)
      await catalog.removeRun(owner, run).catch(() => undefined)
}

/** Answers its first fault: what the run came to must still be said. What is not done here the next run does. */
async function tidyUp(catalog: Catalog, owner: Owner): Promise<ColdtrailError | undefined> {
  try {
    await owner.release()
    // What workers left unfinished bears numbers of an owner that is gone now.
    await catalog.sweep()
    await catalog.closeLedgerDays()
    return undefined
  } catch (error) {
    return asColdtrailError(error)
  }
}

/** Faults of the source as a whole: no other object of it would fare better. */
const SOURCE_FAULTS: ReadonlySet<string> = new Set<ErrorCode>([
  'E_S3_CREDENTIALS',
  'E_S3_ACCESS_DENIED',
  'E_S3_REQUESTER_PAYS',
  'E_S3_NO_BUCKET',
  'E_S3_BAD_KEY_ID',
  'E_S3_SIGNATURE',
  'E_S3_EXPIRED_TOKEN',
  'E_S3_CLOCK_SKEW',
  'E_S3_REGION',
])
/** Deleted since it was listed: nothing to come back for. */
const GONE: ReadonlySet<string> = new Set<ErrorCode>(['E_S3_NO_KEY', 'E_FILE_GONE'])
/** Trying again would give the same. */
const QUARANTINE: ReadonlySet<string> = new Set<ErrorCode>([
  'E_OBJECT_CORRUPT',
  'E_OBJECT_TOO_LARGE',
  'E_OBJECT_RATIO',
  'E_OBJECT_CODEC',
  'E_OBJECT_SQLITE',
  'E_OBJECT_PARSE',
  'E_WORKER_DIED',
])

const CLAIM_OBJECTS = 1000
/** Claimed objects waiting above which listing pauses. */
const MAX_WAITING = 20_000
const MAX_SESSIONS = 100_000
const PROGRESS_MILLISECONDS = 500
const METRICS_MILLISECONDS = 10_000
const CLOSE_DAYS_MILLISECONDS = 3_600_000
/** Numbers are drawn for so many segments at once. */
const NUMBERS_AT_ONCE = 8
/** Event ids of a segment that holds one large object: 16 GiB of two-byte records. */
const LARGE_EVENT_IDS = 2 ** 33
/** Deaths in a row without a commit or a culprit: it is not the objects. */
const MAX_VAIN_DEATHS = 6
const BUFFER_BYTES = 256 * 2 ** 20
/**
 * A worker's heap is small, and what it throws away are mostly buffers outside: to mark the heap at one go takes 20 ms. In
 * steps it costs more, beside the work and in other threads, and the buffers of that time wait for its end.
 */
const WORKER_FLAGS = ['--no-incremental-marking']

/** What a worker has in its hands. */
interface Holding {
  /** Sent to it and neither committed nor settled. */
  readonly items: Map<number, Item>
  /** Objects and bytes of unfinished tasks. */
  objects: number
  bytes: number
  tasks: number
  /** One suspect alone. */
  isTesting: boolean
  /** Parsed by it, not yet committed. */
  counts: TaskCounts
}

class CollectRun {
  private readonly options: CollectOptions
  private readonly catalog: Catalog
  private readonly owner: Owner
  private readonly log: Log
  private readonly tally = new Tally()
  private readonly waiting = new Dispatch()
  /** Objects in whose presence a worker died: each is tried once more, alone. */
  private suspects: Item[] = []
  private readonly holdings: Holding[]
  private readonly formatters: Formatters | undefined
  private readonly processes: number
  private readonly downloads: number
  private readonly sources: (Source | undefined)[]
  /** Keys in our hands: another version of such a key waits for the next listing. */
  private readonly keys = new Set<string>()
  private readonly numbers: SegmentNumbers[] = []
  private drawing: Promise<unknown> = Promise.resolve()
  private readonly halt = new AbortController()
  private foreman: Foreman<CollectTask> | undefined
  private listing = true
  private nextNumber = 0
  /** Listed objects whose claim was asked for, or that needed none. */
  private considered = 0
  /** Answers of the catalog that are still awaited. */
  private underWay = 0
  private vainDeaths = 0
  private readonly compaction: Compaction | undefined
  /** Segments committed when compaction last came to its end. */
  private compactedAt = -1
  /** What goes on between listings. */
  private tending: Promise<void> = Promise.resolve()
  private isTending = false
  /** When old days of the ledger were last closed while following. */
  private daysClosed = Date.now()
  private error: ColdtrailError | undefined
  /** Nothing more is begun, and what is open is dropped. */
  private hasFailed = false
  private changed: () => void = () => undefined

  constructor(options: CollectOptions, owner: Owner) {
    this.options = options
    this.catalog = options.catalog
    this.owner = owner
    this.log = options.log ?? (() => undefined)
    const { formattersDirectory } = options
    this.formatters = formattersDirectory === undefined ? undefined : readFormatters(formattersDirectory)
    this.processes = options.processes ?? availableParallelism()
    this.downloads = Math.max(1, Math.ceil((options.maxWorkers ?? 16) / this.processes))
    this.holdings = Array.from({ length: this.processes }, newHolding)
    this.sources = options.sources.map(() => undefined)
    if (options.compact && !options.dryRun)
      this.compaction = new Compaction({
        ...{ catalog: options.catalog, owner, collection: options.collection, producer: options.producer },
        limits: { ...this.sealLimits(), maxSessions: MAX_SESSIONS },
        log: this.log,
        signal: this.halt.signal,
        memoryBytes: this.workerMemoryBytes,
      })
  }

  async run(): Promise<CollectSummary> {
    const { dryRun = false, follow, signal, onProgress, metricsFile } = this.options
    const interrupt = (): void => this.interrupt()
    signal?.addEventListener('abort', interrupt)
    if (signal?.aborted) interrupt()
    const metrics = (): void => {
      if (metricsFile !== undefined) this.writeMetrics(metricsFile)
    }
    const metricsTimer = setInterval(metrics, METRICS_MILLISECONDS)
    const timer = onProgress && setInterval(() => onProgress(this.tally.progress(this.listing)), PROGRESS_MILLISECONDS)
    try {
      do {
        await this.listAll()
      } while (follow && (await this.pause(follow.pollSeconds)))
      this.listing = false
      if (!dryRun) {
        this.startForeman(true)
        this.foreman?.wake()
        await this.until(() => this.isFinished())
      }
    } finally {
      clearInterval(timer)
      clearInterval(metricsTimer)
      signal?.removeEventListener('abort', interrupt)
      await this.foreman?.stop()
      await this.tending
      for (const source of this.sources) await source?.close()
    }
    await this.until(() => this.underWay === 0)
    await this.compact()
    onProgress?.(this.tally.progress(false))
    const unsettled = this.holdings.reduce((sum, { items }) => sum + items.size, 0)
    // A listing that was interrupted may have counted objects that it did not hand over any more.
    const unclaimed = this.tally.listing.objects - this.considered
    this.tally.left += unsettled + this.waiting.size + this.suspects.length + unclaimed
    metrics()
    return this.summary()
  }

  /** Figures that cannot be written are no reason to stop collecting. */
  private writeMetrics(path: string): void {
    try {
      writeDurably(path, metricsText(this.summary()))
    } catch (error) {
      this.log('warn', 'the metrics file cannot be written', { path, reason: asColdtrailError(error).message })
    }
  }

  private summary(): CollectSummary {
    const { dryRun = false, signal } = this.options
    return this.tally.summary({
      dry_run: dryRun,
      interrupted: signal?.aborted ?? false,
      ...(dryRun ? { get_requests: this.tally.claimed, get_bytes: this.tally.claimedBytes } : {}),
      ...(this.error ? { error: this.error } : {}),
    })
  }

  // --- listing and claiming ---

  private async listAll(): Promise<void> {
    const { listing } = this.tally
    const { range = {}, dryRun } = this.options
    for (const [index, declaration] of this.options.sources.entries()) {
      if (this.halt.signal.aborted) return
      try {
        const source = await this.source(index)
        const pages = source.list(range, listing, this.halt.signal)[Symbol.asyncIterator]()
        for (;;) {
          const started = performance.now()
          const page = await pages.next()
          this.tally.listMilliseconds += performance.now() - started
          if (page.done) break
          for (let at = 0; at < page.value.length; at += CLAIM_OBJECTS)
            await this.claim(index, page.value.slice(at, at + CLAIM_OBJECTS))
          await this.until(() => this.waiting.size < MAX_WAITING || this.halt.signal.aborted)
        }
      } catch (error) {
        if (!this.halt.signal.aborted) this.listingFailed(declaration.name, asColdtrailError(error))
      }
    }
    if (!dryRun) this.startForeman(true)
  }

  /** Opened once: what a source learnt of its layout serves the next listing too. */
  private async source(index: number): Promise<Source> {
    const known = this.sources[index]
    if (known) return known
    const source = await openSource(this.options.sources[index]!, (message, values) =>
      this.log('warn', message, values),
    )
    this.sources[index] = source
    this.tally.noteSource(`list ${index}`, source.statistics)
    return source
  }

  /** While following, a fault that may pass is waited out; otherwise what was listed is finished and the run has failed. */
  private listingFailed(source: string, error: ColdtrailError): void {
    this.log('error', 'listing failed', { source, code: error.code, message: error.message })
    if (this.options.follow && error.retry !== 'never') increment(this.tally.errors, error.code)
    else {
      this.error ??= error
      if (this.options.follow) this.fail(error)
    }
  }

  private async claim(source: number, listed: readonly SourceObject[]): Promise<void> {
    const { lastProcessedTime = Number.NEGATIVE_INFINITY, retryQuarantined = false } = this.options
    const later = listed.filter(({ lastModified }) => lastModified > lastProcessedTime)
    const objects = later.filter((object) => !this.keys.has(keyOf(object)))
    const claims = await this.track(() => this.catalog.claim(this.owner, objects, { retry: retryQuarantined }))
    this.considered += listed.length
    for (let n = later.length; n < listed.length; n++) increment(this.tally.skipped, 'processed before')
    this.tally.busy += later.length - objects.length
    for (const { object, verdict, replaces = false } of claims) {
      if (verdict === 'claimed') {
        this.tally.claimed += 1
        this.tally.claimedBytes += object.size
        if (this.options.dryRun) continue
        this.keys.add(keyOf(object))
        this.waiting.add({ number: this.nextNumber++, source, object, replaces })
      } else if (verdict === 'known') this.tally.known += 1
      else if (verdict === 'busy') this.tally.busy += 1
      else this.tally.quarantined += 1
    }
    if (this.options.dryRun) return
    if (this.halt.signal.aborted) this.abandon(this.waiting.drain())
    this.startForeman(false)
    this.foreman?.wake()
  }

  // --- workers ---

  /** Workers are started once there is work for more than one, or when all of it is known. */
  private startForeman(allKnown: boolean): void {
    const { waiting, options } = this
    const batches = Math.max(waiting.size / BATCH_OBJECTS, waiting.bytes / BATCH_BYTES)
    if (this.foreman || waiting.size === 0 || this.hasFailed || (!allKnown && batches < this.processes)) return
    const workers = options.follow ? this.processes : Math.min(this.processes, Math.ceil(batches))
    this.foreman = new Foreman<CollectTask>(
      {
        module: new URL(import.meta.url.endsWith('.ts') ? './collectWorker.ts' : './collectWorker.js', import.meta.url),
        init: this.workerInit(workers),
        workers,
        memoryBytes: this.workerMemoryBytes,
        timeoutMilliseconds: options.workerTimeoutMilliseconds ?? 15 * 60_000,
        flags: WORKER_FLAGS,
      },
      {
        next: (worker) => this.next(worker),
        done: (worker, task, result) => this.done(worker, task, result as TaskResult),
        failed: (_worker, _task, error) => this.fail(error),
        died: (death) => this.died(death),
        answer: (worker, question) => this.answer(worker, question as Question),
        report: (_worker, report) => this.report(report),
        hopeless: (error) => this.fail(error),
      },
    )
  }

  private workerInit(workers: number): WorkerInit {
    const { options, catalog } = this
    const { maxOpen = 32 } = options.segmentLimits ?? {}
    return {
      sources: options.sources,
      place: {
        directory: catalog.collectionDirectory(options.collection),
        scratch: options.scratch,
        collection: options.collection,
        keepLog: options.keepLog ?? true,
        keyset: options.keyset ?? null,
        producer: options.producer,
      },
      segmentLimits: {
        ...this.sealLimits(),
        maxSessions: MAX_SESSIONS,
        maxOpen: Math.max(1, Math.floor(maxOpen / workers)),
        bufferBytes: Math.max(48 * 2 ** 20, BUFFER_BYTES / workers),
        idleSeconds: options.follow ? (options.segmentLimits?.idleSeconds ?? 60) : 0,
      },
      decodeLimits: { ...DECODE_LIMITS, ...options.decodeLimits },
      downloads: this.downloads,
      formatters: this.formatters,
    }
  }

  private sealLimits(): { maxRows: number; maxBytes: number } {
    const { maxRows = 1_000_000, maxBytes = 512 * 2 ** 20 } = this.options.segmentLimits ?? {}
    return { maxRows, maxBytes }
  }

  private get workerMemoryBytes(): number {
    return this.options.workerMemoryBytes ?? 2 * 2 ** 30
  }

  private next(worker: number): CollectTask | undefined {
    const holding = this.holdings[worker]!
    if (this.hasFailed || holding.isTesting) return undefined
    if (this.suspects.length > 0) {
      if (holding.tasks > 0) return undefined
      holding.isTesting = true
      return this.give(holding, [this.suspects.shift()!])
    }
    const isBusy = holding.objects >= 2 * this.downloads || holding.bytes >= 4 * BATCH_BYTES
    if (holding.tasks >= 2 && isBusy) return undefined
    const items = this.waiting.take(worker)
    if (items.length > 0) {
      this.changed()
      return this.give(holding, items)
    }
    if (this.listing || holding.tasks > 0 || holding.items.size === 0) return undefined
    holding.tasks += 1
    return { kind: 'seal' }
  }

  private give(holding: Holding, items: readonly Item[]): CollectTask {
    for (const item of items) holding.items.set(item.number, item)
    holding.tasks += 1
    holding.objects += items.length
    holding.bytes += bytesOf(items)
    return { kind: 'objects', items, isTest: holding.isTesting }
  }

  private done(worker: number, task: CollectTask, { outcomes, again, counts, requests, pid }: TaskResult): void {
    const holding = this.holdings[worker]!
    holding.tasks -= 1
    if (task.kind === 'objects') {
      holding.objects -= task.items.length
      holding.bytes -= bytesOf(task.items)
      holding.isTesting = false
    }
    addCounts(holding.counts, { ...counts, fetchMilliseconds: 0, parseMilliseconds: 0, mislabelled: 0 })
    this.tally.add(counts)
    this.tally.noteSource(`worker ${pid}`, requests)
    for (const outcome of outcomes) this.settle(take(holding.items, outcome.number), outcome)
    for (const number of again) this.requeue(take(holding.items, number))
    this.changed()
    if (again.length > 0) this.foreman!.wake()
  }

  private died({ worker, tasks, reason }: Death<CollectTask>): void {
    const holding = this.holdings[worker]!
    const { items, counts, isTesting } = holding
    this.holdings[worker] = newHolding()
    this.tally.deaths += 1
    this.tally.add(counts, -1)
    this.log('warn', 'a worker died; what it had not committed is done again', { worker, reason, objects: items.size })
    this.waiting.forgetWorker(worker)
    if (this.hasFailed) {
      this.abandon([...items.values()])
      return
    }
    this.vainDeaths = isTesting ? 0 : this.vainDeaths + 1
    if (this.vainDeaths >= MAX_VAIN_DEATHS) this.fail(new ColdtrailError('E_WORKER_START', { reason }))
    const inProgress = tasks.flatMap((task) => (task.kind === 'objects' ? task.items : []))
    for (const item of inProgress) {
      // Committed meanwhile, or queued again already.
      if (!items.delete(item.number)) continue
      if (isTesting)
        this.settle(item, { number: item.number, state: 'failed', code: 'E_WORKER_DIED', values: { reason } })
      else if (this.halt.signal.aborted) this.abandon([item])
      else this.suspects.push(item)
    }
    for (const item of items.values()) this.requeue(item)
    this.changed()
    this.foreman?.wake()
  }

  private requeue(item: Item): void {
    if (this.halt.signal.aborted) this.abandon([item])
    else this.waiting.add(item)
  }

  private report(report: unknown): void {
    if (typeof report !== 'object' || report === null || !('warning' in report)) return
    const { warning, values } = report as { warning: string; values?: Record<string, unknown> }
    this.log('warn', warning, values)
  }

  private answer(worker: number, question: Question): Promise<unknown> {
    switch (question.kind) {
      case 'numbers':
        return this.track(() => this.draw(question.large))
      case 'same': {
        const { object } = this.holdings[worker]!.items.get(question.number)!
        return this.track(() => this.catalog.sameContent(this.owner, object, question.sha256))
      }
      case 'run':
        return this.track(() => this.catalog.beginRun(this.owner, question.request))
      case 'commit':
        return this.track(() => this.commit(this.holdings[worker]!, question))
    }
  }

  // --- the catalog ---

  /** One drawing at a time: the first fills the reserve for those behind it. */
  private draw(large: boolean): Promise<SegmentNumbers> {
    const drawn = this.drawing.then(async (): Promise<SegmentNumbers> => {
      const { catalog, owner, numbers } = this
      if (numbers.length === 0) {
        const segment = await catalog.draw(owner, 'segment', NUMBERS_AT_ONCE)
        const firstEventId = await catalog.draw(owner, 'event', NUMBERS_AT_ONCE * EVENT_IDS_PER_SEGMENT)
        const firstSessionId = await catalog.draw(owner, 'session', NUMBERS_AT_ONCE * SESSION_IDS_PER_SEGMENT)
        for (let i = NUMBERS_AT_ONCE - 1; i >= 0; i--)
          numbers.push({
            segment: segment + i,
            firstEventId: firstEventId + i * EVENT_IDS_PER_SEGMENT,
            firstSessionId: firstSessionId + i * SESSION_IDS_PER_SEGMENT,
          })
      }
      const next = numbers.pop()!
      return large ? { ...next, firstEventId: await catalog.draw(owner, 'event', LARGE_EVENT_IDS) } : next
    })
    this.drawing = drawn.catch(() => undefined)
    return drawn
  }

  /** From here on the objects are ours, whatever becomes of the worker: its files are durable. */
  private async commit(
    holding: Holding,
    { segment, objects: numbers, imported }: Extract<Question, { kind: 'commit' }>,
  ): Promise<void> {
    const items = numbers.map((number) => take(holding.items, number))
    const objects = items.map(({ object }) => object)
    const { historyError } = await this.catalog
      .commitSeal(this.owner, segment, objects, imported)
      .catch((error: unknown) => {
        this.abandon(items)
        throw error
      })
    if (imported)
      this.log('info', 'what came with a timeline is a run', { run: imported.run, tags: imported.counters.tags })
    if (historyError) this.log('warn', 'the history will be written by the next run', { reason: historyError.message })
    const { tally } = this
    const sizes = segment.sessions.reduce((sum, { size }) => sum + size, 0)
    const { rows, rejects, raw_bytes } = segment
    const committed = { objects: items.length, received: sizes, decoded: raw_bytes, events: rows, rejects }
    addCounts(holding.counts, { ...emptyCounts(), ...committed }, -1)
    this.vainDeaths = 0
    tally.segments += 1
    tally.objects += items.length
    tally.settled += items.length
    tally.events += rows
    tally.rejects += rejects
    tally.bytes += sizes
    tally.decodedBytes += raw_bytes
    tally.replaced += items.filter(({ replaces }) => replaces).length
    for (const { object } of items) this.keys.delete(keyOf(object))
    this.log('debug', 'segment committed', { segment: segment.segment, events: rows, objects: items.length })
  }

  private settle(item: Item, outcome: Outcome): void {
    const { tally, catalog, owner } = this
    const { object } = item
    tally.settled += 1
    this.keys.delete(keyOf(object))
    switch (outcome.state) {
      case 'same':
        tally.known += 1
        return
      case 'left':
        tally.settled -= 1
        this.abandon([item])
        return
      case 'skipped':
        increment(tally.skipped, outcome.reason)
        this.inBackground(() =>
          outcome.reason === NO_INPUT
            ? catalog.giveBack(owner, object, { state: 'free' })
            : catalog.markSkipped(owner, object, outcome.reason),
        )
        return
      case 'failed': {
        const error = unpackError(outcome)
        const { code, message: reason } = error
        if (GONE.has(code)) {
          increment(tally.skipped, 'gone')
          this.inBackground(() => catalog.markSkipped(owner, object, 'gone'))
          return
        }
        this.log('warn', 'object not collected', { key: object.key, code, reason })
        tally.failed += 1
        increment(tally.errors, code)
        const { collection } = this.options
        const state = QUARANTINE.has(code) ? 'quarantined' : 'pending'
        this.inBackground(() => catalog.giveBack(owner, object, { state, code, reason, collection }))
        if (SOURCE_FAULTS.has(code)) this.fail(error)
      }
    }
  }

  /** Claims that the end of the owner frees. */
  private abandon(items: readonly Item[]): void {
    this.tally.left += items.length
    for (const { object } of items) this.keys.delete(keyOf(object))
  }

  // --- the end ---

  /** A fault of the whole run. */
  private fail(error: ColdtrailError): void {
    this.error ??= error
    this.hasFailed = true
    this.halt.abort()
    this.changed()
  }

  private interrupt(): void {
    this.halt.abort()
    this.abandon(this.waiting.drain())
    this.abandon(this.suspects)
    this.suspects = []
    this.foreman?.note('interrupt')
    this.changed()
  }

  private isFinished(): boolean {
    if (this.hasFailed) return true
    const isIdle = this.holdings.every(({ items, tasks }) => items.size === 0 && tasks === 0)
    return isIdle && this.waiting.size === 0 && this.suspects.length === 0 && this.underWay === 0
  }

  /** Something that the catalog does; a failure of it is a failure of the run. */
  private async track<T>(work: () => Promise<T>): Promise<T> {
    this.underWay += 1
    try {
      return await work()
    } catch (error) {
      this.fail(asColdtrailError(error))
      throw error
    } finally {
      this.underWay -= 1
      this.changed()
    }
  }

  private inBackground(work: () => Promise<void>): void {
    // `track` has made its failure that of the run.
    this.track(work).catch(() => undefined)
  }

  private async until(isMet: () => boolean): Promise<void> {
    while (!isMet())
      await new Promise<void>((resolve) => {
        this.changed = resolve
      })
  }

  // --- between listings, and at the end ---

  private async compact(): Promise<void> {
    const { tally, compaction } = this
    if (!compaction || this.halt.signal.aborted || tally.segments === this.compactedAt) return
    const { segments } = tally
    const { replaced, isDone } = await compaction.call()
    tally.compacted += replaced
    if (isDone) this.compactedAt = segments
  }

  /** What a run that ends does once: small segments are merged, files without use removed, old days of the ledger closed. */
  private async tend(): Promise<void> {
    this.isTending = true
    try {
      await this.compact()
      await this.catalog.sweep()
      if (Date.now() - this.daysClosed >= CLOSE_DAYS_MILLISECONDS) {
        this.daysClosed = Date.now()
        await this.catalog.closeLedgerDays()
      }
    } catch (error) {
      this.log('warn', 'tidying the store failed', { reason: asColdtrailError(error).message })
    } finally {
      this.isTending = false
    }
  }

  /** False when the run has been ended meanwhile. */
  private async pause(seconds: number): Promise<boolean> {
    const { signal } = this.halt
    if (signal.aborted) return false
    if (!this.isTending) this.tending = this.tend()
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, seconds * 1000)
      signal.addEventListener('abort', end)
    })
    return !signal.aborted
  }
}

function newHolding(): Holding {
  return { items: new Map(), objects: 0, bytes: 0, tasks: 0, isTesting: false, counts: emptyCounts() }
}

function take(items: Map<number, Item>, number: number): Item {
  const item = items.get(number)
  if (!item) throw new ColdtrailError('E_INTERNAL', { message: `object ${number} is not in this worker's hands` })
  items.delete(number)
  return item
}

function bytesOf(items: readonly Item[]): number {
  return items.reduce((sum, { object }) => sum + object.size, 0)
}

function keyOf({ source, key }: SourceObject): string {
  return `${source}\n${key}`
}
