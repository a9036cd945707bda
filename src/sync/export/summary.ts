/** What an export came to, and how far it is. It is the report's JSON form too. */
import type { ColdtrailError } from '../../core/errors.ts'
import type { BundleKind } from '../bundle/manifest.ts'
import type { Findings } from './readBack.ts'

export type ExportStep = 'select' | 'rows' | 'deleted' | 'blobs' | 'digest' | 'write' | 'read back'

export interface ExportProgress {
  readonly step: ExportStep
  readonly table?: string
  /** Rows of all tables. */
  readonly done: number
  readonly total: number
}

export interface ExportedTable {
  readonly table: string
  readonly rows: number
  readonly deleted: number
  /** Dump files. */
  readonly files: number
}

/** Times are ISO 8601. */
export interface ExportSummary {
  readonly type: 'sync export'
  result: 'exported' | 'failed'
  run: string
  readonly pid: number
  readonly started: string
  finished?: string
  readonly options: Readonly<Record<string, unknown>>
  bundle?: {
    readonly name: string
    readonly site: string
    readonly audience: string | null
    readonly kind: BundleKind
    readonly seq: number
    readonly base_seq: number
    /** Sequence number of changes up to which it is complete. */
    readonly horizon: number
    readonly created: string
    manifest_sha256: string | null
  }
  readonly target: string
  files: readonly string[]
  tables: ExportedTable[]
  totals: { rows: number; deleted: number; blobs: number; bytes: number; compressed_bytes: number }
  /** Rows that stayed out, by reason. */
  excluded: Readonly<Record<string, number>>
  /** Attachments whose content is not here. */
  missing_blobs: number
  /** Of the search for values above the ceiling. */
  search?: Findings
  steps: { step: ExportStep; seconds: number }[]
  /** What was said on the way. */
  log: string[]
  seconds: number
  rows_per_s: number
  peak_rss_mb: number
  reports: { readonly text: string; readonly json: string } | null
  error?: ColdtrailError
}
