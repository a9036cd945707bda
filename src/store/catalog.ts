/**
 * The catalog: the relational database that says what is committed. One interface, SQLite by default, PostgreSQL by
 * URL; `openCatalog` is the only way in. Commit order and failure table: docs/design.md §3.
 */
import type { SourceObject } from '../core/sourceObject.ts'
import type { SealedSegment, SegmentFile } from './segment.ts'

/** A process (or one of its jobs) that may claim objects and number ranges. Its lock ends with the process. */
export interface Owner {
  readonly id: string
  readonly epoch: number
  release(): Promise<void>
}

export type ClaimVerdict = 'claimed' | 'known' | 'busy'

/** A claimed object; `replaces` when another version of the same key was collected before. */
export interface Claim {
  readonly object: SourceObject
  readonly verdict: ClaimVerdict
  readonly attempts: number
  readonly replaces?: boolean
}

export interface PendingObject {
  readonly source: string
  readonly bucket: string
  readonly key: string
  readonly version: string
  readonly state: 'pending' | 'quarantined'
  readonly attempts: number
  readonly code: string
  readonly reason: string
  readonly since: number
}

export interface SegmentRow {
  readonly collection: string
  readonly segment: number
  readonly format: string
  readonly day: string
  readonly state: 'live' | 'retired'
  /** Directory that holds the files; absent files are offline. */
  readonly directory: string
  readonly id1: number | null
  readonly id2: number | null
  readonly session1: number
  readonly session2: number
  readonly time1: number | null
  readonly time2: number | null
  readonly rows: number
  readonly rejects: number
  readonly raw_bytes: number
  readonly files: readonly SegmentFile[]
  /** Number of the chain link that made it exist. */
  readonly sequence: number
  /** Sessions of this segment that a later version of the same object has superseded. */
  readonly superseded: readonly number[]
}

export interface Catalog {
  readonly dialect: 'sqlite' | 'postgres'
  owner(kind: string): Promise<Owner>
  /** Claims what is neither known nor claimed by a living owner. Order of the answer = order of the objects. */
  claim(owner: Owner, objects: readonly SourceObject[]): Promise<readonly Claim[]>
  /** Gives a claim back with its reason: `pending` is retried by the next run, `quarantined` only by `collect --retry`. */
  giveBack(
    owner: Owner,
    object: SourceObject,
    outcome: { state: 'pending' | 'quarantined'; code: string; reason: string } | { state: 'free' },
  ): Promise<void>
  /** An object recognised as no data (digest, gone): known from now on, no session. */
  markSkipped(owner: Owner, object: SourceObject, reason: string): Promise<void>
  /** First number of a fresh range of `count`. */
  draw(owner: Owner, what: 'segment' | 'event' | 'session', count: number): Promise<number>
  /** Makes a sealed segment exist: files, sessions, ledger rows and the signed `seal` link, in one transaction. `objects` are the claims it fulfils, in session order. */
  commitSeal(
    owner: Owner,
    segment: SealedSegment,
    objects: readonly SourceObject[],
  ): Promise<{ sequence: number; superseded: number }>
  /** Replaces segments by one that holds the same events (compaction), with a `replace` link. */
  commitReplace(owner: Owner, segment: SealedSegment, replaced: readonly number[]): Promise<{ sequence: number }>
  segments(filter?: { collection?: string; state?: 'live' | 'retired' }): Promise<readonly SegmentRow[]>
  pending(): Promise<readonly PendingObject[]>
  /** Last committed chain number of a collection, 0 before the first. */
  head(collection: string): Promise<number>
  close(): Promise<void>
}
