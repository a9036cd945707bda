/** K: CPU seconds of gunzip + JSON.parse alone, one thread, over the files of a folder. Prints one JSON line. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const folder = process.argv[2]!
const files = (readdirSync(folder, { recursive: true }) as string[]).filter((name) => name.endsWith('.gz'))
const before = process.cpuUsage()
let records = 0
let bytes = 0
for (const name of files) {
  const decoded = gunzipSync(readFileSync(join(folder, name)))
  bytes += decoded.length
  records += (JSON.parse(decoded.toString()) as { Records: unknown[] }).Records.length
}
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ k: (user + system) / 1e6, files: files.length, records, bytes }))
