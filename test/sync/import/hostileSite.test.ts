/** A site whose key is trusted here and whose bundles are signed, and who means ill: what it may not take or change. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { naturalKey, uidOfNaturalKey, uidText } from '../../../src/library/identity.ts'
import type { Library } from '../../../src/library/library.ts'
import { fillHash } from '../../../src/sync/fillHash.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { type Put, putRows } from '../../support/libraryRows.ts'
import {
  importFile,
  POLICY,
  type SiteBundle,
  sampleSite,
  scratchPlace,
  siteBundle,
  uidOf,
} from '../../support/siteBundle.ts'

/** Later than any clock here: 2100. */
const FAR = '4102444800000000'

/** Uid that a built-in row has everywhere. */
const seedUid = (table: string, ...parts: string[]): string => uidText(uidOfNaturalKey(naturalKey(table, parts)))

/** Bundles of one site, one after the other. */
function sender(name: string) {
  const place = scratchPlace()
  const site = sampleSite(place, name)
  let seq = 0
  let before: string | null = null
  return async (bundle: Omit<SiteBundle, 'site'>): Promise<string> => {
    seq += 1
    const written = await siteBundle(place, { site, ...bundle, manifest: { seq, prev_sha256: before } })
    before = written.manifestSha256
    return written.files[0]!
  }
}

const POLICIES = [
  POLICY,
  { ...POLICY, conflicts: 'source', deletions: 'apply' },
  { ...POLICY, conflicts: 'source', deletions: 'unpublish', overrideDescription: false, keepCreatedAt: false },
] as const

/** Complete rows that a person made here. */
async function putLocal(library: Library, fill: (put: Put) => Promise<unknown>): Promise<void> {
  await putRows(library, fill)
  await fillHash(library)
}

async function rowsOf(library: Library, table: string): Promise<Record<string, unknown>[]> {
  const rows = (await library.database.db.selectFrom(table).selectAll().orderBy('id').execute()) as Record<
    string,
    unknown
  >[]
  return rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [
        name,
        value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
      ]),
    ),
  )
}

const BUILT_IN = ['tlp', 'objects', 'indicator_types', 'indicator_statuses', 'signature_statuses', 'task_statuses']
const allBuiltIn = async (library: Library) =>
  Object.fromEntries(
    await Promise.all(BUILT_IN.map(async (table) => [table, await rowsOf(library, table)] as const)),
  ) as Record<string, Record<string, unknown>[]>

