/** Restores into workbenches: from a cold folder, from a backup with other names, cut off, damaged, over and over. */
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { startS3Server } from '../../src/demo/s3Server.ts'
import { open, parseConfig } from '../../src/index.ts'
import { rebuildCatalog } from '../../src/store/catalog.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { StoreReader } from '../../src/store/search.ts'
import { type RestoreOptions, restore } from '../../src/tier/restore.ts'
import { planRestore } from '../../src/tier/restorePlan.ts'
import { SampleStore } from '../support/sampleStore.ts'

const codeOf = (action: Promise<unknown>): Promise<string | undefined> =>
  action.then(
    () => undefined,
    (error: { code?: string }) => error.code,
  )

const DAY = 86_400_000_000
const T0 = Date.parse('2023-07-10T00:00:00Z') * 1_000

suite('restore', () => {
  let store: SampleStore
  let backup: string

  /** Three segments, a day each, the first with a reject; `moved` of them lie in a folder with other names. */
  beforeEach(async () => {
    store = await SampleStore.create()
    backup = join(store.dataDir, '..', `backup-${process.pid}-${Date.now()}`)
    const keyset = loadKeysetKey(store.dataDir, '2023')
    for (const day of [0, 1, 2]) {
      const events = [0, 1, 2].map((n) => ({
        time: T0 + day * DAY + n * 1e6,
        columns: { actor_user_name: `user${day}`, src_endpoint_ip: `198.51.100.${day}` },
      }))
      const rejects = day === 0 ? [Buffer.from('{"bad')] : []
      await store.seal([{ key: `2023/07/1${day}/a.json`, events, rejects, codec: 'gzip' }], { keyset })
    }
  })

  afterEach(async () => {
    await store.remove()
    rmSync(backup, { recursive: true, force: true })
  })

  const options = (more: Partial<RestoreOptions> = {}): RestoreOptions => ({
    ...{ catalog: store.catalog, collection: 'main', workbench: 'case1', reason: 'a test' },
    ...{ expires: Date.now() * 1_000 + DAY, ...more },
  })
  const names = async (segment: number): Promise<string[]> => {
    const row = await store.segment(segment)
    return row.files.map(({ name }) => name)
  }
  /** Takes all files of a segment away into the backup, under names that say nothing. */
  const takeAway = async (...segments: number[]): Promise<void> => {
    const home = store.catalog.collectionDirectory('main')
    let count = 0
    for (const segment of segments)
      for (const name of await names(segment)) {
        const folder = join(backup, `tape${segment}`, `box${count % 2}`)
        mkdirSync(folder, { recursive: true })
        renameSync(join(home, name), join(folder, `x${count++}.bin`))
        rmSync(join(home, `${name}.manifest`))
      }
  }
  const search = async (collection: string): Promise<{ users: unknown[]; complete: boolean; why: string[] }> => {
    const reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
    try {
      const found = await reader.search({ collection, columns: ['id', 'uid', 'actor_user_name'], order: 'id' })
      const users: unknown[] = []
      for await (const row of found.rows) users.push(row.actor_user_name)
      return { users, complete: found.complete, why: found.why.map(({ reason }) => reason) }
    } finally {
      await reader.close()
    }
  }

  test('brings segments back from a folder of renamed files, and they can be asked as at home', async () => {
    const before = await search('main')
    await takeAway(1, 2)
    assert.deepEqual(await search('main'), {
      users: ['user2', 'user2', 'user2'],
      complete: false,
      why: ['offline', 'rejects'],
    })
    const plan = await planRestore(options({ folder: backup }))
    assert.deepEqual([plan.segments, plan.online, plan.unobtainable], [[1, 2, 3], [3], []])
    assert.equal(plan.bytes, plan.bytesToCopy)
    assert.ok(!existsSync(plan.directory))
    const done = await restore(options({ folder: backup }))
    assert.deepEqual([done.segments, done.online, done.faults, done.links.length], [[1, 2], [3], [], 1])
    assert.deepEqual(done.folder?.foreign, [])
    assert.equal(done.copied, (await names(1)).length + (await names(2)).length)
    assert.deepEqual((await search('case1')).users, [...Array(3).fill('user0'), ...Array(3).fill('user1')])
    assert.deepEqual(await search('main,case1'), before)
    // Repeated, nothing is copied and nothing committed.
    const again = await restore(options({ folder: backup }))
    assert.deepEqual([again.copied, again.present, again.links], [0, done.copied, []])
    const [entry, ...others] = await store.catalog.custody('main')
    assert.equal(others.length, 0)
    assert.equal(entry?.link, done.links[0])
    assert.equal(entry?.files.length, done.copied)
    assert.match(entry?.files[0]?.from ?? '', /tape1.*\(hot\)/)
  })

  test('says what is missing before it copies, and restores the rest', async () => {
    await takeAway(1, 2)
    const reject = readdirSync(join(backup, 'tape1'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
    const row = await store.segment(1)
    const meta = row.files.find(({ kind }) => kind === 'meta')!
    const path = reject.find((one) => statSync(one).size === meta.size)!
    writeFileSync(path, readFileSync(path).fill(7, 20, 21))
    const log = (await store.segment(2)).files.find(({ kind }) => kind === 'log')!
    for (const entry of readdirSync(join(backup, 'tape2'), { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name)
      if (entry.isFile() && statSync(file).size === log.size) rmSync(file)
    }
    writeFileSync(join(backup, 'holiday.jpg'), 'not ours')
    const plan = await planRestore(options({ folder: backup }))
    assert.deepEqual(plan.unobtainable, [1])
    assert.deepEqual(
      plan.folder?.foreign.map(({ path }) => path),
      [join(backup, 'holiday.jpg')],
    )
    const done = await restore(options({ folder: backup }))
    assert.deepEqual([done.segments, done.unobtainable], [[2], [1]])
    assert.deepEqual(done.faults.map(({ name, fault }) => [name, fault]).sort(), [
      [log.name, 'missing'],
      [meta.name, 'missing'],
    ])
    assert.deepEqual((await search('case1')).users, Array(3).fill('user1'))
  })

  test('goes on where it was cut off, and mends a damaged copy', async () => {
    await takeAway(1)
    const stop = new AbortController()
    const cut = restore(
      options({ folder: backup, signal: stop.signal, onCopy: ({ files }) => files === 2 && stop.abort() }),
    )
    assert.equal(await codeOf(cut), 'E_INTERRUPTED')
    assert.deepEqual(await store.catalog.workbenches(), [])
    const done = await restore(options({ folder: backup }))
    assert.equal(done.present, 2)
    assert.equal(done.copied, (await names(1)).length - 2)
    const meta = join(done.directory, 'meta-000000001.parquet')
    writeFileSync(meta, readFileSync(meta).fill(9, 30, 31))
    const mended = await restore(options({ folder: backup }))
    assert.deepEqual([mended.copied, mended.links], [1, []])
    assert.deepEqual((await search('case1')).users, Array(3).fill('user0'))
  })

  test('a workbench is kept, held, removed; a rebuild knows it', async () => {
    await takeAway(1, 2)
    const { catalog, dataDir } = store
    const owner = await catalog.owner('restore')
    await restore(options({ folder: backup, segments: [1], expires: 1 }))
    const later = Date.now() * 1_000 + DAY
    const again = await restore(options({ folder: backup, segments: [1], expires: later }))
    assert.deepEqual([again.copied, again.expires], [0, later], 'what is there is kept as long as it was asked for')
    assert.equal((await catalog.workbenches())[0]?.expires, later)
    await catalog.changeWorkbench(owner, 'case1', { action: 'extend', reason: 'shorter', expires: 1 })
    await catalog.changeWorkbench(owner, 'case1', { action: 'hold', reason: 'court' })
    await catalog.sweep({ graceMs: 0 })
    assert.equal((await catalog.workbenches())[0]?.isHeld, true)
    assert.equal(await codeOf(catalog.removeWorkbench(owner, 'case1', 'done')), 'E_WORKBENCH_HELD')
    await restore(options({ folder: backup, segments: [2], expires: 2 }))
    const before = await catalog.workbenches()
    await owner.release()
    await store.owner.release()
    await catalog.close()
    await rebuildCatalog({ dataDir })
    const reopened = await (await import('../../src/store/catalog.ts')).openCatalog({ dataDir })
    try {
      const after = await reopened.workbenches()
      assert.deepEqual(
        after.map(({ created: _, ...row }) => row),
        before.map(({ created: _, ...row }) => row),
      )
      const again = await reopened.owner('restore')
      await reopened.changeWorkbench(again, 'case1', { action: 'release', reason: 'over' })
      const directory = after[0]!.directory
      assert.ok(existsSync(join(directory, 'meta-000000002.parquet')))
      writeFileSync(join(directory, 'notes.txt'), 'mine')
      await reopened.sweep({ graceMs: 0 })
      assert.deepEqual(await reopened.workbenches(), [])
      assert.deepEqual(readdirSync(directory), ['notes.txt'])
      const actions = (await reopened.custody('main')).map(({ action, link }) => [action, link !== null])
      assert.deepEqual(
        actions,
        ['restore', 'extend', 'extend', 'hold', 'restore', 'release', 'expire'].map((action) => [action, true]),
      )
      await again.release()
    } finally {
      await reopened.close()
    }
  })

  test('refuses names that are taken, folders of others, and disks that are too small', async () => {
    await takeAway(1)
    const folder = backup
    assert.equal(await codeOf(restore(options({ folder, workbench: 'main' }))), 'E_WORKBENCH_NAME')
    assert.equal(await codeOf(restore(options({ folder, segments: [77] }))), 'E_RESTORE_REQUEST')
    assert.equal(await codeOf(restore(options({ folder, from: T0 - 2 * DAY, to: T0 - DAY }))), 'E_RESTORE_REQUEST')
    assert.equal(await codeOf(restore(options({ folder: join(folder, 'none') }))), 'E_RESTORE_REQUEST')
    const directory = join(store.dataDir, 'elsewhere')
    mkdirSync(join(directory, 'case1'), { recursive: true })
    writeFileSync(join(directory, 'case1', 'thesis.doc'), 'mine')
    assert.equal(await codeOf(restore(options({ folder, directory }))), 'E_RESTORE_DIRECTORY')
    const lock = await store.catalog.hold('restore-case1')
    assert.equal(await codeOf(restore(options({ folder }))), 'E_RESTORE_BUSY')
    await lock?.release()
    await restore(options({ folder }))
    assert.equal(await codeOf(store.seal([{ key: 'b', events: [] }], { collection: 'case1' })), 'E_WORKBENCH_READ_ONLY')
  })

  test('takes an index from a folder of its own, renamed, without the copy of the history', async () => {
    await takeAway(1)
    rmSync(join(store.catalog.manifestDirectory('main'), 'keyset-000000001.ks'))
    const done = await restore(options({ folder: backup, segments: [1] }))
    assert.deepEqual([done.faults, done.segments], [[], [1]])
    cpSync(join(done.directory, 'index-000000001'), join(backup, 'copy'), { recursive: true })
  })

  test('from a bucket of cold: what is damaged or gone there is named, and the bytes of the seal are all that counts', async () => {
    const server = await startS3Server({ credentials: [{ accessKeyId: 'AK', secretAccessKey: 'SK' }] })
    try {
      const bucket = server.bucket('cold')
      const access = `{endpoint: "${server.endpoint}", region: us-east-1, access_key_id: AK, secret_access_key: SK, max_attempts: 2}`
      const text = `data_dir: ${store.dataDir}\ntiers: {cold: "s3://cold/site1", label: bucket 7, s3: ${access}}\n`
      const coldtrail = await open(parseConfig(text, { file: join(store.dataDir, 'coldtrail.yaml'), environment: {} }))
      try {
        const moved = await coldtrail.tiers.move({ to: 'cold', segments: [1, 2, 3] })
        assert.deepEqual(moved.faults, [])
        await store.catalog.sweep({ graceMs: 0 })
        const offline = await coldtrail.search({})
        assert.match(offline.why[0]!.detail, /1-3 \(cold, bucket 7\); `coldtrail restore plan 1-3`/)
        bucket.put('site1/main/session-000000002.parquet', 'something else')
        bucket.delete('site1/main/log-000000003.pack')
        // Longer than its seal says: not read to its end, which may never come.
        bucket.put('site1/main/log-000000001.pack', 'x'.repeat(1_000_000))
        const plan = await coldtrail.workbenches.plan({ workbench: 'case1' })
        assert.deepEqual([...new Set(plan.files.map(({ state }) => state))], ['remote'])
        const done = await coldtrail.workbenches.restore({ workbench: 'case1' })
        assert.deepEqual([done.segments, done.unobtainable], [[1, 3], [2]])
        assert.deepEqual(
          done.faults.map(({ name, fault, label }) => [name, fault, label]),
          [
            ['log-000000001.pack', 'damaged', 'bucket 7'],
            ['session-000000002.parquet', 'damaged', 'bucket 7'],
            ['log-000000003.pack', 'missing', 'bucket 7'],
          ],
        )
        assert.match(done.faults[0]!.reason, /more than/)
        assert.deepEqual((await search('case1')).users, [...Array(3).fill('user0'), ...Array(3).fill('user2')])
      } finally {
        await coldtrail.close()
      }
    } finally {
      await server.close()
    }
  })
})
