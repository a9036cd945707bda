/**
 * Predicate, SQL and blocks are readings of one condition; a real DuckDB and random rows tell whether they agree.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api'
import fc from 'fast-check'
import { EVENT_COLUMNS, type EventColumn } from '../../src/core/columns.ts'
import { ipKey } from '../../src/core/ipAddress.ts'
import { BlockMatcher } from '../../src/query/blockMatcher.ts'
import { fold } from '../../src/query/caseFolding.ts'
import { compile, type EventAccess, type Expression } from '../../src/query/expression.ts'
import { parseJson } from '../../src/query/jsonText.ts'
import { RegexFault, sharedRegex } from '../../src/query/regex.ts'
import { ALL, has, type RowSet, span } from '../../src/query/rowSet.ts'
import { plainBlock } from '../support/plainBlock.ts'

type Row = Readonly<Record<string, string | number | null | readonly string[]>>

const instance = await DuckDBInstance.create(':memory:', {
  threads: '1',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
})
const duckdb: DuckDBConnection = await instance.connect()
await duckdb.run(`SET TimeZone = 'UTC'; SET enable_external_access = false`)
after(() => {
  duckdb.closeSync()
  instance.closeSync()
})

const NOW = Date.UTC(2023, 6, 12) * 1_000
const columns = EVENT_COLUMNS as readonly EventColumn[]
const SQL_TYPE = { text: 'VARCHAR', ip: 'VARCHAR', int: 'BIGINT', time: 'TIMESTAMPTZ' } as const

async function store(rows: readonly Row[]): Promise<void> {
  const names = ['row', 'tag', ...columns.map(({ name }) => name)]
  const types = ['INTEGER', 'VARCHAR[]', ...columns.map(({ type }) => SQL_TYPE[type])]
  await duckdb.run(`CREATE OR REPLACE TABLE events (${names.map((name, i) => `"${name}" ${types[i]}`).join(', ')})`)
  for (const [i, row] of rows.entries()) {
    const set = columns.filter(({ name }) => row[name] !== null && row[name] !== undefined)
    const values = set.map(({ type }, at) => (type === 'time' ? `make_timestamptz($${at + 1}::BIGINT)` : `$${at + 1}`))
    const bound = set.map(({ name }): DuckDBValue => {
      const value = row[name]!
      return typeof value === 'number' ? BigInt(value) : String(value)
    })
    // No list is empty: an event without labels has none.
    const labels = JSON.stringify(row.tag ?? null)
    await duckdb.run(
      `INSERT INTO events ("row", tag${set.map(({ name }) => `, "${name}"`).join('')})
       VALUES (${i}, CAST($${bound.length + 1}::JSON AS VARCHAR[])${values.map((value) => `, ${value}`).join('')})`,
      [...bound, labels],
    )
  }
}

const access = (row: Row): EventAccess => ({ get: (name) => row[name], data: () => String(row.data ?? '') })

async function bySql(expression: Expression, count: number): Promise<boolean[]> {
  const { text, params } = expression.sql()!
  const reader = await duckdb.runAndReadAll(`SELECT "row", ${text} AS matches FROM events`, [...params])
  const answers: boolean[] = Array.from({ length: count }, () => false)
  for (const [row, matches] of reader.getRows()) {
    assert.equal(typeof matches, 'boolean', `NULL or no boolean for ${expression.text}`)
    answers[Number(row)] = matches === true
  }
  return answers
}

const byPredicate = (expression: Expression, rows: readonly Row[]): boolean[] =>
  rows.map((row) => expression.predicate(access(row)))

/** All expressions at once, so that they share what they can. */
function byBlock(expressions: readonly Expression[], rows: readonly Row[], within: RowSet = ALL): boolean[][] {
  const answers = expressions.map(() => rows.map(() => false))
  const asked = expressions.map((_, i) => i)
  new BlockMatcher(expressions).match(plainBlock(rows), within, asked, (question, found) => {
    assert.ok(found.length > 0)
    for (const row of found) answers[question]![row] = true
  })
  return answers
}

