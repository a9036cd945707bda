/**
 * The scanner against its oracle: `JSON.parse` and a plain walk over the object, value by value. Whatever the text, a
 * record is an event exactly when JSON.parse makes an object of it (and it is not nested too deeply), its columns are
 * those that the object gives, and the observables found are those of its strings.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { aws_cloudtrail } from '../../../src/components/formats/aws_cloudtrail.ts'
import { JsonObjectParser, MAX_RECORD_BYTES } from '../../../src/components/json/jsonObjectParser.ts'
import { MAX_DEPTH } from '../../../src/components/json/jsonScanner.ts'
import { compileTable, type JsonTableDeclaration } from '../../../src/components/json/jsonTable.ts'
import { COLUMN_INDEX } from '../../../src/core/columns.ts'
import { isIpText } from '../../../src/core/ipText.ts'
import { parseEpoch, parseIsoTime } from '../../../src/core/isoTime.ts'
import { formatFixtures } from '../../support/formatFixtures.ts'
import { mutated, seededRandom } from '../../support/random.ts'
import { keyedObservables, OPTIONS, parseWhole, RecordingSink } from '../../support/recordingSink.ts'

const SEED = 4_711

/** A table with every kind of path and transform, over names short enough to be met by chance. */
const DECLARATION: JsonTableDeclaration = {
  slots: {
    a: 'a',
    b: 'b',
    nested: 'o.a',
    deeper: 'o.p.a',
    whole: 'o',
    first: 'l[0].a',
    when: 't',
    number: 'n',
    port: 'port',
    address: 'ip',
    user: 'userName',
  },
  columns: [
    { column: 'message', from: ['a', 'nested', 'b'], as: 'text' },
    { column: 'resource_uid', from: ['deeper', 'first'], as: 'text' },
    { column: 'status', from: ['whole'], as: 'text' },
    { column: 'time', from: ['when'], as: 'time' },
    { column: 'traffic_bytes', from: ['number'], as: 'int' },
    { column: 'src_endpoint_port', from: ['port', 'number'], as: 'port' },
    { column: 'src_endpoint_ip', from: ['address', 'a'], as: 'ip' },
    { column: 'actor_user_name', from: ['user'], as: 'text' },
  ],
  finish(_, sink) {
    sink.slice(COLUMN_INDEX.get('data_type')!, TYPE, 0, TYPE.length)
    return undefined
  },
}
const TYPE = Buffer.from('test')
const table = compileTable(DECLARATION)

function scan(bytes: Buffer) {
  const sink = new RecordingSink()
  const parser = new JsonObjectParser(table, sink, { observe: true })
  parser.push(bytes)
  parser.end()
  sink.observables.flush()
  return { items: sink.items, observed: sink.observed, slow: parser.slowRecords }
}

// --- the oracle: nothing of it is shared with what it judges ---

type Reviver = (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown
const parseJson = JSON.parse as (text: string, reviver: Reviver) => unknown

class Digits {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

function parsed(text: string): unknown {
  let plain: unknown
  try {
    plain = JSON.parse(text)
  } catch {
    return undefined
  }
  // A reviver recurses; what is nested this deeply has no columns to compare.
  if (depthOf(text) > MAX_DEPTH) return plain
  return parseJson(text, (_, value, { source }) => (typeof value === 'number' ? new Digits(source!) : value))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Digits)
}

const own = (value: unknown, key: string) => (isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined)
const head = (value: unknown) => (Array.isArray(value) ? value[0] : undefined)

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value.toWellFormed()
  if (value instanceof Digits) return value.text
  return typeof value === 'boolean' ? String(value) : undefined
}

