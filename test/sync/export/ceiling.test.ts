/** What is above the ceiling or does not match stays out, with whatever would tell of it (L16, T8). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { newChange, publish } from '../../../src/library/changes.ts'
import { uidText } from '../../../src/library/identity.ts'
import type { Library } from '../../../src/library/library.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { putRows } from '../../support/libraryRows.ts'
import { bundleOf, column, danglingReferences, exportOf } from './exportSite.ts'

/** Objects of every ceiling; texts of what is red have RED in them. */
async function fill(library: Library) {
  return putRows(library, async (put) => {
    const feed = await put('sources', { type: 'other_sources', name: 'feed' })
    const secret = await put('sources', { type: 'other_sources', name: 'RED service', tlp_id: 'red' })
    const port = await put('attributes', { name: 'Port' })
    const place = await put('attributes', { name: 'RED attribute name' })
    const object = async (value: string, tlp: string | null, source = feed) => {
      const row = await put('indicators', { type_id: 'String', value, description: `about ${value}` })
      if (tlp !== null)
        await put('indicator_sources', { indicator_id: row, source_id: source, tlp_id: tlp === '' ? null : tlp })
      return row
    }
    const white = await object('white one', 'white')
    const green = await object('green one', 'green')
    const amber = await object('amber one', 'amber')
    const red = await object('RED one, "quoted"', 'red')
    await object('unmarked one', '')
    await object('without source', null)
    await object('RED by its source', '', secret)
    const both = await object('both ways', 'green')
    await put('indicator_sources', { indicator_id: both, source_id: secret, tlp_id: 'red' })
    const attribute = async (owner: { id: number }, name: typeof port, value: string, tlp: string | null) => {
      const row = await put('indicator_attributes', { indicator_id: owner, attribute_id: name, value })
      if (tlp !== null)
        await put('indicator_attribute_sources', { indicator_attribute_id: row, source_id: feed, tlp_id: tlp })
    }
    await attribute(white, port, '443', 'white')
    await attribute(white, place, 'RED attribute', 'red')
    await attribute(red, port, 'RED port', null)
    await put('indicator_comments', { indicator_id: red, value: 'RED comment' })
    await put('indicator_comments', { indicator_id: white, value: 'white comment' })
    const tag = await put('tags', { name: 'RED tag' })
    await put('tagged_objects', { tag_id: tag, object_type: 'indicator', object_id: red })
    const link = (from: { id: number }, to: { id: number }, relationship: string) =>
      put('object_links', {
        src_type: 'indicator',
        src_object_id: from,
        dest_type: 'indicator',
        dest_object_id: to,
        relationship,
      })
    await link(white, red, 'knows')
    await link(white, green, 'near')
    const hush = await link(white, amber, 'RED relationship')
    await put('object_link_sources', { object_link_id: hush, source_id: feed, tlp_id: 'red' })
    const hidden = await object('RED alone', 'red')
    await link(red, hidden, 'RED pair')
    return { red, white, green }
  })
}

