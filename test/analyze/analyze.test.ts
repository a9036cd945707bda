/** The analysis job as a whole: a real store, worker processes that really die, catalog and tag files on disk. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import type { AnalyzeOptions, AnalyzeSummary } from '../../src/analyze/analyze.ts'
import type { AnalyzeStatus } from '../../src/analyze/status.ts'
import { ColdtrailError } from '../../src/core/errors.ts'
import { openCatalog } from '../../src/store/catalog.ts'
import { EVENTS, runAnalysis, sampleStore, tagFileBytes, tagsOf } from '../support/analyses.ts'

let pristine: string
before(async () => {
  pristine = await sampleStore()
})
after(() => rmSync(pristine, { recursive: true, force: true }))

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

/** A copy of the store of its own. */
function site(): string {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-analyze-'))
  undo.push(() => rmSync(directory, { recursive: true, force: true }))
  const dataDir = join(directory, 'data')
  cpSync(pristine, dataDir, { recursive: true })
  return dataDir
}

const undisturbed = new Map<string, Promise<{ report: AnalyzeSummary['report']; tags: readonly string[] }>>()
/** What a run of these plugins comes to that nobody disturbs: one run, however many tests compare with it. */
function whole(plugins: Readonly<Record<string, Readonly<Record<string, unknown>>>>) {
  const name = JSON.stringify(plugins)
  const known =
    undisturbed.get(name) ??
    (async () => {
      const dataDir = site()
      const { report } = await runAnalysis(dataDir, plugins)
      return { report, tags: await tagsOf(dataDir) }
    })()
  undisturbed.set(name, known)
  return known
}

const code = (wanted: string) => (error: unknown) => error instanceof ColdtrailError && error.code === wanted

/** What a run says, without what differs from run to run. */
function comparable(report: object): unknown {
  const { started, ended, ...rest } = report as Record<string, unknown>
  return rest
}

// --- the same result ---

test('any number of workers and any size of tasks give the same tag files, byte for byte, and the same report', async () => {
  const plugins = {
    one_rule: { finding: true },
    sessionize: { maximum_pause: 2 },
    counting: {},
    throwing: { at: 'poison' },
  }
  const results: { files: unknown; report: unknown }[] = []
  for (const [workers, taskRows] of [
    [1, 400],
    [2, 37],
    [4, 100],
    [1, 7_000],
  ] as const) {
    const dataDir = site()
    const { report } = await runAnalysis(dataDir, plugins, { workers, taskRows })
    results.push({ files: tagFileBytes(dataDir), report: comparable(report) })
  }
  assert.equal(Object.keys(results[0]!.files as object).length, 3)
  for (const result of results.slice(1)) assert.deepEqual(result, results[0])
})

test('rules, maps, folds, findings, counters: what each is expected to say of the events', async () => {
  const dataDir = site()
  const { report, newFindings } = await runAnalysis(dataDir, { one_rule: { finding: true }, counting: {} })
  const m1 = Math.floor((400 - 1 + 6) / 7) * 3
  const counted = Object.fromEntries(report.plugins[1]!.counters)
  assert.equal(counted.poison, 1)
  assert.equal(counted.m1, m1)
  assert.deepEqual(report.plugins[0]!.labels, { marked: m1, marked_too: EVENTS - 1 })
  assert.deepEqual(report.plugins[1]!.labels, { common: m1 })
  assert.equal(report.findings, m1)
  assert.equal(newFindings, m1)
  assert.equal(report.state, 'finished')
  assert.equal(report.tags, 2 * m1 + EVENTS - 1)
  assert.equal((await tagsOf(dataDir)).length, report.tags)
  assert.deepEqual(readdirSync(join(dataDir, 'analyze')), [])
})

test('sessions: one label for each event, a new one after the pause', async () => {
  const dataDir = site()
  // An event a minute: no pause is longer than one minute.
  const one = await runAnalysis(dataDir, { sessionize: { maximum_pause: 1 } })
  assert.deepEqual(one.report.plugins[0]!.labels, { session_0: EVENTS })
  assert.deepEqual(one.report.plugins[0]!.counters, [
    ['sessions', 1],
    ['session_0', EVENTS],
  ])
})

