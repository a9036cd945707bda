import type { ColumnType, Table, TableColumn } from '../rows/table.ts'

/** Columns of Azure's reference for the table, which end with version 7; later and transit gateway fields are added ones. */
export const AWSVPCFlow: Table = {
  kind: 'table',
  name: 'AWSVPCFlow',
  summary: 'VPC and transit gateway flow logs, every field by the name in its header line',
  where: "data_type == 'aws:vpcflow:entry'",
  columns: [
    { name: 'TimeGenerated', type: 'datetime', from: [{ event: 'time' }] },
    field('Version', 'int', 'version'),
    field('AccountId', 'string', 'account-id'),
    field('InterfaceId', 'string', 'interface-id'),
    field('SrcAddr', 'string', 'srcaddr'),
    field('DstAddr', 'string', 'dstaddr'),
    field('SrcPort', 'int', 'srcport'),
    field('DstPort', 'int', 'dstport'),
    field('Protocol', 'int', 'protocol'),
    // The table's type; 2,147,483,647 stands for more.
    { ...field('Packets', 'int', 'packets'), overflow: 'clamp' },
    field('Bytes', 'long', 'bytes'),
    field('Start', 'datetime', 'start'),
    field('End', 'datetime', 'end'),
    field('Action', 'string', 'action'),
    field('LogStatus', 'string', 'log-status'),
    field('VpcId', 'string', 'vpc-id'),
    field('SubnetId', 'string', 'subnet-id'),
    field('InstanceId', 'string', 'instance-id'),
    field('TcpFlags', 'int', 'tcp-flags'),
    field('TrafficType', 'string', 'type'),
    field('PktSrcAddr', 'string', 'pkt-srcaddr'),
    field('PktDstAddr', 'string', 'pkt-dstaddr'),
    field('Region', 'string', 'region'),
    field('AzId', 'string', 'az-id'),
    field('SublocationType', 'string', 'sublocation-type'),
    field('SublocationId', 'string', 'sublocation-id'),
    field('PktSrcAwsService', 'string', 'pkt-src-aws-service'),
    field('PktDstAwsService', 'string', 'pkt-dst-aws-service'),
    field('FlowDirection', 'string', 'flow-direction'),
    field('TrafficPath', 'string', 'traffic-path'),
    field('EcsClusterArn', 'string', 'ecs-cluster-arn'),
    field('EcsClusterName', 'string', 'ecs-cluster-name'),
    field('EcsContainerId', 'string', 'ecs-container-id'),
    field('EcsContainerInstanceArn', 'string', 'ecs-container-instance-arn'),
    field('EcsContainerInstanceId', 'string', 'ecs-container-instance-id'),
    field('EcsSecondContainerId', 'string', 'ecs-second-container-id'),
    field('EcsServiceName', 'string', 'ecs-service-name'),
    field('EcsTaskArn', 'string', 'ecs-task-arn'),
    field('EcsTaskDefinitionArn', 'string', 'ecs-task-definition-arn'),
    field('EcsTaskId', 'string', 'ecs-task-id'),
    added('RejectReason_CF', 'string', 'reject-reason'),
    added('ResourceType_CF', 'string', 'resource-type'),
    added('TgwId_CF', 'string', 'tgw-id'),
    added('TgwAttachmentId_CF', 'string', 'tgw-attachment-id'),
    added('TgwPairAttachmentId_CF', 'string', 'tgw-pair-attachment-id'),
    added('TgwSrcVpcAccountId_CF', 'string', 'tgw-src-vpc-account-id'),
    added('TgwDstVpcAccountId_CF', 'string', 'tgw-dst-vpc-account-id'),
    added('TgwSrcVpcId_CF', 'string', 'tgw-src-vpc-id'),
    added('TgwDstVpcId_CF', 'string', 'tgw-dst-vpc-id'),
    added('TgwSrcSubnetId_CF', 'string', 'tgw-src-subnet-id'),
    added('TgwDstSubnetId_CF', 'string', 'tgw-dst-subnet-id'),
    added('TgwSrcEni_CF', 'string', 'tgw-src-eni'),
    added('TgwDstEni_CF', 'string', 'tgw-dst-eni'),
    added('TgwSrcAzId_CF', 'string', 'tgw-src-az-id'),
    added('TgwDstAzId_CF', 'string', 'tgw-dst-az-id'),
    added('PacketsLostNoRoute_CF', 'long', 'packets-lost-no-route'),
    added('PacketsLostBlackhole_CF', 'long', 'packets-lost-blackhole'),
    added('PacketsLostMtuExceeded_CF', 'long', 'packets-lost-mtu-exceeded'),
    added('PacketsLostTtlExpired_CF', 'long', 'packets-lost-ttl-expired'),
    { name: 'ColdtrailUid_CF', type: 'string', from: [{ event: 'uid' }], added: true },
  ],
}

// --- internal ---

function field(name: string, type: ColumnType, header: string): TableColumn {
  return { name, type, from: [{ field: header }] }
}

function added(name: string, type: ColumnType, header: string): TableColumn {
  return { ...field(name, type, header), added: true }
}