const holdsNeedles = (expression: Expression, row: Row): boolean =>
  expression.needles().every(({ column, values }) => values.some((value) => [row[column]].flat().includes(value)))

function checkPruning(expression: Expression, row: Row): void {
  for (const { column, values } of expression.needles())
    assert.ok(
      [row[column]].flat().some((value) => values.includes(String(value))),
      `${expression.text}: needle in ${column}`,
    )
  const range = expression.timeRange()
  if (!range) return
  assert.equal(typeof row.time, 'number', `${expression.text}: a match without time lies in no range`)
  assert.ok((range.from ?? -Infinity) <= Number(row.time) && Number(row.time) <= (range.to ?? Infinity))
}

// --- rows and expressions over a small world, so that they meet ---

const TEXTS = [
  '',
  '0',
  'Alice',
  'alice',
  'ALİCE',
  'ﬀ',
  'Straße',
  'ΣΑΣ',
  'Kelvin',
  'a\nb',
  'x"y',
  'a/b',
  'a\\b',
  'é',
  '😀',
  '\uffee',
  'root',
  '10.0.0.7',
]
const IPS = [
  '10.0.0.7',
  '10.255.0.1',
  '11.0.0.1',
  '2001:db8::1',
  '2001:DB8:0::1',
  '::ffff:10.0.0.7',
  'ec2.amazonaws.com',
  '010.0.0.7',
  '',
]
const INTS = [-1, 0, 1, 6, 443, 2 ** 53 - 1]
const TIMES = [
  0,
  Date.UTC(2023, 6, 10) * 1e3,
  Date.UTC(2023, 6, 10, 11) * 1e3,
  Date.UTC(2023, 6, 12) * 1e3 - 1,
  -62_135_596_800_000_000,
]
const KEYS = ['a', 'b', 'A', '', 'a.b', 'é', '0', '1', 'x"y', 'p/q', '~', 'type']

const text = fc.constantFrom(...TEXTS)
const leaf = fc.oneof(text, fc.constantFrom(...INTS, 1.5, -0, 1e300), fc.boolean(), fc.constant(null))
const { json } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    leaf,
    fc.array(tie('json'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS), tie('json'), { maxKeys: 4 }),
  ),
}))
const record = fc.dictionary(fc.constantFrom(...KEYS), json, { maxKeys: 4 })

/** JSON as writers write it: plain, or with any of its characters escaped. */
const written = fc.tuple(record, fc.boolean(), fc.boolean()).map(([value, unicode, slashes]) => {
  let out = JSON.stringify(value)
  if (unicode) out = out.replace(/[b-eA-Zé/]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
  if (slashes) out = out.replaceAll('/', '\\/')
  return out
})
const MALFORMED = [
  '',
  '{',
  '{"a":1,}',
  '[1,]',
  '{"a":NaN,"b":-Infinity}',
  '{"a":"\\ud800"}',
  '{"a":1}x',
  '{"a":1,"a":"x"}',
  '{"a":01}',
  '{"a":1e999}',
  '{"a":123456789012345678901234567890}',
  'plain root text \\u0061',
  '\ufeff{}',
  '{"a":"\u0001"}',
  '[[{"a":1}],{"a":[2,["x"]]}]',
  `${'['.repeat(3_000)}${']'.repeat(3_000)}`,
  '{"a" : [ ] , "b":{ } }',
  '{"\\u0061":"Alice"}',
  '{"a":1,,}',
  '{"a":"\\q"}',
  '{"a":tru}',
  '-',
  '{"a":"\\u0000b"}',
]
const data = fc.oneof({ arbitrary: written, weight: 4 }, { arbitrary: fc.constantFrom(...MALFORMED), weight: 1 })

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null, freq: 4 })
const row: fc.Arbitrary<Row> = fc
  .record({
    actor_user_name: maybe(text),
    api_operation: maybe(text),
    message: maybe(text),
    tag: maybe(fc.uniqueArray(text, { minLength: 1, maxLength: 3 })),
    src_endpoint_ip: maybe(fc.constantFrom(...IPS)),
    src_endpoint_port: maybe(fc.constantFrom(...INTS)),
    time: maybe(fc.constantFrom(...TIMES)),
    data,
  })
  .map((values) => ({
    ...values,
    src_endpoint_ip_key: values.src_endpoint_ip === null ? null : (ipKey(values.src_endpoint_ip) ?? null),
  }))

