/**
 * Which rows a bundle takes, in one snapshot: what changed or what a window holds, within the filters, and whatever these
 * refer to (docs/design.md §12, Closure). A whole library is taken as ranges of ids; everything else as temporary tables.
 */
import { tlpNamed, tlpRank } from '../../library/dictionaries.ts'
import { type Column, OBJECT_TABLE_BY_CODE, OBJECT_TABLES, TABLES, type Table } from '../../library/model.ts'
import type { Snapshot } from '../../platform/database/snapshot.ts'
import type { SelectionConfig } from '../bundle/manifest.ts'

export interface SelectionRequest {
  readonly config: SelectionConfig
  /** Only rows whose change has a sequence number above it; 0: all. */
  readonly since: number
  /** Microseconds; start included, end not. */
  readonly window: { readonly start: number | null; readonly end: number | null } | null
  /** Uids in hex by table of the objects for which the expression holds; undefined without an expression. */
  readonly matches?: AsyncIterable<{ readonly table: Table; readonly uid: string }>
  /** The expression counts from the clock, so that rows may match that nobody changed. */
  readonly matchesMove?: boolean
}

/** The rows of a table that are taken. Numbers in the bundle count them from 1 in the order of their ids. */
export type Chosen = ChosenRange | ChosenList

/** All rows from `first` to `last`, without a gap. */
export interface ChosenRange {
  readonly kind: 'range'
  readonly first: number
  readonly last: number
  readonly rows: number
}

/** Rows of the temporary table `list (id, n)`; `stubs (id)` are those that go without their contents. */
export interface ChosenList {
  readonly kind: 'list'
  readonly list: string
  readonly rows: number
  readonly stubs?: string
}

export interface Selection {
  readonly chosen: ReadonlyMap<Table, Chosen>
  /** Temporary tables `(id)` of the rows that went away, by table. */
  readonly gone: ReadonlyMap<Table, string>
  /** Attachments whose content goes along: digests in hex. */
  readonly blobs: readonly string[]
  /** Rows that stay out, by reason; `without_tlp`: source rows without one, which pass every ceiling. */
  readonly excluded: Readonly<Record<string, number>>
  /** Everything that is live is taken. */
  readonly isWhole: boolean
  /** Temporary tables of objects above the ceiling, by table: for the scan of what was written. */
  readonly hidden: ReadonlyMap<Table, string>
}

export async function select(snapshot: Snapshot, request: SelectionRequest): Promise<Selection> {
  return new Selector(snapshot, request).select()
}

/** SQL: the number in the bundle of the row with that id, NULL when it is not taken. */
export function numberSql(chosen: Chosen | undefined, id: string): string {
  if (!chosen) return 'null'
  if (chosen.kind === 'list') return `(select m.n from ${chosen.list} m where m.id = ${id})`
  const number = chosen.first === 1 ? id : `${id} - ${chosen.first - 1}`
  return `case when ${id} between ${chosen.first} and ${chosen.last} then ${number} end`
}

// --- internal ---

const PRIVATE_CODES = ['task', 'investigation']

class Selector {
  private readonly snapshot: Snapshot
  private readonly request: SelectionRequest
  private readonly excluded: Record<string, number> = {}
  /** Temporary tables by what they hold. */
  private readonly allowed = new Map<Table, string>()
  private readonly hidden = new Map<Table, string>()
  private readonly picked = new Map<Table, string>()
  private readonly stubs = new Map<Table, string>()
  private unseen = ''
  private high = ''
  private isFiltered = false
  /** Tables without any row: most of the 148, in most libraries. */
  private readonly empty = new Set<Table>()
  /** Tables of which every row is live, found by the way. */
  private readonly complete = new Set<Table>()

  constructor(snapshot: Snapshot, request: SelectionRequest) {
    this.snapshot = snapshot
    this.request = request
  }

