/**
 * The catalog: the relational database that says what is committed. One interface, SQLite by default, PostgreSQL by
 * URL; `openCatalog` is the only way in. Commit order and failure table: docs/design.md §3.
 */
import type { ColdtrailError } from '../core/errors.ts'
import type { SourceObject } from '../core/sourceObject.ts'
import type { Erasure } from './catalog/erase.ts'
import { openContext } from './catalog/open.ts'
import type { DeadLetter, FeedState, Outbox } from './catalog/outbox.ts'
import type { FileId, FileMove, LeftFile } from './catalog/places.ts'
import { SqlCatalog } from './catalog/sqlCatalog.ts'
import type { SweepReport } from './catalog/sweep.ts'
import type { ChainReport, Link } from './chain.ts'
import type { CustodyEntry } from './custody.ts'
import type { Finding, FindingFilter } from './findings.ts'
import type { HeldFile } from './heldFile.ts'
import type { HistoryFault, HistoryFilter, HistoryManifest, ManifestMatch, TimeRange } from './history.ts'
import type { LegalHold } from './holds.ts'
import type { Manifest } from './manifest.ts'
import type { RemovedRun, RunOutcome, RunRequest, RunRow, RunTask } from './runs.ts'
import type { SealedSegment } from './segment.ts'
import type { SigningKey } from './signingKeys.ts'
import type { HeldTagFile } from './tags.ts'
import type { Restored, Workbench, WorkbenchChange, WorkbenchFile } from './workbench.ts'

export type {
  Batch,
  DeadLetter,
  FeedCounters,
  FeedKey,
  FeedState,
  LetterSettlement,
  OpenBatch,
  Outbox,
  Position,
  Receipt,
  Settlement,
} from './catalog/outbox.ts'
export type { FileId, FileMove, LeftFile } from './catalog/places.ts'
export { type RebuildReport, rebuildCatalog } from './catalog/rebuild.ts'
export type { RemovedRun, RunOutcome, RunRequest, RunRow, RunState, RunTask } from './runs.ts'

/** A process (or one of its jobs) that may claim objects and number ranges. Its lock ends with the process. */
export interface Owner {
  readonly id: string
  readonly epoch: number
  release(): Promise<void>
}

/** `busy`: claimed by a living owner. `quarantined`: given back so, and claimed only with `retry`. */
export type ClaimVerdict = 'claimed' | 'known' | 'busy' | 'quarantined'

/** A claimed object; `replaces` when another version of the same key was collected before. */
export interface Claim {
  readonly object: SourceObject
  readonly verdict: ClaimVerdict
  /** How often it was given back as pending or quarantined before. */
  readonly attempts: number
  readonly replaces?: boolean
}

export type GiveBackOutcome =
  | {
      readonly state: 'pending' | 'quarantined'
      readonly code: string
      readonly reason: string
      /** Into which it was to be collected. */
      readonly collection: string
    }
  /** As if never claimed; an earlier reason stays. */
  | { readonly state: 'free' }

export interface PendingObject {
  readonly source: string
  readonly bucket: string
  readonly key: string
  readonly version: string
  /** Into which it was to be collected; null when an older program gave it back. */
  readonly collection: string | null
  /** Another version of it was collected since. */
  readonly replaced: boolean
  readonly state: 'pending' | 'quarantined'
  readonly attempts: number
  readonly code: string
  readonly reason: string
  /** Microseconds; when it was first given back. */
  readonly since: number
}

export interface SegmentRow {
  readonly collection: string
  /** Of a workbench's row: the collection whose segment it is, and whose history has its manifests and keyset. */
  readonly home?: string
  readonly segment: number
  readonly format: string
  readonly day: string
  readonly state: 'live' | 'retired'
  /** Where its files were written; where each lies now is in `files` (heldPath). What is absent is offline. */
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
  readonly files: readonly HeldFile[]
  /** Number of the chain link that made it exist. */
  readonly sequence: number
  /** Sessions of this segment that a later version of the same object has superseded. */
  readonly superseded: readonly number[]
  /** Segments whose packs hold the objects of its sessions: its own number, after a compaction those it replaced. */
  readonly packs: readonly number[]
  /** Live tag files of its events, in order of run; after a compaction those named for the segments it replaced. */
  readonly tags: readonly HeldTagFile[]
}

/** A committed link, without what proves it. */
export type Commit = Pick<Link, 'number' | 'time' | 'body' | 'key'>

