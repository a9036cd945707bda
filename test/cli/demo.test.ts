import assert from 'node:assert/strict'
import { test } from 'node:test'
import { awsLogSet } from '../../src/demo/awsLogs.ts'
import { inTemporary, jsonLines, runColdtrail } from './runColdtrail.ts'

test('the demonstration collects everything, finds the attack, and has nothing new the second time', () =>
  inTemporary(async (cwd) => {
    const { expected } = awsLogSet()
    const first = await runColdtrail(['demo'], { cwd })
    assert.equal(first.status, 0, first.stderr)
    const { stdout } = first
    assert.ok(stdout.includes(`with ${expected.events.toLocaleString('en-US')} events`), stdout)
    assert.ok(stdout.includes(`${expected.attackerCalls} events, exactly as many as the generator wrote.`))
    assert.match(stdout, /s3:\/\/YOUR-BUCKET/)
    assert.match(stdout, /Analysis report: tagging/)
    for (const label of ['leaked_key_use', 'privilege_escalation', 'foreign_account_trusted', 'snapshot_shared'])
      assert.match(stdout, new RegExp(`^  ${label}: \\d+$`, 'm'), 'the shipped rules find the attack')
    assert.match(stdout, /^possible +ip +198\.51\.100\.23/m, 'days that left are named')
    assert.match(stdout, /^absent +ip/m)
    assert.match(stdout, /as many as before they left/)
    assert.doesNotMatch(first.stderr, /Warning/, 'no listener is left behind by a chapter')
    const second = await runColdtrail(['demo', '--json'], { cwd })
    assert.equal(second.status, 0, second.stderr)
    const summary = jsonLines(second.stdout)[0]!
    assert.deepEqual([summary.objects, summary.known], [0, expected.eventObjects])
    const labels = jsonLines(second.stdout).filter(({ value }) => value === 'exfiltration')
    assert.deepEqual(
      labels.map(({ count }) => count),
      [456],
      'a second run of the rules counts nothing twice',
    )
  }))
