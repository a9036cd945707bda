/** What is written is read again: by our reader, and by the system's tar. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { openBundle } from '../../../src/sync/bundle/bundleReader.ts'
import { sampleBundle, sampleSite, scratchPlace } from '../../support/sampleBundle.ts'

const open = (path: string, place: string, identities: readonly string[] = []) =>
  openBundle(path, { scratch: join(place, 'scratch'), identities })

test('P23: the name has the date in UTC; every entry is read by itself, and all together are exactly the file', async () => {
  const place = scratchPlace()
  const written = await sampleBundle(place)
  assert.deepEqual(written.files, [join(place, 'out/tqSync-19-01-16-1547660837-8345.tar.gz')])
  assert.equal(written.bytes, statSync(written.files[0]!).size)
  const bundle = await open(written.files[0]!, place)
  assert.equal(bundle.manifestSha256, written.manifestSha256)
  assert.deepEqual(bundle.manifest, written.manifest)
  assert.deepEqual(
    bundle.manifest.entries.map(({ path, rows }) => [path, rows]),
    [
      ['data/indicator_types-1.csv', 1],
      ['data/indicators-1.csv', 2],
      ['data/indicators-2.csv', 1],
      ['deleted/indicators-1.csv', 1],
      [`blobs/${bundle.manifest.entries[4]!.sha256}`, undefined],
      ['report.txt', undefined],
    ],
  )
  let seen = 0
  await bundle.verify({ records: true, onProgress: ({ bytes }) => (seen = bytes) })
  assert.equal(seen, bundle.manifest.totals.bytes)
  assert.match((await bundle.read(bundle.manifest.entries[1]!)).toString(), /\nhost|,host1\.example,/)
  assert.equal((await bundle.read(bundle.manifest.entries[5]!)).toString(), 'All of it.\n')
  assert.deepEqual(readdirSync(join(place, 'work')), [], 'nothing temporary is left')
  await bundle.close()
})

test('the system can read it: gzip of many members, ustar', (context) => {
  if (spawnSync('tar', ['--version']).status !== 0) return context.skip('no tar here')
  return sampleBundle(scratchPlace()).then((written) => {
    const [path] = written.files
    const names = execFileSync('tar', ['-tzf', path!], { encoding: 'utf8' }).trim().split('\n')
    assert.deepEqual(names, ['manifest.json', 'manifest.sig', ...written.manifest.entries.map((entry) => entry.path)])
    const target = scratchPlace()
    const { stderr, status } = spawnSync('tar', ['-xzf', path!, '-C', target], { encoding: 'utf8' })
    assert.deepEqual([status, stderr], [0, ''])
    assert.deepEqual(JSON.parse(readFileSync(join(target, 'manifest.json'), 'utf8')), written.manifest)
    assert.equal(readFileSync(join(target, 'report.txt'), 'utf8'), 'All of it.\n')
    assert.equal(statSync(join(target, 'report.txt')).mtime.toISOString(), '2019-01-16T17:47:17.000Z')
    assert.equal(gunzipSync(readFileSync(path!)).length % 512, 0)
  })
})

test('a content larger than a piece is streamed both ways, whatever its length, and the bytes do not depend on threads', async () => {
  const site = sampleSite()
  for (const length of [0, 1, 511, 512, 513, 1024 * 1024 - 512, 1024 * 1024, 3 * 1024 * 1024 + 7]) {
    const place = scratchPlace()
    const blob = Buffer.concat([randomBytes(Math.ceil(length / 2)), Buffer.alloc(Math.floor(length / 2), 'ab')])
    const one = await sampleBundle(place, { blob, site, threads: 1 })
    const bytes = readFileSync(one.files[0]!)
    const bundle = await open(one.files[0]!, place)
    await bundle.verify()
    const pieces: Buffer[] = []
    for await (const piece of bundle.stream(bundle.manifest.entries[4]!)) pieces.push(piece)
    assert.ok(Buffer.concat(pieces).equals(blob), `${length} bytes`)
    assert.ok(pieces.every((piece) => piece.length <= 1024 * 1024))
    await bundle.close()
    const four = await sampleBundle(place, { blob, site, threads: 4 })
    assert.ok(readFileSync(four.files[0]!).equals(bytes))
  }
})

test('what inspect throws leaves no bundle', async () => {
  const place = scratchPlace()
  const finish = {
    inspect: async (bundle: { verify(): Promise<void> }) => {
      await bundle.verify()
      throw new Error('a secret is in it')
    },
  }
  await assert.rejects(() => sampleBundle(place, { finish }), /a secret/)
  assert.deepEqual(readdirSync(join(place, 'work')), [])
  assert.throws(() => readdirSync(join(place, 'out')), /ENOENT/)
})

test('a pipe in the place of a bundle is refused, not waited for', async (context) => {
  const place = scratchPlace()
  const path = join(place, 'x.tar.gz')
  if (spawnSync('mkfifo', [path]).status !== 0) return context.skip('no pipes here')
  await assert.rejects(() => open(path, place), { code: 'E_FILE_READ' })
})

test('a file that is not its digest, or grows, goes into no bundle', async () => {
  const place = scratchPlace()
  const { createBundleWriter } = await import('../../../src/sync/bundle/bundleWriter.ts')
  const writer = createBundleWriter({ directory: place, name: 'tqSync-19-01-16-1547660837-1' })
  writeFileSync(join(place, 'blob'), 'other')
  await assert.rejects(() => writer.addBlob('0'.repeat(64), join(place, 'blob')), { code: 'E_BLOB_DIGEST' })
  await assert.rejects(() => writer.addReport('report.txt', 'x'), { code: 'E_BLOB_DIGEST' }, 'there is no bundle now')
  writer.discard()
  assert.deepEqual(readdirSync(place), ['blob'])
})

test('L20: parts of a size are joined whatever their names, from any of them', async () => {
  const place = scratchPlace()
  const blob = randomBytes(300_000)
  const written = await sampleBundle(place, { blob, finish: { splitSize: 65_536 } })
  assert.equal(written.files.length, 5)
  assert.ok(written.files.every((path) => statSync(path).size <= 65_536))
  assert.match(written.files[0]!, /8345\.tar\.gz\.part01$/)
  for (const path of [...written.files, written.files[0]!.replace(/\.part01$/, '')]) {
    const bundle = await open(path, place)
    assert.equal(bundle.parts, 5)
    await bundle.verify()
    await bundle.close()
  }
  const [first, second] = written.files as [string, string]
  renameSync(first, `${first}.x`)
  renameSync(second, first)
  renameSync(`${first}.x`, second)
  const bundle = await open(first, place)
  await bundle.verify({ records: true })
  await bundle.close()
})

test('S5: encrypted to recipients, in parts too; nothing plain is left', async () => {
  const place = scratchPlace()
  const identities = await Promise.all([generateIdentity(), generateIdentity(), generateIdentity()])
  const [first, second] = await Promise.all(identities.map((identity) => identityToRecipient(identity)))
  mkdirSync(join(place, 'keys'))
  const files = identities.map((identity, i) => {
    const path = join(place, 'keys', `${i}.txt`)
    writeFileSync(path, `# created: today\n${identity}\n`)
    return path
  })
  writeFileSync(join(place, 'recipients.txt'), `# the other site\n${second}\n`)
  const recipients = [first!, join(place, 'recipients.txt')]
  for (const splitSize of [undefined, 65_536]) {
    const blob = randomBytes(200_000)
    const { files: paths } = await sampleBundle(place, { blob, finish: { recipients, splitSize } })
    assert.match(basename(paths[0]!), splitSize ? /\.tar\.gz\.age\.part01$/ : /\.tar\.gz\.age$/)
    for (const identity of files.slice(0, 2)) {
      const bundle = await open(paths[0]!, place, [identity])
      assert.ok(bundle.encrypted)
      assert.deepEqual(readdirSync(join(place, 'scratch')), [])
      await bundle.verify({ records: true })
      await bundle.close()
    }
    await assert.rejects(() => open(paths[0]!, place, [files[2]!]), { code: 'E_BUNDLE_ENCRYPTED' })
    await assert.rejects(() => open(paths[0]!, place), { code: 'E_BUNDLE_ENCRYPTED' })
    await assert.rejects(() => open(paths[0]!, place, [join(place, 'recipients.txt')]), { code: 'E_BUNDLE_ENCRYPTED' })
  }
  await assert.rejects(() => sampleBundle(place, { finish: { recipients: ['age1qqqq'] } }), {
    code: 'E_SYNC_RECIPIENT',
  })
  await assert.rejects(() => sampleBundle(place, { finish: { recipients: ['bob'] } }), { code: 'E_SYNC_RECIPIENT' })
  await assert.rejects(() => sampleBundle(place, { finish: { splitSize: 1_000 } }), { code: 'E_USAGE' })
})
