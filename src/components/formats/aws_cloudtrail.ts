/** AWS CloudTrail: management, data and Insights events. Digest files hold no events and are passed over. */
import { stringGeneration } from '../../core/byteModule.ts'
import { COLUMN_INDEX } from '../../core/columns.ts'
import type { EventSink, Phrase } from '../../core/eventSink.ts'
import type { Format } from '../component.ts'
import { JsonObjectParser } from '../json/jsonObjectParser.ts'
import { compileTable, type JsonRecord } from '../json/jsonTable.ts'

const table = compileTable({
  recordsKey: 'Records',
  slots: {
    eventName: 'eventName',
    eventSource: 'eventSource',
    eventTime: 'eventTime',
    eventType: 'eventType',
    eventCategory: 'eventCategory',
    eventID: 'eventID',
    eventVersion: 'eventVersion',
    awsRegion: 'awsRegion',
    sourceIPAddress: 'sourceIPAddress',
    userAgent: 'userAgent',
    errorCode: 'errorCode',
    errorMessage: 'errorMessage',
    recipientAccountId: 'recipientAccountId',
    identityType: 'userIdentity.type',
    identityArn: 'userIdentity.arn',
    identityPrincipal: 'userIdentity.principalId',
    identityAccount: 'userIdentity.accountId',
    identityKey: 'userIdentity.accessKeyId',
    identityName: 'userIdentity.userName',
    identityIssuer: 'userIdentity.sessionContext.sessionIssuer.userName',
    identityService: 'userIdentity.invokedBy',
    resource: 'resources[0].ARN',
    bucket: 'requestParameters.bucketName',
    objectKey: 'requestParameters.key',
    insightSource: 'insightDetails.eventSource',
    insightName: 'insightDetails.eventName',
  },
  columns: [
    { column: 'metadata_uid', from: ['eventID'], as: 'text' },
    { column: 'time', from: ['eventTime'], as: 'time' },
    { column: 'status_code', from: ['errorCode'], as: 'text' },
    { column: 'api_operation', from: ['eventName', 'insightName'], as: 'text' },
    { column: 'api_service_name', from: ['eventSource', 'insightSource'], as: 'text' },
    { column: 'cloud_account_uid', from: ['recipientAccountId', 'identityAccount'], as: 'text' },
    { column: 'cloud_region', from: ['awsRegion'], as: 'text' },
    { column: 'actor_user_name', from: ['identityName', 'identityIssuer', 'identityService'], as: 'text' },
    { column: 'actor_user_uid', from: ['identityArn', 'identityPrincipal'], as: 'text' },
    { column: 'actor_user_type', from: ['identityType'], as: 'text' },
    { column: 'actor_user_credential_uid', from: ['identityKey'], as: 'text' },
    { column: 'src_endpoint_ip', from: ['sourceIPAddress'], as: 'ip' },
    { column: 'http_request_user_agent', from: ['userAgent'], as: 'text' },
    { column: 'file_path', from: ['objectKey'], as: 'text' },
    { column: 'resource_uid', from: ['resource', 'bucket'], as: 'text' },
  ],
  finish,
})

