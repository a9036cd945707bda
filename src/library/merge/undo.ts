/**
 * Takes a run back by a change of its own: fields as the journal has them, rows that it made, rows that it took away.
 * What a later change touched stays and is reported.
 */
import { all, run } from '../../platform/database/session.ts'
import { drawIds, newChange, publish } from '../changes.ts'
import { eventHashSql, fromTextSql, murmur3x86_128, syncHashSql, textFormSql } from '../identity.ts'
import type { Library } from '../library.ts'
import { columnsOf, OBJECT_TABLES, TABLES, type Table } from '../model.ts'
import { normalizeIndicator } from '../observables.ts'
import type { LibraryTx } from '../schema.ts'
import { rekey } from './apply.ts'
import { applyGone, countBy } from './gone.ts'
import { baseKeySql, count, isKeyColumn } from './mergeRun.ts'
import { literal } from './staging.ts'

export interface UndoReport {
  /** Of the undo. `seq`: undefined when nothing was left to be undone. */
  readonly change: number
  readonly seq?: number
  readonly tables: readonly UndoneTable[]
}

export interface UndoneTable {
  readonly table: string
  /** Rows that the run made and that are deleted now. */
  readonly deleted: number
  /** Rows whose fields went back, those that are alive again included. */
  readonly restored: number
  /** Rows that the run made or changed and that a later change touched: they stay. */
  readonly kept: number
}

export interface UndoOptions {
  readonly beforePublish?: (tx: LibraryTx, report: UndoReport) => Promise<void>
}

/** Undoes the visible changes of a run that are not undone yet, the last first. */
export async function undoRun(
  library: Library,
  undone: string,
  { beforePublish }: UndoOptions = {},
): Promise<UndoReport> {
  const { database } = library
  return database.write(async (tx) => {
    const changes = await all(
      tx,
      `select id, site, source from changes where run = ${literal(undone)} and seq is not null and kind <> 'undo'
       and cast(id as text) not in (select note from changes where kind = 'undo' and note is not null) order by id desc`,
    )
    const [first] = changes
    const note = first === undefined ? undefined : String(first.id)
    const change = await newChange(tx, {
      kind: 'undo',
      run: undone,
      site: first?.site ?? undefined,
      source: first?.source ?? undefined,
      note,
    })
    const tables =
      first === undefined ? [] : await undoChange(tx, database.dialect === 'sqlite', Number(first.id), change)
    const report: UndoReport = { change, tables }
    await beforePublish?.(tx, report)
    return { ...report, seq: await publish(tx, change) }
  })
}

// --- internal ---

/** Tables of the work, gone with the transaction. */
const GONE = 'undo_gone'
const REKEYED = 'undo_rekeyed'

async function undoChange(tx: LibraryTx, isSqlite: boolean, undone: number, change: number): Promise<UndoneTable[]> {
  const base = (table: Table) => (isSqlite ? `main."${table.name}"` : `"${table.name}"`)
  const list = '(table_name text, row_id bigint, deleted_at bigint, action text, primary key (table_name, row_id))'
  for (const name of [GONE, REKEYED]) {
    await run(tx, `drop table if exists ${name}`)
    await run(tx, `create temp table ${name} ${list}`)
  }
  const restored = new Map<string, number>()
  const kept = new Map<string, number>()
  for (const table of TABLES) {
    const counts = await restoreFields(tx, { table, base, isSqlite, undone, change })
    restored.set(table.name, counts.restored)
    kept.set(table.name, counts.kept)
  }
  await rekey(tx, {
    isSqlite,
    list: REKEYED,
    base,
    key: (table) => baseKeySql(isSqlite ? 'sqlite' : 'postgres', table, base),
  })
  // Children first: a row that holds another's is not taken away from under it.
  for (const table of TABLES.toReversed()) {
    const made = `b.created_change = ${undone} and b.deleted_at is null`
    const touched = `exists (select 1 from journal k where k.table_name = '${table.name}' and k.row_id = b.id
      and k."change" not in (${undone}, ${change}) and ${counts('k', isSqlite)})`
    const free = [
      `(b."change" in (${undone}, ${change}) or not ${touched})`,
      ...holders(table).map((holder) => `b.id not in (${holder})`),
    ]
    await run(
      tx,
      `insert into ${GONE} (table_name, row_id, deleted_at, action)
       select '${table.name}', b.id, ${Date.now() * 1000}, 'delete' from ${base(table)} b where ${made} and ${free.join(' and ')}`,
    )
    const stays = await count(
      tx,
      `select count(*) from ${base(table)} b where ${made} and b.id not in (select row_id from ${GONE} where table_name = '${table.name}')`,
    )
    kept.set(table.name, kept.get(table.name)! + stays)
  }
  const gone = await countBy(tx, GONE)
  const rows = [...gone.values()].reduce((sum, n) => sum + n, 0)
  if (rows > 0)
    await applyGone(tx, { gone: GONE, change, firstId: await drawIds(tx, 'journal', rows), base, counts: gone })
  await run(tx, `delete from brought where "change" = ${undone}`)
  for (const name of [GONE, REKEYED]) await run(tx, `drop table ${name}`)
  return TABLES.flatMap(({ name }) => {
    const counts = { deleted: gone.get(name) ?? 0, restored: restored.get(name)!, kept: kept.get(name)! }
    return counts.deleted + counts.restored + counts.kept === 0 ? [] : [{ table: name, ...counts }]
  })
}

