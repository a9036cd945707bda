import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { constantOf, hasLoneSurrogate, RowWriter } from '../../../src/components/rows/rowWriter.ts'
import { trimJson, trimText } from '../../../src/components/rows/trimming.ts'

const SEED = 20_230_710
const RUNS = { numRuns: 500, seed: SEED }
const written = (writer: RowWriter): string => writer.buffer.toString('utf8', 0, writer.at)

/** Bytes that stand somewhere inside a buffer, so that a step of four can look beyond their end. */
function inside(text: string, before: number, after: number): { bytes: Buffer; start: number; end: number } {
  const body = Buffer.from(text)
  const bytes = Buffer.concat([Buffer.alloc(before, '"'), body, Buffer.alloc(after, '"')])
  return { bytes, start: before, end: before + body.length }
}
const PLACE = fc.tuple(fc.nat(5), fc.nat(5))
const TEXT = fc.string({ unit: 'binary', maxLength: 90 })
const PLAIN = TEXT.map((text) => text.replaceAll(/[\ud800-\udfff"\\\u0000-\u001f]/gu, '.'))

test('a text is written as JSON.stringify writes it', () => {
  fc.assert(
    fc.property(fc.array(TEXT, { maxLength: 6 }), PLACE, (texts, [before, after]) => {
      const writer = new RowWriter()
      for (const text of texts) {
        const { bytes, start, end } = inside(text.toWellFormed(), before, after)
        writer.text(bytes, start, end)
      }
      assert.equal(written(writer), texts.map((text) => JSON.stringify(text.toWellFormed())).join(''))
    }),
    RUNS,
  )
})

test('slices and constants are copied as they are, whatever follows and wherever they stand', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(PLAIN, PLAIN), { maxLength: 8 }), PLACE, (pairs, [before, after]) => {
      const writer = new RowWriter()
      let expected = ''
      for (const [name, text] of pairs) {
        const { bytes, start, end } = inside(text.repeat(1 + before), before, after)
        writer.constant(constantOf(name))
        writer.copy(bytes, start, end)
        writer.quoted(bytes, start, end)
        writer.member(constantOf(`${name}"`), bytes, start, end)
        expected += `${name}${text.repeat(1 + before)}"${text.repeat(1 + before)}"${name}"${text.repeat(1 + before)}",`
      }
      assert.equal(written(writer), expected)
    }),
    RUNS,
  )
})

test('a row may grow beyond the buffer it began with', () => {
  const writer = new RowWriter()
  const bytes = Buffer.from('\u0001ü'.repeat(30_000))
  writer.byte(0x5b)
  for (let i = 0; i < 3; i++) {
    writer.text(bytes, 0, bytes.length)
    writer.byte(i < 2 ? 0x2c : 0x5d)
  }
  assert.deepEqual(JSON.parse(written(writer)), Array(3).fill(bytes.toString()))
})

const JSON_VALUE = fc.oneof(
  fc.object({ maxDepth: 4, values: [fc.string({ unit: 'binary' }), fc.double(), fc.boolean(), fc.constant(null)] }),
  fc.array(fc.jsonValue(), { maxLength: 5 }),
)

test('an object is copied without space between tokens, and as a text is the same in a JSON string', () => {
  fc.assert(
    fc.property(JSON_VALUE, fc.constantFrom(undefined, 1, '\t', '\n  '), PLACE, (value, indent, [before, after]) => {
      const compact = JSON.stringify(value)
      const { bytes, start, end } = inside(JSON.stringify(value, undefined, indent), before, after)
      const asValue = new RowWriter()
      assert.equal(asValue.container(bytes, start, bytes.length, false), end)
      assert.equal(written(asValue), compact)
      assert.equal(asValue.length, Buffer.byteLength(compact))
      const asText = new RowWriter()
      assert.equal(asText.container(bytes, start, bytes.length, true), end)
      assert.equal(written(asText), JSON.stringify(compact))
      assert.equal(asText.length, Buffer.byteLength(compact))
      const strings: string[] = []
      JSON.stringify(value, (key, inner) => {
        strings.push(key)
        if (typeof inner === 'string') strings.push(inner)
        return inner
      })
      assert.equal(
        asValue.lone,
        strings.some((text) => !text.isWellFormed()),
        compact,
      )
    }),
    RUNS,
  )
})

