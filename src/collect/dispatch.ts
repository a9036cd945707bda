/**
 * Claimed objects waiting for a worker, by day. A day goes to the worker that has it open already, so that few segments
 * are made; a worker without a day of its own helps with the longest one, so that a single day uses all of them.
 */
import { keyDay } from '../core/keyDay.ts'
import type { Item } from './tasks.ts'

export const BATCH_OBJECTS = 64
export const BATCH_BYTES = 8 * 2 ** 20

export class Dispatch {
  private readonly days = new Map<number, Day>()
  /** Objects and bytes waiting. */
  size = 0
  bytes = 0

  add(item: Item): void {
    const key = keyDay(item.object.key) ?? NO_DAY
    let day = this.days.get(key)
    if (!day) {
      if (this.days.size >= MAX_DAYS) this.forgetEmpty()
      day = { items: [], at: 0, bytes: 0, workers: new Set() }
      this.days.set(key, day)
    }
    day.items.push(item)
    day.bytes += item.object.size
    this.size += 1
    this.bytes += item.object.size
  }

  /** A batch for this worker: at most BATCH_OBJECTS and, from the second object on, BATCH_BYTES. Empty: nothing for it. */
  take(worker: number): Item[] {
    const day = this.choose(worker)
    if (!day) return []
    day.workers.add(worker)
    const batch: Item[] = []
    let bytes = 0
    while (day.at < day.items.length && batch.length < BATCH_OBJECTS) {
      const item = day.items[day.at]!
      if (batch.length > 0 && bytes + item.object.size > BATCH_BYTES) break
      batch.push(item)
      bytes += item.object.size
      day.at += 1
    }
    day.bytes -= bytes
    this.size -= batch.length
    this.bytes -= bytes
    if (day.at > 4096 || day.at === day.items.length) {
      day.items.splice(0, day.at)
      day.at = 0
    }
    return batch
  }

  /** What a worker had open is lost with it: its days are anybody's again. */
  forgetWorker(worker: number): void {
    for (const { workers } of this.days.values()) workers.delete(worker)
  }

  /** Everything that waits, taken out. */
  drain(): Item[] {
    const items = [...this.days.values()].flatMap((day) => day.items.slice(day.at))
    this.days.clear()
    this.size = 0
    this.bytes = 0
    return items
  }

  // --- internal ---

  private choose(worker: number): Day | undefined {
    let free: Day | undefined
    let longest: Day | undefined
    for (const day of this.days.values()) {
      if (waiting(day) === 0) continue
      if (day.workers.has(worker)) return day
      if (day.workers.size === 0) free ??= day
      if (waiting(day) > HELP_OBJECTS || day.bytes > HELP_BYTES)
        if (!longest || day.bytes > longest.bytes) longest = day
    }
    return free ?? longest
  }

  private forgetEmpty(): void {
    for (const [key, day] of this.days) if (waiting(day) === 0) this.days.delete(key)
  }
}

// --- internal ---

interface Day {
  readonly items: Item[]
  /** The first item not yet given away. */
  at: number
  bytes: number
  /** Workers that have been given objects of it. */
  readonly workers: Set<number>
}

const NO_DAY = Number.NEGATIVE_INFINITY
const MAX_DAYS = 1024
/** A day is shared when it keeps its own worker busy for longer than a segment more would cost. */
const HELP_OBJECTS = 4 * BATCH_OBJECTS
const HELP_BYTES = 2 * BATCH_BYTES

const waiting = (day: Day): number => day.items.length - day.at
