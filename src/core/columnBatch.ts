/**
 * Rows of a segment by column, as plugins get them from the store. A text column holds its distinct values once: look at
 * each of them once, not at each row.
 */
export interface ColumnBatch {
  readonly rows: number
  /** Event ids. */
  readonly ids: Float64Array
  readonly columns: Readonly<Record<string, TextColumn | NumberColumn>>
}

export interface TextColumn {
  readonly kind: 'text'
  /** The same array in every batch of a task, where the column repeats; each value occurs in a row of the task. */
  readonly values: readonly string[]
  /** Per row an index into `values`; NULL is 0xffffffff. */
  readonly indexes: Uint32Array
}

export interface NumberColumn {
  readonly kind: 'number'
  /** Times in microseconds; NULL is NaN. */
  readonly values: Float64Array
}

/** In `TextColumn.indexes`. */
export const NULL_TEXT = 0xffff_ffff
