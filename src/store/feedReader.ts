/**
 * What is new for a feed, in order of (commit sequence, event id), wherever compaction has put the events since.
 *
 * The events of a commit are those with the ids of its seal: ranges of seals never overlap, and compaction keeps ids. A
 * chunk is read from the segment that is live now; one query reads several seals that lie in one segment. Segments that
 * can hold no match are not opened. Files are held against removal only while they are read: when the consumer rests,
 * and every so often, they are let go and found anew.
 */
import { COLUMN_BY_NAME, type EventColumnName } from '../core/columns.ts'
import { ColdtrailError } from '../core/errors.ts'
import { eventUid } from '../core/eventUid.ts'
import type { OutgoingEvent, OutgoingSession } from '../core/outgoingEvent.ts'
import { comparePositions, type Position } from './catalog/outbox.ts'
import type { Catalog, Commit, Hold, SegmentRow } from './catalog.ts'
import { replacedOf, segmentOf } from './chain.ts'
import type { ColumnChunk } from './columnChunk.ts'
import { type DuckDb, type Parameters, parquetFiles, sqlName, sqlText, throwIfAborted } from './duckdb.ts'
import { type Engine, type EngineOptions, Engines } from './engines.ts'
import { type EventsQuestion, FindingFeed, type FoundEvent } from './findingFeed.ts'
import { heldPath, isHeldHere } from './heldFile.ts'
import { type ColumnFilters, keysetFilters, prune } from './prune.ts'
import type { Condition } from './search.ts'
import type { SegmentSessions, SessionCache } from './sessions.ts'
import { taggedRelation, tagPath } from './tags.ts'
import { segmentsWithCopies } from './workbench.ts'

export interface FeedQuestion {
  readonly collection: string
  /** Default `events`. Of findings, positions are (commit sequence, number of the finding). */
  readonly stream?: 'events' | 'findings'
  readonly condition?: Condition
  /** Microseconds: events before it are not taken; those without a time are when their commit is not before it. */
  readonly startTime?: number
  /** What `OutgoingEvent.column` answers; `id`, `uid`, `time`, `dataType`, `data` and `session` always are there. */
  readonly columns: readonly EventColumnName[]
  readonly from: Position
  /** Default: the head as of the call. */
  readonly to?: Position
  /** Pass over events whose files are not here, and count them; else E_FORWARD_OFFLINE. */
  readonly skipOffline?: boolean
  readonly signal?: AbortSignal
}

/** Selected events of one commit, ids ascending. */
export interface FeedChunk {
  readonly sequence: number
  readonly events: readonly OutgoingEvent[]
  /** Everything up to here was looked at. */
  readonly upTo: Position
  /**
   * Events passed over since the chunk before, all of them before the first event of this one: of superseded sessions
   * (matching or not), and offline ones.
   */
  readonly superseded: number
  readonly offline: number
}

export interface FeedCount {
  readonly events: number
  /** Of them, with a time before `olderThan`. */
  readonly older: number
  /** When the oldest commit with such an event took place, microseconds; null without events. */
  readonly oldestCommit: number | null
  /** Events in files that are not here, matching or not, and not among `events`. */
  readonly offline: number
}

export interface FeedSource {
  /** Chunks may hold no event: then only the position moves. */
  read(question: FeedQuestion): AsyncGenerator<FeedChunk>
  /** By id, as far as they are here, of superseded sessions too; `ids` and what comes ascending. */
  readEvents(
    question: Pick<FeedQuestion, 'collection' | 'stream' | 'columns' | 'signal'>,
    ids: readonly number[],
  ): AsyncGenerator<OutgoingEvent>
  /** How many events a feed has not read yet; told from the catalog where that is possible. Never E_FORWARD_OFFLINE. */
  count(question: Omit<FeedQuestion, 'columns'> & { readonly olderThan?: number }): Promise<FeedCount>
  close(): Promise<void>
}

export interface FeedSourceOptions extends EngineOptions {
  readonly catalog: Catalog
  /** How long files are held at a stretch, and while nobody asks for the next chunk; default 60 and 10 seconds. */
  readonly holdMs?: number
  readonly restMs?: number
}

