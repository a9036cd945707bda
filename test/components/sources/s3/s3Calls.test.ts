import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { S3Client } from '@aws-sdk/client-s3'
import { S3Calls } from '../../../../src/components/sources/s3/s3Calls.ts'

const MOST = 16

function callsOf(pauses: number[] = []): S3Calls {
  return new S3Calls({
    bucket: 'logs',
    endpoint: 'http://127.0.0.1',
    region: 'us-east-1',
    maxAttempts: 8,
    maxConnections: MOST,
    idleSeconds: 10,
    renewable: false,
    context: {
      environment: {},
      pause: async (milliseconds) => {
        pauses.push(milliseconds)
      },
      warn: () => undefined,
    },
    connect: (region) => new S3Client({ region }),
  })
}

/** The most attempts that ran at a time while `count` calls were made. */
async function width(calls: S3Calls, count: number, milliseconds = 2): Promise<number> {
  let [running, most] = [0, 0]
  const attempt = async () => {
    running += 1
    most = Math.max(most, running)
    await sleep(milliseconds)
    running -= 1
  }
  await Promise.all(Array.from({ length: count }, () => calls.run('GetObject', 'k', attempt)))
  return most
}

const slowDown = () => Object.assign(new Error('Please reduce your request rate.'), { name: 'SlowDown', $metadata: {} })

test('requests at a time are bounded, halved by throttling once for many answers, and recover', async () => {
  const calls = callsOf()
  assert.equal(await width(calls, 100), MOST)
  let failures = 10
  const attempt = async () => {
    failures -= 1
    if (failures >= 0) throw slowDown()
  }
  await Promise.all(Array.from({ length: 10 }, () => calls.run('GetObject', 'k', attempt)))
  assert.equal(calls.statistics.throttles, 10)
  const halved = await width(calls, MOST)
  assert.ok(halved >= MOST / 2 && halved < MOST, `${halved}`)
  await width(calls, 500, 0)
  assert.equal(await width(calls, 100), MOST)
})

test('pauses double up to a limit and are drawn between nothing and that', async () => {
  const pauses: number[] = []
  const error = Object.assign(new Error('x'), { name: 'InternalError', $metadata: { httpStatusCode: 500 } })
  for (let at = 0; at < 60; at += 1) {
    const calls = callsOf(pauses)
    await assert.rejects(calls.run('GetObject', 'k', () => Promise.reject(error)))
    assert.equal(calls.statistics.requests.get('GetObject'), 8)
  }
  for (let attempt = 0; attempt < 7; attempt += 1) {
    const drawn = pauses.filter((_, at) => at % 7 === attempt)
    const limit = 100 * 2 ** attempt
    assert.ok(Math.max(...drawn) <= limit && Math.max(...drawn) > limit / 2)
    assert.ok(Math.min(...drawn) < limit / 2)
  }
})
