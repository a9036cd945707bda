/** What one column makes of one value, and what becomes of values that do not fit. The tables' own suite is tables.test.ts. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { compileRow, MAX_VALUE_BYTES, type RowOptions } from '../../../src/components/rows/rowEncoder.ts'
import type { ColumnType, Table, TableColumn } from '../../../src/components/rows/table.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import type { OutgoingEvent } from '../../../src/core/outgoingEvent.ts'
import { bothWays, outgoingEvents, TextWriter } from '../../support/tableFixtures.ts'

const SEED = 20_230_710
const TIME: TableColumn = { name: 'TimeGenerated', type: 'datetime', from: [{ event: 'time' }] }

function tableOf(...columns: TableColumn[]): Table {
  const all = columns.map((column) => ({ ...column, added: true as const }))
  return { kind: 'table', name: 'Test_CL', summary: '', where: '', columns: [TIME, ...all] }
}
const column = (type: ColumnType, extra: Partial<TableColumn> = {}): TableColumn => ({
  name: 'V',
  type,
  from: [{ data: 'v' }],
  ...extra,
})

function eventOf(data: string, extra: Partial<OutgoingEvent> = {}): OutgoingEvent {
  const session = { source: 's', bucket: '', key: 'k', version: '1', format: 'json_lines', header: null }
  const event = { id: 1, uid: '0'.repeat(32), time: 0, dataType: 'json:line', data: Buffer.from(data), session }
  return { ...event, column: () => null, ...extra }
}

/** The text of the column V, or the reason why the event is refused. */
function encodedValue(declared: TableColumn, event: OutgoingEvent, options: RowOptions = {}): string | undefined {
  const results = (['scan', 'parse'] as const).map((way) => {
    const out = new TextWriter()
    const encoded = compileRow(tableOf(declared), { ...options, way }).encode(event, out)
    if (encoded && 'refused' in encoded) {
      assert.equal(out.toString(), '')
      return encoded.refused
    }
    JSON.parse(out.toString())
    const value = /^\{"TimeGenerated":"1970-01-01T00:00:00\.000000Z"(?:,"V":(.*))?\}$/s.exec(out.toString())![1]
    return encoded ? `${value ?? ''} (${encoded.notes.join()})` : value
  })
  assert.deepEqual(...(results.map(parsed) as [unknown, unknown]))
  return results[0]
}

/** By JSON.parse an escape is written as the character it stands for. */
function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text!)
  } catch {
    return text
  }
}

