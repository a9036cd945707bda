import { isoTimeText } from '../core/isoTime.ts'
import { bar, timeText } from '../core/terminalText.ts'
import { defineCommand, textOr } from './command.ts'
import { EXPRESSION_ARGUMENT, QUESTION_OPTIONS, questionRequest, tellCompleteness } from './questionOptions.ts'

/** More empty intervals in a row than this are drawn as one line. */
const GAP = 3

export const timelineCommand = defineCommand({
  name: 'timeline',
  summary: 'Events per interval, drawn as a histogram',
  arguments: [EXPRESSION_ARGUMENT],
  options: {
    ...QUESTION_OPTIONS,
    interval: textOr('SPAN', 'hour', 'minute, hour, day, week, or a span: 30s, 15m, 6h, 2d.'),
  },
  examples: [
    { line: 'timeline', note: 'Everything, by the hour' },
    { line: 'timeline "ip == \'198.51.100.23\'" --interval 5m --from 2026-03-11', note: 'One address, closely' },
    { line: 'timeline "status == \'Failure\'" --interval day --json', note: 'Failures per day, as JSON lines' },
  ],
  exits: ['store', 'incomplete'],
  async run([expression], options, io) {
    const { parseInterval } = await import('../index.ts')
    const coldtrail = await io.open()
    const intervalSecs = parseInterval(options.interval)
    const answer = await coldtrail.timeline({ ...questionRequest(expression, options, io), intervalSecs })
    const { bins, untimed } = answer
    if (io.json) {
      for (const { time, count } of bins) io.emit({ time: isoTimeText(time), count })
      if (untimed > 0) io.emit({ time: null, count: untimed })
    } else {
      const most = Math.max(0, ...bins.map(({ count }) => count))
      const digits = String(most).length
      const room = Math.max(10, Math.min(80, io.width - 24 - digits))
      if (bins.length === 0) io.note('No events.')
      bins.forEach(({ time, count }, at) => {
        const before = at === 0 ? time : bins[at - 1]!.time
        const empty = Math.round((time - before) / 1e6 / intervalSecs) - 1
        if (empty > GAP) io.print(io.style('dim', `  … ${empty} × ${options.interval} without events`))
        else
          for (let i = 1; i <= empty; i += 1) {
            io.print(`${timeText(before + i * intervalSecs * 1e6)}  ${'0'.padStart(digits)}`)
          }
        io.print(`${timeText(time)}  ${String(count).padStart(digits)}  ${bar(count, most, room)}`)
      })
      if (untimed > 0) io.note(`${untimed} events without a time are left out.`)
    }
    tellCompleteness(answer, options, io)
    return undefined
  },
})
