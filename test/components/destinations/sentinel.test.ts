/** The sentinel destination against a service on loopback: real HTTP, TLS and tokens. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { gzipSync } from 'node:zlib'
import type { DestinationContext } from '../../../src/components/component.ts'
import type { Destination, ElementWriter, Feed, Outcome } from '../../../src/components/destination.ts'
import { sentinel } from '../../../src/components/destinations/sentinel.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import type { OutgoingEvent } from '../../../src/core/outgoingEvent.ts'
import {
  type IngestionServer,
  type IngestionServerOptions,
  startIngestionServer,
} from '../../../src/demo/ingestionServer.ts'

const TLS = join(import.meta.dirname, '../../fixtures/tls')
const CERTIFICATE = join(TLS, 'cert.pem')
const tls = { key: readFileSync(join(TLS, 'key.pem'), 'utf8'), cert: readFileSync(CERTIFICATE, 'utf8') }
const RULE = 'dcr-00000000000000000000000000000001'
const TENANT = '11111111-2222-3333-4444-555555555555'
const SECRET = 'the~secret/of+the=application'
const CLIENT = {
  tenant: TENANT,
  clientId: 'forwarder',
  secret: SECRET,
  certificate: tls.cert,
  federatedToken: 'assertion-of-the-workload',
}
const FORM = { type: 'client_secret', tenant_id: TENANT, client_id: 'forwarder', client_secret: SECRET }
const SIGNAL = new AbortController().signal
const HALF_HOUR_MS = 30 * 60_000

const scratch = await mkdtemp(join(tmpdir(), 'coldtrail-sentinel-'))
after(() => rm(scratch, { recursive: true }))

/** Whatever any test was told: no secret may be in it. */
const told: string[] = []
after(() => {
  const all = told.join('\n')
  assert.ok(all.length > 1000, 'texts were collected at all')
  for (const secret of [SECRET, encodeURIComponent(SECRET), 'token-', CLIENT.federatedToken]) {
    assert.ok(!all.includes(secret), `${secret} was told`)
  }
})

function tell(value: unknown): void {
  told.push(inspect(value, { depth: 8, maxStringLength: 100_000, maxArrayLength: 1000 }))
  if (value instanceof ColdtrailError) told.push(JSON.stringify(value), value.hint)
}

async function service(t: TestContext, options: IngestionServerOptions = {}): Promise<IngestionServer> {
  const streams = { 'Custom-AWSCloudTrail': {}, 'Custom-AWSVPCFlow': { plan: 'auxiliary' as const } }
  const server = await startIngestionServer({ tls, clients: [CLIENT], rules: { [RULE]: streams }, ...options })
  t.after(() => server.close())
  return server
}

type Settings = Readonly<Record<string, unknown>>

async function open(
  t: TestContext,
  server: Pick<IngestionServer, 'endpoint'>,
  settings: Settings = {},
  context: Partial<DestinationContext> = {},
): Promise<Destination> {
  const config = sentinel.config.parse({
    endpoint: server.endpoint,
    rule: RULE,
    credential: FORM,
    authority_host: server.endpoint,
    ca_file: CERTIFICATE,
    ...settings,
  })
  const destination = await sentinel.create(config, {
    name: 'azure',
    base: scratch,
    environment: {},
    now: () => Date.now() * 1000,
    pause: async () => undefined,
    warn: (message, values) => tell([message, values]),
    ...context,
  })
  tell(destination.notices)
  t.after(() => destination.close())
  return destination
}

async function send(feed: Feed, body: Buffer = gzipSync('[{"Uid":"a"}]'), signal = SIGNAL): Promise<Outcome> {
  const outcome = await feed.send({ body, records: 1, decodedBytes: 1, requestId: randomUUID() }, signal)
  tell(outcome)
  if (outcome.kind === 'denied') tell(outcome.error)
  return outcome
}

const trail = ({ feeds }: Destination): Feed => feeds.find(({ name }) => name === 'AWSCloudTrail')!

/** code, and for how many milliseconds it is worth trying. */
function denial(outcome: Outcome): [string, number | undefined] {
  assert.equal(outcome.kind, 'denied', JSON.stringify(outcome))
  return outcome.kind === 'denied' ? [outcome.error.code, outcome.retryForMs] : ['', 0]
}

