/**
 * A case: what somebody else needs to check events without any program of ours. Written into a folder; `verify.mjs` in it
 * proves each record up to the signed head of the chain. What is in it, file by file: docs/design.md §18.
 */
import {
  createReadStream,
  createWriteStream,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import canonicalize from 'canonicalize'
import { EVENT_COLUMNS } from '../../core/columns.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { isoTimeText } from '../../core/isoTime.ts'
import { TAR_END, tarHeader, tarPadding } from '../../core/tarHeader.ts'
import { attempt, createDurableFile, makeDirectory, syncDirectory, writeDurably } from '../../platform/files.ts'
import { parseAnchor } from '../anchor.ts'
import type { Catalog, SegmentRow } from '../catalog.ts'
import { linkFileName } from '../chain.ts'
import { DuckDb, throwIfAborted } from '../duckdb.ts'
import { digestOfFile, HashedFile } from '../hashedFile.ts'
import { heldPath, isHeldHere, localDirectories } from '../heldFile.ts'
import { serializeManifest } from '../manifest.ts'
import { exportEvents } from '../parquet/exportEvents.ts'
import type { Answer, EventRow, SearchQuestion, StoreReader } from '../search.ts'
import type { SessionRow } from '../segment.ts'
import { readSessions } from '../sessions.ts'
import type { SigningKey } from '../signingKeys.ts'
import type { Decode } from '../verify.ts'
import { caseReadme } from './readme.ts'

export const CASE_FORMAT = 1

export interface CaseOptions {
  readonly catalog: Catalog
  readonly reader: StoreReader
  readonly dataDir: string
  readonly key: SigningKey
  /** PEM of its public half. */
  readonly publicKey: string
  readonly decode: Decode
  readonly producer: string
  readonly question: Omit<SearchQuestion, 'columns' | 'order' | 'distinct'>
  /** As it was asked, for the record. */
  readonly asked: Readonly<Record<string, string | undefined>>
  /** A folder, or a name that ends in .tar.gz or .tgz. Must not be there. */
  readonly out: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly objects: number; readonly totalObjects: number }) => void
}

export interface CaseSummary {
  readonly out: string
  readonly events: number
  readonly sessions: number
  readonly objects: number
  /** Objects whose bytes are not in the case, and why. */
  readonly missing: readonly { readonly session: number; readonly key: string; readonly reason: string }[]
  readonly links: number
  readonly bytes: number
  /** Whether the answer could look at everything; `why` not. */
  readonly complete: boolean
  readonly why: Answer['why']
  /** Id of the key that signed it. */
  readonly keyId: string
}

/** E_CASE_EXISTS, E_CASE_EMPTY; E_SEGMENT_READ when an object is not as it was collected: then nothing is left of the case. */
export async function exportCase(options: CaseOptions): Promise<CaseSummary> {
  const { out } = options
  if (existsSync(out)) throw new ColdtrailError('E_CASE_EXISTS', { path: out })
  const isArchive = /\.(tar\.gz|tgz)$/.test(out)
  const folder = `${out}.partial`
  rmSync(folder, { recursive: true, force: true })
  // Until released, the files of the answer's segments stay.
  const hold = await options.catalog.registerReader()
  try {
    makeDirectory(folder)
    const summary = await new CaseWriter(options, folder).write()
    if (isArchive) await pack(folder, out)
    else attempt(out, () => renameDurably(folder, out))
    return { ...summary, bytes: isArchive ? statSync(out).size : summary.bytes }
  } finally {
    await hold.release()
    rmSync(folder, { recursive: true, force: true })
  }
}

// --- internal ---

const VERIFIER = new URL('./verify.mjs', import.meta.url)

/** What is kept of an event until its record is found. */
interface Place {
  readonly uid: string
  readonly id: number
  readonly ordinal: number
  readonly offset: number
  readonly length: number
}

class CaseWriter {
  private readonly options: CaseOptions
  private readonly folder: string

  constructor(options: CaseOptions, folder: string) {
    this.options = options
    this.folder = folder
  }

