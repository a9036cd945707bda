/**
 * The uid of an event: the same in every installation that collected the same object. 16 bytes, written as 32 hex
 * digits: 10 bytes of SHA-256 over the object's identity, then the event's ordinal in the object in 6 bytes, big-endian.
 *
 * Preimage: source, bucket, key and version, each as UTF-8 behind its length in bytes (u32, little-endian), so that no
 * two identities have one preimage. For local files the version is `sha256:<hex>` of the bytes. By the birthday bound
 * 10^9 different objects share a prefix with probability 4e-7.
 */
import { hash } from 'node:crypto'

export interface ObjectIdentity {
  readonly source: string
  readonly bucket: string
  readonly key: string
  readonly version: string
}

/** Hex digits of the object's part. */
export const UID_PREFIX_DIGITS = 20

/** The object's part of the uid of each of its events, 20 hex digits. */
export function uidPrefix({ source, bucket, key, version }: ObjectIdentity): string {
  const parts: Buffer[] = []
  for (const part of [source, bucket, key, version]) {
    const bytes = Buffer.from(part)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    parts.push(length, bytes)
  }
  return hash('sha256', Buffer.concat(parts)).slice(0, UID_PREFIX_DIGITS)
}

/** `ordinal`: position of the event in its object, from 0, below 2^48. */
export const eventUid = (prefix: string, ordinal: number): string => prefix + ordinal.toString(16).padStart(12, '0')

/** The parts of a uid; undefined for a text that is none. */
export function parseEventUid(text: string): { readonly prefix: string; readonly ordinal: number } | undefined {
  if (!/^[0-9a-f]{32}$/i.test(text)) return undefined
  const uid = text.toLowerCase()
  return { prefix: uid.slice(0, UID_PREFIX_DIGITS), ordinal: Number.parseInt(uid.slice(UID_PREFIX_DIGITS), 16) }
}
