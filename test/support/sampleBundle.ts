/** Small bundles for the tests of writer and reader: two tables, tombstones, a content, reports. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { csvLine } from '../../src/core/csv.ts'
import { dumpColumns, TABLE_BY_NAME, type Table } from '../../src/library/model.ts'
import {
  createBundleWriter,
  type FinishOptions,
  type Signer,
  type WrittenBundle,
} from '../../src/sync/bundle/bundleWriter.ts'
import {
  type BundleManifest,
  bundleName,
  canonicalBytes,
  type SiteKey,
  sha256Hex,
} from '../../src/sync/bundle/manifest.ts'
import { loadSite, type Site } from '../../src/sync/siteKeys.ts'

const places: string[] = []
process.once('exit', () => {
  for (const place of places) rmSync(place, { recursive: true, force: true })
})

export function scratchPlace(): string {
  const place = mkdtempSync(join(tmpdir(), 'coldtrail-bundle-'))
  places.push(place)
  return place
}

export const CREATED = new Date('2019-01-16T17:47:17.000Z')

/** Columns of a table's dump file, and its rows as one. */
export function dumpFile(table: Table, rows: readonly Readonly<Record<string, string | null>>[]) {
  const columns = dumpColumns(table).map(({ name }) => name)
  const text = [columns, ...rows.map((row) => columns.map((name) => row[name] ?? null))].map(csvLine).join('')
  return { bytes: Buffer.from(text), rows: rows.length }
}

const uid = (table: string, id: number): string => {
  const hex = sha256Hex(`${table} ${id}`)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

export const times = { created_at: '1547660837000000', updated_at: '1547660837000001' }

export const tableNamed = (name: string): Table => TABLE_BY_NAME.get(name)!

export const row = (table: string, id: number, values: Readonly<Record<string, string | null>>) => ({
  id: String(id),
  uid: uid(table, id),
  ...values,
  ...times,
})

export interface SampleOptions {
  readonly site?: Site
  readonly signers?: readonly Signer[]
  readonly keys?: readonly SiteKey[]
  readonly manifest?: Partial<BundleManifest>
  readonly finish?: Partial<FinishOptions>
  readonly indicators?: number
  readonly blob?: Buffer
  readonly start?: Date
  readonly threads?: number
}

const CONFIG = { include_deleted: false, include_investigations: false, ignore_file_types: [], tlp: null, where: null }

/** Everything of a manifest besides its entries. */
export function manifestFor(
  name: string,
  site: string,
  keys: readonly SiteKey[],
  given: Partial<BundleManifest> = {},
): FinishOptions['manifest'] {
  const columnsOf = (table: string) => dumpColumns(tableNamed(table)).map((column) => column.name)
  return {
    format: 1,
    min_reader: 1,
    bundle: name,
    site,
    audience: null,
    kind: 'full',
    seq: 1,
    prev_sha256: null,
    base_seq: 0,
    horizon: 42,
    covered: [],
    config: CONFIG,
    config_sha256: sha256Hex(canonicalBytes(CONFIG)),
    window: null,
    created: CREATED.toISOString(),
    expires: null,
    tool: 'coldtrail/test',
    keys,
    columns: { indicator_types: columnsOf('indicator_types'), indicators: columnsOf('indicators') },
    excluded: {},
    tables: null,
    ...given,
  }
}

/** A site whose key was there before the sample bundles were made. */
export function sampleSite(place = scratchPlace(), name = 'plant-a'): Site {
  const site = loadSite(place, name)
  return { ...site, keys: site.keys.map((key) => ({ ...key, valid_from: '2019-01-01T00:00:00.000Z' })) }
}

export async function sampleBundle(
  place: string,
  {
    site = sampleSite(),
    start = CREATED,
    indicators = 3,
    blob = Buffer.from('a file'),
    ...options
  }: SampleOptions = {},
): Promise<WrittenBundle> {
  const name = bundleName(start, 8345)
  const writer = createBundleWriter({ directory: join(place, 'work'), name, threads: options.threads })
  const types = tableNamed('indicator_types')
  const table = tableNamed('indicators')
  await writer.addRows(types, 'rows', [dumpFile(types, [row('indicator_types', 1, { name: 'FQDN' })])])
  const rows = Array.from({ length: indicators }, (_, i) =>
    row('indicators', i + 1, { type_id: '1', value: `host${i}.example`, description: i % 2 ? 'a "b", c' : '' }),
  )
  await writer.addRows(table, 'rows', [dumpFile(table, rows.slice(0, 2)), dumpFile(table, rows.slice(2))])
  const gone = csvLine(['uid', 'nk', 'deleted_at']) + csvLine([uid('indicators', 99), null, '1547660837000000'])
  await writer.addRows(table, 'deleted', [{ bytes: Buffer.from(gone), rows: 1 }])
  const path = join(place, `blob-${randomBytes(4).toString('hex')}`)
  writeFileSync(path, blob)
  await writer.addBlob(sha256Hex(blob), path)
  await writer.addReport('report.txt', 'All of it.\n')
  return writer.finish({
    manifest: manifestFor(name, site.name, options.keys ?? site.keys, options.manifest),
    signers: options.signers ?? [site.signer],
    target: join(place, 'out'),
    ...options.finish,
  })
}
