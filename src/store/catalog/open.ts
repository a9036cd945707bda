/** Opens the database, the locks and the keys that a catalog works with. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Kysely } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { isWritable } from '../../platform/fileSystem.ts'
import { makeDirectory } from '../../platform/files.ts'
import type { CatalogOptions } from '../catalog.ts'
import { linkNumbers } from '../chain.ts'
import { historyCollections } from '../history.ts'
import { loadSigningKey } from '../signingKeys.ts'
import { CatalogContext } from './context.ts'
import { fileLocks, type Locks, postgresLocks, readOnlyLocks } from './locks.ts'
import type { PostgresServer } from './postgres.ts'
import { type Database, prepareSchema, type Tables } from './schema.ts'
import { readOnlySqliteDialect, sqliteDialect } from './sqliteDialect.ts'

export interface Opened {
  readonly dialect: 'sqlite' | 'postgres'
  readonly db: Database
  readonly locks: Locks
  /** For messages; never the URL, which may hold a password. */
  readonly name: string
  readonly server?: PostgresServer
}

export const catalogPath = (dataDir: string): string => join(dataDir, 'catalog.db')

export const defaultHistoryDir = (dataDir: string): string => join(dataDir, 'history')

export async function openContext(options: CatalogOptions): Promise<CatalogContext> {
  const { dataDir, historyDir = defaultHistoryDir(dataDir) } = options
  const key = options.signingKey ?? (mayWrite(options) ? loadSigningKey(dataDir) : undefined)
  const { dialect, db, locks, name } = await openDatabase(options, catalogPath(dataDir))
  try {
    await prepareSchema(db, dialect, () => {
      const lost = historyCollections(historyDir).find(
        (name) => linkNumbers(join(historyDir, name, 'chain')).length > 0,
      )
      if (lost !== undefined) throw new ColdtrailError('E_CATALOG_LOST', { path: join(historyDir, lost) })
    })
  } catch (error) {
    await Promise.allSettled([db.destroy(), locks.close()])
    if (error instanceof ColdtrailError) throw error
    const cause = error instanceof Error ? error.message : String(error)
    throw new ColdtrailError('E_CATALOG_OPEN', { path: name, cause }, { cause: error })
  }
  return new CatalogContext({ dialect, db, locks, dataDir, historyDir, key })
}

/** The database without a look at its tables; `path` is that of SQLite. */
export async function openDatabase(options: CatalogOptions, path: string): Promise<Opened> {
  const { url, dataDir, schema = 'coldtrail' } = options
  if (mayWrite(options)) makeDirectory(dataDir)
  else if (url === undefined) {
    if (!existsSync(path))
      throw new ColdtrailError('E_CATALOG_READ_ONLY', { path: dataDir, cause: 'no catalog can be made there' })
    const db = new Kysely<Tables>({ dialect: readOnlySqliteDialect(path) })
    return { dialect: 'sqlite', db, locks: readOnlyLocks(join(dataDir, 'locks')), name: path }
  }
  if (url === undefined) {
    const db = new Kysely<Tables>({ dialect: sqliteDialect(path) })
    return { dialect: 'sqlite', db, locks: fileLocks(join(dataDir, 'locks')), name: path }
  }
  if (!/^postgres(ql)?:\/\//.test(url) || !/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new ColdtrailError('E_USAGE', {
      message: 'the catalog is a postgres:// URL (and a schema name of a-z, 0-9 and _), or the default SQLite file',
    })
  // Loaded only here: with SQLite nobody waits for it.
  const { connectPostgres } = await import('./postgres.ts')
  const server = await connectPostgres(url, schema)
  const db = new Kysely<Tables>({ dialect: server.dialect })
  return { dialect: 'postgres', db, locks: postgresLocks(server, schema), name: `PostgreSQL schema ${schema}`, server }
}

// --- internal ---

/** Who may not is a reader: of an existing catalog he can ask everything. */
function mayWrite({ url, dataDir }: CatalogOptions): boolean {
  const needed = url === undefined ? [dataDir, join(dataDir, 'locks'), catalogPath(dataDir)] : [dataDir]
  return needed.every((path) => !existsSync(path) || isWritable(path))
}
