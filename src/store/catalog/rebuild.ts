/**
 * A new catalog from what is on disk: links (what was committed), session ledgers (which objects), manifests, and the
 * files (what numbers are taken). Nothing sealed is lost and no object is collected twice; what is in quarantine stays
 * there with its reason. What only the catalog knew is gone: reasons of pending and skipped objects, which are tried
 * again, and the stat of local files, which are read once more and then known by their SHA-256.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { sql } from 'kysely'
import { ColdtrailError } from '../../core/errors.ts'
import { type OpenDatabase, openDatabase } from '../../platform/database/database.ts'
import { namesIfThere, readIfThere, syncDirectory } from '../../platform/files.ts'
import type { CatalogOptions } from '../catalog.ts'
import {
  type ChainReport,
  erasedBy,
  type HistoryFileFacts,
  type Link,
  type LinkAction,
  linkFileName,
  replacedOf,
  type SegmentFacts,
  segmentOf,
  sha256,
  type TagFileFacts,
  verifyChain,
} from '../chain.ts'
import { readFindings } from '../findings.ts'
import { historyCollections, manifests } from '../history.ts'
import { type Manifest, parseManifest, serializeManifest } from '../manifest.ts'
import { type QuarantinedObject, readQuarantine } from '../quarantine.ts'
import type { RunFacts } from '../runs.ts'
import type { FileKind, SegmentFile } from '../segment.ts'
import { type LedgerEntry, parseSessionLedger, sessionLedgerName } from '../sessionLedger.ts'
import { loadPublicKeys, loadSigningKey } from '../signingKeys.ts'
import type { TagFile } from '../tags.ts'
import { asBuffer } from './closedLedger.ts'
import { insertSegment, linkRow } from './commit.ts'
import { batches, CatalogContext, now } from './context.ts'
import { repairDerived } from './derived.ts'
import { replayErasures } from './erase.ts'
import { addClosed, hex } from './ledger.ts'
import { KEY_BYTES, ledgerDay, ledgerShard, OBJECT_ID_BYTES, objectId } from './objectId.ts'
import { catalogPath, defaultHistoryDir } from './open.ts'
import { restoreFeeds } from './outbox.ts'
import { directoriesByFile, fileKey, replayPlaces } from './places.ts'
import { following, forgetRun, insertFindings, insertTagFiles, runOfFile, runRow } from './runs.ts'
import { prepareSchema, type Tables, type Tx } from './schema.ts'
import { sealSequence, supersededOf } from './versions.ts'
import { replayWorkbenches } from './workbenches.ts'

export interface RebuildReport {
  readonly collections: readonly string[]
  readonly links: number
  readonly segments: number
  readonly sessions: number
  /** Objects in quarantine. */
  readonly quarantined: number
  /** Links of commits that were cut off and whose files do not exist; the next commit takes their number. */
  readonly dropped: readonly string[]
}

/**
 * Makes the catalog anew and puts it in the place of the old one, which is kept under another name. Refused while an
 * owner lives (E_CATALOG_BUSY) and when a chain is not whole (E_CHAIN_FAULT).
 */
export async function rebuildCatalog(options: CatalogOptions): Promise<RebuildReport> {
  const { dataDir, historyDir = defaultHistoryDir(dataDir) } = options
  const key = options.signingKey ?? loadSigningKey(dataDir)
  const found = readDisk(dataDir, historyDir)
  const path = `${catalogPath(dataDir)}.new`
  for (const suffix of SQLITE_FILES) rmSync(path + suffix, { force: true })
  const opened = await openDatabase<Tables>(options, path)
  const { dialect, db } = opened
  const context = new CatalogContext({ database: opened, dataDir, historyDir, key })
  let quarantined = 0
  try {
    await refuseLivingOwners(options, opened)
    if (dialect === 'postgres') await moveSchemaAside(options, opened)
    await prepareSchema(db, dialect, () => {})
    quarantined = await context.write((tx) => fill(tx, context, found))
    await repairDerived(context)
  } finally {
    await opened.close()
  }
  if (dialect === 'sqlite') putInPlace(dataDir, path)
  return {
    collections: found.chains.map(({ collection }) => collection),
    links: found.chains.reduce((sum, { links }) => sum + links.length, 0),
    segments: found.segments.filter(({ replaced }) => !replaced).length,
    sessions: found.segments.reduce((sum, { entries, replaced }) => sum + (replaced ? 0 : entries.length), 0),
    quarantined,
    dropped: found.dropped,
  }
}

