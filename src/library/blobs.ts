/**
 * Contents of attachments, each under its own SHA-256: `<data_dir>/library/blobs/<2 hex>/<sha256>`. A name from
 * elsewhere never becomes a path, and what lies there was hashed while it was written.
 */
import { createHash } from 'node:crypto'
import { createReadStream, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { attempt, createDurableFile, makeDirectory, syncDirectory } from '../platform/files.ts'
import { isProcessAlive } from '../platform/processes.ts'

/** No larger content is taken in. */
export const MAX_BLOB_BYTES = 4 * 1024 ** 3

/** What a file without content is exported as, byte for byte (P33). */
export const EXCLUDED_CONTENT = 'File excluded from export.'

export interface StoredBlob {
  readonly sha256: Buffer
  /** ThreatQ's `attachments.hash`. */
  readonly md5: Buffer
  readonly size: number
}

export interface BlobStore {
  /** Bytes of a content, undefined when it is not here. */
  size(sha256: Uint8Array): number | undefined
  /** The content's file. It exists when `size` is known. */
  path(sha256: Uint8Array): string
  read(sha256: Uint8Array): AsyncIterable<Buffer>
  /**
   * Writes a content durably, once. `expected`: its digest; another one is E_BLOB_DIGEST and leaves nothing. More than
   * MAX_BLOB_BYTES is E_BLOB_SIZE.
   */
  put(
    content: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    expected?: Uint8Array,
  ): Promise<StoredBlob>
  /** Removes a content that no row refers to any more. */
  remove(sha256: Uint8Array): void
  /** Removes what a run that died was writing. */
  sweep(): void
}

export function openBlobs(dataDir: string, maxBytes = MAX_BLOB_BYTES): BlobStore {
  const root = join(dataDir, 'library', 'blobs')
  const incoming = join(root, 'incoming')
  const hex = (sha256: Uint8Array): string => {
    if (sha256.length !== 32) throw new RangeError('a SHA-256 has 32 bytes')
    return Buffer.from(sha256).toString('hex')
  }
  const path = (sha256: Uint8Array): string => {
    const name = hex(sha256)
    return join(root, name.slice(0, 2), name)
  }
  const size = (sha256: Uint8Array): number | undefined => statSync(path(sha256), { throwIfNoEntry: false })?.size
  return {
    size,
    path,
    read: (sha256) => createReadStream(path(sha256)),
    async put(content, expected) {
      makeDirectory(incoming)
      const file = createDurableFile(join(incoming, `${process.pid}-${crypto.randomUUID()}`))
      const sha = createHash('sha256')
      const md5 = createHash('md5')
      try {
        for await (const chunk of content instanceof Uint8Array ? [content] : content) {
          if (file.size + chunk.length > maxBytes) throw new ColdtrailError('E_BLOB_SIZE', { limit: maxBytes })
          sha.update(chunk)
          md5.update(chunk)
          file.write(chunk)
        }
        const sha256 = sha.digest()
        if (expected !== undefined && !sha256.equals(expected))
          throw new ColdtrailError('E_BLOB_DIGEST', { expected: hex(expected), found: hex(sha256) })
        const stored = { sha256, md5: md5.digest(), size: file.size }
        if (size(sha256) === file.size) {
          file.discard()
          return stored
        }
        const place = path(sha256)
        makeDirectory(dirname(place))
        file.publish()
        attempt(place, () => {
          renameSync(file.path, place)
          syncDirectory(dirname(place))
        })
        return stored
      } catch (error) {
        file.discard()
        throw error
      }
    },
    remove: (sha256) => rmSync(path(sha256), { force: true }),
    sweep() {
      if (statSync(incoming, { throwIfNoEntry: false }) === undefined) return
      for (const name of readdirSync(incoming)) {
        const owner = Number.parseInt(name, 10)
        if (!isProcessAlive(owner)) rmSync(join(incoming, name), { force: true })
      }
    },
  }
}