  async select(): Promise<Selection> {
    const { config, since, window } = this.request
    this.isFiltered = config.tlp !== null || config.where !== null
    const unseen = await this.snapshot.all('select id from changes where seq is null')
    this.unseen = unseen.map(({ id }) => id as number).join(', ')
    for (const table of TABLES)
      if ((await this.snapshot.all(`select 1 from ${table.name} limit 1`)).length === 0) this.empty.add(table)
    await this.countPrivate()
    let chosen: Map<Table, Chosen>
    let blobs: string[]
    if (!this.isFiltered && since === 0 && window === null) {
      chosen = await this.everything()
      blobs = await this.blobsOf((t) => numberedIn(chosen.get(t), 't'))
    } else {
      if (since > 0) await this.list('new_changes', `select id from changes where seq > ${since}`)
      if (this.isFiltered) await this.allow()
      await this.pick()
      blobs = await this.blobsOf((t) => (this.picked.has(t) ? within('t.id', this.picked.get(t)!) : 'false'))
      await this.close()
      chosen = await this.number()
    }
    return {
      chosen,
      gone: await this.gone(),
      blobs,
      excluded: this.excluded,
      isWhole: !this.isFiltered && since === 0 && window === null && (this.excluded.investigations ?? 0) === 0,
      hidden: this.hidden,
    }
  }

  // --- conditions ---

  private get columns(): (table: Table) => readonly Column[] {
    return (table) => (this.empty.has(table) ? [] : table.columns)
  }

  private seen(alias: string): string {
    return this.unseen === '' ? 'true' : `${alias}.created_change not in (${this.unseen})`
  }

  /** Rows that travel as rows, whatever they refer to. */
  private base(table: Table, alias: string): string {
    if (this.isPrivate(table)) return 'false'
    const conditions = [`${alias}.unpublished_at is null`, this.seen(alias)]
    if (!this.request.config.include_deleted) conditions.unshift(`${alias}.deleted_at is null`)
    conditions.push(...this.publicEnds(table, alias))
    return conditions.filter((condition) => condition !== 'true').join(' and ')
  }

  /** Without investigations and tasks nothing goes that hangs on one. */
  private isPrivate({ objectCode }: Table): boolean {
    return !this.request.config.include_investigations && PRIVATE_CODES.includes(objectCode ?? '')
  }

  private publicEnds({ columns }: Table, alias: string): string[] {
    if (this.request.config.include_investigations) return []
    const codes = PRIVATE_CODES.map((code) => `'${code}'`).join(', ')
    return columns
      .filter(({ type }) => type === 'anyReference')
      .map(({ typeColumn }) => `${alias}.${typeColumn} not in (${codes})`)
  }

  /** Within the filters. */
  private mayGo(table: Table, alias: string): string {
    const list = this.allowed.get(table)
    if (list !== undefined) return within(`${alias}.id`, list)
    return this.isFiltered && !isDictionary(table) ? 'false' : this.base(table, alias)
  }

  private changed(alias: string): string {
    return `${alias}."change" in (select id from new_changes)`
  }

  private inWindow(alias: string): string {
    const { start, end } = this.request.window!
    const bounds = [
      start === null ? '' : `${alias}.updated_at >= ${start}`,
      end === null ? '' : `${alias}.updated_at < ${end}`,
    ]
    return bounds.filter((bound) => bound !== '').join(' and ') || 'true'
  }

  // --- all of it ---

