/** Body files of The Sleuth Kit 3.x (`mactime`): one file a line, with up to four times, each of which is an event. */
import type { EventSink } from '../../core/eventSink.ts'
import type { Format, ObjectParser, ParseOptions } from '../component.ts'
import { LineObjectParser } from '../lines/lineObjectParser.ts'
import { type Attributes, putAttributes, timelineTable } from '../timeline/timelineTable.ts'

const table = timelineTable({ dataType: 'fs:bodyfile:entry', time: 'timestamp', required: [] })

export const bodyfile: Format = {
  kind: 'format',
  name: 'bodyfile',
  version: 1,
  summary: 'Body files of The Sleuth Kit 3.x, as mactime reads them',
  isTimeline: true,
  detect(head) {
    const [first = ''] = head
      .toString('latin1')
      .replace(/^\xef\xbb\xbf/, '')
      .split(/\r?\n/, 1)
    return LINE.test(first) ? 0.9 : 0
  },
  open: (sink: EventSink, options: ParseOptions): ObjectParser => new LineObjectParser(new BodyLines(), sink, options),
}

// --- internal ---

/** MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime; the name may hold bars. */
const LINE =
  /^(0|[0-9a-fA-F]{32}|)\|(.*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|(\d{0,19})\|((?:-?\d{1,12}(?:\.\d{1,9})?)?)\|((?:-?\d{1,12}(?:\.\d{1,9})?)?)\|((?:-?\d{1,12}(?:\.\d{1,9})?)?)\|((?:-?\d{1,12}(?:\.\d{1,9})?)?)\s*$/s

/** In the order of the line. */
const TIMES = ['Last Access Time', 'Content Modification Time', 'Metadata Modification Time', 'Creation Time'] as const

class BodyLines {
  line(bytes: Buffer, start: number, end: number, sink: EventSink, offset: number): string | undefined {
    const text = bytes.toString('utf8', start, end)
    const match = LINE.exec(text)
    if (!match) return faultOf(text)
    const [, md5, name, inode, mode, uid, gid, size, ...times] = match as unknown as [string, ...string[]]
    const stamps = times.map(microseconds)
    if (stamps.some(Number.isNaN)) return 'a time lies beyond the year 9999'
    const attributes = attributesOf({
      md5: md5!,
      name: name!,
      inode: inode!,
      mode: mode!,
      uid: uid!,
      gid: gid!,
      size: size!,
    })
    const events: Attributes[] = TIMES.flatMap((timestamp_desc, i) =>
      stamps[i] === 0 ? [] : [{ timestamp: stamps[i]!, timestamp_desc, ...attributes }],
    )
    if (events.length === 0) events.push({ timestamp_desc: 'Not a time', ...attributes })
    for (const [i, event] of events.entries()) {
      if (i > 0) {
        sink.commit()
        sink.begin(bytes, start, end, offset)
      }
      const refused = putAttributes(table, sink, event)
      if (refused !== undefined) return refused
    }
    return undefined
  }
}

interface Fields {
  readonly md5: string
  readonly name: string
  readonly inode: string
  readonly mode: string
  readonly uid: string
  readonly gid: string
  readonly size: string
}

function attributesOf({ md5, name, inode, mode, uid, gid, size }: Fields): Attributes {
  const given = (text: string) => (text === '' ? undefined : text)
  const number = (text: string) => (/^\d{1,15}$/.test(text) ? Number(text) : given(text))
  const path = unescaped(name)
  const arrow = mode.startsWith('l') ? path.lastIndexOf(' -> ') : -1
  const hash = md5 === '0' ? undefined : given(md5)?.toLowerCase()
  return {
    filename: arrow < 0 ? path : path.slice(0, arrow),
    symbolic_link_target: arrow < 0 ? undefined : path.slice(arrow + 4),
    // The sequence and attribute of an NTFS entry stand behind its number.
    inode: number(inode.replace(/-.*$/s, '')),
    mode_as_string: given(mode),
    owner_identifier: given(uid),
    group_identifier: number(gid),
    size: number(size),
    md5: hash,
    md5_hash: hash,
  }
}

/** `\\x0a`, `\\|` and `\\\\` are how a name says what a line cannot hold. */
function unescaped(name: string): string {
  return name.replace(/\\(?:x([01][0-9a-f]|7f|[89][0-9a-f])|([|\\]))/gi, (_, hex: string | undefined, plain: string) =>
    hex === undefined ? plain : String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

/** Seconds since 1970 with a fraction; empty and 0: not set. NaN beyond the year 9999. */
function microseconds(text: string): number {
  if (text === '') return 0
  const [whole, fraction = ''] = text.split('.') as [string, string?]
  const sign = whole.startsWith('-') ? -1 : 1
  const seconds = Math.abs(Number(whole))
  if (seconds > LATEST) return Number.NaN
  return sign * (seconds * 1e6 + Number(fraction.padEnd(6, '0').slice(0, 6)))
}

const LATEST = 253_402_300_799

function faultOf(text: string): string {
  const fields = text.split('|')
  if (fields.length < 11) return `has ${fields.length} fields of 11`
  if (!/^(0|[0-9a-f]{32}|)$/i.test(fields[0]!)) return 'the MD5 is none'
  return 'size or times are no numbers'
}
