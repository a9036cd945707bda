/** Legal holds: named reasons why nothing of a range of time may be deleted. They are in the chain, and a row of the catalog. */

/** Times in POSIX seconds, both included; null: open. `since`: microseconds at which it was put on. */
export interface LegalHold {
  readonly collection: string
  readonly name: string
  readonly reason: string
  readonly time1: number | null
  readonly time2: number | null
  readonly since: number
  /** Number of its link. */
  readonly sequence: number
}

/** Times of a segment in microseconds; `missing`: how many of its events have none. */
export interface HeldTimes {
  readonly time1: number | null
  readonly time2: number | null
  readonly missing: number
}

/** Whether a hold covers anything of a segment. An event without a time may belong to any. */
export function covers(hold: Pick<LegalHold, 'time1' | 'time2'>, { time1, time2, missing }: HeldTimes): boolean {
  if (hold.time1 === null && hold.time2 === null) return true
  if (missing > 0 || time1 === null || time2 === null) return true
  const [from, to] = [hold.time1 ?? Number.NEGATIVE_INFINITY, hold.time2 ?? Number.POSITIVE_INFINITY]
  return Math.floor(time1 / 1e6) <= to && Math.floor(time2 / 1e6) >= from
}

/** Names of the holds that cover a segment, sorted. */
export const holdsOver = (
  holds: readonly (Pick<LegalHold, 'name' | 'time1' | 'time2'> & { readonly collection?: string })[],
  times: HeldTimes,
): string[] =>
  holds
    .filter((hold) => covers(hold, times))
    .map(({ name }) => name)
    .sort()

/** What of a segment a hold is measured by. */
export function heldTimes(segment: {
  readonly time1: number | null
  readonly time2: number | null
  readonly rows: number
  readonly rejects: number
  readonly files: readonly {
    readonly kind: string
    readonly manifest: { readonly eventTime?: { readonly missing: number } }
  }[]
}): HeldTimes {
  const { time1, time2, rows, rejects, files } = segment
  const counted = files.find(({ kind }) => kind === 'meta')?.manifest.eventTime?.missing ?? (time1 === null ? rows : 0)
  // A record that was refused has no time.
  return { time1, time2, missing: counted + rejects }
}