export const openFeedSource = (options: FeedSourceOptions): FeedSource => new FeedReader(options)

// --- internal ---

const HOLD_MS = 60_000
const REST_MS = 10_000
/** Seals read by one query. */
const SEALS_AT_ONCE = 64
/** Segments whose answers are open at once: seals of several partitions take turns. */
const OPEN_SEGMENTS = 6
const IDS_AT_ONCE = 512

class FeedReader implements FeedSource {
  private readonly options: FeedSourceOptions
  private readonly filters: ColumnFilters
  private readonly engines: Engines
  private readonly commits = new Map<string, KnownCommits>()
  private readonly leases = new Set<Lease>()
  private readonly findings: FindingFeed

  constructor(options: FeedSourceOptions) {
    this.options = options
    this.filters = keysetFilters(options)
    this.engines = new Engines(options)
    this.findings = new FindingFeed(options.catalog, (question, ids) => this.eventsById(question, ids))
  }

  async *read(question: FeedQuestion): AsyncGenerator<FeedChunk> {
    const { restMs = REST_MS } = this.options
    const { signal } = question
    if (question.stream === 'findings') {
      // A workbench has few of the events that there are findings of.
      const skipOffline = question.skipOffline || (await this.isWorkbench(question.collection))
      yield* this.findings.read({ ...question, skipOffline, to: await this.endOf(question) })
      return
    }
    const to = await this.endOf(question)
    let position = question.from
    let gone: unknown
    while (comparePositions(position, to) < 0) {
      throwIfAborted(signal)
      const lease = await this.lease({ ...question, from: position, to })
      try {
        for await (const chunk of new LeaseReader(lease, position, to).chunks()) {
          position = chunk.upTo
          gone = undefined
          lease.rest(restMs)
          yield chunk
          lease.wake()
          throwIfAborted(signal)
          if (lease.isOver) break
        }
        if (!lease.isOver) return
      } catch (error) {
        // Moved or replaced since it was found; once more from here.
        if (gone !== undefined || !(error instanceof ColdtrailError && error.code === 'E_SEGMENT_GONE')) throw error
        gone = error
      } finally {
        await this.end(lease)
      }
    }
  }

