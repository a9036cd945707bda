/** `restore plan` and `restore run`. */
import { closeSync, openSync } from 'node:fs'
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { bytesText, countText, textTable, timeText } from '../core/terminalText.ts'
import type { FileFault, PlannedFile, RestorePlan, RestoreRequest, RestoreSummary } from '../index.ts'
import { parseInterval } from '../index.ts'
import { readToEnd } from '../platform/files.ts'
import { type Command, defineCommand, flag, type OptionValues, text, textOr } from './command.ts'
import type { Io } from './io.ts'
import { openBar } from './progress.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

const WHAT = {
  name: '[what…]',
  description: 'Numbers of segments (12 20-31) or names of their files; none: by time or hunt, else all.',
}

const OPTIONS = {
  ...RANGE_OPTIONS,
  hunt: text('FILE', 'Segments that an answer of `hunt --json` names; - reads standard input.'),
  fromFolder: text('DIR', 'Files brought back from a backup: told by size and SHA-256, whatever they are called.'),
  collection: text('NAME', 'Whose segments; the default is main.'),
  workbench: textOr('NAME', 'workbench', 'The collection of the copies; made when missing, else it gets more.'),
  directory: text('DIR', 'Where the folder of a new workbench is made; the default is in the data directory.'),
  all: flag('Copy also what is in hot and warm, where it can be asked as it is.'),
  withoutLog: flag('Leave the packs of objects as received: events can be asked, and objects not be proved.'),
} as const

const DETAILS =
  'Everything that it takes to ask the segments again: sessions, events, rejects, indexes, tags, and the packs that ' +
  'sessions point to. Files come from where they lie now (cold, in a folder or a bucket) and from --from-folder.'

export const restorePlanCommand: Command = defineCommand({
  name: 'restore plan',
  summary: 'Say what a restore would copy, from which tier and label, and what is missing; copies nothing',
  details: DETAILS,
  arguments: [WHAT],
  options: OPTIONS,
  examples: [
    { line: 'restore plan --from 2023-07-10 --to 2023-07-12', note: 'What it takes to ask three days again' },
    { line: 'restore plan 12 20-31 --from-folder /mnt/tape7', note: 'Whether a tape has what these segments need' },
    { line: 'restore plan --hunt answer.json --json', note: 'For the segments that a hunt named; a line a file' },
  ],
  exits: ['partial', 'store'],
  async run(what, options, io) {
    const plan = await withProgress(io, (onLook) =>
      io.open().then((open) => open.workbenches.plan({ ...request(what, options, io), onLook })),
    )
    const missing = plan.files.filter(({ planned }) => planned === 'missing')
    if (io.json) emitPlan(plan, io)
    else printPlan(plan, missing, io)
    return missing.length + plan.gaps.length > 0 ? EXIT.partial : undefined
  },
})

export const restoreRunCommand: Command = defineCommand({
  name: 'restore run',
  summary: 'Copy segments back into a workbench, verified, where every command can ask them',
  details: `${DETAILS} Each copy is hashed while it is made. What was interrupted goes on where it ended. What is missing or damaged is named, and the rest is restored.`,
  arguments: [WHAT],
  options: {
    ...OPTIONS,
    keep: textOr('TIME', '30d', 'How long the workbench is kept: 12h, 30d, 8w.'),
    reason: textOr('TEXT', '', 'Why, for the custody log.'),
  },
  examples: [
    { line: 'restore run --from 2023-07-10 --to 2023-07-12 --workbench case1', note: 'Three days, from cold' },
    {
      line: 'restore run --hunt answer.json --from-folder /mnt/tape7 --reason "case 4711"',
      note: 'What a hunt named, from a tape',
    },
    {
      line: 'restore run 12 20-31 --keep 90d --without-log',
      note: 'Some segments, for three months, without their objects',
    },
  ],
  exits: ['partial', 'conflict', 'store'],
  async run(what, { keep, reason, ...options }, io) {
    const keepSecs = keepTime(keep)
    const given = { ...request(what, options, io), keepSecs, reason }
    const coldtrail = await io.open()
    const summary = await withCopies(io, (on) => coldtrail.workbenches.restore({ ...given, ...on }))
    if (io.json) io.emit({ type: 'restore', ...summary, ...(summary.folder && { folder: summary.folder }) })
    else printSummary(summary, io)
    return summary.faults.length + summary.gaps.length > 0 ? EXIT.partial : undefined
  },
})

/** `30d` in seconds. E_USAGE. */
export function keepTime(given: string): number {
  try {
    return parseInterval(given)
  } catch {
    throw new ColdtrailError('E_USAGE', { message: `--keep: "${given}" is not 12h, 30d, 8w, ….` })
  }
}

