/**
 * Which of many segments hold which of many keys: all-time roll-ups first, which most keys end at, then those of the
 * months, then the keysets of segments that no roll-up has. A damaged roll-up is passed over, its segments looked at one
 * by one, and its name told.
 */

import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { ColdtrailError } from '../core/errors.ts'
import { OBSERVABLE_TYPES, type ObservableType } from '../core/observables.ts'
import type { Keyset } from './keyset.ts'
import { ALL_TIME, lowerBound, Rollup, type RollupPlace } from './rollup.ts'
import {
  factsOf,
  isOf,
  type KeysetFacts,
  openFirstKeyset,
  type RollupFile,
  type RollupInput,
  type RollupList,
  rollupGroup,
} from './rollups.ts'

/** By observable type number: keys ascending and distinct. */
export type QueryKeys = ReadonlyMap<number, Float64Array>

export interface KeysetSearchOptions {
  readonly manifestDirectory: string
  readonly list: RollupList
  /** Looked at; no other segment is answered. */
  readonly segments: readonly RollupInput[]
  /** By group (rollupGroup): the same values have other keys in each. A group without any is not searched. */
  readonly queries: ReadonlyMap<string, QueryKeys>
  /** A segment of the group holds the key at this index. Each pair once; keys in no order. */
  readonly hit: (group: string, type: number, index: number, segment: number) => void
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

export interface KeysetSearchResult {
  /** Of every segment whose keyset could be read. */
  readonly facts: ReadonlyMap<number, KeysetFacts>
  /** Names of damaged roll-ups. */
  readonly damaged: readonly string[]
}

export async function searchKeysets(options: KeysetSearchOptions): Promise<KeysetSearchResult> {
  const { list, segments, queries, signal, onProgress } = options
  const wanted = new Map(segments.map((input) => [input.segment, input]))
  const facts = new Map<number, KeysetFacts>()
  for (const known of list.segments) if (wanted.has(known.segment)) facts.set(known.segment, known)
  const damaged: string[] = []
  const searched = new Set<number>()
  const read = async <T>(file: RollupFile, use: (rollup: Rollup) => T): Promise<T | undefined> => {
    signal?.throwIfAborted()
    await setImmediate()
    try {
      const rollup = new Rollup(join(options.manifestDirectory, file.name))
      try {
        if (isOf(rollup, file)) return use(rollup)
      } finally {
        rollup.close()
      }
    } catch (error) {
      if (!(error instanceof ColdtrailError && error.code === 'E_ROLLUP_CORRUPT')) throw error
    }
    damaged.push(file.name)
    return undefined
  }

  if (segments.length > DIRECT_SEGMENTS) {
    const months = list.files.filter(
      (file) => file.period !== ALL_TIME && file.segments.some((segment) => wanted.has(segment)),
    )
    let done = 0
    for (const [group, files] of Map.groupBy(months, rollupGroup)) {
      const keys = queries.get(group)
      if (!keys) continue
      const seen = await everSeen(
        list.files.filter((file) => file.period === ALL_TIME && rollupGroup(file) === group),
        keys,
        read,
      )
      for (const file of files) {
        onProgress?.(done, months.length)
        done += 1
        const isPruned = file.segments.every((segment) => seen.covered.has(segment))
        const hits = await read(file, (rollup) => monthHits(rollup, keys, isPruned ? seen.found : undefined, wanted))
        if (!hits) continue
        // Told only when the whole file was read: what was found in a damaged one is looked for again.
        for (const { type, indexes, at } of hits)
          for (let i = 0; i < indexes.length; i++) options.hit(group, type, indexes[i]!, at[i]!)
        for (const segment of file.segments) if (wanted.has(segment)) searched.add(segment)
      }
    }
  }

  const direct = segments.filter(({ segment }) => {
    const known = facts.get(segment)
    return !searched.has(segment) && !(known && !queries.has(rollupGroup(known)))
  })
  let done = 0
  for (const input of direct) {
    const { segment } = input
    if (done % 32 === 0) {
      signal?.throwIfAborted()
      onProgress?.(done, direct.length)
      await setImmediate()
    }
    done += 1
    const opened = openFirstKeyset(input)
    if (!opened) {
      facts.delete(segment)
      continue
    }
    const known = factsOf(segment, opened.keyset)
    facts.set(segment, known)
    const group = rollupGroup(known)
    const keys = queries.get(group)
    if (keys) {
      const isWhole = inKeyset(opened.keyset, keys, (type, index) => options.hit(group, type, index, segment))
      if (!isWhole) facts.delete(segment)
    }
  }
  onProgress?.(1, 1)
  return { facts, damaged }
}

/** Indexes in `queries` of the keys that both have. */
export function commonKeys(keys: Float64Array, queries: Float64Array, found: (index: number) => void): void {
  if (keys.length === 0) return
  const isFew = queries.length * 16 < keys.length
  let at = 0
  for (let i = 0; i < queries.length && at < keys.length; i++) {
    const query = queries[i]!
    if (isFew) at = lowerBound(keys, query)
    else {
      // The shorter steps over the longer one in jumps.
      let step = 1
      while (at + step < keys.length && keys[at + step]! < query) {
        at += step
        step *= 2
      }
      while (at < keys.length && keys[at]! < query) at++
      if (at < keys.length && keys[at]! > query) {
        const next = lowerBound(queries, keys[at]!)
        if (next > i) i = next - 1
        continue
      }
    }
    if (keys[at] === query) found(i)
  }
}

// --- internal ---

/** So few segments are opened themselves. */
const DIRECT_SEGMENTS = 8

interface Seen {
  /** Segments that the roll-ups have. */
  readonly covered: ReadonlySet<number>
  /** By type: indexes of the keys that any of them has, ascending. */
  readonly found: ReadonlyMap<number, Uint32Array>
}

async function everSeen(
  files: readonly RollupFile[],
  keys: QueryKeys,
  read: <T>(file: RollupFile, use: (rollup: Rollup) => T) => Promise<T | undefined>,
): Promise<Seen> {
  const covered = new Set<number>()
  const marks = new Map([...keys].map(([type, list]) => [type, new Uint8Array(list.length)]))
  for (const file of files) {
    const isRead = await read(file, (rollup) => {
      for (const [type, list] of keys) {
        const mark = marks.get(type)!
        rollup.probe(type, list, (index) => {
          mark[index] = 1
        })
      }
      return true
    })
    if (isRead) for (const segment of file.segments) covered.add(segment)
  }
  const found = new Map([...marks].map(([type, mark]) => [type, indexesOf(mark)]))
  return { covered, found }
}

function indexesOf(mark: Uint8Array): Uint32Array {
  let count = 0
  for (let i = 0; i < mark.length; i++) count += mark[i]!
  const indexes = new Uint32Array(count)
  let at = 0
  for (let i = 0; i < mark.length; i++) if (mark[i] === 1) indexes[at++] = i
  return indexes
}

interface TypeHits {
  readonly type: number
  readonly indexes: readonly number[]
  /** Segments, beside their indexes. */
  readonly at: readonly number[]
}

/** `among`: only these keys can be there. */
function monthHits(
  rollup: Rollup,
  keys: QueryKeys,
  among: ReadonlyMap<number, Uint32Array> | undefined,
  wanted: ReadonlyMap<number, unknown>,
): TypeHits[] {
  const hits: TypeHits[] = []
  for (const [type, all] of keys) {
    const chosen = among?.get(type)
    const list = chosen ? Float64Array.from(chosen, (index) => all[index]!) : all
    const places: { index: number; place: RollupPlace }[] = []
    rollup.probe(type, list, (index, place) => places.push({ index: chosen ? chosen[index]! : index, place }))
    const indexes: number[] = []
    const at: number[] = []
    for (const { index, place } of places)
      for (const segment of rollup.segmentsAt(place))
        if (wanted.has(segment)) {
          indexes.push(index)
          at.push(segment)
        }
    if (indexes.length > 0) hits.push({ type, indexes, at })
  }
  return hits
}

const TYPE_NAMES = new Map(Object.entries(OBSERVABLE_TYPES).map(([name, type]) => [type as number, name]))

/** False when a block of it is damaged: what was found is true, what was not found is not known. */
function inKeyset(keyset: Keyset, queries: QueryKeys, found: (type: number, index: number) => void): boolean {
  try {
    for (const [type, keys] of queries) {
      const name = TYPE_NAMES.get(type) as ObservableType
      const count = keyset.sections.find((section) => section.name === name)?.count ?? 0
      if (count === 0) continue
      if (keys.length * 64 < count) {
        for (let i = 0; i < keys.length; i++) if (keyset.has(name, keys[i]!)) found(type, i)
      } else commonKeys(keyset.keys(name)!, keys, (index) => found(type, index))
    }
    return true
  } catch (error) {
    if (error instanceof ColdtrailError && error.code === 'E_KEYSET_CORRUPT') return false
    throw error
  }
}
