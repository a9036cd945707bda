/**
 * Step 3 of the merge: what an existing row becomes, by the decision tables of docs/design.md §11. `next_<table>` has
 * the values that rows which change will have; conflicts go into a table of their own. Nothing of the library is written.
 */
import { all, run } from '../../platform/database/session.ts'
import { TLP_NAMES, tlpRank } from '../dictionaries.ts'
import { isReference, murmur3x86_128, naturalKeySql, textFormSql } from '../identity.ts'
import { type Column, TABLE_BY_NAME, type Table } from '../model.ts'
import { normalizeIndicator } from '../observables.ts'
import { count, fieldsOf, isKeyColumn, type MergeRun } from './mergeRun.ts'
import type { Conflict } from './policy.ts'
import { literal } from './staging.ts'

/** Makes the tables that the comparison fills; empties them when it is done again. */
export async function prepareComparison(merge: MergeRun, on: unknown): Promise<void> {
  const { staged } = merge
  const id = merge.isSqlite ? 'id integer primary key' : 'id bigserial primary key'
  await run(on, `drop table if exists ${staged.own('conflicts')}`)
  await run(
    on,
    `${merge.createOwn()} ${staged.own('conflicts')} (${id}, table_name text, row_id bigint, uid text, name text,
       field text, local text, incoming text, decision text, reason text)`,
  )
  await run(on, `drop table if exists ${staged.own('late')}`)
  await run(
    on,
    `${merge.createOwn()} ${staged.own('late')} (table_name text, sid bigint, primary key (table_name, sid))`,
  )
}

/** Compares a table's rows, or those that `only` names (a condition over `s`); answers how many change. */
export async function compareTable(merge: MergeRun, on: unknown, table: Table, only?: string): Promise<number> {
  const next = merge.stepTable('next', table)
  const pairs = merge.stepTable('pairs', table)
  if (only === undefined) await run(on, `drop table if exists ${next}`)
  await run(on, `drop table if exists ${pairs}`)
  if (merge.state(table).existing === 0) return 0
  const fields = fieldsOf(table)
  const differences = fields.map((column) => merge.differ(merge.value(table, column), `b."${column.name}"`))
  if (merge.policy.keepCreatedAt) differences.push('s.created_at < b.created_at')
  const from = `${merge.sync(table)} s join ${merge.base(table)} b on b.id = s.existing_id`
  await run(
    on,
    `${merge.createOwn()} ${pairs} as
     select s.id as sid, b.id as row_id, b."change" as base_change, b.updated_at > s.updated_at as newer
     from ${from}
     where s.created_at is not null and s.same_as is null and s.deleted_at is null and ${merge.seen()}
       and ${only ?? 'true'} and (${[...differences, 'b.deleted_at is not null', 'b.unpublished_at is not null'].join(' or ')})`,
  )
  if ((await count(on, `select count(*) from ${pairs}`)) === 0) return 0
  const joined = `${pairs} d join ${merge.sync(table)} s on s.id = d.sid join ${merge.base(table)} b on b.id = d.row_id`
  await noteConflicts(merge, on, table, joined)
  const values = fields.map((column) => [column.name, finalValue(merge, table, column)] as const)
  const revived = `(case when ${revives(merge, table)} then null else b.deleted_at end)`
  const published = `(case when ${revives(merge, table)} then null else b.unpublished_at end)`
  const created = merge.policy.keepCreatedAt
    ? `case when s.created_at < b.created_at then s.created_at else b.created_at end`
    : 'b.created_at'
  const finals = [...values, ['created_at', created], ['deleted_at', revived], ['unpublished_at', published]] as const
  const anyKey = table.columns
    .filter(({ name }) => isKeyColumn(table, name))
    .map(({ name }) => merge.differ(`n."${name}"`, `b."${name}"`))
  const changed = finals.map(([name]) => merge.differ(`n."${name}"`, `b."${name}"`)).join(' or ')
  const columns = finals.map(([name, sql]) => `${sql} as "${name}"`).join(', ')
  const derived = table.name === 'indicators' ? ', s.normalized, s.hash, s.value as staged_value' : ''
  const select = `select n.*, ${anyKey.length === 0 ? '0' : `case when ${anyKey.join(' or ')} then 1 else 0 end`} as key_changed
     from (select d.row_id, d.sid, d.base_change, case when b.updated_at > s.updated_at then b.updated_at else s.updated_at end as updated_at, ${columns}${derived}
       from ${joined}) n join ${merge.base(table)} b on b.id = n.row_id where ${changed}`
  const isNew = only === undefined || !(await exists(merge, on, table))
  await run(on, isNew ? `${merge.createOwn()} ${next} as ${select}` : `insert into ${next} ${select}`)
  if (isNew) {
    const name = `next_${table.name}_row`
    const on_ = merge.isSqlite ? `"next_${table.name}"` : next
    await run(on, `create index ${merge.isSqlite ? `${merge.staged.session.place}.` : ''}"${name}" on ${on_} (row_id)`)
  }
  if (table.name === 'indicators') await deriveAgain(merge, on, table)
  await refuseTakenKeys(merge, on, table)
  const alive = await count(on, `select count(*) from ${next}`)
  if (!merge.isSqlite) await run(on, `analyze ${next}`)
  return alive
}

