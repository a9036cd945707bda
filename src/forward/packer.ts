/**
 * Packs encoded events into batches that fill the wire limit after compression. Elements go into a block; a full block
 * is compressed while the next one is encoded, and joins the batch when it fits. Near the limit blocks get smaller, so
 * that a batch is filled to about 99 %. An element is never cut, and the order of events is kept.
 */

import { crc32 } from 'node:zlib'
import type { BatchLimits, ElementWriter, Encoded } from '../components/destination.ts'
import { ColdtrailError, printable } from '../core/errors.ts'
import type { OutgoingEvent } from '../core/outgoingEvent.ts'
import { deflatingAtOnce } from '../platform/deflateThreads.ts'
import {
  addPassed,
  comparePositions,
  type DeadLetter,
  NONE_PASSED,
  type Passed,
  type Position,
} from '../store/catalog/outbox.ts'
import { type BlockCompressor, blockCompressor } from './blockCompressor.ts'

export interface PackedBatch {
  /** Framed and compressed. */
  readonly body: Buffer
  readonly decodedBytes: number
  /** Of its records, in order. */
  readonly ids: readonly number[]
  readonly uids: readonly string[]
  /** Bytes of each element, without separators. */
  readonly lengths: readonly number[]
  /** Events of its range that cannot be sent. */
  readonly refused: readonly DeadLetter[]
  readonly passed: Passed
  /** The last event of its range. */
  readonly to: Position
}

export class Packer {
  /** Batches that are closed, in order; whoever takes them removes them. */
  readonly closed: PackedBatch[] = []
  /** Changes that `encode` reported, by text. */
  readonly notes = new Map<string, number>()
  private limits: BatchLimits
  private readonly encode: (event: OutgoingEvent, out: ElementWriter) => Encoded
  private readonly compressor: BlockCompressor
  private filling: Block
  /** Blocks being compressed, in order; they join batches one after another. */
  private readonly underWay: Compressing[] = []
  /** Memory of blocks that have been compressed. */
  private readonly spare: Buffer[] = []
  private batch = new OpenBatch()
  /** Raw bytes that a byte on the wire stood for, lately. */
  private ratio = 4
  /** Undefined when a block has been handed on or has joined a batch since. */
  private ahead: Ahead | undefined

  constructor(limits: BatchLimits, encode: (event: OutgoingEvent, out: ElementWriter) => Encoded) {
    this.limits = limits
    this.encode = encode
    this.compressor = blockCompressor(limits.compression)
    this.filling = this.block()
  }

  /** Takes an event. Resolves at once, or when an earlier block has been compressed. */
  add(event: OutgoingEvent, at: Position): Promise<void> | undefined {
    const { filling, limits } = this
    const start = filling.length
    const isArray = limits.framing === 'array'
    if (isArray) filling.byte(COMMA)
    const encoded = this.encoded(event, filling, start)
    if (encoded !== undefined) {
      if ('refused' in encoded) return this.refuse(start, event, at, encoded.refused)
      for (const note of encoded.notes) this.notes.set(note, (this.notes.get(note) ?? 0) + 1)
    }
    const length = filling.length - start - (isArray ? 1 : 0)
    if (!isArray) filling.byte(NEWLINE)
    if (length + 3 > limits.decodedBytes)
      return this.refuse(
        start,
        event,
        at,
        `its ${length} bytes exceed the ${limits.decodedBytes} that a batch may have`,
      )
    if (this.mustOpen(filling, event.time)) {
      const block = this.block()
      block.opensBatch = true
      block.take(filling, start)
      block.push(event, length, at)
      return this.rotate(block)
    }
    filling.push(event, length, at)
    return filling.length >= this.goal() ? this.rotate(this.block()) : undefined
  }

  /** Nothing up to this position is left to be sent; so many events before it were passed over. */
  pass(to: Position, passed: Passed = NONE_PASSED): void {
    this.filling.to = to
    if (passed.superseded + passed.offline > 0) this.filling.passed.push({ passed, at: to })
  }

  /** From now on batches have at most so many bytes before compression. */
  packSmaller(decodedBytes: number): void {
    this.limits = { ...this.limits, decodedBytes: Math.min(decodedBytes, this.limits.decodedBytes) }
    this.ahead = undefined
  }

  /** Closes what is open; more may be added afterwards. */
  async end(): Promise<void> {
    await this.rotate(this.block())
    await this.underWay.at(-1)?.joined
    await this.close()
  }

  // --- internal ---