  private async everything(): Promise<Map<Table, Chosen>> {
    const chosen = new Map<Table, Chosen>()
    for (const table of TABLES) {
      if (this.empty.has(table) || this.isPrivate(table)) continue
      const where = [this.base(table, 't'), ...requiredReferences(table, (parent) => chosen.get(parent))].join(' and ')
      const [row] = await this.snapshot.all(
        `select count(*) as n, min(t.id) as first, max(t.id) as last from ${table.name} t where ${where}`,
      )
      const { n: rows, first, last } = row as { n: number; first: number; last: number }
      const [all] = await this.snapshot.all(`select count(*) as n from ${table.name}`)
      if (rows === all!.n && !this.request.config.include_deleted) this.complete.add(table)
      if (rows === 0) continue
      if (rows === last - first + 1) {
        chosen.set(table, { kind: 'range', first, last, rows })
        continue
      }
      const list = `n_${table.name}`
      await this.numbered(list, `select t.id from ${table.name} t where ${where}`)
      chosen.set(table, { kind: 'list', list, rows })
    }
    return chosen
  }

  // --- filters ---

  /** Temporary tables of the rows within the filters, parents first, and of the objects above the ceiling. */
  private async allow(): Promise<void> {
    await this.rankSources()
    const where = await this.matching()
    for (const table of TABLES) {
      if (this.empty.has(table) || isDictionary(table) || this.isPrivate(table)) continue
      const conditions = [this.base(table, 't')]
      if (table.kind === 'object') {
        if (where) {
          const matched = where.has(table) ? within('t.id', where.get(table)!) : 'false'
          await this.count('where', `from ${table.name} t where ${conditions.join(' and ')} and not (${matched})`)
          conditions.push(matched)
        }
      } else conditions.push(...this.parentsAllowed(table))
      await this.hide(table, conditions)
      if (this.hidden.has(table)) conditions.push(`not ${within('t.id', this.hidden.get(table)!)}`)
      const rank = this.sourceRank(table, 't')
      if (rank !== undefined && this.high !== '') {
        const source = `from ${table.name} t where ${conditions.join(' and ')}`
        if (table.columns.some(({ name }) => name === 'tlp_id')) {
          await this.count('tlp', `${source} and ${rank} in (${this.high})`)
          await this.count('without_tlp', `${source} and ${rank} = 0`)
        }
        conditions.push(`${rank} not in (${this.high})`)
      }
      await this.keep(this.allowed, 'a', table, `select t.id from ${table.name} t where ${conditions.join(' and ')}`)
    }
  }

  private async rankSources(): Promise<void> {
    const { tlp } = this.request.config
    if (tlp === null) return
    const ceiling = tlpRank(tlpNamed(tlp)!)
    const rows = await this.snapshot.all('select id, name from tlp')
    const above = rows.filter(({ name }) => {
      const known = tlpNamed(name as string)
      // A name that nobody knows may mean anything.
      return known === undefined || tlpRank(known) > ceiling
    })
    this.high = ['-1', ...above.map(({ id }) => id as number)].join(', ')
  }

  /** Id of the TLP of a source row: its own, else its source's default; 0 without. Undefined for another table. */
  private sourceRank({ kind, columns }: Table, alias: string): string | undefined {
    if (isDictionaryKind(kind) || !columns.some(({ name }) => name === 'source_id')) return undefined
    const usual = `(select d.tlp_id from sources d where d.id = ${alias}.source_id)`
    const own = columns.some(({ name }) => name === 'tlp_id') ? `${alias}.tlp_id, ` : ''
    return `coalesce(${own}${usual}, 0)`
  }

  /** Rows of which every source row is above the ceiling. */
  private async hide(table: Table, conditions: readonly string[]): Promise<void> {
    const sources = sourcesOf(table)
    if (this.high === '' || !sources || this.empty.has(sources)) return
    const owner = sources.parent!
    const isHigh = `case when ${this.sourceRank(sources, 'x')} in (${this.high}) then 1 else 0 end`
    const owners = `select x.${owner} from ${sources.name} x where ${this.base(sources, 'x')} group by x.${owner} having min(${isHigh}) = 1`
    const hidden = await this.keep(
      this.hidden,
      'r',
      table,
      `select t.id from ${table.name} t where ${conditions.join(' and ')} and t.id in (${owners})`,
    )
    this.excluded.tlp = (this.excluded.tlp ?? 0) + hidden
  }

