import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { ObservableExtractor } from '../../src/core/observableExtractor.ts'
import { normalize, OBSERVABLE_TYPES, type ObservableType, observablesOf } from '../../src/core/observables.ts'
import { sipKey } from '../../src/core/sipHash.ts'
import {
  columnHash,
  describeKeyset,
  encodeKeyset,
  KeysetBuilder,
  type KeysetContent,
  mergeKeysets,
  openKeyset,
} from '../../src/store/keyset.ts'
import type { KeysetKey } from '../../src/store/keysetKeys.ts'

const key: KeysetKey = { epoch: '2026', id: '01234567', key: Buffer.from('0123456789abcdef') }
const sip = sipKey(key.key)
const columns = ['src_endpoint_ip', 'api_operation']

function contentOf(strings: readonly string[], operations: readonly string[] = [], maxKeys?: number): KeysetContent {
  const builder = new KeysetBuilder({ key, columns, maxKeys })
  const extractor = new ObservableExtractor(sip, (type, hash) => builder.add(type, hash))
  for (const text of strings) {
    const bytes = Buffer.from(text)
    extractor.extract(bytes, 0, bytes.length)
  }
  for (const value of operations) {
    const bytes = Buffer.from(value)
    builder.addColumn('api_operation', columnHash(sip, bytes, 0, bytes.length))
  }
  return builder.finish()
}
const keysetOf = (strings: readonly string[], operations?: readonly string[], maxKeys?: number) =>
  openKeyset(encodeKeyset(contentOf(strings, operations, maxKeys)), 'test.ks')

const corrupt = (error: unknown) => error instanceof ColdtrailError && error.code.startsWith('E_KEYSET_')

test('verdicts: possible, absent, and unknown without key, coverage or form', () => {
  const keyset = keysetOf(['health.amazonaws.com', '10.248.16.43 notes.json'], ['CreateUser'])
  assert.equal(keyset.contains('ip', '10[.]248.16.43', key), 'possible')
  assert.equal(keyset.contains('ip24', '10.248.16.0/24', key), 'possible')
  assert.equal(keyset.contains('ip', '10.248.16.44', key), 'absent')
  assert.equal(keyset.contains('domain', 'AMAZONAWS.com', key), 'possible')
  assert.equal(keyset.contains('domain', 'evil.com', key), 'absent')
  // Nobody knew .json as a suffix, nor does anybody know whether it will be one.
  assert.equal(keyset.contains('domain', 'evil.json', key), 'unknown')
  assert.equal(keyset.contains('domain', 'evil.suffixoftomorrow', key), 'absent')
  assert.equal(keyset.contains('domain', 'no domain', key), 'unknown')
  assert.equal(keyset.contains('=api_operation', 'CreateUser', key), 'possible')
  assert.equal(keyset.contains('=api_operation', 'createuser', key), 'absent')
  assert.equal(keyset.contains('=actor_user_name', 'bob', key), 'unknown')
  assert.equal(keyset.contains('ip', '10.248.16.43', undefined), 'unknown')
  assert.equal(keyset.contains('ip', '10.248.16.44', { ...key, id: '89abcdef' }), 'unknown')
  assert.equal(keyset.contains('user', 'bob', key), 'absent')
})

test('a URL that free text may have cut off is never absent', () => {
  const keyset = keysetOf(['see (http://evil.com/a?x=1) now', 'GET https://ok.com/b/ done'])
  assert.equal(keyset.contains('url', 'http://evil.com/a?x=1', key), 'possible')
  assert.equal(keyset.contains('url', 'http://evil.com/a', key), 'possible')
  assert.equal(keyset.contains('url', 'http://evil.com/b?x=1', key), 'absent')
  assert.equal(keyset.contains('url', 'https://ok.com/b?x', key), 'absent')
})

test('a name beyond ASCII is only absent where no such text was', () => {
  assert.equal(keysetOf(['訪問bücher.deして']).contains('domain', 'bücher.de', key), 'unknown')
  assert.equal(keysetOf(['see bücher.de now']).contains('domain', 'bücher.de', key), 'possible')
  assert.equal(keysetOf(['plain.com']).contains('domain', 'bücher.de', key), 'absent')
})

