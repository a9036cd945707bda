/**
 * Any sequence of sealing, moving, deleting, holding, taking volumes away, compacting and rebuilding: the store answers as a
 * plain list of events does, and says that it is complete only where it is.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { Compaction } from '../../src/collect/compaction.ts'
import { type Config, parseConfig } from '../../src/config.ts'
import { openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { StoreReader } from '../../src/store/search.ts'
import { type Tiers, tiers } from '../../src/tiers.ts'
import { SampleStore } from '../support/sampleStore.ts'

const DAY = 86_400
const NOW = Math.floor(Date.now() / 1000)
const directories: string[] = []
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

/** What a person knows of a session; `age` in days. */
interface KnownSession {
  readonly id: number
  readonly age: number
  readonly events: number
  deleted: boolean
}

interface KnownHold {
  readonly name: string
  readonly age: number
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('seal' as const), age: fc.constantFrom(1, 40, 100, 400) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('roll' as const), keep: fc.constantFrom(undefined, 365, 90) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('move' as const),
      to: fc.constantFrom('hot' as const, 'warm' as const),
      pick: fc.nat(20),
      what: fc.constantFrom(undefined, ['meta'], ['log', 'session']),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('compact' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rebuild' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unmount' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('hold' as const), age: fc.constantFrom(100, 400) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('release' as const) }) },
)

/** Enough to be merged. */
const begin = fc.array(fc.record({ do: fc.constant('seal' as const), age: fc.constantFrom(1, 40, 400) }), {
  minLength: 2,
  maxLength: 5,
})

test('counts equal those of a plain model, and complete is honest', async () => {
  await fc.assert(
    fc.asyncProperty(begin, fc.array(step, { minLength: 2, maxLength: 10 }), async (first, then) => {
      const steps = [...first, ...then]
      const root = mkdtempSync(join(tmpdir(), 'coldtrail-tier-'))
      directories.push(root)
      mkdirSync(join(root, 'warm'))
      const store = await SampleStore.create()
      const sessions: KnownSession[] = []
      const holds: KnownHold[] = []
      let isMounted = true
      try {
        for (const [turn, one] of steps.entries()) {
          const places = `  warm: ${root}/warm==1g\n`
          if (one.do === 'seal') {
            const events = 1 + (turn % 3)
            const time = (n: number) => Math.round((NOW - one.age * DAY - n) * 1e6)
            const list = Array.from({ length: events }, (_, n) => ({ time: time(n) }))
            const { session1 } = await store.seal([{ key: `2023/07/10/${turn}.json`, events: list }])
            sessions.push({ id: session1, age: one.age, events, deleted: false })
          } else if (one.do === 'roll') {
            const keep = one.keep === undefined ? '' : `  delete_after_days: ${one.keep}\n`
            const rolling = tiersOf(store, `${places}  warm_after_days: 30\n${keep}`)
            if (await isRefused(rolling.roll(), isMounted)) continue
            await retain(store, sessions, holds, one.keep ?? Number.POSITIVE_INFINITY)
          } else if (one.do === 'move') {
            const live = await store.catalog.segments({ state: 'live' })
            const segment = live[one.pick % Math.max(1, live.length)]?.segment
            if (segment !== undefined)
              await isRefused(
                tiersOf(store, places).move({ to: one.to, segments: [segment], databases: one.what }),
                isMounted,
              )
          } else if (one.do === 'compact') await compact(store)
          else if (one.do === 'rebuild') await rebuild(store)
          else if (one.do === 'unmount') {
            renameSync(join(root, isMounted ? 'warm' : 'away'), join(root, isMounted ? 'away' : 'warm'))
            isMounted = !isMounted
          } else if (one.do === 'hold') {
            const time = NOW - one.age * DAY
            const hold = { name: `h${turn}`, reason: 'a test', time1: time - DAY, time2: time + DAY }
            if ((await store.catalog.collections()).length === 0) continue
            await tiersOf(store, places).addHold(hold)
            holds.push({ name: hold.name, age: one.age })
          } else if (holds.length > 0) {
            await tiersOf(store, places).releaseHold({ name: holds.pop()!.name, reason: 'a test' })
          }
          await store.catalog.sweep({ graceMs: 0 })
          await check(store, sessions)
        }
        if (!isMounted) {
          rmSync(join(root, 'warm'), { recursive: true, force: true })
          renameSync(join(root, 'away'), join(root, 'warm'))
        }
        await check(store, sessions)
        if (sessions.every(({ deleted }) => !deleted)) {
          const { count, complete } = await ask(store)
          assert.deepEqual([count, complete], [sum(sessions), true])
        }
      } finally {
        await store.remove()
      }
    }),
    { numRuns: 8, endOnFailure: false },
  )
})