/** SQL that a journal entry stands for something that is still so: no undo, and nothing that was undone. */
const counts = (alias: string, isSqlite: boolean): string =>
  `${alias}."change" not in (select id from changes where kind = 'undo'
     union all select cast(note as ${isSqlite ? 'integer' : 'bigint'}) from changes where kind = 'undo' and note is not null)`

interface Work {
  readonly table: Table
  readonly base: (table: Table) => string
  readonly isSqlite: boolean
  readonly undone: number
  readonly change: number
}

/** Fields that the change set and no later one did. */
async function restoreFields(
  tx: LibraryTx,
  { table, base, isSqlite, undone, change }: Work,
): Promise<{ readonly restored: number; readonly kept: number }> {
  const dialect = isSqlite ? 'sqlite' : 'postgres'
  const fields = await all(
    tx,
    `select distinct field from journal where "change" = ${undone} and table_name = '${table.name}'`,
  )
  if (fields.length === 0) return { restored: 0, kept: 0 }
  const later = (alias: string) =>
    `exists (select 1 from journal k where k.table_name = ${alias}.table_name and k.row_id = ${alias}.row_id
       and k.field = ${alias}.field and k.id > ${alias}.id and k."change" <> ${change} and ${counts('k', isSqlite)})`
  const mine = `j."change" = ${undone} and j.table_name = '${table.name}'`
  const kept = await count(tx, `select count(distinct j.row_id) from journal j where ${mine} and ${later('j')}`)
  const rows = await count(tx, `select count(distinct j.row_id) from journal j where ${mine} and not ${later('j')}`)
  for (const { field } of fields) {
    const column = columnsOf(table).find(({ name }) => name === field)
    if (!column) continue
    const chosen = `${mine} and j.field = '${column.name}' and not ${later('j')}`
    const entries = await count(tx, `select count(*) from journal j where ${chosen}`)
    if (entries === 0) continue
    const first = await drawIds(tx, 'journal', entries)
    await run(
      tx,
      `insert into journal (id, "change", table_name, row_id, field, old_value)
       select ${first - 1} + row_number() over (order by j.id), ${change}, '${table.name}', j.row_id, '${column.name}',
         ${textFormSql(dialect, column, `b."${column.name}"`)} from journal j join ${base(table)} b on b.id = j.row_id where ${chosen}`,
    )
    // The entries just written are of this change, which `later` passes over.
    await run(
      tx,
      `update ${base(table)} as b set "${column.name}" = ${fromTextSql(dialect, column, 'j.old_value')}, "change" = ${change}
       from journal j where ${chosen} and j.row_id = b.id`,
    )
    if (isKeyColumn(table, column.name))
      await run(
        tx,
        `insert into ${REKEYED} (table_name, row_id) select '${table.name}', j.row_id from journal j where ${chosen} on conflict do nothing`,
      )
  }
  await deriveAgain(tx, { table, base, isSqlite })
  return { restored: rows, kept }
}

/** Columns that hang on value, type or time, of rows that got another natural key. */
async function deriveAgain(
  tx: LibraryTx,
  { table, base, isSqlite }: Pick<Work, 'table' | 'base' | 'isSqlite'>,
): Promise<void> {
  const dialect = isSqlite ? 'sqlite' : 'postgres'
  const listed = `id in (select row_id from ${REKEYED} where table_name = '${table.name}')`
  if (table.name === 'indicators') {
    const bytes = (hex: string) => (isSqlite ? `x'${hex}'` : `'\\x${hex}'::bytea`)
    for (let after = 0; ; ) {
      const rows = await all(
        tx,
        `select b.id, b.value, t.name from ${base(table)} b join indicator_types t on t.id = b.type_id
         where b.${listed} and b.id > ${after} order by b.id limit 500`,
      )
      if (rows.length === 0) break
      for (const { id, value, name } of rows) {
        after = Number(id)
        await run(
          tx,
          `update ${base(table)} set normalized = ${literal(normalizeIndicator(name, value))}, hash = ${bytes(murmur3x86_128(value))} where id = ${id}`,
        )
      }
    }
  }
  const sync = syncHashSql(dialect, table.name, (name) => `"${name}"`)
  if (sync === undefined) return
  const hash = table.name === 'events' ? `, hash = ${eventHashSql(dialect, '"happened_at"', '"title"')}` : ''
  await run(tx, `update ${base(table)} set sync_hash = ${sync}${hash} where ${listed}`)
}

/** Queries of ids that living rows refer to, which stay themselves. */
function holders(table: Table): string[] {
  return TABLES.flatMap((other) =>
    other.columns.flatMap((column) => {
      const isTo = column.references === table.name || (column.type === 'anyReference' && OBJECT_TABLES.includes(table))
      if (!isTo) return []
      const ofType =
        column.type === 'anyReference' ? ` and c."${column.typeColumn}" = ${literal(table.objectCode!)}` : ''
      return [
        `select c."${column.name}" from "${other.name}" c where c."${column.name}" is not null and c.deleted_at is null${ofType}
         and not exists (select 1 from ${GONE} g where g.table_name = '${other.name}' and g.row_id = c.id)`,
      ]
    }),
  )
}
