/** Listing, showing and counting what is in the library; expressions over its objects. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Library } from '../../src/library/library.ts'
import { compileObjectExpression } from '../../src/library/objectExpressions.ts'
import { libraryStats, listObjects, showObject } from '../../src/library/read.ts'
import { DIALECTS, listOf, withFreshLibrary } from '../support/freshLibrary.ts'
import { type PutRow, putRows } from '../support/libraryRows.ts'

const NOW = Date.UTC(2026, 5, 1) * 1000
const EXPIRED = Date.UTC(2026, 4, 1) * 1000

async function fill(library: Library): Promise<Record<string, PutRow>> {
  return await putRows(library, async (put) => {
    const found: Record<string, PutRow> = {}
    const add = async (name: string, table: string, values: Parameters<typeof put>[1]) => {
      found[name] = await put(table, values)
    }
    await put.tx.updateTable('indicator_types').set({ score: 4 }).where('name', '=', 'IP Address').execute()
    await add('feed', 'sources', { type: 'connectors', name: 'Feed', tlp_id: 'amber' })
    await add('press', 'sources', { type: 'other_sources', name: 'Press' })
    await add('port', 'attributes', { name: 'Port' })
    await add('proto', 'attributes', { name: '__proto__' })
    await add('ics', 'tags', { name: 'ICS' })
    await add('apt', 'tags', { name: 'apt' })
    await add('gadget', 'objects', { code: 'gadget', name: 'Gadget', name_plural: 'Gadgets', is_custom: 'Y' })
    const ip = { type_id: 'IP Address', class: 'network', expires_at: EXPIRED, published_at: 7 }
    await add('ip', 'indicators', { ...ip, value: '10.0.0.1', status_id: 'Active', description: 'Zoë' })
    await add('kept', 'indicators', { ...ip, value: '10.0.0.2', status_id: 'Whitelisted' })
    await add('name', 'indicators', { type_id: 'FQDN', value: 'Evil.Example', status_id: 'Review' })
    await add('bear', 'adversaries', { name: 'Bear', stix_id: 'intrusion-set--00000000-0000-4000-8000-000000000001' })
    await add('raid', 'events', { title: 'Raid', happened_at: 1_000_000, type_id: 'Malware' })
    await add('file', 'attachments', {
      name: 'a.pdf',
      title: 'Report',
      type_id: 'PDF',
      sha256: Buffer.alloc(32, 0xab),
      file_size: 5,
    })
    await add('rule', 'signatures', { type_id: 'YARA', name: 'Rule 1', value: 'rule x {}', status_id: 'Active' })
    await add('task', 'tasks', { name: 'Look', status_id: 'To Do', creator_source_id: found.feed! })
    await add('worm', 'malware', { value: 'Worm' })
    await add('thing', 'custom_objects', { object_id: found.gadget!, value: 'Thing' })
    await add('ipPort', 'indicator_attributes', { indicator_id: found.ip!, attribute_id: found.port!, value: '443' })
    await add('ipPort2', 'indicator_attributes', { indicator_id: found.ip!, attribute_id: found.port!, value: '80' })
    await add('ipProto', 'indicator_attributes', { indicator_id: found.ip!, attribute_id: found.proto!, value: 'x' })
    await add('portFeed', 'indicator_attribute_sources', {
      indicator_attribute_id: found.ipPort!,
      source_id: found.feed!,
    })
    await add('ipFeed', 'indicator_sources', { indicator_id: found.ip!, source_id: found.feed! })
    await add('ipPress', 'indicator_sources', { indicator_id: found.ip!, source_id: found.press!, tlp_id: 'green' })
    await add('keptPress', 'indicator_sources', { indicator_id: found.kept!, source_id: found.press! })
    await add('thingPress', 'custom_object_sources', {
      custom_object_id: found.thing!,
      source_id: found.press!,
      tlp_id: 'red',
    })
    await add('ipScore', 'indicator_scores', { indicator_id: found.ip!, manual_score: 9 })
    await add('ipComment', 'indicator_comments', {
      indicator_id: found.ip!,
      value: 'hm',
      creator_source_id: found.press!,
    })
    for (const tag of ['ics', 'apt'])
      await add(`ip ${tag}`, 'tagged_objects', { tag_id: found[tag]!, object_type: 'indicator', object_id: found.ip! })
    // The same local id, another table.
    await add('bear ics', 'tagged_objects', { tag_id: found.ics!, object_type: 'adversary', object_id: found.bear! })
    const link = { src_type: 'indicator', src_object_id: found.ip!, dest_type: 'malware', dest_object_id: found.worm! }
    await add('link', 'object_links', { ...link, relationship: 'indicates', description: 'seen' })
    await add('linkBack', 'object_links', {
      src_type: 'adversary',
      src_object_id: found.bear!,
      dest_type: 'indicator',
      dest_object_id: found.ip!,
    })
    await add('linkSource', 'object_link_sources', {
      object_link_id: found.link!,
      source_id: found.feed!,
      tlp_id: 'red',
    })
    await add('linkComment', 'object_link_comments', { object_link_id: found.link!, value: 'sure' })
    return found
  })
}

const values = async (library: Library, where?: string, more = {}) =>
  (
    await listOf(
      listObjects(library, {
        now: NOW,
        ...(where !== undefined && { where: compileObjectExpression(where, NOW) }),
        ...more,
      }),
    )
  ).map(({ value }) => value)

const ALL = ['10.0.0.1', '10.0.0.2', 'Evil.Example', 'Bear', 'Raid', 'a.pdf', 'rule x {}', 'Look', 'Worm', 'Thing']

for (const dialect of DIALECTS) {
  test(`objects are listed with their context, by name (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      const rows = await fill(library)
      const [ip, kept] = await listOf(listObjects(library, { now: NOW }))
      const { id, createdAt, updatedAt, createdChange, change, uid, sources, attributes, ...rest } = ip!
      assert.deepEqual(rest, {
        table: 'indicators',
        object: 'indicator',
        type: 'IP Address',
        status: 'Active',
        value: '10.0.0.1',
        description: 'Zoë',
        class: 'network',
        score: 9,
        tlp: 'green',
        expired: true,
        publishedAt: 7,
        expiresAt: EXPIRED,
        deletedAt: null,
        unpublishedAt: null,
        stixId: null,
        fields: {},
        tags: ['ICS', 'apt'],
      })
      assert.equal(uid.replaceAll('-', ''), rows.ip!.uid.toString('hex'))
      assert.deepEqual(
        sources.map(({ type, name, tlp }) => [type, name, tlp]),
        [
          ['connectors', 'Feed', 'amber'],
          ['other_sources', 'Press', 'green'],
        ],
      )
      assert.deepEqual(
        attributes.map(({ name, value, sources }) => [name, value, ...sources.map(({ name }) => name)]),
        [
          ['Port', '443', 'Feed'],
          ['Port', '80'],
          ['__proto__', 'x'],
        ],
      )
      assert.deepEqual([kept!.expired, kept!.score, kept!.tlp], [false, 4, null])
      assert.deepEqual(await values(library), ALL)
      const all = await listOf(listObjects(library, { types: ['attachment', 'event', 'task', 'gadget', 'adversary'] }))
      assert.deepEqual(
        all.map(({ object, type, fields, tags }) => [object, type, fields, tags]),
        [
          ['adversary', null, {}, ['ICS']],
          ['event', 'Malware', { happened_at: 1_000_000 }, []],
          ['attachment', 'PDF', { title: 'Report', sha256: 'ab'.repeat(32), file_size: 5 }, []],
          ['task', null, { creator_source: 'Feed' }, []],
          ['gadget', null, {}, []],
        ],
      )
      await assert.rejects(
        listOf(listObjects(library, { types: ['gadgets'] })),
        /no object type gadgets; did you mean gadget/,
      )
    })
  })

  test(`an expression selects objects, whatever of their context it reads (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      const rows = await fill(library)
      for (const [where, expected] of [
        ['', ALL],
        ["object == 'indicator' and type == 'IP Address'", ['10.0.0.1', '10.0.0.2']],
        ["ip in '10.0.0.0/31'", ['10.0.0.1']],
        ["tag == 'ICS'", ['10.0.0.1', 'Bear']],
        ["tag != 'ICS'", []],
        ["object == 'indicator' and not tag == 'apt'", ['10.0.0.2', 'Evil.Example']],
        ["source == 'Press' and tlp == 'red'", ['Thing']],
        ['source exists and tlp not exists', ['10.0.0.2']],
        ["tlp in ('green', 'red')", ['10.0.0.1', 'Thing']],
        ["data.attributes.Port == '80' and data.attributes.Port == '443'", ['10.0.0.1']],
        ["data.attributes.Port != '80'", []],
        ["data.attributes.__proto__ == 'x'", ['10.0.0.1']],
        ['score >= 4', ['10.0.0.1', '10.0.0.2']],
        ["expires_at < '2026-06-01' and status != 'Active'", ['10.0.0.2']],
        ["value contains 'evil' or name == 'Bear' or description contains 'ZOË'", ['10.0.0.1', 'Evil.Example', 'Bear']],
        ["stix_id startswith 'intrusion-set--'", ['Bear']],
        [
          "class == 'network' and published_at exists and created_at > '2026-01-01' and uid exists",
          ['10.0.0.1', '10.0.0.2'],
        ],
      ] as const) {
        assert.deepEqual(await values(library, where), expected, where)
        assert.deepEqual(await values(library, where, { context: 'needed' }), expected, where)
        assert.deepEqual(await values(library, where, { limit: 1 }), expected.slice(0, 1), where)
      }
      const [object] = await listOf(
        listObjects(library, { where: compileObjectExpression("tag == 'apt'"), context: 'needed' }),
      )
      assert.deepEqual([object!.tags.length, object!.sources.length, object!.attributes.length], [2, 0, 0])
      const { db } = library.database
      await db.updateTable('indicators').set({ deleted_at: 5 }).where('id', '=', rows.ip!.id).execute()
      await db.updateTable('malware').set({ unpublished_at: 5 }).where('id', '=', rows.worm!.id).execute()
      await putRows(library, (put) => put('malware', { value: 'Hidden' }), { published: false })
      const without = (...names: string[]) => ALL.filter((name) => !names.includes(name))
      assert.deepEqual(await values(library), without('10.0.0.1', 'Worm'))
      assert.deepEqual(await values(library, undefined, { deleted: true }), without('Worm'))
      assert.deepEqual(await values(library, undefined, { unpublished: true }), without('10.0.0.1'))
    })
  })

  test(`pages join without a gap, each object with its own context (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      await putRows(library, async (put) => {
        const source = await put('sources', { type: 'other_sources', name: 'S' })
        const tags = [
          await put('tags', { name: '0' }),
          await put('tags', { name: '1' }),
          await put('tags', { name: '2' }),
        ]
        for (let i = 0; i < 1201; i++) {
          const row = await put('malware', { value: `m${i}` })
          await put('tagged_objects', { tag_id: tags[i % 3]!, object_type: 'malware', object_id: row })
          if (i % 2 === 0) await put('malware_sources', { malware_id: row, source_id: source })
        }
      })
      const all = await listOf(listObjects(library))
      assert.deepEqual(
        all.map(({ value, tags, sources }) => [value, tags.join(), sources.length]),
        Array.from({ length: 1201 }, (_, i) => [`m${i}`, String(i % 3), i % 2 === 0 ? 1 : 0]),
      )
      assert.equal((await values(library, "tag == '1'", { limit: 350 })).length, 350)
      assert.equal((await values(library, "tag == '1'")).length, 400)
    })
  })

  test(`L19: an object is shown by uid, alias, STIX id or value, with links and where each field came from (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      const rows = await fill(library)
      const { db } = library.database
      const remote = Buffer.from('0190163d8694739b8a8a8a8a8a8a8a02', 'hex')
      await db
        .insertInto('uid_aliases')
        .values({ table_name: 'indicators', remote, local: rows.ip!.uid, site: 's' })
        .execute()
      const later = await putRows(
        library,
        async ({ tx, change }) => {
          await tx.updateTable('indicators').set({ description: 'Zoe', change }).where('id', '=', rows.ip!.id).execute()
          const entry = {
            change,
            table_name: 'indicators',
            row_id: rows.ip!.id,
            field: 'description',
            old_value: 'Zoë',
          }
          await tx
            .insertInto('journal')
            .values({ id: 1, ...entry })
            .execute()
          return change
        },
        { kind: 'sync', run: 'run-1', site: 'site-a', source: 'tqSync-1' },
      )
      const uid = rows.ip!.uid.toString('hex').replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
      const [shown] = await showObject(library, '10.0.0[.]1')
      for (const given of [uid, uid.toUpperCase(), '0190163d-8694-739b-8a8a-8a8a8a8a8a02', '::ffff:10.0.0.1'])
        assert.deepEqual(await showObject(library, given), [shown], given)
      assert.deepEqual(
        shown!.links.map(({ direction, relationship, other, sources, comments }) => [
          direction,
          relationship,
          other.object,
          other.value,
          sources.map(({ tlp }) => tlp),
          comments.map(({ value }) => value),
        ]),
        [
          ['out', 'indicates', 'malware', 'Worm', ['red'], ['sure']],
          ['in', null, 'adversary', 'Bear', [], []],
        ],
      )
      assert.equal(shown!.linkCount, 2)
      assert.deepEqual(
        shown!.comments.map(({ value, by }) => [value, by]),
        [['hm', 'Press']],
      )
      assert.equal(shown!.provenance.description, later)
      assert.equal(shown!.provenance.value, shown!.createdChange)
      assert.equal('last_detected_at' in shown!.provenance, false)
      const { at, seq, ...change } = shown!.changes[later]!
      assert.deepEqual(change, { kind: 'sync', run: 'run-1', site: 'site-a', source: 'tqSync-1', note: null })
      const named = async (given: string) => (await showObject(library, given)).map(({ value }) => value)
      assert.deepEqual(await named('intrusion-set--00000000-0000-4000-8000-000000000001'), ['Bear'])
      assert.deepEqual(await named('Rule 1'), ['rule x {}'])
      assert.deepEqual(await named('Report'), ['a.pdf'])
      assert.deepEqual(await named('Thing'), ['Thing'])
      assert.deepEqual(await named("'; drop table indicators; --"), [])
    })
  })
}

test('equal libraries count alike, whatever database and ids they have', async () => {
  const lines = []
  for (const dialect of DIALECTS)
    for (const seedOrder of [undefined, 'reversed'] as const)
      lines.push(
        await withFreshLibrary(
          dialect,
          async (library) => {
            await fill(library)
            return JSON.stringify(await libraryStats(library))
          },
          { ...(seedOrder && { seedOrder }) },
        ),
      )
  assert.deepEqual(new Set(lines).size, 1)
  const { tables } = JSON.parse(lines[0]!)
  assert.deepEqual(tables.indicators, { rows: 3, types: { FQDN: 1, 'IP Address': 2 } })
  assert.deepEqual(tables.custom_objects, { rows: 1, types: { gadget: 1 } })
  assert.deepEqual(tables.malware, { rows: 1, types: { '': 1 } })
  assert.deepEqual(tables.object_links, { rows: 2 })
  assert.equal('incident' in tables, false)
})
