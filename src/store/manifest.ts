/**
 * The manifest beside each database file: RSA NetWitness's field names with their meaning, and ours. Immutable; where
 * the file is, whether it is held or replaced, is the catalog's and the chain's business. Serialised as canonical JSON
 * (RFC 8785) followed by a newline; the canonical bytes are the hash preimage.
 */
import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import type { EventTimes } from './eventTimes.ts'
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
  /** Event ids (meta, tag), session ids (session), session ids (log, index, reject). Absent when the file holds none. */
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
  /** Of the segment's events, on each of its files; absent when none has a time. time1 and time2 are bounds of all events. */
  readonly eventTime?: EventTimes
  readonly rows: number
  readonly rejects: number
  readonly rawBytes: number
  /** `sha256:` and the digest of the columns' names, types and field ids, in canonical JSON; of Parquet files. */
  readonly schema?: string
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
    /** Of its bytes: another segment's keyset, whole as it is, would prove absences that are none. */
    readonly sha256?: string
    readonly bits: 48
    readonly epoch: string
    readonly key: string
    readonly extractor: string
    readonly n: Readonly<Record<string, number>>
    readonly complete: boolean
    readonly reason?: string
  }
  /** tag only: the run that made it, and how many events have each label; absent with more labels than are listed. */
  readonly run?: number
  readonly labels?: Readonly<Record<string, number>>
  readonly producer: string
  readonly sha256: string
}

/** The bytes of a manifest file: canonical JSON and a newline. */
export function serializeManifest(manifest: Manifest): Buffer {
  return Buffer.from(`${canonicalize(manifest)}\n`)
}

/**
 * A manifest from its bytes. Hostile input: throws E_MANIFEST_VERSION for a version this program does not know and
 * E_MANIFEST_FORMAT for anything that is no manifest. `where` names the file in the error.
 */
export function parseManifest(bytes: Uint8Array | string, where = 'manifest'): Manifest {
  const bad = (reason: string): ColdtrailError => new ColdtrailError('E_MANIFEST_FORMAT', { where, reason })
  let value: unknown
  try {
    value = JSON.parse(typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString())
  } catch (error) {
    throw bad((error as Error).message)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('not a JSON object')
  const fields = value as Record<string, unknown>
  if (fields.v !== MANIFEST_FORMAT) throw new ColdtrailError('E_MANIFEST_VERSION', { where, version: fields.v })
  for (const name of TEXTS) if (typeof fields[name] !== 'string') throw bad(`${name} is not a text`)
  for (const name of [...INTEGERS, ...OPTIONAL_INTEGERS])
    if (!Number.isSafeInteger(fields[name]) && !(fields[name] === undefined && OPTIONAL_INTEGERS.includes(name)))
      throw bad(`${name} is not an integer below 2^53`)
  if (!KINDS.has(fields.kind as string)) throw bad(`kind "${fields.kind}" is unknown`)
  if (!/^[0-9a-f]{64}$/.test(fields.sha256 as string)) throw bad('sha256 is not 64 hex digits')
  if (fields.eventTime !== undefined && !areEventTimes(fields.eventTime)) throw bad('eventTime is not of its form')
  return value as Manifest
}

/**
 * Size and digest of a directory (`index-N/`): the sum of its files' sizes, and SHA-256 over one line
 * `<name> <size> <sha256>\n` a file, in the order of the names' code units.
 */
export function directoryDigest(files: readonly { name: string; size: number; sha256: string }[]): {
  size: number
  sha256: string
} {
  const sorted = [...files].sort((a, b) => (a.name < b.name ? -1 : 1))
  const hash = createHash('sha256')
  for (const { name, size, sha256 } of sorted) hash.update(`${name} ${size} ${sha256}\n`)
  return { size: sorted.reduce((sum, file) => sum + file.size, 0), sha256: hash.digest('hex') }
}

// --- internal ---

const KINDS: ReadonlySet<string> = new Set<FileKind>(['session', 'meta', 'log', 'index', 'reject', 'tag'])
/** As far as a search by time relies on it. */
function areEventTimes(value: unknown): boolean {
  const { min, max, outliers = [] } = (typeof value === 'object' && value !== null ? value : {}) as Partial<EventTimes>
  const areTimes = (list: unknown, count: number): boolean =>
    Array.isArray(list) && list.length === count && list.every(Number.isSafeInteger)
  return areTimes([min, max], 2) && Array.isArray(outliers) && outliers.every((outlier) => areTimes(outlier, 3))
}

const TEXTS = ['filename', 'collection', 'format', 'day', 'producer', 'sha256', 'kind']
const INTEGERS = ['segment', 'size', 'fileTime', 'sealTime', 'session1', 'session2', 'rows', 'rejects', 'rawBytes']
const OPTIONAL_INTEGERS = ['id1', 'id2', 'time1', 'time2', 'metaId1', 'metaId2', 'packetId1', 'packetId2', 'run']
