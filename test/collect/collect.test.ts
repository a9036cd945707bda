/** The collect job as a whole: real files and a real S3 server, worker processes, catalog and segments on disk. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { type CollectOptions, collect } from '../../src/collect/collect.ts'
import type { CollectSummary } from '../../src/collect/summary.ts'
import { type S3Server, startS3Server } from '../../src/demo/s3Server.ts'
import { type Catalog, openCatalog } from '../../src/store/catalog.ts'
import { rowsByHyparquet } from '../support/readParquet.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

const RUN = join(import.meta.dirname, '../support/collectRun.ts')

interface Site {
  readonly root: string
  readonly logs: string
  readonly catalog: Catalog
  put(key: string, body: Buffer | string): void
  run(options?: Partial<CollectOptions>): Promise<CollectSummary>
  /** `data` of every committed event that no later version has superseded, sorted. */
  events(): Promise<string[]>
}

async function site(): Promise<Site> {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-collect-'))
  undo.push(() => rmSync(root, { recursive: true, force: true }))
  const logs = join(root, 'logs')
  mkdirSync(logs)
  const catalog = await openCatalog({ dataDir: join(root, 'data') })
  undo.push(() => catalog.close())
  return {
    root,
    logs,
    catalog,
    put(key, body) {
      mkdirSync(dirname(join(logs, key)), { recursive: true })
      writeFileSync(join(logs, key), body)
    },
    async run(options = {}) {
      const summary = await collect({
        catalog,
        collection: 'main',
        producer: 'test/1',
        processes: 2,
        sources: [folder(logs)],
        ...options,
      })
      const { listed, objects, known, skipped, failed, busy, quarantined, left } = summary
      const passed = Object.values(skipped).reduce((sum, n) => sum + n, 0)
      if (!options.dryRun)
        assert.equal(
          listed,
          objects + known + passed + failed + busy + quarantined + left,
          'nothing listed is forgotten',
        )
      return summary
    },
    async events() {
      const found: string[] = []
      for (const { directory, segment, superseded, rows, files } of await catalog.segments({ state: 'live' })) {
        const name = files.find(({ kind }) => kind === 'meta')!.name
        const read = await rowsByHyparquet(join(directory, name))
        assert.equal(read.length, rows, `rows of segment ${segment}`)
        for (const { data, session_id } of read) if (!superseded.includes(Number(session_id))) found.push(String(data))
      }
      return found.sort()
    },
  }
}

const folder = (path: string) => ({ name: 'logs', type: 'directory', path, include: [], exclude: [], lookback_days: 2 })

function bucketSource(server: S3Server, extra = {}) {
  const credentials = { access_key_id: 'AKIAEXAMPLE', secret_access_key: 'secret' }
  const fixed = { prefix: '', requester_pays: false, anonymous: false, path_style: true, role_session_name: 'c' }
  const limits = {
    max_list_requests: 8,
    max_connections: 64,
    max_attempts: 2,
    request_timeout_secs: 10,
    connect_timeout_secs: 5,
  }
  const selection = { include: [], exclude: [], lookback_days: 2, layout: 'auto', layout_refresh_secs: 3600 }
  return {
    name: 'bucket',
    type: 's3',
    bucket: 'trail',
    region: 'us-east-1',
    endpoint: server.endpoint,
    ...credentials,
    ...fixed,
    ...limits,
    ...selection,
    ...extra,
  }
}

async function server(): Promise<S3Server> {
  const started = await startS3Server()
  undo.push(() => started.close())
  return started
}

/** Lines of NDJSON, each unlike any other. */
function lines(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => JSON.stringify({ time: '2023-07-10T11:40:00Z', name, i }))
}

const key = (day: number, name: string): string => `app/2023/07/${String(day).padStart(2, '0')}/${name}`

function workersOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number)
  return children.filter((child) => readFileSync(`/proc/${child}/cmdline`, 'latin1').includes('collectWorker'))
}