suite('values by type', () => {
  const INT = 'V: beyond the range of int'
  const LONG = 'V: beyond the range of long'
  const cases: readonly [ColumnType, string, string | undefined][] = [
    ['string', '"text"', '"text"'],
    ['string', '""', '""'],
    ['string', 'null', undefined],
    ['string', '1.50', '"1.50"'],
    ['string', 'true', '"true"'],
    ['string', '{ "a" : [ 1 , "x y" ] }', '"{\\"a\\":[1,\\"x y\\"]}"'],
    ['string', '"\\ud800"', 'V: half of a surrogate pair'],
    ['int', '1', '1'],
    ['int', '-2147483648', '-2147483648'],
    ['int', '2147483647', '2147483647'],
    ['int', '2147483648', INT],
    ['int', '-2147483649', INT],
    ['int', '"42"', '42'],
    ['int', '"0042"', '42'],
    ['int', '-0', '0'],
    ['int', '1e3', '1000'],
    ['int', '1.0', '1'],
    ['int', '1.5', 'V: no integer'],
    ['int', '1e400', 'V: no integer'],
    ['int', '""', 'V: no integer'],
    ['int', '"-"', 'V: no integer'],
    ['int', '"NaN"', 'V: no integer'],
    ['int', '"0x10"', 'V: no integer'],
    ['int', 'true', 'V: no integer'],
    ['int', '[1]', 'V: no integer'],
    ['int', '"\\u0034\\u0032"', '42'],
    ['long', '9007199254740993', '9007199254740993'],
    ['long', '9223372036854775807', '9223372036854775807'],
    ['long', '-9223372036854775808', '-9223372036854775808'],
    ['long', '9223372036854775808', LONG],
    ['long', '"99999999999999999999999999"', LONG],
    ['real', '1.50', '1.50'],
    ['real', '-1e-7', '-1e-7'],
    ['real', '1e999', 'V: beyond the range of real'],
    ['real', '"2.5"', '2.5'],
    ['real', '"Infinity"', 'V: no number'],
    ['real', '".5"', 'V: no number'],
    ['real', 'false', 'V: no number'],
    ['boolean', 'true', 'true'],
    ['boolean', '"False"', 'false'],
    ['boolean', '"TRUE"', 'true'],
    ['boolean', '1', 'V: no boolean'],
    ['boolean', '"yes"', 'V: no boolean'],
    ['boolean', '{}', 'V: no boolean'],
    ['datetime', '"2023-07-10T11:42:31Z"', '"2023-07-10T11:42:31Z"'],
    ['datetime', '"2023-07-10T11:42:31.1234567Z"', '"2023-07-10T11:42:31.1234567Z"'],
    ['datetime', '"2023-07-10T11:42:31.123456789Z"', '"2023-07-10T11:42:31.123456Z"'],
    ['datetime', '"2023-07-10 11:42:31"', '"2023-07-10T11:42:31.000000Z"'],
    ['datetime', '"2023-07-10T11:42:31+02:00"', '"2023-07-10T09:42:31.000000Z"'],
    ['datetime', '"2016-12-31T23:59:60Z"', '"2016-12-31T23:59:59.000000Z"'],
    ['datetime', '"20131102T010628Z"', '"2013-11-02T01:06:28.000000Z"'],
    ['datetime', '1688989502', '"2023-07-10T11:45:02.000000Z"'],
    ['datetime', '1688989502123', '"2023-07-10T11:45:02.123000Z"'],
    ['datetime', '"9999-12-31T23:59:59-01:00"', 'V: no datetime'],
    ['datetime', '"0001-01-01T00:00:00+01:00"', 'V: no datetime'],
    ['datetime', '"2023-13-10T11:42:31Z"', 'V: no datetime'],
    ['datetime', '""', 'V: no datetime'],
    ['datetime', '"noon"', 'V: no datetime'],
    ['datetime', 'true', 'V: no datetime'],
    ['dynamic', '{ "a" : [ 1E2 , null ] }', '{"a":[1E2,null]}'],
    ['dynamic', '"\\u00e9"', '"\\u00e9"'],
    ['dynamic', '7', '7'],
    ['dynamic', 'false', 'false'],
    ['dynamic', '{"\\udc00":1}', 'V: half of a surrogate pair'],
  ]
  for (const [type, json, expected] of cases)
    test(`${type} of ${json}`, () => {
      const value = encodedValue(column(type), eventOf(`{"v":${json}}`))
      assert.equal(value, expected)
    })

  test('every time of an event that a calendar has', () => {
    const time = (micros: number | null) => {
      const out = new TextWriter()
      const told = compileRow(tableOf()).encode(eventOf('x', { time: micros }), out)
      return [out.toString(), told]
    }
    assert.deepEqual(time(null), ['{}', { notes: ['TimeGenerated left out: the event has no time'] }])
    fc.assert(
      fc.property(fc.integer({ min: -62_135_596_800, max: 253_402_300_799 }), fc.nat(999_999), (seconds, micros) => {
        // Beyond a number's exact range only whole seconds are kept.
        const exact = Math.abs(seconds) < 9e9 ? micros : 0
        const fraction = String(exact).padStart(6, '0')
        const expected = `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`
        assert.deepEqual(time(seconds * 1e6 + exact), [`{"TimeGenerated":"${expected}"}`, undefined])
      }),
      { numRuns: 1000, seed: SEED },
    )
    assert.deepEqual(time(253_402_300_800e6), ['', { refused: 'TimeGenerated: no datetime' }])
    assert.deepEqual(time(-62_135_596_801e6), ['', { refused: 'TimeGenerated: no datetime' }])
  })
})

