import assert from 'node:assert/strict'
import { existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { eventUid, uidPrefix } from '../../src/core/eventUid.ts'
import { compile } from '../../src/query/expression.ts'
import { questionOf } from '../../src/questions.ts'
import type { Catalog, SegmentRow } from '../../src/store/catalog.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { type Condition, type EventRow, type Order, type Question, StoreReader } from '../../src/store/search.ts'
import { type KnownEvent, type SampleEvent, type SampleObject, SampleStore } from '../support/sampleStore.ts'

const DAY = 1_688_947_200_000_000
const code = (expected: string) => (error: unknown) => error instanceof ColdtrailError && error.code === expected
const OPERATIONS = ['GetObject', 'PutObject', 'CreateUser', 'Größe', '']

function sampleEvents(count: number, segment: number): SampleEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    // Every tenth has no time; times are neither sorted nor disjoint between segments.
    ...(i % 10 === 9 ? {} : { time: DAY + ((i * 7919) % 5000) * 1e6 + segment * 1e9 }),
    columns: {
      api_operation: OPERATIONS[(i * 3 + segment) % OPERATIONS.length]!,
      actor_user_name: `user${(i + segment * 5) % 17}`,
      ...(i % 3 === 0 ? {} : { metadata_uid: `event-${i % 40}` }),
      ...(i % 4 === 0 ? { src_endpoint_port: (i * 31) % 7 } : {}),
    },
  }))
}

const oneOf = (column: string, values: readonly string[]): Condition => ({
  sql: `coalesce(${column} IN (${values.map((_, i) => `$v${i}`)}), false)`,
  parameters: Object.fromEntries(values.map((value, i) => [`v${i}`, value])),
  needles: [{ column, values }],
})

async function collected<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const row of rows) all.push(row)
  return all
}

const ids = (rows: readonly EventRow[]) => rows.map(({ id }) => id)

