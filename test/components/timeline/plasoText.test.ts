/** plaso storage files as text: the formats of all years, and files that are damaged or mean ill. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import {
  type InflateLimit,
  MAX_CONTAINER_BYTES,
  PLASO_HEAD,
  plasoText,
} from '../../../src/components/timeline/plasoText.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import {
  data,
  dataText,
  type PlasoStorage,
  SHA256,
  sampleStorage,
  writePlasoStorage,
} from '../../support/plasoStorage.ts'

const folder = mkdtempSync(join(tmpdir(), 'coldtrail-plaso-'))
after(() => rmSync(folder, { recursive: true, force: true }))
let files = 0
const place = (): string => join(folder, `${files++}.plaso`)

type Line = Readonly<Record<string, unknown>>

/** A piece holds until the next one is asked for. */
function piecesOf(path: string, limit?: InflateLimit): string[] {
  const pieces: string[] = []
  for (const piece of plasoText(path, limit)) pieces.push(piece.toString())
  return pieces
}

const textOf = (path: string): string => piecesOf(path).join('')

function linesOf(storage: PlasoStorage): Line[] {
  const path = place()
  writePlasoStorage(path, storage)
  const text = textOf(path)
  assert.ok(text.startsWith(PLASO_HEAD))
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
}

const of = (lines: readonly Line[], container: string): Line[] =>
  lines.filter(({ __container_type__ }) => __container_type__ === container)

const refusal = (pattern: RegExp) => (error: unknown) =>
  error instanceof ColdtrailError && error.code === 'E_OBJECT_SQLITE' && pattern.test(error.message)

function refused(storage: PlasoStorage, pattern: RegExp): void {
  const path = place()
  writePlasoStorage(path, storage)
  assert.throws(() => textOf(path), refusal(pattern))
}

const sample = sampleStorage()
const withTables = (tables: PlasoStorage['tables']): PlasoStorage => ({
  ...sample,
  tables: { ...sample.tables, ...tables },
})

suite('what plaso writes today', () => {
  const lines = linesOf(sample)
  const events = of(lines, 'event')

  test('events, with the attributes of data and stream under their own names', () => {
    assert.equal(events.length, 5)
    const [first, second] = events
    assert.equal(first!._event_identifier, 'event.1')
    assert.equal(first!.timestamp, 1_688_990_556_000_001)
    assert.equal(first!.data_type, 'syslog:line')
    assert.equal(first!.sha256_hash, SHA256)
    assert.equal((first!.path_spec as Line).location, '/var/log/syslog')
    assert.equal(first!.file_entropy, '4.5')
    assert.equal('__type__' in first!, false)
    assert.equal('sha256_hash' in second!, false, 'it has no stream')
    assert.equal(second!.filename, '/home/alice/a.txt')
    assert.deepEqual((second!.date_time as Line).timestamp, 1_688_990_556)
  })

  test('labels, sessions, accounts, reports, warnings and counts', () => {
    assert.deepEqual(
      events.map(({ _event_tag }) => (_event_tag as { labels: string[] } | undefined)?.labels),
      [['login', 'repeated'], undefined, undefined, undefined, ['repeated']],
    )
    assert.equal(of(lines, 'session')[0]!.product_version, '20260702')
    assert.deepEqual(of(lines, 'session')[0]!.enabled_parser_names, ['filestat'])
    assert.deepEqual(
      of(lines, 'user_account').map(({ username }) => username),
      ['alice', 'bob'],
    )
    assert.equal((of(lines, 'analysis_report')[0]!.analysis_counter as Line).repeated, 2)
    assert.equal(of(lines, 'extraction_warning')[0]!.message, 'unable to open\u0007')
    const [counts] = of(lines, 'plaso_counts')
    assert.equal(counts!.tags_left_out, 0)
    assert.equal((counts!.rows as Line).event_source, 1)
  })
})

test('numbers and escapes stay as they are written: nanoseconds beyond 2^53, text beyond ASCII', () => {
  const text = dataText('event_data', { data_type: 'a:b', name: 'é\\u00e9' }).replace(
    '"a:b"',
    '"a:b", "big": 1783014478846326030',
  )
  const path = place()
  writePlasoStorage(path, withTables({ event_data: [{ _data: deflateSync(text) }] }))
  const written = textOf(path)
  assert.ok(written.includes('"big": 1783014478846326030'))
  assert.ok(written.includes('"name": "é\\\\u00e9"'))
})

