/** STIX in and out: nothing is lost, whatever stands in a bundle, and what cannot be taken is told. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { addObject, deleteObjects } from '../../../src/library/addObject.ts'
import { EXTENSION_ID } from '../../../src/library/formats/extension.ts'
import { applyQuarantine, type ImportRequest, importFiles } from '../../../src/library/formats/importRun.ts'
import { canonicalJson, type JsonObject, parseJson } from '../../../src/library/formats/jsonFile.ts'
import { exportStix } from '../../../src/library/formats/stixExport.ts'
import { objectOfRow, rowOfObject } from '../../../src/library/formats/stixObject.ts'
import type { Library } from '../../../src/library/library.ts'
import { listQuarantine } from '../../../src/library/quarantine.ts'
import { listObjects, showObject } from '../../../src/library/read.ts'
import { DIALECTS, listOf, withFreshLibrary } from '../../support/freshLibrary.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures/library')
const fixture = (name: string): string => join(FIXTURES, name)
const ATTACK = join(import.meta.dirname, '../../../../shared/data/stix')

const take = async (library: Library, file: string, more: Partial<ImportRequest> = {}) =>
  (await importFiles(library, { files: [file], ...more }))[0]!

async function exported(library: Library): Promise<JsonObject> {
  const pieces = await listOf(exportStix(library, {}, { objects: 0, relationships: 0 }))
  return parseJson(pieces.join(''), 'export').value as JsonObject
}

/** Canonical JSON by id, so that numbers which no double holds are compared as well. */
const byId = (bundle: JsonObject): Map<string, string> =>
  new Map((bundle.objects as readonly JsonObject[]).map((object) => [object.id as string, canonicalJson(object)]))

const ownProperties = ({ objects: _, ...own }: JsonObject): string => canonicalJson(own)

function sameBundle(found: JsonObject, expected: JsonObject): void {
  const [have, want] = [byId(found), byId(expected)]
  assert.deepEqual([...have.keys()].sort(), [...want.keys()].sort())
  for (const [id, object] of want) assert.equal(have.get(id), object, id)
  assert.equal(ownProperties(found), ownProperties(expected))
}

const bundleOf = (path: string): JsonObject => parseJson(readFileSync(path, 'utf8'), path).value as JsonObject

