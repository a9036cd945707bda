import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SOURCES } from '../../../src/components/sources/all.ts'
import { parseSourceUri } from '../../../src/components/sources/sourceUri.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'

test('each form names its source, and its config is valid there', () => {
  const cases: [string, string, Record<string, string>][] = [
    ['s3://logs', 's3', { bucket: 'logs', prefix: '' }],
    ['s3://logs/', 's3', { bucket: 'logs', prefix: '' }],
    ['s3://logs/a b/%20/../x?y#z', 's3', { bucket: 'logs', prefix: 'a b/%20/../x?y#z' }],
    ['S3://my.logs-1/AWSLogs/', 's3', { bucket: 'my.logs-1', prefix: 'AWSLogs/' }],
    ['logs', 'directory', { path: 'logs' }],
    ['./logs/a.gz', 'directory', { path: './logs/a.gz' }],
    ['-', 'directory', { path: '-' }],
    ['file:///var/log%20s', 'directory', { path: '/var/log s' }],
  ]
  for (const [uri, component, config] of cases) {
    assert.deepEqual(parseSourceUri(uri), { component, config }, uri)
    const source = SOURCES.find((candidate) => candidate.name === component)
    assert.ok(source?.config.safeParse(config).success, uri)
  }
})

test('anything else is refused with its reason', () => {
  for (const uri of ['', ' ', 's3://', 's3:///key', 's3://a_\u0000b/c', 'http://x/y', 'gs://b', 'file://host/x']) {
    assert.throws(
      () => parseSourceUri(uri),
      (error) => error instanceof ColdtrailError && error.code === 'E_SOURCE_URI',
      uri,
    )
  }
})

test('any text is a source or a typed refusal', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `s3://${text}`),
      ),
      (text) => {
        try {
          assert.ok(parseSourceUri(text).config)
        } catch (error) {
          assert.ok(error instanceof ColdtrailError, String(error))
        }
      },
    ),
  )
})

test('every field of every source is described', () => {
  for (const source of SOURCES) {
    for (const [name, field] of Object.entries(source.config.shape)) {
      assert.match(name, /^[a-z0-9_]+$/)
      assert.ok(field.description, `${source.name}.${name}`)
    }
  }
})
