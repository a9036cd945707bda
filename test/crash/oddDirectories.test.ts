/**
 * Data directories in which something stands that cannot be: every command answers, or names the file with what to do,
 * and none of them is at a loss. Once with each file that was found to matter, and a seeded sample of all others.
 */
import assert from 'node:assert/strict'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Coldtrail, ColdtrailError, loadConfig, open } from '../../src/index.ts'
import { seededRandom } from '../support/random.ts'

const root = mkdtempSync(join(tmpdir(), 'coldtrail-odd-'))
const good = join(root, 'good')
const logs = join(root, 'logs')
after(() => rmSync(root, { recursive: true, force: true }))

const line = (n: number): string => `{"time":"2026-03-10T00:00:0${n}Z","user":"u${n}"}\n`

async function withStore<T>(dataDir: string, action: (coldtrail: Coldtrail) => Promise<T>): Promise<T> {
  const coldtrail = await open(loadConfig({ dataDir }))
  try {
    return await action(coldtrail)
  } finally {
    await coldtrail.close()
  }
}

const collect = async (coldtrail: Coldtrail): Promise<void> => {
  const { error } = await coldtrail.collect({ sources: [logs] })
  if (error) throw error
}

before(async () => {
  mkdirSync(logs)
  writeFileSync(join(logs, 'a.json'), `${line(1)}${line(2)}{bad\n`)
  await withStore(good, collect)
  writeFileSync(join(logs, 'b.json'), line(3))
  await withStore(good, collect)
})

const DAMAGES: Readonly<Record<string, (path: string) => void>> = {
  directory(path) {
    rmSync(path, { recursive: true })
    mkdirSync(path)
  },
  file(path) {
    rmSync(path, { recursive: true })
    writeFileSync(path, 'x')
  },
  'half of it'(path) {
    if (statSync(path).isFile()) truncateSync(path, statSync(path).size >> 1)
  },
  'empty file'(path) {
    if (statSync(path).isFile()) truncateSync(path)
  },
  'link to itself'(path) {
    rmSync(path, { recursive: true })
    symlinkSync(basename(path), path)
  },
  nothing: (path) => rmSync(path, { recursive: true }),
}

async function drained(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of rows);
}

/** Each drains its answer. The last two write. */
const COMMANDS: Readonly<Record<string, (coldtrail: Coldtrail) => unknown>> = {
  search: async (coldtrail) => drained((await coldtrail.search({ expression: "user == 'u1'" })).rows),
  'search, all columns': async (coldtrail) =>
    drained((await coldtrail.search({ columns: ['uid', 'data', 'session.key'] })).rows),
  count: (coldtrail) => coldtrail.count(),
  values: (coldtrail) => coldtrail.values({ field: 'user' }),
  timeline: (coldtrail) => coldtrail.timeline({ intervalSecs: 60 }),
  show: (coldtrail) => coldtrail.showRaw('1'),
  rejects: async (coldtrail) => drained((await coldtrail.rejects()).records),
  'manifest query': async (coldtrail) => coldtrail.manifestQuery(),
  verify: (coldtrail) => coldtrail.verify(),
  doctor: async (coldtrail) => {
    for (const { message } of await coldtrail.doctor()) assert.doesNotMatch(message, /E_INTERNAL/)
  },
  'keys list': (coldtrail) => coldtrail.keys.list(),
  collect,
  'catalog rebuild': (coldtrail) => coldtrail.rebuildCatalog(),
}

/** What every command makes of a data directory with one thing damaged; lists what is no named error. */
async function faultsOf(path: string, damage: string): Promise<string[]> {
  const dataDir = join(root, 'damaged')
  const faults: string[] = []
  const fresh = (): void => {
    rmSync(dataDir, { recursive: true, force: true })
    cpSync(good, dataDir, { recursive: true })
    DAMAGES[damage]!(join(dataDir, path))
  }
  fresh()
  for (const [name, run] of Object.entries(COMMANDS)) {
    if (name === 'catalog rebuild') fresh()
    try {
      await withStore(dataDir, async (coldtrail) => run(coldtrail))
    } catch (error) {
      if (!(error instanceof ColdtrailError) || error.code === 'E_INTERNAL')
        faults.push(`${path} = ${damage}: ${name}: ${error}`)
    }
  }
  return faults
}

const KNOWN = {
  directory: ['collections/main/index-000000001/keyset.ks', 'collections/main/log-000000001.pack', 'catalog.db'],
  file: ['collections', 'collections/main', 'collections/main/index-000000001', 'history', 'history/main', 'keys'],
  'link to itself': ['catalog.db', 'collections', 'collections/main', 'history', 'history/main', 'keys', 'locks'],
} as const

test('files and folders of the data directory replaced by something else', async () => {
  const chain = ['chain', ...readdirSync(join(good, 'history/main/chain')).map((name) => `chain/${name}`)]
  const history = [...readdirSync(join(good, 'history/main')).filter((name) => name !== 'chain'), ...chain]
  const faults: string[] = []
  for (const [damage, paths] of Object.entries(KNOWN))
    for (const path of paths) faults.push(...(await faultsOf(path, damage)))
  for (const name of history)
    for (const damage of ['directory', 'link to itself'])
      faults.push(...(await faultsOf(`history/main/${name}`, damage)))
  assert.deepEqual(faults, [])
})

test('a sample of every damage to everything', async () => {
  const paths = (readdirSync(good, { recursive: true }) as string[]).filter((path) => !/-(wal|shm)$/.test(path)).sort()
  const seed = Date.now() % 1_000_000
  const random = seededRandom(seed)
  const damages = Object.keys(DAMAGES)
  const faults: string[] = []
  for (let turn = 0; turn < 20; turn++)
    faults.push(...(await faultsOf(paths[random(paths.length)]!, damages[random(damages.length)]!)))
  assert.deepEqual(faults, [], `seed ${seed}`)
})

test('a history whose log is no file is named with its path and what to do', async () => {
  const dataDir = join(root, 'damaged')
  rmSync(dataDir, { recursive: true, force: true })
  cpSync(good, dataDir, { recursive: true })
  const log = join(dataDir, 'history/main/manifests.ndjson')
  DAMAGES.directory!(log)
  await withStore(dataDir, async (coldtrail) => {
    assert.throws(
      () => coldtrail.manifestQuery(),
      (error: unknown) => {
        assert.ok(error instanceof ColdtrailError)
        assert.deepEqual([error.code, error.values.path], ['E_SEGMENT_READ', log])
        assert.match(error.hint, /verify/)
        return true
      },
    )
    const faults: string[] = []
    await coldtrail.verify({ onFault: ({ file }) => faults.push(file) })
    assert.deepEqual([...new Set(faults)], [log])
  })
})
