/** Logins after many failures: the bounded state says what all of the events would say. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { FoldPlugin, PluginComponent } from '../../../src/components/plugin.ts'
import { armedTimes, bruteForce } from '../../../src/components/plugins/brute_force.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { withPlugin } from '../../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, type Split, stateOf, whole } from '../../support/pluginRun.ts'

const component = bruteForce as unknown as PluginComponent
const MINUTE = 60e6

const login = fc.record({
  time: fc.integer({ min: -20, max: 100 }).map((quarter) => quarter * 15e6),
  status: fc.constantFrom('Failure', 'Failure', 'Failure', 'Success', 'Unknown'),
  src_endpoint_ip: fc.constantFrom('10.0.0.1', '10.0.0.2', undefined),
  actor_user_name: fc.constantFrom('alice', 'bob'),
  activity_name: fc.constantFrom('Logon', 'Logon', 'Logon', 'Logon', 'Read'),
})

/** By the definition, event by event. */
function naive(events: readonly PlainEvent[], threshold: number, window: number): string[] {
  const tags = new Set<string>()
  const logins = events.filter(({ activity_name }) => activity_name === 'Logon')
  for (const [rule, column] of [['source', 'src_endpoint_ip'] as const, ['user', 'actor_user_name'] as const])
    for (const success of logins) {
      if (success.status !== 'Success' || success[column] === undefined) continue
      const until = success.time as number
      const failures = logins.filter(
        ({ status, time, [column]: value }) =>
          status === 'Failure' &&
          value === success[column] &&
          (time as number) < until &&
          (time as number) >= until - window * MINUTE,
      )
      if (failures.length >= threshold) tags.add(`${success.id} brute_force ${rule}`)
    }
  return [...tags].sort()
}

test('the same as counting every window, for any split and any order of the events', async () => {
  let labelled = 0
  for (const [threshold, window] of [
    [2, 1],
    [3, 2],
    [4, 7],
  ] as const)
    await withPlugin(component, { options: { threshold, window } }, async (plugin, around) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(login, { maxLength: 80, size: 'max' }),
          fc.integer({ min: 1, max: 20 }),
          async (given, size) => {
            const events = given.map((event, i): PlainEvent => ({ id: i + 1, ...event }))
            const split: Split = Array.from({ length: Math.ceil(events.length / size) }, (_, i) => [
              events.slice(i * size, (i + 1) * size),
            ])
            const { tags } = await runPlugin(plugin, split, around)
            assert.deepEqual([...tags].sort(), naive(events, threshold, window))
            labelled += tags.length
          },
        ),
        { numRuns: 150 },
      )
    })
  assert.ok(labelled > 100, 'there was something to find')
})

test('a million failures keep a state of a few times', async () => {
  await withPlugin(component, { options: { threshold: 5 } }, async (plugin) => {
    const events = Array.from(
      { length: 20_000 },
      (_, i): PlainEvent => ({
        ...{ id: i, time: i * 1_000, status: 'Failure', src_endpoint_ip: '10.0.0.1', activity_name: 'Logon' },
      }),
    )
    const state = stateOf(plugin as FoldPlugin, whole(events)) as Map<string, Map<number, { earliest: unknown[] }>>
    assert.deepEqual([...state.keys()], ['source 10.0.0.1'])
    const [bin] = state.get('source 10.0.0.1')!.values()
    assert.equal(bin!.earliest.length, 5)
    assert.equal(state.get('source 10.0.0.1')!.size, 1)
  })
})

test('times by which a success counts', () => {
  assert.deepEqual(armedTimes([0, 10, 20, 100], 3, 50), [[21, 50]])
  assert.deepEqual(armedTimes([0, 10, 20, 30], 3, 50), [[21, 60]])
  assert.deepEqual(armedTimes([0, 0, 0], 3, 50), [[1, 50]])
  assert.deepEqual(armedTimes([0, 10], 3, 50), [])
})

test('an expression that is none is refused before anything is analysed', async () => {
  await assert.rejects(
    withPlugin(component, { options: { logins: 'activity_name is' } }, async () => undefined),
    (error) => error instanceof ColdtrailError && error.code === 'E_PLUGIN_OPTION',
  )
})
