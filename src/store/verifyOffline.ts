/**
 * Checks a data directory, or its history alone, with nothing but public keys that the caller brings: no catalog, no key
 * of the directory itself. Where a file lies is told by the links; one that is not there is offline, and no fault.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { anchorFaults, type FoundAnchor } from './anchor.ts'
import {
  type ChainReport,
  type FileOfSegment,
  linkFileName,
  replacedOf,
  segmentOf,
  sha256,
  verifyChain,
} from './chain.ts'
import { throwIfAborted } from './duckdb.ts'
import { digestOfDirectory, digestOfFile } from './hashedFile.ts'
import { isLocal } from './heldFile.ts'
import { historyCollections, verifyHistory } from './history.ts'
import { QUARANTINE_LOG } from './quarantine.ts'
import type { PublicKeys } from './signingKeys.ts'
import type { Fault, VerifyProgress } from './verify.ts'

export interface OfflineOptions {
  readonly historyDir: string
  /** Undefined: only the history is here. */
  readonly dataDir?: string
  readonly keys: PublicKeys
  readonly collection?: string
  /** Numbers of the last links by collection, where a catalog knows them: a cut tail shows. */
  readonly heads?: ReadonlyMap<string, number>
  readonly anchor?: FoundAnchor
  readonly signal?: AbortSignal
  readonly onFault?: (fault: Fault) => void
  readonly onProgress?: (progress: VerifyProgress) => void
}

export interface OfflineSummary {
  readonly collections: number
  readonly links: number
  /** Live segments by the chain. */
  readonly segments: number
  /** Files read, and their bytes. */
  readonly files: number
  readonly bytes: number
  /** Files of live segments that are not here. */
  readonly offline: number
  readonly faults: number
}

export async function verifyOffline(options: OfflineOptions): Promise<OfflineSummary> {
  const { historyDir, dataDir, collection, anchor, signal, onProgress } = options
  const counts = { collections: 0, links: 0, segments: 0, files: 0, bytes: 0, offline: 0, faults: 0 }
  const report = (fault: Fault): void => {
    counts.faults += 1
    options.onFault?.(fault)
  }
  const reports: ChainReport[] = []
  const names = new Set([...historyCollections(historyDir), ...(options.heads?.keys() ?? [])])
  for (const name of [...names].filter((name) => collection === undefined || name === collection)) {
    throwIfAborted(signal)
    const directory = join(historyDir, name)
    const head = options.heads?.get(name)
    const committed = head === undefined ? undefined : { head, hashes: new Map<number, string>() }
    const chain = verifyChain(name, join(directory, 'chain'), options.keys, committed)
    reports.push(chain)
    counts.collections += 1
    counts.links += chain.links.length
    for (const fault of chainFaults(directory, chain)) report(fault)
    for (const { segment, file, fault } of verifyHistory(
      historyDir,
      name,
      chain.links.map(({ link }) => link.body),
    )) {
      const [base, what] = file.split(': ') as [string, string?]
      const detail =
        what === undefined ? 'it is not as the chain vouches for it' : `it lacks ${what} as it was committed`
      report({
        file: join(directory, base),
        fault: what === undefined ? fault : 'damaged',
        detail,
        collection: name,
        segment,
      })
    }
  }
  const chainDirectory = (name: string): string => join(historyDir, name, 'chain')
  if (anchor) for (const fault of anchorFaults(anchor, reports, chainDirectory, collection)) report(fault)
  if (dataDir === undefined) return counts

  const files = reports.flatMap((chain) => heldFiles(chain).map((file) => ({ ...file, collection: chain.collection })))
  const totalSegments = new Set(files.filter(({ isLive }) => isLive).map(({ segment }) => segment)).size
  const here = files.filter(
    ({ directory, name }) => isLocal(directory) && existsSync(join(resolve(dataDir, directory), name)),
  )
  counts.offline = files.length - here.length
  const totalBytes = here.reduce((sum, { size }) => sum + size, 0)
  const seen = new Set<number>()
  for (const { directory, name, size, sha256: digest, manifest, segment, collection, isLive } of here) {
    throwIfAborted(signal)
    const path = join(resolve(dataDir, directory), name)
    const place = { collection, segment }
    const found = statSync(path).isDirectory()
      ? await digestOfDirectory(path, signal)
      : await digestOfFile(path, signal)
    counts.files += 1
    counts.bytes += found.size
    if (found.sha256 !== digest)
      report({
        file: path,
        fault: 'damaged',
        detail: found.size === size ? OF_LINK : `it has ${found.size} bytes instead of ${size}`,
        ...place,
      })
    const beside = `${path}.manifest`
    if (manifest !== undefined) {
      if (!existsSync(beside)) report({ file: beside, fault: 'missing', detail: 'it does not exist', ...place })
      else if (sha256(readFileSync(beside)) !== manifest)
        report({ file: beside, fault: 'damaged', detail: OF_LINK, ...place })
    }
    if (isLive) seen.add(segment)
    const { bytes, faults } = counts
    onProgress?.({ segments: seen.size, totalSegments, bytes, totalBytes, faults })
  }
  return { ...counts, segments: totalSegments }
}

