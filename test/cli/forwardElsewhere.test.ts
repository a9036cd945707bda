/** `coldtrail forward` to files and webhooks, as a person runs it: what arrives is what `search --json` prints. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { startIngestionServer } from '../../src/demo/ingestionServer.ts'
import { inTemporary, jsonLines, runColdtrail } from './runColdtrail.ts'

const FIXTURES = join(import.meta.dirname, '../fixtures/formats/aws_cloudtrail')

test('events arrive in files and at a webhook as search prints them, and a second run sends nothing', async (t) => {
  const server = await startIngestionServer()
  t.after(() => server.close())
  await inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    for (const name of ['identities.json', 'errors.json', 'unicode.json', 'escapes.json', 'pretty_printed.json'])
      cpSync(join(FIXTURES, name), join(cwd, 'logs', name))
    const config = [
      'sources: [{name: logs, type: directory, path: logs}]',
      'destinations:',
      '  - {name: archive, type: file, path: "out/trail-*.json", compression: gzip}',
      '  - name: hook',
      '    type: http',
      `    url: ${server.endpoint}/hook/in?token=\${TOKEN}`,
      '    headers: {Authorization: "Bearer ${TOKEN}"}',
      '    where: "status == \'Failure\'"',
    ]
    writeFileSync(join(cwd, 'coldtrail.yaml'), `${config.join('\n')}\n`)
    const secret = 'hunter2hunter2'
    const told: string[] = []
    const run = async (...args: string[]): Promise<string> => {
      const ended = await runColdtrail(args, { cwd, environment: { TOKEN: secret } })
      assert.equal(ended.status, 0, ended.stderr)
      told.push(ended.stdout, ended.stderr)
      return ended.stdout
    }
    await run('collect')
    await run('forward', 'check', '--json')
    assert.equal(server.received.size, 0, 'check sends no event')
    await run('forward', '--json')
    const sorted = (text: string): string[] =>
      text
        .split('\n')
        .filter((line) => line !== '')
        .sort()
    const found = sorted(await run('search', '--json')).filter((line) => !line.startsWith('{"type":"completeness"'))
    const names = readdirSync(join(cwd, 'out')).filter((name) => !name.startsWith('.'))
    assert.match(names.join(), /^trail-\d{8}T\d{6}Z-000001\.json\.gz$/)
    assert.ok(found.length > 10)
    assert.deepEqual(sorted(gunzipSync(readFileSync(join(cwd, 'out', names[0]!))).toString()), found)
    const failures = jsonLines(await run('search', "status == 'Failure'", '--json')).filter(({ type }) => !type)
    const { rows } = server.received.get('/hook/in')!
    const byId = (a: { id?: unknown }, b: { id?: unknown }) => Number(a.id) - Number(b.id)
    assert.ok(failures.length > 0)
    assert.deepEqual([...rows].sort(byId), failures.sort(byId))

    await run('forward')
    assert.equal(rows.length, failures.length)
    assert.equal(readdirSync(join(cwd, 'out')).filter((name) => !name.startsWith('.')).length, 1)
    await run('forward', 'status', '--json')
    assert.ok(!told.join('').includes(secret), 'the secret is shown nowhere')

    const wrong = await runColdtrail(['forward', '--destination', 'archiv'], { cwd, environment: { TOKEN: secret } })
    assert.equal(wrong.status, 2)
    assert.match(wrong.stderr, /no destination archiv.*Did you mean archive\?/s)
  })
})
