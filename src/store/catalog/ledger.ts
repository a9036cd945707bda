/**
 * The ledger: which objects are known, claimed, pending. Open days have one row an object; closed days 16 bytes
 * (closedLedger.ts). For a local file the version in a claim is `size:mtime_ns` and that of its session `sha256:<hex>`:
 * both stand in the ledger, so an unchanged stat is known without reading, and unchanged bytes without a new session.
 */
import { sql } from 'kysely'
import type { SourceObject } from '../../core/sourceObject.ts'
import { faultPoint } from '../../platform/faults.ts'
import type { Claim, GiveBackOutcome, PendingObject } from '../catalog.ts'
import { recordQuarantined, recordReleased } from '../quarantine.ts'
import { asBuffer, ClosedLedger, mergeObjects } from './closedLedger.ts'
import { batches, type CatalogContext, now, type OwnerState } from './context.ts'
import { KEY_BYTES, ledgerDay, ledgerShard, objectId } from './objectId.ts'
import { takeOver } from './owners.ts'
import type { Tables, Tx } from './schema.ts'

export interface Identified {
  readonly object: SourceObject
  readonly id: Buffer
  readonly keyHash: Buffer
  readonly shard: string
}

export function identify(object: SourceObject): Identified {
  const id = objectId(object)
  return { object, id, keyHash: id.subarray(0, KEY_BYTES), shard: ledgerShard(ledgerDay(object.key), id) }
}

type ClaimerOwner = Pick<OwnerState, 'id' | 'epoch'>

export class Ledger {
  readonly closed = new ClosedLedger()
  private readonly context: CatalogContext

  constructor(context: CatalogContext) {
    this.context = context
  }

  async claim(owner: ClaimerOwner, objects: readonly SourceObject[], retry: boolean): Promise<Claim[]> {
    const claims: Claim[] = []
    for (const batch of batches(objects)) {
      const identified = batch.map(identify)
      let { claims: answer, holders, retried } = await this.claimBatch(owner, identified, retry)
      // Claims of owners whose lock is free are free at once: take those owners over and ask again for what was busy.
      let freed = false
      for (const holder of holders) if (await takeOver(this.context, holder)) freed = true
      if (freed) {
        const busy = answer.flatMap(({ verdict }, i) => (verdict === 'busy' ? [i] : []))
        const again = await this.claimBatch(
          owner,
          busy.map((i) => identified[i]!),
          retry,
        )
        retried = [...retried, ...again.retried]
        answer = answer.slice()
        busy.forEach((i, at) => {
          answer[i] = again.claims[at]!
        })
      }
      claims.push(...answer)
      for (const [collection, objects] of Map.groupBy(retried, (row) => row.collection))
        recordReleased(
          this.context.manifestDirectory(collection),
          objects.map(({ object }) => object),
        )
      faultPoint('claim.committed')
    }
    return claims
  }

  async giveBack(owner: ClaimerOwner, object: SourceObject, outcome: GiveBackOutcome): Promise<void> {
    const { id } = identify(object)
    if (outcome.state === 'free') return this.context.write((tx) => freeClaims(tx, owner.id, id))
    const { state, code, reason, collection } = outcome
    const given = await this.context.write((tx) =>
      tx
        .updateTable('ledger')
        .set({
          ...{ state, code, reason, collection },
          segment: null,
          owner: null,
          attempts: sql<number>`attempts + 1`,
          since: sql<number>`case when code is null then ${sql.lit(now())} else since end`,
          source: object.source,
          bucket: object.bucket,
          object_key: object.key,
          version: object.version,
        })
        .where('object', '=', id)
        .where('owner', '=', owner.id)
        .where('state', '=', 'claimed')
        .returning(['attempts', 'since'])
        .executeTakeFirst(),
    )
    if (given && state === 'quarantined') {
      const { source, bucket, key, version } = object
      const line = { object: hex(id), source, bucket, key, version, code, reason, ...given }
      recordQuarantined(this.context.manifestDirectory(collection), line)
    }
  }

  async markSkipped(owner: ClaimerOwner, object: SourceObject, reason: string): Promise<void> {
    await this.context.write((tx) => this.settle(tx, owner, identify(object).id, 'skipped', reason))
  }

  /** True when a session of this key with these bytes exists; the claim is then settled as known. */
  async sameContent(owner: ClaimerOwner, object: SourceObject, sha256: string): Promise<boolean> {
    const { id, keyHash, shard } = identify(object)
    const content = objectId({ ...object, version: `sha256:${sha256}` })
    return this.context.write(async (tx) => {
      await this.context.assertOwner(tx, owner)
      const open = await tx
        .selectFrom('ledger')
        .select('object')
        .where('object', '=', content)
        .where('state', '=', 'known')
        .executeTakeFirst()
      const lookUp = await this.closed.open(tx, [shard])
      if (!open && lookUp(shard, content) !== 'known') return false
      await this.settle(tx, owner, id, 'known', null)
      await markReplaced(tx, [keyHash], SOME_SEGMENT)
      return true
    })
  }

