/** The table of indicators: finds what is in it and nothing else, and equal indicators give equal files. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import {
  INDICATOR_KINDS,
  openIndicatorTable,
  type TableIndicator,
  writeIndicatorTable,
} from '../../../../src/components/plugins/indicators/indicatorTable.ts'

const folder = mkdtempSync(join(tmpdir(), 'coldtrail-indicators-'))
after(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'table')

async function* stream(indicators: readonly TableIndicator[]): AsyncGenerator<TableIndicator> {
  yield* indicators
}

// Few letters, so that values meet.
const value = fc.oneof(fc.string({ unit: fc.constantFrom('a', 'b', 'ü', '🙂'), maxLength: 4 }), fc.string())
const indicator = fc.record(
  { kind: fc.constantFrom(...INDICATOR_KINDS), type: fc.string(), value, uid: fc.uuid() },
  { noNullPrototype: true },
)

test('agrees with a search of the list, for values that are in it and others', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(indicator, { maxLength: 200, size: 'max' }),
      fc.array(value, { maxLength: 50 }),
      async (given, others) => {
        assert.equal(await writeIndicatorTable(path, stream(given)), given.length)
        const table = openIndicatorTable(path)
        assert.equal(table.count, given.length)
        for (const wanted of new Set([...given.map((one) => one.value), ...others]))
          for (const kind of INDICATOR_KINDS) {
            const expected = given.filter((one) => one.kind === kind && one.value === wanted)
            const order = (a: TableIndicator, b: TableIndicator) => (a.uid + a.type < b.uid + b.type ? -1 : 1)
            assert.deepEqual([...table.find(kind, wanted)].sort(order), expected.sort(order))
          }
        table.close()
      },
    ),
    { numRuns: 40 },
  )
})

test('equal indicators give equal bytes; more than a buffer of them are found again', async () => {
  const many = Array.from(
    { length: 60_000 },
    (_, i): TableIndicator => ({
      ...{ kind: 'domain', type: 'FQDN', value: `host-${i}.example.com`, uid: `uid ${i}` },
    }),
  )
  await writeIndicatorTable(path, stream(many))
  const bytes = readFileSync(path)
  await writeIndicatorTable(path, stream(many))
  assert.ok(bytes.equals(readFileSync(path)))
  const table = openIndicatorTable(path)
  for (const i of [0, 1, 59_999, 31_234]) assert.deepEqual(table.find('domain', `host-${i}.example.com`), [many[i]])
  for (const one of ['host-60000.example.com', 'host-1.example.co', '']) assert.deepEqual(table.find('domain', one), [])
  assert.deepEqual(table.find('below', 'host-1.example.com'), [])
  table.close()
})

test('a table that is cut off is no table', async () => {
  await writeIndicatorTable(path, stream([{ kind: 'ip', type: 'IP Address', value: '10.0.0.1', uid: 'u' }]))
  truncateSync(path, readFileSync(path).length - 8)
  assert.throws(() => openIndicatorTable(path))
})
