/**
 * Dump files of chosen rows: CSV that the database makes, cut after so many rows or bytes. Numbers of the bundle stand in
 * place of local ids (docs/design.md §12, CSV).
 */
import { isUidColumn, textFormSql } from '../../library/identity.ts'
import {
  type Column,
  dumpColumns,
  OBJECT_TABLE_BY_CODE,
  TABLE_BY_NAME,
  TABLES,
  type Table,
} from '../../library/model.ts'
import {
  type CsvBlock,
  type CsvColumn,
  type CsvQuery,
  measureRecords,
  type Snapshot,
} from '../../platform/database/snapshot.ts'
import { TOMBSTONE_COLUMNS } from '../bundle/manifest.ts'
import { type Chosen, numberSql, type Selection } from './selection.ts'

/** Rows of a dump file at most, as the original has them (P20). */
export const DUMP_ROWS = 50_000
export const DUMP_BYTES = 32 * 1024 * 1024

export interface DumpFile {
  /** Header and whole records. */
  readonly bytes: Buffer
  readonly rows: number
}

export interface DumpLimits {
  readonly rows: number
  readonly bytes: number
}

/** Rows of a table. What a stub stands for is not told: neither by its values nor by what it refers to. */
export function dumpRows(
  snapshot: Snapshot,
  { chosen }: Selection,
  table: Table,
  limits: DumpLimits,
): AsyncIterable<DumpFile> {
  const header = dumpColumns(table).map(({ name }) => name)
  return dumpFiles(header, snapshot.csv(rowsQuery(snapshot, chosen, table)), limits)
}

/** Rows that went away. `withKeys`: their natural keys too, from which values can be guessed. */
export async function* dumpTombstones(
  snapshot: Snapshot,
  { gone }: Selection,
  table: Table,
  withKeys: boolean,
  limits: DumpLimits,
): AsyncIterable<DumpFile> {
  const list = gone.get(table)
  if (list === undefined) return
  const columns: readonly CsvColumn[] = [
    plain(uidText(snapshot, 't.uid')),
    plain(withKeys ? textFormSql(snapshot.dialect, { name: 'nk', type: 'hex' }, 't.nk') : 'null'),
    plain('coalesce(t.deleted_at, t.unpublished_at)'),
  ]
  const from = `${list} s ${firstJoin(snapshot)} ${table.name} t on t.id = s.id`
  yield* dumpFiles(TOMBSTONE_COLUMNS, snapshot.csv({ columns, from, where: 'true', key: 's.id' }), limits)
}

/** The statement behind `dumpRows`. */
export function rowsQuery(snapshot: Snapshot, chosen: ReadonlyMap<Table, Chosen>, table: Table): CsvQuery {
  const own = chosen.get(table)!
  const joins: string[] = []
  const isList = own.kind === 'list'
  const stubs = isList ? own.stubs : undefined
  if (stubs !== undefined) joins.push(`left join ${stubs} st on st.id = t.id`)
  const columns = dumpColumns(table).map((column) => {
    if (column.name === 'id') return plain(isList ? 's.n' : shifted('t.id', own.first))
    const { expression, isPlain } = columnValue(snapshot, chosen, column, joins)
    if (stubs === undefined || column.name === 'uid' || TIMES_OF_ALL.has(column.name))
      return { expression, plain: isPlain }
    return {
      expression: `case when st.id is null then ${expression} else ${stubValue(snapshot, column, expression)} end`,
      plain: isPlain,
    }
  })
  const from = isList ? `${own.list} s ${firstJoin(snapshot)} ${table.name} t on t.id = s.id` : `${table.name} t`
  const query = { columns, from: [from, ...joins].join(' '), where: 'true' }
  return isList ? { ...query, key: 's.id' } : { ...query, key: 't.id', range: own }
}

// --- internal ---

/** SQLite keeps the order of a cross join: from the list to the table. */
const firstJoin = ({ dialect }: Snapshot): string => (dialect === 'sqlite' ? 'cross join' : 'join')

const plain = (expression: string): CsvColumn => ({ expression, plain: true })

const TIMES_OF_ALL = new Set(['created_at', 'updated_at', 'deleted_at'])

/** Codes of objects are words of the registry. */
const isObjectCode = ({ name }: Column): boolean => OBJECT_CODE_COLUMNS.has(name)
const OBJECT_CODE_COLUMNS = new Set(
  TABLES.flatMap(({ columns }) => columns.flatMap(({ typeColumn }) => (typeColumn === undefined ? [] : [typeColumn]))),
)

