/**
 * The plugins in the engine, in worker processes over segments: what they come to is what their plain form says of the
 * same events (test/support/pluginRun.ts), however many workers there are and however small the tasks.
 */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, test } from 'node:test'
import { openCatalog } from '../../src/store/catalog.ts'
import { analyzeOptions, runAnalysis, tagsOf } from '../support/analyses.ts'
import { startNsrlServer } from '../support/nsrlServer.ts'
import { pluginFixture, pluginNamed, withPlugin } from '../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, whole } from '../support/pluginRun.ts'
import { SampleStore } from '../support/sampleStore.ts'

const folders: string[] = []
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Events of a fixture, again and again with other ids, in three segments. */
async function storeOf(events: readonly PlainEvent[]): Promise<{ dataDir: string; stored: readonly PlainEvent[] }> {
  const store = await SampleStore.create()
  folders.push(store.dataDir)
  for (let segment = 0; segment < 3; segment++)
    await store.seal([
      {
        key: `logs/${segment}.json`,
        events: Array.from({ length: 4 }, () => events)
          .flat()
          .map(({ id, time, data, ...columns }) => ({
            ...(time !== undefined && { time: typeof time === 'string' ? Date.parse(time) * 1_000 : time }),
            columns: { data_type: 'test', ...columns } as Record<string, string>,
            record: Buffer.from(typeof data === 'string' ? data : JSON.stringify(data ?? {})),
          })),
      },
    ])
  const stored = store.events.map(({ id, time, columns, record }): PlainEvent => {
    const text = record.toString()
    return { id, ...(time !== null && { time }), ...columns, data: text.startsWith('{') ? JSON.parse(text) : text }
  })
  await store.owner.release()
  await store.catalog.close()
  return { dataDir: store.dataDir, stored }
}

for (const name of [
  ...['sessionize', 'unique_domains_visited', 'browser_search', 'chrome_extension', 'bloom', 'indicator_match'],
  ...['brute_force', 'rare'],
])
  test(`${name}: the engine comes to what the plain form says`, async () => {
    const fixture = pluginFixture(name)!
    const given = fixture.case
    const options = { ...given.options, ...(name === 'chrome_extension' && { names: false }) }
    const { dataDir, stored } = await storeOf([...fixture.events, ...fixture.quiet])
    const dataTypes = [...new Set(stored.map(({ data_type }) => String(data_type)))]
    const expected = await withPlugin(
      pluginNamed(name),
      { ...given, options, store: undefined, dataTypes, base: fixture.directory },
      (plugin, around) => runPlugin(plugin, whole(stored), around),
    )
    const catalog = await openCatalog({ dataDir })
    const { context } = analyzeOptions(catalog, dataDir)
    await catalog.close()
    for (const [workers, taskRows] of [
      [2, 29],
      [1, 500_000],
    ] as const) {
      const { run, report } = await runAnalysis(
        dataDir,
        { [name]: options },
        {
          ...{ workers, taskRows },
          context: {
            ...{ ...context, base: fixture.directory, userAccounts: async () => given.accounts ?? [] },
            async *indicators() {
              yield* given.indicators ?? []
            },
          },
        },
      )
      assert.equal(report.state, 'finished')
      const tags = (await tagsOf(dataDir, run)).map((tag) => {
        const [id, label, , rule = ''] = tag.trim().split(' ')
        return `${id} ${label} ${rule}`.trim()
      })
      assert.deepEqual(tags.sort(), [...expected.tags].sort())
      const [own] = report.plugins
      assert.deepEqual(
        Object.fromEntries(own!.counters.filter(([counter]) => !counter.startsWith('indicator'))),
        Object.fromEntries(expected.report.counters.filter(([counter]) => !counter.startsWith('indicator'))),
      )
      assert.deepEqual(own!.rows ?? [], expected.report.rows ?? [])
      assert.equal(report.findings, expected.findings.length)
    }
  })

test('rare: with a beginning, what lies before it in the collection is known', async () => {
  const day = (number: number, user: string) => ({
    id: 0,
    time: Date.UTC(2026, 0, number) * 1_000,
    actor_user_name: user,
  })
  const { dataDir, stored } = await storeOf([
    day(1, 'old'),
    day(6, 'known'),
    day(9, 'old'),
    day(9, 'known'),
    day(9, 'new'),
  ])
  const options = { rare: { column: 'user', look_back: 5 } }
  const { run } = await runAnalysis(dataDir, options, { from: Date.UTC(2026, 0, 8) * 1_000 })
  const expected = stored.filter(
    ({ time, actor_user_name }) => time === Date.UTC(2026, 0, 9) * 1_000 && actor_user_name !== 'known',
  )
  assert.deepEqual(
    (await tagsOf(dataDir, run)).map((tag) => tag.trim()).sort(),
    expected.map(({ id }) => `${id} rare rare actor_user_name`).sort(),
  )
})

test('a look-up that breaks off leaves a partial run: what was answered is labelled, the rest is told', async () => {
  const fixture = pluginFixture('nsrlsvr')!
  const { dataDir } = await storeOf(fixture.events)
  const server = await startNsrlServer(fixture.case.nsrl!)
  try {
    // The probe and the first hash are answered.
    server.fail(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [i + 3, 'reset' as const])))
    const options = { nsrlsvr: { host: '127.0.0.1', port: server.port, batch: 1 } }
    const { report } = await runAnalysis(dataDir, options)
    assert.equal(report.state, 'partial')
    assert.ok(
      report.warnings.some(({ plugin, message }) => plugin === 'nsrlsvr' && /2 of 3 were not looked up/.test(message)),
    )
    server.fail({})
    const { run, report: second } = await runAnalysis(dataDir, options)
    assert.equal(second.state, 'finished')
    assert.equal((await tagsOf(dataDir, run)).length, 5 * 4 * 3)
  } finally {
    await server.close()
  }
})
