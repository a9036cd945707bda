import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { SourceContext } from '../../../src/components/component.ts'
import type { ListRange, ListStatistics, Source } from '../../../src/components/source.ts'
import { s3 } from '../../../src/components/sources/s3.ts'
import { ColdtrailError, type ErrorCode } from '../../../src/core/errors.ts'
import type { SourceObject } from '../../../src/core/sourceObject.ts'
import type { FaultAction, FaultRule } from '../../../src/demo/s3Faults.ts'
import { type S3Server, type S3ServerOptions, startS3Server } from '../../../src/demo/s3Server.ts'

// Nothing of the machine that runs the tests may lend its identity to them.
for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
Object.assign(process.env, { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/dev/null' })
process.env.AWS_SHARED_CREDENTIALS_FILE = '/dev/null'

const KEY = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'not-a-secret-EXAMPLE' }
const KEYS = { access_key_id: KEY.accessKeyId, secret_access_key: KEY.secretAccessKey }
const closers: (() => unknown)[] = []
after(() => Promise.all(closers.map((close) => close())))

const warnings: string[] = []
const pauses: number[] = []
const context: SourceContext = {
  environment: {},
  pause: async (milliseconds) => {
    pauses.push(milliseconds)
  },
  warn: (message) => warnings.push(message),
}

async function serve(options: S3ServerOptions = { credentials: [KEY] }): Promise<S3Server> {
  const server = await startS3Server(options)
  closers.push(server.close)
  return server
}

async function connect(server: S3Server, config: Record<string, unknown> = {}): Promise<Source> {
  const parsed = s3.config.parse({ bucket: 'logs', endpoint: server.endpoint, region: 'us-east-1', ...KEYS, ...config })
  const source = await s3.create(parsed, context)
  closers.push(() => source.close())
  return source
}

function counts(): ListStatistics {
  return { requests: 0, objects: 0, bytes: 0, milliseconds: 0, skipped: new Map() }
}

async function listed(source: Source, range: ListRange = {}, statistics = counts()): Promise<SourceObject[]> {
  const objects: SourceObject[] = []
  for await (const page of source.list(range, statistics)) objects.push(...page)
  return objects
}

const keysOf = (objects: readonly SourceObject[]) => objects.map((object) => object.key).sort()
const only = async (source: Source) => (await listed(source))[0]!

async function stream(source: Source, object: SourceObject): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of await source.open(object)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function coded(code: ErrorCode, text?: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof ColdtrailError, String(error))
    assert.equal(error.code, code)
    assert.doesNotMatch(error.message + error.hint, /\{\w+\}/, 'every value of the row is filled in')
    assert.doesNotMatch(JSON.stringify(error), /not-a-secret/)
    if (text) assert.match(error.message + error.hint, text)
    return true
  }
}

const day = (text: string) => Date.parse(`${text}T00:00:00Z`) * 1000

test('keys with blanks, percent signs, dots and unicode are listed and fetched as they are', async () => {
  const server = await serve()
  const keys = ['a b', 'a+b', 'a%20b', '100%', 'd/../e', 'ünï/ço∂é/😀', '<&>"\'', 'x=1&y=2', '\u0001', '//s', '.x']
  for (const key of keys) server.bucket('logs').put(key, `body of ${key}`)
  const source = await connect(server)
  const objects = await listed(source)
  assert.deepEqual(keysOf(objects), keys.toSorted())
  for (const object of objects) {
    assert.equal((await source.read(object)).toString(), `body of ${object.key}`)
    assert.equal((await stream(source, object)).toString(), `body of ${object.key}`)
  }
})

test('objects with one identical LastModified, arriving late and out of order, are all listed', async () => {
  const server = await serve()
  const bucket = server.bucket('logs')
  const source = await connect(server)
  for (let at = 0; at < 1500; at += 1) bucket.put(`k${at * 7919}`, 'x', { lastModified: 1_700_000_000_000 })
  assert.equal((await listed(source)).length, 1500)
  bucket.put('a-late-one', 'x', { lastModified: 1_600_000_000_000 })
  const objects = await listed(source)
  assert.equal(objects.length, 1501)
  assert.equal(new Set(objects.map((object) => object.key)).size, 1501)
})

