/** A site that exports, and what its bundles hold when they are read again by the reader of bundles. */
import { mkdtempSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseCsv } from '../../../src/core/csv.ts'
import type { Library } from '../../../src/library/library.ts'
import { dumpColumns, TABLE_BY_NAME } from '../../../src/library/model.ts'
import { openBundle } from '../../../src/sync/bundle/bundleReader.ts'
import { type BundleManifest, type SelectionConfig, TOMBSTONE_COLUMNS } from '../../../src/sync/bundle/manifest.ts'
import { type ExportRequest, exportBundle } from '../../../src/sync/export/export.ts'
import type { ExportSummary } from '../../../src/sync/export/summary.ts'
import { loadSite } from '../../../src/sync/siteKeys.ts'

export type Row = Readonly<Record<string, string | null>>

export interface ReadBundle {
  readonly manifest: BundleManifest
  /** Rows of `data/`, by table; references as they stand. */
  readonly rows: Readonly<Record<string, readonly Row[]>>
  readonly gone: Readonly<Record<string, readonly Row[]>>
  readonly blobs: readonly string[]
  /** All plain bytes. */
  readonly text: string
}

export const CONFIG: SelectionConfig = {
  include_deleted: false,
  include_investigations: false,
  ignore_file_types: [],
  tlp: null,
  where: null,
}

type Options = Partial<Omit<ExportRequest, 'config'>> & { readonly config?: Partial<SelectionConfig> }

export async function exportOf(library: Library, { config, ...options }: Options = {}): Promise<ExportSummary> {
  const site = loadSite(library.dataDir)
  return exportBundle(library, {
    target: join(library.dataDir, 'out'),
    base: 'auto',
    site: site.name,
    keys: site.keys,
    signers: [site.signer],
    tool: 'test',
    threads: 2,
    ...options,
    config: { ...CONFIG, ...config },
  })
}

export async function readBundle(path: string): Promise<ReadBundle> {
  const bundle = await openBundle(path, { scratch: mkdtempSync(join(dirname(dirname(path)), 'read-')) })
  try {
    await bundle.verify({ records: true })
    const rows: Record<string, Row[]> = {}
    const gone: Record<string, Row[]> = {}
    const texts: string[] = []
    for (const entry of bundle.manifest.entries) {
      if (entry.op === 'blob') continue
      const bytes = await bundle.read(entry)
      texts.push(bytes.toString())
      if (entry.op === 'report') continue
      const table = TABLE_BY_NAME.get(entry.table!)!
      const columns = entry.op === 'rows' ? dumpColumns(table).map(({ name }) => name) : TOMBSTONE_COLUMNS
      const into = entry.op === 'rows' ? rows : gone
      into[table.name] ??= []
      parseCsv(bytes, columns, (record) => {
        into[table.name]!.push(Object.fromEntries(columns.map((name, i) => [name, record[i]!])))
      })
    }
    const blobs = bundle.manifest.entries.filter(({ op }) => op === 'blob').map(({ sha256 }) => sha256)
    return { manifest: bundle.manifest, rows, gone, blobs, text: texts.join('') }
  } finally {
    await bundle.close()
  }
}

/** Exports and reads what came of it; throws what the run ended with. */
export async function bundleOf(library: Library, options: Options = {}): Promise<ReadBundle> {
  const summary = await exportOf(library, options)
  if (summary.error) throw summary.error
  return readBundle(summary.files[0]!)
}

/** One column of a table, sorted. */
export const column = (rows: readonly Row[] | undefined, name: string): (string | null)[] =>
  (rows ?? []).map((row) => row[name]!).sort()

/** Every reference of every row names a row of the bundle. */
export function danglingReferences({ rows }: ReadBundle): string[] {
  const dangling: string[] = []
  for (const [name, all] of Object.entries(rows)) {
    for (const { name: field, type, references, typeColumn } of TABLE_BY_NAME.get(name)!.columns) {
      if (type !== 'reference' && type !== 'anyReference') continue
      for (const row of all) {
        const number = row[field]
        if (number === null || number === undefined) continue
        const parent =
          references ??
          [...TABLE_BY_NAME.values()].find((t) => t.kind === 'object' && t.objectCode === row[typeColumn!])!.name
        if (!rows[parent]?.some(({ id }) => id === number)) dangling.push(`${name}.${field} ${number}`)
      }
    }
  }
  return dangling
}
