/**
 * Real `./coldtrail forward` processes, killed while their receiver fails too; afterwards it has every selected event. A
 * seeded sample: the whole count is `npm run soak -- forward`.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ForwardKillTotals, forwardKills } from '../support/forwardKills.ts'
import { postgresUrl } from '../support/postgres.ts'
import { emptyDatabase } from '../support/postgresServer.ts'

function assertSound(totals: ForwardKillTotals): void {
  assert.deepEqual([totals.lost, totals.foreign, totals.verify_status], [0, 0, 0])
  assert.equal(totals.distinct, totals.selected)
  // Each event is settled exactly once, however often it was sent.
  assert.equal(totals.accepted, totals.selected)
  assert.ok(totals.repeats <= totals.allowed_repeats, `${totals.repeats} repeats, ${totals.allowed_repeats} allowed`)
}

test('a forwarder that is killed over and over sends every selected event, and repeats only what was under way', async () => {
  const totals = await forwardKills({ kills: 5, events: 6_000, seed: 20_260_310, budget: 90_000 })
  assertSound(totals)
  assert.ok(totals.kills >= 3, `${totals.kills} kills`)
})

test('the same with a PostgreSQL catalog', async () => {
  const url = await emptyDatabase(await postgresUrl(), 'forward_crash')
  const totals = await forwardKills({ kills: 2, events: 2_000, seed: 11, url, budget: 60_000 })
  assertSound(totals)
  assert.ok(totals.kills >= 1, `${totals.kills} kills`)
})