function expectedColumns(value: unknown): Record<string, string | number> {
  const o = own(value, 'o')
  const slots: Record<string, unknown> = {
    a: own(value, 'a'),
    b: own(value, 'b'),
    nested: own(o, 'a'),
    deeper: own(own(o, 'p'), 'a'),
    whole: o,
    first: own(head(own(value, 'l')), 'a'),
    when: own(value, 't'),
    number: own(value, 'n'),
    port: own(value, 'port'),
    address: own(value, 'ip'),
    user: own(value, 'userName'),
  }
  const columns: Record<string, string | number> = { data_type: 'test' }
  for (const { column, from, as } of DECLARATION.columns) {
    const values = from.map((slot) => converted(textOf(slots[slot]), as))
    const found = values.find((candidate) => candidate !== undefined)
    if (found !== undefined) columns[column] = found
  }
  return columns
}

function converted(text: string | undefined, as: string): string | number | undefined {
  if (text === undefined || text === '') return undefined
  const bytes = Buffer.from(text)
  if (as === 'text') return text
  if (as === 'ip') return isIpText(bytes, 0, bytes.length) ? text : undefined
  if (as === 'time') {
    const iso = parseIsoTime(bytes, 0, bytes.length)
    const time = Number.isNaN(iso) ? parseEpoch(text) : iso
    return Number.isNaN(time) ? undefined : time
  }
  if (!/^(0|-?[1-9]\d*)$/.test(text) || text.length > 15) return undefined
  const number = Number(text)
  return as === 'port' && (number < 0 || number > 65_535) ? undefined : number
}

/** Every string value of a JSON text, those of repeated keys too, found by its tokens; with its key's verdict. */
function stringsOf(text: string): Map<string, boolean> {
  const found = new Map<string, boolean>()
  const tokens = [...text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs)].map(([token]) => token)
  const user: boolean[] = []
  let isUser = false
  tokens.forEach((token, i) => {
    if (token === '{' || token === '[') {
      user.push(isUser)
      if (token === '{') isUser = false
    } else if (token === '}' || token === ']') isUser = user.pop()!
    else if (token.startsWith('"')) {
      const value = JSON.parse(token) as string
      if (tokens[i + 1] === ':') isUser = value.endsWith('userName')
      else found.set(value.toWellFormed(), isUser || (found.get(value.toWellFormed()) ?? false))
    }
  })
  return found
}

function observablesIn(text: string): Set<string> {
  return new Set([...stringsOf(text)].flatMap(([string, isUser]) => keyedObservables(string, isUser)))
}

function depthOf(text: string): number {
  let depth = 0
  let most = 0
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === '{' || token === '[') most = Math.max(most, ++depth)
    else if (token === '}' || token === ']') depth--
  }
  return most
}

/** Judges one text alone in its object. The text holds no line feed, so that it is one record or one line of damage. */
function judge(text: string): void {
  const bytes = Buffer.from(text)
  const { items, observed } = scan(bytes)
  const value = parsed(text)
  if (!isObject(value)) {
    const isRecord = items.some(({ kind, data }) => kind === 'event' && data.toString() === text)
    assert.ok(!isRecord, `accepted, unlike JSON.parse: ${text}`)
    return
  }
  assert.equal(items.length, 1, text)
  const [item] = items
  assert.equal(item!.data.toString(), text.trim(), text)
  if (depthOf(text) > MAX_DEPTH) {
    assert.equal(item!.kind === 'reject' && item!.reason, 'nested too deeply')
    return
  }
  assert.equal(item!.kind, 'event', `refused, unlike JSON.parse: ${text}`)
  if (item!.kind === 'event') assert.deepEqual(item!.columns, expectedColumns(value), text)
  assert.deepEqual([...observed].sort(), [...observablesIn(text)].sort(), text)
}

// --- arbitrary texts ---

