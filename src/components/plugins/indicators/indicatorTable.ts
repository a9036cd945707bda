/**
 * Indicators as a file that workers look values up in: a bitmap that says no to almost everything, slots of open
 * addressing on 64-bit hashes, and the texts, which are read only to confirm a hit. Equal indicators give equal files.
 *
 *   texts    of each indicator its kind (a byte), then type, value and uid in UTF-8, each behind its length (32 bits)
 *   offsets  of the texts, and where they end (doubles)
 *   slots    pairs of 32-bit words: the high half of the hash, the indicator's number from 1; 0 is empty
 *   bitmap   a bit per place of a hash
 *   footer   count, slots, bits of the bitmap, bytes of the texts (doubles)
 *
 * The machine's byte order; the file is for the run that made it.
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'

/** What an indicator and a value of an event have in common; a number in the file. */
export const INDICATOR_KINDS = [
  'ip',
  'cidr',
  'domain',
  /** Every name below this one. */
  'below',
  'url',
  'email',
  'md5',
  'sha1',
  'sha256',
  'sha384',
  'sha512',
  'gost',
  'user',
  'agent',
  'arn',
  'access_key',
] as const
export type IndicatorKind = (typeof INDICATOR_KINDS)[number]

export interface TableIndicator {
  readonly kind: IndicatorKind
  /** As the library names it. */
  readonly type: string
  readonly value: string
  readonly uid: string
}

/** Writes the table; answers how many indicators it holds. Memory: 24 bytes an indicator, and the slots. */
export async function writeIndicatorTable(path: string, indicators: AsyncIterable<TableIndicator>): Promise<number> {
  const file = openSync(path, 'w', 0o600)
  try {
    const out = new Output(file)
    const offsets = new Grown()
    const lows = new Grown()
    const highs = new Grown()
    for await (const { kind, type, value, uid } of indicators) {
      const { low, high } = hashOf(kind, value)
      offsets.push(out.size)
      lows.push(low)
      highs.push(high)
      out.text(INDICATOR_KINDS.indexOf(kind), type, value, uid)
    }
    const count = lows.length
    const textBytes = out.size
    offsets.push(textBytes)
    const slots = powerAbove(Math.max(16, count * 2))
    const bits = powerAbove(Math.max(1_024, count * 16))
    const table = new Uint32Array(slots * 2)
    const bitmap = new Uint32Array(bits / 32)
    const [low, high] = [lows.values(), highs.values()]
    for (let i = 0; i < count; i++) {
      let slot = low[i]! & (slots - 1)
      while (table[slot * 2 + 1] !== 0) slot = (slot + 1) & (slots - 1)
      table[slot * 2] = high[i]!
      table[slot * 2 + 1] = i + 1
      const bit = bitOf(low[i]!, high[i]!, bits)
      bitmap[bit >>> 5]! |= 1 << (bit & 31)
    }
    for (const part of [offsets.values(), table, bitmap, Float64Array.of(count, slots, bits, textBytes)])
      out.write(part)
    out.end()
    return count
  } finally {
    closeSync(file)
  }
}

export interface IndicatorTable {
  readonly count: number
  /** Every indicator of this kind and value. */
  find(kind: IndicatorKind, value: string): readonly TableIndicator[]
  close(): void
}

export function openIndicatorTable(path: string): IndicatorTable {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const [count, slots, bits, textBytes] = new Float64Array(readPart(file, size - FOOTER_BYTES, FOOTER_BYTES))
    const offsetBytes = (count! + 1) * 8
    const offsets = new Float64Array(readPart(file, textBytes!, offsetBytes))
    const table = new Uint32Array(readPart(file, textBytes! + offsetBytes, slots! * 8))
    const bitmap = new Uint32Array(readPart(file, textBytes! + offsetBytes + slots! * 8, bits! / 8))
    const read = (index: number): TableIndicator =>
      indicatorOf(Buffer.from(readPart(file, offsets[index]!, offsets[index + 1]! - offsets[index]!)))
    return {
      count: count!,
      find(kind, value) {
        const { low, high } = hashOf(kind, value)
        const bit = bitOf(low, high, bits!)
        if ((bitmap[bit >>> 5]! & (1 << (bit & 31))) === 0) return NONE
        const found: TableIndicator[] = []
        const last = slots! - 1
        for (let slot = low & last; table[slot * 2 + 1] !== 0; slot = (slot + 1) & last) {
          if (table[slot * 2] !== high) continue
          const indicator = read(table[slot * 2 + 1]! - 1)
          if (indicator.kind === kind && indicator.value === value) found.push(indicator)
        }
        return found
      },
      close: () => closeSync(file),
    }
  } catch (error) {
    closeSync(file)
    throw error
  }
}