/** Faults of a chain by file: a link does not follow a damaged one, and then only that one is at fault. */
export function* chainFaults(directory: string, { collection, links, faults }: ChainReport): Generator<Fault> {
  const byNumber = Map.groupBy(faults, ({ number }) => number)
  for (const [number, all] of byNumber) {
    const own = all.filter(({ fault }) => fault !== 'prev' || !byNumber.has(number - 1))
    if (own.length === 0) continue
    const isMissing = own.some(({ fault }) => fault === 'missing' || fault === 'truncated')
    const detail = own.map(({ detail }) => detail).join('; ')
    const file = join(directory, 'chain', linkFileName(number))
    yield { file, fault: isMissing ? 'missing' : 'damaged', detail, collection }
  }
  // Only an anchor shows a cut tail; that nothing is left of a chain whose manifests are there needs none.
  const others = readdirSync(directory).filter((name) => name !== 'chain' && name !== QUARANTINE_LOG)
  if (links.length === 0 && faults.length === 0 && others.length > 0)
    yield { file: join(directory, 'chain'), fault: 'missing', detail: 'it has no link', collection }
}

// --- internal ---

const OF_LINK = 'its bytes are not those that the chain vouches for'

interface PlacedFile extends Omit<FileOfSegment, 'kind'> {
  readonly kind: string
  /** As the links say it: relative to the data directory unless absolute, or in S3. */
  readonly directory: string
  /** SHA-256 of the manifest beside it; undefined where no link says it. */
  readonly manifest?: string
  /** Of a segment that was not replaced; packs of others are kept for them. */
  readonly isLive: boolean
}

/** The files that should be somewhere, by what the links say: the last word about each counts. */
function heldFiles({ links }: ChainReport): PlacedFile[] {
  const files = new Map<string, PlacedFile>()
  const packs = new Map<number, readonly number[]>()
  for (const { link } of links) {
    const { body } = link
    const made = segmentOf(body)
    for (const segment of replacedOf(body)) {
      packs.delete(segment)
      for (const [name, file] of files)
        if (file.segment === segment && file.kind !== 'tag') {
          if (file.kind === 'log') files.set(name, { ...file, isLive: false })
          else files.delete(name)
        }
    }
    if (made) {
      packs.set(made.segment, made.packs)
      for (const file of made.files)
        files.set(file.name, { ...file, segment: made.segment, directory: made.directory, isLive: true })
    }
    if (body.action === 'tag')
      for (const file of body.files) files.set(file.name, { ...file, kind: 'tag', isLive: false })
    else if (body.action === 'remove-run') for (const name of body.files) files.delete(name)
    else if (body.action === 'move')
      for (const { name, to } of body.files) {
        const file = files.get(name)
        if (file) files.set(name, { ...file, directory: to.directory })
      }
    else if (body.action === 'delete' && body.workbench === undefined)
      for (const { name } of body.files) files.delete(name)
  }
  const inUse = new Set([...packs.values()].flat())
  return [...files.values()].filter(({ kind, isLive, segment }) => kind !== 'log' || isLive || inUse.has(segment))
}
