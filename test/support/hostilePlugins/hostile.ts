/** Plugins that misbehave at events whose message says so, and some that do as they should. */
import { existsSync, writeFileSync } from 'node:fs'
import { z } from 'zod'
import type { ColumnBatch, FoldPlugin, MapPlugin, PluginComponent, TextColumn } from '../../../src/components/plugin.ts'

const options = z.strictObject({
  /** Events with this message; none: every event. */
  at: z.string().optional(),
  /** Only until this file is there; it is made first. */
  once: z.string().optional(),
})

type Options = z.output<typeof options>
type Deed = (label: (row: number, name: string) => void, row: number) => void

function misbehaving(name: string, deed: Deed): PluginComponent<typeof options, Options> {
  return {
    kind: 'plugin',
    name,
    summary: name,
    version: 1,
    options,
    prepare: async (given) => given,
    start: (given): MapPlugin => ({
      shape: 'map',
      columns: ['message'],
      label(batch, emit) {
        eachRow(batch, (message, row) => {
          if (given.at === undefined || message === given.at) {
            if (given.once === undefined || !existsSync(given.once)) {
              if (given.once !== undefined) writeFileSync(given.once, '')
              deed((at, label) => emit(at, { label, rule: '' }), row)
              return
            }
          }
          emit(row, { label: 'seen', rule: '' })
        })
      },
    }),
  }
}

function eachRow({ rows, columns }: ColumnBatch, action: (message: string | undefined, row: number) => void): void {
  const { values, indexes } = columns.message as TextColumn
  for (let row = 0; row < rows; row++) action(values[indexes[row]!], row)
}

export const throwing = misbehaving('throwing', (_label, row) => {
  throw new Error(`cannot look at this (${row >= 0})`)
})
export const looping = misbehaving('looping', () => {
  for (;;) Math.random()
})
export const dying = misbehaving('dying', () => process.kill(process.pid, 'SIGKILL'))
export const crashing = misbehaving('crashing', () => {
  process.stderr.write('Error: out of paper\n')
  process.exit(7)
})
export const mislabelling = misbehaving('mislabelling', (label, row) => label(row, 'two words'))
export const hungry = misbehaving('hungry', () => {
  const held: Buffer[] = []
  for (;;) held.push(Buffer.alloc(2 ** 24, held.length + 1))
})
export const slow = misbehaving('slow', (label, row) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400)
  label(row, 'seen')
})

type Counts = Map<string, number>

/** Events by message; throws at one of them if told to. */
export const counting: PluginComponent<typeof options, Options> = {
  kind: 'plugin',
  name: 'counting',
  summary: 'counting',
  version: 1,
  options,
  prepare: async (given) => given,
  start: ({ at }): FoldPlugin<Counts> => ({
    shape: 'fold',
    columns: ['message'],
    empty: () => new Map(),
    add(counts, batch) {
      eachRow(batch, (message = 'none') => {
        counts.set(message, (counts.get(message) ?? 0) + 1)
        if (at !== undefined && message === at) throw new Error('after it was counted')
      })
      return counts
    },
    merge(one, other) {
      for (const [message, count] of other) one.set(message, (one.get(message) ?? 0) + count)
      return one
    },
    finish: (counts) => ({
      report: { counters: [...counts].sort(([a], [b]) => (a < b ? -1 : 1)) },
      rules: [{ label: 'common', rule: 'common', expression: "message == 'm1'", mode: 'strict' }],
    }),
  }),
}

const ruleOptions = z.strictObject({
  expression: z.string().default("message == 'm1'"),
  label: z.string().default('marked'),
  mode: z.enum(['strict', 'plaso']).default('strict'),
  finding: z.boolean().default(false),
})

/** One rule, as told. */
export const oneRule: PluginComponent<typeof ruleOptions, z.output<typeof ruleOptions>> = {
  kind: 'plugin',
  name: 'one_rule',
  summary: 'one rule',
  version: 1,
  options: ruleOptions,
  prepare: async (given) => given,
  start: ({ expression, label, mode, finding }) => ({
    shape: 'rules',
    rules: [
      {
        ...{ label, rule: 'one', expression, mode },
        ...(finding && { finding: { severity: 'high', title: 'Found' } }),
      },
      { label: `${label}_too`, rule: 'two', expression: "message startswith 'm'", mode: 'strict' },
    ],
  }),
}

const waitingOptions = z.strictObject({ at: z.enum(['prepare', 'finish']), begun: z.string() })

/** Waits for what never comes, and says in a file that it does. */
export const waiting: PluginComponent<typeof waitingOptions, null> = {
  kind: 'plugin',
  name: 'waiting',
  summary: 'waiting',
  version: 1,
  options: waitingOptions,
  async prepare({ at, begun }) {
    if (at === 'prepare') await forever(begun)
    return null
  },
  start: (): FoldPlugin<null> => ({
    shape: 'fold',
    columns: [],
    empty: () => null,
    add: () => null,
    merge: () => null,
    finish: (_state, { options }) => forever((options as z.output<typeof waitingOptions>).begun),
  }),
}

function forever(begun: string): Promise<never> {
  writeFileSync(begun, '')
  return new Promise(() => undefined)
}
