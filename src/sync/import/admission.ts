/**
 * Whether a bundle may come in, from ledger and chain alone (docs/design.md §12, step 3): nothing of its data is read.
 * Streams keep what is lost, doubled or out of order from being applied (L11, S4).
 */
import { ColdtrailError } from '../../core/errors.ts'
import type { Library } from '../../library/library.ts'
import type { LibraryTx } from '../../library/schema.ts'
import type { BundleManifest } from '../bundle/manifest.ts'

export interface OpenedManifest {
  readonly manifest: BundleManifest
  readonly manifestSha256: string
}

/** What one site exports for one audience with one configuration. */
export interface Stream {
  readonly site: string
  /** Empty: any. */
  readonly audience: string
  readonly config_hash: string
}

export interface BundleName {
  readonly seq: number
  readonly name: string
}

export interface Admission {
  /** The run that brought it, when it is in already: there is nothing to do. */
  readonly known?: { readonly run: string; readonly importedAt: number }
  readonly stream: Stream
  /** Number of the last bundle of the stream that is applied; 0 without any. */
  readonly applied: number
  /** Bundles that never came and that this one makes up for. */
  readonly skipped: readonly BundleName[]
}

export const streamOf = ({ site, audience, config_sha256 }: BundleManifest): Stream => ({
  site,
  audience: audience ?? '',
  config_hash: config_sha256,
})

/** E_BUNDLE_AUDIENCE, E_BUNDLE_EXPIRED, E_BUNDLE_OLD, E_BUNDLE_GAP. `now`: milliseconds. */
export async function admit(
  library: Library,
  { manifest, manifestSha256 }: OpenedManifest,
  site: string,
  now = Date.now(),
): Promise<Admission> {
  const { bundle, audience, expires, kind, seq, base_seq: base, covered } = manifest
  const stream = streamOf(manifest)
  if (audience !== null && audience !== site) throw new ColdtrailError('E_BUNDLE_AUDIENCE', { bundle, audience, site })

  const { db } = library.database
  const imported = await db
    .selectFrom('sync_bundles')
    .selectAll()
    .where('site', '=', stream.site)
    .where('audience', '=', stream.audience)
    .where('config_hash', '=', stream.config_hash)
    .where('undone_at', 'is', null)
    .execute()
  const applied = await appliedSeq(library, stream)
  const before = imported.find(({ manifest_sha256 }) => manifest_sha256 === manifestSha256)
  if (before)
    return {
      known: { run: before.run as string, importedAt: before.imported_at as number },
      stream,
      applied,
      skipped: [],
    }

  if (expires !== null && Date.parse(expires) < now) throw new ColdtrailError('E_BUNDLE_EXPIRED', { bundle, expires })
  // A window continues nothing and nothing continues it.
  if (kind === 'window') return { stream, applied, skipped: [] }
  if (seq <= applied) throw new ColdtrailError('E_BUNDLE_OLD', { bundle, seq, site: stream.site, applied })
  const known = new Map(imported.map((row) => [row.seq as number, row.manifest_sha256 as string]))
  const gap = (missing: string): never => {
    throw new ColdtrailError('E_BUNDLE_GAP', { bundle, base, site: stream.site, applied, missing })
  }
  if (base > applied) gap(missingNames(covered, applied, base))
  if (kind !== 'full') {
    // The source went back to an older state and numbered anew: what this one builds on is not what is here.
    const other = covered.find(
      (one) => one.seq <= applied && (known.get(one.seq) ?? one.manifest_sha256) !== one.manifest_sha256,
    )
    if (other) gap(`${other.name}, another bundle of number ${other.seq} than the one imported here`)
    const previous = known.get(seq - 1)
    if (previous !== undefined && manifest.prev_sha256 !== previous)
      gap(`the bundle before it, another one of number ${seq - 1} than the one imported here`)
  }
  return { stream, applied, skipped: covered.filter((one) => one.seq > applied && one.seq < seq) }
}

export async function appliedSeq(library: Library, stream: Stream): Promise<number> {
  const row = await library.database.db
    .selectFrom('sync_streams')
    .select('applied_seq')
    .where('site', '=', stream.site)
    .where('audience', '=', stream.audience)
    .where('config_hash', '=', stream.config_hash)
    .executeTakeFirst()
  return (row?.applied_seq as number | undefined) ?? 0
}

