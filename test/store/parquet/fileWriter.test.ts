/** What our writer writes, our reader and two others read: the same rows, exact statistics, field ids. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import { createDurableFile } from '../../../src/platform/files.ts'
import { BytesPageBuilder, type ParquetColumn, ParquetFileWriter } from '../../../src/store/parquet/fileWriter.ts'
import { type Cell, RowTable } from '../../../src/store/parquet/rowTable.ts'
import { seededRandom } from '../../support/random.ts'
import {
  duckdb,
  metadataByHyparquet,
  type Row,
  rowsByDuckdb,
  rowsByHyparquet,
  rowsByReader,
  type Value,
} from '../../support/readParquet.ts'

const SEED = 31_337
const directory = mkdtempSync(join(tmpdir(), 'parquet-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let files = 0

/** Each group of rows becomes a row group. */
function write(columns: readonly ParquetColumn[], groups: readonly (readonly (readonly Cell[])[])[]): string {
  const path = join(directory, `${++files}.parquet`)
  const file = createDurableFile(path)
  const parquet = new ParquetFileWriter(file, columns, { 'coldtrail.file': 'test/1' })
  const table = new RowTable(columns)
  for (const rows of groups) {
    for (const row of rows) table.add(row)
    table.flush(parquet)
  }
  parquet.finish()
  file.publish()
  return path
}

const value = (cell: Cell): Value => (typeof cell === 'number' ? BigInt(cell) : cell)

async function assertReadBack(
  columns: readonly ParquetColumn[],
  groups: readonly (readonly (readonly Cell[])[])[],
): Promise<string> {
  const path = write(columns, groups)
  const expected: Row[] = groups
    .flat()
    .map((row) => Object.fromEntries(columns.map(({ name }, i) => [name, value(row[i]!)])))
  assert.deepEqual(await rowsByDuckdb(path), expected)
  // hyparquet gives text as its bytes here, so that nothing is lost on the way.
  const texts = columns.filter(({ type }) => type === 'text').map(({ name }) => name)
  for (const rows of [await rowsByHyparquet(path), rowsByReader(path)]) {
    const found = rows.map((row) => {
      const decoded = texts.map(
        (name) => [name, Buffer.isBuffer(row[name]) ? row[name].toString() : row[name]!] as const,
      )
      return { ...row, ...Object.fromEntries(decoded) }
    })
    assert.deepEqual(found, expected)
  }
  return path
}

const COLUMNS: readonly ParquetColumn[] = [
  { name: 'int', fieldId: 7, type: 'int', nullable: false },
  { name: 'int_or_null', fieldId: 3, type: 'int', nullable: true },
  { name: 'time', fieldId: 101, type: 'time', nullable: true },
  { name: 'text', fieldId: 12, type: 'text', nullable: false },
  { name: 'text_or_null', fieldId: 13, type: 'text', nullable: true },
  { name: 'binary', fieldId: 14, type: 'binary', nullable: true },
]

const extreme = fc.oneof(
  fc.constantFrom(0, -1, 1, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 50, -(2 ** 50), 2 ** 52, -(2 ** 52), -(2 ** 52) - 1),
  fc.constantFrom(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER),
  fc.maxSafeInteger(),
  fc.integer({ min: -1000, max: 1000 }),
)
/** The years 1 and 9999 lie beyond the safe integers, as multiples of 64 that a double holds. */
const time = fc.oneof(extreme, fc.constantFrom(-62_135_596_800_000_000, 253_402_300_799_000_000, 1_688_989_502_123_456))
const text = fc.oneof(
  fc.constantFrom('', 'a', 'b', '\0', 'é', '日本', '😀'),
  fc.string({ unit: 'binary' }).map((string) => string.toWellFormed()),
)
const binary = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes))
const row = fc.tuple(extreme, fc.option(extreme), fc.option(time), text, fc.option(text), fc.option(binary))

