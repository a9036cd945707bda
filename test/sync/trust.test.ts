/** Keys: pinned at first use, listed, given, introduced, revoked, k of n (S3, L14); over both databases. */
import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ColdtrailError } from '../../src/core/errors.ts'
import type { Library } from '../../src/library/library.ts'
import { openBundle } from '../../src/sync/bundle/bundleReader.ts'
import type { BundleManifest } from '../../src/sync/bundle/manifest.ts'
import { verifyBundle } from '../../src/sync/bundle/verifyBundle.ts'
import { closeSiteKey, loadSigner, loadSite, readPublicKey, rotateSiteKey, type Site } from '../../src/sync/siteKeys.ts'
import { keyRows, requireTrusted, revokeKey, type Trust, type TrustPolicy, trustKey } from '../../src/sync/trust.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'
import { type SampleOptions, sampleBundle, sampleSite, scratchPlace } from '../support/sampleBundle.ts'

const FIRST: TrustPolicy = { mode: 'first_use' }
const LISTED: TrustPolicy = { mode: 'listed_only' }
const DAY = 86_400_000

async function trusted(library: Library, options: SampleOptions, policy: TrustPolicy = FIRST): Promise<Trust> {
  const place = scratchPlace()
  const { files } = await sampleBundle(place, options)
  const bundle = await openBundle(files[0]!, { scratch: place })
  try {
    const trust = await requireTrusted(library, bundle, policy)
    await library.database.write((tx) => trust.remember(tx))
    return trust
  } finally {
    await bundle.close()
  }
}

async function refused(library: Library, options: SampleOptions, policy?: TrustPolicy): Promise<string> {
  const before = await keyRows(library)
  try {
    await trusted(library, options, policy)
  } catch (error) {
    assert.ok(error instanceof ColdtrailError && error.code === 'E_BUNDLE_KEY', String(error))
    assert.deepEqual(await keyRows(library), before, 'nothing is written')
    return error.message
  }
  return assert.fail('it was trusted')
}

/** A site from a key made at a time of choice, and rotated at others. */
function siteSince(...times: string[]): { readonly site: Site; readonly place: string } {
  const place = scratchPlace()
  const first = loadSite(place, 'plant-a')
  const path = join(place, 'keys', `site-${first.keys[0]!.id}.pub`)
  // Its own record: what introduces a key covers no dates of the first one.
  writeFileSync(path, readFileSync(path, 'utf8').replace(first.keys[0]!.valid_from, times[0]!))
  for (const time of times.slice(1)) rotateSiteKey(place, { now: new Date(time) })
  return { place, site: loadSite(place, 'plant-a') }
}

const at = (time: string, more: Partial<BundleManifest> = {}): SampleOptions => ({
  manifest: { created: time, ...more },
})

