/** A field, its modifiers and its values as a strict expression. */
import { ColdtrailError } from '../../../core/errors.ts'
import { compile } from '../../../query/expression.ts'
import type { FieldPlace, LogSource } from './logSources.ts'
import type { SigmaNode } from './ruleDocuments.ts'
import {
  ANY,
  base64Offsets,
  DASHES,
  escaped,
  type Pattern,
  parsePattern,
  patternRegex,
  plainText,
  widened,
  windashes,
} from './sigmaText.ts'
import { UnsupportedRule } from './unsupported.ts'

export interface FieldFault {
  readonly at: number
  readonly reason: string
}

/** What a placeholder of `expand` stands for. */
export type Placeholders = ReadonlyMap<string, readonly string[]>

/** Throws UnsupportedRule, and what `fault` makes of what is wrong; offsets are those of the file. */
export class FieldTests {
  private readonly source: LogSource
  private readonly placeholders: Placeholders
  private readonly fault: (at: number, reason: string) => Error

  constructor(source: LogSource, placeholders: Placeholders, fault: (at: number, reason: string) => Error) {
    this.source = source
    this.placeholders = placeholders
    this.fault = fault
  }

  /** `key` is `field|modifier|…`; an empty field means the whole record. */
  item(key: string, keyAt: number, value: SigmaNode): string {
    const [name = '', ...words] = key.split('|')
    const modifiers = this.modifiers(words, keyAt + name.length + 1)
    const place = name === '' ? ({ kind: 'record' } as const) : this.source.field(name)
    if (!place) throw new UnsupportedRule(`the field ${name}, which such events do not have`, keyAt)
    if (value.kind === 'map') throw this.fault(value.at, 'a field has a value or a list of values')
    const values = value.kind === 'list' ? value.items : [value]
    if (values.length === 0) throw this.fault(value.at, 'the list is empty')
    if (modifiers.has('all') && values.length === 1 && value.kind !== 'list')
      throw this.fault(keyAt, 'all wants a list of values')
    const tests = values.map((one) => this.value(place, modifiers, one))
    const joined = modifiers.has('all') ? conjunction(tests) : disjunction(tests)
    return modifiers.has('neq') ? `not ${grouped(joined)}` : joined
  }

  /** Words that stand for themselves, anywhere in the record. */
  keyword(value: SigmaNode): string {
    return this.value({ kind: 'record' }, new Set(), value)
  }

  private modifiers(words: readonly string[], at: number): ReadonlySet<string> {
    let place = at
    for (const word of words) {
      if (UNSUPPORTED.has(word)) throw new UnsupportedRule(`the modifier ${word}`, place)
      if (!KNOWN.has(word)) throw this.fault(place, `there is no modifier ${word}`)
      place += word.length + 1
    }
    const found = new Set(words)
    if (found.has('utf16le')) found.add('wide')
    const kinds = ['re', 'cidr', 'exists', 'fieldref', ...ORDERS.keys()].filter((kind) => found.has(kind))
    if (kinds.length > 1) throw this.fault(at, `${kinds.join(' and ')} do not go together`)
    for (const flag of ['i', 'm', 's'])
      if (found.has(flag) && !found.has('re')) throw this.fault(at, `${flag} is a flag of re`)
    if (found.has('m')) throw new UnsupportedRule('the flag m of re', at)
    return found
  }

  private value(place: FieldPlace, modifiers: ReadonlySet<string>, value: SigmaNode): string {
    if (value.kind !== 'scalar') throw this.fault(value.at, 'this is neither a text, a number nor a boolean')
    const given = value.value
    if (modifiers.has('exists')) {
      if (typeof given !== 'boolean') throw this.fault(value.at, 'exists is true or false')
      return given ? existing(place) : `not ${existing(place)}`
    }
    if (given === null) return `not ${existing(place)}`
    const order = [...ORDERS].find(([word]) => modifiers.has(word))
    if (order) return this.order(place, order[1], value.at, given)
    if (modifiers.has('fieldref')) return this.sameAs(place, modifiers, value.at, String(given))
    if (modifiers.has('cidr')) {
      if (place.kind !== 'column' || place.type !== 'ip')
        throw new UnsupportedRule('cidr of a field that is no address column', value.at)
      return this.checked(`${fieldText(place)} in ${quoted(String(given))}`, value.at)
    }
    if (modifiers.has('re')) return this.regex(place, modifiers, value.at, String(given))
    const isText = ![...TEXT_MODIFIERS].every((word) => !modifiers.has(word))
    if (typeof given === 'boolean' && !isText) return this.boolean(place, given)
    return disjunction(
      this.patterns(String(given), modifiers, value.at).map((pattern) =>
        this.pattern(place, pattern, modifiers.has('cased'), value.at),
      ),
    )
  }

