/**
 * plaso mode: what the psort event filter of the original answers, row for row of its oracle table (test/fixtures/query).
 * Known oddities are kept: a missing, zero or empty value never compares; `contains` on lists is exact; `inset` is a
 * substring test; lists are joined before `regexp`. One difference: where the original raises TypeError while matching
 * (`inode > '5'`), a condition is false here, since a filter must not end a run.
 *
 * Names resolve as event attribute, then as key of the record's JSON, dots and all.
 */
import { parseIsoTime } from '../core/isoTime.ts'
import { expressionError } from './expressionError.ts'
import { type Json, parseJson } from './jsonText.ts'
import { compareText, type EventAccess, isTruthy, type Predicate } from './predicate.ts'
import { matchesRegex } from './regex.ts'
import type { Comparison, Literal, Operator, Syntax } from './syntax.ts'

/** E_EXPRESSION for values that the original refuses at compile time. */
export function plasoPredicate(syntax: Syntax, text: string): Predicate {
  switch (syntax.kind) {
    case 'all':
      return () => true
    case 'and': {
      const terms = syntax.terms.map((term) => plasoPredicate(term, text))
      return (event) => terms.every((term) => term(event))
    }
    case 'or': {
      const terms = syntax.terms.map((term) => plasoPredicate(term, text))
      return (event) => terms.some((term) => term(event))
    }
    case 'not': {
      const term = plasoPredicate(syntax.term, text)
      return (event) => !term(event)
    }
    case 'comparison':
      return comparisonPredicate(syntax, text)
  }
}

/** Never match, since they are made by formatters and not stored. */
export const PLASO_UNSUPPORTED: ReadonlySet<string> = new Set([
  'message',
  'parser',
  'source',
  'source_long',
  'source_short',
  'sourcetype',
  'description',
  'description_long',
  'description_short',
])

export const isPlasoTime = (name: string): boolean => TIME_NAMES.has(name)

// --- internal ---

const TIME_NAMES = new Set(['timestamp', 'date', 'datetime', 'time'])

/** What a condition compares with. */
export type Wanted = string | number | bigint | { readonly path: readonly string[] }

function comparisonPredicate({ field, operator, negated, values }: Comparison, text: string): Predicate {
  const compare = comparer(operator, wantedValue(field.text, values[0]!, text), values[0]!, text)
  const name = field.text
  if (PLASO_UNSUPPORTED.has(name)) return () => negated
  return (event) => {
    const value = lookUp(event, name)
    return (isTruthy(value) && compare(value)) !== negated
  }
}

/** E_EXPRESSION for a time that is none. */
export function wantedValue(name: string, literal: Literal, text: string): Wanted {
  // Of strict mode.
  if (literal.kind === 'field') return literal.value.text
  if (literal.kind === 'path') return { path: literal.value.split('/') }
  if (literal.kind === 'datetime') return microseconds(literal, text, true)
  if (literal.kind === 'text' && TIME_NAMES.has(name)) return microseconds(literal, text, false)
  return literal.kind === 'boolean' ? BigInt(literal.value) : literal.value
}

function microseconds(literal: Literal & { kind: 'datetime' | 'text' }, text: string, withZone: boolean): bigint {
  const given = literal.value
  if (typeof given === 'bigint') return given
  if (/^\d{1,19}$/.test(given)) return BigInt(given)
  const form = withZone ? ZONED_TIME : PLAIN_TIME
  const bytes = new TextEncoder().encode(given.length === 10 ? `${given}T00:00:00` : given)
  const time = form.test(given) ? parseIsoTime(bytes, 0, bytes.length) : Number.NaN
  if (!Number.isNaN(time)) return BigInt(time)
  throw expressionError(text, literal.at, {
    reason: 'this is no time',
    expected: ["'2023-07-10'", "'2023-07-10 11:00:00'", "DATETIME('2023-07-10T11:00:00+00:00')"],
  })
}

