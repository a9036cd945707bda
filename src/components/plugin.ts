/**
 * What an analysis plugin is (docs/design.md §13). One file each under plugins/, one fixture folder each under
 * test/fixtures/plugins/<name>/; `npm run gen` writes the list `all.ts`, option flags, help and docs.
 */
import type { z } from 'zod'
import type { ColumnBatch } from '../core/columnBatch.ts'

export type { ColumnBatch, NumberColumn, TextColumn } from '../core/columnBatch.ts'

export interface PluginComponent<Schema extends z.ZodObject = z.ZodObject, Work = unknown> {
  readonly kind: 'plugin'
  readonly name: string
  readonly summary: string
  /** Raised when the same events give other results: a run of another version is not resumed. */
  readonly version: number
  /** Not listed: it is for tests. */
  readonly hidden?: boolean
  /** Keys are snake_case: `--<plugin>-<key>` on the command line, `analysis: {<plugin>: {<key>: …}}` in the file. */
  readonly options: Schema
  /**
   * In the foreman, before any worker starts: reads files, probes services, compiles rules. What it throws ends the
   * command before anything was done. Plain data goes to the workers.
   */
  prepare(options: z.output<Schema>, context: PluginContext): Promise<Work>
  /** What `analyze list` says of the plugin with these options, line by line: its rules, and those that are slow. */
  describe?(options: z.output<Schema>, base: string): readonly string[]
  /** In foreman and workers alike, from what `prepare` gave: must be cheap or lazy. */
  start(work: Work): Plugin
}

export type Plugin = RulesPlugin | MapPlugin | FoldPlugin

/** Nothing but rules: each event that an expression matches gets its label. */
export interface RulesPlugin {
  readonly shape: 'rules'
  readonly rules: readonly Rule[]
}

export interface Rule {
  /** `[A-Za-z0-9_]+` */
  readonly label: string
  /** Name of the rule; several may give one label. */
  readonly rule: string
  readonly expression: string
  readonly mode: 'strict' | 'plaso'
  /** A match is a finding too. */
  readonly finding?: { readonly severity: Severity; readonly title: string }
}

export type Severity = 'informational' | 'low' | 'medium' | 'high' | 'critical'

/** Looks at batches of columns and labels rows. */
export interface MapPlugin {
  readonly shape: 'map'
  readonly columns: readonly string[]
  /** Only events that match; strict mode. */
  readonly where?: string
  label(batch: ColumnBatch, emit: EmitLabel): void
  report?(labels: ReadonlyMap<string, number>): PluginReport
}

export type Hit = Omit<Rule, 'expression' | 'mode'>
/** `row` counts within the batch. */
export type EmitLabel = (row: number, hit: Hit) => void

/** Gathers a state that merges: any split of the events gives the same result. May label rows as it goes. */
export interface FoldPlugin<State = unknown> {
  readonly shape: 'fold'
  readonly columns: readonly string[]
  readonly where?: string
  /** Plain data (maps, sets and typed arrays too), bounded by distinct values and not by events. */
  empty(): State
  add(state: State, batch: ColumnBatch, emit: EmitLabel): State
  /** Associative; `empty()` is neutral. Called in task order; may change and return `one`. */
  merge(one: State, other: State): State
  /** In the foreman. What it throws ends the run, which can be resumed. */
  finish(state: State, foreman: Foreman): FoldResult | Promise<FoldResult>
}

export interface Foreman<Options = Readonly<Record<string, unknown>>> {
  /** As validated, secrets too: they never go to workers. */
  readonly options: Options
  readonly context: PluginContext
}

export interface FoldResult {
  readonly report: PluginReport
  /** A second pass over the run's events. */
  readonly rules?: readonly Rule[]
  /** Likewise: every event whose column holds one of the values gets the label. */
  readonly values?: readonly ValueHits[]
  /** Sorted, disjoint, both ends included, microseconds: every event within gets the label. */
  readonly intervals?: readonly { readonly time1: number; readonly time2: number; readonly label: string }[]
}

export interface ValueHits extends Hit {
  /** Of texts, or `data.<path>`. */
  readonly column: string
  readonly values: readonly string[]
  /** Only events of these times: sorted, disjoint, both ends included, microseconds. */
  readonly within?: readonly (readonly [time1: number, time2: number])[]
  /** Only events that match; strict mode. */
  readonly where?: string
}

export interface PluginReport {
  /** In the order in which they are printed. */
  readonly counters: readonly (readonly [name: string, count: number])[]
  readonly text?: string
  /** Results that are no tags, one JSON object each. */
  readonly rows?: readonly Readonly<Record<string, string | number | null>>[]
  /** What was left out, and why: the run is then partial. */
  readonly warnings?: readonly string[]
}

/** What a plugin may use of its surroundings before workers start, and when it finishes. */
export interface PluginContext {
  /** Relative paths of options mean this directory. */
  readonly base: string
  readonly signal?: AbortSignal
  readonly environment: Readonly<Record<string, string | undefined>>
  warn(message: string): void
  /** Caches of look-ups lie here. */
  readonly dataDir: string
  /** Data types present in what is analysed, with their formats. */
  readonly dataTypes: readonly string[]
  /** Where the run's times begin; null: with the first event. */
  readonly time1: number | null
  /** A file of plain data for workers, made once: a table too large for a message. */
  scratchFile(name: string): string
  /** Active indicators of the library: type, normalised value, uid; streamed. */
  indicators(): AsyncIterable<{ readonly type: string; readonly value: string; readonly uid: string }>
  /** Of the timelines in what is analysed. */
  userAccounts(): Promise<readonly UserAccount[]>
  /** Of all events with a time in [time1, time2): the last of each value of a column; streamed. */
  lastTimes(
    column: string,
    time1: number,
    time2: number,
  ): AsyncIterable<{ readonly value: string; readonly time: number }>
}

export interface UserAccount {
  readonly username: string
  /** Home directory, as its system writes it. */
  readonly directory: string
}
