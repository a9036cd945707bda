/**
 * What two libraries in step agree on, in one digest per table (docs/design.md §11): computed by the databases, so that
 * memory does not grow with the rows. Order, ids, uids, times of import, users and sites do not enter.
 */
import { type Kysely, sql } from 'kysely'
import type { DialectName } from '../platform/database/database.ts'
import { headSequence } from './changes.ts'
import { addHex, wordsText } from './digestSum.ts'
import { isReference, type KeyPart, keyOfPartsSql, naturalKey, sqliteKeyArguments, textFormSql } from './identity.ts'
import type { Library } from './library.ts'
import { liveRowsSql, unseenChanges } from './liveRows.ts'
import { type Column, columnsOf, TABLES, type Table } from './model.ts'
import type { LibraryTables } from './schema.ts'

export interface TableDigest {
  readonly rows: number
  /** 64 hex digits. */
  readonly digest: string
}

export interface StateDigest {
  /** Number of the last change that it holds. */
  readonly seq: number
  readonly digest: string
  /** Tables that have rows. */
  readonly tables: Readonly<Record<string, TableDigest>>
}

/** The inert tables stay out: users, connectors and operations are a site's own. */
export const COMPARED_TABLES: readonly Table[] = TABLES.filter(({ kind }) => kind !== 'inert')

export async function stateDigest({ database }: Library): Promise<StateDigest> {
  return await database.read(async (tx) => {
    // Compiling a statement of dozens of subqueries would take longer than running it.
    if (database.dialect === 'postgres') await sql`set local jit = off`.execute(tx)
    const seq = await headSequence(tx)
    const unseen = await unseenChanges(tx)
    const tables: Record<string, TableDigest> = {}
    for (const table of COMPARED_TABLES) {
      const found = await tableDigest(tx, database.dialect, table, unseen)
      if (found.rows > 0) tables[table.name] = found
    }
    const parts = Object.entries(tables).flatMap(([name, { rows, digest }]) => [name, String(rows), digest])
    return { seq, digest: naturalKey('state', parts).toString('hex'), tables }
  })
}

export interface KeyDigest {
  readonly nk: Buffer
  /** Of the row: the summands of the table's digest. */
  readonly digest: Buffer
}

/** The digest of each live row, in the order of natural keys: two sites' lists can be compared as they come. */
export async function* stateKeys({ database }: Library, table: Table): AsyncGenerator<KeyDigest> {
  const { db, dialect } = database
  const unseen = await unseenChanges(db)
  const { joins, parts } = comparedParts(dialect, table)
  const rows = liveRowsSql(table, unseen)
  let after = Buffer.alloc(0)
  for (;;) {
    const page = await sql<{ nk: Uint8Array; digest: Uint8Array }>`
      ${sql.raw(`select t.nk, ${keyOfPartsSql(dialect, table.name, parts)} as digest
        from ${rows.from} ${joins} where ${rows.where} and t.nk > `)}${after}
      ${sql.raw(`order by t.nk limit ${PAGE}`)}`.execute(db)
    for (const { nk, digest } of page.rows) yield { nk: Buffer.from(nk), digest: Buffer.from(digest) }
    if (page.rows.length < PAGE) return
    after = Buffer.from(page.rows.at(-1)!.nk)
  }
}

// --- internal ---

const PAGE = 5000
const WORDS = [0, 1, 2, 3] as const
/** SQLite computes without a pause, and keeps what it gives to a function until the statement ends. */
const ROWS_AT_ONCE = 50_000

type Tx = Kysely<LibraryTables>

async function tableDigest(
  tx: Tx,
  dialect: DialectName,
  table: Table,
  unseen: readonly number[],
): Promise<TableDigest> {
  const { joins, parts } = comparedParts(dialect, table)
  const { from, where } = liveRowsSql(table, unseen)
  const words = new Float64Array(8)
  let rows = 0
  if (dialect === 'postgres') {
    const query = postgresDigestSql(table, unseen)
    const found = (await sql.raw<Record<string, string>>(query).execute(tx)).rows[0]!
    rows = Number(found.n)
    if (rows === 0) return { rows, digest: wordsText(words) }
    const total = WORDS.reduce((sum, i) => (sum << 64n) + wordOf(found, i), 0n)
    return { rows, digest: BigInt.asUintN(256, total).toString(16).padStart(64, '0') }
  }
  const bounds = await sql
    .raw<{ first: number | null; last: number }>(`select min(id) as first, max(id) as last from ${table.name}`)
    .execute(tx)
  const { first, last } = bounds.rows[0]!
  const statement = `select count(*) as n, digest_sum(${sqliteKeyArguments(table.name, parts)}) as sum
    from ${from} ${joins} where ${where} and t.id >= `
  for (let from = first ?? 1; first !== null && from <= last; from += ROWS_AT_ONCE) {
    const query = sql<{ n: number; sum: string }>`${sql.raw(statement)}${from} and t.id < ${from + ROWS_AT_ONCE}`
    const found = (await query.execute(tx)).rows[0]!
    rows += found.n
    addHex(words, found.sum)
  }
  return { rows, digest: wordsText(words) }
}

/**
 * Rows, and for each of the four words of their digests its sum as a signed number and how often it was negative.
 * OFFSET keeps the planner from computing digest and words anew for each sum.
 */
function postgresDigestSql(table: Table, unseen: readonly number[]): string {
  const { joins, parts } = comparedParts('postgres', table)
  const { from, where } = liveRowsSql(table, unseen)
  const digest = keyOfPartsSql('postgres', table.name, parts)
  const words = WORDS.map((i) => `('x' || substr(h, ${i * 16 + 1}, 16))::bit(64)::bigint as v${i}`)
  const sums = WORDS.map((i) => `sum(v${i})::text as w${i}, count(*) filter (where v${i} < 0) as n${i}`)
  return `select count(*) as n, ${sums.join(', ')} from (select ${words.join(', ')}
    from (select encode(${digest}, 'hex') as h from ${from} ${joins} where ${where} offset 0) x offset 0) y`
}

/** A negative word is 2^64 less than the word. */
const wordOf = (found: Readonly<Record<string, string>>, i: number): bigint =>
  BigInt(found[`w${i}`]!) + (BigInt(found[`n${i}`]!) << 64n)

/** `nk`, then the compared columns that it does not hold already; of a reference the referenced row's `nk`. */
function comparedParts(dialect: DialectName, table: Table): { joins: string; parts: readonly KeyPart[] } {
  const joins: string[] = []
  const parts: KeyPart[] = [{ sql: 't.nk', isBytes: true }]
  for (const column of comparedColumns(table)) {
    if (isReference(column)) {
      const alias = `r${joins.length}`
      joins.push(`left join ${column.references} ${alias} on ${alias}.id = t."${column.name}"`)
      parts.push({ sql: `${alias}.nk`, isBytes: true })
    } else parts.push({ sql: textFormSql(dialect, column, `t."${column.name}"`), isBytes: false })
  }
  return { joins: joins.join(' '), parts }
}

const comparedColumns = (table: Table): Column[] =>
  columnsOf(table).filter(({ name, compared }) => compared && name !== 'nk' && !table.naturalKey.includes(name))
