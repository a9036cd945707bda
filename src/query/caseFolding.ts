/**
 * Case is ignored by Unicode's simple lower case, character by character, as DuckDB's `lower()` has it (Unicode 15), so
 * that SQL and predicate agree. No language's special rules: `İ` is `i`, `ß` is not `ss`, `Σ` is `σ` wherever it stands.
 */
export function fold(text: string): string {
  const lower = text.toLowerCase()
  if (!SPECIAL.test(text)) return lower
  let folded = ''
  for (const character of text) folded += foldCharacter(character)
  return folded
}

/** Every character that folds to what this one folds to, itself included. */
export function caseVariants(character: string): readonly string[] {
  const folded = foldCharacter(character)
  return [...new Set([folded, character, ...(upperForms().get(folded) ?? [])])]
}

// --- internal ---

/** Where the lower case of a text is not that of its characters, or younger than DuckDB's tables. */
const YOUNGER = /[\u1c89\ua7cb\ua7cc\ua7ce\ua7d2\ua7d4\ua7da\ua7dc\u{10d50}-\u{10d65}\u{16ea0}-\u{16eb8}]/u
const SPECIAL = new RegExp(`[\u0130\u03a3]|${YOUNGER.source}`, 'u')

function foldCharacter(character: string): string {
  if (character === '\u0130') return 'i'
  return YOUNGER.test(character) ? character : character.toLowerCase()
}

let upper: ReadonlyMap<string, readonly string[]> | undefined

function upperForms(): ReadonlyMap<string, readonly string[]> {
  if (upper) return upper
  const forms = new Map<string, string[]>()
  for (let code = 0; code < 0x1f000; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue
    const character = String.fromCodePoint(code)
    const folded = foldCharacter(character)
    if (folded === character) continue
    const found = forms.get(folded)
    if (found) found.push(character)
    else forms.set(folded, [character])
  }
  upper = forms
  return forms
}
