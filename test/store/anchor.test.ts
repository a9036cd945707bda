import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { decodeStream } from '../../src/collect/decode.ts'
import { type Anchor, parseAnchor, readAnchor, signAnchor } from '../../src/store/anchor.ts'
import { openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { FIRST_PREV, parseLink, sha256, signLink } from '../../src/store/chain.ts'
import { mergeSegments } from '../../src/store/compact.ts'
import { loadPublicKeys, loadSigningKey, type PublicKeys, pinnedKeys } from '../../src/store/signingKeys.ts'
import { type Fault, verifyStore } from '../../src/store/verify.ts'
import { verifyOffline } from '../../src/store/verifyOffline.ts'
import { collectObjects, fakeObject } from '../support/fakeSegment.ts'
import { type Dialect, withFreshCatalog } from '../support/freshCatalog.ts'
import { SampleStore } from '../support/sampleStore.ts'

const folders: string[] = []
const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'coldtrail-anchor-'))
  folders.push(path)
  return path
}
after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

for (const dialect of ['sqlite', 'postgres'] as const satisfies readonly Dialect[])
  test(`${dialect}: the file follows every commit, and is never overwritten once it knows more`, async () => {
    const path = join(folder(), 'second-place.anchor')
    await withFreshCatalog(dialect, folders, async (first, options) => {
      await first.close()
      const catalog = await openCatalog({ ...options, anchor: path })
      try {
        const keys = loadPublicKeys(options.dataDir)
        const owner = await catalog.owner('collect')
        for (const [at, collection] of ['main', 'main', 'other'].entries()) {
          await collectObjects(catalog, owner, [fakeObject(`o${at}`)], collection)
          const { chains } = readAnchor(path, keys)
          assert.equal(chains.find((head) => head.collection === collection)?.number, await catalog.head(collection))
        }
        const { chains } = readAnchor(path, keys)
        assert.deepEqual(
          chains.map(({ collection, number, segments }) => [collection, number, segments]),
          [
            ['main', 2, 2],
            ['other', 1, 1],
          ],
        )
        for (const { collection, number, hash } of chains) {
          const [report] = await catalog.verifyChain(collection)
          assert.equal(report!.links.find(({ link }) => link.number === number)?.hash, hash)
        }
        const before = readFileSync(path)
        await catalog.repairDerived()
        assert.deepEqual(readFileSync(path), before, 'nothing new, nothing written')

        const ahead = signAnchor({ time: 1, chains: [{ ...chains[0]!, number: 9 }] }, loadSigningKey(options.dataDir))
        writeFileSync(path, ahead)
        const { historyError, sequence } = (await collectObjects(catalog, owner, [fakeObject('o9')])) as {
          historyError?: { code: string }
          sequence: number
        }
        assert.deepEqual([sequence, historyError?.code], [3, 'E_ANCHOR_AHEAD'])
        assert.deepEqual(readFileSync(path), ahead)
        await assert.rejects(catalog.writeAnchor(path), { code: 'E_ANCHOR_AHEAD' })
        await assert.rejects(catalog.writeAnchor(join(path, 'below/a/file')), { code: /^E_/ })
      } finally {
        await catalog.close()
      }
    })
  })

