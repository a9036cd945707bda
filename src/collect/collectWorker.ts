/** The worker process of `collect`: fetches several objects at a time while it parses one. */
import type { SourceContext } from '../components/component.ts'
import type { Source, SourceStatistics } from '../components/source.ts'
import { EXIT } from '../core/errors.ts'
import { packError, unpackError } from '../engine/messages.ts'
import { type Link, type Service, serve } from '../engine/worker.ts'
import { ObjectIntake } from './objectIntake.ts'
import { BrokenSegment, OpenSegments } from './openSegments.ts'
import { openSource, type SourceDeclaration } from './openSource.ts'
import {
  type CollectTask,
  emptyCounts,
  type Item,
  type Note,
  type SourceCounts,
  type TaskResult,
  type WorkerInit,
} from './tasks.ts'

/** Bytes of objects in one worker's hands, fetched or being fetched; a single larger one is let in alone. */
const FETCH_BYTES = 96 * 2 ** 20

type Warn = SourceContext['warn']

class CollectWorker implements Service<CollectTask> {
  private readonly declarations: readonly SourceDeclaration[]
  private readonly warn: Warn
  /** Opened when their first object comes. */
  private readonly sources = new Map<number, Promise<Source>>()
  private readonly opened: Source[] = []
  private readonly segments: OpenSegments
  private readonly intake: ObjectIntake
  private readonly gate: Gate
  private readonly interruption = new AbortController()

  constructor(init: WorkerInit, link: Link) {
    this.declarations = init.sources
    this.warn = (warning, values) => link.report({ warning, values })
    this.segments = new OpenSegments(init.place, init.segmentLimits, (question) => link.ask(question))
    this.gate = new Gate(init.downloads, FETCH_BYTES)
    let reported = Date.now()
    this.intake = new ObjectIntake({
      segments: this.segments,
      limits: init.decodeLimits,
      scratch: init.place.scratch,
      formatters: init.formatters,
      observe: init.place.keyset !== null,
      isSame: async ({ number }, sha256) => (await link.ask({ kind: 'same', number, sha256 })) === true,
      alive() {
        if (Date.now() - reported < 1000) return
        reported = Date.now()
        link.report('alive')
      },
    })
    if (init.segmentLimits.idleSeconds > 0) setInterval(() => this.segments.sealIdle(), 1000).unref()
  }

  async run(task: CollectTask): Promise<TaskResult> {
    const result = { outcomes: [], again: [], counts: emptyCounts() }
    if (task.kind === 'seal') await this.segments.sealAll()
    else {
      this.segments.mayNotSeal = task.isTest
      await Promise.all(task.items.map((item) => this.collect(item, result)))
    }
    return { ...result, requests: sum(this.opened), pid: process.pid }
  }

  note(note: unknown): void {
    if ((note as Note) === 'interrupt') this.interruption.abort()
  }

  stop(): void {
    this.segments.discard()
  }

  // --- internal ---

  private source(index: number): Promise<Source> {
    let source = this.sources.get(index)
    if (!source) {
      source = openSource(this.declarations[index]!, this.warn)
      this.sources.set(index, source)
      source.then(
        (opened) => this.opened.push(opened),
        // Every object that wants it fails with the reason; the next one tries again.
        () => this.sources.delete(index),
      )
    }
    return source
  }

  private async collect(item: Item, { outcomes, again, counts }: Omit<TaskResult, 'requests' | 'pid'>): Promise<void> {
    const { number, object } = item
    const { signal } = this.interruption
    const leave = await this.gate.enter(object.size)
    try {
      if (signal.aborted) outcomes.push({ number, state: 'left' })
      else {
        const source = await this.source(item.source)
        const passed = await this.intake.take(item, source, counts, signal)
        if (passed === 'same') outcomes.push({ number, state: 'same' })
        else if (passed) outcomes.push({ number, state: 'skipped', reason: passed.skipped })
      }
    } catch (error) {
      if (error instanceof BrokenSegment) {
        again.push(...error.lost.filter((lost) => lost !== number))
        const values = { format: error.format, cause: error.message }
        outcomes.push({ number, state: 'failed', code: 'E_OBJECT_PARSE', values })
        return
      }
      const { code, values } = packError(error)
      if (signal.aborted) outcomes.push({ number, state: 'left' })
      else if (isFaultOfStore(unpackError({ code, values }).exit)) throw error
      else outcomes.push({ number, state: 'failed', code, values })
    } finally {
      leave()
    }
  }
}

/** No other object would fare better: the run ends. */
function isFaultOfStore(exit: number): boolean {
  return exit === EXIT.store || exit === EXIT.conflict
}

function sum(sources: readonly { readonly statistics: SourceStatistics }[]): SourceCounts {
  const requests = new Map<string, number>()
  const errors = new Map<string, number>()
  let retries = 0
  let throttles = 0
  for (const { statistics } of sources) {
    for (const [name, count] of statistics.requests) requests.set(name, (requests.get(name) ?? 0) + count)
    for (const [name, count] of statistics.errors) errors.set(name, (errors.get(name) ?? 0) + count)
    retries += statistics.retries
    throttles += statistics.throttles
  }
  return { requests, errors, retries, throttles }
}

/** Lets in so many at a time and so many bytes, in order of arrival. */
class Gate {
  private readonly places: number
  private readonly bytes: number
  private readonly queue: { readonly size: number; readonly enter: () => void }[] = []
  private inside = 0
  private bytesInside = 0

  constructor(places: number, bytes: number) {
    this.places = places
    this.bytes = bytes
  }

  /** Resolves with the way out. */
  async enter(size: number): Promise<() => void> {
    if (this.queue.length > 0 || !this.hasRoom(size))
      await new Promise<void>((enter) => this.queue.push({ size, enter }))
    else this.take(size)
    return () => {
      this.inside -= 1
      this.bytesInside -= size
      while (this.queue.length > 0 && this.hasRoom(this.queue[0]!.size)) {
        const next = this.queue.shift()!
        this.take(next.size)
        next.enter()
      }
    }
  }

  private hasRoom(size: number): boolean {
    return this.inside === 0 || (this.inside < this.places && this.bytesInside + size <= this.bytes)
  }

  private take(size: number): void {
    this.inside += 1
    this.bytesInside += size
  }
}

serve<WorkerInit, CollectTask>((init, link) => new CollectWorker(init, link))
