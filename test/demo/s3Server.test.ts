import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { Bucket, compareKeys } from '../../src/demo/s3Bucket.ts'
import { type S3ServerOptions, startS3Server } from '../../src/demo/s3Server.ts'

const KEY = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'not-a-secret-EXAMPLE' }
const closers: (() => unknown)[] = []
after(() => Promise.all(closers.map((close) => close())))

async function start(options: S3ServerOptions = { credentials: [KEY] }, client: S3ClientConfig = {}) {
  const server = await startS3Server(options)
  const s3 = new S3Client({
    endpoint: server.endpoint,
    region: 'us-east-1',
    credentials: KEY,
    forcePathStyle: true,
    maxAttempts: 1,
    ...client,
  })
  closers.push(() => s3.destroy(), server.close)
  return { server, s3, bucket: server.bucket('logs') }
}

const named = (name: string) => (error: Error) => {
  assert.equal(error.name, name)
  return true
}

test('every key comes back from LIST and GET as it was put, signatures checked', async () => {
  const { s3 } = await start()
  const keys = ['a b', 'a+b', 'a%20b', '100%', 'd/../e', 'ünï/ço∂é/😀', '<&>"\'', 'x=1&y=2', 'tab\tnew', '!()*~', '//s']
  for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket: 'logs', Key, Body: `body of ${Key}` }))
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: 'logs' }))
  assert.deepEqual(new Set(Contents.map((object) => object.Key)), new Set(keys))
  for (const Key of keys) {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'logs', Key }))
    assert.equal(await Body!.transformToString(), `body of ${Key}`)
  }
})

test('pages, delimiter, prefix and start-after cut the same set', async () => {
  const { s3, bucket, server } = await start()
  for (let at = 0; at < 2500; at += 1) bucket.put(`day=${at % 5}/${String(at).padStart(5, '0')}`, 'x')
  const seen: string[] = []
  let ContinuationToken: string | undefined
  do {
    const page = await s3.send(new ListObjectsV2Command({ Bucket: 'logs', ContinuationToken }))
    seen.push(...page.Contents!.map((object) => object.Key!))
    ContinuationToken = page.NextContinuationToken
  } while (ContinuationToken)
  assert.equal(new Set(seen).size, 2500)
  assert.deepEqual(seen, seen.toSorted())
  assert.equal(server.requests.get('ListObjectsV2'), 3)
  const days = await s3.send(new ListObjectsV2Command({ Bucket: 'logs', Delimiter: '/', MaxKeys: 2 }))
  assert.deepEqual(days.CommonPrefixes, [{ Prefix: 'day=0/' }, { Prefix: 'day=1/' }])
  const rest = await s3.send(
    new ListObjectsV2Command({ Bucket: 'logs', Delimiter: '/', ContinuationToken: days.NextContinuationToken }),
  )
  assert.deepEqual(
    rest.CommonPrefixes?.map((common) => common.Prefix),
    ['day=2/', 'day=3/', 'day=4/'],
  )
  const tail = await s3.send(new ListObjectsV2Command({ Bucket: 'logs', Prefix: 'day=4/', StartAfter: 'day=4/02489' }))
  assert.deepEqual(
    tail.Contents?.map((object) => object.Key),
    ['day=4/02494', 'day=4/02499'],
  )
})

test('a listing has every key once, whatever the page size, keys and delimiter', () => {
  const key = fc.stringMatching(/^[ab/ÿ😀\uffee]{1,6}$/u)
  fc.assert(
    fc.property(fc.uniqueArray(key, { maxLength: 30 }), fc.integer({ min: 1, max: 5 }), (keys, maxKeys) => {
      const bucket = new Bucket('b')
      for (const name of keys) bucket.put(name, '')
      for (const delimiter of ['', '/']) {
        const found: string[] = []
        let after = ''
        for (;;) {
          const page = bucket.list({ prefix: 'a', delimiter, after, maxKeys })
          found.push(...page.objects.map((object) => object.key), ...page.commonPrefixes)
          if (page.next === undefined) break
          after = page.next
        }
        const expected = new Set(
          keys
            .filter((name) => name.startsWith('a'))
            .map((name) => (delimiter && name.includes('/', 1) ? name.slice(0, name.indexOf('/', 1) + 1) : name)),
        )
        assert.equal(found.length, expected.size)
        assert.deepEqual(new Set(found), expected)
      }
    }),
  )
})

