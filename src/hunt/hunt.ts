/**
 * A hunt: indicators against the keysets of every segment in range, wherever the data are.
 *
 *     segments -> keys -> roll-ups and keysets -> verdicts
 *
 * `absent` of an indicator is said only where every covering segment has a keyset that is complete for its type, read with
 * its key, and none has it; whatever is not proved is `unknown`, with its reasons.
 */
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { MICROSECONDS_PER_DAY } from '../core/keyDay.ts'
import type { Log } from '../core/log.ts'
import { EXTRACTOR, NON_ASCII_MARK, OBSERVABLE_TYPES } from '../core/observables.ts'
import { sipHash48, sipKey } from '../core/sipHash.ts'
import type { Catalog, SegmentRow } from '../store/catalog.ts'
import { heldPath, isLocal } from '../store/heldFile.ts'
import { keysetCopyName } from '../store/history.ts'
import type { KeysetKey } from '../store/keysetKeys.ts'
import { type KeysetSearchResult, searchKeysets } from '../store/keysetSearch.ts'
import {
  forgetRollups,
  type KeysetFacts,
  type RollupInput,
  type RollupList,
  readRollupList,
  rollupGroup,
  updateRollups,
} from '../store/rollups.ts'
import { distinct, hashesOf, type ObservableHashes, queriesOf } from './hashes.ts'
import type { IndicatorSet } from './indicators.ts'

export type HuntVerdict = 'confirmed' | 'possible' | 'unknown' | 'absent'

export interface HuntProgress {
  readonly step: 'roll-ups' | 'keysets' | 'confirming'
  readonly done: number
  readonly total: number
}

/** A segment as a hunt sees it. */
export interface HuntedSegment extends RollupInput {
  /** Its manifest says that it has no keyset. */
  readonly hasKeyset: boolean
}

export interface KeysetHunt {
  readonly set: IndicatorSet
  readonly segments: readonly HuntedSegment[]
  readonly manifestDirectory: string
  readonly list: RollupList
  readonly keys: readonly KeysetKey[]
  /** Where hashes are kept. */
  readonly hashDirectory?: string
  readonly onProgress?: (progress: HuntProgress) => void
  readonly signal?: AbortSignal
}

/** Why segments prove nothing of some indicators. */
export interface UnknownCause {
  readonly reason: string
  readonly segments: readonly number[]
}

/** What keysets said, of each indicator by its number. */
export interface KeysetAnswer {
  /** Segments that may hold it, ascending. */
  hitsOf(indicator: number): readonly number[]
  /** Segments that neither may hold it nor prove that they do not; why. */
  unknownOf(indicator: number): readonly UnknownCause[]
  verdictOf(indicator: number): Exclude<HuntVerdict, 'confirmed'>
  /** Indicators with hits, ascending. */
  readonly possible: readonly number[]
  /** How many (indicator, segment) pairs chance alone would bring; of one indicator, and of all. */
  expectedFalseOf(indicator: number): number
  readonly expectedFalse: number
  readonly damagedRollups: readonly string[]
}

/** The keysets' part of a hunt; reads nothing but the history. */
export async function huntKeysets(hunt: KeysetHunt): Promise<KeysetAnswer> {
  const { set, segments, list, keys, manifestDirectory, hashDirectory, onProgress, signal } = hunt
  const groups = new Map<string, Group>()
  // Every epoch that could come up: those of the roll-ups, and those of keysets that none has yet.
  for (const key of keys) {
    const group = rollupGroup({ extractor: EXTRACTOR, epoch: key.epoch, keyId: key.id })
    const hashes = hashesOf(set, key, hashDirectory)
    const queries = queriesOf(set, hashes)
    groups.set(group, { hashes, queries: withSuffixes(set, key, queries), hits: new Map() })
  }
  let pairs = 0
  const result = await searchKeysets({
    ...{ manifestDirectory, list, segments: segments.filter(({ hasKeyset }) => hasKeyset) },
    queries: new Map([...groups].map(([group, { queries }]) => [group, queries])),
    hit(group, type, index, segment) {
      const { hits } = groups.get(group)!
      const found = hits.get(type) ?? new Pairs()
      hits.set(type, found)
      found.push(index, segment)
      pairs += 1
      if (pairs > MAX_PAIRS) throw new ColdtrailError('E_HUNT_HITS', { limit: MAX_PAIRS })
    },
    onProgress: (done, total) => onProgress?.({ step: 'keysets', done, total }),
    ...(signal === undefined ? {} : { signal }),
  })
  return new Answer(hunt, groups, result)
}