// --- internal ---

const SQLITE_FILES = ['', '-wal', '-shm'] as const

interface FoundSegment {
  readonly link: Link
  readonly facts: SegmentFacts
  readonly replaced: boolean
  readonly files: readonly SegmentFile[]
  readonly entries: readonly LedgerEntry[]
}

interface FoundRun {
  readonly link: Link
  readonly facts: RunFacts
  readonly report: HistoryFileFacts
  readonly findings: { readonly link: Link; readonly path: string; readonly sha256: string } | undefined
  readonly files: readonly (TagFile & { readonly directory: string })[]
  readonly removed?: Link
  /** Where the events of a segment are now. */
  readonly home: (segment: number) => number
}

interface Found {
  readonly chains: readonly { collection: string; links: ChainReport['links'] }[]
  readonly segments: readonly FoundSegment[]
  readonly dropped: readonly string[]
  readonly quarantine: readonly (QuarantinedObject & { readonly collection: string })[]
  readonly runs: readonly FoundRun[]
  /** Segment numbers of every file seen. */
  readonly numbers: ReadonlySet<number>
  /** Numbers of runs likewise, with the collection of the file. */
  readonly runNumbers: ReadonlyMap<number, string>
  /** Numbers of runs that left a folder of task files. */
  readonly taskFolders: readonly number[]
}

function readDisk(dataDir: string, historyDir: string): Found {
  const keys = loadPublicKeys(dataDir)
  const chains: { collection: string; links: ChainReport['links'] }[] = []
  const segments: FoundSegment[] = []
  const dropped: string[] = []
  const quarantine: (QuarantinedObject & { collection: string })[] = []
  const runs: FoundRun[] = []
  for (const collection of historyCollections(historyDir)) {
    const directory = join(historyDir, collection)
    const report = verifyChain(collection, join(directory, 'chain'), keys)
    const fault = report.faults[0]
    if (fault)
      throw new ColdtrailError('E_CHAIN_FAULT', {
        collection,
        fault: `link ${fault.number}: ${fault.fault} (${fault.detail})`,
      })
    const held = new Map<string, Manifest>()
    for (const { manifest } of manifests(historyDir, { collection, replaced: true }))
      held.set(sha256(serializeManifest(manifest)), manifest)
    const links = [...report.links]
    for (let top = links.at(-1); top && !isWhole(dataDir, directory, top.link.body, held); top = links.at(-1)) {
      dropped.push(`${collection}/${linkFileName(top.link.number)}`)
      links.pop()
    }
    const replaced = new Set(links.flatMap(({ link }) => replacedOf(link.body)))
    const made = links.flatMap(({ link }) => segmentOf(link.body) ?? [])
    const packs = new Set(made.flatMap(({ segment, packs }) => (replaced.has(segment) ? [] : packs)))
    const places = directoriesByFile(links.map(({ link }) => link))
    for (const { link } of links) {
      const facts = segmentOf(link.body)
      if (!facts) continue
      const isReplaced = replaced.has(facts.segment)
      const isThere = ({ kind, name }: SegmentFacts['files'][number]): boolean =>
        existsSync(join(resolve(dataDir, places.get(fileKey(facts.segment, kind)) ?? facts.directory), name))
      // Of a replaced segment: its pack, while sessions lie in it, and what still waits for its removal.
      const isOfInterest = (file: SegmentFacts['files'][number]): boolean =>
        isThere(file) || (file.kind === 'log' && packs.has(facts.segment))
      const files = isReplaced ? facts.files.filter(isOfInterest) : facts.files
      if (isReplaced && files.length === 0) continue
      segments.push({
        ...{ link, facts, replaced: isReplaced },
        files: files.map((file) => ({
          kind: file.kind as FileKind,
          name: file.name,
          size: file.size,
          sha256: file.sha256,
          manifest: held.get(file.manifest) ?? manifestBeside(dataDir, collection, facts, file),
        })),
        entries: isReplaced ? [] : ledgerEntries(directory, collection, facts),
      })
    }
    chains.push({ collection, links })
    runs.push(...foundRuns(dataDir, directory, links, held))
    quarantine.push(...readQuarantine(directory).map((object) => ({ ...object, collection })))
  }
  return { chains, segments, runs, dropped, quarantine, ...fileNumbers(dataDir, historyDir) }
}

