/** Tiers over real segments: moves by age and size, deletion, holds, full and missing places, S3; on both databases. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import type { Config } from '../../src/config.ts'
import { parseConfig } from '../../src/config.ts'
import { ColdtrailError } from '../../src/core/errors.ts'
import { startS3Server } from '../../src/demo/s3Server.ts'
import {
  type Catalog,
  type CatalogOptions,
  openCatalog,
  rebuildCatalog,
  type SegmentRow,
} from '../../src/store/catalog.ts'
import { chooseRun } from '../../src/store/compactionPlan.ts'
import { PLACE_MARK } from '../../src/store/heldFile.ts'
import { heldTimes, holdsOver } from '../../src/store/holds.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { StoreReader } from '../../src/store/search.ts'
import { verifyStore } from '../../src/store/verify.ts'
import { tierRules } from '../../src/tier/places.ts'
import { roll } from '../../src/tier/roll.ts'
import { type Storage, Storages } from '../../src/tier/storage.ts'
import { type Tiers, tiers } from '../../src/tiers.ts'
import { freshCatalog } from '../support/freshCatalog.ts'
import { SampleStore } from '../support/sampleStore.ts'

const DAY = 86_400
const NOW = Math.floor(Date.now() / 1000)
const directories: string[] = []
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

const fresh = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-tier-'))
  directories.push(directory)
  return directory
}

const codeOf = (action: Promise<unknown>): Promise<string | undefined> =>
  action.then(
    () => undefined,
    (error: { code?: string }) => error.code,
  )

/** Segments of one session each with two events; the last of them happened so many days ago. */
async function storeOf(ages: readonly number[], dialect: 'sqlite' | 'postgres' = 'sqlite'): Promise<SampleStore> {
  const options = await freshCatalog(dialect, directories)
  const store = await SampleStore.create(options)
  optionsOf.set(store, options)
  const keyset = loadKeysetKey(store.dataDir, '2023')
  for (const [i, age] of ages.entries()) await seal(store, i, age, { keyset })
  return store
}

const optionsOf = new Map<SampleStore, CatalogOptions>()

/** A catalog made anew from what is on disk. */
async function rebuilt(store: SampleStore): Promise<void> {
  const options = optionsOf.get(store)!
  await store.catalog.close()
  await rebuildCatalog(options)
  ;(store as { catalog: Catalog }).catalog = await openCatalog(options)
}

const seal = (store: SampleStore, i: number, age: number, options: Parameters<SampleStore['seal']>[1] = {}) =>
  store.seal(
    [
      {
        key: `2023/07/10/${i}.json`,
        events: [0, 1].map((n) => ({
          time: Math.round((NOW - age * DAY - n) * 1e6),
          columns: { actor_user_name: `user${i}`, src_endpoint_ip: `198.51.100.${i}` },
        })),
      },
    ],
    options,
  )

function tiersOf(store: SampleStore, yaml: string): Tiers {
  const config = parseConfig(yaml === '' ? '' : `tiers:\n${yaml}`, { file: 'test', environment: {} })
  const whole = { ...config, data_dir: store.dataDir, file: join(store.dataDir, 'coldtrail.yaml') } as Config
  return tiers(whole, { catalog: async () => store.catalog, requireData: () => undefined, log: () => undefined })
}

/** `kind@tier` of every file of a segment, deleted ones with a minus. */
async function placesOf(store: SampleStore, segment: number): Promise<string> {
  const row = (await store.catalog.segments()).find((one) => one.segment === segment)!
  return row.files.map(({ kind, tier, deleted }) => `${deleted ? '-' : ''}${kind}@${tier}`).join(' ')
}

async function ask(store: SampleStore): Promise<{ count: number; complete: boolean }> {
  const reader = new StoreReader({ catalog: store.catalog, dataDir: store.dataDir })
  try {
    const { count, complete } = await reader.count({ collection: 'main' })
    return { count, complete }
  } finally {
    await reader.close()
  }
}

async function faultsOf(store: SampleStore): Promise<string[]> {
  const faults: string[] = []
  await verifyStore({
    ...{ catalog: store.catalog, dataDir: store.dataDir },
    decode: async (received) => received,
    onFault: ({ file, fault, detail }) => faults.push(`${fault} ${file} ${detail}`),
    onOrphan: (file) => faults.push(`orphan ${file}`),
  })
  return faults
}

