/**
 * A generation of archived manifests: one immutable file, searched by time without unpacking it. Its records are the
 * canonical lines of the live log, manifests and marks, byte for byte.
 *
 *     CTMA, format version (16 bits), 2 zero bytes
 *     blocks     each an independent zstd frame of NDJSON: a line `[…]` with the order of its records within the run,
 *                then the records; a run is what one live log brought
 *     pages      the time index: 256 entries a page, column by column (time1, time2, block, slot, order), CRC-32
 *     fences     of each page: first time1, greatest time2
 *     table      of each block: offset, length, length unpacked, CRC-32, order of its run's first record
 *     digests    of each record, ascending: 48 bits of SHA-256, block, slot
 *     replaced, removed    numbers of segments and of runs that the marks name, ascending
 *     footer     JSON: counts, and offset, length and CRC-32 of each section; its length, its CRC-32, CTMA
 *
 * Entries lie in lanes by the length of their interval, each lane sorted by time1 and begun on a new page: a search by
 * time1 alone would miss what began long before, and long ones among short ones would spoil the greatest time2 of every
 * page. A manifest has an entry for each of its intervals (manifestTimes.ts). Integers are little-endian.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { ColdtrailError } from '../core/errors.ts'
import { createDurableFile, type DurableFile } from '../platform/files.ts'
import { sha256 } from './chain.ts'
import type { Interval } from './manifestTimes.ts'

export const ARCHIVE_FORMAT = 1

/** A line of the log as it goes into a generation. */
export interface ArchiveRecord {
  /** Without its end of line. */
  readonly line: string
  /** POSIX seconds; none of a mark. */
  readonly intervals: readonly Interval[]
  /** Segments and runs that it marks. */
  readonly replaced?: readonly number[]
  readonly removed?: number
}

/** A record that a search found; `order` is that of commits within the generation. */
export interface ArchiveHit {
  readonly line: string
  readonly order: number
}

/** Writes records, in the order of their commits, as a generation of one run. */
export function writeGeneration(path: string, records: readonly ArchiveRecord[]): void {
  writing(path, (writer) => writer.addRun(records))
}

/** Joins generations, in order. Blocks are copied as they are; records with the same bytes must not be in two of them. */
export function mergeGenerations(path: string, parts: readonly Generation[]): void {
  writing(path, (writer) => {
    for (const part of parts) writer.addGeneration(part)
  })
}

/**
 * An open generation. What is damaged is E_MANIFEST_FORMAT when it is met, with the path; another format version
 * E_MANIFEST_VERSION. Reads only what a question needs, and keeps what it read of the index.
 */
export class Generation {
  readonly path: string
  readonly inode: number
  readonly counts: Footer['counts']
  private readonly descriptor: number
  private readonly footer: Footer
  private readonly pages = new Map<number, Page>()
  private readonly kept = new Map<string, Buffer>()

  constructor(path: string) {
    this.path = path
    this.descriptor = openSync(path, 'r')
    DESCRIPTORS.register(this, this.descriptor)
    this.inode = fstatSync(this.descriptor).ino
    this.footer = this.readFooter()
    this.counts = this.footer.counts
  }

  /** Records with an interval that overlaps the range, both ends included; each once, in order. */
  overlapping(from: number, to: number): ArchiveHit[] {
    const found = new Map<number, { block: number; slot: number }>()
    const fences = floats(this.section('fences'))
    for (const [start, end] of this.footer.lanes) {
      for (let page = start; page < end && fences[2 * page]! <= to; page++) {
        if (fences[2 * page + 1]! < from) continue
        const { time1, time2, blocks, slots, orders } = this.page(page)
        for (let i = 0; i < PAGE_ENTRIES && time1[i]! <= to; i++)
          if (time2[i]! >= from) found.set(orders[i]!, { block: blocks[i]!, slot: slots[i]! })
      }
    }
    const byBlock = new Map<number, readonly string[]>()
    return [...found]
      .sort(([a], [b]) => a - b)
      .map(([order, { block, slot }]) => {
        const lines = byBlock.get(block) ?? this.block(block).lines
        byBlock.set(block, lines)
        return { line: lines[slot] ?? this.bad(`block ${block} has no record ${slot}`), order }
      })
  }