  private order(place: FieldPlace, sign: string, at: number, given: unknown): string {
    if (!/^-?\d{1,18}(\.\d{1,18})?$/.test(String(given))) throw this.fault(at, 'this modifier wants a number')
    if (place.kind === 'json' || (place.kind === 'column' && place.type === 'int'))
      return `${fieldText(place)} ${sign} ${given}`
    throw new UnsupportedRule('an order of a field that holds text', at)
  }

  private sameAs(place: FieldPlace, modifiers: ReadonlySet<string>, at: number, name: string): string {
    const other = this.source.field(name)
    if (!other) throw new UnsupportedRule(`the field ${name}, which such events do not have`, at)
    for (const one of [place, other])
      if (one.kind === 'object' || one.kind === 'record' || (one.kind === 'column' && one.type === 'int'))
        throw new UnsupportedRule('fieldref of a field that holds no text', at)
    const [word, flag] = modifiers.has('contains')
      ? ['contains', 'cased']
      : modifiers.has('startswith')
        ? ['startswith', 'cased']
        : modifiers.has('endswith')
          ? ['endswith', 'cased']
          : ['==', '']
    const isCased = modifiers.has('cased')
    const caseFlag = word === '==' ? (isCased ? '' : ' nocase') : isCased ? ` ${flag}` : ''
    return `${fieldText(place)} ${word}${caseFlag} FIELD(${fieldText(other)})`
  }

  private regex(place: FieldPlace, modifiers: ReadonlySet<string>, at: number, pattern: string): string {
    if (place.kind === 'object') throw new UnsupportedRule('re of a field that is an object', at)
    if (place.kind === 'column' && place.type === 'int') throw new UnsupportedRule('re of a number', at)
    const operator = modifiers.has('i') ? 'iregexp' : 'regexp'
    return this.checked(`${fieldText(place)} ${operator} ${quoted(pattern)}`, at)
  }

  /** What the language refuses of a value belongs to the place of that value. */
  private checked(expression: string, at: number): string {
    try {
      compile(expression)
      return expression
    } catch (error) {
      if (!(error instanceof ColdtrailError)) throw error
      const reason = String(error.values.reason ?? error.message)
      if (error.code === 'E_EXPRESSION_REGEX') throw new UnsupportedRule(`a regular expression: ${reason}`, at)
      throw this.fault(at, reason)
    }
  }

  private boolean(place: FieldPlace, given: boolean): string {
    if (place.kind === 'json') return `${fieldText(place)} == ${given} or ${fieldText(place)} == nocase '${given}'`
    return this.pattern(place, [String(given)], false, 0)
  }

  /** The texts that a value stands for. */
  private patterns(given: string, modifiers: ReadonlySet<string>, at: number): Pattern[] {
    const texts = modifiers.has('expand') ? this.expanded(given, at) : [given]
    const found = texts.flatMap((text) => this.encoded(text, modifiers, at))
    if (modifiers.has('contains')) return found.map((pattern) => widened(widened(pattern, 'before'), 'after'))
    if (modifiers.has('startswith')) return found.map((pattern) => widened(pattern, 'after'))
    return modifiers.has('endswith') ? found.map((pattern) => widened(pattern, 'before')) : found
  }

  private expanded(text: string, at: number): string[] {
    const [, before = '', name = '', after = ''] = /^(.*?)%(\w+)%(.*)$/s.exec(text) ?? []
    if (name === '') return [text]
    const values = this.placeholders.get(name)
    if (!values) throw new UnsupportedRule(`the placeholder %${name}%, of which nothing is known`, at)
    const found: string[] = []
    for (const value of values) {
      found.push(...this.expanded(`${before}${value}${after}`, at))
      if (found.length > EXPANDED) throw new UnsupportedRule(`placeholders with more than ${EXPANDED} values`, at)
    }
    return found
  }

  private encoded(text: string, modifiers: ReadonlySet<string>, at: number): Pattern[] {
    if (modifiers.has('windash')) {
      const found = windashes(text)
      if (!found) throw new UnsupportedRule(`windash with more than ${DASHES} dashes`, at)
      return found.map(parsePattern)
    }
    const pattern = parsePattern(text)
    const encoding = ENCODINGS.find(({ word }) => modifiers.has(word))
    const isBase64 = modifiers.has('base64') || modifiers.has('base64offset')
    if (!encoding && !isBase64) return [pattern]
    const plain = plainText(pattern)
    if (plain === undefined) throw this.fault(at, 'a text that is encoded cannot have wildcards')
    const bytes = encoding ? encoding.bytes(plain) : Buffer.from(plain)
    if (modifiers.has('base64offset')) return base64Offsets(bytes).map((one) => [one])
    return [[isBase64 ? bytes.toString('base64') : bytes.toString('latin1')]]
  }

