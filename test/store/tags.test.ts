/** Tag files and what is asked of them: their bytes, `tag` in questions, removal, compaction, verification, rebuild. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { decodeStream } from '../../src/collect/decode.ts'
import { compile } from '../../src/query/expression.ts'
import { questionOf } from '../../src/questions.ts'
import { openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { searchFindings } from '../../src/store/findingSearch.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { runNumber } from '../../src/store/runs.ts'
import { StoreReader } from '../../src/store/search.ts'
import { TagFileWriter, tagFileName } from '../../src/store/tags.ts'
import { type Fault, verifyStore } from '../../src/store/verify.ts'
import { rowsByDuckdb, rowsByHyparquet } from '../support/readParquet.ts'
import { SampleStore } from '../support/sampleStore.ts'
import { analyse, hit, runRequest, tag, writeTags } from '../support/tagging.ts'

const SECOND = 1e6
const START = 1_688_947_200 * SECOND

let store: SampleStore
let reader: StoreReader
let abortedRun = 0
before(async () => {
  store = await SampleStore.create()
  const keyset = loadKeysetKey(store.dataDir, '2023')
  const events = (count: number, user: string) =>
    Array.from({ length: count }, (_, i) => ({
      time: START + i * SECOND,
      columns: { actor_user_name: user, api_operation: `Operation${i % 3}` },
    }))
  await store.seal([{ key: 'a', events: events(12, 'alice') }], { keyset })
  await store.seal([{ key: 'b', events: events(8, 'bob') }], { keyset })
  await store.seal([{ key: 'c', events: [{ columns: { api_operation: 'Untimed' } }] }], { keyset })
  reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
})
after(async () => {
  await reader.close()
  await store.remove()
})

async function all<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const row of rows) found.push(row)
  return found
}
const findings = () => all(searchFindings({ catalog: store.catalog, reader }, {}).findings)
const ask = async (expression: string) => {
  const { rows } = await reader.search({ ...(await questionOf({ expression })), columns: ['id', 'tag'], order: 'id' })
  return all(rows)
}
const idsOf = async (expression: string) => (await ask(expression)).map(({ id }) => id)
const labelsOf = async () => {
  const { values } = await reader.values({ field: 'tag' })
  return Object.fromEntries(values.map(({ value, count }) => [value, count]))
}
const id = (at: number) => store.events[at]!.id

test('a tag file holds each row once, sorted by id, label, plugin and rule, whatever order they came in', async () => {
  const segment = (await store.catalog.segments())[0]!
  const kinds = fc.record({
    label: fc.constantFrom('a', 'B', 'b_1'),
    plugin: fc.constantFrom('tagging', 'sigma'),
    rule: fc.constantFrom('', 'r', 'ü', '😀'),
  })
  const tags = fc.array(fc.record({ id: fc.integer({ min: 1, max: 40 }), kind: kinds }), {
    minLength: 1,
    maxLength: 60,
  })
  let run = 1_000_000
  await fc.assert(
    fc.asyncProperty(tags, async (rows) => {
      run += 1
      const writer = new TagFileWriter({ segment, run, producer: 'test' })
      for (const part of [rows.filter((row) => row.id <= 20), rows.filter((row) => row.id > 20)])
        writer.add(
          part.map(({ kind }) => kind),
          Float64Array.from(part, (row) => row.id),
          Uint32Array.from(part, (_, i) => i),
        )
      const sealed = writer.seal()!
      const texts = (row: { id: number; label: string; plugin: string; rule: string }) =>
        Buffer.from([row.label, row.plugin, row.rule].join('\0'))
      const expected = [...new Map(rows.map(({ id, kind }) => [JSON.stringify([id, kind]), { id, ...kind }])).values()]
      expected.sort((a, b) => a.id - b.id || Buffer.compare(texts(a), texts(b)))
      for (const read of [rowsByDuckdb, rowsByHyparquet]) {
        const found = await read(join(segment.directory, sealed.name))
        const plain = found.map(({ id, ...row }) => ({ id: Number(id), ...row }))
        assert.deepEqual(plain, expected)
      }
      assert.equal(sealed.rows, expected.length)
      const events = (label: string) => new Set(expected.filter((row) => row.label === label).map((row) => row.id)).size
      const labels = [...new Set(expected.map(({ label }) => label))]
      assert.deepEqual(sealed.manifest.labels, Object.fromEntries(labels.map((label) => [label, events(label)])))
      writer.discard()
      assert.ok(!existsSync(join(segment.directory, sealed.name)))
    }),
    { numRuns: 25 },
  )
})

test('bad labels and events out of order are refused, and a file without tags is not made', async () => {
  const segment = (await store.catalog.segments())[0]!
  const options = { segment, run: 2_000_000, producer: 'test' }
  const one = (writer: TagFileWriter, id: number, label = 'x') =>
    writer.add([{ label, plugin: 'p', rule: '' }], Float64Array.of(id), Uint32Array.of(0))
  for (const label of ['', 'a b', 'a-b', 'é', 'a,b', 'x'.repeat(201)])
    assert.throws(() => one(new TagFileWriter(options), 1, label), /is no label/)
  const writer = new TagFileWriter(options)
  one(writer, 5)
  assert.throws(() => one(writer, 5), /comes behind/)
  writer.discard()
  assert.equal(new TagFileWriter(options).seal(), undefined)
  assert.ok(!readdirSync(segment.directory).some((name) => name.startsWith('tag-')))
})

test('many labels are not listed in a manifest, and then nothing is pruned by them', () => {
  const segment = { ...store, segment: 9, directory: store.catalog.collectionDirectory('main') }
  const row = {
    ...segment,
    collection: 'main',
    format: 'f',
    day: 'none',
    session1: 1,
    session2: 1,
    time1: null,
    time2: null,
  }
  const writer = new TagFileWriter({ segment: row, run: 3_000_000, producer: 'test' })
  const kinds = Array.from({ length: 1001 }, (_, i) => ({ label: `session_${i}`, plugin: 'sessionize', rule: '' }))
  writer.add(
    kinds,
    Float64Array.from(kinds, (_, i) => i + 1),
    Uint32Array.from(kinds, (_, i) => i),
  )
  assert.equal(writer.seal()!.manifest.labels, undefined)
  writer.discard()
})

test('whatever labels events have, a search answers what a predicate over each of them says', async () => {
  const labels = ['a', 'b', 'ab', 'B']
  const test = fc.oneof(
    fc.constantFrom(...labels, 'x').map((label) => `tag == '${label}'`),
    fc.constantFrom(...labels).map((label) => `tag != '${label}'`),
    fc.uniqueArray(fc.constantFrom(...labels), { minLength: 1 }).map((some) => `tag in ('${some.join("', '")}')`),
    fc.constantFrom(
      "tag contains 'b'",
      'tag exists',
      "tag regexp '^a'",
      "tag == nocase 'b'",
      "user == 'bob'",
      'tag < 1',
    ),
  )
  const expression = fc
    .tuple(test, fc.constantFrom('and', 'or', 'and not'), test)
    .map(([one, join, other]) => `${one} ${join} (${other})`.replaceAll('tag < 1', "operation == 'Operation1'"))
  const label = fc.record({ at: fc.integer({ min: 0, max: 20 }), label: fc.constantFrom(...labels) })
  const { catalog, owner } = store
  await fc.assert(
    fc.asyncProperty(
      fc.array(label, { maxLength: 12 }),
      fc.array(expression, { maxLength: 6 }),
      async (given, texts) => {
        const run = await analyse(
          store,
          given.map(({ at, label }) => tag(id(at), label)),
        )
        for (const text of texts) {
          const matches = compile(text)
          const expected = store.events.filter(({ id: event, columns, record }) => {
            const own = given.filter(({ at }) => id(at) === event).map(({ label }) => label)
            return matches.predicate({
              get: (name) => (name === 'tag' ? own : columns[name]),
              data: () => String(record),
            })
          })
          assert.deepEqual(
            await idsOf(text),
            expected.map(({ id }) => id),
            text,
          )
          assert.equal((await reader.count(await questionOf({ expression: text }))).count, expected.length, text)
        }
        await catalog.removeRun(owner, run)
        await catalog.sweep({ graceMs: 0 })
      },
    ),
    { numRuns: 25 },
  )
})

test('an uncommitted run has tagged nothing; a committed one answers in every question', async () => {
  const { catalog, owner } = store
  const segments = await catalog.segments({ state: 'live' })
  const aborted = await catalog.beginRun(owner, runRequest(segments))
  abortedRun = aborted
  writeTags(aborted, segments, [tag(id(0), 'never')])
  assert.deepEqual(await labelsOf(), {})
  await catalog.endRun(owner, aborted, 'aborted', 'test')

  const tags = [
    tag(id(0), 'login'),
    tag(id(0), 'root'),
    tag(id(3), 'login'),
    tag(id(12), 'login'),
    tag(id(20), 'untimed'),
  ]
  const first = await analyse(store, tags)
  // Another run says the same of an event again: it counts once.
  const second = await analyse(store, [tag(id(0), 'login'), tag(id(1), 'late', 'sessionize', '')])
  assert.deepEqual(await labelsOf(), { login: 3, late: 1, root: 1, untimed: 1 })
  assert.deepEqual(await idsOf("tag == 'login'"), [id(0), id(3), id(12)])
  assert.deepEqual(await idsOf("tag == 'login' and tag == 'root'"), [id(0)])
  assert.deepEqual(await idsOf("tag in ('root', 'late')"), [id(0), id(1)])
  assert.deepEqual(await idsOf("tag contains 'LO'"), [id(0), id(3), id(12)])
  assert.deepEqual(await idsOf("tag exists and tag != 'login'"), [id(1), id(20)])
  assert.deepEqual(
    await idsOf("not tag exists and user == 'bob'"),
    store.events.slice(13, 20).map(({ id }) => id),
  )
  assert.deepEqual(await idsOf("tag == 'login' and user == 'bob'"), [id(12)])
  assert.deepEqual(await idsOf("tag == 'none'"), [])
  assert.deepEqual(await ask("user == 'alice' and tag exists"), [
    { id: id(0), tag: ['login', 'root'] },
    { id: id(1), tag: ['late'] },
    { id: id(3), tag: ['login'] },
  ])
  assert.equal((await reader.count(await questionOf({ expression: "tag == 'login'" }))).count, 3)
  const timeline = await reader.timeline({ ...(await questionOf({ expression: 'tag exists' })), intervalSecs: 2 })
  assert.deepEqual([timeline.bins.map(({ count }) => count), timeline.untimed], [[3, 1], 1])
  const within = await reader.values({ ...(await questionOf({ expression: "user == 'alice'" })), field: 'tag' })
  assert.deepEqual(
    within.values.map(({ value, count, time1, time2 }) => [value, count, time1, time2]),
    [
      ['login', 2, START, START + 3 * SECOND],
      ['late', 1, START + SECOND, START + SECOND],
      ['root', 1, START, START],
    ],
  )
  const shown = await reader.show(id(0))
  assert.deepEqual(shown.tags, [
    { label: 'login', plugin: 'tagging', rule: 'login_rule', run: first },
    { label: 'root', plugin: 'tagging', rule: 'root_rule', run: first },
    { label: 'login', plugin: 'tagging', rule: 'login_rule', run: second },
  ])
})

test('segments without the label are not opened', async () => {
  const { explanation } = await reader.explain(await questionOf({ expression: "tag == 'untimed'" }))
  assert.equal(explanation.opened, 1)
  assert.equal((await reader.explain(await questionOf({ expression: "tag == 'login'" }))).explanation.opened, 2)
  assert.equal((await reader.explain(await questionOf({ expression: "tag contains 'login'" }))).explanation.opened, 3)
})

const unlimited = { maxBytes: Number.MAX_SAFE_INTEGER, maxRatio: Number.MAX_SAFE_INTEGER }
async function verified() {
  const faults: Fault[] = []
  const orphans: string[] = []
  const decode = async (received: AsyncIterable<Uint8Array>, size: number) =>
    (await decodeStream(received, size, unlimited)).decoded
  await verifyStore({
    ...{ catalog: store.catalog, dataDir: store.dataDir, decode },
    onFault: (fault) => faults.push(fault),
    onOrphan: (file) => orphans.push(file),
  })
  return { faults, orphans }
}

test('verify reads tag files, findings and reports, and names what is not as it was committed', async () => {
  await analyse(store, [tag(id(5), 'seen')], [hit(id(5), 'seen')])
  const { faults, orphans } = await verified()
  assert.deepEqual(faults, [])
  // The aborted run's file is nobody's.
  assert.deepEqual(
    orphans.map((path) => path.slice(path.lastIndexOf('/') + 1)).filter((name) => !name.endsWith('.manifest')),
    [tagFileName(1, abortedRun)],
  )
  const [segment] = await store.catalog.segments({ state: 'live' })
  const history = store.catalog.manifestDirectory('main')
  for (const path of [
    join(segment!.directory, segment!.tags[0]!.name),
    join(segment!.directory, `${segment!.tags[0]!.name}.manifest`),
    ...readdirSync(history)
      .filter((name) => /^(finding|run)-/.test(name))
      .map((name) => join(history, name)),
  ]) {
    const bytes = readFileSync(path)
    const damaged = Buffer.from(bytes)
    damaged[damaged.length >> 1]! ^= 1
    writeFileSync(path, damaged)
    assert.deepEqual(
      (await verified()).faults.map(({ file }) => file),
      [path],
      path,
    )
    writeFileSync(path, bytes)
  }
})

test('a compacted segment keeps the tags of those that it replaces, also of a run that was under way', async () => {
  const { catalog, owner, dataDir } = store
  const before = await ask('tag exists')
  const inputs = await catalog.segments({ state: 'live' })
  const run = await catalog.beginRun(owner, runRequest(inputs))
  const tagFiles = writeTags(run, inputs, [tag(id(2), 'slow'), tag(id(15), 'slow')])
  const segment = await catalog.draw(owner, 'segment', 1)
  const { format, day } = inputs[0]!
  const place = { collection: 'main', directory: catalog.collectionDirectory('main'), producer: 'coldtrail/test' }
  const sealed = await mergeSegments({ inputs, ...place, segment, format, day })
  await catalog.commitReplace(
    owner,
    sealed,
    inputs.map(({ segment }) => segment),
  )
  assert.deepEqual(await ask('tag exists'), before)
  await catalog.commitRun(owner, { run, state: 'partial', tagFiles, findings: null, report: {}, counters: {} })
  assert.deepEqual(await idsOf("tag == 'slow'"), [id(2), id(15)])
  await catalog.sweep({ graceMs: 0 })
  assert.deepEqual(await idsOf("tag == 'slow'"), [id(2), id(15)])
  assert.deepEqual((await verified()).faults, [])
  assert.ok(existsSync(dataDir))
})

test('removing a run takes its tags away at once, and its files once no reader needs them', async () => {
  const { catalog, owner } = store
  const counts = await labelsOf()
  const run = await analyse(store, [tag(id(7), 'gone'), tag(id(7), 'login')])
  assert.deepEqual(await labelsOf(), { ...counts, gone: 1, login: counts.login! + 1 })
  const files = () =>
    readdirSync(catalog.collectionDirectory('main')).filter((name) => name.includes(`-${runNumber(run)}.parquet`))
  const hold = await catalog.registerReader()
  assert.deepEqual(await catalog.removeRun(owner, run), { run, tags: 2, findings: 0 })
  assert.deepEqual(await labelsOf(), counts)
  await catalog.sweep({ graceMs: 0 })
  assert.equal(files().length, 2)
  assert.deepEqual((await verified()).faults, [])
  await hold.release()
  await reader.close()
  reader = new StoreReader({ catalog, dataDir: store.dataDir })
  await catalog.sweep({ graceMs: 0 })
  assert.deepEqual(files(), [])
  assert.deepEqual((await verified()).faults, [])
  await assert.rejects(catalog.removeRun(owner, run), { code: 'E_RUN_UNKNOWN' })
})

test('tags of superseded sessions are hidden with their events', async () => {
  const { catalog } = store
  const object = { key: 'late', events: [{ time: START, columns: { actor_user_name: 'carol' } }] }
  await store.seal([{ ...object, version: 'v1', lastModified: 1 }])
  const old = store.events.at(-1)!.id
  await analyse(store, [tag(old, 'carols')])
  await store.seal([{ ...object, version: 'v2', lastModified: 2 }])
  assert.deepEqual(await idsOf("tag == 'carols'"), [])
  assert.equal((await labelsOf()).carols, undefined)
  const { values } = await reader.values({ field: 'tag', allVersions: true })
  assert.ok(values.some(({ value }) => value === 'carols'))
  assert.ok((await catalog.runs()).length > 0)
})

test('a rebuild finds runs, tags and findings again, and numbers go on', async () => {
  const { dataDir } = store
  await analyse(store, [], [hit(id(4), 'seen')])
  const before = { labels: await labelsOf(), rows: await ask('tag exists'), runs: await store.catalog.runs() }
  const found = await findings()
  assert.equal(found.length, 2)
  await reader.close()
  await store.owner.release()
  await store.catalog.close()
  await rebuildCatalog({ dataDir })
  const catalog = await openCatalog({ dataDir })
  Object.assign(store, { catalog, owner: await catalog.owner('analyze') })
  reader = new StoreReader({ catalog, dataDir })
  const committed = before.runs.filter(({ sequence }) => sequence !== null)
  assert.deepEqual(await catalog.runs(), committed)
  assert.deepEqual(await labelsOf(), before.labels)
  assert.deepEqual(await ask('tag exists'), before.rows)
  assert.deepEqual(await findings(), found)
  const next = await catalog.beginRun(store.owner, runRequest([]))
  assert.ok(next > Math.max(...before.runs.map(({ run }) => run)))
  assert.deepEqual((await verified()).faults, [])
  await catalog.sweep({ graceMs: 0 })
  assert.deepEqual((await verified()).orphans, [])
})
