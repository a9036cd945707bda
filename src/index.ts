/**
 * The library: `open(config)` joins the halves below. CLI, daemon and UI use nothing else; what they cannot do through
 * it is missing from it. Layers are loaded when they are first needed, so that a search does not wait for the AWS SDK.
 */
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { type Analysis, analysis } from './analysis.ts'
import type { CollectProgress, CollectSummary } from './collect/summary.ts'
import type { DestinationCheck } from './components/destination.ts'
import type { ListStatistics } from './components/source.ts'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import type { SourceObject } from './core/sourceObject.ts'
import { resolveDestinations } from './destinations.ts'
import { type Check, examine, type Probe } from './doctor.ts'
import { type Evidence, evidence } from './evidence.ts'
import type { ForwardSummary } from './forward/summary.ts'
import type { FeedStatus, ForwardRequest, TableRequest } from './forwarding.ts'
import { type Hunts, hunts, withStandingHunt } from './hunting.ts'
import { type KeyRing, keyRing } from './keys.ts'
import type { Library } from './library/library.ts'
import { type Manifests, manifests } from './manifests.ts'
import { scratchFolder } from './platform/scratchFile.ts'
import {
  columnNamed,
  openReader,
  plasoSearch,
  type QuestionRequest,
  questionOf,
  type Rejects,
  type SearchChoices,
  type ShowRequest,
  type Timeline,
} from './questions.ts'
import {
  catSource,
  listSource,
  resolveSources,
  type SourceRequest,
  type SourceSettings,
  sourceProbe,
} from './sources.ts'
import type { DeadLetter } from './store/catalog/outbox.ts'
import type { Catalog, RebuildReport } from './store/catalog.ts'
import { holdsData, requireDataDirectory } from './store/dataDirectory.ts'
import type { FindingQuestion, FindingSearch } from './store/findingSearch.ts'
import { historyCollections, type ManifestMatch, manifestQuery } from './store/history.ts'
import type { Manifest } from './store/manifest.ts'
import type { Answer, Search, StoreReader, ValueCount } from './store/search.ts'
import type { VerifyOptions, VerifySummary } from './store/verify.ts'
import { type Synchronization, synchronization } from './synchronization.ts'
import { type ThreatLibrary, threatLibrary } from './threatLibrary.ts'
import { type Tiers, tierProbes, tiers } from './tiers.ts'
import type { TimelineOutput, TimelineRequest } from './timelineOutput.ts'
import { VERSION } from './version.ts'
import { type Workbenches, workbenches } from './workbenches.ts'

