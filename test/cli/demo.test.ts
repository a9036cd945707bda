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
    const second = await runColdtrail(['demo', '--json'], { cwd })
    assert.equal(second.status, 0, second.stderr)
    const summary = jsonLines(second.stdout)[0]!
    assert.deepEqual([summary.objects, summary.known], [0, expected.eventObjects])
  }))