test('a full section says nothing about what it does not hold', () => {
  const addresses = Array.from({ length: 500 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)
  const keyset = keysetOf(addresses, [], 100)
  assert.equal(keyset.contains('ip', '11.0.0.1', key), 'unknown')
  assert.equal(keyset.contains('ip24', '11.0.0.0/24', key), 'absent')
  assert.deepEqual(describeKeyset(contentOf(addresses, [], 100)).reason, 'ip: more than 100 distinct values')
  assert.equal(describeKeyset(contentOf(addresses, [], 100)).n.ip, 100)
})

test('what was not seen spoils the sections it may belong to', () => {
  const builder = new KeysetBuilder({ key, columns })
  builder.incomplete('a record was cut', 'domain')
  const keyset = openKeyset(encodeKeyset(builder.finish()), 'test.ks')
  assert.equal(keyset.contains('domain', 'evil.com', key), 'unknown')
  assert.equal(keyset.contains('ip', '1.2.3.4', key), 'absent')
})

/** Indicators and, for each, texts in which the coverage says it is seen. */
const indicator = fc.oneof(
  fc.ipV4().map((value) => ['ip', value] as const),
  fc.ipV6().map((value) => ['ip', value] as const),
  fc.domain().map((value) => ['domain', value] as const),
  fc.webUrl({ withQueryParameters: true }).map((value) => ['url', value] as const),
  fc.tuple(fc.stringMatching(/^[a-z][a-z0-9._+]{0,9}$/), fc.domain()).map(([a, b]) => ['email', `${a}@${b}`] as const),
  fc.stringMatching(/^[0-9a-f]{40}$/).map((value) => ['sha1', value] as const),
  fc.stringMatching(/^ASIA[A-Z0-9]{16}$/).map((value) => ['aws_access_key', value] as const),
  fc.stringMatching(/^arn:aws:s3:::[a-z]{3,9}\/[a-z*$~,]{1,9}$/).map((value) => ['arn', value] as const),
)
const context = fc.constantFrom('X', ' X ', 'a (X) b', '"X"', '<X>', 'x,X,y', '{"k":"X"}', 'see X.', 'X\n', '\tX;')

test('no false absent: an indicator in any context of the coverage', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(indicator, context), { minLength: 1, maxLength: 12 }), (placed) => {
      const keyset = keysetOf(placed.map(([[, value], around]) => around.replace('X', () => value)))
      for (const [[type, value], around] of placed) {
        assert.notEqual(keyset.contains(type, value, key), 'absent', `${type} ${value} in ${around}`)
      }
    }),
    { numRuns: 500 },
  )
})

