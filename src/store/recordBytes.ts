/** The exact bytes of a record that is no UTF-8: from the object as received in its pack, decoded as far as needed. */
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { type SessionRow, segmentFileName } from './segment.ts'

/** Undoes an object's codec, told by its first bytes; `size` in bytes as received. */
export type Decode = (received: AsyncIterable<Uint8Array>, size: number) => Promise<AsyncIterable<Uint8Array>>

export async function recordBytes(options: {
  readonly event: Readonly<Record<string, unknown>>
  readonly session: SessionRow
  /** Where the pack's segment lies; undefined when the catalog does not know it. */
  readonly packDirectory: string | undefined
  readonly decode: Decode | undefined
}): Promise<Buffer> {
  const { event, session, packDirectory, decode } = options
  const { pack_segment, pack_offset, pack_length } = session
  const fail = (cause: string, path = 'its pack', error?: unknown): never => {
    throw new ColdtrailError('E_RECORD_BYTES', { id: event.id, cause, path }, { cause: error })
  }
  if (pack_segment === null || pack_offset === null || pack_length === null)
    return fail('it may not have been UTF-8, and the objects were not kept (keep_log: false)')
  const name = segmentFileName('log', pack_segment)
  if (packDirectory === undefined || decode === undefined) return fail(`${name} is offline`, name)
  const path = join(packDirectory, name)
  const offset = event.record_offset as number
  const length = event.record_length as number
  try {
    const received = pack_length > 0 ? createReadStream(path, slice(pack_offset, pack_length)) : none()
    return await cut(await decode(received, pack_length), offset, length)
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error), path, error)
  }
}

// --- internal ---

const slice = (offset: number, length: number) => ({ start: offset, end: offset + length - 1 })

async function* none(): AsyncGenerator<Uint8Array> {}

async function cut(decoded: AsyncIterable<Uint8Array>, offset: number, length: number): Promise<Buffer> {
  const record = Buffer.alloc(length)
  let at = 0
  for await (const chunk of decoded) {
    const from = Math.max(0, offset - at)
    const to = Math.min(chunk.length, offset + length - at)
    if (to > from) record.set(chunk.subarray(from, to), at + from - offset)
    at += chunk.length
    if (at >= offset + length) return record
  }
  throw new Error(`the object ends at byte ${at}, its record at ${offset + length}`)
}
