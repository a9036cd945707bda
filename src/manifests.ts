/** The manifests as a person or a program uses them: what covers a time, what a restore of it takes, whether all is there. */
import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { EventAccess } from './query/expression.ts'
import type { Catalog } from './store/catalog.ts'
import type { Closure } from './store/closure.ts'
import { collectionNames } from './store/collectionNames.ts'
import { requireDataDirectory } from './store/dataDirectory.ts'
import {
  foreignManifests,
  historyCollections,
  type ManifestMatch,
  manifestMatches,
  overlapping,
} from './store/history.ts'
import type { IdClosure } from './store/idClosure.ts'
import type { ImportedBy, ImportedManifest, ImportProblem } from './store/importedManifests.ts'
import type { Manifest } from './store/manifest.ts'
import type { ArchiveSummary } from './store/manifestGenerations.ts'

export type { Closure, ClosureFile, ClosureGap } from './store/closure.ts'
export type { IdClosure } from './store/idClosure.ts'
export type { ImportProblem } from './store/importedManifests.ts'

export interface ManifestRequest {
  /** POSIX seconds, both included. E_TIME_ORDER when the first is later. */
  readonly time1?: number
  readonly time2?: number
  /** Or several, by comma; a workbench's are those of its copies. */
  readonly collection?: string
  /** Expression over the fields of manifests (MANIFEST_FIELDS). */
  readonly where?: string
  /** Files and folders of imported manifests instead of the history; by default what lies in the history beside its collections counts too. */
  readonly directories?: readonly string[]
  /** Told of each imported file that is no manifest or cannot be read. */
  readonly onProblem?: (problem: ImportProblem) => void
}

/** `by`: what matched (importedManifests.ts); ours have times of their own, or no event has one and their creation stood in. */
export type FoundManifest =
  | { readonly manifest: Manifest; readonly by: 'time' | 'fileTime'; readonly isImported: false }
  | { readonly manifest: ImportedManifest; readonly by: ImportedBy; readonly isImported: true }

/** Closure of a collection's own segments, and of imported manifests by their ids. */
export interface ManifestClosure {
  readonly collections: readonly (Closure & { readonly collection: string })[]
  readonly imported: IdClosure | undefined
  readonly isComplete: boolean
}

export interface ManifestFault {
  readonly collection?: string
  readonly file: string
  readonly fault: 'missing' | 'damaged' | 'inconsistent'
  readonly detail: string
}

export interface ManifestVerification {
  readonly collections: number
  readonly links: number
  readonly manifests: number
  readonly imported: number
  readonly faults: number
}

export interface Manifests {
  /** The history's in the order of commits, then imported ones by service and name; streamed. */
  query(request?: ManifestRequest): AsyncIterable<FoundManifest>
  /** Packs every live log and joins all generations. Beside queries and commits; may be repeated. */
  compress(request?: {
    readonly collection?: string
    readonly signal?: AbortSignal
  }): Promise<readonly (ArchiveSummary & { readonly collection: string })[]>
  closure(request?: ManifestRequest & { readonly segments?: readonly number[] }): Promise<ManifestClosure>
  /** Chains, signatures, what links say of manifests, and gaps in the ids of imported ones; an anchor shows a cut tail. */
  verify(request?: {
    readonly collection?: string
    readonly anchor?: string
    readonly directories?: readonly string[]
    readonly onFault?: (fault: ManifestFault) => void
    readonly signal?: AbortSignal
  }): Promise<ManifestVerification>
  /** What a query finds as one Parquet file; answers the number of manifests. */
  export(path: string, request?: ManifestRequest): Promise<number>
}

/**
 * `query` alone: it needs nothing but the directories, and loads nothing else. Undefined for a collection that has no
 * history: what copies are in a workbench is in the catalog.
 */
export function manifestSearch(
  config: Pick<Config, 'data_dir' | 'manifest_dir'>,
  collection?: string,
): Pick<Manifests, 'query'> | undefined {
  if (collection !== undefined) {
    const known = historyCollections(config.manifest_dir ?? join(config.data_dir, 'history'))
    if (!collectionNames(collection).every((name) => known.includes(name))) return undefined
  }
  const requireData = (): void => requireDataDirectory(config.data_dir)
  return manifests(config, { requireData, catalog: () => Promise.reject(new Error('it has no catalog')) })
}

