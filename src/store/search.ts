/**
 * Questions to the store. Every answer is of committed segments only, prunes before it opens an event file, hides events
 * of superseded sessions unless `allVersions`, and says whether it is complete:
 *
 *     offline       segments that may hold a match, but whose files are not here
 *     rejects       records in the time asked for that a format refused, so that no column tells whether they match
 *     quarantined   objects that were refused whole
 *     pending       objects that are listed but not collected yet
 *
 * A reject has no time of its own; it counts where its segment overlaps the time asked for. Of objects those count that
 * could belong to the question (missingObjects.ts).
 */
import { COLUMN_BY_NAME, EVENT_COLUMNS, type EventColumn, READABLE_COLUMNS } from '../core/columns.ts'
import { ColdtrailError, printable } from '../core/errors.ts'
import { eventUid, parseEventUid } from '../core/eventUid.ts'
import type { Catalog, Hold, PendingObject, SegmentRow } from './catalog.ts'
import { collectionNames } from './collectionNames.ts'
import { type DuckDb, type Parameters, parquetFiles, type Row, sqlName, sqlText } from './duckdb.ts'
import { Engines } from './engines.ts'
import { type HeldFile, heldPath, isHeldHere } from './heldFile.ts'
import { mayBelong } from './missingObjects.ts'
import {
  type ColumnFilters,
  keysetFilters,
  listsEveryValue,
  type Needle,
  type Pruned,
  type PruneStage,
  prune,
  valuesPath,
} from './prune.ts'
import type { SessionRow } from './segment.ts'
import { type SessionCache, sessionPath } from './sessions.ts'
import { type HeldTagFile, labelled, taggedRelation, tagPath } from './tags.ts'
import { numbersText, restoreWords, united } from './workbench.ts'

/** A compiled expression, as far as the store needs it. */
export interface Condition {
  /** A boolean over the columns of `meta`, never NULL; parameters as `$name`. */
  readonly sql: string
  readonly parameters: Parameters
  readonly needles: readonly Needle[]
  /** An event that has a value of every needle is a match. */
  readonly needlesSuffice?: boolean
  /** It names the column `tag`, the list of an event's labels, which is then joined. */
  readonly readsTags?: boolean
  /** Bounds of the times of all matches, microseconds. */
  readonly time1?: number
  readonly time2?: number
}

export interface Question {
  /** Default `main`. Several, and workbenches, by comma: an event that several of them have is one event. */
  readonly collection?: string
  readonly condition?: Condition
  /** Microseconds, both ends included. Events without a time are then no match. */
  readonly time1?: number
  readonly time2?: number
  /** Events of superseded sessions too. */
  readonly allVersions?: boolean
  readonly signal?: AbortSignal
}

export type Order = 'time' | '-time' | 'id' | '-id'

export interface SearchQuestion extends Question {
  /**
   * Names of event columns, `tag` (a list), `uid`, and session columns behind `session.`; default: every column that
   * people read.
   */
  readonly columns?: readonly string[]
  /** Default `time`; ties by id, events without time last. */
  readonly order?: Order
  readonly limit?: number
  /** A column: of events with one value of it only the first (lowest id) is answered; events without one all are. */
  readonly distinct?: string
}

export interface Incompleteness {
  readonly reason: 'offline' | 'rejects' | 'quarantined' | 'pending' | 'undecided'
  /** Segments, records or objects. */
  readonly count: number
  readonly detail: string
}

export interface Explanation {
  readonly segments: number
  readonly stages: readonly { readonly stage: PruneStage; readonly kept: number }[]
  /** Segments whose event files are opened. */
  readonly opened: number
}

export interface Answer {
  readonly complete: boolean
  readonly why: readonly Incompleteness[]
  readonly explanation: Explanation
}

/** Columns by name; times in microseconds, `tag` a list. Columns that are null are there with null. */
export type EventRow = Readonly<Record<string, string | number | null | readonly string[]>>

/** What a run said of an event. */
export interface EventTag {
  readonly label: string
  readonly plugin: string
  readonly rule: string
  readonly run: number
}

export interface Search extends Answer {
  readonly columns: readonly string[]
  /** To be iterated once; ending it early ends the query. */
  readonly rows: AsyncIterableIterator<EventRow>
}

export interface ValueCount {
  readonly value: string | number
  readonly count: number
  /** First and last event time, microseconds; null when no event with the value has a time. */
  readonly time1: number | null
  readonly time2: number | null
}

