/**
 * Regular expressions that RE2 (in DuckDB) and JavaScript read alike: the text is parsed and written anew for both.
 * Meaning as in RE2: `.` is any character, `^` and `$` are the ends of the text, `\d \w \s \b` are ASCII.
 * Look-around, back-references, flags within and possessive repeats are refused, as RE2 refuses them.
 */
export interface SharedRegex {
  readonly js: RegExp
  /** With its flags in front. */
  readonly re2: string
}

/** Why a text is no such expression; `at` is an offset into the pattern. */
export class RegexFault {
  readonly at: number
  readonly reason: string
  constructor(at: number, reason: string) {
    this.at = at
    this.reason = reason
  }
}

export function sharedRegex(pattern: string, ignoreCase: boolean): SharedRegex | RegexFault {
  if (pattern.length > PATTERN_LENGTH) return new RegexFault(PATTERN_LENGTH, `longer than ${PATTERN_LENGTH} characters`)
  const parser = new RegexParser(pattern)
  try {
    const { js, re2, size } = parser.whole()
    if (size > SIZE) return new RegexFault(0, 'it repeats too much to be compiled')
    return {
      js: new RegExp(js, ignoreCase ? 'siu' : 'su'),
      re2: `${ignoreCase ? '(?si)' : '(?s)'}${leftToRe2(re2)}`,
    }
  } catch (error) {
    if (error instanceof RegexFault) return error
    throw error
  }
}

/** Whether a text matches. A text that is too much for the engine's backtracking does not; nothing is thrown. */
export function matchesRegex(regex: RegExp, text: string): boolean {
  try {
    return regex.test(text)
  } catch {
    return false
  }
}

// --- internal ---

/**
 * DuckDB turns patterns of text, `^`, `$` and `.*` into comparisons, and some of them wrongly (`$$`, `^$a`, `^a(?:)`). With
 * a character behind them that may be missing it leaves them to RE2.
 */
const leftToRe2 = (re2: string): string => (/^[\w ]*$/.test(re2) ? re2 : `(?:${re2})[ab]?`)

const PATTERN_LENGTH = 200_000
/** Parts after expansion of repeats: keeps RE2 below its memory limit, which would end the statement. */
const SIZE = 60_000
const REPEAT = 1_000
const NESTING = 100

interface Part {
  readonly js: string
  readonly re2: string
  readonly size: number
  /** Product of counted repeats inside, which RE2 bounds. */
  readonly repeats: number
}

const same = (text: string): Part => ({ js: text, re2: text, size: 1, repeats: 1 })

const CLASSES: Readonly<Record<string, string>> = { d: '0-9', w: '0-9A-Za-z_', s: '\\t\\n\\f\\r ' }
/** JavaScript's own \b would take ſ and K for letters when it ignores case. */
const JS_WORD = '[0-9A-Za-z_]'
const JS_BOUNDARY = `(?-i:(?<!${JS_WORD})(?=${JS_WORD})|(?<=${JS_WORD})(?!${JS_WORD}))`
const JS_NO_BOUNDARY = `(?-i:(?<!${JS_WORD})(?!${JS_WORD})|(?<=${JS_WORD})(?=${JS_WORD}))`
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, a: 7 }

class RegexParser {
  private readonly characters: readonly string[]
  private readonly offsets: readonly number[]
  private at = 0
  private depth = 0

  constructor(pattern: string) {
    this.characters = [...pattern]
    let offset = 0
    this.offsets = this.characters.map((character) => {
      offset += character.length
      return offset - character.length
    })
  }

  whole(): Part {
    const part = this.alternatives()
    if (this.at < this.characters.length) throw this.fault('this ) closes nothing')
    return part
  }

  private alternatives(): Part {
    if (++this.depth > NESTING) throw this.fault('its groups are nested too deeply')
    const parts = [this.sequence()]
    while (this.peek() === '|') {
      this.at++
      parts.push(this.sequence())
    }
    this.depth--
    return parts.length === 1 ? parts[0]! : joined(parts, '|')
  }

