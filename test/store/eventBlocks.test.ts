/** Blocks of a segment and batches over them give what was written: two row groups, pages of records, gaps, escapes. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { NULL_TEXT, type NumberColumn, type TextColumn } from '../../src/core/columnBatch.ts'
import { has, type RowSet, rowsWhere, span } from '../../src/query/rowSet.ts'
import { columnBatches } from '../../src/store/columnBatches.ts'
import { SegmentEvents } from '../../src/store/eventBlocks.ts'
import { SampleStore } from '../support/sampleStore.ts'

const EVENTS = 33_500
const FIRST_ID = 7_000_000
const store = await SampleStore.create()
const text = (i: number): string => {
  if (i % 11 === 0) return JSON.stringify({ url: 'a"b\\c', n: i })
  if (i % 7 === 0) return `no JSON ${i}`
  if (i % 5 === 0) return JSON.stringify({ url: null, deep: [{ n: i }] })
  return JSON.stringify({ url: `https://h${i % 9}/`, n: 1.5, deep: [{ n: i }, 2], long: 'é'.repeat(i % 300) })
}
const row = await store.seal(
  [
    {
      key: 'one',
      events: Array.from({ length: EVENTS }, (_, i) => ({
        ...(i % 13 !== 0 && { time: 1_700_000_000_000_000 + i * 1_000 }),
        columns: {
          ...(i % 3 !== 0 && { actor_user_name: `user ${i % 40}` }),
          ...(i % 2 !== 0 && { dst_endpoint_port: i }),
          // More than a dictionary takes: written value by value.
          resource_uid: `resource ${i}`,
        },
        record: Buffer.from(text(i)),
      })),
    },
  ],
  { firstEventId: FIRST_ID },
)
const events = new SegmentEvents(join(row.directory, `meta-${String(row.segment).padStart(9, '0')}.parquet`))
after(() => {
  events.close()
  return store.remove()
})

test('a block gives the columns of its rows, and their records', () => {
  const places = events.blocks(0, EVENTS)
  assert.deepEqual(
    places.map(({ first, rows }) => [first, rows]),
    [
      [0, 32_768],
      [32_768, EVENTS - 32_768],
    ],
  )
  for (const place of places) {
    const block = place.open()
    assert.equal(block.texts('status'), undefined)
    assert.equal(block.weight('status'), 0)
    assert.equal(block.numbers('traffic_bytes'), undefined)
    assert.ok(block.weight('resource_uid') > 0)
    for (let at = 0; at < place.rows; at++) {
      const known = store.events[place.first + at]!
      assert.equal(block.ids[at], known.id)
      assert.equal(block.value('time', at) ?? null, known.time)
      for (const name of ['actor_user_name', 'dst_endpoint_port', 'resource_uid', 'status'])
        assert.equal(block.value(name, at), known.columns[name])
      const record = block.record(at)
      assert.equal(record.text, known.record.toString())
      assert.equal(record.isEscaped, known.record.includes('\\'))
    }
  }
  // In any order.
  const block = places[0]!.open()
  for (const at of [30_000, 3, 29_999, 30_000, 0])
    assert.equal(block.record(at).text, store.events[at]!.record.toString())
})

test('only blocks of the rows asked for are there', () => {
  assert.deepEqual(
    events.blocks(32_768, 1).map(({ first }) => first),
    [32_768],
  )
  assert.equal(events.blocks(32_767, 2).length, 2)
})

test('batches give the selected rows, with values in the order in which rows have them', () => {
  const selected = events.blocks(100, 33_000).map((place) => {
    const part = span(100 - place.first, 33_099 - place.first, place.rows)
    const rows: RowSet = rowsWhere(place.rows, (at) => has(part, at) && (place.first + at) % 4 !== 1)
    return { place, rows }
  })
  const expected = store.events.filter((_, i) => i >= 100 && i < 33_100 && i % 4 !== 1)
  const columns = ['time', 'actor_user_name', 'resource_uid', 'data', 'data.url', 'data.deep', 'data.n', 'data.deep.1']
  let at = 0
  let values: readonly string[] | undefined
  for (const { batch, rowNumbers, first, last } of columnBatches(selected, columns, 10_000)) {
    assert.ok(batch.rows <= 10_000)
    assert.deepEqual([rowNumbers[0], rowNumbers.at(-1)], [first, last])
    const users = batch.columns.actor_user_name as TextColumn
    values ??= users.values
    assert.equal(users.values, values, 'the same array in every batch')
    for (let i = 0; i < batch.rows; i++, at++) {
      const known = expected[at]!
      assert.equal(batch.ids[i], known.id)
      assert.equal(rowNumbers[i], known.id - FIRST_ID)
      assert.equal((batch.columns.time as NumberColumn).values[i], known.time ?? Number.NaN)
      const textOf = (name: string): string | undefined => {
        const column = batch.columns[name] as TextColumn
        const index = column.indexes[i]!
        return index === NULL_TEXT ? undefined : column.values[index]
      }
      const record = known.record.toString()
      const json = record.startsWith('{') ? JSON.parse(record) : {}
      assert.equal(textOf('actor_user_name'), known.columns.actor_user_name)
      assert.equal(textOf('resource_uid'), known.columns.resource_uid)
      assert.equal(textOf('data'), record)
      assert.equal(textOf('data.url'), json.url ?? undefined)
      assert.equal(textOf('data.n'), json.n === undefined ? undefined : String(json.n))
      assert.equal(textOf('data.deep'), json.deep && JSON.stringify(json.deep))
      assert.equal(textOf('data.deep.1'), json.deep?.[1] === undefined ? undefined : String(json.deep[1]))
    }
  }
  assert.equal(at, expected.length)
  assert.deepEqual(values!.slice(0, 3), [`user ${100 % 40}`, `user ${103 % 40}`, `user ${104 % 40}`])
})
