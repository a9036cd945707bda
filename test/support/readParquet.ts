/** Reads Parquet files with two readers that are not ours, and with ours. Integers and times come as bigint, binary as Buffer. */
import { zstdDecompressSync } from 'node:zlib'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { type CodedTexts, ParquetFileReader } from '../../src/store/parquet/fileReader.ts'

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

/** By our own reader: every row group, by rows and, where a column allows it, by pages. */
export function rowsByReader(path: string): Row[] {
  const reader = new ParquetFileReader(path)
  try {
    return reader.groups.flatMap(({ rows }, group) => {
      const columns = reader.columns.map(({ name, isNumber }): [string, Value[]] => {
        if (!isNumber) return [name, textCells(reader.texts(group, name)!)]
        return [name, [...reader.numbers(group, name)!].map((value) => (Number.isNaN(value) ? null : BigInt(value)))]
      })
      return Array.from({ length: rows }, (_, row) =>
        Object.fromEntries(columns.map(([name, cells]) => [name, cells[row]!])),
      )
    })
  } finally {
    reader.close()
  }
}

/** Bytes of each row. */
export const textCells = ({ values, codes }: CodedTexts): (Buffer | null)[] =>
  [...codes].map((code) => (code < 0 ? null : values.bytes.subarray(values.starts[code], values.ends[code])))

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
