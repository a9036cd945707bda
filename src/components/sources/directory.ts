/** Files below a folder, one file, or standard input, with the same interface as a bucket. */
import { type BigIntStats, createReadStream, type Dirent } from 'node:fs'
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import type { SourceObject } from '../../core/sourceObject.ts'
import type { SourceComponent, SourceContext } from '../component.ts'
import type { ListRange, ListStatistics, Source, SourceStatistics } from '../source.ts'
import { SELECTION_FIELDS, selection } from './selection.ts'

const config = z.strictObject({
  path: z.string().min(1).describe('A folder (with all folders below), one file, or - for standard input.'),
  ...SELECTION_FIELDS,
})

export type DirectoryConfig = z.output<typeof config>

export const directory: SourceComponent<typeof config> = {
  kind: 'source',
  name: 'directory',
  summary: 'Files of a local folder, one file, or standard input.',
  config,
  create: async (options, context) => (options.path === '-' ? standardInput() : directorySource(options, context)),
}

// --- internal ---

const PAGE = 1000
const CHUNK_BYTES = 1 << 18

async function directorySource(options: DirectoryConfig, context: SourceContext): Promise<Source> {
  const given = await attempt(options.path, async () => {
    const path = await realpath(options.path)
    return { path, single: !(await stat(path)).isDirectory() }
  })
  const root = given.single ? dirname(given.path) : given.path
  const name = pathToFileURL(root).href
  const statistics = emptyStatistics()
  return {
    name,
    async *list(range: ListRange, listed: ListStatistics, signal?: AbortSignal) {
      const { keep } = selection(options, range, listed, { partialFiles: !given.single })
      const failures: ColdtrailError[] = []
      const failed = (error: ColdtrailError): void => {
        context.warn('A folder or file cannot be listed; what is beside it is.', error.values)
        failures.push(error)
      }
      const walking: Walking = { root, statistics: listed, context, failed }
      const files = given.single ? [basename(given.path)] : walk(walking, '', [root])
      let page: SourceObject[] = []
      for await (const key of files) {
        signal?.throwIfAborted()
        const object = await describe(name, root, key)
        if (object instanceof ColdtrailError) failed(object)
        else if (!object && key.includes('\ufffd')) {
          skip(listed, 'name that is not UTF-8')
          context.warn('Passing over a file whose name is not UTF-8; rename it to collect it.', {
            path: join(root, key),
          })
        } else if (!object) skip(listed, 'gone')
        else if (keep(object)) page.push(object)
        if (page.length < PAGE) continue
        yield page
        page = []
      }
      if (page.length > 0) yield page
      // Last, so that what could be listed is collected; but an error it is.
      const first = failures[0]
      if (first)
        throw new ColdtrailError('E_DIRECTORY_PARTIAL', { count: failures.length, ...first.values }, { cause: first })
    },
    async open(object, signal) {
      const file = await openListed(root, object)
      return bytesOf(file, root, object, signal)
    },
    async read(object, signal) {
      signal?.throwIfAborted()
      const file = await openListed(root, object)
      try {
        const bytes = await file.readFile()
        await requireUnchanged(file, root, object, bytes.length)
        return bytes
      } finally {
        await file.close()
      }
    },
    statistics,
    close: async () => undefined,
  }
}

interface Walking {
  readonly root: string
  readonly statistics: ListStatistics
  readonly context: SourceContext
  /** A part of the tree that could not be listed. */
  readonly failed: (error: ColdtrailError) => void
}

/**
 * Keys below a folder, sorted as a bucket would list them. Links are followed as long as they stay inside the root and
 * do not lead to a folder that is being walked. A part that cannot be read is told, and what is beside it goes on; only
 * the root itself must be readable.
 */
async function* walk(walking: Walking, prefix: string, above: readonly string[]): AsyncGenerator<string> {
  const { root, statistics, context, failed } = walking
  const folder = join(root, prefix)
  statistics.requests += 1
  let entries: Dirent[]
  try {
    entries = await readdir(folder, { withFileTypes: true })
  } catch (error) {
    if (prefix === '') throw unreadable(folder, error)
    if (isGone(error)) skip(statistics, 'gone')
    else failed(unreadable(folder, error))
    return
  }
  const sorted = entries.map((entry) => ({ entry, order: entry.isDirectory() ? `${entry.name}/` : entry.name }))
  for (const { entry } of sorted.sort((a, b) => (a.order < b.order ? -1 : 1))) {
    const key = prefix + entry.name
    const target = await resolveEntry(root, key, entry)
    if (target instanceof ColdtrailError) failed(target)
    else if (target.kind === 'file') yield key
    else if (target.kind === 'gone') skip(statistics, 'gone')
    else if (target.kind === 'folder' && !above.includes(target.path)) {
      yield* walk(walking, `${key}/`, [...above, target.path])
    } else if (target.kind !== 'other') {
      skip(statistics, 'link')
      context.warn('Passing over a link that leads out of the folder, in a circle or nowhere.', {
        path: join(root, key),
      })
    }
  }
}

