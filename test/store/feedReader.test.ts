/** Each event once and in order, whatever compaction does; what is passed over is counted; nothing else is. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { eventUid, uidPrefix } from '../../src/core/eventUid.ts'
import type { Position } from '../../src/store/catalog.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { type FeedChunk, type FeedQuestion, type FeedSource, openFeedSource } from '../../src/store/feedReader.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import type { Condition } from '../../src/store/search.ts'
import { type KnownEvent, type SampleObject, SampleStore } from '../support/sampleStore.ts'

const START: Position = { sequence: 0, id: 0 }
const BOM = '\ufeff'
const code = (expected: string) => (error: unknown) => error instanceof ColdtrailError && error.code === expected

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

async function emptyStore(): Promise<SampleStore> {
  const store = await SampleStore.create()
  undo.push(() => store.remove())
  return store
}

function source(store: SampleStore, options: { holdMs?: number; restMs?: number } = {}): FeedSource {
  const { catalog, dataDir } = store
  const opened = openFeedSource({ catalog, dataDir, threads: 1, ...options })
  undo.push(() => opened.close())
  return opened
}

const question = (more: Partial<FeedQuestion> = {}): FeedQuestion => ({
  ...{ collection: 'main', columns: [], from: START },
  ...more,
})

const oneOf = (column: string, values: readonly string[]): Condition => ({
  sql: `coalesce(${column} IN (${values.map((_, i) => `$v${i}`)}), false)`,
  parameters: Object.fromEntries(values.map((value, i) => [`v${i}`, value])),
  needles: [{ column, values }],
})

const event = (n: number, more: Record<string, string | number> = {}, time: number | undefined = 1e15 + n) => ({
  ...(time === undefined ? {} : { time }),
  columns: { api_operation: `op${n % 5}`, src_endpoint_port: n, ...more },
})

const object = (key: string, count: number, first = 0): SampleObject => ({
  key,
  events: Array.from({ length: count }, (_, i) => event(first + i)),
})

/** Merges live segments of one partition. */
async function compact(store: SampleStore, numbers: readonly number[]): Promise<number> {
  const { catalog, owner } = store
  const inputs = await Promise.all(numbers.map((number) => store.segment(number)))
  const segment = await catalog.draw(owner, 'segment', 1)
  const { format, day } = inputs[0]!
  const directory = catalog.collectionDirectory('main')
  const place = { collection: 'main', directory, segment, format, day, producer: 'coldtrail/test' }
  await catalog.commitReplace(owner, await mergeSegments({ inputs, ...place }), numbers)
  return segment
}

/** Everything from a position on; ids with their commits, and what was passed over. */
async function read(from: FeedSource, asked: FeedQuestion) {
  const found: { sequence: number; id: number }[] = []
  const passed = { superseded: 0, offline: 0 }
  let upTo = asked.from
  for await (const chunk of from.read(asked)) {
    for (const { id } of chunk.events) found.push({ sequence: chunk.sequence, id })
    passed.superseded += chunk.superseded
    passed.offline += chunk.offline
    upTo = chunk.upTo
  }
  return { found, passed, upTo }
}

async function chunksOf(chunks: AsyncIterable<FeedChunk>): Promise<FeedChunk[]> {
  const all: FeedChunk[] = []
  for await (const chunk of chunks) all.push(chunk)
  return all
}

test('an event comes with its uid, session, bytes and the columns asked for', async () => {
  const store = await emptyStore()
  const record = Buffer.from(`${BOM}{"n":1}\0ö`)
  const columns = { api_operation: `${BOM}Größe`, src_endpoint_port: Number.MAX_SAFE_INTEGER, actor_user_name: '' }
  const early = Date.UTC(1600, 0, 1) * 1000
  await store.seal([
    { key: `${BOM}a`, events: [{ time: early, columns, record }, event(2), { columns: {}, record: Buffer.from('x') }] },
    { key: 'b', events: [{ time: -1, columns: { api_operation: 'a text that is longer than twelve bytes' } }] },
  ])
  const wanted = ['time', 'api_operation', 'src_endpoint_port', 'actor_user_name', 'data', 'cloud_region'] as const
  const [chunk] = await chunksOf(source(store).read(question({ columns: wanted })))
  const known = store.events
  assert.equal(chunk!.events.length, 4)
  for (const [i, found] of chunk!.events.entries()) {
    const { id, time, key, version, ordinal, record, columns } = known[i]!
    assert.equal(found.id, id)
    assert.equal(found.time, time)
    assert.deepEqual(found.data, record)
    assert.equal(found.dataType, 'test:entry')
    assert.equal(found.uid, eventUid(uidPrefix({ source: 's3://logs', bucket: 'logs', key, version }), ordinal))
    assert.deepEqual([found.session.key, found.session.format, found.session.header], [key, 'json_lines', null])
    assert.equal(found.column('time'), time)
    assert.equal(found.column('data'), record.toString())
    assert.equal(found.column('cloud_region'), null)
    for (const name of ['api_operation', 'src_endpoint_port', 'actor_user_name'] as const)
      assert.equal(found.column(name), columns[name] ?? null, name)
  }
})