/** Segments of a collection that meet a time range (microseconds, both included), as a hunt takes them. */
export function huntedSegments(
  catalog: Catalog,
  rows: readonly SegmentRow[],
): Map<number, HuntedSegment & { readonly row: SegmentRow }> {
  return new Map(
    rows.map((row) => {
      const { segment, collection, files } = row
      const index = files.find(({ kind }) => kind === 'index')
      const beside =
        index && isLocal(index.directory) && !index.deleted ? [join(heldPath(row, 'index'), 'keyset.ks')] : []
      const copy = join(catalog.manifestDirectory(collection), keysetCopyName(segment))
      const keyset = index?.manifest.keyset
      const own = { segment, period: periodOf(row), paths: [copy, ...beside], hasKeyset: keyset !== undefined, row }
      return [segment, { ...own, ...(keyset?.sha256 !== undefined && { sha256: keyset.sha256 }) }]
    }),
  )
}

/**
 * The list of roll-ups, brought up to date where that is allowed and worth it. Who may not write, or finds another at it,
 * takes what is there: the rest is looked at keyset by keyset.
 */
export async function rollupsFor(
  catalog: Catalog,
  collection: string,
  live: readonly HuntedSegment[],
  options: {
    readonly mayWrite: boolean
    readonly onProgress?: (progress: HuntProgress) => void
    readonly signal?: AbortSignal
    readonly log: Log
  },
): Promise<RollupList> {
  const directory = catalog.manifestDirectory(collection)
  const list = readRollupList(directory)
  const { mayWrite, onProgress, signal, log } = options
  const covered = new Set(list.files.flatMap(({ segments }) => segments))
  const inputs = live.filter(({ hasKeyset }) => hasKeyset)
  const numbers = new Set(inputs.map(({ segment }) => segment))
  const fresh = inputs.filter(({ segment }) => !covered.has(segment)).length
  const isStale = [...covered].some((segment) => !numbers.has(segment))
  if (!mayWrite || (fresh < WORTH_ROLLING_UP && !isStale)) return list
  const lock = await catalog.hold(rollupLock(collection))
  if (!lock) return list
  try {
    return updateRollups(directory, inputs, {
      ...(signal === undefined ? {} : { signal }),
      onProgress: ({ done, total }) => onProgress?.({ step: 'roll-ups', done, total }),
    })
  } catch (error) {
    if (!(error instanceof ColdtrailError)) throw error
    log('warn', 'roll-ups of keysets could not be written; each keyset is read', { reason: error.message })
    return readRollupList(directory)
  } finally {
    await lock.release()
  }
}

/** Damaged roll-ups go, so that the next hunt makes them again. */
export async function mendRollups(catalog: Catalog, collection: string, names: readonly string[]): Promise<void> {
  const lock = await catalog.hold(rollupLock(collection))
  if (!lock) return
  try {
    forgetRollups(catalog.manifestDirectory(collection), { names })
  } finally {
    await lock.release()
  }
}

// --- internal ---

/** 512 MB. */
const MAX_PAIRS = 64_000_000
const WORTH_ROLLING_UP = 32
const { suffix: SUFFIX, domain: DOMAIN, email: EMAIL } = OBSERVABLE_TYPES

/** Names of locks have few characters. */
const rollupLock = (collection: string): string => `rollup-${collection.toLowerCase().replace(/[^a-z0-9_-]/g, '_')}`

function periodOf({ day, time1 }: SegmentRow): string {
  if (/^\d{4}-\d{2}-\d{2}$/.test(day)) return day.slice(0, 7)
  return time1 === null || time1 < 0 || time1 > 253_402_300_799e6
    ? 'none'
    : new Date(Math.floor(time1 / MICROSECONDS_PER_DAY) * 86_400_000).toISOString().slice(0, 7)
}

interface Group {
  readonly hashes: ObservableHashes
  readonly queries: ReadonlyMap<number, Float64Array>
  readonly hits: Map<number, Pairs>
}

