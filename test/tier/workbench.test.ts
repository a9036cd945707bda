/** A workbench is asked by every question of the library as its home is, alone and together with it. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { Compaction } from '../../src/collect/compaction.ts'
import { type Coldtrail, open, parseConfig } from '../../src/index.ts'
import { type Catalog, openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { restore } from '../../src/tier/restore.ts'
import { freshCatalog } from '../support/freshCatalog.ts'
import { locksFreed } from '../support/postgres.ts'
import { SampleStore } from '../support/sampleStore.ts'

const T0 = Date.parse('2023-07-10T00:00:00Z') * 1_000
const CASE = { collection: 'case1' }
const BOTH = { collection: 'main,case1' }

/** Two of three segments are offline, in a folder; their workbench is case1. */
suite('workbench', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'coldtrail-workbench-'))
  const backup = join(scratch, 'backup')
  const rules = join(scratch, 'rules.yaml')
  let store: SampleStore
  let coldtrail: Coldtrail
  let whole: Awaited<ReturnType<typeof asked>>

  before(async () => {
    store = await SampleStore.create()
    for (const day of [0, 1, 2])
      await store.seal([
        {
          key: `2023/07/1${day}/a.json`,
          events: [0, 1].map((n) => ({
            time: T0 + day * 86_400e6 + n * 1e6,
            columns: { actor_user_name: `user${day}`, api_operation: n === 0 ? 'CreateUser' : 'ListUsers' },
          })),
          rejects: day === 1 ? [Buffer.from('{"cut')] : [],
        },
      ])
    const where = join(scratch, 'out-*.ndjson')
    writeFileSync(rules, 'made\n  api_operation == "CreateUser"\n')
    const text = `data_dir: ${store.dataDir}\ndestinations:\n  - {name: out, type: file, path: "${where}"}\n`
    coldtrail = await open(parseConfig(text, { file: join(scratch, 'coldtrail.yaml'), environment: {} }))
    whole = await asked({})
    mkdirSync(backup)
    const home = store.catalog.collectionDirectory('main')
    for (const { files, segment } of await store.catalog.segments())
      if (segment < 3)
        for (const { name, kind } of files) renameSync(join(home, name), join(backup, `${kind}-of-${segment}.bak`))
    await coldtrail.workbenches.restore({ workbench: 'case1', folder: backup, segments: [1, 2] })
  })
  after(async () => {
    await coldtrail.close()
    await store.remove()
    rmSync(scratch, { recursive: true, force: true })
  })

  const listed = async <T>(rows: AsyncIterable<T>): Promise<T[]> => {
    const list: T[] = []
    for await (const row of rows) list.push(row)
    return list
  }
  /** What the library answers to every question. */
  async function asked(request: { readonly collection?: string }) {
    const { count } = await coldtrail.count(request)
    const found = await coldtrail.search({ ...request, columns: ['id', 'uid', 'time', 'actor_user_name'], order: 'id' })
    const { values } = await coldtrail.values({ ...request, field: 'user' })
    const { bins } = await coldtrail.timeline({ ...request, intervalSecs: 86_400 })
    const { records } = await coldtrail.rejects(request)
    return {
      ...{ count, values, bins, rows: await listed(found.rows), complete: found.complete },
      rejects: (await listed(records)).map(({ offset, data }) => [offset, Buffer.from(data).toString()]),
    }
  }

  test('together with its home, the answer is that of before the files had gone', async () => {
    assert.deepEqual(await asked(BOTH), whole)
    assert.deepEqual(await asked({ collection: ' case1 , main,main' }), whole)
    const alone = await asked(CASE)
    assert.deepEqual([alone.count, alone.values.map(({ value }) => value)], [4, ['user0', 'user1']])
    const gone = await coldtrail.search({})
    assert.deepEqual([(await listed(gone.rows)).length, gone.why[0]?.reason], [2, 'offline'])
    assert.match(gone.why[0]!.detail, /1-2; `coldtrail restore plan 1-2` says/)
  })

  test('one event is shown by id and by uid, from the workbench', async () => {
    const { id, uid } = whole.rows[0]!
    const byId = await coldtrail.show(String(id), CASE)
    assert.equal(byId.event.uid, uid)
    assert.deepEqual((await coldtrail.show(String(uid), BOTH)).event, byId.event)
    assert.equal((await coldtrail.showRaw(String(uid), CASE)).toString(), byId.event.data)
    await assert.rejects(coldtrail.show(String(id)), { code: 'E_EVENT_OFFLINE' })
    await assert.rejects(coldtrail.search({ collection: 'main,case9' }), { code: 'E_COLLECTION_UNKNOWN' })
    await assert.rejects(coldtrail.search({ collection: ',' }), { code: 'E_COLLECTION_UNKNOWN' })
  })

  test('what analyses find in it is of its home, and leaves with the events', async () => {
    const summary = await coldtrail.analysis.run({
      ...{ plugins: ['tagging'], options: { tagging: { file: rules } }, collection: 'case1', workers: 1 },
    })
    assert.equal((await coldtrail.analysis.runs())[0]?.collection, 'main')
    assert.equal((await coldtrail.analysis.runs())[0]?.readFrom, 'case1')
    assert.equal(summary.report.state, 'finished')
    const tagged = await coldtrail.count({ ...BOTH, expression: "tag == 'made'" })
    assert.equal(tagged.count, 2)
    const [row] = await store.catalog.segments({ collection: 'main', state: 'live' })
    assert.equal(row?.tags.length, 1)
    assert.equal(row?.tags[0]?.directory, store.catalog.collectionDirectory('main'))
    const shown = await coldtrail.show(String(whole.rows[0]!.id), CASE)
    assert.deepEqual(
      shown.tags.map(({ label }) => label),
      ['made'],
    )
  })

  test('it is forwarded as a feed of its own, and stands in for its home', async () => {
    const seen = new Set<string>()
    /** Since the last call. */
    const sent = (): string[] => {
      const files = readdirSync(scratch).filter((name) => name.startsWith('out-') && !seen.has(name))
      for (const name of files) seen.add(name)
      const lines = files.flatMap((name) => readFileSync(join(scratch, name), 'utf8').trim().split('\n'))
      return lines.map((line) => (JSON.parse(line) as { uid: string }).uid)
    }
    const [own] = await coldtrail.forward(CASE)
    assert.equal(own?.error, undefined)
    const uids = whole.rows.map(({ uid }) => uid)
    assert.deepEqual(sent(), uids.slice(0, 4))
    // The copies stand in for what is offline; a workbench beside its home needs no feed.
    const summaries = await coldtrail.forward(BOTH)
    assert.deepEqual(
      summaries.map(({ error }) => error),
      [undefined],
    )
    assert.deepEqual(sent(), uids)
    await coldtrail.forward(CASE)
    assert.deepEqual(sent(), [])
  })

  test('its manifests are those of its copies, and with the home each is told once', async () => {
    const names = async (collection: string): Promise<string[]> =>
      (await listed(coldtrail.manifests.query({ collection }))).map(({ manifest }) => manifest.filename).sort()
    const [home, copies] = [await names('main'), await names('case1')]
    // What was found since belongs to the home.
    assert.deepEqual(
      copies,
      home.filter((name) => !/000000003|^tag-/.test(name)),
    )
    assert.deepEqual(await names('main,case1'), home)
    const closure = await coldtrail.manifests.closure(CASE)
    assert.deepEqual(
      [closure.isComplete, closure.collections.map(({ bytesAway, segments }) => [bytesAway, segments])],
      [true, [[0, [1, 2]]]],
    )
    await assert.rejects(names('main,nowhere'), { code: 'E_COLLECTION_UNKNOWN' })
  })

  test('verify reads its copies', async () => {
    const faults: string[] = []
    const onFault = ({ file }: { file: string }): unknown => faults.push(file)
    const summary = await coldtrail.verify({ ...CASE, onFault })
    assert.deepEqual([summary.segments, faults], [2, []])
    const orphans: string[] = []
    await coldtrail.verify({ onOrphan: (file) => void orphans.push(file) })
    assert.deepEqual(orphans, [], 'the custody log belongs to the history')
    const [bench] = await coldtrail.workbenches.list()
    const path = join(bench!.directory, 'meta-000000002.parquet')
    const bytes = readFileSync(path)
    writeFileSync(path, Buffer.concat([bytes, Buffer.from('x')]))
    await coldtrail.verify({ ...CASE, onFault })
    assert.deepEqual(faults, [path])
    writeFileSync(path, bytes)
    const custody = join(store.dataDir, 'history/main/custody.ndjson')
    const log = readFileSync(custody, 'utf8')
    writeFileSync(custody, log.replace('case1', 'case2'))
    faults.length = 0
    await coldtrail.verify({ ...CASE, onFault })
    assert.deepEqual(faults, [custody])
    writeFileSync(custody, log)
  })
})