  /** Moves known objects that were settled before `before` (microseconds) into their closed shards. */
  async compact(before: number): Promise<number> {
    const lock = await this.context.locks.acquire('hold-ledger')
    if (!lock) return 0
    try {
      const closable = (tx: Tx) =>
        tx.selectFrom('ledger').where('state', 'in', ['known', 'skipped']).where('since', '<', before)
      const shards = await this.context.read((tx) => closable(tx).select('shard').distinct().execute())
      let moved = 0
      for (const { shard } of shards)
        moved += await this.context.write(async (tx) => {
          const rows = await closable(tx).select('object').where('shard', '=', shard).execute()
          const ids = rows.map(({ object }) => asBuffer(object))
          await addClosed(tx, shard, ids)
          for (const batch of batches(ids)) await tx.deleteFrom('ledger').where('object', 'in', batch).execute()
          return ids.length
        })
      return moved
    } finally {
      await lock.release()
    }
  }

  async pending(): Promise<PendingObject[]> {
    const rows = await this.context.db
      .selectFrom('ledger')
      .select([
        'source',
        'bucket',
        'object_key',
        'version',
        'collection',
        'segment',
        'state',
        'attempts',
        'code',
        'reason',
        'since',
      ])
      .where('state', 'in', ['pending', 'quarantined'])
      // Both have a code, which their index is about: every search asks, and a ledger has a row an object.
      .where('code', 'is not', null)
      .orderBy('since')
      .execute()
    return rows.map(
      ({ object_key, segment, ...row }) => ({ ...row, key: object_key, replaced: segment !== null }) as PendingObject,
    )
  }

  // --- internal ---

  private claimBatch(
    owner: ClaimerOwner,
    objects: readonly Identified[],
    retry: boolean,
  ): Promise<{ claims: Claim[]; holders: Set<string>; retried: { object: string; collection: string }[] }> {
    return this.context.write(async (tx) => {
      await this.context.assertOwner(tx, owner)
      // Open rows are read before the closed shards: a row that compaction moves in between is then seen in one of them.
      const rows = await openRows(
        tx,
        objects.map(({ keyHash }) => keyHash),
      )
      const byId = new Map(rows.map((row) => [hex(row.object), row]))
      const lookUp = await this.closed.open(
        tx,
        objects.map(({ shard }) => shard),
      )
      const settledKeys = new Set<string>()
      for (const row of rows) if (row.state === 'known' || row.state === 'skipped') settledKeys.add(hex(row.key_hash))

      const listed = new Set(objects.map(({ id }) => hex(id)))
      const fresh = new Map<string, Identified>()
      const again: Buffer[] = []
      const holders = new Set<string>()
      const claims = objects.map(({ object, id, keyHash, shard }, i): Claim => {
        const name = hex(id)
        const row = byId.get(name)
        const closed = lookUp(shard, id)
        const attempts = row?.attempts ?? 0
        const answer = (verdict: Claim['verdict']): Claim => ({ object, verdict, attempts })
        if (closed === 'known' || row?.state === 'known' || row?.state === 'skipped') return answer('known')
        if (row?.state === 'quarantined' && !retry) return answer('quarantined')
        if (fresh.has(name)) return answer('busy')
        if (row?.state === 'claimed') {
          if (row.owner !== owner.id) holders.add(row.owner!)
          return answer('busy')
        }
        fresh.set(name, objects[i]!)
        if (row) again.push(id)
        const replaces = closed === 'other version' || settledKeys.has(hex(keyHash))
        return replaces ? { ...answer('claimed'), replaces } : answer('claimed')
      })
      // What is listed is the current version, whatever was committed after it failed.
      const current = rows.filter(
        ({ object, state, segment }) => isFailed(state) && segment !== null && listed.has(hex(object)),
      )
      for (const { object } of current)
        await tx.updateTable('ledger').set({ segment: null }).where('object', '=', asBuffer(object)).execute()
      const taken = await this.take(tx, owner, fresh, new Set(again.map(hex)))
      // Another collector may have been quicker between our look and our insert.
      const settled = claims.map((claim, i) =>
        claim.verdict === 'claimed' && !taken.has(hex(objects[i]!.id)) ? { ...claim, verdict: 'busy' as const } : claim,
      )
      const retried = rows.flatMap(({ object, state, collection }) =>
        state === 'quarantined' && collection !== null && taken.has(hex(object))
          ? [{ object: hex(object), collection }]
          : [],
      )
      return { claims: settled, holders, retried }
    })
  }

