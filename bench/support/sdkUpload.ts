/** Uploads the rows of a file with @azure/monitor-ingestion. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { LogsIngestionClient } from '@azure/monitor-ingestion'

const [file, endpoint, rule] = process.argv.slice(2) as [string, string, string]
const credential = { getToken: async () => ({ token: 'bench', expiresOnTimestamp: Date.now() + 3_600_000 }) }
const bearer = {
  name: 'bearerOnLoopback',
  sendRequest: (request: { headers: { set(name: string, value: string): void } }, next: (request: never) => never) => {
    request.headers.set('authorization', 'Bearer bench')
    return next(request as never)
  },
}
const client = new LogsIngestionClient(endpoint, credential, {
  allowInsecureConnection: true,
  additionalPolicies: [{ policy: bearer as never, position: 'perRetry' }],
})
// It sends no token without TLS, which neither side of this comparison has.
client.pipeline.removePolicy({ name: 'bearerTokenAuthenticationPolicy' })
const ROWS = 20_000
let events = 0
let rows: Record<string, unknown>[] = []

async function upload(): Promise<void> {
  await client.upload(rule, 'Custom-AWSCloudTrail', rows)
  events += rows.length
  rows = []
}

for await (const line of createInterface({ input: createReadStream(file) })) {
  rows.push(JSON.parse(line))
  if (rows.length === ROWS) await upload()
}
if (rows.length > 0) await upload()
console.log(JSON.stringify({ events }))
