/** Where strict and plaso mode would answer differently, condition by condition, said before anything is searched. */
import { ColdtrailError } from '../core/errors.ts'
import { check, epochMicroseconds } from './check.ts'
import { parse } from './parse.ts'
import { isPlasoTime, PLASO_UNSUPPORTED, plasoPredicate } from './plaso.ts'
import { type EventAccess, predicate } from './predicate.ts'
import type { Comparison, Mode, Syntax } from './syntax.ts'
import { columnNamed, EVENTS, TAG_COLUMN } from './vocabulary.ts'

export interface Difference {
  /** 1-based, in characters. */
  readonly column: number
  readonly message: string
}

/** Not every corner of two languages, but those that real filters and the shipped tagging rules meet. */
export function differences(syntax: Syntax, text: string, mode: Mode, now: number): readonly Difference[] {
  const refusal = refusedBy(mode === 'strict' ? 'plaso' : 'strict', text, now)
  const found = refusal === undefined ? [] : [refusal]
  for (const comparison of comparisons(syntax)) {
    const column = [...text.slice(0, comparison.field.at)].length + 1
    for (const message of ofComparison(comparison, text, now)) found.push({ column, message })
  }
  return found
}

// --- internal ---

function refusedBy(other: Mode, text: string, now: number): Difference | undefined {
  try {
    const syntax = parse(text, other)
    if (other === 'plaso') plasoPredicate(syntax, text)
    else check(syntax, text, now)
    return undefined
  } catch (error) {
    if (!(error instanceof ColdtrailError)) throw error
    const { column = 1, reason = error.message } = error.values
    return { column: Number(column), message: `${other} mode refuses this: ${reason}` }
  }
}

function* comparisons(syntax: Syntax): Generator<Comparison> {
  if (syntax.kind === 'comparison') yield syntax
  else if (syntax.kind === 'not') yield* comparisons(syntax.term)
  else if (syntax.kind !== 'all') for (const term of syntax.terms) yield* comparisons(term)
}

function* ofComparison(comparison: Comparison, text: string, now: number): Generator<string> {
  const { field, operator, values } = comparison
  const [value] = values
  if (PLASO_UNSUPPORTED.has(field.text)) yield `plaso mode never matches ${field.text}: there it is not stored`
  if (isPlasoTime(field.text)) {
    const given = value?.kind === 'integer' || value?.kind === 'datetime' ? value.value : undefined
    if (typeof given === 'bigint' && epochMicroseconds(given) !== given)
      yield 'an integer time is microseconds in plaso mode; strict mode takes a small one for seconds or milliseconds'
    return
  }
  if (field.text === TAG_COLUMN.name) {
    yield 'a tag is a list in plaso mode: contains takes whole labels, case and all, and no list equals a text'
    return
  }
  if (operator === '!=') yield 'in plaso mode a value of zero or an empty text is never different from anything'
  else if (operator !== 'exists' && comparesFalsy(comparison, text, now))
    yield 'plaso mode never compares zero or an empty text; strict mode does'
  const column = columnNamed(field, EVENTS)
  if (column && column.name !== field.text)
    yield `${field.text} is ${column.name} in strict mode; plaso mode looks for its own ${field.text}`
  else if (field.segments.length > 1) yield `plaso mode takes ${field.text} for one name, not for a path`
  else if (column?.type === 'ip' && operator === '==') yield 'strict mode also finds other spellings of the address'
}

/** Whether strict mode says yes to 0 or '' where plaso mode would not even look. */
function comparesFalsy(comparison: Comparison, text: string, now: number): boolean {
  try {
    const matches = predicate(check({ ...comparison, negated: false }, text, now))
    return [0, ''].some((value) => matches(eventOf(comparison, value)))
  } catch (error) {
    if (error instanceof ColdtrailError) return false
    throw error
  }
}

function eventOf({ field }: Comparison, value: unknown): EventAccess {
  const segments = field.segments.slice(1)
  const nested = segments.reduceRight<unknown>((inner, segment) => ({ [segment]: inner }), value)
  return { get: () => value, data: () => (segments.length > 0 ? JSON.stringify(nested) : String(value)) }
}
