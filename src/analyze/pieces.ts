/**
 * The pieces of a run that are to be done, and what becomes of one that fails: tried again, then cut, down to the one
 * event that does it. A plugin that says what it is looking at is believed: only that part is cut further, and the rest
 * goes on whole. Pieces of what failed come first, so that a culprit is found before more is tried.
 */
import type { ColdtrailError } from '../core/errors.ts'
import { ALL_RULES, BATCH_ROWS, type Piece, type Progress, type Skipped } from './tasks.ts'

export interface Failure {
  /** `error`: its run threw; otherwise its worker is gone. `memory`: for want of it. */
  readonly cause: 'error' | 'died' | 'memory' | 'silence'
  readonly reason: string
  readonly error?: ColdtrailError
  /** Last heard of it. */
  readonly at?: Progress
}

export type Verdict =
  | { readonly kind: 'again' }
  /** One event is passed over by some plugins; the piece is done again without them. */
  | { readonly kind: 'skipped'; readonly skipped: Skipped; readonly plugins: readonly string[] }
  /** No plugin can be named, or the rows cannot be read: nothing of them is analysed. */
  | { readonly kind: 'lost'; readonly skipped: Skipped }

export class Pieces {
  private readonly waiting: Piece[]
  /** Single events at which a plugin's worker died, by plugin. */
  private readonly deaths = new Map<string, number>()
  /** Plugins that no piece is done with any more, with the reason. */
  readonly givenUp: Map<string, string>

  constructor(pieces: readonly Piece[], givenUp: ReadonlyMap<string, string> = new Map()) {
    this.waiting = [...pieces]
    this.givenUp = new Map(givenUp)
  }

  get length(): number {
    return this.waiting.length
  }

  take(): Piece | undefined {
    const piece = this.waiting.shift()
    if (!piece || this.givenUp.size === 0) return piece
    return { ...piece, without: [...new Set([...piece.without, ...this.givenUp.keys()])] }
  }

  /** `rulePlugins`: who is meant while the statement of all rules runs. */
  failed(piece: Piece, failure: Failure, rulePlugins: readonly string[]): Verdict {
    const { cause, at } = failure
    const code = failure.error?.code
    const isUnreadable = code === 'E_SEGMENT_READ' || code === 'E_SEGMENT_GONE'
    // A worker may be killed for reasons of its own: what is said of an event must be so again.
    const isAccident = (cause === 'error' || cause === 'died') && code !== 'E_QUERY_MEMORY'
    if (isAccident && piece.attempts < MAX_ACCIDENTS) {
      this.waiting.unshift({ ...piece, attempts: piece.attempts + 1 })
      return { kind: 'again' }
    }
    if (isUnreadable && piece.rows <= UNREADABLE_ROWS) return { kind: 'lost', skipped: skippedOf(piece, null, failure) }
    if (piece.rows === 1) return this.blame(piece, failure, rulePlugins)
    this.waiting.unshift(...cut(piece, isUnreadable ? undefined : at))
    return { kind: 'again' }
  }

  // --- internal ---

  private blame(piece: Piece, failure: Failure, rulePlugins: readonly string[]): Verdict {
    const name = failure.at?.plugin
    const all = name === ALL_RULES ? rulePlugins : name === undefined || name.startsWith('(') ? [] : [name]
    const plugins = all.filter((plugin) => !piece.without.includes(plugin))
    if (plugins.length === 0) return { kind: 'lost', skipped: skippedOf(piece, null, failure) }
    for (const plugin of plugins) {
      const deaths = (this.deaths.get(plugin) ?? 0) + 1
      this.deaths.set(plugin, deaths)
      if (deaths >= MAX_DEATHS) this.givenUp.set(plugin, failure.reason)
    }
    this.waiting.unshift({ ...piece, attempts: 0, without: [...piece.without, ...plugins] })
    return { kind: 'skipped', skipped: skippedOf(piece, plugins.join(', '), failure), plugins }
  }
}

/** A new piece; `rows` is at least one. */
export const newPiece = (pass: 1 | 2, segment: number, first: number, rows: number): Piece => ({
  ...{ pass, segment, first, rows },
  ...{ attempts: 0, without: [], batchRows: BATCH_ROWS },
})

// --- internal ---

/** Times that a piece is tried again as it is. */
const MAX_ACCIDENTS = 2
/** A plugin that ends its worker at so many single events is given up: each costs a process. */
const MAX_DEATHS = 5
/** A damaged page takes the other pages of its row group with it. */
const UNREADABLE_ROWS = 32_768
/** Into so many parts a piece is cut: more than halves, since each step costs a worker. */
const PARTS = 8
/** A suspected part is looked at in so many batches. */
const BATCHES = 64

function skippedOf({ segment, first, rows }: Piece, plugin: string | null, { reason }: Failure): Skipped {
  return { event: null, segment, first, rows, plugin, reason }
}

function cut(piece: Piece, at: Progress | undefined): Piece[] {
  const end = piece.first + piece.rows
  const part = (first: number, to: number, attempts: number): Piece[] =>
    to > first ? [{ ...piece, first, rows: to - first, attempts, batchRows: batchRows(to - first, attempts) }] : []
  const batchRows = (rows: number, attempts: number): number =>
    attempts === 0 ? BATCH_ROWS : Math.max(1, Math.ceil(rows / BATCHES))
  const suspected = at && at.first >= piece.first && at.last < end && at.last - at.first + 1 < piece.rows
  if (suspected)
    return [...part(at.first, at.last + 1, 1), ...part(piece.first, at.first, 0), ...part(at.last + 1, end, 0)]
  const step = Math.ceil(piece.rows / PARTS)
  const parts: Piece[] = []
  for (let first = piece.first; first < end; first += step) parts.push(...part(first, Math.min(end, first + step), 1))
  return parts
}