  async write(): Promise<CaseSummary> {
    const { catalog, question, signal, key, dataDir } = this.options
    // The head first: what is committed meanwhile is not of this case.
    const anchorBytes = await catalog.anchor()
    const places = new Map<number, Place[]>()
    const answer = await this.events(places)
    const events = [...places.values()].reduce((sum, list) => sum + list.length, 0)
    if (events === 0) throw new ColdtrailError('E_CASE_EMPTY', {})
    const rows = await catalog.segments({ collection: question.collection })
    const duckdb = await DuckDb.open({ directories: localDirectories(rows), tempDirectory: join(dataDir, 'spill') })
    let found: { sessions: SessionRow[]; segments: SegmentRow[] }
    try {
      found = await this.sessions(rows, [...places.keys()], duckdb)
    } finally {
      duckdb.close()
    }
    const { sessions, segments } = found
    const missing = await this.objects(rows, sessions, places)
    makeDirectory(join(this.folder, 'segments'))
    for (const segment of segments) await this.copy(heldPath(segment, 'session'), 'segments')
    const home = segments[0]!.files[0]!.manifest.collection
    const manifests = segments.map(({ files }) =>
      serializeManifest(files.find(({ kind }) => kind === 'session')!.manifest),
    )
    this.put('manifests.ndjson', Buffer.concat(manifests))
    const head = parseAnchor(anchorBytes, 'anchor').chains.find(({ collection }) => collection === home)!
    const first = Math.min(...segments.map(({ sequence }) => sequence))
    this.put('anchor.json', anchorBytes)
    this.links(home, first, head.number)
    this.put('public-key.pem', this.options.publicKey)
    this.put('verify.mjs', readFileSync(VERIFIER))
    const told = { events, sessions: sessions.length, missing, complete: answer.complete, why: answer.why }
    this.put('README.md', caseReadme({ ...told, keyId: key.id, collection: home, head }))
    throwIfAborted(signal)

    const files = []
    for (const name of this.names()) files.push({ name, ...(await digestOfFile(join(this.folder, name), signal)) })
    const facts = {
      ...{ v: CASE_FORMAT, created: Date.now() * 1000, producer: this.options.producer, asked: this.options.asked },
      ...{ ...told, chain: { collection: home, first, number: head.number, hash: head.hash }, files, key: key.id },
    }
    const sig = key.sign(Buffer.from(canonicalize(facts)!))
    const bytes = `${canonicalize({ ...facts, sig })}\n`
    this.put('case.json', bytes)
    return {
      ...{ ...told, out: this.options.out, objects: sessions.length - missing.length, keyId: key.id },
      links: head.number - first + 1,
      bytes: files.reduce((sum, { size }) => sum + size, bytes.length),
    }
  }

  /** Events as Parquet and as JSON lines, and where their records are, by session. */
  private async events(places: Map<number, Place[]>): Promise<Answer> {
    const { reader, question } = this.options
    const columns = ['uid', 'tag', ...EVENT_COLUMNS.map(({ name }) => name)]
    const found = await reader.search({ ...question, order: 'id', columns })
    const file = new HashedFile(join(this.folder, 'events.ndjson'))
    async function* rows() {
      for await (const row of found.rows) {
        const { uid, id, ordinal, session_id, record_offset, record_length } = row as Record<string, number | string>
        const session = session_id as number
        const place = { uid: String(uid), id: id as number, ordinal: ordinal as number }
        const list = places.get(session) ?? []
        list.push({ ...place, offset: record_offset as number, length: record_length as number })
        places.set(session, list)
        file.write(Buffer.from(`${JSON.stringify(eventLine(row))}\n`))
        yield row
      }
    }
    try {
      await exportEvents({ columns: found.columns, rows: rows() }, join(this.folder, 'events.parquet'))
      file.publish()
    } catch (error) {
      file.discard()
      throw error
    }
    return found
  }