/** Whether a comparison has found rows of a table that change. */
export async function exists(merge: MergeRun, on: unknown, table: Table): Promise<boolean> {
  const { place } = merge.staged.session
  const look = merge.isSqlite
    ? `select 1 as one from ${place}.sqlite_master where name = 'next_${table.name}'`
    : `select 1 as one where to_regclass('${place}."next_${table.name}"') is not null`
  return (await all(on, look)).length > 0
}

// --- internal ---

const isTouch = ({ name }: Column): boolean => name === 'touched_at'

/** What a field of a base row becomes: docs/design.md §11. */
function finalValue(merge: MergeRun, table: Table, column: Column): string {
  const given = merge.value(table, column)
  const base = `b."${column.name}"`
  if (isTouch(column)) return `case when ${base} is null or ${given} > ${base} then ${given} else ${base} end`
  return `case when ${base} is null then ${given} when ${takes(merge, table, column)} then ${given} else ${base} end`
}

/** SQL that a field is taken whose base value is not NULL. */
function takes(merge: MergeRun, table: Table, column: Column): string {
  const { policy } = merge
  const given = `s."${column.name}"`
  if (column.name === 'description' && !policy.overrideDescription) return 'false'
  const terms: string[] = []
  if (policy.conflicts === 'newest') {
    terms.push(`${given} is not null`, `not ${merge.editedHere(table, column.name)}`, 'b.updated_at <= s.updated_at')
  } else if (policy.keepWhereAbsent) terms.push(`(${given} is not null or ${broughtBefore(merge, table, column)})`)
  for (const [kept] of guards(merge, table, column)) terms.push(`not ${kept}`)
  return terms.length === 0 ? 'true' : `(${terms.join(' and ')})`
}

/** SQL that the source of this run, which gives its objects whole, brought the base row's value, and nobody set it since. */
function broughtBefore({ staged, policy }: MergeRun, table: Table, column: Column): string {
  const isWhole =
    policy.wholeObjects && staged.source !== undefined && table.columns.some(({ name }) => name === 'stix_id')
  if (!isWhole) return 'false'
  const set = `select j."change" from journal j where j.table_name = '${table.name}' and j.row_id = b.id
    and j.field = '${column.name}' order by j.id desc limit 1`
  return `(s."stix_id" is not null and exists (select 1 from changes c where c.id = coalesce((${set}), b.created_change)
    and c.kind = 'import' and c.source = ${literal(staged.source!)}))`
}

/** SQL that the base row's status is protected; an edit by hand may change it all the same. */
function protectedBy(merge: MergeRun, column: Column): string | undefined {
  if (column.name !== 'status_id' || merge.staged.kind === 'local') return undefined
  const statuses = TABLE_BY_NAME.get(column.references!)!
  if (!statuses.columns.some(({ name }) => name === 'protected')) return undefined
  return `exists (select 1 from ${merge.base(statuses)} q where q.id = b.status_id and q.protected = 'Y')`
}

