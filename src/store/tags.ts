/**
 * Tag files, the fifth database: `tag-<segment>-<run>.parquet` holds what one run said of a segment's events, a row per
 * (event id, label, plugin, rule), sorted by all four, each once.
 */
import type { SegmentFile } from './segment.ts'

/** A label with its plugin and rule: what a row says of its event. */
export interface TagKind {
  /** `[A-Za-z0-9_]+` */
  readonly label: string
  readonly plugin: string
  /** Empty for a plugin without rules. */
  readonly rule: string
}

/** A tag file, durable under its final name. `segment` is the number that it bears. Plain data: it crosses processes. */
export interface TagFile extends SegmentFile {
  readonly segment: number
  readonly run: number
  readonly rows: number
}
