/** Rows that a merge takes away: tombstones by policy, what a mirror no longer has, and what hangs on either. */
import { all, run } from '../../platform/database/session.ts'
import { OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, TABLES, type Table } from '../model.ts'
import { builtIn, madeBySender, nameSql, uidText } from './compare.ts'
import type { MergeRun } from './mergeRun.ts'
import { literal } from './staging.ts'

export const BROUGHT_KINDS: ReadonlySet<string> = new Set(['object', 'context', 'link', 'linkContext'])

/** Fills `gone` (and conflicts, for what stays); answers rows by table. */
export async function findGone(merge: MergeRun, on: unknown): Promise<ReadonlyMap<string, number>> {
  const { staged, policy } = merge
  const gone = staged.own('gone')
  await run(on, `drop table if exists ${gone}`)
  await run(
    on,
    `${merge.createOwn()} ${gone} (table_name text, row_id bigint, deleted_at bigint, action text, primary key (table_name, row_id))`,
  )
  await run(on, `delete from ${staged.own('conflicts')} where field = 'deleted_at' and reason <> 'edited here'`)
  const buried = await all(on, `select distinct table_name from ${staged.own('tombstones')}`)
  const tombed = new Set(buried.map(({ table_name }) => table_name as string))
  for (const table of TABLES) {
    if (tombed.has(table.name)) await bury(merge, on, table, tombstonesOf(merge, table))
    if (merge.isStaged(table) && (merge.states.get(table.name)?.existing ?? 0) > 0) {
      const asked = `select s.existing_id as row_id, max(s.deleted_at) as deleted_at from ${merge.sync(table)} s
        where s.deleted_at is not null and s.existing_id is not null group by s.existing_id`
      const [any] = await all(on, `${asked} limit 1`)
      if (any) await bury(merge, on, table, asked)
    }
    if (policy.mirror && BROUGHT_KINDS.has(table.kind)) await missing(merge, on, table, policy.mirror.origin)
  }
  await cascade(gone, on, (table) => merge.base(table), merge.seen())
  return countBy(on, gone)
}

/** Adds to `gone` what hangs on rows that are in it. */
async function cascade(gone: string, on: unknown, base: (table: Table) => string, seen: string): Promise<void> {
  const found = new Set((await all(on, `select distinct table_name from ${gone}`)).map(({ table_name }) => table_name))
  if (found.size === 0) return
  for (const table of TABLES) {
    for (const [column, typeColumn, code, parent] of ownersOf(table)) {
      if (!found.has(parent.name)) continue
      const ofType = code === undefined ? '' : ` and b."${typeColumn}" = ${literal(code)}`
      const added = await run(
        on,
        `insert into ${gone} (table_name, row_id, deleted_at, action)
         select '${table.name}', b.id, min(g.deleted_at), min(g.action) from ${gone} g join ${base(table)} b on b."${column}" = g.row_id${ofType}
         where g.table_name = '${parent.name}' and b.deleted_at is null and ${seen}
           and (g.action = 'delete' or b.unpublished_at is null)
         group by b.id on conflict do nothing`,
      )
      if (added > 0) found.add(table.name)
    }
  }
}

export type Owner = readonly [column: string, typeColumn: string | undefined, code: string | undefined, parent: Table]

/** Columns whose row has no meaning without the one they refer to, by the table that is. */
export function ownersOf(table: Table): readonly Owner[] {
  return table.columns.flatMap(({ name, type, references, typeColumn }): readonly Owner[] => {
    if (type === 'anyReference')
      return [...OBJECT_TABLE_BY_CODE].map(([code, parent]) => [name, typeColumn, code, parent])
    return name === table.parent ? [[name, undefined, undefined, TABLE_BY_NAME.get(references!)!]] : []
  })
}

/** Hides the rows of `gone` under a change, with a journal entry each; `firstId` is the first of as many as it has rows. */
export async function applyGone(
  on: unknown,
  parts: {
    readonly gone: string
    readonly change: number
    readonly firstId: number
    readonly base: (table: Table) => string
    readonly counts: ReadonlyMap<string, number>
  },
): Promise<void> {
  const { gone, change, base, counts } = parts
  let first = parts.firstId
  for (const table of TABLES) {
    const rows = counts.get(table.name) ?? 0
    if (rows === 0) continue
    await run(
      on,
      `insert into journal (id, "change", table_name, row_id, field, old_value)
       select ${first - 1} + row_number() over (order by g.row_id), ${change}, '${table.name}', g.row_id,
         case when g.action = 'delete' then 'deleted_at' else 'unpublished_at' end, null
       from ${gone} g where g.table_name = '${table.name}'`,
    )
    for (const [action, column] of [
      ['delete', 'deleted_at'],
      ['unpublish', 'unpublished_at'],
    ])
      await run(
        on,
        `update ${base(table)} as b set "${column}" = g.deleted_at, "change" = ${change} from ${gone} g
         where g.table_name = '${table.name}' and g.row_id = b.id and g.action = '${action}'`,
      )
    first += rows
  }
}

