/**
 * A connection of one's own for bulk work beside the others of a database: statements made by the program, a fast way in
 * for rows, and a place for tables of the work alone (an attached SQLite file, a schema of PostgreSQL). SQLite's commits
 * are not synced here until `settle` (a power cut then undoes the last ones, in order), PostgreSQL's likewise.
 */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { CompiledQuery, Kysely } from 'kysely'
import type pg from 'pg'
import type { CopyStreamQuery } from 'pg-copy-streams'
import { makeDirectory } from '../files.ts'
import { OpenDatabase } from './database.ts'
import { connectedDialect, withFunctions } from './sqliteDialect.ts'
import { sqliteFault } from './sqliteFault.ts'

export interface Session<T> {
  /** Transactions with retries, as everywhere. Its locks are those of the database it belongs to. */
  readonly database: OpenDatabase<T>
  /** How the tables of the work are named: `<place>.<table>`. */
  readonly place: string
  /** Begins a portion of rows, and its transaction. */
  append(table: string, columns: readonly BulkColumn[]): Promise<Appender>
  /** From now on commits are durable when they return. */
  settle(): Promise<void>
  /** Removes the tables of the work. */
  dropPlace(): Promise<void>
  close(): Promise<void>
}

export interface BulkColumn {
  readonly name: string
  /** How the text given is kept. `uid`: hex with hyphens, as bytes. */
  readonly form: 'text' | 'integer' | 'hex' | 'uid'
}

export type BulkRow = readonly (string | null)[]

export interface Appender {
  /** Answers a promise when the receiver asks for a pause. */
  add(row: BulkRow): Promise<void> | undefined
  /** Runs `statements` in the same transaction. Rows whose first column repeats (SQLite, where it is a key) are told. */
  commit(statements: readonly string[]): Promise<readonly BulkRow[]>
  rollback(): Promise<void>
}

/** Bounds memory: pages of the database and of the tables of the work. */
const MAIN_CACHE_KIB = 112 * 1024
const PLACE_CACHE_KIB = 32 * 1024
/** Of 4 KiB: the log may grow to 128 MiB before it is written back, since scattered pages change again and again. */
const CHECKPOINT_PAGES = 32_768

/** `file`: that of SQLite, made when missing; `schema`: that of PostgreSQL, likewise. */
export async function openSession<T>(
  database: OpenDatabase<T>,
  { file, schema }: { readonly file: string; readonly schema: string },
): Promise<Session<T>> {
  if (database.server) return PostgresSession.open(database, schema)
  return new SqliteSession(database, file)
}

/** Any executor of Kysely: a database or a transaction. */
export type Executor = Pick<Kysely<never>, 'executeQuery'>

/** Runs a statement that the program made; answers how many rows it touched. */
export async function run(on: unknown, text: string, values: readonly unknown[] = []): Promise<number> {
  const { numAffectedRows } = await (on as Executor).executeQuery(CompiledQuery.raw(text, [...values]))
  return Number(numAffectedRows ?? 0n)
}

// biome-ignore lint/suspicious/noExplicitAny: rows of generated statements
export type Row = Record<string, any>

export async function all(on: unknown, text: string, values: readonly unknown[] = []): Promise<Row[]> {
  return (await (on as Executor).executeQuery<Row>(CompiledQuery.raw(text, [...values]))).rows
}

// --- internal ---

/** Rows of one INSERT: binding costs less for several at once, and SQLite writes the table's last pages aside before each. */
const ROWS_A_STATEMENT = 64

class SqliteSession<T> implements Session<T> {
  readonly database: OpenDatabase<T>
  readonly place = 'staging'
  private readonly file: string
  private readonly raw: DatabaseSync

