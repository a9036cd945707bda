/** Commands of workbenches: list, show, extend, hold, release, remove, custody. */
import { printable } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { bytesText, countText, textTable, timeText } from '../core/terminalText.ts'
import type { CustodyEntry, Workbench } from '../index.ts'
import { type Command, defineCommand, flag, text, textOr } from './command.ts'
import type { Io } from './io.ts'
import { keepTime } from './restore.ts'

const NAME = { name: '<name>', description: 'Name of the workbench.' }
const REASON = { reason: textOr('TEXT', '', 'Why, for the custody log.') }

const list = defineCommand({
  name: 'workbench list',
  summary: 'List the workbenches: what is in them, and until when they are kept',
  options: {},
  examples: [{ line: 'workbench list', note: 'Name, segments, size, end' }],
  exits: ['store'],
  async run(_args, _options, io) {
    const found = await (await io.open()).workbenches.list()
    if (io.json) for (const bench of found) io.emit(benchJson(bench))
    else if (found.length === 0) io.note('No workbenches. `coldtrail restore run` makes one.')
    else {
      const rows = found.map(({ name, home, segments, bytes, expires, isHeld, reason }) => {
        const until = isHeld ? 'held' : timeText(expires).slice(0, 16)
        return [name, home, segments, bytesText(bytes), until, printable(reason, 100)]
      })
      const head = ['name', 'of', 'segments', 'size', 'until', 'reason']
      for (const line of textTable(head, rows, io.width, (word) => io.style('bold', word))) io.print(line)
    }
    return undefined
  },
})

const show = defineCommand({
  name: 'workbench show',
  summary: 'Show one workbench, and with --files every copy in it',
  arguments: [NAME],
  options: { files: flag('Every file, with the link that brought it.') },
  examples: [{ line: 'workbench show case1 --files', note: 'What was copied, and by which link of the chain' }],
  exits: ['store'],
  async run([name], { files }, io) {
    const { contents, ...bench } = await (await io.open()).workbenches.show(name!)
    if (io.json) io.emit({ ...benchJson(bench), ...(files && { contents }) })
    else {
      printBench(bench, io)
      if (files) for (const { name, sequence } of contents) io.print(`${name}  (link ${sequence})`)
    }
    return undefined
  },
})

const extend = defineCommand({
  name: 'workbench extend',
  summary: 'Keep a workbench for longer, or for less long',
  arguments: [NAME],
  options: { keep: textOr('TIME', '30d', 'How long from now: 12h, 30d, 8w.'), ...REASON },
  examples: [{ line: 'workbench extend case1 --keep 60d', note: 'Sixty days from now' }],
  exits: ['store'],
  async run([name], { keep, reason }, io) {
    const bench = await (await io.open()).workbenches.extend(name!, keepTime(keep), reason)
    return told(bench, io)
  },
})

const hold = defineCommand({
  name: 'workbench hold',
  summary: 'Keep a workbench until it is released: it does not expire and is not removed',
  arguments: [NAME],
  options: REASON,
  examples: [{ line: 'workbench hold case1 --reason "case 4711"', note: 'For as long as the case lasts' }],
  exits: ['store'],
  run: async ([name], { reason }, io) => told(await (await io.open()).workbenches.hold(name!, reason), io),
})

const release = defineCommand({
  name: 'workbench release',
  summary: 'End the hold of a workbench; its time counts again',
  arguments: [NAME],
  options: REASON,
  examples: [{ line: 'workbench release case1', note: 'It may expire again' }],
  exits: ['store'],
  run: async ([name], { reason }, io) => told(await (await io.open()).workbenches.release(name!, reason), io),
})

const remove = defineCommand({
  name: 'workbench remove',
  summary: 'Remove a workbench; only its copies go, and tags and findings made in it stay with their collection',
  arguments: [NAME],
  options: REASON,
  examples: [{ line: 'workbench remove case1 --reason closed', note: 'Its files are unlinked by the next sweep' }],
  exits: ['store', 'conflict'],
  async run([name], { reason }, io) {
    const bench = await (await io.open()).workbenches.remove(name!, reason)
    if (io.json) io.emit({ removed: bench.name, ...benchJson(bench) })
    else
      io.print(
        `Workbench ${bench.name} is removed (${countText(bench.segments, 'segment')}, ${bytesText(bench.bytes)}).`,
      )
    return undefined
  },
})

const custody = defineCommand({
  name: 'workbench custody',
  summary: 'Print the custody log: who took copies of what and when, and what became of them',
  details:
    'Each line has the SHA-256 that a signed link of the chain names; one without a link was never done, because the ' +
    'process ended in between. Lines of removed workbenches stay.',
  arguments: [{ name: '[name]', description: 'Only of this workbench.' }],
  options: { collection: text('NAME', 'Whose copies; the default is the collection of the workbench, else main.') },
  examples: [
    { line: 'workbench custody', note: 'Every copy ever taken of main' },
    { line: 'workbench custody case1 --json', note: 'With every file and digest, for a report' },
  ],
  exits: ['store'],
  async run([workbench], { collection }, io) {
    const log = await (await io.open()).workbenches.custody({
      ...(collection === undefined ? {} : { collection }),
      ...(workbench === undefined ? {} : { workbench }),
    })
    if (io.json) for (const entry of log) io.emit(entryJson(entry))
    else if (log.length === 0)
      io.note(
        workbench === undefined ? 'No copy was ever taken.' : `No copy was ever taken into ${printable(workbench)}.`,
      )
    else {
      const rows = log.map((entry) => {
        const { time, user, host, action, workbench, files, reason, link } = entry
        const who = printable(`${user}@${host}`, 60)
        const what = `${action} ${printable(workbench, 63)}`
        return [timeText(time).slice(0, 19), who, what, files.length, link ?? 'never done', printable(reason, 100)]
      })
      const head = ['time', 'who', 'what', 'files', 'link', 'reason']
      for (const line of textTable(head, rows, io.width, (word) => io.style('bold', word))) io.print(line)
    }
    return undefined
  },
})

export const WORKBENCH_COMMANDS: readonly Command[] = [list, show, extend, hold, release, remove, custody]

// --- internal ---

function told(bench: Workbench, io: Io): undefined {
  if (io.json) io.emit(benchJson(bench))
  else printBench(bench, io)
}

function printBench(
  { name, home, directory, segments, copies, bytes, created, expires, isHeld, reason }: Workbench,
  io: Io,
) {
  const until = isHeld ? 'until it is released' : `until ${timeText(expires).slice(0, 16)}`
  io.print(
    `${io.style('bold', name)}: ${countText(segments, 'segment')} of ${home}, ${countText(copies, 'file')}, ${bytesText(bytes)}; kept ${until}`,
  )
  io.print(`  in ${printable(directory, 1_000)}, since ${timeText(created).slice(0, 16)}`)
  if (reason !== '') io.print(`  ${printable(reason, 1_000)}`)
}

const benchJson = ({ created, expires, ...bench }: Workbench) => ({
  ...bench,
  ...{ created: isoTimeText(created), expires: isoTimeText(expires) },
})

const entryJson = ({ time, expires, ...entry }: CustodyEntry) => ({
  ...{ time: isoTimeText(time), ...entry },
  expires: expires === null ? null : isoTimeText(expires),
})
