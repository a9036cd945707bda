import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { parseGivenTime } from '../core/givenTime.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { FeedSummary, ForwardProgress, ForwardSummary } from '../index.ts'
import { choiceOr, defineCommand, flag, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { openBar } from './progress.ts'

export const DESTINATION_OPTION = texts('NAME', 'Destination of the configuration; the default is all.')

export const forwardCommand = defineCommand({
  name: 'forward',
  summary: 'Send what is new to Microsoft Sentinel and other destinations',
  details:
    'Each feed of a destination goes on where it ended. Nothing is lost and what arrives twice bears the same uid; records ' +
    'that the receiver refuses are kept as dead letters. Another --where is another feed, with a position of its own.',
  options: {
    destination: DESTINATION_OPTION,
    collection: text('A,B,…', 'Collections or workbenches in place of the one that the configuration names.'),
    where: text('EXPR', 'Only events that match, besides what the configuration selects.'),
    from: text(
      'TIME',
      'Feeds that are new begin with events of this time; the default is the first event ever collected.',
    ),
    once: flag('Send what there is and end, as without --follow.'),
    follow: flag('Keep on sending until interrupted.'),
    dryRun: flag('Say how many requests and bytes it would be, and send nothing.'),
    stream: choiceOr(
      ['events', 'findings'],
      'events',
      'findings: what analyses found, with the events, also where these were sent long ago.',
    ),
    skipOffline: flag('Pass over events whose files are offline, and count them.'),
  },
  examples: [
    { line: 'forward --dry-run', note: 'Requests, bytes, and what each table would ingest a day' },
    { line: 'forward --destination sentinel-prod', note: 'To one destination' },
    { line: 'forward --follow', note: 'To all destinations, from now on' },
    { line: 'forward --stream findings --destination soc-webhook', note: 'What analyses found since the last time' },
    {
      line: `forward --destination soc-webhook --where "status == 'Failure'" --from -7d`,
      note: 'Failures of the last week and all that come, as a feed of their own',
    },
  ],
  exits: ['partial', 'conflict', 'store', 'destination'],
  async run(_args, options, io) {
    if (options.once && options.follow)
      throw new ColdtrailError('E_USAGE', { message: '--once and --follow: give one of the two.' })
    const now = Date.now() * 1_000
    const from = options.from === undefined ? undefined : parseGivenTime(options.from, { where: '--from', now })
    if (from?.zoneAssumed) io.log('warn', 'A time without a zone was taken as UTC.')
    const coldtrail = await io.open()
    const summaries = await withProgress(io, (onProgress) =>
      coldtrail.forward({
        destinations: options.destination,
        collection: options.collection,
        where: options.where,
        from: from?.time,
        dryRun: options.dryRun,
        follow: options.follow,
        skipOffline: options.skipOffline,
        stream: options.stream,
        signal: io.signal,
        onProgress,
      }),
    )
    return printSummaries(io, summaries, 'nothing new')
  },
})

/** A bar on a terminal, log lines elsewhere, nothing with --json. */
export async function withProgress<T>(
  io: Io,
  run: (onProgress: (name: string, progress: ForwardProgress) => void) => Promise<T>,
): Promise<T> {
  if (io.json) return run(() => undefined)
  const progress = new Map<string, ForwardProgress>()
  const sum = (read: (one: ForwardProgress) => number) =>
    [...progress.values()].reduce((all, one) => all + read(one), 0)
  if (!process.stderr.isTTY) {
    let last = performance.now()
    return run((name, now) => {
      progress.set(name, now)
      if (performance.now() - last < LOG_EVERY_MS) return
      last = performance.now()
      const { events, total, requests } = now
      io.log('info', 'forwarding', { destination: name, events, total, requests })
    })
  }
  const bar = await openBar('{events} events | {requests} | {rate} events/s | {left}', {
    events: '0',
    requests: countText(0, 'request'),
    rate: 0,
    left: '…',
  })
  try {
    return await run((name, now) => {
      progress.set(name, now)
      const left = Math.max(...[...progress.values()].map(({ secondsLeft }) => secondsLeft ?? 0))
      const done = sum(({ events }) => events)
      bar.update(
        done,
        sum(({ total }) => total),
        {
          events: done.toLocaleString('en-US'),
          requests: countText(
            sum(({ requests }) => requests),
            'request',
          ),
          rate: Math.round(sum(({ eventsPerSecond }) => eventsPerSecond)).toLocaleString('en-US'),
          left: left > 0 ? `${Math.ceil(left)} s left` : done > 0 ? 'up to date' : '…',
        },
      )
    })
  } finally {
    bar.stop()
  }
}

/** What the runs came to, or `nothing`; the exit status. Throws what ended a feed. */
export function printSummaries(io: Io, summaries: readonly ForwardSummary[], nothing: string): number {
  for (const summary of summaries) {
    const { events, requests, rejected, superseded, offline, error, interrupted } = summary
    const isIdle = events + requests + rejected + superseded + offline === 0 && !error && !interrupted
    if (isIdle && !io.json) io.print(`${printable(summary.destination)}: ${nothing}.`)
    else if (io.json) io.emit({ ...summary, error: summary.error?.toJSON() })
    else for (const line of summaryLines(summary)) io.print(line)
  }
  const failed = summaries.find(({ error }) => error !== undefined)?.error
  if (failed) throw failed
  return summaries.some(({ rejected, offline }) => rejected > 0 || offline > 0) ? EXIT.partial : EXIT.ok
}

/** For a person. */
export function summaryLines(summary: ForwardSummary): string[] {
  const { destination, dry_run, feeds, error } = summary
  const name = printable(destination)
  if (feeds.length === 0 && error) return [`${name} stopped: ${error.message}`]
  const head = dry_run
    ? `${name}: would send ${countText(summary.events, 'event')} in ${countText(summary.requests, 'request')}, ` +
      `${bytesText(summary.wire_bytes)} on the wire (${bytesText(summary.decoded_bytes)} decoded).`
    : summary.requests === 0
      ? `${name}: nothing was accepted${summary.interrupted ? ' until the interruption' : ''}, ${summary.seconds.toFixed(1)} s.`
      : `${name}: ${countText(summary.events, 'event')} accepted in ${countText(summary.requests, 'request')}, ` +
        `${bytesText(summary.wire_bytes)} on the wire, ${summary.seconds.toFixed(1)} s.`
  return [head, ...feeds.flatMap((feed) => feedLines(feed, summary))]
}

// --- internal ---

const LOG_EVERY_MS = 5_000
const DAY = 86_400e6

function feedLines(feed: FeedSummary, { dry_run, feeds, destination }: ForwardSummary): string[] {
  const lines: string[] = []
  const { accepted, rejected, resumed, superseded, offline, late, retried } = feed
  if (feeds.length > 1 || dry_run) {
    const days = feed.time1 === undefined ? 1 : Math.max(1, (feed.time2! - feed.time1) / DAY)
    const daily = dry_run && accepted > 0 ? `, ${bytesText(feed.decoded_bytes / days)} a day` : ''
    lines.push(`${printable(feed.feed)}: ${countText(accepted, 'event')}${daily}`)
  }
  if (late > 0 && dry_run) lines.push(`${countText(late, 'event')} too old to keep their own TimeGenerated`)
  if (resumed > 0)
    lines.push(`${countText(resumed, 'batch')} of an earlier run ${dry_run ? 'would be sent' : 'sent'} again`)
  if (retried > 0) lines.push(`${countText(retried, 'request')} repeated`)
  if (superseded > 0) lines.push(`${countText(superseded, 'event')} of superseded objects passed over`)
  if (offline > 0) lines.push(`${countText(offline, 'event')} passed over: their files are offline`)
  for (const [note, count] of Object.entries(feed.notes))
    lines.push(`${countText(count, 'record')} changed: ${printable(note)}`)
  if (rejected > 0)
    lines.push(
      dry_run
        ? `${countText(rejected, 'event')} could not be sent`
        : `${countText(rejected, 'event')} refused: ./coldtrail forward status --dead-letters --destination ${printable(destination)} says why`,
    )
  if (feed.error) lines.push(`${printable(feed.feed)} stopped: ${feed.error.message}`)
  return lines.map((line) => `  ${line}`)
}