export {
  type Analysis,
  type AnalyzeRequest,
  type AnalyzeStatus,
  type AnalyzeSummary,
  type PluginInfo,
  type PluginSummary,
  PROFILER_NAMES,
  PROFILERS,
  type ProcessStatus,
  type Profiler,
  pluginOptions,
  type RunReport,
  type Warning,
} from './analysis.ts'
export type { KnownKey, VerifyBundleRequest } from './bundleTrust.ts'
export type { CollectProgress, CollectSummary } from './collect/summary.ts'
export type { DestinationCheck } from './components/destination.ts'
export { type Config, type ConfigPlace, loadConfig, parseConfig } from './config.ts'
export { ColdtrailError, ERRORS, type ErrorCode, EXIT } from './core/errors.ts'
export type { Log, LogLevel } from './core/log.ts'
export type { SourceObject } from './core/sourceObject.ts'
export type { Check } from './doctor.ts'
export type {
  Anchor,
  AnchoredHead,
  CaseRequest,
  CaseSummary,
  ErasedSession,
  ErasureChoice,
  ErasurePlan,
  ErasureSummary,
  Evidence,
  FarCopy,
  OfflineRequest,
  OfflineSummary,
} from './evidence.ts'
export type { FeedSummary, ForwardProgress, ForwardSummary } from './forward/summary.ts'
export type { FeedStatus, ForwardRequest, TableRequest } from './forwarding.ts'
export type {
  HitSegment,
  HuntProgress,
  HuntRequest,
  HuntResult,
  Hunts,
  HuntVerdict,
  IndicatorVerdict,
  RestoreNeed,
  StandingRequest,
  StandingSummary,
  UnknownCause,
} from './hunting.ts'
export { writeInitialConfig } from './initialConfig.ts'
export type {
  ImportProgress as LibraryImportProgress,
  ImportRequest as LibraryImportRequest,
  ImportSummary as LibraryImportSummary,
} from './library/formats/importRun.ts'
export type { FormatName } from './library/formats/intake.ts'
export type { HeldRow, QuarantineFilter } from './library/quarantine.ts'
export type { LibraryObject, LibraryStats, ObjectDetails } from './library/read.ts'
export type {
  FoundManifest,
  ManifestClosure,
  ManifestFault,
  ManifestRequest,
  Manifests,
  ManifestVerification,
} from './manifests.ts'
export { parseInterval, type QuestionRequest, type Rejects, type SearchChoices, type Timeline } from './questions.ts'
export type { SourceRequest, SourceSettings } from './sources.ts'
export type { FindingSearch, FoundFinding } from './store/findingSearch.ts'
export type { Finding, Severity } from './store/findings.ts'
export { printManifest } from './store/manifestText.ts'
export type { Answer, EventRow, Search, ValueCount } from './store/search.ts'
export type { Fault, VerifyProgress, VerifySummary } from './store/verify.ts'
export type { TakenAck, WrittenAck } from './sync/acknowledge.ts'
export type { VerifiedBundle } from './sync/bundle/verifyBundle.ts'
export type { ExportProgress as SyncExportProgress, ExportSummary as SyncExportSummary } from './sync/export/summary.ts'
export type {
  ImportProgress as SyncImportProgress,
  ImportSummary as SyncImportSummary,
} from './sync/import/summary.ts'
export type { UndoSummary as SyncUndoSummary } from './sync/import/undo.ts'
export type { RunDetails, RunSummary } from './sync/runs.ts'
export type { KeyDifference, StateComparison } from './sync/state.ts'
export type { SyncExportRequest, Synchronization, SyncImportRequest } from './synchronization.ts'
export type {
  AddRequest,
  AddSummary,
  ExportRequest as LibraryExportRequest,
  ListRequest,
  ThreatLibrary,
} from './threatLibrary.ts'
export type {
  Alarm,
  HoldRequest,
  LegalHold,
  MoveRequest,
  PlaceStatus,
  RollProgress,
  RollSummary,
  Tier,
  TierPlan,
  TierStatus,
  Tiers,
} from './tiers.ts'
export type { TimelineCounts, TimelineOutput, TimelineRequest } from './timelineOutput.ts'
export { VERSION } from './version.ts'
export type {
  CustodyEntry,
  FileFault,
  PlannedFile,
  RestorePlan,
  RestoreRequest,
  RestoreRun,
  RestoreSummary,
  Workbench,
  Workbenches,
} from './workbenches.ts'

/** The collection that is meant when none is named. */
export const MAIN_COLLECTION = 'main'

export interface OpenOptions {
  readonly log?: Log
}

export interface CollectRequest {
  /** URIs, folders, files, `-` or names of configured sources; none: all configured ones. */
  readonly sources?: readonly string[]
  readonly settings?: SourceSettings
  readonly collection?: string
  /** Microseconds UTC, both included. */
  readonly range?: { readonly from?: number; readonly to?: number }
  /** Microseconds UTC: objects last modified then or before are passed over. */
  readonly lastProcessedTime?: number
  readonly maxWorkers?: number
  /** List and claim, fetch nothing. */
  readonly dryRun?: boolean
  readonly follow?: boolean
  /** Try objects again that were quarantined. */
  readonly retryQuarantined?: boolean
  readonly keyset?: boolean
  /** Prometheus text of the run, written when it has ended. */
  readonly metricsFile?: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: CollectProgress) => void
}

export type VerifyRequest = Omit<VerifyOptions, 'catalog' | 'dataDir' | 'decode' | 'anchor'> & {
  /** File of an anchor. */
  readonly anchor?: string
}

export type ManifestQuery = NonNullable<Parameters<typeof manifestQuery>[1]>

