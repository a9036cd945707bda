/**
 * Reads again everything that the chain vouches for, and names each file (and object) that is not as it was committed:
 *
 *     keys       each key file is the key of its name
 *     chain      links follow one another, are signed, and are those that the catalog committed
 *     history    manifests, keysets, session ledgers, findings and reports of every commit; roll-ups say what keysets do
 *     catalog    its rows of live segments say what their links say
 *     segments   each file and its manifest have the digest of their link; sessions, events, rejects, values and tags add up;
 *                keysets open; each object in a pack has its digest as received and decoded
 *
 * The digest of a file is that of its signed link; only where the link itself is damaged, that of the catalog. Files that
 * no commit made are orphans: told, and no fault. Private keys vouch for nothing that was kept, and are not checked.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { asColdtrailError, ColdtrailError, printable } from '../core/errors.ts'
import { anchorFaults, type FoundAnchor } from './anchor.ts'
import type { Catalog, SegmentRow } from './catalog.ts'
import {
  type ChainFault,
  type ChainReport,
  type LinkAction,
  linkFileName,
  type SegmentFacts,
  segmentOf,
  sha256,
  type TagFileFacts,
} from './chain.ts'
import { collectionNames } from './collectionNames.ts'
import { CUSTODY_LOG } from './custody.ts'
import { type Cell, DuckDb, parquetFiles, type Row, throwIfAborted } from './duckdb.ts'
import { type HeldFile, heldPath, isLocal, localDirectories, PLACE_MARK, placedPath } from './heldFile.ts'
import { keysetCopyName } from './history.ts'
import { describeKeyset, openKeyset } from './keyset.ts'
import { listKeysetKeys } from './keysetKeys.ts'
import { directoryDigest, serializeManifest } from './manifest.ts'
import { ARCHIVE_DIRECTORY, LIVE_LOG } from './manifestGenerations.ts'
import { QUARANTINE_LOG } from './quarantine.ts'
import { rollupFaults } from './rollupCheck.ts'
import { ROLLUP_LIST, readRollupList } from './rollups.ts'
import { type SessionRow, segmentFileName } from './segment.ts'
import { packHeader } from './segmentWriter.ts'
import { sessionLedgerName } from './sessionLedger.ts'
import { readSessions } from './sessions.ts'
import { readPublicKeys } from './signingKeys.ts'
import { type HeldTagFile, tagPath } from './tags.ts'
import { copyFaults, custodyFaults } from './verifyCopies.ts'

export interface Fault {
  /** Path of the file at fault. */
  readonly file: string
  /** `damaged`: other bytes than were committed. `inconsistent`: the bytes of its commit, and they contradict another. */
  readonly fault: 'missing' | 'damaged' | 'inconsistent'
  readonly detail: string
  readonly collection?: string
  readonly segment?: number
  /** Key of the object whose bytes these are. */
  readonly object?: string
}

export interface VerifyProgress {
  readonly segments: number
  readonly totalSegments: number
  readonly bytes: number
  readonly totalBytes: number
  readonly faults: number
}

export interface VerifySummary {
  readonly segments: number
  /** Files read, and their bytes. */
  readonly files: number
  readonly bytes: number
  /** Objects whose bytes in a pack were compared. */
  readonly objects: number
  readonly links: number
  readonly orphans: number
  /** Files that are deleted, or taken away from a tier whose volumes may leave: no fault. */
  readonly offline: number
  readonly faults: number
}

/** Undoes an object's codec, told by its first bytes; `size` in bytes as received. */
export type Decode = (received: AsyncIterable<Uint8Array>, size: number) => Promise<AsyncIterable<Uint8Array>>

export interface VerifyOptions {
  readonly catalog: Catalog
  readonly dataDir: string
  readonly decode: Decode
  /** Only these, by comma; workbenches too. Default: all. */
  readonly collection?: string
  /** Heads that a second place knows. */
  readonly anchor?: FoundAnchor
  readonly signal?: AbortSignal
  readonly onFault?: (fault: Fault) => void
  /** Path of a file that no commit made. */
  readonly onOrphan?: (file: string) => void
  readonly onProgress?: (progress: VerifyProgress) => void
}

export async function verifyStore(options: VerifyOptions): Promise<VerifySummary> {
  // Until released, files of segments that are replaced meanwhile stay.
  const hold = await options.catalog.registerReader()
  try {
    if (options.collection === undefined) return await new Verification(options).run()
    const homes = new Map((await options.catalog.workbenches()).map(({ name, home }) => [name, home]))
    const names = collectionNames(options.collection)
    // Of a collection all workbenches are looked at.
    const chosen = names.filter((name) => !names.includes(homes.get(name) ?? ''))
    const summaries: VerifySummary[] = []
    for (const collection of chosen) summaries.push(await new Verification({ ...options, collection }).run())
    return summaries.reduce(added)
  } finally {
    await hold.release()
  }
}

