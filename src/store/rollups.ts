/**
 * The roll-ups of a collection: `<manifest_dir>/rollup-<period>-<number>.kr` and the list of them, `rollups.json`, whose
 * rename is what swaps them: a line of JSON, and its CRC-32. A roll-up that is not in the list is none. What is new is rolled up by itself and merged with
 * files that are not much larger, so that a key is written about log(n) times, of months and of all time alike.
 *
 * Derived from the keysets of the history, and redone from them: whoever finds a damaged one takes it from the list.
 */
import { rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { ColdtrailError } from '../core/errors.ts'
import { EXTRACTOR, OBSERVABLE_TYPES } from '../core/observables.ts'
import { faultPoint } from '../platform/faults.ts'
import { namesIfThere, readIfThere, writeDurably } from '../platform/files.ts'
import { keysetCopyName } from './history.ts'
import { type Keyset, type KeysetSection, openKeyset, union } from './keyset.ts'
import { ALL_TIME, MAX_ROLLUP_SEGMENTS, Rollup, type RollupHead, RollupWriter, UPPER_WORDS } from './rollup.ts'

/** What is known of a segment's keyset without opening it. */
export interface KeysetFacts {
  readonly segment: number
  readonly extractor: string
  readonly epoch: string
  readonly keyId: string
  /** Keys by type number; a type without a section has none. */
  readonly counts: Readonly<Record<string, number>>
  /** Why a type proves no absence, by type number. */
  readonly lacking: Readonly<Record<string, string>>
}

export interface RollupFile extends Omit<RollupHead, 'segments'> {
  readonly name: string
  readonly bytes: number
  readonly segments: readonly number[]
}

export interface RollupList {
  readonly v: 1
  /** Number of the next file. */
  readonly next: number
  readonly files: readonly RollupFile[]
  readonly segments: readonly KeysetFacts[]
}

/** A segment whose keyset is to be rolled up. */
export interface RollupInput {
  readonly segment: number
  /** `2023-07`, or `none`. */
  readonly period: string
  /** Of its keyset; the first that is there and whole. */
  readonly paths: readonly string[]
  /** Of the keyset. */
  readonly sha256?: string
}

export interface RollupProgress {
  /** Keysets. */
  readonly done: number
  readonly total: number
}

export interface RollupOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: RollupProgress) => void
  /** Bytes of keysets held at once; default 128 MiB. */
  readonly batchBytes?: number
}

export const ROLLUP_LIST = 'rollups.json'

/** Keysets of one key and extractor are searched and merged together. */
export const rollupGroup = ({ extractor, epoch, keyId }: Pick<RollupHead, 'extractor' | 'epoch' | 'keyId'>): string =>
  `${extractor} ${epoch} ${keyId}`

/** Whether a roll-up is the one that the list means. */
export const isOf = ({ head }: Rollup, file: RollupFile): boolean =>
  rollupGroup(head) === rollupGroup(file) &&
  head.period === file.period &&
  head.segments.length === file.segments.length &&
  head.segments.every((segment, i) => segment === file.segments[i])

/** An empty list where there is none, or none that can be read. */
export function readRollupList(manifestDirectory: string): RollupList {
  const [line = '', sum] = readIfThere(join(manifestDirectory, ROLLUP_LIST))?.toString().split('\n') ?? []
  // It is derived: one that is damaged is made anew.
  if (sum !== String(crc32(line))) return NOTHING
  const list = JSON.parse(line) as RollupList
  return list.v === 1 ? list : NOTHING
}

export function factsOf(segment: number, keyset: Keyset): KeysetFacts {
  const { extractor, epoch, keyId } = keyset
  const counts: Record<string, number> = {}
  const lacking: Record<string, string> = {}
  const byName = new Map(keyset.sections.map((section) => [section.name, section]))
  for (const [name, type] of Object.entries(OBSERVABLE_TYPES)) {
    const section = byName.get(name as KeysetSection['name'])
    if (section && section.count > 0) counts[type] = section.count
    if (!section?.complete) lacking[type] = section?.reason ?? 'its keyset has no such section'
  }
  return { segment, extractor, epoch, keyId, counts, lacking }
}

/** The first keyset that is there and as it was sealed; undefined when none is. */
export function openFirstKeyset({
  paths,
  sha256,
}: Pick<RollupInput, 'paths' | 'sha256'>): { keyset: Keyset; bytes: number } | undefined {
  for (const path of paths) {
    try {
      const bytes = readIfThere(path)
      if (bytes) return { keyset: openKeyset(bytes, path, sha256), bytes: bytes.length }
    } catch {
      // Damaged: `verify` names it. The other copy may be whole.
    }
  }
  return undefined
}

