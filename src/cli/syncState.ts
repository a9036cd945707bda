import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { textTable } from '../core/terminalText.ts'
import { defineCommand, flag, integerOr, text } from './command.ts'

export const syncStateCommand = defineCommand({
  name: 'sync state',
  summary: 'Digest of what the library holds, to compare two sites by',
  details:
    'Over natural keys and what travels of live rows: two sites that hold the same print the same digest, whatever their ids, ' +
    'dates of import and users are. With --keys one site writes down its rows, and --against names those that differ at the other.',
  options: {
    keys: flag('Key and digest of every row, as lines: the file that --against reads.'),
    against: text('FILE', 'Compare with what sync state --keys wrote at another site. Exit status 1 when they differ.'),
    limit: integerOr('N', 1_000, 'Differences shown at most; all are counted.'),
  },
  examples: [
    { line: 'sync state', note: 'Compare the digest by telephone' },
    { line: 'sync state --keys > /media/usb/low.state', note: 'At one site' },
    { line: 'sync state --against /media/usb/low.state', note: 'At the other one' },
  ],
  exits: ['store'],
  async run(_args, { keys, against, limit }, io) {
    if (keys && against !== undefined)
      throw new ColdtrailError('E_USAGE', { message: '--keys and --against do not go together.' })
    const { sync } = await io.open()
    if (keys) {
      for await (const line of sync.stateKeys()) io.print(line)
      return EXIT.ok
    }
    if (against === undefined) {
      const { seq, digest, tables } = await sync.state()
      // Nothing local is in it: equal libraries print equal lines.
      if (io.json) io.emit({ digest, tables })
      else {
        const rows = Object.entries(tables).map(([name, { rows, digest }]) => [name, rows, digest])
        for (const line of textTable(['table', 'rows', 'digest'], rows, io.width)) io.print(line)
        io.print(`${io.style('bold', digest)} as of change ${seq}`)
      }
      return EXIT.ok
    }
    const { identical, here, there, differences } = await sync.compareState(against)
    let count = 0
    for await (const { table, nk, where, uid, name } of differences) {
      count += 1
      if (count > limit) continue
      if (io.json) io.emit({ type: 'difference', table, nk, where, uid, name })
      else io.print(`${where.padEnd(9)}  ${table}  ${nk}${name === undefined ? '' : `  ${printable(name, 200)}`}`)
    }
    if (io.json) {
      const side = { seq: there.seq, digest: there.digest, site: there.site }
      io.emit({
        type: 'comparison',
        identical,
        differences: count,
        here: { seq: here.seq, digest: here.digest },
        there: side,
      })
    } else if (identical)
      io.print(
        `${io.style('green', 'identical')} with ${printable(there.site)} as of its change ${there.seq}: ${here.digest}`,
      )
    else
      io.print(`${io.style('red', `${count} rows differ`)} from ${printable(there.site)} as of its change ${there.seq}`)
    return identical ? EXIT.ok : EXIT.fault
  },
})
