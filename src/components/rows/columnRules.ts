/** The rules of Log Analytics for tables and columns, checked when a table is compiled: before anything is sent. */
import { ColdtrailError } from '../../core/errors.ts'
import type { Table } from './table.ts'

export const MAX_COLUMNS = 500
export const MAX_NAME = 45
/** Names of the service's own columns. */
export const RESERVED: ReadonlySet<string> = new Set([
  '_ResourceId',
  'id',
  '_SubscriptionId',
  'TenantId',
  'Type',
  'UniqueId',
  'Title',
])

/** Tables of one's own; all others are Azure's. */
export const isCustomTable = (name: string): boolean => name.endsWith('_CL')

/** Throws E_TABLE_COLUMN for the first rule that the table breaks. */
export function checkTable({ name: table, columns }: Table): void {
  const refuse = (column: string, problem: string): never => {
    throw new ColdtrailError('E_TABLE_COLUMN', { table, column, problem })
  }
  if (columns.length > MAX_COLUMNS) refuse(columns[MAX_COLUMNS]!.name, `it is one more than ${MAX_COLUMNS}`)
  const seen = new Set<string>()
  for (const { name, type, added, from } of columns) {
    if (!/^[A-Za-z]/.test(name)) refuse(name, 'a name starts with a letter')
    if (!/^[A-Za-z0-9_]+$/.test(name)) refuse(name, 'a name is of A-Z, a-z, 0-9 and _')
    if (name.length > MAX_NAME) refuse(name, `a name has at most ${MAX_NAME} characters`)
    if (RESERVED.has(name)) refuse(name, 'the service keeps this name for itself')
    if (seen.has(name)) refuse(name, 'it is declared twice')
    if (added && !isCustomTable(table) && !name.endsWith('_CF'))
      refuse(name, 'a column added to a table of Azure ends in _CF')
    if (name === 'TimeGenerated' && type !== 'datetime') refuse(name, 'it is a datetime')
    if (from.length === 0) refuse(name, 'nothing gives its value')
    seen.add(name)
  }
  if (!seen.has('TimeGenerated')) refuse('TimeGenerated', 'every table has it')
}