/** Whether the last link's commit may count. */
function isWhole(dataDir: string, history: string, body: LinkAction, held: ReadonlyMap<string, Manifest>): boolean {
  switch (body.action) {
    // Its `tag` link, which follows it in one transaction, is not there.
    case 'finding':
      return false
    case 'remove-run':
    case 'move':
    case 'delete':
    case 'restore':
    case 'workbench':
    case 'hold':
      return true
    case 'tag':
      return (
        existsSync(join(history, body.report.name)) &&
        body.files.every(({ directory, ...file }) => isDurable(dataDir, { directory, files: [file] }, held))
      )
    case 'erase':
      return (
        isDurable(dataDir, body.segment, held) &&
        body.findings.every(({ name }) => existsSync(join(history, name))) &&
        body.tags.every(({ directory, ...file }) => isDurable(dataDir, { directory, files: [file] }, held))
      )
    default:
      return isDurable(dataDir, body.segment, held)
  }
}

/** Runs with results, in order of their links. */
function foundRuns(
  dataDir: string,
  history: string,
  links: ChainReport['links'],
  held: ReadonlyMap<string, Manifest>,
): FoundRun[] {
  const erased = erasedBy(links.map(({ link }) => link.body))
  const by = new Map<number, number>()
  const findings = new Map<number, { link: Link; path: string; sha256: string }>()
  const runs = new Map<number, Omit<FoundRun, 'home'>>()
  const tagFiles = (files: readonly TagFileFacts[], collection: string): FoundRun['files'] =>
    files
      .filter(({ name }) => !erased.tags.has(name))
      .map(({ manifest, directory, ...file }) => ({
        ...{ ...file, kind: 'tag' as const, run: runOfFile(file.name)!, directory },
        manifest: held.get(manifest) ?? manifestBeside(dataDir, collection, { directory }, { ...file, manifest }),
      }))
  for (const { link } of links) {
    const { body, collection } = link
    const made = segmentOf(body)
    if (made) for (const segment of replacedOf(body)) by.set(segment, made.segment)
    if (body.action === 'erase')
      for (const [run, files] of Map.groupBy(tagFiles(body.tags, collection), ({ run }) => run)) {
        const before = runs.get(run)!
        runs.set(run, { ...before, files: [...before.files, ...files] })
      }
    else if (body.action === 'finding') {
      const { name, sha256 } = erased.findings.get(body.run) ?? body.findings
      findings.set(body.run, { link, path: join(history, name), sha256 })
    } else if (body.action === 'remove-run') runs.set(body.run, { ...runs.get(body.run)!, removed: link })
    else if (body.action === 'tag') {
      const { run } = body.run
      const files = tagFiles(body.files, collection)
      runs.set(run, { link, facts: body.run, report: body.report, findings: findings.get(run), files })
    }
  }
  return [...runs.values()].map((run) => ({ ...run, home: following(by) }))
}

/** Its files stand, or the history has already taken them in. */
function isDurable(
  dataDir: string,
  facts: Pick<SegmentFacts, 'directory'> & {
    readonly files: readonly (Omit<SegmentFacts['files'][number], 'kind'> & { readonly kind?: string })[]
  },
  held: ReadonlyMap<string, Manifest>,
): boolean {
  const directory = resolve(dataDir, facts.directory)
  return facts.files.every(({ kind, name, size, manifest }) => {
    if (held.has(manifest)) return true
    const path = join(directory, name)
    return existsSync(path) && existsSync(`${path}.manifest`) && (kind === 'index' || statSync(path).size === size)
  })
}

