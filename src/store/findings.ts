/**
 * Findings: hits worth telling somebody. A run's are the lines of `finding-<run>.ndjson` in the history, sorted by event
 * id, kind, label, plugin and rule; the catalog is their index. A finding has one uid in every run that makes it, so
 * that a later run adds itself to it.
 */
import { createHash, hash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import { eventUid } from '../core/eventUid.ts'
import { attempt, makeDirectory } from '../platform/files.ts'
import type { Catalog, SegmentRow } from './catalog.ts'
import { type DuckDb, parquetFiles } from './duckdb.ts'
import { HashedFile } from './hashedFile.ts'
import { heldPath } from './heldFile.ts'
import { runNumber } from './runs.ts'
import { SessionCache } from './sessions.ts'

export type Severity = 'informational' | 'low' | 'medium' | 'high' | 'critical'

/** From the least on. */
export const SEVERITIES = ['informational', 'low', 'medium', 'high', 'critical'] as const satisfies readonly Severity[]

/** What a plugin or a hunt says; the store adds uid, event uid and time. */
export interface FindingHit {
  /** Event id; null of a hit in a segment whose events are not here. */
  readonly event: number | null
  /** Without event: the segment, one of those given. */
  readonly segment?: number
  readonly label: string
  readonly plugin: string
  readonly rule: string
  readonly severity: Severity
  readonly title: string
}

/** A finding file, durable under its final name. Plain data: it crosses processes. */
export interface SealedFindings extends Readonly<Record<'name' | 'sha256', string>> {
  readonly run: number
  readonly rows: number
  readonly size: number
}

/** A line of a finding file. */
export interface FindingLine {
  readonly uid: string
  /** What made it: `rule`, `hunt`. */
  readonly kind: string
  readonly rule: string
  readonly label: string
  readonly plugin: string
  readonly severity: Severity
  readonly title: string
  /** Both null of a finding about a segment. */
  readonly event: number | null
  readonly event_uid: string | null
  /** That may hold what was hunted; only without event. */
  readonly segment?: number
  /** Microseconds; of a segment its first. */
  readonly time: number | null
}

/** A finding as the catalog has it. `sequence`, `line`: the link and the line (from 1) that first said it. */
export interface Finding extends FindingLine {
  readonly sequence: number
  readonly line: number
  /** Runs that made it, ascending. */
  readonly runs: readonly number[]
}

/** A place between findings in the order in which they were committed. */
export interface FindingPosition {
  readonly sequence: number
  readonly line: number
}

export interface FindingFilter {
  readonly collection: string
  readonly run?: number
  /** This severe or more. */
  readonly severity?: Severity
  /** Bounds of the event's time, both included; a finding without one is outside of any. */
  readonly time1?: number
  readonly time2?: number
  readonly after?: FindingPosition
  readonly upTo?: FindingPosition
  readonly limit?: number
}

export const findingsName = (run: number): string => `finding-${runNumber(run)}.ndjson`

/**
 * 32 hex digits: the first half of SHA-256 over the canonical JSON of kind, rule, label and event uid; of a finding about
 * a segment `segment <collection>/<number>` stands for the last.
 */
export const findingUid = (kind: string, rule: string, label: string, event: string): string =>
  hash('sha256', canonicalize([kind, rule, label, event])!).slice(0, 32)

/**
 * Writes a run's findings durably into the history of its collection; null without any. `hits` come in order of event id,
 * each of an event of `segments`, behind them those about segments. Memory: a batch of hits.
 */
export async function sealFindings(options: {
  readonly catalog: Catalog
  readonly duckdb: DuckDb
  readonly collection: string
  readonly run: number
  readonly segments: readonly SegmentRow[]
  readonly hits: Iterable<FindingHit> | AsyncIterable<FindingHit>
  /** Default `rule`. */
  readonly kind?: string
}): Promise<SealedFindings | null> {
  const { catalog, collection, run, hits, kind = 'rule' } = options
  const directory = catalog.manifestDirectory(collection)
  const name = findingsName(run)
  const events = new Events(options)
  let file: HashedFile | undefined
  let rows = 0
  const write = async (batch: readonly FindingHit[]): Promise<void> => {
    if (batch.length === 0) return
    const lines = await linesOf(batch, events, kind)
    makeDirectory(directory)
    file ??= new HashedFile(join(directory, name))
    if (rows + lines.length >= MAX_LINES) throw new ColdtrailError('E_RUN_FINDINGS', { limit: MAX_LINES })
    file.write(Buffer.from(lines.map((line) => `${canonicalize(line)}\n`).join('')))
    rows += lines.length
  }
  try {
    let batch: FindingHit[] = []
    for await (const hit of hits) {
      const last = batch.at(-1)
      if (last && placeOf(hit) < placeOf(last)) throw new RangeError(`event ${hit.event} comes behind ${last.event}`)
      if (last && batch.length >= BATCH && hit.event !== last.event) {
        await write(batch)
        batch = []
      }
      batch.push(hit)
    }
    await write(batch)
    file?.publish()
  } catch (error) {
    file?.discard()
    throw error
  }
  return file ? { run, name, rows, size: file.size, sha256: file.digest() } : null
}

/** What stands in place of a finding about an erased event, so that lines keep their numbers. */
export const ERASED_LINE = Buffer.from('{"erased":true}\n')

/** Findings of a file, with the numbers of their lines from 1; those of erased events are passed over. E_HISTORY_FILE. */
export function* readFindings(path: string, sha256: string): Generator<FindingLine & { readonly line: number }> {
  let line = 0
  for (const { finding } of readFindingLines(path, sha256)) {
    line += 1
    if (finding) yield { ...finding, line }
  }
}

/**
 * Lines of a finding file, ends of line included; without finding where its event was erased. E_HISTORY_FILE when it is
 * missing or other than `sha256` says.
 */
export function* readFindingLines(
  path: string,
  sha256: string,
): Generator<{ readonly text: Buffer; readonly finding: FindingLine | undefined }> {
  const digest = createHash('sha256')
  for (const piece of pieces(path)) digest.update(piece)
  if (digest.digest('hex') !== sha256) throw new ColdtrailError('E_HISTORY_FILE', { path })
  let rest: Buffer = Buffer.alloc(0)
  for (const piece of pieces(path)) {
    const text = Buffer.concat([rest, piece])
    let start = 0
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, start)) {
      const whole = text.subarray(start, end + 1)
      yield {
        text: whole,
        finding: whole.equals(ERASED_LINE) ? undefined : (JSON.parse(whole.toString()) as FindingLine),
      }
      start = end + 1
    }
    rest = text.subarray(start)
  }
}

