import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, test } from 'node:test'
import { csvLine } from '../../../src/core/csv.ts'
import { stateDigest } from '../../../src/library/digest.ts'
import type { Library } from '../../../src/library/library.ts'
import { dumpColumns } from '../../../src/library/model.ts'
import { sha256Hex } from '../../../src/sync/bundle/manifest.ts'
import { fillHash } from '../../../src/sync/fillHash.ts'
import { undoImport } from '../../../src/sync/import/undo.ts'
import { runSummaries } from '../../../src/sync/runs.ts'
import { canonicalJson, findRun, listRuns } from '../../../src/sync/synchronizations.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'
import { type Put, putRows } from '../../support/libraryRows.ts'
import { row, tableNamed } from '../../support/sampleBundle.ts'
import {
  importFile,
  POLICY,
  type SiteBundle,
  sampleSite,
  scratchPlace,
  siteBundle,
  uidOf,
} from '../../support/siteBundle.ts'

const SECRET = 'the content of a file'

/** Something of every kind: dictionaries, objects, context, links, a file with content and one without. */
const ROWS: SiteBundle['rows'] = {
  tlp: [{ name: 'white' }, { name: 'red' }],
  indicator_types: [{ name: 'FQDN' }, { name: 'A type of its own' }],
  indicator_statuses: [{ name: 'Active' }],
  attachment_types: [{ name: 'PDF' }],
  users: [{ email: 'alice@low.example', display_name: 'Alice' }],
  connectors: [{ name: 'A feed', version: '1' }],
  operations: [{ name: 'An operation', version: '1' }],
  sources: [
    { type: 'connectors', name: 'A feed', tlp_id: '1' },
    { type: 'users', name: 'alice@low.example' },
  ],
  attributes: [{ name: 'Confidence' }],
  tags: [{ name: 'phishing' }],
  indicators: [
    { type_id: '1', status_id: '1', value: 'Evil.Example', description: 'from the source' },
    { type_id: '2', status_id: '1', value: '=SUM(A1)', description: null },
  ],
  adversaries: [{ name: 'Cosy Bear' }],
  attachments: [
    { name: 'kept.pdf', type_id: '1', sha256: sha256Hex(SECRET), file_size: '21' },
    { name: 'excluded.pdf', type_id: '1', sha256: sha256Hex('what stayed at home'), file_size: '19' },
  ],
  investigations: [{ name: 'Case 7', creator_source_id: '2' }],
  indicator_attributes: [{ indicator_id: '1', attribute_id: '1', value: 'high' }],
  indicator_attribute_sources: [{ indicator_attribute_id: '1', source_id: '1' }],
  indicator_sources: [{ indicator_id: '1', source_id: '1', tlp_id: '2' }],
  indicator_comments: [{ indicator_id: '1', value: 'a comment', creator_source_id: '2' }],
  tagged_objects: [{ tag_id: '1', object_type: 'indicator', object_id: '1' }],
  object_links: [
    { src_type: 'indicator', src_object_id: '1', dest_type: 'adversary', dest_object_id: '1', relationship: 'used-by' },
  ],
}
const TOTAL = Object.values(ROWS).reduce((sum, rows) => sum + rows.length, 0)

const indicator = async (library: Library, value: string) =>
  (await library.database.db.selectFrom('indicators').selectAll().where('value', '=', value).executeTakeFirst()) as
    | Record<string, unknown>
    | undefined

const numbered = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ type_id: '1', status_id: '1', value: `h${i}.example` }))

/** Rows that a person made here, complete. */
async function putLocal(library: Library, fill: (put: Put) => Promise<unknown>): Promise<void> {
  await putRows(library, fill)
  await fillHash(library)
  await library.database.db.deleteFrom('synchronizations').execute()
}

/** Everything that an import may write, but for the records of runs. */
async function everything(library: Library) {
  const { db } = library.database
  const state = await stateDigest(library)
  const counted: Record<string, number> = {}
  for (const table of [
    'indicators',
    'object_links',
    'sync_bundles',
    'sync_streams',
    'sync_shards',
    'sync_keys',
    'quarantine',
    'journal',
    'blobs',
  ])
    counted[table] = Number(
      (
        await db
          .selectFrom(table)
          .select((s) => s.fn.countAll().as('n'))
          .executeTakeFirstOrThrow()
      ).n,
    )
  return { state, counted }
}

