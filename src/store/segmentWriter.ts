/**
 * Writes one open segment: the four databases and, when records were refused, the rejects. Runs inside a worker; the
 * catalog learns of the segment only from what `seal` returns. File layouts: docs/design.md §5.
 */
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import type { EventSink } from '../core/eventSink.ts'
import { Interner } from '../core/interner.ts'
import type { SourceObject } from '../core/sourceObject.ts'
import { faultPoint } from '../platform/faults.ts'
import { makeDirectory, syncDirectory, writeDurably } from '../platform/files.ts'
import { type CountedValues, EventBuilder, META_COLUMNS } from './eventBuilder.ts'
import { HashedFile } from './hashedFile.ts'
import { ImportedResults } from './importedResults.ts'
import type { KeysetContent } from './keyset.ts'
import type { KeysetKey } from './keysetKeys.ts'
import { directoryDigest, MANIFEST_FORMAT, type Manifest, serializeManifest } from './manifest.ts'
import { BytesPageBuilder, type ParquetColumn, ParquetFileWriter } from './parquet/fileWriter.ts'
import { type Cell, dictionaryOf, RowTable } from './parquet/rowTable.ts'
import {
  type FileKind,
  REJECT_BYTES,
  type RejectRow,
  type SealedSegment,
  type SegmentFile,
  type SessionRow,
  segmentFileName,
} from './segment.ts'
import { type EncodedKeyset, SegmentKeyset } from './segmentKeyset.ts'

export interface SegmentWriterOptions {
  /** Directory of the collection's segments. */
  readonly directory: string
  readonly collection: string
  readonly segment: number
  readonly format: string
  readonly formatVersion: number
  readonly day: string
  readonly firstEventId: number
  readonly firstSessionId: number
  readonly keepLog: boolean
  /** null: no keyset is written, and hunts answer `unknown` for this segment. */
  readonly keyset: KeysetKey | null
  /** `coldtrail/<version>`. */
  readonly producer: string
}

export class SegmentWriter {
  readonly options: SegmentWriterOptions
  private readonly events: EventBuilder
  private readonly meta: HashedFile
  private readonly metaParquet: ParquetFileWriter
  private readonly log: HashedFile | undefined
  private rejectFile: { file: HashedFile; parquet: ParquetFileWriter; rows: RowTable; bytes: number } | undefined
  private readonly keyset: SegmentKeyset | undefined
  private readonly opened = Date.now()
  private readonly sealed: SessionRow[] = []
  private object:
    | { object: SourceObject; received: number; codec: SessionRow['codec']; packOffset: number; firstEvent: number }
    | undefined
  private rejectCount = 0
  /** Labels and facts that came with the objects; undefined when none did. */
  imported: ImportedResults | undefined
  rawBytes = 0

  constructor(options: SegmentWriterOptions) {
    this.options = options
    makeDirectory(options.directory)
    this.meta = this.create('meta')
    this.metaParquet = new ParquetFileWriter(this.meta, META_COLUMNS, this.fileMetadata('meta'))
    this.log = options.keepLog ? this.create('log') : undefined
    this.log?.write(packHeader(options.segment))
    this.keyset = options.keyset ? new SegmentKeyset(options.keyset) : undefined
    this.events = new EventBuilder({
      file: this.metaParquet,
      firstEventId: options.firstEventId,
      day: options.day,
      observer: this.keyset,
      onReject: (...reject) => this.reject(...reject),
      onLabel: (event, label) => this.brought().label(event, label),
      onFact: (fact) => this.brought().fact(fact),
    })
  }

  get sink(): EventSink {
    return this.events
  }
  get rows(): number {
    return this.events.rows
  }
  get sessions(): number {
    return this.sealed.length
  }
  get rejects(): number {
    return this.rejectCount
  }
  get bufferedBytes(): number {
    return this.events.bufferedBytes
  }

  beginSession(object: SourceObject, facts: { received: number; codec: SessionRow['codec'] }): void {
    this.object = { object, ...facts, packOffset: this.log?.size ?? 0, firstEvent: this.events.rows }
    this.events.beginSession(this.sessionId)
  }

  /** Bytes of the object as received, appended to the pack. */
  appendReceived(bytes: Uint8Array): void {
    this.log?.write(bytes)
  }