async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string; hint: string }> {
  try {
    await promise
  } catch (error) {
    tell(error)
    return error as { code: string; message: string; hint: string }
  }
  throw new Error('it was not refused')
}

async function checks(
  destination: Destination,
): Promise<Record<string, { ok: boolean; detail: string; hint: string }>> {
  const found: Record<string, { ok: boolean; detail: string; hint: string }> = {}
  for await (const { name, ok, detail, hint = '' } of destination.check()) found[name] = { ok, detail, hint }
  tell(found)
  return found
}

test('a batch arrives with the headers that the service wants', async (t) => {
  const server = await service(t)
  const feed = trail(await open(t, server))
  const requestId = randomUUID()
  const body = gzipSync('[{"Uid":"a"},{"Uid":"b"}]')
  const outcome = await feed.send({ body, records: 2, decodedBytes: 25, requestId }, SIGNAL)
  assert.deepEqual(outcome, { kind: 'accepted' })
  assert.equal(server.stream('Custom-AWSCloudTrail').records, 2)
  const { headers } = server.seen.findLast(({ operation }) => operation === 'ingest')!
  assert.equal(headers['content-type'], 'application/json')
  assert.equal(headers['content-encoding'], 'gzip')
  assert.equal(headers['x-ms-client-request-id'], requestId)
  assert.equal(headers['content-length'], String(body.length))
})

test('the feeds are the tables, with the limits of the service', async (t) => {
  const server = await service(t)
  const { feeds } = await open(t, server, {
    tables: [
      { table: 'AWSCloudTrail', where: "region == 'x'" },
      { table: 'AWSVPCFlow', plan: 'auxiliary' },
      { table: 'Coldtrail_CL' },
    ],
  })
  assert.deepEqual(
    feeds.map(({ name }) => name),
    ['AWSCloudTrail', 'AWSVPCFlow', 'Coldtrail_CL', 'Coldtrail_CL findings'],
  )
  for (const [takes, names] of [
    ['events', ['Coldtrail_CL']],
    ['findings', ['Coldtrail_CL findings']],
  ] as const) {
    const only = await open(t, server, { tables: [{ table: 'Coldtrail_CL', takes }] })
    assert.deepEqual(
      only.feeds.map(({ name }) => name),
      names,
    )
  }
  assert.equal(feeds[0]!.where, "region == 'x'")
  assert.match(feeds[1]!.where!, /vpcflow/)
  assert.equal(feeds[2]!.where, undefined, 'all events')
  const { limits, lateAfter } = feeds[0]!
  assert.deepEqual([limits.framing, limits.wireBytes, limits.decodedBytes], ['array', 1_044_480, 52_428_800])
  assert.equal(limits.timeSpan, undefined)
  const span = feeds[1]!.limits.timeSpan!
  assert.ok(span < 30 * 60 * 1e6 && span > 29 * 60 * 1e6)
  assert.equal(lateAfter!.microseconds, 172_800_000_000)
})

