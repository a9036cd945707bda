/** What is said of a column's distinct values: each is looked at once, however many rows have it. */
import { NULL_TEXT, type TextColumn } from '../../core/columnBatch.ts'

/** `look` once per distinct value, as long as batches of a task bring the same ones. */
export function perValue<T>(look: (value: string) => T): (column: TextColumn) => readonly T[] {
  const known = new WeakMap<readonly string[], readonly T[]>()
  return ({ values }) => {
    let found = known.get(values)
    if (!found) {
      found = values.map(look)
      known.set(values, found)
    }
    return found
  }
}

/** How many rows of a batch have each distinct value, by its index. */
export function countsOf({ values, indexes }: TextColumn): Uint32Array {
  const counts = new Uint32Array(values.length)
  for (const index of indexes) if (index !== NULL_TEXT) counts[index]! += 1
  return counts
}

export function addCount<Key>(counts: Map<Key, number>, key: Key, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count)
}

/** Adds the counts of `other` to `one`, and answers it. */
export function mergeCounts<Key>(one: Map<Key, number>, other: ReadonlyMap<Key, number>): Map<Key, number> {
  for (const [key, count] of other) addCount(one, key, count)
  return one
}

/** The highest first, equal ones by name: the same for any order in which they were counted. */
export const byCount = (counts: ReadonlyMap<string, number>): [string, number][] =>
  [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))

/** An expression for one of these data types. */
export const dataTypeIn = (types: readonly string[]): string =>
  `data_type in (${types.map((type) => `'${type}'`).join(', ')})`

/** An option that names a label. */
export const LABEL = /^[A-Za-z0-9_]{1,64}$/
