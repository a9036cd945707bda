import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseGivenRange, parseGivenTime } from '../../src/core/givenTime.ts'

const now = Date.UTC(2023, 6, 10, 12, 30) * 1_000
const parse = (text: string, end = false) => parseGivenTime(text, { where: '--from', now, end }).time
const utc = (...parts: [number, number, number, number?, number?, number?]) => Date.UTC(...parts) * 1_000

test('every form that the help names', () => {
  assert.equal(parse('2023-07-10'), utc(2023, 6, 10))
  assert.equal(parse('2023-07-10', true), utc(2023, 6, 11) - 1)
  assert.equal(parse('2023-07-10 11:00:00'), utc(2023, 6, 10, 11))
  assert.equal(parse('2023-07-10T11:00'), utc(2023, 6, 10, 11))
  assert.equal(parse('2023-07-10T11:00:00.25Z'), utc(2023, 6, 10, 11) + 250_000)
  assert.equal(parse('2023-07-10T11:00:00+02:00'), utc(2023, 6, 10, 9))
  assert.equal(parse('2014-Apr-20 11:06:34'), 1_397_991_994_000_000)
  assert.equal(parse('1397991994'), 1_397_991_994_000_000)
  assert.equal(parse('-24h'), now - 86_400_000_000)
  assert.equal(parse('now'), now)
  assert.equal(parse('today'), utc(2023, 6, 10))
  assert.equal(parse('yesterday', true), utc(2023, 6, 10) - 1)
})

test('only a time of day without a zone is an assumption', () => {
  const assumed = (text: string) => parseGivenTime(text, { where: '--from', now }).zoneAssumed
  assert.equal(assumed('2023-07-10 11:00:00'), true)
  assert.equal(assumed('2023-07-10 11:00'), true)
  assert.equal(assumed('2023-07-10T11:00:00.5Z'), false)
  assert.equal(assumed('2023-07-10T11:00:00-05:00'), false)
  assert.equal(assumed('2023-07-10'), false)
})

test('anything else is refused by name', () => {
  for (const text of [
    '',
    'tomorrowish',
    '2023-13-01',
    '2023-02-30',
    '2023-07-10 25:00:00',
    '-5y',
    '2023-Foo-01',
    '1e9',
    '2023',
  ]) {
    assert.throws(() => parse(text), { code: 'E_TIME_FORMAT' }, text)
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        assert.ok(Number.isFinite(parse(text)))
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'E_TIME_FORMAT')
      }
    }),
  )
})

test('an inverted range is refused, an open one is not', () => {
  assert.throws(() => parseGivenRange('2023-07-11', '2023-07-10', now), { code: 'E_TIME_ORDER' })
  assert.deepEqual(parseGivenRange('2023-07-10', '2023-07-10', now), {
    from: utc(2023, 6, 10),
    to: utc(2023, 6, 11) - 1,
    zoneAssumed: false,
  })
  assert.deepEqual(parseGivenRange(undefined, undefined, now), { zoneAssumed: false })
})
