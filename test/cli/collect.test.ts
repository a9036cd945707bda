/** `collect` as a person runs it: from a folder, from S3, again, interrupted, and with objects that fail. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { startS3Server } from '../../src/demo/s3Server.ts'
import { inTemporary, jsonLines, runCommand } from './runColdtrail.ts'

const KEYS = { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'example', AWS_EC2_METADATA_DISABLED: 'true' }

const events = (count: number, from = 0): string =>
  Array.from({ length: count }, (_, at) => `{"time":"2026-03-10T00:00:00Z","n":${from + at}}\n`).join('')

test('a folder is collected once, and the last line of --json is the summary', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    writeFileSync(join(cwd, 'logs/a.json'), events(3))
    writeFileSync(join(cwd, 'logs/b.json.gz'), gzipSync(events(2, 3)))
    const run = () => runCommand(['collect', 'logs', '--json', '--metrics-file', 'm.prom'], { cwd })
    const first = await run()
    assert.equal(first.status, 0, first.stderr)
    const summary = jsonLines(first.stdout).at(-1)!
    const { type, objects, known, events: found, rejects, failed } = summary
    assert.deepEqual(
      { type, objects, known, found, rejects, failed },
      {
        type: 'summary',
        objects: 2,
        known: 0,
        found: 5,
        rejects: 0,
        failed: 0,
      },
    )
    assert.match(readFileSync(join(cwd, 'm.prom'), 'utf8'), /^coldtrail_collect_events 5$/m)
    const again = jsonLines((await run()).stdout).at(-1)!
    assert.deepEqual([again.objects, again.known, again.events], [0, 2, 0])
    assert.ok(existsSync(join(cwd, 'coldtrail-data/catalog.db')))
  }))

test('a folder that cannot be listed does not keep the others from being collected, and is no success', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs/deep'), { recursive: true })
    writeFileSync(join(cwd, 'logs/a.json'), events(3))
    writeFileSync(join(cwd, 'logs/z.json'), events(2))
    // Longer than the longest path: unreadable for root too.
    const dig =
      'n=$(printf %0250d 0); cd logs/deep; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do mkdir $n; cd -P $n; done'
    execFileSync('sh', ['-ec', dig], { cwd })
    const run = () => runCommand(['collect', 'logs', '--json'], { cwd })
    const first = await run()
    assert.equal(first.status, 3, first.stderr)
    const summary = jsonLines(first.stdout).at(-1)!
    assert.deepEqual([summary.objects, summary.events, summary.listed], [2, 5, 2])
    const error = jsonLines(first.stderr).at(-1)!
    assert.deepEqual([error.code, (error.values as { count: number }).count], ['E_DIRECTORY_PARTIAL', 1])
    assert.match(String(error.message), /deep/)
    assert.equal((await run()).status, 3)
    execFileSync('rm', ['-rf', 'logs/deep'], { cwd })
    const mended = await run()
    assert.deepEqual([mended.status, jsonLines(mended.stdout).at(-1)?.known], [0, 2])
  }))

test('what was refused whole belongs to its collection: it is listed there, and no other answer lacks it', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    writeFileSync(join(cwd, 'good.json'), events(1))
    writeFileSync(join(cwd, 'logs/bad.gz'), gzipSync(events(500)).subarray(0, 40))
    assert.equal((await runCommand(['collect', 'good.json'], { cwd })).status, 0)
    assert.equal((await runCommand(['collect', 'logs', '--collection', 'audit'], { cwd })).status, 3)
    const ask = (...args: string[]) => runCommand([...args, '--json'], { cwd })
    for (let turn = 1; turn <= 2; turn++) {
      assert.equal((await ask('search', '--count', '--require-complete')).status, 0)
      assert.equal((await ask('search', '--count', '--require-complete', '--collection', 'audit')).status, 7)
      assert.equal((await ask('rejects')).stdout, '')
      const [refused] = jsonLines((await ask('rejects', '--collection', 'audit')).stdout)
      assert.deepEqual([refused?.type, refused?.code, refused?.key], ['quarantined', 'E_OBJECT_CORRUPT', 'bad.gz'])
      assert.equal(jsonLines((await ask('catalog', 'rebuild')).stdout)[0]?.quarantined, 1)
    }
    assert.equal((await ask('verify')).status, 0)
    assert.equal(jsonLines((await ask('verify')).stdout).at(-1)?.orphans, 0)
    // Mended where it lay: what was refused is an older version now.
    writeFileSync(join(cwd, 'logs/bad.gz'), gzipSync(events(500)))
    assert.equal((await runCommand(['collect', 'logs', '--collection', 'audit'], { cwd })).status, 0)
    const audit = ['--collection', 'audit']
    assert.equal((await ask('search', '--count', '--require-complete', ...audit)).status, 0)
    assert.equal((await ask('search', '--count', '--require-complete', '--all-versions', ...audit)).status, 7)
    assert.equal((await ask('rejects', ...audit)).stdout, '')
    assert.equal(jsonLines((await ask('rejects', '--all-versions', ...audit)).stdout).length, 1)
  }))

test('standard input is collected', () =>
  inTemporary(async (cwd) => {
    const { status, stdout, stderr } = await runCommand(['collect', '-', '--json'], { cwd, input: events(4) })
    assert.equal(status, 0, stderr)
    assert.equal(jsonLines(stdout).at(-1)?.events, 4)
  }))

test('of empty standard input it is said that nothing came, and no session is made', () =>
  inTemporary(async (cwd) => {
    const told = await runCommand(['collect', '-'], { cwd, input: '' })
    assert.equal(told.status, 0, told.stderr)
    assert.match(told.stdout, /^Nothing came on standard input\.$/m)
    const { stdout } = await runCommand(['collect', '-', '--json'], { cwd, input: '' })
    const { objects, segments, skipped, left, failed } = jsonLines(stdout).at(-1)!
    assert.deepEqual([objects, segments, skipped, left, failed], [0, 0, { 'no input': 1 }, 0, 0])
    assert.deepEqual(readdirSync(join(cwd, 'coldtrail-data/collections/main')), [])
    const catalog = new DatabaseSync(join(cwd, 'coldtrail-data/catalog.db'), { readOnly: true })
    assert.deepEqual({ ...catalog.prepare('select count(*) as n from ledger').get() }, { n: 0 })
    catalog.close()
  }))

test('clock nonsense harms nothing: events of the years 1 and 9999 are collected, found and kept through a rebuild', () =>
  inTemporary(async (cwd) => {
    const times = ['0001-01-01T00:00:00Z', '2026-03-10T00:00:00Z', '9999-12-31T23:59:59Z']
    const run = (...args: string[]) => runCommand([...args, '--json'], { cwd })
    writeFileSync(join(cwd, 'a.json'), times.map((time) => `{"time":"${time}"}\n`).join(''))
    assert.equal((await run('collect', 'a.json')).status, 0)
    for (const command of [['verify'], ['catalog', 'rebuild']]) {
      const { status, stderr } = await run(...command)
      assert.equal(status, 0, stderr)
      const { stdout } = await run('search', '--columns', 'time')
      assert.deepEqual(
        jsonLines(stdout).map(({ time }) => time),
        times,
      )
    }
    const { stdout } = await run('search', '--count', '--to', '2000-01-01')
    assert.equal(jsonLines(stdout)[0]?.count, 1)
    assert.equal(jsonLines((await run('timeline', '--interval', 'day')).stdout).length, 3)
    assert.equal((await runCommand(['timeline'], { cwd })).stdout.trim().split('\n').length, 5)
    assert.equal((await run('values', 'time_nope')).status, 2)
    assert.equal((await run('collect', 'a.json')).status, 0)
  }))

test('a dry run counts objects, bytes and requests, and fetches nothing', () =>
  inTemporary(async (cwd) => {
    writeFileSync(join(cwd, 'a.json'), events(3))
    const { status, stdout } = await runCommand(['collect', 'a.json', '--dry-run', '--json'], { cwd })
    assert.equal(status, 0)
    const summary = jsonLines(stdout).at(-1)!
    assert.deepEqual([summary.objects, summary.get_requests, summary.get_bytes], [0, 1, events(3).length])
    const { stdout: text } = await runCommand(['collect', 'a.json', '--dry-run'], { cwd })
    assert.match(text, /^Would collect 1 object \(\d+ B\) with 1 GET request; 0 objects known already\./)
  }))

test('a bucket is collected over S3, and a missing one is named with its remedy', async () => {
  const server = await startS3Server()
  try {
    server.bucket('logs').put('app/one.json', Buffer.from(events(7)))
    await inTemporary(async (cwd) => {
      const options = { cwd, environment: KEYS }
      const from = (uri: string) => runCommand(['collect', uri, '--endpoint', server.endpoint, '--json'], options)
      const good = await from('s3://logs/app/')
      assert.equal(good.status, 0, good.stderr)
      assert.deepEqual([jsonLines(good.stdout).at(-1)?.objects, jsonLines(good.stdout).at(-1)?.events], [1, 7])
      const bad = await from('s3://nowhere/')
      assert.equal(bad.status, 5)
      const error = jsonLines(bad.stderr).at(-1)!
      assert.deepEqual([error.code, error.type], ['E_S3_NO_BUCKET', 'error'])
      assert.ok(error.hint)
      assert.equal(jsonLines(bad.stdout).at(-1)?.type, 'summary')
    })
  } finally {
    await server.close()
  }
})

test('missing credentials are refused before the first call', async () => {
  const server = await startS3Server()
  try {
    await inTemporary(async (cwd) => {
      const environment = { AWS_EC2_METADATA_DISABLED: 'true' }
      const args = ['collect', 's3://logs/', '--endpoint', server.endpoint]
      const { status, stderr } = await runCommand(args, { cwd, environment })
      assert.equal(status, 5)
      assert.match(stderr, /E_S3_CREDENTIALS/)
      assert.equal(
        [...server.requests.values()].reduce((sum, n) => sum + n, 0),
        0,
      )
    })
  } finally {
    await server.close()
  }
})

test('a damaged object fails the run in part, and everything else is collected', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    writeFileSync(join(cwd, 'logs/good.json'), events(3))
    writeFileSync(join(cwd, 'logs/bad.json.gz'), gzipSync(events(1_000)).subarray(0, 60))
    const { status, stdout } = await runCommand(['collect', 'logs', '--json'], { cwd })
    assert.equal(status, 3)
    const summary = jsonLines(stdout).at(-1)!
    assert.deepEqual([summary.objects, summary.events, summary.failed], [1, 3, 1])
    assert.deepEqual(summary.errors, { E_OBJECT_CORRUPT: 1 })
  }))

test('an interrupted run keeps what it has, says so, and the next run has the rest', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    for (let at = 0; at < 20; at += 1) writeFileSync(join(cwd, `logs/${at}.json`), events(50, at * 50))
    const follow = ['collect', 'logs', '--follow', '--json', '--log-level', 'debug']
    const { status, stdout, stderr } = await runCommand(follow, { cwd, interruptAt: '"collecting"' })
    assert.equal(status, 130, stderr)
    assert.equal(jsonLines(stderr).at(-1)?.code, 'E_INTERRUPTED')
    const before = Number(jsonLines(stdout).at(-1)?.events)
    const rest = await runCommand(['collect', 'logs', '--json'], { cwd })
    assert.equal(before + Number(jsonLines(rest.stdout).at(-1)?.events), 1_000)
    assert.deepEqual(
      readdirSync(join(cwd, 'coldtrail-data/collections/main')).filter((n) => n.endsWith('.tmp')),
      [],
    )
  }))

test('nothing to collect from is said with the way out', () =>
  inTemporary(async (cwd) => {
    const { status, stderr } = await runCommand(['collect'], { cwd })
    assert.equal(status, 2)
    assert.match(stderr, /E_SOURCE_MISSING[\s\S]*coldtrail init/)
  }))
