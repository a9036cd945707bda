/** Steps 1b and 2 of the merge: indexes, and for every staged row whether it exists here and what it refers to. */
import { all, run } from '../../platform/database/session.ts'
import { drawIds } from '../changes.ts'
import { isReference, naturalKeyColumns, textFormSql } from '../identity.ts'
import { type Column, dumpColumns, OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, TABLES, type Table } from '../model.ts'
import type { QuarantineCode } from '../quarantine.ts'
import type { LibraryTx } from '../schema.ts'
import { count, type MergeRun, referencesOf, type TableState } from './mergeRun.ts'
import { literal, stagedColumns } from './staging.ts'

/** Ids of rows that a dry run would insert: none is drawn. */
const DRY_OFFSET = 2 ** 51

/** Of PostgreSQL. */
export const UNIQUE_VIOLATION = '23505'

export async function resolveAll(
  merge: MergeRun,
  { dryRun, onTable }: { readonly dryRun: boolean; readonly onTable: (table: Table) => void },
): Promise<void> {
  const { staged } = merge
  const shapes = await shapesOf(merge)
  for (const table of staged.tables) {
    const known = await staged.recall<TableState>(`resolved:${table.name}`)
    if (known) {
      merge.states.set(table.name, known)
      continue
    }
    onTable(table)
    await index(merge, table)
    const highest = Number((await all(merge.db, `select max(id) as id from ${merge.sync(table)}`))[0]!.id ?? 0)
    const first = dryRun
      ? DRY_OFFSET
      : await merge.staged.session.database.write((tx) => drawIds(tx, table.name, highest))
    const codes: Record<string, readonly string[]> = {}
    for (const { typeColumn } of table.columns) {
      if (typeColumn === undefined) continue
      // Only those that are object codes: a stranger may write as many others as he has rows.
      const known = [...OBJECT_TABLE_BY_CODE.keys()].map(literal).join(', ')
      const found = await all(
        merge.db,
        `select distinct "${typeColumn}" as code from ${merge.sync(table)} where "${typeColumn}" in (${known})`,
      )
      codes[typeColumn] = found.map(({ code }) => code as string)
    }
    const shape = shapes.get(table.name)!
    const state: TableState = { offset: first - 1, ...shape, existing: 0, aliased: false, codes }
    merge.states.set(table.name, state)
    await merge.own(async (tx) => {
      await resolve(merge, table, state, tx)
      await run(tx, rememberState(merge, table, state))
    })
  }
}

/** `existing` of a state may grow while rows are inserted. */
export const rememberState = ({ staged }: MergeRun, { name }: Table, state: TableState): string =>
  `insert into ${staged.own('facts')} (name, value) values ('resolved:${name}', ${literal(JSON.stringify(state))})
   on conflict (name) do update set value = excluded.value`

/** Quarantine: rows of a sync table for which `condition` holds, with what their references stood for. */
export async function refuseRows(
  merge: MergeRun,
  on: unknown,
  table: Table,
  { condition, code, reason }: { readonly condition: string; readonly code: QuarantineCode; readonly reason: string },
): Promise<number> {
  const { staged } = merge
  const { dialect } = staged
  const columns = dumpColumns(table)
  const fields = columns.map((column) => `${textFormSql(dialect, column, `s."${column.name}"`)} as "${column.name}"`)
  const uids = referencesOf(table).map((column) => {
    const whens = merge
      .parents(table, column)
      .filter(([, parent]) => merge.isStaged(parent))
      .map(
        ([given, parent]) =>
          [
            given,
            `(select ${textFormSql(dialect, UID, 'p.uid')} from ${merge.sync(parent)} p where p.id = s."${column.name}")`,
          ] as const,
      )
    const cases = whens.map(
      ([given, sql]) =>
        `when ${given === undefined ? 'true' : `s."${column.typeColumn}" = ${literal(given)}`} then ${sql}`,
    )
    return `${cases.length === 0 ? 'null' : `case ${cases.join(' ')} end`} as "uid of ${column.name}"`
  })
  let refused = 0
  for (;;) {
    const rows = await all(
      on,
      `select ${[...fields, ...uids].join(', ')} from ${merge.sync(table)} s where ${condition} order by s.id limit 500`,
    )
    if (rows.length === 0) return refused
    merge.countAgain(table)
    refused += rows.length
    const values = rows.map((row) => {
      const payload = {
        table: table.name,
        row: Object.fromEntries(columns.map(({ name }) => [name, row[name]])),
        references: Object.fromEntries(referencesOf(table).map(({ name }) => [name, row[`uid of ${name}`]])),
      }
      const texts = [table.name, `row ${row.id}`, code, reason, JSON.stringify(payload)]
      return `(${texts.map(literal).join(', ')})`
    })
    await run(
      on,
      `insert into ${staged.own('rejects')} (table_name, place, code, reason, payload) values ${values.join(', ')}`,
    )
    await run(on, `delete from ${merge.sync(table)} where id in (${rows.map(({ id }) => id).join(', ')})`)
  }
}

