/**
 * `npm run bench -- manifest [--small]`: which of 1,000,000 manifests (50,000) overlap ten minutes, 1 % of them spanning 9.7 days.
 * Warm: median over random windows in one process, whole manifests parsed. Cold: a fresh process from start to answer,
 * beyond one that does nothing. Against one gzip of the same manifests: unpacked, parsed and filtered. And what one more
 * manifest costs at a hundredth of them and at all.
 */

import { spawnSync } from 'node:child_process'
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createGunzip, createGzip } from 'node:zlib'
import { appendHistory, manifestQuery } from '../src/store/history.ts'
import type { Manifest } from '../src/store/manifest.ts'
import { serializeManifest } from '../src/store/manifest.ts'
import { archiveManifests, isArchiveDue, LOOSE_MANIFESTS } from '../src/store/manifestGenerations.ts'
import { BENCH, ROOT } from './support/input.ts'
import { median, round } from './support/measure.ts'

const SEGMENTS = process.argv.includes('--small') ? 12_500 : 250_000
const SPAN = 660
const LONG = 838_080
const START = 1_600_000_000
const WINDOW = 600
const QUERIES = 200
const STARTS = 11

const COLUMNS = [
  ...['activity_name', 'actor_user_name', 'actor_user_uid', 'api_operation', 'api_service_name', 'cloud_region'],
  ...['dst_endpoint_ip', 'file_path', 'http_request_user_agent', 'resource_uid', 'src_endpoint_ip', 'status_code'],
]

const history = join(BENCH, `manifests-${SEGMENTS}`)
const directory = join(history, 'history', 'main')
const packed = join(history, 'manifests.ndjson.gz')
await prepare()

const random = seeded(7)
const windows = Array.from({ length: QUERIES }, () => {
  const time1 = START + Math.floor(random() * (SEGMENTS * SPAN - WINDOW))
  return { time1, time2: time1 + WINDOW }
})
const ask = (range: { time1: number; time2: number }) => manifestQuery(join(history, 'history'), range)

// The gzip first: it also proves the answers.
const range = windows[0]!
const slowStarted = performance.now()
const expected: string[] = []
for await (const line of createInterface({
  input: createReadStream(packed).pipe(createGunzip()),
  crlfDelay: Number.POSITIVE_INFINITY,
})) {
  const manifest = JSON.parse(line) as Manifest
  if (manifest.time1! <= range.time2 && manifest.time2! >= range.time1) expected.push(manifest.filename)
}
const gzipMs = performance.now() - slowStarted
if (
  ask(range)
    .map(({ manifest }) => manifest.filename)
    .join() !== expected.join()
)
  throw new Error('the answers differ')

const warm: number[] = []
let hits = 0
for (const one of windows) {
  const started = performance.now()
  hits += ask(one).length
  warm.push(performance.now() - started)
}

const node: number[] = []
const cold: number[] = []
const words = ['--data-dir', history, 'manifest', 'query', `time1=${range.time1}`, `time2=${range.time2}`, '--json']
for (let i = 0; i < STARTS; i++) {
  node.push(start(['-e', '0']))
  cold.push(start([join(ROOT, 'src/cli/main.ts'), ...words], expected.length))
}

const rss = process.memoryUsage().rss / 2 ** 20
const bytes = spawnSync('du', ['-sk', directory], { encoding: 'utf8' }).stdout
const atFew = appendCost(join(BENCH, 'manifests-few'), SEGMENTS / 100)
const atAll = appendCost(directory, 0)
const figures = {
  bench: 'manifest',
  manifests: SEGMENTS * 4,
  hits_a_query: round(hits / QUERIES),
  query_ms_warm: round(median(warm)),
  query_ms_warm_p99: round([...warm].sort((a, b) => a - b)[Math.floor(QUERIES * 0.99)]!),
  query_ms_cold: round(median(cold.map((ms, i) => ms - node[i]!))),
  node_ms: round(median(node)),
  gzip_ms: round(gzipMs),
  gzip_speedup: round(gzipMs / median(warm)),
  archive_mb: round(Number.parseInt(bytes, 10) / 1024),
  gzip_mb: round(statSync(packed).size / 1e6),
  append_us_few: round(atFew),
  append_us_all: round(atAll),
  append_ratio: round(atAll / atFew),
  rss_mb: round(rss),
}
const { query_ms_warm, query_ms_cold, gzip_speedup } = figures
console.log(
  JSON.stringify({
    ...figures,
    of_limit: { query_ms_warm, query_ms_cold: round(query_ms_cold / 50), gzip_speedup: round(gzip_speedup / 1000) },
  }),
)

