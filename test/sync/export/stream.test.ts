/** What a bundle continues, acknowledgements, and that no clock decides what goes (L02, L10, L11, L13; T4). */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { newChange, publish } from '../../../src/library/changes.ts'
import type { Library } from '../../../src/library/library.ts'
import { takeAck, writeAck } from '../../../src/sync/acknowledge.ts'
import { recordApplied } from '../../../src/sync/import/admission.ts'
import { loadSite } from '../../../src/sync/siteKeys.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { putRows } from '../../support/libraryRows.ts'
import { bundleOf, column, exportOf, type ReadBundle, readBundle } from './exportSite.ts'

const add = (library: Library, ...values: string[]) =>
  putRows(library, async (put) => {
    for (const value of values) await put('indicators', { type_id: 'String', value })
  })

const values = (bundle: ReadBundle) => column(bundle.rows.indicators, 'value')

/** What the import of a target leaves in its ledger, and its acknowledgement. */
async function acknowledged(target: Library, path: string, name = 'high'): Promise<string> {
  const { manifest } = await readBundle(path)
  const { sha256Hex, serializeManifest } = await import('../../../src/sync/bundle/manifest.ts')
  const manifestSha256 = sha256Hex(serializeManifest(manifest))
  await target.database.write((tx) => recordApplied(tx, { manifest, manifestSha256 }, `run ${manifest.seq}`))
  const site = loadSite(target.dataDir, name)
  return (await writeAck(target, { site, target: join(target.dataDir, 'acks'), bundle: manifest.bundle })).file
}

const take = (library: Library, path: string) => {
  const site = loadSite(library.dataDir)
  return takeAck(library, { path, site, trust: { mode: 'first_use', own: site } })
}

