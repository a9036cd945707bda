import assert from 'node:assert/strict'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { SegmentRow } from '../../src/store/catalog.ts'
import { closureOf, segmentsInRange } from '../../src/store/closure.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { type SampleObject, SampleStore } from '../support/sampleStore.ts'

const DAY = 1_688_947_200_000_000
const HOUR = 3_600_000_000

const object = (key: string, hour?: number, rejects: Buffer[] = []): SampleObject => ({
  key,
  events: [{ ...(hour === undefined ? {} : { time: DAY + hour * HOUR }), columns: { api_operation: key } }],
  rejects,
})

describe('what it takes to ask segments again', () => {
  let store: SampleStore
  let rows: SegmentRow[]
  let merged: number
  let alone: number
  let parts: number[]

  before(async () => {
    store = await SampleStore.create()
    const old = [await store.seal([object('a', 1)]), await store.seal([object('b', 2, [Buffer.from('bad')])])]
    alone = (await store.seal([object('c', 5)])).segment
    parts = old.map(({ segment }) => segment)
    merged = await store.catalog.draw(store.owner, 'segment', 1)
    const directory = store.catalog.collectionDirectory('main')
    const { format, day } = old[0]!
    const place = { collection: 'main', directory, segment: merged, format, day, producer: 'coldtrail/test' }
    await store.catalog.commitReplace(store.owner, await mergeSegments({ inputs: old, ...place }), parts)
    rows = [...(await store.catalog.segments({ collection: 'main' }))]
  })
  after(() => store.remove())

  test('a merged segment needs the packs of those it replaced, under their own numbers', () => {
    const { files, gaps, isComplete, bytes, bytesAway } = closureOf(rows, [merged])
    const named = (kind: string): number[] => files.filter((file) => file.kind === kind).map(({ segment }) => segment)
    assert.deepEqual(named('log'), parts)
    for (const kind of ['session', 'meta', 'index', 'reject']) assert.deepEqual(named(kind), [merged])
    assert.deepEqual([gaps, isComplete, bytesAway], [[], true, 0])
    assert.equal(
      bytes,
      files.reduce((sum, { size }) => sum + size, 0),
    )
    assert.deepEqual([...new Set(files.flatMap(({ neededBy }) => neededBy))], [merged])
  })

  test('a file that is not at its place is offline, and the answer says what has to be fetched', () => {
    const pack = closureOf(rows, [alone]).files.find(({ kind }) => kind === 'log')!
    const path = join(pack.directory, pack.name)
    renameSync(path, `${path}.away`)
    try {
      const found = closureOf(rows, [alone, merged, alone])
      assert.deepEqual(found.segments, [alone, merged].sort())
      assert.deepEqual([found.isComplete, found.bytesAway], [false, pack.size])
      assert.deepEqual(
        found.files.filter(({ state }) => state !== 'here').map(({ name, state }) => [name, state]),
        [[pack.name, 'offline']],
      )
      assert.equal(closureOf(rows, [alone], { kinds: new Set(['session', 'meta', 'index']) }).isComplete, true)
    } finally {
      renameSync(`${path}.away`, path)
    }
  })

  test('what the catalog does not know is a gap, never an empty success', () => {
    const replaced = closureOf(rows, [parts[0]!])
    assert.match(replaced.gaps[0]!.reason, /was replaced/)
    assert.equal(replaced.isComplete, false)
    assert.match(closureOf(rows, [999]).gaps[0]!.reason, /does not know/)
    const lost = rows.filter(({ segment }) => segment !== parts[1])
    const { gaps, files } = closureOf(lost, [merged])
    assert.deepEqual(
      gaps.map(({ segment, needs }) => [segment, needs]),
      [[merged, `log-${String(parts[1]).padStart(9, '0')}.pack`]],
    )
    assert.equal(files.filter(({ kind }) => kind === 'log').length, 1)
  })

  test('a bucket is looked at by nobody, and a deleted file is not there', () => {
    const at = (place: object) =>
      rows.map((row) => ({ ...row, files: row.files.map((file) => ({ ...file, ...place })) }))
    const states = (place: object) => new Set(closureOf(at(place), [alone]).files.map(({ state }) => state))
    assert.deepEqual(states({ directory: 's3://cold/logs', tier: 'cold' }), new Set(['remote']))
    assert.deepEqual(states({ deleted: true }), new Set(['deleted']))
    assert.equal(closureOf(at({ directory: 's3://cold/logs' }), [alone]).isComplete, true)
    assert.equal(closureOf(at({ deleted: true }), [alone]).isComplete, false)
    const [first] = closureOf(at({ tier: 'offline', directory: '/tape', label: 'tape 12' }), [alone]).files
    assert.deepEqual(
      [first!.tier, first!.directory, first!.label, first!.state],
      ['offline', '/tape', 'tape 12', 'offline'],
    )
  })

  test('a range takes what overlaps it, both ends included, and what has no time by its day', () => {
    const range = (time1?: number, time2?: number, some = rows) => segmentsInRange(some, { time1, time2 })
    assert.deepEqual(range(), [alone, merged].sort())
    assert.deepEqual(range(DAY + 5 * HOUR, DAY + 5 * HOUR), [alone])
    assert.deepEqual(range(DAY + 2 * HOUR, DAY + 5 * HOUR - 1), [merged])
    assert.deepEqual(range(DAY + 5 * HOUR + 1), [])
    const untimed = rows.map((row) => ({ ...row, time1: null, time2: null }))
    assert.deepEqual(range(DAY, DAY, untimed), [alone, merged].sort())
    assert.deepEqual(range(DAY + 24 * HOUR, undefined, untimed), [])
    assert.deepEqual(range(undefined, DAY - 1, untimed), [])
    const dayless = untimed.map((row) => ({ ...row, day: 'none' }))
    assert.deepEqual(range(undefined, DAY - 1, dayless), [alone, merged].sort())
  })
})
