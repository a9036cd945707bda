import type { Table } from '../rows/table.ts'
import { asimEnd, asimStart, constant, event, of, whenPresent } from './asimColumns.ts'

/** ASIM's Network Session schema. The stored table has no EventSchema: its parser adds it. */
export const ASimNetworkSessionLogs: Table = {
  kind: 'table',
  name: 'ASimNetworkSessionLogs',
  summary: 'VPC flow logs in the ASIM Network Session schema',
  where: "data_type == 'aws:vpcflow:entry'",
  columns: [
    ...asimStart('AWS', 'VPC', '0.2.6'),
    of('EventEndTime', 'datetime', [{ field: 'end' }, { event: 'time' }]),
    constant('EventType', 'Flow'),
    event('EventMessage', 'message'),
    // Without an action there were no data, or they were skipped.
    of('EventResult', 'string', [{ column: 'disposition' }, { constant: 'NA' }], {
      Allowed: 'Success',
      Blocked: 'Failure',
    }),
    constant('EventSeverity', 'Informational'),
    of('EventProductVersion', 'string', { field: 'version' }),
    of('EventOriginalType', 'string', { field: 'log-status' }),
    of('Dvc', 'string', [{ field: 'interface-id' }, { field: 'tgw-attachment-id' }, { constant: 'VPC' }]),
    of('DvcId', 'string', { field: 'vpc-id' }),
    of('DvcIdType', 'string', { field: 'vpc-id' }, whenPresent('AwsVpcId')),
    of('DvcInterface', 'string', [{ field: 'interface-id' }, { field: 'tgw-attachment-id' }]),
    event('DvcAction', 'disposition', { Allowed: 'Allow', Blocked: 'Deny' }),
    of('DvcOriginalAction', 'string', { field: 'action' }),
    of('DvcZone', 'string', { field: 'az-id' }),
    event('SrcIpAddr', 'src_endpoint_ip'),
    of('SrcPortNumber', 'int', { column: 'src_endpoint_port' }),
    event('DstIpAddr', 'dst_endpoint_ip'),
    of('DstPortNumber', 'int', { column: 'dst_endpoint_port' }),
    event('NetworkProtocol', 'connection_info_protocol_name', {
      icmp: 'ICMP',
      igmp: 'IGMP',
      tcp: 'TCP',
      udp: 'UDP',
      ipv6: 'IPv6',
      gre: 'GRE',
      esp: 'ESP',
      ah: 'AH',
      'ipv6-icmp': 'IPv6-ICMP',
      sctp: 'SCTP',
    }),
    of('NetworkProtocolVersion', 'string', { field: 'type' }, { IPv4: 'IPv4', IPv6: 'IPv6' }),
    of(
      'NetworkDirection',
      'string',
      { field: 'flow-direction' },
      {
        ingress: 'Inbound',
        egress: 'Outbound',
        '*': 'NA',
      },
    ),
    of('NetworkBytes', 'long', { column: 'traffic_bytes' }),
    of('NetworkPackets', 'long', { column: 'traffic_packets' }),
    ...asimEnd,
  ],
}
