/**
 * A roll-up: the keys of many keysets as one sorted file, so that a hunt reads one file and not thousands. Of a month it
 * says of each key which segments have it; the all-time one has the keys alone. Derived from the keysets of the history,
 * immutable. Integers are little-endian. docs/design.md §17 repeats this table.
 *
 *     0  4  "CTRU"
 *     4  4  format version, 1
 *     8     the parts, each beginning at a multiple of 8: directory, low words, postings
 *           the footer: extractor, key epoch, key id, period (each 1 byte length and UTF-8), 4 number of segments, 4 each,
 *              4 number of parts, 40 each: 4 type number, 4 keys N, 4 buckets B, 4 CRC-32 of the directory, 8 start,
 *              8 bytes of the directory, 8 bytes of the postings
 *   end-16  4 length of the footer, 4 CRC-32 of the footer, 4 format version, "CTRU"
 *
 * A part has the keys of one type from one upper word (16 bits) to another, at most some millions. Parts of a type are in
 * order of keys. Directory: B upper words that occur (2 bytes, padded to 4); where the keys of each begin and N (4, B + 1
 * times); the CRC-32 of each 16,384 low words; of a month where the postings of each 256 keys begin, and their end
 * (4), and the CRC-32 of each such group. Low words: the lower 32 bits of each key, 4 bytes. Postings of a key: its
 * segments, as places in the footer's list: the first, then the gaps, each LEB128 of twice the number, plus 1 when
 * another follows.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { ColdtrailError } from '../core/errors.ts'
import { createDurableFile, type DurableFile } from '../platform/files.ts'

export const ROLLUP_FORMAT = 1
/** A place in the list of segments is sorted with the key, in 16 bits. */
export const MAX_ROLLUP_SEGMENTS = 2 ** 16
/** Upper words of keys. */
export const UPPER_WORDS = 2 ** 16
export const ALL_TIME = 'all'

export interface RollupHead {
  readonly extractor: string
  readonly epoch: string
  readonly keyId: string
  /** `2023-07`, `none`, or ALL_TIME: then without postings. */
  readonly period: string
  /** Segments whose keys it has, ascending. */
  readonly segments: readonly number[]
}

/** Where a key was found; for `segmentsAt` of the same roll-up. */
export interface RollupPlace {
  readonly part: number
  readonly at: number
}

/** An opened roll-up. Everything read is checked; methods throw E_ROLLUP_CORRUPT. */
export class Rollup {
  readonly head: RollupHead
  private readonly path: string
  private readonly file: number
  private readonly parts: readonly Part[]
  private readonly window = new Window()
  private postings: { part: Part; group: number; lists: readonly (readonly number[])[] } | undefined

  /** E_ROLLUP_CORRUPT also when it is not there. */
  constructor(path: string) {
    this.path = path
    try {
      this.file = openSync(path, 'r')
    } catch (error) {
      throw this.corrupt((error as Error).message)
    }
    try {
      const { size } = fstatSync(this.file)
      if (size < HEAD_BYTES + TAIL_BYTES) throw this.corrupt('it is too short')
      const tail = this.read(size - TAIL_BYTES, TAIL_BYTES)
      if (tail.toString('latin1', 12) !== MAGIC || tail.readUInt32LE(8) !== ROLLUP_FORMAT)
        throw this.corrupt('it does not end as one')
      const length = tail.readUInt32LE(0)
      if (length > size - HEAD_BYTES - TAIL_BYTES) throw this.corrupt('its footer is cut off')
      const footer = this.read(size - TAIL_BYTES - length, length)
      if (crc32(footer) !== tail.readUInt32LE(4)) throw this.corrupt('its footer fails the checksum')
      ;({ head: this.head, parts: this.parts } = readFooter(footer))
    } catch (error) {
      closeSync(this.file)
      throw error
    }
  }

  get hasPostings(): boolean {
    return this.head.period !== ALL_TIME
  }

  count(type: number): number {
    return this.parts.reduce((sum, part) => sum + (part.type === type ? part.keys : 0), 0)
  }

  /** Types that it has keys of. */
  get types(): number[] {
    return [...new Set(this.parts.map(({ type }) => type))]
  }

  /** Tells which of `keys` (ascending, distinct) it has, by their index, ascending. */
  probe(type: number, keys: Float64Array, found: (index: number, place: RollupPlace) => void): void {
    if (keys.length === 0) return
    this.parts.forEach((part, number) => {
      if (part.type === type) this.probePart(part, number, keys, found)
    })
  }

