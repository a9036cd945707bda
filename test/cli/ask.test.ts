/** The commands that ask: search, values, timeline, show, rejects, manifest query, keys, catalog rebuild. */
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
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
import { after, before, test } from 'node:test'
import { zstdDecompressSync } from 'node:zlib'
import { parquetReadObjects } from 'hyparquet'
import { jsonLines, runCommand } from './runColdtrail.ts'

/** Ten calls of alice and two of bob, minutes apart; the last one carries an escape sequence. */
const records = Array.from({ length: 12 }, (_, at) => ({
  eventVersion: '1.08',
  eventTime: `2026-03-10T11:${String(at * 5).padStart(2, '0')}:00Z`,
  eventName: at < 10 ? 'ListUsers' : 'CreateUser',
  eventSource: 'iam.amazonaws.com',
  eventID: `event-${at}`,
  userIdentity: { type: 'IAMUser', userName: at < 10 ? 'alice' : 'bob' },
  sourceIPAddress: at === 3 ? '198.51.100.23' : '10.0.0.7',
  requestParameters: { note: at === 11 ? '\u001b[2Jwiped' : 'plain', exact: 12345678901234567890n },
}))
const exact = (value: unknown): string =>
  JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? `#${inner}` : inner)).replace(/"#(\d+)"/g, '$1')

const home = mkdtempSync(join(tmpdir(), 'coldtrail-ask-'))
const ask = (...args: string[]) => runCommand(args, { cwd: home })
const lines = async (...args: string[]) => {
  const { status, stdout, stderr } = await ask(...args, '--json')
  assert.equal(status, 0, stderr)
  return jsonLines(stdout)
}

before(async () => {
  mkdirSync(join(home, 'logs'))
  writeFileSync(join(home, 'logs/trail.json'), `{"Records":[${records.map(exact).join(',')}]}`)
  const { status, stderr } = await ask('collect', 'logs')
  assert.equal(status, 0, stderr)
})
after(() => rmSync(home, { recursive: true, force: true }))

test('search --json gives every match with its id, and completeness on standard error', async () => {
  const { stdout, stderr } = await ask('search', "api.operation == 'CreateUser'", '--json')
  const found = jsonLines(stdout)
  assert.deepEqual(
    found.map(({ metadata_uid }) => metadata_uid),
    ['event-10', 'event-11'],
  )
  for (const { id, uid } of found) assert.ok(Number.isInteger(id) && /^[0-9a-f]{32}$/.test(String(uid)))
  assert.deepEqual(jsonLines(stderr), [{ type: 'completeness', complete: true, why: [] }])
  assert.equal(found[0]?.time, '2026-03-10T11:50:00Z')
})

test('search --count --json is one line', async () => {
  const { stdout } = await ask('search', "user == 'alice'", '--count', '--json')
  assert.equal(stdout, '{"count":10,"complete":true}\n')
})

test('limit, order, columns, range and CSV', async () => {
  const { stdout } = await ask(
    ...['search', '--order', '-time', '--limit', '2', '--columns', 'time,user,ip', '--format', 'csv'],
    ...['--to', '2026-03-10T11:20:00Z'],
  )
  const [head, ...rows] = stdout.trim().split('\n')
  assert.equal(head, 'time,actor_user_name,src_endpoint_ip')
  assert.deepEqual(rows, ['2026-03-10T11:20:00Z,alice,10.0.0.7', '2026-03-10T11:15:00Z,alice,198.51.100.23'])
  assert.equal((await lines('search', '--limit', '0')).length, 12, '0 gives all, as everywhere')
  assert.match((await ask('search', 'user', '==', "'alice'")).stderr, /Expected 1 argument but got 3.* quote it/)
})

test('CSV holds what was logged, formulas too, and says so; --spreadsheet makes them text', async () => {
  const begins = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', '\uff1d1', 'a=1', ' =1', '']
  const input = begins
    .map((user, at) => `${JSON.stringify({ time: `2026-03-10T00:00:0${at}Z`, user: user === '' ? 'x' : user })}\n`)
    .join('')
  await runCommand(['collect', '-', '--data-dir', 'formulas'], { cwd: home, input })
  const csv = (...args: string[]) =>
    ask(
      'search',
      '--format',
      'csv',
      '--columns',
      'user,ordinal',
      '--data-dir',
      'formulas',
      '--log-level',
      'warn',
      ...args,
    )
  const plain = await csv()
  const expected = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '"\r=1"', '\uff1d1', 'a=1', ' =1', 'x']
  const written = (cells: string[]) => `actor_user_name,ordinal\n${cells.map((cell, at) => `${cell},${at}\n`).join('')}`
  assert.equal(plain.stdout, written(expected))
  const [warning] = jsonLines(plain.stderr)
  assert.deepEqual([warning?.level, warning?.values], ['warn', 7])
  const safe = await csv('--spreadsheet')
  const text = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", `"'\r=1"`, "'\uff1d1", 'a=1', ' =1', 'x']
  assert.deepEqual([safe.stdout, safe.stderr], [written(text), ''])
  assert.equal((await ask('search', '--spreadsheet', '--format', 'json', '--data-dir', 'formulas')).status, 2)
  const file = await csv('--spreadsheet', '--out', 'formulas.csv')
  assert.equal(file.status, 0, file.stderr)
  assert.equal(readFileSync(join(home, 'formulas.csv'), 'utf8'), written(text))
})