test('compaction leaves what a workbench has copies of, until it is removed', async () => {
  const store = await SampleStore.create()
  try {
    const { catalog, owner } = store
    for (const key of ['a', 'b', 'c', 'd', 'e']) await store.seal([{ key, events: [{ time: T0 }] }])
    const { signal } = new AbortController()
    const limits = { maxRows: 1_000, maxBytes: 2 ** 30, maxSessions: 1_000 }
    const log = (): void => undefined
    const compaction = new Compaction({
      ...{ catalog, owner, collection: 'main', producer: 'test/1', limits, log, signal, memoryBytes: 0 },
    })
    const coldtrail = await open(
      parseConfig(`data_dir: ${store.dataDir}\n`, { file: 'coldtrail.yaml', environment: {} }),
    )
    const { segments } = await coldtrail.workbenches.restore({ workbench: 'case1', segments: [2], all: true })
    assert.deepEqual([segments, [...(await catalog.segmentsInWorkbenches())]], [[2], [2]])
    assert.equal((await compaction.call()).replaced, 0)
    const merged = await store.segment(3)
    const sealed = { ...merged, sessions: [], segment: await catalog.draw(owner, 'segment', 1) }
    await assert.rejects(catalog.commitReplace(owner, sealed, [2]), { code: 'E_CLAIM_LOST' })
    await coldtrail.workbenches.remove('case1')
    assert.equal((await compaction.call()).replaced, 5)
    // The pack of a segment that is no more means the one that has its objects now.
    const plan = await coldtrail.workbenches.plan({ segments: [2], all: true })
    assert.deepEqual([plan.segments.length, plan.gaps], [1, []])
    assert.equal(plan.files.filter(({ kind }) => kind === 'log').length, 5)
    await coldtrail.close()
  } finally {
    await store.remove()
  }
})

