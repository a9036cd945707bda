/** Events as psort puts them out: what came from psort goes out as it came; slices; hostile values; an oracle of fields. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { type Coldtrail, type EventRow, open, parseConfig, type TimelineRequest } from '../src/index.ts'
import { timelineOutput } from '../src/timelineOutput.ts'

const undo: (() => unknown)[] = []
after(async () => {
  for (const step of undo.reverse()) await step()
})

const L2T_HEADER =
  'date,time,timezone,MACB,source,sourcetype,type,user,host,short,desc,version,filename,inode,notes,format,extra'
const DYNAMIC_HEADER = 'datetime,timestamp_desc,source,source_long,message,parser,display_name,tag'
const asText = (text: string) => text

const json = (values: Record<string, unknown>) =>
  JSON.stringify({ __container_type__: 'event', __type__: 'AttributeContainer', ...values })

/** As psort writes them: sorted keys, blanks, ASCII; in the order of time and of the digest of the values. */
const JSON_LINES = [
  '{"__container_type__": "event", "__type__": "AttributeContainer", "_event_values_hash": "0a23456789abcdef0123456789abcdef", "body": "Accepted publickey for alice", "data_type": "syslog:line", "date_time": {"__class_name__": "TimeElements", "__type__": "DateTimeValues", "time_elements_tuple": [2015, 11, 18, 1, 15, 43]}, "display_name": "OS:/var/log/auth.log", "filename": "/var/log/auth.log", "hostname": "web-1", "inode": "15", "message": "[sshd, pid: 4711] Accepted publickey for alice", "parser": "text/syslog_traditional", "pathspec": {"__type__": "PathSpec", "location": "/var/log/auth.log", "type_indicator": "OS"}, "pid": 4711, "reporter": "sshd", "sha256_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "timestamp": 1447809343000000, "timestamp_desc": "Content Modification Time", "username": "alice"}',
  '{"__container_type__": "event", "__type__": "AttributeContainer", "_event_values_hash": "1a23456789abcdef0123456789abcdef", "data_type": "fs:stat", "date_time": {"__class_name__": "PosixTimeInNanoseconds", "__type__": "DateTimeValues", "timestamp": 1447809343955519754}, "display_name": "OS:/tmp/T\\u00fcr", "file_size": 12345678901234567890, "filename": "/tmp/T\\u00fcr", "inode": 12, "is_allocated": true, "message": "/tmp/T\\u00fcr Type: file", "parser": "filestat", "ratio": 1.5, "tag": {"__container_type__": "event_tag", "__type__": "AttributeContainer", "labels": ["seen_before", "exit1"]}, "timestamp": 1447809343955520, "timestamp_desc": "Creation Time"}',
  '{"__container_type__": "event", "__type__": "AttributeContainer", "_event_values_hash": "1a23456789abcdef0123456789abcdef", "data_type": "fs:stat", "date_time": {"__class_name__": "PosixTimeInNanoseconds", "__type__": "DateTimeValues", "timestamp": 1447809343955519754}, "display_name": "OS:/tmp/T\\u00fcr", "file_size": 12345678901234567890, "filename": "/tmp/T\\u00fcr", "inode": 12, "is_allocated": true, "message": "/tmp/T\\u00fcr Type: file", "parser": "filestat", "ratio": 1.5, "timestamp": 1447809343955520, "timestamp_desc": "Last Access Time"}',
  '{"__container_type__": "event", "__type__": "AttributeContainer", "_event_values_hash": "2a23456789abcdef0123456789abcdef", "data_type": "fs:stat", "date_time": {"__class_name__": "NotSet", "__type__": "DateTimeValues", "string": "Not set"}, "display_name": "TSK:/b", "filename": "/b", "inode": "-", "message": "/b Type: file", "parser": "filestat", "timestamp": 0, "timestamp_desc": "Not a time"}',
]
const L2T_LINES = [
  '11/18/2015,01:15:43,UTC,M...,LOG,System log,Content Modification Time,alice,web-1,[sshd pid: 4711] Accepted publickey for alice,[sshd pid: 4711] Accepted publickey for alice,2,OS:/var/log/auth.log,15,login,text/syslog_traditional,pid: 4711; reporter: sshd',
  '11/18/2015,01:20:00,UTC,MA.B,FILE,File stat,Content Modification Time; Creation Time; Last Access Time,-,web-1,/tmp/a Type: file,/tmp/a Type: file,2,TSK:/tmp/a,12-128-1,-,filestat,file_size: 0; md5_hash: d41d8cd98f00b204e9800998ecf8427e',
  '11/18/2015,01:20:00,UTC,.A..,WEBHIST,Chrome History,Last Visited Time,-,-,https://example.com/?q="x",https://example.com/?q="x" and more,2,-,-,seen_before exit1,sqlite/chrome,note: one; two; three; url: https://example.com/?q="x"',
  '00/00/0000,--:--:--,-,....,FILE,File stat,Not a time,-,-,/tmp/b,/tmp/b,2,OS:/tmp/b,-,-,filestat,',
]
const DYNAMIC_LINES = [
  '2015-11-18T01:15:43.000000+00:00,Content Modification Time,LOG,System log,[sshd pid: 4711] Accepted publickey for alice,text/syslog_traditional,OS:/var/log/auth.log,login exit1',
  '2015-11-18T01:15:43.955520+00:00,Creation Time,FILE,File stat,"a lone quote,filestat,OS:/tmp/a,-',
  '2015-11-18T01:15:43.955520+00:00,Creation Time,FILE,File stat,another "quote",filestat,OS:/tmp/a,-',
  '0000-00-00T00:00:00.000000+00:00,Not a time,FILE,File stat,no time,filestat,OS:/tmp/b,-',
]

