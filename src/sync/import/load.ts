/**
 * From the entries of a verified bundle to staging and the blob store. One dump file is one portion of staging: what a
 * run that died has loaded is passed over.
 */
import { csvRecords } from '../../core/csv.ts'
import { ColdtrailError } from '../../core/errors.ts'
import type { BlobStore } from '../../library/blobs.ts'
import { parseUid, uidText } from '../../library/identity.ts'
import type { Library } from '../../library/library.ts'
import type { StagedRow, Staging, Tombstone } from '../../library/merge/staging.ts'
import { dumpColumns, TABLE_BY_NAME, type Table } from '../../library/model.ts'
import type { Bundle } from '../bundle/bundleReader.ts'
import type { BundleEntry, BundleManifest } from '../bundle/manifest.ts'
import type { Owners } from './owners.ts'
import type { ShardWork } from './shards.ts'
import type { ImportSummary } from './summary.ts'

export interface LoadWork {
  readonly bundle: Bundle
  /** None where nothing is to be loaded. */
  readonly staging: Staging | undefined
  readonly plan: ReadonlyMap<BundleEntry, ShardWork>
  readonly owners: Owners
  readonly library: Library
  readonly summary: Pick<ImportSummary, 'shards' | 'blobs'>
  readonly onRows: (table: string, rows: number) => void
  readonly signal?: AbortSignal
}

/** A portion's name in staging; one of ids only is another than the whole. */
export const portionOf = (entry: BundleEntry, work: ShardWork): string =>
  work === 'ids' ? `${entry.path} ids` : entry.path

/** Rows and tombstones, in the manifest's order. E_CSV and E_BUNDLE_DAMAGED where a file is not what it says. */
export async function loadShards(work: LoadWork): Promise<void> {
  const { bundle, staging, plan, owners, summary, signal } = work
  const { shards } = summary
  let ownersLoaded = owners.rows.length === 0
  for (const [entry, todo] of plan) {
    signal?.throwIfAborted()
    if (todo === 'skip' || !staging) {
      shards.unchanged += 1
      work.onRows(entry.table!, entry.rows!)
      continue
    }
    const table = TABLE_BY_NAME.get(entry.table!)!
    if (!ownersLoaded && entry.op === 'rows') {
      const sources = TABLE_BY_NAME.get('sources')!
      await staging.load(sources, owners.rows, { shard: 'owners', referenceOnly: true })
      ownersLoaded = true
    }
    const portion = portionOf(entry, todo)
    const isLoaded = staging.loaded.has(portion) || staging.loaded.has(entry.path)
    if (isLoaded) shards.loaded_before += 1
    else if (todo === 'ids') shards.ids_only += 1
    else shards.loaded += 1
    // The owners' names are read again, since the rows that bear them may be loaded still.
    if (!isLoaded || table.name === 'sources' || table.name === 'attachments') {
      const bytes = await bundle.read(entry)
      if (entry.op === 'deleted') {
        if (!isLoaded) await staging.loadTombstones(table, tombstones(entry, bytes), portion)
      } else {
        const stubs = !isLoaded && todo === 'load' && mayHaveStubs(bundle.manifest, table)
        if (stubs) await loadStubs(work, table, entry, bytes)
        const rows = rowsOf(work, table, entry, bytes, stubs ? (row) => !isStub(table, row) : undefined)
        if (isLoaded) for (const _ of rows);
        else await staging.load(table, rows, { shard: portion, referenceOnly: todo === 'ids' })
      }
    }
    work.onRows(table.name, entry.rows ?? 0)
  }
}

/** Contents under their digests. They are nobody's until a row refers to them. */
export async function storeBlobs({ bundle, library: { blobs }, summary, onRows, signal }: LoadWork): Promise<void> {
  for (const entry of bundle.manifest.entries) {
    if (entry.op !== 'blob') continue
    signal?.throwIfAborted()
    const sha256 = Buffer.from(entry.sha256, 'hex')
    if (blobs.size(sha256) === entry.bytes) summary.blobs.present += 1
    else {
      await blobs.put(bundle.stream(entry), sha256)
      summary.blobs.stored += 1
    }
    onRows('blobs', 0)
  }
}

/** Where each of a table's columns stands in the bundle: -1 where its source, an older version, has it not. */
export function columnPlaces(manifest: BundleManifest, table: Table): readonly number[] {
  const given = manifest.columns[table.name] ?? []
  return dumpColumns(table).map(({ name }) => given.indexOf(name))
}

// --- internal ---

const MOST_NAMES = 1_000

function* rowsOf(
  { bundle: { manifest }, owners, library: { blobs }, summary }: LoadWork,
  table: Table,
  entry: BundleEntry,
  bytes: Buffer,
  wanted: (row: StagedRow) => boolean = () => true,
): Generator<StagedRow, void, undefined> {
  const places = columnPlaces(manifest, table)
  const isAsIs = places.every((place, at) => place === at)
  const columns = manifest.columns[table.name]!
  const updatedAt = dumpColumns(table).findIndex(({ name }) => name === 'updated_at')
  const now = String(Date.now() * 1_000)
  const latest = String((Date.now() + CLOCK_SKEW_MS) * 1_000)
  const content = table.name === 'attachments' ? missingContent(manifest, table, blobs, summary) : undefined
  let count = 0
  for (const record of csvRecords(bytes, { name: entry.path, columns, maxRecords: entry.rows })) {
    let row: StagedRow = isAsIs ? record : places.map((place) => (place < 0 ? null : record[place]!))
    count += 1
    if (isAfter(row[updatedAt], latest)) row = row.with(updatedAt, now)
    if (!wanted(row)) continue
    content?.(row)
    yield owners.take(table, row)
  }
  requireRows(manifest, entry, count)
}

