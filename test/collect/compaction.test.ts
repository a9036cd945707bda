/** Small segments of a followed source become one, whatever is killed meanwhile. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CollectOptions, collect } from '../../src/collect/collect.ts'
import { decodeStream } from '../../src/collect/decode.ts'
import type { CollectSummary } from '../../src/collect/summary.ts'
import type { FaultPoint } from '../../src/platform/faults.ts'
import { type Catalog, openCatalog } from '../../src/store/catalog.ts'
import { StoreReader } from '../../src/store/search.ts'
import { verifyStore } from '../../src/store/verify.ts'

const RUN = join(import.meta.dirname, '../support/compactRun.ts')

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

interface Site {
  readonly dataDir: string
  readonly logs: string
  readonly catalog: Catalog
  put(name: string): void
  run(options?: Partial<CollectOptions>): Promise<CollectSummary>
  /** Id, uid and text of every event, in order of id. */
  events(): Promise<readonly (readonly [id: unknown, uid: unknown, data: unknown])[]>
  live(): Promise<number[]>
}

/** A segment for every object. */
const SINGLE = { segmentLimits: { maxRows: 1 } }

/** So many small segments of one day. */
async function site(segments: number): Promise<Site> {
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-compaction-'))
  undo.push(() => rmSync(dataDir, { recursive: true, force: true }))
  const logs = join(dataDir, 'logs')
  const catalog = await openCatalog({ dataDir })
  undo.push(() => catalog.close())
  const made: Site = {
    ...{ dataDir, logs, catalog },
    put(name) {
      const path = join(logs, `app/2023/07/10/${name}.json`)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, `{"name":"${name}","n":1}\n{"name":"${name}","n":2}\nbroken ${name}\n`)
    },
    run: (options = {}) =>
      collect({
        ...{ catalog, collection: 'main', producer: 'test/1', processes: 1 },
        sources: [{ name: 'logs', type: 'directory', path: logs, include: [], exclude: [], lookback_days: 2 }],
        ...options,
      }),
    async events() {
      const reader = new StoreReader({ catalog, dataDir })
      const found: [unknown, unknown, unknown][] = []
      const { rows } = await reader.search({ order: 'id', columns: ['id', 'uid', 'data'] })
      for await (const { id, uid, data } of rows) found.push([id, uid, data])
      await reader.close()
      return found
    },
    live: async () => (await catalog.segments({ state: 'live' })).map(({ segment }) => segment),
  }
  for (let n = 0; n < segments; n++) made.put(`file${n}`)
  assert.equal((await made.run(SINGLE)).segments, segments)
  return made
}

async function until(isMet: () => Promise<boolean> | boolean): Promise<void> {
  for (let i = 0; i < 600 && !(await isMet()); i++) await sleep(20)
  assert.ok(await isMet())
}

/** No file but those of committed segments; of replaced ones only the packs. Nothing else is damaged than these files. */
async function assertTidy({ catalog, dataDir }: Site, damaged: readonly string[] = []): Promise<void> {
  const rows = await catalog.segments()
  const expected = rows.flatMap(({ files }) => files.flatMap(({ name }) => [name, `${name}.manifest`]))
  assert.deepEqual(readdirSync(join(dataDir, 'collections/main')).sort(), expected.sort())
  for (const { state, files } of rows)
    if (state === 'retired')
      assert.deepEqual(
        files.map(({ kind }) => kind),
        ['log'],
      )
  assert.ok((await catalog.verifyChain()).every(({ faults }) => faults.length === 0))
  assert.deepEqual(await catalog.verifyHistory(), [])
  const limits = { maxBytes: 1e9, maxRatio: 1e9 }
  const found = new Set<string>()
  await verifyStore({
    ...{ catalog, dataDir },
    decode: async (received, size) => (await decodeStream(received, size, limits)).decoded,
    onFault: ({ file }) => found.add(file),
    onOrphan: (file) => found.add(file),
  })
  assert.deepEqual([...found], damaged)
}