/** One collection a file, all of one data directory. */
const collected = (async (): Promise<Coldtrail> => {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-output-'))
  undo.push(() => rmSync(root, { recursive: true, force: true }))
  const settings = { data_dir: join(root, 'data'), collect: { processes: 1 } }
  const coldtrail = await open(parseConfig(JSON.stringify(settings), { file: 'coldtrail.yaml', environment: {} }))
  undo.push(() => coldtrail.close())
  const files = {
    jsonl: JSON_LINES,
    l2t: [L2T_HEADER, ...L2T_LINES],
    dynamic: [DYNAMIC_HEADER, ...DYNAMIC_LINES],
  }
  for (const [name, lines] of Object.entries(files)) {
    const folder = join(root, name)
    mkdirSync(folder)
    writeFileSync(join(folder, 'timeline'), `${lines.join('\n')}\n`)
    const { rejects, failed } = await coldtrail.collect({ sources: [folder], collection: name })
    assert.deepEqual({ rejects, failed }, { rejects: 0, failed: 0 })
  }
  return coldtrail
})()

async function output(request: Omit<TimelineRequest, 'asText'>) {
  const { header, lines, counts, complete } = await (await collected).timelineOutput({ asText, ...request })
  const all = header === undefined ? [] : [header]
  for await (const line of lines) all.push(line)
  assert.equal(complete, true)
  return { lines: all, counts }
}

test('what psort wrote as json_line goes out as it came in', async () => {
  const { lines } = await output({ format: 'json_line', collection: 'jsonl' })
  assert.deepEqual(lines, JSON_LINES)
})

test('what psort wrote as l2tcsv goes out as it came in, its groups of times too', async () => {
  const { lines, counts } = await output({ format: 'l2tcsv', collection: 'l2t' })
  assert.deepEqual(lines, [L2T_HEADER, ...L2T_LINES])
  assert.deepEqual(counts, { events: 6, filtered: 0, inTimeSlice: 0, duplicates: 0, macbGrouped: 4 })
})

test('what psort wrote as dynamic goes out as it came in', async () => {
  const { lines } = await output({ format: 'dynamic', collection: 'dynamic' })
  assert.deepEqual(lines, [DYNAMIC_HEADER, ...DYNAMIC_LINES])
})

