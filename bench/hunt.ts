/**
 * `npm run bench -- hunt [--segments N] [--keys N] [--indicators N]`: a hunt over keysets alone, as when all data are offline:
 * by default 1,000,000 indicators over 10,000 segments of 20,000 observables each, in 36 months. Twice: with values that
 * come again in other segments (`realistic`: nine of ten from a common stock of as many values as 0.5 % of the pairs), and the
 * worst case of all distinct ones. Keysets are written by the product's own encoder, roll-ups by its own update, which
 * has a figure of its own. One indicator in a thousand is really there. Then the real logs of ../shared/data: size and
 * CPU of their keysets. The last line is one JSON object; figures without a suffix are those of the realistic case.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { EXTRACTOR, OBSERVABLE_TYPES, type ObservableType } from '../src/core/observables.ts'
import { sipHash48, sipKey } from '../src/core/sipHash.ts'
import { hashesOf } from '../src/hunt/hashes.ts'
import { type HuntedSegment, huntKeysets } from '../src/hunt/hunt.ts'
import { IndicatorSet } from '../src/hunt/indicators.ts'
import { encodeKeyset } from '../src/store/keyset.ts'
import type { KeysetKey } from '../src/store/keysetKeys.ts'
import { updateRollups } from '../src/store/rollups.ts'
import { BENCH, COLDTRAIL } from './support/input.ts'
import { measure, median, round } from './support/measure.ts'

const { values } = parseArgs({
  options: {
    segments: { type: 'string', default: '10000' },
    keys: { type: 'string', default: '20000' },
    indicators: { type: 'string', default: '1000000' },
    repeats: { type: 'string', default: '3' },
    only: { type: 'string' },
  },
})
const [SEGMENTS, KEYS, INDICATORS] = [Number(values.segments), Number(values.keys), Number(values.indicators)]
const MONTHS = 36
const KEY: KeysetKey = { epoch: '2023', id: 'aaaaaaaa', key: randomBytes(16) }
const folder = join(BENCH, 'hunt')

const hashing = performance.now()
const set = indicators()
const loaded = performance.now()
hashesOf(set, KEY, undefined)
const hash_1m_s = round(((performance.now() - loaded) / 1000) * (1_000_000 / INDICATORS))
process.stderr.write(`indicators ${((loaded - hashing) / 1000).toFixed(1)} s, hashes ${hash_1m_s} s\n`)

const realistic = values.only === 'worst' ? undefined : await hunted('realistic')
const worst = values.only === 'realistic' ? undefined : await hunted('worst')
const real = values.only === undefined ? await realLogs() : {}
console.log(
  JSON.stringify({
    ...{ bench: 'hunt', segments: SEGMENTS, keys_per_segment: KEYS, indicators: INDICATORS, hash_1m_s },
    ...realistic,
    ...Object.fromEntries(Object.entries(worst ?? {}).map(([name, value]) => [`${name}_worst`, value])),
    ...real,
  }),
)
rmSync(folder, { recursive: true, force: true })

function indicators(): IndicatorSet {
  const made = new IndicatorSet()
  for (let i = 0; i < INDICATORS; i++) made.add({ type: 'domain', value: `host-${i}.example.com` })
  return made
}

async function hunted(kind: 'realistic' | 'worst'): Promise<Record<string, number>> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const segments = writeKeysets(kind)
  const keysetBytes = segments.reduce((sum, { paths }) => sum + statSync(paths[0]!).size, 0)
  const before = { wall: performance.now(), cpu: cpuSeconds() }
  const list = updateRollups(folder, segments)
  const rollup_build_s = round((performance.now() - before.wall) / 1000)
  const rollup_build_cpu_s = round(cpuSeconds() - before.cpu)
  const rollupBytes = readdirSync(folder)
    .filter((name) => name.endsWith('.kr'))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
  process.stderr.write(`${kind}: roll-ups of ${SEGMENTS * KEYS} pairs made in ${rollup_build_s} s\n`)
  const hashDirectory = join(folder, 'hashes')
  const hunt = async (asked: IndicatorSet): Promise<{ seconds: number; cpu: number; hits: number }> => {
    const start = { wall: performance.now(), cpu: cpuSeconds() }
    const answer = await huntKeysets({
      set: asked,
      segments,
      list,
      keys: [KEY],
      manifestDirectory: folder,
      hashDirectory,
    })
    const seconds = (performance.now() - start.wall) / 1000
    return { seconds, cpu: cpuSeconds() - start.cpu, hits: answer.possible.length }
  }
  await hunt(set)
  const runs: { seconds: number; cpu: number; hits: number }[] = []
  const merges: { wall: number; cpu: number }[] = []
  for (let i = 0; i < Number(values.repeats); i++) {
    runs.push(await hunt(set))
    merges.push(plainMerge())
  }
  const single = async (value: string): Promise<{ wall: number; cpu: number }> => {
    const one = new IndicatorSet()
    one.add({ type: 'domain', value })
    const runs: { seconds: number; cpu: number }[] = []
    for (let i = 0; i < 5; i++) runs.push(await hunt(one))
    const of = (what: 'seconds' | 'cpu') => round(median(runs.map((run) => run[what])) * 1000)
    return { wall: of('seconds'), cpu: of('cpu') }
  }
  const miss = await single('nowhere.example.org')
  const hit = await single('host-0.example.com')
  const hunt_s = median(runs.map(({ seconds }) => seconds))
  const expected = Math.floor((INDICATORS - 1) / 1000) + 1
  if (runs[0]!.hits < expected) throw new Error(`${runs[0]!.hits} of ${expected} indicators were found`)
  return {
    hunt_s: round(hunt_s),
    hunt_cpu_s: round(median(runs.map(({ cpu }) => cpu))),
    merge_ratio: ratio(
      hunt_s,
      merges.map(({ wall }) => wall),
    ),
    merge_ratio_cpu: ratio(
      median(runs.map(({ cpu }) => cpu)),
      merges.map(({ cpu }) => cpu),
    ),
    ...{ single_ms: miss.wall, single_cpu_ms: miss.cpu, single_hit_ms: hit.wall, single_hit_cpu_ms: hit.cpu },
    hits: runs[0]!.hits,
    ...{ rollup_build_s, rollup_build_cpu_s },
    keyset_mb: Math.round(keysetBytes / 1e6),
    rollup_mb: Math.round(rollupBytes / 1e6),
  }
}

/** What a key of the hunt costs, in keys of the plain merge. */
function ratio(seconds: number, merges: readonly number[]): number {
  return Number((seconds / (SEGMENTS * KEYS + INDICATORS) / median(merges)).toFixed(3))
}

