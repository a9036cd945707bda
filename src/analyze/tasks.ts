/** What foreman and workers of an analysis say to each other. Plain data. */
import type { Rule, ValueHits } from '../components/plugin.ts'
import type { HeldTagFile } from '../store/tags.ts'
import type { ProfileOptions } from './profile.ts'

/** A range of rows of a segment; what a worker is given at a time. */
export interface Piece {
  /** 2: what folds found in the first pass is looked for. */
  readonly pass: 1 | 2
  readonly segment: number
  readonly first: number
  readonly rows: number
  /** How often it, or what it was cut from, failed before. */
  readonly attempts: number
  /** Plugins that may not look at it. */
  readonly without: readonly string[]
  /** Rows that a plugin gets at a time: fewer where one of them is suspected. */
  readonly batchRows: number
}

export interface SegmentPlan {
  readonly segment: number
  /** Of the file of its events. */
  readonly path: string
  readonly rows: number
  readonly hidden: readonly number[]
  readonly tags: readonly HeldTagFile[]
  /** Those of its events; undefined when it cannot be told without reading them. */
  readonly dataTypes: readonly string[] | undefined
}

export interface PluginPlan {
  readonly name: string
  /** URL of the module that exports it; null for one that comes with the program. */
  readonly module: string | null
  /** What `prepare` gave. */
  readonly work: unknown
}

export interface WorkerInit {
  readonly dataDir: string
  readonly runDirectory: string
  readonly segments: readonly SegmentPlan[]
  readonly plugins: readonly PluginPlan[]
  readonly selection: Selection
  readonly profile: ProfileOptions | null
}

/** Which events are analysed. */
export interface Selection {
  readonly expression: string
  readonly mode: 'strict' | 'plaso'
  /** Microseconds: what `now()` means in the expression. */
  readonly now: number
  readonly time1: number | null
  readonly time2: number | null
  /** No event with a higher id. */
  readonly lastId: number | null
}

/** What the second pass looks for; written once into the run's folder. */
export interface SecondPass {
  readonly rules: readonly (Rule & { readonly plugin: string })[]
  readonly intervals: readonly {
    readonly plugin: string
    /** Sorted, disjoint, both ends included. */
    readonly time1: Float64Array
    readonly time2: Float64Array
    readonly labels: readonly string[]
  }[]
  readonly values: readonly (ValueHits & { readonly plugin: string })[]
}

/** Told before a plugin gets rows, so that it is known what it was doing when it dies. */
export interface Progress {
  readonly plugin: string
  readonly first: number
  readonly last: number
  /** So far, of this piece. */
  readonly events: number
  readonly tags: number
}

export interface Skipped {
  /** Event id; null when rows could not be read at all. */
  readonly event: number | null
  readonly segment: number
  readonly first: number
  readonly rows: number
  /** Null: all of the run's. */
  readonly plugin: string | null
  readonly reason: string
}

export interface PieceCounts {
  /** Read. */
  readonly rows: number
  /** Of objects that came again in another version. */
  readonly duplicates: number
  /** Of the others: with a time asked for. */
  readonly inTimeSlice: number
  /** Of these: analysed. */
  readonly events: number
  readonly tags: number
}

/** `result` of a task in the catalog. */
export interface PieceResult {
  /** Name of the task file; null when the rows were skipped. */
  readonly file: string | null
  readonly counts: PieceCounts
  /** States of folds in it. */
  readonly states: number
  readonly skipped: readonly Skipped[]
  /** Plugins that failed at so many events that they were given up, with the first reason. */
  readonly givenUp: Readonly<Record<string, string>>
}

/** Events at which a plugin may fail before it is given up. */
export const MAX_FAILURES = 100
/** Rows of a batch, and of one that carries whole records. */
export const BATCH_ROWS = 65_536
export const RECORD_BATCH_ROWS = 8_192
/** What `Progress.plugin` says while the statement of all rules runs. */
export const ALL_RULES = '(rules)'

export const NO_COUNTS: PieceCounts = { rows: 0, duplicates: 0, inTimeSlice: 0, events: 0, tags: 0 }

/** In the run's folder. */
export const SECOND_PASS_FILE = 'second.bin'
