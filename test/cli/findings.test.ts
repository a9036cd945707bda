/** Tags and findings as a person asks for them, and their way to a destination. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openCatalog } from '../../src/store/catalog.ts'
import { analyse, hit, tag } from '../support/tagging.ts'
import { inTemporary, jsonLines, type Outcome, runCommand } from './runColdtrail.ts'

const line = (n: number): string => `{"time":"2026-03-10T00:00:0${n}Z","user":"u${n}"}\n`

test('labels and findings in every command that asks, and findings sent once', () =>
  inTemporary(async (cwd) => {
    const coldtrail = (...args: string[]): Promise<Outcome> => runCommand(args, { cwd })
    const lines = async (...args: string[]) => {
      const { status, stdout, stderr } = await coldtrail(...args, '--json')
      assert.equal(status, 0, stdout + stderr)
      return jsonLines(stdout)
    }
    writeFileSync(join(cwd, 'app.log.json'), [1, 2, 3].map(line).join(''))
    writeFileSync(
      join(cwd, 'coldtrail.yaml'),
      'destinations:\n  - name: out\n    type: file\n    path: out/sent-*.ndjson\n',
    )
    await lines('collect', 'app.log.json')
    const ids = (await lines('search', '--columns', 'id', '--order', 'id')).map(({ id }) => Number(id))
    const dataDir = join(cwd, 'coldtrail-data')
    const catalog = await openCatalog({ dataDir })
    const owner = await catalog.owner('analyze')
    const evil = { severity: 'critical', title: 'Odd \u001b[2Jtitle' } as const
    const hits = [hit(ids[0]!, 'odd', evil), hit(ids[2]!, 'quiet', { severity: 'low' })]
    await analyse({ catalog, owner, dataDir }, [tag(ids[0]!, 'odd'), tag(ids[0]!, 'first'), tag(ids[2]!, 'odd')], hits)
    await owner.release()
    await catalog.close()

    assert.deepEqual(
      (await lines('values', 'tag')).map(({ value, count }) => [value, count]),
      [
        ['odd', 2],
        ['first', 1],
      ],
    )
    assert.deepEqual(await lines('search', "tag == 'odd'", '--columns', 'id,tag', '--order', 'id'), [
      { id: ids[0], tag: ['first', 'odd'] },
      { id: ids[2], tag: ['odd'] },
    ])
    assert.deepEqual(await lines('search', "tag contains 'first'", '--mode', 'plaso', '--columns', 'id,tag'), [
      { id: ids[0], tag: ['first', 'odd'] },
    ])
    assert.deepEqual(await lines('search', "tag contains 'irst'", '--mode', 'plaso', '--columns', 'id'), [])
    const csv = await coldtrail('search', '--columns', 'id,tag', '--format', 'csv', '--order', 'id')
    assert.equal(csv.stdout, `id,tag\n${ids[0]},"first,odd"\n${ids[1]},\n${ids[2]},odd\n`)
    assert.deepEqual(await lines('search', "tag == 'odd' and tag == 'first'", '--count'), [
      { count: 1, complete: true },
    ])
    const [shown] = await lines('show', String(ids[0]))
    assert.deepEqual(shown!.tags, [
      { label: 'first', plugin: 'tagging', rule: 'first_rule', run: 1 },
      { label: 'odd', plugin: 'tagging', rule: 'odd_rule', run: 1 },
    ])
    assert.match((await coldtrail('show', String(ids[0]))).stdout, /^tag +odd {2}\(tagging, rule odd_rule, run 1\)$/m)

    const found = await lines('findings')
    assert.deepEqual(
      found.map(({ severity, title, label, runs, event_id }) => [severity, title, label, runs, event_id]),
      [
        ['critical', evil.title, 'odd', [1], ids[0]],
        ['low', 'Found quiet', 'quiet', [1], ids[2]],
      ],
    )
    assert.equal((found[0]!.event as Record<string, unknown>).time, '2026-03-10T00:00:01Z')
    const plain = await coldtrail('findings', '--severity', 'high', '--columns', 'id,data')
    assert.match(plain.stdout, /critical +Odd .*title +odd/)
    assert.ok(!plain.stdout.includes('\u001b[2J') && !plain.stdout.includes('quiet'))
    assert.equal((await coldtrail('findings', '--from', '2026-03-10T00:00:02Z', '--ids')).stdout, `${ids[2]}\n`)
    assert.equal((await coldtrail('findings', '--run', '9')).status, 2)

    const [summary] = await lines('forward', '--stream', 'findings')
    assert.equal(summary!.events, 2)
    assert.equal((await lines('forward', '--stream', 'findings'))[0]!.events, 0)
    const [file] = readdirSync(join(cwd, 'out')).filter((name) => name.startsWith('sent-'))
    const sent = jsonLines(readFileSync(join(cwd, 'out', file!), 'utf8'))
    assert.deepEqual(
      sent.map(({ id, uid, event_uid, finding }) => [id, uid, event_uid, (finding as { label: string }).label]),
      found.map(({ event_id, uid, event_uid, label }) => [event_id, uid, event_uid, label]),
    )
    const status = await lines('forward', 'status')
    assert.deepEqual(
      status.map(({ feed, accepted, lag_events }) => [feed, accepted, lag_events]),
      [['findings', 2, 0]],
    )
    // Events are a feed of their own.
    assert.equal((await lines('forward', '--where', "tag == 'odd'"))[0]!.events, 2)
  }))
