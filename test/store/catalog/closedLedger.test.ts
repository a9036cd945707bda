import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { findObject, mergeObjects } from '../../../src/store/catalog/closedLedger.ts'
import { ledgerDay, ledgerShard, NO_DAY, objectId } from '../../../src/store/catalog/objectId.ts'

const object = { source: 's3://b', bucket: 'b', key: 'k', version: 'v' }

test('the id of an object is part of the format: it never changes', () => {
  assert.equal(objectId(object).toString('hex'), 'ee412e8c437cbe3937af10545c11f4a0')
})

test('versions share the key part; no two ways of writing the parts share it', () => {
  const id = objectId(object)
  assert.ok(
    objectId({ ...object, version: 'w' })
      .subarray(0, 10)
      .equals(id.subarray(0, 10)),
  )
  assert.ok(
    !objectId({ ...object, bucket: 'bk', key: '' })
      .subarray(0, 10)
      .equals(id.subarray(0, 10)),
  )
})

test('the shard of a key is its first date, else one of 256', () => {
  const day = (key: string) => ledgerDay(key) * 86_400_000
  assert.equal(day('AWSLogs/1/CloudTrail/eu/2023/07/10/1_20230711T1105Z_x.json.gz'), Date.UTC(2023, 6, 10))
  assert.equal(day('app-2023-07-10.log'), Date.UTC(2023, 6, 10))
  assert.equal(day('x/20230710.gz'), Date.UTC(2023, 6, 10))
  for (const key of ['', 'a/b', '1202307101', '2023/13/01', '1969-01-01']) assert.equal(ledgerDay(key), NO_DAY, key)
  assert.equal(ledgerShard(NO_DAY, Buffer.from([0xab])), 'hab')
  assert.equal(ledgerShard(19_548, Buffer.from([0xab])), 'd19548')
})

const id = fc.tuple(fc.nat(3), fc.nat(3)).map(([key, version]) => Buffer.alloc(16, key).fill(version, 10))

test('closed shards agree with a set, merged in any portions', () => {
  fc.assert(
    fc.property(fc.array(fc.array(id)), id, (portions: Buffer[][], sought: Buffer) => {
      const objects = portions.reduce<Buffer>((old, added) => mergeObjects(old, added), Buffer.alloc(0))
      const set = new Set(portions.flat().map((one) => one.toString('hex')))
      assert.equal(objects.length, set.size * 16)
      assert.deepEqual(
        Array.from({ length: set.size }, (_, i) => objects.toString('hex', i * 16, i * 16 + 16)),
        [...set].sort(),
      )
      const hex = sought.toString('hex')
      const other = [...set].some((one) => one.slice(0, 20) === hex.slice(0, 20))
      assert.equal(findObject(objects, sought), set.has(hex) ? 'known' : other ? 'other version' : 'new')
    }),
  )
})