  /** The segments that have a key. */
  segmentsAt({ part: number, at }: RollupPlace): number[] {
    const part = this.parts[number]!
    return this.groupOf(part, Math.floor(at / GROUP_KEYS))[at % GROUP_KEYS]!.map((place) => this.head.segments[place]!)
  }

  /** Keys of a type with an upper word in [first, end), ascending. */
  keysBetween(type: number, first: number, end: number): Float64Array {
    const pieces: Float64Array[] = []
    this.eachBucket(type, first, end, (part, _directory, upper, from, to) => {
      const lows = this.lowsOf(part, from, to)
      const keys = new Float64Array(to - from)
      for (let i = 0; i < keys.length; i++) keys[i] = upper * LOW_WORDS + lows[from - this.window.first + i]!
      pieces.push(keys)
    })
    const all = new Float64Array(pieces.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const piece of pieces) {
      all.set(piece, at)
      at += piece.length
    }
    return all
  }

  /** Every key of a type with an upper word in [first, end) once a segment; `place` is that in `head.segments`. */
  eachPair(type: number, first: number, end: number, pair: (upper: number, low: number, place: number) => void): void {
    this.eachBucket(type, first, end, (part, _directory, upper, from, to) => {
      for (let at = from; at < to; at++) {
        const low = this.lowsOf(part, at, at + 1)[at - this.window.first]!
        for (const place of this.groupOf(part, Math.floor(at / GROUP_KEYS))[at % GROUP_KEYS]!) pair(upper, low, place)
      }
    })
  }

  close(): void {
    closeSync(this.file)
  }

  // --- internal ---

  private probePart(
    part: Part,
    number: number,
    keys: Float64Array,
    found: (index: number, place: RollupPlace) => void,
  ): void {
    const { uppers, starts } = this.directoryOf(part)
    const begin = lowerBound(keys, uppers[0]! * LOW_WORDS)
    const end = lowerBound(keys, (uppers.at(-1)! + 1) * LOW_WORDS)
    if (begin === end) return
    // Many keys: the file is read from end to end; few: only the blocks in which they would lie.
    const ahead = (end - begin) * 4 >= part.keys / BLOCK_KEYS ? AHEAD_BLOCKS : 1
    let bucket = 0
    for (let i = begin; i < end; i++) {
      const key = keys[i]!
      const upper = Math.floor(key / LOW_WORDS)
      if (uppers[bucket]! < upper) bucket = bucketOf(uppers, upper, bucket)
      if (uppers[bucket] !== upper) continue
      const from = starts[bucket]!
      const to = starts[bucket + 1]!
      const lows = this.lowsOf(part, from, to, ahead)
      const { first } = this.window
      const at = find(lows, from - first, to - first, key - upper * LOW_WORDS)
      if (at >= 0) found(i, { part: number, at: first + at })
    }
  }

  private eachBucket(
    type: number,
    first: number,
    end: number,
    visit: (part: Part, directory: Directory, upper: number, from: number, to: number) => void,
  ): void {
    for (const part of this.parts) {
      if (part.type !== type) continue
      const directory = this.directoryOf(part)
      const { uppers, starts } = directory
      for (let b = bucketOf(uppers, first, 0); b < uppers.length && uppers[b]! < end; b++)
        visit(part, directory, uppers[b]!, starts[b]!, starts[b + 1]!)
    }
  }

  /** Low words of at least [from, to); the first of the answer is that at `window.first`. */
  private lowsOf(part: Part, from: number, to: number, ahead = AHEAD_BLOCKS): Uint32Array {
    const { window } = this
    if (window.part === part && window.first <= from && to <= window.end) return window.lows
    const { crcs } = this.directoryOf(part)
    const firstBlock = Math.floor(from / BLOCK_KEYS)
    const endBlock = Math.min(crcs.length, Math.max(Math.ceil(to / BLOCK_KEYS), firstBlock + ahead))
    const first = firstBlock * BLOCK_KEYS
    const end = Math.min(part.keys, endBlock * BLOCK_KEYS)
    const bytes = window.take((end - first) * 4)
    this.readInto(part.start + part.directoryBytes + first * 4, bytes)
    for (let block = firstBlock; block < endBlock; block++) {
      const at = (block - firstBlock) * BLOCK_KEYS * 4
      if (crc32(bytes.subarray(at, at + BLOCK_KEYS * 4)) !== crcs[block])
        throw this.corrupt(`a block of keys of type ${part.type} fails the checksum`)
    }
    Object.assign(window, { part, first, end })
    return window.lows
  }

