/** The catalog on a relational database; each method is a door to the part that does the work. */
import { type Selectable, sql } from 'kysely'
import { asColdtrailError, ColdtrailError } from '../../core/errors.ts'
import type { SourceObject } from '../../core/sourceObject.ts'
import { makeDirectory } from '../../platform/files.ts'
import type {
  Catalog,
  Claim,
  Commit,
  Committed,
  DeadLetter,
  FeedState,
  GiveBackOutcome,
  Hold,
  HuntPosition,
  Outbox,
  Owner,
  PendingObject,
  SegmentRow,
} from '../catalog.ts'
import { type ChainReport, linkFileName, parseLink, verifyChain } from '../chain.ts'
import type { CustodyEntry } from '../custody.ts'
import type { Finding, FindingFilter } from '../findings.ts'
import type { HeldFile, Tier } from '../heldFile.ts'
import {
  type HistoryFault,
  type HistoryFilter,
  type HistoryManifest,
  manifestQuery,
  manifests,
  type TimeRange,
  verifyHistory,
} from '../history.ts'
import type { LegalHold } from '../holds.ts'
import { parseManifest } from '../manifest.ts'
import type { RemovedRun, RunOutcome, RunRequest, RunRow, RunTask } from '../runs.ts'
import type { FileKind, SealedSegment, SegmentFile } from '../segment.ts'
import { readPublicKeys, usableKeys } from '../signingKeys.ts'
import type { HeldTagFile } from '../tags.ts'
import type { Restored, Workbench, WorkbenchChange, WorkbenchFile } from '../workbench.ts'
import { anchorOf, writeAnchor } from './anchor.ts'
import { commitReplace, commitSeal } from './commit.ts'
import { type CatalogContext, checkedCollection, now } from './context.ts'
import { repairDerived, takeIntoHistory, takeRunsIntoHistory } from './derived.ts'
import { commitErase, copiesIn, type Erasure, rewriteCatalog } from './erase.ts'
import { huntPosition, setHuntPosition } from './hunts.ts'
import { Ledger } from './ledger.ts'
import { deadLetters, feeds, openOutbox } from './outbox.ts'
import { createOwner } from './owners.ts'
import * as places from './places.ts'
import * as runs from './runs.ts'
import type { Tables, Tx } from './schema.ts'
import { type SweepReport, sweep } from './sweep.ts'
import * as benches from './workbenches.ts'

const GRACE_MS = 60_000
const MICROSECONDS_PER_DAY = 86_400_000_000

type Placed = Selectable<Pick<Tables['files'], 'segment' | 'kind' | 'tier' | 'directory' | 'label' | 'deleted'>>

export class SqlCatalog implements Catalog {
  readonly dialect: 'sqlite' | 'postgres'
  private readonly context: CatalogContext
  private readonly ledger: Ledger
  /** Files of segments by number: immutable, and their manifests are dear to parse. */
  private readonly files = new Map<number, SegmentFile[]>()
  /** Tag files by name, likewise. */
  private readonly tagFiles = new Map<string, HeldTagFile>()

  constructor(context: CatalogContext) {
    this.context = context
    this.dialect = context.dialect
    this.ledger = new Ledger(context)
  }

  requireWritable(): void {
    this.context.requireWritable()
  }

  owner(kind: string): Promise<Owner> {
    return createOwner(this.context, kind)
  }

  claim(owner: Owner, objects: readonly SourceObject[], options: { retry?: boolean } = {}): Promise<Claim[]> {
    return this.ledger.claim(owner, objects, options.retry ?? false)
  }

  giveBack(owner: Owner, object: SourceObject, outcome: GiveBackOutcome): Promise<void> {
    return this.ledger.giveBack(owner, object, outcome)
  }

  markSkipped(owner: Owner, object: SourceObject, reason: string): Promise<void> {
    return this.ledger.markSkipped(owner, object, reason)
  }

  sameContent(owner: Owner, object: SourceObject, sha256: string): Promise<boolean> {
    return this.ledger.sameContent(owner, object, sha256)
  }

  async draw(owner: Owner, what: 'segment' | 'event' | 'session', count: number): Promise<number> {
    return this.context.write(async (tx) => {
      await this.context.assertOwner(tx, owner)
      const { next } = await tx
        .updateTable('counters')
        .set((expression) => ({ next: expression('next', '+', count) }))
        .where('name', '=', what)
        .returning('next')
        .executeTakeFirstOrThrow()
      const first = next - count
      await tx.insertInto('ranges').values({ what, first, count, owner: owner.id }).execute()
      return first
    })
  }

