/**
 * The one way to a relational database: SQLite in a file of the data directory, or a schema of PostgreSQL by URL. Catalog
 * and library are such databases; each has tables of its own.
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Kysely, type Transaction } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { isWritable } from '../fileSystem.ts'
import { makeDirectory } from '../files.ts'
import { fileLocks, type Locks, postgresLocks, readOnlyLocks } from './locks.ts'
import type { PostgresServer } from './postgres.ts'
import { readOnlySqliteDialect, type SqliteFunctions, sqliteDialect } from './sqliteDialect.ts'

export type DialectName = 'sqlite' | 'postgres'

export interface DatabasePlace {
  /** `postgres://…`; without it SQLite. */
  readonly url?: string
  /** Schema of PostgreSQL, default `coldtrail`. */
  readonly schema?: string
  readonly dataDir: string
}

/** Who may not is a reader: of an existing database he can ask everything. `path` is that of SQLite. */
export function mayWrite({ url, dataDir }: DatabasePlace, path: string): boolean {
  const needed = url === undefined ? [dataDir, join(dataDir, 'locks'), path] : [dataDir]
  return needed.every((needed) => !existsSync(needed) || isWritable(needed))
}

/** Opens the database without a look at its tables; `path` and `functions` are those of SQLite. */
export async function openDatabase<T>(
  place: DatabasePlace,
  path: string,
  functions?: SqliteFunctions,
): Promise<OpenDatabase<T>> {
  const { url, dataDir, schema = 'coldtrail' } = place
  if (mayWrite(place, path)) {
    makeDirectory(dataDir)
    makeDirectory(dirname(path))
  } else if (url === undefined) {
    if (!existsSync(path))
      throw new ColdtrailError('E_CATALOG_READ_ONLY', { path: dataDir, cause: 'no catalog can be made there' })
    const db = new Kysely<T>({ dialect: readOnlySqliteDialect(path, functions) })
    return new OpenDatabase({ dialect: 'sqlite', db, locks: readOnlyLocks(join(dataDir, 'locks')), name: path })
  }
  if (url === undefined) {
    const db = new Kysely<T>({ dialect: sqliteDialect(path, functions) })
    return new OpenDatabase({ dialect: 'sqlite', db, locks: fileLocks(join(dataDir, 'locks')), name: path, functions })
  }
  if (!/^postgres(ql)?:\/\//.test(url) || !/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new ColdtrailError('E_USAGE', {
      message: 'the catalog is a postgres:// URL (and a schema name of a-z, 0-9 and _), or the default SQLite file',
    })
  // Loaded only here: with SQLite nobody waits for it.
  const { connectPostgres } = await import('./postgres.ts')
  const server = await connectPostgres(url, schema)
  const db = new Kysely<T>({ dialect: server.dialect })
  const name = `PostgreSQL schema ${schema}`
  return new OpenDatabase({ dialect: 'postgres', db, locks: postgresLocks(server, schema), name, server })
}

export class OpenDatabase<T> {
  readonly dialect: DialectName
  readonly db: Kysely<T>
  readonly locks: Locks
  /** For messages; never the URL, which may hold a password. */
  readonly name: string
  readonly server: PostgresServer | undefined
  /** What SQL of SQLite may call, so that another connection can have it too (session.ts). */
  readonly functions: SqliteFunctions | undefined

  constructor(parts: {
    readonly dialect: DialectName
    readonly db: Kysely<T>
    readonly locks: Locks
    readonly name: string
    readonly server?: PostgresServer
    readonly functions?: SqliteFunctions
  }) {
    this.dialect = parts.dialect
    this.db = parts.db
    this.locks = parts.locks
    this.name = parts.name
    this.server = parts.server
    this.functions = parts.functions
  }

  /** One write transaction. A deadlock or serialisation failure of PostgreSQL undid it whole, so it is run again. */
  async write<R>(action: (tx: Transaction<T>) => Promise<R>): Promise<R> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.db.transaction().execute(action)
      } catch (error) {
        const code = (error as { code?: string }).code
        if ((code !== DEADLOCK && code !== SERIALIZATION_FAILURE) || attempt === 5) throw this.named(error)
      }
    }
  }

  /** Reads that belong together, on one snapshot. */
  async read<R>(action: (tx: Transaction<T>) => Promise<R>): Promise<R> {
    const transaction = this.db.transaction().setAccessMode('read only')
    const snapshot = this.dialect === 'postgres' ? transaction.setIsolationLevel('repeatable read') : transaction
    try {
      return await snapshot.execute(action)
    } catch (error) {
      throw this.named(error)
    }
  }

  async close(): Promise<void> {
    await this.locks.close()
    await this.db.destroy()
  }

  /** A lost connection has a code of its own; SQLite's faults have theirs already. */
  private named(error: unknown): unknown {
    if (!(error instanceof Error) || error instanceof ColdtrailError) return error
    const { code } = error as { code?: string }
    if (this.dialect === 'postgres' && (code === undefined ? LOST_MESSAGE.test(error.message) : LOST_CODE.test(code)))
      return new ColdtrailError('E_CATALOG_CONNECTION', { cause: error.message }, { cause: error })
    return error
  }
}

// --- internal ---

const DEADLOCK = '40P01'
const SERIALIZATION_FAILURE = '40001'
/** SQLSTATE 08: connection exception, 57P: the server is stopping; and what a broken socket says. */
const LOST_CODE = /^(08|57P|ECONN|EPIPE|ETIMEDOUT|EHOST|ENET|ENOTFOUND|EAI_)/
const LOST_MESSAGE = /connection|connect|terminated/i
