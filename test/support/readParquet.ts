/** Reads Parquet files with two readers that are not ours. Integers and times come as bigint, binary as Buffer. */
import { zstdDecompressSync } from 'node:zlib'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'

export type Value = bigint | string | Buffer | null
export type Row = Record<string, Value>

let connection: Promise<DuckDBConnection> | undefined

/** One query; `@file` in the text is the file. */
export async function duckdb(path: string, sql: string): Promise<Row[]> {
  connection ??= DuckDBInstance.create(':memory:', { threads: '2' }).then((instance) => instance.connect())
  const file = `'${path.replaceAll("'", "''")}'`
  const reader = await (await connection).runAndReadAll(sql.replaceAll('@file', file))
  const names = reader.columnNames()
  return reader.getRowsJS().map((row) => Object.fromEntries(row.map((value, i) => [names[i]!, plain(value)])))
}

/** Every row of the file; times as microseconds. */
export async function rowsByDuckdb(path: string): Promise<Row[]> {
  const schema = await duckdb(path, `DESCRIBE SELECT * FROM @file`)
  const columns = schema.map(({ column_name: name, column_type: type }) =>
    String(type).startsWith('TIMESTAMP') ? `epoch_us("${name}") AS "${name}"` : `"${name}"`,
  )
  return duckdb(path, `SELECT ${columns.join(', ')} FROM @file`)
}

export async function rowsByHyparquet(path: string): Promise<Row[]> {
  const rows = await parquetReadObjects({
    file: await asyncBufferFromFile(path),
    compressors: { ZSTD: (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes)) },
    parsers: { timestampFromMicroseconds: (microseconds: bigint) => microseconds },
    utf8: false,
  })
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)])))
}

export async function metadataByHyparquet(path: string) {
  return parquetMetadataAsync(await asyncBufferFromFile(path))
}

// --- internal ---

function plain(value: unknown): Value {
  if (value === null || value === undefined) return null
  if (value instanceof Uint8Array) return Buffer.from(value)
  if (typeof value === 'number') return BigInt(value)
  if (typeof value === 'boolean') return String(value)
  return value as Value
}