/** Pairs of an index in the queries and a segment. */
class Pairs {
  private array = new Uint32Array(64)
  private used = 0

  push(index: number, segment: number): void {
    if (this.used === this.array.length) {
      const grown = new Uint32Array(this.used * 2)
      grown.set(this.array)
      this.array = grown
    }
    this.array[this.used++] = index
    this.array[this.used++] = segment
  }
  each(visit: (index: number, segment: number) => void): void {
    for (let i = 0; i < this.used; i += 2) visit(this.array[i]!, this.array[i + 1]!)
  }
}

/** What the extractor refused or passed over is asked for too, by the last labels of the indicators. */
function withSuffixes(
  set: IndicatorSet,
  key: KeysetKey,
  queries: Map<number, Float64Array>,
): ReadonlyMap<number, Float64Array> {
  const sip = sipKey(key.key)
  const marks = marksOf(set).map((mark) => markHash(sip, mark))
  if (marks.length > 0) queries.set(SUFFIX, distinct(Float64Array.from(marks)))
  return queries
}

function markHash(sip: ReturnType<typeof sipKey>, mark: string): number {
  const bytes = Buffer.from(mark)
  return sipHash48(sip, SUFFIX, bytes, 0, bytes.length)
}

function marksOf({ coverages }: IndicatorSet): string[] {
  const marks = new Set(coverages.flatMap(({ suffix }) => suffix ?? []))
  if (coverages.some(({ isPunycode }) => isPunycode)) marks.add(NON_ASCII_MARK)
  return [...marks]
}

class Answer implements KeysetAnswer {
  readonly possible: readonly number[]
  readonly expectedFalse: number
  readonly damagedRollups: readonly string[]
  private readonly set: IndicatorSet
  private readonly segments: readonly number[]
  /** By indicator, its segments. */
  private readonly hits = new Map<number, Set<number>>()
  /** By mark: segments whose `suffix` has it. */
  private readonly marked = new Map<string, number[]>()
  private readonly facts: ReadonlyMap<number, KeysetFacts>
  private readonly causes = new Map<number, readonly UnknownCause[]>()
  /** Keys of all covering segments, by type number. */
  private readonly keys = new Map<number, number>()
  private readonly withoutKeyset: readonly UnknownCause[]

  constructor(hunt: KeysetHunt, groups: ReadonlyMap<string, Group>, result: KeysetSearchResult) {
    const { set, segments } = hunt
    this.set = set
    this.segments = segments.map(({ segment }) => segment)
    this.damagedRollups = [...new Set(result.damaged)]
    this.facts = result.facts
    this.withoutKeyset = unreadable(segments, result.facts, groups)
    for (const facts of result.facts.values())
      for (const [type, count] of Object.entries(facts.counts))
        this.keys.set(Number(type), (this.keys.get(Number(type)) ?? 0) + count)
    for (const key of hunt.keys) {
      const group = groups.get(rollupGroup({ extractor: EXTRACTOR, epoch: key.epoch, keyId: key.id }))!
      this.takeMarks(group, key)
      this.takeHits(group)
    }
    this.possible = [...this.hits.keys()].sort((a, b) => a - b)
    let expected = 0
    for (let i = 0; i < set.size; i++) expected += this.expectedFalseOf(i)
    this.expectedFalse = expected
  }

  hitsOf(indicator: number): readonly number[] {
    return [...(this.hits.get(indicator) ?? [])].sort((a, b) => a - b)
  }

  unknownOf(indicator: number): readonly UnknownCause[] {
    const causes = this.causesOf(this.set.coverageOf(indicator))
    const hits = this.hits.get(indicator)
    if (!hits) return causes
    return causes
      .map(({ reason, segments }) => ({ reason, segments: segments.filter((segment) => !hits.has(segment)) }))
      .filter(({ segments }) => segments.length > 0)
  }

  verdictOf(indicator: number): Exclude<HuntVerdict, 'confirmed'> {
    if (this.hits.has(indicator)) return 'possible'
    return this.causesOf(this.set.coverageOf(indicator)).length > 0 ? 'unknown' : 'absent'
  }

  expectedFalseOf(indicator: number): number {
    const { first, end } = this.set.observablesOf(indicator)
    let pairs = 0
    for (let i = first; i < end; i++) pairs += this.keys.get(this.set.observable(i).type) ?? 0
    return pairs / 2 ** 48
  }

