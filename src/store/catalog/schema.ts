/**
 * Tables of the catalog, one text for both dialects. Times are microseconds UTC unless the name says otherwise; hashes
 * are bytes (objectId.ts) or lower-case hex.
 */
import { type Generated, type Kysely, sql, type Transaction } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import type { RunState } from '../runs.ts'

export const CATALOG_VERSION = 5

export interface Tables {
  facts: { name: string; value: string }
  /** Who may claim and draw. `epoch` rises when somebody takes over after its death. */
  owners: { id: string; kind: string; epoch: number; host: string; pid: number; started: number }
  /** Next free number of `segment`, `event`, `session`, `feed`, `run`; and `retirement`, the count of retirements ever committed. */
  counters: { name: string; next: number }
  ranges: { what: string; first: number; count: number; owner: string }
  collections: { name: string; head: number; head_hash: string }
  /**
   * `segment`: what it made; 0 for a link about a run. `session1`: first session of what a seal made, null in other links, since sessions keep
   * the sequence of their seal.
   */
  links: {
    uuid: string
    collection: string
    number: number
    hash: string
    segment: number
    session1: number | null
    bytes: Buffer
  }
  segments: {
    segment: number
    collection: string
    format: string
    day: string
    state: 'live' | 'retired'
    directory: string
    id1: number | null
    id2: number | null
    session1: number
    session2: number
    time1: number | null
    time2: number | null
    row_count: number
    rejects: number
    raw_bytes: number
    /** JSON list of segment numbers. */
    packs: string
    sequence: number
    owner: string
    /** 1 once manifests and keyset are in the history. */
    in_history: number
    retired_at: number | null
    /** Value of the counter `retirement` that retired it: readers registered before it may still read its files. */
    retirement: number | null
  }
  /** `directory`: where it lies, null in that of its segment; `deleted`: 1 when a `delete` link says that it is no more. */
  files: {
    segment: number
    kind: string
    name: string
    size: number
    sha256: string
    manifest: string
    tier: Generated<string>
    directory: Generated<string | null>
    label: Generated<string | null>
    deleted: Generated<number>
  }
  /** Copies that a move left behind and the sweep removes: absolute paths in the storage that the directory names. */
  left_files: { directory: string; name: string; retired_at: number; retirement: number }
  /** Times in POSIX seconds, both included; null: open. */
  holds: {
    collection: string
    name: string
    reason: string
    time1: number | null
    time2: number | null
    since: number
    sequence: number
  }
  /** Collections of copies; `retired_at` and `retirement` of a removed one until its files are unlinked. */
  workbenches: {
    directory: string
    name: string
    home: string
    reason: string
    created: number
    /** Microseconds. */
    expires: number
    /** 1 while it may not expire. */
    held: number
    state: 'live' | 'removed'
    retired_at: number | null
    retirement: number | null
  }
  /** Files that a workbench has copies of, by the home segment whose number they bear. `sequence`: of the `restore` link. */
  workbench_files: { directory: string; segment: number; kind: string; name: string; size: number; sequence: number }
  /** What standing hunts have looked at: commits of a collection, and the library's changes. */
  hunts: { collection: string; sequence: number; library_sequence: number }
  /** Objects of days that are not closed yet, one row each. */
  ledger: {
    object: Buffer
    key_hash: Buffer
    shard: string
    state: 'claimed' | 'pending' | 'quarantined' | 'known' | 'skipped'
    owner: string | null
    attempts: number
    since: number
    /** Where its session is; null for what has none. */
    segment: number | null
    code: string | null
    reason: string | null
    /** Into which it was to be collected when it failed; null: not known. */
    collection: string | null
    source: string | null
    bucket: string | null
    object_key: string | null
    version: string | null
  }
  /** Objects of closed days: sorted 16-byte ids, one blob a shard. */
  ledger_closed: { shard: string; revision: number; objects: Buffer }
  /** Sessions of keys that were collected in more than one version, and only of those. */
  versions: {
    session: number
    key_hash: Buffer
    segment: number
    last_modified: number
    sequence: number
    superseded: number
  }
  /** Who forwards to a destination; null: nobody. */
  destinations: { name: string; owner: string | null; receipts: number }
  feeds: {
    id: number
    destination: string
    feed: string
    collection: string
    expression: string
    start_time: number | null
    sequence: number
    event: number
    /** Number of the last batch begun. */
    batch: number
    accepted: number
    rejected: number
    retried: number
    requests: number
    wire_bytes: number
    decoded_bytes: number
    batches: number
    superseded: number
    offline: number
    last_settled: number | null
  }
  /** Batches begun and not settled. */
  outbox: {
    feed: number
    number: number
    from_sequence: number
    from_event: number
    to_sequence: number
    to_event: number
    records: number | null
    begun: number
  }
  /** Lines for the receipts file of a destination; `in_file`: 1 once there. The latest are kept. */
  receipts: { destination: string; receipt: number; line: string; in_file: number }
  dead_letters: { feed: number; event: number; uid: string; reason: string }
  /** Runs of analyses. `removed`: its link is committed, its tag files wait for their removal. */
  runs: {
    run: number
    collection: string
    state: RunState | 'removed'
    owner: string
    /** JSON of RunRequest. */
    request: string
    /** Head of the collection when it began: which segments were replaced since is in the links behind it. */
    head: number
    started: number
    ended: number | null
    reason: string | null
    /** Of its `tag` link. */
    sequence: number | null
    tags: number
    findings: number
    /** JSON object of numbers. */
    counters: string
    /** SHA-256 of its report in the history. */
    report: string | null
    in_history: number
  }
  run_tasks: {
    run: number
    segment: number
    first_row: number
    row_count: number
    state: 'done' | 'skipped'
    attempts: number
    result: string
  }
  /** `named`: the segment number in the name; `segment`: the one that has the events now. */
  tag_files: {
    run: number
    named: number
    segment: number
    directory: string
    name: string
    size: number
    sha256: string
    manifest: string
    row_count: number
    state: 'live' | 'retired'
    retired_at: number | null
    retirement: number | null
  }
  /** Index of the finding files. `sequence`, `line`: the link and the line (from 1) that first said it. */
  findings: {
    collection: string
    uid: string
    sequence: number
    line: number
    kind: string
    rule: string
    label: string
    plugin: string
    /** Index in SEVERITIES. */
    severity: number
    title: string
    /** Of a finding about a segment: empty, 0, and its number. */
    event_uid: string
    event: number
    segment: number | null
    time: number | null
  }
  finding_runs: { run: number; collection: string; uid: string }
}

