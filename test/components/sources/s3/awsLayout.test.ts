import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type DateStyle, dayPrefixes, placeOf } from '../../../../src/components/sources/s3/awsLayout.ts'
import { dayText, keyDay } from '../../../../src/core/keyDay.ts'

test('the place of a prefix in an AWS tree', () => {
  const places: Readonly<Record<string, string>> = {
    '': 'outside',
    'any/where/': 'outside',
    'AWSLogs/': 'branch',
    'p/q/AWSLogs/111122223333/': 'branch',
    'AWSLogs/o-abcde12345/111122223333/CloudTrail/': 'branch',
    'AWSLogs/o-abcde12345/111122223333/CloudTrail/us-gov-west-1/': 'dated padded',
    'AWSLogs/111122223333/Config/eu-central-1/': 'dated unpadded',
    'AWSLogs/aws-account-id=1/aws-service=vpcflowlogs/': 'branch',
    'AWSLogs/aws-account-id=1/aws-service=vpcflowlogs/aws-region=us-east-1/': 'dated hive',
    'AWSLogs/aws-account-id=1/aws-service=vpcflowlogs/aws-region=us-east-1/year=2023/': 'leaf',
    'AWSLogs/111122223333/CloudTrail/us-east-1/2023/': 'leaf',
    'AWSLogs/111122223333/CloudTrail/not-a-region/': 'leaf',
    'AWSLogs/111122223333/WAFLogs/cloudfront/acl/': 'branch',
    'AWSLogs/111122223333/WAFLogs/us-east-1/acl/2023/': 'leaf',
    'AWSLogs/111122223333/SomethingNew/': 'leaf',
  }
  for (const [prefix, expected] of Object.entries(places)) {
    const place = placeOf(prefix)
    assert.equal(place.kind === 'dated' ? `dated ${place.style}` : place.kind, expected, prefix)
  }
})

test('the prefixes of a range cover each of its days once and no other', () => {
  const first = Date.parse('2019-11-01') / 86_400_000
  const days = fc.tuple(fc.integer({ min: first, max: first + 900 }), fc.integer({ min: 0, max: 800 }))
  fc.assert(
    fc.property(days, fc.constantFrom<DateStyle[]>('padded', 'unpadded', 'hive'), ([from, length], style) => {
      const to = from + length
      const prefixes = dayPrefixes('p/', style, { from, to })
      for (let day = from - 40; day <= to + 40; day += 1) {
        const [year, month, date] = dayText(day).split('-')
        const key = {
          padded: `p/${year}/${month}/${date}/x`,
          unpadded: `p/${year}/${Number(month)}/${Number(date)}/x`,
          hive: `p/year=${year}/month=${month}/day=${date}/x`,
        }[style]
        assert.equal(keyDay(key), day)
        const hits = prefixes.filter((prefix) => key.startsWith(prefix)).length
        assert.equal(hits, day >= from && day <= to ? 1 : 0, key)
      }
    }),
    { numRuns: 30 },
  )
})
