/** Opens the threat library: `library.db` of the data directory, or a PostgreSQL schema beside the catalog's. */
import { join } from 'node:path'
import { sql } from 'kysely'
import { ColdtrailError } from '../core/errors.ts'
import { type DatabasePlace, openDatabase } from '../platform/database/database.ts'
import type { SqliteFunctions } from '../platform/database/sqliteDialect.ts'
import { openFault } from '../platform/database/sqliteFault.ts'
import { type BlobStore, openBlobs } from './blobs.ts'
import { type SeedOrder, seedDictionaries } from './dictionaries.ts'
import { digestSum } from './digestSum.ts'
import { md5, murmur3x86_128, naturalKeyOfArguments } from './identity.ts'
import { LIBRARY_NORMALIZER, normalizeIndicator } from './observables.ts'
import { type LibraryDatabase, type LibraryTables, prepareSchema } from './schema.ts'

export interface Library {
  readonly database: LibraryDatabase
  readonly dataDir: string
  readonly blobs: BlobStore
  close(): Promise<void>
}

export interface LibraryOptions extends DatabasePlace {
  /** For tests: dictionary rows get other ids. */
  readonly seedOrder?: SeedOrder
}

export const libraryPath = (dataDir: string): string => join(dataDir, 'library.db')

/**
 * Makes the library when there is none yet. E_LIBRARY_OPEN, E_CATALOG_READ_ONLY, E_LIBRARY_VERSION (also for values that
 * another normaliser made).
 */
export async function openLibrary({ seedOrder, ...place }: LibraryOptions): Promise<Library> {
  const { dataDir, schema = 'coldtrail' } = place
  const path = libraryPath(dataDir)
  const database: LibraryDatabase = await openDatabase<LibraryTables>(
    { ...place, schema: `${schema}_library` },
    path,
    SQLITE_FUNCTIONS,
  )
  try {
    if (database.dialect === 'postgres') await requireUtf8(database)
    await prepareSchema(database, async (tx) => {
      await tx.insertInto('facts').values({ name: 'normalizer', value: LIBRARY_NORMALIZER }).execute()
      await seedDictionaries(tx, seedOrder)
    })
    const normalizer = await database.db
      .selectFrom('facts')
      .select('value')
      .where('name', '=', 'normalizer')
      .executeTakeFirst()
    if (normalizer?.value !== LIBRARY_NORMALIZER)
      throw new ColdtrailError('E_LIBRARY_VERSION', {
        path: database.name,
        found: `normal forms ${normalizer?.value ?? 'none'}`,
        known: LIBRARY_NORMALIZER,
      })
  } catch (error) {
    await database.close().catch(() => undefined)
    if (error instanceof ColdtrailError) throw error
    throw openFault(database.name, error)
  }
  return { database, dataDir, blobs: openBlobs(dataDir), close: () => database.close() }
}

// --- internal ---

/**
 * `nk(table/kinds, part…)` in hex (identity.ts), `digest_sum` of the same arguments (digestSum.ts), `md5(text)` in hex as
 * PostgreSQL has it, `murmur3(text)` in hex, `normalise(type, value)`; NULL for NULL.
 */
const SQLITE_FUNCTIONS: SqliteFunctions = {
  aggregate: { digest_sum: digestSum },
  scalar: {
    nk: (head, ...parts) => naturalKeyOfArguments(head as string, parts as (string | null)[]),
    md5: (text) => (text === null ? null : md5(text as string)),
    murmur3: (text) => (text === null ? null : murmur3x86_128(text as string)),
    normalise: (type, value) =>
      type === null || value === null ? null : normalizeIndicator(type as string, value as string),
  },
}

/** Another encoding cannot hold every value, and its texts have other bytes and another natural key. */
async function requireUtf8({ db, name }: LibraryDatabase): Promise<void> {
  const { rows } = await sql<{ encoding: string }>`select current_setting('server_encoding') as encoding`.execute(db)
  const encoding = rows[0]?.encoding
  if (encoding !== 'UTF8')
    throw new ColdtrailError('E_LIBRARY_OPEN', {
      path: name,
      cause: `the database has the encoding ${encoding}, not UTF8`,
    })
}
