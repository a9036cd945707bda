/**
 * The README's commands, run as they stand there by a shell in a site of their own: the five minutes with a bucket on the
 * embedded S3 server, a folder and a pipe. `./coldtrail` there is the real one; only the endpoint of the bucket is added.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { type AwsLogSet, awsLogSet } from '../src/demo/awsLogs.ts'
import { type S3Server, startS3Server } from '../src/demo/s3Server.ts'
import { LAUNCHER } from './cli/runColdtrail.ts'
import { commandsOf, fencedBlocks, makeSite, readGuide, shell as runShell, type ShellOutcome } from './support/guide.ts'

const readme = readGuide('README.md')
const site = mkdtempSync(join(tmpdir(), 'coldtrail-readme-'))
let server: S3Server
let logs: AwsLogSet

before(async () => {
  server = await startS3Server()
  // Since yesterday: the guide asks for the last two days.
  const firstDay = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)
  logs = awsLogSet({ firstDay, days: 2, cloudTrailEvents: 6_000, flowRecords: 2_000 })
  for (const { key, body } of logs.objects) server.bucket('my-log-bucket').put(key, body)
  mkdirSync(join(site, 'logs'))
  const line = (n: number): string => `{"time":"2026-03-10T00:00:00Z","n":${n}}\n`
  writeFileSync(join(site, 'logs/one.json'), line(1) + line(2))
  writeFileSync(join(site, 'indicators.txt'), 'evil[.]example[.]com\n198.51.100.77\n')
  writeFileSync(join(site, 'app.json.gz'), gzipSync(line(3)))
  // One process, so that one segment has the guide's event 1234 on any machine.
  const destinations = 'destinations: [{name: files, type: file, path: out}]'
  writeFileSync(join(site, 'coldtrail.yaml'), `collect: {processes: 1}\n${destinations}\n`)
  const add = `for word; do case $word in s3://*) exec ${LAUNCHER} "$@" --endpoint ${server.endpoint};; esac; done`
  makeSite(site, add)
})
after(async () => {
  await server.close()
  rmSync(site, { recursive: true, force: true })
})

/** Commands of the whole clone: the demonstration has a test of its own, and this is the other one. */
const OF_THE_CLONE = new Set(['npm start', 'npm test'])

/** Lines of the fenced shell blocks, and of the transcripts what stands behind a prompt. */
function commands(): string[] {
  return fencedBlocks(readme)
    .flatMap(({ info, body }) => {
      if (info === 'sh') return commandsOf(body)
      const lines = body.split('\n').map((line) => line.trim())
      return info === '' ? lines.filter((line) => line.startsWith('$ ')).map((line) => line.slice(2)) : []
    })
    .filter((line) => !OF_THE_CLONE.has(line))
    .map((line) => line.replaceAll('/media/usb', join(site, 'usb')))
}

/** What goes on for ever is ended as a service manager would, once it has written something. */
const untilOutput = (line: string): string =>
  `${line} & until [ -n "$(ls out 2>/dev/null)" ] || ! kill -0 $!; do sleep 0.2; done; kill -TERM $!; wait $!; [ $? = 130 ]`

const shell = (line: string): Promise<ShellOutcome> =>
  runShell(line.includes('--follow') ? untilOutput(line) : line, site, {
    ...{ AWS_EC2_METADATA_DISABLED: 'true', AWS_REGION: 'us-east-1' },
    ...{ AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'example' },
  })

const digests: string[] = []