const quote = (value: string) =>
  `'${value.replace(/['\\\n\r\t\b]/g, (c) => (c === "'" || c === '\\' ? `\\${c}` : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))}'`
const quoted = text.map(quote)
const part = fc.oneof(quoted, fc.constantFrom("'a'", "'LI'", "'\"'", "'/'", "'x\"y\\nb'", "'e'", "''", "'s'", "'k'"))
const regex = fc.constantFrom(
  '^a',
  'e$',
  '[^a-z]+',
  'a.b',
  '\\\\bA',
  '\\\\w{2,3}$',
  '(?:a|ß|é)+',
  '\\\\s',
  'k',
  'ſ',
  'σ',
  '[k-t]',
  '\\\\Bi',
  '^$',
  'x{0}',
  '(?P<n>ff|ﬀ)',
  '\\\\x{1F600}|\\\\d',
  '[\\\\]\\\\-a]',
)
const join = (...parts: (string | fc.Arbitrary<string>)[]) =>
  fc.tuple(...parts.map((p) => (typeof p === 'string' ? fc.constant(p) : p))).map((found) => found.join(' '))
const oneOf = (values: fc.Arbitrary<string>) =>
  fc.array(values, { minLength: 1, maxLength: 3 }).map((found) => `(${found.join(', ')})`)
const negation = fc.constantFrom('', 'not')
const sign = fc.constantFrom('==', '!=', '<', '<=', '>', '>=')

const textField = fc.constantFrom('actor.user.name', 'user', 'api_operation', 'message', 'data', 'tag')
const jsonField = fc
  .array(fc.constantFrom('a', 'b', 'A', '""', '"a.b"', 'é', '0', '1', '"x\\"y"', '"p/q"', '"~"', 'type'), {
    minLength: 1,
    maxLength: 3,
  })
  .map((segments) => `data.${segments.join('.')}`)
const anyText = fc.oneof(textField, jsonField)
const integer = fc.constantFrom('0', '1', '-1', '0x1bb', '443', '1.5', '-0.5', '9007199254740991', '1e2')
const time = fc.constantFrom(
  "'2023-07-10'",
  "'2023-07-10 11:00'",
  "'-24h'",
  "'today'",
  'now()',
  '0',
  "DATETIME('2023-07-10T13:00:00+02:00')",
  '1688947200000000',
)

