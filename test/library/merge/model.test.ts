/** Random runs, policies and local edits against a plain model of the decision tables (docs/design.md §11). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { sql } from 'kysely'
import type { Library } from '../../../src/library/library.ts'
import type { MergePolicy } from '../../../src/library/merge/policy.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { StagedRows } from '../../support/stagedRows.ts'

const FIELDS = ['class', 'description', 'expires_at', 'status'] as const
type Field = (typeof FIELDS)[number]
type Values = Readonly<Record<Field, string | null>>

interface Given {
  readonly name: string
  readonly at: number
  readonly values: Values
  /** Value of an attribute row that hangs on it. */
  readonly attribute: string | null
}

interface Run {
  readonly by: 'alpha' | 'beta' | 'feed' | 'local'
  readonly rows: readonly Given[]
  readonly gone: readonly string[]
  readonly policy: MergePolicy
}

interface ModelRow {
  values: Record<Field, string | null>
  createdAt: number
  updatedAt: number
  deleted: boolean
  hidden: boolean
  readonly madeBy: Run['by']
  readonly edited: Set<string>
  readonly origins: Set<string>
}

/** Objects and their attribute rows, by name and by `name/value`. */
class Model {
  readonly rows = new Map<string, ModelRow>()

  run({ by, rows, gone, policy }: Run): void {
    const staged = new Set<string>()
    const given = new Map(rows.map((row) => [row.name, row]))
    for (const row of given.values()) {
      this.take(row.name, row, by, policy, FIELDS)
      staged.add(row.name)
      if (row.attribute !== null) {
        this.take(`${row.name}/${row.attribute}`, row, by, policy, [])
        staged.add(`${row.name}/${row.attribute}`)
      }
    }
    const away: [string, 'deleted' | 'hidden'][] = []
    for (const name of gone) {
      const row = this.rows.get(name)
      if (!row || row.deleted || staged.has(name) || policy.deletions === 'report') continue
      if (policy.deletions === 'unpublish') {
        if (!row.hidden) away.push([name, 'hidden'])
      } else if (policy.deletions === 'apply' || (row.madeBy === by && isSite(by) && row.edited.size === 0))
        away.push([name, 'deleted'])
    }
    if (policy.mirror)
      for (const [name, row] of this.rows)
        if (!row.deleted && row.madeBy === 'feed' && row.origins.has('feed') && !staged.has(name))
          away.push([name, 'deleted'])
    for (const [name, how] of away)
      for (const [key, row] of this.rows) {
        if ((key !== name && !key.startsWith(`${name}/`)) || row.deleted) continue
        if (how === 'hidden' && row.hidden) continue
        row[how] = true
        setEdited(row, how, by)
        if (policy.mirror) row.origins.delete('feed')
      }
  }

  private take(key: string, { at, values }: Given, by: Run['by'], policy: MergePolicy, fields: readonly Field[]): void {
    const row = this.rows.get(key)
    if (!row) {
      this.rows.set(key, {
        values:
          fields.length === 0 ? { class: null, description: null, expires_at: null, status: null } : { ...values },
        createdAt: policy.keepCreatedAt ? at : NOW,
        updatedAt: at,
        deleted: false,
        hidden: false,
        madeBy: by,
        edited: new Set(),
        origins: new Set(by === 'feed' ? ['feed'] : []),
      })
      return
    }
    let isChanged = false
    const isNewerHere = row.updatedAt > at
    for (const field of fields) {
      const [base, staged] = [row.values[field], values[field]]
      if (base === staged || !this.takes(row, field, base, staged, isNewerHere, by, policy)) continue
      row.values[field] = staged
      setEdited(row, field, by)
      isChanged = true
    }
    if (policy.keepCreatedAt && row.createdAt > at) {
      row.createdAt = at
      isChanged = true
    }
    const isHiddenByHand = row.edited.has('deleted') || row.edited.has('hidden')
    for (const how of ['deleted', 'hidden'] as const)
      if (row[how] && (policy.conflicts === 'source' || !isHiddenByHand)) {
        row[how] = false
        setEdited(row, how, by)
        isChanged = true
      }
    if (isChanged) row.updatedAt = Math.max(row.updatedAt, at)
    if (by === 'feed') row.origins.add('feed')
  }

  private takes(
    row: ModelRow,
    field: Field,
    base: string | null,
    staged: string | null,
    isNewerHere: boolean,
    by: Run['by'],
    policy: MergePolicy,
  ): boolean {
    if (base === null) return true
    if (field === 'description' && !policy.overrideDescription) return false
    if (field === 'status' && by !== 'local' && base === 'Protected') return false
    if (policy.conflicts === 'newest') return staged !== null && !row.edited.has(field) && !isNewerHere
    return staged !== null || !policy.keepWhereAbsent
  }
}

/** When the test runs, whenever that is. */
const NOW = Number.MAX_SAFE_INTEGER

const isSite = (by: Run['by']): boolean => by === 'alpha' || by === 'beta'