test('uncompressed containers, as text and as bytes', () => {
  const metadata = { format_version: '20260516', compression_format: 'none', serialization_format: 'json' }
  const text = dataText('event_data', { data_type: 'a:b' })
  for (const _data of [text, Buffer.from(text)]) {
    const lines = linesOf({ ...withTables({ event_data: [{ _data }] }), metadata })
    assert.equal(of(lines, 'event')[0]!.data_type, 'a:b')
  }
})

suite('older storage', () => {
  const event = (row: number, timestamp: number, more: object = {}) => ({
    _timestamp: timestamp,
    _data: data('event', { _event_data_row_identifier: row, timestamp, timestamp_desc: 'Creation Time', ...more }),
  })
  const metadata = {
    format_version: '20190309',
    compression_format: 'zlib',
    serialization_format: 'json',
    storage_type: 'session',
  }
  const tables = {
    session_start: [{ _data: data('session_start', { identifier: 'x', product_version: '20190708', start_time: 1 }) }],
    event_data: [{ _data: data('event_data', { data_type: 'fs:stat', filename: '/a', sha256_hash: SHA256 }) }],
    event: [event(1, 1_500_000_000_000_000), event(1, 1_500_000_000_000_001, { timestamp_desc: 'Last Access Time' })],
    event_tag: [
      { _data: data('event_tag', { _event_row_identifier: 2, labels: ['later'] }) },
      { _data: data('event_tag', { event_row_identifier: 1, labels: ['first', 'Application Execution'] }) },
      { _data: data('event_tag', { labels: ['of nothing'] }) },
    ],
    extraction_error: [{ _data: data('extraction_error', { message: 'bad', parser_chain: 'p' }) }],
  }

  test('attributes as JSON in every table (2018 to 2021)', () => {
    const lines = linesOf({ metadata, tables })
    const events = of(lines, 'event')
    assert.deepEqual(
      events.map(({ timestamp, timestamp_desc }) => [timestamp, timestamp_desc]),
      [
        [1_500_000_000_000_000, 'Creation Time'],
        [1_500_000_000_000_001, 'Last Access Time'],
      ],
    )
    assert.equal(events[0]!.filename, '/a')
    assert.equal(events[0]!.sha256_hash, SHA256)
    assert.deepEqual(
      events.map(({ _event_tag }) => (_event_tag as { labels: string[] }).labels),
      [['first', 'Application Execution'], ['later']],
    )
    assert.equal(of(lines, 'session_start')[0]!.product_version, '20190708')
    assert.equal(of(lines, 'extraction_error')[0]!.message, 'bad')
    assert.equal(of(lines, 'plaso_counts')[0]!.tags_left_out, 1)
  })

  test('references by name, and streams as JSON (2021 to 2023)', () => {
    const lines = linesOf({
      metadata: { ...metadata, format_version: '20230327' },
      tables: {
        ...{ event_data_stream: [{ _data: data('event_data_stream', { sha256_hash: SHA256, md5_hash: 'aa' }) }] },
        event_data: [
          {
            _data: data('event_data', {
              data_type: 'x:y',
              _event_data_stream_identifier: 'event_data_stream.1',
              md5_hash: 'own',
            }),
          },
        ],
        event: [
          { _data: data('event', { _event_data_identifier: 'event_data.1', timestamp: 5, timestamp_desc: 'x' }) },
        ],
        event_tag: [
          { _event_identifier: 'event.1', labels: '["a"]' },
          { _event_identifier: 'event.1', labels: '["b"]' },
        ],
      },
    })
    const [event] = of(lines, 'event')
    assert.equal(event!.sha256_hash, SHA256)
    assert.equal(event!.md5_hash, 'aa', 'that of the stream comes first, as plaso looks for it')
    assert.deepEqual((event!._event_tag as { labels: string[] }).labels, ['a', 'b'])
  })

  test('event data whose attributes are columns', () => {
    const [event] = of(
      linesOf(withTables({ event_data: [{ data_type: 'a:b', inode: 5, yara_match: '["r"]', note: '[1' }] })),
      'event',
    )
    assert.deepEqual([event!.data_type, event!.inode, event!.yara_match, event!.note], ['a:b', 5, ['r'], '[1'])
  })
})