test('every status is an outcome', async (t) => {
  const server = await service(t)
  const feed = trail(await open(t, server))
  const answer = async (
    status: number,
    more: { headers?: Record<string, string>; code?: string; message?: string } = {},
  ) => {
    server.fail({ operation: 'ingest', action: { kind: 'status', status, ...more } })
    const outcome = await send(feed)
    server.clearFaults()
    return outcome
  }
  for (const status of [408, 500, 502, 503, 504]) assert.equal((await answer(status)).kind, 'failed', String(status))
  assert.equal((await answer(413)).kind, 'too_large')
  assert.deepEqual(await answer(503, { headers: { 'Retry-After': '3' }, code: 'Busy', message: 'later' }), {
    kind: 'throttled',
    reason: '503 Busy: later',
    afterMs: 3000,
  })
  const throttled = async (value?: string) => {
    const outcome = await answer(429, value === undefined ? {} : { headers: { 'Retry-After': value } })
    return outcome.kind === 'throttled' ? outcome.afterMs : outcome.kind
  }
  assert.equal(await throttled('17'), 17_000)
  assert.equal(await throttled(), undefined)
  assert.equal(await throttled('soon'), undefined)
  assert.equal(await throttled('99999999999999999999'), 3_600_000)
  const at = await throttled(new Date(Date.now() + 60_000).toUTCString())
  assert.ok(typeof at === 'number' && at > 50_000 && at <= 60_000, String(at))

  const refused = await answer(400, { code: 'RecordsTimeRangeIsMoreThan30Minutes', message: 'more than 30 minutes' })
  assert.deepEqual(refused, {
    kind: 'refused',
    reason: '400 RecordsTimeRangeIsMoreThan30Minutes: more than 30 minutes',
  })

  assert.deepEqual(denial(await answer(403)), ['E_SENTINEL_ROLE', HALF_HOUR_MS])
  assert.deepEqual(denial(await answer(404)), ['E_SENTINEL_RULE', 300_000])
  const stream = { code: 'InvalidStream', message: 'no such thing' }
  assert.deepEqual(denial(await answer(404, stream)), ['E_SENTINEL_STREAM', 300_000])
  assert.deepEqual(denial(await answer(404, { code: 'ResourceNotFound', message: 'nothing here' })), [
    'E_SENTINEL_ENDPOINT',
    undefined,
  ])
  for (const status of [200, 201, 405, 407, 409, 415]) {
    assert.deepEqual(denial(await answer(status)), ['E_SENTINEL_ENDPOINT', undefined], String(status))
  }
  assert.deepEqual(denial(await answer(302, { headers: { Location: 'https://login.example/x?token=1' } })), [
    'E_RECEIVER_REDIRECT',
    undefined,
  ])
})

test('what is denied says what to do', async (t) => {
  const server = await service(t)
  const settings = { rule: 'dcr-2' }
  const rule = await send(trail(await open(t, server, settings)))
  assert.ok(rule.kind === 'denied')
  assert.match(
    rule.error.message,
    /has no data collection rule dcr-2.*immutable Id 'dcr-2' not found.*request [0-9a-f-]{36}/,
  )
  const tables = [{ table: 'AWSCloudTrail', stream: 'Custom-Other' }]
  const stream = await send(trail(await open(t, server, { tables })))
  assert.ok(stream.kind === 'denied')
  assert.match(stream.error.message, /no stream Custom-Other/)
  server.fail({ operation: 'ingest', action: { kind: 'status', status: 403 } })
  const role = await send(trail(await open(t, server)))
  assert.ok(role.kind === 'denied')
  assert.match(role.error.message, /client secret of application forwarder has no right/)
  assert.match(role.error.hint, /Monitoring Metrics Publisher \(3913510d-42f4-4e42-8a64-420c390055eb\) on that rule/)
})

test('a refused token is replaced once, for all requests under way', async (t) => {
  const server = await service(t)
  const feed = trail(await open(t, server))
  assert.equal((await send(feed)).kind, 'accepted')
  assert.equal(server.tokens.issued, 1)
  server.tokens.revoke()
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => send(feed)))
  assert.deepEqual([...new Set(outcomes.map(({ kind }) => kind))], ['accepted'])
  assert.equal(server.tokens.issued, 2)
  server.fail({ operation: 'ingest', times: 2, action: { kind: 'status', status: 401 } })
  assert.deepEqual(denial(await send(feed)), ['E_SENTINEL_TOKEN', undefined])
  assert.equal(server.tokens.issued, 3)
  assert.equal((await send(feed)).kind, 'accepted')
})

test('tokens that expire while a run goes on are renewed before they do', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const pass = (seconds: number): void => t.mock.timers.setTime(Date.now() + seconds * 1000)
  const server = await service(t)
  const feed = trail(await open(t, server))
  for (const [seconds, issued] of [
    [0, 1],
    [3200, 1],
    [150, 2],
    [10_000, 3],
  ] as const) {
    pass(seconds)
    assert.equal((await send(feed)).kind, 'accepted')
    assert.equal(server.tokens.issued, issued, `after ${seconds} s more`)
  }
  assert.equal(server.statuses.get(401), undefined, 'none was used after its time')
  // An authority that fails is not asked by every request, as long as the token holds.
  server.fail({ operation: 'token', times: Number.POSITIVE_INFINITY, action: { kind: 'status', status: 503 } })
  pass(3400)
  const asked = (): number => server.requests.get('token')!
  const before = asked()
  for (let i = 0; i < 3; i++) assert.equal((await send(feed)).kind, 'accepted')
  assert.equal(asked(), before + 1)
  pass(201)
  assert.equal((await send(feed)).kind, 'failed')
  server.clearFaults()
  assert.equal((await send(feed)).kind, 'accepted')
})