const space = fc.constantFrom('', '', '', ' ', '\t', '\r ', '  ')
const escapedUnit = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'Z', '0', ' ', 'é', '日', '😀', '/', '\x7f', '\u2028', '.') },
  { weight: 2, arbitrary: fc.constantFrom('\\n', '\\"', '\\\\', '\\/', '\\u0041', '\\u0000', '\\ud83d\\ude00') },
  { weight: 1, arbitrary: fc.constantFrom('\\ud800', '\\udc00', '\\u00E9', '\\b', '\\f', '\\r', '\\t') },
)
const stringText = fc.array(escapedUnit, { maxLength: 12 }).map((units) => `"${units.join('')}"`)
const numberText = fc.oneof(
  fc.constantFrom('0', '-0', '1', '-1', '1.0', '1e3', '1E+2', '0.1e-7', '80', '65535', '65536', '1688989502'),
  fc.constantFrom('9007199254740993', '12345678901234567890', '1e400', '123456789012345', '1234567890123456'),
  fc.constantFrom('1688989502.123', '1688989502123', '-999999999999999', '1.50'),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
)
const keyText = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'o', 'p', 'l', 't', 'n', 'port', 'ip', 'userName', 'myuserName') },
  { weight: 1, arbitrary: fc.constantFrom('\\u0061', 'user\\u004eame', '', '__proto__', 'x'.repeat(200), 'aé') },
)
const key = fc.oneof({ weight: 9, arbitrary: keyText.map((name) => `"${name}"`) }, { weight: 1, arbitrary: stringText })
const wantedText = fc.constantFrom(
  '"192.0.2.1"',
  '"2001:db8::1"',
  '"2023-07-10T11:45:02Z"',
  '"443"',
  '"-"',
  '"0443"',
  '""',
  '"Bob"',
  '"192.0.2.1:443 and ec2.eu-west-1.amazonaws.com"',
  '"arn:aws:iam::123837392027:user/bob"',
  '"arn:aws:s3:::bucket/a.b.json, https://x.example.com/?q"',
  '"AKIAIOSFODNN7EXAMPLE"',
  '"d41d8cd98f00b204e9800998ecf8427e"',
  '"bob@example.com"',
  '"b\u00fccher.de"',
  '"b\\u00fccher.de \\/ AKIAIOSFODNN7EXAMPLE"',
  '"{\\"userName\\":\\"Eve\\",\\"ip\\":\\"198.51.100.7\\"}"',
)

const { object: objectText } = fc.letrec<{ value: string; object: string; array: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    stringText,
    wantedText,
    numberText,
    fc.constantFrom('true', 'false', 'null'),
    tie('object'),
    tie('array'),
  ),
  object: fc
    .array(fc.tuple(space, key, space, space, tie('value'), space), { maxLength: 8 })
    .map((members) => `{${members.map(([s, k, t, u, v, w]) => `${s}${k}${t}:${u}${v}${w}`).join(',')}}`),
  array: fc
    .array(fc.tuple(space, tie('value'), space), { maxLength: 4 })
    .map((values) => `[${values.map(([s, v, t]) => s + v + t).join(',')}]`),
}))

