/**
 * A chunk of an answer of DuckDB, column by column, for answers of many rows: no object per row and no conversion of
 * what nobody asks for. Integers must be selected as DOUBLE (all of ours are safe), texts as `encode(…)`.
 *
 * Strings of a vector lie in DuckDB's memory as (length, 4 bytes of it, pointer), those of up to 12 bytes in place. Most
 * neighbours lie behind one another, and a run of them is copied by one call instead of one a string: that is the
 * greater part of the cost of reading records.
 */
import type { DuckDBBlobVector, DuckDBDataChunk } from '@duckdb/node-api'

export class ColumnChunk {
  readonly rows: number
  private readonly chunk: DuckDBDataChunk
  private readonly index: ReadonlyMap<string, number>
  private readonly numberColumns = new Map<string, Float64Array>()
  private readonly textColumns = new Map<string, TextColumn>()

  /** `index`: place of each column. */
  constructor(chunk: DuckDBDataChunk, index: ReadonlyMap<string, number>) {
    this.chunk = chunk
    this.rows = chunk.rowCount
    this.index = index
  }

  /** Of a DOUBLE column; NaN for NULL. */
  numbers(name: string): Float64Array {
    let column = this.numberColumns.get(name)
    if (!column) {
      const { items, validity } = this.chunk.getColumnVector(this.index.get(name)!) as unknown as RawNumbers
      column = items
      for (let row = 0; row < this.rows; row++) if (!validity.itemValid(row)) column[row] = Number.NaN
      this.numberColumns.set(name, column)
    }
    return column
  }

  /** Of a BLOB column. */
  texts(name: string): TextColumn {
    let column = this.textColumns.get(name)
    if (!column) {
      column = new TextColumn(this.chunk.getColumnVector(this.index.get(name)!) as DuckDBBlobVector, this.rows)
      this.textColumns.set(name, column)
    }
    return column
  }
}

export class TextColumn {
  /** Run of each row, and where it begins and ends there; run -1 for NULL. */
  private readonly runs: Buffer[] = []
  private readonly run: Int32Array
  private readonly start: Int32Array
  private readonly end: Int32Array

  constructor(vector: DuckDBBlobVector, rows: number) {
    this.run = new Int32Array(rows).fill(-1)
    this.start = new Int32Array(rows)
    this.end = new Int32Array(rows)
    // Its own copy of the string headers: what is changed here changes nothing of DuckDB's.
    const { dataView, validity } = vector as unknown as RawVector
    for (let row = 0; row < rows; ) {
      if (!validity.itemValid(row)) {
        row++
        continue
      }
      const first = row
      const length = dataView.getUint32(row * HEADER_BYTES, true)
      let total = length
      this.place(row++, 0, length)
      if (length > IN_PLACE_BYTES) {
        const address = dataView.getBigUint64(first * HEADER_BYTES + POINTER_AT, true)
        for (; row < rows && validity.itemValid(row); row++) {
          const next = dataView.getUint32(row * HEADER_BYTES, true)
          if (next <= IN_PLACE_BYTES || total + next > MAX_RUN_BYTES) break
          if (dataView.getBigUint64(row * HEADER_BYTES + POINTER_AT, true) !== address + BigInt(total)) break
          this.place(row, total, next)
          total += next
        }
        dataView.setUint32(first * HEADER_BYTES, total, true)
      }
      const { buffer, byteOffset } = vector.getItemBytes(first)!
      if (total > length) dataView.setUint32(first * HEADER_BYTES, length, true)
      this.runs.push(Buffer.from(buffer as ArrayBuffer, byteOffset, total))
    }
  }

  /** Undefined for NULL. */
  bytes(row: number): Buffer | undefined {
    return this.runs[this.run[row]!]?.subarray(this.start[row], this.end[row])
  }

  text(row: number): string | null {
    return this.runs[this.run[row]!]?.toString('utf8', this.start[row], this.end[row]) ?? null
  }

  private place(row: number, start: number, length: number): void {
    this.run[row] = this.runs.length
    this.start[row] = start
    this.end[row] = start + length
  }
}

// --- internal ---

/** What the package keeps to itself; both are copies of DuckDB's memory. */
interface RawNumbers {
  readonly items: Float64Array
  readonly validity: { itemValid(row: number): boolean }
}

interface RawVector {
  readonly dataView: DataView
  readonly validity: { itemValid(row: number): boolean }
}

const HEADER_BYTES = 16
const POINTER_AT = 8
const IN_PLACE_BYTES = 12
const MAX_RUN_BYTES = 2 ** 26
