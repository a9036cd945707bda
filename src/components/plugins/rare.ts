/**
 * Values of a column that were not seen for long, or never: an event is labelled when no other with its value happened in
 * the look-back before it. A fold that needs no order: of each value and bin of the width of the look-back the first and the
 * last time are kept, and two events within a bin are never further apart.
 */
import { z } from 'zod'
import type { NumberColumn, TextColumn } from '../../core/columnBatch.ts'
import { NULL_TEXT } from '../../core/columnBatch.ts'
import { COLUMN_BY_NAME, EVENT_COLUMNS } from '../../core/columns.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { nearest } from '../../core/nearest.ts'
import { compile } from '../../query/expression.ts'
import type { FoldPlugin, FoldResult, Foreman, PluginComponent, ValueHits } from '../plugin.ts'
import { LABEL } from './distinctValues.ts'

const options = z.strictObject({
  column: z
    .string()
    .min(1)
    .describe('Column or alias whose values are compared: `user`, `user_agent`, `api_operation`, …'),
  look_back: z
    .number()
    .positive()
    .max(36_525)
    .default(30)
    .describe('Days before an event in which its value was not seen.'),
  events: z.string().default('').describe('Expression: only these events are labelled; empty for all.'),
  label: z.string().regex(LABEL, 'letters, digits and _').default('rare').describe('Label of the events.'),
  severity: z
    .enum(['none', 'informational', 'low', 'medium', 'high', 'critical'])
    .default('none')
    .describe('Makes findings of this severity of them.'),
})
type Options = z.output<typeof options>

export const rare: PluginComponent<typeof options, Options> = {
  kind: 'plugin',
  name: 'rare',
  summary: 'Label events with a value that was not seen before in a look-back',
  version: 1,
  options,
  async prepare(given) {
    const column = columnNamed(given.column)
    try {
      compile(given.events)
    } catch (error) {
      throw refuse('events', (error as Error).message, error)
    }
    return { ...given, column }
  },
  start: newValues,
}

// --- internal ---

/** First and last time of each bin. */
type Bins = Map<number, [time1: number, time2: number]>

interface Seen {
  /** Of all events with a value. */
  first: number
  readonly values: Map<string, Bins>
}

const DAY = 86_400_000_000
const REPORTED = 10_000

const refuse = (option: string, reason: string, cause?: unknown) =>
  new ColdtrailError('E_PLUGIN_OPTION', { plugin: 'rare', option, reason }, { cause })

function columnNamed(given: string): string {
  const wanted = given.replaceAll('.', '_')
  const column =
    COLUMN_BY_NAME.get(wanted) ?? EVENT_COLUMNS.find(({ aliases }) => (aliases as readonly string[]).includes(given))
  if (column && (column.type === 'text' || column.type === 'ip') && column.encoding === 'dictionary') return column.name
  const known = EVENT_COLUMNS.filter(({ type, encoding }) => type !== 'int' && encoding === 'dictionary')
  const names = known.flatMap(({ name, aliases }) => [name, ...aliases])
  const guess = nearest(given, names)
  throw refuse(
    'column',
    `"${given}" is no column of texts that repeat${guess === undefined ? '' : `; did you mean ${guess}?`}`,
  )
}

function newValues(options: Options): FoldPlugin<Seen> {
  const { column, look_back, events } = options
  const width = Math.round(look_back * DAY)
  return {
    shape: 'fold',
    columns: ['time', column],
    ...(events.trim() !== '' && { where: events }),
    empty: () => ({ first: Infinity, values: new Map() }),
    add(seen, { rows, columns }) {
      const times = (columns.time as NumberColumn).values
      const { values, indexes } = columns[column] as TextColumn
      for (let row = 0; row < rows; row++) {
        const [time, index] = [times[row]!, indexes[row]!]
        if (index === NULL_TEXT || Number.isNaN(time)) continue
        if (time < seen.first) seen.first = time
        put(seen, values[index]!, Math.floor(time / width), time, time)
      }
      return seen
    },
    merge(one, other) {
      one.first = Math.min(one.first, other.first)
      for (const [value, bins] of other.values)
        for (const [number, [time1, time2]] of bins) put(one, value, number, time1, time2)
      return one
    },
    finish: (seen, foreman) => finish(seen, options, foreman),
  }
}

function put({ values }: Seen, value: string, number: number, time1: number, time2: number): void {
  let bins = values.get(value)
  if (!bins) {
    bins = new Map()
    values.set(value, bins)
  }
  const bin = bins.get(number)
  if (!bin) bins.set(number, [time1, time2])
  else {
    if (time1 < bin[0]) bin[0] = time1
    if (time2 > bin[1]) bin[1] = time2
  }
}

async function finish(seen: Seen, options: Options, { context }: Foreman): Promise<FoldResult> {
  const { column, look_back, events, label, severity } = options
  const width = Math.round(look_back * DAY)
  const { time1 } = context
  // With a beginning of one's own what lies before it is asked for; else the first look-back only teaches what is usual.
  const judged = time1 ?? seen.first + width
  const fresh = new Map<string, number[]>()
  for (const [value, bins] of seen.values) {
    const times: number[] = []
    let last = -Infinity
    for (const [, [first, end]] of [...bins].sort(([a], [b]) => a - b)) {
      if (first - last > width && first >= judged) times.push(first)
      last = end
    }
    if (times.length > 0) fresh.set(value, times)
  }
  if (time1 !== null && fresh.size > 0)
    for await (const { value, time } of context.lastTimes(column, time1 - width, time1)) {
      const times = fresh.get(value)
      // Only the first of them can be so early.
      if (!times || times[0]! - time > width) continue
      if (times.length > 1) fresh.set(value, times.slice(1))
      else fresh.delete(value)
    }
  const found = [...fresh].sort(([a, [one]], [b, [other]]) => one! - other! || (a < b ? -1 : 1))
  const finding =
    severity === 'none'
      ? undefined
      : { severity, title: `${column} not seen in ${look_back} ${look_back === 1 ? 'day' : 'days'}` }
  const more = found.length - REPORTED
  const notes = [
    ...(time1 === null && Number.isFinite(seen.first)
      ? [`Events before ${iso(judged)} only taught what is usual: too little was known of the time before them.`]
      : []),
    ...(more > 0 ? [`${more} more values are not listed here.`] : []),
  ]
  return {
    values: found.map(
      ([value, times]): ValueHits => ({
        ...{ column, values: [value], within: times.map((time) => [time, time] as const), label, rule: column },
        ...(events.trim() !== '' && { where: events }),
        ...(finding && { finding }),
      }),
    ),
    report: {
      counters: [
        ['values', seen.values.size],
        ['rare values', found.length],
      ],
      rows: found.slice(0, REPORTED).map(([value, times]) => ({ value, first: iso(times[0]!), times: times.length })),
      ...(notes.length > 0 && { text: notes.join(' ') }),
    },
  }
}

function iso(microseconds: number): string {
  const date = new Date(Math.floor(microseconds / 1_000))
  return Number.isNaN(date.getTime()) ? String(microseconds) : date.toISOString()
}
