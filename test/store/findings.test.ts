/** Findings: their files and uids, what is asked of them, several runs with one, and the feed that sends them. */
import assert from 'node:assert/strict'
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { eventElements } from '../../src/components/rows/eventElement.ts'
import { ColdtrailError } from '../../src/core/errors.ts'
import { questionOf } from '../../src/questions.ts'
import type { Position } from '../../src/store/catalog/outbox.ts'
import { rebuildCatalog } from '../../src/store/catalog.ts'
import { type FeedQuestion, type FeedSource, openFeedSource } from '../../src/store/feedReader.ts'
import { type FindingQuestion, searchFindings } from '../../src/store/findingSearch.ts'
import { findingsName, findingUid } from '../../src/store/findings.ts'
import { StoreReader } from '../../src/store/search.ts'
import { SampleStore } from '../support/sampleStore.ts'
import { analyse, hit, tag } from '../support/tagging.ts'

const START = 1_688_947_200_000_000
let store: SampleStore
let reader: StoreReader
let source: FeedSource
before(async () => {
  store = await SampleStore.create()
  for (const name of ['a', 'b']) {
    const events = Array.from({ length: 6 }, (_, i) => ({
      time: START + i * 60e6,
      columns: { actor_user_name: i % 2 ? 'alice' : 'bob', api_operation: `Op${i}` },
    }))
    await store.seal([{ key: name, events }])
  }
  const { catalog, dataDir } = store
  reader = new StoreReader({ catalog, dataDir })
  source = openFeedSource({ catalog, dataDir })
})
after(async () => {
  await source.close()
  await reader.close()
  await store.remove()
})

const id = (at: number) => store.events[at]!.id

async function asked(question: FindingQuestion & { readonly expression?: string } = {}) {
  const { expression, ...more } = question
  const found = searchFindings({ catalog: store.catalog, reader }, { ...(await questionOf({ expression })), ...more })
  const findings = []
  for await (const each of found.findings) findings.push(each)
  return { findings, complete: found.complete }
}
const titles = async (question?: Parameters<typeof asked>[0]) =>
  (await asked(question)).findings.map(({ finding }) => `${finding.event} ${finding.label}`)

const BEGINNING: Position = { sequence: 0, id: 0 }
async function read(question: Partial<FeedQuestion> = {}) {
  const encode = eventElements({ data: 'none' })
  const sent: { position: Position; element: Record<string, unknown> }[] = []
  let passed = { superseded: 0, offline: 0 }
  let end = question.from ?? BEGINNING
  const all = {
    collection: 'main',
    stream: 'findings',
    columns: ['api_operation'],
    from: BEGINNING,
    ...question,
  } as const
  for await (const { events, sequence, upTo, superseded, offline } of source.read(all)) {
    passed = { superseded: passed.superseded + superseded, offline: passed.offline + offline }
    end = upTo
    for (const event of events) {
      const parts: (string | Uint8Array)[] = []
      const bytes = (given: Uint8Array, start = 0, stop = given.length) =>
        void parts.push(Buffer.from(given.subarray(start, stop)))
      encode(
        { ...plain(event), column: (name) => (name === 'api_operation' ? event.column(name) : null) },
        {
          text: (text) => void parts.push(text),
          bytes,
        },
      )
      sent.push({ position: { sequence, id: event.id }, element: JSON.parse(parts.map(String).join('')) })
    }
  }
  return { sent, passed, end }
}
const plain = ({
  id,
  uid,
  time,
  dataType,
  data,
  session,
  finding,
}: Parameters<ReturnType<typeof eventElements>>[0]) => ({
  ...{ id, uid, time, dataType, data, session },
  ...(finding && { finding }),
})

test('a run writes findings in order of their events, each once, with uids that every run gives them', async () => {
  const hits = [
    hit(id(2), 'login', { severity: 'low' }),
    hit(id(2), 'login', { severity: 'critical' }),
    hit(id(2), 'Admin', { plugin: 'tagging' }),
    hit(id(7), 'login', { title: 'Odd ❤ "title"' }),
  ]
  const run = await analyse(store, [tag(id(2), 'login')], hits)
  const file = readFileSync(join(store.catalog.manifestDirectory('main'), findingsName(run)), 'utf8')
  const lines = file
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(
    lines.map(({ event, label, severity, title }) => [event, label, severity, title]),
    [
      [id(2), 'Admin', 'high', 'Found Admin'],
      [id(2), 'login', 'low', 'Found login'],
      [id(7), 'login', 'high', 'Odd ❤ "title"'],
    ],
  )
  const { event } = await reader.show(id(7))
  assert.equal(lines[2].event_uid, event.uid)
  assert.equal(lines[2].time, event.time)
  assert.equal(lines[2].uid, findingUid('rule', 'login_rule', 'login', String(event.uid)))
  const [row] = await store.catalog.runs()
  assert.deepEqual([row!.run, row!.tags, row!.findings, row!.state], [run, 1, 3, 'finished'])
})

