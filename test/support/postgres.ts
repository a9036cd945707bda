/** A PostgreSQL database for one test process: on the server of the whole run, or on one that ends with the tests of the file. */
import { after } from 'node:test'
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
