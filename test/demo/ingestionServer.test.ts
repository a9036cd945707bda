/** The embedded receivers keep the documented rules of the real ones; what is tested against them rests on that. */
import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import {
  type IngestionServer,
  type IngestionServerOptions,
  startIngestionServer,
} from '../../src/demo/ingestionServer.ts'

const RULE = 'dcr-00000000000000000000000000000001'
const CLIENT = { tenant: 'contoso', clientId: 'forwarder', secret: 'right' }
const COLUMNS = [
  { name: 'TimeGenerated', type: 'datetime' },
  { name: 'Uid', type: 'string' },
  { name: 'Count', type: 'int' },
  { name: 'Flag', type: 'boolean' },
]
const NOW = Date.parse('2026-11-21T12:00:00Z')

async function server(t: TestContext, options: IngestionServerOptions = {}): Promise<IngestionServer> {
  const rules = { [RULE]: { 'Custom-T': { columns: COLUMNS }, 'Custom-Lake': { plan: 'auxiliary' as const } } }
  const started = await startIngestionServer({ rules, open: true, now: () => NOW, ...options })
  t.after(() => started.close())
  return started
}

interface Post {
  readonly stream?: string
  readonly rule?: string
  readonly body: string | Uint8Array
  readonly headers?: Record<string, string>
}

async function post(to: IngestionServer, { stream = 'Custom-T', rule = RULE, body, headers = {} }: Post) {
  const response = await fetch(`${to.endpoint}/dataCollectionRules/${rule}/streams/${stream}?api-version=2023-01-01`, {
    method: 'POST',
    headers: { Authorization: 'Bearer x', 'Content-Type': 'application/json', ...headers },
    body: body as never,
  })
  const text = await response.text()
  const code = text === '' ? '' : (JSON.parse(text) as { error: { code: string; message: string } }).error
  return { status: response.status, error: code, headers: response.headers }
}

const GZIP = { 'Content-Encoding': 'gzip' }

test('a batch is taken, counted and stored', async (t) => {
  const to = await server(t, { idColumn: 'Uid' })
  const records = [1, 2, 2].map((n) => ({ Uid: `u${n}`, Count: n, TimeGenerated: '2026-11-21T11:00:00Z' }))
  const body = gzipSync(JSON.stringify(records))
  assert.equal((await post(to, { body, headers: GZIP })).status, 204)
  const { requests, wireBytes, records: count, ids, rows } = to.stream('Custom-T')
  assert.deepEqual([requests, wireBytes, count, [...ids]], [1, body.length, 3, ['u1', 'u2']])
  assert.deepEqual(rows[0], { TimeGenerated: '2026-11-21T11:00:00Z', Uid: 'u1', Count: 1 })
})

test('what the service does silently is done', async (t) => {
  const to = await server(t)
  const record = {
    TimeGenerated: '2026-11-19T11:59:59Z',
    Uid: 'é'.repeat(40_000),
    Count: 'no number',
    Flag: 'true',
    Unknown: 1,
  }
  await post(to, { body: JSON.stringify([record, { TimeGenerated: '2026-11-22T12:00:01Z', Count: 2 ** 31 }]) })
  const [old, ahead] = to.stream('Custom-T').rows
  assert.equal(old!.TimeGenerated, '2026-11-21T12:00:00.000Z', 'older than two days')
  assert.equal(Buffer.byteLength(String(old!.Uid)), 65_536)
  assert.equal(old!.Count, null)
  assert.equal(old!.Flag, true)
  assert.ok(!('Unknown' in old!))
  assert.equal(ahead!.TimeGenerated, '2026-11-21T12:00:00.000Z', 'more than a day ahead')
  assert.equal(ahead!.Count, null, 'an int overflows')
})

