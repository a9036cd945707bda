/** Sessions of live segments, read when first needed: what an event's uid, a reject and `show` need of its object. */
import { uidPrefix } from '../core/eventUid.ts'
import { type DuckDb, parquetFiles } from './duckdb.ts'
import { type HeldFiles, heldPath } from './heldFile.ts'
import type { SessionRow } from './segment.ts'

export const sessionPath = (segment: HeldFiles): string => heldPath(segment, 'session')

/** The sessions of one segment by id, with the object's part of their events' uids. */
export class SegmentSessions {
  private readonly byId: ReadonlyMap<number, SessionRow>
  private readonly prefixes = new Map<number, string>()

  constructor(sessions: readonly SessionRow[]) {
    this.byId = new Map(sessions.map((session) => [session.session_id, session]))
  }

  get count(): number {
    return this.byId.size
  }
  get(session: number): SessionRow | undefined {
    return this.byId.get(session)
  }
  values(): Iterable<SessionRow> {
    return this.byId.values()
  }
  uidPrefix(session: number): string {
    let prefix = this.prefixes.get(session)
    if (prefix === undefined) {
      const row = this.byId.get(session)
      if (!row) throw new Error(`session ${session} is not in its segment`)
      prefix = uidPrefix(row)
      this.prefixes.set(session, prefix)
    }
    return prefix
  }
}

/** Keeps the segments used last, up to a number of sessions. */
export class SessionCache {
  private readonly duckdb: DuckDb
  private readonly maxSessions: number
  private readonly segments = new Map<number, SegmentSessions>()
  private held = 0

  constructor(duckdb: DuckDb, maxSessions = 200_000) {
    this.duckdb = duckdb
    this.maxSessions = maxSessions
  }

  async of(segment: HeldFiles, signal?: AbortSignal): Promise<SegmentSessions> {
    const held = this.segments.get(segment.segment)
    const sessions = held ?? new SegmentSessions(await readSessions(this.duckdb, segment, signal))
    if (held) this.segments.delete(segment.segment)
    else this.held += sessions.count
    this.segments.set(segment.segment, sessions)
    for (const [oldest, { count }] of this.segments) {
      if (this.held <= this.maxSessions || this.segments.size === 1) break
      this.segments.delete(oldest)
      this.held -= count
    }
    return sessions
  }
}

/** What an event's uid is made of. */
const IDENTITY = ['source', 'bucket', 'key', 'version'] as const

/**
 * Every session of a segment, in order of id. The identity comes as bytes: read as a text, it loses a byte order mark.
 * Files of before the column `header` have none.
 */
export async function readSessions(duckdb: DuckDb, segment: HeldFiles, signal?: AbortSignal): Promise<SessionRow[]> {
  const path = sessionPath(segment)
  const identity = IDENTITY.map((name) => `encode(${name}) AS ${name}`).join(', ')
  const sql = `SELECT * REPLACE (${identity}) FROM ${parquetFiles([path])}`
  const rows = await duckdb.rows({ sql, files: [path], signal })
  for (const row of rows) {
    for (const name of IDENTITY) row[name] = Buffer.from(row[name] as Uint8Array).toString()
    row.header ??= null
  }
  return rows as unknown as SessionRow[]
}
