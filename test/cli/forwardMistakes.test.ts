/** What `forward` and its commands say to a configuration that changed, or was never right. */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type IngestionServer, startIngestionServer } from '../../src/demo/ingestionServer.ts'
import { inTemporary, jsonLines, type Outcome, runCommand } from './runColdtrail.ts'

let receiver: IngestionServer
before(async () => {
  receiver = await startIngestionServer()
})
after(() => receiver.close())

test('a fault in the configuration is said with the destination and the value', () =>
  withData(async (coldtrail, configure) => {
    configure('{name: hook, type: http, url: URL, where: "status = 1"}')
    for (const line of ['forward', 'forward --dry-run']) {
      const { status, stderr } = await coldtrail(line)
      assert.equal(status, 2, stderr)
      assert.match(stderr, /coldtrail\.yaml: destinations\.hook\.where is "status = 1": column 8: = is no operator\./)
    }
    const check = await coldtrail('forward check')
    assert.equal(check.status, 2, check.stdout)
    assert.match(check.stderr, /destinations\.hook\.where/)
    configure('{name: hook, type: http, url: URL, collection: mian}')
    const collection = await coldtrail('forward')
    assert.equal(collection.status, 2, collection.stdout)
    assert.match(collection.stderr, /There is no collection mian\./)
    configure('{name: hook, type: http}')
    const absent = await coldtrail('forward')
    assert.match(absent.stderr, /destinations\.0\.url is absent/)
  }))

test('who does not forward needs no secret of a destination', () =>
  withData(async (coldtrail, configure) => {
    configure(`{name: locked, type: http, url: URL, headers: {Authorization: "\${NOT_SET}"}}
  - {name: open, type: http, url: ${receiver.endpoint}/hook/open}`)
    assert.match((await coldtrail('forward status')).stdout, /^locked\n {2}nothing was forwarded yet/m)
    for (const line of ['collect logs', 'search --count', 'forward --destination open']) {
      const { status, stderr } = await coldtrail(line)
      assert.equal(status, 0, `${line}: ${stderr}`)
    }
    for (const line of ['forward', 'forward check', 'forward --destination locked', 'forward --dry-run']) {
      const { status, stderr } = await coldtrail(line)
      assert.equal(status, 2, line)
      assert.match(stderr, /coldtrail\.yaml:2:\d+: the environment has no NOT_SET, which destination locked asks for/)
    }
  }))

test('status knows destinations that are new, and those that are configured no more', () =>
  withData(async (coldtrail, configure) => {
    configure('{name: one, type: http, url: URL}')
    assert.match((await coldtrail('forward status')).stdout, /^one\n {2}nothing was forwarded yet/m)
    assert.equal((await coldtrail('forward')).status, 0)
    configure('{name: two, type: http, url: URL}')
    const { stdout } = await coldtrail('forward status')
    assert.match(stdout, /^one events of main, configured no more$/m)
    assert.match(stdout, /^two\n {2}nothing was forwarded yet/m)
    const feeds = async (...more: string[]) =>
      jsonLines((await coldtrail(['forward status --json', ...more].join(' '))).stdout).map((feed) => [
        feed.destination,
        feed.configured,
      ])
    assert.deepEqual(await feeds(), [['one', false]])
    assert.deepEqual(await feeds('--destination one'), [['one', false]])
    assert.deepEqual(await feeds('--destination two'), [])
    for (const line of ['forward status', 'forward status --dead-letters']) {
      const misspelt = await coldtrail(`${line} --destination oen`)
      assert.equal(misspelt.status, 2, misspelt.stdout)
      assert.match(misspelt.stderr, /Did you mean one\?/)
    }
  }))

test('what a feed begins with is said when it is not what was asked, or comes as a surprise', () =>
  withData(async (coldtrail, configure) => {
    configure('{name: hook, type: http, url: URL}')
    const first = await coldtrail('forward')
    assert.match(first.stdout, /^hook: 3 events accepted in 1 request/)
    assert.equal(first.stderr, '')
    const from = await coldtrail('forward --from -7d')
    assert.match(from.stderr, /goes on where it ended/)
    assert.match(from.stdout, /^hook: nothing new\.$/m)
    configure('{name: hook, type: http, url: URL, where: "user != \'nobody\'"}')
    const changed = await coldtrail('forward')
    assert.match(changed.stderr, /another selection is another feed/)
    assert.match((await coldtrail('forward --json --log-level silent')).stdout, /"events":0/)
    assert.match((await coldtrail('forward retry')).stdout, /^hook: no dead letters\.$/m)
  }))

test('a destination and tables, or --once and --follow, contradict each other', () =>
  withData(async (coldtrail, configure) => {
    configure('{name: hook, type: http, url: URL}')
    for (const line of ['forward table --destination hook --table AWSVPCFlow', 'forward --once --follow']) {
      const { status, stderr } = await coldtrail(line)
      assert.equal(status, 2)
      assert.match(stderr, /one of the two/)
    }
    const [template, ...more] = jsonLines((await coldtrail('forward table --json')).stdout)
    assert.deepEqual([Array.isArray(template?.resources), more], [true, []])
  }))

// --- internal ---

/** Three events in a data directory, and a configuration with one destination at the receiver. */
async function withData(
  use: (coldtrail: (line: string) => Promise<Outcome>, configure: (destination: string) => void) => Promise<void>,
): Promise<void> {
  await inTemporary(async (cwd) => {
    const coldtrail = (line: string) => runCommand(line.split(' '), { cwd, environment: {} })
    mkdirSync(join(cwd, 'logs'))
    writeFileSync(join(cwd, 'logs/a.jsonl'), '{"a":1}\n{"a":2}\n{"a":3}\n')
    const collected = await coldtrail('collect logs')
    assert.equal(collected.status, 0, collected.stderr)
    await use(coldtrail, (destination) => {
      const text = destination.replace('URL', `${receiver.endpoint}/hook/in`)
      writeFileSync(join(cwd, 'coldtrail.yaml'), `destinations:\n  - ${text}\n`)
    })
  })
}
