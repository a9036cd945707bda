/**
 * Compaction: one segment in place of several small ones of a partition (collection, format, day). `chooseRun` (compactionPlan.ts)
 * says which, `mergeSegments` writes the new one, `catalog.commitReplace` makes it exist. Events, sessions and rejects are
 * carried as they are, superseded sessions included: event ids, session ids and uids stay. Packs are not rewritten:
 * session rows go on pointing to them. The new files are what a collector would have written of the same objects, except
 * that the keyset is the union of the old ones.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { COLUMN_INDEX } from '../core/columns.ts'
import { ColdtrailError } from '../core/errors.ts'
import type { SegmentRow } from './catalog.ts'
import { DuckDb, parquetFiles, type Row, sqlName } from './duckdb.ts'
import { carryPacks, emptied, KeptStrings, repacked } from './erasedParts.ts'
import { META_COLUMNS } from './eventBuilder.ts'
import { digestOfDirectory, digestOfFile } from './hashedFile.ts'
import { type HeldFile, heldPath, localDirectories } from './heldFile.ts'
import { type KeysetContent, mergeKeysets, openKeyset } from './keyset.ts'
import type { KeysetKey } from './keysetKeys.ts'
import type { ParquetColumn } from './parquet/fileWriter.ts'
import type { RejectRow, SealedSegment, SessionRow } from './segment.ts'
import { encodedKeyset } from './segmentKeyset.ts'
import { REJECT_COLUMNS, SegmentWriter } from './segmentWriter.ts'
import { readSessions } from './sessions.ts'

/** Plain data: it crosses processes. */
export interface MergeTask {
  readonly inputs: readonly Pick<SegmentRow, 'segment' | 'directory' | 'files' | 'id1' | 'rows' | 'rejects'>[]
  /** Of the new segment. */
  readonly collection: string
  readonly directory: string
  readonly segment: number
  readonly format: string
  readonly day: string
  readonly producer: string
  readonly erasure?: MergeErasure
}

/** What is left out of the new segment, and what goes with it. */
export interface MergeErasure {
  /** Their rows stay, emptied; events, rejects, values and keys of them do not. */
  readonly sessions: ReadonlySet<number>
  /** Packs that are made anew, one behind the other, in the new segment's own; the objects of `sessions` as zeros. */
  readonly packs: readonly PackFile[]
  /** Key of the inputs' keyset. Without it there is none: whose keys they are cannot be told. */
  readonly keysetKey: KeysetKey | undefined
}

export interface PackFile {
  /** Number that sessions name it by. */
  readonly segment: number
  readonly path: string
  readonly size: number
  readonly sha256: string
}

/**
 * Writes the segment that replaces others, every file durable under its final name. Inputs are checked against their
 * digests first, so that a damaged byte never gets a new, valid one: E_SEGMENT_READ, E_SEGMENT_GONE. After an error
 * nothing of the new segment is left. Memory: one row group, the distinct values of indexed columns, the keysets.
 */
export async function mergeSegments(task: MergeTask): Promise<SealedSegment> {
  const { inputs, erasure, ...place } = task
  for (const input of inputs) for (const file of input.files) await checkDigest(file)
  const duckdb = await DuckDb.open({
    directories: localDirectories(inputs),
    tempDirectory: join(task.directory, '../../spill'),
    memoryLimit: DUCKDB_BYTES,
    threads: 1,
  })
  const unused = { formatVersion: 0, firstEventId: 0, firstSessionId: 0 }
  const keepLog = erasure !== undefined && erasure.packs.length > 0
  const writer = new SegmentWriter({ ...place, ...unused, keepLog, keyset: erasure?.keysetKey ?? null })
  try {
    const sessions = await sessionsOf(duckdb, inputs)
    const erased = sessions.filter(({ session_id }) => erasure?.sessions.has(session_id))
    const carry: Carry = { duckdb, writer, erased, observed: erasure && new KeptStrings(writer) }
    const moved = erasure ? await carryPacks(erasure.packs, erased, writer) : new Map<number, number>()
    for (const session of sessions)
      writer.carrySession(erased.includes(session) ? emptied(session) : repacked(session, place.segment, moved))
    for (const input of inputs.filter(({ rows }) => rows > 0).sort((a, b) => a.id1! - b.id1!))
      await carryEvents(carry, input)
    for (const input of inputs) if (input.rejects > 0) await carryRejects(carry, input)
    const united = erasure && !erasure.keysetKey ? undefined : unitedKeyset(inputs)
    const keyset = united && carry.observed ? carry.observed.keptOf(united) : united
    const sealed = writer.seal(keyset && encodedKeyset(keyset))
    const expected = {
      rows: sum(inputs, 'rows') - sum(erased, 'events'),
      rejects: sum(inputs, 'rejects') - sum(erased, 'rejects'),
    }
    if (sealed.rows !== expected.rows || sealed.rejects !== expected.rejects) {
      const found = `${sealed.rows} events and ${sealed.rejects} rejects`
      throw new ColdtrailError('E_INTERNAL', { message: `compaction made ${found} of ${JSON.stringify(expected)}` })
    }
    return sealed
  } catch (error) {
    writer.discard()
    throw error
  } finally {
    duckdb.close()
  }
}

// --- internal ---