  async commitSeal(
    owner: Owner,
    segment: SealedSegment,
    objects: readonly SourceObject[],
    imported?: RunOutcome,
  ): Promise<Committed & { superseded: number }> {
    const run = imported && (await runs.prepareRun(this.context, owner, imported))
    const committed = await commitSeal(this.context, this.ledger, owner, segment, objects, run)
    const after = await this.afterCommit(async () => {
      await takeIntoHistory(this.context, [segment.segment])
      if (imported) await takeRunsIntoHistory(this.context, [imported.run])
    })
    return { ...committed, ...after }
  }

  async commitReplace(owner: Owner, segment: SealedSegment, replaced: readonly number[]): Promise<Committed> {
    const committed = await commitReplace(this.context, owner, segment, replaced)
    return { ...committed, ...(await this.afterCommit(() => takeIntoHistory(this.context, [segment.segment]))) }
  }

  async segments(filter: { collection?: string; state?: 'live' | 'retired' } = {}): Promise<SegmentRow[]> {
    const { collection, state } = filter
    const copies = collection === undefined ? undefined : await benches.copiesOf(this.context, collection)
    if (copies)
      return benches.workbenchRows(collection!, await this.segments({ ...filter, collection: copies.home }), copies)
    const { rows, placed, superseded, tags } = await this.context.read(async (tx) => {
      const rows = await tx
        .selectFrom('segments')
        .selectAll()
        .$if(collection !== undefined, (query) => query.where('collection', '=', collection!))
        .$if(state !== undefined, (query) => query.where('state', '=', state!))
        .orderBy('segment')
        .execute()
      const missing = rows.filter(({ segment, state }) => state === 'retired' || !this.files.has(segment))
      if (missing.length) {
        const files = await tx
          .selectFrom('files')
          .selectAll()
          .$if(missing.length <= 1000, (query) =>
            query.where(
              'segment',
              'in',
              missing.map(({ segment }) => segment),
            ),
          )
          .orderBy('segment')
          .orderBy('name')
          .execute()
        const bySegment = Map.groupBy(files, ({ segment }) => segment)
        for (const { segment } of missing)
          this.files.set(
            segment,
            (bySegment.get(segment) ?? []).map(({ kind, name, size, sha256, manifest }) => ({
              ...{ name, size, sha256 },
              kind: kind as FileKind,
              manifest: parseManifest(manifest, name),
            })),
          )
      }
      const superseded = await tx
        .selectFrom('versions')
        .select(['segment', 'session'])
        .where('superseded', '=', 1)
        .orderBy('session')
        .execute()
      // Only of what was moved or deleted: the rest lies where its segment was written.
      const placed = await tx
        .selectFrom('files')
        .select(['segment', 'kind', 'tier', 'directory', 'label', 'deleted'])
        .where((term) =>
          term.or([term('directory', 'is not', null), term('deleted', '=', 1), term('tier', '<>', 'hot')]),
        )
        .execute()
      return {
        rows,
        placed: Map.groupBy(placed, ({ segment }) => segment),
        superseded: Map.groupBy(superseded, ({ segment }) => segment),
        tags: await this.liveTagFiles(tx),
      }
    })
    return rows.map((row) => ({
      collection: row.collection,
      segment: row.segment,
      format: row.format,
      day: row.day,
      state: row.state,
      directory: this.context.resolvedDirectory(row.directory),
      id1: row.id1,
      id2: row.id2,
      session1: row.session1,
      session2: row.session2,
      time1: row.time1,
      time2: row.time2,
      rows: row.row_count,
      rejects: row.rejects,
      raw_bytes: row.raw_bytes,
      files: this.heldFiles(row, placed.get(row.segment)),
      sequence: row.sequence,
      superseded: (superseded.get(row.segment) ?? []).map(({ session }) => session),
      packs: JSON.parse(row.packs) as number[],
      tags: tags.get(row.segment) ?? [],
    }))
  }

  commitMove(owner: Owner, collection: string, moves: readonly places.FileMove[]): Promise<Committed> {
    return places.commitMove(this.context, owner, checkedCollection(collection), moves)
  }

  commitDelete(owner: Owner, collection: string, files: readonly places.FileId[], reason: string): Promise<Committed> {
    return places.commitDelete(this.context, owner, checkedCollection(collection), files, reason)
  }

