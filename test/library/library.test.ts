/** Opening a library; its built-in rows; changes and their order. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'kysely'
import { drawIds, headSequence, liveSql, newChange, publish, seenSql } from '../../src/library/changes.ts'
import { tlpNamed, tlpRank } from '../../src/library/dictionaries.ts'
import { naturalKey, uidOfNaturalKey, uidRange } from '../../src/library/identity.ts'
import { openLibrary } from '../../src/library/library.ts'
import { TABLES } from '../../src/library/model.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'

for (const dialect of DIALECTS) {
  test(`a new library has every table and the built-in rows; it opens again as it is (${dialect})`, async () => {
    await withFreshLibrary(dialect, async ({ database }, options) => {
      for (const { name } of TABLES) await database.db.selectFrom(name).selectAll().limit(1).execute()
      const types = await database.db.selectFrom('indicator_types').selectAll().orderBy('id').execute()
      assert.deepEqual(
        [4, 5, 7, 11, 15, 18, 23, 26, 27, 30, 33].map((id) => types.find((row) => row.id === id)?.name),
        [
          'CVE',
          'Email Address',
          'Email Subject',
          'FQDN',
          'IP Address',
          'MD5',
          'SHA-1',
          'SHA-512',
          'String',
          'URL',
          'Username',
        ],
      )
      assert.equal(types.length, 34)
      const nk = naturalKey('indicator_types', ['CVE'])
      assert.deepEqual(Buffer.from(types[3]!.nk), nk)
      assert.deepEqual(Buffer.from(types[3]!.uid), uidOfNaturalKey(nk))
      assert.equal(await headSequence(database.db), 1)
      const again = await openLibrary(options)
      assert.equal((await again.database.db.selectFrom('indicator_types').selectAll().execute()).length, 34)
      await again.close()
    })
  })

  test(`seeded in another order, rows have other ids and the same uids (${dialect})`, async () => {
    const rows = (seedOrder?: 'reversed') =>
      withFreshLibrary(
        dialect,
        async ({ database }) =>
          (await database.db.selectFrom('indicator_types').selectAll().orderBy('name').execute()).map((row) => ({
            id: row.id,
            uid: Buffer.from(row.uid).toString('hex'),
          })),
        { seedOrder },
      )
    const [one, other] = [await rows(), await rows('reversed')]
    assert.deepEqual(
      other.map(({ uid }) => uid),
      one.map(({ uid }) => uid),
    )
    assert.notDeepEqual(
      other.map(({ id }) => id),
      one.map(({ id }) => id),
    )
  })

  test(`a library of another normaliser or a newer program is refused (${dialect})`, async () => {
    await withFreshLibrary(dialect, async ({ database }, options) => {
      await database.db.updateTable('facts').set({ value: 'library/9' }).where('name', '=', 'normalizer').execute()
      await assert.rejects(openLibrary(options), { code: 'E_LIBRARY_VERSION' })
      await database.db.updateTable('facts').set({ value: '9' }).where('name', '=', 'schema_version').execute()
      await assert.rejects(openLibrary(options), { code: 'E_LIBRARY_VERSION' })
    })
  })

  test(`rows are seen when their change is published, in commit order (${dialect})`, async () => {
    await withFreshLibrary(dialect, async ({ database }) => {
      const insert = async (name: string, change: number) =>
        database.write(async (tx) => {
          const id = await drawIds(tx, 'tags', 1)
          const row = { id, uid: uidRange(1).at(0), nk: naturalKey('tags', [name]), name, created_at: 1, updated_at: 1 }
          await tx
            .insertInto('tags')
            .values({ ...row, created_change: change, change })
            .execute()
        })
      const names = async (condition: string) =>
        (
          await sql
            .raw<{ name: string }>(`select name from tags t where ${condition} order by name`)
            .execute(database.db)
        ).rows.map(({ name }) => name)
      const [first, second] = await database.write(async (tx) => [
        await newChange(tx, { kind: 'import', run: 'a' }),
        await newChange(tx, { kind: 'local' }),
      ])
      assert.equal(second, first! + 1)
      await insert('a', first!)
      await insert('b', second!)
      assert.deepEqual(await names(seenSql('t')), [])
      assert.equal(await database.write((tx) => publish(tx, second!)), 2)
      assert.deepEqual(await names(seenSql('t')), ['b'])
      assert.equal(await database.write((tx) => publish(tx, first!)), 3)
      assert.equal(await headSequence(database.db), 3)
      assert.deepEqual(await names(liveSql('t')), ['a', 'b'])
      await database.db.updateTable('tags').set({ deleted_at: 5 }).where('name', '=', 'a').execute()
      await database.db.updateTable('tags').set({ unpublished_at: 5 }).where('name', '=', 'b').execute()
      assert.deepEqual([await names(seenSql('t')), await names(liveSql('t'))], [['a', 'b'], []])
    })
  })

  test(`many who publish at once get numbers without holes, and never one twice (${dialect})`, async () => {
    await withFreshLibrary(dialect, async ({ database }) => {
      const published = await Promise.all(
        Array.from({ length: 12 }, () =>
          database.write(async (tx) => publish(tx, await newChange(tx, { kind: 'local' }))),
        ),
      )
      assert.deepEqual(
        published.toSorted((a, b) => a - b),
        Array.from({ length: 12 }, (_, i) => i + 2),
      )
    })
  })
}

test('TLP: clear is white, amber+strict lies between amber and red', () => {
  const given = ['TLP:CLEAR', 'tlp:white', 'Green', 'TLP-AMBER', 'TLP:AMBER+STRICT', 'Amber Strict', 'red']
  const names = ['white', 'white', 'green', 'amber', 'amber+strict', 'amber+strict', 'red'] as const
  assert.deepEqual(given.map(tlpNamed), names)
  assert.deepEqual(names.map(tlpRank), [0, 0, 1, 2, 3, 3, 4])
  for (const text of ['', 'purple', 'tlp:', 'constructor']) assert.equal(tlpNamed(text), undefined)
})
