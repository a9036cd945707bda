/** Whether the text of a staged row has its columns' form: what is refused here never reaches a database. */
import type { BulkColumn } from '../../platform/database/session.ts'
import { isUidColumn } from '../identity.ts'
import { type Column, dumpColumns, type Table } from '../model.ts'

/** Row numbers are added to ids drawn for the run, so a hostile one must not use them up. */
export const MAX_ROW_NUMBER = 2 ** 36

/** Answers what is wrong with a row in dump form, or undefined. */
export function rowCheck(table: Table): (row: readonly (string | null)[]) => string | undefined {
  const columns = dumpColumns(table)
  const checks = columns.map((column) => [column, CHECKS[formOf(column)]] as const)
  return (row) => {
    if (row.length !== checks.length) return `it has ${row.length} fields, not ${checks.length}`
    for (let i = 0; i < checks.length; i++) {
      const value = row[i]!
      const [column, check] = checks[i]!
      if (value === null) {
        if (column.required) return `${column.name} is missing`
      } else {
        const fault = check(value)
        if (fault !== undefined) return `${column.name} ${fault}`
      }
    }
    return undefined
  }
}

/** Of a row of which only `id` and `uid` count. */
export function referenceFault(row: readonly (string | null)[]): string | undefined {
  const [id, uid] = row
  if (id == null || uid == null) return 'id or uid is missing'
  return CHECKS.number(id) ?? CHECKS.uid(uid)
}

/** How a column is kept in staging. */
export const bulkColumn = ({ name, type }: Pick<Column, 'name' | 'type'>): BulkColumn => ({
  name,
  form: isUidColumn(name)
    ? 'uid'
    : type === 'hex'
      ? 'hex'
      : type === 'text' || type === 'flag' || type === 'json'
        ? 'text'
        : 'integer',
})

export const uidFault = (value: string): string | undefined => CHECKS.uid(value)
export const digestFault = (value: string): string | undefined => CHECKS.hex(value)
export const integerFault = (value: string): string | undefined => CHECKS.integer(value)

// --- internal ---

type Form = 'text' | 'integer' | 'flag' | 'json' | 'hex' | 'uid' | 'number'

function formOf({ name, type }: Column): Form {
  if (name === 'id' || type === 'reference' || type === 'anyReference') return 'number'
  if (isUidColumn(name)) return 'uid'
  return type === 'time' ? 'integer' : type
}

// Of every value of every row: a regular expression costs several times as much as a look at the characters.

const ZERO = 0x30
const NINE = 0x39
const DASH = 0x2d

const isHexDigit = (code: number): boolean => (code >= ZERO && code <= NINE) || (code >= 0x61 && code <= 0x66)

function isHex(value: string): boolean {
  const { length } = value
  if (length === 0 || length % 2 === 1) return false
  for (let i = 0; i < length; i++) if (!isHexDigit(value.charCodeAt(i))) return false
  return true
}

/** 8-4-4-4-12 */
function isUid(value: string): boolean {
  if (value.length !== 36) return false
  for (let i = 0; i < 36; i++) {
    const code = value.charCodeAt(i)
    if (i === 8 || i === 13 || i === 18 || i === 23 ? code !== DASH : !isHexDigit(code)) return false
  }
  return true
}

/** Digits without a leading zero, at most 16 of them; a minus sign before, but not before zero. */
function isInteger(value: string): boolean {
  const { length } = value
  const start = value.charCodeAt(0) === DASH ? 1 : 0
  const digits = length - start
  if (digits === 0 || digits > 16) return false
  if (value.charCodeAt(start) === ZERO) return length === 1
  for (let i = start; i < length; i++) {
    const code = value.charCodeAt(i)
    if (code < ZERO || code > NINE) return false
  }
  // Fewer digits are within 2^53.
  return digits < 16 || Number.isSafeInteger(Number(value))
}

function textFault(value: string): string | undefined {
  if (value.includes('\0')) return 'holds NUL'
  return value.isWellFormed() ? undefined : 'is no valid Unicode'
}

const integer = (value: string): string | undefined => (isInteger(value) ? undefined : 'is no whole number within 2^53')

const CHECKS: Readonly<Record<Form, (value: string) => string | undefined>> = {
  text: textFault,
  integer,
  flag: (value) => (value === 'Y' || value === 'N' ? undefined : 'is neither Y nor N'),
  json(value) {
    const fault = textFault(value)
    if (fault !== undefined) return fault
    try {
      JSON.parse(value)
      return undefined
    } catch {
      return 'is no JSON'
    }
  },
  hex: (value) => (isHex(value) ? undefined : 'is no lower-case hex'),
  uid: (value) => (isUid(value) ? undefined : 'is no lower-case UUID'),
  number(value) {
    const isNumber = value.length < 13 && isInteger(value)
    return isNumber && Number(value) > 0 && Number(value) <= MAX_ROW_NUMBER ? undefined : 'is no row number'
  },
}
