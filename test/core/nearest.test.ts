import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { editDistance, nearest } from '../../src/core/nearest.ts'

test('the nearest name is found, and nothing far away is offered', () => {
  assert.equal(nearest('colect', ['collect', 'search', 'values']), 'collect')
  assert.equal(nearest('serach', ['collect', 'search']), 'search')
  assert.equal(nearest('DATA_DRI', ['data_dir', 'sources']), 'data_dir')
  assert.equal(nearest('zzzz', ['collect', 'search']), undefined)
  assert.equal(nearest('', ['collect']), undefined)
})

test('the distance is a symmetric count of edits, zero only for equal words', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b)
      assert.equal(distance, editDistance(b, a))
      assert.equal(distance === 0, a === b)
      assert.ok(distance >= Math.abs(a.length - b.length) && distance <= Math.max(a.length, b.length))
    }),
  )
})