test('expression, times and limit select; the counters say what was left out', async () => {
  const dataDir = site()
  const { report } = await runAnalysis(dataDir, { one_rule: {} }, { expression: "data_type == 'test:odd'" })
  assert.deepEqual(report.events, {
    ...{ total: EVENTS, read: EVENTS, filtered: EVENTS - 402, in_time_slice: EVENTS, duplicates: 0, analyzed: 402 },
  })
  const limited = await runAnalysis(dataDir, { one_rule: { expression: 'id exists' } }, { limit: 450 })
  assert.equal(limited.report.events.analyzed, 450)
  assert.equal(limited.report.plugins[0]!.labels.marked, 450)
})

test('plaso mode: rules and the filter of a run are predicates, with the same result where both modes agree', async () => {
  const dataDir = site()
  const strict = await runAnalysis(
    dataDir,
    { one_rule: { expression: 'src_endpoint_port < 45 and src_endpoint_port > 0' } },
    { expression: "data_type == 'test:odd'" },
  )
  const plaso = await runAnalysis(
    dataDir,
    { one_rule: { expression: 'src_endpoint_port < 45', mode: 'plaso' } },
    { expression: "data_type is 'test:odd'", mode: 'plaso' },
  )
  assert.deepEqual(plaso.report.plugins[0]!.labels, strict.report.plugins[0]!.labels)
  assert.ok(strict.report.plugins[0]!.labels.marked! > 0)
  assert.equal(plaso.report.events.analyzed, 402)
})

// --- the ten defects of the original, as far as they are the engine's ---

test('defect 1: a worker over its memory limit is replaced, its task cut, and the run ends partial at the one event', async () => {
  const dataDir = site()
  const { report } = await runAnalysis(
    dataDir,
    { hungry: { at: 'poison' }, one_rule: {} },
    { workerMemoryBytes: 500 * 2 ** 20 },
  )
  assert.equal(report.state, 'partial')
  assert.equal(report.plugins[0]!.labels.seen, EVENTS - 1)
  assert.equal(report.plugins[0]!.skipped, 1)
  assert.match(report.warnings[0]!.message, /^passed over: event \d+ \(row 133 of segment \d+\): .*limit/)
  assert.equal(report.plugins[1]!.labels.marked_too, EVENTS - 1, 'other plugins have looked at it')
})

test('defect 1: a plugin that needs more than its limit for every event is given up, and the others are not', async () => {
  const dataDir = site()
  const { report } = await runAnalysis(
    dataDir,
    { hungry: {}, one_rule: {} },
    { workerMemoryBytes: 400 * 2 ** 20, taskRows: 1_000 },
  )
  assert.equal(report.state, 'partial')
  assert.deepEqual(report.plugins[0]!.labels, {})
  assert.match(report.warnings[0]!.message, /^given up, and its results left out/)
  assert.equal(report.plugins[1]!.labels.marked_too, EVENTS - 1)
})

test('defect 2: workers killed while they write what they found lose no tag, and the foreman does not spin', async () => {
  const dataDir = site()
  const { tags } = await whole({ one_rule: {}, sessionize: {} })
  for (const point of ['file.temp-written', 'file.synced', 'file.renamed', 'file.directory-synced']) {
    process.env.COLDTRAIL_FAULT = `${point}@worker:4`
    try {
      const { run, report } = await runAnalysis(dataDir, { one_rule: {}, sessionize: {} })
      assert.equal(report.state, 'finished', point)
      assert.deepEqual(await tagsOf(dataDir, run), tags, point)
    } finally {
      delete process.env.COLDTRAIL_FAULT
    }
  }
  const before = process.cpuUsage()
  await runAnalysis(
    dataDir,
    { slow: { at: 'm0' } },
    { taskRows: 400, workers: 3, expression: "message in ('m0', 'm1') and src_endpoint_port < 40" },
  )
  const { user, system } = process.cpuUsage(before)
  assert.ok((user + system) / 1e6 < 3, `${(user + system) / 1e6} s of CPU while workers sleep`)
})

test('defect 3: a plugin that hangs is noticed after the timeout, and only its event is passed over', async () => {
  const dataDir = site()
  const { report } = await runAnalysis(dataDir, { looping: { at: 'poison' } }, { workerTimeoutMilliseconds: 1_500 })
  assert.equal(report.state, 'partial')
  assert.equal(report.plugins[0]!.labels.seen, EVENTS - 1)
  assert.match(report.warnings[0]!.message, /row 133 of segment \d+\): nothing was heard of it for/)
})