// --- internal ---

function added(a: VerifySummary, b: VerifySummary): VerifySummary {
  const sums = Object.entries(a).map(([name, count]) => [name, count + b[name as keyof VerifySummary]])
  return Object.fromEntries(sums) as Record<keyof VerifySummary, number>
}

/** Bytes read at once. */
const PIECE = 2 ** 20

type Place = Pick<Fault, 'collection' | 'segment' | 'object'>

class Verification {
  private readonly options: VerifyOptions
  private readonly keysDirectory: string
  /** What good links say of segments, by number. */
  private readonly facts = new Map<number, SegmentFacts>()
  /** Likewise of tag files, by name. */
  private readonly tagFacts = new Map<string, TagFileFacts>()
  private readonly faulty = new Set<string>()
  /** What the links say of files that do not lie where they were written, by number and kind. */
  private readonly places = new Map<string, { readonly moved?: string; readonly deleted?: boolean }>()
  /** Paths of files that are offline. */
  private readonly offline = new Set<string>()
  private readonly counts = { segments: 0, files: 0, bytes: 0, objects: 0, links: 0, orphans: 0, offline: 0, faults: 0 }
  private totals = { totalSegments: 0, totalBytes: 0 }

  constructor(options: VerifyOptions) {
    this.options = options
    this.keysDirectory = join(options.dataDir, 'keys')
  }

  async run(): Promise<VerifySummary> {
    const { catalog, collection, dataDir } = this.options
    const benches = await catalog.workbenches(collection)
    if (collection !== undefined && benches.length > 0) return this.workbench(benches[0]!)
    const all = (await this.ofCatalog(() => catalog.segments({ collection }))) ?? []
    this.keys()
    const reports = (await this.ofCatalog(() => catalog.verifyChain(collection))) ?? []
    for (const report of reports) this.chain(report)
    const { anchor } = this.options
    if (anchor)
      for (const fault of anchorFaults(anchor, reports, (name) => this.chainDirectory(name), collection))
        this.report(fault)
    this.heldTagFiles(reports, all)
    await this.history(reports)
    const live = all.filter(({ state }) => state === 'live')
    // Packs of replaced segments hold the objects of those that replaced them.
    const packs = new Set(live.flatMap((segment) => segment.packs))
    const retired = all.filter(({ state, segment }) => state === 'retired' && packs.has(segment))
    const sizes = [...live.flatMap(({ files, tags }) => [...files, ...tags]), ...retired.flatMap(logFiles)].map(
      ({ size }) => size,
    )
    this.totals = { totalSegments: live.length, totalBytes: sizes.reduce((sum, size) => sum + size, 0) }
    const directories = [...new Set([dataDir, ...localDirectories(all)])]
    const duckdb = await DuckDb.open({ directories, tempDirectory: join(dataDir, 'spill') })
    try {
      for (const segment of retired) for (const file of logFiles(segment)) await this.segmentFile(segment, file)
      const packPaths = new Map(
        all.flatMap((segment) => logFiles(segment).map(() => [segment.segment, packPath(segment)])),
      )
      for (const segment of live) {
        await this.segment(segment, duckdb, packPaths)
        this.counts.segments += 1
        this.progress()
      }
    } finally {
      duckdb.close()
    }
    const homes = new Set(reports.map((report) => report.collection))
    for (const { name, home } of await catalog.workbenches()) if (homes.has(home)) await this.copies(name)
    await this.orphans(reports)
    return { ...this.counts }
  }

  /** Only copies, and the chain of the home that vouches for them. */
  private async workbench({ name, home }: { readonly name: string; readonly home: string }): Promise<VerifySummary> {
    this.keys()
    const { catalog } = this.options
    for (const report of (await this.ofCatalog(() => catalog.verifyChain(home))) ?? []) this.chain(report)
    await this.copies(name)
    return { ...this.counts }
  }

  private async copies(workbench: string): Promise<void> {
    const { catalog, signal } = this.options
    const onFile = (bytes: number): void => {
      this.counts.files += 1
      this.counts.bytes += bytes
    }
    for await (const fault of copyFaults(catalog, workbench, { signal, onFile })) this.report(fault)
    this.counts.segments += (await catalog.workbenches(workbench))[0]?.segments ?? 0
  }

