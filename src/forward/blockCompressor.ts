/**
 * Compression of a batch that grows block by block, so that its size on the wire is known while it grows. The blocks of
 * one batch, put one after another, are one ordinary stream:
 *
 *     gzip   one member (RFC 1952); each block is deflated by itself with the 32 KiB before it as dictionary and ends on
 *            a byte boundary by a sync flush (the way of pigz), so that nothing is compressed twice. Up to level 5 by our
 *            own deflate, which makes what zlib makes between its levels 4 and 5, faster; from 6 on by zlib
 *     zstd   one frame, made when the batch is closed: until then its size is taken to be that of its raw bytes
 */
import { promisify } from 'node:util'
import {
  constants,
  crc32,
  deflateRaw,
  gunzip,
  type ZlibOptions,
  type ZstdOptions,
  zstdCompress,
  zstdDecompress,
} from 'node:zlib'
import type { BatchLimits } from '../components/destination.ts'
import { DEFLATE_WINDOW } from '../core/deflater.ts'
import { deflateAside } from '../platform/deflateThreads.ts'

/** What a stream's trailer tells of its raw bytes. */
export interface RawSum {
  readonly length: number
  readonly crc: number
}

export interface BlockCompressor {
  /** Bytes of the stream besides its blocks, at most. */
  readonly overhead: number
  /** `before`: what came before this block in the stream, as far as it is there. */
  block(raw: Buffer, before: Buffer | undefined): Promise<Buffer>
  /** `raw`: of all blocks together; `tail`: a few bytes to be put behind them. */
  join(blocks: readonly Buffer[], raw: RawSum, tail: Buffer): Promise<Buffer>
  /** What `join` made, uncompressed. */
  decode(body: Buffer): Promise<Buffer>
  /** Bytes of a block's end that `before` of the next one needs; 0 when blocks are kept as they are. */
  readonly window: number
}

export function blockCompressor({ kind, level }: BatchLimits['compression']): BlockCompressor {
  if (kind === 'gzip') return gzipBlocks(level ?? OWN_LEVELS)
  return kind === 'zstd' ? zstdBlocks(level ?? 3) : PLAIN
}

// --- internal ---

const deflate = promisify<Buffer, ZlibOptions, Buffer>(deflateRaw)
const compress = promisify<Buffer, ZstdOptions, Buffer>(zstdCompress)

const WINDOW = DEFLATE_WINDOW
/** Levels of gzip up to this one are our own deflate's. */
const OWN_LEVELS = 5
/** Output is collected in pieces of this size: one for most blocks, since each costs a turn of the event loop. */
const MINIMUM_CHUNK = 16 * 1024
/** No name, no time, unknown system: equal batches are equal bytes. */
const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])
const GZIP_TRAILER_BYTES = 8
/** Of a stored block that is the last one. */
const STORED_HEADER_BYTES = 5

function gzipBlocks(level: number): BlockCompressor {
  return {
    overhead: GZIP_HEADER.length + STORED_HEADER_BYTES + 1 + GZIP_TRAILER_BYTES,
    window: WINDOW,
    block: (raw, before) =>
      level <= OWN_LEVELS
        ? deflateAside(raw, before)
        : deflate(raw, {
            level,
            chunkSize: Math.max(MINIMUM_CHUNK, raw.length >> 2),
            finishFlush: constants.Z_SYNC_FLUSH,
            ...(before && before.length > 0 ? { dictionary: before } : {}),
          }),
    async join(blocks, { length, crc }, tail) {
      const end = Buffer.alloc(STORED_HEADER_BYTES + tail.length + GZIP_TRAILER_BYTES)
      end[0] = 1
      end.writeUInt16LE(tail.length, 1)
      end.writeUInt16LE(~tail.length & 0xffff, 3)
      tail.copy(end, STORED_HEADER_BYTES)
      end.writeUInt32LE(crc32(tail, crc), STORED_HEADER_BYTES + tail.length)
      end.writeUInt32LE((length + tail.length) >>> 0, STORED_HEADER_BYTES + tail.length + 4)
      return Buffer.concat([GZIP_HEADER, ...blocks, end])
    },
    decode: promisify<Buffer, Buffer>(gunzip),
  }
}

function zstdBlocks(level: number): BlockCompressor {
  const params = { [constants.ZSTD_c_compressionLevel]: level }
  return {
    ...PLAIN,
    overhead: 64,
    join: async (blocks, _raw, tail) => compress(Buffer.concat([...blocks, tail]), { params }),
    decode: promisify<Buffer, Buffer>(zstdDecompress),
  }
}

const PLAIN: BlockCompressor = {
  overhead: 1,
  window: 0,
  block: async (raw) => raw,
  join: async (blocks, _raw, tail) => Buffer.concat([...blocks, tail]),
  decode: async (body) => body,
}