test('a folder is collected once; what is new or replaced comes later, and says so', async () => {
  const { put, run, events, logs, catalog } = await site()
  const expected: string[] = []
  for (let day = 1; day <= 3; day++)
    for (let n = 0; n < 20; n++) {
      const some = lines(`${day}-${n}`, 5)
      expected.push(...some)
      put(key(day, `${n}.json.gz`), n % 2 ? gzipSync(some.join('\n')) : zstdCompressSync(some.join('\n')))
    }
  const first = await run()
  assert.deepEqual([first.objects, first.events, first.failed, first.error], [60, 300, 0, undefined])
  assert.deepEqual(await events(), expected.sort())
  assert.equal((await catalog.segments()).length, first.segments)
  assert.equal(first.mislabelled, 30)

  const second = await run()
  assert.deepEqual([second.objects, second.known, second.events, second.segments], [0, 60, 0, 0])

  // Touched but the same; changed; new.
  utimesSync(join(logs, key(1, '0.json.gz')), 1_700_000_000, 1_700_000_000)
  put(key(1, '1.json.gz'), gzipSync('{"changed":true}'))
  put(key(9, 'new.json'), '{"new":true}')
  const third = await run()
  assert.deepEqual([third.objects, third.known, third.replaced, third.events], [2, 59, 1, 2])
  const gone = new Set(lines('1-1', 5))
  assert.deepEqual(
    await events(),
    [...expected.filter((line) => !gone.has(line)), '{"changed":true}', '{"new":true}'].sort(),
  )
  assert.equal((await run()).objects, 0)
})

test('every bad object is named and harms no neighbour', async () => {
  const { put, run, events, catalog } = await site()
  const good = lines('good', 50)
  put(key(1, 'a.json'), good.slice(0, 10).join('\n'))
  put(key(1, 'named.gz'), good.slice(10, 20).join('\n'))
  put(key(1, 'unnamed'), gzipSync(good.slice(20, 30).join('\n')))
  put(key(1, 'twice.gz'), gzipSync(gzipSync(good.slice(30, 40).join('\n'))))
  put(key(1, 'with % .. ünï\u202ecode.json'), good.slice(40).join('\n'))
  const whole = gzipSync(lines('bad', 500).join('\n'))
  put(key(1, 'truncated.gz'), whole.subarray(0, whole.length / 2))
  put(key(1, 'padded.gz'), Buffer.concat([whole, Buffer.from('more')]))
  put(key(1, 'bomb.gz'), gzipSync(Buffer.alloc(40 * 2 ** 20)))
  put(key(1, 'archive'), Buffer.from('PK\x03\x04 and so on'))
  put(key(1, 'empty.json'), '')
  const summary = await run()
  assert.deepEqual(summary.errors, { E_OBJECT_CORRUPT: 2, E_OBJECT_RATIO: 1, E_OBJECT_CODEC: 1 })
  assert.deepEqual([summary.objects, summary.failed, summary.decompression_errors], [5, 4, 2])
  assert.deepEqual(summary.skipped, { 'zero bytes': 1 })
  assert.deepEqual(await events(), good.sort())
  const pending = await catalog.pending()
  assert.ok(pending.every(({ state }) => state === 'quarantined'))
  assert.match(pending.find((object) => object.key.endsWith('truncated.gz'))!.reason, /near byte \d+: unexpected end/)
  const again = await run()
  assert.deepEqual([again.objects, again.known, again.failed, again.quarantined], [0, 5, 0, 4])
  put(key(1, 'truncated.gz'), whole)
  const healed = await run({ retryQuarantined: true })
  assert.deepEqual([healed.objects, healed.failed, healed.events], [1, 3, 500])
})