test('wrong credentials are explained', async (t) => {
  const server = await service(t)
  const of = async (form: Settings) => {
    const outcome = await send(trail(await open(t, server, { credential: { ...FORM, ...form } })))
    assert.deepEqual(denial(outcome), ['E_AZURE_CREDENTIALS', undefined])
    return outcome.kind === 'denied' ? `${outcome.error.message} ${outcome.error.hint}` : ''
  }
  assert.match(await of({ client_secret: 'wrong one' }), /AADSTS7000215.*value of the secret/)
  assert.match(await of({ client_id: 'nobody' }), /AADSTS700016.*no such application/)
  assert.match(await of({ tenant_id: 'nowhere.example' }), /AADSTS90002.*no such tenant/)
  const expired = {
    error: 'invalid_client',
    error_description: 'AADSTS7000222: The provided client secret keys are expired. Trace ID: 1',
    error_codes: [7000222],
  }
  server.fail({
    operation: 'token',
    action: {
      kind: 'garbage',
      status: 401,
      body: JSON.stringify(expired),
      headers: { 'Content-Type': 'application/json' },
    },
  })
  const text = await of({})
  assert.match(text, /has expired: make a new one/)
  assert.doesNotMatch(text, /Trace ID/)
  for (const [operation, status] of [
    ['token', 200],
    ['token', 404],
    ['metadata', 404],
  ] as const) {
    server.clearFaults()
    server.fail({ operation, action: { kind: 'garbage', status, body: '<html>Sign in</html>' } })
    assert.match(await of({}), /was answered, and not as Entra ID does.*authority_host/)
  }
  server.clearFaults()
  const workload = { credential: { type: 'workload_identity', tenant_id: TENANT } }
  const incomplete = await send(trail(await open(t, server, workload)))
  assert.match(incomplete.kind === 'denied' ? incomplete.error.message : '', /client_id, token_file neither configured/)
  assert.equal(server.stream('Custom-AWSCloudTrail').requests, 0)
})

test('an authority that is out of order is tried again', async (t) => {
  const server = await service(t)
  server.fail({ operation: 'token', action: { kind: 'status', status: 503 } })
  server.fail({ operation: 'token', from: 2, action: { kind: 'reset' } })
  const feed = trail(await open(t, server))
  assert.equal((await send(feed)).kind, 'failed')
  assert.equal((await send(feed)).kind, 'failed')
  assert.equal((await send(feed)).kind, 'accepted')
})

test('a certificate, a workload identity, and the environment', async (t) => {
  const server = await service(t)
  writeFileSync(join(scratch, 'both.pem'), `${tls.key}${tls.cert}`)
  writeFileSync(join(scratch, 'federated'), CLIENT.federatedToken)
  const named = { tenant_id: TENANT, client_id: 'forwarder' }
  const certificate = { ...named, type: 'certificate', certificate_path: 'both.pem' }
  assert.equal((await send(trail(await open(t, server, { credential: certificate })))).kind, 'accepted')
  const workload = { ...named, type: 'workload_identity', token_file: 'federated' }
  assert.equal((await send(trail(await open(t, server, { credential: workload })))).kind, 'accepted')
  const environment = { AZURE_TENANT_ID: TENANT, AZURE_CLIENT_ID: 'forwarder', AZURE_CLIENT_SECRET: SECRET }
  const fromEnvironment = await open(t, server, { credential: {} }, { environment })
  assert.equal((await send(trail(fromEnvironment))).kind, 'accepted')
  const missing = { ...certificate, certificate_path: 'nothing.pem' }
  const outcome = await send(trail(await open(t, server, { credential: missing })))
  assert.deepEqual(denial(outcome), ['E_AZURE_CREDENTIALS', undefined])
  const keyless = await send(
    trail(await open(t, server, { credential: { ...certificate, certificate_path: CERTIFICATE } })),
  )
  assert.match(keyless.kind === 'denied' ? keyless.error.hint : '', /certificate and its private key/)
})

