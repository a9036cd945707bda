/**
 * What a worker does with a piece: selects its events, runs every plugin of the run on them, and writes the task file. A
 * plugin that throws is given smaller and smaller parts until the event that it throws at is alone, and that one is
 * skipped with its reason; what it did before it threw is undone.
 */
import { join } from 'node:path'
import type { EmitLabel, FoldPlugin, Hit, MapPlugin, Plugin, Rule } from '../components/plugin.ts'
import { type ColumnBatch, NULL_TEXT, type NumberColumn, type TextColumn } from '../core/columnBatch.ts'
import { COLUMN_BY_NAME, EVENT_COLUMNS } from '../core/columns.ts'
import { asColdtrailError, ColdtrailError, printable } from '../core/errors.ts'
import { isRefusedMemory } from '../engine/worker.ts'
import { compile, type EventAccess } from '../query/expression.ts'
import { columnBatches, type RowFilter, type RowRange, rangeRelation } from '../store/columnBatches.ts'
import { type DuckDb, parquetFiles } from '../store/duckdb.ts'
import { isLabel, tagPath } from '../store/tags.ts'
import { HitList } from './hits.ts'
import { type Profile, secondsSince } from './profile.ts'
import {
  bitsOf,
  type CompiledRule,
  compileRule,
  type RuleStatement,
  ruleStatement,
  WORD_BITS,
} from './ruleStatement.ts'
import { allOf, type CompiledSelection, common, compileSelection, dataTypesOf, filterOf } from './selection.ts'
import { writeTaskFile } from './taskFile.ts'
import {
  ALL_RULES,
  MAX_FAILURES,
  NO_COUNTS,
  type Piece,
  type PieceCounts,
  type PieceResult,
  type Progress,
  RECORD_BATCH_ROWS,
  type SecondPass,
  type SegmentPlan,
  type Skipped,
  type WorkerInit,
} from './tasks.ts'

export interface StartedPlugin {
  readonly name: string
  readonly plugin: Plugin
}

export const taskFileName = ({ pass, segment, first }: Pick<Piece, 'pass' | 'segment' | 'first'>): string =>
  `task-${pass}-${String(segment).padStart(9, '0')}-${String(first).padStart(12, '0')}.task`

export class PieceWorker {
  private readonly init: WorkerInit
  private readonly duckdb: DuckDb
  private readonly plugins: readonly StartedPlugin[]
  private readonly profile: Profile
  private readonly tell: (progress: Progress) => void
  private readonly segments: ReadonlyMap<number, SegmentPlan>
  private readonly selection: CompiledSelection
  private readonly rules: readonly CompiledRule[]
  private second:
    | {
        readonly rules: readonly CompiledRule[]
        readonly intervals: SecondPass['intervals']
        /** By plugin and column: what each value means. */
        readonly values: readonly ValueTable[]
      }
    | undefined
  private readonly statements = new Map<string, RuleStatement | undefined>()

  constructor(
    init: WorkerInit,
    parts: {
      readonly duckdb: DuckDb
      readonly plugins: readonly StartedPlugin[]
      readonly profile: Profile
      readonly tell: (progress: Progress) => void
    },
  ) {
    this.init = init
    this.duckdb = parts.duckdb
    this.plugins = parts.plugins
    this.profile = parts.profile
    this.tell = parts.tell
    this.segments = new Map(init.segments.map((segment) => [segment.segment, segment]))
    this.selection = compileSelection(init.selection)
    this.rules = rulesOf(parts.plugins).map((rule) => compileRule(rule, init.selection.now))
  }

  /** What folds found, once it is known. */
  beginSecondPass({ rules, intervals, values }: SecondPass): void {
    const compiled = rules.map((rule) => compileRule(rule, this.init.selection.now))
    this.second = { rules: compiled, intervals, values: valueTables(values) }
    this.statements.clear()
  }