const PLAIN_TIME = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,6})?)?$/
const ZONED_TIME = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?)?$/

function comparer(operator: Operator, wanted: Wanted, literal: Literal, text: string): (value: unknown) => boolean {
  switch (operator) {
    case '==':
      return (value) => isEqual(value, wanted)
    case '!=':
      return (value) => !isEqual(value, wanted)
    case 'contains':
      return (value) => contains(value, wanted)
    case 'inset':
      return (value) => typeof value === 'string' && typeof wanted === 'string' && wanted.includes(value)
    case 'regexp':
    case 'iregexp':
      return regexComparer(operator, wanted, literal, text)
    default:
      return (value) => {
        const sign = order(value, wanted)
        if (sign === undefined) return false
        if (operator === '<') return sign < 0
        if (operator === '<=') return sign <= 0
        return operator === '>' ? sign > 0 : sign >= 0
      }
  }
}

function regexComparer(operator: Operator, wanted: Wanted, literal: Literal, text: string) {
  if (typeof wanted !== 'string')
    throw expressionError(text, literal.at, { reason: `${operator} wants a text`, expected: ['a quoted text'] })
  const regex = pythonRegex(wanted, operator === 'iregexp')
  if (regex === undefined)
    throw expressionError(text, literal.at, { code: 'E_EXPRESSION_REGEX', reason: 'it cannot be compiled' })
  return (value: unknown) => {
    const searched = searchable(value)
    return searched !== undefined && matchesRegex(regex, searched)
  }
}

function pythonRegex(pattern: string, ignoreCase: boolean): RegExp | undefined {
  try {
    return new RegExp(pattern.replaceAll('(?P<', '(?<'), ignoreCase ? 'si' : 's')
  } catch {
    return undefined
  }
}

/** What `regexp` looks at: lists joined without separator, integers in decimal (True is 1), nothing else. */
function searchable(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string') ? value.join('') : undefined
  const number = integer(value)
  return number === undefined ? undefined : String(number)
}

function integer(value: unknown): bigint | undefined {
  if (typeof value === 'bigint') return value
  if (typeof value === 'boolean') return BigInt(value)
  return typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : undefined
}

function lookUp(event: EventAccess, name: string): unknown {
  const found = TIME_NAMES.has(name) ? (event.get('timestamp') ?? event.get('time')) : event.get(name)
  if (found !== undefined && found !== null) return found
  const json = parseJson(event.data())
  return json instanceof Map ? (json as ReadonlyMap<string, Json>).get(name) : undefined
}

function isEqual(value: unknown, wanted: Wanted): boolean {
  if (typeof wanted === 'object') return typeof value === 'string' && value === wanted.path.join('/')
  if (typeof wanted === 'string') return value === wanted
  return order(value, wanted) === 0
}

/** As Python orders numbers (booleans among them) and texts; undefined where it would raise TypeError. */
function order(value: unknown, wanted: Wanted): number | undefined {
  if (typeof wanted === 'object') return undefined
  if (typeof wanted === 'string') return typeof value === 'string' ? compareText(value, wanted) : undefined
  const number = typeof value === 'boolean' ? Number(value) : value
  if (typeof number !== 'number' && typeof number !== 'bigint') return undefined
  // 1e999 and NaN in JSON: they compare with nothing, here and in strict mode.
  if (typeof number === 'number' && !Number.isFinite(number)) return undefined
  return number < wanted ? -1 : number > wanted ? 1 : 0
}

function contains(value: unknown, wanted: Wanted): boolean {
  if (typeof wanted === 'object') {
    if (typeof value !== 'string') return false
    const segments = value.split('/')
    const { path } = wanted
    if (path.length >= segments.length) return false
    return segments.some((_, at) => path.every((segment, i) => segments[at + i] === segment))
  }
  if (Array.isArray(value)) return value.some((item) => isEqual(item, wanted))
  return typeof value === 'string' && typeof wanted === 'string' && value.toLowerCase().includes(wanted.toLowerCase())
}