  /** Every record, in order; memory of one run. */
  *lines(): Generator<string> {
    let run: { order: number; line: string }[] = []
    let base = 0
    const ordered = () => run.sort((a, b) => a.order - b.order).map(({ line }) => line)
    for (let block = 0; block < this.counts.blocks; block++) {
      const { lines, orders, base: ofBlock } = this.block(block)
      if (ofBlock !== base) {
        yield* ordered()
        run = []
        base = ofBlock
      }
      for (const [i, line] of lines.entries()) run.push({ line, order: orders[i]! })
    }
    yield* ordered()
  }

  /** Whether it has a record of exactly these bytes. */
  has(line: string): boolean {
    const digests = floats(this.section('digests'))
    const places = integers(this.section('places'))
    const wanted = shortDigest(line)
    for (let at = lowerBound(digests, wanted); digests[at] === wanted; at++)
      if (this.block(places[2 * at]!).lines[places[2 * at + 1]!] === line) return true
    return false
  }

  /** Whether a mark in it says that the segment was replaced, or that the run was removed. */
  marks(what: 'replaced' | 'removed', number: number): boolean {
    const numbers = floats(this.section(what))
    return numbers[lowerBound(numbers, number)] === number
  }

  /** Reads everything, and compares it with its checksums and counts. */
  verify(): void {
    for (const name of SECTIONS) this.section(name)
    for (let page = 0; page < this.counts.pages; page++) this.page(page)
    let records = 0
    for (let block = 0; block < this.counts.blocks; block++) records += this.block(block).lines.length
    if (records !== this.counts.records) this.bad(`${records} records instead of ${this.counts.records}`)
    this.pages.clear()
  }

  // --- internal ---

  /** What a merge takes over. */
  parts(): MergeParts {
    return {
      lanes: this.footer.lanes,
      page: (page) => this.page(page, false),
      table: this.section('table'),
      digests: floats(this.section('digests')),
      places: integers(this.section('places')),
      replaced: floats(this.section('replaced')),
      removed: floats(this.section('removed')),
      packed: (block) => this.packed(block).bytes,
    }
  }

  private readFooter(): Footer {
    const { size } = fstatSync(this.descriptor)
    const head = this.read(0, HEAD_BYTES)
    const tail = this.read(Math.max(0, size - TAIL_BYTES), TAIL_BYTES)
    if (head.toString('latin1', 0, 4) !== MAGIC || tail.toString('latin1', 8) !== MAGIC) this.bad('it is no archive')
    const version = head.readUInt16LE(4)
    if (version !== ARCHIVE_FORMAT) throw new ColdtrailError('E_MANIFEST_VERSION', { where: this.path, version })
    const length = tail.readUInt32LE(0)
    if (length > size - TAIL_BYTES - HEAD_BYTES) this.bad('its footer is cut off')
    const bytes = this.read(size - TAIL_BYTES - length, length)
    if (crc32(bytes) !== tail.readUInt32LE(4)) this.bad('its footer is damaged')
    return JSON.parse(bytes.toString()) as Footer
  }

  private section(name: SectionName): Buffer {
    const found = this.kept.get(name)
    if (found) return found
    const [offset, length, crc] = this.footer.sections[name]
    const bytes = this.read(offset, length)
    if (crc32(bytes) !== crc) this.bad(`its section ${name} is damaged`)
    // Typed arrays are laid over it at each question: a copy then would cost as much as all of it.
    const kept = bytes.byteOffset % 8 === 0 ? bytes : Buffer.from(aligned(bytes))
    this.kept.set(name, kept)
    return kept
  }

