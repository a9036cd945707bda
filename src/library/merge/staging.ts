/**
 * The rows of one run before they are merged: sync tables without indexes, named as the original names them, in a
 * database file (SQLite) or schema (PostgreSQL) of the run's own. docs/design.md §11, step 1 of the merge.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { uptime } from 'node:os'
import { join } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import type { Lock } from '../../platform/database/locks.ts'
import {
  type Appender,
  all,
  type BulkColumn,
  type BulkRow,
  openSession,
  removeSqliteFiles,
  run,
  type Session,
} from '../../platform/database/session.ts'
import { faultPoint } from '../../platform/faults.ts'
import { newChange } from '../changes.ts'
import { murmur3x86_128 } from '../identity.ts'
import type { Library } from '../library.ts'
import { dumpColumns, TABLES, type Table } from '../model.ts'
import { normalizeIndicator } from '../observables.ts'
import type { QuarantineCode } from '../quarantine.ts'
import { type LibraryTables, sqlType } from '../schema.ts'
import { bulkColumn, digestFault, integerFault, referenceFault, rowCheck, uidFault } from './rowForm.ts'

/** In the order of `dumpColumns(table)`, in dump form: text or NULL. `id` numbers the row within the run. */
export type StagedRow = readonly (string | null)[]

/** A row that is gone at its origin: uid with hyphens, natural key in hex (either may be unknown), microseconds. */
export interface Tombstone {
  readonly uid: string | null
  readonly nk: string | null
  readonly deletedAt: string
}

export interface LoadOptions {
  /** Name of the portion; one that is loaded already is passed over, so that a resumed run goes on. */
  readonly shard: string
  /** Only `id` and `uid` are wanted: the rows are there as they are, and others refer to them. */
  readonly referenceOnly?: boolean
}

export interface Staging {
  /** Of this run in `changes`: its rows bear it. */
  readonly change: number
  /** Portions that a run before this one loaded. */
  readonly loaded: ReadonlySet<string>
  /** Loads a portion in one transaction; rows that have not the form of their columns go to quarantine. */
  load(table: Table, rows: Iterable<StagedRow> | AsyncIterable<StagedRow>, options: LoadOptions): Promise<void>
  loadTombstones(table: Table, rows: Iterable<Tombstone> | AsyncIterable<Tombstone>, shard: string): Promise<void>
  /** Removes everything of the run that is not visible. */
  drop(): Promise<void>
  /** Leaves the run as it is, so that it can go on later. */
  close(): Promise<void>
}

export interface StagingOptions {
  readonly run: string
  /** Part of the names of the sync tables; a resumed run keeps those it has. */
  readonly pid: number
  readonly kind: 'local' | 'import' | 'sync'
  readonly site?: string
  readonly source?: string
  /** Change of a run that died: it goes on where it was, or begins anew where nothing of use is left of it. */
  readonly resume?: number
}

/**
 * Opens the staging of a run and makes its change. A new `import` or `sync` first removes what runs that died have left.
 * E_MERGE_BUSY when the run to be resumed is alive.
 */
export async function openStaging(library: Library, options: StagingOptions): Promise<StagedRun> {
  if (options.resume !== undefined) {
    const resumed = await resume(library, options, options.resume)
    if (resumed) return resumed
  }
  if (options.kind !== 'local') await sweepStaging(library)
  const { kind, site, source, pid } = options
  const { database } = library
  const { owner, lock } = await takeOwner(library)
  const facts = await database.write(async (tx) => {
    const change = await newChange(tx, { kind, run: options.run, site, source })
    const facts: RunFacts = { change, owner, pid, place: placeOf(library, change) }
    await tx
      .insertInto('facts')
      .values({ name: factName(change), value: JSON.stringify(facts) })
      .execute()
    return facts
  })
  const session = await openPlace(library, facts.place)
  for (const statement of placeStatements(session)) await run(session.database.db, statement)
  const staged = new StagedRun(library, session, facts, lock, options)
  await staged.remember('boot', bootId())
  return staged
}

