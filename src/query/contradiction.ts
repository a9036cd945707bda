/** Why a condition can match nothing, where that can be told from the condition alone. */
import type { Condition, Field, Test } from './condition.ts'

/** For people; undefined when some event may match. */
export function contradiction(condition: Condition): string | undefined {
  switch (condition.kind) {
    case 'never':
      return 'one of its conditions can never hold'
    case 'or': {
      const reasons = condition.terms.map(contradiction)
      return reasons.every((reason) => reason !== undefined) ? reasons[0] : undefined
    }
    case 'and':
      for (const term of condition.terms) {
        const reason = contradiction(term)
        if (reason !== undefined) return reason
      }
      return clashOfAll(flattened(condition.terms))
    case 'not':
      return condition.term.kind === 'always' ? 'it excludes everything' : undefined
    default:
      return undefined
  }
}

// --- internal ---

/** Columns of events of which one has several values. */
const MANY: ReadonlySet<string> = new Set(['tag'])

interface Limits {
  low: bigint | undefined
  high: bigint | undefined
  /** Values that every condition on the column allows. */
  integers: Set<bigint> | undefined
  texts: Set<string> | undefined
  /** Of numbers that are no integers: at or above, and at or below. */
  above: number
  below: number
  /** Types that conditions want; a value has one. */
  types: Set<'number' | 'boolean' | 'text'>
  exists: boolean
  isMissing: boolean
}

const flattened = (terms: readonly Condition[]): Condition[] =>
  terms.flatMap((term) => (term.kind === 'and' ? flattened(term.terms) : [term]))

/** Ways to meet a condition that are looked at; one with more of them may be met. */
const MAX_WAYS = 64

/** Why no way through the alternatives among the terms is free of a clash. */
function clashOfAll(terms: readonly Condition[]): string | undefined {
  const plain = clash(terms)
  if (plain !== undefined) return plain
  const ways = waysOf({ kind: 'and', terms })
  if (ways === undefined) return undefined
  let first: string | undefined
  for (const way of ways) {
    const reason = clash(way)
    if (reason === undefined) return undefined
    first ??= reason
  }
  return first
}

/** Each way to meet a condition, as what must hold together; undefined when there are too many. */
function waysOf(condition: Condition): (readonly Condition[])[] | undefined {
  if (condition.kind !== 'and' && condition.kind !== 'or') return [[condition]]
  let ways: (readonly Condition[])[] = condition.kind === 'and' ? [[]] : []
  for (const term of condition.terms) {
    const choices = waysOf(term)
    if (choices === undefined) return undefined
    ways =
      condition.kind === 'or'
        ? [...ways, ...choices]
        : ways.flatMap((way) => choices.map((choice) => [...way, ...choice]))
    if (ways.length > MAX_WAYS) return undefined
  }
  return ways
}

/** A column, or a key of the record, of which an event has one value at most, and which two terms want to be different. */
function clash(terms: readonly Condition[]): string | undefined {
  const columns = new Map<string, Limits>()
  const limitsOf = (field: Field): Limits | undefined => {
    // A place in a record, and a column of several values, may satisfy both.
    const name = singleName(field)
    if (name === undefined) return undefined
    const found = columns.get(name)
    if (found) return found
    const limits: Limits = {
      ...{ low: undefined, high: undefined, integers: undefined, texts: undefined },
      ...{ above: -Infinity, below: Infinity, types: new Set(), exists: false, isMissing: false },
    }
    columns.set(name, limits)
    return limits
  }
  for (const term of terms) {
    const limits = term.kind === 'test' ? limitsOf(term.field) : undefined
    if (term.kind === 'test' && limits) narrow(limits, term.test)
  }
  for (const term of terms)
    if (term.kind === 'not' && term.term.kind === 'test') exclude(limitsOf(term.term.field), term.term.test)
  for (const [name, limits] of columns)
    if (isEmpty(limits)) return `no event has a ${name} that meets all its conditions`
  return undefined
}

const TYPES: Readonly<Partial<Record<Test['kind'], 'number' | 'boolean' | 'text'>>> = {
  ...{ integers: 'number', integer: 'number', numbers: 'number', number: 'number' },
  ...{ boolean: 'boolean', texts: 'text', text: 'text', search: 'text', regex: 'text' },
}

function narrow(limits: Limits, test: Test): void {
  limits.exists = true
  const type = TYPES[test.kind]
  if (type) limits.types.add(type)
  if (test.kind === 'integer') {
    const { order, value } = test
    if (order === '>' || order === '>=') {
      const low = order === '>' ? value + 1n : value
      if (limits.low === undefined || low > limits.low) limits.low = low
    } else {
      const high = order === '<' ? value - 1n : value
      if (limits.high === undefined || high < limits.high) limits.high = high
    }
  } else if (test.kind === 'number') {
    if (test.order === '>' || test.order === '>=') limits.above = Math.max(limits.above, test.value)
    else limits.below = Math.min(limits.below, test.value)
  } else if (test.kind === 'integers') limits.integers = common(limits.integers, test.values)
  // Folded texts mean several spellings.
  else if (test.kind === 'texts' && !test.folded) limits.texts = common(limits.texts, test.values)
}

function exclude(limits: Limits | undefined, test: Test): void {
  if (!limits) return
  if (test.kind === 'exists') limits.isMissing = true
  if (test.kind === 'texts' && !test.folded) for (const value of test.values) limits.texts?.delete(value)
}

/** Its name where an event has one value of it at most. */
function singleName(field: Field): string | undefined {
  if (field.kind === 'column') return MANY.has(field.column.name) ? undefined : field.column.name
  return field.kind === 'key' && !field.items ? `data.${field.name}` : undefined
}

const common = <T>(held: ReadonlySet<T> | undefined, values: readonly T[]): Set<T> =>
  new Set(values.filter((value) => held === undefined || held.has(value)))

function isEmpty({ low, high, integers, texts, above, below, types, exists, isMissing }: Limits): boolean {
  if (exists && isMissing) return true
  if (texts?.size === 0 || above > below || types.size > 1) return true
  if (low !== undefined && high !== undefined && low > high) return true
  return (
    integers !== undefined &&
    ![...integers].some((value) => (low === undefined || value >= low) && (high === undefined || value <= high))
  )
}