suite('the scanner and JSON.parse agree', () => {
  test('on generated objects', () => {
    fc.assert(fc.property(objectText, judge), { numRuns: 4000, seed: SEED })
  })

  test('on objects made by fast-check, as JSON.stringify writes them', () => {
    const anything = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.stringify(value))
    fc.assert(fc.property(anything, judge), { numRuns: 1000, seed: SEED })
  })

  test('on generated objects with damage', () => {
    const random = seededRandom(SEED)
    const damaged = objectText.map((text) => mutated(Buffer.from(text), random).bytes.toString().replaceAll('\n', ' '))
    // A damaged text that no longer begins as an object or an array of them is told by the suite of formats.
    fc.assert(
      fc.property(damaged, (text) => {
        if (/^[ \t\r]*\{/.test(text) && text.isWellFormed()) judge(text)
      }),
      { numRuns: 8000, seed: SEED },
    )
  })

  test('on what is nearly JSON', () => {
    const texts =
      '{a:1} {"a":1,} {"a"} {"a":} {,} {"a":01} {"a":1.} {"a":.5} {"a":+1} {"a":1e} {"a":0x1} {"a":NaN} {"a":tru} ' +
      '{"a":nulll} {"a":"\\x"} {"a":"\\u12"} {"a":"\\u12g4"} {"a":\'b\'} {"a":1 "b":2} {"a" 1} {"a"::1} {"a":[1,]} ' +
      '{"a":[,]} {"a":[1 2]} {"a":{]} {"a":[}} {"a":1}} {"a":-} {"a":--1} {"a":1e+} {"a":"\t"} {"a":"\x01"} {"a":"\0"} ' +
      '{"a":truefalse} {"a":true1} {} {"a":{}} {"a":[]} {"a":[[],{}]} {"a":-0.0e-0} {"o":{"a":1}x} {"l":[{"a":1}x]}'
    for (const text of texts.split(' ')) judge(text)
    for (const text of [
      '{"a":1 "b":2}',
      '{"a" 1}',
      '{"a":"raw\x1fcontrol"}',
      '{"a":\u00a01}',
      '\ufeff{"a":1} ',
      '{"a":1}\v',
    ])
      judge(text)
  })

  test('on repeated keys: the last one counts, whatever the first was', () => {
    const values = ['"x"', 'null', '1', 'true', '{"a":"n","p":{"a":"d"}}', '[{"a":"f"}]', '[]', '{}', '""', '"\\u0041"']
    for (const name of ['a', 'o', 'l', 'n', 'other'])
      for (const first of values)
        for (const second of values) {
          judge(`{"${name}":${first},"${name}":${second}}`)
          judge(`{"${name}":${first},"b":"between","${name}":${second},"ip":"::1"}`)
        }
  })

  test('on deep nesting', () => {
    for (const depth of [MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 5000]) {
      judge(`{"x":${'['.repeat(depth)}"in"${']'.repeat(depth)},"a":"after"}`)
      judge(`{"x":${'{"x":'.repeat(depth)}"in"${'}'.repeat(depth)},"a":"after"}`)
      judge(`{"l":${'[{"l":'.repeat(depth >> 1)}1${'}]'.repeat(depth >> 1)}}`)
    }
  })

  test('on many and long keys, which are not remembered', () => {
    for (const count of [3, 70, 500]) {
      const members = Array.from({ length: count }, (_, i) => `"k${i}":"v${i}","k${i}userName":"u${i}"`)
      for (let i = 0; i < 3; i++) judge(`{${members.join(',')},"a":"last","${'k'.repeat(300)}userName":"long"}`)
    }
  })

  test('when one scanner sees many different records', () => {
    // What is remembered of earlier records must never change what a later one gives.
    fc.assert(
      fc.property(fc.array(objectText, { minLength: 2, maxLength: 8 }), (texts) => {
        const { items } = scan(Buffer.from(texts.join('\n')))
        assert.equal(items.length, texts.length)
        items.forEach((item, i) => {
          assert.equal(item.kind, 'event')
          if (item.kind === 'event') assert.deepEqual(item.columns, expectedColumns(parsed(texts[i]!)))
        })
      }),
      { numRuns: 300, seed: SEED },
    )
  })
})