  /** A defect of an encoder leaves nothing of its element behind: what was read before it is sent. */
  private encoded(event: OutgoingEvent, filling: Block, start: number): Encoded {
    try {
      return this.encode(event, filling)
    } catch (error) {
      filling.length = start
      const message = `event ${event.id} cannot be encoded: ${printable(String((error as Error)?.message ?? error))}`
      throw new ColdtrailError('E_INTERNAL', { message }, { cause: error })
    }
  }

  private block(): Block {
    return new Block(this.spare.pop() ?? Buffer.from(new SharedArrayBuffer(BLOCK_BYTES + 16 * 1024)))
  }

  private refuse(start: number, event: OutgoingEvent, at: Position, reason: string): Promise<void> | undefined {
    this.filling.length = start
    this.filling.to = at
    this.filling.refused.push({ letter: { id: event.id, uid: event.uid, reason }, at })
    return this.filling.refused.length >= MAX_REFUSED ? this.rotate(this.block()) : undefined
  }

  /** Whether another element would break a limit of the batch that is open. */
  private mustOpen(filling: Block, time: number | null): boolean {
    const { limits } = this
    let { records, decoded, earliest, latest } = filling.opensBatch ? NOTHING_AHEAD : this.partsAhead()
    records += filling.ids.length
    if (records === 0) return false
    decoded += filling.length
    if (records + 1 > limits.records || decoded + 1 > limits.decodedBytes) return true
    if (limits.timeSpan === undefined || time === null) return false
    earliest = Math.min(earliest, filling.earliest, time)
    latest = Math.max(latest, filling.latest, time)
    return latest - earliest >= limits.timeSpan
  }

  /** Raw bytes at which the block at hand is compressed: less when little room is left on the wire. */
  private goal(): number {
    return this.partsAhead().goal
  }

  /** Of the open batch, what comes before the block at hand. Asked for with every event, so it is kept. */
  private partsAhead(): Ahead {
    if (this.ahead !== undefined) return this.ahead
    const { batch, underWay, limits, compressor, ratio } = this
    const sum = { ...NOTHING_AHEAD }
    for (const part of [...underWay.map(({ block }) => block).reverse(), batch]) {
      sum.records += part.ids.length
      sum.decoded += part.length
      sum.earliest = Math.min(sum.earliest, part.earliest)
      sum.latest = Math.max(sum.latest, part.latest)
      if (part.opensBatch) break
    }
    const raw = underWay.reduce((sum, { block }) => sum + block.length, 0)
    const room = limits.wireBytes - compressor.overhead - batch.wire - raw / ratio
    this.ahead = { ...sum, goal: Math.max(SMALLEST_BLOCK, Math.min(BLOCK_BYTES, room * ratio * 0.9)) }
    return this.ahead
  }

  private async rotate(next: Block): Promise<void> {
    const { filling: block, underWay } = this
    this.filling = next
    const before = underWay.at(-1)
    const first = this.firstTry(block)
    const joined = (before?.joined ?? Promise.resolve())
      .then(() => this.append(block, first))
      .then(() => {
        underWay.shift()
        this.ahead = undefined
      })
    // Whoever waits for it meets its fault; it is no unhandled one until then.
    joined.catch(() => undefined)
    underWay.push({ block, joined })
    this.ahead = undefined
    if (underWay.length > COMPRESSED_AHEAD) await underWay[0]!.joined
  }

  /** Compresses a block as if those before it join the batch that is open, as most do. */
  private firstTry(block: Block): FirstTry | undefined {
    if (block.ids.length === 0) return undefined
    const { batch, compressor, underWay } = this
    const last = underWay.at(-1)?.block
    const opens = block.opensBatch || (last === undefined ? batch.ids.length === 0 : last.ids.length === 0)
    const before = opens ? undefined : (last?.end(compressor.window) ?? batch.tail)
    this.separate(block, opens)
    const packed = compressor.block(block.raw, before)
    packed.catch(() => undefined)
    return { opens, before, packed }
  }

  private separate(block: Block, opens: boolean): void {
    if (this.limits.framing === 'array') block.raw[0] = opens ? OPEN_BRACKET : COMMA
  }

