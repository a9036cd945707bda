import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDurableFile, makeDirectory, writeDurably } from '../../src/platform/files.ts'
import { inTemporary } from '../cli/runColdtrail.ts'

test('a directory is made with those above it, again without harm, and never over a file', () =>
  inTemporary(async (root) => {
    const path = join(root, 'a/b/c')
    makeDirectory(path)
    makeDirectory(path)
    assert.ok(existsSync(path))
    writeFileSync(join(root, 'file'), '')
    for (const wrong of ['file', 'file/below'])
      assert.throws(() => makeDirectory(join(root, wrong)), { code: 'E_FILE_WRITE' })
  }))

test('where the system makes no directories, making one is refused and does not go on for ever', () => {
  assert.throws(() => makeDirectory('/proc/coldtrail/data'), { code: 'E_FILE_WRITE' })
})

test('a file that is not published, or cannot be, leaves the old one and nothing beside it', () =>
  inTemporary(async (root) => {
    const path = join(root, 'file')
    writeDurably(path, 'old')
    const file = createDurableFile(path)
    file.write(Buffer.from('new'))
    file.discard()
    assert.equal(readFileSync(path, 'utf8'), 'old')
    writeDurably(path, 'newer')
    assert.equal(readFileSync(path, 'utf8'), 'newer')
    makeDirectory(join(root, 'taken'))
    assert.throws(() => writeDurably(join(root, 'taken'), 'x'), { code: 'E_FILE_WRITE' })
    assert.deepEqual(readdirSync(root).sort(), ['file', 'taken'])
  }))
