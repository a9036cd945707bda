/** L18: rows that could not be taken in are held with their reason until somebody settles them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listQuarantine, quarantine, settle } from '../../src/library/quarantine.ts'
import { DIALECTS, listOf, withFreshLibrary } from '../support/freshLibrary.ts'

for (const dialect of DIALECTS)
  test(`L18: held rows are listed in order, once settled no more (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      const row = (i: number) => ({
        origin: i % 2 ? 'odd.csv' : 'even.csv',
        table: 'indicators',
        place: `line ${i}`,
        code: 'form' as const,
        reason: i === 0 ? 'x'.repeat(10_000) : `bad ${i}`,
        payload: JSON.stringify({ i, text: 'Zoë \u{1f600}' }),
      })
      const all = Array.from({ length: 1203 }, (_, i) => row(i))
      assert.equal(await library.database.write((tx) => quarantine(tx, all)), 1203)
      const list = async (filter = {}) => listOf(listQuarantine(library, filter))
      const held = await list()
      assert.deepEqual(
        held.map(({ payload }) => payload),
        all.map(({ payload }) => payload),
      )
      assert.equal(held[0]!.reason.length, 501)
      const { id, at, ...second } = held[1]!
      assert.deepEqual(second, row(1))
      const odd = await list({ origin: 'odd.csv' })
      assert.equal(odd.length, 601)
      const ids = odd.map(({ id }) => id)
      assert.equal(await library.database.write((tx) => settle(tx, ids, 'applied')), 601)
      assert.equal(await library.database.write((tx) => settle(tx, [id, held[0]!.id], 'dismissed')), 1)
      assert.equal((await list()).length, 601)
      assert.deepEqual(
        (await list({ settled: true, ids: [id, held[0]!.id] })).map(({ settlement }) => settlement),
        ['dismissed', 'applied'],
      )
      assert.equal((await list({ table: 'events' })).length, 0)
    })
  })
