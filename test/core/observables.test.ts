import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  classify,
  normalize,
  OBSERVABLE_TYPES,
  type ObservableType,
  observablesOf,
} from '../../src/core/observables.ts'

const found = (text: string, isUser = false) =>
  [...new Set(observablesOf(text, isUser).map(({ type, value }) => `${type} ${value}`))].sort()

/** Text and everything it gives. */
const CASES: readonly (readonly [string, readonly string[]])[] = [
  ['10.248.16.43', ['ip 10.248.16.43', 'ip16 10.248.0.0/16', 'ip24 10.248.16.0/24']],
  ['SRC=10.0.0.9:443,', ['ip 10.0.0.9', 'ip16 10.0.0.0/16', 'ip24 10.0.0.0/24']],
  ['::ffff:10.0.0.9', ['ip 10.0.0.9', 'ip16 10.0.0.0/16', 'ip24 10.0.0.0/24']],
  ['to [2001:0DB8:0:7::1]:443', ['ip 2001:db8:0:7::1', 'ip16 2001:db8::/32', 'ip24 2001:db8::/48']],
  ['fe80::1%eth0.', ['ip fe80::1', 'ip16 fe80::/32', 'ip24 fe80::/48']],
  ['010.1.1.1 256.1.1.1 1.2.3 1.2.3.4.5', []],
  ['EC2.amazonaws.com', ['domain amazonaws.com', 'domain ec2.amazonaws.com']],
  ['a.b.co.uk.', ['domain a.b.co.uk', 'domain b.co.uk', 'domain co.uk']],
  ['me.github.io', ['domain github.io', 'domain me.github.io']],
  ['ip-10-0-0-1.ec2.internal', ['domain ec2.internal', 'domain ip-10-0-0-1.ec2.internal']],
  ['notes.json', ['suffix json']],
  ['1.08', []],
  ['2023-07-10T11:42:31Z', []],
  ['2023-07-10T11:42:31.123Z', []],
  ['163b4a7d-19fd-40df-9694-47534b8e2c3a', []],
  [
    'http://User@Evil.COM:80/A/b/?x=1#top',
    ['domain evil.com', 'email user@evil.com', 'url http://user@evil.com/A/b', 'url http://user@evil.com/A/b/?x=1'],
  ],
  ['see (https://evil.com/a?x=1)', ['domain evil.com', 'stem https://evil.com/a', 'url https://evil.com/a']],
  ['From: <Bob.X+y@Mail.evil.com>', ['domain evil.com', 'domain mail.evil.com', 'email bob.x+y@mail.evil.com']],
  [`sha256:${'Ab'.repeat(32)}`, [`sha256 ${'ab'.repeat(32)}`]],
  ['d41d8cd98f00b204e9800998ecf8427e.exe', ['md5 d41d8cd98f00b204e9800998ecf8427e', 'suffix exe']],
  ['key AKIAIOSFODNN7EXAMPLE!', ['aws_access_key AKIAIOSFODNN7EXAMPLE']],
  ['akiaiosfodnn7example', []],
  ['arn:aws:iam::123837392027:user/benjamin', ['arn arn:aws:iam::123837392027:user/benjamin']],
  ['arn:aws:s3:::b/my file*', ['arn arn:aws:s3:::b/my', 'arn arn:aws:s3:::b/my file*']],
  ['{"userName":"Bob","ip":["1.2.3.4"]}', ['ip 1.2.3.4', 'ip16 1.2.0.0/16', 'ip24 1.2.3.0/24', 'user bob']],
  ['{"a":"{\\"h\\":\\"x\\\\u002ecom\\"}"}', ['domain x.com']],
  ['{"a":"x\\n1.2.3.4', ['ip 1.2.3.4', 'ip16 1.2.0.0/16', 'ip24 1.2.3.0/24']],
  ['bücher.de', ['domain cher.de', 'domain xn--bcher-kva.de']],
  ['wait...evil.com', ['domain evil.com']],
  ['', []],
]