const condition = fc.oneof(
  join(anyText, sign, quoted),
  join(anyText, fc.constantFrom('is', 'is not', 'equals'), fc.constantFrom('', 'nocase'), quoted),
  join(anyText, negation, 'in', fc.constantFrom('', 'nocase'), oneOf(quoted)),
  join(anyText, negation, fc.constantFrom('contains', 'startswith', 'endswith'), fc.constantFrom('', 'cased'), part),
  join(
    anyText,
    negation,
    fc.constantFrom('regexp', 'iregexp'),
    regex.map((found) => `'${found}'`),
  ),
  join(
    fc.oneof(anyText, fc.constantFrom('time', 'src_port', 'ip', 'tags')).map((f) => (f === 'tags' ? 'ip' : f)),
    negation,
    'exists',
  ),
  join(
    fc.oneof(anyText, fc.constant('ip')),
    fc.oneof(
      fc.constantFrom('==', '!=', 'is not', '== nocase'),
      join(fc.constantFrom('contains', 'startswith', 'not endswith'), fc.constantFrom('', 'cased')),
    ),
    anyText.map((field) => `FIELD(${field})`),
  ),
  join('ip', sign, fc.constantFrom(...IPS).map(quote)),
  join(
    'ip',
    negation,
    'in',
    fc.constantFrom(
      "'10.0.0.0/8'",
      "'2001:db8::/32'",
      "'10.0.0.7'",
      "('10.0.0.0/9', '11.0.0.1', '::1')",
      "'0.0.0.0/0'",
    ),
  ),
  join('src_endpoint.port', sign, integer),
  join('src_port', negation, 'in', oneOf(integer)),
  join('time', sign, time),
  join('time', negation, 'in', oneOf(time)),
  join(jsonField, sign, integer),
  join(jsonField, negation, 'in', oneOf(fc.oneof(integer, quoted, fc.constantFrom('true', 'false')))),
  join(jsonField, '==', fc.constantFrom('true', 'false')),
)
const { expression } = fc.letrec<{ expression: string }>((tie) => ({
  expression: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    condition,
    join('(', tie('expression'), fc.constantFrom('and', 'or', '&&', '||'), tie('expression'), ')'),
    join(fc.constantFrom('not', '!'), '(', tie('expression'), ')'),
  ),
}))

test('predicate and SQL agree, and every match satisfies needles and range', async () => {
  let matched = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { minLength: 15, maxLength: 15 }),
      fc.array(expression, { minLength: 15, maxLength: 15 }),
      async (rows, texts) => {
        await store(rows)
        const all = texts.map((found) => compile(found, { now: NOW }))
        const blocks = byBlock(all, rows)
        const part = span(3, 9, rows.length)
        const parts = byBlock(all, rows, part)
        for (const [at, found] of texts.entries()) {
          const compiled = all[at]!
          const expected = byPredicate(compiled, rows)
          assert.deepEqual(await bySql(compiled, rows.length), expected, found)
          assert.deepEqual(blocks[at], expected, `blocks: ${found}`)
          assert.deepEqual(
            parts[at],
            expected.map((matches, row) => matches && has(part, row)),
            `part of a block: ${found}`,
          )
          rows.forEach((one, i) => {
            if (expected[i]) checkPruning(compiled, one)
            else if (compiled.needlesSuffice()) assert.ok(!holdsNeedles(compiled, one), found)
          })
          matched += expected.filter(Boolean).length
        }
      },
    ),
    { numRuns: Number(process.env.COLDTRAIL_AGREEMENT_RUNS ?? 25) },
  )
  assert.ok(matched > 100, 'the world is small enough for matches')
})

test('hostile records read alike', async () => {
  const rows: Row[] = MALFORMED.map((one) => ({ data: one }))
  await store(rows)
  const texts = ['a', 'b', 'a.0', '0.a', '0', 'a.a', 'q'].flatMap((path) =>
    [
      'exists',
      "== 'x'",
      '== 1',
      "!= 'x'",
      '> -1e308',
      '< 1e300',
      "contains ''",
      "== 'Alice'",
      '== true',
      "regexp '.b'",
    ].map((rest) => `data.${path} ${rest}`),
  )
  for (const found of [
    ...texts,
    "data contains 'A'",
    "data contains cased 'plain root text a'",
    "data startswith '{'",
  ]) {
    const compiled = compile(found)
    const expected = byPredicate(compiled, rows)
    assert.deepEqual(await bySql(compiled, rows.length), expected, found)
    assert.deepEqual(byBlock([compiled], rows), [expected], found)
  }
  const first = compile('data.a == 1')
  assert.equal(first.predicate(access({ data: '{"a":1,"a":"x"}' })), true, 'of equal keys the first counts')
})

