/**
 * The open segments of one worker: one for each format and day, few at a time, sealed when full, idle or crowded out.
 * Objects enter only whole: `write` runs its work synchronously, so no other object can come in between.
 */
import type { Format } from '../components/component.ts'
import { ColdtrailError } from '../core/errors.ts'
import type { ImportedResults } from '../store/importedResults.ts'
import type { RunOutcome } from '../store/runs.ts'
import type { SealedSegment } from '../store/segment.ts'
import { SegmentWriter } from '../store/segmentWriter.ts'
import type { Question, SegmentLimits, SegmentNumbers, SegmentPlace } from './tasks.ts'

type Ask = (question: Question) => Promise<unknown>

export class OpenSegments {
  private readonly place: SegmentPlace
  private readonly limits: SegmentLimits
  private readonly ask: Ask
  /** By format and day; in order of last use. */
  private readonly open = new Map<string, OpenSegment>()
  /** Segments that hold one large object each. */
  private readonly large = new Set<OpenSegment>()
  private readonly commits = new Set<Promise<unknown>>()
  /** Numbers asked for in advance, so that opening a segment rarely waits. */
  private reserve: Promise<SegmentNumbers> | undefined
  private readonly unused: SegmentNumbers[] = []
  /** What kept a sealed segment from its commit. */
  private fault: unknown
  /** Set while a suspect is tried. */
  mayNotSeal = false

  constructor(place: SegmentPlace, limits: SegmentLimits, ask: Ask) {
    this.place = place
    this.limits = limits
    this.ask = ask
  }

  /**
   * Adds one object to the open segment of its format and day. When `work` throws something else than a fault of the
   * store, that segment is dropped whole: BrokenSegment names the objects that were in it.
   */
  async write(format: Format, day: string, object: number, work: (writer: SegmentWriter) => void): Promise<void> {
    this.throwFault()
    const key = `${format.name} ${day}`
    if (!this.open.has(key)) {
      const numbers = await this.numbers()
      if (this.open.has(key)) this.unused.push(numbers)
      else this.open.set(key, this.create(format, day, numbers))
    }
    const segment = this.open.get(key)!
    this.open.delete(key)
    this.attempt(segment, () => work(segment.writer))
    this.open.set(key, segment)
    segment.objects.push(object)
    segment.used = Date.now()
    if (!this.mayNotSeal) this.sealFull(key, segment)
    this.trim()
  }

  /** A segment of its own for one large object. `commit` or `drop` it. */
  async openLarge(format: Format, day: string, object: number): Promise<LargeSegment> {
    this.throwFault()
    const numbers = (await this.ask({ kind: 'numbers', large: true })) as SegmentNumbers
    const segment = this.create(format, day, numbers)
    segment.objects.push(object)
    this.large.add(segment)
    return {
      writer: segment.writer,
      attempt: (work) => {
        this.attempt(segment, work)
        this.trim()
      },
      commit: () => {
        this.large.delete(segment)
        this.sealSegment(segment)
      },
      drop: () => {
        if (this.large.delete(segment)) segment.writer.discard()
      },
    }
  }

  sealIdle(): void {
    this.throwFault()
    const limit = Date.now() - this.limits.idleSeconds * 1000
    for (const [key, { used }] of [...this.open]) if (used <= limit) this.seal(key)
  }

  /** Seals everything; resolves when all of it is committed. */
  async sealAll(): Promise<void> {
    for (const key of [...this.open.keys()]) this.seal(key)
    await Promise.all(this.commits)
  }

  /** Removes what is not sealed. */
  discard(): void {
    for (const { writer } of [...this.open.values(), ...this.large]) writer.discard()
    this.open.clear()
    this.large.clear()
  }

  // --- internal ---

  private numbers(): Promise<SegmentNumbers> | SegmentNumbers {
    const unused = this.unused.pop()
    if (unused) return unused
    const fetch = (): Promise<SegmentNumbers> => this.ask({ kind: 'numbers', large: false }) as Promise<SegmentNumbers>
    const numbers = this.reserve ?? fetch()
    this.reserve = fetch()
    // Whoever takes the reserve sees its failure.
    this.reserve.catch(() => undefined)
    return numbers
  }