test('the columns of many rows come out as they went in: short texts, long ones, none, and their runs', async () => {
  const store = await emptyStore()
  const events = Array.from({ length: 5000 }, (_, i) => ({
    time: i,
    columns: {
      ...(i % 3 === 0 ? {} : { message: 'm'.repeat(i % 40) }),
      ...(i % 7 === 0 ? { src_endpoint_port: i } : {}),
    },
    record: Buffer.from(`${i} ${'ü'.repeat((i * 31) % 200)}`),
  }))
  const sealed = await store.catalog.draw(store.owner, 'event', 10_000)
  await store.seal([{ key: 'a', events }], { firstEventId: sealed })
  let at = 0
  for (const { events: some } of await chunksOf(
    source(store).read(question({ columns: ['message', 'src_endpoint_port'] })),
  ))
    for (const found of some) {
      const { record, columns } = events[at++]!
      assert.deepEqual(found.data, record)
      assert.equal(found.column('message'), (columns as Record<string, unknown>).message ?? null)
      assert.equal(found.column('src_endpoint_port'), (columns as Record<string, unknown>).src_endpoint_port ?? null)
    }
  assert.equal(at, 5000)
})

/** Steps of a history: a seal of a partition, ids drawn early or late; or a merge of what is live of a partition. */
const history = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('seal' as const),
        day: fc.nat(1),
        events: fc.nat(6),
        early: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('merge' as const), day: fc.nat(1), from: fc.nat(3) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('read' as const), chunks: fc.integer({ min: 1, max: 4 }) }) },
  ),
  { minLength: 4, maxLength: 16 },
)

test('position order: every event once, in order of commit and id, whatever is merged and whenever it is read', async () => {
  await fc.assert(
    fc.asyncProperty(history, fc.boolean(), async (steps, isSelective) => {
      const store = await SampleStore.create()
      const feeds = openFeedSource({ catalog: store.catalog, dataDir: store.dataDir, threads: 1, holdMs: 0 })
      const condition = isSelective ? oneOf('api_operation', ['op1', 'op3']) : undefined
      const keyset = loadKeysetKey(store.dataDir, '2023')
      try {
        const live: number[][] = [[], []]
        const sequences = new Map<number, number>()
        const got: { sequence: number; id: number }[] = []
        let position = START
        let n = 0
        const readOn = async (chunks: number) => {
          const asked = question({ from: position, ...(condition ? { condition } : {}) })
          let taken = 0
          for await (const { events, sequence, upTo } of feeds.read(asked)) {
            for (const { id } of events) got.push({ sequence, id })
            position = upTo
            if (++taken === chunks) break
          }
        }
        for (const step of steps) {
          if (step.do === 'seal') {
            // A segment that was opened before another may be committed after it.
            const early = step.early ? { firstEventId: 500_000 - 1000 * n, firstSessionId: 50_000 - 100 * n } : {}
            const day = `2023-07-1${step.day}`
            const row = await store.seal([object(`k${n}`, step.events, n * 7)], { ...early, day, keyset })
            sequences.set(row.session1, row.sequence)
            live[step.day]!.push(row.segment)
            n += 1
          } else if (step.do === 'read') await readOn(step.chunks)
          else {
            const [some, rest] = [live[step.day]!.slice(step.from), live[step.day]!.slice(0, step.from)]
            if (some.length >= 2) live[step.day] = [...rest, await compact(store, some)]
          }
        }
        await readOn(Number.POSITIVE_INFINITY)
        const matches = ({ columns }: KnownEvent) =>
          !isSelective || ['op1', 'op3'].includes(columns.api_operation as string)
        const expected = store.events
          .filter(matches)
          .map(({ id, session }) => ({ sequence: sequences.get(session)!, id }))
          .sort((a, b) => a.sequence - b.sequence || a.id - b.id)
        assert.deepEqual(got, expected)
        assert.equal(position.sequence, await store.catalog.head('main'))
        const all = question(condition ? { condition } : {})
        assert.equal((await feeds.count(all)).events, expected.length)
      } finally {
        await feeds.close()
        await store.remove()
      }
    }),
    { numRuns: 12, includeErrorInReport: true },
  )
})