const ALL = ['index', 'log', 'meta', 'session']
const at = (...tiers: readonly string[]): string => ALL.map((kind, i) => `${kind}@${tiers[i] ?? tiers[0]}`).join(' ')

for (const dialect of ['sqlite', 'postgres'] as const)
  test(`${dialect}: files move by age, packs first, are read where they lie, deleted at last; verify and rebuild agree`, async () => {
    const store = await storeOf([1, 10, 40, 400], dialect)
    try {
      const root = fresh()
      mkdirSync(join(root, 'warm'))
      const places = `  warm: ${root}/warm==1g\n  cold: ${root}/cold=1g\n  label: safe 3\n`
      const ages = `  warm_after_days: 30\n  delete_after_days: 365\n  databases: { log: { warm_after_days: 5, cold_after_days: 30 } }\n`
      const rolling = tiersOf(store, places + ages)
      const plan = await rolling.plan()
      assert.equal(plan.moves.length, 1 + 4)
      assert.equal(plan.deletions.length, 4)
      const summary = await rolling.roll()
      assert.deepEqual([summary.moved.files, summary.deleted.files, summary.faults, summary.alarms], [5, 4, [], []])
      assert.equal(await placesOf(store, 1), at('hot'))
      assert.equal(await placesOf(store, 2), at('hot', 'warm', 'hot', 'hot'))
      assert.equal(await placesOf(store, 3), at('warm', 'cold', 'warm', 'warm'))
      assert.match(await placesOf(store, 4), /^-index@hot -log@hot -meta@hot -session@hot$/)
      const third = await store.segment(3)
      assert.deepEqual(third.files.find(({ kind }) => kind === 'log')!.label, 'safe 3')
      // Warm is read as hot is; what is deleted is told.
      assert.deepEqual(await ask(store), { count: 6, complete: false })
      assert.deepEqual(await faultsOf(store), [])
      // Nothing is due twice, and what moves left goes.
      const again = await rolling.roll()
      assert.deepEqual([again.moved.files, again.deleted.files], [0, 0])
      await store.catalog.sweep({ graceMs: 0 })
      assert.deepEqual(await store.catalog.leftFiles(), [])
      const home = readdirSync(store.catalog.collectionDirectory('main'))
      assert.deepEqual(
        home.filter((name) => /-00000000[34]/.test(name)),
        [],
      )
      assert.deepEqual(await faultsOf(store), [])
      const before = await store.catalog.segments()
      await rebuilt(store)
      assert.deepEqual(await store.catalog.segments(), before)
      assert.deepEqual(await ask(store), { count: 6, complete: false })
      assert.deepEqual(await faultsOf(store), [])
      // A volume that was taken away is offline, and no fault.
      renameSync(join(root, 'warm'), join(root, 'away'))
      mkdirSync(join(root, 'warm'))
      assert.deepEqual(await faultsOf(store), [])
      assert.deepEqual(await ask(store), { count: 4, complete: false })
      assert.equal(await codeOf(rolling.roll()), 'E_TIER_MISSING')
    } finally {
      await store.remove()
    }
  })