test('a large object has a segment of its own, and leaves nothing when it turns out bad', async () => {
  const { put, run, catalog, root } = await site()
  const line = `${JSON.stringify({ time: '2023-07-10T11:40:00Z', text: 'x'.repeat(900) })}\n`
  const member = gzipSync(Buffer.from(line.repeat(8000)))
  const members = Array.from({ length: 10 }, () => member)
  put(key(1, 'large.json.gz'), Buffer.concat(members))
  put(key(1, 'cut.json.gz'), Buffer.concat([...members, member.subarray(0, 1000)]))
  put(key(1, 'small.json'), '{"a":1}')
  const summary = await run({ decodeLimits: { maxRatio: 100_000 } })
  assert.deepEqual([summary.objects, summary.events, summary.errors], [2, 80_001, { E_OBJECT_CORRUPT: 1 }])
  const segments = await catalog.segments()
  assert.deepEqual(segments.map(({ rows }) => rows).sort(), [1, 80_000])
  const [large] = segments.filter(({ rows }) => rows === 80_000)
  const pack = readFileSync(join(large!.directory, large!.files.find(({ kind }) => kind === 'log')!.name))
  assert.deepEqual(pack.subarray(16), Buffer.concat(members))
  const numbers = new Set(segments.map(({ segment }) => segment))
  for (const name of readdirSync(join(root, 'data/collections/main')))
    assert.ok(numbers.has(Number(/\d{9}/.exec(name)![0])), `${name} is an orphan`)
})

test('limits of a segment seal it; few are open at a time', async () => {
  const { put, run, events } = await site()
  const expected: string[] = []
  for (let n = 0; n < 60; n++) {
    const some = lines(`n${n}`, 10)
    expected.push(...some)
    put(key(1 + (n % 6), `${n}.json`), some.join('\n'))
  }
  const summary = await run({ processes: 1, segmentLimits: { maxRows: 50, maxOpen: 2 } })
  assert.ok(summary.segments >= 12, `${summary.segments} segments`)
  assert.deepEqual(await events(), expected.sort())
})

test('a worker killed by the system: its objects are done again, each event is there once', async () => {
  const { run, events } = await site()
  const s3 = await server()
  const bucket = s3.bucket('trail')
  const expected: string[] = []
  for (let n = 0; n < 150; n++) {
    const some = lines(`k${n}`, 3)
    expected.push(...some)
    bucket.put(key(1 + (n % 3), `${n}.json.gz`), gzipSync(some.join('\n')))
  }
  s3.fail({ operation: 'GetObject', times: Number.POSITIVE_INFINITY, action: { kind: 'delay', milliseconds: 30 } })
  const running = run({ sources: [bucketSource(s3)], maxWorkers: 8 })
  const kills = async (): Promise<number> => {
    let killed = 0
    for (let turn = 0; turn < 400 && killed < 2; turn++) {
      await sleep(20)
      if ((s3.requests.get('GetObject') ?? 0) < 30 * (killed + 1)) continue
      const [victim] = workersOf(process.pid)
      if (victim !== undefined && process.kill(victim, 'SIGKILL')) killed += 1
    }
    return killed
  }
  const [summary, killed] = await Promise.all([running, kills()])
  assert.equal(killed, 2)
  assert.equal(summary.worker_deaths, 2)
  assert.deepEqual([summary.objects, summary.events, summary.failed], [150, 450, 0])
  assert.deepEqual(await events(), expected.sort())
  assert.ok(summary.requests.GetObject! >= 150)
})

