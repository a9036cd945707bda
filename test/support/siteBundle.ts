/** Bundles of any rows, as another site would export them, and imports of them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { csvLine } from '../../src/core/csv.ts'
import type { Library } from '../../src/library/library.ts'
import { dumpColumns, TABLES } from '../../src/library/model.ts'
import { createBundleWriter, type WrittenBundle } from '../../src/sync/bundle/bundleWriter.ts'
import { type BundleManifest, bundleName, sha256Hex } from '../../src/sync/bundle/manifest.ts'
import { type ImportRequest, importBundle } from '../../src/sync/import/import.ts'
import type { ImportSummary } from '../../src/sync/import/summary.ts'
import type { Site } from '../../src/sync/siteKeys.ts'
import { CREATED, dumpFile, manifestFor, row, sampleSite, scratchPlace, tableNamed } from './sampleBundle.ts'

type Values = Readonly<Record<string, string | null>>

export interface SiteBundle {
  readonly site: Site
  /** Rows by table, numbered from 1 unless they have an id. */
  readonly rows: Readonly<Record<string, readonly Values[]>>
  readonly deleted?: Readonly<Record<string, readonly string[]>>
  readonly blobs?: readonly string[]
  readonly manifest?: Partial<BundleManifest>
  /** Rows of a dump file. */
  readonly limit?: number
  /** The bytes of a table's dump files, given instead of made. */
  readonly bytes?: Readonly<Record<string, { readonly bytes: Buffer; readonly rows: number }>>
}

/** Uid of a row that has been given none. */
export const uidOf = (table: string, id: number): string => row(table, id, {}).uid

/** Number 1 of its stream unless the manifest says otherwise; its name follows from the number. */
export async function siteBundle(place: string, bundle: SiteBundle): Promise<WrittenBundle> {
  const { site, rows, deleted = {}, blobs = [], limit = 50_000, bytes = {} } = bundle
  const seq = bundle.manifest?.seq ?? 1
  const name = bundleName(new Date(CREATED.getTime() + seq * 1_000), 8345)
  const writer = createBundleWriter({ directory: join(place, 'work'), name, threads: 2 })
  const columns: Record<string, string[]> = {}
  for (const table of TABLES) {
    const own = rows[table.name]
    const given = bytes[table.name]
    if (!own && !given) continue
    columns[table.name] = dumpColumns(table).map((column) => column.name)
    const all = (own ?? []).map((values, i) => ({ ...row(table.name, i + 1, values), ...values }))
    const files = []
    for (let at = 0; at < all.length; at += limit) files.push(dumpFile(table, all.slice(at, at + limit)))
    await writer.addRows(table, 'rows', given ? [given] : files)
  }
  for (const [table, uids] of Object.entries(deleted)) {
    const lines = uids.map((uid) => csvLine([uid, null, '1547660838000000']))
    const text = csvLine(['uid', 'nk', 'deleted_at']) + lines.join('')
    await writer.addRows(tableNamed(table), 'deleted', [{ bytes: Buffer.from(text), rows: uids.length }])
  }
  for (const blob of blobs) {
    const path = join(place, `blob-${sha256Hex(blob).slice(0, 8)}`)
    writeFileSync(path, blob)
    await writer.addBlob(sha256Hex(blob), path)
  }
  return writer.finish({
    manifest: manifestFor(name, site.name, site.keys, { columns, ...bundle.manifest }),
    signers: [site.signer],
    target: join(place, 'out'),
  })
}

export const POLICY = {
  conflicts: 'newest',
  deletions: 'sync-created-only',
  keepCreatedAt: true,
  overrideDescription: true,
  objectLimit: 1_000,
} as const

/** Reports go to a place of their own. */
export function importFile(
  library: Library,
  file: string,
  request: Partial<ImportRequest> = {},
): Promise<ImportSummary> {
  return importBundle(library, {
    file,
    transferDir: join(library.dataDir, 'agds_transfer'),
    site: 'high',
    policy: POLICY,
    trust: { mode: 'first_use' },
    reportDir: scratchPlace(),
    ...request,
  })
}

export { sampleSite, scratchPlace }
