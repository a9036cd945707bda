/** The state digest: what two sites in step agree on, whatever database and ids each has. L15. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { sql } from 'kysely'
import { newChange, publish } from '../../src/library/changes.ts'
import { stateDigest, stateKeys } from '../../src/library/digest.ts'
import { addHex, carry, wordsText } from '../../src/library/digestSum.ts'
import { isReference, naturalKeySql, textFormSql } from '../../src/library/identity.ts'
import type { Library } from '../../src/library/library.ts'
import { OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, TABLES } from '../../src/library/model.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'
import { type PutRow, putRows, type Values } from '../support/libraryRows.ts'

const UID = Buffer.from('0190163d8694739b8a8a8a8a8a8a8a01', 'hex')

/** Objects with context and links; `reversed` puts what has no order the other way round. */
async function fill(library: Library, reversed = false): Promise<Record<string, PutRow>> {
  return await putRows(library, async (put) => {
    const inOrder = <T>(list: readonly T[]): readonly T[] => (reversed ? list.toReversed() : list)
    const found: Record<string, PutRow> = {}
    const all = async (table: string, rows: Readonly<Record<string, Values>>) => {
      for (const [name, values] of inOrder(Object.entries(rows))) found[name] = await put(table, values)
    }
    await all('tags', { ics: { name: 'ics' }, apt: { name: 'apt' } })
    await all('attributes', { port: { name: 'Port' }, note: { name: 'Note' } })
    await all('sources', {
      feed: { type: 'connectors', name: 'Feed', tlp_id: 'amber' },
      me: { type: 'users', name: 'Me' },
    })
    await all('indicators', {
      ip: { type_id: 'IP Address', status_id: 'Active', value: '10.0.0.1', class: 'network' },
      name: { type_id: 'FQDN', status_id: 'Review', value: 'Evil.Example', description: 'Zoë', expires_at: 5 },
    })
    await all('adversaries', { bear: { name: 'Bear', stix: '{"x":1}' } })
    await all('malware', { worm: { value: 'Worm', stix_id: 'malware--1' } })
    await all('indicator_attributes', {
      ipPort: { indicator_id: found.ip!, attribute_id: found.port!, value: '80' },
      nameNote: { indicator_id: found.name!, attribute_id: found.note!, value: null },
    })
    await all('indicator_attribute_sources', {
      ipPortFeed: {
        indicator_attribute_id: found.ipPort!,
        source_id: found.feed!,
        tlp_id: 'red',
        creator_source_id: found.me!,
      },
    })
    await all('indicator_sources', { ipFeed: { indicator_id: found.ip!, source_id: found.feed!, tlp_id: 'green' } })
    await all('adversary_comments', { comment: { adversary_id: found.bear!, value: 'hm', uid: UID } })
    await all('tagged_objects', {
      ipTag: { tag_id: found.ics!, object_type: 'indicator', object_id: found.ip! },
      bearTag: { tag_id: found.apt!, object_type: 'adversary', object_id: found.bear! },
    })
    await all('object_links', {
      uses: {
        src_type: 'adversary',
        src_object_id: found.bear!,
        dest_type: 'malware',
        dest_object_id: found.worm!,
        relationship: 'uses',
      },
      at: {
        src_type: 'indicator',
        src_object_id: found.ip!,
        dest_type: 'malware',
        dest_object_id: found.worm!,
        relationship: 'indicates',
      },
    })
    await all('object_link_comments', { linkComment: { object_link_id: found.uses!, value: 'seen', uid: UID } })
    return found
  })
}

const rowsOf = async (library: Library, table: string) => (await stateDigest(library)).tables[table]?.rows ?? 0

test('libraries with the same content agree, whatever database, ids and order of arrival they have', async () => {
  const digests = []
  for (const dialect of DIALECTS)
    for (const reversed of [false, true])
      digests.push(
        await withFreshLibrary(
          dialect,
          async (library) => {
            await fill(library, reversed)
            const keys: string[] = []
            for await (const { nk, digest } of stateKeys(library, TABLE_BY_NAME.get('indicators')!))
              keys.push(`${nk.toString('hex')} ${digest.toString('hex')}`)
            return { ...(await stateDigest(library)), keys }
          },
          reversed ? { seedOrder: 'reversed' } : {},
        ),
      )
  for (const other of digests.slice(1)) assert.deepEqual(other, digests[0])
  assert.equal(digests[0]!.tables.indicators?.rows, 2)
  assert.equal(digests[0]!.keys.length, 2)
})

