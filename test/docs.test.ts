/** The generated pages and the declarations say the same, both ways. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { COMMANDS } from '../src/cli/commands.ts'
import { createProgram } from '../src/cli/program.ts'
import { ERRORS, EXIT, EXIT_MEANING } from '../src/core/errors.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const sources = globSync('{src,scripts}/**/*.{ts,mjs,sh}', { cwd: root })

test('the generated files are those that npm run gen writes', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/gen.ts', '--check'], { cwd: root, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
})

test('every error code in the program is in the table and on the page, and the other way round', () => {
  const page = new Set([...read('docs/reference/errors.md').matchAll(/^\| `(E_[A-Z0-9_]+)`/gm)].map((m) => m[1]!))
  const table = new Set(Object.keys(ERRORS))
  assert.deepEqual(page, table)
  const used = new Set(
    sources
      .filter((path) => path !== 'src/core/errors.ts')
      .flatMap((path) => [...read(path).matchAll(/\bE_[A-Z0-9]+(?:_[A-Z0-9]+)*\b/g)].map((match) => match[0])),
  )
  assert.deepEqual(
    [...table].filter((code) => !used.has(code) && !['E_INTERNAL'].includes(code)),
    [],
    'never thrown',
  )
})

test('every row has a text, a hint and an exit status with a meaning', () => {
  const statuses = new Set<number>(Object.values(EXIT))
  assert.equal(statuses.size, Object.keys(EXIT_MEANING).length)
  for (const [code, { text, hint, exit }] of Object.entries(ERRORS)) {
    assert.ok(text.length > 5 && hint.length > 5, code)
    assert.ok(statuses.has(exit), code)
  }
})

test('links between the pages lead somewhere', () => {
  const broken = ['README.md', ...globSync('docs/**/*.md', { cwd: root })].flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)]
      .filter((match) => !existsSync(join(root, dirname(page), match[1]!)))
      .map((match) => `${page}: ${match[1]}`),
  )
  assert.deepEqual(broken, [])
})

test('what the parity tables and the threat model name as a proof is there, and says so', () => {
  const pages = ['docs/parity.md', 'docs/how-to/sync-threats.md']
  const missing = pages.flatMap((page) =>
    [...read(page).matchAll(/`(test\/[^`]+)`/g)]
      .filter((match) => !existsSync(join(root, match[1]!)))
      .map((match) => `${page}: ${match[1]}`),
  )
  assert.deepEqual(missing, [])
  const threats = read('docs/how-to/sync-threats.md')
  // `file` “words of its title”, “more of them”
  const cited = [...threats.matchAll(/`(test\/[^`]+)` ((?:“[^”]+”(?:, )?)+)/g)].flatMap(([, path, titles]) =>
    [...titles!.matchAll(/“([^”]+)”/g)].map((match) => ({ path: path!, title: match[1]! })),
  )
  assert.ok(cited.length >= 40)
  assert.deepEqual(
    cited.filter(({ path, title }) => !read(path).includes(title)),
    [],
  )
  const ids = (prefix: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `${prefix}${String(i + 1).padStart(prefix === 'S' ? 1 : 2, '0')}`)
  const unnamed = (page: string, wanted: readonly string[]): string[] =>
    wanted.filter((id) => !new RegExp(`^\\|.*\\b${id}\\b.*\\|$`, 'm').test(page))
  assert.deepEqual(unnamed(threats, [...ids('S', 10), ...ids('L', 20)]), [])
  const lines = [...read('docs/parity.md').matchAll(/^\| ([PL]\d\d) \|/gm)].map((match) => match[1])
  assert.deepEqual(lines, [...ids('P', 46), ...ids('L', 20)])
})

test('every ./coldtrail line of the guides is accepted by the parser', async () => {
  const guides = ['README.md', ...globSync('docs/how-to/*.md', { cwd: root })]
  const blocks = guides.flatMap((page) => [...read(page).matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)].map((m) => m[1]!))
  const lines = blocks.flatMap((block) => [...block.matchAll(/\.\/coldtrail (.*)$/gm)].map((match) => match[1]!))
  assert.ok(lines.length >= 10)
  for (const line of lines) {
    const program = createProgram('0.0.0', COMMANDS, async () => undefined)
    const command = line
      .replace(/ #.*$/, '')
      .replace(/\$\([^)]*\)/g, 'FILE')
      .replace(/ > [\w.-]+$/, '')
    const words = [...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? match[3]!)
    await assert.doesNotReject(program.parseAsync(words, { from: 'user' }), line)
  }
})