// --- internal ---

const UID = { name: 'uid', type: 'hex' } as const

/** Which tables have rows already, and which must know natural keys before their rows are inserted. */
async function shapesOf(merge: MergeRun): Promise<Map<string, { general: boolean; keyed: boolean }>> {
  const { staged } = merge
  const shapes = new Map<string, { general: boolean; keyed: boolean }>()
  const known = await staged.recall<[string, { general: boolean; keyed: boolean }][]>('shapes')
  if (known) return new Map(known)
  for (const table of TABLES) {
    const general = (await all(merge.db, `select 1 as one from ${merge.base(table)} limit 1`)).length > 0
    shapes.set(table.name, { general, keyed: general })
  }
  // Children last: from them the wish goes up to what their keys are made of.
  for (const table of staged.tables.toReversed())
    if (shapes.get(table.name)!.keyed)
      for (const column of naturalKeyColumns(table).filter(isReference))
        for (const parent of column.references
          ? [TABLE_BY_NAME.get(column.references)!]
          : OBJECT_TABLE_BY_CODE.values())
          shapes.set(parent.name, { ...shapes.get(parent.name)!, keyed: true })
  await staged.remember('shapes', [...shapes])
  return shapes
}

async function index(merge: MergeRun, table: Table): Promise<void> {
  const sync = merge.sync(table)
  if (!merge.isSqlite) {
    // Before ANALYZE: of a column that it does not know PostgreSQL believes that it is hardly ever NULL.
    const added = addedColumns(merge, table).map(([name, type]) => `add column if not exists "${name}" ${type}`)
    await run(merge.db, `alter table ${sync} ${added.join(', ')}`)
    const unique = `create unique index if not exists "${merge.staged.syncName(table)}_id" on ${sync} (id)`
    try {
      await run(merge.db, unique)
    } catch (error) {
      if ((error as { code?: string }).code !== UNIQUE_VIOLATION) throw error
      await refuseRepeated(merge, table)
      await run(merge.db, unique)
    }
    await run(merge.db, `analyze ${sync}`)
  }
}

/** PostgreSQL: SQLite has told them while they were loaded. */
async function refuseRepeated(merge: MergeRun, table: Table): Promise<void> {
  const sync = merge.sync(table)
  const later = `exists (select 1 from ${sync} o where o.id = s.id and o.ctid < s.ctid)`
  const fields = dumpColumns(table).map(
    (column) => `'${column.name}', ${textFormSql('postgres', column, `s."${column.name}"`)}`,
  )
  const rejects = merge.staged.own('rejects')
  await merge.own(async (tx) => {
    await run(tx, `create index on ${sync} (id)`)
    await run(
      tx,
      `insert into ${rejects} (table_name, place, code, reason, payload)
       select '${table.name}', 'row ' || s.id, 'duplicate', 'its number is used twice',
         json_build_object('table', '${table.name}', 'row', json_build_object(${fields.join(', ')}))::text
       from ${sync} s where ${later}`,
    )
    await run(tx, `delete from ${sync} s where ${later}`)
  })
}

async function resolve(merge: MergeRun, table: Table, state: TableState, tx: LibraryTx): Promise<void> {
  const sync = merge.sync(table)
  if (merge.isSqlite)
    for (const [name, type] of addedColumns(merge, table))
      await run(tx, `alter table ${sync} add column "${name}" ${type}`)
  await refuseUnknownReferences(merge, tx, table)
  if (state.general) {
    await findByUid(merge, tx, table)
    state.existing = await count(tx, `select count(existing_id) from ${sync}`)
  }
  await refuseRows(merge, tx, table, {
    condition: 's.created_at is null and s.existing_id is null',
    code: 'reference',
    reason: 'only its uid came, and no row has it here',
  })
  if (state.keyed) {
    await computeKeys(merge, tx, table)
    await run(tx, `create index ${indexName(merge, table, 'nk')} on ${unplaced(merge, table)} (nk)`)
  }
  if (state.general) {
    if (await findByKey(merge, tx, table, state)) state.aliased = true
    state.existing = await count(tx, `select count(existing_id) from ${sync}`)
  }
  if (state.keyed) await joinTwins(merge, tx, table, state)
  // Where nothing was found out, it is as it was when it got its index.
  if (!merge.isSqlite && (state.general || state.keyed)) await run(tx, `analyze ${sync}`)
}

