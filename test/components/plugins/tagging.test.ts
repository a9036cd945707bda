/** Tagging files: what is taken as the original takes it, and what is refused where the original is silent. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import type { PluginContext, RulesPlugin } from '../../../src/components/plugin.ts'
import {
  parseTaggingFile,
  TAGGING_FILE_BYTES,
  TAGGING_RULES,
} from '../../../src/components/plugins/tagging/taggingFile.ts'
import { shippedRules, tagging } from '../../../src/components/plugins/tagging.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures/plugins/tagging')
const folder = mkdtempSync(join(tmpdir(), 'coldtrail-tagging-'))
after(() => rmSync(folder, { recursive: true }))

const accepted = (name: string) => {
  const file = `${name}.txt`
  return parseTaggingFile(readFileSync(join(FIXTURES, 'accepted', file)), file, name)
}
const refusal = (bytes: Buffer | string): ColdtrailError => {
  try {
    parseTaggingFile(Buffer.from(bytes), 'f.txt', 'f')
  } catch (error) {
    if (error instanceof ColdtrailError) return error
    throw error
  }
  return assert.fail('it was taken')
}

test('a file of the original: labels, rules with any indentation, comments, blank lines', () => {
  const rules = accepted('original')
  assert.deepEqual(
    rules.map(({ label, rule, mode, line }) => [label, rule, mode, line]),
    [
      ['login_failed', 'original/login_failed', 'plaso', 3],
      ['login_failed', 'original/login_failed/2', 'plaso', 5],
      ['autorun', 'original/autorun', 'plaso', 8],
      ['document_open', 'original/document_open', 'plaso', 10],
      ['tagged_before', 'original/tagged_before', 'plaso', 12],
    ],
  )
  assert.equal(rules[2]!.expression.endsWith("'.plist'"), true)
  assert.deepEqual(
    rules.map(({ compiled }) => compiled.sql() !== undefined),
    [true, true, true, true, false],
  )
  assert.deepEqual(
    accepted('windows_lines').map(({ label, expression }) => [label, expression]),
    [['label', "hostname is 'x'"]],
  )
})

test('the example of the guide is a rule file', () => {
  const guide = readFileSync(join(import.meta.dirname, '../../../docs/how-to/write-rules.md'), 'utf8')
  const [, example] = /```rules\n(.*?)```/s.exec(guide)!
  const rules = parseTaggingFile(Buffer.from(example!), 'guide', 'guide')
  assert.deepEqual(
    rules.map(({ rule, finding }) => [rule, finding?.severity]),
    [
      ['guide/root_use', 'high'],
      ['guide/key_for_other', undefined],
      ['guide/key_for_other/2', undefined],
    ],
  )
})

test('tags of earlier runs reach the rules, which the original promises and does not keep', () => {
  const rule = accepted('original').at(-1)!
  const event = (tag: readonly string[] | undefined) => ({
    get: (column: string) => (column === 'tag' ? tag : undefined),
    data: () => '{"body":"axxb"}',
  })
  assert.equal(rule.compiled.predicate(event(['autorun', 'other'])), true)
  assert.equal(rule.compiled.predicate(event(['Autorun'])), false)
  assert.equal(rule.compiled.predicate(event(undefined)), false)
  const strict = accepted('strict').at(-1)!
  assert.equal(strict.compiled.predicate(event(['root_use'])), true)
})

test('a file in strict mode: severity and title of a label make findings of all its rules', () => {
  const finding = { severity: 'high', title: 'The root user: acted' }
  assert.deepEqual(
    accepted('strict').map(({ rule, mode, finding }) => [rule, mode, finding]),
    [
      ['strict/root_use', 'strict', finding],
      ['strict/root_use/2', 'strict', finding],
      ['strict/plain', 'strict', undefined],
    ],
  )
})

for (const name of readdirSync(join(FIXTURES, 'refused')))
  test(`refused: ${name}`, () => {
    const bytes = readFileSync(join(FIXTURES, 'refused', name))
    const [, line, column, reason] = /# expect (\d+):(\d+) (.*)/.exec(bytes.toString('latin1'))!
    const error = refusal(bytes)
    assert.equal(error.code, 'E_RULE_FILE', error.message)
    assert.deepEqual(
      [error.values.file, error.values.line, error.values.column],
      ['f.txt', Number(line), Number(column)],
    )
    assert.ok(error.message.includes(reason!), error.message)
  })

test('hostile files are refused with a place, or taken; nothing else is thrown', () => {
  const piece = fc.constantFrom(
    'a',
    ' ',
    '\t',
    '\n',
    '\r\n',
    '#',
    ':',
    "'",
    'mode: strict\n',
    'x is 1',
    ' and ',
    '(',
    '\u0000',
    'é',
    '\ufeff',
  )
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.array(piece, { maxLength: 30 })), (made) => {
      const bytes = made instanceof Uint8Array ? Buffer.from(made) : Buffer.from(made.join(''))
      try {
        for (const { compiled } of parseTaggingFile(bytes, 'f', 'f'))
          compiled.predicate({ get: () => 1, data: () => '{}' })
      } catch (error) {
        assert.ok(error instanceof ColdtrailError && error.code === 'E_RULE_FILE', String(error))
        assert.ok(Number(error.values.line) >= 1 && Number(error.values.column) >= 1)
      }
    }),
    { numRuns: 500 },
  )
  assert.match(refusal(Buffer.alloc(TAGGING_FILE_BYTES + 1, 0x20)).message, /the limit is/)
  assert.match(refusal(`a\n${" x is 'y'\n".repeat(TAGGING_RULES + 1)}`).message, /more than 10000 rules/)
  assert.match(refusal(`a\n ${'('.repeat(200_000)}`).message, /nested too deeply/)
  assert.match(refusal(`${'a'.repeat(1_000_000)}\n`).message, /at most 200 characters/)
  assert.equal(parseTaggingFile(Buffer.from("\ufeffa\n  x is 'y'\n"), 'f', 'f')[0]!.label, 'a')
})

interface Prepared {
  readonly rules: RulesPlugin['rules']
  readonly warnings: readonly string[]
}

async function prepared(file: string | undefined, dataTypes: readonly string[]): Promise<Prepared> {
  const warnings: string[] = []
  const context = { base: folder, dataTypes, warn: (message: string) => warnings.push(message) }
  const work = await tagging.prepare(
    tagging.options.parse(file === undefined ? {} : { file }),
    context as never as PluginContext,
  )
  const plugin = tagging.start(work)
  assert.equal(plugin.shape, 'rules')
  return { rules: (plugin as RulesPlugin).rules, warnings }
}

test('without a file: the shipped rules of the data types that are there', async () => {
  const flows = await prepared(undefined, ['aws:vpcflow:entry'])
  assert.ok(flows.rules.length >= 5 && flows.rules.every(({ expression }) => expression.includes('aws:vpcflow:entry')))
  const both = await prepared(undefined, ['fs:stat', 'aws:cloudtrail:entry'])
  assert.ok(both.rules.some(({ rule }) => rule.startsWith('macos/autorun')))
  assert.ok(both.rules.some(({ rule }) => rule.startsWith('aws/root_use')))
  assert.deepEqual([flows.warnings, both.warnings], [[], []])
  const none = await prepared(undefined, ['json:line'])
  assert.deepEqual(none.rules, [])
  assert.match(none.warnings[0]!, /No shipped rule is about .*json:line/)
})

test('with a file or the name of a shipped one; what is slow or matches nothing is said', async () => {
  const linux = await prepared('linux', [])
  assert.deepEqual(
    linux.rules.map(({ rule }) => rule),
    shippedRules('linux').map(({ rule }) => rule),
  )
  writeFileSync(join(folder, 'mine.txt'), "a\n  body regexp 'x'\n  message contains 'x'\nb\n  hostname is 'x'\n")
  const { rules, warnings } = await prepared('mine.txt', [])
  assert.deepEqual(
    rules.map(({ label, rule, mode }) => [label, rule, mode]),
    [
      ['a', 'mine/a', 'plaso'],
      ['a', 'mine/a/2', 'plaso'],
      ['b', 'mine/b', 'plaso'],
    ],
  )
  assert.deepEqual(warnings, [
    'mine.txt, line 3: a rule of a can match nothing: one of its conditions can never hold',
    'Of 3 rules 1 event by event and not by columns: mine.txt, line 2',
  ])
  assert.deepEqual(tagging.describe!({ file: 'mine.txt' }, folder), [
    'mine.txt: 3 rules of 2 labels, 1 event by event and not by columns: mine.txt, line 2',
  ])
  const shipped = tagging.describe!({}, folder)
  assert.equal(shipped.length, 4)
  for (const line of shipped) assert.match(line, /^rules\/\w+\.txt: \d+ rules of \d+ labels, all by columns$/)
  writeFileSync(join(folder, 'empty.txt'), '# nothing\n')
  await assert.rejects(prepared('empty.txt', []), { code: 'E_RULE_SET' })
  await assert.rejects(prepared('absent.txt', []), { code: 'E_RULE_SET' })
  await assert.rejects(prepared('.', []), { code: 'E_RULE_SET' })
})
