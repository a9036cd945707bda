import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { decodeStream } from '../../src/collect/decode.ts'
import { ColdtrailError } from '../../src/core/errors.ts'
import { openCatalog } from '../../src/store/catalog.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { type Fault, type VerifyOptions, verifyStore } from '../../src/store/verify.ts'
import { type SampleEvent, SampleStore } from '../support/sampleStore.ts'

const unlimited = { maxBytes: Number.MAX_SAFE_INTEGER, maxRatio: Number.MAX_SAFE_INTEGER }
const decode = async (received: AsyncIterable<Uint8Array>, size: number) =>
  (await decodeStream(received, size, unlimited)).decoded

const events = (count: number): SampleEvent[] =>
  Array.from({ length: count }, (_, i) => ({
    time: 1_688_947_200_000_000 + i * 1e6,
    columns: { api_operation: `Operation${i % 7}`, src_endpoint_ip: `10.0.0.${i % 200}` },
  }))

/** Two segments with keysets and one without, and a copy of their files to go back to. */
let store: SampleStore
let copy: string
before(async () => {
  store = await SampleStore.create()
  const keyset = loadKeysetKey(store.dataDir, '2023')
  const reject = Buffer.from('{"half":')
  await store.seal(
    [
      { key: 'a/one.gz', events: events(90), codec: 'gzip' },
      { key: 'a/empty', events: [] },
    ],
    { keyset },
  )
  await store.seal([{ key: 'b/two', events: events(40), rejects: [reject] }], { keyset })
  await store.seal([
    { key: 'c/three', events: events(10) },
    { key: 'c/four.gz', events: events(25), codec: 'gzip' },
  ])
  copy = `${store.dataDir}-copy`
  for (const folder of VOUCHED) cpSync(join(store.dataDir, folder), join(copy, folder), { recursive: true })
})
after(async () => {
  await store.remove()
  rmSync(copy, { recursive: true })
})

const VOUCHED = ['collections', 'history', 'keys']

async function verified(options: Partial<VerifyOptions> = {}) {
  const { catalog, dataDir } = store
  const faults: Fault[] = []
  const orphans: string[] = []
  const summary = await verifyStore({
    ...{ catalog, dataDir, decode },
    onFault: (fault) => faults.push(fault),
    onOrphan: (file) => orphans.push(relative(dataDir, file)),
    ...options,
  })
  assert.deepEqual([summary.faults, summary.orphans], [faults.length, orphans.length])
  const files = [...new Set(faults.map(({ file }) => relative(options.dataDir ?? dataDir, file)))].sort()
  return { summary, faults, files, orphans }
}

/** What verify finds after damage to files, which is then undone. */
async function damaged(names: readonly string[], damage: () => void) {
  damage()
  try {
    return await verified()
  } finally {
    for (const name of names) {
      rmSync(path(name), { force: true })
      if (existsSync(join(copy, name))) cpSync(join(copy, name), path(name))
    }
  }
}

const path = (name: string): string => join(store.dataDir, name)
const MAIN = 'collections/main'
const HISTORY = 'history/main'

/** All but private keys, which vouch for nothing that was kept. */
const vouched = (): string[] =>
  readdirSync(copy, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(copy, join(entry.parentPath, entry.name)))
    .filter((name) => !name.endsWith('.key'))
    .sort()

test('a store as it was committed has no fault', async () => {
  const seen: number[] = []
  const { summary, faults, orphans } = await verified({ onProgress: ({ bytes }) => seen.push(bytes) })
  assert.deepEqual([faults, orphans], [[], []])
  const { segments, objects, links } = summary
  assert.deepEqual([segments, objects, links], [3, 5, 3])
  assert.equal(summary.files, vouched().length)
  assert.equal(seen.at(-1), summary.bytes)
})

test('a byte changed anywhere in any file names that file and no other', async () => {
  const names = vouched()
  for (const kind of ['.link', '.pub', '.ledger', 'manifests.ndjson', '.manifest', '.pack', 'values.parquet'])
    assert.ok(names.some((name) => name.endsWith(kind)))
  for (const kind of ['meta-', 'session-', 'reject-', 'keyset-', 'keyset.ks'])
    assert.ok(names.some((name) => name.includes(kind)))
  for (const name of names) {
    const bytes = readFileSync(path(name))
    const [at, mask] = fc.sample(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })), 1)[0]!
    bytes[at]! ^= mask
    const { files, faults } = await damaged([name], () => writeFileSync(path(name), bytes))
    assert.deepEqual(files, [name], `byte ${at} xor ${mask}: ${JSON.stringify(faults)}`)
  }
})

test('a missing, a truncated and a lengthened file are named', async () => {
  // Of each kind of file the one of the last segment; the last link is what only the catalog can miss.
  const kinds = new Map(vouched().map((name) => [name.replace(/\d{9}/g, 'N'), name]))
  for (const [, name] of kinds) {
    const missing = await damaged([name], () => rmSync(path(name)))
    assert.deepEqual([missing.files, missing.faults.map(({ fault }) => fault)], [[name], ['missing']])
    const bytes = readFileSync(path(name))
    const truncated = await damaged([name], () => writeFileSync(path(name), bytes.subarray(0, -1)))
    assert.deepEqual(truncated.files, [name])
    const longer = await damaged([name], () => writeFileSync(path(name), Buffer.concat([bytes, Buffer.from('x')])))
    // What follows the last line of the log is what a crash leaves, and is passed over.
    assert.deepEqual(longer.files, name.endsWith('.ndjson') ? [] : [name])
  }
})

