/**
 * The chain of a collection: one signed link per committed action, `<manifest_dir>/chain/<9-digit number>.link`.
 * A link is canonical JSON (RFC 8785) and a newline. `sig` is Ed25519 over the canonical JSON of all other fields;
 * `prev` is SHA-256 over the whole file of the link before, 64 zeros in link 1. Numbers start at 1 and have no holes.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { ColdtrailError } from '../core/errors.ts'
import { namesIfThere } from '../platform/files.ts'
import type { RunFacts } from './runs.ts'
import { type PublicKeys, type SigningKey, verifySignature } from './signingKeys.ts'

export const LINK_FORMAT = 1
export const FIRST_PREV = '0'.repeat(64)

/** What a link says of a segment: enough to make its catalog row again. Times are microseconds. */
export interface SegmentFacts {
  readonly segment: number
  readonly format: string
  readonly day: string
  /** Relative to the data directory unless absolute. */
  readonly directory: string
  readonly id1: number | null
  readonly id2: number | null
  readonly session1: number
  readonly session2: number
  readonly time1: number | null
  readonly time2: number | null
  readonly rows: number
  readonly rejects: number
  readonly raw_bytes: number
  /** Segment numbers whose packs hold the objects of its sessions. */
  readonly packs: readonly number[]
  readonly files: readonly {
    readonly kind: string
    readonly name: string
    readonly size: number
    readonly sha256: string
    /** SHA-256 of the manifest file beside it. */
    readonly manifest: string
  }[]
  /** SHA-256 of `session-<segment>.ledger` in the history. */
  readonly ledger: string
  /** SHA-256 of its keyset, so that the copy in the history can be checked when the data have gone; null without. */
  readonly keyset: string | null
}

/** A file of the history, and its bytes. */
export interface HistoryFileFacts {
  readonly name: string
  readonly size: number
  readonly sha256: string
}

/** What a link says of a tag file. */
export interface TagFileFacts extends HistoryFileFacts {
  /** The number that it bears. */
  readonly segment: number
  /** Relative to the data directory unless absolute. */
  readonly directory: string
  readonly rows: number
  readonly manifest: string
}

export type SegmentAction =
  | { readonly action: 'seal'; readonly segment: SegmentFacts }
  | { readonly action: 'replace'; readonly segment: SegmentFacts; readonly replaced: readonly number[] }

/**
 * What a run came to. Its `finding` link stands right before its `tag` link, in one transaction; it has none without
 * findings.
 */
export type RunAction =
  | {
      readonly action: 'finding'
      readonly run: number
      readonly findings: HistoryFileFacts & { readonly rows: number }
    }
  | {
      readonly action: 'tag'
      readonly run: RunFacts
      readonly files: readonly TagFileFacts[]
      readonly report: HistoryFileFacts
    }
  /** `files`: names of its tag files. */
  | { readonly action: 'remove-run'; readonly run: number; readonly files: readonly string[] }

/** A file of a segment, named as its manifest names it. `kind` and number tell it apart in links about several segments. */
export interface FileOfSegment {
  readonly segment: number
  readonly kind: string
  readonly name: string
  readonly size: number
  readonly sha256: string
}

/** Where files lie, what copies were made of them, and what may not or must not be kept: docs/design.md §15-§18. */
export type PlaceAction =
  | {
      readonly action: 'move'
      readonly files: readonly (FileOfSegment & { readonly from: Place; readonly to: Place })[]
    }
  /** Files that are no more: of the collection itself, or a whole workbench when that is named (then with its custody). */
  | {
      readonly action: 'delete'
      readonly files: readonly FileOfSegment[]
      readonly reason: string
      readonly workbench?: string
      readonly custody?: string
    }
  /**
   * Copies of files of this collection in a workbench, which the first such link makes. `directory`: of the copies; as in a
   * place. `expires`: microseconds. `custody`: SHA-256 of the line of the custody log.
   */
  | {
      readonly action: 'restore'
      readonly workbench: string
      readonly directory: string
      readonly reason: string
      readonly expires: number
      readonly files: readonly FileOfSegment[]
      readonly custody: string
    }
  /** How long a workbench is kept, changed. */
  | {
      readonly action: 'workbench'
      readonly workbench: string
      readonly expires: number
      readonly isHeld: boolean
      readonly reason: string
      readonly custody: string
    }
  /** Nothing that overlaps the range (POSIX seconds, both included; null: open) may be deleted while the hold is on. */
  | {
      readonly action: 'hold'
      readonly name: string
      readonly isOn: boolean
      readonly reason: string
      readonly time1: number | null
      readonly time2: number | null
    }
  | EraseAction

