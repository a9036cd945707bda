/**
 * Imports a bundle in the order of docs/design.md §12: nothing is written to the library before the whole file is
 * proved. A report and the record of the run are written in every case.
 */
import { existsSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { asColdtrailError, ColdtrailError } from '../../core/errors.ts'
import { bytesText } from '../../core/terminalText.ts'
import { headSequence } from '../../library/changes.ts'
import { type StateDigest, stateDigest } from '../../library/digest.ts'
import type { Library } from '../../library/library.ts'
import { merge } from '../../library/merge/merge.ts'
import type { Conflict, Difference, MergePolicy, MergeReport } from '../../library/merge/policy.ts'
import { openStaging, type StagedRun, sweepStaging } from '../../library/merge/staging.ts'
import type { LibraryTx } from '../../library/schema.ts'
import type { Lock } from '../../platform/database/locks.ts'
import { fileSystemOf, isWritable } from '../../platform/fileSystem.ts'
import { makeDirectory } from '../../platform/files.ts'
import { type Bundle, openBundle } from '../bundle/bundleReader.ts'
import { scratchOf, sweepScratch } from '../bundle/encryption.ts'
import type { BundleEntry } from '../bundle/manifest.ts'
import { requireHashes } from '../fillHash.ts'
import { watchMemory } from '../memoryWatch.ts'
import { type Stopwatch, stopwatch } from '../stopwatch.ts'
import {
  abandonRun,
  beginRun,
  canonicalJson,
  configHashes,
  deadRuns,
  type OpenRun,
  type RunRecord,
  unfinishedRuns,
} from '../synchronizations.ts'
import { requireTrusted, type Trust, type TrustPolicy } from '../trust.ts'
import { type Admission, admit, recordApplied, type Stream, streamOf } from './admission.ts'
import { loadShards, portionOf, storeBlobs } from './load.ts'
import { openOwners } from './owners.ts'
import { writeReports } from './report.ts'
import { planShards, rememberShards, type ShardWork } from './shards.ts'
import type { ImportProgress, ImportStep, ImportSummary } from './summary.ts'

export type ImportPolicy = Pick<
  MergePolicy,
  'conflicts' | 'deletions' | 'keepCreatedAt' | 'overrideDescription' | 'objectLimit'
>

export interface ImportRequest {
  /** Absolute, or relative to `transferDir`. */
  readonly file: string
  readonly transferDir: string
  /** Name of this site. */
  readonly site: string
  readonly policy: ImportPolicy
  readonly trust: TrustPolicy
  /** Files with age identities, for an encrypted bundle. */
  readonly identities?: readonly string[]
  /** CSV `from,to`: users of the source and who stands for them here. */
  readonly userMap?: string
  /** Resident bytes above which the run ends. */
  readonly memoryLimit?: number
  /** Default: the current directory. */
  readonly reportDir?: string
  readonly dryRun?: boolean
  /** Go on where a run of the same bundle and policy ended; default yes. */
  readonly resume?: boolean
  /** As given, for record and report. */
  readonly options?: Readonly<Record<string, unknown>>
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: ImportProgress) => void
  /** In a dry run: every field that would change; the summary has the first 10,000. */
  readonly onDifference?: (difference: Difference) => void
  /** Every conflict; the summary has the first 10,000. */
  readonly onConflict?: (conflict: Conflict) => void
}

/** A fault of the run is `summary.error`; everything else that ends before a run begins is thrown. */
export async function importBundle(library: Library, request: ImportRequest): Promise<ImportSummary> {
  const path = locate(request)
  const reportDir = resolve(request.reportDir ?? '.')
  makeDirectory(reportDir)
  if (!isWritable(reportDir))
    throw new ColdtrailError('E_FILE_WRITE', { path: reportDir, cause: 'no right to write there' })
  const summary = newSummary(path, request)
  // A dry run leaves nothing behind, not even its record.
  const run = request.dryRun
    ? undefined
    : await beginRun(library, { type: 'import', config: configOf(path, request), options: summary.options })
  if (run) summary.run = run.run
  const clock = stopwatch(summary, () => summary.totals.staged)
  const watch = watchMemory(request.memoryLimit)
  const signal = AbortSignal.any([watch.signal, ...(request.signal ? [request.signal] : [])])
  try {
    signal.throwIfAborted()
    await runImport({ library, request: { ...request, signal }, path, summary, run, clock })
  } catch (error) {
    summary.result = 'failed'
    summary.error = asColdtrailError(signal.aborted ? signal.reason : error)
  } finally {
    watch.stop()
  }
  clock.end()
  summary.finished = new Date().toISOString()
  let unwritten: unknown
  try {
    summary.reports = writeReports(reportDir, path, summary)
  } catch (error) {
    unwritten = error
  }
  // What is done is done: the record says so, whatever became of the report.
  if (summary.error) await run?.fail(summary.error, recordOf(summary))
  else if (run) await run.finish(recordOf(summary))
  if (unwritten !== undefined && !summary.error) throw unwritten
  return summary
}

