/** A small store to analyse, and runs over it. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AnalyzeOptions, type AnalyzeSummary, analyze } from '../../src/analyze/analyze.ts'
import { type Catalog, openCatalog } from '../../src/store/catalog.ts'
import { rowsByDuckdb } from './readParquet.ts'
import { SampleStore } from './sampleStore.ts'

export const HOSTILE = join(import.meta.dirname, 'hostilePlugins')

/** Segments of 400 events; messages m0 to m6 in turn, and one `poison` in the second segment. */
export async function sampleStore(segments = 3): Promise<string> {
  const store = await SampleStore.create()
  for (let segment = 0; segment < segments; segment++) {
    const object = (name: string, from: number, to: number) => ({
      key: `logs/${segment}-${name}.json`,
      events: Array.from({ length: to - from }, (_, i) => {
        const at = from + i
        const message = segment === 1 && at === POISON_ROW ? 'poison' : `m${at % 7}`
        const type = at % 3 === 0 ? 'test:odd' : 'test:entry'
        return {
          time: TIME + (segment * 400 + at) * 60e6,
          columns: { data_type: type, message, src_endpoint_port: at },
        }
      }),
    })
    await store.seal([object('a', 0, 250), object('b', 250, 400)])
  }
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-analyze-'))
  await store.catalog.close()
  cpSync(store.dataDir, directory, { recursive: true })
  rmSync(store.dataDir, { recursive: true })
  return directory
}

export const TIME = Date.UTC(2026, 0, 5) * 1_000
export const POISON_ROW = 133
export const EVENTS = 1_200

/** Options that every run of a test has. */
export function analyzeOptions(catalog: Catalog, dataDir: string): AnalyzeOptions {
  return {
    ...{ catalog, dataDir, collection: 'main', plugins: [], pluginsDirectory: HOSTILE, workers: 2, taskRows: 100 },
    ...{ commandLine: 'analyze …', producer: 'coldtrail/test' },
    context: {
      ...{ base: dataDir, environment: {}, userAccounts: async () => [] },
      async *indicators() {},
    },
  }
}

export async function runAnalysis(
  dataDir: string,
  plugins: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  options: Partial<AnalyzeOptions> = {},
): Promise<AnalyzeSummary> {
  const catalog = await openCatalog({ dataDir })
  try {
    const chosen = Object.entries(plugins).map(([name, own]) => ({ name, options: own }))
    return await analyze({ ...analyzeOptions(catalog, dataDir), plugins: chosen, ...options })
  } finally {
    await catalog.close()
  }
}

/** `id label plugin rule` of every committed tag of a run (of all runs), sorted. */
export async function tagsOf(dataDir: string, run?: number): Promise<string[]> {
  const catalog = await openCatalog({ dataDir })
  try {
    const tags: string[] = []
    for (const { tags: files } of await catalog.segments({ state: 'live' }))
      for (const { directory, name, run: own } of files)
        if (run === undefined || own === run)
          for (const { id, label, plugin, rule } of await rowsByDuckdb(join(directory, name)))
            tags.push(`${String(id).padStart(6)} ${label} ${plugin} ${rule}`)
    return tags.sort()
  } finally {
    await catalog.close()
  }
}

/** Bytes of every tag file, by name. */
export function tagFileBytes(dataDir: string): Record<string, string> {
  const folder = join(dataDir, 'collections/main')
  const names = readdirSync(folder).filter((name) => /^tag-.*\.parquet$/.test(name))
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(folder, name), 'base64')]))
}
