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
import { isObject, type JsonObject, parseJson, textOf } from './jsonFile.ts'
import { codeOfType, derivedContext, embeddedReferences } from './stixObject.ts'
import { indicatorsOfPattern, PATTERN_LINK } from './stixPattern.ts'

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
  const byTable = Map.groupBy(objects, ({ type }) => tableOfCode(codeOfType(type as string)))
  for (const [table, some] of byTable) {
    const newest = new Map(some.map((object) => [stixUid(object.id as string), object]))
    const uids = [...newest.keys()]
    const prefix = table.objectCode!
    for (let i = 0; i < uids.length; i += LOOK_UP) {
      const wanted = sql.join(uids.slice(i, i + LOOK_UP).map((uid) => parseUid(uid)!))
      const { rows } = await sql<{ uid: Uint8Array; stix: string; pattern: string | null }>`
        select o.uid, o.stix, ${sql.raw(table.name === 'signatures' ? 'o.value' : 'null')} as pattern
        from ${sql.table(table.name)} o
        where o.uid in (${wanted}) and o.stix is not null and ${sql.raw(liveSql('o'))}`.execute(db)
      const { rows: attributes } = await sql<{
        owner: Uint8Array
        uid: Uint8Array
        name: string
        value: string | null
      }>`
        select o.uid as owner, a.uid, n.name, a.value from ${sql.table(table.name)} o
        join ${sql.table(`${prefix}_attributes`)} a on ${sql.ref(`a.${prefix}_id`)} = o.id
        join attributes n on n.id = a.attribute_id
        where o.uid in (${wanted}) and (n.name in (${sql.join(DERIVED_NAMES)}) or n.name like 'Kill Chain: %')
          and ${sql.raw(liveSql('a'))} and ${brought('a', source)}
          and not exists (select 1 from ${sql.table(`${prefix}_attribute_sources`)} s join sources q on q.id = s.source_id
            where ${sql.ref(`s.${prefix}_attribute_id`)} = a.id and q.name <> ${source} and ${sql.raw(liveSql('s'))})`.execute(
        db,
      )
      for (const { owner, uid, name, value } of attributes) {
        const now = derivedContext(newest.get(uidText(owner))!).attributes
        if (!now.some((one) => one.name === name && one.value === value))
          found.push({ table: TABLE_BY_NAME.get(`${prefix}_attributes`)!, uid: uidText(uid) })
      }
      const { rows: tags } = await sql<{ owner: Uint8Array; uid: Uint8Array; name: string }>`
        select o.uid as owner, t.uid, n.name from ${sql.table(table.name)} o
        join tagged_objects t on t.object_type = ${prefix} and t.object_id = o.id join tags n on n.id = t.tag_id
        where o.uid in (${wanted}) and ${sql.raw(liveSql('t'))} and ${brought('t', source)}`.execute(db)
      for (const { owner, uid, name } of tags)
        if (!derivedContext(newest.get(uidText(owner))!).tags.includes(name))
          found.push({ table: TABLE_BY_NAME.get('tagged_objects')!, uid: uidText(uid) })
      for (const { uid, stix, pattern } of rows) {
        const object = newest.get(uidText(uid))!
        const before = parseJson(stix, 'stix').value
        if (!isObject(before)) continue
        if (pattern !== null && pattern !== object.pattern) {
          const kept = new Set(indicatorsOfPattern(textOf(object.pattern) ?? '').map((one) => JSON.stringify(one)))
          for (const { type, value } of indicatorsOfPattern(pattern))
            if (!kept.has(JSON.stringify({ type, value })))
              found.push({ table: LINKS, uid: derivedUid(PATTERN_LINK, object.id as string, type, value) })
        }
        const still = new Set(embeddedReferences(object).map(([name, to]) => `${name}\0${to}`))
        for (const [name, to] of embeddedReferences(before))
          if (!still.has(`${name}\0${to}`))
            found.push({ table: LINKS, uid: derivedUid('embedded', object.id as string, name, to) })
      }
    }
  }
  return found
}

// --- internal ---

const LOOK_UP = 500
/** Attributes that `derivedContext` gives. */
const DERIVED_NAMES = ['Alias', 'External ID', 'Revoked']

/** Made by an import of this source. A row that the run has again stays, whatever is said here. */
const brought = (alias: string, source: string): RawBuilder<unknown> =>
  sql`exists (select 1 from changes c where c.id = ${sql.ref(`${alias}.created_change`)}
    and c.kind = 'import' and c.source = ${source})`
const LINKS = TABLE_BY_NAME.get('object_links')!
