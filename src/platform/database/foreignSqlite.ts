/**
 * A SQLite file of somebody else, read and never written: without locks, so it must be one that nobody changes. What such
 * a file can bring against its reader is refused: views, virtual tables and computed columns are not seen, its
 * functions are not trusted, cells are checked, and large values stay in the file unless they are asked for.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'

/** First bytes of every SQLite file. */
export const SQLITE_MAGIC = 'SQLite format 3\0'

/** A value as SQLite has it; integers beyond 2^53 only where `bigints` was asked for. */
export type Cell = string | number | bigint | Uint8Array | null

/** What SQLite found wrong with the file; the message is its own. */
export class ForeignSqliteFault extends Error {}

export class ForeignSqlite {
  private readonly database: DatabaseSync
  /** Plain tables with the names of their columns; of every other thing in the file nothing is known. */
  readonly tables: ReadonlyMap<string, readonly string[]>

  /** Throws ForeignSqliteFault. */
  constructor(path: string) {
    const url = pathToFileURL(path)
    url.search = '?mode=ro&immutable=1'
    this.database = new DatabaseSync(url, { readOnly: true, open: true })
    try {
      this.tables = guarded(() => {
        this.database.exec('pragma trusted_schema = off; pragma cell_size_check = on; pragma query_only = on')
        return tablesOf(this.database)
      })
    } catch (error) {
      this.database.close()
      throw error
    }
  }

  has(table: string, column: string): boolean {
    return this.tables.get(table)?.includes(column) ?? false
  }

  /** Rows as arrays, one at a time. Names must come from `tables`. Throws ForeignSqliteFault. */
  *rows(sql: string, parameters: readonly SQLInputValue[] = [], bigints = false): Generator<Cell[]> {
    const rows = guarded(() => this.prepare(sql, bigints).iterate(...parameters)) as Iterator<unknown>
    const next = (): IteratorResult<unknown> => rows.next()
    for (;;) {
      const row = guarded(next)
      if (row.done) return
      yield row.value as Cell[]
    }
  }

  /** A question that is asked again and again; undefined when there is no such row. Throws ForeignSqliteFault. */
  lookUp(sql: string): (...parameters: readonly SQLInputValue[]) => Cell[] | undefined {
    const statement = guarded(() => this.prepare(sql, false))
    return (...parameters) => guarded(() => statement.get(...parameters) as unknown as Cell[] | undefined)
  }

  close(): void {
    this.database.close()
  }

  private prepare(sql: string, bigints: boolean): StatementSync {
    const statement = this.database.prepare(sql)
    statement.setReturnArrays(true)
    if (bigints) statement.setReadBigInts(true)
    return statement
  }
}

/**
 * A copy of somebody's SQLite file, to be written before anybody else sees it: no journal, no locks of others, no fsync; who
 * made the copy makes it durable. One transaction from opening to `commit`. Throws ForeignSqliteFault.
 */
export class ForeignSqliteCopy {
  private readonly database: DatabaseSync

  /** Refuses a file in which writing would set other things going: triggers. */
  constructor(path: string) {
    this.database = new DatabaseSync(path)
    try {
      guarded(() => {
        this.database.exec(
          'pragma trusted_schema = off; pragma cell_size_check = on; pragma locking_mode = exclusive; pragma journal_mode = memory; pragma synchronous = off',
        )
        const trigger = this.database.prepare("select name from sqlite_schema where type = 'trigger' limit 1").get()
        if (trigger) throw new ForeignSqliteFault('it has triggers, which no timeline has')
        this.database.exec('begin immediate')
      })
    } catch (error) {
      this.database.close()
      throw error
    }
  }

  exec(sql: string): void {
    guarded(() => this.database.exec(sql))
  }

  /** Rows as arrays, all of them. */
  rows(sql: string, ...parameters: SQLInputValue[]): Cell[][] {
    return guarded(() => this.statement(sql).all(...parameters) as unknown as Cell[][])
  }

  /** A statement that is run again and again. */
  prepare(sql: string): { get(...values: SQLInputValue[]): Cell[] | undefined; run(...values: SQLInputValue[]): void } {
    const statement = guarded(() => this.statement(sql))
    return {
      get: (...values) => guarded(() => statement.get(...values) as unknown as Cell[] | undefined),
      run: (...values) => void guarded(() => statement.run(...values)),
    }
  }

  /** Everything is in the one file then. */
  commit(): void {
    guarded(() => this.database.exec('commit'))
    this.close()
  }

  close(): void {
    if (this.database.isOpen) this.database.close()
  }

  private statement(sql: string): StatementSync {
    const statement = this.database.prepare(sql)
    statement.setReturnArrays(true)
    return statement
  }
}

/** A name of `tables` in SQL. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

// --- internal ---

/** More of them no timeline has. */
const MAX_TABLES = 1000
const MAX_COLUMNS = 500

function tablesOf(database: DatabaseSync): Map<string, readonly string[]> {
  const tables = new Map<string, readonly string[]>()
  const named = database.prepare(
    `select name from sqlite_schema where type = 'table' and rootpage > 0 and octet_length(name) <= 200 and name not like 'sqlite\\_%' escape '\\' order by name limit ${MAX_TABLES}`,
  )
  const columns = database.prepare(
    `select name from pragma_table_xinfo(?) where hidden = 0 and octet_length(name) <= 200 order by cid limit ${MAX_COLUMNS}`,
  )
  for (const { name } of named.all())
    tables.set(
      name as string,
      columns.all(name as string).map((row) => row.name as string),
    )
  return tables
}

function guarded<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_SQLITE_ERROR' || code === 'ERR_OUT_OF_RANGE')
      throw new ForeignSqliteFault(message, { cause: error })
    throw error
  }
}
