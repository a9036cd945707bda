/** Standing hunts over a real store: what is new is hunted once, hits become findings, and feeds take them. */
import assert from 'node:assert/strict'
import { renameSync } from 'node:fs'
import { after, test } from 'node:test'
import { IndicatorSet } from '../../src/hunt/indicators.ts'
import { type StandingOptions, standingHunt } from '../../src/hunt/standing.ts'
import { Engines } from '../../src/store/engines.ts'
import { openFeedSource } from '../../src/store/feedReader.ts'
import { heldPath } from '../../src/store/heldFile.ts'
import { keysetEpoch, loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { SampleStore } from '../support/sampleStore.ts'

const store = await SampleStore.create()
const engines = new Engines({ dataDir: store.dataDir })
const key = loadKeysetKey(store.dataDir, keysetEpoch(new Date()))
after(async () => {
  await engines.close()
  await store.remove()
})

/** Users by the change that made them indicators. */
const LIBRARY = ['alice', 'mallory', 'bob']
let changes = 1

const options: StandingOptions = {
  ...{ catalog: store.catalog, collection: 'main', owner: store.owner, engines, keys: [key] },
  log: () => undefined,
  producer: 'coldtrail/test',
  severity: { confirmed: 'high', possible: 'medium' },
  libraryHead: async () => changes,
  async indicators(after = 0) {
    const set = new IndicatorSet()
    for (const value of LIBRARY.slice(after, changes)) set.add({ type: 'Username', value })
    return set
  },
}

const seal = (name: string, user: string) =>
  store.seal([{ key: name, events: [{ time: 1_700_000_000e6, columns: { actor_user_name: user } }, { time: 5e6 }] }], {
    keyset: key,
  })

const findings = () => store.catalog.findings({ collection: 'main' })

test('new segments meet all indicators, once', async () => {
  const { segment } = await seal('a', 'Alice')
  await seal('b', 'bob')
  const first = await standingHunt(options)
  assert.deepEqual(
    [first.newSegments, first.newIndicators, first.confirmed, first.possible, first.newFindings],
    [2, 1, 1, 0, 1],
  )
  const [found] = await findings()
  const { event, kind, plugin, label, rule, severity } = found!
  assert.deepEqual([kind, plugin, label, rule, severity], ['hunt', 'hunt', 'hunt_confirmed', 'Username alice', 'high'])
  assert.equal(store.events.find(({ id }) => id === event)?.segment, segment)
  const again = await standingHunt(options)
  assert.deepEqual([again.newSegments, again.newIndicators, again.run], [0, 0, undefined])
})

test('new indicators meet old segments; of one that is offline the finding names the segment', async () => {
  const row = await seal('c', 'mallory')
  await standingHunt(options)
  const path = heldPath(row, 'meta')
  renameSync(path, `${path}.away`)
  changes = 3
  const summary = await standingHunt(options)
  renameSync(`${path}.away`, path)
  assert.deepEqual(
    [summary.newSegments, summary.newIndicators, summary.confirmed, summary.possible, summary.newFindings],
    [0, 2, 1, 1, 2],
  )
  const about = (await findings()).find(({ segment }) => segment !== undefined)!
  assert.deepEqual(
    [about.event, about.event_uid, about.segment, about.label],
    [null, null, row.segment, 'hunt_possible'],
  )
  assert.equal(about.time, row.time1)
  assert.match(about.title, /^Username mallory may be in segment \d+, which is offline$/)
})

test('what a crash before the position repeats joins the findings that are there', async () => {
  const before = await findings()
  await store.catalog.setHuntPosition(store.owner, 'main', { sequence: 0, librarySequence: 0 })
  const repeated = await standingHunt(options)
  // The segment is online again: its finding is about the event now.
  assert.deepEqual([repeated.newSegments, repeated.confirmed, repeated.newFindings], [3, 3, 1])
  const now = await findings()
  assert.equal(now.length, before.length + 1)
  assert.ok(before.every(({ uid }) => now.some((one) => one.uid === uid)))
})

test('another hunt of the collection is refused meanwhile', async () => {
  const lock = await store.catalog.hold('hunt-main')
  try {
    await assert.rejects(standingHunt(options), { code: 'E_HUNT_BUSY' })
  } finally {
    await lock!.release()
  }
})

test('a feed of findings takes those about events and those about segments', async () => {
  const source = openFeedSource({ catalog: store.catalog, dataDir: store.dataDir })
  const told: unknown[] = []
  const question = { collection: 'main', stream: 'findings', columns: ['actor_user_name'] } as const
  for await (const { events } of source.read({ ...question, from: { sequence: 0, id: 0 } }))
    for (const event of events) {
      const { finding, uid, id } = event
      assert.equal(uid.length, 32)
      told.push([finding!.rule, event.column('actor_user_name'), finding!.segment !== undefined, event.time])
      if (finding!.segment === undefined) continue
      assert.deepEqual(JSON.parse(event.data.toString()), {
        ...{ collection: 'main', segment: finding!.segment, message: finding!.title },
      })
      // As dead letters are sent again.
      for await (const letter of source.readEvents(question, [id])) assert.equal(letter.uid, uid)
    }
  await source.close()
  assert.deepEqual(told, [
    ['Username alice', 'Alice', false, 1_700_000_000e6],
    ['Username bob', 'bob', false, 1_700_000_000e6],
    ['Username mallory', null, true, 5e6],
    ['Username mallory', 'mallory', false, 1_700_000_000e6],
  ])
})
