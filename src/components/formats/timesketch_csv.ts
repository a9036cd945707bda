/**
 * CSV timelines: what Timesketch reads (a header with `message`, `datetime` and `timestamp_desc`, and any other columns),
 * and what psort writes as `dynamic`, whose fields are not quoted: it puts spaces for commas.
 */
import type { Format } from '../component.ts'
import { type CsvFormat, CsvObjectParser, fieldsOf } from '../lines/csvObjectParser.ts'
import { putAttributes, timelineTable } from '../timeline/timelineTable.ts'

const table = timelineTable({
  dataType: 'timesketch:event',
  // `timestamp` is optional, and often nonsense.
  time: 'datetime',
  required: ['message', 'time', 'timestamp_desc'],
})

export const timesketch_csv: Format = {
  kind: 'format',
  name: 'timesketch_csv',
  version: 1,
  summary: 'Timelines as CSV: of Timesketch, and what psort writes as dynamic',
  isTimeline: true,
  detect(head) {
    const [first = ''] = head
      .toString('utf8')
      .replace(/^\ufeff/, '')
      .split(/\r?\n/, 1)
    return isHeader(fieldsOf(first) ?? []) ? 0.9 : 0
  },
  open: (sink, options) => new CsvObjectParser(new TimelineRows(), sink, options),
}

// --- internal ---

/** The fields that psort writes when none are named, and with which it begins when more are. */
const PSORT = 'datetime,timestamp_desc,source,source_long,message,parser,display_name,tag'

class TimelineRows implements CsvFormat {
  private names: readonly string[] = []
  private isPsort = false

  header(names: readonly string[]) {
    if (!isHeader(names)) return undefined
    this.names = names
    this.isPsort = `${names.join(',')},`.startsWith(`${PSORT},`)
    return { plain: this.isPsort }
  }

  record(fields: readonly string[]) {
    const { names, isPsort } = this
    // Without a prototype: names come from the file.
    const attributes: Record<string, string> = Object.create(null)
    for (const [i, name] of names.entries()) {
      const value = fields[i]!
      if (value !== '' && name !== '' && !(isPsort && value === '-')) attributes[name] ??= value
    }
    return [(sink: Parameters<typeof putAttributes>[1]) => putAttributes(table, sink, attributes)]
  }
}

function isHeader(names: readonly string[]): boolean {
  const has = (name: string) => names.includes(name)
  return has('message') && has('timestamp_desc') && (has('datetime') || has('timestamp'))
}