/** A segment without the records of erased sessions. */
export interface EraseAction {
  readonly action: 'erase'
  readonly segment: SegmentFacts
  /** The one it takes the place of. */
  readonly replaced: readonly number[]
  readonly sessions: readonly number[]
  /** Ids of events that are no more: ranges, both ends included. */
  readonly events: readonly (readonly [number, number])[]
  readonly reason: string
  /** Files that still had the records: those of the segment, packs, tag files. */
  readonly before: readonly FileOfSegment[]
  /** In place of the tag files in `before`, where a tag is left. */
  readonly tags: readonly TagFileFacts[]
  /** In place of the finding files of these runs: lines of erased events say only that. */
  readonly findings: readonly (HistoryFileFacts & { readonly run: number; readonly rows: number })[]
}

/** `directory`: relative to the data directory unless absolute, or `s3://bucket/prefix`. */
export interface Place {
  readonly tier: string
  readonly directory: string
  readonly label?: string
}

export type LinkAction = SegmentAction | RunAction | PlaceAction

/** What a link says of a segment; undefined for a link about something else. */
export const segmentOf = (body: LinkAction): SegmentFacts | undefined => ('segment' in body ? body.segment : undefined)

/** What erasures among links took away: whatever else says of these files is history. */
export interface ErasedByLinks {
  /** Segments that still had the records, by numbers: those replaced by an erasure, and those that these had replaced. */
  readonly segments: ReadonlySet<number>
  /** Names of tag files. */
  readonly tags: ReadonlySet<string>
  /** The finding file of a run now, where it was made anew. */
  readonly findings: ReadonlyMap<number, HistoryFileFacts>
  readonly links: readonly EraseAction[]
}

export function erasedBy(bodies: Iterable<LinkAction>): ErasedByLinks {
  const before = new Map<number, readonly number[]>()
  const segments = new Set<number>()
  const tags = new Set<string>()
  const findings = new Map<number, HistoryFileFacts>()
  const links: EraseAction[] = []
  const add = (segment: number): void => {
    if (segments.has(segment)) return
    segments.add(segment)
    for (const older of before.get(segment) ?? []) add(older)
  }
  for (const body of bodies) {
    const made = segmentOf(body)
    if (made) before.set(made.segment, replacedOf(body))
    if (body.action !== 'erase') continue
    links.push(body)
    for (const segment of body.replaced) add(segment)
    for (const { kind, name } of body.before) if (kind === 'tag') tags.add(name)
    for (const { run, ...file } of body.findings) findings.set(run, file)
  }
  return { segments, tags, findings, links }
}

/** Segments that what it made has taken the place of. */
export const replacedOf = (body: LinkAction): readonly number[] => ('replaced' in body ? body.replaced : [])

export interface Link {
  readonly v: typeof LINK_FORMAT
  readonly collection: string
  readonly number: number
  readonly uuid: string
  /** Microseconds UTC at which the commit began. */
  readonly time: number
  readonly prev: string
  readonly body: LinkAction
  /** Id of the signing key. */
  readonly key: string
  readonly sig: string
}

export const linkFileName = (number: number): string => `${String(number).padStart(9, '0')}.link`

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

/** The bytes of a link file. */
export function signLink(unsigned: Omit<Link, 'v' | 'key' | 'sig'>, key: SigningKey): Buffer {
  const fields = { ...unsigned, v: LINK_FORMAT, key: key.id }
  const sig = key.sign(Buffer.from(canonicalize(fields)!))
  return Buffer.from(`${canonicalize({ ...fields, sig })}\n`)
}

export type ChainFaultKind =
  /** No file for a number below the last one. */
  | 'missing'
  /** Not a link: unreadable, unknown version, or of another collection or number than its place says. */
  | 'format'
  | 'unknown-key'
  | 'signature'
  /** `prev` is not the hash of the link before. */
  | 'prev'
  /** The catalog has committed more links than the chain holds. */
  | 'truncated'
  /** The catalog knows another link under this number. */
  | 'differs'

export interface ChainFault {
  readonly collection: string
  readonly number: number
  readonly fault: ChainFaultKind
  readonly detail: string
}