/**
 * Brings the roll-ups up to date with the live segments, and answers the list. One process at a time; the caller holds
 * the lock. Segments without a keyset that can be read stay out. Memory: `batchBytes` and some.
 */
export function updateRollups(
  manifestDirectory: string,
  live: readonly RollupInput[],
  options: RollupOptions = {},
): RollupList {
  for (;;) {
    const update = new Update(manifestDirectory, live, options)
    try {
      return update.run()
    } catch (error) {
      // Found damaged while it was merged: made again from the keysets.
      if (!(error instanceof ColdtrailError && error.code === 'E_ROLLUP_CORRUPT')) throw error
      forgetRollups(manifestDirectory, { names: [basename(String(error.values.path))] })
    } finally {
      update.close()
    }
  }
}

/**
 * Takes roll-ups from the list that have keys of these segments, and removes their files: of segments that were erased,
 * and damaged ones by `names`. The next update makes what is missing.
 */
export function forgetRollups(
  manifestDirectory: string,
  { segments = [], names = [] }: { readonly segments?: readonly number[]; readonly names?: readonly string[] },
): void {
  const list = readRollupList(manifestDirectory)
  const gone = new Set(segments)
  const files = list.files.filter((file) => !names.includes(file.name) && !file.segments.some((one) => gone.has(one)))
  if (files.length === list.files.length && !list.segments.some(({ segment }) => gone.has(segment))) return
  writeList(manifestDirectory, { ...list, files, segments: list.segments.filter(({ segment }) => !gone.has(segment)) })
}

// --- internal ---

const NOTHING: RollupList = { v: 1, next: 1, files: [], segments: [] }
const BATCH_BYTES = 128 * 2 ** 20
/** Pairs sorted at once. */
const PART_PAIRS = 4 * 2 ** 20
/** A file takes part in a merge when it is at most so many times what is merged already. */
const MERGE_FACTOR = 2
/** A file with a larger share of segments that are no more is made again. */
const DEAD_SHARE = 0.25
const TYPES = Object.values(OBSERVABLE_TYPES)
const TYPE_NAMES = new Map(Object.entries(OBSERVABLE_TYPES).map(([name, type]) => [type as number, name]))

class Update {
  private readonly directory: string
  private readonly live: ReadonlyMap<number, RollupInput>
  private readonly options: RollupOptions
  private files: RollupFile[]
  private next: number
  private readonly facts: Map<number, KeysetFacts>
  private readonly opened = new Map<string, Rollup>()
  private isChanged = false

  constructor(directory: string, live: readonly RollupInput[], options: RollupOptions) {
    this.directory = directory
    this.live = new Map(live.map((input) => [input.segment, input]))
    this.options = options
    const { files, next, segments } = readRollupList(directory)
    this.files = [...files]
    this.next = next
    this.facts = new Map(segments.map((facts) => [facts.segment, facts]))
  }

  run(): RollupList {
    this.dropStale()
    this.rollUpNew()
    this.completeAllTime()
    this.mergeMonths()
    this.mergeAllTime()
    const covered = new Set(this.files.flatMap(({ segments }) => segments))
    const segments = [...this.facts.values()]
      .filter(({ segment }) => this.live.has(segment) && covered.has(segment))
      .sort((a, b) => a.segment - b.segment)
    const list: RollupList = { v: 1, next: this.next, files: this.files, segments }
    if (this.isChanged) writeList(this.directory, list)
    return list
  }

  close(): void {
    for (const rollup of this.opened.values()) rollup.close()
  }

  // --- internal ---

  /** Files that cannot be read, or that hold keys of what was erased, or too much of what is no more. */
  private dropStale(): void {
    const copies = new Set(namesIfThere(this.directory))
    const dropped = this.files.filter((file) => {
      if (file.extractor !== EXTRACTOR || !this.isWhole(file)) return true
      const dead = file.segments.filter((segment) => !this.live.has(segment))
      if (dead.length === 0) return false
      // Whoever erases takes the keyset's copy away.
      const isErased = dead.some((segment) => !copies.has(keysetCopyName(segment)))
      return isErased || dead.length > file.segments.length * DEAD_SHARE
    })
    if (dropped.length === 0) return
    this.isChanged = true
    this.files = this.files.filter((file) => !dropped.includes(file))
    // A month is made from its own postings where they can be read, all else from keysets.
    for (const file of dropped) {
      if (file.period === ALL_TIME || !this.isWhole(file)) continue
      const segments = file.segments.filter((segment) => this.live.has(segment))
      if (segments.length > 0) this.files.push(this.write({ ...file, segments }, [this.rollupOf(file)]))
    }
  }

  private isWhole(file: RollupFile): boolean {
    try {
      return isOf(this.rollupOf(file), file)
    } catch {
      return false
    }
  }

