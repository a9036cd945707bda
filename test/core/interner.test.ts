import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Interner } from '../../src/core/interner.ts'

/** Byte strings that share beginnings, ends and lengths. */
const value = fc.oneof(
  fc.uint8Array({ maxLength: 12 }),
  fc.array(fc.constantFrom(0, 1, 0x80, 0xff), { maxLength: 9 }).map((bytes) => Uint8Array.from(bytes)),
  fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 6 }).map((text) => Buffer.from(text)),
)

test('equal bytes have one id, in order of first sight, whatever stands around them', () => {
  const values = fc.array(fc.tuple(value, fc.nat(5), fc.boolean()), { maxLength: 300 })
  fc.assert(
    fc.property(values, (sequence) => {
      const interner = new Interner()
      let model = new Map<string, number>()
      for (const [bytes, lead, clears] of sequence) {
        // Now and then everything is forgotten.
        if (clears && lead === 0) {
          interner.clear()
          model = new Map()
        }
        const buffer = Buffer.concat([Buffer.alloc(lead, 0x61), bytes, Buffer.alloc(3, 0x62)])
        const id = interner.intern(buffer, lead, lead + bytes.length)
        const name = Buffer.from(bytes).toString('hex')
        if (!model.has(name)) model.set(name, model.size)
        assert.equal(id, model.get(name))
        assert.equal(interner.count, model.size)
      }
      let total = 0
      for (const [name, id] of model) {
        assert.equal(interner.bytes(id).toString('hex'), name)
        total += name.length / 2
      }
      assert.equal(interner.valueBytes, total)
    }),
  )
})

test('many values and long ones, over growth and clearing', () => {
  const interner = new Interner()
  for (let round = 0; round < 3; round++) {
    const count = [50_000, 10, 70_000][round]!
    for (let i = 0; i < count; i++) {
      const bytes = Buffer.from(`value ${i}`)
      assert.equal(interner.intern(bytes, 0, bytes.length), i)
    }
    for (let i = 0; i < count; i += 7) {
      const bytes = Buffer.from(`--value ${i}--`)
      assert.equal(interner.intern(bytes, 2, bytes.length - 2), i)
      assert.equal(interner.bytes(i).toString(), `value ${i}`)
    }
    const long = Buffer.alloc(5_000_000, round)
    assert.equal(interner.intern(long, 0, long.length), count)
    assert.equal(interner.intern(Buffer.from(long), 0, long.length), count)
    assert.ok(interner.bytes(count).equals(long))
    interner.clear()
    assert.equal(interner.count, 0)
    assert.equal(interner.valueBytes, 0)
  }
})

test('a buffer that is used again with other bytes is read again', () => {
  const interner = new Interner()
  const buffer = Buffer.from('first value')
  assert.equal(interner.intern(buffer, 0, buffer.length), 0)
  buffer.write('other value')
  assert.equal(interner.intern(buffer, 0, buffer.length), 1)
  assert.equal(interner.bytes(0).toString(), 'first value')
})

test('compares values as their bytes do', () => {
  const bytes = fc.uint8Array({ maxLength: 6, max: 3 }).map((value) => Buffer.from(value))
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      const interner = new Interner()
      const first = interner.intern(a, 0, a.length)
      const second = interner.intern(b, 0, b.length)
      assert.equal(Math.sign(interner.compare(first, second)), Buffer.compare(a, b))
      assert.ok(a.equals(interner.values.subarray(interner.start(first), interner.end(first))))
    }),
  )
})

test('values are sorted by their bytes, however much they share', () => {
  const stem = fc.constantFrom('', 'a', 'arn:aws:iam::', 'a'.repeat(40), '\0', '\0'.repeat(9))
  const ending = fc.oneof(value, fc.uint8Array({ maxLength: 30 }))
  const values = fc.array(fc.tuple(stem, stem, ending), { maxLength: 200 })
  fc.assert(
    fc.property(values, (parts) => {
      const interner = new Interner()
      for (const [one, two, end] of parts) {
        const bytes = Buffer.concat([Buffer.from(one), Buffer.from(two), end])
        interner.intern(bytes, 0, bytes.length)
      }
      const ids = Int32Array.from({ length: interner.count }, (_, id) => id)
      const expected = [...ids].sort((a, b) => Buffer.compare(interner.bytes(a), interner.bytes(b)))
      interner.sort(ids)
      assert.deepEqual([...ids], expected)
    }),
  )
})

test('values of which each begins as the one before are sorted without end of the stack', () => {
  const interner = new Interner()
  const longest = Buffer.alloc(1200, 'a')
  for (let length = longest.length; length > 0; length -= 2) interner.intern(longest, 0, length)
  const ids = Int32Array.from({ length: interner.count }, (_, id) => id)
  interner.sort(ids)
  assert.deepEqual(
    [...ids],
    [...ids].sort((a, b) => b - a),
  )
})
