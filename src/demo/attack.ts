/**
 * The attack that the demonstration logs tell: a leaked access key, tried from abroad, looks around, makes itself
 * administrator, leaves a second way in, tries to silence the watchers, and carries a bucket, a snapshot and 18 GB away.
 */
import { type Call, type Caller, exampleId, type Fields, roleIdentity, userIdentity } from './cloudTrailRecords.ts'
import type { Random } from './random.ts'
import type { Flow } from './vpcFlowRecords.ts'

/** Whom and what a search for the attack looks for. The address is of TEST-NET-2 (RFC 5737). */
export const ATTACK = {
  ip: '198.51.100.23',
  /** Account whose key leaked, and the one it reaches from there. */
  account: '111122223333',
  secondAccount: '444455556666',
  foreignAccount: '999988887777',
  leakedUser: 'svc-backup',
  /** Where the key's owner works. */
  ordinaryIp: '203.0.113.5',
  accessKeyId: 'AKIALEAKEDKEYEXAMPLE',
  createdUser: 'support-admin',
  createdAccessKeyId: 'AKIASECONDWAYEXAMPLE',
  role: 'OrganizationAccountAccessRole',
  sessionAccessKeyId: 'ASIALATERALMVEXAMPLE',
  bucket: 'acme-customer-exports',
  snapshot: 'snap-0badc0ffee0123456',
  /** The attack begins this long after the first day: on the second day at 02:13:07 UTC. */
  startOffsetMilliseconds: 86_400_000 + (2 * 3600 + 13 * 60 + 7) * 1000,
  stolenObjects: 420,
  exfiltrationFlows: 36,
} as const

/** What the leaked key was made for: a backup job, four times a day from the office. */
export function ordinaryCalls(firstDay: number, days: number, random: Random): Call[] {
  const identity = userIdentity(ATTACK.account, ATTACK.leakedUser, ATTACK.accessKeyId, random)
  const by = { identity, address: ATTACK.ordinaryIp, userAgent: 'Boto3/1.34.69 md/Botocore#1.34.69 lang/python#3.11.6' }
  const base = { account: ATTACK.account, region: 'us-east-1', caller: by, service: 'ec2' }
  return Array.from({ length: days * 4 }, (_, at) => firstDay + (at * 6 + 1) * 3_600_000).flatMap((time): Call[] => [
    { ...base, time, operation: 'DescribeVolumes', readOnly: true },
    {
      ...base,
      time: time + 2000,
      operation: 'CreateSnapshot',
      readOnly: false,
      request: { volumeId: `vol-0${random.hex(16)}`, description: 'nightly' },
    },
  ])
}

