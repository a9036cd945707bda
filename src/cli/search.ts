import { closeSync, openSync, writeSync } from 'node:fs'
import { extname } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { parseGivenTime } from '../core/givenTime.ts'
import { countText } from '../core/terminalText.ts'
import type { Coldtrail, EventRow, QuestionRequest, Search } from '../index.ts'
import { attempt } from '../platform/files.ts'
import { choice, choiceOr, defineCommand, flag, flagName, integer, type OptionValues, text } from './command.ts'
import { csvEvent, csvLine, eventJson, eventTable, isFormula } from './eventOutput.ts'
import type { Io } from './io.ts'
import { EXPRESSION_ARGUMENT, QUESTION_OPTIONS, questionRequest, tellCompleteness } from './questionOptions.ts'

/** Of psort. */
const OUTPUT_FORMATS = ['dynamic', 'l2tcsv', 'json_line'] as const
const FORMATS = ['table', 'json', 'csv', 'parquet'] as const
type Format = (typeof FORMATS)[number]

const TABLE_COLUMNS = ['id', 'time', 'data_type', 'message'] as const
const TABLE_LIMIT = 100

const SEARCH_OPTIONS = {
  ...QUESTION_OPTIONS,
  count: flag('Only how many there are.'),
  limit: integer('N', 'At most so many events; 0 for all.'),
  order: choiceOr(['time', '-time', 'id', '-id'], 'time', 'Order of the events; - for the last one first.'),
  columns: text('A,B,…', 'Columns to give, comma-separated; uid and session.key are known too.'),
  distinct: text('FIELD', 'Of events with the same value only the first: one delivered by several trails counts once.'),
  format: choice(FORMATS, 'Form of the answer; the default is table, json with --json, else the ending of --out.'),
  out: text('FILE', 'Write the events there.'),
  spreadsheet: flag(
    "For csv: put ' before text that a spreadsheet would run as a formula. Without it values are as they were logged.",
  ),
  mode: choiceOr(['strict', 'plaso'], 'strict', 'plaso: the expression means what the filter of psort means by it.'),
  outputFormat: choice(
    OUTPUT_FORMATS,
    'An output of psort: in order of time, repeats left out, times of a file that are the same in one group.',
  ),
  fields: text('A,B,…', 'Fields of dynamic, comma-separated: of psort, attributes of the event, columns.'),
  additionalFields: text('A,B,…', 'Fields behind those.'),
  includeAll: flag('With an output of psort: repeats too.'),
  slice: text('TIME', 'With an output of psort: events around this time; an expression still filters.'),
  slicer: flag('With an output of psort: events around each match.'),
  sliceSize: integer('N', 'Minutes around --slice, or events around each match of --slicer; the default is 5.'),
} as const