export interface RejectedRecord {
  readonly session: SessionRow
  readonly offset: number
  readonly length: number
  readonly reason: string
  /** At most REJECT_BYTES of it. */
  readonly data: Uint8Array
}

export interface StoreReaderOptions {
  readonly catalog: Catalog
  readonly dataDir: string
  /** Bytes DuckDB may take; default 1 GiB. */
  readonly memoryLimit?: number
  readonly threads?: number
}

/** The others can be asked for by name. */
export const DEFAULT_COLUMNS: readonly string[] = READABLE_COLUMNS.flatMap((name) =>
  name === 'id' ? [name, 'uid'] : name,
)

export class StoreReader {
  private readonly options: StoreReaderOptions
  private readonly filters: ColumnFilters
  private readonly engines: Engines
  private readonly holds = new Set<Hold>()
  /** Live segments per collection, as of the last commit to any collection (which may supersede sessions of others). */
  private readonly live = new Map<string, { readonly commits: string; readonly segments: readonly SegmentRow[] }>()

  constructor(options: StoreReaderOptions) {
    this.options = options
    this.filters = keysetFilters(options)
    this.engines = new Engines(options)
  }

  /** Matches, in order, streamed. */
  async search(question: SearchQuestion): Promise<Search> {
    const columns = question.columns ?? DEFAULT_COLUMNS
    for (const name of columns) if (name !== 'uid' && name !== TAG && !name.startsWith('session.')) eventColumn(name)
    return this.held(question, 'meta', async (plan) => {
      plan.wantsTags ||= columns.includes(TAG)
      const rows = await HeldRows.start(this.matches(plan, question, columns), plan)
      return { ...plan.answer, columns, rows }
    })
  }

  /** How many events match; with `distinct` an event counts once per value of that column. */
  async count(question: Question & { readonly distinct?: string }): Promise<Answer & { readonly count: number }> {
    const distinct = question.distinct === undefined ? undefined : sqlName(eventColumn(question.distinct).name)
    return this.answer(question, async (plan) => {
      if (!plan.isFiltered && distinct === undefined)
        return { count: plan.segments.reduce((sum, { rows }) => sum + rows, 0) }
      const counted = distinct
        ? `count(DISTINCT ${distinct}) + count(*) FILTER (WHERE ${distinct} IS NULL)`
        : 'count(*)'
      const [row] = await plan.rows(`SELECT ${counted} AS count FROM ${plan.events}`)
      return { count: (row?.count as number | undefined) ?? 0 }
    })
  }

  /**
   * Values of a column with how many matches have them, most frequent first, then by value. `distinct`: how many values
   * there are in all. Without an expression the answer comes from values.parquet where a segment has one for the column
   * and no superseded session, from rows elsewhere.
   */
  async values(
    question: Question & { readonly field: string; readonly limit?: number },
  ): Promise<Answer & { readonly values: readonly ValueCount[]; readonly distinct: number }> {
    if (question.field === TAG) return this.answer(question, (plan) => labelCounts(plan, question.limit))
    const column = eventColumn(question.field)
    const name = sqlName(column.name)
    return this.answer(question, async (plan) => {
      const isSummed = (segment: SegmentRow): boolean =>
        question.condition === undefined &&
        !plan.isBoundedBy(segment) &&
        (question.allVersions === true || segment.superseded.length === 0) &&
        listsEveryValue(segment, column.name) &&
        isHeldHere(segment, 'index')
      const summed = plan.segments.filter(isSummed)
      const read = plan.segments.filter((segment) => !summed.includes(segment))
      const parts: string[] = []
      if (read.length > 0)
        parts.push(`SELECT ${name} AS value, count(*) AS n, min(epoch_us(time)) AS t1, max(epoch_us(time)) AS t2
          FROM ${plan.eventsOf(read)} WHERE ${name} IS NOT NULL GROUP BY ALL`)
      if (summed.length > 0)
        parts.push(`SELECT value, count AS n, epoch_us(time1) AS t1, epoch_us(time2) AS t2
          FROM ${parquetFiles(summed.map(valuesPath))} WHERE column_name = '${column.name}'`)
      if (parts.length === 0) return { values: [], distinct: 0 }
      const rows = await plan.rows(
        `SELECT value, sum(n) AS count, min(t1) AS time1, max(t2) AS time2, count(*) OVER () AS values
          FROM (${parts.join(' UNION ALL ')}) GROUP BY value ORDER BY count DESC, value ${limitClause(question.limit)}`,
        summed.map(valuesPath),
        read.length > 0,
      )
      const values = rows.map(({ value, count, time1, time2 }) => ({ value, count, time1, time2 }) as ValueCount)
      return { values, distinct: (rows[0]?.values as number | undefined) ?? 0 }
    })
  }

