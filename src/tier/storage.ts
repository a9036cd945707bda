/**
 * How files get into a directory of a place and out of it: copied, synced, read back and compared, never overwritten. A
 * directory of this host or a bucket; an index is a folder of parts in both.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import type { SourceContext } from '../components/component.ts'
import { openStorage, type S3Access } from '../components/sources/s3.ts'
import { ColdtrailError } from '../core/errors.ts'
import { faultPoint } from '../platform/faults.ts'
import { attempt, createDurableFile, makeDirectory, syncDirectory } from '../platform/files.ts'
import { throwIfAborted } from '../store/duckdb.ts'
import { isLocal } from '../store/heldFile.ts'

export interface Digest {
  readonly size: number
  /** Lower-case hex. */
  readonly sha256: string
}

export interface Storage {
  /** Whether there is anything under the name, a file or an index. */
  has(name: string): Promise<boolean>
  /** Bytes of a file; undefined where there is none. */
  read(name: string): Promise<AsyncIterable<Uint8Array> | undefined>
  /**
   * A durable copy under the name, read back and compared. What is there already and the same is left.
   * E_TIER_COLLISION, E_TIER_COPY, and E_SEGMENT_READ when the source does not have the digest.
   */
  put(name: string, source: () => Promise<AsyncIterable<Uint8Array>>, digest: Digest): Promise<void>
  /** A file, or an index with its parts. */
  remove(name: string): Promise<void>
}

/** Storages by directory; connections are kept until `close`. */
export class Storages {
  private readonly options: {
    readonly access: S3Access
    readonly context: SourceContext
    readonly signal?: AbortSignal
  }
  private readonly buckets = new Map<string, ReturnType<typeof openStorage>>()

  constructor(options: { readonly access: S3Access; readonly context: SourceContext; readonly signal?: AbortSignal }) {
    this.options = options
  }

  async of(directory: string): Promise<Storage> {
    const { signal } = this.options
    if (isLocal(directory)) return localStorage(directory, signal)
    const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)\/?(.*)$/s.exec(directory)!
    return bucketStorage(await this.bucket(bucket!), { directory, prefix: prefix && `${prefix}/`, signal })
  }

  /** The bytes of `s3://bucket/key`; undefined when there is no such object. */
  async open(url: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined> {
    const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/s.exec(url) ?? []
    if (bucket === undefined) throw new ColdtrailError('E_INTERNAL', { message: `"${url}" is no object` })
    return (await (await this.bucket(bucket)).read(key!, signal))?.bytes
  }

  async close(): Promise<void> {
    for (const storage of this.buckets.values()) (await storage.catch(() => undefined))?.close()
    this.buckets.clear()
  }

  private bucket(name: string): ReturnType<typeof openStorage> {
    const { access, context } = this.options
    const held = this.buckets.get(name) ?? openStorage(name, access, context)
    this.buckets.set(name, held)
    // Whoever asks is told; nobody may ask any more.
    held.catch(() => this.buckets.delete(name))
    return held
  }
}

export async function digestOf(bytes: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256')
  let size = 0
  for await (const piece of bytes) {
    throwIfAborted(signal)
    hash.update(piece)
    size += piece.length
  }
  return { size, sha256: hash.digest('hex') }
}

// --- internal ---

const PIECE = 2 ** 20

function localStorage(directory: string, signal?: AbortSignal): Storage {
  const pathOf = (name: string): string => join(directory, name)
  const read = async (name: string): Promise<AsyncIterable<Uint8Array> | undefined> => {
    const path = pathOf(name)
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return undefined
    return createReadStream(path, { highWaterMark: PIECE })
  }
  return {
    has: async (name) => existsSync(pathOf(name)),
    read,
    async put(name, source, digest) {
      const path = pathOf(name)
      const there = await read(name)
      if (there !== undefined) {
        if (!isSame(await digestOf(there, signal), digest)) throw new ColdtrailError('E_TIER_COLLISION', { path })
        // It may be the copy of a move that was cut off right before its directory was synced.
        attempt(path, () => syncDirectory(dirname(path)))
        return
      }
      makeDirectory(dirname(path))
      const file = createDurableFile(path)
      try {
        const hash = createHash('sha256')
        for await (const piece of await source()) {
          throwIfAborted(signal)
          hash.update(piece)
          file.write(piece)
        }
        if (!isSame({ size: file.size, sha256: hash.digest('hex') }, digest)) throw notAsSealed(path)
        file.publish()
      } catch (error) {
        file.discard()
        throw error
      }
      faultPoint('move.copied')
      const copy = await read(name)
      if (copy === undefined || !isSame(await digestOf(copy, signal), digest)) {
        rmSync(path, { force: true })
        throw new ColdtrailError('E_TIER_COPY', { path })
      }
    },
    async remove(name) {
      rmSync(pathOf(name), { recursive: true, force: true })
      if (existsSync(directory)) syncDirectory(directory)
    },
  }
}

function bucketStorage(
  storage: Awaited<ReturnType<typeof openStorage>>,
  { directory, prefix, signal }: { readonly directory: string; readonly prefix: string; readonly signal?: AbortSignal },
): Storage {
  const read = async (name: string): Promise<AsyncIterable<Uint8Array> | undefined> =>
    (await storage.read(prefix + name, signal))?.bytes
  return {
    async has(name) {
      for (const part of ['', ...INDEX_PARTS]) if (await storage.has(prefix + name + part, signal)) return true
      return false
    },
    read,
    async put(name, source, digest) {
      const path = `${directory}/${name}`
      // The service compares; here it is told apart from a fault on the way.
      const found = await digestOf(await source(), signal)
      if (!isSame(found, digest)) throw notAsSealed(path)
      const isNew = await storage.put(prefix + name, () => Readable.from(lazily(source)), digest, signal)
      faultPoint('move.copied')
      const copy = await read(name)
      if (copy !== undefined && isSame(await digestOf(copy, signal), digest)) return
      if (!isNew) throw new ColdtrailError('E_TIER_COLLISION', { path })
      await storage.remove(prefix + name, signal)
      throw new ColdtrailError('E_TIER_COPY', { path })
    },
    async remove(name) {
      for (const part of ['', ...INDEX_PARTS]) await storage.remove(prefix + name + part, signal)
    },
  }
}

/** Of an index, which is a folder; what is not there is removed in vain. */
const INDEX_PARTS = ['/values.parquet', '/keyset.ks']

async function* lazily(source: () => Promise<AsyncIterable<Uint8Array>>): AsyncGenerator<Uint8Array> {
  yield* await source()
}

const isSame = (a: Digest, b: Digest): boolean => a.size === b.size && a.sha256 === b.sha256

const notAsSealed = (path: string): ColdtrailError =>
  new ColdtrailError('E_SEGMENT_READ', { path, cause: 'what is to be copied does not have the digest of its seal' })