  async *readEvents(
    question: Pick<FeedQuestion, 'collection' | 'stream' | 'columns' | 'signal'>,
    ids: readonly number[],
  ): AsyncGenerator<OutgoingEvent> {
    if (question.stream === 'findings') {
      yield* this.findings.byNumber(question, ids)
      return
    }
    for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
      const found = await this.eventsById(question, ids.slice(at, at + IDS_AT_ONCE))
      yield* found.map(({ event }) => event).sort((a, b) => a.id - b.id)
    }
  }

  /** Those that are here, also where they do not match. */
  private async eventsById(
    { collection, columns, condition, signal }: EventsQuestion,
    ids: readonly number[],
  ): Promise<FoundEvent[]> {
    const found: FoundEvent[] = []
    const hold = await this.options.catalog.registerReader()
    try {
      const live = await segmentsWithCopies(this.options.catalog, collection)
      const engine = await this.engines.for(live)
      for (const segment of live) {
        const inside = ids.filter((id) => segment.id1 !== null && segment.id1 <= id && id <= segment.id2!)
        if (inside.length === 0 || !isHere(segment)) continue
        const sessions = await engine.sessions.of(segment, signal)
        const superseded = new Set(segment.superseded)
        const { relation, files } = eventsIn(segment, condition)
        const within = `id BETWEEN ${Math.min(...inside)} AND ${Math.max(...inside)} AND id IN (${inside})`
        // In a relation of its own, for a name means the column there and not what is selected under it.
        const sql = `SELECT ${selectList(columns)}, is_match
          FROM (SELECT *, (${condition?.sql ?? 'TRUE'})::DOUBLE AS is_match FROM ${relation} WHERE ${within})`
        for await (const chunk of engine.duckdb.columns({ sql, parameters: condition?.parameters, files, signal })) {
          const matches = chunk.numbers('is_match')
          const hidden = chunk.numbers('session_id')
          eventsOf(chunk, 0, chunk.rows, sessions).forEach((event, i) => {
            found.push({ event, isMatch: matches[i] === 1, isSuperseded: superseded.has(hidden[i]!) })
          })
        }
      }
    } finally {
      await hold.release()
    }
    return found
  }

  async count(question: Omit<FeedQuestion, 'columns'> & { readonly olderThan?: number }): Promise<FeedCount> {
    const { from, olderThan, signal } = question
    const to = await this.endOf(question)
    if (question.stream === 'findings') return this.findings.count({ ...question, to })
    const lease = await this.lease({ ...question, columns: [], from, to })
    try {
      let [events, older, offline] = [0, 0, 0]
      let oldest: Seal | undefined
      for (const [segment, seals] of lease.bySegment) {
        throwIfAborted(signal)
        if (segment && !lease.mayHold(segment, seals)) continue
        if (!segment || !isHere(segment)) {
          for (const seal of seals) offline += lengthOf(rangeIn(seal, from, to))
          continue
        }
        for (const found of await lease.counted(segment, seals, olderThan)) {
          events += found.events
          older += found.older
          if (found.events > 0 && !(oldest && oldest.sequence < found.seal.sequence)) oldest = found.seal
        }
      }
      return { events, older, offline, oldestCommit: oldest?.time ?? null }
    } finally {
      await this.end(lease)
    }
  }

  async close(): Promise<void> {
    for (const lease of this.leases) await this.end(lease)
    await this.engines.close()
  }

  /** Never behind what is committed: what comes later would be passed over. */
  private async endOf({ collection, to }: Pick<FeedQuestion, 'collection' | 'to'>): Promise<Position> {
    const sequence = await this.options.catalog.head(collection)
    const end = { sequence, id: sequence === 0 ? 0 : Number.MAX_SAFE_INTEGER }
    return to && comparePositions(to, end) < 0 ? to : end
  }

  private async lease(question: LeaseQuestion): Promise<Lease> {
    const { catalog, holdMs = HOLD_MS } = this.options
    const { collection, from, to } = question
    const hold = await catalog.registerReader()
    try {
      // In this order: a seal that is known is live, or was replaced by a link that is read after the segments.
      const live = await segmentsWithCopies(catalog, collection)
      const known = (await this.isWorkbench(collection))
        ? await this.restored(collection, live)
        : await this.knownCommits(collection, from.sequence)
      const engine = await this.engines.for(live)
      const seals = known.seals.filter(
        (seal) =>
          seal.sequence >= from.sequence && seal.sequence <= to.sequence && lengthOf(rangeIn(seal, from, to)) > 0,
      )
      const segments = new Map(live.map((segment) => [segment.segment, segment]))
      const homes = new Map<Seal, SegmentRow | undefined>()
      for (const seal of seals) {
        let number: number | undefined = seal.segment
        while (number !== undefined && !segments.has(number)) number = known.replacedBy.get(number)
        homes.set(seal, number === undefined ? undefined : segments.get(number))
      }
      const asked = [...new Set(homes.values())].filter((segment) => segment !== undefined)
      const { needles = [], time1, time2 } = question.condition ?? {}
      const bounds = { needles, ...(time1 === undefined ? {} : { time1 }), ...(time2 === undefined ? {} : { time2 }) }
      const pruned = await prune(asked, bounds, { duckdb: engine.duckdb, filters: this.filters })
      const { pinned, segments: kept } = pruned
      const lease = new Lease({ question, hold, engine, seals, homes, kept: new Set(kept), pinned, holdMs })
      this.leases.add(lease)
      return lease
    } catch (error) {
      await hold.release()
      throw error
    }
  }

  private async end(lease: Lease): Promise<void> {
    this.leases.delete(lease)
    await lease.close()
  }

  private async isWorkbench(collection: string): Promise<boolean> {
    return (await this.options.catalog.workbenches(collection)).length > 0
  }

  /** What is new in a workbench: at each `restore` link the segments that it brought, whose ids do not enclose each other. */
  private async restored(
    workbench: string,
    live: readonly SegmentRow[],
  ): Promise<Pick<KnownCommits, 'seals' | 'replacedBy'>> {
    const { catalog } = this.options
    const rows = new Map(live.map((row) => [row.segment, row]))
    const bySequence = Map.groupBy(await catalog.workbenchFiles(workbench), ({ sequence }) => sequence)
    const seals: Seal[] = []
    for (const [sequence, files] of [...bySequence].sort(([a], [b]) => a - b)) {
      const [commit] = await catalog.commits(workbench, { after: sequence - 1, limit: 1 })
      const brought = files.flatMap(({ kind, segment }) => (kind === 'meta' ? (rows.get(segment) ?? []) : []))
      for (const { segment, id1, id2, session1, session2 } of brought.sort((a, b) => (a.id1 ?? 0) - (b.id1 ?? 0)))
        if (id1 !== null && id2 !== null)
          seals.push({ sequence, time: commit!.time, segment, id1, id2, session1, session2 })
    }
    return { seals, replacedBy: new Map() }
  }

  /** Links never change, so what was read of them is kept; only new ones are read. */
  private async knownCommits(collection: string, from: number): Promise<KnownCommits> {
    let known = this.commits.get(collection)
    if (!known || known.first > from) {
      known = { first: from, last: Math.max(0, from - 1), seals: [], replacedBy: new Map() }
      this.commits.set(collection, known)
    }
    for (;;) {
      const commits = await this.options.catalog.commits(collection, { after: known.last })
      for (const commit of commits) learn(known, commit)
      if (commits.length === 0) return known
    }
  }
}