async function inFile<T>(
  content: string | Buffer,
  action: (path: string) => Promise<T>,
  name = 'given.json',
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-stix-'))
  try {
    const path = join(directory, name)
    writeFileSync(path, content)
    return await action(path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

for (const dialect of DIALECTS) {
  test(`${dialect}: a bundle of oddities comes out as it went in, and a second import changes nothing`, () =>
    withFreshLibrary(dialect, async (library) => {
      const path = fixture('oddities.stix.json')
      const summary = await take(library, path)
      assert.deepEqual([summary.source, summary.quarantined, summary.format], ['Example Feed', 0, 'stix'])
      sameBundle(await exported(library), bundleOf(path))
      assert.equal(Object.hasOwn(Object.prototype, 'polluted'), false)
      const again = await take(library, path)
      assert.deepEqual([again.inserted, again.updated, again.deleted, again.seq], [0, 0, 0, undefined])
      sameBundle(await exported(library), bundleOf(path))
    }))

  test(`${dialect}: what STIX says is there as objects, context and links`, () =>
    withFreshLibrary(dialect, async (library) => {
      await take(library, fixture('oddities.stix.json'), { source: 'feed', tlp: 'green' })
      const objects = await listOf(listObjects(library))
      const of = (code: string) => objects.filter(({ object }) => object === code)
      const [actor] = of('adversary')
      assert.deepEqual(
        [actor?.value, actor?.tags, actor?.tlp, actor?.publishedAt],
        ['Sandy Otter', ['alpha', 'crime', 'zeta'], 'amber', 1_609_459_200_123_456],
      )
      assert.deepEqual(
        actor?.attributes.map(({ name, value }) => [name, value]),
        [
          ['Alias', 'Otter'],
          ['Alias', 'Группа'],
        ],
      )
      assert.equal(of('malware').length, 2)
      assert.deepEqual(
        of('malware')
          .flatMap(({ attributes }) => attributes.map(({ name, value }) => `${name}=${value}`))
          .sort(),
        ['External ID=S0001', 'Kill Chain: mitre-ics-attack=impact', 'Revoked=true'],
      )
      assert.deepEqual(
        of('malware')[0]?.sources.map(({ name, tlp }) => [name, tlp]),
        [['feed', 'green']],
      )
      assert.deepEqual(
        of('signature').map(({ type }) => type),
        ['STIX Indicator Pattern', 'YARA'],
      )
      assert.deepEqual(
        of('indicator')
          .map(({ type, value, expiresAt }) => [type, value, expiresAt])
          .sort(),
        [
          ['CIDR Block', '198.51.100.0/24', 1_924_992_000_000_000],
          ['FQDN', 'evil.example.com', 1_924_992_000_000_000],
          ['Filename', 'a.exe', null],
          ['IP Address', '198.51.100.1', 1_924_992_000_000_000],
          ['IP Address', '203.0.113.7', null],
          ['MD5', 'D41D8CD98F00B204E9800998ECF8427E', null],
          ['SHA-256', '9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08', 1_924_992_000_000_000],
          ['SHA-256', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', null],
        ].sort(),
      )
      const [sighting] = await showObject(library, 'sighting--00000000-0000-4000-8000-000000000017')
      assert.deepEqual([sighting?.object, sighting?.type], ['event', 'Sighting'])
      assert.deepEqual(sighting?.links.map(({ relationship, other }) => [relationship, other.value]).sort(), [
        [
          'sighting_of_ref',
          "[domain-name:value = 'evil.example.com' OR ipv4-addr:value IN ('198.51.100.1', '198.51.100.0/24')] FOLLOWEDBY [file:hashes.'SHA-256' = '9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08']",
        ],
        ['where_sighted_refs', 'Example Feed'],
      ])
      const [note] = await showObject(library, 'note--00000000-0000-4000-8000-000000000018')
      assert.deepEqual(
        note?.links.map(({ direction, relationship, other }) => [direction, relationship, other.value]).sort(),
        [
          ['in', 'object_refs', 'strongly-agree'],
          ['out', 'object_refs', 'Same'],
        ],
      )
      const [uses] = (await showObject(library, 'Sandy Otter'))[0]!.links.filter(
        ({ description }) => description === 'once',
      )
      assert.deepEqual(
        uses?.sources.map(({ tlp }) => tlp),
        ['red'],
      )
      assert.ok(objects.some(({ object }) => object === 'x-example-thing'))
    }))

  test(`${dialect}: rows that are no STIX are quarantined with place and reason, once; a link is taken when its end has come`, () =>
    withFreshLibrary(dialect, async (library) => {
      const summary = await take(library, fixture('refused.stix.json'), { source: 'feed' })
      assert.equal(summary.quarantined, 11)
      const held = await listOf(listQuarantine(library))
      assert.deepEqual(
        held.map(({ place, code, reason }) => [place, code, reason]),
        [
          ['refused.stix.json objects[1]', 'form', 'it is no object'],
          ['refused.stix.json line 7', 'form', 'its id is no STIX id'],
          ['refused.stix.json line 8', 'form', 'its type is no STIX type'],
          ['refused.stix.json line 9', 'form', 'its id is that of another type'],
          ['refused.stix.json line 12', 'form', 'the key "name" stands twice in one object'],
          ['refused.stix.json line 14', 'form', 'relationship_type is missing'],
          [
            'refused.stix.json line 16',
            'duplicate',
            'malware--00000000-0000-4000-8000-000000000030 stands in the file in a newer version, too',
          ],
          ['refused.stix.json line 10', 'form', 'an indicator needs a pattern'],
          ['refused.stix.json line 11', 'form', 'a sighting needs a time'],
          ['refused.stix.json line 15', 'form', 'an object of type x-coldtrail-task needs its extension'],
          [
            'refused.stix.json line 13',
            'reference',
            'target_ref tool--00000000-0000-4000-8000-000000000038 is neither in the file nor in the library',
          ],
        ],
      )
      await take(library, fixture('refused.stix.json'), { source: 'feed' })
      assert.equal((await listOf(listQuarantine(library))).length, 11)
      assert.deepEqual(await applyQuarantine(library), { applied: 0, held: 11 })
      await take(library, fixture('late.stix.json'), { source: 'other' })
      assert.deepEqual(await applyQuarantine(library), { applied: 1, held: 10 })
      const [late] = await showObject(library, 'tool--00000000-0000-4000-8000-000000000038')
      assert.deepEqual(
        late?.links.map(({ relationship, other }) => [relationship, other.value]),
        [['uses', 'Good']],
      )
      assert.deepEqual(await applyQuarantine(library), { applied: 0, held: 10 })
    }))

  test(`${dialect}: L10: a mirror takes away what its source has no longer, and nothing else`, () =>
    withFreshLibrary(dialect, async (library) => {
      const thing = (n: number, name: string) => ({
        type: 'tool',
        id: `tool--00000000-0000-4000-8000-00000000000${n}`,
        name,
      })
      const link = (from: number, to: number) => ({
        ...{
          type: 'relationship',
          id: `relationship--00000000-0000-4000-8000-0000000000${from}${to}`,
          relationship_type: 'uses',
        },
        ...{ source_ref: thing(from, '').id, target_ref: thing(to, '').id },
      })
      const bundle = (...objects: object[]): string =>
        JSON.stringify({ type: 'bundle', id: 'bundle--00000000-0000-4000-8000-000000000001', objects })
      const names = async () =>
        (await listOf(listObjects(library, { types: ['tool'] }))).map(({ value }) => value).sort()
      await inFile(bundle(thing(1, 'one'), thing(2, 'two'), thing(3, 'three'), link(1, 2), link(1, 3)), (path) =>
        take(library, path, { source: 'a', mirror: true }),
      )
      await inFile(bundle(thing(3, 'three'), thing(4, 'four')), (path) =>
        take(library, path, { source: 'b', mirror: true }),
      )
      await addObject(library, { object: 'tool', value: 'mine' })
      const dry = await inFile(bundle(thing(1, 'renamed')), (path) =>
        take(library, path, { source: 'a', mirror: true, dryRun: true }),
      )
      assert.deepEqual([dry.deleted > 0, await names()], [true, ['four', 'mine', 'one', 'three', 'two']])
      const real = await inFile(bundle(thing(1, 'renamed')), (path) =>
        take(library, path, { source: 'a', mirror: true }),
      )
      assert.deepEqual([real.inserted, real.updated, real.deleted], [dry.inserted, dry.updated, dry.deleted])
      assert.deepEqual(await names(), ['four', 'mine', 'renamed', 'three'])
      assert.deepEqual((await showObject(library, 'renamed'))[0]?.links, [])
      await assert.rejects(
        inFile(bundle(), (path) => take(library, path, { source: 'a', mirror: true })),
        { code: 'E_LIBRARY_FORMAT' },
      )
      assert.deepEqual(await names(), ['four', 'mine', 'renamed', 'three'])
    }))

  test(`${dialect}: what a newer version of an object says no more is gone, but for what others say`, () =>
    withFreshLibrary(dialect, async (library) => {
      const tool = { type: 'tool', id: 'tool--00000000-0000-4000-8000-000000000041', name: 'One' }
      const other = { type: 'tool', id: 'tool--00000000-0000-4000-8000-000000000042', name: 'Two' }
      const pattern = (host: string) => ({
        ...{ type: 'indicator', id: 'indicator--00000000-0000-4000-8000-000000000043', pattern_type: 'stix' },
        pattern: `[domain-name:value = '${host}']`,
      })
      const given = (...objects: object[]) =>
        JSON.stringify({ type: 'bundle', id: 'bundle--00000000-0000-4000-8000-000000000001', objects })
      const first = { ...tool, description: 'old', aliases: ['a', 'b', 'c'], labels: ['x', 'y'], tool_refs: [other.id] }
      const second = { ...tool, aliases: ['a'], labels: ['y'] }
      await inFile(given(first, other, pattern('a.example.com')), (path) => take(library, path, { source: 'feed' }))
      await addObject(library, {
        ...{ object: 'tool', value: 'One', stix_id: tool.id, tags: ['mine'] },
        attributes: [{ name: 'Alias', value: 'b' }],
      })
      await inFile(given(tool, other), (path) => take(library, path, { source: 'somebody else' }))
      assert.equal((await showObject(library, tool.id))[0]?.description, 'old')
      await inFile(given(second, other, pattern('b.example.com')), (path) => take(library, path, { source: 'feed' }))
      const [found] = await showObject(library, tool.id)
      assert.deepEqual(
        [found?.attributes.map(({ value }) => value), found?.tags, found?.links.length],
        [['a', 'b'], ['mine', 'y'], 0],
      )
      const bundle = byId(await exported(library))
      const { extensions, ...plain } = JSON.parse(bundle.get(tool.id)!) as Record<string, Record<string, unknown>>
      assert.deepEqual(plain, second)
      const carried = extensions?.[EXTENSION_ID] as { attributes: { value: string }[]; tags: string[] }
      assert.deepEqual([carried.attributes.map(({ value }) => value), carried.tags], [['b'], ['mine']])
    }))

  test(`${dialect}: what people add goes out as an extension and comes in again`, () =>
    withFreshLibrary(dialect, async (library) => {
      await take(library, fixture('oddities.stix.json'), { source: 'feed' })
      await addObject(library, {
        ...{ object: 'malware', value: 'RedStone', description: 'our own', tlp: 'amber', tags: ['mine'] },
        attributes: [{ name: 'Port', value: '443' }],
        comments: [{ value: 'looked at' }],
        links: ['Sandy Otter'],
        relationship: 'used-by',
      })
      await addObject(library, { object: 'task', value: 'Look closer', status: 'To Do' })
      await addObject(library, { object: 'event', type: 'Incident', value: 'Alarm', happened_at: '2024-01-01' })
      await addObject(library, { value: 'evil.example.com', type: 'FQDN', status: 'Whitelisted', score: '3' })
      await addObject(library, {
        object: 'stix-asset',
        value: 'A type with the name of a code',
        stix_id: 'asset--00000000-0000-4000-8000-00000000001e',
        attributes: [{ name: 'Owner', value: 'us' }],
        tags: ['crown-jewel'],
      })
      const bundle = await exported(library)
      const asset = (bundle.objects as readonly JsonObject[]).find(
        ({ id }) => id === 'asset--00000000-0000-4000-8000-00000000001e',
      )
      assert.deepEqual(asset?.extensions, {
        [EXTENSION_ID]: {
          extension_type: 'property-extension',
          attributes: [{ name: 'Owner', value: 'us', sources: [{ name: 'manual', type: 'users' }] }],
          tags: ['crown-jewel'],
        },
      })
      await withFreshLibrary(dialect, async (other) => {
        await inFile(canonicalJson(bundle), async (path) => {
          assert.equal((await take(other, path, { source: 'feed' })).quarantined, 0)
          sameObjects(await exported(other), bundle)
        })
        const [own] = await showObject(other, 'RedStone')
        assert.deepEqual(
          [
            own?.description,
            own?.tags,
            own?.attributes.map(({ value }) => value),
            own?.comments.map(({ value }) => value),
          ],
          ['our own', ['mine'], ['443'], ['looked at']],
        )
        assert.deepEqual(
          own?.sources.map(({ name, type, tlp }) => [name, type, tlp]),
          [['manual', 'users', 'amber']],
        )
        assert.deepEqual(
          own?.links.map(({ relationship, other }) => [relationship, other.value]),
          [['used-by', 'Sandy Otter']],
        )
        const [listed] = await showObject(other, 'evil.example.com')
        assert.deepEqual([listed?.status, listed?.score], ['Whitelisted', 3])
      })
      // Back where it came from it meets itself.
      const back = await inFile(canonicalJson(bundle), (path) => take(library, path, { source: 'feed' }))
      // Only the bundle has another id.
      assert.deepEqual([back.inserted, back.updated, back.deleted], [0, 1, 0])
      await deleteObjects(library, ['RedStone'])
      assert.equal((await showObject(library, 'RedStone'))[0]?.deletedAt === null, false)
    }))
}

/** Times of what was made here are those of each side. */
function sameObjects(found: JsonObject, expected: JsonObject): void {
  const local = (bundle: JsonObject): string[] =>
    (bundle.objects as readonly JsonObject[])
      .map((object) => {
        const extension = (object.extensions as JsonObject | undefined)?.[EXTENSION_ID] as JsonObject | undefined
        if (extension?.object === undefined && extension?.link === undefined) return canonicalJson(object)
        const {
          created: _c,
          modified: _m,
          valid_from: _v,
          id: _i,
          source_ref: _s,
          target_ref: _t,
          extensions: _e,
          ...rest
        } = object
        const { uid: _u, ...carried } = extension
        return canonicalJson({ ...rest, carried })
      })
      .sort()
  assert.deepEqual(local(found), local(expected))
}

test('T6: the ICS releases of ATT&CK come out as they went in, as a chain and each alone', {
  skip: existsSync(ATTACK) ? false : `there is no ${ATTACK}`,
}, async () => {
  for (const mirror of [true, false])
    await withFreshLibrary('sqlite', async (library) => {
      for (const version of ['16.1', '17.1', '18.1']) {
        const path = join(ATTACK, `ics-attack-${version}.json`)
        const summary = await take(library, path, { mirror })
        assert.deepEqual([summary.source, summary.quarantined], ['ICS ATT&CK', 0])
        const [found, given] = [await exported(library), bundleOf(path)]
        if (mirror) sameBundle(found, given)
        else {
          // Without --mirror what a release dropped stays.
          const have = byId(found)
          for (const [id, object] of byId(given)) assert.equal(have.get(id), object, id)
        }
      }
    })
})

const anyObject = fc
  .tuple(
    fc.constantFrom(
      ...['malware', 'identity', 'intrusion-set', 'campaign', 'threat-actor', 'marking-definition', 'ipv4-addr'],
      ...['x-other', 'event', 'note', 'task', 'indicator', 'sighting'],
    ),
    fc.uuid(),
    fc.uniqueArray(
      fc.tuple(
        fc.constantFrom(
          ...[
            'name',
            'value',
            'description',
            'created',
            'modified',
            'aliases',
            'labels',
            '_',
            '__proto__',
            'constructor',
          ],
          ...[
            'x_a',
            'extensions',
            'first_seen',
            'last_seen',
            'pattern',
            'contact_information',
            'object_refs',
            'revoked',
          ],
          ...['definition', 'abstract', 'type', 'id'],
        ),
        fc.oneof(
          fc.jsonValue({ maxDepth: 3 }),
          fc.constantFrom(
            '',
            'Same',
            '\ud800',
            '\0',
            '2021-01-01T00:00:00Z',
            '2021-01-01T00:00:00.000Z',
            '2021-01-01T00:00:00.000001Z',
          ),
        ),
      ),
      { maxLength: 7, selector: ([name]) => name },
    ),
  )
  .map(([type, id, properties]) => {
    const own = { type, id: `${type}--${id}` }
    const more = properties.filter(([name]) => !Object.hasOwn(own, name))
    if (type === 'indicator') more.unshift(['pattern', 'x'])
    if (type === 'sighting') more.unshift(['last_seen', '2021-01-01T00:00:00Z'])
    const entries = [...new Map([...more, ...Object.entries(own)].reverse())]
    return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
  })

test('an object of any JSON is the same again from its row', () => {
  fc.assert(
    fc.property(anyObject, (text) => {
      const object = parseJson(text, 'given').value as JsonObject
      const { code, columns } = rowOfObject(object)
      for (const value of Object.values(columns))
        assert.ok(value === null || (value.isWellFormed() && !value.includes('\0')))
      const rest = parseJson(columns.stix!, 'stored').value as JsonObject
      assert.equal(canonicalJson(objectOfRow(code, columns, rest)), canonicalJson(object))
    }),
    { numRuns: 3_000 },
  )
})

test('bundles of any JSON are taken without loss', () =>
  withFreshLibrary('sqlite', async (library) => {
    const given = new Map<string, string>()
    for (let round = 0; round < 4; round++) {
      const texts = fc.sample(anyObject, { numRuns: 40, seed: round + 1 })
      const text = `{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000001","objects":[${texts.join(',')}]}`
      const summary = await inFile(text, (path) => take(library, path, { source: 'any' }))
      assert.equal(summary.quarantined, 0, JSON.stringify(summary.refusals))
      for (const [id, object] of byId(parseJson(text, 'given').value as JsonObject)) given.set(id, object)
    }
    const have = byId(await exported(library))
    for (const [id, object] of given) assert.equal(have.get(id), object)
  }))