for (const dialect of DIALECTS) {
  test(`${dialect}: the first bundle of an unknown site pins its key and says so; another key is refused then`, () =>
    withFreshLibrary(dialect, async (library) => {
      const site = sampleSite()
      const first = await trusted(library, { site })
      assert.deepEqual([first.pinned, first.key, first.signers], [true, site.signer.id, [site.signer.id]])
      const again = await trusted(library, { site })
      assert.deepEqual([again.pinned, again.learned], [false, []])
      const [row] = await keyRows(library)
      assert.deepEqual([row!.site, row!.key_id, row!.origin], ['plant-a', site.signer.id, 'pinned'])
      const posing = sampleSite()
      assert.match(
        await refused(library, { site: posing }),
        new RegExp(`${posing.signer.id} is none of its keys known`),
      )
      assert.equal((await trusted(library, { site: sampleSite(scratchPlace(), 'plant-b') })).pinned, true)
    }))

  test(`${dialect}: listed_only takes listed, given and pinned keys, each for its own site`, () =>
    withFreshLibrary(dialect, async (library) => {
      const place = scratchPlace()
      const site = sampleSite(place)
      const { id } = site.signer
      assert.match(
        await refused(library, { site }, LISTED),
        new RegExp(`signed by ${id}; no key of this site is listed`),
      )
      assert.match(await refused(library, { site }, { ...LISTED, listed: { 'plant-b': [id] } }), /is listed here/)
      assert.match(
        await refused(library, { site }, { ...LISTED, listed: { 'plant-a': ['f'.repeat(32)] } }),
        /none of its keys/,
      )
      const file = join(place, 'handed-over.pub')
      writeFileSync(file, JSON.stringify(site.keys[0]))
      assert.equal((await trusted(library, { site }, { ...LISTED, listed: { 'plant-a': [file] } })).pinned, false)
      const other = sampleSite(scratchPlace(), 'plant-c')
      await trusted(library, { site: other }, { ...LISTED, given: [other.signer.id] })
      assert.equal((await trusted(library, { site: other }, LISTED)).pinned, false, 'what was given is kept')
      const third = sampleSite(scratchPlace(), 'plant-d')
      await trustKey(library, 'plant-d', third.signer.id)
      assert.deepEqual((await trusted(library, { site: third }, LISTED)).signers, [third.signer.id])
      assert.equal(
        (await keyRows(library)).find((row) => row.site === 'plant-d')!.public_key,
        third.keys[0]!.public_key,
      )
    }))

  test(`${dialect}: --trust on the first bundle takes that key and no other`, () =>
    withFreshLibrary(dialect, async (library) => {
      const site = sampleSite()
      assert.match(
        await refused(library, { site }, { ...FIRST, given: ['a'.repeat(32)] }),
        /none of its keys known here/,
      )
      const trust = await trusted(library, { site }, { ...FIRST, given: [site.signer.id] })
      assert.equal(trust.pinned, false)
    }))

  test(`${dialect}: a rotated key is believed because the one before introduced it; the old one ends`, () =>
    withFreshLibrary(dialect, async (library) => {
      const { site: young, place } = siteSince('2019-01-01T00:00:00.000Z')
      await trusted(library, { site: young, ...at('2019-01-10T00:00:00.000Z') })
      rotateSiteKey(place, { now: new Date('2019-02-01T00:00:00.000Z') })
      const site = loadSite(place, 'plant-a')
      assert.equal(site.keys.length, 2)
      const trust = await trusted(library, { site, ...at('2019-02-02T00:00:00.000Z') })
      assert.deepEqual([trust.pinned, trust.key], [false, site.keys[1]!.id])
      const rows = await keyRows(library)
      assert.deepEqual(rows.map(({ origin, introduced_by }) => [origin, introduced_by]).sort(), [
        ['pinned', null],
        ['rotated', site.keys[0]!.id],
      ])
      // Of the time when it was good, by the old key, on its way for long.
      await trusted(library, { site, signers: [young.signer], ...at('2019-03-01T00:00:00.000Z') })
      // 90 days after the rotation.
      const late = { site, signers: [young.signer], ...at('2019-05-10T00:00:00.000Z') }
      assert.match(await refused(library, late), /was not valid at 2019-05-10/)
      // The old key was stolen then: it says that it is still good, and introduces another one.
      const thief = siteSince('2019-04-01T00:00:00.000Z')
      const stolen = young.keys[0]!
      const claim = {
        site,
        signers: [young.signer],
        keys: [{ ...stolen, valid_until: null }],
        ...at('2019-05-10T00:00:00.000Z'),
      }
      assert.match(await refused(library, claim), /was not valid at 2019-05-10/)
      const key = rotateAs(young, thief.site)
      const posing = { site, signers: [thief.site.signer], keys: [stolen, key], ...at('2019-04-02T00:00:00.000Z') }
      assert.match(await refused(library, posing), /is none of its keys known here/)
    }))

  test(`${dialect}: several rotations in one step; a statement that is not the key's own counts for nothing`, () =>
    withFreshLibrary(dialect, async (library) => {
      const { site, place } = siteSince(
        '2019-01-01T00:00:00.000Z',
        '2019-02-01T00:00:00.000Z',
        '2019-03-01T00:00:00.000Z',
      )
      assert.equal(site.keys.length, 3)
      const first = { ...site, signer: loadSigner(join(place, 'keys', `site-${site.keys[0]!.id}.key`)).signer }
      await trusted(library, { site: first, keys: site.keys.slice(0, 1), ...at('2019-01-02T00:00:00.000Z') })
      const [, second, third] = site.keys
      const forged = {
        ...third!,
        introduced_by: { ...third!.introduced_by!, signature: second!.introduced_by!.signature },
      }
      const bad = { site, keys: [site.keys[0]!, second!, forged], ...at('2019-03-02T00:00:00.000Z') }
      assert.match(await refused(library, bad), /is none of its keys known here/)
      const trust = await trusted(library, { site, ...at('2019-03-02T00:00:00.000Z') })
      assert.deepEqual(trust.signers, [third!.id])
      assert.equal((await keyRows(library)).length, 3)
    }))

  test(`${dialect}: expired, not yet valid, and revoked keys`, () =>
    withFreshLibrary(dialect, async (library) => {
      const site = sampleSite()
      const [key] = site.keys
      const until = (valid_until: string) => ({ site, keys: [{ ...key!, valid_until }] })
      assert.match(await refused(library, until('2019-01-10T00:00:00.000Z')), /was not valid at 2019-01-16/)
      const early = { site, ...at('2018-12-31T00:00:00.000Z') }
      assert.match(await refused(library, early), /was not valid at 2018-12-31/)
      await trusted(library, { site })
      assert.deepEqual(await revokeKey(library, key!.id), ['plant-a'])
      assert.match(await refused(library, { site }), new RegExp(`${key!.id} is revoked`))
      assert.match(await refused(library, { site }, { ...FIRST, given: [key!.id] }), /is revoked/)
      await trustKey(library, 'plant-a', key!.id)
      await trusted(library, { site })
      await assert.rejects(() => revokeKey(library, 'f'.repeat(32)), { code: 'E_USAGE' })
    }))

  test(`${dialect}: k of n: as many trusted signatures as the threshold says, none counted twice`, () =>
    withFreshLibrary(dialect, async (library) => {
      const site = sampleSite()
      const second = sampleSite()
      const third = sampleSite()
      const keys = [site, second, third].flatMap((one) => one.keys)
      const two: TrustPolicy = { ...FIRST, threshold: 2 }
      assert.match(await refused(library, { site, keys }, two), /1 of 2 trusted signatures/)
      const signers = [site.signer, second.signer]
      assert.equal((await trusted(library, { site, keys, signers }, two)).signers.length, 2)
      assert.match(
        await refused(library, { site, keys, signers: [site.signer, third.signer] }, two),
        /1 of 2 .*none of its keys/,
      )
      assert.equal((await trusted(library, { site, keys, signers: [site.signer, third.signer] })).signers.length, 1)
      assert.equal((await keyRows(library)).length, 2, 'a stranger beside a trusted key is not pinned')
    }))
}