// --- internal ---

const BATCH = 10_000
/** A finding's number in a feed has 24 bits for its line (findingFeed.ts). */
const MAX_LINES = 2 ** 24
const PIECE = 2 ** 20

function* pieces(path: string): Generator<Buffer> {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    throw new ColdtrailError('E_HISTORY_FILE', { path }, { cause: error })
  }
  try {
    for (;;) {
      const buffer = Buffer.allocUnsafe(PIECE)
      const read = attempt(path, () => readSync(file, buffer))
      if (read === 0) return
      yield buffer.subarray(0, read)
    }
  } finally {
    closeSync(file)
  }
}

/** Findings about segments come last. */
const placeOf = ({ event }: FindingHit): number => event ?? Number.POSITIVE_INFINITY

async function linesOf(hits: readonly FindingHit[], events: Events, kind: string): Promise<FindingLine[]> {
  const found = await events.of(hits.flatMap(({ event }) => event ?? []))
  const lines = new Map<string, FindingLine>()
  const inOrder = [...hits].sort(
    (a, b) =>
      // Infinity less itself is no number, and so goes on.
      placeOf(a) - placeOf(b) ||
      (a.segment ?? 0) - (b.segment ?? 0) ||
      order(a.label, b.label) ||
      order(a.plugin, b.plugin) ||
      order(a.rule, b.rule),
  )
  for (const { event, segment, label, plugin, rule, severity, title } of inOrder) {
    const about = event === null ? events.ofSegment(segment!) : found.get(event)!
    const uid = findingUid(kind, rule, label, about.uid)
    const place =
      event === null
        ? { event: null, event_uid: null, segment: segment!, time: about.time }
        : { event, event_uid: about.uid, time: about.time }
    if (!lines.has(uid)) lines.set(uid, { uid, kind, rule, label, plugin, severity, title, ...place })
  }
  return [...lines.values()]
}

const order = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Uid and time of events by id. */
class Events {
  private readonly duckdb: DuckDb
  private readonly sessions: SessionCache
  private readonly segments: readonly SegmentRow[]

  constructor({ duckdb, segments }: { readonly duckdb: DuckDb; readonly segments: readonly SegmentRow[] }) {
    this.duckdb = duckdb
    this.sessions = new SessionCache(duckdb)
    this.segments = segments
  }

  ofSegment(number: number): { uid: string; time: number | null } {
    const segment = this.segments.find((one) => one.segment === number)
    if (!segment) throw new RangeError(`segment ${number} is none of those given`)
    return { uid: `segment ${segment.collection}/${number}`, time: segment.time1 }
  }

  async of(ids: readonly number[]): Promise<Map<number, { uid: string; time: number | null }>> {
    const found = new Map<number, { uid: string; time: number | null }>()
    for (const segment of this.segments) {
      const { id1, id2 } = segment
      const within = [...new Set(ids)].filter((id) => id1 !== null && id >= id1 && id <= id2! && !found.has(id))
      if (within.length === 0) continue
      const path = heldPath(segment, 'meta')
      const sql = `SELECT id, session_id, ordinal, epoch_us(time) AS time FROM ${parquetFiles([path])}
        WHERE id BETWEEN ${within[0]} AND ${within.at(-1)}
          AND id IN (SELECT unnest(CAST($ids::JSON AS BIGINT[])))`
      const sessions = await this.sessions.of(segment)
      for (const row of await this.duckdb.rows({ sql, files: [path], parameters: { ids: JSON.stringify(within) } }))
        found.set(row.id as number, {
          uid: eventUid(sessions.uidPrefix(row.session_id as number), row.ordinal as number),
          time: row.time as number | null,
        })
    }
    const lost = ids.find((id) => !found.has(id))
    if (lost !== undefined) throw new ColdtrailError('E_EVENT_UNKNOWN', { id: lost })
    return found
  }
}