test('the limits of the wire and of the decoded body hold to the byte', async (t) => {
  const to = await server(t)
  const ofSize = (size: number): Buffer => Buffer.from(`[{"Uid":"${'a'.repeat(size - 12)}"}]`)
  assert.equal(ofSize(100).length, 100)
  assert.equal((await post(to, { body: ofSize(1_048_576) })).status, 204)
  const large = await post(to, { body: ofSize(1_048_577) })
  assert.deepEqual([large.status, (large.error as { code: string }).code], [413, 'ContentLengthLimitExceeded'])
  const limit = 50 * 1024 * 1024
  assert.equal((await post(to, { body: gzipSync(ofSize(limit)), headers: GZIP })).status, 204)
  const bomb = await post(to, { body: gzipSync(ofSize(limit + 1)), headers: GZIP })
  assert.deepEqual([bomb.status, (bomb.error as { code: string }).code], [413, 'PayloadSizeLimitExceeded'])
})

test('what is no batch is refused', async (t) => {
  const to = await server(t)
  for (const body of ['{"Uid":1}', '[1]', '[{]', '', '{"a":1}\n{"a":2}']) {
    assert.equal((await post(to, { body })).status, 400, body)
  }
  assert.equal((await post(to, { body: 'no gzip', headers: GZIP })).status, 400)
  assert.equal((await post(to, { body: '[]', headers: { 'Content-Type': 'text/plain' } })).status, 415)
  assert.equal((await post(to, { body: '[]' })).status, 204)
  assert.match(JSON.stringify((await post(to, { body: '[]', rule: 'dcr-2' })).error), /immutable Id 'dcr-2' not found/)
  assert.match(JSON.stringify((await post(to, { body: '[]', stream: 'Custom-X' })).error), /InvalidStream/)
  assert.equal(to.stream('Custom-T').records, 0)
})

test('a span of half an hour is refused in an auxiliary table', async (t) => {
  const to = await server(t)
  const span = (minute: string) =>
    JSON.stringify([{ TimeGenerated: '2026-11-21T11:00:00Z' }, { TimeGenerated: `2026-11-21T11:${minute}` }])
  const wide = await post(to, { stream: 'Custom-Lake', body: span('30:00Z') })
  assert.deepEqual([wide.status, (wide.error as { code: string }).code], [400, 'RecordsTimeRangeIsMoreThan30Minutes'])
  assert.equal((await post(to, { stream: 'Custom-Lake', body: span('29:59.999Z') })).status, 204)
})

test('tokens: issued for a secret, for an audience, for a time', async (t) => {
  let now = NOW
  const to = await server(t, { open: false, clients: [CLIENT], tokenSecs: 60, now: () => now })
  const ask = async (form: Record<string, string>, tenant = 'contoso') => {
    const body = new URLSearchParams({ grant_type: 'client_credentials', client_id: 'forwarder', ...form })
    const response = await fetch(`${to.endpoint}/${tenant}/oauth2/v2.0/token`, { method: 'POST', body })
    return (await response.json()) as { access_token?: string; error_description?: string }
  }
  const scope = 'https://monitor.azure.com//.default'
  assert.match((await ask({ client_secret: 'wrong', scope })).error_description!, /^AADSTS7000215/)
  assert.match((await ask({ client_id: 'other', scope })).error_description!, /^AADSTS700016/)
  assert.match((await ask({ client_secret: 'right', scope }, 'fabrikam')).error_description!, /^AADSTS90002/)
  const { access_token } = await ask({ client_secret: 'right', scope })
  const headers = { Authorization: `Bearer ${access_token}` }
  assert.equal((await post(to, { body: '[]', headers })).status, 204)
  assert.equal((await post(to, { body: '[]' })).status, 401, 'a made-up token')
  now += 60_000
  assert.equal((await post(to, { body: '[]', headers })).status, 401, 'expired')
  const other = await ask({ client_secret: 'right', scope: 'https://vault.azure.net/.default' })
  assert.equal(
    (await post(to, { body: '[]', headers: { Authorization: `Bearer ${other.access_token}` } })).status,
    401,
    'of another audience',
  )
})

