/** `sync export`, `ack`, `state` and `runs` as commands, under the original's name and in its forms of options too. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { inTemporary, jsonLines, runCommand } from './runColdtrail.ts'

interface Exported {
  readonly result: string
  readonly files: readonly string[]
  readonly bundle: { readonly kind: string; readonly seq: number; readonly name: string }
}

async function site(directory: string, name: string) {
  const cwd = join(directory, name)
  mkdirSync(cwd)
  writeFileSync(join(cwd, 'coldtrail.yaml'), `site: ${name}\n`)
  const run = async (...args: string[]) => runCommand(args, { cwd })
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
      ['--expires', '2020-01-01'],
      ['--object-limit', '50001'],
      ['--memory-limit', '0'],
      ['--split-size', '1K'],
      ['--encrypt-to', 'age1nobody'],
    ])
      assert.equal((await low.run('sync', 'export', ...wrong)).status, 2, wrong.join(' '))
    const small = await low.run('sync', 'export', '--memory-limit', '10M')
    assert.equal(small.status, 1, 'no process is that small')
    assert.match(small.stderr, /E_SYNC_MEMORY/)
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

test('L20, S3, S5: --sign, --encrypt-to, --split-size, --expires: carried in any order, complete, to whom it is meant for', async () => {
  await inTemporary(async (directory) => {
    const [low, high] = [await site(directory, 'low'), await site(directory, 'high')]
    const list = Array.from({ length: 8_000 }, (_, i) => `${(i * 2_654_435_761).toString(16)}.example.com\n`).join('')
    writeFileSync(join(low.cwd, 'list.txt'), list)
    await low.ok('library', 'import', 'list.txt', '--source', 'desk')
    const { privateKey } = generateKeyPairSync('ed25519')
    writeFileSync(join(directory, 'second.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const identity = await generateIdentity()
    writeFileSync(join(directory, 'identity.txt'), `${identity}\n`)
    const usb = join(directory, 'usb')
    const make = async (...more: string[]) => {
      const options = [
        '--target',
        usb,
        '--sign',
        join(directory, 'second.pem'),
        '--split-size',
        '64K',
        '--full',
        ...more,
      ]
      return ((await low.json('sync', 'export', ...options)) as unknown as [Exported])[0]
    }
    const recipient = ['--encrypt-to', await identityToRecipient(identity)]
    const [first, other] = [await make(...recipient), await make(...recipient)]
    assert.ok(first.files.length >= 3, `${first.files.length} parts`)

    // Under any names, in any order, in another folder.
    const stick = join(directory, 'stick')
    mkdirSync(stick)
    const carry = (file: string, as = basename(file)) => copyFileSync(file, join(stick, as))
    const opened = ['--identity', join(directory, 'identity.txt')]
    const take = (part: string, ...more: string[]) =>
      high.run('sync', 'import', `--file=${join(stick, part)}`, ...opened, ...more)
    const [one, two, ...rest] = first.files as [string, string, ...string[]]
    for (const file of [...rest, one]) carry(file)
    const missing = await take(basename(one))
    assert.equal(missing.status, 9)
    assert.match(missing.stderr, /1 are missing: 2/)
    carry(other.files[1]!, basename(two))
    const mixed = await take(basename(one))
    assert.equal(mixed.status, 9)
    assert.match(mixed.stderr, /part of another bundle/)
    carry(two)
    const sealed = await high.run('sync', 'import', `--file=${join(stick, basename(one))}`)
    assert.equal(sealed.status, 9)
    assert.match(sealed.stderr, /E_BUNDLE_ENCRYPTED/)
    const [verified] = (await high.json('sync', 'verify', join(stick, basename(two)), ...opened)) as unknown as [
      { signers: string[]; parts: number; encrypted: boolean },
    ]
    assert.deepEqual([verified.parts, verified.encrypted], [first.files.length, true])
    assert.equal(verified.signers.length, 2)
    const done = await take(basename(rest.at(-1)!))
    assert.equal(done.status, 0, done.stderr)
    assert.equal(await low.ok('sync', 'state', '--json'), await high.ok('sync', 'state', '--json'))
    rmSync(stick, { recursive: true })

    const brief = await make('--expires', '2100-01-01 00:00:00')
    const [timed] = (await high.json('sync', 'verify', brief.files[0]!)) as unknown as [{ expires: string }]
    assert.equal(timed.expires, '2100-01-01T00:00:00.000Z')
  })
})
