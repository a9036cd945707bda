/** Tags and reports back into plaso's own form: what its tables hold afterwards, and what is refused. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, test } from 'node:test'
import { inflateSync } from 'node:zlib'
import { type Coldtrail, ColdtrailError, type ErrorCode, open, parseConfig } from '../../src/index.ts'
import { type PlasoStorage, sampleStorage, writePlasoStorage } from '../support/plasoStorage.ts'
import { smallDisk } from '../support/smallDisk.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

interface Site {
  readonly root: string
  readonly file: string
  readonly coldtrail: Coldtrail
}

async function site(storage: PlasoStorage = sampleStorage()): Promise<Site> {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-plaso-'))
  undo.push(() => rmSync(root, { recursive: true, force: true }))
  const file = join(root, 'host.plaso')
  writePlasoStorage(file, storage)
  const settings = { data_dir: join(root, 'data'), collect: { processes: 1 } }
  const coldtrail = await open(parseConfig(JSON.stringify(settings), { file: 'coldtrail.yaml', environment: {} }))
  undo.push(() => coldtrail.close())
  await coldtrail.collect({ sources: [file] })
  return { root, file, coldtrail }
}

function tablesOf(path: string) {
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    const all = (table: string) => database.prepare(`select * from ${table} order by _identifier`).all()
    const text = (value: unknown): unknown => JSON.parse(inflateSync(value as Uint8Array).toString())
    return {
      tags: all('event_tag').map(({ _event_identifier, labels }) => [_event_identifier, JSON.parse(labels as string)]),
      counts: all('event_label_count').map(({ label, number_of_events }) => [label, number_of_events]),
      reports: all('analysis_report').map(({ _data }) => text(_data) as Record<string, unknown>),
      sessions: all('session'),
      intact: database.prepare('pragma integrity_check').get(),
    }
  } finally {
    database.close()
  }
}

const refused = (code: ErrorCode, pattern: RegExp) => (error: unknown) =>
  error instanceof ColdtrailError && error.code === code && pattern.test(error.message)

const RULES = `visited
  data_type is 'chrome:history:page_visited'
login
  data_type is 'syslog:line' AND message_body contains 'ONE'
`

test('labels join those of events and are counted anew; the original stays as it was', async () => {
  const { root, file, coldtrail } = await site()
  const before = createHash('sha256').update(readFileSync(file)).digest('hex')
  const rules = join(root, 'rules.txt')
  writeFileSync(rules, RULES)
  const { run } = await coldtrail.analysis.run({
    ...{ plugins: ['tagging', 'sessionize'], options: { tagging: { file: rules } }, workers: 1 },
    commandLine: 'coldtrail analyze --plugins tagging,sessionize',
  })
  const out = join(root, 'copy.plaso')
  const summary = await coldtrail.analysis.exportPlasoTags({ file, out })
  assert.deepEqual({ ...summary, out: '' }, { out: '', events: 5, labels: 6, reports: 2, runs: [run] })
  const { tags, counts, reports, sessions, intact } = tablesOf(out)
  assert.deepEqual(tags, [
    ['event.1', ['login', 'repeated', 'session_0']],
    ['event.5', ['repeated', 'session_0', 'visited']],
    ['event.2', ['session_0']],
    ['event.3', ['session_0']],
    ['event.4', ['session_0']],
  ])
  assert.deepEqual(counts, [
    ['login', 1],
    ['repeated', 2],
    ['session_0', 5],
    ['visited', 1],
    ['total', 9],
  ])
  assert.deepEqual(
    reports.map(({ plugin_name }) => plugin_name),
    ['tagging', 'tagging', 'sessionize'],
  )
  assert.equal((reports[1]!.analysis_counter as Record<string, number>).visited, 1)
  assert.equal(reports[1]!.__container_type__, 'analysis_report')
  assert.equal(sessions.length, 2)
  assert.equal(sessions[1]!.command_line_arguments, 'coldtrail analyze --plugins tagging,sessionize')
  assert.equal(sessions[1]!.product_name, 'coldtrail')
  assert.deepEqual({ ...intact }, { integrity_check: 'ok' })
  assert.equal(createHash('sha256').update(readFileSync(file)).digest('hex'), before)
  assert.deepEqual(
    readdirSync(root).filter((name) => name.endsWith('.tmp')),
    [],
  )

  // The copy is a timeline: it collects with the labels. Written once more, nothing is counted twice.
  const again = join(root, 'again.plaso')
  await coldtrail.collect({ sources: [out] })
  const twice = await coldtrail.analysis.exportPlasoTags({ file: out, out: again, run })
  assert.equal(twice.labels, 0)
  assert.deepEqual(tablesOf(again).counts, counts)
})

test('one run, and a file that has no tags yet', async () => {
  const { tables } = sampleStorage()
  const { event, event_data } = tables!
  const { root, file, coldtrail } = await site({ tables: { event: event!, event_data: event_data! } })
  await coldtrail.analysis.run({ plugins: ['sessionize'], workers: 1 })
  const { run } = await coldtrail.analysis.run({ plugins: ['unique_domains_visited'], workers: 1 })
  const out = join(root, 'copy.plaso')
  const summary = await coldtrail.analysis.exportPlasoTags({ file, out, run })
  assert.deepEqual([summary.labels, summary.runs], [0, [run]])
  assert.deepEqual(
    tablesOf(out).reports.map(({ plugin_name }) => plugin_name),
    ['unique_domains_visited'],
  )
  assert.deepEqual(tablesOf(out).counts, [])
})

test('what is refused, and leaves nothing behind', async () => {
  const { root, file, coldtrail } = await site()
  await coldtrail.analysis.run({ plugins: ['sessionize'], workers: 1 })
  const out = join(root, 'copy.plaso')
  const { analysis } = coldtrail
  await assert.rejects(analysis.exportPlasoTags({ file, out: file }), refused('E_USAGE', /place of the original/))
  const other = join(root, 'other.plaso')
  writePlasoStorage(other, { ...sampleStorage(), sql: 'create table more (a)' })
  await assert.rejects(
    analysis.exportPlasoTags({ file: other, out }),
    refused('E_TIMELINE_UNKNOWN', /no timeline with its bytes/),
  )
  await assert.rejects(analysis.exportPlasoTags({ file, out, run: 99 }), refused('E_RUN_UNKNOWN', /99/))
  await assert.rejects(analysis.exportPlasoTags({ file: join(root, 'none'), out }), refused('E_FILE_READ', /none/))
  const hostile: [string, PlasoStorage, RegExp][] = [
    [
      'trigger',
      { sql: 'create trigger t after insert on event_tag begin delete from event; end' },
      /"t" is declared|triggers/,
    ],
    ['elsewhere', { sql: 'create trigger t after insert on user_account begin delete from event; end' }, /triggers/],
    [
      'check',
      {
        sql: 'drop table event_label_count; create table event_label_count (_identifier integer primary key, label text, number_of_events integer check (length(hex(label)) > 0))',
      },
      /declared as plaso declares nothing/,
    ],
    [
      'columns',
      { sql: 'drop table event_tag; create table event_tag (_identifier integer primary key, _data blob)' },
      /no column _event_identifier/,
    ],
    ['format', { metadata: { format_version: '20230327' } }, /its format is 20230327/],
  ]
  const pathOf = (name: string): string => join(root, `${name}.plaso`)
  for (const [name, more] of hostile) writePlasoStorage(pathOf(name), { ...sampleStorage(), ...more })
  await coldtrail.collect({ sources: hostile.map(([name]) => pathOf(name)) })
  for (const [name, , pattern] of hostile) {
    const path = pathOf(name)
    await assert.rejects(analysis.exportPlasoTags({ file: path, out }), refused('E_TIMELINE_FILE', pattern), name)
  }
  assert.equal(existsSync(out), false)
  assert.deepEqual(
    readdirSync(root).filter((name) => name.endsWith('.tmp')),
    [],
  )
})

test('links to the original, under the name of the copy or of its unfinished form, do not lead to it', async () => {
  const { root, file, coldtrail } = await site()
  const before = readFileSync(file)
  await coldtrail.analysis.run({ plugins: ['sessionize'], workers: 1 })
  const place = (name: string): string => join(root, name)
  symlinkSync(file, place('a.plaso'))
  symlinkSync(file, place('b.plaso.tmp'))
  linkSync(file, place('c.plaso.tmp'))
  for (const name of ['a', 'b', 'c'])
    await assert.rejects(
      coldtrail.analysis.exportPlasoTags({ file, out: place(`${name}.plaso`) }),
      refused('E_USAGE', /place of the original/),
      name,
    )
  // A name that leads elsewhere is replaced by the copy; what it led to stays.
  const other = place('other')
  writeFileSync(other, 'of somebody else')
  symlinkSync(other, place('d.plaso'))
  await coldtrail.analysis.exportPlasoTags({ file, out: place('d.plaso') })
  assert.equal(readFileSync(other, 'utf8'), 'of somebody else')
  symlinkSync(other, place('e.plaso.tmp'))
  await assert.rejects(
    coldtrail.analysis.exportPlasoTags({ file, out: place('e.plaso') }),
    refused('E_FILE_WRITE', /e\.plaso/),
  )
  assert.equal(readFileSync(other, 'utf8'), 'of somebody else')
  assert.ok(readFileSync(file).equals(before))
})

test('a disk that has room for the timeline and not for its tags is said to be full', async (context) => {
  const { file, coldtrail } = await site()
  await coldtrail.analysis.run({ plugins: ['sessionize'], workers: 1 })
  const page = 4096
  for (const room of [page, statSync(file).size + page]) {
    const disk = smallDisk(Math.ceil(room / page) * page)
    if (typeof disk === 'string') return context.skip(disk)
    undo.push(disk.remove)
    await assert.rejects(
      coldtrail.analysis.exportPlasoTags({ file, out: join(disk.path, 'copy.plaso') }),
      refused('E_DISK_FULL', /copy\.plaso/),
    )
    assert.deepEqual(readdirSync(disk.path), [])
  }
})
