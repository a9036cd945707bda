/** Commands as the original takes them: `/database manifest op=query time1=… timeFormat=simple`. */
import { ColdtrailError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'

/** `/database manifest op=compress …` as words of this program; every other line as it is. */
export function originalCommand(line: readonly string[]): readonly string[] {
  const at = line.indexOf('/database')
  if (at < 0 || line[at + 1] !== 'manifest') return line
  const rest = line.slice(at + 2)
  const given = rest.filter((word) => word.startsWith('op='))
  const op = given.at(-1)?.slice(3) ?? 'query'
  if (given.length > 1 || !OPERATIONS.includes(op))
    throw new ColdtrailError('E_USAGE', { message: `"${given.join(' ')}": op is none of ${OPERATIONS.join(', ')}.` })
  return [...line.slice(0, at), 'manifest', op, ...rest.filter((word) => !word.startsWith('op='))]
}

/** `key=value` words by key; a key given twice, an unknown one, and a word without `=` are E_USAGE. */
export function wordsByKey<const K extends string>(
  words: readonly string[],
  keys: readonly K[],
): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {}
  for (const word of words) {
    const [, key = '', value = ''] = /^(\w+)=(.*)$/s.exec(word) ?? []
    const known = keys.find((one) => one === key)
    if (known === undefined) {
      const guess = nearest(key, keys)
      const hint =
        guess === undefined ? `There are ${keys.map((one) => `${one}=`).join(', ')}.` : `Did you mean ${guess}=?`
      throw new ColdtrailError('E_USAGE', { message: `"${word}" is no word of this command. ${hint}` })
    }
    if (found[known] !== undefined) throw new ColdtrailError('E_USAGE', { message: `${key} is given twice.` })
    found[known] = value
  }
  return found
}

// --- internal ---

const OPERATIONS: readonly string[] = ['query', 'compress', 'verify', 'closure']
