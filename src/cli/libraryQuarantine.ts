/** Rows that the library could not take in: why, and another try. */
import { EXIT, printable } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { countText, textTable, timeText } from '../core/terminalText.ts'
import { ColdtrailError, type ThreatLibrary } from '../index.ts'
import { defineCommand, flag, text } from './command.ts'
import type { Io } from './io.ts'

export const libraryQuarantineCommand = defineCommand({
  name: 'library quarantine',
  summary: 'List rows that were not taken into the threat library with their reasons, try them again, or dismiss them',
  details:
    'apply takes in what can be taken now: a link whose end has come since. What is refused again stays, and so does what ' +
    'a merge refused, which comes again with its file. dismiss settles rows that nobody wants.',
  arguments: [
    { name: '[action]', description: 'list (default), apply or dismiss.' },
    { name: '[id…]', description: 'Numbers that the list gives; apply takes all without any.' },
  ],
  options: {
    origin: text('NAME', 'Of the list: only rows of this source or site.'),
    settled: flag('Of the list: those that were applied or dismissed, too.'),
    payload: flag('Of the list with --json: the whole row as it came.'),
  },
  examples: [
    { line: 'library quarantine', note: 'What waits' },
    { line: 'library quarantine list --origin example-feed --payload --json', note: 'Whole rows of one source' },
    { line: 'library quarantine apply', note: 'After the missing ends were imported' },
    { line: 'library quarantine dismiss 12 13', note: 'Two that nobody wants' },
  ],
  exits: ['partial', 'conflict', 'store'],
  async run([action = 'list', ...given], { origin, settled, payload }, io) {
    const ids = idsOf(given)
    const { library } = await io.open()
    switch (action) {
      case 'list':
        await list(library, { origin, settled, ids }, payload, io)
        return EXIT.ok
      case 'apply': {
        const { applied, held } = await library.applyHeld({ ids, signal: io.signal })
        if (io.json) io.emit({ type: 'applied', applied, held })
        else io.print(`Took in ${countText(applied, 'row')}; ${countText(held, 'row')} stayed.`)
        return held > 0 ? EXIT.partial : EXIT.ok
      }
      case 'dismiss': {
        if (ids === undefined)
          throw new ColdtrailError('E_USAGE', { message: 'Name the rows to dismiss by the numbers of the list.' })
        const dismissed = await library.dismissHeld(ids)
        if (io.json) io.emit({ type: 'dismissed', dismissed })
        else io.print(`Dismissed ${countText(dismissed, 'row')}.`)
        return EXIT.ok
      }
      default:
        throw new ColdtrailError('E_USAGE', {
          message: `"${printable(action, 60)}" is none of list, apply and dismiss.`,
        })
    }
  },
})

// --- internal ---

const HEAD = ['id', 'since', 'origin', 'place', 'kind', 'reason']

async function list(
  library: ThreatLibrary,
  filter: { readonly origin?: string; readonly settled: boolean; readonly ids?: readonly number[] },
  payload: boolean,
  io: Io,
): Promise<void> {
  const rows: unknown[][] = []
  for await (const row of library.held(filter)) {
    const { id, at, settledAt, settlement, payload: body, ...rest } = row
    if (io.json)
      io.emit({
        ...{ type: 'held', id, at: isoTimeText(at), ...rest },
        ...(settledAt === undefined ? {} : { settled_at: isoTimeText(settledAt), settlement }),
        ...(payload ? { payload: body } : {}),
      })
    else rows.push([id, timeText(at).slice(0, 19), row.origin, row.place ?? '', settlement ?? row.code, row.reason])
  }
  if (io.json) return
  if (rows.length === 0) io.note('Nothing is in quarantine.')
  else for (const line of textTable(HEAD, rows, io.width, (text) => io.style('bold', text))) io.print(line)
}

function idsOf(args: readonly string[]): number[] | undefined {
  if (args.length === 0) return undefined
  return args.map((given) => {
    if (/^\d{1,15}$/.test(given)) return Number(given)
    throw new ColdtrailError('E_USAGE', { message: `"${printable(given, 60)}" is no number of the quarantine.` })
  })
}
