/** The condition of a Sigma rule: `selection and not 1 of filter_*`. NOT binds closest, then AND, then OR. */
import { UnsupportedRule } from './unsupported.ts'

export type SearchCondition =
  | { readonly kind: 'and' | 'or'; readonly terms: readonly SearchCondition[] }
  | { readonly kind: 'not'; readonly term: SearchCondition }
  | { readonly kind: 'name'; readonly name: string; readonly at: number }
  /** Of the names that the pattern means: any, or every one. */
  | { readonly kind: 'of'; readonly quantity: 'any' | 'all'; readonly pattern: string; readonly at: number }

/** What is wrong with it; `at` is an offset into the condition. */
export class ConditionFault {
  readonly at: number
  readonly reason: string
  readonly expected: readonly string[]
  constructor(at: number, reason: string, expected: readonly string[] = []) {
    this.at = at
    this.reason = reason
    this.expected = expected
  }
}

/** Throws ConditionFault, and UnsupportedRule for what is Sigma and not supported. */
export function parseCondition(text: string): SearchCondition {
  if (text.length > CONDITION_LENGTH) throw new ConditionFault(0, `more than ${CONDITION_LENGTH} characters`)
  return new ConditionParser(text).whole()
}

// --- internal ---

const CONDITION_LENGTH = 20_000
const NESTING = 50
const TOKEN = /\s*(?:([()|])|([^\s()|]+))/y

interface Token {
  readonly text: string
  readonly at: number
}

class ConditionParser {
  private readonly tokens: Token[] = []
  private readonly end: number
  private at = 0
  private depth = 0

  constructor(text: string) {
    this.end = text.length
    TOKEN.lastIndex = 0
    for (let found = TOKEN.exec(text); found; found = TOKEN.exec(text)) {
      const token = found[1] ?? found[2]!
      this.tokens.push({ text: token, at: found.index + found[0].length - token.length })
    }
  }

  whole(): SearchCondition {
    const condition = this.or()
    const left = this.tokens[this.at]
    if (left?.text === '|') throw new UnsupportedRule('aggregation', left.at)
    if (left) throw new ConditionFault(left.at, `${left.text} does not fit here`, ['and', 'or'])
    return condition
  }

  private or(): SearchCondition {
    return this.chain('or', () => this.chain('and', () => this.not()))
  }

  private chain(kind: 'and' | 'or', part: () => SearchCondition): SearchCondition {
    const terms = [part()]
    while (this.is(kind)) {
      this.at++
      terms.push(part())
    }
    return terms.length === 1 ? terms[0]! : { kind, terms }
  }

  private not(): SearchCondition {
    if (++this.depth > NESTING) throw new ConditionFault(this.place, 'it is nested too deeply')
    try {
      if (!this.is('not')) return this.primary()
      this.at++
      return { kind: 'not', term: this.not() }
    } finally {
      this.depth--
    }
  }

  private primary(): SearchCondition {
    const token = this.tokens[this.at]
    if (!token || token.text === ')' || token.text === '|' || /^(and|or)$/i.test(token.text))
      throw new ConditionFault(this.place, 'a name is missing', ['the name of a search', '1 of …', '('])
    this.at++
    if (token.text === '(') {
      const inner = this.or()
      if (this.tokens[this.at]?.text !== ')') throw new ConditionFault(this.place, 'a parenthesis is not closed')
      this.at++
      return inner
    }
    if (/^near$/i.test(token.text)) throw new UnsupportedRule('near', token.at)
    if (!this.is('of')) return { kind: 'name', name: token.text, at: token.at }
    this.at++
    const pattern = this.tokens[this.at]
    if (!pattern || /^[()|]$/.test(pattern.text))
      throw new ConditionFault(this.place, 'of what?', ['them', 'a name with *'])
    this.at++
    if (/^\d+$/.test(token.text) && token.text !== '1') throw new UnsupportedRule(`${token.text} of`, token.at)
    if (!/^(1|any|all)$/i.test(token.text)) throw new ConditionFault(token.at, 'how many?', ['1 of', 'all of'])
    const quantity = /^all$/i.test(token.text) ? 'all' : 'any'
    return { kind: 'of', quantity, pattern: pattern.text, at: pattern.at }
  }

  private is(word: string): boolean {
    return this.tokens[this.at]?.text.toLowerCase() === word
  }

  private get place(): number {
    return this.tokens[this.at]?.at ?? this.end
  }
}
