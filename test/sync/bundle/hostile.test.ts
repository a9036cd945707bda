/**
 * Bundles from somebody else: each attack of the specification (S1–S4, S10, T3) is refused with its reason, by who has no
 * key and, where he could do more, by who has one.
 */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { TAR_END, tarHeader, tarPadding } from '../../../src/core/tarHeader.ts'
import { openBundle } from '../../../src/sync/bundle/bundleReader.ts'
import {
  type BundleEntry,
  type BundleManifest,
  canonicalBytes,
  MANIFEST_DOMAIN,
  serializeSignatures,
  sha256Hex,
} from '../../../src/sync/bundle/manifest.ts'
import { deflatedMember, storedMember } from '../../../src/sync/bundle/members.ts'
import { fuzzBundles } from '../../support/fuzzBundles.ts'
import { sampleBundle, sampleSite, scratchPlace } from '../../support/sampleBundle.ts'

const site = sampleSite()
const place = scratchPlace()
const { files, manifest } = await sampleBundle(place, { site })
const sound = readFileSync(files[0]!)
const MTIME = 1547660837

/** Everything that a reader does with a file, and what it says of it. */
async function verdict(bytes: Buffer, name = 'hostile.tar.gz'): Promise<string> {
  const path = join(place, name)
  writeFileSync(path, bytes)
  try {
    const bundle = await openBundle(path, { scratch: join(place, 'scratch') })
    try {
      await bundle.verify({ records: true })
      for (const entry of bundle.manifest.entries) if (entry.op !== 'blob') await bundle.read(entry)
    } finally {
      await bundle.close()
    }
    return 'taken'
  } catch (error) {
    assert.ok(error instanceof ColdtrailError, (error as Error).stack)
    const { entry, offset, reason } = error.values
    return [error.code, entry, offset, reason ?? error.message].filter((part) => part !== undefined).join(' ')
  } finally {
    rmSync(path)
  }
}

interface Parts {
  manifest: BundleManifest
  /** Members of each entry. */
  members: Buffer[]
  end: Buffer
}

const membersOf = (given: BundleManifest): Buffer[] => {
  let at = sound.length - storedMember(TAR_END).length - given.entries.reduce((sum, { zbytes }) => sum + zbytes, 0)
  return given.entries.map(({ zbytes }) => {
    const bytes = sound.subarray(at, at + zbytes)
    at += zbytes
    return bytes
  })
}

const stored = (path: string, bytes: Buffer, header = tarHeader(path, bytes.length, MTIME)): Buffer =>
  storedMember(Buffer.concat([header, bytes, Buffer.alloc(tarPadding(bytes.length))]))

/** As somebody with the key would make it. */
function signed({ manifest: given, members, end }: Parts, header?: Buffer): Buffer {
  const bytes = canonicalBytes(given)
  const signature = site.signer.sign(Buffer.concat([Buffer.from(MANIFEST_DOMAIN), bytes]))
  const signatures = serializeSignatures([{ key: site.signer.id, signature }])
  return Buffer.concat([stored('manifest.json', bytes, header), stored('manifest.sig', signatures), ...members, end])
}

const parts = (): Parts => ({ manifest, members: membersOf(manifest), end: storedMember(TAR_END) })

/** An entry that is in itself what the manifest says of it. */
async function entryOf(
  fields: Omit<BundleEntry, 'bytes' | 'zbytes' | 'sha256' | 'zsha256'>,
  bytes: Buffer,
  header?: Buffer,
) {
  const plain = Buffer.concat([
    header ?? tarHeader(fields.path, bytes.length, MTIME),
    bytes,
    Buffer.alloc(tarPadding(bytes.length)),
  ])
  const member = await deflatedMember(plain)
  const sums = { bytes: bytes.length, zbytes: member.length, sha256: sha256Hex(bytes), zsha256: sha256Hex(member) }
  return { entry: { ...fields, ...sums } as BundleEntry, member }
}

