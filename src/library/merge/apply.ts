/**
 * Step 5 of the merge: one transaction with everything that is not an insertion, at whose end the run becomes visible.
 * What the library's other writers did since the comparison is found by `change`, and compared again in here.
 */
import { all, run } from '../../platform/database/session.ts'
import { drawIds } from '../changes.ts'
import { eventHashSql, isReference, naturalKeyColumns, syncHashSql, textFormSql } from '../identity.ts'
import { COMMON_COLUMNS, type Column, OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, TABLES, type Table } from '../model.ts'
import type { LibraryTx } from '../schema.ts'
import { compareTable, exists, refuseTakenKeys } from './compare.ts'
import { applyGone, BROUGHT_KINDS, findGone } from './gone.ts'
import { insertRows, settle } from './insert.ts'
import { count, fieldsOf, lookAround, type MergeRun } from './mergeRun.ts'
import { literal } from './staging.ts'

export interface Applied {
  readonly updated: ReadonlyMap<string, number>
  readonly gone: ReadonlyMap<string, number>
  /** Rows that were there when they were looked for, and that the last transaction adopted or inserted again. */
  readonly late: ReadonlyMap<string, number>
}

/** Everything but the sequence number. */
export async function apply(merge: MergeRun, tx: LibraryTx): Promise<Applied> {
  await lookAround(merge, tx)
  for (const table of merge.staged.tables) await settle(merge, tx, table)
  const updated = new Map<string, number>()
  const late = new Map<string, number>()
  for (const table of merge.staged.tables) {
    late.set(table.name, await adopt(merge, tx, table))
    await compareAgain(merge, tx, table)
    if (await exists(merge, tx, table)) updated.set(table.name, await update(merge, tx, table))
  }
  await rekeyChanged(merge, tx)
  for (const table of merge.staged.tables)
    late.set(table.name, late.get(table.name)! + (await insertLate(merge, tx, table)))
  const gone = await findGone(merge, tx)
  const rows = [...gone.values()].reduce((sum, n) => sum + n, 0)
  if (rows > 0) {
    const firstId = await drawIds(tx, 'journal', rows)
    const { change } = merge.staged
    await applyGone(tx, {
      gone: merge.staged.own('gone'),
      change,
      firstId,
      counts: gone,
      base: (table) => merge.base(table),
    })
  }
  await rememberAliases(merge, tx)
  await rememberBrought(merge, tx)
  await keepRefused(merge, tx)
  return { updated, gone, late }
}

/** What a rename needs: natural keys of rows that got another one, and of all that have it in theirs. */
export async function rekey(
  on: unknown,
  parts: {
    readonly isSqlite: boolean
    readonly list: string
    readonly base: (table: Table) => string
    readonly key: (table: Table) => string
  },
): Promise<void> {
  const { isSqlite, list, base, key } = parts
  const found = new Set((await all(on, `select distinct table_name from ${list}`)).map(({ table_name }) => table_name))
  if (found.size === 0) return
  for (const table of TABLES) {
    for (const column of naturalKeyColumns(table).filter(isReference)) {
      const parents: readonly (readonly [string | undefined, Table])[] =
        column.type === 'reference' ? [[undefined, TABLE_BY_NAME.get(column.references!)!]] : [...OBJECT_TABLE_BY_CODE]
      for (const [code, parent] of parents) {
        if (!found.has(parent.name)) continue
        const ofType = code === undefined ? '' : ` and b."${column.typeColumn}" = ${literal(code)}`
        const added = await run(
          on,
          `insert into ${list} (table_name, row_id) select '${table.name}', b.id from ${base(table)} b
           where b."${column.name}" in (select row_id from ${list} where table_name = '${parent.name}')${ofType} on conflict do nothing`,
        )
        if (added > 0) found.add(table.name)
      }
    }
    if (!found.has(table.name)) continue
    const listed = `id in (select row_id from ${list} where table_name = '${table.name}')`
    // Two rows may exchange theirs, so all give up the old ones first.
    await run(
      on,
      `update ${base(table)} set nk = ${isSqlite ? "unhex(hex(nk) || '00')" : "nk || '\\x00'::bytea"} where ${listed}`,
    )
    await run(on, `update ${base(table)} as b set nk = ${key(table)} where b.${listed}`)
  }
}

// --- internal ---

/** Columns of `next_<table>` besides the fields. */
const HIDDEN: readonly Column[] = COMMON_COLUMNS.filter(({ name }) =>
  ['created_at', 'updated_at', 'deleted_at', 'unpublished_at'].includes(name),
)

