/** Small tables written row by row: sessions, rejects, column values. Text columns that repeat get a dictionary. */
import { Interner } from '../../core/interner.ts'
import { ByteWriter } from './byteWriter.ts'
import { BytesPageBuilder, type ParquetColumn, type ParquetFileWriter, type RowGroupDictionary } from './fileWriter.ts'

export type Cell = number | string | Buffer | null

export class RowTable {
  private readonly columns: readonly ParquetColumn[]
  private cells: Cell[][]

  constructor(columns: readonly ParquetColumn[]) {
    this.columns = columns
    this.cells = columns.map(() => [])
  }
  get rows(): number {
    return this.cells[0]!.length
  }
  add(row: readonly Cell[]): void {
    for (let i = 0; i < row.length; i++) this.cells[i]!.push(row[i]!)
  }
  /** Writes the rows held as one row group. */
  flush(file: ParquetFileWriter): void {
    const { rows } = this
    if (rows === 0) return
    this.columns.forEach((column, index) => {
      const cells = this.cells[index]!
      if (column.type === 'int' || column.type === 'time') {
        const numbers = Float64Array.from(cells, (cell) => (cell === null ? Number.NaN : (cell as number)))
        file.ints(numbers, rows)
      } else writeBytes(file, column, cells)
    })
    file.endRowGroup(rows)
    this.cells = this.columns.map(() => [])
  }
}

/** All interned values as one Parquet dictionary. */
export function dictionaryOf(interner: Interner): RowGroupDictionary {
  const plain = new ByteWriter()
  let least: Buffer = Buffer.alloc(0)
  let most: Buffer = Buffer.alloc(0)
  for (let id = 0; id < interner.count; id++) {
    const value = Buffer.from(interner.bytes(id))
    plain.uint32(value.length)
    plain.bytes(value)
    if (id === 0 || Buffer.compare(value, least) < 0) least = value
    if (id === 0 || Buffer.compare(value, most) > 0) most = value
  }
  return { plain: plain.view(), count: interner.count, least, most }
}

// --- internal ---

function writeBytes(file: ParquetFileWriter, column: ParquetColumn, cells: readonly Cell[]): void {
  const values = cells.map((cell) => (typeof cell === 'string' ? Buffer.from(cell) : (cell as Buffer | null)))
  const interner = new Interner()
  const ids = Int32Array.from(values, (value) => (value ? interner.intern(value, 0, value.length) : -1))
  if (interner.count * 2 > values.length && interner.count > 1) {
    const pages = new BytesPageBuilder(column.nullable)
    for (const value of values) {
      if (value) pages.add(value, 0, value.length)
      else pages.addNull()
    }
    const { pages: taken, nulls } = pages.take()
    file.bytes(taken, values.length, nulls)
    return
  }
  file.dictionary(ids, values.length, dictionaryOf(interner))
}
