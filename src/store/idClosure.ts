/**
 * What imported manifests need of each other, by their ids: a session file owns a range of meta ids and of packet ids, a
 * meta file lies in a range of session ids. All that a store of the original tells about which of its files belong together.
 */
import type { ImportedManifest } from './importedManifests.ts'

/** Ids of one database that no known file has. */
export interface MissingIds {
  readonly service: string
  readonly needs: 'session' | 'meta' | 'packet'
  readonly id1: number
  readonly id2: number
  /** Names of the files that need them, the first of them. */
  readonly neededBy: readonly string[]
}

export interface IdClosure {
  /** What was asked for and all that it needs, as far as manifests are known; by service and name. */
  readonly files: readonly ImportedManifest[]
  readonly missing: readonly MissingIds[]
  readonly bytes: number
  readonly isComplete: boolean
}

/** Closure of `chosen` among `known`, which holds them too: session files, their meta and packet files, and back. */
export function idClosure(chosen: readonly ImportedManifest[], known: readonly ImportedManifest[]): IdClosure {
  const files = new Set(chosen)
  const missing: MissingIds[] = []
  for (const [service, own] of Map.groupBy(known, (one) => one.service)) {
    const ofKind = new Map<string, Ranges>(
      (['session', 'meta', 'packet'] as const).map((kind) => [
        kind,
        new Ranges(own.filter((one) => databaseOf(one) === kind)),
      ]),
    )
    const gaps = new Map<string, Omit<MissingIds, 'neededBy'> & { neededBy: string[] }>()
    const waiting = chosen.filter((one) => one.service === service).map((one) => ({ one, isAsked: true }))
    for (let next = waiting.pop(); next; next = waiting.pop())
      // Of a session file that only a meta file needs, the raw records; its other meta files are those of other answers.
      for (const { needs, id1, id2 } of needsOf(next.one).filter(({ needs }) => next!.isAsked || needs === 'packet')) {
        const { found, holes } = ofKind.get(needs)!.covering(id1, id2)
        for (const one of found) {
          if (files.has(one)) continue
          files.add(one)
          waiting.push({ one, isAsked: false })
        }
        for (const [from, to] of holes) {
          const key = `${needs} ${from} ${to}`
          const gap = gaps.get(key) ?? { service, needs, id1: from, id2: to, neededBy: [] }
          if (gap.neededBy.length < 10) gap.neededBy.push(next.one.filename)
          gaps.set(key, gap)
        }
      }
    missing.push(...joined([...gaps.values()]))
  }
  const list = known.filter((one) => files.has(one))
  return {
    ...{ files: list, missing, isComplete: missing.length === 0 },
    bytes: list.reduce((sum, { size }) => sum + (size ?? 0), 0),
  }
}

export interface IdGap {
  readonly service: string
  readonly detail: string
}

/** Numbers and ids that are missing between neighbouring files of a service, and files that overlap. */
export function* idGaps(known: readonly ImportedManifest[]): Generator<IdGap> {
  const groups = Map.groupBy(known, ({ service, kind }) => `${service}\0${kind}`)
  for (const [key, own] of groups) {
    const [service, kind] = key.split('\0') as [string, string]
    const files = own.filter(({ sequence }) => sequence !== undefined).sort((a, b) => a.sequence! - b.sequence!)
    for (const [i, one] of files.entries()) {
      const next = files[i + 1]
      if (!next) continue
      if (next.sequence! > one.sequence! + 1)
        yield { service, detail: `${kind} files ${one.sequence! + 1} to ${next.sequence! - 1} are not known` }
      if (one.sequence === next.sequence) yield { service, detail: `two different files are called ${one.filename}` }
      else if (one.id2 === undefined || next.id1 === undefined) continue
      else if (next.id1 <= one.id2)
        yield { service, detail: `ids of ${one.filename} and ${next.filename} overlap: ${one.id2}, ${next.id1}` }
      else if (next.id1 > one.id2 + 1 && next.sequence === one.sequence! + 1)
        yield {
          service,
          detail: `${kind} ids ${one.id2 + 1} to ${next.id1 - 1} are in no file, between ${one.filename} and ${next.filename}`,
        }
    }
  }
}

// --- internal ---

type Database = MissingIds['needs']

/** Raw logs lie in the packet database. */
const databaseOf = ({ kind }: ImportedManifest): string => (kind === 'log' ? 'packet' : kind)

function needsOf(one: ImportedManifest): { readonly needs: Database; readonly id1: number; readonly id2: number }[] {
  const range = (needs: Database, id1: number | undefined, id2: number | undefined) =>
    id1 === undefined || id2 === undefined ? [] : [{ needs, id1: Math.min(id1, id2), id2: Math.max(id1, id2) }]
  if (databaseOf(one) === 'session')
    return [...range('meta', one.metaId1, one.metaId2), ...range('packet', one.packetId1, one.packetId2)]
  return databaseOf(one) === 'meta' ? range('session', one.session1, one.session2) : []
}

class Ranges {
  private readonly list: readonly ImportedManifest[]

  constructor(files: readonly ImportedManifest[]) {
    this.list = files.filter(({ id1, id2 }) => id1 !== undefined && id2 !== undefined).sort((a, b) => a.id1! - b.id1!)
  }

  /** Files that have some of the ids, and the ids that none has. */
  covering(id1: number, id2: number): { found: ImportedManifest[]; holes: (readonly [number, number])[] } {
    const found: ImportedManifest[] = []
    const holes: (readonly [number, number])[] = []
    let next = id1
    for (const one of this.list) {
      if (one.id1! > id2) break
      if (one.id2! < id1) continue
      found.push(one)
      if (one.id1! > next) holes.push([next, one.id1! - 1])
      next = Math.max(next, one.id2! + 1)
    }
    if (next <= id2) holes.push([next, id2])
    return { found, holes }
  }
}

/** Holes that touch become one. */
function joined(gaps: readonly MissingIds[]): MissingIds[] {
  const result: MissingIds[] = []
  const order = [...gaps].sort((a, b) => (a.needs === b.needs ? a.id1 - b.id1 : a.needs < b.needs ? -1 : 1))
  for (const gap of order) {
    const last = result.at(-1)
    if (last && last.needs === gap.needs && gap.id1 <= last.id2 + 1)
      result[result.length - 1] = {
        ...last,
        id2: Math.max(last.id2, gap.id2),
        neededBy: [...new Set([...last.neededBy, ...gap.neededBy])].slice(0, 10),
      }
    else result.push(gap)
  }
  return result
}