test('a managed identity, as App Service gives it', async (t) => {
  const server = await service(t)
  Object.assign(process.env, server.identityEnvironment)
  t.after(() => {
    delete process.env.IDENTITY_ENDPOINT
    delete process.env.IDENTITY_HEADER
  })
  const environment = { ...server.identityEnvironment }
  const destination = await open(t, server, { credential: {} }, { environment })
  assert.equal((await send(trail(destination))).kind, 'accepted')
  assert.equal(server.requests.get('identity'), 1)
  const said = JSON.stringify({ error: 'invalid_request', error_description: 'Identity not found' })
  const headers = { 'Content-Type': 'application/json' }
  server.fail({ operation: 'identity', action: { kind: 'garbage', status: 400, body: said, headers } })
  const other = await send(
    trail(await open(t, server, { credential: { type: 'managed_identity', client_id: 'none' } })),
  )
  assert.ok(other.kind === 'denied')
  assert.match(other.error.message, /client id none: Identity not found$/)
})

test('TLS: an unknown authority and another name are refused', async (t) => {
  const server = await service(t)
  // The token comes from the same untrusted host.
  const outcome = await send(trail(await open(t, server, { ca_file: undefined })))
  assert.deepEqual(denial(outcome), ['E_AZURE_CREDENTIALS', undefined])
  assert.match(outcome.kind === 'denied' ? outcome.error.message : '', /signed by itself and not trusted/)
  const trusted = await service(t)
  const both = { endpoint: trusted.endpoint.replace('127.0.0.1', 'localhost'), authority_host: trusted.endpoint }
  const named = await send(trail(await open(t, trusted, both)))
  assert.deepEqual(denial(named), ['E_RECEIVER_TLS', undefined])
  assert.match(named.kind === 'denied' ? named.error.message : '', /for another name/)
  const missing = await refusal(open(t, server, { ca_file: 'nothing.pem' }))
  assert.equal(missing.code, 'E_FILE_READ')
})

test('connections that break are failures, and may have been taken', async (t) => {
  const server = await service(t)
  const destination = await open(t, server, { idle_timeout_secs: 2 })
  const feed = trail(destination)
  server.fail({ operation: 'ingest', action: { kind: 'reset' } })
  server.fail({ operation: 'ingest', from: 2, action: { kind: 'drop' } })
  server.fail({ operation: 'ingest', from: 3, action: { kind: 'stall' } })
  assert.equal((await send(feed)).kind, 'failed')
  assert.equal((await send(feed)).kind, 'failed')
  assert.equal(server.stream('Custom-AWSCloudTrail').records, 1, 'taken, and not answered')
  const stalled = await send(feed)
  assert.match(stalled.kind === 'failed' ? stalled.reason : '', /nothing moved for 2 s/)
  assert.equal((await send(feed)).kind, 'accepted')
  await server.close()
  const refused = await send(feed)
  assert.match(refused.kind === 'failed' ? refused.reason : JSON.stringify(refused), /ECONNREFUSED|closed/)
})

test('a connection closed twice while the same batch is sent means that it is too large', async (t) => {
  const server = await service(t)
  const feed = trail(await open(t, server))
  assert.equal((await send(feed)).kind, 'accepted')
  server.fail({ operation: 'ingest', times: 3, action: { kind: 'reset', after: 1000 } })
  // Larger than what the kernels of both ends hold, so that it is not all gone before the reset.
  const [large, other] = [randomBytes(24_000_000), randomBytes(24_000_001)]
  assert.equal((await send(feed, large)).kind, 'failed')
  assert.equal((await send(feed, other)).kind, 'failed', 'another batch is not the same')
  assert.equal((await send(feed, large)).kind, 'too_large')
})

