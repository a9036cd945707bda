/** A durable file that hashes what passes; and the digests of what lies there. */
import { createHash, type Hash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { createDurableFile, type DurableFile } from '../platform/files.ts'
import { throwIfAborted } from './duckdb.ts'
import { directoryDigest } from './manifest.ts'

export interface Digest {
  readonly size: number
  /** Lower-case hex. */
  readonly sha256: string
}

export async function digestOfFile(path: string, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256')
  let size = 0
  const file = await open(path)
  for await (const chunk of file.createReadStream({ highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
    throwIfAborted(signal)
    hash.update(chunk)
    size += chunk.length
  }
  return { size, sha256: hash.digest('hex') }
}

/** Of an index: over its sorted list of files. */
export async function digestOfDirectory(path: string, signal?: AbortSignal): Promise<Digest> {
  const parts = []
  for (const name of readdirSync(path)) parts.push({ name, ...(await digestOfFile(join(path, name), signal)) })
  return directoryDigest(parts)
}

export class HashedFile implements DurableFile {
  private readonly file: DurableFile
  private readonly hash: Hash = createHash('sha256')

  constructor(path: string) {
    this.file = createDurableFile(path)
  }
  get path(): string {
    return this.file.path
  }
  get size(): number {
    return this.file.size
  }
  write(bytes: Uint8Array): void {
    this.hash.update(bytes)
    this.file.write(bytes)
  }
  publish(): void {
    this.file.publish()
  }
  discard(): void {
    this.file.discard()
  }
  digest(): string {
    return this.hash.digest('hex')
  }
}
