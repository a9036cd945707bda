import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { COMMANDS } from '../../src/cli/commands.ts'
import { type Chosen, createProgram } from '../../src/cli/program.ts'
import { inTemporary, jsonLines, LAUNCHER, runColdtrail } from './runColdtrail.ts'

/** Words as a shell would split them; examples use no more of it than quotes. */
const words = (line: string): string[] =>
  [...line.matchAll(/(?:"(?:\\.|[^"])*"|'[^']*'|[^\s"'])+/g)].map(([word]) =>
    word.replace(/"((?:\\.|[^"])*)"|'([^']*)'/g, (_, double?: string, single?: string) =>
      double === undefined ? single! : double.replace(/\\(.)/g, '$1'),
    ),
  )

for (const command of COMMANDS) {
  test(`${command.name}: has examples, and each is accepted by the parser`, async () => {
    assert.ok(command.examples.length > 0)
    for (const { line, note } of command.examples) {
      assert.ok(note.length > 0)
      let chosen: Chosen | undefined
      const program = createProgram('0.0.0', COMMANDS, async (found) => {
        chosen = found
      })
      await program.parseAsync(words(line.replace(/ [|>].*$/, '')), { from: 'user' })
      assert.equal(chosen?.command.name, command.name, line)
    }
  })
}

test('options behind the name of a command below another one are its own', async () => {
  const parsed = async (...line: string[]): Promise<Chosen> => {
    let chosen: Chosen | undefined
    const program = createProgram('0.0.0', COMMANDS, async (found) => {
      chosen = found
    })
    await program.parseAsync(line, { from: 'user' })
    return chosen!
  }
  for (const name of ['status', 'retry', 'check']) {
    const { command, options } = await parsed('forward', name, '--destination', 'a', '--json', '--destination', 'b')
    assert.deepEqual([command.name, options.destination], [`forward ${name}`, ['a', 'b']])
  }
  assert.equal((await parsed('forward', 'table', '--destination', 'a')).options.destination, 'a')
  assert.deepEqual((await parsed('forward', '--destination', 'a')).options.destination, ['a'])
  for (const line of ['status --follow', 'retry --where x', 'table --dry-run', 'check --from -7d'])
    await assert.rejects(parsed('forward', ...line.split(' ')), { code: 'commander.unknownOption' }, line)
})

test('a word too many is refused by every command: the second file of a pattern must not be passed over', async () => {
  for (const { name, arguments: given = [], options } of COMMANDS) {
    if (given.some((argument) => argument.name.includes('…'))) continue
    const needed = Object.entries(options).flatMap(([, option]) =>
      (option as { required?: boolean }).required ? ['x'] : [],
    )
    const line = [...name.split(' '), ...given.map(() => 'x'), ...needed, 'extra']
    const program = createProgram('0.0.0', COMMANDS, async () => undefined)
    await assert.rejects(program.parseAsync(line, { from: 'user' }), /too many arguments|unknown command/, name)
  }
})

test('help names every command, and the launcher works through links and from anywhere', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'node_modules/.bin'), { recursive: true })
    symlinkSync(LAUNCHER, join(cwd, 'direct'))
    symlinkSync('../../direct', join(cwd, 'node_modules/.bin/coldtrail'))
    const { status, stdout, stderr } = await runColdtrail(['--help'], {
      cwd,
      launcher: join(cwd, 'node_modules/.bin/coldtrail'),
    })
    assert.equal(status, 0, stderr)
    for (const command of COMMANDS) assert.ok(stdout.includes(command.name.split(' ')[0]!))
    assert.equal(stdout.match(/--json {2,}/g)?.length, 1, 'each option is listed once')
    assert.equal(stderr, '')
  }))

test('help of a command has defaults, examples and exit statuses', () =>
  inTemporary(async (cwd) => {
    const { status, stdout } = await runColdtrail(['source', 'list', '--help'], { cwd })
    assert.equal(status, 0)
    for (const part of [
      'Examples:',
      './coldtrail source list',
      'Exit status:',
      '130  Interrupted',
      '--endpoint <URL>',
    ]) {
      assert.ok(stdout.includes(part), part)
    }
  }))

test('no option says two defaults', () => {
  const program = createProgram('0.0.0', COMMANDS, async () => undefined)
  for (const command of COMMANDS) {
    const words = command.name.split(' ')
    const parser = words.reduce((above, word) => above.commands.find((below) => below.name() === word)!, program)
    const options = parser.helpInformation().split(/\n {2}(?=-)/)
    assert.ok(options.length > 5)
    for (const option of options) assert.ok((option.match(/default/g)?.length ?? 0) <= 1, option)
  }
})

test('what is mistyped is refused with the nearest name and status 2', () =>
  inTemporary(async (cwd) => {
    const mistyped = [
      [['docter'], 'doctor'],
      [['source', 'lst', 'x'], 'list'],
      [['doctor', '--jsno'], '--json'],
      [['forward', 'stauts'], 'status'],
      [['forward', 'chek', '--destination', 'x'], 'check'],
      [['forward', 'status', '--dead-leters'], '--dead-letters'],
    ] as const
    for (const [args, meant] of mistyped) {
      const { status, stdout, stderr } = await runColdtrail(args, { cwd })
      assert.deepEqual([status, stdout], [2, ''])
      assert.ok(stderr.includes(`Did you mean ${meant}?`), stderr)
      assert.ok(stderr.includes('hint: '), stderr)
    }
  }))

test('with --json an error is one object on standard error', () =>
  inTemporary(async (cwd) => {
    const { status, stdout, stderr } = await runColdtrail(['source', 'list', 'ftp://x', '--json'], { cwd })
    const [error, ...more] = jsonLines(stderr)
    assert.deepEqual([status, stdout, more], [error?.exit, '', []])
    assert.deepEqual([error?.type, error?.code], ['error', 'E_SOURCE_URI'])
    const missing = await runColdtrail(['source', '--json'], { cwd })
    assert.equal(jsonLines(missing.stderr)[0]?.code, 'E_USAGE')
    assert.equal(missing.status, 2)
  }))

test('a value from outside cannot steer the terminal', () =>
  inTemporary(async (cwd) => {
    const { stderr } = await runColdtrail(['source', 'list', 'ftp://\u001b]0;x\u0007\u202e'], { cwd })
    assert.doesNotMatch(stderr, /[\u001b\u0007\u202e]/)
  }))
