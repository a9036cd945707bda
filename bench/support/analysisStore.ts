/** A store of events to analyse, kept in the ignored folder: CloudTrail at real record sizes and VPC flow logs. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { cloudTrailFiles } from '../../src/demo/awsLogs.ts'
import { Random } from '../../src/demo/random.ts'
import { everydayFlow, FLOW_HEADERS, flowLine, flowNetwork } from '../../src/demo/vpcFlowRecords.ts'
import { BENCH, COLDTRAIL, lastLine } from './input.ts'
import { measure } from './measure.ts'

/** Directory of a store with about so many events, half CloudTrail and half flows, and how many there are. */
export async function analysisStore(events: number): Promise<{ directory: string; events: number }> {
  const directory = join(BENCH, `analyze-${events}`)
  if (!existsSync(directory)) await make(directory, events)
  const { stdout } = await measure(COLDTRAIL, ['search', '--count', '--json', '--data-dir', directory])
  return { directory, events: lastLine<{ count: number }>(stdout).count }
}

// --- internal ---

/** Bytes of a record, about. */
const RECORD = 1_300
const FLOWS_A_FILE = 20_000

async function make(directory: string, events: number): Promise<void> {
  const input = join(BENCH, `analyze-input-${events}`)
  const unfinished = `${directory}.unfinished`
  for (const path of [input, unfinished]) rmSync(path, { recursive: true, force: true })
  const put = (key: string, body: Uint8Array): void => {
    mkdirSync(dirname(join(input, key)), { recursive: true })
    writeFileSync(join(input, key), body)
  }
  for (const { key, body } of cloudTrailFiles({ bytes: (events / 2) * RECORD, seed: 1 })) put(key, body)
  const random = new Random(2)
  const network = flowNetwork('111122223333', 'us-east-1', 0, random)
  for (let made = 0; made < events / 2; made += FLOWS_A_FILE) {
    const start = Date.UTC(2026, 2, 10) + (made / FLOWS_A_FILE) * 600_000
    const lines: string[] = [FLOW_HEADERS[5]]
    for (let i = 0; i < FLOWS_A_FILE; i++)
      lines.push(flowLine(5, network, everydayFlow(network, start + random.int(0, 599) * 1_000, random)))
    const day = new Date(start).toISOString().slice(0, 10).replaceAll('-', '/')
    const name = `AWSLogs/111122223333/vpcflowlogs/us-east-1/${day}/flows-${made}.log.gz`
    put(name, gzipSync(lines.join('\n'), { level: 1 }))
  }
  const { stdout, status } = await measure(COLDTRAIL, ['collect', input, '--data-dir', unfinished, '--json'])
  if (status !== 0) throw new Error(stdout)
  rmSync(input, { recursive: true })
  renameSync(unfinished, directory)
}
