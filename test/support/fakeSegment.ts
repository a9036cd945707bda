/** Small sealed segments and the objects they come from, for tests of what surrounds a commit. */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SourceObject } from '../../src/core/sourceObject.ts'
import type { Catalog, Owner } from '../../src/store/catalog.ts'
import { directoryDigest, type Manifest, serializeManifest } from '../../src/store/manifest.ts'
import type { FileKind, SealedSegment, SegmentFile, SessionRow } from '../../src/store/segment.ts'
import { segmentFileName } from '../../src/store/segment.ts'

export const DAY = '2023-07-10'

export function fakeObject(name: string, version = 'v1', lastModified = 1_688_990_400_000_000): SourceObject {
  const key = `AWSLogs/1/CloudTrail/eu-west-1/2023/07/10/${name}.json.gz`
  return { source: 's3://trail', bucket: 'trail', key, version, size: 100, lastModified }
}

export function sessionOf(object: SourceObject, session_id: number, segment: number, version?: string): SessionRow {
  return {
    session_id,
    source: object.source,
    bucket: object.bucket,
    key: object.key,
    version: version ?? object.version,
    size: object.size,
    last_modified: object.lastModified,
    received: object.lastModified,
    codec: 'plain',
    format: 'json_lines',
    format_version: 1,
    sha256_received: '00'.repeat(32),
    sha256_decoded: '00'.repeat(32),
    decoded_size: object.size,
    pack_segment: segment,
    pack_offset: 0,
    pack_length: object.size,
    id1: null,
    id2: null,
    time1: null,
    time2: null,
    records: 1,
    events: 1,
    rejects: 0,
    header: null,
  }
}

/** Writes the files of a segment into the collection's directory and answers what a writer would hand over. */
export function fakeSegment(
  catalog: Catalog,
  segment: number,
  sessions: readonly SessionRow[],
  firstEvent: number,
  collection = 'main',
): SealedSegment {
  const directory = catalog.collectionDirectory(collection)
  const seconds = 1_688_990_400 + segment
  const session1 = Math.min(...sessions.map(({ session_id }) => session_id))
  const session2 = Math.max(...sessions.map(({ session_id }) => session_id))
  const id2 = firstEvent + sessions.length - 1
  const files = (['session', 'meta', 'log', 'index'] as const).map((kind: FileKind): SegmentFile => {
    const name = segmentFileName(kind, segment)
    const { size, sha256 } = writeDatabase(directory, kind, name)
    const manifest: Manifest = {
      v: 1,
      filename: name,
      kind,
      collection,
      segment,
      format: 'json_lines',
      day: DAY,
      size,
      fileTime: seconds + 60,
      sealTime: seconds + 60,
      session1,
      session2,
      time1: seconds,
      time2: seconds + 10,
      rows: sessions.length,
      rejects: 0,
      rawBytes: 100,
      producer: 'test',
      sha256,
    }
    writeFileSync(join(directory, `${name}.manifest`), serializeManifest(manifest))
    return { kind, name, size, sha256, manifest }
  })
  return {
    ...{ collection, segment, files, sessions, session1, session2, id2 },
    format: 'json_lines',
    day: DAY,
    id1: firstEvent,
    time1: seconds * 1e6,
    time2: (seconds + 10) * 1e6,
    rows: sessions.length,
    rejects: 0,
    raw_bytes: 100,
  }
}

/** Claims objects, makes a segment of what it got, and commits it; undefined when it got none. */
export async function collectObjects(
  catalog: Catalog,
  owner: Owner,
  objects: readonly SourceObject[],
  collection = 'main',
): Promise<{ segment: SealedSegment; sequence: number; superseded: number } | undefined> {
  const claims = await catalog.claim(owner, objects)
  const claimed = claims.filter(({ verdict }) => verdict === 'claimed').map(({ object }) => object)
  if (claimed.length === 0) return undefined
  const segment = await sealObjects(catalog, owner, claimed, collection)
  return { segment, ...(await catalog.commitSeal(owner, segment, claimed)) }
}

export async function sealObjects(
  catalog: Catalog,
  owner: Owner,
  claimed: readonly SourceObject[],
  collection = 'main',
): Promise<SealedSegment> {
  const number = await catalog.draw(owner, 'segment', 1)
  const firstSession = await catalog.draw(owner, 'session', 1000)
  const firstEvent = await catalog.draw(owner, 'event', 1000)
  const sessions = claimed.map((object, i) => sessionOf(object, firstSession + i, number))
  return fakeSegment(catalog, number, sessions, firstEvent, collection)
}

// --- internal ---

function writeDatabase(directory: string, kind: FileKind, name: string): { size: number; sha256: string } {
  const bytes = Buffer.from(`content of ${name}\n`)
  const digest = (content: Buffer) => createHash('sha256').update(content).digest('hex')
  if (kind !== 'index') {
    writeFileSync(join(directory, name), bytes)
    return { size: bytes.length, sha256: digest(bytes) }
  }
  mkdirSync(join(directory, name), { recursive: true })
  const parts = ['keyset.ks', 'values.parquet'].map((part) => {
    writeFileSync(join(directory, name, part), bytes)
    return { name: part, size: bytes.length, sha256: digest(bytes) }
  })
  return directoryDigest(parts)
}
