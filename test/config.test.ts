import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { configJsonSchema, loadConfig, parseConfig, redacted } from '../src/config.ts'
import { ColdtrailError, type ErrorCode } from '../src/core/errors.ts'

const parse = (text: string, environment = {}) => parseConfig(text, { file: 'c.yaml', environment })

function refused(text: string, code: ErrorCode, ...parts: string[]): void {
  assert.throws(
    () => parse(text),
    (error) => {
      assert.ok(error instanceof ColdtrailError, String(error))
      assert.equal(error.code, code, error.message)
      for (const part of parts)
        assert.ok(`${error.message} ${error.hint}`.includes(part), `${part} in ${error.message}`)
      return true
    },
  )
}

test('an empty file is the default configuration', () => {
  const config = parse('')
  assert.equal(config.data_dir, 'coldtrail-data')
  assert.equal(config.segment.max_rows, 1_000_000)
  assert.equal(config.collect.max_workers, 16)
  assert.deepEqual(config.sources, [])
  assert.deepEqual(parse('# only a comment\n'), config)
})

test('an unknown key is refused with its line and the nearest name, at every depth', () => {
  refused('data_dir: x\ndata_dri: y\n', 'E_CONFIG_KEY', 'c.yaml:2:1', 'data_dri', 'Did you mean data_dir?')
  refused('collect:\n  max_worker: 3\n', 'E_CONFIG_KEY', 'c.yaml:2:3', 'collect.max_worker', 'max_workers')
  const source = 'sources:\n  - name: a\n    type: s3\n    bucket: b\n    perfix: p\n'
  refused(source, 'E_CONFIG_KEY', 'c.yaml:5:5', 'sources.0.perfix', 'Did you mean prefix?')
})

test('a wrong value is refused with line, path and value', () => {
  refused('collect: {max_workers: many}', 'E_CONFIG_VALUE', 'c.yaml:1:', 'collect.max_workers', '"many"')
  refused('segment:\n  max_rows: 0\n', 'E_CONFIG_VALUE', 'c.yaml:2:13', 'segment.max_rows', '0')
  refused('sources:\n  - {name: a, type: s4, bucket: b}', 'E_CONFIG_VALUE', 'sources.0.type', 's3')
  refused('sources:\n  - {name: a, type: s3}', 'E_CONFIG_VALUE', 'sources.0.bucket')
  refused('- 1\n- 2\n', 'E_CONFIG_VALUE', 'the file')
  refused('a: [1\n', 'E_CONFIG_SYNTAX', 'c.yaml:')
  refused('data_dir: a\ndata_dir: b\n', 'E_CONFIG_SYNTAX', 'c.yaml:2')
})

test('the environment fills values, and a secret is never shown', () => {
  const text = 'catalog_url: ${PG}\ndata_dir: a$${b}\n'
  const config = parse(text, { PG: 'postgres://u:hunter2@h/d' })
  assert.equal(config.catalog_url, 'postgres://u:hunter2@h/d')
  assert.equal(config.data_dir, 'a${b}')
  assert.ok(!JSON.stringify(redacted(config)).includes('hunter2'))
  refused(text, 'E_CONFIG_ENVIRONMENT', 'PG', 'c.yaml:1:14')
  const hides = (error: unknown) => error instanceof ColdtrailError && !JSON.stringify(error).includes('hunter2')
  assert.throws(() => parse('catalog_url: hunter2'), hides)
  assert.throws(() => parse('segment: {max_rows: "${PG}"}', { PG: 'hunter2' }), hides)
})

test('an endpoint with a login is refused without showing it, and so is a file that is something else', () => {
  const hides = (error: unknown) => error instanceof ColdtrailError && !JSON.stringify(error).includes('hunter2')
  for (const key of ['endpoint', 'sts_endpoint']) {
    const text = `sources: [{name: a, type: s3, bucket: b, ${key}: "http://u:hunter2@h/"}]`
    refused(text, 'E_CONFIG_VALUE', `sources.0.${key}`, 'http://(hidden)@h/', 'secret_access_key')
    assert.throws(() => parse(text), hides)
  }
  assert.throws(() => parse('hunter2'), hides)
})

test('aliases without an anchor, and more of them than a person writes, are faults of the file', () => {
  refused('data_dir: *nowhere', 'E_CONFIG_SYNTAX', 'c.yaml:1', 'nowhere')
  const bomb = ['a', 'b', 'c', 'd'].map((name, at, all) => `${name}: &${name} [${`*${all[at - 1]},`.repeat(10)}]`)
  refused(['x: &x [1]', ...bomb].join('\n').replaceAll('*undefined', '*x'), 'E_CONFIG_SYNTAX', 'alias')
})