/** An unseen row of another run that has a staged row's natural key: it becomes this run's. */
async function adopt(merge: MergeRun, tx: LibraryTx, table: Table): Promise<number> {
  if (merge.others.length === 0 || merge.state(table).existing === 0) return 0
  const sets = fieldsOf(table).map((column) => `"${column.name}" = ${merge.value(table, column)}`)
  const { change } = merge.staged
  const derived = table.name === 'indicators' ? ', normalized = s.normalized, hash = s.hash' : ''
  return run(
    tx,
    `update ${merge.base(table)} as b set ${sets.join(', ')}${derived}, created_at = s.created_at, updated_at = s.updated_at,
       deleted_at = s.deleted_at, created_change = ${change}, "change" = ${change}
     from ${merge.sync(table)} s where s.existing_id = b.id and s.same_as is null and s.created_at is not null
       and not (${merge.seen()})`,
  )
}

async function compareAgain(merge: MergeRun, tx: LibraryTx, table: Table): Promise<void> {
  const late = merge.staged.own('late')
  if (merge.state(table).existing === 0) return
  if (await exists(merge, tx, table)) {
    const next = merge.stepTable('next', table)
    if (!merge.isSqlite)
      await run(
        tx,
        `select 1 from ${merge.base(table)} b where b.id in (select row_id from ${next}) order by b.id for update`,
      )
    await run(
      tx,
      `insert into ${late} (table_name, sid) select '${table.name}', n.sid from ${next} n join ${merge.base(table)} b
       on b.id = n.row_id where b."change" <> n.base_change on conflict do nothing`,
    )
  }
  // Rows that were alike when they were compared, and are not any more.
  const since = merge.comparedSince
  if (since !== undefined)
    await run(
      tx,
      `insert into ${late} (table_name, sid) select '${table.name}', s.id from ${merge.base(table)} b
       join ${merge.sync(table)} s on s.existing_id = b.id
       where b."change" in (select id from changes where seq > ${since}) and s.same_as is null on conflict do nothing`,
    )
  const listed = `(select sid from ${late} where table_name = '${table.name}')`
  if ((await count(tx, `select count(*) from ${late} where table_name = '${table.name}'`)) === 0) return
  if (await exists(merge, tx, table)) {
    const next = merge.stepTable('next', table)
    await run(
      tx,
      `delete from ${merge.staged.own('conflicts')} where table_name = '${table.name}'
       and row_id in (select s.existing_id from ${merge.sync(table)} s where s.id in ${listed})`,
    )
    await run(tx, `delete from ${next} where sid in ${listed}`)
  }
  await compareTable(merge, tx, table, `s.id in ${listed}`)
}

async function update(merge: MergeRun, tx: LibraryTx, table: Table): Promise<number> {
  const { change, dialect } = merge.staged
  const next = merge.stepTable('next', table)
  const base = merge.base(table)
  // Once more: keys may be taken since.
  await refuseTakenKeys(merge, tx, table)
  const rows = await count(tx, `select count(*) from ${next}`)
  if (rows === 0) return 0
  const fields = [...fieldsOf(table), ...HIDDEN]
  const parts = fields.map(
    (column) =>
      `select n.row_id, '${column.name}' as field, ${textFormSql(dialect, column, `b."${column.name}"`)} as old_value
       from ${next} n join ${base} b on b.id = n.row_id where ${merge.differ(`n."${column.name}"`, `b."${column.name}"`)}`,
  )
  await run(tx, `drop table if exists ${merge.staged.own('entries')}`)
  await run(tx, `${merge.createOwn()} ${merge.staged.own('entries')} as ${parts.join(' union all ')}`)
  const entries = await count(tx, `select count(*) from ${merge.staged.own('entries')}`)
  const first = await drawIds(tx, 'journal', entries)
  await run(
    tx,
    `insert into journal (id, "change", table_name, row_id, field, old_value)
     select ${first - 1} + row_number() over (), ${change}, '${table.name}', row_id, field, old_value from ${merge.staged.own('entries')}`,
  )
  const derived = table.name === 'indicators' ? ', normalized = n.normalized, hash = n.hash' : ''
  const sets = fields.map(({ name }) => `"${name}" = n."${name}"`).join(', ')
  await run(tx, `update ${base} as b set ${sets}, "change" = ${change}${derived} from ${next} n where b.id = n.row_id`)
  const sync = syncHashSql(dialect, table.name, (name) => `"${name}"`)
  if (sync !== undefined) {
    const hash = table.name === 'events' ? `, hash = ${eventHashSql(dialect, '"happened_at"', '"title"')}` : ''
    await run(
      tx,
      `update ${base} set sync_hash = ${sync}${hash} where id in (select row_id from ${next} where key_changed = 1)`,
    )
  }
  return rows
}

