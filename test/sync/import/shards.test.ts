import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { headSequence } from '../../../src/library/changes.ts'
import type { Library } from '../../../src/library/library.ts'
import type { BundleEntry } from '../../../src/sync/bundle/manifest.ts'
import { planShards, rememberShards } from '../../../src/sync/import/shards.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { putRows } from '../../support/libraryRows.ts'

const STREAM = { site: 'low', audience: '', config_hash: 'c'.repeat(64) }

const shard = (table: string, number: number, content: string, op: 'rows' | 'deleted' = 'rows') =>
  ({
    path: `${op === 'rows' ? 'data' : 'deleted'}/${table}-${number}.csv`,
    op,
    table,
    sha256: content,
    rows: 1,
  }) as BundleEntry

const ENTRIES = [
  shard('sources', 1, 's1'),
  shard('indicators', 1, 'i1'),
  shard('indicators', 2, 'i2'),
  shard('indicator_sources', 1, 'is1'),
  shard('events', 1, 'e1'),
  shard('events', 1, 'd1', 'deleted'),
]
const ALL = new Set(ENTRIES.map(({ table }) => table!))

const planned = async (library: Library, entries = ENTRIES, stream = STREAM) =>
  [...(await planShards(library, stream, entries))].map(([{ path, sha256 }, work]) => `${path} ${sha256} ${work}`)

/** As if a run had brought ENTRIES. */
const remember = async (library: Library, settled: ReadonlySet<string> = ALL) => {
  const since = await headSequence(library.database.db)
  await putRows(library, (put) =>
    rememberShards(put.tx, STREAM, { entries: ENTRIES, settled, change: put.change, since }),
  )
}

for (const dialect of DIALECTS) {
  describe(dialect, () => {
    test('files that came before, of tables that nobody touched, are passed over', () =>
      withFreshLibrary(dialect, async (library) => {
        assert.ok((await planned(library)).every((line) => line.endsWith(' load')))
        await remember(library)
        assert.ok((await planned(library)).every((line) => line.endsWith(' skip')))
        assert.ok(
          (await planned(library, ENTRIES, { ...STREAM, site: 'third' })).every((line) => line.endsWith(' load')),
        )
      }))

    test('where a file is new, those that its rows refer to give their ids', () =>
      withFreshLibrary(dialect, async (library) => {
        await remember(library)
        const entries = [...ENTRIES.slice(0, 3), shard('indicator_sources', 1, 'new'), ...ENTRIES.slice(4)]
        assert.deepEqual(await planned(library, entries), [
          'data/sources-1.csv s1 ids',
          'data/indicators-1.csv i1 ids',
          'data/indicators-2.csv i2 ids',
          'data/indicator_sources-1.csv new load',
          'data/events-1.csv e1 skip',
          'deleted/events-1.csv d1 skip',
        ])
        const link = shard('object_links', 1, 'l1')
        const withLink = await planned(library, [...ENTRIES, link])
        assert.ok(withLink.includes('data/events-1.csv e1 ids'), 'links may refer to any object')
        assert.ok(withLink.includes('data/indicator_sources-1.csv is1 skip'))
      }))

    test('a table that was edited here is read again, and only that one', () =>
      withFreshLibrary(dialect, async (library) => {
        await remember(library)
        await putRows(library, (put) => put('events', { title: 'local', happened_at: 1 }))
        const loaded = (await planned(library)).filter((line) => line.endsWith(' load'))
        assert.deepEqual(loaded, ['data/events-1.csv e1 load', 'deleted/events-1.csv d1 load'])
      }))

    test('tables with something kept, and tables edited while the run went on, are not remembered', () =>
      withFreshLibrary(dialect, async (library) => {
        const since = await headSequence(library.database.db)
        await putRows(library, (put) => put('events', { title: 'meanwhile', happened_at: 1 }))
        const settled = new Set([...ALL].filter((table) => table !== 'sources'))
        await putRows(library, (put) =>
          rememberShards(put.tx, STREAM, { entries: ENTRIES, settled, change: put.change, since }),
        )
        const loaded = (await planned(library)).filter((line) => line.endsWith(' load'))
        assert.deepEqual(loaded, [
          'data/sources-1.csv s1 load',
          'data/events-1.csv e1 load',
          'deleted/events-1.csv d1 load',
        ])
      }))

    test('a run that changed nothing remembers by the change before it', () =>
      withFreshLibrary(dialect, async (library) => {
        const since = await headSequence(library.database.db)
        const brought = { entries: ENTRIES, settled: ALL, change: undefined, since }
        await library.database.write((tx) => rememberShards(tx, STREAM, brought))
        assert.ok((await planned(library)).every((line) => line.endsWith(' skip')))
      }))
  })
}
