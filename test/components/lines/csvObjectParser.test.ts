import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { timesketch_csv } from '../../../src/components/formats/timesketch_csv.ts'
import { MAX_CSV_RECORD_BYTES } from '../../../src/components/lines/csvObjectParser.ts'
import { parsePieces, parseWhole } from '../../support/recordingSink.ts'

const HEADER = 'message,datetime,timestamp_desc,note\n'
const row = (message: string, note = '') => `${message},2015-07-24T19:01:01Z,Start,${note}\n`
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`

const messagesOf = (text: string) =>
  parseWhole(timesketch_csv, Buffer.from(text)).items.map((item) =>
    item.kind === 'event' ? String(item.columns.message) : `reject: ${item.reason}`,
  )

test('what is quoted as RFC 4180 says comes back, however the bytes are cut', () => {
  const value = fc.string({ unit: fc.constantFrom('"', ',', '\n', '\r\n', 'a', 'ü', ' '), minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 6 }), fc.nat(), (values, cut) => {
      const bytes = Buffer.from(HEADER + values.map((text) => row(quoted(text))).join(''))
      const at = cut % (bytes.length + 1)
      const { items } = parsePieces(timesketch_csv, [bytes.subarray(0, at), bytes.subarray(at)])
      assert.deepEqual(
        items.map((item) => item.kind === 'event' && item.columns.message),
        values,
      )
    }),
  )
})

test('a lone quote hides no line behind it', () => {
  const fault = 'reject: its quotes are not those of CSV'
  assert.deepEqual(messagesOf(HEADER + row('"evil') + row('hidden') + row('z')), [fault, 'hidden', 'z'])
  assert.deepEqual(messagesOf(HEADER + row('"evil') + row('hidden', '"') + row('z')), [fault, fault, 'z'])
  assert.deepEqual(messagesOf(HEADER + row('"evil') + row('"x')), [fault, fault])
})

test('where psort writes no quotes, none is one', () => {
  const header = 'datetime,timestamp_desc,source,source_long,message,parser,display_name,tag\n'
  const line = (message: string) => `2015-07-24T19:01:01.000000+00:00,Start,LOG,Log,${message},p,d,-\n`
  assert.deepEqual(messagesOf(header + line('"evil') + line('hidden') + line('x"')), ['"evil', 'hidden', 'x"'])
})

test('a record that never ends is its first line, and reading goes on', () => {
  const filler = row('line').repeat(Math.ceil((2 * MAX_CSV_RECORD_BYTES) / row('line').length))
  const found = messagesOf(HEADER + row('"open') + filler)
  assert.equal(found[0], 'reject: its quotes are not those of CSV')
  assert.equal(found.filter((message) => message === 'line').length, filler.split('\n').length - 1)
})

test('headers of joined files are passed over, and what comes without one is refused', () => {
  assert.deepEqual(messagesOf(HEADER + row('a') + HEADER + row('b')), ['a', 'b'])
  assert.deepEqual(messagesOf(row('a') + HEADER + row('b')), ['reject: no header of this format', 'b'])
})
