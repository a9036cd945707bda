import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { Sha256 } from '../../../../src/components/sources/s3/sha256.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const pieces = fc.array(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.string()), { maxLength: 4 })
// A secret longer than a block of 64 bytes is hashed first.
const secret = fc.oneof(fc.string(), fc.uint8Array({ minLength: 60, maxLength: 68 }), fc.uint8Array({ maxLength: 200 }))

test('digests and codes are those of node:crypto, in one piece or several', async () => {
  await fc.assert(
    fc.asyncProperty(fc.option(secret), pieces, async (key, parts) => {
      const expected = key === null ? createHash('sha256') : createHmac('sha256', key)
      const ours = new Sha256(key ?? undefined)
      ours.update('of before the reset')
      ours.reset()
      for (const part of parts) {
        expected.update(part)
        ours.update(part)
      }
      assert.equal(hex(await ours.digest()), expected.digest('hex'))
      ours.reset()
      ours.update('a')
      const again = key === null ? createHash('sha256') : createHmac('sha256', key)
      assert.equal(hex(await ours.digest()), again.update('a').digest('hex'))
    }),
    { numRuns: 500 },
  )
})
