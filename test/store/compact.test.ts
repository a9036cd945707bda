import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import type { SegmentRow } from '../../src/store/catalog.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { type Candidate, chooseRun } from '../../src/store/compactionPlan.ts'
import { openKeyset } from '../../src/store/keyset.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { type Search, StoreReader } from '../../src/store/search.ts'
import { duckdb, rowsByDuckdb, rowsByHyparquet } from '../support/readParquet.ts'
import { type SampleEvent, type SampleObject, SampleStore } from '../support/sampleStore.ts'

const DAY = 1_688_947_200_000_000
const BOM = '\ufeff'

/** Values that a careless copy would change: order marks, NULs, empty texts, large numbers, events without time. */
function events(count: number, seed: number): SampleEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    ...(i % 7 === 6 ? {} : { time: DAY + ((i * 7919 + seed * 31) % 5000) * 1e6 + (i % 3) }),
    columns: {
      api_operation: ['GetObject', 'Größe', '', `${BOM}marked`, 'nul\0byte'][(i + seed) % 5]!,
      actor_user_name: `user${(i + seed * 5) % 17}`,
      ...(i % 3 === 0 ? {} : { metadata_uid: `event-${seed}-${i}` }),
      ...(i % 2 === 0 ? { src_endpoint_ip: `10.0.${seed}.${i % 250}` } : { src_endpoint_ip: '2001:DB8::1' }),
      ...(i % 4 === 0 ? { src_endpoint_port: Number.MAX_SAFE_INTEGER - i } : {}),
    },
    ...(i % 5 === 0 ? { record: Buffer.from(`${BOM}{"n":${i}}\0 ${seed}`) } : {}),
  }))
}

async function rowsOf({ rows }: Search): Promise<unknown[]> {
  const all: unknown[] = []
  for await (const row of rows) all.push(row)
  return all
}

const path = ({ directory, files }: SegmentRow, kind: string) =>
  join(directory, files.find((file) => file.kind === kind)!.name)

