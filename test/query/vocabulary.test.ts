/** Expressions over other things than events: names of their own, and columns with several values. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compile, type EventAccess, type Vocabulary } from '../../src/query/expression.ts'

const column = (name: string, type: 'text' | 'int' | 'time' | 'ip', ...aliases: string[]) => ({
  name,
  type,
  aliases,
  indexed: false,
})
const vocabulary: Vocabulary = {
  columns: [column('tag', 'text', 'tags'), column('score', 'int'), column('created_at', 'time'), column('ip', 'ip')],
  places: ['attributes'],
  elsewhere: { nk: 'nk is computed' },
}
const row: Readonly<Record<string, unknown>> = { tag: ['ICS', 'apt'], score: 7, created_at: [], ip: '10.0.0.7' }
const item: EventAccess = {
  get: (name) => row[name],
  data: () => '{"attributes":{"Port":["80","443"],"Note":[null]},"other":1}',
}
const matches = (text: string) => compile(text, { vocabulary }).predicate(item)

test('a column with several values matches when any of them does', () => {
  for (const text of [
    "tag == 'apt' and tags == 'ICS' and tag contains 'ic'",
    "tag != 'x' and tag is not 'x' and not tag == 'x'",
    "not tag != 'apt'",
    'created_at not exists and not created_at > 0 and tag exists and created.at not exists',
    "score >= 7 and ip in '10.0.0.0/8'",
    "data.attributes.Port == '443' and data.attributes.Port != '22' and data.attributes.Note not exists",
  ])
    assert.equal(matches(text), true, text)
  for (const text of ["tag == 'x'", "tag != 'apt'", 'created_at exists', "data.attributes.Port == '22'", 'score > 7'])
    assert.equal(matches(text), false, text)
})

test('names of events and places elsewhere are refused, with the nearest name', () => {
  for (const [text, reason] of [
    ["api.operation == 'x'", /there is no field api\.operation/],
    ["tagg == 'x'", /tagg.*tag/s],
    ["nk == 'x'", /nk is computed/],
    ["data == 'x'", /there is no field data/],
    ["data.other == 'x'", /there is no field data\.other/],
    ["data.attributes == 'x'", /there is no field data\.attributes/],
  ] as const)
    assert.throws(
      () => compile(text, { vocabulary }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_EXPRESSION_FIELD')
        assert.match(error.message, reason)
        return true
      },
    )
})

test('only events have SQL and plaso mode', () => {
  const expression = compile("tag == 'x'", { vocabulary })
  assert.equal(expression.sql(), undefined)
  assert.deepEqual(expression.differences(), [])
  assert.deepEqual([...expression.columns()!], ['tag'])
  assert.throws(() => compile("tag == 'x'", { vocabulary, mode: 'plaso' }), RangeError)
})
