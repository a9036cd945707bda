/**
 * What a destination offers to the forwarder. A destination encodes events and sends one batch; selecting, packing,
 * retrying, halving, pausing, accounting and resuming are the forwarder's (src/forward/), the same for all of them.
 */
import type { EventColumnName } from '../core/columns.ts'
import type { ColdtrailError } from '../core/errors.ts'
import type { OutgoingEvent } from '../core/outgoingEvent.ts'
import type { Table } from './rows/table.ts'

export interface Destination {
  /** Independent streams of batches, each with a position of its own, so that a fault of one does not hold up the others. */
  readonly feeds: readonly Feed[]
  /** Said when a run starts: what a user must know of this destination (a retired service, TLS not verified). */
  readonly notices: readonly string[]
  /** Tables that its feeds fill, whose definitions the receiver needs beforehand. */
  readonly tables?: readonly Table[]
  /** Proves address, credentials, rights and clock, one line each; sends no record. */
  check(signal?: AbortSignal): AsyncIterable<DestinationCheck>
  close(): Promise<void>
}

export interface DestinationCheck {
  readonly name: string
  readonly ok: boolean
  /** What was found; without secrets. */
  readonly detail: string
  /** What to do when it is not ok. */
  readonly hint?: string
}

/** What a feed sends. A receiver gets findings only when it is asked to. */
export type Stream = 'events' | 'findings'

/** Told by the name, which is all that is kept of a feed: those of findings are named by `findingFeed`. */
export const streamOf = (feed: string): Stream => (/(^| )findings$/.test(feed) ? 'findings' : 'events')

/** Beside a feed of events the same of findings; that of `events` is `findings`. */
export const findingFeed = (feed: string): string => (feed === 'events' ? 'findings' : `${feed} findings`)

export interface Feed {
  /** Unique in its destination; part of what identifies a position: `AWSCloudTrail`, `events`, `findings`. */
  readonly name: string
  /** Which events it takes, as an expression of the one language; undefined: all. */
  readonly where?: string
  /** Event columns that `encode` reads, besides id, uid, time, dataType, data and session. */
  readonly columns: readonly EventColumnName[]
  readonly limits: BatchLimits
  /** The receiver does not file events older than this under their own time; `notice` says so before they are sent. */
  readonly lateAfter?: { readonly microseconds: number; readonly notice: string }
  /**
   * Appends the event as one element to `out`. Returns notes of what had to be changed, which are counted by text; or
   * the reason why this event can never be sent as it is: then nothing was appended and it goes to the dead letters.
   */
  encode(event: OutgoingEvent, out: ElementWriter): Encoded
  /** One request (or one append). Throws only for defects; everything that can happen is an outcome. */
  send(batch: OutgoingBatch, signal: AbortSignal): Promise<Outcome>
}

export type Encoded = undefined | { readonly notes: readonly string[] } | { readonly refused: string }

/** Bytes of the element at hand. The forwarder owns the buffer, puts separators, and measures. */
export interface ElementWriter {
  /** UTF-8 of a text. */
  text(text: string): void
  bytes(bytes: Uint8Array, start?: number, end?: number): void
}

export interface BatchLimits {
  /** `array`: `[a,b]`; `lines`: `a\nb\n`. */
  readonly framing: 'array' | 'lines'
  readonly compression: { readonly kind: 'none' | 'gzip' | 'zstd'; readonly level?: number }
  /** A batch is closed before it would be larger than this on the wire, after compression. */
  readonly wireBytes: number
  /** The same before compression. */
  readonly decodedBytes: number
  readonly records: number
  /** Batches under way at once. */
  readonly inFlight: number
  /** Latest minus earliest time of a batch stays below this, microseconds. */
  readonly timeSpan?: number
}

export interface OutgoingBatch {
  /** As it goes over the wire: framed and compressed. */
  readonly body: Buffer
  readonly records: number
  readonly decodedBytes: number
  /** Identifies the attempt in logs of both sides. */
  readonly requestId: string
}

export type Outcome =
  /** `rejected`: positions in the batch that the receiver refused, all others it took. */
  | { readonly kind: 'accepted'; readonly rejected?: readonly { readonly index: number; readonly reason: string }[] }
  /** Refused for its content, for good: the batch is halved until the records that are to blame stand alone. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** The batch is larger than the receiver takes: halved, and later batches are packed smaller. */
  | { readonly kind: 'too_large'; readonly reason: string }
  /** Not now; `afterMs` as the receiver said. */
  | { readonly kind: 'throttled'; readonly afterMs?: number; readonly reason: string }
  /** Perhaps taken, perhaps not: repeated with growing pauses. */
  | { readonly kind: 'failed'; readonly reason: string }
  /** Repeating does not help, or only much later: `retryForMs` says how long it is worth trying (role propagation). */
  | { readonly kind: 'denied'; readonly error: ColdtrailError; readonly retryForMs?: number }
