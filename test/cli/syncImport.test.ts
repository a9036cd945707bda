/** The example commands of the specification, run as written there after `./coldtrail` (P25-P29, P40-P46). */
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { inTemporary, jsonLines, runColdtrail } from './runColdtrail.ts'

interface Exported {
  readonly files: readonly string[]
}
interface Imported {
  readonly result: string
  readonly run: string
  readonly options: Record<string, unknown>
  readonly totals: { readonly inserted: number }
}

/** Two sites in one directory, each with its configuration; the bundle lies in `imports` of the target's transfer directory. */
async function twoSites(directory: string, run: (low: Run, high: Run, file: string) => Promise<void>): Promise<void> {
  for (const site of ['low', 'high'])
    writeFileSync(join(directory, `${site}.yaml`), `site: ${site}\ndata_dir: ${site}-data\n`)
  const at =
    (site: string): Run =>
    async (args, status = 0) => {
      const cwd = join(directory, site)
      mkdirSync(cwd, { recursive: true })
      const outcome = await runColdtrail([...args, '--config', join(directory, `${site}.yaml`), '--json'], { cwd })
      assert.equal(outcome.status, status, `${args.join(' ')}: ${outcome.stdout}${outcome.stderr}`)
      const lines = jsonLines(outcome.stdout)
      return (lines.at(-1) ?? jsonLines(outcome.stderr).at(-1)) as never
    }
  const [low, high] = [at('low'), at('high')]
  writeFileSync(join(directory, 'list.txt'), 'evil.example.com\n192.0.2.7\n')
  await low(['library', 'import', join(directory, 'list.txt'), '--source', 'a list'])
  const { files } = await low<Exported>([
    'threatq:sync-export',
    '--target=relative/path',
    '--include-deleted=Y',
    '--include-investigations=Yes',
  ])
  const [bundle] = files
  assert.equal(bundle, join(directory, 'low-data/agds_transfer/relative/path', basename(bundle!)))
  assert.match(basename(bundle!), /^tqSync-\d{2}-\d{2}-\d{2}-\d+-\d+\.tar\.gz$/)
  const imports = join(directory, 'high-data/agds_transfer/imports')
  mkdirSync(imports, { recursive: true })
  copyFileSync(bundle!, join(imports, basename(bundle!)))
  await run(low, high, join('imports', basename(bundle!)))
}

type Run = <T>(args: readonly string[], status?: number) => Promise<T>

test('the original’s names, the original’s options and places: relative files, Y and N, the report where the command is run', () =>
  inTemporary((directory) =>
    twoSites(directory, async (_low, high, file) => {
      const filled = await high<{ filled: Record<string, number> }>(['threatq:fill-sync-hash-column'])
      assert.deepEqual(filled.filled, { events: 0, indicators: 0, object_links: 0 })
      const first = await high<Imported>([
        'threatq:sync-import',
        `--file=${file}`,
        '--keep-created-at=N',
        '--object-limit=50000',
        '--memory-limit=4G',
      ])
      assert.equal(first.result, 'imported')
      assert.ok(first.totals.inserted >= 2)
      assert.equal(first.options.keep_created_at, 'N')
      assert.equal(first.options.deletions, 'report')
      assert.equal(first.options.conflicts, 'source')
      const report = join(directory, 'high', `${basename(file, '.tar.gz')}-sync-import`)
      assert.match(readFileSync(`${report}.txt`, 'utf8'), /result: +imported/)
      assert.ok(existsSync(`${report}.json`))
      const again = await high<Imported>(['threatq:sync-import', `--file=${file}`, '--override-description=no'])
      assert.equal(again.result, 'known')
      await high(['threatq:sync-import', `--file=${file}`, '--keep-created-at=maybe'], 2)
      await high(['threatq:sync-import'], 2)
    }),
  ))

test('sync import: dry run, import, undo, and the same bundle again; fill-hash', () =>
  inTemporary((directory) =>
    twoSites(directory, async (low, high, file) => {
      const dry = await high<Imported>(['sync', 'import', `--file=${file}`, '--dry-run'])
      assert.deepEqual([dry.result, dry.run], ['dry run', null])
      const done = await high<Imported>([
        'sync',
        'import',
        `--file=${file}`,
        '--keep-created-at=N',
        '--object-limit=50000',
      ])
      assert.deepEqual([done.result, done.totals], ['imported', dry.totals])
      const state = async (site: Run) => (await site<{ digest: string }>(['sync', 'state'])).digest
      assert.equal(await state(high), await state(low))
      const undone = await high<{ undone: string; bundle: string }>(['sync', 'import', '--undo', done.run])
      assert.equal(undone.bundle, basename(file, '.tar.gz'))
      assert.notEqual(await state(high), await state(low))
      const again = await high<Imported>(['sync', 'import', `--file=${file}`])
      assert.equal(again.result, 'imported')
      assert.equal(await state(high), await state(low))
      await high(['sync', 'import', '--undo', 'nobody'], 2)
      const missing = await high<{ code: string }>(['sync', 'import', '--file=imports/none.tar.gz'], 1)
      assert.equal(missing.code ?? (missing as { error?: { code: string } }).error?.code, 'E_FILE_READ')
      await high(['sync', 'fill-hash'])
    }),
  ))

test('an import runs while other processes read and write the library: they see all of it or nothing, and lose nothing', () =>
  inTemporary(async (directory) => {
    const at = (site: string) => {
      const cwd = join(directory, site)
      mkdirSync(cwd)
      writeFileSync(join(cwd, 'coldtrail.yaml'), `site: ${site}\n`)
      return async (...args: string[]) => {
        const { status, stdout, stderr } = await runColdtrail([...args, '--json'], { cwd })
        assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`)
        return jsonLines(stdout)
      }
    }
    const [low, high] = [at('low'), at('high')]
    const rows = 20_000
    const list = Array.from({ length: rows }, (_, i) => `h${i}.example.com\n`).join('')
    writeFileSync(join(directory, 'list.txt'), list)
    await low('library', 'import', join(directory, 'list.txt'), '--source', 'desk')
    const [{ files }] = (await low('sync', 'export')) as unknown as [Exported]
    await high('library', 'add', 'malware', 'RedStone')

    let isOver = false
    const importing = high('sync', 'import', `--file=${files[0]}`, '--object-limit=50').finally(() => {
      isOver = true
    })
    const added: string[] = []
    let meanwhile = 0
    for (let i = 0; !isOver; i++) {
      // Some of them are rows that come in too.
      const value = i % 2 === 0 ? `h${i}.example.com` : `own${i}.example.org`
      await high('library', 'add', 'indicator', value, '--tag', 'seen-here')
      added.push(value)
      const [stats] = (await high('library', 'stats')) as unknown as [
        { tables: Record<string, { rows: number } | undefined> },
      ]
      if (!isOver) meanwhile += 1
      const count = stats.tables.indicators?.rows ?? 0
      assert.ok(count <= added.length || count >= rows, `${count} rows are part of an import`)
    }
    await importing
    assert.ok(meanwhile > 0, 'nobody came in between')
    const tagged = await high('library', 'list', "tag == 'seen-here'", '--limit', '0')
    assert.deepEqual(tagged.map(({ value }) => value).sort(), added.toSorted())
    const own = added.filter((value) => value.startsWith('own')).length
    const [stats] = (await high('library', 'stats')) as unknown as [{ tables: Record<string, { rows: number }> }]
    assert.equal(stats.tables.indicators!.rows, rows + own)
  }))
