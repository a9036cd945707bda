/** What the steps of a merge share: names, expressions over a sync table `s`, and what is known of each table. */
import type { DialectName } from '../../platform/database/database.ts'
import { all, run } from '../../platform/database/session.ts'
import { isReference, naturalKeyColumns, naturalKeySql, textFormSql } from '../identity.ts'
import { type Column, dumpColumns, OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, type Table } from '../model.ts'
import type { LibraryTx } from '../schema.ts'
import type { MergePolicy } from './policy.ts'
import { literal, type StagedRun } from './staging.ts'

/** Found by the resolve step, kept with the staging for a run that goes on. */
export interface TableState {
  /** Added to a row's number it is the id of a new row. */
  readonly offset: number
  /** The base table had rows when the run began. */
  readonly general: boolean
  /** The sync table has natural keys: somebody asks for them before the rows are inserted. */
  readonly keyed: boolean
  /** Rows that have an `existing_id`. */
  existing: number
  /** Some were found by natural key or alias, so that their uids differ. */
  aliased: boolean
  /** Object codes in the columns that name the type of a reference. */
  readonly codes: Readonly<Record<string, readonly string[]>>
}

export class MergeRun {
  readonly staged: StagedRun
  readonly policy: MergePolicy
  readonly states = new Map<string, TableState>()
  readonly isSqlite: boolean
  /** Microseconds: the `created_at` of new rows that do not keep the source's. */
  readonly begun = Date.now() * 1_000
  /** Changes of other runs that nobody sees yet. */
  others: readonly number[] = []
  /** Sequence number of the library when the comparison began. */
  comparedSince: number | undefined
  /** What was counted by `newRows`. */
  private readonly counted = new Map<string, number>()
  /** Tables with local edits, and which of their fields. */
  readonly edited = new Map<string, ReadonlySet<string>>()

  constructor(staged: StagedRun, policy: MergePolicy) {
    this.staged = staged
    this.policy = policy
    this.isSqlite = staged.dialect === 'sqlite'
  }

  get db() {
    return this.staged.db
  }

  /** A transaction over the run's own tables, which keeps nobody from writing the library. */
  async own<R>(action: (tx: LibraryTx) => Promise<R>): Promise<R> {
    const transaction = this.db.transaction()
    // Of SQLite a plain BEGIN: it locks no file before something is written there.
    return (this.isSqlite ? transaction.setAccessMode('read only') : transaction).execute(action)
  }

  /** Staged rows of a table that go in as new ones, once it is resolved. A look at all of them, so it is remembered. */
  async newRows(on: unknown, table: Table): Promise<number> {
    const known = this.counted.get(table.name)
    if (known !== undefined) return known
    const rows = await count(on, `select count(*) from ${this.sync(table)} s where ${IS_NEW}`)
    // Inside a transaction it may be undone, and done again.
    if (on === this.db) this.counted.set(table.name, rows)
    return rows
  }

  /** To be called where rows of a sync table go, or are found to exist. */
  countAgain(table: Table): void {
    this.counted.delete(table.name)
  }

  base(table: Table): string {
    return this.isSqlite ? `main."${table.name}"` : `"${table.name}"`
  }

  sync(table: Table): string {
    return this.staged.sync(table)
  }

  /** A table of the run for a step and a table. */
  stepTable(step: string, table: Table): string {
    return this.staged.own(`${step}_${table.name}`)
  }

  createOwn(): string {
    return this.isSqlite ? 'create table' : 'create unlogged table'
  }

  state(table: Table): TableState {
    return this.states.get(table.name)!
  }

  isStaged(table: Table): boolean {
    return this.staged.counts.has(table.name)
  }

  differ(a: string, b: string): string {
    return this.isSqlite ? `${a} is not ${b}` : `${a} is distinct from ${b}`
  }

  /** Id that a staged row has, or will have, in the base table. */
  target(table: Table, alias = 's'): string {
    const { offset, existing } = this.state(table)
    return existing === 0 ? `(${offset} + ${alias}.id)` : `coalesce(${alias}.existing_id, ${offset} + ${alias}.id)`
  }