// --- internal ---

function tiersOf(store: SampleStore, yaml: string): Tiers {
  const config = { ...parseConfig(`tiers:\n${yaml}`, { file: 'test', environment: {} }), data_dir: store.dataDir }
  const parts = { catalog: async () => store.catalog, requireData: () => undefined, log: () => undefined }
  return tiers({ ...config, file: join(store.dataDir, 'coldtrail.yaml') } as Config, parts)
}

/** Without the volume that must be there nothing is done, and only then. */
async function isRefused(action: Promise<unknown>, isMounted: boolean): Promise<boolean> {
  const code = await action.then(
    () => undefined,
    (error: { code?: string }) => error.code,
  )
  assert.equal(code, isMounted ? undefined : 'E_TIER_MISSING')
  return code !== undefined
}

/** What a roll deletes: segments of which every session is old enough, and that no hold touches. */
async function retain(
  store: SampleStore,
  sessions: readonly KnownSession[],
  holds: readonly KnownHold[],
  keep: number,
): Promise<void> {
  for (const { session1, session2 } of await store.catalog.segments({ state: 'live' })) {
    const own = sessions.filter(({ id }) => id >= session1 && id <= session2)
    const [youngest, oldest] = [Math.min(...own.map(({ age }) => age)), Math.max(...own.map(({ age }) => age))]
    const isHeld = holds.some(({ age }) => youngest <= age + 1 && oldest >= age - 1)
    if (youngest >= keep && !isHeld) for (const session of own) session.deleted = true
  }
}

async function compact({ catalog, owner }: SampleStore): Promise<void> {
  const stop = new AbortController()
  const compaction = new Compaction({
    ...{ catalog, owner, collection: 'main', producer: 'test/1', signal: stop.signal, memoryBytes: 0 },
    limits: { maxRows: 1_000_000, maxBytes: 2 ** 29, maxSessions: 100_000 },
    log: (level, message, values) => {
      if (level !== 'debug') assert.fail(`${level} ${message} ${JSON.stringify(values)}`)
    },
  })
  await compaction.call()
}

async function rebuild(store: SampleStore): Promise<void> {
  const { dataDir } = store
  await store.catalog.close()
  await rebuildCatalog({ dataDir })
  const catalog = await openCatalog({ dataDir })
  Object.assign(store, { catalog, owner: await catalog.owner('collect') })
}

async function ask({ catalog, dataDir }: SampleStore): Promise<{ count: number; complete: boolean }> {
  const reader = new StoreReader({ catalog, dataDir })
  try {
    return await reader.count({ collection: 'main' })
  } finally {
    await reader.close()
  }
}

const sum = (sessions: readonly KnownSession[]): number =>
  sessions.reduce((total, { events, deleted }) => total + (deleted ? 0 : events), 0)

/** The answer is that of the model without what lies in files that are not here; all of it, or it says so. */
async function check(store: SampleStore, sessions: readonly KnownSession[]): Promise<void> {
  const rows = await store.catalog.segments({ state: 'live' })
  const { count, complete } = await ask(store)
  const isHere = ({ files }: (typeof rows)[number]): boolean =>
    files.every(
      ({ kind, deleted, directory, name }) =>
        (kind !== 'meta' && kind !== 'session') || (!deleted && existsSync(join(directory, name))),
    )
  const here = rows.filter(isHere).reduce((total, row) => total + row.rows, 0)
  const away = rows.filter((row) => !isHere(row)).reduce((total, row) => total + row.rows, 0)
  assert.equal(count, here)
  assert.equal(complete, away === 0)
  assert.equal(
    here + away,
    sessions.reduce((total, { events }) => total + events, 0),
    'no event is lost from the catalog',
  )
  const gone = rows.filter(({ files }) => files.some(({ kind, deleted }) => kind === 'meta' && deleted))
  assert.equal(
    gone.reduce((total, row) => total + row.rows, 0),
    sessions.reduce((total, { events, deleted }) => total + (deleted ? events : 0), 0),
    'what is deleted is what was due and not held',
  )
}