async function rekeyChanged(merge: MergeRun, tx: LibraryTx): Promise<void> {
  const list = merge.staged.own('rekeyed')
  await run(tx, `drop table if exists ${list}`)
  await run(tx, `${merge.createOwn()} ${list} (table_name text, row_id bigint, primary key (table_name, row_id))`)
  for (const table of merge.staged.tables)
    if (await exists(merge, tx, table))
      await run(
        tx,
        `insert into ${list} (table_name, row_id) select '${table.name}', row_id from ${merge.stepTable('next', table)} where key_changed = 1`,
      )
  const { isSqlite } = merge
  await rekey(tx, { isSqlite, list, base: (table) => merge.base(table), key: (table) => merge.baseKey(table) })
}

async function insertLate(merge: MergeRun, tx: LibraryTx, table: Table): Promise<number> {
  const late = merge.staged.own('late')
  const listed = `s.id in (select sid from ${late} where table_name = '${table.name}')`
  const absent = `not exists (select 1 from ${merge.base(table)} b where b.id = ${merge.target(table)})`
  if ((await count(tx, `select count(*) from ${late} where table_name = '${table.name}'`)) === 0) return 0
  const wanted = await count(
    tx,
    `select count(*) from ${merge.sync(table)} s where ${listed} and ${absent} and s.same_as is null`,
  )
  if (wanted === 0) return 0
  await run(tx, `update ${merge.sync(table)} as s set nk = ${merge.key(table)} where ${listed} and ${absent}`)
  // Those without a row are counted with the new ones.
  const known = await count(
    tx,
    `select count(*) from ${merge.sync(table)} s where ${listed} and ${absent} and s.same_as is null and s.existing_id is not null`,
  )
  const inserted = await insertRows(merge, tx, table, `${listed} and ${absent} and s.same_as is null`)
  // Somebody was faster with the same key: his row is the one.
  if (inserted < wanted) {
    await settle(merge, tx, table)
    await compareAgain(merge, tx, table)
    await update(merge, tx, table)
  }
  return known
}

async function rememberAliases(merge: MergeRun, tx: LibraryTx): Promise<void> {
  const { staged } = merge
  if (staged.kind !== 'sync' || staged.site === undefined) return
  for (const table of staged.tables) {
    if (!merge.state(table).aliased) continue
    await run(
      tx,
      `insert into uid_aliases (table_name, remote, local, site)
       select '${table.name}', s.uid, b.uid, ${literal(staged.site)} from ${merge.sync(table)} s
       join ${merge.base(table)} b on b.id = s.existing_id where s.uid <> b.uid
       on conflict (table_name, remote) do update set local = excluded.local, site = excluded.site`,
    )
  }
}

async function rememberBrought(merge: MergeRun, tx: LibraryTx): Promise<void> {
  const { staged, policy } = merge
  const origin = policy.mirror?.origin ?? (staged.kind === 'import' ? staged.source : undefined)
  if (origin === undefined) return
  const name = literal(origin)
  for (const table of TABLES) {
    if (!BROUGHT_KINDS.has(table.kind)) continue
    await run(
      tx,
      `delete from brought where table_name = '${table.name}' and origin = ${name}
       and row_id in (select row_id from ${staged.own('gone')} where table_name = '${table.name}')`,
    )
    if (!merge.isStaged(table)) continue
    await run(
      tx,
      `insert into brought (table_name, row_id, origin, "change")
       select '${table.name}', ${merge.target(table)}, ${name}, ${staged.change} from ${merge.sync(table)} s
       where s.created_at is not null and s.same_as is null and s.deleted_at is null
       on conflict (table_name, row_id, origin) do update set "change" = excluded."change"`,
    )
  }
}

async function keepRefused(merge: MergeRun, tx: LibraryTx): Promise<void> {
  const { staged } = merge
  const rejects = staged.own('rejects')
  const rows = await count(tx, `select count(*) from ${rejects}`)
  if (rows === 0) return
  const first = await drawIds(tx, 'quarantine', rows)
  const origin = literal(staged.site ?? staged.source ?? staged.kind)
  await run(
    tx,
    `insert into quarantine (id, at, origin, run, table_name, place, code, reason, payload)
     select ${first - 1} + row_number() over (), ${Date.now() * 1000}, ${origin}, ${literal(staged.run)}, table_name, place, code, reason, payload
     from ${rejects}`,
  )
}