  async run(piece: Piece): Promise<PieceResult> {
    const segment = this.segments.get(piece.segment)!
    const { path, hidden, tags } = segment
    const range = { segment: piece.segment, path, first: piece.first, rows: piece.rows, hidden, tags }
    const work = new OnePiece(piece, range, this.tell)
    const name = taskName(piece)
    const steps = <T>(step: string, action: () => Promise<T>): Promise<T> =>
      this.profile.timed('processing', [step, name], action)
    if (this.profile.has('memory')) this.profile.note('memory', name, process.memoryUsage.rss())

    const filter = await steps('select', () => this.select(work))
    const present = common(segment.dataTypes, this.selection.dataTypes)
    if (work.counts.events > 0) {
      const { rules, intervals, values } =
        piece.pass === 2 && this.second ? this.second : { rules: this.rules, intervals: [], values: [] }
      const wanted = rules.filter(({ plugin }) => !piece.without.includes(plugin))
      await steps('rules', () => this.runRules(work, wanted, present, filter))
      await steps('predicates', () => this.runPredicates(work, wanted, present, filter))
      for (const one of intervals)
        if (!piece.without.includes(one.plugin)) await steps('intervals', () => this.runIntervals(work, one, filter))
      for (const one of values)
        if (!piece.without.includes(one.plugin)) await steps('values', () => this.runValues(work, one, filter))
      if (piece.pass === 1)
        for (const { name: plugin, plugin: what } of this.plugins) {
          if (what.shape === 'rules' || piece.without.includes(plugin)) continue
          const own = what.where === undefined ? undefined : compile(what.where, { now: this.init.selection.now })
          if (own && common(present, dataTypesOf(own))?.length === 0) {
            if (what.shape === 'fold') work.states[plugin] = what.empty()
            continue
          }
          const started = performance.now()
          const both = allOf([filter, own && filterOf(own, 'w_')])
          await steps(what.shape, () =>
            what.shape === 'map' ? this.runMap(work, plugin, what, both) : this.runFold(work, plugin, what, both),
          )
          this.profile.note('analyzers', plugin, name, secondsSince(started))
        }
    }
    return steps('write', async () => this.write(work))
  }

  // --- internal ---

  private write(work: OnePiece): PieceResult {
    const { piece, skipped, givenUp, states } = work
    for (const plugin of Object.keys(givenUp)) {
      work.hits.drop(plugin)
      delete states[plugin]
    }
    const hits = work.hits.sorted()
    const counts = { ...work.counts, tags: hits.ids.length }
    const file = taskFileName(piece)
    const started = performance.now()
    writeTaskFile(join(this.init.runDirectory, file), { piece, counts, hits, states })
    this.profile.note('serializers', 'write', taskName(piece), secondsSince(started), hits.ids.byteLength * 1.5)
    return { file, counts, states: Object.keys(states).length, skipped, givenUp }
  }

  /** Counts what is selected, and answers the filter that gives it. */
  private async select(work: OnePiece): Promise<RowFilter | undefined> {
    const { slice, filter, predicate } = this.selection
    const { range, piece } = work
    const hidden = range.hidden.length > 0 ? `session_id IN (${range.hidden})` : 'FALSE'
    if (!filter && !predicate && range.hidden.length === 0) {
      work.counts = { ...NO_COUNTS, rows: piece.rows, inTimeSlice: piece.rows, events: piece.rows }
      return undefined
    }
    work.at('(selection)')
    const seen = `NOT (${hidden})`
    const counted = (condition: string): string => `count(*) FILTER (WHERE ${condition})::DOUBLE`
    const sql = `SELECT count(*)::DOUBLE AS rows, ${counted(hidden)} AS duplicates,
      ${counted(`${seen} AND ${slice?.sql ?? 'TRUE'}`)} AS slice, ${counted(`${seen} AND ${filter?.sql ?? 'TRUE'}`)} AS events
      FROM ${rangeRelation({ ...range, hidden: [] }, undefined, filter?.needsTags)} AS r`
    const [row] = await this.duckdb.rows({ sql, parameters: filter?.parameters, files: filesOf(range, filter) })
    const { rows, duplicates, slice: inTimeSlice, events } = row as Record<string, number>
    work.counts = { rows: rows!, duplicates: duplicates!, inTimeSlice: inTimeSlice!, events: events!, tags: 0 }
    if (!predicate || events === 0) return filter
    const ids: number[] = []
    for await (const { batch, access } of this.wholeEvents(work, '(selection)', filter))
      for (let row = 0; row < batch.rows; row++) if (predicate.predicate(access(row))) ids.push(batch.ids[row]!)
    work.counts = { ...work.counts, events: ids.length }
    const picked = {
      sql: 'id IN (SELECT unnest(CAST($picked::JSON AS BIGINT[])))',
      parameters: { picked: JSON.stringify(ids) },
      needsTags: false,
    }
    return picked
  }

  // --- rules ---