suite('where a value comes from', () => {
  test('the first source that is present', () => {
    const declared = column('string', { from: [{ data: 'a.b' }, { data: 'c[0].d' }, { constant: 'none' }] })
    assert.equal(encodedValue(declared, eventOf('{"a":{"b":"x"},"c":[{"d":"y"}]}')), '"x"')
    assert.equal(encodedValue(declared, eventOf('{"a":{"b":null},"c":[{"d":"y"}]}')), '"y"')
    assert.equal(encodedValue(declared, eventOf('{"a":"b","c":{"d":"y"}}')), '"none"')
    assert.equal(encodedValue(declared, eventOf('not JSON')), '"none"')
    assert.equal(encodedValue(declared, eventOf('{"a":{"b":"x"}} and more')), '"none"')
    assert.equal(encodedValue(declared, eventOf('{"a":{"b":"x"}}\n')), '"x"')
  })

  test('an array and its first element, which the scanner cannot fill at once', () => {
    const both: Table = tableOf(
      { name: 'All', type: 'dynamic', from: [{ data: 'r' }] },
      { name: 'First', type: 'string', from: [{ data: 'r[0].x' }] },
    )
    const row = bothWays(both)(eventOf('{"r":[{"x":"1"},2]}'), 'r')
    assert.deepEqual([row!.All, row!.First], [[{ x: '1' }, 2], '1'])
  })

  test('keys with escapes, keys twice, keys of prototypes', () => {
    const declared = column('string')
    assert.equal(encodedValue(declared, eventOf('{"\\u0076":"x"}')), '"x"')
    assert.equal(encodedValue(declared, eventOf('{"v":"x","v":"y"}')), '"y"')
    assert.equal(encodedValue(declared, eventOf('{"v":"x","v":null}')), undefined)
    const odd = column('string', { from: [{ data: '__proto__.v' }, { data: 'constructor' }] })
    assert.equal(encodedValue(odd, eventOf('{}')), undefined)
    assert.equal(encodedValue(odd, eventOf('{"__proto__":{"v":"x"},"\\u0061":1}')), '"x"')
  })

  test('fields by the names of the header line, which may change between objects', () => {
    const declared = column('string', { from: [{ field: 'interface-id' }] })
    const { session } = eventOf('')
    const of = (header: string | null, line: string) =>
      encodedValue(declared, eventOf(line, { session: { ...session, header } }))
    assert.equal(of('version interface-id', '2 eni-1'), '"eni-1"')
    assert.equal(of('interface_id version', 'eni-2 2'), '"eni-2"')
    assert.equal(of('version interface-id interface-id', '2 eni-3 eni-4'), '"eni-3"')
    assert.equal(of('version interface-id', '2 -'), undefined)
    assert.equal(of('version interface-id', '2'), undefined)
    assert.equal(of('version srcaddr', '2 10.0.0.1'), undefined)
    assert.match(of(null, '2 eni-1')!, /no header line/)
  })

  test('texts that stand for others', () => {
    const listed = column('string', { values: { ACCEPT: 'Allow', '1': 'one', true: 'yes' } })
    assert.equal(encodedValue(listed, eventOf('{"v":"ACCEPT"}')), '"Allow"')
    assert.equal(encodedValue(listed, eventOf('{"v":"\\u0041CCEPT"}')), '"Allow"')
    assert.equal(encodedValue(listed, eventOf('{"v":1}')), '"one"')
    assert.equal(encodedValue(listed, eventOf('{"v":true}')), '"yes"')
    assert.equal(encodedValue(listed, eventOf('{"v":"other"}')), '"other"')
    assert.equal(encodedValue(listed, eventOf('{"v":"\\ud800"}')), 'V: half of a surrogate pair')
    const all = column('int', { values: { a: 1, '*': -1 } })
    assert.equal(encodedValue(all, eventOf('{"v":"a"}')), '1')
    assert.equal(encodedValue(all, eventOf(`{"v":"${'x'.repeat(1000)}"}`)), '-1')
    assert.equal(encodedValue(all, eventOf('{"v":[]}')), '-1')
    assert.equal(encodedValue(all, eventOf('{"v":null}')), undefined)
  })

  test('columns of the event, its uid, its object', () => {
    const columns: Record<string, string | number> = {
      time: 1e6,
      actor_user_name: 'a"\u0001\u2028ü',
      traffic_bytes: 2 ** 40,
    }
    const event = eventOf('{"raw":"\\n"}', { column: (name) => columns[name] ?? null })
    const from = (...sources: TableColumn['from']) => encodedValue(column('string', { from: sources }), event)
    assert.equal(from({ column: 'actor_user_name' }), JSON.stringify('a"\u0001\u2028ü'))
    assert.equal(from({ column: 'time' }), '"1970-01-01T00:00:01.000000Z"')
    assert.equal(from({ column: 'traffic_bytes' }), '"1099511627776"')
    assert.equal(encodedValue(column('long', { from: [{ column: 'traffic_bytes' }] }), event), '1099511627776')
    assert.equal(from({ event: 'uid' }), `"${'0'.repeat(32)}"`)
    assert.equal(from({ event: 'raw' }), '"{\\"raw\\":\\"\\\\n\\"}"')
    assert.equal(from({ event: 'bucket' }), undefined)
    assert.equal(from({ event: 'key' }), '"k"')
    const table = tableOf(
      column('string', { from: [{ column: 'message' }] }),
      column('int', { name: 'W', from: [{ column: 'message' }, { column: 'class_uid' }] }),
    )
    assert.deepEqual(compileRow(table).columns, ['message', 'class_uid'])
  })
})

