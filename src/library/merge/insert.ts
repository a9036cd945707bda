/** Step 4 of the merge: new rows, in short transactions, under the run's change, so that nobody sees them yet. */
import { all, run } from '../../platform/database/session.ts'
import { faultPoint } from '../../platform/faults.ts'
import { eventHashSql, syncHashSql } from '../identity.ts'
import { type Column, columnsOf, type Table } from '../model.ts'
import type { LibraryTx } from '../schema.ts'
import { count, IS_NEW, type MergeRun, SmallParents } from './mergeRun.ts'
import { refuseRows, rememberState, UNIQUE_VIOLATION } from './resolve.ts'

/**
 * A transaction takes rows for so long, or this part of the run's. Natural keys fall anywhere into their index, so the
 * first rows of a transaction write a page each, and later ones hardly any: a longer one costs less. But whoever else
 * writes SQLite waits for it, and a run that is killed does it again.
 */
const TRANSACTION_MILLISECONDS = 1_000
const TRANSACTION_PART = 0.04

export async function insertTable(merge: MergeRun, table: Table, onRows: (rows: number) => void): Promise<number> {
  const { staged, policy } = merge
  const { change } = staged
  const sync = merge.sync(table)
  const wanted = await merge.newRows(merge.db, table)
  const [point] = await all(
    merge.db,
    `select next from merge_checkpoints where "change" = ${change} and table_name = '${table.name}'`,
  )
  let after = Number(point?.next ?? 0)
  let done =
    after === 0 ? 0 : await count(merge.db, `select count(*) from ${sync} s where ${IS_NEW} and s.id <= ${after}`)
  onRows(done)
  if (wanted === 0) return 0
  let reached = after
  const most = TRANSACTION_PART * staged.rows
  // Bound, so that every statement of a table is prepared once.
  const [first, second] = merge.isSqlite ? ['?', '?'] : ['$1', '$2']
  while (done < wanted) {
    staged.requireOwner()
    const begun = performance.now()
    let rows = 0
    await staged.session.database.write(async (tx) => {
      rows = 0
      let from = after
      do {
        const [last] = await all(
          tx,
          `select max(id) as id, count(*) as rows from (select s.id from ${sync} s where ${IS_NEW} and s.id > ${first} order by s.id limit ${policy.objectLimit}) x`,
          [from],
        )
        if (Number(last!.rows) === 0) break
        const to = Number(last!.id)
        await insertRows(merge, tx, table, `${IS_NEW} and s.id > ${first} and s.id <= ${second}`, [from, to])
        rows += Number(last!.rows)
        from = to
      } while (rows + policy.objectLimit <= most && performance.now() - begun < TRANSACTION_MILLISECONDS)
      await run(
        tx,
        `insert into merge_checkpoints ("change", table_name, next) values (${change}, '${table.name}', ${from})
         on conflict ("change", table_name) do update set next = excluded.next`,
      )
      reached = from
    })
    if (rows === 0) break
    after = reached
    done += rows
    onRows(rows)
    faultPoint('merge.inserted')
  }
  if (merge.isSqlite === false) await run(merge.db, `analyze ${merge.base(table)}`)
  await settle(merge, merge.db, table)
  return wanted
}

/** Inserts staged rows for which `condition` holds; one whose uid or natural key is taken stays out. */
export async function insertRows(
  merge: MergeRun,
  tx: unknown,
  table: Table,
  condition: string,
  values: readonly unknown[] = [],
): Promise<number> {
  const columns = columnsOf(table)
  const into = `into ${merge.base(table)} (${columns.map(({ name }) => `"${name}"`).join(', ')})`
  if (merge.isSqlite) return insertIntoSqlite(merge, tx, table, { into, condition, values })
  const parents = new SmallParents(merge)
  const inserted = columns.map((column) => insertedValue(merge, table, column, parents)).join(', ')
  const insert = `insert ${into} select ${inserted} from ${merge.sync(table)} s${parents.sql} where ${condition} order by s.id`
  // Nearly always nothing is taken, and to look first doubles the work of PostgreSQL.
  await run(tx, 'savepoint rows')
  try {
    const rows = await run(tx, insert, values)
    await run(tx, 'release savepoint rows')
    return rows
  } catch (error) {
    if ((error as { code?: string }).code !== UNIQUE_VIOLATION) throw error
    await run(tx, 'rollback to savepoint rows')
    return run(tx, `${insert} on conflict do nothing`, values)
  }
}

/**
 * Rows that did not go in, since somebody made theirs meanwhile or two of the run have one key, and rows that somebody
 * adopted: they exist now, and the last transaction compares them.
 */
