/** The manifest commands as they are typed, over a small store and over the original's examples. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { originalCommand, wordsByKey } from '../../src/cli/manifestWords.ts'
import { type Coldtrail, loadConfig, open } from '../../src/index.ts'
import { tarOf } from '../support/archives.ts'
import { rowsByHyparquet } from '../support/readParquet.ts'
import { SampleStore } from '../support/sampleStore.ts'

const HOUR = 3_600_000_000
const DAY = 1_688_947_200_000_000
const B = readFileSync(join(import.meta.dirname, '../fixtures/manifests/exampleB.txt'), 'utf8').trimEnd()

test('the original’s words become this program’s, and only where they are meant', () => {
  assert.deepEqual(originalCommand(['/database', 'manifest', 'op=query', 'time1=1', 'timeFormat=simple']), [
    ...['manifest', 'query', 'time1=1', 'timeFormat=simple'],
  ])
  assert.deepEqual(originalCommand(['--json', '/database', 'manifest', 'time1=1']), [
    '--json',
    'manifest',
    'query',
    'time1=1',
  ])
  assert.deepEqual(originalCommand(['/database', 'manifest', 'op=compress']), ['manifest', 'compress'])
  assert.deepEqual(originalCommand(['search', '/database']), ['search', '/database'])
  assert.throws(() => originalCommand(['/database', 'manifest', 'op=drop']), { code: 'E_USAGE' })
  assert.throws(() => originalCommand(['/database', 'manifest', 'op=query', 'op=compress']), { code: 'E_USAGE' })
  assert.deepEqual(wordsByKey(['time1=2014-04-20 11:00:00', 'time2='], ['time1', 'time2']), {
    time1: '2014-04-20 11:00:00',
    time2: '',
  })
  assert.throws(() => wordsByKey(['tim1=1'], ['time1']), /Did you mean time1=/)
  assert.throws(() => wordsByKey(['time1=1', 'time1=2'], ['time1']), /twice/)
  assert.throws(() => wordsByKey(['yesterday'], ['time1']), { code: 'E_USAGE' })
})

describe('over a store', () => {
  let store: SampleStore
  let coldtrail: Coldtrail
  const folder = mkdtempSync(join(tmpdir(), 'coldtrail-manifest-'))

  before(async () => {
    store = await SampleStore.create()
    for (let i = 0; i < 3; i++)
      await store.seal([{ key: `o${i}`, events: [{ time: DAY + i * HOUR, columns: { api_operation: 'A' } }, {}] }])
    coldtrail = await open(loadConfig({ dataDir: store.dataDir }))
  })
  after(async () => {
    await coldtrail.close()
    await store.remove()
    rmSync(folder, { recursive: true, force: true })
  })

  const run = (...words: string[]) => {
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, '../../src/cli/main.ts'), ...words],
      { encoding: 'utf8', cwd: folder, env: { ...process.env, COLDTRAIL_DATA_DIR: undefined } },
    )
    return { stdout, stderr, status }
  }
  const found = async (request: Parameters<Coldtrail['manifests']['query']>[0]) => {
    const list: string[] = []
    for await (const { manifest } of coldtrail.manifests.query(request))
      list.push(`${manifest.kind} ${Number(/\d{9}/.exec(manifest.filename)![0])}`)
    return list
  }

  test('example search of the original: byte for byte, literally typed', () => {
    const place = join(folder, 'original')
    mkdirSync(place)
    writeFileSync(join(place, 'manifests.tar.gz'), gzipSync(tarOf({ 'b.manifest': B })))
    const window = ['time1=2014-04-20 11:00:00', 'time2=2014-04-20 11:20:00', 'timeFormat=simple']
    const literal = run('/database', 'manifest', 'op=query', ...window, '--directory', place, '--separator', 'space')
    assert.deepEqual([literal.stdout, literal.status], [`${B}\n`, 0], literal.stderr)
    const marked = run('manifest', 'query', ...window, '--directory', place)
    assert.deepEqual(
      marked.stdout.split('\n').map((line) => /by=\w+/.exec(line)?.[0]),
      [undefined, 'by=fileTime', 'by=unknown', undefined],
    )
    const closure = run('manifest', 'closure', '--directory', place, '--json')
    assert.deepEqual([closure.status, JSON.parse(closure.stdout).isComplete], [3, false])
    // T1: the page's own example is inverted.
    const inverted = run(
      'manifest',
      'query',
      'time1=2014-04-20 11:00:00',
      'time2=2014-04-11 11:20:00',
      '--directory',
      place,
    )
    assert.equal(inverted.status, 2)
    assert.match(inverted.stderr, /2014-04-20 11:00:00.*2014-04-11 11:20:00/)
    const none = run('manifest', 'query', '--directory', join(folder, 'nowhere'))
    assert.deepEqual([none.status, none.stdout], [3, ''])
  })

  test('compress, verify, closure and export as typed', async () => {
    const data = ['--data-dir', store.dataDir]
    const before = run('manifest', 'query', '--json', ...data).stdout
    assert.equal(before.trim().split('\n').length, 12)
    const packed = run('manifest', 'compress', ...data)
    assert.match(packed.stdout, /main: 12 lines packed; the archive has 12 in 1 file/)
    assert.equal(run('manifest', 'query', '--json', ...data).stdout, before)
    const verified = run('manifest', 'verify', ...data)
    assert.deepEqual(
      [verified.status, verified.stdout],
      [0, '3 links of 1 collection, 12 manifests: all is well\n'],
      verified.stderr,
    )
    const closure = run(
      'manifest',
      'closure',
      '--time1',
      '2023-07-10 01:00:00',
      '--time2',
      '2023-07-10 01:00:00',
      ...data,
    )
    assert.equal(closure.status, 0, closure.stderr)
    assert.deepEqual(closure.stdout.match(/(session|meta|log|index)-000000002/g)!.sort(), [
      'index-000000002',
      'log-000000002',
      'meta-000000002',
      'session-000000002',
    ])
    const path = join(folder, 'manifests.parquet')
    assert.equal(run('manifest', 'export', path, ...data).status, 0)
    const rows = await rowsByHyparquet(path)
    assert.equal(rows.length, 12)
    assert.deepEqual(
      rows.map(({ manifest, by }) => JSON.stringify({ ...JSON.parse(String(manifest)), by })).join('\n'),
      before.trim(),
    )
  })

  test('--where asks for fields in the one expression language', async () => {
    assert.deepEqual(await found({ where: "kind == 'meta' and segment > 1" }), ['meta 2', 'meta 3'])
    assert.deepEqual(await found({ where: "time1 >= '2023-07-10 02:00:00' and kind == 'log'" }), ['log 3'])
    assert.deepEqual(await found({ where: "by == 'fileTime'" }), [])
    assert.deepEqual(
      await found({ where: "kind == 'meta' and data.columns.api_operation.max == 'A'", time2: DAY / 1e6 }),
      ['meta 1'],
    )
    assert.deepEqual(await found({ where: "kind == 'meta' and missing > 0" }), ['meta 1', 'meta 2', 'meta 3'])
    await assert.rejects(found({ where: "colour == 'x'" }), { code: 'E_EXPRESSION_FIELD' })
    await assert.rejects(found({ where: "tier == 'hot'" }), /tier status/)
  })

  test('manifests of another store that lie beside the collections are found too, and nothing of them is swept away', async () => {
    const place = join(store.dataDir, 'history', 'old-decoder')
    mkdirSync(place)
    const name = 'session-000000004.nwsdb.manifest'
    writeFileSync(
      join(place, name),
      JSON.stringify({ filename: 'session-000000004.nwsdb', size: 1, fileTime: DAY / 1e6 }),
    )
    assert.deepEqual(await found({ where: "service == 'old-decoder' or origin contains 'old-decoder'" }), ['session 4'])
    assert.deepEqual(await found({ collection: 'main', where: "kind == 'session'" }), [
      'session 1',
      'session 2',
      'session 3',
    ])
    // A number that a dead collector drew and never committed.
    await store.catalog.sweep({ graceMs: 0 })
    assert.ok(readFileSync(join(place, name)))
    assert.ok(!(await coldtrail.manifests.verify()).faults)
    rmSync(place, { recursive: true })
  })

  test('verify names the link that was cut off, and the one whose bytes are others', async () => {
    const link = (number: number): string => join(store.dataDir, `history/main/chain/00000000${number}.link`)
    const faults = async (): Promise<string[]> => {
      const named: string[] = []
      await coldtrail.manifests.verify({ onFault: ({ file, fault }) => named.push(`${fault} ${file}`) })
      return named
    }
    for (const [number, damage, expected] of [
      [3, (bytes: Buffer) => bytes.subarray(0, 0), ['damaged']],
      [2, (bytes: Buffer) => bytes.subarray(0, -1), ['damaged']],
      [2, (bytes: Buffer) => Buffer.concat([bytes, Buffer.from(' ')]), ['damaged']],
      [3, undefined, ['missing']],
    ] as const) {
      const bytes = readFileSync(link(number))
      if (damage) writeFileSync(link(number), damage(bytes))
      else rmSync(link(number))
      assert.deepEqual(
        await faults(),
        expected.map((fault) => `${fault} ${link(number)}`),
      )
      writeFileSync(link(number), bytes)
    }
    assert.deepEqual(await faults(), [])
  })

  test('T8: a manifest_dir that is no directory, or cannot be made, is refused before anything is done', async () => {
    const file = join(folder, 'file')
    writeFileSync(file, '')
    for (const manifest_dir of [file, join(file, 'below')]) {
      const dataDir = mkdtempSync(join(folder, 'data-'))
      const refused = await open({ ...loadConfig({ dataDir }), manifest_dir })
      await assert.rejects(refused.collect({ sources: [join(folder, 'original')] }), { code: 'E_MANIFEST_DIR' })
      // What never opened has nothing to close, and says so again.
      await assert.rejects(refused.close())
    }
    const made = join(folder, 'made', 'deep')
    const dataDir = mkdtempSync(join(folder, 'data-'))
    writeFileSync(join(folder, 'log.jsonl'), '{"time":"2023-07-10T11:00:00Z","a":1}\n')
    const used = await open({ ...loadConfig({ dataDir }), manifest_dir: made })
    const { error } = await used.collect({ sources: [join(folder, 'log.jsonl')] })
    assert.equal(error, undefined)
    const list = []
    for await (const one of used.manifests.query()) list.push(one)
    assert.equal(list.length, 4)
    await used.close()
    assert.ok(readFileSync(join(made, 'main', 'manifests.ndjson')))
  })
})
