import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { keyDay } from '../../src/core/keyDay.ts'
import { ATTACK } from '../../src/demo/attack.ts'
import { awsLogSet, cloudTrailFiles, type LogObject } from '../../src/demo/awsLogs.ts'

interface Trail {
  readonly eventName: string
  readonly eventID: string
  readonly eventTime: string
  readonly errorCode?: string
  readonly sourceIPAddress: string
  readonly recipientAccountId: string
  readonly awsRegion: string
  readonly userIdentity: { readonly accessKeyId?: string }
}

const started = performance.now()
const set = awsLogSet({ seed: 1 })
const elapsed = performance.now() - started
const inside = (part: string) => set.objects.filter((object) => object.key.includes(part))
const textOf = (object: LogObject) => gunzipSync(object.body).toString()
const trails = inside('/CloudTrail/').flatMap((object) => (JSON.parse(textOf(object)) as { Records: Trail[] }).Records)
const flows = inside('/vpcflowlogs/').flatMap((object) => {
  const [header = '', ...lines] = textOf(object).trim().split('\n')
  const names = header.split(' ')
  return lines.map((line) => {
    const values = line.split(' ')
    assert.equal(values.length, names.length, line)
    return Object.fromEntries(names.map((name, at) => [name, values[at]!]))
  })
})

test('the same seed gives the same bytes, another seed others, in time', () => {
  const digest = (objects: readonly LogObject[]) => {
    const hash = createHash('sha256')
    for (const { key, body, lastModified } of objects) hash.update(`${key}\n${lastModified}\n`).update(body)
    return hash.digest('hex')
  }
  const options = { cloudTrailEvents: 2000, flowRecords: 2000 }
  assert.equal(digest(awsLogSet(options).objects), digest(awsLogSet(options).objects))
  assert.notEqual(digest(awsLogSet(options).objects), digest(awsLogSet({ ...options, seed: 2 }).objects))
  assert.ok(elapsed < 10_000, `${elapsed} ms`)
})

test('the counts that it promises are those of its files', () => {
  const { expected } = set
  assert.equal(set.objects.length, expected.objects)
  assert.equal(new Set(set.objects.map((object) => object.key)).size, expected.objects)
  assert.equal(trails.length, expected.cloudTrailEvents)
  assert.equal(flows.length, expected.flowRecords)
  assert.equal(expected.events, trails.length + flows.length)
  assert.equal(flows.filter((flow) => flow['log-status'] === 'NODATA').length, expected.flowNoData)
  assert.equal(inside('/CloudTrail-Digest/').length, expected.digestObjects)
  assert.equal(expected.eventObjects, expected.objects - expected.digestObjects)
  const count = (values: (string | undefined)[]) => {
    const counts: Record<string, number> = {}
    for (const value of values) if (value !== undefined) counts[value] = (counts[value] ?? 0) + 1
    return counts
  }
  assert.deepEqual(count(trails.map((record) => record.eventName)), expected.byOperation)
  assert.deepEqual(count(trails.map((record) => record.errorCode)), expected.byErrorCode)
})

test('the attack is there, as counted, and only in its place', () => {
  const { expected } = set
  const attacker = trails.filter((record) => record.sourceIPAddress === ATTACK.ip)
  assert.equal(attacker.length, expected.attackerCalls)
  assert.equal(attacker.filter((record) => record.errorCode).length, expected.attackerDenied)
  const leaked = trails.filter((record) => record.userIdentity.accessKeyId === ATTACK.accessKeyId)
  assert.equal(leaked.length, expected.leakedKeyCalls)
  assert.deepEqual(new Set(leaked.map((record) => record.sourceIPAddress)), new Set([ATTACK.ip, ATTACK.ordinaryIp]))
  const first = attacker.toSorted((a, b) => a.eventTime.localeCompare(b.eventTime))[0]!
  assert.equal(first.eventName, 'GetCallerIdentity')
  assert.equal(new Date(first.eventTime).toISOString(), expected.firstAttackerEvent)
  const stolen = attacker.filter((record) => record.eventName === 'GetObject')
  assert.equal(stolen.length, ATTACK.stolenObjects)
  assert.ok(stolen.every((record) => record.recipientAccountId === ATTACK.secondAccount))
  const out = flows.filter((flow) => flow.dstaddr === ATTACK.ip)
  assert.equal(out.length, ATTACK.exfiltrationFlows)
  assert.equal(
    out.reduce((sum, flow) => sum + Number(flow.bytes), 0),
    expected.exfiltratedBytes,
  )
  assert.equal(flows.filter((flow) => flow.srcaddr === ATTACK.ip).length, expected.attackerFlows - out.length)
})

test('keys and records are of the accounts, regions and days they name', () => {
  assert.ok(set.expected.events > 100_000 && set.expected.events < 102_000)
  assert.deepEqual(new Set(trails.map((record) => record.recipientAccountId)).size, 2)
  assert.deepEqual(new Set(trails.map((record) => record.awsRegion)).size, 3)
  assert.equal(new Set(trails.map((record) => record.eventID)).size, trails.length)
  const first = Date.parse(set.firstDay) / 86_400_000
  for (const object of set.objects) {
    const day = keyDay(object.key)!
    assert.ok(day >= first && day < first + 3, object.key)
  }
  for (const record of trails) assert.match(record.userIdentity.accessKeyId ?? 'EXAMPLE', /EXAMPLE$/)
})

test('benchmark files are of the size asked for, with records of real size', () => {
  let [bytes, records] = [0, 0]
  for (const file of cloudTrailFiles({ bytes: 9_000_000, fileBytes: 2_000_000 })) {
    const text = textOf(file)
    assert.equal(text.length, file.uncompressedBytes)
    assert.equal((JSON.parse(text) as { Records: unknown[] }).Records.length, file.records)
    bytes += file.uncompressedBytes
    records += file.records
  }
  assert.ok(bytes >= 9_000_000 && bytes < 9_010_000)
  assert.ok(bytes / records > 1200 && bytes / records < 1500)
})