  /** Matches per interval of `intervalSecs` seconds; intervals without any are left out. `untimed` have no time. */
  async timeline(
    question: Question & { readonly intervalSecs: number },
  ): Promise<
    Answer & { readonly bins: readonly { readonly time: number; readonly count: number }[]; readonly untimed: number }
  > {
    const width = Math.round(question.intervalSecs * 1e6)
    if (!(width > 0)) throw new ColdtrailError('E_USAGE', { message: 'an interval must be longer than nothing' })
    return this.answer(question, async (plan) => {
      // Integer division cuts towards zero; times before 1970 belong to the interval below.
      const bin = `(epoch_us(time) - CASE WHEN epoch_us(time) < 0 THEN ${width - 1} ELSE 0 END) // ${width}`
      const rows = await plan.rows(`SELECT ${bin} AS bin, count(*) AS count FROM ${plan.events} GROUP BY 1 ORDER BY 1`)
      const bins = rows
        .filter(({ bin }) => bin !== null)
        .map(({ bin, count }) => ({ time: (bin as number) * width, count: count as number }))
      return { bins, untimed: (rows.find(({ bin }) => bin === null)?.count as number | undefined) ?? 0 }
    })
  }

  /** One event by local id or uid, with its session and what runs said of it. E_EVENT_UNKNOWN. */
  async show(
    id: number | string,
    question: Pick<Question, 'collection' | 'allVersions' | 'signal'> = {},
  ): Promise<{ readonly event: EventRow; readonly session: SessionRow; readonly tags: readonly EventTag[] }> {
    const { event, session, tags } = await this.find(id, question)
    return { event, session, tags }
  }

  /**
   * Events by local id, as far as their segments are here and they match; `isSuperseded` where a later version of their
   * object was collected.
   */
  async eventsById(
    ids: readonly number[],
    { columns = DEFAULT_COLUMNS, ...question }: SearchQuestion,
  ): Promise<Map<number, { readonly row: EventRow; readonly isSuperseded: boolean }>> {
    return this.held({ ...question, allVersions: true }, 'meta', async (plan) => {
      plan.wantsTags ||= columns.includes(TAG)
      const found = new Map<number, { row: EventRow; isSuperseded: boolean }>()
      const segments = plan.segments.filter((segment) => ids.some((id) => holdsId(segment, id)))
      const superseded = new Set(segments.flatMap((segment) => segment.superseded))
      if (segments.length > 0) {
        const sql = `SELECT ${selection(columns, ['session_id', 'ordinal'])} FROM ${plan.eventsOf(segments)} AS meta
          WHERE id BETWEEN ${Math.min(...ids)} AND ${Math.max(...ids)} AND id IN (${ids.join(', ')})`
        for (const row of await plan.rows(sql)) {
          const isSuperseded = superseded.has(row.session_id as number)
          found.set(row.id as number, { row: await told(plan, row, columns), isSuperseded })
        }
      }
      await plan.release()
      return found
    })
  }

  /** The record's own bytes: formats refuse records that are no UTF-8, so its text is them. */
  async showRaw(
    id: number | string,
    question: Pick<Question, 'collection' | 'allVersions' | 'signal'> = {},
  ): Promise<Buffer> {
    return (await this.find(id, question)).record
  }

  /** Refused records in order of session and offset, and objects that were refused whole or not collected yet. */
  async rejects(
    question: Omit<Question, 'condition'> = {},
  ): Promise<
    Answer & { readonly records: AsyncIterableIterator<RejectedRecord>; readonly objects: readonly PendingObject[] }
  > {
    const objects = await this.missing(question)
    return this.held(question, 'reject', async (plan) => {
      const records = await HeldRows.start(this.rejectedRecords(plan, question), plan)
      return { ...plan.answer, objects, records }
    })
  }

  async explain(question: Question): Promise<Answer> {
    return this.answer(question, async () => ({}))
  }

  async close(): Promise<void> {
    for (const hold of this.holds) await hold.release()
    this.holds.clear()
    await this.engines.close()
  }

  // --- internal ---