test('files that were exchanged are named, and objects in a damaged pack', async () => {
  const manifest = (number: number) => `${MAIN}/meta-00000000${number}.parquet.manifest`
  const exchanged = await damaged([manifest(1), manifest(2)], () => {
    renameSync(path(manifest(1)), path('x'))
    renameSync(path(manifest(2)), path(manifest(1)))
    renameSync(path('x'), path(manifest(2)))
  })
  assert.deepEqual(exchanged.files, [manifest(1), manifest(2)])

  const pack = `${MAIN}/log-000000003.pack`
  const bytes = readFileSync(path(pack))
  bytes[bytes.length - 20]! ^= 1
  const { faults } = await damaged([pack], () => writeFileSync(path(pack), bytes))
  assert.deepEqual(
    faults.map(({ fault, object, segment }) => [fault, object, segment]),
    [
      ['damaged', undefined, 3],
      ['damaged', 'c/four.gz', 3],
    ],
  )
})

test('what nobody committed is told and is no fault', async () => {
  const strangers = [
    `${MAIN}/meta-000000099.parquet`,
    `${MAIN}/meta-000000001.parquet.tmp`,
    `${MAIN}/index-000000001/extra`,
    `${HISTORY}/session-000000099.ledger`,
    `${HISTORY}/chain/000000004.link`,
  ]
  const { faults, orphans } = await damaged(strangers, () => {
    for (const name of strangers) writeFileSync(path(name), 'x')
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(orphans.sort(), strangers.sort())
})

test('a catalog that says other things than the chain is named', async () => {
  const dataDir = `${copy}-catalog`
  for (const change of [
    'UPDATE segments SET row_count = row_count + 1 WHERE segment = 1',
    "UPDATE files SET sha256 = '00' WHERE name = 'meta-000000001.parquet'",
    "UPDATE files SET manifest = '{}' WHERE name = 'meta-000000001.parquet'",
  ]) {
    cpSync(store.dataDir, dataDir, { recursive: true })
    const database = new DatabaseSync(join(dataDir, 'catalog.db'))
    database.exec(change)
    database.close()
    const catalog = await openCatalog({ dataDir })
    try {
      const { files } = await verified({ catalog, dataDir })
      assert.deepEqual(files, ['catalog.db'])
    } finally {
      await catalog.close()
      rmSync(dataDir, { recursive: true })
    }
  }
})

test('a key of keysets that is damaged is named', async () => {
  const name = 'keys/keyset-2023.key'
  const text = readFileSync(path(name), 'utf8').replace('"id":"', '"id":"f')
  const { files } = await damaged([name], () => writeFileSync(path(name), text))
  assert.deepEqual(files, [name])
})

test('an object that its codec does not undo is named, and an interruption ends it', async () => {
  const refuse: VerifyOptions['decode'] = async () => {
    throw new Error('no such codec')
  }
  const { faults } = await verified({ decode: refuse })
  assert.equal(faults.length, 5)
  assert.ok(faults.every(({ fault, detail }) => fault === 'inconsistent' && detail.includes('no such codec')))
  const stop = new AbortController()
  stop.abort()
  await assert.rejects(
    verified({ signal: stop.signal }),
    (error) => error instanceof ColdtrailError && error.code === 'E_INTERRUPTED',
  )
})

test('after a compaction: objects lie in packs of segments that were replaced', async () => {
  const other = await SampleStore.create()
  const { catalog, dataDir, owner } = other
  const check = () => verified({ catalog, dataDir })
  try {
    const parts = [
      await other.seal([{ key: 'a', events: events(30) }]),
      await other.seal([{ key: 'b', events: events(20) }]),
    ]
    const segment = await catalog.draw(owner, 'segment', 1)
    const place = { segment, collection: 'main', directory: catalog.collectionDirectory('main') }
    const { format, day } = parts[0]!
    const merged = await mergeSegments({ ...place, inputs: parts, format, day, producer: 'coldtrail/test' })
    await catalog.commitReplace(
      owner,
      merged,
      parts.map((part) => part.segment),
    )
    assert.deepEqual((await check()).faults, [])
    await catalog.sweep({ graceMs: 0 })
    const { summary, faults, orphans } = await check()
    assert.deepEqual([summary.segments, summary.objects, faults, orphans], [1, 2, [], []])

    const pack = join(dataDir, MAIN, 'log-000000002.pack')
    const bytes = readFileSync(pack)
    bytes[30]! ^= 1
    writeFileSync(pack, bytes)
    const log = join(dataDir, HISTORY, 'manifests.ndjson')
    writeFileSync(log, readFileSync(log, 'utf8').replace('"replaced":[1,2]', '"replaced":[1,3]'))
    assert.deepEqual(
      (await check()).faults.map(({ file, object }) => [relative(dataDir, file), object]),
      [
        [`${HISTORY}/manifests.ndjson`, undefined],
        [`${MAIN}/log-000000002.pack`, undefined],
        [`${MAIN}/log-000000002.pack`, 'b'],
      ],
    )
  } finally {
    await other.remove()
  }
})
