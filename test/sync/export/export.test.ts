/** What a bundle holds, option by option, and what the run leaves behind, on both databases. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { stateDigest } from '../../../src/library/digest.ts'
import type { Library } from '../../../src/library/library.ts'
import { BUNDLE_NAME } from '../../../src/sync/bundle/manifest.ts'
import { configHashes, findRun } from '../../../src/sync/synchronizations.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { putRows } from '../../support/libraryRows.ts'
import { bundleOf, column, danglingReferences, exportOf, readBundle } from './exportSite.ts'

/** One of everything: objects, context, links with their own, investigations, files, a deleted row. */
async function fill(library: Library): Promise<void> {
  await putRows(library, async (put) => {
    const feed = await put('sources', { type: 'other_sources', name: 'feed' })
    const host = await put('indicators', { type_id: 'FQDN', status_id: 'Active', value: 'evil.example.com' })
    const port = await put('attributes', { name: 'Port' })
    const attribute = await put('indicator_attributes', { indicator_id: host, attribute_id: port, value: '443' })
    await put('indicator_attribute_sources', { indicator_attribute_id: attribute, source_id: feed })
    await put('indicator_sources', { indicator_id: host, source_id: feed, tlp_id: 'green' })
    await put('indicator_comments', { indicator_id: host, value: 'seen' })
    const malware = await put('malware', { value: 'Sample' })
    const link = await put('object_links', {
      src_type: 'malware',
      src_object_id: malware,
      dest_type: 'indicator',
      dest_object_id: host,
      relationship: 'communicates-with',
    })
    await put('object_link_comments', { object_link_id: link, value: 'sure' })
    await put('object_link_sources', { object_link_id: link, source_id: feed })
    const tag = await put('tags', { name: 'phishing' })
    await put('tagged_objects', { tag_id: tag, object_type: 'indicator', object_id: host })
    const task = await put('tasks', { name: 'look' })
    const investigation = await put('investigations', { name: 'case 1' })
    await put('investigation_nodes', { investigation_id: investigation, object_type: 'indicator', object_id: host })
    await put('investigation_timelines', { investigation_id: investigation, title: 'begun' })
    await put('tagged_objects', { tag_id: tag, object_type: 'task', object_id: task })
    await put('object_links', {
      src_type: 'task',
      src_object_id: task,
      dest_type: 'indicator',
      dest_object_id: host,
    })
    await put('users', { email: 'a@example.com' })
    await put('indicators', { type_id: 'FQDN', value: 'gone.example.com', deleted_at: 1_600_000_000_000_000 })
    for (const [name, type, content] of [
      ['a.pdf', 'PDF', 'pdf content'],
      ['b.bin', 'Malware Sample', 'sample content'],
    ] as const) {
      const { sha256, size } = await library.blobs.put(Buffer.from(content))
      await put('attachments', { name, type_id: type, sha256, file_size: size })
    }
  })
}

