/**
 * Events of a piece of a segment as batches of columns, as plugins get them: numbers as they are, texts as indexes into
 * the distinct values of the whole piece, so that no string is made twice. A text that does not repeat (the record
 * itself) comes row by row.
 */
import type { ColumnBatch, NumberColumn, TextColumn } from '../core/columnBatch.ts'
import { NULL_TEXT } from '../core/columnBatch.ts'
import { COLUMN_BY_NAME } from '../core/columns.ts'
import type { BlockTexts } from '../core/eventBlock.ts'
import { type RowSet, rowsOf, sizeOf } from '../query/rowSet.ts'
import type { BlockPlace, SegmentBlock } from './eventBlocks.ts'

export interface PlacedBatch {
  readonly batch: ColumnBatch
  /** Of each event its row in the segment. */
  readonly rowNumbers: Float64Array
  /** First and last of them. */
  readonly first: number
  readonly last: number
}

/** Some rows of a block. */
export interface SelectedRows {
  readonly place: BlockPlace
  readonly rows: RowSet
}

/** Names that `columnBatches` takes: columns of events, and places in their record as `data.<path>`. */
export const isBatchColumn = (name: string): boolean =>
  (COLUMN_BY_NAME.has(name) && name !== 'id') || placeOf(name) !== undefined

/** Texts of a column or of a place in the record; undefined: NULL throughout. */
export function textsOf(block: SegmentBlock, name: string, rows: RowSet): BlockTexts | undefined {
  const place = placeOf(name)
  return place ? block.place(place, rows) : block.texts(name)
}

/**
 * Batches of at most `batchRows` rows, in order of rows. Memory: indexes of the whole piece and its distinct values; of
 * texts that do not repeat, one batch.
 */
export function* columnBatches(
  selected: readonly SelectedRows[],
  columns: readonly string[],
  batchRows: number,
): Generator<PlacedBatch> {
  const size = selected.reduce((sum, { place, rows }) => sum + sizeOf(rows, place.rows), 0)
  const streamed = columns.filter((name) => COLUMN_BY_NAME.get(name)?.encoding === 'bytes')
  const held = columns.filter((name) => !streamed.includes(name)).map((name) => heldColumn(name, size))
  const ids = new Float64Array(size)
  const rowNumbers = new Float64Array(size)
  let at = 0
  for (const { place, rows } of selected) {
    const block = place.open()
    const list = rowsOf(rows, block.rows)
    for (let i = 0; i < list.length; i++) {
      ids[at + i] = block.ids[list[i]!]!
      rowNumbers[at + i] = block.first + list[i]!
    }
    for (const column of held) column.take(block, rows, list, at)
    at += list.length
  }
  const stream = new TextStream(selected, streamed)
  for (at = 0; at < size; at += batchRows) {
    const end = Math.min(at + batchRows, size)
    const parts: Record<string, TextColumn | NumberColumn> = stream.take(end - at)
    for (const column of held) parts[column.name] = column.slice(at, end)
    const own = rowNumbers.subarray(at, end)
    yield {
      batch: { rows: end - at, ids: ids.subarray(at, end), columns: parts },
      ...{ rowNumbers: own, first: own[0]!, last: own[own.length - 1]! },
    }
  }
}

// --- internal ---

/** The path of `data.<path>`. */
function placeOf(name: string): readonly string[] | undefined {
  return /^data(\.[^.\s]+)+$/.test(name) ? name.split('.').slice(1) : undefined
}

interface HeldColumn {
  readonly name: string
  take(block: SegmentBlock, rows: RowSet, list: Uint32Array, at: number): void
  slice(at: number, end: number): TextColumn | NumberColumn
}

function heldColumn(name: string, size: number): HeldColumn {
  const type = COLUMN_BY_NAME.get(name)?.type
  return type === 'int' || type === 'time' ? numberColumn(name, size) : textColumn(name, size)
}

function numberColumn(name: string, size: number): HeldColumn {
  const values = new Float64Array(size)
  return {
    name,
    take(block, _rows, list, at) {
      const own = block.numbers(name)
      if (!own) values.fill(Number.NaN, at, at + list.length)
      else if (list.length === own.length) values.set(own, at)
      else for (let i = 0; i < list.length; i++) values[at + i] = own[list[i]!]!
    },
    slice: (at, end) => ({ kind: 'number', values: values.subarray(at, end) }),
  }
}

/** Distinct values in the order in which rows have them. */
function textColumn(name: string, size: number): HeldColumn {
  const indexes = new Uint32Array(size)
  const values: string[] = []
  const known = new Map<string, number>()
  return {
    name,
    take(block, rows, list, at) {
      const texts = textsOf(block, name, rows)
      if (!texts) {
        indexes.fill(NULL_TEXT, at, at + list.length)
        return
      }
      const { codes } = texts
      const places = new Int32Array(texts.count).fill(-1)
      for (let i = 0; i < list.length; i++) {
        const code = codes[list[i]!]!
        if (code < 0) {
          indexes[at + i] = NULL_TEXT
          continue
        }
        let place = places[code]!
        if (place < 0) {
          const text = texts.text(code)
          const found = known.get(text)
          place = found ?? values.push(text) - 1
          if (found === undefined) known.set(text, place)
          places[code] = place
        }
        indexes[at + i] = place
      }
    },
    slice: (at, end) => ({ kind: 'text', values, indexes: indexes.subarray(at, end) }),
  }
}

/** Texts that do not repeat, so many rows at a time. */
class TextStream {
  private readonly selected: readonly SelectedRows[]
  private readonly names: readonly string[]
  private next = 0
  private block: SegmentBlock | undefined
  private list: Uint32Array = new Uint32Array(0)
  private at = 0

  constructor(selected: readonly SelectedRows[], names: readonly string[]) {
    this.selected = selected
    this.names = names
  }

  take(rows: number): Record<string, TextColumn> {
    if (this.names.length === 0) return {}
    const values = this.names.map((): string[] => [])
    const indexes = this.names.map(() => new Uint32Array(rows))
    for (let row = 0; row < rows; row++) {
      while (this.at === this.list.length) this.turn()
      const own = this.list[this.at++]!
      this.names.forEach((name, i) => {
        const text = this.block!.value(name, own)
        indexes[i]![row] = typeof text === 'string' ? values[i]!.push(text) - 1 : NULL_TEXT
      })
    }
    return Object.fromEntries(
      this.names.map((name, i) => [name, { kind: 'text', values: values[i]!, indexes: indexes[i]! }]),
    )
  }

  private turn(): void {
    const { place, rows } = this.selected[this.next++]!
    this.block = place.open()
    this.list = rowsOf(rows, this.block.rows)
    this.at = 0
  }
}
