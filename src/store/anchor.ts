/**
 * The anchor: the signed head of every chain, for a second place. A chain walk cannot see that the last links were cut
 * off, or that all was written anew by somebody who has the signing key; against an anchor both show. Canonical JSON
 * (RFC 8785) and a newline; `sig` is Ed25519 over the canonical JSON of all other fields.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import { type ChainFault, type ChainReport, linkFileName, replacedOf, segmentOf } from './chain.ts'
import { type PublicKeys, type SigningKey, verifySignature } from './signingKeys.ts'
import type { Fault } from './verify.ts'

export const ANCHOR_FORMAT = 1

/** The head of one chain: its last link, and how many live segments the chain comes to up to there. */
export interface AnchoredHead {
  readonly collection: string
  readonly number: number
  /** SHA-256 of the link's file. */
  readonly hash: string
  /** Of the link, microseconds UTC. */
  readonly time: number
  readonly segments: number
}

export interface Anchor {
  readonly v: typeof ANCHOR_FORMAT
  /** When it was made, microseconds UTC. */
  readonly time: number
  /** By name of the collection. */
  readonly chains: readonly AnchoredHead[]
  readonly key: string
  readonly sig: string
}

export function signAnchor(facts: Pick<Anchor, 'time' | 'chains'>, key: SigningKey): Buffer {
  const fields = { ...facts, v: ANCHOR_FORMAT, key: key.id }
  const sig = key.sign(Buffer.from(canonicalize(fields)!))
  return Buffer.from(`${canonicalize({ ...fields, sig })}\n`)
}

/** E_ANCHOR_FORMAT for bytes that are none, or of a version that this program does not know. */
export function parseAnchor(bytes: Uint8Array, where: string): Anchor {
  const bad = (reason: string): ColdtrailError => new ColdtrailError('E_ANCHOR_FORMAT', { where, reason })
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString())
  } catch (error) {
    throw bad((error as Error).message)
  }
  const { v, time, chains, key, sig } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Anchor>
  if (v !== ANCHOR_FORMAT) throw bad(`version ${v} is unknown`)
  if (!Number.isSafeInteger(time) || typeof key !== 'string' || typeof sig !== 'string' || !Array.isArray(chains))
    throw bad('a field is missing')
  for (const head of chains as (Partial<AnchoredHead> | null)[]) {
    const numbers = [head?.number, head?.time, head?.segments]
    if (numbers.some((number) => !Number.isSafeInteger(number))) throw bad('a head is damaged')
    if (typeof head?.collection !== 'string' || !/^[0-9a-f]{64}$/.test(String(head.hash)))
      throw bad('a head is damaged')
  }
  return value as Anchor
}

/** An anchor from a file, its signature checked: E_FILE_READ, E_ANCHOR_FORMAT, E_ANCHOR_SIGNATURE. */
export function readAnchor(path: string, keys: PublicKeys): Anchor {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  const anchor = parseAnchor(bytes, path)
  const { sig, ...signed } = anchor
  const valid = verifySignature(keys, anchor.key, Buffer.from(canonicalize(signed)!), sig)
  if (!valid) {
    const reason =
      valid === undefined ? `no public key ${anchor.key} is known` : `its signature is not that of key ${anchor.key}`
    throw new ColdtrailError('E_ANCHOR_SIGNATURE', { where: path, reason })
  }
  return anchor
}

/** An anchor, and the file that it is from. */
export interface FoundAnchor {
  readonly path: string
  readonly anchor: Anchor
}

/** What an anchor knows better than the chains, as faults of link files; `only`: of this collection. */
export function* anchorFaults(
  { anchor, path }: FoundAnchor,
  reports: readonly ChainReport[],
  chainDirectory: (collection: string) => string,
  only?: string,
): Generator<Fault> {
  const chains = anchor.chains.filter(({ collection }) => only === undefined || collection === only)
  for (const { collection, number, fault, detail } of againstAnchor({ chains }, reports)) {
    const file = join(chainDirectory(collection), linkFileName(number))
    yield { file, fault: fault === 'truncated' ? 'missing' : 'damaged', detail: `${detail} (${path})`, collection }
  }
}

/** What an anchor knows of chains that they do not have, or not so. Chains may have grown since. */
export function* againstAnchor(anchor: Pick<Anchor, 'chains'>, reports: readonly ChainReport[]): Generator<ChainFault> {
  for (const { collection, number, hash, segments } of anchor.chains) {
    const report = reports.find((one) => one.collection === collection)
    const last = report?.links.at(-1)?.link.number ?? 0
    const found = report?.links.find(({ link }) => link.number === number)
    if (!found) {
      // One that is missing below the last one is a fault of the chain itself, which names it.
      if (number > last) {
        const detail = `the anchor knows ${number} links, the chain ends at ${last}`
        yield { collection, number, fault: 'truncated', detail }
      }
    } else if (found.hash !== hash) {
      const detail = `the anchor knows another ${linkFileName(number)}: the chain was written anew`
      yield { collection, number, fault: 'differs', detail }
    } else if (report!.faults.length === 0 && liveSegments(report!, number) !== segments) {
      const detail = `the anchor counts ${segments} live segments up to it, the chain ${liveSegments(report!, number)}`
      yield { collection, number, fault: 'differs', detail }
    }
  }
}

/** How many segments that links up to a number made were not replaced by then. */
export function liveSegments({ links }: Pick<ChainReport, 'links'>, number: number): number {
  const live = new Set<number>()
  for (const { link } of links) {
    if (link.number > number) break
    for (const segment of replacedOf(link.body)) live.delete(segment)
    const made = segmentOf(link.body)
    if (made) live.add(made.segment)
  }
  return live.size
}