test('defect 4: tasks without a match, and workers without a task, are no end of input', async () => {
  const dataDir = site()
  // Matches only in the last segment; the other workers wait far longer than the timeout.
  const { report } = await runAnalysis(
    dataDir,
    { slow: { at: 'm0' } },
    {
      expression: "time >= '2026-01-05T13:20:00Z' and src_endpoint_port < 70",
      workerTimeoutMilliseconds: 1_000,
      taskRows: 10,
      workers: 3,
    },
  )
  assert.equal(report.state, 'finished')
  assert.deepEqual(report.plugins[0]!.labels, { seen: 70 })
})

test('defect 5: running again changes no count', async () => {
  const dataDir = site()
  const first = await runAnalysis(dataDir, { one_rule: { finding: true } })
  const second = await runAnalysis(dataDir, { one_rule: { finding: true } })
  assert.deepEqual(second.report.plugins, first.report.plugins)
  assert.equal(second.newFindings, 0)
  const labels = (run: number) => tagsOf(dataDir, run)
  assert.deepEqual(await labels(second.run), await labels(first.run))
})

test('defect 6: an exception at an event is a stored warning, and the run says partial', async () => {
  const dataDir = site()
  for (const plugin of ['throwing', 'mislabelling']) {
    const { run, report } = await runAnalysis(dataDir, { [plugin]: { at: 'poison' } })
    assert.equal(report.state, 'partial')
    assert.equal(report.warnings.length, 1)
    const { event, message } = report.warnings[0]!
    assert.equal(typeof event, 'number')
    assert.match(message, plugin === 'throwing' ? /cannot look at this/ : /gave the label "two words"/)
    assert.equal(report.plugins[0]!.labels.seen, EVENTS - 1)
    const catalog = await openCatalog({ dataDir })
    assert.deepEqual((await catalog.runReport(run)) as object, JSON.parse(JSON.stringify(report)))
    assert.equal((await catalog.runs({ run }))[0]!.state, 'partial')
    await catalog.close()
  }
})

test('defect 6: a fold that throws after it counted the event has not counted it', async () => {
  const dataDir = site()
  const { report } = await runAnalysis(dataDir, { counting: { at: 'poison' } })
  const counted = Object.fromEntries(report.plugins[0]!.counters)
  assert.equal(counted.poison, undefined)
  assert.equal(
    Object.values(counted).reduce((sum, n) => sum + n, 0),
    EVENTS - 1,
  )
})

test('a plugin that throws at every event is given up after a hundred of them', async () => {
  const dataDir = site()
  const { report } = await runAnalysis(dataDir, { throwing: {}, one_rule: {} })
  assert.equal(report.state, 'partial')
  assert.deepEqual(report.plugins[0]!.counters, [])
  assert.equal(report.warnings.length, 1)
  assert.match(report.warnings[0]!.message, /^given up.*cannot look at this/)
  assert.ok(!(await tagsOf(dataDir)).some((tag) => tag.includes('throwing')))
})

test('defect 7: labels of earlier runs are seen by rules, in strict and in plaso mode; those of the same run are not', async () => {
  const dataDir = site()
  await runAnalysis(dataDir, { one_rule: { label: 'first' } })
  const second = await runAnalysis(dataDir, {
    one_rule: { label: 'second', expression: "tag == 'first' and not tag == 'second'" },
  })
  const third = await runAnalysis(dataDir, {
    one_rule: { label: 'third', expression: "tag contains 'second'", mode: 'plaso' },
  })
  const marked = Math.floor((400 - 1 + 6) / 7) * 3
  assert.equal(second.report.plugins[0]!.labels.second, marked)
  assert.equal(third.report.plugins[0]!.labels.third, marked)
  const filtered = await runAnalysis(dataDir, { counting: {} }, { expression: "tag == 'third'" })
  assert.equal(filtered.report.events.analyzed, marked)
})

// --- death, and going on ---

for (const plugin of ['dying', 'crashing'])
  test(`${plugin} at one event: it is found and passed over; dying once, nothing is`, async () => {
    const dataDir = site()
    const poisonous = await runAnalysis(dataDir, { [plugin]: { at: 'poison' } }, { taskRows: 500 })
    assert.equal(poisonous.report.state, 'partial')
    assert.deepEqual(poisonous.report.plugins[0]!.labels, { seen: EVENTS - 1 })
    const marker = join(dataDir, '..', 'once')
    const accident = await runAnalysis(dataDir, { [plugin]: { at: 'm2', once: marker } })
    assert.ok(existsSync(marker))
    assert.equal(accident.report.state, 'finished')
    assert.deepEqual(accident.report.plugins[0]!.labels, { seen: EVENTS })
  })

