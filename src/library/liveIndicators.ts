/** Indicators that detection looks for: live ones with the status Active (or none) that have not expired. */
import { sql } from 'kysely'
import { uidText } from './identity.ts'
import type { Library } from './library.ts'
import { liveRowsSql, unseenChanges } from './liveRows.ts'
import { TABLE_BY_NAME } from './model.ts'

export interface LiveIndicator {
  /** Name of its type. */
  readonly type: string
  /** In the canonical form of its type (observables.ts). */
  readonly value: string
  readonly uid: string
}

/**
 * In the order of their ids, in pages. `now` in microseconds; `after`: only those that changed behind this number of the
 * library's change sequence.
 */
export async function* liveIndicators(
  { database }: Library,
  options: { readonly now?: number; readonly pageRows?: number; readonly after?: number } = {},
): AsyncGenerator<LiveIndicator> {
  const { now = Date.now() * 1_000, pageRows = 20_000, after: since } = options
  const table = TABLE_BY_NAME.get('indicators')!
  for (let after = 0; ; ) {
    const page = await database.read(async (tx) => {
      const { from, where } = liveRowsSql(table, await unseenChanges(tx))
      const { rows } = await sql<Row>`select t.id as id, k.name as type, t.normalized as value, t.uid as uid
        from ${sql.raw(from)} join indicator_types k on k.id = t.type_id left join indicator_statuses s on s.id = t.status_id
        where ${sql.raw(where)} and t.id > ${after} and (s.name is null or s.name = 'Active')
          and (t.expires_at is null or t.expires_at > ${now})
          ${since === undefined ? sql`` : sql`and t."change" in (select id from changes where seq > ${since})`}
        order by t.id limit ${pageRows}`.execute(tx)
      return rows
    })
    for (const { type, value, uid } of page) yield { type, value, uid: uidText(uid) }
    if (page.length < pageRows) return
    after = Number(page.at(-1)!.id)
  }
}

// --- internal ---

interface Row {
  readonly id: number
  readonly type: string
  readonly value: string
  readonly uid: Uint8Array
}
