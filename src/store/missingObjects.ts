/** Which objects that were not collected could have held an answer to a question. */
import { keyDay, MICROSECONDS_PER_DAY } from '../core/keyDay.ts'
import type { PendingObject } from './catalog.ts'

/**
 * False only for another collection, for an object that another version has replaced, and for a day too far from the time asked for (microseconds, both ends included).
 * Only a day in the folders of the key counts, as services lay it down: a date in a file's name may be that of a copy.
 * Without one the object may hold events of any time.
 */
export function mayBelong(
  { collection, key, replaced }: Pick<PendingObject, 'collection' | 'key' | 'replaced'>,
  question: {
    readonly collection: string
    readonly allVersions?: boolean
    readonly time1?: number
    readonly time2?: number
  },
): boolean {
  if (replaced && !question.allVersions) return false
  if (collection !== null && collection !== question.collection) return false
  const day = keyDay(key.slice(0, key.lastIndexOf('/') + 1))
  if (day === undefined) return true
  const { time1 = Number.NEGATIVE_INFINITY, time2 = Number.POSITIVE_INFINITY } = question
  return (day + 1 + SLACK_DAYS) * MICROSECONDS_PER_DAY > time1 && (day - SLACK_DAYS) * MICROSECONDS_PER_DAY <= time2
}

// --- internal ---

/** Events are delivered late, and records begin before the day of their file: as far as a listing looks back. */
const SLACK_DAYS = 2
