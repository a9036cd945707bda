/** Values as Python prints them; what it prints stands in `fixtures/timeline/python.jsonl`, made by CPython 3. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { compareTexts, parseExactly, pythonJson, pythonText } from '../../../src/components/timeline/pythonText.ts'

const oracle = readFileSync(join(import.meta.dirname, '../../fixtures/timeline/python.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { json: string; str: string; dumps: string })

for (const { json, str, dumps } of oracle) {
  test(`${json} as Python prints it`, () => {
    assert.equal(pythonText(parseExactly(json)), str)
    assert.equal(pythonJson(parseExactly(json)), dumps)
  })
}

test('what is printed as JSON says the same, in ASCII', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = pythonJson(parseExactly(JSON.stringify(value)))
      assert.match(text, /^[ -~]*$/)
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
    }),
  )
})

test('the order of texts is that of their code points', () => {
  const points = (text: string) => [...text].map((character) => character.codePointAt(0)!)
  const text = fc.string({ unit: 'binary', maxLength: 5 })
  fc.assert(
    fc.property(text, text, (a, b) => {
      const [x, y] = [points(a), points(b)]
      const at = x.findIndex((point, i) => point !== y[i])
      const expected = at < 0 ? x.length - y.length : y[at] === undefined ? 1 : x[at]! - y[at]!
      assert.equal(Math.sign(compareTexts(a, b)), Math.sign(expected))
    }),
  )
})