export async function countBy(on: unknown, gone: string): Promise<ReadonlyMap<string, number>> {
  const rows = await all(on, `select table_name, count(*) as rows from ${gone} group by table_name`)
  return new Map(rows.map(({ table_name, rows }) => [table_name, Number(rows)]))
}

// --- internal ---

function tombstonesOf(merge: MergeRun, table: Table): string {
  const { staged } = merge
  const from = merge.base(table)
  return `select coalesce(u.id, a.id, k.id) as row_id, max(t.deleted_at) as deleted_at
    from ${staged.own('tombstones')} t left join ${from} u on u.uid = t.uid
    left join uid_aliases l on l.table_name = '${table.name}' and l.remote = t.uid left join ${from} a on a.uid = l.local
    left join ${from} k on k.nk = t.nk
    where t.table_name = '${table.name}' and coalesce(u.id, a.id, k.id) is not null group by coalesce(u.id, a.id, k.id)`
}

async function bury(merge: MergeRun, on: unknown, table: Table, asked: string): Promise<void> {
  const { staged, policy } = merge
  const alive =
    merge.isStaged(table) && merge.state(table).existing > 0
      ? `not exists (select 1 from ${merge.sync(table)} o where o.existing_id = b.id and o.deleted_at is null)`
      : 'true'
  const from = `from (${asked}) t join ${merge.base(table)} b on b.id = t.row_id
    where b.deleted_at is null and b.created_change <> ${staged.change} and ${merge.seen()} and ${alive}`
  const edited = merge.edited.has(table.name)
    ? `exists (select 1 from ${staged.own('edits')} e where e.table_name = '${table.name}' and e.row_id = b.id)`
    : 'false'
  const allowed =
    policy.deletions === 'report'
      ? 'false'
      : policy.deletions === 'sync-created-only'
        ? `(${madeBySender(merge)} and not ${edited})`
        : 'true'
  const keeps = table.kind === 'dictionary' && staged.kind !== 'local' ? builtIn() : undefined
  const goes = keeps === undefined ? allowed : `(${allowed} and not ${keeps})`
  const action = policy.deletions === 'unpublish' ? 'unpublish' : 'delete'
  const hidden = action === 'unpublish' ? ' and b.unpublished_at is null' : ''
  await run(
    on,
    `insert into ${staged.own('gone')} (table_name, row_id, deleted_at, action)
     select '${table.name}', b.id, t.deleted_at, '${action}' ${from} and ${goes}${hidden} on conflict do nothing`,
  )
  if (goes === 'true') return
  const why = policy.deletions === 'report' ? 'deletion reported' : 'not made by sync'
  const reason = keeps === undefined ? `'${why}'` : `case when ${keeps} then 'built in' else '${why}' end`
  await run(
    on,
    `insert into ${staged.own('conflicts')} (table_name, row_id, uid, name, field, local, incoming, decision, reason)
     select '${table.name}', b.id, ${uidText(merge, 'b.uid')}, ${nameSql(merge, table, 'b')}, 'deleted_at', null,
       cast(t.deleted_at as text), 'local', ${reason} ${from} and not ${goes}`,
  )
}

/** What this origin brought, has not now, and nobody else brought. */
async function missing(merge: MergeRun, on: unknown, table: Table, origin: string): Promise<void> {
  const name = literal(origin)
  const [any] = await all(
    on,
    `select 1 as one from brought where table_name = '${table.name}' and origin = ${name} limit 1`,
  )
  if (!any) return
  const here =
    merge.isStaged(table) && merge.state(table).existing > 0
      ? `not exists (select 1 from ${merge.sync(table)} s where s.existing_id = w.row_id and s.deleted_at is null)`
      : 'true'
  await run(
    on,
    `insert into ${merge.staged.own('gone')} (table_name, row_id, deleted_at, action)
     select '${table.name}', b.id, ${Date.now() * 1000}, 'delete' from brought w join ${merge.base(table)} b on b.id = w.row_id
       join changes c on c.id = b.created_change
     where w.table_name = '${table.name}' and w.origin = ${name} and b.deleted_at is null and c.kind = 'import' and ${here}
       and w."change" <> ${merge.staged.change}
       and not exists (select 1 from brought v where v.table_name = w.table_name and v.row_id = w.row_id and v.origin <> w.origin)
     on conflict do nothing`,
  )
}
