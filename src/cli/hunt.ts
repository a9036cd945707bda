import { EXIT, printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { bytesText, countText, textTable, timeText } from '../core/terminalText.ts'
import { ColdtrailError, type HitSegment, type HuntResult, type IndicatorVerdict } from '../index.ts'
import { defineCommand, flag, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { withSteps } from './progress.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

export const huntCommand = defineCommand({
  name: 'hunt',
  summary: 'Which segments could hold an indicator: everything ever sealed, online or not',
  details:
    'Keysets answer without the data. absent is proved; possible names segments, where they are and how many chance alone would ' +
    'name; unknown says why nothing is proved; --confirm searches what is online and calls what it finds confirmed. ' +
    'Defanged values are taken, blocks of addresses too; a domain finds every name below it. user:NAME is a user name.',
  arguments: [
    { name: '[indicator…]', description: 'Addresses, blocks, domains, URLs, hashes, e-mail addresses, keys, ARNs.' },
  ],
  options: {
    library: flag("The library's active indicators."),
    types: text('A,B,…', 'Of the library only these types: "FQDN,IP Address".'),
    indicators: texts('FILE', 'A list, one a line, # for comments; - for standard input.'),
    ...RANGE_OPTIONS,
    confirm: flag('Search the data that are online for what is possible.'),
    collection: text('A,B,…', 'Collections or workbenches; the default is main.'),
    all: flag('A line for every indicator, the absent ones too.'),
    requireComplete: flag('Fail when the answer is unknown for any indicator.'),
  },
  examples: [
    { line: 'hunt 203.0.113.9 evil[.]example.com', note: 'Two indicators, one of them defanged' },
    { line: 'hunt --library --from -1000d --json', note: 'the whole library over three years, for programs' },
    { line: 'hunt 198.51.100.0/22 --confirm', note: 'A block of addresses, and a search of what is online' },
    { line: 'hunt --indicators list.txt --json', note: 'A list; `restore plan --hunt -` reads the answer' },
  ],
  exits: ['store', 'incomplete'],
  async run(values, options, io) {
    const { from, to, zoneAssumed } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
    if (zoneAssumed) io.log('info', 'A time without a zone was taken as UTC.')
    const coldtrail = await io.open()
    const result = await withSteps(io, 'hunting', (onProgress) =>
      coldtrail.hunts.run({
        ...{ values, lists: options.indicators, library: options.library, confirm: options.confirm },
        ...(options.types !== undefined && { types: words(options.types) }),
        ...(from !== undefined && { from }),
        ...(to !== undefined && { to }),
        ...(options.collection !== undefined && { collections: words(options.collection) }),
        ...{ signal: io.signal, onProgress },
      }),
    )
    const isSmall = result.indicators <= FEW
    const verdicts = result.verdicts(options.all || isSmall)
    if (io.json) tellJson(result, verdicts, io)
    else tellText(result, verdicts, io)
    for (const given of result.refused.first) io.log('warn', 'no indicator that can be hunted', { given })
    if (options.requireComplete && result.counts.unknown > 0)
      throw new ColdtrailError('E_INCOMPLETE', { why: reasons(result).join('; ') })
    return EXIT.ok
  },
})

// --- internal ---

/** So many indicators are told each, whatever came of them. */
const FEW = 100
const SHOWN = 100

const words = (list: string): string[] =>
  list
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')

function tellJson(result: HuntResult, verdicts: Iterable<IndicatorVerdict>, io: Io): void {
  for (const { type, unknown, expectedFalse, isExact, found, ...verdict } of verdicts)
    io.emit({
      ...{ type: 'indicator', indicator_type: type, ...verdict },
      ...{ exact: isExact, expected_false: expectedFalse },
      found: found.map(({ segment, count, events, rejects }) => ({ segment, count, events, rejects })),
      unknown: unknown.map(({ reason, segments }) => ({ reason, unknown_segments: segments })),
    })
  for (const { time1, time2, isHere, ...segment } of result.segments)
    io.emit({ type: 'segment', ...segment, from: iso(time1), to: iso(time2), online: isHere })
  const { indicators, counts, searched, expectedFalse, restore, notCovered, refused, unknown } = result
  const { bytesAway: bytes_away, ...need } = restore
  io.emit({
    ...{ type: 'hunt', indicators, verdicts: counts, segments_searched: searched, expected_false: expectedFalse },
    segments: result.segments.map(({ segment }) => segment),
    unknown: unknown.map(({ segments, ...cause }) => ({ ...cause, unknown_segments: segments })),
    ...{ not_covered: Object.fromEntries(notCovered), refused: refused.count },
    restore: { ...need, bytes_away },
  })
}

const iso = (time: number | null): string | null => (time === null ? null : isoTimeText(time))

function tellText(result: HuntResult, verdicts: Iterable<IndicatorVerdict>, io: Io): void {
  const rows: unknown[][] = []
  let more = 0
  for (const { type, value, verdict, segments, found, searched, unknown } of verdicts) {
    if (rows.length >= SHOWN) {
      more += 1
      continue
    }
    const events = found.reduce((sum, { count, rejects }) => sum + count + rejects, 0)
    const notes = [
      ...(events > 0 ? [`${countText(events, 'event')} in ${found.map(({ segment }) => segment).join(', ')}`] : []),
      ...(searched.length > 0 ? [`not found in ${searched.join(', ')}`] : []),
      ...(verdict === 'unknown' ? unknown.map(({ reason }) => reason) : []),
    ]
    rows.push([verdict, type, value, segments.length, notes.join('; ')])
  }
  const table = (head: readonly string[], lines: readonly (readonly unknown[])[]): void => {
    for (const line of textTable(head, lines, io.width, (name) => io.style('bold', name))) io.print(line)
  }
  if (rows.length > 0) table(['verdict', 'type', 'indicator', 'segments', 'notes'], rows)
  if (more > 0) io.note(`and ${countText(more, 'indicator')} more: --json tells all.`)
  if (result.segments.length > 0) {
    io.print('')
    table(
      ['segment', 'collection', 'from', 'to', 'events', 'where', 'label', 'indicators'],
      segmentRows(result.segments),
    )
    if (result.segments.length > SHOWN)
      io.note(`and ${countText(result.segments.length - SHOWN, 'segment')} more: --json tells all.`)
  }
  for (const line of summary(result)) io.print(line)
}

const segmentRows = (segments: readonly HitSegment[]): unknown[][] =>
  segments.slice(0, SHOWN).map(({ segment, collection, time1, time2, events, isHere, tiers, labels, indicators }) => {
    const where = isHere ? tiers.join(', ') : `${tiers.join(', ')}, offline`
    return [segment, collection, shortTime(time1), shortTime(time2), events, where, labels.join(', '), indicators]
  })

const shortTime = (time: number | null): string => (time === null ? '' : timeText(time).slice(0, 19))

function summary(result: HuntResult): string[] {
  const { counts, indicators, searched, segments, expectedFalse, restore, notCovered, refused } = result
  const told = (['confirmed', 'possible', 'unknown', 'absent'] as const)
    .filter((verdict) => counts[verdict] > 0)
    .map((verdict) => `${counts[verdict].toLocaleString('en-US')} ${verdict}`)
  const lines = [
    '',
    `${countText(indicators, 'indicator')} over ${countText(searched, 'segment')}: ${told.join(', ') || 'nothing'}.`,
  ]
  if (refused.count > 0) lines.push(`Passed over, as no indicators: ${refused.count.toLocaleString('en-US')}.`)
  if (segments.length > 0) {
    const away = segments.filter(({ isHere }) => !isHere).length
    lines.push(
      `${countText(segments.length, 'segment')} may hold some, ${away} of them offline; chance alone would name ${fewText(expectedFalse)}. ` +
        `To restore: ${bytesText(restore.bytesAway)} of ${bytesText(restore.bytes)}.`,
    )
  }
  for (const reason of reasons(result)) lines.push(`Unknown: ${reason}`)
  for (const [type, count] of notCovered)
    lines.push(`Not in keysets: ${countText(count, 'indicator')} of type ${printable(type)}`)
  return lines
}

const reasons = ({ unknown }: HuntResult): string[] =>
  unknown.map(
    ({ reason, segments, indicators, collection }) =>
      `${countText(indicators, 'indicator')} in ${countText(segments.length, 'segment')} of ${collection}: ${printable(reason, 300)}`,
  )

const fewText = (pairs: number): string =>
  pairs >= 0.01 ? pairs.toFixed(2) : pairs === 0 ? '0' : pairs.toExponential(1)
