/**
 * `npm run bench -- analyze [--events N] [--full] [--indicators N]`: tagging with the shipped rules, and four plugins together,
 * over CloudTrail and flow logs; whole processes, start-up and commit included. The default has 1,000,000 events, --full
 * 10,000,000. The last line is one JSON object. What `scan` is: DuckDB over the same files and columns, one thread. What the
 * import of a plaso timeline is compared with: inflating and parsing its blobs alone (`npm run bench -- plaso`).
 */
import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { DuckDBInstance } from '@duckdb/node-api'
import { Foreman } from '../src/engine/foreman.ts'
import { analysisStore } from './support/analysisStore.ts'
import { BENCH, COLDTRAIL, lastLine } from './support/input.ts'
import { measure, median, round } from './support/measure.ts'
import { plasoImport } from './support/plasoImport.ts'
import { promptness } from './support/promptness.ts'

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    full: { type: 'boolean', default: false },
    indicators: { type: 'string', default: '1000000' },
    repeats: { type: 'string', default: '3' },
  },
})
const wanted = values.full ? 10_000_000 : Number(values.events)
const REPEATS = Number(values.repeats)
const FOUR = 'tagging,sessionize,unique_domains_visited,indicator_match'

const { directory, events } = await analysisStore(wanted)
const data = join(BENCH, 'data-analyze')
rmSync(data, { recursive: true, force: true })
cpSync(directory, data, { recursive: true })
await indicators(Number(values.indicators))

interface Run {
  readonly wall: number
  readonly cpu: number
  readonly peakRssMb: number
}

const two = await runs('tagging', 2)
const one = await runs('tagging', 1)
const four = await runs(FOUR, 2)
const scan = await scanned()

console.log(
  JSON.stringify({
    ...{ bench: 'analyze', events, indicators: Number(values.indicators) },
    events_per_s_tagging: rate(two, 'wall'),
    events_per_cpu_s_tagging: rate(two, 'cpu'),
    events_per_s_four_plugins: rate(four, 'wall'),
    events_per_cpu_s_four_plugins: rate(four, 'cpu'),
    scan_ratio_tagging: round(of(two, 'cpu') / scan),
    scaling_2: round(of(one, 'wall') / of(two, 'wall')),
    plaso_import_cpu_ratio: (await plasoImport(Math.min(wanted, 1_000_000), REPEATS)).ratio,
    supervision_cpu_pct: await supervision(),
    ...(await promptness(data, FOUR, REPEATS)),
    peak_rss_mb: Math.round(Math.max(...[...one, ...two, ...four].map(({ peakRssMb }) => peakRssMb))),
  }),
)
rmSync(data, { recursive: true, force: true })

function of(measured: readonly Run[], what: keyof Run): number {
  return median(measured.map((run) => run[what]))
}

function rate(measured: readonly Run[], what: 'wall' | 'cpu'): number {
  return Math.round(events / of(measured, what))
}

/** Runs of the program; each is removed again. */
async function runs(plugins: string, workers: number): Promise<Run[]> {
  const measured: Run[] = []
  for (let i = 0; i < REPEATS; i++) {
    const place = ['--data-dir', data, '--json']
    const result = await measure(COLDTRAIL, ['analyze', '--plugins', plugins, '--workers', String(workers), ...place])
    if (result.status !== 0) throw new Error(`${plugins}: status ${result.status}\n${result.stdout}`)
    const {
      run,
      tags,
      events: counts,
    } = lastLine<{ run: number; tags: number; events: { analyzed: number } }>(result.stdout)
    if (counts.analyzed !== events || tags === 0) throw new Error(result.stdout)
    await measure(COLDTRAIL, ['analyze', 'remove', String(run), ...place])
    measured.push(result)
  }
  return measured
}

/** CPU seconds of reading the columns that the rules read. */
async function scanned(): Promise<number> {
  const folder = join(data, 'collections/main')
  const files = readdirSync(folder)
    .filter((name) => /^meta-\d+\.parquet$/.test(name))
    .map((name) => `'${join(folder, name)}'`)
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  const columns = [
    'data',
    'data_type',
    'api_operation',
    'api_service_name',
    'status_code',
    'actor_user_name',
    'actor_user_type',
    'src_endpoint_ip',
    'dst_endpoint_ip',
    'disposition',
    'http_request_user_agent',
  ]
  const sql = `SELECT sum(id), ${columns.map((name) => `sum(length("${name}"))`)}, sum(dst_endpoint_port) FROM read_parquet([${files}])`
  const seconds: number[] = []
  for (let i = 0; i < REPEATS; i++) {
    const before = process.cpuUsage()
    await connection.runAndReadAll(sql)
    const { user, system } = process.cpuUsage(before)
    seconds.push((user + system) / 1e6)
  }
  return median(seconds)
}

/** What watching two busy workers costs, of two cores. */
async function supervision(): Promise<number> {
  const foreman = new Foreman<{ do: 'hang' }>(
    {
      ...{ module: new URL('../test/support/engineWorker.ts', import.meta.url), init: { offset: 0 }, workers: 2 },
      ...{ memoryBytes: 2 ** 31, timeoutMilliseconds: 900_000 },
    },
    { next: () => undefined, done() {}, failed() {}, died() {}, hopeless() {} },
  )
  while (foreman.statuses().some(({ state }) => state === 'starting'))
    await new Promise((resolve) => setTimeout(resolve, 50))
  const before = process.cpuUsage()
  const started = performance.now()
  const status = setInterval(() => JSON.stringify(foreman.statuses()), 500)
  await new Promise((resolve) => setTimeout(resolve, 5_000))
  clearInterval(status)
  const { user, system } = process.cpuUsage(before)
  const share = (user + system) / 1_000 / (performance.now() - started) / 2
  await foreman.stop({ askMilliseconds: 500, termMilliseconds: 500 })
  return round(share * 100)
}

async function indicators(count: number): Promise<void> {
  const path = join(BENCH, 'indicators.txt')
  const lines: string[] = []
  for (let i = 0; i < count; i++)
    lines.push(
      i % 2 === 0 ? `host${i}.example${i % 977}.com` : `100.${64 + (i >> 17)}.${(i >> 9) & 255}.${(i >> 1) & 255}`,
    )
  writeFileSync(path, `${lines.join('\n')}\n`)
  const { status, stdout } = await measure(COLDTRAIL, [
    'library',
    'import',
    path,
    '--format',
    'list',
    '--data-dir',
    data,
    '--json',
  ])
  rmSync(path)
  if (status !== 0) throw new Error(stdout)
}
