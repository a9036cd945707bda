/**
 * Exports a bundle: one snapshot, what it takes, dump files, contents, reports, manifest (docs/design.md §12). The record
 * of the run and its report are written in every case; the stream knows a bundle before it has its name.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asColdtrailError, ColdtrailError } from '../../core/errors.ts'
import { bytesText, countText } from '../../core/terminalText.ts'
import { tlpNamed } from '../../library/dictionaries.ts'
import { stateDigest } from '../../library/digest.ts'
import type { Library } from '../../library/library.ts'
import { dumpColumns, TABLES } from '../../library/model.ts'
import { openSnapshot, type Snapshot } from '../../platform/database/snapshot.ts'
import { isWritable } from '../../platform/fileSystem.ts'
import { makeDirectory } from '../../platform/files.ts'
import { type BundleWriter, createBundleWriter, type Signer, type WrittenBundle } from '../bundle/bundleWriter.ts'
import { bundleName, type SelectionConfig, type SiteKey } from '../bundle/manifest.ts'
import { watchMemory } from '../memoryWatch.ts'
import { type Stopwatch, stopwatch } from '../stopwatch.ts'
import { abandonRun, beginRun, configHashes, deadRuns, type OpenRun } from '../synchronizations.ts'
import { DUMP_BYTES, DUMP_ROWS, type DumpFile, dumpRows, dumpTombstones } from './dump.ts'
import { objectMatches } from './matching.ts'
import { type Findings, searchBundle } from './readBack.ts'
import { travellingReport, writeReports } from './report.ts'
import { type Selection, select } from './selection.ts'
import { type BaseChoice, placeInStream, type StreamPlace } from './stream.ts'
import type { ExportProgress, ExportStep, ExportSummary } from './summary.ts'

export interface ExportRequest {
  /** Of the bundle and its report, absolute; made when it is missing. */
  readonly target: string
  readonly config: SelectionConfig
  /** Milliseconds; start included, end not. Undefined: what changed. */
  readonly window?: { readonly start: number | null; readonly end: number | null }
  readonly base: BaseChoice
  readonly audience?: string
  /** Rows of a dump file, 50,000 at most. */
  readonly objectLimit?: number
  /** Resident bytes above which the run ends. */
  readonly memoryLimit?: number
  /** Name of this site, all its public keys, and who signs. */
  readonly site: string
  readonly keys: readonly SiteKey[]
  readonly signers: readonly Signer[]
  /** age: `age1…` or files of them. */
  readonly recipients?: readonly string[]
  readonly splitSize?: number
  /** Whether a full bundle states the digests of the library; default: up to DIGEST_ROWS rows. */
  readonly stateDigests?: boolean
  /** When the bundle is not to be imported any more. */
  readonly expires?: Date
  readonly threads?: number
  /** Name and version of the program. */
  readonly tool: string
  /** As given, for record and report. */
  readonly options?: Readonly<Record<string, unknown>>
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: ExportProgress) => void
}

/** A fault of the run is `summary.error`; what ends before a run begins is thrown. */
export async function exportBundle(library: Library, request: ExportRequest): Promise<ExportSummary> {
  makeDirectory(request.target)
  if (!isWritable(request.target))
    throw new ColdtrailError('E_FILE_WRITE', { path: request.target, cause: 'no right to write there' })
  const options = request.options ?? { ...request.config }
  const run = await beginRun(library, { type: 'export', config: request.config, options })
  const summary = newSummary(request, run, options)
  const clock = stopwatch(summary, () => summary.totals.rows)
  const watch = watchMemory(request.memoryLimit)
  const signal = AbortSignal.any([watch.signal, ...(request.signal ? [request.signal] : [])])
  const lock = await library.database.locks.acquire('hold-sync-export')
  let name = bundleName(new Date(run.startedAt / 1_000), process.pid)
  try {
    // Two at once would both be the next of their stream.
    if (!lock) throw new ColdtrailError('E_EXPORT_BUSY')
    signal.throwIfAborted()
    await sweep(library)
    await sweepTarget(library, request.target)
    name = await freeName(library, request.target)
    await runExport({ library, request: { ...request, signal }, name, run, summary, clock })
    summary.result = 'exported'
  } catch (error) {
    summary.error = asColdtrailError(signal.aborted ? signal.reason : error)
    say(summary, `failed: ${summary.error.message}`)
  } finally {
    watch.stop()
  }
  clock.end()
  summary.finished = new Date().toISOString()
  try {
    summary.reports = writeReports(request.target, name, summary)
  } catch (error) {
    summary.error ??= asColdtrailError(error)
  }
  const { error, ...report } = summary
  try {
    if (error) await run.fail(error, report)
    else await run.finish(report)
  } finally {
    await lock?.release()
  }
  return summary
}

