/**
 * Real `./coldtrail collect` processes, killed; afterwards every event is in the store exactly once. A seeded sample:
 * the whole count is `npm run soak -- kills`. Killed compaction: test/collect/compaction.test.ts.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { startS3Server } from '../../src/demo/s3Server.ts'
import {
  type CrashSite,
  crashSite,
  knownLogs,
  putFiles,
  type SiteOptions,
  SOUND,
  summaryOf,
} from '../support/crashSite.ts'
import { KILL_POINTS, killRounds, S3_KEYS } from '../support/killRounds.ts'
import { postgresUrl } from '../support/postgres.ts'
import { emptyDatabase } from '../support/postgresServer.ts'

const SEED = 20_260_310
const LOGS = knownLogs(SEED)
/** Passed only when segments are merged. */
const COMPACTION_POINTS = /^(replace|retire)\./

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

function site(options?: SiteOptions): CrashSite {
  const made = crashSite(options)
  undo.push(made.remove)
  return made
}

/** What follows every series of kills: a run to the end, one with nothing new, and one after the catalog was lost. */
async function soundAtLast({ collect, check, rebuild }: CrashSite, options = {}): Promise<void> {
  const { busy, left, quarantined } = await collect(options)
  assert.deepEqual([busy, left, quarantined], [0, 0, 0])
  assert.equal((await collect(options)).objects, 0)
  assert.deepEqual(await check(LOGS), SOUND)
  await rebuild()
  assert.equal((await collect(options)).objects, 0, 'the rebuilt catalog knows every object')
  assert.deepEqual(await check(LOGS), SOUND)
}

test('killed at every fault point in turn, foreman and workers', async () => {
  const store = site()
  const points = KILL_POINTS.filter((point) => !COMPACTION_POINTS.test(point))
  for (const [turn, point] of points.entries()) {
    const count = LOGS.objects.length
    const part = { objects: LOGS.objects.slice((count * turn) / points.length, (count * (turn + 1)) / points.length) }
    putFiles(store.logs, part)
    const ended = await store.start({ fault: point }).ended
    if (point.endsWith('@main')) assert.equal(ended.signal, 'SIGKILL', `${point} was not passed: ${ended.stdout}`)
    else assert.ok(Number(summaryOf(ended).worker_deaths) > 0, `${point} was not passed: ${ended.stdout}`)
    assert.deepEqual((await store.check(LOGS)).duplicates, [], point)
  }
  await soundAtLast(store)
})

test('killed at random: the program, a worker, one of several collectors', async () => {
  const totals = await killRounds({ kills: 6, seed: SEED })
  assert.deepEqual(totals.details, [])
  assert.deepEqual([totals.duplicates, totals.lost, totals.verify_faults], [0, 0, 0])
  assert.ok(totals.kills >= 5, `${totals.kills} kills`)
})

test('PostgreSQL: killed at the points around a commit, then three collectors over a bucket and one killed', async () => {
  const store = site({ url: await emptyDatabase(await postgresUrl(), 'crash') })
  const server = await startS3Server()
  undo.push(() => server.close())
  const bucket = server.bucket('logs')
  const options = { source: ['s3://logs/', '--endpoint', server.endpoint], environment: S3_KEYS }
  const points = [
    'claim.committed',
    'commit.rows-written:2',
    'commit.link-written',
    'commit.done:3',
    'history.appended',
  ]
  for (const [turn, fault] of points.entries()) {
    const end = (LOGS.objects.length * (turn + 1)) / (points.length + 1)
    for (const { key, body } of LOGS.objects.slice(0, end)) if (!bucket.get(key)) bucket.put(key, body)
    assert.equal((await store.start({ ...options, fault }).ended).signal, 'SIGKILL', `${fault} was not passed`)
    assert.deepEqual((await store.check(LOGS)).duplicates, [], fault)
  }
  for (const { key, body } of LOGS.objects) if (!bucket.get(key)) bucket.put(key, body)
  const [victim, ...others] = [store.start(options), store.start(options), store.start(options)]
  while ((server.requests.get('GetObject') ?? 0) < 100) await sleep(5)
  victim!.kill()
  assert.equal((await victim!.ended).signal, 'SIGKILL')
  for (const { ended } of others) {
    const { status, stderr } = await ended
    assert.equal(status, 0, stderr)
  }
  await soundAtLast(store, options)
})

test('the soak kills with a catalog on a PostgreSQL server that is named, and leaves no database there', async () => {
  const url = await postgresUrl()
  const soak = join(import.meta.dirname, '../../soak/kills.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [soak, '--kills', '1', '--database', url])
  const totals = JSON.parse(stdout.trim().split('\n').at(-1)!)
  assert.deepEqual([totals.findings, totals.lost, totals.duplicates], [0, 0, 0])
  assert.ok(totals.kills >= 1 && stdout.includes(' postgres '), stdout)
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query("select datname from pg_database where datname like '%soak%'")
  await client.end()
  assert.deepEqual(rows, [])
})