test('long lists agree with short ones', async () => {
  const rows: Row[] = TEXTS.map((value, i) => ({
    actor_user_name: value,
    src_endpoint_port: i,
    time: i * 1_000_000,
    data: JSON.stringify({ a: [value] }),
  }))
  await store(rows)
  const many = Array.from({ length: 5_000 }, (_, i) => i)
  for (const found of [
    `user in (${many.map((i) => `'u${i}'`).join(', ')}, 'Alice', '😀')`,
    `user not in nocase (${many.map((i) => `'u${i}'`).join(', ')}, 'aLICE')`,
    `data.a in (${many.map((i) => `'u${i}'`).join(', ')}, 'x"y', 'a\\\\b')`,
    `src_port in (${many.map((i) => i * 2).join(', ')})`,
    `time in (${many.map((i) => i * 3).join(', ')})`,
  ]) {
    const compiled = compile(found)
    const expected = byPredicate(compiled, rows)
    assert.ok(expected.includes(true) && expected.includes(false))
    assert.deepEqual(await bySql(compiled, rows.length), expected)
    assert.deepEqual(byBlock([compiled], rows), [expected])
  }
})

test('case is ignored alike for every character there is', async () => {
  const reader = await duckdb.runAndReadAll(
    `SELECT code::INTEGER, 'x' || lower(chr(code::INTEGER)) FROM range(1, 1114112) t(code)
     WHERE NOT code BETWEEN 55296 AND 57343`,
  )
  const wrong = reader
    .getRows()
    .filter(([code, lower]) => `x${fold(String.fromCodePoint(Number(code)))}` !== lower)
    .map(([code]) => Number(code).toString(16))
  assert.deepEqual(wrong, [])
})

test('what is JSON is JSON for both', async () => {
  const strings = fc.oneof(data, fc.json(), fc.string(), fc.constantFrom(...MALFORMED))
  const mangled = fc
    .tuple(fc.json(), fc.nat(), fc.constantFrom(',', '}', ']', '"', '\\', '0', 'e', '-', ' ', '\u0000', '\n', ':'))
    .map(([whole, at, c]) => whole.slice(0, at % (whole.length + 1)) + c + whole.slice(at % (whole.length + 1)))
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(strings, mangled), { minLength: 40, maxLength: 40 }), async (texts) => {
      const wellFormed = texts.filter((found) => found.isWellFormed())
      const list = wellFormed.map((_, i) => `($${i + 1})`).join(', ')
      const reader = await duckdb.runAndReadAll(`SELECT json_valid(v) FROM (VALUES ${list}) t(v)`, wellFormed)
      const byDuckdb = reader.getRows().map(([valid]) => valid)
      assert.deepEqual(
        wellFormed.map((found) => [found, parseJson(found) !== undefined]),
        wellFormed.map((found, i) => [found, byDuckdb[i]]),
      )
    }),
    { numRuns: 30 },
  )
})

