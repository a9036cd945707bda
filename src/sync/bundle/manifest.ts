/** What a bundle says of itself, signed. Bytes and meaning: docs/design.md §12. */

export type BundleKind = 'full' | 'delta' | 'differential' | 'window'

export interface BundleEntry {
  readonly path: string
  readonly op: 'rows' | 'deleted' | 'blob' | 'report'
  readonly table?: string
  readonly rows?: number
  /** Of the plain content. */
  readonly bytes: number
  /** Of the gzip members that hold header, content and padding. */
  readonly zbytes: number
  readonly sha256: string
}

/** A public key of the site; a later one is vouched for by the one before: its signature over `key_id public_key`. */
export interface SiteKey {
  readonly id: string
  /** Base64 of the SPKI form. */
  readonly public_key: string
  readonly valid_from: string
  readonly valid_until: string | null
  readonly introduced_by?: { readonly key: string; readonly signature: string }
}

export interface BundleManifest {
  readonly format: 1
  readonly min_reader: 1
  readonly bundle: string
  readonly site: string
  readonly audience: string | null
  readonly kind: BundleKind
  readonly seq: number
  readonly prev_sha256: string | null
  readonly base_seq: number
  /** Change number of the source up to which it is complete. */
  readonly horizon: number
  readonly covered: readonly { readonly seq: number; readonly name: string; readonly manifest_sha256: string }[]
  readonly config: SelectionConfig
  readonly config_sha256: string
  readonly window: { readonly start: string | null; readonly end: string | null } | null
  readonly created: string
  readonly expires: string | null
  readonly tool: string
  readonly keys: readonly SiteKey[]
  readonly columns: Readonly<Record<string, readonly string[]>>
  readonly entries: readonly BundleEntry[]
  readonly totals: { readonly rows: number; readonly deleted: number; readonly blobs: number; readonly bytes: number }
  readonly excluded: Readonly<Record<string, number>>
  /** State digest in hex by table, at the horizon; only where everything travels. */
  readonly tables: Readonly<Record<string, string>> | null
}

/** What is selected, and never where it is written: two runs with one configuration continue each other. */
export interface SelectionConfig {
  readonly include_deleted: boolean
  readonly include_investigations: boolean
  readonly ignore_file_types: readonly string[]
  readonly tlp: string | null
  readonly where: string | null
}
