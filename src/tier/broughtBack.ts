/**
 * A folder of files that somebody brought back from a backup: which of them are files of segments, whatever they are
 * called and however deep they lie. A file is what its size and SHA-256 say; names only help to say what is wrong with
 * one. Nothing in the folder is trusted, followed or changed.
 */
import { createHash } from 'node:crypto'
import { createReadStream, type Dirent, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import type { ClosureFile } from '../store/closure.ts'
import { throwIfAborted } from '../store/duckdb.ts'
import { directoryDigest, parseManifest } from '../store/manifest.ts'

export interface Digest {
  readonly size: number
  readonly sha256: string
}

/**
 * What a file is recognised by. An index is a directory: of `values.parquet` and, unless it is null, of a keyset, of which
 * the history has a copy.
 */
export interface Wanted extends Pick<ClosureFile, 'kind' | 'name' | 'size' | 'sha256'> {
  readonly keyset?: (Digest & { readonly path: string }) | null
}

/** Where the bytes of a file are; of a directory those of each file in it, by name. */
export type Origin = string | ReadonlyMap<string, string>

export interface BroughtBack {
  /** By name of what is wanted. */
  readonly found: ReadonlyMap<string, Origin>
  /** They look like a file that is wanted, and have other bytes. */
  readonly damaged: readonly { readonly path: string; readonly name: string; readonly reason: string }[]
  /** Files of the history that nobody asked for, manifests and second copies. */
  readonly others: number
  /** Nothing of ours, as far as size and digest can tell. */
  readonly foreign: readonly { readonly path: string; readonly size: number }[]
  /** Everything that was looked at. */
  readonly files: number
  readonly bytes: number
}

export interface FolderProgress {
  readonly files: number
  readonly totalFiles: number
}

export interface FolderOptions {
  /** Digests of every file that the history knows, by size. */
  readonly known?: ReadonlyMap<number, ReadonlySet<string>>
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: FolderProgress) => void
}

/** E_RESTORE_REQUEST when the folder is none. Memory: the paths in it. */
export async function lookThrough(
  folder: string,
  wanted: readonly Wanted[],
  { known = new Map(), signal, onProgress }: FolderOptions = {},
): Promise<BroughtBack> {
  const search = new FolderSearch(wanted, known)
  const entries = listFiles(folder)
  let looked = 0
  for (const entry of entries) {
    throwIfAborted(signal)
    await search.look(entry, signal)
    looked += 1
    onProgress?.({ files: looked, totalFiles: entries.length })
  }
  search.joinIndexes()
  return search.answer(entries)
}

/** Size and SHA-256 of what is at a path; of a directory over its files. Undefined where there is nothing. */
export async function digestAt(path: string, signal?: AbortSignal): Promise<Digest | undefined> {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isFile()) return { size: found.size, sha256: await digestOf(path, signal) }
  if (!found?.isDirectory()) return undefined
  const parts: (Digest & { name: string })[] = []
  for (const name of readdirSync(path)) {
    const part = statSync(join(path, name))
    if (part.isFile()) parts.push({ name, size: part.size, sha256: await digestOf(join(path, name), signal) })
  }
  return directoryDigest(parts)
}

export const VALUES_FILE = 'values.parquet'
export const KEYSET_FILE = 'keyset.ks'

// --- internal ---

/** A backup has few levels; a loop of mounts has no end. */
const MAX_DEPTH = 64
const MAX_FILES = 5_000_000
const MAX_MANIFEST = 2 ** 20
/** Below it files have the size of another one by chance. */
const TELLING_SIZE = 4_096
/** Files beside each other that may be the two of an index, and perhaps its manifest. */
const FILES_OF_INDEX = 3

interface Entry extends Digest {
  readonly path: string
  readonly folder: string
  readonly name: string
  /** Empty until it was read. */
  sha256: string
}

