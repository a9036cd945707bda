import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import {
  codecOf,
  decodeStream,
  decodeWhole,
  promisedCodec,
  RATIO_FLOOR,
  WHOLE_BYTES,
} from '../../src/collect/decode.ts'
import { ColdtrailError } from '../../src/core/errors.ts'

const limits = { maxBytes: 2 ** 34, maxRatio: 200 }
const text = Buffer.from('2023-07-10T11:40:00Z a line of a log, long enough to be compressed\n'.repeat(50))

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function streamed(bytes: Buffer, size = 1000, within = limits): Promise<Buffer> {
  const { decoded } = await decodeStream(pieces(bytes, size), bytes.length, within)
  const chunks: Buffer[] = []
  for await (const chunk of decoded) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function refusedBoth(bytes: Buffer, code: string, cause = /./): Promise<void> {
  const isRefusal = (error: unknown): boolean => {
    assert.ok(error instanceof ColdtrailError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, cause)
    return true
  }
  assert.throws(() => decodeWhole(bytes, limits), isRefusal)
  await assert.rejects(streamed(bytes), isRefusal)
}

test('law: whatever was compressed, in any layers and members, comes back whole and streamed', async () => {
  const compress = fc.constantFrom<(bytes: Buffer) => Buffer>(gzipSync, zstdCompressSync)
  const parts = fc.array(
    fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
    { minLength: 1, maxLength: 4 },
  )
  await fc.assert(
    fc.asyncProperty(compress, parts, fc.integer({ min: 1, max: 700 }), async (pack, members, size) => {
      // A letter in front: random bytes must not look like a container.
      const plain = [Buffer.from('x'), ...members]
      const expected = Buffer.concat(plain)
      for (const bytes of [Buffer.concat(plain.map(pack)), gzipSync(Buffer.concat(plain.map(pack)))]) {
        assert.deepEqual(decodeWhole(bytes, limits).decoded, expected)
        assert.deepEqual(await streamed(bytes, size), expected)
      }
      assert.equal(decodeWhole(expected, limits).decoded, expected)
      assert.deepEqual(await streamed(expected, size), expected)
    }),
    { numRuns: 60 },
  )
})

test('law: a truncated object is refused at every length, and nothing but its truth is ever given', async () => {
  for (const whole of [gzipSync(text), zstdCompressSync(text)]) {
    for (let length = 8; length < whole.length; length += 1) {
      assert.throws(() => decodeWhole(whole.subarray(0, length), limits), /E_OBJECT_CORRUPT|unexpected end/)
      if (length % 7 === 0) await assert.rejects(streamed(whole.subarray(0, length), 11), /unexpected end/)
    }
  }
})

test('a flipped byte is refused, with the place where reading ends', async () => {
  const bytes = gzipSync(Buffer.from(Array.from({ length: 3000 }, (_, i) => (i * i * 7919) >> 7)))
  bytes[1500]! ^= 0xff
  await refusedBoth(bytes, 'E_OBJECT_CORRUPT', /gzip data are corrupt near byte \d+/)
  const zstd = zstdCompressSync(text)
  zstd[10]! ^= 0xff
  assert.throws(() => decodeWhole(zstd, limits), { code: 'E_OBJECT_CORRUPT' })
})

test('bytes after the end are refused, be they zeros', async () => {
  for (const tail of ['garbage', '\0\0\0\0', '\0x', '\x1f'])
    await refusedBoth(Buffer.concat([gzipSync(text), Buffer.from(tail)]), 'E_OBJECT_CORRUPT')
  for (const tail of ['garbage', '\0\0\0\0', 'x'])
    await refusedBoth(Buffer.concat([zstdCompressSync(text), Buffer.from(tail)]), 'E_OBJECT_CORRUPT')
})

test('a bomb is refused by its ratio, long before it is inflated', async () => {
  const bomb = gzipSync(Buffer.alloc(RATIO_FLOOR * 3))
  await refusedBoth(bomb, 'E_OBJECT_RATIO', /more than 200 times/)
  await refusedBoth(gzipSync(bomb), 'E_OBJECT_RATIO')
  const small = gzipSync(Buffer.alloc(RATIO_FLOOR - 1))
  assert.equal(decodeWhole(small, limits).decoded!.length, RATIO_FLOOR - 1)
})

test('an object over the cap is refused, plain or not', async () => {
  const low = { maxBytes: 1000, maxRatio: 200 }
  for (const bytes of [text, gzipSync(text), zstdCompressSync(text)]) {
    assert.throws(() => decodeWhole(bytes, low), { code: 'E_OBJECT_TOO_LARGE' })
    await assert.rejects(streamed(bytes, 100, low), { code: 'E_OBJECT_TOO_LARGE' })
  }
})

test('what is larger than one piece is left to the stream', () => {
  const noise = Buffer.alloc(2 ** 20, 'abcdefghijklmnopqrstuvwxyz')
  const members = Buffer.concat(Array.from({ length: WHOLE_BYTES / noise.length + 1 }, () => gzipSync(noise)))
  assert.equal(decodeWhole(members, { ...limits, maxRatio: 2000 }).decoded, undefined)
})

test('the codec is told by the bytes; containers we cannot read are named', () => {
  assert.equal(codecOf(gzipSync('a')), 'gzip')
  assert.equal(codecOf(zstdCompressSync('a')), 'zstd')
  assert.equal(codecOf(Buffer.from('{"Records":[]}')), 'plain')
  assert.equal(codecOf(Buffer.alloc(0)), 'plain')
  const refused = { bzip2: 'BZh91AY&SY', zip: 'PK\x03\x04', xz: '\xfd7zXZ\0', parquet: 'PAR1', lz4: '\x04"M\x18' }
  for (const [codec, magic] of Object.entries(refused))
    assert.throws(() => codecOf(Buffer.from(magic, 'latin1')), { code: 'E_OBJECT_CODEC', values: { codec } })
  assert.equal(codecOf(Buffer.from('BZhang wrote this')), 'plain')
  assert.deepEqual(['a.json.gz', 'a.log', 'b.ZST', 'gz'].map(promisedCodec), ['gzip', undefined, 'zstd', undefined])
})

test('a fault of the source is passed on as it is', async () => {
  const fault = new ColdtrailError('E_FILE_GONE', { path: 'x' })
  async function* broken() {
    yield gzipSync(text).subarray(0, 50)
    throw fault
  }
  const read = async (): Promise<void> => {
    const { decoded } = await decodeStream(broken(), 500, limits)
    for await (const chunk of decoded) assert.ok(chunk)
  }
  await assert.rejects(read(), (error) => error === fault)
})