  endSession(facts: {
    version?: string
    size: number
    sha256_received: string
    sha256_decoded: string
    decoded_size: number
    records: number
    header?: string | null
  }): SessionRow {
    const { object, received, codec, packOffset, firstEvent } = this.object!
    const { events, rejects, time1, time2 } = this.events.session
    const id1 = events > 0 ? this.options.firstEventId + firstEvent : null
    const session: SessionRow = {
      session_id: this.sessionId,
      source: object.source,
      bucket: object.bucket,
      key: object.key,
      version: facts.version ?? object.version,
      size: facts.size,
      last_modified: object.lastModified,
      received,
      codec,
      format: this.options.format,
      format_version: this.options.formatVersion,
      sha256_received: facts.sha256_received,
      sha256_decoded: facts.sha256_decoded,
      decoded_size: facts.decoded_size,
      pack_segment: this.log ? this.options.segment : null,
      pack_offset: this.log ? packOffset : null,
      pack_length: this.log ? this.log.size - packOffset : null,
      id1,
      id2: id1 === null ? null : id1 + events - 1,
      time1,
      time2,
      records: facts.records,
      events,
      rejects,
      header: facts.header ?? null,
    }
    this.sealed.push(session)
    this.rawBytes += facts.decoded_size
    this.object = undefined
    return session
  }

  /** A session that another segment has sealed, as it is: its object stays in the pack it lies in. By session id. */
  carrySession(session: SessionRow): void {
    this.sealed.push(session)
    this.rawBytes += session.decoded_size
  }

  /** A reject of a carried session. */
  carryReject({ session_id, offset, length, reason, data }: RejectRow): void {
    this.addReject([session_id, offset, length, reason, Buffer.from(data)], data.length)
  }

  /** What the keyset has seen so far; it must have been asked for. */
  observed(): KeysetContent {
    return this.keyset!.content()
  }

  /** Writes the buffered row group early, to free memory. */
  flush(): void {
    this.events.flush()
  }

  /**
   * Makes every file durable under its final name. At least one session must have ended or been carried. `keyset`: in
   * place of what was observed.
   */
  seal(keyset: EncodedKeyset | undefined = this.keyset?.encode()): SealedSegment {
    const { options, events, sealed } = this
    events.flush()
    this.metaParquet.finish()
    const files: SegmentFile[] = []
    const common = this.commonManifest()
    const columns = events.columnSummaries()
    const withLog = sealed.filter(({ pack_segment }) => pack_segment !== null)
    const packed =
      withLog.length > 0 ? { packetId1: withLog[0]!.session_id, packetId2: withLog.at(-1)!.session_id } : {}
    const { min: id1, max: id2 } = columns.id as { min?: number; max?: number }
    const ids = id1 === undefined ? {} : { id1, id2: id2! }
    const owned = id1 === undefined ? {} : { metaId1: id1, metaId2: id2! }
    const sessionIds = { id1: common.session1, id2: common.session2 }

    files.push(
      this.publish('session', writeSessions(this.create('session'), sealed, this.fileMetadata('session')), {
        ...common,
        ...sessionIds,
        ...owned,
        ...packed,
        compression: 'zstd',
      }),
    )
    files.push(
      this.publish('meta', this.meta, {
        ...common,
        ...ids,
        ...packed,
        compression: 'zstd',
        columns,
      }),
    )
    if (this.log) files.push(this.publish('log', this.log, { ...common, ...sessionIds, ...packed }))
    if (this.rejectFile) {
      this.rejectFile.rows.flush(this.rejectFile.parquet)
      this.rejectFile.parquet.finish()
      files.push(this.publish('reject', this.rejectFile.file, { ...common, ...sessionIds, compression: 'zstd' }))
    }
    files.push(this.writeIndex({ ...common, ...sessionIds }, keyset))
    syncDirectory(options.directory)
    faultPoint('segment.files-durable')
    return {
      collection: options.collection,
      segment: options.segment,
      format: options.format,
      day: options.day,
      files,
      sessions: sealed,
      id1: id1 ?? null,
      id2: id2 ?? null,
      session1: common.session1,
      session2: common.session2,
      time1: events.time1,
      time2: events.time2,
      rows: events.rows,
      rejects: this.rejectCount,
      raw_bytes: this.rawBytes,
    }
  }

  /** Removes whatever was written; nothing of this segment ever existed. */
  discard(): void {
    this.meta.discard()
    this.log?.discard()
    this.rejectFile?.file.discard()
    for (const kind of ['session', 'meta', 'log', 'reject', 'index'] as const) {
      const path = join(this.options.directory, segmentFileName(kind, this.options.segment))
      for (const name of [path, `${path}.tmp`, `${path}.manifest`]) rmSync(name, { recursive: true, force: true })
    }
  }

  private get sessionId(): number {
    return this.options.firstSessionId + this.sealed.length
  }

  private create(kind: FileKind): HashedFile {
    return new HashedFile(join(this.options.directory, segmentFileName(kind, this.options.segment)))
  }

