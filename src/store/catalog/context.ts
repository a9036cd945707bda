/** What every part of the catalog works with: the database, its locks, and where the files are. */
import { isAbsolute, join, relative, resolve } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import type { SegmentFacts } from '../chain.ts'
import type { SigningKey } from '../signingKeys.ts'
import type { Lock, Locks } from './locks.ts'
import { Readers } from './readers.ts'
import type { Database, Tx } from './schema.ts'

export interface OwnerState {
  readonly id: string
  readonly epoch: number
  readonly lock: Lock
}

/** Objects or rows handled by one statement: below the parameter limits of both databases. */
export const BATCH = 1000

export class CatalogContext {
  readonly dialect: 'sqlite' | 'postgres'
  readonly db: Database
  readonly locks: Locks
  readonly readers: Readers
  readonly dataDir: string
  readonly historyDir: string
  /** Undefined for who may only read. */
  readonly key: SigningKey | undefined
  /** Owners of this process, by id. */
  readonly owners = new Map<string, OwnerState>()

  constructor(parts: Pick<CatalogContext, 'dialect' | 'db' | 'locks' | 'dataDir' | 'historyDir' | 'key'>) {
    this.dialect = parts.dialect
    this.db = parts.db
    this.locks = parts.locks
    this.readers = new Readers(parts.db, parts.locks)
    this.dataDir = parts.dataDir
    this.historyDir = parts.historyDir
    this.key = parts.key
  }

  /** The key that signs links. E_CATALOG_READ_ONLY for who may only read the data directory. */
  requireWritable(): SigningKey {
    if (this.key) return this.key
    throw new ColdtrailError('E_CATALOG_READ_ONLY', {
      path: this.dataDir,
      cause: 'its files and folders are not writable',
    })
  }

  /** Where new files of a collection are written. */
  collectionDirectory(collection: string): string {
    return join(this.dataDir, 'collections', checkedCollection(collection))
  }

  manifestDirectory(collection: string): string {
    return join(this.historyDir, checkedCollection(collection))
  }

  chainDirectory(collection: string): string {
    return join(this.manifestDirectory(collection), 'chain')
  }

  /** A directory as it is stored: relative to the data directory when inside it, so that the whole may be moved. */
  storedDirectory(path: string): string {
    const inside = relative(this.dataDir, path)
    return inside.startsWith('..') || isAbsolute(inside) ? path : inside
  }

  resolvedDirectory(stored: SegmentFacts['directory']): string {
    return resolve(this.dataDir, stored)
  }

  /** One write transaction. A deadlock or serialisation failure of PostgreSQL undid it whole, so it is run again. */
  async write<T>(action: (tx: Tx) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.db.transaction().execute(action)
      } catch (error) {
        const code = (error as { code?: string }).code
        if ((code !== DEADLOCK && code !== SERIALIZATION_FAILURE) || attempt === 5) throw this.named(error)
      }
    }
  }

  /** Reads that belong together, on one snapshot. */
  async read<T>(action: (tx: Tx) => Promise<T>): Promise<T> {
    const transaction = this.db.transaction().setAccessMode('read only')
    const snapshot = this.dialect === 'postgres' ? transaction.setIsolationLevel('repeatable read') : transaction
    try {
      return await snapshot.execute(action)
    } catch (error) {
      throw this.named(error)
    }
  }

  /** A lost connection has a code of its own; SQLite's faults have theirs already. */
  private named(error: unknown): unknown {
    if (!(error instanceof Error) || error instanceof ColdtrailError) return error
    const { code } = error as { code?: string }
    if (this.dialect === 'postgres' && (code === undefined ? LOST_MESSAGE.test(error.message) : LOST_CODE.test(code)))
      return new ColdtrailError('E_CATALOG_CONNECTION', { cause: error.message }, { cause: error })
    return error
  }

  /** Fails with E_CLAIM_LOST unless the owner's lock and epoch are still its own; holds its row until the commit. */
  async assertOwner(tx: Tx, owner: { readonly id: string; readonly epoch: number }): Promise<void> {
    const state = this.owners.get(owner.id)
    if (!state || state.lock.lost)
      throw new ColdtrailError('E_CLAIM_LOST', { reason: `the lock of ${owner.id} was lost` })
    const row = await tx
      .selectFrom('owners')
      .select('epoch')
      .where('id', '=', owner.id)
      .$if(this.dialect === 'postgres', (query) => query.forShare())
      .executeTakeFirst()
    if (row?.epoch !== owner.epoch)
      throw new ColdtrailError('E_CLAIM_LOST', { reason: `${owner.id} was taken over by another process` })
  }
}

/** A collection's name is part of paths. */
export function checkedCollection(name: string): string {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(name))
    throw new ColdtrailError('E_USAGE', { message: `"${name}" is not the name of a collection (a-z, 0-9, _ and -)` })
  return name
}

/** Microseconds UTC. */
export const now = (): number => Date.now() * 1000

export function* batches<T>(items: readonly T[], size = BATCH): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}

// --- internal ---

const DEADLOCK = '40P01'
const SERIALIZATION_FAILURE = '40001'
/** SQLSTATE 08: connection exception, 57P: the server is stopping; and what a broken socket says. */
const LOST_CODE = /^(08|57P|ECONN|EPIPE|ETIMEDOUT|EHOST|ENET|ENOTFOUND|EAI_)/
const LOST_MESSAGE = /connection|connect|terminated/i
