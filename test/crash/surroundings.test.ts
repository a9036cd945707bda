/** Disks that fill up, directories that go away, servers that misbehave: the message helps, and the next run has it all. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type S3Server, startS3Server } from '../../src/demo/s3Server.ts'
import { openCatalog } from '../../src/store/catalog.ts'
import { jsonLines } from '../cli/runColdtrail.ts'
import {
  type CrashSite,
  crashSite,
  type Ended,
  knownLogs,
  putFiles,
  type SiteOptions,
  SOUND,
} from '../support/crashSite.ts'
import { collectObjects, fakeObject, sealObjects } from '../support/fakeSegment.ts'
import { S3_KEYS } from '../support/killRounds.ts'
import { smallDisk } from '../support/smallDisk.ts'

const LOGS = knownLogs(7)

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

function site(options?: SiteOptions): CrashSite {
  const made = crashSite(options)
  undo.push(made.remove)
  return made
}

async function serverWith(objects: typeof LOGS.objects): Promise<S3Server> {
  const server = await startS3Server()
  undo.push(() => server.close())
  const bucket = server.bucket('logs')
  for (const { key, body } of objects) bucket.put(key, body)
  return server
}

/** The error that a run ended with; it has a cause and a remedy. */
function errorOf({ stderr, status }: Ended): { code: string; message: string; hint: string } {
  const error = jsonLines(stderr).findLast(({ type }) => type === 'error')
  assert.ok(error, `status ${status}, and no error on standard error: ${stderr}`)
  const { code, message, hint } = error as { code: string; message: string; hint: string }
  assert.notEqual(code, 'E_INTERNAL', message)
  assert.ok(hint.length > 20, `${code} has no remedy`)
  return { code, message, hint }
}

async function soundAtLast({ collect, check }: CrashSite, options = {}, known = LOGS): Promise<void> {
  await collect(options)
  assert.equal((await collect(options)).objects, 0)
  assert.deepEqual(await check(known), SOUND)
}

test('a disk that is full at every stage', async (context) => {
  const disk = smallDisk(60_000)
  if (typeof disk === 'string') return context.skip(disk)
  undo.push(disk.remove)
  const store = site({ dataDir: join(disk.path, 'data') })
  putFiles(store.logs, LOGS)
  const stages = [60_000, 250_000, 500_000, 900_000, 1_300_000]
  for (const bytes of stages) {
    disk.resize(bytes)
    const ended = await store.start().ended
    assert.equal(ended.status, 6, `${bytes} bytes: ${ended.stdout}${ended.stderr}`)
    const { code, message, hint } = errorOf(ended)
    assert.equal(code, 'E_DISK_FULL')
    assert.match(message, /^No space left for .*data/)
    assert.match(hint, /Free space/)
  }
  disk.resize(64 * 2 ** 20)
  assert.deepEqual((await store.check(LOGS)).duplicates, [])
  await soundAtLast(store)
})

test('writes that the system refuses beyond a size', async () => {
  const store = site()
  putFiles(store.logs, LOGS)
  // Catalog and locks are the first to grow; with the last limit segments are written, and some cannot be.
  for (const blocks of [8, 100, 300, 700]) {
    const under = ['sh', '-c', `ulimit -f ${blocks}; exec "$0" "$@"`]
    const ended = await store.start({ under }).ended
    if (ended.status === 0) continue
    assert.equal(ended.status, 6, `${blocks} blocks: ${ended.stdout}${ended.stderr}`)
    assert.match(errorOf(ended).hint, /free space|Free space/)
  }
  await soundAtLast(store)
})

test('a data directory that cannot be made, or goes away under a run', async () => {
  const blocked = site()
  putFiles(blocked.logs, LOGS)
  writeFileSync(blocked.dataDir, 'a file')
  const refused = await blocked.start().ended
  assert.equal(refused.status, 6)
  const { code, message } = errorOf(refused)
  assert.equal(code, 'E_FILE_WRITE')
  assert.match(message, /data/)
  rmSync(blocked.dataDir)
  await soundAtLast(blocked)

  const store = site()
  const server = await serverWith(LOGS.objects)
  const options = { source: ['s3://logs/', '--endpoint', server.endpoint], environment: S3_KEYS }
  server.fail({ operation: 'GetObject', times: Number.POSITIVE_INFINITY, action: { kind: 'delay', milliseconds: 20 } })
  const run = store.start(options)
  while ((server.requests.get('GetObject') ?? 0) < 150) await sleep(5)
  rmSync(store.dataDir, { recursive: true, force: true, maxRetries: 10 })
  const ended = await run.ended
  assert.notEqual(ended.status, 0, ended.stdout)
  errorOf(ended)
  server.faults.clear()
  await soundAtLast(store, options)
})

