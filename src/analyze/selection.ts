/** Which events of a piece are looked at: the run's expression and times, then a plugin's own. */
import { BlockMatcher } from '../query/blockMatcher.ts'
import { compile, type Expression } from '../query/expression.ts'
import { intersection, NONE, normal, type RowSet, rowsWhere } from '../query/rowSet.ts'
import type { SegmentBlock } from '../store/eventBlocks.ts'
import type { Selection } from './tasks.ts'

export interface CompiledSelection {
  /** Rows within the times asked for; an event without a time is in no range. Undefined: all. */
  readonly slice: ((block: SegmentBlock) => RowSet) | undefined
  /** Of these, what the highest id and the expression leave. Undefined: all. */
  readonly rest: ((block: SegmentBlock, within: RowSet) => RowSet) | undefined
  /** Data types that a match can have; undefined: any. */
  readonly dataTypes: readonly string[] | undefined
}

export function compileSelection({ expression, mode, now, time1, time2, lastId }: Selection): CompiledSelection {
  const compiled = expression.trim() === '' ? undefined : compile(expression, { mode, now })
  const [from, to] = [time1 ?? -Infinity, time2 ?? Infinity]
  const matching = compiled && matchingRows(compiled)
  const upTo = lastId ?? Infinity
  return {
    slice: time1 === null && time2 === null ? undefined : (block) => rowsBetween(block, 'time', from, to),
    rest:
      lastId === null && !matching
        ? undefined
        : (block, within) => {
            const known = lastId === null ? within : intersection(within, rowsBetween(block, 'id', -Infinity, upTo))
            return matching ? matching(block, known) : known
          },
    dataTypes: compiled && dataTypesOf(compiled),
  }
}

/** The rows that an expression matches, among those given. */
export function matchingRows(compiled: Expression): (block: SegmentBlock, within: RowSet) => RowSet {
  const matcher = new BlockMatcher([compiled])
  return (block, within) => {
    let found: RowSet = NONE
    matcher.match(block, within, [0], (_question, rows) => {
      const set = new Uint32Array((block.rows + 31) >> 5)
      for (const row of rows) set[row >> 5]! |= 1 << (row & 31)
      found = normal(set, block.rows)
    })
    return found
  }
}

/** What every match has as `data_type`; undefined: anything. */
export function dataTypesOf(compiled: Expression): readonly string[] | undefined {
  const [first, ...others] = compiled
    .needles()
    .filter(({ column }) => column === 'data_type')
    .map(({ values }) => values.map(String))
  return first?.filter((value) => others.every((values) => values.includes(value)))
}

export function common(
  one: readonly string[] | undefined,
  other: readonly string[] | undefined,
): readonly string[] | undefined {
  return one === undefined ? other : other === undefined ? one : one.filter((value) => other.includes(value))
}

// --- internal ---

function rowsBetween(block: SegmentBlock, column: 'time' | 'id', from: number, to: number): RowSet {
  const values = block.numbers(column)
  return values ? rowsWhere(block.rows, (row) => values[row]! >= from && values[row]! <= to) : NONE
}
