/**
 * Which segments can hold a match, told from the catalog, manifests and indexes before any event file is opened. A
 * segment is dropped only on proof; whatever is unknown is kept. Stages, each on what the one before kept:
 *
 *     time      the segment's event times do not meet the time asked for
 *     columns   the manifest's exact bounds of a column exclude every value asked for; no tag file lists the label
 *     index     the keyset's column section (or values.parquet) does not hold any value asked for
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Catalog, SegmentRow } from './catalog.ts'
import { type DuckDb, type Parameters, parquetFiles } from './duckdb.ts'
import { heldPath, isHeldHere } from './heldFile.ts'
import { keysetCopyName } from './history.ts'
import { type Keyset, openKeyset } from './keyset.ts'
import { type KeysetKey, listKeysetKeys } from './keysetKeys.ts'
import { mayHaveLabel } from './tags.ts'

/** Every match has one of `values` in `column`, byte for byte. */
export interface Needle {
  readonly column: string
  readonly values: readonly (string | number)[]
}

/** What is known of every match. Times in microseconds, both ends included; an event without time is outside of any bound. */
export interface Bounds {
  readonly time1?: number
  readonly time2?: number
  readonly needles: readonly Needle[]
}

/** What the index of one segment can tell of a column's values. */
export interface ColumnFilter {
  /** False only if no event of the segment has this value in this column; undefined when it cannot tell. */
  mayHold(column: string, value: string): boolean | undefined
  /** Memory it takes. */
  readonly bytes: number
}

/** Undefined for a segment without a usable keyset. */
export type ColumnFilters = (segment: SegmentRow) => ColumnFilter | undefined

export type PruneStage = 'time' | 'columns' | 'index'

export interface Pruned {
  readonly segments: readonly SegmentRow[]
  /** Segments that met the time asked for, a superset of `segments`. */
  readonly inTime: readonly SegmentRow[]
  readonly total: number
  /** How many segments each stage left. */
  readonly stages: readonly { readonly stage: PruneStage; readonly kept: number }[]
  /** Needles that the indexes of all segments left together narrow down to one text: every match has it. */
  readonly pinned: readonly { readonly column: string; readonly value: string }[]
}

export async function prune(
  all: readonly SegmentRow[],
  bounds: Bounds,
  index: { readonly duckdb: DuckDb; readonly filters: ColumnFilters },
): Promise<Pruned> {
  const inTime = all.filter((segment) => meetsTime(segment, bounds))
  const inColumns = inTime.filter((segment) => bounds.needles.every((needle) => meetsColumn(segment, needle)))
  const stored = bounds.needles.filter(({ column }) => column !== 'tag')
  const { segments, pinned } = await meetingIndex(inColumns, stored, index)
  return {
    segments,
    pinned,
    inTime,
    total: all.length,
    stages: [
      { stage: 'time', kept: inTime.length },
      { stage: 'columns', kept: inColumns.length },
      { stage: 'index', kept: segments.length },
    ],
  }
}

/**
 * Filters out of keysets, beside the segment or, once that is offline, in the history. A keyset that is damaged or whose
 * key is not here tells nothing; `verify` names it.
 */
export function keysetFilters({ catalog, dataDir }: { catalog: Catalog; dataDir: string }): ColumnFilters {
  let keys: readonly KeysetKey[] | undefined
  return cachedFilters((segment) => {
    const said = segment.files.find(({ kind }) => kind === 'index')?.manifest.keyset
    if (said === undefined) return undefined
    const beside = join(heldPath(segment, 'index'), 'keyset.ks')
    const copy = join(catalog.manifestDirectory(segment.home ?? segment.collection), keysetCopyName(segment.segment))
    const path = isHeldHere(segment, 'index') && existsSync(beside) ? beside : copy
    try {
      keys ??= listKeysetKeys(dataDir)
      const key = keys.find(({ id }) => id === said.key)
      if (!key) return undefined
      const bytes = readFileSync(path)
      const keyset = openKeyset(bytes, path, said.sha256)
      return { bytes: bytes.length, mayHold: (column, value) => mayHold(keyset, key, column, value) }
    } catch {
      // Missing or damaged, the keyset or a key: it tells nothing.
      return undefined
    }
  }, KEYSET_CACHE_BYTES)
}

/** Keeps the filters used last, up to a number of bytes. */
export function cachedFilters(load: ColumnFilters, maxBytes: number): ColumnFilters {
  const cache = new Map<number, ColumnFilter>()
  let bytes = 0
  return (segment) => {
    const held = cache.get(segment.segment)
    const filter = held ?? load(segment)
    if (!filter) return undefined
    if (held) cache.delete(segment.segment)
    else bytes += filter.bytes
    cache.set(segment.segment, filter)
    for (const [oldest, { bytes: size }] of cache) {
      if (bytes <= maxBytes || cache.size === 1) break
      cache.delete(oldest)
      bytes -= size
    }
    return filter
  }
}

