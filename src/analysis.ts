/** The analyses as a person or a program uses them: run plugins, see what runs came to, remove them. */
import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { AnalyzeSummary } from './analyze/analyze.ts'
import type { PlasoTagsOptions, PlasoTagsSummary } from './analyze/exportPlasoTags.ts'
import { PROFILERS, type Profiler } from './analyze/profile.ts'
import type { PluginSummary, RunReport, Warning } from './analyze/report.ts'
import { type AnalyzeStatus, firstStatus } from './analyze/status.ts'
import type { PluginComponent, PluginContext, UserAccount } from './components/plugin.ts'
import type { Config } from './config.ts'
import { asColdtrailError, ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import type { Library } from './library/library.ts'
import type { Catalog, RemovedRun, RunRow } from './store/catalog.ts'
import { VERSION } from './version.ts'

export type { AnalyzeSummary } from './analyze/analyze.ts'
export type { PlasoTagsSummary } from './analyze/exportPlasoTags.ts'
export { PROFILERS, type Profiler } from './analyze/profile.ts'
export type { PluginSummary, RunReport, Warning } from './analyze/report.ts'
export {
  type AnalyzeStatus,
  INDICATORS,
  type Indicator,
  type ProcessStatus,
  type WorkCounts,
} from './analyze/status.ts'

export interface AnalyzeRequest {
  /** Names; with `resume` none. */
  readonly plugins?: readonly string[]
  /** By plugin; over what the configuration says. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly expression?: string
  readonly mode?: 'strict' | 'plaso'
  /** Microseconds UTC, both included. */
  readonly from?: number
  readonly to?: number
  readonly collection?: string
  /** Only so many events, those with the lowest ids. */
  readonly limit?: number
  readonly workers?: number
  /** Rows of a task. */
  readonly taskRows?: number
  /** Bytes; 0 = none. */
  readonly workerMemoryLimit?: number
  readonly processMemoryLimit?: number
  readonly workerTimeoutMinutes?: number
  readonly resume?: number
  readonly profilers?: readonly Profiler[]
  /** Default: `profiles` below the current directory. */
  readonly profilingDirectory?: string
  /** Kept with the run. */
  readonly commandLine?: string
  readonly signal?: AbortSignal
  /** Before the call returns, then each `statusMilliseconds` (500), and at the end. */
  readonly onStatus?: (status: AnalyzeStatus) => void
  readonly statusMilliseconds?: number
}

export type PlasoTagsRequest = Pick<PlasoTagsOptions, 'file' | 'out' | 'run'> & { readonly collection?: string }

export interface PluginInfo {
  readonly name: string
  readonly summary: string
  readonly version: number
  /** Module of one of the user's own. */
  readonly module: string | null
  readonly options: readonly PluginOptionInfo[]
  /** What it says of itself as it is configured, line by line. */
  readonly notes: readonly string[]
}

export interface PluginOptionInfo {
  /** `--<plugin>-<name>` with `-` for `_`. */
  readonly name: string
  readonly description: string
  readonly required: boolean
  /** JSON Schema's name of its type, where it has one. */
  readonly type?: string
  readonly default?: unknown
  readonly secret?: boolean
}

export interface Analysis {
  /** Runs plugins over events; what ends it without results is thrown, and the run can be resumed. */
  run(request: AnalyzeRequest): Promise<AnalyzeSummary>
  /** Plugins of the program and of `analysis.plugins_dir`, by name. */
  plugins(): Promise<readonly PluginInfo[]>
  /** Newest first. */
  runs(): Promise<readonly RunRow[]>
  /** E_RUN_UNKNOWN, E_RUN_STATE for a run without results. */
  report(run: number): Promise<RunReport>
  /** What one plugin came to in a run. */
  results(run: number, plugin: string): Promise<PluginSummary & { readonly warnings: readonly Warning[] }>
  /**
   * Writes tags and reports into a copy of a timeline that was collected, for plaso to read. E_TIMELINE_UNKNOWN,
   * E_TIMELINE_FILE, E_RUN_UNKNOWN.
   */
  exportPlasoTags(request: PlasoTagsRequest): Promise<PlasoTagsSummary>
  /** Removes a run with its tags, and its findings that no other run has. */
  remove(run: number): Promise<RemovedRun>
}

export function analysis(
  config: Config,
  parts: {
    readonly catalog: () => Promise<Catalog>
    readonly library: () => Promise<Library>
    readonly requireData: () => void
    readonly log: Log
  },
): Analysis {
  const { catalog, requireData, log } = parts
  const settings = config.analysis
  const opened = async (): Promise<Catalog> => {
    requireData()
    return catalog()
  }
  const report = async (run: number): Promise<RunReport> => (await (await opened()).runReport(run)) as RunReport
  return {
    async run(request) {
      requireData()
      // What opens a catalog takes longer to load than a person should wait for a sign.
      request.onStatus?.(firstStatus())
      const open = await opened()
      open.requireWritable()
      const { analyze } = await import('./analyze/analyze.ts')
      const collection = request.collection ?? 'main'
      const [{ collectionNames }, { knownCollections }] = await Promise.all([
        import('./store/collectionNames.ts'),
        import('./store/workbench.ts'),
      ])
      const known = await knownCollections(open)
      const unknown = collectionNames(collection).find((name) => name !== 'main' && !known.includes(name))
      if (unknown !== undefined)
        throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name: unknown, known: known.join(', ') || 'none' })
      const names = request.plugins ?? []
      const configured = (name: string): Record<string, unknown> => ({
        ...(settings[name] as Record<string, unknown> | undefined),
        ...request.options?.[name],
      })
      const asked = request.resume === undefined ? names : Object.keys({ ...settings, ...request.options })
      const { signal, onStatus, statusMilliseconds, profilers = [] } = request
      const timeout = request.workerTimeoutMinutes ?? settings.worker_timeout_mins
      return analyze({
        ...{ catalog: open, dataDir: config.data_dir, collection, log, signal, onStatus, statusMilliseconds },
        plugins: asked.map((name) => ({ name, options: configured(name) })),
        pluginsDirectory: settings.plugins_dir,
        ...{ expression: request.expression, mode: request.mode, from: request.from, to: request.to },
        ...{ limit: request.limit, resume: request.resume },
        workers: request.workers ?? settings.workers,
        taskRows: request.taskRows ?? settings.task_rows,
        workerMemoryBytes: request.workerMemoryLimit ?? settings.worker_memory_bytes,
        processMemoryBytes: request.processMemoryLimit ?? settings.process_memory_bytes,
        workerTimeoutMilliseconds: timeout * 60_000,
        ...(profilers.length > 0 && { profile: { profilers, directory: request.profilingDirectory ?? 'profiles' } }),
        commandLine: request.commandLine ?? '',
        producer: `coldtrail/${VERSION}`,
        context: {
          ...{ base: baseOf(config), environment: process.env },
          indicators: () => activeIndicators(config, parts.library),
          userAccounts: () => userAccounts(open, collection),
        },
      })
    },
    async plugins() {
      const { findPlugins } = await import('./analyze/plugins.ts')
      const found = await findPlugins(settings.plugins_dir)
      return [...found.values()]
        .filter(({ component }) => !component.hidden)
        .map(({ component, module }) => {
          const { name, summary, version, options } = component
          const notes = notesOf(component, settings[name], baseOf(config))
          return { name, summary, version, module, options: pluginOptions(options), notes }
        })
        .sort((a, b) => (a.name < b.name ? -1 : 1))
    },
    runs: async () => (await opened()).runs(),
    report,
    async results(run, plugin) {
      const { plugins, warnings } = await report(run)
      const found = plugins.find((one) => one.plugin === plugin)
      if (!found) {
        const known = plugins.map((one) => one.plugin).join(', ')
        throw new ColdtrailError('E_PLUGIN_UNKNOWN', { name: `${plugin} in run ${run}`, suggestion: '', known })
      }
      return { ...found, warnings: warnings.filter((one) => one.plugin === plugin) }
    },
    async exportPlasoTags({ collection = 'main', ...request }) {
      const { exportPlasoTags } = await import('./analyze/exportPlasoTags.ts')
      return exportPlasoTags({ ...request, collection, catalog: await opened(), dataDir: config.data_dir })
    },
    async remove(run) {
      const open = await opened()
      open.requireWritable()
      const owner = await open.owner('analyze')
      try {
        const removed = await open.removeRun(owner, run)
        const { removeRunFolder } = await import('./analyze/runFolder.ts')
        removeRunFolder(config.data_dir, run)
        return removed
      } finally {
        await owner.release()
      }
    },
  }
}

