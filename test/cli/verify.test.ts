import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { inTemporary, jsonLines, runColdtrail } from './runColdtrail.ts'

test('verify: nothing to name in what was just collected, then the file with another byte, and status 6', () =>
  inTemporary(async (cwd) => {
    mkdirSync(join(cwd, 'logs'))
    writeFileSync(join(cwd, 'logs/a.ndjson'), '{"name":"one"}\n{"name":"two"}\n')
    assert.equal((await runColdtrail(['collect', 'logs'], { cwd })).status, 0)
    const whole = await runColdtrail(['verify', '--json'], { cwd })
    assert.equal(whole.status, 0, whole.stderr)
    const [summary] = jsonLines(whole.stdout)
    const { type, segments, objects, faults, orphans } = summary!
    assert.deepEqual({ type, segments, objects, faults, orphans }, OF_ONE_OBJECT)

    const meta = join(cwd, 'coldtrail-data/collections/main/meta-000000001.parquet')
    const bytes = readFileSync(meta)
    bytes[100]! ^= 1
    writeFileSync(meta, bytes)
    const link = join(cwd, 'coldtrail-data/history/main/chain/000000001.link')
    rmSync(link)
    const { status, stdout } = await runColdtrail(['verify', '--json'], { cwd })
    assert.equal(status, 6)
    const found = jsonLines(stdout)
    assert.deepEqual(
      found.slice(0, -1).map(({ type, file, fault }) => [type, file, fault]),
      [
        ['fault', link, 'missing'],
        ['fault', meta, 'damaged'],
      ],
    )
    assert.equal(found.at(-1)?.faults, 2)
    const text = await runColdtrail(['verify'], { cwd })
    assert.equal(text.status, 6)
    assert.ok(text.stdout.includes(`damaged  ${meta}`) && text.stdout.includes('2 faults in 1 segment:'))
  }))

const OF_ONE_OBJECT = { type: 'summary', segments: 1, objects: 1, faults: 0, orphans: 0 }
