/** The sync of threat libraries as a person or a program uses it: bundles out and in, acknowledgements, state, runs. */
import { existsSync } from 'node:fs'
import { basename, isAbsolute, join, resolve } from 'node:path'
import { type BundleTrust, bundleTrust } from './bundleTrust.ts'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import { parseGivenTime } from './core/givenTime.ts'
import { nearest } from './core/nearest.ts'
import type { StateDigest } from './library/digest.ts'
import type { Library } from './library/library.ts'
import type { TakenAck, WrittenAck } from './sync/acknowledge.ts'
import type { BaseChoice } from './sync/export/stream.ts'
import type { ExportProgress, ExportSummary } from './sync/export/summary.ts'
import type { FillRequest, FillSummary } from './sync/fillHash.ts'
import type { ImportPolicy, ImportRequest } from './sync/import/import.ts'
import type { ImportSummary } from './sync/import/summary.ts'
import type { UndoSummary } from './sync/import/undo.ts'
import type { RunDetails, RunSummary } from './sync/runs.ts'
import type { Site } from './sync/siteKeys.ts'
import type { StateComparison } from './sync/state.ts'
import type { TrustPolicy } from './sync/trust.ts'
import { VERSION } from './version.ts'

export interface SyncExportRequest {
  /** Directory, made when missing; a relative one lies below the transfer directory, which is the default. */
  readonly target?: string
  /** `YYYY-MM-DD hh:mm:ss`, UTC, and the other forms of times. With one of them the bundle is a window. */
  readonly startDate?: string
  readonly endDate?: string
  readonly includeDeleted?: boolean
  readonly includeInvestigations?: boolean
  /** Names of attachment types. */
  readonly ignoreFileTypes?: readonly string[]
  readonly objectLimit?: number
  /** Bytes. */
  readonly memoryLimit?: number
  /** Ceiling. */
  readonly tlp?: string
  /** Expression over objects. */
  readonly where?: string
  readonly base?: BaseChoice
  readonly audience?: string
  /** Files of private keys that sign beside the site's own. */
  readonly sign?: readonly string[]
  /** age: `age1…` or files of them. */
  readonly encryptTo?: readonly string[]
  /** Bytes. */
  readonly splitSize?: number
  /** Digests in a full bundle, by which the target proves that it holds the same; default: up to 200,000 rows. */
  readonly stateDigests?: boolean
  /** Time after which it is not to be imported any more. */
  readonly expires?: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: ExportProgress) => void
}

export interface SyncImportRequest
  extends Partial<ImportPolicy>,
    Omit<ImportRequest, 'transferDir' | 'site' | 'policy' | 'trust'> {
  /** Keys that the bundle may be signed with: ids or files. */
  readonly trust?: readonly string[]
}

/** Opens the library at the first call that needs it. */
export interface Synchronization extends BundleTrust {
  /** Where bundles lie by default. */
  readonly transferDir: string
  /** A fault of the run is `summary.error`. */
  export(request?: SyncExportRequest): Promise<ExportSummary>
  /** A fault of the run is `summary.error`. */
  import(request: SyncImportRequest): Promise<ImportSummary>
  /** Takes an import back. E_SYNC_RUN. */
  undo(run: string): Promise<UndoSummary>
  fillHash(request?: FillRequest): Promise<FillSummary>
  /** At the target: writes the acknowledgement of the last imported bundle, or a named one. */
  acknowledge(request?: { readonly bundle?: string; readonly target?: string }): Promise<WrittenAck>
  /** At the source: takes one in. */
  takeAcknowledgement(file: string, trust?: readonly string[]): Promise<TakenAck>
  state(): Promise<StateDigest>
  /** Lines of a file that another site compares with. */
  stateKeys(): AsyncIterable<string>
  compareState(file: string): Promise<StateComparison>
  runs(limit?: number): Promise<readonly RunSummary[]>
  /** One run in full. E_SYNC_RUN. */
  run(run: string): Promise<RunDetails>
}

