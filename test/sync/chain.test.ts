/** The releases of ATT&CK for ICS carried from one site to another whose types have other ids (T5, T6). */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { type Coldtrail, loadConfig, open } from '../../src/index.ts'
import { openLibrary } from '../../src/library/library.ts'
import { DIALECTS, type Dialect } from '../support/freshLibrary.ts'
import { postgresUrl } from '../support/postgres.ts'
import { emptyDatabase } from '../support/postgresServer.ts'

const STIX = join(import.meta.dirname, '../../../shared/data/stix')
const RELEASES = ['16.1', '17.1', '18.1'].map((version) => join(STIX, `ics-attack-${version}.json`))

const place = mkdtempSync(join(tmpdir(), 'coldtrail-chain-'))
after(() => rmSync(place, { recursive: true, force: true }))

/** A site of its own data directory and database; its dictionaries have other ids when `reversed`. */
async function site(dialect: Dialect, name: string, reversed = false): Promise<Coldtrail> {
  const data = join(place, `${dialect}-${name}`)
  const url = dialect === 'postgres' ? await emptyDatabase(await postgresUrl(), `chain_${name}`) : undefined
  const file = join(place, `${dialect}-${name}.yaml`)
  writeFileSync(file, `site: ${name}\ndata_dir: ${data}\n${url === undefined ? '' : `catalog_url: ${url}\n`}`)
  if (reversed) await (await openLibrary({ dataDir: data, url, seedOrder: 'reversed' })).close()
  return open(loadConfig({ file }))
}

const skip = RELEASES.every((file) => existsSync(file)) ? false : 'the releases are not beside this checkout'

for (const dialect of DIALECTS) {
  describe(dialect, { skip }, () => {
    test('T6: after each release both sites have one digest, removals included, and the exports are deltas by themselves', async () => {
      const low = await site(dialect, 'low')
      const high = await site(dialect, 'high', true)
      try {
        const digests = new Set<string>()
        for (const [i, release] of RELEASES.entries()) {
          const [brought] = await low.library.import({ files: [release], mirror: true })
          assert.equal(brought!.quarantined, 0)
          const target = join(place, dialect, String(i))
          const exported = await low.sync.export({ target })
          assert.equal(exported.error, undefined)
          assert.equal(exported.bundle?.kind, i === 0 ? 'full' : 'delta')
          assert.equal(exported.bundle?.seq, i + 1)

          const imported = await high.sync.import({ file: exported.files[0]!, reportDir: place })
          assert.equal(imported.error, undefined)
          assert.equal(imported.conflict_count, 0)
          assert.equal(imported.totals.quarantined + imported.totals.kept, 0)
          if (i === 0) assert.deepEqual([imported.state?.identical, imported.key?.pinned_now], [true, true])
          else assert.ok(imported.totals.deleted > 0, 'the release has removals')

          const [here, there] = [await low.sync.state(), await high.sync.state()]
          assert.deepEqual(there.tables, here.tables)
          assert.equal(there.digest, here.digest)
          assert.deepEqual(await high.library.stats(), await low.library.stats())
          digests.add(here.digest)
        }
        assert.equal(digests.size, RELEASES.length)

        // A second full bundle of what is here already is not even staged.
        const full = await low.sync.export({ target: join(place, dialect, 'full'), base: 'full' })
        const first = await high.sync.import({ file: full.files[0]!, reportDir: place })
        assert.deepEqual([first.error, first.result, first.state?.identical], [undefined, 'unchanged', true])
        const again = await low.sync.export({ target: join(place, dialect, 'again'), base: 'full' })
        const second = await high.sync.import({ file: again.files[0]!, reportDir: place })
        assert.deepEqual(
          [second.error, second.result, second.shards.loaded + second.shards.ids_only],
          [undefined, 'unchanged', 0],
        )
        assert.equal((await high.sync.import({ file: again.files[0]!, reportDir: place })).result, 'known')
      } finally {
        await low.close()
        await high.close()
      }
    })
  })
}
