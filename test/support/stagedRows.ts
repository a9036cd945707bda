/** Rows of a run in dump form, for tests of the merge: dictionaries by name, objects by value, uids told by a word. */
import { naturalKey, uidOfNaturalKey, uidText } from '../../src/library/identity.ts'
import type { Library } from '../../src/library/library.ts'
import { type MergeOptions, merge } from '../../src/library/merge/merge.ts'
import type { MergePolicy, MergeReport } from '../../src/library/merge/policy.ts'
import { openStaging, type StagedRun, type StagingOptions } from '../../src/library/merge/staging.ts'
import { dumpColumns, TABLE_BY_NAME, TABLES } from '../../src/library/model.ts'

export type Fields = Readonly<Record<string, string | number | null>>

/** The uid that a word stands for. */
export const uidOf = (word: string): string => uidText(uidOfNaturalKey(naturalKey('test', [word])))

export const SYNC: MergePolicy = {
  conflicts: 'newest',
  deletions: 'sync-created-only',
  keepCreatedAt: true,
  overrideDescription: true,
  keepWhereAbsent: false,
  objectLimit: 1000,
}
export const SOURCE: MergePolicy = { ...SYNC, conflicts: 'source', deletions: 'report' }
export const LOCAL: MergePolicy = { ...SOURCE, deletions: 'apply', keepWhereAbsent: true }

export class StagedRows {
  readonly rows = new Map<string, (string | null)[][]>()
  readonly tombstones: { table: string; uid: string | null; nk: string | null; deletedAt: string }[] = []
  private readonly names = new Map<string, string>()

  /** `uid`: a word; `at`: when it was made and changed. Answers the row's number. */
  add(table: string, fields: Fields, { uid, at = 1000 }: { uid?: string; at?: number } = {}): string {
    const list = this.rows.get(table) ?? []
    this.rows.set(table, list)
    const id = fields.id ?? list.length + 1
    const word = uid ?? `${table} ${JSON.stringify(fields)}`
    const row: Fields = { created_at: at, updated_at: at, ...fields, id, uid: uidOf(word) }
    list.push(
      dumpColumns(TABLE_BY_NAME.get(table)!).map(({ name }) => {
        const value = row[name] ?? null
        return value === null ? null : String(value)
      }),
    )
    return String(id)
  }

  /** Number of a dictionary row of that name, once per run. */
  named(table: string, name: string, more: Fields = {}): string {
    const key = `${table} ${name}`
    const known = this.names.get(key)
    if (known !== undefined) return known
    const id = this.add(
      table,
      { name, ...(table === 'sources' ? { type: 'other_sources' } : {}), ...more },
      { uid: key },
    )
    this.names.set(key, id)
    return id
  }

  indicator(
    type: string,
    value: string,
    { uid = value, at, ...fields }: Fields & { uid?: string; at?: number } = {},
  ): string {
    const type_id = this.named('indicator_types', type)
    const status = fields.status
    const status_id = status == null ? null : this.named('indicator_statuses', String(status))
    return this.add('indicators', { ...fields, type_id, status_id, value }, { uid: String(uid), at: at as number })
  }

  attribute(
    indicator: string,
    name: string,
    value: string | null,
    { uid, at }: { uid?: string; at?: number } = {},
  ): string {
    const attribute_id = this.named('attributes', name)
    return this.add('indicator_attributes', { indicator_id: indicator, attribute_id, value }, { uid, at })
  }

  link(from: string, to: string, relationship: string, { uid, at }: { uid?: string; at?: number } = {}): string {
    const fields = {
      src_type: 'indicator',
      src_object_id: from,
      dest_type: 'indicator',
      dest_object_id: to,
      relationship,
    }
    return this.add('object_links', fields, { uid, at })
  }

  tombstone(
    table: string,
    uid: string | null,
    { nk = null, at = 9000 }: { nk?: string | null; at?: number } = {},
  ): void {
    this.tombstones.push({ table, uid: uid === null ? null : uidOf(uid), nk, deletedAt: String(at) })
  }

  async stage(library: Library, options: Partial<StagingOptions> = {}): Promise<StagedRun> {
    const staging = await openStaging(library, {
      run: `run-${++runs}`,
      pid: process.pid,
      kind: 'sync',
      site: 'alpha',
      ...options,
    })
    for (const table of TABLES) {
      const rows = this.rows.get(table.name)
      if (rows) await staging.load(table, rows, { shard: table.name })
    }
    for (const { name } of TABLES) {
      const gone = this.tombstones.filter(({ table }) => table === name)
      if (gone.length > 0) await staging.loadTombstones(TABLE_BY_NAME.get(name)!, gone, `deleted ${name}`)
    }
    return staging
  }

  async merge(
    library: Library,
    policy: MergePolicy = SYNC,
    { staging, ...options }: MergeOptions & { staging?: Partial<StagingOptions> } = {},
  ): Promise<MergeReport> {
    return await merge(library, await this.stage(library, staging), policy, options)
  }
}

let runs = 0

/** Counts of a table's report that are not zero, without those of its name and size. */
export function countsOf(report: MergeReport, table: string): Record<string, number> {
  const found = report.tables.find((one) => one.table === table)
  if (!found) return {}
  const { table: _, ...counts } = found
  return Object.fromEntries(Object.entries(counts).filter(([name, count]) => count !== 0 && name !== 'staged'))
}
