/** A block of events in memory, for what reads blocks. Texts are coded as a segment would have them: each value once. */
import type { BlockRecord, BlockTexts, EventBlock } from '../../src/core/eventBlock.ts'

export type PlainRow = Readonly<Record<string, string | number | null | readonly string[] | undefined>>

export function plainBlock(rows: readonly PlainRow[]): EventBlock {
  const texts = new Map<string, BlockTexts>()
  // One page for all records, as in a file: what is read of one must end with it.
  const page = Buffer.from(rows.map((row) => String(row.data ?? '')).join(''))
  let at = 0
  const records = rows.map((row): BlockRecord => {
    const text = String(row.data ?? '')
    const [start, end] = [at, at + Buffer.byteLength(text)]
    at = end
    return { bytes: page, start, end, text, isEscaped: text.includes('\\') }
  })
  const isNull = (column: string) => rows.every((row) => row[column] === null || row[column] === undefined)
  return {
    rows: rows.length,
    texts(column) {
      if (isNull(column)) return undefined
      const values: string[] = []
      const codes = Int32Array.from(rows, (row) => {
        const value = row[column]
        if (typeof value !== 'string') return -1
        const known = values.indexOf(value)
        return known < 0 ? values.push(value) - 1 : known
      })
      const made = texts.get(column) ?? { codes, count: values.length, text: (code) => values[code]! }
      texts.set(column, made)
      return made
    },
    numbers: (column) =>
      isNull(column)
        ? undefined
        : Float64Array.from(rows, (row) => (typeof row[column] === 'number' ? row[column] : Number.NaN)),
    bounds(column) {
      const numbers = rows.flatMap((row) => (typeof row[column] === 'number' ? [row[column]] : []))
      return numbers.length === 0 ? undefined : { least: Math.min(...numbers), most: Math.max(...numbers) }
    },
    weight: (column) => (isNull(column) ? 0 : column.length),
    record: (row) => records[row]!,
    value: (column, row) => rows[row]![column] ?? undefined,
  }
}