interface Seal {
  readonly sequence: number
  /** When it was committed, microseconds. */
  readonly time: number
  /** That it made; the events may lie in another one since. */
  readonly segment: number
  readonly id1: number
  readonly id2: number
  readonly session1: number
  readonly session2: number
}

interface KnownCommits {
  readonly first: number
  last: number
  /** In order. */
  readonly seals: Seal[]
  readonly replacedBy: Map<number, number>
}

function learn(known: KnownCommits, { number, time, body }: Commit): void {
  // Another reader of the same collection was quicker.
  if (number <= known.last) return
  known.last = number
  const facts = segmentOf(body)
  if (!facts) return
  const { segment, id1, id2, session1, session2 } = facts
  const replaced = replacedOf(body)
  for (const before of replaced) known.replacedBy.set(before, segment)
  if (replaced.length === 0 && id1 !== null && id2 !== null)
    known.seals.push({ sequence: number, time, segment, id1, id2, session1, session2 })
}

interface Range {
  readonly id1: number
  readonly id2: number
}

/** Ids of a seal between two positions; may be empty. */
const rangeIn = ({ sequence, id1, id2 }: Seal, from: Position, to: Position): Range => ({
  id1: sequence === from.sequence ? Math.max(id1, from.id + 1) : id1,
  id2: sequence === to.sequence ? Math.min(id2, to.id) : id2,
})

const lengthOf = ({ id1, id2 }: Range): number => Math.max(0, id2 - id1 + 1)

const metaPath = (segment: SegmentRow): string => heldPath(segment, 'meta')

const isHere = (segment: SegmentRow): boolean => isHeldHere(segment, 'meta') && isHeldHere(segment, 'session')

/** The events of a segment, in order of id; with their labels where the condition asks for them. */
function eventsIn(segment: SegmentRow, condition: Condition | undefined): { relation: string; files: string[] } {
  const path = metaPath(segment)
  const events = parquetFiles([path])
  if (!condition?.readsTags) return { relation: events, files: [path] }
  // A join keeps no order.
  const relation = `(FROM ${taggedRelation(events, segment.tags)} ORDER BY id)`
  return { relation, files: [path, ...segment.tags.map(tagPath)] }
}

type LeaseQuestion = FeedQuestion & { readonly to: Position }

/** What is to be read, where it lies now, and the hold on those files. */
class Lease {
  readonly question: LeaseQuestion
  readonly seals: readonly Seal[]
  readonly duckdb: DuckDb
  readonly sessions: SessionCache
  private readonly homes: ReadonlyMap<Seal, SegmentRow | undefined>
  /** Seals of each segment, in order of sequence. */
  readonly bySegment: ReadonlyMap<SegmentRow | undefined, readonly Seal[]>
  private readonly kept: ReadonlySet<SegmentRow>
  private readonly conditionSql: readonly string[]
  private readonly parameters: Parameters | undefined
  private readonly hold: Hold
  private readonly end: number
  private timer: NodeJS.Timeout | undefined
  private readonly cursors = new Map<SegmentRow, Cursor>()
  private closing: Promise<void> | undefined

