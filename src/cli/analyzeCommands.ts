/** What belongs to analyses besides running them: plugins, runs, what they came to, and their removal. */
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { countText, textTable, timeText } from '../core/terminalText.ts'
import { reportLines } from './analyze.ts'
import { defineCommand } from './command.ts'

const RUN_ARGUMENT = { name: '<run>', description: 'Number of the run; `analyze runs` lists them.' }

const listCommand = defineCommand({
  name: 'analyze list',
  summary: 'Plugins with their purpose and options',
  options: {},
  examples: [{ line: 'analyze list', note: 'Those of the program, and of analysis.plugins_dir' }],
  async run(_args, _options, io) {
    const coldtrail = await io.open()
    for (const plugin of await coldtrail.analysis.plugins()) {
      if (io.json) {
        io.emit({ type: 'plugin', ...plugin })
        continue
      }
      io.print(`${io.style('bold', plugin.name)}  ${plugin.summary}${plugin.module ? ` (${plugin.module})` : ''}`)
      for (const { name, description, required, default: initial } of plugin.options) {
        const flag = `--${plugin.name}-${name}`.replaceAll('_', '-')
        const more = required
          ? ' Required.'
          : initial === undefined || initial === ''
            ? ''
            : ` The default is ${initial}.`
        io.print(`  ${flag}  ${description}${more}`)
      }
      for (const note of plugin.notes) io.print(`  ${printable(note)}`)
    }
    return undefined
  },
})

const runsCommand = defineCommand({
  name: 'analyze runs',
  summary: 'Runs, newest first',
  options: {},
  examples: [{ line: 'analyze runs', note: 'What was analysed, and what came of it' }],
  exits: ['store'],
  async run(_args, _options, io) {
    const coldtrail = await io.open()
    const runs = await coldtrail.analysis.runs()
    if (io.json) {
      for (const { started, ended, time1, time2, ...run } of runs)
        io.emit({
          ...{ type: 'run', ...run, started: isoTimeText(started), ended: ended === null ? null : isoTimeText(ended) },
          ...{ from: time1 === null ? null : isoTimeText(time1), to: time2 === null ? null : isoTimeText(time2) },
        })
      return undefined
    }
    const rows = runs.map(({ run, state, kind, started, tags, findings, plugins, expression, reason }) => [
      run,
      kind === 'imported' ? `${state}, imported` : state,
      timeText(started).slice(0, 19),
      tags,
      findings,
      plugins.map(({ name }) => name).join(','),
      reason === null ? expression : `${expression} ${reason}`.trim(),
    ])
    if (rows.length === 0) io.note('No runs.')
    else {
      const head = ['run', 'state', 'started', 'tags', 'findings', 'plugins', 'expression']
      for (const line of textTable(head, rows, io.width, (head) => io.style('bold', head))) io.print(line)
    }
    return undefined
  },
})

const reportCommand = defineCommand({
  name: 'analyze report',
  summary: 'What a run came to: counters of each plugin, and what was passed over',
  arguments: [RUN_ARGUMENT],
  options: {},
  examples: [{ line: 'analyze report 1', note: 'As it was printed when the run ended' }],
  exits: ['store'],
  async run([run], _options, io) {
    const coldtrail = await io.open()
    const report = await coldtrail.analysis.report(runNumberOf(run!))
    if (io.json) io.emit({ type: 'run', ...report })
    else for (const line of reportLines(report)) io.print(line)
    return undefined
  },
})

const resultsCommand = defineCommand({
  name: 'analyze results',
  summary: 'Everything that one plugin came to in a run',
  arguments: [RUN_ARGUMENT, { name: '<plugin>', description: 'Name of a plugin of that run.' }],
  options: {},
  examples: [{ line: 'analyze results 1 sessionize --json', note: 'Every counter and row, as JSON lines' }],
  exits: ['store'],
  async run([run, plugin], _options, io) {
    const coldtrail = await io.open()
    const found = await coldtrail.analysis.results(runNumberOf(run!), plugin!)
    const { counters, rows = [], warnings, text, labels } = found
    if (io.json) {
      for (const [name, count] of counters) io.emit({ type: 'counter', name, count })
      for (const [label, events] of Object.entries(labels)) io.emit({ type: 'label', label, events })
      for (const row of rows) io.emit({ type: 'result', ...row })
      for (const warning of warnings) io.emit({ type: 'warning', ...warning })
      return undefined
    }
    for (const [name, count] of counters) io.print(`${printable(name)}: ${count}`)
    if (text !== undefined) for (const line of text.split('\n')) io.print(printable(line, 1_000))
    if (rows.length > 0) {
      const head = [...new Set(rows.flatMap((row) => Object.keys(row)))]
      const cells = rows.map((row) => head.map((name) => row[name]))
      for (const line of textTable(head, cells, io.width, (head) => io.style('bold', head))) io.print(line)
    }
    for (const { message } of warnings) io.print(`warning: ${printable(message, 1_000)}`)
    return undefined
  },
})

const removeCommand = defineCommand({
  name: 'analyze remove',
  summary: 'Remove a run with its tags, and its findings that no other run has',
  arguments: [RUN_ARGUMENT],
  options: {},
  examples: [{ line: 'analyze remove 1', note: 'As if it had never been, but for the chain, which says so' }],
  exits: ['conflict', 'store'],
  async run([run], _options, io) {
    const coldtrail = await io.open()
    const removed = await coldtrail.analysis.remove(runNumberOf(run!))
    if (io.json) io.emit({ type: 'removed', ...removed })
    else
      io.print(
        `Removed run ${removed.run} with ${countText(removed.tags, 'tag')} and ${countText(removed.findings, 'finding')}.`,
      )
    return EXIT.ok
  },
})

export const ANALYZE_COMMANDS = [listCommand, runsCommand, reportCommand, resultsCommand, removeCommand]

// --- internal ---

function runNumberOf(given: string): number {
  if (/^[1-9]\d{0,8}$/.test(given)) return Number(given)
  throw new ColdtrailError('E_USAGE', { message: `"${given}" is no number of a run.` })
}
