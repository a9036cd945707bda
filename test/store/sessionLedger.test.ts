import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { parseSessionLedger, serializeSessionLedger } from '../../src/store/sessionLedger.ts'

const entry = fc.record({
  gap: fc.integer({ min: 1, max: 3 }),
  object: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  lastModified: fc.maxSafeInteger(),
  day: fc.nat(65_535),
})

test('a session ledger comes back as it was, holes in its ids included', () => {
  fc.assert(
    fc.property(fc.array(entry), fc.nat(2 ** 40), (list, first) => {
      let session = first
      const entries = list.map(({ gap, object, lastModified, day }) => {
        session += gap
        return { session, object: Buffer.from(object), lastModified, day }
      })
      assert.deepEqual(parseSessionLedger(serializeSessionLedger(entries), 'test'), entries)
    }),
  )
})

test('26 bytes a session', () => {
  const entries = Array.from({ length: 1000 }, (_, i) => ({
    session: 5 + i,
    object: Buffer.alloc(16, i),
    lastModified: i,
    day: 65_535,
  }))
  assert.equal(serializeSessionLedger(entries).length, 16 + 12 + 26_000)
})

test('damaged bytes are refused', () => {
  const refused = (bytes: Buffer): string => {
    try {
      parseSessionLedger(bytes, 'test')
    } catch (error) {
      return error instanceof ColdtrailError ? error.code : String(error)
    }
    return 'accepted'
  }
  const good = serializeSessionLedger([{ session: 1, object: Buffer.alloc(16), lastModified: 1, day: 1 }])
  for (let cut = 0; cut < good.length; cut++) assert.equal(refused(good.subarray(0, cut)), 'E_LEDGER_FORMAT')
  for (const at of [0, 7, 8, 12, 24]) {
    const bad = Buffer.from(good)
    bad[at] = bad[at]! ^ 0xff
    assert.equal(refused(bad), 'E_LEDGER_FORMAT', `byte ${at}`)
  }
  fc.assert(fc.property(fc.uint8Array(), (bytes) => assert.match(refused(Buffer.from(bytes)), /^(E_LEDGER_FORMAT)$/)))
})