describe('segments of one partition become one', () => {
  let store: SampleStore
  let parts: SegmentRow[]
  let merged: SegmentRow
  let reader: StoreReader
  let answersBefore: unknown
  let uniqueBefore: Search
  /** Rows of one side only, per kind of file. */
  const differences: unknown[] = []

  /** What a reader can ask: everything, by rows and by what is summed up beside them. */
  async function answers(from: StoreReader) {
    const condition = {
      sql: `coalesce("api_operation" = $value, false)`,
      parameters: { value: 'Größe' },
      needles: [{ column: 'api_operation', values: ['Größe'] }],
    }
    const rejects: unknown[] = []
    for await (const { data, session, ...place } of (await from.rejects()).records)
      rejects.push({ ...place, data: Buffer.from(data).toString('hex'), session: session.session_id })
    return {
      all: await rowsOf(await from.search({ order: 'id', columns: ['id', 'uid', 'time', 'data', 'session.key'] })),
      backwards: await rowsOf(await from.search({ order: '-id', allVersions: true })),
      matching: await rowsOf(
        await from.search({ condition, columns: ['id', 'uid', 'message', 'src_endpoint_ip_key'] }),
      ),
      count: (await from.count({})).count,
      every: (await from.count({ allVersions: true })).count,
      some: (await from.count({ condition, time1: DAY, time2: DAY + 2e9 })).count,
      users: await from.values({ field: 'actor_user_name' }).then(({ values }) => values),
      versions: await from.values({ field: 'actor_user_name', allVersions: true }).then(({ values }) => values),
      ports: await from.values({ field: 'src_endpoint_port' }).then(({ values }) => values),
      hours: await from.timeline({ intervalSecs: 600 }).then(({ bins, untimed }) => ({ bins, untimed })),
      rejects,
    }
  }

  before(async () => {
    store = await SampleStore.create()
    const keyset = loadKeysetKey(store.dataDir, '2023')
    parts = []
    for (let n = 0; n < 4; n++) {
      const objects: SampleObject[] = [
        // The second version supersedes the first, in another segment of the run.
        { key: 'again', version: `v${n}`, lastModified: n + 1, events: n < 2 ? events(20, n) : [] },
        { key: `${BOM}a${n}`, events: events(40, n), codec: 'gzip' },
        { key: `b${n}`, events: events(5, n + 10), rejects: n === 2 ? [] : [Buffer.from(`bad \xff${n}`, 'latin1')] },
      ]
      parts.push(await store.seal(n === 3 ? [{ key: 'empty', events: [] }] : objects, { keyset }))
      // Between them lie segments of another partition.
      await store.seal([{ key: `other${n}`, events: events(10, n + 20) }], { keyset, day: '2023-07-11' })
    }
    parts = await Promise.all(parts.map(({ segment }) => store.segment(segment)))
    reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
    answersBefore = await answers(reader)
    uniqueBefore = await reader.search({ order: 'id', allVersions: true, columns: ['uid'] })
    const segment = await store.catalog.draw(store.owner, 'segment', 1)
    const directory = store.catalog.collectionDirectory('main')
    const { format, day } = parts[0]!
    const place = { collection: 'main', directory, segment, format, day, producer: 'coldtrail/test' }
    // A reader that has begun goes on reading the old files.
    const sealed = await mergeSegments({ inputs: parts, ...place })
    await store.catalog.commitReplace(
      store.owner,
      sealed,
      parts.map((part) => part.segment),
    )
    merged = await store.segment(segment)
    for (const kind of ['meta', 'session', 'reject']) {
      const old = parts.filter(({ files }) => files.some((file) => file.kind === kind))
      const one = `FROM '${path(merged, kind)}'`
      const several = `FROM read_parquet([${old.map((part) => `'${path(part, kind)}'`)}])`
      for (const pair of [`${one} EXCEPT ALL ${several}`, `${several} EXCEPT ALL ${one}`])
        differences.push((await duckdb('', `SELECT count(*) AS n FROM (${pair})`))[0]!.n)
    }
  })
  after(async () => {
    await reader.close()
    await store.remove()
  })

  test('every answer is the same, to old and new readers', async () => {
    assert.deepEqual(await answers(reader), answersBefore)
    const fresh = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
    assert.deepEqual(await answers(fresh), answersBefore)
    await fresh.close()
    const explanation = (await reader.explain({})).explanation
    assert.deepEqual([explanation.segments, merged.superseded.length], [5, 2])
  })

  test('a reader that began before keeps its files until it has ended', async () => {
    const { catalog } = store
    assert.deepEqual((await catalog.sweep({ graceMs: 0 })).unlinked, [])
    const seen = (await rowsOf(uniqueBefore)).map((row) => (row as { uid: string }).uid)
    assert.equal(new Set(seen).size, store.events.length)
    assert.deepEqual(
      (await catalog.sweep({ graceMs: 0 })).unlinked,
      parts.map(({ segment }) => segment),
    )
    assert.deepEqual(await answers(reader), answersBefore)
    const names = readdirSync(catalog.collectionDirectory('main'))
    for (const { segment, files } of parts)
      assert.deepEqual(
        names.filter((name) => name.includes(String(segment).padStart(9, '0'))).sort(),
        files.flatMap(({ kind, name }) => (kind === 'log' ? [name, `${name}.manifest`] : [])),
        'only its pack stays',
      )
    assert.deepEqual((await catalog.verifyChain())[0]?.faults, [])
    assert.deepEqual(await catalog.verifyHistory(), [])
  })

  test('the rows are the same, bit for bit, in order of id, with the same packs', async () => {
    assert.deepEqual(differences, [0n, 0n, 0n, 0n, 0n, 0n])
    const known = store.events.filter(({ segment }) => parts.some((part) => part.segment === segment))
    const inOrder = 'SELECT id, hex(encode(data)) AS data FROM @file'
    assert.deepEqual(
      await duckdb(path(merged, 'meta'), inOrder),
      known.map(({ id, record }) => ({ id: BigInt(id), data: record.toString('hex').toUpperCase() })),
    )
    const other = await rowsByHyparquet(path(merged, 'meta'))
    assert.deepEqual(
      other.map(({ id, session_id, time, src_endpoint_port: port }) => [id, session_id, time, port]),
      (await rowsByDuckdb(path(merged, 'meta'))).map(({ id, session_id, time, src_endpoint_port: port }) => [
        ...[id, session_id, time, port],
      ]),
    )
    const sessions = await duckdb(path(merged, 'session'), 'SELECT session_id, pack_segment FROM @file')
    assert.deepEqual(
      sessions.map(({ pack_segment }) => Number(pack_segment)),
      parts.flatMap(({ segment }, n) => Array.from({ length: n === 3 ? 1 : 3 }, () => segment)),
    )
    assert.deepEqual(
      merged.packs,
      parts.map(({ segment }) => segment),
    )
  })

  test('values and manifests tell the truth about all of it', async () => {
    const known = store.events.filter(({ segment }) => parts.some((part) => part.segment === segment))
    const index = merged.files.find(({ kind }) => kind === 'index')!
    const values = await rowsByHyparquet(join(merged.directory, index.name, 'values.parquet'))
    const users = Map.groupBy(known, ({ columns }) => String(columns.actor_user_name))
    assert.deepEqual(
      values
        .filter(({ column_name }) => column_name === 'actor_user_name')
        .map(({ value, count, time1, time2 }) => [value, Number(count), Number(time1), Number(time2)]),
      [...users]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([value, list]) => {
          const times = list.flatMap(({ time }) => (time === null ? [] : [time]))
          return [value, list.length, Math.min(...times), Math.max(...times)]
        }),
    )
    const { manifest } = merged.files.find(({ kind }) => kind === 'meta')!
    const times = known.flatMap(({ time }) => (time === null ? [] : [time])).sort((a, b) => a - b)
    const at = (share: number) => Math.floor(times[Math.floor(share * (times.length - 1))]! / 1e6)
    const { p01, p99, missing } = manifest.eventTime!
    assert.deepEqual([p01, p99, missing], [at(0.01), at(0.99), known.length - times.length])
    assert.deepEqual([manifest.id1, manifest.id2], [parts[0]!.id1, parts[2]!.id2])
    assert.deepEqual([merged.session1, merged.session2], [parts[0]!.session1, parts[3]!.session2])
    assert.deepEqual([manifest.packetId1, manifest.packetId2], [merged.session1, merged.session2])
    assert.deepEqual([merged.rejects, merged.raw_bytes], [2, parts.reduce((sum, { raw_bytes }) => sum + raw_bytes, 0)])
    assert.equal(manifest.columns!.actor_user_name!.ndv, users.size)
  })

  test('the keyset is the union', () => {
    const open = (segment: number) => {
      const name = `keyset-${String(segment).padStart(9, '0')}.ks`
      return openKeyset(readFileSync(join(store.catalog.manifestDirectory('main'), name)), name).content()
    }
    const united = open(merged.segment)
    const inputs = parts.map(({ segment }) => open(segment))
    for (const { name, keys, complete } of united.sections) {
      const sections = inputs.map(({ sections }) => sections.find((section) => section.name === name)!)
      const expected = new Set(sections.flatMap((section) => [...section.keys]))
      assert.deepEqual(
        [...keys],
        [...expected].sort((a, b) => a - b),
      )
      assert.equal(
        complete,
        sections.every((section) => section.complete),
      )
    }
    assert.ok(united.sections.some(({ keys }) => keys.length > 0))
  })
})

