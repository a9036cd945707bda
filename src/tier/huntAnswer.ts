/** Which segments an answer of `hunt --json` names: one JSON document, or one object a line. */
import { ColdtrailError } from '../core/errors.ts'

/**
 * Numbers in every `segments` of the answer, ascending; each is a number, or an object with `segment`. E_RESTORE_REQUEST
 * when it is no such answer. `where` names it in the error.
 */
export function segmentsOfHunt(text: string, where: string): number[] {
  const found = new Set<number>()
  let lists = 0
  const refuse = (reason: string) => new ColdtrailError('E_RESTORE_REQUEST', { where, reason })
  const take = (value: unknown, depth: number): void => {
    if (typeof value !== 'object' || value === null || depth > MAX_DEPTH) return
    if (Array.isArray(value)) {
      for (const one of value) take(one, depth + 1)
      return
    }
    for (const [name, inner] of Object.entries(value)) {
      if (name !== 'segments' || !Array.isArray(inner)) {
        take(inner, depth + 1)
        continue
      }
      lists += 1
      for (const one of inner) {
        const number: unknown = typeof one === 'object' && one !== null ? (one as { segment?: unknown }).segment : one
        if (!Number.isSafeInteger(number) || (number as number) < 0)
          throw refuse(`"segments" holds something that is no number of a segment`)
        found.add(number as number)
      }
    }
  }
  for (const document of documentsOf(text, refuse)) take(document, 0)
  if (lists === 0) throw refuse('it is no answer of a hunt: nothing in it is named "segments"')
  return [...found].sort((a, b) => a - b)
}

// --- internal ---

/** An answer is flat; a deeper one is somebody's else. */
const MAX_DEPTH = 8

function documentsOf(text: string, refuse: (reason: string) => ColdtrailError): unknown[] {
  try {
    return [JSON.parse(text)]
  } catch {
    const lines = text.split('\n')
    return lines.flatMap((line, i) => {
      if (line.trim() === '') return []
      try {
        return [JSON.parse(line) as unknown]
      } catch (error) {
        throw refuse(`line ${i + 1} is no JSON (${(error as Error).message.slice(0, 100)})`)
      }
    })
  }
}
