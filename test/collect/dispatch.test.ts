import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BATCH_BYTES, BATCH_OBJECTS, Dispatch } from '../../src/collect/dispatch.ts'
import type { Item } from '../../src/collect/tasks.ts'

const item = (number: number, day: number, size = 1000): Item => ({
  number,
  source: 0,
  replaces: false,
  object: {
    source: 's3://b',
    bucket: 'b',
    key: `AWSLogs/1/CloudTrail/us-east-1/2023/07/${String(day).padStart(2, '0')}/${number}.json.gz`,
    version: 'e',
    size,
    lastModified: 0,
  },
})
const dayOf = ({ object }: Item): string => object.key.split('/')[6]!

test('a day stays with its worker, and small days are not shared', () => {
  const dispatch = new Dispatch()
  for (let n = 0; n < 200; n++) dispatch.add(item(n, 1 + (n % 2)))
  const first = dispatch.take(0)
  const second = dispatch.take(1)
  assert.deepEqual(new Set(first.map(dayOf)), new Set(['01']))
  assert.deepEqual(new Set(second.map(dayOf)), new Set(['02']))
  for (let i = 0; i < 3; i++) for (const each of dispatch.take(0)) assert.equal(dayOf(each), '01')
  assert.deepEqual(dispatch.take(0), [], 'the rest of day 2 is not worth a segment more')
  dispatch.forgetWorker(1)
  assert.equal(dispatch.take(0).length, 36)
  assert.equal(dispatch.size, 0)
})

test('one long day uses every worker', () => {
  const dispatch = new Dispatch()
  for (let n = 0; n < 1000; n++) dispatch.add(item(n, 1))
  assert.equal(dispatch.take(0).length, BATCH_OBJECTS)
  assert.equal(dispatch.take(1).length, BATCH_OBJECTS)
  assert.equal(dispatch.take(2).length, BATCH_OBJECTS)
})

test('law: everything comes out once, in batches within their limits', () => {
  const arbitrary = fc.array(
    fc.record({ day: fc.integer({ min: 1, max: 5 }), size: fc.integer({ min: 0, max: 3 * BATCH_BYTES }) }),
    { maxLength: 300 },
  )
  fc.assert(
    fc.property(
      arbitrary,
      fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 20 }),
      (objects, workers) => {
        const dispatch = new Dispatch()
        for (const [n, { day, size }] of objects.entries()) dispatch.add(item(n, day, size))
        const seen: number[] = []
        let idle = 0
        for (let turn = 0; dispatch.size > 0; turn++) {
          const worker = workers[turn % workers.length]!
          const batch = dispatch.take(worker)
          const bytes = batch.reduce((sum, { object }) => sum + object.size, 0)
          assert.ok(batch.length <= BATCH_OBJECTS && (batch.length <= 1 || bytes <= BATCH_BYTES))
          seen.push(...batch.map(({ number }) => number))
          // Whoever is refused may be so only because another has the day open.
          idle = batch.length > 0 ? 0 : idle + 1
          assert.ok(idle <= workers.length * 4, 'some worker gets it')
        }
        assert.equal(dispatch.bytes, 0)
        assert.deepEqual(
          seen.sort((a, b) => a - b),
          objects.map((_, n) => n),
        )
      },
    ),
    { numRuns: 50 },
  )
})