suite('places', () => {
  test('what leaves a full tier is what is oldest, packs first; a full place spills to the next of its tier', async () => {
    const store = await storeOf([1, 2, 3])
    try {
      const root = fresh()
      const sizes = (await store.catalog.segments()).map(({ files }) => files.reduce((sum, { size }) => sum + size, 0))
      const one = Math.max(...sizes)
      // Hot may keep two segments, the first warm place nothing but a pack.
      const m = (bytes: number): string => `${(bytes / 1e6).toFixed(6)}m`
      const pack = (await store.segment(3)).files.find(({ kind }) => kind === 'log')!.size
      const rolling = tiersOf(store, `  hot: "=${m(one * 2 + 10)}"\n  warm: ${root}/a=${m(pack)};${root}/b\n`)
      const summary = await rolling.roll()
      assert.deepEqual([summary.faults, summary.alarms], [[], []])
      assert.equal(await placesOf(store, 1), at('hot'))
      assert.equal(await placesOf(store, 2), at('hot'))
      assert.match(await placesOf(store, 3), /log@warm/)
      assert.ok(existsSync(join(root, 'a', 'main', 'log-000000003.pack')))
      assert.deepEqual(await ask(store), { count: 6, complete: true })
    } finally {
      await store.remove()
    }
  })

  test('a full tier alarms, leaves files where they are, and nothing stops', async () => {
    const store = await storeOf([40, 50])
    try {
      const root = fresh()
      const rolling = tiersOf(store, `  warm: ${root}/warm=1m\n  cold: ${root}/cold=0.0001m\n  cold_after_days: 30\n`)
      const summary = await rolling.roll()
      assert.deepEqual(
        summary.alarms.map(({ alarm, tier }) => [alarm, tier]),
        [['full', 'cold']],
      )
      assert.equal(await placesOf(store, 1), at('hot'))
      await seal(store, 9, 1)
      assert.deepEqual(await ask(store), { count: 6, complete: true })
    } finally {
      await store.remove()
    }
  })

  test('a size that was made smaller by more than a tenth is told, and counts only once it is accepted', async () => {
    const store = await storeOf([1])
    try {
      const root = fresh()
      await tiersOf(store, `  warm: ${root}/warm=10g\n`).roll()
      const slip = tiersOf(store, `  warm: ${root}/warm=1g\n`)
      const { alarms, places } = await slip.status()
      assert.deepEqual(
        alarms.map(({ alarm }) => alarm),
        ['size'],
      )
      assert.equal(places.find(({ tier }) => tier === 'warm')!.size, 10e9)
      assert.deepEqual(
        (await slip.roll()).alarms.map(({ alarm }) => alarm),
        ['size'],
      )
      assert.deepEqual((await slip.roll({ acceptSizes: true })).alarms, [])
      assert.deepEqual((await slip.status()).alarms, [])
      // Larger, or a little smaller, is taken at once.
      await tiersOf(store, `  warm: ${root}/warm=0.95g\n`).roll()
      assert.deepEqual((await tiersOf(store, `  warm: ${root}/warm=2g\n`).status()).alarms, [])
    } finally {
      await store.remove()
    }
  })

  test('a missing == place refuses a roll; one that lost its mark is not mounted, and keeps no file of another', async () => {
    const store = await storeOf([40])
    try {
      const root = fresh()
      const ages = '  warm_after_days: 30\n'
      assert.equal(await codeOf(tiersOf(store, `  warm: ${root}/warm==1g\n${ages}`).roll()), 'E_TIER_MISSING')
      assert.equal(await placesOf(store, 1), at('hot'))
      const rolling = tiersOf(store, `  warm: ${root}/warm=1g\n${ages}`)
      await rolling.roll()
      assert.equal(await placesOf(store, 1), at('warm'))
      renameSync(join(root, 'warm', PLACE_MARK), join(root, 'mark'))
      await seal(store, 5, 40)
      const summary = await rolling.roll()
      assert.deepEqual(
        summary.alarms.map(({ alarm }) => alarm),
        ['missing', 'full'].slice(0, summary.alarms.length),
      )
      assert.equal(await placesOf(store, 2), at('hot'))
      renameSync(join(root, 'mark'), join(root, 'warm', PLACE_MARK))
      assert.deepEqual((await rolling.roll()).alarms, [])
      assert.equal(await placesOf(store, 2), at('warm'))
    } finally {
      await store.remove()
    }
  })

  test('a file of somebody else is never overwritten; a damaged source stays, and is named', async () => {
    const store = await storeOf([40, 41])
    try {
      const root = fresh()
      const rolling = tiersOf(store, `  warm: ${root}/warm\n  warm_after_days: 30\n`)
      mkdirSync(join(root, 'warm', 'main'), { recursive: true })
      writeFileSync(join(root, 'warm', 'main', 'meta-000000001.parquet'), 'of another installation')
      const damaged = join(store.catalog.collectionDirectory('main'), 'log-000000002.pack')
      const bytes = readFileSync(damaged)
      bytes[bytes.length - 1]! ^= 1
      writeFileSync(damaged, bytes)
      const summary = await rolling.roll()
      assert.deepEqual(summary.faults.map(({ name, code }) => [name, code]).sort(), [
        ['log-000000002.pack', 'E_SEGMENT_READ'],
        ['meta-000000001.parquet', 'E_TIER_COLLISION'],
      ])
      assert.equal(
        readFileSync(join(root, 'warm', 'main', 'meta-000000001.parquet'), 'utf8'),
        'of another installation',
      )
      assert.equal(await placesOf(store, 1), at('warm', 'warm', 'hot', 'warm'))
      assert.equal(await placesOf(store, 2), at('warm', 'hot', 'warm', 'warm'))
      assert.deepEqual(await ask(store), { count: 4, complete: true })
    } finally {
      await store.remove()
    }
  })
})

