/**
 * `custody.ndjson` of a collection's history: who took copies of which files when, and what became of the copies. A line
 * (canonical JSON) is durable before its link, which names its SHA-256; a line that no link names was never done. The log
 * is append-only.
 */
import { hostname, userInfo } from 'node:os'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { appendDurably, makeDirectory, readIfThere } from '../platform/files.ts'
import { type FileOfSegment, type LinkAction, sha256 } from './chain.ts'

export const CUSTODY_LOG = 'custody.ndjson'

export type CustodyAction = 'restore' | 'extend' | 'hold' | 'release' | 'remove' | 'expire'

/** What is written down. Times are microseconds UTC. */
export interface CustodyRecord {
  readonly action: CustodyAction
  readonly workbench: string
  readonly reason: string
  /** Until when the copies are kept, after it; null once they are removed. */
  readonly expires: number | null
  /** `from`: tier, label and directory that a file was copied from, or the path at which it was found. */
  readonly files: readonly (FileOfSegment & { readonly from?: string })[]
}

export interface CustodyLine extends CustodyRecord {
  readonly v: 1
  readonly id: string
  readonly time: number
  /** Of the operating system: an account, not a proof. */
  readonly user: string
  readonly host: string
}

export interface CustodyEntry extends CustodyLine {
  /** Of the line. */
  readonly sha256: string
  /** Number of the link that vouches for it; null: it was never done, because the process ended in between. */
  readonly link: number | null
}

/** Writes a line durably; answers the digest that its link is to name. */
export function recordCustody(manifestDirectory: string, record: CustodyRecord): string {
  const line: CustodyLine = {
    ...{ v: 1, id: crypto.randomUUID(), time: Date.now() * 1000, user: userName(), host: hostname() },
    ...record,
  }
  const bytes = Buffer.from(`${canonicalize(line)}\n`)
  makeDirectory(manifestDirectory)
  appendDurably(join(manifestDirectory, CUSTODY_LOG), bytes)
  return sha256(bytes)
}

/** In the order of the log. `links`: digests that links name, with their numbers. A damaged line is passed over. */
export function readCustody(manifestDirectory: string, links: ReadonlyMap<string, number>): CustodyEntry[] {
  const text = readIfThere(join(manifestDirectory, CUSTODY_LOG))?.toString() ?? ''
  return text
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      const digest = sha256(`${line}\n`)
      const parsed = parseLine(line)
      return parsed ? [{ ...parsed, sha256: digest, link: links.get(digest) ?? null }] : []
    })
}

/** Digests of the lines of the log. */
export function custodyDigests(manifestDirectory: string): Set<string> {
  const text = readIfThere(join(manifestDirectory, CUSTODY_LOG))?.toString() ?? ''
  return new Set(
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => sha256(`${line}\n`)),
  )
}

/** Digest of the custody line that a link names. */
export const custodyOf = (body: LinkAction): string | undefined => ('custody' in body ? body.custody : undefined)

// --- internal ---

function parseLine(line: string): CustodyLine | undefined {
  try {
    const value = JSON.parse(line) as CustodyLine
    return value.v === 1 && Array.isArray(value.files) ? value : undefined
  } catch {
    return undefined
  }
}

/** A container's user may have no name. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.() ?? '')
  }
}