test('a bundle of this site itself is one of a known site', () =>
  withFreshLibrary('sqlite', async (library) => {
    const own = sampleSite()
    const trust = await trusted(library, { site: own }, { ...LISTED, own })
    assert.deepEqual([trust.pinned, await keyRows(library)], [false, []])
    assert.match(await refused(library, { site: sampleSite() }, { ...FIRST, own }), /none of its keys known here/)
  }))

test('verifyBundle without a library: the site is unknown, the file is proved', async () => {
  const place = scratchPlace()
  const site = sampleSite()
  const { files } = await sampleBundle(place, { site })
  const verified = await verifyBundle(files[0]!, { library: undefined, scratch: place, trust: FIRST })
  assert.deepEqual([verified.first_of_site, verified.signers, verified.totals.rows], [true, [site.signer.id], 4])
  await assert.rejects(() => verifyBundle(files[0]!, { library: undefined, scratch: place, trust: LISTED }), {
    code: 'E_BUNDLE_KEY',
  })
})

test('the key of a site is made at first use, mode 0600, and stays; the name is the first key’s id', () => {
  const place = scratchPlace()
  const site = loadSite(place)
  assert.equal(site.name, site.keys[0]!.id)
  assert.match(site.name, /^[0-9a-f]{32}$/)
  const { mode } = statSync(join(place, 'keys', `site-${site.name}.key`))
  assert.equal(mode & 0o777, 0o600)
  rotateSiteKey(place, { now: new Date(Date.now() + DAY) })
  const rotated = loadSite(place)
  assert.deepEqual([rotated.name, rotated.keys.length], [site.name, 2])
  assert.notEqual(rotated.signer.id, site.signer.id)
  assert.equal(loadSite(place, 'plant-a').name, 'plant-a')
  assert.throws(() => closeSiteKey(place, rotated.signer.id, new Date()), { code: 'E_USAGE' })
  assert.notEqual(closeSiteKey(place, site.signer.id, new Date()).valid_until, null)
})