  /** Of context: its owner may go. Of a link: one end may, and the other one or its stub. */
  private parentsAllowed(table: Table): string[] {
    const ends = table.columns.filter(({ type }) => type === 'anyReference')
    const conditions = ends.map((end) => {
      const stubs = table.kind === 'link' || table.parent !== end.name
      return this.anyIn(end, 't', (object) => [this.allowed.get(object), stubs ? this.hidden.get(object) : undefined])
    })
    if (table.kind === 'link')
      conditions.push(
        `(${ends.map((end) => this.anyIn(end, 't', (object) => [this.allowed.get(object)])).join(' or ')})`,
      )
    const parent = table.columns.find(({ name, type }) => name === table.parent && type === 'reference')
    if (parent) {
      const list = this.allowed.get(tableNamed(parent.references!))
      conditions.push(list === undefined ? 'false' : within(`t.${parent.name}`, list))
    }
    return conditions
  }

  private anyIn(end: Column, alias: string, lists: (object: Table) => readonly (string | undefined)[]): string {
    const cases = OBJECT_TABLES.flatMap((object) => {
      const found = lists(object).filter((list) => list !== undefined)
      if (found.length === 0) return []
      return `when '${object.objectCode}' then ${found.map((list) => within(`${alias}.${end.name}`, list)).join(' or ')}`
    })
    return cases.length === 0 ? 'false' : `(case ${alias}.${end.typeColumn} ${cases.join(' ')} else false end)`
  }

  /** Objects for which the expression holds, as temporary tables. */
  private async matching(): Promise<Map<Table, string> | undefined> {
    const { matches } = this.request
    if (!matches) return undefined
    const lists = new Map<Table, string>()
    const waiting = new Map<Table, string[]>()
    const write = async (table: Table, uids: string[]): Promise<void> => {
      const uid = (hex: string): string => (this.snapshot.dialect === 'sqlite' ? `x'${hex}'` : `'\\x${hex}'::bytea`)
      await this.snapshot.run(
        `insert into ${lists.get(table)} select id from ${table.name} where uid in (${uids.map(uid).join(', ')}) on conflict do nothing`,
      )
    }
    for await (const { table, uid } of matches) {
      if (!lists.has(table)) {
        lists.set(table, `w_${table.name}`)
        await this.snapshot.run(`create temp table w_${table.name} (id ${this.integer} primary key)`)
        waiting.set(table, [])
      }
      const uids = waiting.get(table)!
      uids.push(uid)
      if (uids.length === UIDS_A_STATEMENT) await write(table, uids.splice(0))
    }
    for (const [table, uids] of waiting) if (uids.length > 0) await write(table, uids)
    return lists
  }

  // --- what changed, or what a window holds ---

  private async pick(): Promise<void> {
    const { since, window } = this.request
    // With filters a row may come within them by a change of another one: an object goes with all that hangs on it.
    const units = this.isFiltered && since > 0 && !(await this.meaningChanged())
    for (const table of TABLES) {
      if (this.empty.has(table) || this.isPrivate(table)) continue
      const conditions = [this.mayGo(table, 't')]
      if (window) {
        if (this.isFiltered && isDictionary(table)) continue
        conditions.push(this.ofWindow(table))
      } else if (this.isFiltered && isDictionary(table)) continue
      else if (units) conditions.push(this.ofUnit(table))
      else if (since > 0 && !this.isFiltered) conditions.push(this.changed('t'))
      await this.keep(this.picked, 's', table, `select t.id from ${table.name} t where ${conditions.join(' and ')}`)
    }
  }

  /** Some row that says what others mean was changed, or the clock decides. */
  private async meaningChanged(): Promise<boolean> {
    if (this.request.matchesMove) return true
    for (const table of TABLES.filter(isDictionary)) {
      const [row] = await this.snapshot.all(
        `select 1 from ${table.name} t where ${this.changed('t')} and t.created_change not in (select id from new_changes) limit 1`,
      )
      if (row) return true
    }
    return false
  }

