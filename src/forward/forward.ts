/**
 * The forward job: `feed -> read -> encode -> pack -> send -> settle`. Every feed of a destination runs by itself, with
 * a position of its own; all of them pass one gate. Order of the steps and failure table: docs/design.md §10.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { type Destination, type Feed, streamOf } from '../components/destination.ts'
import { asColdtrailError, type ColdtrailError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import {
  addPassed,
  type Batch,
  NONE_PASSED,
  type Outbox,
  type Passed,
  type Position,
  type Settlement,
} from '../store/catalog/outbox.ts'
import type { Catalog } from '../store/catalog.ts'
import type { FeedQuestion, FeedSource } from '../store/feedReader.ts'
import type { Condition } from '../store/search.ts'
import { Delivery } from './delivery.ts'
import { Gate, type Pauses } from './gate.ts'
import { type PackedBatch, Packer } from './packer.ts'
import {
  addSettlement,
  emptyFeedSummary,
  type FeedSummary,
  type ForwardProgress,
  type ForwardSummary,
} from './summary.ts'

/** A feed with what it selects: its own expression and the user's. */
export interface SelectedFeed {
  readonly feed: Feed
  /** Canonical text; '' for all events. */
  readonly expression: string
  /** Of the expression, with relative times counted from `now`, microseconds. */
  readonly conditionAt?: (now: number) => Promise<Condition | undefined>
}

export interface ForwardOptions {
  readonly catalog: Catalog
  readonly source: FeedSource
  /** Its name in the configuration: what positions belong to. */
  readonly name: string
  readonly destination: Destination
  readonly feeds: readonly SelectedFeed[]
  readonly collection: string
  /** Microseconds: where feeds that are new begin; events before it are not taken. */
  readonly startTime?: number
  /** Go on after so many seconds, until `signal`. */
  readonly follow?: { readonly pollSeconds: number }
  /** Read, encode and pack, and send nothing. */
  readonly dryRun?: boolean
  readonly skipOffline?: boolean
  /** Milliseconds for which a receiver may fail before the run gives up; by default never with `follow`. */
  readonly patienceMs?: number
  readonly pauses?: Pauses
  readonly signal?: AbortSignal
  readonly log?: Log
  readonly onProgress?: (progress: ForwardProgress) => void
}

/**
 * Sends what is new to a destination. A fault that ends a feed is in its summary; the others go on. E_FORWARD_BUSY when
 * another process forwards to this destination.
 */
export async function forward(options: ForwardOptions): Promise<ForwardSummary> {
  const run = new ForwardRun(options)
  if (options.dryRun) return run.rehearse()
  const outbox = await options.catalog.openOutbox(options.name)
  try {
    return await run.run(outbox)
  } finally {
    await outbox.release()
  }
}

/** Sends dead letters again; those that are refused again stay, with their new reason. */
export async function retryDeadLetters(options: ForwardOptions): Promise<ForwardSummary> {
  const outbox = await options.catalog.openOutbox(options.name)
  try {
    return await new ForwardRun(options).retry(outbox)
  } finally {
    await outbox.release()
  }
}

// --- internal ---

/** What is read at once; relative times count from `begun`, microseconds, also when it is read again. */
interface Range {
  readonly from: Position
  readonly to?: Position
  readonly begun: number
}

const now = (): number => Date.now() * 1_000

const BEGINNING: Position = { sequence: 0, id: 0 }
const PATIENCE_MS = 10 * 60_000
/** What is under way at a signal may end within this time; what does not is sent again by the next run. */
const GRACE_MS = 5_000
/** Sizes for receivers that refuse what their documentation allows. */
const CAUTIOUS_DECODED_BYTES = 1_000_000
const TOO_LARGE_BEFORE_CAUTION = 3
const LETTERS_AT_ONCE = 5_000
const PROGRESS_MS = 500

class ForwardRun {
  private readonly options: ForwardOptions
  private readonly gate: Gate
  private readonly log: Log
  /** Ends what is under way, a little after the user's signal. */
  private readonly hard = new AbortController()
  private readonly began = performance.now()
  private readonly summaries: FeedSummary[]
  private total = 0

  constructor(options: ForwardOptions) {
    this.options = options
    this.log = options.log ?? (() => undefined)
    this.summaries = options.feeds.map((selected) => emptyFeedSummary(selected, options.collection))
    const most = Math.max(...options.feeds.map(({ feed }) => feed.limits.inFlight), 1)
    this.gate = new Gate(most, options.pauses)
  }

