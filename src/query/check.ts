/** Strict mode: syntax to condition. Every mistake that can be seen without data is found here, with its place. */
import { ColdtrailError } from '../core/errors.ts'
import { parseGivenTime } from '../core/givenTime.ts'
import { cidrRange, ipSpellings } from '../core/ipAddress.ts'
import { nearest } from '../core/nearest.ts'
import { fold } from './caseFolding.ts'
import type { Condition, Field, Order, Test } from './condition.ts'
import { ESCAPED_LENGTH, escapedText } from './escapedText.ts'
import { type ExpressionFault, expressionError } from './expressionError.ts'
import { RegexFault, sharedRegex } from './regex.ts'
import type { Comparison, FieldName, Literal, Syntax } from './syntax.ts'
import { columnNamed, EVENTS, fieldNames, isPlace, type Vocabulary } from './vocabulary.ts'

/** `now` in microseconds: what `-24h` and `today` count from. */
export function check(syntax: Syntax, text: string, now: number, vocabulary: Vocabulary = EVENTS): Condition {
  return new Checker(text, now, vocabulary).condition(syntax)
}

/** Microseconds of an integer that stands for a time: seconds, milliseconds or microseconds, told apart by magnitude. */
export function epochMicroseconds(value: bigint): bigint {
  const size = value < 0n ? -value : value
  return size < 10n ** 11n ? value * 1_000_000n : size < 10n ** 14n ? value * 1_000n : value
}

// --- internal ---

const MAX_INTEGER = 2n ** 63n - 1n
/** 0001-01-01 and the end of 9999-12-31. */
const FIRST_TIME = -62_135_596_800_000_000n
const LAST_TIME = 253_402_300_799_999_999n
const ORDERS = new Set(['<', '<=', '>', '>='])
const SEARCHES = { contains: 'anywhere', startswith: 'start', endswith: 'end' } as const
const NAMES = { text: 'text', ip: 'an address', int: 'an integer', time: 'a time', json: 'JSON' } as const

class Checker {
  private readonly text: string
  private readonly now: number
  private readonly vocabulary: Vocabulary

  constructor(text: string, now: number, vocabulary: Vocabulary) {
    this.text = text
    this.now = now
    this.vocabulary = vocabulary
  }

  condition(syntax: Syntax): Condition {
    if (syntax.kind === 'all') return { kind: 'always' }
    if (syntax.kind === 'not') return { kind: 'not', term: this.condition(syntax.term) }
    if (syntax.kind !== 'comparison')
      return { kind: syntax.kind, terms: syntax.terms.map((term) => this.condition(term)) }
    const condition = this.comparison(syntax)
    return syntax.negated ? { kind: 'not', term: condition } : condition
  }

  private comparison(comparison: Comparison): Condition {
    const field = this.field(comparison.field)
    const test = (wanted: Test): Condition => ({ kind: 'test', field, test: wanted })
    const { operator } = comparison
    if (operator === 'exists') return test({ kind: 'exists' })
    if (operator === '!=')
      return {
        kind: 'and',
        terms: [test({ kind: 'exists' }), { kind: 'not', term: this.comparison({ ...comparison, operator: '==' }) }],
      }
    const type = field.kind === 'column' ? field.column.type : 'json'
    this.checkCaseFlag(comparison)
    const [first] = comparison.values
    if (first?.kind === 'field' && !comparison.isList) return this.pair(comparison, field, this.field(first.value))
    for (const literal of comparison.values)
      if (literal.kind === 'field') throw this.wrong(literal, 'FIELD() does not stand in a list')
      else if (literal.kind === 'path') throw this.wrong(literal, 'PATH() is of plaso mode')
    if (operator === 'in' && !comparison.isList && type !== 'ip')
      throw this.wrong(comparison.values[0]!, 'in wants a list', ["in ('a', 'b')", 'contains for a part of a text'])
    switch (type) {
      case 'int':
        return this.integer(comparison, test)
      case 'time':
        return this.time(comparison, test)
      case 'json':
        return this.json(comparison, test)
      default:
        return this.textual(comparison, type, field, test)
    }
  }

  private pair(comparison: Comparison, one: Field, other: Field): Condition {
    const { operator, caseFlag, values } = comparison
    for (const field of [one, other])
      if (field.kind === 'column' && (field.column.type === 'int' || field.column.type === 'time'))
        throw this.wrong(values[0]!, `FIELD() compares texts, and ${field.column.name} is ${NAMES[field.column.type]}`)
    if (operator === '==') return { kind: 'pair', one, other, where: 'whole', folded: caseFlag === 'nocase' }
    if (!(operator in SEARCHES)) throw this.wrong(values[0]!, `${operator} does not take FIELD()`, ['==', 'contains'])
    return { kind: 'pair', one, other, where: SEARCHES[operator as 'contains'], folded: caseFlag !== 'cased' }
  }

