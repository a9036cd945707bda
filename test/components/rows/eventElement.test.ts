import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { eventJson } from '../../../src/cli/eventOutput.ts'
import { DATA_FIELD, eventElements } from '../../../src/components/rows/eventElement.ts'
import { READABLE_COLUMNS } from '../../../src/core/columns.ts'
import type { OutgoingEvent } from '../../../src/core/outgoingEvent.ts'
import { fixtureEvents, outgoingEvent } from '../../support/oddEvents.ts'
import { TextWriter } from '../../support/tableFixtures.ts'

type Data = 'text' | 'record' | 'none'

function encoded(event: OutgoingEvent, data: Data): { text: string; notes: readonly string[] } {
  const out = new TextWriter()
  const result = eventElements({ data })(event, out)
  assert.ok(!result || 'notes' in result)
  return { text: out.toString(), notes: result?.notes ?? [] }
}

const element = (event: OutgoingEvent, data: Data): Record<string, unknown> =>
  JSON.parse(encoded(event, data).text) as Record<string, unknown>

/** What `search --json` prints of the event. */
function printed(event: OutgoingEvent): string {
  const { id, uid, time, dataType } = event
  const own: Record<string, unknown> = { id, time, data_type: dataType, data: event.data.toString() }
  const row: Record<string, string | number | null> = {}
  for (const name of READABLE_COLUMNS) {
    row[name] = (name in own ? own[name] : event.column(name)) as string | number | null
    if (name === 'id') row.uid = uid
  }
  return JSON.stringify(eventJson(row))
}

test('an element is the line that search --json prints, byte for byte', () => {
  const events = fixtureEvents().filter(({ data }) => data.equals(Buffer.from(data.toString())))
  assert.ok(events.length > 100)
  for (const event of events) assert.equal(encoded(event, 'text').text, printed(event))
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: 'binary' }),
      fc.integer({ min: -1e15, max: 4e15 }),
      (data, message, time) => {
        const event = outgoingEvent({ data, time, columns: { message: message.toWellFormed(), ordinal: 3 } })
        assert.equal(encoded(event, 'text').text, printed(event))
      },
    ),
  )
})

test('data: record embeds the JSON of the record, and anything else as a string', () => {
  const record = (data: string | Buffer) => element(outgoingEvent({ data }), 'record').data
  for (const event of fixtureEvents().filter(({ data }) => data[0] === 0x7b)) {
    const text = event.data.toString()
    const parsed = attempt(text)
    assert.deepEqual(element(event, 'record').data, parsed ?? text)
  }
  assert.match(
    encoded(outgoingEvent({ data: '{"n":1e999,"big":12345678901234567890}' }), 'record').text,
    /"data":\{"n":1e999,"big":12345678901234567890\}\}$/,
  )
  assert.deepEqual(record('{\n"a": [1,\r\n2]}\n'), { a: [1, 2] })
  for (const text of [
    '{"a":',
    '{"a":1}{"b":2}',
    '{"a":NaN}',
    '{"a":1,}',
    '404',
    '"text"',
    'null',
    '',
    ' {"a":1}',
    '{"a":"\u0001"}',
  ])
    assert.equal(record(text), text)
  const deep = `${'[{"a":'.repeat(300)}1${'}]'.repeat(300)}`
  assert.equal(record(deep), deep, 'nested more deeply than readers take')
})

test('what JSON cannot hold is replaced or left out, and told', () => {
  const notes = (parts: Parameters<typeof outgoingEvent>[0], data: Data = 'record') =>
    encoded(outgoingEvent(parts), data).notes
  assert.deepEqual(notes({}), [])
  assert.match(notes({ columns: { message: 'a\ud800' } }).join(), /^message: half a surrogate pair replaced$/)
  assert.match(notes({ columns: { traffic_bytes: Number.NaN } }).join(), /^traffic_bytes: left out/)
  assert.match(notes({ time: Number.POSITIVE_INFINITY }).join(), /^time: left out/)
  assert.match(notes({ data: Buffer.from([0x61, 0xff]) }).join(), /^data: bytes that are no UTF-8 replaced$/)
  assert.match(notes({ data: '{"a":"\\ud800"}' }).join(), /^data: sent as text/)
  assert.deepEqual(notes({ data: '{"a":"\\ud83d\\ude00"}' }), [])
  assert.equal(element(outgoingEvent({ data: '{"a":"\\ud800"}' }), 'record').data, '{"a":"\\ud800"}')
  assert.equal(element(outgoingEvent({ data: Buffer.from([0x61, 0xff]) }), 'text').data, 'a\ufffd')
})

test('data: none sends the columns alone, and text is the default', () => {
  assert.ok(!('data' in element(outgoingEvent({ data: '{"a":1}' }), 'none')))
  assert.equal(DATA_FIELD.parse(undefined), 'text')
})

/** Undefined for what is no JSON, and for what escapes half a surrogate pair (which stringify writes as an escape). */
function attempt(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return /\\ud[89a-f]/.test(JSON.stringify(value)) ? undefined : value
  } catch {
    return undefined
  }
}