test('outputs of psort: fields, events around matches, slices, and what does not go together', async () => {
  const around = await ask(
    ...[
      'search',
      "user == 'bob'",
      '--output-format',
      'dynamic',
      '--fields',
      'datetime,user',
      '--slicer',
      '--slice-size',
      '1',
    ],
  )
  assert.equal(around.status, 0, around.stderr)
  assert.equal(
    around.stdout,
    'datetime,user\n2026-03-10T11:45:00.000000+00:00,alice\n' +
      '2026-03-10T11:50:00.000000+00:00,bob\n2026-03-10T11:55:00.000000+00:00,bob\n',
  )
  const slice = ['--slice', '2026-03-10T11:10:00Z', '--out', 'slice.csv']
  const file = await ask('search', '--output-format', 'l2tcsv', ...slice)
  assert.equal(file.status, 0, file.stderr)
  assert.match(file.stderr, /3 events, 2 of them in the slice: 0 left out as repeats/)
  const written = readFileSync(join(home, 'slice.csv'), 'utf8').split('\n')
  assert.deepEqual([written.length, written[1]!.slice(0, 23)], [5, '03/10/2026,11:05:00,UTC'])
  for (const [message, ...mistake] of [
    ['--fields needs --output-format', '--fields', 'a'],
    ['--count is not for --output-format', '--output-format', 'json_line', '--count'],
    ['Fields can be chosen for dynamic', '--output-format', 'l2tcsv', '--fields', 'a'],
    ['in order of time', '--output-format', 'l2tcsv', '--order', 'id'],
    ['--slice-size is for', '--output-format', 'l2tcsv', '--slice-size', '3'],
  ] as const) {
    const { status, stderr } = await ask('search', ...mistake)
    assert.equal(status, 2, message)
    assert.ok(stderr.includes(message), stderr)
  }
})

test('an expression that contradicts itself or the times is said to, and not silently empty', async () => {
  for (const question of [
    ["user == 'bob' and user == 'alice'"],
    ["time > '2027-01-01' and time < '2026-01-01'", '--mode', 'plaso'],
    ["time > '2027-01-01'", '--to', '2026-12-31', '--output-format', 'json_line'],
  ]) {
    const { status, stdout, stderr } = await ask('search', ...question, '--json')
    assert.deepEqual([status, stdout], [0, ''], stderr)
    const [warning] = jsonLines(stderr)
    assert.equal(warning?.message, 'nothing can match this expression')
    assert.equal(typeof warning?.reason, 'string')
  }
})

test('a Parquet file that others read', async () => {
  const { status, stderr } = await ask('search', "user == 'bob'", '--out', 'bob.parquet')
  assert.equal(status, 0, stderr)
  const bytes = readFileSync(join(home, 'bob.parquet'))
  const rows = await parquetReadObjects({
    file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
    compressors: { ZSTD: (input) => zstdDecompressSync(input) },
  })
  assert.deepEqual(
    rows.map((row) => row.metadata_uid),
    ['event-10', 'event-11'],
  )
  assert.equal((rows[0]!.time as Date).toISOString(), '2026-03-10T11:50:00.000Z')
})

test('plaso mode answers as the filter of psort does', async () => {
  const found = await lines('search', "data_type contains 'cloudtrail'", '--mode', 'plaso', '--limit', '3')
  assert.equal(found.length, 3)
  assert.equal((await ask('search', "data_type contains 'x'", '--mode', 'plaso', '--count')).status, 2)
})

