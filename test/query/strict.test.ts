import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ColdtrailError } from '../../src/core/errors.ts'
import { compile, type EventAccess } from '../../src/query/expression.ts'

const NOW = Date.UTC(2023, 6, 12, 12) * 1_000
const row: Readonly<Record<string, unknown>> = {
  api_operation: 'CreateUser',
  actor_user_name: 'Alice',
  src_endpoint_ip: '198.51.100.7',
  src_endpoint_port: 0,
  message: '',
  time: Date.UTC(2023, 6, 10, 11) * 1_000,
  session_id: 12n,
}
const record = JSON.stringify({
  type: 'x',
  requestParameters: { bucketName: 'payroll', count: 3, tags: [{ key: 'a' }, { key: 'b' }], 'user-agent': 'curl' },
  'dotted.key': { 'two words': true },
  empty: null,
  none: [],
  slashed: 'PLACE',
}).replace('PLACE', '\\u0053ECRET\\/x')
const event: EventAccess = { get: (name) => row[name], data: () => record }
const strict = (text: string) => compile(text, { now: NOW }).predicate(event)

const TRUE = [
  '',
  "api.operation == 'CreateUser'",
  "api_operation is 'CreateUser'",
  "operation equals 'CreateUser'",
  "operation in ('DeleteUser', 'CreateUser')",
  "operation == nocase 'createuser'",
  "operation in nocase ('createuser')",
  "operation contains 'USER'",
  "operation startswith 'create' && operation endswith 'user'",
  "operation contains cased 'User' and not operation contains cased 'user'",
  "operation contains ''",
  "operation regexp '^Create(User|Role)$' and operation iregexp 'USER'",
  "operation regexp '\\w+' and operation regexp '^\\D{10}$'",
  "operation > 'CreateA' and operation < 'D'",
  'operation exists and status not exists and not status exists',
  "status is not 'x' and status not contains 'x' and not status == 'x' and status not in ('x')",
  "message == '' and message exists and message != 'x'",
  'src_port == 0 and src_port < 5 and src_port != 5 and src_port >= -1 and src_port < 0.5 and src_port == 0x0',
  'session_id == 12 and session_id in (11, 12.0) and session_id > 11.5',
  "ip in '198.51.100.0/24' and ip not in '10.0.0.0/8' and ip in ('10.0.0.0/8', '198.51.100.7')",
  "ip == '198.51.100.7' and ip == '::ffff:198.51.100.7' and ip startswith '198.'",
  "ip in '::ffff:198.51.100.0/120'",
  "time >= '2023-07-10' and time < '2023-07-10T13:00:00.5+01:00' and timestamp > '-3d'",
  "time == DATETIME('2023-07-10 11:00:00') and time < now() and time < 'today' and time == 1688986800",
  'time == 1688986800000000 and date < DATETIME(1688986801000000)',
  "data.requestParameters.bucketName == 'payroll' and data.requestParameters.count > 2.5",
  "data.requestParameters.tags.key == 'b' and data.requestParameters.tags.0.key == 'a'",
  "data.requestParameters.tags.1.key != 'a' and not data.requestParameters.tags.key != 'a'",
  'data."dotted.key"."two words" == true and data.requestParameters.user-agent == \'curl\'',
  "data.type == 'x' and data.empty not exists and data.none not exists and data.requestParameters exists",
  "data.slashed == 'SECRET/x' and data contains 'secret/X' and data contains cased 'SECRET/x'",
  'data contains \'bucketName":"payroll\'',
  "data.requestParameters.count in ('3', 3)",
  'not (src_port == 1 or src_port == 2) and ! src_port == 3',
  "operation == 'CreateUser' or operation == 'x' and operation == 'y'",
  'operation == "CreateUser" and operation == \'Create\\x55ser\' and operation == "Create\\u0055ser"',
  'not not src_port == 0',
]
const FALSE = [
  "operation == 'createuser'",
  "status != 'x'",
  "status == ''",
  "status contains ''",
  'dst_port < 5 or dst_port != 5',
  "(operation == 'CreateUser' or operation == 'x') and operation == 'y'",
  'src_port == 0.5',
  "data.requestParameters.count == '3'",
  "data.requestParameters.missing != 'x'",
  "data.requestParameters.tags.key != 'a'",
  "data.requestParameters contains 'payroll'",
  "data contains cased 'secret/x'",
  "data_type == 'x'",
  "time < '2023-07-10'",
]

