/**
 * The manifest beside each database file: RSA NetWitness's field names with their meaning, and ours. Immutable; where
 * the file is, whether it is held or replaced, is the catalog's and the chain's business. Serialised as canonical JSON
 * (RFC 8785) followed by a newline; the canonical bytes are the hash preimage.
 */
import type { FileKind } from './segment.ts'

export const MANIFEST_FORMAT = 1

export interface Manifest {
  readonly v: typeof MANIFEST_FORMAT
  readonly filename: string
  readonly kind: FileKind
  readonly collection: string
  readonly segment: number
  readonly format: string
  readonly day: string
  readonly size: number
  /** POSIX seconds, as all times without another unit in their name. fileTime: creation, never modification. */
  readonly fileTime: number
  readonly sealTime: number
  /** Event ids (meta), session ids (session), session ids (log, index, reject). Absent when the file holds none. */
  readonly id1?: number
  readonly id2?: number
  readonly session1: number
  readonly session2: number
  readonly time1?: number
  readonly time2?: number
  /** session only: the range of event ids it owns. */
  readonly metaId1?: number
  readonly metaId2?: number
  /** session only: the range of session ids whose objects lie in the log database. */
  readonly packetId1?: number
  readonly packetId2?: number
  readonly compression?: 'zstd'
  readonly eventTime?: {
    readonly min: number
    readonly max: number
    readonly p01: number
    readonly p99: number
    readonly future: number
    readonly missing: number
  }
  readonly rows: number
  readonly rejects: number
  readonly rawBytes: number
  /** meta only. min/max are exact or absent; ndv is exact or absent. */
  readonly columns?: Readonly<
    Record<
      string,
      { readonly min?: string | number; readonly max?: string | number; readonly ndv?: number; readonly nulls: number }
    >
  >
  /** index only. */
  readonly keyset?: {
    readonly file: 'keyset.ks'
    readonly bits: 48
    readonly epoch: string
    readonly key: string
    readonly extractor: string
    readonly n: Readonly<Record<string, number>>
    readonly complete: boolean
    readonly reason?: string
  }
  readonly producer: string
  readonly sha256: string
}