  private groupOf(part: Part, group: number): readonly (readonly number[])[] {
    if (this.postings?.part === part && this.postings.group === group) return this.postings.lists
    const { groups, groupCrcs } = this.directoryOf(part)
    const from = groups[group]!
    const bytes = this.read(part.start + part.directoryBytes + part.keys * 4 + from, groups[group + 1]! - from)
    if (crc32(bytes) !== groupCrcs[group]) throw this.corrupt(`postings of type ${part.type} fail the checksum`)
    const lists: number[][] = []
    let at = 0
    while (at < bytes.length) {
      const list: number[] = []
      for (let place = 0, more = 1; more === 1; ) {
        let value = 0
        let scale = 1
        let byte = 0x80
        for (; byte & 0x80 && at < bytes.length; scale *= 128) {
          byte = bytes[at++]!
          value += (byte & 127) * scale
        }
        more = value & 1
        place += value >>> 1
        if (place >= this.head.segments.length) throw this.corrupt('a posting is of no segment')
        list.push(place)
        if (at === bytes.length && more === 1) throw this.corrupt('a posting is cut off')
      }
      lists.push(list)
    }
    const expected = Math.min(GROUP_KEYS, part.keys - group * GROUP_KEYS)
    if (lists.length !== expected) throw this.corrupt('postings do not fit their keys')
    this.postings = { part, group, lists }
    return lists
  }

  private directoryOf(part: Part): Directory {
    if (part.directory) return part.directory
    const { keys, buckets, start, directoryBytes } = part
    const blocks = Math.ceil(keys / BLOCK_KEYS)
    const groups = this.hasPostings ? Math.ceil(keys / GROUP_KEYS) : 0
    if (directoryBytes !== directorySize(buckets, blocks, groups)) throw this.corrupt('a directory has another length')
    const bytes = this.read(start, directoryBytes)
    if (crc32(bytes) !== part.directoryCrc) throw this.corrupt('a directory fails the checksum')
    let at = 0
    const words = (count: number): Uint32Array => {
      at += count * 4
      return new Uint32Array(bytes.buffer, bytes.byteOffset + at - count * 4, count)
    }
    const uppers = new Uint16Array(bytes.buffer, bytes.byteOffset, buckets)
    at = padded(buckets * 2, 4)
    const directory = {
      uppers,
      starts: words(buckets + 1),
      crcs: words(blocks),
      groups: words(groups === 0 ? 0 : groups + 1),
      groupCrcs: words(groups),
    }
    part.directory = directory
    return directory
  }

  private read(position: number, length: number): Buffer {
    // Views of words begin at its beginning.
    const bytes = Buffer.from(new ArrayBuffer(length))
    this.readInto(position, bytes)
    return bytes
  }

  private readInto(position: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const read = readSync(this.file, bytes, at, bytes.length - at, position + at)
      if (read === 0) throw this.corrupt('it is cut off')
      at += read
    }
  }

  private corrupt(reason: string): ColdtrailError {
    return new ColdtrailError('E_ROLLUP_CORRUPT', { path: this.path, reason })
  }
}

/** Writes a roll-up: parts in order of type, then of keys. Memory: a part. */
export class RollupWriter {
  private readonly file: DurableFile
  private readonly head: RollupHead
  private readonly parts: Part[] = []

  constructor(path: string, head: RollupHead) {
    this.head = head
    this.file = createDurableFile(path, 0o600)
    const begin = Buffer.alloc(HEAD_BYTES)
    begin.write(MAGIC, 0, 'latin1')
    begin.writeUInt32LE(ROLLUP_FORMAT, 4)
    this.file.write(begin)
  }

  get bytes(): number {
    return this.file.size
  }

