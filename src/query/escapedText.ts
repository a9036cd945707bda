/**
 * The same text as it may stand in JSON: any character as `\uXXXX`, some in short form (`\/`, `\"`, `\n`). A search over
 * `data` that looked at the plain text only could be evaded by whoever writes the log.
 */
import { caseVariants } from './caseFolding.ts'
import { RegexFault, type SharedRegex, sharedRegex } from './regex.ts'

export const ESCAPED_LENGTH = 1_000

export interface EscapedText {
  readonly regex: SharedRegex
  /** A record without this text has none of these escapes. */
  readonly mark: string
}

/** Undefined when `value` is longer than ESCAPED_LENGTH characters. */
export function escapedText(value: string, folded: boolean): EscapedText | undefined {
  const characters = [...value]
  if (characters.length > ESCAPED_LENGTH) return undefined
  const pattern = characters.map((character) => forms(character, folded)).join('')
  const regex = sharedRegex(pattern, false)
  if (regex instanceof RegexFault) return undefined
  return { regex, mark: escapeMark(value) }
}

/** What stands in every JSON text that writes `value` with an escape: `\`, or `\u` when none of it has a short form. */
export function escapeMark(value: string): string {
  return [...value].some((character) => SHORT[character] !== undefined) ? '\\' : '\\u'
}

// --- internal ---

const SHORT: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  '\b': 'b',
  '\f': 'f',
  '\n': 'n',
  '\r': 'r',
  '\t': 't',
}

function forms(character: string, folded: boolean): string {
  const written = (folded ? caseVariants(character) : [character]).flatMap((variant) => [
    `\\x{${variant.codePointAt(0)!.toString(16)}}`,
    Array.from({ length: variant.length }, (_, i) => `\\\\u${hexDigits(variant.charCodeAt(i))}`).join(''),
  ])
  const short = SHORT[character]
  if (short !== undefined) written.push(`\\\\\\x{${short.codePointAt(0)!.toString(16)}}`)
  return `(?:${written.join('|')})`
}

function hexDigits(unit: number): string {
  return unit
    .toString(16)
    .padStart(4, '0')
    .replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)
}
