/**
 * The record of a run (P44-P46): made when its options are known, so that a refused run shows its reason too, and ended
 * as `finished` or `failed`. A run that died stays `running`; its owner's lock is free then, which the next one sees.
 */
import { hash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import { drawIds } from '../library/changes.ts'
import { uidRange, uidText } from '../library/identity.ts'
import type { Library } from '../library/library.ts'
import type { LibraryTx } from '../library/schema.ts'
import type { Lock } from '../platform/database/locks.ts'

export type RunType = 'export' | 'import' | 'fill-hash' | 'undo'
export type RunState = 'running' | 'finished' | 'failed' | 'undone'

/** A row of `synchronizations`. Times are microseconds UTC. */
export interface RunRecord {
  readonly id: number
  /** UUIDv7: tells runs apart, as `hash` does not. */
  readonly run: string
  readonly type: RunType
  readonly state: RunState
  readonly startedAt: number
  readonly finishedAt: number | null
  readonly config: Readonly<Record<string, unknown>>
  readonly report: RunReport
  readonly pid: number
  /** MD5 of the canonical configuration, as the original's `hash` column (P45); `sha256` of the same is for use. */
  readonly hash: string
  readonly sha256: string
  /** Of the library, once it wrote there. */
  readonly change: number | null
  readonly owner: string | null
}

/** `options` from the beginning; the rest is added when the run ends. */
export interface RunReport {
  readonly options: Readonly<Record<string, unknown>>
  readonly error?: object
  readonly [name: string]: unknown
}

/** A run under way; its lock tells others that it lives. */
export interface OpenRun {
  readonly id: number
  readonly run: string
  readonly hash: string
  readonly sha256: string
  readonly startedAt: number
  /** Writes down at once what a later run must know if this process dies: the library's change, and parts of the report. */
  note(known: { readonly change?: number; readonly report?: Readonly<Record<string, unknown>> }): Promise<void>
  /** Adds to `report_json`. With `tx` it is part of that transaction, and `release` is called after it. */
  finish(report: Readonly<Record<string, unknown>>, tx?: LibraryTx): Promise<void>
  fail(error: unknown, report?: Readonly<Record<string, unknown>>): Promise<void>
  release(): Promise<void>
}

export interface RunRequest {
  readonly type: RunType
  /** What makes two runs the same; canonical JSON of it is hashed. */
  readonly config: object
  /** As given, for people. Never secrets. */
  readonly options: object
}

export const canonicalJson = (value: object): string => canonicalize(value)!

/** MD5 and SHA-256 of the canonical configuration, in hex. */
export function configHashes(config: object): { readonly hash: string; readonly sha256: string } {
  const text = canonicalJson(config)
  return { hash: hash('md5', text), sha256: hash('sha256', text) }
}

export async function beginRun(library: Library, request: RunRequest): Promise<OpenRun> {
  const { database } = library
  const config = canonicalJson(request.config)
  const hashes = configHashes(request.config)
  const uid = uidText(uidRange(1).at(0))
  const owner = `sync-${uid}`
  const lock = await database.locks.acquire(owner)
  const now = microseconds()
  const id = await database.write(async (tx) => {
    const id = await drawIds(tx, 'synchronizations', 1)
    await tx
      .insertInto('synchronizations')
      .values({
        id,
        run: uid,
        type: request.type,
        state: 'running',
        started_at: now,
        config_json: config,
        report_json: canonicalJson({ options: request.options }),
        pid: process.pid,
        ...hashes,
        owner,
        created_at: now,
        updated_at: now,
      })
      .execute()
    return id
  })
  return openRun(library, { id, run: uid, ...hashes, startedAt: now }, lock)
}

/** Newest first. */
export async function listRuns(library: Library, limit = 1_000): Promise<readonly RunRecord[]> {
  const rows = await library.database.db
    .selectFrom('synchronizations')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
  return rows.map(recordOf)
}

export async function findRun(library: Library, run: string): Promise<RunRecord | undefined> {
  const { db } = library.database
  const row = await db.selectFrom('synchronizations').selectAll().where('run', '=', run).executeTakeFirst()
  return row && recordOf(row)
}

/** Whether the process of a run that is not ended still lives. */
export async function isAlive(library: Library, { owner }: Pick<RunRecord, 'owner'>): Promise<boolean> {
  const lock = owner === null ? undefined : await library.database.locks.acquire(owner)
  await lock?.release()
  return owner !== null && lock === undefined
}

/** Runs of a type that ended without saying so, newest first. */
export async function deadRuns(library: Library, type: RunType): Promise<readonly RunRecord[]> {
  const { db } = library.database
  const rows = await db
    .selectFrom('synchronizations')
    .selectAll()
    .where('type', '=', type)
    .where('state', '=', 'running')
    .orderBy('id', 'desc')
    .execute()
  const dead: RunRecord[] = []
  for (const row of rows.map(recordOf)) if (!(await isAlive(library, row))) dead.push(row)
  return dead
}

/**
 * Runs of a type that wrote to the library and ended, by themselves or not, before it was seen, newest first: a later
 * run of the same input goes on with their change.
 */
export async function unfinishedRuns(library: Library, type: RunType): Promise<readonly RunRecord[]> {
  const { db } = library.database
  const rows = await db
    .selectFrom('synchronizations')
    .innerJoin('changes', 'changes.id', 'synchronizations.change')
    .selectAll('synchronizations')
    .where('synchronizations.type', '=', type)
    .where('synchronizations.state', 'in', ['running', 'failed'])
    .where('changes.seq', 'is', null)
    .orderBy('synchronizations.id', 'desc')
    .execute()
  const ended: RunRecord[] = []
  for (const row of rows.map(recordOf)) if (row.state === 'failed' || !(await isAlive(library, row))) ended.push(row)
  return ended
}

/** Ends a dead run that nobody goes on with. */
export async function abandonRun(library: Library, { id, report }: RunRecord, why: string): Promise<void> {
  const now = microseconds()
  await library.database.db
    .updateTable('synchronizations')
    .set({
      state: 'failed',
      finished_at: now,
      updated_at: now,
      report_json: canonicalJson({ ...report, error: { message: why } }),
    })
    .where('id', '=', id)
    .where('state', '=', 'running')
    .execute()
}

/** Part of the transaction that undoes the run. */
export async function markUndone(tx: LibraryTx, run: string): Promise<void> {
  const set = { state: 'undone', updated_at: microseconds() }
  await tx.updateTable('synchronizations').set(set).where('run', '=', run).execute()
}

// --- internal ---

const microseconds = (): number => Date.now() * 1_000

/** An error for the record: the row of the one table, or what is known of a defect. */
function errorJson(error: unknown): object {
  const known = error instanceof ColdtrailError ? error : new ColdtrailError('E_INTERNAL', { message: String(error) })
  return JSON.parse(JSON.stringify(known)) as object
}

function openRun(
  library: Library,
  begun: Pick<RunRecord, 'id' | 'run' | 'hash' | 'sha256' | 'startedAt'>,
  lock: Lock | undefined,
): OpenRun {
  const { db } = library.database
  const update = async (on: typeof db | LibraryTx, added: object, set: object): Promise<void> => {
    const row = await on
      .selectFrom('synchronizations')
      .select('report_json')
      .where('id', '=', begun.id)
      .executeTakeFirstOrThrow()
    const report_json = canonicalJson({ ...JSON.parse(row.report_json as string), ...plain(added) })
    const values = { ...set, report_json, updated_at: microseconds() }
    await on.updateTable('synchronizations').set(values).where('id', '=', begun.id).execute()
  }
  const end = (on: typeof db | LibraryTx, state: RunState, added: object): Promise<void> =>
    update(on, added, { state, finished_at: microseconds() })
  const release = async (): Promise<void> => lock?.release()
  return {
    ...begun,
    release,
    note: ({ change, report = {} }) => update(db, report, change === undefined ? {} : { change }),
    async finish(report, tx) {
      await end(tx ?? db, 'finished', report)
      if (!tx) await release()
    },
    async fail(error, report = {}) {
      await end(db, 'failed', { ...report, error: errorJson(error) })
      await release()
    },
  }
}

/** Without what JSON has no word for. */
const plain = (value: object): object =>
  JSON.parse(JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? Number(inner) : inner))) as object

function recordOf(row: Record<string, unknown>): RunRecord {
  return {
    id: row.id as number,
    run: row.run as string,
    type: row.type as RunType,
    state: row.state as RunState,
    startedAt: row.started_at as number,
    finishedAt: row.finished_at as number | null,
    config: JSON.parse(row.config_json as string),
    report: row.report_json === null ? { options: {} } : JSON.parse(row.report_json as string),
    pid: row.pid as number,
    hash: row.hash as string,
    sha256: row.sha256 as string,
    change: row.change as number | null,
    owner: row.owner as string | null,
  }
}