function columnValue(
  snapshot: Snapshot,
  chosen: ReadonlyMap<Table, Chosen>,
  column: Column,
  joins: string[],
): { readonly expression: string; readonly isPlain: boolean } {
  const value = `t."${column.name}"`
  if (column.type === 'reference') {
    const parent = chosen.get(TABLE_BY_NAME.get(column.references!)!)
    // What a row cannot be without was asked of its parents when it was chosen.
    if (parent?.kind === 'range' && column.required) return { expression: shifted(value, parent.first), isPlain: true }
    if (parent?.kind !== 'list') return { expression: numberSql(parent, value), isPlain: true }
    const alias = `j${joins.length}`
    joins.push(`left join ${parent.list} ${alias} on ${alias}.id = ${value}`)
    return { expression: `${alias}.n`, isPlain: true }
  }
  if (column.type === 'anyReference') {
    const cases = [...OBJECT_TABLE_BY_CODE].flatMap(([code, object]) => {
      const taken = chosen.get(object)
      const number = taken?.kind === 'range' ? shifted(value, taken.first) : numberSql(taken, value)
      return taken ? [`when '${code}' then ${number}`] : []
    })
    const expression = cases.length === 0 ? 'null' : `case t.${column.typeColumn} ${cases.join(' ')} end`
    return { expression, isPlain: true }
  }
  if (isUidColumn(column.name)) return { expression: uidText(snapshot, value, column.required), isPlain: true }
  const isText = (column.type === 'text' && !isObjectCode(column)) || column.type === 'json'
  const expression = column.type === 'hex' ? textFormSql(snapshot.dialect, column, value) : value
  return { expression, isPlain: !isText }
}

/** What is required has a value that tells nothing; the type of the object stays. */
function stubValue(snapshot: Snapshot, { name, type, required }: Column, expression: string): string {
  if (!required) return 'null'
  switch (type) {
    case 'text':
      return `'redacted-' || ${uidText(snapshot, 't.uid')}`
    case 'hex': {
      // As long as a SHA-256, and of no content.
      const uid = textFormSql(snapshot.dialect, { name: 'nk', type: 'hex' }, 't.uid')
      return `${uid} || ${uid}`
    }
    case 'reference':
      return expression
    case 'time':
    case 'integer':
      return '0'
    default:
      throw new Error(`a stub has no value for ${name}`)
  }
}

/** By SQL's own functions: one of JavaScript would cost more than the rest of the row. */
function uidText({ dialect }: Snapshot, expr: string, isRequired = true): string {
  if (dialect === 'postgres') return `(encode(${expr}, 'hex')::uuid)::text`
  const parts = UID_PARTS.map(([from, length]) => `hex(substr(${expr}, ${from}, ${length}))`)
  const text = `lower(concat(${parts.join(`, '-', `)}))`
  return isRequired ? text : `case when ${expr} is not null then ${text} end`
}

const UID_PARTS = [
  [1, 4],
  [5, 2],
  [7, 2],
  [9, 2],
  [11, 6],
] as const

const shifted = (id: string, first: number): string => (first === 1 ? id : `${id} - ${first - 1}`)

/** Cuts records into files: none is empty, and none has more than it may, but for a record that alone has. */
export async function* dumpFiles(
  columns: readonly string[],
  blocks: AsyncIterable<CsvBlock>,
  limits: DumpLimits,
): AsyncGenerator<DumpFile> {
  const header = Buffer.from(`${columns.join(',')}\n`)
  let pieces: Buffer[] = [header]
  let rows = 0
  let length = header.length
  const file = (): DumpFile => {
    const whole = { bytes: Buffer.concat(pieces, length), rows }
    pieces = [header]
    rows = 0
    length = header.length
    return whole
  }
  for await (const block of blocks) {
    let { bytes } = block
    for (let left = block.rows; left > 0; ) {
      let taken = { length: bytes.length, rows: left }
      if (left > limits.rows - rows || bytes.length > limits.bytes - length)
        taken = measureRecords(bytes, limits.rows - rows, limits.bytes - length)
      // The next record is too long for what room is left, or there are rows enough.
      if (rows > 0 && taken.length > limits.bytes - length) taken = { length: 0, rows: 0 }
      pieces.push(bytes.subarray(0, taken.length))
      length += taken.length
      rows += taken.rows
      left -= taken.rows
      bytes = bytes.subarray(taken.length)
      if (left > 0) yield file()
    }
    if (rows === limits.rows) yield file()
  }
  if (rows > 0) yield file()
}
