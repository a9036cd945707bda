/** Seeded randomness: the same seed gives the same logs on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** In [0, 1). The mulberry32 generator, by Tommy Ettinger (public domain). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }

  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.next() * from.length)]!
  }

  hex(length: number): string {
    let text = ''
    while (text.length < length)
      text += Math.floor(this.next() * 4294967296)
        .toString(16)
        .padStart(8, '0')
    return text.slice(0, length)
  }

  /** Letters and digits as AWS uses them in ids. */
  id(length: number, alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'): string {
    let text = ''
    for (let at = 0; at < length; at += 1) text += alphabet[Math.floor(this.next() * alphabet.length)]
    return text
  }

  uuid(): string {
    const digits = this.hex(32)
    const variant = '89ab'[Number.parseInt(digits[16]!, 16) & 3]
    return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(13, 16)}-${variant}${digits.slice(17, 20)}-${digits.slice(20)}`
  }
}

/** Picks by weight: `at(random)` gives an index. */
export class Weights {
  readonly #sums: Float64Array

  constructor(weights: readonly number[]) {
    this.#sums = new Float64Array(weights.length)
    let sum = 0
    for (const [at, weight] of weights.entries()) {
      sum += weight
      this.#sums[at] = sum
    }
  }

  /** Weights 1, 1/2, 1/3, … as names, users and addresses are distributed in real logs. */
  static zipf(count: number): Weights {
    return new Weights(Array.from({ length: count }, (_, at) => 1 / (at + 1)))
  }

  at(random: Random): number {
    const wanted = random.next() * this.#sums[this.#sums.length - 1]!
    let low = 0
    let high = this.#sums.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sums[middle]! > wanted) high = middle
      else low = middle + 1
    }
    return low
  }
}
