/** What a run is doing, for people and programs: true at all times, told twice a second. */
import type { WorkerStatus } from '../engine/foreman.ts'
import type { PieceCounts, Progress } from './tasks.ts'

/** The closed set of what a process may be said to do; other jobs use the rest of it. */
export const INDICATORS = [
  'aborted',
  'analyzing',
  'collecting',
  'completed',
  'error',
  'exporting',
  'extracting',
  'finalizing',
  'hashing',
  'idle',
  'initialized',
  'killed',
  'merging',
  'not responding',
  'reporting',
  'running',
  'timelining',
  'yara scan',
] as const
export type Indicator = (typeof INDICATORS)[number]

export interface WorkCounts {
  /** Segments. */
  readonly sources: number
  /** Rows read. */
  readonly eventData: number
  /** Events that were selected. */
  readonly events: number
  readonly tags: number
  readonly reports: number
}

export interface ProcessStatus {
  /** `Main`, `worker_00`, … */
  readonly identifier: string
  readonly pid: number | null
  readonly status: Indicator
  /** Resident bytes. */
  readonly memory: number
  readonly consumed: WorkCounts
  readonly produced: WorkCounts
  /** The piece of work in hand: `pass/segment/first row`. */
  readonly task: string | null
  /** The plugin at work. */
  readonly plugin: string | null
  /** Milliseconds since 1970 of what was last heard of it. */
  readonly lastActivity: number
  readonly restarts: number
}

export interface AnalyzeStatus {
  /** Null before the run has a number. */
  readonly run: number | null
  readonly foreman: ProcessStatus
  readonly workers: readonly ProcessStatus[]
  readonly events: {
    /** Not selected by the expression, the times, or --limit. */
    readonly filtered: number
    readonly inTimeSlice: number
    /** Of objects that came again in another version. */
    readonly duplicates: number
    readonly macbGrouped: number
    /** Of the run's segments. */
    readonly total: number
  }
  readonly tasks: { readonly done: number; readonly total: number }
  readonly seconds: number
  /** Rows read. */
  readonly eventsPerSecond: number
  readonly secondsLeft: number | null
  readonly aborting: boolean
}

export const NO_WORK: WorkCounts = { sources: 0, eventData: 0, events: 0, tags: 0, reports: 0 }

/** Before anything is known: that this process is at it. */
export const firstStatus = (): AnalyzeStatus => ({
  run: null,
  foreman: {
    ...{ identifier: 'Main', pid: process.pid, status: 'initialized', memory: process.memoryUsage.rss() },
    ...{ consumed: NO_WORK, produced: NO_WORK, task: null, plugin: null, lastActivity: Date.now(), restarts: 0 },
  },
  workers: [],
  events: { filtered: 0, inTimeSlice: 0, duplicates: 0, macbGrouped: 0, total: 0 },
  tasks: { done: 0, total: 0 },
  ...{ seconds: 0, eventsPerSecond: 0, secondsLeft: null, aborting: false },
})

/** Milliseconds without a sign of life, while at work, after which a worker is called so. */
const SILENT_MILLISECONDS = 5_000

/** `hasStopped`: it was asked to end, for want of work. */
export function indicatorOf({ state, lastActivity }: WorkerStatus, hasStopped: boolean): Indicator {
  switch (state) {
    case 'starting':
      return 'initialized'
    case 'idle':
      return 'idle'
    case 'busy':
      return Date.now() - lastActivity > SILENT_MILLISECONDS ? 'not responding' : 'analyzing'
    case 'stopping':
      return 'finalizing'
    case 'dead':
      return hasStopped ? 'completed' : 'killed'
    case 'killed':
      return 'killed'
  }
}

/** What a worker has done, and is doing. */
export class WorkerTally {
  private done: PieceCounts = { rows: 0, duplicates: 0, inTimeSlice: 0, events: 0, tags: 0 }
  private readonly segments = new Set<number>()
  private states = 0
  current: { readonly name: string; progress: Progress | undefined } | undefined

  begin(name: string, segment: number): void {
    this.current = { name, progress: undefined }
    this.segments.add(segment)
  }

  finish(counts: PieceCounts, states: number): void {
    this.done = addCounts(this.done, counts)
    this.states += states
    this.current = undefined
  }

  get consumed(): WorkCounts {
    const { rows, events } = this.done
    return { sources: this.segments.size, eventData: rows, events, tags: 0, reports: 0 }
  }

  get produced(): WorkCounts {
    const tags = this.done.tags + (this.current?.progress?.tags ?? 0)
    return { ...NO_WORK, tags, reports: this.states }
  }
}

export function addCounts(one: PieceCounts, other: PieceCounts): PieceCounts {
  return {
    rows: one.rows + other.rows,
    duplicates: one.duplicates + other.duplicates,
    inTimeSlice: one.inTimeSlice + other.inTimeSlice,
    events: one.events + other.events,
    tags: one.tags + other.tags,
  }
}
