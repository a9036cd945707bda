/** Values not seen in a look-back: by the definition, with and without events from before. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PluginComponent } from '../../../src/components/plugin.ts'
import { rare } from '../../../src/components/plugins/rare.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { withPlugin } from '../../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, type Split } from '../../support/pluginRun.ts'

const component = rare as unknown as PluginComponent
const DAY = 86_400_000_000
const options = { column: 'user', look_back: 2 }
const START = 100 * DAY

const event = fc.record({
  time: fc.integer({ min: 0, max: 48 }).map((quarter) => START + (quarter * DAY) / 4),
  actor_user_name: fc.constantFrom('alice', 'bob', 'carol'),
})

const naive = (events: readonly PlainEvent[], before: readonly PlainEvent[], judged: number): string[] =>
  events
    .filter(
      ({ time, actor_user_name }) =>
        (time as number) >= judged &&
        ![...events, ...before].some(
          (other) =>
            other.actor_user_name === actor_user_name &&
            (other.time as number) < (time as number) &&
            (other.time as number) >= (time as number) - 2 * DAY,
        ),
    )
    .map(({ id }) => `${id} rare actor_user_name`)

const splitBy = (events: readonly PlainEvent[], size: number): Split =>
  Array.from({ length: Math.ceil(events.length / size) }, (_, i) => [events.slice(i * size, (i + 1) * size)])

test('without a beginning the first look-back only teaches; the rest is by the definition', async () => {
  await withPlugin(component, { options }, async (plugin, around) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { maxLength: 40, size: 'max' }),
        fc.integer({ min: 1, max: 10 }),
        async (given, size) => {
          const events = given.map((one, i): PlainEvent => ({ id: i + 1, ...one }))
          const first = Math.min(...events.map(({ time }) => time as number))
          const { tags } = await runPlugin(plugin, splitBy(events, size), around)
          assert.deepEqual([...tags].sort(), naive(events, [], first + 2 * DAY).sort())
        },
      ),
      { numRuns: 200 },
    )
  })
})

test('with a beginning the look-back before it is asked for', async () => {
  const earlier = fc.record({
    time: fc.integer({ min: -16, max: -1 }).map((quarter) => START + (quarter * DAY) / 4),
    actor_user_name: fc.constantFrom('alice', 'bob', 'carol'),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 30, size: 'max' }),
      fc.array(earlier, { maxLength: 5 }),
      async (given, before) => {
        const events = given.map((one, i): PlainEvent => ({ id: i + 1, ...one }))
        const past = before.map((one, i): PlainEvent => ({ id: 1_000 + i, ...one }))
        // As the engine answers: of the range asked for the last time of each value.
        const surroundings = {
          ...{ options, time1: START },
          earlier: past
            .filter(({ time }) => (time as number) >= START - 2 * DAY)
            .filter(
              ({ time, actor_user_name }) =>
                !past.some(
                  (other) => other.actor_user_name === actor_user_name && (other.time as number) > (time as number),
                ),
            )
            .map(({ time, actor_user_name }) => ({
              value: String(actor_user_name),
              time: new Date((time as number) / 1_000).toISOString(),
            })),
        }
        await withPlugin(component, surroundings, async (plugin, around) => {
          const { tags } = await runPlugin(plugin, splitBy(events, 7), around)
          assert.deepEqual([...tags].sort(), naive(events, past, START).sort())
        })
      },
    ),
    { numRuns: 100 },
  )
})

test('the column is a column of texts, by name, path or alias', async () => {
  for (const column of ['user', 'actor_user_name', 'actor.user.name', 'src_ip', 'user_agent'])
    await withPlugin(component, { options: { column } }, async (plugin) => assert.equal(plugin.shape, 'fold'))
  for (const column of ['time', 'src_port', 'data', 'usr', 'message; DROP TABLE x', 'constructor'])
    await assert.rejects(
      withPlugin(component, { options: { column } }, async () => undefined),
      (error) =>
        error instanceof ColdtrailError && error.code === 'E_PLUGIN_OPTION' && error.message.includes('column'),
      column,
    )
})