/** `requireData`: throws when there is no data directory, which reading must not make. */
export function synchronization(
  config: Config,
  library: () => Promise<Library>,
  requireData: () => void,
): Synchronization {
  const { data_dir: dataDir, sync } = config
  const transferDir = sync.transfer_dir ?? join(dataDir, 'agds_transfer')
  const below = (path: string): string => (isAbsolute(path) ? path : resolve(transferDir, path))
  const existing = (): Promise<Library> => {
    requireData()
    return library()
  }
  const ownSite = async (): Promise<Site> => (await import('./sync/siteKeys.ts')).loadSite(dataDir, config.site)
  const trustPolicy = (own: Site | undefined, given: readonly string[] = []): TrustPolicy => ({
    mode: sync.trust,
    threshold: sync.threshold,
    listed: sync.keys,
    given,
    own,
  })
  return {
    ...bundleTrust({ config, transferDir, library, trustPolicy }),
    transferDir,
    async export(request = {}) {
      const { exportBundle } = await import('./sync/export/export.ts')
      const open = await existing()
      const site = await ownSite()
      return exportBundle(open, await exportRequest(open, site, below(request.target ?? '.'), request))
    },
    async import({ trust, keepCreatedAt, overrideDescription, objectLimit, conflicts, deletions, ...request }) {
      const { importBundle } = await import('./sync/import/import.ts')
      const open = await library()
      const site = await ownSite()
      const identities = [...(sync.identity === undefined ? [] : [sync.identity]), ...(request.identities ?? [])]
      return importBundle(open, {
        userMap: sync.user_map,
        ...request,
        identities,
        transferDir,
        site: site.name,
        trust: trustPolicy(site, trust),
        policy: {
          conflicts: conflicts ?? 'newest',
          deletions: deletions ?? 'sync-created-only',
          keepCreatedAt: keepCreatedAt ?? true,
          overrideDescription: overrideDescription ?? true,
          objectLimit: objectLimit ?? 1_000,
        },
      })
    },
    undo: async (run) => (await import('./sync/import/undo.ts')).undoImport(await existing(), run),
    // It writes: a site may begin with it, as the original’s guide has it.
    fillHash: async (request) => (await import('./sync/fillHash.ts')).fillHash(await library(), request),
    async acknowledge({ bundle, target = '.' } = {}) {
      const { writeAck } = await import('./sync/acknowledge.ts')
      const open = await existing()
      const name = bundle === undefined ? undefined : basename(bundle).replace(/\.tar\.gz.*$/, '')
      return writeAck(open, { site: await ownSite(), target: below(target), bundle: name })
    },
    async takeAcknowledgement(file, given) {
      const { takeAck } = await import('./sync/acknowledge.ts')
      const site = await ownSite()
      const path = existsSync(below(file)) ? below(file) : resolve(file)
      return takeAck(await existing(), { path, site, trust: trustPolicy(site, given) })
    },
    state: async () => (await import('./library/digest.ts')).stateDigest(await existing()),
    async *stateKeys() {
      const { stateKeyLines } = await import('./sync/state.ts')
      yield* stateKeyLines(await existing(), (await ownSite()).name)
    },
    compareState: async (file) => (await import('./sync/state.ts')).compareState(await existing(), file),
    runs: async (limit) => (await import('./sync/runs.ts')).runSummaries(await existing(), limit),
    run: async (run) => (await import('./sync/runs.ts')).runDetails(await existing(), run),
  }
}

// --- internal ---