  /** Damage of the catalog that keeps it from answering. */
  private async ofCatalog<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof ColdtrailError) || !/^E_(MANIFEST|LINK)_/.test(error.code)) throw error
      this.report({ file: this.catalogName, fault: 'damaged', detail: error.message })
      return undefined
    }
  }

  private get catalogName(): string {
    const { catalog, dataDir } = this.options
    return catalog.dialect === 'sqlite' ? join(dataDir, 'catalog.db') : 'the catalog'
  }

  private keys(): void {
    for (const { path, reason } of readPublicKeys(this.options.dataDir)) {
      this.counts.files += 1
      if (reason !== undefined) this.report({ file: path, fault: 'damaged', detail: reason })
    }
    try {
      listKeysetKeys(this.options.dataDir)
    } catch (thrown) {
      const error = asColdtrailError(thrown)
      if (error.code !== 'E_KEYSET_KEY') throw thrown
      // A key that is kept from this user is not damaged.
      if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES') return
      const file = join(this.keysDirectory, `keyset-${error.values.epoch}.key`)
      this.report({ file, fault: 'damaged', detail: String(error.values.reason) })
    }
  }

  private chain(report: ChainReport): void {
    const { collection, links, faults } = report
    for (const fault of custodyFaults(this.options.catalog, report)) this.report(fault)
    this.counts.links += links.length
    this.counts.files += links.length
    const byNumber = Map.groupBy(faults, ({ number }) => number)
    for (const [number, all] of byNumber) {
      // A link does not follow a damaged one: only that one is at fault.
      const own = all.filter(({ fault }) => fault !== 'prev' || !byNumber.has(number - 1))
      if (own.length === 0) continue
      const link = links.find(({ link }) => link.number === number)?.link
      const file = join(this.chainDirectory(collection), linkFileName(number))
      const detail = own.map(({ detail }) => detail).join('; ')
      if (link && own.every(({ fault }) => fault === 'unknown-key')) {
        const key = join(this.keysDirectory, `sign-${printable(link.key, 40)}.pub`)
        if (!this.faulty.has(key))
          this.report({ file: key, fault: 'missing', detail: `link ${number} needs it`, collection })
      } else this.report({ file, fault: own.some(isMissing) ? 'missing' : 'damaged', detail, collection })
    }
    for (const { link } of links) {
      const { body } = link
      const isGood = (byNumber.get(link.number) ?? []).every(({ fault }) => fault === 'prev' || fault === 'unknown-key')
      const segment = segmentOf(body)
      if (isGood && segment) this.facts.set(segment.segment, segment)
      if (body.action === 'move')
        for (const { segment, kind, to } of body.files) this.places.set(`${segment} ${kind}`, { moved: to.directory })
      else if (body.action === 'delete' && body.workbench === undefined)
        for (const { segment, kind } of body.files) {
          const key = `${segment} ${kind}`
          this.places.set(key, { ...this.places.get(key), deleted: true })
        }
      if (isGood && body.action === 'tag') for (const file of body.files) this.tagFacts.set(file.name, file)
      if (isGood && body.action === 'erase') for (const file of body.tags) this.tagFacts.set(file.name, file)
    }
  }

  /** Each tag file of a run that was not removed is one of a live segment, in the catalog too. */
  private heldTagFiles(reports: readonly ChainReport[], all: readonly SegmentRow[]): void {
    const held = new Set(all.flatMap(({ tags }) => tags.map(({ name }) => name)))
    for (const { collection, links } of reports) {
      const bodies = links.map(({ link }) => link.body)
      const removed = new Set(
        bodies.flatMap((body) => {
          if (body.action === 'remove-run') return body.files
          if (body.action === 'erase') return body.before.map(({ name }) => name)
          return body.action === 'delete' && body.workbench === undefined ? body.files.map(({ name }) => name) : []
        }),
      )
      for (const {
        link: { body, number },
      } of links)
        if (body.action === 'tag' || body.action === 'erase')
          for (const { name, segment } of body.action === 'tag' ? body.files : body.tags)
            if (!held.has(name) && !removed.has(name)) {
              const detail = `it does not have ${name}, which link ${number} names`
              this.report({ file: this.catalogName, fault: 'damaged', detail, collection, segment })
            }
    }
  }

  private async history(reports: readonly ChainReport[]): Promise<void> {
    const { catalog, collection } = this.options
    for (const fault of (await this.ofCatalog(() => catalog.verifyHistory(collection))) ?? []) {
      const { collection, segment } = fault
      const [name, what] = fault.file.split(': ') as [string, string?]
      const archive = join(catalog.manifestDirectory(collection), ARCHIVE_DIRECTORY)
      const live = join(catalog.manifestDirectory(collection), name)
      // There is no live log right after it was archived.
      const file = what !== undefined && !existsSync(live) && existsSync(archive) ? archive : live
      if (!existsSync(file)) this.missing(file, { collection })
      else if (what === undefined) this.report({ file, fault: fault.fault, detail: OF_LINK, collection, segment })
      else this.report({ file, fault: 'damaged', detail: `it lacks ${what} as it was committed`, collection, segment })
    }
    for (const { collection, links } of reports) {
      this.counts.files += 1
      for (const { link } of links) this.counts.files += historyFiles(link.body)
      const sealed = [...this.facts].flatMap(([segment, { keyset }]) =>
        keyset === null ? [] : [[segment, keyset] as const],
      )
      const directory = catalog.manifestDirectory(collection)
      for (const { name, ...fault } of rollupFaults(directory, new Map(sealed), this.options.signal))
        this.report({ file: join(directory, name), ...fault, collection })
      const file = join(catalog.manifestDirectory(collection), LIVE_LOG)
      if (!existsSync(file) || this.faulty.has(file)) continue
      try {
        for (const _ of catalog.manifests({ collection, replaced: true })) throwIfAborted(this.options.signal)
      } catch (error) {
        if (!(error instanceof ColdtrailError) || !/^E_(MANIFEST_|SEGMENT_READ)/.test(error.code)) throw error
        this.report({ file, fault: 'damaged', detail: error.message, collection })
      }
    }
  }

  private async segment(row: SegmentRow, duckdb: DuckDb, packs: ReadonlyMap<number, string>): Promise<void> {
    this.catalogRow(row)
    const { rows, rejects, session1, session2 } = this.facts.get(row.segment) ?? row
    const segment = { ...row, rows, rejects, session1, session2 }
    for (const file of segment.files) await this.segmentFile(segment, file)
    const sessions = await this.contents(segment, 'session', async () => {
      const sessions = await readSessions(duckdb, segment)
      this.sessions(segment, sessions)
      return sessions
    })
    await this.contents(segment, 'meta', async () => {
      const path = heldPath(segment, 'meta')
      const sql = `SELECT session_id, count(*) AS n, min(id) AS id1, max(id) AS id2 FROM ${parquetFiles([path])} GROUP BY 1`
      const groups = await duckdb.rows({ sql, files: [path] })
      if (sessions) this.eachSession(segment, 'meta', sessions, groups, ({ events, id1, id2 }) => [events, id1, id2])
    })
    if (segment.files.some(({ kind }) => kind === 'reject'))
      await this.contents(segment, 'reject', async () => {
        const path = heldPath(segment, 'reject')
        const sql = `SELECT session_id, count(*) AS n FROM ${parquetFiles([path])} GROUP BY 1`
        const groups = await duckdb.rows({ sql, files: [path] })
        if (sessions) this.eachSession(segment, 'reject', sessions, groups, ({ rejects }) => [rejects])
      })
    await this.indexContents(segment, duckdb)
    for (const file of row.tags) await this.tagFile(row, file, duckdb)
    for (const [pack, list] of Map.groupBy(sessions ?? [], ({ pack_segment }) => pack_segment)) {
      if (pack === null) continue
      const path = packs.get(pack) ?? join(segment.directory, segmentFileName('log', pack))
      await this.objects(segment, path, list)
    }
  }

  /** The catalog's row of a segment against its link. */
  private catalogRow(row: SegmentRow): void {
    const facts = this.facts.get(row.segment)
    if (!facts) return
    const { directory, files, packs } = facts
    const lines = (list: readonly { name: string; size: number; sha256: string }[], manifests: readonly string[]) =>
      list
        .map(({ name, size, sha256 }, i) => `${name} ${size} ${sha256} ${manifests[i]}`)
        .sort()
        .join()
    const committed = lines(
      files,
      files.map(({ manifest }) => manifest),
    )
    const held = lines(
      row.files,
      row.files.map(({ manifest }) => sha256(serializeManifest(manifest))),
    )
    const others = FACTS.filter((name) => facts[name] !== row[name]) as string[]
    if (resolve(this.options.dataDir, directory) !== row.directory) others.push('directory')
    if (packs.join() !== row.packs.join()) others.push('packs')
    for (const file of row.files) {
      const { moved, deleted } = this.places.get(`${row.segment} ${file.kind}`) ?? {}
      if (absolute(this.options.dataDir, moved ?? directory) !== file.directory) others.push(`place of ${file.kind}`)
      else if ((deleted ?? false) !== file.deleted) others.push(`deletion of ${file.kind}`)
    }
    if (committed !== held) others.push('files')
    if (others.length === 0) return
    const detail = `its row of the segment is not as link ${row.sequence} has it: ${others.join(', ')}`
    this.report({ file: this.catalogName, fault: 'damaged', detail, ...placeOf(row) })
  }

  /** Bytes of a file and of its manifest. */
  private async segmentFile(row: SegmentRow, file: HeldFile): Promise<void> {
    const facts = this.facts.get(row.segment)
    const committed = facts?.files.find(({ name }) => name === file.name)
    const place = placeOf(row)
    const path = placedPath(file.directory, file.name)
    if (this.isOffline(file)) {
      this.counts.offline += 1
      this.offline.add(path)
      return
    }
    const manifest = await this.digest(`${path}.manifest`, place)
    if (manifest && manifest.sha256 !== (committed?.manifest ?? sha256(serializeManifest(file.manifest))))
      this.report({ file: `${path}.manifest`, fault: 'damaged', detail: OF_LINK, ...place })
    const expected = committed ?? file
    if (file.kind === 'index') await this.index(path, expected, facts, place)
    else {
      const actual = await this.digest(path, place)
      if (actual && !isSame(actual, expected))
        this.report({ file: path, fault: 'damaged', detail: differing(actual, expected), ...place })
    }
  }

  /** Deleted, or taken away from a tier whose volumes may leave: no fault, and nothing to be read. */
  private isOffline({ deleted, tier, directory, name }: HeldFile): boolean {
    if (deleted || !isLocal(directory)) return true
    if (tier === 'hot' || existsSync(join(directory, name))) return false
    // Cold is where volumes are taken away from; of a warm one that is mounted nothing may be missing.
    return tier === 'cold' || !existsSync(join(dirname(directory), PLACE_MARK))
  }

  /** The digest of an index is of its list of files; that of its keyset is known by itself, so each can be told apart. */
  private async index(path: string, expected: Digest, facts: SegmentFacts | undefined, place: Place): Promise<void> {
    const named = (name: string, digest: Digest) => ({ name, ...digest })
    const values = await this.digest(join(path, VALUES), place)
    const hasKeyset = facts ? facts.keyset !== null : existsSync(join(path, KEYSET))
    if (!hasKeyset) {
      if (values && !isSame(directoryDigest([named(VALUES, values)]), expected)) this.damaged(join(path, VALUES), place)
      return
    }
    const keyset = await this.digest(join(path, KEYSET), place)
    if (values && keyset && isSame(directoryDigest([named(VALUES, values), named(KEYSET, keyset)]), expected)) return
    if (!facts?.keyset) return this.damaged(path, place)
    if (keyset && keyset.sha256 !== facts.keyset) this.damaged(join(path, KEYSET), place)
    if (!values) return
    const committed = { size: expected.size - values.size, sha256: facts.keyset }
    const isWhole = isSame(directoryDigest([named(VALUES, values), named(KEYSET, committed)]), expected)
    if (!isWhole) this.damaged(join(path, VALUES), place)
  }

  private sessions(segment: SegmentRow, sessions: readonly SessionRow[]): void {
    const sum = (count: (session: SessionRow) => number) =>
      sessions.reduce((total, session) => total + count(session), 0)
    const ids = sessions.map(({ session_id }) => session_id)
    const found = [sum(({ events }) => events), sum(({ rejects }) => rejects), ids[0] ?? null, ids.at(-1) ?? null]
    const { rows, rejects, session1, session2 } = segment
    this.equal(
      segment,
      'session',
      found,
      [rows, rejects, session1, session2],
      'events, rejects, first and last session',
    )
  }

  /** Rows of a file by session, against what the session says of them. */
  private eachSession(
    segment: SegmentRow,
    kind: 'meta' | 'reject',
    sessions: readonly SessionRow[],
    groups: readonly Row[],
    said: (session: SessionRow) => readonly Cell[],
  ): void {
    const bySession = new Map(groups.map(({ session_id, ...counts }) => [session_id, Object.values(counts)]))
    for (const session of sessions) {
      const expected = said(session)
      const found = bySession.get(session.session_id) ?? [0, ...expected.slice(1).map(() => null)]
      this.equal(segment, kind, found, expected, `rows of session ${session.session_id}`)
      bySession.delete(session.session_id)
    }
    for (const session of bySession.keys())
      this.equal(segment, kind, [session ?? null], [null], 'rows of a session that is not there')
  }

  /** Its bytes, its order, and that each event it names is one of the segment. */
  private async tagFile(segment: SegmentRow, file: HeldTagFile, duckdb: DuckDb): Promise<void> {
    const path = tagPath(file)
    const place = placeOf(segment)
    const committed = this.tagFacts.get(file.name)
    const expected = committed ?? file
    const manifest = await this.digest(`${path}.manifest`, place)
    if (manifest && manifest.sha256 !== (committed?.manifest ?? sha256(serializeManifest(file.manifest))))
      this.report({ file: `${path}.manifest`, fault: 'damaged', detail: OF_LINK, ...place })
    const actual = await this.digest(path, place)
    if (actual && !isSame(actual, expected))
      this.report({ file: path, fault: 'damaged', detail: differing(actual, expected), ...place })
    const meta = heldPath(segment, 'meta')
    if (this.faulty.has(meta) || !existsSync(meta)) return
    await this.contents(
      segment,
      'tag',
      async () => {
        const relation = parquetFiles([path], 'file_row_number = true')
        const sql = `SELECT count(*) AS n, count(*) FILTER (WHERE meta.id IS NULL) AS strange,
            count(*) FILTER (WHERE NOT isSorted) AS unsorted
          FROM (SELECT id, lag(id) OVER w IS NULL OR (lag(id) OVER w, lag(label) OVER w, lag(plugin) OVER w, lag(rule) OVER w)
              < (id, label, plugin, rule) AS isSorted FROM ${relation} WINDOW w AS (ORDER BY file_row_number)) AS tag
          LEFT JOIN (SELECT id FROM ${parquetFiles([meta])}) AS meta ON tag.id = meta.id`
        const [row] = await duckdb.rows({ sql, files: [path, meta] })
        const found = [row!.n!, row!.strange!, row!.unsorted!]
        this.equal(segment, 'tag', found, [expected.rows, 0, 0], 'tags, those of no event, those out of order', path)
      },
      path,
    )
  }

  private async indexContents(segment: SegmentRow, duckdb: DuckDb): Promise<void> {
    const index = segment.files.find(({ kind }) => kind === 'index')
    if (!index) return
    const path = heldPath(segment, 'index')
    const columns = segment.files.find(({ kind }) => kind === 'meta')?.manifest.columns ?? {}
    const values = join(path, VALUES)
    await this.contents(
      segment,
      'index',
      async () => {
        const sql = `SELECT column_name, count(*) AS ndv, sum(count) AS n FROM ${parquetFiles([values])} GROUP BY 1`
        for (const { column_name, ndv, n } of await duckdb.rows({ sql, files: [values] })) {
          const said = columns[String(column_name)]
          const expected = [said?.ndv ?? null, said ? segment.rows - said.nulls : null]
          this.equal(segment, 'index', [ndv!, n!], expected, `values and rows of ${column_name}`, values)
        }
      },
      values,
    )
    const keyset = join(path, KEYSET)
    const said = index.manifest.keyset
    if (said && existsSync(keyset))
      await this.contents(
        segment,
        'index',
        async () => {
          const { file: _file, sha256: _digest, ...described } = said
          const found = describeKeyset(openKeyset(await readWhole(keyset), keyset).content())
          const sorted = (value: typeof described) =>
            JSON.stringify(Object.entries({ ...value, n: Object.entries(value.n).sort() }).sort())
          this.equal(segment, 'index', [sorted(found)], [sorted(described)], 'description of the keyset', keyset)
        },
        keyset,
      )
  }

  /** Each object of a pack: its bytes as received, and decoded. */
  private async objects(segment: SegmentRow, path: string, sessions: readonly SessionRow[]): Promise<void> {
    if (this.offline.has(path)) return
    if (!isFile(path)) return this.missing(path, placeOf(segment))
    const handle = await open(path)
    try {
      const number = Number(/(\d+)\.pack$/.exec(path)?.[1])
      const header = packHeader(number)
      if ((await hashOf(this.slice(handle, 0, header.length))).sha256 !== sha256(header))
        this.report({
          file: path,
          fault: 'damaged',
          detail: 'it does not begin as a pack of its number',
          ...placeOf(segment),
        })
      for (const session of sessions) {
        const { key, pack_offset: offset, pack_length: length, sha256_received, sha256_decoded, decoded_size } = session
        const place = { ...placeOf(segment), object: key }
        const received = () => this.slice(handle, offset!, length!)
        this.counts.objects += 1
        if ((await hashOf(received())).sha256 !== sha256_received) {
          const detail = `bytes ${offset} to ${offset! + length!} are not those of session ${session.session_id} as received`
          this.report({ file: path, fault: 'damaged', detail, ...place })
          continue
        }
        const decoded = await this.options.decode(received(), length!).then(hashOf).catch(messageOf)
        const expected = { size: decoded_size, sha256: sha256_decoded }
        if (typeof decoded === 'object' && isSame(decoded, expected)) continue
        throwIfAborted(this.options.signal)
        const why =
          typeof decoded === 'string' ? `does not decode: ${decoded}` : 'decodes to other bytes than its session says'
        this.report({ file: path, fault: 'inconsistent', detail: `session ${session.session_id} ${why}`, ...place })
      }
    } finally {
      await handle.close()
    }
  }

  private async orphans(reports: readonly ChainReport[]): Promise<void> {
    const { catalog, dataDir, collection } = this.options
    const collections = collection === undefined ? namesIn(join(dataDir, 'collections')) : [collection]
    const directories = collections.map((name) => join(dataDir, 'collections', name))
    // What lies there first: what is committed meanwhile is then no orphan.
    const found = directories.flatMap((directory) => namesIn(directory).map((name) => join(directory, name)))
    const rows = (await this.ofCatalog(() => catalog.segments())) ?? []
    const paths = rows.flatMap((row) => row.files.map(({ directory, name }) => placedPath(directory, name)))
    paths.push(...rows.flatMap(({ tags }) => tags.map(tagPath)))
    // What a move or a deletion has left waits for the sweep.
    paths.push(
      ...((await this.ofCatalog(() => catalog.leftFiles())) ?? []).map((file) => placedPath(file.directory, file.name)),
    )
    const known = new Set(paths.flatMap((path) => [path, `${path}.manifest`]))
    for (const path of removedTagFiles(reports, found)) known.add(path)
    const orphans = found.filter((path) => !known.has(path))
    for (const row of rows.filter(({ state }) => state === 'live'))
      for (const name of namesIn(heldPath(row, 'index')))
        if (name !== VALUES && name !== KEYSET) orphans.push(join(heldPath(row, 'index'), name))
    for (const { collection, links, aboveHead } of reports) {
      const directory = catalog.manifestDirectory(collection)
      const made = links.flatMap(({ link }) => segmentOf(link.body)?.segment ?? [])
      const numbers = [...made, ...rows.map(({ segment }) => segment)]
      const kept = new Set(numbers.flatMap((number) => [sessionLedgerName(number), keysetCopyName(number)]))
      for (const { link } of links) {
        if (link.body.action === 'finding') kept.add(link.body.findings.name)
        else if (link.body.action === 'tag') kept.add(link.body.report.name)
        else if (link.body.action === 'erase') for (const { name } of link.body.findings) kept.add(name)
      }
      for (const { name } of readRollupList(directory).files) kept.add(name)
      for (const name of namesIn(directory))
        if (
          !kept.has(name) &&
          name !== LIVE_LOG &&
          name !== QUARANTINE_LOG &&
          name !== CUSTODY_LOG &&
          name !== 'chain' &&
          name !== ROLLUP_LIST &&
          name !== ARCHIVE_DIRECTORY
        )
          orphans.push(join(directory, name))
      orphans.push(...aboveHead.map((number) => join(this.chainDirectory(collection), linkFileName(number))))
    }
    this.counts.orphans = orphans.length
    for (const orphan of orphans) this.options.onOrphan?.(orphan)
  }

  /** Runs a check of what a file holds, unless its bytes are known to be wrong. */
  private async contents<T>(
    segment: SegmentRow,
    kind: 'session' | 'meta' | 'reject' | 'index' | 'tag',
    check: () => Promise<T>,
    path = kind === 'tag' ? '' : heldPath(segment, kind),
  ): Promise<T | undefined> {
    throwIfAborted(this.options.signal)
    if (this.faulty.has(path) || this.faulty.has(dirname(path)) || !existsSync(path)) return undefined
    try {
      return await check()
    } catch (thrown) {
      const error = asColdtrailError(thrown)
      if (!['E_SEGMENT_READ', 'E_QUERY', 'E_KEYSET_CORRUPT', 'E_KEYSET_VERSION'].includes(error.code)) throw error
      const detail = `it cannot be read: ${error.values.cause ?? error.message}`
      this.report({ file: path, fault: 'inconsistent', detail, ...placeOf(segment) })
      return undefined
    }
  }

  private equal(
    segment: SegmentRow,
    kind: 'session' | 'meta' | 'reject' | 'index' | 'tag',
    found: readonly Cell[],
    expected: readonly Cell[],
    what: string,
    file = kind === 'tag' ? '' : heldPath(segment, kind),
  ): void {
    if (found.length === expected.length && found.every((value, i) => value === expected[i])) return
    const detail = `${what}: ${found.join(', ')} instead of ${expected.join(', ')}`
    this.report({ file, fault: 'inconsistent', detail, ...placeOf(segment) })
  }

  /** Size and SHA-256 of a file; undefined when it is not there, which is then reported. */
  private async digest(path: string, place: Place): Promise<Digest | undefined> {
    if (!isFile(path)) {
      this.missing(path, place)
      return undefined
    }
    const handle = await open(path)
    try {
      const digest = await hashOf(this.slice(handle, 0, Number.POSITIVE_INFINITY, true))
      this.counts.files += 1
      return digest
    } finally {
      await handle.close()
    }
  }

  private async *slice(handle: FileHandle, offset: number, length: number, counts = false): AsyncGenerator<Buffer> {
    for (let at = 0; at < length; ) {
      throwIfAborted(this.options.signal)
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(Math.min(PIECE, length - at)), {
        position: offset + at,
      })
      if (bytesRead === 0) return
      at += bytesRead
      if (counts) {
        this.counts.bytes += bytesRead
        this.progress()
      }
      yield buffer.subarray(0, bytesRead)
    }
  }

  private missing(file: string, place: Place): void {
    if (!this.faulty.has(file)) this.report({ file, fault: 'missing', detail: 'it does not exist', ...place })
  }

  private damaged(file: string, place: Place): void {
    this.report({ file, fault: 'damaged', detail: OF_LINK, ...place })
  }

  private report(fault: Fault): void {
    this.faulty.add(fault.file)
    this.counts.faults += 1
    this.options.onFault?.(fault)
  }

  private progress(): void {
    const { segments, bytes, faults } = this.counts
    this.options.onProgress?.({ segments, bytes, faults, ...this.totals })
  }

  private chainDirectory(collection: string): string {
    return join(this.options.catalog.manifestDirectory(collection), 'chain')
  }
}

