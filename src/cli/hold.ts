/** `hold add|release|list`. */
import { EXIT, printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { countText, textTable } from '../core/terminalText.ts'
import { ColdtrailError } from '../index.ts'
import { type Command, defineCommand, text } from './command.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

const COLLECTION = text('NAME', 'The collection; the default is main.')

const holdAddCommand = defineCommand({
  name: 'hold add',
  summary: 'Forbid the deletion of a range of time, with a reason, in the signed chain',
  details:
    'Nothing that overlaps the range is deleted or merged with what is not held, until the hold is released. An event ' +
    'without a time may belong to any range, so its segment is held by every hold. An end that is not given is open.',
  arguments: [{ name: '<name>', description: 'Name of the hold: a case, a court order.' }],
  options: {
    reason: text('TEXT', 'Why; required, and kept in the chain.'),
    ...RANGE_OPTIONS,
    collection: COLLECTION,
  },
  examples: [
    { line: 'hold add case-77 --reason "court order 2026-17" --from 2026-01-01 --to 2026-02-01', note: 'One month' },
    { line: 'hold add audit --reason "yearly audit"', note: 'Everything of the collection' },
  ],
  exits: ['conflict', 'store'],
  async run([name], { reason, from, to, collection }, io) {
    if (reason === undefined) throw new ColdtrailError('E_USAGE', { message: 'Say why with --reason.' })
    const range = parseGivenRange(from, to, Date.now() * 1_000)
    const { tiers } = await io.open()
    await tiers.addHold({
      ...{ name: name!, reason, collection },
      time1: range.from === undefined ? null : Math.floor(range.from / 1e6),
      time2: range.to === undefined ? null : Math.floor(range.to / 1e6),
    })
    const [hold] = (await tiers.holds(collection ?? 'main')).filter((one) => one.name === name)
    if (io.json) io.emit(hold!)
    else io.print(`Held: ${countText(hold!.segments, 'segment')} of ${printable(hold!.collection)}.`)
    return EXIT.ok
  },
})

const holdReleaseCommand = defineCommand({
  name: 'hold release',
  summary: 'Take a legal hold off, with a reason, in the signed chain',
  arguments: [{ name: '<name>', description: 'Name of the hold.' }],
  options: { reason: text('TEXT', 'Why; required, and kept in the chain.'), collection: COLLECTION },
  examples: [{ line: 'hold release case-77 --reason "case closed"', note: 'Retention applies again' }],
  exits: ['conflict', 'store'],
  async run([name], { reason, collection }, io) {
    if (reason === undefined) throw new ColdtrailError('E_USAGE', { message: 'Say why with --reason.' })
    await (await io.open()).tiers.releaseHold({ name: name!, reason, collection })
    if (io.json) io.emit({ released: name })
    else io.print(`Released ${printable(name!)}.`)
    return EXIT.ok
  },
})

const holdListCommand = defineCommand({
  name: 'hold list',
  summary: 'List legal holds, with how many segments each covers',
  options: { collection: text('NAME', 'Only this collection; the default is all.') },
  examples: [{ line: 'hold list', note: 'All holds' }],
  exits: ['store'],
  async run(_args, { collection }, io) {
    const holds = await (await io.open()).tiers.holds(collection)
    if (io.json) for (const hold of holds) io.emit({ ...hold, since: isoTimeText(hold.since) })
    else if (holds.length === 0) io.note('Nothing is held.')
    else {
      const time = (seconds: number | null): string => (seconds === null ? 'open' : isoTimeText(seconds * 1e6))
      const rows = holds.map(({ collection, name, time1, time2, segments, since, reason }) => [
        ...[printable(collection), printable(name), time(time1), time(time2), String(segments)],
        ...[isoTimeText(since), printable(reason, 1_000)],
      ])
      const head = ['collection', 'name', 'from', 'to', 'segments', 'since', 'reason']
      for (const line of textTable(head, rows, io.width)) io.print(line)
    }
    return EXIT.ok
  },
})

export const HOLD_COMMANDS: readonly Command[] = [holdAddCommand, holdReleaseCommand, holdListCommand]