/** The sample with another entry at the end, or in the place of one. */
async function withEntry(made: { entry: BundleEntry; member: Buffer }, at = manifest.entries.length): Promise<Buffer> {
  const { members, end } = parts()
  const entries = [...manifest.entries]
  entries[at] = made.entry
  members[at] = made.member
  return signed({ manifest: withTotals({ ...manifest, entries }), members, end })
}

function withTotals(given: BundleManifest): BundleManifest {
  const sum = (op: string) => given.entries.reduce((all, entry) => all + (entry.op === op ? (entry.rows ?? 0) : 0), 0)
  const bytes = given.entries.reduce((all, entry) => all + entry.bytes, 0)
  const blobs = given.entries.filter(({ op }) => op === 'blob').length
  return { ...given, totals: { rows: sum('rows'), deleted: sum('deleted'), blobs, bytes } }
}

const withManifest = (changed: Partial<Record<keyof BundleManifest, unknown>>): Buffer =>
  signed({ ...parts(), manifest: { ...manifest, ...changed } as BundleManifest })

test('the sample is taken, and made again from its parts it is the same file', async () => {
  assert.equal(await verdict(sound), 'taken')
  assert.ok(signed(parts()).equals(sound))
})

test('T3: one byte changed anywhere is refused', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(sound.length - 1), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
      const bytes = Buffer.from(sound)
      bytes[at]! ^= bits
      assert.match(await verdict(bytes), /^E_BUNDLE_(DAMAGED|KEY|VERSION) /)
    }),
    { numRuns: 400 },
  )
})

test('T3: every bit of header, signature and member edges, and each byte of the first and last hundred', async () => {
  const edges = new Set<number>()
  let at = sound.length - storedMember(TAR_END).length
  for (const { zbytes } of [...manifest.entries].reverse()) {
    for (let i = -9; i < 12; i++) edges.add(at + i)
    at -= zbytes
  }
  for (let i = 0; i < 100; i++) edges.add(i).add(sound.length - 1 - i)
  for (const place of edges) {
    for (const bit of [1, 128]) {
      const bytes = Buffer.from(sound)
      bytes[place]! ^= bit
      assert.match(await verdict(bytes), /^E_BUNDLE_(DAMAGED|KEY|VERSION) /, `byte ${place}`)
    }
  }
})

test('damage of every kind, and manifests changed and signed again, are refused by name (npm run soak -- bundles)', async () => {
  const { details, refused, bundles } = await fuzzBundles({ bundles: 600, seed: 4 })
  assert.deepEqual(details, [])
  assert.equal(bundles, 600)
  assert.ok(refused.E_BUNDLE_DAMAGED! > 300)
})

test('truncation at any place is named, and so is anything behind the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(sound.length - 1), async (length) => {
      assert.match(await verdict(sound.subarray(0, length)), /^E_BUNDLE_DAMAGED .*(cut off|is not there)/)
    }),
    { numRuns: 100 },
  )
  assert.match(await verdict(sound.subarray(0, -1)), /^E_BUNDLE_DAMAGED the end .* it has \d+ of \d+ bytes$/)
  assert.match(
    await verdict(Buffer.concat([sound, Buffer.from([0])])),
    /the end \d+ 1 bytes follow that belong to nothing/,
  )
  assert.match(await verdict(Buffer.concat([sound, gzipSync('more')])), /bytes follow that belong to nothing/)
  assert.match(await verdict(Buffer.concat([sound, Buffer.alloc(1_000_000)])), /1000000 bytes follow/)
})

test('what is no bundle at all is refused at its first bytes', async () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('PK\x03\x04'),
    gzipSync('x'.repeat(9_999)),
    gunzipSync(sound),
    Buffer.alloc(9_999),
  ])
    assert.match(await verdict(bytes), /^E_BUNDLE_DAMAGED manifest\.json 0 it is not there: this is no sync bundle/)
})

test('the same archive compressed by another program is not these bytes', async () => {
  assert.match(await verdict(gzipSync(gunzipSync(sound))), /^E_BUNDLE_DAMAGED manifest\.json 0/)
})

