import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import { ColdtrailError } from '../../src/core/errors.ts'
import { newChange, publish } from '../../src/library/changes.ts'
import {
  abandonRun,
  beginRun,
  configHashes,
  deadRuns,
  findRun,
  isAlive,
  listRuns,
  unfinishedRuns,
} from '../../src/sync/synchronizations.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'

const CONFIG = { include_deleted: false, tlp: null, z: 1, a: 'ä' }

test('P45: hash is the MD5 of canonical JSON, whatever the order of keys, and SHA-256 beside it', () => {
  const text = '{"a":"ä","include_deleted":false,"tlp":null,"z":1}'
  assert.deepEqual(configHashes(CONFIG), { hash: hash('md5', text), sha256: hash('sha256', text) })
  assert.deepEqual(configHashes({ z: 1, a: 'ä', tlp: null, include_deleted: false }), configHashes(CONFIG))
  assert.notDeepEqual(configHashes({ ...CONFIG, tlp: 'green' }), configHashes(CONFIG))
})

for (const dialect of DIALECTS) {
  describe(dialect, () => {
    test('P44, P46: the record is there from the beginning, without an end, and is finalised on completion', () =>
      withFreshLibrary(dialect, async (library) => {
        const run = await beginRun(library, { type: 'import', config: CONFIG, options: { file: 'x.tar.gz' } })
        const begun = await findRun(library, run.run)
        assert.ok(begun)
        assert.equal(begun.type, 'import')
        assert.equal(begun.state, 'running')
        assert.equal(begun.finishedAt, null)
        assert.equal(begun.pid, process.pid)
        assert.deepEqual(begun.config, CONFIG)
        assert.deepEqual(begun.report, { options: { file: 'x.tar.gz' } })
        assert.equal(begun.hash, configHashes(CONFIG).hash)
        assert.match(begun.run, /^[0-9a-f]{8}-[0-9a-f]{4}-7/)
        assert.equal(await isAlive(library, begun), true)

        await run.note({ change: 7, report: { bundle: { seq: 1 } } })
        await run.finish({ totals: { inserted: 3 }, at: 5n })
        const ended = await findRun(library, run.run)
        assert.ok(ended)
        assert.equal(ended.state, 'finished')
        assert.ok(ended.finishedAt! >= ended.startedAt)
        assert.equal(ended.change, 7)
        assert.deepEqual(ended.report, {
          options: { file: 'x.tar.gz' },
          bundle: { seq: 1 },
          totals: { inserted: 3 },
          at: 5,
        })
        assert.equal(await isAlive(library, ended), false)
      }))

    test('a failed run says why, with the row of the error table', () =>
      withFreshLibrary(dialect, async (library) => {
        const run = await beginRun(library, { type: 'import', config: {}, options: {} })
        await run.fail(new ColdtrailError('E_SYNC_HASH', { table: 'events', rows: 2 }))
        const { state, report } = (await findRun(library, run.run))!
        assert.equal(state, 'failed')
        assert.equal((report.error as { code: string }).code, 'E_SYNC_HASH')
      }))

    test('runs that died are told from living ones, and those that can be gone on with from the rest', () =>
      withFreshLibrary(dialect, async (library) => {
        const begin = (file: string) => beginRun(library, { type: 'import', config: { file }, options: {} })
        const [alive, died, seen, failed] = [await begin('a'), await begin('b'), await begin('c'), await begin('d')]
        for (const run of [alive, died, seen, failed]) {
          const change = await library.database.write(async (tx) => {
            const change = await newChange(tx, { kind: 'sync', run: run.run })
            if (run === seen) await publish(tx, change)
            return change
          })
          await run.note({ change })
        }
        await died.release()
        await seen.release()
        await failed.fail(new Error('no'))
        const names = (runs: readonly { run: string }[]) => runs.map(({ run }) => run).sort()
        assert.deepEqual(names(await deadRuns(library, 'import')), names([died, seen]))
        assert.deepEqual(names(await unfinishedRuns(library, 'import')), names([died, failed]))
        assert.deepEqual(await unfinishedRuns(library, 'export'), [])

        await abandonRun(library, (await findRun(library, died.run))!, 'The process died.')
        assert.equal((await findRun(library, died.run))!.state, 'failed')
        assert.equal((await listRuns(library)).length, 4)
        await alive.release()
      }))
  })
}
