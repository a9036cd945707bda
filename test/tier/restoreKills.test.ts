/** A restore and a removal are killed at every step: what exists is whole, and the next run makes the rest. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { FAULT_POINTS } from '../../src/platform/faults.ts'
import { type Catalog, openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { isHeldHere } from '../../src/store/heldFile.ts'
import { copyFaults } from '../../src/store/verifyCopies.ts'
import { restore } from '../../src/tier/restore.ts'
import { SampleStore } from '../support/sampleStore.ts'

suite('killed', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'coldtrail-restore-kills-'))
  const backup = join(scratch, 'backup')
  const origin = join(scratch, 'origin')
  let copies = 0

  before(async () => {
    const store = await SampleStore.create()
    for (const key of ['a', 'b'])
      await store.seal([{ key, events: [{ time: 1e15, columns: { actor_user_name: key } }, { columns: {} }] }])
    mkdirSync(backup)
    const home = store.catalog.collectionDirectory('main')
    for (const { files } of await store.catalog.segments())
      for (const { name } of files) renameSync(join(home, name), join(backup, `tape-${copies++}`))
    await store.catalog.close()
    cpSync(store.dataDir, origin, { recursive: true })
    rmSync(store.dataDir, { recursive: true, force: true })
  })
  after(() => rmSync(scratch, { recursive: true, force: true }))

  const copyOf = (directory: string): string => {
    const dataDir = join(scratch, `data-${++copies}`)
    cpSync(directory, dataDir, { recursive: true })
    return dataDir
  }
  const ended = (dataDir: string, what: string, fault: string): Promise<number | NodeJS.Signals | null> => {
    const program = join(import.meta.dirname, '../support/restoreProcess.ts')
    const env = { ...process.env, COLDTRAIL_FAULT: fault }
    const child = spawn(process.execPath, [program, dataDir, what], { env, stdio: ['ignore', 'ignore', 'inherit'] })
    return new Promise((resolve) => child.on('close', (status, signal) => resolve(signal ?? status)))
  }
  const restored = (catalog: Catalog) =>
    restore({
      ...{ catalog, collection: 'main', workbench: 'case1', folder: backup, reason: 'again' },
      expires: (Date.now() + 86_400_000) * 1_000,
    })
  /** Events in the workbench; null where there is none. Every copy is as it was sealed, and the chain is whole. */
  const sound = async (catalog: Catalog): Promise<number | null> => {
    for (const { faults } of await catalog.verifyChain()) assert.deepEqual(faults, [])
    if ((await catalog.workbenches()).length === 0) return null
    for await (const fault of copyFaults(catalog, 'case1', { onFile: () => undefined })) assert.fail(fault.file)
    const rows = await catalog.segments({ collection: 'case1', state: 'live' })
    return rows.reduce((sum, row) => sum + (isHeldHere(row, 'meta') ? row.rows : 0), 0)
  }

  test('while it restores', async () => {
    const own = FAULT_POINTS.filter((name) => /^(restore|custody)\./.test(name))
    const points = [
      ...own,
      'commit.rows-written',
      'commit.link-written',
      'commit.done',
      'restore.copied:5',
      'file.renamed:8',
    ]
    for (const fault of points) {
      const dataDir = copyOf(origin)
      assert.equal(await ended(dataDir, backup, fault), 'SIGKILL', fault)
      const catalog = await openCatalog({ dataDir })
      const before = await sound(catalog)
      assert.ok(before === null || before === 4, `${fault}: ${before}`)
      const again = await restored(catalog)
      assert.deepEqual([again.segments, again.faults], [[1, 2], []], fault)
      assert.ok(!fault.startsWith('restore.copied') || again.present > 0, 'what was copied is not copied again')
      assert.equal(await sound(catalog), 4, fault)
      const done = (await catalog.custody('main')).filter(({ link }) => link !== null)
      assert.equal(done.length, 1, fault)
      await catalog.close()
      if (fault === 'commit.link-written') {
        await rebuildCatalog({ dataDir })
        const rebuilt = await openCatalog({ dataDir })
        assert.equal(await sound(rebuilt), 4, fault)
        await rebuilt.close()
      }
      rmSync(dataDir, { recursive: true })
    }
  })

  test('while it is removed', async () => {
    const base = copyOf(origin)
    const first = await openCatalog({ dataDir: base })
    const { directory } = await restored(first)
    await first.close()
    const inside = directory.slice(base.length)
    for (const fault of ['custody.written', 'commit.link-written', 'commit.done', 'workbench.unlinked']) {
      const dataDir = copyOf(base)
      assert.equal(await ended(dataDir, 'remove', fault), 'SIGKILL', fault)
      const catalog = await openCatalog({ dataDir })
      const left = await sound(catalog)
      assert.ok(left === null || left === 4, fault)
      if (left !== null) {
        const owner = await catalog.owner('restore')
        await catalog.removeWorkbench(owner, 'case1', 'again')
        await owner.release()
      }
      await catalog.sweep({ graceMs: 0 })
      assert.ok(!existsSync(dataDir + inside), fault)
      assert.equal(await sound(catalog), null)
      // The name is free again.
      assert.deepEqual((await restored(catalog)).segments, [1, 2], fault)
      await catalog.close()
      rmSync(dataDir, { recursive: true })
    }
  })
})
