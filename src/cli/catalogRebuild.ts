import { printable } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import { defineCommand } from './command.ts'

export const catalogRebuildCommand = defineCommand({
  name: 'catalog rebuild',
  summary: 'Make the catalog anew from segments, manifests, history and chain',
  details:
    'For a lost or damaged catalog. Nothing sealed is lost and nothing is collected twice; the old catalog is kept ' +
    'under another name. Refused while a collector runs and when the chain is not whole.',
  options: {},
  examples: [
    { line: 'catalog rebuild', note: 'After catalog.db was lost' },
    { line: 'catalog rebuild --data-dir /var/lib/coldtrail --json', note: 'What was found, as one JSON object' },
  ],
  exits: ['conflict', 'store'],
  async run(_args, _options, io) {
    const coldtrail = await io.open()
    const report = await coldtrail.rebuildCatalog()
    if (io.json) io.emit({ type: 'rebuild', ...report })
    else {
      const { collections, links, segments, sessions, quarantined, dropped } = report
      const names = collections.map((name) => printable(name)).join(', ') || 'no collection'
      io.print(`Rebuilt from ${links} links: ${segments} segments with ${sessions} sessions in ${names}.`)
      if (quarantined > 0) io.print(`${countText(quarantined, 'object')} in quarantine still.`)
      for (const name of dropped) io.print(`Left out, a commit that was cut off: ${printable(name)}`)
    }
    return undefined
  },
})
