/**
 * Plugins on events in memory, by the letter of their contract (src/components/plugin.ts): the plain form that the engine
 * is held to. Events are cut into tasks and batches at will.
 */
import type {
  EmitLabel,
  FoldPlugin,
  FoldResult,
  Hit,
  Plugin,
  PluginContext,
  PluginReport,
} from '../../src/components/plugin.ts'
import { type ColumnBatch, NULL_TEXT, type NumberColumn, type TextColumn } from '../../src/core/columnBatch.ts'
import { COLUMN_BY_NAME } from '../../src/core/columns.ts'
import { compile, type EventAccess } from '../../src/query/expression.ts'

export interface PlainEvent {
  readonly id: number
  /** Microseconds, or text. */
  readonly time?: number | string
  /** The record; its places are `data.<path>`. */
  readonly data?: unknown
  readonly [column: string]: unknown
}

export interface Outcome {
  /** `<id> <label> <rule>`, sorted. */
  readonly tags: readonly string[]
  /** `<id> <severity> <title>`, sorted. */
  readonly findings: readonly string[]
  readonly report: PluginReport
}

export interface Surroundings {
  readonly options: Readonly<Record<string, unknown>>
  readonly context: PluginContext
}

/** Tasks of batches of events. */
export type Split = readonly (readonly (readonly PlainEvent[])[])[]

export const whole = (events: readonly PlainEvent[]): Split => [[events]]

export async function runPlugin(plugin: Plugin, split: Split, surroundings: Surroundings): Promise<Outcome> {
  const hits = new Hits()
  const events = split.flat(2)
  if (plugin.shape === 'rules') {
    for (const { expression, mode, ...hit } of plugin.rules) {
      const compiled = compile(expression, { mode })
      for (const event of events) if (compiled.predicate(accessOf(event))) hits.add(event.id, hit)
    }
    return hits.outcome({ counters: [] })
  }
  if (plugin.shape === 'map') {
    for (const batch of batchesOf(plugin, split)) plugin.label(batch, hits.emitFor(batch))
    return hits.outcome(plugin.report?.(hits.labels()) ?? { counters: [] })
  }
  const state = stateOf(plugin, split, (batch) => hits.emitFor(batch))
  const result = await plugin.finish(state, surroundings)
  secondPass(result, events, hits)
  return hits.outcome(result.report)
}

/** What the tasks of a split come to, each from states of its batches, handed over as between processes. */
export function stateOf(
  plugin: FoldPlugin,
  split: Split,
  emitFor: (batch: ColumnBatch) => EmitLabel = () => () => {},
): unknown {
  return split
    .map((task) => {
      let state = plugin.empty()
      for (const batch of batchesOf(plugin, [task]))
        state = plugin.merge(state, plugin.add(plugin.empty(), batch, emitFor(batch)))
      return structuredClone(state)
    })
    .reduce((one, other) => plugin.merge(one, other), plugin.empty())
}

export function accessOf(event: PlainEvent): EventAccess {
  return {
    get(name) {
      if (name === 'data') return recordOf(event)
      if (name === 'time') return timeOf(event)
      return event[name]
    },
    data: () => recordOf(event),
  }
}

// --- internal ---

const recordOf = ({ data }: PlainEvent): string =>
  typeof data === 'string' ? data : data === undefined ? '' : JSON.stringify(data)

function timeOf({ time }: PlainEvent): number | undefined {
  return typeof time === 'string' ? Date.parse(time) * 1_000 : time
}

class Hits {
  private readonly tags = new Set<string>()
  private readonly findings = new Set<string>()
  private readonly counts = new Map<string, Set<number>>()

  add(id: number, { label, rule, finding }: Hit): void {
    if (!/^[A-Za-z0-9_]+$/.test(label)) throw new Error(`${label} is no label`)
    this.tags.add(`${id} ${label} ${rule}`.trimEnd())
    this.counts.set(label, (this.counts.get(label) ?? new Set()).add(id))
    if (finding) this.findings.add(`${id} ${finding.severity} ${finding.title}`)
  }