  private async *matches(
    plan: Plan,
    { order = 'time', limit, distinct }: SearchQuestion,
    columns: readonly string[],
  ): AsyncGenerator<EventRow> {
    if (plan.segments.length === 0) return
    const list = selection(columns, columns.some(isOfSession) ? ['session_id', 'ordinal'] : [])
    const from = distinct === undefined ? plan.from : `${plan.distinctEvents(eventColumn(distinct).name)} AS meta`
    // A join keeps no order of files.
    const orderBy = orderClause(order, distinct === undefined && !plan.readsTags ? plan.segments : undefined)
    const sql = `SELECT ${list} FROM ${from} ${orderBy} ${limitClause(limit)}`
    for await (const chunk of plan.stream(sql)) for (const row of chunk) yield told(plan, row, columns)
  }

  private async *rejectedRecords(plan: Plan, { allVersions }: Question): AsyncGenerator<RejectedRecord> {
    for (const segment of plan.segments) {
      if (segment.rejects === 0) continue
      const hidden = new Set(allVersions ? [] : segment.superseded)
      const sessions = await plan.sessions.of(segment)
      const path = heldPath(segment, 'reject')
      const sql = `FROM ${parquetFiles([path])} ORDER BY session_id, "offset"`
      for await (const chunk of plan.duckdb.stream({ sql, files: [path], signal: plan.signal }))
        for (const { session_id, offset, length, reason, data } of chunk) {
          const session = sessions.get(session_id as number)
          if (!session || hidden.has(session.session_id)) continue
          yield {
            session,
            offset: offset as number,
            length: length as number,
            reason: reason as string,
            data: data as Uint8Array,
          }
        }
    }
  }

  private async find(
    id: number | string,
    question: Pick<Question, 'collection' | 'allVersions' | 'signal'>,
  ): Promise<{ event: EventRow; session: SessionRow; record: Buffer; tags: EventTag[] }> {
    const unknown = () => new ColdtrailError('E_EVENT_UNKNOWN', { id })
    const uid = typeof id === 'string' ? parseEventUid(id) : undefined
    const local = typeof id === 'string' && /^\d{1,15}$/.test(id) ? Number(id) : id
    if (uid === undefined && typeof local !== 'number') throw unknown()
    const plan = await this.plan(question, 'meta')
    try {
      const segments = uid ? plan.segments : plan.segments.filter((segment) => holdsId(segment, local as number))
      for (const segment of segments) {
        const sessions = await plan.sessions.of(segment, question.signal)
        const owners = uid
          ? [...sessions.values()].filter(({ session_id }) => sessions.uidPrefix(session_id) === uid.prefix)
          : undefined
        if (owners?.length === 0) continue
        const where = owners
          ? `session_id IN (${owners.map(({ session_id }) => session_id)}) AND ordinal = ${uid!.ordinal}`
          : `id = ${local}`
        const sql = `SELECT * REPLACE (${Object.values(AS_READ)}) FROM ${plan.eventsOf([segment])} WHERE ${where}`
        const [row] = await plan.rows(sql)
        if (!row) continue
        const record = Buffer.from(row.data as Uint8Array)
        const session = sessions.get(row.session_id as number)!
        const known = eventUid(sessions.uidPrefix(session.session_id), row.ordinal as number)
        const event = { ...row, data: record.toString(), uid: known }
        const tags = await plan.tagsOf(segment, row.id as number)
        return { event: event as EventRow, session, record, tags }
      }
      const offline = plan.answer.why.find(({ reason }) => reason === 'offline')
      throw offline ? new ColdtrailError('E_EVENT_OFFLINE', { id, detail: offline.detail }) : unknown()
    } finally {
      await plan.release()
    }
  }

  private answer<T>(question: Question, ask: (plan: Plan) => Promise<T>): Promise<Answer & T> {
    return this.held(question, 'meta', async (plan) => {
      const answer = { ...plan.answer, ...(await ask(plan)) }
      await plan.release()
      return answer
    })
  }

