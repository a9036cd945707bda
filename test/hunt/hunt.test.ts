/**
 * No false absent: whatever became of keysets, roll-ups and keys, an indicator that stands in a segment is never proved to
 * be absent from it. And no more false hits than chance gives.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { collectObservables, EXTRACTOR, OBSERVABLE_TYPES, type ObservableType } from '../../src/core/observables.ts'
import { sipHash48, sipKey } from '../../src/core/sipHash.ts'
import { type HuntedSegment, huntKeysets, type KeysetAnswer } from '../../src/hunt/hunt.ts'
import { IndicatorSet, indicatorOf } from '../../src/hunt/indicators.ts'
import { keysetCopyName } from '../../src/store/history.ts'
import { encodeKeyset, KeysetBuilder, type KeysetContent, mergeKeysets, openKeyset } from '../../src/store/keyset.ts'
import type { KeysetKey } from '../../src/store/keysetKeys.ts'
import { searchKeysets } from '../../src/store/keysetSearch.ts'
import { readRollupList, rollupGroup, updateRollups } from '../../src/store/rollups.ts'
import { encodedKeyset, SegmentKeyset } from '../../src/store/segmentKeyset.ts'

const directory = mkdtempSync(join(tmpdir(), 'coldtrail-hunt-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let folders = 0

const KEYS: readonly KeysetKey[] = ['2022', '2023'].map((epoch, i) => {
  return { epoch, id: `${i}`.repeat(8), key: Buffer.alloc(16, i + 1) }
})

/** What may stand in a log, in the spelling of logs, and an indicator that means it. */
const PLANTED: readonly (readonly [log: string, indicator: string])[] = [
  ['10.1.2.3', '10.1.2.3'],
  ['10.1.2.3:443', '10[.]1[.]2[.]3'],
  ['SRC=10.9.8.7 DST=1.1.1.1', '10.9.0.0/16'],
  ['10.9.8.200', '10.9.8.192/26'],
  ['2001:db8:1::5', '2001:db8:1::/64'],
  ['www.evil.example.com', 'example[.]com'],
  ['https://Evil.example.org:443/a/b', 'hxxps://evil[.]example[.]org/a/b'],
  ['see http://cut.example.net/x?y=1&z, there', 'http://cut.example.net/x?y=1&z'],
  ['<http://braces.example.net/{id}>', 'domain:braces.example.net'],
  ['mallory@example.com wrote', 'Mallory@example.com'],
  ['d41d8cd98f00b204e9800998ecf8427e', 'D41D8CD98F00B204E9800998ECF8427E'],
  ['AKIAIOSFODNN7EXAMPLE', 'AKIAIOSFODNN7EXAMPLE'],
  ['arn:aws:iam::123456789012:user/bob', 'arn:aws:iam::123456789012:user/bob'],
  ['setup.notatld', 'setup.notatld'],
  ['пример.рф', 'пример.рф'],
  ['{"inner":"host-7.internal"}', 'host-7.internal'],
]

interface Log {
  readonly planted: readonly number[]
  readonly key: number
  readonly month: number
  /** By the plain form of the extractor instead of that over bytes. */
  readonly isPlain: boolean
  /** What is wrong with its keyset. */
  readonly fault: 'none' | 'none2' | 'missing' | 'damaged' | 'swapped' | 'foreign' | 'capped' | 'never'
}

class Site {
  readonly directory = join(directory, String(++folders))
  readonly segments = new Map<number, HuntedSegment & { readonly texts: readonly string[]; readonly key: number }>()
  private next = 1

  constructor() {
    mkdirSync(this.directory)
  }

  seal({ planted, key, month, isPlain, fault }: Log): void {
    const texts = planted.map((i) => `at 12:00 ${PLANTED[i]![0]}`)
    const content = contentOf(texts, KEYS[key]!, { isPlain, isCapped: fault === 'capped' })
    const segment = this.put(fault === 'foreign' ? { ...content, extractor: 'obs/0' } : content, texts, key, month)
    const path = join(this.directory, keysetCopyName(segment))
    if (fault === 'missing') rmSync(path)
    // Whole, and of a segment with nothing in it.
    if (fault === 'swapped')
      writeFileSync(path, encodeKeyset(contentOf([], KEYS[key]!, { isPlain: true, isCapped: false })))
    if (fault === 'damaged') writeFileSync(path, readFileSync(path).subarray(0, -9))
    if (fault === 'never') this.segments.set(segment, { ...this.segments.get(segment)!, hasKeyset: false })
  }