  private fileMetadata(kind: FileKind): Record<string, string> {
    const { collection, segment, format, day, producer } = this.options
    return {
      'coldtrail.file': `${kind}/1`,
      'coldtrail.segment': String(segment),
      'coldtrail.collection': collection,
      'coldtrail.format': format,
      'coldtrail.day': day,
      'coldtrail.producer': producer,
    }
  }

  private commonManifest() {
    const { collection, segment, format, day, producer } = this.options
    const { time1, time2, rows } = this.events
    const eventTime = this.events.eventTimes(Date.now() * 1000)
    return {
      v: MANIFEST_FORMAT as typeof MANIFEST_FORMAT,
      collection,
      segment,
      format,
      day,
      fileTime: Math.floor(this.opened / 1000),
      sealTime: Math.floor(Date.now() / 1000),
      session1: this.sealed[0]!.session_id,
      session2: this.sealed.at(-1)!.session_id,
      ...(time1 === null ? {} : { time1: Math.floor(time1 / 1e6), time2: Math.floor(time2! / 1e6) }),
      ...(eventTime ? { eventTime } : {}),
      rows,
      rejects: this.rejectCount,
      rawBytes: this.rawBytes,
      producer,
    }
  }

  /** The file under its final name, then its manifest. */
  private publish(
    kind: FileKind,
    file: HashedFile,
    facts: Omit<Manifest, 'filename' | 'kind' | 'size' | 'sha256'>,
  ): SegmentFile {
    const name = segmentFileName(kind, this.options.segment)
    file.publish()
    const schema = SCHEMAS[kind]
    const own = { filename: name, kind, size: file.size, sha256: file.digest(), ...(schema ? { schema } : {}) }
    return this.writeManifest(name, { ...facts, ...own })
  }

  private writeManifest(name: string, manifest: Manifest): SegmentFile {
    writeDurably(join(this.options.directory, `${name}.manifest`), serializeManifest(manifest))
    return { kind: manifest.kind, name, size: manifest.size, sha256: manifest.sha256, manifest }
  }

