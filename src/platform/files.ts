/**
 * The one durable-write routine: temporary name, fsync, rename, fsync of the directory. Whatever this returns from is
 * on the disk under its final name; whatever it did not return from is a `.tmp` that nobody reads.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { faultPoint } from './faults.ts'

/** A file being written under `<path>.tmp`; `publish` makes it durable under its name, `discard` removes it. */
export interface DurableFile {
  readonly path: string
  /** Bytes written so far. */
  readonly size: number
  write(bytes: Uint8Array): void
  publish(): void
  discard(): void
}

export function createDurableFile(path: string, mode = 0o644): DurableFile {
  const temporary = `${path}.tmp`
  const descriptor = attempt(path, () => {
    // A rename over /dev/null or a pipe would take it away from everybody.
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) throw new Error('it is no regular file')
    return openSync(temporary, 'w', mode)
  })
  let size = 0
  let open = true
  return {
    path,
    get size() {
      return size
    },
    write(bytes) {
      attempt(path, () => {
        for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at, bytes.length - at)
      })
      size += bytes.length
    },
    publish() {
      attempt(path, () => {
        faultPoint('file.temp-written')
        fsyncSync(descriptor)
        closeSync(descriptor)
        open = false
        faultPoint('file.synced')
        renameSync(temporary, path)
        faultPoint('file.renamed')
        syncDirectory(dirname(path))
        faultPoint('file.directory-synced')
      })
    },
    discard() {
      if (open) closeSync(descriptor)
      open = false
      rmSync(temporary, { force: true })
    },
  }
}

/** Writes a whole file durably; mode 0600 for keys. Replaces an existing one atomically. */
export function writeDurably(path: string, bytes: Uint8Array | string, mode?: number): void {
  const file = createDurableFile(path, mode)
  try {
    file.write(typeof bytes === 'string' ? Buffer.from(bytes) : bytes)
    file.publish()
  } catch (error) {
    file.discard()
    throw error
  }
}

/** Creates a directory, and those above it, and makes their entries durable. */
export function makeDirectory(path: string): void {
  attempt(path, () => {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return
    const missing = [path]
    // Step by step: Node's own recursion never ends where the system refuses a directory as missing, as in /proc.
    for (let above = dirname(path); !existsSync(above); above = dirname(above)) missing.unshift(above)
    for (const directory of missing) {
      makeOne(directory)
      syncDirectory(dirname(directory))
    }
  })
}

export function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Another process may have been quicker. */
function makeOne(directory: string): void {
  try {
    mkdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !statSync(directory).isDirectory()) throw error
  }
}

/** Runs what writes to `path`; its faults become E_DISK_FULL or E_FILE_WRITE. */
export function attempt<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOSPC' || code === 'EDQUOT') throw new ColdtrailError('E_DISK_FULL', { path }, { cause: error })
    const cause = error instanceof Error ? error.message : String(error)
    throw new ColdtrailError('E_FILE_WRITE', { path, cause }, { cause: error })
  }
}