/** Tag files of removed runs: they wait for their removal, and are no orphans. */
function removedTagFiles(reports: readonly ChainReport[], found: readonly string[]): string[] {
  const bodies = reports.flatMap(({ links }) => links.map(({ link }) => link.body))
  const names = new Set(bodies.flatMap((body) => (body.action === 'remove-run' ? body.files : [])))
  return found.filter((path) => names.has(basename(path).replace(/\.manifest$/, '')))
}

/** Files of the history, beside the manifests, that a link vouches for. */
function historyFiles(body: LinkAction): number {
  const segment = segmentOf(body)
  if (segment) return segment.keyset === null ? 1 : 2
  return body.action === 'finding' || body.action === 'tag' ? 1 : 0
}

interface Digest {
  readonly size: number
  readonly sha256: string
}

const VALUES = 'values.parquet'
const KEYSET = 'keyset.ks'
const OF_LINK = 'its bytes are not those that the chain vouches for'

/** Facts of a link that the catalog repeats as they are. */
const FACTS = [
  ...(['format', 'day', 'id1', 'id2', 'session1', 'session2', 'time1', 'time2'] as const),
  ...(['rows', 'rejects', 'raw_bytes'] as const),
] as const

/** A directory as a link has it. */
const absolute = (dataDir: string, stored: string): string => (isLocal(stored) ? resolve(dataDir, stored) : stored)

