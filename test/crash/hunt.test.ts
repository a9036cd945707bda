/** Hunts that are killed while they make roll-ups: the next one answers as if nothing had been. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { runColdtrail, runCommand } from '../cli/runColdtrail.ts'

const SEGMENTS = 32

for (const point of ['rollup.written', 'rollup.listed'])
  test(`killed at ${point}: verdicts stay, and nothing is left that verify names`, async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'coldtrail-crash-hunt-'))
    try {
      // A segment a day, and as many as are worth a roll-up.
      for (let day = 1; day <= SEGMENTS; day++) {
        const name = new Date(Date.UTC(2024, 0, day)).toISOString().slice(0, 10)
        const folder = join(cwd, 'logs', name.replaceAll('-', '/'))
        mkdirSync(folder, { recursive: true })
        writeFileSync(join(folder, 'app.ndjson'), `{"time":"${name}T08:00:00Z","ip":"203.0.113.${day}"}\n`)
      }
      const collected = await runCommand(['collect', 'logs'], { cwd })
      assert.equal(collected.status, 0, collected.stderr)
      const hunt = ['hunt', '203.0.113.1', '203.0.113.200', '--all', '--json']
      const killed = await runColdtrail(hunt, { cwd, environment: { COLDTRAIL_FAULT: `${point}@main` } })
      assert.equal(killed.status, null, `it was not passed: ${killed.stdout}${killed.stderr}`)
      for (let again = 0; again < 2; again++) {
        const { status, stdout, stderr } = await runCommand(hunt, { cwd })
        assert.equal(status, 0, stderr)
        const lines = stdout.split('\n').filter((line) => line !== '')
        const verdicts = lines.map((line) => JSON.parse(line)).filter(({ type }) => type === 'indicator')
        assert.deepEqual(
          verdicts.map(({ value, verdict }) => [value, verdict]),
          [
            ['203.0.113.1', 'possible'],
            ['203.0.113.200', 'absent'],
          ],
        )
      }
      const verified = await runCommand(['verify', '--json'], { cwd })
      assert.equal(verified.status, 0, verified.stdout)
    } finally {
      rmSync(cwd, { recursive: true, force: true })
    }
  })
