/**
 * What a worker does with a piece: selects its events, runs every plugin of the run on them, and writes the task file. A
 * plugin that throws is given smaller and smaller parts until the event that it throws at is alone, and that one is
 * skipped with its reason; what it did before it threw is undone.
 */
import { join } from 'node:path'
import type { EmitLabel, FoldPlugin, Hit, MapPlugin, Plugin, Rule } from '../components/plugin.ts'
import type { ColumnBatch } from '../core/columnBatch.ts'
import { COLUMN_BY_NAME } from '../core/columns.ts'
import { ColdtrailError, printable } from '../core/errors.ts'
import { isRefusedMemory } from '../engine/worker.ts'
import { compile } from '../query/expression.ts'
import { intersection, NONE, type RowSet, rowsOf, rowsWhere, sizeOf, span } from '../query/rowSet.ts'
import { columnBatches, type SelectedRows, textsOf } from '../store/columnBatches.ts'
import { SegmentEvents } from '../store/eventBlocks.ts'
import { isLabel } from '../store/tags.ts'
import { HitList } from './hits.ts'
import { type Profile, secondsSince } from './profile.ts'
import { RuleSet } from './ruleSet.ts'
import { type CompiledSelection, common, compileSelection, dataTypesOf, matchingRows } from './selection.ts'
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
  private readonly plugins: readonly StartedPlugin[]
  private readonly profile: Profile
  private readonly tell: (progress: Progress) => void
  private readonly segments: ReadonlyMap<number, SegmentPlan>
  private readonly selection: CompiledSelection
  private readonly rules: RuleSet
  /** By its text, an expression of a plugin's own: which events it is given. */
  private readonly wheres = new Map<
    string,
    { readonly dataTypes: readonly string[] | undefined; readonly matching: ReturnType<typeof matchingRows> }
  >()
  private second:
    | {
        readonly rules: RuleSet
        readonly intervals: SecondPass['intervals']
        /** By plugin and column: what each value means. */
        readonly values: readonly ValueTable[]
      }
    | undefined

  constructor(
    init: WorkerInit,
    parts: {
      readonly plugins: readonly StartedPlugin[]
      readonly profile: Profile
      readonly tell: (progress: Progress) => void
    },
  ) {
    this.init = init
    this.plugins = parts.plugins
    this.profile = parts.profile
    this.tell = parts.tell
    this.segments = new Map(init.segments.map((segment) => [segment.segment, segment]))
    this.selection = compileSelection(init.selection)
    this.rules = new RuleSet(rulesOf(parts.plugins), init.selection.now)
  }

  /** What folds found, once it is known. */
  beginSecondPass({ rules, intervals, values }: SecondPass): void {
    this.second = { rules: new RuleSet(rules, this.init.selection.now), intervals, values: valueTables(values) }
  }

  async run(piece: Piece): Promise<PieceResult> {
    const segment = this.segments.get(piece.segment)!
    const work = new OnePiece(piece, this.tell)
    const name = taskName(piece)
    const steps = <T>(step: string, action: () => Promise<T>): Promise<T> =>
      this.profile.timed('processing', [step, name], action)
    if (this.profile.has('memory')) this.profile.note('memory', name, process.memoryUsage.rss())

    const events = new SegmentEvents(segment.path, segment.tags)
    try {
      const selected = await steps('select', () => this.select(work, events, segment.hidden))
      const present = common(segment.dataTypes, this.selection.dataTypes)
      if (work.counts.events > 0) {
        const { rules, intervals, values } =
          piece.pass === 2 && this.second ? this.second : { rules: this.rules, intervals: [], values: [] }
        await steps('rules', () => this.runRules(work, rules, rules.asked(present, piece.without), selected))
        for (const one of intervals)
          if (!piece.without.includes(one.plugin))
            await steps('intervals', () => this.runIntervals(work, one, selected))
        for (const one of values)
          if (!piece.without.includes(one.plugin)) await steps('values', () => this.runValues(work, one, selected))
        if (piece.pass === 1) await this.runPlugins(work, present, selected, steps)
      }
    } finally {
      events.close()
    }
    return steps('write', async () => this.write(work))
  }

  // --- internal ---

  private async runPlugins(
    work: OnePiece,
    present: readonly string[] | undefined,
    selected: readonly SelectedRows[],
    steps: <T>(step: string, action: () => Promise<T>) => Promise<T>,
  ): Promise<void> {
    for (const { name: plugin, plugin: what } of this.plugins) {
      if (what.shape === 'rules' || work.piece.without.includes(plugin)) continue
      const started = performance.now()
      await steps(what.shape, async () => {
        const own = this.narrowed(what.where, present, selected)
        return what.shape === 'map' ? this.runMap(work, plugin, what, own) : this.runFold(work, plugin, what, own)
      })
      this.profile.note('analyzers', plugin, taskName(work.piece), secondsSince(started))
    }
  }

  /** What an expression of a plugin's own leaves. */
  private narrowed(
    where: string | undefined,
    present: readonly string[] | undefined,
    selected: readonly SelectedRows[],
  ): readonly SelectedRows[] {
    if (where === undefined) return selected
    let own = this.wheres.get(where)
    if (!own) {
      const compiled = compile(where, { now: this.init.selection.now })
      own = { dataTypes: dataTypesOf(compiled), matching: matchingRows(compiled) }
      this.wheres.set(where, own)
    }
    if (common(present, own.dataTypes)?.length === 0) return []
    const left: SelectedRows[] = []
    for (const { place, rows } of selected) {
      const wanted = own.matching(place.open(), rows)
      if (wanted !== NONE) left.push({ place, rows: wanted })
    }
    return left
  }

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

  /** Counts what is selected, and answers it. */
  private async select(work: OnePiece, events: SegmentEvents, hidden: readonly number[]): Promise<SelectedRows[]> {
    const { slice, rest } = this.selection
    const { piece } = work
    const superseded = new Set(hidden)
    const selected: SelectedRows[] = []
    let [read, duplicates, inTimeSlice, analysed] = [0, 0, 0, 0]
    work.at('(selection)')
    for (const place of events.blocks(piece.first, piece.rows)) {
      const { rows } = place
      const given = span(piece.first - place.first, piece.first + piece.rows - 1 - place.first, rows)
      let wanted: RowSet = given
      if (superseded.size > 0 || slice || rest) {
        const block = place.open()
        if (superseded.size > 0) {
          const sessions = block.numbers('session_id')!
          wanted = intersection(
            wanted,
            rowsWhere(rows, (row) => !superseded.has(sessions[row]!)),
          )
          duplicates += sizeOf(given, rows) - sizeOf(wanted, rows)
        }
        if (slice) wanted = intersection(wanted, slice(block))
        inTimeSlice += sizeOf(wanted, rows)
        if (rest) wanted = rest(block, wanted)
        await this.breathe(work)
      } else inTimeSlice += sizeOf(wanted, rows)
      read += sizeOf(given, rows)
      analysed += sizeOf(wanted, rows)
      if (wanted !== NONE) selected.push({ place, rows: wanted })
    }
    work.counts = { rows: read, duplicates, inTimeSlice, events: analysed, tags: 0 }
    return selected
  }

  /** Messages and signals have their turn. */
  private async breathe(work: OnePiece): Promise<void> {
    work.beat()
    await new Promise(setImmediate)
  }

  private async runRules(
    work: OnePiece,
    { rules, matcher }: RuleSet,
    asked: readonly number[],
    selected: readonly SelectedRows[],
  ): Promise<void> {
    if (asked.length === 0) return
    const { hits, piece } = work
    const started = performance.now()
    const kinds = new Map(asked.map((number) => [number, hits.kind(rules[number]!.plugin, rules[number]!)]))
    for (const { place, rows } of selected) {
      const block = place.open()
      // Fewer at a time where one of them is suspected.
      for (let from = 0; from < place.rows; from += piece.batchRows) {
        const part = intersection(rows, span(from, from + piece.batchRows - 1, place.rows))
        if (part === NONE) continue
        const own = rowsOf(part, place.rows)
        work.at(ALL_RULES, place.first + own[0]!, place.first + own[own.length - 1]!)
        const found = (number: number, matching: Uint32Array): void => {
          const [{ ids }, kind] = [block, kinds.get(number)!]
          for (let i = 0; i < matching.length; i++) hits.add(ids[matching[i]!]!, kind)
        }
        matcher.match(block, part, asked, found, () => work.beat())
        await this.breathe(work)
      }
    }
    this.profile.note('storage', 'rules', taskName(piece), secondsSince(started), work.counts.events)
  }

  private async runIntervals(
    work: OnePiece,
    { plugin, time1, time2, labels }: SecondPass['intervals'][number],
    selected: readonly SelectedRows[],
  ): Promise<void> {
    const { hits } = work
    const kinds = new Map<number, number>()
    let [at, kind] = [0, -1]
    for (const { place, rows } of selected) {
      const block = place.open()
      const times = block.numbers('time')
      if (!times) continue
      work.at(plugin, place.first, place.first + place.rows - 1)
      const { ids } = block
      for (const row of rowsOf(rows, place.rows)) {
        const time = times[row]!
        // Neighbours mostly lie in one interval.
        if (kind < 0 || !(time >= time1[at]! && time <= time2[at]!)) {
          at = lastNotAbove(time1, time)
          if (!(time >= time1[at]! && time <= time2[at]!)) continue
          kind = kinds.get(at) ?? hits.kind(plugin, { label: labels[at]!, rule: '' })
          kinds.set(at, kind)
        }
        hits.add(ids[row]!, kind)
      }
      await this.breathe(work)
    }
  }

  private async runValues(
    work: OnePiece,
    { plugin, column, where, hits: known, timed }: ValueTable,
    selected: readonly SelectedRows[],
  ): Promise<void> {
    const { hits } = work
    for (const { place, rows } of this.narrowed(where, undefined, selected)) {
      const block = place.open()
      work.at(plugin, place.first, place.first + place.rows - 1)
      const texts = textsOf(block, column, rows)
      if (!texts) continue
      // What each distinct value means, looked up once.
      const meanings = Array.from({ length: texts.count }, (_, code) => known.get(texts.text(code)))
      if (!meanings.some((one) => one)) continue
      const times = timed ? block.numbers('time') : undefined
      for (const row of rowsOf(rows, place.rows))
        for (const { hit, time1, time2 } of meanings[texts.codes[row]!] ?? []) {
          if (time1) {
            const time = times ? times[row]! : Number.NaN
            const at = lastNotAbove(time1, time)
            if (!(time >= time1[at]! && time <= time2![at]!)) continue
          }
          hits.add(block.ids[row]!, hits.kind(plugin, hit))
        }
      await this.breathe(work)
    }
  }

  // --- plugins that look at batches ---

  private async runMap(
    work: OnePiece,
    name: string,
    plugin: MapPlugin,
    selected: readonly SelectedRows[],
  ): Promise<void> {
    await this.runBatches(work, name, plugin.columns, selected, (batch, emit) => plugin.label(batch, emit))
  }

  private async runFold(
    work: OnePiece,
    name: string,
    plugin: FoldPlugin,
    selected: readonly SelectedRows[],
  ): Promise<void> {
    let state = plugin.empty()
    await this.runBatches(work, name, plugin.columns, selected, (batch, emit) => {
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
    selected: readonly SelectedRows[],
    action: (batch: ColumnBatch, emit: EmitLabel) => void,
  ): Promise<void> {
    const { piece, hits } = work
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
    for (const { batch, rowNumbers, first, last } of columnBatches(selected, columns, batchRows)) {
      work.at(plugin, first, last)
      isolate(batch, 0, emitted, (at, error) => {
        work.fail(plugin, { event: batch.ids[at]!, first: rowNumbers[at]!, rows: 1 }, error)
        return !work.isGivenUp(plugin)
      })
      if (work.isGivenUp(plugin)) return
      await this.breathe(work)
    }
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
  readonly hits = new HitList()
  readonly states: Record<string, unknown> = {}
  readonly skipped: Skipped[] = []
  readonly givenUp: Record<string, string> = {}
  counts: PieceCounts = NO_COUNTS
  private readonly tell: (progress: Progress) => void
  private place = { plugin: '', first: 0, last: 0 }
  private told = 0

  constructor(piece: Piece, tell: (progress: Progress) => void) {
    this.piece = piece
    this.tell = tell
  }

  /** Says what comes next, so that it is known if it never comes back. */
  at(plugin: string, first = this.piece.first, last = this.piece.first + this.piece.rows - 1): void {
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
    this.skipped.push({ ...place, segment: this.piece.segment, rows: 1, plugin, reason })
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
