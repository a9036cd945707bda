import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { plasoTimestamp, plasoTimestampOf, zonedTime } from '../../../src/components/timeline/timelineTime.ts'

const utc = (text: string) => Date.parse(text) * 1000

test('clocks of a zone as UTC: summer, winter, the hour that is there twice and the one that is not', () => {
  const oslo = (text: string) => zonedTime(text, 'Europe/Oslo')
  assert.equal(oslo('2015-07-01T12:00:00'), utc('2015-07-01T10:00:00Z'))
  assert.equal(oslo('2015-12-01T12:00:00'), utc('2015-12-01T11:00:00Z'))
  assert.equal(oslo('2015-10-25T02:30:00'), utc('2015-10-25T00:30:00Z'), 'the first of two')
  assert.equal(oslo('2015-10-25T03:30:00'), utc('2015-10-25T02:30:00Z'))
  assert.equal(oslo('2015-03-29T01:59:59'), utc('2015-03-29T00:59:59Z'))
  assert.equal(oslo('2015-03-29T03:00:00'), utc('2015-03-29T01:00:00Z'))
  assert.equal(zonedTime('2015-07-01T12:00:00', 'EST5EDT'), utc('2015-07-01T16:00:00Z'))
  assert.equal(zonedTime('2015-07-01T12:00:00', 'Asia/Kolkata'), utc('2015-07-01T06:30:00Z'))
  assert.equal(zonedTime('2015-07-01T12:00:00.000001', 'UTC'), utc('2015-07-01T12:00:00Z') + 1)
})

test('zones that nobody knows, and times that are none', () => {
  for (const zone of ['CEST', '', '-', 'a'.repeat(100), '../etc', '__proto__']) {
    assert.equal(zonedTime('2015-07-01T12:00:00', zone), undefined, zone)
  }
  assert.ok(Number.isNaN(zonedTime('2015-13-01T12:00:00', 'UTC')))
})

test('a timestamp in bytes is that of its text', () => {
  const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), maxLength: 21 })
  const texts = fc.oneof(
    digits,
    fc.bigInt().map(String),
    fc.string(),
    fc.constantFrom('9007199254740993', '-0', '253402300800000000'),
  )
  fc.assert(
    fc.property(texts, (text) => {
      const bytes = Buffer.from(`"${text}"`)
      assert.equal(
        plasoTimestampOf(bytes, 1, bytes.length - 1),
        plasoTimestamp(bytes.toString('utf8', 1, bytes.length - 1)),
      )
    }),
    { examples: [['9007199254740991'], ['1783014478846326'], ['0'], ['-1'], ['']] },
  )
})