// --- internal ---

function request(what: readonly string[], options: OptionValues<typeof OPTIONS>, io: Io): RestoreRequest {
  const { hunt, fromFolder, collection, workbench, directory, all, withoutLog } = options
  const { from, to, zoneAssumed } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
  if (zoneAssumed) io.log('info', 'A time without a zone was taken as UTC.')
  const segments: number[] = []
  const files: string[] = []
  for (const given of what) {
    const [, first, last = first] = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(given) ?? []
    if (first === undefined) files.push(given)
    else {
      if (Number(last) < Number(first) || Number(last) - Number(first) > MAX_RANGE)
        throw new ColdtrailError('E_USAGE', { message: `"${given}" is no range of segments.` })
      for (let number = Number(first); number <= Number(last); number++) segments.push(number)
    }
  }
  return {
    ...{ from, to, segments, files, collection, workbench, directory, all, withoutLog, signal: io.signal },
    ...(fromFolder === undefined ? {} : { folder: fromFolder }),
    ...(hunt === undefined ? {} : { hunt: { text: readText(hunt), where: hunt === '-' ? 'standard input' : hunt } }),
  }
}

const MAX_RANGE = 1_000_000

/** Longer ones do not fit into a text. */
const MAX_ANSWER_BYTES = 2 ** 29 - 64

function readText(path: string): string {
  const refuse = (reason: string, cause?: unknown) =>
    new ColdtrailError('E_RESTORE_REQUEST', { where: path, reason }, { cause })
  let handle: number | undefined
  let bytes: Buffer | undefined
  try {
    handle = path === '-' ? 0 : openSync(path, 'r')
    bytes = readToEnd(handle, MAX_ANSWER_BYTES)
  } catch (error) {
    throw refuse((error as Error).message, error)
  } finally {
    if (handle) closeSync(handle)
  }
  if (!bytes) throw refuse(`it has more than ${bytesText(MAX_ANSWER_BYTES)}`)
  return bytes.toString()
}

function emitPlan({ rows: _, files, ...plan }: RestorePlan, io: Io): void {
  for (const { origin, ...file } of files)
    io.emit({ type: 'file', ...file, ...(typeof origin === 'string' && { origin }) })
  const missing = files.filter(({ planned }) => planned === 'missing').length
  io.emit({ type: 'plan', ...plan, files: files.length, missing })
}

const MAX_NAMED = 20

function printPlan(plan: RestorePlan, missing: readonly PlannedFile[], io: Io): void {
  const { segments, online, unobtainable, files, bytesToCopy, workbench, directory } = plan
  const copied = files.filter(({ planned }) => planned === 'copied')
  io.print(
    `${countText(segments.length, 'segment')} of ${plan.collection}; ${bytesText(bytesToCopy)} to copy to ${printable(directory)}.`,
  )
  if (online.length > 0)
    io.print(`In hot or warm, and not copied without --all: ${countText(online.length, 'segment')}.`)
  if (copied.length > 0) io.print(`There already, with the right bytes: ${countText(copied.length, 'file')}.`)
  const places = Map.groupBy(files, (file) =>
    JSON.stringify([stateOf(file), file.tier, file.label ?? '', whereOf(file, plan)]),
  )
  const lines = [...places].map(([key, own]) => {
    const [state, tier, label, where] = JSON.parse(key) as string[]
    return [
      state!,
      tier!,
      printable(label!, 40),
      own.length,
      bytesText(own.reduce((sum, { size }) => sum + size, 0)),
      printable(where!, 200),
    ]
  })
  if (lines.length > 0)
    for (const line of textTable(['', 'tier', 'label', 'files', 'size', 'where'], lines, io.width, (head) =>
      io.style('bold', head),
    ))
      io.print(line)
  for (const { name, segment, label } of missing.slice(0, MAX_NAMED))
    io.print(`missing: ${name} of segment ${segment}${label === undefined ? '' : `, label ${printable(label, 100)}`}`)
  if (missing.length > MAX_NAMED) io.print(`… and ${missing.length - MAX_NAMED} more; --json names all.`)
  for (const { segment, needs, reason } of plan.gaps.slice(0, MAX_NAMED))
    io.print(`missing: ${needs} of segment ${segment}: ${reason}`)
  if (unobtainable.length > 0)
    io.print(
      `Not to be restored, as sessions or events are missing: ${countText(unobtainable.length, 'segment')}; the others can.`,
    )
  printFolder(plan.folder, io)
  if (bytesToCopy > 0)
    io.note(`Run it with \`coldtrail restore run\` and the same words; then ask --collection main,${workbench}.`)
}

