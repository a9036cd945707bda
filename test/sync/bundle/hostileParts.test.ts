/** Parts and encryption under attack: mixed, missing, doubled, changed (S4, S5, T3). */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import fc from 'fast-check'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { openBundle } from '../../../src/sync/bundle/bundleReader.ts'
import { canonicalBytes } from '../../../src/sync/bundle/manifest.ts'
import { sampleBundle, sampleSite, scratchPlace } from '../../support/sampleBundle.ts'

const site = sampleSite()
const blob = randomBytes(150_000)

async function verdict(path: string, identities: readonly string[] = []): Promise<string> {
  const scratch = scratchPlace()
  try {
    const bundle = await openBundle(path, { scratch, identities })
    try {
      await bundle.verify()
    } finally {
      await bundle.close()
    }
    return 'taken'
  } catch (error) {
    assert.ok(error instanceof ColdtrailError, (error as Error).stack)
    assert.deepEqual(readdirSync(scratch), [])
    return `${error.code} ${error.message}`
  }
}

/** A folder with the parts of a bundle, as `change` left them. */
async function folder(made: readonly string[], change: (place: string, names: string[]) => void): Promise<string> {
  const place = join(scratchPlace(), 'usb')
  mkdirSync(place)
  for (const path of made) copyFileSync(path, join(place, basename(path)))
  change(
    place,
    made.map((path) => basename(path)),
  )
  return verdict(join(place, basename(made[0]!)).replace(/\.part01$/, ''))
}

const one = await sampleBundle(scratchPlace(), { site, blob, finish: { splitSize: 65_536 } })
const other = await sampleBundle(scratchPlace(), {
  site,
  blob,
  finish: { splitSize: 65_536 },
  manifest: { horizon: 43 },
})

test('mix and match: a part of another bundle of the same name', async () => {
  assert.equal(await folder(one.files, () => undefined), 'taken')
  for (const at of [0, 1, 2]) {
    const said = await folder(one.files, (place, names) => copyFileSync(other.files[at]!, join(place, names[at]!)))
    assert.match(said, /^E_BUNDLE_PARTS .*it is a part of another bundle than/)
  }
})

test('missing parts are named, doubled ones refused', async () => {
  assert.match(
    await folder(one.files, (place, names) => rmSync(join(place, names[1]!))),
    /^E_BUNDLE_PARTS .*of 3 parts 1 are missing: 2/,
  )
  assert.match(
    await folder(one.files, (place, names) => rmSync(join(place, names[2]!))),
    /^E_BUNDLE_PARTS .*of 3 parts 1 are missing: 3/,
  )
  const doubled = (place: string, names: string[]) =>
    copyFileSync(join(place, names[0]!), join(place, names[0]!.replace('part01', 'part09')))
  assert.match(await folder(one.files, doubled), /^E_BUNDLE_PARTS .*part 1 is there twice/)
})

test('the label of parts says another bundle than they hold', async () => {
  const said = await folder(one.files, (place, names) => {
    for (const name of names) {
      const bytes = readFileSync(join(place, name))
      const end = bytes.indexOf('\n')
      const line = { ...JSON.parse(bytes.subarray(0, end).toString()), manifest_sha256: 'f'.repeat(64) }
      writeFileSync(join(place, name), Buffer.concat([canonicalBytes(line), bytes.subarray(end)]))
    }
  })
  assert.match(said, /^E_BUNDLE_PARTS .*another bundle than they say/)
})

test('one byte changed anywhere in a part, or a part cut off, is refused and the part named', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 2 }),
      fc.nat(65_000),
      fc.integer({ min: 1, max: 255 }),
      async (n, at, bits) => {
        const said = await folder(one.files, (place, names) => {
          const bytes = readFileSync(join(place, names[n]!))
          bytes[at % bytes.length]! ^= bits
          writeFileSync(join(place, names[n]!), bytes)
        })
        assert.match(said, new RegExp(`^E_BUNDLE_PARTS .*part0${n + 1}`))
      },
    ),
    { numRuns: 60 },
  )
  const cut = (place: string, names: string[]) => {
    const bytes = readFileSync(join(place, names[1]!))
    writeFileSync(join(place, names[1]!), bytes.subarray(0, -1))
  }
  assert.match(await folder(one.files, cut), /^E_BUNDLE_PARTS .*part02: it has \d+ bytes of the bundle and says/)
})

test('a part whose line is not in its one form', async () => {
  for (const change of [
    (line: string) => line.replace('{', '{ '),
    (line: string) => line.replace('{', '{"more":1,'),
    (line: string) => line.replace('"part":2', '"part":3,"part":2'),
  ]) {
    const said = await folder(one.files, (place, names) => {
      const bytes = readFileSync(join(place, names[1]!))
      const end = bytes.indexOf('\n')
      const line = change(bytes.subarray(0, end).toString())
      writeFileSync(join(place, names[1]!), Buffer.concat([Buffer.from(line), bytes.subarray(end)]))
    })
    assert.match(said, /^E_BUNDLE_PARTS .*it does not begin as a part of a bundle/)
  }
})

test('a file of the name of a part that is none', async () => {
  const said = await folder(one.files, (place, names) => writeFileSync(join(place, names[1]!), '{"part":2}\nx'))
  assert.match(said, /^E_BUNDLE_PARTS .*it does not begin as a part of a bundle/)
})

test('S5: an encrypted bundle that is cut off, changed or longer is refused, and leaves nothing plain', async () => {
  const identity = await generateIdentity()
  const place = scratchPlace()
  const key = join(place, 'key.txt')
  writeFileSync(key, identity)
  const made = await sampleBundle(place, { site, blob, finish: { recipients: [await identityToRecipient(identity)] } })
  const sound = readFileSync(made.files[0]!)
  const path = join(place, 'x.age')
  const of = (bytes: Buffer) => {
    writeFileSync(path, bytes)
    return verdict(path, [key])
  }
  assert.equal(await of(sound), 'taken')
  await fc.assert(
    fc.asyncProperty(fc.nat(sound.length - 1), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
      const bytes = Buffer.from(sound)
      bytes[at]! ^= bits
      assert.match(await of(bytes), /^E_BUNDLE_(DAMAGED|ENCRYPTED) /)
    }),
    { numRuns: 60 },
  )
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: sound.length - 1 }), async (length) => {
      assert.match(await of(sound.subarray(0, length)), /^E_BUNDLE_DAMAGED /)
    }),
    { numRuns: 40 },
  )
  assert.match(await of(Buffer.concat([sound, randomBytes(1)])), /^E_BUNDLE_DAMAGED /)
  assert.match(await of(Buffer.concat([sound, sound])), /^E_BUNDLE_DAMAGED /)
  const endless = Buffer.concat([Buffer.from('age-encryption.org/v1\n'), Buffer.alloc(1_000_000, 'x')])
  assert.match(await of(endless), /^E_BUNDLE_DAMAGED .*its age header has no end/)
})

test('an identity file is never quoted', async () => {
  const place = scratchPlace()
  const made = await sampleBundle(place, {
    site,
    finish: { recipients: [await identityToRecipient(await generateIdentity())] },
  })
  const key = join(place, 'key.txt')
  writeFileSync(key, 'AGE-SECRET-KEY-1NOTAKEYATALL')
  const said = await verdict(made.files[0]!, [key])
  assert.match(said, /^E_BUNDLE_ENCRYPTED .*is no file of age identities/)
  assert.doesNotMatch(said, /NOTAKEY/)
})
