/**
 * `npm run bench -- forward [--full]`: 200,000 CloudTrail events to a Logs Ingestion API on loopback, against
 * @azure/monitor-ingestion with the same rows, ready-made in a file (whole processes, from start to end), and against parsing, writing and compressing the same records alone; all
 * in one run. `--full`: the memory of 100,000 and of 5,000,000 events too.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { BENCH, COLDTRAIL, cloudTrailFolder, freshData, lastLine } from './support/input.ts'
import { measure, median, round } from './support/measure.ts'

const MEGABYTES = 261
const RUNS = 3
const LEVEL = 5
const RULE = 'dcr-00000000000000000000000000000000'
const support = (name: string): string => join(import.meta.dirname, 'support', name)
const quiet = '--disable-warning=ExperimentalWarning'

const folder = cloudTrailFolder(MEGABYTES)
const ratios = { request: [] as number[], events: [] as number[], cpu: [] as number[] }
const rates: number[] = []
const peaks: number[] = []
let destinations = 0
let requests = 0
let sdkRequests = 0
const rows = await rowsOf(folder)
const { config } = await collected('forward', folder)
for (let run = 0; run < RUNS; run++) {
  const work = lastLine<{ cpu: number; events: number }>(
    (await measure(process.execPath, [quiet, support('recordWork.ts'), folder, String(LEVEL)])).stdout,
  )
  const ours = await forwarded(config, work.events)
  const receiver = await receive([])
  const sdk = await measure(process.execPath, [quiet, support('sdkUpload.ts'), rows, receiver.endpoint, RULE])
  const uploaded = lastLine<{ events: number }>(sdk.stdout).events
  const counted = await receiver.end()
  requests = ours.requests
  sdkRequests = counted.requests
  ratios.request.push(counted.requests / ours.requests)
  ratios.events.push(work.events / ours.wall / (uploaded / sdk.wall))
  ratios.cpu.push(ours.cpu / work.cpu)
  rates.push(work.events / ours.wall)
  peaks.push(ours.peakRssMb)
  console.error(
    `run ${run + 1}: ${work.events} events, coldtrail ${ours.wall.toFixed(2)} s wall ${ours.cpu.toFixed(2)} s CPU ` +
      `${ours.requests} requests, SDK ${sdk.wall.toFixed(2)} s wall ${sdk.cpu.toFixed(2)} s CPU ${counted.requests} requests, work alone ${work.cpu.toFixed(2)} s`,
  )
}
const full = process.argv.includes('--full') ? await memory() : {}
const figures = {
  bench: 'forward',
  request_ratio: round(median(ratios.request)),
  events_ratio: round(median(ratios.events)),
  cpu_ratio: round(median(ratios.cpu)),
  events_per_s: Math.round(median(rates)),
  peak_rss_mb: Math.round(median(peaks)),
  requests,
  sdk_requests: sdkRequests,
  ...full,
}
const ofLimit = {
  request_ratio: round(figures.request_ratio / 8),
  events_ratio: round(figures.events_ratio / 3),
  cpu_ratio: round(figures.cpu_ratio / 1.3),
}
console.log(JSON.stringify({ ...figures, of_limit: ofLimit }))

// --- internal ---

interface Receiver {
  readonly endpoint: string
  readonly environment: Readonly<Record<string, string>>
  end(): Promise<{ requests: number; wireBytes: number; decodedBytes: number }>
}

async function receive(args: readonly string[]): Promise<Receiver> {
  const child: ChildProcess = spawn(process.execPath, [quiet, support('receiver.ts'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const { endpoint, environment } = JSON.parse((await lines.next()).value as string)
  return {
    endpoint,
    environment,
    async end() {
      child.stdin!.end()
      const counts = JSON.parse((await lines.next()).value as string)
      if (child.exitCode === null) await once(child, 'exit')
      return counts
    },
  }
}

async function collected(name: string, folder: string): Promise<{ data: string; config: string }> {
  const place = freshData(name)
  const { status, stdout } = await measure(COLDTRAIL, ['collect', folder, '--config', place.config, '--json'])
  if (status !== 0) throw new Error(`collect ended with ${status}: ${stdout}`)
  return place
}

/** A destination that nothing was sent to yet, over data that are there. */
async function forwarded(config: string, events: number, args: readonly string[] = []) {
  const receiver = await receive(args)
  const name = `bench-${++destinations}`
  const own = `${config}.${name}.yaml`
  writeFileSync(
    own,
    `${readFileSync(config, 'utf8')}\ndestinations:\n  - name: ${name}\n    type: sentinel\n    endpoint: ${receiver.endpoint}\n` +
      `    rule: ${RULE}\n    compression_level: ${LEVEL}\n    credential: { type: managed_identity }\n`,
  )
  const ran = await measure(COLDTRAIL, ['forward', '--config', own, '--json'], receiver.environment)
  const counted = await receiver.end()
  const summary = lastLine<{ events: number }>(ran.stdout)
  if (ran.status !== 0 || summary.events !== events) throw new Error(`forward ended with ${ran.status}: ${ran.stdout}`)
  return { ...ran, requests: counted.requests }
}

/** The rows of the table, one JSON object a line, as the forwarder makes them. */
async function rowsOf(folder: string): Promise<string> {
  const file = join(BENCH, `rows-${MEGABYTES}mb.ndjson`)
  if (existsSync(file)) return file
  const { config } = await collected('forward-rows', folder)
  const { events } = lastLine<{ events: number }>(
    (await measure(process.execPath, [quiet, support('recordWork.ts'), folder, '1'])).stdout,
  )
  await forwarded(config, events, ['--rows', `${file}.unfinished`])
  renameSync(`${file}.unfinished`, file)
  return file
}

/** Peak resident memory with 100,000 and with 5,000,000 events, about. */
async function memory() {
  const peak = async (name: string, megabytes: number): Promise<number> => {
    const folder = cloudTrailFolder(megabytes)
    const place = freshData(name)
    const { stdout } = await measure(COLDTRAIL, ['collect', folder, '--config', place.config, '--json'])
    const { events } = lastLine<{ events: number }>(stdout)
    return (await forwarded(place.config, events)).peakRssMb
  }
  const small = Math.round(await peak('forward-small', 131))
  const large = Math.round(await peak('forward-large', 6_530))
  return { peak_rss_100k_mb: small, peak_rss_5m_mb: large, peak_rss_growth: round(large / small) }
}