export function manifests(
  config: Pick<Config, 'data_dir' | 'manifest_dir'>,
  { catalog, requireData }: { readonly catalog: () => Promise<Catalog>; readonly requireData: () => void },
): Manifests {
  const history = config.manifest_dir ?? join(config.data_dir, 'history')
  const requirePlace = (): void => {
    const found = statSync(history, { throwIfNoEntry: false })
    if (found && !found.isDirectory())
      throw new ColdtrailError('E_MANIFEST_DIR', { path: history, reason: 'it is no directory' })
    if (!found) requireData()
  }
  const requireHistory = (collection: string | undefined, copies: readonly string[] = []): void => {
    requirePlace()
    const known = [...historyCollections(history), ...copies]
    for (const name of collection === undefined ? [] : collectionNames(collection))
      if (!known.includes(name) && name !== 'main')
        throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name, known: known.join(', ') || 'none' })
  }

  async function* held({ collection, ...range }: ManifestRequest): AsyncGenerator<ManifestMatch<Manifest>> {
    const names = collection === undefined ? [undefined] : collectionNames(collection)
    requirePlace()
    const histories = historyCollections(history)
    const isCopies = (name: string | undefined): name is string => name !== undefined && !histories.includes(name)
    const benches = names.some(isCopies) && existsSync(config.data_dir) ? await (await catalog()).workbenches() : []
    requireHistory(
      collection,
      benches.map(({ name }) => name),
    )
    const told = new Set<string>()
    for (const name of names)
      for (const match of isCopies(name)
        ? overlapping(await manifestsOfCopies(await catalog(), name), range)
        : manifestMatches(history, { ...range, collection: name })) {
        if (names.length > 1) {
          // A copy has the manifest of what it is a copy of.
          const key = `${match.manifest.collection} ${match.manifest.filename}`
          if (told.has(key)) continue
          told.add(key)
        }
        yield match
      }
  }

  async function imported({ directories, collection, onProblem = () => undefined }: ManifestRequest) {
    if (collection !== undefined && directories === undefined) return []
    const paths = directories?.map((path) => resolve(path)) ?? foreignManifests(history)
    if (paths.length === 0) return []
    const { importedManifests } = await import('./store/importedManifests.ts')
    return importedManifests(paths, onProblem)
  }

  async function* query(request: ManifestRequest = {}): AsyncGenerator<FoundManifest> {
    const { time1, time2, collection, where, directories } = request
    const range = { time1, time2 }
    const matches = where === undefined ? () => true : await fieldsTest(where)
    // Before anything is read: a range that is none is refused even where nothing is kept.
    const { intervalMatches } = await import('./store/history.ts')
    const overlaps = intervalMatches(range)
    if (directories === undefined) {
      for await (const { manifest, by } of held({ ...range, collection })) {
        const found = { manifest, by, isImported: false } as const
        if (matches(found)) yield found
      }
    }
    const list = await imported(request)
    if (list.length === 0) return
    const { importedIntervals } = await import('./store/importedManifests.ts')
    const intervals = importedIntervals(list)
    for (const manifest of list) {
      const known = intervals.get(manifest)
      // What tells no time at all may be of any.
      if (known && !overlaps(known.interval)) continue
      const found = { manifest, by: known?.by ?? 'unknown', isImported: true } as const
      if (matches(found)) yield found
    }
  }

  return {
    query,
    async compress({ collection, signal } = {}) {
      requireData()
      requireHistory(collection)
      const [{ ARCHIVE_LOCK, archiveManifests }, open] = await Promise.all([
        import('./store/manifestGenerations.ts'),
        catalog(),
      ])
      open.requireWritable()
      const names = historyCollections(history).filter((name) => collection === undefined || name === collection)
      let lock = await open.hold(ARCHIVE_LOCK)
      while (!lock) {
        signal?.throwIfAborted()
        // Who archives after a commit is done in seconds.
        await new Promise((settle) => setTimeout(settle, 50))
        lock = await open.hold(ARCHIVE_LOCK)
      }
      try {
        const summaries = []
        for (const name of names) {
          signal?.throwIfAborted()
          summaries.push({ collection: name, ...archiveManifests(join(history, name), { whole: true }) })
        }
        return summaries
      } finally {
        await lock.release()
      }
    },
    async closure({ segments, ...request } = {}) {
      const [{ closureOf }, { segmentsOf }] = await Promise.all([
        import('./store/closure.ts'),
        import('./store/workbench.ts'),
      ])
      const wanted = new Map<string, Set<number>>()
      const chosen: ImportedManifest[] = []
      if (segments !== undefined) wanted.set(request.collection ?? 'main', new Set(segments))
      else
        for await (const { manifest, isImported } of query(request)) {
          if (isImported) chosen.push(manifest)
          else {
            const asked = request.collection ?? manifest.collection
            wanted.set(asked, (wanted.get(asked) ?? new Set()).add(ownerOf(manifest)))
          }
        }
      const collections: (Closure & { readonly collection: string })[] = []
      for (const [collection, numbers] of wanted) {
        const rows = await segmentsOf(await catalog(), collection)
        // A tag file is named for the segment that was analysed, which may have been replaced since.
        const live = new Set(rows.filter(({ state }) => state === 'live').map(({ segment }) => segment))
        const heirs = new Map(rows.flatMap((row) => row.tags.map((tag) => [tag.segment, row.segment] as const)))
        const asked = [...numbers].map((number) => (live.has(number) ? number : (heirs.get(number) ?? number)))
        collections.push({ collection, ...closureOf(rows, asked) })
      }
      const { idClosure } = await import('./store/idClosure.ts')
      // What is none was told by the query.
      const all = chosen.length === 0 ? [] : await imported({ ...request, onProblem: () => undefined })
      const ids = chosen.length === 0 ? undefined : idClosure(chosen, all)
      const isComplete = collections.every((one) => one.isComplete) && (ids?.isComplete ?? true)
      return { collections, imported: ids, isComplete }
    },
    async verify({ collection, anchor, directories, onFault, signal } = {}) {
      const counts = { collections: 0, links: 0, manifests: 0, imported: 0, faults: 0 }
      const report = (fault: ManifestFault): void => {
        counts.faults += 1
        onFault?.(fault)
      }
      if (directories === undefined) {
        requireData()
        requireHistory(collection)
        const [{ verifyOffline }, { readAnchor }, { readPublicKeys, usableKeys }, { manifestSnapshot }] =
          await Promise.all([
            import('./store/verifyOffline.ts'),
            import('./store/anchor.ts'),
            import('./store/signingKeys.ts'),
            import('./store/manifestGenerations.ts'),
          ])
        const keys = usableKeys(readPublicKeys(config.data_dir))
        const heads = await committedHeads(catalog)
        const summary = await verifyOffline({
          ...{ historyDir: history, keys, collection, signal, onFault: report },
          ...(heads && { heads }),
          ...(anchor === undefined ? {} : { anchor: { path: anchor, anchor: readAnchor(anchor, keys) } }),
        })
        // Their faults were told by `report`.
        counts.collections = summary.collections
        counts.links = summary.links
        for (const name of historyCollections(history)) {
          if (collection !== undefined && name !== collection) continue
          signal?.throwIfAborted()
          try {
            for (const { manifest } of manifestSnapshot(join(history, name)).lines())
              if (manifest) counts.manifests += 1
          } catch (error) {
            if (!(error instanceof ColdtrailError)) throw error
            report({ collection: name, file: String(error.values.where), fault: 'damaged', detail: error.message })
          }
        }
      }
      const onProblem = ({ where, reason }: ImportProblem): void =>
        report({ file: where, fault: 'damaged', detail: reason })
      const list = await imported({ collection, directories, onProblem })
      counts.imported = list.length
      const { idGaps } = await import('./store/idClosure.ts')
      for (const { service, detail } of idGaps(list))
        report({ file: service === '' ? history : service, fault: 'inconsistent', detail })
      return counts
    },
    async export(path, request) {
      const { exportManifests } = await import('./store/parquet/exportManifests.ts')
      return exportManifests(query(request), path)
    },
  }
}