/** Seconds a key of the plainest merge of two sorted arrays of doubles: 20 million and as many as there are indicators. */
function plainMerge(): { wall: number; cpu: number } {
  const long = sorted(20_000_000)
  const short = sorted(INDICATORS)
  const start = { wall: performance.now(), cpu: cpuSeconds() }
  let common = 0
  for (let i = 0, j = 0; i < long.length && j < short.length; ) {
    const a = long[i]!
    const b = short[j]!
    if (a === b) common++
    if (a <= b) i++
    if (b <= a) j++
  }
  if (common < 0) throw new Error('never')
  const keys = long.length + short.length
  return { wall: (performance.now() - start.wall) / 1000 / keys, cpu: (cpuSeconds() - start.cpu) / keys }
}

function sorted(count: number): Float64Array {
  const step = 2 ** 48 / count
  return Float64Array.from({ length: count }, (_, i) => Math.floor(i * step + Math.random() * step))
}

function writeKeysets(kind: 'realistic' | 'worst'): (HuntedSegment & { readonly hasKeyset: true })[] {
  const types = Object.keys(OBSERVABLE_TYPES) as ObservableType[]
  const sip = sipKey(KEY.key)
  const stock = random(Math.max(KEYS * 2, Math.round(SEGMENTS * KEYS * 0.005)))
  const segments: (HuntedSegment & { readonly hasKeyset: true })[] = []
  for (let segment = 1; segment <= SEGMENTS; segment++) {
    const keys = random(KEYS)
    if (kind === 'realistic')
      for (let i = 0; i < KEYS * 0.9; i++) keys[i] = stock[Math.floor(Math.random() ** 2 * stock.length)]!
    // Every thousandth indicator is in some segment.
    for (let i = segment - 1; i * 1000 < INDICATORS; i += SEGMENTS) {
      const bytes = Buffer.from(`host-${i * 1000}.example.com`)
      keys[i % KEYS] = sipHash48(sip, OBSERVABLE_TYPES.domain, bytes, 0, bytes.length)
    }
    keys.sort()
    let kept = 0
    for (let i = 0; i < keys.length; i++) if (i === 0 || keys[i] !== keys[i - 1]) keys[kept++] = keys[i]!
    const path = join(folder, `keyset-${String(segment).padStart(9, '0')}.ks`)
    const sections = types.map((name) => {
      return {
        name,
        complete: true,
        reason: '',
        keys: name === 'domain' ? keys.subarray(0, kept) : new Float64Array(0),
      }
    })
    writeFileSync(path, encodeKeyset({ extractor: EXTRACTOR, epoch: KEY.epoch, keyId: KEY.id, sections }))
    const month = Math.floor(((segment - 1) * MONTHS) / SEGMENTS)
    const period = `${2021 + Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, '0')}`
    segments.push({ segment, period, paths: [path], hasKeyset: true })
  }
  return segments
}

function random(count: number): Float64Array {
  const words = new Uint32Array(count * 2)
  const bytes = new Uint8Array(words.buffer)
  for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536))
  return Float64Array.from({ length: count }, (_, i) => (words[i * 2]! & 0xffff) * 2 ** 32 + words[i * 2 + 1]!)
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Size of the keysets of real logs in their segments, and what they cost of the CPU of collecting. */
async function realLogs(): Promise<Record<string, number>> {
  const source = join(import.meta.dirname, '../../shared/data/cloudtrail')
  if (!existsSync(source)) return {}
  const cpu: Record<'with' | 'without', number[]> = { with: [], without: [] }
  let keyset_pct = 0
  const data = join(folder, 'data')
  const config = join(folder, 'without.yaml')
  writeFileSync(config, 'keyset: false\n')
  for (let i = 0; i < Number(values.repeats); i++)
    for (const kind of ['with', 'without'] as const) {
      rmSync(data, { recursive: true, force: true })
      const options = ['--data-dir', data, ...(kind === 'without' ? ['--config', config] : [])]
      const run = await measure(COLDTRAIL, ['collect', source, ...options])
      if (run.status !== 0) throw new Error(run.stdout)
      cpu[kind].push(run.cpu)
      if (kind === 'with') keyset_pct = sharesOf(join(data, 'collections/main'))
    }
  const keyset_cpu_pct = round((median(cpu.with) / median(cpu.without) - 1) * 100)
  return { keyset_pct, keyset_cpu_pct }
}

function sharesOf(directory: string): number {
  let [keysets, all] = [0, 0]
  for (const name of readdirSync(directory, { recursive: true }) as string[]) {
    const found = statSync(join(directory, name))
    if (!found.isFile()) continue
    all += found.size
    if (name.endsWith('keyset.ks')) keysets += found.size
  }
  return Number(((keysets / all) * 100).toFixed(3))
}
