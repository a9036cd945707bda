/** `tier status|plan|roll|move`. */
import { EXIT, printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { bytesText, countText, textTable } from '../core/terminalText.ts'
import type { Alarm, RollProgress, RollSummary } from '../index.ts'
import { ColdtrailError } from '../index.ts'
import { type Command, defineCommand, flag, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { withSteps } from './progress.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

const tierStatusCommand = defineCommand({
  name: 'tier status',
  summary: 'Show where files lie: places, bytes, what is offline, and alarms',
  details: 'Exit status 3 when a place is missing, too full, or was made smaller by more than 10 %.',
  options: {},
  examples: [
    { line: 'tier status', note: 'Places and bytes of each database' },
    { line: 'tier status --json', note: 'The same for a monitoring system' },
  ],
  exits: ['partial', 'store'],
  async run(_args, _options, io) {
    const status = await (await io.open()).tiers.status()
    if (io.json) io.emit(status)
    else {
      const { places, use, deleted, left, holds } = status
      const placeRows = places.map(({ tier, place, state, size, used, free, files }) => [
        ...[tier, printable(place, 500), state, String(files), bytesText(used)],
        ...[size === null ? 'no limit' : bytesText(size), free === null ? '' : bytesText(free)],
      ])
      for (const line of textTable(['tier', 'place', 'state', 'files', 'used', 'of', 'free'], placeRows, io.width))
        io.print(line)
      io.print('')
      const useRows = use.map(({ tier, database, files, bytes, offline }) => [
        ...[tier, database, String(files), bytesText(bytes), String(offline)],
      ])
      for (const line of textTable(['tier', 'database', 'files', 'bytes', 'offline'], useRows, io.width)) io.print(line)
      if (deleted.files > 0) io.print(`Deleted: ${countText(deleted.files, 'file')}, ${bytesText(deleted.bytes)}.`)
      if (left > 0) io.print(`${countText(left, 'file')} left behind, to be removed once no reader needs them.`)
      if (holds > 0) io.print(`${countText(holds, 'legal hold')}: ./coldtrail hold list`)
      printAlarms(status.alarms, io)
    }
    return isCalm(status.alarms) ? EXIT.ok : EXIT.partial
  },
})

const tierPlanCommand = defineCommand({
  name: 'tier plan',
  summary: 'Show what tier roll would move and delete now, and why',
  options: {},
  examples: [
    { line: 'tier plan', note: 'Counts by destination, and alarms' },
    { line: 'tier plan --json', note: 'One JSON object per file' },
  ],
  exits: ['partial', 'store'],
  async run(_args, _options, io) {
    const plan = await (await io.open()).tiers.plan()
    if (io.json) {
      for (const { collection, segment, file, to, reason, label } of plan.moves)
        io.emit({
          ...{ type: 'move', collection, segment, file: file.name, bytes: file.size, reason },
          ...{ from: file.directory, to: to.directory, tier: to.tier, ...(label === undefined ? {} : { label }) },
        })
      for (const { collection, segment, file, days } of plan.deletions)
        io.emit({ type: 'delete', collection, segment, file: file.name, bytes: file.size, days })
      for (const one of plan.held) io.emit({ type: 'held', ...one })
      for (const one of plan.alarms) io.emit({ type: 'alarm', ...one })
      io.emit({
        ...{ type: 'summary', moves: plan.moves.length, deletions: plan.deletions.length, held: plan.held.length },
        ...(plan.clock === undefined ? {} : { clock: plan.clock }),
      })
    } else {
      const groups = Map.groupBy(
        plan.moves,
        ({ file, to, reason }) => `${file.kind}\0${to.tier}\0${to.directory}\0${reason}`,
      )
      for (const [key, moves] of groups) {
        const [kind, tier, place, reason] = key.split('\0') as [string, string, string, string]
        const bytes = moves.reduce((sum, { file }) => sum + file.size, 0)
        io.print(
          `move    ${countText(moves.length, 'file')} of ${kind}, ${bytesText(bytes)}, to ${tier} ${printable(place, 500)} (${reason})`,
        )
      }
      for (const [kind, deletions] of Map.groupBy(plan.deletions, ({ file }) => file.kind)) {
        const bytes = deletions.reduce((sum, { file }) => sum + file.size, 0)
        const oldest = Math.max(...deletions.map(({ days }) => days))
        io.print(
          `delete  ${countText(deletions.length, 'file')} of ${kind}, ${bytesText(bytes)}, up to ${oldest} days old`,
        )
      }
      for (const [names, held] of Map.groupBy(plan.held, ({ holds }) => holds.join(', ')))
        io.print(`keep    ${countText(held.length, 'file')} due for deletion, held by ${printable(names, 500)}`)
      if (plan.moves.length + plan.deletions.length + plan.held.length === 0) io.print('Nothing is due.')
      if (plan.clock !== undefined) io.print(io.style('red', plan.clock))
      printAlarms(plan.alarms, io)
    }
    return isCalm(plan.alarms) && plan.clock === undefined ? EXIT.ok : EXIT.partial
  },
})

const tierRollCommand = defineCommand({
  name: 'tier roll',
  summary: 'Move what is due to its tier, verified, and delete what is past its retention',
  details:
    'A copy is synced, read back and compared before a signed link says that the file lies there; only then the source ' +
    'goes, once no reader needs it. Interrupted or killed, the next roll goes on. Nothing is deleted without ' +
    'delete_after_days, nor under a legal hold. What is full or missing alarms (exit status 3) and stops no collector.',
  options: {
    acceptSizes: flag('Take places that were made smaller by more than 10 %.'),
    trustClock: flag('Go on although the clock is far from the last commit.'),
  },
  examples: [
    { line: 'tier roll', note: 'What a scheduler runs every hour' },
    { line: 'tier roll --accept-sizes', note: 'After a place was made smaller on purpose' },
  ],
  exits: ['partial', 'conflict', 'store', 'source'],
  async run(_args, { acceptSizes, trustClock }, io) {
    const { tiers } = await io.open()
    return report(
      await moving(io, (onProgress) => tiers.roll({ acceptSizes, trustClock, signal: io.signal, onProgress })),
      io,
    )
  },
})

const tierMoveCommand = defineCommand({
  name: 'tier move',
  summary: 'Move chosen files to a tier, or say where they are kept (--label)',
  details:
    'With --label for files that lie in that tier already only the label changes: so one says on which tape, in which safe ' +
    'or bucket they are, and hunts and restores tell it.',
  arguments: [
    { name: '<tier>', description: 'The tier to move to: hot, warm or cold.' },
    { name: '[segment…]', description: 'Numbers of segments; none: all that the options choose.' },
  ],
  options: {
    ...RANGE_OPTIONS,
    database: texts('NAME', 'Only files of this database: session, meta, log, index, reject.'),
    collection: text('NAME', 'Only this collection; the default is all.'),
    label: text('TEXT', 'Where a person finds them: tape, safe, bucket.'),
  },
  examples: [
    { line: 'tier move cold --to 2024-01-01 --database log', note: 'Raw objects of old days' },
    { line: 'tier move cold --to 2024-01-01 --label "tape 7, safe 2"', note: 'And where they are kept' },
    { line: 'tier move hot 17 18', note: 'Back to the first tier' },
  ],
  exits: ['partial', 'conflict', 'store', 'source'],
  async run([tier, ...numbers], { from, to, database, collection, label }, io) {
    const target = TIERS.find((name) => name === tier)
    if (target === undefined)
      throw new ColdtrailError('E_USAGE', { message: `"${tier}" is none of the tiers ${TIERS.join(', ')}.` })
    const wrong = database.find((name) => !DATABASES.includes(name))
    if (wrong !== undefined)
      throw new ColdtrailError('E_USAGE', { message: `--database: "${wrong}" is none of ${DATABASES.join(', ')}.` })
    if (label !== undefined && (label === '' || label.length > 200))
      throw new ColdtrailError('E_USAGE', { message: 'A label has 1 to 200 characters.' })
    const segments = numbers.map((given) => {
      if (!/^\d{1,15}$/.test(given))
        throw new ColdtrailError('E_USAGE', { message: `"${given}" is no number of a segment.` })
      return Number(given)
    })
    const range = parseGivenRange(from, to, Date.now() * 1_000)
    if (segments.length === 0 && from === undefined && to === undefined && collection === undefined)
      throw new ColdtrailError('E_USAGE', { message: 'Choose: numbers of segments, --from, --to or --collection.' })
    const { tiers } = await io.open()
    return report(
      await moving(io, (onProgress) =>
        tiers.move({
          ...{ to: target, collection, label, from: range.from, until: range.to, signal: io.signal, onProgress },
          ...(segments.length > 0 ? { segments } : {}),
          ...(database.length > 0 ? { databases: database } : {}),
        }),
      ),
      io,
    )
  },
})

export const TIER_COMMANDS: readonly Command[] = [tierStatusCommand, tierPlanCommand, tierRollCommand, tierMoveCommand]

// --- internal ---

const TIERS = ['hot', 'warm', 'cold'] as const
const DATABASES: readonly string[] = ['session', 'meta', 'log', 'index', 'reject']

/** Files that lie outside of the configuration are told, and need nobody. */
const isCalm = (alarms: readonly Alarm[]): boolean => alarms.every(({ alarm }) => alarm === 'offline')

function moving<T>(io: Io, run: (onProgress: (progress: RollProgress) => void) => Promise<T>): Promise<T> {
  return withSteps(io, 'moving', (onStep) =>
    run(({ step, files, totalFiles }) => onStep({ step, done: files, total: totalFiles })),
  )
}

function report(summary: RollSummary, io: Io): number {
  const { moved, relabelled, deleted, removed, faults, alarms } = summary
  if (io.json) io.emit(summary)
  else {
    io.print(`Moved ${countText(moved.files, 'file')}, ${bytesText(moved.bytes)}.`)
    if (relabelled > 0) io.print(`Labelled ${countText(relabelled, 'file')}.`)
    if (deleted.files > 0) io.print(`Deleted ${countText(deleted.files, 'file')}, ${bytesText(deleted.bytes)}.`)
    if (removed > 0) io.print(`Removed ${countText(removed, 'file')} that nobody needs any more.`)
    for (const { name, code, reason } of faults.slice(0, SHOWN))
      io.print(`${io.style('red', 'stays')}  ${printable(name)}: ${printable(reason, 1_000)} (${code})`)
    if (faults.length > SHOWN) io.print(`… and ${faults.length - SHOWN} more; --json has them all.`)
    printAlarms(alarms, io)
  }
  return faults.length === 0 && isCalm(alarms) ? EXIT.ok : EXIT.partial
}

const SHOWN = 20

function printAlarms(alarms: readonly Alarm[], io: Io): void {
  for (const { alarm, tier, place, detail } of alarms.slice(0, SHOWN))
    io.print(`${io.style('red', alarm)}  ${tier} ${printable(place, 500)}: ${printable(detail, 1_000)}`)
  if (alarms.length > SHOWN) io.print(`… and ${alarms.length - SHOWN} more alarms; --json has them all.`)
}
