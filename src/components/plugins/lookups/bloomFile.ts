/**
 * Reads bloom filters of the hashlookup project, in the format of DCSO's bloom: six 64-bit little-endian words — version
 * (1 in the low byte), capacity n, false positive rate p (a double), hash functions k, bits m, elements N — then the bits
 * in 64-bit words, then whatever else. Bits of a value: FNV-1 (64 bit) of its bytes modulo a prime, multiplied by another
 * (overflowing at 64 bits, as the original does) k times; each product modulo m is a bit.
 *
 * The filter is not read into memory unless it is small: a look-up reads the bytes it needs, and the system keeps what is
 * needed often for all workers together.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { ColdtrailError } from '../../../core/errors.ts'

export interface BloomHeader {
  readonly capacity: number
  readonly falsePositives: number
  readonly hashFunctions: number
  readonly bits: number
  readonly elements: number
}

export interface BloomFile {
  readonly header: BloomHeader
  /** False: it is not in the set. */
  has(value: string): boolean
  close(): void
}

/** E_FILE_READ, E_BLOOM_FILE. */
export function openBloomFile(path: string): BloomFile {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  try {
    const header = readHeader(descriptor, path)
    const byteAt = bytesOf(descriptor, header.bits)
    return {
      header,
      has: (value) => everyBit(value, header, (bit) => (byteAt(Math.floor(bit / 8)) & (1 << (bit % 8))) !== 0),
      close: () => closeSync(descriptor),
    }
  } catch (error) {
    closeSync(descriptor)
    if (error instanceof ColdtrailError) throw error
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}

/** The bits of a value, in order. */
export function fingerprint(
  value: string,
  { hashFunctions, bits }: Pick<BloomHeader, 'hashFunctions' | 'bits'>,
): number[] {
  const found: number[] = []
  everyBit(value, { hashFunctions, bits }, (bit) => found.push(bit) > 0)
  return found
}

export const HEADER_BYTES = 48

// --- internal ---

const PRIME = 18_446_744_073_709_551_557n
const FACTOR = 18_446_744_073_709_550_147n
const FNV_OFFSET = 14_695_981_039_346_656_037n
const FNV_PRIME = 1_099_511_628_211n
const MASK = 2n ** 64n - 1n
/** Filters up to this size are read once. */
const HELD_BYTES = 2 ** 24
const MAX_HASH_FUNCTIONS = 1_000

function everyBit(
  value: string,
  { hashFunctions, bits }: Pick<BloomHeader, 'hashFunctions' | 'bits'>,
  test: (bit: number) => boolean,
): boolean {
  let hash = FNV_OFFSET
  for (const byte of Buffer.from(value, 'utf8')) hash = ((hash * FNV_PRIME) & MASK) ^ BigInt(byte)
  hash %= PRIME
  const modulus = BigInt(bits)
  for (let i = 0; i < hashFunctions; i++) {
    hash = ((hash * FACTOR) & MASK) % PRIME
    if (!test(Number(hash % modulus))) return false
  }
  return true
}

function readHeader(descriptor: number, path: string): BloomHeader {
  const refuse = (cause: string) => new ColdtrailError('E_BLOOM_FILE', { path, cause })
  const stats = fstatSync(descriptor)
  if (!stats.isFile()) throw refuse('it is no regular file')
  const head = Buffer.alloc(HEADER_BYTES)
  const length = readSync(descriptor, head, 0, HEADER_BYTES, 0)
  if (length >= 2 && head[0] === 0x1f && head[1] === 0x8b) throw refuse('it is packed by gzip')
  if (length < HEADER_BYTES) throw refuse(`it has ${length} bytes, and the header alone has ${HEADER_BYTES}`)
  const word = (at: number): number => {
    const value = head.readBigUInt64LE(at)
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Infinity
  }
  const version = head[0]!
  if (version !== 1) throw refuse(`its version is ${version}, not 1`)
  const [capacity, hashFunctions, bits, elements] = [word(8), word(24), word(32), word(40)]
  const falsePositives = head.readDoubleLE(16)
  if (!(falsePositives > 0 && falsePositives < 1)) throw refuse(`its false positive rate is ${falsePositives}`)
  if (!(capacity > 0 && Number.isFinite(capacity))) throw refuse('its capacity is none')
  // As whoever makes a filter computes them; rounded differently by a bit at most.
  const wanted = Math.abs(Math.ceil((capacity * Math.log(falsePositives)) / Math.LN2 ** 2))
  if (!(Math.abs(bits - wanted) <= 1)) throw refuse(`it says ${bits} bits, which does not fit its capacity`)
  const functions = Math.ceil((Math.LN2 * bits) / capacity)
  if (!(Math.abs(hashFunctions - functions) <= 1) || hashFunctions < 1 || hashFunctions > MAX_HASH_FUNCTIONS)
    throw refuse(`it says ${hashFunctions} hash functions, which does not fit its capacity`)
  const size = HEADER_BYTES + 8 * Math.ceil(bits / 64)
  if (stats.size < size) throw refuse(`it has ${stats.size} of ${size} bytes`)
  return { capacity, falsePositives, hashFunctions, bits, elements }
}

function bytesOf(descriptor: number, bits: number): (at: number) => number {
  const size = Math.ceil(bits / 64) * 8
  if (size <= HELD_BYTES) {
    const held = Buffer.alloc(size)
    for (let at = 0; at < size; ) {
      const read = readSync(descriptor, held, at, size - at, HEADER_BYTES + at)
      if (read === 0) throw new Error('it became shorter')
      at += read
    }
    return (at) => held[at]!
  }
  const one = Buffer.alloc(1)
  return (at) => {
    if (readSync(descriptor, one, 0, 1, HEADER_BYTES + at) !== 1) throw new Error('the bloom filter became shorter')
    return one[0]!
  }
}