function manifestBeside(
  dataDir: string,
  collection: string,
  facts: Pick<SegmentFacts, 'directory'>,
  file: Pick<SegmentFacts['files'][number], 'name' | 'manifest'>,
): Manifest {
  const path = join(resolve(dataDir, facts.directory), `${file.name}.manifest`)
  const bytes = readIfThere(path)
  if (!bytes || sha256(bytes) !== file.manifest)
    throw new ColdtrailError('E_CHAIN_FAULT', {
      collection,
      fault: `the manifest of ${file.name} is missing or damaged`,
    })
  return parseManifest(bytes, path)
}

function ledgerEntries(directory: string, collection: string, facts: SegmentFacts): LedgerEntry[] {
  const name = sessionLedgerName(facts.segment)
  const path = join(directory, name)
  const bytes = readIfThere(path)
  if (!bytes || sha256(bytes) !== facts.ledger)
    throw new ColdtrailError('E_CHAIN_FAULT', { collection, fault: `${name} is missing or damaged` })
  return parseSessionLedger(bytes, path)
}

function fileNumbers(dataDir: string, historyDir: string): Pick<Found, 'numbers' | 'runNumbers' | 'taskFolders'> {
  const root = join(dataDir, 'collections')
  const folders = [
    ...namesIfThere(root).map((name) => ({ collection: name, path: join(root, name) })),
    ...historyCollections(historyDir).map((name) => ({ collection: name, path: join(historyDir, name) })),
  ]
  const numbers = new Set<number>()
  const runNumbers = new Map<number, string>()
  for (const { collection, path } of folders)
    for (const name of namesIfThere(path)) {
      const run = runOfFile(name)
      if (run !== undefined) runNumbers.set(run, collection)
      const match = /^(?!finding-|run-)[a-z]+-(\d{9,})(?!\d)/.exec(name)
      if (match) numbers.add(Number(match[1]))
    }
  const taskFolders = namesIfThere(join(dataDir, 'analyze')).filter((name) => /^\d{1,15}$/.test(name))
  return { numbers, runNumbers, taskFolders: taskFolders.map(Number) }
}

async function refuseLivingOwners(
  options: CatalogOptions,
  { db, dialect, locks }: OpenDatabase<Tables>,
): Promise<void> {
  const lockFiles = dialect === 'sqlite' ? readdirSync(join(options.dataDir, 'locks')) : []
  const names = lockFiles.flatMap((name) => /^([a-z]+-[0-9a-f-]{36})\.db$/.exec(name)?.[1] ?? [])
  if (dialect === 'postgres') {
    const table = await sql<{ name: string | null }>`select to_regclass('owners')::text as name`.execute(db)
    if (table.rows[0]?.name) names.push(...(await db.selectFrom('owners').select('id').execute()).map(({ id }) => id))
  }
  for (const name of names) {
    const lock = await locks.acquire(name)
    if (!lock) throw new ColdtrailError('E_CATALOG_BUSY', { cause: `${name} is running` })
    await lock.release()
  }
}

async function moveSchemaAside(options: CatalogOptions, { db }: OpenDatabase<Tables>): Promise<void> {
  const schema = options.schema ?? 'coldtrail'
  await db.transaction().execute(async (tx) => {
    await sql`alter schema ${sql.id(schema)} rename to ${sql.id(`${schema.slice(0, 40)}_old_${Date.now()}`)}`.execute(
      tx,
    )
    await sql`create schema ${sql.id(schema)}`.execute(tx)
  })
}

/** A crash between the renames leaves no catalog.db, which is refused at the next start until it is made again. */
function putInPlace(dataDir: string, path: string): void {
  const final = catalogPath(dataDir)
  const aside = `${final}.old-${Date.now()}`
  for (const suffix of SQLITE_FILES) if (existsSync(final + suffix)) renameSync(final + suffix, aside + suffix)
  renameSync(path, final)
  syncDirectory(dataDir)
}