/** A year of CloudTrail of two accounts and two regions, `perDay` objects each; and things that lie beside it. */
function yearOfLogs(server: S3Server, perDay: number): void {
  const bucket = server.bucket('logs')
  for (const account of ['111122223333', 'o-abcde12345/444455556666']) {
    for (const region of ['us-east-1', 'eu-west-1']) {
      for (let date = Date.UTC(2023, 0, 1); date < Date.UTC(2024, 0, 1); date += 86_400_000) {
        const path = new Date(date).toISOString().slice(0, 10).replaceAll('-', '/')
        for (let at = 0; at < perDay; at += 1) {
          bucket.putLazy(`AWSLogs/${account}/CloudTrail/${region}/${path}/${at}.json.gz`, LAZY)
        }
      }
    }
  }
  bucket.put('AWSLogs/111122223333/CloudTrail/', '')
  bucket.put('AWSLogs/aws-logs-write-test', 'x')
}

const LAZY = { size: 1, etag: 'e', lastModified: Date.UTC(2023, 11, 31), body: () => Buffer.from('x') }

test('one day of a year-sized bucket costs the lists of its days, not of the bucket', async () => {
  const server = await serve({})
  yearOfLogs(server, 3)
  const source = await connect(server)
  const statistics = counts()
  const objects = await listed(source, { from: day('2023-07-10'), to: day('2023-07-10') + 1 }, statistics)
  assert.equal(objects.length, 4 * 3 * 3, 'the day and two days of look-back')
  assert.ok(objects.every((object) => /\/2023\/07\/(?:08|09|10)\//.test(object.key)))
  // Levels: the bucket, AWSLogs/, two accounts with the organisation, two services; then 3 days x 4 regions.
  assert.equal(statistics.requests, 7 + 12)
  assert.equal(server.requests.get('ListObjectsV2'), statistics.requests)
  assert.equal(statistics.objects, objects.length)
  assert.equal(statistics.skipped.get('zero bytes'), 1)
  assert.equal(statistics.skipped.get('noise'), 1)
  const again = counts()
  await listed(source, { from: day('2023-07-10'), to: day('2023-07-10'), lookbackDays: 0 }, again)
  assert.equal(again.requests, 4, 'the enumeration is kept')
})

test('whole months and years of a range are one list each, and a range finds what a filter would find', async () => {
  const server = await serve({})
  yearOfLogs(server, 1)
  const source = await connect(server)
  for (const [from, to] of [
    ['2022-12-30', '2023-01-02'],
    ['2023-02-01', '2023-04-03'],
    ['2023-01-03', '2024-06-01'],
  ] as const) {
    const statistics = counts()
    const objects = await listed(source, { from: day(from), to: day(to), lookbackDays: 0 }, statistics)
    const expected = (await listed(source)).filter(({ key }) => {
      const date = /\d{4}\/\d\d\/\d\d/.exec(key)![0].replaceAll('/', '-')
      return date >= from && date <= to
    })
    assert.ok(objects.length > 0)
    assert.deepEqual(keysOf(objects), keysOf(expected))
  }
  const statistics = counts()
  await listed(source, { from: day('2023-02-01'), to: day('2023-04-02'), lookbackDays: 0 }, statistics)
  assert.equal(statistics.requests, 4 * (2 + 2))
})

test('a boundless range is cut to the years that can be', async () => {
  const server = await serve({})
  yearOfLogs(server, 1)
  const source = await connect(server)
  const statistics = counts()
  const centuries = { from: Date.UTC(1, 0, 1) * 1000, to: Date.UTC(9999, 0, 1) * 1000 }
  assert.equal((await listed(source, centuries, statistics)).length, 4 * 365)
  assert.ok(statistics.requests < 4 * 60, `${statistics.requests} requests`)
  assert.equal((await listed(source, { to: day('2023-01-02') })).length, 4 * 2)
})

test('every AWS layout is pruned by its own form of dates', async () => {
  const server = await serve({})
  const bucket = server.bucket('logs')
  const trees = {
    config: 'p/AWSLogs/111122223333/Config/us-east-1/2023/7/1/ConfigHistory/x.json.gz',
    hive: 'p/AWSLogs/aws-account-id=111122223333/aws-service=vpcflowlogs/aws-region=us-east-1/year=2023/month=07/day=01/x',
    waf: 'p/AWSLogs/111122223333/WAFLogs/us-east-1/acl/2023/07/01/10/05/x.log.gz',
    firewall: 'p/AWSLogs/111122223333/network-firewall/alert/us-east-1/fw/2023/07/01/10/x.log.gz',
    dns: 'p/AWSLogs/111122223333/vpcdnsquerylogs/vpc-1/2023/07/01/x.log.gz',
    flow: 'p/AWSLogs/111122223333/vpcflowlogs/us-east-1/2023/07/01/x.log.gz',
  }
  const other = (key: string) => key.replace('2023', '2021').replace('/7/1/', '/11/1/')
  for (const key of Object.values(trees)) {
    bucket.putLazy(key, LAZY)
    bucket.putLazy(other(key), LAZY)
  }
  bucket.putLazy('p/AWSLogs/111122223333/SomethingNew/2023/07/01/x', LAZY)
  bucket.putLazy('p/AWSLogs/111122223333/SomethingNew/no-date', { ...LAZY, lastModified: Date.UTC(2023, 6, 1) })
  bucket.putLazy('p/AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2023/07/01/x.json.gz', LAZY)
  const source = await connect(server)
  const statistics = counts()
  const objects = await listed(source, { from: day('2023-07-01'), to: day('2023-07-01'), lookbackDays: 0 }, statistics)
  const expected = [...Object.values(trees), 'p/AWSLogs/111122223333/SomethingNew/2023/07/01/x']
  assert.deepEqual(keysOf(objects), [...expected, 'p/AWSLogs/111122223333/SomethingNew/no-date'].sort())
  assert.equal(statistics.skipped.get('digest'), 1)
  assert.equal(statistics.skipped.get('out of range'), undefined, 'nothing of other days was even listed')
  assert.equal((await listed(source)).length, 2 * 6 + 2)
  assert.equal((await listed(await connect(server, { layout: 'flat' }))).length, 2 * 6 + 2)
  const deep = await connect(server, { prefix: 'p/AWSLogs/111122223333/vpcflowlogs/us-east-1/2023/' })
  assert.deepEqual(keysOf(await listed(deep)), [trees.flow])
})

test('an unknown layout is listed whole, and cut by the day in the key, else by LastModified', async () => {
  const server = await serve({})
  const bucket = server.bucket('logs')
  const july = { ...LAZY, lastModified: Date.UTC(2023, 6, 1, 12) }
  for (const key of ['app-2023-07-01.log', 'dt=20230701/x', 'y/2023/07/01/x', 'fw_20230701T1200Z_1.gz']) {
    bucket.putLazy(key, LAZY)
  }
  for (const key of ['app-2023-06-01.log', 'dt=20220701/x', 'undated-december']) bucket.putLazy(key, LAZY)
  bucket.putLazy('undated-july', july)
  bucket.putLazy('app-2023-06-02.log', july)
  const source = await connect(server)
  const statistics = counts()
  const objects = await listed(source, { from: day('2023-07-01'), to: day('2023-07-02') }, statistics)
  assert.deepEqual(keysOf(objects), [
    'app-2023-07-01.log',
    'dt=20230701/x',
    'fw_20230701T1200Z_1.gz',
    'undated-july',
    'y/2023/07/01/x',
  ])
  assert.equal(statistics.skipped.get('out of range'), 4)
  const tail = await connect(server, { start_after: 'dt=20230701/x', layout: 'flat' })
  assert.deepEqual(keysOf(await listed(tail)), [
    'fw_20230701T1200Z_1.gz',
    'undated-december',
    'undated-july',
    'y/2023/07/01/x',
  ])
})

test('include, exclude, archived and noise are counted by reason', async () => {
  const server = await serve({})
  const bucket = server.bucket('logs')
  for (const key of ['a.gz', 'd/b.gz', 'd/c.txt', 'd/secret/e.gz', 'AWSLogs/1/ELBAccessLogTestFile'])
    bucket.put(key, 'x')
  bucket.put('cold.gz', 'x', { storageClass: 'DEEP_ARCHIVE' })
  bucket.put('cool.gz', 'x', { storageClass: 'GLACIER_IR' })
  bucket.put('thawed.gz', 'x', { storageClass: 'GLACIER', restored: true })
  const source = await connect(server, { include: ['*.gz'], exclude: ['d/secret/**'] })
  const statistics = counts()
  assert.deepEqual(keysOf(await listed(source, {}, statistics)), ['a.gz', 'cool.gz', 'd/b.gz', 'thawed.gz'])
  assert.deepEqual(Object.fromEntries(statistics.skipped), { excluded: 2, noise: 1, archived: 1 })
})

const FAULTS: [name: string, action: FaultRule['action'], code: ErrorCode, text?: RegExp][] = [
  ['SlowDown', { kind: 'error', code: 'SlowDown' }, 'E_S3_THROTTLED'],
  ['Throttling', { kind: 'error', code: 'ThrottlingException' }, 'E_S3_THROTTLED'],
  ['InternalError', { kind: 'error', code: 'InternalError' }, 'E_S3_UNAVAILABLE'],
  ['ServiceUnavailable', { kind: 'error', code: 'ServiceUnavailable' }, 'E_S3_UNAVAILABLE'],
  ['RequestTimeout', { kind: 'error', code: 'RequestTimeout' }, 'E_S3_UNAVAILABLE'],
  ['an unknown 5xx', { kind: 'error', code: 'Odd', status: 502 }, 'E_S3_UNAVAILABLE', /Odd/],
  ['KMS throttling', { kind: 'error', code: 'KMS.ThrottlingException' }, 'E_S3_THROTTLED'],
  ['a reset', { kind: 'reset' }, 'E_S3_UNAVAILABLE', /ECONNRESET/],
  ['a stall', { kind: 'stall' }, 'E_S3_STALLED', /0\.2 s/],
]

for (const [name, action, code, text] of FAULTS) {
  test(`${name} is retried by LIST and GET, and named when it stays`, async () => {
    const server = await serve()
    server.bucket('logs').put('k', 'body')
    const source = await connect(server, { max_attempts: 3, request_timeout_secs: 0.2 })
    server.fail({ operation: 'ListObjectsV2', times: 2, action })
    server.fail({ operation: 'GetObject', times: 2, action })
    const object = await only(source)
    assert.equal((await source.read(object)).toString(), 'body')
    assert.equal(source.statistics.retries, 4)
    assert.equal(source.statistics.errors.get(code), 4)
    assert.equal(source.statistics.throttles, code === 'E_S3_THROTTLED' ? 4 : 0)
    server.fail({ times: Number.POSITIVE_INFINITY, action })
    await assert.rejects(source.read(object), coded(code, text))
    await assert.rejects(source.open(object), coded(code, text))
    await assert.rejects(listed(source), coded(code, text))
  })
}

const PERMANENT: [action: FaultRule['action'], code: ErrorCode, text: RegExp][] = [
  [{ kind: 'error', code: 'AccessDenied' }, 'E_S3_ACCESS_DENIED', /s3:GetObject on arn:aws:s3:::logs\/\*/],
  [
    { kind: 'error', code: 'AccessDenied', message: 'User: u is not authorized to perform: kms:Decrypt on key' },
    'E_S3_ACCESS_DENIED',
    /Allow kms:Decrypt/,
  ],
  [
    { kind: 'error', code: 'AccessDenied', message: 'with an explicit deny in a VPC endpoint policy' },
    'E_S3_ACCESS_DENIED',
    /in the policy of the VPC endpoint/,
  ],
  [{ kind: 'error', code: 'AccessDenied', message: 'Requester Pays' }, 'E_S3_REQUESTER_PAYS', /requester_pays: true/],
  [{ kind: 'error', code: 'NoSuchBucket' }, 'E_S3_NO_BUCKET', /logs/],
  [{ kind: 'error', code: 'NoSuchKey' }, 'E_S3_NO_KEY', /s3:\/\/logs\/k is gone/],
  [{ kind: 'error', code: 'InvalidAccessKeyId' }, 'E_S3_BAD_KEY_ID', /stray blanks/],
  [{ kind: 'error', code: 'SignatureDoesNotMatch' }, 'E_S3_SIGNATURE', /secret/],
  [{ kind: 'error', code: 'ExpiredToken' }, 'E_S3_EXPIRED_TOKEN', /aws sso login/],
  [{ kind: 'error', code: 'RequestTimeTooSkewed' }, 'E_S3_CLOCK_SKEW', /NTP/],
  [{ kind: 'error', code: 'InvalidObjectState' }, 'E_S3_ARCHIVED', /Restore it/],
  [{ kind: 'error', code: 'KMS.DisabledException' }, 'E_S3_KMS', /not enabled/],
  [{ kind: 'error', code: 'PreconditionFailed' }, 'E_S3_CHANGED', /replaced/],
  [{ kind: 'error', code: 'Teapot', status: 418 }, 'E_S3_RESPONSE', /Teapot/],
]

for (const [action, code, text] of PERMANENT) {
  const title = action.kind === 'error' ? `${action.code} ${action.message ?? ''}` : action.kind
  test(`${title} is not retried, and says what to do`, async () => {
    const server = await serve()
    server.bucket('logs').put('k', 'body')
    const source = await connect(server)
    const object = await only(source)
    server.fail({ operation: 'GetObject', times: Number.POSITIVE_INFINITY, action })
    await assert.rejects(source.read(object), coded(code, text))
    await assert.rejects(source.open(object), coded(code, /request [0-9A-F]{16}/))
    assert.equal(server.requests.get('GetObject'), 2)
  })
}

test('a failed LIST is an error on every page and every level, never an empty listing', async () => {
  const server = await serve({})
  yearOfLogs(server, 2)
  for (let at = 0; at < 3000; at += 1) server.bucket('flat').put(String(at), 'x')
  const denied = { kind: 'error', code: 'AccessDenied' } as const
  // One request at a time, so that none of an ended listing takes the fault meant for the next.
  for (const config of [{ bucket: 'flat', max_list_requests: 1 }, { max_list_requests: 1 }]) {
    server.faults.clear()
    server.resetCounts()
    assert.equal((await listed(await connect(server, config))).length, 'bucket' in config ? 3000 : 4 * 365 * 2)
    const requests = server.requests.get('ListObjectsV2')!
    assert.ok(requests > 3)
    for (let from = 1; from <= requests; from += 1) {
      server.faults.clear()
      server.fail({ operation: 'ListObjectsV2', from, action: denied })
      await assert.rejects(listed(await connect(server, config)), coded('E_S3_ACCESS_DENIED', /s3:ListBucket/))
    }
  }
})

test('an answer that is no listing is an error, not an empty bucket', async () => {
  const server = await serve({})
  const source = await connect(server, { layout: 'flat' })
  for (const body of ['', '<html><body>Login</body></html>', '{"not":"xml"}', '<ListBucketResult>']) {
    server.fail({ operation: 'ListObjectsV2', action: { kind: 'garbage', body } })
    await assert.rejects(listed(source), coded('E_S3_RESPONSE'), body)
    server.faults.clear()
  }
})

test('a GET that is answered with something else than the listed object is refused', async () => {
  const server = await serve({})
  const bucket = server.bucket('logs')
  bucket.put('k', Buffer.from('{"n":1}\n'))
  const source = await connect(server, { max_attempts: 1 })
  const object = await only(source)
  server.fail({ operation: 'GetObject', times: 2, action: { kind: 'garbage', body: '<html>Sorry</html>' } })
  await assert.rejects(source.read(object), coded('E_S3_RESPONSE'))
  await assert.rejects(source.open(object), coded('E_S3_RESPONSE'))
  assert.equal((await source.read(object)).toString(), '{"n":1}\n')
})

const LARGE = Buffer.alloc(3_000_000, 'abcdefghij\n')

test('a large body cut, reset or stalled again and again is resumed to the exact bytes', async () => {
  const server = await serve()
  server.bucket('logs').put('k', LARGE)
  const source = await connect(server, { max_attempts: 5, request_timeout_secs: 0.2 })
  const object = await only(source)
  const actions: FaultRule['action'][] = [
    { kind: 'truncate', after: 1_000_000 },
    { kind: 'reset', after: 500_000 },
    { kind: 'stall', after: 200_000 },
    { kind: 'truncate', after: 0 },
  ]
  for (const [at, action] of actions.entries()) server.fail({ operation: 'GetObject', from: at + 1, action })
  assert.ok((await stream(source, object)).equals(LARGE))
  assert.equal(source.statistics.retries, 4)
  assert.equal(server.requests.get('GetObject'), 5)
})

test('a body that is always cut ends as truncated, one that is silent as stalled', async () => {
  const server = await serve()
  server.bucket('logs').put('k', LARGE)
  const source = await connect(server, { max_attempts: 2, request_timeout_secs: 0.2 })
  const object = await only(source)
  server.fail({ operation: 'GetObject', times: 8, action: { kind: 'truncate', after: 10 } })
  await assert.rejects(source.read(object), coded('E_S3_TRUNCATED', /after 10 of 3000000 bytes/))
  await assert.rejects(stream(source, object), coded('E_S3_TRUNCATED', /after 20 of 3000000 bytes/))
  server.faults.clear()
  server.fail({ operation: 'GetObject', times: 8, action: { kind: 'stall', after: 10 } })
  await assert.rejects(source.read(object), coded('E_S3_STALLED'))
  await assert.rejects(stream(source, object), coded('E_S3_STALLED'))
})

test('a slow consumer is not taken for a stalled server', async () => {
  const server = await serve()
  server.bucket('logs').put('k', LARGE)
  const source = await connect(server, { request_timeout_secs: 0.1 })
  let size = 0
  for await (const chunk of await source.open(await only(source))) {
    if (size < 200_000) await new Promise((resolve) => setTimeout(resolve, 150))
    size += chunk.length
  }
  assert.equal(size, LARGE.length)
  assert.equal(source.statistics.retries, 0)
})

test('bytes changed on the way are found by the checksum that S3 keeps', async () => {
  const server = await serve()
  server.bucket('logs').put('k', LARGE, { checksum: true })
  const source = await connect(server, { max_attempts: 2 })
  const object = await only(source)
  server.fail({ operation: 'GetObject', action: { kind: 'corrupt', at: 1 } })
  assert.ok((await source.read(object)).equals(LARGE), 'a whole read is repeated')
  server.fail({ operation: 'GetObject', times: 4, action: { kind: 'corrupt', at: 1 } })
  await assert.rejects(stream(source, object), coded('E_S3_CHECKSUM'))
  await assert.rejects(source.read(object), coded('E_S3_CHECKSUM'))
})

test('an object replaced between LIST and GET, or between two parts, is never mixed', async () => {
  const server = await serve()
  const bucket = server.bucket('logs')
  bucket.put('k', LARGE)
  const source = await connect(server)
  const object = await only(source)
  const replace = { kind: 'run', run: () => bucket.put('k', Buffer.alloc(LARGE.length, 'z')) } as const
  server.fail({ operation: 'GetObject', action: { kind: 'truncate', after: 100 } })
  server.fail({ operation: 'GetObject', from: 2, action: replace })
  await assert.rejects(stream(source, object), coded('E_S3_CHANGED'))
  await assert.rejects(source.read(object), coded('E_S3_CHANGED'))
  const next = await only(source)
  assert.notEqual(next.version, object.version)
  bucket.delete('k')
  await assert.rejects(source.read(next), coded('E_S3_NO_KEY'))
})

test('the region of the bucket is found by its redirect, once', async () => {
  const server = await serve()
  server.bucket('far', { region: 'eu-west-1' }).put('k', 'x')
  const source = await connect(server, { bucket: 'far' })
  warnings.length = 0
  const object = await only(source)
  await source.read(object)
  await source.read(object)
  assert.deepEqual(Object.fromEntries(server.requests), { ListObjectsV2: 3, GetObject: 2 })
  assert.equal(warnings.length, 1)
})

test('a bucket that sends its clients in a circle ends with its region named', async () => {
  const server = await serve()
  const source = await connect(server)
  server.bucket('logs')
  server.fail({
    times: Number.POSITIVE_INFINITY,
    action: { kind: 'error', code: 'PermanentRedirect', status: 301 },
  })
  await assert.rejects(listed(source), coded('E_S3_RESPONSE', /PermanentRedirect/))
})

test('requester pays is sent when asked for', async () => {
  const server = await serve()
  server.bucket('paid', { requesterPays: true }).put('k', 'x')
  await assert.rejects(listed(await connect(server, { bucket: 'paid' })), coded('E_S3_ACCESS_DENIED', /requester_pays/))
  const source = await connect(server, { bucket: 'paid', requester_pays: true })
  assert.equal((await source.read(await only(source))).toString(), 'x')
})

test('wrong keys, secrets, tokens and clocks are named by the server that checks them', async () => {
  const server = await serve({ credentials: [KEY], now: () => Date.now() })
  server.bucket('logs').put('k', 'x')
  const wrong = [
    [{ secret_access_key: 'wrong' }, 'E_S3_SIGNATURE'],
    [{ access_key_id: 'AKIANOSUCHEXAMPLE' }, 'E_S3_BAD_KEY_ID'],
    [{ session_token: 'stale' }, 'E_S3_EXPIRED_TOKEN'],
  ] as const
  for (const [config, code] of wrong) await assert.rejects(listed(await connect(server, config)), coded(code))
  const late = await serve({ credentials: [KEY], now: () => Date.now() + 3_600_000 })
  await assert.rejects(listed(await connect(late)), coded('E_S3_CLOCK_SKEW'))
})

test('an unsigned source reads a public bucket', async () => {
  const server = await serve({})
  server.bucket('logs').put('k', 'x')
  const source = await connect(server, { anonymous: true, access_key_id: undefined, secret_access_key: undefined })
  assert.equal((await source.read(await only(source))).toString(), 'x')
})

test('missing credentials are refused before the first call, naming what was tried', async () => {
  const server = await serve()
  const none = { access_key_id: undefined, secret_access_key: undefined }
  const started = performance.now()
  await assert.rejects(connect(server, none), coded('E_S3_CREDENTIALS', /tried the environment \(AWS_ACCESS_KEY_ID\)/))
  await assert.rejects(connect(server, { ...none, profile: 'nobody' }), coded('E_S3_CREDENTIALS', /profile nobody/))
  assert.ok(performance.now() - started < 10_000)
  assert.equal(server.requests.size, 0)
  assert.throws(() => s3.config.parse({ bucket: 'b', access_key_id: 'a' }), /belong together/)
})

test('an unreachable metadata service does not hang', async () => {
  const server = await serve()
  delete process.env.AWS_EC2_METADATA_DISABLED
  // A port where connections are taken and never answered.
  const silent = createServer(() => undefined)
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', () => resolve()))
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  try {
    const started = performance.now()
    const none = { access_key_id: undefined, secret_access_key: undefined }
    await assert.rejects(connect(server, none), coded('E_S3_CREDENTIALS'))
    assert.ok(performance.now() - started < 5000)
  } finally {
    silent.closeAllConnections()
    silent.close()
    process.env.AWS_EC2_METADATA_DISABLED = 'true'
    delete process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT
  }
})

/** A token service that hands out the given identities in turn. */
async function startSts(identities: readonly { accessKeyId: string; secretAccessKey: string; sessionToken: string }[]) {
  const asked: URLSearchParams[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    asked.push(new URLSearchParams(body))
    const identity = identities[Math.min(asked.length, identities.length) - 1]!
    const action = asked.at(-1)!.get('Action')
    response.setHeader('Content-Type', 'text/xml')
    response.end(
      `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials>` +
        `<AccessKeyId>${identity.accessKeyId}</AccessKeyId><SecretAccessKey>${identity.secretAccessKey}</SecretAccessKey>` +
        `<SessionToken>${identity.sessionToken}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>` +
        `<AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/r/s</Arn><AssumedRoleId>AROAEXAMPLE:s</AssumedRoleId>` +
        `</AssumedRoleUser></${action}Result></${action}Response>`,
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  closers.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  return { asked, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

const temporary = (at: number) => ({
  accessKeyId: `ASIAIOSFODNN${at}EXAMPLE`,
  secretAccessKey: `not-a-secret-${at}`,
  sessionToken: `token-${at}`,
})

test('a role is assumed with its external id, and an expired token is renewed once', async () => {
  const sts = await startSts([temporary(1), temporary(2)])
  const server = await serve({ credentials: [{ ...temporary(1), expires: 0 }, temporary(2)] })
  server.bucket('logs').put('k', 'x')
  const role = { role_arn: 'arn:aws:iam::111122223333:role/r', external_id: 'x-1', sts_endpoint: sts.endpoint }
  const source = await connect(server, role)
  assert.equal((await source.read(await only(source))).toString(), 'x')
  assert.equal(sts.asked[0]!.get('ExternalId'), 'x-1')
  assert.equal(sts.asked[0]!.get('RoleArn'), role.role_arn)
  assert.equal(source.statistics.errors.get('E_S3_EXPIRED_TOKEN'), undefined, 'the check at the start took the first')
})

test('an expired token of a role is renewed while listing', async () => {
  const sts = await startSts([temporary(1), temporary(1), temporary(2)])
  const server = await serve({ credentials: [{ ...temporary(1), expires: 0 }, temporary(2)] })
  server.bucket('logs').put('k', 'x')
  const role = { role_arn: 'arn:aws:iam::111122223333:role/r', sts_endpoint: sts.endpoint }
  const source = await connect(server, role)
  assert.equal((await listed(source)).length, 1)
  assert.equal(source.statistics.errors.get('E_S3_EXPIRED_TOKEN'), 1)
})

test('the environment and a profile lend their keys', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-s3-'))
  closers.push(() => rmSync(directory, { recursive: true }))
  const lines = `[team]\naws_access_key_id = ${KEY.accessKeyId}\naws_secret_access_key = ${KEY.secretAccessKey}\n`
  writeFileSync(join(directory, 'credentials'), lines)
  const server = await serve()
  server.bucket('logs').put('k', 'x')
  const none = { access_key_id: undefined, secret_access_key: undefined, region: undefined }
  process.env.AWS_SHARED_CREDENTIALS_FILE = join(directory, 'credentials')
  try {
    assert.equal((await listed(await connect(server, { ...none, profile: 'team' }))).length, 1)
    process.env.AWS_ACCESS_KEY_ID = KEY.accessKeyId
    process.env.AWS_SECRET_ACCESS_KEY = KEY.secretAccessKey
    assert.equal((await listed(await connect(server, none))).length, 1)
  } finally {
    process.env.AWS_SHARED_CREDENTIALS_FILE = '/dev/null'
    delete process.env.AWS_ACCESS_KEY_ID
    delete process.env.AWS_SECRET_ACCESS_KEY
  }
})

test('a web identity token is exchanged', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-s3-'))
  closers.push(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'token'), 'an-oidc-token')
  const sts = await startSts([temporary(1)])
  const server = await serve({ credentials: [temporary(1)] })
  server.bucket('logs').put('k', 'x')
  const source = await connect(server, {
    access_key_id: undefined,
    secret_access_key: undefined,
    role_arn: 'arn:aws:iam::111122223333:role/r',
    web_identity_token_file: join(directory, 'token'),
    sts_endpoint: sts.endpoint,
  })
  assert.equal((await listed(source)).length, 1)
  assert.equal(sts.asked[0]!.get('WebIdentityToken'), 'an-oidc-token')
})

test('throttling lowers the number of requests at a time, and pauses grow with jitter', async () => {
  const server = await serve({})
  for (let at = 0; at < 64; at += 1) server.bucket('logs').put(`k${at}`, 'x')
  const source = await connect(server, { max_connections: 16 })
  const objects = await listed(source)
  server.fail({ operation: 'GetObject', times: 12, action: { kind: 'error', code: 'SlowDown' } })
  pauses.length = 0
  await Promise.all(objects.map((object) => source.read(object)))
  assert.equal(pauses.length, 12)
  assert.equal(source.statistics.throttles, 12)
  assert.ok(new Set(pauses).size > 6)
})

test('a server that is not there is named with its address', async () => {
  const server = await startS3Server()
  await server.close()
  const source = await connect(server, { max_attempts: 2 })
  await assert.rejects(
    listed(source),
    coded('E_S3_UNREACHABLE', /Cannot reach http:\/\/127\.0\.0\.1:\d+: ECONNREFUSED/),
  )
  assert.equal(source.statistics.retries, 1)
})

test('an abort ends listing, reading and streaming at once, with its own reason', async () => {
  const server = await serve({})
  server.bucket('logs').put('k', LARGE)
  const source = await connect(server)
  const object = await only(source)
  server.fail({ times: Number.POSITIVE_INFINITY, action: { kind: 'stall', after: 10 } })
  const stop = () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('stopped')), 20)
    return controller.signal
  }
  await assert.rejects(source.read(object, stop()), /stopped/)
  const body = await source.open(object, stop())
  await assert.rejects(async () => {
    for await (const chunk of body) assert.ok(chunk.length <= 10)
  }, /stopped/)
  await assert.rejects(
    source
      .list({}, counts(), AbortSignal.abort(new Error('stopped')))
      [Symbol.asyncIterator]()
      .next(),
    /stopped/,
  )
})