  private async append(block: Block, first?: FirstTry): Promise<void> {
    if (block.opensBatch) await this.close()
    const { batch, compressor, limits } = this
    if (block.ids.length > 0) {
      const opens = batch.ids.length === 0
      // The thread that compressed it must have let go of its memory, even if that was for nothing.
      let packed = (await first?.packed) ?? NOTHING
      if (first === undefined || first.opens !== opens || !sameBytes(first.before, batch.tail)) {
        this.separate(block, opens)
        packed = await compressor.block(block.raw, batch.tail)
      }
      const { raw } = block
      if (batch.wire + packed.length + compressor.overhead > limits.wireBytes) {
        if (batch.ids.length > 0) {
          await this.close()
          return this.append(block)
        }
        return this.split(block, packed.length)
      }
      this.ratio = Math.max(1, (this.ratio + raw.length / packed.length) / 2)
      batch.append(block, packed, compressor.window)
      this.ahead = undefined
      if (compressor.window > 0) this.spare.push(block.buffer)
    }
    for (const { letter } of block.refused) batch.refused.push(letter)
    for (const { passed } of block.passed) batch.passed = addPassed(batch.passed, passed)
    if (block.to) batch.to = block.to
    const isFull = limits.wireBytes - batch.wire < limits.wireBytes / 256
    if (isFull || batch.refused.length >= MAX_REFUSED) await this.close()
  }

  /** A block that does not fit even alone: halved, down to the element that is too large. */
  private async split(block: Block, wireBytes: number): Promise<void> {
    if (block.ids.length === 1) {
      const [id, uid] = [block.ids[0]!, block.uids[0]!]
      const reason = `its ${wireBytes} bytes after compression exceed the ${this.limits.wireBytes} of a batch`
      block.refused.push({ letter: { id, uid, reason }, at: block.to! })
      block.clear()
      return this.append(block)
    }
    for (const half of block.halves()) await this.append(half)
  }

  private async close(): Promise<void> {
    const { batch, compressor } = this
    this.batch = new OpenBatch()
    this.ahead = undefined
    if (batch.to === undefined) return
    const tail = this.limits.framing === 'array' ? CLOSE_ARRAY : NOTHING
    const { ids, uids, lengths, refused, passed, to } = batch
    const body = ids.length > 0 ? await compressor.join(batch.blocks, batch, tail) : NOTHING
    this.closed.push({ body, decodedBytes: batch.length + tail.length, ids, uids, lengths, refused, passed, to })
  }
}

/** The elements `[from, to)` of a batch as a body of their own. */
export async function bodyOfPart(
  limits: BatchLimits,
  batch: Pick<PackedBatch, 'body' | 'lengths'>,
  from: number,
  to: number,
): Promise<{ body: Buffer; decodedBytes: number }> {
  const compressor = blockCompressor(limits.compression)
  const decoded = await compressor.decode(batch.body)
  // Each element has one byte of separator, before it in an array and behind it in lines.
  const before = batch.lengths.slice(0, from).reduce((sum, length) => sum + length + 1, 0)
  const size = batch.lengths.slice(from, to).reduce((sum, length) => sum + length + 1, 0)
  const raw = Buffer.from(decoded.subarray(before, before + size))
  const isArray = limits.framing === 'array'
  if (isArray) raw[0] = OPEN_BRACKET
  const tail = isArray ? CLOSE_ARRAY : NOTHING
  const sum = { length: raw.length, crc: crc32(raw) }
  const body = await compressor.join([await compressor.block(raw, undefined)], sum, tail)
  return { body, decodedBytes: raw.length + tail.length }
}

// --- internal ---

const BLOCK_BYTES = 1024 * 1024
const SMALLEST_BLOCK = 4 * 1024
/** Blocks compressed at once, so that other cores are busy. */
const COMPRESSED_AHEAD = deflatingAtOnce()
/** Refused events after which a batch is closed, so that they do not pile up where nothing is sent. */
const MAX_REFUSED = 10_000
const COMMA = 0x2c
const NEWLINE = 0x0a
const OPEN_BRACKET = 0x5b
const CLOSE_ARRAY = Buffer.from(']')
const NOTHING = Buffer.alloc(0)

interface Ahead {
  readonly records: number
  readonly decoded: number
  readonly earliest: number
  readonly latest: number
  readonly goal: number
}

const NOTHING_AHEAD = {
  records: 0,
  decoded: 0,
  earliest: Number.POSITIVE_INFINITY,
  latest: Number.NEGATIVE_INFINITY,
}

interface Compressing {
  readonly block: Block
  /** Resolves once it has joined a batch. */
  readonly joined: Promise<void>
}

interface FirstTry {
  readonly opens: boolean
  readonly before: Buffer | undefined
  readonly packed: Promise<Buffer>
}

const sameBytes = (a: Buffer | undefined, b: Buffer | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.equals(b))

