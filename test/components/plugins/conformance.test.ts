/** What every plugin is held to: its declaration, its fixtures, and states that merge however events are split. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { z } from 'zod'
import type { FoldPlugin, PluginComponent } from '../../../src/components/plugin.ts'
import { PLUGINS } from '../../../src/components/plugins/all.ts'
import { compile } from '../../../src/query/expression.ts'
import { isBatchColumn } from '../../../src/store/columnBatches.ts'
import { goldenOutcome, pluginFixture, pluginNamed, withPlugin } from '../../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, type Split, stateOf, whole } from '../../support/pluginRun.ts'

const components = PLUGINS as unknown as readonly PluginComponent[]
const visible = components.filter(({ hidden }) => !hidden)
const source = join(import.meta.dirname, '../../../src/components/plugins')
/** Their rules have tests and fixtures of their own. */
const RULE_PLUGINS = new Set(['tagging', 'sigma'])

for (const component of components) {
  test(`${component.name}: its declaration`, () => {
    const { kind, name, summary, version, options } = component
    assert.equal(kind, 'plugin')
    assert.match(name, /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/)
    assert.ok(existsSync(join(source, `${name}.ts`)), 'one file of its name')
    assert.ok(summary.length >= 20 && summary.length <= 120, 'a line of text')
    assert.ok(Number.isSafeInteger(version) && version >= 1)
    const schema = z.toJSONSchema(options, { io: 'input', unrepresentable: 'any' }) as {
      properties?: Record<string, { description?: string; secret?: boolean; type?: string; enum?: unknown }>
      additionalProperties?: boolean
    }
    assert.equal(schema.additionalProperties, false, 'unknown options are refused')
    for (const [key, field] of Object.entries(schema.properties ?? {})) {
      assert.match(key, /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/)
      assert.match(field.description ?? '', /^[A-Z].{9,}[.…]$/s, `${key} is described`)
      assert.equal(/key|secret|password|token/.test(key), field.secret === true, `${key} is a secret or not`)
    }
    const required = Object.entries(options.shape).filter(
      ([, field]) => !(field as z.ZodType).safeParse(undefined).success,
    )
    if (required.length === 0) assert.doesNotThrow(() => options.parse({}))
  })
}

test('names are distinct, and no option makes the flag of another plugin', () => {
  const flags = components.flatMap(({ name, options }) =>
    Object.keys(options.shape).map((key) => `--${name}-${key}`.replaceAll('_', '-')),
  )
  assert.deepEqual(flags, [...new Set(flags)])
  assert.equal(new Set(components.map(({ name }) => name)).size, components.length)
})

for (const { name } of visible.filter((one) => !RULE_PLUGINS.has(one.name))) {
  const fixture = pluginFixture(name)
  test(`${name}: a fixture folder with events, quiet ones and what they come to`, async () => {
    assert.ok(fixture, `test/fixtures/plugins/${name}/events.jsonl`)
    assert.equal(await goldenOutcome(fixture), readFileSync(fixture.expectedPath, 'utf8'), `npm run accept ${name}`)
  })
  if (!fixture) continue
  const given = {
    ...fixture.case,
    base: fixture.directory,
    dataTypes: [...new Set(fixture.events.map(({ data_type }) => String(data_type)))],
  }

  test(`${name}: quiet events get no label and make no finding`, async () => {
    await withPlugin(pluginNamed(name), given, async (plugin, surroundings) => {
      const { tags, findings } = await runPlugin(plugin, whole(fixture.quiet), surroundings)
      assert.deepEqual([...tags, ...findings], [])
      assert.deepEqual((await runPlugin(plugin, whole([]), surroundings)).tags, [])
    })
  })

  test(`${name}: columns, expression and labels hold`, async () => {
    await withPlugin(pluginNamed(name), given, async (plugin) => {
      if (plugin.shape === 'rules') return
      assert.deepEqual(
        plugin.columns.filter((column) => !isBatchColumn(column)),
        [],
      )
      assert.equal(new Set(plugin.columns).size, plugin.columns.length)
      if (plugin.where !== undefined) assert.equal(compile(plugin.where).contradiction(), undefined)
    })
  })

  const events = fc
    .array(fc.constantFrom(...fixture.events, ...fixture.quiet), { maxLength: 24, size: 'max' })
    .map(renumbered)

  test(`${name}: any split of the events comes to the same`, async () => {
    await withPlugin(pluginNamed(name), given, async (plugin, surroundings) => {
      // Services are asked once, so that what comes from the cache is the same for every split.
      await runPlugin(plugin, whole([...fixture.events, ...fixture.quiet]), surroundings)
      await fc.assert(
        fc.asyncProperty(events, fc.infiniteStream(fc.nat({ max: 5 })), async (given, cuts) => {
          const one = await runPlugin(plugin, whole(given), surroundings)
          const other = await runPlugin(plugin, splitBy(given, cuts), surroundings)
          assert.deepEqual(other, one)
        }),
        { numRuns: 30 },
      )
    })
  })

  test(`${name}: merging is associative, and the empty state is neutral`, async () => {
    await withPlugin(pluginNamed(name), given, async (plugin) => {
      if (plugin.shape !== 'fold') return
      const fold = plugin as FoldPlugin
      const state = (of: readonly PlainEvent[]): unknown => stateOf(fold, whole(of))
      const merge = (one: unknown, other: unknown): unknown => fold.merge(structuredClone(one), structuredClone(other))
      fc.assert(
        fc.property(events, events, events, (a, b, c) => {
          const [x, y, z] = [state(a), state(b), state(c)]
          assert.deepEqual(merge(merge(x, y), z), merge(x, merge(y, z)))
          assert.deepEqual(merge(fold.empty(), x), x)
          assert.deepEqual(merge(x, fold.empty()), x)
        }),
        { numRuns: 50 },
      )
    })
  })
}

// --- internal ---

function renumbered(events: readonly PlainEvent[]): PlainEvent[] {
  return events.map((event, at) => ({ ...event, id: at + 1 }))
}

/** Tasks of one to five events, each in batches of one to five. */
function splitBy(events: readonly PlainEvent[], cuts: Iterable<number>): Split {
  const sizes = cuts[Symbol.iterator]()
  const parts = <T>(items: readonly T[]): T[][] => {
    const found: T[][] = []
    for (let at = 0; at < items.length; ) {
      const size = (sizes.next().value as number) + 1
      found.push(items.slice(at, at + size))
      at += size
    }
    return found
  }
  return parts(events).map((task) => parts(task))
}
