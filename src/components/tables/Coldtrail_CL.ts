import type { EventColumnName } from '../../core/columns.ts'
import type { ColumnType, Table, TableColumn } from '../rows/table.ts'

/** A table of one's own for every event of every format, and for findings: OCSF columns, and the record as it came. */
export const Coldtrail_CL: Table = {
  kind: 'table',
  name: 'Coldtrail_CL',
  summary: 'Every event, or finding with its event: OCSF columns, where it came from, and the record itself as text',
  where: '',
  columns: [
    { name: 'TimeGenerated', type: 'datetime', from: [{ event: 'time' }] },
    { name: 'EventTime', type: 'datetime', from: [{ event: 'time' }] },
    { name: 'Uid', type: 'string', from: [{ event: 'uid' }] },
    column('EventId', 'string', 'metadata_uid'),
    { name: 'DataType', type: 'string', from: [{ event: 'dataType' }] },
    column('Message', 'string', 'message'),
    column('ClassUid', 'int', 'class_uid'),
    column('ActivityName', 'string', 'activity_name'),
    column('SeverityId', 'int', 'severity_id'),
    column('Status', 'string', 'status'),
    column('StatusCode', 'string', 'status_code'),
    column('Disposition', 'string', 'disposition'),
    column('ApiOperation', 'string', 'api_operation'),
    column('ApiServiceName', 'string', 'api_service_name'),
    column('CloudAccountUid', 'string', 'cloud_account_uid'),
    column('CloudRegion', 'string', 'cloud_region'),
    column('ActorUserName', 'string', 'actor_user_name'),
    column('ActorUserUid', 'string', 'actor_user_uid'),
    column('ActorUserType', 'string', 'actor_user_type'),
    column('ActorUserCredentialUid', 'string', 'actor_user_credential_uid'),
    column('SrcEndpointIp', 'string', 'src_endpoint_ip'),
    column('SrcEndpointPort', 'int', 'src_endpoint_port'),
    column('DstEndpointIp', 'string', 'dst_endpoint_ip'),
    column('DstEndpointPort', 'int', 'dst_endpoint_port'),
    column('ConnectionInfoProtocolName', 'string', 'connection_info_protocol_name'),
    column('TrafficBytes', 'long', 'traffic_bytes'),
    column('TrafficPackets', 'long', 'traffic_packets'),
    column('DeviceHostname', 'string', 'device_hostname'),
    column('QueryHostname', 'string', 'query_hostname'),
    column('HttpRequestMethod', 'string', 'http_request_method'),
    column('HttpRequestUrl', 'string', 'http_request_url'),
    column('HttpRequestUserAgent', 'string', 'http_request_user_agent'),
    column('FilePath', 'string', 'file_path'),
    column('FileHash', 'string', 'file_hash'),
    column('ResourceUid', 'string', 'resource_uid'),
    { name: 'Source', type: 'string', from: [{ event: 'source' }] },
    { name: 'Bucket', type: 'string', from: [{ event: 'bucket' }] },
    { name: 'ObjectKey', type: 'string', from: [{ event: 'key' }] },
    { name: 'FindingTitle', type: 'string', from: [{ finding: 'title' }] },
    { name: 'FindingSeverity', type: 'string', from: [{ finding: 'severity' }] },
    { name: 'FindingLabel', type: 'string', from: [{ finding: 'label' }] },
    { name: 'FindingRule', type: 'string', from: [{ finding: 'rule' }] },
    { name: 'FindingPlugin', type: 'string', from: [{ finding: 'plugin' }] },
    { name: 'FindingEventUid', type: 'string', from: [{ finding: 'event_uid' }] },
    { name: 'RawData', type: 'string', from: [{ event: 'raw' }] },
  ].map((declared) => ({ ...declared, added: true }) as TableColumn),
}

// --- internal ---

function column(name: string, type: ColumnType, source: EventColumnName): TableColumn {
  return { name, type, from: [{ column: source }] }
}
