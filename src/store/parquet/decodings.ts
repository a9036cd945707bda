/**
 * Parquet's value encodings, read back (encodings.ts writes them). All of them throw a RangeError where the bytes end too
 * soon or say more than there is room for. Source: parquet-format Encodings.md.
 */

/** RLE / bit-packed hybrid of `count` ids of `width` bits, from `at` to `end`. */
export function readHybrid(bytes: Buffer, at: number, end: number, width: number, count: number): Int32Array {
  const ids = new Int32Array(count)
  if (width === 0) return ids
  if (width > 31) throw new RangeError(`ids of ${width} bits`)
  const reader = new ByteCursor(bytes, at, end)
  for (let i = 0; i < count; ) {
    const head = reader.varint()
    if (head % 2 === 0) {
      const run = Math.min(head / 2, count - i)
      if (run === 0) throw new RangeError('an empty run')
      let value = 0
      for (let shift = 0; shift < width; shift += 8) value |= reader.byte() << shift
      ids.fill(value, i, i + run)
      i += run
    } else {
      const groups = (head - 1) / 2
      const start = reader.skip(groups * width)
      const size = Math.min(groups * 8, count - i)
      if (size === 0) throw new RangeError('an empty run')
      unpackIds(bytes, start, width, ids, i, size)
      i += size
    }
  }
  return ids
}

/** DELTA_BINARY_PACKED of `count` integers that a double holds; `end` of the answer is behind them. */
export function readDelta(
  bytes: Buffer,
  at: number,
  end: number,
  count: number,
): { readonly values: Float64Array; readonly end: number } {
  const reader = new ByteCursor(bytes, at, end)
  const [block, minis, stated] = [reader.varint(), reader.varint(), reader.varint()]
  if (stated !== count || minis === 0 || minis > 256 || block > 65_536 || (block / minis) % 32 !== 0)
    throw new RangeError('no delta encoding')
  const size = block / minis
  const values = new Float64Array(count)
  let value = reader.zigzag()
  if (count > 0) values[0] = value
  const deltas = new Float64Array(size)
  for (let i = 1; i < count; ) {
    const least = reader.zigzag()
    const widths = reader.skip(minis)
    for (let mini = 0; mini < minis && i < count; mini++) {
      const width = bytes[widths + mini]!
      const filled = Math.min(size, count - i)
      if (width === 0) {
        for (let k = 0; k < filled; k++) {
          value += least
          values[i++] = value
        }
        continue
      }
      if (width > 64) throw new RangeError(`deltas of ${width} bits`)
      unpackDeltas(bytes, reader.skip((width * size) / 8), width, deltas, size)
      for (let k = 0; k < filled; k++) {
        value += least + deltas[k]!
        values[i++] = value
      }
    }
  }
  return { values, end: reader.at }
}

/** Two's complement, 64 bits each. */
export function readPlainIntegers(bytes: Buffer, at: number, end: number, count: number): Float64Array {
  if (at + count * 8 > end) throw new RangeError('fewer values than rows')
  const values = new Float64Array(count)
  for (let i = 0; i < count; i++, at += 8) values[i] = bytes.readUInt32LE(at) + bytes.readInt32LE(at + 4) * 2 ** 32
  return values
}

/** Where each of `count` values with its length in front begins; one more for the end of the last. */
export function readPlainTexts(bytes: Buffer, count: number): { starts: Int32Array; ends: Int32Array } {
  const [starts, ends] = [new Int32Array(count), new Int32Array(count)]
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) throw new RangeError('fewer values than stated')
    const start = at + 4
    at = start + bytes.readUInt32LE(at)
    starts[i] = start
    ends[i] = at
  }
  if (at > bytes.length) throw new RangeError('fewer values than stated')
  return { starts, ends }
}

// --- internal ---

class ByteCursor {
  private readonly bytes: Buffer
  private readonly end: number
  at: number

  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes
    this.at = at
    this.end = Math.min(end, bytes.length)
  }

  byte(): number {
    if (this.at >= this.end) throw new RangeError('it ends too soon')
    return this.bytes[this.at++]!
  }

  /** Where the next `count` bytes are. */
  skip(count: number): number {
    const { at } = this
    if (at + count > this.end) throw new RangeError('it ends too soon')
    this.at = at + count
    return at
  }

  varint(): number {
    let [value, factor] = [0, 1]
    for (;;) {
      const byte = this.byte()
      value += (byte & 127) * factor
      if (byte < 128) return value
      factor *= 128
      if (factor > 2 ** 63) throw new RangeError('a number of more than 64 bits')
    }
  }

  zigzag(): number {
    const value = this.varint()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}

function unpackIds(bytes: Buffer, at: number, width: number, ids: Int32Array, from: number, count: number): void {
  const mask = 2 ** width - 1
  const end = from + count
  if (width <= 24) {
    let [bits, held] = [0, 0]
    for (let i = from; i < end; i++) {
      while (held < width) {
        bits |= bytes[at++]! << held
        held += 8
      }
      ids[i] = bits & mask
      bits >>>= width
      held -= width
    }
    return
  }
  let [bits, held] = [0, 0]
  for (let i = from; i < end; i++) {
    while (held < width) {
      bits += bytes[at++]! * 2 ** held
      held += 8
    }
    ids[i] = bits % 2 ** width
    bits = Math.floor(bits / 2 ** width)
    held -= width
  }
}

/** Whole bytes: `count` is a multiple of 8. */
function unpackDeltas(bytes: Buffer, at: number, width: number, deltas: Float64Array, count: number): void {
  if (width <= 24) {
    const mask = 2 ** width - 1
    let [bits, held] = [0, 0]
    for (let i = 0; i < count; i++) {
      while (held < width) {
        bits |= bytes[at++]! << held
        held += 8
      }
      deltas[i] = bits & mask
      bits >>>= width
      held -= width
    }
    return
  }
  // In pieces of at most 24 bits, which little-endian bit order allows.
  let [bits, held] = [0, 0]
  for (let i = 0; i < count; i++) {
    let value = 0
    for (let done = 0; done < width; ) {
      const piece = Math.min(24, width - done)
      while (held < piece) {
        bits |= bytes[at++]! << held
        held += 8
      }
      value += (bits & (2 ** piece - 1)) * 2 ** done
      bits >>>= piece
      held -= piece
      done += piece
    }
    deltas[i] = value
  }
}
