/**
 * Logins that succeeded after many had failed: at least so many failed ones of one source or one user within a window that
 * ends with the success.
 *
 * The state is small and exact for any split of the events. Time is cut into bins as wide as the window; of each bin the
 * `threshold` earliest and latest failures are kept. Of a window that ends in a bin, what lies in that bin is counted by
 * its earliest, what lies in the one before by its latest: neither count needs to be exact beyond the threshold.
 */
import { z } from 'zod'
import type { NumberColumn, TextColumn } from '../../core/columnBatch.ts'
import { NULL_TEXT } from '../../core/columnBatch.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { compile } from '../../query/expression.ts'
import type { FoldPlugin, FoldResult, PluginComponent, ValueHits } from '../plugin.ts'

const options = z.strictObject({
  threshold: z.int().min(2).max(1_000).default(10).describe('Failed logins within the window.'),
  window: z.int().min(1).max(1_440).default(10).describe('Minutes, before a login that succeeds.'),
  by: z.enum(['either', 'source', 'user']).default('either').describe('Whose logins are counted together.'),
  logins: z
    .string()
    .min(1)
    .default("activity_name == 'Logon'")
    .describe('Expression for logins; `status` tells which of them failed (Failure) and which did not (Success).'),
})
type Options = z.output<typeof options>

export const bruteForce: PluginComponent<typeof options, Options> = {
  kind: 'plugin',
  name: 'brute_force',
  summary: 'Find logins that succeeded after many had failed',
  version: 1,
  options,
  async prepare(given) {
    try {
      compile(given.logins)
    } catch (error) {
      const reason = (error as Error).message
      throw new ColdtrailError('E_PLUGIN_OPTION', { plugin: 'brute_force', option: 'logins', reason }, { cause: error })
    }
    return given
  },
  start: detect,
}

/** Times, sorted, by which a success counts: both ends included. */
export function armedTimes(failures: readonly number[], threshold: number, windowUs: number): [number, number][] {
  const armed: [number, number][] = []
  // A success at t counts when `threshold` failures lie in [t - window, t).
  for (let last = threshold - 1; last < failures.length; last++) {
    const from = failures[last]! + 1
    const to = failures[last - threshold + 1]! + windowUs
    if (to < from) continue
    const previous = armed.at(-1)
    if (previous && from <= previous[1] + 1) previous[1] = Math.max(previous[1], to)
    else armed.push([from, to])
  }
  return armed
}

// --- internal ---

interface Bin {
  /** Sorted; at most as many as the threshold. */
  readonly earliest: number[]
  readonly latest: number[]
  failures: number
  /** First and last success; Infinity and -Infinity without one. */
  success1: number
  success2: number
}

/** By column and value, then by number of bin. */
type Attempts = Map<string, Map<number, Bin>>

const BY = { either: ['source', 'user'], source: ['source'], user: ['user'] } as const
const COLUMN = { source: 'src_endpoint_ip', user: 'actor_user_name' } as const
const MINUTE = 60_000_000
const REPORTED = 1_000
const LABEL = 'brute_force'

function detect({ threshold, window, by, logins }: Options): FoldPlugin<Attempts> {
  const width = window * MINUTE
  const keys = BY[by]
  return {
    shape: 'fold',
    columns: ['time', 'status', ...keys.map((key) => COLUMN[key])],
    where: logins,
    empty: () => new Map(),
    add(attempts, { rows, columns }) {
      const times = (columns.time as NumberColumn).values
      const status = columns.status as TextColumn
      const outcomes = status.values.map((value) => (value === 'Failure' ? -1 : value === 'Success' ? 1 : 0))
      for (const key of keys) {
        const column = columns[COLUMN[key]] as TextColumn
        for (let row = 0; row < rows; row++) {
          const [time, index, outcome] = [times[row]!, column.indexes[row]!, outcomes[status.indexes[row]!] ?? 0]
          if (outcome === 0 || index === NULL_TEXT || Number.isNaN(time)) continue
          const bin = binOf(attempts, `${key} ${column.values[index]}`, Math.floor(time / width))
          if (outcome < 0) fail(bin, time, threshold)
          else succeed(bin, time, time)
        }
      }
      return attempts
    },
    merge(one, other) {
      for (const [key, bins] of other)
        for (const [number, bin] of bins) {
          const own = binOf(one, key, number)
          own.failures += bin.failures
          replace(own.earliest, [...own.earliest, ...bin.earliest].sort(ascending).slice(0, threshold))
          replace(own.latest, [...own.latest, ...bin.latest].sort(ascending).slice(-threshold))
          succeed(own, bin.success1, bin.success2)
        }
      return one
    },
    finish: (attempts) => finish(attempts, { threshold, window, by, logins }),
  }
}