for (const dialect of DIALECTS)
  describe(dialect, () => {
    for (const [at, policy] of POLICIES.entries())
      test(`S8: built-in types, statuses, markings and objects stay what they are, policy ${at}`, () =>
        withFreshLibrary(dialect, async (library) => {
          const before = await allBuiltIn(library)
          const send = sender('low')
          const file = await send({
            rows: {
              tlp: [{ uid: seedUid('tlp', 'red'), name: 'open', updated_at: FAR }],
              objects: [
                {
                  uid: seedUid('objects', 'malware'),
                  code: 'malware',
                  name: 'Harmless',
                  is_custom: 'Y',
                  updated_at: FAR,
                },
                { code: 'tool', name: 'Other', name_plural: 'Others', is_custom: 'Y', updated_at: FAR },
              ],
              indicator_types: [
                { uid: seedUid('indicator_types', 'FQDN'), name: 'Nothing', class: 'host', updated_at: FAR },
              ],
              indicator_statuses: [
                {
                  uid: seedUid('indicator_statuses', 'Whitelisted'),
                  name: 'Whitelisted',
                  protected: 'N',
                  updated_at: FAR,
                },
                { name: 'Active', protected: 'Y', updated_at: FAR },
              ],
            },
            deleted: {
              signature_statuses: [seedUid('signature_statuses', 'Whitelisted')],
              task_statuses: [seedUid('task_statuses', 'Done')],
            },
          })
          const dry = await importFile(library, file, { policy, dryRun: true })
          const summary = await importFile(library, file, { policy })
          assert.equal(summary.error, undefined)
          assert.deepEqual(dry.totals, summary.totals)
          assert.deepEqual(await allBuiltIn(library), before)
          const told = summary.conflicts.map(({ table, field, reason }) => `${table} ${field} ${reason}`)
          for (const one of [
            'tlp name built in',
            'objects is_custom built in',
            'indicator_types name built in',
            'indicator_statuses protected built in',
            'signature_statuses deleted_at built in',
          ])
            assert.ok(told.includes(one), `${one} in ${told.join('; ')}`)
        }))

    test('S8: a status that is protected here stays so, and so do its indicators, whatever a later bundle says', () =>
      withFreshLibrary(dialect, async (library) => {
        await putLocal(library, (put) =>
          put('indicators', { type_id: 'FQDN', value: 'own.example', status_id: 'Whitelisted' }),
        )
        const send = sender('low')
        const statuses = [
          { name: 'Whitelisted', protected: 'N', updated_at: FAR },
          { name: 'Active', protected: 'N', updated_at: FAR },
        ]
        const indicators = [{ type_id: '1', status_id: '2', value: 'own.example', updated_at: FAR }]
        const rows = { indicator_types: [{ name: 'FQDN' }], indicator_statuses: statuses, indicators }
        for (const limit of [1, 2]) {
          const summary = await importFile(library, await send({ rows, limit }), {
            policy: { ...POLICY, conflicts: 'source' },
          })
          assert.equal(summary.error, undefined)
        }
        const { name } = await library.database.db
          .selectFrom('indicators')
          .innerJoin('indicator_statuses', 'indicator_statuses.id', 'indicators.status_id')
          .select('indicator_statuses.name')
          .executeTakeFirstOrThrow()
        assert.equal(name, 'Whitelisted')
      }))

    test('T4: a date of the far future does not freeze a row: who changes it later is heard', () =>
      withFreshLibrary(dialect, async (library) => {
        const [low, mid] = [sender('low'), sender('mid')]
        const rows = (description: string, updated_at: string) => ({
          indicator_types: [{ name: 'FQDN' }],
          indicators: [{ type_id: '1', value: 'shared.example', description, updated_at }],
        })
        await importFile(library, await low({ rows: rows('of the future', FAR) }))
        const summary = await importFile(library, await mid({ rows: rows('true', String(Date.now() * 1_000)) }))
        assert.equal(summary.error, undefined)
        const [indicator] = await rowsOf(library, 'indicators')
        assert.equal(indicator!.description, 'true')
        assert.ok(Number(indicator!.updated_at) <= Date.now() * 1_000)
      }))

    test('L10: tombstones of rows that it never made, by uid or by natural key, take nothing of others away', () =>
      withFreshLibrary(dialect, async (library) => {
        const [low, mid] = [sender('low'), sender('mid')]
        await putLocal(library, (put) => put('indicators', { type_id: 'FQDN', value: 'own.example' }))
        await importFile(
          library,
          await mid({
            rows: {
              indicator_types: [{ name: 'FQDN' }],
              indicators: [{ type_id: '1', value: 'mid.example', uid: uidOf('indicators', 77) }],
            },
          }),
        )
        const [own] = await rowsOf(library, 'indicators')
        const ownUid = uidText(Buffer.from(own!.uid as string, 'hex'))
        const before = await rowsOf(library, 'indicators')
        const summary = await importFile(
          library,
          await low({ rows: {}, deleted: { indicators: [ownUid, uidOf('indicators', 77)] } }),
        )
        assert.equal(summary.error, undefined)
        assert.deepEqual(await rowsOf(library, 'indicators'), before)
        assert.deepEqual(
          summary.conflicts.map(({ reason }) => reason),
          ['not made by sync', 'not made by sync'],
        )
      }))

    test('S8: the marking of a source that was set here is not widened by another site', () =>
      withFreshLibrary(dialect, async (library) => {
        await putLocal(library, async (put) => {
          const source = await put('sources', { type: 'other_sources', name: 'Partner', tlp_id: 'red' })
          const indicator = await put('indicators', { type_id: 'FQDN', value: 'own.example' })
          await put('indicator_sources', { indicator_id: indicator, source_id: source, tlp_id: 'red' })
        })
        const send = sender('low')
        const rows = {
          tlp: [{ name: 'white' }],
          indicator_types: [{ name: 'FQDN' }],
          sources: [{ type: 'other_sources', name: 'Partner', tlp_id: '1', updated_at: FAR }],
          indicators: [{ type_id: '1', value: 'own.example' }],
          indicator_sources: [{ indicator_id: '1', source_id: '1', tlp_id: '1', updated_at: FAR }],
        }
        const summary = await importFile(library, await send({ rows }))
        assert.equal(summary.error, undefined)
        const red = (await rowsOf(library, 'tlp')).find(({ name }) => name === 'red')!.id
        assert.equal((await rowsOf(library, 'sources')).find(({ name }) => name === 'Partner')!.tlp_id, red)
        assert.deepEqual(
          (await rowsOf(library, 'indicator_sources')).map(({ tlp_id }) => tlp_id),
          [red],
        )
        assert.deepEqual(
          summary.conflicts.map(({ table, field, reason }) => [table, field, reason]),
          [
            ['sources', 'tlp_id', 'narrower marking'],
            ['indicator_sources', 'tlp_id', 'narrower marking'],
          ],
        )
      }))

    test('references to nothing, to themselves, doubled numbers, 10,000 types, huge texts: held or taken, and nothing breaks', () =>
      withFreshLibrary(dialect, async (library) => {
        const send = sender('low')
        const types = Array.from({ length: 10_000 }, (_, i) => ({ name: `type ${i} '"\u202e` }))
        const odd = Array.from({ length: 3_000 }, (_, i) => ({
          src_type: `'; drop table indicators; -- ${i}`,
          src_object_id: '1',
          dest_type: 'indicator',
          dest_object_id: '1',
        }))
        const huge = 'x'.repeat(1_000_000)
        const file = await send({
          rows: {
            indicator_types: types,
            attributes: [{ name: huge }],
            adversaries: [{ name: huge }],
            indicators: [
              { type_id: '1', value: huge },
              { type_id: '10000', value: 'a' },
              { type_id: '10001', value: 'refers to nothing' },
              { type_id: '2', value: '\u202e\u0007\u001b[31m=cmd' },
            ],
            indicator_attributes: [
              { indicator_id: '3', attribute_id: '1', value: 'hangs on nothing' },
              { indicator_id: '1', attribute_id: '1', value: huge },
            ],
            object_links: [
              { src_type: 'indicator', src_object_id: '2', dest_type: 'indicator', dest_object_id: '2' },
              ...odd,
            ],
          },
        })
        const summary = await importFile(library, file)
        assert.equal(summary.error, undefined)
        assert.equal(summary.totals.quarantined, 2 + odd.length)
        assert.equal((await rowsOf(library, 'indicators')).length, 3)
        assert.equal((await rowsOf(library, 'object_links')).length, 1)
        assert.equal((await rowsOf(library, 'indicator_attributes')).length, 1)
        const names = summary.tables.map(({ table }) => table)
        assert.ok(names.includes('indicator_types'))
      }))

    test('one uid for two rows, the uid of a row here in another table, and a uid that another site used', () =>
      withFreshLibrary(dialect, async (library) => {
        const [low, mid] = [sender('low'), sender('mid')]
        const uid = uidOf('indicators', 5)
        const of = (...values: string[]) => ({
          indicator_types: [{ name: 'FQDN' }],
          indicators: values.map((value) => ({ type_id: '1', value, uid })),
        })
        await importFile(library, await mid({ rows: of('mid.example') }))
        const summary = await importFile(
          library,
          await low({ rows: { ...of('one.example', 'two.example'), tags: [{ name: 'tag', uid }] } }),
        )
        assert.equal(summary.error, undefined)
        const values = (await rowsOf(library, 'indicators')).map(({ value }) => value)
        assert.equal(values.length, 1, values.join())
        assert.equal((await rowsOf(library, 'tags')).length, 1)
      }))
  })