  /** Merges the first two that can be. */
  compact(): void {
    for (const a of this.segments.values())
      for (const b of this.segments.values()) {
        if (a.segment >= b.segment || a.key !== b.key || a.period !== b.period) continue
        try {
          const parts = [a, b].map(({ paths: [path], sha256 }) =>
            openKeyset(readFileSync(path!), path!, sha256).content(),
          )
          const merged = mergeKeysets(parts)
          this.segments.delete(a.segment)
          this.segments.delete(b.segment)
          this.put(merged, [...a.texts, ...b.texts], a.key, Number(a.period.slice(-1)) - 1)
          return
        } catch {
          // One is damaged: such are not compacted.
        }
      }
  }

  /** One text leaves a segment, which gets another number; its old keyset leaves the history. */
  erase(at: number): void {
    const segment = [...this.segments.values()][at % Math.max(1, this.segments.size)]
    if (!segment || segment.texts.length === 0) return
    this.segments.delete(segment.segment)
    rmSync(segment.paths[0]!, { force: true })
    const texts = segment.texts.slice(1)
    const content = contentOf(texts, KEYS[segment.key]!, { isPlain: false, isCapped: false })
    this.put(content, texts, segment.key, Number(segment.period.slice(-1)) - 1)
  }

  update(): void {
    updateRollups(
      this.directory,
      [...this.segments.values()].filter(({ hasKeyset }) => hasKeyset),
    )
  }

  hunt(set: IndicatorSet, keys: readonly KeysetKey[]): Promise<KeysetAnswer> {
    const segments = [...this.segments.values()]
    return huntKeysets({
      ...{ set, segments, keys, manifestDirectory: this.directory, list: readRollupList(this.directory) },
    })
  }

  private put(content: KeysetContent, texts: readonly string[], key: number, month: number): number {
    const segment = this.next++
    const path = join(this.directory, keysetCopyName(segment))
    const { bytes, description } = encodedKeyset(content)
    writeFileSync(path, bytes)
    const said = { period: `2023-0${month + 1}`, paths: [path], sha256: description.sha256!, hasKeyset: true }
    this.segments.set(segment, { segment, ...said, texts, key })
    return segment
  }
}

function contentOf(
  texts: readonly string[],
  key: KeysetKey,
  { isPlain, isCapped }: { readonly isPlain: boolean; readonly isCapped: boolean },
): KeysetContent {
  if (!isPlain && !isCapped) {
    const keyset = new SegmentKeyset(key)
    for (const text of texts) {
      const bytes = Buffer.from(text)
      keyset.observe(bytes, 0, bytes.length, false)
    }
    const { bytes } = keyset.encode()
    return openKeyset(bytes, 'test').content()
  }
  const builder = new KeysetBuilder({ key, columns: [], ...(isCapped ? { maxKeys: 2 } : {}) })
  const sip = sipKey(key.key)
  for (const text of texts)
    collectObservables(text, false, (type, value) => {
      const bytes = Buffer.from(value)
      builder.add(OBSERVABLE_TYPES[type], sipHash48(sip, OBSERVABLE_TYPES[type], bytes, 0, bytes.length))
    })
  return builder.finish()
}

const log: fc.Arbitrary<Log> = fc.record({
  planted: fc.array(fc.nat({ max: PLANTED.length - 1 }), { maxLength: 6 }),
  key: fc.nat({ max: 1 }),
  month: fc.nat({ max: 2 }),
  isPlain: fc.boolean(),
  fault: fc.constantFrom(
    'none',
    'none',
    'none2',
    'none',
    'missing',
    'damaged',
    'swapped',
    'foreign',
    'capped',
    'never',
  ),
})

const step = fc.oneof(
  { weight: 5, arbitrary: fc.array(log, { minLength: 1, maxLength: 8 }).map((logs) => ({ logs })) },
  { weight: 2, arbitrary: fc.constant({ update: true }) },
  { weight: 1, arbitrary: fc.constant({ compact: true }) },
  { weight: 1, arbitrary: fc.nat().map((erase) => ({ erase })) },
)

const everything = new IndicatorSet()
for (const [, indicator] of PLANTED) everything.add(indicatorOf(indicator)!)