// --- internal ---

/** Undefined where the catalog is lost or does not answer: then only an anchor shows a cut tail. */
async function committedHeads(catalog: () => Promise<Catalog>): Promise<Map<string, number> | undefined> {
  try {
    const open = await catalog()
    const heads = new Map<string, number>()
    for (const name of await open.collections()) heads.set(name, await open.head(name))
    return heads
  } catch (error) {
    if (error instanceof ColdtrailError && error.code.startsWith('E_CATALOG')) return undefined
    throw error
  }
}

async function manifestsOfCopies(catalog: Catalog, workbench: string): Promise<Manifest[]> {
  const copies = new Set((await catalog.workbenchFiles(workbench)).map(({ name }) => name))
  const rows = await catalog.segments({ collection: workbench, state: 'live' })
  return rows.flatMap(({ files, tags }) =>
    [...files, ...tags].filter(({ name }) => copies.has(name)).map((file) => file.manifest),
  )
}

const ownerOf = ({ segment }: Manifest): number => segment

async function fieldsTest(where: string): Promise<(found: FoundManifest) => boolean> {
  const [{ compile }, { MANIFEST_FIELDS, fieldOf }] = await Promise.all([
    import('./query/expression.ts'),
    import('./store/manifestFields.ts'),
  ])
  const expression = compile(where, { vocabulary: MANIFEST_FIELDS })
  return (found) => {
    const access: EventAccess = {
      get: (column) => fieldOf(found.manifest, found.by, column),
      data: () => JSON.stringify(found.manifest),
    }
    return expression.predicate(access)
  }
}
