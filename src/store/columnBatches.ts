/**
 * Events of a range of rows of one segment, column by column, as analyses read them. Rows are counted from 0 in the order
 * of the file; a row group that lies outside of the range is not read.
 *
 * A text column that repeats comes as codes into its distinct values, so that no string is made twice: DuckDB makes an
 * enumeration of them, and hands over numbers. A text that does not repeat (the record itself) comes row by row.
 */
import { join } from 'node:path'
import type { ColumnBatch, NumberColumn, TextColumn } from '../core/columnBatch.ts'
import { NULL_TEXT } from '../core/columnBatch.ts'
import { COLUMN_BY_NAME } from '../core/columns.ts'
import { type DuckDb, type Parameters, parquetFiles, sqlName, sqlText } from './duckdb.ts'
import { type HeldTagFile, taggedRelation } from './tags.ts'

/** Plain data: it crosses processes. */
export interface RowRange {
  readonly segment: number
  /** Of the file of its events. */
  readonly path: string
  readonly first: number
  readonly rows: number
  /** Sessions whose events are not seen. */
  readonly hidden: readonly number[]
  /** Whose labels `tag` gives. */
  readonly tags: readonly HeldTagFile[]
}

/** Over the columns of events, never NULL. */
export interface RowFilter {
  readonly sql: string
  readonly parameters: Parameters
  /** It asks for `tag`. */
  readonly needsTags: boolean
}

export interface PlacedBatch {
  readonly batch: ColumnBatch
  /** Of each event its row in the segment. */
  readonly rowNumbers: Float64Array
  /** First and last of them. */
  readonly first: number
  readonly last: number
}

/** The rows as a relation: columns of events and `file_row_number`, and `tag` where it is needed. In order of rows unless `tag` is. */
export function rangeRelation(range: RowRange, filter: RowFilter | undefined, needsTags = false): string {
  const { first, rows, hidden, tags } = range
  const terms = [`file_row_number BETWEEN ${first} AND ${first + rows - 1}`]
  if (hidden.length > 0) terms.push(`session_id NOT IN (${hidden})`)
  const file = parquetFiles([range.path], 'file_row_number = true')
  if (!needsTags && !filter?.needsTags)
    return `(FROM ${file} WHERE ${[...terms, ...(filter ? [`(${filter.sql})`] : [])].join(' AND ')})`
  const tagged = taggedRelation(`(FROM ${file} WHERE ${terms.join(' AND ')})`, tags)
  return filter ? `(FROM ${tagged} WHERE ${filter.sql})` : tagged
}

/** Names that `columnBatches` takes: columns of events, and places in their record as `data.<path>`. */
export const isBatchColumn = (name: string): boolean =>
  (COLUMN_BY_NAME.has(name) && name !== 'id') || /^data(\.[^.\s]+)+$/.test(name)

/**
 * Batches of at most `batchRows` rows, in order of rows. Memory: codes of the whole range and its distinct values; of
 * texts that do not repeat, one batch.
 */
export async function* columnBatches(
  duckdb: DuckDb,
  range: RowRange,
  columns: readonly string[],
  options: { readonly filter?: RowFilter; readonly batchRows: number; readonly signal?: AbortSignal },
): AsyncGenerator<PlacedBatch> {
  const { filter, batchRows, signal } = options
  const relation = rangeRelation(range, filter)
  const order = filter?.needsTags ? 'ORDER BY file_row_number' : ''
  const query = (select: readonly string[]) => ({
    sql: `SELECT ${select.join(', ')} FROM ${relation} AS r ${order}`,
    parameters: filter?.parameters,
    files: [range.path, ...(filter?.needsTags ? range.tags.map(tagFile) : [])],
    signal,
  })
  const streamed = columns.filter((name) => COLUMN_BY_NAME.get(name)?.encoding === 'bytes')
  const held = columns.filter((name) => !streamed.includes(name)).map((name) => newColumn(name))
  for (const column of held) if (column.kind === 'codes') await enumerate(duckdb, range, column)

  const gathered = [gathering('id'), gathering('row'), ...held.map(({ name }) => gathering(name))]
  const select = ['id::DOUBLE AS "id"', 'file_row_number::DOUBLE AS "row"', ...held.map(selected)]
  for await (const chunk of duckdb.columns(query(select))) {
    for (const { name, parts } of gathered) {
      const column = held.find((one) => one.name === name)
      parts.push(column?.kind === 'texts' ? column.intern(chunk.texts(name), chunk.rows) : chunk.numbers(name))
    }
  }
  const [ids, rowNumbers, ...values] = gathered.map(({ parts }) => joined(parts))
  const whole = new Map(held.map((column, i) => [column.name, column.finish(values[i]!)]))
  const texts = streamed.length > 0 ? new TextStream(duckdb.columns(query(streamed.map(asBytes))), streamed) : undefined
  try {
    for (let at = 0; at < ids!.length; at += batchRows) {
      const end = Math.min(at + batchRows, ids!.length)
      const parts: Record<string, TextColumn | NumberColumn> = {}
      for (const [name, column] of whole) parts[name] = slice(column, at, end)
      if (texts) Object.assign(parts, await texts.take(end - at))
      const batch = { rows: end - at, ids: ids!.subarray(at, end), columns: parts }
      const own = rowNumbers!.subarray(at, end)
      yield { batch, rowNumbers: own, first: own[0]!, last: own[own.length - 1]! }
    }
  } finally {
    await texts?.end()
  }
}

// --- internal ---