  private async runRules(
    work: OnePiece,
    rules: readonly CompiledRule[],
    present: readonly string[] | undefined,
    filter: RowFilter | undefined,
  ): Promise<void> {
    if (rules.length === 0) return
    const key = JSON.stringify([work.piece.pass, work.piece.without, present])
    if (!this.statements.has(key)) this.statements.set(key, ruleStatement(rules, present))
    const statement = this.statements.get(key)
    if (!statement) return
    const { range } = work
    const whole = { first: range.first, rows: range.rows }
    await this.byHalves(
      whole,
      (part) => this.runStatement(work, rules, statement, filter, part),
      async (part, error) => {
        // Which of the plugins it is, their own rules tell.
        for (const plugin of new Set(rules.map((rule) => rule.plugin))) {
          const own = rules.filter((rule) => rule.plugin === plugin)
          const alone = ruleStatement(own, present)
          if (!alone || work.isGivenUp(plugin)) continue
          const reached = work.hits.length
          try {
            await this.runStatement(work, own, alone, filter, part)
          } catch (thrown) {
            work.hits.truncate(reached)
            await this.skip(work, plugin, part, asColdtrailError(thrown).code === error.code ? error : thrown)
          }
        }
      },
    )
  }

  /** Runs an action over a range of rows, and where DuckDB cannot, over its halves; one row that fails is `alone`. */
  private async byHalves(
    part: Rows,
    action: (part: Rows) => Promise<void>,
    alone: (part: Rows, error: ColdtrailError) => Promise<void>,
  ): Promise<void> {
    try {
      await action(part)
    } catch (thrown) {
      const error = asColdtrailError(thrown)
      // Memory and damaged files are no fault of an event: the foreman decides.
      if (error.code !== 'E_QUERY') throw thrown
      if (part.rows === 1) return alone(part, error)
      const half = Math.ceil(part.rows / 2)
      await this.byHalves({ first: part.first, rows: half }, action, alone)
      await this.byHalves({ first: part.first + half, rows: part.rows - half }, action, alone)
    }
  }

  private async runStatement(
    work: OnePiece,
    rules: readonly CompiledRule[],
    statement: RuleStatement,
    filter: RowFilter | undefined,
    part: Rows,
  ): Promise<void> {
    const { hits } = work
    const reached = hits.length
    const range = { ...work.range, ...part }
    work.at(ALL_RULES, part.first, part.first + part.rows - 1)
    const kinds = rules.map((rule) => hits.kind(rule.plugin, rule))
    const { words, groups, needsTags } = statement
    const decoded = Array.from({ length: words }, () => groups.map(() => new Map<number, readonly number[]>()))
    const names = Array.from({ length: words }, (_, at) => `word${at}`)
    const query = {
      sql: `SELECT id::DOUBLE AS id, ${statement.select} FROM ${rangeRelation(range, filter, needsTags)} AS r`,
      parameters: { ...filter?.parameters, ...statement.parameters },
      files: filesOf(range, filter, needsTags),
    }
    const started = performance.now()
    let rows = 0
    try {
      for await (const chunk of this.duckdb.columns(query)) {
        const [ids, group] = [chunk.numbers('id'), chunk.numbers('group')]
        names.forEach((name, at) => {
          const bits = chunk.numbers(name)
          for (let row = 0; row < bits.length; row++) {
            const word = bits[row]!
            if (word === 0) continue
            // Few different words occur.
            const known = decoded[at]![group[row]!]!
            let found = known.get(word)
            if (!found) {
              const own = groups[group[row]!]!
              found = bitsOf(word).map((bit) => kinds[own[at * WORD_BITS + bit]!]!)
              known.set(word, found)
            }
            for (const kind of found) hits.add(ids[row]!, kind)
          }
        })
        rows += chunk.rows
        work.beat()
      }
    } catch (error) {
      hits.truncate(reached)
      throw error
    }
    this.profile.note('storage', 'rules', taskName(work.piece), secondsSince(started), rows)
  }

  /** Rules without SQL, on whole events. */
  private async runPredicates(
    work: OnePiece,
    rules: readonly CompiledRule[],
    present: readonly string[] | undefined,
    filter: RowFilter | undefined,
  ): Promise<void> {
    const wanted = rules.filter(({ hasSql, dataTypes }) => !hasSql && common(present, dataTypes)?.length !== 0)
    if (wanted.length === 0) return
    const kinds = wanted.map((rule) => work.hits.kind(rule.plugin, rule))
    for await (const { batch, access } of this.wholeEvents(work, ALL_RULES, filter))
      for (let row = 0; row < batch.rows; row++) {
        const event = access(row)
        wanted.forEach(({ compiled }, i) => {
          if (compiled.predicate(event)) work.hits.add(batch.ids[row]!, kinds[i]!)
        })
      }
  }