const isMissing = ({ fault }: ChainFault): boolean => fault === 'missing' || fault === 'truncated'
const isSame = (a: Digest, b: Digest): boolean => a.size === b.size && a.sha256 === b.sha256
const differing = (actual: Digest, expected: Digest): string =>
  actual.size === expected.size ? OF_LINK : `it has ${actual.size} bytes instead of ${expected.size}`

const placeOf = ({ collection, segment }: SegmentRow): Place => ({ collection, segment })
const packPath = (segment: SegmentRow): string => heldPath(segment, 'log')
const logFiles = ({ files }: SegmentRow): HeldFile[] => files.filter(({ kind }) => kind === 'log')
const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile()
/** None where something else stands in its place: what should be in it is missing then. */
const namesIn = (directory: string): string[] =>
  existsSync(directory) && statSync(directory).isDirectory() ? readdirSync(directory).sort() : []
const messageOf = (error: unknown): string => printable(error instanceof Error ? error.message : String(error))

async function hashOf(pieces: AsyncIterable<Uint8Array>): Promise<Digest> {
  const hash = createHash('sha256')
  let size = 0
  for await (const piece of pieces) {
    hash.update(piece)
    size += piece.length
  }
  return { size, sha256: hash.digest('hex') }
}

async function readWhole(path: string): Promise<Buffer> {
  const handle = await open(path)
  try {
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}
