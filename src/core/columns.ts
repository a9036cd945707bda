/**
 * The columns of an event (`meta` database), in file order. One declaration for the Parquet writer, the expression
 * language, the search output and the generated docs. Field ids are fixed for ever and never reused.
 */

/** `text`: UTF-8; `int`: 64-bit integer; `time`: microseconds UTC; `ip`: text whose canonical form is in `<name>_key`. */
export type ColumnType = 'text' | 'int' | 'time' | 'ip'

/** How the writer stores it: `delta` integers; `dictionary` for values that repeat; `bytes` for values that do not. */
export type ColumnEncoding = 'delta' | 'dictionary' | 'bytes'

export interface EventColumn {
  readonly name: string
  readonly fieldId: number
  readonly type: ColumnType
  readonly encoding: ColumnEncoding
  readonly nullable: boolean
  /** In values.parquet and in the column sections of the keyset. */
  readonly indexed: boolean
  readonly description: string
  /** Short names in the expression language beside the dotted OCSF path. */
  readonly aliases: readonly string[]
}

const column = (
  fieldId: number,
  name: string,
  type: ColumnType,
  encoding: ColumnEncoding,
  description: string,
  extra: Partial<EventColumn> = {},
): EventColumn => ({
  name,
  fieldId,
  type,
  encoding,
  description,
  nullable: true,
  indexed: false,
  aliases: [],
  ...extra,
})
const required = { nullable: false } as const
const indexed = (...aliases: string[]) => ({ indexed: true, aliases })