  private page(number: number, keep = true): Page {
    const found = this.pages.get(number)
    if (found) return found
    const bytes = this.read(this.footer.pages + number * PAGE_BYTES, PAGE_BYTES)
    if (crc32(bytes.subarray(0, PAGE_BYTES - 8)) !== bytes.readUInt32LE(PAGE_BYTES - 8))
      this.bad(`page ${number} of its time index is damaged`)
    const page = pageOf(aligned(bytes))
    if (keep && this.pages.size < KEPT_PAGES) this.pages.set(number, page)
    return page
  }

  private packed(number: number): { readonly bytes: Buffer; readonly raw: number; readonly base: number } {
    const [offset, length] = this.footer.sections.table
    if ((number + 1) * TABLE_BYTES > length) this.bad(`there is no block ${number}`)
    const entry =
      this.kept.get('table')?.subarray(number * TABLE_BYTES) ?? this.read(offset + number * TABLE_BYTES, TABLE_BYTES)
    const [at, size] = [entry.readDoubleLE(0), entry.readUInt32LE(8)]
    // An entry is covered by the sum of its table, which is not read for one block.
    if (!Number.isSafeInteger(at) || at < HEAD_BYTES || at + size > offset) this.bad(`block ${number} is lost`)
    const bytes = this.read(at, size)
    if (crc32(bytes) !== entry.readUInt32LE(16)) this.bad(`block ${number} is damaged`)
    return { bytes, raw: entry.readUInt32LE(12), base: entry.readUInt32LE(20) }
  }

  private block(number: number): {
    readonly lines: string[]
    readonly orders: readonly number[]
    readonly base: number
  } {
    const { bytes, raw, base } = this.packed(number)
    let text: string
    try {
      text = zstdDecompressSync(bytes, { maxOutputLength: Math.min(raw, MOST_RAW) }).toString()
    } catch (error) {
      this.bad(`block ${number} is damaged: ${(error as Error).message}`)
    }
    const lines = text.split('\n')
    lines.pop()
    const orders = JSON.parse(lines.shift() ?? '[]') as number[]
    return { lines, orders, base }
  }

  private read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    let at = 0
    while (at < length) {
      const read = readSync(this.descriptor, bytes, at, length - at, offset + at)
      if (read === 0) this.bad('it is cut off')
      at += read
    }
    return bytes
  }

  private bad(reason: string): never {
    throw new ColdtrailError('E_MANIFEST_FORMAT', { where: this.path, reason })
  }
}

// --- internal ---

const MAGIC = 'CTMA'
const HEAD_BYTES = 8
const TAIL_BYTES = 12
const PAGE_ENTRIES = 256
/** Two doubles and three 32-bit numbers an entry; checksum and 4 bytes that align. */
const PAGE_BYTES = PAGE_ENTRIES * 28 + 8
/** 7 KB each: the whole index of a million manifests. */
const KEPT_PAGES = 8_192
const TABLE_BYTES = 24
const BLOCK_RECORDS = 64
/** Unpacked: small enough that one record of it costs little, large enough that neighbours compress each other. */
const BLOCK_BYTES = 32_768
/** A single manifest may be larger than a block. */
const MOST_RAW = 64 * 1024 * 1024
const SECTIONS = ['fences', 'table', 'digests', 'places', 'replaced', 'removed'] as const

type SectionName = (typeof SECTIONS)[number]

interface Footer {
  readonly counts: {
    readonly records: number
    readonly manifests: number
    readonly entries: number
    readonly blocks: number
    readonly pages: number
  }
  /** First page, and the one behind the last. */
  readonly lanes: readonly (readonly [number, number])[]
  /** Where the pages begin. */
  readonly pages: number
  /** Offset, length, CRC-32. */
  readonly sections: Readonly<Record<SectionName, readonly [number, number, number]>>
}

interface Page {
  readonly time1: Float64Array
  readonly time2: Float64Array
  readonly blocks: Uint32Array
  readonly slots: Uint32Array
  readonly orders: Uint32Array
}

interface MergeParts {
  readonly lanes: Footer['lanes']
  readonly page: (number: number) => Page
  readonly table: Buffer
  readonly digests: Float64Array
  readonly places: Uint32Array
  readonly replaced: Float64Array
  readonly removed: Float64Array
  readonly packed: (block: number) => Buffer
}

