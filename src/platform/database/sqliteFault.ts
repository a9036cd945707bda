/** What SQLite reports and people can do something about, as errors of ours; anything else stays as it is. */
import { ColdtrailError } from '../../core/errors.ts'

/** A database that cannot be opened or read. What helps differs: a catalog is made anew from the files, a library is not. */
export function openFault(path: string, error: unknown): ColdtrailError {
  const cause = error instanceof Error ? error.message : String(error)
  const code = /(?:^|[\\/])library\.db$|_library$/.test(path) ? 'E_LIBRARY_OPEN' : 'E_CATALOG_OPEN'
  return new ColdtrailError(code, { path, cause }, { cause: error })
}

export function sqliteFault(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || error instanceof ColdtrailError) return error
  const { errcode } = error as { errcode?: number }
  const values = { path, cause: error.message }
  if (errcode === undefined) return error
  if (errcode === READ || errcode === SHORT_READ) return openFault(path, error)
  switch (errcode & 0xff) {
    case FULL:
      return new ColdtrailError('E_DISK_FULL', { path }, { cause: error })
    // A limit of the file system, or a directory that went away or may not be written.
    case IO_FAULT:
    case READ_ONLY:
      return new ColdtrailError('E_FILE_WRITE', values, { cause: error })
    case CANNOT_OPEN:
    case CORRUPT:
    case NO_DATABASE:
      return openFault(path, error)
    default:
      return error
  }
}

// --- internal ---

/** https://www.sqlite.org/rescode.html: primary result codes are the lowest byte of extended ones. */
const READ_ONLY = 8
const IO_FAULT = 10
const CORRUPT = 11
const FULL = 13
const CANNOT_OPEN = 14
const NO_DATABASE = 26
const READ = 266
const SHORT_READ = 522
