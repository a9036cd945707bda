/** What a manifest says of the times of a segment's events: bounds, quantiles, and what lies far from the rest. */

export interface EventTimes {
  /** POSIX seconds; bounds of the events without the outliers. */
  readonly min: number
  readonly max: number
  readonly p01: number
  readonly p99: number
  /** Events later than the sealing; beyond a million events by a regular sample. */
  readonly future: number
  readonly missing: number
  /**
   * First and last time and number of the events that lie more than a week from all others: a bad clock, a file of
   * several years. Ascending; absent where not every time was looked at.
   */
  readonly outliers?: readonly (readonly [from: number, to: number, events: number])[]
}

/** Times of the events of an open segment: all of them up to a million, beyond that a regular sample. Microseconds. */
export class TimeSample {
  count = 0
  private sample = new Float64Array(1 << 20)
  private size = 0
  private stride = 1

  add(time: number): void {
    if (this.count++ % this.stride !== 0) return
    if (this.size === this.sample.length) {
      for (let i = 0; i < this.size / 2; i++) this.sample[i] = this.sample[i * 2]!
      this.size /= 2
      this.stride *= 2
      if ((this.count - 1) % this.stride !== 0) return
    }
    this.sample[this.size++] = time
  }

  /** Of `rows` events with these bounds, sealed at `now`; undefined when none has a time. */
  summary(
    rows: number,
    { time1, time2, now }: { readonly time1: number; readonly time2: number; readonly now: number },
  ): EventTimes | undefined {
    if (this.count === 0) return undefined
    const sorted = this.sample.slice(0, this.size).sort()
    const at = (share: number): number => seconds(sorted[Math.floor(share * (sorted.length - 1))]!)
    const later = (sorted.length - countUpTo(sorted, now)) * this.stride
    const common = {
      ...{ p01: at(0.01), p99: at(0.99), missing: rows - this.count },
      future: time2 > now ? Math.max(1, later) : 0,
    }
    // What a sample passed over could lie outside of any part.
    if (this.stride > 1) return { min: seconds(time1), max: seconds(time2), ...common }
    const parts = partsOf(sorted)
    const bulk = parts.reduce((most, part) => (part.events > most.events ? part : most))
    const outliers = parts.filter((part) => part !== bulk)
    return {
      ...{ min: seconds(bulk.from), max: seconds(bulk.to), ...common },
      outliers: outliers.map(({ from, to, events }) => [seconds(from), seconds(to), events]),
    }
  }
}

// --- internal ---

const seconds = (microseconds: number): number => Math.floor(microseconds / 1e6)

const WEEK = 7 * 86_400 * 1e6
/** More would make the manifest long, and one search as dear as several. */
const MOST_PARTS = 9

interface Part {
  readonly from: number
  readonly to: number
  readonly events: number
}

/** Events between the widest gaps of more than a week. */
function partsOf(sorted: Float64Array): Part[] {
  const gaps: number[] = []
  for (let i = 1; i < sorted.length; i++) if (sorted[i]! - sorted[i - 1]! > WEEK) gaps.push(i)
  const width = (i: number): number => sorted[i]! - sorted[i - 1]!
  const cuts = gaps
    .sort((a, b) => width(b) - width(a) || a - b)
    .slice(0, MOST_PARTS - 1)
    .sort((a, b) => a - b)
  return [0, ...cuts].map((start, i) => {
    const end = cuts[i] ?? sorted.length
    return { from: sorted[start]!, to: sorted[end - 1]!, events: end - start }
  })
}

function countUpTo(sorted: Float64Array, value: number): number {
  const found = sorted.findIndex((time) => time > value)
  return found < 0 ? sorted.length : found
}
