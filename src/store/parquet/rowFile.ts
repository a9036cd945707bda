/** One Parquet file from rows of cells, as they come. */
import { createDurableFile } from '../../platform/files.ts'
import { type ParquetColumn, ParquetFileWriter } from './fileWriter.ts'
import { RowTable } from './rowTable.ts'

export type Cell = Parameters<RowTable['add']>[0][number]

const ROW_GROUP = 50_000

/** Returns the number of rows. An existing file is replaced once the new one is whole. `facts`: its metadata. */
export async function writeRowFile(
  path: string,
  columns: readonly ParquetColumn[],
  rows: AsyncIterable<readonly Cell[]>,
  facts: Readonly<Record<string, string>> = {},
): Promise<number> {
  const file = createDurableFile(path)
  let count = 0
  try {
    const parquet = new ParquetFileWriter(file, columns, facts)
    const table = new RowTable(columns)
    for await (const row of rows) {
      table.add(row)
      count += 1
      if (table.rows === ROW_GROUP) table.flush(parquet)
    }
    table.flush(parquet)
    parquet.finish()
    file.publish()
  } catch (error) {
    file.discard()
    throw error
  }
  return count
}
