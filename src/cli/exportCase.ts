import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { CaseSummary } from '../index.ts'
import { defineCommand, flag, integer, text } from './command.ts'
import { openBar } from './progress.ts'
import { questionRequest } from './questionOptions.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

export const exportCaseCommand = defineCommand({
  name: 'export case',
  summary: 'Pack events with all that proves them, for somebody who has none of our programs',
  details:
    'Writes the events, their records, the objects as they were received, session rows, manifests, links and a stand-alone ' +
    'program that proves each record up to the signed head of the chain: it needs Node.js and nothing else. Whole objects ' +
    'and session files go with it, which name more than was asked for. No private key is ever in it.',
  options: {
    where: text('EXPR', 'Which events, as search takes it; nothing matches everything.'),
    ...RANGE_OPTIONS,
    collection: text('NAME', 'Collection or workbench; the default is main.'),
    allVersions: flag('Events of objects that were replaced later, too.'),
    limit: integer('N', 'At most so many events, those with the lowest ids.', 1),
    out: text('PATH', 'A new folder, or a file that ends in .tar.gz.'),
  },
  examples: [
    {
      line: 'export case --where "api.operation == \'DeleteTrail\'" --out case-77.tar.gz',
      note: 'One file for a third party; README.md in it says how it is checked',
    },
    { line: 'export case --where "ip == \'198.51.100.7\'" --from -30d --out case-78', note: 'As a folder' },
  ],
  exits: ['partial', 'store'],
  async run(_args, { where, out, limit, ...options }, io) {
    if (out === undefined) throw new ColdtrailError('E_USAGE', { message: 'Say where with --out.' })
    const { evidence } = await io.open()
    const request = questionRequest(where, { ...options, requireComplete: false, explain: false }, io)
    const isShown = process.stderr.isTTY && !io.json
    const bar = isShown ? await openBar('{done}/{total} objects', { done: 0, total: 0 }) : undefined
    let summary: CaseSummary
    try {
      summary = await evidence.exportCase({
        ...{ ...request, out, limit },
        onProgress: ({ objects, totalObjects }) =>
          bar?.update(objects, totalObjects, { done: objects, total: totalObjects }),
      })
    } finally {
      bar?.stop()
    }
    const { events, objects, links, bytes, missing, complete, why, keyId } = summary
    if (io.json) io.emit({ type: 'case', ...summary })
    else {
      io.print(
        `Wrote ${printable(summary.out, 1_000)}: ${countText(events, 'event')}, ${countText(objects, 'object')}, ` +
          `${countText(links, 'link')}, ${bytesText(bytes)}; signed by key ${keyId}`,
      )
      for (const { session, key, reason } of missing)
        io.print(io.style('yellow', `no object of session ${session}, ${printable(key, 300)}: ${reason}`))
      if (!complete)
        io.print(io.style('yellow', `not complete: ${why.map(({ reason, count }) => `${count} ${reason}`).join(', ')}`))
    }
    return missing.length > 0 ? EXIT.partial : EXIT.ok
  },
})