/** Removes what runs have left that no living owner holds; answers how many. */
export async function sweepStaging(library: Library): Promise<number> {
  const { db, locks } = library.database
  let swept = 0
  for (const facts of await runsUnderWay(library)) {
    const lock = await locks.acquire(facts.owner)
    if (!lock) continue
    try {
      if (await isOwned(library, facts)) {
        await removeRun(library, facts)
        swept += 1
      }
    } finally {
      await lock.release()
    }
  }
  // A file whose run is over: its removal was cut short.
  if (library.database.dialect === 'sqlite') {
    const directory = stagingDirectory(library)
    for (const file of filesOf(directory)) {
      const change = /^run-(\d+)\.db/.exec(file)?.[1]
      if (change === undefined) continue
      const known = await all(db, 'select 1 from facts where name = ?', [factName(Number(change))])
      if (known.length === 0) removeSqliteFiles(join(directory, `run-${change}.db`))
    }
  }
  return swept
}

/** What a run is known by while it is under way: a row of `facts`, `merge:<change>`. */
interface RunFacts {
  readonly change: number
  /** Name of the lock that its process holds. */
  readonly owner: string
  readonly pid: number
  /** File or schema of its sync tables. */
  readonly place: string
}

/** Staging with what the merge needs of it. */
export class StagedRun implements Staging {
  readonly library: Library
  readonly session: Session<LibraryTables>
  readonly change: number
  readonly pid: number
  readonly kind: StagingOptions['kind']
  readonly site: string | undefined
  readonly source: string | undefined
  readonly run: string
  readonly loaded = new Set<string>()
  /** Rows by staged table. */
  readonly counts = new Map<string, number>()
  private readonly facts: RunFacts
  private readonly lock: Lock
  private typeNames: Map<string, string> | undefined
  private isClosed = false

  constructor(library: Library, session: Session<LibraryTables>, facts: RunFacts, lock: Lock, options: StagingOptions) {
    this.library = library
    this.session = session
    this.change = facts.change
    this.pid = facts.pid
    this.kind = options.kind
    this.site = options.site
    this.source = options.source
    this.run = options.run
    this.facts = facts
    this.lock = lock
  }

  get db() {
    return this.session.database.db
  }

  get dialect() {
    return this.session.database.dialect
  }

  /** A table of this run's place. */
  own(name: string): string {
    return `${this.session.place}."${name}"`
  }

  /** The sync table of a table (P36). */
  sync(table: Table): string {
    return this.own(this.syncName(table))
  }

  syncName(table: Table): string {
    return `sync_import_${table.name}_${this.pid}`
  }

  /** Tables that have rows, parents first. */
  get tables(): readonly Table[] {
    return TABLES.filter(({ name }) => this.counts.has(name))
  }

  get rows(): number {
    return [...this.counts.values()].reduce((sum, rows) => sum + rows, 0)
  }

  async remember(name: string, value: unknown): Promise<void> {
    await run(this.db, rememberSql(this, name, value))
  }

  async recall<T>(name: string): Promise<T | undefined> {
    const [row] = await all(this.db, `select value from ${this.own('facts')} where name = ${literal(name)}`)
    return row === undefined ? undefined : (JSON.parse(row.value) as T)
  }

  async load(
    table: Table,
    rows: Iterable<StagedRow> | AsyncIterable<StagedRow>,
    { shard, referenceOnly = false }: LoadOptions,
  ): Promise<void> {
    if (this.loaded.has(shard)) return
    this.requireOwner()
    await run(this.db, createSyncTable(this, table))
    const derive = await this.deriving(table)
    const columns = stagedColumns(table)
    const check = referenceOnly ? referenceFault : rowCheck(table)
    const empty: null[] = Array(columns.length - 2).fill(null)
    const counted = { rows: 0, place: 0 }
    const refused: Refused[] = []
    const name = await this.append(table, columns, shard, counted, refused, async (appender) => {
      const add = (row: StagedRow): Promise<void> | undefined => {
        counted.place += 1
        const fault = check(row)
        if (fault !== undefined) {
          refused.push({
            table,
            place: `${shard}:${counted.place}`,
            code: fault.endsWith('is missing') ? 'required' : 'form',
            reason: fault,
            row,
          })
          return undefined
        }
        counted.rows += 1
        if (referenceOnly) return appender.add([row[0]!, row[1]!, ...empty])
        return appender.add(derive ? derive(row) : row)
      }
      await addAll(rows, add)
    })
    if (table.name === 'indicator_types') this.typeNames = undefined
    this.counts.set(table.name, (this.counts.get(table.name) ?? 0) + counted.rows)
    this.loaded.add(name)
    faultPoint('staging.loaded')
  }

