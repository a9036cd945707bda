import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { appendHistory, appendRun, manifestQuery, manifests, verifyHistory } from '../../src/store/history.ts'
import { type Manifest, serializeManifest } from '../../src/store/manifest.ts'
import { Generation } from '../../src/store/manifestArchive.ts'
import {
  appendToLog,
  archiveManifests,
  isArchiveDue,
  LOOSE_MANIFESTS,
  manifestSnapshot,
} from '../../src/store/manifestGenerations.ts'
import { intervalsOf } from '../../src/store/manifestTimes.ts'
import { SampleStore } from '../support/sampleStore.ts'

const root = mkdtempSync(join(tmpdir(), 'coldtrail-archive-'))
after(() => rmSync(root, { recursive: true, force: true }))
let places = 0
/** A history directory with one collection, `main`. */
const place = (): { history: string; directory: string } => {
  const history = join(root, String(places++))
  return { history, directory: join(history, 'main') }
}

const manifest = (segment: number, time1: number, time2: number, facts: Partial<Manifest> = {}): Manifest => ({
  ...({ v: 1, kind: 'meta', collection: 'main', format: 'json_lines', day: 'none', producer: 'test' } as const),
  filename: `meta-${String(segment).padStart(9, '0')}.parquet`,
  ...{ segment, size: 1, fileTime: time2 + 100, sealTime: time2 + 100, session1: segment, session2: segment },
  ...{ time1, time2, rows: 1, rejects: 0, rawBytes: 1, sha256: 'ab'.repeat(32) },
  ...facts,
})

const entry = (one: Manifest, replaced: number[] = []) => ({
  ...{ segment: one.segment, manifests: [one], keyset: 'none', replaced },
})

const segments = (list: Iterable<{ manifest: Manifest }>) => [...list].map(({ manifest: { segment } }) => segment)
const lines = (directory: string) => [...manifestSnapshot(directory).lines()].map(({ line }) => line)
const names = (directory: string) => readdirSync(join(directory, 'archive')).sort()

test('one long manifest among a hundred short ones is found however it lies: the same as brute force', () => {
  const DAY = 86_400
  const time = fc.integer({ min: 0, max: 60 * DAY })
  const length = fc.oneof(
    { weight: 94, arbitrary: fc.integer({ min: 0, max: 660 }) },
    { weight: 1, arbitrary: fc.constant(838_080) },
    { weight: 1, arbitrary: fc.constant(0) },
    { weight: 4, arbitrary: fc.integer({ min: 0, max: 90 * DAY }) },
  )
  const many = fc.array(fc.tuple(time, length), { minLength: 1, maxLength: 700 })
  const ranges = fc.array(fc.tuple(time, fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20 * DAY }))), {
    minLength: 5,
    maxLength: 20,
  })
  fc.assert(
    fc.property(many, fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 5 }), ranges, (times, cuts, asked) => {
      const { history, directory } = place()
      const all = times.map(([from, long], i) => manifest(i + 1, from, from + long))
      let rest = [...all]
      for (const cut of cuts) {
        appendHistory(
          directory,
          rest.slice(0, cut).map((one) => entry(one)),
        )
        rest = rest.slice(cut)
        archiveManifests(directory, { whole: cut % 3 === 0 })
      }
      appendHistory(
        directory,
        rest.map((one) => entry(one)),
      )
      for (const [from, long] of asked) {
        const expected = all.filter(({ time1, time2 }) => time1! <= from + long && time2! >= from)
        const found = manifestQuery(history, { time1: from, time2: from + long })
        assert.deepEqual(
          segments(found),
          expected.map(({ segment }) => segment),
        )
      }
      assert.deepEqual(
        lines(directory),
        all.map((one) => serializeManifest(one).toString().trimEnd()),
      )
      rmSync(history, { recursive: true })
    }),
    { numRuns: 25 },
  )
})

test('a manifest is found in each of its intervals once, and not between them', () => {
  const { history, directory } = place()
  const bad = manifest(1, 0, 5_000, {
    eventTime: {
      ...{ min: 4_000, max: 5_000, p01: 4_000, p99: 5_000, future: 0, missing: 0 },
      outliers: [[0, 10, 1]],
    },
  })
  appendHistory(directory, [entry(bad), entry(manifest(2, 10, 20))])
  const ask = (time1: number, time2: number) => segments(manifestQuery(history, { time1, time2 }))
  const answers = () => [ask(0, 0), ask(0, 9_999), ask(100, 3_999), ask(11, 4_000), ask(5_001, 9_000)]
  const expected = [[1], [1, 2], [], [1, 2], []]
  assert.deepEqual(answers(), expected)
  archiveManifests(directory)
  assert.deepEqual(answers(), expected)
  assert.deepEqual(intervalsOf({ fileTime: 7 }), [[7, 7]])
  assert.deepEqual(intervalsOf({}), [])
})

