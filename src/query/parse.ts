/**
 * Tokens to syntax by recursive descent; AND binds closer than OR, NOT closest.
 *
 *     expression = and { (or | ||) and } ; and = factor { (and | &&) factor }
 *     factor     = (not | !) factor | ( expression ) | field [not] operator [not] [cased | nocase] value
 *
 * plaso mode keeps to what the original parses: no `&&`, `||`, prefix `not`, lists; `not` only beside contains, equals,
 * inset and is.
 */
import { ColdtrailError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import { type ExpressionFault, expressionError } from './expressionError.ts'
import { type Token, tokens } from './lexer.ts'
import type { FieldName, Literal, Mode, Operator, Syntax } from './syntax.ts'

export const NESTING = 100
export const LIST_VALUES = 100_000
export const CONDITIONS = 10_000

/** E_EXPRESSION with the column, or E_EXPRESSION_LIMIT. */
export function parse(text: string, mode: Mode): Syntax {
  return new Parser(text, mode).whole()
}

// --- internal ---

const STRICT_OPERATORS: Readonly<Record<string, Operator>> = {
  '==': '==',
  is: '==',
  equals: '==',
  '!=': '!=',
  '<': '<',
  '<=': '<=',
  '>': '>',
  '>=': '>=',
  contains: 'contains',
  startswith: 'startswith',
  endswith: 'endswith',
  regexp: 'regexp',
  iregexp: 'iregexp',
  in: 'in',
  exists: 'exists',
}
const PLASO_ONLY: Readonly<Record<string, Operator>> = { inset: 'inset' }
const STRICT_ONLY = new Set<Operator>(['startswith', 'endswith', 'in', 'exists'])
const OPERATORS: Readonly<Record<Mode, ReadonlyMap<string, Operator>>> = {
  strict: new Map(Object.entries(STRICT_OPERATORS)),
  plaso: new Map(
    Object.entries({ ...STRICT_OPERATORS, ...PLASO_ONLY }).filter(([, operator]) => !STRICT_ONLY.has(operator)),
  ),
}
const PLASO_NEGATABLE = new Set(['contains', 'equals', 'inset', 'is'])
const WORD_OPERATOR = /^[a-z]/

class Parser {
  private readonly text: string
  private readonly mode: Mode
  private readonly all: readonly Token[]
  private at = 0
  private depth = 0
  private conditions = 0

  constructor(text: string, mode: Mode) {
    this.text = text
    this.mode = mode
    this.all = tokens(text, mode)
  }

  whole(): Syntax {
    if (this.isEnd()) return { kind: 'all' }
    const syntax = this.or()
    if (!this.isEnd())
      throw this.fault(this.isSymbol(')') ? 'this parenthesis closes nothing' : 'the expression goes on unexpectedly', [
        'and',
        'or',
        'the end',
      ])
    return syntax
  }

  private or(): Syntax {
    return this.chain('or', '||', () => this.chain('and', '&&', () => this.factor()))
  }

  private chain(kind: 'and' | 'or', symbol: string, part: () => Syntax): Syntax {
    const terms = [part()]
    while (this.isWord(kind) || this.isSymbol(symbol)) {
      this.at++
      terms.push(part())
    }
    return terms.length === 1 ? terms[0]! : { kind, terms }
  }

  private factor(): Syntax {
    if (++this.depth > NESTING)
      throw new ColdtrailError('E_EXPRESSION_LIMIT', {
        what: 'conditions nested too deeply',
        limit: `${NESTING} levels`,
      })
    const syntax = this.nested()
    this.depth--
    return syntax
  }

  private nested(): Syntax {
    const { token } = this
    if (this.mode === 'strict' && (this.isSymbol('!') || (this.isWord('not') && !this.operatorFollows()))) {
      this.at++
      return { kind: 'not', term: this.factor(), at: token.at }
    }
    if (!this.isSymbol('(')) return this.comparison()
    this.at++
    const inner = this.or()
    if (!this.isSymbol(')')) throw this.fault('the parenthesis is not closed', [')', 'and', 'or'])
    this.at++
    return inner
  }

  private comparison(): Syntax {
    if (++this.conditions > CONDITIONS)
      throw new ColdtrailError('E_EXPRESSION_LIMIT', { what: 'too many conditions', limit: CONDITIONS })
    const field = this.field()
    const notBefore = this.skipWord('not')
    const operatorToken = this.token
    const { operator, name } = this.operator()
    this.at++
    const notAt = this.token
    const notAfter = operator !== 'exists' && this.skipWord('not')
    this.checkNot(name, operatorToken, notBefore, notAfter ? notAt : undefined)
    const caseFlag = this.mode === 'strict' ? this.caseFlag() : undefined
    const isList = operator === 'in' && this.isSymbol('(')
    return {
      kind: 'comparison',
      field,
      operator,
      operatorAt: operatorToken.at,
      negated: notBefore || notAfter,
      ...(caseFlag && { caseFlag }),
      values: this.values(operator, isList),
      isList,
    }
  }

  private checkNot(name: string, operator: Token, notBefore: boolean, notAfter: Token | undefined): void {
    if (!notBefore && !notAfter) return
    if (notBefore && notAfter) throw this.faultAt(notAfter, 'not stands here twice')
    if (this.mode === 'plaso' ? !PLASO_NEGATABLE.has(name) : !WORD_OPERATOR.test(name))
      throw this.faultAt(operator, `not cannot stand beside ${name}`, [
        this.mode === 'strict' ? 'not before the field' : 'is not, not contains',
      ])
  }

  private field(): FieldName {
    const { token } = this
    if (token.kind !== 'word') throw this.fault('a condition starts with a field', ['a field', '('])
    this.at++
    return { segments: token.segments, text: token.text, at: token.at }
  }

  private operator(): { operator: Operator; name: string } {
    const { token } = this
    const name = token.kind === 'word' ? token.text.toLowerCase() : token.kind === 'symbol' ? token.text : ''
    const known = OPERATORS[this.mode]
    const operator = known.get(name)
    if (operator !== undefined) return { operator, name }
    if (name === 'inset') throw this.fault('inset is of plaso mode (a substring test)', ["in ('a', 'b')", 'contains'])
    const near = token.kind === 'word' ? nearest(name, known.keys()) : undefined
    throw this.fault('this is no operator', near === undefined ? [...known.keys()] : [near])
  }

  private caseFlag(): 'cased' | 'nocase' | undefined {
    if (this.skipWord('cased')) return 'cased'
    return this.skipWord('nocase') ? 'nocase' : undefined
  }

  private values(operator: Operator, isList: boolean): Literal[] {
    if (operator === 'exists') return []
    if (!isList) return [this.value()]
    const values: Literal[] = []
    do {
      this.at++
      if (values.length >= LIST_VALUES)
        throw new ColdtrailError('E_EXPRESSION_LIMIT', { what: 'a list of too many values', limit: LIST_VALUES })
      values.push(this.value())
    } while (this.isSymbol(','))
    if (!this.isSymbol(')')) throw this.fault('the list is not closed', [')', ','])
    this.at++
    return values
  }

  private value(): Literal {
    const { token } = this
    if (token.kind === 'text' || token.kind === 'integer' || token.kind === 'float') {
      this.at++
      return { ...token }
    }
    if (token.kind === 'word') {
      const helper = this.helper(token.text.toLowerCase(), token.at)
      if (helper) return helper
    }
    const expected = ['a number', 'a quoted text', "DATETIME('2023-07-10')"]
    if (this.mode === 'strict' && token.kind === 'word' && /^(null|none)$/i.test(token.text))
      throw this.fault('there is no null to compare with', ['not FIELD exists'])
    throw this.fault(token.kind === 'word' ? 'a text wants quotes' : 'a value is missing', expected)
  }

  private helper(name: string, at: number): Literal | undefined {
    if (this.mode === 'strict' && (name === 'true' || name === 'false')) {
      this.at++
      return { kind: 'boolean', value: name === 'true', at }
    }
    const follows = this.all[this.at + 1]
    if (follows?.kind !== 'symbol' || follows.text !== '(') return undefined
    const isStrict = this.mode === 'strict'
    if (name !== 'datetime' && name !== 'path' && !(isStrict && (name === 'now' || name === 'field'))) return undefined
    this.at += 2
    let literal: Literal
    const argument = this.token
    if (name === 'now') literal = { kind: 'datetime', value: 'now', at }
    else if (name === 'field') {
      if (argument.kind !== 'word') throw this.fault('FIELD() wants the name of a field', ['a field'])
      this.at++
      literal = { kind: 'field', value: { segments: argument.segments, text: argument.text, at: argument.at }, at }
    } else {
      this.at++
      if (argument.kind === 'text') literal = { kind: name as 'datetime' | 'path', value: argument.value, at }
      else if (argument.kind === 'integer' && name === 'datetime')
        literal = { kind: 'datetime', value: argument.value, at }
      else throw this.faultAt(argument, `${name.toUpperCase()}() wants a quoted text`)
    }
    if (!this.isSymbol(')')) throw this.fault('the parenthesis is not closed', [')'])
    this.at++
    return literal
  }

  private get token(): Token {
    return this.all[this.at] ?? this.all.at(-1)!
  }

  private isEnd(): boolean {
    return this.token.kind === 'end'
  }

  private isWord(word: string): boolean {
    return this.token.kind === 'word' && this.token.text.toLowerCase() === word
  }

  private isSymbol(symbol: string): boolean {
    return this.token.kind === 'symbol' && this.token.text === symbol
  }

  private skipWord(word: string): boolean {
    if (!this.isWord(word)) return false
    this.at++
    return true
  }

  /** A field may be called `not`: then an operator follows. */
  private operatorFollows(): boolean {
    const after = this.all[this.at + 1]
    return after?.kind === 'symbol' && OPERATORS.strict.has(after.text)
  }

  private fault(reason: string, expected: readonly string[] = []) {
    return this.faultAt(this.token, reason, expected)
  }

  private faultAt(token: Token, reason: string, expected: readonly string[] = []) {
    const fault: ExpressionFault = token.kind === 'end' ? { reason: `${reason} (here the text ends)` } : { reason }
    return expressionError(this.text, token.at, { ...fault, expected })
  }
}