export const EVENT_COLUMNS = [
  column(
    1,
    'id',
    'int',
    'delta',
    'Local event id, drawn from ranges of the catalog; unique within an installation.',
    required,
  ),
  column(2, 'session_id', 'int', 'delta', 'Session (collected object) the event came from.', required),
  column(3, 'ordinal', 'int', 'delta', 'Position of the event in its object, from 0.', required),
  column(4, 'record_offset', 'int', 'delta', 'Byte offset of the record in the decoded object.', required),
  column(5, 'record_length', 'int', 'delta', 'Length of the record in bytes.', required),
  column(6, 'metadata_uid', 'text', 'bytes', "The source's own event id.", { aliases: ['event_uid'] }),
  column(
    7,
    'time',
    'time',
    'delta',
    'When it happened: microseconds since 1970, UTC. Absent when the record has no usable time.',
    { aliases: ['timestamp', 'date', 'datetime'] },
  ),
  column(8, 'timestamp_desc', 'text', 'dictionary', 'What the time means, in plaso style.'),
  column(
    9,
    'data_type',
    'text',
    'dictionary',
    'Kind of record, in plaso style: aws:cloudtrail:entry, aws:vpcflow:entry, …',
    { nullable: false, indexed: true },
  ),
  column(10, 'class_uid', 'int', 'delta', 'OCSF class.'),
  column(
    11,
    'activity_name',
    'text',
    'dictionary',
    'OCSF activity: Create, Read, Update, Delete, Logon, Traffic, …',
    indexed('activity'),
  ),
  column(12, 'severity_id', 'int', 'delta', 'OCSF severity: 1 informational … 6 fatal.', { aliases: ['severity'] }),
  column(13, 'status', 'text', 'dictionary', 'Success or Failure.', indexed()),
  column(14, 'status_code', 'text', 'dictionary', 'Error code of the service, such as AccessDenied.', indexed('error')),
  column(15, 'disposition', 'text', 'dictionary', 'Allowed or Blocked.', indexed('action')),
  column(
    16,
    'api_operation',
    'text',
    'dictionary',
    "API call; CloudTrail's eventName.",
    indexed('operation', 'event_name'),
  ),
  column(17, 'api_service_name', 'text', 'dictionary', "Service; CloudTrail's eventSource.", indexed('service')),
  column(18, 'cloud_account_uid', 'text', 'dictionary', 'Account that the event belongs to.', indexed('account')),
  column(19, 'cloud_region', 'text', 'dictionary', 'Region.', indexed('region')),
  column(20, 'actor_user_name', 'text', 'dictionary', 'User, or the role of an assumed-role session.', indexed('user')),
  column(
    21,
    'actor_user_uid',
    'text',
    'dictionary',
    'Principal: the ARN where there is one, else the principal id.',
    indexed(),
  ),
  column(22, 'actor_user_type', 'text', 'dictionary', 'IAMUser, AssumedRole, Root, AWSService, …', indexed()),
  column(23, 'actor_user_credential_uid', 'text', 'dictionary', 'Access key id.', indexed('access_key')),
  column(24, 'src_endpoint_ip', 'ip', 'dictionary', 'Source address as written.', indexed('ip', 'src_ip')),
  column(25, 'src_endpoint_port', 'int', 'delta', 'Source port.', { aliases: ['src_port'] }),
  column(26, 'dst_endpoint_ip', 'ip', 'dictionary', 'Destination address as written.', indexed('dst_ip')),
  column(27, 'dst_endpoint_port', 'int', 'delta', 'Destination port.', { aliases: ['dst_port'] }),
  column(
    28,
    'src_endpoint_ip_key',
    'text',
    'dictionary',
    'src_endpoint_ip as 32 hex digits of its IPv6 (mapped) form, so that a CIDR block is a range.',
  ),
  column(29, 'dst_endpoint_ip_key', 'text', 'dictionary', 'dst_endpoint_ip likewise.'),
  column(30, 'connection_info_protocol_name', 'text', 'dictionary', 'tcp, udp, icmp, …', indexed('protocol')),
  column(31, 'traffic_bytes', 'int', 'delta', 'Bytes transferred.', { aliases: ['bytes'] }),
  column(32, 'traffic_packets', 'int', 'delta', 'Packets transferred.', { aliases: ['packets'] }),
  column(33, 'device_hostname', 'text', 'dictionary', 'Host that wrote the record.', indexed('host', 'hostname')),
  column(34, 'query_hostname', 'text', 'dictionary', 'Name asked for in DNS.', indexed('dns')),
  column(35, 'http_request_method', 'text', 'dictionary', 'HTTP method.', indexed()),
  column(36, 'http_request_url', 'text', 'dictionary', 'URL asked for.', { aliases: ['url'] }),
  column(37, 'http_request_user_agent', 'text', 'dictionary', 'User agent.', indexed('user_agent')),
  column(38, 'file_path', 'text', 'dictionary', 'Path of a file or object.', { aliases: ['path'] }),
  column(39, 'file_hash', 'text', 'dictionary', 'Hash of a file.', indexed('hash')),
  column(
    40,
    'resource_uid',
    'text',
    'dictionary',
    'Resource acted upon: ARN, bucket, interface, …',
    indexed('resource'),
  ),
  column(41, 'message', 'text', 'dictionary', 'One line for a person.'),
  column(
    42,
    'data',
    'text',
    'bytes',
    "The record's own text, verbatim; of timelines that are no JSON, their fields as JSON.",
    required,
  ),
  column(
    43,
    'segment_day',
    'text',
    'dictionary',
    "Constant per segment: the day of its partition (of the object's key, else of its first event).",
    required,
  ),
] as const satisfies readonly EventColumn[]

export type EventColumnName = (typeof EVENT_COLUMNS)[number]['name']

export const COLUMN_BY_NAME: ReadonlyMap<string, EventColumn> = new Map(EVENT_COLUMNS.map((c) => [c.name, c]))
export const COLUMN_INDEX: ReadonlyMap<string, number> = new Map(EVENT_COLUMNS.map((c, i) => [c.name, i]))
export const INDEXED_COLUMNS: readonly EventColumn[] = EVENT_COLUMNS.filter((c) => c.indexed)

/** What people read, in order; the others serve the search itself. `uid` stands behind `id` where events leave. */
export const READABLE_COLUMNS: readonly EventColumnName[] = EVENT_COLUMNS.map(({ name }) => name).filter(
  (name) => !name.endsWith('_key') && name !== 'segment_day',
)
