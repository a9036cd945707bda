/** Real `./coldtrail sync import` processes, killed. A seeded sample: the whole count is `npm run soak -- import`. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openLibrary } from '../../src/library/library.ts'
import { inTemporary, jsonLines, runColdtrail } from '../cli/runColdtrail.ts'
import { IMPORT_POINTS, importKills } from '../support/importKills.ts'
import { postgresUrl } from '../support/postgres.ts'
import { emptyDatabase } from '../support/postgresServer.ts'
import { sampleSite, siteBundle } from '../support/siteBundle.ts'

interface Imported {
  readonly resumed_run?: string
  readonly shards: { readonly loaded: number; readonly loaded_before: number }
  readonly totals: { readonly inserted: number }
}

test('T2: an import that is killed over and over ends, row for row, as one that nobody disturbed', async () => {
  const totals = await importKills({ kills: 2 * IMPORT_POINTS.length, seed: 20_261_121, budget: 120_000 })
  assert.deepEqual(totals.differences, [])
  assert.ok(totals.kills >= 4 && totals.resumed > 0, `${totals.kills} kills, ${totals.resumed} resumed`)
})

test('T2: the same with PostgreSQL', async () => {
  const server = await postgresUrl()
  const url = (name: string) => emptyDatabase(server, `import_${name.replace('-', '_')}`)
  const totals = await importKills({ kills: 4, seed: 7, url, budget: 90_000 })
  assert.deepEqual(totals.differences, [])
  assert.ok(totals.kills >= 4, `${totals.kills} kills`)
})

test('L12, T2: a run that goes on loads no dump file and inserts no row again that was there when it died: at most 5 %', () =>
  inTemporary(async (place) => {
    const [count, files] = [2_000, 40]
    const { files: bundle } = await siteBundle(place, {
      site: sampleSite(place, 'low'),
      rows: {
        indicator_types: [{ name: 'FQDN' }],
        indicators: Array.from({ length: count }, (_, i) => ({ type_id: '1', value: `host${i}.example` })),
      },
      limit: count / files,
    })
    writeFileSync(join(place, 'coldtrail.yaml'), 'site: high\ndata_dir: data\n')
    const imported = async (fault?: string) => {
      const environment: Record<string, string> = fault === undefined ? {} : { COLDTRAIL_FAULT: fault }
      const args = ['sync', 'import', `--file=${bundle[0]}`, '--object-limit', '20', '--json']
      const { status, stdout } = await runColdtrail(args, { cwd: place, environment })
      assert.equal(status === 0, fault === undefined, `${fault}: ${status} ${stdout}`)
      return fault === undefined ? (jsonLines(stdout)[0] as unknown as Imported) : undefined
    }
    const inserted = async (): Promise<number> => {
      const library = await openLibrary({ dataDir: join(place, 'data') })
      try {
        const { n } = await library.database.db
          .selectFrom('indicators')
          .select((select) => select.fn.countAll<number>().as('n'))
          .executeTakeFirstOrThrow()
        return Number(n)
      } finally {
        await library.close()
      }
    }
    await imported('staging.loaded:11')
    // Eleven more, and not one of the eleven that are there.
    await imported('staging.loaded:11')
    await imported('merge.inserted:3')
    // None of its three transactions, of which one may have to be done again, is more than 5 %.
    const first = await inserted()
    assert.ok(first >= 3 * 20 && first <= 3 * 0.05 * count, `${first} rows in three transactions`)
    await imported('merge.inserted:3')
    const second = await inserted()
    assert.ok(second - first >= 3 * 20 && second - first <= 3 * 0.05 * count, `${second - first} rows more`)
    const { shards, totals, resumed_run: resumed } = (await imported())!
    assert.ok(resumed)
    assert.deepEqual([shards.loaded, shards.loaded_before], [0, files + 1])
    assert.equal(totals.inserted, count)
    assert.equal(await inserted(), count)
  }))

test('L12: of a run that died while it loaded, only the dump file under way is loaded again', () =>
  inTemporary(async (place) => {
    const { files: bundle } = await siteBundle(place, {
      site: sampleSite(place, 'low'),
      rows: {
        indicator_types: [{ name: 'FQDN' }],
        indicators: Array.from({ length: 400 }, (_, i) => ({ type_id: '1', value: `host${i}.example` })),
      },
      limit: 10,
    })
    writeFileSync(join(place, 'coldtrail.yaml'), 'site: high\ndata_dir: data\n')
    const args = ['sync', 'import', `--file=${bundle[0]}`, '--json']
    await runColdtrail(args, { cwd: place, environment: { COLDTRAIL_FAULT: 'staging.loaded:31' } })
    const { status, stdout } = await runColdtrail(args, { cwd: place })
    assert.equal(status, 0, stdout)
    const { shards } = jsonLines(stdout)[0] as unknown as Imported
    assert.deepEqual([shards.loaded_before, shards.loaded], [31, 10])
  }))
