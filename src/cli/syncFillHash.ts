/** `sync fill-hash`, and the original's name for it. */
import { EXIT } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import { type Command, defineCommand } from './command.ts'

const fillCommandOf = (name: string, summary: string): Command =>
  defineCommand({
    name,
    summary,
    details:
      'Rows get sync_hash whenever they are written; it is missing only where they came from elsewhere, and an import ' +
      'refuses to begin then. Maintenance mode is not needed: the library stays in use, and a second run fills nothing.',
    options: {},
    examples: [{ line: name, note: 'Once, before the first import into a library that was restored' }],
    exits: ['store'],
    async run(_args, _options, io) {
      const coldtrail = await io.open()
      const summary = await coldtrail.sync.fillHash({
        signal: io.signal,
        onProgress: (table, rows) => io.log('info', 'filling sync_hash', { table, rows }),
      })
      if (io.json) io.emit({ type: 'fill hash', ...summary })
      else {
        for (const [table, rows] of Object.entries(summary.filled))
          io.print(`${table}: ${countText(rows, 'row')} filled`)
        io.print('Done. Maintenance mode was not needed.')
      }
      return EXIT.ok
    },
  })

export const syncFillHashCommand = fillCommandOf('sync fill-hash', 'Fill ThreatQ’s sync_hash where it is missing')

export const threatqFillHashCommand = fillCommandOf(
  'threatq:fill-sync-hash-column',
  'sync fill-hash under the original’s name',
)