test('S1: traversal, absolute paths, Unicode twins and other names are refused, also when they are signed', async () => {
  const names = [
    '../../etc/cron.d/x',
    '/etc/passwd',
    'data/../../x',
    'data/indicators-1.csv/../x',
    'data\\x.csv',
    'blobs/x',
    'data/x-1.csv',
    'data/indicators-01.csv',
    'data/Indicators-3.csv',
    'report.txt/',
    'x'.repeat(101),
    'data/indicators-4.csv',
  ]
  for (const path of names) {
    const fields = { path, op: 'rows', table: 'indicators', rows: 0 } as const
    const made = await entryOf(fields, Buffer.from('id\n'), tarHeader('report.txt', 3, MTIME))
    assert.match(await verdict(await withEntry(made)), /^E_BUNDLE_DAMAGED manifest\.json 0 entries/, path)
  }
  for (const path of [
    'data/indıcators-3.csv',
    'data/indicators-3.csv\u0301',
    'dаta/indicators-3.csv',
    'report.txt\0',
  ]) {
    const fields = { path, op: 'rows', table: 'indicators', rows: 0 } as const
    const made = await entryOf(fields, Buffer.from('id\n'), tarHeader('report.txt', 3, MTIME))
    assert.match(await verdict(await withEntry(made)), /^E_BUNDLE_DAMAGED manifest\.json 0 entries\.6\.path/, path)
  }
})

test('S1: links, devices, long names, other owners and modes: only the one header that must be there is taken', async () => {
  const fields = { path: 'data/indicators-3.csv', op: 'rows', table: 'indicators', rows: 0 } as const
  const content = Buffer.from(`${manifest.columns.indicators!.join(',')}\n`)
  const header = tarHeader(fields.path, content.length, MTIME)
  assert.equal(await verdict(await withEntry(await entryOf(fields, content))), 'taken')
  const changes: [string, (header: Buffer) => void][] = [
    ...['1', '2', '3', '5', 'x', 'g', 'L', 'K', 'S', '\0'].map((type): [string, (h: Buffer) => void] => [
      `type ${JSON.stringify(type)}`,
      (h) => h.write(type, 156, 'latin1'),
    ]),
    ['a link name', (h) => h.write('/etc/passwd', 157, 'latin1')],
    ['setuid', (h) => h.write('0004755', 100, 'latin1')],
    ['an owner', (h) => h.write('root', 265, 'latin1')],
    ['a prefix', (h) => h.write('../..', 345, 'latin1')],
    ['another name', (h) => h.write('data/indicators-9.csv', 0, 'latin1')],
    ['a name that goes on behind its end', (h) => h.write('x', 60, 'latin1')],
    ['another size', (h) => h.write('00000000000', 124, 'latin1')],
    ['another time', (h) => h.write('00000000000', 136, 'latin1')],
    ['GNU magic', (h) => h.write('ustar  \0', 257, 'latin1')],
  ]
  for (const [name, change] of changes) {
    const other = Buffer.from(header)
    change(other)
    // With its sum right.
    other.write('        ', 148, 'latin1')
    const sum = other.reduce((all, byte) => all + byte, 0)
    other.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
    const made = await entryOf(fields, content, other)
    assert.match(
      await verdict(await withEntry(made)),
      /^E_BUNDLE_DAMAGED data\/indicators-3\.csv \d+ its header is not/,
      name,
    )
    const first = Buffer.from(tarHeader('manifest.json', canonicalBytes(manifest).length, MTIME))
    change(first)
    assert.match(await verdict(signed(parts(), first)), /^E_BUNDLE_DAMAGED manifest\.json 0/, name)
  }
})

