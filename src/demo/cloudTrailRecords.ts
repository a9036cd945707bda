/** CloudTrail records as AWS writes them, of an invented company: who acts, what they call, and the record of a call. */
import { type Random, Weights } from './random.ts'

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined }
export type Fields = { readonly [name: string]: Json | undefined }

export interface Caller {
  readonly identity: Fields
  readonly address: string
  readonly userAgent: string
}

export interface Call {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly account: string
  readonly region: string
  readonly caller: Caller
  /** First label of the service's host name: `ec2`, `s3`. */
  readonly service: string
  readonly operation: string
  readonly readOnly: boolean
  readonly request?: Fields | null
  readonly response?: Fields | null
  readonly error?: { readonly code: string; readonly message: string }
  readonly resources?: readonly Fields[]
  readonly additional?: Fields
  readonly data?: boolean
  readonly eventType?: string
}

/** The record of a call, its fields in CloudTrail's order. */
export function cloudTrailRecord(call: Call, random: Random): Fields {
  const { caller, service, error } = call
  const byService = caller.address.endsWith('.amazonaws.com')
  return {
    eventVersion: '1.09',
    userIdentity: caller.identity,
    eventTime: new Date(call.time).toISOString().replace('.000', ''),
    eventSource: `${service}.amazonaws.com`,
    eventName: call.operation,
    awsRegion: call.region,
    sourceIPAddress: caller.address,
    userAgent: caller.userAgent,
    errorCode: error?.code,
    errorMessage: error?.message,
    requestParameters: call.request ?? null,
    responseElements: call.response ?? null,
    additionalEventData: call.additional,
    requestID: service === 's3' ? random.id(16) : random.uuid(),
    eventID: random.uuid(),
    readOnly: call.readOnly,
    resources: call.resources,
    eventType: call.eventType ?? 'AwsApiCall',
    managementEvent: !call.data,
    recipientAccountId: call.account,
    eventCategory: call.data ? 'Data' : 'Management',
    tlsDetails: byService
      ? undefined
      : {
          tlsVersion: 'TLSv1.3',
          cipherSuite: 'TLS_AES_128_GCM_SHA256',
          clientProvidedHostHeader: `${service}.${call.region}.amazonaws.com`,
        },
  }
}

/** Ids in the style of AWS's documentation: they end in EXAMPLE, so no scanner takes them for leaked ones. */
export function exampleId(prefix: string, random: Random): string {
  return `${prefix}${random.id(9)}EXAMPLE`
}

export function userIdentity(account: string, name: string, accessKeyId: string, random: Random): Fields {
  return {
    type: 'IAMUser',
    principalId: exampleId('AIDA', random),
    arn: `arn:aws:iam::${account}:user/${name}`,
    accountId: account,
    accessKeyId,
    userName: name,
  }
}

export interface RoleSession {
  readonly role: string
  readonly session: string
  readonly accessKeyId: string
  readonly mfa?: boolean
  /** When the session began, in milliseconds. */
  readonly since: number
}

export function roleIdentity(account: string, session: RoleSession, random: Random): Fields {
  const principal = exampleId('AROA', random)
  return {
    type: 'AssumedRole',
    principalId: `${principal}:${session.session}`,
    arn: `arn:aws:sts::${account}:assumed-role/${session.role}/${session.session}`,
    accountId: account,
    accessKeyId: session.accessKeyId,
    sessionContext: {
      sessionIssuer: {
        type: 'Role',
        principalId: principal,
        arn: `arn:aws:iam::${account}:role/${session.role}`,
        accountId: account,
        userName: session.role,
      },
      attributes: {
        creationDate: new Date(session.since).toISOString().replace('.000', ''),
        mfaAuthenticated: String(session.mfa ?? false),
      },
    },
  }
}

export interface CompanyOptions {
  readonly accounts: readonly string[]
  readonly users: number
  readonly roles: number
  readonly addresses: number
  /** Start of the period, in milliseconds: sessions begin here. */
  readonly since: number
}

/** The everyday traffic of a company: people, pipelines, applications and AWS's own services. */
export class Company {
  readonly #random: Random
  readonly #callers = new Map<string, { readonly callers: readonly Caller[]; readonly weights: Weights }>()
  readonly #operations = new Weights(OPERATIONS.map((operation) => operation.weight))

