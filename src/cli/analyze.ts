import { PROFILER_NAMES, PROFILERS, type Profiler, pluginOptions } from '../analysis.ts'
import { PLUGINS } from '../components/plugins/all.ts'
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { countText, timeText } from '../core/terminalText.ts'
import type { AnalyzeSummary, RunReport } from '../index.ts'
import { STATUS_VIEWS, statusDisplay } from './analyzeStatus.ts'
import {
  choice,
  choiceOr,
  defineCommand,
  flagName,
  integer,
  type Option,
  type Options,
  text,
  textOr,
  texts,
} from './command.ts'
import type { Io } from './io.ts'
import { EXPRESSION_ARGUMENT } from './questionOptions.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'
import { memoryBytes } from './syncOptions.ts'

/** Bytes, or 0 for no limit. */
const limit = (initial: string, description: string): Option<number | undefined> => ({
  value: 'SIZE',
  description: `${description} 0 for no limit; the default is ${initial}.`,
  parse: (given, name) => (given === '0' ? 0 : memoryBytes(given, name)),
})

const minutes = (description: string): Option<number | undefined> => ({
  value: 'MINUTES',
  description,
  parse(given, name) {
    const value = /^\d{1,6}(\.\d{1,6})?$/.test(given) ? Number(given) : Number.NaN
    if (value >= 0) return value
    throw new ColdtrailError('E_USAGE', { message: `${name}: "${given}" is no number of minutes.` })
  },
})

const seconds = (description: string): Option<number | undefined> => ({
  value: 'SECONDS',
  description,
  parse(given, name) {
    const value = /^\d{1,4}(\.\d{1,3})?$/.test(given) ? Number(given) : Number.NaN
    if (value >= 0.05) return value
    throw new ColdtrailError('E_USAGE', { message: `${name}: "${given}" is no number of seconds from 0.05 on.` })
  },
})

const OPTIONS = {
  plugins: text('A,B,…', 'Plugins to run, in this order; `analyze list` names them.'),
  ...RANGE_OPTIONS,
  mode: choiceOr(['strict', 'plaso'], 'strict', 'plaso: the expression means what the filter of psort means by it.'),
  collection: text('A,B,…', 'Collection to analyse, or workbenches of it; the default is main.'),
  limit: integer('N', 'Only the N events with the lowest ids.', 1),
  workers: integer('N', 'Worker processes; the default is one per core.', 1),
  workerMemoryLimit: limit('2G', 'Resident memory at which a worker is replaced, and its task cut.'),
  workerTimeout: minutes('Without a sign of life for so long, a working worker is replaced; the default is 15.'),
  processMemoryLimit: limit('4G', 'Resident memory of the foreman at which the run ends, to be resumed.'),
  taskRows: integer('N', 'Events of a task; the default is 500,000.', 1),
  resume: integer('RUN', 'Go on with a run that ended without results, as it was begun.', 1),
  option: texts('PLUGIN.KEY=VALUE', 'An option of a plugin of your own.'),
  statusView: choice(
    STATUS_VIEWS,
    'How the status is shown; the default is window on a terminal, log lines elsewhere.',
  ),
  statusViewInterval: seconds('Between two statuses; the default is 0.5.'),
  statusViewFile: textOr('FILE', 'status.info', 'Where the view file writes it.'),
  profilers: text('A,B,…', `Profilers, or list: ${PROFILER_NAMES.join(', ')}.`),
  profilingDirectory: textOr('DIR', 'profiles', 'Where profilers write their CSV files.'),
} as const