// --- internal ---

interface Work {
  readonly library: Library
  readonly request: ImportRequest
  readonly path: string
  readonly summary: ImportSummary
  readonly run: OpenRun | undefined
  readonly clock: Stopwatch<ImportStep>
}

async function runImport(work: Work): Promise<void> {
  const { library, request, path, summary, run, clock } = work
  clock.step('open')
  const scratch = scratchOf(library.dataDir)
  sweepScratch(scratch)
  const bundle = await openBundle(path, { identities: request.identities, scratch })
  try {
    describe(summary, bundle)
    await run?.note({ report: { bundle: summary.bundle } })
    const trusted = await requireTrusted(library, bundle, request.trust)
    summary.key = { id: trusted.key, pinned_now: trusted.pinned }
    const lock = await onlyImport(library, streamOf(bundle.manifest))
    try {
      const admission = await admit(library, bundle, request.site)
      summary.skipped_bundles = admission.skipped
      if (admission.known) {
        summary.result = 'known'
        // The process that took it in may have died right after.
        if (run) await sweepDead(library)
      } else await takeIn(work, bundle, admission, trusted)
    } finally {
      await lock.release()
    }
  } finally {
    await bundle.close()
  }
}

/** Two imports of one stream would each count on what the other is about to change. E_SYNC_BUSY. */
async function onlyImport(library: Library, stream: Stream): Promise<Lock> {
  const lock = await library.database.locks.acquire(`hold-sync-${configHashes(stream).hash}`)
  if (!lock) throw new ColdtrailError('E_SYNC_BUSY', { site: stream.site })
  return lock
}

async function takeIn(work: Work, bundle: Bundle, admission: Admission, trusted: Trust): Promise<void> {
  const { library, request, summary, run, clock } = work
  const { signal, dryRun = false } = request
  const progress = progressTo(request)
  const { manifest } = bundle

  clock.step('verify')
  await bundle.verify({ signal, onProgress: ({ bytes, totalBytes }) => progress('verify', bytes, totalBytes) })
  requireSpace(library, bundle)
  await requireHashes(library)
  const owners = await openOwners(library, request.userMap)

  clock.step('load')
  const since = await headSequence(library.database.db)
  const plan = await planShards(library, admission.stream, manifest.entries)
  const rows = manifest.totals.rows + manifest.totals.deleted
  let done = 0
  const onRows = (table: string, count: number): void => {
    done += count
    progress('load', done, rows, table)
  }
  let isRecorded = false
  const record = async (tx: LibraryTx, report: MergeReport): Promise<void> => {
    isRecorded = true
    await trusted.remember(tx)
    await settle(tx, { bundle, run: run!.run, admission, report, since, request })
    countRows(summary, report)
    // With the rows: a process that dies now leaves a run that is finished.
    await run!.finish(recordOf(summary), tx)
  }

  const isIdle = [...plan.values()].every((todo) => todo === 'skip')
  const staging = isIdle ? undefined : await enter(work, bundle, plan)
  let report = NOTHING_DONE
  try {
    const loading = { bundle, staging, plan, owners, library, summary, onRows, signal }
    await loadShards(loading)
    summary.owners = owners.notes
    await run?.note({ report: { loaded: true } })
    if (!dryRun) {
      clock.step('blobs')
      await storeBlobs(loading)
    }
    if (staging) {
      report = await merge(library, staging, mergePolicy(request.policy), {
        dryRun,
        signal,
        onProgress(now) {
          clock.step(now.step)
          progress(now.step, now.done, now.total, now.table)
        },
        onConflict: request.onConflict,
        onDifference(difference) {
          summary.difference_count += 1
          if (summary.differences.length < KEPT_DIFFERENCES) summary.differences.push(difference)
          request.onDifference?.(difference)
        },
        ...(run && { beforePublish: record }),
      })
    }
    countRows(summary, report)
    if (report.seq !== undefined) {
      summary.change = report.change
      summary.seq = report.seq
    }
    // Nothing was there to publish: ledger and position still move on.
    if (!dryRun && !isRecorded) await library.database.write((tx) => record(tx, report))
    const { inserted, updated, deleted } = summary.totals
    summary.result = dryRun ? 'dry run' : inserted + updated + deleted === 0 ? 'unchanged' : 'imported'
  } catch (error) {
    // What is loaded is gone on with; of a dry run nothing is left.
    await (dryRun ? staging?.drop() : staging?.close())
    throw error
  }

  if (!dryRun && manifest.tables !== null && manifest.kind === 'full') {
    clock.step('compare digests')
    progress('compare digests', 0, 1)
    summary.state = await compareState(library, manifest.tables)
  }
}