/** Elements with their separators, and what they stand for. */
class Block implements ElementWriter {
  length = 0
  readonly ids: number[] = []
  readonly uids: string[] = []
  readonly lengths: number[] = []
  readonly refused: { readonly letter: DeadLetter; readonly at: Position }[] = []
  readonly passed: { readonly passed: Passed; readonly at: Position }[] = []
  earliest = Number.POSITIVE_INFINITY
  latest = Number.NEGATIVE_INFINITY
  to: Position | undefined
  /** It must not join the batch that is open. */
  opensBatch = false
  buffer: Buffer
  private readonly times: (number | null)[] = []
  private readonly places: Position[] = []

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  get raw(): Buffer {
    return this.buffer.subarray(0, this.length)
  }

  /** A copy of the last bytes, for the dictionary of the next block; undefined where none is used. */
  end(window: number): Buffer | undefined {
    return window === 0 ? undefined : Buffer.from(this.raw.subarray(-window))
  }

  push({ id, uid, time }: Pick<OutgoingEvent, 'id' | 'uid' | 'time'>, length: number, at: Position): void {
    this.ids.push(id)
    this.uids.push(uid)
    this.lengths.push(length)
    this.times.push(time)
    this.places.push(at)
    this.to = at
    if (time !== null) {
      if (time < this.earliest) this.earliest = time
      if (time > this.latest) this.latest = time
    }
  }

  byte(value: number): void {
    if (this.length === this.buffer.length) this.grow(1)
    this.buffer[this.length++] = value
  }

  text(text: string): void {
    const most = text.length * 3
    if (this.length + most > this.buffer.length) this.grow(most)
    this.length += this.buffer.write(text, this.length)
  }

  bytes(bytes: Uint8Array, start = 0, end = bytes.length): void {
    const count = end - start
    if (this.length + count > this.buffer.length) this.grow(count)
    const { buffer } = this
    let at = this.length
    if (count < 64) for (let from = start; from < end; from++) buffer[at++] = bytes[from]!
    // The buffer's own method copies a part without a view of it.
    else if (bytes instanceof Buffer) bytes.copy(buffer, at, start, end)
    else buffer.set(bytes.subarray(start, end), at)
    this.length += count
  }

  /** Moves the last element, from `start` on, out of another block. */
  take(other: Block, start: number): void {
    this.bytes(other.buffer, start, other.length)
    other.length = start
  }

  /** Its elements are gone; what was refused stays. */
  clear(): void {
    this.length = 0
    for (const list of [this.ids, this.uids, this.lengths, this.times, this.places]) list.length = 0
  }

  halves(): [Block, Block] {
    const middle = this.ids.length >> 1
    const cut = this.lengths.slice(0, middle).reduce((sum, length) => sum + length + 1, 0)
    const first = this.part(0, middle, 0, cut)
    const second = this.part(middle, this.ids.length, cut, this.length)
    first.opensBatch = this.opensBatch
    const end = first.to!
    const half = ({ at }: { readonly at: Position }): Block => (comparePositions(at, end) < 0 ? first : second)
    for (const refused of this.refused) half(refused).refused.push(refused)
    for (const passed of this.passed) half(passed).passed.push(passed)
    second.to = this.to
    return [first, second]
  }

  // --- internal ---

  private part(from: number, to: number, start: number, end: number): Block {
    const block = new Block(Buffer.allocUnsafeSlow(end - start))
    block.bytes(this.buffer, start, end)
    for (let i = from; i < to; i++)
      block.push({ id: this.ids[i]!, uid: this.uids[i]!, time: this.times[i]! }, this.lengths[i]!, this.places[i]!)
    return block
  }

  private grow(count: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.length + count))
    this.buffer.copy(larger, 0, 0, this.length)
    this.buffer = larger
  }
}

class OpenBatch {
  readonly opensBatch = false
  readonly blocks: Buffer[] = []
  readonly ids: number[] = []
  readonly uids: string[] = []
  readonly lengths: number[] = []
  readonly refused: DeadLetter[] = []
  passed = NONE_PASSED
  earliest = Number.POSITIVE_INFINITY
  latest = Number.NEGATIVE_INFINITY
  to: Position | undefined
  wire = 0
  length = 0
  crc = 0
  /** The end of its raw text. */
  tail: Buffer | undefined

  /** `window`: bytes of the end that the next block needs. */
  append(block: Block, packed: Buffer, window: number): void {
    this.blocks.push(packed)
    if (window > 0) {
      this.crc = crc32(block.raw, this.crc)
      // A short block shortens it, which costs little.
      this.tail = block.end(window)
    }
    this.wire += packed.length
    this.length += block.length
    for (const id of block.ids) this.ids.push(id)
    for (const uid of block.uids) this.uids.push(uid)
    for (const length of block.lengths) this.lengths.push(length)
    if (block.earliest < this.earliest) this.earliest = block.earliest
    if (block.latest > this.latest) this.latest = block.latest
  }
}
