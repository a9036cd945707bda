/**
 * Commits: one transaction that makes a segment exist, its ledger rows and the next chain link included. Order, and what
 * a crash between two steps leaves: docs/design.md §3. The session ledger is durable before the link, so whoever finds a
 * link (a rebuild) finds what it sealed.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import type { SourceObject } from '../../core/sourceObject.ts'
import { faultPoint } from '../../platform/faults.ts'
import { makeDirectory, syncDirectory, writeDurably } from '../../platform/files.ts'
import {
  FIRST_PREV,
  type Link,
  type LinkAction,
  linkFileName,
  type SegmentFacts,
  segmentOf,
  sha256,
  signLink,
} from '../chain.ts'
import { serializeManifest } from '../manifest.ts'
import { recordReleased } from '../quarantine.ts'
import { type SealedSegment, segmentFileName } from '../segment.ts'
import { type LedgerEntry, readSessionLedger, serializeSessionLedger, sessionLedgerName } from '../sessionLedger.ts'
import { batches, type CatalogContext, now, type OwnerState } from './context.ts'
import { identify, type Ledger, markReplaced, SETTLED } from './ledger.ts'
import { KEY_BYTES, ledgerDay, ledgerShard, objectId } from './objectId.ts'
import { catalogPath } from './open.ts'
import type { Tables, Tx } from './schema.ts'
import { type NewSession, recordVersions } from './versions.ts'
import { refuseWorkbench, segmentsInWorkbenches } from './workbenches.ts'

export type Committer = Pick<OwnerState, 'id' | 'epoch'>

/** The link of a run whose files are durable, and the rows that go with it in the same transaction. */
export interface PreparedRun {
  readonly body: LinkAction
  write(tx: Tx, sequence: number): Promise<void>
}

export async function commitSeal(
  context: CatalogContext,
  ledger: Ledger,
  owner: Committer,
  sealed: SealedSegment,
  objects: readonly SourceObject[],
  run?: PreparedRun,
): Promise<{ sequence: number; superseded: number }> {
  const sessions = newSessions(sealed)
  const claims = objects.map(identify)
  if (claims.length !== sessions.length || claims.some(({ keyHash }, i) => !keyHash.equals(sessions[i]!.keyHash)))
    throw new ColdtrailError('E_INTERNAL', { message: 'the objects of a commit are not those of its sessions' })
  const segment = prepareFacts(context, sealed, sessions)
  let superseded = 0
  let replaced: { object: string; collection: string }[] = []
  const [sequence] = await commitLinks(
    context,
    owner,
    sealed.collection,
    [{ action: 'seal', segment } as LinkAction, ...(run ? [run.body] : [])],
    async (tx, [number, ofRun]) => {
      await refuseWorkbench(tx, sealed.collection)
      await useSegmentNumber(tx, owner, sealed.segment)
      const lookUp = await ledger.closed.open(
        tx,
        sessions.map(({ shard }) => shard),
      )
      superseded = await recordVersions(context, tx, sealed.segment, number!, sessions, lookUp)
      await fulfil(
        tx,
        owner,
        sealed.segment,
        claims.map(({ id }) => id),
      )
      const contents = sessions.filter(({ object }, i) => !object.equals(claims[i]!.id))
      if (contents.some(({ shard, object }) => lookUp(shard, object) === 'known')) throw collectedMeanwhile()
      await insertKnown(tx, sealed.segment, contents)
      replaced = await markReplaced(
        tx,
        sessions.map(({ keyHash }) => keyHash),
        sealed.segment,
      )
      await insertSegment(tx, owner.id, sealed, segment, number!)
      if (run) await run.write(tx, ofRun!)
    },
  )
  for (const [collection, rows] of Map.groupBy(replaced, (row) => row.collection))
    recordReleased(
      context.manifestDirectory(collection),
      rows.map(({ object }) => object),
    )
  return { sequence: sequence!, superseded }
}

export async function commitReplace(
  context: CatalogContext,
  owner: Committer,
  sealed: SealedSegment,
  replaced: readonly number[],
): Promise<{ sequence: number }> {
  faultPoint('replace.files-durable')
  const numbers = [...replaced].sort((a, b) => a - b)
  const segment = prepareReplacement(context, sealed, numbers)
  const body = { action: 'replace', segment, replaced: numbers } as const
  const [sequence] = await commitLinks(context, owner, sealed.collection, [body], async (tx, [number]) => {
    if ((await segmentsInWorkbenches(tx, replaced)).size > 0)
      throw new ColdtrailError('E_CLAIM_LOST', { reason: 'a workbench has copies of a segment to replace' })
    await replaceSegments(tx, owner, { sealed, facts: segment, replaced: numbers, number })
  })
  return { sequence }
}

