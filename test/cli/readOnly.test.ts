/** Who may read the data directory and not write it can ask: while nobody collects, beside a collector, and after a crash. */
import assert from 'node:assert/strict'
import { type ExecFileException, execFile } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { openCatalog } from '../../src/store/catalog.ts'
import { analyse, hit, tag } from '../support/tagging.ts'
import { jsonLines, runColdtrail } from './runColdtrail.ts'

/** Not the launcher, which may want to write into the checkout. */
const MAIN = join(import.meta.dirname, '../../src/cli/main.ts')
/** The account without rights; who is not root is kept from writing by modes. */
const isRoot = process.getuid?.() === 0
const as = isRoot ? { uid: 65_534, gid: 65_534 } : {}
const home = mkdtempSync(join(tmpdir(), 'coldtrail-read-only-'))
const dataDir = join(home, 'coldtrail-data')
const line = (n: number): string => `{"time":"2026-03-10T00:00:0${n}Z","user":"u${n}"}\n`

function isReachable(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o005) !== 0o005) return false
    if (at === dirname(at)) return true
  }
}
const skip =
  isRoot && ![dirname(MAIN), process.execPath].every(isReachable)
    ? 'the account without rights cannot reach this checkout'
    : false

/** Takes the right to write away, or gives it back; nothing to do for root, whose files others cannot write. */
function protect(directory: string, mode: 'read' | 'write'): void {
  if (isRoot) return
  for (const path of ['.', ...(readdirSync(directory, { recursive: true }) as string[])]) {
    const full = join(directory, path)
    const writable = mode === 'write' ? 0o200 : 0
    chmodSync(full, (statSync(full).isDirectory() ? 0o555 : 0o444) | writable)
  }
}

interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

function ask(args: readonly string[], directory = dataDir): Promise<Outcome> {
  const env = { HOME: '/nonexistent', PATH: process.env.PATH }
  const options = { cwd: home, env, ...as, maxBuffer: 2 ** 24 }
  return new Promise((resolve) =>
    execFile(process.execPath, [MAIN, ...args, '--data-dir', directory, '--json'], options, (error, stdout, stderr) =>
      resolve({ status: Number((error as ExecFileException | null)?.code ?? 0), stdout, stderr }),
    ),
  )
}

async function answers(events: number, directory?: string): Promise<void> {
  const lines = async (...args: string[]) => {
    const { status, stdout, stderr } = await ask(args, directory)
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
    return jsonLines(stdout)
  }
  assert.equal((await lines('search', '--count'))[0]?.count, events)
  assert.deepEqual(
    (await lines('search', "user == 'u1'", '--columns', 'user,data')).map(({ data }) => data),
    [line(1).trim()],
  )
  assert.equal((await lines('values', 'user')).length, events)
  assert.equal((await lines('timeline', '--interval', 'day'))[0]?.count, events)
  assert.equal((await lines('show', '1'))[0]?.actor_user_name, 'u1')
  assert.equal((await lines('rejects'))[0]?.type, 'reject')
  assert.deepEqual(
    (await lines('values', 'tag')).map(({ value, count }) => [value, count]),
    [['seen', 1]],
  )
  assert.equal((await lines('search', "tag == 'seen'", '--columns', 'id,tag'))[0]?.id, 1)
  assert.equal((await lines('findings'))[0]?.title, 'Found seen')
  assert.ok((await lines('manifest', 'query')).length >= 4)
  assert.equal((await lines('verify')).at(-1)?.faults, 0)
}

before(async () => {
  chmodSync(home, 0o755)
  mkdirSync(join(home, 'logs'))
  writeFileSync(join(home, 'logs/a.json'), `${line(1)}${line(2)}{bad\n`)
  const { status, stderr } = await runColdtrail(['collect', 'logs'], { cwd: home })
  assert.equal(status, 0, stderr)
  const catalog = await openCatalog({ dataDir })
  const owner = await catalog.owner('analyze')
  await analyse({ catalog, owner, dataDir }, [tag(1, 'seen')], [hit(1, 'seen')])
  await owner.release()
  await catalog.close()
  protect(dataDir, 'read')
})
after(() => {
  protect(dataDir, 'write')
  rmSync(home, { recursive: true, force: true })
})

test('while nobody collects, every question is answered and nothing is written', { skip }, async () => {
  const files = () =>
    (readdirSync(dataDir, { recursive: true }) as string[]).filter((path) => !path.startsWith('spill')).sort()
  const before = files()
  assert.ok(!existsSync(join(dataDir, 'catalog.db-wal')))
  await answers(2)
  assert.deepEqual(files(), before)
})

test('beside a process that writes, and then after its crash', { skip }, async () => {
  protect(dataDir, 'write')
  const catalog = await openCatalog({ dataDir })
  const crashed = join(home, 'crashed')
  try {
    const owner = await catalog.owner('collect')
    protect(dataDir, 'read')
    assert.ok(statSync(join(dataDir, 'catalog.db-wal')).size > 0)
    await answers(2)
    protect(dataDir, 'write')
    cpSync(dataDir, crashed, { recursive: true })
    await owner.release()
  } finally {
    await catalog.close()
    protect(dataDir, 'read')
  }
  protect(crashed, 'read')
  await answers(2, crashed)
  // What the copying of a directory often leaves out.
  protect(crashed, 'write')
  rmSync(join(crashed, 'catalog.db-shm'))
  protect(crashed, 'read')
  const { status, stderr } = await ask(['search'], crashed)
  const error = jsonLines(stderr).at(-1)!
  assert.deepEqual([status, error.code], [6, 'E_CATALOG_READ_ONLY'])
  assert.match(String(error.message), /catalog\.db-shm/)
  protect(crashed, 'write')
})

test('what writes is refused by name', { skip }, async () => {
  for (const args of [
    ['collect', join(home, 'logs')],
    ['catalog', 'rebuild'],
  ]) {
    const { status, stderr } = await ask(args)
    const error = jsonLines(stderr).at(-1)!
    assert.equal(status, 6, stderr)
    assert.ok(['E_CATALOG_READ_ONLY', 'E_SIGNING_KEY'].includes(String(error.code)), stderr)
  }
})
