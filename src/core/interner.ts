/**
 * Byte strings to small ids, in order of first sight. Hashing and comparing run over four bytes a step; a JS string is
 * never made. The hash is seeded per process, so that logs cannot be written to collide.
 */
import { randomInt } from 'node:crypto'

const seed = randomInt(2 ** 31)

export class Interner {
  count = 0
  private table = new Int32Array(1024)
  private hashes = new Int32Array(256)
  private starts = new Float64Array(256)
  private lengths = new Int32Array(256)
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
    const { last } = this
    if (last < this.count && this.lengths[last] === length && this.equals(last, view, bytes, start, end)) return last
    const wordsEnd = end - 3
    let hash = seed ^ length
    let at = start
    for (; at < wordsEnd; at += 4) {
      hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e3779b1)
      hash ^= hash >>> 15
    }
    for (; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x85ebca6b)
    hash ^= hash >>> 13
    const mask = this.table.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.table[slot]!
      if (entry === 0) return this.insert(slot, hash, bytes, start, end)
      const id = entry - 1
      if (this.hashes[id] === hash && this.lengths[id] === length && this.equals(id, view, bytes, start, end)) {
        this.last = id
        return id
      }
    }
  }

  /** The interned bytes; valid until the next `intern` or `clear`. */
  bytes(id: number): Buffer {
    const start = this.starts[id]!
    return this.arena.subarray(start, start + this.lengths[id]!)
  }
  length(id: number): number {
    return this.lengths[id]!
  }
  get byteSize(): number {
    return this.arena.length + this.table.length * 4 + this.hashes.length * 16
  }

  clear(): void {
    this.count = 0
    this.used = 0
    this.table.fill(0)
  }

  private equals(id: number, view: DataView, bytes: Buffer, start: number, end: number): boolean {
    const { arena, arenaView } = this
    let mine = this.starts[id]!
    let at = start
    for (; at < end - 3; at += 4, mine += 4)
      if (arenaView.getInt32(mine, true) !== view.getInt32(at, true)) return false
    for (; at < end; at++, mine++) if (arena[mine] !== bytes[at]) return false
    return true
  }

  private insert(slot: number, hash: number, bytes: Buffer, start: number, end: number): number {
    const id = this.count++
    this.last = id
    if (id === this.hashes.length) {
      this.hashes = grown(this.hashes, new Int32Array(id * 2))
      this.lengths = grown(this.lengths, new Int32Array(id * 2))
      this.starts = grown(this.starts, new Float64Array(id * 2))
    }
    const length = end - start
    if (this.used + length > this.arena.length) {
      const arena = Buffer.allocUnsafeSlow(Math.max(this.arena.length * 2, this.used + length))
      this.arena.copy(arena, 0, 0, this.used)
      this.arena = arena
      this.arenaView = viewOf(arena)
    }
    bytes.copy(this.arena, this.used, start, end)
    this.hashes[id] = hash
    this.starts[id] = this.used
    this.lengths[id] = length
    this.used += length
    this.table[slot] = id + 1
    if (this.count * 2 > this.table.length) this.rehash()
    return id
  }

  private rehash(): void {
    const table = new Int32Array(this.table.length * 4)
    const mask = table.length - 1
    for (let id = 0; id < this.count; id++) {
      let slot = this.hashes[id]! & mask
      while (table[slot] !== 0) slot = (slot + 1) & mask
      table[slot] = id + 1
    }
    this.table = table
  }
}

// --- internal ---

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function grown<T extends Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from)
  return to
}
