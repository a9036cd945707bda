/**
 * Manifests of other stores: loose `*.manifest` files of the original, one JSON record each, and what backups make of
 * them: tar, tar.gz, zip, and gz of one or many records. They are read where they lie; nothing is written, and no name
 * in an archive is ever used as a path. Hostile input: bounded, and what is no manifest is told and passed over.
 */
import { createReadStream, readdirSync, type Stats, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { createGunzip } from 'node:zlib'
import { sha256 } from './chain.ts'
import { isImportable } from './history.ts'
import { type ManifestFacts, parseManifestText } from './manifestText.ts'
import type { Interval } from './manifestTimes.ts'
import { zipEntries } from './zipEntries.ts'

export interface ImportedManifest extends ManifestFacts {
  readonly kind: string
  /** Number in its name; undefined for another form of name. */
  readonly sequence?: number
  /** What its name is one of: the folder or archive it was found in, below where one looked. Equal names of two services are two files. */
  readonly service: string
  /** Which file, and which entry of it. */
  readonly origin: string
  /** First half of the SHA-256 of its facts. */
  readonly digest: string
}

/**
 * How a time matched: times of its own, those of the meta files that hold its events, its creation and that of its
 * successor, or nothing but its creation: then it may hold anything later, and is never left out.
 */
export type ImportedBy = 'time' | 'meta' | 'fileTime' | 'unknown'

export interface ImportProblem {
  readonly where: string
  readonly reason: string
}

/**
 * Every manifest in files and below folders, each once however often it was copied, by service and name. `onProblem` is
 * told of each file that is none or cannot be read, and of bounds that ended the reading.
 */
export async function importedManifests(
  paths: readonly string[],
  onProblem: (problem: ImportProblem) => void,
): Promise<ImportedManifest[]> {
  const found = new Map<string, ImportedManifest>()
  let bytes = 0
  for (const root of paths)
    for (const { path, service } of filesIn(root, onProblem)) {
      try {
        let records = 0
        for await (const record of recordsOf(path)) {
          records += 1
          bytes += record.bytes.length
          if (bytes > MOST_BYTES || found.size >= MOST_MANIFESTS) {
            onProblem({
              where: path,
              reason: `more than ${MOST_MANIFESTS} manifests or ${MOST_BYTES} bytes: the rest was not read`,
            })
            return sorted(found)
          }
          take(record, { path, service }, found, onProblem)
        }
        if (records === 0) onProblem({ where: path, reason: 'there is no manifest in it' })
      } catch (error) {
        onProblem({ where: path, reason: (error as Error).message })
      }
    }
  return sorted(found)
}

/** Intervals of imported manifests, with what they rest on. POSIX seconds; none of a manifest that tells no time at all. */
export function importedIntervals(
  list: readonly ImportedManifest[],
): Map<ImportedManifest, { readonly interval: Interval; readonly by: ImportedBy }> {
  const result = new Map<ImportedManifest, { interval: Interval; by: ImportedBy }>()
  for (const [, own] of Map.groupBy(list, ({ service }) => service)) {
    const metas = own.filter(
      ({ kind, id1, id2, time1, time2 }) =>
        kind === 'meta' && id1 !== undefined && id2 !== undefined && time1 !== undefined && time2 !== undefined,
    )
    metas.sort((a, b) => a.id1! - b.id1!)
    const next = new Map(own.map((one) => [`${one.kind} ${one.sequence}`, one]))
    for (const one of own) {
      const { time1, time2, fileTime, kind, sequence } = one
      if (time1 !== undefined && time2 !== undefined) {
        // First and last in one place of the original's page, minimum and maximum in another.
        result.set(one, { interval: [Math.min(time1, time2), Math.max(time1, time2)], by: 'time' })
        continue
      }
      const ofMeta = kind === 'session' ? timesOfMeta(one, metas) : undefined
      const successor = sequence === undefined ? undefined : next.get(`${kind} ${sequence + 1}`)
      const isNext = successor?.fileTime !== undefined && successor.id1 === (one.id2 ?? Number.NaN) + 1
      if (ofMeta) result.set(one, { interval: widened(ofMeta, fileTime), by: 'meta' })
      else if (fileTime === undefined) continue
      else if (isNext && successor.fileTime! >= fileTime)
        result.set(one, { interval: [fileTime, successor.fileTime!], by: 'fileTime' })
      else result.set(one, { interval: [fileTime, Number.POSITIVE_INFINITY], by: 'unknown' })
    }
  }
  return result
}

// --- internal ---

/** A manifest of ours with every column is some KB. */
const MOST_RECORD = 1024 * 1024
const MOST_BYTES = 2 * 1024 * 1024 * 1024
const MOST_MANIFESTS = 2_000_000
const MOST_DEPTH = 8
const INTEGERS = [
  'size',
  'fileTime',
  'id1',
  'id2',
  'session1',
  'session2',
  'metaId1',
  'metaId2',
  'packetId1',
  'packetId2',
  'time1',
  'time2',
] as const

interface FoundRecord {
  /** Of the entry in an archive. */
  readonly name?: string
  readonly bytes: Buffer
  readonly fault?: string
}

const sorted = (found: ReadonlyMap<string, ImportedManifest>): ImportedManifest[] =>
  [...found.values()].sort(
    (a, b) => compare(a.service, b.service) || compare(a.filename, b.filename) || compare(a.digest, b.digest),
  )

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const widened = ([from, to]: Interval, fileTime = from): Interval => [Math.min(from, fileTime), Math.max(to, fileTime)]

/** Times of the meta files that hold the events of a session file; undefined unless every one of them is known. */
function timesOfMeta({ metaId1, metaId2 }: ManifestFacts, metas: readonly ManifestFacts[]): Interval | undefined {
  if (metaId1 === undefined || metaId2 === undefined) return undefined
  let [from, to, covered] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, metaId1 - 1]
  for (const { id1, id2, time1, time2 } of metas) {
    if (id2! < metaId1 || id1! > metaId2) continue
    if (id1! > covered + 1) return undefined
    covered = Math.max(covered, id2!)
    from = Math.min(from, time1!, time2!)
    to = Math.max(to, time1!, time2!)
  }
  return covered >= metaId2 ? [from, to] : undefined
}