test('in plaso mode a record that draws a regular expression out for ages is passed over, and told', async () => {
  const slow = { time: '2026-03-10T00:00:00Z', user: `${'a'.repeat(60)}!` }
  const quick = { time: '2026-03-10T00:00:01Z', user: 'aaab' }
  const input = `${JSON.stringify(slow)}\n${JSON.stringify(quick)}\n`
  await runCommand(['collect', '-', '--data-dir', 'slow'], { cwd: home, input })
  const question = "actor_user_name iregexp '^(a+)+b$'"
  const { status, stdout, stderr } = await ask('search', question, '--mode', 'plaso', '--json', '--data-dir', 'slow')
  assert.equal(status, 0, stderr)
  assert.deepEqual(
    jsonLines(stdout).map(({ actor_user_name }) => actor_user_name),
    ['aaab'],
  )
  const { complete, why } = jsonLines(stderr)[0] as { complete: boolean; why: { reason: string; count: number }[] }
  assert.deepEqual([complete, why[0]?.reason, why[0]?.count], [false, 'undecided', 1])
})

test('a table cannot steer the terminal, and an expression fault points at its column', async () => {
  const { stdout } = await ask('search', '--columns', 'id,data')
  assert.doesNotMatch(stdout, /\u001b/)
  const { status, stderr } = await ask('search', "usr == 'bob'")
  assert.equal(status, 2)
  assert.match(stderr, /user/)
})

test('values counts, most frequent first', async () => {
  const values = await lines('values', 'user')
  assert.deepEqual(
    values.map(({ value, count }) => [value, count]),
    [
      ['alice', 10],
      ['bob', 2],
    ],
  )
  assert.equal(values[1]?.first, '2026-03-10T11:50:00Z')
  const narrowed = await lines('values', 'src_endpoint.ip', "user == 'alice'", '--limit', '1')
  assert.deepEqual(
    narrowed.map(({ value, count }) => [value, count]),
    [['10.0.0.7', 9]],
  )
})

test('timeline counts per interval', async () => {
  const bins = await lines('timeline', '--interval', '30m')
  assert.deepEqual(bins, [
    { time: '2026-03-10T11:00:00Z', count: 6 },
    { time: '2026-03-10T11:30:00Z', count: 6 },
  ])
  assert.match((await ask('timeline', '--interval', '30m')).stdout, /^2026-03-10 11:00:00 {2}6 {2}█+\n/)
  assert.equal((await ask('timeline', '--interval', 'soon')).status, 2)
})

test('show gives an event by id and uid, and --raw the bytes as they came', async () => {
  const [event] = await lines('search', "metadata_uid == 'event-11'")
  const raw = await ask('show', String(event!.id), '--raw')
  assert.equal(raw.stdout, exact(records[11]))
  const [shown] = await lines('show', String(event!.uid))
  assert.equal(shown?.id, event!.id)
  assert.equal((shown!.session as { key: string }).key, 'trail.json')
  const missing = await ask('show', '999999999')
  assert.notEqual(missing.status, 0)
  assert.match(missing.stderr, /E_EVENT_UNKNOWN/)
})

