/** CSV of the dump files, against a plain model, and against what is refused (S6). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CsvOptions, type CsvRecord, csvLine, csvRecords, csvRecordsOf, parseCsv } from '../../src/core/csv.ts'
import { ColdtrailError } from '../../src/core/errors.ts'

const all = (text: string | Buffer, columns: readonly string[], options: Partial<CsvOptions> = {}): CsvRecord[] => {
  const found: CsvRecord[] = []
  parseCsv(Buffer.from(text), columns, (record) => found.push(record), options)
  return found
}

const refusal = (text: string | Buffer, columns: readonly string[], options: Partial<CsvOptions> = {}) => {
  try {
    all(text, columns, options)
  } catch (error) {
    assert.ok(error instanceof ColdtrailError && error.code === 'E_CSV', String(error))
    const { line, column, reason } = error.values
    return `${line}:${column} ${reason}`
  }
  return assert.fail('it was taken')
}

const AB = ['a', 'b']

test('NULL is an empty unquoted field, the empty text is quoted', () => {
  assert.deepEqual(all('a,b\n,""\nx,\n', AB), [
    [null, ''],
    ['x', null],
  ])
})

test('commas, quotes, CR and LF stand in quotes; values of a spreadsheet formula stay as they are', () => {
  assert.deepEqual(all('a,b\n"x,""y""","1\r\n2"\n=1+1,\\.\n', AB), [
    ['x,"y"', '1\r\n2'],
    ['=1+1', '\\.'],
  ])
})

test('each fault is named with line and column', () => {
  assert.equal(refusal('', AB), '1:1 it is empty and has no header')
  assert.equal(refusal('a,c\n', AB), '1:1 the header is not a,b')
  assert.equal(refusal('a,b,c\n', AB), '1:4 there are more than 2 fields')
  assert.equal(refusal('a,b\n1\n', AB), '2:1 it has 1 of 2 fields')
  assert.equal(refusal('a,b\n1,2\n\n', AB), '3:1 it has 1 of 2 fields')
  assert.equal(refusal('a,b\n1,2,3\n', AB), '2:4 there are more than 2 fields')
  assert.equal(refusal('a,b\n1,2', AB), '2:4 the file ends inside a record: its last line has no newline')
  assert.equal(refusal('a,b\n"1\n2\n', AB), '4:1 the file ends inside quotes')
  assert.equal(refusal('a,b\n"x\ny",2\nx"y,2\n', AB), '4:2 field 1 (a) has a quote in it')
  assert.equal(refusal('a,b\n"x"y,2\n', AB), '2:4 something stands behind a closing quote')
  assert.equal(refusal('a,b\n1,2\r\n', AB), '2:4 a carriage return stands outside quotes')
  assert.equal(refusal('a,b\n1,\0\n', AB), '2:3 it holds a NUL')
  assert.equal(refusal('a,b\n1,"\0', AB), '2:4 it holds a NUL')
  assert.equal(refusal(Buffer.from([...Buffer.from('a,b\n1,x'), 0xff, 10]), AB), '2:3 field 2 (b) is no UTF-8')
  assert.equal(refusal('\ufeffa,b\n', AB), '1:1 the header is not a,b')
})

test('bounds: records, a field, a record', () => {
  assert.equal(refusal('a,b\n1,2\n3,4\n', AB, { maxRecords: 1 }), '3:1 there are more than 1 records')
  assert.equal(refusal('a,b\n1,22222\n', AB, { maxFieldBytes: 4 }), '2:3 field 2 (b) is longer than 4 bytes')
  assert.equal(refusal('a,b\n"1\n2\n3\n4",2\n', AB, { maxRecordBytes: 8 }), '2:1 the record is longer than 8 bytes')
})

test('a quote that never ends is refused at the bound of a record, however long the file', async () => {
  let fed = 0
  async function* endless() {
    yield Buffer.from('a,b\n1,"')
    for (; fed < 100; fed++) yield Buffer.alloc(65_536, 'x')
  }
  const reading = async () => {
    for await (const _ of csvRecordsOf(endless(), { name: 'x', columns: AB, maxRecordBytes: 100_000 }));
  }
  await assert.rejects(reading, { code: 'E_CSV' })
  assert.ok(fed < 10, `${fed} pieces were read`)
})

test('files of people: byte order mark, CRLF, no newline at the end, any header', () => {
  const options = { name: 'x', loose: true }
  assert.deepEqual(
    [...csvRecords(Buffer.from('\ufeffValue,Type\r\n1.2.3.4,"IP\r\nAddress"\r\nx,'), options)],
    [
      ['1.2.3.4', 'IP\r\nAddress'],
      ['x', null],
    ],
  )
  assert.throws(() => [...csvRecords(Buffer.from('a\rb\n'), options)], { code: 'E_CSV' })
})

const value = fc.option(
  fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 20 }),
    fc.string({ unit: fc.constantFrom(',', '"', '\n', '\r', '\\', '.', 'é', '𝄞', 'a', ' '), maxLength: 12 }),
    fc.constantFrom('', '\\.', '""', '\ufeff', 'NULL'),
    fc.string({ minLength: 13, maxLength: 200 }),
  ),
  { freq: 4 },
)
const withoutNul = value.filter((text) => !text?.includes('\0') && text?.isWellFormed() !== false)
const table = fc
  .integer({ min: 1, max: 6 })
  .chain((width) => fc.array(fc.array(withoutNul, { minLength: width, maxLength: width }), { maxLength: 20 }))

/** The plain model: one character after another, by the rules of RFC 4180. */
function model(text: string): CsvRecord[] {
  const records: CsvRecord[] = [[]]
  let field: string | null = null
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (quoted) {
      if (c !== '"') field += c
      else if (text[i + 1] === '"') field += text[++i]!
      else quoted = false
    } else if (c === '"') {
      quoted = true
      field ??= ''
    } else if (c === ',' || c === '\n') {
      records.at(-1)!.push(field)
      field = null
      if (c === '\n') records.push([])
    } else field = (field ?? '') + c
  }
  return records.slice(0, -1)
}