/** Descriptors of generations that nobody holds any more: readers may still be on one that a merge has replaced. */
const DESCRIPTORS = new FinalizationRegistry<number>((descriptor) => {
  closeSync(descriptor)
})

/** Lengths from which a lane takes intervals: each 16 times the one before. */
const LANE_SECONDS = [0, 256, 4_096, 65_536, 1_048_576, 16_777_216]

const laneOf = ([from, to]: Interval): number => LANE_SECONDS.findLastIndex((seconds) => to - from >= seconds)

const shortDigest = (line: string): number => Number.parseInt(sha256(`${line}\n`).slice(0, 12), 16)

/** Bytes whose memory typed arrays can be laid over. */
const aligned = (bytes: Buffer): ArrayBuffer => Uint8Array.from(bytes).buffer

const floats = (bytes: Buffer): Float64Array =>
  new Float64Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length / 8)

const integers = (bytes: Buffer): Uint32Array =>
  new Uint32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length / 4)

function pageOf(memory: ArrayBuffer): Page {
  const [n, at] = [PAGE_ENTRIES, PAGE_ENTRIES * 16]
  return {
    time1: new Float64Array(memory, 0, n),
    time2: new Float64Array(memory, n * 8, n),
    blocks: new Uint32Array(memory, at, n),
    slots: new Uint32Array(memory, at + n * 4, n),
    orders: new Uint32Array(memory, at + n * 8, n),
  }
}

function lowerBound(sorted: Float64Array, value: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}

function writing(path: string, fill: (writer: GenerationWriter) => void): void {
  const file = createDurableFile(path)
  try {
    const writer = new GenerationWriter(file)
    fill(writer)
    writer.finish()
    file.publish()
  } catch (error) {
    file.discard()
    throw error
  }
}

/** Entries of one lane of one part, sorted by time1. */
interface Entries {
  readonly count: number
  /** time1, time2, block, slot, order of entry `i`. */
  readonly at: (i: number) => readonly [number, number, number, number, number]
}

class GenerationWriter {
  private readonly file: DurableFile
  /** Runs of sorted entries by lane. */
  private readonly lanes: Entries[][] = LANE_SECONDS.map(() => [])
  private readonly tables: Buffer[] = []
  private readonly digests: { readonly digests: Float64Array; readonly places: Uint32Array }[] = []
  private readonly replaced = new Set<number>()
  private readonly removed = new Set<number>()
  private blocks = 0
  private records = 0
  private manifests = 0

  constructor(file: DurableFile) {
    this.file = file
    const head = Buffer.alloc(HEAD_BYTES)
    head.write(MAGIC, 'latin1')
    head.writeUInt16LE(ARCHIVE_FORMAT, 4)
    file.write(head)
  }

  addRun(records: readonly ArchiveRecord[]): void {
    // Records of one length and time lie together, so that a search unpacks few blocks.
    const sorted = records
      .map((record, order) => ({ ...record, order, lane: laneOf(record.intervals[0] ?? [0, 0]) }))
      .sort((a, b) => a.lane - b.lane || (a.intervals[0]?.[0] ?? 0) - (b.intervals[0]?.[0] ?? 0) || a.order - b.order)
    const base = this.records
    const entries: (readonly [number, number, number, number, number])[][] = LANE_SECONDS.map(() => [])
    const digests: (readonly [number, number, number])[] = []
    let block: typeof sorted = []
    let bytes = 0
    const close = (): void => {
      if (block.length === 0) return
      block.forEach(({ line, intervals, order }, slot) => {
        for (const interval of intervals)
          entries[laneOf(interval)]!.push([...interval, this.blocks, slot, base + order])
        digests.push([shortDigest(line), this.blocks, slot])
      })
      this.addBlock(block, base)
      block = []
      bytes = 0
    }
    for (const record of sorted) {
      const size = record.line.length
      const isOther = block.length > 0 && block[0]!.lane !== record.lane
      if (isOther || block.length === BLOCK_RECORDS || bytes + size > BLOCK_BYTES) close()
      block.push(record)
      bytes += size
      for (const segment of record.replaced ?? []) this.replaced.add(segment)
      if (record.removed !== undefined) this.removed.add(record.removed)
      if (record.intervals.length > 0) this.manifests += 1
    }
    close()
    this.records += records.length
    entries.forEach((list, lane) => {
      list.sort((a, b) => a[0] - b[0])
      if (list.length > 0) this.lanes[lane]!.push({ count: list.length, at: (i) => list[i]! })
    })
    digests.sort((a, b) => a[0] - b[0])
    this.digests.push({
      digests: Float64Array.from(digests, ([digest]) => digest),
      places: Uint32Array.from(digests.flatMap(([, block, slot]) => [block, slot])),
    })
  }

