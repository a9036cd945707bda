/** Restores and workbenches as a person or a program uses them: plan, restore, keep, hold, remove, and who did it. */
import { realpathSync } from 'node:fs'
import { isAbsolute, relative, resolve } from 'node:path'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import { nearestExisting } from './platform/fileSystem.ts'
import type { Catalog } from './store/catalog.ts'
import type { CustodyEntry } from './store/custody.ts'
import type { Workbench, WorkbenchFile } from './store/workbench.ts'
import type { FolderProgress } from './tier/broughtBack.ts'
import type { CopyProgress, OpenRemote, RestoreSummary } from './tier/restore.ts'
import type { RestorePlan, RestoreSelection } from './tier/restorePlan.ts'

export type { CustodyEntry } from './store/custody.ts'
export type { Workbench, WorkbenchFile } from './store/workbench.ts'
export type { FileFault, RestoreSummary } from './tier/restore.ts'
export type { PlannedFile, RestorePlan } from './tier/restorePlan.ts'

export interface RestoreRequest extends RestoreSelection {
  /** Whose segments; default `main`. */
  readonly collection?: string
  /** Default `workbench`. */
  readonly workbench?: string
  /** The folder of a new workbench is made in it; default `workbenches` in the data directory. */
  readonly directory?: string
  /** Files brought back from a backup, whatever they are called. */
  readonly folder?: string
  /** Text of an answer of `hunt --json`, and what to call it in errors. */
  readonly hunt?: { readonly text: string; readonly where: string }
  /** Copies also of what is in hot and warm. */
  readonly all?: boolean
  /** Without the packs of objects as received. */
  readonly withoutLog?: boolean
  readonly signal?: AbortSignal
  readonly onLook?: (progress: FolderProgress) => void
}

export interface RestoreRun extends RestoreRequest {
  /** Why, for the custody log. */
  readonly reason?: string
  /** How long the workbench is kept from now; default 30 days. */
  readonly keepSecs?: number
  readonly onCopy?: (progress: CopyProgress) => void
}

export interface Workbenches {
  /** What a restore would copy, from where, and what is missing. E_RESTORE_REQUEST, E_WORKBENCH_NAME. */
  plan(request?: RestoreRequest): Promise<RestorePlan>
  /** Copies, verifies and commits; what is missing or damaged is in the summary. E_DISK_FULL before anything is copied. */
  restore(request?: RestoreRun): Promise<RestoreSummary>
  /** By name. */
  list(): Promise<readonly Workbench[]>
  /** E_WORKBENCH_UNKNOWN. */
  show(name: string): Promise<Workbench & { readonly contents: readonly WorkbenchFile[] }>
  /** Keeps it so long from now. */
  extend(name: string, keepSecs: number, reason?: string): Promise<Workbench>
  /** Held ones do not expire and are not removed. */
  hold(name: string, reason?: string): Promise<Workbench>
  release(name: string, reason?: string): Promise<Workbench>
  /** It is gone at once, and its files with a later sweep. E_WORKBENCH_HELD. */
  remove(name: string, reason?: string): Promise<Workbench>
  /** Who took copies of files of a collection when, and what became of them; `workbench`: only of this one. */
  custody(request?: { readonly collection?: string; readonly workbench?: string }): Promise<readonly CustodyEntry[]>
}