/** What a line of the guide must have done, beside ending with 0. */
const PROOFS: readonly (readonly [line: RegExp, proof: (stdout: string) => void])[] = [
  [/source list/, (text) => assert.equal(text.trim().split('\n').length, logs.expected.eventObjects)],
  [
    /collect .*--dry-run/,
    (text) => {
      const [, objects] = /^Would collect ([\d,]+) objects .*; 0 objects known already/.exec(text) ?? []
      assert.equal(objects?.replaceAll(',', ''), String(logs.expected.eventObjects), text)
    },
  ],
  [
    /collect s3:\S+ --from -2d$/,
    (text) => {
      const found = /^Collected ([\d,]+) objects .* with ([\d,]+) events/.exec(text) ?? []
      const { eventObjects, events } = logs.expected
      const numbers = found.slice(1).map((number) => Number(number.replaceAll(',', '')))
      assert.deepEqual(numbers, [eventObjects, events], text)
    },
  ],
  [/collect \.\/logs$/, (text) => assert.match(text, /^Collected 1 object .* with 2 events/)],
  [/collect -$/, (text) => assert.match(text, /^Collected 1 object .* with 1 event /)],
  [/'CreateAccessKey'/, (text) => assert.match(text, /CreateAccessKey/)],
  [/--count/, (text) => assert.match(text, /^\d+\n$/)],
  [/AccessDenied/, (text) => assert.match(text, /^\d{4}-\d\d-\d\d \d\d:00:00 +\d+ /m)],
  [/payroll\.csv/, () => assert.match(readFileSync(join(site, 'payroll.csv'), 'utf8'), /^id,uid,/)],
  [/analyze --plugins tagging/, (text) => assert.match(text, /^Run 1 finished: ([\d,]+) events analysed of \1, [1-9]/)],
  [/findings --severity/, (text) => assert.match(text, /^\S+ \S+ +(?:high|critical) /m)],
  [/values tag/, (text) => assert.match(text, / {2}attack_tool_use$/m)],
  [/hunt --library/, (text) => assert.match(text, /^absent +FQDN +evil\.example\.com /m)],
  [/restore plan/, (text) => assert.match(text, /^[1-9]\d* segments? of main; 0 B to copy/)],
  [/tier status/, (text) => assert.match(text, /^hot +meta /m)],
  [/forward table/, (text) => assert.match(text, /^resource /m)],
  [/forward --dry-run/, () => assert.ok(!existsSync(join(site, 'out')))],
  [/forward --follow/, () => assert.ok(readdirSync(join(site, 'out')).length > 0)],
  [/library import/, (text) => assert.match(text, /read 2 objects/)],
  [/library list/, (text) => assert.match(text, /evil\.example\.com\n$/)],
  [/library show/, (text) => assert.match(text, /tlp +amber/)],
  [/sync export/, () => assert.equal(readdirSync(join(site, 'coldtrail-data')).includes('library.db'), true)],
  [/sync verify/, (text) => assert.match(text, /^sound/)],
  [/sync import .*--dry-run/, (text) => assert.match(text, /would be \d+ inserted/)],
  [/sync import .*other-site$/, (text) => assert.match(text, /^Identical with the source/m)],
  [/sync state$/, (text) => digests.push(/^([0-9a-f]{64}) as of/m.exec(text)![1]!)],
  [/sync state --data-dir/, (text) => assert.deepEqual(digests, [/^([0-9a-f]{64}) as of/m.exec(text)![1]!])],
  [/show 1234 --raw/, (text) => assert.ok(text.length > 50)],
  [
    /--json \| tail -1/,
    (text) => {
      const summary = Object.keys(JSON.parse(text))
      const shown = /^\{"type":"summary",.*…\}$/m.exec(readme)![0]
      const keys = [...shown.matchAll(/"(\w+)":/g)].map((match) => match[1]!)
      assert.deepEqual(summary.slice(0, keys.length), keys)
    },
  ],
]

test('every command of the README runs, in order, and does what the text says', async () => {
  const lines = commands()
  const met = new Set<RegExp>()
  for (const line of lines) {
    const { status, stdout, stderr } = await shell(line)
    assert.equal(status, 0, `${line}\n${stderr}`)
    for (const [pattern, proof] of PROOFS) {
      if (!pattern.test(line)) continue
      met.add(pattern)
      proof(stdout)
    }
  }
  assert.deepEqual(
    PROOFS.filter(([pattern]) => !met.has(pattern)).map(([pattern]) => pattern),
    [],
    'lines that the README had when this was written',
  )
})

test('what the README says of init and doctor in passing works too', async () => {
  const [, uri] = /`\.\/coldtrail init (\S+)`/.exec(readme)!
  const made = await shell(`./coldtrail init ${uri} --config init.yaml`)
  assert.equal(made.status, 0, made.stderr)
  for (const line of ['./coldtrail collect --config init.yaml', './coldtrail doctor --config init.yaml']) {
    const { status, stdout, stderr } = await shell(line)
    assert.equal(status, 0, stdout + stderr)
  }
})

test('the table of the data directory names what is there', () => {
  const paths = [...readme.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]!)
  assert.ok(paths.length >= 5)
  for (const path of paths) {
    const directory = join(site, 'coldtrail-data', dirname(path))
    const pattern = basename(path).replaceAll('.', '\\.').replaceAll('*', '.*')
    const names = readdirSync(directory)
    assert.ok(
      names.some((name) => new RegExp(`^${pattern}$`).test(name)),
      `${path}: ${names}`,
    )
  }
})