  private pattern(place: FieldPlace, pattern: Pattern, cased: boolean, at: number): string {
    if (pattern.length > 0 && pattern.every((part) => part === ANY)) return existing(place)
    const plain = plainText(pattern)
    if (place.kind === 'record') return inRecord(pattern, cased)
    if (place.kind === 'object') return `(${existing(place)} and ${inRecord(pattern, cased)})`
    const field = fieldText(place)
    if (place.kind === 'column' && place.type === 'int') {
      if (plain !== undefined && /^-?\d{1,18}$/.test(plain)) return `${field} == ${plain}`
      throw new UnsupportedRule('a pattern of a number', at)
    }
    if (plain === undefined) return textTest(field, pattern, cased)
    const word = place.kind === 'column' && place.words ? (place.words[plain.toLowerCase()] ?? plain) : plain
    const test = cased ? `${field} == ${quoted(word)}` : `${field} == nocase ${quoted(word)}`
    if (place.kind !== 'json') return test
    // A rule says 443 or 'false' of what the record has as a text, a number or a boolean.
    if (/^(true|false)$/i.test(plain)) return `(${test} or ${field} == ${plain.toLowerCase()})`
    return /^-?(0|[1-9]\d{0,14})(\.\d+)?$/.test(plain) ? `(${test} or ${field} == ${plain})` : test
  }
}

export function conjunction(terms: readonly string[]): string {
  return terms.length === 1 ? terms[0]! : terms.map(grouped).join(' and ')
}

export function disjunction(terms: readonly string[]): string {
  return terms.length === 1 ? terms[0]! : terms.map(grouped).join(' or ')
}

/** In parentheses, unless it is one condition. */
export function grouped(expression: string): string {
  return / (?:and|or) /.test(expression) || /^not /.test(expression) ? `(${expression})` : expression
}

// --- internal ---

const ORDERS: ReadonlyMap<string, string> = new Map([
  ['lt', '<'],
  ['lte', '<='],
  ['gt', '>'],
  ['gte', '>='],
])
const ENCODINGS: readonly { word: string; bytes(text: string): Buffer }[] = [
  { word: 'wide', bytes: (text) => Buffer.from(text, 'utf16le') },
  { word: 'utf16be', bytes: (text) => Buffer.from(text, 'utf16le').swap16() },
  { word: 'utf16', bytes: (text) => Buffer.from(`\ufeff${text}`, 'utf16le') },
]
const TEXT_MODIFIERS = new Set(['contains', 'startswith', 'endswith'])
const KNOWN = new Set([
  ...['all', 'contains', 'startswith', 'endswith', 're', 'i', 'm', 's', 'cidr', 'base64', 'base64offset', 'wide'],
  ...[
    'utf16',
    'utf16le',
    'utf16be',
    'windash',
    'lt',
    'lte',
    'gt',
    'gte',
    'exists',
    'fieldref',
    'cased',
    'expand',
    'neq',
  ],
])
/** Texts that one value may stand for. */
const EXPANDED = 10_000
const UNSUPPORTED = new Set(['minute', 'hour', 'day', 'week', 'month', 'year'])

const existing = (place: FieldPlace): string => (place.kind === 'record' ? 'data exists' : `${fieldText(place)} exists`)

function fieldText(place: FieldPlace): string {
  if (place.kind === 'record') return 'data'
  if (place.kind === 'column') return place.name
  return ['data', ...place.path.map((segment) => (/^[A-Za-z_]\w*$/.test(segment) ? segment : quoted(segment)))].join(
    '.',
  )
}

function textTest(field: string, pattern: Pattern, cased: boolean): string {
  const [first, second, third] = pattern
  const isAny = (part: unknown) => part === ANY
  const flag = cased ? ' cased' : ''
  if (pattern.length === 2 && typeof first === 'string' && isAny(second))
    return `${field} startswith${flag} ${quoted(first)}`
  if (pattern.length === 2 && isAny(first) && typeof second === 'string')
    return `${field} endswith${flag} ${quoted(second)}`
  if (pattern.length === 3 && isAny(first) && typeof second === 'string' && isAny(third))
    return `${field} contains${flag} ${quoted(second)}`
  return `${field} ${cased ? 'regexp' : 'iregexp'} ${quoted(patternRegex(pattern))}`
}

/** Anywhere in the record's text. In JSON a quote, a slash or a backslash may stand with backslashes before it. */
function inRecord(pattern: Pattern, cased: boolean): string {
  const inner = pattern.slice(pattern[0] === ANY ? 1 : 0, pattern.at(-1) === ANY ? -1 : undefined)
  const plain = plainText(inner)
  if (plain !== undefined) return `data contains${cased ? ' cased' : ''} ${quoted(plain)}`
  const regex = patternRegex(inner, (c) => (/["\\/]/.test(c) ? `\\\\*${escaped(c)}` : escaped(c)))
  return `data ${cased ? 'regexp' : 'iregexp'} ${quoted(regex.slice(1, -1))}`
}

function quoted(text: string): string {
  const plain = text.replace(/['\\\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (c) =>
    c === "'" || c === '\\' ? `\\${c}` : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return `'${plain}'`
}
