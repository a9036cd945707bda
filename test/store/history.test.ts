import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { appendHistory, manifestQuery, manifests, overlapping } from '../../src/store/history.ts'
import type { Manifest } from '../../src/store/manifest.ts'

const historyDir = mkdtempSync(join(tmpdir(), 'coldtrail-history-'))
after(() => rmSync(historyDir, { recursive: true, force: true }))

const manifest = (segment: number, time1: number, time2: number): Manifest => ({
  v: 1,
  filename: `meta-${String(segment).padStart(9, '0')}.parquet`,
  kind: 'meta',
  collection: 'main',
  segment,
  format: 'json_lines',
  day: 'none',
  size: 1,
  fileTime: time2 + 100,
  sealTime: time2 + 100,
  session1: segment,
  session2: segment,
  time1,
  time2,
  rows: 1,
  rejects: 0,
  rawBytes: 1,
  producer: 'test',
  sha256: 'ab'.repeat(32),
})

const segments = (list: Iterable<{ manifest: Manifest }>) => [...list].map(({ manifest: { segment } }) => segment)

/** 20 to 30, against every way a range can lie. */
const CASES: readonly [string, number | undefined, number | undefined, boolean][] = [
  ['before', 1, 19, false],
  ['after', 31, 40, false],
  ['touching start', 10, 20, true],
  ['touching end', 30, 40, true],
  ['inside', 22, 28, true],
  ['enclosing', 10, 40, true],
  ['identical', 20, 30, true],
  ['point window inside', 25, 25, true],
  ['point window outside', 19, 19, false],
  ['open start', undefined, 20, true],
  ['open start before', undefined, 19, false],
  ['open end', 30, undefined, true],
  ['open end after', 31, undefined, false],
  ['both open', undefined, undefined, true],
]

for (const [name, time1, time2, expected] of CASES)
  test(`overlap: ${name}`, () => {
    const range = { ...(time1 === undefined ? {} : { time1 }), ...(time2 === undefined ? {} : { time2 }) }
    assert.equal([...overlapping([{ time1: 20, time2: 30 }], range)].length, expected ? 1 : 0)
    // Imported manifests may give the last time before the first.
    assert.equal([...overlapping([{ time1: 30, time2: 20 }], range)].length, expected ? 1 : 0)
  })

test('an inverted range is refused and names both values', () => {
  assert.throws(
    () => [...overlapping([], { time1: 1_397_991_600, time2: 1_397_210_000 })],
    (error: unknown) =>
      error instanceof ColdtrailError && error.code === 'E_TIME_ORDER' && error.message.includes('2014-04-20 11:00:00'),
  )
})

test('a manifest without times is found by its creation, and marked so', () => {
  const imported = { filename: 'session-000001865.nwsdb', fileTime: 25 }
  assert.deepEqual([...overlapping([imported], { time1: 20, time2: 30 })], [{ manifest: imported, by: 'fileTime' }])
  for (const [time1, time2] of [
    [25, 25],
    [20, 25],
    [25, 30],
  ] as const)
    assert.equal([...overlapping([imported], { time1, time2 })].length, 1)
  assert.equal([...overlapping([imported], { time1: 26, time2: 30 })].length, 0)
  assert.equal([...overlapping([imported], { time1: 20, time2: 24 })].length, 0)
})

test('overlap is the same as a shared second', () => {
  const second = fc.integer({ min: 0, max: 12 })
  fc.assert(
    fc.property(second, second, second, second, (a, b, c, d) => {
      const [time1, time2, from, to] = [Math.min(a, b), Math.max(a, b), Math.min(c, d), Math.max(c, d)]
      let shared = false
      for (let at = from; at <= to; at++) if (at >= time1 && at <= time2) shared = true
      assert.equal([...overlapping([{ time1, time2 }], { time1: from, time2: to })].length === 1, shared)
    }),
  )
})

test('a history gives back what it took, repeated lines once, replaced ones only when asked', () => {
  const directory = join(historyDir, 'main')
  const keyset = join(historyDir, 'keyset.ks')
  writeFileSync(keyset, 'keys')
  const entry = (segment: number, replaced: number[] = []) => ({
    segment,
    manifests: [manifest(segment, segment * 10, segment * 10 + 5)],
    keyset,
    replaced,
  })
  appendHistory(directory, [entry(1), entry(2)])
  appendHistory(directory, [entry(2)])
  assert.deepEqual(segments(manifests(historyDir)), [1, 2])
  assert.equal(readFileSync(join(directory, 'keyset-000000002.ks'), 'utf8'), 'keys')
  appendHistory(directory, [entry(3, [1, 2])])
  assert.deepEqual(segments(manifests(historyDir)), [3])
  assert.deepEqual(segments(manifests(historyDir, { replaced: true })), [1, 2, 3])
  assert.deepEqual(segments(manifestQuery(historyDir, { time1: 0, time2: 20 })), [], 'replaced manifests are no answer')
  assert.deepEqual(segments(manifestQuery(historyDir, { time1: 35, time2: 99 })), [3])
  assert.deepEqual(segments(manifestQuery(historyDir, { collection: 'other' })), [])
  assert.ok(readdirSync(directory).every((name) => !name.endsWith('.tmp')))
})

test('a line cut off by a crash loses nothing; other damage is told', () => {
  const directory = join(historyDir, 'torn')
  const path = join(directory, 'manifests.ndjson')
  const entry = (segment: number) => ({ segment, manifests: [manifest(segment, 1, 2)], keyset: 'none', replaced: [] })
  const here = { collection: 'torn' }
  appendHistory(directory, [entry(1)])
  const whole = readFileSync(path).length
  for (let cut = 1; cut < whole; cut += 7) {
    appendHistory(directory, [entry(2)])
    truncateSync(path, whole + cut)
    assert.deepEqual(segments(manifests(historyDir, here)), [1])
    appendHistory(directory, [entry(2)])
    assert.deepEqual(segments(manifests(historyDir, here)), [1, 2])
    truncateSync(path, whole)
  }
  appendFileSync(path, '{"v":1,"damaged\n')
  assert.throws(() => segments(manifests(historyDir, here)), /line 2/)
})
