/**
 * Erasure: the commit that puts a segment without some sessions in the place of one that has them, and takes what was said
 * of their events: tags, findings, dead letters, copies in workbenches. What follows it (cutting the history) is derived
 * and done again after a crash. The ledger keeps the objects, so that nobody collects them again.
 */
import { createHash } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { syncDirectory, writeDurably } from '../../platform/files.ts'
import {
  type EraseAction,
  erasedBy,
  type FileOfSegment,
  type Link,
  linkFileName,
  parseLink,
  sha256,
  type TagFileFacts,
} from '../chain.ts'
import { findingNumber } from '../findingFeed.ts'
import { ERASED_LINE, findingsName, readFindingLines } from '../findings.ts'
import { forgetHistory } from '../history.ts'
import { holdsOver } from '../holds.ts'
import { serializeManifest } from '../manifest.ts'
import { forgetRollups } from '../rollups.ts'
import type { SealedSegment } from '../segment.ts'
import type { TagFile } from '../tags.ts'
import { type Committer, commitLinks, prepareReplacement, replaceSegments, retirement } from './commit.ts'
import { type CatalogContext, now } from './context.ts'
import { leave } from './places.ts'
import { insertTagFiles } from './runs.ts'
import type { Tx } from './schema.ts'

export type IdRange = readonly [first: number, last: number]

/** What is to be committed; every file of it is durable. */
export interface Erasure {
  readonly sealed: SealedSegment
  readonly replaced: number
  readonly sessions: readonly number[]
  /** Ids of their events. */
  readonly events: readonly IdRange[]
  readonly reason: string
  /** Packs that the new segment's own took the place of. */
  readonly packs: readonly number[]
  /** Live tag files of the segment when it was read, by name; and those with tags of erased events among them. */
  readonly tagsSeen: readonly string[]
  readonly tagsBefore: readonly string[]
  readonly tags: readonly TagFile[]
  /** Times of what is erased, by which holds are measured: microseconds. */
  readonly times: Parameters<typeof holdsOver>[1]
  readonly despiteHold: boolean
}

/** E_HELD, unless that is overruled; E_CLAIM_LOST when the segment, or what was said of it, changed meanwhile. */
export async function commitErase(
  context: CatalogContext,
  owner: Committer,
  erasure: Erasure,
): Promise<{ sequence: number }> {
  const { sealed, replaced, sessions, events, reason, despiteHold, times } = erasure
  const { collection, segment } = sealed
  const facts = prepareReplacement(context, sealed, [replaced])
  const findings = await cutFindings(context, erasure)
  const directory = context.storedDirectory(context.collectionDirectory(collection))
  const tags = erasure.tags.map(({ segment, name, size, sha256: digest, rows, manifest }): TagFileFacts => {
    return { segment, name, directory, size, sha256: digest, rows, manifest: sha256(serializeManifest(manifest)) }
  })
  const body: EraseAction = {
    ...{ action: 'erase', segment: facts, replaced: [replaced], sessions, events, reason },
    before: await filesBefore(context, erasure),
    ...{ tags, findings },
  }
  faultPoint('erase.files-durable')
  const [sequence] = await commitLinks(context, owner, collection, [body], async (tx, [number]) => {
    if (!despiteHold) {
      const on = await tx.selectFrom('holds').selectAll().where('collection', '=', collection).execute()
      const [name] = holdsOver(on, times)
      if (name !== undefined) throw new ColdtrailError('E_HELD', { segment: replaced, name, collection })
    }
    await refuseStale(tx, erasure, findings)
    await replaceSegments(tx, owner, { sealed, facts, replaced: [replaced], number })
    const { retired_at, retirement: retired } = await retirement(tx)
    const going = { retired_at, retirement: retired }
    for (const name of erasure.tagsBefore) {
      const row = await tx.deleteFrom('tag_files').where('name', '=', name).returning('directory').executeTakeFirst()
      if (row) await leave(tx, [{ directory: row.directory, name, ...going }])
    }
    await insertTagFiles(
      tx,
      erasure.tags.map((file) => ({ ...file, directory })),
      () => segment,
    )
    await forgetEvents(tx, collection, body)
    await leaveCopies(tx, body, going)
  })
  return { sequence }
}