test('hostile answers are bounded, escaped and never echo a secret', async (t) => {
  const server = await service(t)
  const feed = trail(await open(t, server, {}))
  assert.equal((await send(feed)).kind, 'accepted')
  const answers: [status: number, body: string | Buffer, headers?: Record<string, string>][] = [
    [500, Buffer.alloc(40_000_000, 'x')],
    [500, ''],
    [400, '{"error":'],
    [400, '{"error":{"code":5,"message":["x"]}}'],
    [400, '[]'],
    [400, 'null'],
    [403, `{"error":{"code":"\\u001b[31mred","message":"${'long '.repeat(10_000)}"}}`],
    [429, '<html>\u001b]0;title\u0007</html>', { 'Retry-After': '-1' }],
    [404, '', { 'X-Bomb': 'y'.repeat(14_000) }],
    [400, '', Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`X-${i}`, 'z'.repeat(400)]))],
    [204, ''],
  ]
  const kinds: string[] = []
  for (const [status, body, headers = {}] of answers) {
    server.fail({ operation: 'ingest', action: { kind: 'garbage', status, body, headers } })
    const outcome = await send(feed)
    server.clearFaults()
    kinds.push(outcome.kind)
    const text = outcome.kind === 'denied' ? outcome.error.message : 'reason' in outcome ? outcome.reason : ''
    assert.doesNotMatch(text, /[\u0000-\u001f\u007f-\u009f]/)
    assert.ok(text.length < 1000, `${status}: ${text.length}`)
  }
  assert.deepEqual(kinds, [
    'failed',
    'failed',
    'refused',
    'refused',
    'refused',
    'refused',
    'denied',
    'throttled',
    'denied',
    'failed',
    'accepted',
  ])

  const { headers } = server.seen.findLast(({ operation }) => operation === 'ingest')!
  const echo = `you sent ${headers.authorization} and ${SECRET}`
  server.fail({ operation: 'ingest', action: { kind: 'status', status: 400, code: 'Echo', message: echo } })
  const outcome = await send(feed)
  assert.equal(outcome.kind === 'refused' && outcome.reason, '400 Echo: you sent Bearer (hidden) and (hidden)')
})

test('an abort ends a request and a wait for a token', async (t) => {
  const server = await service(t)
  const feed = trail(await open(t, server))
  for (const operation of ['token', 'ingest'] as const) {
    const controller = new AbortController()
    server.fail({ operation, action: { kind: 'stall' } })
    setTimeout(() => controller.abort(), 200)
    const outcome = await send(feed, undefined, controller.signal)
    assert.match(outcome.kind === 'failed' ? outcome.reason : outcome.kind, /aborted/, operation)
    server.clearFaults()
  }
  const aborted = AbortSignal.abort()
  assert.equal((await send(feed, undefined, aborted)).kind, 'failed')
})

