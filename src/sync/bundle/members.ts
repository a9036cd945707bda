/**
 * Gzip members (RFC 1952) of a bundle. Put one behind another they are one ordinary gzip stream. The plain stream of an
 * entry is cut at every PIECE_BYTES, one member a piece, so that pieces are made in parallel and memory is bounded.
 * Manifest, signature and the end of the archive are stored, not deflated: of those bytes no digest is signed, and stored
 * ones have one form only, so that not one bit of a bundle can be changed unnoticed.
 */
import { promisify } from 'node:util'
import { crc32, deflateRaw, inflateRaw, type ZlibOptions } from 'node:zlib'

export const PIECE_BYTES = 1024 * 1024

/** No name, no time, unknown system: equal contents are equal bytes, and a reader takes no other. */
export const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])
const TRAILER_BYTES = 8
/** Of a piece that does not compress. */
const MAX_MEMBER_OVERHEAD = 4 * 1024

/**
 * Rows of indicators, one core: level 3 makes 67 MB/s and 3.86 to 1, level 6 37 MB/s and 4.05 (docs/performance.md).
 */
const LEVEL = 3

/** Made on a thread of the pool. */
export async function deflatedMember(piece: Buffer): Promise<Buffer> {
  const deflated = await deflate(piece, { level: LEVEL, memLevel: 9, chunkSize: Math.max(1_024, piece.length) })
  return Buffer.concat([GZIP_HEADER, deflated, trailer(piece)])
}

/** The longest window in which a member of a piece of that many bytes can end. */
export const longestMember = (bytes: number): number => bytes + MAX_MEMBER_OVERHEAD

/**
 * The member at the start of `window`, of exactly `bytes` plain ones: its content, and how long the member is. Undefined
 * when there is no such member. Never makes more than `bytes`, whatever the window holds (S2).
 */
export async function inflateMember(
  window: Buffer,
  bytes: number,
): Promise<{ readonly piece: Buffer; readonly length: number } | undefined> {
  if (!window.subarray(0, GZIP_HEADER.length).equals(GZIP_HEADER)) return undefined
  try {
    const { buffer, engine } = await inflate(window.subarray(GZIP_HEADER.length), {
      info: true,
      maxOutputLength: bytes,
      chunkSize: Math.max(1_024, bytes),
    })
    const end = GZIP_HEADER.length + engine.bytesWritten
    const isWhole = buffer.length === bytes && window.subarray(end, end + TRAILER_BYTES).equals(trailer(buffer))
    return isWhole ? { piece: buffer, length: end + TRAILER_BYTES } : undefined
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code.startsWith('Z_') || code === 'ERR_BUFFER_TOO_LARGE') return undefined
    throw error
  }
}

/** A member of stored blocks: the only one that these bytes can have. */
export function storedMember(plain: Buffer): Buffer {
  const parts: Buffer[] = [GZIP_HEADER]
  let at = 0
  do {
    const length = Math.min(STORED_BYTES, plain.length - at)
    const head = Buffer.alloc(STORED_HEADER_BYTES)
    head[0] = at + length === plain.length ? 1 : 0
    head.writeUInt16LE(length, 1)
    head.writeUInt16LE(~length & 0xffff, 3)
    parts.push(head, plain.subarray(at, at + length))
    at += length
  } while (at < plain.length)
  return Buffer.concat([...parts, trailer(plain)])
}

export const storedLength = (bytes: number): number =>
  GZIP_HEADER.length + Math.max(1, Math.ceil(bytes / STORED_BYTES)) * STORED_HEADER_BYTES + bytes + TRAILER_BYTES

/** Where the plain bytes of a stored member begin. */
export const STORED_START = GZIP_HEADER.length + 5

/** What `storedMember` was made of; undefined when these are not its bytes. `bytes`: how many there must be. */
export function storedContent(member: Buffer, bytes: number): Buffer | undefined {
  if (member.length !== storedLength(bytes)) return undefined
  const plain = Buffer.alloc(bytes)
  for (let at = 0, from = GZIP_HEADER.length; at < bytes; at += STORED_BYTES) {
    from += STORED_HEADER_BYTES
    from += member.copy(plain, at, from, from + Math.min(STORED_BYTES, bytes - at))
  }
  return storedMember(plain).equals(member) ? plain : undefined
}

// --- internal ---

const STORED_BYTES = 65_535
const STORED_HEADER_BYTES = 5

const deflate = promisify<Buffer, ZlibOptions, Buffer>(deflateRaw)
/** With `info` zlib also says how much it has read. */
const inflate = promisify(
  inflateRaw as unknown as (
    bytes: Buffer,
    options: ZlibOptions,
    done: (error: Error | null, result: { buffer: Buffer; engine: { bytesWritten: number } }) => void,
  ) => void,
)

function trailer(plain: Buffer): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES)
  bytes.writeUInt32LE(crc32(plain), 0)
  bytes.writeUInt32LE(plain.length >>> 0, 4)
  return bytes
}
