/**
 * Segments: the files that bear the same 9-digit number, and what a writer hands to the catalog when it seals one.
 * Files: `session-N.parquet`, `meta-N.parquet`, `log-N.pack`, `index-N/` (`values.parquet`, `keyset.ks`) and, only when
 * records were refused, `reject-N.parquet`. Beside each stands `<name>.manifest`, immutable.
 */
import type { Manifest } from './manifest.ts'

export type FileKind = 'session' | 'meta' | 'log' | 'index' | 'reject' | 'tag'

/** Range sizes that a writer draws for one open segment, so that id ranges of segments never overlap. */
export const EVENT_IDS_PER_SEGMENT = 2 ** 26
export const SESSION_IDS_PER_SEGMENT = 2 ** 17

export interface SegmentFile {
  readonly kind: FileKind
  /** Base name of the file or directory. */
  readonly name: string
  readonly size: number
  /** Lower-case hex; of a directory: over its sorted list of files (manifest.ts). */
  readonly sha256: string
  readonly manifest: Manifest
}

/** One collected object; the row of `session-N.parquet`. Times are microseconds UTC. */
export interface SessionRow {
  readonly session_id: number
  /** Name of the source: `s3://bucket`, `s3://bucket@endpoint` or `file://host-independent-root`; part of the event uid. */
  readonly source: string
  readonly bucket: string
  readonly key: string
  /** ETag or version id of S3; `sha256:<hex>` of the bytes for local files. */
  readonly version: string
  readonly size: number
  readonly last_modified: number
  readonly received: number
  readonly codec: 'plain' | 'gzip' | 'zstd' | 'plaso'
  readonly format: string
  readonly format_version: number
  readonly sha256_received: string
  readonly sha256_decoded: string
  readonly decoded_size: number
  /** Segment number of the pack that holds the bytes as received, and where; null with keep_log: false. */
  readonly pack_segment: number | null
  readonly pack_offset: number | null
  readonly pack_length: number | null
  /** First and last event id, null without events. */
  readonly id1: number | null
  readonly id2: number | null
  readonly time1: number | null
  readonly time2: number | null
  readonly records: number
  readonly events: number
  readonly rejects: number
  /** The line that names the fields of its records, names joined by single spaces; null without one, or with several. */
  readonly header: string | null
}

/** A record that a format refused; the row of `reject-N.parquet`. */
export interface RejectRow {
  readonly session_id: number
  readonly offset: number
  readonly length: number
  readonly reason: string
  /** The record's bytes, at most REJECT_BYTES of them. */
  readonly data: Uint8Array
}

export const REJECT_BYTES = 65_536

/** What a writer hands over once every file is durable under its final name. Plain data: it crosses processes. */
export interface SealedSegment {
  readonly collection: string
  readonly segment: number
  readonly format: string
  /** `YYYY-MM-DD`, or `none` when neither key nor events give a day. */
  readonly day: string
  readonly files: readonly SegmentFile[]
  readonly sessions: readonly SessionRow[]
  readonly id1: number | null
  readonly id2: number | null
  readonly session1: number
  readonly session2: number
  /** Microseconds; null when no event has a time. */
  readonly time1: number | null
  readonly time2: number | null
  readonly rows: number
  readonly rejects: number
  readonly raw_bytes: number
}

export const segmentNumber = (segment: number): string => String(segment).padStart(9, '0')

export const segmentFileName = (kind: FileKind, segment: number): string =>
  `${kind}-${segmentNumber(segment)}${kind === 'index' ? '' : kind === 'log' ? '.pack' : '.parquet'}`
