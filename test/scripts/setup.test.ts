/** The set-up of a clone, with an npm that only records that it was called: nothing is fetched. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { jsonLines, type RunOptions, runColdtrail } from '../cli/runColdtrail.ts'

const project = join(import.meta.dirname, '../..')
const made: string[] = []
after(() => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true })
})

/** A clone whose main prints its arguments, and whose npm does `npm` (sh). */
function clone(npm: string): {
  cwd: string
  run: (args?: string[]) => ReturnType<typeof runColdtrail>
  calls(): number
} {
  const cwd = mkdtempSync(join(tmpdir(), 'coldtrail-clone-'))
  made.push(cwd)
  for (const folder of ['scripts', 'src/cli', 'bin']) mkdirSync(join(cwd, folder), { recursive: true })
  for (const file of ['coldtrail', 'scripts/runtime.sh', 'scripts/setup.mjs']) {
    copyFileSync(join(project, file), join(cwd, file))
  }
  writeFileSync(join(cwd, 'src/cli/main.ts'), 'console.log(JSON.stringify(process.argv.slice(2)))\n')
  writeFileSync(
    join(cwd, 'package-lock.json'),
    JSON.stringify({ packages: { '': {}, 'node_modules/a': { version: '1' } } }),
  )
  writeFileSync(join(cwd, 'bin/npm'), `#!/bin/sh\necho called >>"${cwd}/calls"\n${npm}\n`, { mode: 0o755 })
  symlinkSync(process.execPath, join(cwd, 'bin/node'))
  const options: RunOptions = {
    cwd,
    launcher: join(cwd, 'coldtrail'),
    environment: { PATH: `${join(cwd, 'bin')}:${process.env.PATH}`, NODE_COMPILE_CACHE: join(cwd, 'cache') },
  }
  return {
    cwd,
    run: (args = []) => runColdtrail(args, options),
    calls: () => readFileSync(join(cwd, 'calls'), 'utf8').split('\n').length - 1,
  }
}

const INSTALLS = 'sleep 0.3; echo noise; mkdir -p node_modules/a'

test('the first start installs, quietly on standard output; the second does nothing', async () => {
  const { run, calls } = clone(INSTALLS)
  const first = await run(['a', 'b c'])
  assert.equal(first.stdout, '["a","b c"]\n')
  assert.match(first.stderr, /^coldtrail: first start, installing .*\n$/)
  const second = await run()
  assert.deepEqual([second.status, second.stdout, second.stderr], [0, '[]\n', ''])
  assert.equal(calls(), 1)
})

test('several processes started at once install once', async () => {
  const { run, calls } = clone(INSTALLS)
  const all = await Promise.all([run(['1']), run(['2']), run(['3'])])
  assert.deepEqual(all.map(({ stdout }) => stdout.trim()).sort(), ['["1"]', '["2"]', '["3"]'])
  assert.equal(calls(), 1)
})

test('a changed lock installs again, and a turn left by a killed process is taken over', async () => {
  const { cwd, run, calls } = clone(INSTALLS)
  await run()
  writeFileSync(join(cwd, 'package-lock.json'), JSON.stringify({ packages: { 'node_modules/a': { version: '2' } } }))
  symlinkSync('999999999', join(cwd, '.coldtrail-setup.lock'))
  assert.equal((await run()).status, 0)
  assert.equal(calls(), 2)
})

test('what npm has installed already needs no npm', async () => {
  const { cwd, run } = clone('exit 1')
  mkdirSync(join(cwd, 'node_modules/a'), { recursive: true })
  writeFileSync(
    join(cwd, 'node_modules/.package-lock.json'),
    JSON.stringify({ packages: { 'node_modules/a': { version: '1' } } }),
  )
  const { status, stderr } = await run()
  assert.deepEqual([status, stderr], [0, ''])
})

test('a failing npm is an error with its cause and a remedy, and the next start tries again', async () => {
  const { run, calls } = clone('echo "npm error network unreachable" >&2; exit 7')
  const { status, stdout, stderr } = await run()
  assert.deepEqual([status, stdout], [1, ''])
  assert.match(stderr, /npm ci ended with 7[\s\S]*network unreachable[\s\S]*E_SETUP_NPM[\s\S]*hint: /)
  const machine = await run(['--json'])
  const error = jsonLines(machine.stderr.split('\n').at(-2)!)[0]
  assert.deepEqual([error?.code, error?.exit], ['E_SETUP_NPM', 1])
  assert.equal(calls(), 2)
})

test('without any new enough Node the refusal names what was found', async () => {
  const { cwd, run } = clone(INSTALLS)
  rmSync(join(cwd, 'bin/node'))
  writeFileSync(
    join(cwd, 'bin/node'),
    `#!/bin/sh\n[ "$1" = --version ] && echo v20.0.0 && exit\nexec "${process.execPath}" "$@"\n`,
    { mode: 0o755 },
  )
  const { status, stderr } = await run()
  assert.equal(status, 1)
  assert.match(stderr, /needs Node\.js 24 or later; found v20\.0\.0.*E_SETUP_NODE/)
})
