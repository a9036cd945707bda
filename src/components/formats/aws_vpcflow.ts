/** AWS VPC (and transit gateway) flow logs as text, of every version: the header line says which fields there are. */
import { COLUMN_INDEX } from '../../core/columns.ts'
import type { EventSink, Phrase } from '../../core/eventSink.ts'
import { isIpText } from '../../core/ipText.ts'
import { type Format, MAX_HEADER } from '../component.ts'
import { HEADER, type LineFormat, LineObjectParser } from '../lines/lineObjectParser.ts'

export const aws_vpcflow: Format = {
  kind: 'format',
  name: 'aws_vpcflow',
  version: 1,
  summary: 'AWS VPC and transit gateway flow logs (text), every version by its header',
  detect(head, key) {
    const line = firstLine(head)
    if (isHeader(line)) return 1
    return /vpcflowlogs/.test(key) && /^\d{1,2} \d{12} /.test(line) ? 0.8 : 0
  },
  open: (sink, options) => new LineObjectParser(new FlowLines(), sink, options),
}

// --- internal ---

const column = (name: string) => COLUMN_INDEX.get(name)!
const TIME_START = -1
const PROTOCOL = -2
const ACTION = -3

interface Field {
  readonly column: number
  readonly as: 'text' | 'ip' | 'int' | 'special'
}

/** Field of the header -> column, or what is special about it. The others stay in `data`. */
const FIELDS: ReadonlyMap<string, Field> = new Map([
  ['account-id', { column: column('cloud_account_uid'), as: 'text' }],
  ['region', { column: column('cloud_region'), as: 'text' }],
  ['tgw-src-vpc-account-id', { column: column('cloud_account_uid'), as: 'text' }],
  ['interface-id', { column: column('resource_uid'), as: 'text' }],
  ['tgw-attachment-id', { column: column('resource_uid'), as: 'text' }],
  ['srcaddr', { column: column('src_endpoint_ip'), as: 'ip' }],
  ['dstaddr', { column: column('dst_endpoint_ip'), as: 'ip' }],
  ['srcport', { column: column('src_endpoint_port'), as: 'int' }],
  ['dstport', { column: column('dst_endpoint_port'), as: 'int' }],
  ['packets', { column: column('traffic_packets'), as: 'int' }],
  ['bytes', { column: column('traffic_bytes'), as: 'int' }],
  ['log-status', { column: column('status_code'), as: 'text' }],
  ['protocol', { column: PROTOCOL, as: 'special' }],
  ['start', { column: TIME_START, as: 'special' }],
  ['action', { column: ACTION, as: 'special' }],
] as const)

/** The fields of version 2, for files whose header was cut off. */
const DEFAULT_HEADER =
  'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status'

const PROTOCOLS: ReadonlyMap<number, Buffer> = new Map(
  Object.entries({
    1: 'icmp',
    2: 'igmp',
    6: 'tcp',
    17: 'udp',
    41: 'ipv6',
    47: 'gre',
    50: 'esp',
    51: 'ah',
    58: 'ipv6-icmp',
    132: 'sctp',
  }).map(([number, name]) => [Number(number), Buffer.from(name)]),
)
const PROTOCOL_NAME = column('connection_info_protocol_name')
const DISPOSITION = column('disposition')
const DATA_TYPE = column('data_type')
const TIMESTAMP_DESC = column('timestamp_desc')
const CLASS_UID = column('class_uid')
const ACTIVITY = column('activity_name')
const SEVERITY = column('severity_id')
const ENTRY = Buffer.from('aws:vpcflow:entry')
const DESCRIPTION = Buffer.from('Start Time')
const TRAFFIC = Buffer.from('Traffic')
const ALLOWED = Buffer.from('Allowed')
const BLOCKED = Buffer.from('Blocked')
const LETTER_A = 0x41

const PHRASE: Phrase = [
  { before: '', column: DISPOSITION },
  { before: ' ', column: PROTOCOL_NAME },
  { before: ' ', column: column('src_endpoint_ip') },
  { before: ' -> ', column: column('dst_endpoint_ip') },
  { before: ' port ', column: column('dst_endpoint_port') },
]

class FlowLines implements LineFormat {
  private fields = fieldsOf(DEFAULT_HEADER.split(' '))
  private width = this.fields.length
  private names: string | null = DEFAULT_HEADER
  private hasRecords = false
  private hasSeveral = false

