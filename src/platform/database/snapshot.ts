/**
 * One consistent view of a database, on a connection of its own: nobody waits for it, and it sees no later commit.
 * Temporary tables may be made in it. Rows leave it as CSV text that the database itself makes, the same bytes from both.
 */
import type { DatabaseSync } from 'node:sqlite'
import type pg from 'pg'
import type { DialectName, OpenDatabase } from './database.ts'
import { exactNumber } from './exactNumber.ts'
import { openReadOnly } from './readOnlySqlite.ts'
import { sqliteFault } from './sqliteFault.ts'

export interface Snapshot {
  readonly dialect: DialectName
  run(text: string): Promise<void>
  // biome-ignore lint/suspicious/noExplicitAny: rows of generated statements
  all(text: string): Promise<Record<string, any>[]>
  /** Whole records, in the order of `key`, without a header. */
  csv(query: CsvQuery): AsyncIterable<CsvBlock>
  close(): Promise<void>
}

export interface CsvColumn {
  /** SQL of a value; of a `plain` one the text is known to need no quotes. */
  readonly expression: string
  readonly plain: boolean
}

/** Statements are made by the program and hold no values from outside. */
export interface CsvQuery {
  readonly columns: readonly CsvColumn[]
  /** Table expression; SQLite walks it from its first table. */
  readonly from: string
  readonly where: string
  /** Unique positive integer column by which the first table of `from` is ordered. */
  readonly key: string
  /** Bounds of `key`, both included. */
  readonly range?: { readonly first: number; readonly last: number }
}

export interface CsvBlock {
  readonly bytes: Buffer
  readonly rows: number
}

export async function openSnapshot(database: OpenDatabase<never>): Promise<Snapshot> {
  const { server } = database
  return server ? PostgresSnapshot.open(await server.connect()) : new SqliteSnapshot(database.name)
}

/**
 * Length of the first records of `bytes` that are at most `rows` and together at most `limit` bytes long, but at least
 * one; and how many they are. `bytes` begins at a record; a record that is not ended does not count.
 */
export function measureRecords(bytes: Buffer, rows: number, limit = Number.POSITIVE_INFINITY): CsvLength {
  let length = 0
  let count = 0
  let quote = bytes.indexOf(QUOTE)
  for (let from = 0; count < rows; ) {
    const end = bytes.indexOf(LF, from)
    if (end < 0) break
    // A line feed between quotes is part of a value.
    let isOpen = false
    while (quote >= 0 && quote < end) {
      isOpen = !isOpen
      quote = bytes.indexOf(QUOTE, quote + 1)
    }
    if (isOpen) {
      if (quote < 0) break
      from = quote + 1
      quote = bytes.indexOf(QUOTE, from)
      // `from` lies behind the closing quote, so the rest of the line is outside.
      continue
    }
    if (count > 0 && end + 1 > limit) break
    length = end + 1
    count += 1
    from = length
  }
  return { length, rows: count }
}

export interface CsvLength {
  readonly length: number
  readonly rows: number
}

/**
 * SQLite's statement of one block of a CSV: of the rows behind the first parameter as many as the second says. It has one
 * lower bound only: of two SQLite would seek to either, and read all before the other one again for each block.
 */
export function blockSql({ columns, from, where, key, range }: CsvQuery): string {
  const fields = columns.map(({ expression, plain }) => (plain ? expression : quoted(expression)))
  const record = `concat(${fields.join(`, ',', `)}, char(10))`
  const end = range ? ` and ${key} <= ${range.last}` : ''
  const rows = `select ${key} as k, ${record} as r from ${from} where ${key} > ?${end} and (${where}) order by ${key} limit ?`
  return `select cast(group_concat(r, '') as blob) b, count(*) n, max(k) k from (${rows})`
}

// --- internal ---

const LF = 10
const QUOTE = 34
/** Rows of one statement: few enough that long values stay small together, so many that a statement costs nothing. */
const BLOCK_ROWS = 256
const LONG_BLOCK = 4 * 1024 * 1024
const CACHE_KIB = 32 * 1024

