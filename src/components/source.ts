/** What a source offers to the collector. A source lists and opens; claiming, retrying whole objects and counting are the collector's. */
import type { SourceObject } from '../core/sourceObject.ts'

export interface ListRange {
  /** Microseconds UTC, inclusive; days are taken from the key in AWS layouts, else from LastModified. */
  readonly from?: number
  readonly to?: number
  readonly lookbackDays?: number
}

export interface ListStatistics {
  requests: number
  objects: number
  bytes: number
  milliseconds: number
  /** Objects passed over, by reason: `zero bytes`, `excluded`, `archived`, `noise`, `digest`, `partial`, `out of range`. */
  readonly skipped: Map<string, number>
}

export interface Source {
  readonly name: string
  /** Everything visible in the range, in pages. A failing request is an error (typed), never an empty list. */
  list(range: ListRange, statistics: ListStatistics, signal?: AbortSignal): AsyncIterable<readonly SourceObject[]>
  /** The object's bytes as received, from the start; transient faults are retried and resumed inside, then typed. */
  open(object: SourceObject, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  /** The whole object at once, with the same retries: for objects small enough to hold in memory, much cheaper than `open`. */
  read(object: SourceObject, signal?: AbortSignal): Promise<Buffer>
  /** Counts for --metrics-file: requests and errors by code, retries, throttles. */
  readonly statistics: SourceStatistics
  close(): Promise<void>
}

export interface SourceStatistics {
  readonly requests: Map<string, number>
  readonly errors: Map<string, number>
  retries: number
  throttles: number
}
