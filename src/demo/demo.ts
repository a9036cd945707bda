/**
 * The demonstration: generated logs behind an S3 server on loopback, and the questions that find the attack in them,
 * each with the answer that the generator expects.
 */
import { ATTACK } from './attack.ts'
import { awsLogSet, type ExpectedCounts, LOG_PREFIX } from './awsLogs.ts'
import { startIngestionServer } from './ingestionServer.ts'
import { startS3Server } from './s3Server.ts'

export interface DemoBucket {
  readonly uri: string
  readonly endpoint: string
  /** Settings of the source that reads it. */
  readonly settings: Readonly<Record<string, string>>
  readonly objects: number
  readonly bytes: number
  readonly expected: ExpectedCounts
  close(): Promise<void>
}

/** Makes the logs (always the same) and serves them on a free port of the loopback interface. */
export async function serveDemoBucket(): Promise<DemoBucket> {
  const { objects, expected } = awsLogSet()
  const server = await startS3Server({ credentials: [{ accessKeyId: KEY_ID, secretAccessKey: SECRET }] })
  const bucket = server.bucket(BUCKET)
  let bytes = 0
  for (const { key, body, lastModified } of objects) {
    bucket.put(key, body, { lastModified })
    bytes += body.length
  }
  return {
    uri: `s3://${BUCKET}/${LOG_PREFIX}`,
    endpoint: server.endpoint,
    settings: { endpoint: server.endpoint, region: 'us-east-1', access_key_id: KEY_ID, secret_access_key: SECRET },
    objects: objects.length,
    bytes,
    expected,
    close: () => server.close(),
  }
}

export interface DemoReceiver {
  /** Of a destination of type sentinel that sends to it. */
  readonly settings: Readonly<Record<string, unknown>>
  /** What the environment must hold while it is used. */
  readonly environment: Readonly<Record<string, string>>
  /** What it took: requests, records, and distinct uids among them. */
  receipt(): { readonly requests: number; readonly records: number; readonly distinct: number }
  close(): Promise<void>
}

/** A Logs Ingestion API on loopback, with a managed identity that may send to it. */
export async function serveDemoReceiver(): Promise<DemoReceiver> {
  const streams = ['AWSCloudTrail', 'AWSVPCFlow'].map((table) => [`Custom-${table}`, {}] as const)
  const server = await startIngestionServer({
    rules: { [RULE]: Object.fromEntries(streams) },
    idColumn: 'ColdtrailUid_CF',
    keepRows: 0,
  })
  return {
    settings: { endpoint: server.endpoint, rule: RULE, credential: { type: 'managed_identity' } },
    environment: server.identityEnvironment,
    receipt() {
      const all = [...server.received.values()]
      return {
        requests: all.reduce((sum, { requests }) => sum + requests, 0),
        records: all.reduce((sum, { records }) => sum + records, 0),
        distinct: all.reduce((sum, { ids }) => sum + ids.size, 0),
      }
    },
    close: () => server.close(),
  }
}

/** What the attacker did, and the traffic that reached him: the events that are forwarded. */
export const ATTACK_EXPRESSION = `ip == '${ATTACK.ip}' or dst_ip == '${ATTACK.ip}'`

/** The day until which logs leave for a volume, the attacker, and an address that is in no log. */
export const ATTACK_DAY = '2026-03-11'
export const ATTACKER = ATTACK.ip
export const NO_ATTACKER = '203.0.113.250'

export interface Chapter {
  /** What the investigator thinks. */
  readonly says: string
  /** What to type after ./coldtrail; each word on its own. */
  readonly line: readonly string[]
  /** Events that this expression must find. */
  readonly proof?: { readonly expression: string; readonly expected: number }
}

