import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import type { SourceContext } from '../../../src/components/component.ts'
import type { ListRange, ListStatistics, Source } from '../../../src/components/source.ts'
import { directory } from '../../../src/components/sources/directory.ts'
import { ColdtrailError, type ErrorCode } from '../../../src/core/errors.ts'
import type { SourceObject } from '../../../src/core/sourceObject.ts'

const roots: string[] = []
after(() => {
  for (const root of roots) rmSync(root, { recursive: true, force: true })
})

const warnings: string[] = []
const context: SourceContext = {
  environment: {},
  pause: async () => undefined,
  warn: (message) => warnings.push(message),
}

function folder(files: Readonly<Record<string, string>> = {}): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'coldtrail-directory-')))
  roots.push(root)
  for (const [key, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, key)), { recursive: true })
    writeFileSync(join(root, key), text)
  }
  return root
}

const sourceOf = (path: string, config: Record<string, unknown> = {}): Promise<Source> =>
  directory.create(directory.config.parse({ path, ...config }), context)

const counts = (): ListStatistics => ({ requests: 0, objects: 0, bytes: 0, milliseconds: 0, skipped: new Map() })

async function listed(source: Source, range: ListRange = {}, statistics = counts()): Promise<SourceObject[]> {
  const objects: SourceObject[] = []
  for await (const page of source.list(range, statistics)) objects.push(...page)
  return objects
}

const keysOf = (objects: readonly SourceObject[]) => objects.map((object) => object.key)

async function streamed(source: Source, object: SourceObject): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of await source.open(object)) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

const coded = (code: ErrorCode) => (error: unknown) => error instanceof ColdtrailError && error.code === code

test('files are listed in order, with the identity of path, size and mtime, and read back', async () => {
  const root = folder({ 'b/2.log': 'two', 'a.log': 'one', 'b.log': 'three', 'b/c/ü %20+\n.log': 'four' })
  const source = await sourceOf(root)
  const objects = await listed(source)
  assert.deepEqual(keysOf(objects), ['a.log', 'b.log', 'b/2.log', 'b/c/ü %20+\n.log'])
  assert.deepEqual(await Promise.all(objects.map((object) => streamed(source, object))), [
    'one',
    'three',
    'two',
    'four',
  ])
  assert.equal((await source.read(objects[3]!)).toString(), 'four')
  for (const object of objects) {
    assert.equal(object.bucket, root)
    assert.equal(object.source, `file://${root}`)
    assert.match(object.version, new RegExp(`^${object.size}:\\d{19}$`))
  }
})

test('a single file is an object of its folder, whatever its name', async () => {
  const root = folder({ '.hidden.tmp': 'x', other: 'y' })
  const source = await sourceOf(join(root, '.hidden.tmp'))
  const objects = await listed(source)
  assert.deepEqual(keysOf(objects), ['.hidden.tmp'])
  assert.equal((await source.read(objects[0]!)).toString(), 'x')
  assert.equal(source.name, (await sourceOf(root)).name)
})

test('unfinished, hidden, empty and excluded files are counted by reason', async () => {
  const root = folder({
    'a.gz': 'x',
    'a.gz.tmp': 'x',
    'b.part': 'x',
    '.c': 'x',
    '.git/e.gz': 'x',
    empty: '',
    'no.txt': 'x',
    'd/e.gz': 'x',
  })
  const statistics = counts()
  const objects = await listed(await sourceOf(root, { include: ['*.gz'] }), {}, statistics)
  assert.deepEqual(keysOf(objects), ['a.gz', 'd/e.gz'])
  assert.deepEqual(Object.fromEntries(statistics.skipped), { partial: 4, 'zero bytes': 1, excluded: 1 })
  assert.equal(statistics.objects, 2)
  assert.equal(statistics.bytes, 2)
})

test('a range goes by the day in the path, else by mtime', async () => {
  const root = folder({ '2023/07/10/a': 'x', '2023/07/13/b': 'x', 'c-20230711.log': 'x', old: 'x', new: 'x' })
  utimesSync(join(root, 'old'), new Date('2020-01-01'), new Date('2020-01-01'))
  utimesSync(join(root, 'new'), new Date('2023-07-11'), new Date('2023-07-11'))
  const day = (text: string) => Date.parse(text) * 1000
  const source = await sourceOf(root, { lookback_days: 0 })
  const objects = await listed(source, { from: day('2023-07-10'), to: day('2023-07-11T23:00:00Z') })
  assert.deepEqual(keysOf(objects), ['2023/07/10/a', 'c-20230711.log', 'new'])
  const wider = await listed(source, { from: day('2023-07-13'), lookbackDays: 2 })
  assert.deepEqual(keysOf(wider), ['2023/07/13/b', 'c-20230711.log', 'new'])
})

test('links are followed inside the folder only, and circles end', async () => {
  const outside = folder({ secret: 'x' })
  const root = folder({ 'real/a': 'x' })
  symlinkSync(join(root, 'real'), join(root, 'inside'))
  symlinkSync(root, join(root, 'real', 'circle'))
  symlinkSync(outside, join(root, 'outside'))
  symlinkSync(join(outside, 'secret'), join(root, 'secret'))
  symlinkSync(join(root, 'nowhere'), join(root, 'dangling'))
  symlinkSync('self', join(root, 'self'))
  const statistics = counts()
  warnings.length = 0
  const objects = await listed(await sourceOf(root), {}, statistics)
  assert.deepEqual(keysOf(objects), ['inside/a', 'real/a'])
  assert.equal(statistics.skipped.get('link'), warnings.length)
  assert.ok(warnings.length >= 5)
})