test('undeclared, missing, doubled and exchanged entries', async () => {
  const { members, end } = parts()
  const stray = stored('data/extra-1.csv', Buffer.from('x'))
  const inserted = signed({ manifest, members: [stray, ...members], end })
  assert.match(await verdict(inserted), /^E_BUNDLE_DAMAGED .* bytes follow that belong to nothing/)
  assert.match(await verdict(signed({ manifest, members: members.slice(1), end })), /^E_BUNDLE_DAMAGED .* cut off/)
  const swapped = [members[1]!, members[0]!, ...members.slice(2)]
  assert.match(
    await verdict(signed({ manifest, members: swapped, end })),
    /^E_BUNDLE_DAMAGED data\/indicator_types-1\.csv/,
  )
  const twice = [manifest.entries[0]!, manifest.entries[0]!, ...manifest.entries.slice(1)]
  const doubled = signed({
    manifest: withTotals({ ...manifest, entries: twice }),
    members: [members[0]!, ...members],
    end,
  })
  assert.match(await verdict(doubled), /data\/indicator_types-1\.csv stands there twice/)
  const entries = [...manifest.entries]
  entries.splice(1, 2, entries[2]!, entries[1]!)
  assert.match(await verdict(withManifest({ entries })), /data\/indicators-2\.csv is no name of this entry/)
})

test('S2: bombs end at the signed size, and sizes that cannot be are refused before anything is read', async () => {
  const fields = { path: 'data/indicators-3.csv', op: 'rows', table: 'indicators', rows: 0 } as const
  const bomb = await entryOf(fields, Buffer.alloc(1024 * 1024 - 512))
  const small = { ...bomb.entry, bytes: 10, sha256: sha256Hex(Buffer.alloc(10)) }
  assert.match(
    await verdict(await withEntry({ entry: small, member: bomb.member })),
    /indicators-3\.csv \d+ it cannot be inflated to what it must be/,
  )
  const claim = (bytes: number, zbytes = bomb.entry.zbytes) =>
    withEntry({ entry: { ...bomb.entry, bytes, zbytes }, member: bomb.member }).then((file) => verdict(file))
  assert.match(await claim(64 * 1024 * 1024 + 1), /is longer than 67108864 bytes/)
  assert.match(await claim(64 * 1024 * 1024), /cannot be 67108864 bytes in \d+/)
  assert.match(await claim(10, 1e9), /cannot be 10 bytes in 1000000000/)
  assert.match(await claim(1e15), /entries\.6\.bytes/)
  assert.match(
    await verdict(withManifest({ totals: { ...manifest.totals, bytes: 1 } })),
    /totals\.bytes: 1 is not the sum/,
  )
})

test('S4: endless data: a member that goes on, or zeros behind it, are not read on', async () => {
  const { members, end } = parts()
  const longer = Buffer.concat([members[1]!, Buffer.alloc(4_096)])
  const entry = { ...manifest.entries[1]!, zbytes: longer.length, zsha256: sha256Hex(longer) }
  const entries = manifest.entries.with(1, entry)
  const file = signed({ manifest: { ...manifest, entries }, members: members.with(1, longer), end })
  assert.match(await verdict(file), /data\/indicators-1\.csv \d+ it ends here, and must have \d+ bytes/)
})

test('a content that is not what the manifest says, though its members are', async () => {
  const made = await entryOf({ path: 'report.txt', op: 'report' }, Buffer.from('All of it!\n'))
  const entries = manifest.entries.with(5, { ...made.entry, sha256: manifest.entries[5]!.sha256 })
  const file = signed({ ...parts(), manifest: { ...manifest, entries }, members: parts().members.with(5, made.member) })
  assert.match(await verdict(file), /report\.txt \d+ its content has not the SHA-256 of the manifest/)
})

test('bytes that hide where nobody looks: padding, a wrong sum of a member', async () => {
  const text = Buffer.from('All of it!')
  const hidden = Buffer.alloc(tarPadding(text.length), 'x')
  const header = tarHeader('report.json', text.length, MTIME)
  const member = await deflatedMember(Buffer.concat([header, text, hidden]))
  const entry = { path: 'report.json', op: 'report', bytes: 10, sha256: sha256Hex(text) } as const
  const sums = (bytes: Buffer) => ({ zbytes: bytes.length, zsha256: sha256Hex(bytes) })
  assert.match(
    await verdict(await withEntry({ entry: { ...entry, ...sums(member) }, member })),
    /its padding is not empty/,
  )
  const wrong = await deflatedMember(Buffer.concat([header, text, Buffer.alloc(hidden.length)]))
  wrong[wrong.length - 8]! ^= 1
  const summed = await verdict(await withEntry({ entry: { ...entry, ...sums(wrong) }, member: wrong }))
  assert.match(summed, /report\.json \d+ it cannot be inflated to what it must be/)

  const { members, end } = parts()
  const bytes = canonicalBytes(manifest)
  const first = storedMember(
    Buffer.concat([
      tarHeader('manifest.json', bytes.length, MTIME),
      bytes,
      Buffer.alloc(tarPadding(bytes.length), 'x'),
    ]),
  )
  const rest = signed({ manifest, members, end }).subarray(stored('manifest.json', bytes).length)
  assert.match(
    await verdict(Buffer.concat([first, rest])),
    /^E_BUNDLE_DAMAGED manifest\.json 0 its padding is not empty/,
  )
})

