/** The byte-level extractor gives exactly what the plain one gives, whatever came before. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { ObservableExtractor } from '../../src/core/observableExtractor.ts'
import { OBSERVABLE_TYPES, type ObservableType, observablesOf } from '../../src/core/observables.ts'
import { sipHash48, sipKey } from '../../src/core/sipHash.ts'

const key = sipKey(Buffer.from('0123456789abcdef'))

const named = (type: number, hash: number) => `${type}:${hash}`

function expected(text: string, isUser: boolean, into: Set<string>): void {
  for (const { type, value } of observablesOf(text, isUser)) {
    const number = OBSERVABLE_TYPES[type as ObservableType]
    const bytes = Buffer.from(value)
    into.add(named(number, sipHash48(key, number, bytes, 0, bytes.length)))
  }
}

/** Feeds the strings one after another to one extractor and compares after each. */
function compare(strings: readonly string[]): void {
  const found = new Set<string>()
  const wanted = new Set<string>()
  const extractor = new ObservableExtractor(key, (type, hash) => found.add(named(type, hash)))
  for (const text of strings) {
    const bytes = Buffer.from(`##${text}##`)
    extractor.extract(bytes, 2, bytes.length - 2)
    expected(Buffer.from(text).toString(), false, wanted)
    assert.deepEqual([...found].sort(), [...wanted].sort(), JSON.stringify(text))
  }
}

const pieces = fc.constantFrom(
  '1.2.3.4',
  '10.248.16.43',
  '256.1.1.1',
  '01.2.3.4',
  '2001:db8::1',
  '::ffff:1.2.3.4',
  'fe80::1%eth0',
  '::',
  'ec2.amazonaws.com',
  'EVIL.co.uk',
  'foo.json',
  'x.ck',
  'dc01.corp.local',
  'bücher.de',
  'xn--bcher-kva.de',
  'http://',
  'https://Host.example.com:443/a/b',
  '?q=1',
  '#frag',
  'bob@example.com',
  'a.b+c@mail.example.org',
  'd41d8cd98f00b204e9800998ecf8427e',
  'DA39A3EE5E6B4B0D3255BFEF95601890AFD80709',
  'AKIAIOSFODNN7EXAMPLE',
  'ASIATFQR7NSCQCMVAYPE',
  'arn:aws:iam::123837392027:user/benjamin',
  'arn:aws:s3:::bucket/*',
  '163b4a7d-19fd-40df-9694-47534b8e2c3a',
  '2023-07-10T11:42:31Z',
  '1.08',
  '{"a":"b.example.com","userName":"Bob"}',
  '"',
  '\\u002e',
  '\\',
  '\\n',
  'arn:',
  '://',
)
const glue = fc.constantFrom(
  '',
  ' ',
  ',',
  '.',
  ':',
  '/',
  '=',
  '@',
  '-',
  '_',
  '%',
  '+',
  '&',
  ';',
  '"',
  '[',
  ']',
  '\u00e9',
)
const text = fc
  .array(fc.oneof({ weight: 4, arbitrary: pieces }, { weight: 3, arbitrary: glue }, fc.string({ maxLength: 6 })), {
    maxLength: 7,
  })
  .map((parts) => parts.join(''))
const nested = text.map((inner) => JSON.stringify({ key: inner, list: [inner], 'x userName': inner }))
const string = fc.oneof({ weight: 5, arbitrary: text }, nested, fc.string({ unit: 'binary', maxLength: 40 }))

test('equals the plain extractor over composed strings', () => {
  fc.assert(
    fc.property(fc.array(string, { minLength: 1, maxLength: 8 }), (strings) => {
      compare([...strings, ...strings])
    }),
    { numRuns: 1500 },
  )
})

test('equals the plain extractor over text of the token alphabet alone', () => {
  const unit = fc.constantFrom(...'aAfF09.:/@%+=-_ ,?g1')
  fc.assert(
    fc.property(fc.array(fc.string({ unit, maxLength: 60 }), { maxLength: 4 }), (strings) => compare(strings)),
    { numRuns: 1500 },
  )
})

test('words at every place and of every length around those of hashes and keys', () => {
  for (const length of [15, 16, 19, 20, 31, 32, 33, 40, 64, 65, 127, 128, 129]) {
    for (let before = 0; before < 40; before++) {
      compare([`${'- '.repeat(before).slice(0, before)}${'a1'.repeat(70).slice(0, length)}_x`])
      compare([`${'xy '.repeat(before)}AKIA${'Z'.repeat(length)}`])
    }
  }
})

test('finds everything again after its memory was cleared', () => {
  const strings: string[] = []
  for (let i = 0; i < 40_000; i++) strings.push(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
  const found = new Set<string>()
  const wanted = new Set<string>()
  const extractor = new ObservableExtractor(key, (type, hash) => found.add(named(type, hash)))
  for (const value of strings) {
    const bytes = Buffer.from(value)
    extractor.extract(bytes, 0, bytes.length)
    expected(value, false, wanted)
  }
  assert.equal(found.size, wanted.size)
  assert.deepEqual(found, wanted)
})

test('users: the same value as user and as text is both', () => {
  const found = new Set<string>()
  const wanted = new Set<string>()
  const extractor = new ObservableExtractor(key, (type, hash) => found.add(named(type, hash)))
  for (const name of ['Bob', 'bob@example.com', ' ÄNNE ', '', 'x'.repeat(300), 'Bob']) {
    const bytes = Buffer.from(name)
    extractor.extract(bytes, 0, bytes.length)
    extractor.user(bytes, 0, bytes.length)
    expected(name, true, wanted)
  }
  assert.deepEqual([...found].sort(), [...wanted].sort())
})

test('invalid UTF-8 is text like any other', () => {
  const extractor = new ObservableExtractor(key, () => undefined)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      extractor.extract(Buffer.from(bytes), 0, bytes.length)
    }),
  )
})

const folder = join(import.meta.dirname, '../../../shared/data/cloudtrail/CloudTrail')
test('equals the plain extractor over real records', { skip: existsSync(folder) ? false : 'no sample data' }, () => {
  const found = new Set<string>()
  const wanted = new Set<string>()
  const extractor = new ObservableExtractor(key, (type, hash) => found.add(named(type, hash)))
  const visit = (value: unknown) => {
    if (typeof value === 'string') {
      const bytes = Buffer.from(value)
      extractor.extract(bytes, 0, bytes.length)
      expected(value, false, wanted)
    } else if (typeof value === 'object' && value !== null) for (const item of Object.values(value)) visit(item)
  }
  for (const file of globSync('*.json', { cwd: folder }).slice(0, 12)) {
    visit(JSON.parse(readFileSync(join(folder, file), 'utf8')))
  }
  assert.ok(found.size > 100)
  assert.deepEqual([...found].sort(), [...wanted].sort())
})