test('what strict mode says', () => {
  for (const text of TRUE) assert.equal(strict(text), true, text)
  for (const text of FALSE) assert.equal(strict(text), false, text)
})

/** Text, code, column, and what the message or hint must say. */
const REFUSED: readonly (readonly [string, string, number, RegExp])[] = [
  ["api.operatoin == 'x'", 'E_EXPRESSION_FIELD', 1, /Did you mean api\.operation\?/],
  ["user == 'é' and Operation == 'x'", 'E_EXPRESSION_FIELD', 17, /Did you mean operation\?/],
  ["verdict == 'x'", 'E_EXPRESSION_FIELD', 1, /no field verdict/],
  ["uid == 'x'", 'E_EXPRESSION_FIELD', 1, /computed/],
  ["operation = 'x'", 'E_EXPRESSION', 11, /==/],
  ["operation contians 'x'", 'E_EXPRESSION', 11, /contains/],
  ['operation is CreateUser', 'E_EXPRESSION', 14, /quotes/],
  ["operation is 'x", 'E_EXPRESSION', 14, /closing quote/],
  ["operation is '\\q'", 'E_EXPRESSION', 15, /escape/],
  ["(operation is 'x'", 'E_EXPRESSION', 18, /not closed/],
  ["operation is 'x')", 'E_EXPRESSION', 17, /closes nothing/],
  ["operation is 'x' and", 'E_EXPRESSION', 21, /text ends/],
  ["operation is 'x' user is 'y'", 'E_EXPRESSION', 18, /goes on/],
  ['operation', 'E_EXPRESSION', 10, /operator/],
  ["operation inset 'x'", 'E_EXPRESSION', 11, /plaso mode/],
  ["operation not == 'x'", 'E_EXPRESSION', 15, /not cannot stand/],
  ["operation not contains not 'x'", 'E_EXPRESSION', 24, /twice/],
  ['operation is null', 'E_EXPRESSION', 14, /not FIELD exists/],
  ["operation in ('x'", 'E_EXPRESSION', 18, /not closed/],
  ["operation in 'x'", 'E_EXPRESSION_TYPE', 14, /list/],
  ['operation in ()', 'E_EXPRESSION', 15, /value is missing/],
  ['operation == 5', 'E_EXPRESSION_TYPE', 14, /is text/],
  ["src_port == '443'", 'E_EXPRESSION_TYPE', 13, /is an integer/],
  ["src_port contains '4'", 'E_EXPRESSION_TYPE', 10, /for texts/],
  ['src_port == 443x', 'E_EXPRESSION', 13, /no number/],
  ['src_port == 99999999999999999999', 'E_EXPRESSION_TYPE', 13, /64 bits/],
  ["ip in '10.0.0.0/33'", 'E_EXPRESSION_TYPE', 7, /neither an address nor a block/],
  ["ip in '010.0.0.0/8'", 'E_EXPRESSION_TYPE', 7, /neither an address nor a block/],
  ["user in '10.0.0.0/8'", 'E_EXPRESSION_TYPE', 9, /list/],
  ["time > 'garbage'", 'E_EXPRESSION_TYPE', 8, /no time/],
  ["time > '2023-02-30'", 'E_EXPRESSION_TYPE', 8, /no time/],
  ["time contains '2023'", 'E_EXPRESSION_TYPE', 6, /for texts/],
  ['time > 999999999999999999', 'E_EXPRESSION_TYPE', 8, /years 1 to 9999/],
  ["operation regexp '(?=x)'", 'E_EXPRESSION_REGEX', 19, /look-around/],
  ["operation regexp 'a(b)\\\\1'", 'E_EXPRESSION_REGEX', 23, /back-references/],
  ["operation regexp '['", 'E_EXPRESSION_REGEX', 19, /not closed/],
  ["operation contains nocase 'x'", 'E_EXPRESSION', 11, /nocase does not fit/],
  ["path contains PATH('x')", 'E_EXPRESSION_TYPE', 15, /plaso mode/],
  ['data. == 1', 'E_EXPRESSION', 6, /name after it/],
  ["operation == 'x' # y", 'E_EXPRESSION', 18, /no meaning/],
]

