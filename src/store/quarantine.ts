/**
 * `quarantine.ndjson` of a collection's history: why objects were refused whole, so that a rebuilt catalog still knows.
 * A line is written after the catalog has put an object into quarantine, and another one when it leaves it, tried again or
 * replaced by another version; what a crash leaves out is tried again by the next run, which finds the reason anew.
 */
import { join } from 'node:path'
import { appendDurably, makeDirectory, readIfThere } from '../platform/files.ts'

export const QUARANTINE_LOG = 'quarantine.ndjson'

export interface QuarantinedObject {
  /** Its 16-byte id in hex, catalog/objectId.ts. */
  readonly object: string
  readonly source: string
  readonly bucket: string
  readonly key: string
  readonly version: string
  readonly attempts: number
  readonly code: string
  readonly reason: string
  /** Microseconds; when it first failed. */
  readonly since: number
}

export function recordQuarantined(manifestDirectory: string, object: QuarantinedObject): void {
  append(manifestDirectory, [object])
}

/** Tried again, or replaced by another version. `objects`: ids in hex. */
export function recordReleased(manifestDirectory: string, objects: readonly string[]): void {
  append(
    manifestDirectory,
    objects.map((object) => ({ object, released: true })),
  )
}

/** What is in quarantine by the last word on each object. A damaged line says nothing: its object is tried again. */
export function readQuarantine(manifestDirectory: string): QuarantinedObject[] {
  const objects = new Map<string, QuarantinedObject>()
  const lines = readIfThere(join(manifestDirectory, QUARANTINE_LOG))?.toString().split('\n') ?? []
  for (const line of lines) {
    const entry = parseLine(line)
    if (!entry) continue
    if (isQuarantined(entry)) objects.set(entry.object, entry)
    else objects.delete(entry.object)
  }
  return [...objects.values()]
}

// --- internal ---

type Line = { readonly object: string } & Partial<Omit<QuarantinedObject, 'object'>>

function append(manifestDirectory: string, lines: readonly object[]): void {
  makeDirectory(manifestDirectory)
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
  appendDurably(join(manifestDirectory, QUARANTINE_LOG), Buffer.from(text))
}

function parseLine(line: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(line)
    const { object } = (value ?? {}) as { object?: unknown }
    return typeof object === 'string' && /^[0-9a-f]{32}$/.test(object) ? (value as Line) : undefined
  } catch {
    return undefined
  }
}

function isQuarantined(line: Line): line is QuarantinedObject {
  const { source, bucket, key, version, attempts, code, reason, since } = line
  return (
    [source, bucket, key, version, code, reason].every((value) => typeof value === 'string') &&
    Number.isSafeInteger(attempts) &&
    Number.isSafeInteger(since)
  )
}