  emitFor(batch: ColumnBatch): EmitLabel {
    return (row, hit) => {
      if (!(row >= 0 && row < batch.rows)) throw new Error(`there is no row ${row}`)
      this.add(batch.ids[row]!, hit)
    }
  }

  labels(): Map<string, number> {
    return new Map([...this.counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([label, ids]) => [label, ids.size]))
  }

  outcome(report: PluginReport): Outcome {
    const order = (a: string, b: string) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1)
    return { tags: [...this.tags].sort(order), findings: [...this.findings].sort(order), report }
  }
}

function batchesOf({ columns, where }: { readonly columns: readonly string[]; readonly where?: string }, split: Split) {
  const compiled = where === undefined ? undefined : compile(where)
  return split.flatMap((task) => {
    const kept = task.map((batch) => batch.filter((event) => compiled?.predicate(accessOf(event)) ?? true))
    const all = kept.flat()
    const whole = new Map(columns.map((name) => [name, columnOf(name, all)]))
    let at = 0
    return kept
      .filter((batch) => batch.length > 0)
      .map((batch): ColumnBatch => {
        const [from, to] = [at, at + batch.length]
        at = to
        const parts = [...whole].map(([name, column]): [string, TextColumn | NumberColumn] => [
          name,
          column.kind === 'text'
            ? { ...column, indexes: column.indexes.subarray(from, to) }
            : { ...column, values: column.values.subarray(from, to) },
        ])
        return {
          rows: batch.length,
          ids: Float64Array.from(batch, ({ id }) => id),
          columns: Object.fromEntries(parts),
        }
      })
  })
}

function columnOf(name: string, events: readonly PlainEvent[]): TextColumn | NumberColumn {
  const type = COLUMN_BY_NAME.get(name)?.type
  if (type === 'int' || type === 'time') {
    const values = events.map((event) => (name === 'time' ? timeOf(event) : (event[name] as number)) ?? Number.NaN)
    return { kind: 'number', values: Float64Array.from(values) }
  }
  const known = new Map<string, number>()
  const indexes = events.map((event) => {
    const text = name.startsWith('data.') ? placeOf(event, name) : event[name]
    if (text === undefined || text === null) return NULL_TEXT
    if (!known.has(String(text))) known.set(String(text), known.size)
    return known.get(String(text))!
  })
  return { kind: 'text', values: [...known.keys()], indexes: Uint32Array.from(indexes) }
}

function placeOf({ data }: PlainEvent, name: string): string | undefined {
  let value: unknown = data
  for (const segment of name.split('.').slice(1)) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, segment)) return undefined
    value = (value as Record<string, unknown>)[segment]
  }
  return value === null || value === undefined
    ? undefined
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value)
}

function secondPass(
  { rules = [], values = [], intervals = [] }: FoldResult,
  events: readonly PlainEvent[],
  hits: Hits,
) {
  for (const { expression, mode, ...hit } of rules) {
    const compiled = compile(expression, { mode })
    for (const event of events) if (compiled.predicate(accessOf(event))) hits.add(event.id, hit)
  }
  for (const { column, values: wanted, within, where, ...hit } of values) {
    const compiled = where === undefined ? undefined : compile(where)
    for (const event of events) {
      const value = column.startsWith('data.') ? placeOf(event, column) : event[column]
      if (!wanted.includes(value as string) || !(compiled?.predicate(accessOf(event)) ?? true)) continue
      const time = timeOf(event)
      if (within && !within.some(([time1, time2]) => time !== undefined && time >= time1 && time <= time2)) continue
      hits.add(event.id, hit)
    }
  }
  for (const { time1, time2, label } of intervals)
    for (const event of events) {
      const time = timeOf(event)
      if (time !== undefined && time >= time1 && time <= time2) hits.add(event.id, { label, rule: '' })
    }
}
