import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { dayText, keyDay } from '../../src/core/keyDay.ts'

const DAYS: Readonly<Record<string, string | undefined>> = {
  'AWSLogs/111122223333/CloudTrail/us-east-1/2023/07/10/111122223333_CloudTrail_us-east-1_20230711T0005Z_x.json.gz':
    '2023-07-10',
  'AWSLogs/111122223333/Config/us-east-1/2016/9/27/ConfigHistory/x.json.gz': '2016-09-27',
  'AWSLogs/aws-account-id=1/aws-service=vpcflowlogs/aws-region=r/year=2023/month=07/day=01/hour=02/x': '2023-07-01',
  'aws/SOURCE/2.0/region=us-east-1/accountId=1/eventDay=20240229/x.parquet': '2024-02-29',
  'logs2024-02-29-00-15-01-0123456789ABCDEF': '2024-02-29',
  'E2EXAMPLE.2023-07-10-05.1a2b3c4d.gz': '2023-07-10',
  'fw_20230701T1200Z_1.gz': '2023-07-01',
  'app.log.20230701': '2023-07-01',
  '201912345678/x': undefined,
  a20191231b: undefined,
  '2023/13/01/x': undefined,
  '2023-02-30.log': undefined,
  '2023/02/30/app-2023-03-01.log': '2023-03-01',
  'no date': undefined,
  '': undefined,
}

for (const [key, day] of Object.entries(DAYS)) {
  test(`the day of "${key}" is ${day ?? 'unknown'}`, () => {
    const found = keyDay(key)
    assert.equal(found === undefined ? undefined : dayText(found), day)
  })
}

test('every day of two centuries is found in every form, and no text makes it throw', () => {
  const first = Date.parse('1900-01-01') / 86_400_000
  const last = Date.parse('2099-12-31') / 86_400_000
  fc.assert(
    fc.property(fc.integer({ min: first, max: last }), (day) => {
      const text = dayText(day)
      const [year, month, date] = text.split('-').map(Number)
      const keys = [
        text,
        text.replaceAll('-', '/'),
        `${year}/${month}/${date}/x`,
        `a_${text.replaceAll('-', '')}T0000Z`,
      ]
      for (const key of keys) assert.equal(keyDay(key), day, key)
    }),
  )
  fc.assert(fc.property(fc.string(), (key) => keyDay(key) === undefined || Number.isInteger(keyDay(key))))
})
