/** What psort writes as `json_line`: events of a plaso timeline, one JSON object a line. */
import type { Format } from '../component.ts'
import { JsonObjectParser } from '../json/jsonObjectParser.ts'
import { timelineTable } from '../timeline/timelineTable.ts'

const table = timelineTable({
  dataType: 'plaso:event',
  time: 'timestamp',
  required: ['data_type', 'time', 'timestamp_desc'],
})

export const plaso_json_line: Format = {
  kind: 'format',
  name: 'plaso_json_line',
  version: 1,
  summary: 'Timelines that psort wrote as json_line',
  isTimeline: true,
  detect(head) {
    const text = head.toString('latin1')
    return /^(\xef\xbb\xbf)?\s*\{/.test(text) && /"__container_type__"\s*:\s*"event"/.test(text) ? 0.98 : 0
  },
  open: (sink, options) => new JsonObjectParser(table, sink, options),
}
