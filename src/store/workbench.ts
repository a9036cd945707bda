/** Workbenches: collections of copies of files of a home collection, for a case. docs/design.md §16. */
import { existsSync } from 'node:fs'
import { ColdtrailError } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import type { Catalog, SegmentRow } from './catalog.ts'
import type { FileOfSegment } from './chain.ts'
import { collectionNames } from './collectionNames.ts'
import { isHeldHere } from './heldFile.ts'
import { tagPath } from './tags.ts'

/** One that is there. Times are microseconds UTC. */
export interface Workbench {
  readonly name: string
  /** The collection whose segments these are copies of. */
  readonly home: string
  /** Of the copies; absolute. */
  readonly directory: string
  readonly reason: string
  readonly created: number
  readonly expires: number
  /** It does not expire while it is. */
  readonly isHeld: boolean
  /** With events in it, and all files, with their bytes. */
  readonly segments: number
  readonly copies: number
  readonly bytes: number
}

/** `sequence`: of the `restore` link of the home collection that brought it. */
export interface WorkbenchFile extends Pick<FileOfSegment, 'segment' | 'kind' | 'name' | 'size'> {
  readonly sequence: number
}

/** Copies that are durable in the workbench's directory, and are to be part of it. */
export interface Restored {
  readonly workbench: string
  readonly home: string
  /** Absolute. That of the workbench when it is there already. */
  readonly directory: string
  readonly reason: string
  /** Microseconds; what is there already keeps the later time. */
  readonly expires: number
  readonly files: readonly (FileOfSegment & { readonly from?: string })[]
}

export interface WorkbenchChange {
  readonly action: 'extend' | 'hold' | 'release'
  readonly reason: string
  /** Microseconds; of `extend`. */
  readonly expires?: number
}

/** Marks a directory as one of copies, and whose: nothing else is ever written into or removed from. */
export const WORKBENCH_MARK = 'workbench.json'

/** Collections that have commits, and workbenches. */
export async function knownCollections(catalog: Pick<Catalog, 'collections' | 'workbenches'>): Promise<string[]> {
  const benches = await catalog.workbenches()
  return [...(await catalog.collections()), ...benches.map(({ name }) => name)]
}

/** The collections that results about these belong to: of a workbench its home. Each once. */
export async function homesOf(catalog: Pick<Catalog, 'workbenches'>, given?: string): Promise<string[]> {
  const homes = new Map((await catalog.workbenches()).map(({ name, home }) => [name, home]))
  return [...new Set(collectionNames(given).map((name) => homes.get(name) ?? name))]
}

/** The one home of these collections, for results that are of one collection. E_USAGE when there are several. */
export async function homeOf(catalog: Pick<Catalog, 'workbenches'>, given?: string): Promise<string> {
  const [home, ...others] = await homesOf(catalog, given)
  if (home !== undefined && others.length === 0) return home
  const message = `--collection ${given}: results belong to one collection, and these are of ${[home, ...others].join(' and ')}.`
  throw new ColdtrailError('E_USAGE', { message })
}

/**
 * Segments of several collections as one, by number. A segment that a workbench has too is one segment, so that each of
 * its events counts once: its files are those that are here, the home's first.
 */
export async function segmentsOf(
  catalog: Pick<Catalog, 'segments'>,
  given: string | undefined,
  state?: 'live' | 'retired',
): Promise<readonly SegmentRow[]> {
  const lists: (readonly SegmentRow[])[] = []
  for (const collection of collectionNames(given))
    lists.push(await catalog.segments({ collection, ...(state && { state }) }))
  return united(lists)
}

/** Rows of several collections as `segmentsOf` has them. */
export function united(lists: readonly (readonly SegmentRow[])[]): readonly SegmentRow[] {
  if (lists.length === 1) return lists[0]!
  const rows = new Map<number, SegmentRow>()
  for (const row of lists.flat()) {
    const held = rows.get(row.segment)
    rows.set(row.segment, held ? withFilesOf(held, row) : row)
  }
  return [...rows.values()].sort((a, b) => a.segment - b.segment)
}

/** The same segments, with files that are not here taken from the workbenches of the collection. */
export async function segmentsWithCopies(
  catalog: Pick<Catalog, 'segments' | 'workbenches'>,
  collection: string,
): Promise<readonly SegmentRow[]> {
  const own = await catalog.segments({ collection, state: 'live' })
  const benches = (await catalog.workbenches()).filter(({ home }) => home === collection)
  if (benches.length === 0) return own
  const copies: (readonly SegmentRow[])[] = []
  for (const { name } of benches) copies.push(await catalog.segments({ collection: name, state: 'live' }))
  return united([own, ...copies])
}

/** Arguments of `restore plan` and `run` that mean these segments: numbers or, when they are many, their collection and times. */
export function restoreWords(
  segments: readonly Pick<SegmentRow, 'segment' | 'collection' | 'home' | 'time1' | 'time2'>[],
): string {
  const collection = segments[0]!.home ?? segments[0]!.collection
  const name = collection === 'main' ? '' : ` --collection ${collection}`
  const ranges = rangesOf(segments.map(({ segment }) => segment))
  if (ranges.length <= MAX_RANGES) return ranges.join(' ') + name
  const timed = segments.filter(({ time1, time2 }) => time1 !== null && time2 !== null)
  if (timed.length < segments.length) return `--from 0${name}`
  const from = timed.reduce((least, { time1 }) => Math.min(least, time1!), Number.POSITIVE_INFINITY)
  const to = timed.reduce((most, { time2 }) => Math.max(most, time2!), Number.NEGATIVE_INFINITY)
  return `--from ${isoTimeText(from)} --to ${isoTimeText(to)}${name}`
}

/** `3, 5-9, 12, …` */
export function numbersText(segments: readonly Pick<SegmentRow, 'segment'>[]): string {
  const ranges = rangesOf(segments.map(({ segment }) => segment))
  return `${ranges.slice(0, 3).join(', ')}${ranges.length > 3 ? ', …' : ''}`
}

// --- internal ---

/** More than these make a line that nobody reads. */
const MAX_RANGES = 12

/** Ascending numbers, neighbours joined: `5-9`. */
function rangesOf(numbers: readonly number[]): string[] {
  const ranges: [number, number][] = []
  for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last?.[1] === number - 1) last[1] = number
    else ranges.push([number, number])
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`))
}

function withFilesOf(row: SegmentRow, other: SegmentRow): SegmentRow {
  const files = row.files.map((file) => {
    const kind = file.kind as Exclude<typeof file.kind, 'tag'>
    if (isHeldHere(row, kind) || !isHeldHere(other, kind)) return file
    return other.files.find((one) => one.kind === kind)!
  })
  const tags = row.tags.map((tag) => {
    const copy = existsSync(tagPath(tag)) ? undefined : other.tags.find(({ name }) => name === tag.name)
    return copy ?? tag
  })
  return { ...row, files, tags }
}