test('S6: dump files that are no CSV, or have other records or columns than the manifest says', async () => {
  const fields = { path: 'data/indicators-3.csv', op: 'rows', table: 'indicators', rows: 1 } as const
  const header = `${manifest.columns.indicators!.join(',')}\n`
  const of = async (text: string) => verdict(await withEntry(await entryOf(fields, Buffer.from(text))))
  assert.match(await of(header), /indicators-3\.csv 0 it has 0 of 1 records/)
  assert.match(await of(`${header}1,2\n`), /^E_CSV it has 2 of \d+ fields/)
  assert.match(await of(`${header}\0\n`), /^E_CSV it holds a NUL/)
  assert.match(await of('id,uid\n'), /^E_CSV the header is not id,uid,/)
})

test('S3: the manifest of one with the signature of another, no signature, one twice, another spelling', async () => {
  const bytes = canonicalBytes(manifest)
  const signature = site.signer.sign(Buffer.concat([Buffer.from(MANIFEST_DOMAIN), bytes]))
  const { members, end } = parts()
  const withSignatures = (sig: Buffer) =>
    verdict(Buffer.concat([stored('manifest.json', bytes), stored('manifest.sig', sig), ...members, end]))
  const { id } = site.signer
  const good = { key: id, signature }
  assert.equal(await withSignatures(serializeSignatures([good])), 'taken')
  const wrong = site.signer.sign(bytes)
  assert.match(
    await withSignatures(serializeSignatures([{ key: id, signature: wrong }])),
    /^E_BUNDLE_KEY the signature of the key .* is not over this manifest/,
  )
  assert.match(await withSignatures(canonicalBytes({ signatures: [] })), /^E_BUNDLE_DAMAGED manifest\.sig/)
  assert.match(await withSignatures(canonicalBytes({ signatures: [good, good] })), /its keys are not in order/)
  assert.match(await withSignatures(canonicalBytes({ signatures: [good], more: 1 })), /^E_BUNDLE_DAMAGED manifest\.sig/)
  assert.match(await withSignatures(Buffer.from(` ${serializeSignatures([good])}`)), /it is not in canonical form/)
  // The last character before the padding has four bits that mean nothing.
  const spelt = `${signature.slice(0, 85)}${String.fromCharCode(signature.charCodeAt(85) + 1)}==`
  assert.ok(Buffer.from(spelt, 'base64').equals(Buffer.from(signature, 'base64')))
  assert.match(await withSignatures(serializeSignatures([{ key: id, signature: spelt }])), /^E_BUNDLE_(KEY|DAMAGED)/)
  const other = sampleSite().signer
  const foreign = { key: other.id, signature: other.sign(Buffer.concat([Buffer.from(MANIFEST_DOMAIN), bytes])) }
  assert.match(
    await withSignatures(serializeSignatures([foreign])),
    /^E_BUNDLE_KEY it is signed by .*, and its manifest does not have that key/,
  )
  assert.match(await withSignatures(serializeSignatures([good, foreign])), /^E_BUNDLE_KEY it is signed by/)
  const posing = { ...manifest.keys[0]!, public_key: sampleSite().keys[0]!.public_key }
  assert.match(await verdict(withManifest({ keys: [posing] })), /^E_BUNDLE_KEY the key .* is no Ed25519 key of that id/)
})

