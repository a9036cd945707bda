import { isoTimeText } from '../core/isoTime.ts'
import { bar, textTable, timeText } from '../core/terminalText.ts'
import { defineCommand, integerOr } from './command.ts'
import { EXPRESSION_ARGUMENT, QUESTION_OPTIONS, questionRequest, tellCompleteness } from './questionOptions.ts'

export const valuesCommand = defineCommand({
  name: 'values',
  summary: 'Most frequent values of a column, with counts, first and last time',
  details: 'Without an expression the answer comes from the indexes, and no event file is opened.',
  arguments: [
    { name: '<field>', description: 'Column, dotted path or alias: src_endpoint.ip, user, …' },
    EXPRESSION_ARGUMENT,
  ],
  options: { ...QUESTION_OPTIONS, limit: integerOr('N', 20, 'At most so many values; 0 for all.') },
  examples: [
    { line: 'values src_endpoint.ip', note: 'Busiest addresses' },
    { line: 'values api.operation "user == \'alice\'" --limit 50', note: 'What one user does' },
    { line: 'values access_key "error == \'AccessDenied\'" --json', note: 'Keys that are refused, as JSON lines' },
  ],
  exits: ['store', 'incomplete'],
  async run([field, expression], options, io) {
    const coldtrail = await io.open()
    const limit = options.limit === 0 ? undefined : options.limit
    const answer = await coldtrail.values({ ...questionRequest(expression, options, io), field: field!, limit })
    if (io.json) {
      const time = (at: number | null): string | null => (at === null ? null : isoTimeText(at))
      for (const { value, count, time1, time2 } of answer.values) {
        io.emit({ value, count, first: time(time1), last: time(time2) })
      }
    } else {
      const most = Math.max(0, ...answer.values.map(({ count }) => count))
      const rows = answer.values.map(({ value, count, time1, time2 }) => [
        count,
        ...(io.terminal ? [bar(count, most, 16).padEnd(16)] : []),
        time1 === null ? '' : timeText(time1).slice(0, 19),
        time2 === null ? '' : timeText(time2).slice(0, 19),
        value,
      ])
      const head = ['count', ...(io.terminal ? [''] : []), 'first', 'last', field!]
      if (rows.length === 0) io.note('No values.')
      else for (const line of textTable(head, rows, io.width, (text) => io.style('bold', text))) io.print(line)
      const more = answer.distinct - answer.values.length
      if (more > 0) io.note(`${more} more values; --limit 0 gives all.`)
    }
    tellCompleteness(answer, options, io)
    return undefined
  },
})
