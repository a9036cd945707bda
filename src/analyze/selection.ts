/** Which events of a piece a plugin sees: the run's expression and times, then the plugin's own. */
import { compile, type Expression } from '../query/expression.ts'
import type { RowFilter } from '../store/columnBatches.ts'
import type { Selection } from './tasks.ts'

export interface CompiledSelection {
  /** Times and the last id; undefined: all. */
  readonly slice: RowFilter | undefined
  /** These and the expression. Undefined: all. In plaso mode without the expression, which has no SQL. */
  readonly filter: RowFilter | undefined
  /** Of plaso mode. */
  readonly predicate: Expression | undefined
  /** Data types that a match can have; undefined: any. */
  readonly dataTypes: readonly string[] | undefined
}

export function compileSelection({ expression, mode, now, time1, time2, lastId }: Selection): CompiledSelection {
  const bounds = [
    ...(time1 === null ? [] : [`time >= make_timestamptz(${time1}::BIGINT)`]),
    ...(time2 === null ? [] : [`time <= make_timestamptz(${time2}::BIGINT)`]),
    // Its own truth value, since an event without a time is in no range.
  ].map((bound) => `coalesce(${bound}, FALSE)`)
  const slice = allOf(bounds.map((sql) => ({ sql, parameters: {}, needsTags: false })))
  const upTo = lastId === null ? [] : [{ sql: `id <= ${lastId}`, parameters: {}, needsTags: false }]
  const compiled = expression.trim() === '' ? undefined : compile(expression, { mode, now })
  const strict = compiled?.mode === 'strict' ? [filterOf(compiled, 's_')] : []
  return {
    slice,
    filter: allOf([...(slice ? [slice] : []), ...upTo, ...strict]),
    predicate: compiled?.mode === 'plaso' ? compiled : undefined,
    dataTypes: compiled && dataTypesOf(compiled),
  }
}

/** A strict expression as a filter. */
export function filterOf(compiled: Expression, prefix: string): RowFilter {
  const { text, named } = compiled.sql(prefix)!
  return { sql: text, parameters: named, needsTags: compiled.columns()?.has('tag') ?? false }
}

export function allOf(filters: readonly (RowFilter | undefined)[]): RowFilter | undefined {
  const given = filters.filter((filter) => filter !== undefined)
  if (given.length === 0) return undefined
  return {
    sql: given.map(({ sql }) => `(${sql})`).join(' AND '),
    parameters: Object.assign({}, ...given.map(({ parameters }) => parameters)),
    needsTags: given.some(({ needsTags }) => needsTags),
  }
}

/** What every match has as `data_type`; undefined: anything. */
export function dataTypesOf(compiled: Expression): readonly string[] | undefined {
  const [first, ...others] = compiled
    .needles()
    .filter(({ column }) => column === 'data_type')
    .map(({ values }) => values.map(String))
  return first?.filter((value) => others.every((values) => values.includes(value)))
}

export function common(
  one: readonly string[] | undefined,
  other: readonly string[] | undefined,
): readonly string[] | undefined {
  return one === undefined ? other : other === undefined ? one : one.filter((value) => other.includes(value))
}