  constructor(parts: {
    question: LeaseQuestion
    hold: Hold
    engine: Engine
    seals: readonly Seal[]
    homes: ReadonlyMap<Seal, SegmentRow | undefined>
    kept: ReadonlySet<SegmentRow>
    pinned: readonly { readonly column: string; readonly value: string }[]
    holdMs: number
  }) {
    const { condition } = parts.question
    this.question = parts.question
    this.hold = parts.hold
    this.duckdb = parts.engine.duckdb
    this.sessions = parts.engine.sessions
    this.seals = parts.seals
    this.homes = parts.homes
    this.bySegment = Map.groupBy(parts.seals, (seal) => parts.homes.get(seal))
    this.kept = parts.kept
    this.end = Date.now() + parts.holdMs
    // An equality is pushed into the scan; most conditions are not.
    const pinned = condition ? parts.pinned.filter(({ value }) => !value.includes('\0')) : []
    this.conditionSql = [
      ...pinned.map(({ column, value }) => `${sqlName(column)} = ${sqlText(value)}`),
      ...(condition ? [`(${condition.sql})`] : []),
    ]
    this.parameters = condition?.parameters
  }

  get isClosed(): boolean {
    return this.closing !== undefined
  }

  /** Its files are let go, or should be: what follows is to be found anew. */
  get isOver(): boolean {
    return this.closing !== undefined || Date.now() > this.end
  }

  rest(milliseconds: number): void {
    this.timer = setTimeout(() => void this.close().catch(() => undefined), milliseconds).unref()
  }

  wake(): void {
    clearTimeout(this.timer)
  }

  close(): Promise<void> {
    this.wake()
    this.closing ??= (async () => {
      for (const cursor of this.cursors.values()) await cursor.close()
      await this.hold.release()
    })()
    return this.closing
  }

  segmentOf(seal: Seal): SegmentRow | undefined {
    return this.homes.get(seal)
  }

  /** Whether an event of the seals may be selected, as far as it is told without opening the segment. */
  mayHold(segment: SegmentRow, seals: readonly Seal[]): boolean {
    if (!this.kept.has(segment)) return false
    const { startTime } = this.question
    if (startTime === undefined || (segment.time2 !== null && segment.time2 >= startTime)) return true
    return missingTimes(segment) !== 0 && seals.some(({ time }) => time >= startTime)
  }

  /** Names every segment that is missing from here on. */
  offlineError(from: Seal): ColdtrailError {
    const names = new Set<number>()
    for (const seal of this.seals) {
      if (seal.sequence < from.sequence) continue
      const segment = this.segmentOf(seal)
      if (!segment) names.add(seal.segment)
      else if (this.mayHold(segment, [seal]) && !isHere(segment)) names.add(segment.segment)
    }
    const all = [...names].sort((a, b) => a - b)
    const more = all.length > MAX_NAMED ? ` and ${all.length - MAX_NAMED} more` : ''
    const segments = `${all.slice(0, MAX_NAMED).join(', ')}${more}`
    return new ColdtrailError('E_FORWARD_OFFLINE', { segments, collection: this.question.collection })
  }

  /** Rows of the segment from this seal on; the one that is open, if it stands there. */
  async cursor(segment: SegmentRow, seal: Seal, range: Range): Promise<Cursor> {
    const held = this.cursors.get(segment)
    this.cursors.delete(segment)
    if (held?.covers(seal)) {
      this.cursors.set(segment, held)
      return held
    }
    await held?.close()
    for (const [other, cursor] of this.cursors) {
      if (this.cursors.size < OPEN_SEGMENTS) break
      this.cursors.delete(other)
      await cursor.close()
    }
    const run = this.runFrom(segment, seal)
    const { columns, to, signal } = this.question
    const ranges = run.map((each) => (each === seal ? range : rangeIn(each, { sequence: 0, id: 0 }, to)))
    const where = this.where(segment, run, ranges)
    const { relation, files } = eventsIn(segment, this.question.condition)
    // In a relation of its own, for a name means the column there and not what is selected under it.
    const sql = `SELECT ${selectList(columns)} FROM (FROM ${relation} WHERE ${where})`
    const query = { sql, parameters: this.parameters, files, signal }
    const sessions = await this.sessions.of(segment, signal)
    const cursor = new Cursor(new Set(run), sessions, this.duckdb.columns(query))
    this.cursors.set(segment, cursor)
    return cursor
  }

