/**
 * What has been forwarded: per feed its position, the batches begun and not settled yet, what became of the others, and
 * its dead letters. Order of a batch and failure table: docs/design.md §10.
 */

/** What a feed has read: all events of earlier commits, and of this commit those up to this id. (0, 0): nothing. */
export interface Position {
  readonly sequence: number
  readonly id: number
}

export interface FeedKey {
  readonly destination: string
  readonly feed: string
  readonly collection: string
  /** Canonical text; '' for all events. */
  readonly expression: string
}

/** Events after `from`, up to and including `to`. */
export interface Batch {
  readonly from: Position
  readonly to: Position
  /** Null for a batch that a rebuild found open. */
  readonly records: number | null
}

export interface OpenBatch extends Batch {
  readonly number: number
  /** Microseconds. */
  readonly begun: number
}

/** An event that the receiver refused for its content, or that no encoder can send. */
export interface DeadLetter {
  readonly id: number
  readonly uid: string
  readonly reason: string
}

/** Since the feed was made. */
export interface FeedCounters {
  readonly accepted: number
  /** Ever refused; those that were sent later or given up are still counted here. */
  readonly rejected: number
  readonly retried: number
  readonly requests: number
  readonly wireBytes: number
  readonly decodedBytes: number
  /** Settled. */
  readonly batches: number
  /** Events passed over: of superseded sessions, and offline ones with `--skip-offline`. */
  readonly superseded: number
  readonly offline: number
}

export interface FeedState extends FeedKey {
  readonly feedId: number
  /** Events before it are not taken, microseconds; null: all. */
  readonly startTime: number | null
  /** End of the last batch begun, or what was passed over since: where reading goes on. */
  readonly position: Position
  /** By number. They are read and sent again before anything new. */
  readonly open: readonly OpenBatch[]
  readonly counters: FeedCounters
  readonly deadLetters: number
  /** Microseconds; null before the first. */
  readonly lastSettled: number | null
}

/** What became of a batch. */
export interface Settlement {
  readonly accepted: number
  readonly rejected: readonly DeadLetter[]
  readonly requests: number
  readonly retried: number
  readonly wireBytes: number
  readonly decodedBytes: number
  /** Of the last request. */
  readonly requestId: string | null
  /** What encoders had to change, counted by text. */
  readonly notes?: Readonly<Record<string, number>>
}

/** What became of dead letters that were tried again; `Settlement.rejected` are still dead, with their new reasons. */
export interface LetterSettlement extends Settlement {
  readonly sent: readonly number[]
  /** Ids that are dropped for good. */
  readonly givenUp?: readonly number[]
}

/** A line of `forward/<destination>/receipts.ndjson`: all that a rebuild needs to know of a feed. */
export interface Receipt {
  readonly v: 1
  /** Running number in the file. */
  readonly receipt: number
  /** `feed`: made; `batch`: settled; `retry`: dead letters tried again; `pass`: events passed over. */
  readonly kind: 'feed' | 'batch' | 'retry' | 'pass'
  readonly feed: string
  readonly collection: string
  readonly expression: string
  readonly startTime: number | null
  /** Microseconds. */
  readonly time: number
  /** Of a batch. */
  readonly number?: number
  /** Of a batch and of what was passed over. */
  readonly from?: Position
  readonly to?: Position
  readonly settlement?: Settlement | LetterSettlement
  readonly passed?: { readonly superseded: number; readonly offline: number }
}

/** The one writer of a destination's feeds. Every method fails with E_CLAIM_LOST once another process has taken over. */
export interface Outbox {
  readonly destination: string
  /** The feed's state; made at position (0, 0) when it is new, and `startTime` counts only then. */
  openFeed(key: Omit<FeedKey, 'destination'>, startTime?: number): Promise<FeedState & { readonly isNew: boolean }>
  /** Commits that a batch is about to be sent, and moves the feed's position to its end. Batches begin in order. */
  beginBatch(feedId: number, batch: Batch): Promise<OpenBatch>
  /** Receipt, dead letters and counters, and the batch is gone: one transaction. Then the receipt goes into the file. */
  settleBatch(feedId: number, number: number, settlement: Settlement): Promise<Receipt>
  /** Moves the position over events of which none is to be sent. */
  passTo(feedId: number, position: Position, passed?: { superseded?: number; offline?: number }): Promise<void>
  settleDeadLetters(feedId: number, settlement: LetterSettlement): Promise<Receipt>
  /** Lets another process forward to the destination. */
  release(): Promise<void>
}
