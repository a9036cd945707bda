/**
 * From an object's bytes as received to its decoded bytes. The codec is told by the first bytes, never by the name; what
 * is corrupt, truncated or followed by other bytes is refused whole. One more layer of compression inside is undone too
 * (Firehose compresses what CloudWatch Logs has compressed already).
 */
import { constants, createGunzip, createZstdDecompress, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { type InflateLimit, PLASO_HEAD, plasoText } from '../components/timeline/plasoText.ts'
import { ColdtrailError } from '../core/errors.ts'
import { SQLITE_MAGIC } from '../platform/database/foreignSqlite.ts'
import { ScratchFile } from '../platform/scratchFile.ts'
import { FRAME_MAGIC, SKIPPABLE_MAGIC, ZstdFrames } from './zstdFrames.ts'

export type Codec = 'plain' | 'gzip' | 'zstd' | 'plaso'

export interface DecodeLimits {
  /** Decoded bytes above which an object is E_OBJECT_TOO_LARGE. */
  readonly maxBytes: number
  /** Decoded over received bytes above which it is E_OBJECT_RATIO, once RATIO_FLOOR is exceeded. */
  readonly maxRatio: number
}

/** What is decoded in one piece; more goes through `decodeStream`. */
export const WHOLE_BYTES = 64 * 2 ** 20
/** Short repetitive logs compress by more than any sane ratio; below this many decoded bytes none is applied. */
export const RATIO_FLOOR = 16 * 2 ** 20

/** E_OBJECT_CODEC for a container that we know and cannot read. `head`: at least the first 16 bytes, if there are so many. */
export function codecOf(head: Uint8Array): Codec {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip'
  if (head.length >= 4) {
    const magic = new DataView(head.buffer, head.byteOffset).getUint32(0, true)
    if (magic === FRAME_MAGIC || (magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) return 'zstd'
  }
  if (SQLITE.every((byte, at) => head[at] === byte)) return 'plaso'
  for (const [codec, magic] of UNSUPPORTED)
    if (magic.every((byte, at) => byte === undefined || head[at] === byte))
      throw new ColdtrailError('E_OBJECT_CODEC', { codec })
  return 'plain'
}

/** The codec that a key's ending promises, undefined when it promises none. */
export function promisedCodec(key: string): Codec | undefined {
  if (/\.plaso$/i.test(key)) return 'plaso'
  if (/\.(?:gz|gzip|tgz)$/i.test(key)) return 'gzip'
  return /\.(?:zst|zstd)$/i.test(key) ? 'zstd' : undefined
}

/**
 * A whole object. `decoded` is `received` itself when nothing was compressed; undefined when it decodes to more than
 * WHOLE_BYTES, or is a container, and must be streamed. Throws E_OBJECT_*.
 */
export function decodeWhole(
  received: Buffer,
  limits: DecodeLimits,
): { readonly codec: Codec; readonly decoded: Buffer | undefined } {
  const codec = codecOf(received)
  let decoded: Buffer | undefined = received
  for (let layer = 0; layer < MAX_LAYERS; layer++) {
    const inner = layer === 0 ? codec : codecOf(decoded)
    if (inner === 'plain') break
    if (inner === 'plaso') return { codec, decoded: undefined }
    decoded = inflateWhole(decoded, inner, received.length, limits)
    if (decoded === undefined) return { codec, decoded }
  }
  if (decoded.length > limits.maxBytes) throw new ColdtrailError('E_OBJECT_TOO_LARGE', { limit: limits.maxBytes })
  return decoded.length > WHOLE_BYTES ? { codec, decoded: undefined } : { codec, decoded }
}

/**
 * The same for an object of any size, in bounded memory: `codec` of the outer layer, and the decoded bytes as they come.
 * `size`: bytes of the whole object if known, else 0. The stream throws E_OBJECT_* at its end at the latest: nothing of
 * it may be used for good before it has ended.
 *
 * A container (a SQLite file) is read here and there: all of it goes to a scratch file first, and only then come
 * the first decoded bytes. `beginning` is how they will begin, so that nobody has to wait for them to know their format.
 */
export async function decodeStream(
  received: AsyncIterable<Uint8Array>,
  size: number,
  limits: DecodeLimits,
  scratch?: string,
): Promise<{ readonly codec: Codec; readonly decoded: AsyncIterable<Buffer>; readonly beginning?: Buffer }> {
  const count = { received: 0 }
  let stream = await peek(counted(received, count))
  const codec = codecOf(stream.head)
  for (let layer = 0; layer < MAX_LAYERS; layer++) {
    const inner = layer === 0 ? codec : codecOf(stream.head)
    if (inner === 'plain') break
    if (inner === 'plaso') {
      const { bytes } = layer === 0 ? { bytes: limited(stream.bytes, count, size, limits) } : stream
      const { maxRatio } = limits
      const inflateLimit = (): InflateLimit => {
        const { received } = count
        const error = new ColdtrailError('E_OBJECT_RATIO', { limit: maxRatio, received })
        return { bytes: Math.max(RATIO_FLOOR, received * maxRatio), error }
      }
      const decoded = limited(plasoStream(bytes, scratch, inflateLimit), count, size, limits)
      return { codec, decoded, beginning: Buffer.from(PLASO_HEAD) }
    }
    stream = await peek(limited(inflateStream(stream.bytes, inner), count, size, limits))
  }
  return { codec, decoded: codec === 'plain' ? limited(stream.bytes, count, size, limits) : stream.bytes }
}

// --- internal ---

const MAX_LAYERS = 2
const SQLITE = Buffer.from(SQLITE_MAGIC, 'latin1')
const HEAD_BYTES = 16
const CHUNK_BYTES = 256 * 1024

const ascii = (text: string): number[] => [...Buffer.from(text, 'latin1')]
/** Containers by their first bytes; undefined stands for any byte. */
const UNSUPPORTED: readonly (readonly [name: string, magic: readonly (number | undefined)[]])[] = [
  ['bzip2', [...ascii('BZh'), undefined, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59]],
  ['zip', ascii('PK\x03\x04')],
  ['zip', ascii('PK\x05\x06')],
  ['xz', [0xfd, ...ascii('7zXZ'), 0]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
  ['snappy', [0xff, 0x06, 0, 0, ...ascii('sNaPpY')]],
  ['parquet', ascii('PAR1')],
]

/** Undefined when there are more than WHOLE_BYTES of it. */
function inflateWhole(
  bytes: Buffer,
  codec: 'gzip' | 'zstd',
  received: number,
  limits: DecodeLimits,
): Buffer | undefined {
  const byRatio = Math.max(RATIO_FLOOR, received * limits.maxRatio)
  const maxOutputLength = Math.min(WHOLE_BYTES, byRatio, limits.maxBytes)
  try {
    return codec === 'gzip' ? gunzipWhole(bytes, maxOutputLength) : unzstdWhole(bytes, maxOutputLength)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'Z_DATA_ERROR') throw corrupt(codec, intactGzip(bytes, maxOutputLength), error)
    if (code !== 'ERR_BUFFER_TOO_LARGE') throw corrupt(codec, bytes.length, error)
    if (maxOutputLength === WHOLE_BYTES) return undefined
    if (maxOutputLength === limits.maxBytes) throw new ColdtrailError('E_OBJECT_TOO_LARGE', { limit: limits.maxBytes })
    throw new ColdtrailError('E_OBJECT_RATIO', { limit: limits.maxRatio, received })
  }
}

/** With `info` zlib's functions also tell how much of the input they took; @types/node does not know. */
interface Inflated {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number }
}

function gunzipWhole(bytes: Buffer, maxOutputLength: number): Buffer {
  if (bytes.length < MIN_GZIP_BYTES) throw new Error('unexpected end of file')
  // The trailer's size is a hint: of the last member only, modulo 2^32, and not to be trusted.
  const promised = bytes.readUInt32LE(bytes.length - 4) + 1
  const chunkSize = Math.min(Math.max(promised, bytes.length * 2, 1024), maxOutputLength + 1)
  const { buffer, engine } = gunzipSync(bytes, { maxOutputLength, chunkSize, info: true }) as unknown as Inflated
  if (engine.bytesWritten < bytes.length) throw new TrailingBytes(engine.bytesWritten)
  return buffer
}

function unzstdWhole(bytes: Buffer, maxOutputLength: number): Buffer {
  const ends = new ZstdFrames().boundaries(bytes)
  if (ends.at(-1) !== bytes.length) ends.push(bytes.length)
  const parts: Buffer[] = []
  let start = 0
  let left = maxOutputLength
  for (const end of ends) {
    const frame = bytes.subarray(start, end)
    const chunkSize = Math.min(Math.max(frame.length * 8, 1024), maxOutputLength + 1)
    // A limit of 0 would be none to zlib.
    const part = zstdDecompressSync(frame, { maxOutputLength: Math.max(left, 1), chunkSize })
    parts.push(part)
    left -= part.length
    start = end
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

const MIN_GZIP_BYTES = 18

class TrailingBytes extends Error {
  readonly offset: number
  constructor(offset: number) {
    super('other bytes follow the end of the compressed data')
    this.offset = offset
  }
}

/** How many bytes of damaged gzip data can be read, found by bisection: zlib's faults name no place. */
function intactGzip(bytes: Buffer, maxOutputLength: number): number {
  let intact = 0
  let damaged = bytes.length
  while (damaged - intact > 1) {
    const middle = (intact + damaged) >> 1
    try {
      gunzipSync(bytes.subarray(0, middle), { maxOutputLength, finishFlush: constants.Z_SYNC_FLUSH })
      intact = middle
    } catch {
      damaged = middle
    }
  }
  return intact
}

function corrupt(codec: Codec, offset: number, error: unknown): ColdtrailError {
  if (error instanceof ColdtrailError) return error
  const cause = error instanceof Error ? error.message : String(error)
  const at = error instanceof TrailingBytes ? error.offset : offset
  return new ColdtrailError('E_OBJECT_CORRUPT', { codec, offset: at, cause }, { cause: error })
}

async function* plasoStream(
  bytes: AsyncIterable<Buffer>,
  scratch: string | undefined,
  inflateLimit: () => InflateLimit,
): AsyncGenerator<Buffer> {
  const file = new ScratchFile(scratch)
  try {
    for await (const chunk of bytes) file.write(chunk)
    file.close()
    yield* plasoText(file.path, inflateLimit())
  } finally {
    file.remove()
  }
}

async function* inflateStream(bytes: AsyncIterable<Buffer>, codec: 'gzip' | 'zstd'): AsyncGenerator<Buffer> {
  const engine =
    codec === 'gzip' ? createGunzip({ chunkSize: CHUNK_BYTES }) : createZstdDecompress({ chunkSize: CHUNK_BYTES })
  let fed = 0
  let fault: unknown
  const feeding = (async () => {
    for await (const piece of codec === 'zstd' ? cutAtFrames(bytes) : bytes) {
      if (engine.destroyed) return
      fed += piece.length
      if (!engine.write(piece)) await drained(engine)
    }
    engine.end()
  })().catch((error: unknown) => {
    fault = error
    engine.destroy(error as Error)
  })
  try {
    for await (const chunk of engine) yield chunk as Buffer
    await feeding
    if (engine.bytesWritten < fed) throw new TrailingBytes(engine.bytesWritten)
  } catch (error) {
    // A fault of the source is not one of the object.
    throw error === fault ? error : corrupt(codec, fed, error)
  } finally {
    engine.destroy()
  }
}

function drained(engine: NodeJS.WritableStream & { destroyed?: boolean }): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close', 'error']) engine.off(event, done)
      resolve()
    }
    for (const event of ['drain', 'close', 'error']) engine.on(event, done)
  })
}

