/** The CSV of the dump files is PostgreSQL's own, both ways: COPY writes our bytes, and reads them. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import fc from 'fast-check'
import pg from 'pg'
import { from, to } from 'pg-copy-streams'
import { type CsvRecord, csvLine, parseCsv } from '../../src/core/csv.ts'
import { postgresUrl } from '../support/postgres.ts'

const character = fc.constantFrom(
  ',',
  '"',
  '\n',
  '\r',
  '\\',
  '.',
  'é',
  '𝄞',
  '\u0085',
  '\u2028',
  'a',
  ' ',
  '\t',
  "'",
  '=',
)
const value = fc.option(
  fc.oneof(
    fc.string({ unit: character, maxLength: 8 }),
    fc.string({ unit: 'grapheme', maxLength: 20 }),
    fc.constantFrom('', '\\.', 'NULL', '\\N', '\ufeff'),
  ),
  { freq: 4 },
)
const field = value.filter((text) => text === null || (!text.includes('\0') && text.isWellFormed()))
const table = fc
  .integer({ min: 1, max: 4 })
  .chain((width) => fc.array(fc.array(field, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 15 }))

test('COPY TO writes the bytes that we write, COPY FROM reads ours as we read them', async (context) => {
  const client = new pg.Client(await postgresUrl())
  await client.connect()
  context.after(() => client.end())
  await fc.assert(
    fc.asyncProperty(table, async (rows) => {
      const columns = rows[0]!.map((_, i) => `c${i}`)
      await client.query(
        `drop table if exists given; create table given (line serial, ${columns.map((name) => `${name} text`).join(', ')})`,
      )
      const places = columns.map((_, i) => `$${i + 1}`).join(', ')
      for (const row of rows) await client.query(`insert into given (${columns.join(', ')}) values (${places})`, row)

      const query = `copy (select ${columns.join(', ')} from given order by line) to stdout (format csv, header)`
      const copied = await buffer(client.query(to(query)))
      const written = Buffer.from([columns, ...rows].map(csvLine).join(''))
      assert.equal(copied.toString(), written.toString())

      await client.query('truncate given')
      const target = client.query(from(`copy given (${columns.join(', ')}) from stdin (format csv, header match)`))
      await pipeline(Readable.from([written]), target)
      const read = await client.query({
        text: `select ${columns.join(', ')} from given order by line`,
        rowMode: 'array',
      })
      const found: CsvRecord[] = []
      parseCsv(written, columns, (record) => found.push(record))
      assert.deepEqual(found, read.rows)
      assert.deepEqual(found, rows)
    }),
    { numRuns: 60 },
  )
})
