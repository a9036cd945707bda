/**
 * The library: `open(config)` joins the halves below. CLI, daemon and UI use nothing else; what they cannot do through
 * it is missing from it. Layers are loaded when they are first needed, so that a search does not wait for the AWS SDK.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ListRange, ListStatistics } from './components/source.ts'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import type { SourceObject } from './core/sourceObject.ts'
import type { Check } from './doctor.ts'
import { examine } from './doctor.ts'
import { createSource, resolveSources, type SourceSettings } from './sources.ts'
import type { Catalog, RebuildReport } from './store/catalog.ts'
import { type ManifestMatch, manifestQuery } from './store/history.ts'
import type { Manifest } from './store/manifest.ts'

export { type Config, type ConfigPlace, loadConfig, parseConfig } from './config.ts'
export { ColdtrailError, ERRORS, type ErrorCode, EXIT } from './core/errors.ts'
export type { Log, LogLevel } from './core/log.ts'
export type { SourceObject } from './core/sourceObject.ts'
export type { Check } from './doctor.ts'
export { writeInitialConfig } from './initialConfig.ts'
export type { SourceSettings } from './sources.ts'
export { printManifest } from './store/manifestText.ts'

export interface OpenOptions {
  readonly log?: Log
}

export interface SourceRequest {
  /** URI, folder, file, `-`, or the name of a configured source. */
  readonly source: string
  readonly settings?: SourceSettings
  readonly signal?: AbortSignal
}

export type ManifestQuery = NonNullable<Parameters<typeof manifestQuery>[1]>

export interface Coldtrail {
  readonly config: Config
  /** What a source holds in a range, as the collector would see it, page by page. */
  listSource(
    request: SourceRequest & { readonly range?: ListRange; readonly statistics?: ListStatistics },
  ): AsyncIterable<SourceObject>
  /** The bytes of one object (or of all below a prefix, one after another), inflated unless `received`. E_SOURCE_EMPTY. */
  catSource(
    request: SourceRequest & { readonly range?: ListRange; readonly received?: boolean },
  ): AsyncIterable<Uint8Array>
  /** Manifests of every segment ever sealed that overlap a range of POSIX seconds, wherever the data are. */
  manifestQuery(query?: ManifestQuery): readonly ManifestMatch<Manifest>[]
  /** A new catalog from segments, manifests, history and chain; the old one is kept beside it. */
  rebuildCatalog(): Promise<RebuildReport>
  doctor(): Promise<readonly Check[]>
  close(): Promise<void>
}

export async function open(config: Config, { log = () => undefined }: OpenOptions = {}): Promise<Coldtrail> {
  const { data_dir: dataDir, catalog_url: url } = config
  const historyDirectory = config.manifest_dir ?? join(dataDir, 'history')
  const catalogOptions = { dataDir, historyDir: historyDirectory, url }
  let catalogOpened: Promise<Catalog> | undefined
  const catalog = (): Promise<Catalog> => {
    catalogOpened ??= import('./store/catalog.ts').then(({ openCatalog }) => openCatalog(catalogOptions))
    return catalogOpened
  }
  const requireData = (): void => {
    if (!existsSync(dataDir)) throw new ColdtrailError('E_DATA_MISSING', { path: dataDir })
  }
  const catalogProbe = [
    'catalog',
    async () => {
      if (!existsSync(dataDir) && url === undefined) return 'made at the first collect'
      const { dialect } = await catalog()
      const segments = await (await catalog()).segments({ state: 'live' })
      const events = segments.reduce((sum, { rows }) => sum + rows, 0)
      return `${dialect} opens; ${segments.length} segments with ${events} events`
    },
  ] as const
  return {
    config,
    async *listSource({ source, settings = {}, range = {}, statistics = emptyStatistics(), signal }) {
      const opened = await createSource(resolveSources(config, [source], settings)[0]!, log)
      try {
        for await (const page of opened.list(range, statistics, signal)) yield* page
      } finally {
        await opened.close()
      }
    },
    async *catSource({ source: name, settings = {}, range = {}, received = false, signal }) {
      const [described] = resolveSources(config, [name], settings)
      const { decodeStream } = await import('./collect/decode.ts')
      const limits = { maxBytes: config.collect.max_object_bytes, maxRatio: config.collect.max_ratio }
      const source = await createSource(described!, log)
      try {
        let count = 0
        for await (const page of source.list(range, emptyStatistics(), signal)) {
          const exact = page.filter(({ key }) => count === 0 && key === described!.prefix)
          for (const object of exact.length > 0 ? exact : page) {
            count += 1
            const bytes = await source.open(object, signal)
            yield* received ? bytes : (await decodeStream(bytes, object.size, limits)).decoded
          }
          if (exact.length > 0) return
        }
        if (count === 0) throw new ColdtrailError('E_SOURCE_EMPTY', { source: name })
      } finally {
        await source.close()
      }
    },
    manifestQuery: (query = {}) => manifestQuery(historyDirectory, query),
    async rebuildCatalog() {
      requireData()
      const { rebuildCatalog } = await import('./store/catalog.ts')
      return rebuildCatalog(catalogOptions)
    },
    doctor: () => examine(config, [catalogProbe, ...config.sources.map(({ name }) => sourceProbe(config, name, log))]),
    async close() {
      await catalogOpened?.then((catalog) => catalog.close())
    },
  }
}

// --- internal ---

function emptyStatistics(): ListStatistics {
  return { requests: 0, objects: 0, bytes: 0, milliseconds: 0, skipped: new Map() }
}

/** One listing request proves credentials, region, endpoint and permission. */
function sourceProbe(config: Config, name: string, log: Log): readonly [string, () => Promise<string>] {
  return [
    `source ${name}`,
    async () => {
      const source = await createSource(resolveSources(config, [name], {})[0]!, log)
      const stop = new AbortController()
      try {
        for await (const page of source.list({}, emptyStatistics(), stop.signal)) {
          stop.abort()
          return `${source.name} answers; ${page.length} objects on its first page`
        }
        return `${source.name} answers and holds nothing`
      } finally {
        await source.close()
      }
    },
  ]
}
