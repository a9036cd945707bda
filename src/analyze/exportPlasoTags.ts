/**
 * Tags and reports of runs for plaso: the timeline that they are about is told by its bytes, copied, and the copy written.
 * The original is only read.
 */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import {
  type EventLabels,
  type RunResults,
  type WrittenTags,
  writePlasoTags,
} from '../components/timeline/plasoTags.ts'
import { ColdtrailError } from '../core/errors.ts'
import { createDurableFile, type DurableFile } from '../platform/files.ts'
import type { Catalog, RunRow, SegmentRow } from '../store/catalog.ts'
import { DuckDb, parquetFiles } from '../store/duckdb.ts'
import { heldPath, isHeldHere, localDirectories } from '../store/heldFile.ts'
import type { RunReport } from '../store/runReport.ts'
import { tagPath } from '../store/tags.ts'

export interface PlasoTagsOptions {
  readonly catalog: Catalog
  readonly dataDir: string
  readonly collection: string
  /** The timeline as it was collected, uncompressed. */
  readonly file: string
  /** Default: `<name>.tagged.plaso` in the current directory. An existing file is replaced once the new one is whole. */
  readonly out?: string
  /** Default: every run but those that came with timelines. */
  readonly run?: number
}

export interface PlasoTagsSummary extends WrittenTags {
  readonly out: string
  readonly runs: readonly number[]
}

/** E_TIMELINE_UNKNOWN, E_TIMELINE_FILE, E_RUN_UNKNOWN, E_EVENT_OFFLINE. */
export async function exportPlasoTags(options: PlasoTagsOptions): Promise<PlasoTagsSummary> {
  const { catalog, dataDir, collection, file, run } = options
  const out = options.out ?? `${basename(file).replace(/\.plaso$/i, '')}.tagged.plaso`
  for (const path of [out, `${out}.tmp`]) refuseSame(file, path)
  const runs = await chosenRuns(catalog, collection, run)
  const hold = await catalog.registerReader()
  let duckdb: DuckDb | undefined
  let copy: DurableFile | undefined
  try {
    copy = createDurableFile(out)
    const sha256 = copyInto(copy, file)
    const segments = (await catalog.segments({ collection, state: 'live' })).filter(({ format }) => format === 'plaso')
    const directories = [...new Set([dataDir, ...localDirectories(segments)])]
    duckdb = await DuckDb.open({ directories, tempDirectory: join(dataDir, 'spill'), threads: 1 })
    const found = await sessionsOf(duckdb, segments, sha256)
    if (found.length === 0) throw new ColdtrailError('E_TIMELINE_UNKNOWN', { collection, path: file })
    const results = await Promise.all(runs.map((row) => resultsOf(catalog, row)))
    const numbers = new Set(runs.map((row) => row.run))
    const written = await writePlasoTags(`${out}.tmp`, file, labelsOf(duckdb, found, numbers), results)
    copy.publish()
    return { ...written, out, runs: [...numbers].sort((a, b) => a - b) }
  } catch (error) {
    copy?.discard()
    throw error
  } finally {
    duckdb?.close()
    await hold.release()
  }
}

// --- internal ---

const CHUNK_BYTES = 1 << 20

interface Found {
  readonly segment: SegmentRow
  readonly sessions: readonly number[]
}

function refuseSame(file: string, out: string): void {
  const original = statSync(file, { throwIfNoEntry: false })
  const there = statSync(out, { throwIfNoEntry: false })
  if (resolve(file) === resolve(out) || (original && there && original.ino === there.ino && original.dev === there.dev))
    throw new ColdtrailError('E_USAGE', {
      message: 'The copy would take the place of the original: name another file with --out.',
    })
}

async function chosenRuns(catalog: Catalog, collection: string, run: number | undefined): Promise<RunRow[]> {
  const runs = (await catalog.runs({ collection })).filter(({ sequence }) => sequence !== null)
  if (run === undefined) return runs.filter(({ kind }) => kind !== 'imported').sort((a, b) => a.run - b.run)
  const chosen = runs.find((row) => row.run === run)
  if (!chosen) throw new ColdtrailError('E_RUN_UNKNOWN', { run })
  return [chosen]
}

/** Answers the digest of what was copied. */
function copyInto(copy: DurableFile, file: string): string {
  const hash = createHash('sha256')
  try {
    const descriptor = openSync(file, 'r')
    try {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
      for (let read = readSync(descriptor, chunk); read > 0; read = readSync(descriptor, chunk)) {
        hash.update(chunk.subarray(0, read))
        copy.write(chunk.subarray(0, read))
      }
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    if (error instanceof ColdtrailError) throw error
    throw new ColdtrailError('E_FILE_READ', { path: file, cause: (error as Error).message }, { cause: error })
  }
  return hash.digest('hex')
}

/** Where the events of these bytes are. A copy of the same timeline has the same. */
async function sessionsOf(duckdb: DuckDb, segments: readonly SegmentRow[], sha256: string): Promise<Found[]> {
  const found: Found[] = []
  for (const segment of segments) {
    if (!isHeldHere(segment, 'session')) continue
    const path = heldPath(segment, 'session')
    const sql = `SELECT session_id FROM ${parquetFiles([path])} WHERE sha256_received = $sha256`
    const rows = await duckdb.rows({ sql, parameters: { sha256 }, files: [path] })
    const superseded = new Set(segment.superseded)
    const sessions = rows.map(({ session_id }) => session_id as number).filter((session) => !superseded.has(session))
    if (sessions.length > 0) found.push({ segment, sessions })
  }
  return found
}

async function* labelsOf(
  duckdb: DuckDb,
  found: readonly Found[],
  runs: ReadonlySet<number>,
): AsyncGenerator<EventLabels> {
  for (const { segment, sessions } of found) {
    const tags = segment.tags.filter(({ run }) => runs.has(run)).map(tagPath)
    if (tags.length === 0) continue
    const meta = heldPath(segment, 'meta')
    if (!isHeldHere(segment, 'meta'))
      throw new ColdtrailError('E_EVENT_OFFLINE', {
        id: `of segment ${segment.segment}`,
        detail: `${meta} is not here`,
      })
    const sql = `SELECT metadata_uid AS event, string_agg(DISTINCT label, ',' ORDER BY label) AS labels
      FROM ${parquetFiles(tags)} AS t JOIN ${parquetFiles([meta])} AS e ON e.id = t.id
      WHERE e.session_id IN (${sessions.join(', ')}) AND metadata_uid IS NOT NULL
      GROUP BY e.id, metadata_uid ORDER BY e.id`
    for await (const rows of duckdb.stream({ sql, files: [meta, ...tags] }))
      for (const { event, labels } of rows) yield { event: event as string, labels: (labels as string).split(',') }
  }
}

async function resultsOf(
  catalog: Catalog,
  { run, commandLine, producer, started, ended, expression }: RunRow,
): Promise<RunResults> {
  const { plugins, warnings } = (await catalog.runReport(run)) as RunReport
  return {
    ...{ commandLine, version: producer.replace(/^coldtrail\//, ''), started, ended: ended ?? started },
    reports: plugins.map(({ plugin, counters, text }) => ({
      plugin,
      counters,
      ...(text !== undefined && { text }),
      filter: expression,
    })),
    warnings: warnings.map(({ plugin, message }) => ({ plugin: plugin ?? 'coldtrail', message })),
  }
}
