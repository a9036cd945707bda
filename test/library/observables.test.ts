/** The canonical form of indicators by type, on the normaliser of the keysets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { indicatorTypeOf, normalizeIndicator } from '../../src/library/observables.ts'

const TYPES = [
  'ASN,CIDR Block,CVE,Email Address,FQDN,GOST Hash,IP Address,IPv6 Address,MAC Address,MD5,SHA-1,SHA-256,SHA-384',
  'SHA-512,URL,Username,String,Filename,constructor',
].flatMap((names) => names.split(','))

test('each type has its canonical form; what has none stays, in NFC', () => {
  for (const [type, value, canonical] of [
    ['IP Address', ' 10.0.0[.]1 ', '10.0.0.1'],
    ['IPv6 Address', '2001:DB8:0:0::1', '2001:db8::1'],
    ['IP Address', '::ffff:10.0.0.1', '10.0.0.1'],
    ['CIDR Block', '10.1.2.3/8', '10.0.0.0/8'],
    ['CIDR Block', '2001:DB8::1/32', '2001:db8::/32'],
    ['FQDN', 'WWW.Evil[.]Example', 'www.evil.example'],
    ['FQDN', '*.Evil.example', '*.evil.example'],
    ['FQDN', 'bücher.example', 'xn--bcher-kva.example'],
    ['URL', 'hxxp://EVIL.example:80/A?b=C#d', 'http://evil.example/A?b=C'],
    ['Email Address', 'Bob@Evil.example', 'bob@evil.example'],
    ['MD5', 'D41D8CD98F00B204E9800998ECF8427E', 'd41d8cd98f00b204e9800998ecf8427e'],
    ['SHA-384', 'AB'.repeat(48), 'ab'.repeat(48)],
    ['CVE', 'cve-2021-44228', 'CVE-2021-44228'],
    ['ASN', 'asn 0064512', 'AS64512'],
    ['MAC Address', '00-1A-2B-3C-4D-5E', '00:1a:2b:3c:4d:5e'],
    ['Username', 'Bob', 'bob'],
    ['MD5', 'not an md5 ', 'not an md5 '],
    ['String', 'Cafe\u0301', 'Caf\u00e9'],
    ['Filename', ' Evil.EXE', ' Evil.EXE'],
    ['constructor', 'x', 'x'],
  ] as const)
    assert.equal(normalizeIndicator(type, value), canonical, `${type} ${value}`)
})

test('the canonical form of a canonical form is itself', () => {
  const bracket = fc.constantFrom(
    '[.]',
    '(dot)',
    '[@]',
    '[:]',
    '[://]',
    '[[.]]',
    ':80',
    ':443',
    'hxxp://',
    'http://',
    'a',
    '.',
    'É',
    '/',
    '1',
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.array(bracket, { maxLength: 12 }).map((parts) => parts.join('')),
    fc.array(bracket, { maxLength: 12 }).map((parts) => `http://${parts.join('')}`),
    fc.webUrl(),
    fc.emailAddress(),
    fc.ipV4(),
    fc.ipV6(),
    fc.tuple(fc.ipV6(), fc.nat(128)).map(([ip, bits]) => `${ip}/${bits}`),
  )
  fc.assert(
    fc.property(fc.constantFrom(...TYPES), text, (type, value) => {
      const canonical = normalizeIndicator(type, value)
      assert.equal(normalizeIndicator(type, canonical), canonical)
    }),
    { numRuns: 5000 },
  )
})

test('hostile nesting costs no more than a few rounds', () => {
  const nested = `http://evil.example/${'['.repeat(2000)}.${']'.repeat(2000)}`
  assert.equal(normalizeIndicator('URL', nested), nested)
})

test('lines of plain lists are told apart', () => {
  for (const [line, type, value] of [
    ['10.0.0[.]1', 'IP Address', '10.0.0.1'],
    ['2001:DB8::1', 'IPv6 Address', '2001:db8::1'],
    ['10.1.2.3/9', 'CIDR Block', '10.0.0.0/9'],
    ['hxxps://evil[.]com/x', 'URL', 'https://evil.com/x'],
    ['Evil[.]com', 'FQDN', 'evil.com'],
    ['bob[@]evil.com', 'Email Address', 'bob@evil.com'],
    ['D41D8CD98F00B204E9800998ECF8427E', 'MD5', 'd41d8cd98f00b204e9800998ecf8427e'],
    ['a'.repeat(64), 'SHA-256', 'a'.repeat(64)],
    ['cve-2021-44228', 'CVE', 'CVE-2021-44228'],
    ['AB'.repeat(48), 'SHA-384', 'ab'.repeat(48)],
    ['AKIAIOSFODNN7EXAMPLE', 'String', 'AKIAIOSFODNN7EXAMPLE'],
  ] as const)
    assert.deepEqual(indicatorTypeOf(line), { type, value })
  for (const line of ['', 'hello world', '# comment', '10.0.0.256', 'file.nosuchtld'])
    assert.equal(indicatorTypeOf(line), undefined)
})
