/** The commands that prepare: init, doctor, source list. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { inTemporary, jsonLines, LAUNCHER, runColdtrail } from './runColdtrail.ts'

test('init writes a configuration that doctor accepts, and keeps an existing one', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    const made = await runColdtrail(['init', 'logs'], { cwd })
    assert.equal(made.status, 0, made.stderr)
    const text = readFileSync(join(cwd, 'coldtrail.yaml'), 'utf8')
    const schema = /^# yaml-language-server: \$schema=(.+)$/m.exec(text)?.[1]
    assert.ok(schema && existsSync(resolve(dirname(join(cwd, 'coldtrail.yaml')), schema)), schema)

    const doctor = await runColdtrail(['doctor', '--json'], { cwd })
    assert.equal(doctor.status, 0, doctor.stdout)
    const checks = jsonLines(doctor.stdout)
    assert.ok(checks.length >= 6)
    assert.ok(checks.some(({ name, status }) => name === 'source source-1' && status === 'ok'))

    const again = await runColdtrail(['init'], { cwd })
    assert.equal(again.status, 4)
    assert.ok(again.stderr.includes('E_CONFIG_EXISTS'))
    assert.equal(readFileSync(join(cwd, 'coldtrail.yaml'), 'utf8'), text)
  }))

test('init without a source gives a file that is valid as it stands', () =>
  inTemporary(async (cwd) => {
    assert.equal((await runColdtrail(['init', '--config', 'other.yaml'], { cwd })).status, 0)
    const { status, stderr } = await runColdtrail(['doctor', '--config', 'other.yaml'], { cwd })
    assert.equal(status, 0, stderr)
  }))

test('a wrong configuration is refused before anything is done', () =>
  inTemporary(async (cwd) => {
    writeFileSync(join(cwd, 'coldtrail.yaml'), 'data_dir: d\nsegmnt: {}\n')
    const { status, stderr } = await runColdtrail(['doctor'], { cwd })
    assert.equal(status, 2)
    assert.match(stderr, /coldtrail\.yaml:2:1: unknown key segmnt\. Did you mean segment\?/)
  }))

test('doctor names an open key file and a source that is not there', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'coldtrail-data/keys'), { recursive: true })
    writeFileSync(join(cwd, 'coldtrail-data/keys/keyset-1.key'), 'x')
    chmodSync(join(cwd, 'coldtrail-data/keys/keyset-1.key'), 0o644)
    symlinkSync('nowhere', join(cwd, 'coldtrail-data/keys/keyset-2.key'))
    writeFileSync(join(cwd, 'coldtrail.yaml'), 'sources: [{name: gone, type: directory, path: nowhere}]\n')
    const { status, stdout } = await runColdtrail(['doctor', '--json'], { cwd })
    assert.equal(status, 1)
    const failed = jsonLines(stdout).filter((check) => check.status === 'failed')
    // What cannot be read as a key may be one that is needed.
    assert.deepEqual(failed.map(({ name }) => name).sort(), ['keys', 'keys of what is kept', 'source gone'])
    for (const { hint } of failed) assert.ok(hint)
  }))

test('source list gives every file once, as text and as JSON', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs/a b'), { recursive: true })
    writeFileSync(join(cwd, 'logs/a b/one.json'), '{}')
    writeFileSync(join(cwd, 'logs/two.log'), 'x\n')
    const listed = await runColdtrail(['source', 'list', 'logs', '--json'], { cwd })
    assert.equal(listed.status, 0, listed.stderr)
    assert.deepEqual(
      jsonLines(listed.stdout).map(({ key, size }) => [key, size]),
      [
        ['a b/one.json', 2],
        ['two.log', 2],
      ],
    )
    const text = await runColdtrail(['source', 'list', 'logs', '--include', '*.log'], { cwd })
    assert.match(text.stdout, /^ +2 {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}two\.log\n$/)
    const refused = await runColdtrail(['source', 'list', 'logs', '--endpoint', 'http://x'], { cwd })
    assert.equal(refused.status, 2)
    assert.match(refused.stderr, /endpoint: a directory source does not have it/)
  }))

test('source cat inflates what it fetches, and hands on what was received', () =>
  inTemporary(async (cwd) => {
    writeFileSync(join(cwd, 'a.gz'), gzipSync('one\n'))
    writeFileSync(join(cwd, 'b'), 'two\n')
    assert.equal((await runColdtrail(['source', 'cat', '.'], { cwd })).stdout, 'one\ntwo\n')
    assert.equal((await runColdtrail(['source', 'cat', '-'], { cwd, input: gzipSync('in\n') })).stdout, 'in\n')
    const { status, stderr } = await runColdtrail(['source', 'cat', '.', '--include', '*.zip'], { cwd })
    assert.equal(status, 5)
    assert.match(stderr, /E_SOURCE_EMPTY/)
  }))

test('on a terminal an object cannot steer it', (t) =>
  inTemporary(async (cwd) => {
    writeFileSync(join(cwd, 'a.log'), '\u001b[2Jwiped\tü\nnext\n')
    const { status, stdout } = spawnSync('script', ['-qec', `${LAUNCHER} source cat a.log`, '/dev/null'], {
      ...{ cwd, encoding: 'utf8', timeout: 20_000, stdio: ['ignore', 'pipe', 'ignore'] },
    })
    if (status === null) return t.skip('there is no script(1) to make a terminal')
    assert.equal(stdout.replaceAll('\r', ''), '\\u001b[2Jwiped\tü\nnext\n')
  }))
