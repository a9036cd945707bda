/** A PostgreSQL server for one test process. Started at the first call, stopped when the tests of the file end. */
import { after } from 'node:test'
import { type PostgresServer, startPostgres } from './postgresServer.ts'

let started: Promise<PostgresServer> | undefined

// At the top of the file: inside a test it would stop the server when that test ends.
after(async () => (await started)?.stop())

/** URL of the server's database `postgres`. */
export async function postgresUrl(): Promise<string> {
  started ??= startPostgres()
  return (await started).url
}
