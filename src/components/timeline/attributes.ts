/**
 * Attributes of timelines under the names that plaso gives them, and the columns that they become: one list for `.plaso`
 * files and for what psort and Timesketch write of them.
 */
import type { EventColumnName } from '../../core/columns.ts'
import type { Transform } from '../json/jsonTable.ts'

export interface AttributeColumn {
  readonly column: EventColumnName
  /** The first that is there. */
  readonly from: readonly string[]
  readonly as: Transform
}

/** Without those of the event itself: `timestamp`, `timestamp_desc`, `data_type` and `message`. */
export const ATTRIBUTE_COLUMNS: readonly AttributeColumn[] = [
  { column: 'metadata_uid', from: ['_event_identifier'], as: 'text' },
  { column: 'device_hostname', from: ['hostname', 'computer_name'], as: 'text' },
  { column: 'actor_user_name', from: ['username', 'user_name', 'user'], as: 'text' },
  { column: 'actor_user_uid', from: ['user_sid'], as: 'text' },
  { column: 'api_service_name', from: ['reporter', 'source_name', 'service_name'], as: 'text' },
  {
    column: 'src_endpoint_ip',
    from: ['source_ip', 'source_address', 'ip_address', 'remote_address', 'client_ip', 'remote_ip'],
    as: 'ip',
  },
  { column: 'src_endpoint_port', from: ['source_port', 'remote_port'], as: 'port' },
  { column: 'dst_endpoint_ip', from: ['destination_ip', 'dest_ip', 'destination_address'], as: 'ip' },
  { column: 'dst_endpoint_port', from: ['destination_port', 'dest_port'], as: 'port' },
  { column: 'connection_info_protocol_name', from: ['protocol'], as: 'text' },
  { column: 'http_request_method', from: ['http_method', 'http_request_method'], as: 'text' },
  { column: 'http_request_url', from: ['url', 'http_request_uri', 'requested_uri_stem'], as: 'text' },
  { column: 'http_request_user_agent', from: ['user_agent', 'http_request_user_agent'], as: 'text' },
  { column: 'status_code', from: ['http_status_code', 'http_response_code', 'http_status'], as: 'text' },
  { column: 'file_path', from: ['filename', 'full_path', 'local_path', 'path'], as: 'text' },
  { column: 'file_hash', from: ['sha256_hash', 'sha1_hash', 'md5_hash'], as: 'text' },
]

/** Those that an own message leaves out: they say nothing to a person, or stand in columns beside it. */
export const UNTOLD: ReadonlySet<string> = new Set([
  ...['data_type', 'timestamp', 'timestamp_desc', 'date_time', 'datetime', 'message', 'tag', 'parser', 'pathspec'],
  ...['path_spec', 'md5_hash', 'sha1_hash', 'sha256_hash', 'file_entropy', 'yara_match', 'display_name'],
])

/** Classes of dfDateTime for a date that says that there is none: such an event has no time. */
export const NO_DATE: ReadonlySet<string> = new Set(['InvalidTime', 'Never', 'NotSet', 'SemanticTime'])