type Guard = readonly [condition: string, reason: Conflict['reason']]

/** What is not for others to set, whatever the policy: SQL that a field of base row `b` stays as it is, and why. */
function guards(merge: MergeRun, table: Table, column: Column): readonly Guard[] {
  const found: Guard[] = []
  if (merge.staged.kind === 'local') return found
  if (table.kind === 'dictionary')
    found.push([
      `(${builtIn()} and not exists (select 1 from journal j where j.table_name = '${table.name}' and j.row_id = b.id
         and j.field = '${column.name}'))`,
      'built in',
    ])
  if (column.name === 'protected')
    found.push([`(b.protected = 'Y' and not ${madeBySender(merge)})`, 'protected status'])
  const statuses = protectedBy(merge, column)
  if (statuses) found.push([statuses, 'protected status'])
  const wider = widens(merge, column)
  if (wider) found.push([`(${wider} and not ${madeBySender(merge)})`, 'narrower marking'])
  return found
}

/** SQL that every library has had base row `b` from its start: what it means hangs on no site. */
export const builtIn = (): string => `b.created_change in (select id from changes where kind = 'seed')`

/** SQL that base row `b` came from the site, or the origin, that this run is of. */
export function madeBySender({ staged }: MergeRun): string {
  const from =
    staged.kind === 'sync' ? `c.site = ${literal(staged.site ?? '')}` : `c.source = ${literal(staged.source ?? '')}`
  return `exists (select 1 from changes c where c.id = b.created_change and c.kind = '${staged.kind}' and ${from})`
}

/** SQL that a sync would let a row go further than the base row's marking does. */
function widens(merge: MergeRun, column: Column): string | undefined {
  if (column.references !== 'tlp' || merge.staged.kind !== 'sync' || merge.policy.conflicts !== 'newest')
    return undefined
  const tlp = TABLE_BY_NAME.get('tlp')!
  if (!merge.isStaged(tlp)) return undefined
  const rank = (name: string) =>
    `case ${name} ${TLP_NAMES.map((known) => `when '${known}' then ${tlpRank(known)}`).join(' ')} else 0 end`
  const here = `(select ${rank('q.name')} from ${merge.base(tlp)} q where q.id = b."${column.name}")`
  const given = `(select ${rank('coalesce(q.name, p.name)')} from ${merge.sync(tlp)} p left join ${merge.base(tlp)} q
    on q.id = p.existing_id where p.id = s."${column.name}")`
  return `${given} < ${here}`
}

/** SQL that a hidden row is shown again: the input has it, and nobody here has hidden it by hand. */
function revives(merge: MergeRun, table: Table): string {
  if (merge.policy.conflicts === 'source') return 'true'
  return `not ${merge.editedHere(table, 'deleted_at')} and not ${merge.editedHere(table, 'unpublished_at')}`
}

