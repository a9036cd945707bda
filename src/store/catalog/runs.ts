/**
 * Runs: begun under an owner, their tasks as they are done, and the transaction that makes their results exist or takes
 * them away. Order, and what a crash leaves: docs/design.md §13.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { namesIfThere, readIfThere, syncDirectory, writeDurably } from '../../platform/files.ts'
import type { Owner } from '../catalog.ts'
import {
  type HistoryFileFacts,
  linkFileName,
  parseLink,
  replacedOf,
  segmentOf,
  sha256,
  type TagFileFacts,
} from '../chain.ts'
import { type Finding, type FindingFilter, type FindingLine, readFindings, SEVERITIES } from '../findings.ts'
import { serializeManifest } from '../manifest.ts'
import {
  type RemovedRun,
  type RunFacts,
  type RunOutcome,
  type RunRequest,
  type RunRow,
  type RunTask,
  runReportName,
} from '../runs.ts'
import type { TagFile } from '../tags.ts'
import { commitLinks, type PreparedRun, prepareChain, retirement } from './commit.ts'
import { batches, type CatalogContext, checkedCollection, now } from './context.ts'
import { takeOver } from './owners.ts'
import type { Tables, Tx } from './schema.ts'

type Stored = Tables['runs']

export async function beginRun(context: CatalogContext, owner: Owner, request: RunRequest): Promise<number> {
  checkedCollection(request.collection)
  const run = await context.write(async (tx) => {
    await context.assertOwner(tx, owner)
    const { next } = await tx
      .updateTable('counters')
      .set((expression) => ({ next: expression('next', '+', 1) }))
      .where('name', '=', 'run')
      .returning('next')
      .executeTakeFirstOrThrow()
    const head = await tx
      .selectFrom('collections')
      .select('head')
      .where('name', '=', request.collection)
      .executeTakeFirst()
    await tx
      .insertInto('runs')
      .values({
        ...{ run: next - 1, collection: request.collection, state: 'running', owner: owner.id, in_history: 0 },
        ...{ request: JSON.stringify(request), head: head?.head ?? 0, started: now(), ended: null, reason: null },
        ...{ sequence: null, tags: 0, findings: 0, counters: '{}', report: null },
      })
      .execute()
    return next - 1
  })
  faultPoint('run.begun')
  return run
}

export async function resumeRun(context: CatalogContext, owner: Owner, run: number): Promise<RunRow> {
  const row = await storedRun(context, run)
  if (row.sequence !== null)
    throw new ColdtrailError('E_RUN_STATE', { run, state: row.state, wanted: 'without results' })
  await whenDead(context, row, owner, async (tx) => {
    await tx
      .updateTable('runs')
      .set({ owner: owner.id, state: 'running', ended: null, reason: null })
      .where('run', '=', run)
      .execute()
  })
  const [resumed] = await runs(context, { run })
  return resumed!
}

export async function taskDone(context: CatalogContext, owner: Owner, run: number, task: RunTask): Promise<void> {
  const { segment, first, rows, state, attempts } = task
  await context.write(async (tx) => {
    await assertRunning(context, tx, owner, run)
    const values = { row_count: rows, state, attempts, result: JSON.stringify(task.result ?? null) }
    await tx
      .insertInto('run_tasks')
      .values({ run, segment, first_row: first, ...values })
      .onConflict((conflict) => conflict.columns(['run', 'segment', 'first_row']).doUpdateSet(values))
      .execute()
  })
  faultPoint('run.task-recorded')
}

export async function runTasks(context: CatalogContext, run: number): Promise<RunTask[]> {
  const rows = await context.db
    .selectFrom('run_tasks')
    .selectAll()
    .where('run', '=', run)
    .orderBy('segment')
    .orderBy('first_row')
    .execute()
  return rows.map(({ segment, first_row, row_count, state, attempts, result }) => {
    return { segment, first: first_row, rows: row_count, state, attempts, result: JSON.parse(result) as unknown }
  })
}

export async function endRun(
  context: CatalogContext,
  owner: Owner,
  run: number,
  state: 'aborted' | 'failed',
  reason: string,
): Promise<void> {
  await context.write(async (tx) => {
    await assertRunning(context, tx, owner, run)
    await tx.updateTable('runs').set({ state, reason, ended: now() }).where('run', '=', run).execute()
  })
}

/** Makes the report durable; answers the link and the rows of the run. */
export async function prepareRun(
  context: CatalogContext,
  owner: Owner,
  outcome: RunOutcome,
): Promise<PreparedRun & { readonly collection: string }> {
  const { run, state, tagFiles, findings, counters } = outcome
  const { request: text, head, started, collection } = await storedRun(context, run)
  const request = JSON.parse(text) as RunRequest
  const history = context.manifestDirectory(collection)
  prepareChain(context, collection)
  const report = Buffer.from(`${JSON.stringify(outcome.report ?? null)}\n`)
  const name = runReportName(run)
  writeDurably(join(history, name), report)
  const directory = context.storedDirectory(context.collectionDirectory(collection))
  const files = tagFiles.map(({ segment, name, size, sha256: digest, rows, manifest }): TagFileFacts => {
    return { segment, name, directory, size, sha256: digest, rows, manifest: sha256(serializeManifest(manifest)) }
  })
  const facts: RunFacts = {
    ...request,
    ...{ run, state, started, ended: now(), counters, findings: findings?.rows ?? 0 },
    tags: files.reduce((sum, { rows }) => sum + rows, 0),
  }
  const reportFacts: HistoryFileFacts = { name, size: report.length, sha256: sha256(report) }
  const tag = { action: 'tag', run: facts, files, report: reportFacts } as const
  const rows = tagFiles.map((file) => ({ ...file, directory }))
  faultPoint('run.files-durable')
  const write = async (tx: Tx, sequence: number): Promise<void> => {
    await assertRunning(context, tx, owner, run)
    await insertTagFiles(tx, rows, await replacedSince(tx, collection, head))
    await tx.deleteFrom('run_tasks').where('run', '=', run).execute()
    await tx
      .updateTable('runs')
      .set({ ...runRow(facts, reportFacts), sequence })
      .where('run', '=', run)
      .execute()
  }
  return { collection, body: tag, write }
}