function start(args: readonly string[], lines?: number): number {
  const started = performance.now()
  const { stdout, status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1 << 28 })
  const ms = performance.now() - started
  if (status !== 0) throw new Error(stderr)
  if (lines !== undefined && stdout.trim().split('\n').length !== lines) throw new Error('the answers differ')
  return ms
}

/** Microseconds of CPU a manifest, its part of the archiving that follows included. */
function appendCost(place: string, segments: number): number {
  if (segments > 0) {
    rmSync(place, { recursive: true, force: true })
    fill(place, 1, segments)
  }
  const started = process.cpuUsage()
  const count = 2 * LOOSE_MANIFESTS
  for (let i = 0; i < count / 4; i++) {
    appendHistory(place, [entry(10_000_000 + i)])
    if (isArchiveDue(place)) archiveManifests(place)
  }
  const { user, system } = process.cpuUsage(started)
  return (user + system) / count
}

async function prepare(): Promise<void> {
  if (existsSync(packed)) return
  rmSync(history, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  console.error(`making ${SEGMENTS * 4} manifests, once`)
  fill(directory, 1, SEGMENTS, 20 * LOOSE_MANIFESTS)
  const gzip = createGzip()
  const file = gzip.pipe(createWriteStream(`${packed}.tmp`))
  for (let segment = 1; segment <= SEGMENTS; segment++) {
    const lines = Buffer.concat(manifestsOf(segment).map(serializeManifest))
    if (!gzip.write(lines)) await new Promise((settle) => gzip.once('drain', settle))
  }
  gzip.end()
  await new Promise<void>((settle) => file.once('close', settle))
  renameSync(`${packed}.tmp`, packed)
}

/** `lines`: of each live log that is archived. */
function fill(place: string, from: number, count: number, lines = LOOSE_MANIFESTS): void {
  const step = lines / 4
  for (let segment = from; segment < from + count; segment += step) {
    appendHistory(
      place,
      Array.from({ length: Math.min(step, from + count - segment) }, (_, i) => entry(segment + i)),
    )
    archiveManifests(place)
  }
}

function entry(segment: number) {
  return { segment, manifests: manifestsOf(segment), keyset: join(history, 'none'), replaced: [] }
}

/** The four manifests of a segment, of the size that collected logs have. */
function manifestsOf(segment: number): Manifest[] {
  const random = seeded(segment)
  const hex = (): string =>
    Array.from({ length: 8 }, () =>
      Math.floor(random() * 2 ** 32)
        .toString(16)
        .padStart(8, '0'),
    ).join('')
  const time1 = START + segment * SPAN
  const isLong = Math.floor(random() * 100) === 0
  const time2 = time1 + (isLong ? LONG : SPAN)
  const number = String(segment).padStart(9, '0')
  const rows = 60_000 + Math.floor(random() * 60_000)
  const common = {
    ...({ v: 1, collection: 'main', segment, format: 'aws_cloudtrail', producer: 'coldtrail/0.1.0' } as const),
    day: new Date(time1 * 1000).toISOString().slice(0, 10),
    ...{
      fileTime: time2 + 30,
      sealTime: time2 + 60,
      session1: segment * 100,
      session2: segment * 100 + 99,
      time1,
      time2,
    },
    eventTime: { min: time1, max: time2, p01: time1 + 6, p99: time2 - 6, future: 0, missing: 0, outliers: [] },
    ...{ rows, rejects: 0, rawBytes: rows * 1300 },
  }
  const ids = { id1: segment * 100_000, id2: segment * 100_000 + rows - 1 }
  const sessions = { id1: common.session1, id2: common.session2 }
  const column = () => ({
    min: hex().slice(0, 12),
    max: hex().slice(0, 12),
    ndv: Math.floor(random() * 9000),
    nulls: Math.floor(random() * rows),
  })
  const columns = Object.fromEntries(COLUMNS.map((name) => [name, column()]))
  const size = (): number => Math.floor(random() * 5e7)
  return [
    {
      ...common,
      ...sessions,
      kind: 'session',
      filename: `session-${number}.parquet`,
      size: size(),
      compression: 'zstd',
      sha256: hex(),
    },
    {
      ...common,
      ...ids,
      kind: 'meta',
      filename: `meta-${number}.parquet`,
      size: size(),
      compression: 'zstd',
      columns,
      sha256: hex(),
    },
    { ...common, ...sessions, kind: 'log', filename: `log-${number}.pack`, size: size(), sha256: hex() },
    { ...common, ...sessions, kind: 'index', filename: `index-${number}`, size: size(), sha256: hex() },
  ]
}

function seeded(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state = (state ^ (state << 5)) >>> 0
    return state / 2 ** 32
  }
}
