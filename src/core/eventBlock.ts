/**
 * Events that lie together in a segment, column by column as they are stored: a text that repeats is there once, and
 * nothing is decoded before it is asked for.
 */
export interface EventBlock {
  readonly rows: number
  /** Of texts, by column. Undefined: NULL throughout. */
  texts(column: string): BlockTexts | undefined
  /** Of integers and times (microseconds), by column; NaN for NULL. Undefined: NULL throughout. */
  numbers(column: string): Float64Array | undefined
  /** Bounds of a column of integers, where they are known without reading it. */
  bounds(column: string): { readonly least: number; readonly most: number } | undefined
  /** Bytes that reading a column takes, about; 0: NULL throughout. */
  weight(column: string): number
  /** The record as written. Quickest for rows near the one before. */
  record(row: number): BlockRecord
  /** Of any column by its name, `tag` too, in one row; undefined for NULL. */
  value(column: string, row: number): string | number | readonly string[] | undefined
}

export interface BlockTexts {
  /** Of each row the number of its value, below `count`; -1 for NULL. */
  readonly codes: Int32Array
  readonly count: number
  /** Some values may be equal. */
  text(code: number): string
}

/** A text within the bytes of its neighbours. */
export interface BlockRecord {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  readonly text: string
  /** There is a backslash in it. */
  readonly isEscaped: boolean
}