suite('S3', () => {
  test('cold is a bucket: put once, read back, named by label, and back again', async () => {
    const server = await startS3Server({ credentials: [{ accessKeyId: 'AK', secretAccessKey: 'SK' }] })
    const store = await storeOf([40, 50])
    try {
      const bucket = server.bucket('evidence')
      const access = `  s3: { endpoint: "${server.endpoint}", region: us-east-1, access_key_id: AK, secret_access_key: SK, max_attempts: 2 }\n`
      const places = `  cold: s3://evidence/site1\n  label: bucket evidence\n${access}`
      bucket.put('site1/main/session-000000002.parquet', 'of somebody else')
      const rolling = tiersOf(store, `${places}  cold_after_days: 30\n`)
      const first = await rolling.roll()
      assert.deepEqual(
        first.faults.map(({ name, code }) => [name, code]),
        [['session-000000002.parquet', 'E_TIER_COLLISION']],
      )
      assert.equal(await placesOf(store, 1), at('cold'))
      assert.deepEqual(await ask(store), { count: 0, complete: false })
      assert.deepEqual(await faultsOf(store), [])
      bucket.delete('site1/main/session-000000002.parquet')
      // The service fails once in the middle: repeated; a corrupt read-back is never committed.
      server.fail({ operation: 'PutObject', times: 1, action: { kind: 'error', code: 'SlowDown' } })
      assert.deepEqual((await rolling.roll()).faults, [])
      await store.catalog.sweep({ graceMs: 0 })
      assert.deepEqual(readdirSync(store.catalog.collectionDirectory('main')), [])
      // Three files and their manifests, two parts of the index and its manifest.
      assert.equal(bucket.size, 2 * 9)
      await rebuilt(store)
      assert.equal(await placesOf(store, 2), at('cold'))
      const back = tiersOf(store, places)
      const summary = await back.move({ to: 'hot', segments: [1] })
      assert.deepEqual([summary.moved.files, summary.faults], [4, []])
      assert.deepEqual(await ask(store), { count: 2, complete: false })
      assert.deepEqual(await faultsOf(store), [])
    } finally {
      await store.remove()
      await server.close()
    }
  })
})

suite('what is chosen', () => {
  test('a label tells where a file is that was taken away; it is a move to where it lies', async () => {
    const store = await storeOf([1, 2])
    try {
      const root = fresh()
      const chosen = tiersOf(store, `  cold: ${root}/cold\n`)
      await chosen.move({ to: 'cold', segments: [1], databases: ['log'], label: 'tape 7' })
      assert.equal(await placesOf(store, 1), at('hot', 'cold', 'hot', 'hot'))
      rmSync(join(root, 'cold'), { recursive: true })
      mkdirSync(join(root, 'cold'))
      writeFileSync(join(root, 'cold', PLACE_MARK), '')
      const summary = await chosen.move({ to: 'cold', segments: [1], databases: ['log'], label: 'safe 2' })
      assert.deepEqual([summary.relabelled, summary.moved.files, summary.faults], [1, 0, []])
      assert.equal((await store.segment(1)).files.find(({ kind }) => kind === 'log')!.label, 'safe 2')
      assert.equal(await codeOf(chosen.move({ to: 'warm', segments: [1] })), 'E_TIER_UNKNOWN')
      assert.equal(await codeOf(chosen.move({ to: 'cold', segments: [77] })), 'E_USAGE')
      assert.deepEqual(await faultsOf(store), [])
    } finally {
      await store.remove()
    }
  })
})