  /** Plans and begins; once more when a file was moved or replaced in between. What began releases the plan. */
  private async held<T>(question: Question, kind: 'meta' | 'reject', begin: (plan: Plan) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const plan = await this.plan(question, kind)
      try {
        return await begin(plan)
      } catch (error) {
        await plan.release()
        if (attempt > 1 || !(error instanceof ColdtrailError && error.code === 'E_SEGMENT_GONE')) throw error
      }
    }
  }

  private async plan(question: Question, kind: 'meta' | 'reject'): Promise<Plan> {
    const { catalog } = this.options
    const hold = await catalog.registerReader()
    this.holds.add(hold)
    const release = async (): Promise<void> => {
      if (this.holds.delete(hold)) await hold.release()
    }
    try {
      const live = await this.liveSegments(collectionNames(question.collection))
      const { duckdb, sessions } = await this.engines.for(live)
      const bounds = boundsOf(question)
      const pruned = await prune(live, bounds, { duckdb, filters: this.filters })
      const here: SegmentRow[] = []
      const offline: SegmentRow[] = []
      for (const segment of kind === 'meta' ? pruned.segments : pruned.inTime) {
        const needed = kind === 'meta' || segment.rejects > 0
        const isHere = isHeldHere(segment, kind) && isHeldHere(segment, 'session')
        ;(!needed || isHere ? here : offline).push(segment)
      }
      const why = [
        ...offlineReason(offline, kind),
        ...(kind === 'reject' ? [] : await rejectsReason(pruned, question, duckdb)),
        ...(kind === 'reject' ? [] : objectReasons(await this.missing(question))),
      ]
      const { total, stages } = pruned
      const answer = {
        complete: why.length === 0,
        why,
        explanation: { segments: total, stages, opened: here.length },
      }
      here.sort((a, b) => (a.id1 ?? 0) - (b.id1 ?? 0))
      return new Plan({ question, segments: here, pinned: pruned.pinned, answer, duckdb, sessions, release })
    } catch (error) {
      await release()
      throw error
    }
  }

  private async missing(question: Question): Promise<PendingObject[]> {
    const { catalog } = this.options
    const { allVersions } = question
    const pending = await catalog.pending()
    if (pending.length === 0) return []
    // Nothing is collected into a workbench.
    const benches = new Set((await catalog.workbenches()).map(({ name }) => name))
    const ranges = collectionNames(question.collection)
      .filter((name) => !benches.has(name))
      .map((collection) => ({ collection, allVersions, ...boundsOf(question) }))
    return pending.filter((object) => ranges.some((range) => mayBelong(object, range)))
  }

  /** The catalog is asked again only after a commit: reading manifests takes longer than finding a needle. */
  private async liveSegments(collections: readonly string[]): Promise<readonly SegmentRow[]> {
    const { catalog } = this.options
    // The heads first: what is committed in between is then read once more.
    const heads = (await catalog.collections()).map(async (name) => `${name}:${await catalog.head(name)}`)
    const commits = (await Promise.all(heads)).join()
    const lists: (readonly SegmentRow[])[] = []
    for (const collection of collections) {
      const held = this.live.get(collection)
      const isFresh = held?.commits === commits
      const segments = isFresh ? held.segments : await catalog.segments({ collection, state: 'live' })
      if (!isFresh) this.live.set(collection, { commits, segments })
      lists.push(segments)
    }
    return united(lists)
  }
}

// --- internal ---

/** A column by its name; E_USAGE for what is none. */
function eventColumn(name: string): EventColumn {
  const column = COLUMN_BY_NAME.get(name)
  if (!column) throw new ColdtrailError('E_USAGE', { message: `"${name}" is no column of events` })
  return column
}

/** Columns that are not read as they are. A record's text would lose a byte order mark on the way, so it comes as bytes. */
const AS_READ: Readonly<Record<string, string>> = { time: 'epoch_us(time) AS time', data: 'encode(data) AS data' }
/** Not a column of `meta`, but joined from tag files. */
const TAG = 'tag'
const TAG_AS_READ = `array_to_string(tag, ',') AS tag`

const SQL_TYPES = { text: 'VARCHAR', ip: 'VARCHAR', int: 'BIGINT', time: 'TIMESTAMPTZ' } as const
/** A relation with the columns of events and no rows. */
const NO_EVENTS = `(SELECT ${EVENT_COLUMNS.map(({ name, type }) => `NULL::${SQL_TYPES[type]} AS ${name}`)},
  NULL::VARCHAR[] AS tag LIMIT 0)`

/** Segments to read, and how: relations over them with everything hidden that the question does not ask for. */
class Plan {
  readonly segments: readonly SegmentRow[]
  readonly answer: Answer
  readonly duckdb: DuckDb
  readonly sessions: SessionCache
  readonly release: () => Promise<void>
  /** The relations have the column `tag`, whether the condition needs it or not. */
  wantsTags = false
  private readonly question: Question
  private readonly pinned: Pruned['pinned']
  /** What is pinned is the whole condition. A statement without parameters is planned once, one with them twice. */
  private readonly isPinned: boolean