/**
 * What the link of a segment in place of others says of it; its session ledger is durable then. Which object a session is
 * was told when it was sealed, and its row may not say it any more.
 */
export function prepareReplacement(
  context: CatalogContext,
  sealed: SealedSegment,
  replaced: readonly number[],
): SegmentFacts {
  const history = context.manifestDirectory(sealed.collection)
  const entries = replaced.flatMap((segment) => readSessionLedger(join(history, sessionLedgerName(segment))))
  return prepareFacts(
    context,
    sealed,
    entries.sort((a, b) => a.session - b.session),
  )
}

/** Rows of a segment in place of others, which retire. E_CLAIM_LOST when one is no longer live. */
export async function replaceSegments(
  tx: Tx,
  owner: Committer,
  {
    sealed,
    facts,
    replaced,
    number,
  }: {
    readonly sealed: SealedSegment
    readonly facts: SegmentFacts
    readonly replaced: readonly number[]
    /** Of the link. */
    readonly number: number
  },
): Promise<void> {
  await useSegmentNumber(tx, owner, sealed.segment)
  const { numUpdatedRows } = await tx
    .updateTable('segments')
    .set(await retirement(tx))
    .where('segment', 'in', [...replaced])
    .where('collection', '=', sealed.collection)
    .where('state', '=', 'live')
    .executeTakeFirst()
  if (Number(numUpdatedRows) !== new Set(replaced).size)
    throw new ColdtrailError('E_CLAIM_LOST', { reason: 'a segment to replace is no longer live' })
  // Event ids stay, so tag files fit the new segment as they are.
  for (const table of ['ledger', 'versions', 'tag_files'] as const)
    await tx
      .updateTable(table)
      .set({ segment: sealed.segment })
      .where('segment', 'in', [...replaced])
      .execute()
  await insertSegment(tx, owner.id, sealed, facts, number)
}

export function newSessions(sealed: SealedSegment): NewSession[] {
  return sealed.sessions.map((session) => {
    const object = objectId(session)
    const day = ledgerDay(session.key)
    return {
      session: session.session_id,
      object,
      lastModified: session.last_modified,
      keyHash: object.subarray(0, KEY_BYTES),
      day,
      shard: ledgerShard(day, object),
    }
  })
}

export const linkRow = (
  { uuid, collection, number, body }: Pick<Link, 'uuid' | 'collection' | 'number' | 'body'>,
  hash: string,
  bytes: Buffer,
): Tables['links'] => ({
  ...{ uuid, collection, number, hash, bytes },
  segment: segmentOf(body)?.segment ?? 0,
  session1: body.action === 'seal' ? body.segment.session1 : null,
})

export async function insertSegment(
  tx: Tx,
  owner: string,
  { collection, files }: Pick<SealedSegment, 'collection' | 'files'>,
  facts: SegmentFacts,
  sequence: number,
  retired_at: number | null = null,
): Promise<void> {
  const { segment, format, day, directory, id1, id2, session1, session2, time1, time2, rejects, raw_bytes } = facts
  await tx
    .insertInto('segments')
    .values({
      ...{ segment, format, day, directory, id1, id2, session1, session2, time1, time2, rejects, raw_bytes },
      ...{ collection, sequence, owner, retired_at },
      state: retired_at === null ? 'live' : 'retired',
      row_count: facts.rows,
      packs: JSON.stringify(facts.packs),
      in_history: 0,
      retirement: retired_at === null ? null : 0,
    })
    .execute()
  const rows = files.map(({ kind, name, size, sha256, manifest }) => ({
    ...{ segment, kind, name, size, sha256 },
    manifest: serializeManifest(manifest).toString(),
  }))
  await tx.insertInto('files').values(rows).execute()
}

// --- internal ---