for (const dialect of DIALECTS)
  describe(`ceiling of ${dialect}`, () => {
    test('T8, L16: nothing above the ceiling leaves; an object that others refer to goes as a stub', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const { red } = await fill(library)
        const bundle = await bundleOf(library, { config: { tlp: 'green' } })
        assert.ok(!bundle.text.includes('RED'), bundle.text.slice(bundle.text.indexOf('RED') - 200).slice(0, 400))
        const stub = `redacted-${uidText(red.uid)}`
        assert.deepEqual(
          column(bundle.rows.indicators, 'value'),
          ['both ways', 'green one', stub, 'unmarked one', 'white one', 'without source'].sort(),
        )
        const row = bundle.rows.indicators!.find(({ value }) => value === stub)!
        assert.deepEqual([row.description, row.stix_id, row.class, row.status_id], [null, null, null, null])
        assert.deepEqual(column(bundle.rows.object_links, 'relationship'), ['knows', 'near'])
        assert.deepEqual(column(bundle.rows.indicator_comments, 'value'), ['white comment'])
        assert.deepEqual(column(bundle.rows.attributes, 'name'), ['Port'])
        assert.equal(bundle.rows.indicator_sources!.length, 4)
        assert.deepEqual(danglingReferences(bundle), [])
        assert.equal(bundle.manifest.excluded.stubs, 1)
        assert.equal(bundle.manifest.excluded.without_tlp, 1)
        assert.equal(bundle.manifest.tables, null)
      })
    })

    test('--tlp at every ceiling', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const always = ['unmarked one', 'white one', 'without source']
        const of = async (tlp: string) =>
          column((await bundleOf(library, { config: { tlp } })).rows.indicators, 'value').filter(
            (value) => !value!.startsWith('redacted-'),
          )
        assert.deepEqual(await of('white'), always)
        assert.deepEqual(await of('green'), ['both ways', 'green one', ...always])
        assert.deepEqual(await of('amber'), ['amber one', 'both ways', 'green one', ...always])
        assert.deepEqual(await of('amber+strict'), ['amber one', 'both ways', 'green one', ...always])
        assert.equal((await of('red')).length, 9)
      })
    })

    test('a value above the ceiling in a text within it is counted and placed, not told', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await putRows(library, async (put) => {
          const feed = await put('sources', { type: 'other_sources', name: 'feed' })
          const host = await put('indicators', { type_id: 'FQDN', value: 'hidden.example.com' })
          await put('indicator_sources', { indicator_id: host, source_id: feed, tlp_id: 'red' })
          await put('report', { value: 'a report', description: 'It speaks of hidden.example.com, which it knew.' })
        })
        const summary = await exportOf(library, { config: { tlp: 'amber' } })
        assert.equal(summary.error, undefined)
        assert.deepEqual(
          [summary.search!.mentions, summary.search!.places.map(({ entry, table }) => [entry, table])],
          [1, [['data/report-1.csv', 'indicators']]],
        )
        assert.ok(!JSON.stringify(summary).includes('hidden.example.com'))
      })
    })

    test('a delta brings an object whose marking was lowered, with all its context; a tombstone tells no key', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const { white } = await fill(library)
        await bundleOf(library, { config: { tlp: 'green' } })
        await library.database.write(async (tx) => {
          const change = await newChange(tx, { kind: 'local' })
          const green = await tx.selectFrom('tlp').select('id').where('name', '=', 'green').executeTakeFirstOrThrow()
          const red = await tx
            .selectFrom('indicators')
            .select('id')
            .where('value', 'like', 'RED one%')
            .executeTakeFirstOrThrow()
          await tx
            .updateTable('indicator_sources')
            .set({ tlp_id: green.id, change })
            .where('indicator_id', '=', red.id)
            .execute()
          await tx.updateTable('indicators').set({ deleted_at: 5, change }).where('id', '=', white.id).execute()
          await publish(tx, change)
        })
        const delta = await bundleOf(library, { config: { tlp: 'green' } })
        assert.equal(delta.manifest.kind, 'delta')
        const [object, stub] = column(delta.rows.indicators, 'value')
        assert.equal(object, 'RED one, "quoted"')
        assert.match(stub!, /^redacted-/, 'the other end of a link that may go now')
        assert.deepEqual(column(delta.rows.indicator_attributes, 'value'), ['RED port'])
        assert.deepEqual(column(delta.rows.indicator_comments, 'value'), ['RED comment'])
        assert.deepEqual(column(delta.rows.tags, 'name'), ['RED tag'])
        assert.deepEqual(
          delta.gone.indicators!.map(({ nk }) => nk),
          [null],
        )
        assert.deepEqual(danglingReferences(delta), [])
      })
    })

    test('a delta after a source was marked otherwise holds all that may go', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        await bundleOf(library, { config: { tlp: 'green' } })
        await library.database.write(async (tx) => {
          const change = await newChange(tx, { kind: 'local' })
          await tx.updateTable('sources').set({ tlp_id: null, change }).where('name', '=', 'RED service').execute()
          await publish(tx, change)
        })
        const delta = await bundleOf(library, { config: { tlp: 'green' } })
        assert.ok(column(delta.rows.indicators, 'value').includes('RED by its source'))
      })
    })

    test('--where: only what matches, its context and the links between', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const bundle = await bundleOf(library, { config: { where: "value contains ' one'" } })
        assert.deepEqual(
          column(bundle.rows.indicators, 'value'),
          ['RED one, "quoted"', 'amber one', 'green one', 'unmarked one', 'white one'].sort(),
        )
        assert.deepEqual(column(bundle.rows.object_links, 'relationship'), ['RED relationship', 'knows', 'near'])
        assert.equal(bundle.manifest.excluded.where, 4)
        assert.deepEqual(danglingReferences(bundle), [])
        // With a ceiling: what does not match is no stub either.
        const both = await bundleOf(library, { config: { where: "value contains 'white'", tlp: 'green' } })
        assert.deepEqual(column(both.rows.indicators, 'value'), ['white one'])
        assert.deepEqual(both.rows.object_links, undefined)
      })
    })

    test('--where: an object that comes to match goes whole; one that the clock lets match, too', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library)
        const where = "tag == 'release'"
        assert.equal((await bundleOf(library, { config: { where } })).rows.indicators, undefined)
        await putRows(library, async (put) => {
          const white = await put.tx
            .selectFrom('indicators')
            .select('id')
            .where('value', '=', 'white one')
            .executeTakeFirstOrThrow()
          const tag = await put('tags', { name: 'release' })
          await put('tagged_objects', { tag_id: tag, object_type: 'indicator', object_id: { ...tag, id: white.id } })
        })
        const delta = await bundleOf(library, { config: { where } })
        assert.equal(delta.manifest.kind, 'delta')
        assert.deepEqual(column(delta.rows.indicators, 'value'), ['white one'])
        assert.equal(delta.rows.indicator_attributes!.length, 2)
        const recent = "updated_at > '-24h'"
        await bundleOf(library, { config: { where: recent } })
        assert.equal((await bundleOf(library, { config: { where: recent } })).rows.indicators!.length, 9)
      })
    })
  })