test('a damaged input is named, and nothing of the new segment stays', async () => {
  const store = await SampleStore.create()
  try {
    const parts: SegmentRow[] = []
    for (let n = 0; n < 3; n++) parts.push(await store.seal([{ key: `a${n}`, events: events(30, n) }]))
    const directory = store.catalog.collectionDirectory('main')
    const place = { collection: 'main', directory, segment: 99, format: 'json_lines', day: '2023-07-10', producer: 'x' }
    const before = readdirSync(directory)
    for (const kind of ['meta', 'session'] as const) {
      const file = path(parts[1]!, kind)
      const bytes = readFileSync(file)
      bytes[100]! ^= 1
      writeFileSync(file, bytes)
      await assert.rejects(mergeSegments({ inputs: parts, ...place }), (error: ColdtrailError) => {
        assert.equal(error.code, 'E_SEGMENT_READ')
        assert.ok(error.message.includes(file))
        return true
      })
      bytes[100]! ^= 1
      writeFileSync(file, bytes)
      assert.deepEqual(readdirSync(directory), before)
    }
    // Rows that are not there fail it after it has begun to write.
    const short = { ...parts[0]!, rows: 31 }
    const isInternal = (error: unknown) => error instanceof ColdtrailError && error.code === 'E_INTERNAL'
    await assert.rejects(mergeSegments({ inputs: [short, ...parts.slice(1)], ...place }), isInternal)
    assert.deepEqual(readdirSync(directory), before)
  } finally {
    await store.remove()
  }
})

