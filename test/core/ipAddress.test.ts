import assert from 'node:assert/strict'
import { isIP, isIPv4 } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { cidrRange, ipKey, ipSpellings } from '../../src/core/ipAddress.ts'

test('both families share one sortable form', () => {
  assert.equal(ipKey('198.51.100.7'), '00000000000000000000ffffc6336407')
  assert.equal(ipKey('::ffff:198.51.100.7'), ipKey('198.51.100.7'))
  assert.equal(ipKey('::FFFF:c633:6407'), ipKey('198.51.100.7'))
  assert.equal(ipKey('2001:DB8::1'), '20010db8000000000000000000000001')
  assert.equal(ipKey('::'), '0'.repeat(32))
})

test('what programs read differently is no address', () => {
  for (const text of [
    '',
    '1',
    '1.2.3',
    '010.1.1.1',
    '1.2.3.4.5',
    '256.1.1.1',
    '0x7f.0.0.1',
    ' 1.2.3.4',
    '1.2.3.4\n',
    '::ffff:010.1.1.1',
    '::ffff:1.2.3.400',
    '1::2::3',
    'fe80::1%eth0',
    ':::',
    ':',
    '12345::',
    'cloudtrail.amazonaws.com',
    'AWS Internal',
    '1.2.3.4:80',
    '::1.2',
  ])
    assert.equal(ipKey(text), undefined, text)
})

test('a block is a range of keys', () => {
  assert.deepEqual(cidrRange('10.1.2.3/8'), { from: ipKey('10.0.0.0'), to: ipKey('10.255.255.255') })
  assert.deepEqual(cidrRange('2001:db8::/32'), {
    from: ipKey('2001:db8::'),
    to: ipKey('2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'),
  })
  assert.deepEqual(cidrRange('0.0.0.0/0'), { from: ipKey('0.0.0.0'), to: ipKey('255.255.255.255') })
  assert.deepEqual(cidrRange('::/0'), { from: '0'.repeat(32), to: 'f'.repeat(32) })
  assert.deepEqual(cidrRange('192.0.2.1'), { from: ipKey('192.0.2.1'), to: ipKey('192.0.2.1') })
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/08', '10/8', '::/129', '10.0.0.0/8/8', '/8'])
    assert.equal(cidrRange(text), undefined, text)
})

test('the order of keys is the order of addresses, and a block holds what its prefix says', () => {
  const octets = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))
  const value = (parts: readonly number[]) => parts.reduce((sum, part) => sum * 256 + part, 0)
  fc.assert(
    fc.property(octets, octets, fc.nat(32), (a, b, bits) => {
      const [left, right] = [ipKey(a.join('.'))!, ipKey(b.join('.'))!]
      assert.equal(left < right, value(a) < value(b))
      const block = cidrRange(`${b.join('.')}/${bits}`)!
      const size = 2 ** (32 - bits)
      assert.equal(left >= block.from && left <= block.to, Math.floor(value(a) / size) === Math.floor(value(b) / size))
    }),
  )
})

test('every address that the system reads has a key, and every spelling of it the same one', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      assert.ok(isIP(text))
      const key = ipKey(text)
      assert.ok(key)
      assert.match(key, /^[0-9a-f]{32}$/)
      assert.ok(ipSpellings(text).length > 0)
      for (const spelling of ipSpellings(text)) assert.equal(ipKey(spelling), key)
      if (isIPv4(text)) assert.ok(ipSpellings(text).includes(text))
    }),
  )
})

test('no text makes it throw', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:./%]{0,50}$/)), (text) => {
      if (ipKey(text) !== undefined) assert.ok(isIP(text), text)
      cidrRange(text)
    }),
  )
})