  /** Batches with every column, and each event as predicates see it. */
  private async *wholeEvents(
    work: OnePiece,
    plugin: string,
    filter: RowFilter | undefined,
  ): AsyncGenerator<{ readonly batch: ColumnBatch; readonly access: (row: number) => EventAccess }> {
    const { range, piece } = work
    const labels = await this.labelsOf(range)
    const batchRows = Math.min(piece.batchRows, RECORD_BATCH_ROWS)
    for await (const { batch, first, last } of columnBatches(this.duckdb, range, WHOLE, { filter, batchRows })) {
      work.at(plugin, first, last)
      yield { batch, access: (row) => new BatchEvent(batch, row, labels) }
    }
  }

  /** Labels of earlier runs by event id. */
  private async labelsOf({ tags, ...range }: RowRange): Promise<ReadonlyMap<number, readonly string[]>> {
    const found = new Map<number, string[]>()
    if (tags.length === 0) return found
    const ids = `SELECT id FROM ${rangeRelation({ ...range, tags }, undefined)}`
    const files = tags.map(tagPath)
    const sql = `SELECT DISTINCT id, label FROM ${parquetFiles(files)} WHERE id IN (${ids}) ORDER BY id, label`
    for await (const rows of this.duckdb.stream({ sql, files: [...files, range.path] }))
      for (const { id, label } of rows) {
        const held = found.get(id as number)
        if (held) held.push(label as string)
        else found.set(id as number, [label as string])
      }
    return found
  }

  private async runIntervals(
    work: OnePiece,
    { plugin, time1, time2, labels }: SecondPass['intervals'][number],
    filter: RowFilter | undefined,
  ): Promise<void> {
    const { hits, range, piece } = work
    const kinds = new Map<number, number>()
    let at = 0
    const options = { filter, batchRows: piece.batchRows }
    for await (const { batch, first, last } of columnBatches(this.duckdb, range, ['time'], options)) {
      work.at(plugin, first, last)
      const { values } = batch.columns.time as NumberColumn
      for (let row = 0; row < batch.rows; row++) {
        const time = values[row]!
        // Neighbours mostly lie in one interval.
        if (!(time >= time1[at]! && time <= time2[at]!)) {
          at = lastNotAbove(time1, time)
          if (!(time >= time1[at]! && time <= time2[at]!)) continue
        }
        let kind = kinds.get(at)
        if (kind === undefined) {
          kind = hits.kind(plugin, { label: labels[at]!, rule: '' })
          kinds.set(at, kind)
        }
        hits.add(batch.ids[row]!, kind)
      }
    }
  }

  private async runValues(
    work: OnePiece,
    { plugin, column, where, hits: known, timed }: ValueTable,
    filter: RowFilter | undefined,
  ): Promise<void> {
    const { hits, range, piece } = work
    const own = where && filterOf(compile(where, { now: this.init.selection.now }), 'v_')
    /** What each distinct value of the column means, looked up once. */
    const found = new WeakMap<readonly string[], (readonly ValueHit[] | undefined)[]>()
    const options = { filter: allOf([filter, own || undefined]), batchRows: piece.batchRows }
    const columns = timed ? [column, 'time'] : [column]
    for await (const { batch, first, last } of columnBatches(this.duckdb, range, columns, options)) {
      work.at(plugin, first, last)
      const { values, indexes } = batch.columns[column] as TextColumn
      const times = (batch.columns.time as NumberColumn | undefined)?.values
      let meanings = found.get(values)
      if (!meanings) {
        meanings = values.map((value) => known.get(value))
        found.set(values, meanings)
      }
      if (!meanings.some((one) => one)) continue
      for (let row = 0; row < batch.rows; row++)
        for (const { hit, time1, time2 } of meanings[indexes[row]!] ?? []) {
          if (time1) {
            const time = times![row]!
            const at = lastNotAbove(time1, time)
            if (!(time >= time1[at]! && time <= time2![at]!)) continue
          }
          hits.add(batch.ids[row]!, hits.kind(plugin, hit))
        }
    }
  }

  // --- plugins that look at batches ---

