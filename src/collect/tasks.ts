/** What the collector's foreman and its workers tell each other. Plain data. */
import type { Formatters } from '../components/timeline/formatters.ts'
import type { ErrorValues } from '../core/errors.ts'
import type { SourceObject } from '../core/sourceObject.ts'
import type { KeysetKey } from '../store/keysetKeys.ts'
import type { RunOutcome, RunRequest } from '../store/runs.ts'
import type { SealedSegment } from '../store/segment.ts'
import type { DecodeLimits } from './decode.ts'
import type { SourceDeclaration } from './openSource.ts'

export interface SegmentLimits {
  readonly maxRows: number
  readonly maxBytes: number
  readonly maxSessions: number
  /** Of one worker. */
  readonly maxOpen: number
  /** Buffered bytes of one worker above which the largest segment writes its row group early. */
  readonly bufferBytes: number
  /** Seal what got nothing for so long; 0 = only at the end. */
  readonly idleSeconds: number
}

export interface SegmentPlace {
  readonly directory: string
  /** Of files that a worker needs for a while: containers that are read here and there and not from end to end. */
  readonly scratch?: string
  readonly collection: string
  readonly keepLog: boolean
  readonly keyset: KeysetKey | null
  readonly producer: string
}

export interface WorkerInit {
  readonly sources: readonly SourceDeclaration[]
  readonly place: SegmentPlace
  readonly segmentLimits: SegmentLimits
  readonly decodeLimits: DecodeLimits
  readonly formatters?: Formatters
  /** Objects that one worker fetches at a time. */
  readonly downloads: number
}

/** A claimed object on its way. `number` names it for the length of the run. */
export interface Item {
  readonly number: number
  /** Index into WorkerInit.sources. */
  readonly source: number
  readonly object: SourceObject
  /** Another version of the same key was collected before. */
  readonly replaces: boolean
}

/**
 * `seal`: make everything open durable and committed; done when it is. `isTest`: one suspect alone, and no segment is
 * sealed meanwhile, so that a death is its doing.
 */
export type CollectTask =
  | { readonly kind: 'objects'; readonly items: readonly Item[]; readonly isTest: boolean }
  | { readonly kind: 'seal' }

/** Why a standard input without a byte is passed over. It is no object that could be known next time. */
export const NO_INPUT = 'no input'

/** What became of an object that is in no segment. */
export type Outcome = { readonly number: number } & (
  | { readonly state: 'skipped'; readonly reason: string }
  | { readonly state: 'failed'; readonly code: string; readonly values: ErrorValues }
  /** A local file whose bytes were collected before. */
  | { readonly state: 'same' }
  /** Not begun, because the run was interrupted. */
  | { readonly state: 'left' }
)

export interface TaskCounts {
  objects: number
  received: number
  decoded: number
  events: number
  rejects: number
  fetchMilliseconds: number
  parseMilliseconds: number
  /** Objects whose bytes are not what their name's ending promises. */
  mislabelled: number
}

export interface TaskResult {
  readonly outcomes: Outcome[]
  /** Sound objects of a segment that was dropped because of another one: to be done again. */
  readonly again: number[]
  readonly counts: TaskCounts
  /** The sources of the process `pid` so far. */
  readonly requests: SourceCounts
  readonly pid: number
}

export interface SourceCounts {
  readonly requests: ReadonlyMap<string, number>
  readonly errors: ReadonlyMap<string, number>
  readonly retries: number
  readonly throttles: number
}

export type Question =
  | { readonly kind: 'numbers'; readonly large: boolean }
  | { readonly kind: 'same'; readonly number: number; readonly sha256: string }
  /** A number for what came with the objects of a segment. */
  | { readonly kind: 'run'; readonly request: RunRequest }
  | {
      readonly kind: 'commit'
      readonly segment: SealedSegment
      readonly objects: readonly number[]
      readonly imported?: RunOutcome
    }

/** Where a new segment begins: the answer to `numbers`. */
export interface SegmentNumbers {
  readonly segment: number
  readonly firstEventId: number
  readonly firstSessionId: number
}

export type Note = 'interrupt'

export function emptyCounts(): TaskCounts {
  return {
    objects: 0,
    received: 0,
    decoded: 0,
    events: 0,
    rejects: 0,
    fetchMilliseconds: 0,
    parseMilliseconds: 0,
    mislabelled: 0,
  }
}

export function addCounts(sum: TaskCounts, part: Readonly<TaskCounts>, sign = 1): void {
  for (const name of Object.keys(sum) as (keyof TaskCounts)[]) sum[name] += sign * part[name]
}
