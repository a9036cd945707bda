/**
 * Acknowledgements (L13): the target writes down, signed, which bundle it has applied and what came of it; the source
 * takes the file in, and its next bundles hold only what came after. Bytes: docs/design.md §12.
 */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { ColdtrailError } from '../core/errors.ts'
import { headSequence } from '../library/changes.ts'
import { stateDigest } from '../library/digest.ts'
import type { Library } from '../library/library.ts'
import { makeDirectory, writeDurably } from '../platform/files.ts'
import { isSignature, publicKeyOf } from './bundle/bundleReader.ts'
import {
  BUNDLE_NAME,
  canonicalBytes,
  KEY_ID,
  SITE_NAME,
  type Signature,
  type SiteKey,
  siteKeySchema,
} from './bundle/manifest.ts'
import type { ExportRow } from './export/stream.ts'
import type { Site } from './siteKeys.ts'
import { findRun } from './synchronizations.ts'
import { requireTrusted, type TrustPolicy } from './trust.ts'

export interface Acknowledgement {
  readonly format: 1
  /** Who applied it. */
  readonly site: string
  /** Whose bundle it is. */
  readonly source: string
  readonly bundle: string
  readonly manifest_sha256: string
  readonly seq: number
  readonly imported: string
  readonly created: string
  /** Rows of the import: inserted, updated, …. */
  readonly counts: Readonly<Record<string, number>>
  readonly conflicts: number
  /** Of the target when this was written. */
  readonly state: { readonly digest: string; readonly tables: Readonly<Record<string, string>> }
  readonly keys: readonly SiteKey[]
}

export interface WrittenAck {
  readonly file: string
  readonly ack: Acknowledgement
}

export interface TakenAck {
  readonly ack: Acknowledgement
  /** It was taken in before. */
  readonly known: boolean
  /** Its key was pinned by this. */
  readonly pinned: boolean
  readonly key: string
  /** Whether target and source hold the same; null where the source went on meanwhile. */
  readonly identical: boolean | null
}

/** Writes `<bundle>-ack.json` for the last bundle that was imported, or a named one. E_SYNC_RUN when there is none. */
export async function writeAck(
  library: Library,
  { site, target, bundle }: { readonly site: Site; readonly target: string; readonly bundle?: string },
): Promise<WrittenAck> {
  const { db } = library.database
  const all = db.selectFrom('sync_bundles').selectAll().where('undone_at', 'is', null).orderBy('imported_at', 'desc')
  const row = await (bundle === undefined ? all : all.where('name', '=', bundle)).executeTakeFirst()
  if (!row)
    throw new ColdtrailError('E_SYNC_RUN', {
      message: bundle === undefined ? 'No bundle was imported yet.' : `No bundle ${bundle} was imported here.`,
    })
  const record = await findRun(library, row.run as string)
  const { digest, tables } = await stateDigest(library)
  const ack: Acknowledgement = {
    format: 1,
    site: site.name,
    source: row.site as string,
    bundle: row.name as string,
    manifest_sha256: row.manifest_sha256 as string,
    seq: row.seq as number,
    imported: isoTime(row.imported_at as number),
    created: new Date().toISOString(),
    counts: countsOf(record?.report.totals),
    conflicts: numberOf(record?.report.conflict_count),
    state: { digest, tables: Object.fromEntries(Object.entries(tables).map(([name, { digest }]) => [name, digest])) },
    keys: site.keys,
  }
  const signatures = [{ key: site.signer.id, signature: site.signer.sign(signedBytes(ack)) }]
  makeDirectory(target)
  const file = join(target, `${ack.bundle}-ack.json`)
  writeDurably(file, canonicalBytes({ ack, signatures }))
  return { file, ack }
}

