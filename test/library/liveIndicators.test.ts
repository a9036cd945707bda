/** Which indicators detection looks for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { liveIndicators } from '../../src/library/liveIndicators.ts'
import { DIALECTS, listOf, withFreshLibrary } from '../support/freshLibrary.ts'
import { putRows } from '../support/libraryRows.ts'

const NOW = Date.UTC(2026, 5, 1) * 1_000

for (const dialect of DIALECTS) {
  test(`active indicators that have not expired, page by page (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      await putRows(library, async (put) => {
        const add = (value: string, more: object) =>
          put('indicators', { type_id: 'IP Address', value, ...more } as Parameters<typeof put>[1])
        await add('10.0.0.1', { status_id: 'Active' })
        await add('10.0.0.2', { status_id: 'Whitelisted' })
        await add('10.0.0.3', { status_id: 'Active', expires_at: NOW - 1 })
        await add('10.0.0.4', { status_id: 'Active', expires_at: NOW + 1 })
        await add('10.0.0.5', { status_id: 'Active', deleted_at: NOW - 1 })
        await add('10.0.0.6', { status_id: 'Review' })
        await add('10.0.0.7', {})
        await add('Evil.Example', { type_id: 'FQDN', status_id: 'Active' })
      })
      for (const pageRows of [1, 2, 4, 100]) {
        const found = await listOf(liveIndicators(library, { now: NOW, pageRows }))
        assert.deepEqual(
          found.map(({ type, value }) => [type, value]),
          [
            ['IP Address', '10.0.0.1'],
            ['IP Address', '10.0.0.4'],
            ['IP Address', '10.0.0.7'],
            ['FQDN', 'evil.example'],
          ],
        )
        assert.ok(found.every(({ uid }) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uid)))
      }
    })
  })
}