function take(
  { name, bytes, fault }: FoundRecord,
  { path, service }: { readonly path: string; readonly service: string },
  found: Map<string, ImportedManifest>,
  onProblem: (problem: ImportProblem) => void,
): void {
  const origin = name === undefined ? path : `${path}: ${name.slice(0, 300)}`
  try {
    if (fault !== undefined) throw new Error(fault)
    if (bytes.length > MOST_RECORD) throw new Error(`it has more than ${MOST_RECORD} bytes`)
    const text = bytes.toString()
    const records = /^\s*\[\s/.test(text) ? parseManifestText(text, origin) : objectsOf(text).map(factsOf)
    if (records.length === 0) throw new Error('there is no manifest in it')
    for (const facts of records) {
      const digest = sha256(JSON.stringify(facts)).slice(0, 32)
      const [, kind = 'unknown', digits] = /^([a-z]+)(?:-(\d{1,15}))?/.exec(facts.filename) ?? []
      const sequence = digits === undefined ? {} : { sequence: Number(digits) }
      if (!found.has(digest))
        found.set(digest, { ...facts, kind: facts.kind ?? kind, ...sequence, service, origin, digest })
    }
  } catch (error) {
    onProblem({ where: origin, reason: (error as Error).message })
  }
}

function factsOf(text: string): ManifestFacts {
  const value = JSON.parse(text) as Record<string, unknown>
  const { filename, compression, kind } = value
  if (typeof filename !== 'string' || filename === '' || filename.length > 1000) throw new Error('it has no filename')
  const facts: Record<string, string | number> = { filename }
  for (const key of INTEGERS) {
    const given = value[key]
    if (given === undefined) continue
    if (!Number.isSafeInteger(given)) throw new Error(`${key} is not an integer below 2^53`)
    facts[key] = given as number
  }
  if (typeof compression === 'string') facts.compression = compression.slice(0, 100)
  if (typeof kind === 'string' && /^[a-z]{1,20}$/.test(kind)) facts.kind = kind
  return facts as unknown as ManifestFacts
}

/** The objects of a text, one behind another with or without white space. */
function objectsOf(text: string): string[] {
  const objects: string[] = []
  let [depth, start, isText] = [0, 0, false]
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (isText) {
      if (code === 0x5c) i++
      else if (code === 0x22) isText = false
    } else if (code === 0x22) isText = true
    else if (code === 0x7b) {
      if (depth++ === 0) start = i
    } else if (code === 0x7d && --depth === 0) objects.push(text.slice(start, i + 1))
    if (depth < 0 || (depth === 0 && code > 0x20 && code !== 0x7d && code !== 0x2c))
      throw new Error('it is no manifest')
  }
  if (depth !== 0) throw new Error('it is cut off')
  return objects
}