suite('values that are too long', () => {
  const long = 'ü'.repeat(MAX_VALUE_BYTES / 2)
  const trim: RowOptions = { tooLong: 'trim' }
  const note = ' (V trimmed to 64 KiB)'

  test('a text of exactly 64 KiB is taken, one byte more is refused or trimmed', () => {
    assert.equal(encodedValue(column('string'), eventOf(`{"v":"${long}"}`)), `"${long}"`)
    const refused = `V: ${MAX_VALUE_BYTES + 1} bytes, more than the 65536 that a column takes`
    for (const type of ['string', 'dynamic'] as const) {
      assert.equal(encodedValue(column(type), eventOf(`{"v":"${long}x"}`)), refused)
      assert.equal(encodedValue(column(type), eventOf(`{"v":"${long}x"}`), { wrongType: 'null' }), refused)
    }
    const trimmed = encodedValue(column('string'), eventOf(`{"v":"${long}x"}`), trim)!
    assert.ok(trimmed.endsWith(`ü…[trimmed]"${note}`))
    const text = JSON.parse(trimmed.slice(0, -note.length)) as string
    assert.ok(Buffer.byteLength(text) <= MAX_VALUE_BYTES && Buffer.byteLength(text) > MAX_VALUE_BYTES - 4)
  })

  test('what counts is the value, not its escapes', () => {
    const escapes = '\\u00e9'.repeat(MAX_VALUE_BYTES / 2)
    const written = encodedValue(column('string'), eventOf(`{"v":"${escapes}","k":"\\n"}`), { way: 'scan' })
    assert.equal(JSON.parse(written!), 'é'.repeat(MAX_VALUE_BYTES / 2))
    assert.match(encodedValue(column('string'), eventOf(`{"v":"${escapes}\\n"}`))!, /65537 bytes/)
    const quotes = encodedValue(column('string'), eventOf(`{"v":"${'\\"'.repeat(MAX_VALUE_BYTES + 9)}"}`), trim)!
    assert.ok(quotes.endsWith(`\\"…[trimmed]"${note}`))
  })

  test('an object is cut after a whole member and closed again', () => {
    const value = { first: 1, items: Array.from({ length: 9000 }, (_, i) => ({ id: i })), last: true }
    const json = JSON.stringify(value, undefined, 1)
    assert.match(encodedValue(column('string'), eventOf(`{"v":${json}}`))!, /^V: \d+ bytes/)
    for (const type of ['string', 'dynamic'] as const) {
      const written = encodedValue(column(type), eventOf(`{"v":${json}}`), trim)!
      assert.ok(written.endsWith(note))
      const found: unknown = JSON.parse(written.slice(0, -note.length))
      const parsed = (type === 'string' ? JSON.parse(found as string) : found) as typeof value & { _trimmed: true }
      assert.equal(parsed._trimmed, true)
      assert.equal(parsed.last, undefined)
      assert.ok(parsed.items.length > 4000)
      assert.deepEqual(parsed.items, value.items.slice(0, parsed.items.length))
    }
  })

  test('the record itself: JSON as JSON, lines as text', () => {
    const declared = column('string', { from: [{ event: 'raw' }] })
    const record = encodedValue(declared, eventOf(`{"a":"x","b":[${'"0123456789",'.repeat(6000)}1]}`), trim)!
    assert.ok(record.endsWith(`,\\"_trimmed\\":true}"${note}`))
    JSON.parse(JSON.parse(record.slice(0, -note.length)) as string)
    const line = encodedValue(declared, eventOf(`{not JSON ${'\u0001'.repeat(MAX_VALUE_BYTES)}`), trim)!
    assert.ok(line.endsWith(`\\u0001…[trimmed]"${note}`))
  })

  test('numbers of many digits', () => {
    const digits = '1'.repeat(MAX_VALUE_BYTES + 1)
    assert.match(encodedValue(column('dynamic'), eventOf(`{"v":${digits}}`), trim)!, /65537 bytes/)
    assert.equal(encodedValue(column('int'), eventOf(`{"v":${digits}}`)), 'V: no integer')
    assert.equal(encodedValue(column('real'), eventOf(`{"v":${digits}}`)), 'V: no number')
  })
})

