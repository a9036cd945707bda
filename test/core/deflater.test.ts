import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { constants, deflateRawSync, gunzipSync, inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { DEFLATE_WINDOW, Deflater } from '../../src/core/deflater.ts'
import { cloudTrailFiles } from '../../src/demo/awsLogs.ts'

const deflater = new Deflater()

/** What zlib makes of a stream that is not at its end. */
function inflated(packed: Buffer, before: Uint8Array): Buffer {
  const dictionary = before.subarray(-DEFLATE_WINDOW)
  return inflateRawSync(packed, {
    finishFlush: constants.Z_SYNC_FLUSH,
    ...(dictionary.length > 0 && { dictionary }),
  })
}

function roundTrip(raw: Uint8Array, before: Uint8Array = new Uint8Array(0)): Buffer {
  const packed = deflater.deflate(raw, before)
  assert.ok(inflated(packed, before).equals(raw), `${raw.length} bytes after ${before.length}`)
  assert.ok(packed.length <= raw.length * 1.01 + 600, `${packed.length} bytes for ${raw.length}`)
  return packed
}

/** Words that repeat at any distance, runs, and what does not repeat. */
const bytes = fc
  .array(
    fc.oneof(
      fc.record({ of: fc.constant('word' as const), n: fc.nat(40), times: fc.integer({ min: 1, max: 900 }) }),
      fc.record({ of: fc.constant('run' as const), n: fc.nat(255), times: fc.integer({ min: 1, max: 2_000 }) }),
      fc.record({ of: fc.constant('random' as const), n: fc.nat(), times: fc.integer({ min: 1, max: 40_000 }) }),
    ),
    { maxLength: 12 },
  )
  .map((parts) =>
    Buffer.concat(
      parts.map(({ of, n, times }) => {
        if (of === 'run') return Buffer.alloc(times, n)
        if (of === 'random') return noise(n, times)
        return Buffer.concat(Array.from({ length: times }, (_, i) => Buffer.from(`"word${n}":"${(i * n) % 97}",`)))
      }),
    ),
  )

/** The same bytes for the same seed. */
function noise(seed: number, length: number): Buffer {
  const made = Buffer.alloc(length)
  let state = (seed >>> 0) | 1
  for (let i = 0; i < length; i++) {
    state = Math.imul(state, 1664525) + 1013904223
    made[i] = state >>> 24
  }
  return made
}

describe('deflate', () => {
  it('is inflated by zlib to what it was, with and without what was before it', () => {
    fc.assert(
      fc.property(bytes, bytes, (raw, before) => void roundTrip(raw, before)),
      { numRuns: 150 },
    )
  })

  it('takes every short length, and every length of a repeat', () => {
    for (let length = 0; length < 600; length++) {
      roundTrip(Buffer.alloc(length, 'a'))
      roundTrip(noise(length, length), noise(length, length))
      roundTrip(Buffer.concat([noise(1, length), noise(7, 20), noise(1, length)]))
    }
  })

  it('refers back as far as 32 KiB, and no further', () => {
    const repeated = noise(3, 400)
    for (const distance of [DEFLATE_WINDOW - 1, DEFLATE_WINDOW, DEFLATE_WINDOW + 1]) {
      const between = noise(9, distance - repeated.length)
      const all = roundTrip(Buffer.concat([repeated, between, repeated]))
      const least = roundTrip(Buffer.concat([repeated, between]))
      assert.equal(all.length - least.length < 100, distance <= DEFLATE_WINDOW, `at ${distance}`)
    }
  })

  it('keeps pieces of a stream apart: tables of an earlier one say nothing about the next', () => {
    for (let i = 0; i < 50; i++) roundTrip(i % 2 === 0 ? noise(i % 3, 5_000) : Buffer.alloc(70_000, 'ab'))
  })

  it('writes more than a mebibyte piece by piece, and bytes that cannot be made less', () => {
    roundTrip(Buffer.concat([randomBytes(1_500_000), Buffer.alloc(1_500_000, '{"key":"value"},')]))
  })

  it('makes of rows what zlib makes at its levels 3 to 5, or less', () => {
    const [file] = cloudTrailFiles({ bytes: 2e6, seed: 1 })
    const raw = gunzipSync(file!.body).subarray(0, 1_000_000)
    assert.ok(roundTrip(raw).length < deflateRawSync(raw, { level: 3 }).length * 1.02)
  })
})
