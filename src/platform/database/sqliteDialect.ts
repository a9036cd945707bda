/**
 * Kysely over node:sqlite: one connection, one user at a time. A transaction is BEGIN IMMEDIATE, or a plain BEGIN when
 * it is read only (readers of a WAL database never wait). Waiting for another process' transaction does not block the
 * event loop: a busy database is asked again until BUSY_MS have passed.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type TransactionSettings,
} from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { isBusy } from '../fileLock.ts'
import { exactNumber } from './exactNumber.ts'
import { hasLog, type OpenFile, openReadOnly, stampOf } from './readOnlySqlite.ts'
import { openFault, sqliteFault } from './sqliteFault.ts'

const BUSY_MS = 60_000
const STATEMENTS_KEPT = 64

const OPTIONS = { enableForeignKeyConstraints: false, readBigInts: true } as const

/** What SQL may call by name, with as many arguments as given: texts, blobs, integers and NULL. */
export interface SqliteFunctions {
  /** Pure ones: of a row. */
  readonly scalar?: Readonly<Record<string, (...values: SQLInputValue[]) => SQLInputValue>>
  /** Of a group: `step` changes the state that `start` makes. */
  readonly aggregate?: Readonly<Record<string, SqliteAggregate>>
}

export interface SqliteAggregate {
  // biome-ignore lint/suspicious/noExplicitAny: each aggregate has a state of its own
  start(): any
  // biome-ignore lint/suspicious/noExplicitAny: as above
  step(state: any, ...values: SQLInputValue[]): void
  // biome-ignore lint/suspicious/noExplicitAny: as above
  result(state: any): SQLInputValue
}

/** Opens a database file in WAL mode with `synchronous=FULL`; E_CATALOG_OPEN or E_LIBRARY_OPEN when it is no SQLite database. */
export function sqliteDialect(path: string, functions: SqliteFunctions = {}): Dialect {
  return dialectOf(path, () => {
    const database = new DatabaseSync(path, { timeout: 5000, ...OPTIONS })
    database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 20')
    return { database: withFunctions(database, functions) }
  })
}

/** A connection that its user also reaches directly: session.ts. */
export const connectedDialect = (path: string, database: DatabaseSync): Dialect => dialectOf(path, () => ({ database }))

/** For somebody who may not write the file: readOnlySqlite.ts. E_CATALOG_READ_ONLY when it cannot be read so. */
export const readOnlySqliteDialect = (path: string, functions: SqliteFunctions = {}): Dialect =>
  dialectOf(path, () => {
    const file = openReadOnly(path, OPTIONS)
    withFunctions(file.database, functions)
    return file
  })

// --- internal ---

export function withFunctions(database: DatabaseSync, functions: SqliteFunctions): DatabaseSync {
  for (const [name, call] of Object.entries(functions.scalar ?? {}))
    database.function(name, { deterministic: true, varargs: true }, call)
  for (const [name, { start, step, result }] of Object.entries(functions.aggregate ?? {})) {
    const changed = (state: unknown, ...values: SQLInputValue[]) => {
      step(state, ...values)
      return state
    }
    // biome-ignore lint/suspicious/noExplicitAny: its types want a state that is an SQL value, which it need not be
    database.aggregate(name, { varargs: true, start, step: changed as any, result })
  }
  return database
}

function dialectOf(path: string, open: () => OpenFile): Dialect {
  const openFile = (): OpenFile => {
    try {
      return open()
    } catch (error) {
      const fault = sqliteFault(error, path)
      if (fault instanceof ColdtrailError) throw fault
      throw openFault(path, error)
    }
  }
  const file = openFile()
  return {
    createDriver: () => new SqliteDriver(path, file, openFile),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (db) => new SqliteIntrospector(db),
  }
}

function withNumbers(row: Record<string, unknown>): Record<string, unknown> {
  for (const name in row) {
    const value = row[name]
    if (typeof value === 'bigint') row[name] = exactNumber(value)
  }
  return row
}

class SqliteDriver implements Driver {
  private readonly path: string
  private readonly reopen: () => OpenFile
  private file: OpenFile
  private connection: SqliteConnection
  /** Resolves when the connection is free; every taker replaces it. */
  private turn: Promise<void> = Promise.resolve()
  private endTurn: () => void = () => {}

  constructor(path: string, file: OpenFile, reopen: () => OpenFile) {
    this.path = path
    this.file = file
    this.reopen = reopen
    this.connection = new SqliteConnection(path, file)
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.turn
    const { promise, resolve } = Promise.withResolvers<void>()
    this.turn = promise
    await before
    this.endTurn = resolve
    try {
      if (this.isStale()) this.renew()
    } catch (error) {
      resolve()
      throw error
    }
    return this.connection
  }

  async releaseConnection(): Promise<void> {
    this.endTurn()
  }

  async beginTransaction(_: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    await this.connection.run(settings.accessMode === 'read only' ? 'begin' : 'begin immediate', [])
  }

  async commitTransaction(): Promise<void> {
    await this.connection.run('commit', [])
  }

  async rollbackTransaction(): Promise<void> {
    // After some errors (a full disk) SQLite has already rolled back by itself.
    if (this.file.database.isTransaction) await this.connection.run('rollback', [])
  }

  async destroy(): Promise<void> {
    if (this.file.database.isOpen) this.file.database.close()
  }

  private renew(): void {
    const file = this.reopen()
    this.file.database.close()
    this.file = file
    this.connection = new SqliteConnection(this.path, file)
  }

  /** A file that is read without locks has newer commits, in itself or beside it. */
  private isStale(): boolean {
    const { stamp } = this.file
    return stamp !== undefined && (hasLog(this.path) || stampOf(this.path) !== stamp)
  }
}

class SqliteConnection implements DatabaseConnection {
  private readonly path: string
  private readonly file: OpenFile
  private readonly statements = new Map<string, StatementSync>()

  constructor(path: string, file: OpenFile) {
    this.path = path
    this.file = file
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return (await this.run(query.sql, query.parameters)) as QueryResult<R>
  }

  // biome-ignore lint/correctness/useYield: Kysely asks for it; nothing here streams
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('the SQLite catalog does not stream')
  }

  async run(text: string, parameters: readonly unknown[]): Promise<QueryResult<unknown>> {
    const deadline = Date.now() + BUSY_MS
    for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
      try {
        const statement = this.prepare(text)
        const values = parameters as readonly SQLInputValue[]
        if (statement.columns().length === 0)
          return { rows: [], numAffectedRows: BigInt(statement.run(...values).changes) }
        const rows = statement.all(...values).map(withNumbers)
        this.requireUnchanged()
        return { rows }
      } catch (error) {
        // Half of a page may be another's: whatever is said of it then is no damage.
        this.requireUnchanged(error)
        if (!isBusy(error)) throw sqliteFault(error, this.path)
        if (Date.now() > deadline)
          throw new ColdtrailError('E_CATALOG_BUSY', { cause: 'another process holds its lock' }, { cause: error })
        await sleep(pause)
      }
    }
  }

  private requireUnchanged(cause?: unknown): void {
    const { stamp } = this.file
    if (stamp !== undefined && stampOf(this.path) !== stamp)
      throw new ColdtrailError('E_CATALOG_BUSY', { cause: 'a collector wrote it while it was read' }, { cause })
  }

  private prepare(text: string): StatementSync {
    let statement = this.statements.get(text)
    if (statement) return statement
    statement = this.file.database.prepare(text)
    if (this.statements.size >= STATEMENTS_KEPT) this.statements.delete(this.statements.keys().next().value!)
    this.statements.set(text, statement)
    return statement
  }
}