/** Everything that must be durable before the transaction: the session ledger. Answers what the link will say. */
function prepareFacts(context: CatalogContext, sealed: SealedSegment, sessions: readonly LedgerEntry[]): SegmentFacts {
  const { segment, format, day, id1, id2, session1, session2, time1, time2, rows, rejects, raw_bytes } = sealed
  const directory = context.collectionDirectory(sealed.collection)
  const keyset = join(directory, segmentFileName('index', segment), 'keyset.ks')
  const ledger = serializeSessionLedger(sessions)
  prepareChain(context, sealed.collection)
  writeDurably(join(context.manifestDirectory(sealed.collection), sessionLedgerName(segment)), ledger)
  const packs = new Set(sealed.sessions.flatMap(({ pack_segment }) => (pack_segment === null ? [] : [pack_segment])))
  return {
    ...{ segment, format, day, id1, id2, session1, session2, time1, time2, rows, rejects, raw_bytes },
    directory: context.storedDirectory(directory),
    packs: [...packs].sort((a, b) => a - b),
    files: sealed.files.map(({ kind, name, size, sha256: digest, manifest }) => ({
      ...{ kind, name, size, sha256: digest },
      manifest: sha256(serializeManifest(manifest)),
    })),
    ledger: sha256(ledger),
    keyset: existsSync(keyset) ? sha256(readFileSync(keyset)) : null,
  }
}

/**
 * One transaction: the rows, and links with the next numbers. `bodies` are known before, since nothing that a transaction
 * finds out may be in a link that is repeated when it is.
 */
export async function commitLinks<const Bodies extends readonly LinkAction[]>(
  context: CatalogContext,
  owner: Committer,
  collection: string,
  bodies: Bodies,
  writeRows: (tx: Tx, numbers: { readonly [I in keyof Bodies]: number }) => Promise<void>,
): Promise<{ readonly [I in keyof Bodies]: number }> {
  const uuids = bodies.map(() => crypto.randomUUID())
  let numbers: number[] = []
  let atCommit = false
  try {
    await context.write(async (tx) => {
      atCommit = false
      const head = await lockHead(context, tx, collection)
      numbers = bodies.map((_, i) => head.head + 1 + i)
      faultPoint('commit.begun')
      await context.assertOwner(tx, owner)
      await writeRows(tx, numbers as { readonly [I in keyof Bodies]: number })
      const files: Buffer[] = []
      let hash = head.head_hash
      for (const [i, body] of bodies.entries()) {
        const link = { collection, number: numbers[i]!, uuid: uuids[i]!, time: now(), prev: hash, body }
        const bytes = signLink(link, context.requireWritable())
        hash = sha256(bytes)
        files.push(bytes)
        await tx
          .insertInto('links')
          .values(linkRow(link, hash, bytes))
          .execute()
      }
      await tx
        .updateTable('collections')
        .set({ head: numbers.at(-1)!, head_hash: hash })
        .where('name', '=', collection)
        .execute()
      faultPoint('commit.rows-written')
      const directory = context.chainDirectory(collection)
      removeLinksAbove(directory, head.head + 1)
      for (const [i, bytes] of files.entries()) writeDurably(join(directory, linkFileName(numbers[i]!)), bytes)
      faultPoint('commit.link-written')
      atCommit = true
    })
  } catch (error) {
    if (!atCommit || !(await isCommitted(context, collection, uuids, numbers, error))) throw error
  }
  faultPoint('commit.done')
  return numbers as { readonly [I in keyof Bodies]: number }
}

/** What marks rows as retired by this transaction. */
export async function retirement(tx: Tx): Promise<{ state: 'retired'; retired_at: number; retirement: number }> {
  const { next } = await tx
    .updateTable('counters')
    .set((expression) => ({ next: expression('next', '+', 1) }))
    .where('name', '=', 'retirement')
    .returning('next')
    .executeTakeFirstOrThrow()
  return { state: 'retired', retired_at: now(), retirement: next - 1 }
}

/** Everything that must be there before a link is written, and what would make the link a lie. */
export function prepareChain(context: CatalogContext, collection: string): void {
  // An open SQLite file lives on after its removal: the link would vouch for a commit that nobody can find again.
  const catalog = catalogPath(context.dataDir)
  if (context.dialect === 'sqlite' && !existsSync(catalog))
    throw new ColdtrailError('E_CATALOG_OPEN', { path: catalog, cause: 'it was removed while it was in use' })
  makeDirectory(context.chainDirectory(collection))
}