  /** Selected events per seal. */
  async counted(
    segment: SegmentRow,
    unsorted: readonly Seal[],
    olderThan: number | undefined,
  ): Promise<{ seal: Seal; events: number; older: number }[]> {
    const { from, to, signal, startTime } = this.question
    const seals = [...unsorted].sort((a, b) => a.id1 - b.id1)
    const ranges = seals.map((seal) => rangeIn(seal, from, to))
    const isDated = missingTimes(segment) === 0 && segment.time1 !== null && segment.time2 !== null
    const isYoung = olderThan === undefined || (isDated && segment.time1! >= olderThan)
    const isOld = isDated && olderThan !== undefined && segment.time2! < olderThan
    const isWhole = startTime === undefined || (isDated && segment.time1! >= startTime)
    if (this.conditionSql.length === 0 && isWhole && (isYoung || isOld)) {
      const hidden = segment.superseded.length > 0 ? await this.sessions.of(segment, signal) : undefined
      return seals.map((seal, i) => {
        const events = lengthOf(ranges[i]!) - hiddenEvents(segment, seal, hidden, ranges[i]!)
        return { seal, events, older: isOld ? events : 0 }
      })
    }
    const { relation, files } = eventsIn(segment, this.question.condition)
    const found: { seal: Seal; events: number; older: number }[] = []
    for (let at = 0; at < seals.length; at += SEALS_AT_ONCE) {
      const some = seals.slice(at, at + SEALS_AT_ONCE)
      const values = some.map((_, i) => `(${i}, ${ranges[at + i]!.id1}, ${ranges[at + i]!.id2})`)
      const older = olderThan === undefined ? '0' : `count(*) FILTER (time < ${timestamp(olderThan)})`
      const sql = `SELECT i, count(*) AS events, ${older} AS older
        FROM (SELECT id, time FROM ${relation} WHERE ${this.where(segment, some, ranges.slice(at, at + SEALS_AT_ONCE))})
        JOIN (VALUES ${values}) AS seals(i, id1, id2) ON id BETWEEN id1 AND id2 GROUP BY i`
      for (const row of await this.duckdb.rows({ sql, parameters: this.parameters, files, signal }))
        found.push({ seal: some[row.i as number]!, events: row.events as number, older: row.older as number })
    }
    return found
  }

  /** This seal and those after it in the same segment, as long as their ids ascend. */
  private runFrom(segment: SegmentRow, seal: Seal): Seal[] {
    const run = [seal]
    const seals = this.bySegment.get(segment)!
    for (let i = seals.indexOf(seal) + 1; i < seals.length && run.length < SEALS_AT_ONCE; i++) {
      const next = seals[i]!
      if (next.id1 <= run.at(-1)!.id2) break
      run.push(next)
    }
    return run
  }

  /** Selects what is not superseded, matches and is not before the start, of these seals. */
  private where(segment: SegmentRow, seals: readonly Seal[], ranges: readonly Range[]): string {
    const { startTime } = this.question
    const terms = [`id >= ${ranges[0]!.id1}`, `id <= ${ranges.at(-1)!.id2}`]
    const isAll = ranges.reduce((sum, range) => sum + lengthOf(range), 0) === segment.rows
    if (ranges.length > 1 && !isAll)
      terms.push(`(${ranges.map(({ id1, id2 }) => `id BETWEEN ${id1} AND ${id2}`).join(' OR ')})`)
    const hidden = segment.superseded.filter((session) =>
      seals.some(({ session1, session2 }) => session1 <= session && session <= session2),
    )
    if (hidden.length > 0) terms.push(`session_id NOT IN (${hidden})`)
    if (startTime !== undefined) {
      const recent = ranges.filter((_, i) => seals[i]!.time >= startTime)
      const untimed = recent.map(({ id1, id2 }) => `time IS NULL AND id BETWEEN ${id1} AND ${id2}`)
      terms.push(`(${[`time >= ${timestamp(startTime)}`, ...untimed].join(' OR ')})`)
    }
    return [...terms, ...this.conditionSql].join(' AND ')
  }
}

