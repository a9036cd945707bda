/**
 * A plaso expression as a condition, where one says exactly the same: then it runs as SQL and prunes like a strict one.
 * The predicate (plaso.ts) is the oracle. A name is the column of that name, else the key of the record.
 *
 * Not translated: regular expressions (Python's and RE2's differ), `inset`, searches for other than ASCII text (case),
 * `data` itself, numbers that a double does not hold.
 */
import type { Condition, Field, Order, Test } from './condition.ts'
import { isPlasoTime, PLASO_UNSUPPORTED, type Wanted, wantedValue } from './plaso.ts'
import { RegexFault, sharedRegex } from './regex.ts'
import type { Comparison, Syntax } from './syntax.ts'
import { EVENTS, type QueryColumn } from './vocabulary.ts'

/** Undefined where a part of it has no such condition. */
export function plasoCondition(syntax: Syntax, text: string): Condition | undefined {
  switch (syntax.kind) {
    case 'all':
      return ALWAYS
    case 'and':
    case 'or': {
      const terms: Condition[] = []
      for (const term of syntax.terms) {
        const condition = plasoCondition(term, text)
        if (!condition) return undefined
        terms.push(condition)
      }
      return joined(syntax.kind, terms)
    }
    case 'not': {
      const term = plasoCondition(syntax.term, text)
      return term && negation(term)
    }
    case 'comparison': {
      const condition = comparison(syntax, text)
      return condition && (syntax.negated ? negation(condition) : condition)
    }
  }
}

// --- internal ---

const ALWAYS: Condition = { kind: 'always' }
const NEVER: Condition = { kind: 'never' }
const COLUMNS = new Map(EVENTS.columns.map((column) => [column.name, column]))
/** 0001-01-01 and the end of 9999-12-31: what DuckDB makes times of. */
const FIRST_TIME = -62_135_596_800_000_000n
const LAST_TIME = 253_402_300_799_999_999n
const ASCII = /^[\x01-\x7f]*$/

function comparison(syntax: Comparison, text: string): Condition | undefined {
  const { field, operator, values } = syntax
  const name = field.text
  if (PLASO_UNSUPPORTED.has(name)) return NEVER
  if (operator === 'regexp' || operator === 'iregexp' || operator === 'inset' || name === 'data') return undefined
  const wanted = wantedValue(name, values[0]!, text)
  if (!isExact(wanted)) return undefined
  const key = keyCondition(name, operator, wanted)
  if (!key) return undefined
  const column = isPlasoTime(name) ? COLUMNS.get('time') : COLUMNS.get(name)
  if (!column) return key
  const ofColumn = columnCondition(column, operator, wanted)
  if (!ofColumn) return undefined
  if (column.name === 'data_type') return ofColumn
  // A column that is there hides the key, whatever it holds.
  const exists: Condition = { kind: 'test', field: { kind: 'column', column }, test: { kind: 'exists' } }
  return joined('or', [ofColumn, joined('and', [negation(exists), key])])
}

/** A double holds it, and as text it is well formed. */
function isExact(wanted: Wanted): boolean {
  if (typeof wanted === 'object') return wanted.path.every((segment) => segment.isWellFormed())
  if (typeof wanted === 'string') return wanted.isWellFormed()
  return typeof wanted === 'number' || BigInt(Number(wanted)) === wanted
}

function columnCondition(column: QueryColumn, operator: string, wanted: Wanted): Condition | undefined {
  const test = tester({ kind: 'column', column })
  if (column.several) {
    // A list: only `contains` looks into it, and only a list is unequal to everything.
    if (operator === 'contains') return typeof wanted === 'string' ? test(texts([wanted])) : NEVER
    return operator === '!=' ? test({ kind: 'exists' }) : NEVER
  }
  const isNumber = column.type === 'int' || column.type === 'time'
  if (!isNumber) return textual(test, operator, wanted)
  const zero = test({ kind: 'integers', values: [0n] })
  const truthy = joined('and', [test({ kind: 'exists' }), negation(zero)])
  if (typeof wanted === 'string' || typeof wanted === 'object') return operator === '!=' ? truthy : NEVER
  const value = wholeNumber(wanted, column)
  if (operator === '==') return value === undefined ? NEVER : value === 0n ? NEVER : test(integers(value))
  if (operator === '!=') return value === undefined ? truthy : joined('and', [truthy, negation(test(integers(value)))])
  if (operator === 'contains') return NEVER
  if (value === undefined) return undefined
  return joined('and', [test({ kind: 'integer', order: operator as Order, value }), negation(zero)])
}

const integers = (value: bigint): Test => ({ kind: 'integers', values: [value] })

/** Undefined: no integer, or none that the column's type holds. */
function wholeNumber(wanted: number | bigint, { type }: QueryColumn): bigint | undefined {
  if (typeof wanted === 'number' && !Number.isInteger(wanted)) return undefined
  const value = BigInt(wanted)
  if (type === 'time') return value >= FIRST_TIME && value <= LAST_TIME ? value : undefined
  return value < 2n ** 63n ? value : undefined
}