/** Ledger and position, in the transaction that makes the run visible. */
export async function recordApplied(tx: LibraryTx, { manifest, manifestSha256 }: OpenedManifest, run: string) {
  const stream = streamOf(manifest)
  const now = Date.now() * 1_000
  // A run of it may have been undone.
  await tx.deleteFrom('sync_bundles').where('manifest_sha256', '=', manifestSha256).execute()
  await tx
    .insertInto('sync_bundles')
    .values({
      manifest_sha256: manifestSha256,
      ...stream,
      seq: manifest.seq,
      name: manifest.bundle,
      kind: manifest.kind,
      base_seq: manifest.base_seq,
      run,
      imported_at: now,
    })
    .execute()
  if (manifest.kind !== 'window')
    await setPosition(tx, stream, { seq: manifest.seq, manifest_sha256: manifestSha256, at: now })
}

/**
 * Takes a bundle and those of its stream that came after it out of the ledger, and the position back before it: they can
 * be imported again. Returns the later ones; undefined when no bundle came by that run.
 */
export async function forgetApplied(
  tx: LibraryTx,
  run: string,
): Promise<{ readonly name: string; readonly later: readonly BundleName[] } | undefined> {
  const bundle = await tx
    .selectFrom('sync_bundles')
    .selectAll()
    .where('run', '=', run)
    .where('undone_at', 'is', null)
    .executeTakeFirst()
  if (!bundle) return undefined
  const now = Date.now() * 1_000
  const stream: Stream = {
    site: bundle.site as string,
    audience: bundle.audience as string,
    config_hash: bundle.config_hash as string,
  }
  // Their rows may be what this run brought, found unchanged.
  const alsoForgotten = (await bundlesOf(tx, stream)).filter(
    ({ seq, kind, run: by }) => by !== run && kind !== 'window' && bundle.kind !== 'window' && seq > bundle.seq,
  )
  const digests = [bundle, ...alsoForgotten].map(({ manifest_sha256 }) => manifest_sha256 as string)
  await tx.updateTable('sync_bundles').set({ undone_at: now }).where('manifest_sha256', 'in', digests).execute()
  await tx.deleteFrom('sync_shards').where('site', '=', stream.site).execute()
  if (bundle.kind !== 'window') {
    const last = (await bundlesOf(tx, stream)).filter(({ kind }) => kind !== 'window').at(-1)
    if (last) await setPosition(tx, stream, { seq: last.seq, manifest_sha256: last.manifest_sha256, at: now })
    else
      await tx
        .deleteFrom('sync_streams')
        .where('site', '=', stream.site)
        .where('audience', '=', stream.audience)
        .where('config_hash', '=', stream.config_hash)
        .execute()
  }
  return { name: bundle.name as string, later: alsoForgotten.map(({ seq, name }) => ({ seq, name })) }
}

// --- internal ---

interface Imported extends BundleName {
  readonly manifest_sha256: string
  readonly kind: string
  readonly run: string
}

/** Those of a stream that are applied, by number. */
async function bundlesOf(tx: LibraryTx, stream: Stream): Promise<Imported[]> {
  const rows = await tx
    .selectFrom('sync_bundles')
    .selectAll()
    .where('site', '=', stream.site)
    .where('audience', '=', stream.audience)
    .where('config_hash', '=', stream.config_hash)
    .where('undone_at', 'is', null)
    .orderBy('seq')
    .execute()
  return rows as Imported[]
}

async function setPosition(
  tx: LibraryTx,
  stream: Stream,
  { seq, manifest_sha256, at }: { readonly seq: number; readonly manifest_sha256: string; readonly at: number },
): Promise<void> {
  const position = { applied_seq: seq, manifest_sha256, applied_at: at }
  await tx
    .insertInto('sync_streams')
    .values({ ...stream, ...position })
    .onConflict((conflict) => conflict.columns(['site', 'audience', 'config_hash']).doUpdateSet(position))
    .execute()
}

const MOST_NAMES = 20

/** File names where the manifest has them, numbers for the rest. */
function missingNames(covered: BundleManifest['covered'], applied: number, base: number): string {
  const missing: string[] = []
  for (let seq = applied + 1; seq <= base && missing.length < MOST_NAMES; seq++) {
    const found = covered.find((one) => one.seq === seq)
    missing.push(found ? `${found.name}.tar.gz` : `number ${seq}`)
  }
  const more = base - applied - missing.length
  return more > 0 ? `${missing.join(', ')} and ${more} more` : missing.join(', ')
}
