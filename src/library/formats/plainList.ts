/** Plain lists: an indicator a line, of any type that its form tells, defanged or not; `#` begins a comment. */
import { indicatorTypeOf } from '../observables.ts'
import type { Intake } from './intake.ts'

export async function stageList(text: string, name: string, intake: Intake): Promise<void> {
  let line = 0
  let start = 0
  while (start <= text.length) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline
    line += 1
    stageLine(text.slice(start, end), `${name} line ${line}`, intake)
    start = end + 1
    await intake.breathe()
  }
}

/** One line, or one that was in quarantine. */
export function stageLine(line: string, place: string, intake: Intake): void {
  const given = withoutComment(line).trim()
  if (given === '') return
  const found = given.length <= MAX_LINE ? indicatorTypeOf(given) : undefined
  if (!found || found.value.includes('\0')) {
    const reason =
      given.length > MAX_LINE ? `the line is longer than ${MAX_LINE} characters` : 'it has the form of no indicator'
    intake.refuse(place, given.length > MAX_LINE ? 'bounds' : 'type', reason, given)
    return
  }
  intake.staged.add({
    code: 'indicator',
    columns: { value: found.value },
    type: found.type,
    sources: [intake.claim()],
  })
}

/** How many of the first lines have the form of an indicator, and how many have not. */
export function recognised(text: string): { readonly known: number; readonly unknown: number } {
  let known = 0
  let unknown = 0
  for (const line of text.slice(0, 65_536).split('\n').slice(0, 50)) {
    const given = withoutComment(line).trim()
    if (given === '' || given.length > MAX_LINE) continue
    if (indicatorTypeOf(given)) known += 1
    else unknown += 1
  }
  return { known, unknown }
}

// --- internal ---

const MAX_LINE = 10_000

/** A fragment of a URL is no comment: that one stands at the beginning or behind a space. `;` and `//` begin one too. */
const withoutComment = (line: string): string => line.replace(/^\s*(?:#|;|\/\/).*$|\s#.*$/s, '')