suite('what is refused', () => {
  test('SQLite of other programs, and formats that are not read, by name', () => {
    refused(
      { metadata: {}, tables: {}, sql: 'drop table metadata; create table moz_places (a)' },
      /no plaso storage file/,
    )
    refused({ metadata: { a: 'b' } }, /no plaso format version/)
    refused({ metadata: { format_version: '20160715' } }, /20160715 is older than 2018/)
    refused(
      { metadata: { format_version: '20260516', serialization_format: 'protobuf' } },
      /serialization format is protobuf/,
    )
    refused({ metadata: { format_version: '20260516', compression_format: 'lzma' } }, /compression format is lzma/)
    refused({ metadata: { format_version: '20260516', storage_type: 'task' } }, /storage of one task/)
    refused({ sql: 'create table event (a)' }, /no identifiers/)
  })

  test('what is no SQLite behind its first bytes, and files that were cut', () => {
    const path = place()
    writeFileSync(path, `SQLite format 3\0${'x'.repeat(5000)}`)
    assert.throws(() => textOf(path), refusal(/./))
    for (const size of [100, 4096, 5000]) {
      const cut = place()
      writePlasoStorage(cut, sample)
      truncateSync(cut, size)
      assert.throws(() => textOf(cut), refusal(/malformed|not a database|disk I\/O/), `${size} bytes`)
    }
  })

  test('identifiers that no table of plaso has', () => {
    refused(withTables({ event: [{ ...sample.tables!.event![0]!, _identifier: -5 }] }), /identifiers of event/)
    refused(withTables({ event: [{ ...sample.tables!.event![0]!, _identifier: 2n ** 60n }] }), /identifiers of event/)
  })
})