test('workers killed at random, in whatever state: the run finishes with the same tags', async () => {
  const dataDir = site()
  const { tags } = await whole({ one_rule: {}, sessionize: {} })
  let [kills, statuses] = [0, 0]
  const { run, report } = await runAnalysis(
    dataDir,
    { one_rule: {}, sessionize: {}, slow: { at: 'poison' } },
    {
      ...{ taskRows: 20, statusMilliseconds: 60 },
      onStatus({ workers }) {
        statuses += 1
        // Not each at its start: workers that never start are given up.
        const states = kills % 3 === 0 ? ['initialized', 'analyzing', 'idle'] : ['analyzing', 'idle']
        const victims = workers.filter(({ pid, status }) => pid !== null && states.includes(status))
        const victim = victims[kills % Math.max(1, victims.length)]
        if (!victim || kills >= 8 || statuses % 4 > 0) return
        kills += 1
        process.kill(victim.pid!, ['SIGKILL', 'SIGTERM', 'SIGSEGV'][kills % 3])
      },
    },
  )
  assert.ok(kills >= 4, `${kills} kills`)
  assert.equal(report.state, 'finished')
  assert.deepEqual(
    (await tagsOf(dataDir, run)).filter((tag) => !tag.includes(' slow ')),
    tags,
  )
})

interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly said: { run?: number; state?: string; code?: string; values?: { run?: number } }
}

async function apart(
  dataDir: string,
  plugins: object,
  options: Partial<AnalyzeOptions> = {},
  fault = '',
  meanwhile: (kill: (signal: NodeJS.Signals) => void) => void = () => undefined,
): Promise<Ended> {
  const module = join(import.meta.dirname, '../support/analyzeProcess.ts')
  const child = spawn(process.execPath, [module, dataDir, JSON.stringify(plugins), JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...(fault && { COLDTRAIL_FAULT: fault }) },
  })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk
  })
  meanwhile((signal) => child.kill(signal))
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { status, signal, said: text === '' ? {} : (JSON.parse(text) as Ended['said']) }
}

for (const point of [
  'run.begun@main',
  'run.task-recorded@main:1',
  'run.task-recorded@main:9',
  'run.files-durable@main',
  'commit.begun@main',
  'commit.rows-written@main',
  'commit.link-written@main',
  'file.renamed@main:4',
])
  test(`the foreman is killed at ${point}: after resume the tags are those of an undisturbed run`, async () => {
    const dataDir = site()
    const plugins = { one_rule: { finding: true }, sessionize: {} }
    const { report, tags } = await whole(plugins)
    const killed = await apart(dataDir, plugins, {}, point)
    assert.equal(killed.signal, 'SIGKILL')
    assert.deepEqual(await tagsOf(dataDir), [], 'nothing exists before the commit')
    const catalog = await openCatalog({ dataDir })
    const [row] = await catalog.runs()
    await catalog.close()
    let resumed: Awaited<ReturnType<typeof runAnalysis>>
    try {
      resumed = await runAnalysis(dataDir, {}, { resume: row!.run })
    } catch (error) {
      // Only a run of which nothing was written down must begin anew.
      assert.ok(point.startsWith('run.begun') && code('E_RUN_CHANGED')(error), String(error))
      resumed = await runAnalysis(dataDir, plugins)
    }
    assert.deepEqual(await tagsOf(dataDir), tags)
    assert.deepEqual(resumed.report.plugins, report.plugins)
    assert.deepEqual(resumed.report.events, report.events)
  })

test('a run that was interrupted ends within six seconds, says aborted, and goes on where it was', async () => {
  const dataDir = site()
  const abort = new AbortController()
  const plugins = { looping: { at: 'm6', once: join(dataDir, '..', 'loop') }, one_rule: {} }
  let at = 0
  await assert.rejects(
    runAnalysis(dataDir, plugins, {
      ...{ signal: abort.signal, taskRows: 50, statusMilliseconds: 50, workers: 1 },
      onStatus({ workers }) {
        if (at === 0 && workers.some(({ plugin }) => plugin === 'looping')) {
          at = performance.now()
          abort.abort(new ColdtrailError('E_INTERRUPTED', { signal: 'SIGINT' }))
        }
      },
    }),
    code('E_INTERRUPTED'),
  )
  assert.ok(performance.now() - at < 6_000, `${performance.now() - at} ms`)
  const catalog = await openCatalog({ dataDir })
  const [row] = await catalog.runs()
  await catalog.close()
  assert.equal(row!.state, 'aborted')
  const { report } = await runAnalysis(dataDir, {}, { resume: row!.run })
  assert.equal(report.state, 'finished')
  assert.deepEqual(report.plugins[0]!.labels, { seen: EVENTS })
})

