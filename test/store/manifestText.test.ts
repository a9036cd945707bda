import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { overlapping } from '../../src/store/history.ts'
import { type ManifestFacts, parseManifestText, printManifest, simpleTime } from '../../src/store/manifestText.ts'

const EXAMPLE_B = readFileSync(join(import.meta.dirname, '../fixtures/manifests/exampleB.txt'), 'utf8').trimEnd()

test("the original's example answer is parsed and printed byte for byte", () => {
  const records = parseManifestText(EXAMPLE_B)
  assert.deepEqual(
    records.map(({ filename, fileTime, time1, time2 }) => [filename, fileTime, time1, time2]),
    [
      ['meta-000001691.nwmdb', 1397991994, 1397991934, 1397992594],
      ['session-000001865.nwsdb', 1397991995, undefined, undefined],
      ['session-000001866.nwsdb', 1397992711, undefined, undefined],
    ],
  )
  const printed = records.map((record) => printManifest(record, { timeFormat: 'simple' }))
  assert.equal(printed.join(' '), EXAMPLE_B)
  const window = { time1: 1397991600, time2: 1397992800 }
  assert.deepEqual(
    [...overlapping(records, window)].map(({ by }) => by),
    ['time', 'fileTime', 'fileTime'],
  )
})

test('a name that would write to a terminal or forge a record stays within its quotes, and is read again', () => {
  const filename = 'meta-1\u001b[2J\n[ filename="forged" ]\\u001b\u202e.nwmdb'
  const printed = printManifest({ filename }, { timeFormat: 'posix' })
  assert.doesNotMatch(printed, /[\u0000-\u001f\u007f-\u009f\u202e]/)
  assert.deepEqual(parseManifestText(printed), [{ filename }])
})

test('posix times are bare integers, and parse to the same', () => {
  const records = parseManifestText(EXAMPLE_B)
  const posix = records.map((record) => printManifest(record, { timeFormat: 'posix' }))
  assert.ok(posix[0]!.includes(' fileTime=1397991994 id1=301555027452 '))
  assert.ok(posix[0]!.endsWith(' time1=1397991934 time2=1397992594 compression=gzip ]'))
  assert.deepEqual(parseManifestText(posix.join('\n')), records)
})

test('keys stand in the order of their kind; what is absent is left out; a match by creation time says so', () => {
  const facts: ManifestFacts = {
    filename: 'session-000000001.parquet',
    kind: 'session',
    size: 5,
    fileTime: 0,
    id1: 1,
    id2: 2,
    session1: 1,
    session2: 2,
    metaId1: 3,
    metaId2: 4,
    packetId1: 5,
    packetId2: 6,
    time1: 7,
    time2: 8,
  }
  assert.equal(
    printManifest(facts, { timeFormat: 'posix' }),
    '[ filename=session-000000001.parquet size=5 fileTime=0 id1=1 id2=2 metaId1=3 metaId2=4 packetId1=5 packetId2=6 ' +
      'time1=7 time2=8 ]',
  )
  const log = { filename: 'log-000000001.pack', kind: 'log', fileTime: 0, session1: 1, session2: 2 }
  assert.equal(
    printManifest(log, { timeFormat: 'simple', by: 'fileTime' }),
    '[ filename=log-000000001.pack fileTime="1970-Jan-01 00:00:00" session1=1 session2=2 by=fileTime ]',
  )
})

test('simple times are English, UTC and round trip', () => {
  assert.equal(simpleTime(1397991994), '2014-Apr-20 11:06:34')
  fc.assert(
    fc.property(fc.integer({ min: -30_000_000_000, max: 250_000_000_000 }), (time1) => {
      const record = { filename: 'meta-1', time1 }
      assert.deepEqual(parseManifestText(printManifest(record, { timeFormat: 'simple' })), [record])
    }),
  )
})

test('any text value survives printing', () => {
  fc.assert(
    fc.property(fc.string(), fc.string({ unit: 'binary' }), (filename, compression) => {
      const printed = printManifest({ filename, compression }, { timeFormat: 'simple' })
      assert.deepEqual(parseManifestText(`${printed} ${printed}`), [
        { filename, compression },
        { filename, compression },
      ])
    }),
  )
  const hostile = 'a b"]\\ ['
  assert.equal(printManifest({ filename: hostile }, { timeFormat: 'posix' }), '[ filename="a b\\"]\\\\ [" ]')
})

test('what is no such text is refused, whatever it is', () => {
  const refused = (text: string): string => {
    try {
      parseManifestText(text)
    } catch (error) {
      return error instanceof ColdtrailError ? error.code : String(error)
    }
    return 'accepted'
  }
  for (const text of [
    'x',
    '[',
    '[ filename=a',
    '[ size=1 ]',
    '[ [ filename=a ] ]',
    'filename=a',
    '[ filename=a size=9007199254740993 ]',
    '[ filename=a size=1.5 ]',
    '[ filename=a time1="2014-Xyz-20 11:06:34" ]',
    '[ filename=a time1="2014-Feb-30 11:06:34" ]',
    '[ filename=a"b ]',
  ])
    assert.equal(refused(text), 'E_MANIFEST_FORMAT', text)
  assert.deepEqual(parseManifestText('[ filename=a __proto__=1 unknown="x y" ]'), [{ filename: 'a' }])
  assert.deepEqual(parseManifestText(' \n'), [])
  fc.assert(fc.property(fc.string(), (text) => assert.match(refused(text), /^(accepted|E_MANIFEST_FORMAT)$/)))
})
