/** Events as psort puts them out: slices of time, events around matches, repeats left out, and its forms. */
import { eventGroups, type GroupCounts } from './components/timeline/eventGroups.ts'
import { type OutputEvent, outputEvent } from './components/timeline/outputEvent.ts'
import { type OutputFormat, type OutputFormOptions, outputForm } from './components/timeline/outputForms.ts'
import { READABLE_COLUMNS } from './core/columns.ts'
import { ColdtrailError } from './core/errors.ts'
import type { QuestionRequest, SearchChoices } from './questions.ts'
import type { Answer, EventRow, Search } from './store/search.ts'

export interface TimelineRequest extends QuestionRequest, Pick<SearchChoices, 'mode' | 'distinct'>, OutputFormOptions {
  readonly format: OutputFormat
  /** Repeats too. */
  readonly includeAll?: boolean
  /** Events so many minutes (5) before and behind a time, microseconds UTC. Not with `from`, `to` or `slicer`. */
  readonly slice?: { readonly time: number; readonly minutes?: number }
  /** So many events (5) before and behind each match. Needs an expression. */
  readonly slicer?: { readonly events?: number }
  readonly limit?: number
}

/** True once the lines were read. */
export interface TimelineCounts extends GroupCounts {
  /** Events put out, before repeats are left out. */
  events: number
  /** With `slicer`: events of the range that did not match, whether they are put out around one that did or not. */
  filtered: number
  /** Events that are there for being near a time or a match. */
  inTimeSlice: number
}

export interface TimelineOutput extends Answer {
  readonly header: string | undefined
  readonly lines: AsyncIterableIterator<string>
  readonly counts: Readonly<TimelineCounts>
}

type SearchEvents = (request: QuestionRequest & SearchChoices) => Promise<Search>

export async function timelineOutput(search: SearchEvents, request: TimelineRequest): Promise<TimelineOutput> {
  const { format, includeAll = false, fields, additionalFields, asText, slice, slicer, limit, ...rest } = request
  if ((fields || additionalFields) && format !== 'dynamic')
    throw new ColdtrailError('E_USAGE', { message: `Fields can be chosen for dynamic, not for ${format}.` })
  if (slice && slicer) throw new ColdtrailError('E_USAGE', { message: 'A slice is of time or of events, not of both.' })
  const question = slice ? { ...rest, ...rangeAround(slice, rest) } : rest
  const counts: TimelineCounts = { events: 0, filtered: 0, inTimeSlice: 0, duplicates: 0, macbGrouped: 0 }
  const form = outputForm(format, { fields, additionalFields, asText })
  const wanted = { ...question, columns: COLUMNS, order: 'time' } as const
  const found = slicer ? await aroundMatches(search, wanted, slicer.events ?? 5, counts) : await search(wanted)
  async function* events(): AsyncGenerator<OutputEvent> {
    for await (const row of found.rows) {
      if (limit !== undefined && counts.events >= limit) return
      counts.events += 1
      if (slice && row.time !== slice.time) counts.inTimeSlice += 1
      yield outputEvent(row)
    }
  }
  async function* lines(): AsyncGenerator<string> {
    for await (const groups of eventGroups(events(), counts, includeAll)) yield* form.lines(groups)
  }
  return {
    header: form.header,
    lines: lines(),
    counts,
    explanation: found.explanation,
    // What a regular expression left undecided shows only when the rows were read.
    get complete() {
      return found.complete
    },
    get why() {
      return found.why
    },
  }
}

// --- internal ---

/** Where from and what for, beside what people read. */
const COLUMNS = [...READABLE_COLUMNS, 'tag', 'session.key', 'session.format']
const MINUTE = 60e6

function rangeAround({ time, minutes = 5 }: NonNullable<TimelineRequest['slice']>, { from, to }: QuestionRequest) {
  if (from !== undefined || to !== undefined)
    throw new ColdtrailError('E_USAGE', { message: 'A slice is a range of time already; give no other one.' })
  return { from: time - minutes * MINUTE, to: time + minutes * MINUTE }
}

/** The matches, and so many events of the range before and behind each. */
async function aroundMatches(
  search: SearchEvents,
  request: QuestionRequest & SearchChoices,
  size: number,
  counts: TimelineCounts,
): Promise<Search> {
  if (!request.expression?.trim())
    throw new ColdtrailError('E_USAGE', { message: 'Events around matches need an expression that matches.' })
  const { expression: _expression, mode: _mode, distinct: _distinct, ...range } = request
  const matches = await search({ ...request, columns: ['id', 'time'] })
  const all = await search(range).catch(async (error: unknown) => {
    await matches.rows.return?.()
    throw error
  })
  async function* rows(): AsyncGenerator<EventRow> {
    let before: EventRow[] = []
    let following = 0
    let next = await matches.rows.next()
    try {
      for await (const row of all.rows) {
        while (!next.done && isBefore(next.value, row)) next = await matches.rows.next()
        const isMatch = !next.done && next.value.id === row.id
        if (!isMatch) counts.filtered += 1
        if (isMatch) {
          counts.inTimeSlice += before.length
          yield* before
          before = []
          following = size
          yield row
        } else if (following > 0) {
          following -= 1
          counts.inTimeSlice += 1
          yield row
        } else if (size > 0 && !next.done) {
          before.push(row)
          if (before.length > size) before.shift()
        }
      }
    } finally {
      await matches.rows.return?.()
    }
  }
  return {
    ...all,
    rows: rows(),
    get complete() {
      return all.complete && matches.complete
    },
    get why() {
      return matches.complete ? all.why : matches.why
    },
  }
}

/** In the order of a search: by time, those without one last, then by id. */
function isBefore(a: EventRow, b: EventRow): boolean {
  const [x, y] = [
    (a.time as number | null) ?? Number.POSITIVE_INFINITY,
    (b.time as number | null) ?? Number.POSITIVE_INFINITY,
  ]
  return x === y ? (a.id as number) < (b.id as number) : x < y
}