test('faults hit the requests that they were scripted for', async (t) => {
  const to = await server(t)
  to.fail({ operation: 'ingest', times: 2, action: { kind: 'status', status: 403 } })
  to.fail({ operation: 'ingest', from: 3, action: { kind: 'status', status: 429, headers: { 'Retry-After': '7' } } })
  to.fail({ operation: 'ingest', from: 4, action: { kind: 'drop' } })
  to.fail({ operation: 'ingest', from: 5, action: { kind: 'reset' } })
  const body = '[{"Uid":"a"}]'
  assert.equal((await post(to, { body })).status, 403)
  assert.equal((await post(to, { body })).status, 403)
  assert.equal((await post(to, { body })).headers.get('retry-after'), '7')
  await assert.rejects(post(to, { body }))
  assert.equal(to.stream('Custom-T').records, 1, 'taken, but not answered')
  await assert.rejects(post(to, { body }))
  assert.equal(to.stream('Custom-T').records, 1)
  assert.equal((await post(to, { body })).status, 204)
})

test('counting only neither inflates nor parses, and knows the sizes', async (t) => {
  const to = await server(t, { parse: false })
  const text = JSON.stringify([{ Uid: 'a'.repeat(1000) }])
  const body = gzipSync(text)
  await post(to, { body, headers: GZIP })
  const { wireBytes, decodedBytes, requests, rows } = to.stream('Custom-T')
  assert.deepEqual([wireBytes, decodedBytes, requests, rows.length], [body.length, text.length, 1, 0])
})

test('the retired Data Collector API: signature over bytes, names, suffixes', async (t) => {
  const key = randomBytes(64).toString('base64')
  const to = await server(t, { workspaces: { w1: key } })
  const date = new Date(NOW).toUTCString()
  const send = async (body: string, signed: number, more: Record<string, string> = {}) => {
    const text = `POST\n${signed}\napplication/json\nx-ms-date:${date}\n/api/logs`
    const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64')
    const headers = {
      Authorization: `SharedKey w1:${signature}`,
      'Content-Type': 'application/json',
      'Log-Type': 'Trail',
      'x-ms-date': date,
      ...more,
    }
    const response = await fetch(`${to.endpoint}/api/logs?api-version=2016-04-01`, { method: 'POST', headers, body })
    const answer = await response.text()
    return [response.status, answer === '' ? '' : (JSON.parse(answer) as { Error: string }).Error]
  }
  const body = '[{"a":"é","b":1,"c":true,"d":{"x":1},"e":"6f9619ff-8b86-d011-b42d-00cf4fc964ff"}]'
  assert.deepEqual(await send(body, Buffer.byteLength(body)), [200, ''])
  assert.deepEqual(await send(body, body.length), [403, 'InvalidAuthorization'], 'characters are not bytes')
  assert.deepEqual(await send(body, 5, { 'Log-Type': 'no-dash' }), [400, 'InvalidLogType'])
  assert.deepEqual(await send('nonsense', 8), [400, 'InvalidDataFormat'])
  const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 501 }, (_, i) => [`c${i}`, i])))
  assert.deepEqual(await send(wide, wide.length), [400, 'InvalidDataFormat'])
  const row = to.stream('Trail_CL').rows[0]!
  assert.deepEqual(Object.keys(row).sort(), ['TimeGenerated', 'a_s', 'b_d', 'c_b', 'd_s', 'e_g'])
})

test('a webhook keeps headers, body and records', async (t) => {
  const to = await server(t)
  const lines = '{"a":1}\n{"a":2}\n'
  const headers = { 'Content-Encoding': 'zstd', 'X-Signature': 'abc' }
  await fetch(`${to.endpoint}/hook/one`, { method: 'POST', headers, body: zstdCompressSync(lines) as never })
  await fetch(`${to.endpoint}/hook/one`, { method: 'POST', body: '[{"a":3}]' })
  assert.deepEqual(to.stream('/hook/one').rows, [{ a: 1 }, { a: 2 }, { a: 3 }])
  assert.equal(to.seen.length, 2)
  assert.equal(to.seen[0]!.headers['x-signature'], 'abc')
  assert.equal(String(to.seen[1]!.body), '[{"a":3}]')
})
