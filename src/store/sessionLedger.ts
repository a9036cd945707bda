/**
 * `session-<segment>.ledger` of the history: which object each session is, so that the ledger and what is superseded
 * can be made again when the segment has long gone offline. Layout, all little-endian:
 *
 *     8 bytes  "CTLEDGR1"
 *     u32      number of runs, u32 number of sessions n
 *     runs     (u64 first session id, u32 length) each: session ids in order
 *     n x 16   object: 10 bytes of SHA-256(source, bucket, key), 6 bytes of SHA-256(version)
 *     n x i64  LastModified, microseconds
 *     n x u16  day in the key, days since 1970, 65535 without: with the object it gives the ledger's shard
 */
import { readFileSync } from 'node:fs'
import { ColdtrailError } from '../core/errors.ts'
import { segmentNumber } from './segment.ts'

export interface LedgerEntry {
  readonly session: number
  /** 16 bytes, catalog/objectId.ts. */
  readonly object: Buffer
  readonly lastModified: number
  readonly day: number
}

export const sessionLedgerName = (segment: number): string => `session-${segmentNumber(segment)}.ledger`

/** Entries must come in session order. */
export function serializeSessionLedger(entries: readonly LedgerEntry[]): Buffer {
  const runs: { first: number; length: number }[] = []
  for (const { session } of entries) {
    const run = runs.at(-1)
    if (run && run.first + run.length === session) run.length += 1
    else runs.push({ first: session, length: 1 })
  }
  const objectsAt = HEADER_BYTES + runs.length * RUN_BYTES
  const timesAt = objectsAt + entries.length * OBJECT_BYTES
  const daysAt = timesAt + entries.length * 8
  const bytes = Buffer.alloc(daysAt + entries.length * 2)
  bytes.write(MAGIC, 0, 'latin1')
  bytes.writeUInt32LE(runs.length, 8)
  bytes.writeUInt32LE(entries.length, 12)
  runs.forEach(({ first, length }, i) => {
    bytes.writeBigUInt64LE(BigInt(first), HEADER_BYTES + i * RUN_BYTES)
    bytes.writeUInt32LE(length, HEADER_BYTES + i * RUN_BYTES + 8)
  })
  entries.forEach(({ object, lastModified, day }, i) => {
    object.copy(bytes, objectsAt + i * OBJECT_BYTES)
    bytes.writeBigInt64LE(BigInt(lastModified), timesAt + i * 8)
    bytes.writeUInt16LE(day, daysAt + i * 2)
  })
  return bytes
}

/** Throws E_LEDGER_FORMAT for bytes that are no session ledger of this version. */
export function parseSessionLedger(bytes: Buffer, where: string): LedgerEntry[] {
  const bad = (reason: string): ColdtrailError => new ColdtrailError('E_LEDGER_FORMAT', { where, reason })
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) throw bad('it does not begin as one')
  const runs = bytes.readUInt32LE(8)
  const count = bytes.readUInt32LE(12)
  const objectsAt = HEADER_BYTES + runs * RUN_BYTES
  const timesAt = objectsAt + count * OBJECT_BYTES
  const daysAt = timesAt + count * 8
  if (bytes.length !== daysAt + count * 2) throw bad(`${bytes.length} bytes do not hold ${count} sessions`)
  const entries: LedgerEntry[] = []
  for (let run = 0; run < runs; run++) {
    const first = Number(bytes.readBigUInt64LE(HEADER_BYTES + run * RUN_BYTES))
    const length = bytes.readUInt32LE(HEADER_BYTES + run * RUN_BYTES + 8)
    if (entries.length + length > count) throw bad('its runs hold more sessions than it has')
    for (let i = 0; i < length; i++) {
      const at = entries.length
      entries.push({
        session: first + i,
        object: bytes.subarray(objectsAt + at * OBJECT_BYTES, objectsAt + (at + 1) * OBJECT_BYTES),
        lastModified: Number(bytes.readBigInt64LE(timesAt + at * 8)),
        day: bytes.readUInt16LE(daysAt + at * 2),
      })
    }
  }
  if (entries.length !== count) throw bad('its runs hold fewer sessions than it has')
  return entries
}

export function readSessionLedger(path: string): LedgerEntry[] {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  return parseSessionLedger(bytes, path)
}

// --- internal ---

const MAGIC = 'CTLEDGR1'
const HEADER_BYTES = 16
const RUN_BYTES = 12
const OBJECT_BYTES = 16