export const searchCommand = defineCommand({
  name: 'search',
  summary: 'Find events',
  details:
    'Only committed events are seen, and segments that cannot hold a match are not opened. A table shows 100 events ' +
    'unless --limit says otherwise; json, csv and parquet give every match.',
  arguments: [EXPRESSION_ARGUMENT],
  options: SEARCH_OPTIONS,
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
    { line: 'search --output-format l2tcsv --out timeline.csv', note: 'A timeline for tools that read log2timeline' },
    {
      line: 'search "operation == \'ConsoleLogin\'" --output-format dynamic --slicer --slice-size 3 --additional-fields user',
      note: 'Each match with three events before and behind it',
    },
    { line: 'search "user == \'alice\'" --distinct metadata_uid --json', note: 'Every match once, as JSON lines' },
  ],
  exits: ['store', 'incomplete'],
  async run([expression], options, io) {
    const coldtrail = await io.open()
    const request = questionRequest(expression, options, io)
    const { mode } = options
    if (options.outputFormat !== undefined) return printTimeline(coldtrail, request, options, io)
    const psortOnly = PSORT_ONLY.find((name) => options[name] !== undefined && options[name] !== false)
    if (psortOnly)
      throw new ColdtrailError('E_USAGE', {
        message: `${flagName(psortOnly, SEARCH_OPTIONS[psortOnly])} needs --output-format.`,
      })
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
    const limit = options.limit === undefined && format === 'table' ? TABLE_LIMIT + 1 : options.limit || undefined
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
  if (isCut) io.note(`The first ${TABLE_LIMIT}; there are more: --limit 0 gives all, --count their number.`)
}

const PSORT_ONLY = ['fields', 'additionalFields', 'includeAll', 'slice', 'slicer', 'sliceSize'] as const
const TABLES_ONLY = ['format', 'columns', 'count', 'distinct'] as const

async function printTimeline(
  coldtrail: Coldtrail,
  request: QuestionRequest,
  options: OptionValues<typeof SEARCH_OPTIONS>,
  io: Io,
): Promise<undefined> {
  const { out, order, slice, slicer, sliceSize, limit, mode, includeAll } = options
  const other = TABLES_ONLY.find((name) => options[name] !== undefined && options[name] !== false)
  if (other) throw usage(`${flagName(other, SEARCH_OPTIONS[other])} is not for --output-format.`)
  if (order !== 'time') throw usage('An output of psort is in order of time.')
  if (sliceSize !== undefined && slice === undefined && !slicer)
    throw usage('--slice-size is for --slice and --slicer.')
  const given = slice === undefined ? undefined : parseGivenTime(slice, { where: '--slice', now: Date.now() * 1_000 })
  if (given?.zoneAssumed) io.log('info', 'A time without a zone was taken as UTC.')
  const writer = lineWriter(options, io)
  const found = await coldtrail.timelineOutput({
    ...request,
    mode,
    limit: limit || undefined,
    includeAll,
    format: options.outputFormat!,
    fields: options.fields?.split(',').map((name) => name.trim()),
    additionalFields: options.additionalFields?.split(',').map((name) => name.trim()),
    asText: writer.asText,
    ...(given && { slice: { time: given.time, minutes: sliceSize } }),
    ...(slicer && { slicer: { events: sliceSize } }),
  })
  await writer.write(async (put) => {
    if (found.header !== undefined) put(found.header)
    for await (const line of found.lines) put(line)
  })
  const { events, duplicates, macbGrouped, inTimeSlice } = found.counts
  const around = slice !== undefined || slicer ? `, ${inTimeSlice} of them in the slice` : ''
  if (out !== undefined || duplicates > 0)
    io.note(
      `${countText(events, 'event')}${around}: ${duplicates} left out as repeats, ${macbGrouped} with times of files` +
        `${out === undefined ? '' : `; written to ${out}`}.`,
    )
  tellCompleteness(found, options, io)
  return undefined
}

const usage = (message: string) => new ColdtrailError('E_USAGE', { message })

async function writeLines(
  found: Search,
  format: Format,
  { out, spreadsheet }: { readonly out: string | undefined; readonly spreadsheet: boolean },
  io: Io,
): Promise<void> {
  const { asText, write } = lineWriter({ out, spreadsheet }, io)
  let count = 0
  await write(async (put) => {
    if (format === 'csv') put(csvLine(found.columns))
    if (format === 'table') put(found.columns.join('\t'))
    for await (const row of found.rows) {
      count += 1
      if (format === 'csv') put(csvEvent(found.columns, row, asText))
      else if (format === 'json') put(JSON.stringify(eventJson(row)))
      else put(eventTable(found.columns, [row], 10_000, String)[1]!)
    }
  })
  if (out !== undefined) io.note(`Wrote ${count} events to ${out}.`)
}

/** Lines to a file or standard output; `asText` counts what a spreadsheet would run, and makes it text when that was asked for. */
function lineWriter({ out, spreadsheet }: { readonly out: string | undefined; readonly spreadsheet: boolean }, io: Io) {
  let formulas = 0
  return {
    asText(text: string): string {
      if (!isFormula(text)) return text
      formulas += 1
      return spreadsheet ? `'${text}` : text
    },
    async write(lines: (put: (line: string) => void) => Promise<void>): Promise<void> {
      const file = out === undefined ? undefined : attempt(out, () => openSync(out, 'w'))
      try {
        await lines(file === undefined ? io.print : (line) => attempt(out!, () => writeSync(file, `${line}\n`)))
      } finally {
        if (file !== undefined) closeSync(file)
      }
      if (formulas > 0 && !spreadsheet)
        io.log('warn', 'values begin as a formula does; use --spreadsheet before such a file is opened in one', {
          values: formulas,
        })
    },
  }
}
