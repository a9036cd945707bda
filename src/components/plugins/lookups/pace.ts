/** At most so many actions in any span of time: each waits for its turn, and nothing else does. */
import { CLOCK, type Clock } from './lookUp.ts'

export class Pace {
  private readonly count: number
  private readonly spanMs: number
  private readonly clock: Clock
  /** When the last `count` actions began, oldest first. */
  private readonly begun: number[] = []

  constructor({ count, spanMs, clock = CLOCK }: { count: number; spanMs: number; clock?: Clock }) {
    this.count = count
    this.spanMs = spanMs
    this.clock = clock
  }

  /** Resolves when the next action may begin, and counts it. */
  async turn(signal?: AbortSignal): Promise<void> {
    if (this.begun.length >= this.count) {
      const free = this.begun.shift()! + this.spanMs
      const wait = free - this.clock.now()
      if (wait > 0) await this.clock.sleep(wait, signal)
    }
    this.begun.push(this.clock.now())
  }
}
