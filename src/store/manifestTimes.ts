/** Which times a manifest covers, as a search by time sees them. All in POSIX seconds, both ends included. */

export type Interval = readonly [from: number, to: number]

/** What tells times: our manifests and imported ones. */
export interface TimedManifest {
  readonly fileTime?: number
  readonly time1?: number
  readonly time2?: number
  readonly eventTime?: {
    readonly min: number
    readonly max: number
    readonly outliers?: readonly (readonly [from: number, to: number, events: number])[]
  }
}

/**
 * Its intervals: that of its events, those of its outliers apart, so that one bad clock does not make it overlap all
 * history. Without times of its own its creation time stands in. None: it tells no time at all.
 */
export function intervalsOf({ fileTime, time1, time2, eventTime }: TimedManifest): Interval[] {
  if (time1 === undefined || time2 === undefined) return fileTime === undefined ? [] : [[fileTime, fileTime]]
  if (eventTime?.outliers?.length)
    return [[eventTime.min, eventTime.max], ...eventTime.outliers.map(([from, to]): Interval => [from, to])]
  // Imported manifests may give first and last instead of minimum and maximum.
  return [[Math.min(time1, time2), Math.max(time1, time2)]]
}

/** Only the creation time stood in for times of its own. */
export const isByFileTime = ({ time1, time2 }: TimedManifest): boolean => time1 === undefined || time2 === undefined