test('the whole program killed at random times and at fault points: the next run leaves every event there once', async () => {
  const { put, run, events, logs, catalog, root } = await site()
  const expected: string[] = []
  for (let n = 0; n < 120; n++) {
    const some = lines(`n${n}`, 10)
    expected.push(...some)
    put(key(1 + (n % 2), `${n}.json`), some.join('\n'))
  }
  const faults = ['segment.files-durable:2', 'commit.link-written:2', 'commit.done:3', 'claim.committed', '', '', '']
  for (const [turn, fault] of faults.entries()) {
    const child = spawn(process.execPath, [RUN, join(root, 'data'), logs], {
      env: { ...process.env, COLDTRAIL_FAULT: fault },
      stdio: 'ignore',
    })
    const ended = once(child, 'close')
    const timer = setTimeout(() => child.kill('SIGKILL'), fault ? 5000 : 150 + turn * 100)
    await ended
    clearTimeout(timer)
  }
  const last = await run()
  assert.equal(last.failed + last.left + last.busy, 0)
  assert.deepEqual(await events(), expected.sort())
  assert.ok((await catalog.verifyChain()).every(({ faults: found }) => found.length === 0))
  const committed = new Set((await catalog.segments()).map(({ segment }) => segment))
  for (const name of readdirSync(join(root, 'data/collections/main')))
    assert.ok(committed.has(Number(/\d{9}/.exec(name)![0])), `${name} is an orphan`)
})

test('an object that kills its worker twice is quarantined, its neighbours are collected', async () => {
  const { put, run, catalog } = await site()
  for (let n = 0; n < 20; n++) put(key(1, `${n}.json`), lines(`n${n}`, 2).join('\n'))
  const noise = randomBytes(600).toString('base64')
  const rows = Array.from({ length: 70_000 }, (_, i) => `{"i":${i},"noise":"${noise.slice(i % 100)}"}\n`)
  put(key(1, 'greedy.json'), rows.join(''))
  const summary = await run({ processes: 1, workerMemoryBytes: 125 * 2 ** 20 })
  assert.deepEqual(summary.errors, { E_WORKER_DIED: 1 })
  assert.deepEqual([summary.objects, summary.failed, summary.worker_deaths], [20, 1, 2])
  assert.match((await catalog.pending())[0]!.reason, /more than its limit of 125 MiB/)
})

test('standard input: each stream is an object of its own, in the partition of its first event', async () => {
  const { root, events, catalog } = await site()
  for (const line of lines('piped', 2)) {
    const child = spawn(process.execPath, [RUN, join(root, 'data'), '-'], { stdio: ['pipe', 'ignore', 'inherit'] })
    child.stdin.end(gzipSync(line))
    assert.deepEqual(await once(child, 'close'), [0, null])
  }
  assert.deepEqual(await events(), lines('piped', 2))
  assert.deepEqual(
    (await catalog.segments()).map(({ day }) => day),
    ['2023-07-10', '2023-07-10'],
  )
})

test('a listing that fails fails the run, after what was listed is collected', async () => {
  const { put, run, logs } = await site()
  put(key(1, 'a.json'), '{"a":1}')
  const summary = await run({ sources: [folder(logs), folder(join(logs, 'missing'))] })
  assert.equal(summary.error?.code, 'E_DIRECTORY_READ')
  assert.equal(summary.objects, 1)
})

test('S3: refused credentials stop the run, a fault of one object leaves it pending, a vanished one is skipped', async () => {
  const { run, catalog } = await site()
  const s3 = await server()
  const bucket = s3.bucket('trail')
  for (let n = 0; n < 5; n++) bucket.put(key(1, `${n}.json`), `{"n":${n}}`)
  s3.fail({
    operation: 'GetObject',
    key: /1\.json$/,
    times: Number.POSITIVE_INFINITY,
    action: { kind: 'error', code: 'InternalError' },
  })
  s3.fail({ operation: 'GetObject', key: /2\.json$/, action: { kind: 'error', code: 'NoSuchKey' } })
  const first = await run({ sources: [bucketSource(s3)] })
  assert.deepEqual([first.objects, first.failed, first.skipped], [3, 1, { gone: 1 }])
  assert.deepEqual(first.errors, { E_S3_UNAVAILABLE: 1 })
  assert.ok(first.retries >= 1)
  assert.deepEqual(
    (await catalog.pending()).map(({ state, attempts }) => [state, attempts]),
    [['pending', 1]],
  )
  s3.faults.clear()
  const second = await run({ sources: [bucketSource(s3)] })
  assert.deepEqual([second.objects, second.known, second.failed], [1, 4, 0])

  bucket.put(key(1, 'new.json'), '{}')
  s3.fail({ operation: 'GetObject', times: Number.POSITIVE_INFINITY, action: { kind: 'error', code: 'AccessDenied' } })
  const third = await run({ sources: [bucketSource(s3)] })
  assert.equal(third.error?.code, 'E_S3_ACCESS_DENIED')
  s3.faults.clear()
  s3.fail({
    operation: 'ListObjectsV2',
    times: Number.POSITIVE_INFINITY,
    action: { kind: 'error', code: 'AccessDenied' },
  })
  const fourth = await run({ sources: [bucketSource(s3)] })
  assert.equal(fourth.error?.code, 'E_S3_ACCESS_DENIED')
  assert.equal(fourth.objects, 0)
})

