import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { loadSite } from '../../src/sync/siteKeys.ts'
import { sampleBundle, sampleSite, scratchPlace } from '../support/sampleBundle.ts'
import { inTemporary, jsonLines, runCommand } from './runColdtrail.ts'

test('sync keys: made at first use, rotated, given to another site, revoked there', () =>
  inTemporary(async (cwd) => {
    const run = async (...args: string[]) => {
      const outcome = await runCommand(['sync', 'keys', ...args, '--json'], { cwd })
      assert.equal(outcome.status, 0, outcome.stderr)
      return jsonLines(outcome.stdout)
    }
    const [own] = await run('list')
    assert.deepEqual([own!.origin, own!.signs, own!.site], ['own', true, own!.key])
    const [next] = await run('rotate', '--overlap-days', '7')
    assert.notEqual(next!.key, own!.key)
    assert.equal(next!.site, own!.key, 'the site keeps its name')
    const days = (Date.parse((await run())[0]!.valid_until as string) - Date.now()) / 86_400_000
    assert.ok(days > 6.9 && days <= 7, String(days))

    const other = loadSite(join(cwd, 'other'), 'low')
    const file = join(cwd, 'other/keys', `site-${other.signer.id}.pub`)
    const [trusted] = await run('trust', 'low', file)
    assert.deepEqual([trusted!.site, trusted!.key, trusted!.origin], ['low', other.signer.id, 'given'])
    await run('revoke', other.signer.id)
    assert.equal((await run()).find(({ site }) => site === 'low')!.revoked, true)
    assert.deepEqual((await run('revoke', own!.key as string))[0]!.sites, [own!.key])

    const text = await runCommand(['sync', 'keys', 'list'], { cwd })
    assert.match(text.stdout, new RegExp(`low +${other.signer.id} +given +revoked`))
    assert.match(text.stderr, new RegExp(`Public key of this site: .*site-${next!.key}\\.pub`))
    for (const wrong of [
      ['turn'],
      ['trust', 'low'],
      ['trust', 'Low', file],
      ['revoke', 'x'],
      ['revoke', next!.key as string],
    ])
      assert.equal((await runCommand(['sync', 'keys', ...wrong], { cwd })).status, 2, wrong.join(' '))
    assert.equal((await runCommand(['sync', 'keys', 'trust', 'low', 'nothing.pub'], { cwd })).status, 1)
  }))

test('sync verify: what a sound bundle is, in one line of JSON; nothing is made; a damaged one ends with status 9', () =>
  inTemporary(async (cwd) => {
    const place = scratchPlace()
    const { files } = await sampleBundle(place, { site: sampleSite(), finish: { target: join(cwd, 'usb') } })
    const verify = (...args: string[]) => runCommand(['sync', 'verify', files[0]!, ...args], { cwd })
    const { status, stdout, stderr } = await verify('--json')
    assert.equal(status, 0, stderr)
    const [found] = jsonLines(stdout)
    assert.deepEqual(
      [found!.type, found!.site, found!.kind, found!.seq, found!.first_of_site, found!.totals],
      [
        'verified',
        'plant-a',
        'full',
        1,
        true,
        { blobs: 1, bytes: found!.totals && (found!.totals as { bytes: number }).bytes, deleted: 1, rows: 4 },
      ],
    )
    assert.deepEqual(readdirSync(cwd), ['usb'], 'looking makes nothing')
    const text = await verify()
    assert.match(
      text.stdout,
      /^sound {2}tqSync-19-01-16-1547660837-8345\n {2}full bundle 1 of site plant-a, for any site/,
    )
    assert.match(text.stdout, /This site is unknown here: an import would pin that key/)

    writeFileSync(join(cwd, 'coldtrail.yaml'), 'sync: {trust: listed_only}\n')
    const unlisted = await verify('--json')
    assert.deepEqual([unlisted.status, JSON.parse(unlisted.stderr).code], [9, 'E_BUNDLE_KEY'])
    const id = (found!.signers as string[])[0]!
    assert.equal((await verify('--trust', id)).status, 0)
    writeFileSync(join(cwd, 'coldtrail.yaml'), `sync: {trust: listed_only, keys: {plant-a: ['${id}']}}\n`)
    assert.equal((await verify()).status, 0)

    const bytes = readFileSync(files[0]!)
    bytes[bytes.length - 300]! ^= 1
    writeFileSync(files[0]!, bytes)
    const damaged = await verify('--json')
    assert.equal(damaged.status, 9)
    const { code, values } = JSON.parse(damaged.stderr)
    assert.equal(code, 'E_BUNDLE_DAMAGED')
    assert.equal(typeof values.offset, 'number')
    assert.ok(!existsSync(join(cwd, 'coldtrail-data')))
  }))

test('sync verify of an encrypted bundle in parts, with the identity of the configuration, from the transfer directory', () =>
  inTemporary(async (cwd) => {
    const identity = await generateIdentity()
    const transfer = join(cwd, 'coldtrail-data/agds_transfer')
    mkdirSync(transfer, { recursive: true })
    writeFileSync(join(cwd, 'key.txt'), `${identity}\n`)
    writeFileSync(join(cwd, 'coldtrail.yaml'), 'sync: {identity: key.txt}\n')
    const finish = { recipients: [await identityToRecipient(identity)], splitSize: 65_536, target: transfer }
    await sampleBundle(scratchPlace(), { finish, indicators: 5_000 })
    const name = 'tqSync-19-01-16-1547660837-8345.tar.gz.age'
    const { status, stdout, stderr } = await runCommand(['sync', 'verify', name, '--json'], { cwd })
    assert.equal(status, 0, stderr)
    const [found] = jsonLines(stdout)
    assert.equal(found!.encrypted, true)
    assert.ok((found!.parts as number) > 1)
    writeFileSync(join(cwd, 'coldtrail.yaml'), '')
    const locked = await runCommand(['sync', 'verify', name, '--json'], { cwd })
    assert.deepEqual([locked.status, JSON.parse(locked.stderr).code], [9, 'E_BUNDLE_ENCRYPTED'])
  }))

test('S5: an encrypted bundle is decrypted within the data directory, and a crash leaves nothing there', () =>
  inTemporary(async (cwd) => {
    const identity = await generateIdentity()
    writeFileSync(join(cwd, 'key.txt'), `${identity}\n`)
    const finish = { recipients: [await identityToRecipient(identity)] }
    const { files } = await sampleBundle(scratchPlace(), { finish })
    const scratch = join(cwd, 'coldtrail-data/library/scratch')
    mkdirSync(scratch, { recursive: true })
    // As a process leaves it that died at its first moment; and as one has it that runs.
    const ended = spawnSync('true').pid
    for (const owner of [ended, process.pid]) writeFileSync(join(scratch, `.bundle-${owner}-0011223344556677`), '')
    const given = { cwd, environment: { TMPDIR: join(cwd, 'nowhere') } }
    for (const command of [
      ['sync', 'verify', files[0]!],
      ['sync', 'import', `--file=${files[0]!}`],
    ]) {
      const { status, stderr } = await runCommand([...command, '--identity', 'key.txt'], given)
      assert.equal(status, 0, stderr)
      assert.deepEqual(readdirSync(scratch), [`.bundle-${process.pid}-0011223344556677`])
    }
  }))