// --- internal ---

interface Work {
  readonly library: Library
  readonly request: ExportRequest
  readonly name: string
  readonly run: OpenRun
  readonly summary: ExportSummary
  readonly clock: Stopwatch<ExportStep>
}

async function runExport(work: Work): Promise<void> {
  const { library, request, name, summary, clock } = work
  const { config, audience = '', window } = request
  const stream = { audience, config_hash: configHashes(config).sha256 }
  const place = await placeInStream(library, stream, request.base, window !== undefined)
  clock.step('select')
  const { snapshot, horizon, selection } = await chosenAt(library, request, place)
  const scratch = scratchOf(library, work.run.run)
  const writer = createBundleWriter({ directory: scratch, name, threads: request.threads })
  try {
    summary.bundle = {
      name,
      site: request.site,
      audience: request.audience ?? null,
      kind: place.kind,
      seq: place.seq,
      base_seq: place.baseSeq,
      horizon,
      // Not the second of the name: the key that signs may have been made within it.
      created: new Date().toISOString(),
      manifest_sha256: null,
    }
    say(
      summary,
      `${place.kind} bundle, number ${place.seq} of its stream, on ${place.baseSeq}: changes above ${place.since} up to ${horizon}`,
    )
    summary.excluded = selection.excluded
    await write(work, { snapshot, selection, writer })
    const tables = await digests(work, selection, place, horizon)
    const written = await finish(work, { snapshot, selection, writer, place, horizon, tables, stream })
    summary.files = written.files
    summary.bundle.manifest_sha256 = written.manifestSha256
    summary.totals = { ...written.manifest.totals, compressed_bytes: written.bytes }
    say(summary, `wrote ${countText(written.files.length, 'file')}, ${bytesText(written.bytes)}`)
  } finally {
    writer.discard()
    await snapshot.close()
    rmSync(scratch, { recursive: true, force: true })
  }
}

/**
 * A snapshot and what is taken of it. An expression is asked of the library itself, so nothing may change between its
 * view and the snapshot.
 */
async function chosenAt(library: Library, request: ExportRequest, place: StreamPlace) {
  const { config, window } = request
  const { where } = config
  const expression = where === null ? undefined : objectMatches(where)
  for (let attempt = 1; ; attempt++) {
    const snapshot = await openSnapshot(library.database as never)
    try {
      const [row] = await snapshot.all('select coalesce(max(seq), 0) as seq from changes')
      const horizon = row!.seq as number
      const asked = {
        config,
        since: place.since,
        window: window ? { start: micros(window.start), end: micros(window.end) } : null,
      }
      const selection = expression
        ? await expression.at(library, horizon, config.include_deleted, (matches) =>
            select(snapshot, { ...asked, matches, matchesMove: expression.moves }),
          )
        : await select(snapshot, asked)
      if (selection) return { snapshot, horizon, selection }
    } catch (error) {
      await snapshot.close()
      throw error
    }
    await snapshot.close()
    if (attempt === ATTEMPTS) throw new ColdtrailError('E_CATALOG_BUSY', { cause: 'it changes all the time' })
  }
}

const ATTEMPTS = 10

interface Parts {
  readonly snapshot: Snapshot
  readonly selection: Selection
  readonly writer: BundleWriter
}

