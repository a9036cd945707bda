/**
 * Forwarding through the library: a real store, real HTTP to a receiver on loopback that fails as real ones do. What
 * arrives is compared with what was selected.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { type IngestionServer, startIngestionServer } from '../../src/demo/ingestionServer.ts'
import {
  type Coldtrail,
  type ColdtrailError,
  type ForwardRequest,
  type ForwardSummary,
  loadConfig,
  open,
  parseConfig,
} from '../../src/index.ts'
import { putFiles } from '../support/crashSite.ts'

const RULE = 'dcr-00000000000000000000000000000001'
const TLS = join(import.meta.dirname, '../fixtures/tls')
const DAY = Date.UTC(2026, 2, 10)

test('sends every event once, then only what is new', async (t) => {
  const { receiver, site } = await place(t)
  await site.collect(lines('first', 300))
  const first = await site.forward()
  assert.equal(first.events, 300)
  assert.equal(first.feeds[0]!.new, true)
  assert.deepEqual(idsAt(receiver), await site.uids())
  assert.equal(receiver.stream('/hook').records, 300)

  assert.equal((await site.forward()).events, 0)
  await site.collect(lines('second', 50))
  const third = await site.forward()
  assert.deepEqual([third.events, third.feeds[0]!.new], [50, false])
  assert.deepEqual(idsAt(receiver), await site.uids())
  assert.equal(receiver.stream('/hook').records, 350)
  const [status] = await site.coldtrail.forwardStatus()
  assert.deepEqual([status!.counters.accepted, status!.lagEvents, status!.open.length], [350, 0, 0])
})

test('gets everything through failures, pauses, resets and answers that were lost; only these come twice', async (t) => {
  const { receiver, site } = await place(t, { max_records: 50 })
  await site.collect(lines('logs', 1_000))
  const faults = [
    { kind: 'status', status: 503 },
    { kind: 'status', status: 429, headers: { 'Retry-After': '0' } },
    { kind: 'reset' },
    { kind: 'reset', after: 500 },
    { kind: 'status', status: 408 },
    { kind: 'drop' },
    { kind: 'drop' },
  ] as const
  for (const [index, action] of faults.entries()) receiver.fail({ operation: 'hook', from: 2 + 3 * index, action })
  const { events, rejected, retried, requests } = await site.forward()
  assert.deepEqual([events, rejected], [1_000, 0])
  assert.equal(retried, faults.length)
  assert.equal(requests, 20 + faults.length)
  assert.deepEqual(idsAt(receiver), await site.uids())
  assert.equal(receiver.stream('/hook').records, 1_000 + 2 * 50)
})

test('halves a refused batch down to the records to blame, keeps these as dead letters, and sends them again', async (t) => {
  const bad = new Set([17, 200, 201, 399])
  let strict = true
  const refuse = ({ RawData }: Readonly<Record<string, unknown>>) => {
    const n = Number(/"n":(\d+)/.exec(String(RawData))?.[1])
    return strict && bad.has(n) ? `record ${n} has a column that this service hates` : undefined
  }
  const { receiver, site } = await sentinelPlace(t, { rules: { [RULE]: { 'Custom-Coldtrail_CL': { refuse } } } })
  await site.collect(lines('logs', 400))
  const { events, rejected, feeds } = await site.forward()
  assert.deepEqual([events, rejected], [396, 4])
  assert.equal(feeds[0]!.error, undefined)
  const letters = await collected(site.coldtrail.deadLetters())
  assert.equal(letters.length, 4)
  assert.ok(
    letters.every(({ reason }) => reason.includes('this service hates')),
    JSON.stringify(letters),
  )
  const sent = idsAt(receiver, 'Custom-Coldtrail_CL')
  const all = await site.uids()
  assert.deepEqual(
    all.filter((uid) => !sent.includes(uid)),
    letters.map(({ uid }) => uid).sort(),
  )

  bad.delete(17)
  const [again] = await site.coldtrail.forwardRetry()
  assert.deepEqual([again!.events, again!.rejected], [1, 3])
  strict = false
  const [last] = await site.coldtrail.forwardRetry()
  assert.deepEqual([last!.events, last!.rejected], [3, 0])
  assert.deepEqual(await collected(site.coldtrail.deadLetters()), [])
  assert.deepEqual(idsAt(receiver, 'Custom-Coldtrail_CL'), all)
  assert.equal(receiver.stream('Custom-Coldtrail_CL').records, 400)
})

test('a receiver that takes nothing stops the feed, and nothing is lost or called dead', async (t) => {
  let strict = true
  const refuse = () => (strict ? 'column Uid is unknown' : undefined)
  const { receiver, site } = await sentinelPlace(t, { rules: { [RULE]: { 'Custom-Coldtrail_CL': { refuse } } } })
  await site.collect(lines('logs', 100))
  const { error, events, rejected } = await site.forward()
  assert.equal(error?.code, 'E_FORWARD_REFUSED')
  assert.ok(error!.message.includes('column Uid is unknown'), error!.message)
  assert.deepEqual([events, rejected], [0, 0])
  assert.deepEqual(await collected(site.coldtrail.deadLetters()), [])
  strict = false
  const next = await site.forward()
  assert.deepEqual([next.events, next.feeds[0]!.resumed], [100, 1])
  assert.deepEqual(idsAt(receiver, 'Custom-Coldtrail_CL'), await site.uids())
})

test('dead letters of a table that is configured no more are told of, and stay', async (t) => {
  const refuse = ({ RawData }: Readonly<Record<string, unknown>>) =>
    /"n":7[,}]/.test(String(RawData)) ? 'this service hates sevens' : undefined
  const { site } = await sentinelPlace(t, { rules: { [RULE]: { 'Custom-Coldtrail_CL': { refuse } } } })
  await site.collect(lines('logs', 20))
  assert.equal((await site.forward()).rejected, 1)
  const { config } = site.coldtrail
  const [destination] = config.destinations
  const said: string[] = []
  const log = (_level: string, message: string, values: unknown) => said.push(`${message} ${JSON.stringify(values)}`)
  const tables = [{ table: 'AWSVPCFlow', plan: 'analytics' }]
  const other = await open({ ...config, destinations: [{ ...destination!, tables }] }, { log })
  t.after(() => other.close())
  const [summary] = await other.forwardRetry()
  assert.deepEqual([summary!.events, summary!.rejected], [0, 0])
  assert.ok(
    said.some((line) => line.includes('configured any more') && line.includes('Coldtrail_CL')),
    said.join('\n'),
  )
  assert.equal((await collected(other.deadLetters())).length, 1)
})

test('splits what is too large', async (t) => {
  const { receiver, site } = await place(t)
  await site.collect(lines('logs', 200))
  receiver.fail({ operation: 'hook', times: 2, action: { kind: 'status', status: 413 } })
  const { events, requests } = await site.forward()
  assert.equal(events, 200)
  // The whole, its first half; then two quarters and the second half.
  assert.equal(requests, 5)
  assert.deepEqual(idsAt(receiver), await site.uids())
})

test('an unknown stream ends its feed with words, the others go on', async (t) => {
  const rules = { [RULE]: { 'Custom-Coldtrail_CL': {} } }
  const tables = [{ table: 'AWSCloudTrail', where: 'data.n >= 0' }, { table: 'Coldtrail_CL' }]
  const { site, receiver } = await sentinelPlace(t, { rules }, tables, 1)
  await site.collect(lines('logs', 20))
  const { feeds, error } = await site.forward()
  const [missing, sound] = feeds
  assert.equal(error, missing!.error)
  assert.match(missing!.error!.message, /Custom-AWSCloudTrail/)
  assert.deepEqual([missing!.accepted, sound!.accepted], [0, 20])
  assert.deepEqual(idsAt(receiver, 'Custom-Coldtrail_CL'), await site.uids())
})

test('a role that is not known yet is waited for', async (t) => {
  const { receiver, site } = await sentinelPlace(t, { rules: { [RULE]: { 'Custom-Coldtrail_CL': {} } } })
  await site.collect(lines('logs', 10))
  receiver.fail({ operation: 'ingest', times: 2, action: { kind: 'status', status: 403 } })
  const { events, retried, error } = await site.forward()
  assert.deepEqual([events, retried, error], [10, 2, undefined])
})

test('a token that is refused in the middle of a run is renewed, once', async (t) => {
  const tls = { key: readFileSync(join(TLS, 'key.pem'), 'utf8'), cert: readFileSync(join(TLS, 'cert.pem'), 'utf8') }
  const client = { tenant: '11111111-2222-3333-4444-555555555555', clientId: 'forwarder', secret: 'of the application' }
  const receiver = await startIngestionServer({
    ...{ tls, clients: [client], rules: { [RULE]: { 'Custom-Coldtrail_CL': {} } }, idColumn: 'Uid', keepRows: 0 },
  })
  t.after(() => receiver.close())
  const { site } = await siteOf(t, {
    type: 'sentinel',
    endpoint: receiver.endpoint,
    rule: RULE,
    tables: [{ table: 'Coldtrail_CL' }],
    authority_host: receiver.endpoint,
    ca_file: join(TLS, 'cert.pem'),
    credential: {
      type: 'client_secret',
      tenant_id: client.tenant,
      client_id: client.clientId,
      client_secret: client.secret,
    },
  })
  await site.collect(lines('logs', 10))
  receiver.fail({ operation: 'ingest', action: { kind: 'status', status: 401 } })
  const { events, error } = await site.forward()
  assert.deepEqual([events, error], [10, undefined])
  assert.equal(receiver.tokens.issued, 2)
  assert.deepEqual(idsAt(receiver, 'Custom-Coldtrail_CL'), await site.uids())
})

test('a second forwarder of the same destination is told who is at work', async (t) => {
  const { receiver, site } = await place(t, { max_records: 5 })
  await site.collect(lines('logs', 10))
  let second: Promise<ColdtrailError> | undefined
  const other = await site.again()
  receiver.fail({
    operation: 'hook',
    action: {
      kind: 'run',
      run() {
        second = other.forward().then(
          () => assert.fail('the second forwarder ran'),
          (error: ColdtrailError) => error,
        )
      },
    },
  })
  receiver.fail({ operation: 'hook', from: 2, action: { kind: 'delay', milliseconds: 1_000 } })
  assert.equal((await site.forward()).events, 10)
  const refused = await second!
  assert.equal(refused.code, 'E_FORWARD_BUSY')
  assert.ok(refused.message.includes(String(process.pid)), refused.message)
  assert.equal((await site.forward()).events, 0)
})

test('another expression is another feed, with a position of its own; --from is where a new one begins', async (t) => {
  const { receiver, site } = await place(t)
  await site.collect(lines('logs', 100))
  assert.equal((await site.forward({ where: 'data.n < 10' })).events, 10)
  assert.equal((await site.forward({ where: 'data.n < 10' })).events, 0)
  assert.equal((await site.forward({ where: 'data.n >= 90' })).events, 10)
  // A minute an event.
  const from = (DAY + 50 * 60_000) * 1_000
  assert.equal((await site.forward({ where: 'data.n >= 0', from })).events, 50)
  assert.equal((await site.forward({ where: 'data.n >= 0', from: 0 })).events, 0)
  assert.equal((await site.coldtrail.forwardStatus()).length, 3)
  assert.equal(receiver.stream('/hook').records, 70)
})

test('a dry run tells what a run then does, and sends nothing', async (t) => {
  const { receiver, site } = await place(t, { max_records: 64, compression: 'gzip' })
  await site.collect(lines('logs', 500))
  const rehearsed = await site.forward({ dryRun: true })
  assert.equal(receiver.requests.get('hook') ?? 0, 0)
  assert.deepEqual(await site.coldtrail.forwardStatus(), [])
  const run = await site.forward()
  for (const key of ['events', 'requests', 'wire_bytes', 'decoded_bytes', 'rejected'] as const)
    assert.equal(rehearsed[key], run[key], key)
})

test('what was under way at an interruption is sent again by the next run', async (t) => {
  const { receiver, site } = await place(t, { max_records: 20, max_in_flight: 2 })
  await site.collect(lines('logs', 200))
  const abort = new AbortController()
  receiver.fail({ operation: 'hook', from: 4, times: 2, action: { kind: 'stall' } })
  receiver.fail({ operation: 'hook', from: 3, action: { kind: 'run', run: () => abort.abort() } })
  const { interrupted, events } = await site.forward({ signal: abort.signal })
  assert.equal(interrupted, true)
  assert.ok(events >= 20 && events < 200, `${events} events`)
  const rest = await site.forward()
  assert.ok(rest.feeds[0]!.resumed > 0)
  assert.equal(events + rest.events, 200)
  assert.deepEqual(idsAt(receiver), await site.uids())
})

test('a batch that is sent again has the events that it had, though its expression counts from the clock', async (t) => {
  const { receiver, site } = await place(t, { max_records: 20, max_in_flight: 2 })
  await site.collect(lines('logs', 200))
  t.mock.timers.enable({ apis: ['Date'], now: DAY + 200 * 60_000 })
  const where = "time > '-150m'"
  const abort = new AbortController()
  receiver.fail({ operation: 'hook', from: 2, times: 2, action: { kind: 'stall' } })
  receiver.fail({ operation: 'hook', from: 1, action: { kind: 'run', run: () => abort.abort() } })
  const first = await site.forward({ where, signal: abort.signal })
  t.mock.timers.setTime(DAY + 24 * 3_600_000)
  const rest = await site.forward({ where })
  const { resumed } = rest.feeds[0]!
  assert.ok(resumed > 0)
  assert.equal(rest.events, resumed * 20)
  assert.equal(receiver.stream('/hook').ids.size, first.events + rest.events)
})

test('what is behind and what a dry run tells is what was not settled, in the middle too', async (t) => {
  const { receiver, site } = await place(t, { max_records: 20, max_in_flight: 2 })
  await site.collect(lines('logs', 200))
  const abort = new AbortController()
  receiver.fail({ operation: 'hook', from: 2, action: { kind: 'stall' } })
  receiver.fail({ operation: 'hook', from: 8, action: { kind: 'run', run: () => abort.abort() } })
  const { events } = await site.forward({ signal: abort.signal })
  assert.ok(events >= 6 * 20, `${events} events`)
  const [status] = await site.coldtrail.forwardStatus()
  assert.equal(status!.lagEvents, 200 - events)
  assert.equal((await site.forward({ dryRun: true })).events, 200 - events)
  assert.equal((await site.forward()).events, 200 - events)
})

test('accepted and passed over add up to all events, whenever a run is cut off', async (t) => {
  const { receiver, site } = await place(t, { max_records: 20, max_in_flight: 1 })
  for (const count of [30, 40, 70]) await site.collect([...lines('grows', count), ...lines(`other${count}`, 35)])
  let seen = 0
  for (let run = 0; run < 4; run++) {
    const abort = new AbortController()
    receiver.clearFaults()
    receiver.fail({ operation: 'hook', from: 1 + (run % 2), action: { kind: 'run', run: () => abort.abort() } })
    receiver.fail({ operation: 'hook', from: 1 + (run % 2), action: { kind: 'stall' } })
    const { events, superseded } = await site.forward({ signal: abort.signal })
    seen += events + superseded
  }
  receiver.clearFaults()
  const { events, superseded } = await site.forward()
  assert.equal(seen + events + superseded, 245)
  const [status] = await site.coldtrail.forwardStatus()
  assert.deepEqual([status!.counters.accepted, status!.counters.superseded], [175, 70])
  assert.deepEqual(idsAt(receiver), await site.uids())
})

test('a receiver that only ever asks for pauses ends the run', async (t) => {
  const { receiver, site } = await place(t, {}, 1)
  await site.collect(lines('logs', 5))
  const action = { kind: 'status', status: 429, headers: { 'Retry-After': '0' } } as const
  receiver.fail({ operation: 'hook', times: 1_000_000, action })
  const { error } = await site.forward()
  assert.equal(error?.code, 'E_FORWARD_UNREACHABLE')
  assert.match(error.message, /nothing was accepted for \d+ s: .* answered 429/)
  receiver.clearFaults()
  assert.equal((await site.forward()).events, 5)
})

test('a pause that outlasts the patience of a run ends it at once', async (t) => {
  const { receiver, site } = await place(t)
  await site.collect(lines('logs', 5))
  const action = { kind: 'status', status: 503, headers: { 'Retry-After': '3000' } } as const
  receiver.fail({ operation: 'hook', action })
  const { error } = await site.forward()
  assert.equal(error?.code, 'E_FORWARD_UNREACHABLE')
  assert.match(error!.message, /3000 s/)
  assert.equal((await site.forward()).events, 5)
})

test('bad records side by side are no schema that does not fit', async (t) => {
  const refuse = ({ RawData }: Readonly<Record<string, unknown>>) =>
    Number(/"n":(\d+)/.exec(String(RawData))?.[1]) < 9 ? 'this column is bad' : undefined
  const { receiver, site } = await sentinelPlace(t, { rules: { [RULE]: { 'Custom-Coldtrail_CL': { refuse } } } })
  await site.collect(lines('logs', 100))
  const { events, rejected, error } = await site.forward()
  assert.deepEqual([events, rejected, error], [91, 9, undefined])
  assert.equal(receiver.stream('Custom-Coldtrail_CL').records, 91)
})

test('with --follow a feed that stops is told at once', async (t) => {
  const rules = { [RULE]: { 'Custom-Coldtrail_CL': {}, 'Custom-AWSCloudTrail': {} } }
  const tables = [{ table: 'AWSCloudTrail', where: 'data.n >= 0' }, { table: 'Coldtrail_CL' }]
  const { site, receiver, said } = await sentinelPlace(t, { rules }, tables)
  await site.collect(lines('logs', 20))
  const action = { kind: 'status', status: 401 } as const
  receiver.fail({ operation: 'ingest', stream: 'Custom-AWSCloudTrail', times: 9, action })
  const abort = new AbortController()
  const run = site.forward({ follow: true, signal: abort.signal })
  while (!said.some((line) => line.includes('a feed stopped'))) await setTimeout(20)
  abort.abort()
  const { feeds } = await run
  assert.deepEqual([feeds[0]!.error?.code, feeds[1]!.error], ['E_SENTINEL_TOKEN', undefined])
})

test('a destination that cannot start hides nothing of the others', async (t) => {
  const { receiver, site } = await place(t)
  await site.collect(lines('logs', 5))
  const both = [
    { name: 'broken', type: 'http', url: `${receiver.endpoint}/hook`, ca_file: '/nowhere/ca.pem' },
    { name: 'sound', type: 'http', url: `${receiver.endpoint}/hook` },
  ]
  const other = await site.again(both)
  const [broken, sound] = await other.forward()
  assert.deepEqual([broken!.error?.code, broken!.events], ['E_FILE_READ', 0])
  assert.deepEqual([sound!.error, sound!.events], [undefined, 5])
})

test('events of superseded objects are passed over and counted', async (t) => {
  const { receiver, site } = await place(t)
  await site.collect(lines('logs', 30))
  await site.collect(lines('logs', 40))
  const { events, superseded } = await site.forward()
  assert.deepEqual([events, superseded], [40, 30])
  assert.deepEqual(idsAt(receiver), await site.uids())
})

test('old events are announced before they are sent, and those that no table takes too', async (t) => {
  const rules = { [RULE]: { 'Custom-Coldtrail_CL': {} } }
  const { site, said } = await sentinelPlace(t, { rules }, [{ table: 'Coldtrail_CL', where: 'data.n < 5' }])
  await site.collect(lines('logs', 20))
  const { events, feeds } = await site.forward()
  assert.deepEqual([events, feeds[0]!.late], [5, 5])
  assert.ok(
    said.some((line) => line.includes('TimeGenerated')),
    said.join('\n'),
  )
  assert.ok(
    said.some((line) => line.includes('15') && line.includes('no table')),
    said.join('\n'),
  )
})

// --- internal ---

interface Site {
  readonly coldtrail: Coldtrail
  collect(objects: readonly { readonly key: string; readonly body: Buffer }[]): Promise<void>
  /** To the one destination. */
  forward(request?: ForwardRequest): Promise<ForwardSummary>
  /** Another opening of the same data, perhaps with other destinations. */
  again(destinations?: readonly object[]): Promise<Coldtrail>
  /** Of all events that searches show, sorted. */
  uids(): Promise<string[]>
}

