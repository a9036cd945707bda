/**
 * `npm run bench -- collect [--full]`: CloudTrail files of a folder to committed segments, against K = gunzip +
 * JSON.parse of the same files in the same run. --full adds 10 M events and one 2 GB object for the peak memory.
 */
import { createWriteStream, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip, gunzipSync } from 'node:zlib'
import { cloudTrailFiles } from '../src/demo/awsLogs.ts'

import { BENCH, COLDTRAIL, cloudTrailFolder, freshData, lastLine } from './support/input.ts'
import { measure, median, round } from './support/measure.ts'

const LIMITS = { cpu_ratio_k: 1.5, cpu_ratio_k_full: 2.0, peak_rss_mb: 1024 }
const RUNS = 3
const full = process.argv.includes('--full')
const folder = cloudTrailFolder(500)

interface Summary {
  events: number
  failed: number
}

async function collect(source: string, name: string, options: { keyset: boolean; processes?: number }) {
  const configuration = `keyset: ${options.keyset}\n${options.processes ? `collect:\n  processes: ${options.processes}\n` : ''}`
  const { config } = freshData(name, configuration)
  const measured = await measure(COLDTRAIL, ['collect', source, '--config', config, '--json'])
  const summary = lastLine<Summary>(measured.stdout)
  if (measured.status !== 0 || summary.failed > 0) throw new Error(`collect failed: ${measured.stdout}`)
  return { ...measured, events: summary.events }
}

async function timesK(): Promise<{ k: number; bytes: number; records: number }> {
  const { stdout } = await measure(process.execPath, [join(import.meta.dirname, 'support/k.ts'), folder])
  return lastLine(stdout)
}

const ks: number[] = []
const bare: number[] = []
const keyed: number[] = []
const walls: number[] = []
const singleWalls: number[] = []
let peak = 0
let events = 0
let bytes = 0
for (let run = 0; run < RUNS; run++) {
  const k = await timesK()
  ks.push(k.k)
  bytes = k.bytes
  const without = await collect(folder, 'collect', { keyset: false })
  const withKeyset = await collect(folder, 'collect', { keyset: true })
  const single = await collect(folder, 'collect', { keyset: true, processes: 1 })
  if (withKeyset.events !== k.records) throw new Error(`${withKeyset.events} events of ${k.records} records`)
  bare.push(without.cpu)
  keyed.push(withKeyset.cpu)
  walls.push(withKeyset.wall)
  singleWalls.push(single.wall)
  events = withKeyset.events
  peak = Math.max(peak, without.peakRssMb, withKeyset.peakRssMb)
  console.error(
    `run ${run + 1}: K ${k.k.toFixed(2)} s, without keysets ${without.cpu.toFixed(2)}, with ${withKeyset.cpu.toFixed(2)}`,
  )
}

const largest: Record<string, number> = {}
if (full) {
  const many = await collect(cloudTrailFolder(14_000), 'collect-10m', { keyset: true })
  largest.events_10m = many.events
  largest.peak_rss_10m_mb = round(many.peakRssMb)
  const huge = await collect(await hugeObject(), 'collect-huge', { keyset: true })
  largest.peak_rss_2gb_mb = round(huge.peakRssMb)
  largest.events_2gb = huge.events
  peak = Math.max(peak, many.peakRssMb, huge.peakRssMb)
}

const k = median(ks)
const figures = {
  bench: 'collect',
  k_s: round(k),
  cpu_ratio_k: round(median(bare.map((cpu, run) => cpu / ks[run]!))),
  cpu_ratio_k_full: round(median(keyed.map((cpu, run) => cpu / ks[run]!))),
  events_per_s: Math.round(events / median(walls)),
  mb_per_s: round(bytes / 1e6 / median(walls)),
  peak_rss_mb: round(peak),
  scaling_2: round(median(singleWalls.map((wall, run) => wall / walls[run]!))),
  ...largest,
}
const ofLimit = Object.fromEntries(
  Object.entries(LIMITS).map(([key, limit]) => [key, round(figures[key as keyof typeof LIMITS] / limit)]),
)
console.log(JSON.stringify({ ...figures, of_limit: ofLimit }))

/** One gzipped object of 2 GB decoded: one `Records` array, written as a stream. */
async function hugeObject(): Promise<string> {
  const directory = join(BENCH, 'huge')
  const path = join(directory, 'AWSLogs/111111111111/CloudTrail/us-east-1/2026/01/01/huge.json.gz')
  if (existsSync(path)) return directory
  mkdirSync(join(path, '..'), { recursive: true })
  const records = function* (): Iterable<Buffer> {
    yield Buffer.from('{"Records":[')
    let first = true
    for (const { body } of cloudTrailFiles({ bytes: 2e9, seed: 2 })) {
      const text = gunzipSync(body).toString()
      const inner = text.slice(text.indexOf('[') + 1, text.lastIndexOf(']'))
      yield Buffer.from(first ? inner : `,${inner}`)
      first = false
    }
    yield Buffer.from(']}')
  }
  await pipeline(records(), createGzip({ level: 1 }), createWriteStream(path))
  return directory
}