test('every mistake is found before anything is read, at its column', () => {
  for (const [text, code, column, says] of REFUSED) {
    assert.throws(
      () => compile(text, { now: NOW }),
      (error) => {
        assert.ok(error instanceof ColdtrailError, text)
        assert.deepEqual([error.code, error.values.column], [code, column], `${text}\n${error.message}`)
        assert.match(`${error.message} ${error.hint}`, says, text)
        return true
      },
      text,
    )
  }
})

test('the caret stands under the place', () => {
  const fault = (text: string): string => {
    try {
      compile(text)
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  const pointed = (text: string): string | undefined => {
    const [, line, caret] = fault(text).split('\n')
    return line?.slice(caret?.indexOf('^'))
  }
  assert.equal(pointed("user is 'x' and usre is 'y'"), "usre is 'y'")
  assert.match(pointed(`${'(user is "x") and '.repeat(20)}usre is "y"`) ?? '', /^usre is "y"$/)
  assert.doesNotMatch(fault("user is 'x'\u001b[31m\n\u202e and usre is 'y'"), /\u001b|\u202e/)
})

test('hostile sizes are refused, large honest ones are not', () => {
  const limit = { code: 'E_EXPRESSION_LIMIT' }
  assert.throws(() => compile(`${'('.repeat(100_000)}id == 1${')'.repeat(100_000)}`), limit)
  assert.throws(() => compile(`${'not '.repeat(100_000)}id == 1`), limit)
  assert.throws(() => compile('x'.repeat(5_000_000)), limit)
  assert.throws(() => compile(`id in (${'1,'.repeat(100_000)}1)`), limit)
  assert.throws(() => compile(Array.from({ length: 10_001 }, () => 'id == 1').join(' or ')), limit)
  assert.throws(() => compile(`data contains '${'x'.repeat(1_001)}'`), limit)
  const chain = compile(Array.from({ length: 9_000 }, (_, i) => `id == ${i}`).join(' or '))
  assert.equal(chain.predicate({ get: () => 8_999, data: () => '' }), true)
  assert.ok(chain.sql()!.params.length === 9_000)
  const list = compile(`user in (${Array.from({ length: 100_000 }, (_, i) => `'u${i}'`).join(',')})`)
  assert.equal(list.predicate({ get: () => 'u99999', data: () => '' }), true)
  assert.equal(list.sql()!.params.length, 1)
})

test('no text gives anything but an expression or a named error, and no event an exception', () => {
  const word = fc.constantFrom(
    ...'user ip time data.a data data."x".0 src_port and or not ! && || ( ) == != < in contains regexp exists cased'.split(
      ' ',
    ),
    ...["'x'", "'10.0.0.0/8'", '1', '-1.5', "('a', 1)", 'true', 'now()', 'DATETIME(', '"', '\\', ',', 'nocase', '.'],
  )
  const text = fc.oneof(
    fc.array(word, { maxLength: 8 }).map((words) => words.join(' ')),
    fc.string(),
    fc.string({ unit: 'binary' }),
  )
  fc.assert(
    fc.property(text, fc.anything(), fc.oneof(fc.json(), fc.string()), (found, value, data) => {
      try {
        const expression = compile(found, { now: NOW })
        assert.equal(typeof expression.predicate({ get: () => value, data: () => data }), 'boolean')
        assert.equal(typeof expression.sql()?.text, 'string')
        expression.needles()
        expression.timeRange()
        expression.differences()
      } catch (error) {
        assert.ok(error instanceof ColdtrailError, `${found}: ${error}`)
        assert.match(error.code, /^E_EXPRESSION/)
      }
    }),
    { numRuns: 3_000 },
  )
})

test('no value ever stands in the SQL text', () => {
  const { text, params } = compile(
    `user == 'o"; DROP' and data."k'); --".x contains 'v''`.slice(0, -1) +
      ` and time > '2023-07-10' and id in (4711) and data.n > 1.25`,
  ).sql()!
  assert.doesNotMatch(text, /DROP|--|4711|1\.25|2023/)
  assert.ok(params.length >= 6)
})

test('needles: what a segment must hold', () => {
  const needles = (text: string) => compile(text).needles()
  const user = (...values: string[]) => ({ column: 'actor_user_name', values })
  assert.deepEqual(needles("user == 'a' and message contains 'x'"), [user('a')])
  assert.deepEqual(needles("user == 'a' or user in ('b', 'a')"), [user('a', 'b')])
  assert.deepEqual(needles("user == 'a' or region == 'b'"), [])
  assert.deepEqual(needles("(user == 'a' and region == 'x') or (user == 'b' and status == 'y')"), [user('a', 'b')])
  for (const none of [
    "not user == 'a'",
    "user != 'a'",
    "user == nocase 'a'",
    "message == 'a'",
    "ip in '10.0.0.0/8'",
    '',
  ])
    assert.deepEqual(needles(none), [], none)
  assert.deepEqual(needles("ip == '2001:DB8:0::1'"), [
    { column: 'src_endpoint_ip', values: ['2001:DB8:0::1', '2001:db8::1'] },
  ])
  assert.deepEqual(needles("ip == '10.0.0.7'"), [
    { column: 'src_endpoint_ip', values: ['10.0.0.7', '::ffff:10.0.0.7'] },
  ])
})

test('needles suffice where they are all that is asked', () => {
  const suffice = (text: string) => compile(text).needlesSuffice()
  for (const whole of ["user == 'a'", "user in ('a', 'b')", "user == 'a' and (region == 'b' and ip == '10.0.0.7')"])
    assert.ok(suffice(whole), whole)
  for (const more of [
    '',
    "user == 'a' or user == 'b'",
    "user == 'a' and message == 'b'",
    "user == 'a' and not region == 'b'",
    "user == nocase 'a'",
    "message == 'a'",
  ])
    assert.ok(!suffice(more), more)
})

test('time ranges: where every match lies', () => {
  const range = (text: string) => compile(text, { now: NOW }).timeRange()
  const day = Date.UTC(2023, 6, 10) * 1_000
  assert.deepEqual(range("time >= '2023-07-10' and time < '2023-07-11' and user == 'a'"), {
    from: day,
    to: day + 86_400_000_000 - 1,
  })
  assert.deepEqual(range("time > '2023-07-10' or time == '2023-07-09'"), { from: day - 86_400_000_000 })
  assert.deepEqual(range("time > '-24h'"), { from: NOW - 86_400_000_000 + 1 })
  for (const any of [
    "time > '2023-07-10' or user == 'a'",
    "not time > '2023-07-10'",
    "time != '2023-07-10'",
    'time exists',
    '',
  ])
    assert.equal(range(any), undefined, any)
  const empty = range("time > '2023-07-11' and time < '2023-07-10'")
  assert.ok(empty && empty.from! > empty.to!)
})

test('columns: what has to be read', () => {
  assert.deepEqual([...compile("ip in '10.0.0.0/8' and (data.a exists or not user == 'x')").columns()!].sort(), [
    'actor_user_name',
    'data',
    'src_endpoint_ip_key',
  ])
})

test('where the modes differ is said', () => {
  const said = (text: string, mode: 'strict' | 'plaso' = 'strict') =>
    compile(text, { mode, now: NOW })
      .differences()
      .map(({ column, message }) => `${column}: ${message}`)
      .join('\n')
  assert.equal(said("data_type is 'x' and timestamp > '2023-07-10'"), '')
  assert.match(said("data_type is 'x' and api.operation is 'y'"), /^22: api\.operation is api_operation/m)
  assert.match(said("data.eventName is 'x'"), /^1: .*one name, not for a path/m)
  assert.match(said("user is 'x'"), /^1: user is actor_user_name/m)
  assert.match(said("data_type is 'x' && data_type is 'y'"), /^18: plaso mode refuses/m)
  assert.match(said('src_endpoint_port == 0'), /zero/)
  assert.match(said("status != 'x'"), /never different/)
  assert.match(said("message contains 'x'"), /never matches message/)
  assert.match(said('timestamp > 1688947200'), /microseconds/)
  assert.match(said("nosuch is 'x'", 'plaso'), /strict mode refuses this: there is no field nosuch/)
  assert.match(said("data_type inset 'x'", 'plaso'), /strict mode refuses/)
})