const KEPT_DIFFERENCES = 10_000

const NOTHING_DONE: MergeReport = { tables: [], conflictCount: 0, conflicts: [], change: 0 }

const progressTo =
  ({ onProgress }: ImportRequest) =>
  (step: ImportStep, done: number, total: number, table?: string): void =>
    onProgress?.({ step, done, total, ...(table !== undefined && { table }) })

/** Takes over what a run of the same bundle and policy left, else begins anew; sweeps what nobody goes on with. */
async function enter(
  { library, request, run, summary }: Work,
  bundle: Bundle,
  plan: ReadonlyMap<BundleEntry, ShardWork>,
): Promise<StagedRun> {
  const { site, bundle: source } = bundle.manifest
  const place = { run: run?.run ?? 'dry-run', pid: process.pid, kind: 'sync' as const, site, source }
  const open = async (resume?: number): Promise<StagedRun> => {
    const staging = await openStaging(library, { ...place, resume })
    // What goes on is this run's from now on: it is by its number that it can be undone.
    await library.database.db.updateTable('changes').set({ run: place.run }).where('id', '=', staging.change).execute()
    await run?.note({ change: staging.change })
    return staging
  }
  const goOn = run !== undefined && request.resume !== false
  const before = goOn
    ? (await unfinishedRuns(library, 'import')).find((one) => isSameWork(one, bundle, request))
    : undefined
  if (!before || before.change === null) {
    await sweepDead(library)
    return open()
  }
  const staging = await open(before.change)
  // Rows that were left out then and are needed now would come behind what is resolved already.
  const isLoading = before.report.loaded !== true
  const fits = [...plan].every(
    ([entry, todo]) =>
      todo === 'skip' ||
      staging.loaded.has(entry.path) ||
      staging.loaded.has(portionOf(entry, todo)) ||
      (isLoading && !staging.loaded.has(portionOf(entry, 'ids'))),
  )
  if (before.state === 'running') await abandonRun(library, before, `The process died; run ${run!.run} goes on.`)
  await sweepDead(library)
  if (!fits) {
    await staging.drop()
    return open()
  }
  summary.resumed_run = before.run
  return staging
}

/** Runs that died and their sync tables. */
async function sweepDead(library: Library): Promise<void> {
  for (const dead of await deadRuns(library, 'import')) await abandonRun(library, dead, 'The process died.')
  await sweepStaging(library)
  library.blobs.sweep()
}

const isSameWork = ({ report, config }: RunRecord, bundle: Bundle, request: ImportRequest): boolean =>
  (report.bundle as ImportSummary['bundle'])?.manifest_sha256 === bundle.manifestSha256 &&
  canonicalJson({ ...config, file: null }) === canonicalJson({ ...configOf('', request), file: null })

/** Ledger, position, shards: part of the transaction that makes the run visible. */
async function settle(
  tx: LibraryTx,
  {
    bundle,
    run,
    admission,
    report,
    since,
    request,
  }: {
    readonly bundle: Bundle
    readonly run: string
    readonly admission: Admission
    readonly report: MergeReport
    readonly since: number
    readonly request: ImportRequest
  },
): Promise<void> {
  await recordApplied(tx, bundle, run)
  // With these options a row that is here does not become what the file says.
  if (!request.policy.keepCreatedAt || !request.policy.overrideDescription) return
  const unsettled = new Set(
    report.tables.filter(({ kept, quarantined }) => kept + quarantined > 0).map(({ table }) => table),
  )
  const { entries } = bundle.manifest
  const settled = new Set(entries.flatMap(({ table }) => (table === undefined || unsettled.has(table) ? [] : [table])))
  const wrote = report.tables.some(({ inserted, updated, deleted }) => inserted + updated + deleted > 0)
  await rememberShards(tx, admission.stream, { entries, settled, since, change: wrote ? report.change : undefined })
}

async function compareState(library: Library, stated: Readonly<Record<string, string>>) {
  const { digest, tables } = await digestAtHead(library)
  const names = new Set([...Object.keys(stated), ...Object.keys(tables)])
  const different: { table: string; why: string }[] = []
  for (const table of names) {
    if ((tables[table]?.digest ?? EMPTY_TABLE) === (stated[table] ?? EMPTY_TABLE)) continue
    const { rows } = await library.database.db
      .selectFrom(table)
      .innerJoin('changes', 'changes.id', `${table}.change`)
      .select((select) => select.fn.countAll<number>().as('rows'))
      .where('changes.kind', '!=', 'sync')
      .where(`${table}.deleted_at`, 'is', null)
      .executeTakeFirstOrThrow()
    const local = Number(rows)
    different.push({
      table,
      why:
        local > 0 ? `${local} rows were made or edited here` : 'rows were kept here; see conflicts and what was kept',
    })
  }
  return { identical: different.length === 0, digest, different }
}

