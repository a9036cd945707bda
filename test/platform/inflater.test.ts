/** One engine for many pieces answers as an engine for each does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import { Inflater } from '../../src/platform/inflater.ts'

const LIMIT = 100_000
const plain = (bytes: Uint8Array): string => {
  try {
    return inflateSync(bytes, { maxOutputLength: LIMIT }).toString('base64')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? 'too long' : 'damaged'
  }
}

test('whole, cut, damaged and long pieces, in any order', () => {
  const inflater = new Inflater(LIMIT)
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => deflateSync(bytes)),
    fc.integer({ min: 0, max: LIMIT + 2000 }).map((length) => deflateSync(Buffer.alloc(length, 7))),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.double({ min: 0, max: 1, noNaN: true }))
      .map(([bytes, share]) => {
        const whole = deflateSync(bytes)
        return whole.subarray(0, Math.floor(share * whole.length))
      }),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.concat([deflateSync(bytes), Buffer.from('and more')])),
  )
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 20 }), (pieces) => {
      for (const bytes of pieces) {
        const found = inflater.inflate(bytes)
        assert.equal(typeof found === 'string' ? found : found.toString('base64'), plain(bytes))
      }
    }),
    { numRuns: 300 },
  )
})

test('lengths around those of its buffer and of its limit', () => {
  const inflater = new Inflater(LIMIT)
  for (const length of [0, 1, 16_383, 16_384, 16_385, 99_999, 100_000, 100_001, 131_072]) {
    const bytes = deflateSync(Buffer.alloc(length, 1))
    const found = inflater.inflate(bytes)
    assert.equal(typeof found === 'string' ? found : found.toString('base64'), plain(bytes), String(length))
  }
})