async function noteConflicts(merge: MergeRun, on: unknown, table: Table, joined: string): Promise<void> {
  const { policy } = merge
  for (const column of fieldsOf(table)) {
    if (isTouch(column)) continue
    const base = `b."${column.name}"`
    const given = `s."${column.name}"`
    const cases: (readonly [condition: string, decision: 'local' | 'incoming', reason: string])[] = []
    for (const [kept, reason] of guards(merge, table, column))
      cases.push([`${given} is not null and ${kept}`, 'local', reason])
    if (column.name === 'description' && !policy.overrideDescription)
      cases.push([`${given} is not null`, 'local', 'description kept'])
    const edited = merge.editedHere(table, column.name)
    if (policy.conflicts === 'newest') {
      if (edited !== 'false') cases.push([`${given} is not null and ${edited}`, 'local', 'edited here'])
      cases.push([`${given} is not null and b.updated_at > s.updated_at`, 'local', 'newer here'])
    } else if (edited !== 'false' && !(column.name === 'description' && !policy.overrideDescription))
      cases.push([policy.keepWhereAbsent ? `${given} is not null and ${edited}` : edited, 'incoming', 'edited here'])
    if (cases.length === 0) continue
    const applies = `${base} is not null and ${merge.differ(merge.value(table, column), base)}`
    const which = (at: 0 | 1 | 2, quote: boolean) =>
      `case ${cases.map((one) => `when ${one[0]} then ${quote ? literal(one[at]) : one[at]}`).join(' ')} end`
    await run(
      on,
      `insert into ${merge.staged.own('conflicts')} (table_name, row_id, uid, name, field, local, incoming, decision, reason)
       select '${table.name}', b.id, ${uidText(merge, 'b.uid')}, ${nameSql(merge, table, 'b')}, '${column.name}',
         ${shown(merge, column, 'b')}, ${shown(merge, column, 's')}, ${which(1, true)}, ${which(2, true)}
       from ${joined} where ${applies} and (${cases.map(([condition]) => `(${condition})`).join(' or ')})`,
    )
  }
  if (policy.conflicts === 'newest' && merge.edited.get(table.name)?.has('deleted_at'))
    await run(
      on,
      `insert into ${merge.staged.own('conflicts')} (table_name, row_id, uid, name, field, local, incoming, decision, reason)
       select '${table.name}', b.id, ${uidText(merge, 'b.uid')}, ${nameSql(merge, table, 'b')}, 'deleted_at',
         cast(b.deleted_at as text), null, 'local', 'edited here'
       from ${joined} where b.deleted_at is not null and ${merge.editedHere(table, 'deleted_at')}`,
    )
}

export const uidText = ({ staged }: MergeRun, expression: string): string =>
  textFormSql(staged.dialect, { name: 'uid', type: 'hex' }, expression)

/** For people: what a row is called, of a base row of this alias. */
export function nameSql(merge: MergeRun, table: Table, alias: string): string {
  const named = ['value', 'name', 'title', 'email', 'code', 'relationship'].find((name) =>
    table.columns.some((column) => column.name === name),
  )
  if (named !== undefined) return `substr(${alias}."${named}", 1, 200)`
  const parent = table.columns.find((column) => column.name === table.parent)
  if (parent?.references === undefined) return `''`
  const of = TABLE_BY_NAME.get(parent.references)!
  return `(select ${nameSql(merge, of, 'o')} from ${merge.base(of)} o where o.id = ${alias}."${parent.name}")`
}

/** A field as people see it: of a reference the name of what it refers to. */
function shown(merge: MergeRun, column: Column, alias: 'b' | 's'): string {
  const of = `${alias}."${column.name}"`
  if (column.type === 'reference') {
    const parent = TABLE_BY_NAME.get(column.references!)!
    if (alias === 'b') return `(select ${nameSql(merge, parent, 'q')} from ${merge.base(parent)} q where q.id = ${of})`
    if (!merge.isStaged(parent)) return 'null'
    const known = nameSql(merge, parent, 'q')
    return (
      `(select coalesce(${known}, (select ${known} from ${merge.base(parent)} q where q.id = p.existing_id))` +
      ` from ${merge.sync(parent)} p left join ${merge.sync(parent)} q on q.id = p.id where p.id = ${of})`
    )
  }
  if (isReference(column)) return `cast(${of} as text)`
  return `substr(${textFormSql(merge.staged.dialect, column, of)}, 1, 1000)`
}

/** Where only one of value and type was taken, what hangs on both is computed again. */
async function deriveAgain(merge: MergeRun, on: unknown, table: Table): Promise<void> {
  const next = merge.stepTable('next', table)
  const type = table.columns.find(({ name }) => name === 'type_id')!
  for (let after = 0; ; ) {
    const rows = await all(
      on,
      `select n.row_id, n.value, n.type_id, coalesce(t.name, x.name) as type from ${next} n
       join ${merge.sync(table)} s on s.id = n.sid
       left join ${merge.base(TYPES)} t on t.id = n.type_id
       left join ${merge.sync(TYPES)} x on x.id = s.type_id and ${merge.value(table, type)} = n.type_id
       where n.row_id > ${after} and (n.value <> s.value or n.type_id <> ${merge.value(table, type)})
       order by n.row_id limit 500`,
    )
    if (rows.length === 0) return
    for (const { row_id, value, type: name } of rows) {
      const [hashed] = await all(on, `select hash, value from ${merge.base(table)} where id = ${row_id}`)
      const hash = hashed!.value === value ? undefined : murmur3x86_128(value)
      const bytes =
        hash === undefined ? `(select hash from ${merge.base(table)} b where b.id = ${row_id})` : bytesSql(merge, hash)
      await run(
        on,
        `update ${next} set normalized = ${literal(normalizeIndicator(name ?? '', value))}, hash = ${bytes} where row_id = ${row_id}`,
      )
      after = Number(row_id)
    }
  }
}

