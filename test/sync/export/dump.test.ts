/** Dump files: the same bytes from both databases, cut where they must be, read back as they were. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseCsv } from '../../../src/core/csv.ts'
import type { Library } from '../../../src/library/library.ts'
import { dumpColumns, TABLE_BY_NAME, TABLES } from '../../../src/library/model.ts'
import { blockSql, measureRecords, openSnapshot } from '../../../src/platform/database/snapshot.ts'
import type { SelectionConfig } from '../../../src/sync/bundle/manifest.ts'
import { type DumpFile, dumpFiles, dumpRows, dumpTombstones, rowsQuery } from '../../../src/sync/export/dump.ts'
import { type SelectionRequest, select } from '../../../src/sync/export/selection.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { putRows } from '../../support/libraryRows.ts'

const ALL: SelectionConfig = {
  include_deleted: false,
  include_investigations: true,
  ignore_file_types: [],
  tlp: null,
  where: null,
}
const LIMITS = { rows: 50_000, bytes: 32 * 1024 * 1024 }

/** Every dump file's text by `<op> <table>`. */
async function dump(
  library: Library,
  request: Partial<SelectionRequest> = {},
  limits = LIMITS,
): Promise<Record<string, string[]>> {
  const snapshot = await openSnapshot(library.database as never)
  try {
    const selection = await select(snapshot, { config: ALL, since: 0, window: null, ...request })
    const files: Record<string, string[]> = {}
    const take = async (name: string, dumped: AsyncIterable<DumpFile>): Promise<void> => {
      for await (const { bytes, rows } of dumped) {
        files[name] = [...(files[name] ?? []), bytes.toString()]
        assert.equal(measureRecords(bytes, Number.POSITIVE_INFINITY).rows, rows + 1, `${name} counts its records`)
      }
    }
    for (const table of TABLES) {
      if (selection.chosen.has(table)) await take(`rows ${table.name}`, dumpRows(snapshot, selection, table, limits))
      await take(`deleted ${table.name}`, dumpTombstones(snapshot, selection, table, true, limits))
    }
    return files
  } finally {
    await snapshot.close()
  }
}

const HARD = [
  'a,b',
  'say "hi"',
  'two\nlines',
  'cr\rhere',
  '',
  '\\.',
  ' spaced ',
  "it's",
  'ünïcødé 🦊',
  '=1+1',
  '""',
  ',',
]
const uid = (number: number): Buffer => Buffer.from(number.toString(16).padStart(32, '0'), 'hex')

async function fill(library: Library): Promise<void> {
  let number = 1
  const common = () => ({ uid: uid(number++), created_at: 1_700_000_000_000_000, updated_at: 1_700_000_000_000_001 })
  await putRows(library, async (put) => {
    const source = await put('sources', { ...common(), type: 'other_sources', name: 'feed', tlp_id: 'green' })
    for (const text of HARD) {
      const indicator = await put('indicators', {
        ...common(),
        type_id: 'String',
        status_id: 'Active',
        value: `v${text}`,
        description: text,
      })
      const attribute = await put('attributes', { ...common(), name: `attribute ${text}` })
      const row = await put('indicator_attributes', {
        ...common(),
        indicator_id: indicator,
        attribute_id: attribute,
        value: text,
      })
      await put('indicator_attribute_sources', { ...common(), indicator_attribute_id: row, source_id: source })
      await put('indicator_sources', { ...common(), indicator_id: indicator, source_id: source, tlp_id: 'red' })
      const malware = await put('malware', { ...common(), value: `m${text}`, stix: '{"a":"b,c"}' })
      await put('object_links', {
        ...common(),
        src_type: 'malware',
        src_object_id: malware,
        dest_type: 'indicator',
        dest_object_id: indicator,
        relationship: text,
      })
      const tag = await put('tags', { ...common(), name: `t${text}` })
      await put('tagged_objects', { ...common(), tag_id: tag, object_type: 'malware', object_id: malware })
    }
  })
}

test('P15, P20: both databases write the same bytes for the same rows, and they read back as they were', async () => {
  const [sqlite, postgres] = await Promise.all(
    DIALECTS.map((dialect) =>
      withFreshLibrary(dialect, async (library) => {
        await fill(library)
        return dump(library)
      }),
    ),
  )
  assert.deepEqual(sqlite, postgres)
  const read: (string | null)[] = []
  parseCsv(
    Buffer.from(sqlite!['rows indicators']![0]!),
    dumpColumns(TABLE_BY_NAME.get('indicators')!).map(({ name }) => name),
    (record) =>
      read.push(record[dumpColumns(TABLE_BY_NAME.get('indicators')!).findIndex(({ name }) => name === 'description')]!),
  )
  assert.deepEqual(read, HARD)
})

