import assert from 'node:assert/strict'
import { it } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { CommonRows } from '../../../src/components/rows/commonRows.ts'
import { compileRow } from '../../../src/components/rows/rowEncoder.ts'
import { AWSCloudTrail } from '../../../src/components/tables/AWSCloudTrail.ts'
import type { OutgoingEvent } from '../../../src/core/outgoingEvent.ts'
import { cloudTrailFiles } from '../../../src/demo/awsLogs.ts'

const session = { source: 's', bucket: 'b', key: 'k', version: '1', format: 'cloudtrail', header: null }

function eventOf(record: unknown, id: number): OutgoingEvent {
  const text = typeof record === 'string' ? record : JSON.stringify(record)
  const data = Buffer.from(text)
  const uid = id.toString(16).padStart(32, 'a')
  return { id, uid, time: id * 1e6 + 17, dataType: 'aws:cloudtrail:entry', data, session, column: () => null }
}

/** The row, and whether the byte module has written it. */
function encoded(event: OutgoingEvent, byModule: boolean): { row: string; isCommon: boolean } {
  let row = ''
  isAllowed = byModule
  written = false
  const problem = ENCODER.encode(event, {
    text(text) {
      row += text
    },
    bytes(bytes, start, end) {
      row += Buffer.from(bytes.subarray(start, end)).toString()
    },
  })
  assert.equal(problem, undefined)
  return { row, isCommon: written }
}

const ENCODER = compileRow(AWSCloudTrail)
let isAllowed = true
let written = false
const { write } = CommonRows.prototype
CommonRows.prototype.write = function (...args) {
  written = isAllowed && write.apply(this, args)
  return written
}

it('rows of CloudTrail are written by the byte module, the same as value by value', () => {
  const [file] = cloudTrailFiles({ bytes: 3e6, seed: 5 })
  const { Records } = JSON.parse(gunzipSync(file!.body).toString()) as { Records: unknown[] }
  assert.ok(Records.length > 500)
  Records.forEach((record, i) => {
    const { row, isCommon } = encoded(eventOf(record, i), true)
    assert.equal(row, encoded(eventOf(record, i), false).row)
    assert.ok(isCommon, `record ${i}`)
  })
})

for (const [what, record, isCommon] of [
  ['nothing', '{}', true],
  ['space between tokens', '{ "requestParameters" : { "a" : [ 1 , "x \\" y" ] } , "readOnly" : true }', true],
  ['escapes in texts', { userAgent: 'a "b" \\ \n é 😀', requestParameters: { k: 'q"\\\\"\n' } }, true],
  ['an escaped key, which the scanner refuses', { requestParameters: { '\\"': '' } }, false],
  ['numbers and booleans as texts', { eventName: 12.5, awsRegion: true, errorCode: false }, true],
  ['booleans as texts', { readOnly: 'true', managementEvent: 'false' }, true],
  ['a boolean in another spelling', { readOnly: 'True' }, false],
  ['an escaped surrogate pair', '{"userAgent":"\\ud83d\\ude00"}', false],
  ['a text of 65,536 bytes', { userAgent: 'x'.repeat(65_536) }, true],
  ['a container of 65,536 bytes', { requestParameters: { k: 'x'.repeat(65_536 - 8) } }, true],
  ['more than the row of the module holds', { ...longTexts(8), eventID: 'x' }, false],
  [
    'a container that does not fit any more',
    { ...longTexts(3), additionalEventData: { k: '"'.repeat(32_000) } },
    false,
  ],
  ['the last day of a month', attributesOf('2024-12-31T23:59:59.1234567Z'), true],
  ['a leap day', attributesOf('2024-02-29T00:00:00Z'), false],
] as const)
  it(`the same row both ways: ${what}`, () => {
    const event = eventOf(record, 1)
    const { row, isCommon: byModule } = encoded(event, true)
    assert.equal(row, encoded(event, false).row)
    assert.equal(byModule, isCommon)
  })

// --- internal ---

function attributesOf(creationDate: string): object {
  return { userIdentity: { sessionContext: { attributes: { creationDate, mfaAuthenticated: 'false' } } } }
}

function longTexts(count: number): object {
  const names = [
    'eventName',
    'eventSource',
    'eventType',
    'awsRegion',
    'userAgent',
    'errorCode',
    'errorMessage',
    'apiVersion',
  ]
  return Object.fromEntries(names.slice(0, count).map((name) => [name, 'y'.repeat(60_000)]))
}