  constructor(options: CompanyOptions, random: Random) {
    this.#random = random
    const addresses = Array.from({ length: options.addresses }, (_, at) => officeAddress(at))
    const addressWeights = Weights.zipf(addresses.length)
    for (const account of options.accounts) {
      const callers = [
        ...SERVICES.map((service) => serviceCaller(service)),
        ...Array.from({ length: options.roles }, (_, at) => this.#role(account, at, options.since)),
        ...Array.from({ length: options.users }, (_, at) => {
          const address = addresses[addressWeights.at(random)]!
          return this.#user(account, at, address)
        }),
      ]
      // Machines call most, people seldom; mixed, so that the first ranks are not of one kind.
      const weights = Weights.zipf(callers.length)
      this.#callers.set(account, { callers: shuffled(callers, random), weights })
    }
  }

  call(account: string, region: string, time: number): Call {
    const random = this.#random
    const { callers, weights } = this.#callers.get(account)!
    const caller = callers[weights.at(random)]!
    const operation = OPERATIONS[this.#operations.at(random)]!
    const details = operation.details(random, { account, region, time })
    const failed = operation.failures !== undefined && random.chance(operation.failures.rate)
    const error = failed ? failure(operation, caller, random.pick(operation.failures!.codes)) : undefined
    return {
      time,
      account,
      region,
      caller,
      service: operation.service,
      operation: operation.name,
      readOnly: operation.readOnly,
      ...details,
      ...(error && { error, response: null }),
      ...(operation.data && { data: true }),
    }
  }

  #user(account: string, at: number, address: string): Caller {
    const random = this.#random
    const name = userName(at)
    const identity = userIdentity(account, name, exampleId('AKIA', random), random)
    return { identity, address, userAgent: random.pick(USER_AGENTS) }
  }

  #role(account: string, at: number, since: number): Caller {
    const random = this.#random
    const role = at < ROLES.length ? ROLES[at]! : `${ROLES[at % ROLES.length]}-${Math.floor(at / ROLES.length)}`
    const session = /app|worker|batch/.test(role) ? `i-0${random.hex(16)}` : `${role}-${random.hex(8)}`
    const identity = roleIdentity(account, { role, session, accessKeyId: exampleId('ASIA', random), since }, random)
    return {
      identity,
      address: `10.${at % 200}.${random.int(0, 255)}.${random.int(4, 250)}`,
      userAgent: random.pick(USER_AGENTS),
    }
  }
}

// --- internal ---

const FIRST_NAMES =
  'ana bela chen dario edith farid gina hugo ines jonas kira liam mona nils olga pavel quinn rosa sven tara'.split(' ')
const LAST_NAMES =
  'abel braun costa diaz evans fischer garcia hansen ito jensen kowalski lopez moreau novak okoye'.split(' ')
const ROLES = [
  'web-app',
  'order-worker',
  'deploy-pipeline',
  'metrics-exporter',
  'billing-batch',
  'image-resizer',
  'search-app',
  'AWSReservedSSO_ReadOnly_0a1b2c3d4e5f6a7b',
  'AWSReservedSSO_PowerUser_1b2c3d4e5f6a7b8c',
  'backup-runner',
]
const SERVICES = ['autoscaling', 'ec2', 'lambda', 'config', 'cloudtrail', 'elasticloadbalancing', 'guardduty', 'ssm']
const USER_AGENTS = [
  'aws-cli/2.15.30 Python/3.11.8 Linux/5.15.0-1055-aws exe/x86_64.ubuntu.22 prompt/off command/ec2.describe-instances',
  'Boto3/1.34.69 md/Botocore#1.34.69 ua/2.0 os/linux#6.1.82-99.168.amzn2023.x86_64 md/arch#x86_64 lang/python#3.11.6',
  'APN/1.0 HashiCorp/1.0 Terraform/1.7.5 (+https://www.terraform.io) terraform-provider-aws/5.42.0 aws-sdk-go-v2/1.26.0',
  'aws-sdk-java/2.25.16 Linux/5.10.210-201.852.amzn2.x86_64 OpenJDK_64-Bit_Server_VM/17.0.10+8-LTS Java/17.0.10 io/async http/NettyNio',
  'aws-sdk-go-v2/1.25.3 os/linux lang/go#1.22.1 md/GOOS#linux md/GOARCH#amd64 api/sqs#1.31.3',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Safari/537.36',
  'AWS Internal',
]

interface Where {
  readonly account: string
  readonly region: string
  readonly time: number
}

type Details = Pick<Call, 'request' | 'response' | 'resources' | 'additional'>

interface Operation {
  readonly service: string
  readonly name: string
  readonly weight: number
  readonly readOnly: boolean
  readonly data?: boolean
  readonly failures?: { readonly rate: number; readonly codes: readonly string[] }
  details(random: Random, where: Where): Details
}

