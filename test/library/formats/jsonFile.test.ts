/** JSON of strangers against JSON.parse as the oracle; faults have a place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalJson, decodeText, type JsonObject, parseJson } from '../../../src/library/formats/jsonFile.ts'

test('reads what JSON.parse reads, to the same values', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), fc.nat(3), (text, indent) => {
      const spaced = JSON.stringify(JSON.parse(text), null, indent)
      const again: unknown = JSON.parse(canonicalJson(parseJson(spaced, 'x').value))
      assert.deepEqual(again, JSON.parse(spaced))
    }),
    { numRuns: 500 },
  )
})

test('refuses what JSON.parse refuses', () => {
  const damaged = fc.tuple(fc.json(), fc.nat(), fc.constantFrom('', ',', '"', '{', ']', '\\', 'x', '0', ':', '\n'))
  fc.assert(
    fc.property(damaged, ([text, at, piece]) => {
      const place = at % (text.length + 1)
      const given = text.slice(0, place) + piece + text.slice(place + 1)
      const parses = (parse: () => unknown): boolean => {
        try {
          parse()
          return true
        } catch {
          return false
        }
      }
      assert.equal(
        parses(() => parseJson(given, 'x')),
        parses(() => JSON.parse(given)),
        JSON.stringify(given),
      )
    }),
    { numRuns: 2_000 },
  )
})

test('numbers that no double holds stay as written', () => {
  const text =
    '[0.1,1E2,1.50,12345678901234567890,0.1000000000000000055511151231257827,1e400,-0,5e-324,9007199254740993]'
  assert.equal(
    canonicalJson(parseJson(text, 'x').value),
    '[0.1,100,1.5,12345678901234567890,0.1000000000000000055511151231257827,1e400,-0,5e-324,9007199254740993]',
  )
})

test('names place and cause; keys of a prototype are keys like others', () => {
  const fault = (text: string, message: RegExp) =>
    assert.throws(() => parseJson(text, 'f'), { code: 'E_LIBRARY_FILE', message })
  fault('', /line 1, column 1: the file ends/)
  fault('{"a":1,\n "b" 2}', /line 2, column 6: ":" is missing/)
  fault('[1,\n2,\n]', /line 3, column 1/)
  fault('"a\tb"', /control character/)
  fault('"\\x"', /no such escape/)
  fault('[1] 2', /nothing may follow/)
  fault('['.repeat(100_000), /nested deeper/)
  fault('{"a":'.repeat(100_000), /nested deeper/)
  const { value, lineOf, faultOf } = parseJson('{"__proto__":{"x":1},\n"list":[{"a":1,"a":2},\n{"b":{"c":1}}]}', 'f')
  const object = value as JsonObject
  assert.equal(Object.getPrototypeOf(object), Object.prototype)
  assert.deepEqual(Object.keys(object), ['__proto__', 'list'])
  const [first, second] = object.list as unknown as readonly [JsonObject, JsonObject]
  assert.deepEqual([lineOf(first), lineOf(second)], [2, 3])
  assert.deepEqual([faultOf(first), faultOf(second)], ['the key "a" stands twice in one object', undefined])
  assert.throws(() => decodeText(Buffer.from([0x61, 0x0a, 0x62, 0xc3]), 'f'), { message: /line 2, column 2/ })
  assert.equal(decodeText(Buffer.from('\ufeffabc'), 'f'), 'abc')
})