test('of two processes that make or rotate a key at once one wins, and both see it', () => {
  const place = scratchPlace()
  const other = scratchPlace()
  const site = loadSite(place)
  const late = loadSite(other)
  // As if `late` had been made here in between.
  for (const name of ['key', 'pub']) {
    const file = `site-${late.name}.${name}`
    writeFileSync(join(place, 'keys', file), readFileSync(join(other, 'keys', file)))
  }
  assert.equal(loadSite(place).name, site.name, 'a pair that was never published is none')
  writeFileSync(
    join(place, 'keys', `site-${site.name}.next`),
    readFileSync(join(other, 'keys', `site-${late.name}.pub`)),
  )
  assert.equal(loadSite(place).signer.id, late.name)
  const before = readdirSync(join(place, 'keys')).length
  rmSync(join(place, 'keys', `site-${late.name}.key`))
  assert.throws(() => rotateSiteKey(place), { code: 'E_SITE_KEY' })
  assert.equal(readdirSync(join(place, 'keys')).length, before - 1)
})

test('key files that are damaged, exchanged or no keys are named, and secrets are never quoted', () => {
  const place = scratchPlace()
  const site = loadSite(place)
  const keyFile = join(place, 'keys', `site-${site.name}.key`)
  const sound = readFileSync(keyFile, 'utf8')
  writeFileSync(keyFile, sound.replace('PRIVATE', 'PIRATE'))
  assert.throws(
    () => loadSite(place),
    (error: ColdtrailError) => {
      assert.equal(error.code, 'E_SITE_KEY')
      assert.ok(!JSON.stringify(error).includes(sound.split('\n')[1]!))
      return true
    },
  )
  writeFileSync(keyFile, readFileSync(join(otherPlace(), 'key')))
  assert.throws(() => loadSite(place), /its file holds another key/)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ec = join(place, 'ec.pem')
  writeFileSync(ec, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  assert.throws(() => loadSigner(ec), { code: 'E_SITE_KEY' })
  writeFileSync(ec, createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }))
  assert.throws(() => readPublicKey(ec), { code: 'E_FILE_READ' })
  writeFileSync(keyFile, sound)
  assert.throws(() => readPublicKey(keyFile), { code: 'E_FILE_READ' })
  const pem = join(place, 'public.pem')
  writeFileSync(pem, createPublicKey(sound).export({ type: 'spki', format: 'pem' }))
  assert.equal(readPublicKey(pem).id, site.name)
  assert.equal(readPublicKey(join(place, 'keys', `site-${site.name}.pub`)).id, site.name)
})

/** A key file of another site, under a short name. */
function otherPlace(): string {
  const place = scratchPlace()
  const { name } = loadSite(place)
  writeFileSync(join(place, 'key'), readFileSync(join(place, 'keys', `site-${name}.key`)))
  assert.ok(existsSync(join(place, 'key')))
  return place
}

/** The key of `next` as `site` would introduce it: with its private key, out of turn. */
function rotateAs(site: Site, next: Site) {
  const [{ id, public_key, valid_from }] = next.keys as [Site['keys'][number]]
  const statement = Buffer.from(`coldtrail-sync-key/1\n${JSON.stringify({ id, public_key, valid_from })}`)
  const introduced_by = { key: site.signer.id, signature: site.signer.sign(statement) }
  return { id, public_key, valid_from, valid_until: null, introduced_by }
}