  private async sessions(
    rows: readonly SegmentRow[],
    wanted: readonly number[],
    duckdb: DuckDb,
  ): Promise<{ sessions: SessionRow[]; segments: SegmentRow[] }> {
    const sessions = new Map<number, SessionRow>()
    const segments: SegmentRow[] = []
    for (const row of rows.filter(({ state }) => state === 'live')) {
      const own = new Set(wanted.filter((id) => id >= row.session1 && id <= row.session2 && !sessions.has(id)))
      if (own.size === 0 || !isHeldHere(row, 'session')) continue
      const found = (await readSessions(duckdb, row)).filter(({ session_id }) => own.has(session_id))
      for (const session of found) sessions.set(session.session_id, session)
      if (found.length > 0) segments.push(row)
    }
    const ordered = [...sessions.values()].sort((a, b) => a.session_id - b.session_id)
    this.put('sessions.ndjson', ordered.map((session) => `${JSON.stringify(session)}\n`).join(''))
    return { sessions: ordered, segments }
  }

  /** Objects as received, and the records in them; answers which objects are not here. */
  private async objects(
    rows: readonly SegmentRow[],
    sessions: readonly SessionRow[],
    places: ReadonlyMap<number, readonly Place[]>,
  ): Promise<{ session: number; key: string; reason: string }[]> {
    const { signal, onProgress } = this.options
    const missing: { session: number; key: string; reason: string }[] = []
    makeDirectory(join(this.folder, 'objects'))
    const records = new HashedFile(join(this.folder, 'records.bin'))
    const index = new HashedFile(join(this.folder, 'records.ndjson'))
    try {
      for (const [at, session] of sessions.entries()) {
        throwIfAborted(signal)
        onProgress?.({ objects: at, totalObjects: sessions.length })
        const { session_id, pack_segment, key } = session
        const pack = rows.find(({ segment }) => segment === pack_segment)
        const list = places.get(session_id)!
        const line = (place: Place, bytes: Buffer): void => {
          const { uid, id, ordinal, offset } = place
          const told = { uid, id, session: session_id, ordinal, offset, length: bytes.length, at: records.size }
          index.write(Buffer.from(`${JSON.stringify(told)}\n`))
          records.write(bytes)
        }
        if (pack_segment !== null && pack && isHeldHere(pack, 'log')) {
          const path = join(this.folder, 'objects', `${session_id}.bin`)
          await this.object(heldPath(pack, 'log'), session, path)
          const received = createReadStream(path, { highWaterMark: PIECE })
          for await (const { place, bytes } of recordsOf(await this.options.decode(received, session.size), list))
            line(place, bytes)
          continue
        }
        const reason = pack_segment === null ? 'objects were not kept' : 'its pack is not here'
        missing.push({ session: session_id, key, reason })
        for (const place of list) line(place, Buffer.alloc(0))
      }
      records.publish()
      index.publish()
    } catch (error) {
      records.discard()
      index.discard()
      throw error
    }
    onProgress?.({ objects: sessions.length, totalObjects: sessions.length })
    return missing
  }

  private async object(pack: string, session: SessionRow, path: string): Promise<void> {
    const { pack_offset, pack_length, sha256_received, session_id } = session
    const handle = await open(pack)
    const file = new HashedFile(path)
    try {
      const start = pack_offset!
      if (pack_length! > 0)
        for await (const piece of handle.createReadStream({
          start,
          end: start + pack_length! - 1,
          highWaterMark: PIECE,
        }))
          file.write(piece as Buffer)
      file.publish()
    } catch (error) {
      file.discard()
      throw error
    } finally {
      await handle.close().catch(() => undefined)
    }
    if (file.digest() !== sha256_received) {
      const cause = `the object of session ${session_id} is not as it was received`
      throw new ColdtrailError('E_SEGMENT_READ', { path: pack, cause })
    }
  }

  private links(collection: string, first: number, last: number): void {
    const directory = join(this.options.catalog.manifestDirectory(collection), 'chain')
    const file = createDurableFile(join(this.folder, 'links.ndjson'))
    try {
      for (let number = first; number <= last; number++) file.write(readFileSync(join(directory, linkFileName(number))))
      file.publish()
    } catch (error) {
      file.discard()
      if (error instanceof ColdtrailError) throw error
      throw new ColdtrailError('E_CHAIN_FAULT', { collection, fault: (error as Error).message }, { cause: error })
    }
  }

