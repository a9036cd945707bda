/**
 * Sends a batch until every record of it is accepted or refused, whatever the receiver answers: docs/design.md §10 has
 * the table.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Feed, Outcome } from '../components/destination.ts'
import { ColdtrailError, printable } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { DeadLetter, Settlement } from '../store/catalog/outbox.ts'
import type { Gate } from './gate.ts'
import { bodyOfPart, type PackedBatch } from './packer.ts'

export interface DeliveryOptions {
  /** Name of the destination, for messages. */
  readonly destination: string
  readonly feed: Feed
  readonly gate: Gate
  readonly signal: AbortSignal
  readonly log: Log
  /** Milliseconds for which a receiver may fail without an answer before the run gives up. */
  readonly patienceMs: number
  /** The receiver found a batch too large: later ones are to be packed smaller. */
  readonly onTooLarge: () => void
}

type Tally = { -readonly [K in keyof Settlement]: Settlement[K] } & { rejected: DeadLetter[] }

export class Delivery {
  private readonly options: DeliveryOptions
  /** Records that the receiver has taken since the last one that it refused alone, and those refused since then. */
  private taken = 0
  private refusedInARow = 0
  private deniedSince: number | undefined

  constructor(options: DeliveryOptions) {
    this.options = options
  }

  async deliver(batch: PackedBatch): Promise<Settlement> {
    const tally: Tally = {
      accepted: 0,
      rejected: [...batch.refused],
      requests: 0,
      retried: 0,
      wireBytes: 0,
      decodedBytes: 0,
      requestId: null,
    }
    const { body, decodedBytes, ids } = batch
    if (ids.length > 0 && !(await this.part(batch, 0, ids.length, { body, decodedBytes }, tally)))
      await this.halves(batch, 0, ids.length, tally)
    return tally
  }

  // --- internal ---

  /** Both halves are tried before one is halved again: what is taken tells bad records from a schema that does not fit. */
  private async halves(batch: PackedBatch, from: number, to: number, tally: Tally): Promise<void> {
    const middle = (from + to) >> 1
    const refused: [number, number][] = []
    for (const half of [
      [from, middle],
      [middle, to],
    ] as [number, number][]) {
      const content = await bodyOfPart(this.options.feed.limits, batch, ...half)
      if (!(await this.part(batch, ...half, content, tally))) refused.push(half)
    }
    for (const half of refused) await this.halves(batch, ...half, tally)
  }

