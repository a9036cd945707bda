/** A durable file that hashes what passes. */
import { createHash, type Hash } from 'node:crypto'
import { createDurableFile, type DurableFile } from '../platform/files.ts'

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