test('every accepted regular expression means the same to both engines, and none ends a statement', async () => {
  const character = fc.constantFrom(
    'a',
    'k',
    'K',
    'é',
    'ß',
    'ſ',
    '\u212a',
    '😀',
    '\n',
    ' ',
    '\v',
    '\u00a0',
    '_',
    '7',
    '-',
    ']',
    '\u0130',
    'Σ',
    'ς',
  )
  const item = fc.constantFrom(
    'a',
    'K',
    'é',
    '.',
    '^',
    '$',
    '\\d',
    '\\W',
    '\\s',
    '\\S',
    '\\b',
    '\\B',
    '\\n',
    '\\.',
    '[a-z]',
    '[^k]',
    '[\\s_-]',
    '[\\w]',
    '[^\\d\\]]',
    '(?:a|k)',
    '(é)',
    '😀',
    '\\x{df}',
    '[À-ÿ]',
    '(',
    ')',
    '[',
    '|',
    '(?i)',
    '(?=a)',
    '\\1',
    '{',
    '-',
    '&&',
    '[a&&b]',
    '[a--b]',
    '[~]',
    '\\Q',
    '\\pL',
    '(?P<x>a)',
    '\\A',
    '\\z',
  )
  const repeat = fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{0,3}', '{1,}', '*?', '{,2}', '{1000}', '++')
  const pattern = fc.array(fc.tuple(item, repeat), { maxLength: 6 }).map((parts) => parts.flat().join(''))
  const subject = fc.oneof(
    fc.array(character, { maxLength: 6 }).map((parts) => parts.join('')),
    fc.string(),
  )
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(pattern, { minLength: 20, maxLength: 20 }),
      fc.array(subject, { minLength: 20, maxLength: 20 }),
      fc.boolean(),
      async (patterns, subjects, ignoreCase) => {
        const list = subjects.map((_, i) => `($${i + 2})`).join(', ')
        for (const one of patterns) {
          const shared = sharedRegex(one, ignoreCase)
          if (shared instanceof RegexFault) {
            assert.ok(shared.at >= 0 && shared.at <= one.length, one)
            continue
          }
          accepted++
          const sql = `SELECT regexp_matches(v, $1) FROM (VALUES ${list}) t(v)`
          const reader = await duckdb.runAndReadAll(sql, [shared.re2, ...subjects])
          const answers = subjects.map((found, i) => [one, found, reader.getRows()[i]![0]])
          assert.deepEqual(
            subjects.map((found) => [one, found, shared.js.test(found)]),
            answers,
          )
        }
      },
    ),
    { numRuns: 40 },
  )
  assert.ok(accepted > 100)
})

test('patterns that DuckDB would turn into comparisons mean the same in both engines', async () => {
  const subjects = [...Array.from({ length: 16 }, () => ''), 'a', 'ba', 'ab', 'aa']
  const list = subjects.map((_, i) => `($${i + 2})`).join(', ')
  for (const one of ['^', '^^', '(^)^', '\\A^', '$$', '^$a', '^$.*', '^a^', '^a(?:)', 'a', '^a']) {
    const shared = sharedRegex(one, false)
    assert.ok(!(shared instanceof RegexFault))
    const reader = await duckdb.runAndReadAll(`SELECT regexp_matches(v, $1) FROM (VALUES ${list}) t(v)`, [
      shared.re2,
      ...subjects,
    ])
    assert.deepEqual(
      reader.getRows().map(([found]) => found),
      subjects.map((found) => shared.js.test(found)),
      one,
    )
  }
})

test('a regular expression that is accepted is never too large for RE2', async () => {
  for (const one of [
    '[^a]{1000}',
    '(?:[^a]{10}){100}',
    '[^a]{1000}'.repeat(2),
    '\\S{900}\\W{900}',
    'a'.repeat(19_000),
    '(?:a|b){1000}(?:[^é]|😀){500}',
    '.{1000}.{1000}',
    '[\u00e0-\u1fff\u2001-\ufffe]{1000}'.repeat(4),
    '[^\u00e0-\u1fff]{1000}'.repeat(3),
    '.{1000}'.repeat(7),
  ]) {
    const shared = sharedRegex(one, true)
    if (shared instanceof RegexFault) continue
    await duckdb.run('SELECT regexp_matches(v, $1) FROM (VALUES ($2)) t(v)', [shared.re2, 'ab'])
  }
  const long = compile(`data contains '${'É/k'.repeat(330)}'`)
  await store([{ data: '{"a":"\\u00e9"}' }])
  assert.deepEqual(await bySql(long, 1), [false])
  for (const one of ['(?:a{1000}){1000}', '(?:[^a]{100}){11}', 'a{1001}'])
    assert.ok(sharedRegex(one, false) instanceof RegexFault, one)
})

test('parameters take a prefix, so that an expression fits into a larger statement', async () => {
  await store([{ actor_user_name: 'Alice', data: '{}' }])
  const { text: where, named } = compile("user == 'Alice' and data contains 'x'").sql('e')!
  assert.match(where, /\$e1\b/)
  const reader = await duckdb.runAndReadAll(`SELECT count(*) FROM events WHERE NOT ${where}`, { ...named })
  assert.deepEqual(reader.getRows(), [[1n]])
})
