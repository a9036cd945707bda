/**
 * Tables of the library database: those of the model, and the local ones that say what happened to them. Made when the
 * database is first opened.
 */
import { type Kysely, sql, type Transaction } from 'kysely'
import { ColdtrailError } from '../core/errors.ts'
import type { DialectName, OpenDatabase } from '../platform/database/database.ts'
import { type ColumnType, columnsOf, TABLES, type Table } from './model.ts'

export const LIBRARY_VERSION = 1

/**
 * Statements are made from the registry as text, since they are the same for 148 tables; Kysely knows the few local
 * tables only as names.
 */
// biome-ignore lint/suspicious/noExplicitAny: rows of generated statements
export type LibraryTables = Record<string, any>
export type LibraryDatabase = OpenDatabase<LibraryTables>
export type LibraryTx = Transaction<LibraryTables>

/** Makes what is missing and calls `seed` in the same transaction. E_LIBRARY_VERSION when a newer program made it. */
export async function prepareSchema(database: LibraryDatabase, seed: (tx: LibraryTx) => Promise<void>): Promise<void> {
  const { dialect, name } = database
  if ((await versionOf(database.db, dialect, name)) === LIBRARY_VERSION) return
  await database.write(async (tx) => {
    if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(hashtext('coldtrail library'))`.execute(tx)
    const found = await versionOf(tx, dialect, name)
    if (found === LIBRARY_VERSION) return
    for (const statement of libraryStatements(dialect)) await sql.raw(statement).execute(tx)
    await tx
      .insertInto('facts')
      .values({ name: 'schema_version', value: String(LIBRARY_VERSION) })
      .execute()
    await seed(tx)
  })
}

export const libraryStatements = (dialect: DialectName): string[] => [
  ...LOCAL.map((statement) =>
    statement
      .replaceAll('INTEGER', dialect === 'sqlite' ? 'integer' : 'bigint')
      .replaceAll('BYTES', dialect === 'sqlite' ? 'blob' : 'bytea'),
  ),
  ...TABLES.flatMap((table) => [`create table ${table.name} (${columnList(table, dialect)})`, ...indexesOf(table)]),
]

/** Secondary indexes of a table: uid and natural key, what changed since, and rows of a parent. */
export function indexesOf(table: Table): string[] {
  const { name } = table
  return [
    `create unique index ${name}_uid on ${name} (uid)`,
    `create unique index ${name}_nk on ${name} (nk)`,
    `create index ${name}_change on ${name} ("change")`,
    ...table.columns
      .filter((column) => column.name === table.parent || column.type === 'anyReference')
      .map((column) => `create index ${name}_${column.name} on ${name} (${column.name})`),
  ]
}

/** Type of a column in the base tables. Digests and uids are bytes, though they travel as text. */
export function sqlType(type: ColumnType, dialect: DialectName): string {
  const sqlite = dialect === 'sqlite'
  switch (type) {
    case 'text':
    case 'flag':
    case 'json':
      return 'text'
    case 'hex':
      return sqlite ? 'blob' : 'bytea'
    default:
      return sqlite ? 'integer' : 'bigint'
  }
}

// --- internal ---

const columnList = (table: Table, dialect: DialectName): string =>
  columnsOf(table)
    .map(({ name, type, required }) => {
      const key = name === 'id' ? ' primary key' : required ? ' not null' : ''
      return `"${name}" ${sqlType(type, dialect)}${key}`
    })
    .join(', ')

async function versionOf(db: Kysely<LibraryTables>, dialect: DialectName, name: string): Promise<number> {
  const look =
    dialect === 'sqlite'
      ? sql`select 1 from sqlite_master where type = 'table' and name = 'facts'`
      : sql`select 1 where to_regclass('facts') is not null`
  if ((await look.execute(db)).rows.length === 0) return 0
  const row = await db.selectFrom('facts').select('value').where('name', '=', 'schema_version').executeTakeFirst()
  const version = Number(row?.value)
  if (version !== LIBRARY_VERSION)
    throw new ColdtrailError('E_LIBRARY_VERSION', {
      path: name,
      found: `schema version ${row?.value ?? 'none'}`,
      known: LIBRARY_VERSION,
    })
  return version
}

const LOCAL = [
  `create table facts (name text primary key, value text not null)`,
  /** Next id of each table, of changes, and the change sequence `seq`. */
  `create table counters (name text primary key, next INTEGER not null)`,
  `create table changes (id INTEGER primary key, seq INTEGER unique, kind text not null, at INTEGER not null,
     run text, site text, source text, note text)`,
  `create table journal (id INTEGER primary key, "change" INTEGER not null, table_name text not null,
     row_id INTEGER not null, field text not null, old_value text)`,
  `create index journal_row on journal (table_name, row_id)`,
  `create index journal_change on journal ("change")`,
  `create table uid_aliases (table_name text not null, remote BYTES not null, local BYTES not null, site text not null,
     primary key (table_name, remote))`,
  `create table merge_checkpoints ("change" INTEGER not null, table_name text not null, next INTEGER not null,
     primary key ("change", table_name))`,
  `create table quarantine (id INTEGER primary key, at INTEGER not null, origin text not null, run text,
     table_name text not null, place text, code text not null, reason text not null, payload text not null,
     settled_at INTEGER, settlement text)`,
  `create index quarantine_open on quarantine (at) where settled_at is null`,
  `create table blobs (sha256 BYTES primary key, size INTEGER not null, added_at INTEGER not null)`,
  /** Who brought a row: what a mirror may take away again. */
  `create table brought (table_name text not null, row_id INTEGER not null, origin text not null,
     "change" INTEGER not null, primary key (table_name, row_id, origin))`,
  `create table synchronizations (id INTEGER primary key, run text not null unique, type text not null,
     state text not null, started_at INTEGER not null, finished_at INTEGER, config_json text not null,
     report_json text, pid INTEGER not null, hash text not null, sha256 text not null, "change" INTEGER, owner text,
     created_at INTEGER not null, updated_at INTEGER not null)`,
  /** Keys of sites, one's own included; `origin`: own, pinned, given, rotated. */
  `create table sync_keys (site text not null, key_id text not null, public_key text not null, valid_from INTEGER,
     valid_until INTEGER, origin text not null, introduced_by text, added_at INTEGER not null, revoked_at INTEGER,
     primary key (site, key_id))`,
  /** Source side: what was exported, and what was acknowledged. A stream is (audience, config_hash). */
  `create table sync_exports (audience text not null, config_hash text not null, seq INTEGER not null,
     manifest_sha256 text not null unique, name text not null, kind text not null, base_seq INTEGER not null,
     horizon INTEGER not null, run text not null, created_at INTEGER not null,
     primary key (audience, config_hash, seq))`,
  `create table sync_acks (site text not null, manifest_sha256 text not null, seq INTEGER not null,
     ack text not null, received_at INTEGER not null, primary key (site, manifest_sha256))`,
  /** Target side: how far each stream of each site is applied, and every bundle seen. */
  `create table sync_streams (site text not null, audience text not null, config_hash text not null,
     applied_seq INTEGER not null, manifest_sha256 text not null, applied_at INTEGER not null,
     primary key (site, audience, config_hash))`,
  `create table sync_bundles (manifest_sha256 text primary key, site text not null, audience text not null,
     config_hash text not null, seq INTEGER not null, name text not null, kind text not null,
     base_seq INTEGER not null, run text not null, imported_at INTEGER not null, undone_at INTEGER)`,
  /** Dump files whose rows are in the base tables as that file has them: such a file need not be read again. */
  `create table sync_shards (site text not null, audience text not null, config_hash text not null,
     table_name text not null, sha256 text not null, "change" INTEGER not null,
     primary key (site, audience, config_hash, table_name, sha256))`,
]
