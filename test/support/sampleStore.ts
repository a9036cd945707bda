/** A small real store: segments of the own writer, committed through the catalog, and what they hold as plain values. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { COLUMN_INDEX } from '../../src/core/columns.ts'
import { type Catalog, type CatalogOptions, type Owner, openCatalog, type SegmentRow } from '../../src/store/catalog.ts'
import { SegmentWriter, type SegmentWriterOptions } from '../../src/store/segmentWriter.ts'

export interface SampleEvent {
  /** Microseconds; without it the event has no time. */
  readonly time?: number
  /** Text and integer columns by name. */
  readonly columns?: Readonly<Record<string, string | number>>
  /** Default: JSON of `columns`. */
  readonly record?: Buffer
}

export interface SampleObject {
  readonly key: string
  readonly version?: string
  readonly lastModified?: number
  readonly events: readonly SampleEvent[]
  readonly rejects?: readonly Buffer[]
  readonly codec?: 'plain' | 'gzip'
}

/** What a naive reader would know of an event. */
export interface KnownEvent {
  readonly id: number
  readonly segment: number
  readonly session: number
  readonly ordinal: number
  readonly time: number | null
  readonly columns: Readonly<Record<string, string | number>>
  readonly record: Buffer
  readonly key: string
  readonly version: string
}

export class SampleStore {
  readonly dataDir: string
  readonly catalog: Catalog
  readonly owner: Owner
  readonly events: KnownEvent[] = []

  private constructor(dataDir: string, catalog: Catalog, owner: Owner) {
    this.dataDir = dataDir
    this.catalog = catalog
    this.owner = owner
  }

  static async create(options: Partial<CatalogOptions> = {}): Promise<SampleStore> {
    const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'coldtrail-store-'))
    const catalog = await openCatalog({ ...options, dataDir })
    return new SampleStore(dataDir, catalog, await catalog.owner('collect'))
  }

  /** Seals and commits one segment of these objects. */
  async seal(objects: readonly SampleObject[], options: Partial<SegmentWriterOptions> = {}): Promise<SegmentRow> {
    const { catalog, owner } = this
    const sources = objects.map(({ key, version = 'v1', lastModified = 1 }) => ({
      source: 's3://logs',
      bucket: 'logs',
      key,
      version,
      size: 10,
      lastModified,
    }))
    const claims = await catalog.claim(owner, sources)
    if (claims.some(({ verdict }) => verdict !== 'claimed')) throw new Error('an object is known already')
    const segment = await catalog.draw(owner, 'segment', 1)
    const firstEventId = options.firstEventId ?? (await catalog.draw(owner, 'event', 1000))
    const firstSessionId = options.firstSessionId ?? (await catalog.draw(owner, 'session', 100))
    const collection = options.collection ?? 'main'
    const writer = new SegmentWriter({
      directory: catalog.collectionDirectory(collection),
      collection,
      segment,
      format: 'json_lines',
      formatVersion: 1,
      day: '2023-07-10',
      firstEventId,
      firstSessionId,
      keepLog: true,
      keyset: null,
      producer: 'coldtrail/test',
      ...options,
    })
    let id = firstEventId
    objects.forEach(({ events, rejects = [], codec = 'plain', key, version = 'v1' }, index) => {
      const records = events.map(({ columns = {}, record }) => record ?? Buffer.from(JSON.stringify(columns)))
      const decoded = Buffer.concat([...records, ...rejects].flatMap((record) => [record, Buffer.from('\n')]))
      const received = codec === 'gzip' ? gzipSync(decoded) : decoded
      writer.beginSession(sources[index]!, { received: 1_700_000_000_000_000, codec })
      writer.appendReceived(received)
      let offset = 0
      events.forEach(({ time, columns = {} }, ordinal) => {
        const record = records[ordinal]!
        const { sink } = writer
        sink.begin(record, 0, record.length, offset)
        if (time !== undefined) sink.time(time)
        for (const [name, value] of Object.entries({ data_type: 'test:entry', ...columns })) {
          const column = COLUMN_INDEX.get(name)!
          if (typeof value === 'number') sink.int(column, value)
          else sink.text(column, value)
        }
        sink.commit()
        const session = firstSessionId + index
        this.events.push({
          ...{ id: id++, segment, session, ordinal, columns, record, key, version },
          time: time ?? null,
        })
        offset += record.length + 1
      })
      for (const reject of rejects) {
        writer.sink.reject(reject, 0, reject.length, offset, 'no JSON')
        offset += reject.length + 1
      }
      writer.endSession({
        size: received.length,
        sha256_received: createHash('sha256').update(received).digest('hex'),
        sha256_decoded: createHash('sha256').update(decoded).digest('hex'),
        decoded_size: decoded.length,
        records: events.length + rejects.length,
      })
    })
    await catalog.commitSeal(owner, writer.seal(), sources)
    return this.segment(segment)
  }

  async segment(number: number): Promise<SegmentRow> {
    return (await this.catalog.segments()).find(({ segment }) => segment === number)!
  }

  async remove(): Promise<void> {
    await this.catalog.close()
    rmSync(this.dataDir, { recursive: true, force: true })
  }
}