test('S10: a newer format is named, and so is a table or a column of a later version', async () => {
  assert.match(await verdict(withManifest({ format: 2 })), /^E_BUNDLE_VERSION .*format 2/)
  const columns = { ...manifest.columns, indicators: [...manifest.columns.indicators!, 'mood'] }
  assert.match(await verdict(withManifest({ columns })), /^E_BUNDLE_VERSION .*the column indicators\.mood/)
  assert.match(
    await verdict(withManifest({ columns: { ...manifest.columns, moods: ['id', 'uid'] } })),
    /^E_BUNDLE_VERSION .*the table moods/,
  )
})

test('every field of a manifest is bounded, and what it says twice it says alike', async () => {
  const cases: [Partial<Record<keyof BundleManifest | 'more', unknown>>, RegExp][] = [
    [{ more: 1 }, /Unrecognized key/],
    [{ seq: 0 }, /seq/],
    // S4, fast-forward: every later bundle would be an old one.
    [{ seq: 2 ** 53 - 1 }, /seq: Too big/],
    [{ seq: 1_000_001 }, /seq: Too big/],
    [{ base_seq: 1 }, /base_seq: not below seq/],
    [
      { covered: [{ seq: 1, name: manifest.bundle, manifest_sha256: 'f'.repeat(64) }] },
      /covered: not in order below seq/,
    ],
    [{ bundle: 'tqSync-19-01-17-1547660837-8345' }, /bundle: its date is not that/],
    [{ bundle: '../tqSync-19-01-16-1547660837-8345' }, /bundle: Invalid/],
    [{ site: 'Plant-A' }, /site: Invalid/],
    [{ site: 'plаnt-a' }, /site: Invalid/],
    [{ audience: '../x' }, /audience: Invalid/],
    [{ created: '2019-01-16 17:47:17' }, /created: Invalid/],
    [{ created: '2019-13-16T17:47:17.000Z' }, /created: it is no time/],
    [{ config_sha256: 'f'.repeat(64) }, /config_sha256: not that of config/],
    [{ keys: [] }, /keys/],
    [{ keys: [manifest.keys[0], manifest.keys[0]] }, /keys: one stands there twice/],
    [{ columns: { indicator_types: manifest.columns.indicator_types } }, /data\/indicators-1\.csv has no columns/],
    [
      { columns: { ...manifest.columns, indicators: ['id', 'value'] } },
      /columns\.indicators: id and uid are not there/,
    ],
    [{ columns: { ...manifest.columns, tags: ['id', 'uid'] } }, /columns: tags has no rows/],
    [
      { columns: { ...manifest.columns, indicators: ['id', 'uid', 'value', 'type_id'] } },
      /columns\.indicators: not in their order/,
    ],
    [{ tool: 'x'.repeat(201) }, /tool/],
    [{ horizon: -1 }, /horizon/],
    [{ horizon: 1.5 }, /horizon/],
    [{ kind: 'other' }, /kind/],
    [{ tables: { indicators: 'x' } }, /tables/],
  ]
  for (const [change, reason] of cases) {
    const said = await verdict(withManifest(change))
    assert.match(said, /^E_BUNDLE_DAMAGED manifest\.json 0 /, JSON.stringify(change))
    assert.match(said, reason)
  }
})

test('a manifest in another form than the canonical one', async () => {
  const { members, end } = parts()
  for (const text of [
    `${canonicalBytes(manifest)}\n`,
    JSON.stringify(manifest, null, 1),
    `{"format":1,${canonicalBytes(manifest).toString().slice(1)}`,
    '{"format":',
    '[]',
    'null',
    '['.repeat(100_000),
    `{"format":1,"min_reader":1,"more":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
  ]) {
    const bytes = Buffer.from(text)
    const signature = site.signer.sign(Buffer.concat([Buffer.from(MANIFEST_DOMAIN), bytes]))
    const sig = serializeSignatures([{ key: site.signer.id, signature }])
    const file = Buffer.concat([stored('manifest.json', bytes), stored('manifest.sig', sig), ...members, end])
    assert.match(await verdict(file), /^E_BUNDLE_DAMAGED manifest\.json 0 /, text.slice(0, 40))
  }
})