export interface Coldtrail {
  readonly config: Config
  /** Collects what is new. A fault of the whole run is `summary.error`; what was committed before it stays. */
  collect(request?: CollectRequest): Promise<CollectSummary>
  /** What a source holds in a range, as the collector would see it. */
  listSource(request: SourceRequest, statistics?: ListStatistics): AsyncIterable<SourceObject>
  /** The bytes of an object (or of all below a prefix, one after another), inflated unless `received`. */
  catSource(request: SourceRequest & { readonly received?: boolean }): AsyncIterable<Uint8Array>
  /** Matches in order, streamed. */
  search(request?: QuestionRequest & SearchChoices): Promise<Search>
  /** Matches as psort puts them out, with its slices. E_USAGE. */
  timelineOutput(request: TimelineRequest): Promise<TimelineOutput>
  /** Writes what a search found to a Parquet file and returns the number of events. */
  exportParquet(found: Search, path: string): Promise<number>
  count(request?: QuestionRequest & Pick<SearchChoices, 'distinct'>): Promise<Answer & { readonly count: number }>
  /** Most frequent values of a column first. */
  values(
    request: QuestionRequest & { readonly field: string; readonly limit?: number },
  ): Promise<Answer & { readonly values: readonly ValueCount[]; readonly distinct: number }>
  timeline(request: QuestionRequest & { readonly intervalSecs: number }): Promise<Timeline>
  /** One event by id or uid. E_EVENT_UNKNOWN. */
  show(id: string, request?: ShowRequest): ReturnType<StoreReader['show']>
  /** What analyses found worth telling, in the order in which runs brought it, with the events. E_RUN_UNKNOWN. */
  findings(
    request?: QuestionRequest & Pick<FindingQuestion, 'run' | 'severity' | 'columns' | 'limit'>,
  ): Promise<FindingSearch>
  /** The record's own bytes. */
  showRaw(id: string, request?: ShowRequest): Promise<Buffer>
  /** Records that a format refused, and objects that were refused whole or are not collected yet. */
  rejects(request?: Omit<QuestionRequest, 'expression' | 'mode'>): Promise<Rejects>
  /** Sends what is new to destinations; one summary each. A fault of a feed is in its summary. */
  forward(request?: ForwardRequest): Promise<readonly ForwardSummary[]>
  /** Sends dead letters again. */
  forwardRetry(
    request?: Pick<ForwardRequest, 'destinations' | 'collection' | 'signal' | 'onProgress'>,
  ): Promise<readonly ForwardSummary[]>
  /** Every feed that has a position, with how far behind it is. */
  forwardStatus(destinations?: readonly string[]): Promise<readonly FeedStatus[]>
  deadLetters(
    destinations?: readonly string[],
  ): AsyncIterable<DeadLetter & { readonly destination: string; readonly feed: string }>
  /** Address, credentials, rights and clock of a destination; sends no record. */
  forwardCheck(destination: string, signal?: AbortSignal): AsyncIterable<DestinationCheck>
  /** Data collection rule, tables and role for a destination, as a template of ARM or Bicep. */
  forwardTable(request: TableRequest): Promise<string>
  /** Plugins over events: runs, their tags and reports. */
  readonly analysis: Analysis
  /** Anchors, checks from outside, erasure, cases for third parties. */
  readonly evidence: Evidence
  /** Indicators against the keysets of every segment ever sealed. */
  readonly hunts: Hunts
  /** Where files lie and for how long; legal holds. */
  readonly tiers: Tiers
  readonly keys: KeyRing
  /** Copies of segments that had gone: what it takes, bring them back, keep them for a while. */
  readonly workbenches: Workbenches
  /** The threat objects: in, out, and what was refused. */
  readonly library: ThreatLibrary
  /** Bundles for other sites and from them. */
  readonly sync: Synchronization
  /** Manifests of everything ever sealed, and of other stores: search, closure, checks, export. */
  readonly manifests: Manifests
  /** Manifests of every segment ever sealed that overlap a range of POSIX seconds, wherever the data are. */
  manifestQuery(query?: ManifestQuery): readonly ManifestMatch<Manifest>[]
  /** Reads everything again that the chain vouches for; each fault is told to `onFault`, and none is thrown. */
  verify(request?: VerifyRequest): Promise<VerifySummary>
  /** A new catalog from segments, manifests, history and chain; the old one is kept beside it. */
  rebuildCatalog(): Promise<RebuildReport>
  doctor(): Promise<readonly Check[]>
  close(): Promise<void>
}

