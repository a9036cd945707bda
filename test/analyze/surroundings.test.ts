/** Analyses on a machine that has no room: a full disk, a catalog that somebody else holds, memory that is not allowed. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, afterEach, before, test } from 'node:test'
import type { AnalyzeStatus } from '../../src/analyze/status.ts'
import { ColdtrailError } from '../../src/core/errors.ts'
import { open, parseConfig } from '../../src/index.ts'
import { openCatalog } from '../../src/store/catalog.ts'
import { EVENTS, runAnalysis, sampleStore, tagsOf } from '../support/analyses.ts'
import { SampleStore } from '../support/sampleStore.ts'
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

test('the counters of a run are those of a plain count: superseded events, those outside of the times, those filtered', async () => {
  const store = await SampleStore.create()
  undo.push(() => rmSync(store.dataDir, { recursive: true, force: true }))
  const MINUTE = 60e6
  const events = (count: number, of: string) =>
    Array.from({ length: count }, (_, i) => ({
      time: i * MINUTE,
      columns: { data_type: 'test:entry', message: `${of} ${i % 3 === 0 ? 'odd' : 'even'}` },
    }))
  const untimed = { columns: { data_type: 'test:entry', message: 'untimed odd' } }
  await store.seal([
    { key: 'replaced', version: 'v1', lastModified: 1, events: events(30, 'old') },
    { key: 'kept', events: [...events(20, 'kept'), untimed] },
  ])
  await store.seal([{ key: 'replaced', version: 'v2', lastModified: 2, events: events(40, 'new') }])
  const live = store.events.filter(({ key, version }) => key !== 'replaced' || version === 'v2')
  await store.catalog.close()
  const [from, to] = [5 * MINUTE, 25 * MINUTE]
  const inSlice = live.filter(({ time }) => time !== null && time >= from && time <= to)
  const matches = inSlice.filter(({ columns }) => String(columns.message).endsWith('odd'))
  const seen: AnalyzeStatus['events'][] = []
  const options = { expression: "message endswith 'odd'", from, to }
  const { report } = await runAnalysis(
    store.dataDir,
    { one_rule: { expression: 'id exists' } },
    {
      ...options,
      taskRows: 7,
      onStatus: ({ events }) => seen.push(events),
    },
  )
  const expected = { total: 91, filtered: 61 - matches.length, in_time_slice: inSlice.length, duplicates: 30 }
  const { total, filtered, in_time_slice, duplicates, analyzed } = report.events
  assert.deepEqual({ total, filtered, in_time_slice, duplicates }, expected)
  assert.equal(analyzed, matches.length)
  assert.equal(report.plugins[0]!.labels.marked, matches.length)
  const { filtered: shown, inTimeSlice, duplicates: repeats } = seen.at(-1)!
  assert.deepEqual([shown, inTimeSlice, repeats], [expected.filtered, expected.in_time_slice, expected.duplicates])
  for (const { total, filtered, duplicates, inTimeSlice } of seen)
    assert.ok(filtered + duplicates <= total && inTimeSlice <= total)
})

test('the first status waits for nothing: it is told before the call returns, and only where there are data', async () => {
  const dataDir = site()
  const text = (data_dir: string) => JSON.stringify({ data_dir })
  const place = { file: 'coldtrail.yaml', environment: {} }
  const coldtrail = await open(parseConfig(text(dataDir), place))
  undo.push(() => coldtrail.close())
  const seen: AnalyzeStatus[] = []
  const running = coldtrail.analysis.run({ plugins: ['nothing'], onStatus: (status) => seen.push(status) })
  assert.equal(seen.length, 1)
  assert.deepEqual([seen[0]!.run, seen[0]!.foreman.status, seen[0]!.foreman.pid], [null, 'initialized', process.pid])
  await assert.rejects(running, code('E_PLUGIN_UNKNOWN'))
  assert.equal(seen.at(-1)!.foreman.status, 'error')
  assert.equal(seen.at(-1)!.events.total, 0)

  const nowhere = await open(parseConfig(text(join(dataDir, 'none')), place))
  undo.push(() => nowhere.close())
  const told: AnalyzeStatus[] = []
  await assert.rejects(nowhere.analysis.run({ plugins: ['tagging'], onStatus: (status) => told.push(status) }))
  assert.deepEqual(told, [])
})