suite('records and the window that is scanned', () => {
  const WINDOW = 256 * 1024
  /** Text of about so many bytes for inside a record; whatever it is cut at must be read again whole. */
  const FILLERS: readonly ((random: (below: number) => number) => string)[] = [
    (random) => `${random(1e9)}${random(1e9)}`,
    () => '-12.75e+10',
    () => 'true',
    (random) => `"10.${random(200)}.${random(250)}.7"`,
    (random) => `"${'é日'.repeat(random(9))}\\u0041\\n${random(99)}"`,
    (random) => `{"x userName" : "user${random(50)}" , "k" : [ ] }`,
    (random) => `"arn:aws:iam::${random(1e9)}:user/u${random(1000)}"`,
  ]
  const recordText = (random: (below: number) => number, size: number): string => {
    const inner: string[] = []
    for (let length = 0; length < size; length += inner.at(-1)!.length + 1)
      inner.push(FILLERS[random(FILLERS.length)]!(random))
    return `{"a":"v${random(20)}","x":[${inner.join(',')}],"ip":"192.0.2.${random(250)}","n":${random(1e9)}}`
  }
  const fields = ({ items }: ReturnType<typeof scan>) =>
    items.map((item) => ({
      kind: item.kind,
      data: item.data.toString(),
      columns: item.kind === 'event' && item.columns,
    }))

  test('records of every size are alike alone and together, in one piece and in several', () => {
    for (let seed = 0; seed < 2; seed++) {
      const random = seededRandom(SEED + seed)
      const sizes = [10, 5000, WINDOW - 40 - random(80), WINDOW, 40_000, 2 * WINDOW - 100, 200]
      const texts = sizes.flatMap((size) => [recordText(random, size), recordText(random, random(900))])
      const alone = texts.map((text) => scan(Buffer.from(text)))
      const together = scan(Buffer.from(texts.join('\n')))
      assert.deepEqual(fields(together), alone.flatMap(fields))
      const everything = new Set(alone.flatMap(({ observed }) => [...observed]))
      assert.deepEqual([...together.observed].sort(), [...everything].sort())
      assert.ok(everything.size > 1000)
      const sink = new RecordingSink()
      const parser = new JsonObjectParser(table, sink, { observe: true })
      const bytes = Buffer.from(`[${texts.join(' ,\n')}]`)
      for (let at = 0; at < bytes.length; ) {
        const next = at + 1 + random(WINDOW)
        parser.push(bytes.subarray(at, next))
        at = next
      }
      parser.end()
      sink.observables.flush()
      const pieces = { items: sink.items, observed: sink.observed, slow: 0 }
      assert.deepEqual(fields(pieces), fields(together))
      assert.deepEqual([...sink.observed].sort(), [...everything].sort())
    }
  })

  test('a value that no record is ends where it ends, wherever the window does', () => {
    for (const shift of [-3, -2, -1, 0, 1, 2]) {
      const first = `{"a":"${'x'.repeat(WINDOW - 20 + shift)}"}`
      const { items } = scan(Buffer.from(`[${first},1234567890,"last"]`))
      assert.deepEqual(
        items.map(({ data }) => data.toString()),
        [first, '1234567890', '"last"'],
      )
      const number = `[${'1'.repeat(WINDOW + shift)},{"a":"after"}]`
      assert.deepEqual(
        scan(Buffer.from(number)).items.map(({ kind, data }) => [kind, data.length]),
        [
          ['reject', WINDOW + shift],
          ['event', 13],
        ],
      )
    }
  })

  test('what a sink does with a value never harms the record at hand', () => {
    // A user name of this length makes the module's memory grow in the middle of an event.
    const text = `{"userName":"${'U'.repeat(5000)}","a":"${'b.example.com '.repeat(80_000)}","ip":"192.0.2.9","n":7}`
    const sink = new (class extends RecordingSink {
      override slice(column: number, bytes: Buffer, start: number, end: number, id?: number): void {
        this.observables.user(bytes, start, end)
        this.observables.extract(bytes, start, end)
        super.slice(column, bytes, start, end, id)
      }
    })()
    const parser = new JsonObjectParser(table, sink, { observe: true })
    parser.push(Buffer.from(`${text}\n${text}\n{"a":"last"}`))
    parser.end()
    const columns = sink.items.map((item) => item.kind === 'event' && item.columns)
    assert.deepEqual(columns, [expectedColumns(parsed(text)), expectedColumns(parsed(text)), { ...LAST }])
  })
  const LAST = { data_type: 'test', message: 'last' }

  test('more strings than are remembered', () => {
    const random = seededRandom(SEED)
    const values = Array.from({ length: 70_000 }, (_, i) => (random(3) === 0 ? `again${random(2000)}` : `new${i}`))
    const texts = values.map((value, i) => `{"a":"${value}","userName":"${values[i >> 1]}","ip":"10.0.0.${i % 250}"}`)
    const { items, observed } = scan(Buffer.from(texts.join('\n')))
    assert.equal(items.length, values.length)
    items.forEach((item, i) => {
      assert.ok(item.kind === 'event')
      assert.equal(item.columns.message, values[i])
      assert.equal(item.columns.actor_user_name, values[i >> 1])
    })
    for (const value of values.slice(0, 3000))
      assert.ok(keyedObservables(value, true).every((found) => observed.has(found)))
  })

  test('two parsers by turns: each sink is told everything', () => {
    const random = seededRandom(SEED)
    const texts = Array.from({ length: 200 }, () => recordText(random, random(300)))
    const sinks = [new RecordingSink(), new RecordingSink()]
    const parsers = sinks.map((sink) => new JsonObjectParser(table, sink, { observe: true }))
    for (const text of texts) for (const parser of parsers) parser.push(Buffer.from(`${text}\n`))
    for (const parser of parsers) parser.end()
    for (const sink of sinks) sink.observables.flush()
    const expected = new Set(texts.flatMap((text) => [...observablesIn(text)]))
    for (const { items, observed } of sinks) {
      assert.equal(items.length, texts.length)
      assert.deepEqual([...observed].sort(), [...expected].sort())
    }
  })

  test('many tables live beside each other', () => {
    const many = Array.from({ length: 400 }, (_, i) =>
      compileTable({ ...DECLARATION, slots: { ...DECLARATION.slots, a: `a${i}` } }),
    )
    for (let round = 0; round < 2; round++)
      many.forEach((each, i) => {
        const sink = new RecordingSink()
        const parser = new JsonObjectParser(each, sink, { observe: false })
        parser.push(Buffer.from(`{"a${i}":"mine","a":"not mine","k${i}${round}":1}`))
        parser.end()
        assert.equal(sink.items[0]!.kind === 'event' && sink.items[0]!.columns.message, 'mine')
      })
  })
})

