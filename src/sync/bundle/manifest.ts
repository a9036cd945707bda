/**
 * What a bundle says of itself, signed. Bytes and meaning: docs/design.md §12. A manifest from outside is hostile until
 * its signature was found to be that of a trusted key, and bounded in everything even then (S2, S10).
 */
import { isUtf8 } from 'node:buffer'
import { hash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import { MAX_BLOB_BYTES } from '../../library/blobs.ts'
import { dumpColumns, TABLE_BY_NAME } from '../../library/model.ts'

export const BUNDLE_FORMAT = 1
/** Before the manifest's bytes in what is signed: a signature over anything else can never pass for one of a manifest. */
export const MANIFEST_DOMAIN = 'coldtrail-sync-manifest/1\n'

export const BUNDLE_LIMITS = {
  manifestBytes: 64 * 1024 * 1024,
  signatureBytes: 64 * 1024,
  entries: 250_000,
  /** Of a dump file. */
  rows: 50_000,
  dataBytes: 64 * 1024 * 1024,
  reportBytes: 64 * 1024 * 1024,
  blobBytes: MAX_BLOB_BYTES,
  totalBytes: 4 * 1024 ** 4,
  /** A bundle a day for two thousand years: a number far ahead would make every later bundle an old one. */
  seq: 1_000_000,
  keys: 64,
  signatures: 16,
} as const

export type BundleKind = 'full' | 'delta' | 'differential' | 'window'

export interface BundleEntry {
  readonly path: string
  readonly op: 'rows' | 'deleted' | 'blob' | 'report'
  readonly table?: string
  readonly rows?: number
  /** Of the plain content. */
  readonly bytes: number
  /** Of the gzip members that hold header, content and padding. */
  readonly zbytes: number
  readonly sha256: string
  /** Of the gzip members: one content can be compressed in many ways, and only these bytes are the bundle's. */
  readonly zsha256: string
}

/** A public key of the site; a later one is vouched for by the one before (siteKeys.ts: what it signs). */
export interface SiteKey {
  readonly id: string
  /** Base64 of the SPKI form. */
  readonly public_key: string
  readonly valid_from: string
  readonly valid_until: string | null
  readonly introduced_by?: { readonly key: string; readonly signature: string }
}

export interface BundleManifest {
  readonly format: 1
  readonly min_reader: 1
  readonly bundle: string
  readonly site: string
  readonly audience: string | null
  readonly kind: BundleKind
  readonly seq: number
  readonly prev_sha256: string | null
  readonly base_seq: number
  /** Change number of the source up to which it is complete. */
  readonly horizon: number
  readonly covered: readonly { readonly seq: number; readonly name: string; readonly manifest_sha256: string }[]
  readonly config: SelectionConfig
  readonly config_sha256: string
  readonly window: { readonly start: string | null; readonly end: string | null } | null
  readonly created: string
  readonly expires: string | null
  readonly tool: string
  readonly keys: readonly SiteKey[]
  /** Of every table that has an entry with rows. */
  readonly columns: Readonly<Record<string, readonly string[]>>
  readonly entries: readonly BundleEntry[]
  readonly totals: { readonly rows: number; readonly deleted: number; readonly blobs: number; readonly bytes: number }
  readonly excluded: Readonly<Record<string, number>>
  /** State digest in hex by table, at the horizon; only where everything travels. */
  readonly tables: Readonly<Record<string, string>> | null
}

/** What is selected, and never where it is written: two runs with one configuration continue each other. */
export interface SelectionConfig {
  readonly include_deleted: boolean
  readonly include_investigations: boolean
  readonly ignore_file_types: readonly string[]
  readonly tlp: string | null
  readonly where: string | null
}

export interface Signature {
  readonly key: string
  /** Base64, Ed25519. */
  readonly signature: string
}

/** Columns of every tombstone file. */
export const TOMBSTONE_COLUMNS: readonly string[] = ['uid', 'nk', 'deleted_at']

/** What may be a site's name: it is part of no path, and shown to people. */
export const SITE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/
export const KEY_ID = /^[0-9a-f]{32}$/
export const BUNDLE_NAME = /^tqSync-\d{2}-\d{2}-\d{2}-\d{1,10}-\d{1,10}$/

export const sha256Hex = (bytes: Uint8Array | string): string => hash('sha256', bytes)

export const canonicalBytes = (value: unknown): Buffer => Buffer.from(canonicalize(value)!)

/** Seconds since 1970 in a bundle's name: the start of its export, and the time of every file in the archive. */
export function epochOf(bundle: string): number {
  return Number(bundle.split('-')[4])
}

/** `tqSync-YY-MM-DD-<epoch>-<pid>`, UTC. */
export function bundleName(start: Date, pid: number): string {
  return `tqSync-${start.toISOString().slice(2, 10)}-${Math.floor(start.getTime() / 1000)}-${pid}`
}

export const entryPath = {
  rows: (table: string, number: number): string => `data/${table}-${number}.csv`,
  deleted: (table: string, number: number): string => `deleted/${table}-${number}.csv`,
  blob: (sha256: string): string => `blobs/${sha256}`,
}

/** The bytes of a manifest as they are signed, and as they stand in the archive. */
export const serializeManifest = (manifest: BundleManifest): Buffer => canonicalBytes(manifest)

/**
 * The manifest that these bytes are: exactly its canonical form, nothing undeclared, every bound held, every entry in
 * agreement with its name. E_BUNDLE_VERSION, else the reason as text, for E_BUNDLE_DAMAGED.
 */
export function parseManifest(bytes: Buffer, file: string): BundleManifest | string {
  const parsed = parseCanonical(bytes)
  if (typeof parsed !== 'object' || parsed === null) return 'it is no JSON object'
  const { format, min_reader: minimum } = parsed as Record<string, unknown>
  if (isVersion(format) && isVersion(minimum) && format !== BUNDLE_FORMAT)
    throw new ColdtrailError('E_BUNDLE_VERSION', { file, found: `format ${format}`, known: BUNDLE_FORMAT })
  const shape = manifestSchema.safeParse(parsed)
  if (!shape.success) return issueText(shape.error)
  const manifest = shape.data as BundleManifest
  if (!canonicalBytes(manifest).equals(bytes)) return 'it is not in canonical form'
  for (const [table, columns] of Object.entries(manifest.columns)) {
    const known = TABLE_BY_NAME.get(table)
    const names = known ? dumpColumns(known).map(({ name }) => name) : []
    const unknown = known ? columns.find((column) => !names.includes(column)) : undefined
    // Another version of the program, not damage: the signer of such a bundle has them.
    if (!known || unknown !== undefined) {
      const found = known ? `the column ${table}.${unknown}` : `the table ${table}`
      throw new ColdtrailError('E_BUNDLE_VERSION', { file, found, known: BUNDLE_FORMAT })
    }
    const order = columns.map((column) => names.indexOf(column))
    if (columns[0] !== 'id' || columns[1] !== 'uid') return `columns.${table}: id and uid are not there`
    if (order.some((at, i) => i > 0 && at <= order[i - 1]!)) return `columns.${table}: not in their order`
  }
  return disagreement(manifest) ?? manifest
}

export const serializeSignatures = (signatures: readonly Signature[]): Buffer =>
  canonicalBytes({ signatures: [...signatures].sort((a, b) => (a.key < b.key ? -1 : 1)) })

/** The signatures, or why the bytes are none. */
export function parseSignatures(bytes: Buffer): readonly Signature[] | string {
  const shape = signaturesSchema.safeParse(parseCanonical(bytes))
  if (!shape.success) return issueText(shape.error)
  const { signatures } = shape.data
  if (signatures.some(({ key }, i) => i > 0 && key <= signatures[i - 1]!.key)) return 'its keys are not in order'
  return serializeSignatures(signatures).equals(bytes) ? signatures : 'it is not in canonical form'
}

// --- internal ---

const isVersion = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1

/** Undefined where the bytes are no JSON: no shape takes that. */
function parseCanonical(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) return undefined
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

function issueText(error: z.ZodError): string {
  const issue = error.issues[0]!
  const path = issue.path.map(String).join('.')
  return `${path === '' ? '' : `${path}: `}${issue.message}`
}

const count = (maximum: number) => z.int().min(0).max(maximum)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const siteName = z.string().regex(SITE_NAME)
const keyId = z.string().regex(KEY_ID)
const signature = z.string().regex(/^[A-Za-z0-9+/]{86}==$/)
/** Exactly what toISOString gives. */
const time = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
  .refine((text) => !Number.isNaN(Date.parse(text)), 'it is no time')
const bundle = z.string().regex(BUNDLE_NAME)
const shortText = z.string().max(200)
const tableName = z.string().regex(/^[a-z][a-z0-9_]{0,62}$/)

export const siteKeySchema = z.strictObject({
  id: keyId,
  /** 44 bytes of SPKI. */
  public_key: z.string().regex(/^[A-Za-z0-9+/]{59}=$/),
  valid_from: time,
  valid_until: time.nullable(),
  introduced_by: z.strictObject({ key: keyId, signature }).optional(),
})

const entrySchema = z.strictObject({
  path: z.string().regex(/^[a-z][a-z0-9_./-]{0,99}$/),
  op: z.enum(['rows', 'deleted', 'blob', 'report']),
  table: tableName.optional(),
  rows: count(BUNDLE_LIMITS.rows).optional(),
  bytes: count(BUNDLE_LIMITS.blobBytes),
  zbytes: z
    .int()
    .min(1)
    .max(2 * BUNDLE_LIMITS.blobBytes),
  sha256,
  zsha256: sha256,
})

const counts = z.record(z.string().max(100), count(Number.MAX_SAFE_INTEGER))

const manifestSchema = z.strictObject({
  format: z.literal(BUNDLE_FORMAT),
  min_reader: z.literal(BUNDLE_FORMAT),
  bundle,
  site: siteName,
  audience: siteName.nullable(),
  kind: z.enum(['full', 'delta', 'differential', 'window']),
  seq: z.int().min(1).max(BUNDLE_LIMITS.seq),
  prev_sha256: sha256.nullable(),
  base_seq: count(BUNDLE_LIMITS.seq),
  horizon: count(Number.MAX_SAFE_INTEGER),
  covered: z
    .array(z.strictObject({ seq: z.int().min(1).max(BUNDLE_LIMITS.seq), name: bundle, manifest_sha256: sha256 }))
    .max(10_000),
  config: z.strictObject({
    include_deleted: z.boolean(),
    include_investigations: z.boolean(),
    ignore_file_types: z.array(shortText).max(1_000),
    tlp: shortText.nullable(),
    where: z.string().max(65_536).nullable(),
  }),
  config_sha256: sha256,
  window: z.strictObject({ start: time.nullable(), end: time.nullable() }).nullable(),
  created: time,
  expires: time.nullable(),
  tool: shortText,
  keys: z.array(siteKeySchema).min(1).max(BUNDLE_LIMITS.keys),
  columns: z.record(tableName, z.array(tableName).min(2).max(200)),
  entries: z.array(entrySchema).max(BUNDLE_LIMITS.entries),
  totals: z.strictObject({
    rows: count(Number.MAX_SAFE_INTEGER),
    deleted: count(Number.MAX_SAFE_INTEGER),
    blobs: count(BUNDLE_LIMITS.entries),
    bytes: count(BUNDLE_LIMITS.totalBytes),
  }),
  excluded: counts,
  tables: z.record(tableName, sha256).nullable(),
})

const signaturesSchema = z.strictObject({
  signatures: z
    .array(z.strictObject({ key: keyId, signature }))
    .min(1)
    .max(BUNDLE_LIMITS.signatures),
})

/** More than deflate can do: 1032 to 1, with header and padding. */
const MAX_RATIO = 1_032
const MAX_OVERHEAD = 64 * 1024

/** What a manifest says in two places must be said alike. */
function disagreement(manifest: BundleManifest): string | undefined {
  const { bundle: name, seq, base_seq: base, covered, entries, columns, totals } = manifest
  const day = new Date(epochOf(name) * 1_000).toISOString().slice(2, 10)
  if (!name.startsWith(`tqSync-${day}-`)) return 'bundle: its date is not that of its number of seconds'
  if (base >= seq) return 'base_seq: not below seq'
  if (covered.some((one, i) => one.seq >= seq || (i > 0 && one.seq <= covered[i - 1]!.seq)))
    return 'covered: not in order below seq'
  if (sha256Hex(canonicalBytes(manifest.config)) !== manifest.config_sha256) return 'config_sha256: not that of config'
  if (new Set(manifest.keys.map(({ id }) => id)).size < manifest.keys.length) return 'keys: one stands there twice'

  const sums = { rows: 0, deleted: 0, blobs: 0, bytes: 0 }
  const numbers = new Map<string, number>()
  const seen = new Set<string>()
  for (const entry of entries) {
    const { path, op, table, rows, bytes, zbytes } = entry
    if (seen.has(path)) return `entries: ${path} stands there twice`
    seen.add(path)
    const isTable = op === 'rows' || op === 'deleted'
    if (isTable !== (table !== undefined) || isTable !== (rows !== undefined)) return `entries: ${path} is no ${op}`
    if (isTable && !TABLE_BY_NAME.has(table!)) return `entries: ${path} is of no known table`
    if (op === 'rows' && columns[table!] === undefined) return `entries: ${path} has no columns`
    const number = isTable ? (numbers.get(`${op} ${table}`) ?? 0) + 1 : 0
    if (isTable) numbers.set(`${op} ${table}`, number)
    const isNamed =
      op === 'report'
        ? path === 'report.txt' || path === 'report.json'
        : path === (op === 'blob' ? entryPath.blob(entry.sha256) : entryPath[op](table!, number))
    if (!isNamed) return `entries: ${path} is no name of this entry`
    const limit =
      op === 'blob' ? Number.MAX_SAFE_INTEGER : isTable ? BUNDLE_LIMITS.dataBytes : BUNDLE_LIMITS.reportBytes
    if (bytes > limit) return `entries: ${path} is longer than ${limit} bytes`
    if (bytes + 1_024 > MAX_RATIO * zbytes + MAX_OVERHEAD || zbytes > bytes * 1.01 + MAX_OVERHEAD)
      return `entries: ${path} cannot be ${bytes} bytes in ${zbytes}`
    sums.bytes += bytes
    if (op === 'rows' || op === 'deleted') sums[op] += rows!
    if (op === 'blob') sums.blobs++
  }
  const unused = Object.keys(columns).find((table) => !numbers.has(`rows ${table}`))
  if (unused !== undefined) return `columns: ${unused} has no rows`
  for (const key of ['rows', 'deleted', 'blobs', 'bytes'] as const)
    if (sums[key] !== totals[key]) return `totals.${key}: ${totals[key]} is not the sum, ${sums[key]}`
  return undefined
}
