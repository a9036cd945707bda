import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { decodeStream } from '../../src/collect/decode.ts'
import { type CatalogOptions, openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { eraseSessions, planErasure } from '../../src/store/erase.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { StoreReader } from '../../src/store/search.ts'
import { loadPublicKeys } from '../../src/store/signingKeys.ts'
import { type Fault, verifyStore } from '../../src/store/verify.ts'
import { verifyOffline } from '../../src/store/verifyOffline.ts'
import { freshCatalog } from '../support/freshCatalog.ts'
import { duckdb } from '../support/readParquet.ts'
import { type SampleEvent, SampleStore } from '../support/sampleStore.ts'
import { analyse, hit, runRequest, tag, writeTags } from '../support/tagging.ts'

const folders: string[] = []
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

const SECRET = 'aaa-mallory'
const DAY = 1_688_947_200_000_000
const unlimited = { maxBytes: Number.MAX_SAFE_INTEGER, maxRatio: Number.MAX_SAFE_INTEGER }

const events = (count: number, user: string): SampleEvent[] =>
  Array.from({ length: count }, (_, i) => ({
    time: DAY + i * 1e6,
    columns: { api_operation: `Operation${i % 3}`, actor_user_name: `${user}${i % 2}`, src_endpoint_ip: `10.0.0.${i}` },
  }))

/** Three objects in two segments that were merged, one of them to be erased, and a run that speaks of all. */
async function filled(options: CatalogOptions) {
  const store = await SampleStore.create(options)
  const { catalog, owner, dataDir } = store
  const keyset = loadKeysetKey(dataDir, '2023')
  const reject = Buffer.from(`{"broken ${SECRET}`)
  const first = await store.seal(
    [
      { key: 'logs/kept', events: events(4, 'alice') },
      { key: `logs/${SECRET}`, events: events(6, SECRET), rejects: [reject] },
      { key: 'logs/last', events: events(3, 'bob'), rejects: [Buffer.from('{"other')] },
    ],
    { keyset },
  )
  const run1 = await analyse(
    { catalog, owner, dataDir },
    store.events.map(({ id }, i) => tag(id, i % 2 ? 'odd' : 'even')),
    store.events.map(({ id, columns }) => hit(id, 'seen', { title: `Seen ${columns.actor_user_name}` })),
  )
  const second = await store.seal([{ key: 'logs/two', events: events(5, 'carol'), codec: 'gzip' }], { keyset })
  const inputs = [await store.segment(first.segment), second]
  const segment = await catalog.draw(owner, 'segment', 1)
  const place = { collection: 'main', directory: catalog.collectionDirectory('main'), segment }
  const sealed = await mergeSegments({
    inputs,
    ...place,
    format: 'json_lines',
    day: '2023-07-10',
    producer: 'coldtrail/test',
  })
  await catalog.commitReplace(
    owner,
    sealed,
    inputs.map(({ segment }) => segment),
  )
  await catalog.sweep({ graceMs: 0 })
  const secret = store.events.filter(({ key }) => key.includes(SECRET))
  return { store, run1, secret, kept: store.events.filter((event) => !secret.includes(event)) }
}

async function faultsOf(options: CatalogOptions): Promise<{ faults: Fault[]; orphans: string[] }> {
  const catalog = await openCatalog(options)
  const faults: Fault[] = []
  const orphans: string[] = []
  const decode = async (received: AsyncIterable<Uint8Array>, size: number) =>
    (await decodeStream(received, size, unlimited)).decoded
  const { dataDir } = options
  const onFault = (fault: Fault) => faults.push(fault)
  await verifyStore({ catalog, dataDir, decode, onFault, onOrphan: (file) => orphans.push(file) })
  await verifyOffline({ historyDir: join(dataDir, 'history'), dataDir, keys: loadPublicKeys(dataDir), onFault })
  await catalog.close()
  return { faults, orphans }
}

/** Every file in which the secret stands, also inside of Parquet. */
async function leaks(dataDir: string): Promise<string[]> {
  const files = globSync('**/*', { cwd: dataDir }).filter((name) => statSync(join(dataDir, name)).isFile())
  const found = files.filter((name) => readFileSync(join(dataDir, name)).includes(SECRET))
  for (const name of files.filter((name) => name.endsWith('.parquet'))) {
    const sql = `SELECT count(*) AS n FROM @file AS f WHERE CAST(f AS VARCHAR) LIKE '%${SECRET}%'`
    const [row] = await duckdb(join(dataDir, name), sql)
    if (row!.n !== 0n) found.push(name)
  }
  return found.sort()
}

async function answers(options: CatalogOptions) {
  const catalog = await openCatalog(options)
  const reader = new StoreReader({ catalog, dataDir: options.dataDir })
  try {
    const found = await reader.search({ order: 'id', allVersions: true, columns: ['id', 'tag', 'session.key'] })
    const rows: { id: number; tag: unknown; 'session.key': string }[] = []
    for await (const row of found.rows) rows.push(row as never)
    const findings = await catalog.findings({ collection: 'main' })
    const rejects: string[] = []
    for await (const { data } of (await reader.rejects()).records) rejects.push(Buffer.from(data).toString())
    const users = await reader.values({ field: 'actor_user_name' })
    const sources = [`logs/${SECRET}`, 'logs/kept'].map((key) => {
      return { source: 's3://logs', bucket: 'logs', key, version: 'v1', size: 10, lastModified: 1 }
    })
    const owner = await catalog.owner('collect')
    const claims = await catalog.claim(owner, sources)
    await owner.release()
    return {
      ids: rows.map(({ id }) => id),
      tags: rows.map(({ tag }) => tag),
      keys: [...new Set(rows.map((row) => row['session.key']))],
      findings: findings.map(({ event, line }) => [event, line]),
      users: users.values.map(({ value }) => value).sort(),
      verdicts: claims.map(({ verdict }) => verdict),
      rejects,
    }
  } finally {
    await reader.close()
    await catalog.close()
  }
}

for (const dialect of ['sqlite', 'postgres'] as const)
  describe(`erasure on ${dialect}`, () => {
    test('no record, value, key, tag or finding of an object is left, everything else is as it was', async () => {
      const options = await freshCatalog(dialect, folders)
      const { store, secret, kept } = await filled(options)
      const { catalog, dataDir } = store
      const before = await answers(options)
      assert.equal(before.ids.length, secret.length + kept.length)
      assert.ok((await leaks(dataDir)).length >= 5, 'the check for leaks finds something before')
      const choice = { collection: 'main', objects: [`logs/${SECRET}`] }
      const eraser = { catalog, dataDir, producer: 'coldtrail/test' }
      const plan = await planErasure(eraser, choice)
      assert.deepEqual(
        plan.sessions.map(({ key, events, rejects }) => [key, events, rejects]),
        [[`logs/${SECRET}`, 6, 1]],
      )
      assert.deepEqual([plan.unknown, plan.notHere, plan.copies, plan.workbenches], [[], [], [], []])
      assert.deepEqual(await answers(options), before, 'a plan changes nothing')

      const { segments, historyErrors, waiting, catalogRewritten } = await eraseSessions(eraser, {
        ...choice,
        reason: 'court order 7',
      })
      assert.deepEqual([segments.length, historyErrors, waiting, catalogRewritten], [1, [], [], true])
      const links = await catalog.commits('main')
      const { body } = links.at(-1)!
      assert.ok(body.action === 'erase')
      assert.deepEqual(
        [body.reason, body.sessions, body.events],
        ['court order 7', [secret[0]!.session], [[secret[0]!.id, secret.at(-1)!.id]]],
      )
      assert.deepEqual(body.before.map(({ kind }) => kind).sort(), ['index', 'log', 'meta', 'reject', 'session', 'tag'])
      await catalog.close()

      const expected = {
        ids: kept.map(({ id }) => id),
        tags: before.tags.filter((_, i) => kept.some(({ id }) => id === before.ids[i])),
        keys: before.keys.filter((key) => !key.includes(SECRET)),
        findings: before.findings.filter(([event]) => kept.some(({ id }) => id === event)),
        users: before.users.filter((user) => !String(user).includes(SECRET)),
        rejects: ['{"other'],
        verdicts: ['known', 'known'],
      }
      assert.deepEqual(await answers(options), expected)
      assert.deepEqual(await leaks(dataDir), [])
      assert.deepEqual(await faultsOf(options), { faults: [], orphans: [] })

      // The other objects of the pack lie where they lay.
      const pack = join(dataDir, 'collections/main', `log-${String(segments[0]!.segment).padStart(9, '0')}.pack`)
      const bytes = readFileSync(pack)
      const last = JSON.stringify(events(1, 'bob')[0]!.columns)
      assert.ok(bytes.includes(last) && !bytes.includes(SECRET))

      await rebuildCatalog(options)
      assert.deepEqual(await answers(options), expected)
      assert.deepEqual(await leaks(dataDir), [])
      assert.deepEqual(await faultsOf(options), { faults: [], orphans: [] })
    })

    test('killed at every step, an erasure is not begun or done in the end; a rebuilt catalog agrees', async () => {
      const options = await freshCatalog(dialect, folders)
      const { store, kept, secret } = await filled(options)
      const seen = kept.filter(({ key }) => key !== 'logs/two')
      await store.catalog.close()
      const { dataDir, url = '', schema = '' } = options
      const script = join(import.meta.dirname, '../support/eraseRun.ts')
      const run = (fault: string) =>
        spawnSync(process.execPath, [script, dataDir, `logs/${SECRET}`, url, schema], {
          env: { ...process.env, COLDTRAIL_FAULT: fault },
          encoding: 'utf8',
        })
      const ids = kept.map(({ id }) => id)
      for (const fault of POINTS[dialect]) {
        const { signal, stderr } = run(fault)
        assert.equal(signal, 'SIGKILL', `${fault} was not passed: ${stderr}`)
        const found = await answers(options)
        // What is committed is committed: its events are gone, whatever else waits.
        const isDone = found.ids.length === ids.length
        const ofRun = isDone ? seen : [...seen, ...secret]
        assert.deepEqual(
          found.ids.filter((id) => ids.includes(id)),
          ids,
          fault,
        )
        assert.equal(found.findings.length, ofRun.length, fault)
      }
      const { status, stderr } = run('none')
      assert.equal(status, 0, stderr)
      assert.deepEqual((await answers(options)).ids, ids)
      assert.deepEqual(await leaks(dataDir), [])
      assert.deepEqual(await faultsOf(options), { faults: [], orphans: [] })
      await rebuildCatalog(options)
      assert.deepEqual((await answers(options)).ids, ids)
      assert.deepEqual(await faultsOf(options), { faults: [], orphans: [] })
    })

    test('a hold forbids it, unless it is overruled; what another process does meanwhile is refused', async () => {
      const options = await freshCatalog(dialect, folders)
      const { store, secret } = await filled(options)
      const { catalog, owner, dataDir } = store
      const eraser = { catalog, dataDir, producer: 'coldtrail/test' }
      const choice = { collection: 'main', sessions: [secret[0]!.session], reason: 'x' }
      const hold = { name: 'case7', reason: 'court', isOn: true, time1: DAY / 1e6, time2: DAY / 1e6 + 1 }
      await catalog.commitHold(owner, 'main', hold)
      await assert.rejects(eraseSessions(eraser, choice), { code: 'E_HELD' })
      const lock = await catalog.hold('compact-main')
      await assert.rejects(eraseSessions(eraser, { ...choice, despiteHold: true }), { code: 'E_CATALOG_BUSY' })
      await lock!.release()

      // A run that read the events before does not bring them back.
      const live = await catalog.segments({ state: 'live' })
      const run = await catalog.beginRun(owner, runRequest(live))
      const tagFiles = writeTags(run, live, [tag(secret[0]!.id, 'late')])
      const { segments } = await eraseSessions(eraser, { ...choice, despiteHold: true })
      assert.equal(segments.length, 1)
      const outcome = { run, state: 'finished', tagFiles, findings: null, report: {}, counters: {} } as const
      await assert.rejects(catalog.commitRun(owner, outcome), { code: 'E_CLAIM_LOST' })
      const again = await eraseSessions(eraser, choice)
      assert.deepEqual([again.segments, again.unknown], [[], [`session ${secret[0]!.session}`]])
      await catalog.close()
    })

    test('several packs become one; a second erasure takes from the first one what it kept', async () => {
      const options = await freshCatalog(dialect, folders)
      const { store, kept } = await filled(options)
      const { catalog, dataDir } = store
      const eraser = { catalog, dataDir, producer: 'coldtrail/test' }
      // Of both packs of the merged segment.
      const first = await eraseSessions(eraser, {
        collection: 'main',
        objects: [`logs/${SECRET}`, 'logs/two'],
        reason: 'x',
      })
      assert.equal(first.sessions.length, 2)
      const [row] = (await catalog.segments({ state: 'live' })).slice(-1)
      assert.deepEqual(row!.packs, [row!.segment])
      const second = await eraseSessions(eraser, { collection: 'main', objects: ['logs/kept'], reason: 'y' })
      assert.equal(second.sessions.length, 1)
      await catalog.close()
      const rest = kept.filter(({ key }) => key === 'logs/last').map(({ id }) => id)
      assert.deepEqual((await answers(options)).ids, rest)
      assert.deepEqual(await leaks(dataDir), [])
      assert.deepEqual(await faultsOf(options), { faults: [], orphans: [] })
      await rebuildCatalog(options)
      const { ids, verdicts } = await answers(options)
      assert.deepEqual([ids, verdicts], [rest, ['known', 'known']])
    })
  })

/** Each is passed by an erasure, in this order; a server costs more than a file, and what follows a commit is the same. */
const POINTS = {
  sqlite: [
    ...['segment.files-durable', 'erase.files-durable', 'commit.link-written', 'commit.done', 'archive.rotated'],
    ...['archive.cut', 'erase.history-cut', 'left.unlinked'],
  ],
  postgres: ['erase.files-durable', 'commit.link-written', 'history.appended'],
} as const
