/** Bytes that are read by their place: of a file, of a piece of one, of several behind each other. */
import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { ColdtrailError } from '../../core/errors.ts'

export interface ByteSource {
  readonly size: number
  /** As many bytes as there are from `offset` on, at most `length`. */
  read(offset: number, length: number): Promise<Buffer>
  close(): Promise<void>
}

/** E_FILE_READ. What is no regular file is refused: a pipe has no size, and may never end. */
export async function fileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle | undefined
  try {
    // Asked before it is opened: a pipe that nobody writes to would never open.
    if (!(await stat(path)).isFile()) throw new Error('it is no regular file')
    handle = await open(path, 'r')
    return ofHandle(path, handle, (await handle.stat()).size)
  } catch (error) {
    await handle?.close()
    throw readFault(path, error)
  }
}

export const ofHandle = (path: string, handle: FileHandle, size: number): ByteSource => ({
  size,
  async read(offset, length) {
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)))
    try {
      for (let at = 0; at < buffer.length; ) {
        const { bytesRead } = await handle.read(buffer, at, buffer.length - at, offset + at)
        if (bytesRead === 0) return buffer.subarray(0, at)
        at += bytesRead
      }
    } catch (error) {
      throw readFault(path, error)
    }
    return buffer
  },
  close: () => handle.close(),
})

export const bytesSource = (bytes: Buffer): ByteSource => ({
  size: bytes.length,
  read: async (offset, length) => bytes.subarray(offset, offset + length),
  close: async () => undefined,
})

export function sliceOf(source: ByteSource, start: number, size: number): ByteSource {
  return {
    size,
    read: (offset, length) => source.read(start + offset, Math.max(0, Math.min(length, size - offset))),
    close: () => source.close(),
  }
}

export function joined(sources: readonly ByteSource[]): ByteSource {
  const starts: number[] = []
  let size = 0
  for (const source of sources) {
    starts.push(size)
    size += source.size
  }
  return {
    size,
    async read(offset, length) {
      const end = Math.min(size, offset + length)
      const found: Buffer[] = []
      for (let i = 0; i < sources.length; i++) {
        const from = Math.max(offset, starts[i]!)
        const to = Math.min(end, starts[i]! + sources[i]!.size)
        if (from < to) found.push(await sources[i]!.read(from - starts[i]!, to - from))
      }
      return found.length === 1 ? found[0]! : Buffer.concat(found)
    },
    async close() {
      for (const source of sources) await source.close()
    },
  }
}

/** All of it, in order, in pieces of at most `piece` bytes. */
export async function* piecesOf(source: ByteSource, piece = 1024 * 1024): AsyncGenerator<Buffer> {
  for (let at = 0; at < source.size; ) {
    const bytes = await source.read(at, piece)
    if (bytes.length === 0) return
    yield bytes
    at += bytes.length
  }
}

/** A file from its beginning. E_FILE_READ. */
export async function* fileBytes(path: string, piece: number): AsyncGenerator<Buffer> {
  try {
    for await (const bytes of createReadStream(path, { highWaterMark: piece })) yield bytes as Buffer
  } catch (error) {
    throw readFault(path, error)
  }
}

// --- internal ---

function readFault(path: string, error: unknown): ColdtrailError {
  if (error instanceof ColdtrailError) return error
  return new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
}
