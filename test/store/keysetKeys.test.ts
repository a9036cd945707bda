import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ColdtrailError } from '../../src/core/errors.ts'
import {
  exportKeysetKey,
  importKeysetKey,
  keysetEpoch,
  listKeysetKeys,
  loadKeysetKey,
} from '../../src/store/keysetKeys.ts'

function site(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keyset-keys-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

test('a key is made at first use, for its owner only, and stays', (t) => {
  const data = site(t)
  const key = loadKeysetKey(data, '2026')
  assert.equal(key.key.length, 16)
  assert.match(key.id, /^[0-9a-f]{8}$/)
  assert.deepEqual(loadKeysetKey(data, '2026'), key)
  assert.equal(statSync(join(data, 'keys/keyset-2026.key')).mode & 0o777, 0o600)
  assert.notEqual(loadKeysetKey(data, '2027').id, key.id)
  assert.deepEqual(
    listKeysetKeys(data).map(({ epoch }) => epoch),
    ['2026', '2027'],
  )
  assert.deepEqual(readdirSync(join(data, 'keys')).sort(), ['keyset-2026.key', 'keyset-2027.key'])
  assert.equal(keysetEpoch(new Date('2026-12-31T23:59:59Z')), '2026')
})

test('export and import carry a key over; another one of the epoch is refused', (t) => {
  const here = site(t)
  const there = site(t)
  const file = join(there, 'carried.key')
  const key = loadKeysetKey(here, '2026')
  assert.equal(exportKeysetKey(here, '2026', file).id, key.id)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.throws(() => exportKeysetKey(here, '2026', file), { code: 'E_FILE_WRITE', message: /exists already/ })
  assert.throws(() => importKeysetKey(here, `${file}.none`), { code: 'E_FILE_READ', message: /ENOENT/ })
  assert.deepEqual(importKeysetKey(there, file), key)
  assert.deepEqual(importKeysetKey(there, file), key)
  assert.deepEqual(loadKeysetKey(there, '2026'), key)
  const third = site(t)
  const own = loadKeysetKey(third, '2026')
  assert.throws(() => importKeysetKey(third, file), { code: 'E_KEYSET_KEY' })
  assert.deepEqual(loadKeysetKey(third, '2026'), own)
  assert.throws(() => exportKeysetKey(third, '2031', join(third, 'x')), { code: 'E_KEYSET_KEY' })
})

test('damaged and hostile key files are refused without showing what they hold', (t) => {
  const data = site(t)
  const secret = loadKeysetKey(data, '2026').key.toString('base64')
  const path = join(data, 'keys/keyset-2026.key')
  const good = readFileSync(path, 'utf8')
  const file = join(data, 'import.key')
  const bad = [
    '',
    good.slice(0, -4),
    good.replace('"id":"', '"id":"0'),
    good.replace('"2026"', '"../../x"'),
    good.replace('"format":1', '"format":2'),
    good.replace(secret, secret.slice(4)),
    'null',
    '[1]',
    `${good}${' '.repeat(5000)}`,
  ]
  for (const text of bad) {
    writeFileSync(file, text)
    assert.throws(
      () => importKeysetKey(data, file),
      (error) =>
        error instanceof ColdtrailError &&
        error.code === 'E_KEYSET_KEY' &&
        !JSON.stringify(error).includes(secret.slice(4, 16)),
      text,
    )
  }
  writeFileSync(path, good.replace('"2026"', '"2025"'))
  assert.throws(() => loadKeysetKey(data, '2026'), { code: 'E_KEYSET_KEY' })
  assert.throws(() => listKeysetKeys(data), { code: 'E_KEYSET_KEY' })
  assert.throws(() => loadKeysetKey(data, '../2026'), { code: 'E_KEYSET_KEY' })
})