export async function settle(merge: MergeRun, on: unknown, table: Table): Promise<void> {
  const { change } = merge.staged
  const sync = merge.sync(table)
  const state = merge.state(table)
  const target = `${state.offset} + s.id`
  const own = `(select 1 from ${merge.base(table)} b where b.id = ${target} and b.created_change = ${change})`
  const wanted = await merge.newRows(on, table)
  const there = await count(on, `select count(*) from ${merge.base(table)} b where b."change" = ${change}`)
  if (there >= wanted) return
  merge.countAgain(table)
  const lost = `${IS_NEW} and not exists ${own}`
  const work = async (tx: LibraryTx) => {
    if (!state.keyed) await run(tx, `update ${sync} as s set nk = ${merge.key(table)} where ${lost}`)
    const late = merge.staged.own('late')
    const rows = await all(
      tx,
      `select s.id, coalesce(i.id, u.id, k.id) as row_id, coalesce(i.created_change, u.created_change, k.created_change) as made,
         case when i.id is null and u.id is not null and u.nk <> s.nk then 1 else 0 end as other
       from ${sync} s left join ${merge.base(table)} i on i.id = ${target}
       left join ${merge.base(table)} u on u.uid = s.uid left join ${merge.base(table)} k on k.nk = s.nk where ${lost}`,
    )
    for (const { id, row_id, made, other } of rows) {
      if (row_id === null) {
        await run(tx, `insert into ${late} (table_name, sid) values ('${table.name}', ${id}) on conflict do nothing`)
        continue
      }
      if (Number(made) === change) {
        if (Number(other) === 1) {
          const reason = 'another row of the input has its uid'
          await refuseRows(merge, tx, table, { condition: `s.id = ${id}`, code: 'duplicate', reason })
        } else
          await run(
            tx,
            `update ${sync} set existing_id = ${row_id}, same_as = ${Number(row_id) - state.offset} where id = ${id}`,
          )
        continue
      }
      // Still another staged row's: it goes in when that one has given its key away.
      const [claimed] = await all(
        tx,
        `select 1 as one from ${sync} where existing_id = ${row_id} and same_as is null limit 1`,
      )
      if (!claimed) await run(tx, `update ${sync} set existing_id = ${row_id} where id = ${id}`)
      await run(tx, `insert into ${late} (table_name, sid) values ('${table.name}', ${id}) on conflict do nothing`)
    }
    state.aliased = true
    state.existing = await count(tx, `select count(existing_id) from ${sync}`)
    await run(tx, rememberState(merge, table, state))
  }
  if (on === merge.db) await merge.own(work)
  else await work(on as LibraryTx)
}

// --- internal ---

/**
 * What registered functions give is computed apart, since a statement that calls one, or may otherwise fail in its middle
 * (hence `or fail`: the whole transaction ends), can be undone alone: SQLite writes each page that it changes aside first,
 * which is a page a row, as natural keys fall.
 */
async function insertIntoSqlite(
  merge: MergeRun,
  tx: unknown,
  table: Table,
  {
    into,
    condition,
    values,
  }: { readonly into: string; readonly condition: string; readonly values: readonly unknown[] },
): Promise<number> {
  const columns = columnsOf(table)
  const computed = columns.filter(({ name }) => COMPUTED.has(name) && !(name === 'nk' && merge.state(table).keyed))
  const apart = computed.filter(({ name }) => name !== 'hash' || table.name === 'events')
  const names = apart.map(({ name }) => `"${name}"`)
  await run(tx, `create temp table if not exists computed (id integer primary key, ${[...COMPUTED].join(', ')})`)
  await run(tx, 'delete from temp.computed')
  await run(
    tx,
    `insert into temp.computed (${['id', ...names].join(', ')})
     select ${['s.id', ...apart.map((column) => insertedValue(merge, table, column))].join(', ')}
     from ${merge.sync(table)} s where ${condition} order by s.id`,
    values,
  )
  const inserted = columns.map((column) =>
    apart.includes(column) ? `k."${column.name}"` : insertedValue(merge, table, column),
  )
  return run(
    tx,
    `insert or fail ${into} select ${inserted.join(', ')} from temp.computed k
     cross join ${merge.sync(table)} s on s.id = k.id order by k.id on conflict do nothing`,
  )
}

/** Columns that a registered function may compute. */
const COMPUTED: ReadonlySet<string> = new Set(['nk', 'sync_hash', 'hash'])

function insertedValue(merge: MergeRun, table: Table, column: Column, parents?: SmallParents): string {
  const { dialect, change } = merge.staged
  const value = (name: string) => merge.value(table, table.columns.find((one) => one.name === name)!, parents)
  switch (column.name) {
    case 'id':
      return merge.target(table)
    case 'nk':
      return merge.state(table).keyed ? 's.nk' : merge.key(table, parents)
    case 'created_change':
    case 'change':
      return String(change)
    case 'unpublished_at':
      return merge.isSqlite ? 'null' : 'null::bigint'
    case 'created_at':
      return merge.policy.keepCreatedAt ? 's.created_at' : String(merge.begun)
    case 'sync_hash':
      return syncHashSql(dialect, table.name, value)!
    case 'hash':
      if (table.name === 'events') return eventHashSql(dialect, value('happened_at'), value('title'))
  }
  return merge.value(table, column, parents)
}