describe('questions to a store of several segments', () => {
  let store: SampleStore
  let reader: StoreReader
  let segments: SegmentRow[]
  before(async () => {
    store = await SampleStore.create()
    // Two segments with a keyset, two without.
    for (let segment = 0; segment < 4; segment++) {
      const objects: SampleObject[] = [
        { key: `\ufeffa${segment}`, events: sampleEvents(60, segment), codec: 'gzip' },
        { key: `b${segment}`, events: sampleEvents(30, segment + 10) },
        { key: `empty${segment}`, events: [] },
      ]
      await store.seal(objects, { keyset: segment < 2 ? loadKeysetKey(store.dataDir, '2023') : null })
    }
    segments = [...(await store.catalog.segments())]
    reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
  })
  after(async () => {
    await reader.close()
    await store.remove()
  })

  const operation = ({ columns }: KnownEvent) => columns.api_operation as string

  const questions = fc.record(
    {
      operations: fc.uniqueArray(fc.constantFrom(...OPERATIONS, 'Unheard', 'A', 'z'), { minLength: 1, maxLength: 3 }),
      time1: fc.integer({ min: 0, max: 9000 }).map((seconds) => DAY + seconds * 1e6),
      time2: fc.integer({ min: 0, max: 9000 }).map((seconds) => DAY + seconds * 1e6),
      order: fc.constantFrom<Order>('time', '-time', 'id', '-id'),
      limit: fc.integer({ min: 0, max: 200 }),
    },
    { requiredKeys: [] },
  )

  const naive = (question: { operations?: string[]; time1?: number; time2?: number }): KnownEvent[] =>
    store.events.filter((event) => {
      const { time } = event
      if (question.operations && !question.operations.includes(operation(event))) return false
      if (question.time1 !== undefined && (time === null || time < question.time1)) return false
      return question.time2 === undefined || (time !== null && time <= question.time2)
    })

  test('search, count, values and timeline equal a naive filter, whatever is pruned', async () => {
    await fc.assert(
      fc.asyncProperty(questions, async ({ operations, time1, time2, order, limit }) => {
        const condition = operations && oneOf('api_operation', operations)
        const question: Question = { condition, time1, time2 }
        const matches = naive({ operations, time1, time2 })
        const byTime = (a: KnownEvent, b: KnownEvent) =>
          a.time === b.time ? a.id - b.id : a.time === null ? 1 : b.time === null ? -1 : a.time - b.time
        if (order === '-id') matches.sort((a, b) => b.id - a.id)
        else if (order === '-time') matches.sort((a, b) => (a.time && b.time ? b.time - a.time : 0) || byTime(a, b))
        else if (order !== 'id') matches.sort(byTime)
        const found = await reader.search({ ...question, order, limit, columns: ['id', 'time', 'data'] })
        const expected = matches.slice(0, limit ?? matches.length)
        assert.deepEqual(
          await collected(found.rows),
          expected.map(({ id, time, record }) => ({ id, time, data: record.toString() })),
        )
        assert.equal(found.complete, true)
        assert.equal((await reader.count(question)).count, matches.length)

        const answer = await reader.values({ ...question, field: 'actor_user_name', limit: 5 })
        const users = Map.groupBy(matches, ({ columns }) => columns.actor_user_name as string)
        const top = [...users]
          .map(([value, events]) => {
            const times = events.flatMap(({ time }) => (time === null ? [] : [time]))
            const bound = (pick: typeof Math.min) => (times.length > 0 ? pick(...times) : null)
            return { value, count: events.length, time1: bound(Math.min), time2: bound(Math.max) }
          })
          .sort((a, b) => b.count - a.count || (a.value < b.value ? -1 : 1))
        assert.deepEqual([...answer.values], top.slice(0, 5))
        assert.equal(answer.distinct, top.length)

        const timeline = await reader.timeline({ ...question, intervalSecs: 600 })
        const bins = Map.groupBy(
          matches.filter(({ time }) => time !== null),
          ({ time }) => Math.floor(time! / 600e6) * 600e6,
        )
        assert.deepEqual(
          [...timeline.bins],
          [...bins].map(([time, events]) => ({ time, count: events.length })).sort((a, b) => a.time - b.time),
        )
        assert.equal(timeline.untimed, matches.filter(({ time }) => time === null).length)
      }),
      { numRuns: 40 },
    )
  })

  test('no segment with a match is ever pruned: random expressions against every event of the store', async () => {
    const text = (value: string) => `'${value.replaceAll("'", "\\'")}'`
    const user = fc.nat(60).map((number) => text(`user${number}`))
    const operations = fc.constantFrom(...OPERATIONS, 'Unheard').map(text)
    const time = fc.nat(9000).map((seconds) => `'${new Date(DAY / 1000 + seconds * 1000).toISOString().slice(0, 19)}'`)
    const leaf = fc.oneof(
      operations.map((value) => `api.operation == ${value}`),
      fc.array(operations, { minLength: 1, maxLength: 3 }).map((values) => `api.operation in (${values.join(', ')})`),
      user.map((value) => `actor.user.name == ${value}`),
      user.map((value) => `actor.user.name != ${value}`),
      fc.nat(8).map((port) => `src_endpoint.port == ${port}`),
      fc.tuple(fc.constantFrom('<', '>', '<=', '>='), time).map(([operator, value]) => `time ${operator} ${value}`),
      fc.constantFrom("actor.user.name contains 'user1'", "metadata.uid == 'event-7'"),
    )
    const { expression } = fc.letrec<{ expression: string; joined: string; negated: string }>((tie) => ({
      expression: fc.oneof({ maxDepth: 3 }, { arbitrary: leaf, weight: 4 }, tie('joined'), tie('negated')),
      joined: fc
        .tuple(tie('expression'), fc.constantFrom('and', 'or'), tie('expression'))
        .map(([left, operator, right]) => `(${left}) ${operator} (${right})`),
      negated: tie('expression').map((inner) => `not (${inner})`),
    }))
    let pruned = 0
    await fc.assert(
      fc.asyncProperty(expression, async (expression) => {
        const compiled = compile(expression)
        const expected = store.events.filter(({ time, columns, record }) =>
          compiled.predicate({
            get: (name) => (name === 'time' ? time : columns[name]),
            data: () => record.toString(),
          }),
        )
        const question = await questionOf({ expression })
        const { rows, explanation } = await reader.search({ ...question, order: 'id', columns: ['id'] })
        pruned += explanation.segments - explanation.opened
        assert.deepEqual(
          ids(await collected(rows)),
          expected.map(({ id }) => id),
        )
      }),
      // The first prunes every segment, whatever the random ones come to.
      { numRuns: 150, examples: [["api.operation == 'Unheard'"], ["actor.user.name == 'user1'"]] },
    )
    assert.ok(pruned > 0, 'segments are pruned at all')
  })

  test('a file that goes after the plan was made is planned around once', async () => {
    const [first] = segments
    const path = join(first!.directory, `meta-${String(first!.segment).padStart(9, '0')}.parquet`)
    let plans = 0
    const catalog: Catalog = Object.assign(Object.create(store.catalog), {
      pending: async () => {
        plans += 1
        if (existsSync(path)) renameSync(path, `${path}.away`)
        return []
      },
    })
    const other = new StoreReader({ catalog, dataDir: store.dataDir })
    try {
      const { count, why } = await other.count({ condition: oneOf('api_operation', ['GetObject']) })
      const left = store.events.filter((event) => operation(event) === 'GetObject' && event.segment !== first!.segment)
      assert.deepEqual([plans, count, why.map(({ reason }) => reason)], [2, left.length, ['offline']])
    } finally {
      await other.close()
      renameSync(`${path}.away`, path)
    }
  })

  test('a damaged or missing keyset or key tells nothing, and loses no match', async () => {
    const key = join(store.dataDir, 'keys/keyset-2023.key')
    const keyset = join(segments[0]!.directory, 'index-000000001/keyset.ks')
    const question = { condition: oneOf('actor_user_name', ['user3']) }
    const { count } = await reader.count(question)
    for (const path of [key, keyset]) {
      const bytes = readFileSync(path)
      for (const damage of [() => rmSync(path), () => writeFileSync(path, bytes.subarray(0, -30))]) {
        damage()
        const other = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
        try {
          assert.equal((await other.count(question)).count, count)
        } finally {
          await other.close()
          writeFileSync(path, bytes)
        }
      }
    }
  })

  test('distinct counts an event once per value, and events without one each', async () => {
    const uids = new Set(store.events.flatMap(({ columns }) => columns.metadata_uid ?? []))
    const without = store.events.filter(({ columns }) => columns.metadata_uid === undefined)
    assert.equal((await reader.count({ distinct: 'metadata_uid' })).count, uids.size + without.length)
    const { rows } = await reader.search({ distinct: 'metadata_uid', order: 'id', columns: ['id', 'metadata_uid'] })
    const seen = new Set()
    const first = store.events.filter(({ columns: { metadata_uid: uid } }) => {
      const isNew = uid === undefined || !seen.has(uid)
      seen.add(uid)
      return isNew
    })
    assert.deepEqual(
      ids(await collected(rows)),
      first.map(({ id }) => id),
    )
  })

  test('the uid comes from the object alone; show finds an event by id and by uid', async () => {
    const { rows } = await reader.search({ columns: ['id', 'uid', 'session.key'], order: 'id' })
    const found = await collected(rows)
    assert.deepEqual(
      found,
      store.events.map(({ id, key, version, ordinal }) => ({
        id,
        uid: eventUid(uidPrefix({ source: 's3://logs', bucket: 'logs', key, version }), ordinal),
        'session.key': key,
      })),
    )
    for (const { id, record } of store.events.filter((_, i) => i % 50 === 7)) {
      const uid: unknown = found.find((row) => row.id === id)!.uid
      for (const name of [id, String(id), String(uid)]) {
        const { event, session } = await reader.show(name)
        assert.deepEqual([event.id, event.uid, session.source], [id, uid, 's3://logs'])
        assert.ok((await reader.showRaw(name)).equals(record))
      }
    }
    for (const unknown of [1e9, -1, 'nothing', `${'0'.repeat(32)}`, '1; DROP', 1.5])
      await assert.rejects(reader.show(unknown), code('E_EVENT_UNKNOWN'))
  })

  test('says how many segments each stage left before an event file was opened', async () => {
    const { explanation } = await reader.explain({ condition: oneOf('api_operation', ['zzz']) })
    assert.deepEqual(explanation.stages, [
      { stage: 'time', kept: 4 },
      { stage: 'columns', kept: 0 },
      { stage: 'index', kept: 0 },
    ])
    const inside = await reader.explain({ condition: oneOf('actor_user_name', ['user3x']) })
    assert.deepEqual(
      inside.explanation.stages.map(({ kept }) => kept),
      [4, 4, 0],
    )
    assert.equal((await reader.explain({ time2: DAY - 1 })).explanation.opened, 0)
  })

  test('values of an integer column come from rows', async () => {
    const { values } = await reader.values({ field: 'src_endpoint_port' })
    const ports = store.events.flatMap(({ columns }) => columns.src_endpoint_port ?? [])
    assert.equal(
      values.reduce((sum, { count }) => sum + count, 0),
      ports.length,
    )
    await assert.rejects(reader.values({ field: 'no_such"; --' }), code('E_USAGE'))
  })

  test('a missing segment makes an answer incomplete only if it may hold a match', async () => {
    const [first] = segments
    const path = join(first!.directory, `meta-${String(first!.segment).padStart(9, '0')}.parquet`)
    renameSync(path, `${path}.away`)
    try {
      const here = await reader.count({})
      assert.equal(here.complete, false)
      assert.deepEqual(
        here.why.map(({ reason, count }) => ({ reason, count })),
        [{ reason: 'offline', count: 1 }],
      )
      assert.equal(here.count, store.events.filter(({ segment }) => segment !== first!.segment).length)
      assert.equal((await reader.count({ condition: oneOf('api_operation', ['zzz']) })).complete, true)
      const lost = store.events.find(({ segment }) => segment === first!.segment)!
      await assert.rejects(reader.show(lost.id), code('E_EVENT_OFFLINE'))
    } finally {
      renameSync(`${path}.away`, path)
    }
  })

  test('a reader that stops early or is interrupted leaves nothing behind', async () => {
    const { rows } = await reader.search({})
    for await (const row of rows) if (row.id !== undefined) break
    const stop = new AbortController()
    stop.abort()
    await assert.rejects(reader.search({ signal: stop.signal }), code('E_INTERRUPTED'))
    assert.equal((await reader.count({})).count, store.events.length)
  })

  test('a damaged file is named', async () => {
    const other = await SampleStore.create()
    try {
      const { directory, segment } = await other.seal([{ key: 'x', events: sampleEvents(5, 0) }])
      const path = join(directory, `meta-${String(segment).padStart(9, '0')}.parquet`)
      truncateSync(path, 100)
      const damaged = new StoreReader({ catalog: other.catalog, dataDir: other.dataDir })
      await assert.rejects(damaged.count({ condition: oneOf('api_operation', [OPERATIONS[0]!]) }), (error) => {
        assert.ok(error instanceof ColdtrailError && error.code === 'E_SEGMENT_READ')
        assert.equal(error.values.path, path)
        return true
      })
      await damaged.close()
    } finally {
      await other.remove()
    }
  })
})

