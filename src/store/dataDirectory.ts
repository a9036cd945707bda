/** What tells a data directory from any other: reading must neither make one nor take a folder without data for one. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'

/** Whether anything of Coldtrail is in it: a mount point without its disk has nothing. */
export function holdsData(path: string): boolean {
  return MARKS.some((name) => existsSync(join(path, name)))
}

/** E_DATA_MISSING where there is nothing to answer from. The directory may be empty where data are `elsewhere` too. */
export function requireDataDirectory(path: string, elsewhere = false): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isDirectory() && (elsewhere || holdsData(path))) return
  const reason = !found ? 'it does not exist' : found.isDirectory() ? 'the directory has no data' : 'it is no directory'
  throw new ColdtrailError('E_DATA_MISSING', { path, reason })
}

// --- internal ---

/** Whichever of them was made first. */
const MARKS = ['catalog.db', 'library.db', 'keys', 'collections', 'history']