export async function commitRun(
  context: CatalogContext,
  owner: Owner,
  outcome: RunOutcome,
): Promise<{ sequence: number; newFindings: number }> {
  const { run, findings } = outcome
  const { collection, body: tag, write: finish } = await prepareRun(context, owner, outcome)
  const history = context.manifestDirectory(collection)
  let newFindings = 0
  let sequence: number
  if (findings) {
    const { name, size, sha256, rows } = findings
    const link = { action: 'finding', run, findings: { name, size, sha256, rows } } as const
    const numbers = await commitLinks(context, owner, collection, [link, tag], async (tx, [first, last]) => {
      newFindings = await insertFindings(tx, collection, run, first, readFindings(join(history, name), sha256))
      await finish(tx, last)
    })
    sequence = numbers[1]
  } else [sequence] = await commitLinks(context, owner, collection, [tag], (tx, [number]) => finish(tx, number))
  return { sequence, newFindings }
}

export async function removeRun(context: CatalogContext, owner: Owner, run: number): Promise<RemovedRun> {
  const row = await storedRun(context, run)
  const { collection } = row
  if (row.sequence === null) {
    await whenDead(context, row, owner, async (tx) => {
      await tx.deleteFrom('run_tasks').where('run', '=', run).execute()
      await tx.deleteFrom('runs').where('run', '=', run).execute()
    })
    removeRunFiles(context, collection, run)
    return { run, tags: 0, findings: 0 }
  }
  const files = await context.db
    .selectFrom('tag_files')
    .select('name')
    .where('run', '=', run)
    .where('state', '=', 'live')
    .orderBy('named')
    .execute()
  prepareChain(context, collection)
  let findings = 0
  const body = { action: 'remove-run', run, files: files.map(({ name }) => name) } as const
  await commitLinks(context, owner, collection, [body], async (tx) => {
    findings = await forgetRun(tx, run)
    const { numUpdatedRows } = await tx
      .updateTable('runs')
      .set({ state: 'removed', in_history: 0, owner: owner.id })
      .where('run', '=', run)
      .where('state', '!=', 'removed')
      .executeTakeFirst()
    if (Number(numUpdatedRows) !== 1) throw unknownRun(run)
    await tx
      .updateTable('tag_files')
      .set(await retirement(tx))
      .where('run', '=', run)
      .execute()
  })
  return { run, tags: row.tags, findings }
}