  async loadTombstones(
    table: Table,
    rows: Iterable<Tombstone> | AsyncIterable<Tombstone>,
    shard: string,
  ): Promise<void> {
    if (this.loaded.has(shard)) return
    this.requireOwner()
    const columns: BulkColumn[] = [
      { name: 'table_name', form: 'text' },
      { name: 'uid', form: 'uid' },
      { name: 'nk', form: 'hex' },
      { name: 'deleted_at', form: 'integer' },
    ]
    const counted = { rows: 0, place: 0 }
    const refused: Refused[] = []
    await this.append('tombstones', columns, shard, counted, refused, async (appender) => {
      const add = ({ uid, nk, deletedAt }: Tombstone): Promise<void> | undefined => {
        counted.place += 1
        const fault =
          (uid === null && nk === null ? 'neither uid nor nk is given' : undefined) ??
          (uid === null ? undefined : uidFault(uid)) ??
          (nk === null ? undefined : digestFault(nk)) ??
          integerFault(deletedAt)
        if (fault === undefined) return appender.add([table.name, uid, nk, deletedAt])
        const place = `${shard}:${counted.place}`
        refused.push({ table, place, code: 'form', reason: fault, row: [uid, nk, deletedAt] })
        return undefined
      }
      await addAll(rows, add)
    })
    this.loaded.add(shard)
    faultPoint('staging.loaded')
  }

  async drop(): Promise<void> {
    if (this.isClosed) return
    this.isClosed = true
    await this.session.dropPlace()
    await this.session.close()
    await removeRun(this.library, this.facts)
    await this.lock.release()
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    this.isClosed = true
    await this.session.close()
    await this.lock.release()
  }

  /** E_MERGE_BUSY once the lock was lost: another process may have swept the run. */
  requireOwner(): void {
    if (this.lock.lost) throw new ColdtrailError('E_MERGE_BUSY', { change: this.change })
  }

  /** What was loaded before, of a run that goes on. */
  async look(): Promise<void> {
    for (const { name, table_name, rows } of await all(this.db, `select * from ${this.own('shards')}`)) {
      this.loaded.add(name)
      if (table_name !== null) this.counts.set(table_name, (this.counts.get(table_name) ?? 0) + rows)
    }
  }

  /** The names of the original, in PostgreSQL: there a process id alone may collide, so it is first come, first served. */
  async makeViews(): Promise<void> {
    if (this.dialect !== 'postgres') return
    for (const table of this.tables) {
      const [taken] = await all(this.db, 'select to_regclass($1) is not null as taken', [this.syncName(table)])
      if (!taken!.taken)
        await run(this.db, `create view "${this.syncName(table)}" as select * from ${this.sync(table)}`)
    }
  }

  // --- internal ---

  private async append(
    table: Table | 'tombstones',
    columns: readonly BulkColumn[],
    shard: string,
    counted: { readonly rows: number },
    refused: Refused[],
    fill: (appender: Appender) => Promise<void>,
  ): Promise<string> {
    const name = typeof table === 'string' ? this.own(table) : this.sync(table)
    const appender = await this.session.append(name, columns)
    try {
      await fill(appender)
    } catch (error) {
      await appender.rollback()
      throw error
    }
    const tableName = typeof table === 'string' ? null : table.name
    const repeated = await appender.commit([
      `insert into ${this.own('shards')} (name, table_name, rows) values (${literal(shard)}, ${
        tableName === null ? 'null' : literal(tableName)
      }, ${counted.rows})`,
      ...refused.map((one) => refusedSql(this, one)),
    ])
    if (typeof table !== 'string')
      for (const row of repeated)
        await run(
          this.db,
          refusedSql(this, { table, place: shard, code: 'duplicate', reason: 'its number is used twice', row }),
        )
    return shard
  }

