/** Anchors of the catalog's chains, and the file that has the newest: derived state in a second place. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ColdtrailError } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { readIfThere, writeDurably } from '../../platform/files.ts'
import { type AnchoredHead, parseAnchor, signAnchor } from '../anchor.ts'
import { linkFileName, parseLink } from '../chain.ts'
import { type CatalogContext, now } from './context.ts'

/** Heads of all chains as of now, signed. */
export async function anchorOf(context: CatalogContext): Promise<Buffer> {
  return signAnchor({ time: now(), chains: await heads(context) }, context.requireWritable())
}

/**
 * Puts the newest anchor into a file. One that already has it is left as it is. E_ANCHOR_AHEAD when the file knows of
 * links that this catalog does not have: then it is evidence, and never overwritten.
 */
export async function writeAnchor(context: CatalogContext, path: string): Promise<void> {
  const lock = await patiently(() => context.locks.acquire('hold-anchor'))
  if (!lock) throw new ColdtrailError('E_FILE_WRITE', { path, cause: 'another process is writing anchors' })
  try {
    const before = readIfThere(path)
    const chains = await heads(context)
    if (before) {
      const known = parseAnchor(before, path)
      await refuseAhead(context, path, known.chains)
      if (JSON.stringify(byNumber(known.chains)) === JSON.stringify(byNumber(chains))) return
    }
    writeDurably(path, signAnchor({ time: now(), chains }, context.requireWritable()))
    faultPoint('anchor.written')
  } finally {
    await lock.release()
  }
}

/** Tries for two seconds to get what others hold for milliseconds. */
export async function patiently<T>(take: () => Promise<T | undefined>): Promise<T | undefined> {
  for (let turn = 0; turn < 100; turn++) {
    const taken = await take()
    if (taken) return taken
    await sleep(20)
  }
  return undefined
}

// --- internal ---

const byNumber = (chains: readonly AnchoredHead[]) =>
  chains.map(({ collection, number, hash }) => [collection, number, hash])

async function heads(context: CatalogContext): Promise<AnchoredHead[]> {
  return context.read(async (tx) => {
    const rows = await tx
      .selectFrom('collections')
      .innerJoin('links', (join) =>
        join.onRef('links.collection', '=', 'collections.name').onRef('links.number', '=', 'collections.head'),
      )
      .select(['collections.name', 'collections.head', 'collections.head_hash', 'links.bytes'])
      .orderBy('collections.name')
      .execute()
    const counted = await tx
      .selectFrom('segments')
      .select(({ fn }) => ['collection', fn.countAll<number>().as('live')])
      .where('state', '=', 'live')
      .groupBy('collection')
      .execute()
    const live = new Map(counted.map(({ collection, live }) => [collection, Number(live)]))
    return rows.map(({ name, head, head_hash, bytes }) => ({
      ...{ collection: name, number: head, hash: head_hash, segments: live.get(name) ?? 0 },
      time: parseLink(bytes, linkFileName(head)).time,
    }))
  })
}

async function refuseAhead({ db }: CatalogContext, path: string, known: readonly AnchoredHead[]): Promise<void> {
  for (const { collection, number, hash } of known) {
    const row = await db
      .selectFrom('links')
      .select('hash')
      .where('collection', '=', collection)
      .where('number', '=', number)
      .executeTakeFirst()
    if (row?.hash !== hash) throw new ColdtrailError('E_ANCHOR_AHEAD', { path, collection, number })
  }
}
