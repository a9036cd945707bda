/** The original's notation of places, and what is no such thing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseConfig } from '../../src/config.ts'
import { parsePlaces, tierRules } from '../../src/tier/places.ts'

const PLACES = { base: '/etc/coldtrail', data: '/data/collections' }
const warm = (text: string) =>
  parsePlaces(text, 'warm', PLACES).map(({ directory, size, mustExist }) => [directory, size, mustExist])

test('path=size;path==size with the units of the original, in any case', () => {
  assert.deepEqual(warm('/a=1t;/b==20 TB; c=3g;/d=4MB;/e=1.5GB;/f==;/g'), [
    ['/a', 1e12, false],
    ['/b', 20e12, true],
    ['/etc/coldtrail/c', 3e9, false],
    ['/d', 4e6, false],
    ['/e', 1.5e9, false],
    ['/f', undefined, true],
    ['/g', undefined, false],
  ])
  // Only what stands behind the last sign is a size.
  assert.deepEqual(warm('/a=b/c=1t'), [['/a=b/c', 1e12, false]])
  assert.deepEqual(parsePlaces('=5g', 'hot', PLACES)[0], {
    ...{ tier: 'hot', directory: '/data/collections', size: 5e9, mustExist: false, isData: true },
  })
  assert.equal(parsePlaces('s3://evidence/site1/=1t', 'cold', PLACES)[0]!.directory, 's3://evidence/site1')
})

test('what is no place is refused, with its reason, and in the configuration with its line', () => {
  for (const [tier, text, reason] of [
    ['warm', '=1t', /a path is missing/],
    ['warm', '/a=1x', /"1x" is no size/],
    ['warm', '/a=0g', /no size/],
    ['warm', 's3://bucket/x', /only cold/],
    ['cold', 's3://B_/x', /no bucket/],
  ] as const)
    assert.throws(
      () => parsePlaces(text, tier, PLACES),
      (error: { code?: string; message: string }) => error.code === 'E_TIER_PLACES' && reason.test(error.message),
      text,
    )
  const rules = (yaml: string) => () => parseConfig(yaml, { file: 'c.yaml', environment: {} })
  assert.throws(rules('tiers:\n  warm: "/a=1t;/a/b=2t"\n'), /c\.yaml:2:.*lies in, another place/)
  assert.throws(rules('tiers:\n  cold: "/a=x"\n'), /c\.yaml:2:.*no size/)
  assert.throws(rules('tiers:\n  databases: { session: { warm_after_days: 1 } }\n'), /session/)
})

test('ages: of the database in the collection, of the collection, of the database, of all; sessions as events', () => {
  const { ages } = tierRules(
    {
      ...{ warm_after_days: 30, delete_after_days: 365, databases: { log: { warm_after_days: 7 } } },
      collections: { pci: { delete_after_days: 400, databases: { meta: { warm_after_days: 60 } } } },
    },
    { base: '/', dataDir: '/data' },
  )
  const days = (collection: string, kind: string) => {
    const { warm, delete: gone } = ages(collection, kind)
    return [warm! / 86_400, gone! / 86_400]
  }
  assert.deepEqual(days('main', 'meta'), [30, 365])
  assert.deepEqual(days('main', 'log'), [7, 365])
  assert.deepEqual(days('pci', 'log'), [7, 400])
  assert.deepEqual(days('pci', 'session'), [60, 400])
})

test('any text is a list of places or refused by its row of the table', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('/', 'a', '=', ';', '1', 'g', ' ', ':', 's3://', '\0', '\n') }),
      (text) => {
        try {
          for (const { directory, size } of parsePlaces(text, 'cold', PLACES)) {
            assert.match(directory, /^(\/|s3:\/\/)/)
            assert.ok(size === undefined || size > 0)
          }
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'E_TIER_PLACES')
        }
      },
    ),
  )
})