  addGeneration(generation: Generation): void {
    const part = generation.parts()
    const [firstBlock, firstRecord] = [this.blocks, this.records]
    const table = Buffer.from(part.table)
    for (let block = 0; block < generation.counts.blocks; block++) {
      const packed = part.packed(block)
      table.writeDoubleLE(this.file.size, block * TABLE_BYTES)
      table.writeUInt32LE(firstRecord + table.readUInt32LE(block * TABLE_BYTES + 20), block * TABLE_BYTES + 20)
      this.file.write(packed)
    }
    this.tables.push(table)
    part.lanes.forEach(([start, end], lane) => {
      // A page at a time is enough: entries are taken in order.
      let number = -1
      let page: Page | undefined
      const pageAt = (wanted: number): Page => {
        if (wanted !== number || page === undefined) {
          number = wanted
          page = part.page(start + wanted)
        }
        return page
      }
      let count = (end - start) * PAGE_ENTRIES
      if (count === 0) return
      const last = pageAt(end - start - 1).time1
      while (count > 0 && last[(count - 1) % PAGE_ENTRIES] === Number.POSITIVE_INFINITY) count--
      this.lanes[lane]!.push({
        count,
        at: (i) => {
          const { time1, time2, blocks, slots, orders } = pageAt(Math.floor(i / PAGE_ENTRIES))
          const k = i % PAGE_ENTRIES
          return [time1[k]!, time2[k]!, firstBlock + blocks[k]!, slots[k]!, firstRecord + orders[k]!]
        },
      })
    })
    const places = part.places.map((place, i) => (i % 2 === 0 ? firstBlock + place : place))
    this.digests.push({ digests: part.digests, places })
    for (const segment of part.replaced) this.replaced.add(segment)
    for (const run of part.removed) this.removed.add(run)
    this.blocks += generation.counts.blocks
    this.records += generation.counts.records
    this.manifests += generation.counts.manifests
  }

  finish(): void {
    const pages = this.file.size
    const fences: number[] = []
    const lanes: [number, number][] = []
    let entries = 0
    for (const parts of this.lanes) {
      const start = fences.length / 2
      entries += this.writeLane(parts, fences)
      lanes.push([start, fences.length / 2])
    }
    const digests = mergedDigests(this.digests)
    const numbers = (set: ReadonlySet<number>): Buffer => bytesOf(Float64Array.from(set).sort())
    const parts: Record<SectionName, Buffer> = {
      fences: bytesOf(Float64Array.from(fences)),
      table: Buffer.concat(this.tables),
      digests: bytesOf(digests.digests),
      places: bytesOf(digests.places),
      replaced: numbers(this.replaced),
      removed: numbers(this.removed),
    }
    const sections: Record<string, [number, number, number]> = {}
    for (const name of SECTIONS) {
      sections[name] = [this.file.size, parts[name].length, crc32(parts[name])]
      this.file.write(parts[name])
    }
    const { records, manifests, blocks } = this
    const counts = { records, manifests, entries, blocks, pages: fences.length / 2 }
    const footer = Buffer.from(JSON.stringify({ counts, lanes, pages, sections }))
    const tail = Buffer.alloc(TAIL_BYTES)
    tail.writeUInt32LE(footer.length, 0)
    tail.writeUInt32LE(crc32(footer), 4)
    tail.write(MAGIC, 8, 'latin1')
    this.file.write(footer)
    this.file.write(tail)
  }

