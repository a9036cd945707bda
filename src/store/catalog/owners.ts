/** Owners: who may claim and draw, and what happens to the work of one that died. */
import { hostname } from 'node:os'
import { ColdtrailError } from '../../core/errors.ts'
import type { Owner } from '../catalog.ts'
import { type CatalogContext, now } from './context.ts'
import { freeClaims } from './ledger.ts'

export async function createOwner(context: CatalogContext, kind: string): Promise<Owner> {
  if (!/^[a-z]{1,20}$/.test(kind)) throw new ColdtrailError('E_USAGE', { message: `"${kind}" is no kind of owner` })
  const id = `${kind}-${crypto.randomUUID()}`
  const epoch = 1
  // The lock comes before the row: whoever sees the row finds the lock held.
  const lock = await context.locks.acquire(id)
  if (!lock) throw new ColdtrailError('E_CATALOG_BUSY', { cause: `the lock of ${id} is held` })
  await context.db
    .insertInto('owners')
    .values({ id, kind, epoch, host: hostname(), pid: process.pid, started: now() })
    .execute()
  context.owners.set(id, { id, epoch, lock })
  return {
    id,
    epoch,
    async release() {
      if (!context.owners.delete(id)) return
      await context.write((tx) => freeClaims(tx, id))
      await lock.release()
    },
  }
}

/**
 * Takes a dead owner over: its epoch rises, so that nothing of it can commit any more, and its claims are free. Answers
 * false, and does nothing, while its lock is held. `then` runs in the same transaction, with the lock held.
 */
export async function takeOver(
  context: CatalogContext,
  id: string,
  then?: (tx: Parameters<Parameters<CatalogContext['write']>[0]>[0]) => Promise<void>,
): Promise<boolean> {
  if (context.owners.get(id)?.lock.lost === false) return false
  const lock = await context.locks.acquire(id)
  if (!lock) return false
  try {
    await context.write(async (tx) => {
      await tx
        .updateTable('owners')
        .set((expression) => ({ epoch: expression('epoch', '+', 1) }))
        .where('id', '=', id)
        .execute()
      await freeClaims(tx, id)
      await then?.(tx)
    })
  } finally {
    await lock.release()
  }
  return true
}
