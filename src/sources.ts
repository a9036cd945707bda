/** From what a person names (a URI, a folder, a configured name) to an open source. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Source } from './components/source.ts'
import { SOURCES } from './components/sources/all.ts'
import { parseSourceUri } from './components/sources/sourceUri.ts'
import type { Config, SourceConfig } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'

/** Keys of a source's configuration, given beside a URI; they go over what the configuration says. */
export type SourceSettings = Readonly<Record<string, unknown>>

/** The sources named, or without a name all configured ones. Nothing is opened. E_SOURCE_UNKNOWN, E_USAGE. */
export function resolveSources(config: Config, names: readonly string[], settings: SourceSettings): SourceConfig[] {
  if (names.length > 0) return names.map((name) => resolveSource(config, name, settings))
  if (config.sources.length === 0) throw new ColdtrailError('E_SOURCE_MISSING')
  return config.sources.map((source) => checked(source.name, { ...source, ...settings }))
}

export function createSource(source: SourceConfig, log: Log): Promise<Source> {
  const { name: _, type, ...options } = source
  const component = componentOf(type)
  const context = {
    environment: process.env,
    pause: async (milliseconds: number, signal?: AbortSignal) => sleep(milliseconds, undefined, { signal }),
    warn: (message: string, values?: Readonly<Record<string, unknown>>) => log('warn', message, values),
  }
  // `checked` has made these options by this component's own schema.
  return component.create(options as never, context)
}

// --- internal ---

function resolveSource(config: Config, name: string, settings: SourceSettings): SourceConfig {
  const configured = config.sources.find((source) => source.name === name)
  if (configured) return checked(name, { ...configured, ...settings })
  const uri = parseSourceUri(name)
  return checked(name, { name, type: uri.component, ...uri.config, ...settings })
}

function checked(what: string, { name, type, ...options }: Record<string, unknown>): SourceConfig {
  const result = componentOf(String(type)).config.safeParse(options)
  if (result.success) return { name: String(name), type: String(type), ...result.data }
  const issue = result.error.issues[0]!
  const key = issue.code === 'unrecognized_keys' ? issue.keys[0] : issue.path.join('.')
  const reason = issue.code === 'unrecognized_keys' ? `a ${type} source does not have it` : issue.message
  throw new ColdtrailError('E_USAGE', { message: `${what}: ${key}: ${reason}.` })
}

function componentOf(type: string) {
  return SOURCES.find((component) => component.name === type)!
}
