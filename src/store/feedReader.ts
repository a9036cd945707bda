/**
 * What is new for a feed, in order of (commit sequence, event id), wherever compaction has put the events since.
 */
import type { EventColumnName } from '../core/columns.ts'
import type { OutgoingEvent } from '../core/outgoingEvent.ts'
import type { Position } from './catalog/outbox.ts'
import type { Condition } from './search.ts'

export interface FeedQuestion {
  readonly collection: string
  readonly condition?: Condition
  /** Microseconds: events before it are not taken; those without a time are when their commit is not before it. */
  readonly startTime?: number
  /** What `OutgoingEvent.column` answers; `id`, `uid`, `time`, `dataType`, `data` and `session` always are there. */
  readonly columns: readonly EventColumnName[]
  readonly from: Position
  /** Default: the head as of the call. */
  readonly to?: Position
  /** Pass over events whose files are not here, and count them; else E_FORWARD_OFFLINE. */
  readonly skipOffline?: boolean
  readonly signal?: AbortSignal
}

/** Selected events of one commit, ids ascending. Valid until the next chunk is asked for. */
export interface FeedChunk {
  readonly sequence: number
  readonly events: readonly OutgoingEvent[]
  /** Everything up to here was looked at. */
  readonly upTo: Position
  /** Events passed over since the chunk before: of superseded sessions (matching or not), and offline ones. */
  readonly superseded: number
  readonly offline: number
}

export interface FeedCount {
  readonly events: number
  /** Of them, with a time before `olderThan`. */
  readonly older: number
  /** When the oldest commit with such an event took place, microseconds; null without events. */
  readonly oldestCommit: number | null
}

export interface FeedSource {
  /** Chunks may hold no event: then only the position moves. */
  read(question: FeedQuestion): AsyncGenerator<FeedChunk>
  /** Events by id, as far as they are here; ids ascending. */
  readEvents(
    collection: string,
    ids: readonly number[],
    columns: readonly EventColumnName[],
    signal?: AbortSignal,
  ): AsyncGenerator<OutgoingEvent>
  /** How many events a feed has not read yet. Without a condition it is told from the catalog where that is possible. */
  count(question: Omit<FeedQuestion, 'columns'> & { readonly olderThan?: number }): Promise<FeedCount>
  close(): Promise<void>
}
