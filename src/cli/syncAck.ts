import { EXIT, printable } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import { defineCommand, text, texts } from './command.ts'

export const syncAckCommand = defineCommand({
  name: 'sync ack',
  summary: 'Acknowledge an imported bundle, or take an acknowledgement in',
  details:
    'At the target it writes a signed file that says which bundle is applied and what the library holds then. At the source ' +
    '--file takes that file in: later bundles hold only what came after what every acknowledging site has.',
  options: {
    file: text('FILE', 'Acknowledgement to take in: absolute, or relative to the transfer directory.'),
    bundle: text('NAME', 'Bundle to acknowledge; the default is the last one that was imported.'),
    target: text('DIR', 'Where the acknowledgement goes, made when missing; the default is the transfer directory.'),
    trust: texts('KEY', 'Id or file of a key that the site is trusted by from now on.'),
  },
  examples: [
    { line: 'sync ack --target /media/usb', note: 'At the target, after the import' },
    { line: 'sync ack --file /media/usb/tqSync-19-01-16-1547660837-8345-ack.json', note: 'At the source' },
  ],
  exits: ['refused', 'store'],
  async run(_args, { file, bundle, target, trust }, io) {
    const coldtrail = await io.open()
    if (file === undefined) {
      const written = await coldtrail.sync.acknowledge({ bundle, target })
      if (io.json) io.emit({ type: 'acknowledgement', ...written })
      else {
        io.print(`${written.ack.bundle} of ${written.ack.source} is acknowledged.`)
        io.print(printable(written.file, 1_000))
      }
      return EXIT.ok
    }
    const taken = await coldtrail.sync.takeAcknowledgement(file, trust)
    if (io.json) {
      io.emit({ type: 'acknowledged', ...taken })
      return EXIT.ok
    }
    const { ack, known, pinned, key, identical } = taken
    if (pinned)
      io.print(`First file of site ${ack.site}: its key ${printable(key)} is pinned now. Compare it with that site.`)
    io.print(
      `${ack.site} has ${ack.bundle}, number ${ack.seq} of its stream${known ? '; that was known' : ''}. ` +
        `${countText(ack.conflicts, 'conflict')} there.`,
    )
    if (identical === true) io.print('Both sites hold the same.')
    if (identical === false) io.print('The sites differ: compare them with sync state --keys and --against.')
    return EXIT.ok
  },
})
