/**
 * What a bundle continues (docs/design.md §12, Streams): nothing, the last full bundle of its stream, or the lowest one
 * that the acknowledging sites have confirmed.
 */
import { ColdtrailError } from '../../core/errors.ts'
import type { Library } from '../../library/library.ts'
import type { BundleKind, BundleManifest } from '../bundle/manifest.ts'

export type BaseChoice = 'auto' | 'full' | 'delta' | 'differential'

export interface StreamPlace {
  readonly kind: BundleKind
  readonly seq: number
  readonly prevSha256: string | null
  readonly baseSeq: number
  /** Sequence number of changes up to which the base is complete; 0: nothing is there yet. */
  readonly since: number
  readonly covered: BundleManifest['covered']
}

/** A row of `sync_exports`. */
export interface ExportRow {
  readonly audience: string
  readonly config_hash: string
  readonly seq: number
  readonly manifest_sha256: string
  readonly name: string
  readonly kind: BundleKind
  readonly base_seq: number
  readonly horizon: number
  readonly run: string
  readonly created_at: number
}

/** E_SYNC_BASE when what `choice` insists on is not there. */
export async function placeInStream(
  library: Library,
  stream: { readonly audience: string; readonly config_hash: string },
  choice: BaseChoice,
  isWindow: boolean,
): Promise<StreamPlace> {
  const exports = await exportsOf(library, stream)
  const last = exports.at(-1)
  const next = { seq: (last?.seq ?? 0) + 1, prevSha256: last?.manifest_sha256 ?? null }
  if (isWindow) return { ...next, kind: 'window', baseSeq: 0, since: 0, covered: [] }
  // A window continues nothing, and nothing continues it: no target misses one.
  const steps = exports.filter(({ kind }) => kind !== 'window')
  const whole = { ...next, kind: 'full' as const, baseSeq: 0, since: 0, covered: listed(steps) }
  if (choice === 'full') return whole
  // A full bundle whose run died may never have come to lie where it was to.
  const finished = await finishedRuns(library)
  const full = steps.findLast(({ kind, run }) => kind === 'full' && finished.has(run))
  const acknowledged = await lowestAcknowledged(library, steps)
  if (choice === 'delta' && acknowledged === undefined)
    throw new ColdtrailError('E_SYNC_BASE', { wanted: 'delta', missing: 'no bundle of it was acknowledged yet' })
  if (choice === 'differential' && full === undefined)
    throw new ColdtrailError('E_SYNC_BASE', { wanted: 'differential', missing: 'it has no full bundle yet' })
  const base = choice === 'differential' ? full : (acknowledged ?? full)
  if (base === undefined) return whole
  return {
    ...next,
    kind: choice === 'differential' ? 'differential' : 'delta',
    baseSeq: base.seq,
    since: base.horizon,
    covered: listed(steps),
  }
}

export async function exportsOf(
  library: Library,
  { audience, config_hash }: { readonly audience: string; readonly config_hash: string },
): Promise<readonly ExportRow[]> {
  const rows = await library.database.db
    .selectFrom('sync_exports')
    .selectAll()
    .where('audience', '=', audience)
    .where('config_hash', '=', config_hash)
    .orderBy('seq')
    .execute()
  return rows as ExportRow[]
}

// --- internal ---

const listed = (exports: readonly ExportRow[]): BundleManifest['covered'] =>
  exports.slice(-MOST_COVERED).map(({ seq, name, manifest_sha256 }) => ({ seq, name, manifest_sha256 }))

/** A manifest is no history. */
const MOST_COVERED = 1_000

async function finishedRuns(library: Library): Promise<ReadonlySet<string>> {
  const rows = await library.database.db
    .selectFrom('synchronizations')
    .select('run')
    .where('type', '=', 'export')
    .where('state', '=', 'finished')
    .execute()
  return new Set(rows.map(({ run }) => run as string))
}

/** Of each site that ever acknowledged one of these the last; of these the lowest. */
async function lowestAcknowledged(
  { database }: Library,
  exports: readonly ExportRow[],
): Promise<ExportRow | undefined> {
  const known = new Map(exports.map((row) => [row.manifest_sha256, row]))
  const acks = await database.db.selectFrom('sync_acks').select(['site', 'manifest_sha256']).execute()
  const bySite = new Map<string, ExportRow>()
  for (const { site, manifest_sha256 } of acks) {
    const row = known.get(manifest_sha256 as string)
    const before = bySite.get(site as string)
    if (row && (!before || before.seq < row.seq)) bySite.set(site as string, row)
  }
  return [...bySite.values()].sort((a, b) => a.seq - b.seq)[0]
}
