/**
 * Fixtures of plugins: `test/fixtures/plugins/<plugin>/` with `events.jsonl` and what they come to (`expected.json`),
 * `quiet.jsonl` that gives no label, and `case.json`: options, and what services and the library would answer.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Plugin, PluginComponent, PluginContext, UserAccount } from '../../src/components/plugin.ts'
import { PLUGINS } from '../../src/components/plugins/all.ts'
import { startNsrlServer } from './nsrlServer.ts'
import { type PlainEvent, runPlugin, type Surroundings, whole } from './pluginRun.ts'
import { KEY, startVirusTotal } from './virusTotalServer.ts'
import { startWebStore } from './webStoreServer.ts'

const root = join(import.meta.dirname, '../fixtures/plugins')

export interface PluginCase {
  readonly options?: Readonly<Record<string, unknown>>
  readonly time1?: number
  readonly accounts?: readonly UserAccount[]
  readonly indicators?: readonly { readonly type: string; readonly value: string; readonly uid: string }[]
  /** What `lastTimes` gives; times are text. */
  readonly earlier?: readonly { readonly value: string; readonly time: string }[]
  /** Hashes that a server knows. */
  readonly nsrl?: readonly string[]
  readonly virustotal?: Readonly<Record<string, Readonly<Record<string, number>> | null>>
  /** Titles by id. */
  readonly store?: Readonly<Record<string, string>>
}

export interface PluginFixture {
  readonly plugin: string
  readonly directory: string
  readonly expectedPath: string
  readonly events: readonly PlainEvent[]
  readonly quiet: readonly PlainEvent[]
  readonly case: PluginCase
}

export const pluginNamed = (name: string): PluginComponent =>
  PLUGINS.find((component) => component.name === name) as unknown as PluginComponent

/** Undefined for a plugin whose tests are of another form. */
export function pluginFixture(plugin: string): PluginFixture | undefined {
  const directory = join(root, plugin)
  if (!existsSync(join(directory, 'events.jsonl'))) return undefined
  const events = (name: string): PlainEvent[] =>
    readFileSync(join(directory, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as PlainEvent)
  return {
    ...{ plugin, directory, expectedPath: join(directory, 'expected.json') },
    ...{ events: events('events.jsonl'), quiet: events('quiet.jsonl') },
    case: JSON.parse(readFileSync(join(directory, 'case.json'), 'utf8')) as PluginCase,
  }
}

/** Runs an action with a plugin that is made ready, and the services that its case tells of. */
export async function withPlugin<T>(
  component: PluginComponent,
  given: PluginCase & { readonly base?: string; readonly dataTypes?: readonly string[] },
  action: (plugin: Plugin, surroundings: Surroundings) => Promise<T>,
): Promise<T> {
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-plugin-'))
  const closing: (() => Promise<void>)[] = []
  try {
    const own: Record<string, unknown> = {}
    if (given.nsrl) {
      const server = await startNsrlServer(given.nsrl)
      closing.push(server.close)
      Object.assign(own, { host: '127.0.0.1', port: server.port })
    }
    if (given.virustotal) {
      const server = await startVirusTotal(given.virustotal)
      closing.push(server.close)
      Object.assign(own, { url: server.url, api_key: KEY })
    }
    if (given.store) {
      const server = await startWebStore(given.store)
      closing.push(server.close)
      own.store_url = server.url
    }
    const options = component.options.parse({ ...own, ...given.options })
    const context = pluginContext(dataDir, given)
    // As it goes to a worker.
    const work = structuredClone(await component.prepare(options, context))
    return await action(component.start(work), { options, context })
  } finally {
    for (const close of closing) await close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

export function pluginContext(
  dataDir: string,
  given: PluginCase & { readonly base?: string; readonly dataTypes?: readonly string[] },
): PluginContext {
  const { base = dataDir, dataTypes = [], time1 = null } = given
  return {
    ...{ base, dataDir, dataTypes, time1, environment: {} },
    warn: () => {},
    scratchFile: (name) => join(dataDir, name),
    async *indicators() {
      yield* given.indicators ?? []
    },
    userAccounts: async () => given.accounts ?? [],
    async *lastTimes(_, from, to) {
      for (const { value, time } of given.earlier ?? []) {
        const at = Date.parse(time) * 1_000
        if (at >= from && at < to) yield { value, time: at }
      }
    },
  }
}

/** What a plugin comes to on the events of its fixture, as text. */
export async function goldenOutcome({ plugin, events, directory, case: given }: PluginFixture): Promise<string> {
  const dataTypes = [...new Set(events.map(({ data_type }) => String(data_type)))]
  const outcome = await withPlugin(pluginNamed(plugin), { ...given, dataTypes, base: directory }, (started, around) =>
    runPlugin(started, whole(events), around),
  )
  return `${JSON.stringify(outcome, null, 2)}\n`
}