suite('rows are read back by DuckDB, hyparquet and our reader', () => {
  test('of any values, in several row groups', async () => {
    const groups = fc.array(fc.array(row, { maxLength: 60 }), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(groups, async (rows) => void (await assertReadBack(COLUMNS, rows))),
      { numRuns: 120, seed: SEED },
    )
  })

  test('when a column is null throughout, or the file has no rows', async () => {
    await assertReadBack(COLUMNS, [])
    await assertReadBack(COLUMNS, [[[1, null, null, '', null, null]]])
    const nulls = Array.from({ length: 1000 }, (_, i) => [i, null, null, 'same', null, null])
    await assertReadBack(COLUMNS, [nulls, nulls.slice(0, 1), nulls])
  })

  test('with runs of nulls and values of every length', async () => {
    // Run and bit-packed stretches meet at every offset modulo 8, at and around the length that makes a run.
    const columns = [COLUMNS[1]!, COLUMNS[4]!]
    for (let lead = 0; lead < 18; lead++) {
      const rows: Cell[][] = []
      for (let i = 0; i < lead; i++) rows.push([i % 2 ? i : null, i % 3 ? `v${i % 3}` : null])
      for (const run of [7, 8, 15, 16, 17, 24, 100]) {
        for (let i = 0; i < run; i++) rows.push([null, 'run'])
        for (let i = 0; i < run; i++) rows.push([run, null])
        rows.push([1, 'x'])
      }
      await assertReadBack(columns, [rows])
    }
  })

  test('with dictionaries of every width', async () => {
    const columns = [COLUMNS[3]!]
    for (const distinct of [1, 2, 3, 4, 5, 8, 9, 16, 17, 255, 256, 257, 4096, 4097]) {
      const random = seededRandom(distinct)
      const rows = Array.from({ length: distinct * 2 + 100 }, () => [`value ${random(distinct)}`])
      await assertReadBack(columns, [rows])
    }
  })

  test('with deltas of every width', async () => {
    const columns = [COLUMNS[0]!]
    const random = seededRandom(SEED)
    for (let bits = 0; bits <= 53; bits++) {
      const range = 2 ** Math.min(bits, 52)
      const rows = Array.from({ length: 300 }, (_, i) => [
        (i % 2 ? 1 : -1) * Math.floor((random(2 ** 30) / 2 ** 30) * range),
      ])
      await assertReadBack(columns, [rows, rows.slice(0, 129), rows.slice(0, 128), rows.slice(0, 2)])
    }
  })

  test('with values longer than a page', async () => {
    const random = seededRandom(SEED)
    const rows = [0, 1, 70_000, 3, 3_000_000, 0, 1_048_576, 9_000_000].map((length, i) => [
      i,
      'x'.repeat(length),
      Buffer.from(Array.from({ length: Math.min(length, 100_000) }, () => random(256))),
    ])
    await assertReadBack([COLUMNS[0]!, COLUMNS[4]!, COLUMNS[5]!], [rows, rows.slice(0, 3)])
  })

  test('a hundred thousand rows with many distinct values', async () => {
    const random = seededRandom(SEED)
    const rows = Array.from({ length: 100_000 }, (_, i) => [
      i,
      random(10) === 0 ? null : random(2 ** 30) * 1000,
      1_688_989_502_000_000 + i * 1000 + random(500),
      `value ${random(50_000)}`,
      random(3) === 0 ? null : `${i}`,
      null,
    ])
    const path = write(COLUMNS, [rows.slice(0, 70_000), rows.slice(70_000)])
    const sum = (pick: (row: readonly Cell[]) => number) =>
      BigInt(rows.reduce((total, cells) => total + pick(cells), 0))
    const [found] = await duckdb(
      path,
      `SELECT count(*)::BIGINT AS rows, sum("int")::BIGINT AS ints, count(int_or_null)::BIGINT AS present,
         count(DISTINCT text)::BIGINT AS texts, sum(strlen(text))::BIGINT AS bytes,
         count(text_or_null)::BIGINT AS some, min(epoch_us(time)) AS first, max(epoch_us(time)) AS last FROM @file`,
    )
    assert.deepEqual(found, {
      rows: 100_000n,
      ints: sum((cells) => cells[0] as number),
      present: sum((cells) => (cells[1] === null ? 0 : 1)),
      texts: BigInt(new Set(rows.map((cells) => cells[3])).size),
      bytes: sum((cells) => (cells[3] as string).length),
      some: sum((cells) => (cells[4] === null ? 0 : 1)),
      first: BigInt(rows[0]![2] as number),
      last: BigInt(rows.at(-1)![2] as number),
    })
    const back = await rowsByHyparquet(path)
    assert.equal(back.length, rows.length)
    for (let i = 0; i < rows.length; i += 997) {
      assert.equal(back[i]!.int, BigInt(i))
      assert.equal(String(back[i]!.text), rows[i]![3])
      assert.equal(back[i]!.time, BigInt(rows[i]![2] as number))
    }
  })
})