async function write(
  { library, request, summary, clock }: Work,
  { snapshot, selection, writer }: Parts,
): Promise<void> {
  const { config, signal } = request
  const limits = { rows: Math.min(request.objectLimit ?? DUMP_ROWS, DUMP_ROWS), bytes: dumpBytes(request.memoryLimit) }
  const total = [...selection.chosen.values()].reduce((sum, { rows }) => sum + rows, 0)
  const counts = new Map(TABLES.map(({ name }) => [name, { table: name, rows: 0, deleted: 0, files: 0 }]))
  let done = 0
  const counted = async function* (table: string, op: 'rows' | 'deleted', files: AsyncIterable<DumpFile>) {
    for await (const file of files) {
      signal?.throwIfAborted()
      const count = counts.get(table)!
      count[op] += file.rows
      count.files += 1
      if (op === 'rows') done += file.rows
      request.onProgress?.({ step: op, table, done, total })
      yield file
    }
  }
  clock.step('rows')
  for (const table of TABLES) {
    if (!selection.chosen.has(table)) continue
    const files = dumpRows(snapshot, selection, table, limits)
    await writer.addRows(table, 'rows', counted(table.name, 'rows', files))
  }
  clock.step('deleted')
  // A natural key tells a value to who guesses it, and who has the row knows it by its uid.
  const withKeys = config.tlp === null && config.where === null
  for (const table of TABLES) {
    const files = dumpTombstones(snapshot, selection, table, withKeys, limits)
    await writer.addRows(table, 'deleted', counted(table.name, 'deleted', files))
  }
  clock.step('blobs')
  for (const sha256 of selection.blobs) {
    signal?.throwIfAborted()
    const digest = Buffer.from(sha256, 'hex')
    if (library.blobs.size(digest) === undefined) summary.missing_blobs += 1
    else await writer.addBlob(sha256, library.blobs.path(digest))
  }
  summary.tables = [...counts.values()].filter(({ files }) => files > 0)
  const { entries } = writer
  const sum = (of: (entry: (typeof entries)[number]) => number) => entries.reduce((all, entry) => all + of(entry), 0)
  summary.totals = {
    rows: sum(({ op, rows = 0 }) => (op === 'rows' ? rows : 0)),
    deleted: sum(({ op, rows = 0 }) => (op === 'deleted' ? rows : 0)),
    blobs: entries.filter(({ op }) => op === 'blob').length,
    bytes: sum(({ bytes }) => bytes),
    compressed_bytes: 0,
  }
  say(summary, `${countText(summary.totals.rows, 'row')} in ${countText(entries.length, 'file')}`)
  if (summary.missing_blobs > 0) say(summary, `${countText(summary.missing_blobs, 'file')} without content here`)
  const report = travellingReport(summary)
  await writer.addReport('report.txt', report.text)
  await writer.addReport('report.json', report.json)
}

/** More rows take longer to digest than to write; `sync state` compares then. */
const DIGEST_ROWS = 200_000

/** Of a full bundle without filters, so that the target can prove that it holds the same. */
async function digests(
  { library, request, summary, clock }: Work,
  { isWhole }: Selection,
  place: StreamPlace,
  horizon: number,
) {
  const isWanted = request.stateDigests ?? summary.totals.rows <= DIGEST_ROWS
  if (place.kind !== 'full' || !isWhole || !isWanted) return null
  clock.step('digest')
  const { seq, tables } = await stateDigest(library)
  if (seq === horizon) return Object.fromEntries(Object.entries(tables).map(([name, { digest }]) => [name, digest]))
  say(summary, 'the library changed meanwhile: the bundle states no digests')
  return null
}

interface FinishParts extends Parts {
  readonly place: StreamPlace
  readonly horizon: number
  readonly tables: Record<string, string> | null
  readonly stream: { readonly audience: string; readonly config_hash: string }
}