/** Answer of a commit. */
export interface Committed {
  /** Number of the chain link that made it exist. */
  readonly sequence: number
  /** Set when the commit took place but its history could not be written yet; `repairDerived` does it later. */
  readonly historyError?: ColdtrailError
}

/** A lock held until released or the process ends. */
export interface Hold {
  release(): Promise<void>
}

/** Everything up to here met everything up to there. */
export interface HuntPosition {
  /** Of the collection's links. */
  readonly sequence: number
  /** Of the library's changes. */
  readonly librarySequence: number
}

export interface Catalog {
  readonly dialect: 'sqlite' | 'postgres'
  /** Throws E_CATALOG_READ_ONLY for who may read the data directory and not write it; he can ask, and nothing else. */
  requireWritable(): void
  owner(kind: string): Promise<Owner>
  /**
   * Claims what is neither known nor claimed by a living owner. Order of the answer = order of the objects. Claims of
   * an owner whose lock is free are taken over at once. `retry` claims quarantined objects too.
   */
  claim(owner: Owner, objects: readonly SourceObject[], options?: { retry?: boolean }): Promise<readonly Claim[]>
  /** Gives a claim back with its reason: `pending` is retried by the next run, `quarantined` only by `collect --retry`. */
  giveBack(owner: Owner, object: SourceObject, outcome: GiveBackOutcome): Promise<void>
  /** An object recognised as no data (digest, gone): known from now on, no session. */
  markSkipped(owner: Owner, object: SourceObject, reason: string): Promise<void>
  /**
   * For a claimed local file whose bytes were read: true when a session of this file with these bytes exists. The claim
   * is then settled (this `size:mtime_ns` is known from now on), and no session is to be made.
   */
  sameContent(owner: Owner, object: SourceObject, sha256: string): Promise<boolean>
  /** First number of a fresh range of `count`. */
  draw(owner: Owner, what: 'segment' | 'event' | 'session', count: number): Promise<number>
  /**
   * Makes a sealed segment exist: files, sessions, ledger rows and the signed `seal` link, in one transaction. `objects`
   * are the claims it fulfils, in session order. Its files must lie in `collectionDirectory(segment.collection)`.
   * After any error but E_COMMIT_UNKNOWN nothing of it exists and its files may be removed; after that one they must
   * stay. `superseded` counts the sessions that became superseded by it. `imported`: a begun run of kind `imported` whose
   * tags and report come with the segment; its `tag` link is of the same commit.
   */
  commitSeal(
    owner: Owner,
    segment: SealedSegment,
    objects: readonly SourceObject[],
    imported?: RunOutcome,
  ): Promise<Committed & { superseded: number }>
  /** Replaces segments by one that holds the same events (compaction), with a `replace` link. */
  commitReplace(owner: Owner, segment: SealedSegment, replaced: readonly number[]): Promise<Committed>
  /**
   * Says with a `move` link that files lie elsewhere now: a verified copy of each is durable there. The sweep removes what
   * they leave. E_CLAIM_LOST when one does not lie where it is said to: nothing is moved then.
   */
  commitMove(owner: Owner, collection: string, moves: readonly FileMove[]): Promise<Committed>
  /**
   * Says with a `delete` link that files are no more, and with a segment's events its labels; the sweep removes them.
   * Their rows, manifests and keysets stay. E_HELD while a legal hold covers one.
   */
  commitDelete(owner: Owner, collection: string, files: readonly FileId[], reason: string): Promise<Committed>
  /** Puts a legal hold on or takes it off. E_HOLD_EXISTS, E_HOLD_UNKNOWN. */
  commitHold(
    owner: Owner,
    collection: string,
    hold: Pick<LegalHold, 'name' | 'reason' | 'time1' | 'time2'> & { readonly isOn: boolean },
  ): Promise<Committed>
  /** By collection and name. */
  holds(collection?: string): Promise<readonly LegalHold[]>
  /** Before the first byte of a copy that `commitMove` will name, so that one that is cut off is removed one day. */
  announceCopies(copies: readonly LeftFile[]): Promise<void>
  /**
   * Copies that moves and deletions have left: all, or those that nobody needs any more. `announced`: also those of moves that were cut off,
   * for the holder of the lock `tier`.
   */
  leftFiles(options?: { readonly graceMs?: number; readonly announced?: boolean }): Promise<readonly LeftFile[]>
  /** Removes those of them that lie in directories of this host; answers how many. */
  removeLeft(options: { readonly graceMs?: number; readonly announced?: boolean }): Promise<number>
  /** They are removed. */
  forgetLeft(files: readonly LeftFile[]): Promise<void>
  /** What is remembered under names with a prefix; not kept by a rebuild. */
  facts(prefix: string): Promise<ReadonlyMap<string, string>>
  setFact(name: string, value: string): Promise<void>
  /**
   * Puts a segment without erased sessions in the place of one that has them, with an `erase` link, and takes away what was
   * said of their events: tags, findings, dead letters, copies in workbenches. E_HELD; E_CLAIM_LOST.
   */
  commitErase(owner: Owner, erasure: Erasure): Promise<Committed>
  /** Writes an SQLite catalog anew, so that its file holds nothing that was deleted. False while others use it. */
  rewrite(): Promise<boolean>
  /** Live workbenches that have copies of files with these names. */
  copiesIn(names: readonly string[]): Promise<readonly { readonly workbench: string; readonly name: string }[]>
  /** Begins a run and answers its number. It lives as long as its owner's lock; files that bear its number are its own. */
  beginRun(owner: Owner, request: RunRequest): Promise<number>
  /**
   * Takes a run whose process ended without results, and makes it `running` again. E_RUN_UNKNOWN; E_RUN_BUSY while its
   * process lives; E_RUN_STATE when it has results already.
   */
  resumeRun(owner: Owner, run: number): Promise<RunRow>
  /** Records a task whose file is durable; one of the same segment and first row takes its place. E_CLAIM_LOST. */
  taskDone(owner: Owner, run: number, task: RunTask): Promise<void>
  /** By segment, then first row. Gone once the run is committed or removed. */
  runTasks(run: number): Promise<readonly RunTask[]>
  /** Ends a run without results; it may be resumed. */
  endRun(owner: Owner, run: number, state: 'aborted' | 'failed', reason: string): Promise<void>
  /**
   * Makes the results of a run exist: tag files, findings, report, and the links that name them, in one transaction. A
   * tag file of a segment that was compacted meanwhile belongs to the one that has its events now. `newFindings`: those
   * that no earlier run had. After any error but E_COMMIT_UNKNOWN nothing of it exists.
   */
  commitRun(owner: Owner, outcome: RunOutcome): Promise<Committed & { readonly newFindings: number }>
  /**
   * Removes a run: its tags at once, its findings where no other run has them; with a `remove-run` link if it was
   * committed. E_RUN_UNKNOWN, E_RUN_BUSY.
   */
  removeRun(owner: Owner, run: number): Promise<RemovedRun>
  /** Newest first. */
  runs(filter?: { readonly collection?: string; readonly run?: number }): Promise<readonly RunRow[]>
  /** What `commitRun` was given. E_RUN_UNKNOWN, E_RUN_STATE without results, E_HISTORY_FILE when it is missing or damaged. */
  runReport(run: number): Promise<unknown>
  /** In the order in which they were committed; at most `limit`, 1,000 by default. Of a workbench: those of its home. */
  findings(filter: FindingFilter): Promise<readonly Finding[]>
  /** Ordered by segment number. Of a workbench: those that it has copies of, under its name and where the copies lie. */
  segments(filter?: { collection?: string; state?: 'live' | 'retired' }): Promise<readonly SegmentRow[]>
  pending(): Promise<readonly PendingObject[]>
  /** Last committed chain number of a collection, 0 before the first. Of a workbench: of its home, as all of its commits. */
  head(collection: string): Promise<number>
  /** Commits of a collection after link `after`, in order; at most `limit`, 1,000 by default. */
  commits(
    collection: string,
    options?: { readonly after?: number; readonly limit?: number },
  ): Promise<readonly Commit[]>
  /** Collections with at least one commit, sorted. */
  collections(): Promise<readonly string[]>
  /** Where a collection's new files are written; made durably when missing. */
  collectionDirectory(collection: string): string
  /** The collection's part of the history: manifests, keysets, session ledgers, chain. */
  manifestDirectory(collection: string): string
  /** Workbenches that are there, by name. */
  workbenches(name?: string): Promise<readonly Workbench[]>
  /** In order of their restores. E_WORKBENCH_UNKNOWN. */
  workbenchFiles(name: string): Promise<readonly WorkbenchFile[]>
  /** Segments that workbenches have copies of: nothing may replace them but an erasure. */
  segmentsInWorkbenches(): Promise<ReadonlySet<number>>
  /** Where the copies of a workbench lie or, of a new one, may lie: in a folder of its own below `parent`. */
  workbenchDirectory(name: string, parent?: string): Promise<string>
  /**
   * Makes durable copies part of a workbench with a `restore` link of the home, and makes it at first. E_WORKBENCH_NAME,
   * E_WORKBENCH_STALE.
   */
  commitRestore(owner: Owner, restored: Restored): Promise<Committed>
  /** E_WORKBENCH_UNKNOWN. */
  changeWorkbench(owner: Owner, name: string, change: WorkbenchChange): Promise<Committed>
  /** It is gone at once; a later sweep unlinks its files. E_WORKBENCH_UNKNOWN, E_WORKBENCH_HELD. */
  removeWorkbench(owner: Owner, name: string, reason: string): Promise<Committed>
  /** What was done with copies of a collection's files, in order. */
  custody(collection: string): Promise<readonly CustodyEntry[]>
  /** What the standing hunt of a collection has looked at; null before its first. */
  huntPosition(collection: string): Promise<HuntPosition | null>
  setHuntPosition(owner: Owner, collection: string, position: HuntPosition): Promise<void>
  /** A lock of which there is one holder (compaction of a collection, …); undefined while another has it. */
  hold(name: string): Promise<Hold | undefined>
  /**
   * Takes the outbox of a destination, and puts receipts into its file that a crash kept out of it. E_FORWARD_BUSY while
   * another one holds it, with its host and process.
   */
  openOutbox(destination: string): Promise<Outbox>
  /** State of every feed, or of a destination's; by destination, feed, collection, expression. */
  feeds(destination?: string): Promise<readonly FeedState[]>
  /** By event id; `after` and `limit` page. */
  deadLetters(
    feedId: number,
    options?: { readonly after?: number; readonly limit?: number },
  ): Promise<readonly DeadLetter[]>
  /** Call before `segments()`: until released, files of segments that it answers are not unlinked. */
  registerReader(): Promise<Hold>
  /**
   * Removes uncommitted files of dead owners, and files of retired segments when no reader registered before their
   * retirement is alive and `graceMs` (default 60,000) have passed.
   */
  sweep(options?: { graceMs?: number }): Promise<SweepReport>
  /** Does again what a crash after a commit left undone (history). Call once before collecting. */
  repairDerived(): Promise<number>
  /** Compacts ledger rows of objects settled more than `days` (default 2) ago to 16 bytes each; answers how many. */
  closeLedgerDays(days?: number): Promise<number>
  /** Checks the chain of every collection, or of one, against files, keys and this catalog. */
  verifyChain(collection?: string): Promise<readonly ChainReport[]>
  /** Checks manifests, session ledgers and keysets of the history against the links of every commit in it. */
  verifyHistory(collection?: string): Promise<readonly HistoryFault[]>
  /** Signed heads of all chains as of now: the bytes of an anchor file. E_CATALOG_READ_ONLY. */
  anchor(): Promise<Buffer>
  /** Writes them into a file. E_ANCHOR_AHEAD when it knows of links that are not here. */
  writeAnchor(path: string): Promise<void>
  manifests(filter?: HistoryFilter): Iterable<HistoryManifest>
  manifestQuery(query?: TimeRange & { collection?: string }): readonly ManifestMatch<Manifest>[]
  close(): Promise<void>
}

export interface CatalogOptions {
  /** `postgres://…`; without it SQLite in `<dataDir>/catalog.db`. */
  readonly url?: string
  /** Schema of PostgreSQL, default `coldtrail`. */
  readonly schema?: string
  readonly dataDir: string
  /** One folder per collection below it; default `<dataDir>/history`. */
  readonly historyDir?: string
  /** File in a second place that gets the signed heads of all chains after each commit (anchor.ts). */
  readonly anchor?: string
  /** Default: the key in `<dataDir>/keys`, made at first use. */
  readonly signingKey?: SigningKey
}

/**
 * Opens the catalog and makes it at first use. E_CATALOG_VERSION when a newer program made it, E_CATALOG_OPEN when it
 * cannot be reached or is no catalog, E_CATALOG_LOST when it is empty beside a history that is not.
 */
export async function openCatalog(options: CatalogOptions): Promise<Catalog> {
  return new SqlCatalog(await openContext(options))
}
