/** The examples of the guide run. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { compile } from '../../src/query/expression.ts'

test('every example of docs/expressions.md compiles to SQL', () => {
  const guide = readFileSync(join(import.meta.dirname, '../../docs/expressions.md'), 'utf8')
  const examples = [...guide.matchAll(/```expression\n([^`]+)```/g)].flatMap(([, block]) => block!.trim().split('\n'))
  assert.ok(examples.length >= 10)
  for (const example of examples) assert.ok(compile(example).sql()?.text, example)
})
