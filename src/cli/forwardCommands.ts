/** What belongs to forwarding besides sending: where feeds are, dead letters, whether a destination can be reached. */
import { writeFileSync } from 'node:fs'
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { FeedStatus } from '../index.ts'
import { choiceOr, defineCommand, flag, text, texts } from './command.ts'
import { DESTINATION_OPTION, printSummaries, withProgress } from './forward.ts'
import type { Io } from './io.ts'

const statusCommand = defineCommand({
  name: 'forward status',
  summary: 'Where each feed is: position, lag, what was accepted, refused and repeated',
  options: {
    destination: DESTINATION_OPTION,
    deadLetters: flag('List the events that could not be sent, with the reason of each.'),
  },
  examples: [
    { line: 'forward status', note: 'Every feed' },
    { line: 'forward status --dead-letters --json', note: 'Every dead letter, one JSON object a line' },
  ],
  exits: ['store'],
  async run(_args, { destination, deadLetters }, io) {
    const coldtrail = await io.open()
    if (deadLetters) {
      let count = 0
      for await (const letter of coldtrail.deadLetters(destination)) {
        count += 1
        if (io.json) io.emit({ type: 'dead_letter', ...letter })
        else
          io.print(
            `${letter.destination} ${printable(letter.feed)}  event ${letter.id}  ${letter.uid}  ${printable(letter.reason, 1_000)}`,
          )
      }
      if (!io.json && count === 0) io.print('No dead letters.')
      return EXIT.ok
    }
    const feeds = await coldtrail.forwardStatus(destination)
    if (io.json) {
      for (const feed of feeds) io.emit(statusJson(feed))
      return EXIT.ok
    }
    for (const feed of feeds) printStatus(feed, io)
    const { destinations, withheld = [] } = coldtrail.config
    const unbegun = [...destinations, ...withheld]
      .map(({ name }) => name)
      .filter((name) => destination.length === 0 || destination.includes(name))
      .filter((name) => !feeds.some((feed) => feed.destination === name))
    for (const name of unbegun) {
      io.print(io.style('bold', printable(name)))
      io.print(`  nothing was forwarded yet: ./coldtrail forward --destination ${printable(name)}`)
    }
    if (feeds.length + unbegun.length === 0) throw new ColdtrailError('E_DESTINATION_MISSING')
    return EXIT.ok
  },
})

const retryCommand = defineCommand({
  name: 'forward retry',
  summary: 'Send dead letters again',
  details: 'What is accepted now is a dead letter no more; what is refused again stays, with its new reason.',
  options: {
    destination: DESTINATION_OPTION,
    collection: text('NAME', 'Collection or workbench in place of the one that the configuration names.'),
  },
  examples: [{ line: 'forward retry --destination sentinel-prod', note: 'After the rule or table was corrected' }],
  exits: ['partial', 'conflict', 'store', 'destination'],
  async run(_args, { destination, collection }, io) {
    const coldtrail = await io.open()
    const summaries = await withProgress(io, (onProgress) =>
      coldtrail.forwardRetry({ destinations: destination, collection, signal: io.signal, onProgress }),
    )
    return printSummaries(io, summaries, 'no dead letters')
  },
})

const checkCommand = defineCommand({
  name: 'forward check',
  summary: 'Prove address, credentials, rights and clock of destinations; sends no event',
  options: { destination: DESTINATION_OPTION },
  examples: [{ line: 'forward check --destination sentinel-prod', note: 'Before the first run, or at 3 a.m.' }],
  exits: ['destination'],
  async run(_args, { destination }, io) {
    const coldtrail = await io.open()
    const { destinations, withheld = [] } = coldtrail.config
    const names = destination.length > 0 ? destination : [...withheld, ...destinations].map(({ name }) => name)
    let faults = 0
    // No configured destination is told by the library, which knows the next step.
    for (const name of names.length > 0 ? names : ['']) {
      for await (const check of coldtrail.forwardCheck(name, io.signal)) {
        if (!check.ok) faults += 1
        if (io.json) io.emit({ type: 'check', destination: name, ...check })
        else {
          const mark = check.ok ? io.style('green', 'ok   ') : io.style('red', 'fault')
          io.print(`${mark} ${name}  ${check.name}: ${printable(check.detail, 1_000)}`)
          if (!check.ok && check.hint) io.print(`      hint: ${check.hint}`)
        }
      }
    }
    if (!io.json) io.print(faults === 0 ? 'All is well.' : `${countText(faults, 'fault')}.`)
    return faults === 0 ? EXIT.ok : EXIT.destination
  },
})