export const analyzeCommand = defineCommand({
  name: 'analyze',
  summary: 'Run plugins over events: tags, findings and a report',
  details:
    'Tasks are done by worker processes under supervision; one that dies, hangs or needs too much memory is replaced, and ' +
    'its task cut until the event that does it is alone. Nothing exists before the run is committed; one that was ' +
    'interrupted goes on with --resume. Running again changes no count. Plugins also have a section each in coldtrail.yaml.',
  arguments: [EXPRESSION_ARGUMENT],
  options: { ...OPTIONS, ...pluginFlags() },
  examples: [
    { line: 'analyze --plugins tagging', note: 'Label events by the rules that come with the program' },
    {
      line: 'analyze --plugins tagging,sessionize "data_type == \'aws:cloudtrail:entry\'" --from -7d',
      note: 'Two plugins over the CloudTrail of a week',
    },
    { line: 'analyze --plugins sessionize --sessionize-maximum-pause 30 --workers 4', note: 'An option of a plugin' },
    { line: 'analyze --resume 3', note: 'Go on where run 3 was interrupted' },
  ],
  exits: ['partial', 'conflict', 'store'],
  async run([expression], given, io) {
    const options = given as typeof given & Readonly<Record<string, unknown>>
    if (options.profilers === 'list') return listProfilers(io)
    const names = (options.plugins ?? '')
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
    if (names.length === 0 && options.resume === undefined)
      throw new ColdtrailError('E_USAGE', { message: 'Name plugins with --plugins, or a run with --resume.' })
    if (options.resume !== undefined && (names.length > 0 || expression !== undefined || options.from || options.to))
      throw new ColdtrailError('E_USAGE', {
        message: 'A run is resumed as it was begun: --resume goes without --plugins, an expression and times.',
      })
    const coldtrail = await io.open()
    const { from, to, zoneAssumed } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
    if (zoneAssumed) io.log('info', 'A time without a zone was taken as UTC.')
    const display = statusDisplay(io, {
      ...{ view: options.statusView, file: options.statusViewFile, place: coldtrail.config.data_dir },
    })
    const summary = await coldtrail.analysis.run({
      ...{ plugins: names, options: pluginValues(options), expression, mode: options.mode, from, to },
      ...{ collection: options.collection, limit: options.limit, workers: options.workers, resume: options.resume },
      ...{ taskRows: options.taskRows, workerMemoryLimit: options.workerMemoryLimit },
      ...{ processMemoryLimit: options.processMemoryLimit, workerTimeoutMinutes: options.workerTimeout },
      ...{ profilers: profilersOf(options.profilers), profilingDirectory: options.profilingDirectory },
      commandLine: commandLine(),
      ...{ signal: io.signal, onStatus: display },
      ...(options.statusViewInterval !== undefined && { statusMilliseconds: options.statusViewInterval * 1_000 }),
    })
    if (io.json) io.emit(summaryJson(summary))
    else {
      for (const line of reportLines(summary.report)) io.print(line)
      if (summary.newFindings > 0)
        io.print(`${countText(summary.newFindings, 'new finding')}: ./coldtrail findings --run ${summary.run}`)
    }
    return summary.report.state === 'partial' ? EXIT.partial : EXIT.ok
  },
})

/** A report for people: what was analysed, each plugin, and what was left out. */
export function reportLines(report: RunReport): string[] {
  const { run, state, events, warnings, plugins } = report
  const seconds = (report.ended - report.started) / 1e6
  const lines = [
    `Run ${run} ${state}: ${countText(events.analyzed, 'event')} analysed of ${events.total.toLocaleString('en-US')}, ` +
      `${countText(report.tags, 'tag')}, ${countText(report.findings, 'finding')}, ${seconds.toFixed(1)} s.`,
    ...(events.filtered + events.duplicates > 0
      ? [
          `Filtered: ${events.filtered.toLocaleString('en-US')}, duplicates: ${events.duplicates.toLocaleString('en-US')}.`,
        ]
      : []),
  ]
  for (const plugin of plugins) {
    lines.push('', `Analysis report: ${plugin.plugin}`)
    lines.push(`Date and time: ${timeText(report.ended).slice(0, 19)}`)
    lines.push(`Event filter: ${report.expression === '' ? 'N/A' : printable(report.expression, 1_000)}`)
    lines.push('Results')
    const shown = plugin.counters.slice(0, SHOWN)
    for (const [name, count] of shown) lines.push(`  ${printable(name)}: ${count}`)
    const more = plugin.counters.length - shown.length
    if (more > 0) lines.push(`  and ${more} more: ./coldtrail analyze results ${run} ${plugin.plugin}`)
    if (plugin.text !== undefined) lines.push(...plugin.text.split('\n').map((line) => `  ${printable(line, 1_000)}`))
    if (plugin.skipped > 0) lines.push(`  ${countText(plugin.skipped, 'event')} passed over`)
  }
  if (warnings.length > 0) {
    lines.push('', state === 'partial' ? 'The run is partial:' : 'Warnings:')
    for (const { plugin, message } of warnings.slice(0, SHOWN))
      lines.push(`  ${plugin === null ? '' : `${plugin}: `}${printable(message, 1_000)}`)
    if (warnings.length > SHOWN)
      lines.push(`  and ${warnings.length - SHOWN} more: ./coldtrail analyze report ${run} --json`)
  }
  return lines
}

