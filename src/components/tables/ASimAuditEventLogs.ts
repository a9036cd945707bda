import type { Table } from '../rows/table.ts'
import { asimEnd, asimStart, CLOUDTRAIL_ACTOR, constant, event, of, SEVERITIES, whenPresent } from './asimColumns.ts'

/** ASIM's Audit Event schema. The stored table has neither EventSchema nor Dvc: its parser adds them. */
export const ASimAuditEventLogs: Table = {
  kind: 'table',
  name: 'ASimAuditEventLogs',
  summary: 'CloudTrail calls that are no sign-in, in the ASIM Audit Event schema',
  where: "data_type == 'aws:cloudtrail:entry' and class_uid != 3002",
  columns: [
    ...asimStart('AWS', 'CloudTrail', '0.1'),
    of('EventEndTime', 'datetime', { event: 'time' }),
    event('EventType', 'activity_name', {
      Create: 'Create',
      Read: 'Read',
      Update: 'Set',
      Delete: 'Delete',
      '*': 'Other',
    }),
    event('EventMessage', 'message'),
    of('EventResult', 'string', [{ column: 'status' }, { constant: 'NA' }]),
    event('EventOriginalResultDetails', 'status_code'),
    event('EventOriginalUid', 'metadata_uid'),
    of('EventOriginalType', 'string', { data: 'eventType' }),
    of('EventOriginalSubType', 'string', { data: 'eventCategory' }),
    event('EventSeverity', 'severity_id', SEVERITIES),
    of('EventProductVersion', 'string', { data: 'eventVersion' }),
    event('DvcScopeId', 'cloud_account_uid'),
    event('Operation', 'api_operation'),
    of('Object', 'string', [{ column: 'resource_uid' }, { column: 'api_service_name' }]),
    constant('ObjectType', 'Cloud Resource'),
    of('ObjectId', 'string', { data: 'resources[0].ARN' }),
    event('TargetAppName', 'api_service_name'),
    event('TargetAppType', 'api_service_name', whenPresent('Service')),
    ...CLOUDTRAIL_ACTOR,
    event('SrcIpAddr', 'src_endpoint_ip'),
    event('HttpUserAgent', 'http_request_user_agent'),
    of('AdditionalFields', 'dynamic', { data: 'requestParameters' }),
    ...asimEnd,
  ],
}
