/** Status of an analysis: a window that is drawn again, lines, or a file. */
import { isoTimeText } from '../core/isoTime.ts'
import { textTable } from '../core/terminalText.ts'
import type { AnalyzeStatus, ProcessStatus } from '../index.ts'
import { attempt, writeDurably } from '../platform/files.ts'
import { VERSION } from '../version.ts'
import type { Io } from './io.ts'

export const STATUS_VIEWS = ['window', 'linear', 'file', 'none'] as const
export type StatusView = (typeof STATUS_VIEWS)[number]

/** A display of the view chosen, or of the one that fits: a window on a terminal, a log line every few seconds elsewhere. */
export function statusDisplay(
  io: Io,
  options: { readonly view: StatusView | undefined; readonly file: string; readonly place: string },
): (status: AnalyzeStatus) => void {
  const { view = io.json ? 'none' : process.stderr.isTTY ? 'window' : undefined, file, place } = options
  const before: Before = new Map()
  switch (view) {
    case 'window':
      return (status) => process.stderr.write(`${CLEAR}${windowLines(status, place, before).join('\n')}\n`)
    case 'linear':
      return (status) => {
        for (const line of linearLines(status)) io.note(line)
      }
    case 'file':
      return (status) => attempt(file, () => writeDurably(file, `${fileLine(status)}\n`))
    case 'none':
      return () => undefined
    default:
      return logLines(io)
  }
}

/** What a person sees, whole; `before` keeps counts, to say what came since. */
export function windowLines(status: AnalyzeStatus, place: string, before: Before): string[] {
  const { events, foreman, workers, tasks } = status
  const rows = [foreman, ...workers].map((one) => {
    const counts = {
      events: one.consumed.events,
      tags: one.produced.tags,
      reports: one.produced.reports,
    }
    const last = before.get(one.identifier) ?? { events: 0, tags: 0, reports: 0 }
    before.set(one.identifier, counts)
    const text = (name: keyof typeof counts) => `${counts[name]} (${counts[name] - last[name]})`
    return [
      one.identifier,
      one.pid === null ? '' : String(one.pid),
      one.status,
      memoryText(one.memory),
      text('events'),
      text('tags'),
      text('reports'),
      what(one),
    ]
  })
  return [
    `coldtrail - analyze version ${VERSION}`,
    '',
    `Data directory        : ${place}`,
    ...(status.run === null ? [] : [`Run                   : ${status.run}`]),
    `Processing time       : ${durationText(status.seconds)}`,
    `Tasks                 : ${tasks.done} of ${tasks.total}, ${rateText(status)}`,
    '',
    ...textTable(
      ['Events:', 'Filtered', 'In time slice', 'Duplicates', 'MACB grouped', 'Total'],
      [['', events.filtered, events.inTimeSlice, events.duplicates, events.macbGrouped, events.total]],
      120,
    ),
    '',
    ...textTable(['Identifier', 'PID', 'Status', 'Memory', 'Events', 'Tags', 'Reports', 'Task'], rows, 140),
    ...(status.aborting ? ['', 'Processing aborted - waiting for clean up.'] : []),
  ]
}

export function linearLines(status: AnalyzeStatus): string[] {
  return [
    `Processing time: ${durationText(status.seconds)}, tasks: ${status.tasks.done} of ${status.tasks.total}, ${rateText(status)}`,
    ...[status.foreman, ...status.workers].map(
      (one) =>
        `${one.identifier} (PID: ${one.pid ?? 'none'}) status: ${one.status}, events consumed: ${one.consumed.events}, ` +
        `tags produced: ${one.produced.tags}, memory: ${memoryText(one.memory)}${one.task === null ? '' : `, task: ${what(one)}`}`,
    ),
  ]
}

export function fileLine({ events, seconds }: AnalyzeStatus): string {
  return (
    `Events: Filtered: ${events.filtered} In time slice: ${events.inTimeSlice} Duplicates: ${events.duplicates} ` +
    `MACB grouped: ${events.macbGrouped} Total: ${events.total}\nProcessing time: ${durationText(seconds)}, ` +
    `written ${isoTimeText(Date.now() * 1_000)}`
  )
}

/** Binary units, as the original writes them. */
export function memoryText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  return power === 0 ? `${bytes} B` : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`
}

/** `12:34:56`, `5 days, 12:34:56`. */
export function durationText(seconds: number): string {
  const whole = Math.floor(seconds)
  const days = Math.floor(whole / 86_400)
  const clock = [Math.floor(whole / 3_600) % 24, Math.floor(whole / 60) % 60, whole % 60]
  const text = clock.map((part) => String(part).padStart(2, '0')).join(':')
  return days === 0 ? text : `${days} day${days === 1 ? '' : 's'}, ${text}`
}

// --- internal ---

type Before = Map<string, { readonly events: number; readonly tags: number; readonly reports: number }>

const CLEAR = '\u001b[2J\u001b[H'
const LOG_EVERY_MS = 5_000

const what = ({ task, plugin }: ProcessStatus): string => [task, plugin].filter((part) => part).join(' ')

function rateText({ eventsPerSecond, secondsLeft }: AnalyzeStatus): string {
  const rate = `${Math.round(eventsPerSecond).toLocaleString('en-US')} events/s`
  return secondsLeft === null ? rate : `${rate}, ${durationText(secondsLeft)} left`
}

function logLines(io: Io): (status: AnalyzeStatus) => void {
  let last = performance.now()
  return ({ events, tasks, foreman, eventsPerSecond }) => {
    if (performance.now() - last < LOG_EVERY_MS) return
    last = performance.now()
    io.log('info', 'analyzing', {
      ...{ status: foreman.status, tasks: tasks.done, of: tasks.total, events: foreman.consumed.events },
      ...{ filtered: events.filtered, total: events.total, events_per_s: Math.round(eventsPerSecond) },
    })
  }
}
