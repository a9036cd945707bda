import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  daysInMonth,
  daysSince1970,
  isoTimeText,
  parseEpoch,
  parseEpochSeconds,
  parseIsoTime,
} from '../../src/core/isoTime.ts'

/** The text stands inside other digits, so that reading beyond its ends would show. */
function parse(text: string): number {
  const bytes = Buffer.from(`1${text}9Z`)
  return parseIsoTime(bytes, 1, bytes.length - 2)
}

/** Date.UTC takes the years 0 to 99 for 1900 and later. */
function utc(year: number, month: number, day: number, hour = 0, minute = 0, second = 0): number {
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hour, minute, second)
  return date.getTime()
}

const two = (number: number) => String(number).padStart(2, '0')
const four = (number: number) => String(number).padStart(4, '0')

test('every date from year 1 to 9999 is as many days from 1970 as Date says', () => {
  const last = utc(9999, 12, 31) / 86_400_000
  for (let day = utc(1, 1, 1) / 86_400_000; day <= last; day += 13) {
    const date = new Date(day * 86_400_000)
    assert.equal(daysSince1970(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate()), day)
  }
  for (const year of [1, 4, 100, 400, 1600, 1700, 1900, 2000, 2023, 2024, 9999])
    for (let month = 1; month <= 12; month++)
      assert.equal(daysInMonth(year, month), new Date(utc(year, month + 1, 0)).getUTCDate(), `${year}-${month}`)
})

test('any time with any fraction and zone, as Date reads it', () => {
  const parts = fc.record({
    year: fc.oneof(fc.integer({ min: 1, max: 9999 }), fc.constantFrom(1, 1969, 1970, 2000, 2255, 9999)),
    month: fc.integer({ min: 1, max: 12 }),
    day: fc.integer({ min: 1, max: 31 }),
    hour: fc.integer({ min: 0, max: 23 }),
    minute: fc.integer({ min: 0, max: 59 }),
    second: fc.integer({ min: 0, max: 59 }),
    separator: fc.constantFrom('T', ' '),
    fraction: fc.option(fc.tuple(fc.constantFrom('.', ','), fc.stringMatching(/^\d{1,9}$/))),
    zone: fc.oneof(
      fc.constantFrom('', 'Z', 'z'),
      fc.tuple(
        fc.constantFrom('+', '-'),
        fc.integer({ min: 0, max: 23 }),
        fc.integer({ min: 0, max: 59 }),
        fc.constantFrom(':', '', 'hours'),
      ),
    ),
  })
  fc.assert(
    fc.property(parts, ({ year, month, day, hour, minute, second, separator, fraction, zone }) => {
      let suffix = zone as string
      let offset = 0
      if (Array.isArray(zone)) {
        const [sign, hours, minutes, form] = zone
        suffix = form === 'hours' ? `${sign}${two(hours)}` : `${sign}${two(hours)}${form}${two(minutes)}`
        offset = (sign === '-' ? -1 : 1) * (hours * 60 + (form === 'hours' ? 0 : minutes)) * 60_000
      }
      const date = `${four(year)}-${two(month)}-${two(day)}${separator}${two(hour)}:${two(minute)}:${two(second)}`
      const found = parse(`${date}${fraction ? fraction.join('') : ''}${suffix}`)
      if (new Date(utc(year, month, day)).getUTCDate() !== day) {
        assert.ok(Number.isNaN(found), date)
        return
      }
      const whole = (utc(year, month, day, hour, minute, second) - offset) * 1000
      const micros = fraction ? Number(fraction[1].slice(0, 6).padEnd(6, '0')) : 0
      const expected = Number.isSafeInteger(whole + Math.sign(whole) * 1_000_001) ? whole + micros : whole
      assert.equal(found, expected, `${date} ${suffix}`)
    }),
    { numRuns: 5000 },
  )
})

test('the ends of the calendar, leap seconds and leap days', () => {
  assert.equal(parse('0001-01-01T00:00:00Z'), -62_135_596_800_000_000)
  assert.equal(parse('9999-12-31T23:59:59.999999Z'), 253_402_300_799_000_000)
  assert.equal(parse('1969-12-31T23:59:59.999999Z'), -1)
  assert.equal(parse('1970-01-01T00:00:00'), 0)
  assert.equal(parse('2016-12-31T23:59:60Z'), parse('2016-12-31T23:59:59Z'))
  assert.equal(parse('2016-12-31T23:59:60.5Z'), parse('2016-12-31T23:59:59.5Z'))
  assert.equal(parse('2000-02-29T12:00:00+00:00'), Date.UTC(2000, 1, 29, 12) * 1000)
  assert.equal(parse('2023-07-10T11:45:02.1234569Z'), Date.UTC(2023, 6, 10, 11, 45, 2) * 1000 + 123_456)
})