export async function runs(
  context: CatalogContext,
  { collection, run }: { readonly collection?: string; readonly run?: number } = {},
): Promise<RunRow[]> {
  const rows = await context.db
    .selectFrom('runs')
    .selectAll()
    .where('state', '!=', 'removed')
    .$if(collection !== undefined, (query) => query.where('collection', '=', collection!))
    .$if(run !== undefined, (query) => query.where('run', '=', run!))
    .orderBy('run', 'desc')
    .execute()
  const answer: RunRow[] = []
  for (const row of rows) {
    const { run, state, started, ended, reason, sequence, tags, findings } = row
    const isLiving = state === 'running' ? await isHeld(context, row.owner) : false
    // A process that died could not say so.
    const isDead = state === 'running' && isLiving === false
    answer.push({
      ...(JSON.parse(row.request) as RunRequest),
      ...{ run, started, ended, sequence, tags, findings, isLiving },
      state: isDead ? 'aborted' : (state as RunRow['state']),
      reason: isDead ? 'its process died' : reason,
      counters: JSON.parse(row.counters) as Record<string, number>,
    })
  }
  return answer
}

export async function runReport(context: CatalogContext, run: number): Promise<unknown> {
  const { collection, state, report } = await storedRun(context, run)
  if (report === null) throw new ColdtrailError('E_RUN_STATE', { run, state, wanted: 'with results' })
  const path = join(context.manifestDirectory(collection), runReportName(run))
  const bytes = readIfThere(path)
  if (!bytes || sha256(bytes) !== report) throw new ColdtrailError('E_HISTORY_FILE', { path })
  return JSON.parse(bytes.toString())
}

/** In the order in which they were committed; at most `limit`, 1,000 by default. */
export async function findings(
  { db }: CatalogContext,
  { collection, run, severity, time1, time2, after, upTo, limit = 1_000 }: FindingFilter,
): Promise<Finding[]> {
  const rows = await db
    .selectFrom('findings')
    .selectAll()
    .where('collection', '=', collection)
    .$if(run !== undefined, (query) =>
      query.where((where) =>
        where.exists(
          where
            .selectFrom('finding_runs')
            .select('finding_runs.uid')
            .where('finding_runs.run', '=', run!)
            .whereRef('finding_runs.collection', '=', 'findings.collection')
            .whereRef('finding_runs.uid', '=', 'findings.uid'),
        ),
      ),
    )
    .$if(severity !== undefined, (query) => query.where('severity', '>=', SEVERITIES.indexOf(severity!)))
    .$if(time1 !== undefined, (query) => query.where('time', '>=', time1!))
    .$if(time2 !== undefined, (query) => query.where('time', '<=', time2!))
    .$if(after !== undefined, (query) =>
      query.where(
        sql<boolean>`(sequence > ${after!.sequence} or (sequence = ${after!.sequence} and line > ${after!.line}))`,
      ),
    )
    .$if(upTo !== undefined, (query) =>
      query.where(
        sql<boolean>`(sequence < ${upTo!.sequence} or (sequence = ${upTo!.sequence} and line <= ${upTo!.line}))`,
      ),
    )
    .orderBy('sequence')
    .orderBy('line')
    .limit(limit)
    .execute()
  const runs = new Map<string, number[]>()
  for (const batch of batches(rows))
    for (const { uid, run } of await db
      .selectFrom('finding_runs')
      .select(['uid', 'run'])
      .where('collection', '=', collection)
      .where(
        'uid',
        'in',
        batch.map(({ uid }) => uid),
      )
      .orderBy('run')
      .execute()) {
      const list = runs.get(uid)
      if (list) list.push(run)
      else runs.set(uid, [run])
    }
  return rows.map(({ collection: _, severity, event, event_uid, segment, ...row }) => {
    const about = segment === null ? { event, event_uid } : { event: null, event_uid: null, segment }
    return { ...row, ...about, severity: SEVERITIES[severity]!, runs: runs.get(row.uid) ?? [] }
  })
}

