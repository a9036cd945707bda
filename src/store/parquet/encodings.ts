/** Parquet's value encodings, as written by us. Source: parquet-format Encodings.md. */
import type { ByteWriter } from './byteWriter.ts'

const BLOCK = 128
const MINIBLOCK = 32
/** Beyond this spread a delta could leave the range of exact doubles, so the page is written PLAIN instead. */
export const DELTA_SPREAD_LIMIT = 2 ** 50

const deltas = new Float64Array(BLOCK)

/** DELTA_BINARY_PACKED of `count` safe integers whose spread is below DELTA_SPREAD_LIMIT. */
export function writeDelta(out: ByteWriter, values: Float64Array | Int32Array, count: number): void {
  out.varint(BLOCK)
  out.varint(BLOCK / MINIBLOCK)
  out.varint(count)
  out.zigzag(count > 0 ? values[0]! : 0)
  const isInt = values instanceof Int32Array
  for (let at = 1; at < count; at += BLOCK) {
    const size = Math.min(BLOCK, count - at)
    const least = isInt ? deltasOfInts(values, at, size) : deltasOfFloats(values, at, size)
    writeBlock(out, least, size)
  }
}

/** Bits needed for a non-negative safe integer. */
export function bitWidth(value: number): number {
  return value < 2 ** 31 ? 32 - Math.clz32(value) : 32 + (32 - Math.clz32(Math.floor(value / 2 ** 32)))
}

/** RLE / bit-packed hybrid of `count` ids, each below 2^width. Runs of 16 or more equal values become RLE runs. */
export function writeHybrid(out: ByteWriter, ids: Int32Array | Uint8Array, count: number, width: number): void {
  const bytesPerValue = (width + 7) >> 3
  let at = 0
  let packedFrom = 0
  const flushPacked = (to: number) => {
    if (to <= packedFrom) return
    const groups = (to - packedFrom + 7) >> 3
    out.varint((groups << 1) | 1)
    out.reserve(groups * width + 8)
    packIds(out, ids, packedFrom, to, groups, width)
  }
  while (at < count) {
    let run = at + 1
    const value = ids[at]!
    while (run < count && ids[run] === value) run++
    // A bit-packed stretch holds whole groups of 8, so an RLE run may start only where the groups before it are full.
    const aligned = at + ((8 - ((at - packedFrom) & 7)) & 7)
    if (run - aligned >= 16) {
      flushPacked(aligned)
      out.varint((run - aligned) << 1)
      for (let i = 0; i < bytesPerValue; i++) out.byte((value >>> (8 * i)) & 255)
      packedFrom = run
    }
    at = run
  }
  flushPacked(count)
}

// --- internal ---

/** Into `deltas`; the least of them. One for each kind of array, so that V8 compiles each once. */
function deltasOfInts(values: Int32Array, at: number, size: number): number {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < size; i++) {
    const delta = values[at + i]! - values[at + i - 1]!
    deltas[i] = delta
    if (delta < least) least = delta
  }
  return least
}
function deltasOfFloats(values: Float64Array, at: number, size: number): number {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < size; i++) {
    const delta = values[at + i]! - values[at + i - 1]!
    deltas[i] = delta
    if (delta < least) least = delta
  }
  return least
}

function writeBlock(out: ByteWriter, least: number, size: number): void {
  out.zigzag(least)
  out.reserve(4 + (BLOCK / MINIBLOCK) * MINIBLOCK * 8)
  const widths = out.length
  out.length += BLOCK / MINIBLOCK
  for (let mini = 0; mini < BLOCK / MINIBLOCK; mini++) {
    const from = mini * MINIBLOCK
    const to = Math.min(from + MINIBLOCK, size)
    let most = 0
    for (let i = from; i < to; i++) {
      const above = deltas[i]! - least
      deltas[i] = above
      if (above > most) most = above
    }
    for (let i = Math.max(from, to); i < from + MINIBLOCK; i++) deltas[i] = 0
    const width = from < size ? bitWidth(most) : 0
    out.buffer[widths + mini] = width
    if (width > 0) packBits(out, deltas, from, MINIBLOCK, width)
  }
}

function packBits(out: ByteWriter, values: Float64Array, from: number, count: number, width: number): void {
  const { buffer } = out
  let at = out.length
  if (width <= 24) {
    let bits = 0
    let held = 0
    for (let i = from; i < from + count; i++) {
      bits |= values[i]! << held
      held += width
      while (held >= 8) {
        buffer[at++] = bits & 255
        bits >>>= 8
        held -= 8
      }
    }
    out.length = at
    return
  }
  // Wide values: low 24 bits, then the rest in pieces of at most 24, which little-endian bit order allows.
  let bits = 0
  let held = 0
  for (let i = from; i < from + count; i++) {
    let rest = values[i]!
    for (let left = width; left > 0; left -= 24) {
      const piece = Math.min(left, 24)
      bits |= (rest % 2 ** piece) << held
      rest = Math.floor(rest / 2 ** piece)
      held += piece
      while (held >= 8) {
        buffer[at++] = bits & 255
        bits >>>= 8
        held -= 8
      }
    }
  }
  out.length = at
}

/** Groups of eight; the last one is filled up with zeros. */
function packIds(
  out: ByteWriter,
  ids: Int32Array | Uint8Array,
  from: number,
  to: number,
  groups: number,
  width: number,
): void {
  const { buffer } = out
  const end = out.length + groups * width
  let i = from
  for (let at = out.length; at < end; at += width) {
    const count = Math.min(8, to - i)
    for (let k = 0; k < count; k++) group[k] = ids[i + k]!
    if (count < 8) group.fill(0, count)
    packGroup(buffer, at, width)
    i += 8
  }
  out.length = end
}

const group = new Int32Array(8)

/**
 * Eight ids take `width` bytes. A function of its own, since V8 enters the code of a loop that it has compiled while it ran
 * again and again, and leaves it at the end of each.
 */
function packGroup(buffer: Buffer, start: number, width: number): void {
  const low = Math.min(width, 16)
  let at = start
  let bits = 0
  let held = 0
  for (let k = 0; k < 8; k++) {
    const id = group[k]!
    bits |= (id & 0xffff) << held
    held += low
    while (held >= 8) {
      buffer[at++] = bits & 255
      bits >>>= 8
      held -= 8
    }
    if (width > 16) {
      bits |= (id >>> 16) << held
      held += width - 16
      while (held >= 8) {
        buffer[at++] = bits & 255
        bits >>>= 8
        held -= 8
      }
    }
  }
}
