/** From what a person asks (an expression, times, a field name) to a question to the store. */
import { setImmediate } from 'node:timers/promises'
import { createContext, Script } from 'node:vm'
import type { Config } from './config.ts'
import { COLUMN_BY_NAME, EVENT_COLUMNS } from './core/columns.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import { nearest } from './core/nearest.ts'
import type { Catalog } from './store/catalog.ts'
import type { Answer, EventRow, Question, Search, SearchQuestion, StoreReader } from './store/search.ts'

export interface QuestionRequest {
  /** Strict mode; nothing matches everything. */
  readonly expression?: string
  /** Microseconds UTC, both included. */
  readonly from?: number
  readonly to?: number
  readonly collection?: string
  /** Events of superseded objects too. */
  readonly allVersions?: boolean
  /** Microseconds: what `-24h`, `today` and `now()` count from. Default: the clock. */
  readonly now?: number
  readonly signal?: AbortSignal
}

export type SearchChoices = Pick<SearchQuestion, 'columns' | 'order' | 'limit' | 'distinct'> & {
  /** plaso: the expression means what the filter of psort means by it. */
  readonly mode?: 'strict' | 'plaso'
}
export type ShowRequest = Pick<Question, 'collection' | 'allVersions' | 'signal'>
export type Timeline = Awaited<ReturnType<StoreReader['timeline']>>
export type Rejects = Awaited<ReturnType<StoreReader['rejects']>>
export type { Answer }

/** A question to the store; the expression is compiled first, so that a fault in it is told before anything is opened. */
export async function questionOf(
  { expression = '', from, to, now, ...request }: QuestionRequest,
  log?: Log,
): Promise<Question> {
  const question = { ...request, time1: from, time2: to }
  if (expression.trim() === '') return question
  const { compile, emptiness } = await import('./query/expression.ts')
  const compiled = compile(expression, { now })
  const reason = log && emptiness(compiled, from, to)
  if (reason) log('warn', NOTHING_CAN_MATCH, { reason })
  const { text, named } = compiled.sql()!
  const { from: time1, to: time2 } = compiled.timeRange() ?? {}
  const pruning = { needles: compiled.needles(), needlesSuffice: compiled.needlesSuffice(), time1, time2 }
  const readsTags = compiled.columns()?.has('tag')
  return { ...question, condition: { sql: text, parameters: named, readsTags, ...pruning } }
}

/** A search in the mode of the original: every event in range is read and tested, since it has no SQL. */
export async function plasoSearch(
  reader: StoreReader,
  { expression = '', from, to, ...request }: QuestionRequest,
  { columns, limit = Number.POSITIVE_INFINITY, ...choices }: SearchChoices,
  log: Log,
): Promise<Search> {
  const { compile, emptiness } = await import('./query/expression.ts')
  const compiled = compile(expression, { mode: 'plaso' })
  const reason = emptiness(compiled, from, to)
  if (reason) log('warn', NOTHING_CAN_MATCH, { reason })
  const found = await reader.search({ ...request, ...choices, time1: from, time2: to, columns: PLASO_COLUMNS })
  const shown = columns ?? found.columns
  const test = (row: EventRow) =>
    compiled.predicate({ get: (name) => row[name] ?? (name === 'tag' ? [] : undefined), data: () => String(row.data) })
  let undecided = 0
  async function* matches(): AsyncGenerator<EventRow> {
    let count = 0
    if (limit <= 0) return
    for await (const { row, verdict } of decided(found.rows, test, request.signal)) {
      if (verdict === undefined) undecided += 1
      if (!verdict) continue
      yield Object.fromEntries(shown.map((name) => [name, row[name] ?? null]))
      count += 1
      if (count >= limit) return
    }
  }
  const detail = `the regular expression took longer than ${EVENT_MS / 1_000} s`
  return {
    ...found,
    columns: shown,
    rows: matches(),
    get complete() {
      return found.complete && undecided === 0
    },
    get why() {
      return undecided === 0 ? found.why : [...found.why, { reason: 'undecided' as const, count: undecided, detail }]
    },
  }
}