test('superseded sessions are hidden everywhere unless all versions are asked for', async () => {
  const store = await SampleStore.create()
  const reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
  try {
    const old = [{ key: 'k', version: 'v1', lastModified: 1, events: sampleEvents(20, 0), rejects: [Buffer.from('{')] }]
    await store.seal([...old, { key: 'other', events: sampleEvents(10, 1) }])
    const before = store.events.filter(({ key }) => key === 'k').map(({ id }) => id)
    assert.equal((await reader.count({})).why[0]?.reason, 'rejects')
    await store.seal([{ key: 'k', version: 'v2', lastModified: 2, events: sampleEvents(15, 0) }])
    const answer = await reader.count({})
    assert.deepEqual([answer.count, answer.complete], [25, true])
    assert.equal((await reader.count({ allVersions: true })).count, 45)
    const seen = ids(await collected((await reader.search({ columns: ['id'] })).rows))
    assert.deepEqual([seen.length, before.some((id) => seen.includes(id))], [25, false])
    const total = async (allVersions: boolean) =>
      (await reader.values({ field: 'api_operation', allVersions })).values.reduce((sum, { count }) => sum + count, 0)
    assert.deepEqual([await total(false), await total(true)], [25, 45])
    const bins = (await reader.timeline({ intervalSecs: 1e6 })).bins.reduce((sum, { count }) => sum + count, 0)
    assert.equal(bins, 25 - 2)
    await assert.rejects(reader.show(before[0]!), code('E_EVENT_UNKNOWN'))
    assert.equal((await reader.show(before[0]!, { allVersions: true })).session.version, 'v1')
    assert.equal((await collected((await reader.rejects()).records)).length, 0)
    const [reject] = await collected((await reader.rejects({ allVersions: true })).records)
    assert.deepEqual([reject?.session.key, Buffer.from(reject!.data).toString()], ['k', '{'])
  } finally {
    await reader.close()
    await store.remove()
  }
})