  private sequence(): Part {
    const parts: Part[] = []
    for (let c = this.peek(); c !== undefined && c !== '|' && c !== ')'; c = this.peek()) parts.push(this.repeated())
    return joined(parts, '')
  }

  private repeated(): Part {
    const start = this.at
    const part = this.atom()
    const repeat = this.quantifier()
    if (repeat === undefined) return part
    if (/^[\^$]$|^\\[bB]$/.test(this.characters.slice(start, this.at - repeat.length).join('')))
      throw this.fault('there is nothing here that can be repeated', start)
    if (this.peek() === '?') this.at++
    if (this.quantifier() !== undefined || this.peek() === '+') throw this.fault('a repeat of a repeat', this.at - 1)
    const repeats = part.repeats * Math.max(1, repeat.most)
    if (repeats > REPEAT) throw this.fault(`more than ${REPEAT} repeats`, start)
    return {
      js: `(?:${part.js})${repeat.text}`,
      re2: `(?:${part.re2})${repeat.text}`,
      size: part.size * Math.max(1, repeat.most) + 1,
      repeats,
    }
  }

  private quantifier(): { text: string; most: number; length: number } | undefined {
    const c = this.peek()
    if (c === '*' || c === '+' || c === '?') {
      this.at++
      return { text: c, most: 1, length: 1 }
    }
    if (c !== '{') return undefined
    const counted = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(this.characters.slice(this.at, this.at + 12).join(''))
    if (!counted) throw this.fault('{ wants {n}, {n,} or {n,m} (write \\\\{ for the character)')
    const least = Number(counted[1])
    const most = counted[3] ? Number(counted[3]) : least
    if (most < least) throw this.fault('the range of this repeat is inverted')
    if (most > REPEAT) throw this.fault(`more than ${REPEAT} repeats`)
    this.at += counted[0].length
    return { text: counted[0], most, length: counted[0].length }
  }

  private atom(): Part {
    const c = this.peek()!
    if (c === '(') return this.group()
    if (c === '[') return this.set()
    if (c === '\\') return this.escape()
    if (c === '*' || c === '+' || c === '?') throw this.fault('there is nothing here that can be repeated')
    if (c === '{' || c === '}' || c === ']') throw this.fault(`${c} stands alone (write \\\\${c} for the character)`)
    this.at++
    if (c === '.') return { ...same('.'), size: 8 }
    return c === '^' || c === '$' ? same(c) : literal(c.codePointAt(0)!)
  }

  private group(): Part {
    const start = this.at
    this.at++
    if (this.peek() === '?') {
      const head = this.characters.slice(this.at, this.at + 40).join('')
      const name = /^\?(?::|P?<[A-Za-z_]\w*>)/.exec(head)
      if (/^\?<?[=!]/.test(head)) throw this.fault('RE2 has no look-around', start)
      if (!name) throw this.fault('this kind of group is not supported', start)
      this.at += name[0].length
    }
    const inner = this.alternatives()
    if (this.peek() !== ')') throw this.fault('this group is not closed', start)
    this.at++
    return { ...inner, js: `(?:${inner.js})`, re2: `(?:${inner.re2})`, size: inner.size + 1 }
  }

  private escape(): Part {
    const start = this.at
    const c = this.characters[this.at + 1]
    if (c === undefined) throw this.fault('a backslash stands at the end')
    const group = CLASSES[c.toLowerCase()]
    if (group !== undefined) {
      this.at += 2
      const negated = c !== c.toLowerCase()
      return { ...same(`[${negated ? '^' : ''}${group}]`), size: negated ? 10 : 2 }
    }
    if (c === 'b' || c === 'B') {
      this.at += 2
      return { js: c === 'b' ? JS_BOUNDARY : JS_NO_BOUNDARY, re2: `\\${c}`, size: 1, repeats: 1 }
    }
    if (c === 'A' || c === 'z') {
      this.at += 2
      return same(c === 'A' ? '^' : '$')
    }
    if (/[1-9]|k/.test(c)) throw this.fault('RE2 has no back-references', start)
    return literal(this.escapedCharacter())
  }