const READ_FAILURES = { rate: 0.02, codes: ['AccessDenied', 'ThrottlingException', 'Client.RequestLimitExceeded'] }
const WRITE_FAILURES = { rate: 0.03, codes: ['AccessDenied', 'Client.UnauthorizedOperation', 'ValidationException'] }
const instance = (random: Random) => `i-0${random.hex(16)}`

const read = (
  service: string,
  name: string,
  weight: number,
  details: Operation['details'] = () => ({}),
  extra: Partial<Operation> = {},
): Operation => ({ service, name, weight, readOnly: true, failures: READ_FAILURES, details, ...extra })
const write = (...parameters: Parameters<typeof read>): Operation => ({
  ...read(...parameters),
  readOnly: false,
  failures: WRITE_FAILURES,
  ...parameters[4],
})

const objectAccess = (random: Random, { account }: Where): Details => {
  const bucketName = `acme-${random.pick(['assets', 'exports', 'billing', 'artifacts', 'thumbnails'])}-${account.slice(-4)}`
  const key = `${random.pick(['orders', 'images', 'reports', 'build'])}/2026/${random.int(1, 12)}/${random.hex(24)}.${random.pick(['json', 'png', 'parquet', 'zip'])}`
  return {
    request: { bucketName, Host: `${bucketName}.s3.amazonaws.com`, key },
    additional: {
      SignatureVersion: 'SigV4',
      CipherSuite: 'TLS_AES_128_GCM_SHA256',
      bytesTransferredIn: 0,
      AuthenticationMethod: 'AuthHeader',
      'x-amz-id-2': `${random.hex(64)}=`,
      bytesTransferredOut: random.int(200, 4_000_000),
    },
    resources: [
      { type: 'AWS::S3::Object', ARN: `arn:aws:s3:::${bucketName}/${key}` },
      { accountId: account, type: 'AWS::S3::Bucket', ARN: `arn:aws:s3:::${bucketName}` },
    ],
  }
}