test('a record that needs JSON.parse is counted, and only such', () => {
  assert.equal(scan(Buffer.from('{"a":"x","n":1.5,"t":1688989502.5}')).slow, 0)
  assert.equal(scan(Buffer.from('{"a":"x\\n"}')).slow, 0)
  assert.equal(scan(Buffer.from('{"a":1,"a":2}')).slow, 1)
  assert.equal(scan(Buffer.from('{"\\u0061":1}')).slow, 1)
})

test('every fixture and, where present, every real record is scanned as JSON.parse reads it', () => {
  const random = seededRandom(SEED)
  for (const { key, bytes } of formatFixtures('aws_cloudtrail')) {
    for (const item of parseWhole(aws_cloudtrail, bytes).items) {
      const text = item.data.toString()
      if (item.kind === 'event') assert.ok(isObject(JSON.parse(text)), key)
      judge(text.replaceAll('\n', ' '))
      for (let i = 0; i < 20; i++) {
        const damaged = mutated(item.data, random).bytes.toString().replaceAll('\n', ' ')
        if (damaged.startsWith('{')) judge(damaged)
      }
    }
  }
})

const REAL = join(import.meta.dirname, '../../../../shared/data/cloudtrail/CloudTrail')
const absent = existsSync(REAL) ? false : 'no ../shared/data/cloudtrail here'

