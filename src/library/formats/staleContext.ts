/**
 * What was made from a STIX object's properties and is made no more: an alias that a newer version of the object has not.
 * It goes with the version that had it, unless somebody else says it too.
 */
import { type RawBuilder, sql } from 'kysely'
import { liveSql } from '../changes.ts'
import { parseUid, uidText } from '../identity.ts'
import type { Library } from '../library.ts'
import { TABLE_BY_NAME, type Table } from '../model.ts'
import { derivedUid, stixUid, tableOfCode } from '../stagedObjects.ts'
import { isObject, type JsonObject, parseJson } from './jsonFile.ts'
import { codeOfType, derivedContext, embeddedReferences } from './stixObject.ts'

export interface StaleRow {
  readonly table: Table
  readonly uid: string
}

/** Rows of context and links that objects of the library lose when these take their place. */
export async function staleContext(
  library: Library,
  source: string,
  objects: readonly JsonObject[],
): Promise<readonly StaleRow[]> {
  const { db } = library.database
  const found: StaleRow[] = []
  const rowsOf = async (table: Table, query: RawBuilder<{ uid: Uint8Array }>): Promise<void> => {
    const { rows } = await query.execute(db)
    for (const { uid } of rows) found.push({ table, uid: uidText(uid) })
  }
  const byTable = Map.groupBy(objects, ({ type }) => tableOfCode(codeOfType(type as string)))
  for (const [table, some] of byTable) {
    const newest = new Map(some.map((object) => [stixUid(object.id as string), object]))
    const uids = [...newest.keys()]
    const prefix = table.objectCode!
    for (let i = 0; i < uids.length; i += LOOK_UP) {
      const wanted = sql.join(uids.slice(i, i + LOOK_UP).map((uid) => parseUid(uid)!))
      const { rows } = await sql<{ id: number; uid: Uint8Array; stix: string }>`
        select o.id, o.uid, o.stix from ${sql.table(table.name)} o
        where o.uid in (${wanted}) and o.stix is not null and ${sql.raw(liveSql('o'))}`.execute(db)
      for (const { id, uid, stix } of rows) {
        const object = newest.get(uidText(uid))!
        const before = parseJson(stix, 'stix').value
        if (!isObject(before)) continue
        const old = derivedContext(before)
        const now = derivedContext(object)
        for (const { name, value } of old.attributes) {
          if (now.attributes.some((one) => one.name === name && one.value === value)) continue
          const owner = sql.ref(`a.${prefix}_id`)
          await rowsOf(
            TABLE_BY_NAME.get(`${prefix}_attributes`)!,
            sql`select a.uid from ${sql.table(`${prefix}_attributes`)} a join attributes n on n.id = a.attribute_id
              where ${owner} = ${id} and n.name = ${name} and a.value = ${value} and ${sql.raw(liveSql('a'))}
                and not exists (select 1 from ${sql.table(`${prefix}_attribute_sources`)} s join sources q on q.id = s.source_id
                  where ${sql.ref(`s.${prefix}_attribute_id`)} = a.id and q.name <> ${source} and ${sql.raw(liveSql('s'))})`,
          )
        }
        for (const tag of old.tags.filter((tag) => !now.tags.includes(tag)))
          await rowsOf(
            TABLE_BY_NAME.get('tagged_objects')!,
            sql`select t.uid from tagged_objects t join tags n on n.id = t.tag_id join changes c on c.id = t.created_change
              where t.object_type = ${prefix} and t.object_id = ${id} and n.name = ${tag}
                and c.kind = 'import' and c.source = ${source} and ${sql.raw(liveSql('t'))}`,
          )
        const still = new Set(embeddedReferences(object).map(([name, to]) => `${name}\0${to}`))
        for (const [name, to] of embeddedReferences(before))
          if (!still.has(`${name}\0${to}`))
            found.push({
              table: TABLE_BY_NAME.get('object_links')!,
              uid: derivedUid('embedded', object.id as string, name, to),
            })
      }
    }
  }
  return found
}

// --- internal ---

const LOOK_UP = 500