  constructor(of: OpenDatabase<T>, file: string) {
    this.file = file
    makeDirectory(dirname(file))
    const raw = new DatabaseSync(of.name, { timeout: 5000, enableForeignKeyConstraints: false, readBigInts: true })
    this.raw = raw
    try {
      withFunctions(raw, of.functions ?? {})
      raw.exec('pragma journal_mode = wal; pragma synchronous = normal; pragma busy_timeout = 20')
      raw.exec(`pragma cache_size = -${MAIN_CACHE_KIB}; pragma wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
      raw.prepare('attach ? as staging').run(file)
      // A journal, or a kill in the midst of a transaction would leave half of it; rows at the end cost it nothing.
      raw.exec('pragma staging.journal_mode = truncate; pragma staging.synchronous = off')
      raw.exec(`pragma staging.cache_size = -${PLACE_CACHE_KIB}; pragma temp_store = file`)
    } catch (error) {
      raw.close()
      throw sqliteFault(error, file)
    }
    const db = new Kysely<T>({ dialect: connectedDialect(of.name, raw) })
    this.database = new OpenDatabase({ dialect: 'sqlite', db, locks: of.locks, name: of.name })
  }

  async append(table: string, columns: readonly BulkColumn[]): Promise<Appender> {
    this.raw.exec('begin')
    return new SqliteAppender(this.raw, this.file, table, columns)
  }

  async settle(): Promise<void> {
    this.raw.exec('pragma synchronous = full')
  }

  async dropPlace(): Promise<void> {
    this.raw.exec('detach staging')
    removeSqliteFiles(this.file)
  }

  async close(): Promise<void> {
    // The log is left as small as it was found.
    this.raw.exec('pragma wal_autocheckpoint = 1000; pragma wal_checkpoint(passive)')
    await this.database.db.destroy()
  }
}

export function removeSqliteFiles(file: string): void {
  for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true })
}

class SqliteAppender implements Appender {
  private readonly raw: DatabaseSync
  private readonly path: string
  private readonly one: StatementSync
  private readonly many: StatementSync
  private readonly waiting: BulkRow[] = []
  private readonly values: SQLInputValue[]
  private readonly repeated: BulkRow[] = []

  constructor(raw: DatabaseSync, path: string, table: string, columns: readonly BulkColumn[]) {
    this.raw = raw
    this.path = path
    const row = `(${columns.map(({ form }) => BOUND[form]).join(', ')})`
    const names = columns.map(({ name }) => `"${name}"`).join(', ')
    const insert = (rows: number) =>
      raw.prepare(`insert into ${table} (${names}) values ${Array(rows).fill(row).join(', ')}`)
    this.values = Array(columns.length * ROWS_A_STATEMENT).fill(null)
    this.one = insert(1)
    this.many = insert(ROWS_A_STATEMENT)
  }

  add(row: BulkRow): undefined {
    this.waiting.push(row)
    if (this.waiting.length === ROWS_A_STATEMENT) this.flush()
  }

  async commit(statements: readonly string[]): Promise<readonly BulkRow[]> {
    this.flush()
    try {
      for (const statement of statements) this.raw.exec(statement)
      this.raw.exec('commit')
    } catch (error) {
      throw sqliteFault(error, this.path)
    }
    return this.repeated
  }

  async rollback(): Promise<void> {
    if (this.raw.isTransaction) this.raw.exec('rollback')
  }

  private flush(): void {
    const rows = this.waiting.splice(0)
    try {
      if (rows.length === ROWS_A_STATEMENT) {
        const { values } = this
        let at = 0
        for (const row of rows) for (let i = 0; i < row.length; i++) values[at++] = row[i]!
        this.many.run(...values)
        return
      }
    } catch (error) {
      if (!isRepeated(error)) throw sqliteFault(error, this.path)
    }
    for (const row of rows) {
      try {
        this.one.run(...(row as SQLInputValue[]))
      } catch (error) {
        if (!isRepeated(error)) throw sqliteFault(error, this.path)
        this.repeated.push(row)
      }
    }
  }
}

const BOUND: Readonly<Record<BulkColumn['form'], string>> = {
  text: '?',
  integer: '?',
  hex: 'unhex(?)',
  uid: `unhex(?, '-')`,
}

/** SQLITE_CONSTRAINT_PRIMARYKEY */
const isRepeated = (error: unknown): boolean => (error as { errcode?: number }).errcode === 1555

class PostgresSession<T> implements Session<T> {
  readonly database: OpenDatabase<T>
  readonly place: string
  private readonly pool: pg.Pool

  private constructor(database: OpenDatabase<T>, pool: pg.Pool, place: string) {
    this.database = database
    this.pool = pool
    this.place = place
  }

  static async open<T>(of: OpenDatabase<T>, schema: string): Promise<PostgresSession<T>> {
    const settings = { work_mem: '64MB', maintenance_work_mem: '128MB', synchronous_commit: 'off', jit: 'off' }
    const { dialect, pool } = of.server!.session(settings)
    const db = new Kysely<T>({ dialect })
    const { server, locks, name } = of
    const database = new OpenDatabase({ dialect: 'postgres', db, locks, name, server })
    const known = await all(db, 'select 1 as known from pg_namespace where nspname = $1', [schema])
    if (known.length === 0) await run(db, `create schema "${schema}"`)
    return new PostgresSession(database, pool, `"${schema}"`)
  }

  async append(table: string, columns: readonly BulkColumn[]): Promise<Appender> {
    const { from } = await import('pg-copy-streams')
    const client = await this.pool.connect()
    try {
      await client.query('begin')
      const names = columns.map(({ name }) => `"${name}"`).join(', ')
      return new PostgresAppender(client, client.query(from(`copy ${table} (${names}) from stdin`)), columns)
    } catch (error) {
      client.release(true)
      throw error
    }
  }

  async settle(): Promise<void> {
    await run(this.database.db, 'set synchronous_commit = on')
  }

  async dropPlace(): Promise<void> {
    await run(this.database.db, `drop schema if exists ${this.place} cascade`)
  }

  async close(): Promise<void> {
    await this.database.db.destroy()
  }
}

const CHUNK = 128 * 1024

/** COPY in its text form. */
class PostgresAppender implements Appender {
  private readonly client: pg.PoolClient
  private readonly stream: CopyStreamQuery
  private readonly forms: readonly BulkColumn['form'][]
  private readonly ended: Promise<unknown>
  private text = ''

  constructor(client: pg.PoolClient, stream: CopyStreamQuery, columns: readonly BulkColumn[]) {
    this.client = client
    this.stream = stream
    this.forms = columns.map(({ form }) => form)
    this.ended = once(stream, 'finish')
    // It is awaited at the end; until then a failure must not end the process.
    this.ended.catch(() => undefined)
  }

  add(row: BulkRow): Promise<void> | undefined {
    const { forms } = this
    let line = ''
    for (let i = 0; i < forms.length; i++) {
      const value = row[i]!
      if (i > 0) line += '\t'
      if (value === null) line += '\\N'
      else if (forms[i] === 'text') line += SPECIAL.test(value) ? value.replace(SPECIALS, escaped) : value
      else if (forms[i] === 'integer') line += value
      else line += `\\\\x${forms[i] === 'uid' ? value.replaceAll('-', '') : value}`
    }
    this.text += line
    this.text += '\n'
    return this.text.length < CHUNK ? undefined : this.flush()
  }

  async commit(statements: readonly string[]): Promise<readonly BulkRow[]> {
    try {
      await this.flush()
      this.stream.end()
      await this.ended
      for (const statement of statements) await this.client.query(statement)
      await this.client.query('commit')
    } catch (error) {
      this.client.release(true)
      throw error
    }
    this.client.release()
    return []
  }

  async rollback(): Promise<void> {
    // COPY cannot be ended in the middle but by ending the connection, which ends the transaction too.
    this.stream.destroy()
    this.client.release(true)
  }

  private async flush(): Promise<void> {
    const bytes = Buffer.from(this.text)
    this.text = ''
    if (bytes.length > 0 && !this.stream.write(bytes)) await Promise.race([once(this.stream, 'drain'), this.ended])
  }
}

const SPECIAL = /[\\\t\n\r]/
const SPECIALS = /[\\\t\n\r]/g
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' }
const escaped = (character: string): string => ESCAPES[character]!