  private addBlock(records: readonly { readonly line: string; readonly order: number }[], base: number): void {
    const orders = records.map(({ order }) => base + order)
    // Relative to the run, so that a merge can copy the block as it is.
    const relative = orders.map((order) => order - base)
    const raw = Buffer.from(`${[JSON.stringify(relative), ...records.map(({ line }) => line)].join('\n')}\n`)
    const packed = zstdCompressSync(raw, { params: { [constants.ZSTD_c_compressionLevel]: 3 } })
    const entry = Buffer.alloc(TABLE_BYTES)
    entry.writeDoubleLE(this.file.size, 0)
    entry.writeUInt32LE(packed.length, 8)
    entry.writeUInt32LE(raw.length, 12)
    entry.writeUInt32LE(crc32(packed), 16)
    entry.writeUInt32LE(base, 20)
    this.tables.push(entry)
    this.file.write(packed)
    this.blocks += 1
  }

  /** The entries of a lane in pages; answers how many. */
  private writeLane(parts: readonly Entries[], fences: number[]): number {
    let memory = emptyPage()
    let page = pageOf(memory)
    let filled = 0
    let most = Number.NEGATIVE_INFINITY
    let total = 0
    const flush = (): void => {
      if (filled === 0) return
      fences.push(page.time1[0]!, most)
      const bytes = Buffer.from(memory)
      bytes.writeUInt32LE(crc32(bytes.subarray(0, PAGE_BYTES - 8)), PAGE_BYTES - 8)
      this.file.write(bytes)
      total += filled
      memory = emptyPage()
      page = pageOf(memory)
      filled = 0
      most = Number.NEGATIVE_INFINITY
    }
    for (const [time1, time2, block, slot, order] of inOrder(parts)) {
      page.time1[filled] = time1
      page.time2[filled] = time2
      page.blocks[filled] = block
      page.slots[filled] = slot
      page.orders[filled] = order
      most = Math.max(most, time2)
      filled += 1
      if (filled === PAGE_ENTRIES) flush()
    }
    flush()
    return total
  }
}

function emptyPage(): ArrayBuffer {
  const memory = new ArrayBuffer(PAGE_BYTES)
  const page = pageOf(memory)
  page.time1.fill(Number.POSITIVE_INFINITY)
  page.time2.fill(Number.NEGATIVE_INFINITY)
  return memory
}

/** Entries of several sorted parts, sorted; parts are few. */
function* inOrder(parts: readonly Entries[]): Generator<ReturnType<Entries['at']>> {
  const heads = parts.map((part) => ({ part, next: 1, entry: part.at(0) }))
  while (heads.length > 0) {
    let least = heads[0]!
    for (const head of heads) if (head.entry[0] < least.entry[0]) least = head
    yield least.entry
    if (least.next < least.part.count) least.entry = least.part.at(least.next++)
    else heads.splice(heads.indexOf(least), 1)
  }
}

function mergedDigests(parts: readonly { readonly digests: Float64Array; readonly places: Uint32Array }[]) {
  const total = parts.reduce((sum, part) => sum + part.digests.length, 0)
  const digests = new Float64Array(total)
  const places = new Uint32Array(2 * total)
  const next = parts.map(() => 0)
  for (let at = 0; at < total; at++) {
    let least = -1
    for (let part = 0; part < parts.length; part++) {
      const value = parts[part]!.digests[next[part]!]
      if (value !== undefined && (least < 0 || value < parts[least]!.digests[next[least]!]!)) least = part
    }
    const from = next[least]!++
    digests[at] = parts[least]!.digests[from]!
    places[2 * at] = parts[least]!.places[2 * from]!
    places[2 * at + 1] = parts[least]!.places[2 * from + 1]!
  }
  return { digests, places }
}

const bytesOf = (array: Float64Array | Uint32Array): Buffer =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength)
