/** Workbenches: collections of copies of files of a home collection, for a case. docs/design.md §16. */
import { existsSync } from 'node:fs'
import { ColdtrailError } from '../core/errors.ts'
import type { Catalog, SegmentRow } from './catalog.ts'
import type { FileOfSegment } from './chain.ts'
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
export interface WorkbenchFile extends Pick<FileOfSegment, 'segment' | 'kind' | 'name'> {
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

/** The names in what a person gave as one: `main,case1`. Default `main`. */
export const collectionNames = (given = 'main'): readonly string[] => [
  ...new Set(
    given
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  ),
]

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
  const names = collectionNames(given)
  const lists: (readonly SegmentRow[])[] = []
  for (const collection of names) lists.push(await catalog.segments({ collection, ...(state && { state }) }))
  if (lists.length === 1) return lists[0]!
  return united(lists)
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

// --- internal ---

function united(lists: readonly (readonly SegmentRow[])[]): SegmentRow[] {
  const rows = new Map<number, SegmentRow>()
  for (const row of lists.flat()) {
    const held = rows.get(row.segment)
    rows.set(row.segment, held ? withFilesOf(held, row) : row)
  }
  return [...rows.values()].sort((a, b) => a.segment - b.segment)
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
