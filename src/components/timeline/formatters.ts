/**
 * Messages of events as plaso makes them, by the formatter files of the user's own plaso (`data/formatters/*.yaml`). What
 * plaso does in Python (`custom_helpers`) is not done here: such an attribute is told as it is. An event of whose data
 * type there is no formatter, or that lacks what a basic one wants, has a message of our own.
 */
import { NumberText, pythonText } from './pythonText.ts'

/** Plain data: it goes to workers. By data type. */
export type Formatters = Readonly<Record<string, Formatter>>

export interface Formatter {
  /** Pieces that are left out when one of their attributes is absent; a basic one has one piece, which must be whole. */
  readonly pieces: readonly string[]
  readonly separator: string
  readonly isBasic: boolean
  readonly helpers: readonly Helper[]
}

export type Helper =
  | {
      readonly kind: 'boolean'
      readonly input: string
      readonly output: string
      readonly no: string
      readonly yes: string
    }
  | {
      readonly kind: 'enumeration'
      readonly input: string
      readonly output: string
      readonly values: Readonly<Record<string, string>>
      readonly otherwise: string | null
    }
  | {
      readonly kind: 'flags'
      readonly input: string
      readonly output: string
      /** Bits and their names. */
      readonly values: readonly (readonly [bits: number, name: string])[]
    }

/** The message; undefined when the formatter has none for these attributes. Numbers are NumberText, as they are written. */
export function formattedMessage(
  { pieces, separator, isBasic, helpers }: Formatter,
  attributes: Readonly<Record<string, unknown>>,
): string | undefined {
  const values: Record<string, unknown> = Object.assign(Object.create(null), attributes)
  for (const helper of helpers) {
    const told = help(helper, values[helper.input])
    if (told !== undefined) values[helper.output] = told
  }
  const told: string[] = []
  for (const piece of pieces) {
    const text = fill(piece, values, isBasic)
    if (text !== undefined) told.push(text)
    else if (isBasic) return undefined
  }
  const message = told
    .join(separator)
    .replace(/[\x00-\x1f\x7f]+/g, ' ')
    .trim()
  return message === '' ? undefined : message.slice(0, MAX_MESSAGE).toWellFormed()
}

// --- internal ---

const MAX_MESSAGE = 8_192

function help(helper: Helper, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  switch (helper.kind) {
    case 'boolean':
      return value === true ? helper.yes : helper.no
    case 'enumeration': {
      const key = pythonText(value)
      return Object.hasOwn(helper.values, key) ? helper.values[key] : (helper.otherwise ?? undefined)
    }
    default: {
      const bits = Number(pythonText(value))
      if (!Number.isSafeInteger(bits)) return undefined
      // Beyond 32 bits the operators of numbers do not go.
      const set = helper.values.filter(([flag]) => (BigInt(bits) & BigInt(flag)) !== 0n)
      return set.map(([, name]) => name).join(', ')
    }
  }
}

/** A piece with its attributes; undefined when one of them is absent, or empty where that leaves the piece out. */
function fill(piece: string, values: Readonly<Record<string, unknown>>, isBasic: boolean): string | undefined {
  let isWhole = true
  const text = piece.replace(
    /\{\{|\}\}|\{([A-Za-z_]\w*)(?:![rs])?(?::([^{}]*))?\}/g,
    (found, name: string, form: string) => {
      if (found === '{{' || found === '}}') return found[0]!
      const value = values[name]
      const isThere = value !== undefined && value !== null && (isBasic || !isEmpty(value))
      if (!isThere) isWhole = false
      return isThere ? formed(value, form ?? '') : ''
    },
  )
  return isWhole ? text : undefined
}

/** As plaso: zeros and False are told, empty texts and lists are not. */
const isEmpty = (value: unknown): boolean => value === '' || (Array.isArray(value) && value.length === 0)

/** Python's format specification, as far as formatters use it: `d`, `x`, `X`, a width with zeros, `.2f`. */
function formed(value: unknown, form: string): string {
  const parts = /^(0?)(\d{1,3})?(?:\.(\d{1,2}))?([dxXfs]?)$/.exec(form)
  const text = pythonText(value)
  if (!parts || form === '') return text
  const [, zero, width = '0', digits, kind] = parts
  let told = text
  if (value instanceof NumberText && kind !== 's' && kind !== '') {
    if (kind === 'f') told = Number(text).toFixed(Number(digits ?? 6))
    else if (/^-?\d+$/.test(text)) {
      const integer = BigInt(text)
      told = kind === 'd' ? String(integer) : integer.toString(16)
      if (kind === 'X') told = told.toUpperCase()
    }
  }
  return told.padStart(Number(width), zero === '0' ? '0' : ' ')
}
