/**
 * A condition as a DuckDB expression over the columns of `meta`: never NULL, never an error, every value a bound
 * parameter. A test of a column is `"c" IS NOT NULL AND …`, which is FALSE for NULL and still lets DuckDB skip row groups.
 * `"tag"` is a list that the reader joins.
 */
import type { Condition, Field, Test } from './condition.ts'
import { escapeMark } from './escapedText.ts'
import { isIndex } from './jsonText.ts'

export type SqlValue = string | number | bigint | boolean | null

export interface SqlText {
  /**
   * A boolean expression; parameters are `$<prefix>1`, `$<prefix>2`, …. DuckDB does not mix numbered with named ones, so
   * a statement with other named parameters needs a prefix.
   */
  readonly text: string
  readonly params: readonly SqlValue[]
  /** The same values by name, without the `$`. */
  readonly named: Readonly<Record<string, SqlValue>>
}

export function sql(condition: Condition, prefix = ''): SqlText {
  const writer = new SqlWriter(prefix)
  const text = writer.condition(condition)
  return { text, params: writer.params, named: writer.named() }
}

// --- internal ---

/** Longer lists travel as one JSON parameter. */
const LIST_PARAMETERS = 64
/** More values than these are not looked for in the record's text first. */
const GUARDED_VALUES = 4