  /** What the base table holds, or will hold, in a column of a staged row. */
  value(table: Table, column: Column, joins?: SmallParents): string {
    const of = `s."${column.name}"`
    return (
      this.cases(table, column, (parent) => {
        const { offset, existing } = this.state(parent)
        if (existing === 0) return `${offset} + ${of}`
        const joined = joins?.alias(parent, column)
        if (joined !== undefined) return `${joined}.id`
        return `(select ${this.target(parent, 'p')} from ${this.sync(parent)} p where p.id = ${of})`
      }) ?? of
    )
  }

  /** Natural key of a staged row. */
  key(table: Table, joins?: SmallParents): string {
    return naturalKeySql(this.staged.dialect, table, (column) => {
      if (!isReference(column)) return textFormSql(this.staged.dialect, column, `s."${column.name}"`)
      return this.cases(table, column, (parent) => {
        const joined = joins?.alias(parent, column)
        if (joined !== undefined) return `${joined}.nk`
        const nk = this.parentKey(parent)
        const { offset, existing } = this.state(parent)
        const of = `s."${column.name}"`
        // Nothing staged knows more than the row that was inserted just before.
        if (existing === 0 && nk === 'b.nk')
          return `(select b.nk from ${this.base(parent)} b where b.id = ${offset} + ${of})`
        return `(select ${nk} from ${this.stagedWithBase(parent)} where p.id = ${of})`
      })!
    })
  }

  /** SQL of a parent's natural key, in a query of `stagedWithBase`. */
  parentKey(parent: Table): string {
    return this.state(parent).general || this.state(parent).keyed ? 'coalesce(b.nk, p.nk)' : 'b.nk'
  }

  /** Staged rows `p` of a table, each with the base row `b` that it is or became. */
  stagedWithBase(table: Table): string {
    return `${this.sync(table)} p left join ${this.base(table)} b on b.id = ${this.target(table, 'p')}`
  }

  /** Natural key of a row of a base table `b`, from its columns. */
  baseKey(table: Table): string {
    return baseKeySql(this.staged.dialect, table, (parent) => this.base(parent))
  }

  /** SQL that a row of alias `b` is no unseen row of another run. */
  seen(alias = 'b'): string {
    return this.others.length === 0 ? 'true' : `${alias}.created_change not in (${this.others.join(', ')})`
  }

  /** SQL that the last change of a field of base row `b` was a local edit. */
  editedHere(table: Table, field: string): string {
    if (!this.edited.get(table.name)?.has(field)) return 'false'
    return (
      `exists (select 1 from ${this.staged.own('edits')} e where e.table_name = '${table.name}'` +
      ` and e.row_id = b.id and e.field = '${field}')`
    )
  }

  /** Tables that a column of a staged table refers to. */
  parents(table: Table, column: Column): readonly (readonly [code: string | undefined, parent: Table])[] {
    if (column.type === 'reference') return [[undefined, TABLE_BY_NAME.get(column.references!)!]]
    if (column.type !== 'anyReference') return []
    const codes = this.states.get(table.name)?.codes[column.typeColumn!] ?? []
    return codes.flatMap((code) => {
      const parent = OBJECT_TABLE_BY_CODE.get(code)
      return parent ? [[code, parent] as const] : []
    })
  }

  // --- internal ---

  /** One expression for a reference, whatever table it goes to; undefined for another column. */
  private cases(table: Table, column: Column, expression: (parent: Table) => string): string | undefined {
    if (!isReference(column)) return undefined
    const found = this.parents(table, column).filter(([, parent]) => this.isStaged(parent))
    if (found.length === 0) return 'null'
    const [first] = found
    if (first![0] === undefined) return expression(first![1])
    const whens = found.map(([code, parent]) => `when ${literal(code!)} then ${expression(parent)}`)
    return `(case s."${column.typeColumn}" ${whens.join(' ')} end)`
  }
}

/**
 * Tables that a statement over staged rows joins because they are small (dictionaries, mostly): PostgreSQL does a
 * correlated look-up row by row, which cost more than the insertion.
 */
export class SmallParents {
  private readonly merge: MergeRun
  private readonly joins = new Map<string, string>()

  constructor(merge: MergeRun) {
    this.merge = merge
  }