  async run(outbox: Outbox): Promise<ForwardSummary> {
    return this.watched((selected, summary) => this.runFeed(outbox, selected, summary))
  }

  async rehearse(): Promise<ForwardSummary> {
    const known = await this.options.catalog.feeds(this.options.name)
    return this.watched(async (selected, summary) => {
      const { feed, expression } = selected
      const state = known.find(
        (state) =>
          state.feed === feed.name && state.collection === summary.collection && state.expression === expression,
      )
      summary.new = state === undefined
      const startTime = state ? (state.startTime ?? undefined) : this.options.startTime
      const rest: Range = { from: state?.position ?? BEGINNING, begun: now() }
      for (const range of [...(state?.open ?? []), rest]) {
        const question = await this.question(selected, range, startTime)
        await this.countAhead(question, feed, summary)
        const packer = new Packer(feed.limits, timed(feed, summary))
        for await (const batch of this.batches(packer, question)) {
          const requests = batch.ids.length > 0 ? 1 : 0
          const { body, decodedBytes, passed } = batch
          const settlement = { accepted: batch.ids.length, rejected: batch.refused, requests, retried: 0, decodedBytes }
          addSettlement(summary, { ...settlement, wireBytes: body.length, requestId: null }, passed)
        }
        addNotes(summary, packer)
      }
      summary.resumed = state?.open.length ?? 0
    })
  }

  async retry(outbox: Outbox): Promise<ForwardSummary> {
    const { catalog, source } = this.options
    return this.watched(async ({ feed, expression }, summary) => {
      const state = await outbox.openFeed({ feed: feed.name, collection: summary.collection, expression })
      const letters = await catalog.deadLetters(state.feedId)
      this.total += letters.length
      const { signal } = this.options
      const question = { collection: summary.collection, stream: streamOf(feed.name), columns: feed.columns, signal }
      for (let at = 0; at < letters.length; at += LETTERS_AT_ONCE) {
        const some = letters.slice(at, at + LETTERS_AT_ONCE)
        const packer = new Packer(feed.limits, feed.encode)
        const ids = some.map(({ id }) => id).sort((a, b) => a - b)
        let found = 0
        const delivery = this.delivery(feed, packer)
        const send = async (): Promise<void> => {
          while (packer.closed.length > 0) {
            const batch = packer.closed.shift()!
            const settlement = await delivery.deliver(batch)
            const refused = new Set(settlement.rejected.map(({ id }) => id))
            const sent = batch.ids.filter((id) => !refused.has(id))
            await outbox.settleDeadLetters(state.feedId, { ...settlement, sent })
            addSettlement(summary, settlement)
          }
        }
        for await (const event of source.readEvents(question, ids)) {
          found += 1
          await packer.add(event, { sequence: 0, id: event.id })
          await send()
        }
        await packer.end()
        await send()
        summary.offline += some.length - found
        addNotes(summary, packer)
      }
    })
  }

  // --- internal ---

  private async runFeed(outbox: Outbox, selected: SelectedFeed, summary: FeedSummary): Promise<void> {
    const { feed, expression } = selected
    const { collection, startTime, follow, signal } = this.options
    const state = await outbox.openFeed({ feed: feed.name, collection, expression }, startTime)
    summary.new = state.isNew
    const lane = new Lane(outbox, state.feedId, feed.limits.inFlight, summary)
    const question = (range: Range) => this.question(selected, range, state.startTime ?? undefined)
    await this.countAhead(await question({ from: state.position, begun: now() }), feed, summary)
    for (const open of state.open) {
      this.log('info', 'sending a batch again that was under way', { feed: feed.name, batch: open.number })
      summary.resumed += 1
      await this.resend(lane, feed, await question(open), open.number, summary)
    }
    let { position } = state
    for (;;) {
      const begun = now()
      let end = position
      let passed = NONE_PASSED
      const packer = new Packer(feed.limits, feed.encode)
      const delivery = this.delivery(feed, packer)
      try {
        for await (const batch of this.batches(packer, await question({ from: position, begun }))) {
          end = batch.to
          passed = addPassed(passed, batch.passed)
          const records = batch.ids.length
          if (records + batch.refused.length === 0) continue
          await lane.send({ from: position, to: end, records, begun }, batch, passed, delivery)
          position = end
          passed = NONE_PASSED
        }
      } finally {
        await lane.settled()
        addNotes(summary, packer)
      }
      await lane.pass(end, passed)
      position = end
      summary.position = position
      if (!follow) return
      await wait(follow.pollSeconds * 1_000, undefined, { signal })
    }
  }