/** A column by its name, its dotted path or an alias; `uid`, `tag` and `session.…` as they are. E_USAGE. */
export function columnNamed(given: string): string {
  if (given === 'uid' || given === 'tag' || given.startsWith('session.')) return given
  const plain = given.replaceAll('.', '_')
  const column =
    COLUMN_BY_NAME.get(plain) ?? EVENT_COLUMNS.find(({ aliases }) => aliases.some((name) => name === given))
  if (column) return column.name
  const guess = nearest(
    given,
    EVENT_COLUMNS.flatMap(({ name, aliases }) => [name, ...aliases]),
  )
  const suggestion = guess === undefined ? '' : ` Did you mean ${guess}?`
  throw new ColdtrailError('E_USAGE', { message: `"${given}" is no column of events.${suggestion}` })
}

/** `hour`, `day`, `15m`, `30s`, `2h`, … in seconds. E_USAGE. */
export function parseInterval(given: string): number {
  const named = NAMED_INTERVALS[given]
  if (named !== undefined) return named
  const match = /^(\d{1,6})([smhdw])$/.exec(given)
  const seconds = match ? Number(match[1]) * UNITS[match[2] as keyof typeof UNITS] : 0
  if (seconds > 0) return seconds
  throw new ColdtrailError('E_USAGE', { message: `--interval: "${given}" is not minute, hour, day, week, 15m, 6h, …` })
}

export async function openReader(config: Config, catalog: () => Promise<Catalog>): Promise<StoreReader> {
  const { StoreReader } = await import('./store/search.ts')
  return new StoreReader({ catalog: await catalog(), dataDir: config.data_dir })
}

// --- internal ---

/**
 * Expressions of the original are matched by backtracking, which a hostile record can draw out for ages, and nothing
 * interrupts it but a time limit of V8. Setting one takes a thread: a whole batch shares it, and only of a batch that
 * took too long each event is tried by itself. `verdict` is undefined where there was none in time.
 */
async function* decided(
  rows: AsyncIterable<EventRow>,
  test: (row: EventRow) => boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ row: EventRow; verdict: boolean | undefined }> {
  let batch: EventRow[] = []
  async function* decide(): AsyncGenerator<{ row: EventRow; verdict: boolean | undefined }> {
    const verdicts: (boolean | undefined)[] = []
    const each = () => {
      for (const row of batch) verdicts.push(test(row))
    }
    if (!endsWithin(EVENT_MS, each)) {
      for (const row of batch.slice(verdicts.length)) {
        await seeSignals(signal)
        let verdict: boolean | undefined
        endsWithin(EVENT_MS, () => {
          verdict = test(row)
        })
        verdicts.push(verdict)
      }
    }
    yield* batch.map((row, at) => ({ row, verdict: verdicts[at] }))
    batch = []
  }
  for await (const row of rows) {
    batch.push(row)
    if (batch.length < BATCH) continue
    yield* decide()
    await seeSignals(signal)
  }
  yield* decide()
}

/** Signals of the process arrive only when the event loop turns. */
async function seeSignals(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate()
  signal?.throwIfAborted()
}

/** False when the action was broken off after so many milliseconds. */
function endsWithin(milliseconds: number, action: () => void): boolean {
  watched.action = action
  try {
    ACT.runInContext(watched, { timeout: milliseconds })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false
    throw error
  }
}

const watched: { action?: () => void } = createContext({})
const ACT = new Script('action()')
const EVENT_MS = 1_000
const BATCH = 1_000

/** Said of an expression that contradicts itself or the times asked for: an empty answer alone would look like a finding. */
const NOTHING_CAN_MATCH = 'nothing can match this expression'

const PLASO_COLUMNS = ['uid', 'tag', ...EVENT_COLUMNS.map(({ name }) => name)]

const UNITS = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 } as const
const NAMED_INTERVALS: Readonly<Record<string, number>> = { minute: 60, hour: 3_600, day: 86_400, week: 604_800 }