function setEdited(row: ModelRow, field: string, by: Run['by']): void {
  if (by === 'local') row.edited.add(field)
  else row.edited.delete(field)
}

// --- random runs ---

const NAMES = ['a', 'b', 'c', 'd']
const nullable = (...values: string[]) => fc.option(fc.constantFrom(...values), { nil: null, freq: 4 })
const given: fc.Arbitrary<Given> = fc.record({
  name: fc.constantFrom(...NAMES),
  at: fc.integer({ min: 1, max: 9 }).map((n) => n * 1000),
  values: fc.record({
    class: nullable('network', 'host'),
    description: nullable('one', 'two'),
    expires_at: nullable('5000', '6000'),
    status: nullable('Active', 'Review', 'Protected'),
  }),
  attribute: nullable('x', 'y'),
})
const policy = (by: Run['by']): fc.Arbitrary<MergePolicy> =>
  fc
    .record({
      conflicts:
        by === 'local' ? fc.constant('source' as const) : fc.constantFrom('newest' as const, 'source' as const),
      deletions: fc.constantFrom(
        'sync-created-only' as const,
        'apply' as const,
        'unpublish' as const,
        'report' as const,
      ),
      keepCreatedAt: fc.boolean(),
      overrideDescription: fc.boolean(),
      keepWhereAbsent: fc.boolean(),
      objectLimit: fc.constantFrom(1, 2, 1000),
      mirror: fc.boolean(),
    })
    .map(({ mirror, ...rest }) => (mirror && by === 'feed' ? { ...rest, mirror: { origin: 'feed' } } : rest))
const run: fc.Arbitrary<Run> = fc.constantFrom<Run['by']>('alpha', 'beta', 'feed', 'local').chain((by) =>
  fc.record({
    by: fc.constant(by),
    rows: fc.uniqueArray(given, { maxLength: 4, selector: ({ name }) => name }),
    gone: fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 2 }),
    policy: policy(by),
  }),
)

function rowsOf({ rows, gone }: Run): StagedRows {
  const staged = new StagedRows()
  staged.named('indicator_statuses', 'Protected', {
    protected: 'Y',
    visible: 'Y',
    include_in_export: 'Y',
    user_editable: 'Y',
  })
  for (const { name, at, values, attribute } of rows) {
    const id = staged.indicator('FQDN', `${name}.example`, { ...values, at })
    if (attribute !== null) staged.attribute(id, 'Kind', attribute, { uid: `${name} ${attribute}`, at })
  }
  for (const name of gone) staged.tombstone('indicators', `${name}.example`)
  return staged
}

const place = (by: Run['by']) =>
  by === 'local'
    ? { kind: 'local' as const, site: undefined }
    : by === 'feed'
      ? { kind: 'import' as const, site: undefined, source: 'feed' }
      : { kind: 'sync' as const, site: by }

async function found(library: Library): Promise<Map<string, unknown>> {
  const { rows } = await sql<Record<string, string | number | null>>`
    select i.value as name, null as attribute, i.class, i.description, i.expires_at, s.name as status, i.created_at, i.updated_at,
      i.deleted_at, i.unpublished_at from indicators i left join indicator_statuses s on s.id = i.status_id
    union all
    select i.value, a.value, null, null, null, null, a.created_at, a.updated_at, a.deleted_at, a.unpublished_at
      from indicator_attributes a join indicators i on i.id = a.indicator_id`.execute(library.database.db)
  return new Map(
    rows.map((row) => [
      String(row.name).replace('.example', row.attribute === null ? '' : `/${row.attribute}`),
      {
        values: {
          class: row.class,
          description: row.description,
          expires_at: row.expires_at === null ? null : String(row.expires_at),
          status: row.status,
        },
        createdAt: Number(row.created_at) > 1e12 ? NOW : Number(row.created_at),
        updatedAt: Number(row.updated_at),
        deleted: row.deleted_at !== null,
        hidden: row.unpublished_at !== null,
      },
    ]),
  )
}

for (const dialect of DIALECTS)
  test(`the library is what the model says, ${dialect}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(run, { minLength: 1, maxLength: 5 }), async (runs) => {
        await withFreshLibrary(dialect, async (library) => {
          const model = new Model()
          for (const one of runs) {
            const dry = await rowsOf(one).merge(library, one.policy, { dryRun: true, staging: place(one.by) })
            const report = await rowsOf(one).merge(library, one.policy, { staging: place(one.by) })
            assert.deepEqual(dry.tables, report.tables, 'a dry run says what happens')
            assert.deepEqual(dry.conflicts, report.conflicts)
            model.run(one)
            const wanted = [...model.rows].map(([key, { values, createdAt, updatedAt, deleted, hidden }]) => [
              key,
              { values, createdAt, updatedAt, deleted, hidden },
            ])
            assert.deepEqual(
              [...(await found(library))].sort(),
              wanted.sort((a, b) => (a[0]! < b[0]! ? -1 : 1)),
            )
          }
        })
      }),
      { numRuns: dialect === 'sqlite' ? 15 : 2 },
    )
  })
