import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { isIpText } from '../../src/core/ipText.ts'

const is = (text: string) => {
  const bytes = Buffer.from(`1${text}:`)
  return isIpText(bytes, 1, bytes.length - 1)
}

test('addresses of both families are told from other text as Node tells them', () => {
  const texts = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.ipV4().map((ip) => `::ffff:${ip}`),
    fc.string({ unit: fc.constantFrom(...'0123456789abcdef.:'), maxLength: 20 }),
    fc.string(),
  )
  fc.assert(
    fc.property(texts, (text) => {
      // Zones are local to a host, and forms that readers of addresses disagree about are left to their parser.
      fc.pre(!text.includes('%'))
      if (text.includes(':') && text.includes('.')) return
      assert.equal(is(text), isIP(text) !== 0, text)
    }),
    { numRuns: 3000 },
  )
})

test('what only looks like an address', () => {
  for (const text of ['', '.', '1.2.3', '1.2.3.4.5', '1.2.3.256', '1.2.3.04', '1..2.3', '1.2.3.4:80', ':', 'a:b', '-'])
    assert.equal(is(text), false, text)
  for (const text of ['0.0.0.0', '255.255.255.255', '::', '::1', '2001:db8::7', '1234::', '::ffff:10.0.0.1', 'FE80::A'])
    assert.equal(is(text), true, text)
})