test('manifest query prints the records of the original', async () => {
  const range = ['--time1', '2026-03-10 11:00:00', '--time2', '2026-03-10 12:00:00', '--time-format', 'simple']
  const { stdout } = await ask('manifest', 'query', ...range)
  const printed = stdout.trim().split('\n')
  assert.ok(printed.length >= 4)
  for (const line of printed) assert.match(line, /^\[ filename=\S+ size=\d+ fileTime="\d{4}-[A-Z][a-z]{2}-\d\d .* \]$/)
  const single = await ask('manifest', 'query', ...range, '--separator', 'space')
  assert.equal(single.stdout, `${printed.join(' ')}\n`)
  assert.equal((await ask('manifest', 'query', '--time1', '2027-01-01')).stdout, '')
  assert.equal((await ask('manifest', 'query', '--time1', 'now', '--time2', '-1d')).status, 2)
})

test('rejects are listed with place and reason, and make an answer incomplete', async () => {
  const other = join(home, 'other')
  mkdirSync(other)
  writeFileSync(join(other, 'mixed.json'), '{"time":"2026-03-10T00:00:00Z","user":"carol"}\nnot json\n')
  await ask('collect', 'other', '--data-dir', 'rejecting')
  const found = await lines('rejects', '--data-dir', 'rejecting')
  assert.deepEqual(
    found.map(({ type, key, data }) => [type, key, data]),
    [['reject', 'mixed.json', 'not json']],
  )
  const counted = await lines('search', '--count', '--data-dir', 'rejecting')
  assert.deepEqual([counted[0]?.count, counted[0]?.complete], [1, false])
  const strict = await ask('search', '--count', '--require-complete', '--data-dir', 'rejecting')
  assert.equal(strict.status, 7)
})

test('a lost catalog is rebuilt, and nothing is collected twice', async () => {
  cpSync(join(home, 'coldtrail-data'), join(home, 'moved'), { recursive: true })
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(home, `moved/catalog.db${suffix}`), { force: true })
  const lost = await ask('search', '--count', '--data-dir', 'moved')
  assert.equal(lost.status, 6)
  assert.match(lost.stderr, /catalog rebuild/)
  assert.equal((await ask('catalog', 'rebuild', '--data-dir', 'moved')).status, 0)
  assert.equal((await lines('search', '--count', '--data-dir', 'moved'))[0]?.count, 12)
  assert.equal((await lines('collect', 'logs', '--data-dir', 'moved')).at(-1)?.objects, 0)
})

test('a data directory that is not there is an error, not an empty answer', async () => {
  const { status, stderr } = await ask('search', '--count', '--data-dir', 'nowhere')
  assert.equal(status, 2)
  assert.match(stderr, /E_DATA_MISSING/)
  assert.equal(existsSync(join(home, 'nowhere')), false)
})

test('a directory without data, a disk that is not mounted say, is an error, and nothing is made in it', async () => {
  const empty = join(home, 'empty')
  mkdirSync(empty)
  for (const args of [
    ['search'],
    ['hunt', '198.51.100.7'],
    ['verify'],
    ['manifest', 'query'],
    ['tier', 'status'],
    ['keys', 'list'],
    ['library', 'list'],
  ]) {
    const { status, stdout, stderr } = await ask(...args, '--data-dir', 'empty')
    assert.deepEqual([status, stdout, /E_DATA_MISSING/.test(stderr)], [2, '', true], args.join(' '))
  }
  assert.equal((await ask('doctor', '--data-dir', 'empty')).status, 0)
  assert.deepEqual(readdirSync(empty), [])
})

test('a collection that is not there is an error, not an empty answer', async () => {
  for (const args of [
    ['search'],
    ['values', 'user'],
    ['timeline'],
    ['show', '1'],
    ['rejects'],
    ['search', '--count'],
    ['manifest', 'query'],
    ['verify'],
  ]) {
    for (const name of ['mian', '../main', '']) {
      const { status, stderr } = await ask(...args, '--collection', name)
      assert.deepEqual([status, /E_COLLECTION_UNKNOWN[\s\S]*: main\./.test(stderr)], [2, true], args.join(' '))
    }
  }
  assert.equal((await ask('verify', '--collection', 'main')).status, 0)
  assert.match((await ask('manifest', 'query', '--collection', 'main')).stdout, /filename=/)
  assert.equal((await ask('search', '--collection', 'main', '--count')).stdout, '12\n')
})

test('neither manifests nor keys are looked for in a data directory that is not there', async () => {
  for (const args of [
    ['manifest', 'query'],
    ['keys', 'list'],
  ]) {
    for (const place of ['nowhere', 'logs/trail.json']) {
      const { status, stderr } = await ask(...args, '--data-dir', place)
      assert.deepEqual([status, /E_DATA_MISSING/.test(stderr)], [2, true], `${args} ${place}`)
    }
  }
})

test('an output that cannot be written is named, and a device stays what it is', async () => {
  for (const out of ['no/such/folder.csv', 'no/such/folder.parquet']) {
    const { status, stderr } = await ask('search', '--out', out)
    assert.deepEqual([status, /E_FILE_WRITE/.test(stderr)], [6, true], stderr)
  }
  symlinkSync('/dev/null', join(home, 'null.parquet'))
  assert.equal((await ask('search', '--out', 'null.parquet')).status, 6)
  assert.ok(lstatSync(join(home, 'null.parquet')).isSymbolicLink())
  assert.equal((await ask('search', '--format', 'csv', '--out', '/dev/null')).status, 0)
  assert.equal((await ask('search', '--count', '--out', 'a.csv')).status, 2)
})

test('keyset keys are listed without secrets, exported once with mode 0600, and imported', async () => {
  const [key] = await lines('keys', 'list')
  assert.deepEqual(Object.keys(key!), ['epoch', 'id'])
  const epoch = String(key!.epoch)
  assert.equal((await ask('keys', 'export', epoch, 'k.key')).status, 0)
  assert.equal(statSync(join(home, 'k.key')).mode & 0o777, 0o600)
  assert.notEqual((await ask('keys', 'export', epoch, 'k.key')).status, 0)
  mkdirSync(join(home, 'fresh'))
  assert.equal((await ask('keys', 'import', 'k.key', '--data-dir', 'fresh')).status, 0)
  assert.deepEqual(await lines('keys', 'list', '--data-dir', 'fresh'), [key])
})
