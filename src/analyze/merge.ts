/** From task files, in the order of tasks, to states of folds, tag files and findings. */
import { join } from 'node:path'
import type { Plugin } from '../components/plugin.ts'
import type { SegmentRow } from '../store/catalog.ts'
import type { FindingHit } from '../store/findings.ts'
import { type TagFile, TagFileWriter } from '../store/tags.ts'
import { type HitKind, sortHits } from './hits.ts'
import { readTaskFile, type TaskFile } from './taskFile.ts'
import type { Piece } from './tasks.ts'

export interface DonePiece extends Pick<Piece, 'pass' | 'segment' | 'first' | 'rows'> {
  readonly file: string | null
}

/** By the plan's order of segments, then by rows. */
export function inOrder<T extends DonePiece>(pieces: readonly T[], segments: readonly number[]): T[] {
  const place = new Map(segments.map((segment, at) => [segment, at]))
  return [...pieces].sort((a, b) => place.get(a.segment)! - place.get(b.segment)! || a.first - b.first)
}

/** The states of folds over all pieces of the first pass, which come in order. */
export function mergeStates(
  directory: string,
  pieces: readonly DonePiece[],
  plugins: readonly { readonly name: string; readonly plugin: Plugin }[],
  merging: (piece: DonePiece) => void,
): Map<string, unknown> {
  const folds = plugins.flatMap(({ name, plugin }) => (plugin.shape === 'fold' ? [{ name, fold: plugin }] : []))
  const states = new Map(folds.map(({ name, fold }) => [name, fold.empty() as unknown]))
  if (folds.length === 0) return states
  for (const piece of pieces) {
    if (piece.file === null) continue
    merging(piece)
    const file = readTaskFile(join(directory, piece.file))
    for (const { name, fold } of folds)
      if (Object.hasOwn(file.states, name)) states.set(name, fold.merge(states.get(name), file.states[name]))
  }
  return states
}

export interface MergedSegment {
  readonly tagFile: TagFile | undefined
  /** By plugin: events with each label. */
  readonly labels: readonly TaskFile['hits']['labels'][]
  readonly findings: FindingPart | undefined
}

/** Hits that are findings, in order of event id. */
export interface FindingPart {
  readonly kinds: readonly HitKind[]
  readonly ids: Float64Array
  readonly kindOf: Uint32Array
}

/** The tags of a segment, of both passes, as its tag file. Memory: all its tags. */
export function mergeSegment(
  directory: string,
  pieces: readonly DonePiece[],
  options: {
    readonly segment: SegmentRow
    readonly run: number
    readonly producer: string
    /** Plugins whose results are left out. */
    readonly without: ReadonlySet<string>
  },
): MergedSegment {
  const { segment, run, producer, without } = options
  const files = pieces.flatMap(({ file }) => (file === null ? [] : [readTaskFile(join(directory, file))]))
  const found: HitKind[] = []
  const places = new Map<string, number>()
  const size = files.reduce((sum, { hits }) => sum + hits.ids.length, 0)
  const allIds = new Float64Array(size)
  const allKinds = new Uint32Array(size)
  let count = 0
  for (const { hits } of files) {
    const translated = hits.kinds.map((kind) => {
      if (without.has(kind.plugin)) return -1
      const key = JSON.stringify([kind.label, kind.plugin, kind.rule, kind.finding])
      const place = places.get(key) ?? found.push(kind) - 1
      places.set(key, place)
      return place
    })
    for (let i = 0; i < hits.ids.length; i++) {
      const kind = translated[hits.kindOf[i]!]!
      if (kind < 0) continue
      allIds[count] = hits.ids[i]!
      allKinds[count] = kind
      count += 1
    }
  }
  const [ids, kindOf] = [allIds.subarray(0, count), allKinds.subarray(0, count)]
  // Both passes have the same events: one after the other they are in no order.
  const kinds = sortHits(found, ids, kindOf)
  const writer = new TagFileWriter({ segment, run, producer })
  try {
    writer.add(kinds, ids, kindOf)
    const tagFile = writer.seal()
    // An earlier attempt may have had some.
    if (!tagFile) writer.discard()
    const labels = files.map(({ hits }) => hits.labels)
    return { tagFile, labels, findings: findingsOf({ kinds, ids, kindOf }) }
  } catch (error) {
    writer.discard()
    throw error
  }
}

/** Findings of all segments in order of event id: after compactions the ranges of segments may enclose each other. */
export function* findingHits(parts: readonly FindingPart[]): Generator<FindingHit> {
  const at = parts.map(() => 0)
  for (;;) {
    let least = -1
    parts.forEach(({ ids }, i) => {
      if (at[i]! < ids.length && (least < 0 || ids[at[i]!]! < parts[least]!.ids[at[least]!]!)) least = i
    })
    if (least < 0) return
    const { kinds, ids, kindOf } = parts[least]!
    const { finding, ...kind } = kinds[kindOf[at[least]!]!]!
    yield { event: ids[at[least]!]!, ...kind, ...finding! }
    at[least]! += 1
  }
}

// --- internal ---

function findingsOf({ kinds, ids, kindOf }: FindingPart): FindingPart | undefined {
  if (!kinds.some(({ finding }) => finding)) return undefined
  const chosen: number[] = []
  for (let i = 0; i < ids.length; i++) if (kinds[kindOf[i]!]!.finding) chosen.push(i)
  return { kinds, ids: Float64Array.from(chosen, (i) => ids[i]!), kindOf: Uint32Array.from(chosen, (i) => kindOf[i]!) }
}
