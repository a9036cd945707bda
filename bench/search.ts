/**
 * `npm run bench -- search [--full]`: one address that lies inside every segment's bounds and occurs in one of 100 segments,
 * against DuckDB over the same Parquet files; and the hour histogram of all events. Warm, in one process. The default has
 * 20,000 events a segment, --full the 100,000 (10 M events) that the limits are about.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { DuckDBInstance } from '@duckdb/node-api'
import { loadConfig, open } from '../src/index.ts'
import { BENCH, COLDTRAIL, lastLine } from './support/input.ts'
import { measure, median, round } from './support/measure.ts'

const SEGMENTS = 100
const ROWS = process.argv.includes('--full') ? 100_000 : 20_000
const NEEDLE = '10.77.77.77'
const REPEATS = 15

const data = await store()
const coldtrail = await open(loadConfig({ dataDir: data }))
const expression = `src_endpoint.ip == '${NEEDLE}'`
const columns = ['id', 'time', 'src_endpoint_ip', 'dst_endpoint_ip', 'message']

async function ours(): Promise<number> {
  const found = await coldtrail.search({ expression, columns })
  let rows = 0
  for await (const _ of found.rows) rows++
  return rows
}
const duck = await (await DuckDBInstance.create()).connect()
const folder = join(data, 'collections/main')
const files = readdirSync(folder)
  .filter((name) => /^meta-\d+\.parquet$/.test(name))
  .map((name) => `'${join(folder, name)}'`)
const sql = `SELECT ${columns.join(', ')} FROM read_parquet([${files.join(', ')}]) WHERE src_endpoint_ip = '${NEEDLE}' ORDER BY time, id`
const theirs = async (): Promise<number> => (await duck.runAndReadAll(sql)).currentRowCount
const histogram = async (): Promise<number> =>
  (await coldtrail.timeline({ intervalSecs: 3600 })).bins.reduce((sum, { count }) => sum + count, 0)

const expected = 3
const ourTimes: number[] = []
const theirTimes: number[] = []
const histogramTimes: number[] = []
for (let i = 0; i < REPEATS; i++) {
  ourTimes.push(await timed(ours, expected))
  theirTimes.push(await timed(theirs, expected))
  histogramTimes.push(await timed(histogram, SEGMENTS * ROWS))
}
await coldtrail.close()

const figures = {
  bench: 'search',
  events: SEGMENTS * ROWS,
  segments: files.length,
  needle_ms: round(median(ourTimes)),
  duckdb_ms: round(median(theirTimes)),
  needle_speedup: round(median(ourTimes.map((time, i) => theirTimes[i]! / time))),
  [ROWS === 100_000 ? 'histogram_10m_s' : 'histogram_s']: round(median(histogramTimes) / 1000),
}
console.log(
  JSON.stringify({
    ...figures,
    of_limit: {
      needle_speedup: round((figures.needle_speedup as number) / 20),
      histogram: round(median(histogramTimes) / 2000),
    },
  }),
)

/** Milliseconds of one answer, after the check that it is right. */
async function timed(answer: () => Promise<number>, rows: number): Promise<number> {
  const started = performance.now()
  const found = await answer()
  const milliseconds = performance.now() - started
  if (found !== rows) throw new Error(`${found} instead of ${rows}`)
  return milliseconds
}

/** A data directory of SEGMENTS days of flow logs, kept in the ignored folder. */
async function store(): Promise<string> {
  const directory = join(BENCH, `search-${ROWS}`)
  if (existsSync(directory)) return directory
  const input = join(BENCH, `flows-${ROWS}`)
  const unfinished = `${directory}.unfinished`
  for (const path of [input, unfinished]) rmSync(path, { recursive: true, force: true })
  let random = 12345
  const next = (limit: number): number => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0
    return (random >>> 8) % limit
  }
  for (let segment = 0; segment < SEGMENTS; segment++) {
    const start = Date.UTC(2026, 0, 1 + segment) / 1000
    const lines = [
      'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status',
    ]
    for (let row = 0; row < ROWS; row++) {
      // The first and the last address of every segment enclose the needle; three rows of one segment hold it.
      const source =
        row === 0
          ? '10.0.0.1'
          : row === 1
            ? '10.250.0.1'
            : segment === 57 && row >= 500 && row < 503
              ? NEEDLE
              : `10.${next(70)}.${next(256)}.${next(64)}`
      const time = start + Math.floor((row * 86_400) / ROWS)
      lines.push(
        `2 111111111111 eni-0${next(40)} ${source} 172.16.${next(16)}.${next(256)} ${1024 + next(60_000)} ${[443, 80, 22, 53][next(4)]} 6 ${1 + next(40)} ${40 + next(90_000)} ${time} ${time + 60} ACCEPT OK`,
      )
    }
    const day = new Date(start * 1000).toISOString().slice(0, 10).replaceAll('-', '/')
    const path = join(input, `AWSLogs/111111111111/vpcflowlogs/us-east-1/${day}`)
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'flows.log.gz'), gzipSync(lines.join('\n'), { level: 1 }))
  }
  const { stdout, status } = await measure(COLDTRAIL, ['collect', input, '--data-dir', unfinished, '--json'])
  if (status !== 0 || lastLine<{ events: number }>(stdout).events !== SEGMENTS * ROWS) throw new Error(stdout)
  rmSync(input, { recursive: true })
  renameSync(unfinished, directory)
  return directory
}