/** The state's digest, which is that of its sequence number: computed again only when that has moved on. */
async function digestAtHead(library: Library): Promise<StateDigest> {
  const { db } = library.database
  const known = await db.selectFrom('facts').select('value').where('name', '=', 'sync state').executeTakeFirst()
  const before = known && (JSON.parse(known.value as string) as StateDigest)
  if (before && before.seq === (await headSequence(db))) return before
  const now = await stateDigest(library)
  const value = JSON.stringify(now)
  await db
    .insertInto('facts')
    .values({ name: 'sync state', value })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ value }))
    .execute()
  return now
}

/** Sum over no rows. */
const EMPTY_TABLE = '0'.repeat(64)

function locate({ file, transferDir }: Pick<ImportRequest, 'file' | 'transferDir'>): string {
  const path = isAbsolute(file) ? file : join(transferDir, file)
  if (!isAbsolute(file) && !existsSync(path) && existsSync(resolve(file)))
    throw new ColdtrailError('E_FILE_READ', {
      path,
      cause: `a relative file is one of the transfer directory; for ${resolve(file)} give the whole path`,
    })
  return path
}

function requireSpace(library: Library, { manifest }: Bundle): void {
  const { blobs, rows } = manifest.entries.reduce(
    (sum, { op, bytes }) => ({
      blobs: sum.blobs + (op === 'blob' ? bytes : 0),
      rows: sum.rows + (op === 'rows' ? bytes : 0),
    }),
    { blobs: 0, rows: 0 },
  )
  // Staging, base tables with their indexes, and the log of both.
  const needed = blobs + (library.database.dialect === 'sqlite' ? 5 * rows : 0)
  const { freeBytes } = fileSystemOf(library.dataDir)
  if (freeBytes < needed)
    throw new ColdtrailError('E_SYNC_SPACE', {
      path: library.dataDir,
      free: bytesText(freeBytes),
      needed: bytesText(needed),
    })
}

const mergePolicy = (policy: ImportPolicy): MergePolicy => ({ ...policy, keepWhereAbsent: false })

/** What makes two runs the same (P45). */
const configOf = (path: string, { policy, userMap }: ImportRequest) => ({
  file: path,
  conflicts: policy.conflicts,
  deletions: policy.deletions,
  keep_created_at: policy.keepCreatedAt ? 'Y' : 'N',
  override_description: policy.overrideDescription ? 'Y' : 'N',
  object_limit: policy.objectLimit,
  user_map: userMap ?? null,
})

function newSummary(path: string, request: ImportRequest): ImportSummary {
  return {
    type: 'sync import',
    result: 'failed',
    file: path,
    run: null,
    pid: process.pid,
    started: new Date().toISOString(),
    options: request.options ?? { ...configOf(path, request), dry_run: request.dryRun ?? false },
    skipped_bundles: [],
    shards: { loaded: 0, ids_only: 0, unchanged: 0, loaded_before: 0 },
    tables: [],
    totals: { staged: 0, inserted: 0, updated: 0, deleted: 0, kept: 0, quarantined: 0 },
    conflict_count: 0,
    conflicts: [],
    difference_count: 0,
    differences: [],
    blobs: { stored: 0, present: 0, missing: 0, missing_names: [] },
    owners: [],
    steps: [],
    seconds: 0,
    rows_per_s: 0,
    peak_rss_mb: 0,
    reports: null,
  }
}

function describe(summary: ImportSummary, { manifest, manifestSha256 }: Bundle): void {
  const { bundle: name, site, audience, kind, seq, base_seq, created, tool } = manifest
  summary.bundle = { name, site, audience, kind, seq, base_seq, manifest_sha256: manifestSha256, created, tool }
}

function countRows(summary: ImportSummary, report: MergeReport): void {
  const sum = (of: (table: MergeReport['tables'][number]) => number) =>
    report.tables.reduce((all, table) => all + of(table), 0)
  summary.tables = report.tables
  summary.totals = {
    staged: sum(({ staged }) => staged),
    inserted: sum(({ inserted }) => inserted),
    updated: sum(({ updated }) => updated),
    deleted: sum(({ deleted }) => deleted),
    kept: sum(({ kept }) => kept),
    quarantined: sum(({ quarantined }) => quarantined),
  }
  summary.conflict_count = report.conflictCount
  summary.conflicts = report.conflicts
}

/** The part of the report that goes into the record: counts and measures (P34, P44), not every conflict. */
function recordOf({
  options: _,
  differences: ____,
  conflicts: __,
  error: ___,
  ...summary
}: ImportSummary): Readonly<Record<string, unknown>> {
  return { ...summary, tables_created: summary.tables.map(({ table }) => `sync_import_${table}_${summary.pid}`) }
}
