/** A library that does not exist yet, for suites that run over both databases. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Library, type LibraryOptions, openLibrary } from '../../src/library/library.ts'
import { postgresUrl } from './postgres.ts'

export type Dialect = 'sqlite' | 'postgres'
export const DIALECTS: readonly Dialect[] = ['sqlite', 'postgres']

let schemas = 0

/** Options of a new data directory (the caller removes it) and a schema of its own. */
export async function freshLibrary(dialect: Dialect): Promise<LibraryOptions> {
  const url = dialect === 'postgres' ? { url: await postgresUrl() } : {}
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-library-'))
  return { dataDir, schema: `l${++schemas}_${process.pid}`, ...url }
}

/** Opens a new library for the action and removes it, whatever came of it. */
export async function withFreshLibrary<T>(
  dialect: Dialect,
  action: (library: Library, options: LibraryOptions) => Promise<T>,
  more: Partial<LibraryOptions> = {},
): Promise<T> {
  const options = { ...(await freshLibrary(dialect)), ...more }
  try {
    const library = await openLibrary(options)
    try {
      return await action(library, options)
    } finally {
      await library.close()
    }
  } finally {
    rmSync(options.dataDir, { recursive: true, force: true })
  }
}

/** What an iterable gives, at once. */
export async function listOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
