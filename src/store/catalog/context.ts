/** What every part of the catalog works with: the database, its locks, and where the files are. */
import { isAbsolute, join, relative, resolve } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import type { OpenDatabase } from '../../platform/database/database.ts'
import type { Lock, Locks } from '../../platform/database/locks.ts'
import type { SegmentFacts } from '../chain.ts'
import type { SigningKey } from '../signingKeys.ts'
import { Readers } from './readers.ts'
import type { Database, Tables, Tx } from './schema.ts'

export interface OwnerState {
  readonly id: string
  readonly epoch: number
  readonly lock: Lock
}

/** Objects or rows handled by one statement: below the parameter limits of both databases. */
export const BATCH = 1000

export class CatalogContext {
  readonly database: OpenDatabase<Tables>
  readonly dialect: 'sqlite' | 'postgres'
  readonly db: Database
  readonly locks: Locks
  readonly readers: Readers
  readonly dataDir: string
  readonly historyDir: string
  /** File that gets the signed heads after each commit; undefined without. */
  readonly anchorPath: string | undefined
  /** Undefined for who may only read. */
  readonly key: SigningKey | undefined
  /** Owners of this process, by id. */
  readonly owners = new Map<string, OwnerState>()

  constructor(
    parts: Pick<CatalogContext, 'database' | 'dataDir' | 'historyDir' | 'key'> & { readonly anchorPath?: string },
  ) {
    this.database = parts.database
    this.dialect = parts.database.dialect
    this.db = parts.database.db
    this.locks = parts.database.locks
    this.readers = new Readers(this.db, this.locks)
    this.dataDir = parts.dataDir
    this.historyDir = parts.historyDir
    this.key = parts.key
    this.anchorPath = parts.anchorPath
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
    if (path.startsWith('s3://')) return path
    const inside = relative(this.dataDir, path)
    return inside.startsWith('..') || isAbsolute(inside) ? path : inside
  }

  resolvedDirectory(stored: SegmentFacts['directory']): string {
    return stored.startsWith('s3://') ? stored : resolve(this.dataDir, stored)
  }

  write<T>(action: (tx: Tx) => Promise<T>): Promise<T> {
    return this.database.write(action)
  }

  read<T>(action: (tx: Tx) => Promise<T>): Promise<T> {
    return this.database.read(action)
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