const DUCKDB_BYTES = 512 * 2 ** 20
/** Buffered bytes at which a row group is written early. */
const BUFFER_BYTES = 128 * 2 ** 20
const KEYSETS_AT_ONCE = 8

type Input = MergeTask['inputs'][number]

interface Carry {
  readonly duckdb: DuckDb
  readonly writer: SegmentWriter
  readonly erased: readonly SessionRow[]
  /** Set when something is erased: what the rest holds, so that the keyset can be cut down to it. */
  readonly observed: KeptStrings | undefined
}

/** Of everything that is read again; the pack stays where it is. */
async function checkDigest({ directory, kind, name, sha256 }: HeldFile): Promise<void> {
  if (kind === 'log') return
  const path = join(directory, name)
  if (!existsSync(path)) throw new ColdtrailError('E_SEGMENT_GONE', { path })
  const found = await (kind === 'index' ? digestOfDirectory : digestOfFile)(path)
  if (found.sha256 !== sha256)
    throw new ColdtrailError('E_SEGMENT_READ', { path, cause: 'its SHA-256 is not that of its seal' })
}

/**
 * Rows of a Parquet file of ours in their order, column by column as they were written: texts as bytes, for a JavaScript
 * string would lose a byte order mark; times in microseconds.
 */
async function* exactRows(
  duckdb: DuckDb,
  input: Input,
  kind: 'meta' | 'reject',
  columns: readonly ParquetColumn[],
  erased: readonly SessionRow[],
): AsyncGenerator<Row[]> {
  const path = heldPath(input, kind)
  const list = columns.map(({ name, type }) => {
    const column = sqlName(name)
    if (type === 'text') return `encode(${column}) AS ${column}`
    return type === 'time' ? `epoch_us(${column}) AS ${column}` : column
  })
  const ids = erased.map(({ session_id }) => session_id)
  const kept = ids.length > 0 ? ` WHERE session_id NOT IN (${ids.join(', ')})` : ''
  yield* duckdb.stream({ sql: `SELECT ${list.join(', ')} FROM ${parquetFiles([path])}${kept}`, files: [path] })
}

async function sessionsOf(duckdb: DuckDb, inputs: readonly Input[]): Promise<SessionRow[]> {
  const sessions: SessionRow[] = []
  for (const input of inputs) sessions.push(...(await readSessions(duckdb, input)))
  return sessions.sort((a, b) => a.session_id - b.session_id)
}

/** Columns of an event that are not written by name: given with the record, or derived from others. */
const GIVEN = new Set(['time', 'data', 'record_offset', 'segment_day'])
const CARRIED = META_COLUMNS.filter(({ name }) => !name.endsWith('_ip_key'))
const SET = CARRIED.filter(({ name }) => !GIVEN.has(name)).map(({ name, type }) => {
  return { name, index: COLUMN_INDEX.get(name)!, isText: type === 'text' }
})

async function carryEvents({ duckdb, writer, erased, observed }: Carry, input: Input): Promise<void> {
  const { sink } = writer
  for await (const chunk of exactRows(duckdb, input, 'meta', CARRIED, erased)) {
    for (const row of chunk) {
      const data = asBuffer(row.data)
      sink.begin(data, 0, data.length, row.record_offset as number)
      for (const { name, index, isText } of SET) {
        const value = row[name]
        if (value === null || value === undefined) continue
        if (isText) {
          const bytes = asBuffer(value)
          sink.slice(index, bytes, 0, bytes.length)
        } else sink.int(index, value as number)
      }
      if (row.time !== null) sink.time(row.time as number)
      observed?.record(data, row.record_length as number)
      sink.commit()
    }
    if (writer.bufferedBytes > BUFFER_BYTES) writer.flush()
  }
}

async function carryRejects({ duckdb, writer, erased, observed }: Carry, input: Input): Promise<void> {
  for await (const chunk of exactRows(duckdb, input, 'reject', REJECT_COLUMNS, erased))
    for (const row of chunk) {
      writer.carryReject({ ...(row as unknown as RejectRow), reason: asBuffer(row.reason).toString() })
      observed?.reject(asBuffer(row.data))
    }
}

/** A few at a time, so that they never lie in memory all at once. */
function unitedKeyset(inputs: readonly Input[]): KeysetContent | undefined {
  const paths = inputs
    .filter(({ files }) => files.some(({ manifest }) => manifest.keyset))
    .map((input) => join(heldPath(input, 'index'), 'keyset.ks'))
  let united: KeysetContent | undefined
  for (let at = 0; at < paths.length; at += KEYSETS_AT_ONCE) {
    const some = paths.slice(at, at + KEYSETS_AT_ONCE).map((path) => openKeyset(readFileSync(path), path).content())
    united = mergeKeysets(united ? [united, ...some] : some)
  }
  return united
}

function asBuffer(cell: Row[string] | undefined): Buffer {
  if (!(cell instanceof Uint8Array)) throw new ColdtrailError('E_INTERNAL', { message: 'a text is missing' })
  return Buffer.from(cell.buffer, cell.byteOffset, cell.length)
}

function sum<What extends string>(list: readonly Readonly<Record<What, number>>[], what: What): number {
  return list.reduce((total, one) => total + one[what], 0)
}
