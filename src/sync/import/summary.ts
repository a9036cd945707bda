/** What an import came to, and how far it is. It is the report's JSON form too. */
import type { ColdtrailError } from '../../core/errors.ts'
import type { Conflict, Difference, TableReport } from '../../library/merge/policy.ts'
import type { BundleKind } from '../bundle/manifest.ts'
import type { BundleName } from './admission.ts'

export type ImportStep =
  | 'open'
  | 'verify'
  | 'load'
  | 'blobs'
  | 'index'
  | 'resolve'
  | 'compare'
  | 'insert'
  | 'apply'
  | 'compare digests'

export interface ImportProgress {
  readonly step: ImportStep
  readonly table?: string
  /** Bytes while verifying, rows of all tables afterwards. */
  readonly done: number
  readonly total: number
}

export interface OwnerNote {
  /** Name of the investigation or task, bounded. */
  readonly object: string
  readonly field: string
  readonly owner: string
  /** Name of the owner at the source when the mapping file gave another. */
  readonly instead_of?: string
}

/** Times are ISO 8601, numbers are rows unless they say otherwise. */
export interface ImportSummary {
  readonly type: 'sync import'
  /** `known`: this bundle is in already. */
  result: 'imported' | 'unchanged' | 'known' | 'dry run' | 'failed'
  readonly file: string
  run: string | null
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
    readonly manifest_sha256: string
    readonly created: string
    readonly tool: string
  }
  /** Key that the bundle is signed with, and whether this import pinned it. */
  key?: { readonly id: string; readonly fingerprint?: string; readonly pinned_now: boolean }
  /** Bundles of the stream that never came and that this one makes up for. */
  skipped_bundles: readonly BundleName[]
  /** A run that ended before and is gone on with. */
  resumed_run?: string
  shards: { loaded: number; ids_only: number; unchanged: number; loaded_before: number }
  tables: readonly TableReport[]
  totals: { staged: number; inserted: number; updated: number; deleted: number; kept: number; quarantined: number }
  conflict_count: number
  conflicts: readonly Conflict[]
  /** Of a dry run: fields that would change. */
  difference_count: number
  differences: Difference[]
  /** Contents of attachments: taken in, here before, and the stubs whose content did not come. */
  blobs: { stored: number; present: number; missing: number; missing_names: string[] }
  owners: OwnerNote[]
  /** Only after a full bundle that states its digests. */
  state?: {
    readonly identical: boolean
    readonly digest: string
    readonly different: readonly { table: string; why: string }[]
  }
  change?: number
  seq?: number
  steps: { step: ImportStep; seconds: number }[]
  seconds: number
  rows_per_s: number
  peak_rss_mb: number
  reports: { readonly text: string; readonly json: string } | null
  error?: ColdtrailError
}