test('half of a surrogate pair is found by its escapes', () => {
  const part = fc.constantFrom(
    '\\ud800',
    '\\uDBFF',
    '\\udc00',
    '\\uDfFf',
    '\\ud7ff',
    '\\ue000',
    '\\n',
    '\\\\',
    'x',
    'ü',
    '\\u0041',
    '\\/',
    'ud800',
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 7 }), (parts) => {
      const content = parts.join('')
      const bytes = Buffer.from(content)
      const expected = !(JSON.parse(`"${content}"`) as string).isWellFormed()
      assert.equal(hasLoneSurrogate(bytes, 0, bytes.length), expected, content)
    }),
    { numRuns: 3000, seed: SEED },
  )
})

test('a trimmed text ends with a whole character and the mark, and is as long as it may be', () => {
  fc.assert(
    fc.property(TEXT, fc.integer({ min: 12, max: 120 }), (any, limit) => {
      const text = any.toWellFormed()
      const bytes = Buffer.from(text)
      const trimmed = trimText(bytes, 0, bytes.length, limit)
      if (bytes.length <= limit) assert.equal(trimmed.toString(), text)
      else {
        assert.ok(trimmed.length <= limit && trimmed.length > limit - 4)
        const kept = trimmed.toString().slice(0, -'…[trimmed]'.length)
        assert.ok(text.startsWith(kept) && trimmed.toString().endsWith('…[trimmed]'))
      }
    }),
    RUNS,
  )
})

test('trimmed JSON is JSON: a prefix of the members, closed and marked', () => {
  fc.assert(
    fc.property(JSON_VALUE, fc.integer({ min: 17, max: 300 }), (value, limit) => {
      const bytes = Buffer.from(JSON.stringify(value))
      const trimmed = trimJson(bytes, limit)
      assert.ok(trimmed.length <= limit)
      const parsed = JSON.parse(trimmed.toString()) as Record<string, unknown> | unknown[]
      if (bytes.length <= limit) assert.deepEqual(parsed, JSON.parse(bytes.toString()))
      else if (Array.isArray(parsed)) {
        assert.equal(parsed.pop(), '_trimmed')
        assertPrefix(parsed, JSON.parse(bytes.toString()))
      } else {
        assert.equal(parsed._trimmed, true)
        delete parsed._trimmed
        assertPrefix(parsed, JSON.parse(bytes.toString()))
      }
    }),
    { numRuns: 2000, seed: SEED },
  )
  const long = JSON.stringify({ a: 1, b: { c: ['x'.repeat(10), 'y'.repeat(100)] }, d: 2 })
  assert.equal(trimJson(Buffer.from(long), 60).toString(), '{"a":1,"b":{"c":["xxxxxxxxxx"]},"_trimmed":true}')
  assert.equal(trimJson(Buffer.from(JSON.stringify({ a: 'z'.repeat(90) })), 60).toString(), '{"_trimmed":true}')
})

/** Everything that is kept is there, and equal but for what was cut inside. */
function assertPrefix(kept: unknown, whole: unknown): void {
  if (Array.isArray(kept)) {
    assert.ok(Array.isArray(whole) && kept.length <= whole.length)
    kept.forEach((value, i) => {
      assertPrefix(value, whole[i])
    })
  } else if (typeof kept === 'object' && kept !== null) {
    for (const [key, value] of Object.entries(kept)) {
      assert.ok(Object.hasOwn(whole as object, key), key)
      assertPrefix(value, (whole as Record<string, unknown>)[key])
    }
  } else assert.deepEqual(kept, whole)
}