  private ofWindow(table: Table): string {
    const own = this.inWindow('t')
    const parents = this.ofPicked(table)
    return parents.length === 0 ? own : `(${[own, ...parents].join(' or ')})`
  }

  /** The row hangs on one that is picked; of a link, one end is. */
  private ofPicked(table: Table): string[] {
    const conditions: string[] = []
    for (const column of table.columns) {
      if (column.type === 'anyReference' && (table.kind === 'link' || column.name === table.parent))
        conditions.push(this.anyIn(column, 't', (object) => [this.picked.get(object)]))
      if (column.type === 'reference' && column.name === table.parent) {
        const list = this.picked.get(tableNamed(column.references!))
        if (list !== undefined) conditions.push(within(`t.${column.name}`, list))
      }
    }
    return conditions
  }

  /** An object that changed, or something that hangs on it, whatever became of that; and all of its context. */
  private ofUnit(table: Table): string {
    const parts = table.kind === 'context' || table.kind === 'linkContext' ? [] : [this.changed('t')]
    parts.push(...this.ofPicked(table))
    if (table.kind === 'object' || table.kind === 'link') {
      for (const child of TABLES) {
        if (this.empty.has(child)) continue
        const parent = child.columns.find(({ name }) => name === child.parent)
        if (!parent) continue
        if (parent.references === table.name) {
          parts.push(`t.id in (select c.${parent.name} from ${child.name} c where ${this.changed('c')})`)
          for (const grandchild of TABLES) {
            const link = grandchild.columns.find(({ name }) => name === grandchild.parent)
            if (link?.references !== child.name || this.empty.has(grandchild)) continue
            parts.push(
              `t.id in (select c.${parent.name} from ${grandchild.name} g join ${child.name} c on c.id = g.${link.name} ` +
                `where ${this.changed('g')})`,
            )
          }
        } else if (parent.type === 'anyReference' && table.kind === 'object')
          parts.push(
            `t.id in (select c.${parent.name} from ${child.name} c where c.${parent.typeColumn} = '${table.objectCode}' ` +
              `and ${this.changed('c')})`,
          )
      }
    }
    return parts.length === 0 ? 'false' : `(${parts.join(' or ')})`
  }

  // --- closure ---

  private async close(): Promise<void> {
    for (const table of TABLES.toReversed()) {
      const list = this.picked.get(table)
      if (list === undefined) continue
      const rows = `from ${list} s ${this.join} ${table.name} t on t.id = s.id`
      for (const column of table.columns) {
        // A stub says nothing, so what it referred to is not wanted either.
        const stubs = this.stubs.get(table)
        const told = stubs && !column.required ? ` and not ${within('t.id', stubs)}` : ''
        if (column.type === 'reference')
          await this.refer(tableNamed(column.references!), `${rows} where true${told}`, `t.${column.name}`)
        if (column.type === 'anyReference')
          for (const object of OBJECT_TABLES)
            await this.refer(
              object,
              `${rows} where t.${column.typeColumn} = '${object.objectCode}'${told}`,
              `t.${column.name}`,
            )
      }
    }
    for (const table of TABLES) {
      const list = this.picked.get(table)
      if (list === undefined) continue
      const complete = requiredReferences(table, (parent) => {
        const picked = this.picked.get(parent)
        return picked === undefined ? undefined : { kind: 'list', list: picked, rows: 0 }
      })
      if (complete.length === 0) continue
      await this.snapshot.run(
        `delete from ${list} where id in (select t.id from ${list} s ${this.join} ${table.name} t on t.id = s.id ` +
          `where not coalesce(${complete.join(' and ')}, false))`,
      )
    }
  }

