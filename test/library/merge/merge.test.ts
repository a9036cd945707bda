/** Staging and merge over both databases: what is inserted, found, decided, refused and taken away. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sql } from 'kysely'
import { stateDigest } from '../../../src/library/digest.ts'
import type { Library } from '../../../src/library/library.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { countsOf, LOCAL, SOURCE, StagedRows, SYNC } from '../../support/stagedRows.ts'

const rowsOf = async (library: Library, text: string): Promise<Record<string, unknown>[]> =>
  (await sql<Record<string, unknown>>`${sql.raw(text)}`.execute(library.database.db)).rows

const SEEN = `created_change in (select id from changes where seq is not null)`

/** Two indicators with an attribute each, linked. */
function sample(at = 1000): StagedRows {
  const rows = new StagedRows()
  const one = rows.indicator('FQDN', 'One.Example', { description: 'first', status: 'Active', at })
  const two = rows.indicator('IP Address', '10.0.0.1', { at })
  rows.attribute(one, 'Confidence', 'high', { uid: 'a1', at })
  rows.attribute(two, 'Confidence', null, { uid: 'a2', at })
  rows.link(one, two, 'resolves-to', { uid: 'l1', at })
  return rows
}

for (const dialect of DIALECTS)
  describe(dialect, () => {
    test('a first run inserts, a second changes nothing', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const first = await sample().merge(library)
        assert.deepEqual(countsOf(first, 'indicators'), { inserted: 2 })
        assert.deepEqual(countsOf(first, 'indicator_attributes'), { inserted: 2 })
        assert.deepEqual(countsOf(first, 'object_links'), { inserted: 1 })
        assert.deepEqual(countsOf(first, 'attributes'), { inserted: 1 })
        assert.deepEqual(countsOf(first, 'indicator_types'), { unchanged: 2 })
        assert.equal(typeof first.seq, 'number')
        const found = await rowsOf(
          library,
          `select i.value, i.normalized, t.name as type, s.name as status, length(i.hash) as hash, length(i.sync_hash) as sync
           from indicators i join indicator_types t on t.id = i.type_id left join indicator_statuses s on s.id = i.status_id
           where i.${SEEN} order by i.value`,
        )
        assert.deepEqual(
          found.map((row) => ({ ...row })),
          [
            { value: '10.0.0.1', normalized: '10.0.0.1', type: 'IP Address', status: null, hash: 16, sync: 16 },
            { value: 'One.Example', normalized: 'one.example', type: 'FQDN', status: 'Active', hash: 16, sync: 16 },
          ],
        )
        const before = await stateDigest(library)
        const second = await sample().merge(library)
        assert.equal(second.seq, undefined)
        assert.ok(second.tables.every(({ inserted, updated, deleted }) => inserted + updated + deleted === 0))
        assert.deepEqual(await stateDigest(library), before)
        const [left] = await rowsOf(
          library,
          `select (select count(*) from changes where seq is null) as changes,
          (select count(*) from facts where name like 'merge:%') as facts, (select count(*) from merge_checkpoints) as points`,
        )
        assert.deepEqual({ ...left }, { changes: 0, facts: 0, points: 0 })
      })
    })

    test('equal input has equal digests whatever the ids and uids', async () => {
      await withFreshLibrary(dialect, async (one) => {
        await withFreshLibrary(
          dialect,
          async (two) => {
            await sample().merge(one)
            const other = new StagedRows()
            other.named('indicator_types', 'URL')
            const second = other.indicator('IP Address', '10.0.0.1', { uid: 'x' })
            const first = other.indicator('FQDN', 'One.Example', { uid: 'y', description: 'first', status: 'Active' })
            other.link(first, second, 'resolves-to')
            other.attribute(second, 'Confidence', null)
            other.attribute(first, 'Confidence', 'high')
            await other.merge(two)
            assert.equal((await stateDigest(one)).digest, (await stateDigest(two)).digest)
            // T5: and each takes the other's rows for its own.
            const report = await sample().merge(two)
            assert.equal(report.seq, undefined)
            const aliases = await rowsOf(two, 'select count(*) as n from uid_aliases')
            assert.ok(Number(aliases[0]!.n) >= 2)
          },
          { seedOrder: 'reversed' },
        )
      })
    })

    test('decisions of policy newest', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await sample().merge(library)
        const edit = new StagedRows()
        edit.indicator('FQDN', 'One.Example', { description: 'mine', at: 1000 })
        await edit.merge(library, LOCAL, { staging: { kind: 'local' } })
        const rows = new StagedRows()
        rows.indicator('FQDN', 'One.Example', { description: 'theirs', status: 'Review', class: 'network', at: 2000 })
        const conflicts: string[] = []
        const dry = await rows.merge(library, SYNC, { dryRun: true })
        const report = await rows.merge(library, SYNC, { onConflict: ({ field }) => conflicts.push(field) })
        assert.deepEqual(dry.tables, report.tables)
        assert.deepEqual(dry.conflicts, report.conflicts)
        assert.deepEqual(conflicts, ['description'])
        const [conflict] = report.conflicts
        assert.deepEqual(
          [conflict!.local, conflict!.incoming, conflict!.decision, conflict!.reason, conflict!.name],
          ['mine', 'theirs', 'local', 'edited here', 'One.Example'],
        )
        const [found] = await rowsOf(
          library,
          `select i.description, i.class, s.name as status, i.updated_at from indicators i
          join indicator_statuses s on s.id = i.status_id where value = 'One.Example'`,
        )
        assert.deepEqual({ ...found }, { description: 'mine', class: 'network', status: 'Review', updated_at: 2000 })
        // An older row changes nothing, and NULL takes nothing away.
        const older = new StagedRows()
        older.indicator('FQDN', 'One.Example', { status: 'Active', at: 1500 })
        const kept = await older.merge(library)
        assert.deepEqual(
          kept.conflicts.map(({ field, reason }) => [field, reason]),
          [['status_id', 'newer here']],
        )
        assert.equal(kept.seq, undefined)
      })
    })

    test('policy source takes what is there, but not from a protected status, nor a description that is to stay', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const rows = sample()
        rows.named('indicator_statuses', 'Kept', {
          protected: 'Y',
          visible: 'Y',
          include_in_export: 'Y',
          user_editable: 'Y',
        })
        rows.indicator('MD5', 'd41d8cd98f00b204e9800998ecf8427e', { status: 'Kept', description: 'old' })
        await rows.merge(library)
        const other = new StagedRows()
        other.indicator('MD5', 'd41d8cd98f00b204e9800998ecf8427e', {
          status: 'Active',
          description: 'new',
          class: 'host',
          at: 500,
        })
        other.indicator('FQDN', 'One.Example', { description: null, at: 500 })
        const report = await other.merge(library, { ...SOURCE, overrideDescription: false })
        assert.deepEqual(report.conflicts.map(({ field, reason, decision }) => [field, reason, decision]).sort(), [
          ['description', 'description kept', 'local'],
          ['status_id', 'protected status', 'local'],
        ])
        const found = await rowsOf(
          library,
          `select i.value, i.description, i.class, s.name as status from indicators i
          left join indicator_statuses s on s.id = i.status_id where value <> '10.0.0.1' order by value`,
        )
        assert.deepEqual(
          found.map((row) => ({ ...row })),
          [
            { value: 'One.Example', description: 'first', class: null, status: null },
            { value: 'd41d8cd98f00b204e9800998ecf8427e', description: 'old', class: 'host', status: 'Kept' },
          ],
        )
      })
    })

    test('P26 created_at by --keep-created-at', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await sample(2000).merge(library)
        await sample(1000).merge(library, SYNC)
        assert.deepEqual(Number((await rowsOf(library, 'select max(created_at) as at from indicators'))[0]!.at), 1000)
        await sample(500).merge(library, { ...SYNC, keepCreatedAt: false })
        assert.deepEqual(Number((await rowsOf(library, 'select max(created_at) as at from indicators'))[0]!.at), 1000)
        const rows = new StagedRows()
        rows.indicator('FQDN', 'new.example', { at: 500 })
        await rows.merge(library, { ...SYNC, keepCreatedAt: false })
        const [found] = await rowsOf(
          library,
          `select created_at, updated_at from indicators where value = 'new.example'`,
        )
        assert.ok(Number(found!.created_at) > 1_600_000_000_000_000)
        assert.equal(Number(found!.updated_at), 500)
      })
    })

    test('L10 tombstones by policy, with what hangs on the object', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await sample().merge(library)
        const local = new StagedRows()
        local.indicator('FQDN', 'local.example', { uid: 'mine' })
        await local.merge(library, LOCAL, { staging: { kind: 'local' } })
        const gone = new StagedRows()
        gone.tombstone('indicators', 'One.Example')
        gone.tombstone('indicators', 'mine')
        const reported = await gone.merge(library, { ...SYNC, deletions: 'report' })
        assert.deepEqual(
          reported.conflicts.map(({ reason }) => reason),
          ['deletion reported', 'deletion reported'],
        )
        assert.equal(reported.seq, undefined)
        const report = await gone.merge(library)
        assert.deepEqual(countsOf(report, 'indicators'), { deleted: 1, kept: 1 })
        assert.deepEqual(countsOf(report, 'indicator_attributes'), { deleted: 1 })
        assert.deepEqual(countsOf(report, 'object_links'), { deleted: 1 })
        assert.deepEqual(
          report.conflicts.map(({ name, reason }) => [name, reason]),
          [['local.example', 'not made by sync']],
        )
        // The source has it again.
        const again = await sample().merge(library)
        assert.deepEqual(countsOf(again, 'indicators'), { updated: 1, unchanged: 1 })
        assert.deepEqual(countsOf(again, 'object_links'), { updated: 1 })
        const hidden = await gone.merge(library, { ...SYNC, deletions: 'unpublish' })
        assert.deepEqual(countsOf(hidden, 'indicators'), { deleted: 2 })
        const [counts] = await rowsOf(
          library,
          `select count(unpublished_at) as hidden, count(deleted_at) as deleted from indicators`,
        )
        assert.deepEqual([Number(counts!.hidden), Number(counts!.deleted)], [2, 0])
      })
    })

    test('L18 rows without form, and rows that refer to nothing with what hangs on them, go to quarantine', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const rows = sample()
        const bad = rows.add('indicators', { type_id: 99, value: 'lost.example' }, { uid: 'bad' })
        const attribute = rows.attribute(bad, 'Confidence', 'x', { uid: 'bad attribute' })
        rows.add('indicator_attribute_sources', {
          indicator_attribute_id: attribute,
          source_id: rows.named('sources', 'here'),
        })
        rows.indicator('FQDN', 'nul\0.example')
        rows.indicator('FQDN', 'time.example', { expires_at: 'tomorrow' })
        rows.add('indicators', { type_id: 1, value: null })
        rows.indicator('FQDN', 'twice.example', { id: '1' })
        const report = await rows.merge(library)
        assert.deepEqual(countsOf(report, 'indicators'), { inserted: 2, quarantined: 5 })
        assert.deepEqual(countsOf(report, 'indicator_attributes'), { inserted: 2, quarantined: 1 })
        assert.deepEqual(countsOf(report, 'indicator_attribute_sources'), { quarantined: 1 })
        const found = await rowsOf(library, 'select code, reason, payload from quarantine order by id')
        assert.equal(found.length, 7)
        assert.ok(found.every(({ payload }) => JSON.parse(payload as string).table))
      })
    })

    test('two rows of a run with one natural key are one', async () => {
      await withFreshLibrary(dialect, async (library) => {
        for (const base of ['empty', 'filled']) {
          const rows = new StagedRows()
          const one = rows.indicator('FQDN', `same-${base}.example`, { uid: `first ${base}` })
          const two = rows.indicator('FQDN', `SAME-${base}.example`, { uid: `second ${base}` })
          rows.attribute(one, 'Kind', 'a', { uid: `a ${base}` })
          rows.attribute(two, 'Kind', 'b', { uid: `b ${base}` })
          rows.attribute(two, 'Kind', 'a', { uid: `other ${base}` })
          const report = await rows.merge(library)
          assert.deepEqual(countsOf(report, 'indicators'), { inserted: 1, unchanged: 1 }, base)
          assert.deepEqual(countsOf(report, 'indicator_attributes'), { inserted: 2, unchanged: 1 }, base)
          const found = await rowsOf(
            library,
            `select count(*) as n, count(distinct a.indicator_id) as owners from indicator_attributes a
             join indicators i on i.id = a.indicator_id where i.value = 'same-${base}.example'`,
          )
          assert.deepEqual([Number(found[0]!.n), Number(found[0]!.owners)], [2, 1])
        }
      })
    })

    test('a row cannot take the key of another: the key stays and is reported', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await sample().merge(library)
        const local = new StagedRows()
        local.indicator('FQDN', 'taken.example', { uid: 'mine' })
        await local.merge(library, LOCAL, { staging: { kind: 'local' } })
        const rows = new StagedRows()
        const one = rows.indicator('FQDN', 'taken.example', { uid: 'One.Example', class: 'network', at: 2000 })
        const three = rows.indicator('FQDN', 'new.example', { at: 2000 })
        rows.attribute(three, 'Confidence', 'high', { uid: 'a1', at: 2000 })
        rows.attribute(three, 'Confidence', 'high', { uid: 'a9', at: 2000 })
        rows.attribute(one, 'Confidence', 'low', { uid: 'a8', at: 2000 })
        const dry = await rows.merge(library, SYNC, { dryRun: true })
        const report = await rows.merge(library)
        assert.deepEqual(dry.conflicts, report.conflicts)
        assert.deepEqual(
          report.conflicts.map(({ table, local, incoming, reason }) => [table, local, incoming, reason]),
          [
            ['indicators', 'One.Example', 'taken.example', 'taken by another row'],
            ['indicator_attributes', 'high', 'high', 'taken by another row'],
          ],
        )
        const found = await rowsOf(
          library,
          `select value, class from indicators order by value collate "C"`.replace(
            dialect === 'sqlite' ? ' collate "C"' : /^$/,
            '',
          ),
        )
        assert.deepEqual(
          found.map((row) => Object.values(row)),
          [
            ['10.0.0.1', null],
            ['One.Example', 'network'],
            ['new.example', null],
            ['taken.example', null],
          ],
        )
      })
    })

    test('two rows exchange their keys', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await sample().merge(library)
        const swap = (at: number, one: string, two: string): StagedRows => {
          const rows = new StagedRows()
          rows.indicator('FQDN', one, { uid: 'One.Example', description: 'first', status: 'Active', at })
          rows.indicator('FQDN', two, { uid: '10.0.0.1', at })
          return rows
        }
        await swap(2000, 'a.example', 'b.example').merge(library)
        assert.deepEqual(countsOf(await swap(3000, 'b.example', 'a.example').merge(library), 'indicators'), {
          updated: 2,
        })
        await withFreshLibrary(dialect, async (fresh) => {
          await sample().merge(fresh)
          await swap(3000, 'b.example', 'a.example').merge(fresh)
          assert.equal((await stateDigest(library)).digest, (await stateDigest(fresh)).digest)
        })
      })
    })

    test('T5 a renamed object keeps its context, and the name it left is free for another', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await sample().merge(library)
        const rows = new StagedRows()
        const one = rows.indicator('URL', 'http://one.example/', {
          uid: 'One.Example',
          description: 'first',
          status: 'Active',
          at: 2000,
        })
        const two = rows.indicator('IP Address', '10.0.0.1', { at: 1000 })
        const other = rows.indicator('FQDN', 'one.example', { uid: 'another', at: 2000 })
        rows.attribute(one, 'Confidence', 'high', { uid: 'a1' })
        rows.attribute(two, 'Confidence', null, { uid: 'a2' })
        rows.attribute(other, 'Confidence', 'low', { uid: 'a3' })
        rows.link(one, two, 'resolves-to', { uid: 'l1' })
        const report = await rows.merge(library)
        assert.deepEqual(countsOf(report, 'indicators'), { inserted: 1, updated: 1, unchanged: 1 })
        assert.deepEqual(countsOf(report, 'indicator_attributes'), { inserted: 1, unchanged: 2 })
        await withFreshLibrary(dialect, async (fresh) => {
          await rows.merge(fresh)
          assert.deepEqual((await stateDigest(library)).tables, (await stateDigest(fresh)).tables)
        })
      })
    })
  })