  /** Everything that a batch of an earlier run held, in as many requests as it takes now, under its one number. */
  private async resend(
    lane: Lane,
    feed: Feed,
    question: FeedQuestion,
    number: number,
    summary: FeedSummary,
  ): Promise<void> {
    const packer = new Packer(feed.limits, feed.encode)
    const delivery = this.delivery(feed, packer)
    const settlements: Settlement[] = []
    let passed = NONE_PASSED
    for await (const batch of this.batches(packer, question)) {
      settlements.push(await delivery.deliver(batch))
      passed = addPassed(passed, batch.passed)
    }
    await lane.settle(number, settlements, passed)
    addNotes(summary, packer)
  }

  private async *batches(packer: Packer, question: FeedQuestion): AsyncGenerator<PackedBatch> {
    const { source, signal } = this.options
    let fault: unknown
    try {
      for await (const { events, sequence, upTo, superseded, offline } of source.read(question)) {
        const id = events.length > 0 ? events[0]!.id - 1 : upTo.id
        if (superseded + offline > 0) packer.pass({ sequence, id }, { superseded, offline })
        for (const event of events) {
          const compressed = packer.add(event, { sequence, id: event.id })
          if (compressed === undefined) continue
          await compressed
          while (packer.closed.length > 0) yield packer.closed.shift()!
        }
        packer.pass(upTo)
      }
    } catch (error) {
      if (signal?.aborted) throw error
      // What was read before the fault is sent.
      fault = error
    }
    await packer.end()
    while (packer.closed.length > 0) yield packer.closed.shift()!
    if (fault !== undefined) throw fault
  }

  private delivery(feed: Feed, packer: Packer): Delivery {
    const { name, follow, patienceMs = follow ? Number.POSITIVE_INFINITY : PATIENCE_MS } = this.options
    let tooLarge = 0
    return new Delivery({
      destination: name,
      feed,
      gate: this.gate,
      signal: this.hard.signal,
      log: this.log,
      patienceMs,
      onTooLarge: () => {
        tooLarge += 1
        if (tooLarge === TOO_LARGE_BEFORE_CAUTION) {
          packer.packSmaller(CAUTIOUS_DECODED_BYTES)
          this.log('warn', 'batches are packed smaller, since the receiver found several too large', {
            feed: feed.name,
          })
        }
      },
    })
  }

  private async question(
    { feed, conditionAt }: SelectedFeed,
    { from, to, begun }: Range,
    startTime: number | undefined,
  ): Promise<FeedQuestion> {
    const { collection, skipOffline, signal } = this.options
    const condition = await conditionAt?.(begun)
    const stream = streamOf(feed.name)
    return { collection, stream, condition, startTime, columns: feed.columns, from, to, skipOffline, signal }
  }

  /** How much there is to send, for the progress bar; and the warning that much of it is old. */
  private async countAhead(question: FeedQuestion, feed: Feed, summary: FeedSummary): Promise<void> {
    const { lateAfter } = feed
    const olderThan = lateAfter === undefined ? undefined : Date.now() * 1_000 - lateAfter.microseconds
    const ahead = await this.options.source.count({ ...question, ...(olderThan === undefined ? {} : { olderThan }) })
    this.total += ahead.events
    summary.late += ahead.older
    if (lateAfter && ahead.older > 0)
      this.log('warn', lateAfter.notice, { feed: feed.name, events: ahead.older, of: ahead.events })
  }

  /** Runs every feed to its end, whatever becomes of the others. */
  private async watched(
    runFeed: (selected: SelectedFeed, summary: FeedSummary) => Promise<void>,
  ): Promise<ForwardSummary> {
    const { feeds, signal, onProgress, dryRun = false, name } = this.options
    const stop = () => setTimeout(() => this.hard.abort(signal?.reason), GRACE_MS).unref()
    signal?.addEventListener('abort', stop, { once: true })
    const timer = onProgress && setInterval(() => onProgress(this.progress()), PROGRESS_MS)
    let running = feeds.length
    try {
      await Promise.all(
        feeds.map(async (selected, index) => {
          const summary = this.summaries[index]!
          try {
            await runFeed(selected, summary)
          } catch (error) {
            if (signal?.aborted) return
            const fault = asColdtrailError(error)
            summary.error = fault
            // The others may go on for days; the last one is told by the summary.
            if (running > 1) this.log('error', 'a feed stopped, the others go on', stopped(selected.feed.name, fault))
          } finally {
            running -= 1
          }
        }),
      )
    } finally {
      clearInterval(timer)
      signal?.removeEventListener('abort', stop)
    }
    onProgress?.(this.progress())
    const sum = (read: (summary: FeedSummary) => number) => this.summaries.reduce((all, one) => all + read(one), 0)
    return {
      type: 'summary',
      destination: name,
      events: sum(({ accepted }) => accepted),
      rejected: sum(({ rejected }) => rejected),
      requests: sum(({ requests }) => requests),
      retried: sum(({ retried }) => retried),
      wire_bytes: sum(({ wire_bytes }) => wire_bytes),
      decoded_bytes: sum(({ decoded_bytes }) => decoded_bytes),
      superseded: sum(({ superseded }) => superseded),
      offline: sum(({ offline }) => offline),
      seconds: (performance.now() - this.began) / 1_000,
      dry_run: dryRun,
      interrupted: signal?.aborted ?? false,
      feeds: this.summaries,
      error: this.summaries.find(({ error }) => error !== undefined)?.error,
    }
  }

