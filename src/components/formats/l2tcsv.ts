/** The CSV of log2timeline, which psort writes as `l2tcsv`: 17 fixed fields, which are not quoted. */
import type { EventSink } from '../../core/eventSink.ts'
import type { Format } from '../component.ts'
import { type CsvFormat, CsvObjectParser } from '../lines/csvObjectParser.ts'
import { type Attributes, putAttributes, timelineTable } from '../timeline/timelineTable.ts'
import { zonedTime } from '../timeline/timelineTime.ts'

const table = timelineTable({ dataType: 'l2tcsv:event', time: 'timestamp', required: ['message'] })

export const l2tcsv: Format = {
  kind: 'format',
  name: 'l2tcsv',
  version: 1,
  summary: 'Timelines as CSV of log2timeline (l2tcsv), 17 fields',
  isTimeline: true,
  detect(head) {
    return head
      .toString('latin1')
      .replace(/^\xef\xbb\xbf/, '')
      .startsWith(HEADER)
      ? 1
      : 0
  },
  open: (sink, options) => new CsvObjectParser(new L2tRows(), sink, options),
}

// --- internal ---

const HEADER =
  'date,time,timezone,MACB,source,sourcetype,type,user,host,short,desc,version,filename,inode,notes,format,extra'

/** Times of files: a row may stand for several of them. */
const FILE_TIMES: ReadonlySet<string> = new Set([
  'Content Modification Time',
  'Creation Time',
  'Last Access Time',
  'Metadata Modification Time',
])

class L2tRows implements CsvFormat {
  header(names: readonly string[]) {
    return names.join(',') === HEADER ? { plain: true } : undefined
  }

  record(fields: readonly string[]) {
    const [
      date,
      clock,
      zone,
      macb,
      source,
      sourceType,
      type,
      user,
      host,
      short,
      message,
      ,
      file,
      inode,
      notes,
      format,
      extra,
    ] = fields as [string, ...string[]]
    const timestamp = timeOf(date!, clock!, zone!)
    if (typeof timestamp === 'string') return [() => timestamp]
    const given = (text: string | undefined) => (text === '-' || text === '' ? undefined : text)
    const attributes: Attributes = {
      ...(timestamp !== undefined && { timestamp }),
      macb: given(macb),
      source_short: given(source),
      source_long: given(sourceType),
      username: given(user),
      hostname: given(host),
      message: given(message) ?? given(short),
      message_short: short === message ? undefined : given(short),
      display_name: given(file),
      filename: given(file)?.replace(/^[A-Z][A-Z0-9_]*:/, ''),
      inode: given(inode),
      notes: given(notes),
      parser: given(format),
      ...extraAttributes(given(extra)),
    }
    const types = type!.split('; ')
    const descriptions = types.every((name) => FILE_TIMES.has(name)) ? [...new Set(types)] : [type!]
    return descriptions.map(
      (timestamp_desc) => (sink: EventSink) =>
        putAttributes(table, sink, { timestamp_desc: given(timestamp_desc), ...attributes }),
    )
  }
}

/** Microseconds UTC, undefined where psort knew none, or why it is no time. */
function timeOf(date: string, clock: string, zone: string): number | string | undefined {
  if (date === '00/00/0000' || clock === '--:--:--') return undefined
  const match = /^(\d\d)\/(\d\d)\/(\d{4})$/.exec(date)
  const time = match && zonedTime(`${match[3]}-${match[1]}-${match[2]}T${clock}`, zone)
  if (time === undefined) return 'the time zone is none that is known'
  return time === null || Number.isNaN(time) ? 'date and time are none' : time
}

/** Names that rows have in fields of their own. */
const FIXED: ReadonlySet<string> = new Set([
  ...[
    'timestamp',
    'timestamp_desc',
    'datetime',
    'date_time',
    'data_type',
    'message',
    'message_short',
    'macb',
    'notes',
    'parser',
  ],
  ...['source_short', 'source_long', 'username', 'hostname', 'display_name', 'filename', 'inode', 'tag', '__proto__'],
])

/** `name: value; name: value`; what begins with no name belongs to the value before. */
function extraAttributes(extra: string | undefined): Record<string, string> {
  if (extra === undefined) return {}
  const found: Record<string, string> = {}
  let current: string | undefined
  for (const part of extra.split('; ')) {
    const match = /^([A-Za-z_][A-Za-z0-9_]{0,99}): (.*)$/s.exec(part)
    if (match && !FIXED.has(match[1]!) && !Object.hasOwn(found, match[1]!)) {
      current = match[1]!
      found[current] = match[2]!
    } else if (current !== undefined) found[current] += `; ${part}`
    else return { extra }
  }
  return found
}