  private rollUpNew(): void {
    const covered = new Set(this.files.flatMap(({ period, segments }) => (period === ALL_TIME ? [] : segments)))
    const fresh = [...this.live.values()].filter(({ segment }) => !covered.has(segment))
    const { signal, onProgress, batchBytes = BATCH_BYTES } = this.options
    let done = 0
    for (const [period, inputs] of Map.groupBy(fresh, (input) => input.period)) {
      let batch = new Map<string, KeysetSource[]>()
      let held = 0
      const flush = (): void => {
        for (const sources of batch.values()) {
          const segments = sources.map(({ segment }) => segment).sort((a, b) => a - b)
          const { extractor, epoch, keyId } = sources[0]!.keyset
          this.files.push(this.write({ extractor, epoch, keyId, period, segments }, sources))
        }
        batch = new Map()
        held = 0
      }
      for (const input of inputs) {
        const { segment } = input
        signal?.throwIfAborted()
        onProgress?.({ done, total: fresh.length })
        done += 1
        const found = openFirstKeyset(input)
        if (!found || found.keyset.extractor !== EXTRACTOR) continue
        this.facts.set(segment, factsOf(segment, found.keyset))
        const group = rollupGroup(found.keyset)
        const sources = batch.get(group) ?? []
        batch.set(group, sources)
        sources.push(new KeysetSource(segment, found.keyset))
        held += found.bytes
        if (held >= batchBytes || sources.length === MAX_ROLLUP_SEGMENTS) flush()
      }
      flush()
    }
  }

  /** What months have and all time has not. */
  private completeAllTime(): void {
    for (const files of Map.groupBy(this.files, rollupGroup).values()) {
      const covered = new Set(files.flatMap(({ period, segments }) => (period === ALL_TIME ? segments : [])))
      const lacking = files.filter(
        ({ period, segments }) => period !== ALL_TIME && segments.some((segment) => !covered.has(segment)),
      )
      if (lacking.length > 0) this.files.push(this.writeAllTime(lacking))
    }
  }

  private mergeMonths(): void {
    const months = this.files.filter(({ period }) => period !== ALL_TIME)
    for (const files of Map.groupBy(months, (file) => `${rollupGroup(file)} ${file.period}`).values()) {
      const merged = toMerge(files, MAX_ROLLUP_SEGMENTS)
      if (merged.length < 2) continue
      const segments = merged.flatMap((file) => file.segments).filter((segment) => this.live.has(segment))
      const head = { ...merged[0]!, segments: [...new Set(segments)].sort((a, b) => a - b) }
      const file = this.write(
        head,
        merged.map((one) => this.rollupOf(one)),
      )
      this.files = [...this.files.filter((one) => !merged.includes(one)), file]
    }
  }

  private mergeAllTime(): void {
    const whole = this.files.filter(({ period }) => period === ALL_TIME)
    for (const files of Map.groupBy(whole, rollupGroup).values()) {
      const merged = toMerge(files, Number.POSITIVE_INFINITY)
      if (merged.length < 2) continue
      const file = this.writeAllTime(merged)
      this.files = [...this.files.filter((one) => !merged.includes(one)), file]
    }
  }

  private rollupOf(file: RollupFile): Rollup {
    const known = this.opened.get(file.name)
    if (known) return known
    const opened = new Rollup(join(this.directory, file.name))
    this.opened.set(file.name, opened)
    return opened
  }

  private write(head: RollupHead, sources: readonly (Rollup | KeysetSource)[]): RollupFile {
    const { extractor, epoch, keyId, period, segments } = head
    const placeOf = new Map(segments.map((segment, place) => [segment, place]))
    return this.written({ extractor, epoch, keyId, period, segments }, (writer) => {
      for (const type of TYPES) {
        const bound = sources.reduce((sum, source) => sum + pairBound(source, type), 0)
        for (const [first, end] of ranges(bound)) {
          const pairs = new Pairs(Math.ceil(bound / ranges(bound).length))
          for (const source of sources) addPairs(source, type, first, end, placeOf, pairs)
          writer.pairs(type, pairs.sorted())
        }
      }
    })
  }

  private writeAllTime(files: readonly RollupFile[]): RollupFile {
    const { extractor, epoch, keyId } = files[0]!
    const segments = [...new Set(files.flatMap((file) => file.segments))].sort((a, b) => a - b)
    const rollups = files.map((file) => this.rollupOf(file))
    return this.written({ extractor, epoch, keyId, period: ALL_TIME, segments }, (writer) => {
      for (const type of TYPES) {
        const bound = rollups.reduce((sum, rollup) => sum + rollup.count(type), 0)
        for (const [first, end] of ranges(bound))
          writer.keys(type, union(rollups.map((rollup) => rollup.keysBetween(type, first, end))))
      }
    })
  }

