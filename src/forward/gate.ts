/**
 * How many batches may be under way to one destination, and when. All feeds of the destination pass it, since a receiver
 * that throttles or fails does so for all of them.
 *
 *     throttled   the number is halved, everybody waits as long as the receiver said
 *     accepted    the number grows by one a round, up to the most that is allowed
 *     failed      five failures in a row open the circuit: one batch at a time tries, with growing pauses, until one is accepted
 */

export interface Pauses {
  /** Milliseconds. The n-th pause in a row lies between 0 and `first` * 2^n, at most `most`. */
  readonly first: number
  readonly most: number
}

export const PAUSES: Pauses = { first: 500, most: 60_000 }

export class Gate {
  private readonly most: number
  private readonly pauses: Pauses
  private readonly waiting = new Set<() => void>()
  private allowed: number
  private running = 0
  private failures = 0
  private closedUntil = 0
  private failingSince: number | undefined

  constructor(most: number, pauses: Pauses = PAUSES) {
    this.most = most
    this.allowed = most
    this.pauses = pauses
  }

  /** Milliseconds since something was accepted last, while nothing is. */
  get failingMs(): number {
    return this.failingSince === undefined ? 0 : performance.now() - this.failingSince
  }

  /** Waits for a turn; `leave` must follow. Rejects when the signal ends it. */
  async enter(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      const wait = this.closedUntil - performance.now()
      if (wait <= 0 && this.running < Math.floor(this.allowed)) break
      await this.changed(wait > 0 ? wait : undefined, signal)
    }
    this.running += 1
  }

  leave(): void {
    this.running -= 1
    this.wake()
  }

  accepted(): void {
    if (this.failures >= CIRCUIT_FAILURES) this.allowed = 1
    this.failures = 0
    this.failingSince = undefined
    this.allowed = Math.min(this.most, this.allowed + 1 / this.allowed)
  }

  throttled(afterMs: number | undefined): void {
    this.failingSince ??= performance.now()
    this.allowed = Math.max(1, this.allowed / 2)
    // A little later than told, so that several forwarders do not come back at once.
    this.close(afterMs === undefined ? this.pause(1) : afterMs * (1 + Math.random() / 10))
  }

  failed(): void {
    this.failingSince ??= performance.now()
    this.failures += 1
    if (this.failures < CIRCUIT_FAILURES) return
    this.allowed = 1
    this.close(this.pause(this.failures - CIRCUIT_FAILURES + 1))
  }

  /** Milliseconds to wait before attempt n + 1: full jitter, so that attempts spread. */
  pause(n: number): number {
    return Math.random() * Math.min(this.pauses.most, this.pauses.first * 2 ** Math.min(n, 20))
  }

  // --- internal ---

  private close(milliseconds: number): void {
    this.closedUntil = Math.max(this.closedUntil, performance.now() + milliseconds)
  }

  private changed(milliseconds: number | undefined, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.waiting.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = milliseconds === undefined ? undefined : setTimeout(done, milliseconds)
      this.waiting.add(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  private wake(): void {
    for (const done of [...this.waiting]) done()
  }
}

// --- internal ---

const CIRCUIT_FAILURES = 5
