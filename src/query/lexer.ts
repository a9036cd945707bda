/** Text to tokens. The two modes differ in numbers, escapes and names; everything else is shared. */
import { ColdtrailError } from '../core/errors.ts'
import { expressionError } from './expressionError.ts'
import type { Mode } from './syntax.ts'

export const EXPRESSION_LENGTH = 4 * 2 ** 20

export type Token = { readonly at: number; readonly end: number } & (
  | { readonly kind: 'word'; readonly text: string; readonly segments: readonly string[] }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'integer'; readonly value: bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'symbol'; readonly text: string }
  | { readonly kind: 'end' }
)

/** Every token and a last one of kind `end`. E_EXPRESSION at what is none. */
export function tokens(text: string, mode: Mode): Token[] {
  if (text.length > EXPRESSION_LENGTH)
    throw new ColdtrailError('E_EXPRESSION_LIMIT', {
      what: `${text.length} characters`,
      limit: `${EXPRESSION_LENGTH} characters`,
    })
  const found: Token[] = []
  for (let at = 0; ; ) {
    SPACE.lastIndex = at
    SPACE.exec(text)
    at = SPACE.lastIndex
    if (at >= text.length) {
      found.push({ kind: 'end', at, end: at })
      return found
    }
    const token = next(text, at, mode)
    found.push(token)
    at = token.end
  }
}

// --- internal ---

const SPACE = /\s*/y
const WORD = /[\p{L}_][\p{L}\p{M}\p{N}_-]*/uy
const PLAIN_SEGMENT = /[\p{L}\p{N}_][\p{L}\p{M}\p{N}_-]*/uy
const PLASO_WORD = /[\w.]+/y
const SYMBOL = /&&|\|\||==|!=|<=|>=|[<>!(),]/y
const NUMBER = /[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/y
const PLASO_NUMBER = /0x\d+|\d+(?:\.\d+)?/y
/** What must not follow a number directly. */
const GLUED = /[\p{L}\p{N}_.]/u

function next(text: string, at: number, mode: Mode): Token {
  const character = text[at]!
  if (character === "'" || character === '"') {
    const { value, end } = quoted(text, at, mode)
    return { kind: 'text', value, at, end }
  }
  const number = match(mode === 'plaso' ? PLASO_NUMBER : NUMBER, text, at)
  if (number !== undefined) return numeric(text, at, number)
  const symbol = match(SYMBOL, text, at)
  if (symbol !== undefined && (mode === 'strict' || !/^(&&|\|\||!|,)$/.test(symbol)))
    return { kind: 'symbol', text: symbol, at, end: at + symbol.length }
  if (mode === 'plaso') {
    const word = match(PLASO_WORD, text, at)
    if (word !== undefined) return { kind: 'word', text: word, segments: [word], at, end: at + word.length }
  } else {
    const word = match(WORD, text, at)
    if (word !== undefined) return dotted(text, at, word)
  }
  if (character === '=') throw expressionError(text, at, { reason: '= is no operator', expected: ['=='] })
  throw expressionError(text, at, {
    reason: 'this character has no meaning here',
    expected: ['a field', 'an operator', 'a number', 'a quoted text'],
  })
}

function match(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0]
}

function numeric(text: string, at: number, number: string): Token {
  const end = at + number.length
  if (end < text.length && GLUED.test(text[end]!))
    throw expressionError(text, at, {
      reason: 'this is no number',
      expected: ['digits', '0x and hex digits', 'quotes'],
    })
  if (/^[+-]?0[xX]/.test(number)) {
    const value = BigInt(number.replace(/^[+-]/, ''))
    return { kind: 'integer', value: number.startsWith('-') ? -value : value, at, end }
  }
  if (!/[.eE]/.test(number)) {
    if (number.length > 40) throw expressionError(text, at, { reason: 'this number has too many digits' })
    return { kind: 'integer', value: BigInt(number.replace(/^\+/, '')), at, end }
  }
  const value = Number(number)
  if (!Number.isFinite(value)) throw expressionError(text, at, { reason: 'this number is too large' })
  return { kind: 'float', value, at, end }
}

/** `a.b."c d".0`: a name and its further segments. */
function dotted(text: string, at: number, first: string): Token {
  const segments = [first]
  let end = at + first.length
  while (text[end] === '.') {
    const start = end + 1
    if (text[start] === '"' || text[start] === "'") {
      const { value, end: after } = quoted(text, start, 'strict')
      segments.push(value)
      end = after
    } else {
      const segment = match(PLAIN_SEGMENT, text, start)
      if (segment === undefined)
        throw expressionError(text, start, {
          reason: 'a dot wants a name after it',
          expected: ['a name', 'a quoted name'],
        })
      segments.push(segment)
      end = start + segment.length
    }
  }
  return { kind: 'word', text: text.slice(at, end), segments, at, end }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  r: '\r',
  n: '\n',
  b: '\b',
  t: '\t',
}
/** These keep their backslash, for regular expressions. */
const PLASO_KEPT = /[.ws]/
const KEPT = /[dDwWsSB.()[\]{}+*?|^$/-]/

function quoted(text: string, at: number, mode: Mode): { value: string; end: number } {
  const quote = text[at]!
  let value = ''
  let from = at + 1
  for (let i = from; i < text.length; i++) {
    const character = text[i]!
    if (character === quote) return { value: value + text.slice(from, i), end: i + 1 }
    if (character !== '\\') continue
    const escaped = text[i + 1] ?? ''
    value += text.slice(from, i)
    const hex = HEX_ESCAPES[mode].exec(text.slice(i, i + 10))
    if (hex) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3]!, 16)
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        throw expressionError(text, i, { reason: 'this escape is no character' })
      value += String.fromCodePoint(code)
      i += hex[0].length - 1
    } else if (Object.hasOwn(ESCAPES, escaped)) {
      value += ESCAPES[escaped]
      i++
    } else if ((mode === 'plaso' ? PLASO_KEPT : KEPT).test(escaped)) {
      value += `\\${escaped}`
      i++
    } else {
      throw expressionError(text, i, { reason: 'this escape is not known', expected: ['\\\\ for a backslash'] })
    }
    from = i + 1
  }
  throw expressionError(text, at, { reason: 'this text has no closing quote', expected: [quote] })
}

const HEX_ESCAPES: Readonly<Record<Mode, RegExp>> = {
  plaso: /^\\x([0-9a-fA-F]{2})/,
  strict: /^\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\})/,
}
