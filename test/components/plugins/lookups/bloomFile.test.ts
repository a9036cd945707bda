/** Bloom filters of the hashlookup project: the same bits as other readers, and nothing taken that is damaged. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { fingerprint, openBloomFile } from '../../../../src/components/plugins/lookups/bloomFile.ts'
import { ColdtrailError } from '../../../../src/core/errors.ts'
import { bloomFilter } from '../../../support/bloomFilter.ts'

const folder = mkdtempSync(join(tmpdir(), 'coldtrail-bloom-'))
after(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'f.bloom')

test('bits of a value are those that other implementations publish', () => {
  // Capacity 100,000 and 1 %: 958,505 bits and 7 functions (tests of DCSO's bloom and of hashlookup's fleur).
  assert.deepEqual(
    fingerprint('bar', { bits: 958_505, hashFunctions: 7 }),
    [20_311, 36_825, 412_501, 835_777, 658_914, 853_361, 307_361],
  )
})

test('the header of the published filter is taken: 354 million hashes, 14 functions', () => {
  const header = Buffer.alloc(48)
  header.writeBigUInt64LE(1n, 0)
  header.writeBigUInt64LE(354_253_067n, 8)
  header.writeDoubleLE(0.0001, 16)
  header.writeBigUInt64LE(14n, 24)
  header.writeBigUInt64LE(6_791_072_655n, 32)
  header.writeBigUInt64LE(354_249_652n, 40)
  writeFileSync(path, header)
  // Of the length of the whole one, without its bytes.
  truncateSync(path, 48 + Math.ceil(6_791_072_655 / 64) * 8)
  const filter = openBloomFile(path)
  assert.equal(filter.header.elements, 354_249_652)
  assert.equal(filter.has('ANYTHING'), false)
  filter.close()
})

test('everything that was put in is found, and hardly anything else', () => {
  const values = fc.uniqueArray(fc.string({ maxLength: 40 }), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(values, fc.constantFrom(0.001, 0.0001), (given, rate) => {
      writeFileSync(path, bloomFilter(given, 200, rate, 'more behind it'))
      const filter = openBloomFile(path)
      assert.ok(given.every((value) => filter.has(value)))
      const strangers = Array.from({ length: 200 }, (_, i) => `stranger ${i}`).filter((value) => !given.includes(value))
      assert.ok(strangers.filter((value) => filter.has(value)).length <= 5)
      filter.close()
    }),
    { numRuns: 20 },
  )
})

test('a filter that is too large to be held is read where it is needed', () => {
  writeFileSync(path, bloomFilter(['here'], 10_000_000, 0.0001))
  const filter = openBloomFile(path)
  assert.ok(filter.header.bits / 8 > 2 ** 24)
  assert.equal(filter.has('here'), true)
  assert.equal(filter.has('there'), false)
  filter.close()
})

test('what is no such file is refused by name', () => {
  const good = bloomFilter(['x'], 100, 0.001)
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(good)
    change(bytes)
    return bytes
  }
  const cases: readonly (readonly [Buffer, RegExp])[] = [
    [Buffer.alloc(0), /0 bytes, and the header alone has 48/],
    [good.subarray(0, 47), /47 bytes/],
    [good.subarray(0, good.length - 1), /of \d+ bytes/],
    [gzipSync(good), /packed by gzip/],
    [changed((bytes) => bytes.writeUInt8(2, 0)), /version is 2/],
    [changed((bytes) => bytes.writeDoubleLE(Number.NaN, 16)), /false positive rate/],
    [changed((bytes) => bytes.writeDoubleLE(1, 16)), /false positive rate/],
    [changed((bytes) => bytes.writeBigUInt64LE(0n, 8)), /capacity/],
    [changed((bytes) => bytes.writeBigUInt64LE(2n ** 63n, 8)), /capacity/],
    [changed((bytes) => bytes.writeBigUInt64LE(2n ** 60n, 24)), /hash functions/],
    [changed((bytes) => bytes.writeBigUInt64LE(0n, 24)), /hash functions/],
    [changed((bytes) => bytes.writeBigUInt64LE(99n, 32)), /bits/],
  ]
  for (const [bytes, reason] of cases) {
    writeFileSync(path, bytes)
    assert.throws(
      () => openBloomFile(path),
      (error) => error instanceof ColdtrailError && error.code === 'E_BLOOM_FILE' && reason.test(error.message),
      String(reason),
    )
  }
  assert.throws(
    () => openBloomFile(join(folder, 'absent')),
    (error) => error instanceof ColdtrailError && error.code === 'E_FILE_READ',
  )
  assert.throws(
    () => openBloomFile(folder),
    (error) => error instanceof ColdtrailError && /no regular file/.test(error.message),
  )
})
