/** Plugins by name: those of the program, and those of a folder of the user's own. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { PluginComponent } from '../components/plugin.ts'
import { PLUGINS } from '../components/plugins/all.ts'
import { ColdtrailError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import { moduleThatHangs } from './moduleProbe.ts'

export interface FoundPlugin {
  readonly component: PluginComponent
  /** URL of the module that exports it; null for one that comes with the program. */
  readonly module: string | null
}

/**
 * Those of the program and of `directory`, by name. E_PLUGIN_MODULE for a module that exports none, a name taken, or a
 * module whose loading does not end within `loadMilliseconds`.
 */
export async function findPlugins(
  directory?: string,
  loadMilliseconds = LOAD_MILLISECONDS,
): Promise<ReadonlyMap<string, FoundPlugin>> {
  const found = new Map<string, FoundPlugin>()
  for (const component of PLUGINS) found.set(component.name, { component: anyPlugin(component), module: null })
  if (directory === undefined) return found
  const modules = modulesOf(directory).map((name) => {
    const path = join(directory, name)
    return { path, module: pathToFileURL(path).href }
  })
  const hanging = await moduleThatHangs(
    modules.map(({ module }) => module),
    loadMilliseconds,
  )
  for (const { path, module } of modules) {
    const refuse = (cause: string, error?: unknown) =>
      new ColdtrailError('E_PLUGIN_MODULE', { path, cause }, { cause: error })
    if (module === hanging) throw refuse('its loading does not end')
    let exported: readonly unknown[]
    try {
      exported = Object.values((await import(module)) as Record<string, unknown>)
    } catch (error) {
      throw refuse((error as Error).message, error)
    }
    const components = exported.filter(isPlugin)
    if (components.length === 0) throw refuse('it exports no plugin')
    for (const component of components) {
      if (found.has(component.name)) throw refuse(`there is another plugin ${component.name}`)
      found.set(component.name, { component, module })
    }
  }
  return found
}

/** E_PLUGIN_UNKNOWN with the nearest name. */
export function pluginNamed(name: string, plugins: ReadonlyMap<string, FoundPlugin>): FoundPlugin {
  const plugin = plugins.get(name)
  if (plugin) return plugin
  const known = [...plugins.values()]
    .filter(({ component }) => !component.hidden)
    .map(({ component }) => component.name)
  const guess = nearest(name, known)
  const suggestion = guess === undefined ? '' : ` Did you mean ${guess}?`
  throw new ColdtrailError('E_PLUGIN_UNKNOWN', { name, suggestion, known: known.sort().join(', ') })
}

/** The component of a plan, in a worker. */
export async function loadPlugin(name: string, module: string | null): Promise<PluginComponent> {
  if (module === null) return anyPlugin(PLUGINS.find((component) => component.name === name)!)
  const exported = Object.values((await import(module)) as Record<string, unknown>)
  return exported.filter(isPlugin).find((component) => component.name === name)!
}

// --- internal ---

/** Of one module; a slow machine needs a second. */
const LOAD_MILLISECONDS = 30_000

/** The engine passes on what `prepare` gave and never looks into it. */
const anyPlugin = (component: unknown): PluginComponent => component as PluginComponent

function isPlugin(value: unknown): value is PluginComponent {
  const plugin = value as PluginComponent | null
  return (
    typeof plugin === 'object' &&
    plugin?.kind === 'plugin' &&
    /^[a-z][a-z0-9_]{0,62}$/.test(plugin.name) &&
    typeof plugin.prepare === 'function' &&
    typeof plugin.start === 'function' &&
    typeof plugin.options?.safeParse === 'function'
  )
}

function modulesOf(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => /\.(ts|js|mjs)$/.test(name) && !/\.(test|d)\.ts$/.test(name))
      .sort()
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path: directory, cause: (error as Error).message }, { cause: error })
  }
}
