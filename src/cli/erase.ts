import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { ErasurePlan, ErasureSummary, FarCopy } from '../index.ts'
import { defineCommand, flag, text, textOr, texts } from './command.ts'
import type { Io } from './io.ts'
import { openBar } from './progress.ts'

export const eraseCommand = defineCommand({
  name: 'erase',
  summary: 'Take the records of an object out of everything that is kept of them',
  details:
    'Writes the segments anew without its events, rejects, values, keys, tags and findings; its bytes in the pack become ' +
    'zeros. The chain keeps that it was there, its digests, and the reason; the object is not collected again. Named are ' +
    'the copies that cannot be reached: files on volumes that were taken away, and what was sent or exported.',
  options: {
    session: texts('ID', 'Session of the object, as show gives it.'),
    object: texts('KEY', 'Key of the object, every version of it.'),
    uid: texts('UID', 'Uid of an event: the whole object that it came from.'),
    reason: text('TEXT', 'Why; it is kept in the chain for ever, so do not name what is erased.'),
    collection: textOr('NAME', 'main', 'Collection that the object was collected into.'),
    despiteHold: flag('Although a legal hold covers it.'),
    dryRun: flag('Only say what would be done.'),
  },
  examples: [
    {
      line: 'erase --object AWSLogs/1/x.json.gz --dry-run',
      note: 'What would go, and which copies it would not reach',
    },
    { line: 'erase --session 12 --reason "erasure request 2026-17"', note: 'One object, for good' },
  ],
  exits: ['partial', 'conflict', 'store'],
  async run(_args, { session, object, uid, reason, collection, despiteHold, dryRun }, io) {
    const choice = { collection, sessions: session.map(sessionId), objects: object, uids: uid }
    const asked = [...session.map((id) => `session ${id}`), ...object, ...uid]
    if (asked.length === 0)
      throw new ColdtrailError('E_USAGE', { message: 'Name a --session, an --object or a --uid.' })
    if (!dryRun && !reason?.trim())
      throw new ColdtrailError('E_USAGE', { message: 'Give a --reason, which stays in the chain, or --dry-run.' })
    const { evidence } = await io.open()
    const plan = await evidence.planErasure(choice)
    if (plan.sessions.length === 0 && plan.notHere.length === 0)
      throw new ColdtrailError('E_ERASE_NOTHING', { collection, what: asked.map((what) => printable(what)).join(', ') })
    if (dryRun) return tell(plan, io, false)
    const bar =
      process.stderr.isTTY && !io.json ? await openBar('{done}/{total} segments', { done: 0, total: 0 }) : undefined
    let summary: ErasureSummary
    try {
      summary = await evidence.erase({
        ...{ ...choice, reason: reason!, despiteHold, signal: io.signal },
        onProgress: ({ segments, totalSegments }) =>
          bar?.update(segments, totalSegments, { done: segments, total: totalSegments }),
      })
    } finally {
      bar?.stop()
    }
    return tell(summary, io, true)
  },
})

// --- internal ---

function sessionId(given: string): number {
  if (/^\d{1,15}$/.test(given)) return Number(given)
  throw new ColdtrailError('E_USAGE', { message: `--session: "${printable(given)}" is no number of a session.` })
}

function tell(told: ErasurePlan & Partial<ErasureSummary>, io: Io, isDone: boolean): number {
  const isPartial = told.unknown.length + told.notHere.length > 0 || (isDone && !isWhole(told as ErasureSummary))
  if (io.json) {
    io.emit({ type: isDone ? 'erased' : 'plan', ...told })
    return isPartial ? EXIT.partial : EXIT.ok
  }
  const safe = (value: string): string => printable(value, 1_000)
  for (const { session_id, key, segment, events, rejects, bytes } of told.sessions)
    io.print(
      `${isDone ? 'erased' : 'would erase'} session ${session_id} of segment ${segment}  ${safe(key)}  ` +
        `${countText(events, 'event')}, ${countText(rejects, 'reject')}${bytes === null ? '' : `, ${bytesText(bytes)}`}`,
    )
  for (const { replaced, segment, sequence } of told.segments ?? [])
    io.print(`segment ${replaced} is segment ${segment} now (link ${sequence})`)
  for (const name of told.workbenches)
    io.print(`workbench ${safe(name)}: its copies ${isDone ? 'are gone' : 'would go'}`)
  for (const what of told.unknown) io.print(io.style('yellow', `not found: ${safe(what)}`))
  for (const { segment, certain, copies } of told.notHere) {
    io.print(
      io.style(
        'yellow',
        `segment ${segment} is not here and ${certain ? 'has' : 'may have'} it: nothing of it is erased`,
      ),
    )
    for (const copy of copies) io.print(`    ${copyText(copy)}`)
  }
  for (const copy of told.copies) io.print(io.style('yellow', `a copy still has it: ${copyText(copy)}`))
  if (told.reports.length > 0) io.print(`reports of runs that may sum it up stay: ${told.reports.join(', ')}`)
  for (const path of told.oldCatalogs)
    io.print(io.style('yellow', `an old catalog may still name its values: ${safe(path)}`))
  for (const message of told.historyErrors ?? [])
    io.print(io.style('yellow', `the history is cut by the next run: ${safe(message)}`))
  for (const segment of told.waiting ?? [])
    io.print(io.style('yellow', `files of segment ${segment} go at the next collect once their readers have ended`))
  if (told.catalogRewritten === false)
    io.print(
      io.style(
        'yellow',
        'the catalog file is in use by others and still has values of old manifests: erase again later',
      ),
    )
  return isPartial ? EXIT.partial : EXIT.ok
}

const isWhole = ({ historyErrors, waiting, catalogRewritten }: ErasureSummary): boolean =>
  historyErrors.length === 0 && waiting.length === 0 && catalogRewritten

const copyText = ({ name, state, tier, directory, label }: FarCopy): string =>
  [name, state, tier, label === undefined ? '' : `label ${label}`, directory]
    .map((part) => printable(part, 1_000))
    .join('  ')
