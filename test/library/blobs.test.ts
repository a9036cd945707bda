/** Contents of attachments lie under their own digest, whole or not at all. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type BlobStore, EXCLUDED_CONTENT, openBlobs } from '../../src/library/blobs.ts'
import { listOf } from '../support/freshLibrary.ts'

async function withBlobs(action: (blobs: BlobStore, directory: string) => Promise<void>, max?: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-blobs-'))
  try {
    await action(openBlobs(directory, max), directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
const filesOf = (directory: string) => globSync('library/blobs/*/*', { cwd: directory })

test('a content is found under its digest, from whatever chunks it came', async () => {
  await withBlobs(async (blobs, directory) => {
    const content = randomBytes(200_000)
    const chunks = [content.subarray(0, 1), content.subarray(1, 100_000), content.subarray(100_000)]
    const stored = await blobs.put(chunks)
    assert.deepEqual(stored, {
      sha256: sha256(content),
      md5: createHash('md5').update(content).digest(),
      size: content.length,
    })
    assert.deepEqual(await blobs.put(content, stored.sha256), stored)
    const name = stored.sha256.toString('hex')
    assert.deepEqual(filesOf(directory), [join('library/blobs', name.slice(0, 2), name)])
    assert.deepEqual(readFileSync(blobs.path(stored.sha256)), content)
    assert.deepEqual(Buffer.concat(await listOf(blobs.read(stored.sha256))), content)
    assert.equal(blobs.size(stored.sha256), content.length)
    assert.equal(blobs.size(sha256(Buffer.from('other'))), undefined)
    blobs.remove(stored.sha256)
    assert.deepEqual(filesOf(directory), [])
  })
})

test('a damaged, too large or broken-off content leaves nothing', async () => {
  await withBlobs(async (blobs, directory) => {
    await assert.rejects(blobs.put(Buffer.from('abd'), sha256(Buffer.from('abc'))), { code: 'E_BLOB_DIGEST' })
    await assert.rejects(blobs.put([Buffer.alloc(600), Buffer.alloc(425)]), { code: 'E_BLOB_SIZE' })
    const broken = async function* () {
      yield Buffer.from('begun')
      throw new Error('the disc is out')
    }
    await assert.rejects(blobs.put(broken()), /the disc is out/)
    assert.deepEqual(filesOf(directory), [])
    assert.equal((await blobs.put([Buffer.alloc(600), Buffer.alloc(424)])).size, 1024)
  }, 1024)
})

test('what a dead process was writing is swept, not what a living one writes', async () => {
  await withBlobs(async (blobs, directory) => {
    blobs.sweep()
    const incoming = join(directory, 'library/blobs/incoming')
    mkdirSync(incoming, { recursive: true })
    writeFileSync(join(incoming, '999999999-x.tmp'), 'dead')
    writeFileSync(join(incoming, `${process.pid}-x.tmp`), 'alive')
    blobs.sweep()
    assert.deepEqual(filesOf(directory), [join('library/blobs/incoming', `${process.pid}-x.tmp`)])
  })
})

test('a digest of another length is no path', async () => {
  await withBlobs(async (blobs) => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('../../etc/passwd'), Buffer.alloc(33)])
      assert.throws(() => blobs.path(bytes), RangeError)
  })
})

test('P33: what stands for an excluded file is 26 bytes of known digest', () => {
  assert.equal(EXCLUDED_CONTENT.length, 26)
  assert.equal(
    sha256(Buffer.from(EXCLUDED_CONTENT)).toString('hex'),
    'b80f63680449c3d7a3b5864e1229ac130a8d35d667cc9243ead2e7206280d7da',
  )
})
