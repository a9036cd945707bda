/** Analyses on a machine that has no room: a full disk, a catalog that somebody else holds, memory that is not allowed. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, afterEach, before, test } from 'node:test'
import { ColdtrailError } from '../../src/core/errors.ts'
import { openCatalog } from '../../src/store/catalog.ts'
import { EVENTS, runAnalysis, sampleStore, tagsOf } from '../support/analyses.ts'
import { smallDisk } from '../support/smallDisk.ts'

let pristine: string
before(async () => {
  pristine = await sampleStore()
})
after(() => rmSync(pristine, { recursive: true, force: true }))

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

function site(): string {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-analyze-'))
  undo.push(() => rmSync(directory, { recursive: true, force: true }))
  const dataDir = join(directory, 'data')
  cpSync(pristine, dataDir, { recursive: true })
  return dataDir
}

const code = (wanted: string) => (error: unknown) => error instanceof ColdtrailError && error.code === wanted
const PLUGINS = { one_rule: {}, sessionize: { maximum_pause: 2 } }

async function stateOf(dataDir: string, run: number): Promise<string | undefined> {
  const catalog = await openCatalog({ dataDir })
  try {
    return (await catalog.runs({ run }))[0]?.state
  } finally {
    await catalog.close()
  }
}

test('a disk that is full when a task file is written: the run fails, names it, tags nothing, and goes on when there is room', async (context) => {
  const disk = smallDisk(16 * 1024)
  if (typeof disk === 'string') return context.skip(disk)
  undo.push(disk.remove)
  const dataDir = site()
  mkdirSync(join(disk.path, 'analyze'))
  rmSync(join(dataDir, 'analyze'), { recursive: true, force: true })
  symlinkSync(join(disk.path, 'analyze'), join(dataDir, 'analyze'))
  await assert.rejects(runAnalysis(dataDir, PLUGINS), { code: 'E_DISK_FULL', message: /\/task-\d/ })
  assert.equal(await stateOf(dataDir, 1), 'failed')
  assert.deepEqual(await tagsOf(dataDir), [])
  disk.resize(16 * 2 ** 20)
  const { report } = await runAnalysis(dataDir, PLUGINS, { resume: 1 })
  assert.equal(report.state, 'finished')
  const undisturbed = site()
  await runAnalysis(undisturbed, PLUGINS)
  assert.deepEqual(await tagsOf(dataDir), await tagsOf(undisturbed))
})

test('a catalog that another process holds: it is waited for a minute, then the run is refused, and nothing hangs', async (context) => {
  const dataDir = site()
  const holder = new DatabaseSync(join(dataDir, 'catalog.db'))
  undo.push(() => holder.close())
  holder.exec('BEGIN IMMEDIATE')
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const run = runAnalysis(dataDir, PLUGINS)
  const refused = assert.rejects(run, code('E_CATALOG_BUSY'))
  const clock = setInterval(() => context.mock.timers.tick(20_000), 50)
  await refused
  clearInterval(clock)
  context.mock.timers.reset()

  const waiting = runAnalysis(dataDir, PLUGINS)
  setTimeout(() => holder.exec('ROLLBACK'), 200)
  const { report } = await waiting
  assert.equal(report.state, 'finished')
})

test('a foreman over its memory limit ends its run, which goes on where it was', async () => {
  const dataDir = site()
  await assert.rejects(runAnalysis(dataDir, PLUGINS, { processMemoryBytes: 1 }), code('E_ANALYSIS_MEMORY'))
  assert.equal(await stateOf(dataDir, 1), 'failed')
  assert.deepEqual(await tagsOf(dataDir), [])
  const { report } = await runAnalysis(dataDir, PLUGINS, { resume: 1, processMemoryBytes: 0 })
  assert.equal(report.state, 'finished')
  assert.equal(report.events.analyzed, EVENTS)
  assert.deepEqual(readdirSync(join(dataDir, 'analyze')), [])
})
