/** `sync export`, `ack`, `state` and `runs` as commands, under the original's name and in its forms of options too. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { inTemporary, jsonLines, runColdtrail } from './runColdtrail.ts'

interface Exported {
  readonly result: string
  readonly files: readonly string[]
  readonly bundle: { readonly kind: string; readonly seq: number; readonly name: string }
}

async function site(directory: string, name: string) {
  const cwd = join(directory, name)
  mkdirSync(cwd)
  writeFileSync(join(cwd, 'coldtrail.yaml'), `site: ${name}\n`)
  const run = async (...args: string[]) => runColdtrail(args, { cwd })
  const ok = async (...args: string[]) => {
    const outcome = await run(...args)
    assert.equal(outcome.status, 0, `${args.join(' ')}: ${outcome.stderr}`)
    return outcome.stdout
  }
  const json = async (...args: string[]) => jsonLines(await ok(...args, '--json'))
  return { cwd, run, ok, json }
}

test('P04, P06–P08, P12, P13: the original’s command and options; the transfer directory is the default', async () => {
  await inTemporary(async (directory) => {
    const low = await site(directory, 'low')
    assert.equal((await low.run('sync', 'export')).status, 2, 'without data there is nothing to export')
    assert.ok(!existsSync(join(low.cwd, 'coldtrail-data')))
    writeFileSync(join(low.cwd, 'list.txt'), 'evil.example.com\n192.0.2.7\n')
    await low.ok('library', 'import', 'list.txt', '--source', 'desk')
    const [first] = (await low.json('threatq:sync-export')) as unknown as [Exported]
    assert.equal(first.files[0], join(low.cwd, 'coldtrail-data', 'agds_transfer', `${first.bundle.name}.tar.gz`))
    const target = join(directory, 'usb')
    await low.ok('threatq:sync-export', `--target=${target}`, '--object-limit=50000', '--memory-limit=4G')
    await low.ok(
      'sync',
      'export',
      '--target=below',
      '--start-date=2018-01-01 00:00:00',
      '--end-date=2018-01-02 00:00:00',
    )
    assert.ok(readdirSync(join(low.cwd, 'coldtrail-data', 'agds_transfer', 'below')).some((n) => n.endsWith('.tar.gz')))
    for (const wrong of [
      ['--include-deleted=perhaps'],
      ['--tlp', 'purple'],
      ['--ignore-file-types', 'No Such Type'],
      ['--start-date', '2020-01-02', '--end-date', '2020-01-01'],
      ['--full', '--delta'],
      ['--full', '--start-date', '2020-01-02'],
      ['--audience', 'No Site'],
      ['--where', 'value =='],
      ['--delta'],
    ])
      assert.equal((await low.run('sync', 'export', ...wrong)).status, 2, wrong.join(' '))
  })
})

test('two sites: export, import, the same digest, acknowledgement, delta', async () => {
  await inTemporary(async (directory) => {
    const [low, high] = [await site(directory, 'low'), await site(directory, 'high')]
    const usb = join(directory, 'usb')
    writeFileSync(join(low.cwd, 'list.txt'), 'evil.example.com\n192.0.2.7\n')
    await low.ok('library', 'import', 'list.txt', '--source', 'desk', '--tlp', 'green')
    const [first] = (await low.json('sync', 'export', '--target', usb)) as unknown as [Exported]
    await high.ok('sync', 'import', `--file=${first.files[0]}`)
    assert.equal(await low.ok('sync', 'state', '--json'), await high.ok('sync', 'state', '--json'))
    writeFileSync(join(usb, 'low.state'), await low.ok('sync', 'state', '--keys'))
    assert.match(await high.ok('sync', 'state', '--against', join(usb, 'low.state')), /^identical with low/)
    await high.ok('sync', 'ack', '--target', usb)
    const ack = join(usb, `${first.bundle.name}-ack.json`)
    assert.match(await low.ok('sync', 'ack', '--file', ack), /Both sites hold the same/)
    await low.ok('library', 'delete', 'evil.example.com')
    const differ = await high.run('sync', 'state', '--against', join(usb, 'low.state'), '--json')
    assert.equal(differ.status, 0, 'the file is of before')
    const [second] = (await low.json('sync', 'export', '--target', usb)) as unknown as [Exported]
    assert.deepEqual([second.bundle.kind, second.bundle.seq], ['delta', 2])
    await high.ok('sync', 'import', `--file=${second.files[0]}`)
    assert.equal(await low.ok('sync', 'state', '--json'), await high.ok('sync', 'state', '--json'))
    const against = await high.run('sync', 'state', '--against', join(usb, 'low.state'))
    assert.equal(against.status, 1)
    assert.match(against.stdout, /only there\s+indicators/)
    const runs = await low.json('sync', 'runs')
    assert.deepEqual(
      runs.map((run) => [run.type, run.state]),
      [
        ['export', 'finished'],
        ['export', 'finished'],
      ],
    )
    const [details] = await low.json('sync', 'runs', String(runs[1]!.run))
    assert.deepEqual((details as unknown as { bundle: { acknowledged: string[] } }).bundle.acknowledged, ['high'])
  })
})
