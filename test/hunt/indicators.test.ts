/** What is asked of keysets for an indicator, against the extractor: whatever it finds of the indicator is among it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { cidrRange, ipKey } from '../../src/core/ipAddress.ts'
import { observablesOf } from '../../src/core/observables.ts'
import { IndicatorSet, indicatorOf, planOf } from '../../src/hunt/indicators.ts'

const planned = (text: string) => planOf(indicatorOf(text)!)!

test('indicators as people write them', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['1.2.3[.]4', 'ip', '1.2.3.4'],
    ['hxxps://Evil[.]example[.]com:443/a?b=1', 'url', 'https://evil.example.com/a?b=1'],
    ['*.example[.]com', 'domain', 'example.com'],
    ['Mallory(at)example[dot]com', 'email', 'mallory@example.com'],
    ['user:Alice', 'user', 'alice'],
    ['D41D8CD98F00B204E9800998ECF8427E', 'md5', 'd41d8cd98f00b204e9800998ecf8427e'],
    ['2001:DB8::1', 'ip', '2001:db8::1'],
    ['::ffff:10.0.0.1', 'ip', '10.0.0.1'],
    ['198.51.100[.]0/24', 'cidr', '198.51.100.0/24'],
    ['http://plain.example.com/x', 'url', 'http://plain.example.com/x'],
    ['ip:1.2.3.4', 'ip', '1.2.3.4'],
  ]
  for (const [text, type, value] of cases) assert.deepEqual(indicatorOf(text), { type, value }, text)
  for (const text of ['', 'zzz', '1.2.3', '10.0.0.0/33', 'user:', 'suffix:zip', 'a b'])
    assert.equal(indicatorOf(text), undefined, text)
})

test('a block is asked for by what makes it up, or by the prefix that covers it', () => {
  const cases: readonly (readonly [string, string, number, boolean])[] = [
    ['10.0.0.0/8', 'ip16', 256, true],
    ['10.1.0.0/16', 'ip16', 1, true],
    ['10.1.0.0/20', 'ip24', 16, true],
    ['10.1.2.0/24', 'ip24', 1, true],
    ['10.1.2.128/25', 'ip', 128, true],
    ['10.1.2.3/32', 'ip', 1, true],
    ['2001:db8::/32', 'ip16', 1, true],
    ['2001:db8::/44', 'ip24', 16, true],
    ['2001:db8::/33', 'ip16', 1, false],
    ['2001:db8::/64', 'ip24', 1, false],
    ['2001:db8::1/128', 'ip', 1, true],
  ]
  for (const [text, type, count, isExact] of cases) {
    const plan = planned(text)
    assert.deepEqual([plan.type, plan.observables.length, plan.isExact], [type, count, isExact], text)
  }
  // Nothing covers these: they are told as not covered, never as absent.
  for (const text of ['0.0.0.0/0', '2000::/3']) assert.equal(planOf({ type: 'cidr', value: text }), undefined, text)
})

test('whatever address lies in a block, an event with it has one of the observables asked for; when exact, no other has', () => {
  const four = fc.tuple(fc.ipV4(), fc.integer({ min: 5, max: 32 })).map(([address, bits]) => `${address}/${bits}`)
  const six = fc.tuple(fc.ipV6(), fc.integer({ min: 20, max: 128 })).map(([address, bits]) => `${address}/${bits}`)
  fc.assert(
    fc.property(fc.oneof(four, six), fc.bigInt({ min: 0n, max: 2n ** 128n }), fc.ipV4(), (block, offset, other) => {
      const range = cidrRange(block)
      fc.pre(range !== undefined)
      const plan = planOf({ type: 'cidr', value: block })!
      const from = BigInt(`0x${range!.from}`)
      const size = BigInt(`0x${range!.to}`) - from + 1n
      const inside = (from + (offset % size))
        .toString(16)
        .padStart(32, '0')
        .replace(/(.{4})(?!$)/g, '$1:')
      const asked = new Set(plan.observables.map(({ type, value }) => `${type} ${value}`))
      const isFound = (address: string): boolean =>
        observablesOf(`source ${address} seen`).some(({ type, value }) => asked.has(`${type} ${value}`))
      assert.ok(isFound(inside), `${inside} of ${block}`)
      const key = ipKey(other)!
      if (plan.isExact && (key < range!.from || key > range!.to))
        assert.ok(!isFound(other), `${other} is not in ${block}`)
    }),
    { numRuns: 150 },
  )
})

test('a set gives back what was added, and counts what no keyset covers', () => {
  const set = new IndicatorSet()
  const given = [
    { type: 'FQDN', value: 'évil.example.com', uid: 'u1' },
    { type: 'IP Address', value: '1.2.3.4' },
    { type: 'CVE', value: 'CVE-2023-1' },
    { type: 'CIDR Block', value: '10.0.0.0/8', uid: 'u3' },
    { type: 'URL', value: 'http://a.example.com/?x=1' },
  ]
  for (const one of given) set.add(one)
  assert.deepEqual(
    Array.from({ length: set.size }, (_, i) => set.indicator(i)),
    given.filter(({ type }) => type !== 'CVE'),
  )
  assert.deepEqual([...set.notCovered], [['CVE', 1]])
  assert.deepEqual(set.observablesOf(2), { first: 2, end: 258 })
  assert.deepEqual([set.observable(257).owner, set.observable(258).type, set.observables], [2, 5, 260])
  const again = new IndicatorSet()
  for (const one of given) again.add(one)
  assert.equal(set.digest(), again.digest())
  again.add({ type: 'IP Address', value: '1.2.3.5' })
  assert.notEqual(set.digest(), again.digest())
})