/** What is found out of a row, besides its dump (P37, P38): `same_as` is the number of a row of the run that it equals. */
function addedColumns({ isSqlite }: MergeRun, table: Table): readonly (readonly [name: string, type: string])[] {
  const integer = isSqlite ? 'integer' : 'bigint'
  return [
    ['existing_id', integer],
    ...referencesOf(table).map(({ name }) => [`existing_${name}`, integer] as const),
    ['nk', isSqlite ? 'blob' : 'bytea'],
    ['same_as', integer],
  ]
}

/** In SQLite an index lies where its name says, in PostgreSQL where its table does. */
const indexName = (merge: MergeRun, table: Table, of: string): string =>
  `${merge.isSqlite ? `${merge.staged.session.place}.` : ''}"${merge.staged.syncName(table)}_${of}"`
const unplaced = (merge: MergeRun, table: Table): string =>
  merge.isSqlite ? `"${merge.staged.syncName(table)}"` : merge.sync(table)

async function refuseUnknownReferences(merge: MergeRun, tx: LibraryTx, table: Table): Promise<void> {
  for (const column of referencesOf(table)) {
    const of = `s."${column.name}"`
    const found = merge.parents(table, column).filter(([, parent]) => merge.isStaged(parent))
    const known = found.map(([code, parent]) => {
      const exists = `exists (select 1 from ${merge.sync(parent)} p where p.id = ${of})`
      return code === undefined ? exists : `(s."${column.typeColumn}" = ${literal(code)} and ${exists})`
    })
    const condition = `${of} is not null${known.length === 0 ? '' : ` and not (${known.join(' or ')})`}`
    const [any] = await all(tx, `select 1 as one from ${merge.sync(table)} s where ${condition} limit 1`)
    if (!any) continue
    const reason = `${column.name} refers to a row that neither the input nor the library has`
    await refuseRows(merge, tx, table, { condition, code: 'reference', reason })
  }
}

async function findByUid(merge: MergeRun, tx: LibraryTx, table: Table): Promise<void> {
  const sync = merge.sync(table)
  const base = merge.base(table)
  const [aliases] = await all(tx, `select 1 as one from uid_aliases where table_name = '${table.name}' limit 1`)
  const byUid = `(select b.id from ${base} b where b.uid = s.uid)`
  const byAlias = `(select b.id from uid_aliases a join ${base} b on b.uid = a.local where a.table_name = '${table.name}' and a.remote = s.uid)`
  if (merge.isSqlite) {
    const sets = [`existing_id = ${aliases ? `coalesce(${byUid}, ${byAlias})` : byUid}`]
    for (const column of referencesOf(table)) {
      const whens = existingParents(merge, table, column).map(([code, parent]) => {
        const found = `(select p.existing_id from ${merge.sync(parent)} p where p.id = s."${column.name}")`
        return code === undefined ? found : `when ${literal(code)} then ${found}`
      })
      if (whens.length === 0) continue
      const isOne = column.type === 'reference'
      sets.push(
        `"existing_${column.name}" = ${isOne ? whens[0] : `case s."${column.typeColumn}" ${whens.join(' ')} end`}`,
      )
    }
    await run(tx, `update ${sync} as s set ${sets.join(', ')}`)
  } else await rewriteWithExisting(merge, tx, table, aliases !== undefined)
  await run(
    tx,
    `create index ${indexName(merge, table, 'existing')} on ${unplaced(merge, table)} (existing_id) where existing_id is not null`,
  )
}

/** Rows of one statement that calls a registered function: SQLite keeps what it gave until the statement ends. */
const KEYS_A_STATEMENT = 50_000

async function computeKeys(merge: MergeRun, tx: LibraryTx, table: Table): Promise<void> {
  const sync = merge.sync(table)
  const update = `update ${sync} as s set nk = ${merge.key(table)} where s.existing_id is null and s.created_at is not null`
  if (!merge.isSqlite) {
    await run(tx, update)
    return
  }
  const missing = 's.existing_id is null and s.created_at is not null'
  for (let after = 0; ; ) {
    const [last] = await all(
      tx,
      `select max(id) as id from (select s.id from ${sync} s where ${missing} and s.id > ${after} order by s.id limit ${KEYS_A_STATEMENT}) x`,
    )
    if (last!.id === null) return
    await run(tx, `${update} and s.id > ${after} and s.id <= ${last!.id}`)
    after = Number(last!.id)
  }
}

