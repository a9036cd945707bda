/**
 * `npm run soak -- import [--kills N] [--seed S] [--minutes M] [--database embedded]`: kills `sync import` over and over
 * and compares the library with that of an import that nobody disturbed. The last line is one JSON object; exit status 1
 * when anything was found.
 */
import { parseArgs } from 'node:util'
import { importKills } from '../test/support/importKills.ts'
import { emptyDatabase, startPostgres } from '../test/support/postgresServer.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
    database: { type: 'string' },
  },
})
const started = performance.now()
const embedded = values.database === 'embedded' ? await startPostgres() : undefined
const totals = await importKills({
  kills: Number(values.kills),
  seed: Number(values.seed),
  budget: Number(values.minutes) * 60_000,
  ...(embedded && { url: (name) => emptyDatabase(embedded.url, `soak_${name.replace('-', '_')}`) }),
  onRound: (kills, story) => process.stdout.write(`${kills} kills: ${story}\n`),
}).finally(() => embedded?.stop())
const { differences, ...counts } = totals
for (const difference of differences) process.stdout.write(`${difference}\n`)
const seconds = Math.round((performance.now() - started) / 1_000)
process.stdout.write(
  `${JSON.stringify({ ...counts, findings: differences.length, seed: Number(values.seed), seconds })}\n`,
)
process.exitCode = differences.length > 0 ? 1 : 0