/** Opens nothing yet: the catalog and the layers are opened by the first call that needs them. */
export async function open(config: Config, { log = () => undefined }: OpenOptions = {}): Promise<Coldtrail> {
  const { data_dir: dataDir, catalog_url: url } = config
  const historyDirectory = config.manifest_dir ?? join(dataDir, 'history')
  const catalogOptions = { dataDir, historyDir: historyDirectory, url, anchor: config.anchor }
  let opened: Promise<Catalog> | undefined
  const catalog = (): Promise<Catalog> => {
    opened ??= import('./store/catalog.ts').then(({ openCatalog }) => openCatalog(catalogOptions))
    return opened
  }
  let openedLibrary: Promise<Library> | undefined
  const library = (): Promise<Library> => {
    openedLibrary ??= import('./library/library.ts').then(({ openLibrary }) => openLibrary({ dataDir, url }))
    return openedLibrary
  }
  /** A catalog on a server, or a history in a place of its own, from which the catalog can be rebuilt. */
  const hasElsewhere = (): boolean =>
    url !== undefined || (config.manifest_dir !== undefined && existsSync(config.manifest_dir))
  const requireData = (): void => requireDataDirectory(dataDir, hasElsewhere())

  let reading: Promise<StoreReader> | undefined
  const reader = async ({ collection = MAIN_COLLECTION }: { collection?: string } = {}): Promise<StoreReader> => {
    requireData()
    reading ??= openReader(config, catalog)
    const answering = await reading
    if (collection !== MAIN_COLLECTION) await requireCollections(collection, await catalog())
    return answering
  }
  const forwarding = () => import('./forwarding.ts')
  const forwardParts = async ({
    destinations = [],
    collection,
  }: Pick<ForwardRequest, 'destinations' | 'collection'>) => {
    const settings = resolveDestinations(config, destinations)
    // The reader first: it refuses a directory without data, which the catalog would make.
    const parts = { config, reader: await reader(), catalog: await catalog(), log }
    if (collection !== undefined) await requireCollections(collection, parts.catalog)
    else {
      const known = await collectionsOf(parts.catalog)
      for (const { collection } of settings) requireCollection(collection, known)
    }
    return parts
  }

  const hunting = hunts(config, { catalog, library, requireData, requireCollections, log })
  const proof = evidence(config, { catalog, requireData, reader })

  const search: Coldtrail['search'] = async ({ columns, order, limit, distinct, mode, ...request } = {}) => {
    const choices = {
      columns: columns?.map(columnNamed),
      order,
      limit,
      distinct: distinct === undefined ? undefined : columnNamed(distinct),
    }
    if (mode === 'plaso') return plasoSearch(await reader(request), request, choices, log)
    const question = await questionOf(request, log)
    return (await reader(request)).search({ ...question, ...choices })
  }

  return {
    config,
    async collect({ sources = [], settings, ...request } = {}) {
      const declarations = resolveSources(config, sources, settings)
      const { collect } = await import('./collect/collect.ts')
      const open = await catalog()
      open.requireWritable()
      const keyset = config.keyset ? await currentKey(dataDir) : null
      const run = () =>
        collect({
          ...request,
          catalog: open,
          sources: declarations,
          collection: request.collection ?? MAIN_COLLECTION,
          maxWorkers: request.maxWorkers ?? config.collect.max_workers,
          processes: config.collect.processes ?? availableParallelism(),
          follow: request.follow ? { pollSeconds: config.collect.poll_secs } : undefined,
          compact: config.segment.compact,
          keepLog: config.keep_log,
          keyset,
          scratch: join(dataDir, 'scratch'),
          formattersDirectory: config.collect.plaso_formatters,
          producer: `coldtrail/${VERSION}`,
          decodeLimits: { maxBytes: config.collect.max_object_bytes, maxRatio: config.collect.max_ratio },
          segmentLimits: segmentLimits(config),
          log,
        })
      if (!config.hunt.standing || request.dryRun) return run()
      const { follow = false, collection = MAIN_COLLECTION } = request
      return withStandingHunt(hunting, run, { follow, collection, log })
    },
    listSource: (request, statistics) => listSource(config, log, request, statistics),
    catSource: (request) => catSource(config, log, request),
    search,
    timelineOutput: async (request) => (await import('./timelineOutput.ts')).timelineOutput(search, request),
    exportParquet: async (found, path) => (await import('./store/parquet/exportEvents.ts')).exportEvents(found, path),
    count: async ({ distinct, ...request } = {}) =>
      (await reader(request)).count({
        ...(await questionOf(request, log)),
        distinct: distinct && columnNamed(distinct),
      }),
    values: async ({ field, limit, ...request }) =>
      (await reader(request)).values({ ...(await questionOf(request, log)), field: columnNamed(field), limit }),
    timeline: async ({ intervalSecs, ...request }) =>
      (await reader(request)).timeline({ ...(await questionOf(request, log)), intervalSecs }),
    show: async (id, request) => (await reader(request)).show(id, request),
    async findings({ run, severity, columns, limit, ...request } = {}) {
      const answering = await reader(request)
      const open = await catalog()
      if (run !== undefined && (await open.runs({ run })).length === 0)
        throw new ColdtrailError('E_RUN_UNKNOWN', { run })
      const { searchFindings } = await import('./store/findingSearch.ts')
      const choices = { run, severity, columns: columns?.map(columnNamed), limit }
      return searchFindings({ catalog: open, reader: answering }, { ...(await questionOf(request)), ...choices })
    },
    showRaw: async (id, request) => (await reader(request)).showRaw(id, request),
    rejects: async (request = {}) => (await reader(request)).rejects(await questionOf(request)),
    forward: async (request = {}) => (await forwarding()).forwardTo(await forwardParts(request), request),
    forwardRetry: async (request = {}) => (await forwarding()).forwardRetry(await forwardParts(request), request),
    async forwardStatus(destinations) {
      requireData()
      return (await forwarding()).forwardStatus({ config, catalog: await catalog() }, destinations)
    },
    async *deadLetters(destinations) {
      requireData()
      yield* (await forwarding()).deadLetters({ config, catalog: await catalog() }, destinations)
    },
    async *forwardCheck(destination, signal) {
      yield* (await forwarding()).forwardCheck({ config, log }, destination, signal)
    },
    forwardTable: async (request) => (await forwarding()).forwardTable({ config, log }, request),
    analysis: analysis(config, { catalog, library, requireData, log }),
    evidence: proof,
    hunts: hunting,
    tiers: tiers(config, { catalog, requireData, log }),
    keys: keyRing(dataDir, requireData),
    workbenches: workbenches(config, { catalog, requireData, log }),
    library: threatLibrary(library, requireData, log),
    sync: synchronization(config, library, requireData),
    manifests: manifests(config, { catalog, requireData }),
    manifestQuery(query = {}) {
      if (!existsSync(historyDirectory)) requireData()
      requireCollection(query.collection, historyCollections(historyDirectory))
      return manifestQuery(historyDirectory, query)
    },
    async verify({ anchor, ...request } = {}) {
      requireData()
      const [{ verifyStore }, { decodeStream }] = await Promise.all([
        import('./store/verify.ts'),
        import('./collect/decode.ts'),
      ])
      await requireCollections(request.collection, await catalog())
      // What was collected was within its limits then.
      const limits = { maxBytes: Number.MAX_SAFE_INTEGER, maxRatio: Number.MAX_SAFE_INTEGER }
      const found = anchor === undefined ? undefined : await proof.readAnchor(anchor)
      return verifyStore({
        ...request,
        ...(found && { anchor: found }),
        catalog: await catalog(),
        dataDir,
        decode: async (received, size) => (await decodeStream(received, size, limits, scratchFolder(dataDir))).decoded,
      })
    },
    async rebuildCatalog() {
      requireData()
      const { rebuildCatalog } = await import('./store/catalog.ts')
      return rebuildCatalog(catalogOptions)
    },
    doctor() {
      const isNew = !hasElsewhere() && !holdsData(dataDir)
      const sources = config.sources.map(({ name }) => sourceProbe(config, name, log))
      const places = isNew ? [] : tierProbes(config, catalog)
      const store = isNew ? [NEW_CATALOG] : [catalogProbe(catalog), keysProbe(dataDir, catalog)]
      return examine(config, [...store, ...places, ...sources])
    },
    async close() {
      await (await reading)?.close()
      await openedLibrary?.then((open) => open.close())
      await opened?.then((open) => open.close())
    },
  }
}

// --- internal ---

/** A misspelt name must not answer "nothing", and be complete. The one meant by default may be empty. */
function requireCollection(name = MAIN_COLLECTION, known: readonly string[]): void {
  if (name !== MAIN_COLLECTION && !known.includes(name))
    throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name, known: known.join(', ') || 'none' })
}

/** Each of several by comma; workbenches are asked like collections. */
async function requireCollections(given: string | undefined, catalog: Catalog): Promise<void> {
  const { collectionNames } = await import('./store/collectionNames.ts')
  const names = collectionNames(given)
  if (names.every((name) => name === MAIN_COLLECTION)) return
  const known = [...(await collectionsOf(catalog)), ...(await catalog.workbenches()).map(({ name }) => name)]
  for (const name of names) requireCollection(name, known)
}

/** With those into which nothing could be collected yet: what was refused is to be seen. */
async function collectionsOf(catalog: Catalog): Promise<string[]> {
  const failed = (await catalog.pending()).map(({ collection }) => collection ?? MAIN_COLLECTION)
  return [...new Set([...(await catalog.collections()), ...failed])].sort()
}

async function currentKey(dataDir: string) {
  const { keysetEpoch, loadKeysetKey } = await import('./store/keysetKeys.ts')
  return loadKeysetKey(dataDir, keysetEpoch(new Date()))
}