class SqlWriter {
  readonly params: SqlValue[] = []
  private readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }

  named(): Record<string, SqlValue> {
    return Object.fromEntries(this.params.map((value, i) => [`${this.prefix}${i + 1}`, value]))
  }

  condition(condition: Condition): string {
    switch (condition.kind) {
      case 'always':
        return 'TRUE'
      case 'never':
        return 'FALSE'
      case 'not':
        return `(NOT ${this.condition(condition.term)})`
      case 'and':
      case 'or':
        return `(${condition.terms.map((term) => this.condition(term)).join(condition.kind === 'and' ? ' AND ' : ' OR ')})`
      case 'pair':
        return this.pair(condition)
      case 'test':
        return this.test(condition.field, condition.test)
    }
  }

  private pair({ one, other, where, folded }: Condition & { kind: 'pair' }): string {
    const seen = (value: string): string => (folded ? `lower(${value})` : value)
    const call = { anywhere: 'contains', start: 'starts_with', end: 'ends_with', whole: '' }[where]
    const relates = where === 'whole' ? `${seen('a')} = ${seen('b')}` : `${call}(${seen('a')}, ${seen('b')})`
    const some = `len(list_filter(${this.textList(other)}, lambda b: ${relates})) > 0`
    return `(len(list_filter(${this.textList(one)}, lambda a: ${some})) > 0)`
  }

  /** Every text of a field, as a list that is not NULL. */
  private textList(field: Field): string {
    if (field.kind === 'column') {
      const column = `"${field.column.name}"`
      return field.column.several
        ? `coalesce(${column}, []::VARCHAR[])`
        : `list_filter([${column}], lambda v: v IS NOT NULL)`
    }
    const segments = field.kind === 'json' ? field.segments : [field.name]
    const texts = `list_filter(${this.walked(segments)}, lambda v: json_type(v) = 'VARCHAR')`
    const values = `list_transform(${texts}, lambda v: json_extract_string(v, '$'))`
    return `(CASE WHEN "data" IS NOT NULL AND json_valid("data") THEN ${values} ELSE []::VARCHAR[] END)`
  }

  private test(field: Field, test: Test): string {
    if (field.kind === 'json') return this.json(field.segments, test)
    if (field.kind === 'key') return this.key(field, test)
    const { name, type } = field.column
    const column = `"${name}"`
    if (test.kind === 'blocks') return this.blocks(`"${name}_key"`, test)
    if (test.kind === 'exists') return `(${column} IS NOT NULL)`
    if (field.column.several)
      return `(${column} IS NOT NULL AND len(list_filter(${column}, lambda v: ${this.textual('v', test, true)})) > 0)`
    const body =
      type === 'int' || type === 'time' ? this.integer(column, test, type === 'time') : this.textual(column, test)
    return `(${column} IS NOT NULL AND ${body})`
  }

  private blocks(key: string, { ranges }: Test & { kind: 'blocks' }): string {
    const within = ranges.map(({ from, to }) => `${key} BETWEEN ${this.param(from)} AND ${this.param(to)}`)
    return `(${key} IS NOT NULL AND (${within.join(' OR ')}))`
  }

  private integer(column: string, test: Test, isTime: boolean): string {
    const cast = (value: bigint) =>
      isTime ? `make_timestamptz(${this.param(value)}::BIGINT)` : `${this.param(value)}::BIGINT`
    if (test.kind === 'integer') return `${column} ${test.order} ${cast(test.value)}`
    if (test.kind !== 'integers') return 'FALSE'
    if (test.values.length > LIST_PARAMETERS) {
      const list = this.param(JSON.stringify(test.values.map(String)))
      const item = `unnest(CAST(${list}::JSON AS BIGINT[]))`
      return `${column} IN (SELECT ${isTime ? `make_timestamptz(${item})` : item})`
    }
    return oneOf(column, test.values.map(cast))
  }

  /** `value` is an expression that is not NULL. */
  private textual(value: string, test: Test, inLambda = false): string {
    switch (test.kind) {
      case 'texts':
        return this.texts(test.folded ? `lower(${value})` : value, test.values, inLambda)
      case 'text':
        return `${value} ${test.order} ${this.param(test.value)}`
      case 'regex':
        return `regexp_matches(${value}, ${this.param(test.regex.re2)})`
      case 'search':
        return this.search(value, test)
      default:
        return 'FALSE'
    }
  }

  private texts(value: string, values: readonly string[], inLambda: boolean): string {
    if (values.length <= LIST_PARAMETERS)
      return oneOf(
        value,
        values.map((text) => this.param(text)),
      )
    const list = `CAST(${this.param(JSON.stringify(values))}::JSON AS VARCHAR[])`
    return inLambda ? `list_contains(${list}, ${value})` : `${value} IN (SELECT unnest(${list}))`
  }

  private search(value: string, { where, value: wanted, folded, escaped }: Test & { kind: 'search' }): string {
    const call = { anywhere: 'contains', start: 'starts_with', end: 'ends_with' }[where]
    const plain = `${call}(${folded ? `lower(${value})` : value}, ${this.param(wanted)})`
    if (!escaped) return plain
    const marked = `contains(${value}, ${this.param(escaped.mark)})`
    return `(${plain} OR (${marked} AND regexp_matches(${value}, ${this.param(escaped.regex.re2)})))`
  }

  /**
   * DuckDB ends the statement at malformed JSON, so only valid JSON is looked into. First the cheap ways out: a record
   * without the last key, or without the value asked for, has no match (unless it writes them with escapes); and a place
   * that is reached without passing an array is read directly.
   */
  private json(segments: readonly string[], test: Test): string {
    const guards = ['"data" IS NOT NULL']
    const last = segments.findLast((segment) => !isIndex(segment))
    if (last !== undefined) guards.push(this.holds([last], JSON.stringify))
    if (test.kind === 'texts' && !test.folded && test.values.length <= GUARDED_VALUES)
      guards.push(this.holds(test.values, String))
    guards.push('json_valid("data")')
    const direct = `json_extract("data", ${this.param(segments.map(pointer).join(''))})`
    const values =
      `CASE WHEN json_type(${direct}) IS NULL THEN ${this.walked(segments)} ` + `ELSE ${unfolded(`[${direct}]`)} END`
    const passes = `len(list_filter(${values}, lambda v: ${this.jsonTest(test)})) > 0`
    return `(CASE WHEN ${guards.join(' AND ')} THEN ${passes} ELSE FALSE END)`
  }

  /** The same guards; a list is not looked into unless its items are meant. */
  private key({ name, items }: Field & { kind: 'key' }, test: Test): string {
    const guards = ['"data" IS NOT NULL', this.holds([name], JSON.stringify)]
    if (test.kind === 'texts' && !test.folded && test.values.length <= GUARDED_VALUES)
      guards.push(this.holds(test.values, String))
    guards.push('json_valid("data")')
    const value = `json_extract("data", ${this.param(pointer(name))})`
    const values = items
      ? `CASE json_type(${value}) WHEN 'ARRAY' THEN json_extract(${value}, '$[*]') ELSE [] END`
      : `[${value}]`
    const passes = `len(list_filter(${values}, lambda v: ${this.jsonTest(test)})) > 0`
    // Not among the guards, which DuckDB takes in any order.
    const isObject = `json_type("data") = 'OBJECT'`
    return `(CASE WHEN ${guards.join(' AND ')} THEN ${isObject} AND ${passes} ELSE FALSE END)`
  }

  /** The record has one of these texts as `plain` writes it, or may have it with escapes. */
  private holds(texts: readonly string[], plain: (text: string) => string): string {
    const wanted = new Set(texts.flatMap((text) => [plain(text), escapeMark(text)]))
    return `(${[...wanted].map((text) => `contains("data", ${this.param(text)})`).join(' OR ')})`
  }

  private walked(segments: readonly string[]): string {
    let list = `[CAST("data" AS JSON)]`
    for (const segment of segments) {
      const from = isIndex(segment) ? list : unfolded(list)
      const child = `list_transform(${from}, lambda v: json_extract(v, ${this.param(pointer(segment))}))`
      list = `list_filter(${child}, lambda v: v IS NOT NULL)`
    }
    return unfolded(list)
  }

  private jsonTest(test: Test): string {
    const text = `json_extract_string(v, '$')`
    const number = `TRY_CAST(${text} AS DOUBLE)`
    const whenNumber = (comparison: string) =>
      `(CASE WHEN json_type(v) IN ('UBIGINT', 'BIGINT', 'DOUBLE') AND isfinite(${number}) THEN ${comparison} ELSE FALSE END)`
    switch (test.kind) {
      case 'exists':
        return `json_type(v) <> 'NULL'`
      case 'truthy':
        return (
          `(json_type(v) IS NOT NULL AND CASE json_type(v) WHEN 'NULL' THEN FALSE WHEN 'VARCHAR' THEN ${text} <> '' WHEN 'BOOLEAN' THEN ${text} = 'true' ` +
          `WHEN 'ARRAY' THEN json_array_length(v) > 0 WHEN 'OBJECT' THEN len(json_keys(v)) > 0 ` +
          `ELSE coalesce(${number} <> 0, TRUE) END)`
        )
      case 'boolean':
        return `(json_type(v) = 'BOOLEAN' AND ${text} = ${this.param(String(test.value))})`
      case 'numbers':
        return whenNumber(
          oneOf(
            number,
            test.values.map((value) => this.double(value)),
          ),
        )
      case 'number':
        return whenNumber(`${number} ${test.order} ${this.double(test.value)}`)
      default:
        return `(CASE WHEN json_type(v) = 'VARCHAR' THEN ${this.textual(text, test, true)} ELSE FALSE END)`
    }
  }

  /** As text: the driver would bind 1e300, an integer to JavaScript, as a 64-bit integer. */
  private double(value: number): string {
    return `${this.param(String(value))}::DOUBLE`
  }

  private param(value: SqlValue): string {
    this.params.push(value)
    return `$${this.prefix}${this.params.length}`
  }
}

function oneOf(value: string, wanted: readonly string[]): string {
  return wanted.length === 1 ? `${value} = ${wanted[0]}` : `${value} IN (${wanted.join(', ')})`
}

/** Arrays of a list of JSON values replaced by their elements. */
function unfolded(list: string): string {
  return (
    `flatten(list_transform(${list}, lambda v: ` +
    `CASE json_type(v) WHEN 'ARRAY' THEN json_extract(v, '$[*]') ELSE [v] END))`
  )
}

/** A segment as JSON pointer (RFC 6901), which takes any character. */
function pointer(segment: string): string {
  return `/${segment.replaceAll('~', '~0').replaceAll('/', '~1')}`
}
