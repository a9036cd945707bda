/**
 * Sessions of activity: a new one begins when nothing happened for longer than the pause. A fold that needs no order: two
 * events within one bin of the width of the pause are always one session, and bins join where the gap between the last
 * event of one and the first of the next is no longer than the pause.
 */
import { z } from 'zod'
import type { FoldPlugin, FoldResult, NumberColumn, PluginComponent } from '../plugin.ts'

const options = z.strictObject({
  maximum_pause: z
    .int()
    .min(1)
    .max(527_040)
    .default(10)
    .describe('Minutes without an event after which a new session begins.'),
})

export const sessionize: PluginComponent<typeof options, Pause> = {
  kind: 'plugin',
  name: 'sessionize',
  summary: 'Label every event with the session of activity it belongs to: session_0, session_1, …',
  version: 1,
  options,
  prepare: async ({ maximum_pause }) => ({ microseconds: maximum_pause * 60e6 }),
  start: (pause) => sessions(pause.microseconds),
}

// --- internal ---

export interface Pause {
  readonly microseconds: number
}

/** First and last time and number of its events. */
type Bin = [time1: number, time2: number, events: number]
type Bins = Map<number, Bin>

/** Sessions that the report counts one by one; all of them are labelled. */
const REPORTED = 10_000

function sessions(pause: number): FoldPlugin<Bins> {
  return {
    shape: 'fold',
    columns: ['time'],
    empty: () => new Map(),
    add(bins, { rows, columns }) {
      const { values } = columns.time as NumberColumn
      let number = Number.NaN
      let bin: Bin | undefined
      for (let row = 0; row < rows; row++) {
        const time = values[row]!
        if (Number.isNaN(time)) continue
        const at = Math.floor(time / pause)
        // Neighbours mostly share a bin.
        if (at !== number || !bin) {
          number = at
          bin = bins.get(at)
          if (!bin) {
            bin = [time, time, 0]
            bins.set(at, bin)
          }
        }
        if (time < bin[0]) bin[0] = time
        else if (time > bin[1]) bin[1] = time
        bin[2] += 1
      }
      return bins
    },
    merge(one, other) {
      for (const [at, [time1, time2, events]] of other) {
        const bin = one.get(at)
        if (bin) one.set(at, [Math.min(bin[0], time1), Math.max(bin[1], time2), bin[2] + events])
        else one.set(at, [time1, time2, events])
      }
      return one
    },
    finish: (bins) => finish(bins, pause),
  }
}

function finish(bins: Bins, pause: number): FoldResult {
  const intervals: { time1: number; time2: number; label: string }[] = []
  const counts: number[] = []
  for (const [, [time1, time2, events]] of [...bins].sort(([a], [b]) => a - b)) {
    const last = intervals.at(-1)
    if (last && time1 - last.time2 <= pause) {
      last.time2 = time2
      counts[counts.length - 1]! += events
    } else {
      intervals.push({ time1, time2, label: `session_${intervals.length}` })
      counts.push(events)
    }
  }
  const reported = counts.slice(0, REPORTED).map((count, number) => [`session_${number}`, count] as const)
  const more = counts.length - reported.length
  return {
    intervals,
    report: {
      counters: [['sessions', counts.length], ...reported],
      ...(more > 0 && { text: `${more} more sessions are labelled and not counted here.` }),
    },
  }
}