  private async runMap(work: OnePiece, name: string, plugin: MapPlugin, filter: RowFilter | undefined): Promise<void> {
    await this.runBatches(work, name, plugin.columns, filter, (batch, emit) => plugin.label(batch, emit))
  }

  private async runFold(
    work: OnePiece,
    name: string,
    plugin: FoldPlugin,
    filter: RowFilter | undefined,
  ): Promise<void> {
    let state = plugin.empty()
    await this.runBatches(work, name, plugin.columns, filter, (batch, emit) => {
      // A state of its own for each batch: what a batch that fails did to it is forgotten.
      const own = plugin.add(plugin.empty(), batch, emit)
      state = plugin.merge(state, own)
    })
    work.states[name] = state
  }

  private async runBatches(
    work: OnePiece,
    plugin: string,
    columns: readonly string[],
    filter: RowFilter | undefined,
    action: (batch: ColumnBatch, emit: EmitLabel) => void,
  ): Promise<void> {
    const { piece, range, hits } = work
    const emitted = (batch: ColumnBatch): void => {
      const reached = hits.length
      try {
        action(batch, (row, hit) => {
          if (!isLabel(hit.label)) throw new ColdtrailError('E_PLUGIN_LABEL', { plugin, label: hit.label })
          const id = batch.ids[row]
          if (id === undefined) throw new RangeError(`row ${row} of a batch of ${batch.rows}`)
          hits.add(id, hits.kind(plugin, hit))
        })
      } catch (error) {
        hits.truncate(reached)
        throw error
      }
    }
    const carriesRecords = columns.some((name) => COLUMN_BY_NAME.get(name)?.encoding === 'bytes')
    const batchRows = carriesRecords ? Math.min(piece.batchRows, RECORD_BATCH_ROWS) : piece.batchRows
    const batches = columnBatches(this.duckdb, range, columns, { filter, batchRows })
    for await (const { batch, rowNumbers, first, last } of batches) {
      work.at(plugin, first, last)
      isolate(batch, 0, emitted, (at, error) => {
        work.fail(plugin, { event: batch.ids[at]!, first: rowNumbers[at]!, rows: 1 }, error)
        return !work.isGivenUp(plugin)
      })
      if (work.isGivenUp(plugin)) return
    }
  }

  private async skip(work: OnePiece, plugin: string, part: Rows, thrown: unknown): Promise<void> {
    const { path } = work.range
    const sql = `SELECT id FROM ${parquetFiles([path], 'file_row_number = true')} WHERE file_row_number = ${part.first}`
    const [row] = await this.duckdb.rows({ sql, files: [path] })
    work.fail(plugin, { event: row!.id as number, ...part }, thrown)
  }
}

/** Rules of all plugins of rules, with their plugins. */
export function rulesOf(plugins: readonly StartedPlugin[]): (Rule & { readonly plugin: string })[] {
  return plugins.flatMap(({ name, plugin }) =>
    plugin.shape === 'rules' ? plugin.rules.map((rule) => ({ ...rule, plugin: name })) : [],
  )
}

// --- internal ---

interface Rows {
  readonly first: number
  readonly rows: number
}

/** What becomes of a piece while it is worked on. */
class OnePiece {
  readonly piece: Piece
  readonly range: RowRange
  readonly hits = new HitList()
  readonly states: Record<string, unknown> = {}
  readonly skipped: Skipped[] = []
  readonly givenUp: Record<string, string> = {}
  counts: PieceCounts = NO_COUNTS
  private readonly tell: (progress: Progress) => void
  private place = { plugin: '', first: 0, last: 0 }
  private told = 0

  constructor(piece: Piece, range: RowRange, tell: (progress: Progress) => void) {
    this.piece = piece
    this.range = range
    this.tell = tell
  }

  /** Says what comes next, so that it is known if it never comes back. */
  at(plugin: string, first = this.range.first, last = this.range.first + this.range.rows - 1): void {
    this.place = { plugin, first, last }
    this.told = 0
    this.beat()
  }

  beat(): void {
    const now = performance.now()
    if (now - this.told < BEAT_MILLISECONDS) return
    this.told = now
    this.tell({ ...this.place, events: this.counts.events, tags: this.hits.length })
  }

  isGivenUp(plugin: string): boolean {
    return Object.hasOwn(this.givenUp, plugin)
  }

