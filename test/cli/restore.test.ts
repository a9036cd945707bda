/** Restores and workbenches by the real command, each once. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { inTemporary, jsonLines, runCommand } from './runColdtrail.ts'

suite('restore and workbench', () => {
  test('from a hunt on offline segments to a workbench that is asked, kept, held and removed', () =>
    inTemporary(async (cwd) => {
      const run = async (words: string, status = 0, input?: string) => {
        const outcome = await runCommand(words.split(' '), { cwd, ...(input === undefined ? {} : { input }) })
        assert.equal(outcome.status, status, `${words}\n${outcome.stdout}${outcome.stderr}`)
        return outcome
      }
      mkdirSync(join(cwd, 'logs'))
      for (const day of ['10', '11'])
        writeFileSync(
          join(cwd, 'logs', `app-2023-07-${day}.json`),
          ['198.51.100.7', `203.0.113.${day}`]
            .map((ip) => JSON.stringify({ time: `2023-07-${day}T01:00:00Z`, message: `login from ${ip}`, ip }))
            .join('\n'),
        )
      await run('collect logs')
      const home = join(cwd, 'coldtrail-data/collections/main')
      mkdirSync(join(cwd, 'tape'))
      for (const [i, name] of readdirSync(home).entries())
        if (name.endsWith('.manifest')) rmSync(join(home, name))
        else renameSync(join(home, name), join(cwd, 'tape', `file-${i}`))
      const hunted = await run('hunt 203.0.113.11 --json')
      const [, ...planned] = jsonLines(
        (await run('restore plan --hunt - --from-folder tape --json', 0, hunted.stdout)).stdout,
      )
      const plan = planned.at(-1)!
      assert.deepEqual([plan.type, plan.missing], ['plan', 0])
      const without = await run('restore plan', 3)
      assert.match(without.stdout, /missing: meta-/)
      const text = (await run('restore run --from-folder tape --workbench case1 --reason audit --keep 5d')).stdout
      assert.match(text, /In workbench case1: \d+ segments?; \d+ files/)
      assert.equal((await run('search --collection main,case1 --count --require-complete')).stdout.trim(), '4')
      assert.match((await run('workbench list')).stdout, /case1\s+main/)
      assert.match((await run('workbench show case1 --files')).stdout, /meta-\d{9}\.parquet {2}\(link \d+\)/)
      const [extended] = jsonLines((await run('workbench extend case1 --keep 90d --json')).stdout)
      assert.ok(Date.parse(extended!.expires as string) > Date.now() + 89 * 86_400_000)
      await run('workbench hold case1 --reason court')
      const held = await run('workbench remove case1', 4)
      assert.match(
        held.stderr,
        /is held\. \(E_WORKBENCH_HELD\)\n {2}hint: Release it first: `coldtrail workbench release case1`/,
      )
      await run('workbench release case1')
      await run('workbench remove case1')
      const log = jsonLines((await run('workbench custody --json')).stdout)
      assert.deepEqual(
        log.map(({ action, reason }) => [action, reason]),
        [
          ['restore', 'audit'],
          ['extend', ''],
          ['hold', 'court'],
          ['release', ''],
          ['remove', ''],
        ],
      )
      await run('search --collection case1', 2)
      await run('restore run --keep soon', 2)
    }))
})
