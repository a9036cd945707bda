/** Our reader on files that are not whole. That it reads what is written, fileWriter.test.ts shows. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { createDurableFile } from '../../../src/platform/files.ts'
import { ParquetFileReader } from '../../../src/store/parquet/fileReader.ts'
import { type ParquetColumn, ParquetFileWriter } from '../../../src/store/parquet/fileWriter.ts'
import { RowTable } from '../../../src/store/parquet/rowTable.ts'
import { rowsByReader, textCells } from '../../support/readParquet.ts'

const COLUMNS: readonly ParquetColumn[] = [
  { name: 'number', fieldId: 1, type: 'int', nullable: true },
  { name: 'repeats', fieldId: 2, type: 'text', nullable: true },
  { name: 'each', fieldId: 3, type: 'text', nullable: false },
]
const directory = mkdtempSync(join(tmpdir(), 'parquet-reader-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const whole = join(directory, 'whole.parquet')
const file = createDurableFile(whole)
const writer = new ParquetFileWriter(file, COLUMNS, {})
for (let group = 0; group < 2; group++) {
  const table = new RowTable(COLUMNS)
  for (let i = 0; i < 300; i++) table.add([i % 5 === 0 ? null : i * 7, i % 3 === 0 ? null : `v${i % 4}`, `each ${i}`])
  table.flush(writer)
}
writer.finish()
file.publish()

test('pages give the rows of a column, group by group; bounds and weights are told without reading', () => {
  const reader = new ParquetFileReader(whole)
  const pages = reader.pages(1, 'each')!
  assert.deepEqual(
    pages.flatMap((page) => textCells(page.read()).map(String)),
    Array.from({ length: 300 }, (_, i) => `each ${i}`),
  )
  assert.deepEqual(
    reader.groups.map(({ first, rows }) => [first, rows]),
    [
      [0, 300],
      [300, 300],
    ],
  )
  assert.deepEqual(reader.bounds(0, 'number'), { least: 7, most: 299 * 7 })
  assert.equal(reader.bounds(0, 'each'), undefined)
  assert.ok(reader.weight(0, 'number') > 0)
  assert.equal(reader.weight(0, 'other'), 0)
  assert.equal(reader.numbers(0, 'other'), undefined)
  reader.close()
})

test('a file with any bytes changed, or cut off anywhere, is read or refused by name, and nothing else happens', () => {
  const bytes = readFileSync(whole)
  const damaged = join(directory, 'damaged.parquet')
  const changes = fc.array(fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 })), { maxLength: 3 })
  const end = fc.oneof(fc.constant(bytes.length), fc.nat({ max: bytes.length }))
  let [read, refused] = [0, 0]
  fc.assert(
    fc.property(changes, end, (places, length) => {
      const copy = Buffer.from(bytes)
      for (const [at, byte] of places) copy[at] = byte
      writeFileSync(damaged, copy.subarray(0, length))
      try {
        rowsByReader(damaged)
        read += 1
      } catch (error) {
        assert.ok(error instanceof ColdtrailError, String((error as Error).stack))
        assert.equal(error.code, 'E_SEGMENT_READ')
        assert.equal(error.values.path, damaged)
        refused += 1
      }
    }),
    { numRuns: 500 },
  )
  assert.ok(read > 0 && refused > 0)
})

test('a file that is not there is gone', () => {
  assert.throws(() => new ParquetFileReader(join(directory, 'none.parquet')), { code: 'E_SEGMENT_GONE' })
})
