/** Sync tables as the original has them, runs beside each other, runs that died, and writers in between. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sql } from 'kysely'
import { stateDigest } from '../../../src/library/digest.ts'
import type { Library } from '../../../src/library/library.ts'
import { merge } from '../../../src/library/merge/merge.ts'
import { openStaging, sweepStaging } from '../../../src/library/merge/staging.ts'
import { dumpColumns, TABLE_BY_NAME } from '../../../src/library/model.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { countsOf, LOCAL, StagedRows, SYNC } from '../../support/stagedRows.ts'

const local = { staging: { kind: 'local', site: undefined } } as const

async function one(library: Library, text: string): Promise<Record<string, unknown>> {
  const { rows } = await sql<Record<string, unknown>>`${sql.raw(text)}`.execute(library.database.db)
  return { ...rows[0] }
}

const COUNTS = `select (select count(*) from changes where seq is null) as changes,
  (select count(*) from facts where name like 'merge:%') as runs,
  (select count(*) from merge_checkpoints) as points, (select count(*) from indicators) as indicators`

function many(count: number, at = 1000): StagedRows {
  const rows = new StagedRows()
  for (let i = 0; i < count; i++) {
    const id = rows.indicator('FQDN', `host-${i}.example`, { at })
    rows.attribute(id, 'Kind', String(i), { uid: `attribute ${i}`, at })
  }
  return rows
}

/** Ends a run as a kill would, once so many rows are in. */
async function dieAfter(library: Library, rows: StagedRows, inserted: number): Promise<number> {
  const staging = await rows.stage(library)
  const stop = new Error('died')
  await assert.rejects(
    merge(
      library,
      staging,
      { ...SYNC, objectLimit: 10 },
      {
        onProgress: ({ step, done }) => {
          if (step === 'insert' && done >= inserted) throw stop
        },
      },
    ),
    stop,
  )
  await staging.close()
  return staging.change
}