  private field(name: FieldName): Field {
    const { vocabulary } = this
    const column = columnNamed(name, vocabulary)
    if (column) return { kind: 'column', column }
    const segments = name.segments.slice(1)
    if (name.segments[0] === 'data' && isPlace(segments, vocabulary)) return { kind: 'json', segments }
    const elsewhere = Object.hasOwn(vocabulary.elsewhere, name.text) ? vocabulary.elsewhere[name.text] : undefined
    const suggestion = nearest(name.text, fieldNames(vocabulary))
    throw expressionError(this.text, name.at, {
      code: 'E_EXPRESSION_FIELD',
      reason: elsewhere ?? `there is no field ${name.text}`,
      suggestion: elsewhere === undefined ? suggestion : undefined,
    })
  }

  private textual(
    comparison: Comparison,
    type: 'text' | 'ip',
    field: Field,
    test: (wanted: Test) => Condition,
  ): Condition {
    const { operator } = comparison
    if (type === 'ip' && operator === 'in') return this.addresses(comparison, test)
    const texts = comparison.values.map((literal) => {
      if (literal.kind === 'text') return literal.value
      throw this.wrong(literal, `${comparison.field.text} is ${NAMES[type]}`, ['a quoted text'])
    })
    if (type === 'ip' && operator === '==') {
      const spellings = [...new Set(texts.flatMap((text) => [text, ...ipSpellings(text)]))]
      return test(equality(spellings, comparison.caseFlag === 'nocase'))
    }
    const isData = field.kind === 'column' && field.column.name === 'data'
    return test(this.textTest(comparison, texts, isData))
  }

  /** The test of `==`, `in`, an order, a search or a regular expression against texts. */
  private textTest(comparison: Comparison, texts: readonly string[], isData = false): Test {
    const { operator, caseFlag } = comparison
    const value = texts[0]!
    for (const [i, text] of texts.entries())
      if (!text.isWellFormed()) throw this.wrong(comparison.values[i]!, 'this is no well-formed text')
    if (operator === '==' || operator === 'in') return equality(texts, caseFlag === 'nocase')
    if (ORDERS.has(operator)) return { kind: 'text', order: operator as Order, value }
    if (operator === 'regexp' || operator === 'iregexp') {
      const regex = sharedRegex(value, operator === 'iregexp')
      if (!(regex instanceof RegexFault)) return { kind: 'regex', regex }
      throw this.regexError(comparison.values[0]!, value, regex)
    }
    const folded = caseFlag !== 'cased'
    const wanted = folded ? fold(value) : value
    const search = { kind: 'search', where: SEARCHES[operator as 'contains'], value: wanted, folded } as const
    if (!isData || operator !== 'contains' || value === '') return search
    const escaped = escapedText(wanted, folded)
    if (escaped) return { ...search, escaped }
    throw new ColdtrailError('E_EXPRESSION_LIMIT', {
      what: 'a very long text to search for in data',
      limit: `${ESCAPED_LENGTH} characters`,
    })
  }

  private regexError(literal: Literal, value: string, fault: RegexFault): ColdtrailError {
    // Without escapes before it, the place in the pattern is the place in the text.
    const plain = this.text.slice(literal.at + 1, literal.at + 1 + fault.at) === value.slice(0, fault.at)
    return expressionError(this.text, literal.at + (plain ? 1 + fault.at : 0), {
      code: 'E_EXPRESSION_REGEX',
      reason: plain ? fault.reason : `${fault.reason} (at its character ${fault.at + 1})`,
    })
  }

  private addresses(comparison: Comparison, test: (wanted: Test) => Condition): Condition {
    const ranges = comparison.values.map((literal) => {
      const range = literal.kind === 'text' ? cidrRange(literal.value) : undefined
      if (range) return range
      throw this.wrong(literal, 'this is neither an address nor a block', ["'10.0.0.0/8'", "'2001:db8::1'"])
    })
    return test({ kind: 'blocks', ranges: merged(ranges) })
  }

  private integer(comparison: Comparison, test: (wanted: Test) => Condition): Condition {
    const { operator } = comparison
    if (operator === '==' || operator === 'in') {
      const values = comparison.values.map((literal) => this.number(literal, comparison))
      const whole = values.filter((value) => typeof value === 'bigint' || Number.isInteger(value)).map(BigInt)
      return whole.length === 0 ? { kind: 'never' } : test({ kind: 'integers', values: whole })
    }
    if (!ORDERS.has(operator)) throw this.noOperator(comparison, 'an integer')
    const value = this.number(comparison.values[0]!, comparison)
    const order = operator as Order
    if (typeof value === 'bigint') return test({ kind: 'integer', order, value })
    const down = order === '>' || order === '<='
    return test({ kind: 'integer', order, value: BigInt(down ? Math.floor(value) : Math.ceil(value)) })
  }