// --- internal ---

const SHOWN = 30

const summaryJson = ({ report, newFindings, seconds }: AnalyzeSummary): object => ({
  type: 'run',
  ...report,
  new_findings: newFindings,
  seconds,
})

/** `--<plugin>-<option>` of every plugin of the program. */
function pluginFlags(): Options {
  const flags: Record<string, Option<unknown>> = {}
  for (const { name: plugin, options } of PLUGINS)
    for (const { name, description, default: initial } of pluginOptions(options)) {
      const suffix = initial === undefined || initial === '' ? '' : ` The default is ${initial}.`
      flags[flagKey(plugin, name)] = {
        value: name.toUpperCase(),
        description: `${plugin}: ${description || name}${suffix}`,
      }
    }
  return flags
}

/** Flags take `-`; a key that reads back the same way. */
function flagKey(plugin: string, option: string): string {
  return `${plugin}_${option}`.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

function pluginValues(options: Readonly<Record<string, unknown>>): Record<string, Record<string, unknown>> {
  const values: Record<string, Record<string, unknown>> = {}
  const set = (plugin: string, key: string, given: string): void => {
    values[plugin] = { ...values[plugin], [key]: scalar(given) }
  }
  for (const { name: plugin, options: schema } of PLUGINS)
    for (const { name, type } of pluginOptions(schema)) {
      const given = options[flagKey(plugin, name)]
      if (typeof given === 'string')
        values[plugin] = { ...values[plugin], [name]: type === 'string' ? given : scalar(given) }
    }
  for (const given of options.option as readonly string[]) {
    const found = /^([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*)=(.*)$/s.exec(given)
    if (!found) throw new ColdtrailError('E_USAGE', { message: `--option: "${given}" is not PLUGIN.KEY=VALUE.` })
    set(found[1]!, found[2]!, found[3]!)
  }
  return values
}

/** The schema says which of them are right. */
function scalar(given: string): unknown {
  if (/^(true|yes|on)$/i.test(given)) return true
  if (/^(false|no|off)$/i.test(given)) return false
  return /^-?\d{1,15}(\.\d{1,15})?$/.test(given) ? Number(given) : given
}

function profilersOf(given: string | undefined): Profiler[] {
  const names = (given ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  const unknown = names.find((name) => !(name in PROFILERS))
  if (unknown !== undefined)
    throw new ColdtrailError('E_USAGE', {
      message: `--profilers: "${unknown}" is none of ${PROFILER_NAMES.join(', ')}.`,
    })
  return names as Profiler[]
}

function listProfilers(io: Io): undefined {
  for (const [name, purpose] of Object.entries(PROFILERS))
    if (io.json) io.emit({ name, purpose })
    else io.print(`${name.padEnd(12)} ${purpose}`)
}

/** As it was typed, without values of options that may be secrets. */
function commandLine(): string {
  const secrets = new Set(
    PLUGINS.flatMap(({ name, options }) =>
      pluginOptions(options).flatMap((option) =>
        option.secret ? [flagName(flagKey(name, option.name), { value: 'x', description: '' })] : [],
      ),
    ),
  )
  const words = process.argv.slice(2)
  return words
    .map((word, at) => {
      const [flag = ''] = word.split('=')
      if (secrets.has(flag) && word.includes('=')) return `${flag}=(hidden)`
      if (words[at - 1] === '--option' || word.startsWith('--option=')) return word.replace(/=[^=]*$/, '=(hidden)')
      return secrets.has(words[at - 1] ?? '') ? '(hidden)' : word
    })
    .join(' ')
}