test('nothing is committed to a catalog that was removed while it was open', async () => {
  const { dataDir } = site()
  const catalog = await openCatalog({ dataDir })
  undo.push(() => catalog.close())
  const owner = await catalog.owner('collect')
  await collectObjects(catalog, owner, [fakeObject('before')])
  const head = await catalog.head('main')
  const object = fakeObject('after')
  await catalog.claim(owner, [object])
  const sealed = await sealObjects(catalog, owner, [object])
  for (const name of readdirSync(dataDir)) if (name !== 'collections') rmSync(join(dataDir, name), { recursive: true })
  await assert.rejects(catalog.commitSeal(owner, sealed, [object]), { code: 'E_CATALOG_OPEN' })
  assert.equal(existsSync(join(dataDir, 'history')), false, `no link after number ${head}`)
})

test('a server that stalls, resets, truncates, answers 503, changes an object and fails in the middle of a listing', async () => {
  const server = await serverWith(LOGS.objects)
  const store = site({
    config: `sources:
  - { name: trail, type: s3, bucket: logs, endpoint: '${server.endpoint}', region: us-east-1, path_style: true,
      request_timeout_secs: 1, max_attempts: 2 }\n`,
  })
  const options = { source: ['trail'], environment: S3_KEYS }
  const bucket = server.bucket('logs')
  const changing = 'app/2026/03/10/changing.jsonl'
  bucket.put(changing, Buffer.from('{"is":"old"}'))
  const known = { ...LOGS, events: [...LOGS.events, '{"is":"new"}'].sort() }

  const always = Number.POSITIVE_INFINITY
  const keys = LOGS.objects.map(({ key }) => key).filter((key) => !key.includes('Digest'))
  const actions = [
    { kind: 'stall' },
    { kind: 'stall', after: 20 },
    { kind: 'reset' },
    { kind: 'reset', after: 20 },
    { kind: 'truncate', after: 20 },
    { kind: 'error', code: 'ServiceUnavailable' },
    { kind: 'error', code: 'SlowDown' },
    { kind: 'garbage', body: '<html>maintenance</html>' },
  ] as const
  for (const [i, action] of actions.entries())
    server.fail({ operation: 'GetObject', key: keys[i * 20]!, times: always, action })
  server.fail({
    operation: 'GetObject',
    key: changing,
    action: { kind: 'run', run: () => bucket.put(changing, Buffer.from('{"is":"new"}')) },
  })
  const first = await store.collect({ ...options, status: 3 })
  const { errors } = first as { errors: Record<string, number> }
  assert.equal(first.failed, actions.length + 1, JSON.stringify(errors))
  assert.equal(errors.E_S3_CHANGED, 1, JSON.stringify(errors))
  assert.equal(errors.E_INTERNAL, undefined)

  // 503 for a while: what retries outlast does not show; a listing that goes on failing is named.
  server.faults.clear()
  server.fail({ operation: 'GetObject', times: 3, action: { kind: 'error', code: 'SlowDown' } })
  server.fail({ operation: 'ListObjectsV2', from: 6, times: always, action: { kind: 'error', code: 'InternalError' } })
  for (let n = 0; n < 30; n++) bucket.put(`app/2026/03/11/late-${n}.jsonl`, Buffer.from(`{"late":${n}}`))
  const listing = await store.start(options).ended
  assert.equal(listing.status, 5, listing.stderr)
  assert.match(errorOf(listing).code, /^E_S3_/)
  assert.deepEqual((await store.check(known)).lost.length > 0, true)
  server.faults.clear()
  const late = Array.from({ length: 30 }, (_, n) => `{"late":${n}}`)
  await soundAtLast(store, options, { ...known, events: [...known.events, ...late].sort() })
})
