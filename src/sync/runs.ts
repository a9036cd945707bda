/** Runs of sync and what each of them left: bundle, stream, acknowledgements, rows (L19). */
import { ColdtrailError } from '../core/errors.ts'
import type { Library } from '../library/library.ts'
import { TABLES } from '../library/model.ts'
import { findRun, isAlive, listRuns, type RunRecord } from './synchronizations.ts'

export interface RunSummary extends Omit<RunRecord, 'owner' | 'report'> {
  /** A run that says `running` and whose process is gone. */
  readonly died: boolean
  readonly bundle?: BundleOfRun
}

export interface BundleOfRun {
  readonly name: string
  readonly kind: string
  readonly seq: number
  readonly base_seq: number
  readonly audience: string | null
  readonly manifest_sha256: string
  /** Of an import: whose bundle it was. */
  readonly site?: string
  /** Of an export: which sites have acknowledged it. */
  readonly acknowledged?: readonly string[]
}

export interface RunDetails extends RunSummary {
  readonly report: RunRecord['report']
  /** Rows that bear the run's change, by table: those that it made, and those that nobody changed since it did. */
  readonly rows?: Readonly<Record<string, { readonly made: number; readonly last_changed: number }>>
  readonly fields_changed?: number
}

/** Newest first. */
export async function runSummaries(library: Library, limit?: number): Promise<readonly RunSummary[]> {
  const records = await listRuns(library, limit)
  const summaries: RunSummary[] = []
  for (const record of records) summaries.push(await summaryOf(library, record))
  return summaries
}

/** One run in full. E_SYNC_RUN when there is none; the beginning of its number is enough where it is the only one. */
export async function runDetails(library: Library, run: string): Promise<RunDetails> {
  const record = (await findRun(library, run)) ?? (await byBeginning(library, run))
  const summary = await summaryOf(library, record)
  if (record.change === null) return { ...summary, report: record.report }
  const { db } = library.database
  const rows: Record<string, { made: number; last_changed: number }> = {}
  const counted = (table: string, column: string) =>
    db
      .selectFrom(table)
      .select((select) => select.fn.countAll<number>().as('n'))
      .where(column, '=', record.change)
      .executeTakeFirstOrThrow()
  for (const { name } of TABLES) {
    // By the index on `change`: a row that the run made and somebody changed later is not counted as made.
    const last_changed = Number((await counted(name, 'change')).n)
    if (last_changed === 0) continue
    const made = await db
      .selectFrom(name)
      .select((select) => select.fn.countAll<number>().as('n'))
      .where('change', '=', record.change)
      .where('created_change', '=', record.change)
      .executeTakeFirstOrThrow()
    rows[name] = { made: Number(made.n), last_changed }
  }
  const fields = await counted('journal', 'change')
  return { ...summary, report: record.report, rows, fields_changed: Number(fields.n) }
}

// --- internal ---

const SHORTEST_BEGINNING = 6

async function byBeginning(library: Library, run: string): Promise<RunRecord> {
  const found =
    run.length < SHORTEST_BEGINNING ? [] : (await listRuns(library)).filter((record) => record.run.startsWith(run))
  if (found.length === 1) return found[0]!
  const message = found.length === 0 ? `There is no run ${run}.` : `${found.length} runs begin with ${run}.`
  throw new ColdtrailError('E_SYNC_RUN', { message })
}

async function summaryOf(library: Library, record: RunRecord): Promise<RunSummary> {
  const { owner: _, report: __, ...known } = record
  const died = record.state === 'running' && !(await isAlive(library, record))
  return { ...known, died, bundle: await bundleOf(library, record) }
}

async function bundleOf(
  { database: { db } }: Library,
  { run, type, report }: RunRecord,
): Promise<BundleOfRun | undefined> {
  if (type !== 'export' && type !== 'import') return undefined
  const table = type === 'export' ? 'sync_exports' : 'sync_bundles'
  const row = await db.selectFrom(table).selectAll().where('run', '=', run).executeTakeFirst()
  // A refused bundle, or one that was in already, is in no ledger: what the run saw of it is in its record.
  if (!row) return type === 'import' ? (report.bundle as BundleOfRun | undefined) : undefined
  const { name, kind, seq, base_seq, manifest_sha256 } = row as unknown as BundleOfRun
  const bundle = { name, kind, seq, base_seq, audience: (row.audience as string) || null, manifest_sha256 }
  if (type === 'import') return { ...bundle, site: row.site as string }
  const acks = await db.selectFrom('sync_acks').select('site').where('manifest_sha256', '=', manifest_sha256).execute()
  return { ...bundle, acknowledged: acks.map(({ site }) => site as string).sort() }
}
