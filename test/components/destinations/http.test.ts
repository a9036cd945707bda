/** The http destination against a receiver on loopback: what it sends, and what it refuses to do. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { DestinationContext } from '../../../src/components/component.ts'
import type { Destination, DestinationCheck, OutgoingBatch } from '../../../src/components/destination.ts'
import { http } from '../../../src/components/destinations/http.ts'
import { type IngestionServer, startIngestionServer } from '../../../src/demo/ingestionServer.ts'

const TLS = join(import.meta.dirname, '../../fixtures/tls')
const SIGNAL = new AbortController().signal
const LINES = Buffer.from('{"uid":"a"}\n{"uid":"b"}\n')

interface Known {
  readonly server: IngestionServer
  open(settings?: Readonly<Record<string, unknown>>, context?: Partial<DestinationContext>): Promise<Destination>
}

async function receiver(t: TestContext, tls = false): Promise<Known> {
  const read = (name: string): string => readFileSync(join(TLS, name), 'utf8')
  const server = await startIngestionServer(tls ? { tls: { key: read('key.pem'), cert: read('cert.pem') } } : {})
  t.after(() => server.close())
  return {
    server,
    async open(settings = {}, context = {}) {
      const config = http.config.parse({ url: `${server.endpoint}/hook/in`, ...settings })
      const destination = await http.create(config, {
        name: 'pipeline',
        base: TLS,
        environment: {},
        now: () => Date.now() * 1000,
        pause: async () => undefined,
        warn: () => assert.fail('no warning'),
        ...context,
      })
      t.after(() => destination.close())
      return destination
    },
  }
}

const batch = (body = LINES, requestId = 'request-1'): OutgoingBatch => ({
  body,
  records: 2,
  decodedBytes: 24,
  requestId,
})
const send = (destination: Destination, sent = batch()) => destination.feeds[0]!.send(sent, SIGNAL)
const errorOf = async (destination: Destination) => {
  const outcome = await send(destination)
  assert.equal(outcome.kind, 'denied', JSON.stringify(outcome))
  return outcome.kind === 'denied' ? outcome.error : assert.fail()
}

async function lines(destination: Destination): Promise<DestinationCheck[]> {
  const found: DestinationCheck[] = []
  for await (const line of destination.check()) found.push(line)
  return found
}

test('headers are filled in; a batch that is repeated has the same {{batch}}', async (t) => {
  const { server, open } = await receiver(t)
  const headers = { 'X-All': '{{destination}} {{records}} {{ request_id }}', 'Idempotency-Key': '{{batch}}' }
  const destination = await open({ headers })
  await send(destination)
  await send(destination, batch(LINES, 'request-2'))
  await send(destination, batch(Buffer.from('{}\n')))
  const [first, second, third] = server.seen.map((seen) => seen.headers)
  assert.equal(first!['x-all'], 'pipeline 2 request-1')
  assert.equal(second!['x-all'], 'pipeline 2 request-2')
  assert.match(String(first!['idempotency-key']), /^[0-9a-f]{32}$/)
  assert.equal(first!['idempotency-key'], second!['idempotency-key'])
  assert.notEqual(first!['idempotency-key'], third!['idempotency-key'])
  assert.equal(first!['content-type'], 'application/x-ndjson')
  assert.equal(first!['content-encoding'], undefined)
})

test('form and codec are told; a Content-Type of the configuration stands instead', async (t) => {
  const { server, open } = await receiver(t)
  const array = await open({ framing: 'json_array', compression: 'gzip' })
  await send(array, batch(gzipSync('[{"uid":"a"}]')))
  const own = await open({ headers: { 'content-type': 'application/vnd.acme+json' } })
  await send(own)
  const [first, second] = server.seen
  assert.equal(first!.headers['content-type'], 'application/json')
  assert.equal(first!.headers['content-encoding'], 'gzip')
  assert.equal(gunzipSync(first!.body!).toString(), '[{"uid":"a"}]')
  assert.equal(second!.headers['content-type'], 'application/vnd.acme+json')
  assert.equal(server.received.get('/hook/in')!.records, 3)
})

test('a signature is verified by the code of the guide, and only with the key, the body and the time', async (t) => {
  const scratch = mkdtempSync(join(tmpdir(), 'coldtrail-guide-'))
  t.after(() => rmSync(scratch, { recursive: true }))
  const guide = readFileSync(join(import.meta.dirname, '../../../docs/how-to/receive-a-webhook.md'), 'utf8')
  const file = join(scratch, 'verify.mjs')
  writeFileSync(file, /```js\n([\s\S]*?)```/.exec(guide)![1]!)
  const { isGenuine } = (await import(pathToFileURL(file).href)) as {
    isGenuine(headers: unknown, body: Buffer, secret: string, now?: number): boolean
  }
  const { server, open } = await receiver(t)
  await send(await open({ hmac: { secret: 'a key' } }))
  const { headers, body } = server.seen[0]!
  assert.ok(isGenuine(headers, body!, 'a key'))
  assert.ok(!isGenuine(headers, body!, 'another key'))
  assert.ok(!isGenuine(headers, Buffer.from('{}\n'), 'a key'))
  assert.ok(!isGenuine(headers, body!, 'a key', Date.now() + 400_000))
  assert.ok(!isGenuine({ ...headers, 'x-coldtrail-timestamp': '1' }, body!, 'a key', 1000))
  assert.ok(!isGenuine({}, body!, 'a key'))
})

test('only the statuses of success are success, where they are given', async (t) => {
  const { open } = await receiver(t)
  assert.deepEqual(await send(await open({ success: [200] })), { kind: 'accepted' })
  const { code, message, hint } = await errorOf(await open({ success: [202] }))
  assert.equal(code, 'E_RECEIVER_DENIED')
  assert.match(message, /with 200/)
  assert.match(hint, /success/)
})

test('a certificate that nobody vouches for is refused, and taken with ca_file', async (t) => {
  const { server, open } = await receiver(t, true)
  const { code, message, hint } = await errorOf(await open())
  assert.equal(code, 'E_RECEIVER_TLS')
  assert.match(message, /signed by itself/)
  assert.match(hint, /ca_file/)
  const [address] = await lines(await open())
  assert.equal(address!.ok, false)
  assert.equal(server.received.size, 0)
  assert.deepEqual(await send(await open({ ca_file: 'cert.pem' })), { kind: 'accepted' })
  await assert.rejects(open({ ca_file: 'none.pem' }), { code: 'E_FILE_READ' })
})

test('a redirect is not followed, and its target is named without its path', async (t) => {
  const { server, open } = await receiver(t)
  for (const status of [301, 302, 307, 308]) {
    const headers = { Location: `${server.endpoint}/hook/elsewhere?token=abcdefgh` }
    server.fail({ action: { kind: 'garbage', status, body: '', headers } })
    const { code, message } = await errorOf(await open())
    assert.equal(code, 'E_RECEIVER_REDIRECT')
    assert.ok(message.includes(new URL(server.endpoint).host) && !message.includes('elsewhere'), message)
  }
  assert.equal(server.received.size, 0)
})

test('Retry-After may be a date, and nobody there is a fault that passes', async (t) => {
  const { server, open } = await receiver(t)
  const now = Date.UTC(2026, 8, 14)
  const headers = { 'Retry-After': new Date(now + 90_000).toUTCString() }
  server.fail({ action: { kind: 'status', status: 429, headers } })
  const outcome = await send(await open({}, { now: () => now * 1000 }))
  assert.equal(outcome.kind === 'throttled' && outcome.afterMs, 90_000)
  const closed = await open()
  await server.close()
  assert.equal((await send(closed)).kind, 'failed')
  const [address] = await lines(closed)
  assert.ok(!address!.ok && address!.hint !== undefined && address!.detail.includes('ECONNREFUSED'))
})

test('a receiver that reads and never answers is a fault that passes', async (t) => {
  const { server, open } = await receiver(t)
  server.fail({ action: { kind: 'stall' } })
  const outcome = await send(await open({ request_timeout_secs: 0.2 }))
  assert.ok(outcome.kind === 'failed' && /for 0\.2 s/.test(outcome.reason), JSON.stringify(outcome))
})

test('what could leak or contradict is refused in the configuration', () => {
  const problem = (settings: object): string => {
    const result = http.config.safeParse({ url: 'https://a.example/in', ...settings })
    return result.success ? '' : result.error.issues[0]!.message
  }
  assert.equal(problem({}), '')
  assert.match(problem({ url: 'http://a.example/in' }), /plain http/)
  assert.equal(problem({ url: 'http://a.example/in', allow_plain_http: true }), '')
  for (const url of ['http://127.0.0.1:1/', 'http://localhost/', 'http://[::1]:2/']) assert.equal(problem({ url }), '')
  assert.match(problem({ url: 'https://u:p@a.example/' }), /no user and password/)
  assert.match(problem({ url: 'ftp://a.example/' }), /http or https/)
  assert.match(problem({ headers: { 'Content-Length': '1' } }), /Invalid key|writes this header/)
  assert.match(problem({ headers: { 'A b': '1' } }), /Invalid key|no name of a header/)
  assert.match(problem({ headers: { A: 'x\r\nB: y' } }), /line breaks/)
  assert.match(problem({ headers: { A: '{{secret}}' } }), /knows only/)
})

test('a run begins with the notice that plain http can be read', async (t) => {
  const { open } = await receiver(t)
  assert.deepEqual((await open()).notices, [])
  const plain = await open({ url: 'http://a.example/in', allow_plain_http: true })
  assert.match(plain.notices.join(), /a\.example by plain http/)
})

test('check tells refused credentials and a clock that is wrong, and takes 405 for an answer', async (t) => {
  const { server, open } = await receiver(t)
  const destination = await open({ hmac: { secret: 'a key' } })
  assert.deepEqual(
    (await lines(destination)).map(({ name, ok }) => [name, ok]),
    [
      ['address', true],
      ['credentials', true],
      ['clock', true],
    ],
  )
  server.fail({ action: { kind: 'status', status: 403 } })
  assert.equal((await lines(destination)).find(({ name }) => name === 'credentials')!.ok, false)
  const late = await open({ hmac: { secret: 'a key' } }, { now: () => (Date.now() + 3_600_000) * 1000 })
  const clock = (await lines(late)).find(({ name }) => name === 'clock')!
  assert.ok(!clock.ok && /3\d\d\d s ahead/.test(clock.detail), clock.detail)
  assert.equal(server.received.size, 0)
})
