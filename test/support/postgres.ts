/** A PostgreSQL database for one test process: on the server of the whole run, or on one that ends with the tests of the file. */
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { emptyDatabase, type PostgresServer, startPostgres } from './postgresServer.ts'

/** URL of the server of a whole run (`onePostgres.ts`); each test file has a database of its own on it. */
const SERVER_VARIABLE = 'COLDTRAIL_TEST_POSTGRES'

let started: Promise<PostgresServer> | undefined
let database: Promise<string> | undefined

// At the top of the file: inside a test it would stop the server when that test ends.
after(async () => (await started)?.stop())

/** URL of the database of this process. */
export async function postgresUrl(): Promise<string> {
  const server = process.env[SERVER_VARIABLE]
  if (server) {
    database ??= emptyDatabase(server, `file_${process.pid}`)
    return database
  }
  started ??= startPostgres()
  return (await started).url
}

/** Waits until no session of this database holds a lock any more: the server notices the end of a process a little later. */
export async function locksFreed(url: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    for (let wait = 0; wait < 600; wait++) {
      const { rows } = await client.query(
        `select 1 from pg_locks where locktype = 'advisory'
         and database = (select oid from pg_database where datname = current_database())`,
      )
      if (rows.length === 0) return
      await sleep(25)
    }
    throw new Error('a session still holds its locks')
  } finally {
    await client.end()
  }
}
