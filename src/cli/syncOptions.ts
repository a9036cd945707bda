/** Options that the sync commands share, in the forms that the original takes. */
import { ColdtrailError } from '../core/errors.ts'
import type { Option } from './command.ts'

/** `Y`, `N`, `Yes`, `No`, in any case. */
export const yesNo = (initial: boolean, description: string): Option<boolean | undefined> => ({
  value: 'Y|N',
  description: `${description} The default is ${initial ? 'Y' : 'N'}.`,
  parse(given, name) {
    const found = /^(?:(y(?:es)?)|no?)$/i.exec(given)
    if (!found) throw new ColdtrailError('E_USAGE', { message: `${name}: "${given}" is neither Y nor N.` })
    return found[1] !== undefined
  },
})

/** `2G`, `512M`: bytes. */
export const memory = (initial: string, description: string): Option<number | undefined> => ({
  value: 'SIZE',
  description: `${description} The default is ${initial}.`,
  parse: memoryBytes,
})

/** A size without a default. */
export const size = (description: string): Option<number | undefined> => ({
  value: 'SIZE',
  description,
  parse: memoryBytes,
})

export function memoryBytes(given: string, name: string): number {
  const found = /^(\d{1,9}(?:\.\d{1,3})?)\s*([KMGT])?i?B?$/i.exec(given)
  const bytes = found ? Math.round(Number(found[1]) * UNITS[(found[2] ?? '').toUpperCase()]!) : Number.NaN
  if (bytes > 0) return bytes
  throw new ColdtrailError('E_USAGE', { message: `${name}: "${given}" is no size, such as 512M or 2G.` })
}

// --- internal ---

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }
