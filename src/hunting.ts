/** Hunts as a person or a program uses them: indicators against everything that was ever sealed, online or not. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Config } from './config.ts'
import { asColdtrailError, ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import type { CollectionHunt, HitSegment, IndicatorVerdict, RestoreNeed } from './hunt/collectionHunt.ts'
import type { HuntProgress, HuntVerdict, UnknownCause } from './hunt/hunt.ts'
import type { IndicatorSet } from './hunt/indicators.ts'
import type { StandingSummary } from './hunt/standing.ts'
import type { Library } from './library/library.ts'
import type { Catalog } from './store/catalog.ts'
import { VERSION } from './version.ts'

export type { HitSegment, IndicatorVerdict, RestoreNeed } from './hunt/collectionHunt.ts'
export type { HuntProgress, HuntVerdict, UnknownCause } from './hunt/hunt.ts'
export type { StandingSummary } from './hunt/standing.ts'

export interface HuntRequest {
  /** Texts as people write indicators, defanged or not. */
  readonly values?: readonly string[]
  /** Text files with an indicator a line, `-` for standard input; what follows a # is a comment where it begins a word. */
  readonly lists?: readonly string[]
  /** The library's active indicators; of these types (`FQDN`), or all. */
  readonly library?: boolean
  readonly types?: readonly string[]
  /** Microseconds UTC, both included. */
  readonly from?: number
  readonly to?: number
  /** Search what is online for what keysets call possible. */
  readonly confirm?: boolean
  readonly collections?: readonly string[]
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: HuntProgress) => void
}

export interface HuntResult {
  readonly indicators: number
  /** Lines and words that are no indicators: the first of them, and how many. */
  readonly refused: { readonly count: number; readonly first: readonly string[] }
  /** By type: indicators that no keyset covers. Of them nothing is known. */
  readonly notCovered: ReadonlyMap<string, number>
  /** Indicators by their gravest verdict in any collection. */
  readonly counts: Readonly<Record<HuntVerdict, number>>
  /** Segments in range. */
  readonly searched: number
  /** With hits. */
  readonly segments: readonly HitSegment[]
  /** What proves nothing of some indicators. */
  readonly unknown: readonly (UnknownCause & { readonly collection: string; readonly indicators: number })[]
  readonly expectedFalse: number
  readonly restore: RestoreNeed
  /** Verdicts, those of `all` or other than absent and unknown; by collection, in the order given. */
  verdicts(all?: boolean): Iterable<IndicatorVerdict>
}

export interface StandingRequest {
  /** None: every collection. */
  readonly collections?: readonly string[]
  /** Goes on until it is interrupted. */
  readonly follow?: boolean
  readonly pollSeconds?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: HuntProgress) => void
}

export interface Hunts {
  /** E_HUNT_NOTHING without any indicator. */
  run(request: HuntRequest): Promise<HuntResult>
  /**
   * New segments against all indicators of the library, new indicators against all older segments; hits become findings.
   * One summary a collection and round; without `follow` one round. E_HUNT_BUSY, E_CATALOG_READ_ONLY.
   */
  standing(request?: StandingRequest): AsyncIterable<StandingSummary>
}

export function hunts(
  config: Config,
  parts: {
    readonly catalog: () => Promise<Catalog>
    readonly library: () => Promise<Library>
    readonly requireData: () => void
    readonly requireCollections: (given: string | undefined, catalog: Catalog) => Promise<void>
    readonly log: Log
  },
): Hunts {
  const { catalog, requireData, requireCollections, log } = parts
  const { data_dir: dataDir } = config
  const standingOnce = async function* (request: StandingRequest, open: Catalog): AsyncGenerator<StandingSummary> {
    const [{ standingHunt }, { IndicatorSet }, { Engines }] = await Promise.all([
      import('./hunt/standing.ts'),
      import('./hunt/indicators.ts'),
      import('./store/engines.ts'),
    ])
    const { signal, onProgress } = request
    const owner = await open.owner('hunt')
    const engines = new Engines({ dataDir })
    try {
      for (const collection of request.collections ?? (await open.collections()))
        yield await standingHunt({
          ...{ catalog: open, collection, owner, engines, log, keys: await usableKeys(dataDir, log) },
          ...{ hashDirectory: join(dataDir, 'hunt'), producer: `coldtrail/${VERSION}` },
          severity: { confirmed: config.hunt.severity_confirmed, possible: config.hunt.severity_possible },
          libraryHead: async () => (hasLibrary(config) ? libraryHead(await parts.library()) : undefined),
          async indicators(after) {
            const set = new IndicatorSet()
            await addLibrary(set, config, parts.library, { after, signal })
            return set
          },
          ...(signal && { signal }),
          ...(onProgress && { onProgress }),
        })
    } finally {
      await engines.close()
      await owner.release()
    }
  }
  return {
    async *standing(request = {}) {
      requireData()
      const open = await catalog()
      open.requireWritable()
      if (request.collections) await requireCollections(request.collections.join(','), open)
      const { signal, follow = false, pollSeconds = config.hunt.poll_secs } = request
      for (;;) {
        yield* standingOnce(request, open)
        if (!follow || signal?.aborted) return
        await setTimeout(pollSeconds * 1_000, undefined, { ...(signal && { signal }) }).catch(() => undefined)
        if (signal?.aborted) return
      }
    },
    async run(request) {
      requireData()
      const [{ CollectionHunt }, { IndicatorSet, indicatorOf }, { listLines }, { Engines }, { segmentsOf }] =
        await Promise.all([
          import('./hunt/collectionHunt.ts'),
          import('./hunt/indicators.ts'),
          import('./hunt/lists.ts'),
          import('./store/engines.ts'),
          import('./store/workbench.ts'),
        ])
      const open = await catalog()
      const { collections = ['main'], confirm = false, from, to, signal, onProgress } = request
      await requireCollections(collections.join(','), open)
      if (from !== undefined && to !== undefined && from > to)
        throw new ColdtrailError('E_TIME_ORDER', { from: timeOf(from), to: timeOf(to) })
      const set = new IndicatorSet()
      const refused = { count: 0, first: [] as string[] }
      const seen = new Set<string>()
      const take = (text: string): void => {
        const indicator = indicatorOf(text)
        if (!indicator) {
          refused.count += 1
          if (refused.first.length < 10) refused.first.push(text)
          return
        }
        const name = `${indicator.type} ${indicator.value}`
        if (seen.has(name)) return
        seen.add(name)
        set.add(indicator)
      }
      for (const value of request.values ?? []) take(value)
      for (const list of request.lists ?? []) for await (const line of listLines(list, signal)) take(line)
      if (request.library) await addLibrary(set, config, parts.library, { types: request.types, signal })
      const notCovered = set.notCovered
      if (set.size + notCovered.size === 0) {
        const [first] = refused.first
        const reason =
          first === undefined
            ? 'no indicator was given, or the library has none that is active'
            : `"${first}" is no indicator`
        throw new ColdtrailError('E_HUNT_NOTHING', { reason })
      }
      const engines = new Engines({ dataDir })
      try {
        const found: CollectionHunt[] = []
        const mayWrite = isWritable(open)
        // A segment that a workbench has too is one, with the files that are here.
        const all = collections.length === 1 ? undefined : await segmentsOf(open, collections.join(','))
        for (const collection of collections)
          found.push(
            await CollectionHunt.run({
              ...{
                catalog: open,
                collection,
                set,
                keys: await usableKeys(dataDir, log),
                confirm,
                mayWrite,
                engines,
                log,
              },
              hashDirectory: join(dataDir, 'hunt'),
              ...(all && { rows: all.filter((row) => row.collection === collection) }),
              ...(from === undefined ? {} : { time1: from }),
              ...(to === undefined ? {} : { time2: to }),
              ...(signal && { signal }),
              ...(onProgress && { onProgress }),
            }),
          )
        return resultOf(set, found, refused)
      } finally {
        await engines.close()
      }
    },
  }
}

/** A collect run with a standing hunt at its end, or beside it while it follows. What hunts never fails what collects. */
export async function withStandingHunt<T>(
  { standing }: Hunts,
  collect: () => Promise<T>,
  { follow, collection, log }: { readonly follow: boolean; readonly collection: string; readonly log: Log },
): Promise<T> {
  const ended = new AbortController()
  const hunt = async (request: StandingRequest): Promise<void> => {
    try {
      for await (const { run, newFindings } of standing({ ...request, collections: [collection] }))
        if (newFindings > 0) log('info', 'the standing hunt found something', { run, new_findings: newFindings })
    } catch (error) {
      if (!ended.signal.aborted) log('warn', 'the standing hunt gave up', { reason: asColdtrailError(error).message })
    }
  }
  const beside = follow ? hunt({ follow, signal: ended.signal }) : undefined
  try {
    const summary = await collect()
    if (!follow) await hunt({})
    return summary
  } finally {
    ended.abort()
    await beside
  }
}