test('no false absent, over logs, forms of the extractor, compactions, roll-ups, erasures, faults and lost keys', async () => {
  assert.equal(everything.size, PLANTED.length)
  let proved = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), fc.subarray([...KEYS]), async (steps, keys) => {
      const site = new Site()
      for (const one of steps) {
        if ('logs' in one) for (const sealed of one.logs) site.seal(sealed)
        else if ('update' in one) site.update()
        else if ('compact' in one) site.compact()
        else site.erase(one.erase)
        const answer = await site.hunt(everything, keys)
        PLANTED.forEach(([text], indicator) => {
          const hits = new Set(answer.hitsOf(indicator))
          const unknown = new Set(answer.unknownOf(indicator).flatMap(({ segments }) => [...segments]))
          for (const { segment, texts } of site.segments.values()) {
            const holds = texts.some((held) => held.endsWith(text))
            assert.ok(!holds || hits.has(segment) || unknown.has(segment), `${text} in ${segment}`)
            if (!hits.has(segment) && !unknown.has(segment)) proved += 1
          }
          const verdict = answer.verdictOf(indicator)
          assert.equal(verdict, hits.size > 0 ? 'possible' : unknown.size > 0 ? 'unknown' : 'absent')
        })
      }
    }),
    { numRuns: 60 },
  )
  // Not by saying nothing.
  assert.ok(proved > 1_000, `${proved} absences were proved`)
})

test('verdicts of plain cases, and why something is not known', async () => {
  const site = new Site()
  const sealed = (planted: readonly number[], fault: Log['fault'] = 'none', key = 0): void =>
    site.seal({ planted, fault, key, month: 0, isPlain: false })
  sealed([0])
  sealed([13])
  const answer = await site.hunt(everything, KEYS)
  const told = PLANTED.map((_, i) => answer.verdictOf(i))
  assert.deepEqual(told.slice(0, 6), ['possible', 'possible', 'absent', 'absent', 'absent', 'absent'])
  assert.deepEqual([told[13], told[5]], ['unknown', 'absent'])
  assert.deepEqual(answer.unknownOf(13), [{ reason: 'names that end in .notatld were passed over', segments: [2] }])
  sealed([], 'missing')
  sealed([], 'foreign')
  sealed([], 'never')
  sealed([], 'none', 1)
  sealed([10], 'swapped')
  const later = await site.hunt(everything, [KEYS[0]!])
  assert.deepEqual(
    later
      .unknownOf(10)
      .map(({ reason, segments }) => [reason, segments[0]])
      .sort(),
    [
      ['collected without a keyset', 5],
      ['its keyset is missing or damaged', 3],
      ['its keyset is of another extractor (obs/0)', 4],
      ['the key of epoch 2023 (11111111) is not here', 6],
    ],
  )
})

test('false hits are as many as chance gives: within three sigma of Q*S*n / 2^bits', async () => {
  // Keys of 20 bits, spread as 48 are: the same arithmetic where hits can be counted.
  const bits = 20
  const [segments, keys, queries] = [60, 500, 2_000]
  const space = 2 ** bits
  const random = (count: number): Float64Array => {
    const drawn = new Set<number>()
    while (drawn.size < count) drawn.add(Math.floor(Math.random() * space) * 2 ** (48 - bits))
    return Float64Array.from(drawn).sort((a, b) => a - b)
  }
  const folder = join(directory, String(++folders))
  mkdirSync(folder)
  const names = Object.keys(OBSERVABLE_TYPES) as ObservableType[]
  const inputs = Array.from({ length: segments }, (_, i) => {
    const path = join(folder, keysetCopyName(i + 1))
    const sections = names.map((name) => ({
      ...{ name, complete: true, reason: '', keys: name === 'ip' ? random(keys) : new Float64Array(0) },
    }))
    writeFileSync(path, encodeKeyset({ extractor: EXTRACTOR, epoch: '2023', keyId: 'k', sections }))
    return { segment: i + 1, period: `2023-0${(i % 3) + 1}`, paths: [path] }
  })
  updateRollups(folder, inputs)
  let pairs = 0
  await searchKeysets({
    ...{ manifestDirectory: folder, list: readRollupList(folder), segments: inputs },
    queries: new Map([
      [rollupGroup({ extractor: EXTRACTOR, epoch: '2023', keyId: 'k' }), new Map([[1, random(queries)]])],
    ]),
    hit: () => {
      pairs += 1
    },
  })
  const expected = (queries * segments * keys) / space
  // Three sigma fail once in 370 runs: a fourth and a half one in 150,000.
  const sigma = Math.sqrt(expected)
  assert.ok(Math.abs(pairs - expected) < 4.5 * sigma, `${pairs} pairs, ${expected.toFixed(1)} expected`)
})