test('a dry run fetches nothing and claims nothing for good', async () => {
  const { run } = await site()
  const s3 = await server()
  const bucket = s3.bucket('trail')
  for (let n = 0; n < 5; n++) bucket.put(key(1, `${n}.json`), `{"n":${n}}`)
  const dry = await run({ sources: [bucketSource(s3)], dryRun: true })
  assert.deepEqual([dry.listed, dry.get_requests, dry.objects, dry.dry_run], [5, 5, 0, true])
  assert.ok(dry.list_requests >= 1)
  assert.equal(s3.requests.get('GetObject'), undefined)
  const real = await run({ sources: [bucketSource(s3)], lastProcessedTime: (Date.now() + 1e6) * 1000 })
  assert.deepEqual([real.objects, real.skipped], [0, { 'processed before': 5 }])
  assert.equal((await run({ sources: [bucketSource(s3)] })).objects, 5)
})

test('following: what arrives is collected and sealed when idle; an interruption seals the rest', async () => {
  const { put, run, events, root } = await site()
  const stop = new AbortController()
  const metricsFile = join(root, 'metrics.prom')
  let claimed = 0
  put(key(1, 'a.json'), '{"a":1}')
  const running = run({
    follow: { pollSeconds: 0.1 },
    segmentLimits: { idleSeconds: 0.5 },
    signal: stop.signal,
    metricsFile,
    onProgress: ({ total }) => {
      claimed = total
    },
  })
  const until = async (isMet: () => Promise<boolean>): Promise<void> => {
    for (let i = 0; i < 400 && !(await isMet()); i++) await sleep(25)
  }
  await until(async () => (await events()).length === 1)
  put(key(2, 'b.json'), '{"b":1}')
  await until(async () => (await events()).length === 2)
  put(key(3, 'c.json'), '{"c":1}')
  await until(async () => claimed === 3)
  await sleep(1_000)
  stop.abort()
  const summary = await running
  assert.deepEqual(await events(), ['{"a":1}', '{"b":1}', '{"c":1}'])
  assert.deepEqual([summary.objects, summary.interrupted, summary.error], [3, true, undefined])
  assert.match(readFileSync(metricsFile, 'utf8'), /^coldtrail_collect_objects\{outcome="collected"\} 3$/m)
})

test('an interrupted run ends soon, and the next one goes on', async () => {
  const { run } = await site()
  const s3 = await server()
  const bucket = s3.bucket('trail')
  for (let n = 0; n < 400; n++) bucket.put(key(1, `${n}.json`), `{"n":${n}}`)
  s3.fail({ operation: 'GetObject', times: Number.POSITIVE_INFINITY, action: { kind: 'delay', milliseconds: 50 } })
  const stop = new AbortController()
  const running = run({ sources: [bucketSource(s3)], maxWorkers: 4, signal: stop.signal })
  while ((s3.requests.get('GetObject') ?? 0) < 20) await sleep(10)
  stop.abort()
  const first = await running
  assert.ok(first.interrupted && first.objects > 0 && first.left > 0, JSON.stringify(first))
  s3.faults.clear()
  const second = await run({ sources: [bucketSource(s3)] })
  assert.equal(first.objects + second.objects, 400)
})
