import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { md5, syncHash } from '../../src/library/identity.ts'
import type { Library } from '../../src/library/library.ts'
import { fillHash, requireHashes } from '../../src/sync/fillHash.ts'
import { findRun } from '../../src/sync/synchronizations.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'
import { putRows } from '../support/libraryRows.ts'

/** Rows as they come from elsewhere: without hashes. */
async function fillLibrary(library: Library) {
  return await putRows(library, async (put) => {
    const one = await put('indicators', { type_id: 'FQDN', value: 'One.example' })
    const two = await put('indicators', { type_id: 'CVE', value: 'CVE-2012-0217' })
    const event = await put('events', { title: '123123', happened_at: 1_597_404_602_000_000 })
    const ends = { src_type: 'indicator', src_object_id: one.id, dest_type: 'event', dest_object_id: event.id }
    return { one, two, event, link: await put('object_links', { ...ends, relationship: 'seen-in' }) }
  })
}

const hashOf = async (library: Library, table: string, { id }: { readonly id: number }): Promise<string> => {
  const row = await library.database.db
    .selectFrom(table)
    .select('sync_hash')
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return Buffer.from(row.sync_hash as Uint8Array).toString('hex')
}

for (const dialect of DIALECTS) {
  describe(dialect, () => {
    test('P30, P43: a NULL sync_hash refuses an import, and the refusal names the command', () =>
      withFreshLibrary(dialect, async (library) => {
        await requireHashes(library)
        await fillLibrary(library)
        await assert.rejects(requireHashes(library), (error: { code: string; hint: string; values: object }) => {
          assert.equal(error.code, 'E_SYNC_HASH')
          assert.match(error.hint, /sync fill-hash/)
          assert.deepEqual(error.values, { table: 'events', rows: 1 })
          return true
        })
        await fillHash(library)
        await requireHashes(library)
      }))

    test('P40, T7: NULLs are filled with the MD5 of the unique fields, once; the run is recorded', () =>
      withFreshLibrary(dialect, async (library) => {
        const { one, two, event, link } = await fillLibrary(library)
        const told: [string, number][] = []
        const { filled, run } = await fillHash(library, { onProgress: (table, rows) => told.push([table, rows]) })
        assert.deepEqual(filled, { events: 1, indicators: 2, object_links: 1 })
        assert.deepEqual(told, [
          ['events', 1],
          ['indicators', 2],
          ['object_links', 1],
        ])
        const { db } = library.database
        for (const [row, value] of [
          [one, 'One.example'],
          [two, 'CVE-2012-0217'],
        ] as const) {
          const { type_id } = await db
            .selectFrom('indicators')
            .select('type_id')
            .where('id', '=', row.id)
            .executeTakeFirstOrThrow()
          assert.equal(await hashOf(library, 'indicators', row), syncHash(value, type_id))
        }
        assert.equal(await hashOf(library, 'object_links', link), md5(`indicator-${one.id}-event-${event.id}`))
        assert.match(await hashOf(library, 'events', event), /^[0-9a-f]{32}$/)
        assert.equal((await findRun(library, run))?.state, 'finished')
        assert.deepEqual((await fillHash(library)).filled, { events: 0, indicators: 0, object_links: 0 })
      }))
  })
}
