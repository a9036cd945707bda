/**
 * Roll-ups against the keysets that they were made of. Their checksums tell damage and no intent, and a key that one lacks
 * would prove an absence that is none: so every pair of key and segment is compared, as sums of a mix that nobody can
 * foretell, and every key of a month is looked for in those of all time.
 */
import { randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { OBSERVABLE_TYPES } from '../core/observables.ts'
import { throwIfAborted } from './duckdb.ts'
import { keysetCopyName } from './history.ts'
import type { Keyset } from './keyset.ts'
import { ALL_TIME, lowerBound, Rollup, UPPER_WORDS } from './rollup.ts'
import { factsOf, isOf, openFirstKeyset, ROLLUP_LIST, type RollupFile, readRollupList, rollupGroup } from './rollups.ts'

export interface RollupFault {
  /** In the history of the collection. */
  readonly name: string
  readonly fault: 'missing' | 'damaged' | 'inconsistent'
  readonly detail: string
}

/** `sealed`: digests of keysets by segment, as links have them. What has no keyset to compare with is passed over. */
export function* rollupFaults(
  manifestDirectory: string,
  sealed: ReadonlyMap<number, string>,
  signal?: AbortSignal,
): Generator<RollupFault> {
  const list = readRollupList(manifestDirectory)
  if (list.files.length === 0 && list.next === 1 && existsSync(join(manifestDirectory, ROLLUP_LIST)))
    yield { name: ROLLUP_LIST, fault: 'damaged', detail: `it is no list of roll-ups; ${MADE_ANEW}` }
  const keysetOf = (segment: number): Keyset | undefined => {
    const sha256 = sealed.get(segment)
    if (sha256 === undefined) return undefined
    return openFirstKeyset({ paths: [join(manifestDirectory, keysetCopyName(segment))], sha256 })?.keyset
  }
  for (const known of list.segments) {
    const keyset = keysetOf(known.segment)
    if (keyset && !isSame(known, factsOf(known.segment, keyset)))
      yield {
        ...{ name: ROLLUP_LIST, fault: 'inconsistent' },
        detail: `of segment ${known.segment} it does not say what the keyset does; ${REMOVE}`,
      }
  }
  const mix = new Mix()
  const good: RollupFile[] = []
  for (const file of list.files) {
    const { name } = file
    let wrong: string | undefined
    try {
      wrong = check(join(manifestDirectory, name), file, (rollup) => {
        if (rollup.hasPostings) return wrongSegment(rollup, keysetOf, mix, signal)
        for (const type of rollup.types) rollup.keysBetween(type, 0, UPPER_WORDS)
        return undefined
      })
    } catch (error) {
      if (!(error instanceof ColdtrailError && error.code === 'E_ROLLUP_CORRUPT')) throw error
      const fault = existsSync(join(manifestDirectory, name)) ? 'damaged' : 'missing'
      yield { name, fault, detail: `${error.values.reason}; ${MADE_ANEW}` }
      continue
    }
    if (wrong !== undefined) yield { name, fault: 'inconsistent', detail: `${wrong}; ${REMOVE}` }
    else good.push(file)
  }
  for (const files of Map.groupBy(good, rollupGroup).values()) yield* lacking(manifestDirectory, files, signal)
}

// --- internal ---

const MADE_ANEW = 'the next hunt makes it anew from the keysets'
const REMOVE = `remove ${ROLLUP_LIST}, and the next hunt makes all of them anew from the keysets`
/** Upper words looked at at once, so that the keys of all time never lie in memory together. */
const WORDS_AT_ONCE = 1_024

const TYPE_NAMES = Object.entries(OBSERVABLE_TYPES)

const isSame = (a: object, b: object): boolean => sortedJson(a) === sortedJson(b)
const sortedJson = (value: object): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null ? Object.fromEntries(Object.entries(inner).sort()) : inner,
  )

function check<T>(path: string, file: RollupFile, run: (rollup: Rollup) => T): T | string {
  const rollup = new Rollup(path)
  try {
    return isOf(rollup, file) ? run(rollup) : 'it is not the one that the list means'
  } finally {
    rollup.close()
  }
}

