import { isoTimeText } from '../core/isoTime.ts'
import { textTable, timeText } from '../core/terminalText.ts'
import { choice, defineCommand, flag, integer, text } from './command.ts'
import { eventJson } from './eventOutput.ts'
import { EXPRESSION_ARGUMENT, QUESTION_OPTIONS, questionRequest, tellCompleteness } from './questionOptions.ts'

const { explain: _, ...ASKED } = QUESTION_OPTIONS
const TABLE_LIMIT = 100
const TABLE_COLUMNS = ['message'] as const

export const findingsCommand = defineCommand({
  name: 'findings',
  summary: 'What analyses found worth telling, with the events',
  details:
    'In the order in which runs brought them; a finding that several runs made stands there once. The expression is ' +
    'about the events. A table shows 100 unless --limit says otherwise; --json gives all.',
  arguments: [EXPRESSION_ARGUMENT],
  options: {
    ...ASKED,
    run: integer('N', 'Only those that this run made or joined.'),
    severity: choice(['informational', 'low', 'medium', 'high', 'critical'], 'So severe or more.'),
    columns: text('A,B,…', 'Columns of the events to give, comma-separated.'),
    limit: integer('N', 'At most so many findings; 0 for all.'),
    ids: flag('Only the ids of their events, a line each: for `show` and for scripts.'),
  },
  examples: [
    { line: 'findings', note: 'The first 100' },
    { line: 'findings --severity high --from -7d', note: 'Grave ones about events of the last week' },
    { line: 'findings "user == \'alice\'" --json', note: 'About one user, as JSON lines with every column' },
  ],
  exits: ['store', 'incomplete'],
  async run([expression], options, io) {
    const coldtrail = await io.open()
    const columns = options.columns?.split(',').map((name) => name.trim())
    const isTable = !io.json && !options.ids
    const limit = options.limit === undefined && isTable ? TABLE_LIMIT + 1 : options.limit || undefined
    const found = await coldtrail.findings({
      ...questionRequest(expression, { ...options, explain: false }, io),
      ...{ run: options.run, severity: options.severity, limit },
      columns: columns ?? (io.json ? undefined : TABLE_COLUMNS),
    })
    const shown = columns ?? TABLE_COLUMNS
    const rows: unknown[][] = []
    for await (const { finding, event } of found.findings) {
      if (options.ids) {
        if (finding.event !== null) io.print(String(finding.event))
      } else if (io.json) {
        const { time, sequence: _sequence, line: _line, event: id, ...facts } = finding
        const told = { ...facts, time: time === null ? null : isoTimeText(time), event_id: id }
        io.emit({ ...told, event: event && eventJson(event) })
      } else {
        const { time, severity, title, label, segment, event: id } = finding
        const values = shown.map((name) =>
          name === 'time' && event?.time ? timeText(Number(event.time)) : event?.[name],
        )
        rows.push([
          time === null ? '' : timeText(time).slice(0, 19),
          severity,
          title,
          label,
          id ?? `segment ${segment}`,
          ...values,
        ])
      }
    }
    if (!options.ids && !io.json) {
      const isCut = options.limit === undefined && rows.length > TABLE_LIMIT
      if (isCut) rows.pop()
      const head = ['time', 'severity', 'title', 'label', 'event', ...shown]
      if (rows.length === 0) io.note('No findings.')
      else for (const line of textTable(head, rows, io.width, (name) => io.style('bold', name))) io.print(line)
      if (isCut) io.note(`The first ${TABLE_LIMIT}; there are more: --limit 0 gives all.`)
    }
    const { complete, why } = found
    tellCompleteness({ complete, why, explanation: NOTHING_EXPLAINED }, { ...options, explain: false }, io)
    return undefined
  },
})

// --- internal ---

const NOTHING_EXPLAINED = { segments: 0, stages: [], opened: 0 }