test('a file that changes, grows or goes after it was listed is named, never mixed', async () => {
  const root = folder({ a: 'x'.repeat(1_000_000), b: 'x', c: 'x' })
  const source = await sourceOf(root)
  const [a, b, c] = (await listed(source)) as [SourceObject, SourceObject, SourceObject]
  await assert.rejects(async () => {
    for await (const _ of await source.open(a)) appendFileSync(join(root, 'a'), 'more')
  }, coded('E_FILE_CHANGED'))
  writeFileSync(join(root, 'b'), 'y')
  utimesSync(join(root, 'b'), 1, 1)
  await assert.rejects(source.read(b), coded('E_FILE_CHANGED'))
  await assert.rejects(streamed(source, b), coded('E_FILE_CHANGED'))
  rmSync(join(root, 'c'))
  await assert.rejects(source.open(c), coded('E_FILE_GONE'))
})

test('what cannot be read is an error, not an empty folder', async () => {
  const root = folder({ 'locked/a': 'x', 'closed.log': 'x' })
  await assert.rejects(sourceOf(join(root, 'none')), coded('E_DIRECTORY_READ'))
  // Root may read everything: a file in the place of the folder has the same effect for everybody.
  const source = await sourceOf(join(root, 'locked'))
  rmSync(join(root, 'locked'), { recursive: true })
  await assert.rejects(listed(source), coded('E_DIRECTORY_READ'))
  writeFileSync(join(root, 'locked'), 'x')
  await assert.rejects(listed(source), coded('E_DIRECTORY_READ'))
  if (process.getuid?.() !== 0) {
    chmodSync(join(root, 'closed.log'), 0)
    const whole = await sourceOf(root)
    const closed = (await listed(whole)).find((object) => object.key === 'closed.log')!
    await assert.rejects(whole.read(closed), coded('E_FILE_READ'))
  }
})

test('a folder that cannot be listed is named at the end, and everything beside it is listed', async () => {
  const root = folder({ 'a.log': 'x', 'deep/b.log': 'x', 'z/c.log': 'x' })
  // Root may read every folder, but nobody one whose path is longer than the system takes.
  const dig =
    'cd "$1"; n=$(printf %0250d 0); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do mkdir $n; cd -P $n; done'
  execFileSync('sh', ['-ec', dig, 'sh', join(root, 'deep')])
  mkdirSync(join(root, 'gone'))
  const source = await sourceOf(root)
  const objects: SourceObject[] = []
  warnings.length = 0
  const statistics = counts()
  await assert.rejects(
    async () => {
      for await (const page of source.list({}, statistics)) objects.push(...page)
    },
    (error: unknown) => {
      assert.ok(coded('E_DIRECTORY_PARTIAL')(error))
      const { values } = error as ColdtrailError
      assert.equal(values.count, 1)
      assert.ok(String(values.path).startsWith(join(root, 'deep')))
      assert.match(String(values.cause), /ENAMETOOLONG/)
      return true
    },
  )
  assert.deepEqual(keysOf(objects), ['a.log', 'deep/b.log', 'z/c.log'])
  assert.equal(warnings.filter((message) => /cannot be listed/.test(message)).length, 1)
  execFileSync('rm', ['-rf', root])
})

test('a folder that goes away while its parent is walked is passed over', async () => {
  const root = folder({ 'a/1.log': 'x', 'b/2.log': 'x' })
  const source = await sourceOf(root)
  const statistics = counts()
  const filled = folder(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`a/${i}.log`, 'x'])))
  mkdirSync(join(filled, 'b'))
  const pages = (await sourceOf(filled)).list({}, statistics)
  let objects = 0
  for await (const page of pages) {
    objects += page.length
    rmSync(join(filled, 'b'), { recursive: true, force: true })
  }
  assert.equal(objects, 1000)
  assert.equal(statistics.skipped.get('gone'), 1)
  assert.equal((await listed(source)).length, 2)
})

test('an abort ends a listing and a reading', async () => {
  const root = folder({ a: 'x' })
  const source = await sourceOf(root)
  const [object] = await listed(source)
  const signal = AbortSignal.abort(new Error('stopped'))
  await assert.rejects(async () => {
    for await (const page of source.list({}, counts(), signal)) assert.fail(`${page.length} objects`)
  }, /stopped/)
  await assert.rejects(source.read(object!, signal), /stopped/)
})

test('standard input is one object, readable once', () => {
  const program = `
    import { directory } from ${JSON.stringify(new URL('../../../src/components/sources/directory.ts', import.meta.url).href)}
    const source = await directory.create(directory.config.parse({ path: '-' }), { warn() {} })
    const statistics = { requests: 0, objects: 0, bytes: 0, milliseconds: 0, skipped: new Map() }
    for await (const page of source.list({}, statistics)) {
      let size = 0
      for await (const chunk of await source.open(page[0])) size += chunk.length
      const again = await source.open(page[0]).then(() => 'read twice', (error) => error.code)
      console.log(page.length, page[0].key.replace(/\\d+/, 'N'), size, again)
    }`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    input: Buffer.alloc(1_000_000, 'x'),
    encoding: 'utf8',
  })
  assert.equal(stdout.trim(), '1 stdin-N 1000000 E_FILE_READ', stderr)
})

test('a file whose name is not UTF-8 is told, since it cannot be opened by its name', async () => {
  const root = folder({ 'a.log': 'x' })
  writeFileSync(Buffer.concat([Buffer.from(`${root}/b`), Buffer.from([0xff]), Buffer.from('.log')]), 'hidden')
  const statistics = counts()
  warnings.length = 0
  assert.deepEqual(keysOf(await listed(await sourceOf(root), {}, statistics)), ['a.log'])
  assert.deepEqual([...statistics.skipped], [['name that is not UTF-8', 1]])
  assert.match(warnings.join(), /not UTF-8/)
})
