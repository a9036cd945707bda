import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { directoryDigest, type Manifest, parseManifest, serializeManifest } from '../../src/store/manifest.ts'

const MANIFEST: Manifest = {
  v: 1,
  filename: 'meta-000000023.parquet',
  kind: 'meta',
  collection: 'main',
  segment: 23,
  format: 'aws_cloudtrail',
  day: '2014-06-27',
  size: 185153768,
  fileTime: 1403903940,
  sealTime: 1404739900,
  id1: 150814110,
  id2: 159341086,
  session1: 4023382,
  session2: 4250442,
  time1: 1403903879,
  time2: 1404739851,
  rows: 8526977,
  rejects: 0,
  rawBytes: 740612904,
  producer: 'coldtrail/0.1.0',
  sha256: 'ab'.repeat(32),
}

const codeOf = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    return error instanceof ColdtrailError ? error.code : String(error)
  }
  return 'none'
}

test('a manifest is canonical JSON and a newline, and comes back as it was', () => {
  const bytes = serializeManifest(MANIFEST)
  assert.ok(bytes.toString().startsWith('{"collection":"main","day":"2014-06-27","fileTime":1403903940,'))
  assert.ok(bytes.toString().endsWith('"v":1}\n'))
  assert.deepEqual(parseManifest(bytes), MANIFEST)
  assert.deepEqual(serializeManifest(parseManifest(bytes)), bytes)
})

test('an unknown version is refused by name, damage by its reason', () => {
  assert.equal(
    codeOf(() => parseManifest(JSON.stringify({ ...MANIFEST, v: 2 }))),
    'E_MANIFEST_VERSION',
  )
  for (const bad of ['', '[]', 'null', '{"v":1}', '\0', '{"v":1,"v":2', JSON.stringify({ ...MANIFEST, kind: 'x' })])
    assert.equal(
      codeOf(() => parseManifest(bad)),
      'E_MANIFEST_FORMAT',
      bad,
    )
  assert.equal(
    codeOf(() => parseManifest('{}')),
    'E_MANIFEST_VERSION',
  )
  const beyond = JSON.stringify(MANIFEST).replace('"id2":159341086', '"id2":9007199254740993')
  assert.equal(
    codeOf(() => parseManifest(beyond)),
    'E_MANIFEST_FORMAT',
  )
})

test('no input makes the parser throw anything else', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      assert.match(
        codeOf(() => parseManifest(text)),
        /^(none|E_MANIFEST_(FORMAT|VERSION))$/,
      )
    }),
  )
})

test('a directory digest is over the sorted list of its files', () => {
  const a = { name: 'keyset.ks', size: 10, sha256: '11'.repeat(32) }
  const b = { name: 'values.parquet', size: 5, sha256: '22'.repeat(32) }
  const expected = createHash('sha256').update(`keyset.ks 10 ${a.sha256}\nvalues.parquet 5 ${b.sha256}\n`).digest('hex')
  assert.deepEqual(directoryDigest([b, a]), { size: 15, sha256: expected })
  assert.notEqual(directoryDigest([a]).sha256, expected)
})
