/**
 * The file of a piece of work: what its plugins said of its events, and the states of its folds. Its rename says that it
 * is ready; a checksum over all of it, that it is whole.
 *
 *     bytes  what, integers little-endian
 *     8      CTTASK/1
 *     4 4 4  length of head and states, number of hits
 *            head: JSON, and spaces up to a multiple of 8
 *            ids of the hits as doubles, their kinds as 32-bit integers
 *            states by plugin, in V8's form
 *     4      CRC-32 of everything before
 */
import { readFileSync } from 'node:fs'
import { deserialize, serialize } from 'node:v8'
import { crc32 } from 'node:zlib'
import { asColdtrailError, ColdtrailError } from '../core/errors.ts'
import { writeDurably } from '../platform/files.ts'
import type { HitKind, SortedHits } from './hits.ts'
import type { Piece, PieceCounts } from './tasks.ts'

export interface TaskFile {
  readonly piece: Piece
  readonly counts: PieceCounts
  readonly hits: SortedHits
  /** Of folds, by plugin. */
  readonly states: Readonly<Record<string, unknown>>
}

/** E_DISK_FULL, E_FILE_WRITE. */
export function writeTaskFile(path: string, { piece, counts, hits, states }: TaskFile): void {
  const { kinds, ids, kindOf, labels } = hits
  const head = padded(Buffer.from(JSON.stringify({ piece, counts, kinds, labels })))
  const packed = serialize(states)
  const lengths = Buffer.from(new Uint32Array([head.length, packed.length, ids.length]).buffer)
  const body = Buffer.concat([MAGIC, lengths, ZEROS, head, bytesOf(ids), bytesOf(kindOf), packed])
  const sum = Buffer.alloc(4)
  sum.writeUInt32LE(crc32(body))
  writeDurably(path, Buffer.concat([body, sum]))
}

/** E_TASK_FILE when it is missing or not whole. */
export function readTaskFile(path: string): TaskFile {
  const refuse = (cause: string, error?: unknown): ColdtrailError =>
    new ColdtrailError('E_TASK_FILE', { path, cause }, { cause: error })
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw refuse((error as Error).message, error)
  }
  const end = bytes.length - 4
  if (end < HEAD_AT || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw refuse('it is no task file')
  if (bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) throw refuse('its checksum is wrong')
  try {
    const [headLength, stateLength, hits] = [8, 12, 16].map((at) => bytes.readUInt32LE(at)) as [number, number, number]
    const head = JSON.parse(bytes.toString('utf8', HEAD_AT, HEAD_AT + headLength)) as Head
    const idsAt = HEAD_AT + headLength
    const kindsAt = idsAt + hits * 8
    const statesAt = kindsAt + hits * 4
    if (statesAt + stateLength !== end) throw new RangeError('its lengths are wrong')
    // Copies: typed arrays want their bytes aligned.
    const ids = new Float64Array(copyOf(bytes, idsAt, kindsAt))
    const kindOf = new Uint32Array(copyOf(bytes, kindsAt, statesAt))
    const { piece, counts, kinds, labels } = head
    const states = deserialize(bytes.subarray(statesAt, end)) as TaskFile['states']
    return { piece, counts, hits: { kinds, ids, kindOf, labels }, states }
  } catch (error) {
    throw refuse(asColdtrailError(error).message, error)
  }
}

// --- internal ---

interface Head extends Pick<TaskFile, 'piece' | 'counts'> {
  readonly kinds: readonly HitKind[]
  readonly labels: SortedHits['labels']
}

const MAGIC = Buffer.from('CTTASK/1')
const ZEROS = Buffer.alloc(4)
const SPACES = Buffer.alloc(8, ' ')
const HEAD_AT = MAGIC.length + 16

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, SPACES.subarray(0, (8 - (bytes.length % 8)) % 8)])

const bytesOf = ({ buffer, byteOffset, byteLength }: Float64Array | Uint32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength)

const copyOf = (bytes: Buffer, start: number, end: number): ArrayBuffer =>
  new Uint8Array(bytes.subarray(start, end)).buffer