type Target = { readonly kind: 'file' | 'folder' | 'link' | 'gone' | 'other'; readonly path: string }

async function resolveEntry(root: string, key: string, entry: Dirent): Promise<Target | ColdtrailError> {
  const path = join(root, key)
  if (entry.isFile()) return { kind: 'file', path }
  if (!entry.isDirectory() && !entry.isSymbolicLink()) return { kind: 'other', path }
  try {
    const target = await realpath(path)
    if (entry.isDirectory()) return { kind: 'folder', path: target }
    if (target !== root && !target.startsWith(root.endsWith(sep) ? root : root + sep)) return { kind: 'link', path }
    const stats = await stat(target)
    return { kind: stats.isDirectory() ? 'folder' : stats.isFile() ? 'file' : 'other', path: target }
  } catch (error) {
    if (isGone(error) || (error as NodeJS.ErrnoException).code === 'ELOOP')
      return { kind: entry.isDirectory() ? 'gone' : 'link', path }
    return unreadable(path, error)
  }
}

/** Undefined when the file went away since its folder was read, or cannot be named because its name is not UTF-8. */
async function describe(source: string, root: string, key: string): Promise<SourceObject | ColdtrailError | undefined> {
  const path = join(root, key)
  try {
    const stats = await stat(path, { bigint: true })
    const lastModified = Number(stats.mtimeNs / 1000n)
    return { source, bucket: root, key, version: versionOf(stats), size: Number(stats.size), lastModified }
  } catch (error) {
    return isGone(error) ? undefined : unreadable(path, error)
  }
}

const isGone = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

async function openListed(root: string, object: SourceObject): Promise<FileHandle> {
  const path = join(root, object.key)
  try {
    return await open(path, 'r')
  } catch (error) {
    if (isGone(error)) throw new ColdtrailError('E_FILE_GONE', { path })
    throw new ColdtrailError('E_FILE_READ', { path, cause: messageOf(error) }, { cause: error })
  }
}

async function* bytesOf(
  file: FileHandle,
  root: string,
  object: SourceObject,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    await requireUnchanged(file, root, object)
    let read = 0
    for (;;) {
      signal?.throwIfAborted()
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES)
      if (bytesRead === 0) break
      read += bytesRead
      // A file that is still written could go on for ever.
      if (read > object.size) break
      yield buffer.subarray(0, bytesRead)
    }
    await requireUnchanged(file, root, object, read)
  } finally {
    await file.close()
  }
}

/** Size and mtime are still those of the listing, and all bytes were read. E_FILE_CHANGED. */
async function requireUnchanged(file: FileHandle, root: string, object: SourceObject, read?: number): Promise<void> {
  const path = join(root, object.key)
  const version = versionOf(await file.stat({ bigint: true }))
  const short = read !== undefined && read !== object.size
  if (version === object.version && !short) return
  const cause = short ? `${read} bytes instead of ${object.size}` : `${version} instead of ${object.version}`
  throw new ColdtrailError('E_FILE_CHANGED', { path, cause })
}

function versionOf(stats: BigIntStats): string {
  return `${stats.size}:${stats.mtimeNs}`
}

/** One object of unknown size, readable once; the digest of its bytes becomes its version when they were read. */
function standardInput(): Source {
  const name = 'file:///dev/stdin'
  let taken = false
  const take = () => {
    if (taken) throw new ColdtrailError('E_FILE_READ', { path: '-', cause: 'standard input can be read only once' })
    taken = true
    return createReadStream('-', { fd: 0, autoClose: false, highWaterMark: CHUNK_BYTES })
  }
  return {
    name,
    async *list(_range, listed) {
      listed.objects += 1
      // What comes through a pipe is no new version of what came before: each stream is an object of its own.
      const now = Date.now()
      yield [{ source: name, bucket: '-', key: `stdin-${now}`, version: 'unread', size: 0, lastModified: now * 1000 }]
    },
    open: async () => take(),
    async read() {
      const chunks: Buffer[] = []
      for await (const chunk of take()) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    },
    statistics: emptyStatistics(),
    close: async () => undefined,
  }
}

function skip(statistics: ListStatistics, reason: string): void {
  statistics.skipped.set(reason, (statistics.skipped.get(reason) ?? 0) + 1)
}

function emptyStatistics(): SourceStatistics {
  return { requests: new Map(), errors: new Map(), retries: 0, throttles: 0 }
}

async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): ColdtrailError {
  return new ColdtrailError('E_DIRECTORY_READ', { path, cause: messageOf(error) }, { cause: error })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