test('a plugin that never ends making ready or finishing does not hold a run that is interrupted', async () => {
  for (const at of ['prepare', 'finish']) {
    const dataDir = site()
    const abort = new AbortController()
    const begun = join(dataDir, '..', `begun-${at}`)
    const watch = setInterval(() => {
      if (existsSync(begun)) abort.abort(new ColdtrailError('E_INTERRUPTED', { signal: 'SIGINT' }))
    }, 20)
    undo.push(() => clearInterval(watch))
    await assert.rejects(
      runAnalysis(dataDir, { waiting: { at, begun } }, { signal: abort.signal, workers: 1 }),
      code('E_INTERRUPTED'),
    )
  }
})

test("a module of the user's own whose loading does not end is named, and without it the others are there", async () => {
  const { findPlugins } = await import('../../src/analyze/plugins.ts')
  const hangs: Record<string, string> = {
    'busy.js': 'for (;;) {}',
    'waits.js': 'await new Promise(() => undefined)',
    'waits_busily.js': 'setInterval(() => undefined, 10); await new Promise(() => undefined)',
    'ends.js': 'process.exit(0)',
  }
  for (const [name, text] of Object.entries(hangs)) {
    const folder = mkdtempSync(join(tmpdir(), 'coldtrail-plugins-'))
    undo.push(() => rmSync(folder, { recursive: true, force: true }))
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    writeFileSync(join(folder, 'a_good_one.js'), GOOD_PLUGIN)
    writeFileSync(join(folder, name), text)
    await assert.rejects(findPlugins(folder, 2_000), { code: 'E_PLUGIN_MODULE', message: /loading does not end/ }, name)
    rmSync(join(folder, name))
    assert.ok((await findPlugins(folder)).has('good_one'))
  }
})

const GOOD_PLUGIN = `export const good = { kind: 'plugin', name: 'good_one', summary: 'x', version: 1,
  options: { safeParse: () => ({ success: true, data: {} }) }, prepare: async () => 0, start: () => ({ shape: 'rules', rules: [] }) }`

test('resume: finished tasks are not done again, damaged ones are; another version, option or living run is refused', async () => {
  const dataDir = site()
  await apart(dataDir, { one_rule: {}, throwing: { at: 'poison' } }, {}, 'run.task-recorded@main:9')
  const folder = join(dataDir, 'analyze/000000001')
  const tasks = readdirSync(folder).filter((name) => name.endsWith('.task'))
  assert.ok(tasks.length >= 9)
  const bytes = readFileSync(join(folder, tasks[0]!))
  bytes[bytes.length >> 1]! ^= 1
  const { writeFileSync } = await import('node:fs')
  writeFileSync(join(folder, tasks[0]!), bytes)
  const begun: string[] = []
  const { report } = await runAnalysis(
    dataDir,
    {},
    {
      resume: 1,
      statusMilliseconds: 10,
      onStatus: ({ workers }) => begun.push(...workers.flatMap(({ task }) => (task === null ? [] : [task]))),
    },
  )
  assert.equal(report.state, 'partial')
  assert.equal(report.plugins[0]!.labels.marked_too, EVENTS - 1)
  assert.equal(report.plugins[1]!.labels.seen, EVENTS - 1)
  await assert.rejects(runAnalysis(dataDir, {}, { resume: 1 }), code('E_RUN_STATE'))
  await assert.rejects(runAnalysis(dataDir, {}, { resume: 99 }), code('E_RUN_UNKNOWN'))
})

// --- what is refused, and what is told ---