/** Of the key's own value, and for `contains` of the items of a list. */
function keyCondition(name: string, operator: string, wanted: Wanted): Condition | undefined {
  const test = tester({ kind: 'key', name, items: false })
  const isText = typeof wanted === 'string' || typeof wanted === 'object'
  if (operator === '!=') {
    const equal = isText ? textual(test, '==', wanted) : numeric(test, '==', wanted)
    return joined('and', [test({ kind: 'truthy' }), negation(equal!)])
  }
  if (operator !== 'contains') return isText ? textual(test, operator, wanted) : numeric(test, operator, wanted)
  if (typeof wanted === 'object') return textual(test, operator, wanted)
  const item = tester({ kind: 'key', name, items: true })
  if (typeof wanted !== 'string') return equalNumber(item, wanted)
  const search = textual(test, operator, wanted)
  return search && joined('or', [search, item(texts([wanted]))])
}

function numeric(test: Tester, operator: string, wanted: number | bigint): Condition {
  const value = Number(wanted)
  if (operator === '==') return value === 0 ? NEVER : equalNumber(test, wanted)
  const zero = test({ kind: 'numbers', values: [0] })
  const numbers = joined('and', [test({ kind: 'number', order: operator as Order, value }), negation(zero)])
  // True is 1, and False never compares.
  const one = { '<': 1 < value, '<=': 1 <= value, '>': 1 > value, '>=': 1 >= value }[operator]
  return one ? joined('or', [numbers, test({ kind: 'boolean', value: true })]) : numbers
}

/** Of items too, where zero and False do compare. */
function equalNumber(test: Tester, wanted: number | bigint): Condition {
  const value = Number(wanted)
  const numbers = test({ kind: 'numbers', values: [value] })
  if (value !== 0 && value !== 1) return numbers
  return joined('or', [numbers, test({ kind: 'boolean', value: value === 1 })])
}

function textual(test: Tester, operator: string, wanted: Wanted): Condition | undefined {
  if (typeof wanted === 'object') return pathCondition(test, operator, wanted.path)
  if (operator === '!=') {
    const present = joined('and', [test({ kind: 'exists' }), negation(test(texts([''])))])
    return typeof wanted === 'string' ? joined('and', [present, negation(test(texts([wanted])))]) : present
  }
  if (typeof wanted !== 'string') return NEVER
  if (operator === '==') return wanted === '' ? NEVER : test(texts([wanted]))
  if (operator === 'contains') return search(test, wanted)
  const ordered = test({ kind: 'text', order: operator as Order, value: wanted })
  return joined('and', [ordered, negation(test(texts([''])))])
}

/** Whole segments in a row, and more of them in the value than in the path. */
function pathCondition(test: Tester, operator: string, path: readonly string[]): Condition | undefined {
  const whole = path.join('/')
  if (operator === '==') return whole === '' ? NEVER : test(texts([whole]))
  if (operator === '!=') return joined('and', [test({ kind: 'exists' }), negation(test(texts(['', whole])))])
  if (operator !== 'contains') return NEVER
  const regex = sharedRegex(`(?:^|/)${literally(whole)}(?:/|$)`, false)
  if (regex instanceof RegexFault) return undefined
  return joined('and', [test({ kind: 'regex', regex }), negation(test(texts([whole])))])
}

/**
 * Case is ignored as JavaScript and Python have it, where İ is two characters; folded it is i alone, so that a match with
 * an i before the end is looked at again.
 */
function search(test: Tester, wanted: string): Condition | undefined {
  if (!ASCII.test(wanted)) return undefined
  const value = wanted.toLowerCase()
  const found = test({ kind: 'search', where: 'anywhere', value, folded: true })
  const present = value === '' ? joined('and', [found, negation(test(texts([''])))]) : found
  if (!value.slice(0, -1).includes('i')) return present
  const pattern = [...value].map((c, i) => (c === 'i' && i === value.length - 1 ? '[iIİ]' : anyCase(c))).join('')
  const regex = sharedRegex(pattern, false)
  if (regex instanceof RegexFault) return undefined
  const dotted = test({ kind: 'search', where: 'anywhere', value: 'İ', folded: false })
  return joined('and', [present, joined('or', [negation(dotted), test({ kind: 'regex', regex })])])
}

const anyCase = (c: string): string =>
  c === 'k' ? '[kK\u212a]' : /[a-z]/.test(c) ? `[${c}${c.toUpperCase()}]` : literally(c)

const literally = (text: string): string => [...text].map((c) => `\\x{${c.codePointAt(0)!.toString(16)}}`).join('')

type Tester = (test: Test) => Condition

const tester =
  (field: Field): Tester =>
  (test) => ({ kind: 'test', field, test })

const texts = (values: readonly string[]): Test => ({ kind: 'texts', values, folded: false })

function negation(term: Condition): Condition {
  if (term.kind === 'always') return NEVER
  return term.kind === 'never' ? ALWAYS : { kind: 'not', term }
}

function joined(kind: 'and' | 'or', all: readonly Condition[]): Condition {
  const [neutral, deciding] = kind === 'and' ? (['always', 'never'] as const) : (['never', 'always'] as const)
  if (all.some((term) => term.kind === deciding)) return kind === 'and' ? NEVER : ALWAYS
  const terms = all.filter((term) => term.kind !== neutral)
  if (terms.length === 0) return kind === 'and' ? ALWAYS : NEVER
  return terms.length === 1 ? terms[0]! : { kind, terms }
}