  /**
   * Of a month: pairs as key * 2^16 + place in `head.segments`, ascending and distinct.
   */
  pairs(type: number, pairs: BigUint64Array): void {
    if (pairs.length === 0) return
    const words = new Uint32Array(pairs.buffer, pairs.byteOffset, pairs.length * 2)
    const lows = new Uint32Array(pairs.length)
    const uppers: number[] = []
    const starts: number[] = []
    const groups: number[] = []
    // Twice a place and a bit take 17 bits: three bytes.
    const postings = Buffer.allocUnsafe(pairs.length * 3)
    let keys = 0
    let end = 0
    for (let i = 0; i < words.length; ) {
      const first = words[i]!
      const second = words[i + 1]!
      const upper = second >>> 16
      if (uppers.at(-1) !== upper) {
        uppers.push(upper)
        starts.push(keys)
      }
      if (keys % GROUP_KEYS === 0) groups.push(end)
      lows[keys++] = ((first >>> 16) | (second << 16)) >>> 0
      let before = 0
      for (let place = first & 0xffff; ; ) {
        i += 2
        const next = words[i]
        const isSame = next !== undefined && words[i + 1] === second && next >>> 16 === first >>> 16
        let value = ((place - before) << 1) | (isSame ? 1 : 0)
        for (; value > 127; value >>>= 7) postings[end++] = (value & 127) | 128
        postings[end++] = value
        if (!isSame) break
        before = place
        place = next & 0xffff
      }
    }
    groups.push(end)
    this.write(type, uppers, starts, lows.subarray(0, keys), postings.subarray(0, end), groups)
  }

  /** Of all time: keys ascending and distinct. */
  keys(type: number, keys: Float64Array): void {
    if (keys.length === 0) return
    const uppers: number[] = []
    const starts: number[] = []
    const lows = new Uint32Array(keys.length)
    for (let i = 0; i < keys.length; i++) {
      const upper = Math.floor(keys[i]! / LOW_WORDS)
      if (uppers.at(-1) !== upper) {
        uppers.push(upper)
        starts.push(i)
      }
      lows[i] = keys[i]! - upper * LOW_WORDS
    }
    this.write(type, uppers, starts, lows, Buffer.alloc(0), [])
  }

  publish(): void {
    const footer = writeFooter(this.head, this.parts)
    const tail = Buffer.alloc(TAIL_BYTES)
    tail.writeUInt32LE(footer.length, 0)
    tail.writeUInt32LE(crc32(footer), 4)
    tail.writeUInt32LE(ROLLUP_FORMAT, 8)
    tail.write(MAGIC, 12, 'latin1')
    this.file.write(footer)
    this.file.write(tail)
    this.file.publish()
  }

  discard(): void {
    this.file.discard()
  }

  // --- internal ---

  private write(
    type: number,
    uppers: readonly number[],
    starts: readonly number[],
    lows: Uint32Array,
    postings: Buffer,
    groups: readonly number[],
  ): void {
    const lowBytes = Buffer.from(lows.buffer, lows.byteOffset, lows.byteLength)
    const crcs: number[] = []
    for (let at = 0; at < lowBytes.length; at += BLOCK_KEYS * 4)
      crcs.push(crc32(lowBytes.subarray(at, at + BLOCK_KEYS * 4)))
    const groupCrcs: number[] = []
    for (let g = 0; g + 1 < groups.length; g++) groupCrcs.push(crc32(postings.subarray(groups[g], groups[g + 1])))
    const directory = Buffer.alloc(directorySize(uppers.length, crcs.length, groupCrcs.length))
    let at = 0
    for (const upper of uppers) at = directory.writeUInt16LE(upper, at)
    at = padded(at, 4)
    for (const word of [starts, [lows.length], crcs, groups, groupCrcs].flat()) at = directory.writeUInt32LE(word, at)
    this.parts.push({
      ...{ type, keys: lows.length, buckets: uppers.length, start: this.file.size, directoryBytes: directory.length },
      ...{ directoryCrc: crc32(directory), postingBytes: postings.length },
    })
    for (const piece of [directory, lowBytes, postings]) this.file.write(piece)
    this.file.write(Buffer.alloc(padded(this.file.size, 8) - this.file.size))
  }
}

// --- internal ---

const MAGIC = 'CTRU'
const HEAD_BYTES = 8
const TAIL_BYTES = 16
const PART_BYTES = 40
const LOW_WORDS = 2 ** 32
const BLOCK_KEYS = 16_384
const GROUP_KEYS = 256
const AHEAD_BLOCKS = 64

interface Part {
  readonly type: number
  readonly keys: number
  readonly buckets: number
  readonly start: number
  readonly directoryBytes: number
  readonly directoryCrc: number
  readonly postingBytes: number
  directory?: Directory
}

interface Directory {
  readonly uppers: Uint16Array
  readonly starts: Uint32Array
  /** Of the blocks of low words. */
  readonly crcs: Uint32Array
  /** Where the postings of each group begin; and their end. */
  readonly groups: Uint32Array
  readonly groupCrcs: Uint32Array
}