// --- internal ---

/** From the gravest on. */
const VERDICTS = ['confirmed', 'possible', 'unknown', 'absent'] as const

const timeOf = (microseconds: number): string => new Date(microseconds / 1_000).toISOString()

/** A reader hunts too; he only leaves nothing behind. */
function isWritable(catalog: Catalog): boolean {
  try {
    catalog.requireWritable()
    return true
  } catch {
    return false
  }
}

/** A key that is damaged or may not be read is like a lost one: its keysets are answered `unknown`. */
async function usableKeys(dataDir: string, log: Log) {
  const { listKeysetKeys } = await import('./store/keysetKeys.ts')
  return listKeysetKeys(dataDir, (error) => log('warn', error.message))
}

/** Who has none need not get an empty one. */
const hasLibrary = ({ catalog_url, data_dir }: Config): boolean =>
  catalog_url !== undefined || existsSync(join(data_dir, 'library.db'))

async function libraryHead({ database }: Library): Promise<number> {
  const { headSequence } = await import('./library/changes.ts')
  return headSequence(database.db)
}

async function addLibrary(
  set: IndicatorSet,
  config: Config,
  library: () => Promise<Library>,
  {
    types,
    after,
    signal,
  }: { readonly types?: readonly string[]; readonly after?: number; readonly signal?: AbortSignal },
): Promise<void> {
  if (!hasLibrary(config)) return
  const { liveIndicators } = await import('./library/liveIndicators.ts')
  for await (const indicator of liveIndicators(await library(), { after })) {
    signal?.throwIfAborted()
    if (types === undefined || types.includes(indicator.type)) set.add(indicator)
  }
}

function resultOf(set: IndicatorSet, found: readonly CollectionHunt[], refused: HuntResult['refused']): HuntResult {
  const counts = { confirmed: 0, possible: 0, unknown: 0, absent: 0 }
  const causes = new Map<
    string,
    { collection: string; reason: string; segments: readonly number[]; indicators: number }
  >()
  for (let i = 0; i < set.size; i++) {
    const verdicts = found.map((hunt) => hunt.verdictOf(i))
    counts[VERDICTS.find((verdict) => verdicts.includes(verdict)) ?? 'absent'] += 1
    for (const hunt of found) {
      if (hunt.verdictOf(i) !== 'unknown') continue
      for (const { reason, segments } of hunt.answer.unknownOf(i)) {
        const name = `${hunt.collection} ${reason}`
        const known = causes.get(name)
        if (known) known.indicators += 1
        else
          causes.set(`${hunt.collection} ${reason}`, { collection: hunt.collection, reason, segments, indicators: 1 })
      }
    }
  }
  for (const count of set.notCovered.values()) counts.unknown += count
  const segments = found.flatMap((hunt) => hunt.hitSegments())
  const needs = found.map((hunt) =>
    hunt.restoreNeed(segments.filter(({ collection }) => collection === hunt.collection).map(({ segment }) => segment)),
  )
  const sum = (part: keyof RestoreNeed): number => needs.reduce((total, need) => total + need[part], 0)
  return {
    ...{ indicators: set.size, refused, notCovered: set.notCovered, counts, segments },
    searched: found.reduce((total, hunt) => total + hunt.segments, 0),
    unknown: [...causes.values()],
    expectedFalse: found.reduce((total, { answer }) => total + answer.expectedFalse, 0),
    restore: {
      ...{ bytes: sum('bytes'), bytesAway: sum('bytesAway'), offline: sum('offline') },
      ...{ deleted: sum('deleted'), gaps: sum('gaps') },
    },
    *verdicts(all = false) {
      for (const hunt of found)
        if (all) for (let i = 0; i < set.size; i++) yield hunt.verdict(i)
        else for (const i of hunt.answer.possible) yield hunt.verdict(i)
    },
  }
}