export const aws_cloudtrail: Format = {
  kind: 'format',
  name: 'aws_cloudtrail',
  version: 1,
  summary: 'AWS CloudTrail log files: management, data and Insights events',
  detect(head, key) {
    const text = head.toString('latin1')
    if (/"Records"\s*:\s*\[/.test(text) && /"event(Version|Source|Name|ID)"/.test(text)) return 1
    if (/^\s*\{/.test(text) && text.includes('"eventSource"') && text.includes('"eventName"')) return 0.9
    return /^\s*\{\s*"Records"/.test(text) && /CloudTrail(-Insight)?\//.test(key) ? 0.9 : 0
  },
  noise(head, key) {
    // By how the document begins: the same words may stand in events, where anybody could write them.
    const text = head.toString('latin1')
    const isDigest = /^\s*\{\s*"awsAccountId"/.test(text) && /"digestS3(Object|Bucket)"|"digestStartTime"/.test(text)
    return isDigest || key.includes('CloudTrail-Digest/') ? 'CloudTrail digest' : undefined
  },
  open: (sink, options) => new JsonObjectParser(table, sink, options),
}

// --- internal ---

const slot = (name: string) => table.record.slot(name)
const EVENT_NAME = slot('eventName')
const EVENT_SOURCE = slot('eventSource')
const EVENT_TYPE = slot('eventType')
const EVENT_ID = slot('eventID')
const ERROR_CODE = slot('errorCode')
const ERROR_MESSAGE = slot('errorMessage')
const INSIGHT_NAME = slot('insightName')

const column = (name: string) => COLUMN_INDEX.get(name)!
const DATA_TYPE = column('data_type')
const TIMESTAMP_DESC = column('timestamp_desc')
const CLASS_UID = column('class_uid')
const ACTIVITY = column('activity_name')
const SEVERITY = column('severity_id')
const STATUS = column('status')

const ENTRY = Buffer.from('aws:cloudtrail:entry')
const INSIGHT = Buffer.from('aws:cloudtrail:insight')
const INSIGHT_TYPE = Buffer.from('AwsCloudTrailInsight')
const DESCRIPTION = Buffer.from('Recorded Time')
const SUCCESS = Buffer.from('Success')
const FAILURE = Buffer.from('Failure')

const PHRASE: Phrase = [
  { before: '', column: column('api_operation') },
  { before: ' on ', column: column('api_service_name') },
  { before: ' by ', column: column('actor_user_name') },
  { before: ' from ', column: column('src_endpoint_ip') },
  { before: ': ', column: column('status_code') },
]

function finish(record: JsonRecord, sink: EventSink): string | undefined {
  if (!record.has(EVENT_NAME) && !record.has(EVENT_ID) && !record.has(INSIGHT_NAME))
    return 'no eventName and no eventID'
  const { classUid, activity } = classify(record)
  const isInsight = record.has(INSIGHT_NAME) || record.equals(EVENT_TYPE, INSIGHT_TYPE)
  const dataType = isInsight ? INSIGHT : ENTRY
  sink.constant(DATA_TYPE, dataType)
  sink.constant(TIMESTAMP_DESC, DESCRIPTION)
  sink.constant(ACTIVITY, activity)
  sink.int(CLASS_UID, isInsight ? 2004 : classUid)
  sink.int(SEVERITY, 1)
  // A failed ConsoleLogin has a message only.
  const status = record.has(ERROR_CODE) || record.has(ERROR_MESSAGE) ? FAILURE : SUCCESS
  sink.constant(STATUS, status)
  sink.phrase(PHRASE)
  return undefined
}

interface Classification {
  readonly classUid: number
  readonly activity: Buffer
}

/** By the ids of operation and service, while they last. */
const classified = new Map<number, Classification>()
let generation = -1

function classify(record: JsonRecord): Classification {
  const operation = record.id(EVENT_NAME)
  const service = record.id(EVENT_SOURCE)
  if (operation === 0 || service === 0) return classification(record)
  if (generation !== stringGeneration()) {
    classified.clear()
    generation = stringGeneration()
  }
  // Both are below 2^16: a small integer, which is found without hashing a double.
  const key = (operation << 16) | service
  let known = classified.get(key)
  if (!known) {
    known = classification(record)
    classified.set(key, known)
  }
  return known
}

function classification(record: JsonRecord): Classification {
  const name = record.text(EVENT_NAME) ?? ''
  return { classUid: classOf(record.text(EVENT_SOURCE) ?? '', name), activity: activityOf(name) }
}

/** OCSF classes of CloudTrail events: docs/reference of OCSF 1.8, categories 3 (identity) and 6 (application). */
function classOf(service: string, name: string): number {
  if (service === 'signin.amazonaws.com' || /^(AssumeRole|GetFederationToken|GetSessionToken)/.test(name)) return 3002
  if (service === 'iam.amazonaws.com') {
    if (/^(Add|Remove)UserToGroup$|RemoveUserFromGroup|^(Create|Delete|Update)Group$/.test(name)) return 3006
    if (/^(Attach|Detach|Put|Delete)(User|Role|Group)Policy$/.test(name)) return 3005
    if (/^(Create|Delete|Update|Enable|Disable|Change|Deactivate)/.test(name)) return 3001
  }
  if (service === 's3.amazonaws.com' && /^(Get|Put|Delete|Copy|Head|Restore|Upload)\w*Object/.test(name)) return 6005
  return 6003
}

const LOGON = Buffer.from('Logon')
const CREATE = Buffer.from('Create')
const READ = Buffer.from('Read')
const UPDATE = Buffer.from('Update')
const DELETE = Buffer.from('Delete')
const OTHER = Buffer.from('Other')

function activityOf(name: string): Buffer {
  if (name === 'ConsoleLogin' || name.startsWith('AssumeRole')) return LOGON
  const verb = /^[A-Z][a-z]+/.exec(name)?.[0] ?? ''
  if (/^(Create|Run|Allocate|Register|Import|Generate|Issue|Upload|Restore|Copy)$/.test(verb)) return CREATE
  if (/^(Get|List|Describe|Head|Lookup|Search|Select|Query|Scan|Batch|View|Decrypt|Download)$/.test(verb)) return READ
  if (/^(Delete|Terminate|Remove|Deregister|Release|Purge)$/.test(verb)) return DELETE
  return verb === '' ? OTHER : UPDATE
}