const ascending = (a: number, b: number): number => a - b

function binOf(attempts: Attempts, key: string, number: number): Bin {
  let bins = attempts.get(key)
  if (!bins) {
    bins = new Map()
    attempts.set(key, bins)
  }
  let bin = bins.get(number)
  if (!bin) {
    bin = { earliest: [], latest: [], failures: 0, success1: Infinity, success2: -Infinity }
    bins.set(number, bin)
  }
  return bin
}

function fail(bin: Bin, time: number, threshold: number): void {
  bin.failures += 1
  insert(bin.earliest, time)
  if (bin.earliest.length > threshold) bin.earliest.pop()
  insert(bin.latest, time)
  if (bin.latest.length > threshold) bin.latest.shift()
}

function insert(sorted: number[], value: number): void {
  let at = sorted.length
  while (at > 0 && sorted[at - 1]! > value) at--
  sorted.splice(at, 0, value)
}

function replace(held: number[], values: readonly number[]): void {
  held.length = 0
  held.push(...values)
}

function succeed(bin: Bin, first: number, last: number): void {
  bin.success1 = Math.min(bin.success1, first)
  bin.success2 = Math.max(bin.success2, last)
}

interface Burst {
  readonly key: 'source' | 'user'
  readonly value: string
  readonly failures: number
  readonly within: readonly [number, number][]
  /** Some success may be within. */
  readonly broken: boolean
}

function finish(attempts: Attempts, { threshold, window, logins }: Options): FoldResult {
  const width = window * MINUTE
  const bursts: Burst[] = []
  for (const [name, bins] of attempts) {
    const at = name.indexOf(' ')
    const sorted = [...bins].sort(([a], [b]) => a - b)
    const within = armedOf(sorted, threshold, width)
    if (within.length === 0) continue
    const broken = sorted.some(([, { success1, success2 }]) =>
      within.some(([from, to]) => success2 >= from && success1 <= to),
    )
    const failures = sorted.reduce((sum, [, bin]) => sum + bin.failures, 0)
    bursts.push({ key: name.slice(0, at) as Burst['key'], value: name.slice(at + 1), failures, within, broken })
  }
  bursts.sort((a, b) => b.failures - a.failures || (a.key + a.value < b.key + b.value ? -1 : 1))
  const values = bursts
    .filter(({ broken }) => broken)
    .map(
      ({ key, value, within }): ValueHits => ({
        ...{ column: COLUMN[key], values: [value], within, where: `(${logins}) and status == 'Success'` },
        ...{ label: LABEL, rule: key },
        finding: {
          severity: 'high',
          title: `A login succeeded after ${threshold} or more failed within ${window} min from the same ${key}`,
        },
      }),
    )
  const more = bursts.length - REPORTED
  return {
    values,
    report: {
      counters: [
        ['sources with many failures', bursts.filter(({ key }) => key === 'source').length],
        ['users with many failures', bursts.filter(({ key }) => key === 'user').length],
      ],
      rows: bursts.slice(0, REPORTED).map(({ key, value, failures, within }) => ({
        ...{ kind: key, value, failed_logins: failures },
        success_counts_from: iso(within[0]![0]),
        success_counts_until: iso(within.at(-1)![1]),
      })),
      ...(more > 0 && { text: `${more} more are not listed here.` }),
    },
  }
}

/** What `armedTimes` gives of all failures, from those that are kept: for each bin its earliest and the latest before it. */
function armedOf(bins: readonly (readonly [number, Bin])[], threshold: number, width: number): [number, number][] {
  const armed: [number, number][] = []
  const add = (from: number, to: number): void => {
    if (to < from) return
    const previous = armed.at(-1)
    if (previous && from <= previous[1] + 1) previous[1] = Math.max(previous[1], to)
    else armed.push([from, to])
  }
  const byNumber = new Map(bins)
  // A window that ends in a bin without failures may have them in the one before.
  const ends = [...new Set(bins.flatMap(([number]) => [number, number + 1]))].sort(ascending)
  for (const number of ends) {
    const before = byNumber.get(number - 1)?.latest ?? []
    const own = byNumber.get(number)?.earliest ?? []
    for (const [from, to] of armedTimes([...before, ...own], threshold, width))
      add(Math.max(from, number * width), Math.min(to, (number + 1) * width - 1))
  }
  return armed
}

const iso = (microseconds: number): string => new Date(Math.floor(microseconds / 1_000)).toISOString()