test('keys are ordered by their UTF-8 bytes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (a, b) => {
      assert.equal(Math.sign(compareKeys(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
})

test('ranges, conditions and HEAD answer as S3 does', async () => {
  const { s3, bucket } = await start()
  const { etag } = bucket.put('k', '0123456789', { lastModified: 1_700_000_000_000 })
  const fetch = (input: object) => s3.send(new GetObjectCommand({ Bucket: 'logs', Key: 'k', ...input }))
  assert.equal(await (await fetch({ Range: 'bytes=3-' })).Body!.transformToString(), '3456789')
  assert.equal(await (await fetch({ Range: 'bytes=-2' })).Body!.transformToString(), '89')
  assert.equal((await fetch({ Range: 'bytes=2-3', IfMatch: etag })).ContentRange, 'bytes 2-3/10')
  await assert.rejects(fetch({ Range: 'bytes=10-' }), named('InvalidRange'))
  await assert.rejects(fetch({ IfMatch: '"other"' }), named('PreconditionFailed'))
  await assert.rejects(fetch({ IfNoneMatch: etag }), (error: { $metadata?: { httpStatusCode?: number } }) => {
    assert.equal(error.$metadata?.httpStatusCode, 304)
    return true
  })
  await assert.rejects(fetch({ Key: 'none' }), named('NoSuchKey'))
  await assert.rejects(fetch({ Bucket: 'none' }), named('NoSuchBucket'))
  const head = await s3.send(new HeadObjectCommand({ Bucket: 'logs', Key: 'k' }))
  assert.equal(head.ContentLength, 10)
  assert.equal(head.ETag, etag)
  assert.equal(head.LastModified?.getTime(), 1_700_000_000_000)
  assert.match(head.$metadata.requestId ?? '', /^[0-9A-F]{16}$/)
})

test('a streamed upload arrives whole, and its checksum is offered again', async () => {
  const { s3, bucket } = await start()
  const Body = Readable.from([Buffer.alloc(100_000, 'a'), Buffer.alloc(3, 'b')])
  await s3.send(new PutObjectCommand({ Bucket: 'logs', Key: 'k', Body, ContentLength: 100_003 }))
  assert.equal(bucket.get('k')?.size, 100_003)
  const answer = await s3.send(new GetObjectCommand({ Bucket: 'logs', Key: 'k' }))
  assert.ok(answer.ChecksumCRC32)
  assert.equal((await answer.Body!.transformToString()).slice(-4), 'abbb')
})

test('wrong keys, secrets, clocks and tokens are told apart', async () => {
  let now = Date.now()
  const temporary = { ...KEY, accessKeyId: 'ASIAIOSFODNN7EXAMPLE', sessionToken: 'token' }
  const credentials = [KEY, { ...temporary, expires: now + 1000 }]
  const list = async (client: S3ClientConfig) => {
    const { s3 } = await start({ credentials, now: () => now }, client)
    return s3.send(new ListObjectsV2Command({ Bucket: 'logs' }))
  }
  await list({})
  await list({ credentials: temporary })
  await assert.rejects(list({ credentials: { ...KEY, secretAccessKey: 'wrong' } }), named('SignatureDoesNotMatch'))
  await assert.rejects(list({ credentials: { ...KEY, accessKeyId: 'AKIANOSUCHEXAMPLE' } }), named('InvalidAccessKeyId'))
  await assert.rejects(list({ credentials: { ...temporary, sessionToken: 'other' } }), named('InvalidToken'))
  now += 2000
  await assert.rejects(list({ credentials: temporary }), named('ExpiredToken'))
  now += 3_600_000
  await assert.rejects(list({}), named('RequestTimeTooSkewed'))
})

test('a request signed for another region is redirected to the right one', async () => {
  const { s3, server } = await start()
  server.bucket('far', { region: 'eu-west-1' })
  await assert.rejects(
    s3.send(new ListObjectsV2Command({ Bucket: 'far' })),
    (error: { name: string; $response?: { headers: Record<string, string> } }) => {
      assert.equal(error.name, 'PermanentRedirect')
      assert.equal(error.$response?.headers['x-amz-bucket-region'], 'eu-west-1')
      return true
    },
  )
})

test('a bucket in the host name is found as well as one in the path', async () => {
  const { server, bucket } = await start({})
  bucket.put('d/k', 'body')
  const fetched = (host: string, path: string) =>
    new Promise<string>((resolve, reject) => {
      get(`${server.endpoint}${path}`, { headers: { host } }, (response) => resolve(text(response))).on('error', reject)
    })
  assert.equal(await fetched('logs.s3.localhost:80', '/d/k'), 'body')
  assert.equal(await fetched('s3.localhost:80', '/logs/d/k'), 'body')
  assert.match(await fetched('logs.s3.localhost', '/?list-type=2'), /<Key>d\/k<\/Key>/)
})

test('archived and requester-pays objects are refused until asked for rightly', async () => {
  const { s3, server, bucket } = await start()
  bucket.put('cold', 'x', { storageClass: 'GLACIER' })
  server.bucket('paid', { requesterPays: true }).put('k', 'x')
  await assert.rejects(s3.send(new GetObjectCommand({ Bucket: 'logs', Key: 'cold' })), named('InvalidObjectState'))
  await assert.rejects(s3.send(new GetObjectCommand({ Bucket: 'paid', Key: 'k' })), named('AccessDenied'))
  await s3.send(new GetObjectCommand({ Bucket: 'paid', Key: 'k', RequestPayer: 'requester' }))
})

test('faults hit the requests they were written for and no other', async () => {
  const { s3, server, bucket } = await start()
  bucket.put('k', 'version 1')
  const get = async () => (await s3.send(new GetObjectCommand({ Bucket: 'logs', Key: 'k' }))).Body!.transformToString()
  server.fail({ operation: 'GetObject', key: 'k', from: 2, action: { kind: 'error', code: 'SlowDown' } })
  server.fail({ operation: 'GetObject', from: 3, action: { kind: 'reset' } })
  server.fail({ operation: 'GetObject', from: 4, action: { kind: 'truncate', after: 3 } })
  server.fail({ operation: 'GetObject', from: 5, action: { kind: 'corrupt', at: 0 } })
  server.fail({ operation: 'GetObject', from: 6, action: { kind: 'run', run: () => bucket.put('k', 'version 2') } })
  assert.equal(await get(), 'version 1')
  await assert.rejects(get(), named('SlowDown'))
  await assert.rejects(get(), /ECONNRESET|socket hang up/)
  await assert.rejects(get(), /aborted/)
  assert.equal(await get(), 'wersion 1')
  assert.equal(await get(), 'version 2')
  assert.equal(server.requests.get('GetObject'), 6)
})

test('a folder and lazy bodies are served as objects', async () => {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-s3-'))
  closers.push(() => rmSync(root, { recursive: true }))
  mkdirSync(join(root, 'd'))
  writeFileSync(join(root, 'd', 'f'), 'file')
  const { s3, bucket } = await start()
  bucket.putDirectory(root, 'p/')
  let made = 0
  const body = () => {
    made += 1
    return Buffer.from('lazy')
  }
  bucket.putLazy('lazy', { size: 4, etag: 'e', body })
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket: 'logs' }))
  assert.deepEqual(
    Contents?.map((object) => object.Key),
    ['lazy', 'p/d/f'],
  )
  assert.equal(made, 0)
  for (const [Key, text] of [
    ['lazy', 'lazy'],
    ['p/d/f', 'file'],
  ]) {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'logs', Key }))
    assert.equal(await Body!.transformToString(), text)
  }
})