const NEW_CATALOG: Probe = ['catalog', async () => 'made at the first collect']

function catalogProbe(catalog: () => Promise<Catalog>): Probe {
  return [
    'catalog',
    async () => {
      const { dialect, segments } = await catalog().then(async (open) => ({
        dialect: open.dialect,
        segments: await open.segments({ state: 'live' }),
      }))
      const events = segments.reduce((sum, { rows }) => sum + rows, 0)
      return `${dialect} opens: ${segments.length} segments, ${events} events`
    },
  ]
}

/** A lost key is replaced in silence when the next link is written: what was kept with it needs the old one. */
function keysProbe(dataDir: string, catalog: () => Promise<Catalog>): Probe {
  return [
    'keys of what is kept',
    async () => {
      const open = await catalog()
      const [{ readPublicKeys }, { listKeysetKeys }] = await Promise.all([
        import('./store/signingKeys.ts'),
        import('./store/keysetKeys.ts'),
      ])
      const signing = new Set<string>()
      for (const name of await open.collections())
        for (const after of [0, (await open.head(name)) - 1])
          for (const { key } of await open.commits(name, { after, limit: 1 })) signing.add(key)
      const held = new Set(readPublicKeys(dataDir).map(({ id }) => id))
      for (const id of signing)
        if (!held.has(id)) {
          const reason = `links are signed with it, and ${join(dataDir, 'keys', `sign-${id}.pub`)} is not there`
          throw new ColdtrailError('E_SIGNING_KEY', { id, reason })
        }
      const here = new Set(listKeysetKeys(dataDir).map(({ id }) => id))
      const hashing = new Set<string>()
      for (const { files } of await open.segments({ state: 'live' }))
        for (const { manifest } of files) {
          if (!manifest.keyset) continue
          const { key, epoch } = manifest.keyset
          hashing.add(key)
          if (here.has(key)) continue
          const reason = `key ${key} of keysets that are kept is not here, and hunts say "unknown" of them`
          throw new ColdtrailError('E_KEYSET_KEY', { epoch, reason })
        }
      return `${signing.size} of links and ${hashing.size} of keysets are here`
    },
  ]
}

function segmentLimits({ segment }: Config) {
  const { max_rows: maxRows, max_bytes: maxBytes, max_open: maxOpen, idle_secs: idleSeconds } = segment
  return { maxRows, maxBytes, maxOpen, idleSeconds }
}