test('a value of the wrong type is left out with a note that has no value in it, if the options say so', () => {
  const secret = 'hunter2'
  const result = encodedValue(column('int'), eventOf(`{"v":"${secret}"}`), { wrongType: 'null' })
  assert.equal(result, ' (V left out: no integer)')
  assert.equal(
    encodedValue(column('int', { overflow: 'clamp' }), eventOf('{"v":-99999999999}')),
    '-2147483648 (V set to the bound of int: the value lies beyond it)',
  )
  const two = tableOf(column('int'), column('boolean', { name: 'W', from: [{ data: 'v' }] }))
  const out = new TextWriter()
  const told = compileRow(two, { wrongType: 'null' }).encode(eventOf('{"v":"x"}'), out)
  assert.deepEqual(told, { notes: ['V left out: no integer', 'W left out: no boolean'] })
  assert.equal(compileRow(two, { wrongType: 'null' }).encode(eventOf('{"v":null}'), out), undefined)
})

test('notes of one event are not those of the next', () => {
  const row = compileRow(tableOf(column('int')), { wrongType: 'null' })
  const first = row.encode(eventOf('{"v":"x"}'), new TextWriter())
  const second = row.encode(eventOf('{"v":1}'), new TextWriter())
  const third = row.encode(eventOf('{"v":true}', { time: null }), new TextWriter())
  assert.deepEqual(first, { notes: ['V left out: no integer'] })
  assert.equal(second, undefined)
  assert.deepEqual(third, {
    notes: ['TimeGenerated left out: the event has no time', 'V left out: no integer'],
  })
})

test('500 columns, and records that nest as deeply as is collected', () => {
  const columns = Array.from({ length: 499 }, (_, i) => column('string', { name: `C${i}`, from: [{ data: `k${i}` }] }))
  const record = Object.fromEntries(columns.map((_, i) => [`k${i}`, `v${i}`]))
  const row = bothWays(tableOf(...columns))(eventOf(JSON.stringify(record)), '500')
  assert.equal(Object.keys(row!).length, 500)
  assert.equal(row!.C498, 'v498')
  for (const depth of [480, 600]) {
    const deep = `{"v":${'['.repeat(depth)}${']'.repeat(depth)}}`
    assert.equal(
      encodedValue(column('string'), eventOf(deep)),
      depth < 500 ? `"${'['.repeat(480)}${']'.repeat(480)}"` : undefined,
    )
  }
})