suite('files that mean ill', () => {
  test('containers that cannot be read become rejects that say why; their neighbours stay', () => {
    const bomb = deflateSync(Buffer.alloc(MAX_CONTAINER_BYTES + 1, 0x20))
    const bad = [
      [Buffer.from('not zlib'), /do not inflate/],
      [bomb, /inflate to more than/],
      [deflateSync('[1, 2]'), /no JSON object/],
      [deflateSync('{"a": "unclosed}'), /no JSON object/],
      [deflateSync('{"a": 1} {"__container_type__": "event"}'), /no JSON object/],
      [deflateSync(''), /no JSON object/],
      [null, /not there|no data/],
      [5, /no data/],
    ] as const
    const good = { _data: data('event_data', { data_type: 'a:b' }) }
    const lines = linesOf({
      tables: {
        event_data: [...bad.map(([_data]) => ({ _data })), good],
        event: [...bad, good, good].map((_, i) => ({ _event_data_identifier: `event_data.${i + 1}`, timestamp: i })),
      },
    })
    const rejects = of(lines, 'plaso_reject')
    assert.equal(rejects.length, bad.length + 1)
    for (const [i, [, pattern]] of bad.entries()) assert.match(rejects[i]!.reason as string, pattern)
    assert.match(rejects.at(-1)!.reason as string, /event 10: its data are not there/)
    assert.equal(of(lines, 'event').length, 1)
  })

  test('what inflates to very much and gives nothing but rejects is told by signs of life, and has an end', () => {
    const path = place()
    const blank = deflateSync(Buffer.alloc(MAX_CONTAINER_BYTES / 2, ' '))
    const reference = (i: number) => ({ _event_data_identifier: `event_data.${i}`, timestamp: 1, timestamp_desc: 'x' })
    const numbers = Array.from({ length: 12 }, (_, i) => i + 1)
    writePlasoStorage(path, {
      tables: { event_data: numbers.map(() => ({ _data: blank })), event: numbers.map(reference) },
    })
    const pieces = piecesOf(path)
    assert.ok(pieces.length >= 4, `${pieces.length} pieces`)
    const lines = pieces.join('').trimEnd().split('\n')
    assert.equal(lines.filter((line) => line.includes('no JSON object')).length, numbers.length)
    const error = new ColdtrailError('E_OBJECT_RATIO', { limit: 200, received: 1 })
    const limit = { bytes: numbers.length * (MAX_CONTAINER_BYTES / 2), error }
    assert.deepEqual(piecesOf(path, limit), pieces)
    assert.throws(() => piecesOf(path, { ...limit, bytes: limit.bytes - 1 }), error)
  })

  test('nested text is handed on without recursion', () => {
    const text = `{"data_type": "a:b", "deep": ${'['.repeat(1e6)}${']'.repeat(1e6)}}`
    const path = place()
    writePlasoStorage(path, withTables({ event_data: [{ _data: deflateSync(text) }] }))
    assert.ok(textOf(path).length > 2e6)
  })

  test('attributes of an event that its data or tags pretend to have', () => {
    const spoof = dataText('event_data', {
      ...{ data_type: 'a:b', timestamp: 1, timestamp_desc: 'no', date_time: 'x', _event_tag: { labels: ['x'] } },
      ...{ _event_identifier: 'event.99', a: 1 },
    })
    const [event] = of(linesOf(withTables({ event_data: [{ _data: deflateSync(spoof) }], event_tag: [] })), 'event')
    assert.equal(event!.timestamp, 1_688_990_556_000_001)
    assert.equal(event!._event_identifier, 'event.1')
    assert.equal('_event_tag' in event!, false)
    assert.equal(event!.a, 1)
  })

  test('columns of other types', () => {
    const odd = {
      _event_data_identifier: 'event_data.1',
      date_time: 'not json',
      timestamp: 'yesterday',
      timestamp_desc: 5,
    }
    const lines = linesOf(
      withTables({
        event: [odd, { ...odd, timestamp: 1.5 }, { ...odd, timestamp: null }, { ...odd, timestamp: 2n ** 62n }],
        user_account: [{ username: 2n ** 60n, full_name: Buffer.from('ab'), user_directory: 0.5 }],
      }),
    )
    assert.deepEqual(
      of(lines, 'event').map(({ timestamp }) => timestamp),
      ['yesterday', '1.5', undefined, 2 ** 62],
    )
    assert.equal(of(lines, 'event')[0]!.date_time, 'not json')
    assert.equal(of(lines, 'user_account')[0]!.full_name, 'YWI=')
  })

  test('long values of columns are cut, and end in …', () => {
    const [event] = of(
      linesOf(withTables({ event: [{ ...sample.tables!.event![0]!, timestamp_desc: 'x'.repeat(1e6) }] })),
      'event',
    )
    assert.equal(event!.timestamp_desc, `${'x'.repeat(1000)}…`)
  })

  test('views, virtual tables and computed columns are not looked at', () => {
    const endless = 'with recursive r(x) as (select 1 union all select x + 1 from r) select x as _identifier from r'
    const lines = linesOf({
      ...sample,
      tables: { event_data: sample.tables!.event_data!, event: sample.tables!.event! },
      sql: `create view session as ${endless};
        create view event_tag as ${endless};
        create table user_account (_identifier integer primary key, username text, x as (username || hex(username)));
        insert into user_account (username) values ('a');
        create trigger t after insert on event begin select 1; end`,
    })
    assert.equal(of(lines, 'event').length, 5)
    assert.equal(of(lines, 'session').length, 0)
    assert.deepEqual(Object.keys(of(lines, 'user_account')[0]!), ['__container_type__', '_identifier', 'username'])
  })

  test('tags of no event, without labels, or of another form are counted', () => {
    const tags = ['["a"]', '[]', '{"a": 1}', '[1]', 'x', `["${'y'.repeat(2000)}"]`].map((labels, i) => ({
      _event_identifier: `event.${i + 1}`,
      labels,
    }))
    const lines = linesOf(
      withTables({
        event_tag: [
          ...tags,
          { _event_identifier: 'event.77', labels: '["a"]' },
          { _event_identifier: 'event.0', labels: '["a"]' },
        ],
      }),
    )
    assert.equal(of(lines, 'plaso_counts')[0]!.tags_left_out, 7)
  })
})

test('damage anywhere ends in a refusal, or in lines that are JSON', () => {
  const path = place()
  writePlasoStorage(path, sample)
  const whole = readFileSync(path)
  const damaged = place()
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 40 }),
      (changes) => {
        const bytes = Buffer.from(whole)
        for (const [at, value] of changes) bytes[at] = value
        writeFileSync(damaged, bytes)
        try {
          for (const piece of plasoText(damaged)) assert.ok(piece.length > 0)
        } catch (error) {
          if (!(error instanceof ColdtrailError) || error.code !== 'E_OBJECT_SQLITE') throw error
        }
      },
    ),
    { numRuns: 300 },
  )
})