/** Files that are looked into, with the service they stand for. Links are followed to files only. */
function* filesIn(
  root: string,
  onProblem: (problem: ImportProblem) => void,
): Generator<{ readonly path: string; readonly service: string }> {
  const found = attemptStat(root)
  if (!found) return onProblem({ where: root, reason: 'it does not exist' })
  if (!found.isDirectory()) {
    yield { path: root, service: serviceOf(root, '') }
    return
  }
  const waiting: { readonly directory: string; readonly depth: number }[] = [{ directory: root, depth: 0 }]
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const { directory, depth } = next
    let entries: import('node:fs').Dirent[]
    try {
      entries = readdirSync(directory, { withFileTypes: true }).sort((a, b) => compare(a.name, b.name))
    } catch (error) {
      onProblem({ where: directory, reason: (error as Error).message })
      continue
    }
    for (const entry of entries) {
      const path = join(directory, entry.name)
      if (entry.isDirectory()) {
        if (depth < MOST_DEPTH) waiting.push({ directory: path, depth: depth + 1 })
        else onProblem({ where: path, reason: `folders lie deeper than ${MOST_DEPTH}` })
      } else if (isImportable(entry.name) && attemptStat(path)?.isFile())
        yield { path, service: serviceOf(entry.name, relative(root, directory)) }
    }
  }
}

/** An archive stands for a service of its own, loose files for that of their folder. */
const serviceOf = (name: string, folder: string): string =>
  /\.manifest$/i.test(name) ? folder : join(folder, basename(name).replace(/(\.(manifest|tar|tgz|gz|zip))+$/i, ''))

