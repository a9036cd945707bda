/** What a dry run would change, field by field, from the tables that the comparison has filled. */
import { all } from '../../platform/database/session.ts'
import { isReference, textFormSql } from '../identity.ts'
import { type Column, TABLE_BY_NAME, type Table } from '../model.ts'
import { exists, nameSql, uidText } from './compare.ts'
import { fieldsOf, type MergeRun } from './mergeRun.ts'
import type { Difference } from './policy.ts'

/** Tells every field of every row that would become another, then every row that would go, in order of tables. */
export async function tellDifferences(
  merge: MergeRun,
  on: unknown,
  onDifference: (difference: Difference) => void,
): Promise<void> {
  for (const table of merge.staged.tables) {
    if (merge.state(table).existing === 0 || !(await exists(merge, on, table))) continue
    for (const column of fieldsOf(table)) {
      const changes = merge.differ(`n."${column.name}"`, `b."${column.name}"`)
      const from = `${merge.stepTable('next', table)} n join ${merge.base(table)} b on b.id = n.row_id`
      const values = [shown(merge, column, 'b'), shown(merge, column, 'n')] as const
      await tell(merge, on, { table, field: column.name, from, values, where: changes }, onDifference)
    }
  }
  for (const { table_name } of await all(on, `select distinct table_name from ${merge.staged.own('gone')}`)) {
    const table = TABLE_BY_NAME.get(table_name)!
    const from = `${merge.staged.own('gone')} g join ${merge.base(table)} b on b.id = g.row_id`
    const values = ['cast(b.deleted_at as text)', 'cast(g.deleted_at as text)'] as const
    await tell(
      merge,
      on,
      { table, field: 'deleted_at', from, values, where: `g.table_name = '${table.name}'` },
      onDifference,
    )
  }
}

// --- internal ---

const PAGE = 1_000

interface Question {
  readonly table: Table
  readonly field: string
  readonly from: string
  /** SQL of what is here and of what it would be. */
  readonly values: readonly [string, string]
  readonly where: string
}

async function tell(
  merge: MergeRun,
  on: unknown,
  { table, field, from, values, where }: Question,
  onDifference: (difference: Difference) => void,
): Promise<void> {
  for (let after = 0; ; ) {
    const rows = await all(
      on,
      `select b.id as row_id, ${uidText(merge, 'b.uid')} as uid, ${nameSql(merge, table, 'b')} as name,
         ${values[0]} as local, ${values[1]} as incoming
       from ${from} where ${where} and b.id > ${after} order by b.id limit ${PAGE}`,
    )
    for (const { uid, name, local, incoming } of rows)
      onDifference({ table: table.name, uid, name: name ?? '', field, local, incoming })
    if (rows.length < PAGE) return
    after = Number(rows.at(-1)!.row_id)
  }
}

/** A field as people see it: of a reference the name of its row, which may be one that would be made. */
function shown(merge: MergeRun, column: Column, alias: 'b' | 'n'): string {
  const of = `${alias}."${column.name}"`
  if (column.type === 'reference') {
    const parent = TABLE_BY_NAME.get(column.references!)!
    const known = `(select ${nameSql(merge, parent, 'q')} from ${merge.base(parent)} q where q.id = ${of})`
    if (alias === 'b' || !merge.isStaged(parent)) return known
    const { offset } = merge.state(parent)
    return `coalesce(${known}, (select ${nameSql(merge, parent, 'q')} from ${merge.sync(parent)} q where q.id = ${of} - ${offset}))`
  }
  if (isReference(column)) return `cast(${of} as text)`
  return `substr(${textFormSql(merge.staged.dialect, column, of)}, 1, 1000)`
}