const OPERATIONS: readonly Operation[] = [
  read('ec2', 'DescribeInstances', 12, (random) => ({
    request: {
      maxResults: 100,
      instancesSet: { items: [{ instanceId: instance(random) }, { instanceId: instance(random) }] },
      filterSet: { items: [{ name: 'instance-state-name', valueSet: { items: [{ value: 'running' }] } }] },
    },
  })),
  read('ec2', 'DescribeInstanceStatus', 5, (random) => ({
    request: { instancesSet: { items: [{ instanceId: instance(random) }] } },
  })),
  read('ec2', 'DescribeSecurityGroups', 4, (random) => ({
    request: { securityGroupIdSet: { items: [{ groupId: `sg-0${random.hex(16)}` }] }, filterSet: {} },
  })),
  read('ec2', 'DescribeVolumes', 4, (random) => ({
    request: { volumeSet: { items: [{ volumeId: `vol-0${random.hex(16)}` }] } },
  })),
  read('ec2', 'DescribeSnapshots', 2, () => ({
    request: { ownersSet: { items: [{ owner: 'self' }] }, maxResults: 200 },
  })),
  read('sts', 'AssumeRole', 14, (random, { account, time }) => {
    const role = random.pick(ROLES)
    const session = `${role}-${random.hex(10)}`
    return {
      request: { roleArn: `arn:aws:iam::${account}:role/${role}`, roleSessionName: session, durationSeconds: 3600 },
      response: {
        credentials: {
          accessKeyId: exampleId('ASIA', random),
          sessionToken: `EXAMPLE${random.hex(120)}`,
          expiration: new Date(time + 3_600_000).toUTCString(),
        },
        assumedRoleUser: {
          assumedRoleId: `${exampleId('AROA', random)}:${session}`,
          arn: `arn:aws:sts::${account}:assumed-role/${role}/${session}`,
        },
      },
      resources: [{ accountId: account, type: 'AWS::IAM::Role', ARN: `arn:aws:iam::${account}:role/${role}` }],
    }
  }),
  read('sts', 'GetCallerIdentity', 3, (random, { account }) => ({
    response: { account, userId: exampleId('AIDA', random) },
  })),
  read('kms', 'Decrypt', 12, (random, { account, region }) => ({
    request: {
      encryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      encryptionContext: {
        'aws:ssm:parameter': `arn:aws:ssm:${region}:${account}:parameter/app/${random.pick(['db', 'queue', 'mail'])}/password`,
      },
    },
    resources: [
      { accountId: account, type: 'AWS::KMS::Key', ARN: `arn:aws:kms:${region}:${account}:key/${random.uuid()}` },
    ],
  })),
  read('kms', 'GenerateDataKey', 6, (random, { account, region }) => ({
    request: {
      keySpec: 'AES_256',
      keyId: `arn:aws:kms:${region}:${account}:key/${random.uuid()}`,
      encryptionContext: { 'aws:s3:arn': `arn:aws:s3:::acme-artifacts-${account.slice(-4)}` },
    },
  })),
  read('s3', 'GetObject', 14, objectAccess, { data: true }),
  write('s3', 'PutObject', 8, objectAccess, { data: true }),
  read('s3', 'ListObjects', 4, objectAccess, { data: true }),
  read('s3', 'GetBucketAcl', 3, (_, { account }) => ({
    request: { bucketName: `acme-trail-${account}`, Host: `acme-trail-${account}.s3.amazonaws.com`, acl: '' },
    additional: { SignatureVersion: 'SigV4', AuthenticationMethod: 'AuthHeader', bytesTransferredOut: 542 },
  })),
  read('s3', 'ListBuckets', 1, () => ({ request: { Host: 's3.amazonaws.com' } })),
  read('ssm', 'GetParameters', 6, (random) => ({
    request: { withDecryption: true, names: [`/app/${random.pick(['db', 'queue', 'mail'])}/password`, '/app/flags'] },
  })),
  write('ssm', 'UpdateInstanceInformation', 8, (random) => ({
    request: {
      instanceId: instance(random),
      agentVersion: '3.3.131.0',
      agentStatus: 'Active',
      platformType: 'Linux',
      platformName: 'Amazon Linux',
      platformVersion: '2023',
      iPAddress: `10.0.${random.int(0, 63)}.${random.int(4, 250)}`,
      computerName: `ip-10-0-${random.int(0, 63)}-${random.int(4, 250)}.internal`,
      agentName: 'amazon-ssm-agent',
      availabilityZone: 'use1-az4',
    },
  })),
  write('logs', 'CreateLogStream', 6, (random) => ({
    request: {
      logGroupName: `/aws/lambda/${random.pick(ROLES)}`,
      logStreamName: `2026/03/10/[$LATEST]${random.hex(32)}`,
    },
  })),
  read('logs', 'DescribeLogGroups', 2, () => ({ request: { limit: 50 } })),
  read('cloudwatch', 'GetMetricData', 5, (random, { time }) => ({
    request: {
      startTime: time - 300_000,
      endTime: time,
      metricDataQueries: [{ id: `m${random.int(1, 99)}`, returnData: true }],
    },
  })),
  read('autoscaling', 'DescribeAutoScalingGroups', 4, () => ({
    request: { autoScalingGroupNames: ['web', 'worker'] },
  })),
  read('elasticloadbalancing', 'DescribeTargetHealth', 6, (random, { account, region }) => ({
    request: { targetGroupArn: `arn:aws:elasticloadbalancing:${region}:${account}:targetgroup/web/${random.hex(16)}` },
  })),
  read('dynamodb', 'DescribeTable', 3, (random) => ({
    request: { tableName: random.pick(['orders', 'sessions', 'carts']) },
  })),
  read('lambda', 'GetFunction20150331v2', 3, (random) => ({ request: { functionName: random.pick(ROLES) } })),
  write('lambda', 'UpdateFunctionCode20150331v2', 1, (random, { account, region }) => {
    const functionName = random.pick(ROLES)
    return {
      request: {
        functionName,
        publish: false,
        dryRun: false,
        s3Bucket: 'acme-artifacts',
        s3Key: `${random.hex(40)}.zip`,
      },
      response: {
        functionName,
        functionArn: `arn:aws:lambda:${region}:${account}:function:${functionName}`,
        runtime: 'nodejs20.x',
        codeSize: random.int(10_000, 50_000_000),
        codeSha256: `${random.hex(43)}=`,
        memorySize: 512,
        tracingConfig: { mode: 'PassThrough' },
      },
    }
  }),
  read('ecr', 'BatchGetImage', 4, (random, { account }) => ({
    request: {
      registryId: account,
      repositoryName: random.pick(['web', 'worker', 'tools']),
      imageIds: [{ imageTag: random.hex(12) }],
      acceptedMediaTypes: ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.oci.image.index.v1+json'],
    },
  })),
  read('ecr', 'GetAuthorizationToken', 3),
  write('ecs', 'RegisterTaskDefinition', 1, (random, { account }) => ({
    request: {
      family: random.pick(['web', 'worker']),
      requiresCompatibilities: ['FARGATE'],
      cpu: '512',
      memory: '1024',
      containerDefinitions: [
        {
          name: 'main',
          image: `${account}.dkr.ecr.us-east-1.amazonaws.com/web:${random.hex(12)}`,
          essential: true,
          environment: [{ name: 'STAGE', value: 'production' }],
        },
      ],
    },
    response: { taskDefinition: { revision: random.int(1, 900), status: 'ACTIVE' } },
  })),
  write('ec2', 'RunInstances', 1, (random, { account }) => ({
    request: {
      instancesSet: { items: [{ imageId: `ami-0${random.hex(16)}`, minCount: 1, maxCount: 1 }] },
      instanceType: random.pick(['t3.medium', 'm6i.large', 'c7g.xlarge']),
      subnetId: `subnet-0${random.hex(16)}`,
      tagSpecificationSet: { items: [{ resourceType: 'instance', tags: [{ key: 'Team', value: 'web' }] }] },
    },
    response: {
      reservationId: `r-0${random.hex(16)}`,
      ownerId: account,
      instancesSet: {
        items: [
          { instanceId: instance(random), instanceState: { code: 0, name: 'pending' }, privateIpAddress: '10.0.3.17' },
        ],
      },
    },
  })),
  write('ec2', 'CreateTags', 2, (random) => ({
    request: {
      resourcesSet: { items: [{ resourceId: instance(random) }] },
      tagSet: { items: [{ key: 'Name', value: random.pick(ROLES) }] },
    },
    response: { requestId: random.uuid(), _return: true },
  })),
  write('ec2', 'AuthorizeSecurityGroupIngress', 0.2, (random) => ({
    request: {
      groupId: `sg-0${random.hex(16)}`,
      ipPermissions: {
        items: [{ ipProtocol: 'tcp', fromPort: 443, toPort: 443, ipRanges: { items: [{ cidrIp: '10.0.0.0/8' }] } }],
      },
    },
    response: { _return: true },
  })),
  read('iam', 'GetRole', 3, (random) => ({ request: { roleName: random.pick(ROLES) } })),
  read('iam', 'ListAttachedRolePolicies', 2, (random) => ({ request: { roleName: random.pick(ROLES) } })),
  write('iam', 'CreateUser', 0.02, (random) => ({ request: { userName: userName(random.int(200, 299)) } })),
  write('iam', 'CreateAccessKey', 0.05, (random) => ({ request: { userName: userName(random.int(0, 20)) } })),
  read('secretsmanager', 'GetSecretValue', 5, (random, { account, region }) => ({
    request: {
      secretId: `arn:aws:secretsmanager:${region}:${account}:secret:app/${random.pick(['db', 'mail'])}-${random.id(6)}`,
    },
  })),
  read('cloudtrail', 'LookupEvents', 0.5, () => ({ request: { maxResults: 50 } })),
  write('sqs', 'SetQueueAttributes', 0.3, (random, { account, region }) => ({
    request: {
      queueUrl: `https://sqs.${region}.amazonaws.com/${account}/${random.pick(['orders', 'mail'])}`,
      attributes: { Policy: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:SendMessage"}]}' },
    },
  })),
]

function serviceCaller(service: string): Caller {
  const host = `${service}.amazonaws.com`
  return { identity: { type: 'AWSService', invokedBy: host }, address: host, userAgent: host }
}

function failure(operation: Operation, caller: Caller, code: string): { code: string; message: string } {
  const who = caller.identity.arn ?? caller.identity.invokedBy
  const what = `${operation.service}:${operation.name}`
  if (!/Denied|Unauthorized/.test(code)) return { code, message: 'Rate exceeded' }
  return {
    code,
    message: `User: ${who} is not authorized to perform: ${what} because no identity-based policy allows the ${what} action`,
  }
}

function userName(at: number): string {
  const base = `${FIRST_NAMES[at % FIRST_NAMES.length]}.${LAST_NAMES[(at * 7) % LAST_NAMES.length]}`
  return at < FIRST_NAMES.length ? base : `${base}${Math.floor(at / FIRST_NAMES.length)}`
}

/** Ranges set aside for documentation and benchmarks, so that nobody's address is in our logs. */
function officeAddress(at: number): string {
  if (at < 200) return `203.0.113.${at + 10}`
  return `198.18.${(at >> 8) & 255}.${at & 255}`
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const copy = [...items]
  for (let at = copy.length - 1; at > 0; at -= 1) {
    const other = random.int(0, at)
    const moved = copy[at]!
    copy[at] = copy[other]!
    copy[other] = moved
  }
  return copy
}
