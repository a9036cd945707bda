/**
 * A lock that ends with the process that holds it: an exclusive SQLite transaction on a file of its own, which the
 * kernel ends. It knows no time: it is held or it is free. On network file systems it may not hold.
 */
import { rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

export interface FileLock {
  readonly path: string
  /** `remove`: delete the file too; only where its name is never used again, or two could hold one name. */
  release(options?: { readonly remove?: boolean }): void
}

/** Takes the lock, or answers undefined at once when it is held. Throws what SQLite throws, a full disk as ENOSPC. The directory must exist. */
export function takeFileLock(path: string): FileLock | undefined {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    database.exec('begin exclusive')
  } catch (error) {
    database?.close()
    if (isBusy(error)) return undefined
    // As every other write says it.
    if (primaryCode(error) === SQLITE_FULL) Object.assign(error as Error, { code: 'ENOSPC' })
    throw error
  }
  const held = database
  const lock: FileLock = {
    path,
    release({ remove = false } = {}) {
      if (!heldByProcess.delete(lock)) return
      if (remove) rmSync(path, { force: true })
      held.close()
    },
  }
  heldByProcess.add(lock)
  return lock
}

/** Whether SQLite refused because another connection holds what was asked for. */
export function isBusy(error: unknown): boolean {
  return primaryCode(error) === SQLITE_BUSY
}

// --- internal ---

/** https://www.sqlite.org/rescode.html: primary result codes are the lowest byte of extended ones. */
const SQLITE_BUSY = 5
const SQLITE_FULL = 13
const primaryCode = (error: unknown): number => ((error as { errcode?: number }).errcode ?? 0) & 0xff

/** All that this process holds: an open database that nobody can reach any more would be closed, and its lock with it. */
const heldByProcess = new Set<FileLock>()