test('a run merges what earlier runs left, says so, and merges nothing twice', async () => {
  const place = await site(3)
  const few = await place.run({ compact: true })
  assert.deepEqual([few.compacted, (await place.live()).length], [0, 3], 'three are too few')
  place.put('file3')
  const before = await place.events()
  const summary = await place.run({ compact: true })
  assert.deepEqual([summary.objects, summary.segments, summary.compacted], [1, 1, 4])
  assert.equal((await place.live()).length, 1)
  const after = await place.events()
  assert.deepEqual(after.slice(0, 6), before)
  assert.deepEqual([after.length, new Set(after.map(([, uid]) => uid)).size], [8, 8])
  const again = await place.run({ compact: true })
  assert.deepEqual([again.objects, again.known, again.compacted], [0, 4, 0])
  await place.catalog.sweep({ graceMs: 0 })
  await assertTidy(place)
})

test('it goes on while a source is followed, and two of them do not disturb each other', async () => {
  const place = await site(4)
  const before = await place.events()
  const stop = new AbortController()
  const following = { compact: true, follow: { pollSeconds: 0.1 }, signal: stop.signal }
  const running = [place.run(following), place.run(following)]
  await until(async () => (await place.live()).length === 1)
  assert.deepEqual(await place.events(), before)
  stop.abort()
  const summaries = await Promise.all(running)
  assert.deepEqual(summaries.map(({ compacted }) => compacted).sort(), [0, 4])
  assert.ok(summaries.every(({ interrupted, error }) => interrupted && error === undefined))
  await place.catalog.sweep({ graceMs: 0 })
  await assertTidy(place)
})

test('killed at every step: every event is there once, and old files go', async () => {
  // The steps between these are tried where the catalog is tested alone.
  const faults: FaultPoint[] = [
    'segment.files-durable',
    'replace.files-durable',
    'commit.link-written',
    'commit.done',
    'retire.unlinked',
  ]
  const place = await site(4)
  const before = await place.events()
  let events = before.length
  for (const [turn, fault] of faults.entries()) {
    // There is always something to merge.
    if (turn > 0) {
      for (let n = 0; n < 4; n++) place.put(`turn${turn}-${n}`)
      await place.run(SINGLE)
      events += 8
    }
    const child = spawn(process.execPath, [RUN, place.dataDir, place.logs], {
      env: { ...process.env, COLDTRAIL_FAULT: fault },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    await once(child, 'close')
    // The helper's death alone ends no run.
    assert.equal(child.signalCode, fault === 'segment.files-durable' ? null : 'SIGKILL', fault)
    const { error, failed } = await place.run({ compact: true })
    assert.deepEqual([error, failed], [undefined, 0], fault)
    await place.catalog.sweep({ graceMs: 0 })
    const found = await place.events()
    assert.deepEqual(found.slice(0, before.length), before, fault)
    assert.equal(found.length, events, fault)
    assert.equal(new Set(found.map(([, uid]) => uid)).size, events, fault)
    assert.equal((await place.catalog.segments({ state: 'live' })).length < 4, true, fault)
    await assertTidy(place)
  }
})

test('an interruption ends it soon, and leaves everything as it was', async () => {
  const place = await site(4)
  const before = await place.events()
  const stop = new AbortController()
  const running = place.run({ compact: true, follow: { pollSeconds: 0.1 }, signal: stop.signal })
  const children = (): string =>
    readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1'))
      .join()
  await until(() => children().includes('compactWorker'))
  stop.abort()
  const { compacted, interrupted, error } = await running
  assert.deepEqual([compacted, interrupted, error], [0, true, undefined])
  assert.equal((await place.live()).length, 4)
  assert.deepEqual(await place.events(), before)
  await assertTidy(place)
})

test('a damaged segment stays as it is, is named, and does not fail the run', async () => {
  const place = await site(4)
  const [row] = await place.catalog.segments()
  const path = join(row!.directory, row!.files.find(({ kind }) => kind === 'meta')!.name)
  const bytes = readFileSync(path)
  bytes[60]! ^= 1
  writeFileSync(path, bytes)
  const warnings: unknown[] = []
  const summary = await place.run({ compact: true, log: (_level, message, values) => warnings.push([message, values]) })
  assert.deepEqual([summary.compacted, summary.error, (await place.live()).length], [0, undefined, 4])
  assert.equal(warnings.length, 1)
  assert.match(JSON.stringify(warnings), /could not be compacted.*meta-000000001.parquet/)
  await assertTidy(place, [path])
})