test('finds what the coverage names, and nothing else', () => {
  for (const [text, expected] of CASES) assert.deepEqual(found(text), [...expected].sort(), text)
})

test('user names only where the key says so', () => {
  assert.deepEqual(found('Alice'), [])
  assert.deepEqual(found(' Alice ', true), ['user alice'])
})

test('indicators in other spellings have one canonical form', () => {
  const spellings: readonly (readonly [ObservableType, string, string])[] = [
    ['ip', '2001:DB8:0:0::1', '2001:db8::1'],
    ['ip', '::ffff:1.2.3.4', '1.2.3.4'],
    ['ip', '1[.]2[.]3[.]4', '1.2.3.4'],
    ['ip16', '10.248.16.43', '10.248.0.0/16'],
    ['ip24', '10.248.16.0/24', '10.248.16.0/24'],
    ['domain', 'Evil[.]COM.', 'evil.com'],
    ['domain', '*.evil.com', 'evil.com'],
    ['domain', 'BÜCHER.de', 'xn--bcher-kva.de'],
    ['url', 'hxxps://Evil(.)com:443/A#x', 'https://evil.com/A'],
    ['url', 'hxxp[:]//evil.com/', 'http://evil.com'],
    ['email', 'Bob[@]Evil[.]com', 'bob@evil.com'],
    ['user', ' ÄNNE ', 'änne'],
  ]
  for (const [type, text, expected] of spellings) assert.equal(normalize(type, text), expected, text)
  for (const [type, text] of [
    ['ip', '1.2.3'],
    ['ip', '01.2.3.4'],
    ['domain', 'localhost'],
    ['url', 'http://a b'],
    ['sha1', 'd41d8cd98f00b204e9800998ecf8427e'],
    ['email', 'evil.com'],
    ['arn', 'arn:aws'],
  ] as const) {
    assert.equal(normalize(type, text), undefined, text)
  }
})

test('classify names the type', () => {
  assert.deepEqual(classify('hxxp://evil[.]com/x'), { type: 'url', value: 'http://evil.com/x' })
  assert.deepEqual(classify('Evil.com'), { type: 'domain', value: 'evil.com' })
  assert.deepEqual(classify('10.1.0.0/16'), { type: 'ip16', value: '10.1.0.0/16' })
  assert.deepEqual(classify('2001:db8::/48'), { type: 'ip24', value: '2001:db8::/48' })
  assert.deepEqual(classify('DA39A3EE5E6B4B0D3255BFEF95601890AFD80709')?.type, 'sha1')
  assert.equal(classify('notes.json'), undefined)
  assert.equal(classify('10.1.0.0/20'), undefined)
  assert.equal(classify('hello'), undefined)
})

test('what was found is canonical, and is found again as a value of its own', () => {
  const piece = fc.constantFrom(
    'http://Evil.com:80/a?b',
    'bob@x.example.com',
    '1.2.3.4',
    'fe80::1',
    'bücher.de',
    'arn:aws:s3:::b/x*',
    '?',
    '.',
    '/',
    ' ',
    ':',
    '=',
    '@',
    '-',
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 6 }), (parts) => {
      for (const { type, value } of observablesOf(parts.join(''), true)) {
        assert.ok(OBSERVABLE_TYPES[type] > 0)
        if (type === 'suffix') continue
        assert.equal(normalize(type, value), value, `${type} ${value}`)
        if (type === 'stem' || type.startsWith('ip1') || type.startsWith('ip2')) continue
        assert.ok(
          observablesOf(value, type === 'user').some((again) => again.type === type && again.value === value),
          `${type} ${value}`,
        )
      }
    }),
    { numRuns: 2000 },
  )
})

test('hostile text takes linear time', () => {
  const started = performance.now()
  for (const unit of ['=', 'a@', '://', 'a://', 'arn:', '.', 'a.', '-', ':', '\\', '[', '"\\', '1.', 'é.', 'A'])
    observablesOf(`${unit.repeat(100_000 / unit.length)}!`)
  assert.ok(performance.now() - started < 20_000)
})
