/** A process that sends one batch to a file destination and dies while it writes the next: half of that is left. */
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openDestination } from '../../src/destinations.ts'

const { config, folder, body, records } = JSON.parse(readFileSync(0, 'utf8'))
const bytes = Buffer.from(body, 'base64')
const destination = await openDestination({}, config, () => undefined)
const batch = { body: bytes, decodedBytes: bytes.length, records, requestId: 'torn' }
const outcome = await destination.feeds[0]!.send(batch, new AbortController().signal)
if (outcome.kind !== 'accepted') throw new Error(JSON.stringify(outcome))
const partial = readdirSync(folder).find((name) => name.endsWith('.partial'))!
appendFileSync(join(folder, partial), bytes.subarray(0, bytes.length >> 1))
process.kill(process.pid, 'SIGKILL')