for (const dialect of DIALECTS) {
  test(`a digest follows compared fields and what is live, and nothing else (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      const rows = await fill(library)
      const { db } = library.database
      const set = (table: string, name: string, values: Record<string, unknown>) =>
        db.updateTable(table).set(values).where('id', '=', rows[name]!.id).execute()
      const first = await stateDigest(library)
      const same = async (why: string) => assert.deepEqual((await stateDigest(library)).tables, first.tables, why)
      await set('indicators', 'ip', {
        uid: Buffer.alloc(16, 1),
        created_at: 1,
        updated_at: 2,
        touched_at: 3,
        sync_hash: UID,
      })
      await set('indicator_attribute_sources', 'ipPortFeed', { creator_source_id: null })
      await same('uids, times of import and users')
      for (const [table, name, field, value, old] of [
        ['indicators', 'ip', 'description', '', null],
        ['indicators', 'ip', 'status_id', 2, 1],
        ['indicators', 'name', 'expires_at', 6, 5],
        ['indicator_attribute_sources', 'ipPortFeed', 'tlp_id', null, 1],
        ['object_links', 'uses', 'description', 'x', null],
        ['adversaries', 'bear', 'stix', '{"x":2}', '{"x":1}'],
      ] as const) {
        await set(table, name, { [field]: value })
        const changed = await stateDigest(library)
        assert.notEqual(changed.digest, first.digest, field)
        assert.deepEqual(
          Object.keys(first.tables).filter((key) => changed.tables[key]!.digest !== first.tables[key]!.digest),
          [table],
        )
        await set(table, name, { [field]: old })
      }
      await same('changed back')
      for (const hidden of [{ deleted_at: 1 }, { unpublished_at: 1 }]) {
        await set('indicators', 'ip', hidden)
        const counts = []
        for (const table of [
          'indicators',
          'indicator_attributes',
          'indicator_attribute_sources',
          'indicator_sources',
          'tagged_objects',
          'object_links',
        ])
          counts.push(await rowsOf(library, table))
        assert.deepEqual(counts, [1, 1, 0, 0, 1, 1], 'with its owner goes what hangs on it')
        await set('indicators', 'ip', { deleted_at: null, unpublished_at: null })
      }
      await set('malware', 'worm', { deleted_at: 1 })
      assert.equal(await rowsOf(library, 'object_links'), 0)
      assert.equal(await rowsOf(library, 'object_link_comments'), 0)
      await set('malware', 'worm', { deleted_at: null })
      await same('alive again')
      const change = await putRows(
        library,
        async (put) => {
          await put('tags', { name: 'not yet' })
          return put.change
        },
        { published: false },
      )
      await same('not published')
      await library.database.write((tx) => publish(tx, change))
      assert.equal((await stateDigest(library)).tables.tags!.rows, 3)
      assert.equal((await stateDigest(library)).seq, first.seq + 1)
    })
  })

  test(`SQL computes from the columns of every row the natural key that JavaScript computed (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      await fill(library)
      const { db } = library.database
      let compared = 0
      for (const table of TABLES) {
        const key = naturalKeySql(dialect, table, (column) => {
          const of = `t."${column.name}"`
          if (!isReference(column)) return textFormSql(dialect, column, of)
          if (column.references) return `(select nk from ${column.references} r where r.id = ${of})`
          const cases = [...OBJECT_TABLE_BY_CODE].map(
            ([code, { name }]) => `when '${code}' then (select nk from ${name} r where r.id = ${of})`,
          )
          return `case t."${column.typeColumn}" ${cases.join(' ')} end`
        })
        const { rows } = await sql
          .raw<{ nk: Uint8Array; key: Uint8Array }>(`select t.nk, ${key} as key from ${table.name} t`)
          .execute(db)
        for (const { nk, key } of rows) assert.deepEqual(Buffer.from(key), Buffer.from(nk), table.name)
        compared += rows.length
      }
      assert.ok(compared > 100)
    })
  })

  test(`the table's digest is the sum of its rows' digests (${dialect})`, async () => {
    await withFreshLibrary(dialect, async (library) => {
      await library.database.write(async (tx) => {
        const change = await newChange(tx, { kind: 'import' })
        for (let at = 0; at < 7; at++) {
          const rows = Array.from({ length: 1000 }, (_, i) => {
            const id = at * 1000 + i + 1
            const nk = createHash('sha256').update(String(id)).digest()
            // Holes, and more than one page of both kinds.
            return {
              id: id * 9,
              uid: nk.subarray(0, 16),
              nk,
              name: `t${id}`,
              created_at: 1,
              updated_at: 1,
              created_change: change,
              change,
            }
          })
          await tx.insertInto('tags').values(rows).execute()
        }
        await publish(tx, change)
      })
      let sum = 0n
      let rows = 0
      let before: Buffer = Buffer.alloc(0)
      for await (const { nk, digest } of stateKeys(library, TABLE_BY_NAME.get('tags')!)) {
        assert.equal(Buffer.compare(before, nk), -1)
        before = nk
        sum = BigInt.asUintN(256, sum + BigInt(`0x${digest.toString('hex')}`))
        rows += 1
      }
      const found = (await stateDigest(library)).tables.tags
      assert.deepEqual(found, { rows, digest: sum.toString(16).padStart(64, '0') })
      assert.equal(rows, 7000)
    })
  })
}

test('words are added as one number modulo 2^256', () => {
  const digest = fc.oneof(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.constant(new Uint8Array(32).fill(255)))
  fc.assert(
    fc.property(fc.array(digest, { maxLength: 50 }), fc.nat(10), (digests, every) => {
      const words = new Float64Array(8)
      let sum = 0n
      for (const [i, bytes] of digests.entries()) {
        addHex(words, Buffer.from(bytes).toString('hex'))
        if (i % (every + 1) === 0) carry(words)
        sum = BigInt.asUintN(256, sum + BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
      }
      assert.equal(wordsText(words), sum.toString(16).padStart(64, '0'))
    }),
  )
})