  // --- internal ---

  private takeMarks({ hits, queries }: Group, key: KeysetKey): void {
    const found = hits.get(SUFFIX)
    if (!found) return
    const sip = sipKey(key.key)
    const markOf = new Map(marksOf(this.set).map((mark) => [markHash(sip, mark), mark]))
    found.each((index, segment) => {
      const mark = markOf.get(queries.get(SUFFIX)![index]!)!
      const list = this.marked.get(mark) ?? []
      this.marked.set(mark, list)
      list.push(segment)
    })
  }

  /** Only the keys that were found are looked up among the indicators: one walk over their hashes. */
  private takeHits({ hits, hashes, queries }: Group): void {
    const wanted = new Map<number, Map<number, number[]>>()
    for (const [type, found] of hits) {
      if (type === SUFFIX) continue
      const byKey = new Map<number, number[]>()
      const keys = queries.get(type)!
      found.each((index, segment) => {
        const list = byKey.get(keys[index]!)
        if (list) list.push(segment)
        else byKey.set(keys[index]!, [segment])
      })
      wanted.set(type, byKey)
    }
    if (wanted.size === 0) return
    this.set.eachObservable((type, _bytes, _start, _end, number) => {
      const segments = wanted.get(type)?.get(hashes[number]!)
      if (!segments) return
      const { owner } = this.set.observable(number)
      const held = this.hits.get(owner) ?? new Set()
      this.hits.set(owner, held)
      for (const segment of segments) held.add(segment)
    })
  }

  /** Of a class of indicators, hits aside. */
  private causesOf(coverage: number): readonly UnknownCause[] {
    const known = this.causes.get(coverage)
    if (known) return known
    const { type: name, suffix, isPunycode, isOpaque } = this.set.coverages[coverage]!
    const causes: UnknownCause[] = [...this.withoutKeyset]
    const type = OBSERVABLE_TYPES[name]
    if (isOpaque) causes.push({ reason: `${name} with characters that end it in free text`, segments: this.segments })
    else {
      const types = new Set<number>([type])
      if (type === DOMAIN || type === EMAIL || isPunycode) types.add(SUFFIX)
      if (name === 'url' || name === 'arn') types.add(OBSERVABLE_TYPES.stem)
      causes.push(...this.lacking(types))
      if (suffix !== undefined && this.marked.has(suffix))
        causes.push({ reason: `names that end in .${suffix} were passed over`, segments: this.marked.get(suffix)! })
      if (isPunycode && this.marked.has(NON_ASCII_MARK))
        causes.push({ reason: 'internationalised names', segments: this.marked.get(NON_ASCII_MARK)! })
    }
    this.causes.set(coverage, causes)
    return causes
  }

  private lacking(types: ReadonlySet<number>): UnknownCause[] {
    const byReason = new Map<string, number[]>()
    for (const { segment, lacking } of this.facts.values())
      for (const type of types) {
        const reason = lacking[type]
        if (reason === undefined) continue
        const list = byReason.get(reason) ?? []
        byReason.set(reason, list)
        if (list.at(-1) !== segment) list.push(segment)
      }
    return [...byReason].map(([reason, segments]) => ({ reason, segments }))
  }
}

/** Segments of which no keyset could be asked. */
function unreadable(
  segments: readonly HuntedSegment[],
  facts: ReadonlyMap<number, KeysetFacts>,
  groups: ReadonlyMap<string, unknown>,
): UnknownCause[] {
  const byReason = new Map<string, number[]>()
  for (const { segment, hasKeyset } of segments) {
    const known = facts.get(segment)
    const reason = !hasKeyset
      ? 'collected without a keyset'
      : !known
        ? 'its keyset is missing or damaged'
        : known.extractor !== EXTRACTOR
          ? `its keyset is of another extractor (${known.extractor})`
          : groups.has(rollupGroup(known))
            ? undefined
            : `the key of epoch ${known.epoch} (${known.keyId}) is not here`
    if (reason === undefined) continue
    const list = byReason.get(reason) ?? []
    byReason.set(reason, list)
    list.push(segment)
  }
  return [...byReason].map(([reason, list]) => ({ reason, segments: list }))
}