test('a later run adds itself to a finding, which goes with its last run', async () => {
  const { catalog, owner } = store
  const second = await analyse(store, [], [hit(id(2), 'login'), hit(id(4), 'late', { severity: 'informational' })])
  const { findings } = await asked()
  assert.deepEqual(
    findings.map(({ finding }) => [finding.event, finding.label, finding.runs]),
    [
      [id(2), 'Admin', [1]],
      [id(2), 'login', [1, second]],
      [id(7), 'login', [1]],
      [id(4), 'late', [second]],
    ],
  )
  assert.equal(findings[1]!.event!.api_operation, 'Op2')
  assert.deepEqual(await titles({ run: second }), [`${id(2)} login`, `${id(4)} late`])
  assert.deepEqual(await titles({ severity: 'high' }), [`${id(2)} Admin`, `${id(7)} login`])
  assert.deepEqual(await titles({ expression: "user == 'alice'" }), [`${id(7)} login`])
  assert.deepEqual(await titles({ expression: "tag == 'login'" }), [`${id(2)} Admin`, `${id(2)} login`])
  assert.deepEqual(await titles({ time1: START + 3 * 60e6 }), [`${id(4)} late`])
  assert.deepEqual(await titles({ limit: 1 }), [`${id(2)} Admin`])
  const third = await analyse(store, [], [hit(id(5), 'gone'), hit(id(7), 'login')])
  assert.deepEqual(await catalog.removeRun(owner, third), { run: third, tags: 0, findings: 1 })
  assert.equal((await asked()).findings.length, 4)
  assert.deepEqual(await titles({ run: third }), [])
})

test('the feed sends each finding once, in order of commits, with its event; a removed one not at all', async () => {
  const { sent, end } = await read()
  assert.deepEqual(
    sent.map(({ element }) => [element.id, (element.finding as { label: string }).label, element.api_operation]),
    [
      [id(2), 'Admin', 'Op2'],
      [id(2), 'login', 'Op2'],
      [id(7), 'login', 'Op1'],
      [id(4), 'late', 'Op4'],
    ],
  )
  assert.equal(new Set(sent.map(({ element }) => element.uid)).size, 4)
  const { findings } = await asked()
  assert.deepEqual(
    sent.map(({ element }) => [element.uid, element.event_uid]),
    findings.map(({ finding }) => [finding.uid, finding.event_uid]),
  )
  // From every position on: what is left.
  for (const [at, { position }] of sent.entries()) {
    const rest = await read({ from: position })
    assert.deepEqual(rest.sent, sent.slice(at + 1))
    assert.deepEqual((await read({ to: position })).sent, sent.slice(0, at + 1))
    assert.equal((await source.count({ collection: 'main', stream: 'findings', from: position })).events, 3 - at)
  }
  assert.deepEqual((await read({ from: end })).sent, [])
  const run = await analyse(store, [], [hit(id(0), 'new'), hit(id(2), 'login')])
  const more = await read({ from: end })
  assert.deepEqual(
    more.sent.map(({ element }) => element.id),
    [id(0)],
  )
  assert.deepEqual((more.sent[0]!.element.finding as { runs: number[] }).runs, [run])
  const { condition } = await questionOf({ expression: "user == 'alice' or tag == 'login' and operation == 'Op2'" })
  assert.deepEqual(
    (await read({ condition })).sent.map(({ element }) => element.id),
    [id(2), id(2), id(7)],
  )
  assert.equal((await read({ startTime: START + 2 * 60e6 })).sent.length, 3)
  const numbers = sent.map(({ position }) => position.id)
  const again: string[] = []
  for await (const event of source.readEvents({ collection: 'main', stream: 'findings', columns: [] }, numbers))
    again.push(event.uid)
  assert.deepEqual(
    again,
    sent.map(({ element }) => element.uid),
  )
})

test('a finding whose event is offline stops the feed, or is counted; one of a superseded object is passed over', async () => {
  const [, second] = await store.catalog.segments({ state: 'live' })
  const meta = join(second!.directory, second!.files.find(({ kind }) => kind === 'meta')!.name)
  renameSync(meta, `${meta}.away`)
  try {
    await assert.rejects(read(), (error) => error instanceof ColdtrailError && error.code === 'E_FORWARD_OFFLINE')
    const { sent, passed } = await read({ skipOffline: true })
    assert.deepEqual([sent.length, passed.offline], [4, 1])
    const all = await asked()
    assert.deepEqual([all.findings.length, all.complete], [5, true])
    assert.deepEqual(
      all.findings.map(({ event }) => event === null),
      [false, false, true, false, false],
    )
    const some = await asked({ expression: "user == 'alice'" })
    assert.deepEqual([some.findings.length, some.complete], [0, false])
  } finally {
    renameSync(`${meta}.away`, meta)
  }
  await store.seal([{ key: 'a', version: 'v2', lastModified: 2, events: [] }])
  const { sent, passed } = await read()
  assert.deepEqual([sent.length, passed.superseded], [1, 4])
  assert.equal((await asked()).findings.length, 1)
  assert.equal((await asked({ allVersions: true })).findings.length, 5)
})

test('positions stay what they are when the catalog is rebuilt', async () => {
  const before = await read()
  const { dataDir } = store
  await source.close()
  await reader.close()
  await store.owner.release()
  await store.catalog.close()
  await rebuildCatalog({ dataDir })
  const { openCatalog } = await import('../../src/store/catalog.ts')
  const catalog = await openCatalog({ dataDir })
  Object.assign(store, { catalog, owner: await catalog.owner('collect') })
  reader = new StoreReader({ catalog, dataDir })
  source = openFeedSource({ catalog, dataDir })
  assert.deepEqual(await read(), before)
})
