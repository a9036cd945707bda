import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { bar, bytesText, cell, displayWidth, textTable, timeText } from '../../src/core/terminalText.ts'

test('a cell never carries a control character and never exceeds its width', () => {
  assert.equal(cell('\u001b[2Jgone\u202e'), '\\u001b[2Jgone\\u202e')
  assert.equal(cell(null), '')
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 1, max: 60 }), (text, width) => {
      const shown = cell(text, width)
      assert.ok(displayWidth(shown) <= width)
      assert.doesNotMatch(shown, /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/)
    }),
  )
})

test('wide characters take two columns, combining marks none', () => {
  assert.equal(displayWidth('日本'), 4)
  assert.equal(displayWidth('e\u0301'), 1)
  assert.equal(cell('日本語', 4), '日…')
})

test('numbers stand right, text left, and the last column takes the rest', () => {
  assert.deepEqual(
    textTable(
      ['count', 'value'],
      [
        [12, 'a'],
        [7, 'bc'],
      ],
      40,
    ),
    ['count  value', '   12  a', '    7  bc'],
  )
  for (const line of textTable(['a', 'b'], [['x'.repeat(99), 'y'.repeat(99)]], 60)) assert.ok(displayWidth(line) <= 60)
})

test('a bar shows the smallest count and fills at the largest', () => {
  assert.equal(bar(0, 10, 4), '')
  assert.equal(bar(1, 1_000_000, 4), '▏')
  assert.equal(bar(10, 10, 4), '████')
  assert.equal(bar(5, 10, 1), '▌')
})

test('sizes and times read well, before 1970 and at the ends too', () => {
  assert.equal(bytesText(999), '999 B')
  assert.equal(bytesText(1_500_000), '1.5 MB')
  assert.equal(timeText(1_688_990_556_000_000), '2023-07-10 12:02:36')
  assert.equal(timeText(-1), '1969-12-31 23:59:59.999999')
})
