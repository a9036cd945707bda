/**
 * Byte strings to small ids, in order of first sight. Hashing and comparing run over four bytes a step; a JS string is
 * never made. The seed differs per process, which keeps collisions from being found by chance; values crafted against
 * the hash can still make it slow, which ends at the worker's timeout.
 */
import { randomInt } from 'node:crypto'

const seed = randomInt(2 ** 31)

export class Interner {
  count = 0
  /** Two numbers a slot, side by side for the cache: the hash, and id + 1 (0: free). */
  private table = new Int32Array(2048)
  /** Two numbers an id: where its bytes start in the arena, and how many. */
  private places = new Int32Array(512)
  private arena = Buffer.allocUnsafeSlow(8192)
  private arenaView = viewOf(this.arena)
  private used = 0
  private last = 0
  private source: Buffer | undefined
  private sourceView = this.arenaView

  /** The id of `bytes[start, end)`; a new one is `count - 1` right after the call. */
  intern(bytes: Buffer, start: number, end: number): number {
    if (bytes !== this.source) {
      this.source = bytes
      this.sourceView = viewOf(bytes)
    }
    const view = this.sourceView
    const length = end - start
    // Logs repeat themselves: the value of the record before is the likeliest.
    const { last, table } = this
    if (last < this.count && this.equals(last, length, view, bytes, start, end)) return last
    const wordsEnd = end - 3
    let hash = seed ^ length
    let at = start
    for (; at < wordsEnd; at += 4) {
      hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e3779b1)
      hash ^= hash >>> 15
    }
    for (; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x85ebca6b)
    hash ^= hash >>> 13
    const mask = table.length - 2
    for (let slot = (hash << 1) & mask; ; slot = (slot + 2) & mask) {
      const entry = table[slot + 1]!
      if (entry === 0) return this.insert(slot, hash, bytes, start, end)
      if (table[slot] === hash && this.equals(entry - 1, length, view, bytes, start, end)) {
        this.last = entry - 1
        return entry - 1
      }
    }
  }

  /** The interned bytes; valid until the next `intern` or `clear`. */
  bytes(id: number): Buffer {
    const start = this.places[id * 2]!
    return this.arena.subarray(start, start + this.places[id * 2 + 1]!)
  }
  /** Where they are in `values`: from `start(id)` to `end(id)`; valid as long. */
  get values(): Buffer {
    return this.arena
  }
  start(id: number): number {
    return this.places[id * 2]!
  }
  end(id: number): number {
    return this.places[id * 2]! + this.places[id * 2 + 1]!
  }
  /** Below 0 when the bytes of `a` come before those of `b`. */
  compare(a: number, b: number): number {
    const { arena, places } = this
    const startA = places[a * 2]!
    const startB = places[b * 2]!
    const lengthA = places[a * 2 + 1]!
    const lengthB = places[b * 2 + 1]!
    const common = Math.min(lengthA, lengthB)
    for (let i = 0; i < common; i++) {
      const difference = arena[startA + i]! - arena[startB + i]!
      if (difference !== 0) return difference
    }
    return lengthA - lengthB
  }

  /** Puts ids into the order of their values' bytes. At most 2^24 ids, no two the same. */
  sort(ids: Int32Array): void {
    if (ids.length > MOST_SORTED) throw new RangeError('too many values to sort')
    this.sortFrom(ids, 0)
  }

  /** Bytes of all values together. */
  get valueBytes(): number {
    return this.used
  }

  clear(): void {
    this.count = 0
    this.used = 0
    this.table.fill(0)
    if (this.arena.length > KEPT_BYTES) {
      this.arena = Buffer.allocUnsafeSlow(8192)
      this.arenaView = viewOf(this.arena)
    }
  }

  /**
   * The next five bytes of each value and its place in `ids` are one number; numbers of 64 bits V8 sorts without a call.
   * Values of which these bytes are the same are sorted by those behind.
   */
  private sortFrom(ids: Int32Array, depth: number): void {
    const { arena, places } = this
    const count = ids.length
    if (count <= FEW || depth > DEEP) {
      const sorted = Array.from(ids).sort((a, b) => this.compare(a, b))
      ids.set(sorted)
      return
    }
    const at = this.common(ids)
    const from = ids.slice()
    const keys = new BigUint64Array(count)
    const halves = new Uint32Array(keys.buffer)
    for (let i = 0; i < count; i++) {
      const id = from[i]!
      const start = places[id * 2]! + at
      const left = places[id * 2 + 1]! - at
      let high = 0
      for (let k = 0; k < 4; k++) high = (high << 8) | (k < left ? arena[start + k]! : 0)
      halves[i * 2] = ((left > 4 ? arena[start + 4]! : 0) << 24) | i
      halves[i * 2 + 1] = high
    }
    keys.sort()
    let same = 0
    for (let i = 0; i < count; i++) {
      ids[i] = from[halves[i * 2]! & (MOST_SORTED - 1)]!
      const isLast = i + 1 === count
      if (isLast || halves[i * 2 + 1] !== halves[i * 2 + 3] || (halves[i * 2]! ^ halves[i * 2 + 2]!) >>> 24 !== 0) {
        if (i > same) this.sortFrom(ids.subarray(same, i + 1), depth + 1)
        same = i + 1
      }
    }
  }

  /** How many bytes all these values begin with. */
  private common(ids: Int32Array): number {
    const { arena, places } = this
    const start = places[ids[0]! * 2]!
    let common = places[ids[0]! * 2 + 1]!
    for (let i = 1; i < ids.length && common > 0; i++) {
      const other = places[ids[i]! * 2]!
      common = Math.min(common, places[ids[i]! * 2 + 1]!)
      let at = 0
      while (at < common && arena[start + at] === arena[other + at]) at++
      common = at
    }
    return common
  }

  private equals(id: number, length: number, view: DataView, bytes: Buffer, start: number, end: number): boolean {
    const { arena, arenaView, places } = this
    if (places[id * 2 + 1] !== length) return false
    let mine = places[id * 2]!
    let at = start
    for (; at < end - 3; at += 4, mine += 4) {
      if (arenaView.getInt32(mine, true) !== view.getInt32(at, true)) return false
    }
    for (; at < end; at++, mine++) if (arena[mine] !== bytes[at]) return false
    return true
  }

  private insert(slot: number, hash: number, bytes: Buffer, start: number, end: number): number {
    const id = this.count++
    this.last = id
    if (id * 2 === this.places.length) {
      const places = new Int32Array(id * 4)
      places.set(this.places)
      this.places = places
    }
    const length = end - start
    if (this.used + length > this.arena.length) {
      const arena = Buffer.allocUnsafeSlow(Math.max(this.arena.length * 2, this.used + length))
      this.arena.copy(arena, 0, 0, this.used)
      this.arena = arena
      this.arenaView = viewOf(arena)
    }
    bytes.copy(this.arena, this.used, start, end)
    this.places[id * 2] = this.used
    this.places[id * 2 + 1] = length
    this.used += length
    this.table[slot] = hash
    this.table[slot + 1] = id + 1
    if (this.count * 4 > this.table.length) this.rehash()
    return id
  }

  private rehash(): void {
    const { table: old } = this
    const table = new Int32Array(old.length * 4)
    const mask = table.length - 2
    for (let from = 0; from < old.length; from += 2) {
      if (old[from + 1] === 0) continue
      let slot = (old[from]! << 1) & mask
      while (table[slot + 1] !== 0) slot = (slot + 2) & mask
      table[slot] = old[from]!
      table[slot + 1] = old[from + 1]!
    }
    this.table = table
  }
}

// --- internal ---

const MOST_SORTED = 2 ** 24
/** Sorted by comparing. So is what is the same for long: values may be made to be. */
const FEW = 8
const DEEP = 100
/** A larger arena is given back when it is cleared. */
const KEPT_BYTES = 4 * 1024 * 1024

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