  private written(head: RollupHead, write: (writer: RollupWriter) => void): RollupFile {
    this.options.signal?.throwIfAborted()
    this.isChanged = true
    const name = `rollup-${head.period}-${String(this.next++).padStart(9, '0')}.kr`
    const writer = new RollupWriter(join(this.directory, name), head)
    try {
      write(writer)
      writer.publish()
    } catch (error) {
      writer.discard()
      throw error
    }
    faultPoint('rollup.written')
    return { name, bytes: writer.bytes, ...head }
  }
}

/** The keys of one segment's keyset. */
class KeysetSource {
  readonly segment: number
  readonly keyset: Keyset
  private readonly counts: ReadonlyMap<string, number>

  constructor(segment: number, keyset: Keyset) {
    this.segment = segment
    this.keyset = keyset
    this.counts = new Map(keyset.sections.map(({ name, count }) => [name, count]))
  }

  count(type: number): number {
    return this.counts.get(TYPE_NAMES.get(type)!) ?? 0
  }
}

/** Pairs of key and place, as RollupWriter takes them. */
class Pairs {
  private words: Uint32Array
  private used = 0

  constructor(expected: number) {
    this.words = new Uint32Array(Math.max(16, Math.ceil(expected * 1.1)) * 2)
  }

  add(upper: number, low: number, place: number): void {
    if (this.used === this.words.length) {
      const grown = new Uint32Array(this.used * 2)
      grown.set(this.words)
      this.words = grown
    }
    this.words[this.used++] = place | (low << 16)
    this.words[this.used++] = (low >>> 16) | (upper << 16)
  }

  /** Ascending and distinct. */
  sorted(): BigUint64Array {
    const pairs = new BigUint64Array(this.words.buffer, 0, this.used / 2).sort()
    const { words } = this
    let kept = 0
    for (let i = 0; i < this.used; i += 2) {
      if (kept > 0 && words[kept - 2] === words[i] && words[kept - 1] === words[i + 1]) continue
      words[kept++] = words[i]!
      words[kept++] = words[i + 1]!
    }
    return pairs.subarray(0, kept / 2)
  }
}

/** At least so many pairs of a type there may be: segments of a key are not counted. */
const pairBound = (source: Rollup | KeysetSource, type: number): number => source.count(type)

function addPairs(
  source: Rollup | KeysetSource,
  type: number,
  first: number,
  end: number,
  placeOf: ReadonlyMap<number, number>,
  pairs: Pairs,
): void {
  if (source instanceof KeysetSource) {
    const place = placeOf.get(source.segment)!
    const keys = source.keyset.keysBetween(
      TYPE_NAMES.get(type) as KeysetSection['name'],
      first * 2 ** 32,
      end * 2 ** 32,
    )
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      const upper = Math.floor(key / 2 ** 32)
      pairs.add(upper, key - upper * 2 ** 32, place)
    }
    return
  }
  const places = Int32Array.from(source.head.segments, (segment) => placeOf.get(segment) ?? -1)
  source.eachPair(type, first, end, (upper, low, place) => {
    const to = places[place]!
    if (to >= 0) pairs.add(upper, low, to)
  })
}

/** Ranges of upper words of about PART_PAIRS each; none for nothing. */
function ranges(pairs: number): [first: number, end: number][] {
  const count = Math.min(UPPER_WORDS, Math.ceil(pairs / PART_PAIRS))
  const bound = (i: number) => Math.floor((i * UPPER_WORDS) / count)
  return Array.from({ length: count }, (_, i) => [bound(i), bound(i + 1)])
}

/** The smallest files, as long as the next one is not much larger than all before it. */
function toMerge(files: readonly RollupFile[], maxSegments: number): RollupFile[] {
  const chosen: RollupFile[] = []
  let bytes = 0
  let segments = 0
  for (const file of [...files].sort((a, b) => a.bytes - b.bytes)) {
    if (chosen.length > 0 && file.bytes > bytes * MERGE_FACTOR) break
    segments += file.segments.length
    if (segments > maxSegments) break
    chosen.push(file)
    bytes += file.bytes
  }
  return chosen
}

/** The rename of the list is the swap; then what is in no list goes. */
function writeList(directory: string, list: RollupList): void {
  const line = JSON.stringify(list)
  writeDurably(join(directory, ROLLUP_LIST), `${line}\n${crc32(line)}\n`, 0o600)
  faultPoint('rollup.listed')
  const listed = new Set(list.files.map(({ name }) => name))
  for (const name of namesIfThere(directory))
    if (/^rollup-.*\.kr(\.tmp)?$/.test(name) && !listed.has(name)) rmSync(join(directory, name), { force: true })
}
