import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TimeSample } from '../../src/store/eventTimes.ts'
import { intervalsOf } from '../../src/store/manifestTimes.ts'

const DAY = 86_400 * 1e6

function summaryOf(times: readonly number[], { missing = 0, now = Number.MAX_SAFE_INTEGER } = {}) {
  const sample = new TimeSample()
  for (const time of times) sample.add(time)
  const bounds = { time1: Math.min(...times), time2: Math.max(...times), now }
  return { ...bounds, times: sample.summary(times.length + missing, bounds) }
}

test('one bad clock is an interval of its own, and its segment does not overlap all history', () => {
  const start = 1_688_947_200 * 1e6
  const times = [...Array.from({ length: 500 }, (_, i) => start + i * 1e6), 0, 1e6]
  const { times: summary } = summaryOf(times, { missing: 3 })
  assert.deepEqual(summary!.outliers, [[0, 1, 2]])
  assert.deepEqual([summary!.min, summary!.max, summary!.missing], [start / 1e6, start / 1e6 + 499, 3])
  assert.equal(summary!.future, 0)
})

test('events of the future are counted', () => {
  const now = 1_700_000_000 * 1e6
  assert.equal(summaryOf([now - 1, now, now + 1, now + DAY], { now }).times!.future, 2)
})

test('no event lies outside of the intervals, and none of them bridges more than a week without need', () => {
  const time = fc.oneof(
    fc.integer({ min: 0, max: 2000 }).map((day) => day * DAY),
    fc.integer({ min: 0, max: 4e9 }).map((second) => second * 1e6 + 7),
    fc.integer({ min: -1e9, max: 1e9 }).map((us) => us),
  )
  fc.assert(
    fc.property(fc.array(time, { minLength: 1, maxLength: 300 }), (times) => {
      const { time1, time2, times: eventTime } = summaryOf(times)
      const intervals = intervalsOf({ time1: Math.floor(time1 / 1e6), time2: Math.floor(time2 / 1e6), eventTime })
      const covers = (at: number) => intervals.some(([from, to]) => at >= from && at <= to)
      assert.ok(times.every((at) => covers(Math.floor(at / 1e6))))
      const counted = eventTime!.outliers!.reduce((sum, [, , events]) => sum + events, 0)
      const within = times.filter((at) => at >= eventTime!.min * 1e6 && Math.floor(at / 1e6) <= eventTime!.max)
      assert.equal(within.length + counted, times.length)
      assert.ok(intervals.length <= 9)
      assert.equal(Math.min(...intervals.flat()), Math.floor(time1 / 1e6))
      assert.equal(Math.max(...intervals.flat()), Math.floor(time2 / 1e6))
    }),
  )
})

test('where not every time was looked at nothing is said to lie apart', () => {
  const times = Array.from({ length: (1 << 20) + 3 }, (_, i) => 1e15 + i)
  times[5] = 0
  const sample = new TimeSample()
  for (const at of times) sample.add(at)
  const summary = sample.summary(times.length, { time1: 0, time2: 1e15 + times.length, now: 0 })!
  assert.equal(summary.outliers, undefined)
  assert.equal(summary.min, 0)
  assert.ok(summary.future > times.length - 10)
})