  /** Writes the claims, in the order of ids so that two collectors cannot deadlock; answers those it got. */
  private async take(
    tx: Tx,
    owner: ClaimerOwner,
    fresh: ReadonlyMap<string, Identified>,
    again: ReadonlySet<string>,
  ): Promise<Set<string>> {
    const taken = new Set<string>()
    if (again.size) {
      const ids = [...again].sort().map((id) => Buffer.from(id, 'hex'))
      const rows = await tx
        .updateTable('ledger')
        .set({ state: 'claimed', owner: owner.id })
        .where('object', 'in', ids)
        .where('state', 'in', ['pending', 'quarantined'])
        .returning('object')
        .execute()
      for (const { object } of rows) taken.add(hex(object))
    }
    const since = now()
    const values = [...fresh]
      .filter(([name]) => !again.has(name))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { id, keyHash, shard }]) => ({
        object: id,
        key_hash: keyHash,
        shard,
        state: 'claimed' as const,
        owner: owner.id,
        attempts: 0,
        since,
      }))
    if (values.length) {
      const insert = tx.insertInto('ledger').values(values as Tables['ledger'][])
      const rows = await insert
        .onConflict((conflict) => conflict.doNothing())
        .returning('object')
        .execute()
      for (const { object } of rows) taken.add(hex(object))
    }
    return taken
  }

  private async settle(
    tx: Tx,
    owner: ClaimerOwner,
    id: Buffer,
    state: 'known' | 'skipped',
    reason: string | null,
  ): Promise<void> {
    await tx
      .updateTable('ledger')
      .set({ ...SETTLED, state, since: now(), reason })
      .where('object', '=', id)
      .where('owner', '=', owner.id)
      .where('state', '=', 'claimed')
      .execute()
  }
}

const isFailed = (state: Tables['ledger']['state']): boolean => state === 'pending' || state === 'quarantined'

/** For a version that replaced a failed one, but whose segment is not looked up. */
const SOME_SEGMENT = 0

/**
 * Objects of these keys that failed before: another version of them is in a segment now. Answers what was in quarantine
 * for the log of it.
 */
export async function markReplaced(
  tx: Tx,
  keyHashes: readonly Buffer[],
  segment: number,
): Promise<{ object: string; collection: string }[]> {
  const failed = () =>
    tx
      .selectFrom('ledger')
      .select('object')
      .where('state', 'in', ['pending', 'quarantined'])
      .where('code', 'is not', null)
  if (!(await failed().limit(1).executeTakeFirst())) return []
  const replaced: { object: string; collection: string }[] = []
  for (const batch of batches(keyHashes)) {
    const rows = await tx
      .updateTable('ledger')
      .set({ segment })
      .where('key_hash', 'in', batch)
      .where('state', 'in', ['pending', 'quarantined'])
      .returning(['object', 'collection', 'state'])
      .execute()
    for (const { object, collection, state } of rows)
      if (state === 'quarantined' && collection !== null) replaced.push({ object: hex(object), collection })
  }
  return replaced
}

/** What a row keeps of its failures once it is known: nothing. */
export const SETTLED = {
  owner: null,
  code: null,
  reason: null,
  collection: null,
  source: null,
  bucket: null,
  object_key: null,
  version: null,
} as const

export async function openRows(tx: Tx, keyHashes: readonly Buffer[]) {
  const rows: Pick<
    Tables['ledger'],
    'object' | 'key_hash' | 'state' | 'owner' | 'attempts' | 'segment' | 'collection'
  >[] = []
  for (const batch of batches(keyHashes))
    rows.push(
      ...(await tx
        .selectFrom('ledger')
        .select(['object', 'key_hash', 'state', 'owner', 'attempts', 'segment', 'collection'])
        .where('key_hash', 'in', batch)
        .execute()),
    )
  return rows
}

/** Frees the claims of an owner (one of them, or all): pending again with their reason, or as if never seen. */
export async function freeClaims(tx: Tx, owner: string, object?: Buffer): Promise<void> {
  await tx
    .deleteFrom('ledger')
    .where('owner', '=', owner)
    .where('state', '=', 'claimed')
    .where('code', 'is', null)
    .$if(object !== undefined, (query) => query.where('object', '=', object!))
    .execute()
  await tx
    .updateTable('ledger')
    .set({ state: 'pending', owner: null })
    .where('owner', '=', owner)
    .where('state', '=', 'claimed')
    .$if(object !== undefined, (query) => query.where('object', '=', object!))
    .execute()
}

export async function addClosed(tx: Tx, shard: string, ids: readonly Buffer[]): Promise<void> {
  const row = await tx.selectFrom('ledger_closed').selectAll().where('shard', '=', shard).executeTakeFirst()
  const objects = mergeObjects(row ? asBuffer(row.objects) : Buffer.alloc(0), ids)
  const revision = (row?.revision ?? 0) + 1
  await tx
    .insertInto('ledger_closed')
    .values({ shard, revision, objects })
    .onConflict((conflict) => conflict.column('shard').doUpdateSet({ revision, objects }))
    .execute()
}

export const hex = (bytes: Uint8Array): string => asBuffer(bytes).toString('hex')
