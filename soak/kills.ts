/**
 * `npm run soak -- kills [--kills N] [--seed S] [--minutes M]`: kills collectors over and over and checks that every
 * event is there exactly once. The last line is one JSON object; exit status 1 when anything was found.
 */
import { parseArgs } from 'node:util'
import { killRounds } from '../test/support/killRounds.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
  },
})
const started = performance.now()
const seed = Number(values.seed)
const totals = await killRounds({
  kills: Number(values.kills),
  seed,
  budget: Number(values.minutes) * 60_000,
  onRound: ({ kills, details, rounds }, round) =>
    process.stdout.write(`round ${rounds - 1}, ${kills} kills, ${details.length} findings: ${round}\n`),
})
for (const detail of totals.details) process.stdout.write(`${detail}\n`)
const { details, ...counts } = totals
const seconds = Math.round((performance.now() - started) / 1000)
process.stdout.write(`${JSON.stringify({ ...counts, findings: details.length, seed, seconds })}\n`)
process.exitCode = details.length + counts.duplicates + counts.lost + counts.verify_faults > 0 ? 1 : 0