async function place(t: TestContext, settings: Readonly<Record<string, unknown>> = {}, patienceSecs = 60) {
  const receiver = await startIngestionServer({ idColumn: 'uid', keepRows: 0 })
  t.after(() => receiver.close())
  const destination = { type: 'http', url: `${receiver.endpoint}/hook`, ...settings }
  return { receiver, ...(await siteOf(t, destination, patienceSecs)) }
}

async function sentinelPlace(
  t: TestContext,
  options: Parameters<typeof startIngestionServer>[0],
  tables: readonly object[] = [{ table: 'Coldtrail_CL' }],
  patienceSecs = 60,
) {
  const receiver = await startIngestionServer({ idColumn: 'Uid', keepRows: 0, open: true, ...options })
  t.after(() => receiver.close())
  const before = { ...process.env }
  Object.assign(process.env, receiver.identityEnvironment)
  t.after(() => {
    for (const name of Object.keys(receiver.identityEnvironment)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  })
  const credential = { type: 'managed_identity' }
  const destination = { type: 'sentinel', endpoint: receiver.endpoint, rule: RULE, credential, tables }
  return { receiver, ...(await siteOf(t, destination, patienceSecs)) }
}

async function siteOf(
  t: TestContext,
  destination: Readonly<Record<string, unknown>>,
  patienceSecs = 60,
): Promise<{ site: Site; said: string[] }> {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-forward-'))
  const logs = join(root, 'logs')
  const said: string[] = []
  const configured = (destinations: readonly object[]) =>
    parseConfig(JSON.stringify({ destinations }), { file: 'test', environment: {} }).destinations
  const soc = [{ name: 'soc', ...destination }]
  const usual = loadConfig({ dataDir: join(root, 'data') })
  const config = { ...usual, forward: { ...usual.forward, patience_secs: patienceSecs } }
  const openAgain = (destinations: readonly object[] = soc) =>
    open(
      { ...config, destinations: configured(destinations) },
      { log: (_level, message, values) => said.push(`${message} ${JSON.stringify(values)}`) },
    )
  const coldtrail = await openAgain()
  const opened = [coldtrail]
  t.after(async () => {
    for (const one of opened) await one.close()
    rmSync(root, { recursive: true, force: true })
  })
  const site: Site = {
    coldtrail,
    async collect(objects) {
      putFiles(logs, { objects })
      const { error, failed } = await coldtrail.collect({ sources: [logs] })
      assert.deepEqual([error, failed], [undefined, 0])
    },
    async forward(request) {
      const [summary] = await coldtrail.forward(request)
      return summary!
    },
    async again(destinations) {
      const other = await openAgain(destinations)
      opened.push(other)
      return other
    },
    async uids() {
      const { rows } = await coldtrail.search({ columns: ['uid'] })
      return (await collected(rows)).map(({ uid }) => String(uid)).sort()
    },
  }
  return { site, said }
}

/** One file of JSON lines, an event a minute. */
function lines(name: string, count: number): { key: string; body: Buffer }[] {
  const text = Array.from({ length: count }, (_, n) =>
    JSON.stringify({ time: new Date(DAY + n * 60_000).toISOString(), n, name, message: `event ${n} of ${name}` }),
  )
  return [{ key: `${name}.jsonl`, body: Buffer.from(`${text.join('\n')}\n`) }]
}

const idsAt = (receiver: IngestionServer, stream = '/hook'): string[] => [...receiver.stream(stream).ids].sort()

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}