suite('rules', () => {
  const refused = (table: Table, code: string, part: RegExp, options?: RowOptions) =>
    assert.throws(
      () => compileRow(table, options),
      (error) => error instanceof ColdtrailError && error.code === code && part.test(error.message),
    )
  const named = (name: string, extra: Partial<TableColumn> = {}) => tableOf(column('string', { name, ...extra }))

  test('of names', () => {
    refused(named('1a'), 'E_TABLE_COLUMN', /starts with a letter/)
    refused(named('_a'), 'E_TABLE_COLUMN', /starts with a letter/)
    refused(named('a-b'), 'E_TABLE_COLUMN', /0-9 and _/)
    refused(named('é'), 'E_TABLE_COLUMN', /starts with a letter/)
    refused(named('a'.repeat(46)), 'E_TABLE_COLUMN', /at most 45/)
    refused(named(''), 'E_TABLE_COLUMN', /starts with a letter/)
    for (const name of ['id', 'TenantId', 'Type', 'UniqueId', 'Title'])
      refused(named(name), 'E_TABLE_COLUMN', /keeps this name/)
    compileRow(named('a'.repeat(45)))
  })

  test('of tables', () => {
    refused(tableOf(column('string'), column('int')), 'E_TABLE_COLUMN', /twice/)
    refused({ ...named('Own'), name: 'AWSCloudTrail' }, 'E_TABLE_COLUMN', /_CF/)
    compileRow({ ...named('Own_CF'), name: 'AWSCloudTrail' })
    refused({ ...tableOf(), columns: [column('string')] }, 'E_TABLE_COLUMN', /TimeGenerated/)
    refused({ ...tableOf(), columns: [{ ...TIME, type: 'string' }] }, 'E_TABLE_COLUMN', /datetime/)
    refused(named('a', { from: [] }), 'E_TABLE_COLUMN', /nothing gives/)
    const many = Array.from({ length: 500 }, (_, i) => column('string', { name: `C${i}` }))
    refused(tableOf(...many), 'E_TABLE_COLUMN', /one more than 500/)
  })

  test('of constants and texts that stand for others', () => {
    refused(named('a', { type: 'int', from: [{ constant: 'x' }] }), 'E_TABLE_COLUMN', /x is no int/)
    refused(named('a', { type: 'int', from: [{ constant: 2 ** 31 }] }), 'E_TABLE_COLUMN', /is no int/)
    refused(named('a', { type: 'string', values: { x: 1 } }), 'E_TABLE_COLUMN', /1 is no string/)
    refused(named('a', { type: 'datetime', from: [{ constant: 'now' }] }), 'E_TABLE_COLUMN', /no datetime/)
    compileRow(named('a', { type: 'dynamic', from: [{ constant: true }] }))
  })

  test('of what the receiver declares', () => {
    const table = tableOf(column('string'), column('int', { name: 'N' }), column('long', { name: 'L' }))
    const columns = [
      { name: 'TimeGenerated', type: 'DateTime' },
      { name: 'N', type: 'string' },
      { name: 'L', type: 'long' },
      { name: 'Unused', type: 'string' },
    ]
    const declared = { stream: 'Custom-Test_CL', columns }
    refused(table, 'E_TABLE_UNDECLARED', /V \(not declared\), N \(declared as string, written as int\)/, { declared })
    const row = compileRow(table, { declared, undeclared: 'drop' })
    assert.deepEqual(
      row.dropped.map(({ name }) => name),
      ['V', 'N'],
    )
    assert.deepEqual(
      row.written.map(({ name }) => name),
      ['TimeGenerated', 'L'],
    )
    const out = new TextWriter()
    row.encode(eventOf('{"v":5}'), out)
    assert.equal(out.toString(), '{"TimeGenerated":"1970-01-01T00:00:00.000000Z","L":5}')
  })
})

