/** What a restore would copy, from where, and what is missing, before anything is copied. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import type { Catalog, SegmentRow } from '../store/catalog.ts'
import { sha256 } from '../store/chain.ts'
import { type ClosureFile, closureOf, segmentsInRange } from '../store/closure.ts'
import { keysetCopyName } from '../store/history.ts'
import type { FileKind } from '../store/segment.ts'
import {
  type BroughtBack,
  digestAt,
  type FolderProgress,
  lookThrough,
  type Origin,
  type Wanted,
} from './broughtBack.ts'

/** Which segments. Several of these are united; none means every segment. */
export interface RestoreSelection {
  /** Microseconds UTC, both included. */
  readonly from?: number
  readonly to?: number
  readonly segments?: readonly number[]
  /** Names of files; each means its segment. */
  readonly files?: readonly string[]
}

export interface PlanOptions extends RestoreSelection {
  readonly catalog: Catalog
  /** The home collection. */
  readonly collection: string
  readonly workbench: string
  /** The folder of the workbench is made in it. */
  readonly directory?: string
  /** Files brought back from a backup. */
  readonly folder?: string
  /** Copies also of what is in hot and warm. */
  readonly all?: boolean
  /** Without packs: events can be asked, and objects not be proved. */
  readonly withoutLog?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: FolderProgress) => void
}

/** `copied`: in the workbench's folder already, with its bytes; of a run that was cut off, or of an earlier one. */
export type PlannedState = 'folder' | 'place' | 'copied' | 'missing'

export interface PlannedFile extends ClosureFile {
  readonly planned: PlannedState
  /** Paths, or `s3://…`; undefined when missing or copied. */
  readonly origin?: Origin
}

export interface RestorePlan {
  readonly collection: string
  readonly workbench: string
  /** Of the copies. */
  readonly directory: string
  /** It is there already, and gets more. */
  readonly isNew: boolean
  /** Asked for. */
  readonly segments: readonly number[]
  /** Of them: everything is in hot and warm, so that nothing is to be copied. */
  readonly online: readonly number[]
  /** Of them: sessions or events cannot be had; nothing of these is copied. */
  readonly unobtainable: readonly number[]
  readonly files: readonly PlannedFile[]
  /** Things that the catalog knows no file of. */
  readonly gaps: readonly { readonly segment: number; readonly needs: string; readonly reason: string }[]
  /** Of all files; of those to be copied. */
  readonly bytes: number
  readonly bytesToCopy: number
  readonly folder?: Omit<BroughtBack, 'found'>
  readonly rows: ReadonlyMap<number, SegmentRow>
}

/** E_RESTORE_REQUEST when nothing is selected, E_WORKBENCH_NAME. */
export async function planRestore(options: PlanOptions): Promise<RestorePlan> {
  const { catalog, collection, workbench, signal } = options
  const held = (await catalog.workbenches(workbench))[0]
  if (held && held.home !== collection)
    throw new ColdtrailError('E_WORKBENCH_NAME', { name: workbench, taken: `a workbench of ${held.home}` })
  if (!held && (await catalog.collections()).includes(workbench))
    throw new ColdtrailError('E_WORKBENCH_NAME', { name: workbench, taken: 'a collection' })
  const directory = await catalog.workbenchDirectory(workbench, options.directory)
  const all = await catalog.segments({ collection })
  const rows = new Map(all.map((row) => [row.segment, row]))
  const segments = selected(all, options)
  const kinds = options.withoutLog ? new Set(KINDS.filter((kind) => kind !== 'log')) : undefined
  const closure = closureOf(all, segments, { kinds })
  const isOnline = ({ state, tier }: ClosureFile): boolean => state === 'here' && (tier === 'hot' || tier === 'warm')
  const needed = options.all ? closure.files : closure.files.filter((file) => !isOnline(file))
  const wanted = needed.map((file) => wantedOf(catalog, collection, rows, file))
  const folder =
    options.folder === undefined
      ? undefined
      : await lookThrough(options.folder, wanted, {
          ...{ known: knownDigests(catalog, collection), signal, onProgress: options.onProgress },
        })
  const planned: PlannedFile[] = []
  for (const file of needed) {
    const copy = await digestAt(join(directory, file.name), signal)
    const brought = folder?.found.get(file.name)
    const hasPlace = file.state === 'here' || file.state === 'remote'
    if (copy?.size === file.size && copy.sha256 === file.sha256) planned.push({ ...file, planned: 'copied' })
    else if (brought !== undefined) planned.push({ ...file, planned: 'folder', origin: brought })
    else if (hasPlace) planned.push({ ...file, planned: 'place', origin: placeOf(file) })
    else planned.push({ ...file, planned: 'missing' })
  }
  const unobtainable = lacking(segments, planned, closure.gaps)
  const files = planned.filter(({ neededBy }) => neededBy.some((segment) => !unobtainable.has(segment)))
  const lost = planned.filter(
    ({ planned, neededBy }) => planned === 'missing' && neededBy.every((s) => unobtainable.has(s)),
  )
  const inNeed = new Set(needed.flatMap(({ neededBy }) => neededBy))
  const { found: _, ...seen } = folder ?? { found: undefined }
  return {
    ...{ collection, workbench, directory, isNew: held === undefined, segments, gaps: closure.gaps, rows },
    online: segments.filter((segment) => !inNeed.has(segment) && !unobtainable.has(segment)),
    unobtainable: [...unobtainable].sort((a, b) => a - b),
    files: [...files, ...lost],
    bytes: sizeOf(needed),
    bytesToCopy: sizeOf(files.filter(({ planned }) => planned === 'folder' || planned === 'place')),
    ...(folder && { folder: seen as Omit<BroughtBack, 'found'> }),
  }
}