test('a file is cut at its rows and at its bytes, never inside a record', async () => {
  const records = HARD.map((text, i) => `${i},"${text.replaceAll('"', '""')}"\n`)
  async function* blocks() {
    yield { bytes: Buffer.from(records.slice(0, 5).join('')), rows: 5 }
    yield { bytes: Buffer.from(records.slice(5).join('')), rows: records.length - 5 }
  }
  for (const limits of [
    { rows: 1, bytes: 1_000 },
    { rows: 3, bytes: 1_000 },
    { rows: 5, bytes: 1_000 },
    { rows: 50, bytes: 40 },
    { rows: 50, bytes: 1 },
    { rows: 50, bytes: 1_000 },
  ]) {
    const files: string[] = []
    for await (const { bytes, rows } of dumpFiles(['id', 'value'], blocks(), limits)) {
      const text = bytes.toString()
      assert.ok(rows <= limits.rows && rows > 0)
      assert.ok(bytes.length <= limits.bytes || rows === 1)
      assert.ok(text.startsWith('id,value\n'))
      files.push(text.slice('id,value\n'.length))
    }
    assert.equal(files.join(''), records.join(''))
  }
})

for (const dialect of DIALECTS)
  describe(`dump files from ${dialect}`, () => {
    test('numbers are dense in the bundle whatever the ids are, and every reference follows', async () => {
      await withFreshLibrary(
        dialect,
        async (library) => {
          await fill(library)
          // Gaps in objects, context and dictionaries.
          await library.database.db
            .updateTable('indicators')
            .set({ deleted_at: 5 })
            .where('value', '=', 'va,b')
            .execute()
          await library.database.db.updateTable('malware').set({ deleted_at: 5 }).where('value', '=', 'm,').execute()
          const files = await dump(library)
          const tables = new Map<string, (string | null)[][]>()
          for (const [name, texts] of Object.entries(files)) {
            if (!name.startsWith('rows ')) continue
            const table = TABLE_BY_NAME.get(name.slice(5))!
            const rows: (string | null)[][] = []
            for (const text of texts)
              parseCsv(
                Buffer.from(text),
                dumpColumns(table).map((c) => c.name),
                (record) => void rows.push(record),
              )
            assert.deepEqual(
              rows.map(([id]) => id),
              rows.map((_, i) => String(i + 1)),
              table.name,
            )
            tables.set(table.name, rows)
          }
          assert.equal(tables.get('indicators')!.length, HARD.length - 1)
          assert.equal(tables.get('object_links')!.length, HARD.length - 2, 'a link without both ends stays out')
          assert.equal(tables.get('indicator_attribute_sources')!.length, HARD.length - 1)
          const malware = tables.get('malware')!
          const links = dumpColumns(TABLE_BY_NAME.get('object_links')!).map(({ name }) => name)
          for (const link of tables.get('object_links')!) {
            const at = (name: string) => link[links.indexOf(name)]!
            const source = malware[Number(at('src_object_id')) - 1]!
            const target = tables.get('indicators')![Number(at('dest_object_id')) - 1]!
            assert.equal(source[2]!.slice(1), target[5]!.slice(1))
          }
          assert.equal(files['deleted indicators']![0]!.split('\n').length, 3)
        },
        { seedOrder: 'reversed' },
      )
    })

    test('P20: files of so many rows, and the rest', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const whole = (await dump(library))['rows indicators']![0]!
        for (const rows of [1, 5, 11, 12]) {
          const files = (await dump(library, {}, { rows, bytes: LIMITS.bytes }))['rows indicators']!
          assert.equal(files.length, Math.ceil(HARD.length / rows))
          const header = whole.slice(0, whole.indexOf('\n') + 1)
          assert.equal(header + files.map((text) => text.slice(header.length)).join(''), whole)
        }
      })
    })
  })

test('sqlite: each block begins where the last one ended, and reads nothing before it', () =>
  withFreshLibrary('sqlite', async (library) => {
    await putRows(library, async (put) => {
      for (const value of ['a.example', 'b.example']) await put('indicators', { type_id: 'FQDN', value })
    })
    const snapshot = await openSnapshot(library.database as never)
    try {
      for (const since of [0, 1]) {
        const { chosen } = await select(snapshot, { config: ALL, since, window: null })
        for (const table of ['indicators', 'indicator_types']) {
          const query = rowsQuery(snapshot, chosen, TABLE_BY_NAME.get(table)!)
          const steps = await snapshot.all(`explain ${blockSql(query)}`)
          const seeks = steps.filter(({ opcode }) => /^Seek[GL][ET]$|^Rewind$|^Last$/.test(opcode as string))
          // Parameter 1 goes where SeekGT looks for it: the walk of the table begins there, and nothing else walks.
          const bound = steps.filter(({ opcode, p1 }) => opcode === 'Variable' && Number(p1) === 1).map(({ p2 }) => p2)
          assert.deepEqual(
            seeks.map(({ opcode, p3 }) => [opcode, bound.includes(p3)]),
            [['SeekGT', true]],
            `${table} since ${since}: ${JSON.stringify(seeks)}`,
          )
        }
      }
    } finally {
      await snapshot.close()
    }
  }))