  /** Columns that only JavaScript can compute, of indicators. */
  private async deriving(table: Table): Promise<((row: StagedRow) => BulkRow) | undefined> {
    if (table.name !== 'indicators') return undefined
    const names = dumpColumns(table).map(({ name }) => name)
    const type = names.indexOf('type_id')
    const value = names.indexOf('value')
    this.typeNames ??= await this.indicatorTypes()
    const types = this.typeNames
    return (row) => {
      const text = row[value]!
      return [...row, normalizeIndicator(types.get(row[type]!) ?? '', text), murmur3x86_128(text)]
    }
  }

  /** Names by row number; of rows of which only the uid came, as the library has them. */
  private async indicatorTypes(): Promise<Map<string, string>> {
    const table = TABLES.find(({ name }) => name === 'indicator_types')!
    if (!this.counts.has(table.name)) return new Map()
    const rows = await all(
      this.db,
      `select s.id, coalesce(s.name, b.name, a.name) as name from ${this.sync(table)} s
       left join indicator_types b on b.uid = s.uid
       left join uid_aliases u on u.table_name = 'indicator_types' and u.remote = s.uid
       left join indicator_types a on a.uid = u.local`,
    )
    return new Map(rows.map(({ id, name }) => [String(id), name]))
  }
}

/** Columns of a sync table as it is loaded: those of the dump, then what JavaScript computed. */
export const stagedColumns = (table: Table): readonly BulkColumn[] => [
  ...dumpColumns(table).map(bulkColumn),
  ...(table.name === 'indicators'
    ? ([
        { name: 'normalized', form: 'text' },
        { name: 'hash', form: 'hex' },
      ] as const)
    : []),
]

/** A text of the program's own, or one whose form was checked, in SQL. */
export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

export interface Refused {
  readonly table: Table
  readonly place: string
  readonly code: QuarantineCode
  readonly reason: string
  readonly row: readonly (string | null)[]
}

// --- internal ---

/** Longest value that quarantine keeps of a refused row. */
const MAX_PAYLOAD = 1_000_000

function refusedSql(staging: StagedRun, { table, place, code, reason, row }: Refused): string {
  const names = dumpColumns(table).map(({ name }) => name)
  const fields = Object.fromEntries(row.slice(0, names.length).map((value, at) => [names[at]!, value]))
  const payload = JSON.stringify({ table: table.name, row: fields }).slice(0, MAX_PAYLOAD)
  const values = [table.name, place, code, reason, payload].map((text) => literal(text.replaceAll('\0', '\ufffd')))
  return `insert into ${staging.own('rejects')} (table_name, place, code, reason, payload) values (${values.join(', ')})`
}

function rememberSql(staging: StagedRun, name: string, value: unknown): string {
  return `insert into ${staging.own('facts')} (name, value) values (${literal(name)}, ${literal(JSON.stringify(value))})
    on conflict (name) do update set value = excluded.value`
}

/** Waits only where `add` asks for it: a promise a row would cost more than the row. */
async function addAll<R>(
  rows: Iterable<R> | AsyncIterable<R>,
  add: (row: R) => Promise<void> | undefined,
): Promise<void> {
  if (Symbol.iterator in rows) {
    for (const row of rows) {
      const pause = add(row)
      if (pause) await pause
    }
    return
  }
  for await (const row of rows) {
    const pause = add(row)
    if (pause) await pause
  }
}

function createSyncTable(staging: StagedRun, table: Table): string {
  const { dialect } = staging
  const isSqlite = dialect === 'sqlite'
  const extra = stagedColumns(table).slice(dumpColumns(table).length)
  const columns = [
    ...dumpColumns(table).map(({ name, type }) =>
      name === 'id' && isSqlite ? '"id" integer primary key' : `"${name}" ${sqlType(type, dialect)}`,
    ),
    ...extra.map(({ name, form }) => `"${name}" ${sqlType(form === 'hex' ? 'hex' : 'text', dialect)}`),
  ]
  return `create ${isSqlite ? '' : 'unlogged '}table if not exists ${staging.sync(table)} (${columns.join(', ')})`
}

function placeStatements({ place, database }: Session<LibraryTables>): string[] {
  const isSqlite = database.dialect === 'sqlite'
  const create = `create ${isSqlite ? '' : 'unlogged '}table if not exists ${place}.`
  const bytes = isSqlite ? 'blob' : 'bytea'
  return [
    `${create}facts (name text primary key, value text not null)`,
    `${create}shards (name text primary key, table_name text, rows bigint not null)`,
    `${create}rejects (table_name text, place text, code text, reason text, payload text)`,
    `${create}tombstones (table_name text, uid ${bytes}, nk ${bytes}, deleted_at bigint)`,
  ]
}