export type Database = Kysely<Tables>
export type Tx = Transaction<Tables>

/**
 * Makes the tables, or those that an older catalog lacks, and checks that this program knows their version;
 * E_CATALOG_VERSION otherwise. `mayCreate` is asked before a new catalog is made, and may throw.
 */
export async function prepareSchema(
  db: Database,
  dialect: 'sqlite' | 'postgres',
  mayCreate: () => void,
): Promise<void> {
  // Whoever finds the tables made takes no lock: readers never wait for a writer.
  if ((await versionOf(db, dialect)) === CATALOG_VERSION) return
  await db.transaction().execute(async (tx) => {
    // Two processes may open a new database at once; DDL of PostgreSQL is not safe against that by itself.
    if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(hashtext('coldtrail schema'))`.execute(tx)
    const found = await versionOf(tx, dialect)
    if (found === CATALOG_VERSION) return
    if (found === 0) mayCreate()
    const integer = dialect === 'sqlite' ? 'integer' : 'bigint'
    const bytes = dialect === 'sqlite' ? 'blob' : 'bytea'
    for (const { tables, counters } of VERSIONS.slice(found)) {
      for (const statement of tables) {
        const text = statement.replaceAll('INTEGER', integer).replaceAll('BYTES', bytes)
        await sql.raw(text).execute(tx)
      }
      for (const name of counters) await tx.insertInto('counters').values({ name, next: 1 }).execute()
    }
    await tx.deleteFrom('facts').where('name', '=', 'schema_version').execute()
    await tx
      .insertInto('facts')
      .values({ name: 'schema_version', value: String(CATALOG_VERSION) })
      .execute()
  })
}

// --- internal ---

/** 0: there are no tables yet. */
async function versionOf(db: Database, dialect: 'sqlite' | 'postgres'): Promise<number> {
  const look =
    dialect === 'sqlite'
      ? sql<{ found: unknown }>`select 1 as found from sqlite_master where type = 'table' and name = 'facts'`
      : sql<{ found: unknown }>`select 1 as found where to_regclass('facts') is not null`
  if ((await look.execute(db)).rows.length === 0) return 0
  const row = await db.selectFrom('facts').select('value').where('name', '=', 'schema_version').executeTakeFirst()
  const version = Number(row?.value)
  if (!(version >= 1 && version <= CATALOG_VERSION))
    throw new ColdtrailError('E_CATALOG_VERSION', { found: row?.value ?? 'none', known: CATALOG_VERSION })
  return version
}

const COLLECTED = [
  `create table facts (name text primary key, value text not null)`,
  `create table owners (id text primary key, kind text not null, epoch INTEGER not null, host text not null,
     pid INTEGER not null, started INTEGER not null)`,
  `create table counters (name text primary key, next INTEGER not null)`,
  `create table ranges (what text not null, first INTEGER not null, count INTEGER not null, owner text not null,
     primary key (what, first))`,
  `create index ranges_owner on ranges (owner)`,
  `create table collections (name text primary key, head INTEGER not null, head_hash text not null)`,
  `create table links (collection text not null, number INTEGER not null, uuid text not null unique, hash text not null,
     segment INTEGER not null, session1 INTEGER, bytes BYTES not null, primary key (collection, number))`,
  `create index links_segment on links (segment)`,
  `create index links_session on links (session1) where session1 is not null`,
  `create table segments (segment INTEGER primary key, collection text not null, format text not null,
     day text not null, state text not null, directory text not null, id1 INTEGER, id2 INTEGER,
     session1 INTEGER not null, session2 INTEGER not null, time1 INTEGER, time2 INTEGER, row_count INTEGER not null,
     rejects INTEGER not null, raw_bytes INTEGER not null, packs text not null, sequence INTEGER not null,
     owner text not null, in_history INTEGER not null, retired_at INTEGER, retirement INTEGER)`,
  `create table files (segment INTEGER not null, kind text not null, name text not null, size INTEGER not null,
     sha256 text not null, manifest text not null, primary key (segment, kind))`,
  `create table ledger (object BYTES primary key, key_hash BYTES not null, shard text not null, state text not null,
     owner text, attempts INTEGER not null, since INTEGER not null, segment INTEGER, code text, reason text,
     source text, bucket text, object_key text, version text)`,
  `create index ledger_key on ledger (key_hash)`,
  `create index ledger_owner on ledger (owner) where owner is not null`,
  `create index ledger_code on ledger (state) where code is not null`,
  `create table ledger_closed (shard text primary key, revision INTEGER not null, objects BYTES not null)`,
  `create table versions (session INTEGER primary key, key_hash BYTES not null, segment INTEGER not null,
     last_modified INTEGER not null, sequence INTEGER not null, superseded INTEGER not null)`,
  `create index versions_key on versions (key_hash)`,
  `create index versions_segment on versions (segment)`,
]

const FORWARDED = [
  `create table destinations (name text primary key, owner text, receipts INTEGER not null)`,
  `create table feeds (id INTEGER primary key, destination text not null, feed text not null, collection text not null,
     expression text not null, start_time INTEGER, sequence INTEGER not null, event INTEGER not null,
     batch INTEGER not null, accepted INTEGER not null, rejected INTEGER not null, retried INTEGER not null,
     requests INTEGER not null, wire_bytes INTEGER not null, decoded_bytes INTEGER not null, batches INTEGER not null,
     superseded INTEGER not null, offline INTEGER not null, last_settled INTEGER)`,
  `create index feeds_destination on feeds (destination)`,
  `create table outbox (feed INTEGER not null, number INTEGER not null, from_sequence INTEGER not null,
     from_event INTEGER not null, to_sequence INTEGER not null, to_event INTEGER not null, records INTEGER,
     begun INTEGER not null, primary key (feed, number))`,
  `create table receipts (destination text not null, receipt INTEGER not null, line text not null,
     in_file INTEGER not null, primary key (destination, receipt))`,
  `create index receipts_waiting on receipts (destination) where in_file = 0`,
  `create table dead_letters (feed INTEGER not null, event INTEGER not null, uid text not null, reason text not null,
     primary key (feed, event))`,
]

const ANALYSED = [
  `create table runs (run INTEGER primary key, collection text not null, state text not null, owner text not null,
     request text not null, head INTEGER not null, started INTEGER not null, ended INTEGER, reason text,
     sequence INTEGER, tags INTEGER not null, findings INTEGER not null, counters text not null, report text,
     in_history INTEGER not null)`,
  `create index runs_owner on runs (owner)`,
  `create table run_tasks (run INTEGER not null, segment INTEGER not null, first_row INTEGER not null,
     row_count INTEGER not null, state text not null, attempts INTEGER not null, result text not null,
     primary key (run, segment, first_row))`,
  `create table tag_files (run INTEGER not null, named INTEGER not null, segment INTEGER not null,
     directory text not null, name text not null, size INTEGER not null, sha256 text not null, manifest text not null,
     row_count INTEGER not null, state text not null, retired_at INTEGER, retirement INTEGER,
     primary key (run, named))`,
  `create index tag_files_segment on tag_files (segment)`,
  `create table findings (collection text not null, uid text not null, sequence INTEGER not null, line INTEGER not null,
     kind text not null, rule text not null, label text not null, plugin text not null, severity INTEGER not null,
     title text not null, event_uid text not null, event INTEGER not null, time INTEGER, primary key (collection, uid))`,
  `create index findings_sequence on findings (collection, sequence, line)`,
  `create table finding_runs (run INTEGER not null, collection text not null, uid text not null,
     primary key (run, collection, uid))`,
  `create index finding_runs_uid on finding_runs (collection, uid)`,
]

const PLACED = [
  `alter table findings add column segment INTEGER`,
  `alter table files add column tier text not null default 'hot'`,
  `alter table files add column directory text`,
  `alter table files add column label text`,
  `alter table files add column deleted INTEGER not null default 0`,
  `create table left_files (directory text not null, name text not null, retired_at INTEGER not null,
     retirement INTEGER not null, primary key (directory, name))`,
  `create table holds (collection text not null, name text not null, reason text not null, time1 INTEGER, time2 INTEGER,
     since INTEGER not null, sequence INTEGER not null, primary key (collection, name))`,
  `create table workbenches (directory text primary key, name text not null, home text not null, reason text not null,
     created INTEGER not null, expires INTEGER not null, held INTEGER not null, state text not null, retired_at INTEGER,
     retirement INTEGER)`,
  `create unique index workbenches_live on workbenches (name) where state = 'live'`,
  `create table workbench_files (directory text not null, segment INTEGER not null, kind text not null,
     name text not null, size INTEGER not null, sequence INTEGER not null, primary key (directory, name))`,
  `create index workbench_files_segment on workbench_files (segment)`,
  `create table hunts (collection text primary key, sequence INTEGER not null, library_sequence INTEGER not null)`,
]

/** What each version of the catalog brought. */
const VERSIONS: readonly { readonly tables: readonly string[]; readonly counters: readonly string[] }[] = [
  { tables: COLLECTED, counters: ['segment', 'event', 'session', 'retirement'] },
  { tables: FORWARDED, counters: ['feed'] },
  { tables: ['alter table ledger add column collection text'], counters: [] },
  { tables: ANALYSED, counters: ['run'] },
  { tables: PLACED, counters: [] },
]