describe('against an anchor and a public key from another place', () => {
  let store: SampleStore
  let anchorPath: string
  let keyPath: string
  let anchor: Anchor
  let keys: PublicKeys
  const unlimited = { maxBytes: Number.MAX_SAFE_INTEGER, maxRatio: Number.MAX_SAFE_INTEGER }

  before(async () => {
    store = await SampleStore.create()
    const events = Array.from({ length: 5 }, (_, i) => ({
      time: 1_688_947_200_000_000 + i,
      columns: { api_operation: `a${i}` },
    }))
    const parts = []
    for (const key of ['a', 'b', 'c']) parts.push(await store.seal([{ key, events }]))
    const { catalog, owner } = store
    const segment = await catalog.draw(owner, 'segment', 1)
    const place = { collection: 'main', directory: catalog.collectionDirectory('main'), segment }
    const inputs = parts.slice(0, 2)
    const facts = { format: 'json_lines', day: '2023-07-10', producer: 'test' }
    const merged = await mergeSegments({ inputs, ...place, ...facts })
    await catalog.commitReplace(
      owner,
      merged,
      inputs.map(({ segment }) => segment),
    )
    const elsewhere = folder()
    anchorPath = join(elsewhere, 'anchor')
    keyPath = join(elsewhere, 'key')
    await catalog.writeAnchor(anchorPath)
    const [name] = readdirSync(join(store.dataDir, 'keys')).filter((name) => name.endsWith('.pub'))
    cpSync(join(store.dataDir, 'keys', name!), keyPath)
    keys = pinnedKeys([keyPath])
    anchor = readAnchor(anchorPath, keys)
    await store.seal([{ key: 'd', events }])
    await catalog.sweep({ graceMs: 0 })
  })
  after(() => store.remove())

  /** A copy of what an offline check looks at, damaged. */
  async function offline(damage: (dataDir: string) => void = () => undefined, trusted = keys) {
    const dataDir = folder()
    for (const name of ['collections', 'history'])
      cpSync(join(store.dataDir, name), join(dataDir, name), { recursive: true })
    damage(dataDir)
    const faults: Fault[] = []
    const summary = await verifyOffline({
      ...{ dataDir, historyDir: join(dataDir, 'history'), keys: trusted },
      anchor: { path: anchorPath, anchor },
      onFault: (fault) => faults.push(fault),
    })
    assert.equal(summary.faults, faults.length)
    return {
      summary,
      faults: faults.map(({ file, fault }) => [relative(dataDir, file), fault]),
      details: faults.map(({ detail }) => detail),
    }
  }
  const link = (number: number): string => `history/main/chain/00000000${number}.link`
  const remove =
    (...names: string[]) =>
    (dataDir: string) => {
      for (const name of names) rmSync(join(dataDir, name), { recursive: true })
    }
  const flip = (name: string) => (dataDir: string) => {
    const bytes = readFileSync(join(dataDir, name))
    bytes[bytes.length - 40]! ^= 1
    writeFileSync(join(dataDir, name), bytes)
  }

  test('nothing is at fault, and files that are not here are offline', async () => {
    const { summary, faults } = await offline()
    assert.deepEqual(faults, [])
    // Two live segments as they were sealed, one merged of two whose packs stay.
    const { links, segments, files, offline: away } = summary
    assert.deepEqual([links, segments, files, away], [5, 3, 4 + 4 + 3 + 2, 0])
    const gone = await offline(remove('collections/main/meta-000000003.parquet'))
    assert.deepEqual([gone.faults, gone.summary.offline], [[], 1])
    const historyOnly = await verifyOffline({ historyDir: join(store.dataDir, 'history'), keys })
    assert.deepEqual([historyOnly.faults, historyOnly.files, historyOnly.links], [0, 0, 5])
  })

  test('a cut tail, a hole, a chain written anew, another key, each damaged file is named', async () => {
    assert.deepEqual((await offline(remove(link(5)))).faults, [], 'the anchor is older')
    const cut = await offline(remove(link(4), link(5)))
    assert.deepEqual(cut.faults, [[link(4), 'missing']])
    assert.match(cut.details[0]!, /the anchor knows 4 links, the chain ends at 3/)
    assert.deepEqual((await offline(remove(link(3)))).faults, [[link(3), 'missing']])
    assert.deepEqual((await offline(flip(link(2)))).faults, [[link(2), 'damaged']])
    for (const name of [
      'collections/main/meta-000000004.parquet',
      'collections/main/index-000000003/values.parquet',
      'collections/main/log-000000001.pack',
      'collections/main/session-000000003.parquet.manifest',
      'history/main/session-000000003.ledger',
    ])
      assert.deepEqual((await offline(flip(name))).faults, [[name.replace('/values.parquet', ''), 'damaged']], name)
    const gone = await offline(remove('history/main'))
    assert.deepEqual(gone.faults, [[link(4), 'missing']])
    const noLinks = await offline(remove('history/main/chain'))
    assert.deepEqual(
      noLinks.faults.map(([, fault]) => fault),
      ['missing', 'missing'],
    )

    const strange = folder()
    const { id } = loadSigningKey(strange)
    const foreign = await offline(undefined, pinnedKeys([join(strange, 'keys', `sign-${id}.pub`)]))
    assert.deepEqual(foreign.faults.length, 5)

    // Somebody who has the signing key and the time: every link follows, is signed, and is another.
    const rewritten = await offline((dataDir) =>
      rewriteChain(join(dataDir, 'history/main/chain'), loadSigningKey(store.dataDir)),
    )
    assert.deepEqual(rewritten.faults, [[link(4), 'damaged']])
    assert.match(rewritten.details[0]!, /written anew/)
  })

  test('the check with the catalog takes the anchor too', async () => {
    const faults: Fault[] = []
    const options = {
      ...{ catalog: store.catalog, dataDir: store.dataDir, onFault: (fault: Fault) => faults.push(fault) },
      decode: async (received: AsyncIterable<Uint8Array>, size: number) =>
        (await decodeStream(received, size, unlimited)).decoded,
    }
    await verifyStore({ ...options, anchor: { path: anchorPath, anchor } })
    assert.deepEqual(faults, [])
    const [head] = anchor.chains
    await verifyStore({ ...options, anchor: { path: 'a', anchor: { ...anchor, chains: [{ ...head!, number: 6 }] } } })
    await verifyStore({ ...options, anchor: { path: 'a', anchor: { ...anchor, chains: [{ ...head!, segments: 9 }] } } })
    assert.deepEqual(
      faults.map(({ file, fault }) => [relative(store.dataDir, file), fault]),
      [
        [link(6), 'missing'],
        [link(4), 'damaged'],
      ],
    )
  })

  test('what is no anchor, or nobody signed, is refused', () => {
    const bytes = readFileSync(anchorPath)
    const refused = (change: (fields: Record<string, unknown>) => void, code: string) => {
      const fields = JSON.parse(bytes.toString())
      change(fields)
      const path = join(folder(), 'changed')
      writeFileSync(path, JSON.stringify(fields))
      assert.throws(() => readAnchor(path, keys), { code })
    }
    refused((fields) => Object.assign(fields, { time: 1 }), 'E_ANCHOR_SIGNATURE')
    refused((fields) => Object.assign(fields, { key: 'f'.repeat(16) }), 'E_ANCHOR_SIGNATURE')
    refused((fields) => Object.assign(fields, { v: 2 }), 'E_ANCHOR_FORMAT')
    refused((fields) => Object.assign(fields, { chains: [null] }), 'E_ANCHOR_FORMAT')
    refused((fields) => Object.assign(fields, { chains: [{ ...anchor.chains[0], hash: 'x' }] }), 'E_ANCHOR_FORMAT')
    for (const text of ['', 'null', '[]', '{"v":1}', '\0'])
      assert.throws(() => parseAnchor(Buffer.from(text), 'x'), { code: 'E_ANCHOR_FORMAT' }, text)
    assert.throws(() => readAnchor(join(folder(), 'none'), keys), { code: 'E_FILE_READ' })
    const privateKey = readdirSync(join(store.dataDir, 'keys')).find((name) => /^sign-.*\.key$/.test(name))!
    assert.throws(() => pinnedKeys([join(store.dataDir, 'keys', privateKey)]), { code: 'E_PUBLIC_KEY' })
    assert.throws(() => pinnedKeys([anchorPath]), { code: 'E_PUBLIC_KEY' })
    assert.throws(() => pinnedKeys([join(folder(), 'none')]), { code: 'E_FILE_READ' })
  })

  test('a rebuilt catalog goes on with the anchor', async () => {
    const dataDir = folder()
    for (const name of ['collections', 'history', 'keys'])
      cpSync(join(store.dataDir, name), join(dataDir, name), { recursive: true })
    await rebuildCatalog({ dataDir })
    const catalog = await openCatalog({ dataDir, anchor: anchorPath })
    await catalog.repairDerived()
    await catalog.close()
    assert.equal(readAnchor(anchorPath, keys).chains[0]!.number, 5)
    writeFileSync(anchorPath, signAnchor(anchor, loadSigningKey(store.dataDir)))
  })
})

/** The same links with other times, signed anew. */
function rewriteChain(directory: string, key: ReturnType<typeof loadSigningKey>): void {
  let prev = FIRST_PREV
  for (const name of readdirSync(directory).sort()) {
    const { v: _v, key: _key, sig: _sig, ...link } = parseLink(readFileSync(join(directory, name)), name)
    const bytes = signLink({ ...link, time: link.time + 1, prev }, key)
    writeFileSync(join(directory, name), bytes)
    prev = sha256(bytes)
  }
}