  private writeIndex(
    facts: Omit<Manifest, 'filename' | 'kind' | 'size' | 'sha256'>,
    keyset: EncodedKeyset | undefined,
  ): SegmentFile {
    const name = segmentFileName('index', this.options.segment)
    const directory = join(this.options.directory, name)
    makeDirectory(directory)
    const { columns, incomplete } = this.events.columnValues()
    const file = new HashedFile(join(directory, 'values.parquet'))
    const parquet = new ParquetFileWriter(file, VALUES_COLUMNS, {
      ...this.fileMetadata('index'),
      'coldtrail.incomplete': incomplete.join(','),
    })
    writeValues(parquet, columns)
    parquet.finish()
    file.publish()
    const parts = [{ name: 'values.parquet', size: file.size, sha256: file.digest() }]
    if (keyset) {
      const { bytes } = keyset
      writeDurably(join(directory, 'keyset.ks'), bytes)
      parts.push({ name: 'keyset.ks', size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') })
    }
    return this.writeManifest(name, {
      ...facts,
      filename: name,
      kind: 'index',
      ...directoryDigest(parts),
      ...(keyset ? { keyset: keyset.description } : {}),
    })
  }

  private brought(): ImportedResults {
    this.imported ??= new ImportedResults()
    return this.imported
  }

  private reject(bytes: Buffer, start: number, end: number, offset: number, reason: string): void {
    this.keyset?.reject(bytes, start, end, REJECT_BYTES)
    const kept = Buffer.from(bytes.subarray(start, Math.min(end, start + REJECT_BYTES)))
    this.addReject([this.sessionId, offset, end - start, reason, kept], kept.length)
  }

  private addReject(row: readonly Cell[], bytes: number): void {
    this.rejectCount++
    if (!this.rejectFile) {
      const file = this.create('reject')
      const parquet = new ParquetFileWriter(file, REJECT_COLUMNS, this.fileMetadata('reject'))
      this.rejectFile = { file, parquet, rows: new RowTable(REJECT_COLUMNS), bytes: 0 }
    }
    const { rows, parquet } = this.rejectFile
    rows.add(row)
    this.rejectFile.bytes += bytes
    if (rows.rows === 8192 || this.rejectFile.bytes > REJECT_BUFFER_BYTES) {
      rows.flush(parquet)
      this.rejectFile.bytes = 0
    }
  }
}

export const SESSION_COLUMNS: readonly ParquetColumn[] = (
  [
    ['session_id', 'int'],
    ['source', 'text'],
    ['bucket', 'text'],
    ['key', 'text'],
    ['version', 'text'],
    ['size', 'int'],
    ['last_modified', 'time'],
    ['received', 'time'],
    ['codec', 'text'],
    ['format', 'text'],
    ['format_version', 'int'],
    ['sha256_received', 'text'],
    ['sha256_decoded', 'text'],
    ['decoded_size', 'int'],
    ['pack_segment', 'int'],
    ['pack_offset', 'int'],
    ['pack_length', 'int'],
    ['id1', 'int'],
    ['id2', 'int'],
    ['time1', 'time'],
    ['time2', 'time'],
    ['records', 'int'],
    ['events', 'int'],
    ['rejects', 'int'],
    ['header', 'text'],
  ] as const
).map(([name, type], index) => ({
  name,
  type,
  fieldId: index + 1,
  nullable: /^(pack_\w+|(id|time)\d|header)$/.test(name),
}))

export const VALUES_COLUMNS: readonly ParquetColumn[] = [
  { name: 'column_name', fieldId: 1, type: 'text', nullable: false },
  { name: 'value', fieldId: 2, type: 'text', nullable: false },
  { name: 'count', fieldId: 3, type: 'int', nullable: false },
  { name: 'time1', fieldId: 4, type: 'time', nullable: true },
  { name: 'time2', fieldId: 5, type: 'time', nullable: true },
]

export const REJECT_COLUMNS: readonly ParquetColumn[] = [
  { name: 'session_id', fieldId: 1, type: 'int', nullable: false },
  { name: 'offset', fieldId: 2, type: 'int', nullable: false },
  { name: 'length', fieldId: 3, type: 'int', nullable: false },
  { name: 'reason', fieldId: 4, type: 'text', nullable: false },
  { name: 'data', fieldId: 5, type: 'binary', nullable: false },
]

/** Digests of the columns, as manifests name them. */
const SCHEMAS: Readonly<Partial<Record<FileKind, string>>> = Object.fromEntries(
  Object.entries({ session: SESSION_COLUMNS, meta: META_COLUMNS, reject: REJECT_COLUMNS }).map(([kind, columns]) => {
    const described = columns.map(({ name, type, fieldId, nullable }) => ({ name, type, fieldId, nullable }))
    return [kind, `sha256:${createHash('sha256').update(canonicalize(described)!).digest('hex')}`]
  }),
)

/** `CTPACK`, format version, reserved byte, segment number in 8 bytes; then the objects as received, one after another. */
export function packHeader(segment: number): Buffer {
  const header = Buffer.alloc(16)
  header.write('CTPACK', 'latin1')
  header[6] = 1
  header.writeBigUInt64LE(BigInt(segment), 8)
  return header
}

// --- internal ---

/** Rejects waiting beyond this are written as a row group. */
const REJECT_BUFFER_BYTES = 8 * 1024 * 1024

const VALUES_ROWS = 65_536

function writeValues(parquet: ParquetFileWriter, columns: readonly CountedValues[]): void {
  const nameIds = new Int32Array(VALUES_ROWS)
  const counts = new Float64Array(VALUES_ROWS)
  const first = new Float64Array(VALUES_ROWS)
  const last = new Float64Array(VALUES_ROWS)
  const pages = new BytesPageBuilder(false)
  let names = new Interner()
  let rows = 0
  const flush = () => {
    parquet.dictionary(nameIds, rows, dictionaryOf(names))
    parquet.bytes(pages.take().pages, rows, 0)
    for (const numbers of [counts, first, last]) parquet.ints(numbers, rows)
    parquet.endRowGroup(rows)
    names = new Interner()
    rows = 0
  }
  for (const { column, values, order, tallies } of columns) {
    const name = Buffer.from(column)
    for (const id of order) {
      nameIds[rows] = names.intern(name, 0, name.length)
      pages.add(values.values, values.start(id), values.end(id))
      counts[rows] = tallies[id * 3]!
      const hasTime = tallies[id * 3 + 1]! <= tallies[id * 3 + 2]!
      first[rows] = hasTime ? tallies[id * 3 + 1]! : Number.NaN
      last[rows] = hasTime ? tallies[id * 3 + 2]! : Number.NaN
      if (++rows === VALUES_ROWS) flush()
    }
  }
  if (rows > 0) flush()
}

function writeSessions(
  file: HashedFile,
  sessions: readonly SessionRow[],
  metadata: Record<string, string>,
): HashedFile {
  const parquet = new ParquetFileWriter(file, SESSION_COLUMNS, metadata)
  const table = new RowTable(SESSION_COLUMNS)
  for (const session of sessions) {
    table.add(SESSION_COLUMNS.map(({ name }) => session[name as keyof SessionRow]))
    if (table.rows === 32_768) table.flush(parquet)
  }
  table.flush(parquet)
  parquet.finish()
  return file
}