test('fields by name: of psort, attributes, columns, and what nobody knows', async () => {
  const fields = [
    'date',
    'time',
    'timezone',
    'macb',
    'user',
    'host',
    'filename',
    'inode',
    'reporter',
    'pid',
    'md5_hash',
    'file_hash',
    'nonsense',
  ]
  const { lines } = await output({
    format: 'dynamic',
    collection: 'jsonl',
    expression: "data_type == 'syslog:line'",
    fields,
    additionalFields: ['message_short'],
  })
  assert.deepEqual(lines, [
    `${fields.join(',')},message_short`,
    '2015-11-18,01:15:43,UTC,M...,alice,web-1,/var/log/auth.log,15,sshd,4711,-,' +
      '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08,-,[sshd  pid: 4711] Accepted publickey for alice',
  ])
})

test('a slice of time: minutes around an event, and how many are there for that', async () => {
  const time = 1_447_809_600e6
  const wide = await output({ format: 'dynamic', collection: 'l2t', slice: { time } })
  assert.equal(wide.lines.length, 1 + 5)
  assert.equal(wide.counts.inTimeSlice, 1)
  const narrow = await output({ format: 'dynamic', collection: 'l2t', slice: { time, minutes: 4 } })
  assert.equal(narrow.lines.length, 1 + 4)
  const matched = await output({ format: 'dynamic', collection: 'l2t', slice: { time }, expression: "user == 'alice'" })
  assert.equal(matched.lines.length, 1 + 1)
})

test('in the mode of the original the expression is its filter', async () => {
  const { lines } = await output({
    format: 'dynamic',
    collection: 'jsonl',
    expression: "reporter is 'sshd'",
    mode: 'plaso',
    slicer: { events: 1 },
    fields: ['message'],
  })
  assert.deepEqual(lines.slice(1), ['[sshd  pid: 4711] Accepted publickey for alice', '/tmp/Tür Type: file'])
})

// Without a store: rows that a search would give.

interface Sample {
  readonly time: number | null
  readonly data: string
  readonly matches?: boolean
}

/** A search over these events; an expression matches those that say so. */
function searchOver(samples: readonly Sample[]) {
  const rows = samples.map((sample, id) => ({ ...sample, id }))
  rows.sort((a, b) => (a.time ?? Number.POSITIVE_INFINITY) - (b.time ?? Number.POSITIVE_INFINITY) || a.id - b.id)
  return async ({ expression }: { expression?: string }) => {
    async function* found(): AsyncGenerator<EventRow> {
      for (const { id, time, data, matches } of rows) {
        if (expression && !matches) continue
        const { data_type, message, timestamp_desc } = JSON.parse(data)
        yield { id, time, data, data_type, message, timestamp_desc, 'session.format': 'plaso_json_line', tag: null }
      }
    }
    const explanation = { segments: 1, stages: [], opened: 1 }
    return { columns: [], rows: found(), complete: true, why: [], explanation }
  }
}

async function linesOver(samples: readonly Sample[], request: Omit<TimelineRequest, 'asText'>, text = asText) {
  const { lines, counts } = await timelineOutput(searchOver(samples), { asText: text, ...request })
  const all: string[] = []
  for await (const line of lines) all.push(line)
  return { lines: all, counts }
}

const sample = (time: number | null, message: string, more: Record<string, unknown> = {}): Sample => ({
  time,
  data: json({ data_type: 'test:entry', message, timestamp: time ?? 0, timestamp_desc: 'Start Time', ...more }),
})