test('marks count wherever they and what they mark are kept, and everything stays to the byte', () => {
  const { history, directory } = place()
  const tag = (run: number) => manifest(run, 1, 2, { kind: 'tag', run, filename: `tag-${run}` })
  const steps: (() => void)[] = [
    () => appendHistory(directory, [entry(manifest(1, 1, 2)), entry(manifest(2, 1, 2))]),
    () => appendRun(directory, 7, { manifests: [tag(7)], isRemoved: false }),
    () => appendHistory(directory, [entry(manifest(3, 1, 2), [1, 2])]),
    () => appendRun(directory, 7, { manifests: [], isRemoved: true }),
    () => appendHistory(directory, [entry(manifest(4, 1, 2))]),
  ]
  for (const step of steps) {
    step()
    archiveManifests(directory)
  }
  const asked = () => [
    segments(manifestQuery(history, { time1: 1, time2: 1 })),
    segments(manifests(history)),
    segments(manifests(history, { replaced: true })),
  ]
  const expected = [
    [3, 4],
    [3, 4],
    [1, 2, 7, 3, 4],
  ]
  assert.deepEqual(asked(), expected)
  const before = lines(directory)
  assert.equal(before.length, 7)
  assert.equal(names(directory).length, 5)
  archiveManifests(directory, { whole: true })
  assert.deepEqual(names(directory), ['000000001-000000005.ctm'])
  assert.deepEqual(asked(), expected)
  assert.deepEqual(lines(directory), before)
  const again = statSync(join(directory, 'archive', '000000001-000000005.ctm')).mtimeMs
  const summary = archiveManifests(directory, { whole: true })
  assert.deepEqual([summary.archived, summary.generations, summary.records], [0, 1, 7])
  assert.equal(
    statSync(join(directory, 'archive', '000000001-000000005.ctm')).mtimeMs,
    again,
    'nothing to do, nothing done',
  )
})

test('what is appended again counts once, in whichever places it lies', () => {
  const { history, directory } = place()
  for (let round = 0; round < 4; round++) {
    appendHistory(directory, [entry(manifest(1, 1, 2)), entry(manifest(round + 2, 1, 2))])
    assert.deepEqual(segments(manifestQuery(history, {})).length, round + 2)
    assert.equal(new Set(lines(directory)).size, lines(directory).length)
    if (round < 3) archiveManifests(directory)
    assert.deepEqual(
      segments(manifests(history)).sort(),
      Array.from({ length: round + 2 }, (_, i) => i + 1),
    )
  }
  assert.equal(archiveManifests(directory, { whole: true }).records, 5)
})

test('two manifests of one name never take each other’s place', () => {
  const { history, directory } = place()
  const one = manifest(1, 1, 2)
  appendHistory(directory, [entry(one)])
  archiveManifests(directory)
  appendHistory(directory, [entry({ ...one, sha256: 'cd'.repeat(32) })])
  archiveManifests(directory, { whole: true })
  assert.deepEqual(
    manifestQuery(history).map(({ manifest: { filename, sha256 } }) => [filename, sha256.slice(0, 2)]),
    [
      [one.filename, 'ab'],
      [one.filename, 'cd'],
    ],
  )
})

test('generations are joined as they come together, and their number stays small', () => {
  const { directory } = place()
  let segment = 0
  const most: number[] = []
  for (let log = 0; log < 40; log++) {
    const some = Array.from({ length: 4 }, () => manifest(++segment, segment, segment + 1))
    appendHistory(
      directory,
      some.map((one) => entry(one)),
    )
    archiveManifests(directory)
    most.push(names(directory).length)
  }
  assert.ok(Math.max(...most) < 10, `at most ${Math.max(...most)} files`)
  assert.equal(lines(directory).length, segment)
})

test('the live log is due after a thousand manifests, and looks only at what came since', () => {
  const { directory } = place()
  assert.equal(isArchiveDue(directory), false)
  const some = (count: number, from: number) => Array.from({ length: count }, (_, i) => entry(manifest(from + i, 1, 2)))
  appendHistory(directory, some(LOOSE_MANIFESTS - 1, 1))
  assert.equal(isArchiveDue(directory), false)
  assert.equal(isArchiveDue(directory), false)
  appendHistory(directory, some(1, LOOSE_MANIFESTS))
  assert.equal(isArchiveDue(directory), true)
  archiveManifests(directory)
  assert.equal(isArchiveDue(directory), false)
  appendHistory(directory, some(LOOSE_MANIFESTS, 5_000))
  assert.equal(isArchiveDue(directory), true)
})

test('a line that a crash cut off stays out of the archive; its whole form may come in a later log', () => {
  const { history, directory } = place()
  appendHistory(directory, [entry(manifest(1, 1, 2))])
  const second = serializeManifest(manifest(2, 1, 2)).toString()
  appendFileSync(join(directory, 'manifests.ndjson'), `${second.slice(0, 50)}\n`)
  assert.throws(() => archiveManifests(directory), /line 2/)
  assert.deepEqual(names(directory), ['000000001.ndjson'])
  appendToLog(directory, Buffer.from(second))
  assert.deepEqual(segments(manifestQuery(history)), [1, 2])
  archiveManifests(directory, { whole: true })
  assert.deepEqual(segments(manifestQuery(history)), [1, 2])
  assert.deepEqual(names(directory), ['000000001-000000002.ctm'])
})