export const PROFILER_NAMES = Object.keys(PROFILERS) as readonly Profiler[]

/** Options of a plugin's schema, in the order of their declaration. */
export function pluginOptions(schema: z.ZodObject): PluginOptionInfo[] {
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Record<string, { description?: string; type?: string; default?: unknown; secret?: boolean }>
    required?: string[]
  }
  return Object.entries(properties).map(([name, field]) => ({
    ...{ name, description: field.description ?? '', required: required.includes(name) },
    ...(field.type !== undefined && { type: field.type }),
    ...(field.default !== undefined && { default: field.default }),
    ...(field.secret && { secret: true }),
  }))
}

// --- internal ---

/** Relative paths of options mean this directory. */
const baseOf = (config: Config): string => (config.file === undefined ? process.cwd() : dirname(config.file))

function notesOf(component: PluginComponent, configured: unknown, base: string): readonly string[] {
  const options = component.options.safeParse(configured ?? {})
  if (!component.describe || !options.success) return []
  try {
    return component.describe(options.data, base)
  } catch (error) {
    return [asColdtrailError(error).message]
  }
}

/** What the timelines of a collection say of accounts: each once, from the reports of their runs. */
async function userAccounts(catalog: Catalog, collection: string): Promise<readonly UserAccount[]> {
  const accounts = new Map<string, UserAccount>()
  for (const { run, kind, sequence } of await catalog.runs({ collection })) {
    if (kind !== 'imported' || sequence === null) continue
    const { plugins } = (await catalog.runReport(run)) as RunReport
    for (const { rows = [] } of plugins.filter(({ plugin }) => plugin === 'user_accounts'))
      for (const { username, user_directory: directory } of rows)
        if (typeof username === 'string' && typeof directory === 'string')
          accounts.set(JSON.stringify([username, directory]), { username, directory })
  }
  return [...accounts.values()]
}

async function* activeIndicators(
  config: Config,
  library: () => Promise<Library>,
): ReturnType<PluginContext['indicators']> {
  // Who has none need not get an empty library.
  if (config.catalog_url === undefined && !existsSync(join(realpathSync(config.data_dir), 'library.db'))) return
  const { liveIndicators } = await import('./library/liveIndicators.ts')
  yield* liveIndicators(await library())
}