test('loopback is never reached by a proxy', async (t) => {
  let asked = 0
  const proxy = createTcpServer((socket) => {
    asked += 1
    socket.destroy()
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.after(() => proxy.close())
  const { port } = proxy.address() as { port: number }
  const environment = { HTTPS_PROXY: `http://127.0.0.1:${port}`, HTTP_PROXY: `http://127.0.0.1:${port}` }
  const server = await service(t)
  const destination = await open(t, server, {}, { environment })
  assert.equal((await send(trail(destination))).kind, 'accepted')
  assert.equal(asked, 0)
})

test('check proves credential, address, clock, rule, stream and role, and sends no record', async (t) => {
  const server = await service(t)
  const good = await checks(await open(t, server))
  assert.deepEqual(
    Object.entries(good).filter(([, { ok }]) => !ok),
    [],
  )
  assert.deepEqual(Object.keys(good), [
    'credential',
    'endpoint',
    'clock',
    'stream Custom-AWSCloudTrail',
    'columns of AWSCloudTrail',
    'stream Custom-AWSVPCFlow',
    'columns of AWSVPCFlow',
  ])
  assert.equal(server.stream('Custom-AWSCloudTrail').records, 0)

  const wrong = await checks(await open(t, server, { credential: { ...FORM, client_secret: 'wrong one' } }))
  assert.equal(wrong.credential!.ok, false)
  assert.match(wrong.credential!.hint, /value of the secret/)
  assert.equal(wrong.endpoint!.ok, true)

  server.fail({ operation: 'ingest', stream: 'Custom-AWSVPCFlow', action: { kind: 'status', status: 403 } })
  const role = await checks(await open(t, server))
  assert.equal(role['stream Custom-AWSCloudTrail']!.ok, true)
  assert.match(role['stream Custom-AWSVPCFlow']!.hint, /Monitoring Metrics Publisher/)

  const late = await checks(await open(t, server, {}, { now: () => (Date.now() + 6 * 60_000) * 1000 }))
  assert.equal(late.clock!.ok, false)
  assert.match(late.clock!.detail, /3\d\d s ahead/)

  const gone = await checks(await open(t, server, { endpoint: 'http://127.0.0.1:9' }))
  assert.equal(gone.endpoint!.ok, false)
})

test('columns are compared with the rule before anything is sent', async (t) => {
  const server = await service(t)
  const encoder = (await import('../../../src/components/tables/all.ts')).TABLES.find(
    ({ name }) => name === 'AWSCloudTrail',
  )!
  const rule = (columns: readonly { name: string; type: string }[]) =>
    JSON.stringify({ immutableId: RULE, streamDeclarations: { 'Custom-AWSCloudTrail': { columns } } })
  const all = encoder.columns.map(({ name, type }) => ({ name, type }))
  const tables = [{ table: 'AWSCloudTrail' }]
  writeFileSync(join(scratch, 'whole.json'), rule(all))
  writeFileSync(join(scratch, 'lacking.json'), rule(all.filter(({ name }) => name !== 'UserAgent')))
  const whole = await checks(await open(t, server, { tables, dcr_file: 'whole.json' }))
  assert.match(whole['columns of AWSCloudTrail']!.detail, /all declared/)
  const refused = await refusal(open(t, server, { tables, dcr_file: 'lacking.json' }))
  assert.equal(refused.code, 'E_TABLE_UNDECLARED')
  assert.match(refused.message, /UserAgent/)
  const dropping = await open(t, server, { tables, dcr_file: 'lacking.json', undeclared: 'drop' })
  assert.match(dropping.notices.join('\n'), /UserAgent/)
  const unknown = await refusal(open(t, server, { tables: [{ table: 'AWSCloudTrial' }] }))
  assert.equal(unknown.code, 'E_SENTINEL_TABLE')
  assert.match(unknown.message, /Did you mean AWSCloudTrail\?/)
})

test('a table of one’s own is encoded as it is declared', async (t) => {
  const server = await service(t, { rules: { [RULE]: { 'Custom-Mine_CL': {} } } })
  const columns = [
    { name: 'TimeGenerated', type: 'datetime', from: [{ event: 'time' }] },
    { name: 'Who', type: 'string', from: [{ data: 'user.name' }, { constant: 'nobody' }] },
    { name: 'Uid', type: 'string', from: [{ event: 'uid' }] },
  ]
  const destination = await open(t, server, { tables: [{ table: 'Mine_CL', columns, where: "data_type == 'x'" }] })
  const [feed] = destination.feeds
  const elements = [event('{"user":{"name":"ann"}}'), event('{"other":1}')].map((one) => encoded(feed!, one))
  assert.equal((await send(feed!, gzipSync(`[${elements.join(',')}]`))).kind, 'accepted')
  const { rows } = server.stream('Custom-Mine_CL')
  assert.deepEqual(
    rows.map(({ Who }) => Who),
    ['ann', 'nobody'],
  )
  assert.equal(rows[0]!.Uid, 'uid-1')
  assert.match(feed!.lateAfter!.notice, /No other column/)
  const { feeds } = await open(t, server)
  assert.deepEqual(
    feeds.map(({ lateAfter }) => /own time is in (\w+)\./.exec(lateAfter!.notice)![1]),
    ['EventTime_CF', 'Start'],
  )
})

// --- internal ---

function event(text: string): OutgoingEvent {
  return {
    id: 1,
    uid: 'uid-1',
    time: Date.now() * 1000,
    dataType: 'x',
    data: Buffer.from(text),
    session: { format: 'json_lines', header: null } as OutgoingEvent['session'],
    column: () => null,
  }
}

function encoded(feed: Feed, one: OutgoingEvent): string {
  const parts: Buffer[] = []
  const out: ElementWriter = {
    text: (text) => void parts.push(Buffer.from(text)),
    bytes: (bytes, start = 0, end = bytes.length) => void parts.push(Buffer.from(bytes.subarray(start, end))),
  }
  const result = feed.encode(one, out)
  assert.equal(result, undefined)
  return Buffer.concat(parts).toString()
}
