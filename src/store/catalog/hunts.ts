/** Positions of standing hunts: derived state. A rebuild forgets them; the next hunt finds the same findings again. */
import type { HuntPosition, Owner } from '../catalog.ts'
import type { CatalogContext } from './context.ts'

export async function huntPosition({ db }: CatalogContext, collection: string): Promise<HuntPosition | null> {
  const row = await db.selectFrom('hunts').selectAll().where('collection', '=', collection).executeTakeFirst()
  return row ? { sequence: row.sequence, librarySequence: row.library_sequence } : null
}

export async function setHuntPosition(
  context: CatalogContext,
  owner: Owner,
  collection: string,
  { sequence, librarySequence }: HuntPosition,
): Promise<void> {
  await context.write(async (tx) => {
    await context.assertOwner(tx, owner)
    const values = { sequence, library_sequence: librarySequence }
    await tx
      .insertInto('hunts')
      .values({ collection, ...values })
      .onConflict((conflict) => conflict.column('collection').doUpdateSet(values))
      .execute()
  })
}
