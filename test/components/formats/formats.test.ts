/**
 * The suite that every listed format must pass, over its fixtures. A new format brings a folder
 * `test/fixtures/formats/<name>/`; `npm run accept <name>` writes the expected output, which is read before it is kept.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { Format } from '../../../src/components/component.ts'
import { FORMATS } from '../../../src/components/formats/all.ts'
import { type FormatFixture, formatFixtures, goldenLine, goldenText } from '../../support/formatFixtures.ts'
import { mutated, seededRandom } from '../../support/random.ts'
import { OPTIONS, type Parsed, parsePieces, parseWhole, RecordingSink } from '../../support/recordingSink.ts'

const WITH_HEADER: ReadonlySet<string> = new Set(['aws_vpcflow', 'l2tcsv', 'timesketch_csv'])
const SEED = 20_230_710
const MUTATIONS = 150

const formats: readonly Format[] = FORMATS
const fixturesOf = new Map(formats.map((format) => [format.name, formatFixtures(format.name)]))
const isNoise = (format: Format, { bytes, key }: FormatFixture) =>
  format.noise?.(bytes.subarray(0, 4096), key) !== undefined

/** The items as golden lines: what must not depend on how the bytes arrive. */
const lines = ({ items }: Parsed) => items.map(goldenLine)

/** What was told before `at`, but for the last record, which the damage may touch. */
function unharmed(parsed: Parsed, at: number): string[] {
  const before = parsed.items.filter(({ offset, data }) => offset + data.length <= at)
  const last = before.at(-1)?.offset
  return before.filter(({ offset }) => offset !== last).map(goldenLine)
}

function assertUnharmed(before: Parsed, after: Parsed, at: number, what: string): void {
  const expected = unharmed(before, at)
  assert.deepEqual(lines(after).slice(0, expected.length), expected, what)
}

for (const format of formats) {
  const fixtures = fixturesOf.get(format.name)!
  const parsable = fixtures.filter((fixture) => !isNoise(format, fixture))

  suite(format.name, () => {
    test('has fixtures, and a reject among them', () => {
      assert.ok(fixtures.length > 0, `no fixture in test/fixtures/formats/${format.name}`)
      assert.ok(parsable.some(({ bytes }) => parseWhole(format, bytes).items.some(({ kind }) => kind === 'reject')))
    })

    test('says whether its records are events of timelines, whose attributes psort puts out', () => {
      const events = parsable.flatMap(({ bytes }) => parseWhole(format, bytes).items)
      const speaks = events.some(
        (item) => item.kind === 'event' && /"timestamp_desc"\s*:/.test(item.text ?? item.data.toString('latin1')),
      )
      assert.equal(format.isTimeline === true, speaks)
    })

    for (const fixture of fixtures) {
      test(`${fixture.key} gives the expected events and rejects`, () => {
        assert.ok(existsSync(fixture.expectedPath), `run: npm run accept ${format.name}`)
        assert.equal(goldenText(format, fixture), readFileSync(fixture.expectedPath, 'utf8'))
      })

      test(`${fixture.key} is recognised as ${format.name}`, () => {
        if (isNoise(format, fixture)) return
        const head = fixture.bytes.subarray(0, 4096)
        // Without its records an object says by its key alone what it is.
        const key = fixture.name === 'empty_records' ? `AWSLogs/1/CloudTrail/x/${fixture.key}` : fixture.key
        const certainty = format.detect(head, key)
        assert.ok(certainty > 0 && certainty <= 1)
        for (const other of formats)
          if (other !== format) assert.ok(other.detect(head, key) < certainty, `${other.name} claims it as well`)
      })
    }

    test('the events do not depend on how the bytes are cut', () => {
      for (const { key, bytes } of parsable) {
        const expected = lines(parseWhole(format, bytes))
        const every = Math.max(1, Math.floor(bytes.length / 60))
        for (let at = 0; at <= bytes.length; at += every) {
          const pieces = [bytes.subarray(0, at), bytes.subarray(at)]
          assert.deepEqual(lines(parsePieces(format, pieces)), expected, `${key} cut at ${at}`)
        }
        for (const size of [1, 7, 64]) {
          const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
            bytes.subarray(i * size, (i + 1) * size),
          )
          assert.deepEqual(lines(parsePieces(format, pieces)), expected, `${key} in pieces of ${size}`)
        }
      }
    })

    test('a truncated object loses nothing of what came before', () => {
      const small = parsable.filter(({ bytes }) => bytes.length <= 2500)
      assert.ok(small.length > 0, 'at least one small fixture')
      for (const { key, bytes } of small) {
        const whole = parseWhole(format, bytes)
        for (let at = 0; at < bytes.length; at++)
          assertUnharmed(whole, parseWhole(format, bytes.subarray(0, at)), at, `${key} truncated at ${at}`)
      }
    })

    test(`damaged bytes harm no record before them (seed ${SEED})`, () => {
      const random = seededRandom(SEED)
      for (const { key, bytes } of parsable) {
        const whole = parseWhole(format, bytes)
        for (let i = 0; i < MUTATIONS && bytes.length > 0; i++) {
          const damaged = mutated(bytes, random)
          const what = `${key} mutation ${i} at ${damaged.at}`
          const parsed = parseWhole(format, damaged.bytes)
          assertUnharmed(whole, parsed, damaged.at, what)
          const cut = random(damaged.bytes.length + 1)
          const pieces = [damaged.bytes.subarray(0, cut), damaged.bytes.subarray(cut)]
          assert.deepEqual(lines(parsePieces(format, pieces)), lines(parsed), `${what}, cut at ${cut}`)
        }
      }
    })

    test('strings are observed only when asked for, and the events are the same', () => {
      for (const { bytes } of parsable) {
        const sink = new RecordingSink()
        const parser = format.open(sink, { ...OPTIONS, observe: false })
        parser.push(bytes)
        parser.end()
        assert.equal(sink.observed.size, 0)
        assert.deepEqual(lines(sink), lines(parseWhole(format, bytes)))
      }
    })

    test('noise and garbage are bytes like any other: nothing throws', () => {
      const random = seededRandom(SEED)
      for (let i = 0; i < 200; i++) {
        const bytes = Buffer.from(Array.from({ length: random(400) }, () => random(256)))
        format.detect(bytes, '')
        format.noise?.(bytes, '')
        parseWhole(format, bytes)
      }
      assert.deepEqual(parseWhole(format, Buffer.alloc(0)).items, [])
    })
  })
}