  private async refer(parent: Table, rows: string, id: string): Promise<void> {
    if (this.empty.has(parent) || this.isPrivate(parent)) return
    const add = async (map: Map<Table, string>, prefix: string, condition: string): Promise<void> => {
      const wanted = `select p.id from ${parent.name} p where p.id in (select distinct ${id} ${rows}) and ${condition}`
      const list = map.get(parent)
      if (list === undefined) await this.keep(map, prefix, parent, wanted)
      else await this.snapshot.run(`insert into ${list} ${wanted} on conflict do nothing`)
    }
    await add(this.picked, 's', this.mayGo(parent, 'p'))
    const hidden = parent.kind === 'object' ? this.hidden.get(parent) : undefined
    if (hidden === undefined) return
    await add(this.stubs, 'st', within('p.id', hidden))
    if (this.stubs.has(parent)) await add(this.picked, 's', within('p.id', this.stubs.get(parent)!))
  }

  private async number(): Promise<Map<Table, Chosen>> {
    const chosen = new Map<Table, Chosen>()
    let stubs = 0
    for (const table of TABLES) {
      const picked = this.picked.get(table)
      if (picked === undefined) continue
      const list = `n_${table.name}`
      const rows = await this.numbered(list, `select t.id from ${picked} t`)
      const stub = this.stubs.get(table)
      if (stub !== undefined) stubs += await this.size(stub)
      if (rows > 0) chosen.set(table, { kind: 'list', list, rows, stubs: stub })
    }
    if (this.request.config.tlp !== null) this.excluded.stubs = stubs
    return chosen
  }

  // --- the rest ---

  /** Tombstones: by sequence number, in a window by the time of deletion. */
  private async gone(): Promise<Map<Table, string>> {
    const { since, window } = this.request
    const gone = new Map<Table, string>()
    for (const table of TABLES) {
      if (this.empty.has(table) || this.complete.has(table) || this.isPrivate(table)) continue
      const at = 'coalesce(t.deleted_at, t.unpublished_at)'
      const conditions = [
        '(t.deleted_at is not null or t.unpublished_at is not null)',
        this.seen('t'),
        ...this.publicEnds(table, 't'),
      ]
      if (since > 0) conditions.push(this.changed('t'))
      if (window?.start != null) conditions.push(`${at} >= ${window.start}`)
      if (window?.end != null) conditions.push(`${at} < ${window.end}`)
      await this.keep(gone, 'g', table, `select t.id from ${table.name} t where ${conditions.join(' and ')}`)
    }
    return gone
  }

  private async blobsOf(taken: (table: Table) => string): Promise<string[]> {
    const table = tableNamed('attachments')
    if (this.empty.has(table)) return []
    const hex = this.snapshot.dialect === 'sqlite' ? 'lower(hex(t.sha256))' : `encode(t.sha256, 'hex')`
    const rows = await this.snapshot.all(
      `select ${hex} as sha256, y.name as type from attachments t left join attachment_types y on y.id = t.type_id ` +
        `where ${taken(table)} order by 1`,
    )
    const ignored = new Set(this.request.config.ignore_file_types)
    const kept = rows.filter(({ type }) => !ignored.has(type as string))
    if (ignored.size > 0) this.excluded.file_type = rows.length - kept.length
    return [...new Set(kept.map(({ sha256 }) => sha256 as string))]
  }

  private async countPrivate(): Promise<void> {
    if (this.request.config.include_investigations) return
    for (const code of PRIVATE_CODES) {
      const { name } = OBJECT_TABLE_BY_CODE.get(code)!
      const deleted = this.request.config.include_deleted ? '' : ' and t.deleted_at is null'
      await this.count(
        'investigations',
        `from ${name} t where t.unpublished_at is null and ${this.seen('t')}${deleted}`,
      )
    }
  }

  private async count(reason: string, rows: string): Promise<void> {
    const [row] = await this.snapshot.all(`select count(*) as n ${rows}`)
    this.excluded[reason] = (this.excluded[reason] ?? 0) + (row!.n as number)
  }