/** Every call of the attack, in order of time. `firstDay` in milliseconds. */
export function attackCalls(firstDay: number, random: Random): Call[] {
  const start = firstDay + ATTACK.startOffsetMilliseconds
  const calls: Call[] = []
  let time = start
  const leaked = caller(userIdentity(ATTACK.account, ATTACK.leakedUser, ATTACK.accessKeyId, random))
  const second = caller(userIdentity(ATTACK.account, ATTACK.createdUser, ATTACK.createdAccessKeyId, random))
  const call = (by: Caller, service: string, operation: string, rest: Partial<Call> = {}) => {
    calls.push({
      time,
      account: ATTACK.account,
      region: 'us-east-1',
      caller: by,
      service,
      operation,
      readOnly: /^(?:Get|List|Describe|Assume|Lookup)/.test(operation),
      ...rest,
    })
    time += random.int(1, 9) * 1000
  }
  const denied = (by: Caller, service: string, operation: string, rest: Partial<Call> = {}) =>
    call(by, service, operation, { ...rest, error: refusal(by, service, operation) })

  // The key is tried.
  call(leaked, 'sts', 'GetCallerIdentity', { response: null })
  time += 45_000

  // Reconnaissance, in three regions.
  for (const [service, operation] of ALLOWED_LOOKS) call(leaked, service, operation)
  for (const [service, operation] of DENIED_LOOKS) denied(leaked, service, operation)
  for (const region of ['us-east-1', 'eu-west-1', 'ap-southeast-2']) {
    for (const operation of ['DescribeInstances', 'DescribeSnapshots', 'DescribeSecurityGroups', 'DescribeVpcs']) {
      call(leaked, 'ec2', operation, { region, request: { maxResults: 1000 } })
    }
    denied(leaked, 'secretsmanager', 'ListSecrets', { region })
    denied(leaked, 'rds', 'DescribeDBInstances', { region })
  }
  time += 20 * 60_000

  // Privilege escalation.
  const administrator = 'arn:aws:iam::aws:policy/AdministratorAccess'
  denied(leaked, 'iam', 'PutUserPolicy', { request: { userName: ATTACK.leakedUser, policyName: 'p' } })
  denied(leaked, 'iam', 'CreatePolicyVersion', { request: { setAsDefault: true } })
  call(leaked, 'iam', 'AttachUserPolicy', { request: { userName: ATTACK.leakedUser, policyArn: administrator } })
  call(leaked, 'iam', 'CreateUser', {
    request: { userName: ATTACK.createdUser },
    response: {
      user: {
        userName: ATTACK.createdUser,
        arn: `arn:aws:iam::${ATTACK.account}:user/${ATTACK.createdUser}`,
        userId: exampleId('AIDA', random),
      },
    },
  })
  call(leaked, 'iam', 'AttachUserPolicy', { request: { userName: ATTACK.createdUser, policyArn: administrator } })
  call(leaked, 'iam', 'CreateAccessKey', {
    request: { userName: ATTACK.createdUser },
    response: {
      accessKey: { userName: ATTACK.createdUser, accessKeyId: ATTACK.createdAccessKeyId, status: 'Active' },
    },
  })
  call(leaked, 'iam', 'CreateLoginProfile', {
    request: { userName: ATTACK.createdUser, passwordResetRequired: false },
  })
  time += 6 * 60_000

  // Persistence.
  call(second, 'signin', 'ConsoleLogin', {
    eventType: 'AwsConsoleSignIn',
    readOnly: false,
    response: { ConsoleLogin: 'Success' },
    additional: { LoginTo: 'https://console.aws.amazon.com/console/home', MobileVersion: 'No', MFAUsed: 'No' },
  })
  call(second, 'iam', 'CreateRole', {
    request: {
      roleName: 'SupportAuditRole',
      assumeRolePolicyDocument: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::${ATTACK.foreignAccount}:root"},"Action":"sts:AssumeRole"}]}`,
    },
  })
  call(second, 'iam', 'AttachRolePolicy', { request: { roleName: 'SupportAuditRole', policyArn: administrator } })

  // Defence evasion: a service control policy holds.
  const trail = `arn:aws:cloudtrail:us-east-1:${ATTACK.account}:trail/organisation`
  denied(second, 'cloudtrail', 'StopLogging', { request: { name: trail } })
  denied(second, 'cloudtrail', 'DeleteTrail', { request: { name: trail } })
  denied(second, 'guardduty', 'DeleteDetector', { request: { detectorId: random.hex(32) } })
  denied(second, 'ec2', 'DeleteFlowLogs', { request: { flowLogId: `fl-0${random.hex(16)}` } })
  time += 11 * 60_000

  // Into the second account.
  const roleArn = `arn:aws:iam::${ATTACK.secondAccount}:role/${ATTACK.role}`
  const session = ATTACK.createdUser
  call(second, 'sts', 'AssumeRole', {
    request: { roleArn, roleSessionName: session },
    response: { credentials: { accessKeyId: ATTACK.sessionAccessKeyId, sessionToken: 'EXAMPLE' } },
    resources: [{ accountId: ATTACK.secondAccount, type: 'AWS::IAM::Role', ARN: roleArn }],
  })
  const lateral = caller(
    roleIdentity(
      ATTACK.secondAccount,
      { role: ATTACK.role, session, accessKeyId: ATTACK.sessionAccessKeyId, since: time },
      random,
    ),
  )
  const there = { account: ATTACK.secondAccount }
  call(lateral, 's3', 'ListBuckets', there)
  call(lateral, 's3', 'GetBucketPolicy', { ...there, request: { bucketName: ATTACK.bucket, policy: '' } })
  call(lateral, 's3', 'ListObjects', { ...there, data: true, request: { bucketName: ATTACK.bucket, prefix: '' } })
  call(lateral, 'ec2', 'DescribeVolumes', there)

  // Exfiltration: a bucket, object by object, and a snapshot shared with a foreign account.
  for (let at = 0; at < ATTACK.stolenObjects; at += 1) {
    const key = `customers/part-${String(at).padStart(5, '0')}.parquet`
    call(lateral, 's3', 'GetObject', {
      ...there,
      data: true,
      request: { bucketName: ATTACK.bucket, Host: `${ATTACK.bucket}.s3.amazonaws.com`, key },
      additional: {
        SignatureVersion: 'SigV4',
        bytesTransferredIn: 0,
        bytesTransferredOut: random.int(8, 60) * 1_048_576,
      },
      resources: [{ type: 'AWS::S3::Object', ARN: `arn:aws:s3:::${ATTACK.bucket}/${key}` }],
    })
  }
  call(lateral, 'ec2', 'CreateSnapshot', {
    ...there,
    request: { volumeId: `vol-0${random.hex(16)}`, description: 'backup' },
    response: { snapshotId: ATTACK.snapshot, status: 'pending', ownerId: ATTACK.secondAccount },
  })
  call(lateral, 'ec2', 'ModifySnapshotAttribute', {
    ...there,
    request: {
      snapshotId: ATTACK.snapshot,
      attributeType: 'CREATE_VOLUME_PERMISSION',
      createVolumePermission: { add: { items: [{ userId: ATTACK.foreignAccount }] } },
    },
    response: { _return: true },
  })
  return calls
}

