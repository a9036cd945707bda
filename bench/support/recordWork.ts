/** CPU seconds of JSON.parse + JSON.stringify + gzip at one level over the records of a folder of gzipped CloudTrail. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'

const [folder, level] = [process.argv[2]!, Number(process.argv[3])]
/** About what one request of the forwarder holds. */
const BATCH = 7_000
let cpu = 0
let events = 0
let waiting: string[] = []

function work(): void {
  const before = process.cpuUsage()
  gzipSync(`[${waiting.map((text) => JSON.stringify(JSON.parse(text))).join(',')}]`, { level })
  const { user, system } = process.cpuUsage(before)
  cpu += (user + system) / 1e6
  events += waiting.length
  waiting = []
}

for (const name of readdirSync(folder, { recursive: true }) as string[]) {
  if (!name.endsWith('.gz')) continue
  const { Records } = JSON.parse(gunzipSync(readFileSync(join(folder, name))).toString()) as { Records: unknown[] }
  for (const record of Records) {
    waiting.push(JSON.stringify(record))
    if (waiting.length === BATCH) work()
  }
}
work()
console.log(JSON.stringify({ cpu, events }))
