/**
 * SHA-256 over a list of parts. Every part goes in with its length in bytes (u32 little-endian) before it, so no two
 * lists of parts have one preimage.
 */
import { hash } from 'node:crypto'

export function digestOfParts(...parts: readonly (string | Uint8Array)[]): Buffer {
  const chunks: Uint8Array[] = []
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    chunks.push(length, bytes)
  }
  return hash('sha256', Buffer.concat(chunks), 'buffer')
}

/** A number in exact bytes of a hash, for locks that are named by numbers. */
export function hashNumber(bits: 31 | 63, ...parts: string[]): bigint {
  return digestOfParts(...parts).readBigUInt64BE() >> BigInt(64 - bits)
}
