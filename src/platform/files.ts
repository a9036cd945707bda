/**
 * The one durable-write routine: temporary name, fsync, rename, fsync of the directory. Whatever this returns from is
 * on the disk under its final name; whatever it did not return from is a `.tmp` that nobody reads.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
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
    // A link that somebody laid there would lead to a file of theirs.
    return openSync(temporary, UNFINISHED, mode)
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

const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW = 0 } = constants
const UNFINISHED = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW

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

/**
 * Appends whole lines to a file, durably. The rest of a line that a crash cut off is ended first, so that it cannot
 * swallow the next one; or removed, so that it cannot be taken for a line either. Only who alone appends to the file may
 * ask for that: what another process is writing at this moment looks the same. False when the file no longer bears this
 * name: somebody who put it aside meanwhile may have read it before.
 */
export function appendDurably(path: string, lines: Uint8Array, cutOff: 'end' | 'remove' = 'end'): boolean {
  const isNew = !existsSync(path)
  return attempt(path, () => {
    const descriptor = openSync(path, 'a+')
    let isThere: boolean
    try {
      const { size, ino } = fstatSync(descriptor)
      const end = endOfLines(descriptor, size)
      if (end < size && cutOff === 'remove') ftruncateSync(descriptor, end)
      // In one write, which no other process' write divides.
      const bytes = end < size && cutOff === 'end' ? Buffer.concat([NEWLINE, lines]) : lines
      for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at)
      fsyncSync(descriptor)
      // While it is open nobody else gets its number.
      isThere = statSync(path, { throwIfNoEntry: false })?.ino === ino
    } finally {
      closeSync(descriptor)
    }
    if (isNew) syncDirectory(dirname(path))
    return isThere
  })
}

/** A file of the store, or undefined where there is none. What is there and cannot be read as a file is E_SEGMENT_READ. */
export function readIfThere(path: string): Buffer | undefined {
  return ifThere(path, () => readFileSync(path))
}

/** All that a pipe or a file of unknown size has; undefined when that is more than `most` bytes. Waits for who writes. */
export function readToEnd(descriptor: number, most: number): Buffer | undefined {
  const chunks: Buffer[] = []
  for (let size = 0; ; ) {
    const chunk = Buffer.allocUnsafe(2 ** 20)
    const length = readWaiting(descriptor, chunk)
    if (length === 0) return Buffer.concat(chunks, size)
    size += length
    if (size > most) return undefined
    chunks.push(chunk.subarray(0, length))
  }
}

/** Names in a directory of the store, none where there is none. What is there and is no such directory is E_SEGMENT_READ. */
export function namesIfThere(directory: string): string[] {
  return ifThere(directory, () => readdirSync(directory)) ?? []
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

function ifThere<T>(path: string, read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ColdtrailError('E_SEGMENT_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}

const NEWLINE = Buffer.from('\n')

/** Where the last whole line ends. */
function endOfLines(descriptor: number, size: number): number {
  const window = Buffer.alloc(65_536)
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - window.length)
    const read = readSync(descriptor, window, 0, end - start, start)
    const newline = window.subarray(0, read).lastIndexOf(0x0a)
    if (newline >= 0) return start + newline + 1
    end = start
  }
  return 0
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

const RETRY_MS = 5

/** Another process that has the pipe may have made it one that does not wait: then there is EAGAIN while it is empty. */
function readWaiting(descriptor: number, into: Buffer): number {
  for (;;) {
    try {
      return readSync(descriptor, into)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS)
    }
  }
}
