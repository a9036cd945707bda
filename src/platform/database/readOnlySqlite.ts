/**
 * A SQLite file in WAL mode for somebody who may write neither it nor its directory, on which SQLite's locks and its index
 * of the log (`-shm`) depend. As long as a writer has the file open they are there, and are used as ever. When there is no
 * log (`-wal`), every commit is in the file itself, and it is read as it is, without locks: a writer that comes later
 * first writes a log, and the file changes only when that is moved into it, which its stamp shows. With a log and
 * without its index there is no way: E_CATALOG_READ_ONLY.
 */
import { existsSync, statSync } from 'node:fs'
import { DatabaseSync, type DatabaseSyncOptions } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { ColdtrailError } from '../../core/errors.ts'

export interface OpenFile {
  readonly database: DatabaseSync
  /** Of a file that is read without locks: what was read holds only if the file still has it afterwards. */
  readonly stamp?: string
}

/** Throws what SQLite throws, and E_CATALOG_READ_ONLY. */
export function openReadOnly(path: string, options: DatabaseSyncOptions): OpenFile {
  for (let attempt = 1; ; attempt++) {
    const opened = hasLog(path) ? withLog(path, options, attempt === ATTEMPTS) : withoutLog(path, options)
    if (opened) return opened
    if (attempt === ATTEMPTS) throw new ColdtrailError('E_CATALOG_BUSY', { cause: 'it changes all the time' })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS)
  }
}

export function stampOf(path: string): string {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stats ? [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join() : 'gone'
}

/** Whether there may be newer commits than those in the file. */
export const hasLog = (path: string): boolean => existsSync(`${path}-wal`)

// --- internal ---

const ATTEMPTS = 20
const PAUSE_MS = 50

/** Undefined while a writer is about to make or to remove its files. */
function withLog(path: string, options: DatabaseSyncOptions, isLast: boolean): OpenFile | undefined {
  const database = new DatabaseSync(path, { ...options, readOnly: true })
  try {
    database.exec('pragma busy_timeout = 20; select 1 from sqlite_master')
    return { database }
  } catch (error) {
    database.close()
    const code = ((error as { errcode?: number }).errcode ?? 0) & 0xff
    if (code !== READ_ONLY && code !== CANNOT_OPEN) throw error
    if (!isLast || !hasLog(path)) return undefined
    const cause = `${path}-wal holds commits, and ${path}-shm, without which only a writer can read them, is not here`
    throw new ColdtrailError('E_CATALOG_READ_ONLY', { path, cause }, { cause: error })
  }
}

/** Undefined when the file may change before its stamp could tell: file systems count time in ticks. */
function withoutLog(path: string, options: DatabaseSyncOptions): OpenFile | undefined {
  const stamp = stampOf(path)
  const changed = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (Math.abs(Date.now() - changed) < PAUSE_MS) return undefined
  const url = pathToFileURL(path)
  url.search = '?mode=ro&immutable=1'
  const database = new DatabaseSync(url, { ...options, readOnly: true })
  if (!hasLog(path) && stampOf(path) === stamp) return { database, stamp }
  database.close()
  return undefined
}

/** https://www.sqlite.org/rescode.html */
const READ_ONLY = 8
const CANNOT_OPEN = 14
