/** Plugins made ready before any worker starts: options validated, rules compiled, files read, services probed. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Foreman as ForemanOfPlugin, Plugin, PluginContext } from '../components/plugin.ts'
import { ColdtrailError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { isProcessAlive } from '../platform/processes.ts'
import { compile } from '../query/expression.ts'
import { isBatchColumn } from '../store/columnBatches.ts'
import { isLabel } from '../store/tags.ts'
import type { FoundPlugin } from './plugins.ts'
import { compileRule } from './ruleSet.ts'
import type { PluginPlan } from './tasks.ts'

export interface ChosenPlugin extends FoundPlugin {
  /** As given; validated here. */
  readonly options: Readonly<Record<string, unknown>>
}

export interface PreparedPlugin extends PluginPlan {
  readonly version: number
  /** As validated, without secrets. */
  readonly options: Readonly<Record<string, unknown>>
  readonly plugin: Plugin
  /** What it may use when it finishes: its options with their secrets, and its surroundings. */
  readonly foreman: ForemanOfPlugin
  /** Of everything that decides what the plugin says of an event. */
  readonly digest: string
}

/** Options as the plugin's schema has them. E_PLUGIN_OPTION. */
export function validOptions({ component, options }: ChosenPlugin): Record<string, unknown> {
  const result = component.options.safeParse(options)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  const plugin = component.name
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(component.options.shape)
    const reason = known.length === 0 ? 'it has no options' : `it is unknown; there are ${known.join(', ')}`
    throw new ColdtrailError('E_PLUGIN_OPTION', { plugin, option: issue.keys[0]!, reason })
  }
  const option = issue.path.join('.')
  const isAbsent = options[option] === undefined
  const reason = isAbsent ? 'it must be given' : issue.message.replace(/^Invalid input: /, '')
  throw new ColdtrailError('E_PLUGIN_OPTION', { plugin, option, reason })
}

/** Names of options whose values are never shown or stored. */
export function secretOptions({ component }: Pick<ChosenPlugin, 'component'>): string[] {
  const { properties = {} } = z.toJSONSchema(component.options, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Record<string, { secret?: boolean }>
  }
  return Object.keys(properties).filter((key) => properties[key]!.secret)
}

export const HIDDEN = '(hidden)'

export function withoutSecrets(chosen: ChosenPlugin, options: Record<string, unknown>): Record<string, unknown> {
  const secrets = secretOptions(chosen)
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key, secrets.includes(key) && value !== undefined ? HIDDEN : value]),
  )
}

/** A folder for tables that plugins make for their workers, and those of dead processes removed. */
export class Scratch {
  readonly directory: string

  constructor(dataDir: string) {
    const folder = join(dataDir, 'analyze')
    this.directory = join(folder, `scratch-${process.pid}`)
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      const pid = Number(/^scratch-(\d+)$/.exec(name)?.[1] ?? Number.NaN)
      if (pid === process.pid || (pid > 0 && !isProcessAlive(pid)))
        rmSync(join(folder, name), { recursive: true, force: true })
    }
  }

  file(name: string): string {
    if (!/^[\w.-]{1,100}$/.test(name)) throw new RangeError(`"${name}" is no name of a scratch file`)
    mkdirSync(this.directory, { recursive: true })
    return join(this.directory, name)
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

export async function preparePlugin(
  chosen: ChosenPlugin,
  parts: {
    readonly context: Omit<PluginContext, 'scratchFile' | 'warn'>
    readonly scratch: Scratch
    /** Microseconds: what `now()` means in rules. */
    readonly now: number
    readonly log: Log
  },
): Promise<PreparedPlugin> {
  const { component, module } = chosen
  const { name, version } = component
  const { log, scratch } = parts
  const options = validOptions(chosen)
  const files = new Set<string>()
  const context: PluginContext = {
    ...parts.context,
    warn: (message) => log('warn', message, { plugin: name }),
    scratchFile(file) {
      const path = scratch.file(`${name}-${file}`)
      files.add(path)
      return path
    },
  }
  const work = await component.prepare(options, context)
  const plugin = component.start(work)
  check(name, plugin, parts.now, log)
  const digest = digestOf(version, options, work, files, scratch.directory)
  const foreman = { options, context }
  return { name, version, module, work, plugin, foreman, options: withoutSecrets(chosen, options), digest }
}

// --- internal ---

function check(name: string, plugin: Plugin, now: number, log: Log): void {
  const refuse = (rule: string, reason: string, cause?: unknown) =>
    new ColdtrailError('E_PLUGIN_RULE', { plugin: name, rule, reason }, { cause })
  if (plugin.shape === 'rules') {
    for (const rule of plugin.rules) {
      const title = rule.rule || rule.label
      if (!isLabel(rule.label)) throw refuse(title, `"${rule.label}" is no label (letters, digits and _)`)
      let reason: string | undefined
      try {
        reason = compileRule({ ...rule, plugin: name }, now).compiled.contradiction()
      } catch (error) {
        throw refuse(title, (error as Error).message, error)
      }
      if (reason !== undefined) log('warn', 'a rule can match nothing', { plugin: name, rule: title, reason })
    }
    return
  }
  const unknown = plugin.columns.find((column) => !isBatchColumn(column))
  if (unknown !== undefined) throw refuse('columns', `${unknown} is no column of events and no data.<path>`)
  try {
    if (plugin.where !== undefined) compile(plugin.where, { now })
  } catch (error) {
    throw refuse('where', (error as Error).message, error)
  }
}

function digestOf(
  version: number,
  options: unknown,
  work: unknown,
  files: ReadonlySet<string>,
  scratch: string,
): string {
  const hash = createHash('sha256')
  const text = JSON.stringify([version, options, work], plain) ?? ''
  hash.update(text.replaceAll(JSON.stringify(scratch).slice(1, -1), 'scratch'))
  for (const path of [...files].sort()) if (existsSync(path)) hash.update(readFileSync(path))
  return hash.digest('hex')
}

function plain(_key: string, value: unknown): unknown {
  if (value instanceof Map || value instanceof Set) return [...value]
  if (ArrayBuffer.isView(value))
    return createHash('sha256')
      .update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
      .digest('hex')
  return typeof value === 'bigint' ? `${value}n` : value
}