test('mistakes are told before any worker starts', async () => {
  const dataDir = site()
  const refused = (
    plugins: Record<string, Record<string, unknown>>,
    wanted: string,
    options: Partial<AnalyzeOptions> = {},
  ) => assert.rejects(runAnalysis(dataDir, plugins, options), code(wanted), wanted)
  await refused({}, 'E_USAGE')
  await refused({ sessionise: {} }, 'E_PLUGIN_UNKNOWN')
  await refused({ sessionize: { maximum_pause: 0 } }, 'E_PLUGIN_OPTION')
  await refused({ sessionize: { pause: 3 } }, 'E_PLUGIN_OPTION')
  await refused({ one_rule: { label: 'two words' } }, 'E_PLUGIN_RULE')
  await refused({ one_rule: { expression: 'message ==' } }, 'E_PLUGIN_RULE')
  await refused({ one_rule: {} }, 'E_EXPRESSION', { expression: 'message ==' })
  await refused({ one_rule: {} }, 'E_EXPRESSION_EMPTY', { expression: "message == 'a' and message == 'b'" })
  await refused({ one_rule: {} }, 'E_EXPRESSION_EMPTY', { expression: "time > '2027-01-01' and time < '2026-01-01'" })
  await refused({ one_rule: {} }, 'E_EXPRESSION_EMPTY', { expression: "time > '2027-01-01'", to: 0 })
  await refused({ one_rule: {} }, 'E_FILE_READ', { pluginsDirectory: join(dataDir, 'none') })
  const catalog = await openCatalog({ dataDir })
  assert.deepEqual(await catalog.runs(), [])
  await catalog.close()
})

test('the status is told at once and is true to the end: every counter, worker rows, the task that is merged', async () => {
  const dataDir = site()
  const started = performance.now()
  const seen: { after: number; status: AnalyzeStatus }[] = []
  await runAnalysis(
    dataDir,
    { one_rule: {}, slow: { at: 'poison' } },
    {
      ...{ statusMilliseconds: 20, expression: "data_type == 'test:odd' or message == 'poison'" },
      onStatus: (status) => seen.push({ after: performance.now() - started, status: structuredClone(status) }),
    },
  )
  assert.ok(seen[0]!.after < 500, `${seen[0]!.after} ms`)
  assert.equal(seen[0]!.status.foreman.status, 'initialized')
  const { foreman, workers, events, tasks } = seen.at(-1)!.status
  assert.equal(foreman.status, 'completed')
  assert.deepEqual(events, {
    filtered: EVENTS - 403,
    inTimeSlice: EVENTS,
    duplicates: 0,
    macbGrouped: 0,
    total: EVENTS,
  })
  assert.deepEqual(tasks, { done: 12, total: 12 })
  assert.equal(foreman.consumed.events, 403)
  assert.equal(foreman.consumed.eventData, EVENTS)
  assert.equal(foreman.consumed.sources, 3)
  assert.equal(foreman.produced.reports, 2)
  const sum = (read: (one: AnalyzeStatus['foreman']) => number) => workers.reduce((all, one) => all + read(one), 0)
  assert.equal(
    sum((one) => one.consumed.events),
    403,
  )
  assert.equal(
    sum((one) => one.produced.tags),
    foreman.produced.tags,
  )
  assert.ok(
    seen.some(({ status }) => status.workers.some(({ status, plugin }) => status === 'analyzing' && plugin === 'slow')),
  )
  const shown = new Set(seen.flatMap(({ status }) => [status.foreman, ...status.workers].map(({ status }) => status)))
  const { INDICATORS } = await import('../../src/analyze/status.ts')
  for (const indicator of shown) assert.ok(INDICATORS.includes(indicator), indicator)
  for (let i = 1; i < seen.length; i++)
    assert.ok(seen[i]!.status.foreman.consumed.events >= seen[i - 1]!.status.foreman.consumed.events)
})

test('profilers write CSV files, one a kind and process, and change no result', async () => {
  const dataDir = site()
  const directory = join(dataDir, '..', 'profiles')
  const { report } = await runAnalysis(
    dataDir,
    { one_rule: {}, counting: {} },
    {
      profile: {
        directory,
        profilers: ['analyzers', 'memory', 'processing', 'serializers', 'storage', 'task_queue', 'tasks'],
      },
    },
  )
  assert.equal(report.plugins[0]!.labels.marked_too, EVENTS - 1)
  const names = readdirSync(directory)
  for (const kind of ['analyzers', 'memory', 'processing', 'serializers', 'storage', 'task_queue', 'tasks'])
    assert.ok(
      names.some((name) => name.startsWith(`${kind}-`)),
      kind,
    )
  const tasks = readFileSync(join(directory, 'tasks-main.csv'), 'utf8').trim().split('\n')
  assert.equal(tasks[0], 'time,task,status')
  assert.equal(tasks.filter((line) => line.endsWith(',done')).length, 24)
})
