/**
 * Staging into base tables, in the steps of docs/design.md §11: resolve, compare, insert, apply. Every write of the
 * library is one; a dry run ends after the comparison.
 */
import { all, type Row } from '../../platform/database/session.ts'
import { faultPoint } from '../../platform/faults.ts'
import { headSequence, publish } from '../changes.ts'
import type { Library } from '../library.ts'
import { TABLES, type Table } from '../model.ts'
import type { LibraryTx } from '../schema.ts'
import { type Applied, apply } from './apply.ts'
import { compareTable, exists, prepareComparison } from './compare.ts'
import { tellDifferences } from './differences.ts'
import { findGone } from './gone.ts'
import { insertTable } from './insert.ts'
import { count, lookAround, MergeRun } from './mergeRun.ts'
import type { Conflict, Difference, MergePolicy, MergeProgress, MergeReport, TableReport } from './policy.ts'
import { resolveAll } from './resolve.ts'
import { StagedRun, type Staging } from './staging.ts'

export interface MergeOptions {
  /** Says what would happen, and writes nothing to the library. */
  readonly dryRun?: boolean
  readonly onProgress?: (progress: MergeProgress) => void
  /** Told of every conflict. */
  readonly onConflict?: (conflict: Conflict) => void
  /** In a dry run: told of every field that would change. */
  readonly onDifference?: (difference: Difference) => void
  /** In the last transaction, before the run becomes visible; may be called again when the database asks for it. */
  readonly beforePublish?: (tx: LibraryTx, report: MergeReport) => Promise<void>
  readonly signal?: AbortSignal
}

const KEPT_CONFLICTS = 10_000

/**
 * Merges what is staged and drops the staging. After an error or an abort the staging is as it was: `close` leaves it for
 * a run that goes on, `drop` removes it.
 */
export async function merge(
  library: Library,
  staging: Staging,
  policy: MergePolicy,
  options: MergeOptions = {},
): Promise<MergeReport> {
  const staged = staging as StagedRun
  if (!(staged instanceof StagedRun) || staged.library !== library) throw new TypeError('staging of another library')
  const { dryRun = false, onProgress, signal } = options
  const run = new MergeRun(staged, policy)
  const { tables } = staged
  const total = tables.length
  let done = 0
  const step = (name: MergeProgress['step'], table?: Table) => {
    signal?.throwIfAborted()
    onProgress?.({ step: name, table: table?.name, done, total })
  }
  step('resolve')
  await resolveAll(run, { dryRun, onTable: (table) => step('resolve', table) })
  await staged.makeViews()

  step('compare')
  run.comparedSince = await headSequence(run.db)
  const gone = await run.own(async (tx) => {
    await lookAround(run, tx)
    await prepareComparison(run, tx)
    for (const table of tables) {
      step('compare', table)
      await compareTable(run, tx, table)
    }
    return findGone(run, tx)
  })
  if (dryRun) {
    const report = await reportOf(run, run.db, await preview(run, gone), new Map())
    await tellConflicts(run, run.db, options)
    if (options.onDifference) await tellDifferences(run, run.db, options.onDifference)
    await staged.drop()
    return report
  }

  const rows = await newRows(run)
  const wanted = [...rows.values()].reduce((sum, n) => sum + n, 0)
  let inserted = 0
  for (const table of tables)
    await insertTable(run, table, (count) => {
      signal?.throwIfAborted()
      inserted += count
      onProgress?.({ step: 'insert', table: table.name, done: inserted, total: wanted })
    })

  done = total
  step('apply')
  await staged.session.settle()
  staged.requireOwner()
  faultPoint('merge.applying')
  const report = await staged.session.database.write(async (tx) => {
    const applied = await apply(run, tx)
    const report = await reportOf(run, tx, applied, await newRows(run, tx))
    const isChanged = report.tables.some((one) => one.inserted + one.updated + one.deleted > 0)
    const seq = isChanged ? (await headSequence(tx)) + 1 : undefined
    const whole = { ...report, ...(seq === undefined ? {} : { seq }) }
    await options.beforePublish?.(tx, whole)
    if (!isChanged) return whole
    return { ...whole, seq: await publish(tx, staged.change) }
  })
  faultPoint('merge.published')
  await tellConflicts(run, run.db, options)
  await staged.drop()
  return report
}

// --- internal ---

/** Rows to be inserted, or inserted, by table. */
async function newRows(run: MergeRun, on: unknown = run.db): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (const table of run.staged.tables) found.set(table.name, await run.newRows(on, table))
  return found
}

async function preview(run: MergeRun, gone: ReadonlyMap<string, number>): Promise<Applied> {
  const updated = new Map<string, number>()
  for (const table of run.staged.tables)
    if (run.state(table).existing > 0) updated.set(table.name, await changing(run, table))
  return { updated, gone, late: await newRows(run) }
}

async function changing(run: MergeRun, table: Table): Promise<number> {
  return (await exists(run, run.db, table)) ? count(run.db, `select count(*) from ${run.stepTable('next', table)}`) : 0
}

async function reportOf(
  run: MergeRun,
  on: unknown,
  { updated, gone, late }: Applied,
  inserted: ReadonlyMap<string, number>,
): Promise<MergeReport> {
  const { staged } = run
  const byTable = async (text: string) =>
    new Map((await all(on, text)).map(({ table_name, rows }) => [table_name as string, Number(rows)]))
  const refused = await byTable(`select table_name, count(*) as rows from ${staged.own('rejects')} group by table_name`)
  const kept = await byTable(
    `select table_name, count(distinct row_id) as rows from ${staged.own('conflicts')} where decision = 'local' group by table_name`,
  )
  const tables: TableReport[] = []
  for (const { name } of TABLES) {
    const quarantined = refused.get(name) ?? 0
    const deleted = gone.get(name) ?? 0
    if (!staged.counts.has(name) && quarantined + deleted + (kept.get(name) ?? 0) === 0) continue
    const left = staged.counts.has(name)
      ? await count(on, `select count(*) from ${staged.own(`sync_import_${name}_${staged.pid}`)}`)
      : 0
    const news = (inserted.get(name) ?? 0) + (late.get(name) ?? 0)
    const changed = updated.get(name) ?? 0
    const counts = { inserted: news, updated: changed, deleted, kept: kept.get(name) ?? 0, quarantined }
    tables.push({ table: name, staged: left + quarantined, ...counts, unchanged: Math.max(0, left - news - changed) })
  }
  const conflicts = await all(on, `select * from ${staged.own('conflicts')} order by id limit ${KEPT_CONFLICTS}`)
  return {
    tables,
    conflictCount: await count(on, `select count(*) from ${staged.own('conflicts')}`),
    conflicts: conflicts.map(conflictOf),
    change: staged.change,
  }
}

const conflictOf = (row: Row): Conflict => ({
  table: row.table_name,
  uid: row.uid,
  name: row.name ?? '',
  field: row.field,
  local: row.local,
  incoming: row.incoming,
  decision: row.decision,
  reason: row.reason,
})

async function tellConflicts(run: MergeRun, on: unknown, { onConflict }: MergeOptions): Promise<void> {
  if (!onConflict) return
  for (let after = 0; ; ) {
    const rows = await all(
      on,
      `select * from ${run.staged.own('conflicts')} where id > ${after} order by id limit 1000`,
    )
    if (rows.length === 0) return
    for (const row of rows) onConflict(conflictOf(row))
    after = Number(rows.at(-1)!.id)
  }
}
