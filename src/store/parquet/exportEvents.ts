/** Events of an answer as one Parquet file, with the columns' types and field ids; others as text. */
import { COLUMN_BY_NAME } from '../../core/columns.ts'
import type { EventRow, Search } from '../search.ts'
import type { ParquetColumn } from './fileWriter.ts'
import { type Cell, writeRowFile } from './rowFile.ts'

/** Returns the number of events written. An existing file is replaced once the new one is whole. */
export async function exportEvents({ columns, rows }: Pick<Search, 'columns' | 'rows'>, path: string): Promise<number> {
  const declared = columns.map((name, at): ParquetColumn => {
    const { fieldId = OTHER_FIELD_IDS + at, type = 'text' } = COLUMN_BY_NAME.get(name) ?? {}
    return { name, fieldId, type: type === 'ip' ? 'text' : type, nullable: true }
  })
  async function* cells(): AsyncGenerator<Cell[]> {
    for await (const row of rows) yield declared.map(({ name, type }) => cell(row[name] ?? null, type))
  }
  return writeRowFile(path, declared, cells())
}

// --- internal ---

/** Ids of columns that are not events' own; beyond those of any event column. */
const OTHER_FIELD_IDS = 10_000

/** A list is text, its values joined by commas. */
function cell(value: EventRow[string], type: ParquetColumn['type']): string | number | null {
  return value === null || (type !== 'text' && typeof value === 'number') ? value : String(value)
}
