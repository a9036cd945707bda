import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { appendDurably, createDurableFile, makeDirectory, readToEnd, writeDurably } from '../../src/platform/files.ts'
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

test('lines that several processes append at once are all there, whole', () =>
  inTemporary(async (root) => {
    const path = join(root, 'lines')
    const files = new URL('../../src/platform/files.ts', import.meta.url).href
    const program = `
    import { appendDurably } from ${JSON.stringify(files)}
    const [, path, name] = process.argv
    for (let turn = 0; turn < 20; turn++)
      appendDurably(path, Buffer.from(Array.from({ length: 3000 }, (_, n) => \`\${name}-\${turn}-\${n}-\${'x'.repeat(200)}\\n\`).join('')))`
    const names = ['a', 'b', 'c']
    await Promise.all(
      names.map((name) => promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, path, name])),
    )
    const found = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
    const expected = names.flatMap((name) =>
      Array.from({ length: 60_000 }, (_, n) => `${name}-${Math.floor(n / 3000)}-${n % 3000}-${'x'.repeat(200)}`),
    )
    assert.equal(found.length, expected.length)
    assert.deepEqual(found.sort(), expected.sort())
  }))

test('a line that was cut off cannot swallow the next one, and goes where one process appends alone', () =>
  inTemporary(async (root) => {
    const path = join(root, 'lines')
    writeFileSync(path, 'one\ntw')
    appendDurably(path, Buffer.from('three\n'))
    assert.equal(readFileSync(path, 'utf8'), 'one\ntw\nthree\n')
    writeFileSync(path, 'one\ntw')
    appendDurably(path, Buffer.from('three\n'), 'remove')
    assert.equal(readFileSync(path, 'utf8'), 'one\nthree\n')
  }))

test('a pipe that does not wait is read to its end, up to a bound', () =>
  inTemporary(async (root) => {
    const path = join(root, 'pipe')
    execFileSync('mkfifo', [path])
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(path, 'w')
    const child = spawn('sh', ['-c', 'sleep 0.1; printf one; sleep 0.1; printf two'], {
      stdio: ['ignore', writer, 'inherit'],
    })
    closeSync(writer)
    assert.equal(readToEnd(reader, 6)?.toString(), 'onetwo')
    closeSync(reader)
    await new Promise((settle) => child.on('close', settle))
    const short = openSync(import.meta.filename, 'r')
    assert.equal(readToEnd(short, 100), undefined)
    closeSync(short)
  }))