  private number(literal: Literal, comparison: Comparison): bigint | number {
    if (literal.kind !== 'integer' && literal.kind !== 'float')
      throw this.wrong(literal, `${comparison.field.text} is an integer`, ['a number without quotes'])
    const { value } = literal
    if (value > MAX_INTEGER || value < -MAX_INTEGER) throw this.wrong(literal, 'this number does not fit into 64 bits')
    return value
  }

  private time(comparison: Comparison, test: (wanted: Test) => Condition): Condition {
    const { operator } = comparison
    const isEquality = operator === '==' || operator === 'in'
    if (!isEquality && !ORDERS.has(operator)) throw this.noOperator(comparison, 'a time')
    const values = comparison.values.map((literal) => this.instant(literal, comparison))
    if (isEquality) return test({ kind: 'integers', values })
    return test({ kind: 'integer', order: operator as Order, value: values[0]! })
  }

  private instant(literal: Literal, comparison: Comparison): bigint {
    const given =
      literal.kind === 'text' || literal.kind === 'datetime' || literal.kind === 'integer' ? literal.value : undefined
    const times = ["'2023-07-10'", "'2023-07-10 11:00:00'", "'-24h'", "'today'", 'now()']
    if (given === undefined) throw this.wrong(literal, `${comparison.field.text} is a time`, times)
    let time: bigint
    if (typeof given === 'bigint') time = epochMicroseconds(given)
    else
      try {
        time = BigInt(parseGivenTime(given, { where: comparison.field.text, now: this.now }).time)
      } catch (error) {
        if (error instanceof ColdtrailError) throw this.wrong(literal, 'this is no time', times)
        throw error
      }
    if (time < FIRST_TIME || time > LAST_TIME)
      throw this.wrong(literal, 'this is not within the years 1 to 9999', times)
    return time
  }

  /** A value in JSON has the type it has: a condition holds only for values of the literal's type. */
  private json(comparison: Comparison, test: (wanted: Test) => Condition): Condition {
    const { operator, values } = comparison
    const texts = values.flatMap((literal) => (literal.kind === 'text' ? [literal.value] : []))
    if (operator === '==' || operator === 'in') {
      const numbers = values.flatMap((literal) =>
        literal.kind === 'integer' || literal.kind === 'float' ? [Number(literal.value)] : [],
      )
      const booleans = values.flatMap((literal) => (literal.kind === 'boolean' ? [literal.value] : []))
      const datetime = values.find((literal) => literal.kind === 'datetime')
      if (datetime) throw this.wrong(datetime, 'JSON has no times', ['a quoted text', 'a number'])
      const terms: Condition[] = booleans.map((value) => test({ kind: 'boolean', value }))
      if (texts.length > 0) terms.push(test(this.textTest(comparison, texts)))
      if (numbers.length > 0) terms.push(test({ kind: 'numbers', values: numbers }))
      return terms.length === 1 ? terms[0]! : { kind: 'or', terms }
    }
    const literal = values[0]!
    if (literal.kind === 'text') return test(this.textTest(comparison, texts))
    if (ORDERS.has(operator) && (literal.kind === 'integer' || literal.kind === 'float'))
      return test({ kind: 'number', order: operator as Order, value: Number(literal.value) })
    throw this.wrong(literal, `${operator} does not take this`, ['a quoted text'])
  }

  private checkCaseFlag({ caseFlag, operator, operatorAt, values }: Comparison): void {
    if (caseFlag === undefined) return
    const searches = operator in SEARCHES
    const fits = caseFlag === 'cased' ? searches : operator === '==' || operator === 'in'
    if (fits && values.every(({ kind }) => kind === 'text' || kind === 'field')) return
    throw expressionError(this.text, operatorAt, {
      reason: `${caseFlag} does not fit here`,
      expected: ['cased with contains, startswith, endswith', 'nocase with ==, !=, in'],
    })
  }

  private noOperator({ field, operator, operatorAt }: Comparison, type: string): ColdtrailError {
    return expressionError(this.text, operatorAt, {
      code: 'E_EXPRESSION_TYPE',
      reason: `${operator} is for texts, and ${field.text} is ${type}`,
      expected: ['==', '!=', '<', '<=', '>', '>=', 'in (…)', 'exists'],
    })
  }

  private wrong(literal: Literal, reason: string, expected: ExpressionFault['expected'] = []): ColdtrailError {
    return expressionError(this.text, literal.at, { code: 'E_EXPRESSION_TYPE', reason, expected })
  }
}

function equality(values: readonly string[], folded: boolean): Test {
  return { kind: 'texts', values: [...new Set(folded ? values.map(fold) : values)], folded }
}

/** Sorted, overlapping ranges joined. */
function merged(ranges: readonly { from: string; to: string }[]): readonly { from: string; to: string }[] {
  const out: { from: string; to: string }[] = []
  for (const range of [...ranges].sort((a, b) => (a.from < b.from ? -1 : 1))) {
    const last = out.at(-1)
    if (last && range.from <= last.to)
      out[out.length - 1] = { from: last.from, to: range.to > last.to ? range.to : last.to }
    else out.push(range)
  }
  return out
}