/** Answers how many objects are in quarantine. */
async function fill(tx: Tx, context: CatalogContext, found: Found): Promise<number> {
  const owner = `rebuild-${crypto.randomUUID()}`
  await tx
    .insertInto('owners')
    .values({ id: owner, kind: 'rebuild', epoch: 1, host: '', pid: 0, started: now() })
    .execute()
  for (const { collection, links } of found.chains) {
    const directory = context.chainDirectory(collection)
    const head = links.at(-1)
    if (!head) continue
    await tx
      .insertInto('collections')
      .values({ name: collection, head: head.link.number, head_hash: head.hash })
      .execute()
    for (const { link, hash } of links) {
      const bytes = readFileSync(join(directory, linkFileName(link.number)))
      await tx
        .insertInto('links')
        .values(linkRow(link, hash, bytes))
        .execute()
    }
  }
  for (const { link, facts, replaced, files } of found.segments)
    await insertSegment(tx, owner, { collection: link.collection, files }, facts, link.number, replaced ? now() : null)
  await fillRuns(tx, owner, found)
  for (const { links } of found.chains)
    await replayPlaces(
      tx,
      context,
      links.map(({ link }) => link),
    )
  for (const { links } of found.chains)
    await replayWorkbenches(
      tx,
      links.map(({ link }) => link),
    )
  await fillLedger(tx, found.segments)
  await fillNumbers(tx, owner, found)
  await restoreFeeds(tx, context.dataDir)
  for (const { links } of found.chains)
    await replayErasures(
      tx,
      context,
      links.map(({ link }) => link),
    )
  return fillQuarantine(tx, found)
}

/** Runs with results, and those that are removed while files of theirs still stand. */
async function fillRuns(tx: Tx, owner: string, { runs, runNumbers }: Found): Promise<void> {
  // A finding that a run made and that went with it is made anew by the next: commits are done again in their order.
  const steps = runs.flatMap((run) => [
    { number: run.link.number, run, isRemoval: false },
    ...(run.removed ? [{ number: run.removed.number, run, isRemoval: true }] : []),
  ])
  const order = (a: (typeof steps)[number], b: (typeof steps)[number]): number => a.number - b.number
  for (const { run: found, isRemoval } of steps.sort(order)) {
    const { link, facts, report, files, findings, home } = found
    const { run } = facts
    if (isRemoval) {
      await forgetRun(tx, run)
      await tx.updateTable('runs').set({ state: 'removed' }).where('run', '=', run).execute()
      await tx
        .updateTable('tag_files')
        .set({ state: 'retired', retired_at: now(), retirement: 0 })
        .where('run', '=', run)
        .execute()
      continue
    }
    const { request, ...columns } = runRow(facts, report)
    await tx
      .insertInto('runs')
      .values({
        ...columns,
        ...{ run, owner, request, collection: link.collection, head: link.number, started: facts.started },
        ...{ sequence: link.number, in_history: 0 },
      })
      .execute()
    await insertTagFiles(tx, files, home)
    if (findings) {
      const lines = readFindings(findings.path, findings.sha256)
      await insertFindings(tx, link.collection, run, findings.link.number, lines)
    }
  }
  // What no link names belongs to a dead owner, so that a sweep removes it.
  const committed = new Set(runs.map(({ facts }) => facts.run))
  for (const [run, collection] of runNumbers)
    if (!committed.has(run))
      await tx
        .insertInto('runs')
        .values({
          ...{ run, collection, owner, state: 'removed', request: '{}', head: 0, started: now(), ended: null },
          ...{ reason: null, sequence: null, tags: 0, findings: 0, counters: '{}', report: null, in_history: 1 },
        })
        .execute()
}