test('leftovers of a crash are no answer, and go', () => {
  const { history, directory } = place()
  for (let log = 0; log < 3; log++) {
    appendHistory(directory, [entry(manifest(log + 1, 1, 2))])
    archiveManifests(directory)
  }
  const parts = names(directory).map((name) => [name, readFileSync(join(directory, 'archive', name))] as const)
  archiveManifests(directory, { whole: true })
  for (const [name, bytes] of parts) writeFileSync(join(directory, 'archive', name), bytes)
  writeFileSync(join(directory, 'archive', '000000002.ndjson'), serializeManifest(manifest(2, 1, 2)))
  writeFileSync(join(directory, 'archive', '000000004-000000004.ctm.tmp'), 'half')
  assert.deepEqual(segments(manifestQuery(history)), [1, 2, 3])
  archiveManifests(directory)
  assert.deepEqual(names(directory), ['000000001-000000003.ctm'])
})

test('who reads while another one archives misses nothing and sees nothing twice', () => {
  const { history, directory } = place()
  let segment = 0
  for (let log = 0; log < 30; log++) {
    appendHistory(directory, [entry(manifest(++segment, 1, 2)), entry(manifest(++segment, 1, 2))])
    const reading = manifests(history)
    const first = [reading.next().value!.manifest.segment]
    archiveManifests(directory, { whole: log % 5 === 4 })
    assert.deepEqual(
      [...first, ...segments(reading)],
      Array.from({ length: segment }, (_, i) => i + 1),
    )
  }
})

test('each damaged byte is told, or changes nothing', () => {
  const { history, directory } = place()
  appendHistory(
    directory,
    Array.from({ length: 300 }, (_, i) => entry(manifest(i + 1, i, i + 5), i % 9 ? [] : [i + 500])),
  )
  archiveManifests(directory)
  const path = join(directory, 'archive', names(directory)[0]!)
  const whole = readFileSync(path)
  const expected = segments(manifestQuery(history, { time1: 20, time2: 40 }))
  fc.assert(
    fc.property(fc.integer({ min: 0, max: whole.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bytes = Buffer.from(whole)
      bytes[at]! ^= change
      writeFileSync(`${path}.copy`, bytes)
      try {
        const generation = new Generation(`${path}.copy`)
        const found = generation.overlapping(20, 40).map(({ line }) => (JSON.parse(line) as Manifest).segment)
        assert.deepEqual(found, expected)
        generation.verify()
        // Padding and the table of what verify reads by its checksums.
        assert.equal([...generation.lines()].length, generation.counts.records)
      } catch (error) {
        assert.match(String((error as { code?: string }).code), /^E_MANIFEST_(FORMAT|VERSION)$/, String(error))
      }
    }),
    { numRuns: 400 },
  )
  for (const length of [0, 3, 10, whole.length - 1, Math.floor(whole.length / 2)]) {
    writeFileSync(`${path}.copy`, whole.subarray(0, length))
    assert.throws(() => new Generation(`${path}.copy`), { code: 'E_MANIFEST_FORMAT' })
  }
})

test('the check of the history reads through the archive, and names what is damaged in it', () => {
  const { history, directory } = place()
  appendHistory(directory, [entry(manifest(1, 1, 2))])
  archiveManifests(directory)
  const [name] = names(directory)
  const path = join(directory, 'archive', name!)
  const bytes = readFileSync(path)
  bytes[20]! ^= 1
  writeFileSync(path, bytes)
  assert.deepEqual(
    [...verifyHistory(history, 'main', [])],
    [{ collection: 'main', file: join('archive', name!), fault: 'damaged' }],
  )
})

test('a commit archives a long log by itself; check and rebuild of the catalog read through the archive', async () => {
  const store = await SampleStore.create()
  try {
    const { catalog, dataDir } = store
    for (let i = 0; i < 3; i++) {
      const some = Array.from({ length: LOOSE_MANIFESTS }, (_, n) =>
        entry(manifest(9_000_000 + i * LOOSE_MANIFESTS + n, 1, 2)),
      )
      if (i > 0) appendHistory(catalog.manifestDirectory('main'), some)
      await store.seal([{ key: `o${i}`, events: [{ time: 1e15 + i * 1e6, columns: { api_operation: 'A' } }] }])
    }
    assert.deepEqual(names(catalog.manifestDirectory('main')), ['000000001-000000001.ctm', '000000002-000000002.ctm'])
    assert.deepEqual(await catalog.verifyHistory(), [])
    const before = (await catalog.segments()).map(({ files }) => files)
    await catalog.close()
    await rebuildCatalog({ dataDir })
    const rebuilt = await openCatalog({ dataDir })
    assert.deepEqual(
      (await rebuilt.segments()).map(({ files }) => files),
      before,
    )
    assert.deepEqual(await rebuilt.verifyHistory(), [])
    assert.equal(segments(rebuilt.manifestQuery({ time1: 1e9, time2: 1e9 + 2 })).length, 12)
    await rebuilt.close()
  } finally {
    rmSync(store.dataDir, { recursive: true, force: true })
  }
})