interface HeldColumn {
  readonly name: string
  readonly kind: 'numbers' | 'codes' | 'texts'
  /** Of a `codes` column, by code. */
  values: string[]
  /** Codes of a chunk of a `texts` column. */
  intern(texts: { text(row: number): string | null }, rows: number): Float64Array
  finish(values: Float64Array): TextColumn | NumberColumn
}

const tagFile = ({ directory, name }: HeldTagFile): string => join(directory, name)

function newColumn(name: string): HeldColumn {
  const column = COLUMN_BY_NAME.get(name)
  const kind = column ? (column.type === 'int' || column.type === 'time' ? 'numbers' : 'codes') : 'texts'
  const known = new Map<string, number>()
  const held: HeldColumn = {
    name,
    kind,
    values: [],
    intern(texts, rows) {
      const codes = new Float64Array(rows)
      for (let row = 0; row < rows; row++) {
        const text = texts.text(row)
        let code = text === null ? Number.NaN : known.get(text)
        if (code === undefined) {
          code = held.values.push(text!) - 1
          known.set(text!, code)
        }
        codes[row] = code
      }
      return codes
    },
    finish: (values) => (kind === 'numbers' ? { kind: 'number', values } : compact(values, held.values)),
  }
  return held
}

const typeName = (name: string): string => sqlName(`values of ${name}`)

/** Over all rows of the range: a type takes no parameters, so no filter. What no row has goes out in `compact`. */
async function enumerate(duckdb: DuckDb, range: RowRange, column: HeldColumn): Promise<void> {
  const [name, type, files] = [sqlName(column.name), typeName(column.name), [range.path]]
  const rows = rangeRelation({ ...range, hidden: [] }, undefined)
  const distinct = `SELECT DISTINCT ${name} FROM ${rows} WHERE ${name} IS NOT NULL`
  await duckdb.rows({ sql: `CREATE OR REPLACE TYPE ${type} AS ENUM (${distinct})`, files })
  const sql = `SELECT encode(v::VARCHAR) AS v FROM (SELECT unnest(enum_range(NULL::${type})) AS v)`
  for await (const chunk of duckdb.columns({ sql, files })) {
    const texts = chunk.texts('v')
    for (let row = 0; row < chunk.rows; row++) column.values.push(texts.text(row)!)
  }
}

function selected({ name, kind }: HeldColumn): string {
  const column = sqlName(name)
  if (name === 'time') return 'epoch_us(time)::DOUBLE AS "time"'
  if (kind === 'numbers') return `${column}::DOUBLE AS ${column}`
  if (kind === 'codes') return `enum_code(${column}::${typeName(name)})::DOUBLE AS ${column}`
  const pointer = name
    .slice('data'.length)
    .split('.')
    .map((segment) => segment.replaceAll('~', '~0').replaceAll('/', '~1'))
    .join('/')
  // Malformed JSON would end the whole statement.
  return `encode(CASE WHEN json_valid(data) THEN json_extract_string(data, ${sqlText(pointer)}) END) AS ${column}`
}

const asBytes = (name: string): string => `encode(${sqlName(name)}) AS ${sqlName(name)}`

/** Distinct values in the order in which rows have them: whatever order DuckDB found them in. */
function compact(codes: Float64Array, all: readonly string[]): TextColumn {
  const indexes = new Uint32Array(codes.length)
  const places = new Int32Array(all.length).fill(-1)
  const values: string[] = []
  for (let row = 0; row < codes.length; row++) {
    const code = codes[row]!
    if (Number.isNaN(code)) {
      indexes[row] = NULL_TEXT
      continue
    }
    let place = places[code]!
    if (place < 0) {
      place = values.push(all[code]!) - 1
      places[code] = place
    }
    indexes[row] = place
  }
  return { kind: 'text', values, indexes }
}

const gathering = (name: string): { readonly name: string; readonly parts: Float64Array[] } => ({ name, parts: [] })

function joined(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function slice(column: TextColumn | NumberColumn, at: number, end: number): TextColumn | NumberColumn {
  return column.kind === 'text'
    ? { ...column, indexes: column.indexes.subarray(at, end) }
    : { ...column, values: column.values.subarray(at, end) }
}

/** Texts that do not repeat, so many rows at a time. */
class TextStream {
  private readonly chunks: AsyncGenerator<{
    readonly rows: number
    texts(name: string): { text(row: number): string | null }
  }>
  private readonly names: readonly string[]
  private chunk: { readonly rows: number; texts(name: string): { text(row: number): string | null } } | undefined
  private at = 0

  constructor(chunks: TextStream['chunks'], names: readonly string[]) {
    this.chunks = chunks
    this.names = names
  }

  async take(rows: number): Promise<Record<string, TextColumn>> {
    const values = this.names.map((): string[] => [])
    const indexes = this.names.map(() => new Uint32Array(rows))
    for (let row = 0; row < rows; row++) {
      if (!this.chunk || this.at === this.chunk.rows) {
        const next = await this.chunks.next()
        if (next.done) throw new RangeError('there are fewer texts than rows')
        this.chunk = next.value
        this.at = 0
      }
      const { chunk, at } = this
      this.names.forEach((name, i) => {
        const text = chunk.texts(name).text(at)
        indexes[i]![row] = text === null ? NULL_TEXT : values[i]!.push(text) - 1
      })
      this.at += 1
    }
    return Object.fromEntries(
      this.names.map((name, i) => [name, { kind: 'text', values: values[i]!, indexes: indexes[i]! }]),
    )
  }

  async end(): Promise<void> {
    await this.chunks.return(undefined)
  }
}