  /** The records `[from, to)` of the batch; false when they are to be halved. */
  private async part(
    batch: PackedBatch,
    from: number,
    to: number,
    content: { readonly body: Buffer; readonly decodedBytes: number },
    tally: Tally,
  ): Promise<boolean> {
    const { feed, signal, log, gate } = this.options
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.attempt(content, to - from, tally)
      switch (outcome.kind) {
        case 'accepted': {
          const rejected = outcome.rejected ?? []
          tally.accepted += to - from - rejected.length
          for (const { index, reason } of rejected) this.refuse(batch, from + index, reason, tally)
          this.taken += to - from
          this.refusedInARow = 0
          this.deniedSince = undefined
          return true
        }
        case 'refused':
        case 'too_large': {
          if (outcome.kind === 'too_large') this.options.onTooLarge()
          if (to - from === 1) {
            this.refuse(batch, from, outcome.reason, tally)
            this.refusedInARow += 1
            this.assertSomeAreTaken(outcome.reason)
            return true
          }
          log('info', 'the receiver refused a batch: halving it', {
            feed: feed.name,
            records: to - from,
            reason: printable(outcome.reason),
          })
          return false
        }
        case 'throttled':
          log(outcome.afterMs! > LONG_PAUSE_MS ? 'warn' : 'info', 'the receiver asks for a pause', {
            feed: feed.name,
            ms: outcome.afterMs,
            reason: printable(outcome.reason),
          })
          this.assertPatience(outcome.reason, outcome.afterMs)
          break
        case 'failed':
          log(attempt > 2 ? 'warn' : 'info', 'the receiver failed: trying again', {
            feed: feed.name,
            attempt,
            reason: printable(outcome.reason),
          })
          this.assertPatience(outcome.reason)
          await wait(gate.pause(attempt), undefined, { signal })
          break
        case 'denied':
          await this.waitForRights(outcome)
          break
      }
      tally.retried += 1
    }
  }

  private async attempt(
    { body, decodedBytes }: { readonly body: Buffer; readonly decodedBytes: number },
    records: number,
    tally: Tally,
  ): Promise<Outcome> {
    const { feed, gate, signal } = this.options
    await gate.enter(signal)
    try {
      const requestId = randomUUID()
      tally.requests += 1
      tally.wireBytes += body.length
      tally.decodedBytes += decodedBytes
      tally.requestId = requestId
      const outcome = await feed.send({ body, records, decodedBytes, requestId }, signal)
      signal.throwIfAborted()
      if (outcome.kind === 'failed') gate.failed()
      else if (outcome.kind === 'throttled') gate.throttled(outcome.afterMs)
      else if (outcome.kind !== 'denied') gate.accepted()
      return outcome
    } finally {
      gate.leave()
    }
  }

  private refuse({ ids, uids }: PackedBatch, index: number, reason: string, tally: Tally): void {
    tally.rejected.push({ id: ids[index]!, uid: uids[index]!, reason: printable(reason, REASON_CHARACTERS) })
  }

  /** A receiver that takes nothing at all has not met bad records: its schema, or ours, is wrong. */
  private assertSomeAreTaken(reason: string): void {
    if (this.refusedInARow < (this.taken === 0 ? REFUSED_AT_FIRST : REFUSED_IN_A_ROW)) return
    const { destination, feed } = this.options
    throw new ColdtrailError('E_FORWARD_REFUSED', {
      destination,
      feed: feed.name,
      count: this.refusedInARow,
      reason: printable(reason, REASON_CHARACTERS),
    })
  }

  /** `askedMs`: a pause that would outlast it ends the run now; the next one comes back. */
  private assertPatience(told: string, askedMs = 0): void {
    const { destination, feed, gate, patienceMs } = this.options
    if (gate.failingMs + askedMs < patienceMs) return
    const reason = askedMs > 0 ? `a pause of ${Math.ceil(askedMs / 1_000)} s is asked for; ${told}` : told
    throw new ColdtrailError('E_FORWARD_UNREACHABLE', {
      destination,
      feed: feed.name,
      time:
        gate.failingMs < 120_000
          ? `${Math.round(gate.failingMs / 1_000)} s`
          : `${Math.round(gate.failingMs / 60_000)} min`,
      reason: printable(reason, REASON_CHARACTERS),
    })
  }

  private async waitForRights({ error, retryForMs = 0 }: Outcome & { kind: 'denied' }): Promise<void> {
    const { feed, signal, log, patienceMs } = this.options
    this.deniedSince ??= performance.now()
    const left = Math.min(retryForMs, patienceMs) - (performance.now() - this.deniedSince)
    if (left <= 0) throw error
    log('warn', 'the receiver denies access: trying again slowly', {
      feed: feed.name,
      reason: error.message,
      minutes_left: Math.ceil(left / 60_000),
    })
    const pause = Math.min(RIGHTS_PAUSE_MS, 1_000 + (performance.now() - this.deniedSince) / 4, left)
    await wait(pause, undefined, { signal })
  }
}

// --- internal ---

/** Records refused alone, with none taken yet, after which the feed stops; and the same once some were taken. */
const REFUSED_AT_FIRST = 3
const REFUSED_IN_A_ROW = 1_000
const REASON_CHARACTERS = 500
const RIGHTS_PAUSE_MS = 60_000
/** A longer one is told as a warning. */
const LONG_PAUSE_MS = 60_000