function attemptStat(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

async function* recordsOf(path: string): AsyncGenerator<FoundRecord> {
  if (/\.zip$/i.test(path)) {
    const file = await open(path)
    try {
      for await (const entry of zipEntries(file, MOST_RECORD)) if (/\.manifest$/i.test(entry.name)) yield entry
    } finally {
      await file.close()
    }
    return
  }
  const file = createReadStream(path, { highWaterMark: 1 << 20 })
  const isPacked = /\.(gz|tgz)$/i.test(path)
  const unpacked = createGunzip()
  // Whoever ends early is not told any more; whoever reads on is.
  unpacked.on('error', () => undefined)
  if (isPacked) file.on('error', (error) => unpacked.destroy(error)).pipe(unpacked)
  const stream: AsyncIterable<Buffer> = isPacked ? unpacked : file
  try {
    yield* /\.(tar|tgz)$|\.tar\.gz$/i.test(path) ? tarEntries(new Pieces(stream)) : looseRecords(new Pieces(stream))
  } finally {
    file.destroy()
    unpacked.destroy()
  }
}

/** One record or many; a tar that is called `.gz` only is told by its first header. */
async function* looseRecords(pieces: Pieces): AsyncGenerator<FoundRecord> {
  const head = await pieces.take(TAR_BLOCK)
  if (head.toString('latin1', 257, 262) === 'ustar') {
    pieces.putBack(head)
    yield* tarEntries(pieces)
    return
  }
  let text = head
  // Whole records only: up to the last end of one.
  for (let more = await pieces.take(1 << 20); more.length > 0; more = await pieces.take(1 << 20)) {
    text = Buffer.concat([text, more])
    const end = text.lastIndexOf('}\n')
    if (end < 0 || text.length < MOST_RECORD / 2) {
      if (text.length > 4 * MOST_RECORD) throw new Error('there is no manifest in it')
      continue
    }
    yield* pieceOf(text.subarray(0, end + 2))
    text = text.subarray(end + 2)
  }
  yield* pieceOf(text)
}

/** One that was put together of many is taken record by record, so that a bad one spoils no other. */
function* pieceOf(text: Buffer): Generator<FoundRecord> {
  const lines = text
    .toString()
    .split('\n')
    .filter((line) => line.trim() !== '')
  if (lines.length > 1 && lines.every((line) => line.startsWith('{') && line.trimEnd().endsWith('}')))
    for (const line of lines) yield { bytes: Buffer.from(line) }
  else if (lines.length > 0) yield { bytes: text }
}

const TAR_BLOCK = 512

/** ustar, with long names of GNU and pax passed over: names only say which entries are manifests. */
async function* tarEntries(pieces: Pieces): AsyncGenerator<FoundRecord> {
  for (;;) {
    const header = await pieces.take(TAR_BLOCK)
    if (header.length === TAR_BLOCK && header.every((byte) => byte === 0)) return
    if (header.length < TAR_BLOCK) throw new Error('the archive is cut off')
    const sum = Number.parseInt(header.toString('latin1', 148, 156), 8)
    const actual = header.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0)
    if (sum !== actual) throw new Error('the archive is damaged: a header has a wrong checksum')
    const size = tarNumber(header.subarray(124, 136))
    const type = String.fromCharCode(header[156]!)
    const text = (from: number, to: number): string => header.toString('utf8', from, to).replace(/\0.*$/s, '')
    const prefix = text(345, 500)
    const name = prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`
    const padded = Math.ceil(size / TAR_BLOCK) * TAR_BLOCK
    // The name of an entry with a long one is cut off here; its content tells what it is.
    const isWanted = (type === '0' || type === '\0') && (/\.manifest$/i.test(name) || name.length >= 99)
    if (isWanted && size <= MOST_RECORD) {
      const bytes = await pieces.take(padded)
      if (bytes.length < padded) throw new Error('the archive is cut off')
      yield { name, bytes: Buffer.from(bytes.subarray(0, size)) }
    } else {
      if (isWanted) yield { name, bytes: Buffer.alloc(MOST_RECORD + 1) }
      if (!(await pieces.skip(padded))) throw new Error('the archive is cut off')
    }
  }
}

function tarNumber(field: Buffer): number {
  const size =
    (field[0]! & 0x80) !== 0 ? field.readUIntBE(6, 6) : Number.parseInt(field.toString('latin1').trim() || '0', 8)
  if (!Number.isSafeInteger(size) || size < 0) throw new Error('the archive is damaged: an entry has no size')
  return size
}

/** A stream, taken in pieces of any size. */
class Pieces {
  private readonly source: AsyncIterator<Buffer>
  private waiting: Buffer[] = []
  private held = 0
  private total = 0

  constructor(source: AsyncIterable<Buffer>) {
    this.source = source[Symbol.asyncIterator]()
  }

  /** So many bytes, or what is left. */
  async take(length: number): Promise<Buffer> {
    while (this.held < length && (await this.more())) {}
    const all = this.waiting.length === 1 ? this.waiting[0]! : Buffer.concat(this.waiting)
    const taken = all.subarray(0, length)
    this.waiting = all.length > length ? [all.subarray(length)] : []
    this.held = all.length - taken.length
    return taken
  }

  putBack(bytes: Buffer): void {
    this.waiting.unshift(bytes)
    this.held += bytes.length
  }

  async skip(length: number): Promise<boolean> {
    for (let left = length; left > 0; ) {
      const piece = await this.take(Math.min(left, 1 << 20))
      if (piece.length === 0) return false
      left -= piece.length
    }
    return true
  }

  private async more(): Promise<boolean> {
    const { value, done } = await this.source.next()
    if (done) return false
    this.waiting.push(value)
    this.held += value.length
    this.total += value.length
    // A bomb: nothing that is wanted is so large.
    if (this.total > 4 * MOST_BYTES) throw new Error(`it unpacks to more than ${4 * MOST_BYTES} bytes`)
    return true
  }
}
