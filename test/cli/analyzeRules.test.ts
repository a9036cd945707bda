/** Rules from files to tags and findings, by the command. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { inTemporary, jsonLines, runCommand } from './runColdtrail.ts'

const LINES = [
  'Mar 10 06:25:01 host1 sshd[7]: Failed password for root from 198.51.100.4 port 41000 ssh2',
  'Mar 10 06:25:02 host1 sshd[7]: Accepted password for root from 198.51.100.4 port 41001 ssh2',
  'Mar 10 06:25:03 host1 useradd[9]: new user: name=mallory, UID=1002',
]
const FIXTURES = join(import.meta.dirname, '../fixtures/plugins')

test('tagging files and Sigma rules: shipped ones, plaso rules with and without SQL, tags in rules, findings, refusals', () =>
  inTemporary(async (cwd) => {
    const ok = async (...line: string[]) => {
      const { status, stdout, stderr } = await runCommand([...line, '--json'], { cwd })
      assert.equal(status, 0, stderr)
      return { rows: jsonLines(stdout), stderr }
    }
    const tags = async () =>
      Object.fromEntries(
        (await ok('values', 'tag')).rows.filter(({ value }) => value).map(({ value, count }) => [value, count]),
      )
    mkdirSync(join(cwd, 'logs'))
    writeFileSync(join(cwd, 'logs/auth.log'), `${LINES.join('\n')}\n`)
    await ok('collect', 'logs')
    await ok('analyze', '--plugins', 'tagging')
    const shipped = { login: 1, login_failed: 1, useradd: 1 }
    assert.deepEqual(await tags(), shipped)

    // The first has a condition, the second none, the third asks for what the run before said.
    const rules = `root_line\n  data_type is 'syslog:line' and api_service_name contains 'ssh'
by_regexp\n  device_hostname regexp 'host[0-9]' and api_service_name is 'useradd'
login_and_tagged\n  tag contains 'login' and api_service_name is 'sshd'\n`
    writeFileSync(join(cwd, 'mine.txt'), rules)
    const { stderr } = await ok('analyze', '--plugins', 'tagging', '--tagging-file', 'mine.txt')
    assert.match(stderr, /Of 3 rules 1 event by event and not by columns: mine\.txt, line 4/)
    const both = { ...shipped, root_line: 2, by_regexp: 1, login_and_tagged: 1 }
    assert.deepEqual(await tags(), both)
    await ok('analyze', '--plugins', 'tagging', '--tagging-file', 'mine.txt')
    assert.deepEqual(await tags(), both, 'running again counts nothing twice')

    mkdirSync(join(cwd, 'sigma'))
    const body = 'logsource: {product: linux, service: sshd}\ndetection: {k: ["failed password*root"], condition: k}\n'
    writeFileSync(join(cwd, 'sigma/one.yml'), `title: Root is tried\nid: one\nlevel: high\n${body}`)
    cpSync(join(FIXTURES, 'sigma/unsupported/timeframe.yml'), join(cwd, 'sigma/two.yml'))
    const sigma = await ok('analyze', '--plugins', 'sigma', '--sigma-rules', 'sigma')
    assert.match(sigma.stderr, /sigma\/two\.yml, line 11: .*timeframe/)
    assert.equal((await tags()).sigma_root_is_tried, 1)
    const found = (await ok('findings')).rows.find(({ label }) => label === 'sigma_root_is_tried')!
    assert.deepEqual([found.rule, found.severity, found.title], ['one', 'high', 'Root is tried'])

    for (const [line, place] of [
      [
        ['--plugins', 'tagging', '--tagging-file', 'damaged.txt'],
        /damaged\.txt, line 2, column 6: a label cannot hold/,
      ],
      [
        ['--plugins', 'sigma', '--sigma-rules', 'damaged.yml'],
        /damaged\.yml, line 11, column 24: there is no search t/,
      ],
      [['--plugins', 'tagging', '--tagging-file', 'absent.txt'], /absent\.txt/],
      [['--plugins', 'sigma'], /rules of sigma/],
    ] as const) {
      cpSync(join(FIXTURES, 'tagging/refused/label_with_space.txt'), join(cwd, 'damaged.txt'))
      cpSync(join(FIXTURES, 'sigma/damaged/unknown_search.yml'), join(cwd, 'damaged.yml'))
      const { status, stderr } = await runCommand(['analyze', ...line], { cwd })
      assert.equal(status, 2, stderr)
      assert.match(stderr, place)
    }
    assert.equal((await ok('analyze', 'runs')).rows.length, 4, 'what was refused began no run')
  }))
