import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sipHash48, sipHash64, sipKey } from '../../src/core/sipHash.ts'

const key = sipKey(Uint8Array.from({ length: 16 }, (_, i) => i))
const message = (length: number) => Uint8Array.from({ length }, (_, i) => i)
const hex = ({ low, high }: { low: number; high: number }) =>
  high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')

/** From the reference implementation's table: key 00…0f, message 00, 01, … of this length, as a 64-bit number. */
const VECTORS: readonly (readonly [number, string])[] = [
  [0, '726fdb47dd0e0e31'],
  [1, '74f839c593dc67fd'],
  [2, '0d6c8009d9a94f5a'],
  [7, 'ab0200f58b01d137'],
  [8, '93f5f5799a932462'],
  [15, 'a129ca6149be45e5'],
  [63, '958a324ceb064572'],
]

test('SipHash-2-4 gives the published vectors', () => {
  for (const [length, expected] of VECTORS) assert.equal(hex(sipHash64(key, message(length))), expected)
})

test('the type byte is the first byte of the message, and 48 bits are the lower ones', () => {
  for (let length = 1; length < 64; length++) {
    const { low, high } = sipHash64(key, message(length))
    const expected = (high & 0xffff) * 2 ** 32 + low
    assert.equal(sipHash48(key, 0, message(length), 1, length), expected)
  }
  // A type byte above the message's own values, at another place of a larger buffer.
  const padded = Buffer.from('..1.2.3.4..')
  const direct = sipHash64(key, Buffer.concat([Buffer.from([7]), Buffer.from('1.2.3.4')]))
  assert.equal(sipHash48(key, 7, padded, 2, 9), (direct.high & 0xffff) * 2 ** 32 + direct.low)
})

/** The algorithm as its paper writes it, in BigInt. */
function plainSipHash(keyBytes: Uint8Array, bytes: Uint8Array): bigint {
  const word = (from: Uint8Array, at: number) => Buffer.from(from).readBigUInt64LE(at)
  const mask = (1n << 64n) - 1n
  const turn = (x: bigint, by: bigint) => ((x << by) | (x >> (64n - by))) & mask
  const [k0, k1] = [word(keyBytes, 0), word(keyBytes, 8)]
  let v0 = k0 ^ 0x736f6d6570736575n
  let v1 = k1 ^ 0x646f72616e646f6dn
  let v2 = k0 ^ 0x6c7967656e657261n
  let v3 = k1 ^ 0x7465646279746573n
  const round = () => {
    v0 = (v0 + v1) & mask
    v1 = turn(v1, 13n) ^ v0
    v0 = turn(v0, 32n)
    v2 = (v2 + v3) & mask
    v3 = turn(v3, 16n) ^ v2
    v0 = (v0 + v3) & mask
    v3 = turn(v3, 21n) ^ v0
    v2 = (v2 + v1) & mask
    v1 = turn(v1, 17n) ^ v2
    v2 = turn(v2, 32n)
  }
  const padded = Buffer.alloc((Math.floor(bytes.length / 8) + 1) * 8)
  padded.set(bytes)
  padded[padded.length - 1] = bytes.length & 0xff
  for (let at = 0; at < padded.length; at += 8) {
    const m = word(padded, at)
    v3 ^= m
    round()
    round()
    v0 ^= m
  }
  v2 ^= 0xffn
  for (let i = 0; i < 4; i++) round()
  return v0 ^ v1 ^ v2 ^ v3
}

test('equals the algorithm in BigInt for random keys and messages', () => {
  let state = 12345
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return state >>> 16
  }
  for (let i = 0; i < 300; i++) {
    const keyBytes = Uint8Array.from({ length: 16 }, random)
    const bytes = Uint8Array.from({ length: random() % 300 }, random)
    const expected = plainSipHash(keyBytes, bytes).toString(16).padStart(16, '0')
    assert.equal(hex(sipHash64(sipKey(keyBytes), bytes)), expected)
  }
})

test('a key of another length is refused', () => {
  assert.throws(() => sipKey(new Uint8Array(15)), RangeError)
})