  constructor(parts: {
    question: Question
    segments: readonly SegmentRow[]
    pinned: Pruned['pinned']
    answer: Answer
    duckdb: DuckDb
    sessions: SessionCache
    release: () => Promise<void>
  }) {
    this.question = parts.question
    this.segments = parts.segments
    this.pinned = parts.pinned.filter(({ value }) => !value.includes('\0'))
    const { needles = [], needlesSuffice } = parts.question.condition ?? {}
    const stored = needles.filter(({ column }) => column !== TAG)
    this.isPinned = needlesSuffice === true && this.pinned.length === stored.length
    this.answer = parts.answer
    this.duckdb = parts.duckdb
    this.sessions = parts.sessions
    this.release = parts.release
  }

  /** Tag files are read. */
  get readsTags(): boolean {
    return this.wantsTags || this.question.condition?.readsTags === true
  }

  get signal(): AbortSignal | undefined {
    return this.question.signal
  }

  /** False when every event of the segments is a match. */
  get isFiltered(): boolean {
    return this.question.condition?.readsTags || this.segments.some((segment) => this.filterOf([segment]) !== '')
  }

  /** Whether the time asked for may leave out events of the segment. */
  isBoundedBy(segment: SegmentRow): boolean {
    const { time1, time2 } = this.question
    if (time1 === undefined && time2 === undefined) return false
    const missing = segment.files.find(({ kind }) => kind === 'meta')?.manifest.eventTime?.missing
    if (missing !== 0 || segment.time1 === null || segment.time2 === null) return true
    return segment.time1 < (time1 ?? segment.time1) || segment.time2 > (time2 ?? segment.time2)
  }

  /** The matches, as a relation with the columns of `meta`. */
  get events(): string {
    return this.eventsOf(this.segments)
  }

  /** The same behind FROM, named `meta`: a relation in brackets takes longer to plan than the needle to find. */
  get from(): string {
    const filter = this.filterOf(this.segments)
    return `${this.filesOf(this.segments)} AS meta${filter && ` WHERE ${filter}`}`
  }

  eventsOf(segments: readonly SegmentRow[]): string {
    if (segments.length === 0) return NO_EVENTS
    const filter = this.filterOf(segments)
    const files = this.filesOf(segments)
    return filter ? `(FROM ${files} WHERE ${filter})` : files
  }

  private filesOf(segments: readonly SegmentRow[]): string {
    const files = parquetFiles(segments.map(metaPath))
    if (!this.readsTags) return files
    const tags = tagsOf(segments)
    const needles = this.question.condition?.needles.filter(({ column }) => column === TAG) ?? []
    // What has none of the labels asked for is passed over before the join, or instead of it.
    const having = needles.map(({ values }) => `id IN (SELECT id FROM ${labelled(tags, values)})`).join(' AND ')
    const events = having ? `(FROM ${files} WHERE ${having})` : files
    return this.wantsTags || !this.isPinned ? taggedRelation(events, tags) : events
  }

  async tagsOf(segment: SegmentRow, id: number): Promise<EventTag[]> {
    const tags: EventTag[] = []
    for (const file of segment.tags) {
      const path = tagPath(file)
      const sql = `SELECT label, plugin, rule FROM ${parquetFiles([path])} WHERE id = ${id} ORDER BY ALL`
      for (const row of await this.duckdb.rows({ sql, files: [path], signal: this.signal }))
        tags.push({ ...(row as unknown as Omit<EventTag, 'run'>), run: file.run })
    }
    return tags
  }

  /** Only the first match of each value of a column. */
  distinctEvents(column: string): string {
    const name = sqlName(column)
    return `(FROM ${this.events} AS meta WHERE ${name} IS NULL OR id IN (
      SELECT min(id) FROM ${this.events} WHERE ${name} IS NOT NULL GROUP BY ${name}))`
  }

  rows(sql: string, others: readonly string[] = [], readsEvents = true): Promise<Row[]> {
    return this.duckdb.rows(this.query(sql, others, readsEvents))
  }

  stream(sql: string): AsyncGenerator<Row[]> {
    return this.duckdb.stream(this.query(sql))
  }

  async sessionOf(row: Row): Promise<{ uid: string; session: SessionRow }> {
    const id = row.session_id as number
    // A compacted segment's range may enclose segments of other partitions.
    for (const segment of this.segments) {
      if (!holdsId(segment, row.id as number)) continue
      const sessions = await this.sessions.of(segment, this.signal)
      const session = sessions.get(id)
      if (session) return { uid: eventUid(sessions.uidPrefix(id), row.ordinal as number), session }
    }
    throw new Error(`event ${row.id} is in no segment of the plan`)
  }