class SqliteSnapshot implements Snapshot {
  readonly dialect = 'sqlite'
  private readonly path: string
  private readonly database: DatabaseSync

  constructor(path: string) {
    this.path = path
    this.database = openReadOnly(path, { readBigInts: true, timeout: 60_000 }).database
    this.database.exec(`pragma temp_store = file; pragma cache_size = -${CACHE_KIB}; begin`)
    // The view begins with the first read.
    this.database.prepare('select 1 from sqlite_master').get()
  }

  async run(text: string): Promise<void> {
    this.attempt(() => this.database.exec(text))
  }

  async all(text: string): Promise<Record<string, unknown>[]> {
    return this.attempt(() => this.database.prepare(text).all().map(withNumbers))
  }

  async *csv(query: CsvQuery): AsyncIterable<CsvBlock> {
    const statement = this.attempt(() => this.database.prepare(blockSql(query)))
    let last = BigInt((query.range?.first ?? 1) - 1)
    for (let limit = BLOCK_ROWS; ; ) {
      const block = this.attempt(() => statement.get(last, limit)) as { b: Uint8Array | null; n: bigint; k: bigint }
      if (block.b === null) return
      last = block.k
      const { buffer, byteOffset, byteLength } = block.b
      const count = Number(block.n)
      yield { bytes: Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength), rows: count }
      limit = Math.min(BLOCK_ROWS, Math.max(1, Math.floor((LONG_BLOCK * count) / byteLength)))
    }
  }

  async close(): Promise<void> {
    if (this.database.isOpen) this.database.close()
  }

  private attempt<R>(action: () => R): R {
    try {
      return action()
    } catch (error) {
      throw sqliteFault(error, this.path)
    }
  }
}

/** As PostgreSQL's COPY quotes; NULL stays NULL, which `concat` leaves empty. */
const quoted = (value: string): string =>
  `case when ${value} = '' then '""' when instr(${value}, ',') or instr(${value}, '"') or instr(${value}, char(10)) ` +
  `or instr(${value}, char(13)) then '"' || replace(${value}, '"', '""') || '"' else ${value} end`

function withNumbers(row: Record<string, unknown>): Record<string, unknown> {
  for (const name in row) {
    const value = row[name]
    if (typeof value === 'bigint') row[name] = exactNumber(value)
  }
  return row
}

class PostgresSnapshot implements Snapshot {
  readonly dialect = 'postgres'
  private readonly client: pg.Client

  private constructor(client: pg.Client) {
    this.client = client
  }

  static async open(client: pg.Client): Promise<PostgresSnapshot> {
    // Without a listener a connection that breaks would end the process; the statement under way fails anyhow.
    client.on('error', () => {})
    await client.query('begin isolation level repeatable read')
    await client.query('select 1 from pg_class limit 1')
    return new PostgresSnapshot(client)
  }

  async run(text: string): Promise<void> {
    await this.client.query(text)
  }

  async all(text: string): Promise<Record<string, unknown>[]> {
    return (await this.client.query(text)).rows
  }

  async *csv({ columns, from, where, key, range }: CsvQuery): AsyncIterable<CsvBlock> {
    const { to } = await import('pg-copy-streams')
    const fields = columns.map(({ expression }) => expression).join(', ')
    const bounds = range ? `${key} between ${range.first} and ${range.last} and ` : ''
    const rows = `select ${fields} from ${from} where ${bounds}${where} order by ${key}`
    const stream = this.client.query(to(`copy (${rows}) to stdout (format csv)`))
    let rest: Buffer = Buffer.alloc(0)
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      const whole = measureRecords(bytes, Number.POSITIVE_INFINITY)
      rest = bytes.subarray(whole.length)
      if (whole.rows > 0) yield { bytes: bytes.subarray(0, whole.length), rows: whole.rows }
    }
    if (rest.length > 0) throw new Error('COPY ended inside a record')
  }

  async close(): Promise<void> {
    // What was made in it is gone with the connection.
    await this.client.end().catch(() => undefined)
  }
}