/** Whether values.parquet of a segment lists every value of the column. Columns with too many values are left out. */
export function listsEveryValue(segment: SegmentRow, column: string): boolean {
  return metaColumns(segment)?.[column]?.ndv !== undefined
}

export const valuesPath = (segment: SegmentRow): string => join(heldPath(segment, 'index'), 'values.parquet')

// --- internal ---

const KEYSET_CACHE_BYTES = 256 * 2 ** 20

function mayHold(keyset: Keyset, key: KeysetKey, column: string, value: string): boolean | undefined {
  try {
    const verdict = keyset.contains(`=${column}`, value, key)
    return verdict === 'unknown' ? undefined : verdict === 'possible'
  } catch {
    // A damaged block tells nothing.
    return undefined
  }
}

/** More values than this are not looked up one by one in values.parquet. */
const LOOKED_UP_VALUES = 1000

const metaColumns = (segment: SegmentRow) => segment.files.find(({ kind }) => kind === 'meta')?.manifest.columns

function meetsTime(segment: SegmentRow, { time1, time2 }: Bounds): boolean {
  if (time1 === undefined && time2 === undefined) return true
  if (segment.time1 === null || segment.time2 === null) return false
  return segment.time1 <= (time2 ?? Number.POSITIVE_INFINITY) && segment.time2 >= (time1 ?? Number.NEGATIVE_INFINITY)
}

function meetsColumn(segment: SegmentRow, { column, values }: Needle): boolean {
  if (column === 'tag') return mayHaveLabel(segment.tags, values.map(String))
  const summary = metaColumns(segment)?.[column]
  if (!summary) return true
  if (summary.nulls === segment.rows) return false
  const { min, max } = summary
  if (min === undefined || max === undefined) return true
  return values.some((value) => compare(value, min) >= 0 && compare(value, max) <= 0)
}

/** Bounds are in the order of bytes, which is not that of JavaScript's strings. 0 for what cannot be compared. */
function compare(a: string | number, b: string | number): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return typeof a === 'string' && typeof b === 'string' ? Buffer.compare(Buffer.from(a), Buffer.from(b)) : 0
}

async function meetingIndex(
  segments: readonly SegmentRow[],
  needles: readonly Needle[],
  { duckdb, filters }: { duckdb: DuckDb; filters: ColumnFilters },
): Promise<Pick<Pruned, 'segments' | 'pinned'>> {
  let kept = segments
  const pinned: { column: string; value: string }[] = []
  for (const { column, values } of needles) {
    const texts = values.filter((value) => typeof value === 'string')
    if (texts.length < values.length) continue
    const unsure: SegmentRow[] = []
    const possible = new Set<string>()
    const survivors = kept.filter((segment) => {
      const filter = filters(segment)
      const answers = texts.map((value) => filter?.mayHold(column, value))
      if (answers.every((answer) => answer === false)) return false
      if (answers.includes(undefined)) unsure.push(segment)
      texts.forEach((value, i) => {
        if (answers[i] !== false) possible.add(value)
      })
      return true
    })
    const absent = await absentFromValues(unsure, column, texts, duckdb)
    kept = survivors.filter((segment) => !absent.has(segment))
    const [value, ...others] = possible
    if (value !== undefined && others.length === 0) pinned.push({ column, value })
  }
  return { segments: kept, pinned }
}

/** Segments whose values.parquet proves that none of the values is there. */
async function absentFromValues(
  segments: readonly SegmentRow[],
  column: string,
  values: readonly string[],
  duckdb: DuckDb,
): Promise<ReadonlySet<SegmentRow>> {
  const asked = segments.filter((segment) => listsEveryValue(segment, column) && isHeldHere(segment, 'index'))
  if (asked.length === 0 || values.length > LOOKED_UP_VALUES) return new Set()
  const files = asked.map(valuesPath)
  const parameters: Parameters = { column }
  values.forEach((value, i) => {
    parameters[`value${i}`] = value
  })
  const rows = await duckdb.rows({
    sql: `SELECT DISTINCT filename FROM ${parquetFiles(files, 'filename = true')}
      WHERE column_name = $column AND value IN (${values.map((_, i) => `$value${i}`).join(', ')})`,
    parameters,
    files,
  })
  const holding = new Set(rows.map(({ filename }) => filename))
  return new Set(asked.filter((_, i) => !holding.has(files[i]!)))
}