/** Regular files below a folder, in order of their paths; links are not followed. */
function listFiles(folder: string): Entry[] {
  const refuse = (reason: string) => new ColdtrailError('E_RESTORE_REQUEST', { where: folder, reason })
  const found: Entry[] = []
  const visit = (directory: string, depth: number): void => {
    if (depth > MAX_DEPTH) throw refuse(`it has more than ${MAX_DEPTH} levels of folders`)
    let entries: Dirent[]
    try {
      entries = readdirSync(directory, { withFileTypes: true })
    } catch (error) {
      throw refuse(`${directory} cannot be listed (${(error as Error).message})`)
    }
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(directory, entry.name)
      if (entry.isDirectory()) visit(path, depth + 1)
      else if (entry.isFile()) {
        const size = statSync(path, { throwIfNoEntry: false })?.size
        if (size !== undefined) found.push({ path, folder: directory, name: entry.name, size, sha256: '' })
        if (found.length > MAX_FILES) throw refuse(`it holds more than ${MAX_FILES} files`)
      }
    }
  }
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw refuse('it is no folder')
  visit(folder, 0)
  return found
}

class FolderSearch {
  private readonly bySize = new Map<number, Wanted[]>()
  private readonly byName = new Map<string, Wanted>()
  private readonly indexes: readonly Wanted[]
  /** By the size that `values.parquet` of a wanted index has. */
  private readonly byValues = new Map<number, Wanted[]>()
  private readonly indexSizes: ReadonlySet<number>
  private readonly known: ReadonlyMap<number, ReadonlySet<string>>
  private readonly found = new Map<string, Origin>()
  private readonly used = new Set<Entry>()
  private readonly others = new Set<Entry>()
  private readonly unreadable = new Set<string>()
  private readonly byFolder = new Map<string, Entry[]>()

  constructor(wanted: readonly Wanted[], known: ReadonlyMap<number, ReadonlySet<string>>) {
    this.known = known
    this.indexes = wanted.filter(({ kind }) => kind === 'index')
    this.indexSizes = new Set(this.indexes.map(({ size }) => size))
    for (const one of wanted) {
      this.byName.set(one.name, one)
      if (one.kind !== 'index') add(this.bySize, one.size, one)
      else if (one.keyset !== undefined) add(this.byValues, one.size - (one.keyset?.size ?? 0), one)
    }
  }

  async look(entry: Entry, signal: AbortSignal | undefined): Promise<void> {
    const { size, path } = entry
    add(this.byFolder, entry.folder, entry)
    const candidates = this.bySize.get(size) ?? []
    const ofIndexes = this.byValues.get(size) ?? []
    const known = this.known.get(size)
    if (candidates.length + ofIndexes.length === 0 && !known) return
    entry.sha256 = await digestOf(path, signal)
    if (entry.sha256 === '') this.unreadable.add(path)
    const same = candidates.filter(({ sha256 }) => sha256 === entry.sha256)
    for (const { name } of same) this.take(name, path, [entry])
    const indexes = ofIndexes.filter((one) => isIndex(one, one.keyset, entry))
    for (const { name, keyset } of indexes) this.take(name, filesOf(path, keyset?.path), [entry])
    if (same.length + indexes.length === 0 && known?.has(entry.sha256)) this.others.add(entry)
  }

  /** Folders that are an index, whatever their files are called: also where the history's copy of the keyset is no help. */
  joinIndexes(): void {
    for (const entries of this.byFolder.values()) {
      if (entries.length > FILES_OF_INDEX) continue
      for (const values of entries)
        for (const keyset of entries) {
          const size = values.size + keyset.size
          const known = this.known.get(size)
          if (values === keyset || !(known || this.indexSizes.has(size))) continue
          for (const entry of [values, keyset]) entry.sha256 ||= digestNow(entry.path)
          const digest = indexDigest(keyset, values)
          const index = this.indexes.find(({ sha256 }) => sha256 === digest)
          if (index) this.take(index.name, filesOf(values.path, keyset.path), [values, keyset])
          else if (known?.has(digest)) for (const entry of [values, keyset]) this.others.add(entry)
        }
    }
  }

