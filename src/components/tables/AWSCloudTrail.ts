import type { ColumnType, Table, TableColumn } from '../rows/table.ts'

/** Columns of Azure's reference for the table; AwsRequestId is deprecated there for AwsRequestId_. */
export const AWSCloudTrail: Table = {
  kind: 'table',
  name: 'AWSCloudTrail',
  summary: 'CloudTrail records as the table of the same name has them',
  where: "data_type in ('aws:cloudtrail:entry', 'aws:cloudtrail:insight')",
  columns: [
    { name: 'TimeGenerated', type: 'datetime', from: [{ event: 'time' }] },
    data('AwsEventId', 'eventID'),
    data('EventVersion', 'eventVersion'),
    data('EventSource', 'eventSource', 'insightDetails.eventSource'),
    data('EventTypeName', 'eventType'),
    data('EventName', 'eventName', 'insightDetails.eventName'),
    data('UserIdentityType', 'userIdentity.type'),
    data('UserIdentityPrincipalid', 'userIdentity.principalId'),
    data('UserIdentityArn', 'userIdentity.arn'),
    data('UserIdentityAccountId', 'userIdentity.accountId'),
    data('UserIdentityInvokedBy', 'userIdentity.invokedBy'),
    data('UserIdentityAccessKeyId', 'userIdentity.accessKeyId'),
    data('UserIdentityUserName', 'userIdentity.userName'),
    data('UserIdentityStoreArn', 'userIdentity.onBehalfOf.identityStoreArn'),
    data('UserIdentityUserId', 'userIdentity.onBehalfOf.userId'),
    typed('SessionMfaAuthenticated', 'boolean', 'userIdentity.sessionContext.attributes.mfaAuthenticated'),
    typed('SessionCreationDate', 'datetime', 'userIdentity.sessionContext.attributes.creationDate'),
    data('SessionIssuerType', 'userIdentity.sessionContext.sessionIssuer.type'),
    data('SessionIssuerPrincipalId', 'userIdentity.sessionContext.sessionIssuer.principalId'),
    data('SessionIssuerArn', 'userIdentity.sessionContext.sessionIssuer.arn'),
    data('SessionIssuerAccountId', 'userIdentity.sessionContext.sessionIssuer.accountId'),
    data('SessionIssuerUserName', 'userIdentity.sessionContext.sessionIssuer.userName'),
    data('EC2RoleDelivery', 'userIdentity.sessionContext.ec2RoleDelivery'),
    data('AWSRegion', 'awsRegion'),
    data('SourceIpAddress', 'sourceIPAddress'),
    data('UserAgent', 'userAgent'),
    data('VpcEndpointId', 'vpcEndpointId'),
    data('APIVersion', 'apiVersion'),
    data('RecipientAccountId', 'recipientAccountId'),
    data('ErrorCode', 'errorCode'),
    data('ErrorMessage', 'errorMessage'),
    data('RequestParameters', 'requestParameters'),
    data('ResponseElements', 'responseElements'),
    data('AdditionalEventData', 'additionalEventData'),
    data('Resources', 'resources'),
    data('ServiceEventDetails', 'serviceEventDetails', 'insightDetails'),
    data('AwsRequestId_', 'requestID'),
    typed('ReadOnly', 'boolean', 'readOnly'),
    typed('ManagementEvent', 'boolean', 'managementEvent'),
    data('SharedEventId', 'sharedEventID'),
    data('Category', 'eventCategory'),
    { name: 'OperationName', type: 'string', from: [{ constant: 'CloudTrail' }] },
    data('TlsVersion', 'tlsDetails.tlsVersion'),
    data('CipherSuite', 'tlsDetails.cipherSuite'),
    data('ClientProvidedHostHeader', 'tlsDetails.clientProvidedHostHeader'),
    // The first permission of a call that changes a security group; requestParameters has them all.
    data('IpProtocol', 'requestParameters.ipPermissions.items[0].ipProtocol', 'requestParameters.ipProtocol'),
    data('SourcePort', 'requestParameters.ipPermissions.items[0].fromPort', 'requestParameters.fromPort'),
    data('DestinationPort', 'requestParameters.ipPermissions.items[0].toPort', 'requestParameters.toPort'),
    data(
      'CidrIp',
      'requestParameters.ipPermissions.items[0].ipRanges.items[0].cidrIp',
      'requestParameters.ipPermissions.items[0].ipv6Ranges.items[0].cidrIpv6',
      'requestParameters.cidrIp',
    ),
    { name: 'EventTime_CF', type: 'datetime', from: [{ event: 'time' }], added: true },
    { name: 'ColdtrailUid_CF', type: 'string', from: [{ event: 'uid' }], added: true },
  ],
}

// --- internal ---

function typed(name: string, type: ColumnType, ...paths: string[]): TableColumn {
  return { name, type, from: paths.map((path) => ({ data: path })) }
}

function data(name: string, ...paths: string[]): TableColumn {
  return typed(name, 'string', ...paths)
}