for (const dialect of DIALECTS)
  describe(`export from ${dialect}`, () => {
    test('P08, P15–P18, P23: the first bundle is full, and holds every table that has rows', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const summary = await exportOf(library, { config: { include_investigations: true } })
        assert.equal(summary.error, undefined)
        const [file] = summary.files
        assert.match(file!.split('/').at(-1)!, /^tqSync-\d{2}-\d{2}-\d{2}-\d+-\d+\.tar\.gz$/)
        const bundle = await readBundle(file!)
        const { manifest, rows, gone, blobs } = bundle
        assert.match(manifest.bundle, BUNDLE_NAME)
        assert.equal(manifest.kind, 'full')
        assert.deepEqual([manifest.seq, manifest.base_seq, manifest.prev_sha256], [1, 0, null])
        assert.deepEqual(danglingReferences(bundle), [])
        assert.deepEqual(column(rows.indicators, 'value'), ['evil.example.com'])
        for (const table of [
          'indicator_attributes',
          'indicator_attribute_sources',
          'indicator_sources',
          'indicator_comments',
          'object_link_comments',
          'object_link_sources',
          'tasks',
          'investigations',
          'investigation_nodes',
          'investigation_timelines',
          'users',
        ])
          assert.equal(rows[table]?.length, 1, table)
        assert.equal(rows.object_links!.length, 2)
        assert.equal(rows.tagged_objects!.length, 2)
        assert.equal(rows.indicator_types!.length, 34)
        assert.equal(gone.indicators!.length, 1)
        assert.equal(gone.indicators![0]!.deleted_at, '1600000000000000')
        assert.equal(blobs.length, 2)
        const { tables } = await stateDigest(library)
        assert.deepEqual(
          manifest.tables,
          Object.fromEntries(Object.entries(tables).map(([n, { digest }]) => [n, digest])),
        )
      })
    })

    test('a full bundle states digests unless it is told not to', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const config = { include_investigations: true }
        assert.equal((await bundleOf(library, { config, stateDigests: false })).manifest.tables, null)
        assert.ok((await bundleOf(library, { config, base: 'full', stateDigests: true })).manifest.tables)
      })
    })

    test('P10: investigations and tasks stay out with all that hangs on them, unless they are asked for', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const bundle = await bundleOf(library)
        for (const table of ['tasks', 'investigations', 'investigation_nodes', 'investigation_timelines'])
          assert.equal(bundle.rows[table], undefined, table)
        assert.equal(bundle.rows.object_links!.length, 1)
        assert.equal(bundle.rows.tagged_objects!.length, 1)
        assert.equal(bundle.manifest.excluded.investigations, 2)
        assert.equal(bundle.manifest.tables, null, 'what does not hold everything states no digests')
        assert.deepEqual(danglingReferences(bundle), [])
      })
    })

    test('P09: soft-deleted rows travel as rows when asked for, as tombstones always', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const bundle = await bundleOf(library, { config: { include_deleted: true } })
        assert.deepEqual(column(bundle.rows.indicators, 'value'), ['evil.example.com', 'gone.example.com'])
        assert.deepEqual(column(bundle.rows.indicators, 'deleted_at').sort(), ['1600000000000000', null].sort())
        assert.equal(bundle.gone.indicators!.length, 1)
      })
    })

    test('P11: files of ignored types keep their rows and lose their contents', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const bundle = await bundleOf(library, { config: { ignore_file_types: ['Malware Sample'] } })
        assert.deepEqual(column(bundle.rows.attachments, 'name'), ['a.pdf', 'b.bin'])
        assert.deepEqual(bundle.blobs, [bundle.rows.attachments!.find(({ name }) => name === 'a.pdf')!.sha256])
        assert.equal(bundle.manifest.excluded.file_type, 1)
      })
    })

    test('P07, P08, P21: a window takes objects by date, their context and links at any date, and what these refer to', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const day = (n: number): number => Date.UTC(2024, 0, n) * 1_000
        await putRows(library, async (put) => {
          const at = (n: number) => ({ created_at: day(n), updated_at: day(n) })
          const port = await put('attributes', { name: 'Port', ...at(1) })
          const objects = []
          for (const n of [1, 2, 3, 4])
            objects.push(await put('indicators', { type_id: 'String', value: `day ${n}`, ...at(n) }))
          await put('indicator_attributes', { indicator_id: objects[1]!, attribute_id: port, value: 'late', ...at(9) })
          await put('indicator_attributes', {
            indicator_id: objects[0]!,
            attribute_id: port,
            value: 'within',
            ...at(2),
          })
          await put('indicator_attributes', { indicator_id: objects[3]!, attribute_id: port, value: 'no', ...at(4) })
          await put('object_links', {
            src_type: 'indicator',
            src_object_id: objects[1]!,
            dest_type: 'indicator',
            dest_object_id: objects[2]!,
            ...at(9),
          })
        })
        const window = (start: number | null, end: number | null) => ({
          window: { start: start === null ? null : day(start) / 1_000, end: end === null ? null : day(end) / 1_000 },
        })
        const bundle = await bundleOf(library, window(2, 3))
        assert.equal(bundle.manifest.kind, 'window')
        assert.deepEqual(bundle.manifest.window, { start: '2024-01-02T00:00:00.000Z', end: '2024-01-03T00:00:00.000Z' })
        // Day 2 by its date, 1 as the parent of a row of that day, 3 as the other end of a link.
        assert.deepEqual(column(bundle.rows.indicators, 'value'), ['day 1', 'day 2', 'day 3'])
        assert.deepEqual(column(bundle.rows.indicator_attributes, 'value'), ['late', 'within'])
        assert.equal(bundle.rows.object_links!.length, 1)
        assert.deepEqual(column(bundle.rows.indicator_types, 'name'), ['String'])
        assert.deepEqual(danglingReferences(bundle), [])
        const open = await bundleOf(library, window(null, 2))
        assert.deepEqual(column(open.rows.indicators, 'value'), ['day 1'])
        const later = await bundleOf(library, window(4, null))
        assert.ok(column(later.rows.indicators, 'value').includes('day 4'))
        assert.ok(!column(later.rows.indicators, 'value').includes('day 1'))
        // A window is nothing to continue: the next bundle is the first of its stream that is full.
        const full = await bundleOf(library)
        assert.deepEqual([full.manifest.kind, full.manifest.seq, full.manifest.covered], ['full', 4, []])
      })
    })

    test('P06, P44–P46: the target is made, the record runs from begun to finished, reports lie beside the bundle', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const target = join(library.dataDir, 'a', 'b')
        const summary = await exportOf(library, { target, options: { include_deleted: false, target } })
        const record = (await findRun(library, summary.run))!
        assert.equal(record.type, 'export')
        assert.equal(record.state, 'finished')
        assert.ok(record.finishedAt! >= record.startedAt)
        assert.equal(record.pid, process.pid)
        assert.equal(record.hash, configHashes(record.config).hash)
        assert.equal((record.report.totals as { rows: number }).rows, summary.totals.rows)
        const base = summary.bundle!.name
        assert.deepEqual(readdirSync(target).sort(), [
          `${base}-sync-export.json`,
          `${base}-sync-export.txt`,
          `${base}.tar.gz`,
        ])
        const text = readFileSync(summary.reports!.text, 'utf8')
        for (const part of ['indicators', 'Options', 'Performance', 'Log', base, summary.bundle!.manifest_sha256!])
          assert.ok(text.includes(part), part)
        assert.equal(JSON.parse(readFileSync(summary.reports!.json, 'utf8')).result, 'exported')
        assert.ok(!existsSync(join(library.dataDir, 'library', 'exports', summary.run)))
        const { text: inside } = await readBundle(summary.files[0]!)
        assert.ok(!inside.includes(target), 'no path of this site travels')
      })
    })

    test('a run that fails says so in record and report, leaves no bundle and no number', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const stopped = new AbortController()
        const failed = await exportOf(library, {
          signal: stopped.signal,
          onProgress: () => stopped.abort(new Error('pulled out')),
        })
        assert.equal(failed.result, 'failed')
        assert.equal((await findRun(library, failed.run))!.state, 'failed')
        assert.ok((await findRun(library, failed.run))!.report.error)
        assert.match(readFileSync(failed.reports!.text, 'utf8'), /pulled out/)
        assert.deepEqual(
          readdirSync(failed.target).filter((name) => name.includes('.tar')),
          [],
        )
        assert.equal((await bundleOf(library)).manifest.seq, 1)
      })
    })

    test('P12: dump files have as many rows as --object-limit says, 50,000 at most', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const { manifest } = await bundleOf(library, { objectLimit: 10 })
        const types = manifest.entries.filter(({ table }) => table === 'indicator_types')
        assert.deepEqual(
          types.map(({ path, rows }) => [path, rows]),
          [
            ['data/indicator_types-1.csv', 10],
            ['data/indicator_types-2.csv', 10],
            ['data/indicator_types-3.csv', 10],
            ['data/indicator_types-4.csv', 4],
          ],
        )
      })
    })

    test('P13: a run that needs more than --memory-limit ends and says so', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const pause = (): void => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300) as never
        const summary = await exportOf(library, { memoryLimit: 1024 * 1024, onProgress: pause })
        assert.equal(summary.error?.code, 'E_SYNC_MEMORY')
      })
    })

    test('two exports at once: the second one is refused', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const both = await Promise.all([exportOf(library), exportOf(library)])
        assert.deepEqual(both.map(({ error }) => error?.code).sort(), ['E_EXPORT_BUSY', undefined])
      })
    })
  })