/** The traffic of the attack: a knock at the door of the first account, then 18 GB out of a host of the second. */
export function attackFlows(firstDay: number, random: Random): { account: string; flow: (host: string) => Flow }[] {
  const start = firstDay + ATTACK.startOffsetMilliseconds
  const knocks = [22, 3389, 5432, 8443, 9200].map((destinationPort, at) => ({
    account: ATTACK.account,
    flow: (host: string): Flow => ({
      time: start + at * 11_000,
      seconds: 10,
      source: ATTACK.ip,
      sourcePort: 40_000 + at,
      destination: host,
      destinationPort,
      protocol: 6,
      packets: 1,
      bytes: 44,
      accepted: false,
    }),
  }))
  const leaving = Array.from({ length: ATTACK.exfiltrationFlows }, (_, at) => {
    const packets = random.int(340_000, 360_000)
    return {
      account: ATTACK.secondAccount,
      flow: (host: string): Flow => ({
        time: start + 3_000_000 + at * 60_000,
        seconds: 59,
        source: host,
        sourcePort: 51_515,
        destination: ATTACK.ip,
        destinationPort: 443,
        protocol: 6,
        packets,
        bytes: packets * 1430,
        accepted: true,
      }),
    }
  })
  return [...knocks, ...leaving]
}

// --- internal ---

const USER_AGENT =
  'aws-cli/2.15.30 Python/3.11.8 Linux/6.6.9-amd64 source/x86_64.kali.2024 prompt/off command/sts.get-caller-identity'

const ALLOWED_LOOKS = [
  ['iam', 'ListUsers'],
  ['iam', 'ListRoles'],
  ['iam', 'ListGroups'],
  ['iam', 'ListAttachedUserPolicies'],
  ['iam', 'GetAccountSummary'],
  ['s3', 'ListBuckets'],
  ['ec2', 'DescribeRegions'],
  ['organizations', 'DescribeOrganization'],
  ['cloudtrail', 'DescribeTrails'],
  ['guardduty', 'ListDetectors'],
  ['lambda', 'ListFunctions20150331'],
  ['ses', 'GetSendQuota'],
] as const

const DENIED_LOOKS = [
  ['iam', 'GetAccountAuthorizationDetails'],
  ['iam', 'GetAccountPasswordPolicy'],
  ['iam', 'ListPolicies'],
  ['organizations', 'ListAccounts'],
  ['kms', 'ListKeys'],
  ['ssm', 'DescribeParameters'],
  ['dynamodb', 'ListTables'],
  ['ecr', 'DescribeRepositories'],
  ['eks', 'ListClusters'],
  ['logs', 'DescribeLogGroups'],
  ['config', 'DescribeConfigurationRecorders'],
  ['cloudtrail', 'GetTrailStatus'],
] as const

function caller(identity: Fields): Caller {
  return { identity, address: ATTACK.ip, userAgent: USER_AGENT }
}

function refusal(by: Caller, service: string, operation: string): { code: string; message: string } {
  const code = service === 'ec2' ? 'Client.UnauthorizedOperation' : 'AccessDenied'
  const action = `${service}:${operation}`
  return { code, message: `User: ${by.identity.arn} is not authorized to perform: ${action} with an explicit deny` }
}
