/**
 * Tag files, the fifth database: `tag-<segment>-<run>.parquet` holds what one run said of a segment's events, a row per
 * (event id, label, plugin, rule), sorted by all four in the order of bytes, each once. An event's labels are those of
 * all tag files of its segment; the segment number in a name is that of the segment which was analysed.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Interner } from '../core/interner.ts'
import { syncDirectory, writeDurably } from '../platform/files.ts'
import type { SegmentRow } from './catalog.ts'
import { parquetFiles, sqlText } from './duckdb.ts'
import { HashedFile } from './hashedFile.ts'
import { MANIFEST_FORMAT, type Manifest, serializeManifest } from './manifest.ts'
import { type ParquetColumn, ParquetFileWriter } from './parquet/fileWriter.ts'
import { dictionaryOf } from './parquet/rowTable.ts'
import { runNumber } from './runs.ts'
import { type SegmentFile, segmentNumber } from './segment.ts'

/** What a row says of its event. */
export interface TagKind {
  /** `[A-Za-z0-9_]+` */
  readonly label: string
  readonly plugin: string
  /** Empty for a plugin without rules. */
  readonly rule: string
}

/** A tag file, durable under its final name. `segment` is the number that it bears. Plain data: it crosses processes. */
export interface TagFile extends SegmentFile {
  readonly segment: number
  readonly run: number
  readonly rows: number
}

/** A committed one, in the folder where it lies. */
export interface HeldTagFile extends TagFile {
  readonly directory: string
}

export const tagFileName = (segment: number, run: number): string =>
  `tag-${segmentNumber(segment)}-${runNumber(run)}.parquet`

export const tagPath = ({ directory, name }: Pick<HeldTagFile, 'directory' | 'name'>): string => join(directory, name)

export const isLabel = (text: string): boolean => /^[A-Za-z0-9_]{1,200}$/.test(text)

export interface TagFileOptions {
  /** What was analysed; the file is written beside its files. */
  readonly segment: Pick<
    SegmentRow,
    'segment' | 'collection' | 'directory' | 'format' | 'day' | 'session1' | 'session2' | 'time1' | 'time2'
  >
  readonly run: number
  /** `coldtrail/<version>`. */
  readonly producer: string
}

/** Writes one tag file. Nothing is made before the first tag. Memory: one row group and what one `add` is given. */
export class TagFileWriter {
  private readonly options: TagFileOptions
  private readonly opened = Date.now()
  private open: { readonly file: HashedFile; readonly parquet: ParquetFileWriter } | undefined
  private group = new RowGroup()
  private labels: Map<string, number> | undefined = new Map()
  private rows = 0
  private id1 = Number.NaN
  private last = { id: Number.NEGATIVE_INFINITY, label: '' }

  constructor(options: TagFileOptions) {
    this.options = options
  }

  /**
   * Adds tags: event `ids[i]` has `kinds[kindOf[i]]`. In any order within a call, repeats included; but every id is above
   * those of the calls before.
   */
  add(kinds: readonly TagKind[], ids: Float64Array, kindOf: Uint32Array): void {
    for (const { label } of kinds) if (!isLabel(label)) throw new RangeError(`"${label}" is no label`)
    const ranks = ranksOf(kinds)
    const order = orderOf(ids, kindOf, ranks)
    let before = -1
    for (let at = 0; at < ids.length; at++) {
      const i = order ? order[at]! : at
      const id = ids[i]!
      if (before >= 0 && ids[before] === id && ranks[kindOf[before]!] === ranks[kindOf[i]!]) continue
      if (before < 0 && id <= this.last.id) throw new RangeError(`event ${id} comes behind ${this.last.id}`)
      before = i
      this.row(id, kinds[kindOf[i]!]!)
    }
  }

