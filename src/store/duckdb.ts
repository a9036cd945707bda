/**
 * The one place that opens DuckDB: in memory, bounded, locked to the directories it is told, without any extension from
 * outside. Results come chunk by chunk as plain objects, so a million matches never lie in memory at once.
 *
 * Values: integers as numbers (all of ours are safe), timestamps as microseconds, blobs as bytes, booleans and texts as
 * they are. Files it reads are immutable, so their metadata are cached for the life of the instance.
 */
import { existsSync } from 'node:fs'
import type { DuckDBConnection, DuckDBDataChunk, DuckDBInstance, DuckDBValue } from '@duckdb/node-api'
import { ColdtrailError, printable } from '../core/errors.ts'
import { isWritable } from '../platform/fileSystem.ts'
import { makeDirectory } from '../platform/files.ts'
import { ColumnChunk } from './columnChunk.ts'

export interface DuckDbOptions {
  /** What it may read; nothing else of the file system can be reached. */
  readonly directories: readonly string[]
  /** Where sorts spill; made when missing. */
  readonly tempDirectory: string
  /** Bytes; default 1 GiB. What exceeds it spills. */
  readonly memoryLimit?: number
  /** Default 2. */
  readonly threads?: number
}

export type Cell = string | number | boolean | Uint8Array | null
export type Row = Record<string, Cell>
export type Parameters = Record<string, DuckDBValue>

export interface Query {
  readonly sql: string
  /** Named parameters of the text, `$name`. */
  readonly parameters?: Parameters
  /** Files it reads, so that a fault can name one. */
  readonly files?: readonly string[]
  readonly signal?: AbortSignal
}

export class DuckDb {
  private readonly options: DuckDbOptions
  private opening: Promise<void> | undefined
  private instance: DuckDBInstance | undefined
  private readonly idle: DuckDBConnection[] = []
  private readonly busy = new Set<DuckDBConnection>()
  private closed = false

  private constructor(options: DuckDbOptions) {
    this.options = options
  }

  /** The engine itself is loaded by the first query: many a process that may ask has nothing to ask. */
  static async open(options: DuckDbOptions): Promise<DuckDb> {
    return new DuckDb(options)
  }

  /** The whole answer; for answers known to be small. */
  async rows(query: Query): Promise<Row[]> {
    const rows: Row[] = []
    for await (const chunk of this.stream(query)) rows.push(...chunk)
    return rows
  }

  /** The answer in chunks of at most 2,048 rows. Whoever stops early ends the query. */
  async *stream(query: Query): AsyncGenerator<Row[]> {
    for await (const { chunk, names } of this.dataChunks(query)) {
      const columns = chunk.getColumns()
      const rows: Row[] = Array.from({ length: chunk.rowCount }, () => ({}))
      names.forEach((name, index) => {
        const values = columns[index]!
        for (let i = 0; i < rows.length; i++) rows[i]![name] = cell(values[i]!)
      })
      yield rows
    }
  }

  /** The same for answers of many rows; for what may be selected see columnChunk.ts. */
  async *columns(query: Query): AsyncGenerator<ColumnChunk> {
    for await (const { chunk, names } of this.dataChunks(query)) yield new ColumnChunk(chunk, names)
  }

  private async *dataChunks(query: Query): AsyncGenerator<{ chunk: DuckDBDataChunk; names: readonly string[] }> {
    const { sql, parameters, signal } = query
    throwIfAborted(signal)
    const connection = this.idle.pop() ?? (await this.connect())
    this.busy.add(connection)
    const interrupt = () => connection.interrupt()
    signal?.addEventListener('abort', interrupt, { once: true })
    let ended = false
    try {
      // One statement only: a text that holds two is refused.
      const statement = await connection.prepare(sql)
      if (parameters) statement.bind(parameters)
      const result = await statement.stream().finally(() => statement.destroySync())
      const names = result.columnNames()
      for (;;) {
        const chunk = await result.fetchChunk()
        if (chunk === null || chunk.rowCount === 0) break
        yield { chunk, names }
        throwIfAborted(signal)
      }
      ended = true
    } catch (error) {
      throw readError(error, query)
    } finally {
      signal?.removeEventListener('abort', interrupt)
      this.busy.delete(connection)
      // A connection whose answer was not read to its end still holds it.
      if (ended && !this.closed) this.idle.push(connection)
      else connection.closeSync()
    }
  }

