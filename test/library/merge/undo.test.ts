/** Undo of a run, and the mirror of an origin: what a change did is taken back, what others did stays. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sql } from 'kysely'
import { stateDigest } from '../../../src/library/digest.ts'
import type { Library } from '../../../src/library/library.ts'
import { undoRun } from '../../../src/library/merge/undo.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { countsOf, LOCAL, SOURCE, StagedRows, SYNC } from '../../support/stagedRows.ts'

const local = { staging: { kind: 'local', site: undefined } } as const
const from = (source: string) => ({ staging: { kind: 'import', site: undefined, source } }) as const
const mirror = (origin: string) => ({ ...SOURCE, mirror: { origin } })

async function values(library: Library, condition = 'true'): Promise<string[]> {
  const text = `select value from indicators where ${condition} and deleted_at is null and unpublished_at is null`
  const { rows } = await sql<{ value: string }>`${sql.raw(text)}`.execute(library.database.db)
  return rows.map(({ value }) => value).sort()
}

function base(): StagedRows {
  const rows = new StagedRows()
  const a = rows.indicator('FQDN', 'a.example', { description: 'one' })
  const b = rows.indicator('FQDN', 'b.example', { description: 'two' })
  rows.attribute(a, 'Kind', 'x', { uid: 'ax' })
  rows.link(a, b, 'related-to', { uid: 'ab' })
  return rows
}

function changed(): StagedRows {
  const rows = new StagedRows()
  const a = rows.indicator('FQDN', 'a2.example', { uid: 'a.example', description: 'other', class: 'network', at: 2000 })
  const c = rows.indicator('FQDN', 'c.example', { description: 'three', at: 2000 })
  rows.attribute(a, 'Kind', 'x', { uid: 'ax', at: 2000 })
  rows.attribute(a, 'New kind', 'y', { uid: 'ay', at: 2000 })
  rows.attribute(c, 'New kind', 'z', { uid: 'cz', at: 2000 })
  rows.tombstone('indicators', 'b.example')
  return rows
}

for (const dialect of DIALECTS)
  describe(dialect, () => {
    test('T8 undo of a run: the state before it', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await base().merge(library)
        const before = await stateDigest(library)
        const { change } = await changed().merge(library, SYNC, { staging: { run: 'second' } })
        assert.deepEqual(await values(library), ['a2.example', 'c.example'])
        let told: unknown
        const report = await undoRun(library, 'second', {
          beforePublish: async (_, report) => {
            told = report.tables
          },
        })
        assert.deepEqual(told, report.tables)
        assert.ok(report.seq! > change)
        const after = await stateDigest(library)
        assert.deepEqual([after.digest, after.tables], [before.digest, before.tables])
        const indicators = report.tables.find(({ table }) => table === 'indicators')
        assert.deepEqual(indicators, { table: 'indicators', deleted: 1, restored: 2, kept: 0 })
        // The same run again has the same result as before, and can be undone again.
        await changed().merge(library, SYNC, { staging: { run: 'third' } })
        assert.deepEqual(await values(library), ['a2.example', 'c.example'])
        await undoRun(library, 'third')
        assert.equal((await stateDigest(library)).digest, before.digest)
      })
    })

    test('runs undone one after the other, the last first, leave what was there before the first', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const start = await stateDigest(library)
        await base().merge(library, SYNC, { staging: { run: 'first' } })
        const before = await stateDigest(library)
        await changed().merge(library, SYNC, { staging: { run: 'second' } })
        const third = new StagedRows()
        third.indicator('FQDN', 'a3.example', { uid: 'a.example', description: 'last', at: 3000 })
        await third.merge(library, SYNC, { staging: { run: 'third' } })
        await undoRun(library, 'third')
        await undoRun(library, 'second')
        assert.equal((await stateDigest(library)).digest, before.digest)
        const report = await undoRun(library, 'first')
        assert.deepEqual(
          report.tables.filter(({ kept }) => kept > 0),
          [],
        )
        assert.equal((await stateDigest(library)).digest, start.digest)
      })
    })

    test('undo keeps what a later change touched, and what hangs on', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await base().merge(library)
        await changed().merge(library, SYNC, { staging: { run: 'second' } })
        const edit = new StagedRows()
        edit.indicator('FQDN', 'a2.example', { description: 'mine', at: 3000 })
        const c = edit.indicator('FQDN', 'c.example', { description: 'three', at: 2000 })
        edit.attribute(c, 'Mine', 'kept', { at: 3000 })
        await edit.merge(library, LOCAL, local)
        const report = await undoRun(library, 'second')
        assert.deepEqual(
          report.tables.find(({ table }) => table === 'indicators'),
          { table: 'indicators', deleted: 0, restored: 2, kept: 2 },
        )
        assert.deepEqual(await values(library), ['a.example', 'b.example', 'c.example'])
        assert.deepEqual(await values(library, `description = 'mine' and class is null`), ['a.example'])
        // The local edit is one still: the source does not overwrite it.
        const again = await changed().merge(library)
        assert.deepEqual(
          again.conflicts.map(({ field, reason }) => [field, reason]),
          [
            ['value', 'newer here'],
            ['description', 'edited here'],
          ],
        )
      })
    })

    test('a mirror takes away what its own origin brought and nobody else did', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const all = new StagedRows()
        for (const name of ['a', 'b', 'c', 'd']) {
          const id = all.indicator('FQDN', `${name}.example`)
          all.attribute(id, 'Kind', name, { uid: `${name} attribute` })
        }
        await all.merge(library, mirror('feed'), from('feed'))
        const other = new StagedRows()
        other.indicator('FQDN', 'b.example', { uid: 'other b' })
        await other.merge(library, SOURCE, from('other'))
        const mine = new StagedRows()
        mine.indicator('FQDN', 'mine.example')
        await mine.merge(library, LOCAL, local)
        const synced = new StagedRows()
        synced.indicator('FQDN', 'synced.example')
        await synced.merge(library)
        const next = new StagedRows()
        next.attribute(next.indicator('FQDN', 'a.example'), 'Kind', 'a', { uid: 'a attribute' })
        next.indicator('FQDN', 'mine.example', { uid: 'feed mine' })
        next.indicator('FQDN', 'synced.example', { uid: 'feed synced' })
        const dry = await next.merge(library, mirror('feed'), { ...from('feed'), dryRun: true })
        const report = await next.merge(library, mirror('feed'), from('feed'))
        assert.deepEqual(dry.tables, report.tables)
        assert.deepEqual(await values(library), ['a.example', 'b.example', 'mine.example', 'synced.example'])
        assert.deepEqual(countsOf(report, 'indicators'), { deleted: 2, unchanged: 3 })
        assert.deepEqual(countsOf(report, 'indicator_attributes'), { deleted: 3, unchanged: 1 })
        // What it does not bring any more was somebody else's too.
        const last = new StagedRows()
        last.indicator('FQDN', 'a.example')
        await last.merge(library, mirror('feed'), from('feed'))
        assert.deepEqual(await values(library), ['a.example', 'b.example', 'mine.example', 'synced.example'])
        await all.merge(library, mirror('feed'), from('feed'))
        assert.equal((await values(library)).length, 6)
      })
    })
  })