const TYPES = TABLE_BY_NAME.get('indicator_types')!
const bytesSql = ({ isSqlite }: MergeRun, hex: string): string => (isSqlite ? `x'${hex}'` : `'\\x${hex}'::bytea`)

/**
 * A row cannot take the natural key of another: its key columns stay. One that gives its own key away in this run is no
 * hindrance.
 */
export async function refuseTakenKeys(merge: MergeRun, on: unknown, table: Table): Promise<void> {
  const next = merge.stepTable('next', table)
  if ((await count(on, `select count(*) from ${next} where key_changed = 1`)) === 0) return
  const columns = [...table.columns.filter(({ name }) => isKeyColumn(table, name)).map(({ name }) => name)]
  const nk = nextKey(merge, table)
  for (;;) {
    const rows = await all(
      on,
      `select n.row_id from (select n.row_id, ${nk} as nk from ${next} n where n.key_changed = 1) n
       where exists (select 1 from ${merge.base(table)} b where b.nk = n.nk and b.id <> n.row_id
           and not exists (select 1 from ${next} m where m.row_id = b.id and m.key_changed = 1))
         or exists (select 1 from ${merge.sync(table)} o where o.nk = n.nk and o.existing_id is null)`,
    )
    if (rows.length === 0) return
    const ids = rows.map(({ row_id }) => row_id).join(', ')
    await run(
      on,
      `insert into ${merge.staged.own('conflicts')} (table_name, row_id, uid, name, field, local, incoming, decision, reason)
       select '${table.name}', b.id, ${uidText(merge, 'b.uid')}, ${nameSql(merge, table, 'b')}, '${columns.at(-1)}',
         ${nameSql(merge, table, 'b')}, ${nameSql(merge, table, 'n')}, 'local', 'taken by another row'
       from ${next} n join ${merge.base(table)} b on b.id = n.row_id where n.row_id in (${ids})`,
    )
    const kept = [...columns, ...(table.name === 'indicators' ? ['normalized', 'hash'] : [])]
    const sets = kept.map((name) => `"${name}" = b."${name}"`).join(', ')
    await run(
      on,
      `update ${next} as n set ${sets}, key_changed = 0 from ${merge.base(table)} b where b.id = n.row_id and n.row_id in (${ids})`,
    )
  }
}

/** Natural key of a row `n` of `next_<table>`, as its new values make it. */
export function nextKey(merge: MergeRun, table: Table): string {
  return naturalKeySql(merge.staged.dialect, table, (column) => {
    const of = `n."${column.name}"`
    if (!isReference(column)) return textFormSql(merge.staged.dialect, column, of)
    // The row that it refers to now may be a new one, which is not inserted yet.
    const find = (parent: Table) => {
      const here = `(select q.nk from ${merge.base(parent)} q where q.id = ${of})`
      if (!merge.isStaged(parent)) return here
      const coming = `select p.nk from ${merge.sync(parent)} p where p.id = ${of} - ${merge.state(parent).offset}`
      return `coalesce(${here}, (${coming}))`
    }
    if (column.type === 'reference') return find(TABLE_BY_NAME.get(column.references!)!)
    const parents = merge.parents(table, column)
    if (parents.length === 0) return 'null'
    return `(case n."${column.typeColumn}" ${parents.map(([code, parent]) => `when ${literal(code!)} then ${find(parent)}`).join(' ')} end)`
  })
}
