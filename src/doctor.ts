/** `coldtrail doctor`: names the missing permission, mount, key, clock or space before a run trips over it. */
import { existsSync, lstatSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from './config.ts'
import { asColdtrailError } from './core/errors.ts'
import { fileSystemOf, isWritable, nearestExisting } from './platform/fileSystem.ts'

export interface Check {
  readonly name: string
  readonly status: 'ok' | 'warning' | 'failed'
  readonly message: string
  /** What to do, when it is not ok. */
  readonly hint?: string
}

/** A check that needs the layers above: opens something, and says what it found or throws. */
export type Probe = readonly [name: string, probe: () => Promise<string>]

export async function examine(config: Config, probes: readonly Probe[]): Promise<Check[]> {
  const checks = [nodeVersion(), ...dataDirectory(config), clock(config), ...keyFiles(config)]
  for (const [name, probe] of probes) checks.push(await attempt(name, probe))
  return checks
}

// --- internal ---

const GIB = 1024 ** 3
const LEAST_NODE = 24
/** Below this no clock of a machine that runs this program can be right. */
const EARLIEST = Date.UTC(2026, 0, 1)

async function attempt(name: string, probe: () => Promise<string>): Promise<Check> {
  try {
    return { name, status: 'ok', message: await probe() }
  } catch (thrown) {
    const error = asColdtrailError(thrown)
    return { name, status: 'failed', message: `${error.message} (${error.code})`, hint: error.hint }
  }
}

function nodeVersion(): Check {
  const major = Number(process.versions.node.split('.')[0])
  const message = `Node.js ${process.version} on ${process.platform} ${process.arch}`
  if (major >= LEAST_NODE) return { name: 'runtime', status: 'ok', message }
  return {
    name: 'runtime',
    status: 'failed',
    message,
    hint: `Start Coldtrail with ./coldtrail, or install Node.js ${LEAST_NODE}.`,
  }
}

function dataDirectory({ data_dir, catalog_url }: Config): Check[] {
  const name = 'data directory'
  const place = existsSync(data_dir) ? data_dir : `${data_dir} (made at the first collect)`
  if (!isWritable(data_dir)) {
    const hint = `Let this user write to ${nearestExisting(data_dir)}, or name another directory with --data-dir.`
    return [{ name, status: 'failed', message: `${place} is not writable`, hint }]
  }
  const { freeBytes, totalBytes, network } = fileSystemOf(data_dir)
  const free = `${(freeBytes / GIB).toFixed(1)} of ${(totalBytes / GIB).toFixed(1)} GiB free`
  return [
    { name, status: 'ok', message: `${place} is writable` },
    network === undefined || catalog_url !== undefined
      ? {
          name: 'mount',
          status: 'ok',
          message: network ? `${network}; the catalog is elsewhere` : 'a local file system',
        }
      : {
          name: 'mount',
          status: 'failed',
          message: `${data_dir} is on ${network}, where SQLite locks do not hold`,
          hint: 'Put data_dir on a local disk, or the catalog on PostgreSQL with catalog_url.',
        },
    freeBytes >= GIB
      ? { name: 'space', status: 'ok', message: free }
      : {
          name: 'space',
          status: 'warning',
          message: free,
          hint: 'A full disk stops collecting; nothing committed is lost.',
        },
  ]
}

function clock({ data_dir }: Config): Check {
  const now = Date.now()
  const newest = newestFile(data_dir)
  const message = `${new Date(now).toISOString()} (UTC)`
  const hint = 'Set the clock (NTP): sealing times and date ranges depend on it.'
  if (now < EARLIEST) return { name: 'clock', status: 'failed', message: `${message} is in the past`, hint }
  if (newest > now + 60_000) {
    return { name: 'clock', status: 'warning', message: `${message} is before files written already`, hint }
  }
  return { name: 'clock', status: 'ok', message }
}

function newestFile(directory: string): number {
  if (!existsSync(directory)) return 0
  // Of a link itself, which may lead in a circle.
  const times = readdirSync(directory).map(
    (name) => lstatSync(join(directory, name), { throwIfNoEntry: false })?.mtimeMs,
  )
  return Math.max(0, ...times.map((time) => time ?? 0))
}

/** Key files belong to one user: whoever reads them can test guesses against every keyset, or sign links. */
function keyFiles({ data_dir }: Config): Check[] {
  const directory = join(data_dir, 'keys')
  if (!existsSync(directory)) return []
  if (!statSync(directory).isDirectory()) {
    const hint = 'Put the folder back from a copy; without its keys nothing can be committed.'
    return [{ name: 'keys', status: 'failed', message: `${directory} is no folder`, hint }]
  }
  const isOpen = (name: string): boolean => {
    const path = join(directory, name)
    return existsSync(path) && (statSync(path).mode & 0o077) !== 0
  }
  const secretOnes = readdirSync(directory).filter((name) => name.endsWith('.key') && isOpen(name))
  if (secretOnes.length === 0) return [{ name: 'keys', status: 'ok', message: 'readable by this user only' }]
  const message = `${secretOnes.join(', ')} can be read by other users`
  return [{ name: 'keys', status: 'failed', message, hint: `chmod 600 ${join(directory, '*.key')}` }]
}
