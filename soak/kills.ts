/**
 * `npm run soak -- kills [--kills N] [--seed S] [--minutes M] [--database URL|embedded]`: kills collectors over and over
 * and checks that every event is there exactly once. `--database`: a PostgreSQL catalog instead of SQLite, in a fresh
 * database for each round, which is dropped after it: on the server of a `postgres://` URL whose user may create
 * databases, or on one that is started for the run. The last line is one JSON object; exit status 1 when anything was
 * found.
 */
import { parseArgs } from 'node:util'
import { type KillOptions, killRounds } from '../test/support/killRounds.ts'
import { dropDatabase, emptyDatabase, startPostgres } from '../test/support/postgresServer.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
    database: { type: 'string' },
  },
})
const started = performance.now()
const seed = Number(values.seed)
const embedded = values.database === 'embedded' ? await startPostgres() : undefined
const server = embedded?.url ?? values.database
/** Of this process, so that two soaks may use one server. */
const databaseOf = (round: number): string => `coldtrail_soak_${process.pid}_${round}`
const catalog: Pick<KillOptions, 'url' | 'onEnd'> =
  server === undefined
    ? {}
    : {
        url: (round) => emptyDatabase(server, databaseOf(round)),
        onEnd: (round) => dropDatabase(server, databaseOf(round)),
      }
const totals = await killRounds({
  kills: Number(values.kills),
  seed,
  budget: Number(values.minutes) * 60_000,
  ...catalog,
  onRound: ({ kills, details, rounds }, round) =>
    process.stdout.write(`round ${rounds - 1}, ${kills} kills, ${details.length} findings: ${round}\n`),
}).finally(() => embedded?.stop())
for (const detail of totals.details) process.stdout.write(`${detail}\n`)
const { details, ...counts } = totals
const seconds = Math.round((performance.now() - started) / 1000)
process.stdout.write(`${JSON.stringify({ ...counts, findings: details.length, seed, seconds })}\n`)
process.exitCode = details.length + counts.duplicates + counts.lost + counts.verify_faults > 0 ? 1 : 0
