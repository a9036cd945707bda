import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzzObjects } from '../support/fuzzObjects.ts'

test('damaged objects are collected or refused, and their neighbours are whole (npm run soak -- fuzz for more)', async () => {
  const totals = await fuzzObjects({ objects: 800, seed: 5 })
  assert.deepEqual(totals.details, [])
  assert.deepEqual([totals.objects, totals.neighbours, totals.lost, totals.duplicates], [800, 600, 0, 0])
  assert.ok(totals.rejects > 100 && Object.keys(totals.refused).length > 0, 'the damage is seen at all')
})
