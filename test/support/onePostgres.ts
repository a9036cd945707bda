/** Set-up of a whole run (`scripts/run test`): one PostgreSQL server for all test files, which find it in their environment. */
import { type PostgresServer, startPostgres } from './postgresServer.ts'

let server: PostgresServer | undefined

export async function globalSetup(): Promise<void> {
  server = await startPostgres()
  process.env.COLDTRAIL_TEST_POSTGRES = server.url
}

export async function globalTeardown(): Promise<void> {
  await server?.stop()
}
