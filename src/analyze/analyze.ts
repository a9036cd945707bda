/**
 * The analysis job: `plan tasks -> run workers -> merge -> commit -> report`. This process plans, merges and commits;
 * workers read their rows, run every plugin on them and write task files. Nothing of a run exists before its commit, and
 * what is done by then serves the one that resumes it. Design: docs/design.md §13.
 */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import type { PluginContext, PluginReport } from '../components/plugin.ts'
import { asColdtrailError, ColdtrailError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { type Death, Foreman } from '../engine/foreman.ts'
import { makeDirectory, readIfThere, writeDurably } from '../platform/files.ts'
import type { Catalog, Owner, RunRow, SegmentRow } from '../store/catalog.ts'
import { isBatchColumn } from '../store/columnBatches.ts'
import { DuckDb, parquetFiles } from '../store/duckdb.ts'
import { sealFindings } from '../store/findings.ts'
import { isHeldHere, localDirectories } from '../store/heldFile.ts'
import { isLabel } from '../store/tags.ts'
import { homeOf, segmentsOf } from '../store/workbench.ts'
import {
  type DonePiece,
  type FindingPart,
  findingHits,
  inOrder,
  type MergedSegment,
  mergeSegment,
  mergeStates,
} from './merge.ts'
import { type Failure, Pieces } from './pieces.ts'
import { checkSelection, dataTypesOf, lastTimesOf, piecesOf, scopeOf, segmentPlans } from './plan.ts'
import { findPlugins, pluginNamed } from './plugins.ts'
import {
  type ChosenPlugin,
  HIDDEN,
  type PreparedPlugin,
  preparePlugin,
  Scratch,
  secretOptions,
  validOptions,
} from './prepare.ts'
import { Profile, type ProfileOptions } from './profile.ts'
import { bySkippedPlace, labelCounts, pluginSummary, type RunReport, skippedWarnings, type Warning } from './report.ts'
import { compileRule } from './ruleSet.ts'
import { removeRunFolder, runFolder, runsWithFolders } from './runFolder.ts'
import { type AnalyzeStatus, addCounts, type Indicator, indicatorOf, NO_WORK, WorkerTally } from './status.ts'
import { readTaskFile } from './taskFile.ts'
import {
  MAX_FAILURES,
  NO_COUNTS,
  type Piece,
  type PieceCounts,
  type PieceResult,
  type Progress,
  SECOND_PASS_FILE,
  type SecondPass,
  type SegmentPlan,
  type Selection,
  type Skipped,
  type WorkerInit,
} from './tasks.ts'

export interface AnalyzeOptions {
  readonly catalog: Catalog
  readonly dataDir: string
  /** Several, and workbenches, by comma: of one home, to which the results go. E_USAGE else. */
  readonly collection: string
  /** In order; options as given. With `resume` none, or those of the run. */
  readonly plugins: readonly { readonly name: string; readonly options: Readonly<Record<string, unknown>> }[]
  /** A folder of the user's own plugins. */
  readonly pluginsDirectory?: string
  readonly expression?: string
  readonly mode?: 'strict' | 'plaso'
  /** Microseconds UTC, both included. */
  readonly from?: number
  readonly to?: number
  /** Only so many events, those with the lowest ids. */
  readonly limit?: number
  /** Default: one a core. */
  readonly workers?: number
  /** Rows of a task; default 500,000. */
  readonly taskRows?: number
  /** Resident bytes of a worker; default 2 GiB, 0 = no limit. */
  readonly workerMemoryBytes?: number
  /** Default 15 minutes; 0 = none. */
  readonly workerTimeoutMilliseconds?: number
  /** Resident bytes of this process; default 4 GiB, 0 = no limit. */
  readonly processMemoryBytes?: number
  /** A run that ended without results. */
  readonly resume?: number
  readonly profile?: ProfileOptions
  readonly commandLine: string
  readonly producer: string
  readonly context: Pick<PluginContext, 'base' | 'environment' | 'indicators' | 'userAccounts'>
  readonly log?: Log
  readonly signal?: AbortSignal
  /** At once, then each `statusMilliseconds` (500), and at the end. */
  readonly onStatus?: (status: AnalyzeStatus) => void
  readonly statusMilliseconds?: number
}

export interface AnalyzeSummary {
  readonly run: number
  readonly report: RunReport
  /** Findings that no earlier run had. */
  readonly newFindings: number
  readonly seconds: number
}

/**
 * Runs plugins and answers what they came to. What ends it without results is thrown; the run can then be resumed:
 * E_INTERRUPTED, E_DISK_FULL, E_WORKER_START, ….
 */
export async function analyze(options: AnalyzeOptions): Promise<AnalyzeSummary> {
  const { catalog, dataDir } = options
  const scratch = new Scratch(dataDir)
  const run = new AnalyzeRun(options, scratch)
  const owner = await catalog.owner('analyze')
  try {
    return await run.perform(owner)
  } finally {
    scratch.remove()
    await owner.release()
  }
}

// --- internal ---

const TASK_ROWS = 500_000
const STATUS_MILLISECONDS = 500
const WORKER_MEMORY = 2 * 2 ** 30
const WORKER_TIMEOUT = 15 * 60_000
const PROCESS_MEMORY = 4 * 2 ** 30
/** Of this process, for indexes and findings. */
const QUERY_BYTES = 512 * 2 ** 20
const ABORT = { askMilliseconds: 1_500, termMilliseconds: 1_500 }
const PLAN_FILE = 'plan.json'

/** What must be the same when a run is resumed, and is not in its row. */
interface StoredPlan {
  readonly now: number
  readonly limit: number | null
  readonly lastId: number | null
  /** By plugin. */
  readonly digests: Readonly<Record<string, string>>
  /** Runs whose labels are seen. */
  readonly passedOver: number
  readonly offline: readonly number[]
}

interface Done extends DonePiece {
  readonly result: PieceResult
}

class AnalyzeRun {
  private readonly options: AnalyzeOptions
  private readonly catalog: Catalog
  private readonly log: Log
  private readonly scratch: Scratch
  private readonly profile: Profile
  private readonly started = Date.now()
  private readonly tallies: WorkerTally[] = []
  private readonly halt = new AbortController()
  private run: number | null = null
  private directory = ''
  private plugins: PreparedPlugin[] = []
  private segments: SegmentPlan[] = []
  private done: Done[] = []
  /** What was passed over before the piece that is done without its plugin. */
  private readonly passedOver = new Map<string, Skipped[]>()
  private pieces = new Pieces([])
  private readonly inHand = new Map<number, Piece>()
  private readonly progress = new Map<number, Progress>()
  private foreman: Foreman<Piece> | undefined
  private owner: Owner | undefined
  private recording: Promise<void> = Promise.resolve()
  private error: ColdtrailError | undefined
  private wake: () => void = () => undefined
  private indicator: Indicator = 'initialized'
  private task: string | null = null
  /** By segment; plugins were given up, so many, when it was merged. */
  private readonly merged = new Map<number, { readonly without: number; readonly merged: MergedSegment }>()
  private mergedTags = 0
  private reports = 0
  private notRead = 0
  private workStarted: number | undefined
  private rowsResumed = 0
  private totalPieces = 0
  /** Its workers ended because there is nothing left to do. */
  private hasStopped = false

  constructor(options: AnalyzeOptions, scratch: Scratch) {
    this.options = options
    this.catalog = options.catalog
    this.log = options.log ?? (() => undefined)
    this.scratch = scratch
    this.profile = new Profile(options.profile ?? null, 'main')
  }

  async perform(owner: Owner): Promise<AnalyzeSummary> {
    this.owner = owner
    const { signal, onStatus, statusMilliseconds = STATUS_MILLISECONDS } = this.options
    const interrupt = (): void => this.fail(asColdtrailError(signal!.reason))
    signal?.addEventListener('abort', interrupt)
    if (signal?.aborted) interrupt()
    const tell = (): void => onStatus?.(this.status())
    tell()
    const timer = setInterval(tell, statusMilliseconds)
    const watch = setInterval(() => this.watchMemory(), MEMORY_MILLISECONDS)
    let hold: { release(): Promise<void> } | undefined
    let duckdb: DuckDb | undefined
    try {
      // Before the segments are read: their files stay until the run has ended.
      hold = await this.catalog.registerReader()
      await this.tidyUp()
      const given = await this.given(owner)
      const live = await this.segmentsOf(given)
      duckdb = await this.openDuckDb(live)
      const plan = await this.plan(given, live, duckdb, owner)
      const summary = await this.work(plan, duckdb, owner)
      this.indicator = 'completed'
      return summary
    } catch (thrown) {
      const error = this.error ?? asColdtrailError(thrown)
      this.indicator = error.code === 'E_INTERRUPTED' ? 'aborted' : 'error'
      await this.end(owner, error)
      throw error
    } finally {
      clearInterval(timer)
      clearInterval(watch)
      signal?.removeEventListener('abort', interrupt)
      await this.foreman?.stop(ABORT)
      duckdb?.close()
      await hold?.release()
      tell()
    }
  }

  /** Files of runs that have their results, or are removed. */
  private async tidyUp(): Promise<void> {
    const { dataDir } = this.options
    for (const run of runsWithFolders(dataDir)) {
      const [row] = await this.catalog.runs({ run })
      if (!row || row.sequence !== null) removeRunFolder(dataDir, run)
    }
  }

  // --- plan ---

  /** What was asked for: by the options or, when a run is resumed, by its row. */
  private async given(owner: Owner): Promise<Given> {
    const { options } = this
    const known = await this.unlessFailed(findPlugins(options.pluginsDirectory))
    if (options.resume === undefined) {
      if (options.plugins.length === 0)
        throw new ColdtrailError('E_USAGE', { message: 'Name at least one plugin with --plugins.' })
      const names = options.plugins.map(({ name }) => name)
      const twice = names.find((name, at) => names.indexOf(name) < at)
      if (twice !== undefined) throw new ColdtrailError('E_USAGE', { message: `Plugin ${twice} is named twice.` })
      const chosen = options.plugins.map(({ name, options: own }) => ({ ...pluginNamed(name, known), options: own }))
      for (const plugin of chosen) validOptions(plugin)
      const now = Date.now() * 1_000
      const { collection: readFrom, expression = '', mode = 'strict', from = null, to = null, limit = null } = options
      const selection = { expression, mode, now, time1: from, time2: to, lastId: null }
      checkSelection(selection)
      const taskRows = options.taskRows ?? TASK_ROWS
      const collection = await homeOf(this.catalog, readFrom)
      return { collection, readFrom, chosen, selection, limit, taskRows, resumed: undefined }
    }
    const row = await this.catalog.resumeRun(owner, options.resume)
    this.run = row.run
    this.directory = runFolder(this.options.dataDir, row.run)
    const refuse = (reason: string) => new ColdtrailError('E_RUN_CHANGED', { run: row.run, reason })
    const bytes = readIfThere(join(this.directory, PLAN_FILE))
    if (!bytes) throw refuse('its plan was never written, so that nothing of it is done')
    const stored = JSON.parse(bytes.toString()) as StoredPlan
    const chosen = row.plugins.map(({ name, version, options: before }) => {
      const found = pluginNamed(name, known)
      if (found.component.version !== version)
        throw refuse(`plugin ${name} is version ${found.component.version} now, and was ${version}`)
      const secrets = secretOptions(found)
      const now = options.plugins.find((plugin) => plugin.name === name)?.options ?? {}
      const kept = Object.entries(before as Record<string, unknown>).filter(([, value]) => value !== HIDDEN)
      const own = { ...Object.fromEntries(kept), ...Object.fromEntries(secrets.map((key) => [key, now[key]])) }
      return { ...found, options: own }
    })
    const { expression, mode, time1, time2, collection, readFrom = collection, taskRows } = row
    const selection = { expression, mode, time1, time2, now: stored.now, lastId: stored.lastId }
    return { collection, readFrom, chosen, selection, limit: stored.limit, taskRows, resumed: { row, stored } }
  }

  /** Live segments or, of a run that is resumed, those it began with. */
  private async segmentsOf({ readFrom, resumed }: Given): Promise<readonly SegmentRow[]> {
    if (!resumed) return segmentsOf(this.catalog, readFrom, 'live')
    const all = await segmentsOf(this.catalog, readFrom)
    return resumed.row.segments.map(({ segment, rows }) => {
      const found = all.find((one) => one.segment === segment)
      if (found?.rows === rows) return found
      throw new ColdtrailError('E_RUN_CHANGED', {
        run: resumed.row.run,
        reason: `segment ${segment} is here no more: it was merged into another one, or a workbench was removed`,
      })
    })
  }

  private async openDuckDb(segments: readonly SegmentRow[]): Promise<DuckDb> {
    const { dataDir } = this.options
    const directories = [...new Set([dataDir, ...localDirectories(segments)])]
    return DuckDb.open({ directories, tempDirectory: join(dataDir, 'spill'), memoryLimit: QUERY_BYTES, threads: 1 })
  }

  private async plan(given: Given, live: readonly SegmentRow[], duckdb: DuckDb, owner: Owner): Promise<Plan> {
    const { collection, readFrom, chosen, limit, taskRows, resumed } = given
    const { catalog, options } = this
    this.indicator = 'running'
    const selection = resumed ? given.selection : await this.limited(given)
    const scope = resumed
      ? { segments: live, passedOver: resumed.stored.passedOver, offline: [] }
      : await scopeOf({ catalog, dataDir: options.dataDir, duckdb }, live, selection)
    const offline = resumed ? resumed.stored.offline : scope.offline.map(({ segment }) => segment)
    this.notRead = scope.passedOver
    const types = await Promise.all(scope.segments.map((segment) => dataTypesOf(segment, duckdb)))
    const dataTypes = [...new Set(types.flatMap((found) => found ?? []))].sort()
    const lastTimes: PluginContext['lastTimes'] = (column, time1, time2) =>
      lastTimesOf(
        live.filter((segment) => isHeldHere(segment, 'meta')),
        duckdb,
        column,
        time1,
        time2,
      )
    await this.prepare(chosen, { dataTypes, time1: selection.time1, lastTimes }, selection.now)
    this.throwIfFailed()
    const digests = Object.fromEntries(this.plugins.map(({ name, digest }) => [name, digest]))
    if (resumed) {
      const changed = this.plugins.find(({ name, digest }) => resumed.stored.digests[name] !== digest)
      if (changed)
        throw new ColdtrailError('E_RUN_CHANGED', {
          run: resumed.row.run,
          reason: `what plugin ${changed.name} reads or is told is not what it was`,
        })
    } else {
      this.run = await catalog.beginRun(owner, {
        ...{ collection, kind: 'analyze', expression: selection.expression, mode: selection.mode, taskRows },
        ...{ time1: selection.time1, time2: selection.time2 },
        ...(readFrom === collection ? {} : { readFrom }),
        plugins: this.plugins.map(({ name, version, options: own }) => ({ name, version, options: own })),
        segments: scope.segments.map(({ segment, rows }) => ({ segment, rows })),
        ...{ commandLine: options.commandLine, producer: options.producer },
      })
      this.directory = runFolder(options.dataDir, this.run)
      makeDirectory(this.directory)
      const { now, lastId } = selection
      const stored: StoredPlan = { now, limit, lastId, digests, passedOver: scope.passedOver, offline }
      writeDurably(join(this.directory, PLAN_FILE), JSON.stringify(stored))
    }
    this.segments = await segmentPlans(scope.segments, duckdb, this.run!)
    return { ...given, selection, scope: scope.segments, offline }
  }

  /** `--limit` is a highest id: events with the lowest ids come first. */
  private async limited({ selection, limit, readFrom }: Given): Promise<Selection> {
    if (limit === null) return selection
    const { StoreReader } = await import('../store/search.ts')
    const { compile } = await import('../query/expression.ts')
    const reader = new StoreReader({ catalog: this.catalog, dataDir: this.options.dataDir })
    try {
      const compiled = selection.expression.trim() === '' ? undefined : compile(selection.expression, selection)
      if (compiled && compiled.mode === 'plaso')
        throw new ColdtrailError('E_USAGE', { message: '--limit needs an expression in strict mode.' })
      const sql = compiled?.sql()
      const found = await reader.search({
        ...{ collection: readFrom, columns: ['id'], order: 'id', limit },
        ...{ time1: selection.time1 ?? undefined, time2: selection.time2 ?? undefined },
        ...(sql && { condition: { sql: sql.text, parameters: sql.named, needles: compiled!.needles() } }),
      })
      let [lastId, count] = [-1, 0]
      for await (const { id } of found.rows) {
        lastId = id as number
        count += 1
      }
      // Fewer than asked for: all of them, and those that come to be seen meanwhile are none of this run's.
      return count < limit ? selection : { ...selection, lastId }
    } finally {
      await reader.close()
    }
  }

  private async prepare(
    chosen: readonly ChosenPlugin[],
    surroundings: Pick<PluginContext, 'dataTypes' | 'time1' | 'lastTimes'>,
    now: number,
  ): Promise<void> {
    const { context, dataDir } = this.options
    for (const plugin of chosen) {
      this.throwIfFailed()
      this.plugins.push(
        await this.unlessFailed(
          preparePlugin(plugin, {
            context: { ...context, ...surroundings, dataDir, signal: this.halt.signal },
            ...{ scratch: this.scratch, now, log: this.log },
          }),
        ),
      )
    }
  }

  // --- work ---

  private async work(plan: Plan, duckdb: DuckDb, owner: Owner): Promise<AnalyzeSummary> {
    await this.takeUp(plan)
    await this.pass(1, plan)
    this.indicator = 'merging'
    const results = await this.finishFolds(plan)
    if (Object.values(results.second).some(({ length }) => length > 0)) await this.pass(2, plan)
    await this.foreman?.stop(ABORT)
    this.hasStopped = true
    this.throwIfFailed()
    this.indicator = 'merging'
    const givenUp = this.givenUp()
    const merged: MergedSegment[] = []
    for (const segment of plan.scope) {
      merged.push(await this.mergeSegment(segment, plan.collection))
      this.throwIfFailed()
    }
    const parts = merged.flatMap(({ findings }) => (findings ? [findings] : []))
    return this.commit(plan, merged, parts, results.reports, givenUp, duckdb, owner)
  }

  /** What an earlier process of this run has done. */
  private async takeUp({ resumed }: Plan): Promise<void> {
    if (!resumed) return
    for (const { segment, first, rows, result } of await this.catalog.runTasks(resumed.row.run)) {
      const pass = first >= SECOND_PASS_ROWS ? 2 : 1
      const { file, ...rest } = result as PieceResult
      try {
        if (file !== null) readTaskFile(join(this.directory, file))
      } catch (error) {
        this.log('warn', 'a task is done again', { reason: asColdtrailError(error).message })
        continue
      }
      const piece = { pass, segment, first: first % SECOND_PASS_ROWS, rows, file } as const
      this.done.push({ ...piece, result: { file, ...rest } })
      if (pass === 1) this.rowsResumed += rows
    }
  }

  private async pass(pass: 1 | 2, plan: Plan): Promise<void> {
    this.indicator = 'running'
    const pieces = piecesOf(pass, this.segments, plan.taskRows, this.done)
    this.pieces = new Pieces(pieces, this.givenUp())
    this.totalPieces = this.done.length + pieces.length
    this.workStarted ??= performance.now()
    if (pieces.length === 0) return
    if (!this.foreman) this.startForeman(plan, pieces.length)
    else this.foreman.wake()
    // Folds may ask for a second pass. In the last one a segment is merged as soon as it is done, while workers go on.
    const isLast = pass === 2 || !this.plugins.some(({ plugin }) => plugin.shape === 'fold')
    await this.until(
      () => this.pieces.length === 0 && this.inHand.size === 0,
      async () => {
        const segment = isLast && plan.scope.find((one) => !this.merged.has(one.segment) && this.isDone(one, pass))
        if (segment) await this.mergeSegment(segment, plan.collection)
        this.task = null
        return Boolean(segment)
      },
    )
    await this.recording
    this.throwIfFailed()
  }

  private startForeman(plan: Plan, pieces: number): void {
    const { options } = this
    const memoryBytes = options.workerMemoryBytes ?? WORKER_MEMORY
    const init: WorkerInit = {
      ...{ dataDir: options.dataDir, runDirectory: this.directory, segments: this.segments, selection: plan.selection },
      plugins: this.plugins.map(({ name, module, work }) => ({ name, module, work })),
      profile: options.profile ?? null,
    }
    this.foreman = new Foreman<Piece>(
      {
        module: new URL(import.meta.url.endsWith('.ts') ? './analyzeWorker.ts' : './analyzeWorker.js', import.meta.url),
        init,
        workers: Math.max(1, Math.min(options.workers ?? availableParallelism(), pieces)),
        memoryBytes,
        timeoutMilliseconds: options.workerTimeoutMilliseconds ?? WORKER_TIMEOUT,
      },
      {
        next: (worker) => this.next(worker),
        done: (worker, piece, result) => this.finished(worker, piece, result as PieceResult),
        failed: (worker, piece, error) => this.setBack(worker, piece, { cause: 'error', reason: error.message, error }),
        died: (death) => this.died(death),
        report: (worker, progress) => {
          this.progress.set(worker, progress as Progress)
          const { current } = this.tallyOf(worker)
          if (current) current.progress = progress as Progress
        },
        hopeless: (error) => this.fail(error),
      },
    )
  }

  private next(worker: number): Piece | undefined {
    if (this.error || this.inHand.has(worker)) return undefined
    const piece = this.pieces.take()
    if (!piece) return undefined
    this.inHand.set(worker, piece)
    this.progress.delete(worker)
    this.tallyOf(worker).begin(nameOf(piece), piece.segment)
    this.profile.note('tasks', nameOf(piece), 'begun')
    return piece
  }

  private finished(worker: number, piece: Piece, result: PieceResult): void {
    this.inHand.delete(worker)
    const { tags } = result.counts
    this.tallyOf(worker).finish(piece.pass === 1 ? result.counts : { ...NO_COUNTS, tags }, result.states)
    const earlier = this.passedOver.get(nameOf(piece)) ?? []
    const { givenUp } = this.pieces
    const without = Object.fromEntries([...givenUp].filter(([plugin]) => piece.without.includes(plugin)))
    const skipped = [...earlier, ...result.skipped]
    this.record(piece, { ...result, skipped, givenUp: { ...result.givenUp, ...without } }, 'done')
  }

  private record(piece: Piece, result: PieceResult, state: 'done' | 'skipped'): void {
    const { pass, segment, first, rows, attempts } = piece
    this.done.push({ pass, segment, first, rows, file: result.file, result })
    this.profile.note('tasks', nameOf(piece), state)
    const underWay = this.inHand.size
    this.profile.note('task_queue', this.pieces.length, underWay, this.done.length, 0, this.totalPieces)
    const task = { segment, first: first + (pass - 1) * SECOND_PASS_ROWS, rows, state, attempts, result }
    this.recording = this.recording
      .then(() => this.catalog.taskDone(this.owner!, this.run!, task))
      .catch((error: unknown) => this.fail(asColdtrailError(error)))
    this.wake()
  }

  private died({ worker, tasks, reason, cause }: Death<Piece>): void {
    this.log('warn', 'a worker died; what it had in hand is done again', { worker, reason })
    for (const piece of tasks) this.setBack(worker, piece, { cause, reason, at: this.progress.get(worker) })
  }

  private setBack(worker: number, piece: Piece, failure: Failure): void {
    this.inHand.delete(worker)
    this.tallyOf(worker).finish(NO_COUNTS, 0)
    const { error } = failure
    this.profile.note('tasks', nameOf(piece), failure.cause)
    // The disk is no fault of an event. Once more, since space comes and goes; then the run waits to be resumed.
    if (error && STORAGE_FAULTS.has(error.code) && piece.attempts > 0) {
      this.fail(error)
      return
    }
    const rulePlugins = this.plugins.filter(({ plugin }) => plugin.shape === 'rules').map(({ name }) => name)
    const verdict = this.pieces.failed(piece, failure, rulePlugins)
    if (verdict.kind === 'skipped') {
      const name = nameOf(piece)
      this.passedOver.set(name, [...(this.passedOver.get(name) ?? []), verdict.skipped])
    } else if (verdict.kind === 'lost')
      this.record(
        piece,
        { file: null, counts: { ...NO_COUNTS, rows: piece.rows }, skipped: [verdict.skipped], givenUp: {}, states: 0 },
        'skipped',
      )
    this.wake()
  }

  // --- merge ---

  /** Reports of folds, and what is looked for in a second pass; written once, since asking services twice may differ. */
  private async finishFolds({ scope }: Plan): Promise<FoldResults> {
    const path = join(this.directory, FOLDS_FILE)
    const known = readIfThere(path)
    if (known) {
      return deserialize(known) as FoldResults
    }
    const givenUp = this.givenUp()
    const folds = this.plugins.filter(({ plugin, name }) => plugin.shape === 'fold' && !givenUp.has(name))
    const first = inOrder(
      this.done.filter(({ pass }) => pass === 1),
      scope.map(({ segment }) => segment),
    )
    const states = mergeStates(this.directory, first, folds, (piece) => {
      this.task = nameOf(piece)
    })
    const reports: Record<string, PluginReport> = {}
    const rules: SecondPass['rules'][number][] = []
    const intervals: SecondPass['intervals'][number][] = []
    const values: SecondPass['values'][number][] = []
    for (const { name, plugin, foreman } of folds) {
      if (plugin.shape !== 'fold') continue
      this.throwIfFailed()
      this.task = name
      const result = await this.unlessFailed(plugin.finish(states.get(name), foreman))
      reports[name] = result.report
      this.reports += 1
      for (const rule of result.rules ?? []) {
        compileRule({ ...rule, plugin: name }, Date.now() * 1_000)
        rules.push({ ...rule, plugin: name })
      }
      for (const hit of result.values ?? []) {
        if (!isLabel(hit.label) || !isBatchColumn(hit.column))
          throw new ColdtrailError('E_PLUGIN_RULE', {
            plugin: name,
            rule: hit.rule || hit.label,
            reason: `"${hit.label}" is no label, or ${hit.column} no column`,
          })
        values.push({ ...hit, plugin: name })
      }
      if (result.intervals && result.intervals.length > 0)
        intervals.push({
          plugin: name,
          time1: Float64Array.from(result.intervals, ({ time1 }) => time1),
          time2: Float64Array.from(result.intervals, ({ time2 }) => time2),
          labels: result.intervals.map(({ label }) => label),
        })
    }
    this.task = null
    const second = { rules, intervals, values }
    writeDurably(join(this.directory, SECOND_PASS_FILE), serialize(second))
    writeDurably(path, serialize({ reports, second }))
    return { reports, second }
  }

  private isDone({ segment, rows }: SegmentRow, pass: 1 | 2): boolean {
    let done = 0
    for (const piece of this.done) if (piece.segment === segment && piece.pass === pass) done += piece.rows
    return done === rows
  }

  /** Once, unless a plugin was given up since. */
  private async mergeSegment(found: SegmentRow, collection: string): Promise<MergedSegment> {
    const without = new Set(this.givenUp().keys())
    const known = this.merged.get(found.segment)
    if (known?.without === without.size) return known.merged
    this.mergedTags -= known?.merged.tagFile?.rows ?? 0
    // Wherever its events were read: its tag file is the home's.
    const segment = { ...found, collection, directory: this.catalog.collectionDirectory(collection) }
    const pieces = this.done.filter((piece) => piece.segment === segment.segment)
    this.task = `segment ${segment.segment}`
    const merged = mergeSegment(this.directory, inOrder(pieces, [segment.segment]), {
      ...{ segment, run: this.run!, producer: this.options.producer, without },
    })
    this.mergedTags += merged.tagFile?.rows ?? 0
    this.merged.set(segment.segment, { without: without.size, merged })
    // Signals and status have their turn.
    await new Promise(setImmediate)
    return merged
  }

  /** Plugins whose results are left out, with the reason: the same however many workers there are. */
  private givenUp(): Map<string, string> {
    const givenUp = new Map<string, string>()
    const failures = new Map<string, number>()
    const ordered = inOrder(
      this.done,
      this.segments.map(({ segment }) => segment),
    )
    for (const { result } of ordered) {
      for (const [plugin, reason] of Object.entries(result.givenUp))
        if (!givenUp.has(plugin)) givenUp.set(plugin, reason)
      for (const { plugin, reason } of result.skipped) {
        if (plugin === null) continue
        const count = (failures.get(plugin) ?? 0) + 1
        failures.set(plugin, count)
        if (count >= MAX_FAILURES && !givenUp.has(plugin)) givenUp.set(plugin, reason)
      }
    }
    return givenUp
  }

  // --- commit and report ---

  private async commit(
    plan: Plan,
    merged: readonly MergedSegment[],
    findings: readonly FindingPart[],
    reports: FoldResults['reports'],
    givenUp: ReadonlyMap<string, string>,
    duckdb: DuckDb,
    owner: Owner,
  ): Promise<AnalyzeSummary> {
    const { catalog } = this
    this.indicator = 'reporting'
    this.task = null
    const run = this.run!
    const sealed = await sealFindings({
      ...{ catalog, duckdb, collection: plan.collection, run, segments: plan.scope },
      hits: findingHits(findings),
    })
    await this.nameSkipped(duckdb)
    const report = this.report(plan, merged, sealed?.rows ?? 0, reports, givenUp)
    this.indicator = 'finalizing'
    this.throwIfFailed()
    const { newFindings, historyError } = await catalog.commitRun(owner, {
      ...{ run, state: report.state, findings: sealed, report },
      tagFiles: merged.flatMap(({ tagFile }) => (tagFile ? [tagFile] : [])),
      counters: { ...report.events, tags: report.tags, findings: report.findings },
    })
    if (historyError) this.log('warn', 'the history will be written by the next run', { reason: historyError.message })
    try {
      removeRunFolder(this.options.dataDir, run)
    } catch (error) {
      // Nothing is lost with it: the next run's sweep removes it.
      this.log('warn', 'task files could not be removed', { path: this.directory, reason: (error as Error).message })
    }
    return { run, report, newFindings, seconds: (Date.now() - this.started) / 1000 }
  }

  /** Of an event whose worker died only the row is known. */
  private async nameSkipped(duckdb: DuckDb): Promise<void> {
    const paths = new Map(this.segments.map(({ segment, path }) => [segment, path]))
    for (const [at, { result, ...piece }] of this.done.entries()) {
      if (!result.skipped.some(({ event, rows }) => event === null && rows === 1)) continue
      const path = paths.get(piece.segment)!
      const skipped: Skipped[] = []
      for (const one of result.skipped) {
        if (one.event !== null || one.rows !== 1) skipped.push(one)
        else {
          const rows = parquetFiles([path], 'file_row_number = true')
          const sql = `SELECT id FROM ${rows} WHERE file_row_number = ${one.first}`
          const [row] = await duckdb.rows({ sql, files: [path] }).catch(() => [])
          skipped.push({ ...one, event: (row?.id as number | undefined) ?? null })
        }
      }
      this.done[at] = { ...piece, result: { ...result, skipped } }
    }
  }

  private report(
    plan: Plan,
    merged: readonly MergedSegment[],
    findings: number,
    reports: FoldResults['reports'],
    givenUp: ReadonlyMap<string, string>,
  ): RunReport {
    const without = new Set(givenUp.keys())
    const labels = labelCounts(merged, without)
    const skipped = this.done.flatMap(({ result }) => result.skipped).sort(bySkippedPlace)
    const warnings: Warning[] = [
      ...[...givenUp].sort().map(([plugin, reason]) => ({
        ...{ plugin, event: null },
        message: `given up, and its results left out, since it failed at event after event: ${reason}`,
      })),
      ...plan.offline.map((segment) => ({
        ...{ plugin: null, event: null },
        message: `segment ${segment} may hold events asked for, and is offline`,
      })),
      ...Object.entries(reports).flatMap(([plugin, { warnings: own = [] }]) =>
        without.has(plugin) ? [] : own.map((message) => ({ plugin, event: null, message })),
      ),
      ...skippedWarnings(skipped.filter(({ plugin }) => plugin === null || !without.has(plugin))),
    ]
    const plugins = this.plugins.map((plugin) =>
      pluginSummary(plugin, {
        labels: labels.get(plugin.name) ?? new Map(),
        report: without.has(plugin.name) ? undefined : reports[plugin.name],
        skipped: skipped.filter((one) => one.plugin?.split(', ').includes(plugin.name)).length,
        isGivenUp: without.has(plugin.name),
      }),
    )
    this.reports = plugins.length
    const { filtered, total, ...counts } = this.eventCounts()
    const { expression, mode, time1, time2 } = plan.selection
    return {
      ...{ run: this.run!, state: warnings.length > 0 ? 'partial' : 'finished', collection: plan.collection },
      ...{ expression, mode, from: time1, to: time2, limit: plan.limit },
      ...{ command_line: this.options.commandLine, producer: this.options.producer },
      ...{ started: this.started * 1_000, ended: Date.now() * 1_000 },
      events: {
        ...{ total, read: counts.rows, filtered, in_time_slice: counts.inTimeSlice },
        ...{ duplicates: counts.duplicates, analyzed: counts.events },
      },
      ...{ tags: this.mergedTags, findings, plugins, warnings },
    }
  }

  /** Records that the run has ended without results, so that it can be resumed. */
  private async end(owner: Owner, error: ColdtrailError): Promise<void> {
    await this.foreman?.stop(ABORT)
    if (this.run === null) return
    try {
      await this.recording
      const state = error.code === 'E_INTERRUPTED' ? 'aborted' : 'failed'
      await this.catalog.endRun(owner, this.run, state, error.message)
      this.log('warn', 'the run has ended without results', {
        run: this.run,
        resume: `coldtrail analyze --resume ${this.run}`,
      })
    } catch (thrown) {
      // Its lock is free when this process has ended, and that says the same.
      this.log('warn', 'the end of the run could not be recorded', { reason: asColdtrailError(thrown).message })
    }
  }

  // --- status ---

  private status(): AnalyzeStatus {
    const statuses = this.foreman?.statuses() ?? []
    const counts = this.eventCounts()
    const seconds = (Date.now() - this.started) / 1000
    const working = this.workStarted === undefined ? 0 : (performance.now() - this.workStarted) / 1000
    const planned = this.segments.reduce((sum, { rows }) => sum + rows, 0)
    const rate = working > 0 ? (counts.rows - this.rowsResumed) / working : 0
    const left = planned - counts.rows
    const firstDone = this.done.filter(({ pass }) => pass === 1)
    return {
      run: this.run,
      foreman: {
        ...{ identifier: 'Main', pid: process.pid, status: this.indicator, memory: process.memoryUsage.rss() },
        consumed: {
          ...NO_WORK,
          ...{ sources: new Set(firstDone.map(({ segment }) => segment)).size, eventData: counts.rows },
          ...{ events: counts.events, tags: this.mergedTags === 0 ? 0 : counts.tags },
        },
        produced: { ...NO_WORK, tags: this.mergedTags, reports: this.reports },
        ...{ task: this.task, plugin: null, lastActivity: Date.now(), restarts: 0 },
      },
      workers: statuses.map((status) => {
        const tally = this.tallyOf(status.worker)
        return {
          ...{ identifier: `worker_${String(status.worker).padStart(2, '0')}`, pid: status.pid ?? null },
          ...{ status: indicatorOf(status, this.hasStopped), memory: status.rss },
          ...{ consumed: tally.consumed, produced: tally.produced },
          ...{ task: tally.current?.name ?? null, plugin: tally.current?.progress?.plugin ?? null },
          ...{ lastActivity: status.lastActivity, restarts: status.restarts },
        }
      }),
      events: {
        ...{ filtered: counts.filtered, inTimeSlice: counts.inTimeSlice, duplicates: counts.duplicates },
        ...{ macbGrouped: 0, total: counts.total },
      },
      tasks: {
        done: this.done.length,
        total: Math.max(this.totalPieces, this.done.length + this.pieces.length + this.inHand.size),
      },
      seconds,
      eventsPerSecond: rate,
      secondsLeft: rate > 0 && left > 0 ? left / rate : left === 0 ? 0 : null,
      aborting: this.error?.code === 'E_INTERRUPTED',
    }
  }

  /** Of the first pass: the second one looks at the same events. */
  private eventCounts(): PieceCounts & { readonly total: number; readonly filtered: number } {
    let counts = NO_COUNTS
    for (const { pass, result } of this.done) {
      const { tags } = result.counts
      counts = addCounts(counts, pass === 1 ? result.counts : { ...NO_COUNTS, tags })
    }
    const planned = this.segments.reduce((sum, { rows }) => sum + rows, 0)
    const filtered = this.notRead + counts.rows - counts.duplicates - counts.events
    return { ...counts, filtered, total: this.notRead + planned }
  }

  // --- small ---

  private tallyOf(worker: number): WorkerTally {
    this.tallies[worker] ??= new WorkerTally()
    return this.tallies[worker]
  }

  private watchMemory(): void {
    const limit = this.options.processMemoryBytes ?? PROCESS_MEMORY
    const used = process.memoryUsage.rss()
    if (this.profile.has('memory')) this.profile.note('memory', 'rss', used)
    // Before the run is in the catalog there would be nothing to resume.
    if (limit > 0 && used > limit && this.run !== null)
      this.fail(new ColdtrailError('E_ANALYSIS_MEMORY', { used, limit }))
  }

  private fail(error: ColdtrailError): void {
    if (this.error) return
    this.error = error
    this.halt.abort(error)
    this.wake()
  }

  private throwIfFailed(): void {
    if (this.error) throw this.error
  }

  /** `meanwhile`: something to do while waiting; whether there was. */
  /** What a plugin does here is waited for as long as the run goes on, whether the plugin heeds its signal or not. */
  private async unlessFailed<T>(work: T | Promise<T>): Promise<T> {
    const { signal } = this.halt
    const { promise: failed, reject } = Promise.withResolvers<never>()
    const fail = (): void => reject(this.error)
    signal.addEventListener('abort', fail)
    if (signal.aborted) fail()
    try {
      return await Promise.race([work, failed])
    } finally {
      signal.removeEventListener('abort', fail)
    }
  }

  private async until(isMet: () => boolean, meanwhile: () => Promise<boolean>): Promise<void> {
    while (!isMet()) {
      this.throwIfFailed()
      if (await meanwhile()) continue
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
      this.foreman?.wake()
    }
    this.throwIfFailed()
  }
}

const MEMORY_MILLISECONDS = 250
/** In the catalog, the second pass is told from the first by rows that no segment has. */
const SECOND_PASS_ROWS = 2 ** 40
const FOLDS_FILE = 'folds.bin'
const STORAGE_FAULTS: ReadonlySet<string> = new Set(['E_DISK_FULL', 'E_FILE_WRITE'])

interface Given {
  readonly collection: string
  /** What was given as collection. */
  readonly readFrom: string
  readonly chosen: readonly ChosenPlugin[]
  readonly selection: Selection
  readonly limit: number | null
  readonly taskRows: number
  readonly resumed: { readonly row: RunRow; readonly stored: StoredPlan } | undefined
}

interface Plan extends Given {
  readonly scope: readonly SegmentRow[]
  readonly offline: readonly number[]
}

interface FoldResults {
  readonly reports: Readonly<Record<string, PluginReport>>
  readonly second: SecondPass
}

const nameOf = ({ pass, segment, first }: Pick<Piece, 'pass' | 'segment' | 'first'>): string =>
  `${pass}/${segment}/${first}`