/** Says which segment has other keys in a roll-up than in its keyset; undefined when none has. */
function wrongSegment(
  rollup: Rollup,
  keysetOf: (segment: number) => Keyset | undefined,
  mix: Mix,
  signal: AbortSignal | undefined,
): string | undefined {
  const { segments } = rollup.head
  const [sums, others] = [new Uint32Array(segments.length), new Uint32Array(segments.length)]
  const add = (type: number, upper: number, low: number, place: number): void => {
    mix.of(type, upper, low)
    sums[place]! += mix.one
    others[place]! += mix.other
  }
  for (const type of rollup.types) {
    throwIfAborted(signal)
    rollup.eachPair(type, 0, UPPER_WORDS, (upper, low, place) => add(type, upper, low, place))
  }
  for (const [place, segment] of segments.entries()) {
    throwIfAborted(signal)
    const keyset = keysetOf(segment)
    if (!keyset) continue
    if (rollupGroup(keyset) !== rollupGroup(rollup.head)) return `segment ${segment} has keys of another epoch`
    const [sum, other] = [sums[place], others[place]]
    sums[place] = 0
    others[place] = 0
    for (const [name, type] of TYPE_NAMES)
      for (const key of keyset.keys(name as keyof typeof OBSERVABLE_TYPES) ?? [])
        add(type, Math.floor(key / 2 ** 32), key % 2 ** 32, place)
    if (sums[place] !== sum || others[place] !== other)
      return `it does not have the keys of segment ${segment} as its keyset has them`
  }
  return undefined
}

/** Keys of months that the roll-ups of all time, which are asked first, do not have. */
function* lacking(
  manifestDirectory: string,
  files: readonly RollupFile[],
  signal: AbortSignal | undefined,
): Generator<RollupFault> {
  const allTime = files.filter(({ period }) => period === ALL_TIME)
  const covered = new Set(allTime.flatMap(({ segments }) => segments))
  const months = files.filter(
    ({ period, segments }) => period !== ALL_TIME && segments.every((segment) => covered.has(segment)),
  )
  if (allTime.length === 0 || months.length === 0) return
  const opened = new Map<RollupFile, Rollup>()
  try {
    for (const file of [...allTime, ...months]) opened.set(file, new Rollup(join(manifestDirectory, file.name)))
    for (const [, type] of TYPE_NAMES)
      for (let upper = 0; upper < UPPER_WORDS; upper += WORDS_AT_ONCE) {
        throwIfAborted(signal)
        const keys = (file: RollupFile): Float64Array =>
          opened.get(file)!.keysBetween(type, upper, upper + WORDS_AT_ONCE)
        const everSeen = allTime.map(keys)
        for (const month of months) {
          const lost = keys(month).find((key) => !everSeen.some((seen) => holds(seen, key)))
          if (lost === undefined) continue
          const detail = `it lacks keys that ${month.name} has; ${REMOVE}`
          return yield { name: allTime[0]!.name, fault: 'inconsistent', detail }
        }
      }
  } finally {
    for (const rollup of opened.values()) rollup.close()
  }
}

const holds = (keys: Float64Array, key: number): boolean => keys[lowerBound(keys, key)] === key

/** 64 bits of a key and its type, in two words; seeded anew each time, so that no file can be made to fit. */
class Mix {
  one = 0
  other = 0
  private readonly seeds = Array.from({ length: 4 }, () => randomInt(2 ** 32))

  of(type: number, upper: number, low: number): void {
    const [a, b, c, d] = this.seeds as [number, number, number, number]
    const high = (upper << 8) | type
    this.one = scrambled(scrambled(low ^ a, high ^ b), low ^ c)
    this.other = scrambled(scrambled(high ^ c, low ^ d), high ^ a)
  }
}

/** The end of MurmurHash3, over two words. */
function scrambled(word: number, second: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x85eb_ca6b)
  h = Math.imul(h ^ (h >>> 13) ^ second, 0xc2b2_ae35)
  return (h ^ (h >>> 16)) >>> 0
}
