import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { inTemporary, jsonLines, runCommand } from './runColdtrail.ts'

/** As a third party has it: the Node of the system, an empty environment. */
const PLAIN_NODE = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => existsSync(path)) ?? process.execPath

let cwd: string
let home: string
before(async () => {
  home = mkdtempSync(join(tmpdir(), 'coldtrail-case-'))
  cwd = join(home, 'site')
  mkdirSync(join(cwd, 'logs/2023/07/10'), { recursive: true })
  const line = (n: number, user: string) =>
    JSON.stringify({ time: `2023-07-10T10:00:0${n}Z`, user, note: `ö ${n} \u0001` })
  const file = (name: string, bytes: Buffer | string) => writeFileSync(join(cwd, 'logs/2023/07/10', name), bytes)
  file('a.ndjson', `${line(1, 'mallory')}\n${line(2, 'alice')}\n{"broken\n`)
  file('b.ndjson.gz', gzipSync(`${line(3, 'mallory')}\n${line(4, 'bob')}\n`))
  file('c.ndjson.zst', zstdCompressSync(Buffer.from(`${line(5, 'mallory')}\n`.repeat(50))))
  file('d.ndjson', `${line(6, 'carol')}\n`)
  assert.equal((await runCommand(['collect', 'logs'], { cwd })).status, 0)
})
after(() => rmSync(home, { recursive: true, force: true }))

const CASE = ['export', 'case', '--where', "data contains 'mallory'", '--out']

function check(folder: string, args: readonly string[] = []) {
  const { status, stdout, stderr } = spawnSync(PLAIN_NODE, ['verify.mjs', ...args], {
    cwd: folder,
    env: {},
    encoding: 'utf8',
  })
  const faults = stdout.split('\n').filter((text) => text.startsWith('FAULT'))
  return { status, stdout: stdout + stderr, faults }
}

test('a case is proven by its own verifier, in an empty place, and each file that is tampered with is named', async () => {
  const out = join(home, 'case')
  const { status, stdout, stderr } = await runCommand([...CASE, out, '--json'], { cwd })
  assert.equal(status, 0, stderr)
  const [told] = jsonLines(stdout)
  assert.deepEqual([told!.events, told!.objects, told!.missing], [52, 3, []])
  const elsewhere = join(home, 'elsewhere')
  cpSync(out, elsewhere, { recursive: true })
  const whole = check(elsewhere)
  assert.equal(whole.status, 0, whole.stdout)
  assert.match(whole.stdout, /0 faults; 52 of 52 records proven in 3 objects/)
  assert.match(whole.stdout, /52 events have their record as text/)

  const keys = join(cwd, 'coldtrail-data/keys')
  const names = readdirSync(keys)
  const pub = join(keys, names.find((name) => name.endsWith('.pub'))!)
  const anchor = join(home, 'anchor')
  assert.equal((await runCommand(['anchor', '--write', anchor], { cwd })).status, 0)
  const pinned = check(elsewhere, ['.', '--public-key', pub, '--anchor', anchor])
  assert.equal(pinned.status, 0, pinned.stdout)
  assert.match(pinned.stdout, /the key that you gave/)
  const secrets = names.filter((name) => name.endsWith('.key')).map((name) => readFileSync(join(keys, name), 'utf8'))
  const files = globSync('**/*', { cwd: elsewhere }).filter((name) => /\.[a-z]+$/.test(name))
  const bodies = secrets.flatMap((text) => text.split('\n').filter((part) => part.length > 30 && !part.startsWith('-')))
  assert.ok(bodies.length > 0)
  for (const name of files) {
    const bytes = readFileSync(join(elsewhere, name))
    for (const secret of bodies) assert.ok(!bytes.includes(secret), `${name} has a private key`)
    // One bit in the middle of any file, then without it.
    const changed = Buffer.from(bytes)
    changed[Math.floor(bytes.length / 2)]! ^= 1
    writeFileSync(join(elsewhere, name), changed)
    const tampered = spawnSync(PLAIN_NODE, [join(out, 'verify.mjs'), elsewhere], { env: {}, encoding: 'utf8' })
    assert.equal(tampered.status, 1, `${name}: ${tampered.stdout}`)
    assert.ok(tampered.stdout.includes(name), `${name}: ${tampered.stdout}`)
    writeFileSync(join(elsewhere, name), bytes)
  }
  writeFileSync(join(elsewhere, 'more.txt'), 'x')
  assert.match(check(elsewhere).stdout, /FAULT {2}more.txt: it is not of the case/)
  rmSync(join(elsewhere, 'more.txt'))
  rmSync(join(elsewhere, 'objects', files.find((name) => name.startsWith('objects/'))!.slice(8)))
  assert.equal(check(elsewhere).status, 1)
})

