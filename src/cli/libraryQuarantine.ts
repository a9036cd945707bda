/** Rows that the library could not take in: why, and another try. */
import { EXIT, printable } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { countText, textTable, timeText } from '../core/terminalText.ts'
import { ColdtrailError } from '../index.ts'
import { defineCommand, flag, text } from './command.ts'

const listCommand = defineCommand({
  name: 'library quarantine list',
  summary: 'List rows that were not taken into the threat library, with the reason of each',
  options: {
    origin: text('NAME', 'Only rows of this source or site.'),
    settled: flag('Those that were applied or dismissed, too.'),
    payload: flag('With --json the whole row as it came.'),
  },
  examples: [
    { line: 'library quarantine list', note: 'What waits' },
    { line: 'library quarantine list --origin example-feed --payload --json', note: 'Whole rows of one source' },
  ],
  exits: ['store'],
  async run(_args, { origin, settled, payload }, io) {
    const coldtrail = await io.open()
    const rows: unknown[][] = []
    for await (const row of coldtrail.library.held({ origin, settled })) {
      const { id, at, settledAt, settlement, payload: body, ...rest } = row
      if (io.json)
        io.emit({
          ...{ type: 'held', id, at: isoTimeText(at), ...rest },
          ...(settledAt === undefined ? {} : { settled_at: isoTimeText(settledAt), settlement }),
          ...(payload ? { payload: body } : {}),
        })
      else rows.push([id, timeText(at).slice(0, 19), row.origin, row.place ?? '', settlement ?? row.code, row.reason])
    }
    if (io.json) return EXIT.ok
    if (rows.length === 0) io.note('Nothing is in quarantine.')
    const head = ['id', 'since', 'origin', 'place', 'kind', 'reason']
    if (rows.length > 0)
      for (const line of textTable(head, rows, io.width, (text) => io.style('bold', text))) io.print(line)
    return EXIT.ok
  },
})

const IDS = { name: '[id…]', description: 'Numbers that the list gives; all without any.' }

const applyCommand = defineCommand({
  name: 'library quarantine apply',
  summary: 'Try rows of the quarantine again: a link whose end has come since is taken now',
  details: 'What is refused again stays, and so does what a merge refused, which comes again with its file.',
  arguments: [IDS],
  options: {},
  examples: [{ line: 'library quarantine apply', note: 'All of them' }],
  exits: ['partial', 'conflict', 'store'],
  async run(args, _options, io) {
    const coldtrail = await io.open()
    const { applied, held } = await coldtrail.library.applyHeld({ ids: idsOf(args), signal: io.signal })
    if (io.json) io.emit({ type: 'applied', applied, held })
    else io.print(`Took in ${countText(applied, 'row')}; ${countText(held, 'row')} stayed.`)
    return held > 0 ? EXIT.partial : EXIT.ok
  },
})

const dismissCommand = defineCommand({
  name: 'library quarantine dismiss',
  summary: 'Settle rows of the quarantine that nobody wants',
  arguments: [{ ...IDS, name: '<id…>', description: 'Numbers that the list gives.' }],
  options: {},
  examples: [{ line: 'library quarantine dismiss 12 13', note: 'Two of them' }],
  exits: ['store'],
  async run(args, _options, io) {
    const coldtrail = await io.open()
    const dismissed = await coldtrail.library.dismissHeld(idsOf(args))
    if (io.json) io.emit({ type: 'dismissed', dismissed })
    else io.print(`Dismissed ${countText(dismissed, 'row')}.`)
    return EXIT.ok
  },
})

export const LIBRARY_QUARANTINE_COMMANDS = [listCommand, applyCommand, dismissCommand]

// --- internal ---

function idsOf(args: readonly string[]): number[] | undefined {
  if (args.length === 0) return undefined
  return args.map((given) => {
    if (/^\d{1,15}$/.test(given)) return Number(given)
    throw new ColdtrailError('E_USAGE', { message: `"${printable(given, 60)}" is no number of the quarantine.` })
  })
}
