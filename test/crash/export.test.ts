/** Real `./coldtrail sync export` processes, killed around each file that they publish: the next one makes it good. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { inTemporary, jsonLines, runColdtrail } from '../cli/runColdtrail.ts'
import { readBundle } from '../sync/export/exportSite.ts'

/** The bundle is the first file that an export publishes; its reports are the next. */
const DEATHS = [
  'file.temp-written',
  'file.synced',
  'file.renamed',
  'file.directory-synced',
  'file.renamed:2',
  'file.directory-synced:3',
]

interface Exported {
  readonly files: readonly string[]
  readonly bundle: { readonly kind: string; readonly seq: number; readonly base_seq: number }
}

async function twoSites(directory: string) {
  const run = (cwd: string, args: readonly string[], fault?: string) =>
    runColdtrail(args, { cwd, environment: fault === undefined ? {} : { COLDTRAIL_FAULT: fault } })
  const site = (name: string) => {
    const cwd = join(directory, name)
    mkdirSync(cwd)
    writeFileSync(join(cwd, 'coldtrail.yaml'), `site: ${name}\n`)
    return async (...args: string[]) => {
      const { status, stdout, stderr } = await run(cwd, args)
      assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
      return stdout
    }
  }
  const [low, high] = [site('low'), site('high')]
  await low('library', 'add', 'indicator', 'first.example.com')
  // The key of the site is made before, so that the first file of an export is its bundle.
  await low('sync', 'keys')
  const usb = join(directory, 'usb')
  const died = async (fault: string, ...options: string[]) => {
    const { status } = await run(join(directory, 'low'), ['sync', 'export', '--target', usb, ...options], fault)
    assert.notEqual(status, 0, `${fault} was never passed`)
  }
  const exported = async (...options: string[]) =>
    jsonLines(await low('sync', 'export', '--target', usb, '--json', ...options))[0] as unknown as Exported
  return { low, high, usb, died, exported }
}

for (const first of ['full', 'delta'] as const)
  test(`an export that dies leaves no half file under a final name, and the next one is right: ${first}`, () =>
    inTemporary(async (directory) => {
      const { low, high, usb, died, exported } = await twoSites(directory)
      if (first === 'delta') await exported()
      let last: Exported | undefined
      for (const [at, fault] of DEATHS.entries()) {
        await low('library', 'add', 'indicator', `host${at}.example.com`)
        await died(fault)
        for (const name of existsSync(usb) ? readdirSync(usb) : [])
          if (name.endsWith('.tar.gz')) assert.equal((await readBundle(join(usb, name))).manifest.site, 'low')
        // A full bundle of which nobody knows whether it came to lie there is no base.
        if (at % 2 === 1) last = await exported()
      }
      const files = readdirSync(usb)
      assert.deepEqual(
        files.filter((name) => !/^tqSync-[\d-]+(\.tar\.gz|-sync-export\.(txt|json))$/.test(name)),
        [],
        'what the dead left under other names is gone',
      )
      // Only its base and the last one are carried over.
      for (const name of files.filter((name) => name.endsWith('.tar.gz'))) {
        const { seq } = (await readBundle(join(usb, name))).manifest
        if (seq === last!.bundle.base_seq) await high('sync', 'import', `--file=${join(usb, name)}`)
      }
      await high('sync', 'import', `--file=${last!.files[0]}`)
      assert.equal(await high('sync', 'state', '--json'), await low('sync', 'state', '--json'))
      const runs = jsonLines(await low('sync', 'runs', '--json'))
      assert.deepEqual(
        runs.filter((run) => run.died).map((run) => run.run),
        [],
      )
      assert.deepEqual(readdirSync(join(directory, 'low/coldtrail-data/library/exports')), [])
    }))

test('an export that dies between two parts: the parts say what is missing, the next export is whole', () =>
  inTemporary(async (directory) => {
    const { low, high, usb, died, exported } = await twoSites(directory)
    const list = Array.from({ length: 8_000 }, (_, i) => `${(i * 2_654_435_761).toString(16)}.example.com\n`).join('')
    writeFileSync(join(directory, 'list.txt'), list)
    await low('library', 'import', join(directory, 'list.txt'), '--source', 'desk')
    await died('file.renamed:2', '--split-size', '64K')
    const parts = readdirSync(usb).filter((name) => /\.part\d+$/.test(name))
    assert.equal(parts.length, 2)
    const refused = await runColdtrail(['sync', 'verify', join(usb, parts[0]!)], { cwd: directory })
    assert.equal(refused.status, 9)
    assert.match(refused.stderr, /are missing: 3/)
    const whole = await exported('--split-size', '64K')
    assert.equal(whole.bundle.kind, 'full')
    assert.ok(whole.files.length > 2)
    await high('sync', 'import', `--file=${whole.files.at(-1)}`)
    assert.equal(await high('sync', 'state', '--json'), await low('sync', 'state', '--json'))
  }))
