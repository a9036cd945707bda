/**
 * Events in order of time, as psort puts them out: those of one time sorted by what they say, repeats left out, and the times
 * of one file that are the same (modified, accessed, changed, born) as one group.
 */
import type { OutputEvent } from './outputEvent.ts'
import { compareTexts } from './pythonText.ts'

export interface GroupCounts {
  duplicates: number
  /** Events with one of the four descriptions, alone in their group or not. */
  macbGrouped: number
}

/** An event, or those of a group; `isGroup` also of one that might have been more. */
export interface EventGroup {
  readonly events: readonly [OutputEvent, ...OutputEvent[]]
  readonly isGroup: boolean
}

/** Events of one time that are held at most; with more the sorting begins anew, as in the original. And their records. */
export const MAX_EVENTS = 100_000
const MAX_CHARACTERS = 64 * 2 ** 20

export const MACB: readonly (readonly [letter: string, description: string, short: string])[] = [
  ['M', 'Content Modification Time', 'mtime'],
  ['A', 'Last Access Time', 'atime'],
  ['C', 'Metadata Modification Time', 'ctime'],
  ['B', 'Creation Time', 'crtime'],
]

/** Groups of the events of each time. `keepDuplicates`: psort's `--include_all`, of the last time too. */
export async function* eventGroups(
  events: AsyncIterable<OutputEvent>,
  counts: GroupCounts,
  keepDuplicates: boolean,
): AsyncGenerator<readonly EventGroup[]> {
  let held: OutputEvent[] = []
  let characters = 0
  for await (const event of events) {
    const isFull = held.length > MAX_EVENTS || characters > MAX_CHARACTERS
    if (held.length > 0 && (held[0]!.time !== event.time || isFull)) {
      yield grouped(held, counts, keepDuplicates)
      held = []
      characters = 0
    }
    held.push(event)
    characters += String(event.columns.data).length
  }
  if (held.length > 0) yield grouped(held, counts, keepDuplicates)
}

// --- internal ---

const GROUPED: ReadonlySet<string> = new Set(MACB.map(([, description]) => description))

function grouped(events: OutputEvent[], counts: GroupCounts, keepDuplicates: boolean): EventGroup[] {
  events.sort((a, b) => compareTexts(a.valuesHash, b.valuesHash) || compareTexts(a.description, b.description))
  const groups: EventGroup[] = []
  let open: [OutputEvent, ...OutputEvent[]] | undefined
  let last: OutputEvent | undefined
  const close = () => {
    if (open) groups.push({ events: open, isGroup: true })
    open = undefined
  }
  for (const event of events) {
    const isRepeat = last?.valuesHash === event.valuesHash && last.description === event.description
    if (isRepeat && !keepDuplicates) {
      counts.duplicates += 1
      continue
    }
    if (GROUPED.has(event.description)) {
      counts.macbGrouped += 1
      if (open && open[0].valuesHash === event.valuesHash) open.push(event)
      else {
        close()
        open = [event]
      }
    } else {
      close()
      groups.push({ events: [event], isGroup: false })
    }
    last = event
  }
  close()
  return groups
}