  /** After the backslash at `at`: a character given by an escape. */
  private escapedCharacter(): number {
    const start = this.at
    const c = this.characters[this.at + 1]
    const text = this.characters.slice(this.at, this.at + 12).join('')
    const hex = /^\\x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\})|^\\u([0-9a-fA-F]{4})/.exec(text)
    if (hex) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3]!, 16)
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw this.fault('this escape is no character')
      this.at += hex[0].length
      return code
    }
    this.at += 2
    if (c !== undefined && Object.hasOwn(CONTROLS, c)) return CONTROLS[c]!
    if (c !== undefined && /[!-/:-@[-`{-~]/.test(c)) return c.codePointAt(0)!
    throw this.fault(`the escape \\${c ?? ''} is not known`, start)
  }

  private set(): Part {
    const start = this.at
    this.at++
    const negated = this.peek() === '^'
    if (negated) this.at++
    let body = ''
    let size = negated ? 10 : 1
    for (let first = true; this.peek() !== ']' || first; first = false) {
      const c = this.peek()
      if (c === undefined) throw this.fault('this set is not closed', start)
      if (c === ']') throw this.fault('an empty set (write \\\\] for the character)', start)
      if (c === '[' && /[:.=]/.test(this.characters[this.at + 1] ?? ''))
        throw this.fault('named classes are not supported')
      const item = this.setItem()
      body += item
      size += ASCII_ITEM.test(item) ? 1 : 6
    }
    this.at++
    const text = `[${negated ? '^' : ''}${body}]`
    return { js: text.replace(RE2_HEX, '\\u{$1}'), re2: text, size, repeats: 1 }
  }

  private setItem(): string {
    const start = this.at
    const group = this.peek() === '\\' ? (this.characters[this.at + 1] ?? '') : ''
    const known = CLASSES[group]
    if (known !== undefined) {
      this.at += 2
      if (this.peek() === '-' && this.characters[this.at + 1] !== ']') throw this.fault('a class begins no range')
      return known.replaceAll('\\t\\n\\f\\r ', '\\x{9}\\x{a}\\x{c}\\x{d}\\x{20}')
    }
    if (/[DWS]/.test(group)) throw this.fault(`\\${group} is not supported within a set`)
    const from = this.setCharacter()
    if (this.peek() !== '-' || this.characters[this.at + 1] === ']') return code(from)
    this.at++
    if (this.peek() === undefined) throw this.fault('this set is not closed', start)
    const to = this.setCharacter()
    if (to < from) throw this.fault('this range is inverted', start)
    return `${code(from)}-${code(to)}`
  }

  private setCharacter(): number {
    const c = this.peek()!
    if (c === '\\') return this.escapedCharacter()
    this.at++
    return c.codePointAt(0)!
  }

  private peek(): string | undefined {
    return this.characters[this.at]
  }

  private fault(reason: string, at = this.at): RegexFault {
    return new RegexFault(this.offsets[at] ?? (this.offsets.at(-1) ?? -1) + 1, reason)
  }
}

const ASCII_ITEM = /^(\\x\{[0-9a-f]{1,2}\}-?|[\w-])+$/
const RE2_HEX = /\\x\{([0-9a-f]+)\}/g

function code(character: number): string {
  return `\\x{${character.toString(16)}}`
}

function literal(character: number): Part {
  if (character < 128 && /[0-9A-Za-z_ ]/.test(String.fromCharCode(character)))
    return same(String.fromCharCode(character))
  const hex = character.toString(16)
  return { js: `\\u{${hex}}`, re2: `\\x{${hex}}`, size: 1, repeats: 1 }
}

function joined(parts: readonly Part[], by: string): Part {
  return {
    js: parts.map((part) => part.js).join(by),
    re2: parts.map((part) => part.re2).join(by),
    size: parts.reduce((sum, part) => sum + part.size, 0),
    repeats: parts.reduce((most, part) => Math.max(most, part.repeats), 1),
  }
}
