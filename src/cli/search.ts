import { closeSync, openSync, writeSync } from 'node:fs'
import { extname } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import type { EventRow, Search } from '../index.ts'
import { attempt } from '../platform/files.ts'
import { choice, choiceOr, defineCommand, flag, integer, text } from './command.ts'
import { csvEvent, csvLine, eventJson, eventTable, isFormula } from './eventOutput.ts'
import type { Io } from './io.ts'
import { EXPRESSION_ARGUMENT, QUESTION_OPTIONS, questionRequest, tellCompleteness } from './questionOptions.ts'

const FORMATS = ['table', 'json', 'csv', 'parquet'] as const
type Format = (typeof FORMATS)[number]

const TABLE_COLUMNS = ['id', 'time', 'data_type', 'message'] as const
const TABLE_LIMIT = 100

export const searchCommand = defineCommand({
  name: 'search',
  summary: 'Find events',
  details:
    'Only committed events are seen, and segments that cannot hold a match are not opened. A table shows 100 events ' +
    'unless --limit says otherwise; json, csv and parquet give every match.',
  arguments: [EXPRESSION_ARGUMENT],
  options: {
    ...QUESTION_OPTIONS,
    count: flag('Only how many there are.'),
    limit: integer('N', 'At most so many events.'),
    order: choiceOr(['time', '-time', 'id', '-id'], 'time', 'Order of the events; - for the last one first.'),
    columns: text('A,B,…', 'Columns to give, comma-separated; uid and session.key are known too.'),
    distinct: text(
      'FIELD',
      'Of events with the same value only the first: one delivered by several trails counts once.',
    ),
    format: choice(FORMATS, 'Form of the answer; the default is table, json with --json, else the ending of --out.'),
    out: text('FILE', 'Write the events there.'),
    spreadsheet: flag(
      "For csv: put ' before text that a spreadsheet would run as a formula. Without it values are as they were logged.",
    ),
    mode: choiceOr(['strict', 'plaso'], 'strict', 'plaso: the expression means what the filter of psort means by it.'),
  },
  examples: [
    { line: 'search "api.operation == \'CreateUser\'"', note: 'Who made users' },
    { line: 'search "ip in \'198.51.100.0/24\'" --from 2026-03-10 --count --json', note: 'How many, for a program' },
    { line: 'search "error == \'AccessDenied\'" --order -time --limit 20', note: 'The last 20 refusals' },
    {
      line: 'search "operation == \'ConsoleLogin\'" --columns time,user,ip --out logins.csv',
      note: 'As they were logged, for a program',
    },
    {
      line: 'search "operation == \'ConsoleLogin\'" --columns time,user,ip --spreadsheet --out logins.csv',
      note: 'For a spreadsheet: no value is run as a formula',
    },
    { line: 'search "user == \'alice\'" --distinct metadata_uid --json', note: 'Every match once, as JSON lines' },
  ],
  exits: ['store', 'incomplete'],
  async run([expression], options, io) {
    const coldtrail = await io.open()
    const request = questionRequest(expression, options, io)
    const { mode } = options
    if (options.count && mode === 'plaso')
      throw new ColdtrailError('E_USAGE', { message: '--count needs --mode strict.' })
    if (options.count && options.out !== undefined)
      throw new ColdtrailError('E_USAGE', { message: '--count prints one number; --out is for events.' })
    if (options.count) {
      const answer = await coldtrail.count({ ...request, distinct: options.distinct })
      const { count, complete, why, explanation } = answer
      if (io.json) io.emit({ count, complete, ...(!complete && { why }), ...(options.explain && { explanation }) })
      else io.print(String(count))
      if (!io.json || options.requireComplete) tellCompleteness(answer, options, io)
      return undefined
    }
    const format = formatOf(options.format, options.out, io)
    if (options.spreadsheet && format !== 'csv')
      throw new ColdtrailError('E_USAGE', { message: '--spreadsheet is for --format csv.' })
    const columns = options.columns?.split(',').map((name) => name.trim())
    const limit = options.limit ?? (format === 'table' ? TABLE_LIMIT + 1 : undefined)
    const { order, distinct } = options
    const shown = columns ?? (format === 'table' ? TABLE_COLUMNS : undefined)
    const found = await coldtrail.search({ ...request, columns: shown, order, limit, distinct, mode })
    if (format === 'parquet') {
      if (options.out === undefined)
        throw new ColdtrailError('E_USAGE', { message: '--format parquet needs --out FILE.' })
      const count = await coldtrail.exportParquet(found, options.out)
      io.note(`Wrote ${count} events to ${options.out}.`)
    } else if (format === 'table' && options.out === undefined) await printTable(found, options.limit, io)
    else await writeLines(found, format, options, io)
    tellCompleteness(found, options, io)
    return undefined
  },
})

// --- internal ---

function formatOf(given: Format | undefined, out: string | undefined, io: Io): Format {
  if (given !== undefined) return given
  if (out === undefined) return io.json ? 'json' : 'table'
  const ending = extname(out).slice(1)
  if (ending === 'ndjson' || ending === 'jsonl') return 'json'
  const found = FORMATS.find((format) => format === ending)
  if (found !== undefined) return found
  throw new ColdtrailError('E_USAGE', { message: `--out: "${out}" ends in no known form; name one with --format.` })
}

async function printTable(found: Search, limit: number | undefined, io: Io): Promise<void> {
  const rows: EventRow[] = []
  for await (const row of found.rows) rows.push(row)
  const isCut = limit === undefined && rows.length > TABLE_LIMIT
  if (isCut) rows.pop()
  if (rows.length === 0) io.note('No events.')
  else for (const line of eventTable(found.columns, rows, io.width, (head) => io.style('bold', head))) io.print(line)
  if (isCut) io.note(`The first ${TABLE_LIMIT}; there are more: --limit N, --count, or --json for all.`)
}

async function writeLines(
  found: Search,
  format: Format,
  { out, spreadsheet }: { readonly out: string | undefined; readonly spreadsheet: boolean },
  io: Io,
): Promise<void> {
  const file = out === undefined ? undefined : attempt(out, () => openSync(out, 'w'))
  const put = file === undefined ? io.print : (line: string) => attempt(out!, () => writeSync(file, `${line}\n`))
  let count = 0
  let formulas = 0
  const asText = (text: string): string => {
    if (!isFormula(text)) return text
    formulas += 1
    return spreadsheet ? `'${text}` : text
  }
  try {
    if (format === 'csv') put(csvLine(found.columns))
    if (format === 'table') put(found.columns.join('\t'))
    for await (const row of found.rows) {
      count += 1
      if (format === 'csv') put(csvEvent(found.columns, row, asText))
      else if (format === 'json') put(JSON.stringify(eventJson(row)))
      else put(eventTable(found.columns, [row], 10_000, String)[1]!)
    }
  } finally {
    if (file !== undefined) closeSync(file)
  }
  if (formulas > 0 && !spreadsheet)
    io.log('warn', 'values begin as a formula does; use --spreadsheet before such a file is opened in one', {
      values: formulas,
    })
  if (out !== undefined) io.note(`Wrote ${count} events to ${out}.`)
}
