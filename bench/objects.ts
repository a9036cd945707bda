/**
 * `npm run bench -- objects`: 20,000 objects of 2 KB from the embedded S3 server, against a bare SDK GET loop at the same
 * concurrency in the same run; and listing 100,000 known keys again.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3'
import { COLDTRAIL, freshData, lastLine } from './support/input.ts'
import { measure, median, round } from './support/measure.ts'

const CONCURRENCY = 16
const RUNS = 3
const credentials = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'bench' }
const environment = {
  AWS_ACCESS_KEY_ID: credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  AWS_REGION: 'us-east-1',
}

const server = spawn(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'support/s3Objects.ts')],
  {
    stdio: ['pipe', 'pipe', 'inherit'],
  },
)
const [line] = (await once(server.stdout, 'data')) as [Buffer]
const endpoint = line.toString().trim()

const bare: number[] = []
const ours: number[] = []
for (let run = 0; run < RUNS; run++) {
  bare.push(await bareLoop())
  const { config } = freshData('objects')
  ours.push(20_000 / (await collect('s3://small/logs/', config, 20_000)))
  console.error(`run ${run + 1}: bare ${Math.round(bare.at(-1)!)} objects/s, coldtrail ${Math.round(ours.at(-1)!)}`)
}
const { config } = freshData('relist')
await collect('s3://many/logs/', config, 100_000)
const relist = median([await collect('s3://many/logs/', config, 0), await collect('s3://many/logs/', config, 0)])
server.stdin.end()

const figures = {
  bench: 'objects',
  objects_per_s: Math.round(median(ours)),
  bare_objects_per_s: Math.round(median(bare)),
  objects_ratio: round(median(ours.map((rate, run) => rate / bare[run]!))),
  relist_100k_s: round(relist),
}
const ofLimit = {
  objects_per_s: round(figures.objects_per_s / 1000),
  objects_ratio: round(figures.objects_ratio / 0.8),
  relist_100k_s: round(relist / 10),
}
console.log(JSON.stringify({ ...figures, of_limit: ofLimit }))

/** Seconds of a whole collect, its start included. */
async function collect(uri: string, configuration: string, expected: number): Promise<number> {
  const args = [
    'collect',
    uri,
    '--endpoint',
    endpoint,
    '--config',
    configuration,
    '--max-workers',
    String(CONCURRENCY),
    '--json',
  ]
  const { wall, stdout, status } = await measure(COLDTRAIL, args, environment)
  const summary = lastLine<{ objects: number }>(stdout)
  if (status !== 0 || summary.objects !== expected) throw new Error(`collect: ${stdout}`)
  return wall
}

/** Objects per second of listing and getting with the SDK alone. */
async function bareLoop(): Promise<number> {
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true })
  const started = performance.now()
  const keys: string[] = []
  let token: string | undefined
  do {
    const page = await client.send(new ListObjectsV2Command({ Bucket: 'small', ContinuationToken: token }))
    for (const { Key } of page.Contents ?? []) keys.push(Key!)
    token = page.NextContinuationToken
  } while (token)
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < keys.length) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: 'small', Key: keys[next++]! }))
      await Body!.transformToByteArray()
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  client.destroy()
  return keys.length / ((performance.now() - started) / 1000)
}