// --- internal ---

const FOOTER_BYTES = 32
const NONE: readonly TableIndicator[] = []
const BUFFER_BYTES = 2 ** 20

/** Two words over the UTF-16 units of a value. A clash costs a look at a text, and nothing else. */
function hashOf(kind: IndicatorKind, value: string): { readonly low: number; readonly high: number } {
  let low = Math.imul(INDICATOR_KINDS.indexOf(kind) + 1, 0x9e3779b1) ^ 0xdeadbeef
  let high = low ^ 0x41c6ce57
  for (let at = 0; at < value.length; at++) {
    const unit = value.charCodeAt(at)
    low = Math.imul(low ^ unit, 0x85ebca77)
    high = Math.imul(high ^ unit, 0xc2b2ae3d)
  }
  low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35)
  high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35)
  return { low: low >>> 0, high: high >>> 0 }
}

const bitOf = (low: number, high: number, bits: number): number => ((high ^ (low >>> 7)) & (bits - 1)) >>> 0

function powerAbove(count: number): number {
  let power = 1
  while (power < count) power *= 2
  return power
}

function indicatorOf(bytes: Buffer): TableIndicator {
  let at = 1
  const text = (): string => {
    const length = bytes.readUInt32LE(at)
    at += 4 + length
    return bytes.toString('utf8', at - length, at)
  }
  return { kind: INDICATOR_KINDS[bytes[0]!]!, type: text(), value: text(), uid: text() }
}

function readPart(file: number, position: number, length: number): ArrayBuffer {
  const part = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const read = readSync(file, part, at, length - at, position + at)
    if (read === 0) throw new Error('the table of indicators is cut off')
    at += read
  }
  return part.buffer
}

class Output {
  private readonly file: number
  private readonly buffer = Buffer.alloc(BUFFER_BYTES)
  private held = 0
  size = 0

  constructor(file: number) {
    this.file = file
  }

  write(part: ArrayBufferView): void {
    const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength)
    this.size += bytes.length
    if (this.held + bytes.length > BUFFER_BYTES) this.end()
    if (bytes.length > BUFFER_BYTES) writeAll(this.file, bytes)
    else {
      this.buffer.set(bytes, this.held)
      this.held += bytes.length
    }
  }

  text(kind: number, ...texts: readonly string[]): void {
    // UTF-8 takes at most three bytes a unit.
    const most = 1 + texts.reduce((sum, text) => sum + 4 + text.length * 3, 0)
    if (most > BUFFER_BYTES) {
      this.write(Uint8Array.of(kind))
      for (const text of texts) {
        const bytes = Buffer.from(text, 'utf8')
        this.write(Uint32Array.of(bytes.length))
        this.write(bytes)
      }
      return
    }
    if (this.held + most > BUFFER_BYTES) this.end()
    const { buffer } = this
    let at = this.held
    buffer[at++] = kind
    for (const text of texts) {
      const length = buffer.write(text, at + 4, 'utf8')
      buffer.writeUInt32LE(length, at)
      at += 4 + length
    }
    this.size += at - this.held
    this.held = at
  }

  end(): void {
    writeAll(this.file, this.buffer.subarray(0, this.held))
    this.held = 0
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
}

/** Numbers, as many as come. */
class Grown {
  private array = new Float64Array(1_024)
  length = 0

  push(value: number): void {
    if (this.length === this.array.length) {
      const longer = new Float64Array(this.length * 2)
      longer.set(this.array)
      this.array = longer
    }
    this.array[this.length++] = value
  }

  values(): Float64Array {
    return this.array.subarray(0, this.length)
  }
}