const PENDING = { state: 'pending', code: 'E_X', reason: 'r' } as const
const QUARANTINED = { state: 'quarantined', code: 'E_Y', reason: 'r' } as const

test('objects that are pending or quarantined make every answer incomplete to which they could belong', async () => {
  const store = await SampleStore.create()
  const reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
  try {
    const object = { source: 's', bucket: 'b', key: 'k', version: '1', size: 1, lastModified: 1 }
    assert.equal((await reader.count({})).complete, true)
    const objects = [object, { ...object, key: 'l' }]
    await store.catalog.claim(store.owner, objects)
    await store.catalog.giveBack(store.owner, objects[0]!, { ...PENDING, collection: 'main' })
    await store.catalog.giveBack(store.owner, objects[1]!, { ...QUARANTINED, collection: 'main' })
    const { complete, why } = await reader.count({})
    assert.equal(complete, false)
    assert.deepEqual(
      why.map(({ reason, count }) => `${count} ${reason}`),
      ['1 quarantined', '1 pending'],
    )
    assert.equal((await reader.rejects()).objects.length, 2)
    const elsewhere = { collection: 'audit' }
    assert.equal((await reader.count(elsewhere)).complete, true)
    assert.equal((await reader.rejects(elsewhere)).objects.length, 0)

    // Of a day: what lies further away is complete.
    const dated = { ...object, key: 'AWSLogs/1/CloudTrail/us-east-1/2023/07/10/file.json.gz' }
    await store.catalog.claim(store.owner, [dated])
    await store.catalog.giveBack(store.owner, dated, { ...QUARANTINED, collection: 'audit' })
    const day = (text: string) => Date.parse(text) * 1000
    const isComplete = async (from?: string, to?: string) => {
      const time1 = from === undefined ? undefined : day(from)
      const time2 = to === undefined ? undefined : day(to)
      const question = { ...elsewhere, time1, time2 }
      const { objects } = await reader.rejects(question)
      const { complete } = await reader.count(question)
      assert.equal(objects.length === 0, complete)
      return complete
    }
    assert.equal(await isComplete(), false)
    assert.equal(await isComplete('2023-07-10', '2023-07-10T23:59:59Z'), false)
    assert.equal(await isComplete('2023-07-12T23:59:59.999Z'), false)
    assert.equal(await isComplete('2023-07-13'), true)
    assert.equal(await isComplete(undefined, '2023-07-08'), false)
    assert.equal(await isComplete(undefined, '2023-07-07T23:59:59.999Z'), true)
    // A date in a file's name says nothing of what is in the file.
    await store.catalog.claim(store.owner, [{ ...object, key: 'export-2001-01-01.json' }])
    await store.catalog.giveBack(
      store.owner,
      { ...object, key: 'export-2001-01-01.json' },
      { ...QUARANTINED, ...elsewhere },
    )
    assert.equal(await isComplete('2023-07-13'), false)
  } finally {
    await reader.close()
    await store.remove()
  }
})