// --- what a rebuild does too ---

/** Columns that a `tag` link settles, and what was asked. */
export function runRow(facts: RunFacts, report: HistoryFileFacts) {
  const { run: _run, state, started: _started, ended, tags, findings, counters, ...request } = facts
  const settled = { state, ended, reason: null, tags, findings, counters: JSON.stringify(counters) }
  return { ...settled, report: report.sha256, request: JSON.stringify(request satisfies RunRequest) }
}

export async function insertTagFiles(
  tx: Tx,
  files: readonly (TagFile & { readonly directory: string })[],
  home: (segment: number) => number,
): Promise<void> {
  const rows = files.map(({ run, segment, directory, name, size, sha256, manifest, rows }) => ({
    ...{ run, named: segment, segment: home(segment), directory, name, size, sha256, row_count: rows },
    ...{ manifest: serializeManifest(manifest).toString(), state: 'live' as const },
    ...{ retired_at: null, retirement: null },
  }))
  for (const batch of batches(rows)) await tx.insertInto('tag_files').values(batch).execute()
}

/** Where the events of a segment are in the end; `by`: which segment replaced which. */
export function following(by: ReadonlyMap<number, number>): (segment: number) => number {
  return (segment) => {
    let home = segment
    for (let next = by.get(home); next !== undefined; next = by.get(home)) home = next
    return home
  }
}

/** Adds a run to its findings, made where no run has them yet; answers how many were made. */
export async function insertFindings(
  tx: Tx,
  collection: string,
  run: number,
  sequence: number,
  found: Iterable<FindingLine & { readonly line: number }>,
): Promise<number> {
  let made = 0
  const write = async (rows: readonly Tables['findings'][]): Promise<void> => {
    if (rows.length === 0) return
    const insert = tx.insertInto('findings').values(rows)
    const inserted = await insert
      .onConflict((conflict) => conflict.doNothing())
      .returning('uid')
      .execute()
    made += inserted.length
    await tx
      .insertInto('finding_runs')
      .values(rows.map(({ uid }) => ({ run, collection, uid })))
      .execute()
  }
  let rows: Tables['findings'][] = []
  for (const { line, uid, kind, rule, label, plugin, severity, title, event_uid, event, segment, time } of found) {
    const about = { event_uid: event_uid ?? '', event: event ?? 0, segment: segment ?? null, time }
    const told = { line, uid, kind, rule, label, plugin, title, ...about }
    rows.push({ collection, sequence, ...told, severity: SEVERITIES.indexOf(severity) })
    if (rows.length < FINDINGS_AT_ONCE) continue
    await write(rows)
    rows = []
  }
  await write(rows)
  return made
}

/** Takes a run from its findings, and away those that it alone has; answers how many. */
export async function forgetRun(tx: Tx, run: number): Promise<number> {
  const { numAffectedRows } = await sql`delete from findings where exists
      (select 1 from finding_runs r where r.run = ${run} and r.collection = findings.collection and r.uid = findings.uid)
    and not exists
      (select 1 from finding_runs r where r.run <> ${run} and r.collection = findings.collection and r.uid = findings.uid)`.execute(
    tx,
  )
  await tx.deleteFrom('finding_runs').where('run', '=', run).execute()
  return Number(numAffectedRows ?? 0n)
}