test('what is not exactly such a time is none', () => {
  const texts = [
    '',
    '2023-07-10',
    '2023-07-10T11:45',
    '2023-07-10t11:45:02Z',
    '2023-07-10T11:45:02 Z',
    '2023-07-10T11:45:02Z ',
    '2023-07-10T11:45:02.Z',
    '2023-07-10T11:45:02.1234567890Z',
    '2023-07-10T11:45:02+1',
    '2023-07-10T11:45:02+24:00',
    '2023-07-10T11:45:02+02:60',
    '2023-07-10T11:45:02+0200x',
    '2023-07-10T11:45:02+02-00',
    '2023-07-10T11:45:02UTC',
    '2023-7-10T11:45:02Z--',
    '2023/07/10T11:45:02Z',
    '2023-07-10T11.45.02Z',
    '2023-02-29T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2023-04-31T00:00:00Z',
    '2023-00-10T00:00:00Z',
    '2023-13-10T00:00:00Z',
    '2023-07-00T00:00:00Z',
    '2023-07-10T24:00:00Z',
    '2023-07-10T11:60:00Z',
    '2023-07-10T11:45:61Z',
    '0000-01-01T00:00:00Z',
    '+2023-07-10T11:45:02Z',
    '20２3-07-10T11:45:02Z',
  ]
  for (const text of texts) assert.ok(Number.isNaN(parse(text)), text)
})

test('epochs are told apart by magnitude, and keep their microseconds', () => {
  const expected = 1_688_989_502_123_456
  for (const text of ['1688989502.123456', '1688989502123.456', '1688989502123456', '1688989502123456789'])
    assert.equal(parseEpoch(text), expected, text)
  assert.equal(parseEpoch('1688989502'), 1_688_989_502_000_000)
  assert.equal(parseEpoch('100000000'), 100_000_000_000_000)
  fc.assert(
    fc.property(fc.integer({ min: 1e15, max: 5e15 }), (micros) => {
      const text = String(micros)
      assert.equal(parseEpoch(`${text.slice(0, -6)}.${text.slice(-6)}`), micros)
      assert.equal(parseEpoch(`${text.slice(0, -3)}.${text.slice(-3)}`), micros)
      assert.equal(parseEpoch(text), micros)
      assert.equal(parseEpoch(`${text}999`), micros)
    }),
  )
  for (const text of [
    '',
    '0',
    '12',
    '20230710',
    '-1688989502',
    '1e9',
    '1688989502.',
    '1688989502.1234567890',
    ' 1688989502',
  ])
    assert.ok(Number.isNaN(parseEpoch(text)), text)
})

test('ten digits are the same with and without a string', () => {
  const seconds = (text: string): number => parseEpochSeconds(Buffer.from(text), 0, text.length)
  fc.assert(fc.property(fc.stringMatching(/^\d{10}$/), (text) => seconds(text) === parseEpoch(text)))
  for (const text of ['', '123456789', '12345678901', '12345678.9', '-123456789', '12345 6789']) {
    assert.ok(Number.isNaN(seconds(text)), text)
  }
})

test('a time written is the time read, and one that no calendar of four digits has stays a number', () => {
  const written = (time: number) => parse(isoTimeText(time))
  fc.assert(
    fc.property(fc.integer({ min: -9_000_000_000_000_000, max: 9_000_000_000_000_000 }), (time) => {
      assert.equal(written(time), time)
    }),
  )
  fc.assert(
    fc.property(fc.integer({ min: utc(1, 1, 1) / 1000, max: utc(9999, 12, 31) / 1000 }), (second) => {
      assert.equal(written(second * 1e6), second * 1e6)
    }),
  )
  assert.equal(isoTimeText(1_688_990_556_000_000), '2023-07-10T12:02:36Z')
  assert.equal(isoTimeText(-1), '1969-12-31T23:59:59.999999Z')
  assert.equal(isoTimeText(253_402_300_800e6), '253402300800000000')
  assert.equal(isoTimeText(Number.NaN), 'NaN')
})
