/** Timelines of plaso through the whole of collect: files, compressed ones, labels and reports as a run, what is refused. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { type Coldtrail, open, parseConfig } from '../../src/index.ts'
import { data, sampleStorage, writePlasoStorage } from '../support/plasoStorage.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

interface Site {
  readonly root: string
  readonly files: string
  readonly coldtrail: Coldtrail
}

const configOf = (settings: object) =>
  parseConfig(JSON.stringify(settings), { file: 'coldtrail.yaml', environment: {} })

async function site(settings: object = {}): Promise<Site> {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-plaso-'))
  undo.push(() => rmSync(root, { recursive: true, force: true }))
  const files = join(root, 'files')
  mkdirSync(files)
  const config = configOf({ data_dir: join(root, 'data'), collect: { processes: 1 }, ...settings })
  const coldtrail = await open(config)
  undo.push(() => coldtrail.close())
  return { root, files, coldtrail }
}

async function rowsOf(coldtrail: Coldtrail, expression = ''): Promise<Record<string, unknown>[]> {
  const found = await coldtrail.search({ expression, order: 'id' })
  const rows: Record<string, unknown>[] = []
  for await (const row of found.rows) rows.push(row)
  return rows
}

const GIVEN = join(import.meta.dirname, '../../../shared/data/plaso/pinfo_test.plaso')

test("plaso's own file: 3 events with the original's attributes", {
  skip: !existsSync(GIVEN) && `${GIVEN} is not here`,
}, async () => {
  const { files, coldtrail } = await site()
  copyFileSync(GIVEN, join(files, 'pinfo_test.plaso'))
  const { events, rejects, failed } = await coldtrail.collect({ sources: [files] })
  assert.deepEqual({ events, rejects, failed }, { events: 3, rejects: 0, failed: 0 })
  const rows = await rowsOf(coldtrail)
  assert.deepEqual(
    rows.map(({ time, timestamp_desc, data_type, file_path, metadata_uid }) => [
      time,
      timestamp_desc,
      data_type,
      file_path,
      metadata_uid,
    ]),
    ['Last Access Time', 'Metadata Modification Time', 'Content Modification Time'].map((description, i) => [
      ...[1_387_891_912_000_000, description, 'fs:stat', '/lost+found', `event.${i + 1}`],
    ]),
  )
  const attributes = JSON.parse(rows[0]!.data as string) as Record<string, unknown>
  assert.deepEqual(
    {
      ...attributes,
      access_time: undefined,
      change_time: undefined,
      modification_time: undefined,
      date_time: undefined,
    },
    {
      ...{ __container_type__: 'event', _event_identifier: 'event.1', timestamp: 1_387_891_912_000_000 },
      ...{ timestamp_desc: 'Last Access Time', _event_values_hash: 'ccc79824a20d097c299e9069d88d13bf' },
      ...{
        _parser_chain: 'filestat',
        data_type: 'fs:stat',
        display_name: 'EXT:/lost+found',
        file_entry_type: 'directory',
      },
      ...{ file_size: 0, file_system_type: 'EXT', filename: '/lost+found', group_identifier: 0, inode: 11 },
      ...{ is_allocated: true, mode: 448, number_of_links: 2, owner_identifier: 0 },
      ...{ access_time: undefined, change_time: undefined, modification_time: undefined, date_time: undefined },
    },
  )
  assert.deepEqual(attributes.date_time, {
    __class_name__: 'PosixTime',
    __type__: 'DateTimeValues',
    timestamp: 1_387_891_912,
  })
  const report = await coldtrail.analysis.report(1)
  const sessions = report.plugins.find(({ plugin }) => plugin === 'sessions')
  assert.equal(sessions!.rows![0]!.product_version, '20260702')
})

test('labels, reports, sessions, accounts and warnings are a run of the same commit', async () => {
  const { files, coldtrail } = await site()
  writePlasoStorage(join(files, 'a.plaso'), sampleStorage())
  await coldtrail.collect({ sources: [files] })
  const [run] = await coldtrail.analysis.runs()
  assert.equal(run!.kind, 'imported')
  assert.equal(run!.state, 'finished')
  assert.equal(run!.tags, 3)
  assert.deepEqual(
    (await coldtrail.values({ field: 'tag' })).values.map(({ value, count }) => [value, count]),
    [
      ['repeated', 2],
      ['login', 1],
    ],
  )
  assert.deepEqual(
    (await rowsOf(coldtrail, 'tag == "repeated"')).map(({ metadata_uid }) => metadata_uid),
    ['event.1', 'event.5'],
  )
  const report = await coldtrail.analysis.report(run!.run)
  const plugin = (name: string) => report.plugins.find(({ plugin }) => plugin === name)!
  assert.deepEqual(plugin('imported').labels, { login: 1, repeated: 2 })
  assert.deepEqual(plugin('tagging').counters, [
    ['login', 1],
    ['repeated', 2],
    ['event_tags', 2],
  ])
  assert.deepEqual(plugin('user_accounts').rows, [
    { username: 'alice', full_name: 'Alice', identifier: '1000', user_directory: '/home/alice' },
    { username: 'bob', identifier: '1001', user_directory: '/home/bob' },
  ])
  assert.equal(report.command_line, 'log2timeline.py a.plaso')
  assert.match(report.warnings[0]!.message, /extraction warning: sqlite\/chrome: unable to open/)
  const summary = await coldtrail.verify()
  assert.equal(summary.faults, 0)
  // Merging, removing, and a catalog made anew.
  await coldtrail.analysis.remove(run!.run)
  assert.deepEqual((await coldtrail.values({ field: 'tag' })).values, [])
})

test('a rebuilt catalog has the run; a second collect brings nothing', async () => {
  const { files, coldtrail, root } = await site()
  writePlasoStorage(join(files, 'a.plaso'), sampleStorage())
  await coldtrail.collect({ sources: [files] })
  assert.equal((await coldtrail.collect({ sources: [files] })).known, 1)
  await coldtrail.rebuildCatalog()
  const again = await open(configOf({ data_dir: join(root, 'data') }))
  undo.push(() => again.close())
  assert.equal((await again.analysis.runs())[0]!.kind, 'imported')
  assert.equal((await rowsOf(again, 'tag == "login"')).length, 1)
})

test('of a commit whose second link was never written a rebuild takes the segment', async () => {
  const { files, coldtrail, root } = await site()
  writePlasoStorage(join(files, 'a.plaso'), sampleStorage())
  await coldtrail.collect({ sources: [files] })
  await coldtrail.close()
  const chain = join(root, 'data', 'history', 'main', 'chain')
  rmSync(join(chain, readdirSync(chain).sort().at(-1)!))
  rmSync(join(root, 'data', 'catalog.db'))
  const again = await open(configOf({ data_dir: join(root, 'data'), collect: { processes: 1 } }))
  undo.push(() => again.close())
  await again.rebuildCatalog()
  assert.equal((await rowsOf(again)).length, 5)
  assert.deepEqual(await again.analysis.runs(), [])
  assert.equal((await again.collect({ sources: [files] })).known, 1)
})

test('compressed, beside other files, without a pack; nothing is left in the scratch folder', async () => {
  const { root, files, coldtrail } = await site({ keep_log: false })
  const path = join(root, 'a.plaso')
  writePlasoStorage(path, sampleStorage())
  writeFileSync(join(files, 'a.plaso.gz'), gzipSync(readFileSync(path)))
  writeFileSync(join(files, 'b.log'), 'Jul 10 12:00:00 host sshd[1]: hello\n')
  const { events, failed } = await coldtrail.collect({ sources: [files] })
  assert.deepEqual({ events, failed }, { events: 6, failed: 0 })
  assert.deepEqual(readdirSync(join(root, 'data', 'scratch')), [])
  assert.equal((await coldtrail.verify()).faults, 0)
})

test('files that are no timeline are quarantined with the reason, and their neighbours are collected', async () => {
  const { files, coldtrail } = await site()
  writePlasoStorage(join(files, 'places.sqlite'), {
    metadata: {},
    sql: 'drop table metadata; create table moz_places (a)',
  })
  writePlasoStorage(join(files, 'old.plaso'), { metadata: { format_version: '20160715' } })
  writePlasoStorage(join(files, 'good.plaso'), sampleStorage())
  writeFileSync(join(files, 'older.plaso'), 'PK\x03\x04 and so on')
  const { events, failed } = await coldtrail.collect({ sources: [files] })
  assert.deepEqual({ events, failed }, { events: 5, failed: 3 })
  const { objects } = await coldtrail.rejects()
  const reasons: Record<string, string> = {}
  for await (const { key, reason } of objects) reasons[key] = reason
  assert.match(reasons['old.plaso']!, /20160715 is older than 2018/)
  assert.match(reasons['older.plaso']!, /zip archive, as plaso wrote before 2017/)
  assert.match(reasons['places.sqlite']!, /no table "metadata", so it is no plaso storage file/)
})

test('a small text that inflates to very much ends in quarantine, not in memory', async () => {
  const { files, coldtrail } = await site()
  const large = { data_type: 'a:b', text: 'x'.repeat(8e6) }
  const event = { _event_data_identifier: 'event_data.1', timestamp: 1, timestamp_desc: 'x' }
  writePlasoStorage(join(files, 'bomb.plaso'), {
    tables: { event_data: [{ _data: data('event_data', large) }], event: Array(5000).fill(event) },
  })
  const { failed, errors } = await coldtrail.collect({ sources: [files] })
  assert.equal(failed, 1)
  assert.deepEqual(errors, { E_OBJECT_RATIO: 1 })
})

test("messages by the formatters of the user's own plaso", async () => {
  const formatters = mkdtempSync(join(tmpdir(), 'coldtrail-formatters-'))
  undo.push(() => rmSync(formatters, { recursive: true, force: true }))
  writeFileSync(
    join(formatters, 'linux.yaml'),
    "type: conditional\ndata_type: 'syslog:line'\nmessage:\n- '[{reporter}]'\n- '{message_body}'\n",
  )
  const { files, coldtrail } = await site({ collect: { processes: 1, plaso_formatters: formatters } })
  writePlasoStorage(join(files, 'a.plaso'), sampleStorage())
  await coldtrail.collect({ sources: [files] })
  const [first, second] = await rowsOf(coldtrail)
  assert.equal(first!.message, 'one')
  assert.match(second!.message as string, /^fs:stat: /)
})

test('records that are refused are rejects of their object', async () => {
  const { files, coldtrail } = await site()
  const sample = sampleStorage()
  const [good] = sample.tables!.event_data!
  writePlasoStorage(join(files, 'a.plaso'), {
    ...sample,
    tables: { ...sample.tables, event_data: [good!, { _data: Buffer.from('no zlib') }, good!] },
  })
  const { events, rejects } = await coldtrail.collect({ sources: [files] })
  assert.deepEqual({ events, rejects }, { events: 2, rejects: 3 })
  assert.deepEqual(
    (await rowsOf(coldtrail, 'tag == "repeated"')).map(({ metadata_uid }) => metadata_uid),
    ['event.1', 'event.5'],
  )
})
