import type { Table } from '../rows/table.ts'
import { asimEnd, constant, event, of } from './asimColumns.ts'

/** ASIM's DNS Activity schema, from event columns alone: whatever format fills in query_hostname. */
export const ASimDnsActivityLogs: Table = {
  kind: 'table',
  name: 'ASimDnsActivityLogs',
  summary: 'Any event with query_hostname in the ASIM DNS Activity schema; no format that is collected sets it yet',
  where: 'query_hostname exists',
  columns: [
    of('TimeGenerated', 'datetime', { event: 'time' }),
    of('EventCount', 'int', { constant: 1 }),
    of('EventStartTime', 'datetime', { event: 'time' }),
    of('EventEndTime', 'datetime', { event: 'time' }),
    constant('EventVendor', 'Other'),
    of('EventProduct', 'string', { event: 'dataType' }),
    constant('EventSchemaVersion', '0.1.7'),
    constant('EventType', 'Query'),
    event('EventMessage', 'message'),
    of('EventResult', 'string', [{ column: 'status' }, { constant: 'NA' }]),
    of('EventResultDetails', 'string', [{ column: 'status_code' }, { constant: 'NA' }]),
    event('EventOriginalUid', 'metadata_uid'),
    of('Dvc', 'string', [{ column: 'device_hostname' }, { event: 'dataType' }]),
    event('DvcHostname', 'device_hostname'),
    event('DvcScopeId', 'cloud_account_uid'),
    event('DvcAction', 'disposition', { Allowed: 'Allow', Blocked: 'Deny' }),
    event('SrcIpAddr', 'src_endpoint_ip'),
    of('SrcPortNumber', 'int', { column: 'src_endpoint_port' }),
    event('SrcUsername', 'actor_user_name'),
    event('DstIpAddr', 'dst_endpoint_ip'),
    of('DstPortNumber', 'int', { column: 'dst_endpoint_port' }),
    event('NetworkProtocol', 'connection_info_protocol_name', { tcp: 'TCP', udp: 'UDP' }),
    event('DnsQuery', 'query_hostname'),
    ...asimEnd,
  ],
}
