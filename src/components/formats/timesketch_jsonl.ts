/** Timesketch JSONL: one object a line with `message`, `datetime` and `timestamp_desc`, and any other attributes. */
import type { Format } from '../component.ts'
import { JsonObjectParser } from '../json/jsonObjectParser.ts'
import { timelineTable } from '../timeline/timelineTable.ts'

const table = timelineTable({
  dataType: 'timesketch:event',
  // `timestamp` is optional, and often nonsense.
  time: 'datetime',
  required: ['message', 'time', 'timestamp_desc'],
})

export const timesketch_jsonl: Format = {
  kind: 'format',
  name: 'timesketch_jsonl',
  version: 1,
  summary: 'Timelines as Timesketch reads them: JSON lines with message, datetime and timestamp_desc',
  isTimeline: true,
  detect(head) {
    const [first = ''] = head.toString('latin1').split('\n', 1)
    const has = (name: string) => first.includes(`"${name}"`)
    const isTimeline = has('message') && has('timestamp_desc') && (has('datetime') || has('timestamp'))
    return /^(\xef\xbb\xbf)?\s*\{/.test(first) && isTimeline ? 0.8 : 0
  },
  open: (sink, options) => new JsonObjectParser(table, sink, options),
}