  /** Of `id` and `nk` of what a staged row refers to; undefined where the table is too large. */
  alias(parent: Table, column: Column): string | undefined {
    if (this.merge.staged.counts.get(parent.name)! > SMALL_ROWS) return undefined
    const on = `${parent.name} ${column.name}`
    const alias = `j${[...this.joins.keys(), on].indexOf(on)}`
    const { merge } = this
    const columns = `p.id as sid, ${merge.target(parent, 'p')} as id, ${merge.parentKey(parent)} as nk`
    const rows = `(select ${columns} from ${merge.stagedWithBase(parent)})`
    this.joins.set(on, ` left join ${rows} ${alias} on ${alias}.sid = s."${column.name}"`)
    return alias
  }

  /** To be put behind the staged table `s`, once all expressions are made. */
  get sql(): string {
    return [...this.joins.values()].join('')
  }
}

/** Rows that are joined as a whole by each statement. */
const SMALL_ROWS = 2_000

/** SQL that staged row `s` goes in as a new one. */
export const IS_NEW = 's.existing_id is null and s.created_at is not null'

/** Own columns of a dump, which a merge decides one by one. */
export const fieldsOf = (table: Table): readonly Column[] => dumpColumns(table).filter(({ name }) => !APART.has(name))

export const referencesOf = (table: Table): readonly Column[] => table.columns.filter(isReference)

/** Whether a column is part of the natural key, by itself or by what is derived of it. */
export function isKeyColumn(table: Table, name: string): boolean {
  if (table.name === 'indicators') return name === 'value' || name === 'type_id'
  return naturalKeyColumns(table).some((column) => column.name === name)
}

/** Natural key of a row of a base table `b`, from its columns and the rows that they refer to. */
export const baseKeySql = (dialect: DialectName, table: Table, base: (table: Table) => string): string =>
  naturalKeySql(dialect, table, (column) => {
    const of = `b."${column.name}"`
    if (!isReference(column)) return textFormSql(dialect, column, of)
    const find = (parent: Table) => `(select q.nk from ${base(parent)} q where q.id = ${of})`
    if (column.type === 'reference') return find(TABLE_BY_NAME.get(column.references!)!)
    const whens = [...OBJECT_TABLE_BY_CODE].map(([code, parent]) => `when ${literal(code)} then ${find(parent)}`)
    return `(case b."${column.typeColumn}" ${whens.join(' ')} end)`
  })

/** Counts what the first column of a statement's only row says. */
export async function count(on: unknown, text: string): Promise<number> {
  const [row] = await all(on, text)
  return Number(Object.values(row!)[0])
}

/** Remembers changes of other runs under way, and which fields of which rows were last edited here. */
export async function lookAround(merge: MergeRun, on: unknown): Promise<void> {
  const { staged } = merge
  const others = await all(on, `select id from changes where seq is null and id <> ${staged.change}`)
  merge.others = others.map(({ id }) => Number(id))
  const edits = staged.own('edits')
  const ddl = `(table_name text, row_id bigint, field text, primary key (table_name, row_id, field))`
  await run(on, `${merge.createOwn()} if not exists ${edits} ${ddl}`)
  await run(on, `delete from ${edits}`)
  // What an undone change did does not count, nor that it was undone.
  const undone = `(select cast(note as ${merge.isSqlite ? 'integer' : 'bigint'}) from changes where kind = 'undo' and note is not null)`
  const counts = (alias: string) => `${alias}.kind <> 'undo' and ${alias}.id not in ${undone}`
  await run(
    on,
    `insert into ${edits} select distinct j.table_name, j.row_id, j.field from journal j
     join changes c on c.id = j."change"
     where c.kind = 'local' and c.seq is not null and ${counts('c')}
       and not exists (select 1 from journal k join changes d on d.id = k."change"
         where k.table_name = j.table_name and k.row_id = j.row_id and k.field = j.field and k.id > j.id
           and d.kind <> 'local' and ${counts('d')})`,
  )
  merge.edited.clear()
  for (const { table_name, field } of await all(on, `select distinct table_name, field from ${edits}`)) {
    const fields = (merge.edited.get(table_name) ?? new Set()) as Set<string>
    merge.edited.set(table_name, fields.add(field))
  }
}

// --- internal ---

/** Dealt with apart from the fields. */
const APART: ReadonlySet<string> = new Set(['id', 'uid', 'created_at', 'updated_at', 'deleted_at'])