test('a service that lists one page for ever, or sends more than it listed, is refused', async () => {
  const page = (truncated: boolean) =>
    `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${truncated}</IsTruncated>` +
    `${truncated ? '<NextContinuationToken>again</NextContinuationToken>' : ''}<Contents><Key>a/k</Key><Size>3</Size>` +
    '<ETag>"e"</ETag><LastModified>2023-07-10T11:00:00.000Z</LastModified></Contents></ListBucketResult>'
  const server = createServer((request, response) => {
    if (request.url!.includes('list-type')) return response.end(page(request.url!.includes('endless')))
    // Without a length, and without an end.
    const more = () => response.write(Buffer.alloc(65_536)) && setImmediate(more)
    response.on('drain', more)
    return more()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  closers.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  const { port } = server.address() as AddressInfo
  const open = (bucket: string) =>
    s3.create(s3.config.parse({ bucket, endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', ...KEYS }), context)
  await assert.rejects(listed(await open('endless')), coded('E_S3_RESPONSE', /page before/))
  const source = await open('logs')
  const object = await only(source)
  await assert.rejects(source.read(object), coded('E_S3_RESPONSE', /more than 3 bytes/))
  await assert.rejects(stream(source, object), coded('E_S3_RESPONSE', /more than 3 bytes/))
})

test('pages without an object under ever new tokens are taken for a while, and then refused', async () => {
  const server = await serve()
  server.bucket('logs').put('a/k', Buffer.from('one'))
  const endless = (contents: string): FaultAction => ({
    kind: 'garbage',
    get body() {
      return (
        `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${contents}<IsTruncated>true</IsTruncated>` +
        `<NextContinuationToken>${Buffer.from(`!${randomUUID()}`).toString('base64url')}</NextContinuationToken></ListBucketResult>`
      )
    },
  })
  const listing = async (layout: string) => {
    server.resetCounts()
    return listed(await connect(server, { layout }))
  }
  // As a bucket may answer where many versions were deleted.
  server.fail({ operation: 'ListObjectsV2', times: 100, action: endless('') })
  assert.deepEqual(keysOf(await listing('flat')), ['a/k'])
  server.faults.clear()
  server.fail({ operation: 'ListObjectsV2', times: Number.POSITIVE_INFINITY, action: endless('') })
  await assert.rejects(listing('aws'), coded('E_S3_RESPONSE', /1000 pages in a row without an object/))
  assert.equal(server.requests.get('ListObjectsV2'), 1000)
  server.faults.clear()
  const entry =
    '<Contents><Key>a/k</Key><Size>3</Size><ETag>"e"</ETag><LastModified>2023-07-10T11:00:00.000Z</LastModified></Contents>'
  server.fail({ operation: 'ListObjectsV2', times: Number.POSITIVE_INFINITY, action: endless(entry) })
  await assert.rejects(listing('flat'), coded('E_S3_RESPONSE', /page before/))
})
