/** What makes the logs evidence: anchors of the chains, the check with a public key alone. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import { isoTimeText } from './core/isoTime.ts'
import type { QuestionRequest } from './questions.ts'
import type { Anchor, FoundAnchor } from './store/anchor.ts'
import type { CaseOptions, CaseSummary } from './store/case/exportCase.ts'
import type { Catalog } from './store/catalog.ts'
import type { ErasureChoice, ErasureOptions, ErasurePlan, ErasureSummary } from './store/erase.ts'
import type { StoreReader } from './store/search.ts'
import type { OfflineOptions, OfflineSummary } from './store/verifyOffline.ts'
import { VERSION } from './version.ts'

export type { Anchor, AnchoredHead } from './store/anchor.ts'
export type { CaseSummary } from './store/case/exportCase.ts'
export type { ErasedSession, ErasureChoice, ErasurePlan, ErasureSummary, FarCopy } from './store/erase.ts'
export type { OfflineSummary } from './store/verifyOffline.ts'

const PRODUCER = `coldtrail/${VERSION}`

export interface CaseRequest extends QuestionRequest, Pick<CaseOptions, 'out' | 'onProgress'> {
  /** At most so many events, those with the lowest ids. */
  readonly limit?: number
}

export interface OfflineRequest extends Pick<OfflineOptions, 'collection' | 'signal' | 'onFault' | 'onProgress'> {
  /** Files of the public keys that are trusted; no others are. */
  readonly publicKeys: readonly string[]
  /** File of an anchor. */
  readonly anchor?: string
  /** Only the history is here, or is to be looked at. */
  readonly historyOnly?: boolean
}

export interface Evidence {
  /** Signed heads of all chains; written durably into a file where one is named. E_ANCHOR_AHEAD. */
  anchor(request?: { readonly write?: string }): Promise<Anchor>
  /** Checks chain, history and files with public keys from elsewhere: without catalog, and without keys of the data directory. */
  verifyOffline(request: OfflineRequest): Promise<OfflineSummary>
  /** Packs events with all that proves them, and a program that checks it, into a folder or a .tar.gz. */
  exportCase(request: CaseRequest): Promise<CaseSummary>
  /** What an erasure would do. */
  planErasure(choice: ErasureChoice): Promise<ErasurePlan>
  /** Takes sessions out of everything that is kept of them. E_HELD, E_CATALOG_BUSY. */
  erase(
    request: ErasureChoice &
      Pick<ErasureOptions, 'signal' | 'onProgress'> & { readonly reason: string; readonly despiteHold?: boolean },
  ): Promise<ErasureSummary>
  /** An anchor from a file, checked with the keys of the data directory. E_ANCHOR_FORMAT, E_ANCHOR_SIGNATURE. */
  readAnchor(path: string): Promise<FoundAnchor>
}

export function evidence(
  config: Config,
  parts: {
    readonly catalog: () => Promise<Catalog>
    readonly requireData: () => void
    readonly reader: (request: { readonly collection?: string }) => Promise<StoreReader>
  },
): Evidence {
  const { catalog, requireData } = parts
  const { data_dir: dataDir, manifest_dir: historyDir = join(dataDir, 'history') } = config
  /** The catalog, in which a misspelt collection must not be an empty one. */
  const known = async (collection: string): Promise<Catalog> => {
    const open = await catalog()
    const names = await open.collections()
    if (!names.includes(collection))
      throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name: collection, known: names.join(', ') || 'none' })
    return open
  }
  return {
    async anchor({ write } = {}) {
      requireData()
      const { parseAnchor } = await import('./store/anchor.ts')
      const open = await catalog()
      if (write === undefined) return parseAnchor(await open.anchor(), 'anchor')
      await open.writeAnchor(write)
      const { readFileSync } = await import('node:fs')
      return parseAnchor(readFileSync(write), write)
    },
    async verifyOffline({ publicKeys, anchor, historyOnly = false, ...request }) {
      if (!historyOnly) requireData()
      if (!statSync(historyDir, { throwIfNoEntry: false })?.isDirectory())
        throw new ColdtrailError('E_DATA_MISSING', { path: historyDir, reason: 'it does not exist' })
      const [{ readAnchor }, { verifyOffline }, { pinnedKeys }] = await Promise.all([
        import('./store/anchor.ts'),
        import('./store/verifyOffline.ts'),
        import('./store/signingKeys.ts'),
      ])
      const { collection } = request
      if (collection !== undefined && !existsSync(join(historyDir, collection)))
        throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name: collection, known: 'those of the history' })
      const keys = pinnedKeys(publicKeys)
      return verifyOffline({
        ...{ ...request, historyDir, keys },
        ...(historyOnly ? {} : { dataDir }),
        ...(anchor === undefined ? {} : { anchor: { path: anchor, anchor: readAnchor(anchor, keys) } }),
      })
    },
    async exportCase({ out, limit, onProgress, ...request }) {
      const reader = await parts.reader(request)
      const { collection = 'main', expression, from, to, allVersions, signal } = request
      const [{ exportCase }, { questionOf }, { decodeStream }, { loadSigningKey, publicKeyText }] = await Promise.all([
        import('./store/case/exportCase.ts'),
        import('./questions.ts'),
        import('./collect/decode.ts'),
        import('./store/signingKeys.ts'),
      ])
      if (collection.includes(','))
        throw new ColdtrailError('E_USAGE', { message: 'A case is of one collection: each has a chain of its own.' })
      const open = await catalog()
      open.requireWritable()
      const key = loadSigningKey(dataDir)
      const limits = { maxBytes: Number.MAX_SAFE_INTEGER, maxRatio: Number.MAX_SAFE_INTEGER }
      return exportCase({
        ...{ catalog: open, reader, dataDir, key, out, signal, onProgress, producer: PRODUCER },
        publicKey: publicKeyText(dataDir, key.id),
        decode: async (received, size) => (await decodeStream(received, size, limits)).decoded,
        question: { ...(await questionOf(request)), collection, limit, allVersions },
        asked: { collection, expression: expression ?? '', from: timeOf(from), to: timeOf(to) },
      })
    },
    async planErasure(choice) {
      requireData()
      const { planErasure } = await import('./store/erase.ts')
      return planErasure({ catalog: await known(choice.collection), dataDir, producer: PRODUCER }, choice)
    },
    async erase({ signal, onProgress, ...choice }) {
      requireData()
      const { eraseSessions } = await import('./store/erase.ts')
      const open = await known(choice.collection)
      return eraseSessions({ catalog: open, dataDir, producer: PRODUCER, signal, onProgress }, choice)
    },
    async readAnchor(path) {
      const [{ readAnchor }, { readPublicKeys, usableKeys }] = await Promise.all([
        import('./store/anchor.ts'),
        import('./store/signingKeys.ts'),
      ])
      return { path, anchor: readAnchor(path, usableKeys(readPublicKeys(dataDir))) }
    },
  }
}

// --- internal ---

const timeOf = (time: number | undefined): string | undefined => (time === undefined ? undefined : isoTimeText(time))