  answer(entries: readonly Entry[]): BroughtBack {
    const damaged: { path: string; name: string; reason: string }[] = []
    const foreign: { path: string; size: number }[] = []
    let others = 0
    for (const entry of entries) {
      if (this.used.has(entry)) continue
      const { path, size } = entry
      const fault = this.others.has(entry) ? undefined : this.faultOf(entry)
      if (fault) damaged.push({ path, ...fault })
      else if (this.isKnownKeyset(entry)) continue
      else if (this.others.has(entry) || isManifest(entry)) others += 1
      else foreign.push({ path, size })
    }
    const bytes = entries.reduce((sum, { size }) => sum + size, 0)
    return { found: this.found, damaged, foreign, others, files: entries.length, bytes }
  }

  // --- internal ---

  /** The first copy; what is here twice is used once. */
  private take(name: string, origin: Origin, entries: readonly Entry[]): void {
    const isNew = !this.found.has(name)
    if (isNew) this.found.set(name, origin)
    for (const entry of entries)
      if (isNew) this.used.add(entry)
      else if (!this.used.has(entry)) this.others.add(entry)
  }

  /** What a file seems to be that it is not. */
  private faultOf({ name, size, folder, path }: Entry): { name: string; reason: string } | undefined {
    const isMissing = (one: Wanted | undefined): one is Wanted => one !== undefined && !this.found.has(one.name)
    const named = this.byName.get(name)
    const sized = this.bySize.get(size)?.find(isMissing)
    if (this.unreadable.has(path) && (isMissing(named) || sized))
      return { name: (isMissing(named) ? named : sized!).name, reason: 'it cannot be read' }
    if (isMissing(named) && named.kind !== 'index') {
      const reason = size === named.size ? 'its SHA-256 is another' : `it has ${size} bytes instead of ${named.size}`
      return { name, reason }
    }
    if (sized && size >= TELLING_SIZE)
      return { name: sized.name, reason: 'it has the size of that file and another SHA-256' }
    const index = this.byName.get(basename(folder))
    if (isMissing(index) && index.kind === 'index' && (name === VALUES_FILE || name === KEYSET_FILE))
      return { name: index.name, reason: `${name}, or a file beside it, has other bytes` }
    return undefined
  }

  /** A copy of what the history had anyway, and was used of it. */
  private isKnownKeyset(entry: Entry): boolean {
    const keysets = this.indexes.flatMap(({ keyset }) => (keyset?.size === entry.size ? [keyset] : []))
    if (keysets.length === 0) return false
    entry.sha256 ||= digestNow(entry.path)
    return keysets.some(({ sha256 }) => sha256 === entry.sha256)
  }
}

function add<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key)
  if (list) list.push(value)
  else map.set(key, [value])
}

const filesOf = (values: string, keyset: string | undefined): Origin =>
  new Map([[VALUES_FILE, values], ...(keyset === undefined ? [] : [[KEYSET_FILE, keyset] as const])])

const isIndex = (index: Wanted, keyset: Digest | null | undefined, values: Digest): boolean =>
  indexDigest(keyset, values) === index.sha256

function indexDigest(keyset: Digest | null | undefined, values: Digest): string {
  const parts = [{ name: VALUES_FILE, size: values.size, sha256: values.sha256 }]
  if (keyset) parts.push({ name: KEYSET_FILE, size: keyset.size, sha256: keyset.sha256 })
  return directoryDigest(parts).sha256
}

function isManifest({ path, size }: Entry): boolean {
  if (size > MAX_MANIFEST) return false
  try {
    parseManifest(readFileSync(path))
    return true
  } catch {
    return false
  }
}

async function digestOf(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
      throwIfAborted(signal)
      hash.update(piece)
    }
  } catch (error) {
    if (error instanceof ColdtrailError) throw error
    // What cannot be read is nothing that we know; it is named with what is foreign or damaged.
    return ''
  }
  return hash.digest('hex')
}

/** Of parts of an index, which are small. */
function digestNow(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex')
  } catch {
    return ''
  }
}