  /** A temporary table of ids, and none when there is nothing to put into it. */
  private async keep(map: Map<Table, string>, prefix: string, table: Table, rows: string): Promise<number> {
    const name = `${prefix}_${table.name}`
    const count = await this.list(name, rows)
    if (count > 0) map.set(table, name)
    else await this.snapshot.run(`drop table ${name}`)
    return count
  }

  private async list(name: string, rows: string): Promise<number> {
    await this.snapshot.run(`create temp table ${name} (id ${this.integer} primary key)`)
    await this.snapshot.run(`insert into ${name} ${rows}`)
    return this.size(name)
  }

  private async numbered(name: string, ids: string): Promise<number> {
    await this.snapshot.run(`create temp table ${name} (id ${this.integer} primary key, n ${this.integer} not null)`)
    await this.snapshot.run(`insert into ${name} select x.id, row_number() over (order by x.id) from (${ids}) x`)
    return this.size(name)
  }

  private async size(name: string): Promise<number> {
    // PostgreSQL plans a table of which it knows nothing badly, and nobody else looks at a temporary one.
    if (this.snapshot.dialect === 'postgres') await this.snapshot.run(`analyze ${name}`)
    const [row] = await this.snapshot.all(`select count(*) as n from ${name}`)
    return row!.n as number
  }

  private get integer(): string {
    return this.snapshot.dialect === 'sqlite' ? 'integer' : 'bigint'
  }

  /** SQLite keeps the order of a cross join: from the short list to the long table. */
  private get join(): string {
    return this.snapshot.dialect === 'sqlite' ? 'cross join' : 'join'
  }
}

const UIDS_A_STATEMENT = 500

const within = (id: string, list: string): string => `${id} in (select id from ${list})`

const isDictionaryKind = (kind: Table['kind']): boolean => kind === 'dictionary' || kind === 'inert'
const isDictionary = ({ kind }: Table): boolean => isDictionaryKind(kind)

const TABLES_BY_NAME = new Map(TABLES.map((table) => [table.name, table]))
const tableNamed = (name: string): Table => TABLES_BY_NAME.get(name)!

/** The source rows that say how far a row may go. */
function sourcesOf(table: Table): Table | undefined {
  if (table.kind === 'object') return TABLES_BY_NAME.get(`${table.objectCode}_sources`)
  if (table.kind === 'link') return TABLES_BY_NAME.get('object_link_sources')
  return table.name.endsWith('_attributes') ? TABLES_BY_NAME.get(`${table.name.slice(0, -1)}_sources`) : undefined
}

function numberedIn(chosen: Chosen | undefined, alias: string): string {
  if (!chosen) return 'false'
  if (chosen.kind === 'list') return within(`${alias}.id`, chosen.list)
  return `${alias}.id between ${chosen.first} and ${chosen.last}`
}

/** Conditions over alias `t`: what the row cannot be without is taken too. */
function requiredReferences(table: Table, chosenOf: (table: Table) => Chosen | undefined): string[] {
  const has = (chosen: Chosen | undefined, id: string): string => {
    if (!chosen) return 'false'
    if (chosen.kind === 'list') return within(id, chosen.list)
    return `${id} between ${chosen.first} and ${chosen.last}`
  }
  return table.columns.flatMap(({ name, type, references, typeColumn, required }) => {
    if (!required) return []
    if (type === 'reference') return [has(chosenOf(tableNamed(references!)), `t.${name}`)]
    if (type !== 'anyReference') return []
    const cases = OBJECT_TABLES.flatMap((object) => {
      const chosen = chosenOf(object)
      return chosen ? `when '${object.objectCode}' then ${has(chosen, `t.${name}`)}` : []
    })
    return [cases.length === 0 ? 'false' : `(case t.${typeColumn} ${cases.join(' ')} else false end)`]
  })
}
