/** The examples of the guide run. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { compileObjectExpression, OBJECT_VOCABULARY } from '../../src/library/objectExpressions.ts'
import { compile } from '../../src/query/expression.ts'

const guide = readFileSync(join(import.meta.dirname, '../../docs/expressions.md'), 'utf8')

function examplesOf(fence: string): string[] {
  const blocks = guide.matchAll(new RegExp(`\`\`\`${fence}\\n([^\`]+)\`\`\``, 'g'))
  return [...blocks].flatMap(([, block]) => block!.trim().split('\n'))
}

test('every example of docs/expressions.md compiles to SQL', () => {
  const examples = examplesOf('expression')
  assert.ok(examples.length >= 10)
  for (const example of examples) assert.ok(compile(example).sql()?.text, example)
})

test('every example over objects compiles, and every field is in the table', () => {
  const examples = examplesOf('object-expression')
  assert.ok(examples.length >= 4)
  for (const example of examples) compileObjectExpression(example)
  const section = guide.slice(guide.indexOf('## Objects of the library'), guide.indexOf('## plaso mode'))
  for (const { name, aliases } of OBJECT_VOCABULARY.columns) {
    assert.ok(section.includes(`\`${name}\``), name)
    for (const alias of aliases) assert.doesNotThrow(() => compileObjectExpression(`${alias} exists`))
  }
})
