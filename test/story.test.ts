/**
 * The story of the design, small: three years of logs have left on volumes; an indicator arrives; keysets name the one
 * segment that could have it; its files come back under other names; the hit is confirmed, and the findings go on.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig, open } from '../src/index.ts'
import { runColdtrail } from './cli/runColdtrail.ts'

const ATTACKER = '203.0.113.66'
const MONTHS = 36

test('an indicator of today finds what happened two years ago in logs that are in a safe', async () => {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-story-'))
  const config = `
tiers:
  hot: "=1g"
  cold: "volume=1g"
  label: "safe 3"
  cold_after_days: 7
destinations:
  - { name: siem, type: file, path: "siem/findings-*.ndjson" }
`
  writeFileSync(join(root, 'coldtrail.yaml'), config)
  for (let month = 0; month < MONTHS; month++) {
    const day = new Date(Date.UTC(2022, month, 10, 8)).toISOString()
    const folder = join(root, 'logs', day.slice(0, 10).replaceAll('-', '/'))
    mkdirSync(folder, { recursive: true })
    const lines = Array.from({ length: 4 }, (_, i) => {
      const ip = month === 14 && i === 2 ? ATTACKER : `198.51.100.${(month * 4 + i) % 250}`
      return JSON.stringify({ time: day, sourceIp: ip, action: 'login' })
    })
    writeFileSync(join(folder, 'app.ndjson'), `${lines.join('\n')}\n`)
  }
  const site = await open(loadConfig({ file: join(root, 'coldtrail.yaml'), environment: {} }))
  try {
    const collected = await site.collect({ sources: [join(root, 'logs')] })
    assert.deepEqual([collected.failed, collected.events], [0, MONTHS * 4])
    const rolled = await site.tiers.roll()
    assert.deepEqual([rolled.faults, rolled.alarms], [[], []])
    assert.equal(rolled.moved.files, MONTHS * 4)
    // The volume is carried to the safe.
    const volume = join(root, 'volume')
    const safe = join(root, 'safe')
    renameSync(volume, safe)
    const away = await site.count()
    assert.deepEqual([away.count, away.complete], [0, false])

    await site.library.add({ object: 'indicator', value: ATTACKER, type: 'IP Address' })
    const { value: round } = await site.hunts.standing()[Symbol.asyncIterator]().next()
    assert.deepEqual([round!.newSegments, round!.possible, round!.newFindings], [MONTHS, 1, 1])
    const hunted = await runColdtrail(['hunt', '--library', '--json'], { cwd: root })
    assert.equal(hunted.status, 0, hunted.stderr)
    assert.ok(hunted.stdout.includes('safe 3'), 'it says where to fetch it')

    // What comes back from the safe has other names, and more came back than is needed.
    const brought = join(root, 'brought')
    mkdirSync(brought)
    const all = readdirSync(safe, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    for (const [i, { parentPath, name }] of all.entries())
      if (!name.startsWith('.')) cpSync(join(parentPath, name), join(brought, `recovered-${i}.bin`))
    const request = { workbench: 'case77', folder: brought, hunt: { text: hunted.stdout, where: 'the hunt' } }
    const plan = await site.workbenches.plan(request)
    assert.equal(plan.segments.length, 1)
    await site.workbenches.restore({ ...request, reason: 'case 77' })

    const collections = ['main', 'case77']
    const confirmed = await site.hunts.run({ values: [ATTACKER.replaceAll('.', '[.]')], confirm: true, collections })
    assert.deepEqual([confirmed.counts.confirmed, confirmed.searched, confirmed.segments.length], [1, MONTHS, 1])
    assert.deepEqual(
      [confirmed.segments[0]!.isHere, confirmed.restore.bytesAway],
      [true, 0],
      'a copy is the same segment',
    )
    const { rows } = await site.search({
      expression: `data contains '${ATTACKER}'`,
      collection: 'main,case77',
      columns: ['data'],
    })
    const times: string[] = []
    for await (const { data } of rows) times.push(JSON.parse(String(data)).time)
    assert.deepEqual(times, ['2023-03-10T08:00:00.000Z'])
    const [sent] = await site.forward({ stream: 'findings' })
    assert.deepEqual([sent!.error, sent!.feeds.map(({ accepted }) => accepted)], [undefined, [1]])
    const siem = join(root, 'siem')
    const files = readdirSync(siem, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    const told = files.map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8')).join('')
    assert.ok(told.includes(ATTACKER), `${files.map(({ name }) => name)}: ${told}`)
  } finally {
    await site.close()
    rmSync(root, { recursive: true, force: true })
  }
})
