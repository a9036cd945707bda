/**
 * `npm run soak -- forward [--kills N] [--events N] [--seed S] [--minutes M]`: kills forwarders over and over against a
 * receiver that fails at random, and checks that it has every selected event. The last line is one JSON object; exit
 * status 1 when anything was found.
 */
import { parseArgs } from 'node:util'
import { forwardKills } from '../test/support/forwardKills.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '50' },
    events: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
  },
})
const started = performance.now()
const seed = Number(values.seed)
const totals = await forwardKills({
  kills: Number(values.kills),
  events: Number(values.events),
  seed,
  budget: Number(values.minutes) * 60_000,
  onRun: ({ kills, runs }, story) => process.stdout.write(`run ${runs}, ${kills} kills: ${story}\n`),
})
const isSound =
  totals.lost + totals.foreign === 0 &&
  totals.accepted === totals.selected &&
  totals.repeats <= totals.allowed_repeats &&
  totals.verify_status === 0
const seconds = Math.round((performance.now() - started) / 1000)
process.stdout.write(`${JSON.stringify({ ...totals, sound: isSound, seed, seconds })}\n`)
process.exitCode = isSound ? 0 : 1