const stateOf = ({ planned, state }: PlannedFile): string =>
  planned === 'missing' ? (state === 'deleted' ? 'deleted' : 'missing') : planned === 'copied' ? 'copied' : 'to copy'

const whereOf = ({ planned, directory }: PlannedFile, { directory: to }: RestorePlan): string =>
  planned === 'folder' ? 'the folder given' : planned === 'copied' ? to : directory

function printFolder(folder: RestorePlan['folder'], io: Io): void {
  if (!folder) return
  const { damaged, foreign, files, bytes, others } = folder
  io.print(`The folder has ${countText(files, 'file')} (${bytesText(bytes)}); ours, and not needed here: ${others}.`)
  for (const { path, name, reason } of damaged.slice(0, MAX_NAMED))
    io.print(`damaged: ${printable(path, 200)}: it seems to be ${name}, but ${reason}`)
  for (const { path, size } of foreign.slice(0, MAX_NAMED))
    io.print(`foreign: ${printable(path, 200)} (${bytesText(size)})`)
  const more = Math.max(0, damaged.length - MAX_NAMED) + Math.max(0, foreign.length - MAX_NAMED)
  if (more > 0) io.print(`… and ${more} more; --json names all.`)
}

function printSummary(summary: RestoreSummary, io: Io): void {
  const { segments, online, unobtainable, copied, bytes, present, faults, workbench, expires, seconds } = summary
  for (const fault of faults.slice(0, MAX_NAMED)) io.print(faultText(fault))
  if (faults.length > MAX_NAMED) io.print(`… and ${faults.length - MAX_NAMED} more; --json names all.`)
  printFolder(summary.folder, io)
  io.print(
    `In workbench ${workbench}: ${countText(segments.length, 'segment')}; ${countText(copied, 'file')} (${bytesText(bytes)}) copied and verified in ` +
      `${seconds.toFixed(1)} s, ${present} were there; kept until ${timeText(expires).slice(0, 16)}.`,
  )
  if (online.length > 0)
    io.print(`In hot or warm, and not copied without --all: ${countText(online.length, 'segment')}.`)
  if (unobtainable.length > 0) io.print(`Not restored: ${countText(unobtainable.length, 'segment')}.`)
  if (segments.length > 0)
    io.note(`Ask them with --collection ${workbench}, or ${summary.collection},${workbench} for all as one.`)
}

function faultText({ name, tier, label, path, fault, reason }: FileFault): string {
  const place = [tier, ...(label === undefined ? [] : [`label ${printable(label, 100)}`])].join(', ')
  return `${fault}: ${name} (${place}; ${printable(path, 200)}): ${printable(reason, 300)}`
}

/** A bar while a folder is looked through. */
async function withProgress<T>(io: Io, run: (onLook: NonNullable<RestoreRequest['onLook']>) => Promise<T>): Promise<T> {
  if (io.json || !process.stderr.isTTY) return run(() => undefined)
  const bar = await openBar('looking through | {files} files', { files: '0' })
  try {
    return await run(({ files, totalFiles }) => bar.update(files, totalFiles, { files: files.toLocaleString('en-US') }))
  } finally {
    bar.stop()
  }
}

type Copying = Required<
  Pick<Parameters<Awaited<ReturnType<Io['open']>>['workbenches']['restore']>[0] & object, 'onLook' | 'onCopy'>
>

const LOG_EVERY_MS = 5_000

async function withCopies<T>(io: Io, run: (on: Copying) => Promise<T>): Promise<T> {
  if (io.json) return run({ onLook: () => undefined, onCopy: () => undefined })
  if (!process.stderr.isTTY) {
    let last = performance.now()
    return run({
      onLook: () => undefined,
      onCopy({ files, totalFiles, bytes, totalBytes }) {
        if (performance.now() - last < LOG_EVERY_MS) return
        last = performance.now()
        io.log('info', 'restoring', { files, totalFiles, bytes, totalBytes })
      },
    })
  }
  const bar = await openBar('{step} | {count}', { step: 'looking through', count: '' })
  try {
    return await run({
      onLook: ({ files, totalFiles }) =>
        bar.update(files, totalFiles, { step: 'looking through', count: `${files} files` }),
      onCopy: ({ files, totalFiles, bytes, totalBytes }) =>
        bar.update(bytes, totalBytes, { step: 'copying', count: `${files}/${totalFiles} files, ${bytesText(bytes)}` }),
    })
  } finally {
    bar.stop()
  }
}