/** Segments that a message names. */
const MAX_NAMED = 10

const timestamp = (microseconds: number): string => `make_timestamptz(${Math.round(microseconds)}::BIGINT)`

/** Undefined when the manifest does not say. */
const missingTimes = (segment: SegmentRow): number | undefined =>
  segment.files.find(({ kind }) => kind === 'meta')?.manifest.eventTime?.missing

/** Events of superseded sessions among these ids. */
function hiddenEvents(
  segment: SegmentRow,
  { session1, session2 }: Seal,
  sessions: SegmentSessions | undefined,
  range: Range,
): number {
  let count = 0
  for (const number of segment.superseded) {
    if (number < session1 || number > session2) continue
    const session = sessions?.get(number)
    if (session?.id1 == null || session.id2 === null) continue
    count += lengthOf({ id1: Math.max(range.id1, session.id1), id2: Math.min(range.id2, session.id2) })
  }
  return count
}

/** Walks the seals of a lease. */
class LeaseReader {
  private readonly lease: Lease
  private readonly from: Position
  private readonly to: Position
  private passed = { superseded: 0, offline: 0 }

  constructor(lease: Lease, from: Position, to: Position) {
    this.lease = lease
    this.from = from
    this.to = to
  }

  async *chunks(): AsyncGenerator<FeedChunk> {
    const { lease, from, to } = this
    for (const seal of lease.seals) {
      const range = rangeIn(seal, from, to)
      const segment = lease.segmentOf(seal)
      if (segment && !lease.mayHold(segment, [seal])) continue
      if (segment && isHere(segment)) {
        const isRead = yield* this.eventsOf(segment, seal, range)
        if (!isRead) return
      } else if (lease.question.skipOffline) this.passed.offline += lengthOf(range)
      else throw lease.offlineError(seal)
      if (lease.isOver) {
        yield this.chunk(seal.sequence, [], range.id2)
        return
      }
    }
    yield this.chunk(to.sequence, [], to.id)
  }

  /** True when all of the seal was read. */
  private async *eventsOf(segment: SegmentRow, seal: Seal, { id1, id2 }: Range): AsyncGenerator<FeedChunk, boolean> {
    const { lease } = this
    const cursor = await lease.cursor(segment, seal, { id1, id2 })
    const hasHidden = segment.superseded.length > 0
    let next = id1
    const hiddenUpTo = (id: number): number =>
      hasHidden ? hiddenEvents(segment, seal, cursor.sessions, { id1: next, id2: id }) : 0
    for (;;) {
      const events = await cursor.take(id2)
      // What a closed lease answers is no end.
      if (lease.isClosed) throw new ColdtrailError('E_INTERRUPTED', { signal: 'the end of its reader' })
      if (!events) break
      for (let start = 0; start < events.length; ) {
        this.passed.superseded += hiddenUpTo(events[start]!.id)
        next = events[start]!.id + 1
        let end = start + 1
        for (; end < events.length && !(hasHidden && events[end]!.id > next && hiddenUpTo(events[end]!.id) > 0); end++)
          next = events[end]!.id + 1
        yield this.chunk(seal.sequence, events.slice(start, end), next - 1)
        if (lease.isOver) return false
        start = end
      }
    }
    this.passed.superseded += hiddenUpTo(id2)
    return true
  }

  private chunk(sequence: number, events: readonly OutgoingEvent[], id: number): FeedChunk {
    const { passed } = this
    this.passed = { superseded: 0, offline: 0 }
    return { sequence, events, upTo: { sequence, id }, ...passed }
  }
}