  commitHold(
    owner: Owner,
    collection: string,
    hold: Pick<LegalHold, 'name' | 'reason' | 'time1' | 'time2'> & { readonly isOn: boolean },
  ): Promise<Committed> {
    return places.commitHold(this.context, owner, checkedCollection(collection), hold)
  }

  holds(collection?: string): Promise<LegalHold[]> {
    return places.holds(this.context, collection)
  }

  announceCopies(copies: readonly places.LeftFile[]): Promise<void> {
    return places.announceCopies(this.context, copies)
  }

  leftFiles(options?: { readonly graceMs?: number; readonly announced?: boolean }): Promise<places.LeftFile[]> {
    if (!options) return places.allLeftFiles(this.context)
    return places.leftFiles(this.context, { graceMs: GRACE_MS, ...options })
  }

  removeLeft(options: { readonly graceMs?: number; readonly announced?: boolean }): Promise<number> {
    return places.removeLeft(this.context, { graceMs: GRACE_MS, ...options })
  }

  forgetLeft(files: readonly places.LeftFile[]): Promise<void> {
    return places.forgetLeft(this.context, files)
  }

  async facts(prefix: string): Promise<Map<string, string>> {
    const rows = await this.context.db.selectFrom('facts').selectAll().execute()
    return new Map(rows.filter(({ name }) => name.startsWith(prefix)).map(({ name, value }) => [name, value]))
  }

  async setFact(name: string, value: string): Promise<void> {
    await this.context.write(async (tx) => {
      await tx.deleteFrom('facts').where('name', '=', name).execute()
      await tx.insertInto('facts').values({ name, value }).execute()
    })
  }

  async commitErase(owner: Owner, erasure: Erasure): Promise<Committed> {
    const committed = await commitErase(this.context, owner, erasure)
    return { ...committed, ...(await this.afterCommit(() => takeIntoHistory(this.context, [erasure.sealed.segment]))) }
  }

  rewrite(): Promise<boolean> {
    return rewriteCatalog(this.context)
  }

  copiesIn(names: readonly string[]): ReturnType<Catalog['copiesIn']> {
    return copiesIn(this.context, names)
  }

  beginRun(owner: Owner, request: RunRequest): Promise<number> {
    return runs.beginRun(this.context, owner, request)
  }

  resumeRun(owner: Owner, run: number): Promise<RunRow> {
    return runs.resumeRun(this.context, owner, run)
  }

  taskDone(owner: Owner, run: number, task: RunTask): Promise<void> {
    return runs.taskDone(this.context, owner, run, task)
  }

  runTasks(run: number): Promise<RunTask[]> {
    return runs.runTasks(this.context, run)
  }

  endRun(owner: Owner, run: number, state: 'aborted' | 'failed', reason: string): Promise<void> {
    return runs.endRun(this.context, owner, run, state, reason)
  }

  async commitRun(owner: Owner, outcome: RunOutcome): Promise<Committed & { newFindings: number }> {
    const committed = await runs.commitRun(this.context, owner, outcome)
    return { ...committed, ...(await this.afterCommit(() => takeRunsIntoHistory(this.context, [outcome.run]))) }
  }

  async removeRun(owner: Owner, run: number): Promise<RemovedRun> {
    const removed = await runs.removeRun(this.context, owner, run)
    await this.afterCommit(() => takeRunsIntoHistory(this.context, [run]))
    return removed
  }

  runs(filter?: { readonly collection?: string; readonly run?: number }): Promise<RunRow[]> {
    return runs.runs(this.context, filter)
  }

  async findings(filter: FindingFilter): Promise<Finding[]> {
    const found = await runs.findings(this.context, filter)
    if (found.length > 0) return found
    const home = await this.homeOf(filter.collection)
    return home === undefined ? found : runs.findings(this.context, { ...filter, collection: home })
  }

  runReport(run: number): Promise<unknown> {
    return runs.runReport(this.context, run)
  }

  pending(): Promise<PendingObject[]> {
    return this.ledger.pending()
  }

  async head(collection: string): Promise<number> {
    const query = this.context.db.selectFrom('collections').select('head').where('name', '=', collection)
    const row = await query.executeTakeFirst()
    if (row) return row.head
    const home = await this.homeOf(collection)
    return home === undefined ? 0 : this.head(home)
  }

