/** Values of Sigma: texts with wildcards, and what modifiers make of them. */

/** `*` is any text, `?` any character; both are marks here, not characters. */
export const ANY = Symbol('*')
export const ONE = Symbol('?')

/** Literal texts and wildcards; no two literals beside each other. */
export type Pattern = readonly (string | typeof ANY | typeof ONE)[]

/** A backslash before `*`, `?` or `\` takes its meaning away; before anything else it stands for itself. */
export function parsePattern(text: string): Pattern {
  const parts: (string | typeof ANY | typeof ONE)[] = []
  let literal = ''
  const flush = () => {
    if (literal !== '') parts.push(literal)
    literal = ''
  }
  for (let at = 0; at < text.length; at++) {
    const c = text[at]!
    if (c === '\\' && /[*?\\]/.test(text[at + 1] ?? '')) literal += text[++at]!
    else if (c === '*' || c === '?') {
      flush()
      if (c === '?' || parts.at(-1) !== ANY) parts.push(c === '*' ? ANY : ONE)
    } else literal += c
  }
  flush()
  return parts
}

/** Undefined when there are wildcards. */
export function plainText(pattern: Pattern): string | undefined {
  if (pattern.length === 0) return ''
  const [only, ...others] = pattern
  return others.length === 0 && typeof only === 'string' ? only : undefined
}

/** With `*` on a side, unless it is there. */
export function widened(pattern: Pattern, side: 'before' | 'after'): Pattern {
  if (side === 'before') return pattern[0] === ANY ? pattern : [ANY, ...pattern]
  return pattern.at(-1) === ANY ? pattern : [...pattern, ANY]
}

/** The pattern as a regular expression that the whole text must match; `character` writes a literal one. */
export function patternRegex(pattern: Pattern, character: (c: string) => string = escaped): string {
  const parts = pattern.map((part) => {
    if (part === ANY) return '.*'
    return part === ONE ? '.' : [...(part as string)].map(character).join('')
  })
  return `^${parts.join('')}$`
}

export const escaped = (c: string): string => (/[A-Za-z0-9_]/.test(c) ? c : `\\x{${c.codePointAt(0)!.toString(16)}}`)

/** As base64 may hold the bytes, whatever stands before and after them: three texts. */
export function base64Offsets(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset, 0x20), bytes]).toString('base64')
    const from = [0, 2, 3][offset]!
    const cut = [0, 3, 2][(bytes.length + offset) % 3]!
    return text.slice(from, text.length - cut)
  })
}

/** The most dashes of a value that are tried in every spelling. */
export const DASHES = 4
const DASH_SPELLINGS = ['-', '/', '\u2013', '\u2014', '\u2015']

/** Each option's dash, or slash, in every spelling that Windows takes. Undefined: more than DASHES of them. */
export function windashes(text: string): string[] | undefined {
  const places = [...text.matchAll(/(?<!\w)[-/\u2013\u2014\u2015](?=\w)/g)].map(({ index }) => index)
  if (places.length > DASHES) return undefined
  let found = [text]
  for (const place of places)
    found = found.flatMap((one) => DASH_SPELLINGS.map((dash) => one.slice(0, place) + dash + one.slice(place + 1)))
  return [...new Set(found)]
}
