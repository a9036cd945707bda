/** Sigma rules: every modifier and condition by cases, by predicate and SQL; what is unsupported or damaged, with its place. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import type { PluginContext, Rule, RulesPlugin } from '../../../src/components/plugin.ts'
import { SigmaSource } from '../../../src/components/plugins/sigma/ruleDocuments.ts'
import { readSigmaRules, type SigmaOutcome } from '../../../src/components/plugins/sigma/sigmaRule.ts'
import { sigma } from '../../../src/components/plugins/sigma.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { compile } from '../../../src/query/expression.ts'
import { accessOf, EventTable } from '../../support/eventTable.ts'
import { type CaseEvent, rowOf } from '../../support/ruleCases.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures/plugins/sigma')
const PLACEHOLDERS = new Map([['operations', ['OpOne', 'OpTwo']]])
const table = await EventTable.open()
const folder = mkdtempSync(join(tmpdir(), 'coldtrail-sigma-'))
after(() => {
  table.close()
  rmSync(folder, { recursive: true })
})

interface SigmaCase {
  readonly name: string
  readonly logsource?: unknown
  readonly detection: unknown
  readonly match: readonly CaseEvent[]
  readonly quiet: readonly CaseEvent[]
}

const outcomes = (text: string): SigmaOutcome[] => readSigmaRules(new SigmaSource('f.yml', text), 'f', PLACEHOLDERS)

function rulesOf(text: string): Rule[] {
  return outcomes(text).map((one) => {
    assert.equal(one.kind, 'rule', JSON.stringify(one))
    return (one as SigmaOutcome & { kind: 'rule' }).rule
  })
}

const CASES: readonly SigmaCase[] = JSON.parse(readFileSync(join(FIXTURES, 'cases.json'), 'utf8'))

for (const { name, logsource, detection, match, quiet } of CASES)
  test(`detection: ${name}`, async () => {
    const source = logsource ?? { product: 'aws', service: 'cloudtrail' }
    // JSON is YAML.
    const rules = rulesOf(JSON.stringify({ title: name, level: 'low', logsource: source, detection }))
    const compiled = rules.map(({ expression }) => compile(expression))
    const events = [...match, ...quiet]
    const rows = events.map(rowOf)
    await table.hold(rows)
    const bySql = await Promise.all(compiled.map((one) => table.matches(one)))
    for (const [i, event] of events.entries()) {
      const said = `${JSON.stringify(event)} with ${rules.map(({ expression }) => expression).join(' ;; ')}`
      assert.equal(
        compiled.some((one) => one.predicate(accessOf(rows[i]!))),
        i < match.length,
        said,
      )
      assert.equal(
        bySql.some((answers) => answers[i]),
        i < match.length,
        `as SQL: ${said}`,
      )
    }
  })

for (const name of readdirSync(join(FIXTURES, 'unsupported')))
  test(`unsupported, and said: ${name}`, () => {
    const text = readFileSync(join(FIXTURES, 'unsupported', name), 'utf8')
    const [, line, what] = /# expect (\d+) (.*)/.exec(text)!
    const [one, ...others] = outcomes(text)
    assert.ok(one?.kind === 'unsupported' && others.length === 0, JSON.stringify(one))
    assert.ok(one.what.includes(what!), one.what)
    assert.equal(one.line, Number(line))
  })

for (const name of readdirSync(join(FIXTURES, 'damaged')))
  test(`damaged: ${name}`, () => {
    const text = readFileSync(join(FIXTURES, 'damaged', name), 'utf8')
    const [, line, column, reason] = /# expect (\d+):(\d+) (.*)/.exec(text)!
    assert.throws(
      () => outcomes(text),
      (error) => {
        assert.ok(error instanceof ColdtrailError && error.code === 'E_RULE_FILE', String(error))
        assert.deepEqual([error.values.line, error.values.column], [Number(line), Number(column)], error.message)
        return error.message.includes(reason!) || assert.fail(error.message)
      },
    )
  })

test('a rule becomes a label, a name, a severity and a title', () => {
  const text = `title: "Él Niño: <b>rule</b>"\nid: abc\nlevel: CRITICAL\nlogsource: {product: AWS, service: CloudTrail}
detection: {s: {eventName: A}, condition: s}\n`
  const [rule] = rulesOf(text)
  assert.deepEqual(
    { ...rule, expression: '' },
    {
      label: 'sigma_e_l_nin_o_b_rule_b',
      rule: 'abc',
      expression: '',
      mode: 'strict',
      finding: { severity: 'critical', title: 'Él Niño: <b>rule</b>' },
    },
  )
})

async function prepared(
  options: Readonly<Record<string, string>>,
): Promise<{ rules: readonly Rule[]; warnings: string[] }> {
  const warnings: string[] = []
  const context = { base: folder, dataTypes: [], warn: (message: string) => warnings.push(message) }
  const work = await sigma.prepare(sigma.options.parse(options), context as never as PluginContext)
  return { rules: (sigma.start(work) as RulesPlugin).rules, warnings }
}

const RULE = (id: string, rest: string) => `title: T ${id}\nid: ${id}\nlogsource: {product: aws, service: cloudtrail}
detection: {s: {eventName: A}, condition: s}\n${rest}`

test('a folder: its rules in one order, each that is left out with its place', async () => {
  mkdirSync(join(folder, 'rules/deep'), { recursive: true })
  writeFileSync(join(folder, 'rules/b.yml'), RULE('two', 'level: high\n'))
  writeFileSync(
    join(folder, 'rules/deep/a.yaml'),
    `${RULE('three', 'level: low\n')}---\n${RULE('two', 'level: high\n')}`,
  )
  writeFileSync(join(folder, 'rules/c.yml'), RULE('four', 'correlation: {}\n'))
  writeFileSync(join(folder, 'rules/notes.txt'), 'no rule')
  const all = await prepared({ rules: 'rules' })
  assert.deepEqual(
    all.rules.map(({ rule }) => rule),
    ['two', 'three', `two (${join('rules', 'deep', 'a.yaml')})`],
  )
  assert.deepEqual(all.warnings, [
    `${join('rules', 'c.yml')}, line 5: the rule "T four" is left out, since it asks for what is not supported: correlation of other rules`,
    `${join('rules', 'deep', 'a.yaml')}, line 7: the rule two is in ${join('rules', 'b.yml')}, line 1 already; both are used`,
  ])
  const high = await prepared({ rules: 'rules', min_level: 'high' })
  assert.equal(high.rules.length, 2)
  assert.equal((await prepared({ rules: 'rules/b.yml' })).rules[0]!.rule, 'two')
  await assert.rejects(prepared({ rules: 'rules', min_level: 'critical' }), { code: 'E_RULE_SET' })
  await assert.rejects(prepared({ rules: 'absent' }), { code: 'E_RULE_SET' })
  await assert.rejects(prepared({}), { code: 'E_RULE_SET' })
  mkdirSync(join(folder, 'empty'))
  await assert.rejects(prepared({ rules: 'empty' }), { code: 'E_RULE_SET' })
})

test('placeholders come from a file', async () => {
  mkdirSync(join(folder, 'expand'))
  const rule = RULE('x', '').replace('{eventName: A}', "{eventName|expand: '%ops%'}")
  writeFileSync(join(folder, 'expand/x.yml'), rule)
  writeFileSync(join(folder, 'values.txt'), 'ops: [One, Two]\n')
  const { rules } = await prepared({ rules: 'expand', placeholders: 'values.txt' })
  assert.match(rules[0]!.expression, /'One'.*'Two'/)
  writeFileSync(join(folder, 'values.txt'), 'ops: One\n')
  await assert.rejects(prepared({ rules: 'expand', placeholders: 'values.txt' }), { code: 'E_RULE_FILE' })
})

test('hostile files: bombs of aliases, depth, size, names; what is thrown is E_RULE_FILE', () => {
  const bomb = ['a: &a [x,x]', ...'bcdefgh'.split('').map((c, i) => `${c}: &${c} [*${'abcdefg'[i]},*${'abcdefg'[i]}]`)]
  const hostile = [
    bomb.join('\n'),
    `title: ${'['.repeat(100_000)}`,
    `title: ${'{a: '.repeat(900)}`,
    `${'- '.repeat(10_000)}x`,
    `${'? '.repeat(10_000)}x`,
    Array.from({ length: 1_200 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
    `title: x\n${'---\n'.repeat(500)}`,
    'x'.repeat(2 ** 20 + 1),
    '!!js/function x',
    'title: !!binary AAAA\nlevel: low',
    `title: ${'x'.repeat(1_000)}\nlevel: low`,
    RULE('a', '').replace('condition: s', `condition: ${'('.repeat(1_000)}s`),
    RULE('a', '').replace('condition: s', `condition: ${'s or '.repeat(10_000)}s`),
    RULE('a', '').replace('eventName', '"a.\\ud800"').replace(': A', ': "\\udfff"'),
  ]
  for (const text of hostile) assert.throws(() => outcomes(text), { code: 'E_RULE_FILE' }, text.slice(0, 80))
  const many = Array.from(
    { length: 500 },
    (_, i) => `  s${i}: {userAgent|contains: ["${'x'.repeat(50)}", "${'y'.repeat(50)}"]}`,
  )
  const large = `title: L\nlogsource: {product: aws, service: cloudtrail}\ndetection:\n${many.join('\n')}
  condition: ${Array.from({ length: 100 }, () => '1 of them').join(' or ')}\n`
  const [one] = outcomes(large)
  assert.ok(one?.kind === 'unsupported' && /more conditions|too many/.test(one.what), JSON.stringify(one))
  assert.deepEqual(outcomes(''), [])
  assert.deepEqual(outcomes('# nothing\n---\n'), [])
})

test('names and values of rules stay values', () => {
  const odd = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom("'", '\\', "' or 1 == 1 or '", 'a.b', '"', '\n', '$1', '%x%', '*', 'x|y'),
  )
  fc.assert(
    fc.property(odd, odd, (name, value) => {
      const key = name.replaceAll('|', '')
      const detection = { s: { [`requestParameters.${key}`]: value }, condition: 's' }
      const logsource = { product: 'aws', service: 'cloudtrail' }
      const [rule] = rulesOf(JSON.stringify({ title: 'T', logsource, detection }))
      const path = `requestParameters.${key}`.split('.')
      const record = path.reduceRight<unknown>((inner, segment) => ({ [segment]: inner }), value)
      const row = { data_type: 'aws:cloudtrail:entry', data: JSON.stringify(record) }
      // A backslash before a wildcard or another one means something else.
      if (!/[\\]/.test(value)) assert.ok(compile(rule!.expression).predicate(accessOf(row)), rule!.expression)
      const other = { ...row, data: JSON.stringify({ requestParameters: 'x' }) }
      assert.equal(compile(rule!.expression).predicate(accessOf(other)), false)
    }),
    { numRuns: 300 },
  )
})