async function lockHead(context: CatalogContext, tx: Tx, collection: string) {
  await tx
    .insertInto('collections')
    .values({ name: collection, head: 0, head_hash: FIRST_PREV })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  return tx
    .selectFrom('collections')
    .selectAll()
    .where('name', '=', collection)
    .$if(context.dialect === 'postgres', (query) => query.forUpdate())
    .executeTakeFirstOrThrow()
}

/**
 * Links behind the first that a cut-off commit of several left: the one that is written now would not be followed by
 * them, and a rebuild could not tell.
 */
function removeLinksAbove(directory: string, number: number): void {
  const stale: string[] = []
  for (let above = number + 1; existsSync(join(directory, linkFileName(above))); above++)
    stale.push(join(directory, linkFileName(above)))
  // From the end, so that no hole is left.
  for (const path of stale.reverse()) rmSync(path, { force: true })
  if (stale.length) syncDirectory(directory)
}

/**
 * Whether a commit whose answer was lost took place. The head's lock is taken first: a transaction that is still ending
 * on the server holds it. When another commit has taken the numbers, its link files are put back in place of ours.
 */
async function isCommitted(
  context: CatalogContext,
  collection: string,
  uuids: readonly string[],
  numbers: readonly number[],
  cause: unknown,
): Promise<boolean> {
  try {
    return await context.write(async (tx) => {
      const { head } = await lockHead(context, tx, collection)
      const rows = await tx
        .selectFrom('links')
        .select(['uuid', 'number', 'bytes'])
        .where('collection', '=', collection)
        .where('number', 'in', numbers)
        .orderBy('number')
        .execute()
      if (rows[0]?.uuid === uuids[0]) return true
      const directory = context.chainDirectory(collection)
      if (rows.length > 0) removeLinksAbove(directory, head)
      for (const { number, bytes } of rows) writeDurably(join(directory, linkFileName(number)), bytes)
      return false
    })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new ColdtrailError('E_COMMIT_UNKNOWN', { cause: reason }, { cause })
  }
}

async function fulfil(tx: Tx, owner: Committer, segment: number, ids: readonly Buffer[]): Promise<void> {
  let fulfilled = 0
  for (const batch of batches(ids)) {
    const result = await tx
      .updateTable('ledger')
      .set({ ...SETTLED, state: 'known', since: now(), segment })
      .where('object', 'in', batch)
      .where('owner', '=', owner.id)
      .where('state', '=', 'claimed')
      .executeTakeFirst()
    fulfilled += Number(result.numUpdatedRows)
  }
  if (fulfilled !== ids.length)
    throw new ColdtrailError('E_CLAIM_LOST', {
      reason: `${ids.length - fulfilled} of ${ids.length} claims are not its own`,
    })
}

/** The identities by content of local files, beside those by stat that were claimed. */
async function insertKnown(tx: Tx, segment: number, sessions: readonly NewSession[]): Promise<void> {
  for (const batch of batches(sessions)) {
    const values = batch.map(({ object, keyHash, shard }) => ({
      object,
      key_hash: keyHash,
      shard,
      state: 'known' as const,
      attempts: 0,
      since: now(),
      segment,
    }))
    const insert = tx.insertInto('ledger').values(values as Tables['ledger'][])
    const rows = await insert
      .onConflict((conflict) => conflict.doNothing())
      .returning('object')
      .execute()
    if (rows.length !== batch.length) throw collectedMeanwhile()
  }
}

const collectedMeanwhile = (): ColdtrailError =>
  new ColdtrailError('E_CLAIM_LOST', { reason: 'the same content was collected meanwhile under another version' })

/** The range of the number ends with its use; E_CLAIM_LOST when it was not drawn by this owner. */
async function useSegmentNumber(tx: Tx, owner: Committer, segment: number): Promise<void> {
  const range = await tx
    .selectFrom('ranges')
    .select(['first', 'count'])
    .where('what', '=', 'segment')
    .where('owner', '=', owner.id)
    .where('first', '<=', segment)
    .orderBy('first', 'desc')
    .executeTakeFirst()
  if (!range || range.first + range.count <= segment)
    throw new ColdtrailError('E_CLAIM_LOST', { reason: `segment number ${segment} is not of a range of its own` })
  if (range.count === 1)
    await tx.deleteFrom('ranges').where('what', '=', 'segment').where('first', '=', segment).execute()
}
