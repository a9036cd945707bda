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
      return clash(flattened(condition.terms))
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
  exists: boolean
  isMissing: boolean
}

const flattened = (terms: readonly Condition[]): Condition[] =>
  terms.flatMap((term) => (term.kind === 'and' ? flattened(term.terms) : [term]))

/** A column of which an event has one value at most, and which two terms want to be different. */
function clash(terms: readonly Condition[]): string | undefined {
  const columns = new Map<string, Limits>()
  const limitsOf = (field: Field): Limits | undefined => {
    // A place in a record, and a column of several values, may satisfy both.
    if (field.kind !== 'column' || MANY.has(field.column.name)) return undefined
    const { name } = field.column
    const found = columns.get(name)
    if (found) return found
    const limits: Limits = {
      ...{ low: undefined, high: undefined, integers: undefined, texts: undefined },
      ...{ exists: false, isMissing: false },
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

function narrow(limits: Limits, test: Test): void {
  limits.exists = true
  if (test.kind === 'integer') {
    const { order, value } = test
    if (order === '>' || order === '>=') {
      const low = order === '>' ? value + 1n : value
      if (limits.low === undefined || low > limits.low) limits.low = low
    } else {
      const high = order === '<' ? value - 1n : value
      if (limits.high === undefined || high < limits.high) limits.high = high
    }
  } else if (test.kind === 'integers') limits.integers = common(limits.integers, test.values)
  // Folded texts mean several spellings.
  else if (test.kind === 'texts' && !test.folded) limits.texts = common(limits.texts, test.values)
}

function exclude(limits: Limits | undefined, test: Test): void {
  if (!limits) return
  if (test.kind === 'exists') limits.isMissing = true
  if (test.kind === 'texts' && !test.folded) for (const value of test.values) limits.texts?.delete(value)
}

const common = <T>(held: ReadonlySet<T> | undefined, values: readonly T[]): Set<T> =>
  new Set(values.filter((value) => held === undefined || held.has(value)))

function isEmpty({ low, high, integers, texts, exists, isMissing }: Limits): boolean {
  if (exists && isMissing) return true
  if (texts?.size === 0) return true
  if (low !== undefined && high !== undefined && low > high) return true
  return (
    integers !== undefined &&
    ![...integers].some((value) => (low === undefined || value >= low) && (high === undefined || value <= high))
  )
}