/** How far ahead the clock of another site may be. */
const CLOCK_SKEW_MS = 2 * 24 * 3_600_000

/** A row of the far future would never be older than what anybody says of it. Times of today have 16 digits. */
const isAfter = (time: string | null | undefined, latest: string): boolean =>
  time?.length === latest.length && time > latest && /^\d+$/.test(time)

/** Only a ceiling makes them. */
const mayHaveStubs = ({ config }: BundleManifest, { kind }: Table): boolean => kind === 'object' && config.tlp !== null

/** Of an object above the source's ceiling that something below refers to: it has a uid and nothing else to say. */
function isStub(table: Table, row: StagedRow): boolean {
  const { uid, label } = stubPlaces(table)
  return row[label] === `redacted-${row[uid]}`
}

function stubPlaces(table: Table): { readonly uid: number; readonly label: number } {
  const columns = dumpColumns(table)
  const label = columns.findIndex(({ type, required }) => type === 'text' && required)
  return { uid: columns.findIndex(({ name }) => name === 'uid'), label }
}

/** Who has the object itself keeps it: of a stub whose uid is known here only the number is loaded. */
async function loadStubs(work: LoadWork, table: Table, entry: BundleEntry, bytes: Buffer): Promise<void> {
  const { staging, library } = work
  const stubs = [...rowsOf({ ...work, summary: NOBODY }, table, entry, bytes, (row) => isStub(table, row))]
  const { uid } = stubPlaces(table)
  const known = await knownUids(
    library,
    table,
    stubs.map((row) => row[uid]!),
  )
  const [here, unknown] = [stubs.filter((row) => known.has(row[uid]!)), stubs.filter((row) => !known.has(row[uid]!))]
  if (here.length > 0) await staging!.load(table, here, { shard: `${entry.path} known stubs`, referenceOnly: true })
  if (unknown.length > 0) await staging!.load(table, unknown, { shard: `${entry.path} stubs` })
}

/** Counts of stubs are nobody's: their contents are not missing, they were never to come. */
const NOBODY: LoadWork['summary'] = {
  shards: { loaded: 0, ids_only: 0, unchanged: 0, loaded_before: 0 },
  blobs: { stored: 0, present: 0, missing: 0, missing_names: [] },
}

const UIDS_A_QUESTION = 500

async function knownUids(library: Library, table: Table, uids: readonly string[]): Promise<ReadonlySet<string>> {
  const { db } = library.database
  const known = new Set<string>()
  for (let at = 0; at < uids.length; at += UIDS_A_QUESTION) {
    const some = uids.slice(at, at + UIDS_A_QUESTION).flatMap((uid) => parseUid(uid) ?? [])
    if (some.length === 0) continue
    const rows = await db.selectFrom(table.name).select('uid').where('uid', 'in', some).execute()
    const aliases = await db
      .selectFrom('uid_aliases')
      .select('remote as uid')
      .where('table_name', '=', table.name)
      .where('remote', 'in', some)
      .execute()
    for (const { uid } of [...rows, ...aliases]) known.add(uidText(uid as Uint8Array))
  }
  return known
}

function* tombstones(entry: BundleEntry, bytes: Buffer): Generator<Tombstone, void, undefined> {
  const columns = ['uid', 'nk', 'deleted_at']
  for (const [uid, nk, deletedAt] of csvRecords(bytes, { name: entry.path, columns, maxRecords: entry.rows }))
    yield { uid: uid ?? null, nk: nk ?? null, deletedAt: deletedAt ?? '' }
}

function requireRows({ bundle }: BundleManifest, entry: BundleEntry, count: number): void {
  if (count !== entry.rows)
    throw new ColdtrailError('E_BUNDLE_DAMAGED', {
      file: bundle,
      entry: entry.path,
      offset: 0,
      reason: `it has ${count} rows, and the manifest says ${entry.rows}`,
    })
}

/** Counts attachments whose content neither came nor is here (P33). */
function missingContent(
  { entries }: BundleManifest,
  table: Table,
  blobs: BlobStore,
  summary: LoadWork['summary'],
): (row: StagedRow) => void {
  const names = dumpColumns(table).map(({ name }) => name)
  const [shaAt, nameAt, deletedAt] = ['sha256', 'name', 'deleted_at'].map((name) => names.indexOf(name)) as [
    number,
    number,
    number,
  ]
  const coming = new Set(entries.filter(({ op }) => op === 'blob').map(({ sha256 }) => sha256))
  return (row) => {
    const sha256 = row[shaAt]
    if (!sha256 || !/^[0-9a-f]{64}$/.test(sha256) || row[deletedAt] !== null || coming.has(sha256)) return
    if (blobs.size(Buffer.from(sha256, 'hex')) !== undefined) return
    summary.blobs.missing += 1
    if (summary.blobs.missing_names.length < MOST_NAMES)
      summary.blobs.missing_names.push((row[nameAt] ?? '').slice(0, 200))
  }
}
