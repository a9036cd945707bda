/** Indicators in events: what blocks and names cover, against plain forms of both. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PluginComponent } from '../../../src/components/plugin.ts'
import { indicatorMatch } from '../../../src/components/plugins/indicator_match.ts'
import { kindOf, lookFor } from '../../../src/components/plugins/indicators/lookFor.ts'
import { cidrRange, ipKey } from '../../../src/core/ipAddress.ts'
import { observablesOf } from '../../../src/core/observables.ts'
import { normalizeIndicator } from '../../../src/library/observables.ts'
import { withPlugin } from '../../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, whole } from '../../support/pluginRun.ts'

const component = indicatorMatch as unknown as PluginComponent
const uid = (i: number): string => `00000000-0000-7000-8000-${String(i).padStart(12, '0')}`

async function matches(indicators: readonly (readonly [type: string, value: string])[], events: readonly PlainEvent[]) {
  const known = indicators.map(([type, value], i) => ({ type, value: normalizeIndicator(type, value), uid: uid(i) }))
  return withPlugin(component, { indicators: known }, async (plugin, around) => {
    const { tags } = await runPlugin(plugin, whole(events), around)
    return tags.map((tag) => {
      const [id, , rule] = tag.split(' ')
      return [Number(id), known.findIndex((one) => one.uid === rule)] as const
    })
  })
}

const quad = fc
  .tuple(fc.constantFrom(10, 11, 198), fc.constantFrom(0, 51), fc.nat(3), fc.nat(255))
  .map((parts) => parts.join('.'))
const six = fc
  .tuple(fc.constantFrom('2001:db8', '2001:db9', 'fe80:0'), fc.nat(3), fc.nat(65_535))
  .map(([a, b, c]) => `${a}:${b.toString(16)}::${c.toString(16)}`)
const address = fc.oneof(quad, six)
const block = fc.oneof(
  fc.tuple(quad, fc.integer({ min: 1, max: 32 })).map(([ip, bits]) => `${ip}/${bits}`),
  fc.tuple(six, fc.integer({ min: 1, max: 128 })).map(([ip, bits]) => `${ip}/${bits}`),
)

test('blocks hold the addresses that their range holds, of both families and in every spelling', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(block, { minLength: 1, maxLength: 8 }),
      fc.array(
        fc.oneof(
          address,
          quad.map((ip) => `::ffff:${ip}`),
        ),
        { maxLength: 12 },
      ),
      async (blocks, addresses) => {
        const types = [...new Set(blocks)].map((text) => ['CIDR Block', text] as const)
        const events = addresses.map((ip, i) => ({ id: i + 1, src_endpoint_ip: ip }))
        const found = await matches(types, events)
        const expected = addresses.flatMap((ip, i) =>
          types.flatMap(([, text], at) => {
            const { from, to } = cidrRange(text)!
            const key = ipKey(ip)!
            return key >= from && key <= to ? [[i + 1, at] as const] : []
          }),
        )
        const order = (a: readonly number[], b: readonly number[]) => a[0]! - b[0]! || a[1]! - b[1]!
        // Equal blocks in two spellings are two indicators.
        assert.deepEqual([...found].sort(order), expected.sort(order))
      },
    ),
    { numRuns: 60 },
  )
})

test('what the extractor finds in free text is looked for, whatever stands around it', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      ...['evil.example.com', 'http://evil.example.com/x', '198.51.100.7', 'a@b.example.org', 'AKIAIOSFODNN7EXAMPLE'],
      ...[
        'arn:aws:iam::123456789012:role/x',
        'd41d8cd98f00b204e9800998ecf8427e',
        ' ',
        '=',
        '/',
        ':',
        '"',
        'é',
        '{"a":"b.com"}',
      ],
    ),
    fc.string({ maxLength: 6 }),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const text = pieces.join('')
      const looked = new Set<string>()
      lookFor('http_request_user_agent', text, [], (kind, value) => looked.add(`${kind} ${value}`))
      for (const { type, value } of observablesOf(text)) {
        if (!['ip', 'domain', 'url', 'email', 'md5', 'sha1', 'sha256', 'sha512', 'arn'].includes(type)) continue
        assert.ok(looked.has(`${type} ${value}`), `${type} ${value} in ${JSON.stringify(text)}`)
      }
    }),
    { numRuns: 500 },
  )
})

test('a name is found as itself and above what lies below it; with an asterisk only below', async () => {
  const indicators = [
    ['FQDN', 'evil.example'],
    ['FQDN', '*.evil.example'],
  ] as const
  const names = ['evil.example', 'a.evil.example', 'b.a.evil.example', 'notevil.example', 'evil.example.org', 'example']
  const events = names.map((query_hostname, i) => ({ id: i + 1, query_hostname }))
  const found = (await matches(indicators, events)).map(([event, indicator]) => `${event} ${indicators[indicator]![1]}`)
  assert.deepEqual(found.sort(), [
    '1 evil.example',
    '2 *.evil.example',
    '2 evil.example',
    '3 *.evil.example',
    '3 evil.example',
  ])
})

test('types that no event can have are counted; hostile type names are none', async () => {
  for (const type of ['CVE', 'constructor', '__proto__', 'toString', '']) assert.equal(kindOf(type, 'x'), undefined)
  const indicators = [{ type: 'CVE', value: 'CVE-2021-44228', uid: uid(1) }]
  const report = await withPlugin(
    component,
    { indicators },
    async (plugin, around) => (await runPlugin(plugin, whole([]), around)).report,
  )
  assert.deepEqual(report.counters, [
    ['indicators', 0],
    ['not looked for: CVE', 1],
  ])
})
