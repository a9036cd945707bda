/**
 * The ledger of closed days: per shard one blob of sorted 16-byte object ids. Blobs are kept in memory by last use, and
 * a revision read in the same transaction says whether a kept one is still true.
 */
import { KEY_BYTES, OBJECT_ID_BYTES } from './objectId.ts'
import type { Tx } from './schema.ts'

const KEPT_BYTES = 64 * 2 ** 20

export type ClosedVerdict = 'known' | 'other version' | 'new'

export class ClosedLedger {
  private readonly kept = new Map<string, { revision: number; objects: Buffer }>()
  private keptBytes = 0

  /** A function that looks objects of these shards up. */
  async open(tx: Tx, shards: Iterable<string>): Promise<(shard: string, object: Buffer) => ClosedVerdict> {
    const wanted = [...new Set(shards)]
    const revisions = wanted.length
      ? await tx.selectFrom('ledger_closed').select(['shard', 'revision']).where('shard', 'in', wanted).execute()
      : []
    const stale = revisions.filter(({ shard, revision }) => this.kept.get(shard)?.revision !== revision)
    if (stale.length) {
      const names = stale.map(({ shard }) => shard)
      const rows = await tx.selectFrom('ledger_closed').selectAll().where('shard', 'in', names).execute()
      for (const { shard, revision, objects } of rows) this.keep(shard, revision, asBuffer(objects))
    }
    const open = new Map(revisions.map(({ shard }) => [shard, this.use(shard)]))
    this.trim()
    return (shard, object) => {
      const objects = open.get(shard)
      return objects ? findObject(objects, object) : 'new'
    }
  }

  private keep(shard: string, revision: number, objects: Buffer): void {
    this.keptBytes += objects.length - (this.kept.get(shard)?.objects.length ?? 0)
    this.kept.set(shard, { revision, objects })
  }

  private use(shard: string): Buffer {
    const entry = this.kept.get(shard)!
    this.kept.delete(shard)
    this.kept.set(shard, entry)
    return entry.objects
  }

  private trim(): void {
    for (const [shard, { objects }] of this.kept) {
      if (this.keptBytes <= KEPT_BYTES) return
      this.kept.delete(shard)
      this.keptBytes -= objects.length
    }
  }
}

/** Two sorted blobs of ids as one, each id once. */
export function mergeObjects(old: Buffer, added: readonly Buffer[]): Buffer {
  const sorted = [...added].sort(Buffer.compare)
  const merged = Buffer.alloc(old.length + sorted.length * OBJECT_ID_BYTES)
  let length = 0
  const push = (id: Buffer) => {
    if (length > 0 && id.compare(merged, length - OBJECT_ID_BYTES, length) === 0) return
    length += id.copy(merged, length)
  }
  let at = 0
  for (const id of sorted) {
    const from = at
    while (at < old.length && id.compare(old, at, at + OBJECT_ID_BYTES) > 0) at += OBJECT_ID_BYTES
    length += old.copy(merged, length, from, at)
    push(id)
    if (at < old.length && id.compare(old, at, at + OBJECT_ID_BYTES) === 0) at += OBJECT_ID_BYTES
  }
  for (; at < old.length; at += OBJECT_ID_BYTES) push(old.subarray(at, at + OBJECT_ID_BYTES))
  return merged.subarray(0, length)
}

/** SQLite answers Uint8Array, PostgreSQL Buffer. */
export const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Looks an object up among sorted ones. */
export function findObject(objects: Buffer, object: Buffer): ClosedVerdict {
  let low = 0
  let high = objects.length / OBJECT_ID_BYTES
  while (low < high) {
    const middle = (low + high) >>> 1
    const at = middle * OBJECT_ID_BYTES
    if (object.compare(objects, at, at + KEY_BYTES, 0, KEY_BYTES) > 0) low = middle + 1
    else high = middle
  }
  let verdict: ClosedVerdict = 'new'
  for (let at = low * OBJECT_ID_BYTES; at < objects.length; at += OBJECT_ID_BYTES) {
    if (object.compare(objects, at, at + KEY_BYTES, 0, KEY_BYTES) !== 0) break
    if (object.compare(objects, at + KEY_BYTES, at + OBJECT_ID_BYTES, KEY_BYTES) === 0) return 'known'
    verdict = 'other version'
  }
  return verdict
}
