/** Where events hold hashes of files, and what gathers them. */
import { z } from 'zod'
import type { TextColumn } from '../../../core/columnBatch.ts'
import { NULL_TEXT } from '../../../core/columnBatch.ts'
import { normalize } from '../../../core/observables.ts'
import type { FoldPlugin, ValueHits } from '../../plugin.ts'
import { LABEL, perValue } from '../distinctValues.ts'

export type HashType = 'md5' | 'sha1' | 'sha256'

/** That of the event, and that of the file it is about in a timeline. */
export const hashColumns = (type: HashType): readonly string[] => ['file_hash', `data.${type}_hash`]

/** The canonical form of a value that is such a hash. */
export const hashOf = (type: HashType, value: string): string | undefined => normalize(type, value)

export const labelOption = (normal: string) =>
  z.string().regex(LABEL, 'letters, digits and _').default(normal).describe('Label of the events.')

export const eventsOption = (normal: string) =>
  z
    .string()
    .default(normal)
    .describe('Expression: events whose hashes are looked up; empty for all. Every event of a hash is labelled.')

/** Values as events write them, by column: bounded by distinct values. */
export type HashValues = Map<string, Set<string>>

/** Gathers the distinct hashes of events; what `finish` finds out about them is for every event that has them. */
export function hashFold(
  type: HashType,
  events: string,
  finish: FoldPlugin<HashValues>['finish'],
): FoldPlugin<HashValues> {
  const columns = hashColumns(type)
  const isHash = perValue((value) => hashOf(type, value) !== undefined)
  return {
    shape: 'fold',
    columns,
    ...(events.trim() !== '' && { where: events }),
    empty: () => new Map(),
    add(state, batch) {
      for (const name of columns) {
        const column = batch.columns[name] as TextColumn
        const wanted = isHash(column)
        const held = state.get(name) ?? new Set()
        for (const index of column.indexes) if (index !== NULL_TEXT && wanted[index]) held.add(column.values[index]!)
        if (held.size > 0) state.set(name, held)
      }
      return state
    },
    merge(one, other) {
      for (const [name, values] of other) {
        const held = one.get(name)
        if (held) for (const value of values) held.add(value)
        else one.set(name, values)
      }
      return one
    },
    finish,
  }
}

/** Canonical hashes of all columns, sorted: the same however events were split. */
export function distinctHashes(type: HashType, state: HashValues): string[] {
  const hashes = new Set<string>()
  for (const values of state.values()) for (const value of values) hashes.add(hashOf(type, value)!)
  return [...hashes].sort()
}

/** What labels every event of the hashes that an answer gave a label. */
export function hitsByLabel(
  type: HashType,
  state: HashValues,
  events: string,
  labelOf: (hash: string) => string | undefined,
): ValueHits[] {
  return [...state].flatMap(([column, values]) => {
    const byLabel = new Map<string, string[]>()
    for (const value of values) {
      const label = labelOf(hashOf(type, value)!)
      if (label === undefined) continue
      const found = byLabel.get(label)
      if (found) found.push(value)
      else byLabel.set(label, [value])
    }
    return [...byLabel].map(([label, found]) => ({
      ...{ column, values: found.sort(), label, rule: '' },
      ...(events.trim() !== '' && { where: events }),
    }))
  })
}