async function finish(work: Work, parts: FinishParts): Promise<WrittenBundle> {
  const { library, request, name, run, summary, clock } = work
  const { snapshot, selection, writer, place, horizon, tables, stream } = parts
  const { config, window } = request
  clock.step('write')
  request.onProgress?.({ step: 'write', done: summary.totals.rows, total: summary.totals.rows })
  const columns = TABLES.filter((table) =>
    writer.entries.some((entry) => entry.op === 'rows' && entry.table === table.name),
  )
  const text = (time: number | null): string | null => (time === null ? null : new Date(time).toISOString())
  try {
    return await writer.finish({
      manifest: {
        format: 1,
        min_reader: 1,
        bundle: name,
        site: request.site,
        audience: request.audience ?? null,
        kind: place.kind,
        seq: place.seq,
        prev_sha256: place.prevSha256,
        base_seq: place.baseSeq,
        horizon,
        covered: place.covered,
        config,
        config_sha256: stream.config_hash,
        window: window ? { start: text(window.start), end: text(window.end) } : null,
        created: summary.bundle!.created,
        expires: request.expires?.toISOString() ?? null,
        tool: request.tool,
        keys: request.keys,
        columns: Object.fromEntries(columns.map((table) => [table.name, dumpColumns(table).map(({ name }) => name)])),
        excluded: selection.excluded,
        tables,
      },
      signers: request.signers,
      target: request.target,
      splitSize: request.splitSize,
      recipients: request.recipients,
      async inspect(bundle) {
        if (config.tlp !== null) {
          clock.step('read back')
          const source = { entries: bundle.manifest.entries, read: (entry: never) => bundle.read(entry) }
          const found: Findings = await searchBundle(source, snapshot, selection.hidden, tlpNamed(config.tlp)!)
          summary.search = found
          if (found.mentions > 0)
            say(summary, `${countText(found.mentions, 'text')} within the ceiling mention what is above it`)
          clock.step('write')
        }
        request.signal?.throwIfAborted()
        const row = { ...stream, seq: place.seq, manifest_sha256: bundle.manifestSha256, name, kind: place.kind }
        await library.database.db
          .insertInto('sync_exports')
          .values({ ...row, base_seq: place.baseSeq, horizon, run: run.run, created_at: Date.now() * 1_000 })
          .execute()
      },
    })
  } catch (error) {
    // It has no name and never will: its number is free.
    await library.database.db.deleteFrom('sync_exports').where('run', '=', run.run).execute()
    throw error
  }
}

const scratchRoot = ({ dataDir }: Library): string => join(dataDir, 'library', 'exports')
const scratchOf = (library: Library, run: string): string => join(scratchRoot(library), run)

/** What exports that died left behind. */
async function sweep(library: Library): Promise<void> {
  for (const dead of await deadRuns(library, 'export')) await abandonRun(library, dead, 'the process ended')
  if (!existsSync(scratchRoot(library))) return
  for (const name of readdirSync(scratchRoot(library))) rmSync(join(scratchRoot(library), name), { recursive: true })
}

/** Half files of exports of this library that died: under the lock none of them is at work any more. */
async function sweepTarget({ database }: Library, target: string): Promise<void> {
  for (const file of readdirSync(target)) {
    const name = /^(tqSync-[\d-]+)\.tar\.gz(?:\.age)?(?:\.part\d+)?\.tmp$/.exec(file)?.[1]
    if (name === undefined) continue
    const own = await database.db.selectFrom('sync_exports').select('run').where('name', '=', name).executeTakeFirst()
    if (own) rmSync(join(target, file), { force: true })
  }
}

/** The name has the second of the start: of two in one second the later one waits. */
async function freeName({ database }: Library, target: string): Promise<string> {
  for (;;) {
    const now = new Date()
    const name = bundleName(now, process.pid)
    const known = await database.db
      .selectFrom('sync_exports')
      .select('name')
      .where('name', '=', name)
      .executeTakeFirst()
    const taken = readdirSync(target).some((file) => file.startsWith(`${name}.`) || file.startsWith(`${name}-`))
    if (!known && !taken) return name
    await sleep(1_001 - now.getMilliseconds())
  }
}

/** Files under way are a few at once: they must fit a budget that is small. */
const dumpBytes = (memoryLimit = Number.POSITIVE_INFINITY): number =>
  Math.min(DUMP_BYTES, Math.max(MIB, Math.floor(memoryLimit / 16)))

const MIB = 1024 * 1024

const micros = (time: number | null): number | null => (time === null ? null : time * 1_000)

function say(summary: ExportSummary, text: string): void {
  summary.log.push(`${new Date().toISOString()} ${text}`)
}

function newSummary(request: ExportRequest, run: OpenRun, options: Readonly<Record<string, unknown>>): ExportSummary {
  return {
    type: 'sync export',
    result: 'failed',
    run: run.run,
    pid: process.pid,
    started: new Date(run.startedAt / 1_000).toISOString(),
    options,
    target: request.target,
    files: [],
    tables: [],
    totals: { rows: 0, deleted: 0, blobs: 0, bytes: 0, compressed_bytes: 0 },
    excluded: {},
    missing_blobs: 0,
    steps: [],
    log: [],
    seconds: 0,
    rows_per_s: 0,
    peak_rss_mb: 0,
    reports: null,
  }
}