const tableCommand = defineCommand({
  name: 'forward table',
  summary: 'Print data collection rule, tables and role for Microsoft Sentinel, as Bicep or ARM JSON',
  details:
    'Made from the declarations that rows are encoded by, so that the two cannot differ. Deploy it before the first run, ' +
    'then put its outputs into coldtrail.yaml.',
  options: {
    destination: text('NAME', 'A configured destination, with its own tables.'),
    table: texts('NAME', 'A built-in table; the default is AWSCloudTrail, AWSVPCFlow and Coldtrail_CL.'),
    format: choiceOr(['bicep', 'arm'], 'bicep', 'Form of the template; with --json it is ARM.'),
    out: text('FILE', 'Write it there.'),
  },
  examples: [
    { line: 'forward table --out coldtrail.bicep', note: 'For az deployment group create --template-file' },
    { line: 'forward table --table ASimAuditEventLogs --format arm', note: 'One table, as ARM JSON' },
  ],
  async run(_args, { destination, table, format, out }, io) {
    const coldtrail = await io.open()
    const printed = await coldtrail.forwardTable({ destination, tables: table, format: io.json ? 'arm' : format })
    if (out === undefined && io.json) io.emit(JSON.parse(printed) as object)
    else if (out === undefined) io.write(Buffer.from(printed))
    else {
      try {
        writeFileSync(out, printed)
      } catch (error) {
        throw new ColdtrailError('E_FILE_WRITE', { path: out, cause: (error as Error).message }, { cause: error })
      }
      io.note(`Wrote ${out}.`)
    }
    return EXIT.ok
  },
})

export const FORWARD_COMMANDS = [statusCommand, retryCommand, checkCommand, tableCommand]

// --- internal ---

function statusJson({ feedId: _, open, counters, ...feed }: FeedStatus): object {
  const { startTime, deadLetters, lagEvents, lagSecs, lastSettled, position, ...key } = feed
  return {
    type: 'feed',
    ...key,
    position,
    from: startTime === null ? null : isoTimeText(startTime),
    lag_events: lagEvents,
    lag_minutes: Math.round(lagSecs / 6) / 10,
    accepted: counters.accepted,
    rejected: counters.rejected,
    retried: counters.retried,
    requests: counters.requests,
    wire_bytes: counters.wireBytes,
    decoded_bytes: counters.decodedBytes,
    batches: counters.batches,
    under_way: open.length,
    dead_letters: deadLetters,
    superseded: counters.superseded,
    offline: counters.offline,
    last_settled: lastSettled === null ? null : isoTimeText(lastSettled),
  }
}

function printStatus(feed: FeedStatus, io: Io): void {
  const { destination, position, counters, lagEvents, lagSecs, deadLetters, open, expression } = feed
  const gone = feed.configured ? '' : ', configured no more'
  io.print(`${io.style('bold', printable(destination))} ${printable(feed.feed)} of ${feed.collection}${gone}`)
  if (expression !== '') io.print(`  events  ${printable(expression, 1_000)}`)
  const lag = lagEvents === 0 ? 'up to date' : `${countText(lagEvents, 'event')}, ${Math.ceil(lagSecs / 60)} min behind`
  // A commit that was read to its end has no event to name.
  const event = position.id < Number.MAX_SAFE_INTEGER ? `, event ${position.id}` : ''
  io.print(`  at      commit ${position.sequence}${event}: ${lag}`)
  io.print(
    `  sent    ${countText(counters.accepted, 'event')} in ${countText(counters.requests, 'request')}, ` +
      `${bytesText(counters.wireBytes)} on the wire; ${countText(counters.retried, 'request')} repeated`,
  )
  const again = feed.configured ? ': what is not answered is sent again by the next run' : ''
  if (open.length > 0) io.print(`  open    ${countText(open.length, 'batch')} under way${again}`)
  const next = `./coldtrail forward status --dead-letters --destination ${printable(destination)}`
  if (deadLetters > 0) io.print(`  refused ${countText(deadLetters, 'event')}: ${next} says why`)
}