  header(): string | null {
    return this.hasSeveral ? null : this.names
  }

  line(bytes: Buffer, start: number, end: number, sink: EventSink): string | undefined | typeof HEADER {
    if (bytes[start]! > 0x39) {
      const line = bytes.toString('latin1', start, Math.min(end, start + MAX_HEADER))
      if (!isHeader(line)) return 'neither a flow record nor a header'
      const names = line.trim().split(/\s+/)
      this.fields = fieldsOf(names)
      this.width = this.fields.length
      // What was cut off is no header to keep.
      const joined = end - start > MAX_HEADER ? null : names.join(' ')
      if (this.hasRecords && joined !== this.names) this.hasSeveral = true
      this.names = joined
      return HEADER
    }
    this.hasRecords = true
    let at = start
    for (let index = 0; index < this.width; index++) {
      if (at > end) return `has ${index} fields, its header names ${this.width}`
      const space = bytes.indexOf(SPACE, at)
      const to = space < 0 || space > end ? end : space
      const field = this.fields[index]
      if (to === at) return `field ${index + 1} is empty`
      // `-` is no value.
      if (field && !(to === at + 1 && bytes[at] === DASH)) {
        const problem = put(sink, field, bytes, at, to)
        if (problem) return problem
      }
      at = to + 1
    }
    if (at <= end) return `has more than the ${this.width} fields of its header`
    sink.constant(DATA_TYPE, ENTRY)
    sink.constant(TIMESTAMP_DESC, DESCRIPTION)
    sink.constant(ACTIVITY, TRAFFIC)
    sink.int(CLASS_UID, 4001)
    sink.int(SEVERITY, 1)
    sink.phrase(PHRASE)
    return undefined
  }
}

const SPACE = 0x20
const DASH = 0x2d
/** The last second of the year 9999. */
const LATEST = 253_402_300_799

/** What becomes of each field; of several fields for one column the first counts. */
function fieldsOf(names: readonly string[]): readonly (Field | undefined)[] {
  const taken = new Set<number>()
  return names.map((name) => {
    const field = FIELDS.get(name.replaceAll('_', '-'))
    if (!field || taken.has(field.column)) return undefined
    taken.add(field.column)
    return field
  })
}

function put(sink: EventSink, field: Field, bytes: Buffer, start: number, end: number): string | undefined {
  if (field.as === 'text') {
    sink.slice(field.column, bytes, start, end)
    return undefined
  }
  if (field.as === 'ip') {
    if (!isIpText(bytes, start, end)) return 'an address is not an IP address'
    sink.slice(field.column, bytes, start, end)
    return undefined
  }
  if (field.column === ACTION) {
    const disposition = bytes[start] === LETTER_A ? ALLOWED : BLOCKED
    sink.constant(DISPOSITION, disposition)
    return undefined
  }
  const number = decimal(bytes, start, end)
  if (Number.isNaN(number)) return 'a number is not decimal digits'
  if (field.column === TIME_START) {
    if (number > LATEST) return 'a time lies beyond the year 9999'
    sink.time(number * 1e6)
  } else if (field.column === PROTOCOL) {
    const name = PROTOCOLS.get(number)
    if (name) sink.constant(PROTOCOL_NAME, name)
    else sink.text(PROTOCOL_NAME, String(number))
  } else sink.int(field.column, number)
  return undefined
}

function decimal(bytes: Buffer, start: number, end: number): number {
  if (end - start > 15) return Number.NaN
  let value = 0
  for (let at = start; at < end; at++) {
    const c = bytes[at]!
    if (c < 48 || c > 57) return Number.NaN
    value = value * 10 + (c - 48)
  }
  return value
}

function firstLine(head: Buffer): string {
  const text = head.toString('latin1')
  const end = text.indexOf('\n')
  return (end < 0 ? text : text.slice(0, end)).replace('\xef\xbb\xbf', '')
}

function isHeader(line: string): boolean {
  const names = line.trim().replaceAll('_', '-').split(/\s+/)
  return (
    names.length > 1 &&
    names.filter((name) => FIELDS.has(name)).length >= 2 &&
    names.every((name) => /^[a-z][a-z0-9-]+$/.test(name))
  )
}