/** Takes from a catalog what was said of erased events, findings with their places in feeds. */
export async function forgetEvents(tx: Tx, collection: string, { events }: EraseAction): Promise<void> {
  const feeds = await tx.selectFrom('feeds').select(['id', 'feed']).where('collection', '=', collection).execute()
  for (const [first, last] of events) {
    const gone = await tx
      .selectFrom('findings')
      .select(['uid', 'sequence', 'line'])
      .where('collection', '=', collection)
      .where('event', '>=', first)
      .where('event', '<=', last)
      .execute()
    for (const { uid } of gone)
      for (const table of ['finding_runs', 'findings'] as const)
        await tx.deleteFrom(table).where('collection', '=', collection).where('uid', '=', uid).execute()
    const numbers = gone.map(findingNumber)
    for (const { id, feed } of feeds) {
      const letters = tx.deleteFrom('dead_letters').where('feed', '=', id)
      if (!/(^|\s)findings$/.test(feed)) await letters.where('event', '>=', first).where('event', '<=', last).execute()
      else for (const number of numbers) await letters.where('event', '=', number).execute()
    }
  }
}

/** Copies in workbenches that still have the records are no part of them any more, and are removed. */
export async function leaveCopies(
  tx: Tx,
  { before }: Pick<EraseAction, 'before'>,
  going: { readonly retired_at: number; readonly retirement: number },
): Promise<void> {
  for (const { name } of before) {
    const rows = await tx.deleteFrom('workbench_files').where('name', '=', name).returning('directory').execute()
    await leave(
      tx,
      rows.map(({ directory }) => ({ directory, name, ...going })),
    )
  }
}

/** Into a catalog that has segments, runs, workbenches and feeds of a collection. */
export async function replayErasures(
  tx: Tx,
  context: CatalogContext,
  links: readonly Pick<Link, 'body' | 'collection'>[],
): Promise<void> {
  const since = { retired_at: now(), retirement: 0 }
  for (const { body, collection } of links) {
    if (body.action !== 'erase') continue
    await forgetEvents(tx, collection, body)
    await leaveCopies(tx, body, since)
    // Tag files that wait for their removal; those of other databases have rows of their segments.
    const { directory } = body.segment
    const path = context.resolvedDirectory(directory)
    for (const { kind, name } of body.before)
      if (kind === 'tag' && existsSync(join(path, name))) await leave(tx, [{ directory, name, ...since }])
  }
}

/** Live workbenches that have copies of these files. */
export async function copiesIn(
  context: CatalogContext,
  names: readonly string[],
): Promise<{ readonly workbench: string; readonly name: string }[]> {
  if (names.length === 0) return []
  return context.db
    .selectFrom('workbench_files')
    .innerJoin('workbenches', 'workbenches.directory', 'workbench_files.directory')
    .select(['workbenches.name as workbench', 'workbench_files.name as name'])
    .where('workbenches.state', '=', 'live')
    .where('workbench_files.name', 'in', [...names])
    .orderBy('workbenches.name')
    .execute()
}

/**
 * Takes out of the history what erasures of a collection took away: manifests and keysets of all segments that had the records,
 * finding files that were made anew. May be repeated. The caller holds the lock of who archives.
 */
export async function cutHistory(context: CatalogContext, collection: string): Promise<void> {
  const rows = await context.db
    .selectFrom('links')
    .select(['number', 'bytes'])
    .where('collection', '=', collection)
    .orderBy('number')
    .execute()
  const bodies = rows.map(({ number, bytes }) => parseLink(bytes, linkFileName(number)).body)
  const erased = erasedBy(bodies)
  if (erased.links.length === 0) return
  const directory = context.manifestDirectory(collection)
  forgetHistory(directory, erased)
  forgetRollups(directory, { segments: [...erased.segments] })
  for (const [run, { name }] of erased.findings) {
    const older = [
      findingsName(run),
      ...erased.links.flatMap(({ findings }) => findings.filter((file) => file.run === run).map((file) => file.name)),
    ]
    const stale = older.filter((one) => one !== name && existsSync(join(directory, one)))
    for (const one of stale) rmSync(join(directory, one))
    if (stale.length > 0) syncDirectory(directory)
  }
  faultPoint('erase.history-cut')
}

/**
 * Writes an SQLite catalog anew, since its free pages hold what was deleted: manifests have values of records. False while
 * somebody else is using it. A server's free space is the server's business.
 */
export async function rewriteCatalog({ dialect, db }: CatalogContext): Promise<boolean> {
  if (dialect !== 'sqlite') return true
  try {
    await sql`vacuum`.execute(db)
    await sql`pragma wal_checkpoint(truncate)`.execute(db)
    return true
  } catch (error) {
    if (/busy|locked/i.test(String((error as Error).message))) return false
    throw error
  }
}