test('bounds and null counts are exact, or absent where a bound would be long', async () => {
  const rows: Cell[][] = [
    [5, -7, 1_000_000, 'b', 'é', Buffer.of(0xff)],
    [-3, null, null, 'a', null, Buffer.of(0)],
    [9, Number.MIN_SAFE_INTEGER, -62_135_596_800_000_000, 'c'.repeat(64), 'x', null],
    [9, Number.MAX_SAFE_INTEGER, 253_402_300_799_000_000, 'a', 'é', Buffer.of(0)],
    ...Array.from({ length: 20 }, (): Cell[] => [1, null, null, 'a', 'x', null]),
  ]
  const long = rows.map((cells) => cells.with(3, 'c'.repeat(65)))
  const path = write(COLUMNS, [rows, long])
  const { row_groups: groups } = await metadataByHyparquet(path)
  const statistics = (group: number, column: number) => groups[group]!.columns[column]!.meta_data!.statistics!
  const bounds = (group: number, column: number) => {
    const { min_value, max_value, null_count } = statistics(group, column)
    return [min_value, max_value, null_count]
  }
  assert.deepEqual(bounds(0, 0), [-3n, 9n, 0n])
  assert.deepEqual(bounds(0, 1), [BigInt(Number.MIN_SAFE_INTEGER), BigInt(Number.MAX_SAFE_INTEGER), 21n])
  assert.deepEqual(bounds(0, 3), ['a', 'c'.repeat(64), 0n])
  assert.deepEqual(bounds(1, 3), [undefined, undefined, 0n])
  assert.deepEqual(bounds(0, 4), ['x', 'é', 1n])
  const found = await duckdb(
    path,
    `SELECT path_in_schema AS name, stats_min_value AS least, stats_max_value AS most, stats_null_count AS nulls
     FROM parquet_metadata(@file) WHERE row_group_id = 0 AND path_in_schema IN ('int', 'time', 'text')`,
  )
  assert.deepEqual(found, [
    { name: 'int', least: '-3', most: '9', nulls: 0n },
    { name: 'time', least: '0001-01-01 00:00:00+00', most: '9999-12-31 23:59:59+00', nulls: 21n },
    { name: 'text', least: 'a', most: 'c'.repeat(64), nulls: 0n },
  ])
})

test('statistics never hide a row: filters find what a full scan finds', async () => {
  const cell = fc.oneof(fc.constantFrom('', 'a', 'b', 'é', '\u{10ffff}', '\uffff'), fc.string({ maxLength: 3 }))
  const data = fc.array(
    fc.tuple(
      extreme,
      cell.map((string) => string.toWellFormed()),
    ),
    { minLength: 1, maxLength: 40 },
  )
  const columns = [COLUMNS[0]!, COLUMNS[3]!]
  await fc.assert(
    fc.asyncProperty(data, data, async (one, two) => {
      const path = write(columns, [one, two])
      const rows = [...one, ...two]
      for (const [number, string] of [one[0]!, two[0]!]) {
        const quoted = string.replaceAll("'", "''").replaceAll('\0', '')
        const [found] = await duckdb(
          path,
          `SELECT count(*) FILTER ("int" = ${number})::BIGINT AS same,
             (SELECT count(*) FROM @file WHERE "int" <= ${number})::BIGINT AS below,
             (SELECT count(*) FROM @file WHERE text = '${quoted}')::BIGINT AS texts FROM @file`,
        )
        assert.equal(found!.same, BigInt(rows.filter(([n]) => n === number).length))
        assert.equal(found!.below, BigInt(rows.filter(([n]) => n <= number).length))
        if (!string.includes('\0')) assert.equal(found!.texts, BigInt(rows.filter(([, s]) => s === string).length))
      }
    }),
    { numRuns: 60, seed: SEED },
  )
})

test('field ids, types and metadata are in the file', async () => {
  const path = write(COLUMNS, [[[1, 2, 3, 'x', 'y', Buffer.of(1)]]])
  const { schema, key_value_metadata, num_rows, created_by } = await metadataByHyparquet(path)
  assert.deepEqual(
    schema.slice(1).map(({ name, field_id, repetition_type }) => [name, field_id, repetition_type]),
    COLUMNS.map(({ name, fieldId, nullable }) => [name, fieldId, nullable ? 'OPTIONAL' : 'REQUIRED']),
  )
  assert.deepEqual(key_value_metadata, [{ key: 'coldtrail.file', value: 'test/1' }])
  assert.equal(num_rows, 1n)
  assert.equal(created_by, 'coldtrail')
  const types = await duckdb(
    path,
    'SELECT column_name AS name, column_type AS type FROM (DESCRIBE SELECT * FROM @file)',
  )
  assert.deepEqual(
    types.map(({ type }) => type),
    ['BIGINT', 'BIGINT', 'TIMESTAMP WITH TIME ZONE', 'VARCHAR', 'VARCHAR', 'BLOB'],
  )
})

test('a null in a required column and a missing column are refused', () => {
  assert.throws(() => write([COLUMNS[0]!], [[[null]]]), /null in a required column/)
  const file = createDurableFile(join(directory, 'short.parquet'))
  assert.throws(() => new ParquetFileWriter(file, COLUMNS, {}).endRowGroup(0), /row group has 0 columns/)
  file.discard()
})

test('a page builder holds compressed pages, not the row group', () => {
  const pages = new BytesPageBuilder(true)
  const line = Buffer.from('a line that compresses well, as logs do; '.repeat(25))
  for (let i = 0; i < 20_000; i++) {
    pages.add(line, 0, line.length)
    if (i % 7 === 0) pages.addNull()
    assert.ok(pages.buffered < 3 << 20)
  }
  const { pages: taken, nulls } = pages.take()
  assert.equal(
    taken.reduce((rows, page) => rows + page.rows, 0),
    20_000 + nulls,
  )
  assert.equal(pages.buffered, 0)
  assert.deepEqual(pages.take(), { pages: [], nulls: 0 })
})