async function* cutAtFrames(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const frames = new ZstdFrames()
  for await (const piece of bytes) {
    let start = 0
    for (const end of [...frames.boundaries(piece), piece.length]) {
      if (end > start) yield piece.subarray(start, end)
      start = end
    }
  }
}

async function* limited(
  bytes: AsyncIterable<Buffer>,
  count: { readonly received: number },
  size: number,
  { maxBytes, maxRatio }: DecodeLimits,
): AsyncGenerator<Buffer> {
  let decoded = 0
  for await (const chunk of bytes) {
    decoded += chunk.length
    const received = Math.max(size, count.received)
    if (decoded > maxBytes) throw new ColdtrailError('E_OBJECT_TOO_LARGE', { limit: maxBytes })
    if (decoded > RATIO_FLOOR && decoded > received * maxRatio)
      throw new ColdtrailError('E_OBJECT_RATIO', { limit: maxRatio, received })
    yield chunk
  }
}

async function* counted(bytes: AsyncIterable<Uint8Array>, count: { received: number }): AsyncGenerator<Buffer> {
  for await (const chunk of bytes) {
    count.received += chunk.length
    yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
  }
}

/** The first bytes of a stream, and the whole of it. */
async function peek(bytes: AsyncIterable<Buffer>): Promise<{ head: Buffer; bytes: AsyncIterable<Buffer> }> {
  const iterator = bytes[Symbol.asyncIterator]()
  const first: Buffer[] = []
  let length = 0
  while (length < HEAD_BYTES) {
    const next = await iterator.next()
    if (next.done) break
    first.push(next.value)
    length += next.value.length
  }
  const whole = async function* () {
    try {
      yield* first
      for (;;) {
        const next = await iterator.next()
        if (next.done) return
        yield next.value
      }
    } finally {
      await iterator.return?.()
    }
  }
  return { head: Buffer.concat(first).subarray(0, HEAD_BYTES), bytes: whole() }
}
