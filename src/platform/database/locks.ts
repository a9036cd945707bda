/**
 * Locks that end with the process. SQLite: an exclusive transaction on `locks/<name>.db`, which the kernel ends.
 * PostgreSQL: session advisory locks on one dedicated connection. Neither knows time: a lock is held or it is free.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { hashNumber } from '../../core/digest.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { type FileLock, takeFileLock } from '../fileLock.ts'
import { makeDirectory } from '../files.ts'
import type { PostgresServer } from './postgres.ts'
import { sqliteFault } from './sqliteFault.ts'

export interface Lock {
  /** True once the lock was lost while the process lives (a connection broke). */
  readonly lost: boolean
  release(): Promise<void>
}

export interface Locks {
  /** Takes a lock, or answers undefined at once when it is held. `name`: `[a-z0-9-]`. */
  acquire(name: string): Promise<Lock | undefined>
  /** Registers a reader that may read files retired by retirement `since` or later. */
  acquireReader(since: number): Promise<Lock>
  /** The lowest `since` of all living readers; undefined without any. */
  oldestReader(): Promise<number | undefined>
  close(): Promise<void>
}

export function fileLocks(directory: string): Locks {
  makeDirectory(directory)
  const held = new Set<OwnedFile>()
  const take = (name: string): OwnedFile | undefined => {
    const lock = OwnedFile.take(join(directory, `${name}.db`), () => held.delete(lock!))
    if (lock) held.add(lock)
    return lock
  }
  return {
    acquire: async (name) => take(name),
    async acquireReader(since) {
      return take(`reader-${since}-${process.pid}-${crypto.randomUUID()}`)!
    },
    async oldestReader() {
      let oldest: number | undefined
      for (const name of readdirSync(directory)) {
        const match = /^(reader-(\d+)-[0-9a-f-]+)\.db$/.exec(name)
        if (!match) continue
        const dead = take(match[1]!)
        if (dead) await dead.release()
        else oldest = Math.min(oldest ?? Number.MAX_SAFE_INTEGER, Number(match[2]))
      }
      return oldest
    },
    async close() {
      for (const lock of held) await lock.release()
    },
  }
}

/**
 * For who may not write where lock files are. Nobody sees such a reader: files that are retired while it reads go when
 * their grace time is over, and it then says so (E_SEGMENT_GONE).
 */
export function readOnlyLocks(directory: string): Locks {
  return {
    async acquire() {
      const cause = 'its files and folders are not writable'
      throw new ColdtrailError('E_CATALOG_READ_ONLY', { path: directory, cause })
    },
    acquireReader: async () => ({ lost: false, release: async () => undefined }),
    oldestReader: async () => undefined,
    close: async () => undefined,
  }
}

/** A lock file's name is used once, but for `hold-…`: only such a file may be removed, or two could hold one name. */
class OwnedFile implements Lock {
  readonly lost = false
  private readonly file: FileLock
  private readonly onRelease: () => void

  private constructor(file: FileLock, onRelease: () => void) {
    this.file = file
    this.onRelease = onRelease
  }

  static take(path: string, onRelease: () => void): OwnedFile | undefined {
    try {
      const file = takeFileLock(path)
      return file && new OwnedFile(file, onRelease)
    } catch (error) {
      const fault = sqliteFault(error, path)
      if (fault instanceof ColdtrailError) throw fault
      throw new ColdtrailError('E_CATALOG_OPEN', { path, cause: (error as Error).message }, { cause: error })
    }
  }

  async release(): Promise<void> {
    this.file.release({ remove: !/[\\/]hold-[^\\/]*$/.test(this.file.path) })
    this.onRelease()
  }
}

/** Advisory locks are per database, so the schema is part of every lock's number. */
export function postgresLocks(server: PostgresServer, schema: string): Locks {
  return new PostgresLocks(server, schema)
}

class PostgresLocks implements Locks {
  private readonly server: PostgresServer
  private readonly schema: string
  private client: Promise<pg.Client> | undefined
  /** A session may take its own advisory lock again, so what this process holds is kept here. */
  private held = new Map<string, { lost: boolean }>()

  constructor(server: PostgresServer, schema: string) {
    this.server = server
    this.schema = schema
  }

  async acquire(name: string): Promise<Lock | undefined> {
    if (this.held.has(name)) return undefined
    const state = { lost: false }
    this.held.set(name, state)
    const key = hashNumber(63, this.schema, name).toString()
    try {
      const client = await this.session()
      const { rows } = await client.query('select pg_try_advisory_lock($1::bigint) as taken', [key])
      if (rows[0].taken) return this.lock(name, state, 'select pg_advisory_unlock($1::bigint)', [key])
    } catch (error) {
      this.held.delete(name)
      throw error
    }
    this.held.delete(name)
    return undefined
  }

  async acquireReader(since: number): Promise<Lock> {
    const state = { lost: false }
    const name = `reader-${crypto.randomUUID()}`
    const client = await this.session()
    const key = [this.readerClass(), since]
    await client.query('select pg_advisory_lock_shared($1::int, $2::int)', key)
    this.held.set(name, state)
    return this.lock(name, state, 'select pg_advisory_unlock_shared($1::int, $2::int)', key)
  }

  async oldestReader(): Promise<number | undefined> {
    const client = await this.session()
    const { rows } = await client.query(
      `select min(objid::bigint) as oldest from pg_locks
       where locktype = 'advisory' and objsubid = 2 and classid::bigint = $1
         and database = (select oid from pg_database where datname = current_database())`,
      [this.readerClass()],
    )
    return rows[0].oldest ?? undefined
  }

  async close(): Promise<void> {
    const client = await this.client
    this.client = undefined
    await client?.end()
    this.held.clear()
  }

  private readerClass(): number {
    return Number(hashNumber(31, this.schema, 'readers'))
  }

  private lock(name: string, state: { lost: boolean }, unlock: string, key: unknown[]): Lock {
    return {
      get lost() {
        return state.lost
      },
      release: async () => {
        if (this.held.get(name) !== state) return
        this.held.delete(name)
        const client = await this.session()
        await client.query(unlock, key)
      },
    }
  }

  private readonly gone = (): void => {
    for (const state of this.held.values()) state.lost = true
    this.held.clear()
    this.client = undefined
  }

  private session(): Promise<pg.Client> {
    this.client ??= this.server.connect().then(
      (client) => {
        client.on('error', this.gone)
        client.on('end', this.gone)
        return client
      },
      (error) => {
        this.client = undefined
        throw error
      },
    )
    return this.client
  }
}