  fail(plugin: string, place: Rows & { readonly event: number }, thrown: unknown): void {
    const reason = printable(thrown instanceof Error ? thrown.message : String(thrown))
    this.skipped.push({ ...place, segment: this.range.segment, rows: 1, plugin, reason })
    const failures = this.skipped.filter((one) => one.plugin === plugin)
    if (failures.length >= MAX_FAILURES) this.givenUp[plugin] = failures[0]!.reason
  }
}

const BEAT_MILLISECONDS = 200

interface ValueTable {
  readonly plugin: string
  readonly column: string
  readonly where: string | undefined
  readonly hits: ReadonlyMap<string, readonly ValueHit[]>
  /** Some of them ask for times. */
  readonly timed: boolean
}

interface ValueHit {
  readonly hit: Hit
  readonly time1?: Float64Array
  readonly time2?: Float64Array
}

function valueTables(given: NonNullable<SecondPass['values']>): ValueTable[] {
  const tables = new Map<
    string,
    Omit<ValueTable, 'hits' | 'timed'> & { hits: Map<string, ValueHit[]>; timed: boolean }
  >()
  for (const { plugin, column, where, values, within, label, rule, finding } of given) {
    const key = JSON.stringify([plugin, column, where])
    const table = tables.get(key) ?? { plugin, column, where, hits: new Map<string, ValueHit[]>(), timed: false }
    tables.set(key, table)
    table.timed ||= within !== undefined
    const meaning = {
      hit: { label, rule, ...(finding && { finding }) },
      ...(within && {
        time1: Float64Array.from(within, ([time1]) => time1),
        time2: Float64Array.from(within, ([, time2]) => time2),
      }),
    }
    for (const value of values) {
      const held = table.hits.get(value)
      if (held) held.push(meaning)
      else table.hits.set(value, [meaning])
    }
  }
  return [...tables.values()]
}

const WHOLE = EVENT_COLUMNS.map(({ name }) => name).filter((name) => name !== 'id')

class BatchEvent implements EventAccess {
  private readonly batch: ColumnBatch
  private readonly row: number
  private readonly labels: ReadonlyMap<number, readonly string[]>

  constructor(batch: ColumnBatch, row: number, labels: ReadonlyMap<number, readonly string[]>) {
    this.batch = batch
    this.row = row
    this.labels = labels
  }

  get(name: string): unknown {
    const { batch, row } = this
    if (name === 'id') return batch.ids[row]
    if (name === 'tag') return this.labels.get(batch.ids[row]!)
    const column = batch.columns[name]
    return column && cellOf(column, row)
  }

  data(): string {
    const text = this.get('data')
    return typeof text === 'string' ? text : ''
  }
}

function cellOf(column: TextColumn | NumberColumn, row: number): string | number | undefined {
  if (column.kind === 'number') {
    const value = column.values[row]!
    return Number.isNaN(value) ? undefined : value
  }
  const index = column.indexes[row]!
  return index === NULL_TEXT ? undefined : column.values[index]
}

/**
 * Runs an action on a batch, and where it throws on parts, down to the one event; `failed` gets its place in the whole
 * batch and says whether to go on. `from`: where this part begins there.
 */
function isolate(
  batch: ColumnBatch,
  from: number,
  action: (batch: ColumnBatch) => void,
  failed: (at: number, error: unknown) => boolean,
): boolean {
  try {
    action(batch)
    return true
  } catch (error) {
    if (isRefusedMemory(error)) throw error
    if (batch.rows === 1) return failed(from, error)
    const half = Math.ceil(batch.rows / 2)
    return (
      isolate(partOf(batch, 0, half), from, action, failed) &&
      isolate(partOf(batch, half, batch.rows), from + half, action, failed)
    )
  }
}

function partOf({ ids, columns }: ColumnBatch, from: number, to: number): ColumnBatch {
  const parts = Object.entries(columns).map(([name, column]) => [
    name,
    column.kind === 'text'
      ? { ...column, indexes: column.indexes.subarray(from, to) }
      : { ...column, values: column.values.subarray(from, to) },
  ])
  return { rows: to - from, ids: ids.subarray(from, to), columns: Object.fromEntries(parts) }
}

/** Index of the last value that is not above; 0 where there is none. */
function lastNotAbove(sorted: Float64Array, value: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle]! <= value) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1)
}

const taskName = ({ pass, segment, first }: Piece): string => `${pass}/${segment}/${first}`

const filesOf = (range: RowRange, filter?: RowFilter, needsTags = false): string[] => [
  range.path,
  ...(needsTags || filter?.needsTags ? range.tags.map(tagPath) : []),
]
