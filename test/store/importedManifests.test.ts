import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { type ImportProblem, importedIntervals, importedManifests } from '../../src/store/importedManifests.ts'
import { printManifest } from '../../src/store/manifestText.ts'
import { tarOf, zipOf } from '../support/archives.ts'

const root = mkdtempSync(join(tmpdir(), 'coldtrail-imported-'))
after(() => rmSync(root, { recursive: true, force: true }))
const fixture = (name: string) => readFileSync(join(import.meta.dirname, '../fixtures/manifests', name), 'utf8')
const A = fixture('meta-000000023.nwmdb.manifest')
const B = fixture('exampleB.txt').trimEnd()

let folders = 0
function folder(files: Readonly<Record<string, Buffer | string>>): string {
  const path = join(root, String(folders++))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), content)
  }
  return path
}

async function read(...paths: string[]) {
  const problems: ImportProblem[] = []
  const list = await importedManifests(paths, (problem) => problems.push(problem))
  return { list, problems, names: list.map(({ filename }) => filename) }
}

const record = (kind: string, sequence: number, facts: object = {}) => ({
  filename: `${kind}-${String(sequence).padStart(9, '0')}.nw${kind[0]}db`,
  ...{ size: 1, fileTime: 1_000 + sequence },
  ...facts,
})
const many = Array.from({ length: 40 }, (_, i) =>
  record('meta', i + 1, { id1: i * 10, id2: i * 10 + 9, time1: i, time2: i + 5 }),
)
const entries = Object.fromEntries(many.map((one) => [`some/dir/${one.filename}.manifest`, JSON.stringify(one)]))
const lines = many.map((one) => JSON.stringify(one)).join('\n')

test('loose files, tar, tar.gz, zip and gz give the same manifests, wherever they lie', async () => {
  const forms = {
    'a.tar': tarOf(entries),
    'b.tar.gz': gzipSync(tarOf(entries)),
    'c.tgz': gzipSync(tarOf(entries)),
    'tar-called.gz': gzipSync(tarOf(entries)),
    'd.zip': zipOf(entries),
    'e.zip': zipOf(entries, { wide: true }),
    'f.zip': zipOf(entries, { stored: true }),
    'g.gz': gzipSync(lines),
    'h.gz': gzipSync(many.map((one) => JSON.stringify(one, null, 2)).join('')),
  }
  const expected = many.map(({ filename }) => filename)
  for (const [name, bytes] of Object.entries(forms)) {
    const { names, problems } = await read(folder({ [name]: bytes }))
    assert.deepEqual([names, problems], [expected, []], name)
  }
  const loose = await read(folder(entries))
  assert.deepEqual([loose.names, loose.problems, loose.list[0]!.service], [expected, [], join('some', 'dir')])
  const all = await read(folder(forms), folder(entries))
  assert.deepEqual([all.names, all.problems], [expected, []], 'copies count once')
  for (const [name, bytes] of Object.entries(forms)) {
    const file = await read(join(folder({ [name]: bytes }), name))
    assert.deepEqual(file.names, expected)
  }
})

test('T9: two services with equal names are two files', async () => {
  const one = JSON.stringify(record('meta', 1, { id1: 1 }))
  const other = JSON.stringify(record('meta', 1, { id1: 2 }))
  const { list } = await read(
    folder({
      'decoder1/meta-000000001.nwmdb.manifest': one,
      'decoder2.zip': zipOf({ 'meta-000000001.nwmdb.manifest': other }),
    }),
  )
  assert.deepEqual(
    list.map(({ service, id1, sequence }) => [service, id1, sequence]),
    [
      ['decoder1', 1, 1],
      ['decoder2', 2, 1],
    ],
  )
})

test('T4: a last time before the first is the same interval', async () => {
  const inverted = { ...record('meta', 1), time1: 50, time2: 20 }
  const { list } = await read(folder({ 'x.manifest': JSON.stringify(inverted) }))
  assert.deepEqual(importedIntervals(list).get(list[0]!), { interval: [20, 50], by: 'time' })
})