test('events around matches are those that a plain reading finds', async () => {
  const events = fc.array(fc.record({ time: fc.option(fc.nat(20)), matches: fc.boolean() }), { maxLength: 30 })
  await fc.assert(
    fc.asyncProperty(events, fc.nat(4), async (given, size) => {
      const samples = given.map(({ time, matches }, i) => ({ ...sample(time, `m${i}`), matches }))
      const request = { format: 'json_line', expression: 'x', slicer: { events: size } } as const
      const { lines, counts } = await linesOver(samples, request)
      const sorted = samples
        .map((one, id) => ({ ...one, id, key: one.time ?? Number.POSITIVE_INFINITY }))
        .sort((a, b) => (a.key === b.key ? a.id - b.id : a.key - b.key))
      const near = sorted.filter((_, i) => sorted.some(({ matches }, j) => matches && Math.abs(i - j) <= size))
      const messages = (all: readonly string[]) => all.map((line) => JSON.parse(line).message as string).sort()
      assert.deepEqual(messages(lines), messages(near.map(({ data }) => data)))
      assert.equal(counts.filtered, samples.filter(({ matches }) => !matches).length)
      assert.equal(counts.inTimeSlice, near.filter(({ matches }) => !matches).length)
    }),
  )
})

test('defect 10: an event from before a match is put out with its own stream', async () => {
  const samples = [
    sample(1, 'before', { sha256_hash: 'aa', display_name: 'OS:/one' }),
    { ...sample(2, 'match', { sha256_hash: 'bb', display_name: 'OS:/two' }), matches: true },
  ]
  const request = {
    format: 'dynamic',
    fields: ['message', 'sha256_hash', 'display_name'],
    expression: 'x',
    slicer: {},
  } as const
  assert.deepEqual((await linesOver(samples, request)).lines, ['before,aa,OS:/one', 'match,bb,OS:/two'])
})

test('hostile values: no field ends its line, begins another one or moves a cursor', async () => {
  const evil = 'a,b\r\nc\u001b[31m\u0000\u2028d"e'
  const samples = [sample(1, evil, { display_name: evil, hostname: evil, note: evil })]
  for (const format of ['dynamic', 'l2tcsv'] as const) {
    const { lines } = await linesOver(samples, { format })
    assert.equal(lines.length, 1)
    assert.equal(lines[0]!.split(',').length, format === 'dynamic' ? 8 : 17)
    assert.doesNotMatch(lines[0]!, /[\x00-\x1f\x7f-\x9f\u2028\u2029]/)
  }
  const { lines } = await linesOver(samples, { format: 'json_line' })
  assert.match(lines[0]!, /^[ -~]+$/)
  assert.equal(JSON.parse(lines[0]!).message, evil)
})

test('names that every object has are names like others', async () => {
  const more = JSON.parse('{"__proto__": {"a": 1}, "constructor": "c", "toString": "t"}')
  const { lines } = await linesOver([sample(1, 'm', more)], {
    format: 'dynamic',
    fields: ['constructor', 'toString', 'valueOf'],
  })
  assert.deepEqual(lines, ['c,t,-'])
  const [line] = (await linesOver([sample(1, 'm', more)], { format: 'json_line' })).lines
  assert.match(line!, /"__proto__": \{"a": 1\}.*"constructor": "c".*"toString": "t"/)
})

test('a formula can be made text, and what stands for nothing is none', async () => {
  const seen: string[] = []
  const quote = (text: string) => {
    if (!/^[=+\-@]/.test(text)) return text
    seen.push(text)
    return `'${text}`
  }
  const samples = [sample(null, '=cmd()', { display_name: '-', hostname: '+1', inode: '@x' })]
  const { lines } = await linesOver(samples, { format: 'l2tcsv' }, quote)
  assert.deepEqual(lines, ["00/00/0000,--:--:--,-,.A..,N/A,N/A,Start Time,-,'+1,'=cmd(),'=cmd(),2,-,'@x,-,-,"])
  assert.deepEqual([...new Set(seen)].sort(), ['+1', '=cmd()', '@x'])
})

test('requests that contradict themselves are refused', async () => {
  const refused = (request: object, message: RegExp) =>
    assert.rejects(linesOver([], { format: 'l2tcsv', ...request } as never), { code: 'E_USAGE', message })
  await refused({ fields: ['a'] }, /dynamic/)
  await refused({ slice: { time: 1 }, slicer: {} }, /not of both/)
  await refused({ slice: { time: 1 }, from: 1 }, /range of time already/)
  await refused({ slicer: {} }, /expression/)
})