test('from any position to any other: what lies between, and never what is not committed yet', async () => {
  const store = await emptyStore()
  const rows = []
  for (let n = 0; n < 4; n++) rows.push(await store.seal([object(`a${n}`, 4), object(`b${n}`, 3)]))
  const feeds = source(store)
  const all = (await read(feeds, question())).found
  assert.equal(all.length, 28)
  for (let from = 0; from < all.length; from += 3)
    for (let to = from; to < all.length; to += 5) {
      const { found, upTo } = await read(feeds, question({ from: all[from]!, to: all[to]! }))
      assert.deepEqual(found, all.slice(from + 1, to + 1))
      if (to > from) assert.deepEqual(upTo, all[to])
    }
  const { upTo } = await read(feeds, question({ to: { sequence: 99, id: 5 } }))
  assert.equal(upTo.sequence, 4)
  await store.seal([object('later', 2)])
  assert.equal((await read(feeds, question({ from: upTo }))).found.length, 2)
  assert.deepEqual(await chunksOf(feeds.read(question({ collection: 'none' }))), [])
})

test('superseded sessions are passed over and counted, each event once, in parts too', async () => {
  const store = await emptyStore()
  const versions = (version: string, count: number): SampleObject => ({ ...object('same', count), version })
  await store.seal([{ ...versions('v1', 5), lastModified: 1 }, object('a', 3)])
  await store.seal([{ ...versions('v2', 4), lastModified: 2 }, object('b', 2)])
  const feeds = source(store)
  const whole = await read(feeds, question())
  assert.deepEqual([whole.found.length, whole.passed.superseded], [9, 5])
  const known = store.events.filter(({ version, key }) => key !== 'same' || version === 'v2')
  assert.deepEqual(
    whole.found.map(({ id }) => id),
    known.map(({ id }) => id),
  )
  // From the middle of the superseded session, and in two parts.
  const [first] = store.events
  const rest = await read(feeds, question({ from: { sequence: 1, id: first!.id + 1 } }))
  assert.equal(rest.passed.superseded, 3)
  const to = { sequence: 1, id: first!.id + 2 }
  const parts = [await read(feeds, question({ to })), await read(feeds, question({ from: to }))]
  assert.deepEqual(
    parts.map(({ passed }) => passed.superseded),
    [3, 2],
  )
  assert.equal((await feeds.count(question())).events, 9)
})

test('segments that are not here stop it, named, after what lies before them; or are passed over and counted', async () => {
  const store = await emptyStore()
  const rows = []
  for (let n = 0; n < 5; n++) rows.push(await store.seal([object(`k${n}`, 3, n)]))
  const [, second, third, , fifth] = rows
  const away = join(store.dataDir, 'away')
  mkdirSync(away)
  for (const row of [second!, third!])
    for (const name of readdirSync(row.directory))
      if (name.includes(`-00000000${row.segment}`)) renameSync(join(row.directory, name), join(away, name))
  const feeds = source(store)
  const got: number[] = []
  const reading = (async () => {
    for await (const { events } of feeds.read(question())) got.push(...events.map(({ id }) => id))
  })()
  await assert.rejects(reading, (error: unknown) => {
    assert.ok(code('E_FORWARD_OFFLINE')(error))
    assert.deepEqual((error as ColdtrailError).values, { segments: '2, 3', collection: 'main' })
    return true
  })
  assert.equal(got.length, 3)
  const skipped = await read(feeds, question({ skipOffline: true }))
  assert.deepEqual([skipped.found.length, skipped.passed.offline], [9, 6])
  const counted = await feeds.count(question())
  assert.deepEqual([counted.events, counted.offline], [9, 6])
  // What no match can lie in is not missed: the operations of the second segment are 1 to 3, of the third 2 to 4.
  const { found } = await read(feeds, question({ condition: oneOf('api_operation', ['op0']) }))
  assert.equal(found.length, 3)
  assert.ok(found.every(({ sequence }) => sequence === 1 || sequence === 4 || sequence === fifth!.sequence))
})