test('a record comes back byte for byte', async () => {
  const store = await SampleStore.create()
  const reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
  try {
    const texts = ['\ufeffa mark', 'a real \ufffd, a \u0000 and \u{1f600}', ' \r', '"x"'.repeat(100_000)]
    await store.seal([{ key: 'k', events: texts.map((text) => ({ record: Buffer.from(text) })) }])
    for (const { id, record } of store.events) assert.ok((await reader.showRaw(id)).equals(record), String(record))
    const found = await collected((await reader.search({ columns: ['data'], order: 'id' })).rows)
    assert.deepEqual(
      found.map(({ data }) => data),
      texts,
    )
    for (const [i, { id }] of store.events.entries()) assert.equal((await reader.show(id)).event.data, texts[i])
  } finally {
    await reader.close()
    await store.remove()
  }
})

test('what DuckDB says of a value is bounded', async () => {
  const store = await SampleStore.create()
  const reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
  try {
    // No format lets this through; a file of another writer may hold it.
    await store.seal([{ key: 'k', events: [{ record: Buffer.alloc(1_000_000, 0xff) }] }])
    await assert.rejects(reader.showRaw(store.events[0]!.id), (error) => {
      assert.ok(error instanceof ColdtrailError && error.code === 'E_SEGMENT_READ')
      assert.ok(JSON.stringify(error).length < 5_000)
      assert.ok(String((error.cause as Error).stack).length < 5_000)
      return true
    })
  } finally {
    await reader.close()
    await store.remove()
  }
})
