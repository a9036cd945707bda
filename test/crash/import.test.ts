/** Real `./coldtrail sync import` processes, killed. A seeded sample: the whole count is `npm run soak -- import`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IMPORT_POINTS, importKills } from '../support/importKills.ts'
import { postgresUrl } from '../support/postgres.ts'
import { emptyDatabase } from '../support/postgresServer.ts'

test('T2: an import that is killed over and over ends, row for row, as one that nobody disturbed', async () => {
  const totals = await importKills({ kills: 2 * IMPORT_POINTS.length, seed: 20_261_121, budget: 120_000 })
  assert.deepEqual(totals.differences, [])
  assert.ok(totals.kills >= 4 && totals.resumed > 0, `${totals.kills} kills, ${totals.resumed} resumed`)
})

test('T2: the same with PostgreSQL', async () => {
  const server = await postgresUrl()
  const url = (name: string) => emptyDatabase(server, `import_${name.replace('-', '_')}`)
  const totals = await importKills({ kills: 4, seed: 7, url, budget: 90_000 })
  assert.deepEqual(totals.differences, [])
  assert.ok(totals.kills >= 4, `${totals.kills} kills`)
})