test('T3: a session file is found by the meta files that hold its events, else by its creation and its successor’s', async () => {
  const session = (sequence: number, facts: object = {}) =>
    record('session', sequence, { id1: sequence * 10, id2: sequence * 10 + 9, ...facts })
  const known = (intervals: ReturnType<typeof importedIntervals>) =>
    [...intervals].map(([{ filename }, { interval, by }]) => [filename.slice(0, 17), ...interval, by])
  const list = async (records: object[]) =>
    (await read(folder({ 'x.gz': gzipSync(records.map((one) => JSON.stringify(one)).join('\n')) }))).list
  const metas = many.slice(0, 3)
  assert.deepEqual(
    known(importedIntervals(await list([...metas, session(7, { metaId1: 5, metaId2: 25, fileTime: 4 })]))).at(-1),
    ['session-000000007', ...[0, 7], 'meta'],
  )
  const dangling = session(7, { metaId1: 5, metaId2: 35 })
  assert.deepEqual(
    known(importedIntervals(await list([...metas, dangling])))
      .at(-1)!
      .slice(1),
    [1007, Number.POSITIVE_INFINITY, 'unknown'],
  )
  const followed = importedIntervals(await list([dangling, session(8)]))
  assert.deepEqual(known(followed), [
    ['session-000000007', 1007, 1008, 'fileTime'],
    ['session-000000008', 1008, Number.POSITIVE_INFINITY, 'unknown'],
  ])
  const gap = importedIntervals(await list([session(7), session(8, { id1: 81 })]))
  assert.equal(known(gap)[0]![3], 'unknown', 'ids that do not join prove nothing')
})

test('T6: example B goes in and comes out byte for byte', async () => {
  const { list } = await read(folder({ 'b.manifest': B }))
  const printed = list.map((manifest) => printManifest(manifest, { timeFormat: 'simple' })).join(' ')
  assert.equal(printed, B)
  const single = await read(folder({ 'meta-000000023.nwmdb.manifest': A }))
  assert.equal(single.list[0]!.id2, 159_341_086)
})

test('what is no manifest is told, and spoils no neighbour', async () => {
  const good = JSON.stringify(many[0])
  const { names, problems } = await read(
    folder({
      ...{ 'a.manifest': 'no json', 'b.manifest': '', 'c.manifest': '{"size":1}', 'd.manifest': good, 'e.txt': 'no' },
      'f.manifest': '{"filename":"meta-1","id1":9007199254740993}',
      'g.manifest': '{"filename":"meta-1","time1":"soon"}',
      'h.manifest': Buffer.alloc(1024 * 1024 + 5, 0x20),
      'i.gz': Buffer.from('not gzip'),
      'j.zip': Buffer.from('PK nothing'),
      'k.tar.gz': gzipSync(Buffer.from(`${'x'.repeat(700)}`)),
      'l.zip': zipOf({
        'bad.manifest': '{',
        'large.manifest': Buffer.alloc(1024 * 1024 + 5),
        'good.manifest': JSON.stringify(many[1]),
      }),
      'm.gz': gzipSync(`${JSON.stringify(many[2])}\n{"no":1}\n`),
      '../outside.manifest': '{"filename":"never"}',
    }),
    join(root, 'nowhere'),
  )
  assert.deepEqual(
    names,
    many.slice(0, 3).map(({ filename }) => filename),
  )
  assert.equal(problems.length, 13, problems.map(({ where, reason }) => `${where}: ${reason}`).join('\n'))
})

test('whatever bytes an archive has, reading ends, and says what it could not read', async () => {
  const forms: Readonly<Record<string, Buffer>> = {
    'x.zip': zipOf(entries),
    'y.zip': zipOf(entries, { wide: true }),
    'x.tar': tarOf(entries),
    'x.tar.gz': gzipSync(tarOf(entries)),
  }
  const all = new Set(many.map(({ filename }) => filename))
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(forms)),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.oneof(fc.constant(undefined), fc.uint8Array({ minLength: 1, maxLength: 8 })),
      async (name, at, patch) => {
        const whole = forms[name]!
        const place = Math.floor(at * (whole.length - 8))
        const bytes = patch ? Buffer.from(whole) : whole.subarray(0, place)
        if (patch) Buffer.from(patch).copy(bytes, place)
        const path = folder({ [name]: bytes })
        const { list, problems } = await read(path)
        rmSync(path, { recursive: true })
        assert.ok(list.length === all.size || problems.length > 0 || patch !== undefined)
        assert.ok(list.length <= all.size + 1)
      },
    ),
    { numRuns: 120 },
  )
})