test('damage in one line harms no other line', () => {
  const cases = [
    ['aws_cloudtrail', 'ndjson.json'],
    ['json_lines', 'epoch_times.json'],
    ['json_lines', 'common_names.json'],
    ['aws_vpcflow', 'version_2.log'],
    ['text_lines', 'iso.log'],
    ['bodyfile', 'events.body'],
    ['plaso_json_line', 'events.jsonl'],
    ['timesketch_jsonl', 'events.jsonl'],
    ['l2tcsv', 'events.csv'],
    ['timesketch_csv', 'psort_dynamic.csv'],
  ] as const
  for (const [name, key] of cases) {
    const format = formats.find((candidate) => candidate.name === name)!
    const { bytes } = fixturesOf.get(name)!.find((fixture) => fixture.key === key)!
    const whole = parseWhole(format, bytes)
    const random = seededRandom(SEED)
    // A header stays as it is: it says what the other lines mean.
    const from = WITH_HEADER.has(name) ? bytes.indexOf('\n') + 1 : 0
    for (let at = from; at < bytes.length; at++) {
      if (bytes[at] === 10) continue
      const damaged = Buffer.from(bytes)
      do damaged[at] = '{}[]":,\\x\0\xff 1'.charCodeAt(random(14))
      while (damaged[at] === 10)
      const lineEnd = bytes.indexOf('\n', at)
      const isLater = ({ offset }: { offset: number }) => offset > lineEnd
      const isEvent = ({ kind }: { kind: string }) => kind === 'event'
      const expected = whole.items.filter(isLater).filter(isEvent).map(goldenLine)
      const found = parseWhole(format, damaged).items.filter(isLater).filter(isEvent).map(goldenLine)
      assert.deepEqual(
        found,
        expected,
        `${name}/${key} with ${JSON.stringify(String.fromCharCode(damaged[at]!))} at ${at}`,
      )
    }
  }
})

test('every fixture folder belongs to a format, and every golden to an input', () => {
  const root = join(import.meta.dirname, '../../fixtures/formats')
  for (const folder of readdirSync(root)) {
    const fixtures = fixturesOf.get(folder)
    assert.ok(fixtures, `${folder} is no format`)
    const expected = fixtures.map(({ name }) => `${name}.expected.jsonl`)
    const found = readdirSync(join(root, folder)).filter((name) => name.endsWith('.expected.jsonl'))
    assert.deepEqual(found.sort(), expected.sort())
  }
})
