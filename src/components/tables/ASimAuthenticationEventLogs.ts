import type { Table } from '../rows/table.ts'
import { asimEnd, asimStart, CLOUDTRAIL_ACTOR, event, of, SEVERITIES, whenPresent } from './asimColumns.ts'

/** ASIM's Authentication schema. The stored table has neither EventSchema nor Dvc: its parser adds them. */
export const ASimAuthenticationEventLogs: Table = {
  kind: 'table',
  name: 'ASimAuthenticationEventLogs',
  summary: 'Sign-ins and assumed roles of CloudTrail, in the ASIM Authentication schema',
  where: "data_type == 'aws:cloudtrail:entry' and class_uid == 3002",
  columns: [
    ...asimStart('AWS', 'CloudTrail', '0.1.3'),
    of('EventEndTime', 'datetime', { event: 'time' }),
    event('EventType', 'api_operation', {
      AssumeRole: 'Elevate',
      AssumeRoleWithSAML: 'Elevate',
      AssumeRoleWithWebIdentity: 'Elevate',
      AssumeRoot: 'Elevate',
      SwitchRole: 'Elevate',
      ExitRole: 'Logoff',
      UserAuthentication: 'Logon',
      '*': 'Logon',
    }),
    event('EventMessage', 'message'),
    // A failed ConsoleLogin says so in its response; other calls by their error.
    of('EventResult', 'string', [{ data: 'responseElements.ConsoleLogin' }, { column: 'status' }, { constant: 'NA' }]),
    of('EventResultDetails', 'string', [{ data: 'errorMessage' }, { data: 'errorCode' }], {
      'No username found in supplied account': 'No such user',
      'Failed authentication': 'No such user or password',
      '*': 'Other',
    }),
    of('EventOriginalResultDetails', 'string', [{ data: 'errorMessage' }, { data: 'errorCode' }]),
    event('EventOriginalUid', 'metadata_uid'),
    event('EventOriginalType', 'api_operation'),
    of('EventOriginalSubType', 'string', { data: 'eventType' }),
    event('EventSeverity', 'severity_id', SEVERITIES),
    of('EventProductVersion', 'string', { data: 'eventVersion' }),
    event('DvcScopeId', 'cloud_account_uid'),
    of(
      'LogonMethod',
      'string',
      { data: 'additionalEventData.MFAUsed' },
      {
        Yes: 'Multi factor authentication',
        '*': 'Other',
      },
    ),
    ...CLOUDTRAIL_ACTOR,
    // Who one is afterwards: the assumed role's session, else who signed in.
    of('TargetUserId', 'string', [
      { data: 'responseElements.assumedRoleUser.assumedRoleId' },
      { data: 'userIdentity.principalId' },
    ]),
    of(
      'TargetUserIdType',
      'string',
      [{ data: 'responseElements.assumedRoleUser.assumedRoleId' }, { data: 'userIdentity.principalId' }],
      whenPresent('AWSId'),
    ),
    of('TargetUsername', 'string', [
      { data: 'responseElements.assumedRoleUser.arn' },
      { data: 'requestParameters.roleArn' },
      { column: 'actor_user_name' },
    ]),
    event('TargetAppName', 'api_service_name'),
    of('TargetUrl', 'string', { data: 'additionalEventData.LoginTo' }),
    event('SrcIpAddr', 'src_endpoint_ip'),
    event('HttpUserAgent', 'http_request_user_agent'),
    of('AdditionalFields', 'dynamic', { data: 'additionalEventData' }),
    ...asimEnd,
  ],
}