test('paths are relative to the file, and --data-dir to the current directory', () => {
  const home = mkdtempSync(join(tmpdir(), 'coldtrail-config-'))
  try {
    const file = join(home, 'c.yaml')
    writeFileSync(file, 'data_dir: data\nsources: [{name: a, type: directory, path: logs}]\n')
    const config = loadConfig({ file })
    assert.equal(config.data_dir, join(home, 'data'))
    assert.equal((config.sources[0] as { path?: unknown }).path, join(home, 'logs'))
    assert.equal(loadConfig({ file, dataDir: join(home, 'other') }).data_dir, join(home, 'other'))
    assert.throws(() => loadConfig({ file: join(home, 'none.yaml') }), { code: 'E_FILE_READ' })
  } finally {
    rmSync(home, { recursive: true })
  }
})

test('keys of other sites are ids, or files relative to the configuration; a site is named as bundles name it', () => {
  const home = mkdtempSync(join(tmpdir(), 'coldtrail-config-'))
  try {
    const file = join(home, 'coldtrail.yaml')
    const id = '0123456789abcdef0123456789abcdef'
    writeFileSync(file, `site: plant-a\nsync: {keys: {low: [${id}, keys/low.pub]}, identity: age.txt, threshold: 2}\n`)
    const { site, sync } = loadConfig({ file })
    assert.deepEqual(
      [site, sync.keys, sync.identity, sync.threshold, sync.trust],
      ['plant-a', { low: [id, join(home, 'keys/low.pub')] }, join(home, 'age.txt'), 2, 'first_use'],
    )
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
  refused('site: Plant A\n', 'E_CONFIG_VALUE', 'site', 'lower-case')
  refused('sync: {keys: {Low: [x]}}\n', 'E_CONFIG_VALUE', 'sync.keys', 'lower-case')
  refused('sync: {keys: {low: []}}\n', 'E_CONFIG_VALUE', 'sync.keys.low')
})

test('destinations are checked by the schema of their type, have names of their own, and keep their secrets', () => {
  const text = 'destinations:\n  - {name: out, type: file, path: out, where: "status == \'Failure\'"}\n'
  const [destination] = parse(text).destinations
  assert.equal(destination?.where, "status == 'Failure'")
  assert.equal((destination as { compression?: unknown }).compression, 'none')
  refused(`${text}  - {name: out, type: file, path: b}\n`, 'E_CONFIG_VALUE', 'c.yaml:3:', 'destinations.1.name')
  refused('destinations: [{name: a, type: fil, path: b}]', 'E_CONFIG_VALUE', 'destinations.0.type', 'file')
  refused('destinations: [{name: a, type: file, paht: b}]', 'E_CONFIG_KEY', 'destinations.0.paht', 'Did you mean path?')
  refused('destinations: [{name: a, type: file, path: "*/b"}]', 'E_CONFIG_VALUE', 'destinations.0.path', '*')
  const hook = (keys: string) => `destinations: [{name: a, type: http, url: "https://h.example/x?t=hunter2", ${keys}}]`
  refused(hook('headers: {Host: b}'), 'E_CONFIG_VALUE', 'destinations.0.headers.Host', 'the program writes this')
  refused(hook('hmac: {sceret: b}'), 'E_CONFIG_KEY', 'destinations.0.hmac.sceret', 'Did you mean secret?')
  const whole = hook('headers: {A: hunter2}, hmac: {secret: hunter2}')
  assert.ok(!JSON.stringify(redacted(parse(whole))).includes('hunter2'))
  const hides = (error: unknown) => error instanceof ColdtrailError && !JSON.stringify(error).includes('hunter2')
  for (const text of [whole.replace('https:', 'http:'), hook('headers: {A: "hunter2\\u000a"}')]) {
    assert.throws(() => parse(text), hides)
  }
})

test('every key is described for editors', () => {
  const bare: string[] = []
  const look = (node: Record<string, unknown>, path: string): void => {
    for (const [key, inner] of Object.entries((node.properties ?? {}) as Record<string, Record<string, unknown>>)) {
      if (typeof inner.description !== 'string') bare.push(`${path}.${key}`)
      look(inner, `${path}.${key}`)
    }
    for (const inner of [node.items, ...((node.oneOf ?? node.anyOf ?? []) as unknown[])]) {
      if (inner) look(inner as Record<string, unknown>, path)
    }
  }
  look(configJsonSchema(), '')
  assert.deepEqual(bare, [])
})
