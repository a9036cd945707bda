/**
 * What services answered to look-ups, kept across runs: `lookups.db` of the data directory, a SQLite file of its own, so
 * that it can be deleted at any time. Several processes may use it at once.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ColdtrailError } from '../core/errors.ts'

export interface LookupCache {
  /** Answers that were given at `since` (milliseconds) or later, by what was asked. */
  known(asked: Iterable<string>, since: number): Map<string, string>
  /** Keeps answers given at this time (milliseconds); all of them or, when it throws, none. */
  keep(answers: Iterable<readonly [asked: string, answer: string]>, at: number): void
  close(): void
}

export const lookupsPath = (dataDir: string): string => join(dataDir, 'lookups.db')

/** Answers of one service: name it by all that decides the answer, such as its address. E_LOOKUP_CACHE. */
export function openLookupCache(dataDir: string, service: string): LookupCache {
  const path = lookupsPath(dataDir)
  const attempt = <T>(action: () => T): T => {
    try {
      return action()
    } catch (error) {
      throw new ColdtrailError('E_LOOKUP_CACHE', { path, cause: (error as Error).message }, { cause: error })
    }
  }
  return attempt(() => {
    mkdirSync(dataDir, { recursive: true })
    const database = new DatabaseSync(path, { timeout: BUSY_MS })
    try {
      database.exec(`pragma journal_mode = wal; pragma synchronous = normal;
        create table if not exists lookups (service text not null, asked text not null, answer text not null,
          at integer not null, primary key (service, asked)) without rowid`)
      const find = database.prepare('select answer from lookups where service = ? and asked = ? and at >= ?')
      const put = database.prepare('insert or replace into lookups (service, asked, answer, at) values (?, ?, ?, ?)')
      return {
        known: (asked, since) =>
          attempt(() => {
            const found = new Map<string, string>()
            for (const one of asked) {
              const row = find.get(service, one, since)
              if (row) found.set(one, row.answer as string)
            }
            return found
          }),
        keep: (answers, at) =>
          attempt(() => {
            database.exec('begin immediate')
            try {
              for (const [asked, answer] of answers) put.run(service, asked, answer, at)
              database.exec('commit')
            } catch (error) {
              database.exec('rollback')
              throw error
            }
          }),
        close: () => database.close(),
      }
    } catch (error) {
      database.close()
      throw error
    }
  })
}

// --- internal ---

const BUSY_MS = 10_000