test('a start: earlier events are not taken, those without a time when they came later', async () => {
  const store = await emptyStore()
  const objects = (key: string): SampleObject[] => [
    { key, events: [event(1, {}, 1000), event(2, {}, 5000), { columns: { api_operation: 'untimed' } }] },
  ]
  await store.seal(objects('a'))
  await sleep(5)
  const between = Date.now() * 1000
  await sleep(5)
  await store.seal(objects('b'))
  const feeds = source(store)
  const ordinals = async (startTime: number) => {
    const { found } = await read(feeds, question({ startTime }))
    assert.equal((await feeds.count(question({ startTime }))).events, found.length)
    return found.map(({ sequence, id }) => `${sequence}.${store.events.find((known) => known.id === id)!.ordinal}`)
  }
  assert.deepEqual(await ordinals(2000), ['1.1', '1.2', '2.1', '2.2'])
  assert.deepEqual(await ordinals(between), ['2.2'])
  assert.deepEqual(await ordinals(between + 60e6), [])
})

test('a count says how many are old, and how old the oldest commit is', async () => {
  const store = await emptyStore()
  for (let n = 0; n < 3; n++) await store.seal([object(`k${n}`, 10, n * 10)])
  const merged = await compact(store, [1, 2])
  assert.equal((await store.segment(merged)).rows, 20)
  const feeds = source(store)
  const commits = await store.catalog.commits('main')
  const plain = await feeds.count(question())
  assert.deepEqual(plain, { events: 30, older: 0, offline: 0, oldestCommit: commits[0]!.time })
  const older = await feeds.count({ ...question(), olderThan: 1e15 + 15 })
  assert.deepEqual([older.events, older.older], [30, 15])
  const all = await feeds.count({ ...question(), olderThan: 2e15 })
  assert.deepEqual([all.events, all.older], [30, 30])
  const [third] = store.events.slice(20)
  const late = await feeds.count(question({ condition: oneOf('metadata_uid', ['none']) }))
  assert.deepEqual(late, { events: 0, older: 0, offline: 0, oldestCommit: null })
  const rest = await feeds.count(question({ from: { sequence: 3, id: third!.id } }))
  assert.deepEqual([rest.events, rest.oldestCommit], [9, commits[2]!.time])
})

test('events by id, for what is sent again', async () => {
  const store = await emptyStore()
  for (let n = 0; n < 3; n++) await store.seal([object(`k${n}`, 4, n)])
  await compact(store, [1, 3])
  const ids = store.events.filter((_, i) => i % 3 === 0).map(({ id }) => id)
  const found: unknown[] = []
  for await (const { id, data, uid } of source(store).readEvents({ collection: 'main', columns: [] }, [
    ...ids,
    999_999,
  ]))
    found.push([id, data.toString(), uid.length])
  assert.deepEqual(
    found,
    ids.map((id) => [id, store.events.find((known) => known.id === id)!.record.toString(), 32]),
  )
})

test('files are held while they are read, and let go while the consumer rests', async () => {
  const store = await emptyStore()
  const firstEventId = await store.catalog.draw(store.owner, 'event', 10_000)
  await store.seal([object('a', 5000)], { firstEventId })
  await store.seal([object('b', 10)])
  const unlinkedBy = async (feeds: FeedSource, rest: number) => {
    const reading = feeds.read(question())
    const got: number[] = []
    const first = await reading.next()
    got.push(...(first.value as FeedChunk).events.map(({ id }) => id))
    const live = (await store.catalog.segments({ state: 'live' })).map(({ segment }) => segment)
    await compact(store, live.length > 1 ? live : [live[0]!])
    await sleep(rest)
    const { unlinked } = await store.catalog.sweep({ graceMs: 0 })
    for await (const { events } of reading) got.push(...events.map(({ id }) => id))
    assert.deepEqual(
      got,
      store.events.map(({ id }) => id),
    )
    return unlinked
  }
  assert.deepEqual(await unlinkedBy(source(store), 0), [])
  await store.catalog.sweep({ graceMs: 0 })
  assert.equal((await unlinkedBy(source(store, { restMs: 1 }), 100)).length, 1)
  for (const row of await store.catalog.segments({ state: 'live' })) assert.ok(existsSync(row.directory))
})

test('a reader that stops early, is interrupted or closed leaves nothing behind', async () => {
  const store = await emptyStore()
  await store.seal([object('a', 50)])
  const feeds = source(store)
  for await (const { events } of feeds.read(question())) if (events.length > 0) break
  const abort = new AbortController()
  abort.abort()
  await assert.rejects(chunksOf(feeds.read(question({ signal: abort.signal }))), code('E_INTERRUPTED'))
  await feeds.close()
  await compact(store, [1])
  assert.deepEqual((await store.catalog.sweep({ graceMs: 0 })).unlinked, [1])
})