test('every observable of any text is possible afterwards, also merged', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.webUrl(), fc.emailAddress(), fc.json())
  fc.assert(
    fc.property(fc.array(text, { maxLength: 10 }), fc.array(text, { maxLength: 10 }), (left, right) => {
      const merged = mergeKeysets([contentOf(left), contentOf(right)])
      assert.deepEqual(merged, contentOf([...left, ...right]))
      const keyset = openKeyset(encodeKeyset(merged), 'merged.ks')
      assert.deepEqual(keyset.content(), merged)
      for (const string of [...left, ...right]) {
        for (const { type, value } of observablesOf(Buffer.from(string).toString())) {
          if (normalize(type, value) !== value) continue
          assert.equal(keyset.contains(type, value, key), 'possible', `${type} ${value}`)
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('a merge is complete only where every part is, and refuses another key', () => {
  const part = contentOf(['1.2.3.4'])
  const capped = contentOf(['1.2.3.4 5.6.7.8'], [], 1)
  const merged = mergeKeysets([part, capped, part])
  const ip = merged.sections.find((section) => section.name === 'ip')!
  assert.deepEqual([ip.complete, ip.reason], [false, 'more than 1 distinct values'])
  const without = { ...part, sections: part.sections.filter((section) => section.name !== 'ip') }
  assert.equal(mergeKeysets([part, without]).sections.find((section) => section.name === 'ip')!.complete, false)
  assert.throws(() => mergeKeysets([part, { ...part, keyId: 'ffffffff' }]), { code: 'E_KEYSET_MIXED' })
  assert.throws(() => mergeKeysets([part, { ...part, extractor: 'obs/2' }]), { code: 'E_KEYSET_MIXED' })
})

test('sorted distinct keys of any size come back, and false hits are as rare as 48 bits allow', () => {
  for (const count of [0, 1, 2, 255, 256, 257, 511, 512, 513, 20_000]) {
    const builder = new KeysetBuilder({ key, columns })
    const bytes = randomBytes(count * 6)
    const wanted = new Set<number>()
    for (let i = 0; i < count; i++) {
      const hash = bytes.readUIntLE(i * 6, 6)
      wanted.add(hash)
      builder.add(OBSERVABLE_TYPES.ip, hash)
      if (i % 3 === 0) builder.add(OBSERVABLE_TYPES.ip, hash)
    }
    const keyset = openKeyset(encodeKeyset(builder.finish()), 'test.ks')
    assert.deepEqual(
      [...keyset.keys('ip')!],
      [...wanted].sort((a, b) => a - b),
    )
    for (const hash of [...wanted].slice(0, 600)) assert.ok(keyset.has('ip', hash))
    const probes = randomBytes(6000)
    for (let i = 0; i < 1000; i++) {
      const hash = probes.readUIntLE(i * 6, 6)
      assert.equal(keyset.has('ip', hash), wanted.has(hash))
    }
  }
  const edges = new KeysetBuilder({ key, columns })
  for (const hash of [0, 1, 2 ** 48 - 1, 2 ** 47]) edges.add(OBSERVABLE_TYPES.url, hash)
  const opened = openKeyset(encodeKeyset(edges.finish()), 'edges.ks')
  assert.deepEqual([...opened.keys('url')!], [0, 1, 2 ** 47, 2 ** 48 - 1])
})

test('another version is refused by name', () => {
  const bytes = encodeKeyset(contentOf(['1.2.3.4']))
  bytes.writeUInt16LE(2, 4)
  assert.throws(() => openKeyset(bytes, 'k.ks'), { code: 'E_KEYSET_VERSION' })
})

/** Asks everything of bytes that may be damaged. True when nothing refused them. */
function survives(bytes: Buffer, asked: readonly (readonly [ObservableType, string])[]): boolean {
  try {
    const keyset = openKeyset(bytes, 'hostile.ks')
    keyset.content()
    for (const [type, value] of asked) assert.notEqual(keyset.contains(type, value, key), 'absent', `${type} ${value}`)
    return true
  } catch (error) {
    if (!corrupt(error)) throw error
    return false
  }
}

test('truncations and changed bytes are refused', () => {
  const addresses = Array.from({ length: 700 }, (_, i) => `10.1.${i >> 8}.${i & 255}`)
  const bytes = encodeKeyset(contentOf(addresses, ['A', 'B']))
  const asked = addresses.slice(0, 20).map((value) => ['ip', value] as const)
  assert.ok(survives(bytes, asked))
  for (let end = 0; end < bytes.length; end += end < 600 ? 1 : 37) assert.ok(!survives(bytes.subarray(0, end), asked))
  assert.ok(!survives(Buffer.concat([bytes, Buffer.from([0])]), asked))
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(bytes)
      changed[at]! ^= flip
      assert.ok(!survives(changed, asked))
    }),
    { numRuns: 500 },
  )
})

test('damage behind valid checksums neither crashes nor takes memory', async () => {
  const { crc32 } = await import('node:zlib')
  const bytes = encodeKeyset(contentOf(Array.from({ length: 300 }, (_, i) => `10.1.${i >> 8}.${i & 255}`)))
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.length - 17), fc.nat(255)), { minLength: 1, maxLength: 3 }),
      (changes) => {
        const changed = Buffer.from(bytes)
        for (const [at, byte] of changes) changed[16 + at] = byte
        // Makes every checksum right again where the structure still leads to it.
        const headerLength = changed.readUInt32LE(8)
        let at = 16
        for (let i = 0; i < 3; i++) at += 1 + changed[at]!
        let body = headerLength
        for (let left = changed.readUInt16LE(6); left > 0 && at + 20 < headerLength; left--) {
          at += 2
          at += 1 + changed[at]!
          at += 1 + (changed[at] ?? 0)
          if (at + 12 > headerLength) break
          const length = changed.readUInt32LE(at + 4)
          changed.writeUInt32LE(crc32(changed.subarray(body, body + length)), at + 8)
          body += length
          at += 12
        }
        changed.writeUInt32LE(crc32(changed.subarray(16, headerLength)), 12)
        survives(changed, [])
      },
    ),
    { numRuns: 2000 },
  )
})

test('random bytes are no keyset', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => assert.ok(!survives(Buffer.from(bytes), []))))
})
