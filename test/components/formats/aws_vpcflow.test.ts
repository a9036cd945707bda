/** The header that a flow log hands on: encoders need it to name the fields of a record's text. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MAX_HEADER } from '../../../src/components/component.ts'
import { aws_vpcflow } from '../../../src/components/formats/aws_vpcflow.ts'
import { text_lines } from '../../../src/components/formats/text_lines.ts'
import { OPTIONS, RecordingSink } from '../../support/recordingSink.ts'

const V2 =
  'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status'
const SHORT = 'version srcaddr dstaddr'
const RECORD = '2 123456789010 eni-1 10.0.0.1 10.0.0.2 1 2 6 3 4 1418530010 1418530070 ACCEPT OK'

function headerOf(text: string, pieces = 1, format = aws_vpcflow): string | null | undefined {
  const parser = format.open(new RecordingSink(), OPTIONS)
  const bytes = Buffer.from(text)
  const size = Math.ceil(bytes.length / pieces)
  for (let at = 0; at < bytes.length; at += size) parser.push(bytes.subarray(at, at + size))
  return parser.end().header
}

test('the header of an object, however it arrives', () => {
  for (const pieces of [1, 2, 50]) {
    assert.equal(headerOf(`\ufeff${V2}\r\n${RECORD}\r\n`, pieces), V2)
    assert.equal(headerOf(`${SHORT.replaceAll(' ', '  \t')} \n2 10.0.0.1 10.0.0.2\n`, pieces), SHORT)
  }
  assert.equal(headerOf(SHORT), SHORT, 'without records')
})

test('an object without one has the header that was assumed', () => {
  assert.equal(headerOf(`${RECORD}\n`), V2)
  assert.equal(headerOf(`${RECORD}\n${V2}\n${RECORD}\n`), V2, 'and the same one later is the same')
})

test('of several different headers there is none', () => {
  assert.equal(headerOf(`${V2}\n${RECORD}\n${V2}\n${RECORD}\n`), V2, 'joined files of one kind')
  assert.equal(headerOf(`${V2}\n${RECORD}\n${SHORT}\n2 10.0.0.1 10.0.0.2\n`), null)
  assert.equal(headerOf(`${RECORD}\n${SHORT}\n2 10.0.0.1 10.0.0.2\n`), null, 'records before the first one')
  assert.equal(headerOf(`${V2}\n${SHORT}\n2 10.0.0.1 10.0.0.2\n`), SHORT, 'no record was of the first')
})

test('a header that is too long to keep is none', () => {
  const names = (count: number) => `srcaddr dstaddr ${Array.from({ length: count }, (_, i) => `field-${i}`).join(' ')}`
  assert.equal(headerOf(`${names(500)}\n`), names(500))
  assert.ok(names(2000).length > MAX_HEADER)
  assert.equal(headerOf(`${names(2000)}\n`), null)
})

test('text lines have none', () => {
  assert.equal(headerOf(`${V2}\n`, 1, text_lines), null)
})
