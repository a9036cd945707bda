/** Messages by the formatter files of plaso: its forms, what is missing, and files that cannot be used. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { plaso } from '../../../src/components/formats/plaso.ts'
import { formattedMessage } from '../../../src/components/timeline/formatters.ts'
import { parseExactly } from '../../../src/components/timeline/pythonText.ts'
import { readFormatters } from '../../../src/components/timeline/readFormatters.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { OPTIONS, parseWhole } from '../../support/recordingSink.ts'

const folder = mkdtempSync(join(tmpdir(), 'coldtrail-formatters-'))
after(() => rmSync(folder, { recursive: true, force: true }))

let folders = 0
function read(yaml: string) {
  const place = mkdtempSync(join(folder, `f${folders++}-`))
  writeFileSync(join(place, 'a.yaml'), yaml)
  return readFormatters(place)
}

const YAML = `# plaso formatters
---
type: 'conditional'
data_type: 'fs:stat'
boolean_helpers:
- input_attribute: 'is_allocated'
  output_attribute: 'unallocated'
  value_if_false: 'unallocated'
  value_if_true: ''
enumeration_helpers:
- input_attribute: 'kind'
  output_attribute: 'kind'
  default_value: 'UNKNOWN'
  values:
    1: 'ONE'
    2: 'TWO'
flags_helpers:
- input_attribute: 'mode'
  output_attribute: 'flags'
  values:
    0x00000001: 'A'
    0x00000004: 'C'
    0x80000000: 'HIGH'
message:
- '{filename}'
- 'Type: {kind}'
- '({unallocated})'
- 'Flags: {flags}'
- 'Size: {file_size}'
- 'Parts: {parts}'
- 'Nothing: {nothing}'
- 'Empty: {empty}'
short_message:
- '{filename}'
short_source: 'FILE'
---
type: 'basic'
data_type: 'windows:evtx'
message: '[{event_identifier} / 0x{event_identifier:04x}] {{x}} {name!s} {offset:d} {ratio:.2f} {code:8X}|'
---
type: 'conditional'
data_type: 'a:b'
separator: ', '
message: ['{one}', '{two}', 'plain']
`

test('conditional and basic messages, helpers and forms, as plaso tells them', () => {
  const formatters = read(YAML)
  const told = (dataType: string, json: string) =>
    formattedMessage(formatters[dataType]!, parseExactly(json) as Record<string, unknown>)
  assert.equal(
    told(
      'fs:stat',
      '{"filename":"/a","kind":2,"is_allocated":false,"mode":2147483653,"file_size":0,"parts":["x",1],"empty":"","nothing":null}',
    ),
    "/a Type: TWO (unallocated) Flags: A, C, HIGH Size: 0 Parts: ['x', 1]",
  )
  assert.equal(told('fs:stat', '{"filename":"/a","kind":9,"is_allocated":true}'), '/a Type: UNKNOWN')
  assert.equal(
    told(
      'windows:evtx',
      '{"event_identifier":4624,"name":"n\\nm","offset":12345678901234567890,"ratio":1.5,"code":48879}',
    ),
    '[4624 / 0x1210] {x} n m 12345678901234567890 1.50     BEEF|',
  )
  assert.equal(told('windows:evtx', '{"event_identifier":4624}'), undefined, 'a basic one wants all of them')
  assert.equal(told('a:b', '{"two":true}'), 'True, plain')
  assert.equal(told('fs:stat', '{"__proto__":1,"constructor":2}'), undefined)
})

test('events of timelines have such messages, others those of our own', () => {
  const lines = [
    '{"__container_type__":"plaso_storage","format_version":"20260516"}',
    '{"__container_type__":"event","timestamp":1,"data_type":"a:b","one":"1"}',
    '{"__container_type__":"event","timestamp":1,"data_type":"c:d","one":"1"}',
    '{"__container_type__":"event","timestamp":1,"data_type":"windows:evtx","offset":5}',
  ]
  const bytes = Buffer.from(`${lines.join('\n')}\n`)
  const messages = (formatters?: ReturnType<typeof read>) =>
    parseWhole(plaso, bytes, { ...OPTIONS, ...(formatters && { formatters }) }).items.map(
      (item) => item.kind === 'event' && item.columns.message,
    )
  assert.deepEqual(messages(read(YAML)), ['1, plain', 'c:d: one=1', 'windows:evtx: offset=5'])
  assert.deepEqual(messages(), ['a:b: one=1', 'c:d: one=1', 'windows:evtx: offset=5'])
})

test('files that cannot be used are named with the reason', () => {
  const refused = (pattern: RegExp) => (error: unknown) =>
    error instanceof ColdtrailError && error.code === 'E_FORMATTER_FILE' && pattern.test(error.message)
  const bad: [string, RegExp][] = [
    ['a: [', /a\.yaml/],
    ['type: basic', /without data_type/],
    ["type: odd\ndata_type: 'a:b'\nmessage: x", /neither basic nor conditional/],
    ["type: basic\ndata_type: 'a:b'", /its message is no text/],
    ["type: basic\ndata_type: 'a:b'\nmessage: x\nflags_helpers: 5", /flags_helpers is no list/],
    ['- a', /is no map/],
    ['a: &a [x]\nb: *a', /alias/i],
  ]
  for (const [yaml, pattern] of bad) assert.throws(() => read(yaml), refused(pattern), yaml)
  assert.throws(() => readFormatters(join(folder, 'none')), refused(/none/))
  assert.throws(() => readFormatters(mkdtempSync(join(folder, 'empty-'))), refused(/no \.yaml files/))
})