  /** Makes the file and its manifest durable under their final names; undefined when there was no tag. */
  seal(): TagFile | undefined {
    if (!this.open) return undefined
    const { file, parquet } = this.open
    const { segment: row, run, producer } = this.options
    const { segment, collection, format, day, session1, session2, time1, time2, directory } = row
    this.group.flush(parquet)
    parquet.finish()
    file.publish()
    const name = tagFileName(segment, run)
    const manifest: Manifest = {
      ...{ v: MANIFEST_FORMAT, filename: name, kind: 'tag', collection, segment, format, day, run, producer },
      ...{ size: file.size, sha256: file.digest(), compression: 'zstd' },
      ...{ fileTime: Math.floor(this.opened / 1000), sealTime: Math.floor(Date.now() / 1000) },
      ...{ id1: this.id1, id2: this.last.id, session1, session2, rows: this.rows, rejects: 0, rawBytes: 0 },
      ...(time1 === null ? {} : { time1: Math.floor(time1 / 1e6), time2: Math.floor(time2! / 1e6) }),
      ...(this.labels ? { labels: Object.fromEntries(this.labels) } : {}),
    }
    writeDurably(join(directory, `${name}.manifest`), serializeManifest(manifest))
    syncDirectory(directory)
    const { size, sha256 } = manifest
    return { kind: 'tag', name, size, sha256, manifest, segment, run, rows: this.rows }
  }

  /** Removes whatever was written; nothing of it ever existed. */
  discard(): void {
    this.open?.file.discard()
    const path = join(this.options.segment.directory, tagFileName(this.options.segment.segment, this.options.run))
    for (const name of [path, `${path}.tmp`, `${path}.manifest`]) rmSync(name, { force: true })
  }

  // --- internal ---

  private row(id: number, kind: TagKind): void {
    this.open ??= this.create()
    if (this.rows === 0) this.id1 = id
    if (this.labels && (this.last.id !== id || this.last.label !== kind.label)) {
      this.labels.set(kind.label, (this.labels.get(kind.label) ?? 0) + 1)
      if (this.labels.size > LISTED_LABELS) this.labels = undefined
    }
    this.last = { id, label: kind.label }
    this.rows += 1
    this.group.add(id, kind)
    if (this.group.rows === ROW_GROUP) this.group.flush(this.open.parquet)
  }

  private create() {
    const { segment: row, run, producer } = this.options
    const file = new HashedFile(join(row.directory, tagFileName(row.segment, run)))
    const parquet = new ParquetFileWriter(file, TAG_COLUMNS, {
      'coldtrail.file': 'tag/1',
      'coldtrail.segment': String(row.segment),
      'coldtrail.run': String(run),
      'coldtrail.collection': row.collection,
      'coldtrail.format': row.format,
      'coldtrail.day': row.day,
      'coldtrail.producer': producer,
    })
    return { file, parquet }
  }
}

export const TAG_COLUMNS: readonly ParquetColumn[] = [
  { name: 'id', fieldId: 1, type: 'int', nullable: false },
  { name: 'label', fieldId: 2, type: 'text', nullable: false },
  { name: 'plugin', fieldId: 3, type: 'text', nullable: false },
  { name: 'rule', fieldId: 4, type: 'text', nullable: false },
]

/** Whether an event of these files may have one of the labels. */
export function mayHaveLabel(files: readonly TagFile[], labels: readonly string[]): boolean {
  return files.some(({ manifest }) => {
    const listed = manifest.labels
    return listed === undefined || labels.some((label) => Object.hasOwn(listed, label))
  })
}

/** A relation (id, tag): the labels of each event that has any, sorted, each once. */
export function labelLists(files: readonly HeldTagFile[]): string {
  if (files.length === 0) return '(SELECT NULL::BIGINT AS id, NULL::VARCHAR[] AS tag LIMIT 0)'
  return `(SELECT id, list(DISTINCT label ORDER BY label) AS tag FROM ${parquetFiles(files.map(tagPath))} GROUP BY id)`
}