// --- internal ---

/** The finding files of runs that found something in erased events, made anew without it; lines keep their numbers. */
async function cutFindings(context: CatalogContext, { sealed, events }: Erasure): Promise<EraseAction['findings']> {
  const { collection, segment } = sealed
  const runs = await runsWithFindings(context.db, collection, events)
  if (runs.length === 0) return []
  const rows = await context.db
    .selectFrom('links')
    .select(['number', 'bytes'])
    .where('collection', '=', collection)
    .orderBy('number')
    .execute()
  const current = new Map<number, { readonly name: string; readonly sha256: string }>()
  for (const { number, bytes } of rows) {
    const { body } = parseLink(bytes, linkFileName(number))
    if (body.action === 'finding') current.set(body.run, body.findings)
    else if (body.action === 'erase') for (const { run, ...file } of body.findings) current.set(run, file)
  }
  const history = context.manifestDirectory(collection)
  const isErased = (event: number | null): boolean =>
    event !== null && events.some(([first, last]) => event >= first && event <= last)
  return runs.map((run) => {
    const file = current.get(run)
    if (!file) throw new ColdtrailError('E_HISTORY_FILE', { path: join(history, findingsName(run)) })
    const lines: Buffer[] = []
    const hash = createHash('sha256')
    let kept = 0
    for (const { text, finding } of readFindingLines(join(history, file.name), file.sha256)) {
      const gone = finding === undefined || isErased(finding.event)
      const line = gone ? ERASED_LINE : text
      if (!gone) kept += 1
      lines.push(line)
      hash.update(line)
    }
    const name = findingsName(run).replace('.ndjson', `.${String(segment).padStart(9, '0')}.ndjson`)
    const bytes = Buffer.concat(lines)
    writeDurably(join(history, name), bytes)
    return { run, name, size: bytes.length, sha256: hash.digest('hex'), rows: kept }
  })
}

async function runsWithFindings(
  tx: Pick<Tx, 'selectFrom'>,
  collection: string,
  events: readonly IdRange[],
): Promise<number[]> {
  const runs = new Set<number>()
  for (const [first, last] of events) {
    const rows = await tx
      .selectFrom('finding_runs')
      .innerJoin('findings', (join) =>
        join
          .onRef('findings.uid', '=', 'finding_runs.uid')
          .onRef('findings.collection', '=', 'finding_runs.collection'),
      )
      .select('finding_runs.run')
      .distinct()
      .where('finding_runs.collection', '=', collection)
      .where('findings.event', '>=', first)
      .where('findings.event', '<=', last)
      .execute()
    for (const { run } of rows) runs.add(run)
  }
  return [...runs].sort((a, b) => a - b)
}

/** What a run committed since the segment was read would stay. */
async function refuseStale(tx: Tx, erasure: Erasure, findings: EraseAction['findings']): Promise<void> {
  const { sealed, replaced, events, tagsSeen } = erasure
  const tags = await tx
    .selectFrom('tag_files')
    .select('name')
    .where('segment', '=', replaced)
    .where('state', '=', 'live')
    .execute()
  const found = await runsWithFindings(tx, sealed.collection, events)
  const names = tags.map(({ name }) => name).sort()
  if (names.join() !== [...tagsSeen].sort().join() || found.join() !== findings.map(({ run }) => run).join())
    throw new ColdtrailError('E_CLAIM_LOST', { reason: 'an analysis of what is to be erased was committed meanwhile' })
}

async function filesBefore(
  context: CatalogContext,
  { replaced, packs, tagsBefore }: Erasure,
): Promise<FileOfSegment[]> {
  const rows = await context.db
    .selectFrom('files')
    .select(['segment', 'kind', 'name', 'size', 'sha256'])
    .where((term) =>
      term.or([
        term.and([term('segment', '=', replaced), term('kind', '!=', 'log')]),
        ...(packs.length > 0 ? [term.and([term('segment', 'in', [...packs]), term('kind', '=', 'log')])] : []),
      ]),
    )
    .orderBy('segment')
    .orderBy('name')
    .execute()
  if (tagsBefore.length === 0) return rows
  const tags = await context.db
    .selectFrom('tag_files')
    .select(['named as segment', 'name', 'size', 'sha256'])
    .where('name', 'in', [...tagsBefore])
    .orderBy('name')
    .execute()
  return [...rows, ...tags.map((file) => ({ ...file, kind: 'tag' }))]
}