const names = (width: number): string[] => Array.from({ length: width }, (_, i) => `c${i}`)

test('what is written is read again, by the reader and by the plain model', () => {
  fc.assert(
    fc.property(table, (rows) => {
      const columns = names(rows[0]?.length ?? 1)
      const text = [columns, ...rows].map(csvLine).join('')
      assert.deepEqual(model(text).slice(1), rows)
      assert.deepEqual(all(text, columns), rows)
    }),
  )
})

test('a file in pieces, cut anywhere, is the same file', async () => {
  await fc.assert(
    fc.asyncProperty(table, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), async (rows, sizes) => {
      const columns = names(rows[0]?.length ?? 1)
      const bytes = Buffer.from([columns, ...rows].map(csvLine).join(''))
      async function* pieces() {
        for (let at = 0; at < bytes.length; ) {
          const size = sizes.next().value
          yield bytes.subarray(at, at + size)
          at += size
        }
      }
      const found: CsvRecord[] = []
      for await (const record of csvRecordsOf(pieces(), { name: 'x', columns })) found.push(record)
      assert.deepEqual(found, rows)
    }),
  )
})

test('whatever the bytes are, they are read as the plain model reads them or refused', () => {
  const junk = fc.array(fc.constantFrom('a', ',', '"', '\n', '\r', '\0', 'é', '""', '"x"', ',"'), { maxLength: 30 })
  fc.assert(
    fc.property(junk, (parts) => {
      const text = `a,b\n${parts.join('')}`
      let found: CsvRecord[]
      try {
        found = all(text, AB)
      } catch (error) {
        assert.equal((error as ColdtrailError).code, 'E_CSV')
        return
      }
      assert.deepEqual(found, model(text).slice(1))
      assert.doesNotMatch(text, /\0/)
      assert.ok(found.every((record) => record.length === 2))
    }),
    { numRuns: 2_000 },
  )
})
