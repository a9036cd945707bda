import { printable } from '../core/errors.ts'
import { countText, timeText } from '../core/terminalText.ts'
import { defineCommand, text } from './command.ts'

export const anchorCommand = defineCommand({
  name: 'anchor',
  summary: 'Print the signed head of every chain, or write it to a second place',
  details:
    'From an anchor that lies elsewhere, `verify --anchor` sees what a chain alone cannot show: that its last links were ' +
    'cut off, or that all of it was written anew. With the setting `anchor` a file is kept current after every commit. A ' +
    'file that knows of links which are not here is evidence and is never overwritten.',
  options: {
    write: text('FILE', 'Write the anchor there, durably; the default is to print it.'),
  },
  examples: [
    { line: 'anchor', note: 'Collection, number and hash of the last link of each chain' },
    { line: 'anchor --write /media/safe/coldtrail.anchor', note: 'Into a place that this host does not keep' },
  ],
  exits: ['store'],
  async run(_args, { write }, io) {
    const coldtrail = await io.open()
    const anchor = await coldtrail.evidence.anchor({ write })
    if (io.json) io.emit(anchor)
    else
      for (const { collection, number, hash, time, segments } of anchor.chains)
        io.print(
          `${printable(collection)}  link ${number}  ${hash}  ${timeText(time)}  ${countText(segments, 'live segment')}`,
        )
    return undefined
  },
})
