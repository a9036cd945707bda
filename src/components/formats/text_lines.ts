/** Text lines: syslog (RFC 3164, RFC 5424), lines that begin with a time, and anything else. */
import { COLUMN_INDEX } from '../../core/columns.ts'
import type { EventSink } from '../../core/eventSink.ts'
import { daysInMonth, daysSince1970, parseEpoch, parseIsoTime } from '../../core/isoTime.ts'
import type { Format } from '../component.ts'
import { type LineFormat, LineObjectParser } from '../lines/lineObjectParser.ts'

export const text_lines: Format = {
  kind: 'format',
  name: 'text_lines',
  version: 1,
  summary: 'Text lines: syslog, lines that begin with a time, and anything else',
  // The last resort: whatever no other format takes is read line by line.
  detect: () => 0.1,
  open: (sink, options) => new LineObjectParser(new TextLines(options.lastModified), sink, options),
}

// --- internal ---

const column = (name: string) => COLUMN_INDEX.get(name)!
const DATA_TYPE = column('data_type')
const TIMESTAMP_DESC = column('timestamp_desc')
const MESSAGE = column('message')
const HOST = column('device_hostname')
const SERVICE = column('api_service_name')
const SEVERITY = column('severity_id')
const SYSLOG = Buffer.from('syslog:line')
const TEXT = Buffer.from('text:line')
const DESCRIPTION = Buffer.from('Recorded Time')

/** How much of a line is looked at for its time, host and program. */
const HEAD_BYTES = 512
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const RFC5424 = /^<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) /
const RFC3164 = /^(?:<(\d{1,3})>)?([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\S+) ([^\s:[]+)(?:\[\d+\])?: ?/
const ISO_SYSLOG = /^(?:<(\d{1,3})>)?(\d{4}-\d\d-\d\dT\S+) (\S+) ([^\s:[]+)(?:\[\d+\])?: ?/
const LEADING_ISO = /^\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)/
const LEADING_EPOCH = /^\[?(\d{10}(?:\.\d{1,9})?|\d{13})(?=[\s\]:,])/
const CLF_TIME = /\[(\d\d)\/([A-Z][a-z]{2})\/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\]/

/** RFC 5424 writes `-` for a time that the sender does not know. */
const UNKNOWN = Number.NEGATIVE_INFINITY

/** OCSF severity of syslog's, from emergency (0) to debug (7). */
const SYSLOG_SEVERITY = [6, 6, 5, 4, 3, 2, 1, 1]

class TextLines implements LineFormat {
  private readonly lastModified: number

  constructor(lastModified: number) {
    this.lastModified = lastModified
  }

  line(bytes: Buffer, start: number, end: number, sink: EventSink): undefined {
    const head = bytes.toString('utf8', start, Math.min(end, start + HEAD_BYTES))
    const isSyslog = this.syslog(head, bytes, start, end, sink)
    const dataType = isSyslog ? SYSLOG : TEXT
    sink.constant(DATA_TYPE, dataType)
    sink.constant(TIMESTAMP_DESC, DESCRIPTION)
    if (isSyslog) return
    sink.slice(MESSAGE, bytes, start, end)
    const time = leadingTime(head)
    if (!Number.isNaN(time)) sink.time(time)
  }

  private syslog(head: string, bytes: Buffer, start: number, end: number, sink: EventSink): boolean {
    const c = bytes[start]!
    // Only `<`, an upper-case month or a year can begin such a line.
    if (c !== 0x3c && !(c >= 0x41 && c <= 0x5a) && !(c >= 0x31 && c <= 0x32)) return false
    const modern = RFC5424.exec(head)
    if (modern) {
      const [all, priority, time, host, program] = modern
      const known = time === '-' ? UNKNOWN : isoTime(time!)
      return this.put(sink, bytes, start, end, all, priority, known, host!, program!)
    }
    const iso = ISO_SYSLOG.exec(head)
    if (iso) {
      const [all, priority, time, host, program] = iso
      return this.put(sink, bytes, start, end, all, priority, isoTime(time!), host!, program!)
    }
    const classic = RFC3164.exec(head)
    if (!classic) return false
    const [all, priority, month, day, hour, minute, second, host, program] = classic
    const time = this.yearless(MONTHS.indexOf(month!) + 1, Number(day), Number(hour), Number(minute), Number(second))
    return this.put(sink, bytes, start, end, all, priority, time, host!, program!)
  }

  private put(
    sink: EventSink,
    bytes: Buffer,
    start: number,
    end: number,
    prefix: string,
    priority: string | undefined,
    time: number,
    host: string,
    program: string,
  ): boolean {
    if (Number.isNaN(time)) return false
    if (time !== UNKNOWN) sink.time(time)
    if (host !== '-') sink.text(HOST, host)
    if (program !== '-') sink.text(SERVICE, program)
    if (priority !== undefined) sink.int(SEVERITY, SYSLOG_SEVERITY[Number(priority) % 8]!)
    const from = start + Buffer.byteLength(prefix)
    if (from < end) sink.slice(MESSAGE, bytes, from, end)
    return true
  }

  /** RFC 3164 has no year: the latest one that does not put the line more than a day after its file was written. */
  private yearless(month: number, day: number, hour: number, minute: number, second: number): number {
    const limit = this.lastModified + 86_400e6
    const latest = new Date(limit / 1000).getUTCFullYear()
    for (let year = latest; year > latest - 5; year--) {
      if (month < 1 || day < 1 || day > daysInMonth(year, month) || hour > 23 || minute > 59 || second > 60) continue
      const time = (daysSince1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + Math.min(second, 59)) * 1e6
      if (time <= limit) return time
    }
    return Number.NaN
  }
}

function isoTime(text: string): number {
  const bytes = Buffer.from(text, 'latin1')
  return parseIsoTime(bytes, 0, bytes.length)
}

function leadingTime(head: string): number {
  const iso = LEADING_ISO.exec(head)
  if (iso) return isoTime(iso[1]!)
  const epoch = LEADING_EPOCH.exec(head)
  if (epoch) return parseEpoch(epoch[1]!)
  const clf = CLF_TIME.exec(head)
  if (!clf) return Number.NaN
  const [, day, month, year, hour, minute, second, sign, zoneHours, zoneMinutes] = clf
  const number = String(MONTHS.indexOf(month!) + 1).padStart(2, '0')
  return isoTime(`${year}-${number}-${day}T${hour}:${minute}:${second}${sign}${zoneHours}:${zoneMinutes}`)
}