for (const dialect of DIALECTS)
  describe(dialect, () => {
    test('P36 P37 P38 names and columns of sync tables', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const rows = many(1)
        rows.add('attachment_types', { name: 'PDF', is_parsable: 'N' })
        const source = rows.named('sources', 'feed')
        rows.add('indicator_sources', { indicator_id: '1', source_id: source })
        const staging = await rows.stage(library, { pid: 12345 })
        const seen = new Map<string, string[]>()
        await merge(library, staging, SYNC, {
          beforePublish: async (tx) => {
            for (const table of ['attachment_types', 'indicator_sources']) {
              const from = dialect === 'sqlite' ? 'staging.' : ''
              const text = `select * from ${from}sync_import_${table}_12345 limit 1`
              const found = await sql<Record<string, unknown>>`${sql.raw(text)}`.execute(tx)
              seen.set(table, Object.keys(found.rows[0]!))
            }
          },
        })
        for (const [table, more] of [
          ['attachment_types', ['existing_id']],
          ['indicator_sources', ['existing_id', 'existing_indicator_id', 'existing_source_id', 'existing_tlp_id']],
        ] as const) {
          const wanted = [...dumpColumns(TABLE_BY_NAME.get(table)!).map(({ name }) => name), ...more]
          assert.deepEqual(
            wanted.filter((name) => !seen.get(table)!.includes(name)),
            [],
            table,
          )
        }
        const left =
          dialect === 'sqlite'
            ? await one(library, `select count(*) as n from sqlite_master where name like 'sync_import%'`)
            : await one(library, `select count(*) as n from pg_class where relname like 'sync_import%'`)
        assert.equal(Number(left.n), 0)
      })
    })

    test('L12 a run that died goes on where it was, and ends as if nothing had been', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const rows = many(40)
        const change = await dieAfter(library, rows, 60)
        const half = await one(library, COUNTS)
        assert.deepEqual([half.changes, half.runs, half.indicators].map(Number), [1, 1, 40])
        assert.equal((await stateDigest(library)).tables.indicators?.rows ?? 0, 0)
        const staging = await openStaging(library, {
          run: 'again',
          pid: 1,
          kind: 'sync',
          site: 'alpha',
          resume: change,
        })
        assert.equal(staging.change, change)
        assert.ok(staging.loaded.has('indicators'))
        await staging.load(TABLE_BY_NAME.get('indicators')!, [], { shard: 'indicators' })
        const steps: number[] = []
        const report = await merge(library, staging, SYNC, {
          onProgress: ({ step, done }) => step === 'insert' && steps.push(done),
        })
        assert.ok(
          steps.some((done) => done >= 40),
          'what was inserted is not inserted again',
        )
        assert.deepEqual(countsOf(report, 'indicators'), { inserted: 40 })
        await withFreshLibrary(dialect, async (fresh) => {
          await rows.merge(fresh)
          assert.equal((await stateDigest(library)).digest, (await stateDigest(fresh)).digest)
        })
      })
    })

    test('L03 what a dead run left is swept by the next import, what lives is not', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await dieAfter(library, many(20), 15)
        const alive = await many(3).stage(library, { run: 'alive' })
        const counts = await one(library, COUNTS)
        assert.deepEqual([counts.changes, counts.runs, counts.points, counts.indicators].map(Number), [1, 1, 0, 0])
        assert.equal(await sweepStaging(library), 0)
        await assert.rejects(
          openStaging(library, { run: 'thief', pid: 1, kind: 'sync', resume: alive.change }),
          (error: { code?: string }) => error.code === 'E_MERGE_BUSY',
        )
        const report = await merge(library, alive, SYNC)
        assert.deepEqual(countsOf(report, 'indicators'), { inserted: 3 })
      })
    })

    test('a local insert adopts an unseen row of its natural key, whether the run ends or dies', async () => {
      for (const ends of [true, false])
        await withFreshLibrary(dialect, async (library) => {
          const rows = many(30)
          const change = await dieAfter(library, rows, 25)
          const mine = new StagedRows()
          const id = mine.indicator('FQDN', 'host-3.example', { uid: 'mine', description: 'mine', at: 5000 })
          mine.attribute(id, 'Mine', 'x')
          const added = await mine.merge(library, LOCAL, local)
          assert.deepEqual(countsOf(added, 'indicators'), { inserted: 1 })
          assert.equal((await stateDigest(library)).tables.indicators!.rows, 1)
          if (!ends) {
            assert.equal(await sweepStaging(library), 1)
            const left = await one(library, 'select count(*) as n, max(description) as text from indicators')
            assert.deepEqual([Number(left.n), left.text], [1, 'mine'])
            const attributes = await one(library, 'select count(*) as n from indicator_attributes')
            assert.equal(Number(attributes.n), 1)
            return
          }
          const staging = await openStaging(library, {
            run: 'again',
            pid: 1,
            kind: 'sync',
            site: 'alpha',
            resume: change,
          })
          const report = await merge(library, staging, SYNC)
          assert.equal((await stateDigest(library)).tables.indicators!.rows, 30)
          const row = await one(library, `select description from indicators where normalized = 'host-3.example'`)
          assert.equal(row.description, 'mine')
          // It was made earlier there.
          assert.deepEqual(countsOf(report, 'indicators'), { inserted: 29, updated: 1 })
        })
    })

    test('rows that change between comparison and the last transaction are compared again', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await many(5).merge(library)
        const next = new StagedRows()
        for (let i = 0; i < 5; i++) next.indicator('FQDN', `host-${i}.example`, { description: 'theirs', at: 2000 })
        next.indicator('FQDN', 'new.example', { description: 'theirs', at: 2000 })
        const staging = await next.stage(library)
        let isDone = false
        const report = await merge(library, staging, SYNC, {
          onProgress: ({ step }) => {
            if (step === 'apply') isDone = true
          },
          beforePublish: async () => assert.ok(isDone),
        }).catch(async (error) => {
          await staging.drop()
          throw error
        })
        assert.deepEqual(countsOf(report, 'indicators'), { inserted: 1, updated: 5 })
      })
    })

    test('others write between comparison and the end: their edits stay, their rows are met', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await many(4).merge(library)
        const next = new StagedRows()
        for (let i = 0; i < 4; i++) next.indicator('FQDN', `host-${i}.example`, { description: 'theirs', at: 2000 })
        const fresh = next.indicator('FQDN', 'new.example', { description: 'theirs', at: 2000 })
        next.attribute(fresh, 'Kind', 'theirs')
        const staging = await next.stage(library)
        const mine = new StagedRows()
        mine.indicator('FQDN', 'host-1.example', { description: 'mine', at: 1500 })
        // The newer one: it stays, whichever of both is there first.
        mine.indicator('FQDN', 'new.example', { uid: 'mine', description: 'mine too', at: 2500 })
        let writing: Promise<unknown> | undefined
        const controller = merge(
          library,
          staging,
          { ...SYNC, objectLimit: 1 },
          {
            onProgress: ({ step }) => {
              if (step === 'insert') writing ??= mine.merge(library, LOCAL, local)
            },
          },
        )
        const report = await controller
        await writing
        const { rows } = await sql<{ value: string; description: string }>`
          select value, description from indicators where description <> 'theirs' order by value`.execute(
          library.database.db,
        )
        const total = await one(library, 'select count(*) as n from indicators')
        assert.equal(Number(total.n), 5)
        assert.ok(report.seq !== undefined)
        // Whoever came last: a local edit is never lost.
        assert.deepEqual(rows.map(({ value }) => value).sort(), ['host-1.example', 'new.example'])
      })
    })
  })