/** The investigation, from a first suspicion to the data that left, and what the shipped rules make of it. */
export function story(expected: ExpectedCounts): readonly Chapter[] {
  const attacker = `ip == '${ATTACK.ip}'`
  const calls = `${attacker} and data_type == 'aws:cloudtrail:entry'`
  const columns = ['--columns', 'time,operation,user,error']
  return [
    {
      says: 'Which keys are refused? Most stumble now and then, over days; one did twenty times in half an hour:',
      line: ['values', 'access_key', "error in ('AccessDenied', 'Client.UnauthorizedOperation')", '--limit', '5'],
    },
    {
      says: `${ATTACK.accessKeyId} belongs to a backup job. From where is it used?`,
      line: ['values', 'src_endpoint.ip', `access_key == '${ATTACK.accessKeyId}'`],
      proof: { expression: `access_key == '${ATTACK.accessKeyId}'`, expected: expected.leakedKeyCalls },
    },
    {
      says: `An address from outside. Everything that ${ATTACK.ip} called, under whatever key:`,
      line: ['timeline', calls, '--interval', '5m'],
      proof: { expression: calls, expected: expected.attackerCalls },
    },
    {
      says: 'First it looked around, and was refused. Then it made itself administrator, and a second way in:',
      line: [
        'search',
        `${calls} and (operation contains 'Policy' or operation contains 'User' or operation == 'CreateAccessKey')`,
        ...columns,
      ],
    },
    {
      says: 'It tried to silence the watchers. A service control policy held:',
      line: [
        'search',
        `${calls} and operation in ('StopLogging', 'DeleteTrail', 'DeleteDetector', 'DeleteFlowLogs')`,
        ...columns,
      ],
      proof: {
        expression: `${calls} and operation in ('StopLogging', 'DeleteTrail', 'DeleteDetector', 'DeleteFlowLogs')`,
        expected: 4,
      },
    },
    {
      says: 'Then it crossed into the second account, and took a bucket object by object:',
      line: ['search', `${calls} and operation == 'GetObject'`, '--columns', 'time,user,resource', '--limit', '3'],
      proof: { expression: `${calls} and operation == 'GetObject'`, expected: ATTACK.stolenObjects },
    },
    {
      says: 'The flow logs, another format from another service, agree: this is the traffic that left.',
      line: [
        'search',
        `dst_ip == '${ATTACK.ip}' and disposition == 'Allowed'`,
        '--columns',
        'time,src_endpoint_ip,dst_endpoint_ip,dst_endpoint_port,traffic_bytes',
        '--limit',
        '5',
      ],
      proof: {
        expression: `dst_ip == '${ATTACK.ip}' and disposition == 'Allowed'`,
        expected: ATTACK.exfiltrationFlows,
      },
    },
    {
      says: 'Nobody has to guess. The rules that come with Coldtrail, over everything, in worker processes:',
      line: ['analyze', '--plugins', 'tagging'],
      proof: { expression: "tag == 'attack_tool_use'", expected: expected.attackerCalls },
    },
    {
      says: 'What they think worth telling, apart from each single use of the leaked key:',
      line: [
        'findings',
        "tag in ('privilege_escalation', 'foreign_account_trusted', 'logging_stop_tried', 'snapshot_shared')",
        '--severity',
        'high',
        '--columns',
        'api_operation,user',
      ],
      proof: { expression: "tag == 'logging_stop_tried'", expected: 4 },
    },
    {
      says: 'And by label, the way out as both logs tell it: objects of the bucket, and the traffic that carried them.',
      line: ['values', 'tag', `${attacker} or dst_ip == '${ATTACK.ip}'`],
      proof: {
        expression: "tag == 'exfiltration'",
        expected: ATTACK.stolenObjects + ATTACK.exfiltrationFlows,
      },
    },
  ]
}

// --- internal ---

const BUCKET = 'acme-security-logs'
const RULE = 'dcr-00000000000000000000000000000000'
const KEY_ID = 'AKIADEMOKEYOFEXAMPLE'
const SECRET = 'the secret of the demonstration'