for (const dialect of DIALECTS)
  describe(`streams of ${dialect}`, () => {
    test('L13: all since the last full bundle until an acknowledgement came, then all since the lowest acknowledged', async () => {
      await withFreshLibrary(dialect, (library) =>
        withFreshLibrary('sqlite', (high) =>
          withFreshLibrary('sqlite', async (other) => {
            await add(library, 'one')
            const first = await bundleOf(library)
            assert.deepEqual([first.manifest.kind, values(first)], ['full', ['one']])

            await add(library, 'two')
            const second = await exportOf(library)
            const secondBundle = await readBundle(second.files[0]!)
            assert.deepEqual([secondBundle.manifest.kind, secondBundle.manifest.base_seq], ['delta', 1])
            assert.deepEqual(values(secondBundle), ['two'])
            assert.equal(secondBundle.manifest.covered[0]!.name, first.manifest.bundle)

            await add(library, 'three')
            const third = await bundleOf(library)
            assert.deepEqual(values(third), ['three', 'two'], 'cumulative: a lost disc heals itself')
            assert.deepEqual([third.manifest.seq, third.manifest.base_seq], [3, 1])

            const taken = await take(library, await acknowledged(high, second.files[0]!))
            assert.deepEqual([taken.known, taken.pinned, taken.ack.site], [false, true, 'high'])
            const fourth = await exportOf(library)
            const fourthBundle = await readBundle(fourth.files[0]!)
            assert.deepEqual([fourthBundle.manifest.base_seq, values(fourthBundle)], [2, ['three']])

            // A second site that is further behind holds the base back.
            await take(library, await acknowledged(high, fourth.files[0]!))
            assert.deepEqual(values(await bundleOf(library)), [])
            await take(library, await acknowledged(other, second.files[0]!, 'other'))
            const sixth = await bundleOf(library)
            assert.deepEqual([sixth.manifest.base_seq, values(sixth)], [2, ['three']])
          }),
        ),
      )
    })

    test('T4: of many rows with one and the same time each goes once, whatever is cut: files, windows, deltas', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const half = 400
        const time = 1_547_660_837_000_000
        const put = (from: number) =>
          putRows(library, async (put) => {
            for (let i = from; i < from + half; i++)
              await put('indicators', { type_id: 'String', value: `v${i}`, created_at: time, updated_at: time })
          })
        const numbers = (bundle: ReadBundle) => values(bundle).map((value) => Number(value!.slice(1)))
        const all = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
        await put(0)
        const first = await bundleOf(library, { objectLimit: 7 })
        assert.deepEqual(
          numbers(first).sort((a, b) => a - b),
          all(0, half),
        )
        assert.equal(first.manifest.entries.filter(({ path }) => path.startsWith('data/indicators-')).length, 58)
        await put(half)
        const second = await bundleOf(library, { objectLimit: 7 })
        assert.deepEqual(
          numbers(second).sort((a, b) => a - b),
          all(half, 2 * half),
        )
        const at = time / 1_000
        for (const [start, end, rows] of [
          [at, at + 1, 2 * half],
          [null, at, 0],
          [at + 1, null, 0],
        ] as const)
          assert.equal(numbers(await bundleOf(library, { window: { start, end }, objectLimit: 7 })).length, rows)
      })
    })

    test('--full, --delta and --differential choose the base, and refuse one that is not there', async () => {
      await withFreshLibrary(dialect, (library) =>
        withFreshLibrary('sqlite', async (high) => {
          await add(library, 'one')
          for (const base of ['delta', 'differential'] as const)
            assert.equal((await exportOf(library, { base })).error?.code, 'E_SYNC_BASE')
          await bundleOf(library)
          await add(library, 'two')
          const second = await exportOf(library)
          await take(library, await acknowledged(high, second.files[0]!))
          await add(library, 'three')
          const of = async (base: 'full' | 'delta' | 'differential' | 'auto') => {
            const bundle = await bundleOf(library, { base })
            return [bundle.manifest.kind, bundle.manifest.base_seq, values(bundle)]
          }
          assert.deepEqual(await of('delta'), ['delta', 2, ['three']])
          assert.deepEqual(await of('differential'), ['differential', 1, ['three', 'two']])
          assert.deepEqual(await of('auto'), ['delta', 2, ['three']])
          assert.deepEqual(await of('full'), ['full', 0, ['one', 'three', 'two']])
        }),
      )
    })

    test('P22: a stream is an audience and a configuration; where it is written is none', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await add(library, 'one')
        const kinds = []
        for (const options of [
          {},
          { target: join(library.dataDir, 'elsewhere') },
          { audience: 'high' },
          { audience: 'high' },
          { config: { include_deleted: true } },
          { config: { tlp: 'green' } },
          { config: { where: "value == 'one'" } },
          {},
        ]) {
          const { manifest } = await bundleOf(library, options)
          kinds.push([manifest.kind, manifest.seq])
        }
        assert.deepEqual(kinds, [
          ['full', 1],
          ['delta', 2],
          ['full', 1],
          ['delta', 2],
          ['full', 1],
          ['full', 1],
          ['full', 1],
          ['delta', 3],
        ])
      })
    })

    test('T4, L02: a row that is committed late with an early timestamp goes with the next bundle', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const day = 86_400_000_000
        const now = Date.now() * 1_000
        await add(library, 'before')
        // A run under way: its rows are there, its change has no place yet.
        const { change } = await putRows(
          library,
          async (put) => {
            const early = { created_at: now - day, updated_at: now - day }
            await put('indicators', { type_id: 'String', value: 'late', ...early })
            return { change: put.change }
          },
          { published: false },
        )
        const first = await bundleOf(library)
        assert.deepEqual(values(first), ['before'], 'what nobody sees does not go')
        await library.database.write((tx) => publish(tx, change))
        // Clocks that are a day apart, and many rows of one moment.
        await putRows(library, async (put) => {
          const ahead = { created_at: now + day, updated_at: now + day }
          await put('indicators', { type_id: 'String', value: 'ahead', ...ahead })
          for (let i = 0; i < 50; i++)
            await put('indicators', { type_id: 'String', value: `equal ${i}`, created_at: now, updated_at: now })
        })
        const second = await bundleOf(library)
        assert.equal(second.rows.indicators!.length, 52)
        assert.ok(values(second).includes('late') && values(second).includes('ahead'))
        assert.equal(second.manifest.horizon > first.manifest.horizon, true)
      })
    })

    test('L10, P21: a delta has tombstones of what was deleted, and the unchanged parents of what was added', async () => {
      await withFreshLibrary(dialect, async (library) => {
        const { host, port } = await putRows(library, async (put) => ({
          host: await put('indicators', { type_id: 'FQDN', value: 'a.example.com' }),
          port: await put('attributes', { name: 'Port' }),
          other: await put('indicators', { type_id: 'FQDN', value: 'b.example.com' }),
        }))
        await bundleOf(library)
        await putRows(library, (put) =>
          put('indicator_attributes', { indicator_id: host, attribute_id: port, value: '443' }),
        )
        await library.database.write(async (tx) => {
          const change = await newChange(tx, { kind: 'local' })
          await tx
            .updateTable('indicators')
            .set({ deleted_at: 7, change })
            .where('value', '=', 'b.example.com')
            .execute()
          await publish(tx, change)
        })
        const delta = await bundleOf(library)
        assert.deepEqual(values(delta), ['a.example.com'])
        assert.deepEqual(column(delta.rows.indicator_types, 'name'), ['FQDN'])
        assert.deepEqual(column(delta.rows.attributes, 'name'), ['Port'])
        assert.deepEqual(
          delta.gone.indicators!.map(({ deleted_at, nk }) => [deleted_at, nk!.length]),
          [['7', 64]],
        )
        assert.equal(delta.rows.tlp, undefined)
      })
    })

    test('S3: an acknowledgement that is altered, of another site, of an unknown bundle or for another audience is refused', async () => {
      await withFreshLibrary(dialect, (library) =>
        withFreshLibrary('sqlite', (high) =>
          withFreshLibrary('sqlite', async (stranger) => {
            await add(library, 'one')
            const summary = await exportOf(library, { audience: 'high' })
            const file = await acknowledged(high, summary.files[0]!)
            const good = readFileSync(file, 'utf8')
            const refused = async (text: string, pattern: RegExp, code = 'E_SYNC_ACK') => {
              const path = join(library.dataDir, 'ack.json')
              writeFileSync(path, text)
              await assert.rejects(take(library, path), (error: { code: string; message: string }) => {
                assert.equal(error.code, code)
                assert.match(error.message, pattern)
                return true
              })
              const rows = await library.database.db.selectFrom('sync_acks').selectAll().execute()
              assert.deepEqual(rows, [])
              assert.deepEqual(await library.database.db.selectFrom('sync_keys').selectAll().execute(), [])
            }
            await refused(good.replace('"seq":1', '"seq":2'), /signature/)
            await refused(good.replace(/"signature":"./, '"signature":"_'), /signature/)
            await refused(`${good}\n`, /canonical/)
            await refused(good.slice(0, -9), /JSON/)
            await refused('{}', /ack/)
            await refused(JSON.stringify({ ...JSON.parse(good), more: 1 }), /more|nrecognized/)
            await refused(' '.repeat(2_000_000), /larger/)
            await refused(
              readFileSync(await acknowledged(stranger, summary.files[0]!, 'low'), 'utf8'),
              /was for the site high/,
            )
            // Of a bundle that another site exported, and of one that this site never did.
            await add(stranger, 'two')
            const foreign = await exportOf(stranger)
            await refused(readFileSync(await acknowledged(high, foreign.files[0]!), 'utf8'), /it is for the site/)
            await library.database.db.deleteFrom('sync_exports').execute()
            await refused(good, /no bundle/)
          }),
        ),
      )
    })

    test('the same acknowledgement twice is known; another key of a site that is known is refused', async () => {
      await withFreshLibrary(dialect, (library) =>
        withFreshLibrary('sqlite', (high) =>
          withFreshLibrary('sqlite', async (impostor) => {
            await add(library, 'one')
            const summary = await exportOf(library)
            const file = await acknowledged(high, summary.files[0]!)
            await take(library, file)
            assert.deepEqual([(await take(library, file)).known, (await take(library, file)).pinned], [true, false])
            await assert.rejects(
              acknowledged(impostor, summary.files[0]!).then((path) => take(library, path)),
              { code: 'E_BUNDLE_KEY' },
            )
          }),
        ),
      )
    })
  })