  private progress(): ForwardProgress {
    const done = this.summaries.reduce((sum, { accepted, rejected }) => sum + accepted + rejected, 0)
    const seconds = (performance.now() - this.began) / 1_000
    const perSecond = done / Math.max(seconds, 0.001)
    const left = Math.max(0, this.total - done)
    return {
      events: done,
      total: Math.max(done, this.total),
      requests: this.summaries.reduce((sum, { requests }) => sum + requests, 0),
      wireBytes: this.summaries.reduce((sum, { wire_bytes }) => sum + wire_bytes, 0),
      eventsPerSecond: perSecond,
      secondsLeft: done > 0 ? left / perSecond : undefined,
    }
  }
}

/** Batches of one feed under way at once, each settled by itself. */
class Lane {
  private readonly outbox: Outbox
  private readonly feedId: number
  private readonly inFlight: number
  private readonly summary: FeedSummary
  private readonly underWay = new Set<Promise<void>>()
  private failure: unknown

  constructor(outbox: Outbox, feedId: number, inFlight: number, summary: FeedSummary) {
    this.outbox = outbox
    this.feedId = feedId
    this.inFlight = inFlight
    this.summary = summary
  }

  /** Begins the batch and answers once there is room for another. Throws what an earlier one met. */
  async send(range: Batch, batch: PackedBatch, passed: Passed, delivery: Delivery): Promise<void> {
    const { number } = await this.outbox.beginBatch(this.feedId, range)
    const sending = delivery
      .deliver(batch)
      .then((settlement) => this.settle(number, [settlement], passed))
      .catch((error: unknown) => {
        this.failure ??= error
      })
      .finally(() => this.underWay.delete(sending))
    this.underWay.add(sending)
    while (this.underWay.size >= this.inFlight) await Promise.race(this.underWay)
    if (this.failure !== undefined) throw this.failure
  }

  async settle(number: number, settlements: readonly Settlement[], passed: Passed): Promise<void> {
    const sum = (read: (settlement: Settlement) => number) => settlements.reduce((all, one) => all + read(one), 0)
    const whole: Settlement = {
      accepted: sum(({ accepted }) => accepted),
      rejected: settlements.flatMap(({ rejected }) => rejected),
      requests: sum(({ requests }) => requests),
      retried: sum(({ retried }) => retried),
      wireBytes: sum(({ wireBytes }) => wireBytes),
      decodedBytes: sum(({ decodedBytes }) => decodedBytes),
      requestId: settlements.at(-1)?.requestId ?? null,
    }
    await this.outbox.settleBatch(this.feedId, number, whole, passed)
    addSettlement(this.summary, whole, passed)
  }

  /** Waits for all that is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.underWay)
    if (this.failure !== undefined) throw this.failure
  }

  /** Nothing is left to be sent up to this position. */
  async pass(position: Position, passed: Passed): Promise<void> {
    await this.outbox.passTo(this.feedId, position, passed)
    Object.assign(this.summary, addPassed(this.summary, passed))
  }
}

const stopped = (feed: string, { code, message }: ColdtrailError) => ({ feed, code, reason: message })

function addNotes(summary: FeedSummary, packer: Packer): void {
  for (const [note, count] of packer.notes) summary.notes[note] = (summary.notes[note] ?? 0) + count
  packer.notes.clear()
}

/** Encodes, and keeps the bounds of event time, from which the volume per day is told. */
function timed(feed: Feed, summary: FeedSummary): Feed['encode'] {
  return (event, out) => {
    if (event.time !== null) {
      summary.time1 = Math.min(summary.time1 ?? event.time, event.time)
      summary.time2 = Math.max(summary.time2 ?? event.time, event.time)
    }
    return feed.encode(event, out)
  }
}
