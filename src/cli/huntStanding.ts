import { EXIT } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import { defineCommand, flag, integer, text } from './command.ts'

export const huntStandingCommand = defineCommand({
  name: 'hunt standing',
  summary: 'Hunt what is new: new segments for all indicators, new indicators in all segments',
  details:
    'Hits become findings: about the event where the data are online, about the segment where they are not; `forward --stream ' +
    'findings` takes both. It goes on where it ended, and repeats nothing. hunt.standing in coldtrail.yaml does it after ' +
    'each collect run.',
  options: {
    follow: flag('Go on until interrupted.'),
    once: flag('One round and end, as without --follow.'),
    every: integer('SECONDS', 'Between two rounds; the default is hunt.poll_secs, 60.', 1),
    collection: text('A,B,…', 'Only these collections; the default is all.'),
  },
  examples: [
    { line: 'hunt standing', note: 'One round over all collections' },
    { line: 'hunt standing --follow --json', note: 'For ever; a JSON object a round and collection' },
  ],
  exits: ['conflict', 'store'],
  async run(_args, { follow, every, collection }, io) {
    const coldtrail = await io.open()
    const rounds = coldtrail.hunts.standing({
      ...{ follow, signal: io.signal },
      ...(every !== undefined && { pollSeconds: every }),
      ...(collection !== undefined && { collections: collection.split(',').map((name) => name.trim()) }),
    })
    for await (const round of rounds) {
      const { newSegments, newIndicators, confirmed, possible, run, newFindings } = round
      if (io.json) {
        const counts = { new_segments: newSegments, new_indicators: newIndicators, confirmed, possible }
        io.emit({
          type: 'standing',
          collection: round.collection,
          ...counts,
          run: run ?? null,
          new_findings: newFindings,
        })
      } else if (!follow || newFindings > 0)
        io.print(
          `${round.collection}: ${countText(newSegments, 'new segment')}, ${countText(newIndicators, 'new indicator')}; ` +
            `${confirmed} confirmed, ${possible} possible offline, ${countText(newFindings, 'new finding')}` +
            `${run === undefined ? '.' : `: ./coldtrail findings --run ${run}`}`,
        )
      io.flush()
    }
    return EXIT.ok
  },
})