const bundleOf = async (more: Partial<SiteBundle> = {}, place = scratchPlace(), site = sampleSite(place, 'low')) => {
  const written = await siteBundle(place, { site, rows: ROWS, blobs: [SECRET], ...more })
  return { file: written.files[0]!, written, place, site }
}

/** The next bundle of the stream that `before` began. */
const next = (
  before: Awaited<ReturnType<typeof bundleOf>>,
  { manifest, ...more }: Partial<SiteBundle> = {},
  seq = before.written.manifest.seq + 1,
) =>
  bundleOf(
    { manifest: { seq, prev_sha256: before.written.manifestSha256, ...manifest }, ...more },
    before.place,
    before.site,
  )

for (const dialect of DIALECTS) {
  describe(dialect, () => {
    test('P31, P34, P44: rows of every kind arrive, with report, record and ledger; sync tables are gone afterwards', () =>
      withFreshLibrary(
        dialect,
        async (library) => {
          const { file, written } = await bundleOf()
          const reportDir = scratchPlace()
          const steps = new Set<string>()
          const summary = await importFile(library, file, { reportDir, onProgress: ({ step }) => steps.add(step) })
          assert.equal(summary.error, undefined)
          assert.equal(summary.result, 'imported')
          assert.equal(summary.totals.staged, TOTAL)
          assert.equal(summary.totals.quarantined, 0)
          assert.deepEqual(summary.blobs, { stored: 1, present: 0, missing: 1, missing_names: ['excluded.pdf'] })
          for (const step of ['verify', 'load', 'resolve', 'insert', 'apply']) assert.ok(steps.has(step), step)

          const found = await indicator(library, 'Evil.Example')
          assert.equal(found?.normalized, 'evil.example')
          assert.equal(found?.description, 'from the source')
          assert.ok(await indicator(library, '=SUM(A1)'), 'data are as they were, formulas too')
          const { db } = library.database
          const source = await db
            .selectFrom('indicator_sources')
            .innerJoin('tlp', 'tlp.id', 'indicator_sources.tlp_id')
            .select('tlp.name')
            .executeTakeFirstOrThrow()
          assert.equal(source.name, 'red')
          assert.equal(library.blobs.size(Buffer.from(sha256Hex(SECRET), 'hex')), SECRET.length)

          const name = `${basename(file, '.tar.gz')}-sync-import`
          const text = readFileSync(join(reportDir, `${name}.txt`), 'utf8')
          assert.match(text, /result: +imported/)
          const json = JSON.parse(readFileSync(join(reportDir, `${name}.json`), 'utf8'))
          assert.equal(json.totals.staged, TOTAL)
          assert.equal(json.bundle.manifest_sha256, written.manifestSha256)

          const record = await findRun(library, summary.run!)
          assert.equal(record?.state, 'finished')
          assert.ok((record!.report.tables_created as string[]).includes(`sync_import_indicators_${process.pid}`))
          assert.equal((record!.report.totals as { staged: number }).staged, TOTAL)
          const ledger = await db.selectFrom('sync_bundles').selectAll().execute()
          assert.deepEqual(
            ledger.map(({ manifest_sha256, run }) => [manifest_sha256, run]),
            [[written.manifestSha256, summary.run]],
          )
          const left = await db.selectFrom('facts').select('name').where('name', 'like', 'merge:%').execute()
          assert.deepEqual(left, [])
        },
        { seedOrder: 'reversed' },
      ))

    test('L12: the same bundle again is answered from the ledger, without a look at its data', () =>
      withFreshLibrary(dialect, async (library) => {
        const { file } = await bundleOf()
        const first = await importFile(library, file)
        const bytes = readFileSync(file)
        bytes[bytes.length - 600]! ^= 1
        writeFileSync(file, bytes)
        const before = await everything(library)
        const summary = await importFile(library, file)
        assert.equal(summary.result, 'known')
        assert.equal(summary.error, undefined)
        assert.notEqual(summary.run, first.run)
        assert.deepEqual(await everything(library), before)
      }))

    test('a second full bundle of an unchanged library is not read into staging; an edit here makes its table be read', () =>
      withFreshLibrary(dialect, async (library) => {
        const first = await bundleOf()
        await importFile(library, first.file)
        const second = await next(first)
        const summary = await importFile(library, second.file)
        assert.equal(summary.error, undefined)
        assert.equal(summary.result, 'unchanged')
        assert.equal(summary.shards.loaded + summary.shards.ids_only, 0)
        assert.equal(summary.shards.unchanged, Object.keys(ROWS).length)

        await putLocal(library, (put) => put('tags', { name: 'local' }))
        const third = await importFile(library, (await next(second)).file)
        assert.equal(third.error, undefined)
        assert.equal(third.shards.loaded, 1)
        assert.equal(third.result, 'unchanged')

        const rows = {
          ...ROWS,
          indicators: [
            { ...ROWS.indicators![0]!, description: 'better', updated_at: '1547660837000009' },
            ROWS.indicators![1]!,
          ],
        }
        const fourth = await next(second, { rows, limit: 1 }, 4)
        const changed = await importFile(library, fourth.file)
        assert.equal(changed.error, undefined)
        assert.equal(changed.totals.updated, 1)
        assert.equal((await indicator(library, 'Evil.Example'))?.description, 'better')
        assert.equal(changed.totals.inserted, 0)
      }))

    test('P33: an excluded file is a stub, and a later bundle with its content fills it; real content is never replaced', () =>
      withFreshLibrary(dialect, async (library) => {
        const first = await bundleOf()
        await importFile(library, first.file)
        const late = Buffer.from(sha256Hex('what stayed at home'), 'hex')
        assert.equal(library.blobs.size(late), undefined)
        const second = await importFile(library, (await next(first, { blobs: ['what stayed at home'] })).file)
        assert.deepEqual([second.error, second.blobs.stored], [undefined, 1])
        assert.equal(library.blobs.size(late), 19)
        assert.equal(library.blobs.size(Buffer.from(sha256Hex(SECRET), 'hex')), SECRET.length)
      }))

    for (const keepCreatedAt of [true, false])
      test(`P26, P42: --keep-created-at=${keepCreatedAt ? 'Y' : 'N'}`, () =>
        withFreshLibrary(dialect, async (library) => {
          const local = {
            type_id: 'FQDN',
            value: 'evil.example',
            normalized: 'evil.example',
            created_at: 2e15,
            updated_at: 1,
          }
          await putLocal(library, (put) => put('indicators', local))
          const rows = {
            ...ROWS,
            indicators: ROWS.indicators!.map((values) => ({ ...values, created_at: '1000000000000000' })),
          }
          const began = Date.now() * 1_000
          const { file } = await bundleOf({ rows })
          const summary = await importFile(library, file, { policy: { ...POLICY, keepCreatedAt } })
          assert.equal(summary.error, undefined)
          const existing = await library.database.db
            .selectFrom('indicators')
            .selectAll()
            .where('normalized', '=', 'evil.example')
            .execute()
          assert.deepEqual(
            existing.map(({ created_at }) => created_at),
            [keepCreatedAt ? 1e15 : 2e15],
          )
          const made = (await indicator(library, '=SUM(A1)'))?.created_at as number
          if (keepCreatedAt) assert.equal(made, 1e15)
          else assert.ok(made >= began, `${made} is now`)
        }))

    for (const overrideDescription of [true, false])
      test(`P29, P42: --override-description=${overrideDescription ? 'Y' : 'N'}; a NULL is filled in either case`, () =>
        withFreshLibrary(dialect, async (library) => {
          await putLocal(library, async (put) => {
            await put('indicators', { type_id: 'FQDN', value: 'evil.example', description: 'here', updated_at: 1 })
            await put('adversaries', { name: 'Cosy Bear', updated_at: 1 })
          })
          const rows = { ...ROWS, adversaries: [{ name: 'Cosy Bear', description: 'filled' }] }
          const policy = { ...POLICY, overrideDescription, conflicts: 'source' as const }
          const summary = await importFile(library, (await bundleOf({ rows })).file, { policy })
          assert.equal(summary.error, undefined)
          const { db } = library.database
          const one = await db
            .selectFrom('indicators')
            .select('description')
            .where('normalized', '=', 'evil.example')
            .executeTakeFirstOrThrow()
          assert.equal(one.description, overrideDescription ? 'from the source' : 'here')
          const adversary = await db.selectFrom('adversaries').select('description').executeTakeFirstOrThrow()
          assert.equal(adversary.description, 'filled')
        }))

    test('T8: a dry run tells what the run then does, and leaves nothing behind', () =>
      withFreshLibrary(dialect, async (library) => {
        await putLocal(library, (put) =>
          put('indicators', { type_id: 'FQDN', value: 'evil.example', description: 'here' }),
        )
        const { file } = await bundleOf()
        const before = await everything(library)
        const dry = await importFile(library, file, { dryRun: true })
        assert.equal(dry.error, undefined)
        assert.equal(dry.result, 'dry run')
        assert.deepEqual(await everything(library), before)
        assert.deepEqual(await listRuns(library), [])
        assert.equal(library.blobs.size(Buffer.from(sha256Hex(SECRET), 'hex')), undefined)
        assert.ok(dry.conflict_count > 0)
        assert.deepEqual(
          dry.differences.map(({ table, name, field, local, incoming }) => [table, name, field, local, incoming]),
          [['indicators', 'evil.example', 'status_id', null, 'Active']],
        )
        const real = await importFile(library, file)
        assert.equal(real.error, undefined)
        assert.deepEqual(dry.totals, real.totals)
        assert.deepEqual(dry.conflicts, real.conflicts)
      }))

    test('L19, T8: an undone run leaves what was there before, and its bundle can be imported again', () =>
      withFreshLibrary(dialect, async (library) => {
        await putLocal(library, (put) =>
          put('indicators', { type_id: 'FQDN', value: 'evil.example', description: 'here', updated_at: 1 }),
        )
        const before = await stateDigest(library)
        const { file } = await bundleOf()
        const policy = { ...POLICY, conflicts: 'source' as const }
        const first = await importFile(library, file, { policy })
        assert.equal(first.error, undefined)
        const after = await stateDigest(library)
        assert.notEqual(after.digest, before.digest)
        const undone = await undoImport(library, first.run!)
        assert.match(undone.bundle!, /^tqSync-/)
        assert.equal((await stateDigest(library)).digest, before.digest)
        assert.equal((await findRun(library, first.run!))?.state, 'undone')
        await assert.rejects(undoImport(library, first.run!), { code: 'E_SYNC_RUN' })
        const again = await importFile(library, file, { policy })
        assert.deepEqual([again.error, again.result], [undefined, 'imported'])
        assert.equal((await stateDigest(library)).digest, after.digest)
      }))

    test('L04, P19: investigations get the owner of the mapping file, else the one who travelled; both are reported', () =>
      withFreshLibrary(dialect, async (library) => {
        const owner = async () =>
          (
            await library.database.db
              .selectFrom('investigations')
              .innerJoin('sources', 'sources.id', 'investigations.creator_source_id')
              .select('sources.name')
              .executeTakeFirstOrThrow()
          ).name
        const first = await bundleOf()
        const plain = await importFile(library, first.file)
        assert.deepEqual(plain.owners, [{ object: 'Case 7', field: 'creator_source_id', owner: 'alice@low.example' }])
        assert.equal(await owner(), 'alice@low.example')
        await undoImport(library, plain.run!)

        const userMap = join(scratchPlace(), 'users.csv')
        writeFileSync(userMap, 'from,to\nalice@low.example,carol\n')
        const unknown = await importFile(library, first.file, { userMap })
        assert.equal(unknown.error?.code, 'E_USAGE')
        await putLocal(library, (put) => put('sources', { type: 'users', name: 'carol' }))
        const mapped = await importFile(library, first.file, { userMap })
        assert.equal(mapped.error, undefined)
        assert.equal(mapped.owners[0]?.instead_of, 'alice@low.example')
        assert.equal(await owner(), 'carol')
      }))

    test('L16: a stub for what is above the ceiling never replaces the object itself, and stands where it is unknown', () =>
      withFreshLibrary(dialect, async (library) => {
        const first = await bundleOf()
        await importFile(library, first.file)
        const config = {
          include_deleted: false,
          include_investigations: false,
          ignore_file_types: [],
          tlp: 'green',
          where: null,
        }
        const stub = (id: number) => ({
          id: String(id),
          uid: uidOf('adversaries', id),
          name: `redacted-${uidOf('adversaries', id)}`,
        })
        const link = (id: number) => ({
          id: String(id + 10),
          uid: uidOf('object_links', id + 10),
          src_type: 'indicator',
          src_object_id: '1',
          dest_type: 'adversary',
          dest_object_id: String(id),
          relationship: 'seen-with',
        })
        const rows = {
          indicator_types: ROWS.indicator_types!,
          indicator_statuses: ROWS.indicator_statuses!,
          indicators: ROWS.indicators!,
          adversaries: [stub(1), stub(7)],
          object_links: [link(1), link(7)],
        }
        const manifest = { config, config_sha256: sha256Hex(canonicalJson(config)) }
        const bounded = await bundleOf({ rows, manifest, blobs: [] }, first.place, first.site)
        const summary = await importFile(library, bounded.file)
        assert.equal(summary.error, undefined)
        const names = await library.database.db.selectFrom('adversaries').select('name').orderBy('id').execute()
        assert.deepEqual(
          names.map(({ name }) => name),
          ['Cosy Bear', `redacted-${uidOf('adversaries', 7)}`],
        )
        assert.equal((await stateDigest(library)).tables.object_links?.rows, 3)
      }))

    test('P30, P43: NULL hashes refuse the import; the record and the report say why', () =>
      withFreshLibrary(dialect, async (library) => {
        await putLocal(library, (put) => put('events', { title: 'x', happened_at: 1 }))
        await library.database.db.updateTable('events').set({ sync_hash: null }).execute()
        const { file } = await bundleOf()
        const reportDir = scratchPlace()
        const summary = await importFile(library, file, { reportDir })
        assert.equal(summary.error?.code, 'E_SYNC_HASH')
        assert.match(readFileSync(summary.reports!.text, 'utf8'), /fill-hash/)
        const record = await findRun(library, summary.run!)
        assert.equal(record?.state, 'failed')
        assert.equal((record!.report.error as { code: string }).code, 'E_SYNC_HASH')
        assert.equal(await indicator(library, 'Evil.Example'), undefined)
      }))

    test('S6, S9: CSV that is none is refused with place, and nothing of the bundle is seen', () =>
      withFreshLibrary(dialect, async (library) => {
        const columns = dumpColumns(tableNamed('tags')).map(({ name }) => name)
        const header = csvLine(columns)
        const good = csvLine(
          columns.map((name) => (row('tags', 1, { name: 'x' }) as Record<string, string>)[name] ?? null),
        )
        const faults: [string, Buffer][] = [
          ['NUL', Buffer.from(`${header}${good.replace('x', 'x\u0000y')}`)],
          ['UTF-8', Buffer.concat([Buffer.from(header), Buffer.from(good.replace('x', '\u00ff'), 'latin1')])],
          ['fields', Buffer.from(`${header}${good.replace('\n', ',more\n')}`)],
          ['quote', Buffer.from(`${header}${good.replace('x', 'x"y')}`)],
        ]
        const before = await everything(library)
        for (const [name, bytes] of faults) {
          const { file } = await bundleOf({
            rows: { indicator_types: ROWS.indicator_types! },
            bytes: { tags: { bytes, rows: 1 } },
            blobs: [],
          })
          const summary = await importFile(library, file)
          assert.equal(summary.error?.code, 'E_CSV', name)
          assert.match(summary.error!.message, /data\/tags-1\.csv, line 2/)
          const now = await everything(library)
          assert.deepEqual(
            { ...now, counted: { ...now.counted, sync_keys: 0 } },
            { ...before, counted: { ...before.counted, sync_keys: 0 } },
          )
          assert.equal((await library.database.db.selectFrom('tags').select('id').execute()).length, 0)
        }
        const more = await bundleOf({
          rows: {},
          bytes: { tags: { bytes: Buffer.from(header + good), rows: 2 } },
          blobs: [],
        })
        const summary = await importFile(library, more.file)
        assert.equal(summary.error?.code, 'E_BUNDLE_DAMAGED')
        assert.match(summary.error!.message, /it has 1 rows, and the manifest says 2/)
      }))

    test('S4, S9: what is damaged, from a stranger, for another or out of order is refused, and nothing is written', () =>
      withFreshLibrary(dialect, async (library) => {
        const before = await everything(library)
        const refused = async (code: string, file: string, request: Parameters<typeof importFile>[2] = {}) => {
          const summary = await importFile(library, file, request)
          assert.equal(summary.error?.code, code)
          assert.match(readFileSync(summary.reports!.text, 'utf8'), new RegExp(code))
          assert.equal((await findRun(library, summary.run!))?.state, 'failed')
          assert.deepEqual((await everything(library)).state, before.state)
          assert.equal((await everything(library)).counted.sync_bundles, before.counted.sync_bundles)
        }
        const first = await bundleOf()
        await refused('E_BUNDLE_KEY', first.file, { trust: { mode: 'listed_only' } })
        await refused('E_BUNDLE_AUDIENCE', (await bundleOf({ manifest: { audience: 'third' } })).file)
        await refused('E_BUNDLE_GAP', (await next(first, { manifest: { base_seq: 1, kind: 'delta' } })).file)
        const damaged = join(scratchPlace(), basename(first.file))
        const bytes = readFileSync(first.file)
        bytes[bytes.length - 600]! ^= 1
        writeFileSync(damaged, bytes)
        await refused('E_BUNDLE_DAMAGED', damaged)
        await refused('E_FILE_READ', join(scratchPlace(), 'nowhere.tar.gz'))
      }))

    test('P34: the folder of reports is made; where they cannot be written the record says all the same what was done', () =>
      withFreshLibrary(dialect, async (library) => {
        const { file } = await bundleOf()
        const reportDir = join(scratchPlace(), 'a', 'b')
        mkdirSync(join(reportDir, `${basename(file, '.tar.gz')}-sync-import.json`), { recursive: true })
        await assert.rejects(importFile(library, file, { reportDir }), { code: 'E_FILE_WRITE' })
        assert.deepEqual(
          (await listRuns(library)).map(({ state, report }) => [state, report.result]),
          [['finished', 'imported']],
        )
        const elsewhere = join(scratchPlace(), 'c', 'd')
        assert.equal((await importFile(library, file, { reportDir: elsewhere })).result, 'known')
        const [run] = await runSummaries(library)
        assert.equal(
          run!.bundle?.name,
          basename(file, '.tar.gz'),
          'of an answered bundle too it is told which one it was',
        )
      }))

    test('a run that is interrupted is gone on with, and ends as one that was not', () =>
      withFreshLibrary(dialect, async (library) => {
        const indicators = numbered(3_000)
        const { file } = await bundleOf({ rows: { ...ROWS, indicators }, limit: 500 })
        const stopAt = async (step: string, after: number) => {
          const controller = new AbortController()
          let seen = 0
          const reason = new Error(`stopped at ${step}`)
          const summary = await importFile(library, file, {
            policy: { ...POLICY, objectLimit: 100 },
            signal: controller.signal,
            onProgress: (now) => {
              if (now.step === step && ++seen === after) controller.abort(reason)
            },
          })
          assert.equal(summary.result, 'failed')
          assert.equal((await findRun(library, summary.run!))?.state, 'failed')
          return summary
        }
        const first = await stopAt('load', 3)
        assert.equal(await indicator(library, 'h1.example'), undefined)
        const second = await stopAt('insert', 20)
        assert.equal(second.resumed_run, first.run)
        assert.ok(second.shards.loaded_before > 0)
        const last = await importFile(library, file, { policy: { ...POLICY, objectLimit: 100 } })
        assert.equal(last.error, undefined)
        assert.equal(last.resumed_run, second.run)
        assert.equal(last.shards.loaded, 0)
        const found = await stateDigest(library)
        await withFreshLibrary(dialect, async (other) => {
          const whole = await importFile(other, file)
          assert.equal(whole.error, undefined)
          assert.equal((await stateDigest(other)).digest, found.digest)
          assert.deepEqual(last.totals.inserted, whole.totals.inserted)
        })
        await undoImport(library, last.run!)
        assert.equal((await stateDigest(library)).tables.indicators, undefined)
      }))

    test('the library is in use meanwhile: readers see all of a run or nothing, and a row added here is not doubled', () =>
      withFreshLibrary(dialect, async (library) => {
        const indicators = numbered(2_000)
        const { file } = await bundleOf({ rows: { ...ROWS, indicators }, limit: 500 })
        const seen: Promise<number>[] = []
        const writes: Promise<unknown>[] = []
        const rowsSeen = async () => (await stateDigest(library)).tables.indicators?.rows ?? 0
        let turn = 0
        const summary = await importFile(library, file, {
          policy: { ...POLICY, objectLimit: 50 },
          onProgress({ step }) {
            if (step !== 'insert' || ++turn % 20 !== 0) return
            seen.push(rowsSeen())
            const name = `local ${turn}`
            writes.push(putRows(library, (put) => put('adversaries', { name })))
          },
        })
        assert.equal(summary.error, undefined)
        const counts = await Promise.all(seen)
        assert.ok(counts.length > 0)
        assert.deepEqual(
          counts.filter((count) => count !== 0 && count !== indicators.length),
          [],
        )
        await Promise.all(writes)
        assert.equal(await rowsSeen(), indicators.length)
        assert.equal((await stateDigest(library)).tables.adversaries?.rows, 1 + writes.length)
      }))

    test('--memory-limit ends the run, which goes on with a higher one; --file is relative to the transfer directory', () =>
      withFreshLibrary(dialect, async (library) => {
        const { file } = await bundleOf()
        const transferDir = join(library.dataDir, 'agds_transfer')
        mkdirSync(join(transferDir, 'imports'), { recursive: true })
        const relative = join('imports', basename(file))
        copyFileSync(file, join(transferDir, relative))
        const slow = {
          onProgress: () => {
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
          },
        }
        const summary = await importFile(library, relative, { memoryLimit: 1_000_000, ...slow })
        assert.equal(summary.error?.code, 'E_SYNC_MEMORY')
        assert.equal((await importFile(library, relative)).result, 'imported')
        await assert.rejects(
          async () => {
            const { error } = await importFile(library, 'imports/none.tar.gz')
            throw error
          },
          { code: 'E_FILE_READ' },
        )
      }))

    test('L10, L13: deletions arrive; a skipped bundle that is covered is named and made up for', () =>
      withFreshLibrary(dialect, async (library) => {
        const first = await bundleOf()
        await importFile(library, first.file)
        const second = await next(first, {
          rows: {},
          manifest: { base_seq: 1, kind: 'delta' },
          deleted: { adversaries: [uidOf('adversaries', 1)] },
        })
        const covered = [first, second].map(({ written: { manifest, manifestSha256 } }) => ({
          seq: manifest.seq,
          name: manifest.bundle,
          manifest_sha256: manifestSha256,
        }))
        const deleted = { adversaries: [uidOf('adversaries', 1)], indicators: [uidOf('indicators', 2)] }
        const third = await next(second, {
          rows: {},
          manifest: { base_seq: 1, kind: 'delta', covered },
          deleted,
          blobs: [],
        })
        const summary = await importFile(library, third.file)
        assert.equal(summary.error, undefined)
        assert.deepEqual(
          summary.skipped_bundles.map(({ seq }) => seq),
          [2],
        )
        assert.ok(summary.totals.deleted >= 2)
        const { tables } = await stateDigest(library)
        assert.deepEqual([tables.adversaries, tables.indicators?.rows, tables.object_links], [undefined, 1, undefined])
        assert.equal((await importFile(library, second.file)).error?.code, 'E_BUNDLE_OLD')
      }))
  })
}