async function exportRequest(library: Library, site: Site, target: string, request: SyncExportRequest) {
  const [{ loadSigner }, { tlpNamed }, { compileObjectExpression }, { requireSiteName }, { requireDeliverable }, dump] =
    await Promise.all([
      import('./sync/siteKeys.ts'),
      import('./library/dictionaries.ts'),
      import('./library/objectExpressions.ts'),
      import('./sync/trust.ts'),
      import('./sync/bundle/bundleWriter.ts'),
      import('./sync/export/dump.ts'),
    ])
  const { DUMP_ROWS } = dump
  const { signal, onProgress, base = 'auto', audience, objectLimit, memoryLimit, splitSize } = request
  const where = request.where?.trim() || null
  if (where !== null) compileObjectExpression(where)
  const tlp = request.tlp === undefined ? null : tlpNamed(request.tlp)
  if (tlp === undefined)
    throw new ColdtrailError('E_USAGE', {
      message: `"${request.tlp}" is no TLP: white (or clear), green, amber, amber+strict, red.`,
    })
  if (audience !== undefined) requireSiteName(audience)
  if (objectLimit !== undefined && objectLimit > DUMP_ROWS)
    throw new ColdtrailError('E_USAGE', { message: `--object-limit: a dump file has at most ${DUMP_ROWS} rows.` })
  const expires = request.expires === undefined ? undefined : milliseconds(request.expires, '--expires')
  if (expires !== undefined && expires <= Date.now())
    throw new ColdtrailError('E_USAGE', { message: `--expires: ${request.expires} is over; nobody could import it.` })
  const window = windowOf(request)
  if (window && base !== 'auto')
    throw new ColdtrailError('E_USAGE', {
      message: `A window of dates continues nothing: --${base} does not go with it.`,
    })
  const given = (request.sign ?? []).map((file) => loadSigner(file)).filter(({ key }) => site.signer.id !== key.id)
  const keys = [
    ...site.keys,
    ...given.map(({ key }) => key).filter(({ id }) => !site.keys.some((own) => own.id === id)),
  ]
  const config = {
    include_deleted: request.includeDeleted ?? false,
    include_investigations: request.includeInvestigations ?? false,
    ignore_file_types: await fileTypes(library, request.ignoreFileTypes ?? []),
    tlp,
    where,
  }
  return {
    target,
    config,
    window,
    base,
    audience,
    objectLimit,
    memoryLimit,
    site: site.name,
    keys,
    signers: [site.signer, ...given.map(({ signer }) => signer)],
    recipients: requireDeliverable({ splitSize, recipients: request.encryptTo }),
    splitSize,
    stateDigests: request.stateDigests,
    expires: expires === undefined ? undefined : new Date(expires),
    tool: `coldtrail/${VERSION}`,
    options: optionsOf(request, target),
    signal,
    onProgress,
  }
}

const milliseconds = (text: string, where: string): number =>
  Math.floor(parseGivenTime(text, { where, now: Date.now() * 1_000 }).time / 1_000)

function windowOf({ startDate, endDate }: SyncExportRequest) {
  if (startDate === undefined && endDate === undefined) return undefined
  const start = startDate === undefined ? null : milliseconds(startDate, '--start-date')
  const end = endDate === undefined ? null : milliseconds(endDate, '--end-date')
  if (start !== null && end !== null && start >= end)
    throw new ColdtrailError('E_TIME_ORDER', { from: '--start-date', to: '--end-date' })
  return { start, end }
}

/** Names as the dictionary has them, each once: a misspelt one would let its files out. */
async function fileTypes({ database }: Library, given: readonly string[]): Promise<string[]> {
  if (given.length === 0) return []
  const rows = await database.db.selectFrom('attachment_types').select('name').execute()
  const known = new Map(rows.map(({ name }) => [(name as string).toLowerCase(), name as string]))
  // A list in one option, unless that is a name.
  const wanted = given
    .flatMap((text) => (known.has(text.trim().toLowerCase()) ? [text] : text.split(',')))
    .map((text) => text.trim())
  const names = wanted
    .filter((text) => text !== '')
    .map((text) => {
      const name = known.get(text.toLowerCase())
      if (name !== undefined) return name
      const guess = nearest(text, [...known.values()])
      const hint = guess === undefined ? '' : ` Did you mean ${guess}?`
      throw new ColdtrailError('E_USAGE', { message: `--ignore-file-types: there is no file type ${text}.${hint}` })
    })
  return [...new Set(names)].sort()
}

/** As given, under the names of the command line. */
function optionsOf(request: SyncExportRequest, target: string): Record<string, unknown> {
  const { signal: _, onProgress: __, ...given } = request
  const named = Object.entries({ ...given, target }).filter(([, value]) => value !== undefined)
  return Object.fromEntries(
    named.map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), value]),
  )
}