describe('the choice of a run', () => {
  const LIMITS = { maxRows: 1000, maxBytes: 512 * 2 ** 20, maxSessions: 100 }
  const MIB = 2 ** 20

  interface Shape {
    readonly partition: number
    readonly rows: number
    readonly mib: number
    readonly sessions: number
    readonly key: number
    readonly isHere: boolean
    /** Event ids drawn late, as for a large object. */
    readonly late: boolean
  }
  type Made = Candidate & { readonly shape: Shape; readonly session2: number }

  const mostly = <T>(usual: fc.Arbitrary<T>, other: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 8, arbitrary: usual }, { weight: 1, arbitrary: other })
  const shapes = fc.array(
    fc.record<Shape>({
      partition: fc.integer({ min: 0, max: 1 }),
      rows: mostly(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 1000 })),
      mib: mostly(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 512 })),
      sessions: fc.integer({ min: 1, max: 12 }),
      key: mostly(fc.constant(0), fc.constant(1)),
      isHere: mostly(fc.constant(true), fc.constant(false)),
      late: mostly(fc.constant(false), fc.constant(true)),
    }),
    { minLength: 4, maxLength: 40, size: 'max' },
  )

  function made(list: readonly Shape[]): Made[] {
    return list.map((shape, i) => {
      const { partition, rows, mib, sessions, key, late } = shape
      const id1 = rows === 0 ? null : (late ? 1_000_000 : 0) + i * 10_000
      const manifest = { keyset: { extractor: 'obs/1', epoch: '2023', key: String(key) } }
      return {
        ...{ shape, segment: i + 1, collection: 'main', format: 'f', day: `day${partition}`, rows, id1 },
        ...{ raw_bytes: mib * MIB, id2: id1 === null ? null : id1 + rows - 1 },
        ...{ session1: i * 1000, session2: i * 1000 + sessions - 1 },
        files: [{ kind: 'index', manifest }] as unknown as Candidate['files'],
      }
    })
  }
  const choose = (live: readonly Made[]) =>
    chooseRun(live, LIMITS, {
      mayTake: ({ shape }) => shape.isHere,
      sessionsOf: ({ shape }) => shape.sessions,
    })
  const sum = (run: readonly Made[], of: (segment: Made) => number) => run.reduce((total, one) => total + of(one), 0)

  test('keeps every rule, whatever there is', () => {
    let runs = 0
    fc.assert(
      fc.property(shapes, (list) => {
        const live = made(list)
        const run = choose(live)
        if (!run) return
        runs += 1
        const [first] = run
        assert.ok(run.length >= 4)
        assert.ok(run.every(({ day, shape }) => day === first!.day && shape.key === first!.shape.key && shape.isHere))
        assert.ok(run.every(({ rows, raw_bytes }) => rows < 250 || raw_bytes < 128 * MIB))
        assert.ok(sum(run, ({ rows }) => rows) <= 1000)
        assert.ok(sum(run, ({ raw_bytes }) => raw_bytes) <= 512 * MIB)
        assert.ok(sum(run, ({ shape }) => shape.sessions) <= 100)
        assert.ok(run.every(({ raw_bytes }) => 2 * raw_bytes <= sum(run, (one) => one.raw_bytes)))
        // Nothing of the partition lies between, by events or by sessions.
        const others = live.filter((segment) => segment.day === first!.day && !run.includes(segment))
        const ids = run.flatMap(({ id1, id2 }) => (id1 === null ? [] : [id1, id2!]))
        for (const { id1, id2, session1, session2 } of others) {
          if (id1 !== null && ids.length > 0) assert.ok(id2! < Math.min(...ids) || id1 > Math.max(...ids))
          assert.ok(session2 < first!.session1 || session1 > run.at(-1)!.session2)
        }
      }),
      { numRuns: 2000 },
    )
    assert.ok(runs > 200, `${runs} runs only`)
  })

  test('ends, and rewrites an event a few times only', () => {
    const shape: Shape = { partition: 0, rows: 1, mib: 1, sessions: 1, key: 0, isHere: true, late: false }
    let live: Made[] = []
    let rewritten = 0
    let merges = 0
    for (const one of made(Array.from({ length: 300 }, () => shape))) {
      live.push(one)
      for (let run = choose(live); run; run = choose(live)) {
        rewritten += run.length > 0 ? sum(run, ({ rows }) => rows) : 0
        merges += 1
        const gone = run
        const sessions = sum(run, (segment) => segment.shape.sessions)
        const union = {
          ...gone[0]!,
          rows: sum(run, ({ rows }) => rows),
          raw_bytes: sum(run, ({ raw_bytes }) => raw_bytes),
          id2: gone.at(-1)!.id2,
          session2: gone.at(-1)!.session2,
          shape: { ...gone[0]!.shape, sessions },
        }
        live = [union, ...live.filter((segment) => !gone.includes(segment))].sort((a, b) => a.session1 - b.session1)
      }
    }
    assert.equal(
      sum(live, ({ rows }) => rows),
      300,
    )
    assert.ok(live.length <= 20, `${live.length} segments are left`)
    assert.ok(rewritten <= 300 * 9, `${rewritten} events were rewritten`)
    assert.ok(merges < 100, `${merges} merges`)
  })

  test('the oldest run of all partitions comes first; too few, too large and too unequal ones stay', () => {
    const shape: Shape = { partition: 0, rows: 10, mib: 4, sessions: 1, key: 0, isHere: true, late: false }
    const other = { ...shape, partition: 1 }
    assert.deepEqual(
      choose(made([shape, other, other, other, other, shape, shape, shape]))?.map(({ segment }) => segment),
      [1, 6, 7, 8],
    )
    assert.equal(choose(made([shape, shape, shape])), undefined)
    assert.equal(choose(made([{ ...shape, mib: 100 }, shape, shape, shape])), undefined)
    assert.equal(choose(made(Array.from({ length: 9 }, () => ({ ...shape, rows: 300, mib: 130 })))), undefined)
  })
})