test('a table of arbitrary places: the same both ways for any JSON', () => {
  const types: ColumnType[] = ['string', 'int', 'long', 'real', 'boolean', 'datetime', 'dynamic']
  const paths = ['a', 'b.a', 'b.c', 'c[0]', 'c[0].a', 'd', 'd.a.b']
  const columns = paths.flatMap((data, i) =>
    types.map((type) => column(type, { name: `${type}${i}`, from: [{ data }] })),
  )
  const row = bothWays(tableOf(...columns))
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'other')
  const leaf = fc.oneof(
    fc.constantFrom(null, true, 0, -1, 1.5, 2 ** 40, '', 'true', '12', '2023-07-10T11:00:00Z', '1688989502', '\ud800'),
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.double(),
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      leaf,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(key, tie('value')),
    ),
  }))
  fc.assert(
    fc.property(fc.dictionary(key, value), fc.constantFrom(undefined, 1), (record, indent) => {
      const text = JSON.stringify(record, undefined, indent)
      row(eventOf(text), text)
    }),
    { numRuns: 1500, seed: SEED },
  )
})

test('one encoder for all events: what one leaves behind never shows in another', () => {
  const row = compileRow(tableOf(column('string')), { wrongType: 'null', tooLong: 'trim' })
  const events = [
    ...outgoingEvents(Buffer.from('{"v":"a"}\n{"v":"b","v":"c"}\n{"x":1}\n'), 'a.json'),
    eventOf('not JSON'),
    eventOf(`{"v":"${'x'.repeat(200_000)}"}`),
    eventOf('{"v":'),
    eventOf('{"v":"a"}'),
  ]
  const alone = (event: OutgoingEvent) => {
    const out = new TextWriter()
    compileRow(tableOf(column('string')), { wrongType: 'null', tooLong: 'trim' }).encode(event, out)
    return out.toString()
  }
  for (const event of [...events, ...events.toReversed()]) {
    const out = new TextWriter()
    row.encode(event, out)
    assert.equal(out.toString(), alone(event))
  }
})

test('an event is valid until the next: its buffer may be used again, and may be a part of another', () => {
  const { columns } = tableOf(column('string'), column('dynamic', { name: 'W', from: [{ data: 'w' }] }))
  const row = compileRow({ ...tableOf(), columns })
  const pool = Buffer.alloc(4096, '"')
  for (const [offset, length] of [
    [0, 40],
    [3, 40],
    [3, 41],
    [4000, 40],
    [4000, 96],
  ] as const)
    for (const letter of ['a', 'b', 'ü'])
      for (const inner of [`{"x":"${letter}"}`, `"${letter.repeat(3)}"`]) {
        const text = `{"v":"${letter.repeat(6)}","w":${inner}}`
        const data = pool.subarray(offset, offset + length)
        data.fill(' ')
        data.write(text)
        const out = new TextWriter()
        assert.equal(row.encode(eventOf('', { data }), out), undefined)
        assert.deepEqual(JSON.parse(out.toString()), {
          TimeGenerated: '1970-01-01T00:00:00.000000Z',
          V: letter.repeat(6),
          W: JSON.parse(inner),
        })
      }
})

test('records longer than what is kept in one place, between short ones', () => {
  const row = bothWays(tableOf(column('string'), column('string', { name: 'W', from: [{ data: 'w' }] })))
  for (const size of [10, 70_000, 10, 200_000, 70_000, 65_536, 65_530]) {
    const filler = 'é'.repeat(size / 2)
    const text = `{"w":{"a":"${'x'.repeat(50)}"},"filler":"${filler}","v":"${'y'.repeat(301)}"}`
    const found = row(eventOf(text), `${size}`)!
    assert.equal(found.V, 'y'.repeat(301))
    assert.equal(found.W, `{"a":"${'x'.repeat(50)}"}`)
  }
})
