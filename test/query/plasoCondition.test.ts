/** plaso expressions that have SQL: it must say what the plaso-mode predicate says, whatever the record holds. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { compile, type EventAccess } from '../../src/query/expression.ts'
import { parse } from '../../src/query/parse.ts'
import { plasoCondition } from '../../src/query/plasoCondition.ts'
import { predicate } from '../../src/query/predicate.ts'
import { accessOf, type EventRow, EventTable } from '../support/eventTable.ts'

const table = await EventTable.open()
after(() => table.close())

const TEXTS = [
  '',
  'a',
  'Alice',
  'alice',
  'İi',
  'ALİCE',
  'xİy',
  'Kelvin',
  'ΣΑΣ',
  'a/b',
  '/a/b/c',
  'a//b',
  'x"y',
  'é',
  '0',
  '5',
]
const NUMBERS = [0, -0, 1, 5, -1, 1.5, 1e300, 2 ** 53]
const KEYS = ['k', 'api_operation', 'status', 'src_endpoint_port', 'timestamp', 'time', 'a.b', 'data_type', 'x-y']
const leaf = fc.oneof(fc.constantFrom(...TEXTS), fc.constantFrom(...NUMBERS), fc.boolean(), fc.constant(null))
const value = fc.oneof(
  { arbitrary: leaf, weight: 4 },
  fc.array(leaf, { maxLength: 3 }),
  fc.constantFrom<unknown>({}, { k: 1 }, [[]], [['a']], [{ k: 'a' }]),
)
const record = fc.dictionary(fc.constantFrom(...KEYS), value, { maxKeys: 5 })
const written = fc.tuple(record, fc.boolean()).map(([one, escaped]) => {
  const text = JSON.stringify(one)
  return escaped ? text.replace(/[ak]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : text
})
const ODD = [
  '',
  '{',
  '[]',
  '[{"k":"a"}]',
  '"k"',
  '{"k":NaN}',
  '{"k":1e999}',
  '{"k":-Infinity,"status":"a"}',
  '{"k":1,"k":"a"}',
]
const row: fc.Arbitrary<EventRow> = fc.record({
  data_type: fc.constantFrom('syslog:line', 'fs:stat', ''),
  api_operation: fc.option(fc.constantFrom(...TEXTS), { nil: null }),
  status: fc.option(fc.constantFrom(...TEXTS), { nil: null }),
  src_endpoint_port: fc.option(fc.constantFrom(0, 1, 5, -1), { nil: null }),
  time: fc.option(fc.constantFrom(0, 1, 1_447_809_343_000_000), { nil: null }),
  data: fc.oneof({ arbitrary: written, weight: 5 }, fc.constantFrom(...ODD)),
})

const quote = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`
const name = fc.constantFrom(...KEYS.filter((key) => key !== 'x-y'), 'k', 'message', 'date', 'nosuch')
const literal = fc.oneof(
  fc.constantFrom(...TEXTS).map(quote),
  fc.constantFrom('0', '1', '5', '1.5', '0x10', '9007199254740992', '9007199254740993', '1447809343000000'),
  fc.constantFrom("PATH('a/b')", "PATH('b')", "PATH('')", "PATH('/a/b/c')"),
  fc.constantFrom("'2015-11-18'", "'li'", "'İ'", "'ic'", "'I'", "'K'", "'a/b'"),
)
const operator = fc.constantFrom(
  ...[
    'is',
    '==',
    'equals',
    '!=',
    'contains',
    'is not',
    'not contains',
    'not is',
    '<',
    '<=',
    '>',
    '>=',
    'inset',
    'regexp',
  ],
)
const comparison = fc.tuple(name, operator, literal).map((parts) => parts.join(' '))
const { expression } = fc.letrec<{ expression: string }>((tie) => ({
  expression: fc.oneof(
    { depthSize: 'small' },
    { arbitrary: comparison, weight: 3 },
    fc.tuple(tie('expression'), fc.constantFrom('and', 'OR'), tie('expression')).map((all) => `(${all.join(' ')})`),
  ),
}))

/** Undefined where plaso refuses it: a text that is no time, a PATH in a regular expression. */
function compiled(text: string) {
  try {
    return compile(text, { mode: 'plaso' })
  } catch {
    return undefined
  }
}

test('the SQL of a plaso expression says what its predicate says', async () => {
  let translated = 0
  let matched = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { minLength: 15, maxLength: 15 }),
      fc.array(expression, { minLength: 25, maxLength: 25 }),
      async (rows, texts) => {
        await table.hold(rows)
        for (const text of texts) {
          const found = compiled(text)
          if (!found?.sql()) continue
          const expected = rows.map((one) => found.predicate(accessOf(one)))
          assert.deepEqual(await table.matches(found), expected, text)
          for (const [i, matches] of expected.entries()) {
            if (!matches) continue
            assert.equal(found.contradiction(), undefined, text)
            for (const { column, values } of found.needles()) assert.ok(values.includes(String(rows[i]![column])), text)
            const range = found.timeRange()
            if (range) assert.ok((range.from ?? -Infinity) <= Number(rows[i]!.time), text)
          }
          translated += 1
          matched += expected.filter(Boolean).length
        }
      },
    ),
    { numRuns: Number(process.env.COLDTRAIL_AGREEMENT_RUNS ?? 25) },
  )
  assert.ok(translated > 300 && matched > 300, `${translated} were translated, ${matched} events matched`)
})

test('labels of an event are a list', () => {
  const events: EventAccess[] = [['a', 'Alice'], ['alice'], undefined].map((tag) => ({
    get: (column) => (column === 'tag' ? tag : undefined),
    data: () => '{"tag":["a"]}',
  }))
  const all = [
    "contains 'a'",
    "contains 'alice'",
    "not contains 'Alice'",
    "is 'alice'",
    "!= 'a'",
    'contains 1',
    "> 'a'",
  ]
  for (const rest of all) {
    const text = `tag ${rest}`
    const condition = plasoCondition(parse(text, 'plaso'), text)
    const found = compile(text, { mode: 'plaso' })
    assert.ok(condition, text)
    const matches = predicate(condition)
    assert.deepEqual(
      events.map(matches),
      events.map((event) => found.predicate(event)),
      text,
    )
  }
})

test('idioms of tagging files have SQL and name their data types; what has none says so', () => {
  for (const text of [
    "data_type is 'syslog:line' AND body contains 'pam_tally2'",
    "data_type is 'syslog:line' AND (reporter is 'sshd' OR reporter is 'login') AND body contains 'uthentication fail'",
    "data_type is 'fs:stat' AND timestamp_desc is 'Creation Time' AND filename contains PATH('LaunchAgents')",
    "data_type is 'windows:registry:mrulist' AND entries not contains '.exe' AND timestamp > DATETIME(0)",
    "data_type is 'windows:evtx:record' AND source_name is 'x' AND event_identifier == 4624",
  ]) {
    const found = compile(text, { mode: 'plaso' })
    assert.ok(found.sql(), text)
    assert.equal(found.needles()[0]!.column, 'data_type', text)
  }
  for (const text of ["body regexp 'a+'", "body contains 'é'", "body inset 'abc'", "data contains 'x'"])
    assert.equal(compile(text, { mode: 'plaso' }).sql(), undefined, text)
})
