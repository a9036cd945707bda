import { printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { cell } from '../core/terminalText.ts'
import { defineCommand, flag, integer, text } from './command.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

export const rejectsCommand = defineCommand({
  name: 'rejects',
  summary: 'List records that a format refused, and objects that could not be collected',
  details: 'With the reason, the object and the place in it. A reject keeps its bytes; nothing is dropped.',
  options: {
    ...RANGE_OPTIONS,
    collection: text('A,B,…', 'Collections and workbenches to look in; the default is main.'),
    allVersions: flag('Of objects that were replaced later, too.'),
    limit: integer('N', 'At most so many records; 0 for all.'),
  },
  examples: [
    { line: 'rejects', note: 'Everything that was refused' },
    { line: 'rejects --json --limit 100', note: 'With the bytes of each record, as JSON lines' },
  ],
  exits: ['store'],
  async run(_args, options, io) {
    const coldtrail = await io.open()
    const { from, to } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
    const { collection, allVersions } = options
    const limit = options.limit || Number.POSITIVE_INFINITY
    const { records, objects } = await coldtrail.rejects({ from, to, collection, allVersions, signal: io.signal })
    let count = 0
    for await (const { session, offset, length, reason, data } of records) {
      if (count >= limit) break
      count += 1
      const bytes = Buffer.from(data)
      if (io.json) {
        const { source, key, format } = session
        io.emit({ type: 'reject', source, key, format, offset, length, reason, data: bytes.toString() })
      } else {
        io.print(`${printable(session.key, 500)} at ${offset}, ${length} bytes: ${printable(reason)}`)
        io.print(io.style('dim', `    ${cell(bytes.toString(), Math.max(20, io.width - 4))}`))
      }
    }
    for (const { source, key, state, code, reason, attempts, since } of objects) {
      if (io.json) io.emit({ type: state, source, key, code, reason, attempts, since: new Date(since / 1_000) })
      else io.print(`${printable(key, 500)} ${state} after ${attempts} attempts: ${printable(reason)} (${code})`)
    }
    if (!io.json && count === 0 && objects.length === 0) io.note('Nothing was refused.')
    return undefined
  },
})
