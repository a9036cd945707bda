/** Rolls of real processes, killed at every step: no event is lost or there twice, and nothing is left behind. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Config, parseConfig } from '../../src/config.ts'
import type { FaultPoint } from '../../src/platform/faults.ts'
import { type Catalog, type CatalogOptions, openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { isLocal, PLACE_MARK, placedPath } from '../../src/store/heldFile.ts'
import { StoreReader } from '../../src/store/search.ts'
import { verifyStore } from '../../src/store/verify.ts'
import { type Tiers, tiers } from '../../src/tiers.ts'
import { freshCatalog } from '../support/freshCatalog.ts'
import { SampleStore } from '../support/sampleStore.ts'

const RUN = join(import.meta.dirname, '../support/tierRun.ts')
const DAY = 86_400
const directories: string[] = []
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

const POINTS: readonly `${FaultPoint}${'' | `:${number}`}`[] = [
  'move.announced',
  'move.copied:4',
  'file.temp-written:3',
  'file.renamed:5',
  'move.files-durable',
  'commit.link-written',
  'commit.done',
  'left.unlinked',
  // The second link is the deletion.
  'commit.link-written:2',
]

for (const dialect of ['sqlite', 'postgres'] as const)
  test(`${dialect}: a roll is killed at every step`, async () => {
    const options = await freshCatalog(dialect, directories)
    const root = mkdtempSync(join(tmpdir(), 'coldtrail-tier-'))
    directories.push(root)
    const store = await SampleStore.create(options)
    const yaml = `  warm: ${root}/warm\n  cold: ${root}/cold\n  warm_after_days: 30\n  delete_after_days: 365\n  databases: { log: { cold_after_days: 30 } }\n`
    const points = dialect === 'sqlite' ? POINTS : POINTS.filter((point) => /^(move.files|commit)/.test(point))
    let events = 0
    for (const [turn, point] of points.entries()) {
      for (const age of [1, 40, 400]) {
        const time = (Date.now() / 1000 - age * DAY) * 1e6
        await store.seal([{ key: `2023/07/10/${turn}-${age}.json`, events: [{ time: Math.round(time) }] }])
      }
      events += 2
      const { signal } = await run(options, yaml, point)
      assert.equal(signal, 'SIGKILL', point)
      const about = `${dialect} ${point}`
      assert.ok((await ask(store.catalog, store.dataDir)).count >= events, about)
      // A catalog that was lost in between knows as much.
      if (turn % 3 === 2) await rebuilt(store, options)
      const { faults, alarms } = await tiersOf(store, yaml).roll()
      assert.deepEqual([faults, alarms], [[], []], about)
      await store.catalog.removeLeft({ graceMs: 0, announced: true })
      assert.equal((await ask(store.catalog, store.dataDir)).count, events, about)
      if (turn % 3 === 2 || turn === points.length - 1) assert.deepEqual(await faultsOf(store), [], about)
      assert.deepEqual(filesBelow(root, store), await heldFiles(store.catalog), about)
    }
    await store.remove()
  })

// --- internal ---

function tiersOf(store: SampleStore, yaml: string): Tiers {
  const config = { ...parseConfig(`tiers:\n${yaml}`, { file: 'test', environment: {} }), data_dir: store.dataDir }
  const parts = { catalog: async () => store.catalog, requireData: () => undefined, log: () => undefined }
  return tiers({ ...config, file: join(store.dataDir, 'coldtrail.yaml') } as Config, parts)
}

async function run({ dataDir, url = '', schema = '' }: CatalogOptions, yaml: string, fault: string) {
  const child = spawn(process.execPath, [RUN, dataDir, url, schema, yaml], {
    env: { ...process.env, COLDTRAIL_FAULT: fault },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await once(child, 'close')
  return { signal: child.signalCode }
}

async function rebuilt(store: SampleStore, options: CatalogOptions): Promise<void> {
  await store.catalog.close()
  await rebuildCatalog(options)
  const catalog = await openCatalog(options)
  Object.assign(store, { catalog, owner: await catalog.owner('collect') })
}

async function ask(catalog: Catalog, dataDir: string): Promise<{ count: number; complete: boolean }> {
  const reader = new StoreReader({ catalog, dataDir })
  try {
    return await reader.count({ collection: 'main' })
  } finally {
    await reader.close()
  }
}

async function faultsOf({ catalog, dataDir }: SampleStore): Promise<string[]> {
  const faults: string[] = []
  await verifyStore({
    ...{ catalog, dataDir, decode: async (received) => received },
    onFault: ({ file, fault, detail }) => faults.push(`${fault} ${file} ${detail}`),
    onOrphan: (file) => faults.push(`orphan ${file}`),
  })
  return faults
}

/** Paths of database files, as they lie in the data directory and in the places. */
function filesBelow(root: string, store: SampleStore): string[] {
  const folders = [store.catalog.collectionDirectory('main')]
  for (const tier of readdirSync(root)) {
    assert.ok(readdirSync(join(root, tier)).every((name) => name === PLACE_MARK || name === 'main'))
    folders.push(join(root, tier, 'main'))
  }
  return folders
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((path) => !path.endsWith('.manifest'))
    .sort()
}

async function heldFiles(catalog: Catalog): Promise<string[]> {
  const files = (await catalog.segments()).flatMap((row) => row.files.filter(({ deleted }) => !deleted))
  return files
    .filter(({ directory }) => isLocal(directory))
    .map(({ directory, name }) => placedPath(directory, name))
    .sort()
}
