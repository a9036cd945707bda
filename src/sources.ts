/** From what a person names (a URI, a folder, a configured name) to a source, its list and its bytes. */
import { openSource, type SourceDeclaration } from './collect/openSource.ts'
import type { ListRange, ListStatistics, Source } from './components/source.ts'
import { SOURCES } from './components/sources/all.ts'
import { parseSourceUri } from './components/sources/sourceUri.ts'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import type { SourceObject } from './core/sourceObject.ts'
import type { Probe } from './doctor.ts'
import { scratchFolder } from './platform/scratchFile.ts'

/** Keys of a source's configuration, given beside a URI; they go over what the configuration says. */
export type SourceSettings = Readonly<Record<string, unknown>>

export interface SourceRequest {
  /** URI, folder, file, `-`, or the name of a configured source. */
  readonly source: string
  readonly settings?: SourceSettings
  readonly range?: ListRange
  readonly signal?: AbortSignal
}

/** The sources named, or without a name all configured ones. Nothing is opened. E_SOURCE_MISSING, E_USAGE. */
export function resolveSources(
  config: Pick<Config, 'sources'>,
  names: readonly string[],
  settings: SourceSettings = {},
): SourceDeclaration[] {
  if (names.length > 0) return names.map((name) => resolveSource(config, name, settings))
  if (config.sources.length === 0) throw new ColdtrailError('E_SOURCE_MISSING')
  return config.sources.map((source) => checked({ ...source, ...settings }))
}

/** What a source holds, as the collector sees it. */
export async function* listSource(
  config: Config,
  log: Log,
  { source: name, settings, range = {}, signal }: SourceRequest,
  statistics = emptyStatistics(),
): AsyncGenerator<SourceObject> {
  const source = await open(resolveSources(config, [name], settings)[0]!, log)
  try {
    for await (const page of source.list(range, statistics, signal)) yield* page
  } finally {
    await source.close()
  }
}

/** The bytes of the object of exactly that key, else of all below it, one after another. E_SOURCE_EMPTY. */
export async function* catSource(
  config: Config,
  log: Log,
  { source: name, settings, range = {}, received = false, signal }: SourceRequest & { readonly received?: boolean },
): AsyncGenerator<Uint8Array> {
  const { decodeStream } = await import('./collect/decode.ts')
  const limits = { maxBytes: config.collect.max_object_bytes, maxRatio: config.collect.max_ratio }
  const declaration = resolveSources(config, [name], settings)[0]!
  const source = await open(declaration, log)
  try {
    let count = 0
    for await (const page of source.list(range, emptyStatistics(), signal)) {
      const exact = page.filter(({ key }) => count === 0 && key === declaration.prefix)
      for (const object of exact.length > 0 ? exact : page) {
        count += 1
        const bytes = await source.open(object, signal)
        yield* received
          ? bytes
          : (await decodeStream(bytes, object.size, limits, scratchFolder(config.data_dir))).decoded
      }
      if (exact.length > 0) return
    }
    if (count === 0) throw new ColdtrailError('E_SOURCE_EMPTY', { source: name })
  } finally {
    await source.close()
  }
}

/** For `doctor`: one listing request proves credentials, region, endpoint and permission. */
export function sourceProbe(config: Config, name: string, log: Log): Probe {
  return [
    `source ${name}`,
    async () => {
      for await (const _ of listSource(config, log, { source: name })) return 'answers, and holds objects'
      return 'answers, and holds nothing'
    },
  ]
}

// --- internal ---

function open(declaration: SourceDeclaration, log: Log): Promise<Source> {
  return openSource(declaration, (message, values) => log('warn', message, values))
}

function resolveSource(config: Pick<Config, 'sources'>, name: string, settings: SourceSettings): SourceDeclaration {
  const configured = config.sources.find((source) => source.name === name)
  if (configured) return checked({ ...configured, ...settings })
  const uri = parseSourceUri(name)
  return checked({ name, type: uri.component, ...uri.config, ...settings })
}

function checked({ name, type, ...options }: SourceDeclaration): SourceDeclaration {
  const result = SOURCES.find((component) => component.name === type)!.config.safeParse(options)
  if (result.success) return { name, type, ...result.data }
  const issue = result.error.issues[0]!
  const key = issue.code === 'unrecognized_keys' ? issue.keys[0] : issue.path.join('.')
  const reason = issue.code === 'unrecognized_keys' ? `a ${type} source does not have it` : issue.message
  throw new ColdtrailError('E_USAGE', { message: `${name}: ${key}: ${reason}.` })
}

function emptyStatistics(): ListStatistics {
  return { requests: 0, objects: 0, bytes: 0, milliseconds: 0, skipped: new Map() }
}