  async commits(
    collection: string,
    { after = 0, limit = 1000 }: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<Commit[]> {
    const rows = await this.context.db
      .selectFrom('links')
      .select(['number', 'bytes'])
      .where('collection', '=', collection)
      .where('number', '>', after)
      .orderBy('number')
      .limit(limit)
      .execute()
    const home = rows.length > 0 ? undefined : await this.homeOf(collection)
    if (home !== undefined) return this.commits(home, { after, limit })
    return rows.map(({ number, bytes }) => {
      const { time, body, key } = parseLink(bytes, linkFileName(number))
      return { number, time, body, key }
    })
  }

  async collections(): Promise<string[]> {
    const query = this.context.db.selectFrom('collections').select('name').where('head', '>', 0).orderBy('name')
    return (await query.execute()).map(({ name }) => name)
  }

  collectionDirectory(collection: string): string {
    const directory = this.context.collectionDirectory(collection)
    makeDirectory(directory)
    return directory
  }

  manifestDirectory(collection: string): string {
    return this.context.manifestDirectory(collection)
  }

  workbenches(name?: string): Promise<Workbench[]> {
    return benches.workbenches(this.context, name)
  }

  workbenchFiles(name: string): Promise<WorkbenchFile[]> {
    return benches.workbenchFiles(this.context, name)
  }

  segmentsInWorkbenches(): Promise<Set<number>> {
    return benches.segmentsInWorkbenches(this.context.db)
  }

  workbenchDirectory(name: string, parent?: string): Promise<string> {
    return benches.workbenchDirectory(this.context, name, parent)
  }

  commitRestore(owner: Owner, restored: Restored): Promise<Committed> {
    return benches.commitRestore(this.context, owner, restored)
  }

  changeWorkbench(owner: Owner, name: string, change: WorkbenchChange): Promise<Committed> {
    return benches.changeWorkbench(this.context, owner, name, change)
  }

  removeWorkbench(owner: Owner, name: string, reason: string): Promise<Committed> {
    return benches.removeWorkbench(this.context, owner, name, { reason })
  }

  custody(collection: string): Promise<CustodyEntry[]> {
    return benches.custodyLog(this.context, checkedCollection(collection))
  }

  huntPosition(collection: string): Promise<HuntPosition | null> {
    return huntPosition(this.context, collection)
  }

  setHuntPosition(owner: Owner, collection: string, position: HuntPosition): Promise<void> {
    return setHuntPosition(this.context, owner, collection, position)
  }

  hold(name: string): Promise<Hold | undefined> {
    if (!/^[a-z0-9_-]{1,100}$/.test(name))
      throw new ColdtrailError('E_USAGE', { message: `"${name}" is no name of a lock` })
    return this.context.locks.acquire(`hold-${name}`)
  }

  openOutbox(destination: string): Promise<Outbox> {
    return openOutbox(this.context, destination)
  }

  feeds(destination?: string): Promise<FeedState[]> {
    return feeds(this.context, destination)
  }

  deadLetters(feedId: number, options?: { readonly after?: number; readonly limit?: number }): Promise<DeadLetter[]> {
    return deadLetters(this.context, feedId, options)
  }

  registerReader(): Promise<Hold> {
    return this.context.readers.register()
  }

  sweep(options: { graceMs?: number } = {}): Promise<SweepReport> {
    return sweep(this.context, options.graceMs ?? GRACE_MS)
  }

  repairDerived(): Promise<number> {
    return repairDerived(this.context)
  }

  closeLedgerDays(days = 2): Promise<number> {
    return this.ledger.compact(now() - days * MICROSECONDS_PER_DAY)
  }

  async verifyChain(collection?: string): Promise<ChainReport[]> {
    const names = collection === undefined ? await this.collections() : [checkedCollection(collection)]
    // A damaged key file is a fault of its own; what it signed then has an unknown key.
    const keys = usableKeys(readPublicKeys(this.context.dataDir))
    const reports: ChainReport[] = []
    for (const name of names) {
      // The head first: a link committed while we read is above it, and no fault.
      const head = await this.head(name)
      const rows = await this.context.db
        .selectFrom('links')
        .select(['number', 'hash'])
        .where('collection', '=', name)
        .where('number', '<=', head)
        .execute()
      const hashes = new Map(rows.map(({ number, hash }) => [number, hash]))
      reports.push(verifyChain(name, this.context.chainDirectory(name), keys, { head, hashes }))
    }
    return reports
  }

  async verifyHistory(collection?: string): Promise<HistoryFault[]> {
    const rows = await this.context.db
      .selectFrom('links')
      .leftJoin('segments', (join) =>
        join.onRef('segments.collection', '=', 'links.collection').onRef('segments.sequence', '=', 'links.number'),
      )
      .leftJoin('runs', (join) =>
        join.onRef('runs.collection', '=', 'links.collection').onRef('runs.sequence', '=', 'links.number'),
      )
      .select(['links.collection', 'links.bytes'])
      // What a crash left out of the history is no damage; repairDerived takes it in.
      .where(sql<number>`coalesce(segments.in_history, runs.in_history, 1)`, '=', 1)
      .$if(collection !== undefined, (query) => query.where('links.collection', '=', collection!))
      .orderBy('links.number')
      .execute()
    const waiting = await this.context.db.selectFrom('runs').select('run').where('in_history', '=', 0).execute()
    const runs = new Set(waiting.map(({ run }) => run))
    const byCollection = Map.groupBy(rows, (row) => row.collection)
    return [...byCollection].flatMap(([name, links]) => {
      const actions = links.map(({ bytes }) => parseLink(bytes, name).body)
      const due = actions.filter((body) => body.action !== 'remove-run' || !runs.has(body.run))
      return [...verifyHistory(this.context.historyDir, name, due)]
    })
  }

  anchor(): Promise<Buffer> {
    return anchorOf(this.context)
  }

  writeAnchor(path: string): Promise<void> {
    return writeAnchor(this.context, path)
  }

  manifests(filter?: HistoryFilter): Iterable<HistoryManifest> {
    return manifests(this.context.historyDir, filter)
  }

  manifestQuery(query?: TimeRange & { collection?: string }) {
    return manifestQuery(this.context.historyDir, query)
  }

  async close(): Promise<void> {
    for (const { lock } of this.context.owners.values()) await lock.release()
    this.context.owners.clear()
    await this.context.readers.letGo()
    await this.context.locks.close()
    await this.context.db.destroy()
  }

  // --- internal ---

  /** Of a workbench. */
  private async homeOf(name: string): Promise<string | undefined> {
    return (await benches.workbenches(this.context, name))[0]?.home
  }

  private heldFiles(
    { segment, directory }: Pick<Tables['segments'], 'segment' | 'directory'>,
    placed: readonly Placed[] = [],
  ): HeldFile[] {
    const home = this.context.resolvedDirectory(directory)
    return this.files.get(segment)!.map((file) => {
      const place = placed.find(({ kind }) => kind === file.kind)
      return {
        ...file,
        tier: (place?.tier ?? 'hot') as Tier,
        directory: place?.directory ? this.context.resolvedDirectory(place.directory) : home,
        ...(place?.label ? { label: place.label } : {}),
        deleted: place?.deleted === 1,
      }
    })
  }

  /** By the segment that has their events now, then by run. */
  private async liveTagFiles(tx: Tx): Promise<Map<number, HeldTagFile[]>> {
    const rows = await tx
      .selectFrom('tag_files')
      .select(['run', 'named', 'segment', 'name'])
      .where('state', '=', 'live')
      .orderBy('run')
      .orderBy('named')
      .execute()
    if (rows.some(({ name }) => !this.tagFiles.has(name))) {
      const all = await tx.selectFrom('tag_files').selectAll().where('state', '=', 'live').execute()
      for (const { run, named, directory, name, size, sha256, manifest, row_count } of all)
        if (!this.tagFiles.has(name))
          this.tagFiles.set(name, {
            ...{ kind: 'tag', segment: named, run, name, size, sha256, rows: row_count },
            directory: this.context.resolvedDirectory(directory),
            manifest: parseManifest(manifest, name),
          })
    }
    const bySegment = new Map<number, HeldTagFile[]>()
    for (const { segment, name } of rows) {
      const files = bySegment.get(segment)
      if (files) files.push(this.tagFiles.get(name)!)
      else bySegment.set(segment, [this.tagFiles.get(name)!])
    }
    return bySegment
  }

  /** The commit has taken place: what fails now must not look as if it had not. */
  private async afterCommit(derive: () => Promise<void>): Promise<{ historyError?: ColdtrailError }> {
    try {
      await derive()
      if (this.context.anchorPath !== undefined) await writeAnchor(this.context, this.context.anchorPath)
      return {}
    } catch (error) {
      return { historyError: asColdtrailError(error) }
    }
  }
}