export interface ChainReport {
  readonly collection: string
  /** Highest number seen. */
  readonly last: number
  readonly links: readonly { readonly link: Link; readonly hash: string }[]
  /** Links above the catalog's head: a commit that was cut off. No fault: the next commit overwrites it. */
  readonly aboveHead: readonly number[]
  readonly faults: readonly ChainFault[]
}

/**
 * Reads and checks a whole chain, and names every fault. `committed` gives the catalog's view (hash by number up to its
 * head); without it (rebuild, offline check) truncation cannot be seen.
 */
export function verifyChain(
  collection: string,
  directory: string,
  keys: PublicKeys,
  committed?: { readonly head: number; readonly hashes: ReadonlyMap<number, string> },
): ChainReport {
  let numbers: number[] = []
  try {
    numbers = linkNumbers(directory)
  } catch (error) {
    // The catalog knows how many there should be; without it an unreadable chain must not pass for an empty one.
    if (!committed) throw error
  }
  const last = numbers.at(-1) ?? 0
  const present = new Set(numbers)
  const links: { link: Link; hash: string }[] = []
  const faults: ChainFault[] = []
  let prev: string | undefined = FIRST_PREV
  const head = committed?.head ?? last
  for (let number = 1; number <= Math.max(last, head); number++) {
    const report = (fault: ChainFaultKind, detail: string) => faults.push({ collection, number, fault, detail })
    if (number > last) {
      report('truncated', `the catalog has ${head} links, the chain ends at ${last}`)
      break
    }
    if (!present.has(number)) {
      if (number <= head) report('missing', `${linkFileName(number)} does not exist`)
      prev = undefined
      continue
    }
    if (number > head) continue
    const before = prev
    prev = undefined
    try {
      const bytes = readFileSync(join(directory, linkFileName(number)))
      const hash = sha256(bytes)
      prev = hash
      const link = parseLink(bytes, `${collection}/${linkFileName(number)}`)
      if (link.collection !== collection || link.number !== number)
        report('format', `it says to be link ${link.number} of ${link.collection}`)
      // Else the next one would be at fault, which names the digest of what was written.
      if (!Buffer.from(`${canonicalize(link)}\n`).equals(bytes)) report('format', 'its bytes are not those of its JSON')
      const valid = signatureOf(link, keys)
      if (valid === undefined) report('unknown-key', `no public key ${link.key}`)
      else if (!valid) report('signature', `not signed by key ${link.key}`)
      if (before !== undefined && link.prev !== before) report('prev', 'it does not follow the link before')
      const expected = committed?.hashes.get(number)
      if (expected !== undefined && expected !== hash) report('differs', 'the catalog knows another link')
      links.push({ link, hash })
    } catch (error) {
      report('format', (error as Error).message)
    }
  }
  return { collection, last, links, aboveHead: numbers.filter((number) => number > head), faults }
}

/** A link from its bytes; E_LINK_FORMAT when it is none, E_LINK_VERSION when a newer program wrote it. */
export function parseLink(bytes: Uint8Array, where: string): Link {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString())
  } catch (error) {
    throw new ColdtrailError('E_LINK_FORMAT', { where, reason: (error as Error).message })
  }
  const link = (typeof value === 'object' && value !== null ? value : {}) as Partial<Link>
  if (link.v !== LINK_FORMAT) throw new ColdtrailError('E_LINK_VERSION', { where, version: link.v })
  const action = link.body?.action
  if (!ACTIONS.has(action as string))
    throw new ColdtrailError('E_LINK_FORMAT', { where, reason: `action "${action}" is unknown` })
  const texts = [link.collection, link.uuid, link.prev, link.key, link.sig]
  if (!Number.isSafeInteger(link.number) || texts.some((text) => typeof text !== 'string'))
    throw new ColdtrailError('E_LINK_FORMAT', { where, reason: 'a field is missing' })
  return link as Link
}

// --- internal ---

const ACTIONS: ReadonlySet<string> = new Set<LinkAction['action']>([
  ...(['seal', 'replace', 'tag', 'finding', 'remove-run'] as const),
  ...(['move', 'delete', 'restore', 'workbench', 'hold', 'erase'] as const),
])

function signatureOf(link: Link, keys: PublicKeys): boolean | undefined {
  const { sig, ...signed } = link
  return verifySignature(keys, link.key, Buffer.from(canonicalize(signed)!), sig)
}

export function linkNumbers(directory: string): number[] {
  return namesIfThere(directory)
    .filter((name) => /^\d{9,}\.link$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b)
}
