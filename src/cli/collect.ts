import { NO_INPUT } from '../collect/tasks.ts'
import { EXIT, printable } from '../core/errors.ts'
import { parseGivenRange, parseGivenTime } from '../core/givenTime.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { CollectSummary } from '../index.ts'
import { defineCommand, flag, integer, text } from './command.ts'
import { showProgress } from './progress.ts'
import { RANGE_OPTIONS, SOURCE_OPTIONS, sourceSettings } from './sourceOptions.ts'

export const collectCommand = defineCommand({
  name: 'collect',
  summary: 'Collect what is new from S3, folders, files or standard input',
  details:
    'Every object is collected exactly once, however often this runs and however it ends. Formats are recognised by ' +
    'content. An object that fails stays pending for the next run; one that is damaged is quarantined.',
  arguments: [
    {
      name: '[source…]',
      description: 's3://bucket/prefix, a folder, a file, -, or a configured name; none: all configured sources.',
    },
  ],
  options: {
    ...RANGE_OPTIONS,
    ...SOURCE_OPTIONS,
    lastProcessedTime: text('TIME', 'Pass over objects last modified then or before.'),
    maxWorkers: integer('N', 'Downloads at once; the default is collect.max_workers, 16.', 1),
    dryRun: flag('Count objects, bytes and requests, and fetch nothing.'),
    follow: flag('Keep on collecting until interrupted.'),
    retry: flag('Try quarantined objects again.'),
    collection: text('NAME', 'Collection to put them in; the default is main.'),
    metricsFile: text('FILE', 'Write the figures of the run in Prometheus text format.'),
  },
  examples: [
    { line: 'collect s3://my-log-bucket/AWSLogs/ --from -2d', note: 'The last two days of a bucket' },
    { line: 'collect s3://my-log-bucket/AWSLogs/ --from 2026-01-01 --dry-run', note: 'What that would cost' },
    { line: 'collect s3://logs --endpoint http://127.0.0.1:9000', note: 'From an S3-compatible service' },
    { line: 'collect ./logs --include "*.json.gz"', note: 'From a folder' },
    { line: 'collect --follow --metrics-file coldtrail.prom', note: 'All configured sources, from now on' },
  ],
  exits: ['partial', 'conflict', 'source', 'store'],
  async run(sources, options, io) {
    const coldtrail = await io.open()
    const now = Date.now() * 1_000
    const { zoneAssumed, ...range } = parseGivenRange(options.from, options.to, now)
    const since =
      options.lastProcessedTime === undefined
        ? undefined
        : parseGivenTime(options.lastProcessedTime, { where: '--last-processed-time', now })
    if (zoneAssumed || since?.zoneAssumed) io.log('warn', 'A time without a zone was taken as UTC.')

    const display = await showProgress(io)
    let summary: CollectSummary
    try {
      summary = await coldtrail.collect({
        sources,
        settings: sourceSettings(options),
        range,
        lastProcessedTime: since?.time,
        maxWorkers: options.maxWorkers,
        dryRun: options.dryRun,
        follow: options.follow,
        retryQuarantined: options.retry,
        collection: options.collection,
        metricsFile: options.metricsFile,
        signal: io.signal,
        onProgress: display.update,
      })
    } finally {
      display.stop()
    }
    if (io.json) io.emit(summary)
    else for (const line of summaryLines(summary)) io.print(line)
    if (summary.error) throw summary.error
    return summary.failed > 0 ? EXIT.partial : EXIT.ok
  },
})

/** What a run came to, in words. */
export function summaryLines(summary: CollectSummary): string[] {
  const { objects, known, replaced, compacted, events, rejects, failed, quarantined, busy, left } = summary
  const others = Object.entries(summary.skipped).filter(([reason]) => reason !== NO_INPUT)
  const skipped = others.map(([reason, n]) => `${n} (${printable(reason)})`)
  if (summary.dry_run) {
    const { get_requests = 0, get_bytes = 0, list_requests } = summary
    return [
      `Would collect ${countText(get_requests, 'object')} (${bytesText(get_bytes)}) with ${countText(get_requests, 'GET request')}; ` +
        `${countText(known, 'object')} known already. Listing took ${countText(list_requests, 'LIST request')}.`,
      ...(skipped.length > 0 ? [`Would pass over: ${skipped.join(', ')}.`] : []),
    ]
  }
  const seconds = `${summary.seconds.toFixed(1)} s`
  return [
    `Collected ${countText(objects, 'object')} (${bytesText(summary.bytes)}) with ${countText(events, 'event')} ` +
      `in ${countText(summary.segments, 'segment')}, ${seconds}. ${countText(known, 'object')} known already.`,
    ...(compacted > 0 ? [`${countText(compacted, 'small segment')} merged into larger ones.`] : []),
    ...(replaced > 0
      ? [`${countText(replaced, 'object')} came in a new version; the old one is kept, and hidden.`]
      : []),
    ...(summary.skipped[NO_INPUT] ? ['Nothing came on standard input.'] : []),
    ...(skipped.length > 0 ? [`Passed over: ${skipped.join(', ')}.`] : []),
    ...(rejects > 0
      ? [`${countText(rejects, 'record')} refused by their format: ./coldtrail rejects lists them.`]
      : []),
    ...(quarantined > 0
      ? [`${countText(quarantined, 'object')} in quarantine since an earlier run: collect --retry tries them again.`]
      : []),
    ...(busy > 0 ? [`${countText(busy, 'object')} in the hands of another collector.`] : []),
    ...(left > 0 ? [`${countText(left, 'object')} left for the next run.`] : []),
    ...(failed > 0
      ? [
          `${countText(failed, 'object')} failed: ${reasons(summary)}. ./coldtrail rejects gives the reasons: what is ` +
            'pending is tried again by the next run, what is quarantined by collect --retry.',
        ]
      : []),
  ]
}

// --- internal ---

function reasons({ errors }: CollectSummary): string {
  return Object.entries(errors)
    .map(([code, n]) => `${n} ${code}`)
    .join(', ')
}