test('on PostgreSQL too a workbench is made, kept, rebuilt and removed', async () => {
  const directories: string[] = []
  const options = await freshCatalog('postgres', directories)
  const store = await SampleStore.create(options)
  try {
    for (const key of ['a', 'b']) await store.seal([{ key, events: [{ time: T0 }] }])
    const restored = (catalog: Catalog, segment: number) =>
      restore({
        ...{ catalog, collection: 'main', workbench: 'case1', reason: '', expires: 1, all: true, segments: [segment] },
      })
    await restored(store.catalog, 1)
    await store.catalog.changeWorkbench(store.owner, 'case1', { action: 'hold', reason: '' })
    await restored(store.catalog, 2)
    const facts = async (catalog: Catalog) =>
      (await catalog.workbenches()).map(({ segments, copies, bytes, isHeld }) => [segments, copies, bytes > 0, isHeld])
    assert.deepEqual(await facts(store.catalog), [[2, 8, true, true]])
    await store.owner.release()
    await store.catalog.close()
    await locksFreed(options.url!)
    await rebuildCatalog(options)
    const catalog = await openCatalog(options)
    assert.deepEqual(await facts(catalog), [[2, 8, true, true]])
    const owner = await catalog.owner('restore')
    await catalog.changeWorkbench(owner, 'case1', { action: 'release', reason: '' })
    await catalog.sweep({ graceMs: 0 })
    assert.deepEqual(await catalog.workbenches(), [])
    assert.deepEqual((await restored(catalog, 1)).segments, [1])
    await owner.release()
    await catalog.close()
  } finally {
    for (const directory of [...directories, store.dataDir]) rmSync(directory, { recursive: true, force: true })
  }
})