  private async connect(): Promise<DuckDBConnection> {
    this.opening ??= newInstance(this.options).then((instance) => {
      this.instance = instance
    })
    await this.opening
    return this.instance!.connect()
  }

  close(): void {
    this.closed = true
    for (const connection of this.idle) connection.closeSync()
    for (const connection of this.busy) connection.interrupt()
    this.idle.length = 0
    if (this.busy.size === 0) this.instance?.closeSync()
  }
}

export const sqlText = (text: string): string => `'${text.replaceAll("'", "''")}'`
export const sqlName = (name: string): string => `"${name.replaceAll('"', '""')}"`
export const sqlList = (texts: readonly string[]): string => `[${texts.map(sqlText).join(', ')}]`

/** A relation over Parquet files of one schema, rows in the order of the files. */
export const parquetFiles = (paths: readonly string[], option?: string): string =>
  `read_parquet(${[sqlList(paths), ...(option ? [option] : [])].join(', ')})`

/** E_INTERRUPTED, or the reason itself when it is one of ours. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return
  throw signal.reason instanceof ColdtrailError
    ? signal.reason
    : new ColdtrailError('E_INTERRUPTED', { signal: 'a request to stop' }, { cause: signal.reason })
}

// --- internal ---

async function newInstance(options: DuckDbOptions): Promise<DuckDBInstance> {
  const { directories, tempDirectory, memoryLimit = 2 ** 30, threads = 2 } = options
  // Who may not write there has no place to spill to: what exceeds the memory is then an error.
  const maySpill = isWritable(tempDirectory)
  if (maySpill) makeDirectory(tempDirectory)
  const { DuckDBInstance } = await import('@duckdb/node-api')
  const instance = await DuckDBInstance.create(':memory:', {
    threads: String(threads),
    memory_limit: `${memoryLimit}B`,
    temp_directory: maySpill ? tempDirectory : '',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    allow_community_extensions: 'false',
  })
  const connection = await instance.connect()
  await connection.run(`SET TimeZone = 'UTC';
      SET parquet_metadata_cache = true;
      SET validate_external_file_cache = 'NO_VALIDATION';
      SET allowed_directories = ${sqlList(directories)};
      SET enable_external_access = false;
      SET lock_configuration = true`)
  connection.closeSync()
  return instance
}

function cell(value: DuckDBValue): Cell {
  if (typeof value === 'bigint') return Number(value)
  if (value === null || typeof value !== 'object') return value
  if ('micros' in value && typeof value.micros === 'bigint') return Number(value.micros)
  if ('bytes' in value) return value.bytes
  return String(value)
}

/** Characters of a message of DuckDB that are told. */
const MAX_MESSAGE = 1_000

function readError(thrown: unknown, { files = [], signal }: Query): unknown {
  if (thrown instanceof ColdtrailError) return thrown
  throwIfAborted(signal)
  const message = (thrown instanceof Error ? thrown.message : String(thrown)).split('\n\nLINE ')[0]!
  // Its messages quote whole values, and those are megabytes of a log.
  const cause = printable(message, MAX_MESSAGE)
  const options = { cause: new Error(cause) }
  if (/^Out of Memory Error/.test(message)) return new ColdtrailError('E_QUERY_MEMORY', { cause }, options)
  const gone = files.find((file) => !existsSync(file))
  if (gone !== undefined) return new ColdtrailError('E_SEGMENT_GONE', { path: gone }, options)
  const named = files.find((file) => message.includes(file)) ?? (files.length === 1 ? files[0] : undefined)
  if (named !== undefined) return new ColdtrailError('E_SEGMENT_READ', { path: named, cause }, options)
  if (files.length > 0 && /^(IO|Invalid Input|TProtocol|Serialization|INTERNAL) ?(Exception|Error)/i.test(message))
    return new ColdtrailError('E_SEGMENT_READ', { path: `one of ${files.length} segments`, cause }, options)
  return new ColdtrailError('E_QUERY', { cause }, options)
}