  private query(sql: string, others: readonly string[] = [], readsEvents = true) {
    const { condition, signal } = this.question
    const parameters = readsEvents && this.segments.length > 0 && !this.isPinned ? condition?.parameters : undefined
    const tags = this.readsTags ? tagsOf(this.segments).map(tagPath) : []
    return { sql, parameters, files: [...this.segments.map(metaPath), ...tags, ...others], signal }
  }

  private filterOf(segments: readonly SegmentRow[]): string {
    const { condition, time1, time2, allVersions } = this.question
    const terms: string[] = []
    if (time1 !== undefined || time2 !== undefined) {
      if (segments.some((segment) => this.isBoundedBy(segment)))
        terms.push(
          ...(time1 === undefined ? [] : [`time >= make_timestamptz(${time1}::BIGINT)`]),
          ...(time2 === undefined ? [] : [`time <= make_timestamptz(${time2}::BIGINT)`]),
        )
    }
    const hidden = allVersions ? [] : segments.flatMap(({ superseded }) => superseded)
    if (hidden.length > 0) terms.push(`session_id NOT IN (${hidden})`)
    // An equality is pushed into the scan, which then decodes the other columns of few rows; most conditions are not.
    if (condition) for (const { column, value } of this.pinned) terms.push(`${sqlName(column)} = ${sqlText(value)}`)
    if (condition && !this.isPinned) terms.push(`(${condition.sql})`)
    return terms.join(' AND ')
  }
}

/** Rows that hold the plan's files until they were read, or until the reader stops. */
class HeldRows<T> implements AsyncIterableIterator<T> {
  private readonly rows: AsyncGenerator<T>
  private readonly plan: Plan
  private first: IteratorResult<T> | undefined

  private constructor(rows: AsyncGenerator<T>, plan: Plan) {
    this.rows = rows
    this.plan = plan
  }
  /** Fetches the first row, so that a fault of the question or of a file shows before an answer is begun. */
  static async start<T>(rows: AsyncGenerator<T>, plan: Plan): Promise<HeldRows<T>> {
    const held = new HeldRows(rows, plan)
    held.first = await held.next()
    return held
  }
  async next(): Promise<IteratorResult<T>> {
    const { first } = this
    this.first = undefined
    if (first) return first
    try {
      const result = await this.rows.next()
      if (result.done) await this.plan.release()
      return result
    } catch (error) {
      await this.plan.release()
      throw error
    }
  }
  async return(): Promise<IteratorResult<T>> {
    await this.rows.return(undefined)
    await this.plan.release()
    return { done: true, value: undefined }
  }
  [Symbol.asyncIterator](): this {
    return this
  }
}

const isOfSession = (name: string): boolean => name === 'uid' || name.startsWith('session.')

/** What is read for columns asked for. */
function selection(columns: readonly string[], others: readonly string[]): string {
  const wanted = columns.filter((name) => COLUMN_BY_NAME.has(name) || name === TAG)
  const selected = [...new Set(['id', ...others, ...wanted])]
  return selected.map((name) => (name === TAG ? TAG_AS_READ : (AS_READ[name] ?? sqlName(name)))).join(', ')
}

/** A row as it was read, in the columns asked for. */
async function told(plan: Plan, row: Row, columns: readonly string[]): Promise<EventRow> {
  if (row.data instanceof Uint8Array) row.data = Buffer.from(row.data).toString()
  // Labels hold no comma.
  const tag = typeof row.tag === 'string' ? row.tag.split(',') : null
  const session = columns.some(isOfSession) ? await plan.sessionOf(row) : undefined
  return Object.fromEntries(
    columns.map((name) => {
      if (name === 'uid') return [name, session!.uid]
      if (name === TAG) return [name, tag]
      if (name.startsWith('session.')) return [name, session!.session[name.slice(8) as keyof SessionRow] ?? null]
      return [name, row[name] as string | number | null]
    }),
  )
}

const tagsOf = (segments: readonly SegmentRow[]): HeldTagFile[] => segments.flatMap(({ tags }) => tags)

/** Matches per label, each event once a label. */
async function labelCounts(plan: Plan, limit: number | undefined) {
  const files = tagsOf(plan.segments).map(tagPath)
  if (files.length === 0) return { values: [], distinct: 0 }
  const rows = await plan.rows(
    `SELECT label AS value, count(*) AS count, min(t) AS time1, max(t) AS time2, count(*) OVER () AS values
      FROM (SELECT DISTINCT id, label FROM ${parquetFiles(files)}) AS tags
      JOIN (SELECT id, epoch_us(time) AS t FROM ${plan.events}) AS events ON tags.id = events.id
      GROUP BY label ORDER BY count DESC, label ${limitClause(limit)}`,
    files,
  )
  const values = rows.map(({ value, count, time1, time2 }) => ({ value, count, time1, time2 }) as ValueCount)
  return { values, distinct: (rows[0]?.values as number | undefined) ?? 0 }
}

