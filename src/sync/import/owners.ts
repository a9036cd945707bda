/**
 * Who owns an investigation or a task that comes in: the local user that the mapping file names, else the user as
 * travelled, who is an inert row here. Both are reported (L04, P19).
 */
import { readFileSync } from 'node:fs'
import { csvRecords } from '../../core/csv.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { uidText } from '../../library/identity.ts'
import type { Library } from '../../library/library.ts'
import type { StagedRow } from '../../library/merge/staging.ts'
import { dumpColumns, TABLE_BY_NAME, type Table } from '../../library/model.ts'
import type { OwnerNote } from './summary.ts'

/** Columns that name an owner, by table. */
const OWNED: Readonly<Record<string, readonly string[]>> = {
  investigations: ['creator_source_id'],
  tasks: ['assignee_source_id', 'creator_source_id'],
}

export interface Owners {
  /** Rows of `sources` that stand for the local users, to be loaded for their ids. */
  readonly rows: readonly StagedRow[]
  /** Learns users from rows of `sources`, and gives rows of OWNED tables their owner. Others come back as they are. */
  take(table: Table, row: StagedRow): StagedRow
  /** At most MOST_NOTES. */
  readonly notes: OwnerNote[]
}

/** `file`: CSV with the columns `from` and `to`, names of users. E_FILE_READ, E_CSV, E_USAGE for a user that is none here. */
export async function openOwners(library: Library, file: string | undefined): Promise<Owners> {
  const mapped = file === undefined ? new Map<string, string>() : readMap(file)
  const sources = TABLE_BY_NAME.get('sources')!
  const names = dumpColumns(sources).map(({ name }) => name)
  const [idAt, typeAt, nameAt, uidAt] = ['id', 'type', 'name', 'uid'].map((name) => names.indexOf(name)) as [
    number,
    number,
    number,
    number,
  ]

  const rows: StagedRow[] = []
  /** Number in the bundle of the row that stands for a local user. */
  const numbers = new Map<string, string>()
  for (const local of new Set(mapped.values())) {
    const found = await library.database.db
      .selectFrom('sources')
      .select('uid')
      .where('type', '=', 'users')
      .where('name', '=', local)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    if (!found) throw new ColdtrailError('E_USAGE', { message: `${file}: there is no user ${local} in this library.` })
    // Far above what a bundle numbers its rows with.
    const number = String(FIRST_NUMBER + rows.length)
    const row: (string | null)[] = names.map(() => null)
    row[idAt] = number
    row[uidAt] = uidText(found.uid as Uint8Array)
    rows.push(row)
    numbers.set(local, number)
  }

  const users = new Map<string, string>()
  const notes: OwnerNote[] = []
  const places = new Map(
    Object.entries(OWNED).map(([table, columns]) => {
      const all = dumpColumns(TABLE_BY_NAME.get(table)!).map(({ name }) => name)
      return [
        table,
        { name: all.indexOf('name'), columns: columns.map((column) => [column, all.indexOf(column)] as const) },
      ]
    }),
  )
  const own = (table: string, row: StagedRow): StagedRow => {
    const { name, columns } = places.get(table)!
    let changed: (string | null)[] | undefined
    for (const [column, at] of columns) {
      const given = row[at]
      const user = given === null || given === undefined ? undefined : users.get(given)
      if (user === undefined) continue
      const local = mapped.get(user)
      if (local !== undefined) {
        changed ??= [...row]
        changed[at] = numbers.get(local)!
      }
      if (notes.length < MOST_NOTES)
        notes.push({
          object: (row[name] ?? '').slice(0, 200),
          field: column,
          owner: local ?? user,
          ...(local !== undefined && { instead_of: user }),
        })
    }
    return changed ?? row
  }
  return {
    rows,
    notes,
    take(table, row) {
      if (table.name === 'sources' && row[typeAt] === 'users' && users.size < MOST_USERS)
        users.set(row[idAt]!, row[nameAt] ?? '')
      return table.name in OWNED ? own(table.name, row) : row
    },
  }
}

// --- internal ---

const FIRST_NUMBER = 2 ** 31
const MOST_NOTES = 1_000
const MOST_USERS = 1_000_000

function readMap(path: string): Map<string, string> {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  const map = new Map<string, string>()
  for (const [from, to] of csvRecords(bytes, { name: path, columns: ['from', 'to'], loose: true }))
    if (from && to) map.set(from, to)
  return map
}