const existingParents = (merge: MergeRun, table: Table, column: Column) =>
  merge.parents(table, column).filter(([, parent]) => merge.isStaged(parent) && merge.state(parent).existing > 0)

/** PostgreSQL writes a changed row anew anyhow, so the whole table is written once, by joins over whole tables. */
async function rewriteWithExisting(merge: MergeRun, tx: LibraryTx, table: Table, aliases: boolean): Promise<void> {
  const sync = merge.sync(table)
  const base = merge.base(table)
  const found = new Map<string, string>()
  const joins = [`left join ${base} u on u.uid = s.uid`]
  if (aliases) {
    joins.push(`left join uid_aliases a on a.table_name = '${table.name}' and a.remote = s.uid`)
    joins.push(`left join ${base} v on v.uid = a.local`)
  }
  found.set('existing_id', aliases ? 'coalesce(u.id, v.id)' : 'u.id')
  for (const column of referencesOf(table)) {
    const parents = existingParents(merge, table, column).map(([code, parent]) => {
      const alias = `p${joins.length}`
      const ofType = code === undefined ? '' : ` and s."${column.typeColumn}" = ${literal(code)}`
      joins.push(`left join ${merge.sync(parent)} ${alias} on ${alias}.id = s."${column.name}"${ofType}`)
      return `${alias}.existing_id`
    })
    if (parents.length > 0) found.set(`existing_${column.name}`, `coalesce(${parents.join(', ')})`)
  }
  const names = [...stagedColumns(table).map(({ name }) => name), ...addedColumns(merge, table).map(([name]) => name)]
  const columns = names.map((name) => `${found.get(name) ?? `s."${name}"`} as "${name}"`)
  const rewritten = merge.stepTable('rewritten', table)
  await run(tx, `create unlogged table ${rewritten} as select ${columns.join(', ')} from ${sync} s ${joins.join(' ')}`)
  await run(tx, `drop table ${sync} cascade`)
  await run(tx, `alter table ${rewritten} rename to "${merge.staged.syncName(table)}"`)
  await run(tx, `create unique index "${merge.staged.syncName(table)}_id" on ${sync} (id)`)
  await run(tx, `analyze ${sync}`)
}

/** A row that another staged row has by its uid is not this one, even where it still has its natural key. */
async function findByKey(merge: MergeRun, tx: LibraryTx, table: Table, { existing }: TableState): Promise<boolean> {
  const sync = merge.sync(table)
  const claimed = existing === 0 ? '' : ` and not exists (select 1 from ${sync} o where o.existing_id = b.id)`
  const row = `(select b.id from ${merge.base(table)} b where b.nk = s.nk${claimed})`
  const found = `s.existing_id is null and s.nk is not null`
  if (merge.isSqlite) {
    // Collected first: the statement must not see what it finds itself.
    await run(tx, `create temp table found as select s.id, ${row} as row_id from ${sync} s where ${found}`)
    const touched = await run(
      tx,
      `update ${sync} as s set existing_id = f.row_id from temp.found f where f.row_id is not null and f.id = s.id`,
    )
    await run(tx, 'drop table temp.found')
    return touched > 0
  }
  const touched = await run(
    tx,
    `update ${sync} s set existing_id = b.id from ${merge.base(table)} b where b.nk = s.nk and ${found}${claimed}`,
  )
  return touched > 0
}

/** Rows of a run that are the same: the first stands for all, and what refers to another refers to it. */
async function joinTwins(merge: MergeRun, tx: LibraryTx, table: Table, state: TableState): Promise<void> {
  const sync = merge.sync(table)
  const twins = await run(
    tx,
    `update ${sync} as s set same_as = f.first, existing_id = ${state.offset} + f.first
     from (select nk, min(id) as first from ${sync} where existing_id is null and nk is not null
       group by nk having count(*) > 1) f
     where s.nk = f.nk and s.existing_id is null and s.id <> f.first`,
  )
  let same = 0
  if (state.existing > 0)
    same = await run(
      tx,
      `update ${sync} as s set same_as = f.first
       from (select existing_id, min(id) as first from ${sync} where existing_id is not null and same_as is null
         group by existing_id having count(*) > 1) f
       where s.existing_id = f.existing_id and s.id <> f.first and s.same_as is null`,
    )
  if (twins + same > 0) {
    state.aliased = true
    state.existing = await count(tx, `select count(existing_id) from ${sync}`)
  }
}
