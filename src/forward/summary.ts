/** What a run of `forward` came to, and how far it is. */
import type { ColdtrailError } from '../core/errors.ts'
import { addPassed, NONE_PASSED, type Passed, type Position, type Settlement } from '../store/catalog/outbox.ts'
import type { SelectedFeed } from './forward.ts'

/** All numbers are of this run. In a dry run: what would be. */
export interface FeedSummary {
  readonly feed: string
  readonly collection: string
  readonly expression: string
  /** Had no position before. */
  new: boolean
  accepted: number
  /** Went to the dead letters. */
  rejected: number
  requests: number
  retried: number
  wire_bytes: number
  decoded_bytes: number
  batches: number
  /** Batches that an earlier run had under way. */
  resumed: number
  /** Events passed over. */
  superseded: number
  offline: number
  /** Events that the receiver will not file under their own time. */
  late: number
  /** What encoders changed, by text. */
  readonly notes: Record<string, number>
  position?: Position
  /** Bounds of event time, in a dry run; microseconds. */
  time1?: number
  time2?: number
  error?: ColdtrailError
}

export interface ForwardSummary {
  readonly type: 'summary'
  readonly destination: string
  /** Accepted. */
  readonly events: number
  readonly rejected: number
  readonly requests: number
  readonly retried: number
  readonly wire_bytes: number
  readonly decoded_bytes: number
  readonly superseded: number
  readonly offline: number
  readonly seconds: number
  readonly dry_run: boolean
  readonly interrupted: boolean
  readonly feeds: readonly FeedSummary[]
  /** The first fault that ended a feed. */
  readonly error?: ColdtrailError
}

export interface ForwardProgress {
  readonly events: number
  readonly total: number
  readonly requests: number
  readonly wireBytes: number
  readonly eventsPerSecond: number
  readonly secondsLeft: number | undefined
}

export const emptyFeedSummary = ({ feed, expression }: SelectedFeed, collection: string): FeedSummary => ({
  feed: feed.name,
  collection,
  expression,
  new: false,
  accepted: 0,
  rejected: 0,
  requests: 0,
  retried: 0,
  wire_bytes: 0,
  decoded_bytes: 0,
  batches: 0,
  resumed: 0,
  superseded: 0,
  offline: 0,
  late: 0,
  notes: {},
})

/** Of a destination that could not even be opened. */
export const stoppedSummary = (destination: string, error: ColdtrailError): ForwardSummary => ({
  ...{ type: 'summary', destination, events: 0, rejected: 0, requests: 0, retried: 0, wire_bytes: 0, decoded_bytes: 0 },
  ...{ superseded: 0, offline: 0, seconds: 0, dry_run: false, interrupted: false, feeds: [], error },
})

export function addSettlement(summary: FeedSummary, settlement: Settlement, passed: Passed = NONE_PASSED): void {
  Object.assign(summary, addPassed(summary, passed))
  summary.accepted += settlement.accepted
  summary.rejected += settlement.rejected.length
  summary.requests += settlement.requests
  summary.retried += settlement.retried
  summary.wire_bytes += settlement.wireBytes
  summary.decoded_bytes += settlement.decodedBytes
  summary.batches += 1
}
