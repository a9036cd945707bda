/** Puts rows into a library as they are, without a merge: for tests of what reads them. */
import { drawIds, type NewChange, newChange, publish } from '../../src/library/changes.ts'
import { isReference, naturalKey, naturalKeyColumns, uidRange, uidText } from '../../src/library/identity.ts'
import type { Library } from '../../src/library/library.ts'
import { OBJECT_TABLE_BY_CODE, TABLE_BY_NAME } from '../../src/library/model.ts'
import { normalizeIndicator } from '../../src/library/observables.ts'
import type { LibraryTx } from '../../src/library/schema.ts'

/** Values of base columns; a reference is the row that `put` answered, or the name of a dictionary row. */
export type Values = Readonly<Record<string, string | number | Buffer | null | { readonly id: number }>>

export interface PutRow {
  readonly id: number
  readonly uid: Buffer
  readonly nk: Buffer
}

export interface Put {
  (table: string, values: Values): Promise<PutRow>
  readonly tx: LibraryTx
  readonly change: number
}

/** One published change (unless told otherwise) of what `fill` puts. */
export async function putRows<T>(
  { database }: Library,
  fill: (put: Put) => Promise<T>,
  { published = true, ...change }: Partial<NewChange> & { published?: boolean } = {},
): Promise<T> {
  return await database.write(async (tx) => {
    const number = await newChange(tx, { kind: 'local', ...change })
    const put = Object.assign((table: string, values: Values) => putRow(tx, number, table, values), {
      tx,
      change: number,
    })
    const result = await fill(put)
    if (published) await publish(tx, number)
    return result
  })
}

// --- internal ---

async function putRow(tx: LibraryTx, change: number, name: string, values: Values): Promise<PutRow> {
  const table = TABLE_BY_NAME.get(name)!
  const row: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(values)) {
    const column = table.columns.find((column) => column.name === key)
    if (value !== null && typeof value === 'object' && 'id' in value) row[key] = value.id
    else if (column?.type === 'reference' && typeof value === 'string')
      row[key] = await idOfName(tx, column.references!, value)
    else row[key] = value
  }
  if (name === 'indicators') {
    const type = await tx
      .selectFrom('indicator_types')
      .select('name')
      .where('id', '=', row.type_id)
      .executeTakeFirstOrThrow()
    row.normalized = normalizeIndicator(type.name, row.value as string)
  }
  const uid = (values.uid as Buffer | undefined) ?? uidRange(1).at(0)
  const parts: (string | Buffer | null)[] = []
  for (const column of naturalKeyColumns(table)) {
    const value = row[column.name] ?? null
    if (column.name === 'uid') parts.push(uidText(uid))
    else if (value === null) parts.push(null)
    else if (isReference(column)) {
      const referenced = column.references ?? OBJECT_TABLE_BY_CODE.get(row[column.typeColumn!] as string)!.name
      const { nk } = await tx.selectFrom(referenced).select('nk').where('id', '=', value).executeTakeFirstOrThrow()
      parts.push(Buffer.from(nk))
    } else parts.push(Buffer.isBuffer(value) ? value.toString('hex') : String(value))
  }
  const nk = naturalKey(name, parts)
  const id = await drawIds(tx, name, 1)
  const now = Date.now() * 1000
  const common = { id, uid, nk, created_at: now, updated_at: now, created_change: change, change }
  await tx
    .insertInto(name)
    .values({ ...common, ...row })
    .execute()
  return { id, uid, nk }
}

async function idOfName(tx: LibraryTx, table: string, name: string): Promise<number> {
  const column = table === 'objects' ? 'code' : 'name'
  return (await tx.selectFrom(table).select('id').where(column, '=', name).executeTakeFirstOrThrow()).id
}
