import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { compile, type EventAccess } from '../../src/query/expression.ts'

interface Oracle {
  readonly event: Record<string, unknown>
  readonly results: readonly { readonly expression: string; readonly matches: boolean }[]
  readonly parse_error: readonly string[]
  readonly other_compile_error: readonly string[]
  readonly type_error_at_match: readonly string[]
}
const file = join(import.meta.dirname, '../fixtures/query/plaso_oracle.json')
const oracle: Oracle = JSON.parse(readFileSync(file, 'utf8'))
const event: EventAccess = { get: (name) => oracle.event[name], data: () => '' }
const plaso = (text: string) => compile(text, { mode: 'plaso' })

test('every answer of the oracle table', () => {
  assert.ok(oracle.results.length >= 86)
  const answers = oracle.results.map(({ expression }) => ({ expression, matches: plaso(expression).predicate(event) }))
  assert.deepEqual(answers, oracle.results)
})

test('the same with the attributes in the record', () => {
  const inRecord: EventAccess = { get: () => undefined, data: () => JSON.stringify(oracle.event) }
  for (const { expression, matches } of oracle.results) {
    if (/timestamp |time |date |datetime /.test(expression)) continue
    assert.equal(plaso(expression).predicate(inRecord), matches, expression)
  }
})

test('every refusal of the oracle table, with its column', () => {
  assert.ok(oracle.parse_error.length >= 34)
  for (const text of [...oracle.parse_error, ...oracle.other_compile_error])
    assert.throws(
      () => plaso(text),
      (error) => {
        assert.ok(error instanceof ColdtrailError, text)
        assert.match(error.code, /^E_EXPRESSION/)
        const { column } = error.values
        assert.ok(typeof column === 'number' && column >= 1 && column <= [...text].length + 1, text)
        return true
      },
      text,
    )
})

test('where the original raises TypeError while matching, nothing matches', () => {
  assert.ok(oracle.type_error_at_match.length >= 6)
  for (const text of oracle.type_error_at_match) assert.equal(plaso(text).predicate(event), false, text)
})

test('our own columns answer to the names of plaso', () => {
  const own: EventAccess = {
    get: (name) => ({ time: 1_447_809_343_000_000, data_type: 'aws:cloudtrail:entry' })[name],
    data: () => '{"eventName":"CreateUser","a.b":"dotted"}',
  }
  assert.equal(plaso("timestamp > '2015-11-18' and data_type is 'aws:cloudtrail:entry'").predicate(own), true)
  assert.equal(plaso("eventName is 'CreateUser' and a.b is 'dotted'").predicate(own), true)
  assert.equal(plaso('').predicate(own), true)
})

test('no text and no value makes it throw anything but a named error', () => {
  const word = fc.constantFrom(
    'a',
    'and',
    'or',
    'not',
    '(',
    ')',
    'is',
    '==',
    'contains',
    'inset',
    'regexp',
    'iregexp',
    "'x'",
    '"("',
    '1',
    '0x12',
    '1.5',
    'PATH(',
    'DATETIME(',
    "'2020-01-01'",
    'timestamp',
    '>',
    '!=',
    '\\',
    "'",
    '&&',
  )
  const value = fc.oneof(fc.anything(), fc.string(), fc.array(fc.string()))
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(word).map((words) => words.join(' ')),
        fc.string(),
      ),
      value,
      (text, found) => {
        try {
          const matched = plaso(text).predicate({ get: () => found, data: () => '' })
          assert.equal(typeof matched, 'boolean')
        } catch (error) {
          assert.ok(error instanceof ColdtrailError, String(error))
          assert.match(error.code, /^E_EXPRESSION/)
        }
      },
    ),
    { numRuns: 500 },
  )
})
