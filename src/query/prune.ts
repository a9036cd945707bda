/** What every match must satisfy, so that a segment without it is not opened. Never more than the condition says. */
import type { Condition, Order } from './condition.ts'

/** Every match has one of these values, spelt exactly so, in this column (an indexed one). */
export interface Needle {
  readonly column: string
  readonly values: readonly string[]
}

/** Microseconds, both ends included; an absent end is open. `from > to`: nothing can match. */
export interface TimeRange {
  readonly from?: number
  readonly to?: number
}

export function needles(condition: Condition): readonly Needle[] {
  switch (condition.kind) {
    case 'and':
      return condition.terms.flatMap(needles)
    case 'or':
      return common(condition.terms.filter((term) => term.kind !== 'never').map(needles))
    case 'test': {
      const { field, test } = condition
      const isNeedle = field.kind === 'column' && field.column.indexed && test.kind === 'texts' && !test.folded
      return isNeedle ? [{ column: field.column.name, values: test.values }] : []
    }
    default:
      return []
  }
}

/** Whether the needles are the whole condition: an event with a value of each is a match. */
export function needlesSuffice(condition: Condition): boolean {
  return condition.kind === 'and'
    ? condition.terms.every(needlesSuffice)
    : condition.kind === 'test' && needles(condition).length > 0
}

/** Undefined when a match may have any time, or none. */
export function timeRange(condition: Condition): TimeRange | undefined {
  const span = spanOf(condition)
  if (span === ANY) return undefined
  return {
    ...(span.from !== -Infinity && { from: span.from }),
    ...(span.to !== Infinity && { to: span.to }),
  }
}

export function columns(condition: Condition): ReadonlySet<string> {
  const found = new Set<string>()
  collect(condition, found)
  return found
}

// --- internal ---

interface Span {
  readonly from: number
  readonly to: number
}

/** No bound, and events without a time may match. */
const ANY: Span = { from: -Infinity, to: Infinity }
const NONE: Span = { from: 1, to: 0 }

/** A needle of an OR is a column that each term pins. */
function common(terms: readonly (readonly Needle[])[]): readonly Needle[] {
  const [first = [], ...others] = terms
  return first.flatMap(({ column, values }) => {
    const same = others.map((found) => found.find((needle) => needle.column === column))
    if (same.some((needle) => needle === undefined)) return []
    return [{ column, values: [...new Set([...values, ...same.flatMap((needle) => needle?.values ?? [])])] }]
  })
}

function spanOf(condition: Condition): Span {
  switch (condition.kind) {
    case 'never':
      return NONE
    case 'and':
      return condition.terms.map(spanOf).reduce(intersection)
    case 'or':
      return condition.terms.map(spanOf).reduce(hull)
    case 'test': {
      const { field, test } = condition
      if (field.kind !== 'column' || field.column.type !== 'time') return ANY
      if (test.kind === 'integer') return ordered(test.order, Number(test.value))
      if (test.kind !== 'integers') return ANY
      return test.values.map((value) => ({ from: Number(value), to: Number(value) })).reduce(hull, NONE)
    }
    default:
      return ANY
  }
}

function ordered(order: Order, value: number): Span {
  switch (order) {
    case '<':
      return { from: -Infinity, to: value - 1 }
    case '<=':
      return { from: -Infinity, to: value }
    case '>':
      return { from: value + 1, to: Infinity }
    case '>=':
      return { from: value, to: Infinity }
  }
}

function isEmpty({ from, to }: Span): boolean {
  return from > to
}

function intersection(a: Span, b: Span): Span {
  if (a === ANY) return b
  if (b === ANY) return a
  const both = { from: Math.max(a.from, b.from), to: Math.min(a.to, b.to) }
  return isEmpty(both) ? NONE : both
}

function hull(a: Span, b: Span): Span {
  if (a === ANY || b === ANY) return ANY
  if (isEmpty(a)) return b
  return isEmpty(b) ? a : { from: Math.min(a.from, b.from), to: Math.max(a.to, b.to) }
}

function collect(condition: Condition, found: Set<string>): void {
  if (condition.kind === 'not') collect(condition.term, found)
  else if (condition.kind === 'and' || condition.kind === 'or') for (const term of condition.terms) collect(term, found)
  else if (condition.kind === 'pair') {
    for (const field of [condition.one, condition.other])
      found.add(field.kind === 'column' ? field.column.name : 'data')
  } else if (condition.kind === 'test') {
    const { field, test } = condition
    if (field.kind !== 'column') found.add('data')
    else found.add(test.kind === 'blocks' ? `${field.column.name}_key` : field.column.name)
  }
}
