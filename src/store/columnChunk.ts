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
  private readonly columns = new Map<string, Float64Array | TextColumn>()

  /** Takes the chunk: its memory is freed at once, for to the garbage collector it looks like a few bytes. */
  constructor(chunk: DuckDBDataChunk, names: readonly string[]) {
    this.rows = chunk.rowCount
    names.forEach((name, index) => {
      const vector = chunk.getColumnVector(index)
      const isNumber = 'items' in vector
      this.columns.set(
        name,
        isNumber ? numbersOf(vector as unknown as RawNumbers) : new TextColumn(vector as DuckDBBlobVector, this.rows),
      )
    })
    chunk.reset()
  }

  /** Of a DOUBLE column; NaN for NULL. */
  numbers(name: string): Float64Array {
    return this.columns.get(name) as Float64Array
  }

  /** Of a BLOB column. */
  texts(name: string): TextColumn {
    return this.columns.get(name) as TextColumn
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
      const bytes = vector.getItemBytes(first)!
      if (total > length) dataView.setUint32(first * HEADER_BYTES, length, true)
      // A text in place is a view of the header, which goes with the chunk.
      const isInPlace = total <= IN_PLACE_BYTES
      this.runs.push(isInPlace ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, total))
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

/** What the package keeps to itself. */
interface RawNumbers {
  readonly items: Float64Array
  readonly validity: { itemValid(row: number): boolean }
}

function numbersOf({ items, validity }: RawNumbers): Float64Array {
  const numbers = items.slice()
  for (let row = 0; row < numbers.length; row++) if (!validity.itemValid(row)) numbers[row] = Number.NaN
  return numbers
}

interface RawVector {
  readonly dataView: DataView
  readonly validity: { itemValid(row: number): boolean }
}

const HEADER_BYTES = 16
const POINTER_AT = 8
const IN_PLACE_BYTES = 12
const MAX_RUN_BYTES = 2 ** 26