test('real CloudTrail files: an event for every record, with its bytes and the strings of the record', {
  skip: absent,
}, () => {
  const random = seededRandom(SEED)
  let events = 0
  for (const name of readdirSync(REAL)) {
    const bytes = readFileSync(join(REAL, name))
    const { Records } = JSON.parse(bytes.toString()) as { Records: Record<string, unknown>[] }
    const { items, observed } = parseWhole(aws_cloudtrail, bytes, OPTIONS)
    assert.equal(items.length, Records.length, name)
    items.forEach((item, i) => {
      const record = Records[i]!
      assert.equal(item.kind, 'event', name)
      if (item.kind !== 'event') return
      const text = item.data.toString()
      assert.deepEqual(JSON.parse(text), record)
      const identity = record.userIdentity as Record<string, unknown> | undefined
      assert.equal(item.columns.api_operation, record.eventName)
      assert.equal(item.columns.api_service_name, record.eventSource)
      assert.equal(item.columns.metadata_uid, record.eventID)
      assert.equal(item.columns.time, Date.parse(record.eventTime as string) * 1000)
      assert.equal(item.columns.cloud_region, record.awsRegion)
      assert.equal(item.columns.actor_user_type, identity?.type)
      assert.equal(item.columns.actor_user_credential_uid, identity?.accessKeyId)
      assert.equal(item.columns.status_code, record.errorCode)
      for (const found of observablesIn(text)) assert.ok(observed.has(found), `${found} of ${text} in ${name}`)
      if (random(50) === 0 && !text.includes('\n')) {
        judge(text)
        for (let n = 0; n < 5; n++) {
          const damaged = mutated(item.data, random).bytes.toString().replaceAll('\n', ' ')
          if (damaged.startsWith('{')) judge(damaged)
        }
      }
    })
    events += items.length
  }
  assert.ok(events > 1000, `${events} events`)
})

test('a record longer than allowed is a reject, however it arrives, and its neighbours stay', () => {
  const long = `{"a":["${'x'.repeat(1000)}"${`,"${'y'.repeat(1 << 20)}"`.repeat(65)}]}`
  assert.ok(long.length > MAX_RECORD_BYTES)
  const bytes = Buffer.from(`{"a":"before"}\n${long}\n{"a":"after"}\n`)
  for (const size of [bytes.length, 9 << 20]) {
    const seen: string[] = []
    const sink = new (class extends RecordingSink {
      override reject(_: Buffer, start: number, end: number, offset: number, reason: string): void {
        seen.push(`${end - start} at ${offset}: ${reason}`)
      }
    })()
    const parser = new JsonObjectParser(table, sink, { observe: false })
    for (let at = 0; at < bytes.length; at += size) parser.push(bytes.subarray(at, at + size))
    assert.deepEqual(parser.end(), { records: 3 })
    assert.deepEqual(seen, [`${MAX_RECORD_BYTES} at 15: longer than ${MAX_RECORD_BYTES} bytes`])
    const kept = sink.items.map((item) => item.data.toString())
    assert.deepEqual(kept, ['{"a":"before"}', '{"a":"after"}'])
  }
})

test('damage of any shape is passed over in time that grows with the object only', () => {
  const shapes = [
    '{{{\n',
    ' {"a":\n',
    '{"a":{"b":1}\n',
    '{"a":"x\n',
    '[\n',
    '{"a":[\n',
    '"\n',
    '{"a":1,\n',
    '}\n',
    '1 2 3\n',
    '{"a":x}',
  ]
  for (const shape of shapes) {
    const bytes = Buffer.from(shape.repeat(Math.ceil((3 << 20) / shape.length)))
    const start = process.cpuUsage()
    const sink = new RecordingSink()
    const parser = new JsonObjectParser(table, sink, { observe: false })
    for (let at = 0; at < bytes.length; at += 65_536) parser.push(bytes.subarray(at, at + 65_536))
    parser.end()
    const { user } = process.cpuUsage(start)
    // Quadratic, this took half a minute; it is a second at most.
    assert.ok(user < 10e6, `${JSON.stringify(shape)} took ${user / 1e6} s`)
    assert.equal(sink.items.filter(({ kind }) => kind === 'event').length, 0, shape)
  }
})