/** A relation (id) of the tags with one of the labels. */
export function labelled(files: readonly HeldTagFile[], labels: readonly (string | number)[]): string {
  const holding = files.filter((file) => mayHaveLabel([file], labels.map(String)))
  if (holding.length === 0) return '(SELECT NULL::BIGINT AS id LIMIT 0)'
  return `(FROM ${parquetFiles(holding.map(tagPath))} WHERE label IN (${labels.map((label) => sqlText(String(label))).join(', ')}))`
}

/** A relation over `events` (one with a column `id`) with `tag` beside its columns: a list of labels, NULL without any. */
export function taggedRelation(events: string, files: readonly HeldTagFile[]): string {
  return `(SELECT e.*, t.tag FROM ${events} AS e LEFT JOIN ${labelLists(files)} AS t ON e.id = t.id)`
}

// --- internal ---

const ROW_GROUP = 32_768
/** With more labels than these a manifest lists none of them (sessionize makes one a session). */
const LISTED_LABELS = 1000

/** Rank of each kind in the order of label, plugin, rule; equal kinds have one rank. */
function ranksOf(kinds: readonly TagKind[]): Uint32Array {
  const keys = kinds.map(({ label, plugin, rule }) => Buffer.from(`${label}\0${plugin}\0${rule}`))
  const order = keys.map((_, i) => i).sort((a, b) => Buffer.compare(keys[a]!, keys[b]!))
  const ranks = new Uint32Array(kinds.length)
  order.forEach((kind, at) => {
    const before = order[at - 1]
    ranks[kind] = before !== undefined && keys[before]!.equals(keys[kind]!) ? ranks[before]! : at
  })
  return ranks
}

/** Indexes of the tags in order; undefined when they are, as most come. */
function orderOf(ids: Float64Array, kindOf: Uint32Array, ranks: Uint32Array): Uint32Array | undefined {
  const compare = (a: number, b: number): number => ids[a]! - ids[b]! || ranks[kindOf[a]!]! - ranks[kindOf[b]!]!
  for (let i = 1; i < ids.length; i++)
    if (compare(i - 1, i) > 0) return Uint32Array.from(ids, (_, at) => at).sort(compare)
  return undefined
}

class RowGroup {
  private readonly ids = new Float64Array(ROW_GROUP)
  private readonly columns = [textColumn(), textColumn(), textColumn()] as const
  /** Of a kind, the numbers of its texts. */
  private readonly known = new Map<TagKind, readonly [label: number, plugin: number, rule: number]>()
  rows = 0

  add(id: number, kind: TagKind): void {
    const [labels, plugins, rules] = this.columns
    let numbers = this.known.get(kind)
    if (!numbers) {
      numbers = [labels.intern(kind.label), plugins.intern(kind.plugin), rules.intern(kind.rule)]
      this.known.set(kind, numbers)
    }
    this.ids[this.rows] = id
    labels.ids[this.rows] = numbers[0]
    plugins.ids[this.rows] = numbers[1]
    rules.ids[this.rows] = numbers[2]
    this.rows += 1
  }

  flush(parquet: ParquetFileWriter): void {
    const { rows } = this
    if (rows === 0) return
    parquet.ints(this.ids, rows)
    for (const column of this.columns) column.write(parquet, rows)
    parquet.endRowGroup(rows)
    this.known.clear()
    this.rows = 0
  }
}

/** A dictionary column: texts are looked up as they are, and become bytes once a row group. */
function textColumn() {
  const ids = new Int32Array(ROW_GROUP)
  const known = new Map<string, number>()
  return {
    ids,
    intern(text: string): number {
      let id = known.get(text)
      if (id === undefined) {
        id = known.size
        known.set(text, id)
      }
      return id
    },
    write(parquet: ParquetFileWriter, rows: number): void {
      const interner = new Interner()
      for (const text of known.keys()) {
        const bytes = Buffer.from(text)
        interner.intern(bytes, 0, bytes.length)
      }
      parquet.dictionary(ids, rows, dictionaryOf(interner))
      known.clear()
    },
  }
}