suite('retention', () => {
  test('a hold keeps what it covers, in the plan and in the commit; released, retention applies', async () => {
    const store = await storeOf([400, 500])
    try {
      const rolling = tiersOf(store, '  delete_after_days: 365\n')
      const time = NOW - 400 * DAY
      await rolling.addHold({ name: 'case-77', reason: 'court order', time1: time - DAY, time2: time + DAY })
      assert.equal(await codeOf(rolling.addHold({ name: 'case-77', reason: 'again' })), 'E_HOLD_EXISTS')
      assert.deepEqual(
        (await rolling.holds()).map(({ name, segments }) => [name, segments]),
        [['case-77', 1]],
      )
      const plan = await rolling.plan()
      assert.deepEqual(new Set(plan.held.map(({ segment }) => segment)), new Set([1]))
      const owner = await store.catalog.owner('test')
      const forced = store.catalog.commitDelete(owner, 'main', [{ segment: 1, kind: 'log' }], 'by hand')
      assert.equal(await codeOf(forced), 'E_HELD')
      assert.equal((await rolling.roll()).deleted.files, 4)
      assert.equal(await placesOf(store, 1), at('hot'))
      await rebuilt(store)
      assert.deepEqual(
        (await rolling.holds()).map(({ name, segments }) => [name, segments]),
        [['case-77', 1]],
      )
      assert.equal(await codeOf(rolling.releaseHold({ name: 'other', reason: 'x' })), 'E_HOLD_UNKNOWN')
      await rolling.releaseHold({ name: 'case-77', reason: 'closed' })
      assert.equal((await rolling.roll()).deleted.files, 4)
      await store.catalog.sweep({ graceMs: 0 })
      assert.deepEqual(readdirSync(store.catalog.collectionDirectory('main')), [])
      assert.deepEqual(await ask(store), { count: 0, complete: false })
      assert.deepEqual(await faultsOf(store), [])
    } finally {
      await store.remove()
    }
  })

  test('a reader that began before keeps its files; the sweep waits for it', async () => {
    const store = await storeOf([40])
    try {
      const root = fresh()
      const hold = await store.catalog.registerReader()
      const before = await store.segment(1)
      await tiersOf(store, `  warm: ${root}/warm\n  warm_after_days: 30\n`).roll()
      await store.catalog.sweep({ graceMs: 0 })
      for (const { directory, name } of before.files) assert.ok(existsSync(join(directory, name)), name)
      await hold.release()
      await store.catalog.sweep({ graceMs: 0 })
      for (const { directory, name } of before.files) assert.ok(!existsSync(join(directory, name)), name)
    } finally {
      await store.remove()
    }
  })

  test('a clock that jumped moves and deletes nothing by age until somebody says that it is right', async (t) => {
    const store = await storeOf([1])
    try {
      const rolling = tiersOf(store, '  delete_after_days: 365\n')
      const { now } = Date
      let shift = 3 * 365 * DAY * 1000
      t.mock.method(Date, 'now', () => now() + shift)
      assert.equal(await codeOf(rolling.roll()), 'E_CLOCK_JUMP')
      assert.match((await rolling.plan()).clock ?? '', /last commit/)
      shift = -30 * DAY * 1000
      assert.equal(await codeOf(rolling.roll()), 'E_CLOCK_JUMP')
      assert.equal(await placesOf(store, 1), at('hot'))
      shift = 0
      assert.equal((await rolling.roll({ trustClock: true })).deleted.files, 0)
    } finally {
      await store.remove()
    }
  })
})