/** An object that a session holds is known, whatever the quarantine says. */
async function fillQuarantine(tx: Tx, { quarantine, segments }: Found): Promise<number> {
  const rows = new Map(
    quarantine.map(({ object, source, bucket, key, version, collection, attempts, code, reason, since }) => {
      const id = objectId({ source, bucket, key, version })
      const row = {
        ...{ object: id, key_hash: id.subarray(0, KEY_BYTES), shard: ledgerShard(ledgerDay(key), id) },
        ...{ source, bucket, object_key: key, version, collection, attempts, code, reason, since },
        ...{ state: 'quarantined' as const, owner: null, segment: null },
      }
      return [object, row]
    }),
  )
  for (const [object, row] of rows) if (hex(row.object) !== object) rows.delete(object)
  for (const { entries } of segments) for (const { object } of entries) rows.delete(hex(object))
  for (const batch of batches([...rows.values()], 100)) await tx.insertInto('ledger').values(batch).execute()
  return rows.size
}

async function fillLedger(tx: Tx, segments: readonly FoundSegment[]): Promise<void> {
  const shards = new Map<string, Buffer[]>()
  for (const { entries } of segments)
    for (const { object, day } of entries) {
      const shard = ledgerShard(day, object)
      const ids = shards.get(shard)
      if (ids) ids.push(object)
      else shards.set(shard, [object])
    }
  const several = new Set<string>()
  for (const [shard, ids] of shards) {
    await addClosed(tx, shard, ids)
    const { objects } = await tx
      .selectFrom('ledger_closed')
      .select('objects')
      .where('shard', '=', shard)
      .executeTakeFirstOrThrow()
    for (const keyHash of repeatedKeys(asBuffer(objects))) several.add(keyHash)
  }
  const versions = segments.flatMap(({ entries, facts }) =>
    entries
      .filter(({ object }) => several.has(hex(object.subarray(0, KEY_BYTES))))
      .map(({ session, object, lastModified }) => ({
        session,
        key_hash: object.subarray(0, KEY_BYTES),
        segment: facts.segment,
        last_modified: lastModified,
        sequence: 0,
        superseded: 0,
      })),
  )
  for (const row of versions) row.sequence = await sealSequence(tx, row.session)
  for (const rows of Map.groupBy(versions, ({ key_hash }) => hex(key_hash)).values())
    for (const row of supersededOf(rows)) row.superseded = 1
  for (const batch of batches(versions)) await tx.insertInto('versions').values(batch).execute()
}

/** Keys (hex) that stand more than once among sorted objects. */
function* repeatedKeys(objects: Buffer): Generator<string> {
  for (let at = OBJECT_ID_BYTES; at < objects.length; at += OBJECT_ID_BYTES)
    if (objects.compare(objects, at, at + KEY_BYTES, at - OBJECT_ID_BYTES, at - OBJECT_ID_BYTES + KEY_BYTES) === 0)
      yield objects.toString('hex', at, at + KEY_BYTES)
}

/** Numbers go on above everything seen; files that no link names belong to a dead owner, so that a sweep removes them. */
async function fillNumbers(tx: Tx, owner: string, found: Found): Promise<void> {
  const committed = new Set<number>()
  const runs = [...found.runs.map(({ facts }) => facts.run), ...found.runNumbers.keys(), ...found.taskFolders]
  const highest = { segment: 0, event: 0, session: 0, run: Math.max(0, ...runs) }
  for (const { links } of found.chains)
    for (const { link } of links) {
      const facts = segmentOf(link.body)
      if (!facts) continue
      const { segment, id2, session2 } = facts
      committed.add(segment)
      highest.event = Math.max(highest.event, id2 ?? 0)
      highest.session = Math.max(highest.session, session2)
    }
  for (const number of [...committed, ...found.numbers]) highest.segment = Math.max(highest.segment, number)
  for (const [name, number] of Object.entries(highest))
    await tx
      .updateTable('counters')
      .set({ next: number + 1 })
      .where('name', '=', name)
      .execute()
  for (const number of found.numbers)
    if (!committed.has(number))
      await tx.insertInto('ranges').values({ what: 'segment', first: number, count: 1, owner }).execute()
}
