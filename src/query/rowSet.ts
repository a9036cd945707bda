/** Sets of rows of a block, a bit each. `NONE` and `ALL` stand for the two that need no memory. */
export const NONE = 0
export const ALL = 1
export type RowSet = typeof NONE | typeof ALL | Uint32Array

export const emptySet = (rows: number): Uint32Array => new Uint32Array((rows + 31) >> 5)

export const has = (set: RowSet, row: number): boolean =>
  typeof set === 'number' ? set === ALL : ((set[row >> 5]! >>> (row & 31)) & 1) === 1

/** Bits behind the last row are none of the set's. */
export function complement(set: RowSet, rows: number): RowSet {
  if (typeof set === 'number') return set === ALL ? NONE : ALL
  const other = new Uint32Array(set.length)
  for (let i = 0; i < set.length; i++) other[i] = ~set[i]!
  if (rows & 31) other[set.length - 1]! &= 2 ** (rows & 31) - 1
  return normal(other, rows)
}

export function intersection(one: RowSet, other: RowSet): RowSet {
  if (one === NONE || other === NONE) return NONE
  if (one === ALL) return other
  if (other === ALL) return one
  const both = new Uint32Array(one.length)
  let any = 0
  for (let i = 0; i < both.length; i++) any |= both[i] = one[i]! & other[i]!
  return any === 0 ? NONE : both
}

export function union(one: RowSet, other: RowSet): RowSet {
  if (one === ALL || other === ALL) return ALL
  if (one === NONE) return other
  if (other === NONE) return one
  const either = new Uint32Array(one.length)
  for (let i = 0; i < either.length; i++) either[i] = one[i]! | other[i]!
  return either
}

export function difference(one: RowSet, other: RowSet, rows: number): RowSet {
  return intersection(one, complement(other, rows))
}

export function sizeOf(set: RowSet, rows: number): number {
  if (typeof set === 'number') return set === ALL ? rows : 0
  let size = 0
  for (let i = 0; i < set.length; i++) {
    let word = set[i]!
    word -= (word >>> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333)
    size += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
  }
  return size
}

/** The rows in order. */
export function rowsOf(set: RowSet, rows: number): Uint32Array {
  const found = new Uint32Array(sizeOf(set, rows))
  if (typeof set === 'number') {
    for (let row = 0; row < found.length; row++) found[row] = row
    return found
  }
  let at = 0
  for (let i = 0; i < set.length; i++)
    for (let word = set[i]!; word !== 0; word &= word - 1) found[at++] = (i << 5) + 31 - Math.clz32(word & -word)
  return found
}

/** Rows [first, last]. */
export function span(first: number, last: number, rows: number): RowSet {
  if (first <= 0 && last >= rows - 1) return ALL
  const set = emptySet(rows)
  for (let row = Math.max(0, first); row <= Math.min(last, rows - 1); row++) set[row >> 5]! |= 1 << (row & 31)
  return normal(set, rows)
}

/** Of all rows for which a function of the row holds. */
export function rowsWhere(rows: number, test: (row: number) => boolean): RowSet {
  const set = emptySet(rows)
  for (let row = 0, word = 0; row < rows; word++) {
    let bits = 0
    for (const end = Math.min(row + 32, rows); row < end; row++) if (test(row)) bits |= 1 << (row & 31)
    set[word] = bits
  }
  return normal(set, rows)
}

/** Of all rows whose number is marked: `marks[0]` is that of -1, `marks[1]` of 0, …; 1 or 0. */
export function rowsMarked(numbers: Int32Array, marks: Uint8Array): RowSet {
  const rows = numbers.length
  const set = emptySet(rows)
  for (let row = 0, word = 0; row < rows; word++) {
    let bits = 0
    for (const end = Math.min(row + 32, rows); row < end; row++) bits |= marks[numbers[row]! + 1]! << (row & 31)
    set[word] = bits
  }
  return normal(set, rows)
}

/** A set of bits, with NONE and ALL told. */
export function normal(set: Uint32Array, rows: number): RowSet {
  const size = sizeOf(set, rows)
  return size === 0 ? NONE : size === rows ? ALL : set
}