const factName = (change: number): string => `merge:${change}`
const stagingDirectory = ({ dataDir }: Library): string => join(dataDir, 'library', 'staging')
const placeOf = (library: Library, change: number): string =>
  library.database.dialect === 'sqlite' ? `run-${change}.db` : `${schemaOf(library).slice(0, 40)}_run_${change}`
/** Of `PostgreSQL schema <name>`. */
const schemaOf = ({ database }: Library): string => database.name.slice(database.name.lastIndexOf(' ') + 1)

const openPlace = (library: Library, place: string): Promise<Session<LibraryTables>> =>
  openSession(library.database, { file: join(stagingDirectory(library), place), schema: place })

async function takeOwner({ database }: Library): Promise<{ readonly owner: string; readonly lock: Lock }> {
  const owner = `merge-${randomUUID()}`
  const lock = await database.locks.acquire(owner)
  if (!lock) throw new Error(`the lock ${owner} is new and cannot be held`)
  return { owner, lock }
}

async function runsUnderWay({ database }: Library): Promise<RunFacts[]> {
  const rows = await all(database.db, `select value from facts where name like 'merge:%' order by name`)
  return rows.map(({ value }) => JSON.parse(value) as RunFacts)
}

/** Whether the run is still that of the owner whose lock was just taken. */
async function isOwned(library: Library, { change, owner }: RunFacts): Promise<boolean> {
  return (await runsUnderWay(library)).some((facts) => facts.change === change && facts.owner === owner)
}

async function resume(library: Library, options: StagingOptions, change: number): Promise<StagedRun | undefined> {
  const { database } = library
  const found = (await runsUnderWay(library)).find((facts) => facts.change === change)
  if (!found) return undefined
  const old = await database.locks.acquire(found.owner)
  if (!old) throw new ColdtrailError('E_MERGE_BUSY', { change })
  try {
    if (!(await isOwned(library, found))) throw new ColdtrailError('E_MERGE_BUSY', { change })
    const { owner, lock } = await takeOwner(library)
    const facts: RunFacts = { ...found, owner }
    await database.write((tx) =>
      tx
        .updateTable('facts')
        .set({ value: JSON.stringify(facts) })
        .where('name', '=', factName(change))
        .execute(),
    )
    const session = await openPlace(library, facts.place)
    for (const statement of placeStatements(session)) await run(session.database.db, statement)
    const staged = new StagedRun(library, session, facts, lock, options)
    // What was not synced when the power went is not to be trusted, nor what a server emptied that had crashed.
    if ((await staged.recall('boot')) === bootId()) {
      await staged.look()
      return staged
    }
    await staged.drop()
    return undefined
  } finally {
    await old.release()
  }
}

/** Batch of rows that a sweep removes in one transaction. */
const SWEEP_ROWS = 10_000

/** Removes the rows of a run that nobody sees, its staging and its change; a run that is visible loses its staging only. */
async function removeRun(library: Library, { change, place }: RunFacts): Promise<void> {
  const { database } = library
  const { dialect } = database
  const [row] = await all(database.db, `select seq from changes where id = ${change}`)
  if (row && row.seq === null)
    for (const { name } of TABLES.toReversed()) {
      const unseen = `select id from ${name} where "change" = ${change} and created_change = ${change} limit ${SWEEP_ROWS}`
      while ((await database.write((tx) => run(tx, `delete from ${name} where id in (${unseen})`))) === SWEEP_ROWS);
    }
  if (dialect === 'sqlite') removeSqliteFiles(join(stagingDirectory(library), place))
  else await run(database.db, `drop schema if exists "${place}" cascade`)
  await database.write(async (tx) => {
    await run(tx, `delete from merge_checkpoints where "change" = ${change}`)
    await run(tx, `delete from changes where id = ${change} and seq is null`)
    await tx.deleteFrom('facts').where('name', '=', factName(change)).execute()
  })
}

function filesOf(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Names this start of the machine. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return `up since ${Math.round((Date.now() / 1000 - uptime()) / 300)}`
  }
}