  private async copy(from: string, folder: string): Promise<void> {
    const file = createDurableFile(join(this.folder, folder, basename(from)))
    try {
      for await (const piece of createReadStream(from, { highWaterMark: PIECE })) file.write(piece as Buffer)
      file.publish()
    } catch (error) {
      file.discard()
      throw error
    }
  }

  private put(name: string, bytes: Uint8Array | string): void {
    writeDurably(join(this.folder, name), bytes)
  }

  private names(directory = ''): string[] {
    return readdirSync(join(this.folder, directory), { withFileTypes: true })
      .flatMap((entry) => {
        const name = directory === '' ? entry.name : `${directory}/${entry.name}`
        return entry.isDirectory() ? this.names(name) : [name]
      })
      .sort()
  }
}

const PIECE = 2 ** 20

/** Columns that have a value; times as RFC 3339. */
function eventLine(row: EventRow): Record<string, unknown> {
  const entries = Object.entries(row).filter(([, value]) => value !== null)
  return Object.fromEntries(
    entries.map(([name, value]) => [name, TIMES.has(name) ? isoTimeText(value as number) : value]),
  )
}

const TIMES: ReadonlySet<string> = new Set(EVENT_COLUMNS.filter(({ type }) => type === 'time').map(({ name }) => name))

/** The bytes of each place of a decoded object, in order of offset; several events may be of one record. */
async function* recordsOf(
  decoded: AsyncIterable<Uint8Array>,
  places: readonly Place[],
): AsyncGenerator<{ place: Place; bytes: Buffer }> {
  const wanted = [...places].sort((a, b) => a.offset - b.offset || a.id - b.id)
  let next = 0
  let held: Buffer = Buffer.alloc(0)
  /** Of the first byte that is held. */
  let start = 0
  for await (const piece of decoded) {
    held = held.length > 0 ? Buffer.concat([held, piece]) : Buffer.from(piece)
    const end = start + held.length
    for (; next < wanted.length && wanted[next]!.offset + wanted[next]!.length <= end; next++) {
      const place = wanted[next]!
      yield { place, bytes: held.subarray(place.offset - start, place.offset - start + place.length) }
    }
    const keep = Math.min(end, wanted[next]?.offset ?? end)
    if (keep > start) held = held.subarray(keep - start)
    start = Math.max(start, keep)
  }
  // What the object does not have is no record of it: the check will say so.
  for (const place of wanted.slice(next)) yield { place, bytes: Buffer.alloc(0) }
}

function renameDurably(from: string, to: string): void {
  renameSync(from, to)
  syncDirectory(dirname(resolve(to)))
}

/** A gzip of a tar, whose one folder bears the name of the archive. */
async function pack(folder: string, out: string): Promise<void> {
  const temporary = `${out}.tmp`
  const root =
    basename(out)
      .replace(/\.(tar\.gz|tgz)$/, '')
      .replace(/[^\x21-\x7e]|\//g, '_')
      .slice(0, 40) || 'case'
  const mtime = Math.floor(Date.now() / 1000)
  async function* blocks() {
    const names = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
    for (const path of names) {
      const { size } = statSync(path)
      yield tarHeader(`${root}/${path.slice(folder.length + 1)}`, size, mtime)
      yield* createReadStream(path, { highWaterMark: PIECE }) as AsyncIterable<Buffer>
      yield Buffer.alloc(tarPadding(size))
    }
    yield TAR_END
  }
  try {
    await pipeline(blocks, createGzip({ level: 6 }), createWriteStream(temporary, { flush: true }))
    attempt(out, () => renameDurably(temporary, out))
  } catch (error) {
    rmSync(temporary, { force: true })
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOSPC') throw new ColdtrailError('E_DISK_FULL', { path: out }, { cause: error })
    throw error
  }
}