/** The rows of a run of seals, in order; one chunk is fetched ahead. */
class Cursor {
  readonly sessions: SegmentSessions
  private readonly seals: Set<Seal>
  private readonly chunks: AsyncGenerator<ColumnChunk>
  private ahead: Promise<IteratorResult<ColumnChunk>> | undefined
  private current: ColumnChunk | undefined
  private row = 0

  constructor(seals: Set<Seal>, sessions: SegmentSessions, chunks: AsyncGenerator<ColumnChunk>) {
    this.seals = seals
    this.sessions = sessions
    this.chunks = chunks
  }

  /** Whether the seal's rows are still to come; it is asked for each seal once, in order. */
  covers(seal: Seal): boolean {
    return this.seals.delete(seal)
  }

  /** The next rows with ids up to this one; undefined when there are none. */
  async take(id2: number): Promise<readonly OutgoingEvent[] | undefined> {
    if (!this.current || this.row === this.current.rows) {
      const next = await (this.ahead ?? this.fetch())
      if (next.done) {
        this.ahead = Promise.resolve(next)
        this.current = undefined
        return undefined
      }
      this.ahead = this.fetch()
      this.current = next.value
      this.row = 0
    }
    const ids = this.current.numbers('id')
    const start = this.row
    let end = start
    while (end < ids.length && ids[end]! <= id2) end++
    if (end === start) return undefined
    this.row = end
    return eventsOf(this.current, start, end, this.sessions)
  }

  async close(): Promise<void> {
    await this.ahead?.catch(() => undefined)
    await this.chunks.return(undefined)
  }

  private fetch(): Promise<IteratorResult<ColumnChunk>> {
    const next = this.chunks.next()
    // Whoever takes it sees its failure.
    next.catch(() => undefined)
    return next
  }
}

/** Columns of every event, by the names that chunks know them by. */
const ALWAYS: readonly EventColumnName[] = ['id', 'session_id', 'ordinal', 'time', 'data_type', 'data']

function selectList(columns: readonly EventColumnName[]): string {
  return [...new Set([...ALWAYS, ...columns])]
    .map((name) => {
      const { type } = COLUMN_BY_NAME.get(name)!
      const column = sqlName(name)
      if (type === 'time') return `epoch_us(${column})::DOUBLE AS ${column}`
      return type === 'int' ? `${column}::DOUBLE AS ${column}` : `encode(${column}) AS ${column}`
    })
    .join(', ')
}

function eventsOf(chunk: ColumnChunk, start: number, end: number, sessions: SegmentSessions): OutgoingEvent[] {
  const events: OutgoingEvent[] = []
  const numbers = chunk.numbers('session_id')
  let number = -1
  let session: OutgoingSession | undefined
  let prefix = ''
  for (let row = start; row < end; row++) {
    if (numbers[row] !== number) {
      number = numbers[row]!
      prefix = sessions.uidPrefix(number)
      session = sessions.get(number)!
    }
    events.push(new ChunkEvent(chunk, row, prefix, session!))
  }
  return events
}

class ChunkEvent implements OutgoingEvent {
  readonly session: OutgoingSession
  private readonly chunk: ColumnChunk
  private readonly row: number
  private readonly prefix: string

  constructor(chunk: ColumnChunk, row: number, prefix: string, session: OutgoingSession) {
    this.chunk = chunk
    this.row = row
    this.prefix = prefix
    this.session = session
  }
  get id(): number {
    return this.chunk.numbers('id')[this.row]!
  }
  get uid(): string {
    return eventUid(this.prefix, this.chunk.numbers('ordinal')[this.row]!)
  }
  get time(): number | null {
    return this.number('time')
  }
  get dataType(): string {
    return this.chunk.texts('data_type').text(this.row)!
  }
  get data(): Buffer {
    return this.chunk.texts('data').bytes(this.row)!
  }
  column(name: EventColumnName): string | number | null {
    const { type } = COLUMN_BY_NAME.get(name)!
    return type === 'int' || type === 'time' ? this.number(name) : this.chunk.texts(name).text(this.row)
  }
  private number(name: EventColumnName): number | null {
    const value = this.chunk.numbers(name)[this.row]!
    return Number.isNaN(value) ? null : value
  }
}