suite('while files are copied', () => {
  /** Storages whose n-th copy does something first. */
  class Disturbed extends Storages {
    private readonly disturb: (name: string, directory: string) => void
    constructor(disturb: (name: string, directory: string) => void) {
      super({ access: {}, context: { environment: {}, pause: async () => undefined, warn: () => undefined } })
      this.disturb = disturb
    }
    override async of(directory: string): Promise<Storage> {
      const storage = await super.of(directory)
      const put: Storage['put'] = async (name, source, digest) => {
        this.disturb(name, directory)
        await storage.put(name, source, digest)
      }
      return { ...storage, put }
    }
  }
  const rolled = async (store: SampleStore, yaml: string, disturb: (name: string, directory: string) => void) => {
    const plan = await tiersOf(store, yaml).plan()
    const { tiers: settings } = parseConfig(`tiers:\n${yaml}`, { file: 'test', environment: {} })
    const { places } = tierRules(settings, { base: store.dataDir, dataDir: store.dataDir })
    const [catalog, owner] = [store.catalog, await store.catalog.owner('tier')]
    const storages = new Disturbed(disturb)
    return roll(plan, { catalog, owner, storages, places, log: () => undefined })
  }

  test('a volume that is unmounted in the middle commits nothing there; the next roll goes on', async () => {
    const store = await storeOf([40, 41])
    try {
      const root = fresh()
      const yaml = `  warm: ${root}/warm\n  warm_after_days: 30\n`
      let copies = 0
      const summary = await rolled(store, yaml, () => {
        copies += 1
        if (copies !== 4) return
        renameSync(join(root, 'warm'), join(root, 'away'))
        mkdirSync(join(root, 'warm', 'main'), { recursive: true })
      })
      assert.equal(summary.moved.files, 0)
      assert.deepEqual(
        summary.alarms.map(({ alarm }) => alarm),
        ['missing'],
      )
      assert.deepEqual([await placesOf(store, 1), await placesOf(store, 2)], [at('hot'), at('hot')])
      assert.deepEqual(await ask(store), { count: 4, complete: true })
      rmSync(join(root, 'warm'), { recursive: true })
      renameSync(join(root, 'away'), join(root, 'warm'))
      const next = await tiersOf(store, yaml).roll()
      assert.deepEqual([next.moved.files, next.faults, next.alarms], [8, [], []])
      assert.deepEqual(await faultsOf(store), [])
    } finally {
      await store.remove()
    }
  })

  test('a place that fills up gives way to the next of its tier; without one the file stays, and the rest goes on', async () => {
    const store = await storeOf([40, 41])
    try {
      const root = fresh()
      const yaml = `  warm: ${root}/a;${root}/b\n  warm_after_days: 30\n`
      const summary = await rolled(store, yaml, (name, directory) => {
        const isSecond = /-000000002/.test(name) || directory.startsWith(join(root, 'b'))
        if (isSecond && directory.startsWith(join(root, 'a'))) throw new ColdtrailError('E_DISK_FULL', { path: name })
      })
      assert.deepEqual([summary.moved.files, summary.faults], [8, []])
      assert.deepEqual(
        summary.alarms.map(({ alarm, place }) => [alarm, place]),
        [['full', join(root, 'a')]],
      )
      assert.deepEqual(await ask(store), { count: 4, complete: true })
      await seal(store, 7, 50)
      const stuck = await rolled(store, yaml, (name) => {
        if (/^meta/.test(name)) throw new ColdtrailError('E_DISK_FULL', { path: name })
      })
      assert.deepEqual(
        stuck.alarms.map(({ alarm }) => alarm),
        ['full', 'full'],
      )
      assert.ok(stuck.faults.some(({ name }) => name === 'meta-000000003.parquet'))
      assert.match(await placesOf(store, 3), /meta@hot/)
      assert.deepEqual(await faultsOf(store), [])
    } finally {
      await store.remove()
    }
  })
})

test('nothing that a hold covers is merged with what it does not', async () => {
  const store = await storeOf([1, 2, 3, 4, 100, 101, 102, 103])
  try {
    await tiersOf(store, '').addHold({ name: 'h', reason: 'x', time1: NOW - 200 * DAY, time2: NOW - 50 * DAY })
    const holds = await store.catalog.holds('main')
    const live = await store.catalog.segments({ state: 'live' })
    const limits = { maxRows: 1e6, maxBytes: 2 ** 29, maxSessions: 1e5 }
    const given = { mayTake: () => true, sessionsOf: () => 1 }
    assert.equal(chooseRun(live, limits, given)!.length, 8)
    const classOf = (segment: SegmentRow): string => holdsOver(holds, heldTimes(segment)).join()
    const run = chooseRun(live, limits, { ...given, classOf })
    assert.deepEqual(
      run!.map(({ segment }) => segment),
      [1, 2, 3, 4],
    )
  } finally {
    await store.remove()
  }
})
