/** The Data Collector API to the letter of its documentation, against a service on loopback that insists on it. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { DestinationContext } from '../../../src/components/component.ts'
import type { Destination, DestinationCheck, Outcome } from '../../../src/components/destination.ts'
import { ROW_FIELDS, sentinel_legacy, sharedKey } from '../../../src/components/destinations/sentinel_legacy.ts'
import { type IngestionServer, startIngestionServer } from '../../../src/demo/ingestionServer.ts'
import { type EventParts, outgoingEvent } from '../../support/oddEvents.ts'
import { TextWriter } from '../../support/tableFixtures.ts'

const WORKSPACE = '11111111-2222-3333-4444-555555555555'
const KEY = Buffer.from(Array.from({ length: 64 }, (_, i) => i)).toString('base64')
const DATE = 'Mon, 14 Sep 2026 00:00:00 GMT'
const SIGNAL = new AbortController().signal

async function workspace(t: TestContext) {
  const server = await startIngestionServer({ workspaces: { [WORKSPACE]: KEY } })
  t.after(() => server.close())
  return { server, open: (settings = {}, context = {}) => open(t, server, settings, context) }
}

async function open(
  t: TestContext,
  { endpoint }: Pick<IngestionServer, 'endpoint'>,
  settings: Readonly<Record<string, unknown>>,
  context: Partial<DestinationContext>,
): Promise<Destination> {
  const given = { endpoint, workspace_id: WORKSPACE, shared_key: KEY, log_type: 'Coldtrail', ...settings }
  const destination = await sentinel_legacy.create(sentinel_legacy.config.parse(given), {
    name: 'legacy',
    base: '/',
    environment: {},
    now: () => Date.now() * 1000,
    pause: async () => undefined,
    warn: () => assert.fail('no warning'),
    ...context,
  })
  t.after(() => destination.close())
  return destination
}

const send = ({ feeds }: Destination, body: Buffer | string, records = 1): Promise<Outcome> =>
  feeds[0]!.send({ body: Buffer.from(body), records, decodedBytes: body.length, requestId: 'a' }, SIGNAL)

function row({ feeds }: Destination, parts: EventParts): { fields: Record<string, unknown>; notes: readonly string[] } {
  const out = new TextWriter()
  const encoded = feeds[0]!.encode(outgoingEvent(parts), out)
  if (encoded && 'refused' in encoded) return assert.fail(encoded.refused)
  return { fields: JSON.parse(out.toString()) as Record<string, unknown>, notes: encoded?.notes ?? [] }
}

async function lines(destination: Destination): Promise<DestinationCheck[]> {
  const found: DestinationCheck[] = []
  for await (const line of destination.check()) found.push(line)
  return found
}

test('the signature is over the length in bytes: the vector of the documentation', () => {
  const body = '[{"a":"é"}]'
  assert.equal(body.length, 11)
  assert.equal(Buffer.byteLength(body), 12)
  assert.equal(
    sharedKey(WORKSPACE, KEY, Buffer.byteLength(body), DATE),
    `SharedKey ${WORKSPACE}:lv4o5k+C4ugwiTYxAMYha3OVTV3JRtUDi+a/LFy1diA=`,
  )
})

test('a post has the headers of the API, and the service takes its signature', async (t) => {
  const { server, open } = await workspace(t)
  const destination = await open({ resource_id: '/subscriptions/0/resourceGroups/a' })
  const { fields } = row(destination, {
    columns: { message: 'é and ü', src_endpoint_port: 443, metadata_uid: '00000000-0000-0000-0000-000000000001' },
    data: '{"a":"é"}',
    time: (Date.now() - 3_600_000) * 1000,
  })
  assert.deepEqual(await send(destination, JSON.stringify([fields])), { kind: 'accepted' })
  const { headers, path } = server.seen[0]!
  assert.equal(path, '/api/logs')
  assert.equal(headers['log-type'], 'Coldtrail')
  assert.equal(headers['time-generated-field'], 'EventTime')
  assert.equal(headers['x-ms-azureresourceid'], '/subscriptions/0/resourceGroups/a')
  assert.equal(headers['content-type'], 'application/json')
  assert.match(String(headers['x-ms-date']), /^\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$/)
  const [stored] = server.received.get('Coldtrail_CL')!.rows
  assert.equal(stored!.message_s, 'é and ü')
  assert.equal(stored!.src_endpoint_port_d, 443)
  assert.equal(stored!.data_s, '{"a":"é"}')
  assert.equal(stored!.uid_s, fields.uid)
  assert.ok('metadata_uid_g' in stored! && 'EventTime_t' in stored!)
  assert.equal(Date.parse(String(stored!.TimeGenerated)), Date.parse(String(fields.EventTime)), 'time-generated-field')
})

test('the fields of a row keep to the rules of names, and are fewer than 500', () => {
  assert.ok(ROW_FIELDS.length < 60)
  for (const name of ROW_FIELDS) {
    assert.match(name, /^[A-Za-z]\w{0,44}$/)
    assert.ok(!['tenant', 'timegenerated', 'rawdata'].includes(name.toLowerCase()))
  }
  const rules = (settings: object): boolean =>
    sentinel_legacy.config.safeParse({ workspace_id: WORKSPACE, shared_key: KEY, log_type: 'A_1', ...settings }).success
  assert.ok(rules({}))
  for (const log_type of ['', 'a-b', 'é', 'x'.repeat(101)]) assert.ok(!rules({ log_type }), log_type)
  assert.ok(!rules({ workspace_id: 'abc' }) && !rules({ shared_key: 'no base64!' }) && !rules({ resource_id: 'x' }))
  for (const endpoint of ['http://a.example', 'https://u:p@a.example', 'https://a.example/path']) {
    assert.ok(!rules({ endpoint }), endpoint)
  }
})

test('a value above 32 KiB is refused, or with too_long: trim cut on a character and marked', async (t) => {
  const { open } = await workspace(t)
  const parts: EventParts = { data: 'é'.repeat(20_000), columns: { message: 'x'.repeat(32_768) } }
  const refusing = await open()
  const out = new TextWriter()
  const encoded = refusing.feeds[0]!.encode(outgoingEvent(parts), out)
  assert.match(encoded && 'refused' in encoded ? encoded.refused : '', /^data is longer than the 32 KiB/)
  assert.equal(out.toString(), '')
  const { fields, notes } = row(await open({ too_long: 'trim' }), parts)
  assert.ok(Buffer.byteLength(String(fields.data)) <= 32_768 && Buffer.byteLength(String(fields.data)) > 32_700)
  assert.equal(String(fields.message).length, 32_768)
  assert.deepEqual(notes, ['data: cut to the 32 KiB of a field'])
  assert.ok(!('data' in row(await open({ data: 'none' }), parts).fields))
})

test('the limits are fixed: 30 MB a post, no compression', async (t) => {
  const { open } = await workspace(t)
  const [feed] = (await open()).feeds
  assert.deepEqual(feed!.limits.compression, { kind: 'none' })
  assert.equal(feed!.limits.framing, 'array')
  assert.ok(feed!.limits.wireBytes <= 30e6 && feed!.limits.decodedBytes <= 30e6)
  assert.equal(feed!.lateAfter!.microseconds, 2 * 86_400e6)
})

test('404 means a post that may be too large, or that nobody is there', async (t) => {
  const { server, open } = await workspace(t)
  const destination = await open()
  const large = JSON.stringify([{ a: 'x'.repeat(1 << 20) }, { a: 1 }])
  server.fail({ times: 3, action: { kind: 'status', status: 404 } })
  assert.equal((await send(destination, large, 2)).kind, 'too_large')
  assert.equal((await send(destination, large, 1)).kind, 'denied', 'a single row cannot be halved')
  const outcome = await send(destination, '[{"a":1}]')
  assert.ok(outcome.kind === 'denied' && /workspace_id/.test(outcome.error.hint))
})

test('its retirement is said when a run starts, with the date and what replaces it', async (t) => {
  const { open } = await workspace(t)
  const text = (await open()).notices.join()
  assert.match(text, /retired on 2026-09-14/)
  assert.match(text, /type sentinel/)
})

test('check proves key and clock with a post of no rows', async (t) => {
  const { server, open } = await workspace(t)
  assert.deepEqual(
    (await lines(await open())).map(({ name, ok }) => [name, ok]),
    [
      ['address', true],
      ['clock', true],
      ['credentials', true],
    ],
  )
  assert.equal(server.received.get('Coldtrail_CL')?.records ?? 0, 0)
  const wrong = await open({ shared_key: Buffer.from('another key').toString('base64') })
  const refused = (await lines(wrong)).find(({ name }) => name === 'credentials')!
  assert.ok(!refused.ok && /shared_key/.test(refused.hint ?? ''))
  const late = await open({}, { now: () => (Date.now() - 3_600_000) * 1000 })
  const clock = (await lines(late)).find(({ name }) => name === 'clock')!
  assert.ok(!clock.ok && /behind/.test(clock.detail))
  assert.ok(!(await lines(late)).find(({ name }) => name === 'credentials')!.ok, 'an old signature is refused')
})
