import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { loadPublicKeys, loadSigningKey, verifySignature } from '../../src/store/signingKeys.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-keys-'))
after(() => rmSync(dataDir, { recursive: true, force: true }))

test('the key is made once, for its owner only, and its signatures verify', () => {
  const key = loadSigningKey(dataDir)
  assert.equal(loadSigningKey(dataDir).id, key.id)
  const files = readdirSync(join(dataDir, 'keys')).sort()
  assert.deepEqual(files, [`sign-${key.id}.key`, `sign-${key.id}.pub`])
  assert.equal(statSync(join(dataDir, 'keys', files[0]!)).mode & 0o777, 0o600)
  const keys = loadPublicKeys(dataDir)
  const bytes = Buffer.from('a link')
  const signature = key.sign(bytes)
  assert.equal(verifySignature(keys, key.id, bytes, signature), true)
  assert.equal(verifySignature(keys, key.id, Buffer.from('another'), signature), false)
  assert.equal(verifySignature(keys, key.id, bytes, ''), false)
  assert.equal(verifySignature(keys, 'ffff', bytes, signature), undefined)
})

test('a key file that is another key or none is refused', () => {
  const keys = join(dataDir, 'keys')
  const { id } = loadSigningKey(dataDir)
  const other = 'f'.repeat(16)
  renameSync(join(keys, `sign-${id}.pub`), join(keys, `sign-${other}.pub`))
  assert.throws(() => loadPublicKeys(dataDir), /another key/)
  renameSync(join(keys, `sign-${other}.pub`), join(keys, `sign-${id}.pub`))
  writeFileSync(join(keys, `sign-${id}.key`), 'not a key')
  assert.throws(() => loadSigningKey(dataDir), /cannot be read/)
  rmSync(join(keys, `sign-${id}.pub`))
  mkdirSync(join(keys, `sign-${id}.pub`))
  assert.throws(() => loadPublicKeys(dataDir), { code: 'E_SIGNING_KEY' })
})