/** Uncommitted files that bear the number of a run. */
export function removeRunFiles(context: CatalogContext, collection: string, run: number): string[] {
  const removed: string[] = []
  for (const directory of [context.collectionDirectory(collection), context.manifestDirectory(collection)]) {
    const names = namesIfThere(directory).filter((name) => runOfFile(name) === run)
    for (const name of names) rmSync(join(directory, name), { force: true })
    if (names.length) syncDirectory(directory)
    removed.push(...names)
  }
  return removed
}

/** The run whose number a file bears: tag file, findings, report, their manifests and temporary forms. */
export function runOfFile(name: string): number | undefined {
  const match = /^(?:tag-\d{9,}-|finding-|run-)(\d{9,})\./.exec(name)
  return match ? Number(match[1]) : undefined
}

// --- internal ---

const FINDINGS_AT_ONCE = 500

const unknownRun = (run: number): ColdtrailError => new ColdtrailError('E_RUN_UNKNOWN', { run })

async function storedRun({ db }: CatalogContext, run: number): Promise<Stored> {
  const row = Number.isSafeInteger(run)
    ? await db.selectFrom('runs').selectAll().where('run', '=', run).where('state', '!=', 'removed').executeTakeFirst()
    : undefined
  if (!row) throw unknownRun(run)
  return row
}

async function assertRunning(context: CatalogContext, tx: Tx, owner: Owner, run: number): Promise<void> {
  await context.assertOwner(tx, owner)
  const row = await tx.selectFrom('runs').select(['owner', 'state']).where('run', '=', run).executeTakeFirst()
  if (row?.owner !== owner.id || row.state !== 'running')
    throw new ColdtrailError('E_CLAIM_LOST', { reason: `run ${run} is not its own any more` })
}

/** Runs `then` while nobody else can hold the run; E_RUN_BUSY while its process lives. */
async function whenDead(
  context: CatalogContext,
  { run, owner: held }: Stored,
  owner: Owner,
  then: (tx: Tx) => Promise<void>,
): Promise<void> {
  const own = async (tx: Tx): Promise<void> => {
    await context.assertOwner(tx, owner)
    const row = await tx.selectFrom('runs').select(['owner', 'sequence']).where('run', '=', run).executeTakeFirst()
    if (!row) throw unknownRun(run)
    if (row.owner !== held || row.sequence !== null) throw new ColdtrailError('E_RUN_BUSY', { run })
    await then(tx)
  }
  if (held === owner.id) await context.write(own)
  else if (!(await takeOver(context, held, own))) throw new ColdtrailError('E_RUN_BUSY', { run })
}

/** Undefined for who may only read. */
async function isHeld(context: CatalogContext, owner: string): Promise<boolean | undefined> {
  if (context.owners.has(owner)) return true
  if (!context.key) return undefined
  const lock = await context.locks.acquire(owner)
  await lock?.release()
  return lock === undefined
}

/** Where the events of a segment are now, by the `replace` links behind a number. */
async function replacedSince(tx: Tx, collection: string, number: number): Promise<(segment: number) => number> {
  const rows = await tx
    .selectFrom('links')
    .select(['number', 'bytes'])
    .where('collection', '=', collection)
    .where('number', '>', number)
    .orderBy('number')
    .execute()
  const by = new Map<number, number>()
  for (const { number, bytes } of rows) {
    const { body } = parseLink(bytes, linkFileName(number))
    // Its results may speak of events that are no more.
    if (body.action === 'erase')
      throw new ColdtrailError('E_CLAIM_LOST', { reason: 'records were erased while it ran' })
    const made = segmentOf(body)
    if (made) for (const segment of replacedOf(body)) by.set(segment, made.segment)
  }
  return following(by)
}