/** Low words read last. */
class Window {
  part: Part | undefined
  /** Index of its first key in the part, and of the key behind its last. */
  first = 0
  end = 0
  lows = new Uint32Array(0)
  private bytes = new Uint8Array(0)

  take(length: number): Uint8Array {
    this.part = undefined
    if (length > this.bytes.length) {
      this.bytes = new Uint8Array(length)
      this.lows = new Uint32Array(this.bytes.buffer)
    }
    return this.bytes.subarray(0, length)
  }
}

const padded = (size: number, to: number): number => Math.ceil(size / to) * to

const directorySize = (buckets: number, blocks: number, groups: number): number =>
  padded(buckets * 2, 4) + 4 * (buckets + 1 + blocks + (groups === 0 ? 0 : 2 * groups + 1))

/** The first place from `from` on whose upper word is not below. */
function bucketOf(uppers: Uint16Array, upper: number, from: number): number {
  let low = from
  let step = 1
  while (low + step < uppers.length && uppers[low + step]! < upper) {
    low += step
    step *= 2
  }
  let high = Math.min(uppers.length, low + step)
  while (low < high) {
    const middle = (low + high) >>> 1
    if (uppers[middle]! < upper) low = middle + 1
    else high = middle
  }
  return low
}

/** Low words of keyed hashes are spread evenly: the place is guessed, then looked for around the guess. */
function find(lows: Uint32Array, from: number, to: number, low: number): number {
  let at = from + Math.floor((low / LOW_WORDS) * (to - from))
  let step = 1
  if (lows[at]! < low) {
    let high = at + 1
    while (high < to && lows[high]! < low) {
      at = high
      high += step
      step *= 2
    }
    return within(lows, at, Math.min(high + 1, to), low)
  }
  let start = at
  while (start > from && lows[start]! > low) {
    at = start
    start -= step
    step *= 2
  }
  return within(lows, Math.max(start, from), Math.min(at + 1, to), low)
}

function within(lows: Uint32Array, from: number, to: number, low: number): number {
  let start = from
  let end = to
  while (start < end) {
    const middle = (start + end) >>> 1
    if (lows[middle]! < low) start = middle + 1
    else end = middle
  }
  return start < to && lows[start] === low ? start : -1
}

/** The first index whose key is not below. */
export function lowerBound(keys: Float64Array, key: number): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}

function writeFooter({ extractor, epoch, keyId, period, segments }: RollupHead, parts: readonly Part[]): Buffer {
  const texts = [extractor, epoch, keyId, period].map((text) => {
    const bytes = Buffer.from(text)
    return Buffer.concat([Buffer.from([bytes.length]), bytes])
  })
  const rest = Buffer.alloc(8 + segments.length * 4 + parts.length * PART_BYTES)
  let at = rest.writeUInt32LE(segments.length, 0)
  for (const segment of segments) at = rest.writeUInt32LE(segment, at)
  at = rest.writeUInt32LE(parts.length, at)
  for (const { type, keys, buckets, directoryCrc, start, directoryBytes, postingBytes } of parts) {
    for (const word of [type, keys, buckets, directoryCrc]) at = rest.writeUInt32LE(word, at)
    for (const size of [start, directoryBytes, postingBytes]) at = rest.writeDoubleLE(size, at)
  }
  return Buffer.concat([...texts, rest])
}

/** Its checksum was right, so a fault here is a fault of who wrote it. */
function readFooter(bytes: Buffer): { head: RollupHead; parts: Part[] } {
  let at = 0
  const text = (): string => {
    const length = bytes[at]!
    at += 1 + length
    return bytes.toString('utf8', at - length, at)
  }
  const [extractor, epoch, keyId, period] = [text(), text(), text(), text()]
  const word = (): number => {
    at += 4
    return bytes.readUInt32LE(at - 4)
  }
  const size = (): number => {
    at += 8
    return bytes.readDoubleLE(at - 8)
  }
  const segments = Array.from({ length: word() }, word)
  const parts = Array.from({ length: word() }, (): Part => {
    const [type, keys, buckets, directoryCrc] = [word(), word(), word(), word()]
    return { type, keys, buckets, directoryCrc, start: size(), directoryBytes: size(), postingBytes: size() }
  })
  return { head: { extractor, epoch, keyId, period, segments }, parts }
}