export const sizeOf = (files: readonly { readonly size: number }[]): number =>
  files.reduce((sum, { size }) => sum + size, 0)

/** Segments that cannot be asked with what there will be: without their sessions, or their events. */
export function lacking(
  segments: readonly number[],
  files: readonly (Pick<ClosureFile, 'kind' | 'neededBy'> & { readonly planned: PlannedState })[],
  gaps: RestorePlan['gaps'],
): Set<number> {
  const asked = new Set(segments)
  const without = new Set<number>()
  for (const { kind, neededBy, planned } of files)
    if (planned === 'missing' && (kind === 'session' || kind === 'meta')) for (const one of neededBy) without.add(one)
  for (const { segment, needs } of gaps)
    if (asked.has(segment) && /^(segment$|session-|meta-)/.test(needs)) without.add(segment)
  return without
}

// --- internal ---

const KINDS: readonly FileKind[] = ['session', 'meta', 'log', 'index', 'reject', 'tag']

function selected(rows: readonly SegmentRow[], { from, to, segments = [], files = [] }: RestoreSelection): number[] {
  const live = new Set(rows.filter(({ state }) => state === 'live').map(({ segment }) => segment))
  const chosen = new Set<number>()
  const choose = (segment: number, given: string): void => {
    const home = live.has(segment)
      ? segment
      : rows.find((row) => row.state === 'live' && row.packs.includes(segment))?.segment
    if (home === undefined)
      throw new ColdtrailError('E_RESTORE_REQUEST', {
        where: given,
        reason: 'there is no such segment in the collection',
      })
    chosen.add(home)
  }
  for (const segment of segments) choose(segment, String(segment))
  for (const name of files) {
    const holder = rows.find((row) => row.files.some((file) => file.name === name))
    const tagged = rows.find((row) => row.tags.some((tag) => tag.name === name))
    const number = holder?.segment ?? tagged?.segment
    if (number === undefined)
      throw new ColdtrailError('E_RESTORE_REQUEST', { where: name, reason: 'the catalog knows no file of this name' })
    choose(number, name)
  }
  const isListed = segments.length + files.length > 0
  if (from !== undefined || to !== undefined || !isListed)
    for (const segment of segmentsInRange(rows, { time1: from, time2: to })) chosen.add(segment)
  if (chosen.size === 0)
    throw new ColdtrailError('E_RESTORE_REQUEST', {
      where: 'Nothing to restore',
      reason: 'no segment overlaps the range',
    })
  return [...chosen].sort((a, b) => a - b)
}

function placeOf({ directory, name }: ClosureFile): string {
  return directory.startsWith('s3://') ? `${directory}/${name}` : join(directory, name)
}

function wantedOf(
  catalog: Catalog,
  collection: string,
  rows: ReadonlyMap<number, SegmentRow>,
  { kind, name, size, sha256: digest, segment }: ClosureFile,
): Wanted {
  const wanted = { kind, name, size, sha256: digest }
  if (kind !== 'index') return wanted
  const file = rows.get(segment)?.files.find((one) => one.kind === 'index')
  if (!file?.manifest.keyset) return { ...wanted, keyset: null }
  const path = join(catalog.manifestDirectory(collection), keysetCopyName(segment))
  try {
    const bytes = readFileSync(path)
    return { ...wanted, keyset: { path, size: bytes.length, sha256: sha256(bytes) } }
  } catch {
    return wanted
  }
}

function knownDigests(catalog: Catalog, collection: string): Map<number, Set<string>> {
  const known = new Map<number, Set<string>>()
  for (const { manifest } of catalog.manifests({ collection, replaced: true })) {
    const digests = known.get(manifest.size)
    if (digests) digests.add(manifest.sha256)
    else known.set(manifest.size, new Set([manifest.sha256]))
  }
  return known
}
