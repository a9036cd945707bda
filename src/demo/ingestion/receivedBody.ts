/** The body of a request, read up to a limit and decoded up to another. */
import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'

/** What a service says instead of taking a request. */
export interface Refusal {
  readonly status: number
  readonly code: string
  readonly message: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface ReceivedBody {
  readonly wire: Buffer
  readonly decoded: Buffer
}

/** The bytes as they came; undefined when there are more than `most`, which are then not read. */
export async function readWire(request: IncomingMessage, most: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > most) return undefined
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += (chunk as Buffer).length
    if (size > most) return undefined
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks, size)
}

/** By Content-Encoding: none, gzip or zstd. */
export async function decodeBody(wire: Buffer, encoding: string, most: number): Promise<Buffer | 'large' | 'corrupt'> {
  if (encoding === '' || encoding === 'identity') return wire.length > most ? 'large' : wire
  const decode = DECODERS[encoding]
  if (!decode) return 'corrupt'
  try {
    return await decode(wire, { maxOutputLength: most })
  } catch (error) {
    return (error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE' ? 'large' : 'corrupt'
  }
}

// --- internal ---

const DECODERS: Readonly<Record<string, (wire: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>>> = {
  gzip: promisify(gunzip) as never,
  zstd: promisify(zstdDecompress) as never,
}
