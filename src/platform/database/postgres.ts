/**
 * Connections to PostgreSQL: a pool for Kysely and single clients for session locks. Every connection works in the
 * catalog's own schema, and TCP keepalive (5 s idle, 2 s apart, 3 times) ends a session whose host has gone.
 */
import { type Dialect, PostgresDialect } from 'kysely'
import pg from 'pg'
import { exactNumber } from './exactNumber.ts'
import { openFault } from './sqliteFault.ts'

/** Pool size: one for a commit, one for reads beside it, and some for parallel claims. */
const POOL_SIZE = 4

export interface PostgresServer {
  readonly dialect: Dialect
  /** One connection with settings of its own, for Kysely and for COPY. */
  session(settings: Readonly<Record<string, string>>): { readonly dialect: Dialect; readonly pool: pg.Pool }
  /** A connected client of its own. */
  connect(): Promise<pg.Client>
}

/** Makes the schema when it is missing. E_CATALOG_OPEN or E_LIBRARY_OPEN when the server cannot be reached; the URL is never shown. */
export async function connectPostgres(url: string, schema: string): Promise<PostgresServer> {
  const config: pg.ClientConfig = {
    connectionString: url,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
    connectionTimeoutMillis: 10_000,
    options:
      `-c search_path=${schema} -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3` +
      ' -c synchronous_commit=on',
    types: { getTypeParser: typeParser },
  }
  const server: PostgresServer = {
    dialect: new PostgresDialect({ pool: async () => quiet(new pg.Pool({ ...config, max: POOL_SIZE })) }),
    session(settings) {
      const own = Object.entries(settings).map(([name, value]) => ` -c ${name}=${value}`)
      const options = `${config.options}${own.join('')}`
      const pool = quiet(new pg.Pool({ ...config, options, max: 1, idleTimeoutMillis: 0 }))
      return { dialect: new PostgresDialect({ pool }), pool }
    },
    async connect() {
      const client = new pg.Client(config)
      try {
        await client.connect()
      } catch (error) {
        throw openFault(`PostgreSQL schema ${schema}`, error)
      }
      return client
    },
  }
  const client = await server.connect()
  try {
    await client.query('select pg_advisory_lock(hashtext($1))', ['coldtrail create schema'])
    // Not "if not exists": that asks for the right to create even when there is nothing to do.
    const { rowCount } = await client.query('select 1 from pg_namespace where nspname = $1', [schema])
    if (!rowCount) await client.query(`create schema ${pg.escapeIdentifier(schema)}`)
  } finally {
    await client.end()
  }
  return server
}

// --- internal ---

function typeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  if (oid !== pg.types.builtins.INT8) return pg.types.getTypeParser(oid, format as 'text')
  return (text) => exactNumber(BigInt(text))
}

/**
 * A connection that breaks fails its query and is replaced at the next use; it also says so by an event, which without
 * a listener would end the process.
 */
function quiet(pool: pg.Pool): pg.Pool {
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}