const metaPath = (segment: SegmentRow): string => heldPath(segment, 'meta')

const holdsId = ({ id1, id2 }: SegmentRow, id: number): boolean =>
  id1 !== null && id2 !== null && id1 <= id && id <= id2

function boundsOf({ condition, time1, time2 }: Question) {
  const starts = [time1, condition?.time1].filter((time) => time !== undefined)
  const ends = [time2, condition?.time2].filter((time) => time !== undefined)
  return {
    needles: condition?.needles ?? [],
    ...(starts.length > 0 ? { time1: Math.max(...starts) } : {}),
    ...(ends.length > 0 ? { time2: Math.min(...ends) } : {}),
  }
}

/** Segments come in order of their first id, and their rows too: no sort is needed for that unless ranges overlap. */
/** `segments`: where the rows are read in the order of these files; undefined: in no order. */
function orderClause(order: Order, segments: readonly SegmentRow[] | undefined): string {
  const ranges = segments?.filter(({ id1 }) => id1 !== null)
  const isSorted = ranges?.every(({ id1 }, i) => i === 0 || id1! > ranges[i - 1]!.id2!)
  if (order === 'id') return isSorted ? '' : 'ORDER BY id'
  if (order === '-id') return 'ORDER BY id DESC'
  return `ORDER BY meta.time ${order === 'time' ? 'ASC' : 'DESC'} NULLS LAST, id`
}

function limitClause(limit: number | undefined): string {
  if (limit === undefined) return ''
  if (!Number.isSafeInteger(limit) || limit < 0)
    throw new ColdtrailError('E_USAGE', { message: `a limit is a number from 0 on, not ${limit}` })
  return `LIMIT ${limit}`
}

function offlineReason(offline: readonly SegmentRow[], kind: 'meta' | 'reject'): Incompleteness[] {
  if (offline.length === 0) return []
  const places = Map.groupBy(offline, ({ files }) => placeName(files.find((file) => file.kind === kind)))
  const told = [...places].slice(0, 3).map(([place, rows]) => `${numbersText(rows)}${place && ` (${place})`}`)
  const more = places.size > told.length ? ', …' : ''
  const what = `segments that may hold a match are offline or missing: ${told.join(', ')}${more}`
  const detail = `${what}; \`coldtrail restore plan ${restoreWords(offline)}\` says what it takes`
  return [{ reason: 'offline', count: offline.length, detail }]
}

/** What a person needs to find a file: its tier, and the label of its volume. */
function placeName(file: HeldFile | undefined): string {
  if (!file || (file.tier === 'hot' && file.label === undefined && !file.deleted)) return ''
  const label = file.label === undefined ? [] : [printable(file.label, 100)]
  return [file.deleted ? 'deleted' : file.tier, ...label].join(', ')
}

async function rejectsReason({ inTime }: Pruned, { allVersions }: Question, duckdb: DuckDb): Promise<Incompleteness[]> {
  let count = 0
  for (const segment of inTime) {
    if (segment.rejects === 0) continue
    const path = sessionPath(segment)
    const hidden = allVersions ? [] : segment.superseded
    if (hidden.length === 0 || !isHeldHere(segment, 'session')) count += segment.rejects
    else {
      const sql = `SELECT coalesce(sum(rejects), 0) AS n FROM ${parquetFiles([path])} WHERE session_id NOT IN (${hidden})`
      const [row] = await duckdb.rows({ sql, files: [path] })
      count += row!.n as number
    }
  }
  const detail = 'records that their format refused cannot be matched by column; `coldtrail rejects` lists them'
  return count === 0 ? [] : [{ reason: 'rejects', count, detail }]
}

function objectReasons(objects: readonly PendingObject[]): Incompleteness[] {
  const count = (wanted: PendingObject['state']) => objects.filter(({ state }) => state === wanted).length
  const reasons: Incompleteness[] = [
    {
      reason: 'quarantined',
      count: count('quarantined'),
      detail: 'objects were refused whole; `coldtrail rejects` lists them',
    },
    { reason: 'pending', count: count('pending'), detail: 'objects could not be fetched yet' },
  ]
  return reasons.filter(({ count }) => count > 0)
}