test('10,001 conflicts: each is told, the reports stay bounded', () =>
  withFreshLibrary('sqlite', async (library) => {
    const count = 10_001
    const send = sender('low')
    const rows = (description: string, updated_at: string) => ({
      indicator_types: [{ name: 'FQDN' }],
      indicators: Array.from({ length: count }, (_, i) => ({
        ...{ type_id: '1', value: `h${i}.example`, description, updated_at },
      })),
    })
    await importFile(library, await send({ rows: rows('newer', '1547660838000000') }))
    const reportDir = scratchPlace()
    let told = 0
    const summary = await importFile(library, await send({ rows: rows('older', '1547660837000000') }), {
      reportDir,
      onConflict: () => {
        told += 1
      },
    })
    assert.equal(summary.error, undefined)
    assert.deepEqual([told, summary.conflict_count, summary.conflicts.length], [count, count, 10_000])
    assert.equal(summary.totals.updated, 0)
    const { conflict_count, conflicts } = JSON.parse(readFileSync(summary.reports!.json, 'utf8'))
    assert.deepEqual([conflict_count, conflicts.length], [count, 10_000])
    const lines = readFileSync(summary.reports!.text, 'utf8').split('\n')
    assert.ok(lines.length < 1_200, `${lines.length} lines`)
    assert.ok(lines.some((line) => line === `Conflicts: ${count}`))
  }))
