/**
 * What becomes of the parts of a segment from which sessions are erased: session rows are emptied, objects in packs become
 * zeros, and the keyset keeps only what the remaining records hold.
 */
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { ColdtrailError } from '../core/errors.ts'
import { isUserKey } from '../core/observables.ts'
import type { MergeErasure } from './compact.ts'
import type { KeysetContent, KeysetSection } from './keyset.ts'
import type { SessionRow } from './segment.ts'
import { packHeader, type SegmentWriter } from './segmentWriter.ts'

/** A row that says of its object only that there was one: its id, when it was received, and its format. */
export const emptied = ({ session_id, received, format, format_version }: SessionRow): SessionRow => ({
  ...{ session_id, received, format, format_version },
  ...{ source: '', bucket: '', key: '', version: '', size: 0, last_modified: 0, codec: 'plain' },
  ...{ sha256_received: NO_DIGEST, sha256_decoded: NO_DIGEST, decoded_size: 0 },
  ...{ pack_segment: null, pack_offset: null, pack_length: null, id1: null, id2: null, time1: null, time2: null },
  ...{ records: 0, events: 0, rejects: 0, header: null },
})

export const isEmptied = ({ sha256_received }: Pick<SessionRow, 'sha256_received'>): boolean =>
  sha256_received === NO_DIGEST

/** A session as it is, its object in the new pack where that has taken the place of its own. */
export function repacked(session: SessionRow, segment: number, moved: ReadonlyMap<number, number>): SessionRow {
  const shift = session.pack_segment === null ? undefined : moved.get(session.pack_segment)
  if (shift === undefined) return session
  return { ...session, pack_segment: segment, pack_offset: session.pack_offset! + shift }
}

/**
 * Appends packs to the writer's own, the first at its own offsets, with the objects of `erased` as zeros. Answers by how
 * much the offsets of each pack grow. A pack that is not as it was sealed is E_SEGMENT_READ: no damaged byte gets a new digest.
 */
export async function carryPacks(
  packs: MergeErasure['packs'],
  erased: readonly SessionRow[],
  writer: SegmentWriter,
): Promise<Map<number, number>> {
  const moved = new Map<number, number>()
  let shift = 0
  for (const { segment, path, size, sha256 } of packs) {
    const objects = erased.filter(({ pack_segment }) => pack_segment === segment)
    const hash = createHash('sha256')
    let at = 0
    const file = await open(path)
    for await (const piece of file.createReadStream({ highWaterMark: PIECE }) as AsyncIterable<Buffer>) {
      hash.update(piece)
      for (const { pack_offset, pack_length } of objects) {
        const start = Math.max(pack_offset! - at, 0)
        const end = Math.min(pack_offset! + pack_length! - at, piece.length)
        if (start < end) piece.fill(0, start, end)
      }
      writer.appendReceived(piece.subarray(Math.max(0, Math.min(HEADER_BYTES - at, piece.length))))
      at += piece.length
    }
    if (hash.digest('hex') !== sha256 || at !== size)
      throw new ColdtrailError('E_SEGMENT_READ', { path, cause: 'its SHA-256 is not that of its seal' })
    moved.set(segment, shift)
    shift += size - HEADER_BYTES
  }
  return moved
}

/**
 * The strings of records that stay. More than the extractor of a format sees may be among them, never less: every string
 * of a JSON text, at any depth, those of repeated keys included; the text itself; and what stands between spaces. A
 * keyset that is cut down to them keeps all keys of these records.
 */
export class KeptStrings {
  private readonly writer: SegmentWriter
  /** Set when a record's text is not what its format read. */
  private reason = ''

  constructor(writer: SegmentWriter) {
    this.writer = writer
  }

  /** `length`: of the record as it came. */
  record(text: Buffer, length: number): void {
    if (text.length !== length)
      this.reason = 'records were erased, and the others are kept in another form than they came'
    this.observe(text, false)
    if (text[0] === OPEN_BRACE) this.json(text.toString())
    else this.words(text)
  }

  reject(text: Buffer): void {
    this.observe(text, false)
  }

  /** The keys of these records among those of all. */
  keptOf(all: KeysetContent): KeysetContent {
    const kept = this.writer.observed()
    const sections = all.sections.map((section): KeysetSection => {
      const own = kept.sections.find(({ name }) => name === section.name)
      const among = new Set(own?.keys)
      const keys = section.keys.filter((key) => among.has(key))
      // What was not seen of the records that stay may be among the keys that went.
      const lost = own?.complete
        ? section.name.startsWith('=')
          ? ''
          : this.reason
        : (own?.reason ?? 'it is no section any more')
      return lost === '' || !section.complete
        ? { ...section, keys }
        : { ...section, keys, complete: false, reason: lost }
    })
    return { ...all, sections }
  }

  // --- internal ---

  private json(text: string): void {
    let isUser = false
    for (const [literal, colon] of Iterator.from(text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/gs))) {
      const body = colon === undefined ? literal : literal.slice(0, -colon.length)
      const value = unquoted(body)
      if (value === undefined) continue
      if (colon !== undefined) isUser = isUserKey(value)
      this.observe(Buffer.from(value.toWellFormed()), isUser && colon === undefined)
    }
  }

  private words(text: Buffer): void {
    for (const word of text.toString().split(/[\s"'|,;]+/)) if (word !== '') this.observe(Buffer.from(word), false)
  }

  private observe(bytes: Buffer, isUser: boolean): void {
    this.writer.sink.observe(bytes, 0, bytes.length, isUser)
  }
}

// --- internal ---

const NO_DIGEST = '0'.repeat(64)
const PIECE = 2 ** 20
const HEADER_BYTES = packHeader(0).length
const OPEN_BRACE = 0x7b

function unquoted(literal: string): string | undefined {
  try {
    return JSON.parse(literal) as string
  } catch {
    return undefined
  }
}