  private create(format: Format, day: string, numbers: SegmentNumbers): OpenSegment {
    const writer = new SegmentWriter({
      ...this.place,
      ...numbers,
      format: format.name,
      formatVersion: format.version,
      day,
    })
    return { writer, objects: [], used: Date.now() }
  }

  private attempt(segment: OpenSegment, work: () => void): void {
    try {
      work()
    } catch (error) {
      segment.writer.discard()
      this.large.delete(segment)
      throw error instanceof ColdtrailError ? error : new BrokenSegment(error, segment)
    }
  }

  private sealFull(key: string, { writer }: OpenSegment): void {
    const { maxRows, maxBytes, maxSessions, maxOpen } = this.limits
    if (writer.rows >= maxRows || writer.rawBytes >= maxBytes || writer.sessions >= maxSessions) this.seal(key)
    else if (this.open.size > maxOpen) this.seal(this.open.keys().next().value!)
  }

  private seal(key: string): void {
    const segment = this.open.get(key)!
    this.open.delete(key)
    this.sealSegment(segment)
  }

  private sealSegment({ writer, objects }: OpenSegment): void {
    let commit: Promise<unknown>
    try {
      const segment = writer.seal()
      const { imported } = writer
      commit = imported ? this.commitWith(imported, segment, objects) : this.ask({ kind: 'commit', segment, objects })
    } catch (error) {
      writer.discard()
      throw error
    }
    this.commits.add(commit)
    const settled = (): void => void this.commits.delete(commit)
    // A refused commit fails the run in the foreman; here it only must not stay unobserved.
    commit.then(settled, () => undefined)
  }

  /** A segment whose objects brought labels and reports: those are a run of their own, of the same commit. */
  private async commitWith(
    imported: ImportedResults,
    segment: SealedSegment,
    objects: readonly number[],
  ): Promise<unknown> {
    const { directory, producer } = this.place
    let outcome: RunOutcome
    try {
      const run = (await this.ask({ kind: 'run', request: imported.request(segment, producer) })) as number
      const tagFile = imported.writeTags({ segment: { ...segment, directory }, run, producer })
      const report = imported.report(run, segment, producer)
      const { state, events, tags, findings } = report
      const counters = { ...events, tags, findings }
      outcome = { run, state, tagFiles: tagFile ? [tagFile] : [], findings: null, report, counters }
    } catch (error) {
      // Nobody waits for this commit by itself: whoever comes next is told.
      this.fault ??= error
      throw error
    }
    return this.ask({ kind: 'commit', segment, objects, imported: outcome })
  }

  private throwFault(): void {
    if (this.fault !== undefined) throw this.fault
  }

  /** Keeps the buffers of all open segments within their budget. */
  private trim(): void {
    let sum = 0
    let largest: SegmentWriter | undefined
    for (const segments of [this.open.values(), this.large.values()])
      for (const { writer } of segments) {
        sum += writer.bufferedBytes
        if (writer.bufferedBytes > (largest?.bufferedBytes ?? 0)) largest = writer
      }
    if (sum > this.limits.bufferBytes) largest?.flush()
  }
}

/** A format threw while it read an object. `lost`: the sound objects of the segment that had to be dropped. */
export class BrokenSegment extends Error {
  readonly format: string
  readonly lost: readonly number[]
  constructor(cause: unknown, { writer, objects }: OpenSegment) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.format = writer.options.format
    this.lost = objects
  }
}

export interface LargeSegment {
  readonly writer: SegmentWriter
  /** Runs work on the writer; when that throws, the segment is gone. */
  attempt(work: () => void): void
  commit(): void
  drop(): void
}

interface OpenSegment {
  readonly writer: SegmentWriter
  /** Numbers of its objects, in session order. */
  readonly objects: number[]
  used: number
}