test('as an archive, with faults that its verifier names: a missing object, another key, another anchor', async () => {
  const out = join(home, 'case.tar.gz')
  const made = await runCommand([...CASE, out], { cwd })
  assert.equal(made.status, 0, made.stderr)
  assert.match(made.stdout, /52 events, 3 objects, 1 link/)
  const again = await runCommand([...CASE, out], { cwd })
  assert.deepEqual([again.status, /E_CASE_EXISTS/.test(again.stderr)], [2, true])
  execFileSync('tar', ['-xzf', out, '-C', home])
  rmSync(join(home, 'case'), { recursive: true, force: true })
  execFileSync('tar', ['-xzf', out, '-C', home])
  assert.equal(check(join(home, 'case')).status, 0)

  await inTemporary(async (other) => {
    mkdirSync(join(other, 'logs'))
    writeFileSync(join(other, 'logs/a.ndjson'), '{"a":1}\n')
    assert.equal((await runCommand(['collect', 'logs'], { cwd: other })).status, 0)
    const keys = join(other, 'coldtrail-data/keys')
    const pub = join(keys, readdirSync(keys).find((name) => name.endsWith('.pub'))!)
    const strange = check(join(home, 'case'), ['.', '--public-key', pub])
    assert.equal(strange.status, 1)
    assert.ok(
      strange.faults.some((text) => text.includes('case.json') && text.includes('not trusted')),
      strange.stdout,
    )
  })

  const data = join(cwd, 'coldtrail-data/collections/main')
  const pack = readdirSync(data).find((name) => name.endsWith('.pack'))!
  const bytes = readFileSync(join(data, pack))
  rmSync(join(data, pack))
  const lacking = await runCommand([...CASE, join(home, 'lacking'), '--json'], { cwd })
  assert.equal(lacking.status, 3, lacking.stderr)
  assert.equal((jsonLines(lacking.stdout)[0]!.missing as unknown[]).length, 3)
  const unproven = check(join(home, 'lacking'))
  assert.equal(unproven.status, 3, unproven.stdout)
  assert.match(unproven.stdout, /52 records have no object in the case/)
  const damaged = Buffer.from(bytes)
  damaged[40]! ^= 1
  writeFileSync(join(data, pack), damaged)
  const refused = await runCommand([...CASE, join(home, 'damaged')], { cwd })
  assert.deepEqual([refused.status, /E_SEGMENT_READ/.test(refused.stderr)], [6, true])
  assert.deepEqual(
    readdirSync(home).filter((name) => name.startsWith('damaged')),
    [],
  )
  writeFileSync(join(data, pack), bytes)
  const nothing = await runCommand(['export', 'case', '--where', "data contains 'nobody'", '--out', join(home, 'n')], {
    cwd,
  })
  assert.deepEqual([nothing.status, /E_CASE_EMPTY/.test(nothing.stderr)], [2, true])
})

test('erase says what would go, takes it, and what is gone is not collected again', async () => {
  const key = (await runCommand(['search', "data contains 'carol'", '--json', '--columns', 'session.key,uid'], { cwd }))
    .stdout
  const { 'session.key': object, uid } = jsonLines(key)[0] as { 'session.key': string; uid: string }
  const plan = await runCommand(['erase', '--uid', uid, '--dry-run'], { cwd })
  assert.equal(plan.status, 0, plan.stderr)
  assert.match(plan.stdout, /would erase session \d+ of segment \d+ .*d\.ndjson {2}1 event, 0 rejects, 6\d B/)
  const noReason = await runCommand(['erase', '--object', object], { cwd })
  assert.deepEqual([noReason.status, /--reason/.test(noReason.stderr)], [2, true])
  const erased = await runCommand(['erase', '--object', object, '--reason', 'request 17'], { cwd })
  assert.equal(erased.status, 0, erased.stderr + erased.stdout)
  assert.match(erased.stdout, /erased session/)
  const gone = await runCommand(['erase', '--object', object, '--dry-run'], { cwd })
  assert.deepEqual([gone.status, /E_ERASE_NOTHING/.test(gone.stderr)], [2, true])
  assert.equal((await runCommand(['collect', 'logs', '--json'], { cwd })).status, 0)
  const found = await runCommand(['search', "data contains 'carol'", '--json'], { cwd })
  assert.equal(found.stdout, '')
  assert.equal((await runCommand(['verify'], { cwd })).status, 0)
  const out = join(home, 'after')
  assert.equal((await runCommand([...CASE, out], { cwd })).status, 0)
  assert.equal(check(out).status, 0)
})