/** Takes in what a target wrote. E_SYNC_ACK with the reason, E_BUNDLE_KEY, E_FILE_READ. */
export async function takeAck(
  library: Library,
  { path, site, trust: policy }: { readonly path: string; readonly site: Site; readonly trust: TrustPolicy },
): Promise<TakenAck> {
  const refuse = (reason: string): never => {
    throw new ColdtrailError('E_SYNC_ACK', { path, reason })
  }
  const { ack, signatures } = parseAck(path, refuse)
  if (ack.source !== site.name) refuse(`it is for the site ${ack.source}, and this one is ${site.name}`)
  if (ack.site === site.name) refuse('it is of this site itself')
  const trust = await requireTrusted(library, { path, manifest: ack, signatures }, policy)
  return library.database
    .write(async (tx) => {
      const found = await tx
        .selectFrom('sync_exports')
        .selectAll()
        .where('manifest_sha256', '=', ack.manifest_sha256)
        .executeTakeFirst()
      if (!found) return refuse(`no bundle with the manifest ${ack.manifest_sha256} was exported here`)
      const exported = found as ExportRow
      if (exported.name !== ack.bundle || exported.seq !== ack.seq)
        refuse(`bundle ${ack.bundle}, number ${ack.seq}, is ${exported.name}, number ${exported.seq}, here`)
      if (exported.audience !== '' && exported.audience !== ack.site)
        refuse(`${ack.bundle} was for the site ${exported.audience}, and ${ack.site} has acknowledged it`)
      await trust.remember(tx)
      const key = { site: ack.site, manifest_sha256: ack.manifest_sha256 }
      const before = await tx
        .selectFrom('sync_acks')
        .select('seq')
        .where('site', '=', key.site)
        .where('manifest_sha256', '=', key.manifest_sha256)
        .executeTakeFirst()
      if (!before)
        await tx
          .insertInto('sync_acks')
          .values({ ...key, seq: ack.seq, ack: canonicalBytes(ack).toString(), received_at: Date.now() * 1_000 })
          .execute()
      const isCurrent = (await headSequence(tx)) === exported.horizon
      return { ack, known: before !== undefined, pinned: trust.pinned, key: trust.key, isCurrent }
    })
    .then(async ({ isCurrent, ...taken }) => ({
      ...taken,
      identical: isCurrent ? (await stateDigest(library)).digest === ack.state.digest : null,
    }))
}

// --- internal ---

/** A signature of anything else can never pass for one of an acknowledgement. */
const ACK_DOMAIN = 'coldtrail-sync-ack/1\n'
const MAX_BYTES = 1024 * 1024

const signedBytes = (ack: Acknowledgement): Buffer => Buffer.concat([Buffer.from(ACK_DOMAIN), canonicalBytes(ack)])

const isoTime = (microseconds: number): string => new Date(microseconds / 1_000).toISOString()

const numberOf = (value: unknown): number => (Number.isSafeInteger(value) ? (value as number) : 0)

function countsOf(totals: unknown): Record<string, number> {
  if (typeof totals !== 'object' || totals === null) return {}
  return Object.fromEntries(Object.entries(totals).map(([name, value]) => [name, numberOf(value)]))
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.int().min(0)
const time = z.iso.datetime({ precision: 3 })

const fileSchema = z.strictObject({
  ack: z.strictObject({
    format: z.literal(1),
    site: z.string().regex(SITE_NAME),
    source: z.string().regex(SITE_NAME),
    bundle: z.string().regex(BUNDLE_NAME),
    manifest_sha256: sha256,
    seq: z.int().min(1),
    imported: time,
    created: time,
    counts: z.record(z.string().regex(/^[a-z_]{1,40}$/), count),
    conflicts: count,
    state: z.strictObject({ digest: sha256, tables: z.record(z.string().regex(/^[a-z_]{1,63}$/), sha256) }),
    keys: z.array(siteKeySchema).min(1).max(64),
  }),
  signatures: z
    .array(z.strictObject({ key: z.string().regex(KEY_ID), signature: z.string().regex(/^[A-Za-z0-9+/]{86}==$/) }))
    .min(1)
    .max(16),
})

/** In its one form, and signed by its own keys. */
function parseAck(
  path: string,
  refuse: (reason: string) => never,
): { readonly ack: Acknowledgement; readonly signatures: readonly Signature[] } {
  let bytes: Buffer
  try {
    if (statSync(path).size > MAX_BYTES) return refuse(`it is larger than ${MAX_BYTES} bytes`)
    bytes = readFileSync(path)
  } catch (error) {
    if (error instanceof ColdtrailError) throw error
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString())
  } catch {
    return refuse('it is no JSON')
  }
  const shape = fileSchema.safeParse(parsed)
  if (!shape.success) {
    const issue = shape.error.issues[0]!
    return refuse(`${issue.path.map(String).join('.')}: ${issue.message}`)
  }
  const { ack, signatures } = shape.data as { ack: Acknowledgement; signatures: Signature[] }
  if (!canonicalBytes(shape.data).equals(bytes)) return refuse('it is not in its canonical form')
  const signed = signedBytes(ack)
  for (const { key: id, signature } of signatures) {
    const key = ack.keys.find((one) => one.id === id)
    const publicKey = key && publicKeyOf(key)
    if (!publicKey || !isSignature(publicKey, signed, signature)) return refuse(`the signature of ${id} is not right`)
  }
  return { ack, signatures }
}
