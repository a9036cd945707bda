/** Hunts as they are typed: over CloudTrail of the fixtures, then with the data gone. */
import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { jsonLines, runCommand } from './runColdtrail.ts'

const cwd = mkdtempSync(join(tmpdir(), 'coldtrail-cli-hunt-'))
after(() => rmSync(cwd, { recursive: true, force: true }))

const RECORD = {
  eventVersion: '1.08',
  eventTime: '2023-07-10T12:00:00Z',
  eventSource: 's3.amazonaws.com',
  eventName: 'GetObject',
  awsRegion: 'eu-west-1',
  sourceIPAddress: '203.0.113.9',
  userAgent: 'curl',
  userIdentity: { type: 'IAMUser', userName: 'Mallory' },
  requestParameters: { url: 'https://drop.evil.example.com/x' },
  eventType: 'AwsApiCall',
  eventID: '00000000-0000-4000-8000-000000000001',
}

const coldtrail = (...args: string[]) => runCommand(args, { cwd })

before(async () => {
  writeFileSync(join(cwd, 'trail.json'), JSON.stringify({ Records: [RECORD] }))
  writeFileSync(
    join(cwd, 'list.txt'),
    '\uFEFF# indicators\n203.0.113[.]9  # seen in May\n\nnot an indicator\n198.51.100.7\r\n',
  )
  const collected = await coldtrail('collect', 'trail.json')
  assert.equal(collected.status, 0, collected.stderr)
})

test('values: each with its verdict, what is online confirmed; for people and for programs', async () => {
  const told = await coldtrail('hunt', 'evil.example[.]com', '203.0.113.0/24', 'user:mallory', '192.0.2.1', '--confirm')
  assert.equal(told.status, 0, told.stderr)
  assert.match(told.stdout, /^confirmed +domain +evil\.example\.com +1 +1 event in 1$/m)
  assert.match(told.stdout, /^confirmed +cidr +203\.0\.113\.0\/24 +1/m)
  assert.match(told.stdout, /^confirmed +user +mallory +1/m)
  assert.match(told.stdout, /^absent +ip +192\.0\.2\.1 +0/m)
  assert.match(told.stdout, /^4 indicators over 1 segment: 3 confirmed, 1 absent\.$/m)

  const lines = jsonLines((await coldtrail('hunt', 'evil.example.com', '192.0.2.1', '--json')).stdout)
  assert.deepEqual(
    lines.map(({ type, value, verdict, segment }) => [type, value ?? segment, verdict]),
    [
      ['indicator', 'evil.example.com', 'possible'],
      ['indicator', '192.0.2.1', 'absent'],
      ['segment', 1, undefined],
      ['hunt', undefined, undefined],
    ],
  )
  const { segments, verdicts, expected_false } = lines.at(-1)!
  assert.deepEqual([segments, verdicts], [[1], { confirmed: 0, possible: 1, unknown: 0, absent: 1 }])
  assert.ok((expected_false as number) > 0 && (expected_false as number) < 1e-9)
})

test('lists: comments, blanks and what is no indicator; nothing to hunt; an inverted range', async () => {
  const listed = await coldtrail('hunt', '--indicators', 'list.txt', '--json')
  const { refused, indicators, segments } = jsonLines(listed.stdout).at(-1)!
  assert.deepEqual([refused, indicators, segments], [1, 2, [1]])
  assert.match(listed.stderr, /not an indicator/)
  const piped = await runCommand(['hunt', '--indicators', '-', '--json'], { cwd, input: '203.0.113.9' })
  assert.deepEqual(jsonLines(piped.stdout).at(-1)!.segments, [1])
  for (const [args, code, status] of [
    [['hunt'], 'E_HUNT_NOTHING', 2],
    [['hunt', '--library'], 'E_HUNT_NOTHING', 2],
    [['hunt', 'nonsense'], 'nonsense.* is no indicator', 2],
    [['hunt', '--indicators', 'none.txt'], 'E_FILE_READ', undefined],
    [['hunt', '1.1.1.1', '--from', '2023-07-11', '--to', '2023-07-10'], 'E_TIME_ORDER', 2],
    [['hunt', '1.1.1.1', '--collection', 'mian'], 'E_COLLECTION_UNKNOWN', 2],
  ] as const) {
    const failed = await coldtrail(...args, '--json')
    assert.match(failed.stderr, new RegExp(code), args.join(' '))
    if (status !== undefined) assert.equal(failed.status, status)
  }
})

test('what is out of the range is not asked; what is offline is possible, and a lost key makes it unknown', async () => {
  const outside = await coldtrail('hunt', '203.0.113.9', '--from', '2023-07-11', '--json')
  assert.deepEqual(jsonLines(outside.stdout).at(-1)!.segments_searched, 0)
  renameSync(join(cwd, 'coldtrail-data/collections'), join(cwd, 'tape'))
  const offline = jsonLines((await coldtrail('hunt', '203.0.113.9', '--confirm', '--json')).stdout)
  assert.deepEqual([offline[0]!.verdict, offline[1]!.online], ['possible', false])
  renameSync(join(cwd, 'coldtrail-data/keys'), join(cwd, 'keys'))
  const lost = await coldtrail('hunt', '192.0.2.1', '--require-complete', '--json')
  assert.deepEqual([lost.status, jsonLines(lost.stdout)[0]!.verdict], [7, 'unknown'])
  assert.match(lost.stderr, /the key of epoch \d+ \([0-9a-f]{8}\) is not here/)
})
