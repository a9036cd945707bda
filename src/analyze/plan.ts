/** What a run is about: segments with what workers must know of them, and the pieces of work. */
import { COLUMN_BY_NAME } from '../core/columns.ts'
import { ColdtrailError } from '../core/errors.ts'
import { compile, emptiness } from '../query/expression.ts'
import type { Catalog, SegmentRow } from '../store/catalog.ts'
import { type DuckDb, parquetFiles, sqlName } from '../store/duckdb.ts'
import { heldPath, isHeldHere } from '../store/heldFile.ts'
import { keysetFilters, listsEveryValue, prune, valuesPath } from '../store/prune.ts'
import { newPiece } from './pieces.ts'
import type { Piece, SegmentPlan, Selection } from './tasks.ts'

export interface Scope {
  /** Here, and perhaps with a match; in order. */
  readonly segments: readonly SegmentRow[]
  /** Rows of segments that cannot have a match. */
  readonly passedOver: number
  /** Segments that may have a match, and whose files are not here. */
  readonly offline: readonly SegmentRow[]
}

/** E_EXPRESSION_EMPTY when nothing can match. */
export function checkSelection({ expression, mode, now, time1, time2 }: Selection): void {
  if (expression.trim() === '') return
  const reason = emptiness(compile(expression, { mode, now }), time1 ?? undefined, time2 ?? undefined)
  if (reason !== undefined) throw new ColdtrailError('E_EXPRESSION_EMPTY', { expression, reason })
}

export async function scopeOf(
  parts: { readonly catalog: Catalog; readonly dataDir: string; readonly duckdb: DuckDb },
  live: readonly SegmentRow[],
  { expression, mode, now, time1, time2, lastId }: Selection,
): Promise<Scope> {
  const compiled = expression.trim() === '' || mode === 'plaso' ? undefined : compile(expression, { now })
  const range = compiled?.timeRange()
  const [from, to] = [
    Math.max(time1 ?? -Infinity, range?.from ?? -Infinity),
    Math.min(time2 ?? Infinity, range?.to ?? Infinity),
  ]
  const bounds = {
    needles: compiled?.needles() ?? [],
    ...(from > -Infinity && { time1: from }),
    ...(to < Infinity && { time2: to }),
  }
  const { segments } = await prune(live, bounds, { duckdb: parts.duckdb, filters: keysetFilters(parts) })
  const wanted = segments.filter(({ rows, id1 }) => rows > 0 && (lastId === null || (id1 ?? 0) <= lastId))
  // A finding names its event by the session.
  const offline = wanted.filter((segment) => !isHeldHere(segment, 'meta') || !isHeldHere(segment, 'session'))
  const all = live.reduce((sum, { rows }) => sum + rows, 0)
  return {
    segments: wanted.filter((segment) => !offline.includes(segment)),
    passedOver: all - wanted.reduce((sum, { rows }) => sum + rows, 0),
    offline,
  }
}

/** `before`: labels of runs with a lower number are seen. */
export async function segmentPlans(
  segments: readonly SegmentRow[],
  duckdb: DuckDb,
  before: number,
): Promise<SegmentPlan[]> {
  const plans: SegmentPlan[] = []
  for (const segment of segments) {
    const { segment: number, rows, superseded, tags } = segment
    const dataTypes = await dataTypesOf(segment, duckdb)
    const seen = tags.filter(({ run }) => run < before)
    plans.push({ segment: number, path: heldPath(segment, 'meta'), rows, hidden: superseded, tags: seen, dataTypes })
  }
  return plans
}

/** Data types of a segment's events; undefined when its index does not list them. */
export async function dataTypesOf(segment: SegmentRow, duckdb: DuckDb): Promise<string[] | undefined> {
  const { min, max, ndv } = segment.files.find(({ kind }) => kind === 'meta')?.manifest.columns?.data_type ?? {}
  if (ndv !== undefined && ndv <= 2 && min !== undefined && max !== undefined)
    return [...new Set([String(min), String(max)])]
  const path = valuesPath(segment)
  if (!listsEveryValue(segment, 'data_type') || !isHeldHere(segment, 'index')) return undefined
  const sql = `SELECT value FROM ${parquetFiles([path])} WHERE column_name = 'data_type' ORDER BY value`
  return (await duckdb.rows({ sql, files: [path] })).map(({ value }) => String(value))
}

/** The last time of each value of a column among all events with a time in [time1, time2). */
export async function* lastTimesOf(
  segments: readonly SegmentRow[],
  duckdb: DuckDb,
  column: string,
  time1: number,
  time2: number,
): AsyncGenerator<{ readonly value: string; readonly time: number }> {
  if (!COLUMN_BY_NAME.has(column)) throw new RangeError(`${column} is no column of events`)
  const meeting = segments.filter((one) => one.time1 !== null && one.time1 < time2 && one.time2! >= time1)
  if (meeting.length === 0) return
  const hidden = meeting.flatMap(({ superseded }) => superseded)
  const files = meeting.map((segment) => heldPath(segment, 'meta'))
  const name = sqlName(column)
  const sql = `SELECT ${name}::VARCHAR AS value, max(epoch_us(time)) AS time FROM ${parquetFiles(files)}
    WHERE ${name} IS NOT NULL AND time >= make_timestamptz(${time1}::BIGINT) AND time < make_timestamptz(${time2}::BIGINT)
    ${hidden.length > 0 ? `AND session_id NOT IN (${hidden})` : ''} GROUP BY 1 ORDER BY 1`
  for await (const rows of duckdb.stream({ sql, files }))
    for (const { value, time } of rows) yield { value: value as string, time: time as number }
}

/** Pieces of a pass, in order, without what is done. */
export function piecesOf(
  pass: 1 | 2,
  segments: readonly { readonly segment: number; readonly rows: number }[],
  taskRows: number,
  done: readonly Pick<Piece, 'pass' | 'segment' | 'first' | 'rows'>[],
): Piece[] {
  return segments.flatMap(({ segment, rows }) => {
    const covered = done
      .filter((piece) => piece.pass === pass && piece.segment === segment)
      .sort((a, b) => a.first - b.first)
    const pieces: Piece[] = []
    const add = (from: number, to: number): void => {
      for (let first = from; first < to; first += taskRows)
        pieces.push(newPiece(pass, segment, first, Math.min(taskRows, to - first)))
    }
    let at = 0
    for (const { first, rows: done } of covered) {
      add(at, first)
      at = Math.max(at, first + done)
    }
    add(at, rows)
    return pieces
  })
}