export function workbenches(
  config: Config,
  parts: {
    readonly catalog: () => Promise<Catalog>
    readonly requireData: () => void
    readonly log: Log
  },
): Workbenches {
  const opened = async (): Promise<Catalog> => {
    parts.requireData()
    return parts.catalog()
  }
  const planned = async (request: RestoreRequest) => {
    const catalog = await opened()
    const {
      collection = 'main',
      workbench = 'workbench',
      hunt,
      segments = [],
      directory,
      folder,
      onLook,
      ...rest
    } = request
    const known = await catalog.collections()
    if (collection !== 'main' && !known.includes(collection))
      throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name: collection, known: known.join(', ') || 'none' })
    const { segmentsOfHunt } = await import('./tier/huntAnswer.ts')
    const hunted = hunt === undefined ? [] : segmentsOfHunt(hunt.text, hunt.where)
    if (hunt !== undefined && hunted.length + segments.length === 0)
      throw new ColdtrailError('E_RESTORE_REQUEST', {
        where: hunt.where,
        reason: 'it names no segment: nothing to restore',
      })
    return {
      ...{ ...rest, catalog, collection, workbench, segments: [...segments, ...hunted], onProgress: onLook },
      ...(directory === undefined ? {} : { directory: outside(config, resolve(directory)) }),
      ...(folder === undefined ? {} : { folder: resolve(folder) }),
    }
  }
  const bench = async (name: string): Promise<Workbench> => {
    const [found] = await (await opened()).workbenches(name)
    if (!found) throw new ColdtrailError('E_WORKBENCH_UNKNOWN', { name })
    return found
  }
  const change = async (name: string, action: 'extend' | 'hold' | 'release', reason: string, expires?: number) => {
    const catalog = await opened()
    catalog.requireWritable()
    const owner = await catalog.owner('restore')
    try {
      await catalog.changeWorkbench(owner, name, { action, reason, ...(expires === undefined ? {} : { expires }) })
    } finally {
      await owner.release()
    }
    return bench(name)
  }
  return {
    async plan(request = {}) {
      const { planRestore } = await import('./tier/restorePlan.ts')
      return planRestore(await planned(request))
    },
    async restore({ reason = '', keepSecs = KEEP_SECS, onCopy, ...request } = {}) {
      const [{ restore }, { storagesOf }] = await Promise.all([import('./tier/restore.ts'), import('./tiers.ts')])
      const options = await planned(request)
      const storages = await storagesOf(config, parts.log, request.signal)
      try {
        const openRemote: OpenRemote = (url, signal) => storages.open(url, signal)
        return await restore({ ...options, reason, expires: fromNow(keepSecs), log: parts.log, onCopy, openRemote })
      } finally {
        await storages.close()
      }
    },
    list: async () => (await opened()).workbenches(),
    async show(name) {
      const found = await bench(name)
      return { ...found, contents: await (await opened()).workbenchFiles(name) }
    },
    extend: (name, keepSecs, reason = '') => change(name, 'extend', reason, fromNow(keepSecs)),
    hold: (name, reason = '') => change(name, 'hold', reason),
    release: (name, reason = '') => change(name, 'release', reason),
    async remove(name, reason = '') {
      const catalog = await opened()
      catalog.requireWritable()
      const found = await bench(name)
      const owner = await catalog.owner('restore')
      try {
        await catalog.removeWorkbench(owner, name, reason)
      } finally {
        await owner.release()
      }
      return found
    },
    async custody({ collection, workbench } = {}) {
      const catalog = await opened()
      const found = workbench === undefined ? undefined : (await catalog.workbenches(workbench))[0]
      const log = await catalog.custody(collection ?? found?.home ?? 'main')
      return workbench === undefined ? log : log.filter((entry) => entry.workbench === workbench)
    },
  }
}

// --- internal ---

/** Folders of the data directory have their own meanings. E_RESTORE_DIRECTORY. */
function outside({ data_dir: dataDir }: Config, directory: string): string {
  const inside = relative(realpathSync(dataDir), realpathSync(nearestExisting(directory)))
  if (inside.startsWith('..') || isAbsolute(inside) || inside === 'workbenches') return directory
  const reason = 'it lies in the data directory, where only its folder `workbenches` is for copies'
  throw new ColdtrailError('E_RESTORE_DIRECTORY', { path: directory, reason })
}

const KEEP_SECS = 30 * 86_400

const fromNow = (seconds: number): number => (Date.now() + seconds * 1_000) * 1_000
